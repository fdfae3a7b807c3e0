# SPDX-License-Identifier: GPL-2.0-only
"""Direct paths in the daemon: configuration, routes, policies, roles, what people read."""

from __future__ import annotations

import asyncio
import re
import struct
import tomllib
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path as FilePath
from types import SimpleNamespace
from typing import Any

import pytest
from dsmip.ipsec.policy import Direction
from dsmip.linux.dsmip import BindingState, KernelEvent, Traffic, decode_binding, encode_binding
from dsmip.linux.icmp_errors import IcmpError, only
from dsmip.linux.icmp_errors import parse as parse_error
from dsmip.linux.mobility_socket import Datagram
from dsmip.linux.rtnl import TABLE_MAIN, Route, Rule
from dsmip.linux.xfrm_codec import decode_policy, encode_policy
from dsmip.mobility.config import (
    CorrespondentConfig,
    MobileRouterConfig,
    RouteOptimisationConfig,
)
from dsmip.mobility.router_view import RegistrationView, State
from dsmip.packet.authenticator import authorize, binding_key
from dsmip.packet.careof import CareOf, WireKind
from dsmip.packet.extension import build_routing
from dsmip.packet.kernel import KernelBinding, Path, PathEvent
from dsmip.packet.mobility import (
    BindingAcknowledgement,
    BindingUpdate,
    CareOfTest,
    CareOfTestInit,
    HomeTest,
    HomeTestInit,
    build,
    parse,
)
from dsmip.service import render, render_direct
from dsmip.service.config import parse as parse_config
from dsmip.service.correspondent import (
    TABLE,
    CorrespondentRole,
    DirectRouting,
    destination_of,
    is_correspondents,
)
from dsmip.service.direct import direct_bindings
from dsmip.service.direct_config import CorrespondentSection, OptimisationSection
from dsmip.service.history import History
from dsmip.service.keys import Keys
from dsmip.service.optimiser import RouteOptimisationRole
from dsmip.service.options import ConfigError
from dsmip.service.roles import Kernel

from tests.unit.fakexfrm import FakeXfrm
from tests.unit.optimising import BY_COA, CN, COA, COA2, COOKIE, HA6, HOA, Node, Pair
from tests.unit.test_config import AGENT, ROUTER, SECRET, changed
from tests.unit.test_keys import started
from tests.unit.test_routing import Table

DEVICE = 9
ROUTE = Route(IPv6Network(HOA), DEVICE, TABLE, source=CN)


# --- configuration -------------------------------------------------------------------


def problems(values: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(values)
    return str(caught.value)


def test_a_correspondent_needs_nothing_but_its_section() -> None:
    config = parse_config({"correspondent": {}})
    assert config.correspondent == CorrespondentSection(CorrespondentConfig())
    given = parse_config(
        {
            "correspondent": {
                "addresses": ["2001:db8:c::2"],
                "home_prefixes": ["2001:db8:1::/64"],
                "lifetime": 60,
                "bindings_max": 5,
            }
        }
    ).correspondent
    assert given is not None
    assert given.engine == CorrespondentConfig((CN,), (IPv6Network("2001:db8:1::/64"),), 60, 5)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("lifetime", 421, "lifetime"),
        ("lifetime", 3, "lifetime"),
        ("bindings_max", 0, "bindings_max"),
        ("addresses", ["192.0.2.1"], "addresses"),
        ("unknown", 1, "unknown"),
    ],
)
def test_what_a_correspondent_cannot_be_told(option: str, value: object, said: str) -> None:
    text = problems({"correspondent": {option: value}})
    assert "[correspondent]" in text
    assert said in text


def test_a_mobile_router_is_no_correspondent() -> None:
    assert "mobile router cannot" in problems(ROUTER | {"correspondent": {}})
    assert parse_config(AGENT | {"correspondent": {}}).correspondent is not None


@pytest.mark.spec("M-188")
def test_route_optimisation_is_on_but_for_protected_payload() -> None:
    def optimisation(**options: object) -> Any:
        values = ROUTER
        for name, value in options.items():
            values = changed(values, f"mobile_router.{name}", value)
        section = parse_config(values).mobile_router
        assert section is not None
        return section.optimisation.engine

    assert optimisation().enabled
    assert optimisation().correspondents == ()
    assert not optimisation(route_optimisation=False).enabled
    assert not optimisation(payload="inside").enabled
    listed = optimisation(correspondents=["2001:db8:c::/48"])
    assert listed.correspondents == (IPv6Network("2001:db8:c::/48"),)
    assert not listed.protected_tests
    assert optimisation(return_routability="inside").protected_tests


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"payload": "inside", "route_optimisation": True}, "in clear"),
        ({"payload": "inside", "correspondents": ["2001:db8:c::/48"]}, "in clear"),
        ({"route_optimisation": False, "correspondents": ["2001:db8:c::/48"]}, "= true"),
        ({"correspondents": ["192.0.2.0/24"]}, "correspondents"),
    ],
)
def test_what_route_optimisation_cannot_be_told(options: dict[str, object], said: str) -> None:
    values = ROUTER
    for name, value in options.items():
        values = changed(values, f"mobile_router.{name}", value)
    assert said in problems(values)


# --- routes, policies, kernel ------------------------------------------------------------


def kernel_binding(pair: Pair | None = None) -> KernelBinding:
    node = Node(pair).test()
    node.send(node.update())
    return node.pair.kernel["cn"][HOA]


def test_routes_are_for_what_this_host_sends_itself_but_signalling() -> None:
    table = Table()
    routing = DirectRouting(table, DEVICE)
    routing.start(())
    first, second = sorted(table.ruled, key=lambda rule: rule.priority)
    assert (first.table, first.own, first.protocol) == (TABLE_MAIN, True, 135)
    assert (second.table, second.own, second.protocol) == (TABLE, True, 0)
    routing.bind(kernel_binding())
    assert table.ways == [ROUTE]
    before = len(table.log)
    routing.bind(kernel_binding())
    assert len(table.log) == before
    routing.unbind(HOA)
    routing.unbind(HOA)
    assert table.ways == []
    routing.bind(kernel_binding())
    routing.clear()
    assert (table.ways, table.ruled) == ([], [])


def test_routes_of_a_former_daemon() -> None:
    table = Table()
    stale = replace(ROUTE, destination=IPv6Network(HOA + 1))
    table.ways = [ROUTE, stale]
    routing = DirectRouting(table, DEVICE)
    routing.start([kernel_binding()])
    assert table.ways == [ROUTE]
    assert ("add", ROUTE) not in table.log
    # A route that the kernel refuses is tried again with the next update.
    table = Table()
    table.refuses = ROUTE
    routing = DirectRouting(table, DEVICE)
    routing.start([kernel_binding()])
    table.refuses = None
    routing.bind(kernel_binding())
    assert table.ways == [ROUTE]


def test_rules_are_read_as_they_were_written() -> None:
    from dsmip.linux.rtnl import Rtnl, decode_rule

    rtnl = Rtnl()
    for rule in (Rule(4186, TABLE_MAIN, own=True, protocol=135), Rule(4187, TABLE, own=True)):
        assert decode_rule(memoryview(rtnl._rule_body(rule))) == rule


def test_direct_bindings_are_read_as_they_were_written() -> None:
    mine = kernel_binding()
    pair = Pair().bound()
    for binding in (mine, pair.kernel["mr"][CN], replace(mine, direct=False)):
        payload = b"\0" * 4 + encode_binding(binding)
        assert decode_binding(memoryview(payload)).binding.direct is binding.direct
    states = [BindingState(one, Traffic(), ()) for one in (mine, pair.kernel["mr"][CN])]
    assert direct_bindings(states, mobile=False) == [mine]
    assert direct_bindings(states, mobile=True) == [pair.kernel["mr"][CN]]


def test_correspondents_are_let_in_and_out_again() -> None:
    xfrm = FakeXfrm()
    keys = started(changed(ROUTER, "mobile_router.return_routability", "inside"), xfrm)
    before = set(xfrm.policies())
    keys.admit(HOA, frozenset((CN, COA2)))
    added = set(xfrm.policies()) - before
    assert {one.selector.source for one in added} == {IPv6Network(CN), IPv6Network(COA2)}
    for policy in added:
        assert policy.direction is Direction.IN
        assert policy.selector.destination == IPv6Network(HOA)
        # In ESP by the home agent's tunnel, or in clear: that is all that it allows.
        assert policy.template is not None
        assert policy.template.optional
        assert policy.template.outer == (HA6, HOA)
        packed = bytes(encode_policy(policy))
        assert decode_policy(memoryview(packed)) == policy
        # Before what protects Home Tests of everybody, and no wider than needed.
        assert policy.priority < min(
            one.priority
            for one in before
            if one.direction is Direction.IN and one.selector.source == IPv6Network("::/0")
        )
    # A reload does not take them away.
    config = parse_config(changed(ROUTER, "mobile_router.return_routability", "inside"))
    from tests.unit.test_keys import rows

    keys.update(rows(config))
    assert added <= set(xfrm.policies())
    keys.admit(HOA, frozenset((CN,)))
    assert len(added & set(xfrm.policies())) == 1
    keys.admit(HOA, frozenset())
    assert set(xfrm.policies()) == before


# --- what comes in --------------------------------------------------------------------------


def test_whose_message_it_is() -> None:
    mine = [HomeTestInit(COOKIE), CareOfTestInit(COOKIE), BindingUpdate(1, 1)]
    others = [
        HomeTest(1, COOKIE, COOKIE),
        BindingUpdate(1, 1, home=True),
        BindingUpdate(1, 1, mobile_router=True),
    ]
    assert all(is_correspondents(bytes(build(one, HOA, CN))) for one in mine)
    assert not any(is_correspondents(bytes(build(one, HOA, CN))) for one in others)
    for short in (b"", b"\x3b\0\1", bytes(8)):
        assert not is_correspondents(short)


def test_which_errors_are_heard() -> None:
    mask = only(1, 4)
    passed = [kind for kind in range(256) if not mask[kind // 8] & 1 << kind % 8]
    assert passed == [1, 4]
    data = struct.pack("!BBHI", 4, 1, 0, 40) + b"quoted"
    assert parse_error(data, CN) == IcmpError(4, 1, 40, CN, b"quoted")
    for bad in (data[:7], b"", b"\x80" + data[1:]):
        assert parse_error(bad, CN) is None


def test_whom_an_unreachable_is_about() -> None:
    head = b"\x60" + bytes(5) + bytes((43, 64)) + CN.packed + COA.packed
    packet = head + build_routing(HOA, 17) + b"data"
    assert destination_of(packet) == COA
    assert destination_of(packet[:60]) is None
    assert destination_of(head[:6] + b"\x11" + head[7:] + bytes(24)) is None
    assert destination_of(head + b"\0\2\0\1" + bytes(20)) is None
    assert destination_of(b"") is None


class Wire:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []

    def send(self, data: bytes, *more: Any) -> None:
        self.sent.append((parse(data), *more))

    def send_parameter_problem(self, datagram: Datagram, code: int, pointer: int) -> None:
        self.sent.append((code, pointer))


class Device:
    """Keeps bindings; each has carried ``packets``."""

    interface, name, packets = DEVICE, "mip0", 0

    def __init__(self) -> None:
        self.held: dict[IPv6Address, KernelBinding] = {}

    def put_binding(self, binding: KernelBinding) -> None:
        self.held[binding.home_address] = binding

    def drop_binding(self, home_address: IPv6Address) -> None:
        del self.held[home_address]

    def binding(self, home_address: IPv6Address) -> BindingState | None:
        found = self.held.get(home_address)
        return found and BindingState(found, Traffic(self.packets, 0, 0, 0), ())


def correspondent(alone: bool = True) -> tuple[CorrespondentRole, Wire, Device, Table]:
    wire, device, table = Wire(), Device(), Table()
    kernel = Kernel(device, wire, None, Keys(FakeXfrm()))  # type: ignore[arg-type]
    role = CorrespondentRole(
        CorrespondentSection(),
        kernel,
        asyncio.get_running_loop(),
        History(10),
        DirectRouting(table, DEVICE),
        (),
        lambda _home: False,
        alone,
    )
    role.start()
    return role, wire, device, table


def hand(role: CorrespondentRole, message: Any, source: IPv6Address, by: CareOf | None) -> None:
    data = bytes(build(message, source, CN))
    role.receive(Datagram(data, source, CN, by, 1))


def bind(role: CorrespondentRole, wire: Wire) -> Node:
    """Let a node bind; return it, with its tokens."""
    node = Node()
    for init, source in ((HomeTestInit(COOKIE), HOA), (CareOfTestInit(COOKIE), COA)):
        hand(role, init, source, None)
    node.home_test, node.care_of_tests[COA] = (entry[0] for entry in wire.sent[-2:])
    hand(role, node.update(), HOA, BY_COA)
    return node


def test_the_role_binds_routes_measures_and_removes() -> None:
    async def scenario() -> None:
        role, wire, device, table = correspondent()
        node = bind(role, wire)
        assert wire.sent[-1][0].status == 0
        assert table.ways == [ROUTE]
        device.packets = 7
        hand(role, node.update(), HOA, BY_COA)
        (view,) = role.bindings()
        assert view.sequence == node.sequence
        event = KernelEvent(PathEvent.EXPIRED, DEVICE, HOA, None, 0)
        assert role.concerns_event(event)
        role.kernel_event(event)
        assert (table.ways, role.bindings()) == ([], [])
        assert not role.concerns_event(event)
        assert role.concerns_event(replace(event, event=PathEvent.STRANGER))
        role.stop()

    asyncio.run(scenario())


def test_beside_a_home_agent_the_role_takes_its_own_messages_only() -> None:
    async def scenario() -> None:
        beside, alone = correspondent(alone=False)[0], correspondent()[0]
        data = bytes(build(BindingUpdate(1, 1, home=True), HOA, CN))
        registration = Datagram(data, HOA, CN, BY_COA, 1)
        assert not beside.concerns(registration)
        assert alone.concerns(registration)
        assert beside.concerns(replace(registration, data=bytes(build(HomeTestInit(COOKIE)))))

    asyncio.run(scenario())


def test_what_is_left_when_nothing_shall_be() -> None:
    async def scenario() -> None:
        role, wire, device, table = correspondent()
        bind(role, wire)
        role.reconfigure(CorrespondentSection(CorrespondentConfig(lifetime=60)))
        assert HOA in device.held
        role.clear()
        assert (device.held, table.ways, table.ruled) == ({}, [], [])
        role.stop()

    asyncio.run(scenario())


# --- what people read -------------------------------------------------------------------------


def document(**more: object) -> dict[str, Any]:
    found: dict[str, Any] = {
        "role": "route optimisation",
        "correspondent": str(CN),
        "home_address": str(HOA),
        "phase": "bound",
        "direct": True,
        "care_of": str(COA),
        "sequence": 7,
        "lifetime": 420,
        "remaining": 400.0,
        "retry_in": None,
        "problem": "",
        "traffic": {"rx_packets": 1, "rx_bytes": 2, "tx_packets": 3, "tx_bytes": 4},
    }
    return found | more


def test_words_about_direct_paths() -> None:
    shown = render_direct.summary(
        {
            "route_optimisation": {
                "correspondents": [
                    document(),
                    document(direct=False, phase="testing"),
                    document(phase="left alone", retry_in=100.0, problem="it does not answer"),
                ]
            },
            "correspondent": {"addresses": [], "bindings": 2, "counters": {"bu_accepted": 5}},
        }
    )
    text = "\n".join(shown)
    assert all(len(line) <= render.WIDTH for line in shown)
    assert f"{CN}: directly from {COA}" in text
    assert "by the home agent, testing" in text
    assert "does not answer" in text
    assert "2 direct, 5 updates" in text
    assert render_direct.summary({"route_optimisation": {"correspondents": []}}) == []
    both = [document(), document(role="correspondent")]
    lines = render.bindings({"bindings": both, "total": 2})
    assert all(len(line) <= render.WIDTH for line in lines)
    assert any(f"{CN} from {COA}" in line for line in lines)
    assert any(f"{HOA} at {COA}" in line for line in lines)
    assert "home agent again" in render_direct.optimised(
        {"correspondent": str(CN), "on": False, "phase": "ended"}
    )


def test_the_document_shows_what_is_taken() -> None:
    text = (FilePath(__file__).parents[2] / "docs/route-optimisation.md").read_text()
    router, correspondent, *keys = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    given = tomllib.loads(router)["mobile_router"]
    assert parse_config({"mobile_router": ROUTER["mobile_router"] | given})
    defaults = parse_config(tomllib.loads(correspondent)).correspondent
    assert defaults == CorrespondentSection(CorrespondentConfig())
    ours, theirs = (tomllib.loads(one.replace('"..."', f'"{SECRET}"')) for one in keys)
    trusting = parse_config({"mobile_router": ROUTER["mobile_router"] | ours["mobile_router"]})
    trusted = parse_config(theirs)
    assert trusting.mobile_router is not None
    assert trusted.correspondent is not None
    (one,), (other,) = trusting.mobile_router.optimisation.rows, trusted.correspondent.rows
    assert one.keys == other.keys


class Router:
    """What the role of route optimisation sees of the mobile router's."""

    def __init__(self, protected: bool) -> None:
        config = RouteOptimisationConfig(
            correspondents=(IPv6Network(CN),), protected_tests=protected
        )
        engine = MobileRouterConfig(HOA, IPv6Network("2001:db8:1::/64"), HA6)
        self.section = SimpleNamespace(engine=engine, optimisation=OptimisationSection(config))
        self.engine = SimpleNamespace(config=engine)
        self.state, self.care_of = State.DETACHED, COA

    def registration(self) -> RegistrationView:
        return RegistrationView(
            state=self.state,
            uplink="wan0",
            care_of=CareOf(self.care_of, WireKind.IP6, 0, 2),
            kind=WireKind.IP6,
            nat=False,
            home_address=HOA,
            home_address4=None,
            home_agent=HA6,
            sequence=1,
            lifetime=600,
            remaining=500.0,
            refresh_in=None,
            attempts=0,
            problem="",
        )


@pytest.mark.parametrize("protected", [False, True])
def test_the_routers_role_follows_the_registration(protected: bool) -> None:
    async def scenario() -> None:
        router, wire, device, told = Router(protected), Wire(), Device(), []
        xfrm = FakeXfrm()
        way = "inside" if protected else "none"
        keys = started(changed(ROUTER, "mobile_router.return_routability", way), xfrm)
        before = len(xfrm.policies())
        role = RouteOptimisationRole(
            router,  # type: ignore[arg-type]
            Kernel(device, wire, None, keys),  # type: ignore[arg-type]
            asyncio.get_running_loop(),
            History(10),
            (),
            told.append,
        )
        role.start()
        assert told == [True]
        event = KernelEvent(PathEvent.TUNNELLED, DEVICE, HOA, Path(0, WireKind.RO, HOA, CN), 0)
        assert role.concerns_event(event)
        role.kernel_event(event)
        assert wire.sent == []
        router.state = State.REGISTERED
        role.follow()
        role.kernel_event(event)
        (coti, *by_wan), (hoti, *by_tunnel) = wire.sent
        assert by_wan == [COA, CN, None, 2]
        assert by_tunnel == [HOA, CN, None, 0]
        # Its acknowledgements are let in before there can be any.
        assert len(xfrm.policies()) == before + protected
        token = b"t" * 8
        cot = bytes(build(CareOfTest(3, coti.cookie, token), CN, COA))
        hot = bytes(build(HomeTest(4, hoti.cookie, token), CN, HOA))
        tunnel = None if protected else CareOf(HA6)
        for datagram in (Datagram(cot, CN, COA, None, 2), Datagram(hot, CN, HOA, tunnel, 2)):
            assert role.concerns(datagram)
            role.receive(datagram)
        update, *way_out = wire.sent[-1]
        assert isinstance(update, BindingUpdate)
        assert way_out == [HOA, CN, CareOf(COA, WireKind.IP6, 0, 2), 0]
        # The home agent's messages, and strangers' to the home address, are the router's.
        assert not role.concerns(Datagram(hot, HA6, HOA, None, 2))
        assert not role.concerns(Datagram(hot, HA6, COA, None, 2))
        assert not role.concerns(Datagram(hot, COA2, HOA, None, 2))
        key = binding_key(token, token)
        answer = authorize(BindingAcknowledgement(0, update.sequence, 100), key, COA, CN)
        role.receive(Datagram(bytes(build(answer, CN, HOA)), CN, HOA, CareOf(COA), 2))
        assert device.held[CN].direct
        quoted = b"\x60" + bytes(39)
        for kind, code in ((4, 1), (4, 0), (1, 0)):
            role.error(IcmpError(kind, code, 0, CN, quoted))
        router.care_of = COA2
        role.follow()
        assert device.held == {}
        role.clear()
        assert role.correspondents() == []
        role.stop()

    asyncio.run(scenario())
