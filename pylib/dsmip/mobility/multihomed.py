# SPDX-License-Identifier: GPL-2.0-only
"""A mobile router that registers every care-of address at once (RFC 5648).

Each has a BID and a registration of its own, through itself, so that the home
agent and every NAT see it. Data takes the best one that lives; a move to another
changes nothing but that choice here and BID-PRI there (RFC 6089), and nothing is
lost in between. At home, and with a home agent that knows no BIDs, it is the plain
mobile router.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv6Address

from ..packet.kernel import PathEvent
from ..packet.mobility import BindingAcknowledgement
from .attachment import Attachment, Paths, away, candidates, protected
from .config import MobileRouterConfig
from .effects import (
    Attach,
    Count,
    Effect,
    HandoverMark,
    KernelBinding,
    Moved,
    Note,
    Path,
    Phase,
    Uplink,
)
from .home_paths import HomePaths
from .mobile_router import TRIES, MobileRouter
from .path_list import (
    KERNEL_PATHS,
    LINGER,
    PRIORITY_ACTIVE,
    PRIORITY_STANDBY,
    PathEntry,
    PathStatus,
    bid_of,
    kernel_cost,
)
from .path_registrar import same
from .probing import Probe
from .router_view import FlowView, PathView, RegistrationView, State
from .update_list import UpdateListEntry


class MultihomedRouter(HomePaths):
    """The engine; see ``MobileRouter`` for its inputs."""

    # --- inputs ------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        binding = self._adopted
        if binding is None or not binding.paths:
            return super().start(now)
        held = {path.bid: path for path in binding.paths}
        try:
            memory = json.loads(binding.data)
            rows = [[int(value) for value in row] for row in memory["m"]]
            active = int(memory["a"])
            effects = self.adopt_agent(memory)
            entries = [self._adopt(row, held, binding.lifetime, now) for row in rows]
            self._adopt_home(memory.get("h"))
        except (ValueError, KeyError, TypeError, IndexError):
            return super().start(now)
        self._adopted = None
        self._list.sequence = binding.sequence
        self._home_address4 = binding.home_address4 or self._home_address4
        self._in_kernel = True
        self._entries = {entry.bid: entry for entry in entries}
        chosen, home = self._entries.get(active), self._home.place
        if chosen is None and home is not None:
            self._overwrite = False
            self._at, self._state = home, State.HOME
            note = Note("info", "took over the binding, at home and away")
            attach = Attach(True, home.interface, self._home.silent)
            return [*effects, note, attach, Moved(self._config.home_address, None, None, True)]
        if chosen is None:
            return []
        self._overwrite = False
        self._at, self._kind, self._nat = chosen.attachment, chosen.kind, chosen.nat
        self._state = State.REGISTERED
        names = ", ".join(str(entry.attachment.address) for entry in entries)
        return [
            *effects,
            Note("info", f"took over the binding with care-of addresses {names}"),
            Attach(False, chosen.attachment.interface),
            Moved(self._config.home_address, None, chosen.attachment.care_of),
        ]

    def _adopt(self, row: list[int], held: dict[int, Path], lifetime: int, now: float) -> PathEntry:
        bid, granted, refresh, nat = row
        path = held[bid]
        # Its uplink is named when the uplinks are told.
        entry = PathEntry(
            bid,
            Attachment("", path.interface, path.local),
            Probe(self._config.probe, now),
            path.kind,
            nat=bool(nat),
            known=True,
            status=PathStatus.REGISTERED,
            priority=PRIORITY_ACTIVE if path.priority == 0 else PRIORITY_STANDBY + bid,
        )
        entry.list.granted = granted
        entry.list.acknowledged_at = now
        entry.list.expires = now + min(lifetime, granted)
        entry.list.refresh_at = now + max(min(refresh, lifetime / 2), 1.0)
        return entry

    def uplinks_changed(self, uplinks: tuple[Uplink, ...], now: float) -> list[Effect]:
        if self._entries:
            self._uplinks = uplinks
            return self._choose(now)
        return super().uplinks_changed(uplinks, now)

    def keys_ready(self, now: float) -> list[Effect]:
        waiting = [entry for entry in self._entries.values() if entry.list.outstanding]
        if not self._entries:
            return super().keys_ready(now)
        effects: list[Effect] = [Count("keys_ready")] if waiting else []
        for entry in waiting:
            entry.list.begin(now)
            effects += self._register(entry, now)
        return effects + self._put(now)

    def _start_over(self, config: MobileRouterConfig, why: str, now: float) -> list[Effect]:
        self._forget()
        return super()._start_over(config, why, now)

    def is_bound(self, now: float) -> bool:
        lists = [entry.list for entry in self._entries.values()]
        mine = any(each.bound(now) or each.outstanding for each in lists)
        return mine or super().is_bound(now)

    def leave_agent(self, now: float) -> list[Effect]:
        held = self._held
        self._forget()
        if held is not None:
            self._paths = Paths(self._config, held[0].paths)
        return super().leave_agent(now)

    def released(self, problem: str, again: float, now: float) -> list[Effect]:
        self._register_anew()
        for entry in self._entries.values():
            entry.status, entry.problem = PathStatus.REFUSED, problem
            entry.list.expires, entry.list.retransmit_at = None, now + again
        return super().released(problem, again, now)

    def _move(self, to: Attachment, reason: str, now: float) -> list[Effect]:
        if self._alone or self._waiting or to.at_home or self.agents.leaving:
            return super()._move(to, reason, now)
        self._forget()
        self._at = None
        return self._choose(now, at_once=True)

    def path_event(
        self, home_address: IPv6Address, event: PathEvent, path: Path | None, now: float
    ) -> list[Effect]:
        if not self._entries or event is not PathEvent.SILENT:
            return super().path_event(home_address, event, path, now)
        if home_address != self._config.home_address or path is None:
            return []
        for entry in self._entries.values():
            at = entry.attachment
            mine = (at.address, at.interface) == (path.local, path.interface)
            if not mine or not entry.alive:
                continue
            if self._probing_works and entry.probe.interval:
                entry.probe.hurry(now)
                return [Count("path_silent"), *self._probe(entry, now)]
            if entry.list.outstanding:
                return []
            entry.list.begin(now)
            return [Count("path_silent"), *self._register(entry, now), *self._put(now)]
        return []

    def next_timer(self) -> float | None:
        if not self._entries:
            return super().next_timer()
        times = [] if self._better is None else [self._better[1]]
        for entry in self._entries.values():
            more = [entry.leave_at, entry.probe.next_timer()]
            times += [at for at in more if at is not None]
        lists = [entry.list for entry in self._entries.values()]
        for each in (*lists, *self._gone.values()):
            more = [each.retransmit_at, each.refresh_at, each.expires]
            times += [at for at in more if at is not None]
        return min(times, default=None)

    def handle_timer(self, now: float) -> list[Effect]:
        if not self._entries:
            return super().handle_timer(now)
        effects: list[Effect] = []
        for entry in list(self._entries.values()):
            if self._entries.get(entry.bid) is entry:
                effects += self._time_of(entry, now)
        for bid, gone in list(self._gone.items()):
            if gone.retransmit_at is not None and gone.retransmit_at <= now:
                if gone.attempts >= TRIES:
                    del self._gone[bid]
                else:
                    effects += self._send_removal(bid, now)
        if self._better is not None and self._better[1] <= now:
            effects += self._choose(now)
        if self._home.granted and not any(e.list.bound(now) for e in self._entries.values()):
            effects += self._choose(now)
        return effects + self._put(now)

    def _time_of(self, entry: PathEntry, now: float) -> list[Effect]:
        effects: list[Effect] = []
        times = entry.list
        if entry.leave_at is not None and entry.leave_at <= now:
            self._drop(entry, now)
            return self._choose(now)
        if times.expires is not None and times.expires <= now:
            times.expires = None
            entry.known = False
            if entry.status is PathStatus.REGISTERED:
                entry.status = PathStatus.REGISTERING
                name = entry.attachment.uplink
                effects.append(Note("warning", f"{name}: the lifetime ended unrefreshed"))
                effects += self._choose(now)
        if times.retransmit_at is not None and times.retransmit_at <= now:
            effects += self._unanswered(entry, now)
        elif times.refresh_at is not None and times.refresh_at <= now:
            times.begin(now)
            effects += self._register(entry, now)
        return effects + self._probe(entry, now)

    def reconfigure(self, config: MobileRouterConfig, now: float) -> list[Effect]:
        effects = super().reconfigure(config, now)
        self._flows.configure(self._config.flows)
        active = self._active
        if active is None:
            return effects
        if self._flows.stale(self._wanted_flows()) and not effects:
            active.list.begin(now)
            effects += self._register(active, now)
        return effects + self._put(now)

    def paths(self, now: float) -> tuple[PathView, ...]:
        order = self._order() + [
            entry for entry in self._entries.values() if entry.status is PathStatus.LEAVING
        ]
        return tuple(self._view(entry, rank, now) for rank, entry in enumerate(order, 1))

    def reach(self) -> dict[str, bool]:
        if not self._entries:
            return super().reach()
        found: dict[str, bool] = {}
        for entry in self._entries.values():
            name = entry.attachment.uplink
            if entry.alive or entry.status is PathStatus.REFUSED:
                found[name] = True
            elif (
                entry.status is PathStatus.LOST or entry.probe.dead or entry.list.attempts >= TRIES
            ):
                found.setdefault(name, False)
        return found

    def flows(self) -> tuple[FlowView, ...]:
        return self._flows.shown(self._wanted_flows())

    def _view(self, entry: PathEntry, rank: int, now: float) -> PathView:
        active = self._is_active(entry)
        lost = entry.probe.dead and entry.status is PathStatus.REGISTERED
        status = PathStatus.LOST if lost else entry.status
        why = entry.problem or status.value
        return PathView(
            bid=entry.bid,
            uplink=entry.attachment.uplink,
            care_of=entry.attachment.care_of,
            kind=entry.kind,
            nat=entry.nat,
            state=status.value,
            active=active,
            rank=rank,
            priority=entry.priority,
            rtt=entry.probe.rtt,
            loss=entry.probe.loss,
            remaining=max(entry.list.expires - now, 0.0) if entry.list.expires else 0.0,
            why_not="" if active else "standby" if entry.alive else why,
        )

    def registration(self, now: float) -> RegistrationView:
        view, active = super().registration(now), self._active
        if active is None:
            return view
        times = active.list
        return replace(
            view,
            lifetime=times.granted,
            remaining=max(times.expires - now, 0.0) if times.expires else 0.0,
            refresh_in=times.refresh_at - now if times.refresh_at else None,
            attempts=times.attempts,
        )

    # --- which paths there are ---------------------------------------------------

    def _positions(self) -> dict[int, int]:
        return {uplink.interface: place for place, uplink in enumerate(self._uplinks)}

    def _wanted_paths(self) -> dict[int, Attachment]:
        """Return the care-of addresses to register, best first, by BID."""
        places = self._positions()
        ranked = candidates(self._config, self._uplinks)
        if self._wanted:
            ranked.sort(key=lambda attachment: attachment.uplink != self._wanted)
        wanted: dict[int, Attachment] = {}
        room = KERNEL_PATHS - sum(
            kernel_cost(entry.attachment)
            for entry in self._entries.values()
            if entry.status is PathStatus.LEAVING
        )
        for attachment in ranked:
            if attachment.at_home or kernel_cost(attachment) > room:
                continue
            room -= kernel_cost(attachment)
            wanted[bid_of(places[attachment.interface], attachment)] = attachment
        return wanted

    def _order(self) -> list[PathEntry]:
        """Return the paths in use or to be used, best first."""
        return [self._entries[bid] for bid in self._wanted_paths() if bid in self._entries]

    def _choose(self, now: float, at_once: bool = False) -> list[Effect]:
        ranked = self._ranking()
        home = bool(ranked) and ranked[0].at_home
        both = home and self._may_be_both(ranked[0], now)
        alone = self._alone or self._waiting or not ranked or self.agents.leaving
        if alone or (home and not both):
            return self._choose_one(now, at_once)
        if both:
            self._be_both(ranked[0])
            return self._be_at_home(self._sync(now), now)
        self._home.leave()
        self._home.refused = False
        fresh = self._sync(now)
        return self._elect(fresh, now, at_once)

    def _choose_one(self, now: float, at_once: bool) -> list[Effect]:
        """Take one place, be it the home link."""
        ranked = self._ranking()
        if self._entries:
            self._forget()
            if ranked and ranked[0].at_home and self._state is State.HOME:
                # At home with care-of addresses until now: it comes home once more.
                self._at = None
        effects = super()._choose(now, at_once)
        if self._state is State.HOME and ranked and self._may_be_both(ranked[0], now):
            effects += self._choose(now)
        return effects

    def _removed(self, answer: BindingAcknowledgement, now: float) -> list[Effect]:
        return [*super()._removed(answer, now), *self._choose(now)]

    def _sync(self, now: float) -> list[PathEntry]:
        """Make the entries those that are wanted; return the new ones."""
        if not self._entries:
            # From the kernel's former set, if any, to ours in one request.
            self._paths = Paths(self._config)
            self._list.retransmit_at = self._list.refresh_at = self._list.expires = None
            self._list.outstanding.clear()
        wanted = self._wanted_paths()
        for entry in list(self._entries.values()):
            if entry.bid not in wanted:
                self._leave(entry, now)
        fresh = []
        for bid, attachment in wanted.items():
            old = self._entries.get(bid)
            if old is not None and same(old.attachment, attachment):
                old.attachment = attachment
                if self._is_active(old):
                    self._at = attachment
                if old.status is PathStatus.LEAVING:
                    old.status, old.leave_at = PathStatus.REGISTERED, None
                continue
            self._gone.pop(bid, None)
            fresh.append(
                PathEntry(
                    bid,
                    attachment,
                    Probe(self._config.probe, now),
                    attachment.care_of.kind,
                    force_udp=self._config.force_udp,
                )
            )
            self._entries[bid] = fresh[-1]
        return fresh

    def _leave(self, entry: PathEntry, now: float) -> None:
        at = entry.attachment
        there = any(
            uplink.interface == at.interface
            and at.address in (*uplink.addresses6, *uplink.addresses4)
            for uplink in self._uplinks
        )
        if not there or entry.status not in (PathStatus.REGISTERED, PathStatus.LEAVING):
            self._drop(entry, now)
        elif entry.status is PathStatus.REGISTERED:
            # What is under way to this address still comes.
            entry.status = PathStatus.LEAVING
            entry.leave_at = now + LINGER
            entry.list.retransmit_at = entry.list.refresh_at = None

    def _drop(self, entry: PathEntry, now: float) -> None:
        del self._entries[entry.bid]
        if entry.known and entry.list.bound(now):
            self._gone[entry.bid] = UpdateListEntry(0)

    # --- which path data takes ---------------------------------------------------

    def _elect(self, fresh: list[PathEntry], now: float, at_once: bool) -> list[Effect]:
        order = self._order()
        current = self._active
        if current is not None and current.status is PathStatus.LEAVING:
            current = None
        best = self._best(order, current)
        effects: list[Effect] = []
        if best is None or best is current:
            self._better = None
        elif self._patience_over(best, current, now, at_once):
            self._better = None
            effects += self._switch(best, self._reason(best, current), now)
        else:
            best = current
        if not effects:
            effects += self._put(now)
            if best is not None and best in fresh:
                effects += self._register(best, now)
        if not self._overwrite:
            for entry in fresh:
                if entry is not best or entry.list.attempts == 0:
                    effects += self._register(entry, now)
        for bid, gone in list(self._gone.items()):
            if gone.attempts == 0:
                effects += self._send_removal(bid, now)
        return effects + self._put(now)

    @staticmethod
    def _best(order: list[PathEntry], current: PathEntry | None) -> PathEntry | None:
        alive = [entry for entry in order if entry.alive]
        if alive:
            # What just missed a probe is likely to be lost, with the path before perhaps:
            # it is stayed with, but not gone to.
            return next((e for e in alive if e is current or not e.probe.missed), alive[0])
        pending = [entry for entry in order if entry.status is PathStatus.REGISTERING]
        if current is not None and current in pending:
            return current
        if pending:
            return pending[0]
        return current if current in order else next(iter(order), None)

    def _patience_over(
        self, best: PathEntry, current: PathEntry | None, now: float, at_once: bool
    ) -> bool:
        wait = self._config.hysteresis
        if current is None or not current.alive or at_once or not wait:
            return True
        if self._better is None or self._better[0] != best.attachment:
            same = best.attachment.interface == current.attachment.interface
            self._better = (best.attachment, now if same else now + wait)
        return self._better[1] <= now

    def _reason(self, best: PathEntry, current: PathEntry | None) -> str:
        before = self._at
        if before is None:
            return f"{best.attachment.uplink} came up"
        if before.at_home:
            return f"{before.uplink} lost the home link"
        if current is None:
            held = any(uplink.held for uplink in self._uplinks if uplink.name == before.uplink)
            return f"{before.uplink} {'is held' if held else 'lost its address'}"
        if not current.alive and current.status is not PathStatus.REGISTERING:
            return f"no answer through {before.uplink}"
        return f"{best.attachment.uplink} is preferred"

    def _switch(self, to: PathEntry, reason: str, now: float) -> list[Effect]:
        home, before = self._config.home_address, self._at
        at = self._at = to.attachment
        self._kind, self._nat, self._problem = to.kind, to.nat, ""
        effects: list[Effect] = [
            HandoverMark(home, Phase.LINK, now, at.uplink, None, reason),
            HandoverMark(home, Phase.ADDRESS, now, at.uplink, at.care_of, reason),
        ]
        way = self._put(now)
        if before is None or before.at_home or before.interface != at.interface:
            way.append(Attach(False, at.interface))
        keys = Moved(home, away(before), at.care_of, False, self._keys_follow)
        effects += protected(before, keys, way)
        self._unacknowledged = True
        self._state = State.REGISTERED if to.alive else State.REGISTERING
        for removal in self._gone.values():
            # What went by the path before may be lost with it.
            removal.begin(now)
        to.list.begin(now)
        if to.alive:
            effects.append(Note("info", f"{reason}: going on with {at.address} on {at.uplink}"))
            return effects + self._register(to, now)
        effects.append(Note("info", f"{reason}: registering {at.address} on {at.uplink}"))
        to.status = PathStatus.REGISTERING
        return effects + self._register(to, now)


def make_router(
    config: MobileRouterConfig,
    now: float,
    adopted: Iterable[KernelBinding] = (),
    sequence: int | None = None,
) -> MobileRouter:
    """Return the engine that a configuration asks for."""
    kind = MultihomedRouter if config.several else MobileRouter
    return kind(config, now, adopted, sequence)
