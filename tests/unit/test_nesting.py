# SPDX-License-Identifier: GPL-2.0-only
"""Mobile networks in mobile networks, and care-of addresses that lead in a circle."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from dsmip.mobility.effects import Received, SendMessage
from dsmip.mobility.home_agent import HomeAgent
from dsmip.mobility.nesting import DEPTH_MAX
from dsmip.mobility.ownership import Owner, Ownership
from dsmip.packet.careof import CareOf, WireKind
from dsmip.packet.mobility import BindingAcknowledgement, BindingUpdate, build
from dsmip.packet.options import AlternateCareOfAddress

from tests.unit.roaming import HA6, HA_CONFIG, HOME

COUNT = 12
POOL = IPv6Network("2001:db8:800::/48")


def home(number: int) -> IPv6Address:
    return HOME.network_address + 0x500 + number


def net(number: int) -> IPv6Network:
    return IPv6Network((int(IPv6Address("2001:db8:500::")) + (number << 72), 56))


OWNERS = tuple(Owner(f"bus-{n}", home(n), None, (net(n),)) for n in range(COUNT))
OUTSIDE = IPv6Address("2001:db8:a6::5")


class Fleet:
    """A home agent and routers that register from wherever they say."""

    def __init__(self, owners: tuple[Owner, ...] = OWNERS) -> None:
        config = replace(HA_CONFIG, owners=owners, prefix_pool=(POOL,), delegated_length=56)
        self.agent = HomeAgent(config, 0.0)
        self.sequence = 0

    def register(self, number: int, care_of: IPv6Address, router: bool = True) -> int:
        """Send a Binding Update; return the status of its answer."""
        self.sequence += 1
        update = BindingUpdate(
            self.sequence,
            60,
            acknowledge=True,
            home=True,
            mobile_router=router,
            options=(AlternateCareOfAddress(care_of),),
        )
        data = build(update, home(number), HA6)
        received = Received(data, home(number), HA6, CareOf(care_of), 1, True)
        (answer,) = [
            effect.message
            for effect in self.agent.receive(received, 1.0)
            if isinstance(effect, SendMessage)
        ]
        assert isinstance(answer, BindingAcknowledgement)
        return answer.status


def inside(number: int) -> IPv6Address:
    """Return an address in the mobile network of a router."""
    return net(number).network_address + 0x99


def test_a_router_behind_a_router_is_served() -> None:
    fleet = Fleet()
    assert fleet.register(0, OUTSIDE) == 0
    assert fleet.register(1, inside(0)) == 0
    assert fleet.register(2, inside(1)) == 0
    # Before the outer one is registered nothing is known against it either.
    assert fleet.register(4, inside(5)) == 0


def test_a_circle_is_refused_at_the_update_that_would_close_it() -> None:
    fleet = Fleet()
    assert fleet.register(0, OUTSIDE) == 0
    assert fleet.register(1, inside(0)) == 0
    assert fleet.register(2, inside(1)) == 0
    for closing in (0, 1, 2):
        assert fleet.register(0, inside(closing)) == 174
    # The binding that was there is still.
    assert next(str(v.care_of.address) for v in fleet.agent.bindings(1.0)) == str(OUTSIDE)
    # Another way out opens the circle.
    assert fleet.register(2, OUTSIDE + 1) == 0
    assert fleet.register(1, inside(2)) == 0
    assert fleet.register(0, inside(1)) == 0


def test_a_plain_node_cannot_be_where_its_own_network_would_be_either() -> None:
    fleet = Fleet()
    assert fleet.register(0, inside(0), router=False) == 174


def test_nobody_nests_without_end() -> None:
    fleet = Fleet()
    assert fleet.register(0, OUTSIDE) == 0
    for number in range(1, DEPTH_MAX):
        assert fleet.register(number, inside(number - 1)) == 0
    assert fleet.register(DEPTH_MAX, inside(DEPTH_MAX - 1)) == 174


def test_delegated_prefixes_count_as_well() -> None:
    fleet = Fleet(tuple(replace(one, prefixes=(), delegated_prefixes=1) for one in OWNERS[:2]))
    assert fleet.register(0, OUTSIDE) == 0
    assert fleet.register(1, OUTSIDE + 1) == 0
    given = [fleet.agent.ownership.delegate(f"bus-{number}", []) for number in (0, 1)]
    assert fleet.register(1, given[0].network_address + 5) == 0
    assert fleet.register(0, given[1].network_address + 5) == 174


def test_owners_of_addresses_are_found_at_the_edges_of_their_prefixes() -> None:
    four = IPv4Network("203.0.113.0/28")
    tram = Owner("tram", home(200), IPv4Address("198.51.100.9"), (four,))
    table = Ownership((*OWNERS, tram), prefix_pool=(POOL,), delegated_length=56)
    for address, name in (
        (net(3)[0], "bus-3"),
        (net(3)[-1], "bus-3"),
        (net(COUNT - 1)[-1], f"bus-{COUNT - 1}"),
        (home(5), "bus-5"),
        (four[0], "tram"),
        (four[15], "tram"),
        (IPv4Address("198.51.100.9"), "tram"),
    ):
        owner = table.owner_of(address)
        assert owner is not None
        assert owner.identity == name
    for address in (
        net(0)[0] - 1,
        net(COUNT - 1)[-1] + 1,
        POOL[5],
        home(100),
        four[15] + 1,
        IPv4Address("198.51.100.8"),
        IPv6Address("::"),
        IPv4Address("255.255.255.255"),
    ):
        assert table.owner_of(address) is None


@pytest.mark.parametrize("kind", [WireKind.UDP4])
def test_a_circle_by_way_of_ipv4_is_one_too(kind: WireKind) -> None:
    nets = (IPv4Network("203.0.113.0/28"), IPv4Network("203.0.113.16/28"))
    owners = tuple(Owner(f"bus-{n}", home(n), None, (net(n), nets[n])) for n in range(2))
    fleet = Fleet(owners)

    def register(number: int, address: IPv4Address | None) -> int:
        fleet.sequence += 1
        update = BindingUpdate(fleet.sequence, 60, acknowledge=True, home=True, mobile_router=True)
        came = CareOf(OUTSIDE) if address is None else CareOf(address, kind, 4191)
        data = build(update, home(number), HA6)
        received = Received(data, home(number), HA6, came, 1, True)
        (answer,) = [
            effect.message
            for effect in fleet.agent.receive(received, 1.0)
            if isinstance(effect, SendMessage)
        ]
        assert isinstance(answer, BindingAcknowledgement)
        return answer.status

    assert register(0, None) == 0
    assert register(1, nets[0][5]) == 0
    assert register(0, nets[1][5]) == 174
