# SPDX-License-Identifier: GPL-2.0-only
"""Keys and signatures of AUTH payloads (RFC 7296 section 3.8, RFC 7427, RFC 8420).

SHA-1 is neither made nor accepted, RSA keys are 2048 bits or more (RFC 8247
section 3). Nothing here reads files: keys come as PEM or DER octets.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from .errors import RemoteError
from .numbers import AuthMethod, HashAlgorithm, NotifyType

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hashes import HashAlgorithm as Digest

RSA_BITS_MIN: Final = 2048
#: Verification time grows with the square of the size.
RSA_BITS_MAX: Final = 8192


class AuthenticationFailed(RemoteError):
    """The other side is not who it says it is: AUTHENTICATION_FAILED.

    ``reason`` is for the log: on the wire it would help an attacker.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason, NotifyType.AUTHENTICATION_FAILED)


# --- DER -----------------------------------------------------------------------------


def der(tag: int, *parts: bytes) -> bytes:
    """One DER element."""
    body = b"".join(parts)
    size = len(body)
    if size < 0x80:
        return bytes((tag, size)) + body
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + body


def read_der(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (tag, contents) of the DER elements in ``data``. Raises ``ValueError``."""
    position = 0
    while position < len(data):
        header = data[position : position + 2]
        if len(header) < 2 or header[0] & 0x1F == 0x1F:
            raise ValueError("DER element without tag or length")
        position += 2
        size = header[1]
        if size >= 0x80:
            octets = data[position : position + (size & 0x7F)]
            if not 1 <= len(octets) <= 4 or len(octets) != size & 0x7F:
                raise ValueError("DER length is not definite")
            position += len(octets)
            size = int.from_bytes(octets, "big")
            if size < 0x80 or octets[0] == 0:
                raise ValueError("DER length is not minimal")
        if position + size > len(data):
            raise ValueError("DER element is truncated")
        yield header[0], data[position : position + size]
        position += size


def one_der(data: bytes, tag: int) -> bytes:
    """The contents of ``data``, one element with ``tag``. Raises ``ValueError``."""
    elements = list(read_der(data))
    if len(elements) != 1 or elements[0][0] != tag:
        raise ValueError(f"not one DER element {tag:#x}")
    return elements[0][1]


# --- signature schemes ---------------------------------------------------------------


class Family(enum.Enum):
    """How a signature is made from a hash."""

    RSA_PKCS1 = "RSASSA-PKCS1-v1_5"
    RSA_PSS = "RSASSA-PSS"
    ECDSA = "ECDSA"
    ED25519 = "Ed25519"


@dataclass(frozen=True, slots=True)
class Scheme:
    """A signature algorithm with its hash and its DER AlgorithmIdentifier."""

    family: Family
    hash: HashAlgorithm
    identifier: bytes
    salt: int = 0

    def __str__(self) -> str:
        return f"{self.family.value} with {self.hash.name}"


_SHA2: Final = {
    HashAlgorithm.SHA2_256: "608648016503040201",
    HashAlgorithm.SHA2_384: "608648016503040202",
    HashAlgorithm.SHA2_512: "608648016503040203",
}
_DIGEST_SIZE: Final = {
    HashAlgorithm.SHA2_256: 32,
    HashAlgorithm.SHA2_384: 48,
    HashAlgorithm.SHA2_512: 64,
}
_OID_PSS: Final = bytes.fromhex("2a864886f70d01010a")
_OID_MGF1: Final = bytes.fromhex("2a864886f70d010108")
_NULL: Final = der(5)


def _oid(text: str) -> bytes:
    return der(6, bytes.fromhex(text))


def _pss(algorithm: HashAlgorithm) -> Scheme:
    digest = der(0x30, _oid(_SHA2[algorithm]), _NULL)
    salt = _DIGEST_SIZE[algorithm]
    parameters = der(
        0x30,
        der(0xA0, digest),
        der(0xA1, der(0x30, der(6, _OID_MGF1), digest)),
        der(0xA2, der(2, bytes((salt,)))),
    )
    return Scheme(Family.RSA_PSS, algorithm, der(0x30, der(6, _OID_PSS), parameters), salt)


def _schemes() -> Iterator[Scheme]:
    rsa = {
        HashAlgorithm.SHA2_256: "2a864886f70d01010b",
        HashAlgorithm.SHA2_384: "2a864886f70d01010c",
        HashAlgorithm.SHA2_512: "2a864886f70d01010d",
    }
    ecdsa = {
        HashAlgorithm.SHA2_256: "2a8648ce3d040302",
        HashAlgorithm.SHA2_384: "2a8648ce3d040303",
        HashAlgorithm.SHA2_512: "2a8648ce3d040304",
    }
    for algorithm, oid in rsa.items():
        yield Scheme(Family.RSA_PKCS1, algorithm, der(0x30, _oid(oid), _NULL))
    for algorithm, oid in ecdsa.items():
        yield Scheme(Family.ECDSA, algorithm, der(0x30, _oid(oid)))
    for algorithm in _SHA2:
        yield _pss(algorithm)
    yield Scheme(Family.ED25519, HashAlgorithm.IDENTITY, der(0x30, _oid("2b6570")))


#: Everything that is made and accepted, by family and hash.
SCHEMES: Final = {(scheme.family, scheme.hash): scheme for scheme in _schemes()}
_BY_IDENTIFIER: Final = {scheme.identifier: scheme for scheme in SCHEMES.values()}


def parse_algorithm(identifier: bytes) -> Scheme:
    """An AlgorithmIdentifier to its scheme. Raises :class:`AuthenticationFailed`."""
    scheme = _BY_IDENTIFIER.get(identifier)
    if scheme:
        return scheme
    try:
        parts = list(read_der(one_der(identifier, 0x30)))
        if parts and parts[0] == (6, _OID_PSS):
            return _parse_pss(identifier, parts[1:])
    except ValueError as error:
        raise AuthenticationFailed(f"signature algorithm is malformed: {error}") from None
    raise AuthenticationFailed(f"signature algorithm {identifier.hex()} is not accepted")


def _parse_pss(identifier: bytes, parameters: list[tuple[int, bytes]]) -> Scheme:
    # Absent fields mean SHA-1 (RFC 4055 section 3.1), so all of them must be there.
    if len(parameters) != 1 or parameters[0][0] != 0x30:
        raise ValueError("RSASSA-PSS without parameters")
    fields = dict(read_der(parameters[0][1]))
    trailer = fields.pop(0xA3, None)
    if set(fields) != {0xA0, 0xA1, 0xA2} or trailer not in (None, der(2, b"\1")):
        raise ValueError("RSASSA-PSS parameters are not all explicit")
    algorithm = _parse_digest(fields[0xA0])
    mask = list(read_der(one_der(fields[0xA1], 0x30)))
    if len(mask) != 2 or mask[0] != (6, _OID_MGF1):
        raise ValueError("RSASSA-PSS without MGF1")
    if _parse_digest(der(*mask[1])) is not algorithm:
        raise ValueError("RSASSA-PSS with two hash algorithms")
    salt = one_der(fields[0xA2], 2)
    if salt != bytes((_DIGEST_SIZE[algorithm],)):
        raise ValueError("RSASSA-PSS salt is not of the size of the hash")
    return Scheme(Family.RSA_PSS, algorithm, identifier, salt[0])


def _parse_digest(identifier: bytes) -> HashAlgorithm:
    parts = list(read_der(one_der(identifier, 0x30)))
    # The NULL may be missing (RFC 4055 section 2.1).
    if parts and parts[0][0] == 6 and parts[1:] in ([], [(5, b"")]):
        for algorithm, oid in _SHA2.items():
            if parts[0][1].hex() == oid:
                return algorithm
    raise ValueError("RSASSA-PSS with a hash that is not accepted")


def build_signature(scheme: Scheme, signature: bytes) -> bytes:
    """AUTH data of method 14 (RFC 7427 section 3)."""
    return bytes((len(scheme.identifier),)) + scheme.identifier + signature


def parse_signature(data: bytes) -> tuple[Scheme, bytes]:
    """AUTH data of method 14. Raises :class:`AuthenticationFailed`."""
    size = data[0] if data else 0
    if size == 0 or 1 + size >= len(data):
        raise AuthenticationFailed("digital signature without algorithm or signature")
    return parse_algorithm(data[1 : 1 + size]), data[1 + size :]


# --- keys ----------------------------------------------------------------------------


class KeyKind(enum.Enum):
    """Kinds of signature keys; the value is their name in configuration and commands."""

    P256 = "ecdsa-p256"
    P384 = "ecdsa-p384"
    P521 = "ecdsa-p521"
    ED25519 = "ed25519"
    RSA2048 = "rsa-2048"
    RSA3072 = "rsa-3072"
    RSA4096 = "rsa-4096"
    RSA = "rsa"


_CURVES: Final = {"secp256r1": KeyKind.P256, "secp384r1": KeyKind.P384, "secp521r1": KeyKind.P521}
_RSA_BITS: Final = {2048: KeyKind.RSA2048, 3072: KeyKind.RSA3072, 4096: KeyKind.RSA4096}
#: ECDSA without RFC 7427: method, hash and octets of r and s (RFC 4754 section 7).
_ECDSA_METHODS: Final = {
    KeyKind.P256: (AuthMethod.ECDSA_SHA256_P256, HashAlgorithm.SHA2_256, 32),
    KeyKind.P384: (AuthMethod.ECDSA_SHA384_P384, HashAlgorithm.SHA2_384, 48),
    KeyKind.P521: (AuthMethod.ECDSA_SHA512_P521, HashAlgorithm.SHA2_512, 66),
}
_ORDER: Final = (HashAlgorithm.SHA2_256, HashAlgorithm.SHA2_384, HashAlgorithm.SHA2_512)


def _kind(key: Any) -> KeyKind:
    """The kind of a public key of ``cryptography``. Raises ``ValueError``."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ed25519.Ed25519PublicKey):
        return KeyKind.ED25519
    if isinstance(key, ec.EllipticCurvePublicKey):
        kind = _CURVES.get(key.curve.name)
        if kind is None:
            raise ValueError(f"keys on curve {key.curve.name} are not accepted")
        return kind
    if isinstance(key, rsa.RSAPublicKey):
        if not RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
            raise ValueError(
                f"RSA key of {key.key_size} bits; {RSA_BITS_MIN} to {RSA_BITS_MAX} are accepted"
            )
        return _RSA_BITS.get(key.key_size, KeyKind.RSA)
    raise ValueError(f"keys of type {type(key).__name__} are not accepted")


def _digest(algorithm: HashAlgorithm) -> Digest:
    from cryptography.hazmat.primitives import hashes

    digests: dict[HashAlgorithm, Callable[[], Digest]] = {
        HashAlgorithm.SHA2_256: hashes.SHA256,
        HashAlgorithm.SHA2_384: hashes.SHA384,
        HashAlgorithm.SHA2_512: hashes.SHA512,
    }
    return digests[algorithm]()


def _arguments(scheme: Scheme) -> tuple[Any, ...]:
    """What ``cryptography`` wants after the signed octets."""
    from cryptography.hazmat.primitives.asymmetric import ec, padding

    if scheme.family is Family.ED25519:
        return ()
    digest = _digest(scheme.hash)
    if scheme.family is Family.ECDSA:
        return (ec.ECDSA(digest),)
    if scheme.family is Family.RSA_PKCS1:
        return (padding.PKCS1v15(), digest)
    return (padding.PSS(padding.MGF1(digest), scheme.salt), digest)


def _family_fits(family: Family, kind: KeyKind) -> bool:
    if kind is KeyKind.ED25519:
        return family is Family.ED25519
    if kind in _ECDSA_METHODS:
        return family is Family.ECDSA
    return family in (Family.RSA_PKCS1, Family.RSA_PSS)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key; equal when its DER SubjectPublicKeyInfo is."""

    spki: bytes
    kind: KeyKind
    key: Any = field(repr=False, compare=False)

    @classmethod
    def wrap(cls, key: Any) -> PublicKey:
        """From a key of ``cryptography``. Raises ``ValueError`` for what is not accepted."""
        from cryptography.hazmat.primitives import serialization

        kind = _kind(key)
        spki = key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return cls(spki, kind, key)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the SubjectPublicKeyInfo, in hexadecimal."""
        return hashlib.sha256(self.spki).hexdigest()

    def pem(self) -> bytes:
        """The SubjectPublicKeyInfo as PEM."""
        from cryptography.hazmat.primitives import serialization

        data: bytes = self.key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return data

    def verify(self, scheme: Scheme, signature: bytes, octets: bytes) -> None:
        """Check one signature. Raises :class:`AuthenticationFailed`."""
        from cryptography.exceptions import InvalidSignature

        if not _family_fits(scheme.family, self.kind):
            raise AuthenticationFailed(f"{scheme} by a key of kind {self.kind.value}")
        try:
            self.key.verify(signature, octets, *_arguments(scheme))
        except InvalidSignature:
            raise AuthenticationFailed(f"signature is wrong ({scheme})") from None

    def verify_auth(self, method: int, data: bytes, octets: bytes) -> None:
        """Check AUTH data of any signature method. Raises :class:`AuthenticationFailed`."""
        if method == AuthMethod.DIGITAL_SIGNATURE:
            scheme, signature = parse_signature(data)
            self.verify(scheme, signature, octets)
        elif method == AuthMethod.RSA_SIGNATURE:
            self._verify_rsa(data, octets)
        elif (classic := _ECDSA_METHODS.get(self.kind)) and method == classic[0]:
            _, algorithm, size = classic
            if len(data) != 2 * size:
                raise AuthenticationFailed(f"ECDSA signature of {len(data)} octets")
            from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

            numbers = (int.from_bytes(data[:size], "big"), int.from_bytes(data[size:], "big"))
            signature = encode_dss_signature(*numbers)
            self.verify(SCHEMES[Family.ECDSA, algorithm], signature, octets)
        else:
            raise AuthenticationFailed(
                f"authentication method {method} by a key of kind {self.kind.value}"
            )

    def _verify_rsa(self, data: bytes, octets: bytes) -> None:
        # Method 1 does not name the hash; SHA-1, its default, is not accepted.
        for algorithm in _ORDER:
            try:
                self.verify(SCHEMES[Family.RSA_PKCS1, algorithm], data, octets)
            except AuthenticationFailed:
                continue
            return
        raise AuthenticationFailed("RSA signature is wrong, or its hash is not SHA-2")


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A private signature key. ``pkcs1`` makes an RSA key sign without PSS."""

    public: PublicKey
    key: Any = field(repr=False, compare=False)
    pkcs1: bool = False

    @classmethod
    def wrap(cls, key: Any, *, pkcs1: bool = False) -> PrivateKey:
        """From a key of ``cryptography``. Raises ``ValueError`` for what is not accepted."""
        return cls(PublicKey.wrap(key.public_key()), key, pkcs1)

    @property
    def kind(self) -> KeyKind:
        """Its kind."""
        return self.public.kind

    def pem(self, password: bytes | None = None) -> bytes:
        """PKCS #8 as PEM, encrypted when a password is given."""
        from cryptography.hazmat.primitives import serialization

        protection: serialization.KeySerializationEncryption = (
            serialization.BestAvailableEncryption(password)
            if password
            else serialization.NoEncryption()
        )
        data: bytes = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection
        )
        return data

    def sign(self, scheme: Scheme, octets: bytes) -> bytes:
        """One signature."""
        signature: bytes = self.key.sign(octets, *_arguments(scheme))
        return signature

    def sign_auth(self, octets: bytes, peer_hashes: Collection[int] | None) -> tuple[int, bytes]:
        """Method and data of an AUTH payload.

        Method 14 when the peer sent SIGNATURE_HASH_ALGORITHMS (``peer_hashes``),
        the older ones else. Raises :class:`AuthenticationFailed` when the peer
        can check no signature by this key.
        """
        if not peer_hashes:
            return self._sign_classic(octets)
        scheme = self._scheme(peer_hashes)
        return AuthMethod.DIGITAL_SIGNATURE, build_signature(scheme, self.sign(scheme, octets))

    def _scheme(self, peer_hashes: Collection[int]) -> Scheme:
        if self.kind is KeyKind.ED25519:
            family, wanted = Family.ED25519, [HashAlgorithm.IDENTITY]
        elif classic := _ECDSA_METHODS.get(self.kind):
            family, wanted = Family.ECDSA, [classic[1], *_ORDER]
        else:
            family = Family.RSA_PKCS1 if self.pkcs1 else Family.RSA_PSS
            wanted = list(_ORDER)
        for algorithm in wanted:
            if algorithm in peer_hashes:
                return SCHEMES[family, algorithm]
        raise AuthenticationFailed(
            f"the peer accepts hash algorithms {sorted(peer_hashes)}, "
            f"none of them for a key of kind {self.kind.value}"
        )

    def _sign_classic(self, octets: bytes) -> tuple[int, bytes]:
        if self.kind is KeyKind.ED25519:
            raise AuthenticationFailed("the peer does not know RFC 7427, Ed25519 needs it")
        classic = _ECDSA_METHODS.get(self.kind)
        if classic is None:
            scheme = SCHEMES[Family.RSA_PKCS1, HashAlgorithm.SHA2_256]
            return AuthMethod.RSA_SIGNATURE, self.sign(scheme, octets)
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        method, algorithm, size = classic
        r, s = decode_dss_signature(self.sign(SCHEMES[Family.ECDSA, algorithm], octets))
        return method, r.to_bytes(size, "big") + s.to_bytes(size, "big")


def generate_key(kind: KeyKind) -> PrivateKey:
    """A new key pair."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if kind is KeyKind.ED25519:
        return PrivateKey.wrap(ed25519.Ed25519PrivateKey.generate())
    curves = {
        KeyKind.P256: ec.SECP256R1(),
        KeyKind.P384: ec.SECP384R1(),
        KeyKind.P521: ec.SECP521R1(),
    }
    curve = curves.get(kind)
    if curve:
        return PrivateKey.wrap(ec.generate_private_key(curve))
    bits = next((bits for bits, value in _RSA_BITS.items() if value is kind), 3072)
    return PrivateKey.wrap(rsa.generate_private_key(65537, bits))


def load_private_key(
    data: bytes, password: bytes | None = None, *, pkcs1: bool = False
) -> PrivateKey:
    """A private key from PEM or DER octets. Raises ``ValueError``."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    load = (
        serialization.load_pem_private_key
        if b"-----BEGIN" in data
        else serialization.load_der_private_key
    )
    try:
        return PrivateKey.wrap(load(data, password), pkcs1=pkcs1)
    except (TypeError, UnsupportedAlgorithm) as error:
        # TypeError: a password too many or too few.
        raise ValueError(f"private key: {error}") from None


def load_public_key(data: bytes) -> PublicKey:
    """A public key from a SubjectPublicKeyInfo, PEM or DER. Raises ``ValueError``."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    load = (
        serialization.load_pem_public_key
        if b"-----BEGIN" in data
        else serialization.load_der_public_key
    )
    try:
        return PublicKey.wrap(load(data))
    except UnsupportedAlgorithm as error:
        raise ValueError(f"public key: {error}") from None
