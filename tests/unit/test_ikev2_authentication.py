# SPDX-License-Identifier: GPL-2.0-only
"""AUTH payloads of every method, made, checked and refused."""

from __future__ import annotations

import hmac
import random
import subprocess
import sys
from base64 import b64encode

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric import rsa as rsa_keys
from dsmip.ikev2.authentication import (
    HASH_ALGORITHMS,
    AuthenticationFailed,
    EncodedCertificate,
    Psk,
    Signer,
    Verifier,
)
from dsmip.ikev2.certificates import Certificate
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.issuing import YEAR, issue
from dsmip.ikev2.numbers import AuthMethod, CertEncoding, HashAlgorithm, NotifyType, Prf
from dsmip.ikev2.secret import psk_weakness
from dsmip.ikev2.signatures import (
    SCHEMES,
    Family,
    KeyKind,
    PrivateKey,
    build_signature,
    der,
    generate_key,
    load_private_key,
    load_public_key,
    parse_algorithm,
    parse_signature,
    read_der,
)
from dsmip.ikev2.trust import Trust

from tests.unit.authorities import AT, BUS, ROOT, ROOT_KEY, TRUST, authority, key, leaf

OCTETS = b"RealMessage1 | Nr | prf(SK_pi, IDi')"
ME = Identity.parse(BUS)
PRF = Prf.HMAC_SHA2_256
ALL = frozenset(HASH_ALGORITHMS)
KINDS = [KeyKind.P256, KeyKind.P384, KeyKind.P521, KeyKind.ED25519, KeyKind.RSA2048]
X509 = CertEncoding.X509_SIGNATURE
RAW = CertEncoding.RAW_PUBLIC_KEY


def signer(kind: KeyKind = KeyKind.P256, *, pkcs1: bool = False) -> Signer:
    own = PrivateKey.wrap(key(BUS, kind).key, pkcs1=pkcs1)
    return Signer(own, (leaf(BUS, kind=kind),))


def check(
    method: int,
    data: bytes,
    certificates: tuple[EncodedCertificate, ...],
    *,
    trust: Trust = TRUST,
    identity: Identity = ME,
    octets: bytes = OCTETS,
) -> str:
    done = Verifier(trust).verify(method, data, octets, PRF, identity, certificates, AT)
    assert done.method == method
    return done.subject


def refuse(
    method: int,
    data: bytes,
    certificates: tuple[EncodedCertificate, ...],
    reason: str,
    **more: object,
) -> None:
    with pytest.raises(AuthenticationFailed, match=reason) as caught:
        check(method, data, certificates, **more)  # type: ignore[arg-type]
    assert caught.value.notify == NotifyType.AUTHENTICATION_FAILED
    assert caught.value.data == b""


# --- shared secrets -----------------------------------------------------------------


def test_shared_secret() -> None:
    """RFC 7296 section 2.15, by its formula."""
    psk = Psk(b"a secret")
    method, data = psk.sign(OCTETS, PRF)
    inner = hmac.digest(b"a secret", b"Key Pad for IKEv2", "sha256")
    assert (method, data) == (AuthMethod.SHARED_KEY, hmac.digest(inner, OCTETS, "sha256"))
    assert psk.verify(method, data, OCTETS, PRF, ME).method == AuthMethod.SHARED_KEY
    assert psk.certificates() == psk.requests() == ()
    assert "secret" not in repr(psk).removeprefix("Psk")


@pytest.mark.parametrize("size", [1, 64, 65, 255])
def test_secrets_of_any_size(size: int) -> None:
    psk = Psk(bytes(range(256))[:size])
    psk.verify(*psk.sign(OCTETS, Prf.HMAC_SHA2_512), OCTETS, Prf.HMAC_SHA2_512, ME)


def test_wrong_shared_secret() -> None:
    psk = Psk(b"a secret")
    method, data = psk.sign(OCTETS, PRF)
    for wrong in (data[:-1] + bytes((data[-1] ^ 1,)), data[:-1], data + b"\0", b""):
        with pytest.raises(AuthenticationFailed, match="another shared secret") as caught:
            psk.verify(method, wrong, OCTETS, PRF, ME)
        assert caught.value.notify == NotifyType.AUTHENTICATION_FAILED
    with pytest.raises(AuthenticationFailed):
        psk.verify(method, data, OCTETS + b"x", PRF, ME)
    with pytest.raises(AuthenticationFailed):
        Psk(b"another").verify(method, data, OCTETS, PRF, ME)
    with pytest.raises(ValueError, match="empty"):
        Psk(b"")


def test_method_must_be_the_one_demanded() -> None:
    method, data = Psk(b"a secret").sign(OCTETS, PRF)
    refuse(method, data, (), "instead of a signature")
    mine = signer()
    method, data = mine.sign(OCTETS, PRF, ALL)
    with pytest.raises(AuthenticationFailed, match="method 14 instead of a shared secret"):
        Psk(b"a secret").verify(method, data, OCTETS, PRF, ME, mine.certificates(), AT)
    refuse(AuthMethod.NULL, b"", mine.certificates(), "method 13")
    refuse(AuthMethod.DSS_SIGNATURE, data, mine.certificates(), "method 3")


# --- signatures with certificates ---------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_digital_signature(kind: KeyKind) -> None:
    """RFC 7427, RFC 8420."""
    mine = signer(kind)
    method, data = mine.sign(OCTETS, PRF, ALL)
    assert method == AuthMethod.DIGITAL_SIGNATURE
    assert check(method, data, mine.certificates()) == f"certificate of CN={BUS},O=Fleet"
    refuse(method, data, mine.certificates(), "signature is wrong", octets=OCTETS + b"x")
    broken = data[:-1] + bytes((data[-1] ^ 1,))
    refuse(method, broken, mine.certificates(), "signature is wrong")
    refuse(method, data[:-1], mine.certificates(), "signature is wrong")


@pytest.mark.parametrize("kind", KINDS[:3])
@pytest.mark.parametrize("algorithm", HASH_ALGORITHMS[:3])
def test_hash_is_one_of_the_peers(kind: KeyKind, algorithm: HashAlgorithm) -> None:
    mine = signer(kind)
    method, data = mine.sign(OCTETS, PRF, {HashAlgorithm.SHA1, algorithm})
    assert parse_signature(data)[0].hash is algorithm
    check(method, data, mine.certificates())


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        (KeyKind.P256, HashAlgorithm.SHA2_256),
        (KeyKind.P384, HashAlgorithm.SHA2_384),
        (KeyKind.P521, HashAlgorithm.SHA2_512),
        (KeyKind.ED25519, HashAlgorithm.IDENTITY),
        (KeyKind.RSA2048, HashAlgorithm.SHA2_256),
    ],
)
def test_hash_fits_the_key(kind: KeyKind, algorithm: HashAlgorithm) -> None:
    assert parse_signature(signer(kind).sign(OCTETS, PRF, ALL)[1])[0].hash is algorithm


def test_rsa_with_both_paddings() -> None:
    for pkcs1, family in ((False, Family.RSA_PSS), (True, Family.RSA_PKCS1)):
        mine = signer(KeyKind.RSA2048, pkcs1=pkcs1)
        for algorithm in HASH_ALGORITHMS[:3]:
            method, data = mine.sign(OCTETS, PRF, {algorithm})
            assert parse_signature(data)[0] is SCHEMES[family, algorithm]
            check(method, data, mine.certificates())


def test_peer_that_can_check_nothing_of_ours() -> None:
    with pytest.raises(AuthenticationFailed, match="none of them for a key of kind ecdsa-p256"):
        signer().sign(OCTETS, PRF, {HashAlgorithm.SHA1, 77})
    with pytest.raises(AuthenticationFailed, match="none of them for a key of kind ed25519"):
        signer(KeyKind.ED25519).sign(OCTETS, PRF, {HashAlgorithm.SHA2_256})
    with pytest.raises(AuthenticationFailed, match="Ed25519 needs it"):
        signer(KeyKind.ED25519).sign(OCTETS, PRF, None)


@pytest.mark.parametrize(
    ("kind", "method", "size"),
    [
        (KeyKind.P256, 9, 64),
        (KeyKind.P384, 10, 96),
        (KeyKind.P521, 11, 132),
        (KeyKind.RSA2048, 1, 256),
    ],
)
def test_methods_before_rfc_7427(kind: KeyKind, method: int, size: int) -> None:
    mine = signer(kind)
    for hashes_of_peer in (None, ()):
        made, data = mine.sign(OCTETS, PRF, hashes_of_peer)
        assert (made, len(data)) == (method, size)
        check(made, data, mine.certificates())
    refuse(method, data, mine.certificates(), "is wrong", octets=b"")
    refuse(method, data[:-1], mine.certificates(), "ECDSA signature of|RSA signature is wrong")
    refuse(method, bytes(size), mine.certificates(), "is wrong")
    refuse(method, b"", mine.certificates(), "ECDSA signature of|RSA signature is wrong")


def test_methods_belong_to_their_keys() -> None:
    mine = signer(KeyKind.P256)
    method, data = mine.sign(OCTETS, PRF, None)
    refuse(AuthMethod.ECDSA_SHA384_P384, data, mine.certificates(), "method 10 by a key")
    refuse(AuthMethod.RSA_SIGNATURE, data, mine.certificates(), "RSA signature is wrong")
    other = signer(KeyKind.P384)
    refuse(method, data, other.certificates(), "method 9 by a key of kind ecdsa-p384")
    _, digital = signer(KeyKind.RSA2048).sign(OCTETS, PRF, ALL)
    refuse(14, digital, mine.certificates(), "RSASSA-PSS .* by a key of kind ecdsa-p256")
    _, digital = mine.sign(OCTETS, PRF, ALL)
    rsa = signer(KeyKind.RSA2048)
    refuse(14, digital, rsa.certificates(), "ECDSA .* by a key of kind rsa-2048")


def test_rsa_signature_with_sha1_is_refused() -> None:
    mine = signer(KeyKind.RSA2048)
    old = key(BUS, KeyKind.RSA2048).key.sign(OCTETS, padding.PKCS1v15(), hashes.SHA1())
    refuse(AuthMethod.RSA_SIGNATURE, old, mine.certificates(), "hash is not SHA-2")
    sha1_with_rsa = bytes.fromhex("300d06092a864886f70d0101050500")
    wrapped = bytes((len(sha1_with_rsa),)) + sha1_with_rsa + old
    refuse(14, wrapped, mine.certificates(), "is not accepted")


def test_chain_goes_along_without_its_root() -> None:
    one, one_key = authority("One", ROOT, ROOT_KEY)
    own = leaf(BUS, one, one_key)
    mine = Signer(key(BUS), (own, one, ROOT))
    assert mine.certificates() == ((X509, own.der), (X509, one.der))
    assert mine.expires == own.not_after
    check(*mine.sign(OCTETS, PRF, ALL), mine.certificates())
    refuse(*mine.sign(OCTETS, PRF, ALL), mine.certificates()[:1], "no trusted authority")


def test_the_first_certificate_signs() -> None:
    mine = signer()
    other = leaf("tram-3")
    sent = ((X509, other.der), *mine.certificates())
    refuse(*mine.sign(OCTETS, PRF, ALL), sent, "is not for")
    refuse(
        *mine.sign(OCTETS, PRF, ALL), sent, "signature is wrong", identity=Identity.parse("tram-3")
    )


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (lambda: leaf(BUS, at=AT - 2 * YEAR), "has expired"),
        (lambda: leaf(BUS, at=AT + 2 * YEAR), "not valid yet"),
        (lambda: leaf(BUS, identities=[Identity.parse("tram-3")]), "is not for"),
        (lambda: leaf(BUS, *authority("Other")), "no trusted authority"),
    ],
)
def test_bad_certificates_with_good_signatures(certificate, reason: str) -> None:  # type: ignore[no-untyped-def]
    mine = Signer(key(BUS), (certificate(),))
    refuse(*mine.sign(OCTETS, PRF, ALL), mine.certificates(), reason)


def test_identity_of_another_is_refused() -> None:
    mine = signer()
    refuse(
        *mine.sign(OCTETS, PRF, ALL),
        mine.certificates(),
        "is not for tram-3",
        identity=Identity.parse("tram-3"),
    )


def test_key_and_certificate_must_fit() -> None:
    with pytest.raises(ValueError, match="another key"):
        Signer(key("x"), (leaf(BUS),))


def test_expiry_is_reported() -> None:
    mine = signer()
    done = Verifier(TRUST).verify(
        *mine.sign(OCTETS, PRF, ALL), OCTETS, PRF, ME, mine.certificates(), AT
    )
    assert done.expires == AT + YEAR


def test_requests() -> None:
    assert Verifier(TRUST).requests() == ((X509, TRUST.authority_hashes()),)
    assert Verifier(Trust(keys=(key(BUS).public,))).requests() == ((RAW, b""),)
    assert Verifier(Trust()).requests() == ()


# --- raw public keys ----------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_raw_public_key(kind: KeyKind) -> None:
    """RFC 7670."""
    mine = Signer(key(BUS, kind))
    trust = Trust(keys=(key("x").public, mine.key.public))
    sent = mine.certificates()
    assert sent == ((RAW, mine.key.public.spki),)
    assert mine.expires is None
    auth = mine.sign(OCTETS, PRF, ALL)
    assert check(*auth, sent, trust=trust) == f"raw public key {mine.key.public.fingerprint}"
    refuse(*auth, sent, "is not known")
    refuse(*auth, ((RAW, key("x").public.spki),), "signature|by a key", trust=trust)
    refuse(*auth, ((RAW, b"junk"),), "raw public key of", trust=trust)
    # Without a CERT payload the keys we have are tried.
    assert check(*auth, (), trust=trust)


def test_weak_raw_public_key() -> None:
    weak = rsa_keys.generate_private_key(65537, 1024).public_key()
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    spki = weak.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    refuse(14, b"\1\1\1", ((RAW, spki),), "RSA key of 1024 bits")


def pinned() -> Certificate:
    own = key(BUS)
    return issue(own.public, own, subject=f"CN={BUS}", identities=[ME], at=AT)


def test_pinned_certificate_need_not_be_sent() -> None:
    own = pinned()
    mine = Signer(key(BUS), (own,))
    auth = mine.sign(OCTETS, PRF, ALL)
    trust = Trust(pinned=(own,))
    assert check(*auth, (), trust=trust) == f"certificate of CN={BUS}"
    assert check(*auth, mine.certificates(), trust=trust)
    refuse(*auth, (), "none is known here", trust=trust, identity=Identity.parse("tram-3"))
    refuse(*auth, (), "none is known here")
    refuse(*auth, ((CertEncoding.CRL, b"x"), (CertEncoding.HASH_AND_URL, b"y")), "none is known")


# --- the coding of method 14 --------------------------------------------------------


def test_identifiers_of_rfc_7427() -> None:
    """Its appendix A, and RFC 8420."""
    known = {
        (Family.RSA_PKCS1, HashAlgorithm.SHA2_256): "300d06092a864886f70d01010b0500",
        (Family.RSA_PKCS1, HashAlgorithm.SHA2_384): "300d06092a864886f70d01010c0500",
        (Family.RSA_PKCS1, HashAlgorithm.SHA2_512): "300d06092a864886f70d01010d0500",
        (Family.ECDSA, HashAlgorithm.SHA2_256): "300a06082a8648ce3d040302",
        (Family.ECDSA, HashAlgorithm.SHA2_384): "300a06082a8648ce3d040303",
        (Family.ECDSA, HashAlgorithm.SHA2_512): "300a06082a8648ce3d040304",
        (Family.ED25519, HashAlgorithm.IDENTITY): "300506032b6570",
        (Family.RSA_PSS, HashAlgorithm.SHA2_256): (
            "304106092a864886f70d01010a3034a00f300d06096086480165030402010500"
            "a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120"
        ),
    }
    for kind, octets in known.items():
        assert SCHEMES[kind].identifier.hex() == octets
        assert parse_algorithm(bytes.fromhex(octets)) is SCHEMES[kind]


def pss(*fields: str) -> bytes:
    """An AlgorithmIdentifier of RSASSA-PSS with these parameters."""
    parameters = der(0x30, *map(bytes.fromhex, fields))
    return der(0x30, bytes.fromhex("06092a864886f70d01010a"), parameters)


HASH = "a00f300d06096086480165030402010500"
HASH_384 = "a00f300d06096086480165030402020500"
HASH_BARE = "a00d300b0609608648016503040201"
HASH_SHA1 = "a009300706052b0e03021a"
MASK = "a11c301a06092a864886f70d010108300d06096086480165030402010500"
MASK_BARE = "a11a301806092a864886f70d010108300b0609608648016503040201"
SALT = "a203020120"


@pytest.mark.parametrize(
    "fields",
    [(HASH, MASK, SALT), (HASH_BARE, MASK_BARE, SALT), (HASH, MASK, SALT, "a303020101")],
)
def test_explicit_pss_parameters(fields: tuple[str, ...]) -> None:
    scheme = parse_algorithm(pss(*fields))
    assert (scheme.family, scheme.hash, scheme.salt) == (
        Family.RSA_PSS,
        HashAlgorithm.SHA2_256,
        32,
    )
    mine = signer(KeyKind.RSA2048)
    data = build_signature(scheme, mine.key.sign(scheme, OCTETS))
    check(14, data, mine.certificates())


@pytest.mark.parametrize(
    ("identifier", "reason"),
    [
        (pss(), "not all explicit"),
        (der(0x30, bytes.fromhex("06092a864886f70d01010a")), "without parameters"),
        (der(0x30, bytes.fromhex("06092a864886f70d01010a0500")), "without parameters"),
        (pss(HASH, MASK), "not all explicit"),
        (pss(HASH, SALT), "not all explicit"),
        (pss(MASK, SALT), "not all explicit"),
        (pss(HASH, MASK, SALT, "a303020102"), "not all explicit"),
        (pss(HASH_SHA1, MASK, SALT), "hash that is not accepted"),
        (pss(HASH_384, MASK, SALT), "two hash algorithms"),
        (pss(HASH, "a10f300d06096086480165030402010500", SALT), "without MGF1"),
        (pss(HASH, MASK, "a203020114"), "salt"),
        (pss(HASH, MASK, "a203020100"), "salt"),
        (pss(HASH, MASK, "a2050203000020"), "salt"),
        (pss(HASH, MASK, "a2020500"), "not one DER element"),
        (pss(HASH, MASK, SALT)[:-1], "truncated"),
        (bytes.fromhex("300d06092a864886f70d0101050500"), "is not accepted"),  # SHA-1
        (bytes.fromhex("300b06092a864886f70d01010b"), "is not accepted"),  # no NULL
        (bytes.fromhex("300906072a8648ce3d0401"), "is not accepted"),  # ECDSA, SHA-1
        (bytes.fromhex("300506032b6571"), "is not accepted"),  # Ed448
        (b"\x30\x00", "is not accepted"),
        (b"\x30\x80\0\0", "malformed"),
        (b"\x30\x81\x05\x06\x03\x2b\x65\x70", "not minimal"),
        (b"\x1f\x01", "malformed"),
        (b"\x30", "malformed"),
    ],
)
def test_algorithms_that_are_refused(identifier: bytes, reason: str) -> None:
    with pytest.raises(AuthenticationFailed, match=reason):
        parse_algorithm(identifier)
    with pytest.raises(AuthenticationFailed, match=reason):
        parse_signature(bytes((len(identifier),)) + identifier + b"signature")


@pytest.mark.parametrize("data", ["", "00", "0030", "0a300a06082a8648ce3d04", "02 3000"])
def test_truncated_digital_signatures(data: str) -> None:
    with pytest.raises(AuthenticationFailed, match="without algorithm or signature"):
        parse_signature(bytes.fromhex(data))


def test_long_der_lengths() -> None:
    for size in (0, 127, 128, 255, 256, 65536):
        assert list(read_der(der(4, bytes(size)))) == [(4, bytes(size))]


@pytest.mark.fuzz
def test_random_auth_data_never_raises_anything_else() -> None:
    draw = random.Random(7427)
    mine = signer(KeyKind.P256)
    _, data = mine.sign(OCTETS, PRF, ALL)
    for _ in range(800):
        broken = bytearray(data)
        for _ in range(draw.randrange(1, 4)):
            broken[draw.randrange(len(broken))] = draw.randrange(256)
        broken = broken[: draw.choice((len(broken), draw.randrange(len(broken) + 1)))]
        if broken == data:
            continue
        with pytest.raises(AuthenticationFailed):
            check(draw.choice((1, 9, 14, 14, 14)), bytes(broken), mine.certificates())


# --- keys ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_keys_survive_a_file(kind: KeyKind) -> None:
    own = key(BUS, kind)
    assert load_private_key(own.pem()).public == own.public
    assert load_private_key(own.pem(b"pw"), b"pw").public == own.public
    assert load_public_key(own.public.pem()) == load_public_key(own.public.spki) == own.public
    assert own.kind is kind
    assert "key=" not in repr(own)


def test_files_that_hold_no_key() -> None:
    own = key(BUS)
    for data, password in (
        (b"", None),
        (b"junk", None),
        (own.public.pem(), None),
        (own.pem(b"pw"), None),
        (own.pem(b"pw"), b"other"),
        (own.pem(), b"pw"),
        (own.pem()[:100], None),
    ):
        with pytest.raises(ValueError):  # noqa: PT011
            load_private_key(data, password)
    for data in (b"", b"junk", own.pem()):
        with pytest.raises(ValueError):  # noqa: PT011
            load_public_key(data)


def test_generated_keys_differ() -> None:
    assert generate_key(KeyKind.ED25519).public != generate_key(KeyKind.ED25519).public


def test_x509_and_tls_are_loaded_only_when_needed() -> None:
    """A router with shared secrets must not pay for them in memory."""
    code = (
        "import sys; from dsmip.ikev2 import authentication, eap_tls, issuing, radius, trust;"
        "print(*({'cryptography.x509', 'ssl', 'OpenSSL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.split() == []


# --- weak secrets -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        (b"", "empty"),
        (b"short", "5 octets"),
        (b"strongswan-shared-secret", "strongswan"),
        (b"MySecretPassword2024", "password|mysecret"),
        (b"correct horse battery staple", "worth"),
        (b"Passw0rd!Passw0rd!", "repeats"),
        (b"0123456789abcdef0123456789abcdef", "repeats"),
        (b"abcdefghijklmnopqrstuvwxyz", "worth"),
        (b"19700101123456789012", "worth"),
        (bytes(32), "repeats"),
        (bytes(31) + b"\1", "few different"),
    ],
)
def test_weak_secrets(secret: bytes, reason: str) -> None:
    found = psk_weakness(secret)
    assert found
    assert any(word in found for word in reason.split("|"))


def test_random_secrets_are_not_weak() -> None:
    draw = random.Random(7296)
    for _ in range(200):
        octets = draw.randbytes(32)
        for secret in (octets, octets[:16], octets.hex().encode(), b64encode(octets)):
            assert psk_weakness(secret) is None
