# SPDX-License-Identifier: GPL-2.0-only
"""The ICMPv6 socket: home agent discovery, prefix discovery, router advertisements.

As with mobility messages, what is inside the host has its home form: the
care-of address of a Mobile Prefix Solicitation stands in the Care-of option.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address
from typing import Final

from ..packet.careof import CareOf
from . import ip6_socket

_JOIN_ANYCAST: Final = 27
_LEAVE_ANYCAST: Final = 28
_MEMBERSHIP: Final = struct.Struct("=16si")


class Icmp6Socket:
    """Sends and receives ICMPv6 messages of some types. Needs CAP_NET_RAW.

    What it receives is not parsed yet; the kernel has verified its checksum.
    """

    def __init__(self, types: Iterable[int]) -> None:
        self._socket = ip6_socket.open_icmp6(
            types,
            socket.IPV6_RECVPKTINFO,
            socket.IPV6_RECVHOPLIMIT,
            socket.IPV6_RECVDSTOPTS,
            ip6_socket.IPV6_FREEBIND,
        )
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        self._anycast: set[tuple[IPv6Address, int]] = set()

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        """Close it, which leaves the anycast groups."""
        self._socket.close()

    def use_anycast(self, wanted: Iterable[tuple[IPv6Address, int]]) -> None:
        """Be one of the owners of these anycast addresses, each on an interface, and no others.

        Raises ``OSError``. Needs CAP_NET_ADMIN.
        """
        keep = set(wanted)
        for change, option in (
            (self._anycast - keep, _LEAVE_ANYCAST),
            (keep - self._anycast, _JOIN_ANYCAST),
        ):
            for address, interface in change:
                value = _MEMBERSHIP.pack(address.packed, interface)
                self._socket.setsockopt(socket.IPPROTO_IPV6, option, value)
                if option == _JOIN_ANYCAST:
                    self._anycast.add((address, interface))
                else:
                    self._anycast.discard((address, interface))

    def receive(self, limit: int = 64) -> Iterator[ip6_socket.Received]:
        """Yield at most ``limit`` waiting messages."""
        return ip6_socket.receive(self._socket, limit)

    def send(
        self,
        data: bytes,
        source: IPv6Address,
        destination: IPv6Address,
        care_of: CareOf | None = None,
        interface: int = 0,
    ) -> None:
        """Send a message; the kernel fills in its checksum. Raises ``OSError``."""
        ip6_socket.send(self._socket, data, source, destination, care_of, interface)
