# SPDX-License-Identifier: GPL-2.0-only
"""DHCPv6 as far as prefix delegation needs it (RFC 8415), and relaying (RFC 6276 section 3.1).

What a message says twice, or with a length that its option does not have, makes
the whole message malformed; options of no concern here are skipped.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network
from typing import Final

from .errors import Malformed

CLIENT_PORT: Final = 546
SERVER_PORT: Final = 547
#: All_DHCP_Relay_Agents_and_Servers (RFC 8415 section 7.1).
ALL_SERVERS: Final = IPv6Address("ff02::1:2")
INFINITY: Final = 0xFFFFFFFF

#: No message of ours comes near; what is beyond is not looked at.
LARGEST: Final = 4096
ASSOCIATIONS_MAX: Final = 16
PREFIXES_MAX: Final = 16
DUID_LEAST, DUID_LARGEST = 3, 130  # RFC 8415 section 11.1


class MessageType(enum.IntEnum):
    """RFC 8415 section 7.3."""

    SOLICIT = 1
    ADVERTISE = 2
    REQUEST = 3
    CONFIRM = 4
    RENEW = 5
    REBIND = 6
    REPLY = 7
    RELEASE = 8
    DECLINE = 9
    RECONFIGURE = 10
    INFORMATION_REQUEST = 11
    RELAY_FORWARD = 12
    RELAY_REPLY = 13


class StatusCode(enum.IntEnum):
    """RFC 8415 section 21.13; a message may hold other numbers."""

    SUCCESS = 0
    UNSPECIFIED_FAILURE = 1
    NO_ADDRESSES = 2
    NO_BINDING = 3
    NOT_ON_LINK = 4
    USE_MULTICAST = 5
    NO_PREFIX = 6


class OptionCode(enum.IntEnum):
    """RFC 8415 section 21, RFC 3646."""

    CLIENT_IDENTIFIER = 1
    SERVER_IDENTIFIER = 2
    IA_NA = 3
    OPTION_REQUEST = 6
    PREFERENCE = 7
    ELAPSED_TIME = 8
    RELAY_MESSAGE = 9
    STATUS_CODE = 13
    RAPID_COMMIT = 14
    INTERFACE_ID = 18
    DNS_SERVERS = 23
    IA_PD = 25
    IA_PREFIX = 26
    SOLICIT_MAX_RT = 82


@dataclass(frozen=True, slots=True)
class Status:
    """How something went; ``text`` is for people."""

    code: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class LeasedPrefix:
    """IA Prefix option: a prefix with its lifetimes in seconds, ``INFINITY`` for ever.

    A request holds a wish: ``::/56`` asks for any prefix of that length.
    """

    prefix: IPv6Network
    preferred: int = 0
    valid: int = 0
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class PrefixAssociation:
    """IA_PD: what one identity association has; T1 and T2 in seconds, 0 leaves them open."""

    iaid: int
    renew: int = 0
    rebind: int = 0
    prefixes: tuple[LeasedPrefix, ...] = ()
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A message between client and server.

    ``client`` and ``server`` are DUIDs. ``elapsed`` counts hundredths of a second.
    ``addresses`` are the IAIDs of associations for addresses (IA_NA), built with the
    status that there are none. ``solicit_max`` is SOL_MAX_RT in seconds.
    """

    type: MessageType
    transaction: int
    client: bytes | None = None
    server: bytes | None = None
    associations: tuple[PrefixAssociation, ...] = ()
    addresses: tuple[int, ...] = ()
    requested: tuple[int, ...] = ()
    elapsed: int | None = None
    preference: int | None = None
    rapid_commit: bool = False
    status: Status | None = None
    dns: tuple[IPv6Address, ...] = ()
    solicit_max: int | None = None


@dataclass(frozen=True, slots=True)
class Relayed:
    """A Relay-forward or Relay-reply with the octets of the message inside."""

    type: MessageType
    hops: int
    link: IPv6Address
    peer: IPv6Address
    payload: bytes
    interface_id: bytes | None = None


_RELAY: Final = struct.Struct("!BB16s16s")
_ASSOCIATION: Final = struct.Struct("!III")
_PREFIX: Final = struct.Struct("!IIB16s")


# --- parsing ---------------------------------------------------------------------


def parse(data: bytes) -> Message | Relayed:
    """Parse a datagram; raises ``Malformed``."""
    if not 4 <= len(data) <= LARGEST:
        raise Malformed(f"{len(data)} octets are no DHCPv6 message")
    try:
        kind = MessageType(data[0])
    except ValueError:
        raise Malformed(f"DHCPv6 message type {data[0]} is not known") from None
    if kind in (MessageType.RELAY_FORWARD, MessageType.RELAY_REPLY):
        return _relayed(kind, data)
    return _message(kind, data)


def _relayed(kind: MessageType, data: bytes) -> Relayed:
    if len(data) < _RELAY.size:
        raise Malformed(f"{kind.name} of {len(data)} octets")
    _, hops, link, peer = _RELAY.unpack_from(data)
    found = _once(data, _RELAY.size, (OptionCode.RELAY_MESSAGE, OptionCode.INTERFACE_ID))
    payload = found.get(OptionCode.RELAY_MESSAGE)
    if payload is None:
        raise Malformed(f"{kind.name} without a message in it")
    return Relayed(
        kind,
        hops,
        IPv6Address(link),
        IPv6Address(peer),
        payload,
        found.get(OptionCode.INTERFACE_ID),
    )


_SINGLE: Final = (
    OptionCode.CLIENT_IDENTIFIER,
    OptionCode.SERVER_IDENTIFIER,
    OptionCode.OPTION_REQUEST,
    OptionCode.PREFERENCE,
    OptionCode.ELAPSED_TIME,
    OptionCode.STATUS_CODE,
    OptionCode.RAPID_COMMIT,
    OptionCode.DNS_SERVERS,
    OptionCode.SOLICIT_MAX_RT,
)
_SIZES: Final = {
    OptionCode.PREFERENCE: 1,
    OptionCode.ELAPSED_TIME: 2,
    OptionCode.RAPID_COMMIT: 0,
    OptionCode.SOLICIT_MAX_RT: 4,
}


def _message(kind: MessageType, data: bytes) -> Message:
    found = _once(data, 4, _SINGLE)
    for known, size in _SIZES.items():
        if known in found and len(found[known]) != size:
            raise Malformed(f"option {known.name} of {len(found[known])} octets, not {size}")
    associations: list[PrefixAssociation] = []
    addresses: list[int] = []
    for code, value in _options(data, 4):
        if code == OptionCode.IA_PD:
            associations.append(_association(value))
        elif code == OptionCode.IA_NA:
            if len(value) < _ASSOCIATION.size:
                raise Malformed(f"IA_NA of {len(value)} octets")
            addresses.append(_ASSOCIATION.unpack_from(value)[0])
    if len(associations) > ASSOCIATIONS_MAX or len(addresses) > ASSOCIATIONS_MAX:
        raise Malformed(f"more than {ASSOCIATIONS_MAX} identity associations")
    if len({one.iaid for one in associations}) < len(associations):
        raise Malformed("two IA_PD with one IAID")
    return Message(
        type=kind,
        transaction=int.from_bytes(data[1:4], "big"),
        client=_duid(found.get(OptionCode.CLIENT_IDENTIFIER)),
        server=_duid(found.get(OptionCode.SERVER_IDENTIFIER)),
        associations=tuple(associations),
        addresses=tuple(addresses),
        requested=_numbers(found.get(OptionCode.OPTION_REQUEST, b"")),
        elapsed=_number(found.get(OptionCode.ELAPSED_TIME)),
        preference=_number(found.get(OptionCode.PREFERENCE)),
        rapid_commit=OptionCode.RAPID_COMMIT in found,
        status=_status(found.get(OptionCode.STATUS_CODE)),
        dns=_addresses(found.get(OptionCode.DNS_SERVERS, b"")),
        solicit_max=_number(found.get(OptionCode.SOLICIT_MAX_RT)),
    )


def _options(data: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    while at < len(data):
        if at + 4 > len(data):
            raise Malformed(f"an option at offset {at} has no length")
        code, length = struct.unpack_from("!HH", data, at)
        stop = at + 4 + length
        if stop > len(data):
            raise Malformed(f"option {code} at offset {at} ends at {stop} of {len(data)}")
        yield code, data[at + 4 : stop]
        at = stop


def _once(data: bytes, at: int, wanted: tuple[OptionCode, ...]) -> dict[OptionCode, bytes]:
    found: dict[OptionCode, bytes] = {}
    for code, value in _options(data, at):
        if code not in wanted:
            continue
        known = OptionCode(code)
        if known in found:
            raise Malformed(f"option {known.name} stands there twice")
        found[known] = value
    return found


def _association(value: bytes) -> PrefixAssociation:
    if len(value) < _ASSOCIATION.size:
        raise Malformed(f"IA_PD of {len(value)} octets")
    iaid, renew, rebind = _ASSOCIATION.unpack_from(value)
    status = _once(value, _ASSOCIATION.size, (OptionCode.STATUS_CODE,))
    prefixes = [
        _prefix(inner)
        for code, inner in _options(value, _ASSOCIATION.size)
        if code == OptionCode.IA_PREFIX
    ]
    if len(prefixes) > PREFIXES_MAX:
        raise Malformed(f"more than {PREFIXES_MAX} prefixes in one IA_PD")
    found = status.get(OptionCode.STATUS_CODE)
    return PrefixAssociation(iaid, renew, rebind, tuple(prefixes), _status(found))


def _prefix(value: bytes) -> LeasedPrefix:
    if len(value) < _PREFIX.size:
        raise Malformed(f"IA Prefix option of {len(value)} octets")
    preferred, valid, length, packed = _PREFIX.unpack_from(value)
    if length > 128:
        raise Malformed(f"prefix length {length} is more than 128")
    network = IPv6Network((packed, length), strict=False)
    status = _once(value, _PREFIX.size, (OptionCode.STATUS_CODE,))
    return LeasedPrefix(network, preferred, valid, _status(status.get(OptionCode.STATUS_CODE)))


def _status(value: bytes | None) -> Status | None:
    if value is None:
        return None
    if len(value) < 2:
        raise Malformed(f"Status Code option of {len(value)} octets")
    return Status(int.from_bytes(value[:2], "big"), value[2:].decode("utf-8", "replace")[:255])


def _duid(value: bytes | None) -> bytes | None:
    if value is not None and not DUID_LEAST <= len(value) <= DUID_LARGEST:
        raise Malformed(f"a DUID of {len(value)} octets")
    return value


def _number(value: bytes | None) -> int | None:
    return None if value is None else int.from_bytes(value, "big")


def _numbers(value: bytes) -> tuple[int, ...]:
    if len(value) % 2:
        raise Malformed(f"Option Request option of {len(value)} octets")
    return struct.unpack(f"!{len(value) // 2}H", value)


def _addresses(value: bytes) -> tuple[IPv6Address, ...]:
    if len(value) % 16:
        raise Malformed(f"a list of addresses of {len(value)} octets")
    return tuple(IPv6Address(value[at : at + 16]) for at in range(0, len(value), 16))


# --- building --------------------------------------------------------------------


def build(message: Message | Relayed) -> bytes:
    """Return the octets; raises ``ValueError`` for a value that does not fit its field."""
    try:
        if isinstance(message, Relayed):
            return _build_relayed(message)
        return _build_message(message)
    except struct.error as error:
        raise ValueError(f"{message.type.name}: {error}") from None


def _build_relayed(message: Relayed) -> bytes:
    out = _RELAY.pack(message.type, message.hops, message.link.packed, message.peer.packed)
    if message.interface_id is not None:
        # RFC 8415 section 21.18: copied from the Relay-forward.
        out += _option(OptionCode.INTERFACE_ID, message.interface_id)
    return out + _option(OptionCode.RELAY_MESSAGE, message.payload)


def _build_message(message: Message) -> bytes:
    out = bytearray(struct.pack("!I", message.type << 24 | message.transaction))
    if message.client is not None:
        out += _option(OptionCode.CLIENT_IDENTIFIER, message.client)
    if message.server is not None:
        out += _option(OptionCode.SERVER_IDENTIFIER, message.server)
    if message.preference is not None:
        out += _option(OptionCode.PREFERENCE, bytes((message.preference,)))
    if message.rapid_commit:
        out += _option(OptionCode.RAPID_COMMIT, b"")
    if message.elapsed is not None:
        out += _option(OptionCode.ELAPSED_TIME, struct.pack("!H", min(message.elapsed, 0xFFFF)))
    if message.requested:
        codes = struct.pack(f"!{len(message.requested)}H", *message.requested)
        out += _option(OptionCode.OPTION_REQUEST, codes)
    if message.status is not None:
        out += _build_status(message.status)
    for association in message.associations:
        out += _build_association(association)
    for iaid in message.addresses:
        none = _build_status(Status(StatusCode.NO_ADDRESSES, "prefixes only"))
        out += _option(OptionCode.IA_NA, _ASSOCIATION.pack(iaid, 0, 0) + none)
    if message.dns:
        out += _option(OptionCode.DNS_SERVERS, b"".join(one.packed for one in message.dns))
    if message.solicit_max is not None:
        out += _option(OptionCode.SOLICIT_MAX_RT, struct.pack("!I", message.solicit_max))
    return bytes(out)


def _build_association(association: PrefixAssociation) -> bytes:
    inner = _ASSOCIATION.pack(association.iaid, association.renew, association.rebind)
    for leased in association.prefixes:
        network = leased.prefix
        body = _PREFIX.pack(
            leased.preferred, leased.valid, network.prefixlen, network.network_address.packed
        )
        if leased.status is not None:
            body += _build_status(leased.status)
        inner += _option(OptionCode.IA_PREFIX, body)
    if association.status is not None:
        inner += _build_status(association.status)
    return _option(OptionCode.IA_PD, inner)


def _build_status(status: Status) -> bytes:
    return _option(
        OptionCode.STATUS_CODE, struct.pack("!H", status.code) + status.text.encode("utf-8")
    )


def _option(code: OptionCode, value: bytes) -> bytes:
    return struct.pack("!HH", code, len(value)) + value
