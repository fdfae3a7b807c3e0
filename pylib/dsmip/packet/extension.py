# SPDX-License-Identifier: GPL-2.0-only
"""Extension headers of Mobile IPv6: Home Address option and type 2 routing header.

On a running system dsmip.ko writes and reads these. They are here for tests
and for reading captures.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from .errors import Malformed
from .mobility import NO_NEXT_HEADER

HOP_BY_HOP: Final = 0
ROUTING: Final = 43
FRAGMENT: Final = 44
ESP: Final = 50
AUTHENTICATION: Final = 51
DESTINATION_OPTIONS: Final = 60

HOME_ADDRESS: Final = 0xC9
"""Type of the Home Address option (RFC 6275 section 6.3)."""


@dataclass(frozen=True, slots=True)
class HomeForm:
    """An IPv6 packet as upper layers and ESP see it.

    ``source`` and ``destination`` are home addresses where the packet carried
    any; ``wire_source`` and ``wire_destination`` are those of the IPv6 header.
    ``protocol`` is the first header that is not skipped (135, ESP, ...) and
    ``payload`` starts with it.
    """

    source: IPv6Address
    destination: IPv6Address
    wire_source: IPv6Address
    wire_destination: IPv6Address
    protocol: int
    payload: bytes


def build_home_address(address: IPv6Address, next_header: int = NO_NEXT_HEADER) -> bytes:
    """Return a destination options header (24 octets) with the Home Address option."""
    return bytes((next_header, 2)) + b"\1\2\0\0" + bytes((HOME_ADDRESS, 16)) + address.packed


def parse_home_address(header: bytes) -> IPv6Address | None:
    """Return the home address in a destination options header, None without that option.

    Raises ``Malformed`` when the header is damaged, has the option twice, or
    has it with a length other than 16.
    """
    end = _header_end(header)
    found: IPv6Address | None = None
    at = 2
    while at < end:
        if header[at] == 0:
            at += 1
            continue
        stop = at + 2 + header[at + 1] if at + 1 < end else end + 1
        if stop > end:
            raise Malformed(f"destination option {header[at]} runs over the end of its header")
        if header[at] == HOME_ADDRESS:
            if stop - at != 18:
                raise Malformed(f"Home Address option of {stop - at - 2} octets, not 16")
            if found is not None:
                raise Malformed("Home Address option is there twice")
            found = IPv6Address(header[at + 2 : stop])
        at = stop
    return found


def build_routing(address: IPv6Address, next_header: int = NO_NEXT_HEADER) -> bytes:
    """Return a type 2 routing header (24 octets) to ``address`` (RFC 6275 section 6.4)."""
    return bytes((next_header, 2, 2, 1)) + bytes(4) + address.packed


def parse_routing(header: bytes) -> IPv6Address | None:
    """Return the home address in a type 2 routing header, None if it is of another type.

    Raises ``Malformed`` unless Hdr Ext Len is 2 and Segments Left is 1 (RFC
    6275 section 11.3.3).
    """
    _header_end(header)
    if header[2] != 2:
        return None
    if header[1] != 2 or header[3] != 1:
        raise Malformed(f"routing header with length {header[1]} and {header[3]} segments left")
    return IPv6Address(header[8:24])


def home_form(packet: bytes) -> HomeForm:
    """Read an IPv6 packet up to its first header that is neither options nor routing.

    Raises ``Malformed`` for anything that is not a whole IPv6 packet.
    """
    if len(packet) < 40 or packet[0] >> 4 != 6:
        raise Malformed("not an IPv6 packet")
    end = 40 + int.from_bytes(packet[4:6], "big")
    if end > len(packet):
        raise Malformed(f"IPv6 packet of {end} octets, {len(packet)} are there")
    wire_source, wire_destination = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
    source, destination = wire_source, wire_destination
    protocol, at = packet[6], 40
    while protocol in (HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS):
        header = packet[at:end]
        stop = at + _header_end(header)
        if protocol == ROUTING:
            destination = parse_routing(header) or destination
        elif protocol == DESTINATION_OPTIONS:
            source = parse_home_address(header) or source
        protocol, at = packet[at], stop
    return HomeForm(source, destination, wire_source, wire_destination, protocol, packet[at:end])


def _header_end(header: bytes) -> int:
    end = 8 + header[1] * 8 if len(header) >= 8 else 8
    if len(header) < end:
        raise Malformed(f"extension header of {end} octets, {len(header)} are there")
    return end
