# SPDX-License-Identifier: GPL-2.0-only
"""Keys and certificates for tests, all of one wall-clock time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from dsmip.ikev2.certificates import (
    Certificate,
)
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.issuing import YEAR, issue
from dsmip.ikev2.signatures import (
    AuthenticationFailed,
    KeyKind,
    PrivateKey,
    der,
    generate_key,
    one_der,
    read_der,
)
from dsmip.ikev2.trust import (
    Trust,
    Verified,
)

#: The wall-clock time of all tests.
AT = 1_800_000_000.0


_keys: dict[tuple[str, KeyKind], PrivateKey] = {}


def key(name: str, kind: KeyKind = KeyKind.P256) -> PrivateKey:
    """The key of that name: the same at each call."""
    if (name, kind) not in _keys:
        _keys[name, kind] = generate_key(kind)
    return _keys[name, kind]


def authority(
    name: str,
    parent: Certificate | None = None,
    parent_key: PrivateKey | None = None,
    kind: KeyKind = KeyKind.P256,
    **more: Any,
) -> tuple[Certificate, PrivateKey]:
    """A certification authority and its key."""
    own = key(name, kind)
    options: dict[str, Any] = {"at": AT, "lifetime": 10 * YEAR, "ca": True} | more
    certificate = issue(own.public, parent_key or own, parent, subject=f"CN={name}", **options)
    return certificate, own


ROOT, ROOT_KEY = authority("Root")
TRUST = Trust(anchors=(ROOT,))


def leaf(
    name: str,
    issuer: Certificate = ROOT,
    issuer_key: PrivateKey = ROOT_KEY,
    kind: KeyKind = KeyKind.P256,
    **more: Any,
) -> Certificate:
    """A certificate for the identity ``name`` with the key of that name and kind."""
    options: dict[str, Any] = {
        "at": AT,
        "subject": f"CN={name},O=Fleet",
        "identities": [Identity.parse(name)],
    } | more
    return issue(key(name, kind).public, issuer_key, issuer, **options)


def forge(
    own: PrivateKey,
    signer: PrivateKey,
    issuer: str,
    subject: str,
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
    digest: Any = None,
) -> x509.Certificate:
    """What no authority should issue: any names, extensions as (value, critical), any hash."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name.from_rfc4514_string(subject))
        .issuer_name(x509.Name.from_rfc4514_string(issuer))
        .public_key(own.public.key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(AT - 60, UTC))
        .not_valid_after(datetime.fromtimestamp(AT + 86400, UTC))
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(signer.key, digest or hashes.SHA256())


BUS = "bus-17.example.net"
CA_FLAG = (x509.BasicConstraints(True, None), True)
SAN = (x509.SubjectAlternativeName([x509.DNSName(BUS)]), False)


def believe(
    sent: Sequence[Certificate | bytes], identity: str | None = BUS, trust: Trust = TRUST
) -> Verified:
    octets = [each if isinstance(each, bytes) else each.der for each in sent]
    return trust.verify(octets, AT, Identity.parse(identity) if identity else None)


def refuse(
    sent: Sequence[Certificate | bytes],
    reason: str,
    identity: str | None = BUS,
    trust: Trust = TRUST,
) -> None:
    with pytest.raises(AuthenticationFailed, match=reason) as caught:
        believe(sent, identity, trust)
    assert caught.value.notify == 24
    assert caught.value.data == b""


def key_usage(**more: bool) -> tuple[x509.KeyUsage, bool]:
    names = (
        "digital_signature content_commitment key_encipherment data_encipherment "
        "key_agreement key_cert_sign crl_sign encipher_only decipher_only"
    )
    return x509.KeyUsage(**(dict.fromkeys(names.split(), False) | more)), True


RSA_ROOT, RSA_ROOT_KEY = authority("RSA root", kind=KeyKind.RSA2048)


def with_sha1(signed: bytes) -> bytes:
    """A certificate or list signed by the RSA root, with SHA-1 instead of SHA-256."""
    signed = signed.replace(
        bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
    )
    (tag, contents), _, _ = read_der(one_der(signed, 0x30))
    body = der(tag, contents)
    signature = RSA_ROOT_KEY.key.sign(body, padding.PKCS1v15(), hashes.SHA1())
    algorithm = der(0x30, bytes.fromhex("06092a864886f70d0101050500"))
    return der(0x30, body, algorithm, der(3, b"\0" + signature))


def self_made(private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """A self-signed certificate of a key that the rest of the code would not load."""
    name = x509.Name.from_rfc4514_string(f"CN={BUS}")
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(5)
        .not_valid_before(datetime.fromtimestamp(AT - 60, UTC))
        .not_valid_after(datetime.fromtimestamp(AT + 60, UTC))
    )
    return builder.sign(private, hashes.SHA256()).public_bytes(Encoding.DER)
