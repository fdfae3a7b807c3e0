# SPDX-License-Identifier: GPL-2.0-only
"""The protocol 135 socket: mobility messages in home form.

The kernel computes and verifies the checksum, ESP has been taken off before a
message gets here, and the care-of address stands in the Care-of option.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from ..packet.careof import CareOf, build_header, parse_header
from ..packet.mobility import PROTOCOL

_IPV6_FREEBIND: Final = 78
_LARGEST: Final = 65536
_PKTINFO: Final = struct.Struct("=16sI")
_CONTROL: Final = socket.CMSG_SPACE(_PKTINFO.size) + socket.CMSG_SPACE(2048)
_IPV6_HEADER: Final = struct.Struct("!IHBB16s16s")
_ICMP6_PARAMETER_PROBLEM: Final = 4
#: RFC 4443 section 2.4 (c): an error must leave room for no more than the minimum MTU.
_ERROR_QUOTE: Final = 1280 - 40 - 8


@dataclass(frozen=True, slots=True)
class Datagram:
    """One received mobility message, not parsed yet."""

    data: bytes
    source: IPv6Address
    destination: IPv6Address
    care_of: CareOf | None
    interface: int


class MobilitySocket:
    """Sends and receives mobility headers. Needs CAP_NET_RAW."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_INET6, kind, PROTOCOL)
        for option in (socket.IPV6_RECVPKTINFO, socket.IPV6_RECVDSTOPTS):
            self._socket.setsockopt(socket.IPPROTO_IPV6, option, 1)
        # A binding update may leave before the home address is assigned.
        self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._errors: socket.socket | None = None

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()
        if self._errors is not None:
            self._errors.close()

    def receive(self, limit: int = 64) -> Iterator[Datagram]:
        """Yield at most ``limit`` waiting messages, so that timers get their turn."""
        for _ in range(limit):
            try:
                data, control, _flags, source = self._socket.recvmsg(_LARGEST, _CONTROL)
            except BlockingIOError:
                return
            except OSError:
                continue  # a pending ICMP error of something sent earlier
            destination = IPv6Address(0)
            interface = 0
            care_of = None
            for level, kind, value in control:
                if level != socket.IPPROTO_IPV6:
                    continue
                if kind == socket.IPV6_PKTINFO and len(value) >= _PKTINFO.size:
                    packed, interface = _PKTINFO.unpack_from(value)
                    destination = IPv6Address(packed)
                elif kind == socket.IPV6_DSTOPTS and care_of is None:
                    care_of = parse_header(value)
            address = IPv6Address(source[0].split("%")[0])
            yield Datagram(data, address, destination, care_of, interface)

    def send(
        self,
        data: bytes,
        source: IPv6Address,
        destination: IPv6Address,
        care_of: CareOf | None = None,
        interface: int = 0,
    ) -> None:
        """Send a message; raises ``OSError`` when there is no way to its destination."""
        _send(self._socket, data, source, destination, care_of, interface)

    def send_parameter_problem(self, datagram: Datagram, code: int, pointer: int) -> None:
        """Tell the sender what is wrong with its message (RFC 6275 section 9.2).

        ``pointer`` counts from the start of the mobility header. Quoted is the
        message as RFC 6275 section 9.2 sees it: in home form, without options.
        """
        if self._errors is None:
            kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            self._errors = socket.socket(socket.AF_INET6, kind, socket.IPPROTO_ICMPV6)
            # Only sends: without this every ICMPv6 packet would be queued here.
            self._errors.setsockopt(socket.IPPROTO_ICMPV6, 1, b"\xff" * 32)
            self._errors.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        header = _IPV6_HEADER.pack(
            6 << 28,
            len(datagram.data),
            PROTOCOL,
            64,
            datagram.source.packed,
            datagram.destination.packed,
        )
        quoted = (header + datagram.data)[:_ERROR_QUOTE]
        error = struct.pack("!BBHI", _ICMP6_PARAMETER_PROBLEM, code, 0, len(header) + pointer)
        _send(
            self._errors,
            error + quoted,
            datagram.destination,
            datagram.source,
            datagram.care_of,
            datagram.interface if datagram.care_of is None else 0,
        )


def _send(
    sock: socket.socket,
    data: bytes,
    source: IPv6Address,
    destination: IPv6Address,
    care_of: CareOf | None,
    interface: int,
) -> None:
    control: list[tuple[int, int, bytes]] = [
        (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _PKTINFO.pack(source.packed, interface))
    ]
    if care_of is not None:
        control.append((socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, build_header(care_of)))
    scope = interface if destination.is_link_local else 0
    sock.sendmsg([data], control, 0, (str(destination), 0, 0, scope))
