# SPDX-License-Identifier: GPL-2.0-only
"""Key exchange methods: X25519, NIST curves, MODP groups, ML-KEM-768.

Public values of the other side are checked as RFC 6989 asks: MODP values 0, 1,
p-1 and beyond, points off the curve, values of the wrong size and an all-zero
X25519 result are INVALID_SYNTAX.
"""

from __future__ import annotations

import secrets
import warnings
from functools import lru_cache
from typing import Any, Final, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from .errors import LocalError, RemoteError
from .numbers import KeyExchange


class PrivateKey(Protocol):
    """Our half of one key exchange; ``public`` goes into the KE payload."""

    @property
    def method(self) -> int:
        """The key exchange method."""

    @property
    def public(self) -> bytes:
        """The public value as sent."""

    def shared(self, peer: bytes) -> bytes:
        """Return the shared secret with the public value ``peer``, leading zeros kept.

        Raises ``RemoteError`` INVALID_SYNTAX for a value that must not be used.
        """


def _check_size(method: int, peer: bytes, size: int) -> None:
    if len(peer) != size:
        raise RemoteError(f"public value of {len(peer)} octets for method {method}, not {size}")


# --- X25519 (RFC 8031) ------------------------------------------------------------------


class _X25519:
    __slots__ = ("_key", "public")

    method: Final = int(KeyExchange.CURVE25519)

    def __init__(self, key: X25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes_raw()

    def shared(self, peer: bytes) -> bytes:
        _check_size(self.method, peer, 32)
        try:
            return self._key.exchange(X25519PublicKey.from_public_bytes(peer))
        except ValueError:
            raise RemoteError("X25519 public value of small order") from None


# --- NIST curves (RFC 5903) -------------------------------------------------------------

#: Method -> curve, octets of a coordinate.
_CURVES: Final[dict[int, tuple[ec.EllipticCurve, int]]] = {
    int(KeyExchange.ECP256): (ec.SECP256R1(), 32),
    int(KeyExchange.ECP384): (ec.SECP384R1(), 48),
    int(KeyExchange.ECP521): (ec.SECP521R1(), 66),
}
_UNCOMPRESSED: Final = b"\x04"


class _Ecp:
    __slots__ = ("_curve", "_key", "_size", "method", "public")

    def __init__(self, method: int, key: ec.EllipticCurvePrivateKey) -> None:
        self.method = method
        self._curve, self._size = _CURVES[method]
        self._key = key
        point = key.public_key().public_numbers()
        self.public = point.x.to_bytes(self._size) + point.y.to_bytes(self._size)

    def shared(self, peer: bytes) -> bytes:
        _check_size(self.method, peer, 2 * self._size)
        try:
            point = ec.EllipticCurvePublicKey.from_encoded_point(self._curve, _UNCOMPRESSED + peer)
            return self._key.exchange(ec.ECDH(), point)
        except ValueError:
            raise RemoteError(f"point that is not on the curve of method {self.method}") from None


# --- MODP (RFC 3526) --------------------------------------------------------------------

#: Method -> bits of the prime, the constant in its formula, bits of a private exponent.
_MODP: Final[dict[int, tuple[int, int, int]]] = {
    int(KeyExchange.MODP2048): (2048, 124476, 320),
    int(KeyExchange.MODP3072): (3072, 1690314, 420),
    int(KeyExchange.MODP4096): (4096, 240904, 480),
}
_GENERATOR: Final = 2


def _pi(bits: int) -> int:
    """Return the integer part of pi * 2**bits, by Machin's formula."""
    guard = 64

    def arctan_of_inverse(x: int) -> int:
        term = (1 << bits + guard) // x
        total, count, sign = term, 1, 1
        while term:
            term //= x * x
            count, sign = count + 2, -sign
            total += sign * (term // count)
        return total

    return 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239)) >> guard


@lru_cache(maxsize=len(_MODP))
def modp_prime(method: int) -> int:
    """Return the prime of a MODP group, which RFC 3526 defines by the digits of pi."""
    bits, constant, _ = _MODP[method]
    return (1 << bits) - (1 << bits - 64) - 1 + ((_pi(bits - 130) + constant) << 64)


@lru_cache(maxsize=1)
def _library() -> Any:
    """Return the library's finite-field Diffie-Hellman, or None where it has gone."""
    try:
        from cryptography.hazmat.primitives.asymmetric import dh
    except ImportError:
        return None
    return dh


@lru_cache(maxsize=len(_MODP))
def _parameters(method: int) -> Any:
    """Return the library's numbers of a group, or None when it does not do it."""
    library = _library()
    if library is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            numbers = library.DHParameterNumbers(modp_prime(method), _GENERATOR)
            return numbers, numbers.parameters()
        except (AttributeError, UnsupportedAlgorithm, ValueError):
            return None


class _Modp:
    """The library warns that it will drop this; ``pow`` is slower and not constant in time."""

    __slots__ = ("_exponent", "_key", "method", "public")

    def __init__(self, method: int) -> None:
        self.method = method
        bits, _, exponent_bits = _MODP[method]
        parameters = _parameters(method)
        self._key = None
        self._exponent = 0
        if parameters is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._key = parameters[1].generate_private_key()
                public = self._key.public_key().public_numbers().y
        else:
            self._exponent = secrets.randbits(exponent_bits) | 1 << exponent_bits - 1
            public = pow(_GENERATOR, self._exponent, modp_prime(method))
        self.public: bytes = public.to_bytes(bits // 8)

    def shared(self, peer: bytes) -> bytes:
        size = _MODP[self.method][0] // 8
        _check_size(self.method, peer, size)
        value, prime = int.from_bytes(peer), modp_prime(self.method)
        if not 1 < value < prime - 1:
            raise RemoteError(f"public value of method {self.method} is out of range")
        if self._key is None:
            return pow(value, self._exponent, prime).to_bytes(size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            public = _library().DHPublicNumbers(value, _parameters(self.method)[0]).public_key()
            try:
                secret: bytes = self._key.exchange(public)
            except ValueError:
                # Some versions of OpenSSL want it to be a power of the generator as well.
                raise RemoteError(f"public value that method {self.method} never has") from None
        return secret.rjust(size, b"\0")


# --- ML-KEM-768 -------------------------------------------------------------------------

_CIPHERTEXT: Final = 1088
_ENCAPSULATION_KEY: Final = 1184


@lru_cache(maxsize=1)
def _mlkem() -> Any:
    """Return the library's ML-KEM, or None where it or the OpenSSL below has none."""
    try:
        from cryptography.hazmat.primitives.asymmetric import mlkem

        mlkem.MLKEM768PrivateKey.generate()
    except (ImportError, AttributeError, UnsupportedAlgorithm):
        return None
    return mlkem


def _need_mlkem() -> Any:
    library = _mlkem()
    if library is None:
        raise LocalError("ML-KEM-768 is not in this version of cryptography or OpenSSL")
    return library


class _MlKem768:
    __slots__ = ("_key", "public")

    method: Final = int(KeyExchange.MLKEM768)

    def __init__(self) -> None:
        self._key = _need_mlkem().MLKEM768PrivateKey.generate()
        self.public: bytes = self._key.public_key().public_bytes_raw()

    def shared(self, peer: bytes) -> bytes:
        _check_size(self.method, peer, _CIPHERTEXT)
        try:
            secret: bytes = self._key.decapsulate(peer)
        except ValueError as error:
            raise RemoteError(f"ML-KEM: {error}") from None
        return secret


# --- all of them ------------------------------------------------------------------------


def generate(method: int) -> PrivateKey:
    """Return a fresh private key, never to be used for a second exchange.

    For ML-KEM it is the initiator's. Raises ``LocalError`` for a method that is
    not :func:`available`.
    """
    if method == KeyExchange.CURVE25519:
        return _X25519(X25519PrivateKey.generate())
    if method in _CURVES:
        return _Ecp(int(method), ec.generate_private_key(_CURVES[method][0]))
    if method in _MODP:
        return _Modp(int(method))
    if method == KeyExchange.MLKEM768:
        return _MlKem768()
    raise LocalError(f"key exchange method {method} is not supported")


def encapsulate(method: int, peer: bytes) -> tuple[bytes, bytes]:
    """Return (ciphertext to send, shared secret) for a KEM's public key.

    Raises ``RemoteError`` INVALID_SYNTAX for a key that is none, ``LocalError``
    where the method is missing.
    """
    if method != KeyExchange.MLKEM768:
        raise LocalError(f"key exchange method {method} is no KEM")
    _check_size(method, peer, _ENCAPSULATION_KEY)
    try:
        public = _need_mlkem().MLKEM768PublicKey.from_public_bytes(peer)
    except ValueError as error:
        raise RemoteError(f"ML-KEM: {error}") from None
    secret, ciphertext = public.encapsulate()
    return ciphertext, secret


def respond(method: int, peer: bytes) -> tuple[bytes, bytes]:
    """Return (public value to send, shared secret) of the responder, for any method.

    Raises as :func:`generate`, :func:`encapsulate` and ``PrivateKey.shared`` do.
    """
    if method == KeyExchange.MLKEM768:
        return encapsulate(method, peer)
    key = generate(method)
    return key.public, key.shared(peer)


@lru_cache(maxsize=1)
def available() -> frozenset[KeyExchange]:
    """Return the methods that work here: libraries differ in curves and in ML-KEM."""
    found = {KeyExchange(method) for method in _MODP}
    if _mlkem() is not None:
        found.add(KeyExchange.MLKEM768)
    for method in (KeyExchange.CURVE25519, *map(KeyExchange, _CURVES)):
        try:
            generate(method)
        except UnsupportedAlgorithm:
            continue
        found.add(method)
    return frozenset(found)
