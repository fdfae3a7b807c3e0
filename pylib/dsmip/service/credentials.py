# SPDX-License-Identifier: GPL-2.0-only
"""Secrets, keys and certificates as the commands make, read and judge them.

Whoever only runs with a shared secret never loads what is here.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ..ikev2.certificates import (
    Certificate,
    CertificateError,
    RevocationList,
    load_certificates,
    load_revocations,
)
from ..ikev2.identity import Identity
from ..ikev2.numbers import IdType
from ..ikev2.secret import psk_weakness
from ..ikev2.signatures import (
    AuthenticationFailed,
    KeyKind,
    PrivateKey,
    PublicKey,
    load_private_key,
    load_public_key,
)
from ..ikev2.trust import Trust
from . import printable
from .printable import Frame, Kind, PrintableError

DAY: Final = 86400.0
#: Certificates that end sooner are worth a warning.
EXPIRES_SOON: Final = 30 * DAY
SECRET_OCTETS: Final = 32
#: Of what the printable forms of secrets and keys hold.
FORMAT_VERSION: Final = 1
#: Kinds of keys that the commands make.
KINDS: Final = (KeyKind.P256.value, KeyKind.ED25519.value)

_SECRET_MAX: Final = 256
_COMMON_NAME_MAX: Final = 64
_PEM: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
#: Printed text, by its looks: with a mistake in it, it must not pass for a secret.
_GROUPS: Final = re.compile(
    r"\s*[0-9A-Za-z]{4,6}([-\s]+[0-9A-Za-z]{4,6}){3,}([-\s]+[0-9A-Za-z]{1,3})?\s*"
)
#: The same as QR codes hold it.
_COMPACT: Final = re.compile(r"\s*[0-9A-Z]{20,}\s*")
_SPACE: Final = b"\t\n\r"


class CredentialError(Exception):
    """A credential cannot be made, read or used; the text is for the operator."""


# --- shared secrets --------------------------------------------------------------


def new_secret(text: bool = False) -> bytes:
    """Return a new secret of 256 bits; as ``text`` it is base64url, for what takes only that."""
    made = secrets.token_bytes(SECRET_OCTETS)
    return base64.urlsafe_b64encode(made).rstrip(b"=") if text else made


def secret_text(secret: bytes) -> str:
    """Write a secret as ``psk`` of the configuration takes it, and charon too."""
    try:
        text = secret.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    if text.isprintable() and text and text == text.strip() and not text.startswith("0x"):
        return text
    return "0x" + secret.hex()


def _is_printed(text: str) -> bool:
    if _GROUPS.fullmatch(text):
        return True
    if not _COMPACT.fullmatch(text):
        return False
    try:
        printable.parse_frame(text)
    except PrintableError:
        return False
    return True


def read_secret(text: str) -> bytes:
    """Read a secret: printed groups, octets after 0x or 0s (base64), or the text itself.

    Raises ``CredentialError``.
    """
    plain = text.strip()
    if _is_printed(text):
        try:
            return printable.parse(text, Kind.SECRET, FORMAT_VERSION)
        except PrintableError as error:
            raise CredentialError(str(error)) from None
    try:
        if plain.startswith("0x"):
            found = bytes.fromhex(plain[2:])
        elif plain.startswith("0s"):
            found = base64.b64decode(plain[2:] + "=" * (-len(plain[2:]) % 4), validate=True)
        else:
            found = plain.encode()
    except ValueError:
        raise CredentialError("neither hexadecimal after 0x nor base64 after 0s") from None
    if not 0 < len(found) <= _SECRET_MAX:
        raise CredentialError(f"a secret has 1 to {_SECRET_MAX} octets")
    return found


# --- what a file holds -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Material:
    """What was read; ``certificates`` in the order in which they stood there."""

    secret: bytes = field(default=b"", repr=False)
    key: PrivateKey | None = None
    public: PublicKey | None = None
    certificates: tuple[Certificate, ...] = ()
    revocations: tuple[RevocationList, ...] = ()
    request: Any = None

    def merged(self, other: Material) -> Material:
        """Return both together. Raises ``CredentialError`` for two keys or two secrets."""
        if (self.key and other.key) or (self.secret and other.secret):
            raise CredentialError("more than one key was given")
        return Material(
            self.secret or other.secret,
            self.key or other.key,
            self.public or other.public,
            self.certificates + other.certificates,
            self.revocations + other.revocations,
            self.request or other.request,
        )

    def chain(self) -> tuple[Certificate, ...]:
        """Return the certificate of the key, then what has issued it, as far as it is there.

        Without a key the first certificate is taken for it. Raises
        ``CredentialError`` when no certificate is for the key.
        """
        rest = list(self.certificates)
        if not rest:
            return ()
        leaf: Certificate | None = rest[0]
        if self.key is not None:
            public = self.key.public
            leaf = next((one for one in rest if one.public == public), None)
        if leaf is None:
            raise CredentialError("the key and the certificate do not belong together")
        found = [leaf]
        while not found[-1].self_issued:
            above = (one for one in rest if one not in found and found[-1].issued_by(one))
            issuer = next(above, None)
            if issuer is None:
                break
            found.append(issuer)
        return tuple(found)


def inspect(data: bytes, password: bytes | None = None) -> Material:
    """Read PEM (any number of objects), DER, PKCS #12, printed text, or a secret as text.

    Raises ``CredentialError``.
    """
    try:
        if b"-----BEGIN" in data:
            return _from_pem(data, password)
        if _is_der(data):
            return _from_der(data, password)
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise CredentialError("neither PEM, DER, PKCS #12 nor text") from None
    except (CertificateError, AuthenticationFailed, ValueError) as error:
        raise CredentialError(str(error)) from None
    if "\n" in text.strip() and not _is_printed(text):
        raise CredentialError("a secret is one line of text; keys and certificates are PEM or DER")
    return _from_text(text)


def _is_der(data: bytes) -> bool:
    """Whether it can be one DER (or BER) sequence; printed text may start with the same octet."""
    return data[:1] == b"\x30" and not all(
        0x20 <= octet < 0x7F or octet in _SPACE for octet in data
    )


def _from_text(text: str) -> Material:
    if not _is_printed(text):
        return Material(secret=read_secret(text))
    try:
        frame = printable.parse_frame(text)
    except PrintableError as error:
        raise CredentialError(str(error)) from None
    if frame.kind is Kind.TOKEN:
        raise CredentialError('this is an enrolment token: use "dsmip enroll --token"')
    body = printable.parse(text, frame.kind, FORMAT_VERSION)
    if frame.kind is Kind.SECRET:
        return Material(secret=body)
    try:
        if frame.kind is Kind.PRIVATE_KEY:
            return Material(key=load_private_key(body))
        return Material(public=load_public_key(body))
    except ValueError as error:
        raise CredentialError(str(error)) from None


def _from_pem(data: bytes, password: bytes | None) -> Material:
    from cryptography import x509

    found = Material()
    for match in _PEM.finditer(data):
        block, label = match[0] + b"\n", match[1].decode()
        if label in ("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"):
            found = found.merged(Material(certificates=load_certificates(block)))
        elif label.endswith("PRIVATE KEY"):
            found = found.merged(Material(key=_private(block, password)))
        elif label == "PUBLIC KEY":
            found = found.merged(Material(public=load_public_key(block)))
        elif label == "X509 CRL":
            found = found.merged(Material(revocations=(load_revocations(block),)))
        elif label.endswith("CERTIFICATE REQUEST"):
            found = found.merged(Material(request=x509.load_pem_x509_csr(block)))
        elif label != "EC PARAMETERS":
            raise CredentialError(f"PEM of type {label!r:.60} is of no use here")
    if found == Material():
        raise CredentialError("PEM that has no end, or nothing in it")
    return found


def _private(data: bytes, password: bytes | None) -> PrivateKey:
    locked = b"ENCRYPTED" in data
    if locked and not password:
        raise CredentialError("the key is encrypted: give --password-file")
    try:
        return load_private_key(data, password if locked else None)
    except ValueError as error:
        if locked:
            raise CredentialError("the password does not open the key") from None
        raise CredentialError(f"the private key cannot be used: {error}") from None


def _from_der(data: bytes, password: bytes | None) -> Material:
    try:
        return Material(certificates=load_certificates(data))
    except CertificateError as error:
        first = error
    for load in (load_private_key, load_public_key):
        try:
            found = load(data)
        except ValueError:
            continue
        if isinstance(found, PrivateKey):
            return Material(key=found)
        return Material(public=found)
    return _from_pkcs12(data, password, first)


def _from_pkcs12(data: bytes, password: bytes | None, first: CertificateError) -> Material:
    from cryptography.hazmat.primitives.serialization import pkcs12

    try:
        key, leaf, others = pkcs12.load_key_and_certificates(data, password)
    except ValueError as error:
        if "password" in str(error).lower():
            raise CredentialError("PKCS #12: give the right password by --password-file") from None
        raise CredentialError(f"neither a key, nor PKCS #12, and: {first}") from None
    wrapped = [Certificate.wrap(one) for one in (leaf, *others) if one is not None]
    return Material(key=None if key is None else PrivateKey.wrap(key), certificates=tuple(wrapped))


# --- judging ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is wrong with a credential, and what will be soon."""

    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def judge(
    material: Material,
    now: float,
    identity: Identity | None = None,
    authorities: Sequence[Certificate] = (),
) -> Judgement:
    """Check what was read: key and certificate belong together, strength, time, name, chain."""
    faults: list[str] = []
    warnings: list[str] = []
    if material.secret:
        weakness = psk_weakness(material.secret)
        if weakness:
            faults.append(f"the secret is weak: {weakness}")
    try:
        chain = material.chain()
    except CredentialError as error:
        return Judgement((*faults, str(error)), ())
    for certificate in chain:
        faults += expired(certificate, now)
        warnings += expiring(certificate, now)
    if chain:
        leaf = chain[0]
        if not leaf.signature_accepted:
            faults.append(f"the certificate of {leaf} is signed with a weak hash")
        if identity is not None and not leaf.names(identity):
            faults.append(mismatch(leaf, identity))
        if leaf.extensions.authority:
            warnings.append(f"{leaf} is a certification authority: its key does not belong here")
        if authorities:
            trust = Trust(anchors=tuple(authorities), revocations=material.revocations)
            try:
                trust.verify([one.der for one in chain], now, None)
            except AuthenticationFailed as error:
                faults.append(str(error))
    return Judgement(tuple(dict.fromkeys(faults)), tuple(warnings))


def expired(certificate: Certificate, now: float) -> list[str]:
    """Say that a certificate is not valid at this time."""
    if now > certificate.not_after:
        return [f"the certificate of {certificate} expired on {date(certificate.not_after)}"]
    if now < certificate.not_before:
        return [
            f"the certificate of {certificate} is not valid before "
            f"{date(certificate.not_before)}, and here it is {date(now)}"
        ]
    return []


def expiring(certificate: Certificate, now: float) -> list[str]:
    """Say that a certificate ends within 30 days."""
    left = certificate.not_after - now
    if not 0 <= left < EXPIRES_SOON:
        return []
    days = "today" if left < DAY else f"in {left / DAY:.0f} days"
    return [f"the certificate of {certificate} expires {days}, on {date(certificate.not_after)}"]


def mismatch(certificate: Certificate, identity: Identity) -> str:
    """Say for whom a certificate is instead."""
    others = ", ".join(str(one) for one in certificate.identities()) or "nobody"
    return f"the certificate is for {others}, not for {identity}"


def date(at: float) -> str:
    """Write a day."""
    from time import gmtime, strftime

    return strftime("%Y-%m-%d", gmtime(at))


# --- names and requests ----------------------------------------------------------


def identity_of(text: str) -> Identity:
    """Read an identity that a certificate can hold. Raises ``CredentialError``."""
    try:
        found = Identity.parse(text)
    except ValueError as error:
        raise CredentialError(str(error)) from None
    if found.type in (IdType.FQDN, IdType.RFC822_ADDR) and not found.data.isascii():
        raise CredentialError(f"{text}: names in certificates are ASCII")
    return found


def subject_of(identity: Identity) -> str:
    """Return the subject for an identity in RFC 4514 form: itself, or a common name."""
    text = str(identity)
    if identity.type == IdType.DER_ASN1_DN:
        return text.removeprefix("dn:")
    if len(text) > _COMMON_NAME_MAX:
        return ""
    return "CN=" + re.sub(r'([,+"\\<>;=#])', r"\\\1", text)


def request_pem(key: PrivateKey, identity: Identity) -> bytes:
    """Make a certificate signing request (RFC 2986). Raises ``CredentialError``."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding

    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name.from_rfc4514_string(subject_of(identity))
    )
    names: list[x509.GeneralName] = []
    if identity.type == IdType.FQDN:
        names = [x509.DNSName(identity.data.decode("ascii"))]
    elif identity.type == IdType.RFC822_ADDR:
        names = [x509.RFC822Name(identity.data.decode("ascii"))]
    elif identity.address is not None:
        names = [x509.IPAddress(identity.address)]
    elif identity.type != IdType.DER_ASN1_DN:
        raise CredentialError(f"a certificate cannot hold the identity {identity}")
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    digest = None if key.kind is KeyKind.ED25519 else hashes.SHA256()
    return builder.sign(key.key, digest).public_bytes(Encoding.PEM)


def requested_key(request: Any) -> PublicKey:
    """Return the key of a signing request whose signature is right.

    Raises ``CredentialError``.
    """
    try:
        if not request.is_signature_valid:
            raise CredentialError("the signature of the request is wrong")
        return PublicKey.wrap(request.public_key())
    except ValueError as error:
        raise CredentialError(f"the request cannot be used: {error}") from None


def file_name(identity: str) -> str:
    """Return an identity as the name of a file."""
    plain = re.sub(r"[^A-Za-z0-9._@-]", "_", identity)
    return ("_" + plain[1:] if plain.startswith(".") else plain)[:128]


# --- printing --------------------------------------------------------------------


def frame_of(material: Material, secret: bool) -> Frame:
    """Return what is printed of a credential. Raises ``CredentialError``."""
    if material.secret and secret:
        return Frame(Kind.SECRET, FORMAT_VERSION, material.secret)
    if material.key and secret:
        return Frame(Kind.PRIVATE_KEY, FORMAT_VERSION, private_der(material.key))
    public = public_of(material)
    if public is None:
        raise CredentialError("a shared secret is nothing but secret: --secret shows it")
    return Frame(Kind.PUBLIC_KEY, FORMAT_VERSION, public.spki)


def public_of(material: Material) -> PublicKey | None:
    """Return the public key of whatever was read."""
    if material.key is not None:
        return material.key.public
    if material.public is not None:
        return material.public
    return material.certificates[0].public if material.certificates else None


def private_der(key: PrivateKey) -> bytes:
    """Return a private key as PKCS #8."""
    from cryptography.hazmat.primitives import serialization

    found: bytes = key.key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return found


def without_anchor(chain: Sequence[Certificate]) -> tuple[Certificate, ...]:
    """Return a chain without the self-signed end, which peers must know anyway."""
    if len(chain) > 1 and chain[-1].self_issued:
        return tuple(chain[:-1])
    return tuple(chain)


def pem(certificates: Iterable[Certificate]) -> bytes:
    """Return certificates as one PEM file."""
    return b"".join(certificate.pem() for certificate in certificates)


def described(material: Material, now: float) -> list[str]:
    """Say what was read, without secrets, a line for each thing."""
    lines = []
    if material.secret:
        lines.append(f"shared secret of {8 * len(material.secret)} bits")
    public = public_of(replace(material, certificates=()))
    if public is not None:
        what = "private key" if material.key else "public key"
        lines += [f"{what}, {public.kind.value}", f"  fingerprint {public.fingerprint}"]
    for one in material.certificates:
        lines.append(f"certificate of {one}, {one.public.kind.value}")
        lines.append(f"  serial {one.serial:x}")
        lines.append(f"  for {', '.join(map(str, one.identities()))}")
        state = "expired" if now > one.not_after else "valid"
        lines.append(f"  {state} from {date(one.not_before)} to {date(one.not_after)}")
    for revocations in material.revocations:
        until = revocations.next_update
        lines.append(
            f"revocation list of {date(revocations.this_update)}, "
            f"next {date(until) if until else 'unknown'}"
        )
    if material.request is not None:
        lines.append(f"request of {material.request.subject.rfc4514_string()}")
    return lines
