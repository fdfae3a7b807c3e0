# SPDX-License-Identifier: GPL-2.0-only
"""Router advertisements on the LAN: what they say and when (RFC 4861, RFC 3963 section 5)."""

from __future__ import annotations

import itertools
import struct
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network

import pytest
from dsmip.mobility.advertising import (
    INTERVAL_MOST,
    Advertiser,
    Link,
    OnLink,
    SendAdvertisement,
    parts,
)
from dsmip.mobility.effects import Count
from dsmip.packet.icmp6 import (
    LinkMtu,
    PrefixInformation,
    RouterAdvertisement,
    RouterSolicitation,
    SourceLinkLayerAddress,
    UnknownNdOption,
    build,
)

LAN = 5
MAC = bytes.fromhex("020000000005")
ONE, TWO = IPv6Network("2001:db8:100::/64"), IPv6Network("2001:db8:200::/64")
DNS = IPv6Address("2001:db8::53")
LINK = Link(LAN, MAC, (OnLink(ONE),), default=True, mtu=1460, dns=(DNS,))
HOST = IPv6Address("fe80::2")
SOLICITATION = build(RouterSolicitation())


class Hosts:
    """The engine with a clock; what it sent, by time."""

    def __init__(self, link: Link = LINK) -> None:
        self.engine = Advertiser(seed=4861)
        self.now = 100.0
        self.sent: list[tuple[float, RouterAdvertisement]] = []
        self.tell(link)

    def tell(self, *links: Link) -> None:
        self.engine.update(links, self.now)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        for _ in range(10_000):
            at = self.engine.next_timer()
            if at is None or at > end:
                self.now = end
                return
            self.now = max(at, self.now)
            for effect in self.engine.handle_timer(self.now):
                if isinstance(effect, SendAdvertisement):
                    assert effect.interface == LAN
                    self.sent.append((self.now, effect.message))
        raise AssertionError("time does not pass")

    def solicit(self, source: IPv6Address = HOST, data: bytes = SOLICITATION, on: int = LAN) -> str:
        (effect,) = self.engine.solicited(on, source, data, self.now)
        assert isinstance(effect, Count)
        return effect.name

    def last(self) -> RouterAdvertisement:
        return self.sent[-1][1]

    def lifetimes(self) -> dict[IPv6Network, tuple[int, int]]:
        return {
            IPv6Network((one.prefix, one.prefix_length)): (
                one.valid_lifetime,
                one.preferred_lifetime,
            )
            for one in self.last().options
            if isinstance(one, PrefixInformation)
        }


def test_an_advertisement_says_all_that_hosts_need() -> None:
    hosts = Hosts()
    hosts.run(1)
    message = hosts.last()
    assert (message.lifetime, message.hop_limit) == (600, 64)
    assert not message.home_agent
    assert message.options[0] == SourceLinkLayerAddress(MAC)
    assert message.options[1] == LinkMtu(1460)
    assert message.options[2] == PrefixInformation(
        ONE.network_address, 64, True, True, False, 7200, 1800
    )
    dns = UnknownNdOption(25, bytes(2) + struct.pack("!I", 600) + DNS.packed)
    assert message.options[3] == dns


def test_three_come_soon_and_then_they_are_rare_but_within_the_routers_lifetime() -> None:
    hosts = Hosts()
    hosts.run(3600)
    times = [at for at, _ in hosts.sent]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[:2] == [16, 16]
    assert all(66 <= gap <= INTERVAL_MOST for gap in gaps[2:])
    assert len(gaps) >= 20


def test_a_solicitation_is_answered_within_half_a_second_but_not_more_than_every_three() -> None:
    hosts = Hosts()
    hosts.run(40)
    before = len(hosts.sent)
    assert hosts.solicit() == "rs_received"
    hosts.run(0.5)
    assert len(hosts.sent) == before + 1
    for _ in range(100):
        hosts.solicit(IPv6Address("::"))
        hosts.run(0.1)
    times = [at for at, _ in hosts.sent[before:]]
    assert len(times) in (4, 5)
    assert min(b - a for a, b in itertools.pairwise(times)) >= 3


@pytest.mark.parametrize(
    ("source", "data", "on"),
    [
        (IPv6Address("2001:db8:100::2"), SOLICITATION, LAN),
        (IPv6Address("::"), build(RouterSolicitation((SourceLinkLayerAddress(MAC),))), LAN),
        (HOST, SOLICITATION[:7], LAN),
        (HOST, SOLICITATION + b"\1\0", LAN),
        (HOST, SOLICITATION[:1] + b"\1" + SOLICITATION[2:], LAN),
        (HOST, build(RouterAdvertisement(64, 0)), LAN),
        (HOST, b"", LAN),
        (HOST, SOLICITATION, LAN + 1),
    ],
)
@pytest.mark.spec("N-017")
def test_solicitations_that_are_none_or_come_by_an_uplink_get_no_answer(
    source: IPv6Address, data: bytes, on: int
) -> None:
    hosts = Hosts()
    hosts.run(40)
    before = hosts.engine.next_timer()
    assert hosts.solicit(source, data, on) in ("rs_malformed", "rs_elsewhere")
    assert hosts.engine.next_timer() == before


def test_lifetimes_never_outlast_the_lease() -> None:
    hosts = Hosts()
    hosts.tell(replace(LINK, prefixes=(OnLink(ONE, hosts.now + 600, hosts.now + 900),)))
    hosts.run(1)
    assert hosts.lifetimes() == {ONE: (900, 600)}
    hosts.run(800)
    valid, preferred = hosts.lifetimes()[ONE]
    assert preferred == 0
    assert 0 < valid < 300
    hosts.run(400)
    assert hosts.lifetimes() == {ONE: (0, 0)}


@pytest.mark.spec("N-011")
def test_a_prefix_that_goes_is_ended_at_once_and_said_again() -> None:
    hosts = Hosts(replace(LINK, prefixes=(OnLink(ONE), OnLink(TWO))))
    hosts.run(1000)
    count = len(hosts.sent)
    hosts.tell(LINK)
    hosts.run(4)
    assert len(hosts.sent) == count + 1
    assert hosts.lifetimes() == {ONE: (7200, 1800), TWO: (0, 0)}
    hosts.run(40)
    assert len(hosts.sent) >= count + 3
    assert hosts.lifetimes()[TWO] == (0, 0)
    # It comes back, as a lease may.
    hosts.tell(replace(LINK, prefixes=(OnLink(ONE), OnLink(TWO))))
    hosts.run(4)
    assert hosts.lifetimes()[TWO] == (7200, 1800)
    hosts.tell(LINK)
    hosts.run(7300)
    assert hosts.lifetimes() == {ONE: (7200, 1800)}


def test_without_a_registration_the_router_is_no_default_and_prefixes_are_deprecated() -> None:
    hosts = Hosts()
    hosts.run(1000)
    count = len(hosts.sent)
    hosts.tell(replace(LINK, default=False))
    hosts.run(4)
    assert len(hosts.sent) == count + 1
    assert hosts.last().lifetime == 0
    assert hosts.lifetimes() == {ONE: (7200, 0)}
    assert not any(isinstance(one, UnknownNdOption) for one in hosts.last().options)


def test_a_lifetime_that_gets_shorter_is_told_at_once_and_a_longer_one_is_not() -> None:
    hosts = Hosts(replace(LINK, prefixes=(OnLink(ONE, 5000, 9000),)))
    hosts.run(1000)
    count = len(hosts.sent)
    later = hosts.engine.next_timer()
    hosts.tell(replace(LINK, prefixes=(OnLink(ONE, 6000, 10_000),)))
    assert hosts.engine.next_timer() == later
    hosts.tell(replace(LINK, prefixes=(OnLink(ONE, hosts.now, hosts.now),)))
    hosts.run(4)
    assert len(hosts.sent) == count + 1
    assert hosts.lifetimes() == {ONE: (0, 0)}


def test_the_last_word_is_that_there_is_no_router() -> None:
    hosts = Hosts()
    hosts.run(1)
    (effect,) = hosts.engine.stop(hosts.now)
    assert isinstance(effect, SendAdvertisement)
    assert effect.message.lifetime == 0
    assert hosts.engine.next_timer() is None


def test_a_link_that_cannot_send_yet_is_tried_again_soon() -> None:
    hosts = Hosts()
    hosts.run(1)
    hosts.engine.failed(LAN, hosts.now)
    assert hosts.engine.next_timer() == hosts.now + 1
    hosts.engine.failed(77, hosts.now)


def test_each_link_gets_its_own_part_of_each_prefix() -> None:
    wide, narrow = IPv6Network("2001:db8:100::/63"), IPv6Network("2001:db8:9::/64")
    first, second, third = parts((wide, narrow), 3)
    assert first == [IPv6Network("2001:db8:100::/64"), narrow]
    assert second == [IPv6Network("2001:db8:100:1::/64")]
    assert third == []
    assert parts((IPv6Network("2001:db8:9::/80"),), 1) == [[IPv6Network("2001:db8:9::/80")]]


def test_what_is_no_64_is_on_link_but_gives_no_addresses() -> None:
    hosts = Hosts(replace(LINK, prefixes=(OnLink(IPv6Network("2001:db8:9::/80")),)))
    hosts.run(1)
    (one,) = [o for o in hosts.last().options if isinstance(o, PrefixInformation)]
    assert (one.on_link, one.autonomous) == (True, False)
