# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel tells about IPsec without being asked: XFRM notifications."""

from __future__ import annotations

import enum
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from ..ipsec.association import Address, Encapsulation, SecurityProtocol, Selector
from ..ipsec.policy import Direction, Template
from .netlink import attribute_map, attributes
from .xfrm_codec import (
    KMADDRESS,
    MIGRATE,
    POLICY_ID,
    POLICY_SIZE,
    POLICY_TAIL,
    POLICY_TAIL_AT,
    SA_ID,
    SA_SIZE,
    SA_TAIL,
    SA_TAIL_AT,
    SELECTOR_SIZE,
    SOURCE_AT,
    XFRM_ID,
    Attribute,
    Message,
    decode_encapsulation,
    decode_selector,
    decode_template,
    narrow,
)

_MAPPING: Final = struct.Struct("=24sI16s16s2s2s")
_ACQUIRE_PACKET_AT: Final = XFRM_ID.size + 16
_ACQUIRE_POLICY_AT: Final = _ACQUIRE_PACKET_AT + SELECTOR_SIZE
_ACQUIRE_SEQUENCE_AT: Final = _ACQUIRE_POLICY_AT + POLICY_SIZE + 12
_ACQUIRE_SIZE: Final = _ACQUIRE_SEQUENCE_AT + 4


class Group(enum.IntEnum):
    """Multicast groups."""

    ACQUIRE = 1
    EXPIRE = 2
    SA = 3
    MIGRATE = 7
    MAPPING = 8


@dataclass(frozen=True, slots=True)
class Acquire:
    """A packet needs an association that is not there.

    ``packet`` is the packet as a selector, ``policy`` the selector that it met;
    ``template`` says what is missing, with its outer ends in transport mode too.
    """

    packet: Selector
    policy: Selector
    direction: Direction
    priority: int
    template: Template
    sequence: int

    @property
    def reqid(self) -> int:
        """The request id of the template."""
        return self.template.reqid


@dataclass(frozen=True, slots=True)
class Expire:
    """An association should be renewed (soft) or has ended and is gone (``hard``)."""

    source: Address
    destination: Address
    spi: int
    protocol: SecurityProtocol
    reqid: int
    hard: bool


@dataclass(frozen=True, slots=True)
class Mapping:
    """ESP in UDP came, genuine, from another address or port than it should."""

    destination: Address
    spi: int
    reqid: int
    old: tuple[Address, int]
    new: tuple[Address, int]


@dataclass(frozen=True, slots=True)
class Move:
    """One template that a MIGRATE was about."""

    old: tuple[Address, Address]
    new: tuple[Address, Address]
    mode: int
    protocol: int
    reqid: int


@dataclass(frozen=True, slots=True)
class Migrated:
    """Somebody sent MIGRATE; ``addresses`` are local and remote for IKE, if given."""

    selector: Selector
    direction: Direction
    moves: tuple[Move, ...]
    addresses: tuple[Address, Address] | None
    encapsulation: Encapsulation | None


Event = Acquire | Expire | Mapping | Migrated


# --- notifications ---------------------------------------------------------------


def decode_event(kind: int, payload: memoryview) -> Event | None:
    """Read a notification; None for one that is damaged or about nothing of IPsec."""
    try:
        decode = _DECODERS.get(kind)
        return None if decode is None else decode(payload)
    except (struct.error, ValueError):
        return None


def _decode_acquire(payload: memoryview) -> Acquire | None:
    if len(payload) < _ACQUIRE_SIZE:
        return None
    data = attribute_map(payload, _ACQUIRE_SIZE).get(Attribute.TEMPLATE)
    template = None if data is None else decode_template(data, keep_ends=True)
    packet = decode_selector(payload[_ACQUIRE_PACKET_AT:], any_device=True)
    policy = payload[_ACQUIRE_POLICY_AT:]
    selector = decode_selector(policy)
    priority, _index, direction, *_rest = POLICY_TAIL.unpack_from(policy, POLICY_TAIL_AT)
    if template is None or template.outer is None or packet is None or selector is None:
        return None
    # A transport template says nothing of addresses; those of the state sought do.
    family = socket.AF_INET6 if template.outer[0].version == 6 else socket.AF_INET
    source = narrow(payload[XFRM_ID.size : XFRM_ID.size + 16], family)
    template = replace(template, outer=(source, narrow(payload[:16], family)))
    (sequence,) = struct.unpack_from("=I", payload, _ACQUIRE_SEQUENCE_AT)
    return Acquire(packet, selector, Direction(direction), priority, template, sequence)


def _decode_expire(payload: memoryview) -> Expire | None:
    destination, spi, protocol = XFRM_ID.unpack_from(payload, SELECTOR_SIZE)
    _seq, reqid, family, *_rest = SA_TAIL.unpack_from(payload, SA_TAIL_AT)
    if protocol not in set(SecurityProtocol) or len(payload) <= SA_SIZE:
        return None
    return Expire(
        narrow(payload[SOURCE_AT : SOURCE_AT + 16], family),
        narrow(destination, family),
        spi,
        SecurityProtocol(protocol),
        reqid,
        bool(payload[SA_SIZE]),
    )


def _decode_mapping(payload: memoryview) -> Mapping:
    identity, reqid, old, new, old_port, new_port = _MAPPING.unpack_from(payload)
    destination, spi, family, _protocol = SA_ID.unpack(identity)
    return Mapping(
        narrow(destination, family),
        int.from_bytes(spi, "big"),
        reqid,
        (narrow(old, family), int.from_bytes(old_port, "big")),
        (narrow(new, family), int.from_bytes(new_port, "big")),
    )


def _decode_migrated(payload: memoryview) -> Migrated | None:
    selector = decode_selector(payload)
    _index, direction = POLICY_ID.unpack_from(payload, SELECTOR_SIZE)
    if selector is None or direction not in set(Direction):
        return None
    start = SELECTOR_SIZE + POLICY_ID.size
    moves = []
    for kind, value in attributes(payload, start):
        if kind != Attribute.MIGRATE:
            continue
        for offset in range(0, len(value) - MIGRATE.size + 1, MIGRATE.size):
            moves.append(_decode_move(value[offset:]))
    found = attribute_map(payload, start)
    addresses = None
    data = found.get(Attribute.KMADDRESS)
    if data is not None:
        local, remote, _reserved, family = KMADDRESS.unpack_from(data)
        addresses = (narrow(local, family), narrow(remote, family))
    return Migrated(
        selector, Direction(direction), tuple(moves), addresses, decode_encapsulation(found)
    )


def _decode_move(data: memoryview) -> Move:
    (
        old_destination,
        old_source,
        new_destination,
        new_source,
        protocol,
        mode,
        _reserved,
        reqid,
        old_family,
        new_family,
    ) = MIGRATE.unpack_from(data)
    return Move(
        (narrow(old_source, old_family), narrow(old_destination, old_family)),
        (narrow(new_source, new_family), narrow(new_destination, new_family)),
        mode,
        protocol,
        reqid,
    )


_DECODERS: Final[dict[int, Callable[[memoryview], Event | None]]] = {
    Message.ACQUIRE: _decode_acquire,
    Message.EXPIRE: _decode_expire,
    Message.MAPPING: _decode_mapping,
    Message.MIGRATE: _decode_migrated,
}
