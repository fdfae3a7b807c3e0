# SPDX-License-Identifier: GPL-2.0-only
"""At home with care-of addresses besides (RFC 5648 section 5.6): both engines."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from ipaddress import IPv6Address

import pytest
from dsmip.mobility.effects import (
    Announce,
    AtHome,
    Attach,
    Count,
    DetectDuplicate,
    DropBinding,
    Effect,
    Moved,
    Proxy,
    PutBinding,
    PutPath,
    SendMessage,
    Uplink,
)
from dsmip.mobility.mobile_router import State
from dsmip.packet.careof import CareOf
from dsmip.packet.mobility import BindingAcknowledgement, BindingUpdate
from dsmip.packet.options import BindingIdentifier, LinkLayerAddress, Option, find, find_all

from tests.unit.roaming import (
    COA6,
    COA6B,
    HA6,
    HA_CONFIG,
    HOA,
    HOA4,
    INSIDE4,
    MR_CONFIG,
    World,
    uplink4,
    uplink6,
)

MAC = bytes.fromhex("020000000005")
CONFIG = replace(MR_CONFIG, several=True, probe=0.3, home_and_away=True)
LTE = uplink6("lte", 2)
NAT = uplink4("nat", 3, INSIDE4)
NO_NAT = replace(NAT, gateway4=False)
HOME = Uplink("home", 5, 5, gateway6=True, at_home=True, link_layer=MAC)


@dataclass
class Link(World):
    """A world whose home link is real: who answers there, and where packets go."""

    def __post_init__(self) -> None:
        self.proxied: set[object] = set()
        self.native: AtHome | None = None
        self.attached = Attach(False, 0)
        self.looked: list[object] = []
        #: At home before it registers: nobody has told it yet that it is to be silent.
        self.first = False
        super().__post_init__()

    def carry(self, who: str, effects: list[Effect]) -> None:
        for effect in effects:
            super().carry(who, [effect])
            if isinstance(effect, Proxy):
                (self.proxied.add if effect.on else self.proxied.discard)(effect.address)
            elif isinstance(effect, AtHome):
                self.native = effect if effect.on else None
            elif isinstance(effect, DropBinding) and who == "ha":
                self.native = None
            elif isinstance(effect, Attach):
                self.attached = effect
            elif isinstance(effect, DetectDuplicate):
                self.looked.append(effect.address)
                self._look(effect.address)
            mine = self.attached.home and not self.attached.silent
            if self.native is not None and not self.native.silent:
                assert HOA not in self.proxied
            if who == "mr" and mine and self.state is State.HOME and not self.first:
                assert HOA not in self.proxied, "two nodes answer for the home address"

    def _look(self, address: object) -> None:
        def nobody() -> None:
            assert isinstance(address, IPv6Address)
            self.carry("ha", self.ha.duplicate_checked(address, True, self.now))

        heapq.heappush(self.queue, (self.now + 1.0, next(self.order), nobody))

    @property
    def state(self) -> State:
        return self.mr.registration(self.now).state

    def bids(self) -> set[int]:
        binding = self.kernel["ha"].bindings.get(HOA)
        return {p.bid for p in binding.paths if p.bid < 0x8000} if binding else set()

    def updates(self) -> list[BindingUpdate]:
        return [e.message for e in self.sent("mr", BindingUpdate)]  # type: ignore[misc]


def link(only_router: bool = True, config: object = CONFIG, **agent: object) -> Link:
    values = {"home_link": True, "only_router": only_router} | agent
    return Link(ha_config=replace(HA_CONFIG, **values), mr_config=config)  # type: ignore[arg-type]


def away(*uplinks: Uplink, **more: object) -> Link:
    world = link(**more)  # type: ignore[arg-type]
    world.plug(*(uplinks or (LTE, NAT)))
    world.run(7)
    assert world.state is State.REGISTERED
    assert HOA in world.proxied
    return world


def home(world: Link, *uplinks: Uplink) -> Link:
    world.plug(*(uplinks or (LTE, NAT)), HOME)
    world.run(0.3)
    return world


def at_home_and_away(world: Link, silent: bool) -> None:
    """Check that packets take the home link both ways, and the tunnels stand by."""
    assert world.state is State.HOME
    assert world.attached == Attach(True, 5, silent)
    assert world.native == AtHome(HOA, HOA4, True, MAC, silent)
    assert world.proxied == ({HOA} if silent else set())
    assert world.bids() == {1, 4}
    (view,) = world.ha.bindings(world.now)
    assert view.at_home
    assert {v.state for v in world.mr.paths(world.now)} == {"registered"}
    assert not any(v.active for v in world.mr.paths(world.now))


def first(world: Link, who: str, *kinds: type) -> int:
    """Return when one of these kinds of effects comes for the first time."""
    return next(at for at, (by, e) in enumerate(world.effects) if by == who and type(e) in kinds)


def test_nothing_goes_into_the_tunnel_before_its_protection() -> None:
    """Policies are put before the first packet can need them, and go after the last."""
    world = away()
    for who in ("mr", "ha"):
        assert first(world, who, Moved) < first(world, who, PutBinding, PutPath)
    world.effects.clear()
    home(world)
    assert first(world, "mr", Attach) < first(world, "mr", Moved)
    assert first(world, "ha", AtHome) < first(world, "ha", Moved)
    world.effects.clear()
    world.plug(LTE, NAT)
    world.run(7)
    for who in ("mr", "ha"):
        ways = (PutBinding, PutPath, Attach, AtHome)
        assert first(world, who, Moved) < first(world, who, *ways)


# --- coming and going -------------------------------------------------------------------


@pytest.mark.spec("X-022", "X-023", "X-024")
@pytest.mark.parametrize("only_router", [True, False])
def test_coming_home_keeps_care_of_addresses(only_router: bool) -> None:
    """H, the home address, a lifetime, the link-layer address; no use of it before the answer."""
    world = away(only_router=only_router)
    world.effects.clear()
    world.plug(LTE, NAT, HOME)
    # Nothing has changed on the home link yet: the update goes by a care-of address.
    (sent,) = world.sent("mr", BindingUpdate)
    update = sent.message
    assert isinstance(update, BindingUpdate)
    assert sent.care_of is not None
    (option,) = [o for o in find_all(update.options, BindingIdentifier) if o.home]
    assert (option.bid, option.address) == (5, HOA)
    assert update.lifetime > 0
    assert find(update.options, LinkLayerAddress) == LinkLayerAddress(MAC, 2)
    assert not world.of("mr", Attach)
    assert not world.of("mr", Announce)
    world.run(0.3)
    answers = [e.message for e in world.sent("ha", BindingAcknowledgement)]
    first = answers[0]
    assert isinstance(first, BindingAcknowledgement)
    assert first.status == (0 if only_router else 5)
    stated = {o.bid: o for o in find_all(first.options, BindingIdentifier)}
    assert stated[5].home
    assert stated[5].address is None
    at_home_and_away(world, silent=not only_router)
    assert world.of("mr", Announce) == [Announce(5)]
    assert (DropBinding(HOA) in world.of("mr", DropBinding)) is False
    moved = {who: world.of(who, Moved) for who in ("mr", "ha")}
    for both in moved.values():
        assert [(m.old.address, m.new, m.at_home) for m in both] == [(COA6, None, True)]


@pytest.mark.spec("X-025")
@pytest.mark.parametrize("only_router", [True, False])
def test_leaving_home_is_one_update(only_router: bool) -> None:
    """No duplicate is looked for, nothing is registered anew: half a round trip."""
    world = home(away(only_router=only_router))
    world.effects.clear()
    world.looked.clear()
    world.plug(LTE, NAT)
    first, *_ = world.updates()
    assert not [o for o in find_all(first.options, BindingIdentifier) if o.home]
    assert not first.overwrite
    assert world.attached == Attach(False, 2)
    world.run(world.delay * 1.5)
    assert world.native is None
    assert HOA in world.proxied
    assert world.kernel["ha"].active().remote == COA6  # type: ignore[union-attr]
    assert world.looked == []
    world.run(2)
    assert world.state is State.REGISTERED
    for who in ("mr", "ha"):
        assert [(m.old, m.new.address) for m in world.of(who, Moved)] == [(None, COA6)]


def test_without_it_leaving_home_waits_for_duplicate_detection() -> None:
    """What it is good for: the other way takes seconds."""
    world = away(config=replace(CONFIG, home_and_away=False))
    home(world)
    assert world.bids() == set()
    world.plug(LTE, NAT)
    world.run(1)
    assert world.bids() == set()
    assert HOA in world.looked


@pytest.mark.spec("X-022")
def test_many_times_home_and_away() -> None:
    world = away()
    for _ in range(20):
        at_home_and_away(home(world), silent=False)
        # Three updates a second about one care-of address, and no more.
        world.plug(LTE, NAT)
        world.run(1.1)
        assert world.state is State.REGISTERED
        assert world.native is None


@pytest.mark.parametrize("only_router", [True, False])
def test_a_router_that_starts_at_home_registers_its_uplinks_besides(only_router: bool) -> None:
    """Data is at home from the beginning; the home agent does not take it for a duplicate."""
    world = link(only_router=only_router)
    world.first = not only_router
    world.plug(HOME)
    assert (world.state, world.attached) == (State.HOME, Attach(True, 5))
    assert world.updates() == []
    world.plug(LTE, NAT, HOME)
    assert world.attached == Attach(True, 5)
    world.run(1)
    assert world.looked == []
    at_home_and_away(world, silent=not only_router)


def test_coming_home_with_nothing_else_is_a_de_registration() -> None:
    world = away()
    world.effects.clear()
    world.plug(HOME)
    world.run(0.5)
    assert [u.lifetime for u in world.updates()] == [0]
    assert world.bids() == set()
    assert (world.state, world.attached) == (State.HOME, Attach(True, 5))
    # What comes up then is registered besides.
    at_home_and_away(home(world), silent=False)


@pytest.mark.parametrize("only_router", [True, False])
def test_the_last_uplink_goes_while_at_home(only_router: bool) -> None:
    world = home(away(only_router=only_router))
    world.plug(HOME)
    world.run(0.5)
    assert world.bids() == set()
    assert (world.state, world.attached) == (State.HOME, Attach(True, 5))
    assert world.proxied == set()
    assert HOA not in world.kernel["mr"].bindings


def test_one_of_two_uplinks_goes_while_at_home() -> None:
    world = home(away())
    world.plug(LTE, NO_NAT, HOME)
    world.run(3)
    assert world.bids() == {1}
    assert world.native is not None
    assert world.state is State.HOME


def test_a_new_uplink_while_at_home() -> None:
    world = home(away())
    world.effects.clear()
    wifi = uplink6("wifi", 7, COA6B)
    world.plug(LTE, NAT, HOME, wifi)
    world.run(1)
    assert world.bids() == {1, 4, 7}
    assert world.native is not None
    assert world.state is State.HOME
    # All updates say that it is at home, or the home agent would take it for away.
    assert world.updates()
    for update in world.updates():
        assert any(o.home for o in find_all(update.options, BindingIdentifier))


def test_dead_uplinks_do_not_matter_at_home_and_come_back() -> None:
    world = home(away(config=replace(CONFIG, probe=10.0)))
    world.dead = {2, 3}
    world.run(700)
    assert world.state is State.HOME
    assert world.attached == Attach(True, 5)
    assert world.bids() == set()
    assert world.native is None
    world.dead = set()
    world.run(120)
    at_home_and_away(world, silent=False)


@pytest.mark.parametrize("only_router", [True, False])
def test_it_is_kept_for_hours(only_router: bool) -> None:
    world = home(away(only_router=only_router, config=replace(CONFIG, probe=10.0)))
    world.effects.clear()
    world.run(7200)
    at_home_and_away(world, silent=not only_router)
    assert world.of("ha", AtHome) == []
    assert world.of("mr", Attach) == []


def test_the_operator_prefers_an_uplink_at_home() -> None:
    world = home(away())
    world.carry("mr", world.mr.handover("nat", world.now))
    world.run(1)
    assert world.state is State.REGISTERED
    assert world.native is None
    assert HOA in world.proxied
    world.carry("mr", world.mr.handover(None, world.now))
    world.run(1)
    at_home_and_away(world, silent=False)


def test_stop_at_home_removes_the_binding() -> None:
    world = home(away())
    world.carry("mr", world.mr.stop(world.now, deregister=True))
    world.run(0.1)
    assert world.bids() == set()
    assert world.native is None


@pytest.mark.parametrize("who", ["ha", "mr"])
@pytest.mark.parametrize("only_router", [True, False])
def test_restart_changes_nothing(who: str, only_router: bool) -> None:
    world = home(away(only_router=only_router))
    if who == "ha":
        world.native = None
        world.proxied = set()
    world.effects.clear()
    world.restart(who)
    at_home_and_away(world, silent=not only_router)
    world.run(300)
    at_home_and_away(world, silent=not only_router)
    world.plug(LTE, NAT)
    world.run(0.3)
    assert world.state is State.REGISTERED
    assert world.native is None


@pytest.mark.parametrize("seed", range(5))
def test_bad_weather(seed: int) -> None:
    world = link()
    world.seed, world.loss, world.jitter, world.duplicate = seed, 0.2, 0.1, 0.1
    places = [(LTE, NAT), (LTE, NAT, HOME), (HOME,), (LTE, HOME), (NAT,), (), (NAT, HOME)]
    for _ in range(40):
        world.uplinks = world.random.choice(places)
        try:
            world.carry("mr", world.mr.uplinks_changed(world.uplinks, world.now))
            world.run(world.random.choice([0.05, 0.5, 3, 30]))
        except AssertionError as error:
            # Acknowledgements that are lost leave both to defend for a moment.
            assert "answer for" in str(error)  # noqa: PT017
    world.loss = world.duplicate = world.jitter = 0.0
    world.plug(LTE, NAT, HOME)
    world.run(150)
    at_home_and_away(world, silent=False)


# --- home agents that say no ---------------------------------------------------------------


@pytest.mark.parametrize(
    "agent", [{"home_and_away": False}, {"bulk": False}, {"several": False}, {"paths_max": 1}]
)
def test_a_home_agent_that_does_not_serve_both(agent: dict[str, object]) -> None:
    """One or the other, as ever; and it is not asked again and again."""
    world = link(**agent)  # type: ignore[arg-type]
    world.plug(LTE)
    world.run(7)
    assert world.state is State.REGISTERED
    world.effects.clear()
    home(world, LTE)
    world.run(60)
    assert world.state is State.HOME
    assert world.attached == Attach(True, 5)
    if agent == {"paths_max": 1}:
        assert world.bids() == {1}, "the home link is no care-of address"
        return
    assert world.bids() == set()
    assert world.proxied == set()
    assert len(world.updates()) < 8
    world.plug(LTE)
    world.run(10)
    assert world.state is State.REGISTERED


def test_a_virtual_home_link_serves_no_home_binding() -> None:
    world = link(home_link=False)
    world.plug(LTE)
    world.run(1)
    home(world, LTE)
    world.run(2)
    assert world.state is State.HOME
    assert world.bids() == set()


# --- the home agent alone ------------------------------------------------------------------


def register(world: Link, *options: Option, sequence: int = 40, **flags: object) -> list[Effect]:
    values = {"acknowledge": True, "home": True, "mobile_router": True, "lifetime": 60} | flags
    lifetime = int(str(values.pop("lifetime")))
    care_of = values.pop("care_of", CareOf(COA6))
    update = BindingUpdate(sequence, lifetime, options=options, **values)  # type: ignore[arg-type]
    return world.to_ha(update, care_of)  # type: ignore[arg-type]


def status(effects: list[Effect]) -> tuple[int, dict[int, int]]:
    (answer,) = [e.message for e in effects if isinstance(e, SendMessage)]
    assert isinstance(answer, BindingAcknowledgement)
    return answer.status, {o.bid: o.status for o in find_all(answer.options, BindingIdentifier)}


FOREIGN = BindingIdentifier(1, priority=10, address=COA6)
AT_HOME = BindingIdentifier(9, home=True, priority=1, address=HOA)
OWN = LinkLayerAddress(MAC)


@pytest.mark.spec("X-022", "X-023")
def test_a_home_binding_from_the_home_link_itself() -> None:
    """Another implementation may ask there: the answer finds the link-layer address known."""
    world = link()
    effects = register(world, FOREIGN, AT_HOME, OWN, care_of=None)
    assert status(effects) == (0, {1: 0, 9: 0})
    kinds = [type(e) for e in effects]
    assert kinds.index(AtHome) < kinds.index(SendMessage)
    (sent,) = [e for e in effects if isinstance(e, SendMessage)]
    assert sent.care_of is None
    assert world.native == AtHome(HOA, HOA4 if world.native.home_address4 else None, True, MAC)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((FOREIGN, AT_HOME), (4, {1: 0, 9: 169})),
        ((FOREIGN, AT_HOME, LinkLayerAddress(MAC, 1)), (4, {1: 0, 9: 169})),
        ((FOREIGN, AT_HOME, LinkLayerAddress(b"\xff" * 6)), (4, {1: 0, 9: 169})),
        ((FOREIGN, AT_HOME, LinkLayerAddress(bytes(6))), (4, {1: 0, 9: 169})),
        ((FOREIGN, AT_HOME, LinkLayerAddress(MAC[:5])), (4, {1: 0, 9: 169})),
        ((FOREIGN, replace(AT_HOME, address=COA6B), OWN), (4, {1: 0, 9: 164})),
        ((FOREIGN, AT_HOME, replace(AT_HOME, bid=11), OWN), (164, {1: 0, 9: 0, 11: 0})),
        ((AT_HOME, OWN), (169, {9: 0})),
    ],
)
def test_home_bindings_that_cannot_be(
    options: tuple[Option, ...], expected: tuple[int, dict[int, int]]
) -> None:
    world = link()
    effects = register(world, *options)
    world.run(5)
    answers = [e.message for e in world.sent("ha", BindingAcknowledgement)]
    assert len(answers) == 1
    found = status(list(world.of("ha", SendMessage)) or effects)
    assert found == expected
    assert world.native is None


def test_an_update_without_h_ends_it() -> None:
    world = link()
    register(world, FOREIGN, AT_HOME, OWN)
    assert world.native is not None
    register(world, replace(FOREIGN, address=None), sequence=41)
    assert world.native is None
    assert HOA in world.proxied
    assert world.bids() == {1}


def test_its_bid_is_removed_like_any_other() -> None:
    world = link()
    register(world, FOREIGN, AT_HOME, OWN)
    effects = register(world, BindingIdentifier(9), sequence=41, lifetime=0)
    assert status(effects) == (0, {9: 0})
    assert world.native is None
    assert world.bids() == {1}
    assert status(register(world, BindingIdentifier(9), sequence=42, lifetime=0))[0] == 133


def test_a_bid_that_comes_home() -> None:
    """The interface is the same, the place is another: its care-of address is gone."""
    world = link()
    other = BindingIdentifier(3, priority=20, address=COA6B)
    register(world, FOREIGN, other, AT_HOME, OWN)
    register(world, replace(AT_HOME, bid=3), OWN, sequence=41)
    assert world.bids() == {1}
    assert world.native is not None
    effects = register(world, replace(AT_HOME, bid=1), OWN, sequence=42)
    assert status(effects) == (169, {1: 0})
    assert world.bids() == {1}


def test_the_other_way_may_be_preferred() -> None:
    """By BID-PRI: then nothing goes to the home link, and nothing is defended there."""
    world = link()
    register(world, replace(FOREIGN, priority=1), replace(AT_HOME, priority=9), OWN)
    assert world.native is None
    assert world.proxied == set()
    register(world, replace(FOREIGN, address=None), AT_HOME, sequence=41)
    assert world.native is not None


def test_it_ends_with_its_lifetime() -> None:
    world = link()
    register(world, FOREIGN, AT_HOME, OWN)
    world.run(239)
    assert world.native is not None
    world.run(2)
    assert world.native is None
    assert world.bids() == set()
    assert world.proxied == set()


def test_the_first_of_both_to_end() -> None:
    world = link()
    register(world, FOREIGN, AT_HOME, OWN)
    world.run(100)
    register(world, BindingIdentifier(3, priority=20, address=COA6B), AT_HOME, OWN, sequence=41)
    world.run(141)
    assert world.bids() == {3}
    assert world.native is not None
    assert Count("bu_accepted") in [e for _, e in world.effects]
    assert world.ha.bindings(world.now)[0].care_of.address == COA6B


def test_link_layer_address_that_changes() -> None:
    world = link()
    register(world, FOREIGN, AT_HOME, OWN)
    other = bytes.fromhex("020000000099")
    register(world, replace(FOREIGN, address=None), AT_HOME, LinkLayerAddress(other), sequence=41)
    assert world.native is not None
    assert world.native.link_layer == other


def test_somebody_else_on_the_home_link_is_still_a_duplicate() -> None:
    """Only who says that it is there itself is believed; with no H the question stands."""
    world = link()
    register(world, FOREIGN, OWN)
    assert world.looked == [HOA]
    assert not world.ha.bindings(world.now)
    assert IPv6Address(HA6) not in world.proxied
