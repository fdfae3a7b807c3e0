# SPDX-License-Identifier: GPL-2.0-only
"""The correspondent node: what it answers, what it accepts, and what it does not."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network

import pytest
from dsmip.mobility.config import CorrespondentConfig
from dsmip.mobility.correspondent import REFUSALS_BURST, TESTS_BURST, UNREACHABLE_FOR
from dsmip.mobility.effects import (
    Count,
    DropBinding,
    Effect,
    PutBinding,
    SendMessage,
    SendParameterProblem,
)
from dsmip.mobility.return_routability import MAX_NONCE_LIFETIME, MAX_TOKEN_LIFETIME
from dsmip.packet.authenticator import authorize, authorized
from dsmip.packet.careof import CareOf, WireKind
from dsmip.packet.kernel import Path, PathEvent
from dsmip.packet.mobility import (
    BindingAcknowledgement,
    BindingError,
    BindingRefreshRequest,
    BindingUpdate,
    CareOfTest,
    CareOfTestInit,
    HomeTest,
    HomeTestInit,
    build,
)
from dsmip.packet.options import AlternateCareOfAddress, BindingIdentifier, NonceIndices

from tests.unit.optimising import BY_COA, CN, COA, COA2, COOKIE, HA6, HOA, OTHER_CN, Node, Pair

BY_COA2 = CareOf(COA2)


def counters(effects: list[Effect]) -> list[str]:
    return [e.name for e in effects if isinstance(e, Count)]


# --- tests -------------------------------------------------------------------------


@pytest.mark.spec("M-027")
def test_tests_are_answered_where_they_came_from() -> None:
    pair = Pair()
    for init, source, kind in (
        (HomeTestInit(COOKIE), HOA, HomeTest),
        (CareOfTestInit(COOKIE), COA, CareOfTest),
    ):
        sent = Node.answer(pair.to_cn(init, source))
        assert (sent.source, sent.destination, sent.care_of) == (CN, source, None)
        assert isinstance(sent.message, kind)
        assert sent.message.cookie == COOKIE  # type: ignore[attr-defined]
        assert len(sent.message.token) == 8  # type: ignore[attr-defined]


@pytest.mark.spec("M-027")
def test_tests_leave_nothing_behind() -> None:
    pair = Pair()
    for number in range(5000):
        pair.now += 0.01
        pair.to_cn(HomeTestInit(COOKIE), HOA + number)
        pair.to_cn(CareOfTestInit(COOKIE), COA + number)
    assert pair.cn.next_timer() is None
    assert pair.cn.bindings(pair.now) == []
    assert pair.kernel["cn"] == {}


@pytest.mark.spec("M-026")
@pytest.mark.parametrize("init", [HomeTestInit(COOKIE), CareOfTestInit(COOKIE)])
def test_tests_with_a_home_address_option_or_through_a_tunnel_are_ignored(
    init: HomeTestInit | CareOfTestInit,
) -> None:
    pair = Pair()
    for by in (BY_COA, CareOf(HA6), CareOf(IPv6Address("2001:db8::9"), WireKind.UDP4, 4191)):
        effects = pair.to_cn(init, HOA, by)
        assert not any(isinstance(e, SendMessage) for e in effects)
        assert counters(effects)[0].endswith("_home_address")


@pytest.mark.parametrize("source", ["ff02::1", "fe80::1", "::1", "::", "::ffff:1.2.3.4"])
def test_tests_from_what_can_be_no_address_are_ignored(source: str) -> None:
    pair = Pair()
    for init in (HomeTestInit(COOKIE), CareOfTestInit(COOKIE)):
        effects = pair.to_cn(init, IPv6Address(source))
        assert not any(isinstance(e, SendMessage) for e in effects)


def test_floods_of_tests_are_answered_up_to_a_limit() -> None:
    pair = Pair()
    answers = 0
    for number in range(int(TESTS_BURST) * 3):
        effects = pair.to_cn(HomeTestInit(COOKIE), HOA + number)
        answers += sum(isinstance(e, SendMessage) for e in effects)
    assert answers == TESTS_BURST
    pair.now += 1
    assert any(isinstance(e, SendMessage) for e in pair.to_cn(HomeTestInit(COOKIE), HOA))


# --- updates ----------------------------------------------------------------------------


@pytest.mark.spec("M-036", "M-038", "M-040", "M-041", "M-042")
def test_an_update_binds_and_is_acknowledged_with_authority() -> None:
    node = Node().test()
    effects = node.send(node.update())
    put = next(e for e in effects if isinstance(e, PutBinding))
    assert put.binding.direct
    assert put.binding.lifetime == 420
    assert put.binding.paths == (Path(0, WireKind.RO, CN, COA),)
    sent = Node.answer(effects)
    # The kernel makes a type 2 routing header of that, to where the update came from.
    assert (sent.source, sent.destination, sent.care_of) == (CN, HOA, BY_COA)
    answer = sent.message
    assert isinstance(answer, BindingAcknowledgement)
    assert (answer.status, answer.sequence, answer.lifetime) == (0, 101, 105)
    assert authorized(bytes(build(answer, CN, HOA)), node.key(COA), COA, CN)


@pytest.mark.spec("M-040")
@pytest.mark.parametrize("acknowledge", [True, False])
def test_success_is_told_to_who_asked(acknowledge: bool) -> None:
    node = Node().test()
    assert node.status(node.send(node.update(acknowledge=acknowledge))) == (
        0 if acknowledge else None
    )
    assert node.held == (101, COA)


@pytest.mark.spec("M-038")
@pytest.mark.parametrize(
    ("asked", "most", "granted"), [(1, 420, 4), (500, 420, 420), (105, 60, 60)]
)
def test_lifetimes(asked: int, most: int, granted: int) -> None:
    node = Node(Pair(cn_config=CorrespondentConfig(lifetime=most))).test()
    answer = Node.answer(node.send(node.update(lifetime=asked))).message
    assert isinstance(answer, BindingAcknowledgement)
    assert answer.lifetime * 4 == granted
    node.pair.run(granted - 0.01)
    assert node.held is not None
    node.pair.run(0.02)
    assert node.held is None


@pytest.mark.spec("M-036")
def test_alternate_care_of_address_is_the_one_that_counts() -> None:
    node = Node().test(COA2)
    update = node.update(COA2, options=(AlternateCareOfAddress(COA2),))
    sent = Node.answer(node.send(update, BY_COA))
    assert node.held == (101, COA2)
    assert sent.care_of == BY_COA
    # Tokens of the source do not vouch for another address.
    other = Node().test(COA)
    forged = other.update(COA, options=(AlternateCareOfAddress(COA2),))
    assert counters(other.send(forged)) == ["bu_bad_authenticator"]


@pytest.mark.spec("M-037", "M-030")
@pytest.mark.parametrize("bad", ["ff02::1", "fe80::1", "::1", "::", "::ffff:1.2.3.4"])
def test_addresses_that_cannot_be_bound(bad: str) -> None:
    node = Node().test()
    address = IPv6Address(bad)
    update = node.update(options=(AlternateCareOfAddress(address),))
    assert counters(node.send(update)) == ["bu_bad_care_of_address"]
    assert counters(node.send(node.update(), CareOf(address))) == ["bu_bad_care_of_address"]
    effects = node.pair.to_cn(node.update(), address, BY_COA)
    assert counters(effects) == ["bu_bad_home_address"]
    assert node.pair.kernel["cn"] == {}


def test_an_update_through_a_tunnel_is_not_taken() -> None:
    node = Node().test()
    for kind in (WireKind.UDP4, WireKind.IP4):
        assert counters(node.send(node.update(), CareOf(COA, kind))) == ["bu_tunnelled"]


@pytest.mark.spec("M-033", "M-010")
def test_updates_that_nothing_authorises_are_dropped_in_silence() -> None:
    node = Node().test().test(COA2)
    good = node.update()
    wire = bytes(build(good, HOA, CN))
    stranger = Node(node.pair, HOA + 1).test()
    plain = BindingUpdate(7, 105, acknowledge=True)
    cases: dict[str, list[BindingUpdate | bytes]] = {
        "bu_no_nonce_indices": [plain, authorize(plain, node.key(COA), COA, CN)],
        "bu_bad_authenticator": [
            replace(plain, options=good.options[:1]),  # without authorisation
            node.update(key=b"k" * 20),
            node.update(key=node.key(COA2)),
            node.update(key=stranger.key(COA)),
            node.update(covers=COA2),
            node.update(to=OTHER_CN),
            replace(good, lifetime=104),
            replace(good, sequence=good.sequence + 1),
            replace(good, acknowledge=False),
        ],
    }
    for counter, updates in cases.items():
        for update in updates:
            effects = node.send(update)
            assert counters(effects) == [counter], update
            assert not any(isinstance(e, SendMessage) for e in effects)
    padded = bytearray(wire) + b"\1\6" + bytes(6)
    padded[1] += 1
    assert counters(node.send(bytes(padded)))[0] in ("mh_malformed", "bu_bad_authenticator")
    for at in (*range(6, 12), *range(14, len(wire))):
        damaged = bytearray(wire)
        damaged[at] ^= 0x10
        effects = node.send(bytes(damaged))
        assert node.status(effects) in (None, 131, 136, 137, 138)
        assert not any(isinstance(e, PutBinding) for e in effects)
    # Another's tokens, his own addresses: the update of another home address is not his.
    effects = node.pair.to_cn(wire, HOA + 1, BY_COA)
    assert counters(effects) == ["bu_bad_authenticator"]
    effects = node.send(wire, BY_COA2)
    assert counters(effects) == ["bu_bad_authenticator"]
    assert node.pair.kernel["cn"] == {}
    assert node.status(node.send(wire)) == 0


@pytest.mark.spec("M-033", "M-040", "M-042")
@pytest.mark.parametrize("acknowledge", [True, False])
@pytest.mark.parametrize(
    ("home_old", "care_of_old", "status"),
    [(True, False, 136), (False, True, 137), (True, True, 138)],
)
def test_old_nonces_are_told_without_authority(
    home_old: bool, care_of_old: bool, status: int, acknowledge: bool
) -> None:
    node = Node().test()
    node.pair.now += MAX_NONCE_LIFETIME
    if not home_old:
        node.test_home()
    if not care_of_old:
        node.test_care_of()
    effects = node.send(node.update(acknowledge=acknowledge))
    assert node.status(effects) == status
    assert Node.answer(effects).message.options == ()
    assert node.held is None


@pytest.mark.spec("M-029")
def test_tokens_are_good_for_210_seconds_and_not_for_240() -> None:
    node = Node().test()
    node.pair.now += MAX_TOKEN_LIFETIME
    assert node.status(node.send(node.update())) == 0
    node.pair.now += MAX_NONCE_LIFETIME - MAX_TOKEN_LIFETIME
    assert node.status(node.send(node.update())) == 138


def test_indices_out_of_range() -> None:
    node = Node().test()
    index = node.home_test.nonce_index
    for home, care_of, status in (
        ((index + 1) & 0xFFFF, index, 136),
        (index, (index + 1) & 0xFFFF, 137),
        (0, 0, 138),
        (0xFFFF if index != 0xFFFF else 1, 0, 138),
        ((index - 1) & 0xFFFF, index, 136),
    ):
        node.sequence += 1
        update = BindingUpdate(
            node.sequence, 105, options=(NonceIndices(home, care_of),), acknowledge=True
        )
        effects = node.send(authorize(update, node.key(COA), COA, CN))
        assert node.status(effects) == status
    assert node.held is None


def test_floods_of_old_nonces_are_answered_up_to_a_limit() -> None:
    node = Node().test()
    node.pair.now += MAX_NONCE_LIFETIME
    effects = [e for _ in range(100) for e in node.send(node.update())]
    assert sum(isinstance(e, SendMessage) for e in effects) == REFUSALS_BURST
    assert "refusal_suppressed" in counters(effects)


@pytest.mark.spec("M-031", "M-032")
def test_sequence_numbers() -> None:
    node = Node().test()
    node.sequence = 0x8000
    assert node.status(node.send(node.update())) == 0
    last = node.sequence
    for behind in (0, 1, 100, 32767, 32768):
        node.sequence = (last - behind - 1) & 0xFFFF
        effects = node.send(node.update())
        answer = Node.answer(effects).message
        assert isinstance(answer, BindingAcknowledgement)
        assert (answer.status, answer.sequence) == (135, last)
        assert authorized(bytes(build(answer, CN, HOA)), node.key(COA), COA, CN)
    node.sequence = (last + 32766) & 0xFFFF
    assert node.status(node.send(node.update())) == 0
    assert node.held == ((last + 32767) & 0xFFFF, COA)


@pytest.mark.spec("X-007")
def test_bulk_registration_is_for_home_agents_only() -> None:
    """168, with authority; a single BID is not known here and skipped (RFC 5648 section 5.7)."""
    node = Node().test()
    several = (BindingIdentifier(1, address=COA), BindingIdentifier(2, address=COA2))
    assert node.status(node.send(node.update(options=several))) == 168
    assert node.held is None
    assert node.status(node.send(node.update(options=several[:1]))) == 0


def test_a_repeated_update_changes_nothing() -> None:
    node = Node().test().test(COA2)
    old = node.update()
    assert node.status(node.send(old)) == 0
    assert node.status(node.send(node.update(COA2), BY_COA2)) == 0
    assert node.status(node.send(old)) == 135
    assert node.held == (102, COA2)


def test_a_move_keeps_the_entry() -> None:
    node = Node().test()
    node.send(node.update())
    node.pair.now += 5
    node.test_care_of(COA2)
    node.send(node.update(COA2), BY_COA2)
    (view,) = node.pair.cn.bindings(node.pair.now)
    assert (view.care_of, view.registered_for, view.updated_ago) == (COA2, 5, 0)


@pytest.mark.parametrize(
    "flags", [{"home": True}, {"home": True, "mobile_router": True}, {"proxy": True}]
)
def test_no_home_agent(flags: dict[str, bool]) -> None:
    node = Node().test()
    effects = node.send(node.update(**flags))
    assert node.status(effects) == 131
    assert node.held is None


@pytest.mark.spec("M-035")
def test_who_is_registered_at_home_stays_that() -> None:
    node = Node(Pair(registered=lambda home: home == HOA)).test()
    assert node.status(node.send(node.update())) == 139
    assert node.status(node.send(node.update(lifetime=0))) == 139
    other = Node(node.pair, HOA + 1).test()
    assert other.status(other.send(other.update())) == 0


def test_the_cache_is_bounded() -> None:
    pair = Pair(cn_config=CorrespondentConfig(bindings_max=3))
    nodes = [Node(pair, HOA + number).test() for number in range(5)]
    for node in nodes[:3]:
        assert node.status(node.send(node.update())) == 0
    for node in nodes[3:]:
        # Even to who did not ask (section 9.5.4).
        assert node.status(node.send(node.update(acknowledge=False))) == 130
        assert node.held is None
    assert nodes[0].status(nodes[0].send(nodes[0].update())) == 0
    nodes[1].send(nodes[1].update(lifetime=0))
    assert nodes[3].status(nodes[3].send(nodes[3].update())) == 0
    assert len(pair.kernel["cn"]) == 3


def test_timers_do_not_pile_up() -> None:
    node = Node().test()
    for number in range(2000):
        node.pair.now += 0.05
        assert node.status(node.send(node.update(lifetime=105 - number % 2))) == 0
    assert len(node.pair.cn._timers) < 10


@pytest.mark.spec("M-046")
def test_home_addresses_and_own_addresses_can_be_limited() -> None:
    config = CorrespondentConfig((CN,), (IPv6Network("2001:db8:1::/64"),))
    node = Node(Pair(cn_config=config)).test()
    assert node.status(node.send(node.update())) == 0
    assert counters(node.pair.to_cn(HomeTestInit(COOKIE), IPv6Address("2001:db8:2::1"))) == [
        "hoti_not_served"
    ]
    for init, source in ((HomeTestInit(COOKIE), HOA), (CareOfTestInit(COOKIE), COA)):
        effects = node.pair.to_cn(init, source, None, OTHER_CN)
        assert not any(isinstance(e, SendMessage) for e in effects)
    narrower = replace(config, home_prefixes=(IPv6Network("2001:db8:2::/64"),))
    node.pair.carry("cn", node.pair.cn.reconfigure(narrower, node.pair.now))
    assert node.held is None
    assert node.status(node.send(node.update())) == 138  # what it was made with is used up
    node.pair.now += 30
    other = Node(node.pair, HOA)
    other.sequence = 1000
    nonce = node.pair.cn._nonces.current(node.pair.now)
    other.home_test = HomeTest(nonce.index, COOKIE, nonce.home_token(HOA))
    other.test_care_of()
    assert other.status(other.send(other.update())) == 129


# --- deletion -----------------------------------------------------------------------------


@pytest.mark.spec("M-039")
@pytest.mark.parametrize("covers", [HOA, COA])
@pytest.mark.parametrize("alternate", [True, False])
def test_deletion_while_away(covers: IPv6Address, alternate: bool) -> None:
    """Both readings of section 6.2.7 are taken; the care-of nonce does not matter."""
    node = Node().test()
    node.send(node.update())
    options = (AlternateCareOfAddress(HOA),) if alternate else ()
    effects = node.send(node.update(lifetime=0, options=options, covers=covers))
    assert node.held is None
    assert DropBinding(HOA) in effects
    answer = Node.answer(effects).message
    assert isinstance(answer, BindingAcknowledgement)
    assert (answer.status, answer.lifetime) == (0, 0)
    assert authorized(bytes(build(answer, CN, HOA)), node.key(None), covers, CN)


@pytest.mark.spec("M-039", "M-041")
def test_deletion_from_home() -> None:
    node = Node().test()
    node.send(node.update())
    sent = Node.answer(node.send(node.update(lifetime=0), None))
    assert sent.care_of is None
    assert node.held is None
    # A care-of address that is the home address means the same, whatever the lifetime.
    node = Node().test()
    node.send(node.update())
    node.sequence += 1
    update = BindingUpdate(
        node.sequence, 105, True, options=(NonceIndices(node.home_test.nonce_index, 0),)
    )
    assert node.status(node.send(authorize(update, node.key(None), HOA, CN), None)) == 0
    assert node.held is None


@pytest.mark.spec("M-039")
def test_what_made_a_deleted_binding_makes_no_other() -> None:
    node = Node().test()
    made, later = node.update(), node.update()
    node.send(made)
    node.sequence = 200
    node.send(node.update(lifetime=0))
    for replayed in (made, later):
        assert node.status(node.send(replayed)) in (135, 138)
        assert node.held is None
    node.sequence = 300
    # Not even with a good sequence number: the same nonces are not used again.
    assert node.status(node.send(node.update())) in (135, 138)
    assert node.held is None
    node.pair.now += 30
    node.test()
    assert node.status(node.send(node.update())) == 0


def test_an_update_that_a_deletion_overtook() -> None:
    node = Node().test()
    late = node.update()
    assert node.status(node.send(node.update(lifetime=0))) == 0
    assert node.status(node.send(late)) == 135
    assert node.held is None


def test_deletion_with_a_key_that_is_not_for_it() -> None:
    node = Node().test()
    node.send(node.update())
    for key in (node.key(COA), b"k" * 20):
        assert counters(node.send(node.update(lifetime=0, key=key))) == ["bu_bad_authenticator"]
    assert node.held is not None
    node.pair.now += MAX_NONCE_LIFETIME
    assert node.status(node.send(node.update(lifetime=0))) == 136
    assert node.held is not None


def test_a_binding_that_ends_early_is_remembered_while_it_could_be_repeated() -> None:
    node = Node().test()
    made = node.update(lifetime=2)
    node.send(made)
    node.pair.run(9)
    assert node.held is None
    assert node.status(node.send(made)) in (135, 138)
    assert node.held is None
    node.pair.run(MAX_NONCE_LIFETIME)
    assert node.pair.cn._deleted == {}
    assert node.status(node.send(made)) == 138


@pytest.mark.spec("M-039")
def test_what_is_remembered_of_the_past_is_bounded() -> None:
    """One too many: all nonces end, so that nothing old can be repeated."""
    pair = Pair(cn_config=CorrespondentConfig(bindings_max=2))
    nodes = [Node(pair, HOA + number).test() for number in range(3)]
    for node in nodes:
        node.send(node.update())
        node.send(node.update(lifetime=0))
        assert len(pair.cn._deleted) <= 2
    for node in nodes:
        assert node.status(node.send(node.update())) in (136, 137, 138)
        assert node.held is None


# --- refresh requests, errors, restarts -----------------------------------------------------


@pytest.mark.spec("M-043")
def test_only_bindings_in_use_are_asked_for_a_refresh() -> None:
    node = Node().test()
    node.send(node.update())
    node.pair.run(430)
    assert node.pair.sent("cn", BindingRefreshRequest) == []
    node = Node().test()
    node.send(node.update())
    node.pair.packets["cn"] = 3
    node.pair.run(430)
    requests = node.pair.times("cn", BindingRefreshRequest)
    assert [round(at - 1000) for at, _ in requests] == [400, 410]
    assert requests[0][1].source == CN
    assert requests[0][1].destination == HOA
    assert requests[0][1].care_of is None


@pytest.mark.spec("M-043")
def test_an_update_ends_the_asking() -> None:
    node = Node().test()
    node.send(node.update())
    node.pair.packets["cn"] = 3
    node.pair.run(405)
    node.test()
    node.send(node.update())
    node.pair.run(390)
    assert len(node.pair.sent("cn", BindingRefreshRequest)) == 1
    node.pair.run(20)
    # Nothing was carried since then.
    assert len(node.pair.sent("cn", BindingRefreshRequest)) == 1


@pytest.mark.spec("M-021", "M-008", "M-009")
def test_strangers_get_a_binding_error_but_not_a_thousand() -> None:
    pair = Pair()
    path = Path(0, WireKind.RO, CN, COA)
    effects = pair.cn.path_event(HOA, PathEvent.STRANGER, path, pair.now)
    sent = Node.answer(effects)
    assert (sent.source, sent.destination, sent.care_of) == (CN, COA, None)
    assert sent.message == BindingError(1, HOA)
    more = [
        e
        for _ in range(1000)
        for e in pair.cn.path_event(HOA, PathEvent.STRANGER, path, pair.now)
        if isinstance(e, SendMessage)
    ]
    assert len(more) <= 10
    pair.now += 10
    multicast = replace(path, remote=IPv6Address("ff02::1"))
    effects = pair.cn.path_event(HOA, PathEvent.STRANGER, multicast, pair.now)
    assert not any(isinstance(e, SendMessage) for e in effects)


@pytest.mark.spec("M-002", "M-008")
def test_unknown_and_damaged_messages() -> None:
    pair = Pair()
    unknown = bytes((59, 0, 200, 0, 0, 0, 0, 0))
    sent = Node.answer(pair.to_cn(unknown, HOA, BY_COA))
    assert (sent.destination, sent.message) == (COA, BindingError(2, HOA))
    sent = Node.answer(pair.to_cn(unknown, COA))
    assert sent.message == BindingError(2, IPv6Address("::"))
    short = pair.to_cn(bytes((59, 0, 5, 0, 0, 0, 0, 0)), HOA, BY_COA)
    assert any(isinstance(e, SendParameterProblem) for e in short)
    for junk in (b"", b"\x3b", bytes((59, 9, 5, 0, 0, 0, 0, 0))):
        assert counters(pair.to_cn(junk)) == ["mh_malformed"]
    for other in (HomeTest(1, COOKIE, COOKIE), BindingRefreshRequest(), BindingError(1, HOA)):
        assert counters(pair.to_cn(other)) == ["mh_not_for_correspondent"]


@pytest.mark.spec("M-044")
def test_one_unreachable_does_not_delete_but_many_do() -> None:
    node = Node().test()
    node.send(node.update())

    def error() -> None:
        node.pair.carry("cn", node.pair.cn.unreachable(COA, node.pair.now))

    for _ in range(100):
        error()
    assert node.held is not None
    node.pair.run(10 * UNREACHABLE_FOR)
    error()
    assert node.held is not None
    node.pair.run(UNREACHABLE_FOR)
    node.pair.carry("cn", node.pair.cn.unreachable(COA2, node.pair.now))
    assert node.held is not None
    error()
    assert node.held is None


def test_kernel_that_ended_a_binding() -> None:
    node = Node().test()
    node.send(node.update())
    node.pair.carry("cn", node.pair.cn.path_event(HOA, PathEvent.EXPIRED, None, node.pair.now))
    assert node.pair.cn.bindings(node.pair.now) == []
    assert node.pair.cn.path_event(HOA, PathEvent.EXPIRED, None, node.pair.now) == []


def test_restart_adopts_and_old_updates_stay_old() -> None:
    node = Node().test()
    made = node.update()
    node.send(made)
    node.pair.restart_correspondent()
    (view,) = node.pair.cn.bindings(node.pair.now)
    assert (view.home_address, view.care_of, view.local) == (HOA, COA, CN)
    assert (view.lifetime, view.remaining) == (420, 410)
    assert node.status(node.send(made)) == 138
    node.sequence = 50
    node.test()
    assert node.status(node.send(node.update())) == 135
    node.sequence = 101
    assert node.status(node.send(node.update())) == 0
    odd = replace(node.pair.kernel["cn"][HOA], data=b"{}")
    engine = node.pair.new_correspondent((odd,))
    assert engine.start(0) == [DropBinding(HOA)]
