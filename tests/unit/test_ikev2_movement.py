# SPDX-License-Identifier: GPL-2.0-only
"""Ends that move: told by the mobility side, by MOBIKE, seen in packets and by the kernel."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from random import Random

import pytest
from dsmip.ikev2.config import Address, Movement, Timings
from dsmip.ikev2.effects import (
    AddChild,
    DownCause,
    Endpoint,
    IkeMoved,
    IkeUp,
    MoveChild,
    RemoveChild,
    Send,
)
from dsmip.ikev2.informational import Tell
from dsmip.ikev2.numbers import ExchangeType, NotifyType
from dsmip.ikev2.payloads import Notify

from tests.unit.ikepair import (
    AGENT,
    AGENT4,
    MOBILE,
    MOBILE4,
    Pair,
    connection,
    counterpart,
    signalling,
    tunnel,
)

ELSEWHERE = ip_address("2001:db8:2::7")
THIRD = ip_address("2001:db8:3::7")
INSIDE = ip_address("10.1.0.7")
OUTSIDE = ip_address("198.51.100.200")


def natted(pair: Pair, inside: Address = INSIDE, outside: Address = OUTSIDE) -> None:
    pair.a.addresses.add(inside)
    pair.nat_of[inside] = outside


def go(pair: Pair, local: Address, remote: Address, *, first: str = "a") -> None:
    """Move both ends, as a Binding Update and its acceptance do."""
    seen = pair.nat_of.get(local, local)
    if first == "a":
        pair.moved(local, remote)
        pair.run()
        pair.told(seen, remote)
    else:
        pair.a.addresses.add(local)
        pair.told(seen, remote)
        pair.run()
        pair.moved(local, remote)
    pair.run()


def inits(pair: Pair) -> int:
    return sum(p.exchange == ExchangeType.IKE_SA_INIT for p in pair.history)


# --- told by the mobility side -----------------------------------------------------------------


@pytest.mark.parametrize("first", ["a", "b"])
def test_the_grand_tour(first: str) -> None:
    """v6, v4, NAT, another NAT, v6: children follow, nothing is negotiated again."""
    pair = Pair(connection(children=(tunnel(), signalling()))).up()
    other = ip_address("10.9.0.9")
    stops = [
        (ELSEWHERE, AGENT, False),
        (MOBILE4, AGENT4, False),
        (INSIDE, AGENT4, True),
        (other, AGENT4, True),
        (MOBILE, AGENT, False),
        (INSIDE, AGENT4, True),
        (MOBILE4, AGENT4, False),
        (THIRD, AGENT, False),
    ]
    natted(pair)
    natted(pair, other, ip_address("198.51.100.201"))
    spis = {child.spi_in for child in pair.a.installed.values()}
    for local, remote, nat in stops:
        go(pair, local, remote, first=first)
        pair.check(children=2)
        child = pair.a.named("net")
        assert (child.ends.local, child.ends.remote) == (local, remote)
        assert (child.ends.encapsulation is not None) == nat
        assert (pair.a.ike.nat_local, pair.b.ike.nat_remote) == (nat, nat)
        assert pair.a.named("mh").ends.local == ip_address("2001:db8:ffff::77")
    assert inits(pair) == 2
    assert {child.spi_in for child in pair.a.installed.values()} == spis
    for host in (pair.a, pair.b):
        assert len(host.of(AddChild)) == 2
        assert not host.of(RemoveChild)
        assert len(host.of(IkeUp)) == 1


def test_children_follow_at_once_and_one_message_tells_the_other_end() -> None:
    pair = Pair().up()
    start = len(pair.history)
    pair.a.effects.clear()
    pair.moved(ELSEWHERE, AGENT)
    kinds = [type(effect) for effect in pair.a.effects]
    assert kinds == [IkeMoved, MoveChild, Send]
    payloads = pair.peek(pair.queue[0])
    assert [p.type for p in payloads] == [
        NotifyType.NAT_DETECTION_SOURCE_IP,
        NotifyType.NAT_DETECTION_DESTINATION_IP,
    ]
    pair.run()
    assert len(pair.history) - start == 2
    # Told again: nothing happens.
    pair.moved(ELSEWHERE, AGENT)
    assert len(pair.history) - start == 2


@pytest.mark.spec("M-075")
def test_only_an_accepted_binding_update_moves_the_agents_children() -> None:
    """I-015: the IKE SA follows the message, the tunnel waits."""
    pair = Pair().up()
    pair.moved(ELSEWHERE, AGENT)
    pair.run()
    assert pair.b.ike.remote.address == ELSEWHERE
    assert pair.b.child.ends.remote == MOBILE
    pair.told(ELSEWHERE, AGENT)
    assert pair.b.child.ends.remote == ELSEWHERE
    pair.check()


@pytest.mark.spec("D-055")
def test_the_agent_learns_the_port_before_or_after_it_is_told() -> None:
    for first in "ab":
        pair = Pair()
        natted(pair)
        pair.up()
        go(pair, INSIDE, AGENT4, first=first)
        port = pair.nat[Endpoint(INSIDE, 4500)].port
        assert pair.b.child.ends.encapsulation == (4500, port)
        assert pair.b.ike.remote == Endpoint(OUTSIDE, port)
        pair.check()


def test_encapsulation_is_guessed_alike_at_both_ends_until_it_is_known() -> None:
    pair = Pair().up()
    pair.moved(MOBILE4, AGENT4)
    pair.told(MOBILE4, AGENT4)
    assert pair.a.child.ends.encapsulation == pair.b.child.ends.encapsulation == (4500, 4500)
    pair.run()
    pair.check()
    assert pair.a.child.ends.encapsulation is None


def test_what_the_mobility_side_knows_of_a_nat_is_believed_first() -> None:
    pair = Pair().up()
    pair.moved(MOBILE4, AGENT4, nat=False)
    pair.told(MOBILE4, AGENT4, nat=False)
    assert pair.a.child.ends.encapsulation is pair.b.child.ends.encapsulation is None
    pair.run()
    pair.check()
    assert len(pair.a.of(MoveChild)) == 1


def test_outstanding_requests_go_out_again_from_the_new_address() -> None:
    pair = Pair().up()
    pair.a(pair.a.engine.rekey(pair.a.child.id, pair.now))
    (lost,) = pair.queue
    pair.queue.clear()
    pair.moved(ELSEWHERE, AGENT)
    again = pair.queue[0]
    assert again.data == lost.data
    assert again.source.address == ELSEWHERE
    pair.run()
    pair.told(ELSEWHERE, AGENT)
    pair.run()
    pair.check()


def test_the_agent_sends_its_outstanding_requests_to_the_new_address() -> None:
    pair = Pair().up()
    pair.b(pair.b.engine.check(pair.b.ike.id, pair.now))
    pair.queue.clear()
    pair.a.addresses = {ELSEWHERE, MOBILE4}
    pair.told(ELSEWHERE, AGENT)
    assert pair.queue[0].target.address == ELSEWHERE
    pair.moved(ELSEWHERE, AGENT)
    pair.run()
    pair.check()


def test_a_move_before_the_answer_to_the_last_one() -> None:
    pair = Pair().up()
    pair.moved(ELSEWHERE, AGENT)
    held = pair.take("a")
    pair.moved(THIRD, AGENT)
    pair.run()
    pair.deliver(held)
    pair.run()
    pair.told(THIRD, AGENT)
    pair.run()
    pair.check()
    assert pair.b.ike.remote.address == THIRD


def test_a_move_during_the_handshake() -> None:
    for steps in range(4):
        pair = Pair()
        pair.initiate()
        for _ in range(steps):
            pair.step()
        pair.queue.clear()
        pair.a.addresses.discard(MOBILE)
        pair.moved(ELSEWHERE, AGENT)
        pair.later(3)
        pair.told(ELSEWHERE, AGENT)
        pair.run()
        pair.check()
        assert pair.b.ike.remote.address == ELSEWHERE
        assert not pair.a.ike.nat_local


def test_the_update_survives_loss() -> None:
    for lost in range(2):
        pair = Pair().up()
        start = len(pair.history)
        pair.lose = lambda p, n=start + lost + 1, w=pair: len(w.history) == n  # type: ignore[misc]
        go(pair, ELSEWHERE, AGENT)
        pair.later(3)
        pair.check()
        assert pair.b.ike.remote.address == ELSEWHERE


def test_a_rekey_after_a_move_goes_to_the_new_place() -> None:
    pair = Pair()
    natted(pair)
    pair.up()
    go(pair, INSIDE, AGENT4)
    for end in (pair.b, pair.a):
        end(end.engine.rekey(end.ike.id, pair.now))
        pair.run()
        end(end.engine.rekey(end.child.id, pair.now))
        pair.run()
        pair.check()
    go(pair, ELSEWHERE, AGENT)
    pair.check()
    assert inits(pair) == 2


def test_who_moves_stays_the_mobile_end_when_the_other_rekeyed() -> None:
    pair = Pair().up()
    pair.b(pair.b.engine.rekey(pair.b.ike.id, pair.now))
    pair.run()
    go(pair, ELSEWHERE, AGENT)
    pair.check()
    assert pair.b.ike.remote.address == ELSEWHERE


def tour(pair: Pair, random: Random, local: Address, remote: Address) -> None:
    """One movement among other exchanges, in whatever order, over a bad line."""
    seen = pair.nat_of.get(local, local)
    steps = [
        lambda: pair.moved(local, remote),
        lambda: pair.told(seen, remote),
        lambda: pair.a(pair.a.engine.rekey(pair.a.named("net").id, pair.now)),
        lambda: pair.b(pair.b.engine.check(pair.b.ike.id, pair.now)),
    ]
    random.shuffle(steps)
    pair.lose = lambda p: random.random() < 0.25
    for step in steps:
        step()
        pair.later(random.random())
    pair.lose = lambda p: False
    pair.later(90)
    pair.check(children=2)


def test_random_tours_over_a_bad_line() -> None:
    random = Random(5)
    places = [(MOBILE, AGENT), (ELSEWHERE, AGENT), (MOBILE4, AGENT4), (INSIDE, AGENT4)]
    for _ in range(8):
        pair = Pair(connection(children=(tunnel(), tunnel("other", 2))))
        natted(pair)
        pair.up()
        for _ in range(12):
            tour(pair, random, *random.choice(places))
        assert inits(pair) == 2


def test_moved_for_nobody() -> None:
    pair = Pair().up()
    assert pair.a.engine.moved("stranger", ELSEWHERE, AGENT, pair.now) == []
    assert pair.a.engine.moved(999, ELSEWHERE, AGENT, pair.now) == []
    assert pair.a.engine.moved(pair.a.ike.id, ELSEWHERE, AGENT, pair.now)


# --- seen in packets and by the kernel -----------------------------------------------------------


def test_the_end_outside_follows_fresh_packets_only() -> None:
    """I-121."""
    pair = Pair(connection(movement=Movement.NONE))
    natted(pair)
    pair.up(INSIDE, AGENT4)
    old = pair.b.ike.remote
    pair.rebind()
    pair.a(pair.a.engine.check(pair.a.ike.id, pair.now))
    replay = pair.queue[0]
    pair.run()
    new = pair.b.ike.remote
    assert new != old
    assert pair.b.child.ends.encapsulation == (4500, new.port)
    pair.check()
    # Repeated from somewhere else it moves nothing.
    pair.nat_of[INSIDE] = ip_address("192.0.2.66")
    pair.rebind()
    pair.deliver(replay)
    pair.queue.clear()
    assert pair.b.ike.remote == new


def test_forged_packets_move_nothing() -> None:
    pair = Pair(connection(movement=Movement.NONE)).up()
    pair.a(pair.a.engine.check(pair.a.ike.id, pair.now))
    packet = pair.take("a")
    forged = replace(packet, data=packet.data[:-1] + b"\0", source=Endpoint(ELSEWHERE, 500))
    pair.deliver(forged)
    assert pair.b.ike.remote.address == MOBILE
    assert pair.b.counters["ike_bad_icv"] == 1
    pair.deliver(packet)
    pair.run()
    pair.check()


def test_the_end_behind_the_nat_does_not_follow() -> None:
    pair = Pair(connection(movement=Movement.NONE))
    natted(pair)
    pair.up(INSIDE, AGENT4)
    pair.b(pair.b.engine.check(pair.b.ike.id, pair.now))
    packet = pair.take("b")
    pair.deliver(replace(packet, source=Endpoint(ip_address("192.0.2.1"), 4500)))
    assert pair.a.ike.remote.address == AGENT4


def test_the_mobile_end_never_follows_the_agent() -> None:
    pair = Pair().up()
    pair.b(pair.b.engine.check(pair.b.ike.id, pair.now))
    packet = pair.take("b")
    pair.deliver(replace(packet, source=Endpoint(ip_address("2001:db8:666::1"), 4500)))
    assert pair.a.ike.remote.address == AGENT


def test_the_kernel_sees_a_new_mapping() -> None:
    pair = Pair()
    natted(pair)
    pair.up(INSIDE, AGENT4)
    pair.rebind()
    seen = pair.translate(Endpoint(INSIDE, 4500))
    pair.b(pair.b.engine.mapping(pair.b.child.spi_in, seen, pair.now))
    assert pair.b.ike.remote == seen
    pair.check()
    assert pair.b.engine.mapping(4711, seen, pair.now) == []
    # The end that is behind the NAT itself stays where it is.
    pair.a(pair.a.engine.mapping(pair.a.child.spi_in, Endpoint(OUTSIDE, 99), pair.now))
    assert pair.a.ike.remote == Endpoint(AGENT4, 4500)


def test_keepalives_begin_and_end_with_the_nat() -> None:
    """I-124."""

    def keepalives(pair: Pair) -> int:
        return sum(packet.data == b"\xff" for packet in pair.history)

    pair = Pair()
    natted(pair)
    pair.up()
    pair.later(100)
    assert keepalives(pair) == 0
    go(pair, INSIDE, AGENT4)
    pair.later(100)
    assert keepalives(pair) == 5
    go(pair, ELSEWHERE, AGENT)
    pair.later(100)
    assert keepalives(pair) == 5


# --- MOBIKE ------------------------------------------------------------------------------------


def mobike(**changes: object) -> Pair:
    mobile = connection(movement=Movement.MOBIKE, **changes)
    return Pair(mobile, counterpart(mobile))


@pytest.mark.parametrize("nat", [False, True])
def test_mobike_moves_both_ends(nat: bool) -> None:
    """I-140 to I-143."""
    pair = mobike()
    natted(pair)
    pair.up()
    assert {p.target.port for p in pair.history[2:]} == {4500}
    local, remote = (INSIDE, AGENT4) if nat else (ELSEWHERE, AGENT)
    pair.moved(local, remote)
    assert NotifyType.UPDATE_SA_ADDRESSES in {p.type for p in pair.peek(pair.queue[0])}
    pair.step()
    # The other end asks first whether we are reachable there (return routability).
    assert pair.b.child.ends.remote == MOBILE
    checks = [p for p in pair.queue if p.sender == "b" and not p.response]
    (cookie,) = pair.peek(checks[0])
    assert cookie.type == NotifyType.COOKIE2
    pair.run()
    pair.check()
    assert pair.a.child.ends.local == local
    assert (pair.a.child.ends.encapsulation is not None) == nat
    assert inits(pair) == 2


def test_mobike_tour() -> None:
    pair = mobike(children=(tunnel(), tunnel("other", 2)))
    natted(pair)
    pair.up()
    for local, remote in [
        (ELSEWHERE, AGENT),
        (MOBILE4, AGENT4),
        (INSIDE, AGENT4),
        (THIRD, AGENT),
        (INSIDE, AGENT4),
        (MOBILE, AGENT),
    ]:
        pair.moved(local, remote)
        pair.run()
        pair.check(children=2)
        assert pair.a.named("net").ends.local == local
    for end in (pair.b, pair.a):
        end(end.engine.rekey(end.ike.id, pair.now))
        pair.run()
    pair.moved(ELSEWHERE, AGENT)
    pair.run()
    pair.check(children=2)


def test_a_late_answer_to_the_request_from_before_is_not_taken() -> None:
    """AUTH covers the request that was answered, and that is not the one of now."""
    pair = Pair()
    pair.initiate()
    pair.step()
    assert pair.queue[0].sender == "b"
    pair.moved(ELSEWHERE, AGENT)
    pair.run()
    pair.check()
    assert pair.a.ike.local.address == pair.b.ike.remote.address == ELSEWHERE
    assert pair.a.counters["ike_stale"] == 1


def test_a_further_move_restarts_the_update() -> None:
    pair = mobike().up()
    pair.moved(ELSEWHERE, AGENT)
    pair.step()
    pair.a.addresses.discard(ELSEWHERE)
    pair.moved(THIRD, AGENT)
    pair.later(20)
    pair.check()
    assert pair.b.child.ends.remote == THIRD


def test_with_mobike_packets_move_nothing_by_themselves() -> None:
    """I-146."""
    pair = mobike().up()
    pair.a(pair.a.engine.check(pair.a.ike.id, pair.now))
    packet = pair.take("a")
    pair.deliver(replace(packet, source=Endpoint(ELSEWHERE, 4500)))
    assert pair.b.ike.remote.address == MOBILE
    assert pair.take("b").target.address == ELSEWHERE


@pytest.mark.spec("D-056")
def test_mobike_and_binding_updates_do_not_mix() -> None:
    """I-148."""
    pair = mobike().up()
    pair.told(ELSEWHERE, AGENT)
    assert pair.b.child.ends.remote == MOBILE


def test_mobike_only_when_both_want_it() -> None:
    mobile = connection(movement=Movement.MOBIKE)
    pair = Pair(mobile, counterpart(mobile, movement=Movement.NONE)).up()
    pair.moved(ELSEWHERE, AGENT)
    notifies = {p.type for p in pair.peek(pair.queue[0])}
    assert NotifyType.UPDATE_SA_ADDRESSES not in notifies
    pair.run()
    pair.check()


def test_a_wrong_cookie2_closes_the_ike_sa() -> None:
    """I-144."""
    pair = mobike().up()
    pair.moved(ELSEWHERE, AGENT)
    pair.step()
    sa = next(iter(pair.b.engine._core.sas.values()))
    (item,) = sa.requests.outstanding.values()
    item.exchange._cookie = bytes(16)  # type: ignore[attr-defined]
    pair.run()
    assert pair.down(pair.b).cause is DownCause.FAILED
    assert pair.down(pair.a).cause is DownCause.DELETED
    pair.gone()


def test_changed_mappings_are_found_by_liveness_checks() -> None:
    """I-146: NAT detection in them, then UPDATE_SA_ADDRESSES."""
    pair = mobike(timings=Timings(rekey=0, liveness=30, jitter=0))
    natted(pair)
    pair.up(INSIDE, AGENT4)
    pair.later(65)
    old = pair.b.ike.remote
    pair.rebind()
    pair.later(70)
    assert pair.b.ike.remote != old
    pair.check()


def test_lists_of_addresses_are_replaced_as_a_whole() -> None:
    """I-145."""
    mobile = connection(movement=Movement.MOBIKE)
    agent = counterpart(mobile, additional_addresses=(AGENT4, ip_address("2001:db8:ffff::2")))
    pair = Pair(mobile, agent).up()
    sa = next(iter(pair.a.engine._core.sas.values()))
    assert sa.peer_addresses == agent.additional_addresses
    core = pair.b.engine._core
    core.effects = []
    core.queue(
        next(iter(core.sas.values())),
        Tell(Notify(NotifyType.ADDITIONAL_IP4_ADDRESS, ip_address("192.0.2.9").packed)),
    )
    pair.b(core.effects)
    pair.run()
    assert sa.peer_addresses == (ip_address("192.0.2.9"),)


def test_nats_can_be_forbidden() -> None:
    """I-147."""
    mobile = connection(movement=Movement.MOBIKE, nat_traversal=False)
    pair = Pair(mobile, counterpart(mobile))
    natted(pair)
    pair.up()
    pair.moved(ELSEWHERE, AGENT)
    pair.run()
    pair.check()
    assert pair.a.child.ends.local == ELSEWHERE
    pair.moved(INSIDE, AGENT4)
    pair.later(5)
    assert pair.b.child.ends.remote == ELSEWHERE
    assert any("NAT" in n.text for n in pair.a.effects if type(n).__name__ == "Note")
    refused = Pair(mobile, counterpart(mobile))
    natted(refused)
    refused.initiate(INSIDE, AGENT4)
    refused.run()
    assert refused.down(refused.a).notify == NotifyType.UNEXPECTED_NAT_DETECTED


def test_mobike_over_a_bad_line() -> None:
    random = Random(3)
    places = [(MOBILE, AGENT), (ELSEWHERE, AGENT), (MOBILE4, AGENT4), (INSIDE, AGENT4)]
    pair = mobike(children=(tunnel(), tunnel("other", 2)))
    natted(pair)
    pair.up()
    for _ in range(25):
        pair.lose = lambda p: random.random() < 0.3
        for _ in range(random.choice((1, 2))):
            pair.moved(*random.choice(places))
            pair.later(random.random() * 2)
        pair.a(pair.a.engine.rekey(pair.a.named("net").id, pair.now))
        pair.later(2)
        pair.lose = lambda p: False
        pair.later(120)
        pair.check(children=2)
    assert inits(pair) == 2
