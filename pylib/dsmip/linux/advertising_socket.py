# SPDX-License-Identifier: GPL-2.0-only
"""The socket for Router Advertisements and Solicitations on the LAN."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address
from typing import Final

from ..packet.icmp6 import RouterAdvertisement, RouterSolicitation, build
from . import ip6_socket

_ANY: Final = IPv6Address("::")
_ALL_NODES: Final = IPv6Address("ff02::1")
_ALL_ROUTERS: Final = IPv6Address("ff02::2")


class AdvertisingSocket:
    """Sends advertisements to all nodes, hears solicitations. Needs CAP_NET_RAW."""

    def __init__(self) -> None:
        self._socket = ip6_socket.open_icmp6(
            (RouterSolicitation.TYPE,), socket.IPV6_RECVPKTINFO, socket.IPV6_RECVHOPLIMIT
        )
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        self._joined: set[int] = set()

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def join(self, interfaces: Iterable[int]) -> None:
        """Hear what is sent to all routers on these links and no others."""
        wanted = set(interfaces)
        for index in self._joined - wanted:
            self._membership(socket.IPV6_LEAVE_GROUP, index)
        for index in wanted - self._joined:
            self._membership(socket.IPV6_JOIN_GROUP, index)
        self._joined = wanted

    def _membership(self, option: int, index: int) -> None:
        # A link that went away took the membership along.
        with contextlib.suppress(OSError):
            member = _ALL_ROUTERS.packed + struct.pack("=I", index)
            self._socket.setsockopt(socket.IPPROTO_IPV6, option, member)

    def send(self, interface: int, message: RouterAdvertisement) -> None:
        """Send to all nodes of a link, from its link-local address. Raises ``OSError``."""
        ip6_socket.send(self._socket, build(message), _ANY, _ALL_NODES, None, interface)

    def solicitations(self, limit: int = 64) -> Iterator[tuple[int, IPv6Address, bytes]]:
        """Yield interface, source and octets of solicitations that no router forwarded."""
        for packet in ip6_socket.receive(self._socket, limit):
            if packet.hop_limit == 255:
                yield packet.interface, packet.source, packet.data
