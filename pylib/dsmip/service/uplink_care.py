# SPDX-License-Identifier: GPL-2.0-only
"""What is done for uplinks besides registering: stalled modems, portals, costs, facts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, ParamSpec

from ..linux.dsmip import BindingState
from ..linux.uplinks import LinkState
from ..mobility.captive import Access, Asked, Expected, PortalChange, PortalWatch, Verdict
from ..mobility.effects import Uplink
from ..mobility.portal_login import LookUp, Portal
from ..mobility.router_view import State
from ..mobility.second_chance import GivenUp, SecondChances
from ..mobility.stalled import RestartUplink, StallWatch, Tried
from ..packet.http import Target
from ..packet.kernel import Address
from . import netifd, portal_probe, programs
from .alarm import Alarm
from .data_used import DataUsed
from .distance import Distance
from .history import History
from .modem import Signals
from .portal_logins import LoginDoors
from .router import MobileRouterRole
from .uplink_config import PRIORITIES, PortalSection, UplinkEntry

log = logging.getLogger(__name__)

_LEVELS: Final = logging.getLevelNamesMapping()
#: Seconds between two looks at counters, modems and netifd.
TICK: Final = 60.0
_RESTART_TIMEOUT: Final = 60.0

P = ParamSpec("P")
Probe = Callable[[tuple[Target, ...], Expected, tuple[Address, ...], int], Awaitable[Verdict]]
Restart = Callable[[UplinkEntry], Awaitable[bool]]


async def restart(entry: UplinkEntry) -> bool:
    """Restart an uplink's interface as it says; False when that failed."""
    if not entry.restart:
        return await netifd.restart(entry.network)
    try:
        await programs.run(entry.restart, _RESTART_TIMEOUT)
    except (OSError, TimeoutError) as error:
        log.error("%s: %s", entry.name, str(error) or f"{entry.restart[0]} takes too long")
        return False
    return True


class UplinkCare:
    """The engines for uplinks, and what is known of them; wired to a mobile router's role."""

    def __init__(
        self,
        role: MobileRouterRole,
        loop: asyncio.AbstractEventLoop,
        history: History,
        used: DataUsed,
        kernel: Callable[[], BindingState | None],
        probe: Probe = portal_probe.ask,
        restarter: Restart = restart,
        signals: Signals | None = None,
        dump: Callable[[], Awaitable[Mapping[str, Mapping[str, Any]] | None]] = netifd.ask,
        doors: LoginDoors | None = None,
        distance: Distance | None = None,
    ) -> None:
        self._role = role
        self._loop = loop
        self._history = history
        self._used = used
        self._kernel = kernel
        self._probe = probe
        self._restarter = restarter
        self._signals = Signals(loop) if signals is None else signals
        self._dump = dump
        self._doors = doors
        self._distance = distance or Distance(role, loop)
        self._stalls = StallWatch()
        self._portals = PortalWatch()
        self._chances = SecondChances()
        self._prices: dict[str, netifd.Price] = {}
        self._held: set[str] = set()
        self._last: dict[str, tuple[object, bool]] = {}
        self._alarm = Alarm(loop, lambda _now: self.look())
        self._tick: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False
        role.care = self

    def start(self) -> None:
        """Look at everything for the first time."""
        self._ticks()
        self.look()

    def stop(self) -> None:
        """Do nothing any more; what was used is kept."""
        self._stopped = True
        self._alarm.stop()
        if self._tick is not None:
            self._tick.cancel()
        for task in self._tasks:
            task.cancel()
        if self._doors is not None:
            self._doors.stop()
        self._signals.stop()
        self._distance.stop()
        self._used.look(self._interfaces(), self._loop.time())
        self._used.write()

    # --- what the role asks

    def holds(self, name: str) -> bool:
        """Whether a portal keeps an uplink from being used."""
        return self._portals.holds(name)

    def priority(self, entry: UplinkEntry) -> int:
        """Return the priority by which the engine chooses: cheap ones come first."""
        return entry.priority + PRIORITIES * self._cost(entry)

    def look(self) -> None:
        """See what has changed, and what is due."""
        if self._stopped:
            return
        now = self._loop.time()
        fresh = self._role.engine.reach()
        view = self._role.registration()
        # One answer that did not come is reason enough to ask.
        waits = view.uplink if view.state is State.REGISTERING and view.attempts > 1 else ""
        answered = self._answered(fresh)
        tried: list[Tried] = []
        asked: list[Asked] = []
        for entry, uplink, link in self._known():
            usable = link.carrier and not uplink.at_home and not self._role.held(entry)
            if not usable or not _sources(uplink):
                tried.append(Tried(entry.name, False, None))
                continue
            said = answered.get(entry.name)
            if self._section is not None and entry.portal:
                at_once = self._section.target is not None
                reached = said if entry.name != waits else False
                asked.append(Asked(entry.name, _key(uplink), reached, at_once))
            # What was true once is no answer of now.
            now_said = fresh.get(entry.name) or (None if said else said)
            tried.append(self._tried(entry, uplink, now_said))
        self._told(self._portals.observe(asked, self._settled(), now))
        for name in self._portals.due(now):
            self._start(self._ask, self._uplink(name))
        self._open_doors()
        for name in self._chances.observe(self._given_up(answered), now):
            self._start(self._ask_again, self._uplink(name))
        for effect in self._stalls.observe(tried, now):
            if isinstance(effect, RestartUplink):
                self._restart(effect, now)
            else:
                log.log(_LEVELS.get(effect.level.upper(), logging.INFO), "%s", effect.text)
        self._arm()
        held = {one.name for one in self._role.section.uplinks if self._portals.holds(one.name)}
        if held != self._held:
            self._held = held
            self._role.look_again()

    def document(self, name: str) -> dict[str, Any]:
        """Return what a status document tells of an uplink besides its paths."""
        entry = next((one for one in self._role.section.uplinks if one.name == name), None)
        if entry is None:
            return {}
        signal = self._signals.of(entry.interface)
        measured = zip(("rtt_ms", "loss_percent"), self._distance.of(name), strict=True)
        return {
            **{key: value for key, value in measured if value is not None},
            "network": entry.network,
            "metered": self._metered(entry),
            "cost": self._cost(entry),
            "signal": None if signal is None else signal.document(),
            "used": self._used.document(name),
            "portal": self._portals.url(name),
            **self._login(name),
            "restarts": self._stalls.restarts(name),
            "stalled": self._stalls.text(name, self._loop.time()),
        }

    def _login(self, name: str) -> dict[str, Any]:
        if self._doors is None:
            return {"login": [], "login_problem": ""}
        return self._doors.document(name, self._portals.url(name))

    def refresh(self, *, watched: bool = False) -> None:
        """Have what is shown fresh; ``watched`` when somebody looks on, who wants echoes too."""
        interfaces = self._interfaces()
        self._signals.look(list(interfaces.values()))
        self._used.look(interfaces, self._loop.time())
        if watched:
            self._distance.watched()

    def measured(self, name: str) -> tuple[float | None, float | None]:
        """Return round trip in ms and loss in percent of the uplink in use, None where unknown."""
        return self._distance.of(name)

    def measure(self) -> None:
        """Measure how far the home agent is, when it is time; call it every second."""
        self._distance.measure(self._is_free)

    def _is_free(self, name: str) -> bool:
        return not any(self._metered(one) for one in self._role.section.uplinks if one.name == name)

    def needs_login(self) -> bool:
        """Whether a portal is all that is in the way."""
        names = (entry.name for entry in self._role.section.uplinks)
        return not self._settled() and any(self._portals.url(name) for name in names)

    # --- what is known

    def _settled(self) -> bool:
        return self._role.registration().state in (State.REGISTERED, State.HOME)

    @property
    def _section(self) -> PortalSection | None:
        return self._role.section.portal

    def _uplink(self, name: str) -> Uplink:
        return next(one for one in self._role.uplinks if one.name == name)

    def _known(self) -> Iterable[tuple[UplinkEntry, Uplink, LinkState]]:
        role = self._role
        return list(zip(role.section.uplinks, role.uplinks, role.links, strict=False))

    def _interfaces(self) -> dict[str, str]:
        return {one.name: one.interface for one in self._role.section.uplinks}

    def _answered(self, said: Mapping[str, bool]) -> dict[str, bool]:
        """Return who got answers lately; what was true stays so as long as nobody tries."""
        keys = {uplink.name: _key(uplink) for uplink in self._role.uplinks}
        for name in [one for one in self._last if self._last[one][0] != keys.get(one)]:
            del self._last[name]
        for name, answers in said.items():
            if name in keys:
                self._last[name] = keys[name], answers
        return {name: answers for name, (_key, answers) in self._last.items()}

    def _given_up(self, answered: Mapping[str, bool]) -> Iterable[GivenUp]:
        view, section = self._role.registration(), self._section
        several = self._role.section.engine.several
        if section is None or several or view.state is not State.REGISTERED:
            # Nobody may be asked, all are tried anyway, or there is no data to keep.
            return
        used = [entry for entry in self._role.section.uplinks if entry.name == view.uplink]
        for entry, uplink, link in self._known():
            usable = link.carrier and not uplink.at_home and not uplink.held
            if usable and _sources(uplink):
                better = any(self.priority(entry) < self.priority(one) for one in used)
                name = entry.name
                can = better and entry.portal and not self._portals.holds(name)
                yield GivenUp(name, _key(uplink), answered.get(name), can)

    async def _ask_again(self, uplink: Uplink) -> None:
        """Ask the home agent, which does not know who asks, and try it if it is there."""
        access = Access.SILENT
        try:
            sources, targets = _sources(uplink), self._home_agent()
            verdict = await self._probe(targets, Expected(), sources, uplink.interface)
            access = verdict.access
        finally:
            there = access in (Access.OPEN, Access.UNCLEAR)
            now = self._loop.time()
            if self._chances.heard(uplink.name, _key(uplink), there, now):
                log.info("%s: the home agent is there again", uplink.name)
                self._role.counters["uplinks_tried_again"] += 1
                self._role.try_again(uplink.name)
            self.look()

    def _tried(self, entry: UplinkEntry, uplink: Uplink, answered: bool | None) -> Tried:
        held = self._portals.holds(entry.name)
        can = bool(entry.restart or entry.network)
        return Tried(
            entry.name,
            not held,
            answered,
            answered is False and self._carries(entry, uplink),
            self._else_answered(entry.name),
            entry.restart_after if can else 0.0,
        )

    def _carries(self, entry: UplinkEntry, uplink: Uplink) -> bool:
        """Whether packets still come from home, although no update is answered."""
        try:
            kernel = self._kernel()
        except OSError as error:
            log.debug("%s: what it carries is not known: %s", entry.name, error)
            return False
        mine = {*uplink.addresses6, *uplink.addresses4}
        heard = [
            path.last_heard_ms
            for path in (kernel.paths if kernel is not None else ())
            if path.path.local in mine and path.last_heard_ms is not None
        ]
        return min(heard, default=float("inf")) < entry.restart_after * 1000

    def _else_answered(self, name: str) -> bool | None:
        section = self._section
        answers = self._portals.answers(name)
        # The home agent's own silence says nothing that was not known.
        independent = section is not None and section.target is not None
        return answers if answers or independent else None

    def _metered(self, entry: UplinkEntry) -> bool:
        said = self._prices.get(entry.network, netifd.Price()).metered
        return bool(said if entry.metered is None else entry.metered)

    def _cost(self, entry: UplinkEntry) -> int:
        if entry.cost is not None:
            return entry.cost
        said = self._prices.get(entry.network, netifd.Price()).cost
        return int(self._metered(entry)) if said is None else said

    # --- what is done

    def _restart(self, effect: RestartUplink, now: float) -> None:
        entry = next(one for one in self._role.section.uplinks if one.name == effect.name)
        # What was said of it is from before.
        self._last.pop(effect.name, None)
        times = "" if effect.number == 1 else f", number {effect.number}"
        reason = f"{effect.name} stalled: interface restarted{times}"
        self._history.note("restart", effect.name, reason, now)
        self._role.counters["uplink_restarts"] += 1
        self._start(self._run_restart, entry)

    async def _run_restart(self, entry: UplinkEntry) -> None:
        if not await self._restarter(entry):
            log.error("%s: its interface could not be restarted", entry.name)
            self._role.counters["uplink_restarts_failed"] += 1

    async def _ask(self, uplink: Uplink) -> None:
        section = self._section or PortalSection(None, Expected())
        targets = (section.target,) if section.target is not None else self._home_agent()
        verdict = Verdict(Access.SILENT)
        try:
            verdict = await self._probe(
                targets, section.expected, _sources(uplink), uplink.interface
            )
        finally:
            now = self._loop.time()
            self._told(self._portals.taken(uplink.name, _key(uplink), verdict, now))
            self.look()

    def _open_doors(self) -> None:
        if self._doors is None:
            return
        known = [(one, self._portals.url(one.name)) for one in self._role.uplinks]
        portals = [Portal(one.name, _key(one), url) for one, url in known if url]
        for effect in self._doors.look(portals):
            self._start(self._find, self._doors, effect)

    async def _find(self, doors: LoginDoors, effect: LookUp) -> None:
        try:
            await doors.find(effect)
        finally:
            self.look()

    def _home_agent(self) -> tuple[Target, ...]:
        config = self._role.engine.config
        both = (config.home_agent6, config.home_agent4)
        return tuple(Target(str(one)) for one in both if one is not None and int(one))

    def _told(self, changes: list[PortalChange]) -> None:
        for change in changes:
            log.log(logging.WARNING if change.met else logging.INFO, "%s", change.text)
            event = "portal" if change.met else "portal passed"
            self._history.note(event, change.name, change.text, self._loop.time())

    def _ticks(self) -> None:
        self._tick = self._loop.call_later(TICK, self._ticks)
        self.refresh()
        if any(entry.network for entry in self._role.section.uplinks):
            self._start(self._ask_netifd)

    async def _ask_netifd(self) -> None:
        dumped = await self._dump()
        if dumped is None:
            return
        names = {entry.network for entry in self._role.section.uplinks} - {""}
        found = {name: netifd.price(one) for name, one in dumped.items() if name in names}
        if found != self._prices:
            self._prices = found
            self._role.look_again()

    def _start(self, action: Callable[P, Awaitable[None]], *args: P.args, **kw: P.kwargs) -> None:
        async def guarded() -> None:
            try:
                await action(*args, **kw)
            except Exception:
                log.exception("uplinks: internal error")
                self._role.counters["internal_errors"] += 1

        task = self._loop.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _arm(self) -> None:
        times = [one.next_timer() for one in (self._stalls, self._portals, self._chances)]
        if self._doors is not None:
            times.append(self._doors.next_timer())
        at = min((one for one in times if one is not None), default=None)
        self._alarm.set(at)


def _sources(uplink: Uplink) -> tuple[Address, ...]:
    """Return the addresses to speak from: the best one of each family that leads anywhere."""
    six = uplink.addresses6[:1] if uplink.gateway6 else ()
    four = uplink.addresses4[:1] if uplink.gateway4 else ()
    return (*six, *four)


def _key(uplink: Uplink) -> object:
    """Return what tells a network from the one before."""
    return uplink.interface, _sources(uplink)
