# SPDX-License-Identifier: GPL-2.0-only
"""Tables of wire fields, from which parsing and building both follow.

A :class:`Layout` lists the fields of a structure in wire order. Bits that no
field names are reserved: zero when built, ignored when parsed (RFC 6275
section 6.1.1). Like ``dataclasses`` it compiles its two functions once, at
import, because interpreting the table for each message costs several times as
much as the work itself.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Any, Final

from .errors import Malformed


@dataclass(frozen=True, slots=True)
class Field:
    """One or more struct items that hold any number of attributes.

    ``decode`` maps attributes to expressions over the items ``{0}``, ``{1}``;
    ``encode`` has one expression over the object ``m`` for each item.
    ``meaning`` has a bit set for each bit on the wire that carries information.
    """

    code: str
    decode: Mapping[str, str]
    encode: tuple[str, ...]
    meaning: bytes


@dataclass(frozen=True, slots=True)
class Rest:
    """The octets after the fixed part, as one attribute.

    ``decode`` may raise ``Malformed``, ``encode`` ``ValueError``.
    """

    name: str
    decode: Callable[[bytes], Any] = bytes
    encode: Callable[[Any], bytes] = bytes


def number(name: str, code: str = "H") -> Field:
    """An unsigned integer; ``code`` is its struct letter."""
    return Field(code, {name: "{0}"}, (f"m.{name}",), b"\xff" * struct.calcsize("!" + code))


def octets(name: str, size: int) -> Field:
    """Exactly ``size`` octets without inner structure."""
    return Field(f"{size}s", {name: "{0}"}, (f"exactly(m.{name}, {size})",), b"\xff" * size)


def reserved(size: int) -> Field:
    """``size`` octets that mean nothing."""
    return Field(f"{size}x", {}, (), bytes(size))


def derived(expression: str, code: str = "B") -> Field:
    """An integer that is no attribute of its own; the caller knows it when parsing."""
    return Field(code, {}, (expression,), b"\xff" * struct.calcsize("!" + code))


def address6(name: str) -> Field:
    """An IPv6 address."""
    return Field("16s", {name: "IPv6Address({0})"}, (f"m.{name}.packed",), b"\xff" * 16)


def address4(name: str) -> Field:
    """An IPv4 address."""
    return Field("4s", {name: "IPv4Address({0})"}, (f"m.{name}.packed",), b"\xff" * 4)


def prefix6(name: str) -> Field:
    """Prefix length and prefix. Bits beyond the length are ignored."""
    encode = (f"m.{name}.prefixlen", f"m.{name}.network_address.packed")
    return Field("B16s", {name: "network6({1}, {0})"}, encode, b"\xff" * 17)


def bits(code: str, **masks: int) -> Field:
    """One integer that holds single bits (bools) and wider bit fields (ints)."""
    decode = {}
    encode = []
    for name, mask in masks.items():
        shift = (mask & -mask).bit_length() - 1
        if mask >> shift == 1:
            decode[name] = f"{{0}} & {mask} != 0"
            encode.append(f"({mask} if m.{name} else 0)")
        else:
            decode[name] = f"({{0}} & {mask}) >> {shift}"
            encode.append(f"fitting(m.{name}, {mask >> shift}) << {shift}")
    meaning = sum(masks.values()).to_bytes(struct.calcsize("!" + code), "big")
    return Field(code, decode, (" | ".join(encode),), meaning)


def _exactly(value: bytes, size: int) -> bytes:
    if len(value) != size:
        raise ValueError(f"{len(value)} octets where {size} belong")
    return value


def _fitting(value: int, most: int) -> int:
    if not 0 <= value <= most:
        raise ValueError(f"{value} is not in 0..{most}")
    return value


def _network6(packed: bytes, length: int) -> IPv6Network:
    if length > 128:
        raise Malformed(f"prefix length {length} is more than 128")
    return IPv6Network((packed, length), strict=False)


_NAMES: Final[dict[str, object]] = {
    "IPv4Address": IPv4Address,
    "IPv6Address": IPv6Address,
    "exactly": _exactly,
    "fitting": _fitting,
    "network6": _network6,
}


class Layout:
    """The table entry of one dataclass.

    ``size`` counts the octets of the fixed part; ``reserved`` has a bit set
    for each bit of it that means nothing. ``parse(wire, start, *more)`` makes an
    object from the fixed part at ``start``, which the caller knows to be there;
    ``build(object)`` returns the octets of the fixed part. Both leave ``more``
    (the attributes named there) to the caller.
    """

    __slots__ = ("build", "parse", "reserved", "size")

    def __init__(self, cls: type, *fields: Field, more: tuple[str, ...] = ()) -> None:
        packer = struct.Struct("!" + "".join(field.code for field in fields))
        meaning = b"".join(field.meaning for field in fields)
        self.size: int = packer.size
        self.reserved: int = int.from_bytes(meaning, "big") ^ ((1 << 8 * self.size) - 1)
        attributes: list[str] = [f"{name}={name}" for name in more]
        items: list[str] = []
        values: list[str] = []
        for field in fields:
            own = [f"i{len(items) + n}" for n in range(len(field.encode))]
            attributes += [f"{name}={text.format(*own)}" for name, text in field.decode.items()]
            items += own
            values += field.encode
        source = (
            f"def parse({', '.join(('wire', 'start', *more))}):\n"
            f"    [{', '.join(items)}] = unpack_from(wire, start)\n"
            f"    return cls({', '.join(attributes)})\n"
            f"def build(m):\n"
            f"    return pack({', '.join(values)})\n"
        )
        space: dict[str, Any] = {
            **_NAMES,
            "cls": cls,
            "unpack_from": packer.unpack_from,
            "pack": packer.pack,
        }
        exec(compile(source, f"<layout of {cls.__name__}>", "exec"), space)
        self.parse: Callable[..., Any] = space["parse"]
        self.build: Callable[[Any], bytes] = space["build"]
