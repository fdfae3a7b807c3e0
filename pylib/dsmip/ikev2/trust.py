# SPDX-License-Identifier: GPL-2.0-only
"""Which certificates and raw public keys are believed (RFC 5280 section 6, RFC 7670)."""

from __future__ import annotations

import enum
import hashlib
import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from . import distinguished_name
from .certificates import Certificate, CertificateError, Name, NameKind, RevocationList, expires_at
from .identity import Identity
from .signatures import AuthenticationFailed, PublicKey

#: Certificates of one path, trust anchor included.
PATH_MAX: Final = 8
#: Certificates that a peer may send (charon sends no more than its chain).
SENT_MAX: Final = 16
#: Signature checks for one peer: what a made-up set of cross-certificates may cost.
CHECKS_MAX: Final = 32

ANY_USAGE: Final = "2.5.29.37.0"
#: Extended key usages of certificates for IKE (RFC 4945 section 5.1.3.12) and, since
#: public authorities issue nothing else, for TLS.
IKE_USAGES: Final = frozenset(
    {
        ANY_USAGE,
        "1.3.6.1.5.5.7.3.17",  # id-kp-ipsecIKE
        "1.3.6.1.5.5.8.2.2",  # iKEIntermediate
        "1.3.6.1.5.5.7.3.1",  # id-kp-serverAuth
        "1.3.6.1.5.5.7.3.2",  # id-kp-clientAuth
    }
)
#: Extended key usages of the two sides of EAP-TLS (RFC 5216 section 5.3).
TLS_SERVER_USAGES: Final = frozenset({ANY_USAGE, "1.3.6.1.5.5.7.3.1"})
TLS_CLIENT_USAGES: Final = frozenset({ANY_USAGE, "1.3.6.1.5.5.7.3.2"})


class Revocation(enum.Enum):
    """What revocation lists are good for.

    OFF: they are not looked at. LENIENT: whoever stands in one is refused, also in
    an expired one; a missing list is no obstacle. STRICT: each certificate below
    the anchor needs a current list.
    """

    OFF = "off"
    LENIENT = "lenient"
    STRICT = "strict"


# --- name constraints ----------------------------------------------------------------


def _host_below(host: str, constraint: str) -> bool:
    """Hosts of URIs and mail addresses: ``.domain`` is all hosts in it, else the very one."""
    host, constraint = host.lower(), constraint.lower()
    return host.endswith(constraint) if constraint.startswith(".") else host == constraint


def _below(name: Name, constraint: Name) -> bool:
    """Whether a name is in the subtree of a constraint of the same kind. Raises ``ValueError``."""
    if name.kind is NameKind.ADDRESS:
        return bool(
            name.value.version == constraint.value.version and name.value in constraint.value
        )
    if name.kind is NameKind.DIRECTORY:
        base = distinguished_name.normalized(constraint.value)
        return distinguished_name.normalized(name.value)[: len(base)] == base
    value, limit = str(name.value), str(constraint.value)
    if limit == "":
        return True
    if name.kind is NameKind.DNS:
        bare = limit.removeprefix(".")
        return value.endswith("." + bare) or value == limit
    if name.kind is NameKind.EMAIL:
        user, at, host = value.rpartition("@")
        if not at:
            raise ValueError(f"'{value}' is no mail address")
        if "@" in limit:
            wanted, _, domain = limit.rpartition("@")
            return user == wanted and host.lower() == domain.lower()
        return _host_below(host, limit)
    if name.kind is NameKind.URI:
        host = value.partition("://")[2].partition("/")[0].rpartition("@")[2].partition(":")[0]
        if not host:
            raise ValueError(f"'{value}' has no host")
        return _host_below(host, limit)
    raise ValueError(f"names of kind {name.kind.value} cannot be compared")


def _check_names(certificate: Certificate, authority: Certificate) -> None:
    """Apply the name constraints of an authority. Raises :class:`AuthenticationFailed`."""
    permitted, excluded = authority.extensions.permitted, authority.extensions.excluded
    if not permitted and not excluded:
        return
    for name in certificate.constrained_names():
        inside = [limit for limit in permitted if limit.kind is name.kind]
        outside = [limit for limit in excluded if limit.kind is name.kind]
        try:
            allowed = not inside or any(_below(name, limit) for limit in inside)
            allowed = allowed and not any(_below(name, limit) for limit in outside)
        except ValueError as error:
            raise AuthenticationFailed(f"name constraints of {authority}: {error}") from None
        if not allowed:
            raise AuthenticationFailed(f"name constraints of {authority} forbid '{name}'")


# --- single certificates -------------------------------------------------------------


def _check_time(certificate: Certificate, at: float) -> None:
    if at < certificate.not_before:
        raise AuthenticationFailed(f"certificate of {certificate} is not valid yet")
    if at > certificate.not_after:
        raise AuthenticationFailed(f"certificate of {certificate} has expired")


def _check_common(certificate: Certificate, at: float, usages: Collection[str]) -> None:
    """What holds for every certificate of a path."""
    _check_time(certificate, at)
    unknown = certificate.extensions.unknown_critical
    if unknown:
        raise AuthenticationFailed(
            f"certificate of {certificate} has the unknown critical extension {unknown[0]}"
        )
    extended = certificate.extensions.extended_usage
    if extended is not None and not extended & set(usages):
        raise AuthenticationFailed(f"certificate of {certificate} is not for this usage")


def _check_leaf(certificate: Certificate, at: float, usages: Collection[str]) -> None:
    _check_common(certificate, at, usages)
    usage = certificate.extensions.key_usage
    if usage is not None and not usage & {"digital_signature", "content_commitment"}:
        raise AuthenticationFailed(f"the key of {certificate} is not for signatures")


def _check_authority(authority: Certificate, at: float, usages: Collection[str]) -> None:
    _check_common(authority, at, usages)
    if not authority.extensions.authority:
        raise AuthenticationFailed(f"{authority} is no certification authority")
    usage = authority.extensions.key_usage
    if usage is not None and "key_cert_sign" not in usage:
        raise AuthenticationFailed(f"the key of {authority} is not for certificates")


# --- trust ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verified:
    """A believed certificate; ``expires`` is the first expiry of its path."""

    certificate: Certificate
    path: tuple[Certificate, ...]
    expires: float


class _Budget:
    """Signature checks left for one peer, and why the paths tried so far have failed."""

    def __init__(self) -> None:
        self.checks = CHECKS_MAX
        self.reason = ""

    def spend(self) -> None:
        if self.checks == 0:
            raise AuthenticationFailed("certificate path takes too many signature checks")
        self.checks -= 1


@dataclass(frozen=True, slots=True)
class Trust:
    """Everything that signatures of peers are checked by.

    ``anchors`` are authorities, ``intermediates`` known ones that need an anchor
    above them. ``pinned`` are certificates believed by themselves, self-signed
    ones among them; ``keys`` are raw public keys. Who is pinned may use any
    identity of its certificate; a raw key has none, so that the connection it is
    configured for says whose it is.
    """

    anchors: tuple[Certificate, ...] = ()
    intermediates: tuple[Certificate, ...] = ()
    pinned: tuple[Certificate, ...] = ()
    keys: tuple[PublicKey, ...] = ()
    revocations: tuple[RevocationList, ...] = ()
    revocation: Revocation = Revocation.LENIENT

    def authority_hashes(self) -> bytes:
        """What a CERTREQ payload lists: SHA-1 of each anchor's key (RFC 7296 section 3.7)."""
        return b"".join(
            hashlib.sha1(anchor.public.spki, usedforsecurity=False).digest()
            for anchor in self.anchors
        )

    def verify(
        self,
        sent: Sequence[bytes],
        at: float,
        identity: Identity | None,
        usages: Collection[str] = IKE_USAGES,
    ) -> Verified:
        """Whether to believe DER certificates of a peer, its own first.

        ``at`` is wall-clock time in seconds since 1970. With ``identity`` the
        certificate must be for it (RFC 4877 section 7.3). Raises
        :class:`AuthenticationFailed`.
        """
        if not sent:
            raise AuthenticationFailed("no certificate")
        if len(sent) > SENT_MAX:
            raise AuthenticationFailed(f"{len(sent)} certificates")
        try:
            leaf = Certificate.parse(sent[0])
        except CertificateError as error:
            raise AuthenticationFailed(str(error)) from None
        _check_leaf(leaf, at, usages)
        path: tuple[Certificate, ...] = (leaf,)
        if leaf not in self.pinned:
            path = self._find_path(leaf, sent[1:], at, usages)
            self._check_revocation(path, at)
        if identity is not None and not leaf.names(identity):
            raise AuthenticationFailed(f"certificate of {leaf} is not for {identity}")
        return Verified(leaf, path, expires_at(path))

    def _find_path(
        self, leaf: Certificate, sent: Sequence[bytes], at: float, usages: Collection[str]
    ) -> tuple[Certificate, ...]:
        others = list(self.intermediates)
        for data in sent:
            # What cannot be read can be no part of a path; the rest may do.
            try:
                others.append(Certificate.parse(data))
            except CertificateError:
                continue
        budget = _Budget()
        for path in self._paths((leaf,), others, at, usages, budget):
            return path
        raise AuthenticationFailed(budget.reason)

    def _paths(
        self,
        path: tuple[Certificate, ...],
        others: Sequence[Certificate],
        at: float,
        usages: Collection[str],
        budget: _Budget,
    ) -> Iterator[tuple[Certificate, ...]]:
        """Yield complete paths above ``path``, which is good so far."""
        last = path[-1]
        budget.reason = f"no trusted authority has issued {last}"
        if last is not path[0]:
            budget.reason += f", above {path[0]}"
        for authority, anchor in self._issuers(last, others):
            if authority in path or len(path) >= PATH_MAX:
                continue
            try:
                self._check_step(path, authority, at, usages, budget)
            except AuthenticationFailed as error:
                budget.reason = error.reason
                if budget.checks == 0:
                    return
                continue
            longer = (*path, authority)
            if anchor:
                yield longer
            else:
                yield from self._paths(longer, others, at, usages, budget)

    def _issuers(
        self, certificate: Certificate, others: Sequence[Certificate]
    ) -> Iterator[tuple[Certificate, bool]]:
        """Yield (candidate, is an anchor): anchors first, fitting key identifiers first."""
        wanted = certificate.extensions.authority_key_id
        found = [(a, True) for a in self.anchors if a.subject == certificate.issuer]
        found += [
            (other, False)
            for other in others
            if other.subject == certificate.issuer and other not in self.anchors
        ]
        found.sort(key=lambda item: (not item[1], item[0].extensions.key_id != wanted))
        yield from found

    def _check_step(
        self,
        path: tuple[Certificate, ...],
        authority: Certificate,
        at: float,
        usages: Collection[str],
        budget: _Budget,
    ) -> None:
        """Check that ``authority`` may have issued the path below it, and has."""
        _check_authority(authority, at, usages)
        below = sum(not certificate.self_issued for certificate in path[1:])
        limit = authority.extensions.path_length
        if limit is not None and below > limit:
            raise AuthenticationFailed(f"{authority} allows {limit} authorities below, not {below}")
        if not path[-1].signature_accepted:
            raise AuthenticationFailed(
                f"certificate of {path[-1]} is signed with {path[-1].signature_hash}"
            )
        for certificate in path:
            if certificate is path[0] or not certificate.self_issued:
                _check_names(certificate, authority)
        budget.spend()
        if not path[-1].issued_by(authority):
            raise AuthenticationFailed(f"{authority} has not signed the certificate of {path[-1]}")

    def _check_revocation(self, path: tuple[Certificate, ...], at: float) -> None:
        if self.revocation is Revocation.OFF:
            return
        for certificate, authority in itertools.pairwise(path):
            current = False
            for revocations in self.revocations:
                if not revocations.tells_of(certificate) or not revocations.signed_by(authority):
                    continue
                if revocations.revokes(certificate):
                    raise AuthenticationFailed(f"certificate of {certificate} is revoked")
                end = revocations.next_update
                current |= revocations.this_update <= at and (end is None or at <= end)
            if self.revocation is Revocation.STRICT and not current:
                raise AuthenticationFailed(
                    f"no current revocation list tells of the certificate of {certificate}"
                )
