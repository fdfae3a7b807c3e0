# SPDX-License-Identifier: GPL-2.0-only
"""The netlink side of dsmip.ko: what it refuses and why, dumps, events, links."""

from __future__ import annotations

import errno
import re
import struct
import sys
import time

import pytest

from tests.lab.kmodlib import (
    ROOT,
    Device,
    Events,
    Genl,
    N,
    NetlinkError,
    attr,
    ip_batch,
    link_add,
    nest,
    packed,
    path,
    prefix,
    run,
    u8,
    u16,
    u32,
)
from tests.lab.kmodnet import (
    CN,
    COA,
    COA4,
    HA,
    HA4,
    HOME,
    HOME4,
    LAN,
    World,
    path_at_agent,
    path_at_router,
    reaches,
    send_datagram,
)

pytest_plugins = ["tests.lab.kmodfixtures"]


def home(address: str = HOME) -> bytes:
    return attr("DSMIP_A_HOME_ADDRESS", packed(address))


def paths(*members: bytes) -> bytes:
    return nest("DSMIP_A_PATHS", *(nest(1, one) for one in members))


def prefixes(*members: bytes) -> bytes:
    return nest("DSMIP_A_PREFIXES", *(nest(1, one) for one in members))


GOOD = path("udp4", HA4, COA4)
GOOD6 = path("ip6", HA, COA)


def raw_prefix(address: bytes, bits: int, extra: bytes = b"") -> bytes:
    return attr("DSMIP_PREFIX_A_ADDRESS", address) + attr("DSMIP_PREFIX_A_LENGTH", u8(bits)) + extra


# What, the request beyond device name, errno, part of the message, attribute pointed at.
REFUSED = [
    ("no home", b"", "EINVAL", "home address", None),
    ("short home", attr("DSMIP_A_HOME_ADDRESS", bytes(15)), "ERANGE", "", "DSMIP_A_HOME_ADDRESS"),
    ("long home", attr("DSMIP_A_HOME_ADDRESS", bytes(17)), "ERANGE", "", "DSMIP_A_HOME_ADDRESS"),
    *(
        (f"home {bad}", home(bad), "EADDRNOTAVAIL", "unicast", "DSMIP_A_HOME_ADDRESS")
        for bad in ("::", "::1", "ff02::1", "fe80::1", "::ffff:192.0.2.1")
    ),
    *(
        (
            f"home4 {bad}",
            home() + attr("DSMIP_A_HOME_ADDRESS4", packed(bad)),
            "EADDRNOTAVAIL",
            "unicast",
            "DSMIP_A_HOME_ADDRESS4",
        )
        for bad in ("127.0.0.1", "224.0.0.1", "255.255.255.255", "169.254.0.1")
    ),
    (
        "home4 of 16",
        home() + attr("DSMIP_A_HOME_ADDRESS4", bytes(16)),
        "ERANGE",
        "",
        "DSMIP_A_HOME_ADDRESS4",
    ),
    (
        "unknown binding flag",
        home() + attr("DSMIP_A_BINDING_FLAGS", u32(1 << 31)),
        "EINVAL",
        "reserved bit",
        "DSMIP_A_BINDING_FLAGS",
    ),
    (
        "unknown request flag",
        home() + attr("DSMIP_A_REQUEST_FLAGS", u32(8)),
        "EINVAL",
        "reserved bit",
        "DSMIP_A_REQUEST_FLAGS",
    ),
    (
        "short flags",
        home() + attr("DSMIP_A_BINDING_FLAGS", u16(0)),
        "EINVAL",
        "",
        "DSMIP_A_BINDING_FLAGS",
    ),
    (
        "data too long",
        home() + attr("DSMIP_A_DATA", bytes(513)),
        "ERANGE",
        "",
        "DSMIP_A_DATA",
    ),
    ("port is fixed", home() + attr("DSMIP_A_PORT", u16(1)), "EINVAL", "", "DSMIP_A_PORT"),
    ("event", home() + attr("DSMIP_A_EVENT", u8(1)), "EINVAL", "", "DSMIP_A_EVENT"),
    ("unknown attribute", home() + attr(99, b""), "EINVAL", "", None),
    ("paths not nested", home() + attr("DSMIP_A_PATHS", u32(0)), "EINVAL", "NLA_F_NESTED", None),
    (
        "nothing to update",
        home() + attr("DSMIP_A_REQUEST_FLAGS", u32(4)),
        "ENOENT",
        "no such binding",
        "DSMIP_A_HOME_ADDRESS",
    ),
    # paths
    ("no kind", home() + paths(attr("DSMIP_PATH_A_BID", u16(0))), "EINVAL", "wire kind", None),
    ("kind 0", home() + paths(path(0, HA4, COA4)), "ERANGE", "range", "DSMIP_PATH_A_KIND"),
    ("kind 5", home() + paths(path(5, HA4, COA4)), "ERANGE", "range", "DSMIP_PATH_A_KIND"),
    ("no local", home() + paths(path("ip6", None, COA)), "EINVAL", "local address", None),
    ("no remote", home() + paths(path("ip6", HA)), "EINVAL", "remote address", None),
    (
        "wrong family",
        home() + paths(path("ip6", HA4, COA)),
        "EINVAL",
        "family",
        "DSMIP_PATH_A_LOCAL",
    ),
    (
        "wrong family the other way",
        home() + paths(path("udp4", HA4, COA)),
        "EINVAL",
        "family",
        "DSMIP_PATH_A_REMOTE",
    ),
    (
        "address of 3",
        home() + paths(path("ip4", bytes(3), COA4)),
        "ERANGE",
        "",
        "DSMIP_PATH_A_LOCAL",
    ),
    *(
        (f"remote {bad}", home() + paths(path("ip6", HA, bad)), "EADDRNOTAVAIL", "unicast", None)
        for bad in ("::", "::1", "ff02::1", "fe80::1", "::ffff:192.0.2.1")
    ),
    *(
        (f"remote {bad}", home() + paths(path("udp4", HA4, bad)), "EADDRNOTAVAIL", "unicast", None)
        for bad in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "169.254.0.1")
    ),
    (
        "local 0.0.0.0",
        home() + paths(path("ip4", "0.0.0.0", COA4)),
        "EADDRNOTAVAIL",
        "unicast",
        "DSMIP_PATH_A_LOCAL",
    ),
    (
        "same ends",
        home() + paths(path("ip6", HA, HA)),
        "EINVAL",
        "same",
        "DSMIP_PATH_A_REMOTE",
    ),
    ("no port", home() + paths(path(3, HA4, COA4)), "EINVAL", "UDP port", None),
    ("port 0", home() + paths(path("udp4", HA4, COA4, port=0)), "EINVAL", "UDP port", None),
    ("port with ip4", home() + paths(path("ip4", HA4, COA4, port=1)), "EINVAL", "UDP port", None),
    (
        "read-only flag",
        home() + paths(path("ip6", HA, COA, flags=2)),
        "EINVAL",
        "reserved bit",
        "DSMIP_PATH_A_FLAGS",
    ),
    (
        "silence too long",
        home() + paths(path("ip6", HA, COA, silent_ms=30001)),
        "ERANGE",
        "range",
        "DSMIP_PATH_A_SILENT_MS",
    ),
    (
        "read-only mtu",
        home() + paths(path("ip6", HA, COA, extra=attr("DSMIP_PATH_A_MTU", u32(1280)))),
        "EINVAL",
        "",
        "DSMIP_PATH_A_MTU",
    ),
    ("BID twice", home() + paths(GOOD, GOOD6), "EINVAL", "BID twice", None),
    (
        "17 paths",
        home() + paths(*(path("ip6", HA, COA, bid=n) for n in range(17))),
        "ENOSPC",
        "16 paths",
        "DSMIP_A_PATHS",
    ),
    # prefixes
    (
        "no length",
        home() + prefixes(attr("DSMIP_PREFIX_A_ADDRESS", bytes(16))),
        "EINVAL",
        "length",
        None,
    ),
    (
        "no address",
        home() + prefixes(attr("DSMIP_PREFIX_A_LENGTH", u8(0))),
        "EINVAL",
        "address",
        None,
    ),
    (
        "length 129",
        home() + prefixes(raw_prefix(bytes(16), 129)),
        "ERANGE",
        "range",
        "DSMIP_PREFIX_A_LENGTH",
    ),
    (
        "IPv4 length 33",
        home() + prefixes(raw_prefix(bytes(4), 33)),
        "ERANGE",
        "32",
        "DSMIP_PREFIX_A_LENGTH",
    ),
    (
        "address of 8",
        home() + prefixes(raw_prefix(bytes(8), 8)),
        "EINVAL",
        "4 or 16",
        "DSMIP_PREFIX_A_ADDRESS",
    ),
    (
        "host bits",
        home() + prefixes(raw_prefix(packed("2001:db8::1"), 64)),
        "EINVAL",
        "beyond",
        "DSMIP_PREFIX_A_ADDRESS",
    ),
    (
        "unknown prefix flag",
        home() + prefixes(raw_prefix(bytes(16), 0, attr("DSMIP_PREFIX_A_FLAGS", u32(4)))),
        "EINVAL",
        "reserved bit",
        "DSMIP_PREFIX_A_FLAGS",
    ),
    (
        "65 prefixes",
        home() + prefixes(*(prefix(f"10.0.{n}.0/24") for n in range(65))),
        "ENOSPC",
        "64 prefixes",
        None,
    ),
]


@pytest.mark.parametrize(
    ("request_", "number", "message", "attribute"),
    [row[1:] for row in REFUSED],
    ids=[row[0] for row in REFUSED],
)
def test_refused(
    device: Device, request_: bytes, number: str, message: str, attribute: str | None
) -> None:
    """Each has its error, a message, and leaves nothing behind."""
    with pytest.raises(NetlinkError) as refused:
        device.ask("BINDING_SET", request_)
    assert refused.value.errno == getattr(errno, number), refused.value
    assert refused.value.message
    assert message in refused.value.message
    if attribute:
        assert refused.value.names(attribute)
    assert device.bindings() == []


def test_refused_leaves_all_as_it_was(device: Device) -> None:
    """The whole request or nothing, when the binding exists already."""
    other = "2001:db8:1::200"
    device.binding_set(other, home4="192.0.2.200", prefixes=[prefix("2001:db8:200::/56")])
    device.binding_set(
        HOME,
        home4=HOME4,
        paths=[GOOD],
        prefixes=[prefix("2001:db8:100::/56")],
        sequence=7,
        data=b"mine",
    )
    before = device.bindings()
    for wrong, attribute in (
        (prefixes(prefix("2001:db8:300::/56"), prefix("2001:db8:200::/56")), None),
        (prefixes(prefix("2001:db8:300::/56"), prefix("192.0.2.200/32")), None),
        (prefixes(prefix("2001:db8:300::/56"), prefix(f"{other}/128")), None),
        (attr("DSMIP_A_HOME_ADDRESS4", packed("192.0.2.200")), "DSMIP_A_HOME_ADDRESS4"),
    ):
        good = attr("DSMIP_A_SEQUENCE", u16(8)) + attr("DSMIP_A_DATA", b"new") + paths(GOOD6)
        with pytest.raises(NetlinkError, match="another binding") as refused:
            device.ask("BINDING_SET", home() + good + wrong)
        assert refused.value.errno == errno.EEXIST
        if attribute:
            assert refused.value.names(attribute)
        assert device.bindings() == before
    with pytest.raises(NetlinkError, match="mobile") as refused:
        device.binding_set(HOME, mobile=True)
    assert refused.value.errno == errno.EBUSY
    # A home address inside another's prefix is fine; exactly another's is not.
    device.binding_set("2001:db8:200::1")
    with pytest.raises(NetlinkError) as refused:
        device.binding_set("2001:db8:1::300", prefixes=[prefix("2001:db8:200::1/128")])
    assert refused.value.errno == errno.EEXIST


def test_paths_one_by_one(device: Device) -> None:
    device.binding_set(HOME, paths=[path("udp4", HA4, COA4, bid=5, priority=9, silent_ms=1000)])
    device.path_set(HOME, path("ip6", HA, COA, bid=3, priority=9, ifindex=1))

    def shown() -> dict[int, tuple[int, bool]]:
        return {
            one["bid"]: (one["kind"], bool(one["flags"] & N["DSMIP_PATH_F_ACTIVE"]))
            for one in device.binding_get(HOME)["paths"]
        }

    assert shown() == {3: (1, True), 5: (3, False)}  # the lower BID of equals
    device.path_set(HOME, path("udp4", HA4, COA4, bid=5, priority=8))
    assert shown() == {3: (1, False), 5: (3, True)}
    (one,) = [one for one in device.binding_get(HOME)["paths"] if one["bid"] == 3]
    assert (one["local"], one["remote"], one["ifindex"]) == (HA, COA, 1)
    assert "last_rx_ms" not in one
    device.path_del(HOME, 5)
    assert shown() == {3: (1, True)}
    for bad, number in (
        ([home(), nest("DSMIP_A_PATH", attr("DSMIP_PATH_A_BID", u16(5)))], errno.ENOENT),
        ([home()], errno.EINVAL),
        ([nest("DSMIP_A_PATH", attr("DSMIP_PATH_A_BID", u16(3)))], errno.EINVAL),
        (
            [home("2001:db8::9"), nest("DSMIP_A_PATH", attr("DSMIP_PATH_A_BID", u16(3)))],
            errno.ENOENT,
        ),
    ):
        with pytest.raises(NetlinkError) as refused:
            device.ask("PATH_DEL", *bad)
        assert refused.value.errno == number
        assert refused.value.message
    with pytest.raises(NetlinkError, match="no such binding"):
        device.path_set("2001:db8::9", GOOD)
    for bid in range(16):
        device.path_set(HOME, path("ip6", HA, COA, bid=bid))
    with pytest.raises(NetlinkError, match="16 paths"):
        device.path_set(HOME, path("ip6", HA, COA, bid=16))
    replace = N["DSMIP_REQUEST_F_REPLACE_PATHS"]
    device.binding_set(HOME, paths=[GOOD], request=replace)
    assert shown() == {0: (3, True)}
    device.binding_set(HOME, paths=[], request=replace)
    assert shown() == {}


def test_prefixes_come_and_go(device: Device) -> None:
    def shown() -> set[tuple[str, int, int]]:
        return {
            (one["address"], one["length"], one["flags"])
            for one in device.binding_get(HOME)["prefixes"]
        }

    device.binding_set(HOME, prefixes=[prefix("2001:db8:100::/56"), prefix("203.0.113.0/28")])
    device.binding_set(HOME, prefixes=[prefix("2001:db8:100::/56"), prefix("::/0", local=True)])
    assert shown() == {
        ("2001:db8:100::", 56, 0),
        ("203.0.113.0", 28, 0),
        ("::", 0, N["DSMIP_PREFIX_F_LOCAL"]),
    }
    device.binding_set(HOME, prefixes=[prefix("203.0.113.0/28", remove=True)])
    device.binding_set(HOME, prefixes=[prefix("203.0.113.0/28", remove=True)])
    assert shown() == {("2001:db8:100::", 56, 0), ("::", 0, 1)}
    replace = N["DSMIP_REQUEST_F_REPLACE_PREFIXES"]
    many = [f"10.{n}.0.0/16" for n in range(64)]
    device.binding_set(HOME, prefixes=[prefix(one) for one in many], request=replace)
    assert len(shown()) == 64
    others = [f"11.{n}.0.0/16" for n in range(64)]
    device.binding_set(HOME, prefixes=[prefix(one) for one in others], request=replace)
    assert len(shown()) == 64
    assert all(one[0].startswith("11.") for one in shown())
    # What is free again, another may have.
    device.binding_set("2001:db8:1::200", prefixes=[prefix(one) for one in many])
    device.binding_set(HOME, prefixes=[], request=replace)
    assert shown() == set()


def test_binding_attributes(device: Device) -> None:
    data = bytes(range(256)) * 2
    device.binding_set(HOME, home4=HOME4, mobile=True, lifetime=100, sequence=65535, data=data)
    binding = device.binding_get(HOME)
    assert binding["home_address4"] == HOME4
    assert binding["binding_flags"] == N["DSMIP_BINDING_F_MOBILE"]
    assert 98 <= binding["lifetime"] <= 100
    assert binding["sequence"] == 65535
    assert binding["data"] == data
    # What a request does not name stays.
    device.binding_set(HOME, mobile=True, sequence=1)
    binding = device.binding_get(HOME)
    assert (binding["sequence"], binding["data"], binding["home_address4"]) == (1, data, HOME4)
    device.binding_set(HOME, mobile=True, lifetime=0, data=b"", home4="0.0.0.0")
    binding = device.binding_get(HOME)
    assert binding["lifetime"] == 0
    assert not binding.get("data")
    assert "home_address4" not in binding
    device.binding_del(HOME)
    with pytest.raises(NetlinkError, match="no such binding"):
        device.binding_get(HOME)
    with pytest.raises(NetlinkError, match="no such binding"):
        device.binding_del(HOME)


def test_wrong_device(device: Device) -> None:
    genl = device.genl
    get = N["DSMIP_CMD_BINDING_GET"]
    rows = [
        (b"", errno.EINVAL),
        (attr("DSMIP_A_IFNAME", b"nothing\0"), errno.ENODEV),
        (attr("DSMIP_A_IFNAME", b"lo\0"), errno.EOPNOTSUPP),
        (attr("DSMIP_A_IFINDEX", u32(99999)), errno.ENODEV),
        (attr("DSMIP_A_IFINDEX", u32(0)), errno.ERANGE),
        (attr("DSMIP_A_IFNAME", b"a" * 20 + b"\0"), errno.EINVAL),
    ]
    for name, number in rows:
        for dump in (False, True):
            with pytest.raises(NetlinkError) as refused:
                genl.ask(get, name + home() * (not dump), dump=dump)
            assert refused.value.errno == number
            assert refused.value.message
    with pytest.raises(NetlinkError) as refused:
        genl.ask(N["DSMIP_CMD_EVENT"], b"")
    assert refused.value.errno == errno.EOPNOTSUPP


def test_needs_admin(device: Device) -> None:
    script = (
        "import socket; from tests.lab.kmodlib import *; import sys\n"
        "import os; os.setuid(65534)\n"
        "g = Genl.__new__(Genl)\n"
        "g._socket = socket.socket(16, 3, 16); g._sequence = 0\n"
        "g._socket.setsockopt(270, 11, 1)\n"
        f"g.family = {device.genl.family}\n"
        "name = attr('DSMIP_A_IFNAME', b'mip0\\0')\n"
        "for command in ('BINDING_SET', 'BINDING_DEL', 'PATH_SET', 'PATH_DEL', 'DEVICE_SET'):\n"
        "    try: g.ask(N['DSMIP_CMD_' + command], name)\n"
        "    except NetlinkError as error: print(command, error.errno)\n"
    )
    printed = run(f"cd {ROOT} && ip netns exec k-one {sys.executable} - <<'EOF'\n{script}\nEOF\n")
    assert printed.split() == [
        word
        for command in ("BINDING_SET", "BINDING_DEL", "PATH_SET", "PATH_DEL", "DEVICE_SET")
        for word in (command, str(errno.EPERM))
    ]


def test_thousand_bindings(world: World) -> None:
    """A dump goes on where a message was full; each destination has its own binding."""
    count = 1000
    before = world.agent.device_get()["stats"]["tx_packets"]
    ip_batch(world.ha, "route add 2001:db8:8000::/33 dev mip0\nroute add 10.0.0.0/8 dev mip0")
    ip_batch(world.core, "addr add 198.18.4.0/32 dev tomr")
    for n in range(count):
        world.agent.binding_set(
            f"2001:db8:1:1::{n:x}",
            prefixes=[
                prefix(f"2001:db8:{0x8000 + n:x}::/48"),
                prefix(f"10.{n >> 8}.{n & 255}.0/24"),
            ],
            paths=[path("udp4", HA4, "198.18.0.2", port=10000 + n)],
            sequence=n,
        )
    assert world.agent.device_get()["stats"]["tx_packets"] == before
    for _ in range(2):
        found = world.agent.bindings()
        assert [one["home_address"] for one in found] == sorted(
            (f"2001:db8:1:1::{n:x}" if n else "2001:db8:1:1::" for n in range(count)),
            key=packed,
        )
        assert [one["sequence"] for one in found] == list(range(count))
        assert all(len(one["prefixes"]) == 2 and len(one["paths"]) == 1 for one in found)
    # Every destination goes out to the port of its own binding.
    seen = world.capture(world.core, "tomr")
    for n in range(count):
        send_datagram(world.ha, HA, f"2001:db8:{0x8000 + n:x}::{n + 1:x}")
        send_datagram(world.ha, HA4, f"10.{n >> 8}.{n & 255}.{n % 250 + 1}")
    hits: dict[int, set[bytes]] = {}
    for packet in seen.packets(0.5):
        if packet[0] >> 4 != 4 or packet[9] != 17:
            continue
        (port,) = struct.unpack_from("!H", packet, 22)
        inner = packet[28:]
        hits.setdefault(port - 10000, set()).add(
            inner[24:40] if inner[0] >> 4 == 6 else inner[16:20]
        )
    assert hits == {
        n: {
            packed(f"2001:db8:{0x8000 + n:x}::{n + 1:x}"),
            packed(f"10.{n >> 8}.{n & 255}.{n % 250 + 1}"),
        }
        for n in range(count)
    }
    # A change between the messages of a dump is noticed.
    genl = Genl(world.ha)
    genl.send(N["DSMIP_CMD_BINDING_GET"], world.agent.address, 0x301, 1, genl.family)
    genl._socket.recv(1 << 18)
    world.agent.binding_del("2001:db8:1:1::1ff")
    flags = 0
    done = False
    while not done:
        batch = genl._socket.recv(1 << 18)
        at = 0
        while at < len(batch):
            size, kind, flag = struct.unpack_from("=IHH", batch, at)
            flags |= flag
            done |= kind == 3
            at += (size + 3) & ~3
    genl.close()
    assert flags & 0x10  # NLM_F_DUMP_INTR
    # And all at once.
    world.agent.binding_del()
    assert world.agent.bindings() == []
    before = len(seen.packets())
    send_datagram(world.ha, HA, "2001:db8:8000::1")
    assert len(seen.packets()) == before


def test_lifetime_ends(device: Device) -> None:
    events = Events("k-one")
    start = time.monotonic()
    device.binding_set(HOME, home4=HOME4, lifetime=1, prefixes=[prefix("2001:db8:100::/56")])
    device.binding_set("2001:db8:1::200", lifetime=3)
    device.binding_set("2001:db8:1::300", lifetime=2)
    device.binding_set("2001:db8:1::400")
    device.binding_set("2001:db8:1::300", lifetime=0)
    event = events.wait("EXPIRED")
    assert event["home_address"] == HOME
    assert 0.9 < time.monotonic() - start < 2
    assert event["time_ns"] > 0
    # All of it is free again.
    device.binding_set(
        "2001:db8:1::500",
        home4=HOME4,
        prefixes=[prefix("2001:db8:100::/56"), prefix(f"{HOME}/128")],
    )
    assert events.wait("EXPIRED", 5)["home_address"] == "2001:db8:1::200"
    assert {one["home_address"] for one in device.bindings()} == {
        "2001:db8:1::300",
        "2001:db8:1::400",
        "2001:db8:1::500",
    }
    # A refresh in time keeps it.
    device.binding_set("2001:db8:1::300", lifetime=1)
    time.sleep(0.5)
    device.binding_set("2001:db8:1::300", lifetime=60)
    assert not events.drain(1.2)
    events.close()


def test_silence(world: World) -> None:
    """Packets go out, none comes back: said once; and once when it is heard again."""
    events = world.events(world.mr)
    world.bind_agent(path_at_agent("udp4"))
    world.bind_router(path_at_router("udp4", silent_ms=300, bid=4))
    assert reaches(world.core, CN, world.mr, LAN)
    heard = events.wait("PATH_HEARD")
    assert (heard["home_address"], heard["path"]["bid"]) == (HOME, 4)
    # A path that nobody uses is not silent.
    assert not events.drain(1.0)
    # Nor one whose packets are answered.
    for _ in range(10):
        assert reaches(world.mr, LAN, world.core, CN)
        assert reaches(world.core, CN, world.mr, LAN)
        time.sleep(0.05)
    assert not events.drain(0.7)
    ip_batch(world.core, "link set tomr down")
    send_datagram(world.mr, LAN, CN)
    start = time.monotonic()
    silent = events.wait("PATH_SILENT")
    assert 0.25 < time.monotonic() - start < 1.0
    assert (silent["path"]["bid"], silent["path"]["remote"]) == (4, HA4)
    send_datagram(world.mr, LAN, CN)
    assert not events.drain(0.8)  # once is enough
    ip_batch(
        world.core,
        "link set tomr up\n-6 route replace 2001:db8:a::/64 dev tomr\n"
        "addr replace 2001:db8:a::1/64 dev tomr nodad",
    )
    assert reaches(world.core, CN, world.mr, LAN)
    assert events.wait("PATH_HEARD")["path"]["bid"] == 4
    assert not events.drain(0.5)
    # A path that changes is awaited anew, and one that was busy is missed at once.
    world.router.path_set(HOME, path_at_router("udp4", silent_ms=300, bid=4, priority=3))
    assert reaches(world.core, CN, world.mr, LAN)
    assert events.wait("PATH_HEARD")["path"]["bid"] == 4
    send_datagram(world.core, CN, LAN, count=60)
    assert events.wait("PATH_SILENT")["path"]["bid"] == 4
    # Also when the last of its packets are few: they fell into the next period.
    world.router.path_set(HOME, path_at_router("udp4", silent_ms=1600, bid=4))
    assert reaches(world.core, CN, world.mr, LAN)
    assert events.wait("PATH_HEARD")["path"]["bid"] == 4
    send_datagram(world.core, CN, LAN, count=60)
    time.sleep(0.8)
    send_datagram(world.core, CN, LAN)
    assert events.wait("PATH_SILENT", 5)["path"]["bid"] == 4


def test_link_attributes(device: Device) -> None:
    link_add("k-one", "mip1", port=5000, mark_mask=0xF0, ttl=9)
    other = Device("k-one", "mip1")
    shown = other.device_get()
    assert (shown["port"], shown["mark_mask"], shown["ttl"]) == (5000, 0xF0, 9)
    assert device.device_get()["port"] == 4191
    link_add("k-one", "mip1", mark_mask=0xF00, ttl=8, change=True)
    shown = other.device_get()
    assert (shown["port"], shown["mark_mask"], shown["ttl"]) == (5000, 0xF00, 8)
    devices = device.genl.ask(N["DSMIP_CMD_DEVICE_GET"], b"", dump=True)
    assert len(devices) == 2
    for options, message in (
        ({"port": 5001, "change": True}, "fixed"),
        ({"port": 0}, "must not be 0"),
        ({"port": 5000}, "in use"),
    ):
        name = "mip1" if options.get("change") else "mip2"
        with pytest.raises(NetlinkError, match=message):
            link_add("k-one", name, **options)  # type: ignore[arg-type]
    shown_link = run("ip -n k-one -d link show mip1")
    assert "dsmip" in shown_link
    assert "mtu 1420" in shown_link
    other.close()
    ip_batch("k-one", "link del mip1")
    link_add("k-one", "mip1", port=5000)


def test_description_names_the_same() -> None:
    """dsmip.yaml and the header have the same names in the same order."""
    text = (ROOT / "kmod/dsmip.yaml").read_text()
    attributes = text.partition("attribute-sets:")[2].partition("operations:")[0]
    operations = text.partition("operations:")[2].partition("mcast-groups:")[0]
    sets = re.split(r"^  - name: ", attributes, flags=re.M)[1:]
    found = {one.split()[0]: re.findall(r"{name: ([\w-]+)", one) for one in sets}
    found["cmd"] = re.findall(r"^    - name: ([\w-]+)", operations, flags=re.M)
    starts = {
        "cmd": "DSMIP_CMD_",
        "a": "DSMIP_A_",
        "path-a": "DSMIP_PATH_A_",
        "prefix-a": "DSMIP_PREFIX_A_",
        "stats-a": "DSMIP_STATS_A_",
        "counters": "DSMIP_COUNT_",
    }
    for key, start in starts.items():
        wanted = [name.removeprefix(start) for name in N if name.startswith(start)]
        wanted = [
            name.lower().replace("_", "-") for name in wanted if name not in ("UNSPEC", "MAX")
        ]
        assert found[key] == wanted
