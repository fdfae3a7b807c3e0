# SPDX-License-Identifier: GPL-2.0-only
"""Home agent discovery: the list, the answers, the questions, and who poisons them."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network

import pytest
from dsmip.mobility.agents_list import ADDRESSES_MAX, AGENTS_MAX
from dsmip.mobility.discovery import (
    AgentDiscovery,
    AgentFinder,
    DiscoveryConfig,
    DiscoveryEffect,
    HomeAgentsFound,
    IcmpReceived,
    SendIcmp,
    home_agents_anycast,
)
from dsmip.mobility.effects import Count
from dsmip.packet.icmp6 import (
    HomeAgentDiscoveryReply,
    HomeAgentDiscoveryRequest,
    HomeAgentInformation,
    IcmpMessage,
    MobilePrefixAdvertisement,
    NdOption,
    PrefixInformation,
    RouterAdvertisement,
    build,
    parse,
)

HOME, SECOND = IPv6Network("2001:db8:1::/64"), IPv6Network("2001:db8:2::/64")
HA, HA2, HA3 = (IPv6Address(f"2001:db8:1::{n}") for n in (1, 2, 3))
LINK2, LINK3 = IPv6Address("fe80::2"), IPv6Address("fe80::3")
COA, OTHER = IPv6Address("2001:db8:a6::5"), IPv6Address("2001:db8:a7::5")
ANYCAST = IPv6Address("2001:db8:1:0:fdff:ffff:ffff:fffe")
CONFIG = DiscoveryConfig((HA,), (HOME,), preference=10, link=4)


def discovery(seed: int = 1, **more: object) -> AgentDiscovery:
    return AgentDiscovery(replace(CONFIG, **more), random.Random(seed))  # type: ignore[arg-type]


def advertisement(
    *addresses: IPv6Address,
    preference: int | None = 0,
    lifetime: int = 1800,
    router: bool = True,
    home_agent: bool = True,
    router_lifetime: int = 1800,
    r_flag: bool = True,
) -> RouterAdvertisement:
    options: list[NdOption] = [
        PrefixInformation(address, 64, True, True, r_flag, 7200, 3600) for address in addresses
    ]
    if preference is not None:
        options.append(HomeAgentInformation(preference, lifetime, router))
    return RouterAdvertisement(64, router_lifetime, home_agent=home_agent, options=tuple(options))


def heard(
    engine: AgentDiscovery,
    message: IcmpMessage,
    source: IPv6Address = LINK2,
    now: float = 0.0,
    **more: object,
) -> list[DiscoveryEffect]:
    values: dict[str, object] = {"interface": 4, "hop_limit": 255} | more
    destination = values.pop("destination", IPv6Address("ff02::1"))
    received = IcmpReceived(build(message), source, destination, **values)  # type: ignore[arg-type]
    return engine.receive(received, now)


def ask(
    engine: AgentDiscovery, router: bool = True, now: float = 0.0, **more: object
) -> HomeAgentDiscoveryReply | None:
    """Return the answer to a request."""
    values: dict[str, object] = {"source": COA, "destination": ANYCAST, "interface": 2} | more
    message = HomeAgentDiscoveryRequest(77, router)
    effects = heard(engine, message, now=now, **values)  # type: ignore[arg-type]
    found = [e.message for e in effects if isinstance(e, SendIcmp)]
    assert len(found) <= 1
    if not found:
        return None
    assert isinstance(found[0], HomeAgentDiscoveryReply)
    return found[0]


def counts(effects: Iterable[object]) -> list[str]:
    return [e.name for e in effects if isinstance(e, Count)]


def addresses(engine: AgentDiscovery, now: float = 0.0) -> set[IPv6Address]:
    return {address for agent in engine.agents(now) for address in agent.addresses}


# --- the anycast address ---------------------------------------------------------------


def test_anycast_address() -> None:
    assert home_agents_anycast(HOME) == ANYCAST
    # RFC 2526: other sizes have ones before the identifier 126.
    assert str(home_agents_anycast(IPv6Network("2001:db8::/48"))) == (
        "2001:db8:0:ffff:ffff:ffff:ffff:fffe"
    )
    assert discovery().anycast() == (ANYCAST,)
    assert discovery(enabled=False).anycast() == ()


# --- answers ---------------------------------------------------------------------------


@pytest.mark.spec("M-093", "N-055")
def test_request_is_answered_straight_to_its_source() -> None:
    engine = discovery()
    message = HomeAgentDiscoveryRequest(77, True)
    (sent,) = [
        e for e in heard(engine, message, COA, destination=ANYCAST) if isinstance(e, SendIcmp)
    ]
    assert (sent.source, sent.destination, sent.care_of) == (HA, COA, None)
    assert sent.message == HomeAgentDiscoveryReply(77, (HA,), True)
    assert parse(build(sent.message)) == sent.message


@pytest.mark.spec("M-093")
def test_order_is_by_falling_preference() -> None:
    engine = discovery()
    heard(engine, advertisement(HA2, preference=20))
    heard(engine, advertisement(HA3, preference=5), LINK3)
    reply = ask(engine)
    assert reply is not None
    assert reply.addresses == (HA2, HA, HA3)


@pytest.mark.spec("M-093")
def test_equal_preferences_are_shuffled() -> None:
    engine = discovery()
    heard(engine, advertisement(HA2, preference=10))
    heard(engine, advertisement(HA3, preference=99), LINK3)
    first = {reply.addresses for n in range(40) if (reply := ask(engine, now=float(n)))}
    assert first == {(HA3, HA, HA2), (HA3, HA2, HA)}


@pytest.mark.spec("M-093")
def test_answer_fits_1280_octets() -> None:
    engine = discovery(preference=0)
    for n in range(AGENTS_MAX):
        mine = [HOME[0x1000 * (n + 1) + k] for k in range(ADDRESSES_MAX)]
        heard(engine, advertisement(*mine, preference=n), IPv6Address("fe80::100") + n)
    reply = ask(engine)
    assert reply is not None
    assert len(reply.addresses) == 77
    assert 40 + len(build(reply)) <= 1280
    # Those that are left out are the least preferred.
    best = {HOME[0x1000 * AGENTS_MAX + k] for k in range(ADDRESSES_MAX)}
    assert set(reply.addresses[:ADDRESSES_MAX]) == best
    assert HA not in reply.addresses


@pytest.mark.spec("N-055", "N-056")
def test_mobile_routers_get_agents_for_mobile_routers() -> None:
    engine = discovery(mobile_router=False)
    heard(engine, advertisement(HA2, preference=1, router=True))
    reply = ask(engine, router=True)
    assert reply == HomeAgentDiscoveryReply(77, (HA2,), True)
    plain = ask(engine, router=False)
    assert plain == HomeAgentDiscoveryReply(77, (HA, HA2), False)
    # None is left: plain ones, and the R bit says so.
    heard(engine, advertisement(HA2, home_agent=False))
    assert ask(engine, router=True) == HomeAgentDiscoveryReply(77, (HA,), False)


@pytest.mark.parametrize(
    ("more", "count"),
    [
        ({"destination": HA}, "dhaad_not_for_us"),
        ({"destination": home_agents_anycast(SECOND)}, "dhaad_not_for_us"),
        ({"source": IPv6Address("ff02::1")}, "dhaad_bad_source"),
        ({"source": IPv6Address(0)}, "dhaad_bad_source"),
        ({"source": LINK2}, "dhaad_bad_source"),
        ({"source": HA}, "dhaad_bad_source"),
    ],
)
def test_requests_without_answer(more: dict[str, IPv6Address], count: str) -> None:
    engine = discovery()
    values: dict[str, object] = {"source": COA, "destination": ANYCAST} | more
    effects = heard(engine, HomeAgentDiscoveryRequest(1), **values)  # type: ignore[arg-type]
    assert counts(effects) == [count]
    assert [e for e in effects if isinstance(e, SendIcmp)] == []


def test_flood_of_requests_is_limited() -> None:
    engine = discovery()
    answers = [ask(engine, now=0.001 * n) for n in range(1000)]
    assert sum(answer is not None for answer in answers) <= 31


def test_damaged_and_other_messages() -> None:
    engine = discovery()
    damaged = IcmpReceived(b"\x90\0\0\0", COA, ANYCAST, 2)
    assert counts(engine.receive(damaged, 0.0)) == ["icmp_malformed"]
    assert counts(heard(engine, HomeAgentDiscoveryReply(1, ()))) == ["icmp_not_for_home_agent"]


# --- the home agents list --------------------------------------------------------------


@pytest.mark.spec("M-092")
def test_list_is_learned_and_ends() -> None:
    engine = discovery()
    heard(engine, advertisement(HA2, preference=20, lifetime=30))
    assert addresses(engine, 29.0) == {HA, HA2}
    assert addresses(engine, 30.0) == {HA}


@pytest.mark.spec("M-092")
def test_lifetime_and_preference_without_the_option() -> None:
    engine = discovery()
    heard(engine, advertisement(HA2, preference=None, router_lifetime=50))
    (agent,) = [a for a in engine.agents(1.0) if HA2 in a.addresses]
    assert (agent.preference, agent.expires, agent.mobile_router) == (0, 50.0, False)


@pytest.mark.spec("M-092")
@pytest.mark.parametrize(
    "gone", [advertisement(HA2, home_agent=False), advertisement(HA2, lifetime=0)]
)
def test_entry_is_deleted(gone: RouterAdvertisement) -> None:
    engine = discovery()
    heard(engine, advertisement(HA2))
    assert HA2 in addresses(engine)
    heard(engine, gone)
    assert addresses(engine) == {HA}


@pytest.mark.spec("M-092")
def test_second_advertisement_resets_preference_and_adds_addresses() -> None:
    engine = discovery()
    heard(engine, advertisement(HA2, preference=1))
    heard(engine, advertisement(HA3, preference=30), now=5.0)
    (agent,) = [a for a in engine.agents(5.0) if HA2 in a.addresses]
    assert (agent.preference, agent.expires) == (30, 1805.0)
    assert set(agent.addresses) == {HA2, HA3}


@pytest.mark.parametrize(
    ("message", "more"),
    [
        # Not from this link, or not valid (RFC 4861 section 6.1.2).
        (advertisement(HA2), {"interface": 9}),
        (advertisement(HA2), {"hop_limit": 254}),
        (advertisement(HA2), {"source": OTHER}),
        # Foreign prefixes, with whatever preference.
        (advertisement(IPv6Address("2001:db8:bad::1"), preference=65535), {}),
        # The prefix, not an address; no R bit; multicast; our own address.
        (advertisement(HOME.network_address), {}),
        (advertisement(HA2, r_flag=False), {}),
        (advertisement(IPv6Address("ff02::1")), {}),
        (advertisement(HA, preference=65535), {}),
        (advertisement(HA2, home_agent=False, preference=65535), {}),
    ],
)
def test_rogue_advertisements_change_nothing(
    message: RouterAdvertisement, more: dict[str, object]
) -> None:
    engine = discovery()
    heard(engine, message, **more)  # type: ignore[arg-type]
    assert addresses(engine) == {HA}
    assert ask(engine) == HomeAgentDiscoveryReply(77, (HA,), True)


def test_rogue_takes_nobodys_address() -> None:
    engine = discovery()
    heard(engine, advertisement(HA2, preference=1))
    heard(engine, advertisement(HA2, HA, preference=65535), LINK3)
    reply = ask(engine)
    assert reply is not None
    assert reply.addresses == (HA, HA2)


def test_list_is_bounded() -> None:
    engine = discovery()
    heard(engine, advertisement(HA2))
    for n in range(500):
        effects = heard(engine, advertisement(HOME[0x100 + n]), IPv6Address("fe80::100") + n)
        if n >= AGENTS_MAX - 1:
            assert counts(effects) == ["ra_list_full"]
    assert len(engine.agents(0.0)) == AGENTS_MAX + 1
    many = [HOME[0x9000 + n] for n in range(60)]
    heard(engine, advertisement(*many))
    assert all(len(agent.addresses) <= ADDRESSES_MAX for agent in engine.agents(0.0))
    assert HA in addresses(engine)


def test_virtual_home_link_has_no_list() -> None:
    engine = discovery(link=0)
    assert counts(heard(engine, advertisement(HA2), interface=0)) == ["ra_other_link"]
    assert ask(engine) is not None


def test_reconfiguration_forgets_foreign_addresses() -> None:
    engine = discovery()
    heard(engine, advertisement(HA2))
    mine = SECOND[1]
    engine.reconfigure(replace(CONFIG, prefixes=(SECOND,), addresses=(mine,)))
    assert addresses(engine) == {mine}


# --- the mobile router ------------------------------------------------------------------


def finder() -> AgentFinder:
    return AgentFinder(HOME, chance=random.Random(5))


def request_of(effects: list[DiscoveryEffect]) -> SendIcmp:
    (sent,) = [e for e in effects if isinstance(e, SendIcmp)]
    return sent


def reply_to(
    engine: AgentFinder, message: IcmpMessage, now: float = 1.0, **more: object
) -> list[DiscoveryEffect]:
    values: dict[str, object] = {"source": HA, "destination": COA, "interface": 2} | more
    return engine.receive(IcmpReceived(build(message), **values), now)  # type: ignore[arg-type]


def found(effects: list[DiscoveryEffect]) -> list[tuple[IPv6Address, ...]]:
    return [e.addresses for e in effects if isinstance(e, HomeAgentsFound)]


@pytest.mark.spec("M-170")
def test_request_goes_to_the_anycast_address_from_the_care_of_address() -> None:
    sent = request_of(finder().start(COA, 2, 0.0))
    assert (sent.source, sent.destination, sent.interface) == (COA, ANYCAST, 2)
    assert isinstance(sent.message, HomeAgentDiscoveryRequest)
    assert sent.message.mobile_router


@pytest.mark.spec("M-170")
def test_request_is_repeated_4_times_in_doubled_intervals() -> None:
    engine = finder()
    first = request_of(engine.start(COA, 2, 0.0))
    times = []
    while (at := engine.next_timer()) is not None:
        effects = engine.handle_timer(at)
        if found(effects):
            assert found(effects) == [()]
            times.append(at)
            break
        assert request_of(effects).message == first.message
        times.append(at)
    assert times == [3.0, 9.0, 21.0, 45.0, 93.0]
    assert engine.next_timer() is None


@pytest.mark.spec("M-171")
def test_answer_is_taken_in_its_order() -> None:
    engine = finder()
    message = request_of(engine.start(COA, 2, 0.0)).message
    reply = HomeAgentDiscoveryReply(message.identifier, (HA3, HA2, HA), True)  # type: ignore[attr-defined]
    assert found(reply_to(engine, reply)) == [(HA3, HA2, HA)]
    # Once only.
    assert counts(reply_to(engine, reply)) == ["dhaad_unexpected"]


@pytest.mark.parametrize("off", [1, -1, 0x8000])
def test_answer_with_a_wrong_identifier_is_dropped(off: int) -> None:
    engine = finder()
    message = request_of(engine.start(COA, 2, 0.0)).message
    identifier = (message.identifier + off) & 0xFFFF  # type: ignore[attr-defined]
    reply = HomeAgentDiscoveryReply(identifier, (HA2,), True)
    assert counts(reply_to(engine, reply)) == ["dhaad_unexpected"]
    assert engine.next_timer() == 3.0


def test_answers_that_are_none() -> None:
    engine = finder()
    assert counts(reply_to(engine, HomeAgentDiscoveryReply(0, (HA,), True))) == ["dhaad_unexpected"]
    message = request_of(engine.start(COA, 2, 0.0)).message
    good = HomeAgentDiscoveryReply(message.identifier, (HA2,), True)  # type: ignore[attr-defined]
    for more in ({"destination": OTHER}, {"source": IPv6Address("ff02::1")}, {"source": LINK2}):
        assert counts(reply_to(engine, good, **more)) == ["dhaad_unexpected"]
    bad = (IPv6Address("ff02::1"), IPv6Address(0), LINK2)
    empty = replace(good, addresses=bad)
    assert counts(reply_to(engine, empty)) == ["dhaad_empty"]
    plain = replace(good, mobile_router=False)
    assert counts(reply_to(engine, plain)) == ["dhaad_no_router_agent"]
    other = MobilePrefixAdvertisement(message.identifier)  # type: ignore[attr-defined]
    assert counts(reply_to(engine, other)) == ["icmp_not_for_mobile_router"]
    assert counts(engine.receive(IcmpReceived(b"\x91\0", HA, COA, 2), 1.0)) == ["icmp_malformed"]
    # After all of that the right one still counts.
    assert found(reply_to(engine, good)) == [(HA2,)]


def test_oversized_answer_is_bounded() -> None:
    engine = finder()
    message = request_of(engine.start(COA, 2, 0.0)).message
    many = tuple(HOME[n] for n in range(1, 2000))
    reply = HomeAgentDiscoveryReply(message.identifier, many, True)  # type: ignore[attr-defined]
    assert found(reply_to(engine, reply)) == [many[:16]]


def test_another_care_of_address_starts_over() -> None:
    engine = finder()
    first = request_of(engine.start(COA, 2, 0.0)).message
    assert engine.start(COA, 2, 1.0) == []
    second = request_of(engine.start(OTHER, 3, 1.0)).message
    assert first != second
    late = HomeAgentDiscoveryReply(first.identifier, (HA,), True)  # type: ignore[attr-defined]
    assert found(reply_to(engine, late)) == []
    engine.stop()
    assert engine.next_timer() is None
    assert engine.handle_timer(100.0) == []
