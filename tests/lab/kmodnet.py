# SPDX-License-Identifier: GPL-2.0-only
"""Packets, traffic and the small network that the tests of dsmip.ko run in.

mr (router, away) -- core (outsider, correspondent) -- ha (home agent). Inner
addresses are those of the lab's standard topology.
"""

from __future__ import annotations

import hmac
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from contextlib import nullcontext
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from dsmip.ipsec.policy import DirectionKeys
from dsmip.packet.careof import CareOf, build_header, parse_header

from tests.lab.kmodlib import (
    RCVBUFFORCE,
    Changes,
    Device,
    Events,
    delete_namespaces,
    inside,
    ip_batch,
    packed,
    path,
    prefix,
    run,
    sysctl,
)

_ICMP_RATE = Path("/proc/sys/net/ipv4/icmp_msgs_per_sec")

# --- packets ----------------------------------------------------------------


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _pseudo(source: str, destination: str, protocol: int, length: int) -> bytes:
    head = packed(source) + packed(destination)
    if len(head) == 8:
        return head + struct.pack("!BBH", 0, protocol, length)
    return head + struct.pack("!IHBB", length, 0, 0, protocol)


def ip6(
    source: str,
    destination: str,
    next_header: int,
    payload: bytes,
    *,
    hops: int = 64,
    traffic_class: int = 0,
    length: int | None = None,
) -> bytes:
    """Return an IPv6 packet; ``length`` lies about the payload's."""
    size = len(payload) if length is None else length
    head = struct.pack("!IHBB", 6 << 28 | traffic_class << 20, size, next_header, hops)
    return head + packed(source) + packed(destination) + payload


def ip4(
    source: str,
    destination: str,
    protocol: int,
    payload: bytes,
    *,
    ttl: int = 64,
    tos: int = 0,
    df: bool = True,
    length: int | None = None,
) -> bytes:
    """Return an IPv4 packet; ``length`` lies about the total."""
    size = 20 + len(payload) if length is None else length
    head = struct.pack("!BBHHHBBH", 0x45, tos, size, 0, 0x4000 * df, ttl, protocol, 0)
    head += packed(source) + packed(destination)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def udp(source: str, destination: str, sport: int, dport: int, payload: bytes) -> bytes:
    """Return a UDP datagram with its checksum over these addresses."""
    head = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0)
    pseudo = _pseudo(source, destination, 17, 8 + len(payload))
    total = checksum(pseudo + head + payload) or 0xFFFF
    return head[:6] + struct.pack("!H", total) + payload


def datagram(
    source: str, destination: str, payload: bytes = b"data", port: int = 9000, **options: Any
) -> bytes:
    """Return a whole UDP packet of either family."""
    body = udp(source, destination, 40000, port, payload)
    if ":" in source:
        return ip6(source, destination, 17, body, **options)
    return ip4(source, destination, 17, body, **options)


def mobility(
    source: str, destination: str, kind: int = 5, sequence: int = 1, payload: int = 59
) -> bytes:
    """Return a mobility message of 16 octets with its checksum: BU (5), BA (6)."""
    body = struct.pack("!BBBBHHHH4B", payload, 1, kind, 0, 0, sequence, 0xC000, 30, 1, 2, 0, 0)
    pseudo = _pseudo(source, destination, 135, len(body))
    return body[:4] + struct.pack("!H", checksum(pseudo + body)) + body[6:]


def home_address_header(home: str, next_header: int) -> bytes:
    """Return a destination options header with the Home Address option."""
    return bytes((next_header, 2, 1, 2, 0, 0, 0xC9, 16)) + packed(home)


def routing2_header(home: str, next_header: int, left: int = 1) -> bytes:
    """Return a type 2 routing header."""
    return bytes((next_header, 2, 2, left, 0, 0, 0, 0)) + packed(home)


def care_of_header(next_header: int, care_of: CareOf) -> bytes:
    """Return a destination options header with the Care-of option."""
    return bytes((next_header,)) + build_header(care_of)[1:]


def esp_seal(
    keys: DirectionKeys, sequence: int, next_header: int, payload: bytes, icv: int = 16
) -> bytes:
    """Return an ESP packet: AES-CBC, HMAC-SHA-256 cut to ``icv`` octets (RFC 4303)."""
    pad = -(len(payload) + 2) % 16
    clear = payload + bytes(range(1, pad + 1)) + bytes((pad, next_header))
    vector = os.urandom(16)
    cipher = Cipher(AES(keys.encryption_key), CBC(vector)).encryptor()
    body = struct.pack("!II", keys.spi, sequence) + vector
    body += cipher.update(clear) + cipher.finalize()
    return body + hmac.digest(keys.authentication_key, body, "sha256")[:icv]


def esp_open(keys: DirectionKeys, packet: bytes, icv: int = 16) -> tuple[int, bytes]:
    """Return next header and payload of an ESP packet that must be genuine."""
    body = packet[:-icv]
    assert struct.unpack_from("!I", body)[0] == keys.spi
    assert hmac.digest(keys.authentication_key, body, "sha256")[:icv] == packet[-icv:]
    cipher = Cipher(AES(keys.encryption_key), CBC(body[8:24])).decryptor()
    clear = cipher.update(body[24:]) + cipher.finalize()
    return clear[-1], clear[: -2 - clear[-2]]


class Injector:
    """Sends whole packets from a namespace, with any source."""

    def __init__(self, ns: str) -> None:
        with inside(ns):
            self._four = socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)
            self._six = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 255)
        self._six.setsockopt(socket.IPPROTO_IPV6, 36, 1)  # IPV6_HDRINCL

    def send(self, packet: bytes) -> None:
        """Send a packet that starts with its IP header."""
        if packet[0] >> 4 == 4:
            self._four.sendto(packet, (str(IPv4Address(packet[16:20])), 0))
        else:
            self._six.sendto(packet, (str(IPv6Address(packet[24:40])), 0))

    def close(self) -> None:
        """Close the sockets."""
        self._four.close()
        self._six.close()


class Capture:
    """IP packets that pass a device, in either direction; IPv6 multicast with ``groups`` only."""

    def __init__(self, ns: str, device: str, groups: bool = False) -> None:
        self._groups = groups
        with inside(ns):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
            self._socket.setsockopt(socket.SOL_SOCKET, RCVBUFFORCE, 8 << 20)
            self._socket.bind((device, 3))
        self.seen: list[bytes] = []

    def _keep(self, data: bytes, protocol: int) -> None:
        if protocol == 0x0800 or (protocol == 0x86DD and (self._groups or data[24] != 0xFF)):
            self.seen.append(data)

    def packets(self, settle: float = 0.15) -> list[bytes]:
        """Return all IP packets from the start on, once it is quiet for ``settle`` s."""
        while select.select([self._socket], [], [], settle)[0]:
            data, address = self._socket.recvfrom(65536)
            self._keep(data, address[1])
        return self.seen

    def find(self, wanted: Callable[[bytes], bool], timeout: float = 3.0) -> bytes:
        """Return the first packet that is wanted, waiting for it."""
        end = time.monotonic() + timeout
        at = 0
        while True:
            for data in self.seen[at:]:
                if wanted(data):
                    return data
            at = len(self.seen)
            left = end - time.monotonic()
            if left <= 0:
                shown = "\n".join(data.hex() for data in self.seen)
                raise AssertionError(f"not captured; seen:\n{shown}")
            if select.select([self._socket], [], [], left)[0]:
                data, address = self._socket.recvfrom(65536)
                self._keep(data, address[1])

    def close(self) -> None:
        """Stop."""
        self._socket.close()


# --- traffic ----------------------------------------------------------------


class Sink:
    """A UDP socket that waits for datagrams at an address in a namespace."""

    def __init__(self, ns: str, address: str, port: int = 9000) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with inside(ns):
            self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((address, port))
        self.socket.setsockopt(socket.SOL_SOCKET, RCVBUFFORCE, 4 << 20)

    def get(self, timeout: float = 2.0) -> tuple[bytes, str] | None:
        """Return the next datagram and its source address, None if it does not come."""
        if not select.select([self.socket], [], [], timeout)[0]:
            return None
        data, source = self.socket.recvfrom(65536)
        return data, source[0]

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


def send_datagram(
    ns: str,
    source: str,
    destination: str,
    data: bytes = b"data",
    *,
    port: int = 9000,
    mark: int = 0,
    count: int = 1,
) -> None:
    """Send a UDP datagram from an address of the namespace."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    with inside(ns), socket.socket(family, socket.SOCK_DGRAM) as sender:
        if mark:
            sender.setsockopt(socket.SOL_SOCKET, 36, mark)  # SO_MARK
        sender.bind((source, 0))
        for _ in range(count):
            sender.sendto(data, (destination, port))


def reaches(
    ns: str, source: str, to: str, destination: str, *, mark: int = 0, timeout: float = 2.0
) -> bool:
    """Tell whether a datagram comes through whole, with its source as it was."""
    sink = Sink(to, destination)
    try:
        data = os.urandom(64)
        send_datagram(ns, source, destination, data, mark=mark)
        return sink.get(timeout) == (data, source)
    finally:
        sink.close()


class MobilitySocket:
    """The protocol 135 socket of a daemon."""

    RECVDSTOPTS, DSTOPTS = 58, 59

    def __init__(self, ns: str, address: str) -> None:
        with inside(ns):
            self.socket = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 135)
        self.address = address
        self.socket.bind((address, 0))
        self.socket.setsockopt(socket.IPPROTO_IPV6, self.RECVDSTOPTS, 1)

    def send(self, destination: str, message: bytes, care_of: CareOf | None = None) -> None:
        """Send a message, with the Care-of option if there is one."""
        control = []
        if care_of:
            control.append((socket.IPPROTO_IPV6, self.DSTOPTS, build_header(care_of)))
        self.socket.sendmsg([message], control, 0, (destination, 0))

    def get(self, timeout: float = 3.0) -> tuple[bytes, str, CareOf | None] | None:
        """Return message, source, Care-of option; None if nothing comes."""
        if not select.select([self.socket], [], [], timeout)[0]:
            return None
        data, control, _, source = self.socket.recvmsg(65536, 4096)
        care_of = None
        for level, kind, raw in control:
            if (level, kind) == (socket.IPPROTO_IPV6, self.DSTOPTS):
                care_of = parse_header(raw)
        return data, source[0].partition("%")[0], care_of

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


# --- the network ------------------------------------------------------------

HOME = "2001:db8:1::100"
HOME4 = "198.51.100.100"
LAN = "2001:db8:100::1"
LAN4 = "203.0.113.1"
CN = "2001:db8:c::2"
CN4 = "192.0.2.2"
HA = "2001:db8:1::1"
HA4 = "198.51.100.1"
COA = "2001:db8:a::2"
COA4 = "198.18.0.2"
STRANGER = "2001:db8:a::bad"
STRANGER4 = "198.18.0.66"
AGENT_PREFIXES = ("2001:db8:100::/56", "203.0.113.0/28")
PORT = 4191

# What each wire kind has as its ends: at the router, at the agent.
ENDS = {"ip6": (COA, HA), "ro": (COA, HA), "ip4": (COA4, HA4), "udp4": (COA4, HA4)}


def path_at_agent(kind: str, **more: Any) -> bytes:
    """Return the agent's path to the router."""
    return path(kind, ENDS[kind][1], ENDS[kind][0], **more)


def path_at_router(kind: str, **more: Any) -> bytes:
    """Return the router's path to the agent."""
    return path(kind, ENDS[kind][0], ENDS[kind][1], **more)


class Reused:
    """Namespaces with dsmip devices, which tell whether a test left them as they were."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.devices: list[Device] = []
        self.open: list[Any] = []
        self._changes: list[Changes] = []
        self._settings: list[dict[str, Any]] = []
        self._kept = 0
        delete_namespaces(*names)
        run("".join(f"ip netns add {name};" for name in names))

    def device(self, ns: str) -> Device:
        """Open the device of a namespace."""
        made: Device = self.keep(Device(ns))
        self.devices.append(made)
        return made

    def watch(self) -> None:
        """Be able to tell of changes from now on; what tells keeps the namespaces alive."""
        self._changes = [self.keep(Changes(name)) for name in self.names]
        self._settings = self._device_settings()
        self._kept = len(self.open)
        for changes in self._changes:
            changes.forget(settle=0.02)

    def _device_settings(self) -> list[dict[str, Any]]:
        found = [device.device_get() for device in self.devices]
        return [{key: one[key] for key in one.keys() - {"counters", "stats"}} for one in found]

    def cleared(self) -> bool:
        """End what a test opened and bound; tell whether all is as when ``watch`` was called."""
        while len(self.open) > self._kept:
            self.open.pop().close()
        if any(changes.any() for changes in self._changes):
            return False
        for device in self.devices:
            device.binding_del()
        return self._device_settings() == self._settings

    def keep(self, thing: Any) -> Any:
        """Close the thing together with the namespaces."""
        self.open.append(thing)
        return thing

    def close(self) -> None:
        """Take everything down."""
        for thing in reversed(self.open):
            thing.close()
        delete_namespaces(*self.names)


class Alone(Reused):
    """A device alone in a namespace."""

    def __init__(self) -> None:
        super().__init__("k-one")
        ip_batch("k-one", "link set lo up\nlink add mip0 type dsmip\nlink set mip0 up")
        self.one = self.device("k-one")


class World(Reused):
    """The three namespaces, with a dsmip device in the router and the agent."""

    def __init__(self, tag: str = "k") -> None:
        self.mr, self.core, self.ha = f"{tag}-mr", f"{tag}-core", f"{tag}-ha"
        super().__init__(self.mr, self.core, self.ha)
        for name in self.names:
            sysctl(
                name,
                {
                    "net/ipv6/conf/all/forwarding": 1,
                    "net/ipv6/conf/default/accept_dad": 0,
                    "net/ipv6/conf/all/accept_dad": 0,
                    "net/ipv4/conf/all/forwarding": 1,
                    "net/ipv4/conf/all/rp_filter": 0,
                    "net/ipv4/conf/default/rp_filter": 0,
                    "net/ipv4/icmp_ratelimit": 0,
                    "net/ipv6/icmp/ratelimit": 0,
                },
            )
            # Each namespace has its own limit, or all share one: kernels differ.
            with inside(name):
                own = _ICMP_RATE.exists()
            with inside(name) if own else nullcontext():
                _ICMP_RATE.write_text("100000\n")
        ip_batch(
            self.core,
            f"""
            link set lo up
            link add tomr type veth peer name wan0 netns {self.mr}
            link add toha type veth peer name home netns {self.ha}
            addr add 2001:db8:a::1/64 dev tomr nodad
            addr add 198.18.0.1/24 dev tomr
            addr add 2001:db8:1::ff/64 dev toha nodad
            addr add 198.51.100.254/24 dev toha
            addr add {CN}/128 dev lo
            addr add {CN4}/32 dev lo
            link set tomr up
            link set toha up
            route add {HOME}/128 via {HA}
            route add 2001:db8:100::/56 via {HA}
            route add {HOME4}/32 via {HA4}
            route add 203.0.113.0/28 via {HA4}
            """,
        )
        ip_batch(
            self.mr,
            f"""
            link set lo up
            addr add {COA}/64 dev wan0 nodad
            addr add {COA4}/24 dev wan0
            addr add {LAN}/128 dev lo
            addr add {LAN4}/32 dev lo
            link set wan0 up
            route add default via 2001:db8:a::1
            route add default via 198.18.0.1
            link add mip0 type dsmip
            link set mip0 up
            addr add {HOME}/128 dev mip0 nodad
            addr add {HOME4}/32 dev mip0
            -6 rule add from {HOME} lookup 4191
            -6 rule add from 2001:db8:100::/56 lookup 4191
            route add ::/0 dev mip0 table 4191
            rule add from {HOME4} lookup 4191
            rule add from 203.0.113.0/28 lookup 4191
            route add default dev mip0 table 4191
            """,
        )
        ip_batch(
            self.ha,
            f"""
            link set lo up
            addr add {HA}/64 dev home nodad
            addr add {HA4}/24 dev home
            link set home up
            route add default via 2001:db8:1::ff
            route add default via 198.51.100.254
            link add mip0 type dsmip
            link set mip0 up
            route add {HOME}/128 dev mip0
            route add 2001:db8:100::/56 dev mip0
            route add {HOME4}/32 dev mip0
            route add 203.0.113.0/28 dev mip0
            """,
        )
        self.router = self.device(self.mr)
        self.agent = self.device(self.ha)

    def bind(self, kind: str, **agent: Any) -> None:
        """Install the binding on both sides, by one path of this kind."""
        self.bind_agent(path_at_agent(kind), **agent)
        self.bind_router(path_at_router(kind))

    def bind_agent(self, *paths: bytes, **more: Any) -> None:
        """Install the agent's binding."""
        self.agent.binding_set(
            HOME,
            home4=HOME4,
            prefixes=[prefix(one) for one in AGENT_PREFIXES],
            paths=list(paths),
            **more,
        )

    def bind_router(self, *paths: bytes) -> None:
        """Install the router's binding."""
        own = (*AGENT_PREFIXES, f"{HOME}/128", f"{HOME4}/32")
        self.router.binding_set(
            HOME,
            home4=HOME4,
            mobile=True,
            prefixes=[prefix("::/0"), prefix("0.0.0.0/0"), *(prefix(p, local=True) for p in own)],
            paths=list(paths),
        )

    def capture(self, ns: str, device: str, groups: bool = False) -> Capture:
        """Start a capture that ends with the world."""
        kept: Capture = self.keep(Capture(ns, device, groups))
        return kept

    def injector(self, ns: str) -> Injector:
        """Open an injector that is closed with the world."""
        kept: Injector = self.keep(Injector(ns))
        return kept

    def events(self, ns: str) -> Events:
        """Listen to events until the world ends."""
        kept: Events = self.keep(Events(ns))
        return kept

    def mobility_socket(self, ns: str, address: str) -> MobilitySocket:
        """Open a protocol 135 socket that is closed with the world."""
        kept: MobilitySocket = self.keep(MobilitySocket(ns, address))
        return kept

    def sink(self, ns: str, address: str, port: int = 9000) -> Sink:
        """Open a sink that is closed with the world."""
        kept: Sink = self.keep(Sink(ns, address, port))
        return kept
