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

from ..packet.careof import CareOf
from ..packet.mobility import PROTOCOL
from . import ip6_socket

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
        # A binding update may leave before the home address is assigned.
        self._socket = ip6_socket.open_raw(
            PROTOCOL, socket.IPV6_RECVPKTINFO, socket.IPV6_RECVDSTOPTS, ip6_socket.IPV6_FREEBIND
        )
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
        for packet in ip6_socket.receive(self._socket, limit):
            yield Datagram(
                packet.data, packet.source, packet.destination, packet.care_of, packet.interface
            )

    def send(
        self,
        data: bytes,
        source: IPv6Address,
        destination: IPv6Address,
        care_of: CareOf | None = None,
        interface: int = 0,
    ) -> None:
        """Send a message; raises ``OSError`` when there is no way to its destination."""
        ip6_socket.send(self._socket, data, source, destination, care_of, interface)

    def send_on_link(
        self, data: bytes, source: IPv6Address, destination: IPv6Address, interface: int
    ) -> None:
        """Send a message to a neighbour, whatever routes say of its address.

        Raises ``OSError``.
        """
        with ip6_socket.open_raw(PROTOCOL) as sock:
            name = socket.if_indextoname(interface).encode()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
            ip6_socket.send(sock, data, source, destination, None, interface)

    def send_parameter_problem(self, datagram: Datagram, code: int, pointer: int) -> None:
        """Tell the sender what is wrong with its message (RFC 6275 section 9.2).

        ``pointer`` counts from the start of the mobility header. Quoted is the
        message as RFC 6275 section 9.2 sees it: in home form, without options.
        """
        if self._errors is None:
            # Only sends: with any type let through it would fill up.
            self._errors = ip6_socket.open_icmp6((), ip6_socket.IPV6_FREEBIND)
        ip6_socket.send(
            self._errors,
            parameter_problem(datagram, code, pointer),
            datagram.destination,
            datagram.source,
            datagram.care_of,
            datagram.interface if datagram.care_of is None else 0,
        )


def parameter_problem(datagram: Datagram, code: int, pointer: int) -> bytes:
    """Return the ICMPv6 message about a received one, its checksum still 0."""
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
    return error + quoted
