# SPDX-License-Identifier: GPL-2.0-only
"""Names in DNS for home addresses: whose they are, and what the answer says of them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address
from typing import Any

import pytest
from dsmip.mobility.effects import (
    Count,
    DropBinding,
    Effect,
    Moved,
    Note,
    Received,
    SendMessage,
    UpdateName,
)
from dsmip.mobility.home_agent import HomeAgent
from dsmip.mobility.names import ANSWER_WITHIN, PENDING_MAX, REMOVE_AGAIN, Names
from dsmip.mobility.ownership import Owner, Ownership
from dsmip.mobility.update_list import binding_update, removal
from dsmip.packet.careof import CareOf
from dsmip.packet.dns import encode_name
from dsmip.packet.mobility import BindingAcknowledgement, BindingUpdate, build
from dsmip.packet.options import AlternateCareOfAddress, DnsUpdate, find
from dsmip.packet.status import DnsUpdateStatus
from dsmip.service.config import parse

from tests.unit.roaming import BUS, COA6, HA6, HA_CONFIG, HOA, MR_CONFIG, World, uplink6
from tests.unit.test_config import AGENT, ROUTER, changed, faults

ZONE = "example.test"
NAME, TRAM_NAME = "bus-17.example.test", "tram-3.example.test"
OWNER = replace(BUS, identity=NAME)
TRAM = Owner(TRAM_NAME, IPv6Address("2001:db8:1::200"))
CONFIG = replace(HA_CONFIG, owners=(OWNER, TRAM))


class Agent:
    """A home agent's engine with its names, and what it asks for."""

    def __init__(self, zone: str = ZONE, config: Any = CONFIG) -> None:
        self.now = 100.0
        self.engine = HomeAgent(config, self.now)
        self.names = Names(zone)
        self.sequence = 10
        self.sent: list[BindingAcknowledgement] = []
        self.wishes: list[UpdateName] = []
        self.counts: list[str] = []
        self.notes: list[str] = []

    def take(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case SendMessage():
                    assert isinstance(effect.message, BindingAcknowledgement)
                    self.sent.append(effect.message)
                case UpdateName():
                    self.wishes.append(effect)
                case Count():
                    self.counts.append(effect.name)
                case Note():
                    self.notes.append(effect.text)

    def update(self, *options: Any, lifetime: int = 100, at_home: bool = False) -> None:
        self.sequence += 1
        care_of = () if at_home else (AlternateCareOfAddress(COA6),)
        message = BindingUpdate(
            self.sequence,
            lifetime,
            acknowledge=True,
            home=True,
            mobile_router=True,
            options=(*care_of, *options),
        )
        came = None if at_home else CareOf(COA6)
        received = Received(build(message), HOA, HA6, came, 2, True)
        self.filter(self.engine.receive(received, self.now))

    def filter(self, effects: list[Effect]) -> None:
        self.take(self.names.filter(effects, self.engine.ownership, self.now))

    def done(self, error: str = "", index: int = -1) -> None:
        wish = self.wishes[index]
        self.take(self.names.done(wish.home_address, wish.name, wish.remove, error, self.now))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.take(self.names.handle_timer(self.now))
        self.filter(self.engine.handle_timer(self.now))

    @property
    def status(self) -> int | None:
        option = find(self.sent[-1].options, DnsUpdate)
        return None if option is None else option.status


def wish(name: str = NAME, remove: bool = False) -> DnsUpdate:
    return DnsUpdate(encode_name(name), remove)


@pytest.mark.spec("B-010")
def test_the_acknowledgement_says_that_the_name_is_there() -> None:
    agent = Agent()
    agent.update(wish())
    assert not agent.sent, "as soon as DNS is updated, and not before"
    assert agent.engine.bindings(agent.now), "the binding does not wait"
    assert agent.wishes == [UpdateName(HOA, NAME, False)]
    agent.done()
    assert agent.status == DnsUpdateStatus.PERFORMED
    assert agent.sent[0].status == 0
    option = find(agent.sent[0].options, DnsUpdate)
    assert option == wish(), "the name comes back as it was sent"
    agent.update(wish())
    assert len(agent.wishes) == 1, "it is there already"
    assert agent.status == 0
    agent.update()
    assert agent.status is None


def test_dns_that_is_slow_or_fails_does_not_stop_the_binding() -> None:
    agent = Agent()
    agent.update(wish())
    agent.wait(ANSWER_WITHIN - 0.1)
    assert not agent.sent
    agent.wait(0.1)
    assert agent.status == DnsUpdateStatus.FAILED
    assert agent.sent[0].status == 0
    agent.done()
    assert len(agent.sent) == 1, "one answer for one update"
    agent.update(wish())
    assert agent.status == 0, "the next one hears the truth"
    other = Agent()
    other.update(wish())
    other.done("the name server says REFUSED")
    assert other.status == DnsUpdateStatus.FAILED
    assert any("REFUSED" in note for note in other.notes)
    other.update(wish())
    assert len(other.wishes) == 2, "it is tried again"


def test_updates_that_are_sent_again_are_one_wish() -> None:
    agent = Agent()
    agent.update(wish())
    agent.update(wish())
    assert len(agent.wishes) == 1
    agent.done()
    assert [message.sequence for message in agent.sent] == [agent.sequence]


@pytest.mark.spec("B-011")
@pytest.mark.parametrize(
    "name", [TRAM_NAME, "www.example.test", "example.test", "a.bus-17.example.test", "bus-17.test"]
)
def test_a_name_of_somebody_else(name: str) -> None:
    agent = Agent()
    agent.update(wish(name))
    assert agent.status == DnsUpdateStatus.ADMINISTRATIVELY_PROHIBITED
    assert agent.sent[0].status == 0, "the binding stands"
    assert not agent.wishes
    assert "dns_update_prohibited" in agent.counts
    agent.update(wish(name, remove=True))
    assert agent.status == DnsUpdateStatus.ADMINISTRATIVELY_PROHIBITED
    assert not agent.wishes


def test_names_that_an_operator_gives() -> None:
    given = replace(OWNER, dns_names=("fleet.example.test",))
    agent = Agent(config=replace(CONFIG, owners=(given, TRAM)))
    agent.update(wish())
    assert agent.status == DnsUpdateStatus.ADMINISTRATIVELY_PROHIBITED
    agent.update(wish("Fleet.Example.Test"))
    agent.done()
    assert agent.status == 0
    with pytest.raises(ValueError, match=r"fleet\.example\.test is a name of"):
        Ownership((given, replace(TRAM, dns_names=("fleet.example.test",))))
    with pytest.raises(ValueError, match=r"tram-3\.example\.test is a name of"):
        Ownership((replace(OWNER, dns_names=(TRAM_NAME,)), TRAM))


def test_without_a_zone_every_name_is_refused() -> None:
    agent = Agent(zone="")
    agent.update(wish())
    assert agent.status == DnsUpdateStatus.ADMINISTRATIVELY_PROHIBITED
    outside = Agent(zone="other.test")
    outside.update(wish())
    assert outside.status == DnsUpdateStatus.ADMINISTRATIVELY_PROHIBITED


@pytest.mark.parametrize("octets", [b"", b"\0", b"\xc0\x00", b"\x3fshort", b"a b", b"x" * 200])
def test_what_is_no_name(octets: bytes) -> None:
    agent = Agent()
    agent.update(DnsUpdate(octets))
    assert agent.status == DnsUpdateStatus.REASON_UNSPECIFIED
    assert not agent.wishes
    assert agent.counts.count("dns_update_malformed") == 1


def test_a_refused_update_touches_no_name() -> None:
    agent = Agent()
    agent.sequence = 10
    agent.update(wish())
    agent.done()
    agent.sequence -= 1
    agent.update(wish("fleet.example.test"))
    assert agent.sent[-1].status == 135
    assert len(agent.wishes) == 1


# --- the end ------------------------------------------------------------------------


@pytest.mark.spec("B-010")
def test_a_router_takes_its_name_away() -> None:
    agent = Agent()
    agent.update(wish())
    agent.done()
    agent.update(wish(remove=True), lifetime=0)
    assert agent.wishes[-1] == UpdateName(HOA, NAME, True)
    assert len(agent.wishes) == 2
    assert len(agent.sent) == 1
    agent.done()
    assert agent.status == 0
    assert not agent.names.held


@pytest.mark.spec("B-012")
def test_a_name_goes_with_its_binding() -> None:
    agent = Agent()
    agent.update(wish())
    agent.done()
    agent.wait(500)
    assert agent.wishes[-1] == UpdateName(HOA, NAME, True)
    agent.done()
    assert not agent.names.held
    assert agent.names.next_timer() is None


def test_a_stale_name_is_removed_when_dns_is_back() -> None:
    agent = Agent()
    agent.update(wish())
    agent.done()
    agent.wait(500)
    agent.done("the name server does not answer")
    assert agent.names.held == {HOA: NAME}
    assert agent.names.next_timer() == agent.now + REMOVE_AGAIN
    agent.wait(REMOVE_AGAIN)
    assert [w.remove for w in agent.wishes] == [False, True, True]
    agent.done("the name server does not answer")
    agent.update(wish())
    assert agent.wishes[-1] == UpdateName(HOA, NAME, False), "its router is back"
    agent.done()
    assert agent.status == 0
    assert agent.names.next_timer() is None
    agent.wait(2 * REMOVE_AGAIN)
    assert len(agent.wishes) == 4


def test_a_name_stays_while_its_router_is_at_home() -> None:
    agent = Agent()
    agent.update(wish())
    agent.done()
    agent.update(lifetime=0, at_home=True)
    assert not agent.engine.bindings(agent.now)
    assert len(agent.wishes) == 1
    assert agent.names.held == {HOA: NAME}


def test_a_binding_that_ends_while_its_name_is_made() -> None:
    agent = Agent()
    agent.update(wish())
    agent.filter([DropBinding(HOA), Moved(HOA, None, None)])
    assert [w.remove for w in agent.wishes] == [False, True]
    agent.done(index=0)
    agent.done(index=1)
    assert not agent.names.held


def test_another_name_replaces_the_first() -> None:
    both = replace(OWNER, dns_names=(NAME, "fleet.example.test"))
    agent = Agent(config=replace(CONFIG, owners=(both, TRAM)))
    agent.update(wish())
    agent.done()
    agent.update(wish("fleet.example.test"))
    assert agent.wishes[1:] == [
        UpdateName(HOA, NAME, True),
        UpdateName(HOA, "fleet.example.test", False),
    ]
    agent.done(index=1)
    agent.done(index=2)
    assert agent.status == 0
    assert agent.names.held == {HOA: "fleet.example.test"}


def test_what_waits_is_bounded() -> None:
    owners = tuple(
        Owner(f"n{i}.example.test", IPv6Address(f"2001:db8:1::{i + 1:x}"))
        for i in range(PENDING_MAX + 1)
    )
    ownership, names = Ownership(owners), Names(ZONE)
    counts: list[str] = []
    for owner in owners:
        answer = BindingAcknowledgement(0, 1, 1, options=(wish(owner.identity),))
        effects = names.filter([SendMessage(answer, HA6, owner.home_address)], ownership, 1.0)
        counts += [effect.name for effect in effects if isinstance(effect, Count)]
    assert counts == ["dns_update_full"]


# --- the router ---------------------------------------------------------------------


@pytest.mark.spec("B-010")
def test_a_router_asks_in_each_update_and_takes_back_at_the_end() -> None:
    world = World(mr_config=replace(MR_CONFIG, dns_name=NAME))
    world.plug(uplink6())
    world.run(5)
    sent = [effect.message for effect in world.sent("mr", BindingUpdate)]
    assert find(sent[0].options, DnsUpdate) == wish()
    assert find(sent[0].options, DnsUpdate).status == 0  # type: ignore[union-attr]
    away = removal(7, True, None, NAME)
    assert find(away.options, DnsUpdate) == wish(remove=True)
    assert find(removal(7, True).options, DnsUpdate) is None, "at home the address is in use"


@pytest.mark.parametrize("several", [False, True])
def test_what_a_router_is_told_of_its_name(several: bool) -> None:
    world = World(mr_config=replace(MR_CONFIG, dns_name=NAME, several=several))
    world.plug(uplink6())
    world.run(5)
    engine = world.mr
    assert engine.registration(world.now).name_status == DnsUpdateStatus.REASON_UNSPECIFIED
    if several:
        return
    quiet = BindingAcknowledgement(0, 1, 1)
    (note,) = engine.take_name(quiet)
    assert isinstance(note, Note)
    assert "does not update DNS" in note.text
    assert engine.take_name(quiet) == []
    (note,) = engine.take_name(replace(quiet, options=(replace(wish(), status=129),)))
    assert isinstance(note, Note)
    assert "not allowed" in note.text
    attachment = engine._at
    assert attachment is not None
    plain = binding_update(MR_CONFIG, attachment, 1, False)
    assert find(plain.options, DnsUpdate) is None


# --- configuration ------------------------------------------------------------------

DNS = {
    "server": "2001:db8:53::1",
    "zone": "Example.Test.",
    "key_name": "ha1-key",
    "secret": "c2l4dGVlbiBhbmQgc2l4dGVlbiBhcmUgMzIgb2N0ZXRz",
}


def test_configuration_of_updates() -> None:
    made = parse(changed(AGENT, "home_agent.dns_update", DNS)).home_agent
    assert made is not None
    assert made.dns_update is not None
    assert (made.dns_update.zone, made.dns_update.key.name, made.dns_update.ttl) == (
        ZONE,
        "ha1-key",
        60,
    )
    assert "sixteen" not in repr(made.dns_update)
    named = changed(AGENT, "home_agent.router.0.dns_names", ["Fleet.Example.Test"])
    section = parse(named).home_agent
    assert section is not None
    assert section.engine.owners[0].dns_names == ("fleet.example.test",)


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("secret", "short", "16 to 512 octets in base64"),
        ("zone", "a..b", "a domain name like"),
        ("server", "ns.example.test", "the address of a name server"),
        ("algorithm", "hmac-md5", "one of"),
        ("reverse_zone", "example.test", "ip6.arpa"),
        ("key", "x", "is not known"),
    ],
)
def test_mistakes_in_it(option: str, value: str, reason: str) -> None:
    found = faults(changed(AGENT, "home_agent.dns_update", DNS | {option: value}))
    assert any(reason in fault for fault in found), found
    assert not any("short" in fault for fault in found), "a secret is not repeated"


@pytest.mark.spec("B-003")
def test_the_name_that_a_router_wants_is_its_identity() -> None:
    other = changed(ROUTER, "mobile_router.dns_name", NAME)
    assert any("must be the identity" in fault for fault in faults(other))
    same = changed(other, "mobile_router.identity", NAME)
    made = parse(same).mobile_router
    assert made is not None
    assert made.engine.dns_name == made.engine.identity == NAME
