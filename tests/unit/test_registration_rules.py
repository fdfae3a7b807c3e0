# SPDX-License-Identifier: GPL-2.0-only
"""Rules of registration that need no story of their own, at either end."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from dsmip.mobility.effects import (
    Count,
    DropBinding,
    Effect,
    HandoverMark,
    Path,
    Phase,
    PutBinding,
    Received,
    SendMessage,
    SendParameterProblem,
    Uplink,
)
from dsmip.mobility.home_agent import HomeAgent
from dsmip.mobility.mobile_router import State
from dsmip.mobility.multihomed import make_router
from dsmip.mobility.ownership import Owner
from dsmip.packet.careof import CareOf, WireKind
from dsmip.packet.kernel import PathEvent
from dsmip.packet.mobility import (
    BindingAcknowledgement,
    BindingError,
    BindingUpdate,
    Message,
    build,
)
from dsmip.packet.options import (
    AlternateCareOfAddress,
    IPv4CareOfAddress,
    IPv4HomeAddress,
    MobileNetworkPrefix,
    NatDetection,
    ServiceSelection,
    find,
    find_all,
)
from dsmip.packet.status import BindingAckStatus

from tests.unit.roaming import (
    COA4,
    COA6,
    COA6B,
    HA6,
    HA_CONFIG,
    HOA,
    INSIDE4,
    MR_CONFIG,
    NET6,
    TRAM,
    World,
    uplink4,
    uplink6,
)

V6 = CareOf(COA6)
NOBODY = ["ff02::1", "ff0e::1", "::"]
HOME_UPDATE = BindingUpdate(
    1, 30, True, True, mobile_router=True, options=(AlternateCareOfAddress(COA6),)
)


def statuses(effects: list[Effect]) -> list[int]:
    sent = [e.message for e in effects if isinstance(e, SendMessage)]
    return [m.status for m in sent if isinstance(m, BindingAcknowledgement)]


# --- the home agent -------------------------------------------------------------------


@pytest.mark.spec("M-074")
def test_who_is_refused_at_home_is_answered_there() -> None:
    """Though packets to its home address go to the care-of address that is bound."""
    world = World()
    world.to_ha(replace(HOME_UPDATE, sequence=100), V6)

    def answered(sequence: int, lifetime: int, care_of: CareOf | None) -> tuple[int, bool, int]:
        update = BindingUpdate(sequence, lifetime, True, True, mobile_router=True)
        effects = world.to_ha(update, care_of, interface=7)
        (sent,) = [e for e in effects if isinstance(e, SendMessage)]
        assert isinstance(sent.message, BindingAcknowledgement)
        return sent.message.status, sent.on_link, sent.interface

    assert answered(99, 0, None) == (135, True, 7)
    assert answered(99, 0, V6) == (135, False, 7)
    # Accepted, nothing leads elsewhere any more; and so it is without a binding.
    assert answered(101, 0, None) == (0, False, 7)
    assert answered(101, 0, None) == (135, False, 7)
    world.run(20)
    assert answered(101, 0, None) == (133, False, 7)


def select(world: World, sequence: int, *services: str) -> list[Effect]:
    """Register, selecting services (RFC 5149)."""
    options = (AlternateCareOfAddress(COA6), *(ServiceSelection(name) for name in services))
    return world.to_ha(replace(HOME_UPDATE, sequence=sequence, options=options), V6)


@pytest.mark.spec("E-072")
def test_services_that_a_node_may_select() -> None:
    """Each selection is judged, the next one too; who selects nothing gets plain service."""
    owner = replace(HA_CONFIG.owners[0], services=("ims", "caf\u00e9"))
    world = World(ha_config=replace(HA_CONFIG, owners=(owner,)))
    refused = BindingAckStatus.SERVICE_AUTHORIZATION_FAILED
    for name in ("voice", "IMS", "im", "ims ", "i" * 255):
        assert statuses(select(world, 1, name)) == [refused], name
        assert not world.ha.bindings(world.now)
    assert statuses(select(world, 1, "ims")) == [0]
    # Another one of its own, in another form of the same characters, then a foreign one.
    assert statuses(select(world, 2, "cafe\u0301")) == [0]
    assert statuses(select(world, 3)) == [0]
    # A foreign one costs the binding (section 4.2).
    effects = select(world, 4, "voice")
    assert statuses(effects) == [refused]
    assert DropBinding(HOA) in effects
    assert not world.ha.bindings(world.now)
    assert statuses(select(world, 5)) == [0]
    # The first one counts, and there is no second.
    assert statuses(select(world, 6, "voice", "ims")) == [refused]
    assert statuses(select(world, 7, "ims")) == [0]
    leave = replace(HOME_UPDATE, sequence=8, lifetime=0, options=(ServiceSelection("voice"),))
    assert statuses(world.to_ha(leave, V6)) == [0]


def test_a_home_agent_with_one_service_takes_any_name_for_it() -> None:
    world = World()
    assert statuses(select(world, 1, "whatever")) == [0]
    none = replace(HA_CONFIG.owners[0], services=())
    world.carry("ha", world.ha.reconfigure(replace(HA_CONFIG, owners=(none,)), world.now))
    assert statuses(select(world, 2, "whatever")) == [151]


@pytest.mark.spec("E-070", "E-073")
@pytest.mark.parametrize("several", [False, True])
def test_a_router_selects_a_service_when_it_registers(several: bool) -> None:
    """In the updates of a first registration; a refusal ends what was bound."""
    owner = replace(HA_CONFIG.owners[0], services=("ims",))
    world = World(
        ha_config=replace(HA_CONFIG, owners=(owner,)),
        mr_config=replace(MR_CONFIG, several=several, service="ims"),
    )
    world.plug(uplink6())
    world.run(0.5)
    assert world.mr.registration(world.now).state is State.REGISTERED
    world.plug(uplink6(address=COA6B))
    world.run(400)
    sent = [find_all(e.message.options, ServiceSelection) for e in world.sent("mr", BindingUpdate)]
    assert sent[0] == [ServiceSelection("ims")]
    assert len(sent) >= 3
    assert not any(sent[1:])
    # The home agent has forgotten it meanwhile, and serves it no more.
    world.ha = HomeAgent(replace(HA_CONFIG, owners=(replace(owner, services=()),)), world.now)
    world.mr = make_router(world.mr_config, world.now)
    world.plug(uplink6())
    world.run(0.5)
    view = world.mr.registration(world.now)
    assert (view.state, view.refusal, view.remaining) == (State.REFUSED, 151, 0)
    assert not world.mr.is_bound(world.now)


@pytest.mark.spec("E-073")
@pytest.mark.parametrize("several", [False, True])
def test_a_refused_service_ends_a_binding(several: bool) -> None:
    world = World(mr_config=replace(MR_CONFIG, several=several))
    world.plug(uplink6())
    world.run(0.5)
    world.carry("mr", world.mr.handover(None, world.now))
    world.loss = 1.0
    world.run(310)
    sequence = world.sent("mr", BindingUpdate)[-1].message.sequence  # type: ignore[attr-defined]
    assert world.mr.registration(world.now).remaining > 0
    refusal = BindingAcknowledgement(151, sequence, 0)
    received = Received(build(refusal, HA6, HOA), HA6, HOA, None, 2, True)
    world.carry("mr", world.mr.receive(received, world.now))
    view = world.mr.registration(world.now)
    assert (view.state, view.remaining) == (State.REFUSED, 0)
    assert not world.mr.is_bound(world.now)


@pytest.mark.spec("M-030")
@pytest.mark.parametrize("home", [*NOBODY, "fe80::1", "::1", "::ffff:192.0.2.1"])
def test_impossible_home_addresses(home: str) -> None:
    world = World()
    effects = world.to_ha(HOME_UPDATE, V6, source=IPv6Address(home))
    assert Count("bu_bad_home_address") in effects
    assert not world.sent("ha", BindingAcknowledgement)
    assert not world.ha.bindings(world.now)


@pytest.mark.spec("M-041")
@pytest.mark.parametrize(
    "source",
    [*(CareOf(IPv6Address(a)) for a in NOBODY)]
    + [CareOf(IPv4Address(a), WireKind.UDP4, 4191) for a in ("224.0.0.1", "255.255.255.255")],
    ids=lambda care_of: str(care_of.address),
)
def test_updates_from_nobody_in_particular(source: CareOf) -> None:
    """The care-of address in the option is good, but the packet cannot be answered."""
    world = World()
    assert Count("bu_bad_source") in world.to_ha(HOME_UPDATE, source)
    assert not world.sent("ha", BindingAcknowledgement)
    assert not world.ha.bindings(world.now)


@pytest.mark.spec("M-008")
@pytest.mark.parametrize("source", NOBODY)
def test_no_binding_error_to_nobody_in_particular(source: str) -> None:
    world = World()
    unknown = bytes((59, 0, 200, 0, 0, 0, 0, 0))
    world.to_ha(HOME_UPDATE, CareOf(IPv6Address(source)), data=unknown)
    world.to_ha(HOME_UPDATE, None, data=unknown, source=IPv6Address(source))
    path = Path(0, WireKind.RO, HA6, IPv6Address(source))
    world.carry("ha", world.ha.path_event(HOA, PathEvent.STRANGER, path, world.now))
    assert not world.sent("ha", BindingError)


@pytest.mark.spec("M-008")
def test_binding_error_names_the_home_address_or_none() -> None:
    world = World()
    unknown = bytes((59, 0, 200, 0, 0, 0, 0, 0))
    world.to_ha(HOME_UPDATE, V6, data=unknown)
    world.to_ha(HOME_UPDATE, None, data=unknown, source=COA6B)
    found = [(e.destination, e.message.home_address) for e in world.sent("ha", BindingError)]
    assert found == [(COA6, HOA), (COA6B, IPv6Address(0))]


@pytest.mark.spec("N-048")
def test_implicit_mode_without_anything_on_record() -> None:
    bare = Owner("bare-1", HOA + 1)
    world = World(replace(HA_CONFIG, owners=(*HA_CONFIG.owners, bare)))
    assert statuses(world.to_ha(HOME_UPDATE, V6, source=HOA + 1)) == [143]
    assert not world.ha.bindings(world.now)
    # A router that has prefixes by record is told nothing of the kind.
    assert statuses(world.to_ha(HOME_UPDATE, V6)) == [0]


@pytest.mark.spec("N-045", "N-053")
@pytest.mark.parametrize("router", [True, False])
def test_removal_ignores_r_and_prefixes(router: bool) -> None:
    world = World()
    world.to_ha(HOME_UPDATE, V6)
    theirs = MobileNetworkPrefix(TRAM.prefixes[0])  # type: ignore[arg-type]
    gone = BindingUpdate(2, 0, True, True, mobile_router=router, options=(theirs,))
    assert statuses(world.to_ha(gone, V6)) == [0]
    assert not world.ha.bindings(world.now)
    assert HOA not in world.kernel["ha"].bindings


# --- the mobile router ----------------------------------------------------------------


def to_mr(world: World, message: Message, source: IPv6Address = HA6, **more: bool) -> None:
    data = build(message, source, HOA)
    received = Received(data, source, HOA, None, 2, more.get("protected", True))
    world.carry("mr", world.mr.receive(received, world.now))


def refused(world: World, status: int) -> None:
    """Let the home agent refuse the update that was sent last."""
    sequence = world.sent("mr", BindingUpdate)[-1].message.sequence
    to_mr(world, BindingAcknowledgement(status, sequence, 0))


@pytest.mark.spec("N-002", "N-003", "M-150", "D-005")
def test_every_update_says_all() -> None:
    """First ones, refreshes and movements: flags, care-of address, prefixes."""
    world = World()
    for uplink in (uplink6(), uplink4(), uplink6("wan2", 4, COA6B), uplink4("wan3", 5, INSIDE4)):
        world.plug(uplink)
        world.run(1500)
    sent = world.sent("mr", BindingUpdate)
    assert len(sent) > 16
    for one in sent:
        update, address = one.message, one.care_of.address
        assert (update.acknowledge, update.home, update.mobile_router) == (True, True, True)
        assert update.lifetime > 0
        assert [o.prefix for o in find_all(update.options, MobileNetworkPrefix)] == [NET6]
        kind = IPv4CareOfAddress if address.version == 4 else AlternateCareOfAddress
        care_of = find(update.options, kind)
        assert care_of is not None
        assert care_of.address == address


def lifetimes(world: World) -> list[int]:
    """Return what was asked for, in seconds."""
    return [4 * e.message.lifetime for e in world.sent("mr", BindingUpdate)]  # type: ignore[attr-defined]


@pytest.mark.spec("M-153")
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(("left", "asked"), [(1e6, 600), (601, 600), (100, 100), (99, 96), (2, 4)])
def test_no_longer_than_the_care_of_address_is_valid(
    left: float, asked: int, several: bool
) -> None:
    """And never 0, however short it is."""
    world = World(mr_config=replace(MR_CONFIG, several=several))
    world.plug(uplink6(ends=((COA6B, world.now + 8), (COA6, world.now + left))))
    world.run(0.5)
    assert lifetimes(world) == [asked]
    assert world.ha.bindings(world.now)[0].lifetime == asked


@pytest.mark.spec("M-153")
def test_an_address_that_is_prolonged_is_asked_for_longer() -> None:
    world = World()
    for _ in range(10):
        world.plug(uplink6(ends=((COA6, world.now + 60),)))
        world.run(10)
    assert set(lifetimes(world)) <= {60, 56, 52, 48, 44, 40, 36, 32, 28}
    world.plug(uplink6())
    world.run(60)
    assert lifetimes(world)[-1] == 600


@pytest.mark.spec("M-153", "M-174")
@pytest.mark.parametrize("several", [False, True])
def test_no_longer_than_the_home_address_is_valid(several: bool) -> None:
    """A binding that would outlive it is shortened at once; one that would not is left alone."""
    world = World(mr_config=replace(MR_CONFIG, several=several))
    world.plug(uplink6())
    world.run(0.5)
    world.carry("mr", world.mr.home_address_ends(world.now + 3600, world.now))
    world.carry("mr", world.mr.home_address_ends(None, world.now))
    assert lifetimes(world) == [600]
    world.carry("mr", world.mr.home_address_ends(world.now + 90, world.now))
    world.run(0.5)
    assert lifetimes(world) == [600, 88]
    assert world.mr.registration(world.now).remaining < 90
    world.carry("mr", world.mr.home_address_ends(world.now + 89.4, world.now))
    assert lifetimes(world) == [600, 88]
    world.run(60)
    assert max(lifetimes(world)[2:]) < 60


@pytest.mark.spec("M-151")
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("uplink", [uplink6(), uplink4()])
def test_l_says_what_the_link_local_address_at_home_is(uplink: Uplink, several: bool) -> None:
    """Clear unless the router takes that address at home; in every update, and at home too."""
    for asked in (False, True):
        config = replace(MR_CONFIG, link_local=asked, several=several)
        world = World(mr_config=config)
        world.plug(uplink)
        world.run(400)
        sent = [e.message for e in world.sent("mr", BindingUpdate)]
        assert len(sent) >= 2
        assert {message.link_local for message in sent} == {asked}


@pytest.mark.spec("M-150", "D-005")
@pytest.mark.parametrize("uplink", [uplink6(), uplink4()], ids=["IPv6", "IPv4"])
def test_a_router_that_stops_names_its_care_of_address(uplink) -> None:  # type: ignore[no-untyped-def]
    world = World()
    world.plug(uplink)
    world.run(1)
    world.carry("mr", world.mr.stop(world.now, deregister=True))
    sent = world.sent("mr", BindingUpdate)[-1]
    assert (sent.message.acknowledge, sent.message.home, sent.message.lifetime) == (True, True, 0)
    (option,) = sent.message.options
    assert option.address == sent.care_of.address
    world.run(1)
    assert HOA not in world.kernel["ha"].bindings


@pytest.mark.spec("D-004")
def test_every_update_from_ipv4_goes_in_udp() -> None:
    """Refreshes too, though data goes without UDP where there is no NAT."""
    world = World()
    for uplink in (uplink4(), uplink4("wan2", 4, INSIDE4)):
        world.plug(uplink)
        world.run(1000)
    sent = world.sent("mr", BindingUpdate)
    assert len(sent) > 8
    assert {one.care_of.kind for one in sent} == {WireKind.UDP4}
    assert {(one.source, one.destination) for one in sent} == {(HOA, HA6)}


@pytest.mark.spec("N-007", "N-008")
@pytest.mark.parametrize(
    ("explicit", "status"), [(False, 140), (False, 141), (False, 142), (True, 140), (True, 143)]
)
def test_fatal_refusals_of_each_mode(explicit: bool, status: int) -> None:
    world = World(loss=1.0, mr_config=replace(MR_CONFIG, explicit=explicit))
    world.plug(uplink6())
    refused(world, status)
    assert world.mr.registration(world.now).state is State.REFUSED
    count = len(world.sent("mr", BindingUpdate))
    world.run(59)
    assert len(world.sent("mr", BindingUpdate)) == count


@pytest.mark.spec("N-012")
@pytest.mark.parametrize("status", [140, 141, 142, 143])
def test_who_refuses_holds_no_binding(status: int) -> None:
    """A refresh that is refused ends what there was: the next attempt is a first one."""
    world = World()
    world.plug(uplink6())
    world.run(1)
    assert world.mr.registration(world.now).remaining > 0
    world.loss = 1.0
    world.plug(uplink6(address=COA6B))
    refused(world, status)
    assert world.mr.registration(world.now).remaining == 0
    world.effects.clear()
    world.run(62)
    marks = [m.at for m in world.of("mr", HandoverMark) if m.phase is Phase.UPDATE_SENT]
    assert marks[1] - marks[0] == pytest.approx(1.5)


@pytest.mark.spec("M-120")
@pytest.mark.parametrize("protected", [True, False])
def test_binding_errors_of_strangers(protected: bool) -> None:
    world = World()
    world.plug(uplink6())
    world.run(1)
    world.effects.clear()
    for status in (1, 2):
        to_mr(world, BindingError(status, HOA), HA6 + 1, protected=protected)
        to_mr(world, BindingError(status, HOA), COA6B, protected=protected)
    world.run(1)
    assert not world.sent("mr", BindingUpdate)
    assert world.mr.registration(world.now).state is State.REGISTERED


@pytest.mark.spec("D-011")
def test_unanswered_ipv4_home_address() -> None:
    """A home agent of RFC 3963 alone: no option 30 in its answer, so there is no IPv4."""
    world = World(loss=1.0)
    world.plug(uplink6())
    sent = world.sent("mr", BindingUpdate)[0].message
    assert find(sent.options, IPv4HomeAddress) is not None
    to_mr(world, BindingAcknowledgement(0, sent.sequence, 30, mobile_router=True))
    view = world.mr.registration(world.now)
    assert view.state is State.REGISTERED
    assert view.home_address4 is None
    assert view.problem == "the home agent does not serve IPv4"
    held = world.kernel["mr"].bindings[HOA]
    assert held.home_address4 is None


@pytest.mark.spec("D-010")
@pytest.mark.parametrize(
    ("detected", "kind"),
    [
        (NatDetection(False, 110), WireKind.UDP4),
        (NatDetection(True, 110), WireKind.UDP4),
        (NatDetection(True, NatDetection.NO_KEEPALIVE), WireKind.UDP4),
        (NatDetection(False, 0), WireKind.UDP4),
        (NatDetection(False, NatDetection.NO_KEEPALIVE), WireKind.IP4),
    ],
)
def test_nat_detection_decides_how_data_goes(detected: NatDetection, kind: WireKind) -> None:
    world = World(loss=1.0)
    world.plug(uplink4(address=COA4))
    sequence = world.sent("mr", BindingUpdate)[0].message.sequence
    answer = BindingAcknowledgement(0, sequence, 150, mobile_router=True, options=(detected,))
    to_mr(world, answer)
    assert world.mr.registration(world.now).kind is kind
    active = world.kernel["mr"].active()
    assert active is not None
    assert active.kind is kind
    # The update list's memory in the kernel outlives the daemon.
    assert any(isinstance(e, PutBinding) for _, e in world.effects)
    world.restart("mr")
    assert world.mr.registration(world.now).kind is kind


@pytest.mark.spec("M-002", "M-003", "M-004")
@pytest.mark.parametrize("protected", [True, False])
def test_the_router_answers_what_it_cannot_read(protected: bool) -> None:
    """An unknown type by a Binding Error, damaged heads by a parameter problem."""
    world = World()
    world.plug(uplink6())
    world.run(1)
    world.effects.clear()
    good = build(BindingAcknowledgement(0, 1, 30), HA6, HOA)
    for data in (bytes((59, 0, 200, 0, 0, 0, 0, 0)), b"\6" + good[1:], b"\x3b\0" + good[2:]):
        received = Received(data, HA6, HOA, V6, 2, protected)
        world.carry("mr", world.mr.receive(received, world.now))
    (error,) = world.sent("mr", BindingError)
    assert (error.source, error.destination, error.care_of) == (HOA, HA6, None)
    assert (error.message.status, error.message.home_address) == (2, IPv6Address(0))
    problems = [(e.code, e.pointer) for e in world.of("mr", SendParameterProblem)]
    assert problems == [(0, 0), (0, 1)]
    assert world.mr.registration(world.now).state is State.REGISTERED
