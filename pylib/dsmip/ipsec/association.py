# SPDX-License-Identifier: GPL-2.0-only
"""Security associations: what one holds, and where its outer ends are.

An association is a value: the same one describes what is wanted and what the
kernel gave back, so comparing both says what there is to do. Its keys appear in
no text that it makes of itself.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

Address = IPv6Address | IPv4Address
Network = IPv6Network | IPv4Network

#: Octets that follow the key of a counter mode (RFC 4106 section 8.1, RFC 7634 section 2).
SALT_SIZE: Final = 4

MOBILITY_HEADER: Final = 135
ICMP6: Final = 58
#: Protocols whose selectors have a message type where others have a source port.
MESSAGE_PROTOCOLS: Final = (MOBILITY_HEADER, ICMP6)


class SecurityProtocol(enum.IntEnum):
    """What protects, as IP protocol numbers."""

    ESP = 50
    AH = 51


class Mode(enum.IntEnum):
    """Modes with the kernel's numbers."""

    TRANSPORT = 0
    TUNNEL = 1


class Cipher(enum.IntEnum):
    """Encryption by its IKEv2 transform number (RFC 8221 section 5)."""

    NONE = 0
    NULL = 11
    AES_CBC = 12
    AES_GCM_16 = 20
    CHACHA20_POLY1305 = 28

    @property
    def counter_mode(self) -> bool:
        """Whether a nonce that is used twice under one key gives the key away.

        These modes bring their own integrity, and their key ends with a salt.
        """
        return self in (Cipher.AES_GCM_16, Cipher.CHACHA20_POLY1305)

    @property
    def key_sizes(self) -> tuple[int, ...]:
        """Octets that a key may have, salt included."""
        return _KEY_SIZES[self]


class Integrity(enum.IntEnum):
    """Integrity by its IKEv2 transform number (RFC 8221 section 6)."""

    NONE = 0
    HMAC_SHA1_96 = 2
    HMAC_SHA2_256_128 = 12
    HMAC_SHA2_384_192 = 13
    HMAC_SHA2_512_256 = 14

    @property
    def key_size(self) -> int:
        """Octets of the key (RFC 4868 section 2.1.1)."""
        return _INTEGRITY_KEY_SIZES[self]


_KEY_SIZES: Final = {
    Cipher.NONE: (0,),
    Cipher.NULL: (0,),
    Cipher.AES_CBC: (16, 24, 32),
    Cipher.AES_GCM_16: (16 + SALT_SIZE, 24 + SALT_SIZE, 32 + SALT_SIZE),
    Cipher.CHACHA20_POLY1305: (32 + SALT_SIZE,),
}
_INTEGRITY_KEY_SIZES: Final = {
    Integrity.NONE: 0,
    Integrity.HMAC_SHA1_96: 20,
    Integrity.HMAC_SHA2_256_128: 32,
    Integrity.HMAC_SHA2_384_192: 48,
    Integrity.HMAC_SHA2_512_256: 64,
}


@dataclass(frozen=True, slots=True)
class Selector:
    """Packets that a policy is about.

    ``protocol`` 0 is any. ``source_port`` and ``destination_port`` are None for
    any; for the mobility header (135) the source port is the message type, for
    ICMPv6 (58) type and code, as plain numbers.
    """

    source: Network
    destination: Network
    protocol: int = 0
    source_port: int | None = None
    destination_port: int | None = None


@dataclass(frozen=True, slots=True)
class Encapsulation:
    """ESP in UDP (RFC 3948), with the ports of one direction."""

    source_port: int
    destination_port: int


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """When an association is renewed (soft) and when it ends (hard); 0 is never."""

    soft_seconds: int = 0
    hard_seconds: int = 0
    soft_bytes: int = 0
    hard_bytes: int = 0
    soft_packets: int = 0
    hard_packets: int = 0


FOREVER: Final = Lifetimes()


@dataclass(frozen=True, slots=True)
class Replay:
    """Sequence numbers of an association: the last sent, the last received.

    With extended sequence numbers both have 64 bits. ``bitmap`` is the kernel's
    replay window in its own words of 32 bits.
    """

    sent: int = 0
    received: int = 0
    bitmap: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """What an association has carried; times are seconds of the wall clock, 0 for never."""

    bytes: int = 0
    packets: int = 0
    added: int = 0
    used: int = 0


@dataclass(frozen=True, slots=True)
class Association:
    """One association, in one direction.

    The key of a counter mode has its salt at the end, and no authentication key.
    ``selector`` None leaves the choice of packets to policies. ``replay_window``
    is in packets, 0 for no replay protection. ``ValueError`` when keys do not
    fit the algorithms.
    """

    source: Address
    destination: Address
    spi: int
    encryption_key: bytes
    authentication_key: bytes
    selector: Selector | None
    mode: Mode
    reqid: int
    protocol: SecurityProtocol = SecurityProtocol.ESP
    cipher: Cipher = Cipher.AES_CBC
    integrity: Integrity = Integrity.HMAC_SHA2_256_128
    esn: bool = False
    replay_window: int = 0
    encapsulation: Encapsulation | None = None
    lifetimes: Lifetimes = FOREVER

    def __post_init__(self) -> None:
        if len(self.encryption_key) not in self.cipher.key_sizes:
            raise ValueError(f"{len(self.encryption_key)} octets are no key for {self.cipher.name}")
        if len(self.authentication_key) != self.integrity.key_size:
            size = len(self.authentication_key)
            raise ValueError(f"{size} octets are no key for {self.integrity.name}")
        if self.protocol is SecurityProtocol.AH and self.cipher is not Cipher.NONE:
            raise ValueError("AH does not encrypt")
        if self.protocol is SecurityProtocol.ESP and self.cipher is Cipher.NONE:
            raise ValueError("ESP needs an encryption algorithm, if only NULL")
        if self.cipher.counter_mode == (self.integrity is not Integrity.NONE):
            # RFC 6275 section 5.1, RFC 8221 section 5: never without integrity.
            raise ValueError(f"{self.cipher.name} does not go with {self.integrity.name}")
        if self.esn and not self.replay_window:
            raise ValueError("extended sequence numbers need a replay window")

    def __repr__(self) -> str:
        # Keys must not reach a log by way of a traceback.
        return (
            f"Association({self.source} -> {self.destination}, {self.protocol.name} "
            f"0x{self.spi:08x}, {self.mode.name.lower()}, reqid 0x{self.reqid:x})"
        )

    @property
    def ends(self) -> tuple[Address, Address]:
        """Outer source and destination."""
        return self.source, self.destination

    def at(self, ends: tuple[Address, Address], encapsulation: Encapsulation | None) -> Association:
        """Return the same association between other outer ends."""
        source, destination = ends
        return replace(self, source=source, destination=destination, encapsulation=encapsulation)


@dataclass(frozen=True, slots=True)
class Installed:
    """An association as the kernel holds it."""

    association: Association
    replay: Replay
    usage: Usage


@dataclass(frozen=True, slots=True)
class DirectionKeys:
    """SPI and keys of one direction: AES-CBC and HMAC-SHA-256-128."""

    spi: int
    encryption_key: bytes
    authentication_key: bytes

    def __repr__(self) -> str:
        return f"DirectionKeys(spi 0x{self.spi:08x})"


@dataclass(frozen=True, slots=True)
class RowKeys:
    """Static keys of one row: towards the home agent and towards the mobile router."""

    to_agent: DirectionKeys
    to_router: DirectionKeys
