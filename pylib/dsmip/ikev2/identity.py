# SPDX-License-Identifier: GPL-2.0-only
"""Who the ends of an IKE_SA are (RFC 7296 section 3.5)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from . import distinguished_name
from .numbers import IdType

_WORD: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")
_PREFIXES: Final = {
    "ipv4": IdType.IPV4_ADDR,
    "fqdn": IdType.FQDN,
    "rfc822": IdType.RFC822_ADDR,
    "ipv6": IdType.IPV6_ADDR,
    "dn": IdType.DER_ASN1_DN,
    "gn": IdType.DER_ASN1_GN,
    "keyid": IdType.KEY_ID,
    "null": IdType.NULL,
}
_NAMES: Final = {int(kind): name for name, kind in _PREFIXES.items()}
_SIZES: Final = {int(IdType.IPV4_ADDR): 4, int(IdType.IPV6_ADDR): 16}


def _octets(text: str) -> bytes:
    return bytes.fromhex(text[2:]) if text.startswith("0x") else text.encode()


def _text(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return "0x" + data.hex()
    return text if text.isprintable() and not text.startswith("0x") else "0x" + data.hex()


@dataclass(frozen=True, slots=True)
class Identity:
    """An identification type and its data, as sent in IDi and IDr.

    Two are equal when their octets are; :meth:`matches` compares what they
    mean. Raises ``ValueError`` for an address of the wrong size.
    """

    type: int
    data: bytes

    def __post_init__(self) -> None:
        size = _SIZES.get(self.type)
        if size is not None and len(self.data) != size:
            raise ValueError(f"an address identity has {size} octets, not {len(self.data)}")

    @classmethod
    def parse(cls, text: str) -> Identity:
        """Read what a configuration says.

        ``bus-17.example.net`` and ``bus-17`` are FQDNs, ``user@realm`` is an
        RFC822 address, addresses are themselves. ``keyid:``, ``dn:`` (in RFC
        4514 order, ``CN=`` first), ``fqdn:``, ``rfc822:``, ``gn:`` and ``null:``
        say the type; after them ``0x`` begins octets in hexadecimal. Raises
        ``ValueError``.
        """
        name, colon, rest = text.partition(":")
        if colon and name in _PREFIXES:
            kind = _PREFIXES[name]
            if kind in (IdType.IPV4_ADDR, IdType.IPV6_ADDR):
                return cls(kind, ip_address(rest).packed)
            if kind == IdType.DER_ASN1_DN and not rest.startswith("0x"):
                return cls(kind, distinguished_name.encode(rest))
            return cls(kind, _octets(rest))
        if colon and name.startswith("type") and name[4:].isdecimal() and int(name[4:]) < 256:
            return cls(int(name[4:]), _octets(rest))
        try:
            return cls.of(ip_address(text))
        except ValueError:
            pass
        if text.isprintable() and "@" in text.strip("@") and " " not in text:
            return cls(IdType.RFC822_ADDR, text.encode())
        if _WORD.fullmatch(text):
            return cls(IdType.FQDN, text.encode())
        raise ValueError(
            f"'{text}' is no identity: a domain name, user@realm, an address,"
            " or keyid:, dn:, fqdn:, rfc822: with a value"
        )

    @classmethod
    def of(cls, address: IPv4Address | IPv6Address) -> Identity:
        """Return the identity that is this address. Raises ``ValueError`` for one with a zone."""
        if address.version == 4:
            return cls(IdType.IPV4_ADDR, address.packed)
        if address.scope_id:
            raise ValueError(f"{address}: an identity has no zone")
        return cls(IdType.IPV6_ADDR, address.packed)

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """The address that this identity is, if it is one."""
        if self.type == IdType.IPV4_ADDR:
            return IPv4Address(self.data)
        if self.type == IdType.IPV6_ADDR:
            return IPv6Address(self.data)
        return None

    def matches(self, other: Identity) -> bool:
        """Whether both name the same: domain names without regard to case, DNs by value."""
        if self == other:
            return True
        if self.type != other.type:
            return False
        mine, theirs = self.data, other.data
        if self.type == IdType.FQDN:
            return mine.lower().rstrip(b".") == theirs.lower().rstrip(b".")
        if self.type == IdType.RFC822_ADDR:
            user, _, domain = mine.rpartition(b"@")
            their_user, _, their_domain = theirs.rpartition(b"@")
            return user == their_user and domain.lower() == their_domain.lower()
        if self.type == IdType.DER_ASN1_DN:
            try:
                return distinguished_name.normalized(mine) == distinguished_name.normalized(theirs)
            except ValueError:
                return False
        return False

    def __str__(self) -> str:
        """Return a text from which :meth:`parse` makes an identity that matches this one."""
        address = self.address
        if address is not None:
            return str(address)
        name = _NAMES.get(self.type, f"type{int(self.type)}")
        if self.type == IdType.DER_ASN1_DN:
            try:
                return f"dn:{distinguished_name.decode(self.data)}"
            except ValueError:
                return f"dn:0x{self.data.hex()}"
        text = _text(self.data)
        if self.type in (IdType.FQDN, IdType.RFC822_ADDR):
            try:
                if Identity.parse(text) == self:
                    return text
            except ValueError:
                pass
        if self.type == IdType.DER_ASN1_GN:
            text = "0x" + self.data.hex()
        return f"{name}:{text}"
