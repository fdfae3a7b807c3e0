# SPDX-License-Identifier: GPL-2.0-only
"""Several care-of addresses of one binding, and what never takes any of them."""

from __future__ import annotations

import socket
from ipaddress import IPv6Address

import pytest
from dsmip.packet.mobility import HomeTestInit, build

from tests.lab.kmodlib import N, attr, inside, ip_batch, nest, packed, path, u32
from tests.lab.kmodnet import (
    CN,
    COA,
    HA,
    HOME,
    LAN,
    STRANGER,
    World,
    datagram,
    home_address_header,
    ip6,
    mobility,
    reaches,
)

pytest_plugins = ["tests.lab.kmodfixtures"]

SECOND = "2001:db8:a::3"
DST, MH, TUNNEL, UDP = 60, 135, 41, 17
GROUP = "ff0e::4191"


def two(world: World) -> None:
    """Bind the home address by two care-of addresses; the first one is in use."""
    world.bind_agent(
        path("ip6", HA, COA, bid=1, priority=1), path("ip6", HA, SECOND, bid=3, priority=10)
    )
    world.bind_router(path("ip6", COA, HA, bid=1))


@pytest.mark.spec("X-020")
def test_home_address_option_by_any_care_of_address(world: World) -> None:
    """Data needs one that is registered, whichever is in use; an update needs none."""
    two(world)
    events = world.events(world.ha)
    sink = world.sink(world.ha, HA)
    agent = world.mobility_socket(world.ha, HA)
    outsider = world.injector(world.core)
    data = home_address_header(HOME, UDP) + datagram(HOME, HA)[40:]
    with world.agent.counting():
        for care_of in (COA, SECOND):
            outsider.send(ip6(care_of, HA, DST, data))
            assert sink.get() == (b"data", HOME)
    assert not events.drain()
    with world.agent.counting(rx_stranger=1):
        outsider.send(ip6(STRANGER, HA, DST, data))
        assert sink.get(0.2) is None
    # The daemon hears of it, and answers with a Binding Error.
    event = events.wait("STRANGER")
    assert (event["home_address"], event["path"]["remote"]) == (HOME, STRANGER)
    update = mobility(HOME, HA, 5)
    outsider.send(ip6(STRANGER, HA, DST, home_address_header(HOME, MH) + update))
    got = agent.get()
    assert got is not None
    assert got[:2] == (update, HOME)
    # One that was given up counts no more.
    world.agent.path_del(HOME, 3)
    with world.agent.counting(rx_stranger=1):
        outsider.send(ip6(SECOND, HA, DST, data))
        assert sink.get(0.2) is None


@pytest.mark.spec("X-027")
def test_home_test_init_by_any_care_of_address(world: World) -> None:
    """The correspondent gets it as the home address sent it, by whichever path it came."""
    two(world)
    correspondent = world.mobility_socket(world.core, CN)
    outsider = world.injector(world.core)
    init = bytes(build(HomeTestInit(b"c" * 8), IPv6Address(HOME), IPv6Address(CN)))
    inner = ip6(HOME, CN, MH, init)
    with world.agent.counting():
        for care_of in (COA, SECOND):
            outsider.send(ip6(care_of, HA, TUNNEL, inner))
            got = correspondent.get()
            assert got is not None
            assert got[:2] == (init, HOME)
    with world.agent.counting(rx_wrong_source=1):
        outsider.send(ip6(STRANGER, HA, TUNNEL, inner))
        assert correspondent.get(0.3) is None


@pytest.mark.spec("M-112", "M-118")
def test_neighbours_and_groups_take_neither_tunnel_nor_option(world: World) -> None:
    """Neighbour discovery stays on its link, and no group has packets in the tunnel."""
    world.bind("ip6")
    flags = N["DSMIP_BINDING_F_DIRECT"]

    def direct(address: str) -> None:
        home = attr("DSMIP_A_HOME_ADDRESS", packed(address))
        way = nest("DSMIP_A_PATHS", nest(1, path("ro", COA, CN)))
        world.router.ask("BINDING_SET", home, attr("DSMIP_A_BINDING_FLAGS", u32(flags)), way)

    direct(CN)
    for address in ("fe80::1", "ff02::1", GROUP):
        with pytest.raises(OSError):  # noqa: PT011
            direct(address)
    wire = world.capture(world.core, "tomr", groups=True)
    assert reaches(world.mr, LAN, world.core, CN)
    ip_batch(world.mr, "neigh flush dev wan0")
    with inside(world.mr), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        sender.bind((HOME, 0))
        sender.sendto(b"direct", (CN, 9000))
        index = socket.if_nametoindex("mip0")
        # A listener report of the kernel's, and data, both by the device.
        member = packed(GROUP) + index.to_bytes(4, "little")
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        before = world.router.counters()["tx_no_binding"]
        sender.sendto(b"group", (GROUP, 9000, 0, index))
        assert world.router.counters()["tx_no_binding"] > before
    wire.find(lambda p: p[6] == DST and p[40] == UDP)
    packets = [p for p in wire.packets(0.5) if p[0] >> 4 == 6]
    asked = [p for p in packets if p[6] == 58 and p[40] in (135, 136)]
    assert asked, "the way to the next hop was looked for"
    assert {IPv6Address(p[8:24]) for p in asked} & {IPv6Address(HOME)} == set()
    with_option = [p for p in packets if p[6] == DST and 0xC9 in p[40:64]]
    assert {IPv6Address(p[24:40]) for p in with_option} == {IPv6Address(CN)}
    tunnelled = [p[40:] for p in packets if p[6] == TUNNEL]
    assert tunnelled
    assert not [p for p in tunnelled if p[24] == 0xFF or p[6] == 0]
    assert packed(GROUP) not in b"".join(packets)


def test_multicast_from_the_tunnel_is_nobodys(world: World) -> None:
    world.bind("ip6")
    outsider = world.injector(world.core)
    for source in (HOME, LAN):
        with world.agent.counting(rx_bad_inner=1):
            outsider.send(ip6(COA, HA, TUNNEL, datagram(source, GROUP)))
