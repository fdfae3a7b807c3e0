# SPDX-License-Identifier: GPL-2.0-only
"""A mobile router that authenticates by RFC 4285, and the home agent it registers with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from dsmip.mobility.authentication import AuthenticatingHomeAgent
from dsmip.mobility.effects import Count, Effect, Received, SendMessage
from dsmip.mobility.mobile_router import State
from dsmip.mobility.ownership import MobilityKey
from dsmip.mobility.signing import Signer
from dsmip.packet.authenticator import MN_AAA, MN_HA, sign, unsigned
from dsmip.packet.mobility import (
    BindingAcknowledgement,
    BindingRefreshRequest,
    BindingUpdate,
    build,
)
from dsmip.packet.options import (
    MobileNodeIdentifier,
    MobilityMessageAuthentication,
    ReplayProtection,
    ServiceSelection,
    find,
)
from dsmip.service.config import parse
from dsmip.service.options import ConfigError

from tests.unit.roaming import (
    BUS,
    COA6,
    HA6,
    HA_CONFIG,
    HOA,
    MR_CONFIG,
    TRAM,
    World,
    uplink4,
    uplink6,
)
from tests.unit.test_config import ROUTER, changed

KEY = MobilityKey("bus-17@example.net", 0x2001, bytes(range(16)))
OWNER = replace(BUS, authentication=KEY)
WALL = 1_800_000_000.0


class Signed(World):
    """The usual world, with a signer at the router; ``skew`` is how wrong its clock is."""

    def __init__(self, key: MobilityKey = KEY, skew: float = 0.0, **options: Any) -> None:
        self.signer = Signer(key)
        self.skew = skew
        config = replace(HA_CONFIG, owners=(OWNER, TRAM))
        super().__init__(ha_config=config, mr_config=replace(MR_CONFIG, **options))
        self.ha = AuthenticatingHomeAgent(config, self.now)
        agent, router = self.ha.receive, self.mr.receive

        def at_agent(received: Received, now: float) -> list[Effect]:
            return agent(replace(received, protected=False, wall=WALL + now), now)

        def at_router(received: Received, now: float) -> list[Effect]:
            judged = self.signer.check(replace(received, protected=False), HOA)
            return router(judged, now) if isinstance(judged, Received) else judged

        self.ha.receive = at_agent  # type: ignore[method-assign]
        self.mr.receive = at_router  # type: ignore[method-assign]

    def _send(self, who: str, effect: SendMessage) -> None:
        if who == "mr":
            effect = self.signer.sign(effect, WALL + self.now + self.skew)
            self.wire = effect.message
        super()._send(who, effect)

    def counted(self, who: str) -> list[str]:
        return [effect.name for effect in self.of(who, Count)]


@pytest.mark.spec("E-071", "E-002")
def test_who_it_is_then_what_it_selects_then_the_proof() -> None:
    world = Signed(service="ims")
    world.plug(uplink6())
    kinds = [type(option) for option in world.wire.options]  # type: ignore[attr-defined]
    order = [MobileNodeIdentifier, ServiceSelection, MobilityMessageAuthentication]
    places = [kinds.index(kind) for kind in order]
    assert places == sorted(places)
    assert kinds[-1] is MobilityMessageAuthentication
    world.run(1)
    assert world.mr.registration(world.now).state is State.REGISTERED


@pytest.mark.spec("E-010", "E-002", "E-011")
def test_every_update_says_who_sends_it_and_is_signed_last() -> None:
    world = Signed()
    world.plug(uplink6())
    world.run(3)
    assert world.mr.registration(world.now).state is State.REGISTERED
    update = world.wire
    assert isinstance(update, BindingUpdate)
    name, *_, stamp, proof = update.options
    assert name == MobileNodeIdentifier(b"bus-17@example.net", 1)
    assert isinstance(stamp, ReplayProtection)
    assert isinstance(proof, MobilityMessageAuthentication)
    assert (proof.subtype, proof.spi) == (MN_HA, 0x2001)
    # Refreshes, a handover, IPv4 and NAT, the way home.
    world.run(2000)
    for uplink in (uplink6(address=COA6 + 1), uplink4()):
        world.plug(uplink)
        world.run(5)
        assert world.mr.registration(world.now).state is State.REGISTERED
    refused = [name for name in world.counted("ha") if name.startswith("bu_refused")]
    assert refused == []


def test_behind_a_nat_the_address_that_the_router_knows_is_covered() -> None:
    from ipaddress import IPv4Address

    world = Signed()
    world.plug(uplink4(address=IPv4Address("10.0.5.2")))
    world.run(5)
    view = world.mr.registration(world.now)
    assert (view.state, view.nat) == (State.REGISTERED, True)


@pytest.mark.spec("E-016")
@pytest.mark.parametrize("skew", [-90_000.0, -60.0, 60.0, 90_000.0, -1.8e9])
def test_a_wrong_clock_is_corrected_by_the_home_agents(skew: float) -> None:
    world = Signed(skew=skew)
    world.plug(uplink6())
    world.run(4)
    assert world.counted("ha").count("bu_refused_144") == 1
    assert world.counted("mr").count("clock_adjusted") == 1
    assert world.mr.registration(world.now).state is State.REGISTERED
    # And stays so.
    world.run(1000)
    assert world.counted("ha").count("bu_refused_144") == 1


@pytest.mark.spec("E-014")
def test_after_a_refused_authentication_updates_stop_for_a_minute() -> None:
    world = Signed()
    honest = world.signer.sign

    def spoil(effect: SendMessage, wall: float) -> SendMessage:
        made = honest(effect, wall)
        proof = made.message.options[-1]
        bad = replace(proof, data=bytes(12))  # type: ignore[type-var]
        message = replace(made.message, options=(*made.message.options[:-1], bad))  # type: ignore[arg-type]
        return replace(made, message=message)

    world.signer.sign = spoil  # type: ignore[method-assign]
    world.plug(uplink6())
    world.run(59)
    assert world.mr.registration(world.now).state is State.REFUSED
    assert len(world.sent("mr", BindingUpdate)) == 1
    assert "ba_refused_146" in world.counted("mr")


class Router:
    """A signer with one update out, and answers to it."""

    def __init__(self, key: MobilityKey = KEY) -> None:
        self.signer = Signer(key)
        update = BindingUpdate(7, 60, acknowledge=True, home=True)
        self.sent = self.signer.sign(SendMessage(update, HOA, HA6), WALL)
        stamp = find(self.sent.message.options, ReplayProtection)  # type: ignore[attr-defined]
        self.stamp = stamp.timestamp if stamp else 0

    def answer(
        self,
        status: int = 0,
        sequence: int = 7,
        stamp: int | None = -1,
        key: bytes = KEY.key,
        subtype: int = MN_HA,
    ) -> Received | list[Effect]:
        options: list[Any] = []
        if stamp is not None:
            options.append(ReplayProtection(self.stamp if stamp == -1 else stamp))
        options.append(unsigned(subtype, KEY.spi))
        message = BindingAcknowledgement(status, sequence, 60, options=tuple(options))
        data = build(sign(message, subtype, key, HOA, HOA))
        return self.signer.check(Received(data, HA6, HOA, None, 1, True), HOA)


def outcome(result: Received | list[Effect]) -> str:
    if isinstance(result, Received):
        return "protected" if result.protected else "in clear"
    return next(effect.name for effect in result if isinstance(effect, Count))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "protected"),
        ({"status": 134}, "protected"),
        ({"key": bytes(16)}, "ba_auth_failed"),
        ({"status": 146, "key": bytes(16)}, "ba_auth_failed"),
        ({"status": 144, "key": bytes(16)}, "ba_auth_failed"),
        ({"subtype": MN_AAA}, "ba_auth_failed"),
        ({"stamp": None}, "ba_auth_timestamp"),
        ({"stamp": 5}, "ba_auth_timestamp"),
        ({"status": 144, "stamp": None}, "ba_auth_timestamp"),
        ({"status": 144, "stamp": (1 << 40) + 1}, "ba_auth_timestamp"),
        ({"sequence": 8}, "ba_unexpected"),
        ({"sequence": 99, "status": 135}, "protected"),
        ({"sequence": 99, "status": 135, "key": bytes(16)}, "ba_unexpected"),
    ],
)
@pytest.mark.spec("E-016")
def test_answers_count_only_under_the_key_and_for_the_update_that_was_sent(
    change: dict[str, Any], expected: str
) -> None:
    router = Router()
    assert outcome(router.answer(**change)) == expected
    # Whatever came, the right answer still counts.
    assert outcome(router.answer()) == "protected"


def test_other_messages_are_in_clear_and_damaged_ones_the_engines_business() -> None:
    router = Router()
    for data in (build(BindingRefreshRequest()), b"", b"\x3b\1\6\0"):
        received = Received(data, HA6, HOA, None, 1, True)
        assert outcome(router.signer.check(received, HOA)) == "in clear"


def test_timestamps_grow_even_when_the_clock_stands_or_is_set_back() -> None:
    signer = Signer(KEY)
    stamps = []
    for sequence, wall in enumerate((WALL, WALL, WALL - 100, WALL + 1)):
        message = SendMessage(BindingUpdate(sequence, 60), HOA, HA6)
        option = find(signer.sign(message, wall).message.options, ReplayProtection)  # type: ignore[attr-defined]
        assert option is not None
        stamps.append(option.timestamp)
    assert stamps == sorted(set(stamps))
    other = SendMessage(BindingRefreshRequest(), HOA, HA6)
    assert signer.sign(other, WALL) is other


def test_without_timestamps_none_is_sent_and_none_expected() -> None:
    router = Router(replace(KEY, timestamps=False))
    assert router.stamp == 0
    assert outcome(router.answer(stamp=None)) == "protected"
    router.signer.reconfigure(replace(KEY, spi=9999))
    assert outcome(router.answer(stamp=None)) == "ba_unexpected"


GOOD = {"static_key": None, "protection": "rfc4285", "mn_ha_key": "0f" * 16, "mn_ha_spi": 4097}


def section(**options: Any) -> Any:
    values = changed(ROUTER, "mobile_router.static_key", None)
    values["mobile_router"] |= {k: v for k, v in (GOOD | options).items() if v is not None}
    return parse(values, "test.toml").mobile_router


def test_the_router_is_told_by_its_configuration() -> None:
    found = section(nai="bus-17@example.net")
    assert found.authentication == MobilityKey("bus-17@example.net", 4097, b"\x0f" * 16)
    assert not found.optimisation.engine.enabled


@pytest.mark.spec("E-018")
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"route_optimisation": True}, 'protection = "rfc4285" excludes it'),
        ({"prefix_discovery": True}, 'protection = "rfc4285" excludes it'),
        ({"payload": "inside"}, 'protection = "rfc4285" excludes it'),
        ({"mn_ha_key": None}, "mn_ha_key: is missing"),
        ({"static_key": "8f" * 32}, '"rfc4285" excludes static_key'),
    ],
)
def test_what_it_excludes_is_said(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        section(**options)
    assert complaint in str(caught.value)
