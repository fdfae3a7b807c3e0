# SPDX-License-Identifier: GPL-2.0-only
"""Further addresses of the end that answers: told, told anew, and used (RFC 4555 section 3.6)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from dsmip.ikev2.config import Movement, Retransmission, Timings
from dsmip.ikev2.effects import DownCause
from dsmip.ikev2.numbers import NotifyType

from tests.unit.ikepair import AGENT, AGENT4, Pair, connection, counterpart
from tests.unit.test_ikev2_movement import inits

OTHER_AGENT = ip_address("2001:db8:ffff::2")


def listed(*addresses: Any, **changes: Any) -> Pair:
    """Both ends with MOBIKE; the home agent has these addresses too."""
    mobile = connection(movement=Movement.MOBIKE, **changes)
    pair = Pair(mobile, counterpart(mobile, additional_addresses=addresses))
    pair.b.addresses.update(addresses)
    return pair.up()


def reconfigured(pair: Pair, *addresses: Any) -> None:
    pair.agent = replace(pair.agent, additional_addresses=addresses)
    pair.b(pair.b.engine.configure(pair.agent, pair.now))


def peer_addresses(pair: Pair) -> Any:
    return next(iter(pair.a.engine._core.sas.values())).peer_addresses


def test_an_agent_with_other_addresses_announces_them() -> None:
    pair = listed(AGENT, AGENT4)
    assert peer_addresses(pair) == (AGENT4,), "the one in use is no additional one"
    reconfigured(pair, AGENT, OTHER_AGENT)
    pair.run()
    assert peer_addresses(pair) == (OTHER_AGENT,)
    reconfigured(pair, AGENT)
    notifies = [payload.type for payload in pair.peek(pair.queue[0])]
    assert notifies == [NotifyType.NO_ADDITIONAL_ADDRESSES]
    pair.run()
    assert peer_addresses(pair) == ()
    reconfigured(pair, AGENT)
    assert not pair.queue, "what is the same is not told again"
    pair.check()


def test_without_mobike_nothing_is_announced() -> None:
    pair = Pair().up()
    reconfigured(pair, OTHER_AGENT)
    assert not pair.queue
    pair.check()


QUICK = Timings(rekey=0, liveness=30, jitter=0, retransmission=Retransmission(tries=3))


def test_an_agent_that_moved_is_found_at_its_other_address() -> None:
    pair = listed(OTHER_AGENT, AGENT4, timings=QUICK)
    old = pair.a.child
    pair.b.addresses.discard(AGENT)
    pair.later(40)
    pair.check()
    assert pair.a.ike.remote.address == pair.b.ike.local.address == OTHER_AGENT
    assert (pair.a.child.id, pair.a.child.ends.remote) == (old.id, OTHER_AGENT)
    assert inits(pair) == 2, "no other handshake"


def test_an_agent_that_is_nowhere_is_gone() -> None:
    pair = listed(OTHER_AGENT, ip_address("2001:db8:ffff::3"), timings=QUICK)
    pair.b.addresses.clear()
    pair.later(60)
    assert pair.down(pair.a).cause is DownCause.UNREACHABLE
    assert pair.a.counters["ike_elsewhere"] == 2
    assert not pair.a.installed


def test_addresses_of_the_other_family_are_not_tried() -> None:
    """No address of ours is known that could reach them."""
    pair = listed(AGENT4, timings=QUICK)
    pair.b.addresses.discard(AGENT)
    pair.later(60)
    assert pair.down(pair.a).cause is DownCause.UNREACHABLE
    assert "ike_elsewhere" not in pair.a.counters
