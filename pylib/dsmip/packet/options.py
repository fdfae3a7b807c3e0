# SPDX-License-Identifier: GPL-2.0-only
"""Mobility options: one frozen dataclass and one table entry for each.

Padding is not an option here. The builder pads for the alignment in the table;
the parser remembers a sender's other choice in :class:`AsReceived`, so that a
received message can be rebuilt octet by octet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Any, ClassVar, Final, TypeVar

from .errors import Malformed
from .fields import (
    Field,
    Layout,
    Rest,
    address4,
    address6,
    bits,
    number,
    octets,
    prefix6,
    reserved,
)

#: Padding of 0 to 7 octets: nothing, Pad1, PadN (RFC 6275 sections 6.2.2 and 6.2.3).
PADDING: Final = (b"", b"\0", *(bytes((1, n)) + bytes(n) for n in range(6)))


@dataclass(frozen=True, slots=True)
class Option:
    """Base of all mobility options; ``TYPE`` is the option type on the wire."""

    TYPE: ClassVar[int] = -1


@dataclass(frozen=True, slots=True)
class Entry:
    """How one option type is parsed, built and aligned.

    ``modulus`` and ``phase`` say that the Type octet stands at a multiple of
    ``modulus``, plus ``phase``, from the start of the mobility header; where
    that depends on the option, ``align`` tells. With ``exact`` False different
    octets may parse to equal objects.
    """

    parse: Callable[[bytes], Option]
    build: Callable[[Any], bytes]
    modulus: int = 1
    phase: int = 0
    exact: bool = True
    align: Callable[[Any], tuple[int, int]] | None = None


#: Option type -> entry, for parsing; option class -> entry, for building.
BY_TYPE: Final[dict[int, Entry]] = {}
BY_CLASS: Final[dict[type[Option], Entry]] = {}

O = TypeVar("O", bound=Option)  # noqa: E741


def register(cls: type[O], kind: int, entry: Entry) -> None:
    """Enter an option class into both tables."""
    cls.TYPE = kind
    BY_TYPE[kind] = entry
    BY_CLASS[cls] = entry


def option(
    kind: int, *fields: Field, align: tuple[int, int] = (1, 0), rest: Rest | None = None
) -> Callable[[type[O]], type[O]]:
    """Declare the wire form of the option class that follows.

    ``align`` is (modulus, phase) as in :class:`Entry`. Without ``rest`` the
    option has exactly the size of its fields.
    """

    def declare(cls: type[O]) -> type[O]:
        layout = Layout(cls, *fields, more=(rest.name,) if rest else ())
        size, fixed = layout.size, layout.parse

        def parse(data: bytes) -> Option:
            if len(data) != size:
                raise Malformed(f"{cls.__name__} option of {len(data)} octets, not {size}")
            return fixed(data, 0)  # type: ignore[no-any-return]

        if rest is None:
            register(cls, kind, Entry(parse, layout.build, *align, not layout.reserved))
            return cls
        name, decode, encode = rest.name, rest.decode, rest.encode

        def parse_rest(data: bytes) -> Option:
            if len(data) < size:
                raise Malformed(f"{cls.__name__} option of {len(data)} octets, not {size} or more")
            return fixed(data, 0, decode(data[size:]))  # type: ignore[no-any-return]

        def build_rest(value: O) -> bytes:
            return layout.build(value) + encode(getattr(value, name))

        register(cls, kind, Entry(parse_rest, build_rest, *align, not layout.reserved))
        return cls

    return declare


# --- RFC 6275 -------------------------------------------------------------------


@option(2, number("interval"), align=(2, 0))
@dataclass(frozen=True, slots=True)
class BindingRefreshAdvice(Option):
    """When the home agent wants a refresh; ``interval`` in units of 4 s (section 6.2.4)."""

    interval: int


@option(3, address6("address"), align=(8, 6))
@dataclass(frozen=True, slots=True)
class AlternateCareOfAddress(Option):
    """The care-of address to bind, instead of the packet's source (section 6.2.5)."""

    address: IPv6Address


@option(4, number("home"), number("care_of"), align=(2, 0))
@dataclass(frozen=True, slots=True)
class NonceIndices(Option):
    """Which nonces the correspondent node made the tokens from (section 6.2.6)."""

    home: int
    care_of: int


@option(5, octets("authenticator", 12), align=(8, 2))
@dataclass(frozen=True, slots=True)
class BindingAuthorizationData(Option):
    """The authenticator of return routability (section 6.2.7). Always the last option."""

    authenticator: bytes


# --- RFC 3963 -------------------------------------------------------------------


@option(6, reserved(1), prefix6("prefix"), align=(8, 4))
@dataclass(frozen=True, slots=True)
class MobileNetworkPrefix(Option):
    """A prefix behind the mobile router (RFC 3963 section 4.3).

    Bits beyond the prefix length are ignored when received.
    """

    prefix: IPv6Network


# --- RFC 5568, 4283, 4285, 5026, 5094, 5149 --------------------------------------


@option(7, number("code", "B"), rest=Rest("address"))
@dataclass(frozen=True, slots=True)
class LinkLayerAddress(Option):
    """A link-layer address (RFC 5568 section 6.4.4); code 2 is the mobile node's own."""

    address: bytes
    code: int = 2


@option(8, number("subtype", "B"), rest=Rest("identifier"))
@dataclass(frozen=True, slots=True)
class MobileNodeIdentifier(Option):
    """Who the mobile node is (RFC 4283); subtype 1 is a network access identifier."""

    identifier: bytes
    subtype: int = 1


@option(9, number("subtype", "B"), number("spi", "I"), rest=Rest("data"), align=(4, 1))
@dataclass(frozen=True, slots=True)
class MobilityMessageAuthentication(Option):
    """RFC 4285 section 5; subtype 1 is MN-HA, 2 is MN-AAA."""

    subtype: int
    spi: int
    data: bytes


@option(10, number("timestamp", "Q"), align=(8, 2))
@dataclass(frozen=True, slots=True)
class ReplayProtection(Option):
    """An NTP timestamp, 32 bits of seconds and 32 of fraction (RFC 4285 section 6)."""

    timestamp: int


@option(17, number("status", "B"), bits("B", remove=0x80), rest=Rest("name"))
@dataclass(frozen=True, slots=True)
class DnsUpdate(Option):
    """Ask for, or acknowledge, a DNS record of the home address (RFC 5026 section 8.1).

    ``name`` holds the octets as they are: the RFC says "FQDN format" and no more.
    """

    name: bytes
    remove: bool = False
    status: int = 0


@option(19, number("vendor", "I"), number("subtype", "B"), rest=Rest("data"), align=(4, 2))
@dataclass(frozen=True, slots=True)
class VendorSpecific(Option):
    """RFC 5094; ``vendor`` is an SMI private enterprise number."""

    vendor: int
    subtype: int
    data: bytes = b""


def _service(data: bytes) -> str:
    if not data:
        raise Malformed("ServiceSelection option without identifier")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"ServiceSelection option is not UTF-8: {error.reason}") from None


def _service_octets(identifier: str) -> bytes:
    if not identifier:
        raise ValueError("a service identifier has at least one octet")
    return identifier.encode("utf-8")


@option(20, rest=Rest("identifier", _service, _service_octets))
@dataclass(frozen=True, slots=True)
class ServiceSelection(Option):
    """The service the mobile node asks for (RFC 5149), 1 to 255 octets of UTF-8."""

    identifier: str


# --- RFC 5555 -------------------------------------------------------------------


@option(
    29,
    bits("H", prefix_length=0xFC00, prefix_requested=0x0200),
    address4("address"),
    align=(4, 0),
)
@dataclass(frozen=True, slots=True)
class IPv4HomeAddress(Option):
    """The IPv4 home address or prefix to bind (section 3.1.1); 0.0.0.0 asks for one."""

    address: IPv4Address
    prefix_length: int = 32
    prefix_requested: bool = False


@option(
    30,
    number("status", "B"),
    bits("B", prefix_length=0xFC),
    address4("address"),
    align=(4, 0),
)
@dataclass(frozen=True, slots=True)
class IPv4AddressAcknowledgement(Option):
    """What became of an IPv4 Home Address option (section 3.2.1)."""

    status: int
    prefix_length: int
    address: IPv4Address


@option(31, bits("H", force=0x8000), number("refresh_time", "I"), align=(4, 0))
@dataclass(frozen=True, slots=True)
class NatDetection(Option):
    """What the home agent found out about NAT (section 3.2.2).

    ``force``: use UDP whatever the path. ``refresh_time`` in seconds: 0 gives
    no advice, ``NO_KEEPALIVE`` says that there is no NAT to keep open.
    """

    force: bool
    refresh_time: int

    NO_KEEPALIVE: ClassVar[int] = 0xFFFFFFFF


@option(32, reserved(2), address4("address"), align=(4, 0))
@dataclass(frozen=True, slots=True)
class IPv4CareOfAddress(Option):
    """The IPv4 care-of address as the mobile node knows it (section 3.1.2)."""

    address: IPv4Address


# --- RFC 5648 -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BindingIdentifier(Option):
    """One of several bindings of a home address (RFC 5648 section 4.1, RFC 6089 section 4.1).

    ``address`` stands in Binding Updates only. ``priority`` is BID-PRI, 1 to
    127, the lower the better; 0 in a message of a node that knows RFC 5648 only.
    """

    bid: int
    status: int = 0
    home: bool = False
    priority: int = 0
    address: IPv6Address | IPv4Address | None = None


_IDENTIFIER: Final = Layout(
    BindingIdentifier,
    number("bid"),
    number("status", "B"),
    bits("B", home=0x80, priority=0x7F),
    more=("address",),
)


def _parse_identifier(data: bytes) -> Option:
    if len(data) == 4:
        return _IDENTIFIER.parse(data, 0, None)  # type: ignore[no-any-return]
    if len(data) == 20:
        return _IDENTIFIER.parse(data, 0, IPv6Address(data[4:]))  # type: ignore[no-any-return]
    if len(data) == 8:
        return _IDENTIFIER.parse(data, 0, IPv4Address(data[4:]))  # type: ignore[no-any-return]
    return MalformedOption(BindingIdentifier.TYPE, data)


def _build_identifier(identifier: BindingIdentifier) -> bytes:
    fixed = _IDENTIFIER.build(identifier)
    return fixed if identifier.address is None else fixed + identifier.address.packed


register(
    BindingIdentifier,
    35,
    Entry(
        _parse_identifier,
        _build_identifier,
        align=lambda identifier: (2, 0) if identifier.address is None else (8, 2),
    ),
)


# --- what is not in the table ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UnknownOption(Option):
    """An option of another RFC: to be skipped (RFC 6275 section 6.2.1)."""

    type: int
    data: bytes


@dataclass(frozen=True, slots=True)
class MalformedOption(Option):
    """An option of ours whose length is wrong and whose RFC wants that answered.

    Binding Identifier: status 164 (RFC 5648 section 6.2). Flow Identification:
    its own status 130 (RFC 6089 section 5.3.2).
    """

    type: int
    data: bytes


# --- the options of one message ----------------------------------------------------


class AsReceived(tuple[Option, ...]):
    """Options whose sender laid them out otherwise than our builder would.

    It is the tuple of options and equal to it. ``padding`` has the octets
    before each option and, last, those after all; ``odd`` the data of options
    (by index) that had reserved bits set. Without ``padding`` it is built like
    any tuple.
    """

    padding: tuple[bytes, ...]
    odd: dict[int, bytes]

    def __new__(
        cls,
        options: Iterable[Option] = (),
        padding: Iterable[bytes] = (),
        odd: dict[int, bytes] | None = None,
    ) -> AsReceived:
        self = super().__new__(cls, options)
        self.padding = tuple(padding)
        self.odd = odd or {}
        return self


def parse_options(data: bytes, at: int) -> tuple[Option, ...]:
    """Parse the options from offset ``at`` of a mobility header to its end.

    Raises ``Malformed`` for an option that runs over the end, for a known one
    that cannot be represented, and for one after Binding Authorization Data.
    """
    options: list[Option] = []
    padding: list[bytes] = []
    odd: dict[int, bytes] = {}
    usual = True
    end = len(data)
    gap = at  # where the padding before the next option starts
    while at < end:
        kind = data[at]
        if kind == 0:
            at += 1
            continue
        body = at + 2
        if body > end:
            raise Malformed(f"option {kind} at offset {at} has no length")
        stop = body + data[at + 1]
        if stop > end:
            raise Malformed(f"option {kind} at offset {at} ends at {stop}, the message at {end}")
        if kind == 1:
            at = stop
            continue
        if options and type(options[-1]) is BindingAuthorizationData:
            raise Malformed(f"option {kind} after Binding Authorization Data")
        value = data[body:stop]
        entry = BY_TYPE.get(kind)
        padding.append(data[gap:at])
        if entry is None:
            usual = usual and gap == at
            options.append(UnknownOption(kind, value))
        else:
            parsed = entry.parse(value)
            if type(parsed) is MalformedOption:
                usual = usual and gap == at
            else:
                modulus, phase = (
                    entry.align(parsed) if entry.align else (entry.modulus, entry.phase)
                )
                usual = usual and padding[-1] == PADDING[(phase - gap) % modulus]
                if not entry.exact and entry.build(parsed) != value:
                    odd[len(options)] = value
            options.append(parsed)
        at = gap = stop
    padding.append(data[gap:end])
    if usual and not odd and padding[-1] == PADDING[-gap % 8]:
        return tuple(options)
    return AsReceived(options, padding, odd)


def build_options(options: tuple[Option, ...], at: int) -> bytes:
    """Return the octets of ``options``, which start at offset ``at`` of the header.

    Pads for each option's alignment and, at the end, to a multiple of 8. Raises
    ``ValueError`` for a value that does not fit its field, and when Binding
    Authorization Data is not the last option.
    """
    if isinstance(options, AsReceived) and options.padding:
        return _rebuild(options)
    out = bytearray()
    start = at
    for item in options:
        entry = BY_CLASS.get(type(item))
        if entry is None:
            kind, data = _foreign(item)
        else:
            kind, data = item.TYPE, entry.build(item)
            modulus, phase = entry.align(item) if entry.align else (entry.modulus, entry.phase)
            out += PADDING[(phase - at) % modulus]
        if len(data) > 255:
            raise ValueError(f"{type(item).__name__} option of {len(data)} octets, 255 at most")
        out.append(kind)
        out.append(len(data))
        out += data
        at = start + len(out)
    if any(type(item) is BindingAuthorizationData for item in options[:-1]):
        raise ValueError("Binding Authorization Data is not the last option")
    out += PADDING[-at % 8]
    return bytes(out)


def _foreign(item: Option) -> tuple[int, bytes]:
    if isinstance(item, UnknownOption | MalformedOption):
        if item.type in (0, 1) or not 0 <= item.type <= 255:
            raise ValueError(f"{item.type} is not the type of an option")
        return item.type, item.data
    raise ValueError(f"{type(item).__name__} is not a mobility option")


def _rebuild(options: AsReceived) -> bytes:
    out = bytearray()
    for index, item in enumerate(options):
        out += options.padding[index]
        entry = BY_CLASS.get(type(item))
        kind, data = _foreign(item) if entry is None else (item.TYPE, entry.build(item))
        data = options.odd.get(index, data)
        out += bytes((kind, len(data))) + data
    return bytes(out + options.padding[-1])


def find(options: Iterable[Option], cls: type[O]) -> O | None:
    """Return the first option of class ``cls``, or None."""
    for item in options:
        if type(item) is cls:
            return item
    return None


def find_all(options: Iterable[Option], cls: type[O]) -> list[O]:
    """Return all options of class ``cls``, in the order of the message."""
    return [item for item in options if type(item) is cls]
