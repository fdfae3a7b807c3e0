# SPDX-License-Identifier: GPL-2.0-only
"""Exchanges of both ends that cross each other (RFC 7296 sections 2.8 and 2.25).

Each end begins something at the same moment; then the wire delivers in one order
or the other, or loses a message. Whatever happens, both ends must have the same
in the end, and no traffic may be left without a child.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from itertools import product
from random import Random
from typing import Any

import pytest
from dsmip.ikev2.config import Movement, Start
from dsmip.ikev2.effects import AddChild, DownCause, IkeDown, IkeUp, RemoveChild, UseChild
from dsmip.ikev2.numbers import ExchangeType, NotifyType
from dsmip.ikev2.payloads import Delete, Notify

from tests.unit.ikepair import AGENT, MOBILE, Host, Packet, Pair, connection, tunnel

ELSEWHERE = ip_address("2001:db8:2::7")


def rekey_child(pair: Pair, host: Host) -> None:
    host(host.engine.rekey(host.named("net").id, pair.now))


def rekey_ike(pair: Pair, host: Host) -> None:
    host(host.engine.rekey(host.ike.id, pair.now))


def delete_child(pair: Pair, host: Host) -> None:
    host(host.engine.terminate(host.named("net").id, pair.now))


def delete_ike(pair: Pair, host: Host) -> None:
    host(host.engine.terminate(host.ike.id, pair.now))


def move(pair: Pair, host: Host) -> None:
    if host is pair.a:
        pair.moved(ELSEWHERE, AGENT)
    elif pair.agent.movement is Movement.LOCAL:
        pair.a.addresses.add(ELSEWHERE)
        pair.told(ELSEWHERE, AGENT)
    else:
        liveness(pair, host)


def new_child(pair: Pair, host: Host) -> None:
    name = pair.mobile.name if host is pair.a else pair.agent.name
    host(host.engine.acquire(name, "third", pair.now))


def liveness(pair: Pair, host: Host) -> None:
    host(host.engine.check(host.ike.id, pair.now))


ACTIONS: list[Callable[[Pair, Host], None]] = [
    rekey_child,
    rekey_ike,
    delete_child,
    delete_ike,
    move,
    new_child,
    liveness,
]
PAIRS = list(product(ACTIONS, ACTIONS))
NAMES = [f"{one.__name__}-{two.__name__}" for one, two in PAIRS]


def start(movement: Movement) -> Pair:
    children = (tunnel(), tunnel("other", 2), tunnel("third", 3, start=Start.ON_DEMAND))
    return Pair(connection(children=children, movement=movement)).up()


def deliver(pair: Pair, choose: Callable[[list[Packet]], str]) -> None:
    """Deliver what is under way, in order for each sender, ``choose`` between senders."""
    for _ in range(200):
        if not pair.queue:
            return
        sender = choose(pair.queue)
        at = next((n for n, p in enumerate(pair.queue) if p.sender == sender), 0)
        pair.step(at)
    raise AssertionError("no end of messages")


def first_of(sender: str) -> Callable[[list[Packet]], str]:
    return lambda queue: sender


def in_turns() -> Callable[[list[Packet]], str]:
    turn = iter("ab" * 200)
    return lambda queue: next(turn)


def judge(pair: Pair, one: Callable[..., None], two: Callable[..., None]) -> None:
    """Both ends agree, and what should be there is there."""
    actions = {one, two}
    if delete_ike in actions:
        pair.later(300)
        pair.gone()
        return
    if move in actions:
        # Where the mobility side decides, both ends hear of it in the end.
        pair.a.addresses.add(ELSEWHERE)
        pair.moved(ELSEWHERE, AGENT)
        pair.told(ELSEWHERE, AGENT)
        pair.run()
    names = sorted(child.name for child in pair.a.installed.values())
    expected = {"net", "other"}
    if delete_child in actions:
        expected.discard("net")
    if new_child in actions:
        expected.add("third")
    assert set(names) == expected
    pair.check(children=len(names))
    # Two ends that ask for the same at once get it twice, nothing else is doubled.
    assert len(names) - len(expected) <= (one is new_child and two is new_child)
    if move in actions:
        for host in (pair.a, pair.b):
            assert ELSEWHERE in {host.ike.local.address, host.ike.remote.address}
            for child in host.installed.values():
                assert ELSEWHERE in {child.ends.local, child.ends.remote}
    assert not pair.a.of(IkeDown) or pair.a.of(IkeUp)[-1].rekeyed
    inits = [p for p in pair.history if p.exchange == ExchangeType.IKE_SA_INIT]
    assert len(inits) == 2


def collide(
    pair: Pair,
    one: Callable[[Pair, Host], None],
    two: Callable[[Pair, Host], None],
    order: Callable[[list[Packet]], str],
) -> None:
    """Let both ends begin at once, deliver in an order, and judge what is left."""
    one(pair, pair.a)
    two(pair, pair.b)
    deliver(pair, order)
    pair.later(90)
    judge(pair, one, two)


@pytest.mark.parametrize("movement", [Movement.LOCAL, Movement.MOBIKE])
@pytest.mark.parametrize(("one", "two"), PAIRS, ids=NAMES)
def test_every_pair_in_every_order(
    one: Callable[[Pair, Host], None], two: Callable[[Pair, Host], None], movement: Movement
) -> None:
    if movement is Movement.MOBIKE and move not in (one, two):
        movement = Movement.NONE
    random = Random(f"{one.__name__} {two.__name__} {movement}")
    orders = [first_of("a"), first_of("b"), in_turns()]
    orders += [lambda queue: random.choice("ab") for _ in range(3)]
    for order in orders:
        collide(start(movement), one, two, order)


@pytest.mark.parametrize(("one", "two"), PAIRS, ids=NAMES)
def test_every_pair_with_a_lost_message(
    one: Callable[[Pair, Host], None], two: Callable[[Pair, Host], None]
) -> None:
    for lost in range(6):
        for order in (first_of("a"), first_of("b")):
            pair = start(Movement.LOCAL)
            begun = len(pair.history)
            pair.lose = lambda p, n=begun + lost + 1, w=pair: len(w.history) == n  # type: ignore[misc]
            collide(pair, one, two, order)


@pytest.mark.parametrize(("one", "two"), PAIRS, ids=NAMES)
def test_every_pair_with_every_message_repeated(
    one: Callable[[Pair, Host], None], two: Callable[[Pair, Host], None]
) -> None:
    pair = start(Movement.LOCAL)
    one(pair, pair.a)
    two(pair, pair.b)
    seen: list[Packet] = []
    for _ in range(100):
        if not pair.queue:
            break
        packet = pair.step()
        if packet not in seen:
            seen.append(packet)
            pair.deliver(packet)
    for packet in seen:
        pair.deliver(packet)
        pair.run()
    pair.later(60)
    judge(pair, one, two)


def test_many_collisions_at_random_over_a_bad_line() -> None:
    random = Random(17)
    pair = start(Movement.LOCAL)
    harmless = [rekey_child, rekey_ike, liveness]
    for _ in range(60):
        random.choice(harmless)(pair, pair.a)
        random.choice(harmless)(pair, pair.b)
        pair.lose = lambda p: random.random() < 0.2
        deliver(pair, lambda queue: random.choice("ab"))
        pair.later(3)
        pair.lose = lambda p: False
        pair.later(20)
        pair.check(children=2)


# --- the rules one by one --------------------------------------------------------------------


def crossed(action: Callable[[Pair, Host], None], pair: Pair | None = None) -> Pair:
    pair = pair or Pair().up()
    action(pair, pair.a)
    action(pair, pair.b)
    return pair


def test_the_lowest_nonce_of_four_decides_which_child_stays() -> None:
    """I-112, RFC 7296 2.8.1: the creator of the redundant one deletes it."""
    winners = set()
    for number in range(8):
        pair = Pair().up()
        for _ in range(number):
            pair.a.engine._core.random(1)
        old = {"a": pair.a.child, "b": pair.b.child}
        crossed(rekey_child, pair)
        requests = [pair.step(), pair.step()]
        nonces: dict[str, list[bytes]] = {"a": [], "b": []}
        for owner, packet in zip("abab", [*requests, *pair.queue], strict=True):
            found = [p.data for p in pair.peek(packet) if type(p).__name__ == "Nonce"]
            # The answer of b belongs to the exchange of a.
            nonces[owner] += found
        loser = min("ab", key=lambda end: min(nonces[end]))
        winner = "ab".replace(loser, "")
        pair.run()
        pair.check()
        assert pair.hosts[winner].child.initiator
        assert not pair.hosts[loser].child.initiator
        deletes = [
            (p.sender, spi)
            for p in pair.history[4:]
            if p.exchange == ExchangeType.INFORMATIONAL and not p.response
            for payload in pair.peek(p)
            if isinstance(payload, Delete)
            for spi in payload.spis
        ]
        assert (winner, old[winner].spi_in.to_bytes(4)) in deletes
        assert {sender for sender, _ in deletes} == {"a", "b"}
        assert len(deletes) == 2
        winners.add(winner)
    assert winners == {"a", "b"}


def test_the_redundant_child_is_never_sent_by() -> None:
    pair = crossed(rekey_child)
    pair.run()
    for host in (pair.a, pair.b):
        used = {e.child.id for e in host.of(UseChild)}
        used |= {e.child.id for e in host.of(AddChild) if e.outbound}
        assert len(used) == 2  # the first one and the one that stays


def test_a_late_request_finds_the_old_child_being_deleted() -> None:
    """The second drawing of section 2.8.1: TEMPORARY_FAILURE, and no second rekey."""
    pair = crossed(rekey_child)
    late = pair.take("a")
    pair.step()  # b's request
    pair.step()  # a's answer: b knows of no collision and deletes the old child
    assert pair.queue[0].sender == "b"
    assert pair.queue[0].exchange == ExchangeType.INFORMATIONAL
    delete = pair.take("b")
    pair.deliver(late)
    (refused,) = pair.peek(pair.queue[0])
    assert isinstance(refused, Notify)
    assert refused.type == NotifyType.TEMPORARY_FAILURE
    pair.run()
    pair.deliver(delete)
    pair.run()
    pair.later(20)
    pair.check()
    assert len(pair.a.of(AddChild)) == 2


def test_a_late_request_finds_no_old_child_any_more() -> None:
    pair = crossed(rekey_child)
    late = pair.take("a")
    pair.run()
    pair.deliver(late)
    (refused,) = pair.peek(pair.queue[0])
    assert refused.type == NotifyType.CHILD_SA_NOT_FOUND
    pair.run()
    pair.later(20)
    pair.check()
    assert len(pair.a.of(AddChild)) == 2


def test_the_ike_sa_that_stays_inherits_the_children() -> None:
    """I-113, section 2.8.2."""
    pair = crossed(rekey_ike)
    before = set(pair.a.installed)
    pair.run()
    pair.check()
    assert set(pair.a.installed) == before
    assert not pair.a.of(RemoveChild)
    assert pair.a.ike.spi_i == pair.b.ike.spi_i
    won = {host.name for host in (pair.a, pair.b) if host.counters["ike_collision_won"]}
    lost = {host.name for host in (pair.a, pair.b) if host.counters["ike_collision_lost"]}
    assert won | lost == {"a", "b"}
    assert len(won) == 1
    # Nobody hears of the one that was never used.
    assert len(pair.a.of(IkeDown)) == len(pair.b.of(IkeDown)) == 1


def test_a_lost_request_to_rekey_the_ike_sa() -> None:
    pair = crossed(rekey_ike)
    late = pair.take("a")
    pair.run()
    pair.check()
    assert pair.b.ike.initiator
    pair.deliver(late)
    pair.run()
    pair.later(60)
    pair.check()


def held_back(
    pair: Pair,
    first: Callable[[Pair, Host], None],
    by: str,
    then: Callable[[Pair, Host], None],
) -> tuple[Packet, list[Any]]:
    """Keep what one end begins from arriving while the other one begins something.

    Return the request that is under way and what answers the other one.
    """
    first(pair, pair.hosts[by])
    held = pair.take(by)
    then(pair, pair.hosts["ab".replace(by, "")])
    pair.step()
    return held, pair.peek(pair.queue[0])


def refused_meanwhile(
    pair: Pair,
    first: Callable[[Pair, Host], None],
    by: str,
    then: Callable[[Pair, Host], None],
    later: float = 30,
) -> None:
    """See TEMPORARY_FAILURE for the second one, and let all go its way then."""
    held, (refused,) = held_back(pair, first, by, then)
    assert refused.type == NotifyType.TEMPORARY_FAILURE, (first, then)
    pair.deliver(held)
    pair.run()
    pair.later(later)


def test_rekey_of_the_ike_sa_while_a_child_is_made_rekeyed_or_closed() -> None:
    """I-114."""
    for action in (rekey_child, delete_child, new_child):
        pair = start(Movement.LOCAL)
        refused_meanwhile(pair, action, "b", rekey_ike)
        assert pair.a.of(IkeUp)[-1].rekeyed
        pair.check(children=len(pair.a.installed))


def test_children_while_the_ike_sa_is_rekeyed() -> None:
    """I-116: create and rekey wait, a delete is answered as usual."""
    for action in (rekey_child, new_child):
        pair = start(Movement.LOCAL)
        refused_meanwhile(pair, rekey_ike, "a", action)
        pair.check(children=len(pair.a.installed))
    _, (delete,) = held_back(start(Movement.LOCAL), rekey_ike, "a", delete_child)
    assert isinstance(delete, Delete)


def test_rekey_of_an_ike_sa_that_is_being_deleted() -> None:
    pair = Pair().up()
    refused_meanwhile(pair, delete_ike, "b", rekey_ike, later=0)
    pair.gone()


def test_delete_of_an_ike_sa_that_is_being_rekeyed() -> None:
    """Answered as usual; our own request is forgotten."""
    pair = Pair().up()
    rekey_ike(pair, pair.a)
    late = pair.take("a")
    delete_ike(pair, pair.b)
    pair.run()
    pair.gone()
    pair.deliver(late)
    pair.run()
    pair.gone()
    assert pair.down(pair.a).cause is DownCause.DELETED


def test_both_delete_the_ike_sa() -> None:
    pair = crossed(delete_ike)
    pair.run()
    pair.gone()


def test_both_delete_a_child() -> None:
    """I-114: closed by both at once, neither answer names it."""
    pair = crossed(delete_child)
    pair.step()
    pair.step()
    assert [pair.peek(p) for p in pair.queue] == [[], []]
    pair.run()
    pair.check(children=0)


def test_a_child_is_deleted_while_its_rekey_is_under_way() -> None:
    pair = Pair().up()
    held, (delete,) = held_back(pair, rekey_child, "a", delete_child)
    assert isinstance(delete, Delete)
    pair.deliver(held)
    pair.run()
    pair.later(30)
    pair.check(children=0)


def test_movement_during_a_rekey() -> None:
    """What is outstanding goes out again from the new address, and finds its end."""
    for action in (rekey_child, rekey_ike):
        pair = Pair().up()
        action(pair, pair.a)
        pair.queue.clear()
        pair.a.addresses.discard(MOBILE)
        pair.moved(ELSEWHERE, AGENT)
        assert pair.queue[0].source.address == ELSEWHERE
        pair.run()
        pair.told(ELSEWHERE, AGENT)
        pair.run()
        pair.check()
        assert pair.a.child.ends.local == ELSEWHERE
