# SPDX-License-Identifier: GPL-2.0-only
"""A mobile router whose home network is renumbered: several home addresses at once.

Each has an engine of its own. The first one carries the mobile network; the others
only keep their home address reachable, until their prefixes end.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any, Final

from ..linux.dsmip import BindingState, KernelEvent
from ..linux.ip6_socket import Received
from ..linux.mobility_socket import Datagram
from ..mobility.config import INFINITE, AgentAddress, HomePrefix, MobileRouterConfig
from ..mobility.discovery import SendIcmp
from ..mobility.effects import (
    Announce,
    Attach,
    Effect,
    FindHomeAgents,
    HandoverMark,
    Solicit,
    SolicitPrefixes,
    Uplink,
    UseHomeAgent,
)
from ..mobility.mobile_router import MobileRouter, State
from ..mobility.renumbering import HomePrefixes, PrefixDiscovery, RenumberingEffect
from ..packet.icmp6 import MobilePrefixAdvertisement
from . import files
from .config import Config, MobileRouterSection
from .discovery import IcmpWire, Service, icmp_received
from .history import History
from .prefix_config import can_be_renumbered, first_of, row_for
from .roles import Kernel, Role
from .router import MobileRouterRole

log = logging.getLogger(__name__)

TYPES: Final = (MobilePrefixAdvertisement.TYPE,)
FILE: Final = "home-prefixes.json"
_LARGEST: Final = 1 << 16


class PrefixFile:
    """Home prefixes that outlive a restart, with the times at which they end."""

    def __init__(self, folder: str) -> None:
        self._path = Path(folder, FILE)

    def read(self, now: float) -> list[HomePrefix]:
        """Return them as counting from ``now``; a file that cannot be used is empty."""
        if not self._path.exists():
            return []
        clock = time.time()
        try:
            rows = json.loads(files.read(self._path, _LARGEST))
            return [
                HomePrefix(
                    IPv6Network(prefix), _left(valid, clock), _left(preferred, clock), True, now
                )
                for prefix, valid, preferred in rows
            ]
        except (files.FileError, ValueError, TypeError) as error:
            log.error("%s is not used: %s", self._path, error)
            return []

    def write(self, lives: Iterable[HomePrefix], now: float) -> None:
        """Keep these and no others."""
        clock = time.time()
        rows = []
        for life in lives:
            valid, preferred = life.lifetimes(now)
            rows.append([str(life.prefix), _until(valid, clock), _until(preferred, clock)])
        try:
            files.folder(self._path.parent)
            files.write(self._path, json.dumps(rows).encode() + b"\n", force=True)
        except files.FileError as error:
            log.error("home prefixes will not outlive a restart: %s", error)


def _until(seconds: int, clock: float) -> float | None:
    return None if seconds == INFINITE else clock + seconds


def _left(until: float | None, clock: float) -> int:
    return INFINITE if until is None else max(int(float(until) - clock), 0)


def with_renumbered(config: Config, now: float) -> Config:
    """Return a configuration with the home address of the prefix that holds now."""
    section = config.mobile_router
    if section is None or section.engine.home_address.is_unspecified:
        return config
    lives = PrefixFile(config.globals.state).read(now)
    first = first_of(lives, section.engine.home_prefix, now)
    if first is None or first.prefix == section.engine.home_prefix:
        return config
    host = int(section.engine.home_address) & int(first.prefix.hostmask)
    address = IPv6Address(int(first.prefix.network_address) | host)
    return replace(config, mobile_router=_moved(section, address, first.prefix))


def _moved(
    section: MobileRouterSection, address: IPv6Address, prefix: IPv6Network
) -> MobileRouterSection:
    """Return a section whose first home address is another one, with its keys."""
    engine = replace(section.engine, home_address=address, home_prefix=prefix)
    rows = tuple(
        replace(
            row_for(row, address),
            plan=row.plan,
            prefixes=row.prefixes,
            home_address4=row.home_address4,
        )
        for row in section.rows
    )
    return replace(section, engine=engine, rows=rows)


def _alone(
    config: MobileRouterConfig, address: IPv6Address, prefix: IPv6Network
) -> MobileRouterConfig:
    """Return what a home address is registered with that carries no mobile network."""
    return replace(
        config,
        home_address=address,
        home_prefix=prefix,
        home_address4=None,
        request_home_address4=False,
        home_and_away=False,
        prefixes=tuple(p for p in config.prefixes if not isinstance(p, IPv4Network)),
    )


class Other(Role):
    """A home address of the router besides the first."""

    title = "mobile router"

    def __init__(
        self,
        engine: MobileRouter,
        prefix: IPv6Network,
        kernel: Kernel,
        loop: asyncio.AbstractEventLoop,
        history: History,
        announce: Callable[[int, IPv6Address], None],
        changed: Callable[[], None],
    ) -> None:
        super().__init__(engine, kernel, loop, history)
        self.engine = engine
        self.prefix = prefix
        self._announce, self._changed = announce, changed

    @property
    def address(self) -> IPv6Address:
        """Return the home address."""
        return self.engine.config.home_address

    def concerns(self, datagram: Datagram) -> bool:
        return datagram.destination == self.address

    def protected(self, datagram: Datagram) -> bool:
        return self._kernel.keys.protects(datagram.destination, datagram.source)

    def take(self, engine: MobileRouter, prefix: IPv6Network) -> None:
        """Go on with another engine."""
        self.engine = self._engine = engine
        self.prefix = prefix
        self._arm()

    def tell(self, uplinks: tuple[Uplink, ...]) -> None:
        """Tell the engine of the access networks."""
        self.carry(self.engine.uplinks_changed(uplinks, self.now()))

    def end(self) -> None:
        """Give the home address up."""
        self.carry(self.engine.stop(self.now(), deregister=True))
        self.stop()

    def carry(self, effects: Iterable[Effect]) -> None:
        super().carry(effects)
        self._changed()

    def carry_one(self, effect: Effect) -> None:
        match effect:
            case Announce():
                self._announce(effect.interface, self.address)
            case Attach() | HandoverMark() | Solicit() | SolicitPrefixes():
                pass  # the first home address does that for all
            case UseHomeAgent() | FindHomeAgents():
                pass  # and goes first to another home agent
            case _:
                super().carry_one(effect)


class Renumbering(Service):
    """Home prefixes of one router, and the roles of its home addresses.

    ``rekey`` takes the section with the rows of all home addresses, before any of
    them is used.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wire: IcmpWire,
        role: MobileRouterRole,
        kernel: Kernel,
        history: History,
        adopted: Iterable[BindingState],
        memory: PrefixFile,
        rekey: Callable[[MobileRouterSection], None],
    ) -> None:
        super().__init__(loop, wire)
        self._role, self._kernel, self._history = role, kernel, history
        self._memory, self._rekey = memory, rekey
        self._adopted = [state.binding for state in adopted if state.binding.mobile]
        config = role.section.engine
        self._engine = PrefixDiscovery(config.home_address, config.home_prefix, config.networks)
        self._wanted: tuple[tuple[IPv6Address, IPv6Network, float | None], ...] = ()
        self._busy = False
        self._preferred: str | None = None
        self.others: dict[IPv6Address, Other] = {}

    def start(self) -> None:
        super().start()
        self._role.use_others(self)
        now = self._loop.time()
        self.perform(self._engine.adopt(self._memory.read(now), now))

    def stop(self) -> None:
        super().stop()
        for other in self.others.values():
            other.stop()

    # --- what the role asks of it

    def receive(self, datagram: Datagram) -> bool:
        """Hand a message to the home address that it is for; False if it is none of these."""
        other = self.others.get(datagram.destination)
        if other is None:
            return False
        other.receive(datagram)
        return True

    def event(self, event: KernelEvent) -> bool:
        """Hand an event to the home address that it is about; False if it is none of these."""
        other = None if event.home_address is None else self.others.get(event.home_address)
        if other is None:
            return False
        other.kernel_event(event)
        return True

    def uplinks_changed(self) -> None:
        """Tell all home addresses of the access networks."""
        for other in list(self.others.values()):
            other.tell(self._role.uplinks_for(other.prefix))

    def handover(self, name: str | None) -> None:
        """Let all home addresses prefer an uplink, those to come as well."""
        self._preferred = name
        for other in list(self.others.values()):
            other.carry(other.engine.handover(name, other.now()))

    def home_agent_changed(self, effect: UseHomeAgent) -> None:
        """Let all home addresses follow to another home agent."""
        self.rekey()
        agent = AgentAddress(effect.address6, effect.address4)
        for other in list(self.others.values()):
            now = other.now()
            other.carry(other.engine.use_agent(agent, "the home agent changes", now))

    def solicit(self) -> None:
        """Ask for the home prefixes."""
        section = self._role.section
        if not self._possible(section):
            return
        engine = section.engine
        self.perform(
            self._engine.solicit(engine.home_address, engine.home_agent6, self._loop.time())
        )

    def documents(self) -> list[dict[str, Any]]:
        """Return the home prefixes as plain values."""
        now = self._loop.time()
        found = []
        for life in self._engine.prefixes.values():
            valid, preferred = life.lifetimes(now)
            found.append(
                {
                    "prefix": str(life.prefix),
                    "valid": None if valid == INFINITE else valid,
                    "preferred": None if preferred == INFINITE else preferred,
                    "home_address": next(
                        (str(a) for a, prefix, _ in self._wanted if prefix == life.prefix), None
                    ),
                    "first": life.prefix == self._role.section.engine.home_prefix,
                }
            )
        return found

    # --- messages and timers

    def take(self, packet: Received) -> None:
        engine = self._role.section.engine
        home, agent = packet.destination, engine.home_agent6
        mine = home == engine.home_address or home in self.others
        protected = mine and self._kernel.keys.protects_prefixes(home, packet.source)
        received = icmp_received(packet, protected)
        expected = home if mine else engine.home_address
        now = self._loop.time()
        self.perform(self._engine.receive(received, expected, agent, now))

    def next_timer(self) -> float | None:
        return self._engine.next_timer()

    def expired(self, now: float) -> None:
        engine = self._role.section.engine
        self.perform(self._engine.handle_timer(engine.home_address, engine.home_agent6, now))

    def perform(self, effects: Iterable[RenumberingEffect]) -> None:
        """Carry out effects; home addresses are changed last."""
        prefixes: HomePrefixes | None = None
        for effect in effects:
            if isinstance(effect, HomePrefixes):
                prefixes = effect
            else:
                if isinstance(effect, SendIcmp):
                    effect = replace(effect, care_of=self._role.registration().care_of)
                self.carry_one(effect)
        if prefixes is not None:
            self._take_prefixes(prefixes)
        self._tell_ends()
        self.arm()

    def _tell_ends(self) -> None:
        """Let no home address be bound for longer than its prefix is valid."""
        now = self._loop.time()
        for address, prefix, _ in self._wanted:
            life = self._engine.prefixes.get(prefix)
            role = self._role if address == self._role.section.engine.home_address else None
            holder = role or self.others.get(address)
            if life is not None and holder is not None:
                valid, _preferred = life.lifetimes(now)
                until = None if valid == INFINITE else now + valid
                holder.carry(holder.engine.home_address_ends(until, now))

    # --- home addresses

    def _possible(self, section: MobileRouterSection) -> bool:
        return bool(section.rows) and all(can_be_renumbered(row) for row in section.rows)

    def _take_prefixes(self, found: HomePrefixes) -> None:
        self._wanted = found.addresses
        self._memory.write(self._engine.prefixes.values(), self._loop.time())
        section = self._role.section
        here = {section.engine.home_address, *self.others}
        new = [(a, p) for a, p, _ in found.addresses if a not in here]
        if new and not self._possible(section):
            log.warning("the home network is renumbered, but there are no keys for another address")
            return
        for address, prefix in new:
            log.info("new home address %s in %s", address, prefix)
            self._add(address, prefix)
        if new:
            self.rekey()
            self._role.use_other_addresses(tuple(self.others))
            self.uplinks_changed()
        self._settle()

    def _add(self, address: IPv6Address, prefix: IPv6Network) -> None:
        base = replace(self._role.section.engine, home_address=address, home_prefix=prefix)
        first = bool(self._wanted) and address == self._wanted[0][0]
        config = base if first else _alone(base, address, prefix)
        now = self._loop.time()
        engine = type(self._role.engine)(config, now, self._adopted)
        engine.light = True
        # Nothing is to be done yet: it knows of no uplinks.
        engine.handover(self._preferred, now)
        other = Other(
            engine,
            prefix,
            self._kernel,
            self._loop,
            self._history,
            self._role.announce_one,
            self._settle,
        )
        self.others[address] = other
        other.start()

    def _settle(self) -> None:
        """Let the first home address take over when it is registered; give up old ones."""
        if self._busy or not self._wanted:
            return
        self._busy = True
        try:
            wanted = [address for address, _, _ in self._wanted]
            other = self.others.get(wanted[0])
            current = self._role.section.engine.home_address
            if other is not None:
                state = other.engine.registration(self._loop.time()).state
                if state in (State.REGISTERED, State.HOME) or current not in wanted:
                    self._promote(other)
            for address in [a for a in self.others if a not in wanted]:
                log.info("home address %s has ended", address)
                self.others.pop(address).end()
                self.rekey()
                self._role.use_other_addresses(tuple(self.others))
        finally:
            self._busy = False

    def _promote(self, other: Other) -> None:
        """Move the mobile network from the first home address to another."""
        role, now = self._role, self._loop.time()
        section, engine, address = role.section, role.engine, other.address
        log.info("the mobile network goes with home address %s from now on", address)
        old = section.engine
        alone = _alone(engine.config, old.home_address, old.home_prefix)
        role.carry(engine.carry_network(alone, False, now))
        del self.others[address]
        self.others[old.home_address] = other
        fresh = other.engine
        moved = _moved(section, address, other.prefix)
        config = replace(
            engine.config,
            home_address=address,
            home_prefix=other.prefix,
            home_address4=old.home_address4,
            request_home_address4=old.request_home_address4,
            prefixes=old.prefixes,
        )
        other.take(engine, old.home_prefix)
        role.take_engine(fresh, moved)
        role.carry(fresh.carry_network(config, True, now))
        self.rekey()
        role.use_other_addresses(tuple(self.others))

    def rekey(self) -> None:
        """Install the keys of all home addresses."""
        section = self._role.section
        own = section.engine.home_address
        rows = [row for row in section.rows if row.home_address == own]
        more = [row_for(row, address) for address in self.others for row in rows]
        self._rekey(replace(section, rows=(*rows, *more)))
