# SPDX-License-Identifier: GPL-2.0-only
"""Home prefixes with lifetimes, and a mobile network with two home addresses."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from dsmip.mobility.config import INFINITE, HomePrefix
from dsmip.mobility.effects import DropBinding, Effect, PutBinding, SendMessage, SolicitPrefixes
from dsmip.mobility.ownership import Owner
from dsmip.packet.careof import CareOf
from dsmip.packet.mobility import BindingAcknowledgement, BindingUpdate
from dsmip.packet.options import AlternateCareOfAddress, IPv4HomeAddress

from tests.unit.roaming import (
    BUS,
    COA6,
    HA_CONFIG,
    HOA,
    HOA4,
    HOME,
    NET4,
    NET6,
    TRAM,
    World,
    uplink6,
)

NEW = IPv6Network("2001:db8:2::/64")
NEW_HOA = IPv6Address("2001:db8:2::100")


def world(*lives: HomePrefix, owners: tuple[Owner, ...] = (BUS, TRAM)) -> World:
    """Return a world whose home agent has these prefixes with their lifetimes."""
    config = replace(HA_CONFIG, prefixes=(HOME, NEW), owners=owners)
    made = World(ha_config=config)
    since = tuple(replace(life, since=made.now) for life in lives)
    made.ha_config = replace(config, lives=since)
    made.carry("ha", made.ha.reconfigure(made.ha_config, made.now))
    return made


def bind(
    made: World, home: IPv6Address = HOA, sequence: int = 1, lifetime: int = 75
) -> list[Effect]:
    options = (AlternateCareOfAddress(COA6), IPv4HomeAddress(HOA4))
    update = BindingUpdate(
        sequence,
        lifetime,
        acknowledge=True,
        home=True,
        mobile_router=True,
        options=options,
    )
    return made.to_ha(update, CareOf(COA6), source=home)


def answer(effects: list[Effect]) -> BindingAcknowledgement:
    (message,) = [e.message for e in effects if isinstance(e, SendMessage)]
    assert isinstance(message, BindingAcknowledgement)
    return message


@pytest.mark.spec("M-065", "M-066")
@pytest.mark.parametrize(
    ("life", "status", "lifetime"),
    [
        (HomePrefix(HOME), 0, 300),
        (HomePrefix(HOME, 7200, 3600), 0, 300),
        (HomePrefix(HOME, 7200, 299), 1, 300),
        (HomePrefix(HOME, 7200, 300), 0, 300),
        (HomePrefix(HOME, 7200, 0), 1, 300),
        (HomePrefix(HOME, 100, 100), 0, 100),
        (HomePrefix(HOME, 100, 50), 1, 100),
        (HomePrefix(HOME, 4, 0), 1, 4),
        (HomePrefix(HOME, 3, 0), 132, 0),
        (HomePrefix(HOME, 0, 0), 132, 0),
    ],
)
def test_lifetime_and_status_follow_the_prefix(
    life: HomePrefix, status: int, lifetime: int
) -> None:
    made = world(life)
    message = answer(bind(made))
    assert (message.status, message.lifetime * 4) == (status, lifetime)


def test_counting_prefix_runs_out() -> None:
    made = world(HomePrefix(HOME, 200, 100, counts=True))
    made.run(150)
    message = answer(bind(made))
    assert (message.status, message.lifetime * 4) == (1, 48)
    made.run(60)
    assert made.ha.bindings(made.now) == []
    assert answer(bind(made, sequence=2)).status == 132


def test_shortened_prefix_shortens_bindings() -> None:
    made = world(HomePrefix(HOME))
    bind(made)
    config = replace(made.ha_config, lives=(HomePrefix(HOME, 30, 0, True, made.now),))
    effects = made.ha.reconfigure(config, made.now)
    (put,) = [e for e in effects if isinstance(e, PutBinding)]
    assert put.binding.lifetime == 30
    made.carry("ha", effects)
    made.run(29)
    assert len(made.ha.bindings(made.now)) == 1
    made.run(2)
    assert made.ha.bindings(made.now) == []


@pytest.mark.spec("M-161")
def test_router_asks_for_prefixes_when_it_is_told_to() -> None:
    made = world(HomePrefix(HOME, 7200, 0))
    made.plug(uplink6())
    made.run(2)
    assert made.of("mr", SolicitPrefixes)
    plain = World()
    plain.plug(uplink6())
    plain.run(2)
    assert plain.of("mr", SolicitPrefixes) == []


# --- two home addresses ---------------------------------------------------------------

OLD, YOUNG = HomePrefix(HOME, 7200, 0), HomePrefix(NEW, 7200, 3600)


def held(made: World, home: IPv6Address) -> tuple[set[object], IPv4Address | None]:
    binding = made.kernel["ha"].bindings[home]
    return set(binding.prefixes), binding.home_address4


def test_mobile_network_goes_with_the_preferred_home_address() -> None:
    made = world(OLD, YOUNG)
    bind(made)
    assert held(made, HOA) == ({NET6, NET4}, HOA4)
    effects = bind(made, NEW_HOA)
    assert answer(effects).status == 0
    # The old one gives up before the new one takes.
    puts = [e.binding.home_address for e in effects if isinstance(e, PutBinding)]
    assert puts == [HOA, NEW_HOA]
    assert held(made, NEW_HOA) == ({NET6, NET4}, HOA4)
    assert held(made, HOA) == (set(), None)
    # And a refresh of the old one does not take it back.
    assert answer(bind(made, HOA, sequence=2)).status == 1
    assert held(made, NEW_HOA) == ({NET6, NET4}, HOA4)
    assert held(made, HOA) == (set(), None)


def test_old_home_address_ends_without_the_new_one() -> None:
    made = world(OLD, YOUNG)
    bind(made)
    bind(made, NEW_HOA)
    leave = BindingUpdate(2, 0, acknowledge=True, home=True, mobile_router=True)
    effects = made.to_ha(leave, CareOf(COA6), source=HOA)
    assert [e for e in effects if isinstance(e, DropBinding)] == [DropBinding(HOA)]
    assert held(made, NEW_HOA) == ({NET6, NET4}, HOA4)


def test_only_renumbered_prefixes_give_a_second_home_address() -> None:
    made = world(YOUNG)
    assert answer(bind(made, NEW_HOA)).status == 133
    plain = world()
    assert answer(bind(plain, NEW_HOA)).status == 133
    other = world(OLD, YOUNG)
    assert answer(bind(other, IPv6Address("2001:db8:2::101"))).status == 133


def test_second_home_address_is_nobody_else_s() -> None:
    other = Owner("ferry-1", NEW_HOA, None, (IPv6Network("2001:db8:300::/56"),))
    made = world(OLD, YOUNG, owners=(BUS, other))
    bind(made, NEW_HOA)
    assert held(made, NEW_HOA)[0] == {IPv6Network("2001:db8:300::/56")}
    (view,) = made.ha.bindings(made.now)
    assert view.identity == "ferry-1"


def test_bindings_of_both_outlive_a_restart() -> None:
    made = world(OLD, YOUNG)
    bind(made)
    bind(made, NEW_HOA)
    made.restart("ha")
    assert {v.home_address for v in made.ha.bindings(made.now)} == {HOA, NEW_HOA}
    assert held(made, NEW_HOA) == ({NET6, NET4}, HOA4)


def test_lifetimes() -> None:
    life = HomePrefix(HOME, 100, 200, True, 1000.0)
    assert life.lifetimes(1000.0) == (100, 100)
    assert life.lifetimes(1099.9) == (1, 1)
    assert life.lifetimes(1e9) == (0, 0)
    endless = HomePrefix(HOME, counts=True)
    assert endless.lifetimes(1e9) == (INFINITE, INFINITE)
