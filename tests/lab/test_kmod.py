# SPDX-License-Identifier: GPL-2.0-only
"""dsmip.ko carries packets: every wire kind, both families, both directions."""

from __future__ import annotations

import socket
import struct
import threading
import time
from ipaddress import ip_address

import pytest

from tests.lab.kmodlib import (
    Device,
    N,
    attr,
    inside,
    ip_batch,
    ns_run,
    path,
    prefix,
    u8,
    u32,
)
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
    World,
    datagram,
    ip4,
    ip6,
    path_at_agent,
    path_at_router,
    reaches,
    send_datagram,
    udp,
)

pytest_plugins = ["tests.lab.kmodfixtures"]

TUNNELS = ("udp4", "ip4", "ip6")
OUTER = {  # IP version and protocols on the wire, for inner IPv6 and inner IPv4
    "udp4": (4, 17, 17),
    "ip4": (4, 41, 4),
    "ip6": (6, 41, 4),
}


def wire_form(packet: bytes) -> tuple[int, int, int]:
    """Return IP version, protocol and length of the outer header."""
    if packet[0] >> 4 == 4:
        return 4, packet[9], 20
    return 6, packet[6], 40


def outer_addresses(packet: bytes) -> tuple[str, str]:
    """Return source and destination of an IP packet."""
    first = 8 if packet[0] >> 4 == 6 else 12
    size = 16 if first == 8 else 4
    source, destination = packet[first : first + size], packet[first + size : first + 2 * size]
    return str(ip_address(source)), str(ip_address(destination))


@pytest.mark.spec("D-017", "D-051", "M-082", "M-110", "N-013", "N-051")
@pytest.mark.parametrize("kind", TUNNELS)
@pytest.mark.parametrize(("lan", "cn"), [(LAN, CN), (LAN4, CN4), (HOME, CN), (HOME4, CN4)])
def test_both_ways(world: World, kind: str, lan: str, cn: str) -> None:
    world.bind(kind)
    seen = world.capture(world.core, "tomr")
    with world.agent.counting(), world.router.counting():
        assert reaches(world.mr, lan, world.core, cn)
        assert reaches(world.core, cn, world.mr, lan)
    packets = [p for p in seen.packets() if p[0] >> 4 == OUTER[kind][0] and len(p) > 100]
    assert len(packets) == 2
    for packet in packets:
        version, protocol, size = wire_form(packet)
        assert (version, protocol) == (OUTER[kind][0], OUTER[kind][1 if ":" in lan else 2])
        if kind == "udp4":
            ports = struct.unpack_from("!HH", packet, size)
            assert ports == (PORT, PORT)
            size += 8
        assert packet[size] >> 4 == (6 if ":" in lan else 4)
        assert packet[1] & 3 == 0
    ends = (COA, HA) if kind == "ip6" else (COA4, HA4)
    assert [outer_addresses(packet) for packet in packets] == [ends, ends[::-1]]
    for side in (world.agent, world.router):
        binding = side.binding_get(HOME)
        (only,) = binding["paths"]
        assert only["flags"] & N["DSMIP_PATH_F_ACTIVE"]
        for stats in (binding["stats"], only["stats"]):
            assert (stats["rx_packets"], stats["tx_packets"]) == (1, 1)
            # the UDP header, its payload of 64 octets and the inner IP header
            assert stats["rx_bytes"] == stats["tx_bytes"] == 72 + (40 if ":" in lan else 20)
        assert only["last_rx_ms"] < 5000


@pytest.mark.spec("M-022")
@pytest.mark.parametrize(("lan", "cn"), [(HOME, CN), (LAN, CN)])
def test_route_optimised(world: World, lan: str, cn: str) -> None:
    """Kind ro needs no tunnel, but an address of its own: the home address."""
    world.bind_router(path("ro", COA, CN))
    # The correspondent itself holds the other half.
    ip_batch(
        world.core, f"link add mip0 type dsmip\nlink set mip0 up\nroute replace {HOME} dev mip0"
    )
    correspondent = world.keep(Device(world.core))
    correspondent.binding_set(HOME, paths=[path("ro", CN, COA)])
    seen = world.capture(world.core, "tomr")
    if lan == LAN:
        # The correspondent knows no binding of the LAN: a stranger to it.
        with correspondent.counting(rx_stranger=1):
            assert not reaches(world.mr, lan, world.core, cn, timeout=0.3)
        return
    assert reaches(world.mr, lan, world.core, cn)
    assert reaches(world.core, cn, world.mr, lan)
    there, back = [p for p in seen.packets() if len(p) > 100 and p[0] >> 4 == 6]
    assert there[6] == 60
    assert there[40:48] == bytes((17, 2, 1, 2, 0, 0, 0xC9, 16))
    assert there[8:24] == socket.inet_pton(socket.AF_INET6, COA)
    assert there[48:64] == socket.inet_pton(socket.AF_INET6, HOME)
    assert back[6] == 43
    assert back[40:48] == bytes((17, 2, 2, 1, 0, 0, 0, 0))
    assert back[24:40] == socket.inet_pton(socket.AF_INET6, COA)
    assert back[48:64] == socket.inet_pton(socket.AF_INET6, HOME)


@pytest.mark.spec("M-084")
def test_tunnel_ends_need_no_tunnel(world: World) -> None:
    """The agent's own packets to the home address go with a routing header."""
    world.bind("ip6")
    seen = world.capture(world.core, "tomr")
    assert reaches(world.mr, HOME, world.ha, HA)
    assert reaches(world.ha, HA, world.mr, HOME)
    assert [p[6] for p in seen.packets() if len(p) > 100 and p[0] >> 4 == 6] == [60, 43]


@pytest.mark.spec("D-042", "D-052")
def test_two_routers_behind_one_address(world: World) -> None:
    """Two bindings whose paths differ in the UDP port alone."""
    ports = {40001: "2001:db8:1::101", 40002: "2001:db8:1::102"}
    outsider = world.injector(world.core)
    for port, home in ports.items():
        world.agent.binding_set(home, paths=[path("udp4", HA4, "192.0.2.2", port=port)])
    ip_batch(world.ha, "".join(f"route add {home} dev mip0\n" for home in ports.values()))
    sink = world.sink(world.core, CN)
    for port, home in ports.items():
        inner = datagram(home, CN, home.encode())
        outsider.send(ip4("192.0.2.2", HA4, 17, udp("192.0.2.2", HA4, port, PORT, inner)))
        assert sink.get() == (home.encode(), home)
    # Each one's packets come to its own port.
    with inside(world.core):
        sockets = {}
        for port in ports:
            sockets[port] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sockets[port].bind(("192.0.2.2", port))
            sockets[port].settimeout(3)
    for port, home in ports.items():
        send_datagram(world.ha, HA, home, home.encode())
        data, source = sockets[port].recvfrom(2048)
        assert source == (HA4, PORT)
        assert data.endswith(home.encode())
        sockets[port].close()
    # And neither may speak for the other.
    inner = datagram(ports[40001], CN, b"spoof")
    with world.agent.counting(rx_wrong_source=1):
        outsider.send(ip4("192.0.2.2", HA4, 17, udp("192.0.2.2", HA4, 40002, PORT, inner)))
    assert sink.get(0.2) is None


def test_mark_chooses_path(world: World) -> None:
    """Flow bindings: bits of the mark name the BID; else the best path is taken."""
    ip_batch(world.mr, "addr add 198.18.0.3/24 dev wan0")
    world.bind_agent(
        path("udp4", HA4, COA4, bid=1, priority=20),
        path("udp4", HA4, "198.18.0.3", bid=2, priority=10),
        path("ip6", HA, COA, bid=3, priority=30),
    )
    world.router.binding_set(HOME, mobile=True, prefixes=[prefix("::/0")])
    for bid, one in ((1, COA4), (2, "198.18.0.3")):
        world.router.path_set(HOME, path("udp4", one, HA4, bid=bid))
    world.router.path_set(HOME, path("ip6", COA, HA, bid=3))
    world.agent.ask("DEVICE_SET", attr("DSMIP_A_MARK_MASK", u32(0xFF00)))
    assert world.agent.device_get()["mark_mask"] == 0xFF00
    seen = world.capture(world.core, "tomr")

    def outer(mark: int) -> str | None:
        at = len(seen.packets())
        assert reaches(world.ha, HA, world.mr, LAN, mark=mark)
        (sent,) = [p for p in seen.packets()[at:] if len(p) > 100]
        if sent[0] >> 4 == 6:
            return socket.inet_ntop(socket.AF_INET6, sent[24:40])
        return socket.inet_ntoa(sent[16:20])

    assert outer(0) == "198.18.0.3"
    assert outer(0x100) == COA4
    assert outer(0x3AB) == COA  # other bits are somebody else's
    assert outer(0x200) == "198.18.0.3"
    assert outer(0x900) == "198.18.0.3"  # no such path: the best
    world.agent.path_set(
        HOME, path("ip6", HA, COA, bid=3, priority=30, flags=N["DSMIP_PATH_F_DOWN"])
    )
    assert outer(0x300) == "198.18.0.3"  # a path that is down is not for sending
    world.agent.path_del(HOME, 2)
    assert outer(0x200) == COA4


def test_path_down_still_receives(world: World) -> None:
    world.bind_agent(
        path_at_agent("udp4", bid=1, flags=N["DSMIP_PATH_F_DOWN"]),
        path_at_agent("ip6", bid=2),
    )
    world.bind_router(path_at_router("udp4", bid=1), path_at_router("ip6", bid=2, priority=200))
    assert reaches(world.mr, LAN, world.core, CN)
    paths = {one["bid"]: one for one in world.agent.binding_get(HOME)["paths"]}
    assert paths[1]["stats"]["rx_packets"] == 1
    assert not paths[1]["flags"] & N["DSMIP_PATH_F_ACTIVE"]
    assert paths[2]["flags"] & N["DSMIP_PATH_F_ACTIVE"]


def test_handover_loses_nothing(world: World) -> None:
    """Packets go on while the path is swapped between kinds again and again."""
    world.bind_agent(path_at_agent("udp4", bid=1), path_at_agent("ip6", bid=2))
    world.bind_router(path_at_router("udp4", bid=1), path_at_router("ip6", bid=2))
    sink = world.sink(world.mr, LAN)
    total = 400
    sender = threading.Thread(
        target=lambda: [
            (send_datagram(world.core, CN, LAN, struct.pack("!I", at)), time.sleep(0.001))
            for at in range(total)
        ]
    )
    with world.agent.counting(), world.router.counting():
        sender.start()
        swaps = 0
        while sender.is_alive():
            bid = swaps % 2 + 1
            world.agent.path_set(
                HOME, path_at_agent("ip6" if bid == 2 else "udp4", bid=bid, priority=0)
            )
            other = 3 - bid
            world.agent.path_set(
                HOME, path_at_agent("ip6" if other == 2 else "udp4", bid=other, priority=9)
            )
            swaps += 1
        sender.join()
        got = []
        while data := sink.get(0.5):
            got.append(struct.unpack("!I", data[0])[0])
    assert swaps > 5
    assert sorted(got) == list(range(total))


@pytest.mark.spec("D-027")
@pytest.mark.parametrize("kind", TUNNELS)
def test_ecn_and_traffic_class(world: World, kind: str) -> None:
    """RFC 6040: the class goes out as it is, a mark made on the way comes in."""
    world.bind(kind)
    world.router.ask("DEVICE_SET", attr("DSMIP_A_TTL", u8(33)))
    seen = world.capture(world.core, "tomr")
    with inside(world.mr), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IPV6, 67, 0xB9)  # IPV6_TCLASS: EF, ECT(1)
        sender.bind((LAN, 0))
        sender.sendto(bytes(64), (CN, 9000))
    outer = seen.find(lambda p: len(p) > 100)
    if kind == "ip6":
        assert struct.unpack_from("!I", outer)[0] >> 20 & 0xFF == 0xB9
        assert outer[7] == 0x21
    else:
        assert outer[1] == 0xB9
        assert outer[8] == 0x21
    # Congestion Experienced on the way: it shows inside.
    with inside(world.core):
        reader = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        reader.bind((CN, 9001))
        reader.setsockopt(socket.IPPROTO_IPV6, 66, 1)  # IPV6_RECVTCLASS
        reader.settimeout(3)

    def wrap(inner: bytes) -> bytes:
        if kind == "ip6":
            return ip6(COA, HA, 41, inner, traffic_class=3)
        if kind == "ip4":
            return ip4(COA4, HA4, 41, inner, tos=3)
        return ip4(COA4, HA4, 17, udp(COA4, HA4, PORT, PORT, inner), tos=3)

    outsider = world.injector(world.core)
    outsider.send(wrap(datagram(LAN, CN, port=9001, traffic_class=2)))
    _, control, _, _ = reader.recvmsg(2048, 512)
    assert struct.unpack("i", control[0][2])[0] == 3
    # Not ECN-capable inside, yet marked outside: to be dropped.
    with world.agent.counting(rx_ecn=1):
        outsider.send(wrap(datagram(LAN, CN, port=9001)))
    reader.close()


def tcp_transfer(ns: str, source: str, to: str, destination: str, size: int) -> float:
    """Move octets by TCP and return the seconds that it took."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    got = bytearray()
    with inside(to):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.bind((destination, 0))
        listener.listen()
        listener.settimeout(20)

    def take() -> None:
        accepted, _ = listener.accept()
        accepted.settimeout(20)
        while data := accepted.recv(1 << 18):
            got.extend(data)
        accepted.close()

    taker = threading.Thread(target=take)
    taker.start()
    start = time.monotonic()
    payload = bytes(range(256)) * (size // 256)
    with inside(ns), socket.socket(family, socket.SOCK_STREAM) as sender:
        sender.settimeout(20)
        sender.bind((source, 0))
        sender.connect(listener.getsockname()[:2])
        sender.sendall(payload)
    taker.join(30)
    listener.close()
    assert bytes(got) == payload
    return time.monotonic() - start


@pytest.mark.parametrize("offload", ["on", "off"])
@pytest.mark.parametrize("kind", TUNNELS)
def test_tcp(world: World, kind: str, offload: str) -> None:
    """Super-packets pass whole, and are cut where the wire cannot take them."""
    world.bind(kind)
    if offload == "off":
        features = "tso off gso off gro off tx off sg off"
        ns_run(world.mr, f"ethtool -K wan0 {features}")
        ns_run(world.core, f"ethtool -K tomr {features}")
        ns_run(world.core, f"ethtool -K toha {features}")
        ns_run(world.ha, f"ethtool -K home {features}")
    seen = world.capture(world.core, "tomr")
    size = 4 << 20
    with world.agent.counting(), world.router.counting():
        for lan, cn in ((LAN, CN), (LAN4, CN4)):
            tcp_transfer(world.mr, lan, world.core, cn, size)
            tcp_transfer(world.core, cn, world.mr, lan, size)
    longest = max(len(p) for p in seen.packets())
    if offload == "off":
        assert longest <= 1500
    else:
        assert longest > 10000


@pytest.mark.parametrize("lists", ["off", "on"])
@pytest.mark.parametrize("kind", TUNNELS)
def test_segments_are_merged_on_receipt(world: World, kind: str, lists: str) -> None:
    """Segments that came one by one leave the tunnel as a few large packets.

    As lists too, which OpenWrt's kernels make of what is forwarded unless told otherwise.
    """
    world.bind(kind)
    for device in ("mip0", "wan0"):
        ns_run(world.mr, f"ethtool -K {device} tso off gso off tx off sg off", check=False)
    ns_run(world.core, "ethtool -K tomr gro off")
    # veth merges only what comes from an end that could not send it whole.
    ns_run(world.core, "ethtool -K toha tso off")
    ns_run(world.ha, f"ethtool -K home gro on rx-gro-list {lists}")
    wire, inside_agent = world.capture(world.core, "tomr"), world.capture(world.ha, "mip0")
    with world.agent.counting(), world.router.counting():
        for lan, cn in ((LAN, CN), (LAN4, CN4)):
            tcp_transfer(world.mr, lan, world.core, cn, 1 << 20)
            arrived = [p for p in inside_agent.packets() if outer_addresses(p)[0] == lan]
            assert max(map(len, arrived)) > 2800
            assert sum(len(p) > 2800 for p in arrived) > 10
    assert max(map(len, wire.packets())) <= 1500


@pytest.mark.spec("M-088")
@pytest.mark.parametrize("kind", TUNNELS)
@pytest.mark.parametrize("inner", [6, 4])
@pytest.mark.parametrize("towards", ["agent", "router"])
def test_path_mtu(world: World, kind: str, inner: int, towards: str) -> None:
    """A narrow link on the way: the sender is told, and then all of it arrives."""
    world.bind(kind)
    # mip0 itself lets 1420 octets in; the link takes less than that and the header.
    if towards == "agent":
        ip_batch(world.core, "link set toha mtu 1400")
        ip_batch(world.ha, "link set home mtu 1400")
        ns, source, to, destination = world.mr, LAN, world.core, CN
    else:
        ip_batch(world.core, "link set tomr mtu 1400")
        ip_batch(world.mr, "link set wan0 mtu 1400")
        ns, source, to, destination = world.core, CN, world.mr, LAN
    if inner == 4:
        source, destination = (LAN4, CN4) if towards == "agent" else (CN4, LAN4)
    overhead = {"udp4": 28, "ip4": 20, "ip6": 40}[kind]
    head = (40 if inner == 6 else 20) + 8
    family = socket.AF_INET6 if inner == 6 else socket.AF_INET
    sink = world.sink(to, destination)
    with inside(ns), socket.socket(family, socket.SOCK_DGRAM) as sender:
        if inner == 6:
            sender.setsockopt(socket.IPPROTO_IPV6, 23, 2)  # IPV6_MTU_DISCOVER, DO
        else:
            sender.setsockopt(socket.IPPROTO_IP, 10, 2)
        sender.bind((source, 0))
        sender.connect((destination, 9000))
        known = 0
        for _ in range(8):
            try:
                sender.send(bytes(1392 - head))
            except OSError:
                pass
            time.sleep(0.1)
            known = sender.getsockopt(*((41, 24) if inner == 6 else (0, 14)))  # IP(V6)_MTU
            if known == 1400 - overhead:
                break
        assert known == 1400 - overhead
        while sink.get(0.1):
            pass
        sender.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        sender.send(bytes(known - head))
        assert sink.get() == (bytes(known - head), source)


def test_inner_minimum_mtu(world: World) -> None:
    """An IPv6 sender is never told less than 1280: the outer packet is cut."""
    world.bind("udp4")
    ip_batch(world.core, "link set tomr mtu 1280")
    ip_batch(world.mr, "link set wan0 mtu 1280")
    sink = world.sink(world.core, CN)
    with inside(world.mr), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        sender.bind((LAN, 0))
        sender.setsockopt(socket.IPPROTO_IPV6, 23, 2)
        sender.connect((CN, 9000))
        sender.send(bytes(1280 - 48))
        assert sink.get() == (bytes(1280 - 48), LAN)
        assert sender.getsockopt(41, 24) >= 1280


def test_unknown_destination(world: World) -> None:
    """Nobody to bring it to: the sender is told, and it is counted."""
    with (
        inside(world.core),
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender,
        world.agent.counting(tx_no_binding=1),
    ):
        sender.settimeout(3)
        sender.setsockopt(socket.IPPROTO_IPV6, 25, 1)  # IPV6_RECVERR
        sender.bind((CN, 0))
        sender.connect((LAN, 9000))
        sender.send(b"anybody")
        with pytest.raises(OSError, match="No route to host"):
            sender.recv(10)
    world.agent.binding_set(HOME, prefixes=[prefix("2001:db8:100::/56")])
    with world.agent.counting(tx_no_path=1):
        send_datagram(world.core, CN, LAN)


@pytest.mark.spec("N-016")
def test_source_must_be_ours(world: World) -> None:
    """The router sends only what comes from its own prefixes."""
    world.bind("udp4")
    ip_batch(world.mr, "addr add 2001:db8:dead::1/128 dev lo\nroute add 2001:db8:c::/64 dev mip0")
    with world.router.counting(tx_bad_source=1):
        send_datagram(world.mr, "2001:db8:dead::1", CN)
    assert reaches(world.mr, LAN, world.core, CN)


def test_addresses_stay_apart(world: World) -> None:
    """The home addresses themselves are the binding's, without any prefix."""
    world.agent.binding_set(HOME, home4=HOME4, paths=[path_at_agent("udp4")])
    world.bind_router(path_at_router("udp4"))
    assert reaches(world.core, CN, world.mr, HOME)
    assert reaches(world.core, CN4, world.mr, HOME4)
    with world.agent.counting(tx_no_binding=2):
        send_datagram(world.core, CN, LAN)
        send_datagram(world.core, CN4, LAN4)
