# SPDX-License-Identifier: GPL-2.0-only
"""Several routers on one access link: which is in use, and which addresses go with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network

import pytest
from dsmip.linux.rtnl import Route
from dsmip.linux.uplinks import LinkState
from dsmip.mobility.access_routers import (
    ANSWER_TIME,
    PREFIXES_MAX,
    ROUTERS_MAX,
    AccessRouters,
)
from dsmip.packet.icmp6 import (
    AdvertisementInterval,
    NdOption,
    PrefixInformation,
    RouterAdvertisement,
    RouterSolicitation,
    build,
)
from dsmip.service.access_links import AccessLinks
from hypothesis import given
from hypothesis import strategies as st

LINK = 3
ONE, TWO = IPv6Address("fe80::1"), IPv6Address("fe80::2")
NET1, NET2 = IPv6Network("2001:db8:a1::/64"), IPv6Network("2001:db8:a2::/64")
AT1, AT2 = NET1[5], NET2[5]
OTHER = IPv6Address("2001:db8:ffff::5")


def advertisement(
    *prefixes: IPv6Network, interval: int = 0, lifetime: int = 1800, valid: int = 7200
) -> bytes:
    options: list[NdOption] = [
        PrefixInformation(p.network_address, p.prefixlen, True, True, False, valid, valid // 2)
        for p in prefixes
    ]
    if interval:
        options.append(AdvertisementInterval(interval))
    return bytes(build(RouterAdvertisement(64, lifetime, options=tuple(options))))


def two(interval: int = 0) -> AccessRouters:
    """Return what is known when the first router came first, with 10 s in between."""
    routers = AccessRouters()
    assert routers.advertised(LINK, ONE, advertisement(NET1, interval=interval), 0)
    assert routers.choose(LINK, [ONE], [AT1]) == ONE
    assert routers.advertised(LINK, TWO, advertisement(NET2, interval=interval), 10)
    return routers


def used(routers: AccessRouters, *gateways: IPv6Address) -> tuple[object, ...]:
    """Return the router in use and the addresses that go with it, of all that there are."""
    router = routers.choose(LINK, gateways or (TWO, ONE), (AT2, AT1, OTHER))
    assert router is not None
    return router, routers.addresses(LINK, router, (AT2, AT1, OTHER))


# --- the router in use, and its prefixes ------------------------------------------------


@pytest.mark.spec("M-135")
def test_addresses_are_those_of_the_router_in_use() -> None:
    """Its own prefixes first, then what nobody announces, and never another router's."""
    routers = two()
    assert used(routers) == (ONE, (AT1, OTHER))
    assert used(routers, TWO) == (TWO, (AT2, OTHER))
    # A router that announces all of them goes with all of them.
    assert routers.advertised(LINK, TWO, advertisement(NET1), 11)
    assert used(routers, TWO) == (TWO, (AT2, AT1, OTHER))


@pytest.mark.spec("M-135")
def test_a_router_that_goes_with_none_of_the_addresses_is_not_the_one() -> None:
    """DHCPv6 or no autoconfiguration: what there is goes by the router that announces it."""
    routers = two()
    assert routers.choose(LINK, [ONE, TWO], [AT2]) == TWO
    assert routers.choose(LINK, [ONE], [AT2]) == ONE
    assert routers.addresses(LINK, ONE, [AT2]) == ()


def test_what_is_not_heard_changes_nothing() -> None:
    routers = AccessRouters()
    assert used(routers) == (TWO, (AT2, AT1, OTHER))
    # A router without prefixes says nothing about addresses.
    routers.advertised(LINK, TWO, advertisement(), 0)
    routers.advertised(LINK, ONE, advertisement(NET1), 0)
    assert used(routers) == (TWO, (AT2, AT1, OTHER))
    assert routers.choose(LINK, [], [AT1]) is None


# --- movement -------------------------------------------------------------------------------


@pytest.mark.spec("M-130")
def test_a_new_router_alone_is_no_movement() -> None:
    """Though the kernel prefers it, and its prefix is another."""
    routers = two()
    assert used(routers)[0] == ONE
    routers.advertised(LINK, ONE, advertisement(NET1), 12)
    routers.advertised(LINK, TWO, advertisement(NET2), 600)
    assert routers.handle_timer(601) == ([], [])
    assert used(routers)[0] == ONE


@pytest.mark.spec("M-130")
def test_missed_advertisements_lead_to_a_question_and_silence_to_another_router() -> None:
    routers = two(interval=10_000)
    # Three intervals of the router in use; those of the other one do not matter.
    assert routers.next_timer() == 30
    assert routers.handle_timer(29.9) == ([], [])
    assert routers.handle_timer(30) == ([LINK], [])
    assert routers.next_timer() == 30 + ANSWER_TIME
    assert not routers.advertised(LINK, TWO, advertisement(NET2, interval=10_000), 30.5)
    assert used(routers)[0] == ONE
    assert routers.handle_timer(30 + ANSWER_TIME) == ([], [LINK])
    assert used(routers) == (TWO, (AT2, OTHER))
    # The first one comes back: no reason to leave the second.
    assert routers.advertised(LINK, ONE, advertisement(NET1, interval=10_000), 40)
    assert used(routers)[0] == TWO


@pytest.mark.spec("M-130")
def test_a_router_that_answers_stays() -> None:
    routers = two(interval=10_000)
    assert routers.handle_timer(30) == ([LINK], [])
    routers.advertised(LINK, TWO, advertisement(NET2, interval=10_000), 30.5)
    routers.advertised(LINK, ONE, advertisement(NET1, interval=10_000), 33.9)
    assert routers.handle_timer(34) == ([], [])
    assert used(routers)[0] == ONE
    assert routers.next_timer() == 33.9 + 30


@pytest.mark.spec("M-130")
def test_an_answer_of_nobody_proves_nothing() -> None:
    """The link may be dead, or nobody can be heard: it is asked again, not all the time."""
    routers = two(interval=10_000)
    assert routers.handle_timer(30) == ([LINK], [])
    assert routers.handle_timer(34) == ([], [])
    assert used(routers)[0] == ONE
    assert routers.next_timer() == 34 + 30


@pytest.mark.spec("M-130")
def test_a_home_agent_that_does_not_answer_is_a_reason_to_ask() -> None:
    """Without intervals too; one question at a time."""
    routers = two()
    assert routers.next_timer() is None
    assert routers.suspect(LINK, 20)
    assert not routers.suspect(LINK, 21)
    assert not routers.suspect(LINK + 1, 21)
    routers.advertised(LINK, TWO, advertisement(NET2), 20.1)
    assert routers.handle_timer(24) == ([], [LINK])
    assert used(routers)[0] == TWO


@pytest.mark.spec("M-130")
def test_a_router_that_the_kernel_does_not_find() -> None:
    """Neighbour unreachability detection; a router that is heard again is there again."""
    routers = two()
    assert routers.unreachable(LINK, ONE)
    assert not routers.unreachable(LINK, ONE)
    assert not routers.unreachable(LINK, IPv6Address("fe80::9"))
    assert not routers.unreachable(LINK + 1, ONE)
    assert used(routers)[0] == TWO
    # When all have gone the kernel's favourite is as good as any.
    assert routers.unreachable(LINK, TWO)
    assert used(routers)[0] == TWO
    assert routers.advertised(LINK, ONE, advertisement(NET1), 20)
    assert used(routers) == (ONE, (AT1, OTHER))


def test_a_router_that_retires() -> None:
    routers = two()
    assert routers.advertised(LINK, ONE, advertisement(NET1, lifetime=0), 20)
    assert not routers.advertised(LINK, ONE, advertisement(NET1, lifetime=0), 21)
    # The kernel has taken its route away.
    assert used(routers, TWO)[0] == TWO


def test_another_link_on_the_same_interface() -> None:
    routers = two()
    routers.forget(LINK)
    assert used(routers) == (TWO, (AT2, AT1, OTHER))
    routers.forget(LINK + 7)


def test_prefixes_that_are_told_one_by_one_and_those_that_end() -> None:
    routers = two()
    assert routers.advertised(LINK, TWO, advertisement(NET1), 20)
    assert not routers.advertised(LINK, TWO, advertisement(NET2), 21)
    assert used(routers, TWO) == (TWO, (AT2, AT1, OTHER))
    routers.advertised(LINK, TWO, advertisement(NET1, valid=0), 22)
    assert used(routers, TWO) == (TWO, (AT2, OTHER))


# --- what anybody can send --------------------------------------------------------------


def test_bounds() -> None:
    routers = two()
    for number in range(100):
        routers.advertised(LINK, IPv6Address(0xFE80 << 112 | number + 3), advertisement(NET1), 30)
    link = routers._links[LINK]
    assert len(link.routers) == ROUTERS_MAX
    many = [IPv6Network((int(NET1.network_address) + (n << 64), 64)) for n in range(40)]
    routers.advertised(LINK, ONE, advertisement(*many), 31)
    assert len(link.routers[ONE].prefixes) == PREFIXES_MAX


@pytest.mark.parametrize("data", [b"", b"\x86", bytes(build(RouterSolicitation()))])
def test_what_is_no_advertisement(data: bytes) -> None:
    routers = two()
    assert not routers.advertised(LINK, ONE, data, 20)
    assert used(routers)[0] == ONE


@given(st.binary(max_size=120))
def test_any_octets(body: bytes) -> None:
    routers = two()
    routers.advertised(LINK, ONE, b"\x86\0\0\0" + body, 20)
    routers.handle_timer(100)
    assert used(routers)


# --- on the uplinks ---------------------------------------------------------------------


class Uplinks:
    """The service with a loop whose time is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timer: tuple[float, Callable[[], None]] | None = None
        self.asked: list[int] = []
        self.changes = 0
        self.lost: set[IPv6Address] = set()
        self.service = AccessLinks(self, self, self.asked.append, self._changed)  # type: ignore[arg-type]
        self.link = LinkState(
            "wan0",
            LINK,
            True,
            addresses6=(AT2, AT1),
            default6=self.route(TWO),
            defaults6=(self.route(TWO), self.route(ONE)),
        )

    @staticmethod
    def route(gateway: IPv6Address | None) -> Route:
        return Route(IPv6Network("::/0"), LINK, gateway=gateway)

    def time(self) -> float:
        return self.now

    def call_soon(self, action: Callable[[], None]) -> None:
        action()

    def call_at(self, at: float, action: Callable[[], None]) -> asyncio.TimerHandle:
        self.timer = at, action
        return self  # type: ignore[return-value]

    def cancel(self) -> None:
        self.timer = None

    def unreachable(self, interface: int, address: IPv6Address) -> bool:
        assert interface == LINK
        return address in self.lost

    def _changed(self) -> None:
        self.changes += 1

    def advertise(self, router: IPv6Address, *prefixes: IPv6Network, interval: int = 0) -> None:
        self.service.advertised(LINK, router, advertisement(*prefixes, interval=interval))

    def used(self) -> tuple[object, ...]:
        (link,) = self.service.steer((self.link,))
        assert link.default6 is not None
        return link.default6.gateway, link.addresses6

    def wait(self, until: float) -> None:
        while self.timer is not None and self.timer[0] <= until:
            self.now, action = self.timer
            self.timer = None
            action()
        self.now = until


@pytest.mark.spec("M-130", "M-135")
def test_uplinks_follow_their_routers() -> None:
    uplinks = Uplinks()
    uplinks.advertise(ONE, NET1, interval=10_000)
    uplinks.link = LinkState(
        "wan0",
        LINK,
        True,
        addresses6=(AT1,),
        default6=uplinks.route(ONE),
        defaults6=(uplinks.route(ONE),),
    )
    assert uplinks.used() == (ONE, (AT1,))
    before = uplinks.changes
    uplinks.link = Uplinks().link
    uplinks.advertise(TWO, NET2, interval=10_000)
    assert uplinks.changes == before + 1
    assert uplinks.used() == (ONE, (AT1,))
    uplinks.wait(30)
    assert uplinks.asked == [LINK]
    uplinks.advertise(TWO, NET2, interval=10_000)
    uplinks.wait(35)
    assert uplinks.changes == before + 2
    assert uplinks.used() == (TWO, (AT2,))
    uplinks.service.stop()
    assert uplinks.timer is None


@pytest.mark.spec("M-130")
def test_who_gets_no_answer_looks_at_routers() -> None:
    uplinks = Uplinks()
    uplinks.advertise(TWO, NET2)
    uplinks.advertise(ONE, NET1)
    assert uplinks.used() == (TWO, (AT2,))
    before = uplinks.changes
    uplinks.service.suspect()
    assert uplinks.asked == [LINK]
    uplinks.lost = {TWO}
    uplinks.service.suspect()
    assert uplinks.changes == before + 1
    assert uplinks.used() == (ONE, (AT1,))
    assert uplinks.asked == [LINK], "one question at a time"
    uplinks.service.forget(LINK)
    uplinks.service.suspect()
    assert uplinks.used()


def test_links_without_routers_are_left_as_they_are() -> None:
    uplinks = Uplinks()
    for link in (
        LinkState("wan1", 4, True, addresses6=(AT1,)),
        LinkState("lte", 5, True, default6=uplinks.route(None), defaults6=(uplinks.route(None),)),
        LinkState("wan2"),
    ):
        assert uplinks.service.steer((link,)) == (link,)
