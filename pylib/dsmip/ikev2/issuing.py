# SPDX-License-Identifier: GPL-2.0-only
"""Making certificates and revocation lists, for enrolment of routers and for tests.

A home agent's operator needs no more than one authority of his own: ``issue``
makes it, and the certificates below it. All times are wall-clock times in
seconds since 1970, passed in.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from .certificates import Certificate, Name, NameKind
from .errors import LocalError
from .identity import Identity
from .numbers import IdType
from .signatures import KeyKind, PrivateKey, PublicKey

if TYPE_CHECKING:
    from cryptography import x509

#: A certificate may be used this long before it was made: clocks of routers are late.
BACKDATED: Final = 3600.0
YEAR: Final = 365 * 86400.0
#: Extended key usages of certificates made here: IKE, and both sides of EAP-TLS.
USAGES: Final = ("1.3.6.1.5.5.7.3.17", "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2")


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)


def _digest(key: PrivateKey) -> Any:
    from cryptography.hazmat.primitives import hashes

    if key.kind is KeyKind.ED25519:
        return None
    if key.kind is KeyKind.P384:
        return hashes.SHA384()
    return hashes.SHA512() if key.kind is KeyKind.P521 else hashes.SHA256()


def _subject(text: str) -> x509.Name:
    from cryptography import x509

    return x509.Name.from_rfc4514_string(text) if text else x509.Name([])


def _general(identity: Identity) -> x509.GeneralName | None:
    from cryptography import x509

    if identity.type == IdType.FQDN:
        return x509.DNSName(identity.data.decode("ascii"))
    if identity.type == IdType.RFC822_ADDR:
        return x509.RFC822Name(identity.data.decode("ascii"))
    if identity.address is not None:
        return x509.IPAddress(identity.address)
    if identity.type == IdType.DER_ASN1_DN:
        return None
    raise ValueError(f"a certificate cannot hold the identity {identity}")


def _subtree(name: Name) -> x509.GeneralName:
    from cryptography import x509

    if name.kind is NameKind.DNS:
        return x509.DNSName(name.value)
    if name.kind is NameKind.EMAIL:
        return x509.RFC822Name(name.value)
    if name.kind is NameKind.ADDRESS:
        return x509.IPAddress(name.value)
    if name.kind is NameKind.URI:
        return x509.UniformResourceIdentifier(name.value)
    if name.kind is NameKind.DIRECTORY:
        return x509.DirectoryName(_subject(name.value))
    raise ValueError(f"a name constraint cannot hold names of kind {name.kind.value}")


def issue(
    public: PublicKey,
    signer: PrivateKey,
    authority: Certificate | None = None,
    *,
    subject: str = "",
    identities: Sequence[Identity] = (),
    at: float,
    lifetime: float = YEAR,
    ca: bool = False,
    path_length: int | None = None,
    permitted: Sequence[Name] = (),
    excluded: Sequence[Name] = (),
    usages: Collection[str] | None = USAGES,
) -> Certificate:
    """Make a certificate for the key ``public``, signed by ``signer``.

    Without ``authority`` it is self-signed: ``signer`` is then the key itself.
    ``subject`` is a name as in RFC 4514 (``CN=bus-17,O=Fleet``), ``identities``
    become subjectAltName. With ``ca`` it is an authority, whose names below may
    be limited by ``permitted`` and ``excluded``; the value of a directory name is
    in RFC 4514 form there. The validity never exceeds that of the authority.
    Raises ``ValueError`` for names that no certificate can hold and
    ``LocalError`` when the keys do not fit.
    """
    from cryptography import x509

    expected = authority.public if authority else public
    if signer.public != expected:
        raise LocalError("the signing key is not that of the authority")
    if authority and not authority.extensions.authority:
        raise LocalError(f"{authority} is no certification authority")
    names = [general for identity in identities if (general := _general(identity))]
    if not subject and not names:
        raise ValueError("a certificate needs a subject or an identity")
    end = at + lifetime
    if authority:
        end = min(end, authority.not_after)
    name = _subject(subject)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(authority.loaded.subject if authority else name)
        .public_key(public.key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_time(at - BACKDATED))
        .not_valid_after(_time(end))
        .add_extension(x509.BasicConstraints(ca, path_length if ca else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public.key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(expected.key), critical=False
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=not ca,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=ca,
                crl_sign=ca,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    if names:
        # Critical when there is no subject (RFC 5280 section 4.2.1.6).
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not subject)
    if usages and not ca:
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([x509.ObjectIdentifier(usage) for usage in usages]),
            critical=False,
        )
    if ca and (permitted or excluded):
        builder = builder.add_extension(
            x509.NameConstraints(
                [_subtree(name) for name in permitted] or None,
                [_subtree(name) for name in excluded] or None,
            ),
            critical=True,
        )
    return Certificate.wrap(builder.sign(signer.key, _digest(signer)))


def revoke(
    authority: Certificate,
    signer: PrivateKey,
    serials: Collection[int],
    *,
    at: float,
    lifetime: float = 30 * 86400.0,
    number: int = 1,
) -> bytes:
    """Make a revocation list of ``authority`` as PEM; it lists ``serials``, all of them.

    Raises ``LocalError`` when ``signer`` is not the key of ``authority``.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    if signer.public != authority.public:
        raise LocalError("the signing key is not that of the authority")
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.loaded.subject)
        .last_update(_time(at))
        .next_update(_time(at + lifetime))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public.key),
            critical=False,
        )
    )
    for serial in sorted(serials):
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(serial)
            .revocation_date(_time(at))
            .build()
        )
    return builder.sign(signer.key, _digest(signer)).public_bytes(Encoding.PEM)
