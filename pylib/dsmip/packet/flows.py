# SPDX-License-Identifier: GPL-2.0-only
"""Flow bindings: the options of RFC 6089 and the traffic selectors of RFC 6088."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, ClassVar, Final

from .errors import Malformed
from .fields import Layout, Rest, number, reserved
from .options import PADDING, Entry, MalformedOption, Option, option, register


@dataclass(frozen=True, slots=True)
class IPv4Selector:
    """Packets to select, IPv4 (RFC 6088 section 3.1).

    Source and destination are as the home agent sees packets on their way to
    the mobile node. A field that is None matches anything; an end without its
    start is not allowed. No field at all selects every IPv4 packet.
    """

    source_start: IPv4Address | None = None
    source_end: IPv4Address | None = None
    destination_start: IPv4Address | None = None
    destination_end: IPv4Address | None = None
    spi_start: int | None = None
    spi_end: int | None = None
    source_port_start: int | None = None
    source_port_end: int | None = None
    destination_port_start: int | None = None
    destination_port_end: int | None = None
    ds_start: int | None = None
    ds_end: int | None = None
    protocol_start: int | None = None
    protocol_end: int | None = None

    FORMAT: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class IPv6Selector:
    """Packets to select, IPv6 (RFC 6088 section 3.2); see :class:`IPv4Selector`."""

    source_start: IPv6Address | None = None
    source_end: IPv6Address | None = None
    destination_start: IPv6Address | None = None
    destination_end: IPv6Address | None = None
    spi_start: int | None = None
    spi_end: int | None = None
    flow_label_start: int | None = None
    flow_label_end: int | None = None
    source_port_start: int | None = None
    source_port_end: int | None = None
    destination_port_start: int | None = None
    destination_port_end: int | None = None
    traffic_class_start: int | None = None
    traffic_class_end: int | None = None
    next_header_start: int | None = None
    next_header_end: int | None = None

    FORMAT: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class OtherSelector:
    """A selector in a format that is not ours: status 133 (RFC 6089 section 5.3.2.1)."""

    format: int
    data: bytes


Selector = IPv4Selector | IPv6Selector | OtherSelector


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a selector field goes over the wire."""

    size: int
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]


def _integer(code: str) -> _Kind:
    packer = struct.Struct("!" + code)
    return _Kind(packer.size, lambda data: packer.unpack(data)[0], packer.pack)


_ADDRESS4: Final = _Kind(4, IPv4Address, lambda address: bytes(address.packed))
_ADDRESS6: Final = _Kind(16, IPv6Address, lambda address: bytes(address.packed))

#: Each row is a start and an end field, in wire order; the first has flag A, the top bit.
_ROWS: Final[dict[type, tuple[tuple[str, _Kind], ...]]] = {
    IPv4Selector: (
        ("source", _ADDRESS4),
        ("destination", _ADDRESS4),
        ("spi", _integer("I")),
        ("source_port", _integer("H")),
        ("destination_port", _integer("H")),
        ("ds", _integer("B")),
        ("protocol", _integer("B")),
    ),
    IPv6Selector: (
        ("source", _ADDRESS6),
        ("destination", _ADDRESS6),
        ("spi", _integer("I")),
        ("flow_label", _integer("I")),
        ("source_port", _integer("H")),
        ("destination_port", _integer("H")),
        ("traffic_class", _integer("B")),
        ("next_header", _integer("B")),
    ),
}
_FORMATS: Final[dict[int, type[IPv4Selector] | type[IPv6Selector]]] = {
    1: IPv4Selector,
    2: IPv6Selector,
}


def _parse_selector(data: bytes) -> Selector:
    if len(data) < 2:
        raise Malformed("traffic selector without format")
    cls = _FORMATS.get(data[0])
    if cls is None:
        return OtherSelector(data[0], data[2:])
    if len(data) < 6:
        raise Malformed("traffic selector without flags")
    flags = int.from_bytes(data[2:6], "big")
    flag = 1 << 31
    at = 6
    values: dict[str, Any] = {}
    for name, kind in _ROWS[cls]:
        for end in ("_start", "_end"):
            if flags & flag:
                if end == "_end" and name + "_start" not in values:
                    raise Malformed(f"traffic selector has {name}_end without {name}_start")
                if at + kind.size > len(data):
                    raise Malformed(f"traffic selector ends within {name}{end}")
                values[name + end] = kind.decode(data[at : at + kind.size])
                at += kind.size
            flag >>= 1
    if at != len(data):
        raise Malformed(f"traffic selector has {len(data) - at} octets without a flag")
    return cls(**values)


def _build_selector(selector: Selector) -> bytes:
    if isinstance(selector, OtherSelector):
        return bytes((selector.format, 0)) + selector.data
    flags = 0
    flag = 1 << 31
    fields = b""
    for name, kind in _ROWS[type(selector)]:
        start, end = getattr(selector, name + "_start"), getattr(selector, name + "_end")
        if start is not None:
            flags |= flag
            fields += kind.encode(start)
        if end is not None:
            if start is None:
                raise ValueError(f"{name}_end without {name}_start")
            flags |= flag >> 1
            fields += kind.encode(end)
        flag >>= 2
    return bytes((selector.FORMAT, 0)) + flags.to_bytes(4, "big") + fields


def _selector_modulus(selector: Selector | None) -> int:
    """Return the alignment of a selector's sub-option: that of its widest field."""
    if selector is None or isinstance(selector, OtherSelector):
        return 1
    sizes = [
        kind.size
        for name, kind in _ROWS[type(selector)]
        if getattr(selector, name + "_start") is not None
    ]
    return min(max(sizes, default=1), 8)


@dataclass(frozen=True, slots=True)
class FlowIdentification(Option):
    """Bind a flow to care-of addresses (RFC 6089 section 4.2).

    ``references`` are BIDs in order of preference, empty when the sub-option is
    absent. ``status`` has a meaning in a Binding Acknowledgement only. ``spread``
    is ours (sub-option 200): BIDs with weights, of which each flow within takes
    one; who does not know it skips it.
    """

    fid: int
    priority: int
    status: int = 0
    selector: Selector | None = None
    references: tuple[int, ...] = ()
    spread: tuple[tuple[int, int], ...] = ()


_FLOW: Final = Layout(
    FlowIdentification,
    number("fid"),
    number("priority"),
    reserved(1),
    number("status", "B"),
    more=("selector", "references", "spread"),
)
_PAD1, _PADN, _REFERENCE, _SELECTOR = range(4)
_SPREAD: Final = 200
_SHARE: Final = struct.Struct("!HB")
_HEAD: Final = 2
"""Octets of type and length, which count for the alignment of sub-options."""


def _parse_flow(data: bytes) -> Option:
    try:
        if len(data) < _FLOW.size:
            raise Malformed("no room for FID and status")
        selector, references, spread = _parse_parts(data, _FLOW.size)
    except Malformed:
        return MalformedOption(FlowIdentification.TYPE, data)
    return _FLOW.parse(data, 0, selector, references, spread)  # type: ignore[no-any-return]


_Parts = tuple[Selector | None, tuple[int, ...], tuple[tuple[int, int], ...]]


def _parse_parts(data: bytes, at: int) -> _Parts:
    spread: tuple[tuple[int, int], ...] = ()
    selector: Selector | None = None
    references: tuple[int, ...] = ()
    while at < len(data):
        kind = data[at]
        if kind == _PAD1:
            at += 1
            continue
        stop = at + 2 + data[at + 1] if at + 1 < len(data) else len(data) + 1
        if stop > len(data):
            raise Malformed(f"sub-option {kind} runs over the end of its option")
        value = data[at + 2 : stop]
        if kind == _REFERENCE:
            if references or not value or len(value) % 2:
                raise Malformed("binding reference is empty, odd or there twice")
            references = struct.unpack(f"!{len(value) // 2}H", value)
        elif kind == _SELECTOR:
            if selector is not None:
                raise Malformed("traffic selector is there twice")
            selector = _parse_selector(value)
        elif kind == _SPREAD:
            if spread or not value or len(value) % _SHARE.size:
                raise Malformed("weights are empty, odd or there twice")
            spread = tuple(_SHARE.iter_unpack(value))
        at = stop
    return selector, references, spread


def _build_flow(flow: FlowIdentification) -> bytes:
    out = _FLOW.build(flow)
    if flow.selector is not None:
        selector = _build_selector(flow.selector)
        out += bytes((_SELECTOR, len(selector))) + selector
    if flow.references:
        out += PADDING[-(_HEAD + len(out)) % 2]
        out += struct.pack(
            f"!BB{len(flow.references)}H", _REFERENCE, 2 * len(flow.references), *flow.references
        )
    if flow.spread:
        out += bytes((_SPREAD, _SHARE.size * len(flow.spread)))
        out += b"".join(_SHARE.pack(*share) for share in flow.spread)
    return out


def _align_flow(flow: FlowIdentification) -> tuple[int, int]:
    # The selector comes first, 8 octets in, so that aligning the option aligns the selector.
    return max(2, _selector_modulus(flow.selector)), 0


register(FlowIdentification, 45, Entry(_parse_flow, _build_flow, exact=False, align=_align_flow))


def _parse_fids(data: bytes) -> tuple[int, ...]:
    if not data or len(data) % 2:
        raise Malformed(f"FlowSummary option of {len(data)} octets")
    return struct.unpack(f"!{len(data) // 2}H", data)


def _build_fids(fids: tuple[int, ...]) -> bytes:
    if not fids:
        raise ValueError("a flow summary names at least one flow")
    return struct.pack(f"!{len(fids)}H", *fids)


@option(44, rest=Rest("fids", _parse_fids, _build_fids), align=(2, 0))
@dataclass(frozen=True, slots=True)
class FlowSummary(Option):
    """Flow bindings to keep as they are, by FID (RFC 6089 section 4.3); 127 at most."""

    fids: tuple[int, ...]
