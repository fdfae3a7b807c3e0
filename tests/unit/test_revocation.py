# SPDX-License-Identifier: GPL-2.0-only
"""Binding revocation at both ends, and what a stranger gets."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from dsmip.mobility.effects import (
    Count,
    SendMessage,
)
from dsmip.mobility.mobile_router import State
from dsmip.mobility.orders import BadOrder
from dsmip.packet.careof import CareOf
from dsmip.packet.mobility import (
    BindingAcknowledgement,
    BindingRevocationAcknowledgement,
    BindingRevocationIndication,
    BindingUpdate,
)
from dsmip.packet.options import (
    BindingIdentifier,
    IPv4HomeAddress,
    find,
)
from dsmip.packet.status import BindingAckStatus, RevocationStatus, RevocationTrigger

from tests.unit.roaming import (
    COA6,
    COA6B,
    HA6,
    HOA,
    HOA4,
    World,
    uplink4,
)
from tests.unit.twoagents import (
    ADMINISTRATIVE,
    HA2,
    answers,
    bound,
    counts,
    indication,
    registered,
    revoke,
    to_router,
)

# --- revocation: both ends -----------------------------------------------------------


@pytest.mark.spec("E-051", "E-053", "E-054", "E-055")
def test_revocation_ends_the_binding_at_both_ends() -> None:
    world = registered()
    revoke(world)
    (sent,) = world.sent("ha", BindingRevocationIndication)
    assert (sent.source, sent.destination) == (HA6, HOA)
    assert sent.care_of == CareOf(COA6)
    assert bound(world)
    world.run(0.5)
    assert not bound(world)
    (answer,) = world.sent("mr", BindingRevocationAcknowledgement)
    assert answer.message.sequence == sent.message.sequence  # type: ignore[attr-defined]
    assert answer.message.status == RevocationStatus.SUCCESS  # type: ignore[attr-defined]
    assert (answer.destination, answer.care_of) == (HA6, CareOf(COA6, interface=2))
    view = world.mr.registration(world.now)
    assert view.state is State.REFUSED
    assert "revoked the binding: administrative" in view.problem
    assert world.sent("ha", BindingRevocationIndication) == [sent]


def test_router_registers_again_after_a_minute() -> None:
    world = registered()
    revoke(world)
    world.run(50)
    assert not bound(world)
    world.run(15)
    assert bound(world)
    assert world.mr.registration(world.now).problem == ""


def test_revocation_out_of_sync_is_mended_at_once() -> None:
    world = registered()
    revoke(world, RevocationTrigger.OUT_OF_SYNC)
    world.run(3)
    assert world.mr.registration(world.now).state is State.REGISTERED
    assert bound(world)


@pytest.mark.spec("E-052")
def test_revocation_over_udp_uses_addresses_and_ports_of_the_update() -> None:
    world = registered(World(), uplink4(address=IPv4Address("10.0.5.2")))
    revoke(world)
    (sent,) = world.sent("ha", BindingRevocationIndication)
    (view,) = world.ha.bindings(world.now)
    assert sent.care_of == view.care_of
    assert sent.care_of is not None
    assert sent.care_of.port == world.nat_port
    world.run(1)
    assert not bound(world)


@pytest.mark.spec("E-055")
def test_unanswered_revocation_is_repeated_once_and_then_done() -> None:
    world = registered()
    world.plug()
    start = world.now
    revoke(world)
    world.run(0.9)
    assert len(world.sent("ha", BindingRevocationIndication)) == 1
    world.run(0.2)
    first, second = world.sent("ha", BindingRevocationIndication)
    assert first.message == second.message
    world.run(1.8)
    assert bound(world), "MAX_BRACK_TIMEOUT has not passed"
    world.run(0.2)
    assert not bound(world)
    assert world.now - start < 3.2
    assert len(world.sent("ha", BindingRevocationIndication)) == 2
    assert Count("bri_unanswered") in world.of("ha", Count)


def test_lost_acknowledgement_is_given_again() -> None:
    world = registered()
    first = to_router(world, indication(40))
    again = to_router(world, indication(40))
    assert answers(first) == answers(again) == [RevocationStatus.SUCCESS]
    assert "bri_repeated" in counts(again)


def test_old_indication_played_again_does_nothing() -> None:
    """Static keys have no replay window (RFC 3776 section 4.4)."""
    world = registered()
    to_router(world, indication(40, RevocationTrigger.OUT_OF_SYNC))
    world.run(60)
    assert world.mr.registration(world.now).state is State.REGISTERED
    effects = to_router(world, indication(40, RevocationTrigger.OUT_OF_SYNC))
    assert answers(effects) == []
    assert "bri_replayed" in counts(effects)
    assert world.mr.registration(world.now).state is State.REGISTERED


@pytest.mark.spec("E-053")
@pytest.mark.parametrize(
    ("message", "status"),
    [
        (indication(proxy=True), RevocationStatus.PROXY_NOT_SUPPORTED),
        (indication(ipv4_only=True), RevocationStatus.IPV4_HOME_ADDRESS_REQUIRED),
        (
            indication(ipv4_only=True, options=(IPv4HomeAddress(IPv4Address("192.0.2.9")),)),
            RevocationStatus.BINDING_DOES_NOT_EXIST,
        ),
        (indication(everything=True), RevocationStatus.FUNCTION_NOT_SUPPORTED),
        (indication(trigger=128), RevocationStatus.FUNCTION_NOT_SUPPORTED),
        (indication(trigger=3), RevocationStatus.TRIGGER_NOT_SUPPORTED),
        (indication(trigger=99), RevocationStatus.TRIGGER_NOT_SUPPORTED),
        (
            indication(options=(BindingIdentifier(77),)),
            RevocationStatus.BINDING_DOES_NOT_EXIST,
        ),
    ],
)
def test_refused_indications_leave_the_binding(
    message: BindingRevocationIndication, status: RevocationStatus
) -> None:
    world = registered()
    effects = to_router(world, message)
    assert answers(effects) == [status]
    (sent,) = [e for e in effects if isinstance(e, SendMessage)]
    answer = sent.message
    assert isinstance(answer, BindingRevocationAcknowledgement)
    # E-054: the flags come back.
    assert (answer.sequence, answer.proxy, answer.ipv4_only, answer.everything) == (
        message.sequence,
        message.proxy,
        message.ipv4_only,
        message.everything,
    )
    assert world.mr.registration(world.now).state is State.REGISTERED
    assert HOA in world.kernel["mr"].bindings


@pytest.mark.spec("E-050", "E-053")
@pytest.mark.parametrize(
    ("source", "protected"), [(HA6, False), (HA2, True), (COA6B, False), (HA2, False)]
)
def test_indication_from_someone_else_is_dropped(source: IPv6Address, protected: bool) -> None:
    world = registered()
    effects = to_router(world, indication(), source, protected)
    assert [e for e in effects if isinstance(e, SendMessage)] == []
    assert counts(effects)
    assert world.mr.registration(world.now).state is State.REGISTERED


@pytest.mark.spec("E-053")
def test_indication_without_binding_is_dropped() -> None:
    world = World()
    effects = to_router(world, indication())
    assert answers(effects) == []
    assert counts(effects) == ["bri_without_binding"]


def test_only_the_ipv4_home_address_is_revoked() -> None:
    world = registered()
    assert world.kernel["ha"].bindings[HOA].home_address4 == HOA4
    revoke(world, ipv4_only=True)
    (sent,) = world.sent("ha", BindingRevocationIndication)
    assert find(sent.message.options, IPv4HomeAddress) == IPv4HomeAddress(HOA4)
    world.run(1)
    assert bound(world)
    assert world.kernel["ha"].bindings[HOA].home_address4 is None
    assert world.kernel["mr"].bindings[HOA].home_address4 is None
    view = world.mr.registration(world.now)
    assert view.state is State.REGISTERED
    assert view.home_address4 is None
    # It does not come back with the next refresh.
    world.run(400)
    assert bound(world)
    assert world.kernel["ha"].bindings[HOA].home_address4 is None


# --- revocation: the home agent ------------------------------------------------------


@pytest.mark.parametrize(
    ("off", "flags"), [(1, {}), (-1, {}), (0, {"proxy": True}), (0, {"ipv4_only": True})]
)
def test_acknowledgement_of_something_else_is_dropped(off: int, flags: dict[str, bool]) -> None:
    """RFC 5846 section 6.2.2: stale and invented sequence numbers."""
    world = registered()
    world.plug()
    revoke(world)
    (sent,) = world.sent("ha", BindingRevocationIndication)
    sequence = (sent.message.sequence + off) & 0xFFFF  # type: ignore[attr-defined]
    effects = world.to_ha(BindingRevocationAcknowledgement(0, sequence, **flags), CareOf(COA6))
    assert counts(effects) == ["bra_unexpected"]
    assert bound(world)


@pytest.mark.spec("E-050")
def test_acknowledgement_in_clear_or_for_another_is_dropped() -> None:
    world = registered()
    world.plug()
    revoke(world)
    (sent,) = world.sent("ha", BindingRevocationIndication)
    answer = BindingRevocationAcknowledgement(0, sent.message.sequence)  # type: ignore[attr-defined]
    assert counts(world.to_ha(answer, CareOf(COA6), protected=False)) == ["bra_unprotected"]
    stranger = IPv6Address("2001:db8:1::200")
    assert counts(world.to_ha(answer, CareOf(COA6B), source=stranger)) == ["bra_unexpected"]
    assert bound(world)


def test_refused_revocation_leaves_the_binding() -> None:
    world = registered()
    world.plug()
    revoke(world)
    (sent,) = world.sent("ha", BindingRevocationIndication)
    answer = BindingRevocationAcknowledgement(133, sent.message.sequence)  # type: ignore[attr-defined]
    effects = world.to_ha(answer, CareOf(COA6))
    assert "bra_133" in counts(effects)
    world.run(5)
    assert bound(world)


@pytest.mark.parametrize(
    ("flags", "status"),
    [
        ({}, RevocationStatus.FUNCTION_NOT_SUPPORTED),
        ({"proxy": True}, RevocationStatus.PROXY_NOT_SUPPORTED),
    ],
)
def test_nobody_else_revokes_at_a_home_agent(
    flags: dict[str, bool], status: RevocationStatus
) -> None:
    world = registered()
    effects = world.to_ha(indication(**flags), CareOf(COA6))
    assert answers(effects) == [status]
    assert bound(world)
    silent = world.to_ha(indication(**flags), CareOf(COA6), protected=False)
    assert [e for e in silent if isinstance(e, SendMessage)] == []


@pytest.mark.spec("E-056")
@pytest.mark.parametrize(
    ("trigger", "status"),
    [
        (ADMINISTRATIVE, BindingAckStatus.ADMINISTRATIVELY_PROHIBITED),
        (RevocationTrigger.OUT_OF_SYNC, BindingAckStatus.ACCEPTED),
    ],
)
def test_update_during_a_revocation(trigger: RevocationTrigger, status: BindingAckStatus) -> None:
    world = registered()
    sequence = world.ha.bindings(world.now)[0].sequence
    world.plug()
    revoke(world, trigger)
    update = BindingUpdate(sequence + 1, 30, acknowledge=True, home=True, mobile_router=True)
    effects = world.to_ha(update, CareOf(COA6B))
    (answer,) = [e.message for e in effects if isinstance(e, SendMessage)]
    assert isinstance(answer, BindingAcknowledgement)
    assert answer.status == status
    world.run(5)
    # An accepted update ends the revocation.
    assert bound(world) is (status == BindingAckStatus.ACCEPTED)


def test_orders_that_cannot_be() -> None:
    world = registered()
    entry = world.ha.orders.find("bus-17")
    for trigger in (RevocationTrigger.INTER_MAG_UNKNOWN, RevocationTrigger.MOBILITY_POLICY):
        with pytest.raises(BadOrder, match="trigger"):
            world.ha.orders.revoke(entry, trigger, world.now)
    for address in ("ff02::1", "::", "fe80::1", str(HOA), str(COA6), str(HA6), "::1"):
        with pytest.raises(BadOrder, match="address"):
            world.ha.orders.switch(entry, [IPv6Address(address)], 0, world.now)
    many = [HA2 + n for n in range(33)]
    with pytest.raises(BadOrder, match="at most 32"):
        world.ha.orders.switch(entry, many, 0, world.now)
    world.ha.orders.switch(entry, many[:32], 0, world.now)
    with pytest.raises(BadOrder, match="seconds"):
        world.ha.orders.switch(entry, [HA2], 0x10000 * 4, world.now)
    entry.home_address4 = None
    with pytest.raises(BadOrder, match="IPv4"):
        world.ha.orders.revoke(entry, ADMINISTRATIVE, world.now, ipv4_only=True)


@pytest.mark.spec("E-051")
def test_one_of_several_care_of_addresses_is_revoked() -> None:
    world = World()
    options = tuple(
        BindingIdentifier(bid, address=address) for bid, address in ((1, COA6), (2, COA6B))
    )
    update = BindingUpdate(1, 30, acknowledge=True, home=True, mobile_router=True, options=options)
    world.to_ha(update, CareOf(COA6))
    entry = world.ha.orders.find("bus-17")
    assert sorted(entry.paths) == [1, 2]
    with pytest.raises(BadOrder, match="BID 3"):
        world.ha.orders.revoke(entry, ADMINISTRATIVE, world.now, bids=[3])
    world.carry("ha", world.ha.orders.revoke(entry, ADMINISTRATIVE, world.now, bids=[1]))
    (sent,) = world.sent("ha", BindingRevocationIndication)
    assert find(sent.message.options, BindingIdentifier) == BindingIdentifier(1)
    sequence = sent.message.sequence  # type: ignore[attr-defined]
    world.to_ha(BindingRevocationAcknowledgement(0, sequence), CareOf(COA6B))
    assert sorted(world.ha.orders.find("bus-17").paths) == [2]
    assert [path.remote for path in world.kernel["ha"].bindings[HOA].paths] == [COA6B]
