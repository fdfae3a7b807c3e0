# SPDX-License-Identifier: GPL-2.0-only
"""Keys from IKEv2 that survive every movement, with both daemons on the standard network."""

from __future__ import annotations

import time
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.lab.kmodlib import load_module
from tests.lab.pair import AGENT_IDENTITY, IDENTITY, IKEV2, PSK, reaches, router_configuration
from tests.lab.protection import (
    at,
    connection,
    frames,
    handshakes,
    load_ciphers,
    pair_with,
)
from tests.lab.states import states
from tests.lab.test_daemon import lossless
from tests.lab.topology import CN4, CN6, HA4, HA6, HOA, LAN4, LAN6, Topology, wait_for
from tests.lab.traffic import Traffic

#: What fills the packets of a flow, as tests.lab.traffic makes them.
CLEAR = b"." * 40
#: Packets a second of each flow: an emulated processor is slow at AES.
RATE = 20


@pytest.fixture(autouse=True, scope="module")
def _modules_loaded() -> None:
    load_module()
    load_ciphers()


def in_clear(file: Path) -> list[bytes]:
    """Return frames of flows in clear between router and home agent.

    The correspondent's own packets cross the core as they are.
    """
    native = [ip_address(address).packed for address in (CN6, CN4)]
    found = []
    for frame in frames(file):
        outer = frame[14:54] if frame[12:14] == b"\x86\xdd" else frame[14:34]
        if CLEAR in frame and not any(address in outer for address in native):
            found.append(frame)
    return found


def spis(net: Topology, who: str) -> set[int]:
    """Return the SPIs of a host's associations."""
    return {state.spi for state in states(net, who)}


def counted(net: Topology, counter: str) -> int:
    """Return one of the counters of the router's IKE."""
    return int(net.ask("mr", "ike.status")["counters"].get(counter, 0))


def taken_over(net: Topology, old: set[int]) -> bool:
    """Tell whether both ends have one and the same IKE SA, its four SAs and none of the old."""
    ends = [connection(net, who)["spi_i"] for who in ("mr", "ha")]
    left = [spis(net, who) for who in ("mr", "ha")]
    return ends[0] == ends[1] and left[0] == left[1] and len(left[0]) == 4 and not left[0] & old


@pytest.mark.spec("M-114")
def test_one_handshake_for_all_networks(net: Topology) -> None:
    """v6, v4, NAT and home: the IKE SA goes along, nothing is negotiated again."""
    capture = net.capture("core", "ha")
    pair = pair_with(net).start()
    net.plug("wan0", "v6")
    pair.settled("v6")
    router = pair.router()
    assert router["attempts"] == 0
    assert at(net, "mr")[1] == HA6
    # An IPv4 address that comes first is the first to be tried, until there is a better one.
    begun = handshakes(net.captured(capture))
    assert begun in (1, 2)
    assert len(states(net, "mr")) == len(states(net, "ha")) == 2
    before = [state.place for state in states(net, "mr")]
    assert reaches(net, "cn", LAN6)
    for old, new, network, agent in (
        ("wan0", "wan1", "v4", HA4),
        ("wan1", "wan2", "nat", HA4),
        ("wan2", "wan3", "home", HA6),
        ("wan3", "wan0", "v6", HA6),
    ):
        net.roam(old, new, network)
        pair.settled(network)
        assert at(net, "mr")[1] == agent
        local = HOA if network == "home" else at(net, "mr")[0]
        assert (local == HOA) is (network == "home")
        remote = net.nat_outside if network == "nat" else local
        wait_for(lambda remote=remote: at(net, "ha")[1] == remote, 10, f"IKE at {remote}")
        assert reaches(net, "cn", LAN6)
    after = [state.place for state in states(net, "mr")]
    assert after == before, "signalling is between home address and home agent"
    assert connection(net, "mr")["nat_local"] is False
    assert handshakes(net.captured(capture)) == begun
    document = net.ask("mr", "status")
    assert document["keys"][0]["connected"]
    assert document["ike"]["counters"]["ike_established"] == 1


@pytest.mark.parametrize(("payload", "migrate"), [("rfc4877", "auto"), ("rfc4877", "off")])
def test_tour_with_protected_payload(net: Topology, payload: str, migrate: str) -> None:
    capture = net.capture("core", "ha")
    pair = pair_with(net, ike={"migrate": migrate}, payload=payload).start()
    net.plug("wan0", "v6")
    pair.settled("v6")
    wait_for(lambda: reaches(net, "cn", LAN6), 20, "protected payload")
    first, begun = spis(net, "mr"), handshakes(net.captured(capture))
    traffic = Traffic(net)
    traffic.flow("six", LAN6, RATE)
    traffic.flow("four", LAN4, RATE)
    time.sleep(1)
    for old, new, network in (
        ("wan0", "wan1", "v4"),
        ("wan1", "wan2", "nat"),
        ("wan2", "wan0", "v6"),
    ):
        moved = net.roam(old, new, network)
        pair.settled(network)
        time.sleep(2)
        outer = {state[:2] for state in states(net, "mr")} - {(HOA, HA6), (HA6, HOA)}
        if payload == "inside":
            assert not outer
        else:
            ends = at(net, "mr")
            assert outer == {ends, ends[::-1]}
            encapsulated = [state for state in states(net, "mr") if state.encapsulation]
            assert len(encapsulated) == (2 if network == "nat" else 0)
        assert time.monotonic() - moved < 60
    assert spis(net, "mr") == first, "the same SAs, moved"
    flows = traffic.finish()
    end = max(flow.sent[-1] for flow in flows)
    for flow in flows:
        assert flow.alive_at(end, 2.0), flow.name
        lost = len(flow.sent) - len({sequence for _, sequence in flow.arrivals})
        assert lost < len(flow.sent) / 4
    assert handshakes(net.captured(capture)) == begun
    assert not in_clear(net.captured(capture))


@pytest.mark.parametrize("payload", ["none", "inside"])
def test_at_home_with_an_uplink_besides(net: Topology, payload: str) -> None:
    """At home and away at once, and away alone again, twice: one handshake, the same SAs."""
    capture = net.capture("core", "ha")
    both = {"multihoming": True, "home_and_away": True, "probe": 0}
    protected = {} if payload == "none" else {"payload": payload}
    pair = pair_with(net, router=both, **protected).start()
    net.plug("wan2", "nat")
    pair.settled("nat")
    wait_for(lambda: reaches(net, "cn", LAN6), 20, "the LAN by the NAT")
    before, begun = spis(net, "mr"), handshakes(net.captured(capture))
    traffic = Traffic(net)
    traffic.flow("down", LAN6, RATE)
    for _ in range(2):
        net.plug("wan3", "home")
        pair.settled("home")
        binding = pair.binding()
        assert binding is not None
        assert binding["at_home"]
        assert [path["care_of"]["kind"] for path in binding["care_of_addresses"]] == ["udp4"]
        wait_for(lambda: reaches(net, "cn", LAN6), 10, "the LAN from the home link")
        net.unplug("wan3")
        pair.settled("nat")
        wait_for(lambda: not (pair.binding() or {"at_home": True})["at_home"], 5, "away")
        wait_for(lambda: reaches(net, "cn", LAN6), 10, "the LAN by the NAT again")
    (flow,) = traffic.finish()
    assert flow.alive_at(flow.sent[-1], 1.0)
    assert spis(net, "mr") == spis(net, "ha") == before
    assert handshakes(net.captured(capture)) == begun
    assert counted(net, "ike_established") == 1
    assert protected == {} or not in_clear(net.captured(capture))
    assert "Traceback" not in net.log("ha") + net.log("mr")


def test_a_nat_that_forgets_under_a_stream(net: Topology) -> None:
    """Nothing goes out: the router misses what came in, and asks; ESP of the same SAs goes on."""
    pair = pair_with(net, payload="rfc4877").start()
    net.plug("wan2", "nat")
    pair.settled("nat")
    wait_for(lambda: reaches(net, "cn", LAN6), 20, "protected payload")
    before = spis(net, "mr")
    traffic = Traffic(net)
    traffic.flow("down", LAN6, RATE, quiet=True)
    time.sleep(1.5)
    # The end of the pings before may have been asked about, five seconds before the next.
    asked = counted(net, "ike_silent")
    time.sleep(5)
    assert counted(net, "ike_silent") == asked
    forgot = net.nat_forget()
    wait_for(lambda: counted(net, "ike_silent") > asked, 5, "silence noticed")
    time.sleep(2)
    (flow,) = traffic.finish()
    arrivals = [at for at, _ in flow.arrivals]
    again = next(at for at in arrivals if at > forgot + 0.1)
    assert again - forgot < 2.5
    assert flow.alive_at(flow.sent[-1], 1.0)
    assert spis(net, "mr") == spis(net, "ha") == before
    (payload,) = (c for c in connection(net, "mr")["children"] if c["name"] == "payload")
    assert payload["traffic"]["rx_packets"] >= len(arrivals)
    assert counted(net, "ike_established") == 1


def test_daemons_that_are_killed(net: Topology) -> None:
    """The kernel goes on; a new IKE SA takes over before the old one's SAs go."""
    capture = net.capture("core", "ha")
    pair = pair_with(net, ike={"dpd": 2, "retransmissions": 4}, payload="rfc4877").start()
    net.plug("wan0", "v6")
    pair.settled("v6")
    wait_for(lambda: reaches(net, "cn", LAN6), 20, "protected payload")
    begun = handshakes(net.captured(capture))
    with lossless(net, RATE):
        for who in ("mr", "ha"):
            old = spis(net, "ha")
            pair.kill(who)
            time.sleep(1)
            pair.restart(who)
            wait_for(lambda old=old: taken_over(net, old), 90, "one IKE SA and its SAs")
            # A router resumes by its ticket; an agent that starts again knows none of them.
            assert (handshakes(net.captured(capture)) > begun) is (who == "ha")
    assert pair.router()["state"] == "Roaming"
    assert not in_clear(net.captured(capture))
    net.roam("wan0", "wan2", "nat")
    pair.settled("nat")
    wait_for(lambda: reaches(net, "cn", LAN6), 20, "after a movement")


def test_home_address_from_the_pool(net: Topology) -> None:
    """The agent's engine decides; the same identity gets the same address, always."""
    pool = "2001:db8:1::4000/120"
    pair = pair_with(
        net,
        agent={"pool6": [pool], "router": {"home_address": None}},
        router={"home_address": "auto"},
        payload="inside",
    ).start()
    net.plug("wan1", "v4")
    given = pair.settled("v4")["home_address"]
    assert ip_address(given) in ip_network(pool)
    wait_for(lambda: reaches(net, "cn", LAN6), 20, "protected payload")
    assert reaches(net, "cn", given)
    assert [c["assigned"] for c in net.ask("ha", "ike.status")["connections"]] == [[f"{given}/64"]]
    old = {state[2] for state in states(net, "ha")}
    for who in ("mr", "ha"):
        pair.kill(who)
    assert reaches(net, "cn", LAN6), "the kernels go on"
    for who in ("ha", "mr"):
        pair.restart(who)
    assert pair.settled("v4")["home_address"] == given
    wait_for(lambda: reaches(net, "cn", LAN6), 20, "protected payload after both were killed")
    wait_for(lambda: not {state[2] for state in states(net, "ha")} & old, 60, "new SAs")
    wait_for(lambda: reaches(net, "cn", LAN6), 20, "payload by the new SAs")
    assert reaches(net, "cn", given)


def test_what_is_not_authenticated_is_not_heard(net: Topology) -> None:
    """A clear update before IKE, and an identity that wants another's home address."""
    tram = (
        '[[home_agent.router]]\nidentity = "tram-3"\nhome_address = "2001:db8:1::200"\n'
        f'keys = "ikev2"\npsk = "{PSK[:-1]}0"\n'
    )
    clear = router_configuration(net, static_key=None, protection="none")
    pair = pair_with(net, agent={"more": tram})
    pair.configurations["mr"] = clear
    pair.start()
    net.plug("wan0", "v6")
    wait_for(lambda: pair.router()["attempts"] >= 2, 20, "a retransmission")
    assert pair.counter("mh_received") == 0
    assert pair.binding() is None
    pair.kill("mr")
    pair.configurations["mr"] = router_configuration(
        net,
        **(dict(IKEV2) | {"psk": PSK[:-1] + "0", "identity": "tram-3"}),
        home_agent_identity=AGENT_IDENTITY,
        prefixes=["2001:db8:200::/56"],
        home_address4=None,
    )
    pair.restart("mr")
    wait_for(lambda: net.ask("ha", "ike.status")["connections"], 30, "IKE")
    wait_for(lambda: pair.router()["attempts"] >= 2, 20, "a retransmission")
    assert connection(net, "ha")["peer"] == "tram-3"
    assert pair.counter("mh_received") == 0
    assert pair.binding() is None
    assert not [s for s in states(net, "ha") if HOA in s], "no SA for another's home address"
    assert IDENTITY not in str(net.ask("ha", "ike.status")["connections"])
