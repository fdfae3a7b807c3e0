# SPDX-License-Identifier: GPL-2.0-only
"""Prefixes that come by a routing protocol in the tunnel (RFC 3963 section 8)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest
from dsmip.packet.kernel import Address, Network
from dsmip.service.config import parse
from dsmip.service.learned import LearnedRoutes
from dsmip.service.options import ConfigError

from tests.unit import clockwork
from tests.unit.roaming import (
    BUS,
    HA_CONFIG,
    HOA,
    HOA4,
    MR_CONFIG,
    NET4,
    NET6,
    TRAM,
    World,
    uplink6,
)
from tests.unit.test_config import AGENT, changed

ROUTING = replace(BUS, routing=True)
CONFIG = replace(HA_CONFIG, owners=(ROUTING, TRAM))
PART = IPv6Network("2001:db8:100:8::/64")
STRANGE = IPv6Network("2001:db8:777::/56")


class Table:
    """A routing daemon's table; a pipe tells that it changed."""

    def __init__(self) -> None:
        self.routes: dict[Address | None, tuple[Network, ...]] = {}
        self.fails = False
        self._ends = os.pipe()

    def fileno(self) -> int:
        return self._ends[0]

    def close(self) -> None:
        for end in self._ends:
            os.close(end)

    def change(self, **routes: Any) -> None:
        os.write(self._ends[1], b"x")

    def drain(self) -> None:
        os.read(self._ends[0], 100)

    def by_gateway(self) -> dict[Address | None, tuple[Network, ...]]:
        if self.fails:
            raise OSError(5, "Input/output error")
        return dict(self.routes)


def world() -> World:
    made = World(ha_config=CONFIG, mr_config=replace(MR_CONFIG, explicit=False))
    made.plug(uplink6())
    made.run(3)
    return made


def follow(made: World, table: Table, story: Callable[[LearnedRoutes], Any]) -> None:
    """Run a story while the routes of a table are followed."""

    async def told() -> None:
        def bind(identity: str) -> None:
            made.carry("ha", made.ha.prefixes_changed(identity, made.now))

        learned = LearnedRoutes(table, made.ha, asyncio.get_running_loop(), bind)
        learned.start()
        try:
            await story(learned)
        finally:
            learned.stop()

    clockwork.run(told())


def bound(made: World) -> tuple[Network, ...]:
    return made.kernel["ha"].bindings[HOA].prefixes


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(100):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not in time")


def test_what_is_told_enters_the_binding_and_leaves_it(caplog: pytest.LogCaptureFixture) -> None:
    made, table = world(), Table()
    # Although they are its own, none is bound before it was told of.
    assert bound(made) == ()

    async def story(_: LearnedRoutes) -> None:
        table.routes = {HOA: (PART, STRANGE), HOA4: (NET4,), TRAM.home_address: (TRAM.prefixes[0],)}
        table.change()
        await until(lambda: set(bound(made)) == {PART, NET4})
        # A refresh changes nothing.
        made.run(400)
        assert set(bound(made)) == {PART, NET4}
        table.routes = {HOA: (NET6,)}
        table.change()
        await until(lambda: bound(made) == (NET6,))
        table.fails = True
        table.change()
        await asyncio.sleep(0.15)
        assert bound(made) == (NET6,)
        table.fails = False
        table.routes = {}
        table.change()
        await until(lambda: bound(made) == ())

    follow(made, table, story)
    assert "bus-17 tells of 2001:db8:777::/56, which is not its own" in caplog.text
    assert "learned routes: Input/output error" in caplog.text


def test_without_a_gateway_a_prefix_is_its_owners() -> None:
    """As BIRD writes it on a point-to-point device."""
    made, table = world(), Table()

    async def story(_: LearnedRoutes) -> None:
        wide = IPv6Network("2001:db8:100::/40")
        table.routes = {None: (PART, STRANGE, NET4, TRAM.prefixes[0], wide)}
        table.change()
        await until(lambda: set(bound(made)) == {PART, NET4})
        assert made.ha.ownership.learned() == {"bus-17": (PART, NET4)}

    follow(made, table, story)


def test_nobody_tells_of_anothers_prefix_or_by_a_gateway_that_is_nobodys() -> None:
    made, table = world(), Table()

    async def story(_: LearnedRoutes) -> None:
        table.routes = {
            HOA: (TRAM.prefixes[0], IPv6Network("2001:db8::/32"), IPv4Network("203.0.113.0/24")),
            IPv6Address("2001:db8:1::666"): (NET6,),
            IPv6Address("fe80::1"): (NET6,),
            IPv4Address("203.0.113.2"): (NET4,),
            IPv4Address("198.51.100.77"): (NET4,),
        }
        table.change()
        await asyncio.sleep(0.2)
        assert bound(made) == ()
        assert made.ha.ownership.learned() == {}

    follow(made, table, story)


def test_a_restarted_home_agent_reads_the_table_before_it_takes_bindings_over() -> None:
    made, table = world(), Table()
    table.routes = {HOA: (NET6,)}

    async def story(_: LearnedRoutes) -> None:
        table.change()
        await asyncio.sleep(0.2)

    follow(made, table, story)
    made.ha.ownership.learn("bus-17", ())
    made.ha.ownership.learn("bus-17", (NET6,))
    made.carry("ha", made.ha.prefixes_changed("bus-17", made.now))
    # A routing daemon that starts later than the home agent costs nothing: the prefix
    # is the router's own, and the next update tells whether it is still announced.
    made.restart("ha")
    assert bound(made) == (NET6,)
    made.ha.ownership.learn("bus-17", (NET6,))
    made.run(400)
    assert bound(made) == (NET6,)
    made.restart("ha")
    made.run(400)
    assert bound(made) == ()


def test_a_reload_keeps_what_was_learned() -> None:
    made = world()
    made.ha.ownership.learn("bus-17", (PART,))
    made.carry("ha", made.ha.prefixes_changed("bus-17", made.now))
    made.carry("ha", made.ha.reconfigure(replace(CONFIG, lifetime=300), made.now))
    assert bound(made) == (PART,)


@pytest.mark.parametrize(
    ("entry", "options", "complaint"),
    [
        ({"payload": "inside"}, {}, "routing = true: needs learn_table in [home_agent]"),
        ({}, {"learn_table": 4192}, 'routing = true: needs payload = "inside" or "rfc4877"'),
        ({"payload": "inside", "prefixes": []}, {"learn_table": 4192}, "what it may tell of"),
        ({"payload": "inside"}, {"learn_table": 0}, "a whole number from 1"),
    ],
)
@pytest.mark.spec("N-025")
def test_routing_without_protection_or_bounds_is_no_configuration(
    entry: dict[str, Any], options: dict[str, Any], complaint: str
) -> None:
    values = changed(AGENT, "home_agent.router.0.routing", True)
    values["home_agent"]["router"][0] |= entry
    values["home_agent"] |= options
    with pytest.raises(ConfigError) as caught:
        parse(values)
    assert complaint in str(caught.value)


def test_routing_as_it_should_be_configured() -> None:
    values = changed(AGENT, "home_agent.learn_table", 4192)
    values["home_agent"]["router"][0] |= {"routing": True, "payload": "inside"}
    section = parse(values).home_agent
    assert section is not None
    assert section.learn_table == 4192
    assert section.engine.owners[0].routing
