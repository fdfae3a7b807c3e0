# SPDX-License-Identifier: GPL-2.0-only
"""ESP in transport mode (RFC 4303) for hosts whose kernel has none.

What goes in and out are the octets of an ESP packet, without the IP header. The
wire format and the keys are those of the kernel's ESP, so that either end may be
the kernel. Only for signalling: a packet costs tens of microseconds here.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from .association import SALT_SIZE, Association, Cipher, Integrity, Mode, SecurityProtocol

_HEADER: Final = struct.Struct("!II")
_BLOCK: Final = 16
_AEAD_IV: Final = 8
_AEAD_TAG: Final = 16
_LAST: Final = 0xFFFFFFFF
_DIGESTS: Final[dict[Integrity, tuple[str, int]]] = {
    Integrity.HMAC_SHA1_96: ("sha1", 12),
    Integrity.HMAC_SHA2_256_128: ("sha256", 16),
    Integrity.HMAC_SHA2_384_192: ("sha384", 24),
    Integrity.HMAC_SHA2_512_256: ("sha512", 32),
}


class EspError(Exception):
    """A received packet is not accepted; ``counter`` is the name of why."""

    def __init__(self, counter: str, text: str) -> None:
        super().__init__(text)
        self.counter = counter


class Exhausted(Exception):
    """An association has used all its sequence numbers (RFC 4303 section 3.3.3)."""


class ReplayWindow:
    """Which sequence numbers have come already (RFC 4303 section 3.4.3).

    ``size`` is in packets, 0 for no replay protection, as with static keys.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.last = 0
        self._seen = 0

    def fresh(self, sequence: int) -> bool:
        """Whether a number may still be accepted."""
        if not self.size:
            return True
        if sequence == 0:
            return False
        if sequence > self.last:
            return True
        behind = self.last - sequence
        return behind < self.size and not self._seen >> behind & 1

    def take(self, sequence: int) -> None:
        """Note a number whose packet has proved authentic."""
        if not self.size:
            return
        if sequence > self.last:
            ahead = sequence - self.last
            kept = self._seen << ahead if ahead < self.size else 0
            self._seen = (kept | 1) & ((1 << self.size) - 1)
            self.last = sequence
        else:
            self._seen |= 1 << (self.last - sequence)


class EspTransport:
    """One association in one direction. ``ValueError`` for what is not done here:

    tunnel mode, AH, extended sequence numbers.
    """

    def __init__(
        self, association: Association, random: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        if association.mode is not Mode.TRANSPORT:
            raise ValueError("only transport mode is done in user space")
        if association.protocol is not SecurityProtocol.ESP:
            raise ValueError("only ESP is done in user space")
        if association.esn:
            raise ValueError("extended sequence numbers are not done in user space")
        self.association = association
        self.sent = 0
        #: Packets and octets that it has protected, or taken as authentic.
        self.packets = self.octets = 0
        self.window = ReplayWindow(association.replay_window)
        self._random = random
        self._digest, self._icv = _DIGESTS.get(association.integrity, ("", 0))
        self._aead: AESGCM | ChaCha20Poly1305 | None = None
        self._salt = b""
        if association.cipher.counter_mode:
            key = association.encryption_key[:-SALT_SIZE]
            self._salt = association.encryption_key[-SALT_SIZE:]
            gcm = association.cipher is Cipher.AES_GCM_16
            self._aead = AESGCM(key) if gcm else ChaCha20Poly1305(key)

    # --- outbound

    def seal(self, payload: bytes, next_header: int) -> bytes:
        """Protect a payload. Raises ``Exhausted`` when no sequence number is left."""
        if self.sent >= _LAST:
            raise Exhausted(f"SPI 0x{self.association.spi:08x} has used all its sequence numbers")
        self.sent += 1
        self._carried(payload)
        header = _HEADER.pack(self.association.spi, self.sent)
        cbc = self.association.cipher is Cipher.AES_CBC
        fill = -(len(payload) + 2) % (_BLOCK if cbc else 4)
        plain = payload + bytes(range(1, fill + 1)) + bytes((fill, next_header))
        if self._aead is not None:
            # A counter would start anew with this process: RFC 4106 section 3.1 allows
            # any way that never repeats, and so few packets make 64 random bits do.
            iv = self._random(_AEAD_IV)
            return header + iv + self._aead.encrypt(self._salt + iv, plain, header)
        if cbc:
            iv = self._random(_BLOCK)
            encryptor = BlockCipher(
                algorithms.AES(self.association.encryption_key), modes.CBC(iv)
            ).encryptor()
            plain = iv + encryptor.update(plain) + encryptor.finalize()
        return header + plain + self._tag(header + plain)

    def _carried(self, payload: bytes) -> None:
        self.packets += 1
        self.octets += len(payload)

    def _tag(self, covered: bytes) -> bytes:
        key = self.association.authentication_key
        return hmac.digest(key, covered, self._digest)[: self._icv]

    # --- inbound

    def open(self, packet: bytes) -> tuple[int, bytes]:
        """Return next header and payload of a packet. Raises ``EspError``."""
        if len(packet) < _HEADER.size:
            raise EspError("esp_malformed", "no ESP header")
        sequence = _HEADER.unpack_from(packet)[1]
        if not self.window.fresh(sequence):
            raise EspError("esp_replayed", f"sequence number {sequence} came before or is too old")
        plain = self._open_aead(packet) if self._aead is not None else self._open_plain(packet)
        # Only what is authentic may move the window.
        self.window.take(sequence)
        if len(plain) < 2 or plain[-2] > len(plain) - 2:
            raise EspError("esp_malformed", "padding is longer than the packet")
        fill = plain[-2]
        end = len(plain) - 2 - fill
        if plain[end:-2] != bytes(range(1, fill + 1)):
            raise EspError("esp_malformed", "padding is not 1, 2, 3 ...")
        self._carried(plain[:end])
        return plain[-1], plain[:end]

    def _open_aead(self, packet: bytes) -> bytes:
        assert self._aead is not None
        start = _HEADER.size + _AEAD_IV
        if len(packet) < start + _AEAD_TAG:
            raise EspError("esp_malformed", "packet is shorter than its check value")
        header, iv = packet[: _HEADER.size], packet[_HEADER.size : start]
        try:
            return self._aead.decrypt(self._salt + iv, packet[start:], header)
        except InvalidTag:
            raise EspError("esp_forged", "check value is wrong") from None

    def _open_plain(self, packet: bytes) -> bytes:
        end = len(packet) - self._icv
        if end < _HEADER.size:
            raise EspError("esp_malformed", "packet is shorter than its check value")
        if not hmac.compare_digest(self._tag(packet[:end]), packet[end:]):
            raise EspError("esp_forged", "check value is wrong")
        body = packet[_HEADER.size : end]
        if self.association.cipher is not Cipher.AES_CBC:
            return body
        if len(body) < 2 * _BLOCK or len(body) % _BLOCK:
            raise EspError("esp_malformed", "ciphertext is not whole blocks")
        decryptor = BlockCipher(
            algorithms.AES(self.association.encryption_key), modes.CBC(body[:_BLOCK])
        ).decryptor()
        return decryptor.update(body[_BLOCK:]) + decryptor.finalize()


def spi_of(packet: bytes) -> int:
    """Return the SPI of an ESP packet. Raises ``EspError`` when it is too short."""
    if len(packet) < _HEADER.size:
        raise EspError("esp_malformed", "no ESP header")
    return int(_HEADER.unpack_from(packet)[0])
