# SPDX-License-Identifier: GPL-2.0-only
"""The Care-of option: how the daemon and dsmip.ko name the path of one packet.

It is a destination option that never leaves the host. Signalling inside the
host has its home form (source and destination are home address and home
agent); the care-of address it came from, or is to go by, stands in this option.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

OPTION_TYPE = 0x1E
_LONG = struct.Struct("!16sHBxI")
_MAPPED = b"\0" * 10 + b"\xff\xff"


class WireKind(enum.IntEnum):
    """What a path's packets look like on the wire; the numbers of dsmip.h."""

    ANY = 0
    IP6 = 1
    IP4 = 2
    UDP4 = 3
    RO = 4


@dataclass(frozen=True, slots=True)
class CareOf:
    """One care-of address with all that is needed to send to it or from it.

    ``address`` is the mobile node's end of the path: remote at the home
    agent, local at the mobile router. ``port`` is the UDP port of that end (0
    for kinds without UDP). ``interface`` is the index of the outer interface,
    0 to let routing decide.
    """

    address: IPv6Address | IPv4Address
    kind: WireKind = WireKind.IP6
    port: int = 0
    interface: int = 0


def build_header(care_of: CareOf) -> bytes:
    """Return a whole destination options header (32 octets) for IPV6_DSTOPTS."""
    address = care_of.address
    packed = address.packed if isinstance(address, IPv6Address) else _MAPPED + address.packed
    data = _LONG.pack(packed, care_of.port, care_of.kind, care_of.interface)
    return b"\0\3" + b"\1\2\0\0" + bytes((OPTION_TYPE, len(data))) + data


def parse_header(header: bytes) -> CareOf | None:
    """Find the option in a destination options header as IPV6_RECVDSTOPTS gives it.

    Returns None when the header has none or is damaged: it comes from our own
    kernel module, so there is nobody to answer.
    """
    end = min(len(header), 8 + header[1] * 8) if len(header) >= 8 else 0
    at = 2
    while at < end:
        if header[at] == 0:
            at += 1
            continue
        if at + 2 > end or at + 2 + header[at + 1] > end:
            return None
        data = header[at + 2 : at + 2 + header[at + 1]]
        if header[at] == OPTION_TYPE:
            if len(data) == 16:
                return CareOf(IPv6Address(data))
            if len(data) != _LONG.size:
                return None
            packed, port, kind, interface = _LONG.unpack(data)
            try:
                wire_kind = WireKind(kind)
            except ValueError:
                return None
            if packed.startswith(_MAPPED):
                return CareOf(IPv4Address(packed[12:]), wire_kind, port, interface)
            return CareOf(IPv6Address(packed), wire_kind, port, interface)
        at += 2 + len(data)
    return None
