# SPDX-License-Identifier: GPL-2.0-only
"""The network of the lab is what scenarios take it for."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from tests.lab.kmodlib import inside
from tests.lab.topology import ACCESS, CN4, CN6, HA4, HA6, HOA, LAN6, Topology, wait_for


@pytest.fixture
def net(shared_net: Topology) -> Iterator[Topology]:
    """The network with nothing plugged in, as it was made."""
    yield shared_net
    for wan in list(shared_net.where):
        shared_net.unplug(wan)
    shared_net.nat_expires()
    shared_net.login()
    shared_net.logout()


def addresses(net: Topology, wan: str) -> list[str]:
    """Return the global addresses of an uplink that can be used now."""
    found = net.run("mr", ["ip", "-o", "addr", "show", "dev", wan, "scope", "global"])
    usable = [line for line in found.splitlines() if "tentative" not in line]
    return [line.split()[3].partition("/")[0] for line in usable]


def await_address(net: Topology, wan: str, start: str) -> None:
    wait_for(lambda: any(a.startswith(start) for a in addresses(net, wan)), 8, f"{start} on {wan}")


def reaches(net: Topology, namespace: str, address: str, *options: str) -> bool:
    """Tell whether a ping is answered; the first of two may wait for neighbours."""
    command = ["ping", "-n", "-q", "-c", "2", "-i", "0.2", "-W", "1", *options, address]
    return re.search(r" [12] received", net.run(namespace, command, check=False)) is not None


def round_trip_ms(net: Topology, address: str) -> float:
    """Return the smallest of some round trips from the mobile router."""
    command = ["ping", "-n", "-q", "-c", "4", "-i", "0.2", "-W", "2", address]
    return float(net.run("mr", command).splitlines()[-1].partition("= ")[2].split("/")[0])


@contextlib.contextmanager
def udp(namespace: str, address: str, port: int) -> Iterator[socket.socket]:
    with inside(namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, port))
        sock.settimeout(2)
        yield sock


def solicited_after(wan: str) -> float:
    """Ask for a router advertisement; return seconds until one came."""
    with inside("mr"), socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58) as sock:
        index = socket.if_nametoindex(wan)
        passing = [0xFFFFFFFF] * 8
        passing[134 >> 5] ^= 1 << (134 & 31)
        sock.setsockopt(58, 1, struct.pack("=8I", *passing))
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sock.settimeout(2)
        start = time.monotonic()
        sock.sendto(struct.pack("!BBHI", 133, 0, 0, 0), ("ff02::2", 0, 0, index))
        while sock.recvfrom(2048)[1][3] != index:
            pass
        return time.monotonic() - start


@pytest.mark.parametrize("network", ["v6", "v6only", "home"])
def test_ipv6_access_by_advertisement(net: Topology, network: str) -> None:
    prefix = ACCESS[network].prefix6 if network in ACCESS else "2001:db8:1"
    net.plug("wan0", network)
    await_address(net, "wan0", prefix)
    expected = 0 if network == "home" else net.rtt_ms
    assert round_trip_ms(net, HA6) >= expected
    assert reaches(net, "mr", CN6)
    # A node with its home address there, and none of it after the cable is pulled.
    if network == "home":
        net.run("mr", ["ip", "addr", "add", f"{HOA}/64", "dev", "wan0", "nodad"])
        assert reaches(net, "cn", HOA)
    net.unplug("wan0")
    assert addresses(net, "wan0") == []
    assert not reaches(net, "mr", HA6)


@pytest.mark.parametrize("network", ["v4", "nat", "v6"])
def test_ipv4_access_by_lease(net: Topology, network: str) -> None:
    net.plug("wan0", network)
    assert f"{ACCESS[network].prefix4}.9" in addresses(net, "wan0")
    assert round_trip_ms(net, HA4) >= net.rtt_ms
    assert reaches(net, "mr", CN4)
    net.unplug("wan0")
    assert addresses(net, "wan0") == []
    assert not reaches(net, "mr", HA4)


def test_a_cable_is_a_carrier(net: Topology) -> None:
    wait_for(lambda: "NO-CARRIER" in net.run("mr", ["ip", "link", "show", "wan0"]), 5, "no carrier")
    plugged = net.plug("wan0", "v4", lease=False)
    wait_for(lambda: "LOWER_UP" in net.run("mr", ["ip", "link", "show", "wan0"]), 1, "carrier")
    assert addresses(net, "wan0") == []
    assert net.unplug("wan0") > plugged
    wait_for(lambda: "NO-CARRIER" in net.run("mr", ["ip", "link", "show", "wan0"]), 5, "no carrier")


def test_two_uplinks_at_once(net: Topology) -> None:
    net.plug("wan0", "v4")
    net.plug("wan1", "nat")
    for wan in ("wan0", "wan1"):
        assert reaches(net, "mr", HA4, "-I", wan)


def test_nat_translates_and_forgets(net: Topology) -> None:
    net.plug("wan0", "nat")
    inner = f"{ACCESS['nat'].prefix4}.9"
    with udp("ha", HA4, 4191) as agent, udp("mr", inner, 4191) as router:
        router.sendto(b"first", (HA4, 4191))
        _, before = agent.recvfrom(100)
        assert before[0] == net.nat_outside
        agent.sendto(b"answer", before)
        assert router.recv(100) == b"answer"
        net.nat_forget()
        agent.sendto(b"too late", before)
        with pytest.raises(TimeoutError):
            router.recv(100)
        router.sendto(b"second", (HA4, 4191))
        _, after = agent.recvfrom(100)
        assert after[0] == before[0]
        assert after[1] != before[1]
        agent.sendto(b"answer again", after)
        assert router.recv(100) == b"answer again"


def test_nat_mappings_expire(net: Topology) -> None:
    net.nat_expires(2)
    net.plug("wan0", "nat")
    inner = f"{ACCESS['nat'].prefix4}.9"
    with udp("ha", HA4, 4191) as agent, udp("mr", inner, 4191) as router:
        router.sendto(b"first", (HA4, 4191))
        _, before = agent.recvfrom(100)
        time.sleep(4)
        agent.sendto(b"too late", before)
        with pytest.raises(TimeoutError):
            router.recv(100)


def test_captive_network_holds_until_login(net: Topology) -> None:
    net.plug("wan0", "captive")
    assert reaches(net, "mr", ACCESS["captive"].router4)
    assert not reaches(net, "mr", HA4)
    net.login()
    assert reaches(net, "mr", HA4)


def test_v6only_has_no_ipv4(net: Topology) -> None:
    net.plug("wan0", "v6only")
    await_address(net, "wan0", ACCESS["v6only"].prefix6)
    assert not any("." in address for address in addresses(net, "wan0"))
    assert not reaches(net, "mr", HA4)


@pytest.mark.parametrize("network", ["v6", "v6only", "home"])
def test_an_advertisement_comes_at_once(net: Topology, network: str) -> None:
    net.plug("wan0", network)
    own = ["ip", "-o", "-6", "addr", "show", "dev", "wan0", "scope", "link", "-tentative"]
    wait_for(lambda: net.run("mr", own), 5, "a link-local address")
    # Unsolicited ones are at least three seconds apart.
    assert solicited_after("wan0") < 2


def test_the_lan_hides_behind_its_router(net: Topology) -> None:
    wait_for(lambda: reaches(net, "mr", LAN6), 10, "the host in the LAN")
    assert not reaches(net, "cn", LAN6)
