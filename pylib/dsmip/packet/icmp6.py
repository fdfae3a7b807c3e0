# SPDX-License-Identifier: GPL-2.0-only
"""ICMPv6 messages of Mobile IPv6 and the Neighbour Discovery options it needs.

RFC 6275 sections 6.5 to 6.8 and 7, with the R bits of RFC 3963. An ICMPv6
message that is refused is dropped in silence: all errors are ``Malformed``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import ClassVar, Final, TypeVar

from .errors import Malformed
from .fields import Field, Layout, address6, bits, derived, number, octets, reserved

PROTOCOL: Final = 58


@dataclass(frozen=True, slots=True)
class NdOption:
    """Base of Neighbour Discovery options; ``reserved`` as in ``mobility.Message``."""

    TYPE: ClassVar[int] = -1
    reserved: int = field(default=0, kw_only=True, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class IcmpMessage:
    """Base of ICMPv6 messages; ``reserved`` as in ``mobility.Message``."""

    TYPE: ClassVar[int] = -1
    reserved: int = field(default=0, kw_only=True, compare=False, repr=False)


OPTION_LAYOUTS: Final[dict[type[NdOption], Layout]] = {}
OPTION_CLASSES: Final[dict[int, type[NdOption]]] = {}
MESSAGE_LAYOUTS: Final[dict[type[IcmpMessage], Layout]] = {}
MESSAGE_CLASSES: Final[dict[int, type[IcmpMessage]]] = {}

N = TypeVar("N", bound=NdOption)
I = TypeVar("I", bound=IcmpMessage)  # noqa: E741


def nd_option(kind: int, *fields: Field) -> Callable[[type[N]], type[N]]:
    """Declare the wire form of the option class that follows, from offset 2 on."""

    def declare(cls: type[N]) -> type[N]:
        cls.TYPE = kind
        OPTION_CLASSES[kind] = cls
        size = Layout(cls, derived("0", "H"), *fields, more=("reserved",)).size
        head = derived(str(kind)), derived(str(size // 8))
        OPTION_LAYOUTS[cls] = Layout(cls, *head, *fields, more=("reserved",))
        return cls

    return declare


def icmp(kind: int, *fields: Field, tail: str = "") -> Callable[[type[I]], type[I]]:
    """Declare the wire form of the message class that follows, from offset 4 on.

    ``tail`` is the attribute that holds what comes after: ``options`` or
    ``addresses``.
    """

    def declare(cls: type[I]) -> type[I]:
        cls.TYPE = kind
        MESSAGE_CLASSES[kind] = cls
        head = derived(str(kind)), derived("0"), derived("0", "H")
        more = ("reserved", tail) if tail else ("reserved",)
        MESSAGE_LAYOUTS[cls] = Layout(cls, *head, *fields, more=more)
        return cls

    return declare


# --- options ---------------------------------------------------------------------


@nd_option(
    3,
    number("prefix_length", "B"),
    bits("B", on_link=0x80, autonomous=0x40, router=0x20),
    number("valid_lifetime", "I"),
    number("preferred_lifetime", "I"),
    reserved(4),
    address6("prefix"),
)
@dataclass(frozen=True, slots=True)
class PrefixInformation(NdOption):
    """RFC 4861 section 4.6.2; lifetimes in seconds, all ones for ever.

    With ``router`` (R, RFC 6275 section 7.2) ``prefix`` is the whole address of
    the router or home agent.
    """

    prefix: IPv6Address
    prefix_length: int
    on_link: bool
    autonomous: bool
    router: bool
    valid_lifetime: int
    preferred_lifetime: int


@nd_option(7, reserved(2), number("interval", "I"))
@dataclass(frozen=True, slots=True)
class AdvertisementInterval(NdOption):
    """Longest time between Router Advertisements, in ms (RFC 6275 section 7.3)."""

    interval: int


@nd_option(8, bits("H", mobile_router=0x8000), number("preference"), number("lifetime"))
@dataclass(frozen=True, slots=True)
class HomeAgentInformation(NdOption):
    """RFC 6275 section 7.4; ``lifetime`` in seconds, never 0; higher preference is better.

    ``mobile_router`` (R, RFC 3963 section 4.5): it serves mobile routers.
    """

    preference: int
    lifetime: int
    mobile_router: bool = False


@nd_option(1, octets("address", 6))
@dataclass(frozen=True, slots=True)
class SourceLinkLayerAddress(NdOption):
    """The sender's link-layer address, Ethernet (RFC 4861 section 4.6.1)."""

    address: bytes


@nd_option(5, reserved(2), number("mtu", "I"))
@dataclass(frozen=True, slots=True)
class LinkMtu(NdOption):
    """The largest packet that all on the link can use, in octets (RFC 4861 section 4.6.4)."""

    mtu: int


@dataclass(frozen=True, slots=True)
class UnknownNdOption(NdOption):
    """An option to be skipped; ``data`` follows type and length, 8n + 6 octets."""

    type: int
    data: bytes


def recursive_dns(lifetime: int, servers: Iterable[IPv6Address]) -> UnknownNdOption:
    """Return a Recursive DNS Server option; ``lifetime`` in seconds (RFC 8106 section 5.1)."""
    packed = b"".join(server.packed for server in servers)
    return UnknownNdOption(25, bytes(2) + lifetime.to_bytes(4, "big") + packed)


# --- messages --------------------------------------------------------------------


@icmp(133, reserved(4), tail="options")
@dataclass(frozen=True, slots=True)
class RouterSolicitation(IcmpMessage):
    """Asks for a Router Advertisement (RFC 4861 section 4.1)."""

    options: tuple[NdOption, ...] = ()


@icmp(144, number("identifier"), bits("H", mobile_router=0x8000))
@dataclass(frozen=True, slots=True)
class HomeAgentDiscoveryRequest(IcmpMessage):
    """Asks for home agents, sent to their anycast address (RFC 6275 section 6.5)."""

    identifier: int
    mobile_router: bool = False


@icmp(145, number("identifier"), bits("H", mobile_router=0x8000), tail="addresses")
@dataclass(frozen=True, slots=True)
class HomeAgentDiscoveryReply(IcmpMessage):
    """Lists home agents, best first (RFC 6275 section 6.6).

    ``mobile_router`` (R, RFC 3963 section 4.4): those listed serve mobile routers.
    """

    identifier: int
    addresses: tuple[IPv6Address, ...]
    mobile_router: bool = False


@icmp(146, number("identifier"), reserved(2), tail="options")
@dataclass(frozen=True, slots=True)
class MobilePrefixSolicitation(IcmpMessage):
    """Asks the home agent for the home prefixes (RFC 6275 section 6.7)."""

    identifier: int
    options: tuple[NdOption, ...] = ()


@icmp(147, number("identifier"), bits("H", managed=0x8000, other=0x4000), tail="options")
@dataclass(frozen=True, slots=True)
class MobilePrefixAdvertisement(IcmpMessage):
    """Tells the mobile node about its home prefixes (RFC 6275 section 6.8)."""

    identifier: int
    managed: bool = False
    other: bool = False
    options: tuple[NdOption, ...] = ()


@icmp(
    134,
    number("hop_limit", "B"),
    bits("B", managed=0x80, other=0x40, home_agent=0x20, preference=0x18),
    number("lifetime"),
    number("reachable_time", "I"),
    number("retransmission_timer", "I"),
    tail="options",
)
@dataclass(frozen=True, slots=True)
class RouterAdvertisement(IcmpMessage):
    """RFC 4861 section 4.2, with H (RFC 6275 section 7.1) and the bits of RFC 4191.

    ``lifetime`` in seconds, the timers in milliseconds. ``preference`` is 0
    medium, 1 high, 3 low.
    """

    hop_limit: int
    lifetime: int
    reachable_time: int = 0
    retransmission_timer: int = 0
    managed: bool = False
    other: bool = False
    home_agent: bool = False
    preference: int = 0
    options: tuple[NdOption, ...] = ()


def parse(data: bytes) -> IcmpMessage:
    """Parse one of the messages above; the checksum is the kernel's business.

    Raises ``Malformed`` for other types, a code that is not 0, a message that
    is too short, and options that do not fit.
    """
    if len(data) < 8:
        raise Malformed(f"{len(data)} octets are no ICMPv6 message of ours")
    cls = MESSAGE_CLASSES.get(data[0])
    if cls is None or data[1] != 0:
        raise Malformed(f"ICMPv6 type {data[0]} code {data[1]} is not ours")
    layout = MESSAGE_LAYOUTS[cls]
    if len(data) < layout.size:
        raise Malformed(f"{cls.__name__} of {len(data)} octets, at least {layout.size}")
    ignored = int.from_bytes(data[: layout.size], "big") & layout.reserved
    if cls is HomeAgentDiscoveryRequest:
        return layout.parse(data, 0, ignored)  # type: ignore[no-any-return]
    tail = data[layout.size :]
    if cls is HomeAgentDiscoveryReply:
        return layout.parse(data, 0, ignored, _addresses(tail))  # type: ignore[no-any-return]
    return layout.parse(data, 0, ignored, _options(tail))  # type: ignore[no-any-return]


def _addresses(data: bytes) -> tuple[IPv6Address, ...]:
    if len(data) % 16:
        raise Malformed(f"home agent list of {len(data)} octets")
    return tuple(IPv6Address(data[at : at + 16]) for at in range(0, len(data), 16))


def _options(data: bytes) -> tuple[NdOption, ...]:
    options = []
    at = 0
    while at < len(data):
        size = data[at + 1] * 8 if at + 1 < len(data) else 0
        if size == 0 or at + size > len(data):
            raise Malformed(f"option {data[at]} at offset {at} of {len(data)} has length {size}")
        options.append(_option(data[at : at + size]))
        at += size
    return tuple(options)


def _option(data: bytes) -> NdOption:
    cls = OPTION_CLASSES.get(data[0])
    if cls is None:
        return UnknownNdOption(data[0], data[2:])
    layout = OPTION_LAYOUTS[cls]
    if len(data) != layout.size:
        if cls is SourceLinkLayerAddress:  # of a link that is no Ethernet
            return UnknownNdOption(data[0], data[2:])
        raise Malformed(f"{cls.__name__} option of {len(data)} octets, not {layout.size}")
    ignored = int.from_bytes(data, "big") & layout.reserved
    return layout.parse(data, 0, ignored)  # type: ignore[no-any-return]


def build(
    message: IcmpMessage,
    source: IPv6Address | None = None,
    destination: IPv6Address | None = None,
) -> bytes:
    """Return the octets of ``message``, with the checksum when both addresses are given.

    Raises ``ValueError`` for a value that does not fit its field.
    """
    layout = MESSAGE_LAYOUTS[type(message)]
    try:
        out = bytearray(_with_reserved(layout.build(message), message.reserved, layout))
        for address in getattr(message, "addresses", ()):
            out += address.packed
        for item in getattr(message, "options", ()):
            out += _build_option(item)
    except struct.error as error:
        raise ValueError(f"{type(message).__name__}: {error}") from None
    if source is not None and destination is not None:
        out[2:4] = checksum(source, destination, out).to_bytes(2, "big")
    return bytes(out)


def _build_option(item: NdOption) -> bytes:
    if isinstance(item, UnknownNdOption):
        size, rest = divmod(len(item.data) + 2, 8)
        if rest or not 1 <= size <= 255:
            raise ValueError(f"an option cannot hold {len(item.data)} octets")
        return bytes((item.type, size)) + item.data
    layout = OPTION_LAYOUTS[type(item)]
    return _with_reserved(layout.build(item), item.reserved, layout)


def _with_reserved(data: bytes, ignored: int, layout: Layout) -> bytes:
    if not ignored:
        return data
    return (int.from_bytes(data, "big") | (ignored & layout.reserved)).to_bytes(len(data), "big")


def checksum(source: IPv6Address, destination: IPv6Address, data: bytes | bytearray) -> int:
    """Return the checksum of an ICMPv6 message, whatever its Checksum field holds."""
    body = bytes(data[:2]) + b"\0\0" + bytes(data[4:]) + bytes(len(data) % 2)
    total = int.from_bytes(body + source.packed + destination.packed, "big")
    return -(total + len(data) + PROTOCOL) % 0xFFFF
