# SPDX-License-Identifier: GPL-2.0-only
"""UDP sockets for DHCPv6: at an address of this host, or on one link."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from ..packet.dhcpv6 import LARGEST
from . import ip6_socket

_ANY: Final = IPv6Address(0)


@dataclass(frozen=True, slots=True)
class DhcpDatagram:
    """A received datagram.

    ``home_form``: the kernel module took the Home Address option or the tunnel
    off and wrote the care-of address down, which it does for bindings only.
    """

    data: bytes
    source: IPv6Address
    destination: IPv6Address
    interface: int
    home_form: bool


class DhcpSocket:
    """Sends and receives at a port.

    Without ``interface`` it is bound to ``address``, which need not be there yet;
    with it to that link, where it hears ``group`` as well. Raises ``OSError``.
    """

    def __init__(
        self,
        port: int,
        address: IPv6Address = _ANY,
        interface: str = "",
        group: IPv6Address | None = None,
    ) -> None:
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_INET6, kind)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._socket.setsockopt(socket.IPPROTO_IPV6, ip6_socket.IPV6_FREEBIND, 1)
            for option in (socket.IPV6_RECVPKTINFO, socket.IPV6_RECVDSTOPTS):
                self._socket.setsockopt(socket.IPPROTO_IPV6, option, 1)
            index = 0
            if interface:
                index = socket.if_nametoindex(interface)
                self._socket.setsockopt(
                    socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0"
                )
            if group is not None:
                member = group.packed + struct.pack("=I", index)
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
            self._socket.bind((str(address), port))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def receive(self, limit: int = 64) -> Iterator[DhcpDatagram]:
        """Yield at most ``limit`` waiting datagrams; longer ones than any of ours are cut."""
        # An octet more than is allowed, so that what is too long shows.
        for packet in ip6_socket.receive(self._socket, limit, LARGEST + 1):
            yield DhcpDatagram(
                packet.data,
                packet.source,
                packet.destination,
                packet.interface,
                packet.care_of is not None,
            )

    def send(self, data: bytes, destination: IPv6Address, port: int, interface: int = 0) -> None:
        """Send a datagram; raises ``OSError`` when there is no way."""
        scope = interface if destination.is_link_local or destination.is_multicast else 0
        self._socket.sendto(data, (str(destination), port, 0, scope))
