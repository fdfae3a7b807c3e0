# SPDX-License-Identifier: GPL-2.0-only
"""Revocation lists; loading, making and showing certificates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from dsmip.ikev2.certificates import (
    Certificate,
    CertificateError,
    RevocationList,
    load_certificates,
    load_revocations,
)
from dsmip.ikev2.errors import LocalError
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.issuing import issue, revoke
from dsmip.ikev2.signatures import (
    PublicKey,
)
from dsmip.ikev2.trust import (
    Revocation,
    Trust,
)

from tests.unit.authorities import (
    AT,
    BUS,
    CA_FLAG,
    ROOT,
    ROOT_KEY,
    RSA_ROOT,
    RSA_ROOT_KEY,
    TRUST,
    authority,
    believe,
    forge,
    key,
    key_usage,
    leaf,
    refuse,
    self_made,
    with_sha1,
)

# --- revocation ---------------------------------------------------------------------


def with_list(
    serials: Sequence[int] = (),
    policy: Revocation = Revocation.STRICT,
    at: float = AT,
    lifetime: float = 86400.0,
) -> Trust:
    data = revoke(ROOT, ROOT_KEY, serials, at=at, lifetime=lifetime)
    return Trust(anchors=(ROOT,), revocations=(load_revocations(data),), revocation=policy)


@pytest.mark.parametrize("policy", [Revocation.STRICT, Revocation.LENIENT])
def test_revoked(policy: Revocation) -> None:
    own = leaf(BUS)
    refuse([own], "is revoked", trust=with_list([own.serial, 1], policy))
    believe([own], trust=with_list([own.serial + 1], policy))


def test_revocation_can_be_off() -> None:
    own = leaf(BUS)
    believe([own], trust=with_list([own.serial], Revocation.OFF))


def test_missing_list() -> None:
    own = leaf(BUS)
    believe([own], trust=Trust(anchors=(ROOT,)))
    refuse(
        [own],
        "no current revocation list",
        trust=Trust(anchors=(ROOT,), revocation=Revocation.STRICT),
    )


def test_expired_list_still_revokes() -> None:
    own = leaf(BUS)
    old = {"at": AT - 86401, "lifetime": 86400.0}
    refuse([own], "no current revocation list", trust=with_list(**old))
    believe([own], trust=with_list(policy=Revocation.LENIENT, **old))
    refuse([own], "is revoked", trust=with_list([own.serial], Revocation.LENIENT, **old))


def test_list_from_the_future() -> None:
    refuse([leaf(BUS)], "no current revocation list", trust=with_list(at=AT + 60))


def test_list_of_another_key_says_nothing() -> None:
    own = leaf(BUS)
    fake_key = key("Fake")
    fake = issue(fake_key.public, fake_key, subject="CN=Root", at=AT, ca=True)
    forged = load_revocations(revoke(fake, fake_key, [own.serial], at=AT))
    believe([own], trust=Trust(anchors=(ROOT,), revocations=(forged,)))
    refuse(
        [own],
        "no current",
        trust=Trust(anchors=(ROOT,), revocations=(forged,), revocation=Revocation.STRICT),
    )


def test_revoked_intermediate() -> None:
    one, one_key = authority("One", ROOT, ROOT_KEY)
    own = leaf(BUS, one, one_key)
    refuse([own, one], "CN=One is revoked", trust=with_list([one.serial], Revocation.LENIENT))
    # Strictly, the intermediate's own list is wanted too.
    refuse(
        [own, one],
        "no current revocation list tells of the certificate of CN=bus",
        trust=with_list(),
    )
    lists = (*with_list().revocations, load_revocations(revoke(one, one_key, [], at=AT)))
    believe([own, one], trust=replace(with_list(), revocations=lists))


def made_list(
    *extensions: tuple[x509.ExtensionType, bool], digest: object = None
) -> RevocationList:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ROOT.loaded.subject)
        .last_update(datetime.fromtimestamp(AT - 60, UTC))
        .next_update(datetime.fromtimestamp(AT + 60, UTC))
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    signed = builder.sign(ROOT_KEY.key, hashes.SHA256())  # type: ignore[arg-type]
    return load_revocations(signed.public_bytes(Encoding.DER))


def distribution(**more: bool) -> tuple[x509.IssuingDistributionPoint, bool]:
    values = {
        "full_name": [x509.UniformResourceIdentifier("http://crl.example.net/")],
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**(values | more)), True  # type: ignore[arg-type]


def test_lists_that_do_not_tell_of_everybody() -> None:
    own = leaf(BUS)
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0")
    assert made_list(distribution()).tells_of(own)
    assert made_list(distribution(only_contains_user_certs=True)).tells_of(own)
    assert not made_list(distribution(only_contains_ca_certs=True)).tells_of(own)
    assert made_list(distribution(only_contains_ca_certs=True)).tells_of(ROOT)
    assert not made_list(distribution(indirect_crl=True)).tells_of(own)
    assert not made_list((x509.DeltaCRLIndicator(1), True)).tells_of(own)
    assert not made_list((unknown, True)).tells_of(own)
    assert made_list((unknown, False)).tells_of(own)
    assert not made_list((unknown, True), distribution()).tells_of(own)
    assert not made_list(distribution(), (unknown, True)).tells_of(own)


def test_list_signed_with_sha1_says_nothing() -> None:
    good = revoke(RSA_ROOT, RSA_ROOT_KEY, [1], at=AT)
    assert load_revocations(good).signed_by(RSA_ROOT)
    octets = x509.load_pem_x509_crl(good).public_bytes(Encoding.DER)
    assert not load_revocations(with_sha1(octets)).signed_by(RSA_ROOT)


def test_list_of_an_authority_that_may_not_sign_lists() -> None:
    quiet = forge(
        ROOT_KEY, ROOT_KEY, "CN=Root", "CN=Root", [CA_FLAG, key_usage(key_cert_sign=True)]
    )
    assert not made_list().signed_by(Certificate.wrap(quiet))


def test_octets_that_are_no_list() -> None:
    for data in (b"", b"\x30\x00", b"-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n"):
        with pytest.raises(CertificateError):
            load_revocations(data)


# --- loading and issuing ------------------------------------------------------------


def test_files_of_one_and_of_many() -> None:
    own = leaf(BUS)
    assert load_certificates(own.der) == (own,)
    assert load_certificates(own.pem() + b"text\n" + ROOT.pem()) == (own, ROOT)
    for data in (b"", b"-----BEGIN CERTIFICATE-----\n", own.pem()[:300]):
        with pytest.raises(CertificateError):
            load_certificates(data)


def test_weak_certificate_in_a_file_is_named() -> None:
    with pytest.raises(CertificateError, match="RSA key of 1024 bits"):
        load_certificates(self_made(rsa.generate_private_key(65537, 1024)))


def test_certificates_show_their_subject() -> None:
    assert str(leaf(BUS)) == f"CN={BUS},O=Fleet"
    assert str(leaf(BUS, subject="")) == BUS
    assert "der" not in repr(leaf(BUS))


def test_certificate_without_subject() -> None:
    own = leaf(BUS, subject="")
    assert believe([own])
    assert own.loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical


def test_issuing_refuses_what_makes_no_sense() -> None:
    own = key(BUS)
    with pytest.raises(LocalError, match="not that of the authority"):
        issue(own.public, own, ROOT, subject="CN=x", at=AT)
    with pytest.raises(LocalError, match="not that of the authority"):
        issue(own.public, ROOT_KEY, subject="CN=x", at=AT)
    with pytest.raises(LocalError, match="no certification authority"):
        issue(key("x").public, own, leaf(BUS), subject="CN=x", at=AT)
    with pytest.raises(ValueError, match="needs a subject"):
        issue(own.public, own, at=AT)
    with pytest.raises(ValueError, match="cannot hold"):
        issue(own.public, own, identities=[Identity.parse("keyid:x")], at=AT)
    with pytest.raises(LocalError, match="not that of the authority"):
        revoke(ROOT, own, [], at=AT)


def test_anchors_in_a_request_are_hashes_of_keys() -> None:
    assert len(TRUST.authority_hashes()) == 20
    digest = x509.SubjectKeyIdentifier.from_public_key(ROOT.public.key).digest
    assert len(digest) == 20
    assert PublicKey.wrap(ROOT.public.key) == ROOT.public
