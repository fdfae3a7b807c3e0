# SPDX-License-Identifier: GPL-2.0-only
"""Neighbour Discovery for whole prefixes: what the kernel does for single addresses only.

A home agent whose provider gives it one on-link prefix, and no routed one, has to
answer on its uplink for every address of the mobile networks that it cuts out of
it (RFC 4389 in spirit). The kernel's proxy has one entry for each address; here a
packet socket hears the solicitations for all of them.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network
from typing import Final

from ..packet.icmp6 import checksum
from .neighbours import Interface

_ETH_P_IPV6: Final = 0x86DD
_SOL_PACKET: Final = 263
_PACKET_ADD_MEMBERSHIP: Final = 1
_PACKET_MR_ALLMULTI: Final = 2
_MEMBERSHIP: Final = struct.Struct("=iHH8s")
_SO_ATTACH_FILTER: Final = 26
_INSTRUCTION: Final = struct.Struct("=HBBI")
_SOLICITATION: Final = 135
_ADVERTISEMENT: Final = 136
_ROUTER, _SOLICITED = 0x80, 0x40
_SOURCE_LINK_LAYER, _TARGET_LINK_LAYER = 1, 2
_ALL_NODES: Final = IPv6Address("ff02::1")
_OUTGOING: Final = 4
#: Neighbour solicitations without extension headers, hop limit 255; offsets are those
#: of the IPv6 header, since the socket is one of SOCK_DGRAM.
_FILTER: Final = (
    (0x30, 0, 0, 6),  # ldb next header
    (0x15, 0, 5, 58),  # ICMPv6
    (0x30, 0, 0, 7),  # ldb hop limit
    (0x15, 0, 3, 255),
    (0x30, 0, 0, 40),  # ldb type
    (0x15, 0, 1, _SOLICITATION),
    (0x06, 0, 0, 0xFFFF),  # accept
    (0x06, 0, 0, 0),  # drop
)


@dataclass(frozen=True, slots=True)
class Solicitation:
    """A valid neighbour solicitation; ``source`` ``::`` is duplicate address detection."""

    source: IPv6Address
    destination: IPv6Address
    target: IPv6Address
    link_layer: bytes


def parse_solicitation(packet: bytes) -> Solicitation | None:
    """Return the solicitation in an IPv6 packet, None if it is not valid (RFC 4861 7.1.1)."""
    if len(packet) < 64 or packet[0] >> 4 != 6 or packet[6] != 58 or packet[7] != 255:
        return None
    size = int.from_bytes(packet[4:6], "big")
    body = packet[40 : 40 + size]
    if len(body) != size or size < 24 or body[0] != _SOLICITATION or body[1]:
        return None
    source, destination = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
    target = IPv6Address(body[8:24])
    if checksum(source, destination, body) != int.from_bytes(body[2:4], "big"):
        return None
    if target.is_multicast or source.is_multicast:
        return None
    link_layer = b""
    at = 24
    while at < size:
        length = body[at + 1] * 8 if at + 1 < size else 0
        if not length or at + length > size:
            return None
        if body[at] == _SOURCE_LINK_LAYER and length == 8:
            link_layer = bytes(body[at + 2 : at + 8])
        at += length
    unspecified = not int(source)
    if unspecified and (link_layer or destination.packed[:13] != _SOLICITED_NODE):
        return None
    return Solicitation(source, destination, target, link_layer)


_SOLICITED_NODE: Final = b"\xff\x02" + bytes(9) + b"\1\xff"


def build_answer(asked: Solicitation, own: IPv6Address, link_layer: bytes) -> bytes:
    """Build the IPv6 packet of a proxy's answer: it does not override (RFC 4861 7.2.8)."""
    known = bool(int(asked.source))
    destination = asked.source if known else _ALL_NODES
    flags = _ROUTER | (_SOLICITED if known else 0)
    body = bytearray(struct.pack("!BBHB3x", _ADVERTISEMENT, 0, 0, flags))
    body += asked.target.packed + bytes((_TARGET_LINK_LAYER, 1)) + link_layer
    body[2:4] = checksum(own, destination, body).to_bytes(2, "big")
    header = struct.pack("!IHBB", 6 << 28, len(body), 58, 255)
    return header + own.packed + destination.packed + bytes(body)


class PrefixProxy:
    """Answers on one Ethernet interface for every address of some prefixes.

    Needs CAP_NET_RAW. ``own`` is the address that answers come from.
    """

    def __init__(self, interface: Interface, own: IPv6Address) -> None:
        self._interface, self._own = interface, own
        self._prefixes: tuple[IPv6Network, ...] = ()
        self.answered = self.ignored = 0
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_PACKET, kind, 0)
        program = b"".join(_INSTRUCTION.pack(*step) for step in _FILTER)
        # struct sock_fprog: a count and a pointer, which must live as long as the call.
        import ctypes

        code = ctypes.create_string_buffer(program)
        fprog = struct.pack("HL", len(_FILTER), ctypes.addressof(code))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
        member = _MEMBERSHIP.pack(interface.index, _PACKET_MR_ALLMULTI, 0, bytes(8))
        self._socket.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, member)
        self._socket.bind((interface.name, _ETH_P_IPV6))

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def serve(self, prefixes: Iterable[IPv6Network]) -> None:
        """Answer for these prefixes and no others."""
        self._prefixes = tuple(prefixes)

    def answer(self, limit: int = 64) -> None:
        """Answer the solicitations that wait; what is not for the prefixes is left alone."""
        for packet, link_layer in self._waiting(limit):
            asked = parse_solicitation(packet)
            if asked is None or not any(asked.target in prefix for prefix in self._prefixes):
                self.ignored += 1
                continue
            if any(asked.source in prefix for prefix in self._prefixes):
                # A router at home asks for its own network: it has it.
                self.ignored += 1
                continue
            to = link_layer if int(asked.source) else b"\x33\x33\0\0\0\1"
            reply = build_answer(asked, self._own, self._interface.address)
            try:
                self._socket.sendto(reply, (self._interface.name, _ETH_P_IPV6, 0, 0, to))
            except OSError:
                self.ignored += 1
            else:
                self.answered += 1

    def _waiting(self, limit: int) -> Iterator[tuple[bytes, bytes]]:
        for _ in range(limit):
            try:
                packet, address = self._socket.recvfrom(2048)
            except BlockingIOError:
                return
            except OSError:
                continue
            if address[2] != _OUTGOING and len(address[4]) == 6:
                yield packet, bytes(address[4])
