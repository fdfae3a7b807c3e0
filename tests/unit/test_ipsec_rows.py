# SPDX-License-Identifier: GPL-2.0-only
"""Rows of RFC 3776 and 4877 for both ends, judged by packets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from dsmip.ipsec.association import (
    Association,
    Cipher,
    Encapsulation,
    Integrity,
    SecurityProtocol,
)
from dsmip.ipsec.policy import (
    MOBILITY_HEADER,
    PRIORITY,
    REQID,
    REQIDS,
    Action,
    Direction,
    Ends,
    Form,
    Kind,
    Mobile,
    Mode,
    Numbering,
    Place,
    Policy,
    Protection,
    Role,
    Whereabouts,
    associations,
    block_policy,
    blocking,
    bypass_policies,
    first_reqid,
    is_our_reqid,
    is_ours,
    kind_of,
    policies,
    protecting,
    rows,
    signalling_row,
)
from dsmip.ipsec.static import LEAST_SPI, derive

HOA, HA = IPv6Address("2001:db8:1::100"), IPv6Address("2001:db8:1::1")
HOA4, HA4 = IPv4Address("198.51.100.100"), IPv4Address("198.51.100.1")
COA, COA4 = IPv6Address("2001:db8:a::2"), IPv4Address("10.0.5.2")
NET6, NET4 = IPv6Network("2001:db8:100::/56"), IPv4Network("203.0.113.0/28")
GUESTS = IPv4Network("192.168.7.0/24")
FIRST = first_reqid("bus-17")
BUS = Mobile(HOA, HA, FIRST, HOA4, (NET6, NET4), (GUESTS,))
ALL = Protection(
    prefix_discovery=True,
    return_routability=Form.RFC4877,
    payload=Form.RFC4877,
    delegation=True,
)
AWAY, NATTED = Ends(COA, HA), Ends(COA4, HA4, (4500, 20001))
ROUTER, AGENT = Role.MOBILE_ROUTER, Role.HOME_AGENT
IN, OUT, FORWARD = Direction.IN, Direction.OUT, Direction.FORWARD
HOME, UNKNOWN = Whereabouts.HOME, Whereabouts.UNKNOWN
ROW = signalling_row(HOA, HA, FIRST)
KEYS = derive(b"s" * 32, HOA, HA)


@dataclass(frozen=True, slots=True)
class Packet:
    """What policies look at; ``kind`` is a message type."""

    source: str
    destination: str
    protocol: int = 6
    kind: int | None = None
    ports: tuple[int, int] = (40000, 443)


def lookup(found: Iterable[Policy], direction: Direction, packet: Packet) -> Policy | None:
    """Return the policy that the kernel would find, as RFC 4301 section 4.4.1 has it."""
    source, destination = ip_address(packet.source), ip_address(packet.destination)
    fields = packet.ports if packet.kind is None else (packet.kind, 0)
    matching = [
        policy
        for policy in found
        if policy.direction is direction
        and source in policy.selector.source
        and destination in policy.selector.destination
        and policy.selector.protocol in (0, packet.protocol)
        and all(
            wanted in (None, given)
            for wanted, given in zip(
                (policy.selector.source_port, policy.selector.destination_port),
                fields,
                strict=True,
            )
        )
    ]
    matching.sort(key=lambda policy: policy.priority)
    assert (
        len(matching) < 2
        or matching[0].priority < matching[1].priority
        or (matching[0].action is matching[1].action)
    ), "two policies of one rank disagree"
    return matching[0] if matching else None


def everything(role: Role, place: Place, protection: Protection = ALL) -> list[Policy]:
    made = policies(BUS, protection, role, place)
    return [*made, *bypass_policies(role, (HA, HA4))]


def verdict(role: Role, place: Place, direction: Direction, packet: Packet) -> str:
    """Return what happens: the row that protects, "block", "bypass" or "clear"."""
    policy = lookup(everything(role, place), direction, packet)
    if policy is None:
        return "clear"
    if policy.action is not Action.PROTECT:
        return str(policy.action.value)
    assert policy.template is not None
    kind = kind_of(policy.template.reqid)
    assert kind is not None
    return kind.name.lower()


# --- the table -------------------------------------------------------------------

BU = Packet(str(HOA), str(HA), MOBILITY_HEADER, 5)
BA = Packet(str(HA), str(HOA), MOBILITY_HEADER, 6)
HOTI = Packet(str(HOA), "2001:db8:c::2", MOBILITY_HEADER, 1)
HOT = Packet("2001:db8:c::2", str(HOA), MOBILITY_HEADER, 3)
BU_TO_CN = replace(HOTI, kind=5)
MPS = Packet(str(HOA), str(HA), 58, 146)
MPA = Packet(str(HA), str(HOA), 58, 147)
ECHO = Packet(str(HOA), str(HA), 58, 128)
UP = Packet("2001:db8:100::9", "2001:db8:c::2")
DOWN = Packet("2001:db8:c::2", "2001:db8:100::9")
UP4 = Packet("203.0.113.2", "192.0.2.2")
DOWN4 = Packet("192.0.2.2", "203.0.113.2")
UP_HOME4 = Packet(str(HOA4), "192.0.2.2")
DOWN_HOME = Packet("2001:db8:c::2", str(HOA))

ROUTER_AWAY = [
    (OUT, BU, "signalling"),
    (IN, BA, "signalling"),
    (OUT, HOTI, "return_routability"),
    (IN, HOT, "return_routability"),
    (OUT, BU_TO_CN, "payload"),
    (OUT, MPS, "prefix_discovery"),
    (IN, MPA, "prefix_discovery"),
    (OUT, ECHO, "payload"),
    (OUT, UP, "payload"),
    (OUT, UP4, "payload"),
    (OUT, UP_HOME4, "payload"),
    (FORWARD, DOWN, "payload"),
    (IN, DOWN, "payload"),
    (FORWARD, DOWN4, "payload"),
    (IN, DOWN_HOME, "payload"),
    # LAN hosts, to the router and to each other; a guest network too.
    (IN, Packet("2001:db8:100::9", "2001:db8:100::1"), "bypass"),
    (OUT, Packet("2001:db8:100::1", "2001:db8:100::9"), "bypass"),
    (FORWARD, Packet("2001:db8:100::9", "2001:db8:100:1::9"), "bypass"),
    (IN, Packet("2001:db8:100::9", str(HOA)), "bypass"),
    (FORWARD, Packet("192.168.7.3", "203.0.113.2"), "bypass"),
    (OUT, Packet("203.0.113.2", "192.168.7.3"), "bypass"),
    # What comes from the LAN is judged when it leaves.
    (FORWARD, UP, "clear"),
    # Not the mobile network's at all.
    (OUT, Packet(str(COA), str(HA), 50), "bypass"),
    (OUT, Packet(str(COA), "2001:db8:c::2"), "clear"),
    (OUT, Packet("192.168.7.3", "192.0.2.2"), "clear"),
]
AGENT_AWAY = [
    (IN, BU, "signalling"),
    (OUT, BA, "signalling"),
    (FORWARD, HOTI, "return_routability"),
    (IN, replace(HOTI, destination="2001:db8:1::7"), "return_routability"),
    (OUT, HOT, "return_routability"),
    (IN, MPS, "prefix_discovery"),
    (OUT, MPA, "prefix_discovery"),
    (FORWARD, UP, "payload"),
    (IN, Packet("2001:db8:100::9", str(HA)), "payload"),
    (OUT, DOWN, "payload"),
    (OUT, DOWN4, "payload"),
    (FORWARD, UP4, "payload"),
    (OUT, DOWN_HOME, "payload"),
    (FORWARD, DOWN, "clear"),
    (FORWARD, Packet("2001:db8:c::2", "2001:db8:1::9"), "clear"),
]


@pytest.mark.parametrize(("direction", "packet", "wanted"), ROUTER_AWAY)
def test_router_away(direction: Direction, packet: Packet, wanted: str) -> None:
    assert verdict(ROUTER, AWAY, direction, packet) == wanted
    assert verdict(ROUTER, NATTED, direction, packet) == wanted


@pytest.mark.parametrize(("direction", "packet", "wanted"), AGENT_AWAY)
def test_agent_with_a_binding(direction: Direction, packet: Packet, wanted: str) -> None:
    assert verdict(AGENT, AWAY, direction, packet) == wanted
    assert verdict(AGENT, NATTED, direction, packet) == wanted


def test_at_home_transport_rows_stay_and_tunnel_rows_are_off() -> None:
    """RFC 3776 section 4.2."""
    for direction, packet, wanted in ROUTER_AWAY:
        transport = wanted in ("signalling", "prefix_discovery")
        found = verdict(ROUTER, HOME, direction, packet)
        assert found == wanted if transport else found in ("clear", "bypass")
    assert verdict(AGENT, HOME, IN, BU) == "signalling"
    assert verdict(AGENT, HOME, OUT, DOWN) == "clear"
    assert verdict(AGENT, HOME, IN, replace(HOTI, destination="2001:db8:1::7")) == "block"


def test_before_there_is_a_care_of_address_nothing_passes() -> None:
    for direction, packet, wanted in ROUTER_AWAY:
        found = verdict(ROUTER, UNKNOWN, direction, packet)
        tunnelled = wanted in ("payload", "return_routability")
        assert found == ("block" if tunnelled else wanted)
    # The inside form needs none: its policies protect at once.
    made = policies(BUS, replace(ALL, payload=Form.INSIDE), ROUTER, UNKNOWN)
    policy = lookup(made, OUT, UP)
    assert policy is not None
    assert policy.action is Action.PROTECT


@pytest.mark.parametrize("place", [AWAY, NATTED, UNKNOWN])
def test_what_nothing_may_catch(place: Place) -> None:
    """IKE, the tunnel, IPsec itself, neighbour discovery, the link."""
    for agent, router in ((HA, HOA), (HA4, HOA4)):
        for port in (500, 4500, 4191):
            out = Packet(str(router), str(agent), 17, ports=(port, port))
            back = Packet(str(agent), str(router), 17, ports=(port, 20001))
            ways = ((ROUTER, OUT, out), (ROUTER, IN, back), (AGENT, IN, out), (AGENT, OUT, back))
            for role, direction, packet in ways:
                if role is ROUTER or place is not UNKNOWN:
                    assert verdict(role, place, direction, packet) == "bypass"
        for protocol in (50, 51):
            assert verdict(ROUTER, place, OUT, Packet(str(router), str(agent), protocol)) == (
                "bypass"
            )
    for kind in range(133, 138):
        solicit = Packet("2001:db8:100::1", "2001:db8:100::9", 58, kind)
        assert verdict(ROUTER, place, OUT, solicit) == "bypass"
        from_home = Packet(str(HOA), str(HA), 58, kind)
        assert verdict(ROUTER, place, OUT, from_home) == "bypass"
    for source, destination in (
        ("2001:db8:100::1", "ff02::fb"),
        ("2001:db8:100::1", "fe80::9"),
        ("203.0.113.1", "224.0.0.251"),
        ("203.0.113.1", "255.255.255.255"),
    ):
        assert verdict(ROUTER, place, OUT, Packet(source, destination, 17)) == "bypass"
    assert verdict(ROUTER, place, IN, Packet("fe80::9", "2001:db8:100::1", 17)) == "bypass"
    # IKE of a host on the LAN with somebody else is payload like any other.
    own = Packet("2001:db8:100::9", "2001:db8:c::2", 17, ports=(500, 500))
    assert verdict(ROUTER, place, OUT, own) in ("payload", "block")


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize("place", [AWAY, NATTED])
def test_both_ends_protect_the_same_packets(form: Form, place: Ends) -> None:
    """What one end sends under protection the other accepts only so (RFC 3776 5.2.1)."""
    protection = replace(ALL, payload=form, return_routability=form)
    for row in rows(BUS, protection):
        for one, other in ((ROUTER, AGENT), (AGENT, ROUTER)):
            sent = {
                (replace(p.selector, source_port=None), p.template)
                for p in protecting(row, one, place)
                if p.direction is OUT
            }
            for direction in (IN, FORWARD) if row.mode is Mode.TUNNEL else (IN,):
                taken = {
                    (replace(p.selector, source_port=None), p.template)
                    for p in protecting(row, other, place)
                    if p.direction is direction
                }
                assert taken == sent


def test_outer_ends() -> None:
    for row in rows(BUS, ALL):
        for policy in protecting(row, ROUTER, NATTED):
            assert policy.template is not None
            outer = policy.template.outer
            if row.mode is Mode.TRANSPORT:
                assert outer is None
            else:
                assert outer == ((COA4, HA4) if policy.direction is OUT else (HA4, COA4))
    for row in rows(BUS, Protection(signalling=False, payload=Form.INSIDE)):
        assert not row.moves
        for policy in protecting(row, AGENT, NATTED):
            assert policy.template is not None
            assert policy.template.outer == ((HA, HOA) if policy.direction is OUT else (HOA, HA))


def test_authentication_header_where_configured() -> None:
    """But return routability is always ESP: both services are a must (RFC 4877 4.3)."""
    protection = replace(ALL, protocol=SecurityProtocol.AH)
    found = {row.kind: row.security for row in rows(BUS, protection)}
    assert found.pop(Kind.RETURN_ROUTABILITY) is SecurityProtocol.ESP
    assert set(found.values()) == {SecurityProtocol.AH}


def test_only_what_is_asked_for() -> None:
    assert rows(BUS, Protection(signalling=False)) == ()
    assert policies(BUS, Protection(signalling=False), AGENT, AWAY) == ()
    assert [row.kind for row in rows(BUS, Protection())] == [Kind.SIGNALLING]
    assert {row.kind for row in rows(BUS, ALL)} == set(Kind)
    small = Mobile(HOA, HA, FIRST)
    (row,) = rows(small, Protection(signalling=False, payload=Form.INSIDE))
    assert len(protecting(row, ROUTER)) == 3


def test_one_policy_for_each_selector() -> None:
    """The kernel holds no more; what comes later would replace what came first."""
    for role in Role:
        for place in (AWAY, NATTED, HOME, UNKNOWN):
            for payload in (None, *Form):
                for routability in (None, *Form):
                    protection = replace(ALL, payload=payload, return_routability=routability)
                    found = everything(role, place, protection)
                    selectors = [(one.direction, one.selector) for one in found]
                    assert len(selectors) == len(set(selectors))
                    assert all(is_ours(policy) for policy in found)


def test_block_comes_after_protection() -> None:
    block = block_policy(HOA)
    assert (block.action, block.direction) == (Action.BLOCK, IN)
    assert all(
        policy.priority < block.priority
        for row in rows(BUS, ALL)
        for policy in protecting(row, AGENT, AWAY)
    )
    assert is_ours(block)
    assert not is_ours(replace(block, priority=PRIORITY - 1))
    # A whole home prefix: nobody there is heard unless a row vouches for him.
    generic = block_policy(IPv6Network("2001:db8:1::/64"))
    stranger = Packet("2001:db8:1::666", str(HA), MOBILITY_HEADER, 5)
    assert lookup([generic, *everything(AGENT, AWAY)], IN, stranger) is generic
    found = lookup([generic, *everything(AGENT, AWAY)], IN, BU)
    assert found is not None
    assert found.action is Action.PROTECT
    assert all(policy.template is None for policy in blocking(rows(BUS, ALL)[2], AGENT))


# --- request ids -----------------------------------------------------------------


def test_request_ids_are_each_rows_own() -> None:
    found = {row.kind: row.reqid for row in rows(BUS, ALL)}
    assert found == {kind: FIRST + kind for kind in Kind}
    assert {kind_of(reqid) for reqid in found.values()} == set(Kind)
    assert kind_of(FIRST + REQIDS - 1) is None
    assert kind_of(7) is None
    assert all(is_our_reqid(reqid) for reqid in found.values())


def test_request_ids_outlive_restarts() -> None:
    """External key managers are configured with them, so they are fixed for ever."""
    assert first_reqid("bus-17") == 0x5D89BE98
    assert first_reqid("2001:db8:1::100") == 0x5DA2C560
    assert first_reqid("bus-17") % REQIDS == 0


def test_numbers_that_meet_are_kept_apart() -> None:
    numbering = Numbering()
    names = [f"bus-{number}" for number in range(5000)]
    found = {name: numbering.first(name) for name in names}
    assert len(set(found.values())) == len(names)
    assert sum(first_reqid(name) != found[name] for name in names) > 0
    assert {name: numbering.first(name) for name in names} == found
    assert all(reqid >= REQID and is_our_reqid(reqid) for reqid in found.values())
    with pytest.raises(ValueError, match="bus-7"):
        numbering.first("tram", found["bus-7"])
    numbering.release("bus-7")
    assert numbering.first("tram", found["bus-7"]) == found["bus-7"]
    assert numbering.first("tram", 1000) == 1000
    assert numbering.first("tram") == 1000
    assert numbering.first("bus-7") == found["bus-7"]


# --- associations ----------------------------------------------------------------


def test_static_associations_are_the_same_at_both_ends() -> None:
    to_agent, to_router = associations(ROW, KEYS)
    assert (to_agent.source, to_agent.destination) == (HOA, HA)
    assert (to_router.source, to_router.destination) == (HA, HOA)
    assert to_agent.selector is not None
    assert to_agent.selector.protocol == MOBILITY_HEADER
    assert to_agent.replay_window == to_router.replay_window == 0
    assert (to_agent.cipher, to_agent.integrity) == (
        Cipher.AES_CBC,
        Integrity.HMAC_SHA2_256_128,
    )
    payload = rows(BUS, ALL)[-1]
    up, down = associations(payload, KEYS, NATTED)
    assert up.ends == (COA4, HA4)
    assert up.encapsulation == Encapsulation(4500, 20001)
    assert down.ends == (HA4, COA4)
    assert down.encapsulation == Encapsulation(20001, 4500)
    assert up.selector is None
    assert up.at((COA, HA), None).ends == (COA, HA)


def test_keys_differ_by_direction_pair_and_secret() -> None:
    """One secret for two routers, or one router at two agents, never means one key."""
    found = []
    for secret in (b"a" * 16, b"b" * 16):
        for home in (HOA, HOA + 1):
            for agent in (HA, HA + 1):
                keys = derive(secret, home, agent)
                for way in (keys.to_agent, keys.to_router):
                    assert way.spi >= LEAST_SPI
                    found += [way.encryption_key, way.authentication_key]
    assert len(set(found)) == len(found) == 32


def test_keys_stay_out_of_texts() -> None:
    shown = repr(KEYS) + repr(associations(ROW, KEYS))
    assert KEYS.to_agent.encryption_key.hex() not in shown
    assert repr(KEYS.to_agent.encryption_key) not in shown


GOOD = associations(ROW, KEYS)[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"encryption_key": b"k" * 15},
        {"authentication_key": b"k" * 20},
        {"cipher": Cipher.AES_GCM_16, "encryption_key": b"k" * 20},
        {"cipher": Cipher.AES_GCM_16, "integrity": Integrity.NONE, "authentication_key": b""},
        {"integrity": Integrity.NONE, "authentication_key": b""},
        {"cipher": Cipher.NONE, "encryption_key": b""},
        {"protocol": SecurityProtocol.AH},
        {"esn": True},
    ],
)
def test_what_is_no_association(wrong: dict[str, object]) -> None:
    """Integrity is never missing, nor double; sizes are those of the algorithms."""
    with pytest.raises(ValueError, match=r"key|ESP|AH|go with|numbers"):
        replace(GOOD, **wrong)  # type: ignore[arg-type]
    good: Association = replace(
        GOOD,
        cipher=Cipher.CHACHA20_POLY1305,
        encryption_key=b"k" * 36,
        integrity=Integrity.NONE,
        authentication_key=b"",
    )
    assert good.cipher.counter_mode
