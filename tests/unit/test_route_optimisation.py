# SPDX-License-Identifier: GPL-2.0-only
"""Route optimisation as a whole, and the mobile router's half against bad answers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network

import pytest
from dsmip.mobility.config import RouteOptimisationConfig
from dsmip.mobility.correspondent_list import Attached, Phase
from dsmip.mobility.effects import Count, Effect, SendMessage
from dsmip.mobility.route_optimisation import (
    FORGIVEN_AFTER,
    REFUSED_FOR,
    SILENT_FOR,
    UNSUPPORTED_FOR,
    RouteOptimisation,
)
from dsmip.packet.authenticator import authorize
from dsmip.packet.careof import CareOf, WireKind
from dsmip.packet.extension import build_home_address
from dsmip.packet.kernel import PathEvent
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
from dsmip.packet.options import AlternateCareOfAddress, find

from tests.unit.optimising import (
    AT_HOME,
    BY_IPV4,
    CN,
    COA,
    COA2,
    HA6,
    HOA,
    LISTED,
    OTHER_CN,
    Pair,
    away,
)

TUNNEL = CareOf(HA6)


def counters(effects: list[Effect]) -> list[str]:
    return [e.name for e in effects if isinstance(e, Count)]


def nothing_of(who: str):  # type: ignore[no-untyped-def]
    """Return a wire that loses all that one of them sends."""
    return lambda by, _effect: by == who


# --- the procedure -----------------------------------------------------------------


@pytest.mark.spec("M-180", "M-183", "M-184", "M-185")
def test_traffic_starts_it_and_packets_go_straight() -> None:
    pair = Pair().bound()
    (hoti,), (coti,) = pair.sent("mr", HomeTestInit), pair.sent("mr", CareOfTestInit)
    assert (hoti.source, hoti.destination, hoti.care_of) == (HOA, CN, None)
    assert (coti.source, coti.destination, coti.care_of) == (COA, CN, None)
    (update,) = pair.sent("mr", BindingUpdate)
    assert update.care_of == CareOf(COA, WireKind.IP6, 0, 2)
    message = update.message
    assert isinstance(message, BindingUpdate)
    assert message.acknowledge
    assert not any((message.home, message.mobile_router, message.key_management))
    here, there = pair.kernel["mr"][CN], pair.kernel["cn"][HOA]
    assert here.direct
    assert there.direct
    assert [(p.kind, p.local, p.remote) for p in here.paths] == [(WireKind.RO, COA, CN)]
    assert [(p.kind, p.local, p.remote) for p in there.paths] == [(WireKind.RO, CN, COA)]
    assert here.lifetime <= there.lifetime <= 420
    assert pair.state().phase is Phase.BOUND


def test_only_who_is_listed_or_asked_for() -> None:
    pair = Pair(RouteOptimisationConfig())
    pair.attach(away())
    pair.speak()
    assert pair.states() == []
    pair.carry("mr", pair.mr.optimise(CN, True, pair.now))
    pair.run(1)
    assert pair.state().direct
    assert pair.state().asked
    for address in (HA6, HOA, IPv6Address("ff02::1"), IPv6Address("fe80::1"), IPv6Address("::")):
        with pytest.raises(ValueError, match="cannot be"):
            pair.mr.optimise(address, True, pair.now)
    with pytest.raises(ValueError, match="no correspondent"):
        pair.mr.optimise(OTHER_CN, False, pair.now)


@pytest.mark.spec("M-188")
def test_switched_off() -> None:
    pair = Pair(replace(LISTED, enabled=False))
    pair.attach(away())
    pair.speak()
    assert pair.states() == []
    with pytest.raises(ValueError, match="switched off"):
        pair.mr.optimise(CN, True, pair.now)


def test_switched_off_while_bound_deletes_at_the_correspondent() -> None:
    pair = Pair().bound()
    pair.carry("mr", pair.mr.reconfigure(replace(LISTED, enabled=False), pair.now))
    assert CN not in pair.kernel["mr"]
    pair.run(1)
    assert pair.kernel["cn"] == {}
    assert pair.states() == []
    assert find(pair.sent("mr", BindingUpdate)[-1].message.options, AlternateCareOfAddress)


@pytest.mark.spec("M-183")
def test_nothing_but_the_care_of_test_before_the_home_agent_has_answered() -> None:
    pair = Pair().bound()
    pair.attach(away(COA2, ready=False))
    pair.run(0.2)
    assert len(pair.sent("mr", CareOfTestInit)) == 2
    assert len(pair.sent("mr", BindingUpdate)) == 1
    assert not pair.state().direct
    pair.attach(away(COA2))
    pair.run(0.2)
    assert pair.state().direct
    assert pair.kernel["cn"][HOA].paths[0].remote == COA2
    # The home token is young: only the care-of half was new.
    assert len(pair.sent("mr", HomeTestInit)) == 1


def test_a_move_goes_through_the_home_agent_until_it_is_acknowledged() -> None:
    pair = Pair().bound()
    pair.lost = nothing_of("cn")
    pair.attach(away(COA2))
    assert CN not in pair.kernel["mr"]
    pair.run(0.5)
    assert CN not in pair.kernel["mr"]
    pair.lost = lambda *_: False
    pair.run(3)
    assert pair.kernel["mr"][CN].paths[0].local == COA2


@pytest.mark.spec("M-181", "M-165", "M-186", "M-155")
def test_tests_back_off_with_new_cookies_and_end() -> None:
    pair = Pair(lost=nothing_of("mr"))
    pair.attach(away())
    pair.speak()
    start = pair.now
    pair.run(60)
    for kind in (HomeTestInit, CareOfTestInit):
        times = pair.times("mr", kind)
        assert [round(at - start, 3) for at, _ in times] == [0, 1, 3]
        assert len({e.message.cookie for _, e in times}) == 3  # type: ignore[attr-defined]
    assert pair.state().phase is Phase.LEFT_ALONE
    assert "does not answer" in pair.state().problem
    pair.speak()
    assert len(pair.sent("mr", HomeTestInit)) == 3
    pair.lost = lambda *_: False
    pair.run(SILENT_FOR)
    assert pair.states() == []
    pair.speak()
    pair.run(1)
    assert pair.state().direct


def test_who_was_asked_for_is_tried_again_by_itself() -> None:
    pair = Pair(lost=nothing_of("mr"))
    pair.attach(away())
    pair.carry("mr", pair.mr.optimise(CN, True, pair.now))
    pair.run(30)
    assert pair.state().phase is Phase.LEFT_ALONE
    pair.lost = lambda *_: False
    pair.run(SILENT_FOR)
    assert pair.state().direct


def test_updates_without_an_answer_end_too() -> None:
    pair = Pair(lost=lambda who, e: who == "cn" and isinstance(e.message, BindingAcknowledgement))
    pair.attach(away())
    pair.speak()
    pair.run(30)
    times = [at for at, _ in pair.times("mr", BindingUpdate)]
    assert [round(at - times[0], 3) for at in times] == [0, 1, 3]
    sequences = [e.message.sequence for e in pair.sent("mr", BindingUpdate)]  # type: ignore[attr-defined]
    assert len(set(sequences)) == 3
    assert pair.state().phase is Phase.LEFT_ALONE
    assert CN not in pair.kernel["mr"]


# --- refresh and end -----------------------------------------------------------------


def test_refresh_while_in_use() -> None:
    pair = Pair().bound()
    for _ in range(30):
        pair.packets["mr"] += 5
        pair.packets["cn"] += 5
        pair.run(60)
        assert pair.state().direct
        assert pair.kernel["cn"][HOA].sequence == pair.state().sequence
    # Each refresh needs both tests: its tokens are older than 210 s.
    assert len(pair.sent("mr", HomeTestInit)) == len(pair.sent("mr", BindingUpdate))
    assert 4 < len(pair.sent("mr", BindingUpdate)) < 8
    assert pair.sent("cn", BindingRefreshRequest) == []


def test_what_is_not_used_ends() -> None:
    pair = Pair().bound()
    pair.run(430)
    assert pair.states() == []
    assert pair.kernel == {"cn": {}, "mr": {}}
    assert len(pair.sent("mr", BindingUpdate)) == 1


@pytest.mark.spec("M-187", "M-043")
def test_a_request_for_a_refresh_is_followed() -> None:
    """The router sees no use, the correspondent does: it asks, once or twice."""
    pair = Pair().bound()
    pair.packets["cn"] = 10
    pair.run(405)
    (request,) = pair.sent("cn", BindingRefreshRequest)
    assert (request.destination, request.care_of) == (HOA, None)
    assert len(pair.sent("mr", BindingUpdate)) == 2
    assert pair.state().direct
    assert pair.state().remaining > 400


@pytest.mark.spec("M-187")
def test_requests_of_others_and_floods_of_them_are_ignored() -> None:
    pair = Pair().bound()
    assert counters(pair.to_mr(BindingRefreshRequest(), OTHER_CN)) == ["ro_from_nobody"]
    pair.run(2)
    pair.to_mr(BindingRefreshRequest())
    pair.run(0.5)
    for _ in range(50):
        assert counters(pair.to_mr(BindingRefreshRequest())) == ["ro_brr_ignored"]
    pair.run(1)
    assert len(pair.sent("mr", BindingUpdate)) == 2


@pytest.mark.spec("M-185")
def test_no_longer_than_the_home_registration() -> None:
    pair = Pair()
    pair.attach(away(until=pair.now + 50))
    pair.speak()
    pair.run(1)
    assert pair.kernel["cn"][HOA].lifetime <= 48
    pair.packets["mr"] = 1
    pair.run(60)
    assert not any(one.direct for one in pair.states())
    assert pair.kernel["mr"] == {}


@pytest.mark.parametrize("at", [AT_HOME, BY_IPV4], ids=["home", "ipv4"])
def test_where_no_direct_path_can_be_the_correspondent_is_told(at: Attached) -> None:
    pair = Pair().bound()
    pair.attach(at)
    assert CN not in pair.kernel["mr"]
    pair.run(1)
    assert pair.kernel["cn"] == {}
    assert pair.states() == []
    removal = pair.sent("mr", BindingUpdate)[-1]
    message = removal.message
    assert isinstance(message, BindingUpdate)
    assert (message.lifetime, removal.source, removal.care_of) == (0, HOA, None)
    # The token was young enough to do without another test.
    assert len(pair.sent("mr", HomeTestInit)) == 1


def test_an_old_token_is_replaced_before_a_removal() -> None:
    pair = Pair().bound()
    pair.run(211)
    pair.attach(AT_HOME)
    pair.run(1)
    assert len(pair.sent("mr", HomeTestInit)) == 2
    assert len(pair.sent("mr", CareOfTestInit)) == 1
    assert pair.kernel["cn"] == {}


def test_from_ipv4_and_back() -> None:
    pair = Pair().bound()
    pair.carry("mr", pair.mr.optimise(CN, True, pair.now))
    pair.attach(BY_IPV4)
    pair.run(5)
    assert pair.state().phase is Phase.WAITING
    pair.attach(away(COA2))
    pair.run(1)
    assert pair.state().direct
    assert pair.kernel["cn"][HOA].paths[0].remote == COA2


def test_lost_removal_is_repeated_and_given_up() -> None:
    pair = Pair().bound()
    pair.lost = nothing_of("mr")
    pair.attach(AT_HOME)
    pair.run(60)
    assert len(pair.sent("mr", BindingUpdate)) == 4


def test_an_unplugged_router_sends_nothing() -> None:
    pair = Pair().bound()
    before = len(pair.effects)
    pair.attach(Attached())
    assert pair.kernel["mr"] == {}
    pair.run(5)
    assert not any(isinstance(e, SendMessage) for _, _, e in pair.effects[before:])


# --- the correspondent loses its state ---------------------------------------------------


@pytest.mark.spec("M-121")
def test_binding_error_leads_back_to_the_home_agent_and_to_new_tests() -> None:
    pair = Pair().bound()
    pair.restart_correspondent(keep=False)
    path = replace(pair.kernel["mr"][CN].paths[0], local=CN, remote=COA)
    pair.carry("cn", pair.cn.path_event(HOA, PathEvent.STRANGER, path, pair.now))
    pair.run(0.021)
    assert pair.kernel["mr"] == {}
    pair.run(1)
    assert pair.state().direct
    assert HOA in pair.kernel["cn"]


def test_a_correspondent_that_always_loses_it_is_left_alone() -> None:
    pair = Pair().bound()
    error = BindingError(1, HOA)
    for _ in range(3):
        pair.to_mr(error, destination=COA)
        pair.run(1)
    assert pair.state().phase is Phase.LEFT_ALONE
    pair = Pair().bound()
    for _ in range(6):
        pair.to_mr(error, destination=COA)
        pair.run(FORGIVEN_AFTER + 1)
        assert pair.state().direct


def test_restarted_correspondent_goes_on_with_what_its_kernel_holds() -> None:
    pair = Pair().bound()
    pair.restart_correspondent()
    assert HOA in pair.kernel["cn"]
    pair.attach(away(COA2))
    pair.run(2)
    # Its nonces went with it: status 138 has the tests repeated.
    assert "ro_ba_138" in [e.name for _, _, e in pair.effects if isinstance(e, Count)] or (
        len(pair.sent("mr", HomeTestInit)) == 2
    )
    assert pair.state().direct
    assert pair.kernel["cn"][HOA].paths[0].remote == COA2


def test_restarted_router_keeps_the_direct_path_and_tests_anew() -> None:
    pair = Pair().bound()
    held = tuple(pair.kernel["mr"].values())
    last = pair.state().sequence
    pair.mr = RouteOptimisation(LISTED, HOA, (HA6,), pair.now, held, pair.octets)
    pair.carry("mr", pair.mr.start(pair.now))
    assert pair.state().direct
    pair.carry("mr", pair.mr.attached(Attached(), pair.now))
    assert pair.state().direct
    pair.attach(away())
    assert CN in pair.kernel["mr"]
    pair.run(1)
    assert pair.state().phase is Phase.BOUND
    assert pair.kernel["cn"][HOA].sequence == (last + 1) & 0xFFFF


def test_restarted_router_that_moved_meanwhile() -> None:
    pair = Pair().bound()
    held = tuple(pair.kernel["mr"].values())
    pair.mr = RouteOptimisation(LISTED, HOA, (HA6,), pair.now, held, pair.octets)
    pair.carry("mr", pair.mr.start(pair.now))
    pair.attach(away(COA2))
    assert CN not in pair.kernel["mr"]
    pair.run(1)
    assert pair.kernel["cn"][HOA].paths[0].remote == COA2


def test_kernel_bindings_that_are_not_understood_are_dropped() -> None:
    pair = Pair().bound()
    bad = replace(pair.kernel["mr"][CN], data=b"[]")
    engine = RouteOptimisation(LISTED, HOA, (HA6,), pair.now, (bad,), pair.octets)
    assert engine.start(pair.now)
    assert engine.correspondents(pair.now) == []


# --- bad answers -------------------------------------------------------------------------


def under_way() -> tuple[Pair, HomeTestInit, CareOfTestInit]:
    """Return a pair whose correspondent is silent, both tests under way."""
    pair = Pair(lost=nothing_of("mr"))
    pair.attach(away())
    pair.speak()
    hoti = pair.sent("mr", HomeTestInit)[0].message
    coti = pair.sent("mr", CareOfTestInit)[0].message
    assert isinstance(hoti, HomeTestInit)
    assert isinstance(coti, CareOfTestInit)
    return pair, hoti, coti


@pytest.mark.spec("M-182")
def test_home_tests_that_are_not_taken() -> None:
    pair, hoti, _ = under_way()
    good = HomeTest(7, hoti.cookie, b"t" * 8)
    cases = {
        "hot_not_through_agent": {"care_of": CareOf(COA)},  # by a routing header, directly
        "hot_ignored": {"care_of": TUNNEL, "destination": COA},
        "ro_from_nobody": {"care_of": TUNNEL, "source": OTHER_CN},
    }
    for name, given in cases.items():
        assert name in counters(pair.to_mr(good, **given))  # type: ignore[arg-type]
    # A tunnel from somewhere else, and no tunnel at all.
    for care_of in (CareOf(OTHER_CN), None):
        assert "hot_not_through_agent" in counters(pair.to_mr(good, care_of=care_of))
    wrong = HomeTest(7, b"w" * 8, b"t" * 8)
    assert "hot_wrong_cookie" in counters(pair.to_mr(wrong, care_of=TUNNEL))
    assert "hot" in counters(pair.to_mr(good, care_of=TUNNEL))
    # A token is there: the same test once more says nothing.
    assert "hot_ignored" in counters(pair.to_mr(good, care_of=TUNNEL))


@pytest.mark.spec("M-182")
def test_care_of_tests_that_are_not_taken() -> None:
    pair, _, coti = under_way()
    good = CareOfTest(8, coti.cookie, b"t" * 8)
    for given in ({"care_of": TUNNEL, "destination": COA}, {}, {"destination": COA2}):
        assert "cot_ignored" in counters(pair.to_mr(good, **given))  # type: ignore[arg-type]
    wrong = CareOfTest(8, b"w" * 8, b"t" * 8)
    assert "cot_wrong_cookie" in counters(pair.to_mr(wrong, destination=COA))
    assert "cot" in counters(pair.to_mr(good, destination=COA))
    assert "cot_ignored" in counters(pair.to_mr(good, destination=COA))


def test_a_cookie_of_before_the_retransmission_is_old() -> None:
    pair, hoti, _ = under_way()
    pair.run(1.5)
    old = HomeTest(7, hoti.cookie, b"t" * 8)
    assert "hot_wrong_cookie" in counters(pair.to_mr(old, care_of=TUNNEL))


def test_protected_tests_are_the_only_ones() -> None:
    pair = Pair(replace(LISTED, protected_tests=True), lost=nothing_of("mr"))
    pair.attach(away())
    pair.speak()
    hoti = pair.sent("mr", HomeTestInit)[0].message
    assert isinstance(hoti, HomeTestInit)
    good = HomeTest(7, hoti.cookie, b"t" * 8)
    assert "hot_not_through_agent" in counters(pair.to_mr(good, care_of=TUNNEL))
    assert "hot" in counters(pair.to_mr(good, protected=True))


def updating() -> tuple[Pair, BindingUpdate]:
    """Return a pair with an update under way, whose answer is lost."""
    pair = Pair(lost=lambda who, e: who == "cn" and isinstance(e.message, BindingAcknowledgement))
    pair.attach(away())
    pair.speak()
    pair.run(0.1)
    update = pair.sent("mr", BindingUpdate)[0].message
    assert isinstance(update, BindingUpdate)
    return pair, update


RH2 = CareOf(COA)


@pytest.mark.spec("M-159")
def test_acknowledgements_without_authority_are_ignored() -> None:
    pair, update = updating()
    plain = BindingAcknowledgement(0, update.sequence, 105)
    forged = authorize(plain, b"k" * 20, COA, CN)
    for message in (plain, forged, replace(plain, status=129), replace(plain, status=135)):
        assert "ro_ba_bad_authenticator" in counters(pair.to_mr(message, care_of=RH2))
    assert pair.state().phase is Phase.UPDATING
    real = pair.sent("cn", BindingAcknowledgement)[0].message
    assert "ro_from_nobody" in counters(pair.to_mr(real, OTHER_CN, care_of=RH2))
    damaged = bytearray(build(real, CN, HOA))
    damaged[-1] ^= 1
    assert "ro_ba_bad_authenticator" in counters(pair.to_mr(bytes(damaged), care_of=RH2))
    assert "ro_bound" in counters(pair.to_mr(real, care_of=RH2))
    assert "ro_ba_ignored" in counters(pair.to_mr(real, care_of=RH2))


@pytest.mark.parametrize(
    ("status", "tests"),
    [(136, (HomeTestInit,)), (137, (CareOfTestInit,)), (138, (HomeTestInit, CareOfTestInit))],
)
def test_expired_nonces_have_just_that_test_repeated(status: int, tests: tuple[type, ...]) -> None:
    pair, update = updating()
    stranger = BindingAcknowledgement(status, (update.sequence + 1) & 0xFFFF, 0)
    assert "ro_ba_ignored" in counters(pair.to_mr(stranger, care_of=RH2))
    pair.to_mr(BindingAcknowledgement(status, update.sequence, 0), care_of=RH2)
    pair.lost = lambda *_: False
    pair.run(0.5)
    for kind in (HomeTestInit, CareOfTestInit):
        assert len(pair.sent("mr", kind)) == (2 if kind in tests else 1)
    assert pair.state().direct


def test_forged_expiries_end_after_a_few() -> None:
    pair, _ = updating()
    for _ in range(10):
        sent = pair.sent("mr", BindingUpdate)[-1].message
        assert isinstance(sent, BindingUpdate)
        pair.to_mr(BindingAcknowledgement(138, sent.sequence, 0), care_of=RH2)
        pair.run(0.5)
    assert pair.state().phase is Phase.LEFT_ALONE
    assert len(pair.sent("mr", HomeTestInit)) <= 4


@pytest.mark.spec("M-157")
def test_sequence_out_of_window_is_followed() -> None:
    """The router forgot its number, the correspondent did not."""
    pair = Pair().bound()
    high = pair.state().sequence
    pair.mr = RouteOptimisation(LISTED, HOA, (HA6,), pair.now, (), pair.octets)
    pair.mr._first_sequence = lambda: high - 20  # type: ignore[method-assign]
    pair.attach(away())
    pair.speak()
    pair.run(1)
    assert pair.state().direct
    assert pair.state().sequence == (high + 1) & 0xFFFF


@pytest.mark.parametrize("status", [129, 130, 139])
def test_refusals_are_remembered(status: int) -> None:
    pair = Pair()
    if status == 139:
        pair.registered = lambda home: home == HOA
        pair.cn = pair.new_correspondent()
    elif status == 130:
        pair.cn_config = replace(pair.cn_config, bindings_max=0)
        pair.cn = pair.new_correspondent()
    else:
        pair.lost = lambda who, e: _prohibit(pair, who, e)
    pair.attach(away())
    pair.speak()
    pair.run(5)
    assert pair.state().phase is Phase.LEFT_ALONE
    assert str(status) in str([e.message for e in pair.sent("cn", BindingAcknowledgement)])
    assert len(pair.sent("mr", BindingUpdate)) == 1
    assert pair.state().retry_in == pytest.approx(REFUSED_FOR, abs=6)
    assert pair.kernel["mr"] == {}


def _prohibit(pair: Pair, who: str, effect: SendMessage) -> bool:
    """Between tests and update the correspondent's administrator has changed his mind."""
    if who == "mr" and isinstance(effect.message, BindingUpdate):
        config = replace(pair.cn_config, home_prefixes=(IPv6Network("2001:db8:77::/64"),))
        pair.cn.reconfigure(config, pair.now)
    return False


# --- errors --------------------------------------------------------------------------------


@pytest.mark.spec("M-120")
def test_binding_errors_of_others_are_ignored() -> None:
    pair = Pair().bound()
    cases = [
        (BindingError(1, HOA), {"source": OTHER_CN, "destination": COA}),
        (BindingError(1, HOA), {"destination": COA2}),
        (BindingError(1, IPv6Address("2001:db8:1::101")), {"destination": COA}),
        (BindingError(2, HOA), {"destination": COA}),  # nothing is under way
        (BindingError(9, HOA), {"destination": COA}),
    ]
    for error, given in cases:
        pair.to_mr(error, **given)  # type: ignore[arg-type]
        assert pair.state().direct
    assert pair.state().phase is Phase.BOUND


@pytest.mark.spec("M-121")
def test_a_correspondent_that_knows_no_such_message_is_left_alone() -> None:
    pair, _, _ = under_way()
    assert "ro_be_2" in counters(pair.to_mr(BindingError(2, IPv6Address("::")), destination=COA))
    assert pair.state().phase is Phase.LEFT_ALONE
    assert pair.state().retry_in == UNSUPPORTED_FOR


def quoted(source: IPv6Address, payload: bytes, header: int = 135) -> bytes:
    """Return an IPv6 packet to the correspondent."""
    head = (6 << 28).to_bytes(4, "big") + len(payload).to_bytes(2, "big") + bytes((header, 64))
    return head + source.packed + CN.packed + payload


@pytest.mark.spec("M-119")
@pytest.mark.parametrize("which", ["hoti", "coti", "bu"])
def test_parameter_problem_about_what_is_under_way(which: str) -> None:
    if which == "bu":
        pair, update = updating()
        signed = bytes(build(pair.sent("mr", BindingUpdate)[0].message, HOA, CN))
        assert update.sequence
        packet = quoted(COA, build_home_address(HOA, 135) + signed, 60)
    else:
        pair, hoti, coti = under_way()
        message, source = (hoti, HOA) if which == "hoti" else (coti, COA)
        packet = quoted(source, bytes(build(message, source, CN)))
    for source, wrong in (
        (OTHER_CN, packet),
        (CN, packet[:-3]),
        (CN, packet[:41]),
        (CN, b""),
        (CN, quoted(HOA, bytes(build(HomeTestInit(b"x" * 8), HOA, CN)))),
        (CN, quoted(HOA, b"\0" * 16, 17)),
    ):
        pair.carry("mr", pair.mr.unsupported(source, wrong, pair.now))
        assert pair.state().phase is not Phase.LEFT_ALONE
    pair.carry("mr", pair.mr.unsupported(CN, packet, pair.now))
    assert pair.state().phase is Phase.LEFT_ALONE
    pair.speak()
    pair.run(UNSUPPORTED_FOR - 1)
    pair.speak()
    assert len(pair.sent("mr", HomeTestInit)) == 1
    pair.run(2)
    pair.lost = lambda *_: False
    pair.speak()
    pair.run(1)
    assert pair.state().direct


@pytest.mark.parametrize("data", [b"", b"\x3b", bytes(8), b"\x06\x01\x05\0" + bytes(12)])
def test_damaged_messages_do_nothing_to_a_binding(data: bytes) -> None:
    pair = Pair().bound()
    pair.to_mr(data)
    assert pair.state().phase is Phase.BOUND


def test_messages_that_are_for_others() -> None:
    pair = Pair().bound()
    assert counters(pair.to_mr(HomeTestInit(b"c" * 8))) == ["ro_not_for_mobile_router"]


# --- bounds ----------------------------------------------------------------------------------


def test_no_more_correspondents_than_allowed() -> None:
    pair = Pair(replace(LISTED, correspondents_max=3))
    pair.attach(away())
    addresses = [CN + n for n in range(5)]
    for address in addresses:
        pair.speak(address)
    assert [one.address for one in pair.states()] == addresses[:3]
    with pytest.raises(ValueError, match="3 already"):
        pair.mr.optimise(addresses[4], True, pair.now)
    # All but the first do not answer: they make place when somebody else is spoken to.
    pair.run(20)
    assert [one.phase for one in pair.states()][1:] == [Phase.LEFT_ALONE] * 2
    for address in addresses[3:]:
        pair.speak(address)
    assert [one.address for one in pair.states()] == [CN, *addresses[3:]]


@pytest.mark.spec("M-165", "M-132")
def test_a_flapping_router_sends_no_more_than_three_of_a_type_in_a_second() -> None:
    pair = Pair().bound()
    for number in range(40):
        pair.attach(away(COA if number % 2 else COA2))
        pair.run(0.06)
    pair.run(3)
    for kind in (HomeTestInit, CareOfTestInit, BindingUpdate):
        times = [at for at, _ in pair.times("mr", kind)]
        for at in times:
            assert sum(at <= other < at + 0.999 for other in times) <= 3
    assert pair.state().direct


def test_lossy_wire_leads_to_the_same_on_both_sides() -> None:
    outcomes: Counter[bool] = Counter()
    for seed in range(60):
        pair = Pair(seed=seed)
        pair.lost = lambda _who, _effect, pair=pair: pair.random.random() < 0.2
        pair.attach(away())
        pair.carry("mr", pair.mr.optimise(CN, True, pair.now))
        for step in range(6):
            pair.packets["mr"] += 1
            pair.run(40)
            pair.attach(away(COA2 if step % 2 else COA))
            here = pair.kernel["mr"].get(CN)
            there = pair.kernel["cn"].get(HOA)
            if here is not None:
                # Never direct without the same at the correspondent.
                assert there is not None
                assert there.paths[0].remote == here.paths[0].local
        pair.lost = lambda *_: False
        pair.run(SILENT_FOR + 10)
        outcomes[pair.state().direct] += 1
    assert outcomes == {True: 60}
