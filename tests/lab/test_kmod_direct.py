# SPDX-License-Identifier: GPL-2.0-only
"""Direct bindings of dsmip.ko: what goes around the home agent, and what does not."""

from __future__ import annotations

import errno
from ipaddress import IPv6Address

import pytest
from dsmip.packet.extension import build_routing
from dsmip.packet.mobility import CareOfTest, HomeTest, HomeTestInit, Message, build

from tests.lab.kmodlib import (
    Device,
    N,
    NetlinkError,
    attr,
    ip_batch,
    nest,
    packed,
    path,
    prefix,
    u8,
    u32,
)
from tests.lab.kmodnet import CN, COA, HA, HOME, LAN, World, ip6, reaches

pytest_plugins = ["tests.lab.kmodfixtures"]

DIRECT = N["DSMIP_BINDING_F_DIRECT"]
DST, ROUTING, TUNNEL, MH = 60, 43, 41, 135


def direct(device: Device, address: str, *more: bytes, flags: int = DIRECT) -> None:
    """Install a direct binding."""
    home = attr("DSMIP_A_HOME_ADDRESS", packed(address))
    device.ask("BINDING_SET", b"".join((home, attr("DSMIP_A_BINDING_FLAGS", u32(flags)), *more)))


def by(*paths: bytes) -> bytes:
    return nest("DSMIP_A_PATHS", *(nest(1, one) for one in paths))


def mh(message: Message, source: str, destination: str) -> bytes:
    return bytes(build(message, IPv6Address(source), IPv6Address(destination)))


def correspondent(world: World) -> Device:
    """Make the core a correspondent that knows the router's care-of address."""
    ip_batch(
        world.core, f"link add mip0 type dsmip\nlink set mip0 up\nroute replace {HOME} dev mip0"
    )
    device: Device = world.keep(Device(world.core))
    direct(device, HOME, by(path("ro", CN, COA)))
    return device


@pytest.mark.spec("M-111", "M-021", "M-023", "M-110")
def test_the_home_address_goes_directly_and_nothing_else(world: World) -> None:
    world.bind("ip6")
    seen = world.capture(world.core, "tomr")

    told = 0

    def forms() -> list[int]:
        """Return what came since the last time: by which header after IPv6's."""
        nonlocal told
        packets = seen.packets()[told:]
        told += len(packets)
        return [p[6] for p in packets if p[0] >> 4 == 6 and p[6] in (DST, ROUTING, TUNNEL)]

    assert reaches(world.mr, HOME, world.core, CN)
    assert forms() == [TUNNEL]
    other = correspondent(world)
    direct(world.router, CN, by(path("ro", COA, CN)))
    with other.counting(), world.router.counting(), world.agent.counting():
        assert reaches(world.mr, HOME, world.core, CN)
        assert reaches(world.core, CN, world.mr, HOME)
    assert forms() == [DST, ROUTING]
    # A host of the mobile network, though its address is this machine's own, and the way to it.
    assert reaches(world.mr, LAN, world.core, CN)
    assert reaches(world.core, CN, world.mr, LAN)
    assert forms() == [TUNNEL, TUNNEL]
    # A mobility message, though it is the home address's own.
    node = world.mobility_socket(world.mr, HOME)
    there = world.mobility_socket(world.core, CN)
    message = mh(HomeTestInit(b"c" * 8), HOME, CN)
    node.send(CN, message)
    got = there.get()
    assert got is not None
    assert got[1:] == (HOME, None)
    assert forms() == [TUNNEL]
    # Without the correspondent's half it is a stranger's.
    other.binding_del(HOME)
    with other.counting(rx_stranger=1):
        assert not reaches(world.mr, HOME, world.core, CN, timeout=0.3)
    world.router.binding_del(CN)
    ip_batch(world.core, f"route replace {HOME} via {HA}")
    assert reaches(world.mr, HOME, world.core, CN)


@pytest.mark.spec("M-182")
def test_home_tests_come_by_the_tunnel_only(world: World) -> None:
    world.bind("ip6")
    there = world.mobility_socket(world.mr, HOME)
    test, other = HomeTest(1, b"c" * 8, b"t" * 8), CareOfTest(1, b"c" * 8, b"t" * 8)
    ip_batch(world.core, f"route replace {HOME} via {COA}")
    link = world.injector(world.core)
    padding = bytes((MH, 0, 1, 4, 0, 0, 0, 0))
    packet = mh(test, CN, HOME)
    fragment = bytes((MH, 0, 0, 1)) + b"\0\0\0\7"
    with world.router.counting(rx_wrong_source=4):
        link.send(ip6(CN, HOME, MH, packet))
        link.send(ip6(CN, HOME, DST, padding + packet))
        link.send(ip6(CN, HOME, 44, fragment + packet[:8]))
        link.send(ip6(CN, COA, ROUTING, build_routing(IPv6Address(HOME), MH) + packet))
        assert there.get(0.3) is None
    # Others pass, as before, and by the tunnel it comes with a note.
    link.send(ip6(CN, HOME, MH, mh(other, CN, HOME)))
    assert there.get() is not None
    ip_batch(world.core, f"route replace {HOME} via {HA}")
    link.send(ip6(CN, HOME, MH, packet))
    got = there.get()
    assert got is not None
    assert (got[0], got[1]) == (packet, CN)
    assert got[2] is not None
    assert str(got[2].address) == HA
    # At home there is no path, and it comes as it comes to anybody.
    world.router.binding_del(HOME)
    world.bind_router()
    ip_batch(world.core, f"route replace {HOME} via {COA}")
    link.send(ip6(CN, HOME, MH, packet))
    assert there.get() is not None


def test_whom_the_home_address_speaks_to(world: World) -> None:
    world.bind("ip6")
    events = world.events(world.mr)
    assert reaches(world.mr, HOME, world.core, CN)
    assert events.drain() == []
    world.router.ask("DEVICE_SET", attr("DSMIP_A_TELL_TUNNELLED", u8(1)))
    assert world.router.device_get()["tell_tunnelled"] == 1
    assert reaches(world.mr, LAN, world.core, CN)
    assert reaches(world.mr, HOME, world.ha, HA)
    assert events.drain() == []
    for _ in range(5):
        assert reaches(world.mr, HOME, world.core, CN)
    event = events.wait("TUNNELLED")
    assert event["home_address"] == HOME
    assert (event["path"]["local"], event["path"]["remote"]) == (HOME, CN)
    # Not for every packet.
    assert len(events.drain()) < 3
    correspondent(world)
    direct(world.router, CN, by(path("ro", COA, CN)))
    events.drain(1.2)
    assert reaches(world.mr, HOME, world.core, CN)
    assert events.drain() == []


def test_requests_that_make_no_direct_binding(world: World) -> None:
    good = by(path("ro", COA, CN))
    mobile = N["DSMIP_BINDING_F_MOBILE"]
    prefixes = nest("DSMIP_A_PREFIXES", nest(1, prefix("2001:db8:7::/64")))
    for more, flags in (
        ((good,), DIRECT | mobile),
        ((good, prefixes), DIRECT),
        ((good, attr("DSMIP_A_HOME_ADDRESS4", packed("192.0.2.7"))), DIRECT),
        ((by(path("ip6", COA, CN)),), DIRECT),
        ((good,), 1 << 31),
    ):
        with pytest.raises(NetlinkError):
            direct(world.router, CN, *more, flags=flags)
        assert world.router.bindings() == []
    direct(world.router, CN, good)
    home = attr("DSMIP_A_HOME_ADDRESS", packed(CN))
    with pytest.raises(NetlinkError):
        world.router.ask("BINDING_SET", home + prefixes)
    with pytest.raises(NetlinkError) as refused:
        world.router.path_set(CN, path("ip6", COA, CN))
    assert refused.value.errno == errno.EPROTOTYPE
    with pytest.raises(NetlinkError) as refused:
        direct(world.router, CN, flags=0)
    assert refused.value.errno == errno.EBUSY
    (kept,) = world.router.bindings()
    assert [one["kind"] for one in kept["paths"]] == [N["DSMIP_KIND_RO"]]
