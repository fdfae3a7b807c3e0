# SPDX-License-Identifier: GPL-2.0-only
"""A certification authority in a folder, large enough for a fleet.

``ca.key`` and ``ca.crt`` are its own, ``ca.crl`` its revocation list, and
``issued/`` has every certificate that it made, by serial number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from ..ikev2.certificates import (
    Certificate,
    CertificateError,
    Name,
    NameKind,
    load_certificates,
    load_revocations,
)
from ..ikev2.errors import LocalError
from ..ikev2.identity import Identity
from ..ikev2.issuing import issue, revoke
from ..ikev2.signatures import KeyKind, PrivateKey, PublicKey, generate_key, load_private_key
from . import files
from .credentials import DAY, CredentialError, expired, identity_of, subject_of

DEFAULT_FOLDER: Final = "/etc/dsmip"
#: Days that things are valid unless something else is asked for.
CA_DAYS: Final = 3650
CERTIFICATE_DAYS: Final = 730
CRL_DAYS: Final = 90
_SERIAL: Final = re.compile(r"[0-9a-fA-F:]{8,}")


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority that can issue."""

    folder: Path
    certificate: Certificate
    key: PrivateKey

    @classmethod
    def create(
        cls,
        folder: str | Path,
        name: str,
        now: float,
        days: int = CA_DAYS,
        kind: KeyKind = KeyKind.P256,
        permitted: Sequence[str] = (),
        force: bool = False,
    ) -> Authority:
        """Make one with its first, empty revocation list.

        ``permitted`` limits the names below it: a domain, a mail domain with @
        in front, a network. Raises ``CredentialError`` and ``FileError``.
        """
        where = Path(folder)
        files.folder(where)
        key = generate_key(kind)
        certificate = _made(
            key.public,
            key,
            None,
            subject=subject_of(identity_of(f"dn:CN={name}" if "=" not in name else f"dn:{name}")),
            now=now,
            days=days,
            permitted=[constraint(text) for text in permitted],
        )
        files.write(where / "ca.key", key.pem(), files.SECRET, force)
        files.write(where / "ca.crt", certificate.pem(), files.PUBLIC, force)
        made = cls(where, certificate, key)
        # Revoked certificates of another key mean nothing to this one.
        files.write(where / "ca.crl", made._list((), now, 1, CRL_DAYS), files.PUBLIC, force=True)
        return made

    @classmethod
    def load(cls, folder: str | Path, password: bytes | None = None) -> Authority:
        """Read the authority of a folder. Raises ``CredentialError`` and ``FileError``."""
        where = Path(folder)
        if not (where / "ca.key").exists():
            raise CredentialError(
                f"there is no authority in {where}: make one with "
                f'"dsmip keys generate --ca", or name its folder with --directory'
            )
        try:
            (certificate,) = load_certificates(files.read(where / "ca.crt"))
            key = load_private_key(files.read(where / "ca.key"), password)
        except (CertificateError, ValueError) as error:
            raise CredentialError(f"the authority in {where} cannot be used: {error}") from None
        if key.public != certificate.public:
            raise CredentialError(f"{where}: ca.key is not the key of ca.crt")
        return cls(where, certificate, key)

    def issue(
        self,
        identity: Identity,
        public: PublicKey,
        now: float,
        days: int = CERTIFICATE_DAYS,
        also: Sequence[Identity] = (),
    ) -> Certificate:
        """Make and record a certificate. Raises ``CredentialError`` and ``FileError``.

        ``also`` are other names that it is for. It ends when the authority does, at the latest.
        """
        for problem in expired(self.certificate, now):
            raise CredentialError(problem)
        made = _made(
            public,
            self.key,
            self.certificate,
            subject=subject_of(identity),
            identities=(identity, *also),
            now=now,
            days=days,
        )
        self._check_names(made)
        files.folder(self.folder / "issued")
        record = self.folder / "issued" / f"{made.serial:x}.crt"
        files.write(record, made.pem(), files.PUBLIC)
        return made

    def _check_names(self, made: Certificate) -> None:
        from ..ikev2.signatures import AuthenticationFailed
        from ..ikev2.trust import Trust

        try:
            Trust(anchors=(self.certificate,)).verify([made.der], made.not_before + 1, None)
        except AuthenticationFailed as error:
            raise CredentialError(str(error)) from None

    def issued(self) -> Iterator[Certificate]:
        """Yield all that it made and still has a record of."""
        for path in sorted((self.folder / "issued").glob("*.crt")):
            try:
                yield from load_certificates(files.read(path))
            except CertificateError as error:
                raise CredentialError(f"{path}: {error}") from None

    def revoke(self, wanted: Iterable[str], now: float, days: int = CRL_DAYS) -> list[Certificate]:
        """Write the revocation list anew with these identities or serial numbers added.

        Returns what was newly revoked. Raises ``CredentialError`` when one is not
        known, and ``FileError``.
        """
        known = list(self.issued())
        serials, number = self._revoked()
        fresh: list[Certificate] = []
        for text in wanted:
            found = [one for one in known if _is_meant(one, text)]
            if not found:
                raise CredentialError(f"no certificate of {text} was issued here")
            fresh += [one for one in found if one.serial not in serials and one not in fresh]
        # Who has expired needs no entry (RFC 5280 section 3.3), and lists stay short.
        over = {one.serial for one in known if one.not_after + DAY < now}
        serials = (serials | {one.serial for one in fresh}) - over
        written = self._list(serials, now, number + 1, days)
        files.write(self.folder / "ca.crl", written, files.PUBLIC, force=True)
        return fresh

    def _revoked(self) -> tuple[set[int], int]:
        from cryptography import x509

        path = self.folder / "ca.crl"
        if not path.exists():
            return set(), 0
        try:
            loaded = load_revocations(files.read(path)).loaded
        except CertificateError as error:
            raise CredentialError(f"{path}: {error}") from None
        try:
            number = loaded.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        except x509.ExtensionNotFound:
            number = 0
        return {entry.serial_number for entry in loaded}, number

    def _list(self, serials: Iterable[int], now: float, number: int, days: int) -> bytes:
        return revoke(
            self.certificate,
            self.key,
            set(serials),
            at=now,
            lifetime=days * DAY,
            number=number,
        )


def _is_meant(certificate: Certificate, text: str) -> bool:
    if _SERIAL.fullmatch(text) and int(text.replace(":", ""), 16) == certificate.serial:
        return True
    try:
        return certificate.names(Identity.parse(text))
    except ValueError:
        return False


def constraint(text: str) -> Name:
    """Read a name constraint. Raises ``CredentialError``."""
    if text.startswith("@"):
        return Name(NameKind.EMAIL, text[1:])
    try:
        return Name(NameKind.ADDRESS, ip_network(text))
    except ValueError:
        pass
    if re.fullmatch(r"\.?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", text):
        return Name(NameKind.DNS, text.removeprefix(".").lower())
    raise CredentialError(f"{text}: allowed is a domain, @ and a mail domain, or a network")


def self_signed(key: PrivateKey, identity: Identity, now: float, days: int) -> Certificate:
    """Make a certificate that peers must be told of. Raises ``CredentialError``."""
    return _made(
        key.public,
        key,
        None,
        subject=subject_of(identity),
        identities=(identity,),
        now=now,
        days=days,
        ca=False,
    )


def _made(
    public: PublicKey,
    signer: PrivateKey,
    above: Certificate | None,
    *,
    subject: str,
    now: float,
    days: int,
    identities: Sequence[Identity] = (),
    permitted: Sequence[Name] = (),
    ca: bool | None = None,
) -> Certificate:
    authority = above is None if ca is None else ca
    try:
        return issue(
            public,
            signer,
            above,
            subject=subject,
            identities=identities,
            at=now,
            lifetime=days * DAY,
            ca=authority,
            path_length=0 if authority else None,
            permitted=permitted,
        )
    except (ValueError, LocalError, OverflowError) as error:
        raise CredentialError(f"no such certificate can be made: {error}") from None
