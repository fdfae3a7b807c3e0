# SPDX-License-Identifier: GPL-2.0-only
"""IKE SAs authenticated by certificates, raw public keys and EAP."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from dsmip.ikev2.authentication import Psk, Signer, Verifier
from dsmip.ikev2.config import EngineConfig, Timings
from dsmip.ikev2.eap import (
    EapClient,
    EapMessage,
    EapPeer,
    EapReply,
    EapSuccess,
    LocalEap,
    RemoteEap,
)
from dsmip.ikev2.eap_mschapv2 import MsChapV2Client, MsChapV2Server
from dsmip.ikev2.eap_tls import TlsClient, TlsCredential, TlsServer, available
from dsmip.ikev2.effects import AskEap, DownCause, IkeDown, IkeUp
from dsmip.ikev2.engine import Engine
from dsmip.ikev2.errors import LocalError
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.mschap import nt_password_hash
from dsmip.ikev2.numbers import EapCode, ExchangeType, NotifyType
from dsmip.ikev2.payloads import Auth, Cert, CertReq, Eap, IdI, IdR
from dsmip.ikev2.signatures import KeyKind
from dsmip.ikev2.transport import seal
from dsmip.ikev2.trust import Trust

from tests.unit.authorities import AT, ROOT, TRUST, authority, key, leaf
from tests.unit.ikepair import Pair, connection, counterpart, tunnel

MR, HA = "mr.example.net", "ha.example.net"
VERIFIER = Verifier(TRUST)


def signer(name: str, kind: KeyKind = KeyKind.P256, **more: Any) -> Signer:
    return Signer(key(name, kind), (leaf(name, kind=kind, **more),))


def by_certificate(own: Signer | None = None, other: Signer | None = None) -> Pair:
    mobile = connection(own=own or signer(MR), peer=(VERIFIER,))
    agent = counterpart(mobile, own=other or signer(HA), peer=(VERIFIER,))
    config = EngineConfig(agent.proposals, certificate_requests=VERIFIER.requests())
    return Pair(mobile, agent, agent_config=config)


def refused(pair: Pair) -> str:
    """Both ends are left without an IKE SA; returns what the failing end says."""
    pair.initiate()
    pair.run()
    assert not pair.a.installed
    assert not pair.b.installed
    assert pair.a.of(IkeDown)
    pair.later(60)
    pair.gone()
    notes = [e.text for h in (pair.a, pair.b) for e in h.effects if type(e).__name__ == "Note"]
    return " ".join(notes)


# --- certificates -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [KeyKind.P256, KeyKind.P384, KeyKind.P521, KeyKind.ED25519, KeyKind.RSA2048]
)
def test_certificates_of_all_kinds(kind: KeyKind) -> None:
    pair = by_certificate(signer(MR, kind), signer(HA, kind))
    pair.mobile = replace(pair.mobile, fragmentation=False)
    pair.up()
    pair.check()
    assert any(isinstance(payload, CertReq) for payload in pair.peek(pair.history[2]))


def test_a_chain_and_fragments() -> None:
    one, one_key = authority("Fleet", ROOT, key("Root"))
    own = Signer(key(MR, KeyKind.RSA2048), (leaf(MR, one, one_key, kind=KeyKind.RSA2048), one))
    pair = by_certificate(own).up()
    pair.check()
    assert len(pair.history) > 4
    assert all(len(p.data) <= 1232 for p in pair.history)


def test_certificate_of_one_side_and_secret_of_the_other() -> None:
    """I-118."""
    mobile = connection(peer=(VERIFIER,))
    agent = counterpart(mobile, own=signer(HA), peer=(mobile.own,))
    Pair(mobile, agent).up().check()


def test_either_credential_is_accepted_where_both_are_allowed() -> None:
    for own in (Psk(b"correct horse battery staple"), signer(MR)):
        mobile = connection(own=own)
        agent = counterpart(
            connection(), peer=(Psk(b"another"), Psk(b"correct horse battery staple"), VERIFIER)
        )
        Pair(mobile, agent).up().check()


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        (lambda: signer(MR, at=1_700_000_000.0, lifetime=1000), "expired"),
        (lambda: signer(MR, at=1_900_000_000.0), "not yet valid"),
        (lambda: Signer(key(MR), (leaf(MR, *authority("Stranger")),)), "no trusted authority"),
        (lambda: signer("x.example.net"), "is not for"),
    ],
)
def test_bad_certificates(own: Any, reason: str) -> None:
    assert reason in refused(by_certificate(own())).replace("is not valid yet", "not yet valid")


def test_a_responder_with_a_bad_certificate() -> None:
    stranger = Signer(key(HA), (leaf(HA, *authority("Stranger")),))
    pair = by_certificate(other=stranger)
    assert "no trusted authority" in refused(pair)
    assert pair.down(pair.a).cause is DownCause.FAILED


def test_a_signature_by_another_key() -> None:
    thief = Signer(key("thief"), ())
    stolen = leaf(MR)

    class Thief:
        expires = None

        def certificates(self) -> Any:
            return ((4, stolen.der),)

        def sign(self, *how: Any) -> Any:
            return thief.sign(*how)

    refused(by_certificate(Thief()))  # type: ignore[arg-type]


def test_a_secret_is_no_substitute_for_a_signature() -> None:
    mobile = connection()
    agent = counterpart(mobile, peer=(VERIFIER,))
    refused(Pair(mobile, agent))


def test_the_ike_sa_ends_with_the_certificate() -> None:
    pair = by_certificate(signer(MR, lifetime=3600)).up()
    pair.check()
    pair.later(3700)
    assert pair.b.of(IkeDown)[0].was_up
    assert "expired" in pair.b.of(IkeDown)[0].reason


def test_when_the_other_certificate_ends_is_known_for_each_connection() -> None:
    pair = by_certificate(signer(MR, lifetime=3600)).up()
    ends = pair.b.engine.credential_ends(pair.agent.name)
    assert ends == pytest.approx(AT + 3600)
    assert pair.b.engine.credential_ends("nobody") is None
    (before,) = pair.b.engine.views(pair.now)
    assert before.credential_ends == ends
    assert pair.b.engine.views(pair.now, 0) == []
    # What an IKE SA knows, the one that takes its place knows too.
    pair.b(pair.b.engine.rekey(before.id, pair.now))
    pair.run()
    (after,) = pair.b.engine.views(pair.now)
    assert after.id != before.id
    assert after.credential_ends == ends
    assert pair.b.engine.credential_ends(pair.agent.name) == ends
    secret = Pair(connection(), counterpart(connection())).up()
    assert secret.b.engine.credential_ends(secret.agent.name) is None


def test_the_initiator_authenticates_anew_before_the_other_certificate_expires() -> None:
    pair = by_certificate(other=signer(HA, lifetime=3600)).up()
    assert pair.a.ike.reauthenticate_in == pytest.approx(3240)


def test_without_a_wall_clock_no_certificate_is_believed() -> None:
    pair = by_certificate()
    pair.b.engine = Engine(EngineConfig(pair.agent.proposals), pair.accounts)
    refused(pair)


def test_raw_public_keys() -> None:
    mr, ha = Signer(key(MR, KeyKind.ED25519)), Signer(key(HA))
    mobile = connection(own=mr, peer=(Verifier(Trust(keys=(ha.key.public,))),))
    agent = counterpart(mobile, own=ha, peer=(Verifier(Trust(keys=(mr.key.public,))),))
    Pair(mobile, agent).up().check()
    stranger = replace(agent, peer=(Verifier(Trust(keys=(key("x").public,))),))
    refused(Pair(mobile, stranger))


# --- EAP --------------------------------------------------------------------------------------


def accounts(user: str) -> bytes | None:
    return nt_password_hash("s3cret") if user in ("bus-17@example.net", MR) else None


def mschap_server(peer: EapPeer, at: float) -> list[Any]:
    return [MsChapV2Server("ha", accounts)]


def eap(
    user: str = MR,
    password: str = "s3cret",
    backend: Any = None,
    idi: str = MR,
    **changes: Any,
) -> Pair:
    client = EapClient(user, (MsChapV2Client(user, password),))
    mobile = connection(local=Identity.parse(idi), own=client, peer=(VERIFIER,), **changes)
    agent = counterpart(
        mobile, own=signer(HA), peer=(backend or LocalEap(mschap_server, ask_identity=True),)
    )
    return Pair(mobile, agent)


def test_eap_mschapv2() -> None:
    pair = eap().up()
    pair.check()
    auths = [p for p in pair.history if p.exchange == ExchangeType.IKE_AUTH and p.sender == "a"]
    assert len({p.message_id for p in auths}) == 5
    (first,) = [p for p in auths if p.message_id == 1]
    kinds = {type(p) for p in pair.peek(first)}
    assert IdI in kinds
    assert Auth not in kinds
    whole = [p for p in pair.history if p.sender == "b" and p.message_id == 1]
    if len(whole) == 1:
        assert {IdR, Cert, Auth, Eap} <= {type(p) for p in pair.peek(whole[0])}


def test_eap_over_a_bad_line() -> None:
    whole = len(eap().up().history)
    for lost in range(0, whole, 2):
        pair = eap()
        pair.lose = lambda p, pair=pair, lost=lost: len(pair.history) == lost + 1  # type: ignore[misc]
        pair.initiate()
        pair.later(6)
        pair.check()


@pytest.mark.parametrize(("user", "password"), [(MR, "wrong"), ("nobody", "s3cret")])
def test_wrong_eap_credentials(user: str, password: str) -> None:
    pair = eap(user, password)
    refused(pair)
    assert not pair.b.of(IkeUp)


def test_eap_where_it_is_not_accepted() -> None:
    pair = eap()
    pair.accounts.connections[0] = replace(pair.agent, peer=(Psk(b"x"),))
    refused(pair)


def test_the_responder_proves_itself_before_eap() -> None:
    pair = eap()
    pair.accounts.connections[0] = replace(pair.agent, own=Psk(b"x"))
    refused(pair)
    eaps = [p for p in pair.history if p.sender == "a" and p.message_id > 2]
    assert not eaps


def test_authorization_goes_by_what_eap_proved() -> None:
    """I-025: IDi is a claim, the method's identity counts."""
    pair = eap("bus-17@example.net", idi="anonymous.example.net")
    assert "may not come in" in refused(pair)
    pair = eap("bus-17@example.net", idi="anonymous.example.net")
    own = replace(
        pair.agent,
        name="bus-17",
        remote=Identity.parse("bus-17@example.net"),
        children=counterpart(connection(children=(tunnel(reqid=1),))).children,
    )
    pair.accounts.connections.append(own)
    pair.up()
    assert str(pair.b.of(IkeUp)[0].peer) == "bus-17@example.net"
    assert pair.b.of(IkeUp)[0].connection == "bus-17"
    # One who is known by a secret only cannot come in as somebody by EAP.
    pair = eap("bus-17@example.net", idi="anonymous.example.net")
    pair.accounts.connections.append(replace(own, peer=(Psk(b"x"),)))
    refused(pair)


class Later:
    """A backend whose answers are held until a test lets them go."""

    def __init__(self) -> None:
        self.inner = LocalEap(mschap_server)
        self.held: list[tuple[int, EapReply]] = []
        self.forgotten: list[int] = []

    def begin(self, session: int, peer: EapPeer, at: float) -> None:
        self.held.append((session, self.inner.begin(session, peer, at)))

    def answer(self, session: int, octets: bytes) -> None:
        self.held.append((session, self.inner.answer(session, octets)))

    def forget(self, session: int) -> None:
        self.forgotten.append(session)


def test_a_backend_that_takes_its_time() -> None:
    backend = Later()
    pair = eap(backend=backend)
    pair.initiate()
    rounds = 0
    while not pair.b.of(IkeUp):
        pair.run()
        if not backend.held:
            break
        # Repeated requests are not given to the backend twice.
        request = [p for p in pair.history if p.sender == "a"][-1]
        if not pair.mobile.fragmentation:
            pair.deliver(request)
        assert len(backend.held) == 1
        session, reply = backend.held.pop()
        pair.now += 1
        pair.b(pair.b.engine.eap_answer(session, reply, pair.now))
        rounds += 1
    pair.run()
    pair.check()
    assert rounds >= 3
    assert len(pair.b.of(AskEap)) == rounds
    assert backend.forgotten == []
    # Too late, or for nobody.
    assert not pair.b.engine.eap_answer(session, reply, pair.now)[1:]
    assert not pair.b.engine.eap_answer(999, reply, pair.now)[1:]


def test_a_backend_that_never_answers() -> None:
    pair = eap(backend=Later())
    backend = pair.agent.peer[0]
    pair.initiate()
    pair.later(40)
    assert isinstance(backend, Later)
    assert backend.forgotten
    assert not pair.b.views
    assert pair.b.engine.half_open() == 0
    assert RemoteEap().begin(1, EapPeer("x", "y", "z"), 0.0) is None


def forging(pair: Pair, message: bytes) -> None:
    """Let the responder say ``message`` in its first EAP payload."""

    class Forger:
        def begin(self, session: int, peer: EapPeer, at: float) -> EapReply:
            return EapReply(message, EapSuccess(b"m" * 64, MR) if message[0] == 3 else None)

        def answer(self, session: int, octets: bytes) -> EapReply:
            return EapReply(EapMessage(EapCode.SUCCESS, 9).build(), EapSuccess(b"m" * 64, MR))

        def forget(self, session: int) -> None:
            return

    pair.accounts.connections[0] = replace(pair.agent, peer=(Forger(),))


@pytest.mark.parametrize("code", [EapCode.SUCCESS, EapCode.FAILURE])
def test_early_eap_success_is_not_believed(code: EapCode) -> None:
    pair = eap()
    forging(pair, EapMessage(code, 1).build())
    refused(pair)
    assert not pair.a.of(IkeUp)


def test_forged_eap_success_in_the_middle() -> None:
    pair = eap()
    forging(pair, EapMessage(EapCode.REQUEST, 1, 1).build())
    refused(pair)
    assert not pair.a.of(IkeUp)


def test_eap_tls_or_a_clear_word_that_it_needs_pyopenssl() -> None:
    trust = TRUST
    server = TlsCredential(key(HA), (leaf(HA),), trust)
    client = TlsCredential(key(MR), (leaf(MR),), trust)
    backend = LocalEap(lambda peer, at: [TlsServer(server, Identity.parse(peer.identity), at)])
    own = EapClient(MR, (TlsClient(client, Identity.parse(HA)),))
    mobile = connection(own=own, peer=(VERIFIER,))
    agent = counterpart(mobile, own=signer(HA), peer=(backend,))
    pair = Pair(mobile, agent)
    if available():
        pair.up().check()
    else:
        assert "pyOpenSSL" in refused(pair)


def test_what_fails_here_ends_the_attempt_and_is_said() -> None:
    class Broken:
        TYPE = 13

        def client(self, at: float) -> Any:
            raise LocalError("no library for this")

    mobile = connection(own=EapClient(MR, (Broken(),)), peer=(VERIFIER,))
    agent = counterpart(mobile, own=signer(HA), peer=(Psk(b"x"),))
    assert "no library for this" in refused(Pair(mobile, agent))

    class Faulty:
        def begin(self, session: int, peer: EapPeer, at: float) -> EapReply:
            raise LocalError("no library for that")

        def answer(self, session: int, octets: bytes) -> None:
            return

        def forget(self, session: int) -> None:
            return

    assert "no library for that" in refused(eap(backend=Faulty()))


def test_eap_then_rekeys_and_authentication_anew() -> None:
    pair = eap(timings=Timings(rekey=400, reauthenticate=1000, jitter=0, liveness=0))
    pair.up()
    pair.later(1100)
    pair.check()
    assert [up.rekeyed for up in pair.a.of(IkeUp)] == [False, True, True, False]


def test_an_unknown_method_of_authentication() -> None:
    pair = Pair()
    pair.initiate()
    pair.step()
    pair.step()
    sa = next(iter(pair.a.engine._core.sas.values()))
    payloads = [Auth(99, p.data) if isinstance(p, Auth) else p for p in pair.peek(pair.queue[0])]
    packet = pair.take("a")
    (forged,) = seal(sa, ExchangeType.IKE_AUTH, 1, payloads)
    pair.deliver(replace(packet, data=bytes(4) + forged))
    (notify,) = pair.peek(pair.queue[0])
    assert notify.type == NotifyType.AUTHENTICATION_FAILED
