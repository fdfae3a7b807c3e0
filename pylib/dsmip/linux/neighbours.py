# SPDX-License-Identifier: GPL-2.0-only
"""Neighbour Discovery and ARP that the kernel does not do for us.

Solicitations for routers, advertisements and announcements for addresses that
moved, and duplicate address detection for an address of somebody else.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from ..packet.kernel import Address
from . import ip6_socket

_ROUTER_SOLICITATION: Final = 133
_NEIGHBOUR_SOLICITATION: Final = 135
_NEIGHBOUR_ADVERTISEMENT: Final = 136
_FLAG_ROUTER: Final = 0x80
_FLAG_OVERRIDE: Final = 0x20
_SOURCE_LINK_LAYER: Final = 1
_TARGET_LINK_LAYER: Final = 2
_ALL_NODES: Final = IPv6Address("ff02::1")
_ALL_ROUTERS: Final = IPv6Address("ff02::2")
_ETH_P_IPV6: Final = 0x86DD
_ETH_P_ARP: Final = 0x0806
_ARP: Final = struct.Struct("!HHBBH6s4s6s4s")
_ARP_REQUEST: Final = 1
_ROUTERS_GROUP: Final = b"\x33\x33\0\0\0\2"
_BROADCAST: Final = b"\xff" * 6


@dataclass(frozen=True, slots=True)
class Interface:
    """Where to speak: index, name and link-layer address (empty where there are none)."""

    index: int
    name: str
    address: bytes


def solicited_node(target: IPv6Address) -> IPv6Address:
    """Return the solicited-node multicast address (RFC 4291 section 2.7.1)."""
    return IPv6Address(b"\xff\x02" + bytes(9) + b"\1\xff" + target.packed[13:])


def probe(target: IPv6Address) -> bytes:
    """Build the IPv6 packet of duplicate address detection (RFC 4862 section 5.4.2)."""
    message = struct.pack("!BBHI", _NEIGHBOUR_SOLICITATION, 0, 0, 0) + target.packed
    return _unspecified(solicited_node(target), message)


def _unspecified(destination: IPv6Address, message: bytes) -> bytes:
    """Build an ICMPv6 packet from the unspecified address."""
    pseudo = bytes(16) + destination.packed + struct.pack("!II", len(message), 58)
    total = sum(struct.unpack(f"!{len(pseudo + message) // 2}H", pseudo + message))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    checksum = ~total & 0xFFFF or 0xFFFF
    message = message[:2] + struct.pack("!H", checksum) + message[4:]
    header = struct.pack("!IHBB", 6 << 28, len(message), 58, 255)
    return header + bytes(16) + destination.packed + message


def _option(kind: int, link_layer: bytes) -> bytes:
    if not link_layer:
        return b""
    body = bytes((kind, (len(link_layer) + 9) // 8)) + link_layer
    return body + bytes(-len(body) % 8)


class Neighbours:
    """Sends Neighbour Discovery and ARP messages. Needs CAP_NET_RAW."""

    def __init__(self) -> None:
        self._icmp = ip6_socket.open_icmp6(
            (_NEIGHBOUR_ADVERTISEMENT,), socket.IPV6_RECVPKTINFO, socket.IPV6_RECVHOPLIMIT
        )
        for option in (socket.IPV6_MULTICAST_HOPS, socket.IPV6_UNICAST_HOPS):
            self._icmp.setsockopt(socket.IPPROTO_IPV6, option, 255)
        # What we tell of others' addresses is not for our own neighbour cache.
        self._icmp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)

    def fileno(self) -> int:
        return self._icmp.fileno()

    def close(self) -> None:
        self._icmp.close()

    def solicit_router(self, interface: Interface) -> None:
        """Send a Router Solicitation (RFC 4861 section 4.1).

        Until the interface has a link-local address that may be used, the
        unspecified address is the source: then the answer goes to all nodes.
        Raises ``OSError``.
        """
        body = struct.pack("!BBHI", _ROUTER_SOLICITATION, 0, 0, 0)
        option = _option(_SOURCE_LINK_LAYER, interface.address)
        try:
            self._multicast(body + option, _ALL_ROUTERS, interface)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL or len(interface.address) != 6:
                raise
            packet = _unspecified(_ALL_ROUTERS, body)
            self._packet(interface, _ETH_P_IPV6, _ROUTERS_GROUP, packet)

    def advertise(self, interface: Interface, target: Address, router: bool) -> None:
        """Tell all neighbours that an address is here now.

        An unsolicited advertisement that overrides caches (RFC 6275 section
        10.4.1), or a gratuitous ARP request. Raises ``OSError``.
        """
        if isinstance(target, IPv6Address):
            flags = _FLAG_OVERRIDE | (_FLAG_ROUTER if router else 0)
            body = struct.pack("!BBHB3x", _NEIGHBOUR_ADVERTISEMENT, 0, 0, flags) + target.packed
            option = _option(_TARGET_LINK_LAYER, interface.address)
            self._multicast(body + option, _ALL_NODES, interface)
        elif len(interface.address) == 6:
            self._announce4(interface, target)

    def probe(self, interface: Interface, target: IPv6Address) -> None:
        """Ask whether somebody has an address; who has it answers all nodes."""
        group = b"\x33\x33\xff" + target.packed[13:]
        self._packet(interface, _ETH_P_IPV6, group, probe(target))

    def advertised(self) -> Iterator[tuple[int, IPv6Address]]:
        """Yield (interface, target) of the neighbour advertisements that wait."""
        for packet in ip6_socket.receive(self._icmp):
            # RFC 4861 section 7.1.2: 255 proves that no router forwarded it.
            data = packet.data
            if packet.hop_limit == 255 and len(data) >= 24 and data[0] == _NEIGHBOUR_ADVERTISEMENT:
                yield packet.interface, IPv6Address(data[8:24])

    def _multicast(self, body: bytes, group: IPv6Address, interface: Interface) -> None:
        ip6_socket.send(self._icmp, body, IPv6Address(0), group, None, interface.index)

    def _announce4(self, interface: Interface, address: IPv4Address) -> None:
        mac, packed = interface.address, address.packed
        request = _ARP.pack(1, 0x0800, 6, 4, _ARP_REQUEST, mac, packed, bytes(6), packed)
        self._packet(interface, _ETH_P_ARP, _BROADCAST, request)

    @staticmethod
    def _packet(interface: Interface, protocol: int, to: bytes, body: bytes) -> None:
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        # Protocol 0 receives nothing; the frame's type comes from the address.
        with socket.socket(socket.AF_PACKET, kind, 0) as sock:
            sock.sendto(body, (interface.name, protocol, 0, 0, to))
