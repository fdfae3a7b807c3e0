# SPDX-License-Identifier: GPL-2.0-only
"""Keys of an IKE_SA and its children, and what is computed with them.

Nonces, SPIs and shared secrets come in as they were on the wire; ``ni`` is
always the nonce of the initiator of the exchange at hand, ``spi_i`` the SPI of
the original initiator.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from .crypto import Cipher, cipher, encryption_key_size, integrity_key_size, prf, prf_plus, prf_size
from .errors import LocalError
from .proposals import Suite

_KEY_PAD: Final = b"Key Pad for IKEv2"
_RESUMPTION: Final = b"Resumption"


@dataclass(frozen=True, slots=True)
class IkeKeys:
    """The keys of an IKE_SA (RFC 7296 section 2.14); none of them is ever shown.

    ``prf`` is the transform that they were made with and work with.
    """

    prf: int
    sk_d: bytes = field(repr=False)
    sk_ai: bytes = field(repr=False)
    sk_ar: bytes = field(repr=False)
    sk_ei: bytes = field(repr=False)
    sk_er: bytes = field(repr=False)
    sk_pi: bytes = field(repr=False)
    sk_pr: bytes = field(repr=False)

    def ciphers(self, suite: Suite) -> tuple[Cipher, Cipher]:
        """Return the ciphers of the initiator's and of the responder's messages."""
        return cipher(suite, self.sk_ei, self.sk_ai), cipher(suite, self.sk_er, self.sk_ar)


@dataclass(frozen=True, slots=True)
class ChildKeys:
    """The keys of a pair of child SAs, by direction: ``_i`` of packets that the
    initiator of the exchange sends, ``_r`` of the responder's. For AEAD the
    encryption key ends with its salt.
    """

    encryption_i: bytes = field(repr=False)
    integrity_i: bytes = field(repr=False)
    encryption_r: bytes = field(repr=False)
    integrity_r: bytes = field(repr=False)


# --- IKE_SA -----------------------------------------------------------------------------


def _cut(stream: bytes, *sizes: int) -> list[bytes]:
    pieces = []
    at = 0
    for size in sizes:
        pieces.append(stream[at : at + size])
        at += size
    return pieces


def derive(
    suite: Suite, skeyseed: bytes, ni: bytes, nr: bytes, spi_i: bytes, spi_r: bytes
) -> IkeKeys:
    """Return the keys that prf+ makes from SKEYSEED (section 2.14)."""
    d = prf_size(suite.prf)
    a = integrity_key_size(suite.integ)
    e = encryption_key_size(suite.encr, suite.key_length)
    stream = prf_plus(suite.prf, skeyseed, ni + nr + spi_i + spi_r, 3 * d + 2 * (a + e))
    return IkeKeys(suite.prf, *_cut(stream, d, a, a, e, e, d, d))


def initial(
    suite: Suite, shared: bytes, ni: bytes, nr: bytes, spi_i: bytes, spi_r: bytes
) -> IkeKeys:
    """Return the keys after IKE_SA_INIT: SKEYSEED = prf(Ni | Nr, g^ir)."""
    return derive(suite, prf(suite.prf, ni + nr, shared), ni, nr, spi_i, spi_r)


def after_additional(
    suite: Suite, old: IkeKeys, shared: bytes, ni: bytes, nr: bytes, spi_i: bytes, spi_r: bytes
) -> IkeKeys:
    """Return the keys after one additional key exchange in IKE_INTERMEDIATE (RFC 9370
    section 2.2.2); nonces and SPIs are those of IKE_SA_INIT.
    """
    skeyseed = prf(suite.prf, old.sk_d, shared + ni + nr)
    return derive(suite, skeyseed, ni, nr, spi_i, spi_r)


def rekeyed(
    suite: Suite,
    old: IkeKeys,
    shared: bytes,
    ni: bytes,
    nr: bytes,
    spi_i: bytes,
    spi_r: bytes,
    additional: tuple[bytes, ...] = (),
) -> IkeKeys:
    """Return the keys of an IKE_SA that replaces another (section 2.18).

    SKEYSEED is made with the old PRF, the keys with that of the new ``suite``.
    ``additional`` are the secrets of IKE_FOLLOWUP_KE (RFC 9370 section 2.2.4).
    """
    skeyseed = prf(old.prf, old.sk_d, shared + ni + nr + b"".join(additional))
    return derive(suite, skeyseed, ni, nr, spi_i, spi_r)


def resumed(
    suite: Suite, old_sk_d: bytes, ni: bytes, nr: bytes, spi_i: bytes, spi_r: bytes
) -> IkeKeys:
    """Return the keys of a resumed IKE_SA (RFC 5723 section 5.1)."""
    return derive(suite, prf(suite.prf, old_sk_d, _RESUMPTION + ni + nr), ni, nr, spi_i, spi_r)


def with_ppk(keys: IkeKeys, ppk: bytes) -> IkeKeys:
    """Return the keys with a postquantum preshared key mixed in (RFC 8784 section 3).

    It goes into SK_d, SK_pi and SK_pr; those of the messages stay.
    """
    size = len(keys.sk_d)
    d, pi, pr = (prf_plus(keys.prf, ppk, k, size) for k in (keys.sk_d, keys.sk_pi, keys.sk_pr))
    return IkeKeys(keys.prf, d, keys.sk_ai, keys.sk_ar, keys.sk_ei, keys.sk_er, pi, pr)


# --- child SAs --------------------------------------------------------------------------


def child(
    suite: Suite,
    ike: IkeKeys,
    ni: bytes,
    nr: bytes,
    shared: bytes = b"",
    additional: tuple[bytes, ...] = (),
) -> ChildKeys:
    """Return the keys of a child SA (section 2.17); ``suite`` is the child's.

    ``shared`` is the secret of its own key exchange, if it had one. Raises
    ``LocalError`` for transforms whose key size is not known.
    """
    e = encryption_key_size(suite.encr, suite.key_length) if suite.encr else 0
    a = integrity_key_size(suite.integ)
    seed = shared + ni + nr + b"".join(additional)
    return ChildKeys(*_cut(prf_plus(ike.prf, ike.sk_d, seed, 2 * (e + a)), e, a, e, a))


# --- authentication ---------------------------------------------------------------------


def auth_octets(
    transform: int, sk_p: bytes, message: bytes, nonce: bytes, id_body: bytes, int_auth: bytes = b""
) -> bytes:
    """Return the octets that an AUTH payload signs (section 2.15).

    ``message`` is the signer's own IKE_SA_INIT message as last sent, ``nonce``
    the other side's, ``sk_p`` and ``id_body`` (``payloads.identity_body``) are
    the signer's. ``int_auth`` comes from :func:`int_auth_tail`.
    """
    return message + nonce + prf(transform, sk_p, id_body) + int_auth


def psk_auth(transform: int, secret: bytes, octets: bytes) -> bytes:
    """Return AUTH data for a shared key, also an EAP MSK or SK_pi and SK_pr without one."""
    return prf(transform, prf(transform, secret, _KEY_PAD), octets)


def resumption_auth(transform: int, sk_p: bytes, octets: bytes) -> bytes:
    """Return AUTH data in IKE_AUTH after IKE_SESSION_RESUME (RFC 5723 section 4.3.3)."""
    return prf(transform, sk_p, octets)


def int_auth(transform: int, sk_p: bytes, previous: bytes, octets: bytes) -> bytes:
    """Return IntAuth after one more IKE_INTERMEDIATE message of one side (RFC 9242).

    ``previous`` is that side's value so far, empty at first; ``octets`` come from
    ``message.int_auth_octets``; ``sk_p`` is of the keys that protected the message.
    """
    return prf(transform, sk_p, previous + octets)


def int_auth_tail(int_auth_i: bytes, int_auth_r: bytes, message_id: int) -> bytes:
    """Return what the signed octets end with; ``message_id`` is that of the first IKE_AUTH."""
    return int_auth_i + int_auth_r + message_id.to_bytes(4)


# --- NAT detection, cookies -------------------------------------------------------------


def nat_detection(
    spi_i: bytes, spi_r: bytes, address: IPv4Address | IPv6Address, port: int
) -> bytes:
    """Return the data of a NAT_DETECTION notification (section 2.23)."""
    octets = spi_i + spi_r + address.packed + port.to_bytes(2)
    return hashlib.sha1(octets, usedforsecurity=False).digest()


class Cookies:
    """Stateless cookies against floods (section 2.6).

    A cookie tells that its sender receives at its address. Two secrets are
    known, of which the younger makes cookies; ``period`` in seconds.
    """

    __slots__ = ("_current", "_old", "_period", "_serial", "_until")

    SECRET: Final = 32

    def __init__(self, period: float = 60.0) -> None:
        if period <= 0:
            raise LocalError("a cookie secret needs time to live")
        self._period = period
        self._current = secrets.token_bytes(self.SECRET)
        self._old = b""
        self._serial = 0
        self._until: float | None = None

    def _turn(self, now: float) -> None:
        if self._until is None:
            self._until = now + self._period
        elif now >= self._until:
            # After a long silence the current secret is too old to be the other one, too.
            recent = now < self._until + self._period
            self._old = self._current if recent else b""
            self._current = secrets.token_bytes(self.SECRET)
            self._serial = (self._serial + 1) & 0xFF
            self._until = now + self._period

    @staticmethod
    def _make(
        serial: int, secret: bytes, ni: bytes, address: IPv4Address | IPv6Address, spi_i: bytes
    ) -> bytes:
        # The version keeps an IPv4 address and a nonce from passing for an IPv6 address.
        data = bytes((address.version,)) + address.packed + spi_i + ni
        return bytes((serial,)) + hmac.digest(secret, data, "sha256")[:16]

    def make(
        self, ni: bytes, address: IPv4Address | IPv6Address, spi_i: bytes, now: float
    ) -> bytes:
        """Return the data of a COOKIE notification for this request."""
        self._turn(now)
        return self._make(self._serial, self._current, ni, address, spi_i)

    def check(
        self,
        cookie: bytes,
        ni: bytes,
        address: IPv4Address | IPv6Address,
        spi_i: bytes,
        now: float,
    ) -> bool:
        """Whether ``cookie`` was made for the same request lately."""
        self._turn(now)
        if not cookie:
            return False
        if cookie[0] == self._serial:
            secret = self._current
        elif self._old and cookie[0] == (self._serial - 1) & 0xFF:
            secret = self._old
        else:
            return False
        return hmac.compare_digest(cookie, self._make(cookie[0], secret, ni, address, spi_i))
