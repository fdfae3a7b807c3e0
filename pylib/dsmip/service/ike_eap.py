# SPDX-License-Identifier: GPL-2.0-only
"""EAP as configured: the router's side, and the home agent's here or at a RADIUS server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ikev2.eap import EapClient, EapPeer, EapServerBackend, LocalEap, RemoteEap, ServerMethod
from ..ikev2.eap_mschapv2 import MsChapV2Client, MsChapV2Server
from ..ikev2.identity import Identity
from ..ikev2.mschap import nt_password_hash
from .ike_config import Authentication, Credentials

if TYPE_CHECKING:
    from ..ikev2.authentication import Signer, Verifier


def client(
    credentials: Credentials, identity: str, agent: str, own: Signer | None, trusted: Verifier
) -> EapClient:
    """Return a router's side of EAP; ``agent`` is the identity that TLS must show."""
    if credentials.authentication is Authentication.EAP_MSCHAPV2:
        return EapClient(identity, (MsChapV2Client(identity, credentials.password),))
    from ..ikev2.eap_tls import TlsClient, TlsCredential

    assert own is not None
    credential = TlsCredential(own.key, own.chain, trusted.trust)
    return EapClient(identity, (TlsClient(credential, Identity.parse(agent)),))


def server(
    credentials: Credentials,
    identity: str,
    agent: str,
    own: Signer,
    trusted: Verifier,
    radius: bool,
) -> EapServerBackend:
    """Return the home agent's side for one router; only its own identity comes through."""
    if radius:
        return RemoteEap()
    if credentials.authentication is Authentication.EAP_MSCHAPV2:
        known = nt_password_hash(credentials.password)

        def account(user: str) -> bytes | None:
            return known if user == identity else None

        def mschapv2(_peer: EapPeer, _at: float) -> list[ServerMethod]:
            return [MsChapV2Server(agent, account)]

        return LocalEap(mschapv2, ask_identity=True)
    from ..ikev2.eap_tls import TlsCredential, TlsServer

    credential = TlsCredential(own.key, own.chain, trusted.trust)
    wanted = Identity.parse(identity)

    def tls(_peer: EapPeer, at: float) -> list[ServerMethod]:
        return [TlsServer(credential, wanted, at)]

    return LocalEap(tls)
