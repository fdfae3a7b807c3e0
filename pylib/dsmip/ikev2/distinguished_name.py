# SPDX-License-Identifier: GPL-2.0-only
"""Distinguished names: the text of RFC 4514 and the DER of X.509, without an X.509 library.

An identity that is a name can be configured, compared and shown on a router
that never loads certificates.
"""

from __future__ import annotations

import re
from typing import Final

SEQUENCE: Final = 0x30
SET: Final = 0x31
OBJECT_ID: Final = 0x06
UTF8: Final = 0x0C
PRINTABLE: Final = 0x13
TELETEX: Final = 0x14
IA5: Final = 0x16
BMP: Final = 0x1E

#: Keyword -> object identifier and the string type it is written with.
KEYWORDS: Final[dict[str, tuple[str, int]]] = {
    "CN": ("2.5.4.3", UTF8),
    "SN": ("2.5.4.4", UTF8),
    "serialNumber": ("2.5.4.5", PRINTABLE),
    "C": ("2.5.4.6", PRINTABLE),
    "L": ("2.5.4.7", UTF8),
    "ST": ("2.5.4.8", UTF8),
    "STREET": ("2.5.4.9", UTF8),
    "O": ("2.5.4.10", UTF8),
    "OU": ("2.5.4.11", UTF8),
    "T": ("2.5.4.12", UTF8),
    "GN": ("2.5.4.42", UTF8),
    "UID": ("0.9.2342.19200300.100.1.1", UTF8),
    "DC": ("0.9.2342.19200300.100.1.25", IA5),
    "emailAddress": ("1.2.840.113549.1.9.1", IA5),
}
_BY_OID: Final = {oid: word for word, (oid, _) in KEYWORDS.items()}
_BY_WORD: Final = {word.lower(): entry for word, entry in KEYWORDS.items()} | {
    "e": KEYWORDS["emailAddress"],
    "s": KEYWORDS["ST"],
}
_CODECS: Final = {
    UTF8: "utf-8",
    PRINTABLE: "ascii",
    TELETEX: "latin-1",
    IA5: "ascii",
    BMP: "utf-16-be",
}
_SPECIAL: Final = re.compile(r'[,+"\\<>;=]')
_HEX: Final = re.compile(r"[0-9A-Fa-f]{2}")
_OID: Final = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(octets))) + octets + content


def _elements(data: bytes) -> list[tuple[int, bytes, bytes]]:
    """Return (tag, content, whole element) of each DER element in ``data``."""
    found = []
    at = 0
    while at < len(data):
        start = at
        if at + 2 > len(data):
            raise ValueError("DER element is cut short")
        tag, size = data[at], data[at + 1]
        at += 2
        if size & 0x80:
            count = size & 0x7F
            if not 1 <= count <= 3 or at + count > len(data):
                raise ValueError("DER length is not definite or too large")
            size = int.from_bytes(data[at : at + count])
            at += count
        if at + size > len(data):
            raise ValueError("DER element is cut short")
        found.append((tag, data[at : at + size], data[start : at + size]))
        at += size
    return found


def _only(data: bytes, tag: int) -> bytes:
    found = _elements(data)
    if len(found) != 1 or found[0][0] != tag:
        raise ValueError("DER is not a distinguished name")
    return found[0][1]


def _oid_octets(oid: str) -> bytes:
    arcs = [int(arc) for arc in oid.split(".")]
    if len(arcs) < 2 or (arcs[0] < 2 and arcs[1] > 39):
        raise ValueError(f"object identifier {oid}")
    out = bytearray()
    for arc in (arcs[0] * 40 + arcs[1], *arcs[2:]):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(0x80 | (arc & 0x7F))
        out += bytes(reversed(groups))
    return bytes(out)


def _oid_text(octets: bytes) -> str:
    if not octets or octets[-1] & 0x80:
        raise ValueError("object identifier is cut short")
    arcs: list[int] = []
    arc = 0
    for octet in octets:
        arc = arc << 7 | (octet & 0x7F)
        if not octet & 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(str(arc) for arc in (first, arcs[0] - 40 * first, *arcs[1:]))


def _split(text: str, separators: str) -> list[tuple[str, str]]:
    """Split at unescaped separators; returns (piece, separator before it)."""
    pieces = []
    piece = before = ""
    escaped = quoted = False
    for char in text:
        if escaped or char == "\\":
            escaped = not escaped
        elif char == '"':
            quoted = not quoted
        elif char in separators and not quoted:
            pieces.append((piece, before))
            piece, before = "", char
            continue
        piece += char
    if escaped or quoted:
        raise ValueError("distinguished name ends inside an escape")
    pieces.append((piece, before))
    return pieces


def _unescape(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    out = bytearray()
    at = 0
    while at < len(text):
        if text[at] == "\\":
            if _HEX.match(text, at + 1):
                out.append(int(text[at + 1 : at + 3], 16))
                at += 3
                continue
            at += 1
        out += text[at].encode()
        at += 1
    return out.decode()


def _strip(value: str) -> str:
    value = value.lstrip(" ")
    bare = value.rstrip(" ")
    # An escaped space at the end belongs to the value.
    return bare + " " if bare.endswith("\\") and bare != value else bare


def encode(text: str) -> bytes:
    """Return the DER of a name in RFC 4514 form, e.g. ``CN=bus-17,O=Fleet,C=DE``.

    The text begins with the most specific part, the DER with the least.
    Raises ``ValueError``.
    """
    names: list[list[bytes]] = []
    for piece, before in _split(text, ",+") if text.strip() else ():
        word, equals, value = piece.partition("=")
        word = word.strip()
        if not equals:
            raise ValueError(f"'{piece.strip()}' is not attribute=value")
        value = _strip(value)
        if _OID.fullmatch(word):
            oid, kind = word, KEYWORDS[_BY_OID[word]][1] if word in _BY_OID else UTF8
        elif word.lower() in _BY_WORD:
            oid, kind = _BY_WORD[word.lower()]
        else:
            raise ValueError(f"attribute '{word}' is not one of {', '.join(KEYWORDS)}")
        if value.startswith("#"):
            content = bytes.fromhex(value[1:])
            _elements(content)
        else:
            content = _tlv(kind, _unescape(value).encode(_CODECS[kind]))
        attribute = _tlv(SEQUENCE, _tlv(OBJECT_ID, _oid_octets(oid)) + content)
        if before == "+":
            names[-1].append(attribute)
        else:
            names.append([attribute])
    return _tlv(SEQUENCE, b"".join(_tlv(SET, b"".join(sorted(n))) for n in reversed(names)))


def _attributes(der: bytes) -> list[list[tuple[str, int, bytes, bytes]]]:
    """Return (object identifier, string tag, content, whole value) for each relative name."""
    names = []
    for tag, content, _ in _elements(_only(der, SEQUENCE)):
        if tag != SET:
            raise ValueError("DER is not a distinguished name")
        name = []
        for inner_tag, inner, _ in _elements(content):
            pair = _elements(inner)
            if inner_tag != SEQUENCE or len(pair) != 2 or pair[0][0] != OBJECT_ID:
                raise ValueError("DER is not a distinguished name")
            name.append((_oid_text(pair[0][1]), *pair[1]))
        names.append(name)
    return names


def decode(der: bytes) -> str:
    """Return the RFC 4514 form of a DER name. Raises ``ValueError``."""

    def shown(oid: str, tag: int, content: bytes, whole: bytes) -> str:
        word = _BY_OID.get(oid, oid)
        if tag not in _CODECS or word == oid:
            return f"{word}=#{whole.hex()}"
        value = _SPECIAL.sub(r"\\\g<0>", content.decode(_CODECS[tag]))
        value = "".join(
            c if c.isprintable() else "".join(f"\\{octet:02x}" for octet in c.encode())
            for c in value
        )
        if value[:1] in ("#", " "):
            value = "\\" + value
        if value.endswith(" ") and not value.endswith("\\ "):
            value = value[:-1] + "\\ "
        return f"{word}={value}"

    return ",".join("+".join(shown(*a) for a in name) for name in reversed(_attributes(der)))


def normalized(der: bytes) -> tuple[frozenset[tuple[str, str]], ...]:
    """Return a form in which equal names are equal, whatever string types, case and
    inner spaces they were written with (RFC 5280 section 7.1). Raises ``ValueError``.
    """

    def plain(oid: str, tag: int, content: bytes, whole: bytes) -> tuple[str, str]:
        if tag not in _CODECS:
            return oid, whole.hex()
        return oid, " ".join(content.decode(_CODECS[tag]).casefold().split())

    return tuple(frozenset(plain(*attribute) for attribute in name) for name in _attributes(der))
