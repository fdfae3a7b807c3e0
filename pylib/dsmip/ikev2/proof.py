# SPDX-License-Identifier: GPL-2.0-only
"""What AUTH payloads of an IKE SA cover, made and checked (RFC 7296 section 2.15)."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Final

from .authentication import Authenticated, Psk, Signer, Verifier
from .config import Connection, Ppk
from .contents import Contents, need
from .eap import EapClient
from .errors import LocalError, RemoteError
from .identity import Identity
from .ike_sa import IkeSa
from .keys import IkeKeys, auth_octets, int_auth_tail, resumption_auth
from .numbers import AuthMethod, NotifyType
from .payloads import Auth, Notify, identity_body

#: What this host authenticates itself by.
Own = Psk | Signer | EapClient
#: The type of a PPK_ID that both sides know beforehand (RFC 8784 section 5.1).
PPK_ID_FIXED: Final = 2


def octets(sa: IkeSa, identity: Identity, of_initiator: bool, keys: IkeKeys | None = None) -> bytes:
    """Return the octets that the AUTH payload of one side covers."""
    handshake, keys = sa.handshake, keys or sa.keys
    if handshake is None or keys is None or sa.suite is None:
        raise LocalError(f"{sa} has nothing to authenticate")
    tail = b""
    if sa.suite.additional_ke and sa.resumed is None:
        tail = int_auth_tail(handshake.int_auth_i, handshake.int_auth_r, 1 + handshake.extra)
    if of_initiator:
        message, nonce, sk_p = handshake.request, sa.nonce_r, keys.sk_pi
    else:
        message, nonce, sk_p = handshake.response, sa.nonce_i, keys.sk_pr
    return auth_octets(keys.prf, sk_p, message, nonce, identity_body(identity), tail)


def sign(
    sa: IkeSa, own: Psk | Signer | EapClient, identity: Identity, keys: IkeKeys | None = None
) -> Auth:
    """Return our AUTH payload."""
    assert sa.keys is not None
    covered = octets(sa, identity, sa.initiator, keys)
    if sa.resumed is not None:
        return Auth(AuthMethod.SHARED_KEY, _resumed(sa, sa.initiator, covered))
    if isinstance(own, EapClient):
        raise LocalError("EAP makes no AUTH payload by itself")
    method, data = own.sign(covered, sa.keys.prf, sa.features.hashes)
    return Auth(method, data)


def verify(
    sa: IkeSa,
    accepted: Iterable[object],
    contents: Contents,
    identity: Identity,
    at: float,
    auth: Auth | None = None,
) -> Authenticated:
    """Check the other side's AUTH payload by any of the ``accepted`` credentials.

    ``auth`` is another one than that of ``contents``. Raises ``RemoteError``
    AUTHENTICATION_FAILED.
    """
    assert sa.keys is not None
    auth = auth or need(contents.auth, "AUTH")
    covered = octets(sa, identity, not sa.initiator)
    certificates = [(cert.encoding, cert.data) for cert in contents.certs]
    if sa.resumed is not None:
        good = hmac.compare_digest(auth.data, _resumed(sa, not sa.initiator, covered))
        if not good or auth.method != AuthMethod.SHARED_KEY:
            text = f"{identity} does not have the ticket's key"
            raise RemoteError(text, NotifyType.AUTHENTICATION_FAILED)
        return Authenticated(auth.method, "ticket")
    failure: RemoteError | None = None
    shared = auth.method == AuthMethod.SHARED_KEY
    for credential in accepted:
        if not isinstance(credential, Psk if shared else Verifier):
            continue
        try:
            return credential.verify(
                auth.method, auth.data, covered, sa.keys.prf, identity, certificates, at
            )
        except RemoteError as error:
            failure = error
    if failure is None:
        text = f"{identity} authenticates by method {auth.method}, which is not accepted"
        failure = RemoteError(text, NotifyType.AUTHENTICATION_FAILED)
    raise RemoteError(failure.reason, NotifyType.AUTHENTICATION_FAILED)


def _resumed(sa: IkeSa, of_initiator: bool, covered: bytes) -> bytes:
    assert sa.keys is not None
    sk_p = sa.keys.sk_pi if of_initiator else sa.keys.sk_pr
    return resumption_auth(sa.keys.prf, sk_p, covered)


def ppk_identity(ppk: Ppk) -> Notify:
    """Return PPK_IDENTITY."""
    return Notify(NotifyType.PPK_IDENTITY, bytes((PPK_ID_FIXED,)) + ppk.identity)


def find_ppk(connection: Connection, notify: Notify) -> Ppk | None:
    """Return the key that a PPK_IDENTITY names."""
    for ppk in connection.ppks:
        if notify.data == bytes((PPK_ID_FIXED,)) + ppk.identity:
            return ppk
    return None
