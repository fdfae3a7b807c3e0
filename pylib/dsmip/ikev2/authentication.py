# SPDX-License-Identifier: GPL-2.0-only
"""AUTH payloads: making ours and checking the other side's (RFC 7296 section 2.15).

Three kinds of credentials: :class:`Psk` serves both directions and also the MSK
of EAP; :class:`Signer` signs with a private key, shown by a certificate chain or
as a raw public key; :class:`Verifier` checks such signatures. What the other
side did wrong raises :class:`AuthenticationFailed`, whose ``reason`` is for our
log and never for the wire.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from .certificates import Certificate, expires_at
from .identity import Identity
from .keys import psk_auth
from .numbers import AuthMethod, CertEncoding, HashAlgorithm
from .signatures import AuthenticationFailed, PrivateKey, PublicKey, load_public_key
from .trust import Trust

__all__ = [
    "HASH_ALGORITHMS",
    "Authenticated",
    "AuthenticationFailed",
    "EncodedCertificate",
    "Psk",
    "Signer",
    "Verifier",
]

#: A CERT or CERTREQ payload: encoding and data.
EncodedCertificate = tuple[int, bytes]

#: What our SIGNATURE_HASH_ALGORITHMS says (RFC 7427 section 4, RFC 8420).
HASH_ALGORITHMS: Final = (
    HashAlgorithm.SHA2_256,
    HashAlgorithm.SHA2_384,
    HashAlgorithm.SHA2_512,
    HashAlgorithm.IDENTITY,
)
#: Pinned keys that are tried when a peer sends no certificate at all.
_TRIES_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class Authenticated:
    """What an AUTH payload proved.

    ``subject`` describes the credential for status and log, ``expires`` is when
    it ends, in seconds since 1970; None: never.
    """

    method: int
    subject: str
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class Psk:
    """A shared secret (RFC 7296 section 2.15): of the connection, or the MSK of EAP."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not self.secret:
            raise ValueError("a shared secret is empty")

    def certificates(self) -> tuple[EncodedCertificate, ...]:
        """CERT payloads to send: none."""
        return ()

    def requests(self) -> tuple[EncodedCertificate, ...]:
        """CERTREQ payloads to send: none."""
        return ()

    def sign(
        self, octets: bytes, prf: int, peer_hashes: Collection[int] | None = None
    ) -> tuple[AuthMethod, bytes]:
        """Method and data of our AUTH payload over ``octets`` with the IKE SA's prf."""
        return AuthMethod.SHARED_KEY, psk_auth(prf, self.secret, octets)

    def verify(
        self,
        method: int,
        data: bytes,
        octets: bytes,
        prf: int,
        identity: Identity,
        certificates: Sequence[EncodedCertificate] = (),
        at: float = 0.0,
    ) -> Authenticated:
        """Check an AUTH payload. Raises :class:`AuthenticationFailed`."""
        if method != AuthMethod.SHARED_KEY:
            raise AuthenticationFailed(f"method {method} instead of a shared secret of {identity}")
        if not hmac.compare_digest(data, psk_auth(prf, self.secret, octets)):
            raise AuthenticationFailed(f"{identity} has another shared secret")
        return Authenticated(method, "shared secret")


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key with its certificate chain, leaf first; without one a raw public key.

    Raises ``ValueError`` when the first certificate is not that of the key.
    """

    key: PrivateKey
    chain: tuple[Certificate, ...] = ()

    def __post_init__(self) -> None:
        if self.chain and self.chain[0].public != self.key.public:
            raise ValueError(f"the certificate of {self.chain[0]} has another key")

    @property
    def expires(self) -> float | None:
        """When the first certificate of the chain expires, in seconds since 1970."""
        return expires_at(self.chain) if self.chain else None

    def certificates(self) -> tuple[EncodedCertificate, ...]:
        """CERT payloads to send, leaf first; roots are left out, the peer has its own."""
        if not self.chain:
            return ((CertEncoding.RAW_PUBLIC_KEY, self.key.public.spki),)
        above = (certificate for certificate in self.chain[1:] if not certificate.self_issued)
        return tuple((CertEncoding.X509_SIGNATURE, c.der) for c in (self.chain[0], *above))

    def sign(
        self, octets: bytes, prf: int, peer_hashes: Collection[int] | None = None
    ) -> tuple[AuthMethod, bytes]:
        """Method and data of our AUTH payload over ``octets``.

        ``peer_hashes`` are the numbers of the peer's SIGNATURE_HASH_ALGORITHMS,
        None when it sent none. Raises :class:`AuthenticationFailed` when it
        accepts no signature that this key can make.
        """
        method, data = self.key.sign_auth(octets, peer_hashes)
        return AuthMethod(method), data


@dataclass(frozen=True, slots=True)
class Verifier:
    """Checks signatures by keys that ``trust`` vouches for.

    With ``names`` the certificate must be for one of these as well, whatever the
    other side calls itself: it was found by a name that is known beforehand.
    """

    trust: Trust
    names: tuple[Identity, ...] = ()

    def requests(self) -> tuple[EncodedCertificate, ...]:
        """CERTREQ payloads to send (RFC 7296 section 3.7, RFC 7670 section 3)."""
        found: list[EncodedCertificate] = []
        if self.trust.anchors or self.trust.pinned:
            found.append((CertEncoding.X509_SIGNATURE, self.trust.authority_hashes()))
        if self.trust.keys:
            found.append((CertEncoding.RAW_PUBLIC_KEY, b""))
        return tuple(found)

    def verify(
        self,
        method: int,
        data: bytes,
        octets: bytes,
        prf: int,
        identity: Identity,
        certificates: Sequence[EncodedCertificate] = (),
        at: float = 0.0,
    ) -> Authenticated:
        """Check an AUTH payload of the peer that calls itself ``identity``.

        ``certificates`` are its CERT payloads in order, ``at`` is wall-clock
        time in seconds since 1970. Raises :class:`AuthenticationFailed`.
        """
        if method == AuthMethod.SHARED_KEY:
            raise AuthenticationFailed(f"a shared secret instead of a signature of {identity}")
        usable = [
            (encoding, body)
            for encoding, body in certificates
            if encoding in (CertEncoding.X509_SIGNATURE, CertEncoding.RAW_PUBLIC_KEY)
        ]
        if not usable:
            return self._verify_known(method, data, octets, identity, at)
        # The first CERT payload holds the key of the signature (RFC 7296 section 3.6).
        if usable[0][0] == CertEncoding.RAW_PUBLIC_KEY:
            if self.names:
                raise AuthenticationFailed(f"raw public key of {identity}: it has no name")
            key = self._raw_key(usable[0][1], identity)
            return self._verify_key(method, data, octets, key)
        chain = [body for encoding, body in usable if encoding == CertEncoding.X509_SIGNATURE]
        return self._verify_chain(method, data, octets, identity, chain, at)

    def _verify_chain(
        self,
        method: int,
        data: bytes,
        octets: bytes,
        identity: Identity,
        chain: Sequence[bytes],
        at: float,
    ) -> Authenticated:
        verified = self.trust.verify(chain, at, identity)
        if self.names and not any(map(verified.certificate.names, self.names)):
            wanted = " or ".join(map(str, self.names))
            raise AuthenticationFailed(
                f"certificate of {verified.certificate} is for another name than {wanted}"
            )
        verified.certificate.public.verify_auth(method, data, octets)
        return Authenticated(method, f"certificate of {verified.certificate}", verified.expires)

    def _raw_key(self, spki: bytes, identity: Identity) -> PublicKey:
        for key in self.trust.keys:
            if key.spki == spki:
                return key
        try:
            fingerprint = load_public_key(spki).fingerprint
        except ValueError as error:
            raise AuthenticationFailed(f"raw public key of {identity}: {error}") from None
        raise AuthenticationFailed(f"raw public key {fingerprint} of {identity} is not known")

    def _verify_known(
        self, method: int, data: bytes, octets: bytes, identity: Identity, at: float
    ) -> Authenticated:
        """A peer that sends no certificate takes for granted that we have it."""
        reason = f"{identity} sends no certificate, and none is known here"
        tries: list[Certificate | PublicKey] = [
            known for known in self.trust.pinned if known.names(identity)
        ]
        tries += self.trust.keys
        for known in tries[:_TRIES_MAX]:
            try:
                if isinstance(known, Certificate):
                    return self._verify_chain(method, data, octets, identity, [known.der], at)
                return self._verify_key(method, data, octets, known)
            except AuthenticationFailed as error:
                reason = error.reason
        raise AuthenticationFailed(reason)

    def _verify_key(self, method: int, data: bytes, octets: bytes, key: PublicKey) -> Authenticated:
        key.verify_auth(method, data, octets)
        return Authenticated(method, f"raw public key {key.fingerprint}")
