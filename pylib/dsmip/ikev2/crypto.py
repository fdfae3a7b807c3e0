# SPDX-License-Identifier: GPL-2.0-only
"""Pseudorandom functions and the ciphers of the SK payload.

Levels are those of RFC 8247; which of them are offered is configuration. The
key exchange methods are in ``exchange``, and can be had from here.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
from cryptography.hazmat.primitives.ciphers import modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from .errors import Ignored, LocalError, RemoteError
from .exchange import PrivateKey, available, encapsulate, generate, respond
from .numbers import Encr, Integ, Prf
from .proposals import Suite

__all__ = [
    "Cipher",
    "PrivateKey",
    "available",
    "check_suite",
    "cipher",
    "encapsulate",
    "encryption_key_size",
    "generate",
    "integrity_key_size",
    "prf",
    "prf_plus",
    "prf_size",
    "respond",
]


class _Prfs(dict[int, tuple[str, int]]):
    def __missing__(self, transform: int) -> tuple[str, int]:
        raise LocalError(f"PRF {transform} is not supported")


_PRFS: Final = _Prfs(
    {
        int(Prf.HMAC_SHA1): ("sha1", 20),
        int(Prf.HMAC_SHA2_256): ("sha256", 32),
        int(Prf.HMAC_SHA2_384): ("sha384", 48),
        int(Prf.HMAC_SHA2_512): ("sha512", 64),
    }
)
#: Transform -> hash, octets of the key, octets of the check value.
_INTEGS: Final[dict[int, tuple[str, int, int]]] = {
    int(Integ.HMAC_SHA1_96): ("sha1", 20, 12),
    int(Integ.HMAC_SHA2_256_128): ("sha256", 32, 16),
    int(Integ.HMAC_SHA2_384_192): ("sha384", 48, 24),
    int(Integ.HMAC_SHA2_512_256): ("sha512", 64, 32),
}
#: Octets that are taken from the key material after the key proper (RFC 4106, 5282, 7634).
_SALTS: Final[dict[int, int]] = {
    int(Encr.AES_CTR): 4,
    int(Encr.AES_CCM_8): 3,
    int(Encr.AES_CCM_12): 3,
    int(Encr.AES_CCM_16): 3,
    int(Encr.AES_GCM_8): 4,
    int(Encr.AES_GCM_12): 4,
    int(Encr.AES_GCM_16): 4,
    int(Encr.NULL_AUTH_AES_GMAC): 4,
    int(Encr.CHACHA20_POLY1305): 4,
}
_AES_LENGTHS: Final = (128, 192, 256)
_BLOCK: Final = 16
_LONGEST: Final = 255


# --- pseudorandom functions -------------------------------------------------------------


def prf(transform: int, key: bytes, data: bytes) -> bytes:
    """Return prf(key, data) of a PRF transform (RFC 7296 section 2.13).

    Raises ``LocalError`` for one that is not here, as all functions do.
    """
    return hmac.digest(key, data, _PRFS[transform][0])


def prf_size(transform: int) -> int:
    """Return the octets of a PRF's output, which are also its preferred key's."""
    return _PRFS[transform][1]


def prf_plus(transform: int, key: bytes, seed: bytes, size: int) -> bytes:
    """Return ``size`` octets of prf+(key, seed) (RFC 7296 section 2.13).

    Raises ``LocalError`` for more than 255 times the PRF's output.
    """
    name, step = _PRFS[transform]
    if size > step * _LONGEST:
        raise LocalError(f"{size} octets are more than prf+ of {step} gives")
    block = stream = b""
    digest = hmac.digest
    for count in range(1, -(-size // step) + 1):
        block = digest(key, block + seed + bytes((count,)), name)
        stream += block
    return stream[:size]


# --- sizes ------------------------------------------------------------------------------


def encryption_key_size(encr: int, key_length: int = 0) -> int:
    """Return the octets of key material of a cipher, of IKE or ESP, salt included.

    ``key_length`` is in bits. Raises ``LocalError`` for ciphers that are not here.
    """
    if encr == Encr.NULL:
        return 0
    if encr == Encr.CHACHA20_POLY1305:
        return 36
    if encr == Encr.AES_CBC or encr in _SALTS:
        if key_length not in _AES_LENGTHS:
            raise LocalError(f"AES with a key of {key_length} bits")
        return key_length // 8 + _SALTS.get(encr, 0)
    raise LocalError(f"cipher {encr} is not supported")


def integrity_key_size(integ: int) -> int:
    """Return the octets of an integrity transform's key, 0 for none. Raises ``LocalError``."""
    if integ == Integ.NONE:
        return 0
    try:
        return _INTEGS[integ][1]
    except KeyError:
        raise LocalError(f"integrity transform {integ} is not supported") from None


# --- ciphers of the SK payload ----------------------------------------------------------


class Cipher(Protocol):
    """Protects the SK payloads of one direction with its keys.

    ``head`` is the message from the first octet of the IKE header to the last
    one before the initialization vector. No method keeps the plain text.
    """

    def size(self, plain: int) -> int:
        """Return the octets that ``plain`` octets become: IV, padding, check value and all."""

    def capacity(self, size: int) -> int:
        """Return how many plain octets fit ``size``; below 0 when not even none."""

    def seal(self, head: bytes, plain: bytes) -> bytes:
        """Return what follows ``head``: IV, ciphertext, integrity check value."""

    def open(self, head: bytes, body: bytes) -> bytes:
        """Return the plain octets.

        Raises ``Ignored`` for a wrong check value, ``RemoteError`` INVALID_SYNTAX
        for wrong padding under a right one.
        """


def _unpadded(padded: bytes) -> bytes:
    end = len(padded) - 1 - padded[-1]
    if end < 0:
        raise RemoteError("padding is longer than the encrypted payload")
    return padded[:end]


class _Aead:
    """AES-GCM-16 and ChaCha20-Poly1305 (RFC 5282, RFC 7634).

    The IV is a counter: the key is this object's alone, so none comes twice.
    """

    __slots__ = ("_box", "_count", "_salt")

    OVERHEAD: Final = 8 + 1 + 16

    def __init__(self, box: Callable[[bytes], AESGCM | ChaCha20Poly1305], key: bytes) -> None:
        self._box = box(key[:-4])
        self._salt = key[-4:]
        self._count = 0

    def size(self, plain: int) -> int:
        return plain + self.OVERHEAD

    def capacity(self, size: int) -> int:
        return size - self.OVERHEAD

    def seal(self, head: bytes, plain: bytes) -> bytes:
        self._count += 1
        iv = self._count.to_bytes(8)
        return iv + self._box.encrypt(self._salt + iv, plain + b"\0", head)

    def open(self, head: bytes, body: bytes) -> bytes:
        if len(body) < self.OVERHEAD:
            raise Ignored(f"encrypted payload of {len(body)} octets", "ike_bad_icv")
        try:
            padded = self._box.decrypt(self._salt + body[:8], body[8:], head)
        except InvalidTag:
            raise Ignored("integrity check failed", "ike_bad_icv") from None
        return _unpadded(padded)


class _CbcHmac:
    """AES-CBC with an HMAC over everything before it (RFC 7296 section 3.14)."""

    __slots__ = ("_aes", "_hash", "_icv", "_key")

    def __init__(self, encryption: bytes, integ: int, integrity: bytes) -> None:
        self._aes = AES(encryption)
        self._hash, _, self._icv = _INTEGS[integ]
        self._key = integrity

    def size(self, plain: int) -> int:
        return _BLOCK + (plain // _BLOCK + 1) * _BLOCK + self._icv

    def capacity(self, size: int) -> int:
        return (size - _BLOCK - self._icv) // _BLOCK * _BLOCK - 1

    def seal(self, head: bytes, plain: bytes) -> bytes:
        iv = secrets.token_bytes(_BLOCK)
        fill = _BLOCK - 1 - len(plain) % _BLOCK
        encryptor = BlockCipher(self._aes, modes.CBC(iv)).encryptor()
        body = iv + encryptor.update(plain + bytes(fill) + bytes((fill,)))
        return body + hmac.digest(self._key, head + body, self._hash)[: self._icv]

    def open(self, head: bytes, body: bytes) -> bytes:
        end = len(body) - self._icv
        if end < 2 * _BLOCK or end % _BLOCK:
            raise Ignored(f"encrypted payload of {len(body)} octets", "ike_bad_icv")
        wanted = hmac.digest(self._key, head + body[:end], self._hash)[: self._icv]
        if not hmac.compare_digest(wanted, body[end:]):
            raise Ignored("integrity check failed", "ike_bad_icv")
        decryptor = BlockCipher(self._aes, modes.CBC(body[:_BLOCK])).decryptor()
        return _unpadded(decryptor.update(body[_BLOCK:end]))


def cipher(suite: Suite, encryption: bytes, integrity: bytes = b"") -> Cipher:
    """Return the cipher of one direction of an IKE_SA.

    ``encryption`` is SK_ei or SK_er, for AEAD with its salt at the end,
    ``integrity`` SK_ai or SK_ar. Raises ``LocalError`` when suite and keys do
    not fit.
    """
    check_suite(suite)
    if len(encryption) != encryption_key_size(suite.encr, suite.key_length):
        raise LocalError(f"encryption key of {len(encryption)} octets for {suite}")
    if suite.encr == Encr.AES_GCM_16:
        return _Aead(AESGCM, encryption)
    if suite.encr == Encr.CHACHA20_POLY1305:
        return _Aead(ChaCha20Poly1305, encryption)
    if len(integrity) != integrity_key_size(suite.integ):
        raise LocalError(f"integrity key of {len(integrity)} octets for {suite}")
    return _CbcHmac(encryption, suite.integ, integrity)


def check_suite(suite: Suite) -> None:
    """Raise ``LocalError`` unless an IKE_SA can be protected with this suite."""
    if suite.prf not in _PRFS:
        raise LocalError(f"PRF {suite.prf} is not supported")
    if suite.encr == Encr.AES_CBC:
        if suite.integ not in _INTEGS:
            raise LocalError(f"integrity transform {suite.integ} is not supported for IKE")
    elif suite.encr not in (Encr.AES_GCM_16, Encr.CHACHA20_POLY1305):
        raise LocalError(f"cipher {suite.encr} is not supported for IKE")
    elif suite.integ:
        raise LocalError("a cipher that authenticates takes no integrity transform")
    encryption_key_size(suite.encr, suite.key_length)
