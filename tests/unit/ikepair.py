# SPDX-License-Identifier: GPL-2.0-only
"""Two IKEv2 engines with a wire between them that a test holds in its hands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from random import Random
from typing import Any, TypeVar

from dsmip.ikev2.authentication import Psk
from dsmip.ikev2.config import (
    Address,
    AddressRequest,
    Assignment,
    ChildConfig,
    Connection,
    Directory,
    EngineConfig,
    Lifetime,
    Mode,
    Timings,
)
from dsmip.ikev2.crypto import Cipher
from dsmip.ikev2.effects import (
    AddChild,
    ChildSa,
    Count,
    Effect,
    Endpoint,
    IkeDown,
    IkeUp,
    IkeView,
    MoveChild,
    RemoveChild,
    Send,
    UseChild,
)
from dsmip.ikev2.engine import Engine
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.message import open as open_message
from dsmip.ikev2.message import parse
from dsmip.ikev2.numbers import ExchangeType, ProtocolId
from dsmip.ikev2.proposals import parse_proposal
from dsmip.ikev2.selectors import TrafficSelector

E = TypeVar("E")

MOBILE = ip_address("2001:db8:1::7")
AGENT = ip_address("2001:db8:ffff::1")
MOBILE4 = ip_address("198.51.100.7")
AGENT4 = ip_address("203.0.113.1")
HOME = ip_address("2001:db8:ffff::77")
WALL = 1_800_000_000.0 - 1000

IKE = parse_proposal("aes128gcm16-prfsha256-x25519")
ESP = parse_proposal("aes128gcm16-x25519", ProtocolId.ESP)


def selector(text: str, protocol: int = 0, start: int = 0, end: int = 65535) -> TrafficSelector:
    return TrafficSelector.from_network(text, protocol, start, end)


def tunnel(name: str = "net", reqid: int = 1, **changes: Any) -> ChildConfig:
    """A tunnel child that follows the IKE SA, from the mobile end's side."""
    config = ChildConfig(
        name,
        reqid,
        (selector(f"2001:db8:77:{reqid}::/64"),),
        (selector("2001:db8:cafe::/48"),),
        (ESP,),
        lifetime=Lifetime(3600, 4000),
        jitter=0.0,
    )
    return replace(config, **changes)


def signalling(name: str = "mh", reqid: int = 9, home: str = str(HOME)) -> ChildConfig:
    """The transport child of RFC 4877 between home address and home agent."""
    return ChildConfig(
        name,
        reqid,
        (selector(home, 135),),
        (selector(str(AGENT), 135),),
        (ESP,),
        mode=Mode.TRANSPORT,
        endpoints=(ip_address(home), AGENT),
        jitter=0.0,
    )


def mirrored(child: ChildConfig) -> ChildConfig:
    """The same child at the other end."""
    ends = child.endpoints[::-1] if child.endpoints else None
    return replace(child, local=child.remote, remote=child.local, endpoints=ends)


def connection(**changes: Any) -> Connection:
    """The mobile end's connection."""
    plain = Connection(
        "agent",
        Identity.parse("mr.example.net"),
        Identity.parse("ha.example.net"),
        Psk(b"correct horse battery staple"),
        (Psk(b"correct horse battery staple"),),
        (IKE,),
        (tunnel(),),
        timings=Timings(jitter=0.0, liveness=0.0, rekey=0.0),
    )
    return replace(plain, **changes)


def counterpart(mobile: Connection, **changes: Any) -> Connection:
    """The home agent's connection for a mobile end."""
    own = mobile.peer[0]
    plain = replace(
        mobile,
        name="router",
        local=mobile.remote or Identity.parse("ha.example.net"),
        remote=mobile.local,
        own=own if isinstance(own, Psk) else mobile.own,
        peer=(mobile.own,) if isinstance(mobile.own, Psk) else mobile.peer,
        children=tuple(mirrored(child) for child in mobile.children),
        request=None,
    )
    return replace(plain, **changes)


@dataclass
class Accounts:
    """A directory of one host, with the addresses that it may give."""

    connections: list[Connection] = field(default_factory=list)
    assigner: Callable[[Connection, Identity, AddressRequest], Assignment | None] | None = None
    asked: list[AddressRequest] = field(default_factory=list)

    def find(self, own: Identity | None, peer: Identity) -> Connection | None:
        for found in self.connections:
            if found.remote is not None and found.remote.matches(peer):
                return found if own is None or own.matches(found.local) else None
        return None

    def assign(
        self, connection: Connection, peer: Identity, request: AddressRequest
    ) -> Assignment | None:
        self.asked.append(request)
        return self.assigner(connection, peer, request) if self.assigner else None


@dataclass(frozen=True)
class Packet:
    """A datagram on the wire."""

    sender: str
    data: bytes
    source: Endpoint
    target: Endpoint

    @property
    def message(self) -> bytes:
        """The IKE message in it."""
        return self.data[4:] if self.data[:4] == bytes(4) else self.data

    @property
    def exchange(self) -> int:
        return self.message[18] if len(self.message) > 18 else 0

    @property
    def response(self) -> bool:
        return bool(self.message[19] & 0x20) if len(self.message) > 19 else False

    @property
    def message_id(self) -> int:
        return int.from_bytes(self.message[20:24])

    def __str__(self) -> str:
        try:
            name = ExchangeType(self.exchange).name
        except ValueError:
            name = "keepalive" if self.data == b"\xff" else str(self.exchange)
        kind = "answer" if self.response else "request"
        return f"{self.sender}: {name} {kind} {self.message_id}"


class Host:
    """One engine and what became of its effects."""

    def __init__(self, world: Wire, name: str, config: EngineConfig, directory: Directory) -> None:
        self.world = world
        self.name = name
        self.addresses: set[Address] = set()
        world.made += 1
        random = Random(f"{name}{world.made}")
        self.engine = Engine(config, directory, random.randbytes, lambda: WALL + world.now)
        self.effects: list[Effect] = []
        self.installed: dict[int, ChildSa] = {}
        self.outbound: set[int] = set()
        self.counters: Counter[str] = Counter()

    def __call__(self, effects: Iterable[Effect]) -> None:
        """Carry out what an engine asks for."""
        for effect in effects:
            self.effects.append(effect)
            if isinstance(effect, Send):
                self.world.put(Packet(self.name, effect.data, effect.local, effect.remote))
            elif isinstance(effect, AddChild):
                assert effect.child.id not in self.installed
                self.installed[effect.child.id] = effect.child
                if effect.outbound:
                    self.outbound.add(effect.child.id)
            elif isinstance(effect, UseChild):
                assert effect.child.id not in self.outbound
                self.outbound.add(effect.child.id)
            elif isinstance(effect, RemoveChild):
                del self.installed[effect.child.id]
                self.outbound.discard(effect.child.id)
            elif isinstance(effect, MoveChild):
                assert self.installed[effect.child.id].ends == effect.old
                self.installed[effect.child.id] = effect.child
            elif isinstance(effect, Count):
                self.counters[effect.name] += 1

    def of(self, kind: type[E]) -> list[E]:
        """All effects of one kind so far."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    @property
    def views(self) -> list[IkeView]:
        return self.engine.views(self.world.now)

    @property
    def ike(self) -> IkeView:
        """The only IKE SA."""
        (view,) = self.views
        return view

    @property
    def child(self) -> ChildSa:
        """The only child."""
        (child,) = self.installed.values()
        return child

    def named(self, name: str) -> ChildSa:
        (child,) = [child for child in self.installed.values() if child.name == name]
        return child

    @property
    def states(self) -> list[str]:
        return sorted(view.state for view in self.views)


class Wire:
    """Hosts, a clock, and the datagrams that are under way, oldest first."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.made = 0
        self.hosts: dict[str, Host] = {}
        self.queue: list[Packet] = []
        self.history: list[Packet] = []
        self.lose: Callable[[Packet], bool] = lambda packet: False
        self.nat: dict[Endpoint, Endpoint] = {}
        self.nat_of: dict[Address, Address] = {}
        self._nat_port = 20000

    def add(
        self, name: str, addresses: Iterable[Address], config: EngineConfig, directory: Directory
    ) -> Host:
        host = self.hosts[name] = Host(self, name, config, directory)
        host.addresses.update(addresses)
        return host

    def put(self, packet: Packet) -> None:
        self.history.append(packet)
        if not self.lose(packet):
            self.queue.append(packet)

    def translate(self, inside: Endpoint) -> Endpoint:
        """What the NAT makes of a source."""
        public = self.nat_of.get(inside.address)
        if public is None:
            return inside
        if inside not in self.nat:
            self._nat_port += 1
            self.nat[inside] = Endpoint(public, self._nat_port)
        return self.nat[inside]

    def rebind(self) -> None:
        """The NAT forgets its mappings; new ones have other ports."""
        self.nat.clear()

    def deliver(self, packet: Packet) -> None:
        """Hand a datagram to the host that has its destination, if any."""
        source, target = self.translate(packet.source), packet.target
        for inside, outside in self.nat.items():
            if outside == target:
                target = inside
        for host in self.hosts.values():
            if target.address in host.addresses:
                host(host.engine.receive(packet.data, target, source, self.now))

    def step(self, at: int = 0) -> Packet:
        """Deliver one datagram, the oldest unless said otherwise."""
        packet = self.queue.pop(at)
        self.deliver(packet)
        return packet

    def take(self, sender: str | None = None) -> Packet:
        """Take the oldest datagram (of a sender) off the wire."""
        for at, packet in enumerate(self.queue):
            if sender in (None, packet.sender):
                return self.queue.pop(at)
        raise LookupError(f"nothing of {sender} under way")

    def run(self, most: int = 500) -> int:
        """Deliver until nothing is under way; return how many that were."""
        for count in range(most):
            if not self.queue:
                return count
            self.step()
        raise AssertionError("no end of datagrams")

    def later(self, seconds: float) -> None:
        """Let time pass: timers fire in order, datagrams arrive at once."""
        end = self.now + seconds
        for _ in range(20_000):
            self.run()
            due = [
                (at, host)
                for host in self.hosts.values()
                if (at := host.engine.next_timer()) is not None and at <= end
            ]
            if not due:
                self.now = end
                return
            at, host = min(due, key=lambda item: item[0])
            self.now = max(self.now, at)
            host(host.engine.handle_timer(self.now))
        raise AssertionError("no end of timers")

    def tick(self, seconds: float) -> None:
        """Let time pass for timers, while datagrams stay under way."""
        self.now += seconds
        for host in self.hosts.values():
            host(host.engine.handle_timer(self.now))


class Pair(Wire):
    """A mobile end ``a`` and a home agent ``b``."""

    def __init__(
        self,
        mobile: Connection | None = None,
        agent: Connection | None = None,
        *,
        config: EngineConfig | None = None,
        agent_config: EngineConfig | None = None,
    ) -> None:
        super().__init__()
        self.ciphers: dict[tuple[str, bytes], Cipher] = {}
        self.mobile = mobile or connection()
        self.agent = agent or counterpart(self.mobile)
        self.accounts = Accounts([self.agent])
        config = config or EngineConfig(self.mobile.proposals)
        self.a = self.add("a", (MOBILE, MOBILE4), config, Accounts())
        self.b = self.add(
            "b",
            (AGENT, AGENT4),
            agent_config or EngineConfig(self.agent.proposals),
            self.accounts,
        )

    def initiate(self, local: Address = MOBILE, remote: Address = AGENT, **how: Any) -> None:
        """Let the mobile end begin; nothing is delivered yet."""
        self.a(
            self.a.engine.initiate(
                self.mobile, Endpoint(local, 500), Endpoint(remote, 500), self.now, **how
            )
        )

    def up(self, local: Address = MOBILE, remote: Address = AGENT, **how: Any) -> Pair:
        """Establish, with all children."""
        self.initiate(local, remote, **how)
        self.run()
        assert self.a.of(IkeUp), [str(p) for p in self.history]
        assert self.b.of(IkeUp)
        return self

    def moved(self, local: Address, remote: Address, **how: Any) -> None:
        """Tell the mobile end that it moved."""
        self.a.addresses.add(local)
        self.a(self.a.engine.moved(self.mobile.name, local, remote, self.now, **how))

    def told(self, mobile: Address, agent: Address, **how: Any) -> None:
        """Tell the home agent where the ends are, as an accepted Binding Update does."""
        self.b(self.b.engine.moved(self.agent.name, agent, mobile, self.now, **how))

    def check(self, children: int = 1, ike: int = 1) -> None:
        """Both ends have the same, and what one sends by the other can receive."""
        a, b = self.a, self.b
        assert a.states == ["established"] * ike, a.states
        assert b.states == ["established"] * ike, b.states
        assert len(a.installed) == children, a.installed
        assert len(b.installed) == children, b.installed
        assert len(a.outbound) == len(b.outbound) == children
        inbound = {child.spi_in: child for child in b.installed.values()}
        for child in a.installed.values():
            other = inbound[child.spi_out]
            assert other.spi_out == child.spi_in
            assert (other.keys_in, other.keys_out) == (child.keys_out, child.keys_in)
            assert (other.local, other.remote) == (child.remote, child.local)
            assert (other.mode, other.suite) == (child.mode, child.suite)
            assert (other.ends.encapsulation is None) == (child.ends.encapsulation is None)
            if not self.nat_of:
                assert (other.ends.local, other.ends.remote) == (
                    child.ends.remote,
                    child.ends.local,
                )
            else:
                ports = child.ends.encapsulation
                port = ports[0] if ports else 0
                seen = self.translate(Endpoint(child.ends.local, port))
                assert other.ends.remote == seen.address
                assert not ports or other.ends.encapsulation == (ports[1], seen.port)
        for host in (a, b):
            shown = {child.id for view in host.views for child in view.children}
            assert shown == set(host.installed)
            assert all(child.state == "installed" for v in host.views for child in v.children)
        assert not self.queue

    def gone(self) -> None:
        """Nothing is left anywhere."""
        for host in (self.a, self.b):
            assert not host.views
            assert not host.installed
            assert host.engine.next_timer() is None

    def down(self, host: Host) -> IkeDown:
        """The last end of an IKE SA at a host."""
        return host.of(IkeDown)[-1]

    def put(self, packet: Packet) -> None:
        """See ``Wire``."""
        self._keep_ciphers()
        super().put(packet)

    def _keep_ciphers(self) -> None:
        """Keep all ciphers: an IKE SA may be gone before its last answer is looked at."""
        for host in self.hosts.values():
            for sa in host.engine._core.sas.values():
                if sa.cipher_out is not None:
                    self.ciphers[host.name, sa.spi_i + sa.spi_r] = sa.cipher_out

    def cipher_of(self, packet: Packet) -> Cipher:
        """What protected a message."""
        self._keep_ciphers()
        return self.ciphers[packet.sender, packet.message[:16]]

    def peek(self, packet: Packet) -> list[Any]:
        """The payloads inside a protected message, read with the sender's keys."""
        return open_message(parse(packet.message), self.cipher_of(packet))
