# SPDX-License-Identifier: GPL-2.0-only
"""What the home agent sees of its routers: moves and round trips."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from types import SimpleNamespace
from typing import Any

import pytest
from dsmip.linux.dsmip import BindingState, PathState, Traffic
from dsmip.linux.ip6_socket import Received
from dsmip.packet.careof import WireKind
from dsmip.packet.kernel import KernelBinding, Path
from dsmip.service import listing, render
from dsmip.service.control import RequestError
from dsmip.service.moves import Moves
from dsmip.service.round_trips import COUNTED, MOST, RoundTrips

HOME, AGENT = IPv6Address("2001:db8:1::100"), IPv6Address("2001:db8:1::1")
NONE = Traffic(0, 0, 0, 0)


def binding(care_of: str, kind: WireKind = WireKind.UDP4) -> KernelBinding:
    path = Path(0, kind, IPv4Address("198.51.100.1"), IPv4Address(care_of))
    return KernelBinding(HOME, None, (), (), (path,), mobile=False, lifetime=60, sequence=1)


def kernel(*heard: int | None) -> BindingState:
    bound = binding("192.0.2.1")
    paths = tuple(PathState(bound.paths[0], True, NONE, one, 1400) for one in heard)
    return BindingState(bound, NONE, paths)


class Kernel:
    """Counts how often it is asked: every move costs a question, nothing else does."""

    def __init__(self) -> None:
        self.asked = 0
        self.state: BindingState | OSError | None = kernel(23, None, 400)

    def __call__(self, home_address: IPv6Address) -> BindingState | None:
        assert home_address == HOME
        self.asked += 1
        if isinstance(self.state, OSError):
            raise self.state
        return self.state


def test_a_move_tells_how_long_nothing_was_heard() -> None:
    read = Kernel()
    moves = Moves(read, lambda: 1_800_000_000.0)
    moves.before(binding("192.0.2.1"))
    moves.before(replace(binding("192.0.2.1"), sequence=2))
    assert moves.document(HOME) is None
    assert read.asked == 0
    moves.before(binding("192.0.2.9"))
    assert moves.document(HOME) == {
        "time": 1_800_000_000.0,
        "from": "192.0.2.1",
        "to": "192.0.2.9",
        "silent_ms": 23,
    }
    assert read.asked == 1
    moves.ended(HOME)
    moves.ended(HOME)
    assert moves.document(HOME) is None
    moves.before(binding("192.0.2.1"))
    assert moves.document(HOME) is None, "a new registration is no move"


@pytest.mark.parametrize("state", [None, kernel(), kernel(None), OSError(19, "No such device")])
def test_a_move_of_which_nothing_is_known(state: BindingState | OSError | None) -> None:
    read = Kernel()
    read.state = state
    moves = Moves(read)
    moves.adopt(binding("192.0.2.1"))
    moves.before(replace(binding("192.0.2.1"), paths=()))
    moves.before(binding("192.0.2.9"))
    document = moves.document(HOME)
    assert document is not None
    assert document["silent_ms"] is None


# --- round trips -----------------------------------------------------------------


class Wire:
    def __init__(self) -> None:
        self.sent: list[tuple[bytes, IPv6Address]] = []
        self.waiting: list[Received] = []
        self.closed = False
        self.broken = False

    def fileno(self) -> int:
        return 9

    def close(self) -> None:
        self.closed = True

    def send(self, data: bytes, source: IPv6Address, destination: IPv6Address) -> None:
        if self.broken:
            raise OSError(101, "Network is unreachable")
        assert source == AGENT
        self.sent.append((data, destination))

    def receive(self) -> Iterable[Received]:
        found, self.waiting = self.waiting, []
        return found


class World:
    def __init__(self, sources: tuple[IPv6Address, ...] = (AGENT,)) -> None:
        self.now = 100.0
        self.wire = Wire()
        self.readers: dict[int, Callable[[], None]] = {}
        loop: Any = SimpleNamespace(
            time=lambda: self.now,
            add_reader=self.readers.__setitem__,
            remove_reader=self.readers.pop,
        )
        self.trips = RoundTrips(loop, sources, lambda: self.wire)

    def answer(self, data: bytes, source: IPv6Address = HOME) -> None:
        self.wire.waiting.append(Received(data, source, AGENT, 1, 64))
        self.readers[9]()

    def reply(self, number: int = -1) -> bytes:
        return b"\x81" + self.wire.sent[number][0][1:]


def test_round_trip() -> None:
    world = World()
    assert world.trips.of(HOME) is None
    world.trips.ask([HOME])
    world.trips.ask([HOME])
    assert [destination for _, destination in world.wire.sent] == [HOME], "once a second"
    world.now += 0.0234
    world.answer(world.reply())
    assert world.trips.of(HOME) == 23.4
    world.now += 29
    assert world.trips.of(HOME) == 23.4
    world.now += 2
    assert world.trips.of(HOME) is None, "too old to be told"
    world.trips.stop()
    world.trips.stop()
    assert world.wire.closed
    assert world.readers == {}


def test_answers_that_answer_nothing() -> None:
    """Forged, repeated, late, from another address: no round trip comes of them."""
    world = World()
    world.trips.ask([HOME])
    good = world.reply()
    for bad in (
        b"",
        good[:-1],
        good + b"x",
        b"\x80" + good[1:],
        good[:1] + b"\x01" + good[2:],
        good[:4] + struct.pack(">H", struct.unpack(">H", good[4:6])[0] ^ 1) + good[6:],
        good[:6] + b"\x77\x77" + good[8:],
        good[:-8] + bytes(8),
    ):
        world.answer(bad)
        assert world.trips.of(HOME) is None
    world.answer(good, IPv6Address("2001:db8:1::101"))
    assert world.trips.of(HOME) is None
    world.now += 6
    world.answer(good)
    assert world.trips.of(HOME) is None, "late"
    world.trips.ask([HOME])
    world.now += 0.01
    world.answer(world.reply())
    world.now += 0.5
    world.answer(world.reply())
    assert world.trips.of(HOME) == 10.0, "a repetition changes nothing"


def test_loss_is_a_share_of_the_last_echoes() -> None:
    world = World()
    for _ in range(10):
        world.trips.ask([HOME])
        world.now += 1
    assert world.trips.loss(HOME) is None, "whoever never answers may be no friend of echoes"
    world.trips.ask([HOME])
    world.now += 0.01
    world.answer(world.reply())
    # Five are given up by now, the others may still be answered.
    assert world.trips.loss(HOME) == round(100 * 5 / 6, 1)
    for _ in range(COUNTED + 5):
        world.now += 1
        world.trips.ask([HOME])
        world.answer(world.reply())
    assert world.trips.loss(HOME) == 0.0, "what is long ago does not count"
    for _ in range(4 + 6):
        world.now += 1
        world.trips.ask([HOME])
    assert world.trips.loss(HOME) == 20.0
    for _ in range(3 * COUNTED):
        world.now += 1
        world.trips.ask([HOME])
    assert (world.trips.loss(HOME), world.trips.of(HOME)) == (100.0, None)
    world.trips.forget()
    assert world.trips.loss(HOME) is None
    world.answer(world.reply())
    assert world.trips.of(HOME) is None, "that was another way"


def test_tables_are_bounded() -> None:
    world = World()
    first = int(HOME)
    world.trips.ask(IPv6Address(first + number) for number in range(MOST + 50))
    assert len(world.wire.sent) == MOST + 50
    world.now += 0.01
    for number in range(MOST + 50):
        world.answer(world.reply(number), IPv6Address(first + number))
    known = [world.trips.of(IPv6Address(first + number)) for number in range(MOST + 50)]
    assert [one is not None for one in known] == [False] * 50 + [True] * MOST


def test_no_way_to_ask() -> None:
    World(sources=()).trips.ask([HOME])
    world = World()
    world.wire.broken = True
    world.trips.ask([HOME])
    assert world.trips.of(HOME) is None

    def refused() -> Wire:
        raise OSError(1, "Operation not permitted")

    loop: Any = SimpleNamespace(time=lambda: 1.0)
    RoundTrips(loop, (AGENT,), refused).ask([HOME])


@pytest.mark.parametrize(
    "addresses", [5, "bus-17", "2001:db8::1/64", " ".join(["::1"] * 101), ["::1"]]
)
def test_requests_that_make_no_sense(addresses: Any) -> None:
    agent: Any = SimpleNamespace(bindings=list)
    device: Any = None
    with pytest.raises(RequestError, match="home addresses"):
        listing.routers({"addresses": addresses}, device, agent)
    with pytest.raises(RequestError, match="no home agent"):
        listing.routers({"addresses": ""}, device, None)


def test_shown_on_the_command_line() -> None:
    answer = {
        "total": 1,
        "bindings": [
            {
                "identity": "bus-17",
                "home_address": str(HOME),
                "home_address4": None,
                "care_of": None,
                "prefixes": [],
                "remaining": 1.0,
                "lifetime": 60,
                "sequence": 1,
                "traffic": None,
                "last_move": {
                    "time": 1_800_000_000.0,
                    "from": "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
                    "to": "192.0.2.9",
                    "silent_ms": 23,
                },
                "certificate_ends": 1_900_000_000.0,
            }
        ],
    }
    lines = render.bindings(answer)
    assert all(len(line) <= render.WIDTH for line in lines)
    text = " ".join(line.strip() for line in lines)
    assert "nothing heard for 23 ms before" in text
    assert "ends 2030-03-17" in text
