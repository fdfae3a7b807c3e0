# SPDX-License-Identifier: GPL-2.0-only
"""NATs, fragments, status, and configurations that change below a live IKE SA."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from dsmip.ikev2.config import EngineConfig, Mode, Movement, Timings
from dsmip.ikev2.effects import (
    Endpoint,
)
from dsmip.ikev2.numbers import ExchangeType

from tests.unit.ikepair import (
    AGENT,
    AGENT4,
    MOBILE,
    MOBILE4,
    Pair,
    connection,
    counterpart,
    selector,
    signalling,
    tunnel,
)

# --- NAT ------------------------------------------------------------------------------------


def test_ports_do_not_change_for_whoever_does_not_move_and_sees_no_nat() -> None:
    pair = Pair(connection(movement=Movement.NONE)).up()
    assert {packet.target.port for packet in pair.history} == {500}
    assert pair.a.child.ends.encapsulation is None
    pair.check()


def test_without_nat_traversal_everything_stays_on_500() -> None:
    mobile = connection(nat_traversal=False)
    pair = Pair(mobile).up(MOBILE4, AGENT4)
    assert {packet.target.port for packet in pair.history} == {500}
    config = EngineConfig(mobile.proposals, nat_traversal=False)
    Pair(agent_config=config).up().check()


def test_a_nat_is_found_and_esp_goes_in_udp() -> None:
    """I-120, I-124."""
    pair = Pair()
    inside = ip_address("10.0.0.7")
    pair.a.addresses.add(inside)
    pair.nat_of[inside] = ip_address("198.51.100.99")
    pair.up(inside, AGENT4)
    pair.check()
    assert pair.a.ike.nat_local
    assert pair.b.ike.nat_remote
    assert pair.a.child.ends.encapsulation == (4500, 4500)
    ends = pair.b.child.ends
    assert str(ends.remote) == "198.51.100.99"
    assert ends.encapsulation == (4500, pair.nat[Endpoint(inside, 4500)].port)
    before = len(pair.history)
    pair.later(61)
    assert [packet.data for packet in pair.history[before:]] == [b"\xff"] * 3
    pair.check()


def test_encapsulation_can_be_forced() -> None:
    pair = Pair(connection(force_encapsulation=True)).up(MOBILE4, AGENT4)
    pair.check()
    assert pair.a.child.ends.encapsulation == (4500, 4500)


def test_signalling_is_never_encapsulated() -> None:
    """I-030."""
    pair = Pair(connection(children=(signalling(), tunnel())))
    inside = ip_address("10.0.0.7")
    pair.a.addresses.add(inside)
    pair.nat_of[inside] = ip_address("198.51.100.99")
    pair.up(inside, AGENT4)
    for host in (pair.a, pair.b):
        assert host.named("mh").ends.encapsulation is None
        assert host.named("net").ends.encapsulation is not None


def test_host_to_host_transport_behind_a_nat() -> None:
    """RFC 7296 2.23.1: each end has selectors that fit the packets it sees."""
    inside, outside = ip_address("10.0.0.7"), ip_address("198.51.100.99")
    child = tunnel(
        mode=Mode.TRANSPORT, local=(selector("0.0.0.0/0"),), remote=(selector("0.0.0.0/0"),)
    )
    pair = Pair(connection(children=(child,)))
    pair.a.addresses.add(inside)
    pair.nat_of[inside] = outside
    pair.up(inside, AGENT4)
    assert pair.a.child.mode is Mode.TRANSPORT
    assert pair.a.child.local[0].host == inside
    assert pair.a.child.remote[0].host == AGENT4
    assert pair.b.child.remote[0].host == outside
    assert pair.b.child.local[0].host == AGENT4
    pair.a(pair.a.engine.rekey(pair.a.child.id, pair.now))
    pair.run()
    assert pair.b.child.remote[0].host == outside


def test_selectors_of_transport_mode_are_those_of_the_hosts() -> None:
    child = tunnel(mode=Mode.TRANSPORT, local=(selector("::/0"),), remote=(selector("::/0"),))
    pair = Pair(connection(children=(child,))).up()
    pair.check()
    assert pair.a.child.local[0].host == MOBILE
    assert pair.a.child.remote[0].host == AGENT


# --- fragments, views, configuration -----------------------------------------------------------


def test_long_messages_are_cut_and_put_together() -> None:
    """I-160 to I-162."""
    selectors = tuple(selector(f"2001:db8:77:{n:x}::/64") for n in range(60))
    mobile = connection(children=(tunnel(local=selectors),))
    pair = Pair(mobile).up()
    pair.check()
    assert all(len(packet.data) <= 1280 - 48 for packet in pair.history)
    assert len([p for p in pair.history if p.exchange == ExchangeType.IKE_AUTH]) > 2
    small = Pair(replace(mobile, fragment=400)).up(MOBILE, AGENT)
    assert all(len(p.data) <= 400 - 48 for p in small.history if p.sender == "a" and p.message_id)
    for config in (
        {"mobile": replace(mobile, fragmentation=False)},
        {"mobile": mobile, "agent_config": EngineConfig(mobile.proposals, fragmentation=False)},
    ):
        whole = Pair(**config).up()  # type: ignore[arg-type]
        assert len(whole.history) == 4


def test_lost_fragments_are_made_good() -> None:
    selectors = tuple(selector(f"2001:db8:77:{n:x}::/64") for n in range(60))
    mobile = connection(children=(tunnel(local=selectors),))
    whole = len(Pair(mobile).up().history)
    for lost in range(2, whole):
        pair = Pair(mobile)
        pair.lose = lambda p, pair=pair, lost=lost: len(pair.history) == lost + 1  # type: ignore[misc]
        pair.initiate()
        pair.later(3)
        pair.check()


def test_only_the_first_fragment_asks_for_the_answer_again() -> None:
    """I-164."""
    selectors = tuple(selector(f"2001:db8:77:{n:x}::/64") for n in range(60))
    pair = Pair(connection(children=(tunnel(local=selectors),))).up()
    first, second = [p for p in pair.history if p.sender == "a" and p.message_id == 1][:2]
    pair.deliver(second)
    assert not pair.queue
    pair.deliver(first)
    assert pair.queue


def test_views_show_no_keys_and_everything_else() -> None:
    pair = Pair(connection(timings=Timings(rekey=3600, jitter=0.0))).up()
    pair.later(5)
    view = pair.a.ike
    assert view.state == "established"
    assert view.age == pytest.approx(5)
    assert view.rekey_in == pytest.approx(3595)
    assert view.suite == "aes128gcm16-prfsha256-x25519"
    (child,) = view.children
    assert child.suite == "aes128gcm16"
    assert child.rekey_in == pytest.approx(3595)
    keys = pair.a.child.keys_in.encryption
    assert keys.hex() not in repr(pair.a.effects)
    assert repr(keys) not in repr(pair.a.effects)
    assert pair.a.engine.find("agent") == view.id
    assert pair.a.engine.find("other") is None
    assert pair.a.engine.connected("agent")


def test_children_follow_a_changed_configuration() -> None:
    pair = Pair(connection(children=(tunnel(), tunnel("other", 2)))).up()
    kept = pair.a.named("other").id
    changed = replace(pair.mobile, children=(tunnel("other", 2), tunnel("third", 3)))
    pair.b(pair.b.engine.configure(counterpart(changed), pair.now))
    pair.run()
    pair.a(pair.a.engine.configure(changed, pair.now))
    pair.run()
    pair.check(children=2)
    assert {child.name for child in pair.a.installed.values()} == {"other", "third"}
    assert pair.a.named("other").id == kept


def test_a_child_with_other_selectors_is_made_anew() -> None:
    pair = Pair().up()
    old = pair.a.child.id
    changed = replace(pair.mobile, children=(tunnel(local=(selector("2001:db8:99::/64"),)),))
    pair.a(pair.a.engine.configure(changed, pair.now))
    pair.b(pair.b.engine.configure(counterpart(changed), pair.now))
    pair.run()
    pair.later(10)
    pair.check()
    assert pair.a.child.id != old
    assert str(pair.b.child.remote[0]) == "2001:db8:99::/64"
