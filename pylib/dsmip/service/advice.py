# SPDX-License-Identifier: GPL-2.0-only
"""What is allowed in a configuration and still worth a warning."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from .config import Config, Row
from .ike_config import Authentication, Credentials, File, IkeSection, Manager

_CERTIFIED = (Authentication.CERTIFICATE, Authentication.EAP_TLS)


def warnings_of(config: Config, path: str, now: float | None = None) -> list[str]:
    """Return warnings about secrets, certificates and files; no secret is repeated.

    ``path`` is the file the configuration was read from.
    """
    at = time.time() if now is None else now
    found = [
        *_protection(config),
        *_secrets(config),
        *_certificates(config, at),
        *_files(config, path),
    ]
    return list(dict.fromkeys(found))


def _rows(config: Config) -> Iterator[tuple[str, Row]]:
    for section, name in ((config.home_agent, "home_agent"), (config.mobile_router, "")):
        for row in section.rows if section else ():
            yield row.plan.identity or (name and str(row.home_address)), row


def _credentials(config: Config) -> Iterator[tuple[str, Credentials]]:
    for name, row in _rows(config):
        if row.plan.credentials is not None:
            yield name, row.plan.credentials
    for entry in config.ike.connections:
        yield f"connection {entry.name}", entry.credentials


def _protection(config: Config) -> Iterator[str]:
    agent = config.home_agent
    if agent is not None and not agent.rows:
        yield "[home_agent] has no router yet: dsmip enroll makes an entry and a token"
    owners = () if agent is None else agent.engine.owners
    # RFC 4285 takes the place of IPsec, as the entry says.
    other = {owner.home_address for owner in owners if owner.authentication is not None}
    router = config.mobile_router
    if router is not None and router.authentication is not None:
        other.add(router.engine.home_address)
    for name, row in _rows(config):
        if row.plan.manager is Manager.NONE and row.home_address not in other:
            yield f"{name}: signalling is not protected at all"
        elif row.plan.manager is Manager.STATIC:
            yield (
                f"{name}: static keys never change and protect against no replay "
                '(RFC 3776 section 4.1): keys = "ikev2" does both'
            )


def _secrets(config: Config) -> Iterator[str]:
    from ..ikev2.secret import psk_weakness

    used: dict[bytes, str] = {}
    seen: set[tuple[str, bytes]] = set()
    shared: list[tuple[str, str, bytes]] = [
        (name, "static_key", row.secret) for name, row in _rows(config) if row.secret
    ]
    for name, credentials in _credentials(config):
        shared += [
            (name, word, value)
            for word, value in (
                ("psk", credentials.psk),
                ("password", credentials.password.encode()),
                ("ppk", credentials.ppk),
            )
            if value
        ]
    for name, word, value in shared:
        # A router is known at several addresses of one home agent.
        if (name, value) in seen:
            continue
        seen.add((name, value))
        weakness = psk_weakness(value)
        if weakness:
            yield f"{name}: its {word} is weak: {weakness}"
        other = used.setdefault(value, name)
        if other != name:
            yield (f"{name}: its {word} is that of {other} too, so each can pass for the other")
    if config.ike.radius is not None:
        weakness = psk_weakness(config.ike.radius.secret)
        if weakness:
            yield f"ike.radius: the secret is weak: {weakness}"


# --- certificates ----------------------------------------------------------------


def _certificates(config: Config, now: float) -> Iterator[str]:
    ike = config.ike
    if ike.certificate is None and not ike.authorities:
        return
    yield from _own_certificate(config, now)
    from ..ikev2.certificates import load_certificates

    for file in ike.authorities:
        for certificate in load_certificates(file.data):
            yield from _validity(file, certificate, now)
            if not certificate.extensions.authority:
                yield f"{file.path}: {certificate} is no certification authority"
    verifies = any(
        credentials.authentication is not Authentication.PSK
        and credentials.authentication is not Authentication.PUBLIC_KEY
        for _name, credentials in _credentials(config)
    )
    if ike.authorities and verifies:
        yield from _revocation(ike, now)


def _validity(file: File, certificate: object, now: float) -> Iterator[str]:
    from ..ikev2.certificates import Certificate
    from .credentials import expired, expiring

    assert isinstance(certificate, Certificate)
    for text in (*expired(certificate, now), *expiring(certificate, now)):
        yield f"{file.path}: {text}"


def _own_certificate(config: Config, now: float) -> Iterator[str]:
    file = config.ike.certificate
    if file is None:
        return
    from ..ikev2.certificates import load_certificates
    from ..ikev2.identity import Identity
    from .credentials import mismatch

    chain = load_certificates(file.data)
    for certificate in chain:
        yield from _validity(file, certificate, now)
    if not chain[0].signature_accepted:
        yield f"{file.path}: signed with a weak hash, which others refuse"
    for text in sorted(_own_identities(config)):
        try:
            identity = Identity.parse(text)
        except ValueError:
            continue
        if not chain[0].names(identity):
            yield f"{file.path}: {mismatch(chain[0], identity)}"


def _own_identities(config: Config) -> set[str]:
    """Return the identities that this host proves with its certificate."""
    found = set()
    for section, agent_side in ((config.home_agent, True), (config.mobile_router, False)):
        for row in section.rows if section else ():
            if row.plan.credentials is None:
                continue
            method = row.plan.credentials.authentication
            # With EAP-MSCHAPv2 only the home agent has a certificate.
            if method in _CERTIFIED or (agent_side and method is Authentication.EAP_MSCHAPV2):
                found.add(row.plan.agent_identity if agent_side else row.plan.identity)
    for entry in config.ike.connections:
        if entry.credentials.authentication in _CERTIFIED:
            found.add(entry.local_identity)
    return found


def _revocation(ike: IkeSection, now: float) -> Iterator[str]:
    from ..ikev2.certificates import load_certificates, load_revocations
    from .credentials import date

    lists = [(file, load_revocations(file.data)) for file in ike.revocation]
    for file in ike.authorities:
        for authority in load_certificates(file.data):
            mine = [(where, one) for where, one in lists if one.signed_by(authority)]
            if not mine:
                yield (
                    f"{file.path}: no revocation list of {authority} in [ike] revocation: "
                    "a stolen key stays good until its certificate expires"
                )
    for file, one in lists:
        if one.next_update is not None and one.next_update < now:
            yield (
                f"{file.path}: the revocation list is out of date since "
                f'{date(one.next_update)}: renew it with "dsmip keys revoke"'
            )


# --- files -----------------------------------------------------------------------


def _files(config: Config, path: str) -> Iterator[str]:
    secret = any(True for _ in _credentials(config)) or any(row.keys for _n, row in _rows(config))
    if secret or config.ike.radius is not None:
        yield from readable(path)
    if config.ike.private_key is not None:
        yield from readable(config.ike.private_key.path)


def readable(path: str) -> Iterator[str]:
    """Warn of a file with secrets that others can read or write."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if mode & 0o004:
        yield f"{path} holds secrets and everybody may read it: chmod 600 {path}"
    elif mode & 0o022:
        yield f"{path} holds secrets and others than its owner may write it: chmod 600 {path}"
