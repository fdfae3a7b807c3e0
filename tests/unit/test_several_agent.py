# SPDX-License-Identifier: GPL-2.0-only
"""Several care-of addresses at the home agent: Binding Identifier options (RFC 5648)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from dsmip.mobility.effects import Effect, Moved, Path, PutBinding, SendMessage
from dsmip.packet.careof import CareOf, WireKind
from dsmip.packet.mobility import BindingAcknowledgement, BindingUpdate, Heartbeat
from dsmip.packet.options import (
    BindingIdentifier,
    IPv4AddressAcknowledgement,
    IPv4HomeAddress,
    MalformedOption,
    NatDetection,
    Option,
    find,
    find_all,
)

from tests.unit.roaming import (
    COA4,
    COA6,
    COA6B,
    HA6,
    HA_CONFIG,
    HOA,
    HOA4,
    INSIDE4,
    NAT4,
    NET6,
    World,
)

V6, V6B = CareOf(COA6), CareOf(COA6B)
UDP = CareOf(COA4, WireKind.UDP4, 4191)
NAT = CareOf(NAT4, WireKind.UDP4, 40000)


def bid(number: int, address: object = None, **more: object) -> BindingIdentifier:
    return BindingIdentifier(number, address=address, **more)  # type: ignore[arg-type]


def update(sequence: int, *options: Option, lifetime: int = 30, **flags: bool) -> BindingUpdate:
    values = {"acknowledge": True, "home": True, "mobile_router": True} | flags
    return BindingUpdate(sequence, lifetime, options=options, **values)


def answer(effects: list[Effect]) -> BindingAcknowledgement:
    (found,) = [
        e.message
        for e in effects
        if isinstance(e, SendMessage) and isinstance(e.message, BindingAcknowledgement)
    ]
    return found


def statuses(message: BindingAcknowledgement) -> dict[int, int]:
    """Return the status of each BID as the router reads it (X-011)."""
    return {o.bid: o.status for o in find_all(message.options, BindingIdentifier)}


def held(world: World) -> dict[int, Path]:
    binding = world.kernel["ha"].bindings.get(HOA)
    return {path.bid: path for path in binding.paths} if binding else {}


@pytest.fixture
def world() -> World:
    """Two care-of addresses: 1 is COA6, 2 is behind a NAT; sequence number 101."""
    made = World()
    first = made.to_ha(update(100, bid(1, COA6, priority=1), overwrite=True), V6)
    assert answer(first).status == 0
    second = made.to_ha(update(101, bid(2, INSIDE4, priority=9)), NAT)
    assert answer(second).status == 0
    return made


def untouched(world: World) -> bool:
    (view,) = world.ha.bindings(world.now)
    there = {bid: (path.kind, path.remote) for bid, path in held(world).items()}
    return (view.sequence, there) == (
        101,
        {1: (WireKind.IP6, COA6), 2: (WireKind.UDP4, NAT4)},
    )


# --- what is granted ----------------------------------------------------------------------


@pytest.mark.spec("X-005", "X-018")
def test_two_care_of_addresses_stand_side_by_side(world: World) -> None:
    """One sequence number space; the preferred one is that of the lowest BID-PRI."""
    assert untouched(world)
    assert world.kernel["ha"].active().remote == COA6
    assert held(world)[2].remote_port == 40000
    (view,) = world.ha.bindings(world.now)
    assert [(p.bid, p.care_of.address, p.nat) for p in view.paths] == [
        (1, COA6, False),
        (2, NAT4, True),
    ]
    assert answer(world.to_ha(update(101, bid(1)), V6)).status == 135


@pytest.mark.spec("X-006", "X-018")
def test_bulk_registration_is_one_update_with_one_answer() -> None:
    world = World()
    options = (bid(1, COA6, priority=5), bid(7, COA6B, priority=3))
    message = answer(world.to_ha(update(1, *options, overwrite=True), V6))
    assert (message.status, message.lifetime) == (0, 30)
    assert statuses(message) == {1: 0, 7: 0}
    # Erratum 1904: addresses are not repeated.
    assert all(o.address is None for o in find_all(message.options, BindingIdentifier))
    assert {b: p.remote for b, p in held(world).items()} == {1: COA6, 7: COA6B}
    assert world.kernel["ha"].active().remote == COA6B


@pytest.mark.spec("D-082")
def test_ipv4_care_of_address_is_the_outer_source() -> None:
    world = World()
    message = answer(world.to_ha(update(1, bid(3, INSIDE4), overwrite=True), NAT))
    assert message.status == 0
    assert (held(world)[3].remote, held(world)[3].kind) == (NAT4, WireKind.UDP4)
    nat = find(message.options, NatDetection)
    assert nat is not None
    assert nat.refresh_time == HA_CONFIG.nat_keepalive


def test_ipv4_without_nat_goes_without_udp() -> None:
    world = World()
    message = answer(world.to_ha(update(1, bid(3, COA4), overwrite=True), UDP))
    nat = find(message.options, NatDetection)
    assert nat is not None
    assert nat.refresh_time == NatDetection.NO_KEEPALIVE
    assert held(world)[3].kind is WireKind.IP4
    # The router still sends in UDP until it has the answer; it is heard, never sent to.
    (standby,) = [p for b, p in held(world).items() if b != 3]
    assert (standby.kind, standby.remote, standby.down) == (WireKind.UDP4, COA4, True)


@pytest.mark.spec("D-081")
def test_ipv4_care_of_address_is_not_registered_in_bulk_at_first(world: World) -> None:
    message = answer(world.to_ha(update(102, bid(1), bid(3, COA4)), V6))
    assert (message.status, statuses(message)) == (4, {1: 0, 3: 164})
    assert 3 not in held(world)


def test_ipv4_care_of_address_without_nat_may_be_renewed_in_bulk() -> None:
    world = World()
    world.to_ha(update(1, bid(3, COA4), overwrite=True), UDP)
    world.run(50)
    message = answer(world.to_ha(update(2, bid(1, COA6), bid(3, COA4)), V6))
    assert statuses(message) == {1: 0, 3: 0}
    (view,) = world.ha.bindings(world.now)
    assert all(path.expires == world.now + 120 for path in view.paths)


@pytest.mark.spec("D-083")
def test_ipv4_home_address_is_answered_before_the_identifiers() -> None:
    world = World()
    options = (IPv4HomeAddress(HOA4), bid(1, COA6))
    kinds = [type(o) for o in answer(world.to_ha(update(1, *options, overwrite=True), V6)).options]
    assert kinds.index(IPv4AddressAcknowledgement) < kinds.index(BindingIdentifier)


@pytest.mark.spec("X-017")
def test_known_bid_with_another_address_moves(world: World) -> None:
    message = answer(world.to_ha(update(102, bid(1, COA6B, priority=1)), V6B))
    assert statuses(message) == {1: 0}
    assert held(world)[1].remote == COA6B
    assert held(world)[2].remote == NAT4
    (moved,) = world.of("ha", Moved)[-1:]
    assert (moved.old.address, moved.new.address) == (COA6, COA6B)


def test_nat_that_gives_another_port(world: World) -> None:
    world.to_ha(update(102, bid(2, INSIDE4)), replace(NAT, port=40001))
    assert held(world)[2].remote_port == 40001
    assert held(world)[1].remote == COA6


def test_priority_alone_moves_the_downlink(world: World) -> None:
    """Known BIDs need no address: both ends of the preference in one small update."""
    message = answer(world.to_ha(update(102, bid(2, priority=1), bid(1, priority=5)), NAT))
    assert statuses(message) == {1: 0, 2: 0}
    assert world.kernel["ha"].active().remote == NAT4
    assert {p.bid for p in held(world).values()} == {1, 2}


@pytest.mark.spec("X-015")
def test_overwrite_replaces_everything(world: World) -> None:
    message = answer(world.to_ha(update(102, bid(9, COA6B), overwrite=True), V6B))
    assert message.status == 0
    assert list(held(world)) == [9]


@pytest.mark.spec("X-012")
def test_update_without_bid_replaces_everything(world: World) -> None:
    assert answer(world.to_ha(update(102), V6B)).status == 0
    assert {b: p.remote for b, p in held(world).items()} == {0: COA6B}
    assert answer(world.to_ha(update(103, lifetime=0), V6B)).status == 0
    assert held(world) == {}


@pytest.mark.spec("X-016")
def test_plain_binding_is_only_overwritten_on_request() -> None:
    world = World()
    assert answer(world.to_ha(update(1), V6)).status == 0
    message = answer(world.to_ha(update(2, bid(1, COA6)), V6))
    assert message.status == 165
    assert list(held(world)) == [0]
    assert answer(world.to_ha(update(3, bid(1, COA6), overwrite=True), V6)).status == 0
    assert list(held(world)) == [1]


# --- removal --------------------------------------------------------------------------------


@pytest.mark.spec("X-008")
def test_one_bid_is_removed_and_the_other_stays(world: World) -> None:
    message = answer(world.to_ha(update(102, bid(1), lifetime=0), NAT))
    assert (message.status, message.lifetime, statuses(message)) == (0, 0, {1: 0})
    assert list(held(world)) == [2]
    assert world.kernel["ha"].active().remote == NAT4
    message = answer(world.to_ha(update(103, bid(2), lifetime=0, overwrite=True), NAT))
    assert message.status == 0
    assert held(world) == {}
    assert world.ha.bindings(world.now) == []


@pytest.mark.spec("X-008", "X-012")
def test_removal_without_bid_removes_all(world: World) -> None:
    assert answer(world.to_ha(update(102, lifetime=0), V6)).status == 0
    assert held(world) == {}


@pytest.mark.spec("X-015")
def test_overwrite_means_nothing_in_a_removal(world: World) -> None:
    assert answer(world.to_ha(update(102, bid(1), lifetime=0, overwrite=True), NAT)).status == 0
    assert list(held(world)) == [2]


@pytest.mark.spec("X-014")
def test_unknown_bid_is_not_removed(world: World) -> None:
    message = answer(world.to_ha(update(102, bid(5), lifetime=0), V6))
    assert message.status == 133
    assert list(held(world)) == [1, 2]
    message = answer(world.to_ha(update(103, bid(5), bid(1), lifetime=0), V6))
    assert (message.status, statuses(message)) == (4, {5: 133, 1: 0})
    assert list(held(world)) == [2]


def test_each_path_has_its_own_lifetime(world: World) -> None:
    world.run(60)
    world.to_ha(update(102, bid(2)), NAT)
    world.run(61)
    assert list(held(world)) == [2]
    world.run(60)
    assert held(world) == {}


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.spec("X-013")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((MalformedOption(35, b"\0\1\0\0\0\0"),), 164),
        ((bid(0, COA6),), 164),
        ((bid(5),), 167),
        ((bid(5, IPv6Address("ff02::1")),), 164),
        ((bid(5, IPv6Address("fe80::1")),), 164),
        ((bid(5, IPv6Address("::")),), 164),
        ((bid(5, IPv4Address("127.0.0.1")),), 164),
        ((bid(5, COA6B), bid(5, COA6B)), 164),
        ((bid(5, HA6),), 174),
        ((bid(5, HOA),), 174),
        ((bid(5, COA6),), 174),
        ((bid(5, NET6[9]),), 174),
        ((bid(0x8001, COA6B),), 130),
        ((bid(5, COA6B, home=True),), 169),
    ],
    ids=str,
)
def test_refused_identifiers_change_nothing(
    world: World, options: tuple[Option, ...], expected: int
) -> None:
    before = held(world)
    message = answer(world.to_ha(update(102, *options), V6B))
    assert message.status == expected
    assert held(world) == before


def test_bad_one_among_good_ones_is_named(world: World) -> None:
    message = answer(world.to_ha(update(102, bid(4, COA6B), bid(5), bid(6, HA6)), V6B))
    assert (message.status, statuses(message)) == (4, {4: 0, 5: 167, 6: 174})
    assert sorted(held(world)) == [1, 2, 4]


def test_address_may_change_its_bid_in_one_update(world: World) -> None:
    message = answer(world.to_ha(update(102, bid(1, COA6B), bid(5, COA6)), V6))
    assert statuses(message) == {1: 0, 5: 0}
    assert (held(world)[1].remote, held(world)[5].remote) == (COA6B, COA6)


def test_paths_at_their_limit_and_one_past_it() -> None:
    world = World()
    many = tuple(bid(n, COA6 + n) for n in range(1, 10))
    message = answer(world.to_ha(update(1, *many, overwrite=True), V6))
    assert message.status == 4
    assert statuses(message) == {**dict.fromkeys(range(1, 9), 0), 9: 130}
    assert len(held(world)) == 8


def test_what_the_kernel_remembers_for_us_always_fits() -> None:
    """512 octets, whatever the names and numbers are."""
    from dsmip.linux.dsmip import encode_binding
    from dsmip.mobility.binding_cache import BoundPath, Entry, HomePath, to_kernel
    from dsmip.mobility.ownership import Owner

    paths = {
        number: BoundPath(
            number,
            CareOf(IPv4Address("255.255.255.254") - number, WireKind.UDP4, 65535),
            CareOf(IPv4Address("255.255.255.254") - number, WireKind.UDP4, 65535),
            262140,
            300000.0,
            127,
            True,
            True,
            IPv4Address("255.255.255.254"),
        )
        for number in range(0x7FF8, 0x8000)
    }
    longest = IPv6Address("2001:db8:1111:2222:3333:4444:5555:6666")
    entry = Entry(Owner("\u20ac" * 200, HOA), longest, paths, 65535, 0.0, 0.0, True)
    entry.home = HomePath(0x7FF0, b"\xfe" + b"\xff" * 5, 262140, 300000.0, 127)
    assert encode_binding(to_kernel(entry, COA4, 0.0))


@pytest.mark.parametrize(
    ("config", "options", "expected"),
    [
        (replace(HA_CONFIG, several=False), (bid(1, COA6),), 166),
        (replace(HA_CONFIG, bulk=False), (bid(1, COA6), bid(2, COA6B)), 168),
    ],
)
def test_home_agent_may_say_no(config, options: tuple[Option, ...], expected: int) -> None:  # type: ignore[no-untyped-def]
    world = World(ha_config=config)
    message = answer(world.to_ha(update(1, *options, overwrite=True), V6))
    assert message.status == expected
    assert held(world) == {}


def test_another_home_address_is_checked_first(world: World) -> None:
    message = answer(
        world.to_ha(update(9, bid(1, COA6B)), V6B, source=IPv6Address("2001:db8:1::999"))
    )
    assert message.status == 133
    assert untouched(world)


# --- restart -------------------------------------------------------------------------------------


def test_restart_keeps_all_paths(world: World) -> None:
    world.to_ha(update(102, bid(3, COA4)), UDP)
    world.run(30)
    before = [replace(p, expires=0.0) for p in world.ha.bindings(world.now)[0].paths]
    kernel = held(world)
    world.effects.clear()
    # The kernel counts down to the end of the last path.
    world.kernel["ha"].bindings[HOA] = replace(world.kernel["ha"].bindings[HOA], lifetime=90)
    world.restart("ha")
    (view,) = world.ha.bindings(world.now)
    assert [replace(p, expires=0.0) for p in view.paths] == before
    assert [round(p.expires - world.now) for p in view.paths] == [90, 90, 90]
    assert held(world) == kernel
    assert not world.of("ha", PutBinding)
    assert answer(world.to_ha(update(103, bid(2, INSIDE4)), NAT)).status == 0


# --- heartbeats ----------------------------------------------------------------------


def test_heartbeat_is_answered_by_the_path_it_came_by(world: World) -> None:
    for care_of in (V6, NAT, V6B):
        (sent,) = [e for e in world.to_ha(Heartbeat(77), care_of) if isinstance(e, SendMessage)]
        assert sent.message == Heartbeat(77, response=True)
        assert (sent.care_of, sent.destination) == (care_of, HOA)


def test_heartbeat_of_a_stranger_is_not_answered(world: World) -> None:
    def answers(message: Heartbeat, **more: object) -> list[Effect]:
        return [e for e in world.to_ha(message, V6, **more) if isinstance(e, SendMessage)]

    assert answers(Heartbeat(1), protected=False) == []
    assert answers(Heartbeat(1, response=True)) == []
    assert answers(Heartbeat(1), source=IPv6Address("2001:db8:1::999")) == []
