# SPDX-License-Identifier: GPL-2.0-only
"""Route optimisation at the mobile router: its engine beside that of the registration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address

from ..linux.dsmip import BindingState, KernelEvent
from ..linux.icmp_errors import PARAMETER_PROBLEM, UNKNOWN_NEXT_HEADER, IcmpError
from ..linux.mobility_socket import Datagram
from ..mobility.correspondent_list import Attached, CorrespondentState
from ..mobility.effects import Effect
from ..mobility.mobile_router import RegistrationView, State
from ..mobility.route_optimisation import RouteOptimisation
from ..packet.careof import WireKind
from ..packet.kernel import PathEvent
from .direct import DirectRole, direct_bindings
from .history import History
from .roles import Kernel
from .router import MobileRouterRole


class RouteOptimisationRole(DirectRole):
    """Takes traffic of the home address around the home agent.

    ``tell_tunnelled`` switches events about whom the home address speaks to.
    """

    title = "route optimisation"

    def __init__(
        self,
        router: MobileRouterRole,
        kernel: Kernel,
        loop: asyncio.AbstractEventLoop,
        history: History,
        adopted: Iterable[BindingState],
        tell_tunnelled: Callable[[bool], None],
    ) -> None:
        self.router = router
        self._tell_tunnelled = tell_tunnelled
        config = router.section.engine
        self.engine = RouteOptimisation(
            router.section.optimisation.engine,
            config.home_address,
            (router.registration().home_agent,),
            loop.time(),
            direct_bindings(adopted, mobile=True),
        )
        super().__init__(self.engine, kernel, loop, history)
        self._admitted: frozenset[IPv6Address] = frozenset()
        self._attached = Attached()

    def start(self) -> None:
        """Take over the kernel's direct bindings."""
        super().start()
        self._listen()

    def follow(self) -> None:
        """Take where the router is, whenever its own engine has done something."""
        view = self.router.registration()
        effects: list[Effect] = []
        self.engine.use_agents((view.home_agent,))
        if not view.home_address.is_unspecified:
            effects += self.engine.use_home_address(view.home_address, self.now())
        self._attached = _attached(view, self.now())
        self.carry([*effects, *self.engine.attached(self._attached, self.now())])

    def concerns(self, datagram: Datagram) -> bool:
        if datagram.destination == self._attached.address:
            # What the home agent says there, a Binding Error, is about the registration.
            return datagram.source != self.router.engine.config.home_agent6
        # All else that is for the home address is for the registration's engine.
        home = datagram.destination == self.router.section.engine.home_address
        return home and self.engine.knows(datagram.source)

    def protected(self, datagram: Datagram) -> bool:
        # The policies let in what came by the home agent's ESP, or directly; and of Home
        # Tests the kernel module lets none in that came directly.
        if datagram.source in self.router.section.optimisation.engine.trusted:
            return self._kernel.keys.protects(datagram.destination, datagram.source)
        return datagram.care_of is None

    def concerns_event(self, event: KernelEvent) -> bool:
        if event.event is PathEvent.TUNNELLED:
            return True
        return event.home_address is not None and self.engine.knows(event.home_address)

    def error(self, error: IcmpError) -> None:
        """Take an ICMPv6 error about a packet of ours."""
        if error.kind == PARAMETER_PROBLEM and error.code == UNKNOWN_NEXT_HEADER:
            self.carry(self.engine.unsupported(error.source, error.quoted, self.now()))

    def optimise(self, address: IPv6Address, on: bool) -> None:
        """Carry out the operator's wish; raises ``ValueError`` when it cannot be."""
        self.carry(self.engine.optimise(address, on, self.now()))

    def reconfigure(self) -> None:
        """Apply the router's new configuration."""
        self.carry(self.engine.reconfigure(self.router.section.optimisation.engine, self.now()))
        self._listen()

    def correspondents(self) -> list[CorrespondentState]:
        """Return the engine's correspondents."""
        return self.engine.correspondents(self.now())

    def clear(self) -> None:
        """Remove all direct bindings."""
        self.carry(self.engine.stop(self.now()))

    def carry(self, effects: Iterable[Effect]) -> None:
        effects = list(effects)
        # Before a message leaves whose answer would not be let in.
        self._admit()
        super().carry(effects)

    def _admit(self) -> None:
        if not self.router.section.optimisation.engine.protected_tests:
            return
        trusted = self.router.section.optimisation.engine.trusted
        wanted = frozenset(one.address for one in self.correspondents()) - trusted
        if wanted != self._admitted:
            self._admitted = wanted
            home = self.router.section.engine.home_address
            self._kernel.keys.admit(home, wanted)

    def _listen(self) -> None:
        config = self.router.section.optimisation.engine
        self._tell_tunnelled(config.enabled and bool(config.correspondents or config.trusted))


def _attached(view: RegistrationView, now: float) -> Attached:
    at_home = view.state in (State.HOME, State.RETURNING)
    care_of = view.care_of
    if care_of is not None and (care_of.kind is not WireKind.IP6 or view.kind is not WireKind.IP6):
        care_of = None
    return Attached(
        care_of=care_of,
        ready=view.state in (State.REGISTERED, State.HOME),
        at_home=at_home,
        until=now + view.remaining,
    )
