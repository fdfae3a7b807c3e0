# SPDX-License-Identifier: GPL-2.0-only
"""Extensions: childless, redirect, resumption, post-quantum keys and key exchanges."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from dsmip.ikev2.config import Connection, EngineConfig, Ppk, Start, Timings
from dsmip.ikev2.effects import ChildFailed, DownCause, IkeDown, IkeUp, Redirected
from dsmip.ikev2.errors import RemoteError
from dsmip.ikev2.exchange import available
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.message import Header, build, parse
from dsmip.ikev2.numbers import ExchangeType, KeyExchange, NotifyType, ProtocolId
from dsmip.ikev2.payloads import Notify
from dsmip.ikev2.proposals import parse_proposal, parse_proposals
from dsmip.ikev2.redirect import Loops, read_redirect, redirect_notify, redirected_from

from tests.unit.ikepair import AGENT, MOBILE, Pair, connection, counterpart, mirrored, tunnel

# --- childless (RFC 6023) -------------------------------------------------------------------------


def test_no_child_in_ike_auth() -> None:
    pair = Pair(connection(childless=True)).up()
    pair.check()
    assert [p.exchange for p in pair.history if p.sender == "a"] == [34, 35, 36]


def test_childless_needs_both_ends() -> None:
    mobile = connection(childless=True)
    pair = Pair(mobile, agent_config=EngineConfig(mobile.proposals, childless=False)).up()
    pair.check()
    assert [p.exchange for p in pair.history if p.sender == "a"] == [34, 35]


# --- redirect (RFC 5685) --------------------------------------------------------------------------


def test_redirect_notifications() -> None:
    for gateway in ("192.0.2.1", "2001:db8::1", "ha2.example.net"):
        notify = redirect_notify(gateway, b"nonce")
        assert read_redirect(notify) == (gateway, b"nonce")
    assert redirected_from(AGENT).data == b"\x02\x10" + AGENT.packed
    for data in (b"", b"\x01", b"\x01\x04\x01", b"\x01\x05aaaaa", b"\x09\x01a", b"\x03\x00"):
        with pytest.raises(RemoteError):
            read_redirect(Notify(NotifyType.REDIRECT, data))
    with pytest.raises(RemoteError):
        read_redirect(Notify(NotifyType.REDIRECT, b"\x03\x03a\nb"))


def test_redirect_before_authentication() -> None:
    """I-170: nothing is kept, and the answer proves to be one to this very request."""
    mobile = connection()
    pair = Pair(mobile, agent_config=EngineConfig(mobile.proposals, redirect_to="ha2.example.net"))
    pair.initiate()
    pair.run()
    (redirected,) = pair.a.of(Redirected)
    assert redirected.gateway == "ha2.example.net"
    assert redirected.redirected_from == AGENT
    assert pair.down(pair.a).cause is DownCause.REDIRECTED
    pair.gone()


def test_a_forged_redirect() -> None:
    pair = Pair()
    pair.initiate()
    request = pair.history[0]
    forged = build(
        Header(request.message[:8], bytes(8), 34, 0x20, 0),
        [redirect_notify("evil.example.net", b"x" * 32)],
    )
    pair.a(pair.a.engine.receive(forged, request.source, request.target, pair.now))
    assert not pair.a.of(Redirected)
    pair.run()
    pair.check()


def test_who_was_sent_here_says_so_and_loops_end() -> None:
    mobile = connection()
    pair = Pair(mobile, agent_config=EngineConfig(mobile.proposals, redirect_to="192.0.2.1"))
    for _ in range(5):
        pair.initiate(redirected_from=AGENT)
        pair.run()
    assert len(pair.a.of(Redirected)) == 5
    pair.initiate(redirected_from=AGENT)
    pair.run()
    assert len(pair.a.of(Redirected)) == 5
    assert pair.down(pair.a).cause is DownCause.REFUSED
    pair.later(301)
    pair.initiate(redirected_from=AGENT)
    pair.run()
    assert len(pair.a.of(Redirected)) == 6
    loops = Loops(1, 10.0)
    assert [loops.follow("x", t) for t in (0, 5, 10)] == [True, False, True]


def test_who_does_not_follow_is_not_asked_to() -> None:
    mobile = connection(follow_redirect=False)
    config = EngineConfig(mobile.proposals, redirect_to="192.0.2.1")
    Pair(mobile, agent_config=config).up().check()


def test_redirect_with_the_last_answer_of_ike_auth() -> None:
    mobile = connection()
    pair = Pair(mobile, counterpart(mobile, redirect_to="2001:db8::2")).up()
    (redirected,) = pair.a.of(Redirected)
    assert redirected.gateway == "2001:db8::2"
    assert not pair.a.installed
    pair.run()
    pair.gone()


def test_redirect_of_an_ike_sa_that_is_up() -> None:
    pair = Pair().up()
    pair.b(pair.b.engine.redirect(pair.b.ike.id, "ha2.example.net", pair.now))
    pair.run()
    (redirected,) = pair.a.of(Redirected)
    assert redirected.was_up
    # The child lives on until the initiator has gone over.
    pair.check()
    pair.later(130)
    pair.gone()


# --- session resumption (RFC 5723) -----------------------------------------------------------


def resumable(**changes: object) -> Pair:
    mobile = connection(resumption=True, timings=Timings(rekey=0, liveness=0, jitter=0))
    pair = Pair(mobile, agent_config=EngineConfig(mobile.proposals, ticket_lifetime=3600))
    return pair.up(**changes)


def lost(pair: Pair) -> None:
    """The mobile end gives up: nobody answered."""
    pair.lose = lambda p: True
    pair.a(pair.a.engine.check(pair.a.ike.id, pair.now))
    pair.later(400)
    assert pair.down(pair.a).cause is DownCause.UNREACHABLE
    pair.lose = lambda p: False
    pair.history.clear()


def test_an_ike_sa_is_resumed_without_a_key_exchange() -> None:
    pair = resumable()
    lost(pair)
    pair.initiate()
    pair.run()
    pair.check()
    assert [p.exchange for p in pair.history] == [38, 38, 35, 35]
    assert pair.down(pair.b).cause is DownCause.REPLACED
    # The next one has a ticket of its own.
    lost(pair)
    pair.initiate()
    pair.run()
    pair.check()
    assert pair.history[0].exchange == ExchangeType.IKE_SESSION_RESUME
    pair.a(pair.a.engine.rekey(pair.a.child.id, pair.now))
    pair.run()
    pair.check()


def test_resumption_from_elsewhere_and_behind_a_nat() -> None:
    pair = resumable()
    lost(pair)
    inside = ip_address("10.0.0.7")
    pair.a.addresses.add(inside)
    pair.nat_of[inside] = ip_address("198.51.100.9")
    pair.initiate(inside, ip_address("203.0.113.1"))
    pair.run()
    pair.check()
    assert pair.a.child.ends.encapsulation == (4500, 4500)


def test_a_ticket_is_good_once() -> None:
    pair = resumable()
    core = pair.a.engine._core
    ticket = core.tickets._mine["agent"]
    lost(pair)
    pair.initiate()
    pair.run()
    lost(pair)
    core.tickets.keep("agent", ticket)
    pair.initiate()
    pair.run()
    pair.check()
    assert [p.exchange for p in pair.history] == [38, 38, 34, 34, 35, 35]
    assert pair.b.counters["ike_ticket_used"] == 1


def test_tickets_grow_old() -> None:
    pair = resumable()
    pair.later(3601)
    lost(pair)
    pair.initiate()
    pair.run()
    assert pair.history[0].exchange == ExchangeType.IKE_SA_INIT


def test_a_deleted_ike_sa_cannot_be_resumed() -> None:
    pair = resumable()
    ticket = pair.a.engine._core.tickets._mine["agent"]
    pair.a(pair.a.engine.terminate(pair.a.ike.id, pair.now))
    pair.run()
    pair.history.clear()
    pair.a.engine._core.tickets.keep("agent", ticket)
    pair.initiate()
    pair.run()
    pair.check()
    assert [p.exchange for p in pair.history][:3] == [38, 38, 34]


def test_a_rekey_asks_for_a_new_ticket() -> None:
    for end in "ab":
        pair = resumable()
        host = pair.hosts[end]
        old = pair.a.engine._core.tickets._mine["agent"]
        host(host.engine.rekey(host.ike.id, pair.now))
        pair.run()
        assert pair.a.engine._core.tickets._mine["agent"].opaque != old.opaque
        lost(pair)
        pair.initiate()
        pair.run()
        pair.check()
        assert pair.history[0].exchange == ExchangeType.IKE_SESSION_RESUME


def test_a_ticket_of_before_the_rekey() -> None:
    pair = resumable()
    old = pair.a.engine._core.tickets._mine["agent"]
    pair.b(pair.b.engine.rekey(pair.b.ike.id, pair.now))
    pair.run()
    lost(pair)
    pair.a.engine._core.tickets.keep("agent", old)
    pair.initiate()
    pair.run()
    pair.check()
    assert [p.exchange for p in pair.history] == [38, 38, 34, 34, 35, 35]


def test_no_tickets_are_given() -> None:
    mobile = connection(resumption=True)
    pair = Pair(mobile).up()
    pair.check()
    assert pair.a.engine._core.tickets.take("agent", pair.now) is None


def test_an_agent_that_started_anew_or_knows_no_tickets() -> None:
    pair = resumable()
    lost(pair)
    config = EngineConfig(pair.mobile.proposals, ticket_lifetime=3600)
    pair.b = pair.add("b", (AGENT,), config, pair.accounts)
    pair.initiate()
    pair.run()
    pair.check()
    assert [p.exchange for p in pair.history] == [38, 38, 34, 34, 35, 35]
    lost(pair)
    pair.lose = lambda p: p.exchange == ExchangeType.IKE_SESSION_RESUME and p.sender == "b"
    pair.initiate()
    pair.later(30)
    pair.check()


def test_resumption_under_load_shows_a_cookie_first() -> None:
    pair = resumable()
    lost(pair)
    core = pair.b.engine._core
    config = replace(core.config, cookie_threshold=0)
    core.config = core.admission._config = config
    pair.initiate()
    pair.run()
    pair.check()
    assert [p.exchange for p in pair.history] == [38, 38, 38, 38, 35, 35]


def test_a_stolen_ticket_is_of_no_use() -> None:
    pair = resumable()
    lost(pair)
    ticket = pair.a.engine._core.tickets._mine["agent"]
    pair.a.engine._core.tickets.keep("agent", replace(ticket, sk_d=bytes(32)))
    pair.initiate()
    pair.run()
    assert pair.b.counters["ike_bad_icv"] >= 1
    assert len(pair.b.of(IkeUp)) == 1


def test_a_ticket_for_another_identity() -> None:
    pair = resumable()
    lost(pair)
    ticket = pair.a.engine._core.tickets._mine["agent"]
    other = Identity.parse("mr2.example.net")
    pair.a.engine._core.tickets.keep("agent", replace(ticket, idi=other))
    pair.mobile = replace(pair.mobile, local=other)
    pair.initiate()
    pair.run()
    assert pair.down(pair.a).notify == NotifyType.AUTHENTICATION_FAILED
    assert len(pair.b.of(IkeUp)) == 1


def test_messages_lost_while_resuming() -> None:
    for number in range(4):
        pair = resumable()
        lost(pair)
        pair.lose = lambda p, w=pair, n=number + 1: len(w.history) == n  # type: ignore[misc]
        pair.initiate()
        pair.later(10)
        pair.check()


# --- post-quantum preshared keys (RFC 8784) ------------------------------------------------

KEY, OTHER_KEY = Ppk(b"ppk-1", b"q" * 32), Ppk(b"ppk-1", b"r" * 32)


def with_ppks(mine: Connection, theirs: Connection) -> Pair:
    return Pair(mine, theirs, agent_config=EngineConfig(theirs.proposals, ppk=bool(theirs.ppks)))


@pytest.mark.parametrize("mine_must", [False, True])
@pytest.mark.parametrize("theirs_must", [False, True])
def test_ppk_at_both_ends(mine_must: bool, theirs_must: bool) -> None:
    mobile = connection(ppks=(KEY,), ppk_required=mine_must)
    agent = counterpart(mobile, ppks=(Ppk(b"another", b"x" * 32), KEY), ppk_required=theirs_must)
    pair = with_ppks(mobile, agent).up()
    pair.check()
    assert pair.a.ike.ppk
    assert pair.b.ike.ppk
    pair.a(pair.a.engine.rekey(pair.a.ike.id, pair.now))
    pair.run()
    pair.check()
    assert pair.a.ike.ppk


@pytest.mark.parametrize("ppks", [(), (Ppk(b"ppk-2", b"z" * 32),)])
def test_ppk_that_only_one_end_has(ppks: tuple[Ppk, ...]) -> None:
    mobile = connection(ppks=(KEY,))
    pair = with_ppks(mobile, counterpart(mobile, ppks=ppks)).up()
    pair.check()
    assert not pair.a.ike.ppk
    assert not pair.b.ike.ppk
    strict = connection(ppks=(KEY,), ppk_required=True)
    pair = with_ppks(strict, counterpart(mobile, ppks=ppks))
    pair.initiate()
    pair.run()
    assert not pair.a.installed
    assert pair.a.of(IkeDown)


def test_an_agent_that_insists_on_a_ppk() -> None:
    mobile = connection()
    pair = with_ppks(mobile, counterpart(mobile, ppks=(KEY,), ppk_required=True))
    pair.initiate()
    pair.run()
    assert pair.down(pair.a).notify == NotifyType.AUTHENTICATION_FAILED


def test_a_wrong_ppk() -> None:
    mobile = connection(ppks=(KEY,))
    pair = with_ppks(mobile, counterpart(mobile, ppks=(OTHER_KEY,)))
    pair.initiate()
    pair.run()
    assert pair.down(pair.a).notify == NotifyType.AUTHENTICATION_FAILED


# --- additional key exchanges (RFC 9242, 9370) ---------------------------------------------

#: What takes the place of ML-KEM where the library has none: any method will do.
EXTRA = "mlkem768" if KeyExchange.MLKEM768 in available() else "ecp384"
HYBRID = parse_proposal(f"aes128gcm16-prfsha256-x25519-ke1_{EXTRA}")
HYBRID_ESP = parse_proposal(f"aes128gcm16-x25519-ke1_{EXTRA}", ProtocolId.ESP)


def hybrid(**changes: object) -> Pair:
    mobile = connection(proposals=(HYBRID,), children=(tunnel(proposals=(HYBRID_ESP,)),), **changes)
    return Pair(mobile)


def test_a_hybrid_handshake() -> None:
    """I-180, I-183."""
    pair = hybrid().up()
    pair.check()
    kinds = []
    for packet in pair.history:
        if not kinds or kinds[-1] != (packet.sender, packet.exchange):
            kinds.append((packet.sender, packet.exchange))
    assert [kind for _, kind in kinds] == [34, 34, 43, 43, 35, 35]
    assert EXTRA in pair.a.ike.suite
    assert all(len(packet.data) <= 1232 for packet in pair.history)


@pytest.mark.parametrize("extra", ["ke1_ecp256-ke2_ecp384", "ke1_ecp521-ke2_modp2048-ke3_ecp256"])
def test_several_additional_key_exchanges(extra: str) -> None:
    proposal = parse_proposal(f"aes256-sha256-x25519-{extra}")
    pair = Pair(connection(proposals=(proposal,))).up()
    pair.check()
    count = extra.count("ke")
    assert len({p.message_id for p in pair.history if p.exchange == 43}) == count


def test_hybrid_or_not() -> None:
    both = parse_proposals([f"aes128gcm16-prfsha256-x25519-ke1_{EXTRA}-ke1_none"])
    mobile = connection(proposals=both)
    agent = counterpart(mobile, proposals=parse_proposals(["aes128gcm16-prfsha256-x25519"]))
    pair = Pair(mobile, agent).up()
    pair.check()
    assert not [p for p in pair.history if p.exchange == 43]


@pytest.mark.parametrize("end", ["a", "b"])
def test_follow_ups_of_a_child_and_of_the_ike_sa(end: str) -> None:
    """I-181."""
    pair = hybrid().up()
    host = pair.hosts[end]
    start = len(pair.history)
    host(host.engine.rekey(host.child.id, pair.now))
    pair.run()
    pair.check()
    kinds = {p.exchange for p in pair.history[start:]}
    assert kinds == {36, 44, 37}
    host(host.engine.rekey(host.ike.id, pair.now))
    pair.run()
    pair.check()
    assert host.of(IkeUp)[-1].rekeyed


def test_new_children_with_follow_ups() -> None:
    mobile = connection(
        children=(
            tunnel(),
            tunnel("pq", 2, proposals=(HYBRID_ESP,), start=Start.ON_DEMAND),
        )
    )
    pair = Pair(mobile).up()
    pair.a(pair.a.engine.acquire("agent", "pq", pair.now))
    pair.run()
    pair.check(children=2)
    assert pair.a.named("pq").suite.additional_ke


def test_several_follow_ups() -> None:
    esp = parse_proposal("aes128gcm16-x25519-ke1_ecp256-ke2_ecp384", ProtocolId.ESP)
    pair = Pair(connection(children=(tunnel(proposals=(esp,)),))).up()
    start = len(pair.history)
    pair.a(pair.a.engine.rekey(pair.a.child.id, pair.now))
    pair.run()
    pair.check()
    assert [p.exchange for p in pair.history[start:]] == [36, 36, 44, 44, 44, 44, 37, 37]


def test_follow_ups_are_bounded() -> None:
    children = tuple(
        tunnel(f"net{n}", n, proposals=(HYBRID_ESP,), start=Start.ON_DEMAND) for n in range(1, 8)
    )
    pair = Pair(connection(children=children, window=8))
    pair.up()
    pair.lose = lambda p: p.exchange == ExchangeType.IKE_FOLLOWUP_KE
    for child in children:
        pair.a(pair.a.engine.acquire("agent", child.name, pair.now))
    pair.run()
    sa = next(iter(pair.b.engine._core.sas.values()))
    assert 1 <= len(sa.follow_ups) <= 4
    pair.lose = lambda p: False
    pair.later(120)


def test_follow_ups_that_never_come_are_forgotten() -> None:
    pair = hybrid().up()
    pair.lose = lambda p: p.exchange == ExchangeType.IKE_FOLLOWUP_KE
    pair.a(pair.a.engine.rekey(pair.a.child.id, pair.now))
    pair.later(25)
    sa = next(iter(pair.b.engine._core.sas.values()))
    assert not sa.follow_ups
    pair.lose = lambda p: False
    old = pair.a.child.id
    pair.later(60)
    # STATE_NOT_FOUND; the child lives on, and is rekeyed later.
    assert pair.a.child.id == old
    pair.later(120)
    pair.check()
    assert pair.a.child.id != old


def test_a_rekey_of_what_is_being_followed_up() -> None:
    """I-182."""
    pair = hybrid().up()
    pair.a(pair.a.engine.rekey(pair.a.child.id, pair.now))
    while pair.queue[0].exchange != ExchangeType.IKE_FOLLOWUP_KE:
        pair.step()
    held = [pair.take("a") for _ in range(len(pair.queue))]
    pair.b(pair.b.engine.rekey(pair.b.child.id, pair.now))
    pair.step()
    (refused,) = pair.peek(pair.queue[0])
    assert refused.type == NotifyType.TEMPORARY_FAILURE
    pair.run()
    for packet in held:
        pair.deliver(packet)
    pair.run()
    pair.later(30)
    pair.check()


@pytest.mark.parametrize("what", ["child", "ike"])
def test_collisions_of_rekeys_with_follow_ups(what: str) -> None:
    winners = set()
    for number in range(16):
        pair = hybrid().up()
        for _ in range(number):
            pair.a.engine._core.random(1)
        for host in (pair.a, pair.b):
            host(host.engine.rekey(host.child.id if what == "child" else host.ike.id, pair.now))
        pair.run()
        pair.later(120)
        pair.check()
        winners.add(pair.a.child.initiator if what == "child" else pair.a.ike.initiator)
    assert winners == {True, False}


def test_loss_with_additional_key_exchanges() -> None:
    whole = len(hybrid().up().history)
    for number in range(whole):
        pair = hybrid()
        pair.lose = lambda p, w=pair, n=number + 1: len(w.history) == n  # type: ignore[misc]
        pair.initiate()
        pair.later(5)
        pair.check()


def test_a_hybrid_handshake_needs_intermediate_at_both_ends() -> None:
    pair = hybrid()
    pair.initiate()
    packet = pair.take("a")
    message = parse(packet.data)
    payloads = [
        p
        for p in message.payloads
        if not (isinstance(p, Notify) and p.type == NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED)
    ]
    head = message.header
    stripped = build(Header(head.spi_i, head.spi_r, 34, head.flags, 0), payloads)
    pair.deliver(replace(packet, data=stripped))
    pair.run()
    assert pair.b.counters["ike_refused"] == 1
    assert not pair.b.engine._core.sas


def test_failed_children_are_told() -> None:
    mobile = connection(children=(tunnel("a", 1), tunnel("b", 2), tunnel("c", 3)))
    agent = counterpart(mobile, children=(mirrored(tunnel("a", 1)), mirrored(tunnel("c", 3))))
    pair = Pair(mobile, agent).up()
    pair.check(children=2)
    assert [f.name for f in pair.a.of(ChildFailed)] == ["b"]
    assert MOBILE in {pair.a.ike.local.address}
