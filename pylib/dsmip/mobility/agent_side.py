# SPDX-License-Identifier: GPL-2.0-only
"""The mobile router's side of choosing a home agent (``agent_choice.Router``)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from ..packet.mobility import BindingAcknowledgement, Message
from ..packet.options import DnsUpdate, find
from ..packet.status import BindingAckStatus, name_status
from .agent_choice import AgentChoice
from .attachment import Attachment, Paths, away
from .config import AgentAddress, MobileRouterConfig
from .effects import (
    Address,
    DropBinding,
    Effect,
    KernelBinding,
    Note,
    SendMessage,
    Uplink,
    UseHomeAgent,
)
from .registration import LIFETIME_UNIT
from .router_view import State
from .update_list import UpdateListEntry

#: Refusals that only another home agent, or an operator, can mend.
FATAL = frozenset(
    (
        BindingAckStatus.ADMINISTRATIVELY_PROHIBITED,
        BindingAckStatus.HOME_REGISTRATION_NOT_SUPPORTED,
        BindingAckStatus.NOT_HOME_SUBNET,
        BindingAckStatus.NOT_HOME_AGENT,
        BindingAckStatus.DUPLICATE_ADDRESS,
        BindingAckStatus.REGISTRATION_TYPE_CHANGE,
        BindingAckStatus.MOBILE_ROUTER_NOT_PERMITTED,
        BindingAckStatus.INVALID_PREFIX,
        BindingAckStatus.NOT_AUTHORIZED_FOR_PREFIX,
        BindingAckStatus.FORWARDING_SETUP_FAILED,
        BindingAckStatus.AUTHENTICATION_FAILED,
        BindingAckStatus.SERVICE_AUTHORIZATION_FAILED,
    )
)


def with_agent(config: MobileRouterConfig, agent: AgentAddress) -> MobileRouterConfig:
    """Return a configuration with another home agent in use; the one before stays known."""
    before = AgentAddress(config.home_agent6, config.home_agent4)
    others = tuple(other for other in config.agents if other.address6 != agent.address6)
    if before.address6 != agent.address6 and not before.address6.is_unspecified:
        others = (before, *others)
    return replace(config, home_agent6=agent.address6, home_agent4=agent.address4, agents=others)


class AgentSide(ABC):
    """What the engine of a mobile router does about its home agents."""

    agents: AgentChoice
    #: What the home agent last said about ``dns_name``; None: nothing.
    name_status: int | None = None
    _config: MobileRouterConfig
    _uplinks: tuple[Uplink, ...]
    _at: Attachment | None
    _state: State
    _paths: Paths
    _list: UpdateListEntry
    _home_address4: IPv4Address | None
    _problem: str
    _in_kernel: bool
    #: The kernel's binding is for the home address alone: another one of the same
    #: router has the mobile network (see ``home_prefix``).
    light: bool = False
    _home_ends: float | None = None
    _adopted: KernelBinding | None
    _blocked: dict[Attachment, float]
    _better: tuple[Attachment, float] | None

    @property
    def config(self) -> MobileRouterConfig:
        """How it is configured right now: other than at the start after a change of agents."""
        return self._config

    def is_bound(self, now: float) -> bool:
        """Whether its home agent holds a binding, or may hold one."""
        return self._list.bound(now) or bool(self._list.outstanding)

    def may_be_bound(self, now: float) -> bool:
        """Whether the home agent may defend the home address."""
        return self._list.bound(now) or self._in_kernel

    def suppose_bound(self, now: float) -> None:
        """Take note that the home agent holds a binding that is not remembered here."""
        if not self._list.bound(now):
            self._list.expires = now + self._config.lifetime

    def home_address_ends(self, until: float | None, now: float) -> list[Effect]:
        """Take when the home address is not valid any more; None: never.

        A registration that lasts longer is shortened (RFC 6275 section 11.7.1).
        """
        self._home_ends = until
        if until is None or not self._lasts_beyond(until):
            return []
        return self._refresh(now, "the home address ends before the binding")

    def _lasts_beyond(self, until: float) -> bool:
        expires = self._list.expires
        return expires is not None and expires > until + LIFETIME_UNIT

    def _for(self, places: Iterable[Attachment], now: float) -> MobileRouterConfig:
        """Return the configuration with the lifetime that these care-of addresses may ask for.

        It is no longer than theirs and the home address's, and never 0 (section 11.7.1).
        """
        ends = [self._home_ends] if self._home_ends is not None else []
        for at in places:
            for uplink in self._uplinks:
                if uplink.interface == at.interface:
                    ends += [end for address, end in uplink.ends if address == at.address]
        left = min((int(end - now) for end in ends), default=self._config.lifetime)
        lifetime = max(min(self._config.lifetime, left), LIFETIME_UNIT)
        return replace(self._config, lifetime=lifetime)

    def own_addresses(self) -> frozenset[Address]:
        """Return its home and care-of addresses."""
        mine: list[Address] = [self._config.home_address]
        mine += [self._home_address4] if self._home_address4 is not None else []
        for uplink in self._uplinks:
            mine += (*uplink.addresses6, *uplink.addresses4)
        return frozenset(mine)

    def to_agent(self, message: Message) -> SendMessage:
        """Address a message to the home agent, by the care-of address in use."""
        at, config = self._at, self._config
        interface = at.interface if at else 0
        return SendMessage(message, config.home_address, config.home_agent6, away(at), interface)

    def leave_agent(self, now: float) -> list[Effect]:
        """De-register where it is registered."""
        self._state = State.REGISTERING
        self._list.begin(now)
        self._list.outstanding.clear()
        return self._send_update(now)

    def use_agent(self, agent: AgentAddress, reason: str, now: float) -> list[Effect]:
        """Register with another home agent."""
        self._config = with_agent(self._config, agent)
        self._paths.reconfigure(self._config)
        self._list = UpdateListEntry(self._list.sequence)
        effects: list[Effect] = [UseHomeAgent(agent.address6, agent.address4)]
        at, best = self._at, self._ranking()
        if at is None or at.at_home or not best:
            return effects
        to = at if at.version == 6 or agent.address4 else best[0]
        return effects + self._move(to, f"{reason}, {agent.address6} is asked", now)

    def home_address_assigned(self, home_address: IPv6Address, now: float) -> list[Effect]:
        """Take the home address that IKE brought, and register with it."""
        if home_address == self._config.home_address:
            return []
        config = replace(self._config, home_address=home_address)
        return self._start_over(config, f"the home address is {home_address}", now)

    def _start_over(self, config: MobileRouterConfig, why: str, now: float) -> list[Effect]:
        effects: list[Effect] = [Note("info", why)]
        if self._in_kernel:
            effects.append(DropBinding(self._config.home_address))
        self._config = config
        self._paths = Paths(self._config)
        self._list = UpdateListEntry(self._list.sequence)
        self._in_kernel = False
        self._adopted = None
        self._at, self._better = None, None
        self._blocked.clear()
        self._state = State.DETACHED
        return effects + self._choose(now, at_once=True)

    def home_agent_found(
        self, home_agent6: IPv6Address, home_agent4: IPv4Address | None, now: float
    ) -> list[Effect]:
        """Take the home agent that DNS named, instead of any before, and register with it."""
        config = replace(self._config, home_agent6=home_agent6, home_agent4=home_agent4, agents=())
        if config == self._config:
            return []
        return self._start_over(config, f"the home agent is {home_agent6}", now)

    def take_name(self, answer: BindingAcknowledgement) -> list[Effect]:
        """See what became of its name in DNS (RFC 5026 section 6)."""
        name = self._config.dns_name
        option = find(answer.options, DnsUpdate)
        before, self.name_status = self.name_status, option.status if option else None
        if not name or before == self.name_status:
            return []
        if option is None:
            return [Note("warning", f"{name}: the home agent does not update DNS")]
        level = "warning" if option.status >= 128 else "info"
        return [Note(level, f"{name} in DNS: {name_status(option.status)}")]

    def adopt_agent(self, memory: Mapping[str, Any]) -> list[Effect]:
        """Go on with the home agent that a former daemon used. Raises ``ValueError``."""
        if "agent" not in memory:
            return []
        six, four = memory["agent"]
        agent = AgentAddress(IPv6Address(six), IPv4Address(four) if four else None)
        if agent.address6 == self._config.home_agent6:
            return []
        there = any(agent == other for other in self._config.agents)
        if not there and not (
            self._config.any_agent and agent.address6 in self._config.home_prefix
        ):
            raise ValueError(f"{agent.address6} is no home agent of ours any more")
        self._config = with_agent(self._config, agent)
        self._paths.reconfigure(self._config)
        return [UseHomeAgent(agent.address6, agent.address4)]

    def keep_agent(self, config: MobileRouterConfig) -> MobileRouterConfig:
        """Return a new configuration that goes on with the home agent in use, if it may."""
        old = self._config
        current = AgentAddress(old.home_agent6, old.home_agent4)
        return with_agent(config, current) if current in config.agents else config

    def agent_memory(self) -> list[str | None]:
        """Return what ``adopt_agent`` takes."""
        config = self._config
        four = str(config.home_agent4) if config.home_agent4 else None
        return [str(config.home_agent6), four]

    def released(self, problem: str, again: float, now: float) -> list[Effect]:
        """Take note that the home agent has ended the binding; register ``again`` later."""
        entry = self._list
        entry.outstanding.clear()
        entry.expires = entry.refresh_at = None
        entry.retransmit_at = now + again
        self._state = State.REFUSED
        self._problem = problem
        return [Note("warning", f"{problem}; asking again in {again:g} s")]

    def released_ipv4(self, now: float) -> list[Effect]:
        """Take note that the home agent has ended the IPv4 home address."""
        self._config = replace(self._config, home_address4=None, request_home_address4=False)
        self._home_address4 = None
        self._problem = "the home agent has revoked the IPv4 home address"
        return [Note("warning", self._problem), *self._remember(now)]

    # --- what the engine has

    @abstractmethod
    def _ranking(self) -> list[Attachment]: ...

    @abstractmethod
    def _move(self, to: Attachment, reason: str, now: float) -> list[Effect]: ...

    @abstractmethod
    def _send_update(self, now: float) -> list[Effect]: ...

    @abstractmethod
    def _remember(self, now: float) -> list[Effect]: ...

    @abstractmethod
    def _refresh(self, now: float, why: str) -> list[Effect]: ...

    @abstractmethod
    def _choose(self, now: float, at_once: bool = False) -> list[Effect]: ...
