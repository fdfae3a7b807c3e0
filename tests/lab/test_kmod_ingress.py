# SPDX-License-Identifier: GPL-2.0-only
"""dsmip.ko believes no packet: who may send what through which path."""

from __future__ import annotations

import os
import random

import pytest

from tests.lab.kmodlib import Device, ip_batch, link_add, path, prefix
from tests.lab.kmodnet import (
    CN,
    CN4,
    COA,
    COA4,
    HA,
    HA4,
    HOME,
    HOME4,
    LAN,
    LAN4,
    PORT,
    STRANGER,
    STRANGER4,
    World,
    datagram,
    ip4,
    ip6,
    path_at_agent,
    path_at_router,
    reaches,
    udp,
)

pytest_plugins = ["tests.lab.kmodfixtures"]

TUNNELS = ("udp4", "ip4", "ip6")


def wrap(kind: str, inner: bytes, source: str = "", port: int = PORT) -> bytes:
    """Return the packet that carries the inner one to the agent, from the router's address."""
    if kind == "ip6":
        return ip6(source or COA, HA, 4 if inner[0] >> 4 == 4 else 41, inner)
    if kind == "ip4":
        return ip4(source or COA4, HA4, 4 if inner[0] >> 4 == 4 else 41, inner)
    outer = source or COA4
    return ip4(outer, HA4, 17, udp(outer, HA4, port, PORT, inner))


@pytest.mark.spec("D-052", "M-085", "N-052")
@pytest.mark.parametrize("kind", TUNNELS)
def test_outer_source(world: World, kind: str) -> None:
    """Only the binding's own path brings its packets; another is told of, once in a while."""
    world.bind(kind)
    events = world.events(world.ha)
    sink = world.sink(world.core, CN)
    sink4 = world.sink(world.core, CN4)
    outsider = world.injector(world.core)
    with world.agent.counting():
        outsider.send(wrap(kind, datagram(LAN, CN)))
        outsider.send(wrap(kind, datagram(LAN4, CN4)))
        assert sink.get() == (b"data", LAN)
        assert sink4.get() == (b"data", LAN4)
    other = STRANGER if kind == "ip6" else STRANGER4
    with world.agent.counting(rx_wrong_source=2):
        outsider.send(wrap(kind, datagram(LAN, CN), other))
        outsider.send(wrap(kind, datagram(LAN4, CN4), other))
    event = events.wait("NEW_SOURCE")
    assert event["home_address"] == HOME
    assert event["path"]["remote"] == other
    assert event["path"]["local"] == (HA if kind == "ip6" else HA4)
    assert event["path"]["kind"] == {"ip6": 1, "ip4": 2, "udp4": 3}[kind]
    assert event["path"]["ifindex"] > 0
    events.drain()
    with world.agent.counting(rx_wrong_source=200):
        for _ in range(200):
            outsider.send(wrap(kind, datagram(LAN, CN), other))
    assert len(events.drain()) <= 8
    assert sink.get(0.1) is None


@pytest.mark.spec("M-116", "N-014")
@pytest.mark.parametrize("kind", TUNNELS)
def test_router_hears_its_agent_alone(world: World, kind: str) -> None:
    """Whoever else sends the router a tunnelled packet is not believed."""
    world.bind(kind)
    sink = world.sink(world.mr, LAN)
    outsider = world.injector(world.core)
    inner = datagram(CN, LAN)

    def wrapped(source: str, source4: str) -> bytes:
        if kind == "ip6":
            return ip6(source, COA, 41, inner)
        body = inner if kind == "ip4" else udp(source4, COA4, PORT, PORT, inner)
        return ip4(source4, COA4, 41 if kind == "ip4" else 17, body)

    with world.router.counting():
        outsider.send(wrapped(HA, HA4))
        assert sink.get() == (b"data", CN)
    with world.router.counting(rx_wrong_source=2):
        outsider.send(wrapped(STRANGER, STRANGER4))
        outsider.send(wrapped(CN, CN4))
    assert sink.get(0.2) is None


@pytest.mark.spec("D-052")
def test_outer_port(world: World) -> None:
    """A NAT that moved the mapping: not accepted, but reported with the new port."""
    world.bind("udp4")
    events = world.events(world.ha)
    outsider = world.injector(world.core)
    with world.agent.counting(rx_wrong_source=1):
        outsider.send(wrap("udp4", datagram(LAN, CN), port=40077))
    event = events.wait("NEW_SOURCE")
    assert (event["path"]["remote"], event["path"]["remote_port"]) == (COA4, 40077)
    # The daemon believes it: one message, and packets pass both ways.
    world.agent.path_set(HOME, path_at_agent("udp4", port=40077))
    sink = world.sink(world.core, CN)
    outsider.send(wrap("udp4", datagram(LAN, CN), port=40077))
    assert sink.get() == (b"data", LAN)


def test_kind_must_fit(world: World) -> None:
    """The right address in the wrong encapsulation is a new source."""
    world.bind("udp4")
    outsider = world.injector(world.core)
    with world.agent.counting(rx_wrong_source=1):
        outsider.send(wrap("ip4", datagram(LAN, CN)))


@pytest.mark.spec("N-024")
@pytest.mark.parametrize("kind", TUNNELS)
@pytest.mark.parametrize(
    "source",
    [
        "fe80::1",
        "ff02::1",
        "::1",
        "::",
        "::ffff:192.0.2.1",
        HA,
        "127.0.0.1",
        "224.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "169.254.1.1",
        HA4,
    ],
)
def test_inner_source_of_no_router(world: World, kind: str, source: str) -> None:
    world.bind(kind)
    # Even when all is the binding's.
    world.agent.binding_set(HOME, prefixes=[prefix("::/0"), prefix("0.0.0.0/0")])
    outsider = world.injector(world.core)
    destination = CN if ":" in source else CN4
    with world.agent.counting(rx_bad_inner=1):
        outsider.send(wrap(kind, datagram(source, destination)))


@pytest.mark.spec("N-024")
@pytest.mark.parametrize(
    ("source", "destination"),
    [(LAN, "ff02::1"), (LAN, "fe80::1"), (LAN, "::1"), (LAN4, "127.0.0.1")],
)
def test_inner_destination_of_no_host(world: World, source: str, destination: str) -> None:
    world.bind("udp4")
    outsider = world.injector(world.core)
    with world.agent.counting(rx_bad_inner=1):
        outsider.send(wrap("udp4", datagram(source, destination)))


@pytest.mark.spec("D-052", "N-052")
@pytest.mark.parametrize("kind", TUNNELS)
@pytest.mark.parametrize(("source", "destination"), [("2001:db8:bad::1", CN), ("192.0.2.99", CN4)])
def test_inner_source_of_nobody(world: World, kind: str, source: str, destination: str) -> None:
    world.bind(kind)
    outsider = world.injector(world.core)
    with world.agent.counting(rx_no_binding=1):
        outsider.send(wrap(kind, datagram(source, destination)))


@pytest.mark.spec("D-052", "N-052")
def test_inner_source_of_another_router(world: World) -> None:
    """One router's path does not bring another's packets."""
    world.bind("udp4")
    other = "2001:db8:1::200"
    world.agent.binding_set(
        other,
        prefixes=[prefix("2001:db8:200::/56")],
        paths=[path("udp4", HA4, STRANGER4)],
    )
    events = world.events(world.ha)
    outsider = world.injector(world.core)
    with world.agent.counting(rx_wrong_source=1):
        outsider.send(wrap("udp4", datagram("2001:db8:200::1", CN)))
    assert events.wait("NEW_SOURCE")["home_address"] == other


@pytest.mark.spec("N-015")
def test_destination_not_ours(world: World) -> None:
    """The router takes only what goes to its own prefixes."""
    world.bind("udp4")
    outsider = world.injector(world.core)
    with world.router.counting(rx_bad_destination=2):
        for source, destination in ((CN, "2001:db8:dead::1"), (CN4, "203.0.114.1")):
            inner = datagram(source, destination)
            outsider.send(ip4(HA4, COA4, 17, udp(HA4, COA4, PORT, PORT, inner)))
    assert reaches(world.core, CN, world.mr, LAN)


@pytest.mark.parametrize("nibble", [n for n in range(16) if n not in (4, 6)])
def test_first_nibble(world: World, nibble: int) -> None:
    """RFC 5555 as published: an IP header follows UDP, no other framing does."""
    world.bind("udp4")
    outsider = world.injector(world.core)
    inner = datagram(LAN, CN)
    with world.agent.counting(rx_malformed=1):
        outsider.send(wrap("udp4", bytes((nibble << 4 | inner[0] & 15,)) + inner[1:]))


def test_keepalive_is_nothing(world: World) -> None:
    """Empty datagrams and single octets keep a NAT mapping; nobody counts them."""
    world.bind("udp4")
    outsider = world.injector(world.core)
    with world.agent.counting():
        for payload in (b"", b"\xff"):
            outsider.send(ip4(COA4, HA4, 17, udp(COA4, HA4, PORT, PORT, payload)))
    assert reaches(world.mr, LAN, world.core, CN)


def test_lengths_that_lie(world: World) -> None:
    world.bind("udp4")
    sink = world.sink(world.core, CN)
    sink4 = world.sink(world.core, CN4)
    outsider = world.injector(world.core)
    six, four = datagram(LAN, CN), datagram(LAN4, CN4)
    body6, body4 = six[40:], four[20:]
    bad = [
        ip6(LAN, CN, 17, body6, length=len(body6) + 1),
        ip6(LAN, CN, 17, body6, length=65535),
        ip4(LAN4, CN4, 17, body4, length=20 + len(body4) + 1),
        ip4(LAN4, CN4, 17, body4, length=19),
        ip4(LAN4, CN4, 17, body4, length=0),
        b"\x44" + four[1:],  # header of 16 octets
        b"\x40" + four[1:],
        b"\x4f" + four[1:21],  # options beyond the end
        *(six[:cut] for cut in range(2, 40)),
        *(four[:cut] for cut in range(2, 20)),
    ]
    with world.agent.counting(rx_malformed=len(bad)):
        for inner in bad:
            outsider.send(wrap("udp4", inner))
    # Octets behind the end of the inner packet are not part of it.
    with world.agent.counting():
        outsider.send(wrap("udp4", six + b"trailer"))
        outsider.send(wrap("udp4", four + b"trailer"))
        assert sink.get() == (b"data", LAN)
        assert sink4.get() == (b"data", LAN4)


@pytest.mark.parametrize("layer", ["ip6", "udp4"])
def test_nesting_is_bounded(world: World, layer: str) -> None:
    """A tunnel in a tunnel in a tunnel ..., all to this host."""
    world.agent.binding_set(
        HOME,
        prefixes=[prefix("2001:db8:100::/56"), prefix("203.0.113.0/28")],
        paths=[
            path("udp4", HA4, COA4, bid=1),
            path("ip6", HA, LAN, bid=2),
            path("udp4", HA4, LAN4, bid=3),
        ],
    )
    sink = world.sink(world.core, CN)
    outsider = world.injector(world.core)

    def nested(depth: int) -> bytes:
        packet = datagram(LAN, CN)
        for _ in range(depth):
            if layer == "ip6":
                packet = ip6(LAN, HA, 41, packet)
            else:
                packet = ip4(LAN4, HA4, 17, udp(LAN4, HA4, PORT, PORT, packet))
        return ip4(COA4, HA4, 17, udp(COA4, HA4, PORT, PORT, packet))

    for depth in range(5):
        outsider.send(nested(depth))
        assert sink.get() == (b"data", LAN)
    with world.agent.counting(rx_nested=2):
        outsider.send(nested(5))
        outsider.send(nested(12))
    assert sink.get(0.1) is None


def test_loop_on_transmit_ends(world: World) -> None:
    """A path whose outer packets are routed into the device again."""
    world.agent.binding_set(
        HOME,
        prefixes=[prefix("2001:db8:100::/56"), prefix("198.18.77.0/24")],
        paths=[path("udp4", HA4, "198.18.77.1")],
    )
    ip_batch(world.ha, "route add 198.18.77.0/24 dev mip0")
    outsider = world.injector(world.core)
    with world.agent.counting(tx_nested=1):
        outsider.send(datagram(CN, LAN))


def test_nested_router(world: World) -> None:
    """A router inside another's mobile network: both bindings, one device, legal."""
    world.bind("udp4")
    inside_home, inside_lan = "2001:db8:1::101", "2001:db8:300::1"
    # The visiting router sits on the LAN: its care-of address is a LAN address.
    world.agent.binding_set(
        inside_home,
        prefixes=[prefix("2001:db8:300::/56")],
        paths=[path("ip6", HA, LAN)],
    )
    ip_batch(
        world.ha, "route add 2001:db8:300::/56 dev mip0\nroute add 2001:db8:1::101/128 dev mip0"
    )
    ip_batch(world.mr, f"addr add {inside_lan}/128 dev lo")
    ip_batch(world.core, f"route add 2001:db8:300::/56 via {HA}")
    seen = world.capture(world.core, "tomr")
    outsider = world.injector(world.core)
    outsider.send(datagram(CN, inside_lan))
    sent = seen.find(lambda p: p[0] >> 4 == 4 and p[9] == 17 and p[20:22] == b"\x10\x5f")
    assert sent[28] >> 4 == 6
    assert sent[34] == 41  # IPv6 in IPv6 in UDP
    assert sent[68:].endswith(b"data")
    sink = world.sink(world.core, CN)
    outsider.send(wrap("udp4", ip6(LAN, HA, 41, datagram(inside_lan, CN))))
    assert sink.get() == (b"data", inside_lan)


@pytest.mark.parametrize("kind", ["ip4", "ip6"])
def test_other_tunnels_live_on(world: World, kind: str) -> None:
    """sit, ipip and ip6tnl beside the module get what is not ours."""
    world.bind("udp4")
    if kind == "ip4":
        ip_batch(
            world.ha,
            f"link add s0 type sit local {HA4} remote {STRANGER4}\nlink set s0 up\n"
            "addr add 2001:db8:51::1/64 dev s0 nodad",
        )
    else:
        ip_batch(
            world.ha,
            f"link add s0 type ip6tnl mode any local {HA} remote {STRANGER}\nlink set s0 up\n"
            "addr add 2001:db8:51::1/64 dev s0 nodad",
        )
    sink = world.sink(world.ha, "2001:db8:51::1")
    outsider = world.injector(world.core)
    outer = STRANGER4 if kind == "ip4" else STRANGER
    outsider.send(wrap(kind, datagram("2001:db8:51::2", "2001:db8:51::1"), outer))
    assert sink.get() == (b"data", "2001:db8:51::2")


def test_device_down_takes_nothing(world: World) -> None:
    world.bind("udp4")
    ip_batch(world.ha, "link set mip0 down")
    sink = world.sink(world.core, CN)
    outsider = world.injector(world.core)
    outsider.send(wrap("udp4", datagram(LAN, CN)))
    assert sink.get(0.2) is None
    ip_batch(world.ha, "link set mip0 up")
    outsider.send(wrap("udp4", datagram(LAN, CN)))
    assert sink.get() == (b"data", LAN)


def test_two_devices(world: World) -> None:
    """Devices of one namespace keep apart what is theirs."""
    world.bind("udp4")
    link_add(world.ha, "mip1", port=4192)
    ip_batch(world.ha, "link set mip1 up")
    other = world.keep(Device(world.ha, "mip1"))
    other.binding_set(
        "2001:db8:1::200",
        prefixes=[prefix("2001:db8:200::/56")],
        paths=[path("udp4", HA4, COA4, port=4192), path("ip6", HA, COA, bid=1)],
    )
    sink = world.sink(world.core, CN)
    outsider = world.injector(world.core)
    inner = datagram("2001:db8:200::1", CN)
    with world.agent.counting(rx_no_binding=1), other.counting():
        outsider.send(wrap("udp4", inner))
    with world.agent.counting(), other.counting():
        outsider.send(ip4(COA4, HA4, 17, udp(COA4, HA4, 4192, 4192, inner)))
        assert sink.get() == (b"data", "2001:db8:200::1")
    # Tunnels have no port: the device that knows the inner source takes it.
    outsider.send(wrap("ip6", inner))
    assert sink.get() == (b"data", "2001:db8:200::1")
    assert reaches(world.mr, LAN, world.core, CN)


def test_noise(world: World) -> None:
    """Nonsense of a fixed seed, in every encapsulation, harms nothing."""
    world.bind("udp4")
    world.agent.path_set(HOME, path_at_agent("ip6", bid=2))
    world.agent.path_set(HOME, path_at_agent("ip4", bid=3))
    world.router.path_set(HOME, path_at_router("ip6", bid=2))
    outsider = world.injector(world.core)
    dice = random.Random(4191)
    start = [datagram(LAN, CN), datagram(LAN4, CN4), datagram(HOME, HA), datagram(HOME4, CN4)]
    for _ in range(1500):
        inner = bytearray(dice.choice(start) + dice.randbytes(dice.randrange(64)))
        for _ in range(dice.randrange(1, 6)):
            inner[dice.randrange(len(inner))] = dice.randrange(256)
        cut = bytes(inner[: dice.randrange(1, len(inner) + 1)])
        kind = dice.choice(TUNNELS)
        outsider.send(wrap(kind, cut))
        header = dice.choice((60, 43, 0, 44, 51, 135, 50))
        outsider.send(ip6(dice.choice((COA, STRANGER)), dice.choice((HA, COA)), header, cut[40:]))
    assert os.path.exists("/sys/module/dsmip")
    assert reaches(world.mr, LAN, world.core, CN)
    assert reaches(world.core, CN4, world.mr, LAN4)
