# SPDX-License-Identifier: GPL-2.0-only
"""What the configuration says, in the IKEv2 engine's own terms.

Imported only where IKEv2 is configured: it brings the whole engine along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Final

from ..ikev2 import config as c
from ..ikev2.authentication import Psk, Signer, Verifier
from ..ikev2.identity import Identity
from ..ikev2.numbers import ProtocolId
from ..ikev2.proposals import Proposal, parse_proposals
from ..ikev2.selectors import TrafficSelector
from ..ipsec.policy import Kind, Row
from ..packet.kernel import Address
from .ike_config import (
    Authentication,
    ChildEntry,
    ConnectionEntry,
    Credentials,
    File,
    IkeSection,
    KeyPlan,
    Movement,
    SelectorText,
    Start,
)

if TYPE_CHECKING:
    from ..ikev2.eap import EapClient, EapServerBackend

#: AES-GCM with X25519 first, then what RFC 8247 demands of everybody.
PROPOSALS: Final = (
    "aes256gcm16-aes128gcm16-prfsha384-prfsha256-x25519-ecp384-ecp256-modp3072-modp2048",
    "chacha20poly1305-prfsha256-x25519-ecp256",
    "aes256-aes128-sha256-sha384-sha512-prfsha256-prfsha384-prfsha512"
    "-x25519-ecp256-ecp384-modp3072-modp2048",
)
ESP_PROPOSALS: Final = (
    "aes256gcm16-aes128gcm16-esn-noesn",
    "chacha20poly1305-esn-noesn",
    "aes256-aes128-sha256-sha384-sha512-esn-noesn",
)
#: Kernels end an SA that was not renewed this much later than it should have been.
_HARD_AFTER: Final = 1.15
#: AES-GCM and its like must not be used for more packets than their counter allows.
_PACKETS: Final = 1 << 31
_ANY6: Final = IPv6Network("::/0")


def certificate_ends(ike: IkeSection) -> float | None:
    """When this host's own certificate ends, in seconds since 1970; None without one."""
    from ..ikev2.certificates import CertificateError, expires_at, load_certificates

    if ike.certificate is None:
        return None
    try:
        return expires_at(load_certificates(ike.certificate.data))
    except CertificateError:
        return None  # whoever needs it has said so


def proposals(texts: Sequence[str], default: Sequence[str], protocol: int) -> tuple[Proposal, ...]:
    """Return proposals in the engine's form; ``ValueError`` names a wrong word."""
    return parse_proposals(texts or default, protocol)


def ike_proposals(ike: IkeSection, own: Sequence[str] = ()) -> tuple[Proposal, ...]:
    """Return what is offered and accepted for IKE SAs."""
    return proposals(own or ike.proposals, PROPOSALS, ProtocolId.IKE)


def esp_proposals(ike: IkeSection, own: Sequence[str] = ()) -> tuple[Proposal, ...]:
    """Return what is offered and accepted for ESP."""
    return proposals(own or ike.esp_proposals, ESP_PROPOSALS, ProtocolId.ESP)


def engine_config(ike: IkeSection) -> c.EngineConfig:
    """Return what holds for all connections."""
    offered = list(ike_proposals(ike))
    for entry in ike.connections:
        offered += [p for p in ike_proposals(ike, entry.proposals) if p not in offered]
    return c.EngineConfig(
        proposals=tuple(replace(p, number=n) for n, p in enumerate(offered, 1)),
        port=ike.port,
        nat_port=ike.nat_port,
        cookie_threshold=ike.cookie_threshold,
        nat_keepalive=ike.nat_keepalive,
        redirect_to=ike.redirect_to or None,
        ticket_lifetime=int(ike.ticket_lifetime),
        # Others send no certificate unless they are asked for one.
        certificate_requests=_authorities(ike).requests() if ike.authorities else (),
        ppk=True,  # whose keys there are changes at each reload
    )


# --- credentials -----------------------------------------------------------------


@lru_cache(maxsize=4)
def signer(ike: IkeSection, certified: bool) -> Signer:
    """Return this host's own key, with its certificates or without; ``ValueError``."""
    from ..ikev2.certificates import load_certificates
    from ..ikev2.signatures import load_private_key

    assert ike.private_key is not None
    key = load_private_key(ike.private_key.data)
    if not certified or ike.certificate is None:
        return Signer(key)
    return Signer(key, load_certificates(ike.certificate.data))


@lru_cache(maxsize=4)
def _authorities(ike: IkeSection, name: str = "") -> Verifier:
    from ..ikev2.certificates import load_certificates, load_revocations
    from ..ikev2.trust import Trust

    anchors = [c for file in ike.authorities for c in load_certificates(file.data)]
    return Verifier(
        Trust(
            anchors=tuple(anchors),
            revocations=tuple(load_revocations(file.data) for file in ike.revocation),
        ),
        names=(Identity.parse(name),) if name else (),
    )


def _pinned(public_key: File | None) -> Verifier:
    from ..ikev2.signatures import load_public_key
    from ..ikev2.trust import Trust

    assert public_key is not None
    return Verifier(Trust(keys=(load_public_key(public_key.data),)))


def authentication(
    credentials: Credentials,
    ike: IkeSection,
    router: str,
    agent: str,
    client: bool,
    agent_name: str = "",
) -> tuple[Psk | Signer | EapClient, tuple[Psk | Verifier | EapServerBackend, ...]]:
    """Return how this host proves itself and what it wants from the other.

    ``client`` is the router's side of EAP; ``agent_name`` is what the home agent's
    certificate must be for besides its identity. ``ValueError`` and ``LocalError``
    when something that was configured cannot be used.
    """
    method = credentials.authentication
    if method is Authentication.PSK:
        return Psk(credentials.psk), (Psk(credentials.psk),)
    if method is Authentication.PUBLIC_KEY:
        return signer(ike, certified=False), (_pinned(credentials.public_key),)
    if method is Authentication.CERTIFICATE:
        return signer(ike, certified=True), (_authorities(ike, agent_name),)
    from . import ike_eap

    if client:
        certified = None if ike.certificate is None else signer(ike, certified=True)
        method_side = ike_eap.client(credentials, router, agent, certified, _authorities(ike))
        return method_side, (_authorities(ike, agent_name),)
    own = signer(ike, certified=True)
    radius = ike.radius is not None
    backend = ike_eap.server(credentials, router, agent, own, _authorities(ike), radius)
    return own, (backend,)


# --- connections of mobile routers -----------------------------------------------


def connection(
    name: str,
    plan: KeyPlan,
    ike: IkeSection,
    children: Sequence[c.ChildConfig],
    *,
    mobile: bool,
    wish: IPv6Address | None = None,
    ask: bool = False,
    redirects: bool = False,
    addresses: Sequence[Address] = (),
) -> c.Connection:
    """Return the connection of a router and its home agent, seen from the ``mobile`` end or not.

    With ``ask`` it asks for a home address, for ``wish`` if there is one. ``redirects``:
    it may be sent to another home agent. ``addresses`` are those of this host that the
    other end may use, told by MOBIKE.
    """
    assert plan.credentials is not None
    own, peer = authentication(
        plan.credentials, ike, plan.identity, plan.agent_identity, mobile, plan.agent_name
    )
    ends = (plan.identity, plan.agent_identity)
    local, remote = ends if mobile else ends[::-1]
    return c.Connection(
        name=name,
        local=Identity.parse(local),
        remote=None if plan.agent_name else Identity.parse(remote),
        own=own,
        peer=peer,
        proposals=ike_proposals(ike),
        children=tuple(children),
        request=c.AddressRequest((wish,), dns6=True, home_prefix=True) if ask else None,
        movement=c.Movement.MOBIKE if plan.movement is Movement.MOBIKE else c.Movement.LOCAL,
        timings=_timings(ike),
        fragment=ike.fragment_size,
        ppks=_ppks(plan.credentials),
        ppk_required=plan.credentials.ppk_required,
        eap_only=plan.credentials.eap_only,
        follow_redirect=redirects and ike.follow_redirect,
        resumption=bool(ike.ticket_lifetime),
        additional_addresses=tuple(addresses),
    )


def _timings(ike: IkeSection) -> c.Timings:
    return c.Timings(
        rekey=ike.rekey_ike,
        reauthenticate=ike.reauthenticate,
        liveness=ike.dpd,
        retransmission=c.Retransmission(tries=ike.retransmissions),
    )


def _ppks(credentials: Credentials) -> tuple[c.Ppk, ...]:
    if not credentials.ppk:
        return ()
    return (c.Ppk(credentials.ppk_id.encode(), credentials.ppk),)


def child_of_row(
    row: Row, ike: IkeSection, *, mobile: bool, dynamic: bool = False
) -> c.ChildConfig:
    """Return the child SA that keys a row.

    Rows in the form of RFC 4877 follow the path; all others are between home
    address and home agent, whatever IKE's own addresses are (RFC 4877 section 4).
    With ``dynamic`` it is for a home address that is yet to come: any is asked
    for, and the home agent narrows it (RFC 7296 section 2.19).
    """
    networks = (_ANY6,) if dynamic else row.home
    home = tuple(TrafficSelector.from_network(n, row.protocol) for n in networks)
    remote = tuple(TrafficSelector.from_network(n, row.protocol) for n in row.remote)
    if row.types != (None, None):
        home, remote = _typed(row)
    elif row.port is not None:
        agent = (
            TrafficSelector.from_network(n, row.protocol, row.port, row.port) for n in row.remote
        )
        remote = tuple(agent)
    ends = (row.home_address, row.agent)
    return c.ChildConfig(
        name=child_name(row),
        reqid=row.reqid,
        local=home if mobile else remote,
        remote=remote if mobile else home,
        proposals=esp_proposals(ike),
        mode=c.Mode.TRANSPORT if row.form is None else c.Mode.TUNNEL,
        endpoints=None if row.moves else (ends if mobile else ends[::-1]),
        dynamic=dynamic,
        lifetime=_lifetime(ike),
        start=c.Start.WITH_IKE,
    )


def child_name(row: Row) -> str:
    """Return what the child SA of a row is called."""
    return Kind(row.kind).name.lower().replace("_", "-")


def _typed(row: Row) -> tuple[tuple[TrafficSelector, ...], tuple[TrafficSelector, ...]]:
    """Return selectors with message types: what may be sent stands at each side."""

    def typed(networks: Sequence[c.Network], kind: int | None) -> tuple[TrafficSelector, ...]:
        if kind is None:
            return tuple(TrafficSelector.from_network(n, row.protocol) for n in networks)
        return tuple(TrafficSelector.typed(n, row.protocol, kind) for n in networks)

    return typed(row.home, row.types[0]), typed(row.remote, row.types[1])


def _lifetime(ike: IkeSection) -> c.Lifetime:
    soft = ike.rekey_child
    return c.Lifetime(
        soft_seconds=soft,
        hard_seconds=soft * _HARD_AFTER,
        soft_packets=_PACKETS,
        hard_packets=_PACKETS + _PACKETS // 8,
    )


# --- connections of other mobility stacks ------------------------------------------


def alone(entry: ConnectionEntry, ike: IkeSection) -> c.Connection:
    """Return a connection of ``[[ike.connection]]``.

    By EAP it is the client when it knows where the other one is, else the server.
    """
    client = bool(entry.remote)
    names = (entry.local_identity, entry.remote_identity)
    own, peer = authentication(
        entry.credentials, ike, *(names if client else names[::-1]), client=client
    )
    return c.Connection(
        name=entry.name,
        local=Identity.parse(entry.local_identity),
        remote=Identity.parse(entry.remote_identity),
        own=own,
        peer=peer,
        proposals=ike_proposals(ike, entry.proposals),
        children=tuple(_alone_child(child, ike) for child in entry.children),
        movement=c.Movement.MOBIKE if entry.movement is Movement.MOBIKE else c.Movement.LOCAL,
        timings=_timings(ike),
        fragment=ike.fragment_size,
        ppks=_ppks(entry.credentials),
        ppk_required=entry.credentials.ppk_required,
        eap_only=entry.credentials.eap_only,
        follow_redirect=ike.follow_redirect,
        additional_addresses=entry.local,
        resumption=bool(ike.ticket_lifetime),
    )


def _alone_child(child: ChildEntry, ike: IkeSection) -> c.ChildConfig:
    return c.ChildConfig(
        name=child.name,
        reqid=child.reqid,
        local=tuple(_selector(text) for text in child.local),
        remote=tuple(_selector(text) for text in child.remote),
        proposals=esp_proposals(ike, child.esp_proposals),
        mode=c.Mode.TUNNEL if child.tunnel else c.Mode.TRANSPORT,
        endpoints=child.endpoints,
        lifetime=_lifetime(ike),
        start=c.Start.ON_DEMAND if child.start is not Start.START else c.Start.WITH_IKE,
    )


def _selector(text: SelectorText) -> TrafficSelector:
    low, high = (0, 65535) if text.port is None else (text.port, text.port)
    return TrafficSelector.from_network(text.network, text.protocol, low, high)
