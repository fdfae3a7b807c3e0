# SPDX-License-Identifier: GPL-2.0-only
"""Reading pcap and pcapng files, down to the IP packets in them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Final

#: No captured packet is larger; a length beyond is damage.
_LARGEST: Final = 1 << 20
_MAGIC: Final = {
    b"\xd4\xc3\xb2\xa1": ("<", 1e-6),
    b"\xa1\xb2\xc3\xd4": (">", 1e-6),
    b"\x4d\x3c\xb2\xa1": ("<", 1e-9),
    b"\xa1\xb2\x3c\x4d": (">", 1e-9),
}
_SECTION: Final = b"\x0a\x0d\x0d\x0a"
_INTERFACE, _SIMPLE, _PACKET = 1, 3, 6
_TSRESOL: Final = 9
_ETHERNET, _SLL, _SLL2 = 1, 113, 276
_RAW: Final = (12, 14, 101, 228, 229)
_IP4, _IP6 = 0x0800, 0x86DD
_VLAN: Final = (0x8100, 0x88A8)


class CaptureError(Exception):
    """A file is no capture, or damaged; the text says where."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One captured packet: seconds since the epoch, link type, octets."""

    time: float
    link: int
    data: bytes


def frames(file: IO[bytes]) -> Iterator[Frame]:
    """Yield the packets of a capture. Raises ``CaptureError``.

    A file that ends in the middle of a packet, as one that is still written does,
    ends there.
    """
    start = file.read(4)
    if start == _SECTION:
        yield from _pcapng(file)
    elif start in _MAGIC:
        yield from _pcap(file, *_MAGIC[start])
    else:
        raise CaptureError("it is neither pcap nor pcapng")


def _pcap(file: IO[bytes], order: str, unit: float) -> Iterator[Frame]:
    header = file.read(20)
    if len(header) < 20:
        raise CaptureError("it ends in its header")
    link = struct.unpack(order + "I", header[16:20])[0] & 0xFFFF
    while len(record := file.read(16)) == 16:
        seconds, fraction, size, _ = struct.unpack(order + "4I", record)
        if size > _LARGEST:
            raise CaptureError(f"a packet of {size} octets: the file is damaged")
        data = file.read(size)
        if len(data) < size:
            return
        yield Frame(seconds + fraction * unit, link, data)


def _pcapng(file: IO[bytes]) -> Iterator[Frame]:
    order = ""
    interfaces: list[tuple[int, float]] = []
    kind_octets = _SECTION
    while len(kind_octets) == 4:
        if kind_octets == _SECTION:
            length_octets, magic = file.read(4), file.read(4)
            order = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}.get(magic, "")
            if not order:
                raise CaptureError("a section has no byte order")
            interfaces = []
            kind, taken = 0, 12
        else:
            kind = struct.unpack(order + "I", kind_octets)[0]
            length_octets, taken = file.read(4), 8
        if len(length_octets) < 4:
            return
        length = struct.unpack(order + "I", length_octets)[0]
        if length < taken + 4 or length % 4 or length > _LARGEST + 4096:
            raise CaptureError(f"a block of {length} octets: the file is damaged")
        body = file.read(length - taken)
        if len(body) < length - taken:
            return
        body = body[:-4]
        if kind == _INTERFACE and len(body) >= 8:
            interfaces.append((struct.unpack(order + "H", body[:2])[0], _unit(body[8:], order)))
        elif kind == _PACKET and len(body) >= 20:
            number, high, low, size = struct.unpack(order + "4I", body[:16])
            if number >= len(interfaces) or size > len(body) - 20:
                raise CaptureError("a packet of an interface that is not there, or too long")
            link, unit = interfaces[number]
            yield Frame((high << 32 | low) * unit, link, body[20 : 20 + size])
        elif kind == _SIMPLE and len(body) >= 4 and interfaces:
            yield Frame(0.0, interfaces[0][0], body[4:])
        kind_octets = file.read(4)


def _unit(options: bytes, order: str) -> float:
    """Return the unit of an interface's times: microseconds unless an option says so."""
    at = 0
    while at + 4 <= len(options):
        code, size = struct.unpack(order + "2H", options[at : at + 4])
        if code == _TSRESOL and size == 1:
            value = options[at + 4]
            return float(2.0 ** -(value & 0x7F)) if value & 0x80 else float(10.0**-value)
        at += 4 + size + -size % 4
    return 1e-6


def packet(frame: Frame) -> bytes:
    """Return the IP packet of a frame, b"" when it holds none."""
    data, link = frame.data, frame.link
    if link == _ETHERNET:
        at = 12
        while data[at : at + 2] and int.from_bytes(data[at : at + 2], "big") in _VLAN:
            at += 4
        kind, data = int.from_bytes(data[at : at + 2], "big"), data[at + 2 :]
    elif link == _SLL:
        kind, data = int.from_bytes(data[14:16], "big"), data[16:]
    elif link == _SLL2:
        kind, data = int.from_bytes(data[:2], "big"), data[20:]
    elif link in _RAW:
        return data
    else:
        return b""
    return data if kind in (_IP4, _IP6) else b""
