# SPDX-License-Identifier: GPL-2.0-only
"""Rekeying of children and IKE SAs, their limits, and authenticating anew."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from dsmip.ikev2.config import Lifetime, Retransmission, Start, Timings
from dsmip.ikev2.effects import (
    AddChild,
    ChildFailed,
    DownCause,
    IkeDown,
    IkeUp,
    RemoveChild,
    UseChild,
)
from dsmip.ikev2.numbers import ExchangeType, NotifyType, ProtocolId
from dsmip.ikev2.payloads import Notify
from dsmip.ikev2.proposals import parse_proposal, parse_proposals
from dsmip.ikev2.states import ChildState

from tests.unit.ikepair import (
    Pair,
    connection,
    counterpart,
    mirrored,
    selector,
    signalling,
    tunnel,
)


def other(pair: Pair, end: str):  # type: ignore[no-untyped-def]
    return pair.hosts["b" if end == "a" else "a"]


# --- children ---------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["a", "b"])
def test_a_child_is_rekeyed_without_a_gap(end: str) -> None:
    pair = Pair().up()
    host, peer = pair.hosts[end], other(pair, end)
    old, old_peer = host.child, peer.child
    host.effects.clear()
    peer.effects.clear()
    host(host.engine.rekey(old.id, pair.now))
    pair.step()
    # The answering end receives by the new pair, and goes on sending by the old one.
    (added,) = peer.of(AddChild)
    assert not added.outbound
    assert added.child.replaces == old_peer.id
    assert peer.outbound == {old_peer.id}
    pair.step()
    (mine,) = host.of(AddChild)
    assert mine.outbound
    assert mine.child.replaces == old.id
    assert len(host.installed) == 2
    pair.step()
    # The old one is being deleted: only now the new one is sent by.
    changes = [e for e in peer.effects if isinstance(e, UseChild | RemoveChild)]
    assert [type(e) for e in changes] == [UseChild, RemoveChild]
    pair.run()
    pair.check()
    assert host.child.id != old.id
    assert (host.child.local, host.child.remote) == (old.local, old.remote)
    assert {host.child.keys_in.encryption, host.child.keys_out.encryption}.isdisjoint(
        {old.keys_in.encryption, old.keys_out.encryption}
    )


def test_children_are_rekeyed_in_time_for_ever() -> None:
    pair = Pair().up()
    pair.later(3 * 3600 + 10)
    pair.check()
    assert len(pair.a.of(AddChild)) >= 4
    assert not pair.a.of(ChildFailed)


def test_rekey_times_are_jittered() -> None:
    times = set()
    for number in range(5):
        mobile = connection(children=(tunnel("net", 1, jitter=0.3),))
        pair = Pair(mobile)
        for _ in range(number):
            pair.a.engine._core.random(4)
        pair.up()
        soft = pair.a.child.lifetime.soft_seconds
        assert 0.7 * 3600 <= soft <= 3600
        assert pair.a.child.lifetime.hard_seconds == 4000
        times.add(soft)
    assert len(times) > 1


def test_the_kernel_asks_for_a_rekey() -> None:
    pair = Pair().up()
    for spi, ends in (
        (pair.a.child.spi_in, pair.a.child.ends.local),
        (pair.a.child.spi_out, pair.a.child.ends.remote),
    ):
        old = pair.a.child.id
        pair.a(pair.a.engine.expire(ProtocolId.ESP, spi, False, pair.now, ends))
        pair.a(pair.a.engine.expire(ProtocolId.ESP, spi, False, pair.now, ends))
        pair.run()
        pair.check()
        assert pair.a.child.id != old
        break
    pair.a(pair.a.engine.expire(ProtocolId.ESP, pair.a.child.spi_out, False, pair.now))
    pair.run()
    pair.check()
    assert not pair.a.engine.expire(ProtocolId.ESP, 12345, False, pair.now)
    assert not pair.a.engine.expire(ProtocolId.AH, pair.a.child.spi_in, False, pair.now)


def test_a_child_that_expires_is_deleted_and_made_again() -> None:
    pair = Pair().up()
    old = pair.a.child.id
    pair.a(pair.a.engine.expire(ProtocolId.ESP, pair.a.child.spi_in, True, pair.now))
    assert [r.expired for r in pair.a.of(RemoveChild)] == [True]
    pair.run()
    pair.check()
    assert pair.a.child.id != old


def test_an_expired_child_on_demand_stays_away() -> None:
    pair = Pair(connection(children=(tunnel(start=Start.ON_DEMAND),))).up()
    pair.a(pair.a.engine.acquire("agent", "net", pair.now))
    pair.run()
    pair.b(pair.b.engine.expire(ProtocolId.ESP, pair.b.child.spi_in, True, pair.now))
    pair.run()
    pair.check(children=0)


def test_hard_limits_hold_without_the_kernel() -> None:
    mobile = connection(children=(tunnel(lifetime=Lifetime(0, 100)),))
    pair = Pair(mobile).up()
    first = pair.a.child.id
    pair.later(101)
    pair.check()
    assert pair.a.child.id != first


@pytest.mark.parametrize("esp", ["aes128gcm16-ecp256", "aes256-sha256-modp2048", "aes128gcm16"])
def test_rekey_with_and_without_a_key_exchange_of_its_own(esp: str) -> None:
    mobile = connection(children=(tunnel(proposals=(parse_proposal(esp, ProtocolId.ESP),)),))
    pair = Pair(mobile).up()
    pair.a(pair.a.engine.rekey(pair.a.child.id, pair.now))
    pair.run()
    pair.check()


def test_another_group_for_a_child() -> None:
    wide = parse_proposals(["aes128gcm16-ecp256-x25519"], ProtocolId.ESP)
    strict = parse_proposals(["aes128gcm16-x25519"], ProtocolId.ESP)
    mobile = connection(children=(tunnel(proposals=wide),))
    agent = counterpart(mobile, children=(mirrored(tunnel(proposals=strict)),))
    pair = Pair(mobile, agent).up()
    pair.a(pair.a.engine.rekey(pair.a.child.id, pair.now))
    pair.run()
    pair.check()
    assert pair.a.child.suite.ke == 31


def test_the_other_side_has_no_key_exchange_for_children() -> None:
    wide = parse_proposals(["aes128gcm16-x25519-modpnone"], ProtocolId.ESP)
    plain = parse_proposals(["aes128gcm16"], ProtocolId.ESP)
    mobile = connection(children=(tunnel(proposals=wide),))
    agent = counterpart(mobile, children=(mirrored(tunnel(proposals=plain)),))
    for end in "ab":
        pair = Pair(mobile, agent).up()
        host = pair.hosts[end]
        host(host.engine.rekey(host.child.id, pair.now))
        pair.run()
        pair.check()
        assert host.child.suite.ke == 0


def test_a_refused_rekey_is_tried_again_later() -> None:
    pair = Pair().up()
    agent = counterpart(
        pair.mobile,
        children=(
            mirrored(tunnel(proposals=parse_proposals(["aes256gcm16-x25519"], ProtocolId.ESP))),
        ),
    )
    pair.b(pair.b.engine.configure(agent, pair.now))
    old = pair.a.child.id
    pair.a(pair.a.engine.rekey(old, pair.now))
    pair.run()
    pair.check()
    assert pair.a.child.id == old
    pair.b(pair.b.engine.configure(pair.agent, pair.now))
    pair.later(61)
    pair.check()
    assert pair.a.child.id != old


def test_a_rekey_never_narrows() -> None:
    """I-117."""
    pair = Pair().up()
    narrow = mirrored(tunnel(local=(selector("2001:db8:77:1::/80"),)))
    view = pair.b.engine._core
    sa = next(iter(view.sas.values()))
    sa.resolved = (narrow,)
    pair.a(pair.a.engine.rekey(pair.a.child.id, pair.now))
    old = pair.a.child.id
    pair.run()
    assert pair.a.child.id == old
    assert pair.b.counters["ike_request_refused"] == 1


def test_a_child_that_the_other_side_lost() -> None:
    """CHILD_SA_NOT_FOUND: removed here in silence, made from scratch (section 2.25)."""
    pair = Pair().up()
    core = pair.b.engine._core
    core.effects = []
    core.remove_child(next(iter(core.children.values())), "lost by accident")
    pair.b(core.effects)
    old = pair.a.child.id
    pair.a(pair.a.engine.rekey(old, pair.now))
    pair.run()
    pair.check()
    assert pair.a.child.id != old


# --- IKE SAs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["a", "b"])
def test_an_ike_sa_is_rekeyed_with_its_children(end: str) -> None:
    """I-111, I-102."""
    pair = Pair(connection(children=(tunnel(), signalling()))).up()
    host, peer = pair.hosts[end], other(pair, end)
    old = host.ike
    before = set(host.installed)
    host(host.engine.rekey(old.id, pair.now))
    pair.run()
    pair.check(children=2)
    assert host.ike.id != old.id
    assert set(host.installed) == before
    assert not host.of(RemoveChild)
    assert not peer.of(RemoveChild)
    up = host.of(IkeUp)[-1]
    assert up.rekeyed
    assert up.replaces == old.id
    assert host.ike.initiator
    assert not peer.ike.initiator
    assert pair.down(host).cause is DownCause.REPLACED
    assert pair.down(peer).cause is DownCause.REPLACED
    # The ids begin at 0 again, and everything works in the new one.
    start = len(pair.history)
    for name in ("net", "mh"):
        pair.a(pair.a.engine.rekey(pair.a.named(name).id, pair.now))
        pair.run()
    pair.check(children=2)
    firsts = [p.message_id for p in pair.history[start:] if p.sender == "a" and not p.response]
    assert firsts[0] == 0


def test_ike_sas_are_rekeyed_in_time_for_ever() -> None:
    mobile = connection(timings=Timings(rekey=600, liveness=0))
    pair = Pair(mobile).up()
    pair.later(3600)
    pair.check()
    assert len([u for u in pair.a.of(IkeUp) if u.rekeyed]) >= 5
    inits = [p for p in pair.history if p.exchange == ExchangeType.IKE_SA_INIT]
    assert len(inits) == 2


@pytest.mark.parametrize("lost", range(4))
@pytest.mark.parametrize("what", ["ike", "child"])
def test_lost_messages_of_a_rekey(what: str, lost: int) -> None:
    pair = Pair().up()
    start = len(pair.history)
    pair.lose = lambda p: len(pair.history) == start + lost + 1
    pair.a(pair.a.engine.rekey(pair.a.ike.id if what == "ike" else pair.a.child.id, pair.now))
    pair.later(10)
    pair.check()


def test_another_group_for_the_ike_sa() -> None:
    mobile = connection(proposals=parse_proposals(["aes128gcm16-prfsha256-x25519-ecp256"]))
    pair = Pair(mobile).up()
    changed = counterpart(mobile, proposals=parse_proposals(["aes128gcm16-prfsha256-ecp256"]))
    pair.b(pair.b.engine.configure(changed, pair.now))
    pair.a(pair.a.engine.rekey(pair.a.ike.id, pair.now))
    pair.run()
    pair.check()
    assert "ecp256" in pair.a.ike.suite


def test_another_prf_after_a_rekey() -> None:
    both = parse_proposals(["aes128gcm16-prfsha256-x25519", "aes256gcm16-prfsha512-x25519"])
    mobile = connection(proposals=both)
    pair = Pair(mobile).up()
    strong = replace(mobile, proposals=both[1:])
    pair.a(pair.a.engine.configure(strong, pair.now))
    pair.a(pair.a.engine.rekey(pair.a.ike.id, pair.now))
    pair.run()
    pair.check()
    assert "prfsha512" in pair.b.ike.suite
    pair.b(pair.b.engine.rekey(pair.b.child.id, pair.now))
    pair.run()
    pair.check()


def test_a_refused_rekey_of_the_ike_sa_leaves_it() -> None:
    mobile = connection()
    pair = Pair(mobile).up()
    strict = counterpart(mobile, proposals=parse_proposals(["aes256gcm16-prfsha512-ecp521"]))
    pair.b(pair.b.engine.configure(strict, pair.now))
    pair.a(pair.a.engine.rekey(pair.a.ike.id, pair.now))
    pair.run()
    pair.check()
    pair.b(pair.b.engine.configure(pair.agent, pair.now))
    pair.later(61)
    pair.check()
    assert pair.a.of(IkeUp)[-1].rekeyed


def test_an_old_ike_sa_that_nobody_deletes() -> None:
    pair = Pair().up()
    pair.a(pair.a.engine.rekey(pair.a.ike.id, pair.now))
    pair.step()
    pair.step()
    delete = pair.take("a")
    assert delete.exchange == ExchangeType.INFORMATIONAL
    pair.lose = lambda p: p.sender == "a"
    assert pair.b.states == ["established", "rekeyed"]
    pair.later(121)
    assert pair.b.states == ["established"]
    assert len(pair.b.installed) == 1


def test_message_ids_never_wrap() -> None:
    pair = Pair().up()
    core = pair.a.engine._core
    sa = next(iter(core.sas.values()))
    peer = next(iter(pair.b.engine._core.sas.values()))
    sa.requests.next_id = peer.answers._lowest = (1 << 31) - 1
    pair.a(pair.a.engine.check(sa.id, pair.now))
    pair.later(1)
    pair.check()
    assert pair.a.of(IkeUp)[-1].rekeyed


# --- authenticating anew ------------------------------------------------------------------------


def test_authentication_anew_makes_before_it_breaks() -> None:
    pair = Pair(connection(children=(tunnel(), signalling()))).up()
    first = pair.a.ike.id
    old = {child.name: child for child in pair.a.installed.values()}
    pair.a.effects.clear()
    pair.b.effects.clear()
    pair.a(pair.a.engine.reauthenticate(first, pair.now))
    pair.run()
    pair.check(children=2)
    assert pair.a.ike.id != first
    for host in (pair.a, pair.b):
        order = [e for e in host.effects if isinstance(e, AddChild | RemoveChild | IkeDown)]
        assert [type(e) for e in order] == [
            AddChild,
            AddChild,
            RemoveChild,
            RemoveChild,
            IkeDown,
        ]
        assert host.of(IkeDown)[0].cause is DownCause.REPLACED or host is pair.b
    assert {c.name for c in pair.a.installed.values()} == set(old)
    assert not {c.id for c in pair.a.installed.values()} & {c.id for c in old.values()}
    # The answering end sends by the old child until the initiator has the new one.
    assert next(e.outbound for e in pair.b.of(AddChild)) is False
    assert pair.a.of(IkeUp)[0].replaces == first
    inits = [p for p in pair.history if p.exchange == ExchangeType.IKE_SA_INIT]
    assert len(inits) == 4


def test_authentication_anew_in_time_keeps_on_demand_children() -> None:
    children = (tunnel(), tunnel("demand", 2, start=Start.ON_DEMAND))
    mobile = connection(
        children=children, timings=Timings(rekey=0, reauthenticate=600, jitter=0, liveness=0)
    )
    pair = Pair(mobile).up()
    pair.a(pair.a.engine.acquire("agent", "demand", pair.now))
    pair.run()
    pair.later(1900)
    pair.check(children=2)
    assert len(pair.a.of(IkeUp)) >= 4
    assert not any(up.rekeyed for up in pair.a.of(IkeUp))


def test_a_failed_attempt_leaves_the_old_one_and_is_repeated() -> None:
    timings = Timings(
        rekey=0, reauthenticate=600, jitter=0, liveness=0, retransmission=Retransmission(tries=3)
    )
    pair = Pair(connection(timings=timings)).up()
    pair.lose = lambda p: p.exchange == ExchangeType.IKE_SA_INIT
    pair.later(650)
    assert "established" in pair.a.states
    assert len(pair.a.installed) == 1
    pair.lose = lambda p: False
    pair.later(60)
    pair.check()
    assert len(pair.a.of(IkeUp)) == 2


def test_the_answering_end_tells_when_it_wants_authentication_anew() -> None:
    """RFC 4478."""
    mobile = connection()
    agent = counterpart(mobile, timings=Timings(rekey=0, reauthenticate=1000, liveness=0, jitter=0))
    pair = Pair(mobile, agent).up()
    view = pair.a.ike
    assert view.reauthenticate_in == pytest.approx(900)
    pair.later(950)
    pair.check()
    assert len(pair.a.of(IkeUp)) == 2


def test_the_time_of_authentication_survives_a_rekey() -> None:
    mobile = connection(timings=Timings(rekey=400, reauthenticate=1000, jitter=0, liveness=0))
    pair = Pair(mobile, counterpart(mobile, timings=Timings(rekey=0, liveness=0))).up()
    pair.later(500)
    assert pair.a.ike.reauthenticate_in == pytest.approx(500)
    pair.later(600)
    pair.check()
    assert [up.rekeyed for up in pair.a.of(IkeUp)] == [False, True, True, False]


def test_temporary_failure_is_not_answered_with_haste_and_not_borne_for_ever() -> None:
    """I-115."""
    pair = Pair(connection(timings=Timings(rekey=0, liveness=0, temporary_failure=60))).up()
    sa = next(iter(pair.b.engine._core.sas.values()))
    child = next(iter(sa.children.values()))
    child.state = ChildState.DELETING
    start = pair.now
    asked: list[float] = []
    pair.lose = lambda p: bool(
        p.sender == "a" and p.exchange == ExchangeType.CREATE_CHILD_SA and asked.append(pair.now)
    )
    pair.a(pair.a.engine.rekey(pair.a.child.id, pair.now))
    pair.run()
    (refused,) = pair.peek(pair.history[-1])
    assert isinstance(refused, Notify)
    assert refused.type == NotifyType.TEMPORARY_FAILURE
    pair.later(50)
    gaps = [b - a for a, b in pairwise(asked)]
    assert all(2 <= gap <= 5 for gap in gaps), gaps
    assert len(gaps) > 5
    pair.later(30)
    assert pair.now - start > 60
    assert pair.down(pair.a).cause is DownCause.FAILED
    pair.gone()


def test_authentication_anew_while_the_ike_sa_is_rekeyed() -> None:
    """What ends is whatever the old one has become by then."""
    for order in (0, 1):
        pair = Pair().up()
        pair.a(pair.a.engine.rekey(pair.a.ike.id, pair.now))
        held = pair.take("a")
        pair.a(pair.a.engine.reauthenticate(pair.a.ike.id, pair.now))
        if order:
            pair.deliver(held)
        pair.run()
        if not order:
            pair.deliver(held)
        pair.later(10)
        pair.check()
        inits = [p for p in pair.history if p.exchange == ExchangeType.IKE_SA_INIT]
        assert len(inits) == 4
