# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's IPsec as linux.xfrm drives it, with iproute2 as judge."""

from __future__ import annotations

import contextlib
import errno
import itertools
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from dsmip.ipsec.association import Cipher, Integrity, Lifetimes, Replay, SecurityProtocol
from dsmip.ipsec.movement import Ability, Migrate, plan
from dsmip.ipsec.policy import Action, Direction, Ends, Form, Kind, is_ours, protecting
from dsmip.linux.ike_socket import Datagram
from dsmip.linux.ike_socket import Place as UdpPlace
from dsmip.linux.netlink import NetlinkError
from dsmip.linux.pfkey import MigrateMessage, Move, PfKeySocket, Refusal
from dsmip.linux.xfrm_events import Acquire, Expire, Mapping, Migrated

from tests.lab.kmodlib import KernelLog, inside, ns_run
from tests.lab.kmodnet import MobilitySocket, mobility, reaches, send_datagram
from tests.lab.xfrmnet import (
    AT,
    CN,
    COA,
    COA4,
    COA_2,
    GCM,
    GCM_ESN,
    HA,
    HA4,
    HOA,
    LAN,
    MOBILE,
    NET6,
    PRIVATE,
    ROUTER_LAN,
    Load,
    Side,
    Suite,
    XfrmWorld,
    clear_text,
    sequences,
)

ESP, AH = SecurityProtocol.ESP, SecurityProtocol.AH
SUITES = {
    "cbc128-sha256": (
        Suite(Cipher.AES_CBC, Integrity.HMAC_SHA2_256_128, 16),
        ["cbc(aes)", "hmac(sha256)", " 128"],
    ),
    "cbc256-sha384": (
        Suite(Cipher.AES_CBC, Integrity.HMAC_SHA2_384_192, 32),
        ["cbc(aes)", "hmac(sha384)", " 192"],
    ),
    "cbc256-sha512": (
        Suite(Cipher.AES_CBC, Integrity.HMAC_SHA2_512_256, 32, esn=True, window=64),
        ["cbc(aes)", "hmac(sha512)", " 256", "esn"],
    ),
    "null-sha1": (
        Suite(Cipher.NULL, Integrity.HMAC_SHA1_96),
        ["ecb(cipher_null)", "hmac(sha1)", " 96"],
    ),
    "gcm128": (GCM, ["rfc4106(gcm(aes))", " 128"]),
    "gcm256-esn": (
        Suite(Cipher.AES_GCM_16, Integrity.NONE, 36, esn=True, window=64),
        ["rfc4106(gcm(aes))", "esn"],
    ),
    "chacha20": (
        Suite(Cipher.CHACHA20_POLY1305, Integrity.NONE, 36),
        ["rfc7539esp(chacha20,poly1305)"],
    ),
    "ah-sha256": (
        Suite(Cipher.NONE, Integrity.HMAC_SHA2_256_128, protocol=AH),
        ["proto ah", "hmac(sha256)"],
    ),
}


@pytest.fixture(scope="module")
def built() -> Iterator[XfrmWorld]:
    world = XfrmWorld()
    try:
        yield world
    finally:
        world.close()


@pytest.fixture
def world(built: XfrmWorld) -> Iterator[XfrmWorld]:
    """The network with no IPsec in it; a scenario in which the kernel complains fails."""
    log = KernelLog()
    try:
        yield built
        built.clear()
        complaints = log.complaints()
    finally:
        log.close()
    assert not complaints


def events(side: Side, kind: type[Any], seconds: float = 5.0) -> list[Any]:
    """Wait for an event of a kind; return all of it that are there."""
    end = time.monotonic() + seconds
    found: list[Any] = []
    while not found and time.monotonic() < end:
        found = [one for one in side.drain() if isinstance(one, kind)]
        time.sleep(0.02)
    return found


def rising(numbers: list[int]) -> bool:
    return all(one < other for one, other in itertools.pairwise(numbers))


# --- associations and policies ---------------------------------------------------


@pytest.mark.parametrize("name", list(SUITES))
def test_each_suite_moves_packets(world: XfrmWorld, name: str) -> None:
    suite, shown = SUITES[name]
    world.start("v6", suite, protocol=suite.protocol)
    assert world.passes()
    assert world.passes(four=True)
    for side in world.sides:
        text = side.ip("-s -d xfrm state")
        for word in shown:
            assert word in text, text
        # Two datagrams towards each end; what the kernel gives back is what it got.
        assert re.findall(r"(\d+)\(packets\)", text.replace("INF", "")).count("2") >= 2, text
        held = {one.spi: one for one in side.held()}
        with inside(side.ns):
            side.xfrm.synchronise(held.values(), side.xfrm.policies())
        assert {one.spi: one for one in side.held()} == held
        assert all(one.replay_window == suite.window for one in held.values())


def test_policies_are_those_of_the_table(world: XfrmWorld) -> None:
    """Both forms, all rows; iproute2 reads the same out of the kernel."""
    for payload in (Form.INSIDE, Form.RFC4877):
        world.start(
            "v6",
            None,
            payload=payload,
            prefix_discovery=True,
            return_routability=Form.RFC4877,
        )
        for side in world.sides:
            held = side.xfrm.policies()
            again = side.xfrm.policies()
            assert held == again
            assert all(is_ours(policy) for policy in held)
            text = side.ip("xfrm policy")
            outer = (HA, HOA) if payload is Form.INSIDE else (HA, COA)
            inward = outer if side is world.router else outer[::-1]
            reqid = MOBILE.reqid + Kind.PAYLOAD
            for direction in ("out", "in", "fwd"):
                ends = inward[::-1] if direction == "out" else inward
                own = f"src {NET6} dst ::/0" if ends[1] == HA else f"src ::/0 dst {NET6}"
                pattern = (
                    rf"{own}[^\n]*\n\s+dir {direction} priority \d+[^\n]*\n"
                    rf"\s+tmpl src {ends[0]} dst {ends[1]}\n"
                    rf"\s+proto esp reqid {reqid} mode tunnel"
                )
                assert re.search(pattern, text), f"{pattern}\n{text}"
            types = ("type 146", "type 147")
            sent = types if side is world.router else types[::-1]
            assert re.search(rf"{sent[0]}[^\n]*\n\s+dir out", text), text
            assert re.search(rf"{sent[1]}[^\n]*\n\s+dir in", text), text


def test_what_must_not_be_caught(world: XfrmWorld) -> None:
    """With payload protected and no key there, IKE passes and the link works."""
    world.start("unknown", None)
    world.agent.install(AT["v6"])
    assert not world.leaks()
    assert not world.leaks(four=True)
    # Behind the router nothing needs protection, and neighbours are found.
    ns_run(world.lan, "ip neigh flush dev eth0")
    ns_run(world.mr, "ip neigh flush dev lan0")
    assert reaches(world.lan, LAN, world.mr, ROUTER_LAN)
    assert reaches(world.mr, ROUTER_LAN, world.lan, LAN)
    for port in (500, 4500):
        # Even from the home address, which all policies are about.
        local, remote = UdpPlace(HOA, port), UdpPlace(HA, port)
        world.router.sockets.send(b"question", local, remote)
        assert received(world.agent, port) == [Datagram(b"question", remote, local)]
        local = UdpPlace(COA, port)
        world.router.sockets.send(b"question", local, remote)
        assert received(world.agent, port) == [Datagram(b"question", remote, local)]
        world.agent.sockets.send(b"answer", remote, local)
        assert received(world.router, port) == [Datagram(b"answer", local, remote)]


def received(side: Side, port: int, seconds: float = 1.0) -> list[Datagram]:
    end = time.monotonic() + seconds
    found: list[Datagram] = []
    while not found and time.monotonic() < end:
        for one in side.sockets:
            if one.port == port:
                found += one.receive()
        time.sleep(0.02)
    return found


def test_ike_sockets_know_their_address(world: XfrmWorld) -> None:
    """Local addresses, the marker, keepalives; ESP in UDP is not theirs."""
    for source, target in ((COA_2, HA), (COA4, HA4)):
        for port in (500, 4500):
            local, remote = UdpPlace(source, port), UdpPlace(target, port)
            world.router.sockets.keepalive(UdpPlace(source, 4500), UdpPlace(target, 4500))
            world.router.sockets.send(b"\x11" * 28, local, remote)
            assert received(world.agent, port) == [Datagram(b"\x11" * 28, remote, local)]
    # A datagram of the NAT's other side shows the mapping.
    world.router.sockets.send(b"x" * 28, UdpPlace(PRIVATE, 4500), remote)
    (got,) = received(world.agent, 4500)
    assert (str(got.remote.address), got.remote.port) == ("198.51.100.254", 20001)


def test_clear_text_is_refused_and_home_is_open(world: XfrmWorld) -> None:
    """At home tunnel rows are inactive; away a datagram in clear is not taken."""
    world.start("home", None)
    assert world.passes()
    assert world.passes(four=True)
    world.start("v6")
    for side, way in zip(
        world.sides, ((world.lan, LAN, world.cn, CN), (world.cn, CN, world.lan, LAN)), strict=True
    ):
        other = world.agent if side is world.router else world.router
        before = other.counters().get("XfrmInTmplMismatch", 0)
        side.flush()
        assert not reaches(*way, timeout=0.2)
        assert other.counters()["XfrmInTmplMismatch"] == before + 1
        world.start("v6")


def test_signalling_in_clear_is_dropped(world: XfrmWorld) -> None:
    """RFC 4877 section 7.2.1, and with keys it is let in."""
    world.start("v6", None)
    agent = MobilitySocket(world.ha, str(HA))
    router = MobilitySocket(world.mr, str(HOA))
    world.router.flush()
    router.send(str(HA), mobility(str(HOA), str(HA)))
    assert agent.get(0.3) is None
    pairs = world.keyed(AT["v6"], SUITES["cbc128-sha256"][0], Kind.SIGNALLING)
    for side, pair in zip(world.sides, pairs, strict=True):
        side.install(AT["v6"], tuple(pair))
    router.send(str(HA), mobility(str(HOA), str(HA)))
    got = agent.get()
    assert got is not None
    assert got[1] == str(HOA)
    agent.send(str(HOA), mobility(str(HA), str(HOA), 6))
    assert router.get() is not None
    router.close()
    agent.close()


# --- movement --------------------------------------------------------------------

TOUR = ("v6-2", "v4", "nat", "v6", "nat", "v4", "home", "v6-2", "v6")


@pytest.mark.spec("M-075")
@pytest.mark.parametrize(
    ("forced", "suite"),
    [(None, GCM), (Ability.NONE, GCM_ESN)],
    ids=["kernel-gcm", "forced-off-gcm-esn"],
)
def test_tour(world: XfrmWorld, forced: Ability | None, suite: Suite) -> None:
    """Every kind of access and home again: the same keys, counters that go on."""
    world.start("v6", suite)
    for side in world.sides:
        side.force(forced)
        assert side.xfrm.ability is (forced or Ability.MIGRATE)
    spis = world.spis()
    wire = world.capture()
    assert world.passes()
    packets = 1
    for where in TOUR:
        world.move(where)
        if where == "home":
            assert not any(
                policy.template is not None and policy.template.reqid == world.router.row().reqid
                for side in world.sides
                for policy in side.xfrm.policies()
            )
            continue
        assert world.passes(), where
        assert world.passes(four=True), where
        packets += 2
        for side in world.sides:
            check_moved(side, where, spis)
            (out,) = (
                one
                for one in side.xfrm.installed()
                if one.usage.packets >= packets and one.association.spi == spis[0]
            )
            assert out.usage.packets == packets
    seen = wire.packets()
    wire.close()
    assert not clear_text(seen)
    for spi in spis:
        numbers = sequences(seen, spi)
        assert len(numbers) == packets
        assert rising(numbers)


def check_moved(side: Side, where: str, spis: list[int]) -> None:
    """Associations and templates are where they should be, forward direction too."""
    place = AT[where].router if side is not None and side.ns == "x-mr" else AT[where].agent
    assert isinstance(place, Ends)
    held = {one.spi: one for one in side.held()}
    assert sorted(held) == spis
    for spi, towards_agent in zip(spis, (True, False), strict=True):
        assert held[spi].ends == place.pair(towards_agent)
        assert held[spi].encapsulation == place.encapsulation(towards_agent)
    text = side.ip("xfrm state")
    assert ("encap type espinudp" in text) == (place.ports is not None), text
    wanted = {
        (policy.direction, policy.selector): policy
        for policy in protecting(side.row(), side.role, place)
    }
    assert Direction.FORWARD in {direction for direction, _ in wanted}
    found = {
        (policy.direction, policy.selector): policy
        for policy in side.xfrm.policies()
        if policy.template is not None and policy.template.reqid == side.row().reqid
    }
    assert found == wanted


@pytest.mark.parametrize("forced", [None, Ability.NONE], ids=["kernel", "forced-off"])
def test_numbers_never_repeat_under_load(world: XfrmWorld, forced: Ability | None) -> None:
    """RFC 4106 section 3: no IV twice under one key, however often the ends move."""
    world.start("v6")
    for side in world.sides:
        side.force(forced)
    spis = world.spis()
    wire = world.capture()
    with Load(world):
        for count in range(40):
            world.move(("v6-2", "v4", "nat", "v6")[count % 4])
    seen = wire.packets()
    wire.close()
    assert not clear_text(seen)
    for spi in spis:
        numbers = sequences(seen, spi)
        assert len(numbers) > 100
        assert rising(numbers)
    assert world.passes()


def test_old_packets_stay_old(world: XfrmWorld) -> None:
    """The replay window goes along, whatever way the association moved."""
    for forced in (None, Ability.NONE):
        world.start("v6")
        for side in world.sides:
            side.force(forced)
        assert world.passes()
        before = {one.association.spi: one.replay for one in world.agent.xfrm.installed()}
        world.move("v6-2")
        after = {one.association.spi: one.replay for one in world.agent.xfrm.installed()}
        inward, outward = world.spis()
        assert after[inward] == before[inward]
        assert after[inward].received == 1
        assert any(after[inward].bitmap)
        assert after[outward].sent > before[outward].sent
        (held,) = (one for one in world.agent.held() if one.spi == outward)
        assert world.agent.xfrm.counters(held) == after[outward]


def test_migrate_with_only_a_larval_state(world: XfrmWorld) -> None:
    """A packet asked for keys that never came; then the router moves."""
    world.start("v6", None)
    for side in world.sides:
        send_datagram(
            world.lan if side is world.router else world.cn,
            LAN if side is world.router else CN,
            CN if side is world.router else LAN,
        )
        (asked, *_) = events(side, Acquire)
        assert asked.reqid == side.row().reqid
        assert "spi 0x00000000" in side.ip("xfrm state")
        side.move(AT["v6-2"])
        assert "spi 0x00000000" not in side.ip("xfrm state")
        place = AT["v6-2"].router
        assert isinstance(place, Ends)
        assert set(protecting(side.row(), side.role, place)) <= set(side.xfrm.policies())


def test_a_refused_migrate_is_done_by_hand(world: XfrmWorld) -> None:
    """The kernel refuses (its policy is not what we think): policy and SA move all the same."""
    world.start("v6")
    spis = world.spis()
    for side in world.sides:
        # Somebody else moved the templates already.
        for policy in protecting(side.row(), side.role, Ends(COA4, HA4)):
            side.xfrm.put_policy(policy)
        side.move(AT["v6-2"])
        check_moved(side, "v6-2", spis)
    assert world.passes()


def test_two_pairs_move_during_a_rekey(world: XfrmWorld) -> None:
    """MIGRATE moves the first association that it finds; the others must not stay behind."""
    world.start("v6")
    second = world.keyed(AT["v6"], GCM)
    for side, pair in zip(world.sides, second, strict=True):
        for association in pair:
            side.xfrm.add_association(association)
    world.move("v4")
    for side in world.sides:
        held = side.held()
        assert len(held) == 4
        assert all(one.destination in (COA4, HA4) for one in held)
    assert world.passes()


def test_ports_of_a_nat_change(world: XfrmWorld) -> None:
    """ESP from another port is told of, and followed without touching counters."""
    world.start("nat")
    assert world.passes()
    # As behind a NAT that forgot its mapping.
    (out,) = (one for one in world.router.held() if one.spi == world.spis()[0])
    assert out.encapsulation is not None
    ns_run(world.core, "nft flush chain ip x out")
    ns_run(
        world.core,
        "nft 'add rule ip x out ip saddr 10.0.5.2 udp sport 4510 "
        "masquerade to :20002; add rule ip x out ip saddr 10.0.5.2 udp dport 4500 "
        "masquerade to :20001'",
    )
    try:
        world.router.xfrm.update_association(
            replace(out, encapsulation=replace(out.encapsulation, source_port=4510))
        )
        reaches(world.lan, LAN, world.cn, CN)
        (found, *_) = events(world.agent, Mapping)
        assert found.spi == out.spi
        assert found.reqid == out.reqid
        assert (str(found.old[0]), found.old[1]) == ("198.51.100.254", 20001)
        assert (str(found.new[0]), found.new[1]) == ("198.51.100.254", 20002)
        before = {one.association.spi: one.replay for one in world.agent.xfrm.installed()}
        place = world.agent.place
        assert isinstance(place, Ends)
        moved = replace(place, ports=(20002, 4500))
        steps = plan(
            world.agent.rows, world.agent.role, place, moved, Ability.MIGRATE, world.agent.held()
        )
        with inside(world.ha):
            world.agent.xfrm.carry(steps)
        after = {one.association.spi: one for one in world.agent.xfrm.installed()}
        assert {spi: one.replay for spi, one in after.items()} == before
        ports = [one.association.encapsulation for one in after.values()]
        assert {(one.source_port, one.destination_port) for one in ports if one} == {
            (20002, 4500),
            (4500, 20002),
        }
    finally:
        ns_run(world.core, "nft flush chain ip x out")
        ns_run(
            world.core,
            "nft 'add rule ip x out ip saddr 10.0.5.2 udp dport 4500 masquerade to :20001'",
        )


def test_key_managers_are_told(world: XfrmWorld) -> None:
    """KMADDRESS: addresses for IKE, at each movement, from either end."""
    world.start("v6")
    world.move("v4")
    for side, addresses in ((world.router, (COA4, HA4)), (world.agent, (HA4, COA4))):
        found = events(side, Migrated)
        assert {one.addresses for one in found} == {addresses}
        payload = [one for one in found if one.moves[0].reqid == side.row().reqid]
        assert {one.direction for one in payload} == set(Direction)
        signalling = [one for one in found if one.moves[0].reqid == MOBILE.reqid]
        assert signalling
        for one in payload:
            (move,) = one.moves
            assert {*move.old} == {COA, HA}
            assert {*move.new} == {COA4, HA4}
    # An association of signalling, whose ends never move, is not even copied.
    world.start("v6", None)
    (pair, _) = world.keyed(AT["v6"], GCM, Kind.SIGNALLING)
    for association in pair:
        world.router.xfrm.add_association(association, Replay(sent=7))
    world.router.move(AT["v4"])
    assert events(world.router, Migrated)
    assert [one.replay.sent for one in world.router.xfrm.installed()] == [7, 7]


def test_first_contact(world: XfrmWorld) -> None:
    """Before any key: an update asks for one, and IKE has heard of the care-of address."""
    world.start("unknown", None, return_routability=Form.RFC4877)
    router = world.router
    assert not world.leaks()
    sender = MobilitySocket(world.mr, str(HOA))
    with contextlib.suppress(OSError):
        sender.send(str(HA), mobility(str(HOA), str(HA)))
    sender.close()
    (asked, *_) = events(router, Acquire)
    assert asked.reqid == MOBILE.reqid + Kind.SIGNALLING
    assert asked.template.outer == (HOA, HA)
    router.move(AT["v6"])
    found = events(router, Migrated)
    assert {one.addresses for one in found} == {(COA, HA)}
    assert MOBILE.reqid + Kind.SIGNALLING in {one.moves[0].reqid for one in found}
    assert set(protecting(router.row(), router.role, Ends(COA, HA))) <= set(router.xfrm.policies())


# --- what the kernel tells -------------------------------------------------------


def test_acquire_names_the_row(world: XfrmWorld) -> None:
    world.start("v6", None)
    send_datagram(world.lan, LAN, CN, port=77)
    (found, *_) = events(world.router, Acquire)
    assert found.reqid == MOBILE.reqid + Kind.PAYLOAD
    assert found.template.outer == (COA, HA)
    assert found.direction is Direction.OUT
    assert str(found.packet.source.network_address) == LAN
    assert str(found.packet.destination.network_address) == CN
    assert (found.packet.protocol, found.packet.destination_port) == (17, 77)
    assert found.policy.source == NET6


def test_expiry_soft_and_hard(world: XfrmWorld) -> None:
    """By packets at once, by time in its own."""
    world.start("v6", None)
    for side, pair in zip(world.sides, world.keyed(AT["v6"], GCM), strict=True):
        limits = Lifetimes(soft_packets=3, hard_packets=5)
        side.install(AT["v6"], tuple(replace(one, lifetimes=limits) for one in pair))
    out, _inward = world.spis()
    send_datagram(world.lan, LAN, CN, count=4)
    (soft, *_) = events(world.router, Expire)
    assert (soft.spi, soft.hard, soft.reqid) == (out, False, MOBILE.reqid + Kind.PAYLOAD)
    assert (soft.source, soft.destination) == (COA, HA)
    send_datagram(world.lan, LAN, CN, count=4)
    assert any(one.hard and one.spi == out for one in events(world.router, Expire))
    for side, pair in zip(world.sides, world.keyed(AT["v6"], GCM), strict=True):
        limits = Lifetimes(soft_seconds=1, hard_seconds=3)
        side.install(AT["v6"], tuple(replace(one, lifetimes=limits) for one in pair))
    world.move("v6-2")  # time goes on for one that has moved
    assert not any(one.hard for one in events(world.router, Expire))
    end = time.monotonic() + 5
    hard: list[Any] = []
    while len(hard) < 2 and time.monotonic() < end:
        hard += [one for one in events(world.router, Expire) if one.hard]
    assert len(hard) == 2
    assert not world.router.held()


def test_pfkey_migrate_is_accepted_and_echoed(world: XfrmWorld) -> None:
    world.start("v6")
    spis = world.spis()
    side = world.router
    with inside(side.ns):
        sender, listener = PfKeySocket(), PfKeySocket()
    for policy in protecting(side.row(), side.role, Ends(COA, HA)):
        if policy.selector.source.version == 4:
            continue
        towards_agent = policy.direction is Direction.OUT
        old, new = (Ends(end, HA).pair(towards_agent) for end in (COA, COA_2))
        message = MigrateMessage(
            policy.direction,
            policy.selector.source,
            policy.selector.destination,
            0,
            (Move(ESP, side.row().mode, side.row().reqid, old, new),),
            (COA_2, HA),
        )
        sender.send(message)
        (echo,) = listener.receive()
        assert isinstance(echo, MigrateMessage)
        assert replace(echo, sequence=0) == message
        assert events(side, Migrated)[0].addresses == (COA_2, HA)
    held = {one.spi: one for one in side.held()}
    assert [held[spi].ends for spi in spis] == [(COA_2, HA), (HA, COA_2)]
    list(sender.receive())
    # What has moved does not match any more; only who asked hears of it.
    sender.send(replace(message, sequence=5))
    assert list(sender.receive()) == [Refusal(5, errno.ENODATA)]
    assert not list(listener.receive())
    # Who listens here hears of movements by netlink, too.
    side.place = Ends(COA_2, HA)
    side.move(AT["v4"])
    heard = [one for one in listener.receive() if isinstance(one, MigrateMessage)]
    assert {one.addresses for one in heard} == {(COA4, HA4)}
    assert {one.direction for one in heard} == set(Direction)
    sender.close()
    listener.close()


def test_a_thousand_migrations_leave_nothing(world: XfrmWorld) -> None:
    """A leak of references would keep the namespace's policies for ever."""
    world.start("v6")
    side = world.router
    steps = {
        (one, other): [
            step
            for step in plan(
                side.rows, side.role, Ends(one, HA), Ends(other, HA), Ability.MIGRATE, side.held()
            )
            if isinstance(step, Migrate)
        ]
        for one, other in ((COA, COA_2), (COA_2, COA))
    }
    count = 0
    while count < 1000:
        for way in steps.values():
            side.xfrm.carry(way)
            count += len(way)
    assert len(side.held()) == 2
    with inside(side.ns):
        side.xfrm.clear()
    assert not side.xfrm.policies()
    assert not side.held()
    assert "src" not in side.ip("xfrm state")


def test_blocked_while_it_moves(world: XfrmWorld) -> None:
    """Between the first step and the last nothing leaves; in the end all does."""
    world.start("v6")
    side = world.router
    steps = plan(
        side.rows, side.role, side.place, AT["v6-2"].router, side.xfrm.ability, side.held()
    )
    outward = [
        step.policy
        for step in steps
        if hasattr(step, "policy") and step.policy.action is Action.BLOCK
    ]
    assert outward
    wire = world.capture("tomr")
    with inside(side.ns):
        for step in steps:
            side.xfrm.carry([step])
            send_datagram(world.lan, LAN, CN)
    side.place = AT["v6-2"].router
    world.agent.move(AT["v6-2"])
    seen = wire.packets()
    wire.close()
    assert not clear_text(seen)
    numbers = sequences(seen, world.spis()[0])
    assert rising(numbers)
    assert len(numbers) < len(steps) - 4
    assert world.passes()


def test_errors_name_the_request(world: XfrmWorld) -> None:
    world.start("v6")
    (held, *_) = world.router.held()
    with pytest.raises(NetlinkError, match="File exists"):
        world.router.xfrm.add_association(held)
    assert world.router.xfrm.read(HA, 0x77) is None
    world.router.xfrm.remove(HA, 0x77)
