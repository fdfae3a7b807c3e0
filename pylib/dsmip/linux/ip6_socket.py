# SPDX-License-Identifier: GPL-2.0-only
"""IPv6 sockets: what comes with a packet, and what is said with one that is sent."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from ..packet.careof import CareOf, build_header, parse_header

IPV6_FREEBIND: Final = 78
_ICMP6_FILTER: Final = 1
_LARGEST: Final = 65536
_PKTINFO: Final = struct.Struct("=16sI")
_INT: Final = struct.Struct("=i")
_CONTROL: Final = 3 * socket.CMSG_SPACE(_PKTINFO.size) + socket.CMSG_SPACE(2048)


@dataclass(frozen=True, slots=True)
class Received:
    """A packet as it came, in home form: its care-of address stands in the Care-of option.

    ``interface`` and ``hop_limit`` are 0 and ``destination`` is :: where the socket was
    not asked for them.
    """

    data: bytes
    source: IPv6Address
    destination: IPv6Address
    interface: int
    hop_limit: int
    care_of: CareOf | None = None


def open_raw(protocol: int, *options: int) -> socket.socket:
    """Return a socket that does not block, with these options of IPv6 on.

    Raises ``OSError``. Needs CAP_NET_RAW.
    """
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    sock = socket.socket(socket.AF_INET6, kind, protocol)
    for option in options:
        sock.setsockopt(socket.IPPROTO_IPV6, option, 1)
    return sock


def open_icmp6(types: Iterable[int], *options: int) -> socket.socket:
    """Return a socket like those of ``open_raw`` that receives these ICMPv6 types only."""
    sock = open_raw(socket.IPPROTO_ICMPV6, *options)
    sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, type_filter(types))
    return sock


def type_filter(types: Iterable[int]) -> bytes:
    """Return the ICMP6_FILTER that passes these types only: set bits block."""
    blocked = bytearray(b"\xff" * 32)
    for kind in types:
        word, bit = divmod(kind, 32)
        value = struct.unpack_from("=I", blocked, word * 4)[0] & ~(1 << bit)
        struct.pack_into("=I", blocked, word * 4, value)
    return bytes(blocked)


def receive(sock: socket.socket, limit: int = 64, largest: int = _LARGEST) -> Iterator[Received]:
    """Yield at most ``limit`` waiting packets, so that timers get their turn.

    Of a packet with more than ``largest`` octets the rest is cut off.
    """
    for _ in range(limit):
        try:
            data, control, _flags, source = sock.recvmsg(largest, _CONTROL)
        except BlockingIOError:
            return
        except OSError:
            continue  # a pending error of something sent earlier
        destination, interface, hops = IPv6Address(0), 0, 0
        care_of = None
        for level, kind, value in control:
            if level != socket.IPPROTO_IPV6:
                continue
            if kind == socket.IPV6_PKTINFO and len(value) >= _PKTINFO.size:
                packed, interface = _PKTINFO.unpack_from(value)
                destination = IPv6Address(packed)
            elif kind == socket.IPV6_HOPLIMIT and len(value) >= _INT.size:
                (hops,) = _INT.unpack_from(value)
            elif kind == socket.IPV6_DSTOPTS and care_of is None:
                care_of = parse_header(value)
        address = IPv6Address(source[0].split("%")[0])
        yield Received(data, address, destination, interface, hops, care_of)


def send(
    sock: socket.socket,
    data: bytes,
    source: IPv6Address,
    destination: IPv6Address,
    care_of: CareOf | None = None,
    interface: int = 0,
) -> None:
    """Send a packet, by an interface where that matters; the kernel fills in checksums.

    Raises ``OSError``.
    """
    info = _PKTINFO.pack(source.packed, interface)
    control: list[tuple[int, int, bytes]] = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info)]
    if care_of is not None:
        control.append((socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, build_header(care_of)))
    local = destination.is_link_local or destination.is_multicast
    scope = interface if local else 0
    sock.sendmsg([data], control, 0, (str(destination), 0, 0, scope))
