# SPDX-License-Identifier: GPL-2.0-only
"""REDIRECT is followed by whoever initiated, within bounds (RFC 5685)."""

from __future__ import annotations

import asyncio
import copy
import socket
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address
from typing import Any

import pytest
from dsmip.ikev2.effects import Redirected
from dsmip.ikev2.message import parse
from dsmip.ikev2.numbers import ExchangeType
from dsmip.ikev2.payloads import Notify
from dsmip.packet.kernel import Address
from dsmip.service.config import parse as read
from dsmip.service.ike_kernel import LINGER
from dsmip.service.ike_redirect import Redirects, usable

from tests.unit.fakexfrm import FakeXfrm
from tests.unit.ikeworld import AT6, COA6, HA4, HA6, HOA, Loop, Side, Wire, World
from tests.unit.test_config import changed
from tests.unit.test_ike_alone import mirrored
from tests.unit.test_ike_config import ALONE, IKE_AGENT, IKE_ROUTER

HA_B = IPv6Address("2001:db8:2::1")


class Three:
    """A mobile node, its gateway, and the other one; ``to`` is where each sends it."""

    def __init__(self, to: str = str(HA_B), back: str = "", **ike: Any) -> None:
        values = copy.deepcopy(ALONE)
        values["ike"] |= ike
        entry = values["ike"]["connection"][0]
        entry["local"] = [str(COA6)]
        for child in entry["child"]:
            child["start"] = "start"
        self.loop = Loop()
        self.wire = Wire(self.loop)
        self.first = self._gateway("first", values, to)
        self.second = self._gateway("second", values, back)
        self.wire.at |= {HA6: self.first, HA_B: self.second}
        self.mn = Side("mn", self.loop, self.wire, read(values), FakeXfrm())
        self.wire.at[COA6] = self.mn

    def _gateway(self, name: str, values: dict[str, Any], to: str) -> Side:
        made = mirrored(values)
        if to:
            made["ike"]["redirect_to"] = to
        return Side(name, self.loop, self.wire, read(made), FakeXfrm())

    def followed(self) -> int:
        return self.mn.host.runtime.counters["ike_redirect_followed"]

    def begun(self) -> list[Address]:
        """Where IKE_SA_INIT requests went to, one for each IKE SA."""
        found: dict[bytes, Address] = {}
        for local, remote, data in self.wire.sent:
            if data[18] == ExchangeType.IKE_SA_INIT and local.address == COA6:
                found.setdefault(data[:8], remote.address)
        return list(found.values())


def test_a_gateway_sends_elsewhere() -> None:
    made = Three()
    made.loop.run(2)
    assert made.mn.view().remote.address == HA_B
    assert made.followed() == 1
    assert made.begun() == [HA6, HA_B]
    assert not made.first.views()
    assert len(made.mn.spis()) == 4
    assert made.mn.spis() == made.second.spis()


def test_the_other_gateway_hears_who_sent_us() -> None:
    made = Three()
    made.loop.run(2)
    request = next(d for _, r, d in made.wire.sent if r.address == HA_B and d[18] == 34)
    told = [p.data for p in parse(request).payloads if isinstance(p, Notify)]
    assert b"\x02\x10" + HA6.packed in told


def test_a_loop_ends() -> None:
    """Five in 300 seconds, however often it is tried anew (RFC 5685 section 3)."""
    made = Three(back=str(HA6))
    made.loop.run(20)
    assert made.followed() == 5
    made.loop.run(200)
    assert made.followed() == 5
    assert made.mn.host.runtime.counters["ike_refused"] >= 1
    assert len(made.begun()) < 16
    assert not made.mn.spis()


def test_a_gateway_that_is_not_there_leads_back() -> None:
    made = Three()
    made.second.dead = True
    made.loop.run(10)
    del made.first.host.runtime.engine._core.config  # whatever it said is over
    made.first.dead = True
    again = Side("again", made.loop, made.wire, made.second.config, FakeXfrm())
    made.wire.at[HA6] = again
    made.loop.run(150)
    assert made.mn.view().remote.address == HA6


def test_it_is_not_followed_where_that_is_not_wanted() -> None:
    made = Three(follow_redirect=False)
    made.loop.run(2)
    assert made.mn.view().remote.address == HA6
    assert made.begun() == [HA6], "the gateway does not ask who does not offer it"


def test_an_ike_sa_that_is_up_is_sent_elsewhere() -> None:
    """Make before break: there are SAs all the time."""
    made = Three(to="")
    made.loop.run(2)
    old = made.mn.spis()
    engine = made.first.host.runtime.engine
    made.first.host.runtime.carry(engine.redirect(made.first.view().id, str(HA_B), made.loop.now))
    for _ in range(100):
        made.loop.run(0.05)
        assert len(made.mn.spis()) >= 4
    assert made.mn.view().remote.address == HA_B
    made.loop.run(LINGER)
    assert not made.mn.spis() & old
    assert made.mn.spis() == made.second.spis()
    assert not made.first.views()


class Agents:
    """The home agents that a router knows, beside the one it uses."""

    def __init__(self, *others: Address) -> None:
        self.others = others
        self.chosen: list[Address] = []

    def has_other_agents(self) -> bool:
        return bool(self.others)

    def follow(self, gateways: Sequence[Address]) -> bool:
        self.chosen += [one for one in gateways if one in self.others]
        return bool(self.chosen)


def router(agents: Agents) -> World:
    agent = IKE_AGENT | {"ike": {"redirect_to": str(HA_B)}}
    made = World(read(agent), read(IKE_ROUTER))
    made.mr.host.keys.agents = agents
    made.mr.keys.moved(HOA, None, AT6)
    made.run(0.5)
    return made


def test_a_router_with_one_home_agent_does_not_offer_it() -> None:
    made = router(Agents())
    assert made.mr.ready == [HOA]
    assert made.mr.view().remote.address == HA6


def test_a_router_lets_mobility_choose_the_home_agent() -> None:
    agents = Agents(HA_B)
    made = router(agents)
    assert agents.chosen == [HA_B]
    assert made.mr.host.runtime.counters["ike_redirect_followed"] == 1
    # Mobility comes back with where it is; there the sender is told.
    made.mr.host.keys._ends = {"ha.example.net": (COA6, HA_B)}
    made.mr.host.keys._begin("ha.example.net")
    request = next(d for _, r, d in made.wire.sent if r.address == HA_B)
    told = [p.data for p in parse(request).payloads if isinstance(p, Notify)]
    assert b"\x02\x10" + HA6.packed in told


def test_a_router_goes_to_no_stranger() -> None:
    agents = Agents(IPv6Address("2001:db8:3::1"))
    made = router(agents)
    assert agents.chosen == []
    assert made.mr.host.runtime.counters["ike_redirect_ignored"] == 1
    assert not any(r.address == HA_B for _, r, _ in made.wire.sent)


# --- where it leads -----------------------------------------------------------------------


def effect(gateway: str) -> Redirected:
    return Redirected(1, "home", gateway, HA6, False, ())


@pytest.mark.parametrize(
    ("address", "good"),
    [
        (str(HA_B), True),
        (str(HA4), True),
        (str(HA6), False),
        ("::", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("127.0.0.1", False),
        ("ff02::1", False),
        ("224.0.0.1", False),
        ("fe80::1", False),
        ("255.255.255.255", False),
    ],
)
def test_addresses_where_a_gateway_may_be(address: str, good: bool) -> None:
    assert usable(ip_address(address), effect(address)) is good


def looked_up(answers: Any) -> list[list[Address]]:
    found: list[list[Address]] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()

        async def getaddrinfo(host: str, port: None, *, type: int) -> Any:
            assert (host, type) == ("ha2.example.net", socket.SOCK_DGRAM)
            if isinstance(answers, Exception):
                raise answers
            return answers

        loop.getaddrinfo = getaddrinfo  # type: ignore[assignment,method-assign]
        redirects = Redirects(loop, lambda _effect, addresses: found.append(list(addresses)))
        redirects.take(effect("ha2.example.net"))
        await asyncio.sleep(0)
        await asyncio.gather(*redirects._tasks)

    asyncio.run(run())
    return found


def answer(address: str) -> Any:
    return (0, 0, 0, "", (address, 0))


def test_a_name_is_looked_up() -> None:
    answers = [answer(str(HA6)), answer(str(HA_B)), answer("fe80::1%eth0"), answer(str(HA_B))]
    assert looked_up(answers) == [[HA_B]]
    many = [answer(f"2001:db8::{n:x}") for n in range(1, 100)]
    assert len(looked_up(many)[0]) == 8


def test_a_name_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    assert looked_up(socket.gaierror(-2, "Name or service not known")) == [[]]
    assert "ha2.example.net is not found" in caplog.text


@pytest.mark.parametrize("to", ["", "a b", "x" * 254, "ha\n", 5])
def test_where_initiators_are_sent_is_checked(to: object) -> None:
    with pytest.raises(Exception, match="redirect_to"):
        read(changed(IKE_AGENT, "ike", {"redirect_to": to}))
