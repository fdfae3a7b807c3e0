# SPDX-License-Identifier: GPL-2.0-only
"""Addresses by configuration payload (RFC 7296 section 3.15, RFC 5026 section 5.3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Final

from .config import Address, AddressRequest, Assignment, ChildConfig, HomePrefix
from .errors import RemoteError
from .numbers import ConfigAttribute, ConfigType, NotifyType
from .payloads import Attribute, Configuration, Notify
from .selectors import TrafficSelector

_A: Final = ConfigAttribute
#: Addresses of one family that are asked for or taken at most.
MOST: Final = 8
_UNSPECIFIED: Final = (IPv6Address(0), IPv4Address(0))


def _wrong(attribute: Attribute) -> RemoteError:
    return RemoteError(
        f"configuration attribute {attribute.type} of {len(attribute.value)} octets",
        NotifyType.INVALID_SYNTAX,
    )


def request_payload(request: AddressRequest) -> Configuration:
    """Return the CFG_REQUEST for what we want."""
    attributes = []
    for address6 in request.addresses6:
        # A wish is the address with its prefix length (RFC 4877 section 9).
        value = address6.packed + b"\x80" if address6 else b""
        attributes.append(Attribute(_A.INTERNAL_IP6_ADDRESS, value))
    for address4 in request.addresses4:
        attributes.append(Attribute(_A.INTERNAL_IP4_ADDRESS, address4.packed if address4 else b""))
    if request.dns6:
        attributes.append(Attribute(_A.INTERNAL_IP6_DNS))
    if request.dns4:
        attributes.append(Attribute(_A.INTERNAL_IP4_DNS))
    if request.home_prefix:
        attributes.append(Attribute(_A.MIP6_HOME_PREFIX))
    return Configuration(ConfigType.REQUEST, tuple(attributes))


def read_request(payload: Configuration) -> AddressRequest:
    """Return what a CFG_REQUEST asks for. Raises ``RemoteError`` INVALID_SYNTAX."""
    addresses6: list[IPv6Address | None] = []
    addresses4: list[IPv4Address | None] = []
    for attribute in payload.attributes:
        if attribute.type == _A.INTERNAL_IP6_ADDRESS:
            if len(attribute.value) not in (0, 16, 17):
                raise _wrong(attribute)
            wish6 = IPv6Address(attribute.value[:16]) if attribute.value else None
            addresses6.append(None if wish6 in _UNSPECIFIED else wish6)
        elif attribute.type == _A.INTERNAL_IP4_ADDRESS:
            if len(attribute.value) not in (0, 4):
                raise _wrong(attribute)
            wish4 = IPv4Address(attribute.value) if attribute.value else None
            addresses4.append(None if wish4 in _UNSPECIFIED else wish4)
    kinds = {attribute.type for attribute in payload.attributes}
    return AddressRequest(
        tuple(addresses6[:MOST]),
        tuple(addresses4[:MOST]),
        dns6=_A.INTERNAL_IP6_DNS in kinds,
        dns4=_A.INTERNAL_IP4_DNS in kinds,
        home_prefix=_A.MIP6_HOME_PREFIX in kinds,
    )


def reply_payload(assignment: Assignment) -> Configuration:
    """Return the CFG_REPLY that gives ``assignment``."""
    attributes = [
        Attribute(_A.INTERNAL_IP6_ADDRESS, address.packed + bytes((length,)))
        for address, length in assignment.addresses6
    ]
    attributes += [
        Attribute(_A.INTERNAL_IP4_ADDRESS, address.packed) for address in assignment.addresses4
    ]
    attributes += [Attribute(_A.INTERNAL_IP6_DNS, dns.packed) for dns in assignment.dns6]
    attributes += [Attribute(_A.INTERNAL_IP4_DNS, dns.packed) for dns in assignment.dns4]
    if assignment.home_prefix:
        attributes.append(Attribute(_A.MIP6_HOME_PREFIX, _home_prefix(assignment.home_prefix)))
    return Configuration(ConfigType.REPLY, tuple(attributes))


def _home_prefix(given: HomePrefix) -> bytes:
    prefix = given.prefix
    return given.lifetime.to_bytes(4) + prefix.network_address.packed + bytes((prefix.prefixlen,))


def use_assigned(assignment: Assignment) -> Notify:
    """Return USE_ASSIGNED_HoA with the address to use (RFC 5026 section 5.3.2)."""
    data = b""
    for address, length in assignment.addresses6[:1]:
        value = address.packed + bytes((length,))
        data = int(_A.INTERNAL_IP6_ADDRESS).to_bytes(2) + len(value).to_bytes(2) + value
    return Notify(NotifyType.USE_ASSIGNED_HOA, data)


def read_reply(payload: Configuration | None, use: Notify | None = None) -> Assignment:
    """Return what a CFG_REPLY gives, ``use`` being its USE_ASSIGNED_HoA if there is one.

    Raises ``RemoteError`` INVALID_SYNTAX.
    """
    addresses6: list[tuple[IPv6Address, int]] = []
    found: dict[int, list[bytes]] = {}
    for attribute in payload.attributes if payload else ():
        found.setdefault(attribute.type, []).append(attribute.value)
        sizes = _SIZES.get(attribute.type)
        if sizes and len(attribute.value) not in sizes:
            raise _wrong(attribute)
    for value in found.get(_A.INTERNAL_IP6_ADDRESS, []):
        # Some leave the prefix length away.
        length = value[16] if len(value) == 17 else 128
        if not value or length > 128:
            continue
        addresses6.append((IPv6Address(value[:16]), length))
    if use is not None and len(use.data) == 21 and use.data[1] == _A.INTERNAL_IP6_ADDRESS:
        given = (IPv6Address(use.data[4:20]), min(use.data[20], 128))
        addresses6 = [given, *(address for address in addresses6 if address[0] != given[0])]
    prefixes = [value for value in found.get(_A.MIP6_HOME_PREFIX, []) if value]
    home_prefix = None
    if prefixes and prefixes[0][20] <= 128:
        network = IPv6Network((prefixes[0][4:20], prefixes[0][20]), strict=False)
        home_prefix = HomePrefix(network, int.from_bytes(prefixes[0][:4]))
    return Assignment(
        tuple(addresses6[:MOST]),
        tuple(
            IPv4Address(value) for value in found.get(_A.INTERNAL_IP4_ADDRESS, [])[:MOST] if value
        ),
        tuple(IPv6Address(value) for value in found.get(_A.INTERNAL_IP6_DNS, [])[:MOST] if value),
        tuple(IPv4Address(value) for value in found.get(_A.INTERNAL_IP4_DNS, [])[:MOST] if value),
        home_prefix,
        use_assigned=use is not None,
    )


_SIZES: Final[dict[int, tuple[int, ...]]] = {
    int(_A.INTERNAL_IP6_ADDRESS): (0, 16, 17),
    int(_A.INTERNAL_IP4_ADDRESS): (0, 4),
    int(_A.INTERNAL_IP6_DNS): (0, 16),
    int(_A.INTERNAL_IP4_DNS): (0, 4),
    int(_A.MIP6_HOME_PREFIX): (0, 21),
}


def assigned_addresses(assignment: Assignment | None) -> tuple[Address, ...]:
    """Return the addresses of an assignment, IPv6 first."""
    if assignment is None:
        return ()
    return (*(address for address, _ in assignment.addresses6), *assignment.addresses4)


def resolve(child: ChildConfig, assignment: Assignment | None, assigned_here: bool) -> ChildConfig:
    """Return ``child`` with the assigned addresses put in.

    ``assigned_here`` tells that the addresses are this host's own. Without an
    assignment that fits, or for a child that does not depend on one, it comes back
    as it is.
    """
    addresses = assigned_addresses(assignment)
    if not addresses or not child.unresolved:
        return child
    local, remote, endpoints = child.local, child.remote, child.endpoints
    if child.dynamic and assigned_here:
        local = tuple(_on(local, addresses))
    elif child.dynamic:
        remote = tuple(_on(remote, addresses))
    if not (local and remote):
        return child
    if endpoints is not None:
        endpoints = _specified(endpoints[0], addresses), _specified(endpoints[1], addresses)
    return replace(child, local=local, remote=remote, endpoints=endpoints, dynamic=False)


def _on(
    selectors: Iterable[TrafficSelector], addresses: tuple[Address, ...]
) -> Iterable[TrafficSelector]:
    """Yield the selectors for single addresses, of the family that each one has."""
    for selector in selectors:
        for address in addresses:
            if address.version == selector.first.version:
                yield replace(selector, first=address, last=address)


def _specified(address: Address, addresses: tuple[Address, ...]) -> Address:
    if not address.is_unspecified:
        return address
    return next((a for a in addresses if a.version == address.version), address)
