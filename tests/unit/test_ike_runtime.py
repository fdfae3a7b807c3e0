# SPDX-License-Identifier: GPL-2.0-only
"""Two daemons' keys from IKEv2, joined in memory: registration, movement, restarts."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network
from typing import Any

import pytest
from dsmip.ipsec.association import Encapsulation
from dsmip.ipsec.movement import Ability
from dsmip.ipsec.policy import Action, Kind
from dsmip.linux.xfrm_events import Expire, Mapping
from dsmip.mobility.ownership import Owner, Ownership
from dsmip.service.config import parse
from dsmip.service.control import RequestError
from dsmip.service.ike_control import handlers
from dsmip.service.ike_kernel import LINGER

from tests.unit.ikeworld import (
    AT4,
    AT6,
    AT6B,
    AT_NAT,
    COA4,
    COA6,
    COA6B,
    HA4,
    HA6,
    HOA,
    INSIDE4,
    NAME_SERVER,
    NAT4,
    SEEN_NAT,
    World,
)
from tests.unit.test_config import changed
from tests.unit.test_ike_config import IKE_AGENT, IKE_ROUTER

NOWHERE = IPv6Address(0)
POOL = IPv6Network("2001:db8:1::4000/120")
SIGNALLING = {(HOA, HA6), (HA6, HOA)}


def world(payload: str = "none", ability: Ability = Ability.MIGRATE, **ike: Any) -> World:
    agent = changed(IKE_AGENT, "home_agent.router.0.payload", payload)
    router = changed(IKE_ROUTER, "mobile_router.payload", payload)
    return World(parse(agent | {"ike": dict(ike)}), parse(router | {"ike": dict(ike)}), ability)


def registered(payload: str = "none", ability: Ability = Ability.MIGRATE, **ike: Any) -> World:
    made = world(payload, ability, **ike)
    made.mr.keys.moved(HOA, None, AT6)
    made.run()
    made.ha.keys.moved(HOA, None, AT6)
    made.run()
    return made


def tunnel(made: World, who: str = "mr") -> set[Any]:
    """Return the ends of tunnel policies of payload."""
    side = getattr(made, who)
    (member,) = side.host.keys.members.values()
    row = member.row_of(Kind.PAYLOAD)
    outers: set[Any] = side.xfrm.outers(row.reqid)
    return outers


# --- registration -----------------------------------------------------------------------


def test_first_care_of_address_brings_keys() -> None:
    made = world()
    assert not made.mr.views(), "nothing is begun before there is a care-of address"
    assert not made.ha.keys.protects(HOA, HA6), "no policies before authentication"
    made.mr.keys.moved(HOA, None, AT6)
    made.run()
    assert made.mr.ready == [HOA]
    assert made.ha.keys.protects(HOA, HA6)
    assert made.mr.pairs() == made.ha.pairs() == SIGNALLING
    assert made.mr.spis() == made.ha.spis()
    assert made.wire.handshakes() == 1
    assert (made.mr.view().local.address, made.mr.view().remote.address) == (COA6, HA6)


@pytest.mark.parametrize("after", [0.0, 0.005, 0.015, 0.025, 0.035])
@pytest.mark.parametrize("home", ["v4 first", "v6 first"])
def test_a_handshake_under_way_goes_along(after: float, home: str) -> None:
    """A better care-of address often comes a moment after the first one."""
    made = world("rfc4877")
    first, then = (AT4, AT6) if home == "v4 first" else (AT6, AT4)
    made.mr.keys.moved(HOA, None, first)
    made.run(after)
    made.mr.keys.moved(HOA, first, then)
    made.run(2)
    # Until the first answer is there it begins anew, later it goes on.
    assert made.wire.handshakes() == (2 if after < 0.02 else 1)
    assert "ike_bad_auth" not in made.ha.host.runtime.counters
    assert made.mr.ready == [HOA]
    assert made.mr.view().local.address == made.ha.view().remote.address == then.address
    assert made.mr.spis() == made.ha.spis()
    assert len(made.mr.spis()) == 4


def test_what_is_stuck_begins_anew_from_the_same_address() -> None:
    """A link that comes back does not wait for the next retransmission."""
    made = world()
    made.wire.broken = True
    made.mr.keys.moved(HOA, None, AT6)
    made.run(20)
    made.wire.broken = False
    made.mr.keys.moved(HOA, AT6, None)
    made.mr.keys.moved(HOA, None, AT6)
    made.run(0.1)
    assert made.mr.ready == [HOA]


def test_what_comes_before_authentication_is_blocked() -> None:
    made = world()
    actions = {policy.action for policy in made.ha.xfrm.held.values()}
    assert actions == {Action.BLOCK}


def test_an_unreachable_agent_is_tried_again() -> None:
    made = world()
    made.wire.broken = True
    made.mr.keys.moved(HOA, None, AT6)
    made.run(90)
    assert made.mr.ready == []
    made.wire.broken = False
    made.run(90)
    assert made.mr.ready == [HOA]


def test_a_wrong_secret_gets_nothing() -> None:
    router = changed(IKE_ROUTER, "mobile_router.psk", "another secret")
    made = World(parse(IKE_AGENT), parse(router))
    made.mr.keys.moved(HOA, None, AT6)
    made.run(5)
    assert made.mr.ready == []
    assert not made.ha.xfrm.sas
    assert not made.ha.keys.protects(HOA, HA6)


# --- movement ---------------------------------------------------------------------------


@pytest.mark.parametrize("ability", list(Ability))
@pytest.mark.parametrize("payload", ["none", "inside", "rfc4877"])
def test_tour_without_another_handshake(payload: str, ability: Ability) -> None:
    made = registered(payload, ability)
    spis = made.mr.spis()
    assert len(spis) == (2 if payload == "none" else 4)
    for care_of, seen, ends in (
        (AT4, None, (COA4, HA4)),
        (AT_NAT, SEEN_NAT, (INSIDE4, HA4)),
        (AT6B, None, (COA6B, HA6)),
        (None, None, (HOA, HA6)),
        (AT6, None, (COA6, HA6)),
    ):
        made.move(care_of, seen=seen)
        view = made.mr.view()
        assert (view.local.address, view.remote.address) == ends
        other = made.ha.view()
        outside = NAT4 if care_of is AT_NAT else ends[0]
        assert (other.local.address, other.remote.address) == (ends[1], outside)
        moving = {ends, ends[::-1]} if payload == "rfc4877" else set()
        assert made.mr.pairs() == SIGNALLING | moving
        if payload == "rfc4877":
            active = set() if care_of is None else moving
            assert tunnel(made) == active
            there = (outside, ends[1])
            assert made.ha.pairs() == SIGNALLING | {there, there[::-1]}
            assert tunnel(made, "ha") == (set() if care_of is None else {there, there[::-1]})
            encapsulated = [one for one in made.mr.associations() if one.encapsulation]
            assert len(encapsulated) == (2 if care_of is AT_NAT else 0)
            assert len([one for one in made.ha.associations() if one.encapsulation]) == len(
                encapsulated
            )
        assert made.mr.spis() == made.ha.spis() == spis
    assert made.wire.handshakes() == 1
    assert made.mr.ready == [HOA]


def test_agent_knows_the_ports_behind_a_nat() -> None:
    made = registered("rfc4877")
    made.move(AT_NAT, seen=SEEN_NAT)
    out = next(o for o in made.ha.associations() if o.destination == NAT4)
    assert out.encapsulation == Encapsulation(4500, made.wire.nat_port + 4500)
    made.ha.tell(Mapping(HA4, _inbound(made), out.reqid, (NAT4, 44500), (NAT4, 50123)))
    out = next(o for o in made.ha.associations() if o.destination == NAT4)
    assert out.encapsulation == Encapsulation(4500, 50123)


def _inbound(made: World) -> int:
    return next(o.spi for o in made.ha.associations() if o.source == NAT4)


def test_kernel_is_told_for_others_to_hear() -> None:
    made = registered()
    made.mr.xfrm.told.clear()
    made.move(AT6B)
    assert set(made.mr.xfrm.told) == {(COA6B, HA6)}
    assert (HA6, COA6B) in made.ha.xfrm.told


def test_keys_that_do_not_follow_are_made_anew() -> None:
    made = registered()
    made.mr.keys.moved(HOA, AT6, AT6B, False, False)
    made.run()
    assert made.wire.handshakes() == 2
    assert made.mr.view().local.address == COA6B
    made.run(LINGER + 1)
    assert made.mr.spis() == made.ha.spis()
    assert len(made.mr.spis()) == 2


# --- the kernel's word ------------------------------------------------------------------


def test_a_soft_limit_renews_and_an_acquire_makes() -> None:
    made = registered()
    before = made.mr.spis()
    old = next(o for o in made.mr.associations() if o.destination == HA6)
    expire = Expire(old.source, old.destination, old.spi, old.protocol, old.reqid, False)
    made.mr.tell(expire)
    made.run(LINGER + 2)
    assert not made.mr.spis() & before
    assert made.mr.spis() == made.ha.spis()
    assert made.mr.pairs() == SIGNALLING
    for child in made.mr.view().children:
        made.mr.host.runtime.terminate(child.id)
    made.run()
    assert not made.mr.xfrm.sas
    assert made.mr.host.keys.acquired(old.reqid)
    made.run()
    assert made.mr.pairs() == SIGNALLING
    assert not made.mr.host.keys.acquired(12345)


def test_a_kernel_that_refuses_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    made = world()

    def refuse(_association: object) -> None:
        raise OSError(22, "Invalid argument")

    made.mr.xfrm.add_association = refuse  # type: ignore[method-assign]
    made.mr.keys.moved(HOA, None, AT6)
    made.run()
    assert "AddChild: Invalid argument" in caplog.text


# --- restarts ---------------------------------------------------------------------------


@pytest.mark.parametrize("payload", ["none", "rfc4877"])
def test_a_router_that_restarts_loses_no_packet(payload: str) -> None:
    made = registered(payload)
    old = made.mr.spis()
    made.restart("mr")
    assert made.mr.spis() == old, "traffic goes on"
    if payload == "rfc4877":
        assert tunnel(made) == {(COA6, HA6), (HA6, COA6)}
    made.mr.keys.moved(HOA, None, AT6)
    made.mr.keys.started()
    made.run(0.5)
    assert made.wire.handshakes() == 2
    assert old <= made.mr.spis(), "old SAs stay until the new ones carry traffic"
    made.run(LINGER + 3)
    assert not made.mr.spis() & old
    assert made.mr.spis() == made.ha.spis()
    assert len(made.mr.spis()) == len(old)


def test_an_agent_that_restarts_keeps_traffic_going() -> None:
    made = registered("rfc4877", dpd=5, retransmissions=4)
    old = made.ha.spis()
    made.restart("ha")
    made.ha.keys.moved(HOA, None, AT6)
    made.ha.keys.started()
    assert made.ha.spis() == old
    assert tunnel(made, "ha") == {(COA6, HA6), (HA6, COA6)}
    assert made.ha.keys.protects(HOA, HA6)
    for _ in range(60):
        made.run(1)
        assert len(made.mr.spis()) >= 4, "there is always a pair of SAs"
        if made.ha.views():
            break
    made.run(LINGER + 3)
    assert made.mr.spis() == made.ha.spis()
    assert not made.mr.spis() & old


def test_stopping_without_keeping_tells_the_other_side() -> None:
    made = registered()
    made.mr.keys.stop(keep=False)
    made.mr.host.stop(keep=False)
    made.run()
    assert not made.mr.xfrm.sas
    assert not made.ha.xfrm.sas
    assert made.mr.sockets.closed


# --- home addresses ---------------------------------------------------------------------


def auto(book: Ownership | None = None) -> World:
    agent = changed(IKE_AGENT, "home_agent.router.0.home_address", None)
    agent = changed(agent, "home_agent.pool6", [str(POOL)])
    agent = changed(agent, "home_agent.router.0.payload", "inside")
    router = changed(IKE_ROUTER, "mobile_router.home_address", "auto")
    router = changed(router, "mobile_router.payload", "inside")
    owner = Owner("bus-17", NOWHERE, dynamic_home_address=True)
    return World(parse(agent), parse(router), book=book or Ownership([owner], (), (POOL,)))


def test_the_home_address_comes_with_the_keys() -> None:
    made = auto()
    servers: list[tuple[IPv6Address, ...]] = []
    made.mr.host.keys.name_servers = servers.append
    made.mr.keys.moved(NOWHERE, None, AT6)
    made.run(2)
    (given,) = made.mr.brought
    assert given in POOL
    assert servers == [(NAME_SERVER,)]
    assert made.mr.ready == [given]
    ends = {(given, HA6), (HA6, given)}
    assert made.mr.pairs() == made.ha.pairs() == ends
    assert len(made.mr.spis()) == 4, "payload too"
    assert made.ha.keys.protects(given, HA6)
    made.mr.keys.moved(given, None, AT6)
    made.ha.keys.moved(given, None, AT6)
    made.move(AT6B, given)
    assert made.wire.handshakes() == 1
    assert made.mr.view().local.address == COA6B


def test_an_address_that_was_given_is_asked_for_again() -> None:
    book = Ownership([Owner("bus-17", NOWHERE, dynamic_home_address=True)], (), (POOL,))
    book.adopt("bus-17", POOL[77])
    made = auto(book)
    made.mr.keys.moved(NOWHERE, None, AT6)
    made.run(2)
    assert made.mr.brought == [POOL[77]]


def test_an_empty_pool_is_no_address() -> None:
    made = auto(Ownership([Owner("bus-17", NOWHERE, dynamic_home_address=True)]))
    made.mr.keys.moved(NOWHERE, None, AT6)
    made.run(2)
    assert made.mr.brought == []
    assert not made.ha.keys.protects(NOWHERE, HA6)


def test_anothers_home_address_is_refused() -> None:
    """RFC 4877 section 4.2: an identity may only use its own addresses."""
    other = IKE_AGENT["home_agent"]["router"][0] | {
        "identity": "tram-3",
        "home_address": "2001:db8:1::200",
        "home_address4": "198.51.100.200",
        "prefixes": ["2001:db8:200::/56"],
        "psk": "the secret of the tram",
    }
    routers = [IKE_AGENT["home_agent"]["router"][0], other]
    router = changed(IKE_ROUTER, "mobile_router.identity", "tram-3")
    router = changed(router, "mobile_router.psk", "the secret of the tram")
    made = World(parse(changed(IKE_AGENT, "home_agent.router", routers)), parse(router))
    made.mr.keys.moved(HOA, None, AT6)
    made.run(2)
    assert not made.ha.xfrm.sas
    assert not made.mr.xfrm.sas
    assert made.mr.ready == []
    assert not made.ha.keys.protects(HOA, HA6)


# --- reload and commands ------------------------------------------------------------------


def test_a_reload_touches_nothing_that_is_the_same() -> None:
    made = registered("inside")
    before = made.mr.spis()
    for side in (made.mr, made.ha):
        side.host.reconfigure(side.config.ike)
        side.keys.update(side.rows(), ())
    made.run()
    assert made.mr.spis() == made.ha.spis() == before
    assert made.wire.handshakes() == 1


def test_a_reload_adds_and_removes_children() -> None:
    made = registered()
    for side, path in ((made.mr, "mobile_router"), (made.ha, "home_agent.router.0")):
        base = IKE_ROUTER if side is made.mr else IKE_AGENT
        side.config = parse(changed(base, f"{path}.payload", "inside"))
        side.keys.update(side.rows(), ())
    made.run(2)
    assert len(made.mr.spis()) == 4
    assert made.mr.spis() == made.ha.spis()
    for side, base in ((made.mr, IKE_ROUTER), (made.ha, IKE_AGENT)):
        side.config = parse(base)
        side.keys.update(side.rows(), ())
    made.run(2)
    assert made.mr.pairs() == made.ha.pairs() == SIGNALLING
    assert len(made.mr.spis()) == 2
    assert made.wire.handshakes() == 1


def test_a_router_that_is_removed_is_cut_off() -> None:
    made = registered()
    made.ha.keys.update([], ())
    made.run(2)
    assert not made.ha.xfrm.sas
    assert not made.mr.xfrm.sas


def test_commands() -> None:
    made = registered()
    commands = handlers(made.mr.host)
    document = commands["ike.status"]({})
    (shown,) = document["connections"]
    assert shown["connection"] == shown["peer"] == "ha.example.net"
    assert shown["remote"] == {"address": str(HA6), "port": shown["remote"]["port"]}
    assert shown["children"][0]["name"] == "signalling"
    assert commands["ike.status"]({"connection": "nobody"})["connections"] == []
    before = made.mr.spis()
    commands["ike.rekey"]({"connection": "ha.example.net", "child": "signalling"})
    made.run(LINGER + 2)
    assert not made.mr.spis() & before
    spi = made.mr.view().spi_i
    assert commands["ike.rekey"]({"connection": "ha.example.net"})["id"]
    made.run(2)
    assert made.mr.view().spi_i != spi
    assert made.wire.handshakes() == 1
    assert commands["ike.initiate"]({"connection": "ha.example.net"})["child"] is None
    made.run(LINGER + 2)
    assert made.wire.handshakes() == 2
    assert made.mr.spis() == made.ha.spis()
    commands["ike.terminate"]({"id": made.mr.view().id})
    made.run(0.5)
    for name, request, said in (
        ("ike.rekey", {}, "is missing"),
        ("ike.rekey", {"connection": "moon"}, 'no IKE SA of a connection "moon"'),
        ("ike.rekey", {"id": "7"}, "is a number"),
        ("ike.terminate", {"id": 4711}, "nothing has the number"),
        ("ike.initiate", {"connection": "moon"}, "no connection is called"),
        ("ike.initiate", {}, "is missing"),
        ("ike.status", {"connection": 5}, "is a text"),
    ):
        with pytest.raises(RequestError, match=said):
            commands[name](request)


def test_documents_tell_where_a_router_is() -> None:
    made = registered("rfc4877")
    (shown,) = made.ha.keys.documents()
    assert shown["connected"]
    assert shown["outer"] == {"router": str(COA6), "agent": str(HA6), "ports": None}
    assert "2001" in str(made.mr.host.document()["connections"])
    assert replace(AT6) == AT6
