# SPDX-License-Identifier: GPL-2.0-only
"""Both daemons and their configuration: what they refuse, leave, take over and say."""

from __future__ import annotations

import signal
from collections.abc import Callable
from ipaddress import ip_address, ip_network

import pytest

from tests.lab.kmodlib import ip_batch, load_module
from tests.lab.pair import Pair, agent_configuration, all_ways, reaches, router_configuration
from tests.lab.test_daemon import lossless
from tests.lab.topology import HA6, HOA, HOA4, LAN4, LAN6, NET4, NET6, Topology, wait_for


@pytest.fixture(autouse=True)
def _module_loaded() -> None:
    load_module()


def test_captive_network_is_tried_until_it_opens(net: Topology) -> None:
    uplinks = {"wan0": "captive"}
    pair = Pair(net, router=router_configuration(net, uplinks=uplinks)).start()
    net.plug("wan0", "captive")
    wait_for(lambda: pair.router()["attempts"] >= 2, 20, "a retransmission")
    assert pair.router()["state"] == "Switching"
    assert pair.binding() is None
    net.login()
    pair.settled("captive", 60)
    assert all_ways(net) == [True] * 5


def test_router_that_claims_what_it_does_not_own(net: Topology) -> None:
    """Refused with the reason in words, on both sides; mended by a reload."""
    wrong = router_configuration(net, prefixes=["2001:db8:200::/56"])
    pair = Pair(net, router=wrong).start()
    net.plug("wan0", "v6")
    pair.wait_state("Refused by home agent")
    assert "prefix" in pair.router()["problem"]
    assert "prefix" in net.dsmip("mr", "status")
    assert pair.binding() is None
    assert "update refused, status 14" in net.log("ha")
    assert not reaches(net, "cn", LAN6)
    pair.reconfigure("mr", router_configuration(net))
    pair.settled("v6")
    assert all_ways(net) == [True] * 5


def test_stranger_with_another_key_is_not_heard(net: Topology) -> None:
    wrong = router_configuration(net, static_key="00" * 32)
    pair = Pair(net, router=wrong).start()
    net.plug("wan1", "v4")
    pair.unheard()
    assert "Traceback" not in net.log("ha")


def test_taken_home_address_is_refused(net: Topology) -> None:
    """Status 134 while a host on the home link has the address, accepted when it is gone."""
    net.shell(None, "ip netns add squatter\n")
    net.shell(
        "ha",
        "ip link add squat type veth peer name eth0\nip link set eth0 netns squatter\n"
        "ip link set squat master home\nip link set squat up\n",
    )
    try:
        ip_batch("squatter", f"link set eth0 up\naddr add {HOA}/64 dev eth0 nodad")
        pair = Pair(net).start()
        net.plug("wan0", "v6")
        pair.wait_state("Refused by home agent")
        assert pair.counter("bu_refused_134") >= 1
        assert "duplicate address" in net.dsmip("mr", "status").lower()
        ip_batch("squatter", f"addr del {HOA}/64 dev eth0")
        net.ask("mr", "reload")
        net.ask("mr", "handover", uplink=None)
        pair.settled("v6", 90)
    finally:
        net.shell(None, "ip netns del squatter\n")


def test_agent_reload_drops_only_what_changed(net: Topology) -> None:
    pair = Pair(net).start()
    net.plug("wan0", "v6")
    pair.settled("v6")
    tram = (
        '[[home_agent.router]]\nidentity = "tram-3"\nhome_address = "2001:db8:1::200"\n'
        'prefixes = ["2001:db8:200::/56"]\nstatic_key = "' + "42" * 32 + '"\n'
    )
    with lossless(net):
        pair.reconfigure("ha", agent_configuration(net, more=tram))
    assert net.ask("ha", "status")["home_agent"]["routers"] == 2
    bad = agent_configuration(net, more='[wrong]\nx = "y"\n')
    (net.directory / "ha.toml").write_text(bad)
    with pytest.raises(RuntimeError, match="wrong"):
        net.dsmip("ha", "reload")
    assert all_ways(net) == [True] * 5
    pair.reconfigure("ha", agent_configuration(net, router={"prefixes": [NET6]}))
    # A router that goes on claiming what it does not own any more is refused.
    wait_for(lambda: NET4 not in (pair.binding() or {"prefixes": []})["prefixes"], 10, "less")
    assert not reaches(net, "cn", LAN4)


def test_implicit_prefixes_and_an_address_from_the_pool(net: Topology) -> None:
    agent = agent_configuration(
        net, router={"home_address4": "pool"}, pool=["198.51.100.192/28"], allow_ip4=False
    )
    router = router_configuration(net, mode="implicit", home_address4="request")
    pair = Pair(net, agent=agent, router=router).start()
    net.plug("wan1", "v4")
    found = pair.settled("v4")
    assert found["kind"] == "udp4"
    assert ip_address(found["home_address4"]) in ip_network("198.51.100.192/28")
    assert sorted((pair.binding() or {})["prefixes"]) == sorted([NET6, NET4])
    assert reaches(net, "cn", found["home_address4"])
    assert all_ways(net) == [True] * 5


@pytest.mark.parametrize("keep", [True, False])
def test_a_stopped_daemon_leaves_what_it_was_told_to(net: Topology, keep: bool) -> None:
    pair = Pair(
        net,
        agent=agent_configuration(net, keep_state=keep),
        router=router_configuration(net, keep_state=keep),
    ).start()
    net.plug("wan0", "v6")
    pair.settled("v6")
    for who in ("mr", "ha"):
        pair.kill(who, signal.SIGTERM)
    assert reaches(net, "cn", LAN6) is keep
    rules = net.run("mr", ["ip", "-6", "rule", "show"]).splitlines()
    left = {
        "rules": "\n".join(rule for rule in rules if "lookup 4191" in rule),
        "routes": net.run("mr", ["ip", "-6", "route", "show", "table", "4191"], check=False),
        "agent": net.run("ha", ["ip", "-6", "route", "show", "dev", "mip0", "proto", "191"]),
        "associations": net.run("ha", ["ip", "xfrm", "state"]),
    }
    assert all(bool(text.strip()) is keep for text in left.values()), left
    if not keep:
        assert HOA not in net.run("mr", ["ip", "-6", "addr"])
        assert HOA4 not in net.run("mr", ["ip", "addr"])


def test_commands_speak_to_people(net: Topology) -> None:
    net.executed = True
    pair = Pair(net).start()
    net.plug("wan0", "v6")
    pair.settled("v6")
    shown: dict[str, str] = {}
    asked: list[tuple[str, Callable[[], str]]] = [
        ("router", lambda: net.dsmip("mr", "status")),
        ("agent", lambda: net.dsmip("ha", "status")),
        ("bindings", lambda: net.dsmip("ha", "bindings")),
        ("uplinks", lambda: net.dsmip("mr", "uplinks")),
        ("history", lambda: net.dsmip("mr", "history")),
        ("refused", lambda: net.dsmip("ha", "uplinks", check=False)),
        ("unknown", lambda: net.dsmip("mr", "handover", "moon", check=False)),
    ]
    for name, ask in asked:
        shown[name] = ask()
        assert all(len(line) <= 80 for line in shown[name].splitlines()), shown[name]
    assert "Roaming on v6" in shown["router"]
    assert HA6 in shown["router"]
    assert "bus-17" in shown["bindings"]
    assert "no mobile router" in shown["refused"]
    assert "moon" in shown["unknown"]
    assert net.dsmip("mr", "check-config", str(net.directory / "mr.toml"))
    link = net.run("ha", ["ip", "-d", "link", "show", "mip0"])
    assert "dsmip" in link
