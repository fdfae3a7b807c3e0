# SPDX-License-Identifier: GPL-2.0-only
"""Home addresses from a pool: by identity, stable, never another's."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network

import pytest
from dsmip.mobility.home_agent import HomeAgent
from dsmip.mobility.ownership import NotOwned, Owner, Ownership
from dsmip.packet.status import BindingAckStatus
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.roaming import BUS, HA6, HA_CONFIG, HOA, TRAM

NOWHERE = IPv6Address(0)
POOL = IPv6Network("2001:db8:1::100/124")


def guest(name: str) -> Owner:
    return Owner(name, NOWHERE, dynamic_home_address=True)


GUESTS = [guest(f"guest-{number}") for number in range(20)]


def table(*more: Owner, pool: IPv6Network = POOL) -> Ownership:
    return Ownership((BUS, TRAM, *GUESTS, *more), (), (pool,), (HA6,))


def test_a_configured_address_needs_no_lease() -> None:
    owners = table()
    assert owners.home_address("bus-17", None).home_address == HOA
    assert owners.home_address("bus-17", TRAM.home_address).home_address == HOA
    assert owners.leases() == {}


def test_who_is_not_known_gets_nothing() -> None:
    with pytest.raises(NotOwned) as caught:
        table().home_address("ghost", None)
    assert caught.value.status is BindingAckStatus.NOT_HOME_AGENT


@pytest.mark.spec("B-009")
def test_an_address_is_kept_and_found_again() -> None:
    owners = table()
    given6 = owners.home_address("guest-1", None)
    assert given6.home_address in POOL
    assert owners.find(given6.home_address) == given6
    assert owners.home_address("guest-1", None) == given6
    # Another wish does not change what it has.
    assert owners.home_address("guest-1", POOL[9]) == given6
    assert table().home_address("guest-1", None) == given6
    assert owners.leases() == {"guest-1": given6.home_address}


@pytest.mark.spec("B-009")
def test_a_wish_is_granted_unless_it_is_anothers() -> None:
    owners = table()
    assert owners.home_address("guest-1", POOL[9]).home_address == POOL[9]
    for wish in (POOL[9], HOA, HA6, POOL[0], IPv6Address("2001:db8:2::1"), TRAM.home_address):
        found = owners.home_address(f"guest-{int(wish) % 18 + 2}", wish)
        assert found.home_address != wish


def test_the_pool_ends() -> None:
    owners = table()
    # 16 addresses; the first is the routers' anycast address, and bus-17's here.
    addresses = {owners.home_address(f"guest-{n}", None).home_address for n in range(15)}
    with pytest.raises(NotOwned) as caught:
        owners.home_address("guest-15", None)
    assert caught.value.status is BindingAckStatus.INSUFFICIENT_RESOURCES
    assert addresses == set(POOL) - {HOA}


def test_an_unassigned_owner_owns_no_address() -> None:
    owners = table()
    assert owners.find(NOWHERE) is None
    assert {owner.identity for owner in owners} == {"bus-17", "tram-3"}


def test_a_lease_that_is_not_allowed_any_more_is_dropped() -> None:
    owners = table()
    assert not owners.adopt("guest-1", HOA)
    assert not owners.adopt("guest-1", IPv6Address("2001:db8:9::1"))
    assert not owners.adopt("ghost", POOL[3])
    assert owners.adopt("guest-1", POOL[3])
    assert owners.adopt("guest-1", POOL[3])
    assert not owners.adopt("guest-2", POOL[3])


def test_leases_survive_a_reconfiguration() -> None:
    config = replace(HA_CONFIG, owners=(BUS, TRAM, *GUESTS), pool6=(POOL,))
    engine = HomeAgent(config, 0.0, leases={"guest-1": POOL[5], "guest-2": HOA})
    assert dict(engine.ownership.leases()) == {"guest-1": POOL[5]}
    engine.reconfigure(replace(config, lifetime=60), 1.0)
    assert dict(engine.ownership.leases()) == {"guest-1": POOL[5]}
    engine.reconfigure(replace(config, owners=(BUS, TRAM)), 2.0)
    assert dict(engine.ownership.leases()) == {}


@pytest.mark.spec("B-009")
@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 31)), max_size=40))
def test_nobody_is_given_what_another_has(wishes: list[tuple[int, int]]) -> None:
    owners = table(pool=IPv6Network("2001:db8:1::100/123"))
    for number, offset in wishes:
        owner = owners.home_address(f"guest-{number}", POOL.network_address + offset)
        assert owners.find(owner.home_address) == owner
    leases = owners.leases()
    assert len(set(leases.values())) == len(leases)
    assert not {HOA, HA6, TRAM.home_address} & set(leases.values())
