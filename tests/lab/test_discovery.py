# SPDX-License-Identifier: GPL-2.0-only
"""Home agents found, changed and lost, while a connection lives on."""

from __future__ import annotations

import socket
import struct
import time
from ipaddress import IPv6Address

import pytest

from tests.lab.homes import HA2, HA2_4, SECOND, Stream, proxies, second_agent
from tests.lab.kmodlib import inside, load_module
from tests.lab.pair import Pair, agent_configuration, all_ways, reaches, router_configuration
from tests.lab.topology import CN6, HA6, HOA, HOA4, LAN6, NET6, Topology, wait_for
from tests.lab.traffic import Traffic

#: The Mobile IPv6 Home-Agents anycast address of the home prefix (RFC 2526).
ANYCAST = "2001:db8:1:0:fdff:ffff:ffff:fffe"
NEW_PREFIX, NEW_HOA = "2001:db8:2::/64", "2001:db8:2::100"


@pytest.fixture(autouse=True)
def _module_loaded() -> None:
    load_module()


def discover(namespace: str, router: bool) -> tuple[str, bytes]:
    """Ask as any node can, octets by hand (RFC 6275 section 6.5); return source and answer."""
    with inside(namespace), socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58) as sock:
        keep = bytearray(b"\xff" * 32)
        struct.pack_into("=I", keep, 16, 0xFFFFFFFF & ~(1 << (145 - 128)))
        sock.setsockopt(58, 1, bytes(keep))
        sock.settimeout(1)
        for _ in range(10):
            sock.sendto(struct.pack("!BBHHH", 144, 0, 0, 0xBEEF, 0x8000 * router), (ANYCAST, 0))
            try:
                data, source = sock.recvfrom(2048)
            except TimeoutError:
                continue
            return source[0], data
    raise AssertionError("nobody answers")


def listed(data: bytes) -> list[str]:
    """Return the addresses of an answer (RFC 6275 section 6.6)."""
    assert data[:2] == b"\x91\0"
    assert data[4:6] == b"\xbe\xef"
    return [str(IPv6Address(data[at : at + 16])) for at in range(8, len(data), 16)]


def bound(net: Topology, who: str) -> bool:
    return bool(net.ask(who, "bindings")["bindings"])


def acknowledged(pair: Pair) -> bool:
    """Whether the router has acknowledged a revocation.

    An update that was on its way renews the binding first (RFC 5846 section 7), and
    the home agent expects no acknowledgement any more.
    """
    return pair.counter("bra_0") + pair.counter("bra_unexpected") == 1


@pytest.mark.spec("M-092", "M-093", "N-055", "E-033", "E-034", "E-051", "E-053")
def test_discovery_switch_and_revocation(net: Topology) -> None:
    others = [HA2, HA2_4]
    router = router_configuration(net, other_home_agents=others, discover=True)
    pair = Pair(net, router=router)
    with second_agent(net):
        pair.start()
        wait_for(lambda: net.ask(SECOND, "status"), 60, "the second home agent")
        net.plug("wan0", "v6")
        pair.settled("v6")

        # Discovery on the wire: the list has learned the second one, and prefers it.
        def both() -> bool:
            return len(net.ask("ha", "home-agents")["link"]) == 2

        wait_for(both, 15, "a Router Advertisement of the second home agent")
        source, answer = discover("cn", router=True)
        assert source == HA6
        assert listed(answer) == [HA2, HA6]
        assert answer[6] & 0x80, "these serve mobile routers"
        shown = net.dsmip("ha", "home-agents")
        assert HA2 in shown
        assert "this one" in shown

        # Switch: one connection lives through it.
        stream = Stream(net)
        assert HA2 in net.dsmip("ha", "switch", "bus-17", HA2)
        wait_for(lambda: bound(net, SECOND), 20, "a binding at the second home agent")
        assert pair.settled("v6")["home_agent"] == HA2
        assert not bound(net, "ha")
        assert proxies(net, "ha") == set()
        assert proxies(net, SECOND) == {HOA, HOA4}
        stream.mark("switched", 4)
        assert all_ways(net) == [True] * 5

        # The new one sends it away without a name: it goes where it knows another.
        net.ask(SECOND, "switch", router="bus-17")
        wait_for(lambda: bound(net, "ha"), 20, "a binding at the first home agent")
        assert pair.settled("v6")["home_agent"] == HA6
        stream.mark("back", 4)
        stream.finish()

        # Revocation: mended at once when it only says that both disagree.
        net.ask("ha", "revoke", router=HOA, reason="out-of-sync")
        wait_for(lambda: acknowledged(pair), 5, "an acknowledgement")
        pair.settled("v6")
        assert bound(net, "ha")
        assert "being revoked" in net.dsmip("ha", "revoke", "bus-17")
        wait_for(lambda: not bound(net, "ha"), 5, "the binding's end")
        told = net.dsmip("mr", "status")
        assert "revoked the binding: administrative" in told
        assert "Refused by home agent" in told
        assert "Traceback" not in net.log("ha") + net.log("mr") + net.log(SECOND)


def test_lost_home_agent_is_replaced_by_discovery(net: Topology) -> None:
    """Keys can be derived for any home agent of the prefix; nobody names it but discovery."""
    pair = Pair(net, router=router_configuration(net, discover=True))
    with second_agent(net):
        pair.start()
        wait_for(lambda: net.ask(SECOND, "status"), 60, "the second home agent")
        net.plug("wan0", "v6")
        pair.settled("v6")
        wait_for(lambda: len(net.ask("ha", "home-agents")["link"]) == 2, 15, "the list")
        net.ask("ha", "switch", router="bus-17")
        wait_for(lambda: bound(net, SECOND), 20, "a binding at the second home agent")
        assert pair.settled("v6")["home_agent"] == HA2
        log = net.log("mr")
        assert "looking for home agents" in log
        assert f"names home agents: {HA2}" in log
        time.sleep(1)
        assert all_ways(net) == [True] * 5


def test_renumbering_with_a_tcp_connection(net: Topology) -> None:
    """Old and new home address live side by side; the mobile network changes hands unnoticed."""
    routed = f"ip route add {NEW_PREFIX} via 2001:db8:f:1::2\n"
    net.shell("core", routed)
    net.shell("ha", "ip addr add 2001:db8:2::1/64 dev home\n")
    both = ["2001:db8:1::/64", NEW_PREFIX, "198.51.100.0/24"]
    options = {"prefixes": both, "prefix_delay_min": 1, "prefix_delay_max": 2, "lifetime": 120}
    entry = {"prefix_discovery": True}
    agent = agent_configuration(
        net, router=entry, prefix_lifetimes=["2001:db8:1::/64 7200 3600"], **options
    )
    router = router_configuration(net, prefix_discovery=True, home_address4=None)
    pair = Pair(net, agent, router).start()
    net.plug("wan0", "v6")
    pair.settled("v6")
    assert pair.router()["home_address"] == HOA
    stream = Stream(net)
    to_router = Traffic(net)
    to_router.transfer("old", HOA, rate=20_000, sink="mr")

    # The new prefix comes, the old one is deprecated and ends in a while.
    lives = ["2001:db8:1::/64 25 0 counting", f"{NEW_PREFIX} 7200 3600"]
    pair.reconfigure(
        "ha", agent_configuration(net, router=entry, prefix_lifetimes=lives, **options)
    )
    started = time.monotonic()
    wait_for(lambda: pair.router()["home_address"] == NEW_HOA, 20, "the new home address")
    held = {b["home_address"]: b for b in net.ask("ha", "bindings")["bindings"]}
    assert set(held) == {HOA, NEW_HOA}
    assert NET6 in held[NEW_HOA]["prefixes"]
    assert held[HOA]["prefixes"] == []
    stream.mark("new home address")
    ways = [("cn", LAN6), ("lan", CN6), ("cn", HOA), ("cn", NEW_HOA)]
    assert [reaches(net, *way) for way in ways] == [True] * 4
    # A move takes both along.
    net.plug("wan2", "nat")
    net.ask("mr", "handover", uplink="nat")
    pair.settled("nat")
    stream.mark("moved")
    assert [reaches(net, *way) for way in ways] == [True] * 4
    # A connection to the old home address lives as long as that.
    (old,) = to_router.finish()
    assert old.alive_at(time.monotonic() - 0.7, 2.0)

    wait_for(
        lambda: [b["home_address"] for b in net.ask("ha", "bindings")["bindings"]] == [NEW_HOA],
        40,
        "the end of the old home address",
    )
    assert time.monotonic() - started > 20
    wait_for(lambda: HOA not in net.run("mr", ["ip", "-6", "addr"]), 10, "its removal")
    stream.mark("old one gone")
    stream.finish()
    # Who starts again knows which home address it has, and goes to the uplink it prefers.
    pair.kill("mr")
    pair.restart("mr")
    pair.settled("v6")
    assert pair.router()["home_address"] == NEW_HOA
    assert reaches(net, "cn", LAN6)
    assert "Traceback" not in net.log("ha") + net.log("mr")
