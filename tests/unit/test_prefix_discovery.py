# SPDX-License-Identifier: GPL-2.0-only
"""Mobile prefix discovery at both ends, and what a mobile router makes of it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network

import pytest
from dsmip.mobility.config import INFINITE, HomePrefix
from dsmip.mobility.discovery import IcmpReceived, SendIcmp
from dsmip.mobility.effects import Count
from dsmip.mobility.prefix_discovery import PrefixAdvertiser, PrefixConfig
from dsmip.mobility.renumbering import HomePrefixes, PrefixDiscovery, RenumberingEffect
from dsmip.packet.careof import CareOf
from dsmip.packet.icmp6 import (
    HomeAgentDiscoveryReply,
    IcmpMessage,
    MobilePrefixAdvertisement,
    MobilePrefixSolicitation,
    NdOption,
    PrefixInformation,
    UnknownNdOption,
    build,
    parse,
)

from tests.unit.roaming import COA6, COA6B, HA6, HOA, HOME, NET6, World, uplink6

NEW = IPv6Network("2001:db8:2::/64")
NEW_HOA = IPv6Address("2001:db8:2::100")
OLD_LIFE, NEW_LIFE = HomePrefix(HOME, 600, 0, True), HomePrefix(NEW, 7200, 3600)
TRAM = IPv6Address("2001:db8:1::200")


def counts(effects: Iterable[object]) -> list[str]:
    return [e.name for e in effects if isinstance(e, Count)]


def sent(effects: Iterable[object]) -> list[SendIcmp]:
    return [e for e in effects if isinstance(e, SendIcmp)]


# --- the home agent -------------------------------------------------------------------


def advertiser(lives: tuple[HomePrefix, ...] = (OLD_LIFE, NEW_LIFE)) -> PrefixAdvertiser:
    """Return a home agent's side with one binding, and delays of 10 to 20 s."""
    world = World()
    world.plug(uplink6())
    world.run(2)
    config = PrefixConfig(lives, least=10.0, most=20.0)
    return PrefixAdvertiser(config, world.ha.entries, random.Random(3))


def solicit(engine: PrefixAdvertiser, now: float = 0.0, **more: object) -> list[object]:
    values: dict[str, object] = {
        "data": build(MobilePrefixSolicitation(0x1234)),
        "source": HOA,
        "destination": HA6,
        "interface": 1,
        "care_of": CareOf(COA6),
        "protected": True,
    }
    received = IcmpReceived(**(values | more))  # type: ignore[arg-type]
    return list(engine.receive(received, now))


@pytest.mark.spec("M-095", "M-098")
def test_solicitation_is_answered_with_the_whole_list() -> None:
    (answer,) = sent(solicit(advertiser()))
    assert (answer.source, answer.destination, answer.care_of) == (HA6, HOA, CareOf(COA6))
    message = answer.message
    assert isinstance(message, MobilePrefixAdvertisement)
    assert message.identifier == 0x1234
    assert parse(build(message)) == message
    told = [o for o in message.options if isinstance(o, PrefixInformation)]
    assert [(o.prefix, o.valid_lifetime, o.preferred_lifetime) for o in told] == [
        (HOME.network_address, 600, 0),
        (NEW.network_address, 7200, 3600),
    ]


@pytest.mark.parametrize(
    ("more", "count"),
    [
        ({"protected": False}, "mps_unprotected"),
        ({"source": TRAM}, "mps_without_binding"),
        ({"destination": IPv6Address("2001:db8:1::2")}, "mps_without_binding"),
        ({"data": b"\x92\0\0"}, "icmp_malformed"),
        ({"data": build(HomeAgentDiscoveryReply(1, ()))}, "icmp_not_for_home_agent"),
    ],
)
def test_solicitations_without_answer(more: dict[str, object], count: str) -> None:
    effects = solicit(advertiser(), **more)
    assert counts(effects) == [count]
    assert sent(effects) == []


@pytest.mark.spec("M-096")
def test_no_more_than_one_advertisement_a_second() -> None:
    engine = advertiser()
    answers = [sent(solicit(engine, 0.01 * n)) for n in range(250)]
    assert sum(bool(answer) for answer in answers) == 3


@pytest.mark.spec("M-096")
def test_solicitation_that_an_advertisement_provoked_is_answered_a_second_later() -> None:
    engine = advertiser((HomePrefix(HOME),))
    engine.reconfigure(PrefixConfig((OLD_LIFE, NEW_LIFE), 10.0, 20.0), 100.0)
    at = engine.next_timer()
    assert at is not None
    assert len(sent(engine.handle_timer(at))) == 1
    assert counts(solicit(engine, at + 0.02)) == ["mps_delayed"]
    assert engine.next_timer() == at + 1.0
    (answer,) = sent(engine.handle_timer(at + 1.0))
    assert answer.message.identifier == 0x1234  # type: ignore[attr-defined]
    assert engine.next_timer() is None


@pytest.mark.spec("M-094")
def test_it_can_be_switched_off() -> None:
    engine = advertiser()
    engine.reconfigure(PrefixConfig((NEW_LIFE,), enabled=False), 0.0)
    assert counts(solicit(engine)) == ["mps_disabled"]
    assert engine.next_timer() is None


@pytest.mark.spec("M-095", "M-097")
def test_change_is_told_and_repeated_until_it_is_asked_about() -> None:
    engine = advertiser((HomePrefix(HOME),))
    engine.reconfigure(PrefixConfig((OLD_LIFE, NEW_LIFE), 10.0, 20.0), 100.0)
    times, identifiers = [], set()
    while (at := engine.next_timer()) is not None and at < 1000:
        for each in sent(engine.handle_timer(at)):
            times.append(at)
            identifiers.add(each.message.identifier)  # type: ignore[attr-defined]
            assert each.destination == HOA
    assert 110.0 <= times[0] <= 120.0
    assert [round(b - a) for a, b in itertools.pairwise(times)] == [3, 6, 12]
    assert len(identifiers) == 1


@pytest.mark.spec("M-097")
def test_solicitation_acknowledges_and_the_binding_s_end_ends_it() -> None:
    engine = advertiser((HomePrefix(HOME),))
    engine.reconfigure(PrefixConfig((OLD_LIFE, NEW_LIFE), 10.0, 20.0), 100.0)
    at = engine.next_timer()
    assert at is not None
    assert len(sent(engine.handle_timer(at))) == 1
    assert len(sent(solicit(engine, at + 1.5))) == 1
    assert engine.next_timer() is None
    engine.reconfigure(PrefixConfig((NEW_LIFE,), 10.0, 20.0), 200.0)
    engine._entries.clear()  # type: ignore[attr-defined]
    assert sent(engine.handle_timer(300.0)) == []
    assert engine.next_timer() is None


def test_same_prefixes_are_no_change() -> None:
    engine = advertiser()
    engine.reconfigure(PrefixConfig((OLD_LIFE, NEW_LIFE), 1.0, 2.0), 100.0)
    assert engine.next_timer() is None


# --- the mobile router ----------------------------------------------------------------


def router() -> PrefixDiscovery:
    return PrefixDiscovery(HOA, HOME, (NET6,), random.Random(4))


def option(
    prefix: IPv6Network, valid: int = 7200, preferred: int = 3600, autonomous: bool = True
) -> NdOption:
    return PrefixInformation(
        prefix.network_address, prefix.prefixlen, True, autonomous, False, valid, preferred
    )


OLD_OPTION, NEW_OPTION = option(HOME, 600, 0), option(NEW)


def asked(engine: PrefixDiscovery, now: float = 0.0) -> int:
    """Solicit; return the identifier."""
    (one,) = sent(engine.solicit(HOA, HA6, now))
    assert (one.source, one.destination) == (HOA, HA6)
    message = one.message
    assert isinstance(message, MobilePrefixSolicitation)
    return message.identifier


def told(
    engine: PrefixDiscovery, message: IcmpMessage, now: float = 1.0, **more: object
) -> list[RenumberingEffect]:
    values: dict[str, object] = {
        "source": HA6,
        "destination": HOA,
        "interface": 2,
        "protected": True,
    }
    received = IcmpReceived(build(message), **(values | more))  # type: ignore[arg-type]
    return engine.receive(received, HOA, HA6, now)


def homes(effects: Iterable[object]) -> list[IPv6Address]:
    found = [e.addresses for e in effects if isinstance(e, HomePrefixes)]
    assert len(found) <= 1
    return [address for address, _, _ in found[0]] if found else []


@pytest.mark.spec("M-173")
def test_new_home_address_has_the_same_interface_identifier() -> None:
    engine = router()
    identifier = asked(engine)
    effects = told(engine, MobilePrefixAdvertisement(identifier, options=(OLD_OPTION, NEW_OPTION)))
    assert homes(effects) == [NEW_HOA, HOA]
    # The old one lives on until its lifetime ends.
    assert homes(engine.handle_timer(NEW_HOA, HA6, 600.0)) == []
    assert homes(engine.handle_timer(NEW_HOA, HA6, 601.0)) == [NEW_HOA]


def test_prefix_that_is_still_preferred_stays_the_first() -> None:
    engine = router()
    identifier = asked(engine)
    options = (option(HOME, 600, 300), NEW_OPTION)
    effects = told(engine, MobilePrefixAdvertisement(identifier, options=options), 0.0)
    assert homes(effects) == [HOA, NEW_HOA]
    assert engine.next_timer() == 300.0
    assert homes(engine.handle_timer(HOA, HA6, 300.0)) == [NEW_HOA, HOA]


@pytest.mark.spec("M-172")
def test_solicitation_is_repeated_with_the_same_identifier() -> None:
    engine = router()
    first = asked(engine)
    assert engine.solicit(HOA, HA6, 1.0) == []
    times = []
    while (at := engine.next_timer()) is not None:
        effects = engine.handle_timer(HOA, HA6, at)
        for each in sent(effects):
            assert each.message.identifier == first  # type: ignore[attr-defined]
            times.append(at)
        if "mps_unanswered" in counts(effects):
            break
    assert times == [3.0, 9.0, 21.0, 45.0]
    assert engine.next_timer() is None


@pytest.mark.spec("M-172")
def test_identifiers_are_random() -> None:
    found = {asked(PrefixDiscovery(HOA, HOME)) for _ in range(20)}
    assert len(found) > 15


@pytest.mark.spec("M-173")
@pytest.mark.parametrize(
    "more",
    [
        {"protected": False},
        {"source": IPv6Address("2001:db8:1::2")},
        {"source": COA6B},
        {"destination": COA6},
    ],
)
def test_advertisement_that_is_none_of_ours(more: dict[str, object]) -> None:
    """In clear, from another home agent, to a care-of address: nothing happens at all."""
    engine = router()
    identifier = asked(engine)
    good = MobilePrefixAdvertisement(identifier, options=(OLD_OPTION, NEW_OPTION))
    effects = told(engine, good, **more)
    assert homes(effects) == []
    assert sent(effects) == []
    assert homes(told(engine, good)) == [NEW_HOA, HOA]


@pytest.mark.spec("M-173")
def test_unsolicited_advertisement_is_discarded_and_asked_about() -> None:
    engine = router()
    message = MobilePrefixAdvertisement(7, options=(OLD_OPTION, NEW_OPTION))
    effects = told(engine, message)
    assert homes(effects) == []
    assert len(sent(effects)) == 1
    # In clear it is not even asked about.
    quiet = router()
    effects = told(quiet, message, protected=False)
    assert counts(effects) == ["mpa_unprotected"]
    assert sent(effects) == []


@pytest.mark.spec("M-173")
def test_identifier_counts_once() -> None:
    engine = router()
    identifier = asked(engine)
    first = MobilePrefixAdvertisement(identifier, options=(option(HOME),))
    told(engine, first)
    again = MobilePrefixAdvertisement(identifier, options=(OLD_OPTION, NEW_OPTION))
    effects = told(engine, again, 2.0)
    assert homes(effects) == []
    assert "mpa_unsolicited" in counts(effects)


def test_flood_of_unsolicited_advertisements_asks_once() -> None:
    engine = router()
    total = 0
    for n in range(500):
        message = MobilePrefixAdvertisement(n, options=(NEW_OPTION,))
        total += len(sent(told(engine, message, 1.0 + n / 1000)))
    assert total == 1
    assert engine.prefixes == {}


@pytest.mark.parametrize(
    "bad",
    [
        option(IPv6Network("2001:db8:2::/48")),
        option(IPv6Network("ff00::/64")),
        option(IPv6Network("fe80::/64")),
        option(NEW, valid=10, preferred=20),
        option(IPv6Network("2001:db8:100:5::/64")),
        option(NEW, autonomous=False),
        UnknownNdOption(25, bytes(6)),
    ],
)
def test_prefixes_that_are_ignored(bad: NdOption) -> None:
    engine = router()
    message = MobilePrefixAdvertisement(asked(engine), options=(bad, option(HOME)))
    assert homes(told(engine, message)) == [HOA]
    assert list(engine.prefixes) == [HOME]


def test_prefixes_are_bounded() -> None:
    engine = router()
    many = tuple(option(IPv6Network((int(NEW[0]) + (n << 64), 64))) for n in range(40))
    effects = told(engine, MobilePrefixAdvertisement(asked(engine), options=(OLD_OPTION, *many)))
    assert len(homes(effects)) == 4
    assert counts(effects).count("mpa_too_many_prefixes") == 37


def test_prefixes_outlive_a_restart() -> None:
    engine = router()
    effects = engine.adopt([replace(OLD_LIFE, since=-100.0), NEW_LIFE], 0.0)
    assert homes(effects) == [NEW_HOA, HOA]
    assert homes(engine.handle_timer(NEW_HOA, HA6, 500.0)) == [NEW_HOA]
    gone = router()
    assert homes(gone.adopt([replace(OLD_LIFE, since=-700.0)], 0.0)) == []


def test_they_are_asked_for_again_before_they_end() -> None:
    engine = router()
    told(engine, MobilePrefixAdvertisement(asked(engine), options=(OLD_OPTION, NEW_OPTION)), 0.0)
    assert engine.next_timer() == 450.0
    assert len(sent(engine.handle_timer(NEW_HOA, HA6, 450.0))) == 1
    forever = router()
    endless = option(HOME, INFINITE, INFINITE)
    told(forever, MobilePrefixAdvertisement(asked(forever), options=(endless,)), 0.0)
    assert forever.next_timer() is None
