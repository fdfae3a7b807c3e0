# SPDX-License-Identifier: GPL-2.0-only
"""What DHCPv6 of an access network tells of home networks (RFC 6610)."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Final

from .dns import DnsMalformed, canonical, encode_name, read_name
from .errors import Malformed

OPTIONS_MAX: Final = 64
#: IPv4 addresses stand in the last 32 bits of it (RFC 6052 section 2.1).
WELL_KNOWN: Final = IPv6Network("64:ff9b::/96")
_OPTION: Final = struct.Struct("!HH")


class HomeNetworkMalformed(Malformed):
    """Octets that are no such option."""

    counter = "home_network_malformed"


class Code(enum.IntEnum):
    """Option codes."""

    IDENTIFIER = 49
    VISITED = 50
    IDENTIFIED = 69
    UNRESTRICTED = 70
    PREFIX = 71
    ADDRESS = 72
    NAME = 73


#: The three that hold the others.
CONTAINERS: Final = (Code.VISITED, Code.IDENTIFIED, Code.UNRESTRICTED)


@dataclass(frozen=True, slots=True)
class HomeNetwork:
    """One home network: its home agents by address or name, and its prefixes.

    ``identifier`` is the domain that it was asked for by, "" without one.
    """

    kind: Code
    identifier: str = ""
    addresses6: tuple[IPv6Address, ...] = ()
    addresses4: tuple[IPv4Address, ...] = ()
    names: tuple[str, ...] = ()
    prefixes: tuple[IPv6Network, ...] = ()


def request(domain: str) -> bytes:
    """Return the data of the Home Network Identifier FQDN option for a domain."""
    return encode_name(domain)


def parse(code: int, data: bytes) -> HomeNetwork:
    """Parse the data of a Home Network Information option. Raises ``HomeNetworkMalformed``.

    One without any home agent is malformed: nothing can be done with it (section
    4.1.2).
    """
    if code not in CONTAINERS:
        raise HomeNetworkMalformed(f"option {code} holds no home network")
    identifier = ""
    six: list[IPv6Address] = []
    four: list[IPv4Address] = []
    names: list[str] = []
    prefixes: list[IPv6Network] = []
    for inner, value in _options(data):
        if inner == Code.IDENTIFIER:
            identifier = _name(value)
        elif inner == Code.NAME:
            names.append(_name(value))
        elif inner == Code.ADDRESS:
            if len(value) != 16:
                raise HomeNetworkMalformed(f"a home agent's address of {len(value)} octets")
            address = IPv6Address(value)
            if address in WELL_KNOWN:
                four.append(IPv4Address(value[12:]))
            else:
                six.append(address)
        elif inner == Code.PREFIX:
            prefixes.append(_prefix(value))
    if not (six or names):
        raise HomeNetworkMalformed("a home network without home agents")
    return HomeNetwork(
        Code(code), identifier, tuple(six), tuple(four), tuple(names), tuple(prefixes)
    )


def suitable(found: Iterable[HomeNetwork], domain: str) -> list[HomeNetwork]:
    """Return those to be tried for a domain, its own first (RFC 6611 section 4).

    One that is identified as another domain's was not asked for (RFC 6610 section
    4.1.2); a visited network's own home agents are not the domain's.
    """
    wanted = canonical(domain)
    kept = [
        one
        for one in found
        if (one.kind is Code.IDENTIFIED and one.identifier == wanted)
        or one.kind is Code.UNRESTRICTED
    ]
    return sorted(kept, key=lambda one: one.kind is not Code.IDENTIFIED)


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = count = 0
    while offset < len(data):
        count += 1
        if offset + _OPTION.size > len(data) or count > OPTIONS_MAX:
            raise HomeNetworkMalformed("options go beyond their container, or are too many")
        code, length = _OPTION.unpack_from(data, offset)
        offset += _OPTION.size
        if offset + length > len(data):
            raise HomeNetworkMalformed(f"option {code} goes beyond its container")
        yield code, data[offset : offset + length]
        offset += length


def _name(value: bytes) -> str:
    try:
        name, end = read_name(value, 0)
    except DnsMalformed as error:
        raise HomeNetworkMalformed(error.reason) from None
    if end != len(value) or not name:
        raise HomeNetworkMalformed("a name that is none")
    return name


def _prefix(value: bytes) -> IPv6Network:
    if len(value) != 17 or value[0] > 128:
        raise HomeNetworkMalformed("a home prefix that is none")
    return IPv6Network((value[1:], value[0]), strict=False)
