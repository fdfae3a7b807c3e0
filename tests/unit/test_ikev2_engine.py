# SPDX-License-Identifier: GPL-2.0-only
"""The ordinary life of IKE SAs: made, used, checked, deleted; messages lost and repeated."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from dsmip.ikev2.authentication import Psk
from dsmip.ikev2.config import EngineConfig, Mode, Retransmission, Start, Timings
from dsmip.ikev2.effects import (
    AddChild,
    ChildFailed,
    Count,
    DownCause,
    Endpoint,
    IkeDown,
    IkeUp,
    Note,
    RemoveChild,
    Send,
)
from dsmip.ikev2.errors import LocalError
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.numbers import ExchangeType, NotifyType, ProtocolId
from dsmip.ikev2.payloads import Delete, Notify
from dsmip.ikev2.proposals import parse_proposal, parse_proposals

from tests.unit.ikepair import (
    AGENT4,
    MOBILE,
    MOBILE4,
    Pair,
    connection,
    counterpart,
    mirrored,
    selector,
    signalling,
    tunnel,
)


def exchanges(pair: Pair) -> list[str]:
    return [str(packet) for packet in pair.history]


# --- the handshake ------------------------------------------------------------------------


@pytest.mark.spec("D-025")
def test_four_messages_make_an_ike_sa_and_a_child() -> None:
    pair = Pair().up()
    assert exchanges(pair) == [
        "a: IKE_SA_INIT request 0",
        "b: IKE_SA_INIT answer 0",
        "a: IKE_AUTH request 1",
        "b: IKE_AUTH answer 1",
    ]
    pair.check()
    assert [packet.target.port for packet in pair.history] == [500, 500, 4500, 4500]
    (up,) = pair.b.of(IkeUp)
    assert str(up.peer) == "mr.example.net"
    assert not up.initiator


def test_what_the_answering_end_installs_is_there_before_its_answer_is_sent() -> None:
    pair = Pair().up()
    kinds = [type(effect) for effect in pair.b.effects if not isinstance(effect, Count | Note)]
    assert kinds == [Send, IkeUp, AddChild, Send]


@pytest.mark.parametrize(
    "proposal",
    [
        "aes128-sha256-modp2048",
        "aes256-sha512-ecp384",
        "aes256gcm16-prfsha384-ecp256",
        "chacha20poly1305-prfsha256-x25519",
        "aes128-sha1-ecp521",
        "aes256-sha384-x25519",
    ],
)
@pytest.mark.parametrize(
    "esp", ["aes128gcm16", "aes256-sha256", "chacha20poly1305", "null-sha256", "aes128-sha512-esn"]
)
def test_suites(proposal: str, esp: str) -> None:
    if esp != "aes128gcm16" and not proposal.startswith("chacha"):
        proposal = "aes256-sha512-x25519"
    children = (tunnel(proposals=(parse_proposal(esp, ProtocolId.ESP),)),)
    pair = Pair(connection(proposals=(parse_proposal(proposal),), children=children)).up()
    pair.check()
    assert esp in str(pair.a.child.suite)


def test_ah() -> None:
    children = (tunnel(proposals=(parse_proposal("sha256", ProtocolId.AH),)),)
    pair = Pair(connection(children=children)).up()
    pair.check()
    assert pair.a.child.protocol is ProtocolId.AH
    assert len(pair.a.child.keys_in.integrity) == 32
    assert pair.a.child.keys_in.encryption == b""


def test_transport_children_between_home_address_and_agent() -> None:
    """I-018, I-030: TSi is the home address, IKE comes from somewhere else."""
    pair = Pair(connection(children=(signalling(),)))
    pair.up(MOBILE4, AGENT4)
    pair.check()
    child = pair.b.child
    assert child.mode is Mode.TRANSPORT
    assert child.fixed
    assert str(child.ends.remote) == "2001:db8:ffff::77"
    assert child.ends.encapsulation is None


def test_mobility_header_types_in_selectors() -> None:
    update, ack = 0x0500, 0x0600
    child = replace(
        signalling(),
        local=(selector("2001:db8:ffff::77", 135, update, update),),
        remote=(selector("2001:db8:ffff::1", 135, ack, ack),),
    )
    pair = Pair(connection(children=(child,))).up()
    pair.check()
    assert pair.b.child.remote[0].start_port == update


def test_children_beyond_the_first_follow_in_create_child_sa() -> None:
    children = (tunnel(), tunnel("other", 2), signalling())
    pair = Pair(connection(children=children)).up()
    pair.check(children=3)
    assert sum(p.exchange == ExchangeType.CREATE_CHILD_SA for p in pair.history) == 4


def test_overlapping_rows_are_told_apart() -> None:
    """Signalling, return routability and payload: the offer finds its own row."""
    home = "2001:db8:ffff::77"
    rows = (
        tunnel("payload", 4, local=(selector(home),), remote=(selector("::/0"),)),
        tunnel(
            "routability",
            3,
            local=(selector(home, 135, 0x100, 0x100),),
            remote=(selector("::/0", 135, 0x300, 0x300),),
        ),
        signalling(reqid=2),
    )
    pair = Pair(connection(children=rows)).up()
    pair.check(children=3)
    for host in (pair.a, pair.b):
        assert {c.name: c.reqid for c in host.installed.values()} == {
            "payload": 4,
            "routability": 3,
            "mh": 2,
        }


def test_no_children_at_all() -> None:
    pair = Pair(connection(children=())).up()
    pair.check(children=0)


def test_a_group_that_the_other_side_does_not_want_is_changed() -> None:
    mobile = connection(proposals=parse_proposals(["aes128gcm16-prfsha256-ecp384-x25519"]))
    agent = counterpart(mobile, proposals=(parse_proposal("aes128gcm16-prfsha256-x25519"),))
    pair = Pair(mobile, agent).up()
    pair.check()
    assert (
        exchanges(pair)[:4]
        == [
            "a: IKE_SA_INIT request 0",
            "b: IKE_SA_INIT answer 0",
        ]
        * 2
    )


def test_cookies_and_another_group_in_both_orders() -> None:
    """I-107, I-108: the cookie is kept when the group changes."""
    mobile = connection(proposals=parse_proposals(["aes128gcm16-prfsha256-ecp384-x25519"]))
    proposals = (parse_proposal("aes128gcm16-prfsha256-x25519"),)
    agent = counterpart(mobile, proposals=proposals)
    pair = Pair(mobile, agent, agent_config=EngineConfig(proposals, cookie_threshold=0)).up()
    pair.check()
    assert pair.b.counters["ike_cookie_asked"] == 1
    firsts = [p for p in pair.history if p.exchange == ExchangeType.IKE_SA_INIT]
    assert len(firsts) == 6
    assert firsts[2].message[16] == 41  # the cookie comes first


def test_a_wrong_secret_is_refused_and_nothing_is_left() -> None:
    mobile = connection(own=Psk(b"wrong"))
    pair = Pair(mobile, counterpart(connection()))
    pair.initiate()
    pair.run()
    down = pair.down(pair.a)
    assert down.cause is DownCause.REFUSED
    assert down.notify == NotifyType.AUTHENTICATION_FAILED
    assert not pair.a.installed
    assert not pair.b.of(IkeUp)
    pair.later(60)
    pair.gone()


def test_a_responder_with_a_wrong_secret_is_told_and_left() -> None:
    mobile = connection(peer=(Psk(b"other"),))
    pair = Pair(mobile, counterpart(connection()))
    pair.initiate()
    pair.run()
    assert pair.down(pair.a).cause is DownCause.FAILED
    assert pair.down(pair.b).cause is DownCause.REFUSED
    assert not pair.a.installed
    pair.gone()


def test_an_unknown_identity_is_refused() -> None:
    pair = Pair(connection(local=Identity.parse("stranger.example.net")), counterpart(connection()))
    pair.initiate()
    pair.run()
    assert pair.down(pair.a).notify == NotifyType.AUTHENTICATION_FAILED


def test_whoever_answers_must_be_the_one_asked_for() -> None:
    mobile = connection(remote=None)
    agent = counterpart(mobile, local=Identity.parse("other.example.net"))
    Pair(mobile, agent).up().check()
    strict = Pair(connection(), agent)
    strict.initiate()
    strict.run()
    assert strict.down(strict.a).cause is DownCause.REFUSED


def test_somebody_else_may_not_answer() -> None:
    mobile = connection()
    agent = counterpart(mobile, local=Identity.parse("other.example.net"))
    pair = Pair(mobile, agent)
    pair.accounts.find = lambda own, peer: agent  # type: ignore[method-assign]
    pair.initiate()
    pair.run()
    assert pair.down(pair.a).cause is DownCause.FAILED
    assert pair.down(pair.b).cause is DownCause.REFUSED
    pair.gone()


def test_more_selectors_than_one_child_can_have() -> None:
    """ADDITIONAL_TS_POSSIBLE: the rest is there for other children."""
    wide = tunnel(local=(selector("::/0"),), remote=(selector("::/0"),))
    agent = counterpart(
        connection(), children=(mirrored(tunnel("one", 1)), mirrored(tunnel("two", 2)))
    )
    pair = Pair(connection(children=(wide,)), agent).up()
    assert len(pair.a.installed) == 1
    kinds = {p.type for p in pair.peek(pair.history[3]) if isinstance(p, Notify)}
    assert NotifyType.ADDITIONAL_TS_POSSIBLE in kinds


def test_another_group_for_a_new_child() -> None:
    wide = parse_proposals(["aes128gcm16-ecp256-x25519"], ProtocolId.ESP)
    strict = parse_proposals(["aes128gcm16-x25519"], ProtocolId.ESP)
    mobile = connection(children=(tunnel(), tunnel("other", 2, proposals=wide)))
    agent = counterpart(
        mobile, children=(mirrored(tunnel()), mirrored(tunnel("other", 2, proposals=strict)))
    )
    pair = Pair(mobile, agent).up()
    pair.check(children=2)
    assert pair.a.named("other").suite.ke == 31


def test_no_common_proposal_is_believed_only_after_a_while() -> None:
    """I-104, RFC 7296 2.21.1: anybody may have sent that."""
    mobile = connection(proposals=(parse_proposal("aes128-sha256-x25519"),))
    agent = counterpart(mobile, proposals=(parse_proposal("aes256gcm16-prfsha256-x25519"),))
    pair = Pair(mobile, agent)
    pair.initiate()
    pair.run()
    assert not pair.a.of(IkeDown)
    pair.later(10)
    down = pair.down(pair.a)
    assert (down.cause, down.notify) == (DownCause.REFUSED, NotifyType.NO_PROPOSAL_CHOSEN)
    pair.gone()


def test_a_proposal_that_this_peer_may_not_use() -> None:
    weak = parse_proposal("aes128-sha1-x25519")
    strong = parse_proposal("aes256gcm16-prfsha384-x25519")
    mobile = connection(proposals=(weak,))
    agent = counterpart(mobile, proposals=(strong,))
    pair = Pair(mobile, agent, agent_config=EngineConfig((weak, strong)))
    pair.initiate()
    pair.run()
    assert pair.down(pair.a).notify == NotifyType.AUTHENTICATION_FAILED


def test_a_refused_child_leaves_the_ike_sa() -> None:
    """I-119."""
    mobile = connection()
    agent = counterpart(mobile, children=(mirrored(tunnel("net", 7)),))
    pair = Pair(mobile, agent).up()
    (failed,) = pair.a.of(ChildFailed)
    assert failed.notify == NotifyType.TS_UNACCEPTABLE
    pair.check(children=0)


def test_a_home_address_of_somebody_else() -> None:
    """I-019: the identity may bring only what is its own."""
    mobile = connection(children=(signalling(home="2001:db8:ffff::66"),))
    agent = counterpart(mobile, children=(mirrored(signalling()),))
    pair = Pair(mobile, agent).up()
    assert pair.a.of(ChildFailed)[0].notify == NotifyType.TS_UNACCEPTABLE
    assert not pair.b.installed


def test_selectors_are_narrowed_and_the_first_is_kept() -> None:
    """I-117."""
    wide = tunnel(local=(selector("2001:db8:77::/48"),), remote=(selector("::/0"),))
    agent = counterpart(connection(), children=(mirrored(tunnel()),))
    pair = Pair(connection(children=(wide,)), agent).up()
    pair.check()
    assert [str(s) for s in pair.a.child.local] == ["2001:db8:77:1::/64"]


def test_the_packet_that_asks_is_named_first() -> None:
    child = tunnel(start=Start.ON_DEMAND)
    pair = Pair(connection(children=(child,))).up()
    pair.check(children=0)
    trigger = selector("2001:db8:77:1::5/128", 17, 5000, 5000), selector("2001:db8:cafe::1/128")
    pair.a(pair.a.engine.acquire("agent", "net", pair.now, trigger))
    pair.a(pair.a.engine.acquire("agent", "net", pair.now, trigger))
    pair.run()
    pair.check()
    assert pair.a.child.local[0] == trigger[0]


def test_acquire_while_the_ike_sa_is_being_made_and_without_one() -> None:
    child = tunnel(start=Start.ON_DEMAND)
    pair = Pair(connection(children=(child, tunnel("other", 2))))
    with pytest.raises(LookupError):
        pair.a.engine.acquire("agent", "net", pair.now)
    pair.initiate()
    pair.a(pair.a.engine.acquire("agent", "net", pair.now))
    pair.run()
    pair.check(children=2)


def test_the_answering_end_may_ask_for_children_too() -> None:
    child = tunnel(start=Start.ON_DEMAND)
    pair = Pair(connection(children=(child,))).up()
    pair.b(pair.b.engine.acquire("router", "net", pair.now))
    pair.run()
    pair.check()
    assert pair.b.child.initiator


def test_mode_must_be_what_was_asked_for() -> None:
    mobile = connection(children=(replace(signalling(), mode=Mode.TUNNEL),))
    agent = counterpart(mobile, children=(mirrored(signalling()),))
    pair = Pair(mobile, agent).up()
    assert pair.a.of(ChildFailed)[0].notify == NotifyType.NO_PROPOSAL_CHOSEN
    backwards = Pair(connection(children=(signalling(),)), counterpart(mobile))
    backwards.up()
    assert backwards.a.of(ChildFailed)[0].notify == NotifyType.NO_PROPOSAL_CHOSEN
    # The other end had made it: it was told to drop it again.
    backwards.check(children=0)


def test_children_are_bounded() -> None:
    children = tuple(tunnel(f"net{n}", n) for n in range(1, 6))
    mobile = connection(children=children)
    pair = Pair(mobile, agent_config=EngineConfig(mobile.proposals, children_max=3)).up()
    pair.check(children=3)
    assert {f.notify for f in pair.a.of(ChildFailed)} == {NotifyType.NO_ADDITIONAL_SAS}


def test_families_of_both_ends_must_be_one() -> None:
    pair = Pair()
    with pytest.raises(LocalError):
        pair.initiate(MOBILE, AGENT4)


def test_a_second_attempt_takes_the_place_of_the_first() -> None:
    pair = Pair()
    pair.initiate()
    pair.queue.clear()
    pair.initiate()
    pair.run()
    pair.check()
    assert pair.a.of(IkeDown)[0].cause is DownCause.REPLACED


# --- messages lost and repeated --------------------------------------------------------------


def test_every_single_loss_is_made_good() -> None:
    mobile = connection(children=(tunnel(), tunnel("other", 2)))
    whole = len(Pair(mobile).up().history)
    for lost in range(whole):
        pair = Pair(mobile)
        pair.lose = lambda p, pair=pair, lost=lost: len(pair.history) == lost + 1  # type: ignore[misc]
        pair.initiate()
        pair.later(5)
        pair.check(children=2)


def test_every_message_may_come_twice() -> None:
    pair = Pair(connection(children=(tunnel(), tunnel("other", 2))))
    pair.initiate()
    while pair.queue:
        packet = pair.step()
        pair.deliver(packet)
    pair.check(children=2)


def test_retransmissions_are_bit_exact_and_grow() -> None:
    """I-100, I-101."""
    pair = Pair()
    pair.lose = lambda packet: packet.sender == "a"
    pair.initiate()
    sent = [pair.now]
    while not pair.a.of(IkeDown):
        at = pair.a.engine.next_timer()
        assert at is not None
        before = len(pair.history)
        pair.now = at
        pair.a(pair.a.engine.handle_timer(at))
        sent += [at] * (len(pair.history) - before)
    assert len({packet.data for packet in pair.history}) == 1
    waits = [round(b - a, 2) for a, b in pairwise(sent)]
    assert waits[:4] == [0.5, 0.9, 1.62, 2.92]
    assert len(sent) == 12
    assert 240 < pair.now - sent[0] < 420
    assert pair.down(pair.a).cause is DownCause.UNREACHABLE


def test_an_answer_is_repeated_bit_exactly_until_the_next_request() -> None:
    pair = Pair().up()
    auth, answer = pair.history[2], pair.history[3]
    pair.deliver(auth)
    again = pair.take("b")
    assert again.data == answer.data
    pair.a(pair.a.engine.check(pair.a.ike.id, pair.now))
    pair.run()
    pair.deliver(auth)
    assert not pair.queue
    assert pair.b.counters["ike_message_id"] == 1


def test_requests_are_served_while_waiting() -> None:
    """I-103: both ends ask at once."""
    pair = Pair().up()
    pair.a(pair.a.engine.check(pair.a.ike.id, pair.now))
    pair.b(pair.b.engine.check(pair.b.ike.id, pair.now))
    assert len(pair.queue) == 2
    pair.run()
    pair.check()


def test_a_wider_window_is_used_and_honoured() -> None:
    children = tuple(tunnel(f"net{n}", n) for n in range(1, 5))
    mobile = connection(children=children, window=4)
    pair = Pair(mobile)
    pair.initiate()
    for _ in range(4):
        pair.step()
    # The responder granted four in IKE_AUTH.
    assert [p.sender for p in pair.queue] == ["a"] * 4
    pair.queue.reverse()
    pair.run()
    pair.check(children=4)


def test_a_window_of_one_lets_one_request_out() -> None:
    children = tuple(tunnel(f"net{n}", n) for n in range(1, 5))
    pair = Pair(connection(children=children))
    pair.initiate()
    for _ in range(4):
        pair.step()
    assert len(pair.queue) == 1
    pair.run()
    pair.check(children=4)


# --- liveness and ends ------------------------------------------------------------------------


def test_silence_is_checked_and_death_noticed() -> None:
    timings = Timings(rekey=0, liveness=30, retransmission=Retransmission(tries=4))
    pair = Pair(connection(timings=timings)).up()
    pair.later(100)
    assert sum(p.exchange == ExchangeType.INFORMATIONAL for p in pair.history) >= 4
    pair.check()
    pair.lose = lambda packet: True
    pair.later(200)
    for host in (pair.a, pair.b):
        assert pair.down(host).cause is DownCause.UNREACHABLE
        assert host.of(RemoveChild)
    pair.gone()


def test_delete_of_an_ike_sa() -> None:
    for end in "ab":
        pair = Pair().up()
        host = pair.hosts[end]
        host(host.engine.terminate(host.ike.id, pair.now))
        pair.run()
        assert pair.down(host).cause is DownCause.TERMINATED
        other = pair.hosts["b" if end == "a" else "a"]
        assert pair.down(other).cause is DownCause.DELETED
        pair.gone()


def test_a_lost_delete_is_repeated_and_given_up() -> None:
    pair = Pair().up()
    pair.lose = lambda packet: packet.sender == "b"
    pair.a(pair.a.engine.terminate(pair.a.ike.id, pair.now))
    pair.run()
    assert not pair.b.views
    assert pair.a.views
    pair.later(130)
    pair.gone()


def test_an_end_that_is_gone_already_ends_the_delete() -> None:
    pair = Pair().up()
    pair.lose = lambda packet: packet.sender == "b"
    pair.a(pair.a.engine.terminate(pair.a.ike.id, pair.now))
    pair.run()
    pair.lose = lambda packet: False
    pair.later(1)
    pair.gone()


def test_delete_of_a_child() -> None:
    """I-122: the request lists our inbound SPI, the answer the paired one."""
    for end in "ab":
        pair = Pair(connection(children=(tunnel(), tunnel("other", 2)))).up()
        host = pair.hosts[end]
        other = pair.hosts["b" if end == "a" else "a"]
        child = host.named("net")
        host(host.engine.terminate(child.id, pair.now))
        (delete,) = pair.peek(pair.queue[0])
        assert isinstance(delete, Delete)
        assert list(delete.spis) == [child.spi_in.to_bytes(4)]
        pair.step()
        (delete,) = pair.peek(pair.queue[0])
        assert list(delete.spis) == [child.spi_out.to_bytes(4)]
        assert other.of(RemoveChild)
        assert not host.of(RemoveChild)
        pair.run()
        pair.check()


def test_terminating_before_it_is_up() -> None:
    pair = Pair()
    pair.initiate()
    pair.a(pair.a.engine.terminate(pair.a.ike.id, pair.now))
    pair.run()
    assert pair.down(pair.a).cause is DownCause.TERMINATED
    assert not pair.down(pair.a).was_up
    pair.later(60)
    pair.gone()


def test_unknown_ids() -> None:
    pair = Pair().up()
    for call in (pair.a.engine.rekey, pair.a.engine.terminate, pair.a.engine.check):
        with pytest.raises(LookupError):
            call(999, pair.now)


def test_shutdown_tells_everybody() -> None:
    pair = Pair().up()
    pair.a(pair.a.engine.shutdown(pair.now))
    pair.run()
    pair.gone()


def test_initial_contact_ends_what_was_before() -> None:
    pair = Pair().up()
    pair.a = pair.add("a", (MOBILE,), EngineConfig(pair.mobile.proposals), pair.accounts)
    pair.up()
    pair.check()
    assert pair.down(pair.b).cause is DownCause.REPLACED
    kinds = [p.type for p in pair.peek(pair.history[6]) if isinstance(p, Notify)]
    assert NotifyType.INITIAL_CONTACT in kinds


def test_initial_contact_of_another_identity_touches_nobody() -> None:
    pair = Pair().up()
    other = connection(local=Identity.parse("mr2.example.net"))
    pair.accounts.connections.append(counterpart(other, name="router2"))
    second = pair.add("c", (MOBILE4,), EngineConfig(pair.mobile.proposals), pair.accounts)
    second(second.engine.initiate(other, Endpoint(MOBILE4, 500), Endpoint(AGENT4, 500), pair.now))
    pair.run()
    assert len(pair.b.views) == 2
    assert not pair.b.of(IkeDown)


def test_too_many_ike_sas_of_one_peer_without_initial_contact() -> None:
    mobile = connection(unique=False)
    pair = Pair(mobile, counterpart(mobile))
    for _ in range(7):
        pair.a = pair.add("a", (MOBILE,), EngineConfig(mobile.proposals), pair.accounts)
        pair.up()
    assert len(pair.b.views) == 4
