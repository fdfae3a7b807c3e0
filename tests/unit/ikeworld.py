# SPDX-License-Identifier: GPL-2.0-only
"""A mobile router's and a home agent's keys, joined in memory, with a clock of their own."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Any

from dsmip.ikev2.effects import Endpoint, IkeView
from dsmip.ipsec.association import Association
from dsmip.ipsec.movement import Ability
from dsmip.linux.ike_socket import Datagram, Place
from dsmip.linux.xfrm_events import Event
from dsmip.mobility.ownership import Owner, Ownership
from dsmip.packet.careof import CareOf, WireKind
from dsmip.packet.kernel import Address
from dsmip.service.config import Config
from dsmip.service.derived import rows_of
from dsmip.service.ike_config import Manager
from dsmip.service.ike_host import IkeHost
from dsmip.service.keys import Guard, Keys, Rows

from tests.unit.fakexfrm import FakeXfrm

HOA, HA6 = IPv6Address("2001:db8:1::100"), IPv6Address("2001:db8:1::1")
HA4 = IPv4Address("198.51.100.1")
COA6, COA6B = IPv6Address("2001:db8:a6::5"), IPv6Address("2001:db8:a7::5")
COA4, INSIDE4, NAT4 = (IPv4Address(a) for a in ("198.18.4.9", "10.0.5.2", "198.18.5.2"))
HOME = IPv6Network("2001:db8:1::/64")
AT6, AT6B = CareOf(COA6), CareOf(COA6B)
AT4, AT_NAT = CareOf(COA4, WireKind.UDP4), CareOf(INSIDE4, WireKind.UDP4)
#: What the home agent sees of a router behind the NAT.
SEEN_NAT = CareOf(NAT4, WireKind.UDP4, 41000)


NAME_SERVER = IPv6Address("2001:db8:1::53")


class Handle:
    """A timer that can be cancelled."""

    def __init__(self, at: float, action: Callable[[], None]) -> None:
        self.at, self.action, self.cancelled = at, action, False

    def cancel(self) -> None:
        self.cancelled = True

    def when(self) -> float:
        return self.at


class Loop:
    """As much of an event loop as is used, in virtual time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.readers: dict[int, Callable[[], None]] = {}
        self._queue: list[tuple[float, int, Handle]] = []
        self._order = itertools.count()

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, action: Callable[..., Any], *args: Any) -> Handle:
        handle = Handle(at, lambda: action(*args))
        heapq.heappush(self._queue, (at, next(self._order), handle))
        return handle

    def call_later(self, delay: float, action: Callable[..., Any], *args: Any) -> Handle:
        return self.call_at(self.now + delay, action, *args)

    def call_soon(self, action: Callable[..., Any], *args: Any) -> Handle:
        return self.call_at(self.now, action, *args)

    def add_reader(self, fd: int, action: Callable[..., Any], *args: Any) -> None:
        self.readers[fd] = lambda: action(*args)

    def remove_reader(self, fd: int) -> None:
        self.readers.pop(fd, None)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        for _ in range(100_000):
            if not self._queue or self._queue[0][0] > end:
                self.now = end
                return
            at, _number, handle = heapq.heappop(self._queue)
            self.now = max(self.now, at)
            if not handle.cancelled:
                handle.action()
        raise AssertionError("time does not pass")


class Sockets:
    """One side's sockets, joined to the wire."""

    nat_port = 4500
    _fds = itertools.count(1000)

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.fd = next(self._fds)
        self.waiting: list[Datagram] = []
        self.closed = False

    def fileno(self) -> int:
        return self.fd

    def __iter__(self) -> Iterator[Sockets]:
        yield self

    def receive(self, limit: int = 64) -> Iterator[Datagram]:
        while self.waiting:
            yield self.waiting.pop(0)

    def send(self, data: bytes, local: Endpoint, remote: Endpoint) -> None:
        self._wire.send(data, local, remote)

    def keepalive(self, local: Endpoint, remote: Endpoint) -> None:
        self._wire.keepalives += 1

    def close(self) -> None:
        self.closed = True


class Monitor:
    """Notifications of a kernel that are given by hand."""

    def __init__(self) -> None:
        self.waiting: list[Event] = []

    def fileno(self) -> int:
        return id(self) & 0x7FFFFFFF

    def receive(self) -> Iterator[Event]:
        while self.waiting:
            yield self.waiting.pop(0)

    def close(self) -> None:
        pass


class Wire:
    """Delivers to whoever has an address; one address is behind a NAT."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.at: dict[Address, Side] = {}
        self.sent: list[tuple[Endpoint, Endpoint, bytes]] = []
        self.keepalives = 0
        self.nat_port = 40000
        self._mapped: dict[int, Endpoint] = {}
        self.broken = False

    def send(self, data: bytes, local: Endpoint, remote: Endpoint) -> None:
        self.sent.append((local, remote, data))
        source, target = local, remote
        if local.address == INSIDE4:
            port = self.nat_port + local.port
            self._mapped[port] = local
            source = Endpoint(NAT4, port)
        if remote.address == NAT4:
            inside = self._mapped.get(remote.port)
            if inside is None:
                return
            target = inside
        side = self.at.get(target.address)
        if side is None or self.broken or side.dead:
            return
        datagram = Datagram(
            data, Place(target.address, target.port), Place(source.address, source.port)
        )
        self._loop.call_later(0.01, side.deliver, datagram)

    def handshakes(self) -> int:
        """Return how many IKE SAs were begun."""
        return len({data[:8] for _, _, data in self.sent if len(data) > 18 and data[18] == 34})


@dataclass
class Side:
    """A daemon's keys without its mobility."""

    name: str
    loop: Loop
    wire: Wire
    config: Config
    xfrm: FakeXfrm
    book: Ownership | None = None
    state: str = ""
    dead: bool = False
    ready: list[IPv6Address] = field(default_factory=list)
    brought: list[IPv6Address] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sockets = Sockets(self.wire)
        self.monitor = Monitor()
        self.host = IkeHost(
            self.config.ike,
            self.xfrm,
            self.sockets,  # type: ignore[arg-type]
            self.monitor,
            self.loop,  # type: ignore[arg-type]
            self.state,
        )
        self.host.keys.ready = self.ready.append
        self.host.keys.brought = self.brought.append
        self.host.keys.book = self if self.book is not None else None
        self.keys = Keys(self.xfrm, self._make)
        self.keys.update(self.rows(), (HOME,))
        self.host.start()

    def _make(self, manager: Manager) -> Guard:
        assert manager is Manager.IKEV2
        return self.host.keys

    def rows(self) -> Rows:
        return rows_of(self.config)

    def give(self, identity: str, wanted: IPv6Address | None) -> Owner:
        assert self.book is not None
        return self.book.home_address(identity, wanted)

    def home_prefix(self, home_address: IPv6Address) -> IPv6Network | None:
        return HOME if home_address in HOME else None

    def name_servers(self) -> tuple[IPv6Address, ...]:
        return (NAME_SERVER,)

    def deliver(self, datagram: Datagram) -> None:
        if not self.dead and not self.sockets.closed:
            self.sockets.waiting.append(datagram)
            self.loop.readers[self.sockets.fd]()

    def tell(self, event: Event) -> None:
        """Let the kernel notify."""
        self.host.event(event)

    def views(self) -> list[IkeView]:
        return self.host.runtime.views()

    def view(self) -> IkeView:
        """Return the only IKE SA that is up."""
        found = [view for view in self.views() if view.state == "established"]
        assert len(found) == 1, found
        return found[0]

    def pairs(self) -> set[tuple[Address, Address]]:
        """Return the ends of all associations in its kernel."""
        return {one.ends for one in self.xfrm.sas.values()}

    def spis(self) -> set[int]:
        return {one.spi for one in self.xfrm.sas.values()}

    def associations(self) -> list[Association]:
        return list(self.xfrm.sas.values())


class World:
    """A router and its home agent; ``start`` gives the router its first care-of address."""

    def __init__(
        self,
        agent: Config,
        router: Config,
        ability: Ability = Ability.MIGRATE,
        book: Ownership | None = None,
        state: str = "",
    ) -> None:
        self.loop = Loop()
        self.wire = Wire(self.loop)
        self.book = book
        self.ha = Side("ha", self.loop, self.wire, agent, FakeXfrm(ability), book)
        self.mr = Side("mr", self.loop, self.wire, router, FakeXfrm(ability), state=state)
        self._join()

    def _join(self) -> None:
        self.wire.at.update({HA6: self.ha, HA4: self.ha})
        for address in (COA6, COA6B, COA4, INSIDE4, HOA):
            self.wire.at[address] = self.mr

    def run(self, seconds: float = 1.0) -> None:
        self.loop.run(seconds)

    def move(
        self, care_of: CareOf | None, home: IPv6Address = HOA, seen: CareOf | None = None
    ) -> None:
        """Let both engines tell of a movement, the agent's a little later."""
        at_home = care_of is None
        self.mr.keys.moved(home, None, care_of, at_home)
        self.run(0.02)
        self.ha.keys.moved(home, None, seen or care_of, at_home)
        self.run(1.0)

    def restart(self, who: str) -> Side:
        """Kill a daemon and start another on what its kernel holds."""
        old: Side = getattr(self, who)
        old.dead = True
        old.host.runtime.stop(keep=True)
        new = Side(who, self.loop, self.wire, old.config, old.xfrm, self.book, old.state)
        setattr(self, who, new)
        self._join()
        return new
