# SPDX-License-Identifier: GPL-2.0-only
"""Direct paths in the daemon: both roles, the errors they hear, what is shown of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv6Address
from typing import Any

from ..linux.dsmip import BindingState, DsmipDevice, KernelEvent
from ..linux.icmp_errors import IcmpErrorSocket
from ..linux.rtnl import Rtnl
from ..mobility.correspondent import CorrespondentView
from ..mobility.correspondent_list import CorrespondentState
from . import status
from .agent import HomeAgentRole
from .config import Config
from .control import RequestError
from .correspondent import CorrespondentRole, DirectRouting
from .direct import DirectRole
from .history import History
from .optimiser import RouteOptimisationRole
from .roles import Kernel
from .router import MobileRouterRole


class DirectPaths:
    """What the daemon has of them; empty for a home agent alone."""

    def __init__(
        self,
        config: Config,
        device: DsmipDevice,
        kernel: Kernel,
        loop: asyncio.AbstractEventLoop,
        history: History,
        rtnl: Rtnl,
        adopted: list[BindingState],
        router: MobileRouterRole | None,
        is_home_registration: Callable[[IPv6Address], bool],
    ) -> None:
        self._device = device
        self.optimiser: RouteOptimisationRole | None = None
        self.correspondent: CorrespondentRole | None = None
        if router is not None:
            self.optimiser = RouteOptimisationRole(
                router,
                kernel,
                loop,
                history,
                adopted,
                lambda on: device.configure(tell_tunnelled=on),
            )
            router.followed = self.optimiser.follow
        if config.correspondent is not None:
            self.correspondent = CorrespondentRole(
                config.correspondent,
                kernel,
                loop,
                history,
                DirectRouting(rtnl, device.interface),
                adopted,
                is_home_registration,
                alone=config.home_agent is None,
            )
        self._errors = IcmpErrorSocket() if any(self.roles()) else None

    def roles(self) -> Iterator[DirectRole]:
        """Yield the roles that there are."""
        if self.optimiser is not None:
            yield self.optimiser
        if self.correspondent is not None:
            yield self.correspondent

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hear ICMPv6 errors from now on."""
        if self._errors is not None:
            loop.add_reader(self._errors.fileno(), self._hear)

    def _hear(self) -> None:
        assert self._errors is not None
        for error in self._errors.receive():
            if self.optimiser is not None:
                self.optimiser.error(error)
            if self.correspondent is not None:
                self.correspondent.error(error)

    def event(self, event: KernelEvent) -> bool:
        """Take a notification of the kernel module; False when it is for another role."""
        role = next((role for role in self.roles() if role.concerns_event(event)), None)
        if role is not None:
            role.kernel_event(event)
        return role is not None

    def reconfigure(self, config: Config) -> None:
        """Apply a new configuration, after the router has taken it."""
        if self.optimiser is not None:
            self.optimiser.reconfigure()
        if self.correspondent is not None and config.correspondent is not None:
            self.correspondent.reconfigure(config.correspondent)

    def clear(self) -> None:
        """Remove all that is in the kernel."""
        if self.optimiser is not None:
            self.optimiser.clear()
        if self.correspondent is not None:
            self.correspondent.clear()

    # --- control

    def optimise(self, request: Mapping[str, Any]) -> Any:
        """Start or end route optimisation with one correspondent."""
        if self.optimiser is None:
            raise RequestError("this daemon is no mobile router with dsmip.ko")
        try:
            address = IPv6Address(request.get("correspondent", ""))
        except ValueError:
            raise RequestError('"correspondent" is an IPv6 address') from None
        on = request.get("on", True)
        if not isinstance(on, bool):
            raise RequestError('"on" is true or false')
        try:
            self.optimiser.optimise(address, on)
        except ValueError as error:
            raise RequestError(str(error)) from error
        found = [one for one in self.optimiser.correspondents() if one.address == address]
        phase = found[0].phase.value if found else "ended"
        return {"correspondent": str(address), "on": on, "phase": phase}

    def status(self, document: dict[str, Any]) -> None:
        """Add to the status document."""
        if self.optimiser is not None:
            document["route_optimisation"] = {
                "enabled": self.optimiser.router.section.optimisation.engine.enabled,
                "correspondents": [
                    state_document(one, self._binding(one.address, one.direct))
                    for one in self.optimiser.correspondents()
                ],
                "counters": dict(sorted(self.optimiser.counters.items())),
            }
        if self.correspondent is not None:
            engine = self.correspondent.section.engine
            document["correspondent"] = {
                "addresses": [str(address) for address in engine.addresses],
                "home_prefixes": [str(prefix) for prefix in engine.home_prefixes],
                "bindings": len(self.correspondent.bindings()),
                "counters": dict(sorted(self.correspondent.counters.items())),
            }

    def bindings(self) -> Iterator[dict[str, Any]]:
        """Yield the direct bindings of mobile nodes and with correspondents."""
        if self.correspondent is not None:
            for view in self.correspondent.bindings():
                kernel = self._binding(view.home_address, True)
                yield {"role": "correspondent", **binding_document(view, kernel)}
        if self.optimiser is not None:
            for one in self.optimiser.correspondents():
                if one.direct:
                    kernel = self._binding(one.address, True)
                    yield {"role": "route optimisation", **state_document(one, kernel)}

    def _binding(self, home_address: IPv6Address, there: bool) -> BindingState | None:
        return self._device.binding(home_address) if there else None


def open_direct(
    config: Config,
    device: object,
    kernel: Kernel,
    loop: asyncio.AbstractEventLoop,
    history: History,
    rtnl: Rtnl,
    adopted: list[BindingState],
    router: MobileRouterRole | None,
    agent: HomeAgentRole | None,
) -> DirectPaths | None:
    """Return what the daemon has of direct paths, None without dsmip.ko."""
    if not isinstance(device, DsmipDevice):
        return None
    return DirectPaths(
        config,
        device,
        kernel,
        loop,
        history,
        rtnl,
        adopted,
        router,
        lambda home: agent is not None and agent.engine.holds(home),
    )


def optimise(direct: DirectPaths | None, request: Mapping[str, Any]) -> Any:
    """Carry out the command of that name."""
    if direct is None:
        raise RequestError("route optimisation needs the kernel: install kmod-dsmip")
    return direct.optimise(request)


def _kernel_document(kernel: BindingState | None) -> dict[str, Any]:
    return {
        "in_kernel": kernel is not None,
        "traffic": status.traffic_document(kernel.traffic) if kernel else None,
        "paths": [status.path_document(path) for path in kernel.paths] if kernel else [],
    }


def state_document(one: CorrespondentState, kernel: BindingState | None) -> dict[str, Any]:
    """Return one correspondent of the router as plain values."""
    return {
        "correspondent": str(one.address),
        "phase": one.phase.value,
        "direct": one.direct,
        "asked": one.asked,
        "care_of": None if one.care_of is None else str(one.care_of),
        "sequence": one.sequence,
        "lifetime": one.lifetime,
        "remaining": round(one.remaining, 1),
        "retry_in": None if one.retry_in is None else round(one.retry_in, 1),
        "problem": one.problem,
        **_kernel_document(kernel),
    }


def binding_document(view: CorrespondentView, kernel: BindingState | None) -> dict[str, Any]:
    """Return one binding of the correspondent as plain values."""
    return {
        "home_address": str(view.home_address),
        "care_of": str(view.care_of),
        "local": str(view.local),
        "sequence": view.sequence,
        "lifetime": view.lifetime,
        "remaining": round(view.remaining, 1),
        "registered_for": round(view.registered_for, 1),
        "updated_ago": round(view.updated_ago, 1),
        **_kernel_document(kernel),
    }
