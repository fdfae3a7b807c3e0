# SPDX-License-Identifier: GPL-2.0-only
"""X.509 certificates and revocation lists as IKE looks at them (RFC 5280, RFC 4945).

A :class:`Certificate` is read completely when it is made, so that what follows
meets no malformed extension. Whether one is believed is for ``trust`` to say.
Octets come in and go out: nothing here reads files.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from . import distinguished_name
from .identity import Identity
from .numbers import IdType
from .signatures import PublicKey

if TYPE_CHECKING:
    from cryptography import x509

#: Hash algorithms of certificate and revocation list signatures.
SIGNATURE_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})
_ED25519: Final = "1.3.101.112"

#: Extensions whose criticality is honoured (RFC 5280 section 4.2). Policies need
#: no more than to be known: no initial policy is demanded of a path here.
_KNOWN_EXTENSIONS: Final = frozenset(
    {
        "2.5.29.14",  # subjectKeyIdentifier
        "2.5.29.15",  # keyUsage
        "2.5.29.17",  # subjectAltName
        "2.5.29.18",  # issuerAltName
        "2.5.29.19",  # basicConstraints
        "2.5.29.30",  # nameConstraints
        "2.5.29.31",  # cRLDistributionPoints
        "2.5.29.32",  # certificatePolicies
        "2.5.29.35",  # authorityKeyIdentifier
        "2.5.29.37",  # extKeyUsage
        "2.5.29.54",  # inhibitAnyPolicy
    }
)


class CertificateError(ValueError):
    """Octets that are no certificate, or one of a kind that is never accepted."""


class NameKind(enum.Enum):
    """Kinds of names in certificates; OTHER is any that no rule here can compare."""

    DNS = "dns"
    EMAIL = "email"
    ADDRESS = "ip"
    DIRECTORY = "dirname"
    URI = "uri"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Name:
    """A general name; ``value`` is a text, an address or network, or the DER of a directory name.

    In a name constraint it stands for all that are below it.
    """

    kind: NameKind
    value: Any

    def __str__(self) -> str:
        if self.kind is NameKind.DIRECTORY:
            return distinguished_name.decode(self.value)
        return str(self.value)


def _seconds(owner: Any, name: str) -> float | None:
    """A time of a certificate or list; before version 42 the library had naive ones only."""
    value: datetime | None
    if hasattr(type(owner), f"{name}_utc"):
        value = getattr(owner, f"{name}_utc")
    else:
        value = getattr(owner, name)
        value = value.replace(tzinfo=UTC) if value else None
    return value.timestamp() if value else None


def _names(general: Iterable[Any]) -> tuple[Name, ...]:
    from cryptography import x509

    names = []
    for name in general:
        value = name.value
        if isinstance(name, x509.DNSName):
            names.append(Name(NameKind.DNS, value.lower().rstrip(".")))
        elif isinstance(name, x509.RFC822Name):
            names.append(Name(NameKind.EMAIL, value))
        elif isinstance(name, x509.IPAddress):
            names.append(Name(NameKind.ADDRESS, value))
        elif isinstance(name, x509.DirectoryName):
            names.append(Name(NameKind.DIRECTORY, value.public_bytes()))
        elif isinstance(name, x509.UniformResourceIdentifier):
            names.append(Name(NameKind.URI, value))
        else:
            names.append(Name(NameKind.OTHER, repr(value)))
    return tuple(names)


@dataclass(frozen=True, slots=True)
class _Extensions:
    """What the extensions of a certificate say."""

    authority: bool = False
    path_length: int | None = None
    key_usage: frozenset[str] | None = None
    extended_usage: frozenset[str] | None = None
    names: tuple[Name, ...] = ()
    permitted: tuple[Name, ...] = ()
    excluded: tuple[Name, ...] = ()
    key_id: bytes | None = None
    authority_key_id: bytes | None = None
    unknown_critical: tuple[str, ...] = ()


_KEY_USAGES: Final = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
)


def _extensions(extensions: Iterable[Any]) -> _Extensions:
    from cryptography import x509

    found: dict[str, Any] = {}
    unknown = []
    for extension in extensions:
        oid = extension.oid.dotted_string
        value = extension.value
        if extension.critical and oid not in _KNOWN_EXTENSIONS:
            unknown.append(oid)
        if isinstance(value, x509.BasicConstraints):
            found.update(authority=value.ca, path_length=value.path_length)
        elif isinstance(value, x509.KeyUsage):
            found["key_usage"] = frozenset(u for u in _KEY_USAGES if getattr(value, u))
        elif isinstance(value, x509.ExtendedKeyUsage):
            found["extended_usage"] = frozenset(usage.dotted_string for usage in value)
        elif isinstance(value, x509.SubjectAlternativeName):
            found["names"] = _names(value)
        elif isinstance(value, x509.NameConstraints):
            found["permitted"] = _names(value.permitted_subtrees or ())
            found["excluded"] = _names(value.excluded_subtrees or ())
        elif isinstance(value, x509.SubjectKeyIdentifier):
            found["key_id"] = value.digest
        elif isinstance(value, x509.AuthorityKeyIdentifier):
            found["authority_key_id"] = value.key_identifier
    return _Extensions(unknown_critical=tuple(unknown), **found)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate; equal when its octets are. Times are in seconds since 1970.

    ``subject`` and ``issuer`` are DER names, ``signature_hash`` is the hash of
    the issuer's signature (empty for Ed25519, "unknown" for what is not
    accepted), ``emails`` are addresses that stand in the subject.
    """

    der: bytes = field(repr=False)
    subject: bytes = field(compare=False)
    issuer: bytes = field(compare=False)
    serial: int = field(compare=False)
    not_before: float = field(compare=False)
    not_after: float = field(compare=False)
    public: PublicKey = field(compare=False)
    signature_hash: str = field(compare=False)
    extensions: _Extensions = field(compare=False)
    emails: tuple[Name, ...] = field(compare=False)
    loaded: x509.Certificate = field(repr=False, compare=False)

    @classmethod
    def parse(cls, der: bytes) -> Certificate:
        """Read one DER certificate. Raises :class:`CertificateError`."""
        from cryptography import x509

        try:
            return cls.wrap(x509.load_der_x509_certificate(der))
        except CertificateError:
            raise
        except Exception as error:
            # The library has a dozen classes of exceptions for malformed octets.
            raise CertificateError(f"certificate is malformed: {error}") from None

    @classmethod
    def wrap(cls, certificate: x509.Certificate) -> Certificate:
        """From a certificate of ``cryptography``. Raises :class:`CertificateError` and others."""
        from cryptography.hazmat.primitives.serialization import Encoding
        from cryptography.x509.oid import NameOID

        try:
            public = PublicKey.wrap(certificate.public_key())
        except ValueError as error:
            raise CertificateError(str(error)) from None
        not_before = _seconds(certificate, "not_valid_before")
        not_after = _seconds(certificate, "not_valid_after")
        if not_before is None or not_after is None:
            raise CertificateError("certificate without validity")
        if certificate.serial_number <= 0:
            raise CertificateError("certificate without a positive serial number")
        emails = certificate.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS)
        return cls(
            der=certificate.public_bytes(Encoding.DER),
            subject=certificate.subject.public_bytes(),
            issuer=certificate.issuer.public_bytes(),
            serial=certificate.serial_number,
            not_before=not_before,
            not_after=not_after,
            public=public,
            signature_hash=_signature_hash(certificate),
            extensions=_extensions(certificate.extensions),
            emails=tuple(Name(NameKind.EMAIL, str(email.value)) for email in emails),
            loaded=certificate,
        )

    @property
    def self_issued(self) -> bool:
        """Whether subject and issuer are the same name."""
        return self.subject == self.issuer

    @property
    def signature_accepted(self) -> bool:
        """Whether its signature is made with an accepted hash: SHA-1 is none."""
        return self.signature_hash in SIGNATURE_HASHES or self.signature_hash == ""

    def issued_by(self, authority: Certificate) -> bool:
        """Whether the key of ``authority`` has signed it, and the names agree."""
        from cryptography.exceptions import InvalidSignature

        try:
            self.loaded.verify_directly_issued_by(authority.loaded)
        except (InvalidSignature, ValueError, TypeError):
            return False
        return True

    def constrained_names(self) -> tuple[Name, ...]:
        """All names that constraints of an authority apply to (RFC 5280 section 4.2.1.10)."""
        names = self.extensions.names
        if not any(name.kind is NameKind.EMAIL for name in names):
            names += self.emails
        if self.subject != b"\x30\x00":
            names += (Name(NameKind.DIRECTORY, self.subject),)
        return names

    def names(self, identity: Identity) -> bool:
        """Whether it is a certificate for ``identity`` (RFC 4945 section 3.1, RFC 4877 7.3).

        Addresses, domain names and mail addresses must stand in subjectAltName,
        a distinguished name is the subject. Wildcards match nothing.
        """
        if identity.type == IdType.DER_ASN1_DN:
            return Identity(IdType.DER_ASN1_DN, self.subject).matches(identity)
        return any(
            owned is not None and owned.matches(identity)
            for owned in map(_identity, self.extensions.names)
        )

    def identities(self) -> tuple[Identity, ...]:
        """The identities it may be used for."""
        found = [identity for name in self.extensions.names if (identity := _identity(name))]
        if self.subject != b"\x30\x00":
            found.append(Identity(IdType.DER_ASN1_DN, self.subject))
        return tuple(found)

    def pem(self) -> bytes:
        """The certificate as PEM."""
        from cryptography.hazmat.primitives.serialization import Encoding

        return self.loaded.public_bytes(Encoding.PEM)

    def __str__(self) -> str:
        try:
            text = distinguished_name.decode(self.subject)
        except ValueError:
            text = ""
        return text or ", ".join(map(str, self.extensions.names)) or f"serial {self.serial:x}"


def _identity(name: Name) -> Identity | None:
    if name.kind is NameKind.DNS and "*" not in name.value:
        return Identity(IdType.FQDN, name.value.encode())
    if name.kind is NameKind.EMAIL:
        return Identity(IdType.RFC822_ADDR, name.value.encode())
    if name.kind is NameKind.ADDRESS and hasattr(name.value, "packed"):
        return Identity.of(name.value)
    return None


def _signature_hash(signed: Any) -> str:
    """The hash of a certificate's or list's signature, "unknown" if there is no telling."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        algorithm = signed.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return "unknown"
    if algorithm is not None:
        return str(algorithm.name)
    return "" if signed.signature_algorithm_oid.dotted_string == _ED25519 else "unknown"


def load_certificates(data: bytes) -> tuple[Certificate, ...]:
    """All certificates of a PEM file, or the one of a DER file.

    Raises :class:`CertificateError`, also when there is none.
    """
    if b"-----BEGIN" not in data:
        return (Certificate.parse(data),)
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificates(data)
        return tuple(Certificate.wrap(certificate) for certificate in found)
    except CertificateError:
        raise
    except Exception as error:
        raise CertificateError(f"certificate is malformed: {error}") from None


def expires_at(certificates: Sequence[Certificate]) -> float:
    """When the first of them expires, in seconds since 1970."""
    return min(certificate.not_after for certificate in certificates)


# --- revocation lists ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A certificate revocation list (RFC 5280 section 5); times in seconds since 1970.

    ``usable`` is False for what does not tell of all certificates of its issuer:
    delta and indirect lists, lists of some reasons, unknown critical extensions.
    """

    issuer: bytes
    this_update: float
    next_update: float | None
    signature_hash: str
    usable: bool
    authorities: bool
    users: bool
    loaded: x509.CertificateRevocationList = field(repr=False, compare=False)

    @classmethod
    def wrap(cls, revocations: x509.CertificateRevocationList) -> RevocationList:
        """From a list of ``cryptography``."""
        from cryptography import x509

        usable = authorities = users = True
        for extension in revocations.extensions:
            value = extension.value
            if isinstance(value, x509.IssuingDistributionPoint):
                usable = not (
                    value.indirect_crl
                    or value.only_some_reasons
                    or value.only_contains_attribute_certs
                )
                authorities = not value.only_contains_user_certs
                users = not value.only_contains_ca_certs
            elif extension.critical and extension.oid.dotted_string != "2.5.29.35":
                usable = False
                break
        return cls(
            revocations.issuer.public_bytes(),
            _seconds(revocations, "last_update") or 0.0,
            _seconds(revocations, "next_update"),
            _signature_hash(revocations),
            usable,
            authorities,
            users,
            revocations,
        )

    def tells_of(self, certificate: Certificate) -> bool:
        """Whether a certificate would stand in it, were it revoked."""
        if not self.usable or self.issuer != certificate.issuer:
            return False
        return self.authorities if certificate.extensions.authority else self.users

    def signed_by(self, authority: Certificate) -> bool:
        """Whether ``authority`` has signed it and may do so."""
        usage = authority.extensions.key_usage
        if usage is not None and "crl_sign" not in usage:
            return False
        if self.signature_hash not in SIGNATURE_HASHES | {""}:
            return False
        return self.loaded.is_signature_valid(authority.public.key)

    def revokes(self, certificate: Certificate) -> bool:
        """Whether the certificate stands in it."""
        entry = self.loaded.get_revoked_certificate_by_serial_number(certificate.serial)
        return entry is not None


def load_revocations(data: bytes) -> RevocationList:
    """A revocation list from PEM or DER octets. Raises :class:`CertificateError`."""
    from cryptography import x509

    load = x509.load_pem_x509_crl if b"-----BEGIN" in data else x509.load_der_x509_crl
    try:
        return RevocationList.wrap(load(data))
    except Exception as error:
        raise CertificateError(f"revocation list is malformed: {error}") from None
