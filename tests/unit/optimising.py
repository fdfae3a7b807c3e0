# SPDX-License-Identifier: GPL-2.0-only
"""A mobile router and a correspondent wired by function calls, a home agent in between."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address, IPv6Network

from dsmip.mobility.config import CorrespondentConfig, RouteOptimisationConfig
from dsmip.mobility.correspondent import Correspondent
from dsmip.mobility.correspondent_list import Attached, CorrespondentState
from dsmip.mobility.effects import (
    DropBinding,
    Effect,
    KernelBinding,
    MeasureUse,
    PutBinding,
    Received,
    SendMessage,
)
from dsmip.mobility.route_optimisation import RouteOptimisation
from dsmip.packet.authenticator import authorize, binding_key
from dsmip.packet.careof import CareOf, WireKind
from dsmip.packet.kernel import Path, PathEvent
from dsmip.packet.mobility import (
    BindingAcknowledgement,
    BindingUpdate,
    CareOfTest,
    CareOfTestInit,
    HomeTest,
    HomeTestInit,
    Message,
    build,
)
from dsmip.packet.options import NonceIndices, Option

from tests.unit.roaming import pass_time

CN, OTHER_CN = IPv6Address("2001:db8:c::2"), IPv6Address("2001:db8:c::3")
HOA = IPv6Address("2001:db8:1::100")
HA6 = IPv6Address("2001:db8:1::1")
COA, COA2 = IPv6Address("2001:db8:a6::5"), IPv6Address("2001:db8:a7::5")
LISTED = RouteOptimisationConfig(correspondents=(IPv6Network("2001:db8:c::/64"),))
FAR_AWAY = 1e9
COOKIE = bytes.fromhex("c0c1c2c3c4c5c6c7")
BY_COA = CareOf(COA)


def away(care_of: IPv6Address = COA, *, ready: bool = True, until: float = FAR_AWAY) -> Attached:
    """Return an attachment in an IPv6 network."""
    return Attached(CareOf(care_of, WireKind.IP6, 0, 2), ready, False, until)


AT_HOME = Attached(None, True, True)
#: Registered by IPv4: the home address is reached, a direct path cannot be.
BY_IPV4 = Attached(None, True, False, FAR_AWAY)


@dataclass
class Pair:
    """Both engines and what their kernels hold; the wire can lose what ``lost`` says."""

    mr_config: RouteOptimisationConfig = LISTED
    cn_config: CorrespondentConfig = field(default_factory=CorrespondentConfig)
    seed: int = 1
    now: float = 1000.0
    delay: float = 0.02
    protected: bool = False
    lost: Callable[[str, SendMessage], bool] = lambda _who, _effect: False
    registered: Callable[[IPv6Address], bool] = lambda _home: False

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.order = itertools.count()
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.kernel: dict[str, dict[IPv6Address, KernelBinding]] = {"cn": {}, "mr": {}}
        self.packets = {"cn": 0, "mr": 0}
        self.effects: list[tuple[float, str, Effect]] = []
        self.at = Attached()
        self.cn = self.new_correspondent()
        self.mr = RouteOptimisation(self.mr_config, HOA, (HA6,), self.now, (), self.octets)

    def octets(self, size: int) -> bytes:
        return self.random.randbytes(size)

    def new_correspondent(self, adopted: tuple[KernelBinding, ...] = ()) -> Correspondent:
        return Correspondent(self.cn_config, self.now, adopted, self.registered, self.octets)

    # --- what happens --------------------------------------------------------------

    def attach(self, at: Attached) -> None:
        self.at = at
        self.carry("mr", self.mr.attached(at, self.now))

    def speak(self, address: IPv6Address = CN) -> None:
        """Let the home address send a packet through the tunnel."""
        path = Path(0, WireKind.RO, HOA, address)
        self.carry("mr", self.mr.path_event(HOA, PathEvent.TUNNELLED, path, self.now))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        pass_time(self, {"cn": self.cn, "mr": self.mr}, seconds)

    def bound(self, seconds: float = 1.0) -> Pair:
        """Bring about a direct path from the first care-of address."""
        self.attach(away())
        self.speak()
        self.run(seconds)
        assert self.state().direct
        return self

    def carry(self, who: str, effects: list[Effect]) -> None:
        for effect in effects:
            self.effects.append((self.now, who, effect))
            if isinstance(effect, PutBinding):
                self.kernel[who][effect.binding.home_address] = effect.binding
            elif isinstance(effect, DropBinding):
                self.kernel[who].pop(effect.home_address, None)
            elif isinstance(effect, MeasureUse):
                engine = self.cn if who == "cn" else self.mr
                found = engine.measured(effect.home_address, self.packets[who], self.now)
                self.carry(who, found)
            elif isinstance(effect, SendMessage):
                self._send(who, effect)

    def restart_correspondent(self, keep: bool = True) -> None:
        """Kill the correspondent's daemon and start another; ``keep``: the kernel's bindings."""
        if not keep:
            self.kernel["cn"].clear()
        held = tuple(
            replace(one, lifetime=max(one.lifetime - 10, 1)) for one in self.kernel["cn"].values()
        )
        self.cn = self.new_correspondent(held)
        self.carry("cn", self.cn.start(self.now))

    # --- what can be asked -----------------------------------------------------------

    def state(self, address: IPv6Address = CN) -> CorrespondentState:
        return {one.address: one for one in self.mr.correspondents(self.now)}[address]

    def states(self) -> list[CorrespondentState]:
        return self.mr.correspondents(self.now)

    def sent(self, who: str, kind: type[Message]) -> list[SendMessage]:
        return [e for _, e in self.times(who, kind)]

    def times(self, who: str, kind: type[Message]) -> list[tuple[float, SendMessage]]:
        return [
            (at, e)
            for at, by, e in self.effects
            if by == who and isinstance(e, SendMessage) and isinstance(e.message, kind)
        ]

    def to_cn(
        self,
        message: Message | bytes,
        source: IPv6Address = HOA,
        care_of: CareOf | None = None,
        destination: IPv6Address = CN,
    ) -> list[Effect]:
        """Give the correspondent a message; return what it does, carried out."""
        data = message if isinstance(message, bytes) else bytes(build(message, source, destination))
        return self._give("cn", Received(data, source, destination, care_of, 1, self.protected))

    def to_mr(
        self,
        message: Message | bytes,
        source: IPv6Address = CN,
        destination: IPv6Address = HOA,
        care_of: CareOf | None = None,
        protected: bool = False,
    ) -> list[Effect]:
        """Give the router a message; return what it does, carried out."""
        data = message if isinstance(message, bytes) else bytes(build(message, source, destination))
        return self._give("mr", Received(data, source, destination, care_of, 2, protected))

    def _give(self, who: str, received: Received) -> list[Effect]:
        before = len(self.effects)
        engine = self.cn if who == "cn" else self.mr
        self.carry(who, engine.receive(received, self.now))
        return [effect for _, _, effect in self.effects[before:]]

    # --- the wire ----------------------------------------------------------------------

    def _send(self, who: str, effect: SendMessage) -> None:
        if self.lost(who, effect):
            return
        deliver = self._to_correspondent(effect) if who == "mr" else self._to_router(effect)
        if deliver is not None:
            heapq.heappush(self.queue, (self.now + self.delay, next(self.order), deliver))

    def _to_correspondent(self, effect: SendMessage) -> Callable[[], None] | None:
        care_of = effect.care_of
        if effect.destination != CN:
            return None
        if care_of is not None and care_of.address != self.at.address:
            return None
        if care_of is None and effect.source == HOA and not self.at.ready:
            return None
        received = Received(
            bytes(build(effect.message, effect.source, CN)),
            effect.source,
            CN,
            None if care_of is None else CareOf(care_of.address),
            1,
            self.protected,
        )
        return lambda: self.carry("cn", self.cn.receive(received, self.now))

    def _to_router(self, effect: SendMessage) -> Callable[[], None] | None:
        data = bytes(build(effect.message, effect.source, effect.destination))
        care_of: CareOf | None = None
        wire = effect.destination
        if effect.care_of is not None:
            # A type 2 routing header.
            care_of, wire = CareOf(effect.care_of.address), effect.care_of.address  # type: ignore[assignment]
        elif effect.destination == HOA and not self.at.at_home:
            care_of = CareOf(HA6)

        def deliver() -> None:
            if wire == HOA and not self.at.ready:
                return
            if wire != HOA and wire != self.at.address:
                return
            received = Received(data, effect.source, effect.destination, care_of, 2, self.protected)
            self.carry("mr", self.mr.receive(received, self.now))

        return deliver


class Node:
    """A mobile node that does everything by hand, so that it can do it wrongly."""

    def __init__(self, pair: Pair | None = None, home: IPv6Address = HOA) -> None:
        self.pair = pair or Pair()
        self.home = home
        self.sequence = 100
        self.home_test = HomeTest(0, b"", b"")
        self.care_of_tests: dict[IPv6Address, CareOfTest] = {}

    def test(self, care_of: IPv6Address = COA) -> Node:
        """Run both tests, as far as they are answered."""
        self.test_home()
        self.test_care_of(care_of)
        return self

    def test_home(self) -> None:
        answer = self.answer(self.pair.to_cn(HomeTestInit(COOKIE), self.home))
        assert isinstance(answer.message, HomeTest)
        self.home_test = answer.message

    def test_care_of(self, care_of: IPv6Address = COA) -> None:
        answer = self.answer(self.pair.to_cn(CareOfTestInit(COOKIE), care_of))
        assert isinstance(answer.message, CareOfTest)
        self.care_of_tests[care_of] = answer.message

    @staticmethod
    def answer(effects: list[Effect]) -> SendMessage:
        (found,) = [e for e in effects if isinstance(e, SendMessage)]
        return found

    def key(self, care_of: IPv6Address | None) -> bytes:
        token = b"" if care_of is None else self.care_of_tests[care_of].token
        return binding_key(self.home_test.token, token)

    def update(
        self,
        care_of: IPv6Address = COA,
        lifetime: int = 105,
        options: tuple[Option, ...] = (),
        key: bytes | None = None,
        covers: IPv6Address | None = None,
        to: IPv6Address = CN,
        **flags: object,
    ) -> BindingUpdate:
        """Return a signed update with the next sequence number."""
        self.sequence = (self.sequence + 1) & 0xFFFF
        deletes = lifetime == 0
        indices = NonceIndices(
            self.home_test.nonce_index, 0 if deletes else self.care_of_tests[care_of].nonce_index
        )
        values: dict[str, object] = {"acknowledge": True} | flags
        message = BindingUpdate(
            self.sequence,
            lifetime,
            options=(*options, indices),
            **values,  # type: ignore[arg-type]
        )
        covers = covers or (self.home if deletes else care_of)
        return authorize(message, key or self.key(None if deletes else care_of), covers, to)

    def send(
        self, update: BindingUpdate | bytes, by: CareOf | None = BY_COA, to: IPv6Address = CN
    ) -> list[Effect]:
        return self.pair.to_cn(update, self.home, by, to)

    def status(self, effects: list[Effect]) -> int | None:
        """Return the status of the acknowledgement in there, None without one."""
        answers = [e.message for e in effects if isinstance(e, SendMessage)]
        if not answers:
            return None
        (message,) = answers
        assert isinstance(message, BindingAcknowledgement)
        return message.status

    @property
    def held(self) -> tuple[int, IPv6Address] | None:
        """What the correspondent's kernel holds: sequence number and care-of address."""
        binding = self.pair.kernel["cn"].get(self.home)
        if binding is None:
            return None
        remote = binding.paths[0].remote
        assert isinstance(remote, IPv6Address)
        return binding.sequence, remote
