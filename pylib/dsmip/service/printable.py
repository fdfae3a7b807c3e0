# SPDX-License-Identifier: GPL-2.0-only
"""Keys and tokens as text that people can read out and type, and as QR codes.

The text is Crockford's base 32 (no I, L, O, U; upper and lower case are the
same) in groups of five: four characters and one that checks them and their
place, so a wrong character, two that changed places, and a group left out or
moved are told by the number of the group. Over everything stands a part of a
SHA-256. A frame is

    kind (1), version (1), size of the body (2), body, first 4 octets of the sum
"""

from __future__ import annotations

import enum
import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
GROUP: Final = 5
BODY_MAX: Final = 8192
_HEAD: Final = 4
_SUM: Final = 4
_VALUES: Final = {character: value for value, character in enumerate(ALPHABET)} | {
    "O": 0,
    "I": 1,
    "L": 1,
}
_SEPARATORS: Final = re.compile(r"[\s‐-―-]+")
#: How QR readers want a code framed, in modules; the standard's 4 would make
#: a token wider than a terminal.
_QUIET: Final = 2
_WHITE_ON_BLACK: Final = "\x1b[40;97m"
_PLAIN: Final = "\x1b[0m"


class Kind(enum.IntEnum):
    """What a text holds, so that one is not taken for the other."""

    SECRET = 1
    TOKEN = 2
    PRIVATE_KEY = 3
    PUBLIC_KEY = 4


_NAMES: Final = {
    Kind.SECRET: "a shared secret",
    Kind.TOKEN: "an enrolment token",
    Kind.PRIVATE_KEY: "a private key",
    Kind.PUBLIC_KEY: "a public key",
}


class PrintableError(ValueError):
    """A text cannot be taken; the message says why, and never repeats all of it."""


class QrMissing(Exception):
    """The optional library that makes QR codes is not installed."""

    def __init__(self) -> None:
        super().__init__("QR codes need the Python package segno: pip install 'dsmip[qr]'")


@dataclass(frozen=True, slots=True)
class Frame:
    """A kind, the version of what the body holds, and the body."""

    kind: Kind
    version: int
    body: bytes

    def __repr__(self) -> str:
        return f"Frame({self.kind.name}, version {self.version}, {len(self.body)} octets)"


def _up(number: int, divisor: int) -> int:
    return (number + divisor - 1) // divisor


def _double(value: int) -> int:
    value <<= 1
    return value ^ 0b100101 if value & 0b100000 else value


def _check(values: Iterable[int], place: int) -> str:
    # In GF(32) every character has a weight of its own, so exchanging any two
    # of a group shows; the place is added, so exchanging groups does too.
    total = 0
    for value in reversed(list(values)):
        total = _double(total ^ value)
    return ALPHABET[total ^ (place & 31)]


def groups(frame: Frame) -> list[str]:
    """Write a frame as groups. Raises ``ValueError`` when the body is too long."""
    if len(frame.body) > BODY_MAX:
        raise ValueError(f"a printable text holds at most {BODY_MAX} octets")
    plain = bytes((frame.kind, frame.version)) + len(frame.body).to_bytes(2, "big") + frame.body
    plain += hashlib.sha256(plain).digest()[:_SUM]
    count = _up(len(plain) * 8, 5)
    bits = int.from_bytes(plain, "big") << (count * 5 - len(plain) * 8)
    values = [bits >> (5 * (count - 1 - index)) & 31 for index in range(count)]
    found = []
    for place, start in enumerate(range(0, count, GROUP - 1)):
        part = values[start : start + GROUP - 1]
        found.append("".join(ALPHABET[value] for value in part) + _check(part, place))
    return found


def text(frame: Frame) -> str:
    """Write a frame as one line, groups joined by dashes."""
    return "-".join(groups(frame))


def lines(frame: Frame, per_line: int = 8) -> list[str]:
    """Write a frame in lines of so many groups (8: 47 columns)."""
    every = groups(frame)
    return ["-".join(every[start : start + per_line]) for start in range(0, len(every), per_line)]


def parse(written: str, kind: Kind, version: int) -> bytes:
    """Read what ``text`` or ``lines`` wrote and return the body.

    Spaces, line ends and dashes may stand anywhere. Raises ``PrintableError``.
    """
    found = parse_frame(written)
    if found.kind is not kind:
        raise PrintableError(f"this is {_NAMES[found.kind]}, not {_NAMES[kind]}")
    if found.version != version:
        raise PrintableError(
            f"this is {_NAMES[kind]} of version {found.version}, "
            f"but only version {version} is known here: "
            + ("update dsmip" if found.version > version else "make a new one")
        )
    return found.body


def parse_frame(written: str) -> Frame:
    """Read a text of any kind and version. Raises ``PrintableError``."""
    pieces = [piece for piece in _SEPARATORS.split(written.upper()) if piece]
    if not pieces:
        raise PrintableError("there is no text")
    plain = _octets("".join(pieces), pieces)
    if len(plain) < _HEAD:
        raise PrintableError("the text ends early")
    size = int.from_bytes(plain[2:_HEAD], "big")
    end = _HEAD + size + _SUM
    if size > BODY_MAX:
        raise PrintableError("the text is not one of dsmip")
    if len(plain) < end:
        have, want = _length(len(plain)), _length(end)
        raise PrintableError(f"the text ends early: {have} of {want} groups are there")
    if len(plain) > end:
        raise PrintableError(f"the text goes on after its end, group {_length(end)}")
    if hashlib.sha256(plain[:-_SUM]).digest()[:_SUM] != plain[-_SUM:]:
        raise PrintableError("the checksum is wrong: groups of different texts are mixed")
    try:
        kind = Kind(plain[0])
    except ValueError:
        raise PrintableError("the text is of a kind not known here: update dsmip") from None
    return Frame(kind, plain[1], plain[_HEAD:-_SUM])


def _length(octets: int) -> int:
    return _up(_up(octets * 8, 5), GROUP - 1)


def _octets(joined: str, pieces: Sequence[str]) -> bytes:
    if len(joined) > GROUP * _length(_HEAD + BODY_MAX + _SUM):
        raise PrintableError("the text is too long to be one of dsmip")
    values: list[int] = []
    for place, start in enumerate(range(0, len(joined), GROUP)):
        group = joined[start : start + GROUP]
        for character in group:
            if character not in _VALUES:
                raise PrintableError(
                    f"group {place + 1} has {character!r:.12}, which never occurs; "
                    "letters and digits are used, without U"
                )
        part = [_VALUES[character] for character in group[:-1]]
        if not part:
            raise PrintableError(f"group {place + 1} ends early")
        if _check(part, place) != ALPHABET[_VALUES[group[-1]]]:
            raise PrintableError(_mistake(place, group, start + GROUP >= len(joined), pieces))
        values += part
    size = len(values) * 5 // 8
    bits = 0
    for value in values:
        bits = bits << 5 | value
    return (bits >> (len(values) * 5 - size * 8)).to_bytes(size, "big")


def _mistake(place: int, group: str, last: bool, pieces: Sequence[str]) -> str:
    if place < len(pieces) and len(pieces) > 1:
        piece = pieces[place]
        if len(piece) != GROUP and not (last and len(piece) < GROUP):
            return f"group {place + 1} has {len(piece)} characters, not {GROUP}"
    if last and len(group) < GROUP:
        return f"the text ends early, or group {place + 1} has a typing mistake"
    return f"group {place + 1} has a typing mistake, or a group before it is missing"


# --- QR codes --------------------------------------------------------------------


def matrix(content: str) -> tuple[bytes, ...]:
    """Return the modules of a QR code with its quiet zone, a 1 for each dark one.

    Raises ``QrMissing``, and ``PrintableError`` when the content is too long.
    """
    try:
        import segno
    except ImportError:
        raise QrMissing from None
    try:
        made = segno.make_qr(content, error="l", boost_error=True)
    except segno.DataOverflowError:
        raise PrintableError("too long for a QR code") from None
    return tuple(bytes(row) for row in made.matrix_iter(border=_QUIET))


def compact(frame: Frame) -> str:
    """Return what a QR code of a frame holds: the text without dashes."""
    return "".join(groups(frame))


def terminal(modules: Sequence[bytes], colour: bool) -> list[str]:
    """Draw a QR code with half blocks, two rows of modules in a line.

    Light modules are drawn, so it is right on a dark background; with
    ``colour`` it is right on any.
    """
    marks = {(0, 0): "█", (0, 1): "▀", (1, 0): "▄", (1, 1): " "}
    # Below an odd last row is more quiet zone.
    below = bytes(len(modules[0]))
    drawn = []
    for upper, lower in _pairs(modules, below):
        line = "".join(marks[pair] for pair in zip(upper, lower, strict=True))
        drawn.append(f"{_WHITE_ON_BLACK}{line}{_PLAIN}" if colour else line)
    return drawn


def _pairs(modules: Sequence[bytes], below: bytes) -> Iterator[tuple[bytes, bytes]]:
    for index in range(0, len(modules), 2):
        yield modules[index], modules[index + 1] if index + 1 < len(modules) else below


def svg(modules: Sequence[bytes], scale: int = 6) -> str:
    """Draw a QR code as SVG, a module being ``scale`` units wide."""
    side = len(modules)
    path = io.StringIO()
    for y, row in enumerate(modules):
        x = 0
        while (x := row.find(1, x)) >= 0:
            end = row.find(0, x)
            width = (end if end >= 0 else side) - x
            path.write(f"M{x} {y}h{width}v1h-{width}z")
            x += width
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{side * scale}" '
        f'height="{side * scale}" viewBox="0 0 {side} {side}" shape-rendering="crispEdges">'
        f'<path fill="#fff" d="M0 0h{side}v{side}H0z"/><path d="{path.getvalue()}"/></svg>\n'
    )
