# SPDX-License-Identifier: GPL-2.0-only
"""The payloads of IKEv2: one slotted dataclass and one table entry for each.

Parsing takes the octets behind the generic payload header and raises
``RemoteError`` INVALID_SYNTAX when they are not what RFC 7296 section 3 says;
reserved fields are ignored, as it demands. Building is the inverse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from struct import error as StructError
from typing import Any, ClassVar, Final, TypeVar

from .errors import LocalError, RemoteError
from .identity import Identity
from .numbers import KEY_LENGTH_ATTRIBUTE, NotifyType, PayloadType, ProtocolId, TsType
from .proposals import Proposal, Transform
from .selectors import TrafficSelector

#: Octets of a nonce (RFC 7296 section 2.10).
SHORTEST_NONCE: Final = 16
LONGEST_NONCE: Final = 256

_PROPOSAL = Struct("!BxHBBBB")
_TRANSFORM = Struct("!BxHBxH")
_ATTRIBUTE = Struct("!HH")
_PAIR = Struct("!HH")
_KE = Struct("!Hxx")
_TYPED = Struct("!Bxxx")
_NOTIFY = Struct("!BBH")
_SELECTOR = Struct("!BBHHH")
_FIXED_FORMAT: Final = 0x8000
_KEY_LENGTH: Final = _FIXED_FORMAT | KEY_LENGTH_ATTRIBUTE


@dataclass(slots=True)
class Payload:
    """Base of all payloads; ``TYPE`` is the payload type on the wire."""

    TYPE: ClassVar[int] = -1


P = TypeVar("P", bound=Payload)


@dataclass(frozen=True, slots=True)
class Entry:
    """How one payload type is parsed from its body and built into it."""

    cls: type[Payload]
    parse: Callable[[Any, bytes], Payload]
    build: Callable[[Any], bytes]


#: Payload type -> entry, for parsing; payload class -> function, for building.
BY_TYPE: Final[dict[int, Entry]] = {}
BUILDERS: Final[dict[type[Payload], Callable[[Any], bytes]]] = {}


def _wrong(what: str) -> RemoteError:
    return RemoteError(what, NotifyType.INVALID_SYNTAX)


def payload(
    kind: int, parse: Callable[[Any, bytes], Payload], build: Callable[[Any], bytes]
) -> Callable[[type[P]], type[P]]:
    """Enter the payload class that follows into both tables."""

    def declare(cls: type[P]) -> type[P]:
        cls.TYPE = int(kind)
        BY_TYPE[cls.TYPE] = Entry(cls, parse, build)
        BUILDERS[cls] = build
        return cls

    return declare


def _octets(value: Any) -> bytes:
    return value.data  # type: ignore[no-any-return]


# --- Security Association ---------------------------------------------------------------


@lru_cache(maxsize=512)
def _transform(kind: int, number: int, attributes: bytes) -> Transform:
    key_length = None
    other = b""
    at = 0
    while at < len(attributes):
        if at + 4 > len(attributes):
            raise _wrong("transform attribute is cut short")
        name, value = _ATTRIBUTE.unpack_from(attributes, at)
        end = at + 4 + (0 if name & _FIXED_FORMAT else value)
        if end > len(attributes):
            raise _wrong("transform attribute is cut short")
        if name == _KEY_LENGTH and key_length is None:
            key_length = value
        else:
            other += attributes[at:end]
        at = end
    return Transform(kind, number, key_length, other)


def _parse_proposal(data: bytes) -> Proposal:
    _, size, number, protocol, spi_size, count = _PROPOSAL.unpack_from(data)
    at = 8 + spi_size
    if protocol == ProtocolId.IKE:
        if spi_size not in (0, 8):
            raise _wrong(f"SPI of {spi_size} octets for IKE")
    elif spi_size != 4 and protocol in (ProtocolId.ESP, ProtocolId.AH):
        raise _wrong(f"SPI of {spi_size} octets")
    spi = data[8:at]
    transforms = []
    while at < size:
        if at + 8 > size:
            raise _wrong("transform is cut short")
        more, length, kind, name = _TRANSFORM.unpack_from(data, at)
        end = at + length
        if length < 8 or end > size or more != (3 if end < size else 0):
            raise _wrong("transforms do not fill their proposal")
        transforms.append(_transform(kind, name, data[at + 8 : end]))
        at = end
    if at != size or len(transforms) != count:
        raise _wrong(f"{len(transforms)} transforms where {count} are announced")
    return Proposal(number, protocol, spi, tuple(transforms))


def _parse_sa(cls: type[SA], body: bytes) -> SA:
    proposals = []
    at, all_octets = 0, len(body)
    while at < all_octets:
        if at + 8 > all_octets:
            raise _wrong("proposal is cut short")
        size = body[at + 2] << 8 | body[at + 3]
        end = at + size
        if size < 8 or end > all_octets or body[at] != (2 if end < all_octets else 0):
            raise _wrong("proposals do not fill their payload")
        proposals.append(_parse_proposal(body[at:end]))
        at = end
    if not proposals:
        raise _wrong("no proposals")
    return cls(tuple(proposals))


def _build_transform(more: int, transform: Transform) -> bytes:
    attributes = transform.other
    if transform.key_length is not None:
        attributes = _ATTRIBUTE.pack(_KEY_LENGTH, transform.key_length) + attributes
    head = _TRANSFORM.pack(more, 8 + len(attributes), transform.type, transform.id)
    return head + attributes


def _build_proposal(more: int, proposal: Proposal) -> bytes:
    transforms = proposal.transforms
    last = len(transforms) - 1
    body = proposal.spi + b"".join(
        [_build_transform(3 if n < last else 0, t) for n, t in enumerate(transforms)]
    )
    return (
        _PROPOSAL.pack(
            more,
            8 + len(body),
            proposal.number,
            proposal.protocol,
            len(proposal.spi),
            len(transforms),
        )
        + body
    )


def _build_sa(value: SA) -> bytes:
    proposals = value.proposals
    if not proposals:
        raise LocalError("an SA payload without proposals")
    last = len(proposals) - 1
    return b"".join([_build_proposal(2 if n < last else 0, p) for n, p in enumerate(proposals)])


@payload(PayloadType.SA, _parse_sa, _build_sa)
@dataclass(slots=True)
class SA(Payload):
    """What is offered, or the one proposal that is accepted (section 3.3)."""

    proposals: Sequence[Proposal]


# --- Key Exchange, Nonce ----------------------------------------------------------------


def _parse_ke(cls: type[KE], body: bytes) -> KE:
    return cls(_KE.unpack_from(body)[0], body[4:])


@payload(PayloadType.KE, _parse_ke, lambda value: _KE.pack(value.method) + value.data)
@dataclass(slots=True)
class KE(Payload):
    """The public value of a key exchange method (section 3.4)."""

    method: int
    data: bytes


def _parse_nonce(cls: type[Nonce], body: bytes) -> Nonce:
    if not SHORTEST_NONCE <= len(body) <= LONGEST_NONCE:
        raise _wrong(f"nonce of {len(body)} octets")
    return cls(body)


@payload(PayloadType.NONCE, _parse_nonce, _octets)
@dataclass(slots=True)
class Nonce(Payload):
    """16 to 256 random octets (section 3.9)."""

    data: bytes


# --- Identification, Certificates, Authentication ---------------------------------------

I = TypeVar("I", "IdI", "IdR")  # noqa: E741


def _parse_id(cls: type[I], body: bytes) -> I:
    try:
        return cls(Identity(_TYPED.unpack_from(body)[0], body[4:]))
    except ValueError as error:
        raise _wrong(str(error)) from None


def identity_body(identity: Identity) -> bytes:
    """Return the octets behind the header of IDi or IDr, which AUTH covers (section 2.15)."""
    return _TYPED.pack(identity.type) + identity.data


@payload(PayloadType.IDI, _parse_id, lambda value: identity_body(value.identity))
@dataclass(slots=True)
class IdI(Payload):
    """Who the initiator is (section 3.5)."""

    identity: Identity


@payload(PayloadType.IDR, _parse_id, lambda value: identity_body(value.identity))
@dataclass(slots=True)
class IdR(Payload):
    """Who the responder is, or shall be (section 3.5)."""

    identity: Identity


def _parse_cert(cls: type[Cert], body: bytes) -> Cert:
    if len(body) < 2:
        raise _wrong("empty certificate")
    return cls(body[0], body[1:])


def _parse_certreq(cls: type[CertReq], body: bytes) -> CertReq:
    if not body:
        raise _wrong("empty certificate request")
    return cls(body[0], body[1:])


def _build_cert(value: Cert | CertReq) -> bytes:
    return bytes((value.encoding,)) + value.data


@payload(PayloadType.CERT, _parse_cert, _build_cert)
@dataclass(slots=True)
class Cert(Payload):
    """A certificate, a CRL or a raw public key (section 3.6)."""

    encoding: int
    data: bytes


@payload(PayloadType.CERTREQ, _parse_certreq, _build_cert)
@dataclass(slots=True)
class CertReq(Payload):
    """Which certificates are wanted (section 3.7).

    For X.509 the data are SHA-1 hashes, 20 octets each, of the SubjectPublicKeyInfo
    of trusted authorities.
    """

    encoding: int
    data: bytes = b""


def _parse_auth(cls: type[Auth], body: bytes) -> Auth:
    return cls(_TYPED.unpack_from(body)[0], body[4:])


@payload(PayloadType.AUTH, _parse_auth, lambda value: _TYPED.pack(value.method) + value.data)
@dataclass(slots=True)
class Auth(Payload):
    """The proof of identity (section 3.8)."""

    method: int
    data: bytes


# --- Notify, Delete, Vendor ID ----------------------------------------------------------


def _parse_notify(cls: type[Notify], body: bytes) -> Notify:
    protocol, spi_size, kind = _NOTIFY.unpack_from(body)
    end = 4 + spi_size
    if end > len(body):
        raise _wrong("SPI of a notification is cut short")
    return cls(kind, body[end:], protocol, body[4:end])


def _build_notify(value: Notify) -> bytes:
    return _NOTIFY.pack(value.protocol, len(value.spi), value.type) + value.spi + value.data


@payload(PayloadType.NOTIFY, _parse_notify, _build_notify)
@dataclass(slots=True)
class Notify(Payload):
    """An error or a status (section 3.10); protocol and SPI where one SA is meant."""

    type: int
    data: bytes = b""
    protocol: int = 0
    spi: bytes = b""


def _parse_delete(cls: type[Delete], body: bytes) -> Delete:
    protocol, size, count = _NOTIFY.unpack_from(body)
    spis = body[4:]
    if len(spis) != size * count or size not in (0, 4) or (not size and count):
        raise _wrong(f"{count} SPIs of {size} octets in {len(spis)}")
    if spis and protocol == ProtocolId.IKE:
        raise _wrong("deletion of an IKE_SA with an SPI")
    return cls(protocol, tuple(spis[at : at + 4] for at in range(0, len(spis), 4)))


def _build_delete(value: Delete) -> bytes:
    size = 0 if value.protocol == ProtocolId.IKE else 4
    if any(len(spi) != size for spi in value.spis):
        raise LocalError(f"a Delete payload of protocol {value.protocol} with wrong SPIs")
    return _NOTIFY.pack(value.protocol, size, len(value.spis)) + b"".join(value.spis)


@payload(PayloadType.DELETE, _parse_delete, _build_delete)
@dataclass(slots=True)
class Delete(Payload):
    """SAs that the sender has deleted, by its inbound SPIs; none for the IKE_SA (section 3.11)."""

    protocol: int
    spis: Sequence[bytes] = ()


@payload(PayloadType.VENDOR_ID, lambda cls, body: cls(body), _octets)
@dataclass(slots=True)
class VendorId(Payload):
    """A name of an implementation (section 3.12)."""

    data: bytes


# --- Traffic selectors ------------------------------------------------------------------

T = TypeVar("T", "TSi", "TSr")
_ADDRESSES: Final[dict[int, tuple[Callable[[bytes], IPv4Address | IPv6Address], int]]] = {
    int(TsType.IPV4_ADDR_RANGE): (IPv4Address, 4),
    int(TsType.IPV6_ADDR_RANGE): (IPv6Address, 16),
}


def _parse_ts(cls: type[T], body: bytes) -> T:
    if len(body) < 4:
        raise _wrong("traffic selectors are cut short")
    selectors = []
    at, count = 4, 0
    while at < len(body):
        if at + 8 > len(body):
            raise _wrong("traffic selector is cut short")
        kind, protocol, length, start, end = _SELECTOR.unpack_from(body, at)
        stop = at + length
        if length < 8 or stop > len(body):
            raise _wrong("traffic selector is cut short")
        count += 1
        form = _ADDRESSES.get(kind)
        # One of a type that is not known (a security label) is left out (section 3.13.1).
        if form is not None:
            address, size = form
            if length != 8 + 2 * size:
                raise _wrong(f"traffic selector of {length} octets")
            first, last = body[at + 8 : at + 8 + size], body[at + 8 + size : stop]
            if first > last:
                raise _wrong("traffic selector ends before it begins")
            low = address(first)
            high = low if first == last else address(last)
            selectors.append(TrafficSelector(protocol, start, end, low, high))
        at = stop
    if count != body[0]:
        raise _wrong(f"{count} traffic selectors where {body[0]} are announced")
    return cls(tuple(selectors))


def _build_ts(value: TSi | TSr) -> bytes:
    parts = [_TYPED.pack(len(value.selectors))]
    for selector in value.selectors:
        first, last = selector.first.packed, selector.last.packed
        kind = 7 if len(first) == 4 else 8
        start, end = selector.start_port, selector.end_port
        parts += (
            _SELECTOR.pack(kind, selector.protocol, 8 + 2 * len(first), start, end),
            first,
            last,
        )
    return b"".join(parts)


@payload(PayloadType.TSI, _parse_ts, _build_ts)
@dataclass(slots=True)
class TSi(Payload):
    """What the initiator of the exchange has at its side (section 3.13)."""

    selectors: Sequence[TrafficSelector]


@payload(PayloadType.TSR, _parse_ts, _build_ts)
@dataclass(slots=True)
class TSr(Payload):
    """What the responder of the exchange has at its side (section 3.13)."""

    selectors: Sequence[TrafficSelector]


# --- Configuration, EAP -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attribute:
    """One configuration attribute; an empty value asks for one (section 3.15.1)."""

    type: int
    value: bytes = b""


def _parse_configuration(cls: type[Configuration], body: bytes) -> Configuration:
    kind = _TYPED.unpack_from(body)[0]
    attributes = []
    at = 4
    while at < len(body):
        if at + 4 > len(body):
            raise _wrong("configuration attribute is cut short")
        name, size = _PAIR.unpack_from(body, at)
        end = at + 4 + size
        if end > len(body):
            raise _wrong("configuration attribute is cut short")
        attributes.append(Attribute(name & 0x7FFF, body[at + 4 : end]))
        at = end
    return cls(kind, tuple(attributes))


def _build_configuration(value: Configuration) -> bytes:
    parts = [_TYPED.pack(value.kind)]
    for attribute in value.attributes:
        parts += (_PAIR.pack(attribute.type, len(attribute.value)), attribute.value)
    return b"".join(parts)


@payload(PayloadType.CP, _parse_configuration, _build_configuration)
@dataclass(slots=True)
class Configuration(Payload):
    """Configuration asked for or given (section 3.15); ``kind`` is a ConfigType."""

    kind: int
    attributes: Sequence[Attribute] = ()

    def values(self, kind: int) -> list[bytes]:
        """Return the values of all attributes of one type, in order."""
        return [a.value for a in self.attributes if a.type == kind]


def _parse_eap(cls: type[Eap], body: bytes) -> Eap:
    if len(body) < 4 or body[2] << 8 | body[3] != len(body):
        raise _wrong("EAP message does not fill its payload")
    return cls(body)


@payload(PayloadType.EAP, _parse_eap, _octets)
@dataclass(slots=True)
class Eap(Payload):
    """A whole EAP message, from its code on (section 3.16)."""

    data: bytes


# --- everything else --------------------------------------------------------------------


@dataclass(slots=True)
class Unknown(Payload):
    """A payload of a type not known here, without the critical bit when received."""

    type: int
    data: bytes
    critical: bool = field(default=False)


BUILDERS[Unknown] = _octets


def parse(kind: int, body: bytes, critical: bool = False) -> Payload:
    """Return the payload of type ``kind`` with this body.

    Raises ``RemoteError``: INVALID_SYNTAX, or UNSUPPORTED_CRITICAL_PAYLOAD with
    the type as data (section 2.5). The critical bit of known payloads is ignored.
    """
    entry = BY_TYPE.get(kind)
    if entry is None:
        if critical:
            raise RemoteError(
                f"critical payload of unknown type {kind}",
                NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD,
                bytes((kind,)),
            )
        return Unknown(kind, body)
    try:
        return entry.parse(entry.cls, body)
    except StructError:
        raise _wrong(f"{entry.cls.__name__} payload is cut short") from None


def build(value: Payload) -> bytes:
    """Return the body of a payload. Raises ``LocalError`` for values that do not fit."""
    try:
        return BUILDERS[type(value)](value)
    except StructError as error:
        raise LocalError(f"{type(value).__name__}: {error}") from error


def find(payloads: Iterable[Payload], cls: type[P]) -> P | None:
    """Return the first payload of one class."""
    for value in payloads:
        if type(value) is cls:
            return value
    return None


def find_notify(payloads: Iterable[Payload], kind: int) -> Notify | None:
    """Return the first notification of one type."""
    for value in payloads:
        if type(value) is Notify and value.type == kind:
            return value
    return None
