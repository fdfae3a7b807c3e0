# SPDX-License-Identifier: GPL-2.0-only
"""Which home agent a mobile router uses, and what a home agent may tell it to do.

Home Agent Switch (RFC 5142 section 6), Binding Revocation (RFC 5846 section 10),
and what follows when a home agent does not answer or refuses (RFC 6275 section
11.4.1, RFC 3963 section 5.4).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Protocol

from ..packet.mobility import (
    BindingRevocationAcknowledgement,
    BindingRevocationIndication,
    HomeAgentSwitch,
    Message,
)
from ..packet.options import BindingIdentifier, IPv4HomeAddress, find
from ..packet.status import RevocationStatus, RevocationTrigger
from .config import AgentAddress, MobileRouterConfig
from .effects import (
    Address,
    Count,
    Effect,
    FindHomeAgents,
    Note,
    Received,
    SendMessage,
    UseHomeAgent,
)
from .registration import is_routable

#: Home agents that are remembered, whoever names them.
CANDIDATES_MAX = 16
#: An indication that comes again within this time is answered again, and no more.
REVOCATION_REPEATED = 10.0
REVOCATIONS_REMEMBERED = 16
#: A revocation that only says that both sides disagree is mended by an update.
REGISTER_AGAIN_SOON = 1.0
REGISTER_AGAIN = 60.0
#: Discovery is not asked for more often than this.
DISCOVERY_INTERVAL = 60.0

_TRIGGERS = (
    RevocationTrigger.UNSPECIFIED,
    RevocationTrigger.ADMINISTRATIVE,
    RevocationTrigger.USER_INITIATED,
    RevocationTrigger.ACCESS_NETWORK_TERMINATION,
    RevocationTrigger.OUT_OF_SYNC,
)
_GLOBAL = 128


class Router(Protocol):
    """The mobile router's side of it."""

    @property
    def config(self) -> MobileRouterConfig:
        """How it is configured right now."""

    def is_bound(self, now: float) -> bool:
        """Whether its home agent holds a binding, or may hold one."""

    def own_addresses(self) -> frozenset[Address]:
        """Return its home and care-of addresses."""

    def to_agent(self, message: Message) -> SendMessage:
        """Address a message to the home agent, by the care-of address in use."""

    def leave_agent(self, now: float) -> list[Effect]:
        """De-register where it is registered."""

    def use_agent(self, agent: AgentAddress, reason: str, now: float) -> list[Effect]:
        """Register with another home agent."""

    def released(self, problem: str, again: float, now: float) -> list[Effect]:
        """Take note that the home agent has ended the binding; register ``again`` later."""

    def released_ipv4(self, now: float) -> list[Effect]:
        """Take note that the home agent has ended the IPv4 home address."""


@dataclass(frozen=True, slots=True)
class _Answered:
    status: RevocationStatus
    at: float


class AgentChoice:
    """Candidates in the order in which they will be tried.

    ``leaving``: the binding at the home agent in use is being removed, and then
    the first candidate is taken.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._queue: list[AgentAddress] = []
        self._found: tuple[AgentAddress, ...] = ()
        self._tried: set[IPv6Address] = set()
        self._answered: dict[tuple[IPv6Address, int], _Answered] = {}
        self._asked_at = float("-inf")
        self._looking = False
        self._unfit = ""
        self.leaving = False

    def known(self) -> tuple[AgentAddress, ...]:
        """Return every home agent that could be used, the one in use first."""
        config = self._router.config
        current = AgentAddress(config.home_agent6, config.home_agent4)
        both = (current, *config.agents, *self._found)
        return tuple({agent.address6: agent for agent in reversed(both)}.values())[::-1]

    # --- home agent switch ---------------------------------------------------------

    def switch(self, message: HomeAgentSwitch, received: Received, now: float) -> list[Effect]:
        """Go where a home agent sends us (RFC 5142 section 6.1)."""
        config = self._router.config
        effects: list[Effect] = [Count("has")]
        if self.leaving:
            return [Count("has_repeated")]
        listed = message.addresses
        if received.source != config.home_agent6:
            # Only itself can another home agent recommend (section 5.1).
            listed = tuple(a for a in message.addresses if a == received.source)
            if not listed:
                return [Count("has_ignored")]
        chosen, refused = self._usable(listed)
        for text in refused[:4]:
            effects.append(Note("warning", f"{received.source} names {text}"))
        effects += [Count("has_bad_address")] * bool(refused)
        if message.addresses and not chosen:
            return [*effects, Note("warning", "no home agent that it names can be used")]
        if not chosen:
            chosen, _ = self._usable(agent.address6 for agent in self.known()[1:])
        where = ", ".join(str(agent.address6) for agent in chosen) or "an unknown home agent"
        effects.append(Note("info", f"{received.source} sends us to {where}"))
        if not chosen:
            return effects + self.look(now)
        return effects + self._go(chosen, now)

    def go(self, address: IPv6Address, now: float) -> list[Effect]:
        """Use a home agent as an operator wishes; raises ``ValueError`` for an unknown one."""
        agent = next((a for a in self.known() if a.address6 == address), None)
        if agent is None:
            there = ", ".join(str(a.address6) for a in self.known())
            raise ValueError(f"{address} is no home agent that is known; there are: {there}")
        return [] if agent == self.known()[0] else self._go([agent], now)

    def named(self, addresses: Iterable[Address]) -> IPv6Address | None:
        """Return the first of these that another home agent that is known has, as its own."""
        others = self.known()[1:]
        for address in addresses:
            for agent in others:
                if address in (agent.address6, agent.address4):
                    return agent.address6
        return None

    def _go(self, chosen: list[AgentAddress], now: float) -> list[Effect]:
        rest = [agent for agent in self.known()[1:] if agent not in chosen]
        self._queue = [*chosen, *rest][:CANDIDATES_MAX]
        self._tried = set()
        self._looking = False
        if not self._router.is_bound(now):
            return self.left(now)
        self.leaving = True
        return self._router.leave_agent(now)

    def left(self, now: float) -> list[Effect]:
        """Take the next candidate: the old home agent knows, or does not answer."""
        self.leaving = False
        problem, self._unfit = self._unfit, ""
        if not problem:
            return self.next("the home agent changes", now)
        effects = self.next(problem, now)
        if any(isinstance(effect, UseHomeAgent) for effect in effects):
            return effects
        return effects + self._router.released(problem, REGISTER_AGAIN, now)

    def unfit(self, problem: str, now: float) -> list[Effect]:
        """Leave a home agent that has registered us and does not do what we need.

        It is told so before another one is asked (RFC 3963 section 5.3).
        """
        self._unfit = problem
        self._looking = False
        self.leaving = True
        return [Note("error", problem), *self._router.leave_agent(now)]

    def cancel(self) -> None:
        """Stay with what there is: at home no home agent is needed."""
        self.leaving = False
        self._unfit = ""
        self._queue = []

    def settled(self) -> None:
        """Take note that the home agent in use has accepted us."""
        self._queue = []
        self._tried = set()
        self._looking = False

    def next(self, reason: str, now: float) -> list[Effect]:
        """Use another home agent, since the one in use does not serve us; none: do nothing.

        When all were tried once, the mobile router goes on with the last, and
        looks for more.
        """
        current = self._router.config.home_agent6
        self._tried.add(current)
        if not self._queue:
            self._queue = [a for a in self.known()[1:] if a.address6 not in self._tried]
        if not self._queue:
            self._tried = set()
            return self.look(now)
        agent = self._queue.pop(0)
        return self._router.use_agent(agent, reason, now)

    # --- discovery -----------------------------------------------------------------

    def look(self, now: float) -> list[Effect]:
        """Ask for home agents, unless that was done a moment ago."""
        if not self._router.config.discover or now - self._asked_at < DISCOVERY_INTERVAL:
            return []
        self._asked_at = now
        self._looking = True
        return [Note("info", "looking for home agents"), FindHomeAgents()]

    def discovered(self, addresses: Iterable[IPv6Address], now: float) -> list[Effect]:
        """Take home agents that were discovered, best first."""
        chosen, refused = self._usable(addresses)
        effects: list[Effect] = [Note("warning", f"discovery names {text}") for text in refused[:4]]
        self._found = tuple(chosen)
        if not self._looking or not chosen:
            return effects
        return effects + self._go(chosen, now)

    def _usable(self, addresses: Iterable[IPv6Address]) -> tuple[list[AgentAddress], list[str]]:
        """Return which can be home agents, those with our home prefix first, and why not."""
        config = self._router.config
        own = self._router.own_addresses()
        four = {agent.address6: agent for agent in (*config.agents, *self.known())}
        found: list[AgentAddress] = []
        refused: list[str] = []
        for address in list(dict.fromkeys(addresses))[:CANDIDATES_MAX]:
            if not is_routable(address):
                refused.append(f"{address}, which is nobody's address")
            elif address in own or any(address in prefix for prefix in config.prefixes):
                refused.append(f"{address}, which is our own")
            elif address == config.home_agent6:
                continue
            elif address in four:
                found.append(four[address])
            elif not config.any_agent:
                refused.append(f"{address}, for which there are no keys")
            elif address not in config.home_prefix:
                refused.append(f"{address}, which is not in {config.home_prefix}")
            else:
                found.append(AgentAddress(address))
        found.sort(key=lambda agent: agent.address6 not in config.home_prefix)
        return found, refused

    # --- revocation ----------------------------------------------------------------

    def revoke(
        self, message: BindingRevocationIndication, received: Received, now: float
    ) -> list[Effect]:
        """Answer an indication, and do what it says (RFC 5846 section 10)."""
        key = received.source, message.sequence
        before = self._answered.get(key)
        if before is not None:
            # The answer was lost; or somebody plays an old one that static keys let in.
            if now - before.at > REVOCATION_REPEATED:
                return [Count("bri_replayed")]
            return [Count("bri_repeated"), self._answer(message, before.status)]
        if not self._router.is_bound(now):
            return [Count("bri_without_binding")]
        status = self._judge(message)
        self._answered[key] = _Answered(status, now)
        while len(self._answered) > REVOCATIONS_REMEMBERED:
            del self._answered[next(iter(self._answered))]
        # The answer goes first: afterwards there may be no path for it.
        effects: list[Effect] = [
            Count(f"bri_{int(status)}"),
            self._answer(message, status),
        ]
        if status is not RevocationStatus.SUCCESS:
            text = status.name.lower().replace("_", " ")
            return [*effects, Note("warning", f"{received.source}: revocation refused, {text}")]
        if message.ipv4_only:
            return effects + self._router.released_ipv4(now)
        trigger = RevocationTrigger(message.trigger)
        reason = trigger.name.lower().replace("_", " ")
        soon = trigger is RevocationTrigger.OUT_OF_SYNC
        self.leaving = False
        return effects + self._router.released(
            f"the home agent has revoked the binding: {reason}",
            REGISTER_AGAIN_SOON if soon else REGISTER_AGAIN,
            now,
        )

    def _judge(self, message: BindingRevocationIndication) -> RevocationStatus:
        if message.proxy:
            return RevocationStatus.PROXY_NOT_SUPPORTED
        if message.everything or message.trigger >= _GLOBAL:
            return RevocationStatus.FUNCTION_NOT_SUPPORTED
        if message.trigger not in _TRIGGERS:
            return RevocationStatus.TRIGGER_NOT_SUPPORTED
        if message.ipv4_only:
            option = find(message.options, IPv4HomeAddress)
            if option is None:
                return RevocationStatus.IPV4_HOME_ADDRESS_REQUIRED
            if option.address not in self._router.own_addresses():
                return RevocationStatus.BINDING_DOES_NOT_EXIST
        if find(message.options, BindingIdentifier) is not None:
            return RevocationStatus.BINDING_DOES_NOT_EXIST
        return RevocationStatus.SUCCESS

    def _answer(
        self, message: BindingRevocationIndication, status: RevocationStatus
    ) -> SendMessage:
        answer = BindingRevocationAcknowledgement(
            status, message.sequence, message.proxy, message.ipv4_only, message.everything
        )
        return self._router.to_agent(answer)
