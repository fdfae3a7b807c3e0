# SPDX-License-Identifier: GPL-2.0-only
"""The bootstrapping of a mobile router: its engines, DNS and the rest of the daemon."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any, Final, Protocol

from ..linux.dns_socket import name_servers
from ..mobility.bootstrap import (
    AskName,
    Bootstrap,
    BootstrapConfig,
    BootstrapEffect,
    Remember,
    Target,
    UseAgent,
)
from ..mobility.effects import Count, Note, Uplink
from ..mobility.mobile_router import RegistrationView, State
from ..mobility.resolver import (
    Answer,
    Answered,
    CloseQuery,
    Resolver,
    ResolverEffect,
    SendQuery,
    Way,
)
from ..packet.home_network import HomeNetwork, HomeNetworkMalformed, suitable
from ..packet.home_network import parse as parse_home_network
from ..packet.kernel import Address
from ..packet.status import BindingAckStatus
from . import files
from .alarm import Alarm
from .bootstrap_config import BootstrapSection
from .config import Config, MobileRouterSection
from .control import RequestError
from .dns_client import talk

log = logging.getLogger(__name__)

_LEVELS = logging.getLevelNamesMapping()
#: What a mobile router found before.
FOUND: Final = "home-agent.json"
#: Unanswered updates in a row after which a home agent counts as lost: half a minute.
LOST_AFTER: Final = 5
_FILE_MAX: Final = 1 << 16
_OPTIONS_MAX: Final = 16


def ways(
    uplinks: Iterable[Uplink], servers: Sequence[Address], active: str = ""
) -> tuple[Way, ...]:
    """Return how name servers can be asked: by the uplink in use first, then by priority.

    A server of this host itself asks in whatever way it likes.
    """
    found: list[Way] = [Way(server) for server in servers if server.is_loopback]
    usable = [uplink for uplink in uplinks if not uplink.held]
    for uplink in sorted(usable, key=lambda u: (u.name != active, u.priority, u.name)):
        for server in servers:
            if server.is_loopback:
                continue
            sources: Sequence[Address] = uplink.addresses4
            gateway = uplink.gateway4
            if isinstance(server, IPv6Address):
                sources, gateway = uplink.addresses6, uplink.gateway6 or server.is_link_local
            if gateway and sources:
                found.append(Way(server, sources[0], uplink.interface))
    return tuple(found)


class FoundFile:
    """The home agent of before, by domain. What cannot be used is told of, never fatal."""

    def __init__(self, folder: str) -> None:
        self._path = Path(folder, FOUND)

    def read(self, config: BootstrapConfig) -> Target | None:
        """Return the home agent that was found for the same domain or name."""
        if not self._path.exists():
            return None
        try:
            found = json.loads(files.read(self._path, _FILE_MAX))
            if (found["domain"], found["asked"]) != (config.domain, config.name):
                return None
            four = found["agent4"]
            return Target(
                str(found["name"]),
                IPv6Address(found["agent6"]),
                None if four is None else IPv4Address(four),
            )
        except (files.FileError, ValueError, KeyError, TypeError) as error:
            log.error("%s is not used: %s", self._path, error)
            return None

    def write(self, config: BootstrapConfig, target: Target) -> None:
        """Remember a home agent."""
        value = {
            "domain": config.domain,
            "asked": config.name,
            "name": target.name,
            "agent6": str(target.agent6),
            "agent4": None if target.agent4 is None else str(target.agent4),
        }
        try:
            files.folder(self._path.parent)
            files.write(self._path, json.dumps(value).encode() + b"\n", force=True)
        except files.FileError as error:
            log.error("the home agent will not outlive a reboot: %s", error)


class Router(Protocol):
    """The part of ``router.MobileRouterRole`` that is used here."""

    @property
    def section(self) -> MobileRouterSection: ...
    @property
    def uplinks(self) -> tuple[Uplink, ...]: ...
    def registration(self) -> RegistrationView: ...
    def use_home_prefix(self, prefix: IPv6Network) -> None: ...


def with_found(config: Config) -> Config:
    """Return a configuration with the home agent that was found before, if it names none."""
    section = config.mobile_router
    if section is None or section.bootstrap is None:
        return config
    found = FoundFile(config.globals.state).read(section.bootstrap.engine)
    if found is None:
        return config
    known = section.with_home_agent(found.name, found.agent6, found.agent4)
    return replace(config, mobile_router=known)


class Bootstrapping:
    """One mobile router's way to its home agent; ``use`` makes one that was found the one."""

    def __init__(
        self,
        section: BootstrapSection,
        loop: asyncio.AbstractEventLoop,
        memory: FoundFile,
        router: Router,
        use: Callable[[Target], None],
    ) -> None:
        self.section = section
        self._router = router
        self._loop = loop
        self._memory = memory
        self._use = use
        self.counters: Counter[str] = Counter()
        engine = router.section.engine
        remembered = None
        if not engine.home_agent6.is_unspecified:
            remembered = memory.read(section.engine)
        self.engine = Bootstrap(section.engine, loop.time(), remembered)
        self._resolver = Resolver()
        self._queries: dict[int, asyncio.Task[None]] = {}
        self._uplinks: tuple[Uplink, ...] = ()
        self._active = ""
        self._usable: tuple[Uplink, ...] = ()
        self._alarm = Alarm(loop, self._rang)
        self._stopped = False

    # --- inputs

    def observe(self) -> None:
        """See what became of uplinks and registration."""
        if self._stopped:
            return
        view = self._router.registration()
        if self._router.uplinks != self._uplinks or view.uplink != self._active:
            self._uplinks, self._active = self._router.uplinks, view.uplink
            self._look()
        registered = view.state in (State.REGISTERED, State.HOME)
        waiting = view.state in (State.REGISTERING, State.RETURNING)
        # Detached in spite of an uplink: it is not to be reached in this one's family.
        unreachable = view.state is State.DETACHED and bool(self._usable)
        lost = (waiting and view.attempts >= LOST_AFTER) or unreachable
        # Another home address is asked for at the same home agent (RFC 5026 section 5.3.2).
        taken = view.refusal == BindingAckStatus.DUPLICATE_ADDRESS
        problem = view.problem if view.state is State.REFUSED and not taken else ""
        self._carry(self.engine.registration(registered, lost, problem, self._loop.time()))

    def _look(self) -> None:
        self._usable = usable = tuple(
            uplink
            for uplink in sorted(self._uplinks, key=lambda u: (u.priority, u.name))
            if not uplink.held
            and ((uplink.gateway6 and uplink.addresses6) or (uplink.gateway4 and uplink.addresses4))
        )
        key = tuple((u.name, u.addresses6[:1], u.addresses4[:1]) for u in usable)
        self._use_ways()
        name = usable[0].name if usable else ""
        self._carry(self.engine.network(name, key, self._loop.time()))

    def keys_up(self) -> None:
        """Hear that IKE is up."""
        self._carry(self.engine.keys_up(self._loop.time()))

    def keys_failed(self, reason: str, refused: bool) -> None:
        """Hear that IKE failed."""
        self._carry(self.engine.keys_failed(reason, refused, self._loop.time()))

    def home_prefix(self, prefix: IPv6Network) -> None:
        """Hear the home prefix."""
        self._router.use_home_prefix(prefix)

    def home_address(self, address: IPv6Address) -> None:
        """Hear which home address came."""
        self._carry(self.engine.home_address(address, self._loop.time()))

    def home_networks(self, found: Sequence[HomeNetwork]) -> list[str]:
        """Take what DHCPv6 tells; return the home agents that are tried because of it."""
        hints: list[str | Target] = []
        for network in suitable(found, self.section.reference):
            four = network.addresses4[0] if network.addresses4 else None
            hints += network.names
            hints += [Target(str(six), six, four) for six in network.addresses6]
        self._carry(self.engine.hinted(hints, self._loop.time()))
        return [str(hint) for hint in hints]

    def complete(self, config: Config) -> Config:
        """Return a configuration that is read again with the home agent that is in use."""
        section, current = config.mobile_router, self._router.section
        agent = current.engine.home_agent6
        if section is None or agent.is_unspecified:
            return config
        name = current.rows[0].plan.agent_identity if current.rows else ""
        section = section.with_home_agent(name, agent, current.engine.home_agent4)
        engine = replace(section.engine, home_prefix=current.engine.home_prefix)
        return replace(config, mobile_router=replace(section, engine=engine))

    def stop(self) -> None:
        """End all that goes on."""
        self._stopped = True
        self._resolve(self._resolver.cancel())
        self._alarm.stop()

    def document(self) -> dict[str, Any]:
        """Return what the status document shows."""
        config = self.section.engine
        view = self.engine.view(self._loop.time())
        target = view.target
        return {
            "domain": config.domain,
            "asked_name": config.name,
            "state": view.phase.value,
            "found_by": view.how,
            "home_agent_name": target.name if target else "",
            "home_agents": []
            if target is None
            else [str(a) for a in (target.agent6, target.agent4) if a is not None],
            "name_servers": [str(way.server) for way in self._resolver.ways],
            "problem": view.problem,
            "retry_in": None if view.retry_in is None else round(view.retry_in, 1),
            "steps": [
                {
                    "step": mark.step.value,
                    "seconds": round(mark.seconds, 3),
                    "failed": mark.failed,
                    "text": mark.text,
                }
                for mark in view.marks
            ],
            "counters": dict(sorted(self.counters.items())),
        }

    # --- effects

    def _use_ways(self) -> None:
        servers = self.section.servers or name_servers(self.section.resolv_conf)
        found = ways(self._uplinks, servers, self._active)
        self._resolve(self._resolver.use_ways(found, self._loop.time()))

    def _carry(self, effects: Iterable[BootstrapEffect]) -> None:
        for effect in effects:
            match effect:
                case AskName():
                    self._use_ways()
                    now, fresh = self._loop.time(), effect.fresh
                    self._resolve(self._resolver.ask(effect.name, effect.type, now, fresh))
                case UseAgent():
                    self._loop.call_soon(self._use, effect.target)
                case Remember():
                    self._memory.write(self.section.engine, effect.target)
                case Note():
                    self._note(effect)
                case Count():
                    self.counters[effect.name] += 1
        self._arm()

    def _resolve(self, effects: Iterable[ResolverEffect]) -> None:
        for effect in effects:
            match effect:
                case SendQuery():
                    self._queries[effect.token] = self._loop.create_task(self._query(effect))
                    self.counters["dns_queries"] += 1
                case CloseQuery():
                    task = self._queries.pop(effect.token, None)
                    if task is not None:
                        # It may be the one that runs just now.
                        self._loop.call_soon(task.cancel)
                case Answered():
                    # Not at once: what asked may be in the middle of something.
                    self._loop.call_soon(self._answered, effect.answer)
                case Note():
                    self._note(effect)
                case Count():
                    self.counters[effect.name] += 1
        self._arm()

    def _answered(self, answer: Answer) -> None:
        self._carry(self.engine.answered(answer, self._loop.time()))

    async def _query(self, query: SendQuery) -> None:
        way = query.way
        try:
            answers = talk(
                query.data, way.server, way.port, way.source, way.interface, tcp=query.tcp
            )
            async for data in answers:
                self._resolve(self._resolver.received(query.token, data, self._loop.time()))
        except OSError as error:
            reason = error.strerror or str(error)
            self._resolve(self._resolver.failed(query.token, reason, self._loop.time()))

    @staticmethod
    def _note(note: Note) -> None:
        log.log(_LEVELS.get(note.level.upper(), logging.INFO), "%s", note.text)

    def _arm(self) -> None:
        times = (self.engine.next_timer(), self._resolver.next_timer())
        at = min((one for one in times if one is not None), default=None)
        self._alarm.set(None if self._stopped else at)

    def _rang(self, now: float) -> None:
        self._resolve(self._resolver.handle_timer(now))
        self._carry(self.engine.handle_timer(now))


def tell(bootstrapping: Bootstrapping | None, request: Mapping[str, Any]) -> dict[str, Any]:
    """Answer ``dsmip home-network``. Raises ``RequestError``."""
    if bootstrapping is None:
        raise RequestError("this daemon looks for no home agent: it needs domain =")
    options = request.get("options")
    if not isinstance(options, list) or len(options) > _OPTIONS_MAX:
        raise RequestError('"options" is a list of codes and hexadecimal texts')
    found = []
    for entry in options:
        try:
            code, text = entry
            found.append(parse_home_network(int(code), bytes.fromhex(text)))
        except HomeNetworkMalformed as error:
            bootstrapping.counters[error.counter] += 1
            log.warning("DHCPv6: %s", error.reason)
        except (TypeError, ValueError):
            raise RequestError(f"{entry!r:.60} is no option") from None
    return {"home_agents": bootstrapping.home_networks(found)}
