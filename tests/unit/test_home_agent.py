# SPDX-License-Identifier: GPL-2.0-only
"""The home agent's engine: what it grants, what it refuses, and to whom."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from dsmip.mobility.effects import (
    Count,
    DetectDuplicate,
    DropBinding,
    Effect,
    Path,
    Proxy,
    PutBinding,
    SendMessage,
    SendParameterProblem,
)
from dsmip.mobility.ownership import Owner
from dsmip.packet.careof import CareOf, WireKind
from dsmip.packet.kernel import PathEvent
from dsmip.packet.mobility import (
    BindingAcknowledgement,
    BindingError,
    BindingRefreshRequest,
    BindingUpdate,
    build,
)
from dsmip.packet.options import (
    AlternateCareOfAddress,
    BindingRefreshAdvice,
    IPv4AddressAcknowledgement,
    IPv4CareOfAddress,
    IPv4HomeAddress,
    MobileNetworkPrefix,
    NatDetection,
    NonceIndices,
    Option,
    UnknownOption,
    find,
    find_all,
)

from tests.unit.roaming import (
    COA4,
    COA6,
    COA6B,
    HA4,
    HA6,
    HA_CONFIG,
    HOA,
    HOA4,
    INSIDE4,
    NAT4,
    NET4,
    NET6,
    TRAM,
    World,
)

LINK_LOCAL = IPv6Address("fe80::100")
V6 = CareOf(COA6)
UDP = CareOf(COA4, WireKind.UDP4, 4191)


def update(
    sequence: int, *options: Option, lifetime: int = 30, care_of: object = COA6, **flags: bool
) -> BindingUpdate:
    """Return a home registration; over IPv6 with the alternate care-of address."""
    first: tuple[Option, ...] = ()
    if isinstance(care_of, IPv6Address):
        first = (AlternateCareOfAddress(care_of),)
    values = {"acknowledge": True, "home": True, "mobile_router": True} | flags
    return BindingUpdate(sequence, lifetime, options=(*first, *options), **values)


def answer(effects: list[Effect]) -> BindingAcknowledgement | None:
    """Return the one acknowledgement among the effects."""
    found = [
        e.message
        for e in effects
        if isinstance(e, SendMessage) and isinstance(e.message, BindingAcknowledgement)
    ]
    assert len(found) <= 1
    return found[0] if found else None


def status(effects: list[Effect]) -> int | None:
    """Return the status that was answered."""
    message = answer(effects)
    return None if message is None else message.status


@pytest.fixture
def world() -> World:
    """Bind HOA at COA6 with sequence number 100."""
    made = World()
    assert status(made.to_ha(update(100), V6)) == 0
    return made


def untouched(world: World) -> bool:
    """Tell whether the fixture's binding is as it was, here and in the kernel."""
    (view,) = [v for v in world.ha.bindings(world.now) if v.home_address == HOA]
    path = world.kernel["ha"].active()
    return (view.sequence, view.care_of.address, path.remote) == (100, COA6, COA6)


# --- what is granted ------------------------------------------------------------------


@pytest.mark.spec("N-051", "N-054")
def test_registration_sets_up_forwarding_before_it_answers() -> None:
    """N-051, N-054."""
    world = World()
    effects = world.to_ha(update(1, MobileNetworkPrefix(NET6)), V6)
    order = [type(e) for e in effects if isinstance(e, PutBinding | SendMessage)]
    assert order == [PutBinding, SendMessage]
    binding = world.kernel["ha"].bindings[HOA]
    assert binding.prefixes == (NET6,)
    assert binding.paths == (Path(0, WireKind.IP6, HA6, COA6),)
    message = answer(effects)
    assert message is not None
    assert (message.status, message.sequence, message.mobile_router) == (0, 1, True)


@pytest.mark.spec("M-070")
def test_lifetime_is_the_least_of_both() -> None:
    """M-065, M-070."""
    world = World()
    message = answer(world.to_ha(update(1, lifetime=1000), V6))
    assert message is not None
    assert message.lifetime * 4 == 600
    advice = find(message.options, BindingRefreshAdvice)
    assert advice is not None
    assert advice.interval * 4 < 600
    message = answer(world.to_ha(update(2, lifetime=2), V6))
    assert message is not None
    assert message.lifetime == 2


@pytest.mark.spec("D-042", "D-044", "M-041")
def test_answer_goes_by_the_path_of_the_update() -> None:
    """M-041, D-042, D-044."""
    world = World()
    (sent,) = [e for e in world.to_ha(update(1), V6) if isinstance(e, SendMessage)]
    assert (sent.source, sent.destination, sent.care_of) == (HA6, HOA, V6)
    came = CareOf(NAT4, WireKind.UDP4, 41000)
    effects = world.to_ha(update(2, IPv4CareOfAddress(INSIDE4), care_of=None), came)
    (sent,) = [e for e in effects if isinstance(e, SendMessage)]
    assert sent.care_of == came


def test_implicit_mode_binds_what_is_on_record() -> None:
    world = World()
    world.to_ha(update(1), V6)
    assert world.kernel["ha"].bindings[HOA].prefixes == (NET6, NET4)


@pytest.mark.spec("N-047")
def test_prefix_left_out_is_withdrawn() -> None:
    """N-003, N-047."""
    world = World()
    half = IPv6Network("2001:db8:100::/57")
    rest = IPv6Network("2001:db8:100:80::/57")
    world.to_ha(update(1, MobileNetworkPrefix(half), MobileNetworkPrefix(rest)), V6)
    world.to_ha(update(2, MobileNetworkPrefix(half)), V6)
    assert world.kernel["ha"].bindings[HOA].prefixes == (half,)


@pytest.mark.spec("N-050")
def test_plain_mobile_node_gets_no_prefix() -> None:
    """N-050."""
    world = World()
    effects = world.to_ha(update(1, mobile_router=False), V6)
    assert status(effects) == 0
    assert world.kernel["ha"].bindings[HOA].prefixes == ()
    message = answer(effects)
    assert message is not None
    assert not message.mobile_router


@pytest.mark.spec("M-031", "M-032")
@pytest.mark.parametrize("last", [0, 1, 15, 32767, 32768, 65535])
def test_sequence_window(last: int) -> None:
    """M-031, M-032: l itself and the 32768 before it are refused, the rest taken."""
    for step, expected in ((0, 135), (1, 0), (32767, 0), (32768, 135), (65535, 135)):
        world = World()
        world.to_ha(update(last), V6)
        effects = world.to_ha(update((last + step) & 0xFFFF), V6)
        assert status(effects) == expected, step
        if expected == 135:
            message = answer(effects)
            assert message is not None
            assert message.sequence == last


@pytest.mark.spec("M-071", "M-072", "M-073", "N-053")
def test_removal_then_late_update() -> None:
    """M-071 to M-073, N-053."""
    world = World()
    world.to_ha(update(100), V6)
    effects = world.to_ha(update(101, lifetime=0), V6)
    message = answer(effects)
    assert message is not None
    assert (message.status, message.lifetime, message.sequence) == (0, 0, 101)
    assert find(message.options, BindingRefreshAdvice) is None
    assert any(isinstance(e, DropBinding) for e in effects)
    assert status(world.to_ha(update(99), V6)) == 135
    assert status(world.to_ha(update(102, lifetime=0), V6)) == 133
    world.run(11)
    assert status(world.to_ha(update(5), V6)) == 0


def test_lifetime_that_ends_ends_the_binding(world: World) -> None:
    world.run(121)
    assert not world.ha.bindings(world.now)
    assert HOA not in world.kernel["ha"].bindings


@pytest.mark.spec("M-064")
def test_duplicate_address_detection_comes_first() -> None:
    """No answer before it, 134 if the address is taken; repeats wait too."""
    for unique, expected in ((True, 0), (False, 134)):
        world = World(replace(HA_CONFIG, home_link=True))
        effects = world.to_ha(update(1), V6)
        assert [e for e in effects if isinstance(e, DetectDuplicate)] == [DetectDuplicate(HOA)]
        assert answer(effects) is None
        assert answer(world.to_ha(update(1), V6)) is None
        again = world.to_ha(update(2), V6)
        assert answer(again) is None
        assert not [e for e in again if isinstance(e, DetectDuplicate)]
        before = len(world.effects)
        world.carry("ha", world.ha.duplicate_checked(HOA, unique, world.now))
        effects = [e for _, e in world.effects[before:]]
        assert status(effects) == expected
        message = answer(effects)
        assert message is not None
        assert message.sequence == 2
        proxies = [e for e in effects if isinstance(e, Proxy)]
        expected_proxies = [Proxy(HOA, True, True)] if unique else []
        assert proxies == expected_proxies
        # A refresh needs none.
        assert not unique or status(world.to_ha(update(3), V6)) == 0


@pytest.mark.spec("M-064")
@pytest.mark.parametrize("taken", [None, HOA, LINK_LOCAL])
@pytest.mark.parametrize("first", [HOA, LINK_LOCAL])
def test_both_addresses_are_looked_for_with_l(
    taken: IPv6Address | None, first: IPv6Address
) -> None:
    """With L the link-local address has to be free as well; whichever answers first."""
    world = World(replace(HA_CONFIG, home_link=True))
    effects = world.to_ha(update(1, link_local=True), V6)
    looked = [e.address for e in effects if isinstance(e, DetectDuplicate)]
    assert looked == [HOA, LINK_LOCAL]
    assert answer(effects) is None
    other = LINK_LOCAL if first == HOA else HOA
    before = len(world.effects)
    for address in (first, other):
        world.carry("ha", world.ha.duplicate_checked(address, address != taken, world.now))
    effects = [e for _, e in world.effects[before:]]
    assert status(effects) == (0 if taken is None else 134)
    proxies = {e.address for e in effects if isinstance(e, Proxy) and e.on}
    assert proxies == ({HOA, LINK_LOCAL} if taken is None else set())
    assert bool(world.ha.bindings(world.now)) is (taken is None)


@pytest.mark.spec("M-064")
def test_one_of_two_free_addresses_is_not_enough() -> None:
    world = World(replace(HA_CONFIG, home_link=True))
    world.to_ha(update(1, link_local=True), V6)
    effects = world.ha.duplicate_checked(HOA, True, world.now)
    assert effects == []
    assert not world.ha.bindings(world.now)


def test_detection_that_hangs_does_not_hang_the_router() -> None:
    world = World(replace(HA_CONFIG, home_link=True))
    world.to_ha(update(1), V6)
    world.run(5)
    assert world.ha.bindings(world.now)


def test_proxy_ends_with_the_binding() -> None:
    world = World(replace(HA_CONFIG, home_link=True))
    world.to_ha(update(1, IPv4HomeAddress(HOA4)), V6)
    world.carry("ha", world.ha.duplicate_checked(HOA, True, world.now))
    assert {(p.address, p.on) for p in world.of("ha", Proxy)} == {(HOA, True), (HOA4, True)}
    world.effects.clear()
    world.to_ha(update(2, lifetime=0), V6)
    assert {(p.address, p.on) for p in world.of("ha", Proxy)} == {(HOA, False), (HOA4, False)}


# --- IPv4 -------------------------------------------------------------------------------


def nat_option(effects: list[Effect]) -> NatDetection | None:
    message = answer(effects)
    assert message is not None
    return find(message.options, NatDetection)


@pytest.mark.spec("D-041", "D-043", "D-051", "D-057")
@pytest.mark.parametrize(
    ("came", "claimed", "flag", "config", "kind", "forced", "refresh"),
    [
        (UDP, COA4, False, {}, WireKind.IP4, False, NatDetection.NO_KEEPALIVE),
        (UDP, COA4, True, {}, WireKind.UDP4, True, 110),
        (UDP, COA4, False, {"force_udp": True}, WireKind.UDP4, True, 110),
        (UDP, COA4, False, {"allow_ip4": False}, WireKind.UDP4, True, 110),
        (UDP, INSIDE4, False, {}, WireKind.UDP4, False, 110),
        (UDP, None, False, {}, WireKind.UDP4, False, 110),
        (UDP, INSIDE4, False, {"nat_keepalive": 25}, WireKind.UDP4, False, 25),
    ],
)
def test_nat_and_encapsulation(came, claimed, flag, config, kind, forced, refresh) -> None:  # type: ignore[no-untyped-def]
    """D-041, D-043, D-045, D-057."""
    world = World(replace(HA_CONFIG, **config))
    options = (IPv4CareOfAddress(claimed),) if claimed else ()
    effects = world.to_ha(update(1, *options, care_of=None, force_udp=flag), came)
    assert status(effects) == 0
    assert nat_option(effects) == NatDetection(forced, refresh)
    path = world.kernel["ha"].active()
    assert (path.kind, path.local, path.remote) == (kind, HA4, COA4)
    assert path.remote_port == (4191 if kind is WireKind.UDP4 else 0)


def test_no_nat_option_over_ipv6(world: World) -> None:
    assert nat_option(world.to_ha(update(101), V6)) is None


@pytest.mark.spec("D-045")
def test_forced_udp_over_ipv6_is_refused(world: World) -> None:
    assert status(world.to_ha(update(101, force_udp=True), V6)) == 144
    assert untouched(world)


def test_authenticated_source_change_moves_the_path_at_once() -> None:
    """NAT rebinding: same care-of address, another port."""
    world = World()
    for port in (41000, 41001):
        came = CareOf(NAT4, WireKind.UDP4, port)
        world.to_ha(update(port, IPv4CareOfAddress(INSIDE4), care_of=None), came)
        assert world.kernel["ha"].active().remote_port == port


def test_new_source_of_data_is_asked_not_believed() -> None:
    world = World()
    came = CareOf(NAT4, WireKind.UDP4, 41000)
    world.to_ha(update(1, IPv4CareOfAddress(INSIDE4), care_of=None), came)
    world.effects.clear()
    seen = Path(0, WireKind.UDP4, HA4, NAT4, 41777)
    for _ in range(20):
        world.carry("ha", world.ha.path_event(HOA, PathEvent.NEW_SOURCE, seen, world.now))
        world.now += 0.1
    requests = world.sent("ha", BindingRefreshRequest)
    assert len(requests) == 2
    assert requests[0].care_of == CareOf(NAT4, WireKind.UDP4, 41777)
    assert world.kernel["ha"].active().remote_port == 41000


@pytest.mark.spec("D-040", "D-046", "D-047", "D-048")
@pytest.mark.parametrize(
    ("option", "expected"),
    [
        (IPv4HomeAddress(HOA4), (0, 32, HOA4)),
        (IPv4HomeAddress(IPv4Address(0)), (0, 32, HOA4)),
        (IPv4HomeAddress(NET4.network_address, 28), (0, 28, NET4.network_address)),
        (IPv4HomeAddress(IPv4Address(0), 32, True), (0, 28, NET4.network_address)),
        (IPv4HomeAddress(IPv4Address("198.51.100.101")), (130, 0, IPv4Address("198.51.100.101"))),
        (IPv4HomeAddress(IPv4Address("192.0.2.0"), 24), (133, 0, IPv4Address("192.0.2.0"))),
        (IPv4HomeAddress(IPv4Address("203.0.113.0"), 24), (133, 0, IPv4Address("203.0.113.0"))),
        (IPv4HomeAddress(HOA4, 0), (131, 0, HOA4)),
        (IPv4HomeAddress(IPv4Address("224.0.0.1")), (131, 0, IPv4Address("224.0.0.1"))),
    ],
)
def test_ipv4_home_address_option(option: IPv4HomeAddress, expected: object) -> None:
    """D-046, D-047, D-048: each is answered; the rest of the update stands."""
    world = World()
    message = answer(world.to_ha(update(1, option), V6))
    assert message is not None
    assert message.status == 0
    (said,) = find_all(message.options, IPv4AddressAcknowledgement)
    assert (said.status, said.prefix_length, said.address) == expected


def test_refused_ipv4_prefix_does_not_bind_everything_instead() -> None:
    world = World()
    world.to_ha(update(1, IPv4HomeAddress(IPv4Address("192.0.2.0"), 24)), V6)
    assert world.kernel["ha"].bindings[HOA].prefixes == ()


@pytest.mark.spec("D-040", "D-047")
def test_addresses_from_the_pool_are_stable_and_run_out() -> None:
    """D-047; the pool at its limit and one past it."""
    owners = tuple(
        Owner(f"bus-{n}", HOA + n, None, (), dynamic_home_address4=True) for n in range(3)
    )
    config = replace(HA_CONFIG, owners=owners, pool4=(IPv4Network("198.18.0.0/30"),))
    world = World(config)
    given = []
    for n in range(3):
        effects = world.to_ha(
            update(1, IPv4HomeAddress(IPv4Address(0)), mobile_router=False), V6, source=HOA + n
        )
        message = answer(effects)
        assert message is not None
        (said,) = find_all(message.options, IPv4AddressAcknowledgement)
        given.append((said.status, said.address))
    assert [s for s, _ in given] == [0, 0, 132]
    assert given[0][1] != given[1][1]
    effects = world.to_ha(
        update(2, IPv4HomeAddress(IPv4Address(0)), mobile_router=False), V6, source=HOA
    )
    message = answer(effects)
    assert message is not None
    assert find_all(message.options, IPv4AddressAcknowledgement)[0].address == given[0][1]


# --- what is refused ------------------------------------------------------------------


BAD_UPDATES = [
    ("not its own", (MobileNetworkPrefix(TRAM.prefixes[0]),), {}, 142),  # type: ignore[arg-type]
    ("shorter", (MobileNetworkPrefix(IPv6Network("2001:db8:100::/55")),), {}, 142),
    ("overlaps another's", (MobileNetworkPrefix(IPv6Network("2001:db8::/32")),), {}, 142),
    ("inside another's", (MobileNetworkPrefix(IPv6Network("2001:db8:200:1::/64")),), {}, 142),
    ("zero-length", (MobileNetworkPrefix(IPv6Network("::/0")),), {}, 141),
    ("link-local", (MobileNetworkPrefix(IPv6Network("fe80::/64")),), {}, 141),
    ("multicast", (MobileNetworkPrefix(IPv6Network("ff00::/8")),), {}, 141),
    (
        "one good, one bad",
        (MobileNetworkPrefix(NET6), MobileNetworkPrefix(TRAM.prefixes[0])),  # type: ignore[arg-type]
        {},
        142,
    ),
    ("R without H", (), {"home": False}, 140),
    ("R changes", (), {"mobile_router": False}, 139),
    ("proxy", (), {"proxy": True}, 152),
]


@pytest.mark.spec("N-043", "N-044", "N-045", "N-046")
@pytest.mark.parametrize(
    ("options", "flags", "expected"),
    [row[1:] for row in BAD_UPDATES],
    ids=[r[0] for r in BAD_UPDATES],
)
def test_refused_updates_change_nothing(world: World, options, flags, expected) -> None:  # type: ignore[no-untyped-def]
    """N-043 to N-046, M-035; all prefixes or none."""
    assert status(world.to_ha(update(101, *options, **flags), V6)) == expected
    assert untouched(world)
    assert world.kernel["ha"].bindings[HOA].prefixes == (NET6, NET4)
    assert status(world.to_ha(update(102), V6)) == 0


BAD_CARE_OF = [
    IPv6Address("ff02::1"),
    IPv6Address("fe80::1"),
    IPv6Address("::1"),
    IPv6Address("::"),
    IPv6Address("::ffff:192.0.2.1"),
    HA6,
    NET6.network_address + 9,
]


@pytest.mark.spec("M-037")
@pytest.mark.parametrize("address", BAD_CARE_OF, ids=str)
def test_impossible_care_of_addresses(world: World, address: IPv6Address) -> None:
    """M-037: multicast, link-local, loopback, none, mapped, ours, inside its own network."""
    assert status(world.to_ha(update(101, care_of=address), V6)) == 174
    assert untouched(world)


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.1.1", str(HA4)])
def test_impossible_ipv4_care_of_addresses(world: World, address: str) -> None:
    came = CareOf(IPv4Address(address), WireKind.UDP4, 4191)
    assert status(world.to_ha(update(101, care_of=None), came)) == 174
    assert untouched(world)


@pytest.mark.spec("M-041")
def test_care_of_differs_from_the_source(world: World) -> None:
    """The protected one is bound, the answer goes to the source (M-036, M-041)."""
    effects = world.to_ha(update(101, care_of=COA6B), V6)
    assert status(effects) == 0
    assert world.kernel["ha"].active().remote == COA6B
    (sent,) = [e for e in effects if isinstance(e, SendMessage)]
    assert sent.care_of == V6


@pytest.mark.spec("D-042")
def test_over_ipv4_only_the_source_counts(world: World) -> None:
    """D-042: an alternate care-of address cannot redirect a tunnel in UDP."""
    world.to_ha(update(101, IPv4CareOfAddress(COA4), care_of=COA6B), UDP)
    assert world.kernel["ha"].active().remote == COA4


@pytest.mark.spec("M-060")
def test_in_clear_it_says_nothing(world: World) -> None:
    """M-060: no answer, no entry."""
    effects = world.to_ha(update(101, care_of=COA6B), CareOf(COA6B), protected=False)
    assert answer(effects) is None
    assert Count("bu_unprotected") in effects
    assert untouched(world)


@pytest.mark.spec("M-062")
@pytest.mark.parametrize(
    ("home", "expected"),
    [("2001:db8:1::999", 133), ("2001:db8:9::1", 132)],
)
def test_unknown_home_address(world: World, home: str, expected: int) -> None:
    """M-062."""
    effects = world.to_ha(update(1), CareOf(COA6B), source=IPv6Address(home))
    assert status(effects) == expected
    assert untouched(world)


def test_one_router_cannot_speak_for_another(world: World) -> None:
    effects = world.to_ha(
        update(1, MobileNetworkPrefix(NET6)), CareOf(COA6B), source=TRAM.home_address
    )
    assert status(effects) == 142
    assert untouched(world)


@pytest.mark.spec("M-034")
def test_silent_drops(world: World) -> None:
    """M-033, M-034: a registration at a correspondent is not ours; nonces with H are wrong."""
    for message in (
        update(101, home=False, mobile_router=False),
        update(101, NonceIndices(1, 2)),
    ):
        assert answer(world.to_ha(message, V6)) is None
    assert answer(world.to_ha(update(101), V6, destination=HA6 + 7)) is None
    assert untouched(world)


@pytest.mark.spec("M-005")
def test_unknown_options_are_skipped(world: World) -> None:
    """M-005."""
    assert status(world.to_ha(update(101, UnknownOption(200, b"abc")), V6)) == 0


def test_replay_and_reordering(world: World) -> None:
    first = update(101)
    assert status(world.to_ha(first, V6)) == 0
    assert status(world.to_ha(update(103, care_of=COA6B), CareOf(COA6B))) == 0
    for old in (first, update(102)):
        assert status(world.to_ha(old, V6)) == 135
    assert world.kernel["ha"].active().remote == COA6B


GOOD = build(update(101), HOA, HA6)


@pytest.mark.parametrize("length", range(len(GOOD)))
def test_truncated(world: World, length: int) -> None:
    effects = world.to_ha(update(1), V6, data=GOOD[:length])
    assert answer(effects) is None
    assert any(isinstance(e, Count) for e in effects)
    assert untouched(world)


@pytest.mark.spec("M-003", "M-004")
def test_payload_proto_and_header_length_get_a_parameter_problem(world: World) -> None:
    """M-003, M-004."""
    bad = bytes((6,)) + GOOD[1:]
    (problem,) = [
        e for e in world.to_ha(update(1), V6, data=bad) if isinstance(e, SendParameterProblem)
    ]
    assert (problem.code, problem.pointer) == (0, 0)
    bad = bytes((59, 0)) + GOOD[2:]
    (problem,) = [
        e for e in world.to_ha(update(1), V6, data=bad) if isinstance(e, SendParameterProblem)
    ]
    assert (problem.code, problem.pointer) == (0, 1)


@pytest.mark.spec("M-002", "M-009")
def test_unknown_type_gets_a_binding_error_at_a_bounded_rate(world: World) -> None:
    """M-002, M-008, M-009."""
    bad = bytes((59, 0, 200, 0, 0, 0, 0, 0))
    world.effects.clear()
    for _ in range(1000):
        world.to_ha(update(1), V6, data=bad)
    errors = world.sent("ha", BindingError)
    assert 1 <= len(errors) <= 20
    assert (errors[0].destination, errors[0].care_of) == (COA6, None)
    assert (errors[0].message.status, errors[0].message.home_address) == (2, HOA)


@pytest.mark.spec("M-021")
def test_home_address_option_without_binding(world: World) -> None:
    world.effects.clear()
    path = Path(0, WireKind.RO, HA6, COA6B)
    home = IPv6Address("2001:db8:77::1")
    world.carry("ha", world.ha.path_event(home, PathEvent.STRANGER, path, world.now))
    (error,) = world.sent("ha", BindingError)
    assert (error.source, error.destination) == (HA6, COA6B)
    assert (error.message.status, error.message.home_address) == (1, home)


@pytest.mark.spec("M-069")
def test_cache_at_its_limit_and_one_past_it() -> None:
    world = World(replace(HA_CONFIG, bindings_max=1))
    assert status(world.to_ha(update(1), V6)) == 0
    effects = world.to_ha(update(1), CareOf(COA6B), source=TRAM.home_address)
    assert status(effects) == 130
    assert status(world.to_ha(update(2), V6)) == 0


def test_reconfiguration_drops_only_what_is_not_allowed_any_more(world: World) -> None:
    world.to_ha(update(1), CareOf(COA6B), source=TRAM.home_address)
    world.effects.clear()
    world.carry("ha", world.ha.reconfigure(replace(HA_CONFIG, owners=(TRAM,)), world.now))
    assert [e.home_address for e in world.of("ha", DropBinding)] == [HOA]
    assert [v.identity for v in world.ha.bindings(world.now)] == ["tram-3"]
