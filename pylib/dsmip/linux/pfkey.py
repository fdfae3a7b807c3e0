# SPDX-License-Identifier: GPL-2.0-only
"""MIGRATE by PF_KEY, for key managers that listen there.

Messages are those of RFC 2367 with draft-sugimoto-mip6-pfkey-migrate-04 (the
message, and the packet extension of ACQUIRE) and
draft-ebalard-mext-pfkey-enhanced-migrate-00 (the addresses for IKE), with the
numbers of linux/pfkeyv2.h. Linux can move no UDP encapsulation this way, and tells
listeners here of what is moved by netlink, with the same addresses: who moves
policies has no need to send.

A message that is damaged in any way is refused as a whole.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from ..ipsec.association import Address, Mode, Network, SecurityProtocol
from ..ipsec.policy import Direction

ACQUIRE: Final = 6
MIGRATE: Final = 24

_AF_KEY: Final = 15
_VERSION: Final = 2
_EXT_SOURCE: Final = 5
_EXT_DESTINATION: Final = 6
_EXT_POLICY: Final = 18
_EXT_KMADDRESS: Final = 25
#: Not in Linux; the number of KAME, where the extension comes from.
PACKET: Final = 27
_SATYPES: Final = {SecurityProtocol.AH: 2, SecurityProtocol.ESP: 3}
_POLICY_IPSEC: Final = 2
_LEVEL_UNIQUE: Final = 3
_ANY_PROTOCOL: Final = 255
_LARGEST: Final = 65536
#: The kernel's bound on templates, for old and new each.
_MOST_MOVES: Final = 6

_HEADER: Final = struct.Struct("=BBBBHHII")
_EXTENSION: Final = struct.Struct("=HH")
_ADDRESS: Final = struct.Struct("=HHBBH")
_POLICY: Final = struct.Struct("=HHHBBII")
_REQUEST: Final = struct.Struct("=HHBBHII")
_KMADDRESS: Final = struct.Struct("=HHI")
_PACKET: Final = struct.Struct("=HHI")
_SOCKADDR4: Final = struct.Struct("=H2s4s8x")
_SOCKADDR6: Final = struct.Struct("=H2sI16sI")

Pair = tuple[Address, Address]


class PfKeyError(ValueError):
    """A message that is not well formed; the text says where."""


@dataclass(frozen=True, slots=True)
class Move:
    """One template's old and new outer source and destination."""

    protocol: SecurityProtocol
    mode: Mode
    reqid: int
    old: Pair
    new: Pair


@dataclass(frozen=True, slots=True)
class MigrateMessage:
    """MIGRATE: one policy in one direction; ``addresses`` are local and remote for IKE.

    ``upper`` is the protocol of the selector, 0 for any.
    """

    direction: Direction
    source: Network
    destination: Network
    upper: int
    moves: tuple[Move, ...]
    addresses: Pair | None = None
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class AcquireMessage:
    """ACQUIRE, as far as the mobility side cares: who, and the packet that asks.

    ``packet`` is the start of the packet, empty when the kernel does not tell it.
    """

    source: Address
    destination: Address
    sequence: int
    packet: bytes = b""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the kernel answers instead of doing it: ``error`` is an errno."""

    sequence: int
    error: int


Message = MigrateMessage | AcquireMessage | Refusal


class PfKeySocket:
    """A PF_KEY socket, non-blocking. Raises ``OSError`` where the kernel has none."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(_AF_KEY, kind, _VERSION)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, message: MigrateMessage) -> None:
        """Have the kernel move a policy. Raises ``OSError``.

        It tells all PF_KEY sockets, or this one, by a ``Refusal``, why it did not.
        """
        self._socket.send(build_migrate(message))

    def receive(self) -> Iterator[Message]:
        """Yield waiting messages; damaged ones and those about other things are left out."""
        while True:
            try:
                data = self._socket.recv(_LARGEST)
            except BlockingIOError:
                return
            try:
                found = parse(data)
            except PfKeyError:
                continue
            if found is not None:
                yield found


# --- building --------------------------------------------------------------------


def build_migrate(message: MigrateMessage) -> bytes:
    """Build a MIGRATE message. Raises ``PfKeyError`` for one that has no or mixed moves."""
    if not 0 < len(message.moves) <= _MOST_MOVES:
        raise PfKeyError("one to six templates move")
    body = b"" if message.addresses is None else _build_kmaddress(message.addresses)
    body += _build_address(_EXT_SOURCE, message.source, message.upper)
    body += _build_address(_EXT_DESTINATION, message.destination, message.upper)
    requests = b"".join(
        _build_request(move, pair) for move in message.moves for pair in (move.old, move.new)
    )
    size = (_POLICY.size + len(requests)) // 8
    body += _POLICY.pack(size, _EXT_POLICY, _POLICY_IPSEC, message.direction + 1, 0, 0, 0)
    body += requests
    kind = _SATYPES[message.moves[0].protocol]
    total = (_HEADER.size + len(body)) // 8
    head = (_VERSION, MIGRATE, 0, kind, total, 0, message.sequence, os.getpid())
    return _HEADER.pack(*head) + body


def _build_sockaddr(address: Address) -> bytes:
    if isinstance(address, IPv6Address):
        return _SOCKADDR6.pack(socket.AF_INET6, bytes(2), 0, address.packed, 0)
    return _SOCKADDR4.pack(socket.AF_INET, bytes(2), address.packed)


def _build_pair(pair: Pair) -> bytes:
    data = _build_sockaddr(pair[0]) + _build_sockaddr(pair[1])
    return data + bytes(-len(data) & 7)


def _build_address(kind: int, network: Network, upper: int) -> bytes:
    data = _build_sockaddr(network.network_address)
    data += bytes(-len(data) & 7)
    size = (_ADDRESS.size + len(data)) // 8
    return _ADDRESS.pack(size, kind, upper or _ANY_PROTOCOL, network.prefixlen, 0) + data


def _build_kmaddress(addresses: Pair) -> bytes:
    data = _build_pair(addresses)
    return _KMADDRESS.pack((_KMADDRESS.size + len(data)) // 8, _EXT_KMADDRESS, 0) + data


def _build_request(move: Move, pair: Pair) -> bytes:
    data = _build_pair(pair)
    # Its length is in octets, unlike all others here.
    size = _REQUEST.size + len(data)
    # Modes are one higher than the kernel's own, as 0 is any.
    mode = move.mode + 1
    return _REQUEST.pack(size, move.protocol, mode, _LEVEL_UNIQUE, 0, move.reqid, 0) + data


# --- parsing ---------------------------------------------------------------------


def parse(data: bytes) -> Message | None:
    """Read one message; None for one about something else. Raises ``PfKeyError``."""
    if len(data) < _HEADER.size:
        raise PfKeyError("shorter than its header")
    version, kind, error, _satype, size, _reserved, sequence, _pid = _HEADER.unpack_from(data)
    if version != _VERSION or size * 8 != len(data):
        raise PfKeyError("version or length")
    if kind not in (ACQUIRE, MIGRATE):
        return None
    if error:
        # A MIGRATE that failed is nobody's to follow, whatever else it holds.
        return Refusal(sequence, error)
    found = _extensions(data)
    if kind == ACQUIRE:
        return _parse_acquire(found, sequence)
    return _parse_migrate(found, sequence)


def _extensions(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    offset = _HEADER.size
    while offset < len(data):
        size, kind = _EXTENSION.unpack_from(data, offset)
        end = offset + size * 8
        if not size or end > len(data):
            raise PfKeyError(f"length of extension {kind}")
        if kind in found:
            raise PfKeyError(f"extension {kind} twice")
        found[kind] = data[offset:end]
        offset = end
    return found


def _need(found: dict[int, bytes], kind: int, least: int) -> bytes:
    data = found.get(kind, b"")
    if len(data) < least:
        raise PfKeyError(f"extension {kind} is missing or short")
    return data


def _parse_sockaddr(data: bytes, offset: int) -> tuple[Address, int]:
    """Return an address and where its sockaddr ends."""
    if offset + 2 > len(data):
        raise PfKeyError("address cut off")
    (family,) = struct.unpack_from("=H", data, offset)
    if family == socket.AF_INET6 and offset + _SOCKADDR6.size <= len(data):
        packed = _SOCKADDR6.unpack_from(data, offset)[3]
        return IPv6Address(packed), offset + _SOCKADDR6.size
    if family == socket.AF_INET and offset + _SOCKADDR4.size <= len(data):
        packed = _SOCKADDR4.unpack_from(data, offset)[2]
        return IPv4Address(packed), offset + _SOCKADDR4.size
    raise PfKeyError(f"address of family {family}")


def _parse_pair(data: bytes, offset: int) -> Pair:
    first, offset = _parse_sockaddr(data, offset)
    second, _ = _parse_sockaddr(data, offset)
    if first.version != second.version:
        raise PfKeyError("families of one pair")
    return first, second


def _parse_address(found: dict[int, bytes], kind: int) -> tuple[Address, int, int]:
    """Return address, prefix length and protocol of an address extension."""
    data = _need(found, kind, _ADDRESS.size)
    _size, _kind, upper, length, _reserved = _ADDRESS.unpack_from(data)
    return _parse_sockaddr(data, _ADDRESS.size)[0], length, upper


def _parse_network(found: dict[int, bytes], kind: int) -> tuple[Network, int]:
    address, length, upper = _parse_address(found, kind)
    if length > address.max_prefixlen:
        raise PfKeyError("prefix length")
    if isinstance(address, IPv6Address):
        return IPv6Network((address, length), strict=False), upper
    return IPv4Network((address, length), strict=False), upper


def _parse_migrate(found: dict[int, bytes], sequence: int) -> MigrateMessage:
    source, upper = _parse_network(found, _EXT_SOURCE)
    destination, _upper = _parse_network(found, _EXT_DESTINATION)
    if source.version != destination.version:
        raise PfKeyError("families of the selector")
    data = _need(found, _EXT_POLICY, _POLICY.size)
    _size, _kind, _type, direction, *_rest = _POLICY.unpack_from(data)
    if not 1 <= direction <= len(Direction):
        raise PfKeyError("direction")
    addresses = None
    if _EXT_KMADDRESS in found:
        addresses = _parse_pair(_need(found, _EXT_KMADDRESS, _KMADDRESS.size), _KMADDRESS.size)
    return MigrateMessage(
        Direction(direction - 1),
        source,
        destination,
        0 if upper == _ANY_PROTOCOL else upper,
        _parse_moves(data),
        addresses,
        sequence,
    )


def _parse_moves(policy: bytes) -> tuple[Move, ...]:
    requests = []
    offset = _POLICY.size
    while offset < len(policy):
        if offset + _REQUEST.size > len(policy):
            raise PfKeyError("request cut off")
        size, protocol, mode, _level, _reserved, reqid, _more = _REQUEST.unpack_from(policy, offset)
        if size < _REQUEST.size or offset + size > len(policy):
            raise PfKeyError("length of a request")
        try:
            named = SecurityProtocol(protocol), Mode(mode - 1), reqid
        except ValueError as error:
            raise PfKeyError("protocol or mode of a request") from error
        requests.append((named, _parse_pair(policy[offset : offset + size], _REQUEST.size)))
        offset += size
    if len(requests) % 2 or not 0 < len(requests) <= 2 * _MOST_MOVES:
        raise PfKeyError("requests come in pairs, old and new")
    moves = []
    for (named, old), (other, new) in zip(requests[::2], requests[1::2], strict=True):
        if named[:2] != other[:2]:
            raise PfKeyError("old and new differ in more than addresses")
        moves.append(Move(*named, old, new))
    return tuple(moves)


def _parse_acquire(found: dict[int, bytes], sequence: int) -> AcquireMessage:
    source, _length, _upper = _parse_address(found, _EXT_SOURCE)
    destination, _length, _upper = _parse_address(found, _EXT_DESTINATION)
    packet = b""
    if PACKET in found:
        data = _need(found, PACKET, _PACKET.size)
        copied = _PACKET.unpack_from(data)[2]
        if copied > len(data) - _PACKET.size:
            raise PfKeyError("packet shorter than it says")
        packet = data[_PACKET.size : _PACKET.size + copied]
    return AcquireMessage(source, destination, sequence, packet)
