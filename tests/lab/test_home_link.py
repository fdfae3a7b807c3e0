# SPDX-License-Identifier: GPL-2.0-only
"""The home link: coming home, leaving it, and who defends the home address meanwhile."""

from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import IPv6Address

import pytest
from dsmip.linux.dsmip import DsmipDevice

from tests.lab.homes import Frame, Neighbour, Stream, frames, proxies
from tests.lab.kmodlib import inside, load_module
from tests.lab.pair import Pair, agent_configuration, all_ways, reaches, router_configuration
from tests.lab.topology import CN6, HA6, HOA, HOA4, LAN6, Topology, wait_for

ALL_NODES = "ff02::1"
LINK_LOCAL = "fe80::100"
AGENT_MAC = "02:00:00:00:00:01"
RA, NS, NA = 134, 135, 136
HOME_AGENT = 0x20
OVERRIDE, ROUTER = 0x20, 0x80
ESP = 50


@pytest.fixture(autouse=True)
def _module_loaded() -> None:
    load_module()


def members(net: Topology, interface: str) -> str:
    return net.run("mr", ["ip", "-6", "maddr", "show", "dev", interface])


def announced(heard: list[Frame], target: str) -> list[Frame]:
    """Return the unsolicited advertisements to all nodes for an address."""
    return [
        f
        for f in heard
        if f.icmp == NA and str(f.destination) == ALL_NODES and str(f.target) == target
    ]


@pytest.mark.spec("M-080", "M-081", "M-140", "M-141", "M-143", "N-020", "N-022", "N-049")
def test_home_and_away_with_a_tcp_connection(net: Topology) -> None:
    """Who says what on the home link, in which order; one connection lives through all of it."""
    file = net.capture("ha", "home")
    pair = Pair(net, router=router_configuration(net, link_local=True)).start()
    net.plug("wan0", "v6")
    pair.settled("v6")
    assert proxies(net) == {HOA, HOA4, LINK_LOCAL}
    assert "ff02::2" not in members(net, "wan0").split()
    stream = Stream(net)
    net.plug("wan3", "home")
    pair.settled("home")
    wait_for(lambda: pair.binding() is None, 5, "de-registration")
    assert proxies(net) == set()
    assert "ff02::2" in members(net, "wan3").split()
    assert LINK_LOCAL in net.run("mr", ["ip", "-6", "addr", "show", "dev", "wan3"])
    stream.mark("home")
    assert all_ways(net) == [True] * 5
    net.unplug("wan3")
    pair.settled("v6")
    assert proxies(net) == {HOA, HOA4, LINK_LOCAL}
    assert LINK_LOCAL not in net.run("mr", ["ip", "-6", "addr", "show"])
    stream.mark("away")
    # Away by choice while the home link is still plugged in: nobody else answers for it.
    net.plug("wan3", "home")
    pair.settled("home")
    net.ask("mr", "handover", uplink="v6")
    pair.settled("v6")
    assert pair.counter("bu_refused_134") == 0
    assert proxies(net) == {HOA, HOA4, LINK_LOCAL}
    assert "ff02::2" not in members(net, "wan3").split()
    stream.mark("by choice")
    stream.finish()
    heard = frames(net.captured(file))
    mine = net.link_address("mr", "wan3")
    leave = next(f for f in heard if f.sender == mine and f.next_header == ESP)
    assert (str(leave.source), str(leave.destination)) == (HOA, HA6)
    answer = next(f for f in heard if f.sender == AGENT_MAC and f.next_header == ESP)
    assert answer.at > leave.at
    # Nothing asked as the home address before the update, and the kernel, whose probes have
    # a nonce, did not probe it: who has heard no advertisement asks where the agent is.
    early = [f for f in heard if f.sender == mine and f.at < leave.at]
    assert not [f for f in early if str(f.source) == HOA]
    asked = [f for f in early if f.icmp == NS and str(f.target) == HOA]
    assert all(str(f.source) == "::" and len(f.data) == 24 for f in asked)
    for target in (HOA, LINK_LOCAL):
        ours = [f for f in announced(heard, target) if f.sender == mine]
        theirs = [f for f in announced(heard, target) if f.sender == AGENT_MAC]
        # Its kernel's answers to who asks from :: override nothing.
        answers = [f for f in theirs if not f.data[4] & OVERRIDE]
        questions = [f for f in heard if f.icmp == NS and str(f.target) == target]
        assert len(answers) <= sum(int(f.source) == 0 for f in questions)
        theirs = [f for f in theirs if f not in answers]
        assert ours
        assert ours[0].at > answer.at, "announced before the home agent has let go"
        assert ours[0].data[4] & OVERRIDE
        assert len(theirs) >= 2, "announced by the home agent at each leaving"
        for frame in theirs:
            assert frame.data[4] == OVERRIDE | ROUTER
            assert frame.data[24:32] == b"\x02\x01" + bytes.fromhex(AGENT_MAC.replace(":", ""))


@pytest.mark.spec("X-022", "X-023", "X-024", "X-025", "D-050")
def test_at_home_with_an_uplink_besides(net: Topology) -> None:
    """The binding stays; who answers for the home address is as the home agent says."""
    file = net.capture("ha", "home")
    both = router_configuration(net, multihoming=True, home_and_away=True, probe=0)
    pair = Pair(net, router=both).start()
    net.plug("wan2", "nat")
    pair.settled("nat")
    neighbour = Neighbour(net)
    try:
        assert neighbour.finds(HOA) == neighbour.finds(HOA4) == AGENT_MAC
        stream = Stream(net)
        net.plug("wan3", "home")
        pair.settled("home")
        mine = net.link_address("mr", "wan3")
        binding = pair.binding()
        assert binding is not None
        assert binding["at_home"]
        assert [path["care_of"]["kind"] for path in binding["care_of_addresses"]] == ["udp4"]
        # Other routers may be there: the home agent answers, hands on by what it was told,
        # and redirects hosts. ARP knows no such thing.
        assert neighbour.finds(HOA)
        assert neighbour.finds(HOA4) == mine
        assert all_ways(net) == [True] * 5
        stream.mark("silent")
        heard = frames(net.captured(file))
        told = [f for f in heard if f.icmp == NA and str(f.target) == HOA]
        assert {f.sender for f in told} == {AGENT_MAC}
        direct = [f for f in heard if str(f.destination) == LAN6 and f.sender == AGENT_MAC]
        assert direct, "what goes to the mobile network crosses the home link in clear"
        # The cable is pulled: nothing is looked for, nothing registered anew.
        net.unplug("wan3")
        pair.settled("nat")
        wait_for(lambda: not (pair.binding() or {"at_home": True})["at_home"], 5, "the other way")
        assert neighbour.finds(HOA) == neighbour.finds(HOA4) == AGENT_MAC
        again = [f for f in announced(frames(net.captured(file)), HOA) if f.at > heard[-1].at]
        assert {f.sender for f in again} == {AGENT_MAC}, "hosts are told that it has gone"
        stream.mark("away")
        # The only router lets it answer for itself.
        pair.reconfigure("ha", agent_configuration(net, only_router=True))
        net.plug("wan3", "home")
        pair.settled("home")
        assert neighbour.finds(HOA) == neighbour.finds(HOA4) == mine
        assert proxies(net) == set()
        assert all_ways(net) == [True] * 5
        stream.mark("answering")
        pair.kill("ha")
        pair.restart("ha")
        assert neighbour.finds(HOA) == mine
        assert all_ways(net) == [True] * 5
        net.unplug("wan3")
        pair.settled("nat")
        wait_for(lambda: HOA in proxies(net), 5, "the proxy")
        assert neighbour.finds(HOA) == AGENT_MAC
        stream.mark("away again")
        stream.finish()
        assert pair.counter("bu_refused_134") == 0
        assert "Traceback" not in net.log("ha") + net.log("mr")
    finally:
        neighbour.close()


@pytest.mark.spec("M-142")
def test_home_agent_that_does_not_advertise_is_asked_from_nowhere(net: Topology) -> None:
    """The home address is solicited from ::, and the proxy's answer names the home agent."""
    pair = Pair(net).start()
    net.plug("wan0", "v6")
    pair.settled("v6")
    # Its address is no longer in its advertisements, only the prefix.
    advertise_otherwise(net, "AdvRouterAddr on", "AdvRouterAddr off")
    file = net.capture("ha", "home")
    net.plug("wan3", "home")
    pair.settled("home")
    wait_for(lambda: pair.binding() is None, 5, "de-registration")
    assert reaches(net, "cn", LAN6)
    heard = frames(net.captured(file))
    mine = net.link_address("mr", "wan3")
    leave = next(f for f in heard if f.sender == mine and f.next_header == ESP)
    asked = [f for f in heard if f.icmp == NS and str(f.target) == HOA and f.at < leave.at]
    assert asked
    assert {(str(f.source), str(f.destination)) for f in asked} == {("::", "ff02::1:ff00:100")}
    told = announced(heard, HOA)
    assert told[0].sender == AGENT_MAC
    assert not [f for f in heard if f.at < leave.at and str(f.source) == HOA]


@pytest.mark.spec("M-144", "M-090")
def test_router_that_starts_at_home_looks_for_a_duplicate(net: Topology) -> None:
    """By advertisements of the home agent's own, for once."""
    net.run("ha", ["sh", "-c", f"kill $(cat {net.directory}/radvd-ha.pid)"])
    file = net.capture("ha", "home")
    uplinks = {"wan3": "home"}
    agent = agent_configuration(net, advertise="router", preference=9)
    pair = Pair(net, agent, router_configuration(net, uplinks=uplinks))
    pair.start("ha")
    net.plug("wan3", "home")
    pair.start("mr")
    pair.settled("home")
    assert reaches(net, "cn", HOA)
    wait_for(lambda: announced(frames(net.captured(file)), HOA), 5, "an announcement")
    heard = frames(net.captured(file))
    probes = [f for f in heard if f.icmp == NS and str(f.target) == HOA and int(f.source) == 0]
    assert probes
    assert announced(heard, HOA)[0].at > probes[0].at + 0.9
    (told, *_) = [f for f in heard if f.icmp == RA and f.at < probes[0].at]
    assert told.sender == AGENT_MAC
    assert told.data[5] & HOME_AGENT
    assert IPv6Address(HA6).packed in told.data
    assert b"\x08\x01\x80\x00\x00\x09" in told.data, "its place in the list"


def advertise_otherwise(net: Topology, before: str, after: str) -> None:
    """Change what the home agent advertises on the home link."""
    conf = net.directory / "radvd-ha.conf"
    conf.write_text(conf.read_text().replace(before, after))
    net.run("ha", ["sh", "-c", f"kill -HUP $(cat {net.directory}/radvd-ha.pid)"])


def behind(net: Topology, numbers: int) -> None:
    """Let the router's kernel remember a sequence number that is long past."""
    with inside("mr"):
        device = DsmipDevice(socket.if_nametoindex("mip0"), "mip0")
        (state,) = device.bindings()
        sequence = (state.binding.sequence - numbers) & 0xFFFF
        device.put_binding(replace(state.binding, sequence=sequence))


@pytest.mark.spec("M-074")
def test_refused_at_home_is_told_on_the_home_link(net: Topology) -> None:
    """While the home agent still holds a binding that leads elsewhere, and defends the address."""
    file = net.capture("ha", "home")
    pair = Pair(net).start()
    net.plug("wan0", "v6")
    pair.settled("v6")
    # There is no care-of address on that link, whence a first update could come.
    advertise_otherwise(net, "AdvAutonomous on", "AdvAutonomous off")
    pair.kill("mr")
    behind(net, 1000)
    net.roam("wan0", "wan3", "home")
    pair.restart("mr")
    pair.settled("home")
    wait_for(lambda: pair.binding() is None, 5, "de-registration")
    assert pair.counter("bu_refused_135") == 1

    def told() -> list[Frame]:
        return [
            f for f in frames(net.captured(file)) if f.sender == AGENT_MAC and f.next_header == ESP
        ]

    # The refusal, and the answer to what came of it.
    wait_for(lambda: len(told()) == 2, 5, "both answers on the home link")
    assert {str(f.destination) for f in told()} == {HOA}
    assert reaches(net, "cn", LAN6)


def test_virtual_home_link(net: Topology) -> None:
    """A home prefix that is only routed to the home agent: nothing to defend, all works."""
    pair = Pair(net, agent=agent_configuration(net, interface=None)).start()
    net.shell("ha", "ip addr del 2001:db8:1::1/64 dev home\nip addr add 2001:db8:1::1/128 dev lo\n")
    net.plug("wan0", "v6")
    pair.settled("v6")
    assert proxies(net) == set()
    assert reaches(net, "cn", LAN6)
    assert reaches(net, "lan", CN6)
    assert reaches(net, "cn", HOA)
