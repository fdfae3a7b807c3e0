# SPDX-License-Identifier: GPL-2.0-only
"""DHCPv6 and the LAN in the daemon: sockets, files and addresses stood in for."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest
from dsmip.linux.dhcp_socket import DhcpDatagram
from dsmip.linux.neighbours import Interface
from dsmip.linux.rtnl import Link, Route
from dsmip.linux.uplinks import LinkState
from dsmip.mobility.delegation import Lease, Place
from dsmip.mobility.home_agent import HomeAgent
from dsmip.mobility.mobile_router import RegistrationView, State
from dsmip.packet.icmp6 import (
    LinkMtu,
    PrefixInformation,
    RouterAdvertisement,
    RouterSolicitation,
    build,
)
from dsmip.packet.kernel import Address
from dsmip.service import delegating, requesting
from dsmip.service.config import HomeAgentSection, MobileRouterSection, parse
from dsmip.service.delegating import Delegating
from dsmip.service.ike_config import Payload
from dsmip.service.lan import Lan, tunnel_mtu
from dsmip.service.prefix_leases import DELEGATED, PrefixLeaseFile
from dsmip.service.requesting import Requesting

from tests.unit import clockwork
from tests.unit.test_config import AGENT, ROUTER, changed

DEVICE, HOME_LINK, LAN = 9, 3, 5
HA6, HOA = IPv6Address("2001:db8:1::1"), IPv6Address("2001:db8:1::100")
LINK_LOCAL = IPv6Address("fe80::17")
POOL = IPv6Network("2001:db8:400::/48")


class Net:
    """Sockets without a network: what one sends another gets, in home form."""

    def __init__(self) -> None:
        self.open: list[FakeSocket] = []
        self.home_form = True
        self.interface = 2
        self.sent: list[tuple[str, str, int]] = []

    def make(
        self,
        port: int,
        address: IPv6Address = IPv6Address("::"),  # noqa: B008
        interface: str = "",
        group: IPv6Address | None = None,
    ) -> FakeSocket:
        made = FakeSocket(self, port, address, interface)
        self.open.append(made)
        return made


class FakeSocket:
    """One of them; a pipe makes it readable."""

    def __init__(self, net: Net, port: int, address: IPv6Address, interface: str) -> None:
        self.net, self.port, self.address, self.interface = net, port, address, interface
        self.waiting: list[DhcpDatagram] = []
        self._ends = os.pipe()

    def fileno(self) -> int:
        return self._ends[0]

    def close(self) -> None:
        self.net.open.remove(self)
        for end in self._ends:
            os.close(end)

    def receive(self, limit: int = 64) -> Iterator[DhcpDatagram]:
        os.read(self._ends[0], 1 << 16)
        waiting, self.waiting = self.waiting, []
        yield from waiting

    def send(self, data: bytes, destination: IPv6Address, port: int, interface: int = 0) -> None:
        self.net.sent.append((self.interface, str(destination), port))
        for other in self.net.open:
            if other is self or other.port != port:
                continue
            if self.interface:
                if other.interface:
                    other.take(data, LINK_LOCAL, destination, HOME_LINK, False)
            elif other.address == destination:
                net = self.net
                other.take(data, self.address, destination, net.interface, net.home_form)

    def take(
        self,
        data: bytes,
        source: IPv6Address,
        destination: IPv6Address,
        interface: int,
        home_form: bool,
    ) -> None:
        self.waiting.append(DhcpDatagram(data, source, destination, interface, home_form))
        os.write(self._ends[1], b"x")


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Net:
    made = Net()
    monkeypatch.setattr(delegating, "DhcpSocket", made.make)
    monkeypatch.setattr(requesting, "DhcpSocket", made.make)
    return made


def agent_section(**entry: Any) -> HomeAgentSection:
    values = changed(AGENT, "home_agent.prefix_pool", [str(POOL)])
    values["home_agent"] |= {"delegated_length": 56, "dns": ["2001:db8::53"]}
    values["home_agent"]["router"][0] |= {"delegated_prefixes": 1, "prefixes": []} | entry
    section = parse(values).home_agent
    assert section is not None
    return section


def router_section(**options: Any) -> MobileRouterSection:
    values = changed(ROUTER, "mobile_router.prefixes", None)
    values["mobile_router"] |= {"delegated_prefixes": 1, "lan": ["lan0", "lan1"]} | options
    section = parse(values).mobile_router
    assert section is not None
    return section


class Both:
    """A home agent's server and a router's client in one loop."""

    def __init__(self, tmp_path: Path) -> None:
        self.loop = asyncio.get_running_loop()
        self.path = tmp_path
        self.counters: Counter[str] = Counter()
        self.bound: list[str] = []
        self.taken: list[bool] = []
        section = agent_section()
        self.agent = HomeAgent(section.engine, self.loop.time())
        self.server = self.make_server(section)
        self.client = self.make_client(router_section())

    def make_server(self, section: HomeAgentSection) -> Delegating:
        made = Delegating(
            self.agent,
            section,
            DEVICE,
            Interface(HOME_LINK, "home", b""),
            self.loop,
            self.counters,
            self.bound.append,
            PrefixLeaseFile(str(self.path / "ha"), DELEGATED),
        )
        made.start()
        return made

    def make_client(self, section: MobileRouterSection) -> Requesting:
        file = PrefixLeaseFile(str(self.path / "mr"), "prefixes.json")
        return Requesting(section, self.loop, self.counters, self.taken.append, file)

    async def until(self, condition: Callable[[], object]) -> None:
        for _ in range(200):
            if condition():
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"not in time; {self.counters}")

    def stop(self) -> None:
        self.client.stop()
        self.server.stop()


def run(story: Callable[[], Any]) -> None:
    clockwork.run(story())


def test_a_prefix_is_asked_for_kept_and_given_back(net: Net, tmp_path: Path) -> None:
    async def story() -> None:
        both = Both(tmp_path)
        both.client.follow(Place(HOA))
        await both.until(lambda: both.client.prefixes)
        (prefix,) = both.client.prefixes
        assert prefix.subnet_of(POOL)
        assert both.bound == ["bus-17"]
        assert both.taken == [True]
        assert both.client.dns == (IPv6Address("2001:db8::53"),)
        assert [entry["prefix"] for entry in both.server.documents()] == [str(prefix)]
        assert both.client.document()["leases"][0]["prefix"] == str(prefix)
        # Both processes start again: nothing is asked before the router is registered.
        both.stop()
        assert net.open == []
        both.agent = HomeAgent(agent_section().engine, both.loop.time())
        both.server = both.make_server(agent_section())
        both.client = both.make_client(router_section())
        assert both.client.prefixes == (prefix,)
        assert both.agent.ownership.delegated() == [("bus-17", prefix)]
        both.client.follow(Place(HOA))
        await both.until(lambda: both.counters["pd_rebind"])
        assert both.client.prefixes == (prefix,)
        both.client.release()
        await both.until(lambda: both.counters["pd_released"])
        assert both.agent.ownership.delegated() == []
        both.stop()

    run(story)


def test_the_status_lists_no_more_than_it_can_show_and_the_file_has_all(
    net: Net, tmp_path: Path
) -> None:
    async def story() -> None:
        both = Both(tmp_path)
        now = both.loop.time()
        leases = [
            Lease("bus-17", n, prefix, now + 50, now + 100)
            for n, prefix in zip(range(150), POOL.subnets(new_prefix=56), strict=False)
        ]
        file = PrefixLeaseFile(str(tmp_path / "ha"), DELEGATED)
        file.write(leases, b"", now, 0.0)
        assert len(file.read(now, 0.0)[0]) == 150
        # An identity that may have one only is not refused what it had before.
        both.server.stop()
        file.write(leases, b"", now, time.time())
        both.server = both.make_server(agent_section())
        assert len(both.server.engine.leases()) == 150
        shown = both.server.documents()
        assert [one["prefix"] for one in shown[:2]] == [
            str(leases[0].prefix),
            str(leases[1].prefix),
        ]
        assert len(shown) == 100
        both.stop()

    run(story)


def test_at_home_it_is_asked_for_on_the_link(net: Net, tmp_path: Path) -> None:
    async def story() -> None:
        both = Both(tmp_path)
        both.client.follow(Place(HOA))
        await both.until(lambda: both.client.prefixes)
        before = both.client.prefixes
        both.client.follow(Place(None, HOME_LINK), "home")
        await both.until(lambda: both.counters["pd_rebind"])
        await both.until(lambda: both.counters["pd_reply"] == 2)
        assert both.client.prefixes == before
        assert ("home", "ff02::1:2", 547) in net.sent
        assert ("home", str(LINK_LOCAL), 546) in net.sent
        both.stop()

    run(story)


@pytest.mark.parametrize(
    ("home_form", "interface", "heard"), [(True, 2, True), (False, DEVICE, True), (False, 2, False)]
)
@pytest.mark.spec("N-080")
def test_only_what_came_through_the_module_is_heard(
    net: Net, tmp_path: Path, home_form: bool, interface: int, heard: bool
) -> None:
    """A plain datagram with the router's address as source may be anybody's."""

    async def story() -> None:
        both = Both(tmp_path)
        net.home_form, net.interface = home_form, interface
        both.client.follow(Place(HOA))
        await both.until(lambda: both.counters["pd_not_by_a_binding"] or both.client.prefixes)
        assert bool(both.client.prefixes) is heard
        assert bool(both.agent.ownership.delegated()) is heard
        both.stop()

    run(story)


def test_reloading_opens_and_closes_and_takes_back(net: Net, tmp_path: Path) -> None:
    async def story() -> None:
        both = Both(tmp_path)
        both.client.follow(Place(HOA))
        await both.until(lambda: both.client.prefixes)
        none = agent_section(delegated_prefixes=0)
        both.agent.reconfigure(none.engine, both.loop.time())
        both.server.reconfigure(none)
        assert both.server.documents() == []
        assert [one for one in net.open if one.port == 547 and one.address == HA6] == []
        again = agent_section()
        both.agent.reconfigure(again.engine, both.loop.time())
        both.server.reconfigure(again)
        assert [one for one in net.open if one.port == 547 and one.address == HA6]
        both.client.reconfigure(router_section(delegated_prefixes=0, prefixes=["2001:db8:9::/64"]))
        assert both.client.prefixes == ()
        both.client.follow(Place(HOA))
        both.stop()
        assert net.open == []

    run(story)


def test_another_home_agent_is_asked_after_the_registration_with_it(
    net: Net, tmp_path: Path
) -> None:
    async def story() -> None:
        both = Both(tmp_path)
        both.client.use_home_agent(IPv6Address("2001:db8:1::2"))
        both.client.follow(Place(HOA))
        await both.until(lambda: net.sent)
        assert net.sent[-1] == ("", "2001:db8:1::2", 547)
        both.client.use_home_agent(HA6)
        both.client.follow(Place(HOA))
        await both.until(lambda: both.client.prefixes)
        both.stop()

    run(story)


def test_a_port_that_is_taken_is_told_and_nothing_else_suffers(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(98, "Address already in use")

    async def story() -> None:
        monkeypatch.setattr(delegating, "DhcpSocket", refuse)
        monkeypatch.setattr(requesting, "DhcpSocket", refuse)
        both = Both(tmp_path)
        both.client.follow(Place(HOA))
        both.stop()

    run(story)
    assert caplog.text.count("Address already in use") == 2


# --- files -----------------------------------------------------------------------


def test_leases_are_kept_by_the_time_of_day(tmp_path: Path) -> None:
    file = PrefixLeaseFile(str(tmp_path / "state"), "d.json")
    assert file.read(5.0, 1000.0) == ([], b"")
    leases = [
        Lease("bus", 1, POOL, 100.0, 200.0, b"\0\4abc"),
        Lease("bus", 2, POOL, float("inf"), float("inf")),
    ]
    file.write(leases, b"server", 10.0, 1_800_000_000.0)
    back, server = file.read(0.0, 1_800_000_050.0)
    assert server == b"server"
    assert (back[0].preferred_until, back[0].valid_until) == (40.0, 140.0)
    assert back[1] == leases[1]
    assert (tmp_path / "state" / "d.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"leases": 3, "server": ""}',
        '{"leases": [], "server": "x"}',
        '{"leases": []}',
    ],
)
def test_a_file_that_is_none_is_told_and_not_used(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "d.json").write_text(text)
    assert PrefixLeaseFile(str(tmp_path), "d.json").read(0.0, 0.0)[0] == []


def test_one_bad_lease_leaves_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = {"identity": "a", "iaid": 1, "prefix": "2001:db8::/56", "preferred": 1, "valid": 2}
    entries = [good | {"duid": ""}, good, 7, good | {"duid": "", "prefix": "2001:db8::1/56"}]
    (tmp_path / "d.json").write_text(json.dumps({"leases": entries, "server": ""}))
    found, _ = PrefixLeaseFile(str(tmp_path), "d.json").read(0.0, 0.0)
    assert [lease.identity for lease in found] == ["a"]
    assert caplog.text.count("is no lease, left out") == 3


def test_a_folder_that_cannot_be_written_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file")
    PrefixLeaseFile(str(tmp_path / "state"), "d.json").write([], b"", 0.0, 0.0)
    assert "will not outlive a reboot" in caplog.text


# --- the LAN -----------------------------------------------------------------------


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three seconds between advertisements are the engine's business."""
    monkeypatch.setattr("dsmip.mobility.advertising.MIN_DELAY_BETWEEN", 0.02)


class Kernel:
    """Links and addresses."""

    def __init__(self) -> None:
        self.links = {
            "lan0": Link(LAN, "lan0", True, True, 1500, address=bytes(5) + b"\1"),
            "lan1": Link(LAN + 1, "lan1", True, True, 1400, address=bytes(5) + b"\2"),
        }
        self.held: set[tuple[int, str, int]] = set()
        self.refuses = False

    def link(self, name: str) -> Link | None:
        return self.links.get(name)

    def add_address(self, interface: int, address: Address, length: int) -> None:
        if self.refuses:
            raise OSError(1, "no")
        self.held.add((interface, str(address), length))

    def remove_address(self, interface: int, address: Address, length: int) -> None:
        self.held.discard((interface, str(address), length))


class Radio:
    """The advertising socket."""

    def __init__(self) -> None:
        self.joined: set[int] = set()
        self.sent: list[tuple[int, RouterAdvertisement]] = []
        self.asked: list[tuple[int, IPv6Address, bytes]] = []
        self.fails = False
        self._ends = os.pipe()

    def fileno(self) -> int:
        return self._ends[0]

    def join(self, interfaces: Iterable[int]) -> None:
        self.joined = set(interfaces)

    def send(self, interface: int, message: RouterAdvertisement) -> None:
        if self.fails:
            raise OSError(99, "no link-local address")
        self.sent.append((interface, message))

    def ask(self, interface: int) -> None:
        self.asked.append((interface, LINK_LOCAL, build(RouterSolicitation())))
        os.write(self._ends[1], b"x")

    def solicitations(self) -> Iterator[tuple[int, IPv6Address, bytes]]:
        os.read(self._ends[0], 100)
        asked, self.asked = self.asked, []
        yield from asked

    def close(self) -> None:
        pass


class Nothing:
    """No delegated prefixes."""

    leases: list[Lease] = []  # noqa: RUF012
    dns: tuple[IPv6Address, ...] = ()


NET = IPv6Network("2001:db8:100::/56")
UPLINK = LinkState("wan0", 2, True, 1500, default6=Route(IPv6Network("::/0"), 2), default4=None)
VIEW = RegistrationView(
    state=State.REGISTERED,
    uplink="wan0",
    care_of=None,
    kind=None,
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


def lan_section() -> MobileRouterSection:
    return router_section(
        delegated_prefixes=0, prefixes=[str(NET), "203.0.113.0/28"], advertise=True
    )


def started() -> tuple[Kernel, Radio, Lan]:
    """Return a LAN that is served from now on, with what it reaches."""
    kernel, radio = Kernel(), Radio()
    lan = Lan(kernel, radio, asyncio.get_running_loop())
    lan.start()
    return kernel, radio, lan


async def heard(radio: Radio, count: int) -> None:
    for _ in range(500):
        if len(radio.sent) >= count:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nothing was sent")


@pytest.mark.spec("N-011", "N-017")
def test_links_get_addresses_and_hear_what_the_registration_allows() -> None:
    async def story() -> None:
        kernel, radio, lan = started()
        lan.tell(lan_section(), VIEW, [UPLINK], Nothing())
        await heard(radio, 2)
        assert radio.joined == {LAN, LAN + 1}
        assert kernel.held == {
            (LAN, "2001:db8:100::1", 64),
            (LAN + 1, "2001:db8:100:1::1", 64),
            (LAN, "203.0.113.1", 28),
        }
        first, second = (message for _, message in radio.sent)
        assert LinkMtu(1460) in first.options
        assert LinkMtu(1400) in second.options
        assert first.lifetime > 0
        # The binding ends: no default router any more.
        radio.sent.clear()
        lan.tell(
            lan_section(),
            replace(VIEW, state=State.REGISTERING, remaining=0.0),
            [UPLINK],
            Nothing(),
        )
        await heard(radio, 2)
        assert {message.lifetime for _, message in radio.sent} == {0}
        # The prefix is refused: it has no lifetime and the router no address in it.
        radio.sent.clear()
        refused = replace(VIEW, state=State.REFUSED, remaining=0.0, refusal=142)
        lan.tell(lan_section(), refused, [UPLINK], Nothing())
        await heard(radio, 2)
        for _, message in radio.sent:
            (one,) = [o for o in message.options if isinstance(o, PrefixInformation)]
            assert (one.valid_lifetime, one.preferred_lifetime) == (0, 0)
        assert kernel.held == {(LAN, "203.0.113.1", 28)}
        lan.stop()
        radio.sent.clear()
        lan.clear()
        assert {message.lifetime for _, message in radio.sent} == {0}
        assert kernel.held == set()

    run(story)


def test_nobody_is_told_of_more_than_the_device_takes() -> None:
    async def story() -> None:
        kernel, radio = Kernel(), Radio()
        kernel.links["mip0"] = Link(DEVICE, "mip0", True, True, 1420)
        lan = Lan(kernel, radio, asyncio.get_running_loop(), "mip0")
        lan.start()
        lan.tell(lan_section(), VIEW, [UPLINK], Nothing())
        await heard(radio, 2)
        sizes = [one.mtu for _, m in radio.sent for one in m.options if isinstance(one, LinkMtu)]
        assert sizes == [1420, 1400]
        lan.stop()

    run(story)


def test_a_handover_is_no_reason_to_renumber() -> None:
    async def story() -> None:
        _kernel, radio, lan = started()
        lan.tell(lan_section(), VIEW, [UPLINK], Nothing())
        await heard(radio, 2)
        before = lan.engine.next_timer()
        for state in (State.REGISTERING, State.DETACHED, State.RETURNING, State.HOME):
            lan.tell(lan_section(), replace(VIEW, state=state, remaining=40.0), [UPLINK], Nothing())
            assert lan.engine.next_timer() == before
        lan.stop()

    run(story)


def test_hosts_find_the_login_of_a_portal_without_a_binding() -> None:
    async def story() -> None:
        _kernel, _radio, lan = started()
        nowhere = replace(VIEW, state=State.REGISTERING, remaining=0.0)
        for login in (False, True):
            lan.tell(lan_section(), nowhere, [UPLINK], Nothing(), login)
            assert lan.document()["default_router"] is login
        lan.stop()

    run(story)


def test_solicitations_are_answered_on_their_link_and_nowhere_else() -> None:
    async def story() -> None:
        _kernel, radio, lan = started()
        lan.tell(lan_section(), VIEW, [UPLINK], Nothing())
        await heard(radio, 2)
        lan.engine._states[LAN].last -= 10
        radio.ask(LAN)
        radio.ask(2)
        await heard(radio, 3)
        assert [interface for interface, _ in radio.sent][2:] == [LAN]
        assert lan.document()["counters"]["rs_elsewhere"] == 1
        lan.stop()

    run(story)


def test_a_link_that_comes_late_or_cannot_speak_yet_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dsmip.service.lan._LOOK_AGAIN", 0.05)
    monkeypatch.setattr("dsmip.mobility.advertising.AGAIN", 0.05)

    async def story() -> None:
        kernel, radio = Kernel(), Radio()
        late = kernel.links.pop("lan0")
        radio.fails = kernel.refuses = True
        lan = Lan(kernel, radio, asyncio.get_running_loop())
        lan.start()
        lan.tell(lan_section(), VIEW, [UPLINK], Nothing())
        await asyncio.sleep(0.02)
        kernel.links["lan0"] = late
        radio.fails = kernel.refuses = False
        await heard(radio, 2)
        assert lan.document()["counters"]["ra_not_sent"] >= 1
        assert (LAN, "2001:db8:100::1", 64) in kernel.held
        lan.stop()

    run(story)
    assert "address 2001:db8:100:1::1: no" in caplog.text


def test_delegated_prefixes_end_on_the_lan_with_their_lease() -> None:
    class Leased:
        dns = (IPv6Address("2001:db8::53"),)

        def __init__(self, leases: list[Lease]) -> None:
            self.leases = leases

    async def story() -> None:
        loop = asyncio.get_running_loop()
        kernel, radio = Kernel(), Radio()
        lan = Lan(kernel, radio, loop)
        lan.start()
        section = router_section().with_delegated((NET,))
        lease = Lease("bus-17", 1, NET, loop.time() + 300.5, loop.time() + 600.5)
        lan.tell(section, VIEW, [UPLINK], Leased([lease]))
        await heard(radio, 2)
        (one,) = [o for o in radio.sent[0][1].options if isinstance(o, PrefixInformation)]
        assert (one.valid_lifetime, one.preferred_lifetime) == (600, 300)
        assert lan.document()["dns"] == ["2001:db8::53"]
        radio.sent.clear()
        lan.tell(router_section(), VIEW, [UPLINK], Leased([]))
        await heard(radio, 2)
        (one,) = [o for o in radio.sent[0][1].options if isinstance(o, PrefixInformation)]
        assert (one.valid_lifetime, one.preferred_lifetime) == (0, 0)
        assert kernel.held == set()
        lan.stop()

    run(story)


def test_the_tunnels_mtu_is_that_of_the_smallest_uplink_less_its_headers() -> None:
    four = LinkState("wan1", 3, True, 1492, default4=Route(IPv6Network("::/0"), 3))
    away = LinkState("wan2", 4, True, 600)
    assert tunnel_mtu([], Payload.NONE) == 0
    assert tunnel_mtu([away], Payload.NONE) == 0
    assert tunnel_mtu([UPLINK], Payload.NONE) == 1460
    assert tunnel_mtu([four], Payload.NONE) == 1464
    assert tunnel_mtu([UPLINK, four, away], Payload.NONE) == 1460
    assert tunnel_mtu([UPLINK], Payload.INSIDE) == 1460 - 57 - 40
    assert tunnel_mtu([replace(UPLINK, mtu=1280)], Payload.INSIDE) == 1280
