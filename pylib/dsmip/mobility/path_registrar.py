# SPDX-License-Identifier: GPL-2.0-only
"""Care-of addresses that are registered side by side, each by itself (RFC 5648).

An update about a path goes through that path, so that the home agent and every
NAT see it; updates in IPv6 are put together where the home agent allows it.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network

from ..packet.careof import WireKind
from ..packet.mobility import BindingAcknowledgement, BindingError, Heartbeat
from ..packet.options import BindingIdentifier, NatDetection, find, find_all
from ..packet.status import BindingAckStatus, BindingErrorStatus, describe, udp_refused
from . import flow_bindings
from .agent_side import FATAL
from .attachment import Attachment, Paths
from .config import MobileRouterConfig
from .effects import (
    Count,
    Effect,
    FlowRule,
    HandoverMark,
    KernelBinding,
    Network,
    Note,
    Phase,
    PutBinding,
    PutFlows,
    Received,
    SendMessage,
)
from .flow_bindings import FlowBinding, FlowList
from .home_and_away import HomeWay
from .mobile_router import NO_ROUTERS, REFUSED_AGAIN, TRIES, MobileRouter
from .path_list import (
    PRIORITY_ACTIVE,
    PRIORITY_STANDBY,
    PathEntry,
    PathStatus,
    kernel_paths,
    paths_removal,
    paths_update,
)
from .registration import LIFETIME_UNIT
from .router_view import State
from .update_list import MAX_TIMEOUT, OUTSTANDING_MAX, Sent, UpdateListEntry

#: Paths whose refresh is due within this share of its interval go along with another's.
_TOGETHER = 0.25


class PathRegistrar(MobileRouter, ABC):
    """What a router does about each of its care-of addresses.

    Which there are and which one data takes is for the class that is made of it.
    """

    def __init__(
        self,
        config: MobileRouterConfig,
        now: float,
        adopted: Iterable[KernelBinding] = (),
        sequence: int | None = None,
    ) -> None:
        super().__init__(config, now, adopted, sequence)
        self._entries: dict[int, PathEntry] = {}
        #: BIDs that the home agent is to forget, with the update that says so.
        self._gone: dict[int, UpdateListEntry] = {}
        self._alone = False  # the home agent knows no BIDs, or wants none
        #: Whether the next update has the O flag, and the BID that has sent it.
        self._overwrite = True
        self._overwriting = 0
        self._bulk = True
        self._probing_works = True
        self._beat = 0
        #: By which path an update went, by its sequence number.
        self._through: dict[int, int] = {}
        self._unacknowledged = False
        self._flows = FlowList(config.flows)
        self._rules: tuple[FlowRule, ...] | None = None
        #: What the kernel was given last, and when it ends.
        self._held: tuple[KernelBinding, float] | None = None
        self._home = HomeWay()

    def _is_active(self, entry: PathEntry) -> bool:
        return self._at is not None and same(self._at, entry.attachment)

    @property
    def _active(self) -> PathEntry | None:
        return next((e for e in self._entries.values() if self._is_active(e)), None)

    @abstractmethod
    def _order(self) -> list[PathEntry]:
        """Return the paths in use or to be used, best first."""

    def _forget(self) -> None:
        """Leave all paths: the next registration replaces what the home agent holds."""
        self._entries.clear()
        self._gone.clear()
        self._home.leave()
        self._flows.forget()
        self._held = None
        self._overwrite = True
        self._paths = Paths(self._config)

    # --- sending ------------------------------------------------------------

    def _priority(self, entry: PathEntry) -> int:
        if self._is_active(entry) and self._home.place is None:
            return PRIORITY_ACTIVE
        return min(PRIORITY_STANDBY + entry.bid, 127)

    def _register(self, entry: PathEntry, now: float) -> list[Effect]:
        """Send an update through a path about itself, and about others where that is allowed."""
        if self._waiting or entry.status is PathStatus.LEAVING:
            return []
        if self._overwrite and not self._may_overwrite(entry):
            entry.list.retransmit_at = None
            return []
        later = entry.list.may_send(now)
        if later:
            entry.list.retransmit_at = later
            return []
        companions = self._companions(entry, now)
        about = [entry, *companions] if self._bulk else [entry]
        for each in about:
            each.priority = self._priority(each)
            if each is not entry:
                each.list.begin(now)
        sequence = self._next_sequence()
        flows = self._flows.options(sequence, self._wanted_flows(about))
        more = (*self._home.options(sequence, PRIORITY_ACTIVE), *flows)
        config = self._for([each.attachment for each in about], now)
        update = paths_update(config, entry, about, sequence, self._overwrite, more)
        for each in about:
            if each.status is not PathStatus.LEAVING:
                each.list.note_sent(update, now)
        self._through[sequence] = entry.bid
        while len(self._through) > OUTSTANDING_MAX:
            del self._through[next(iter(self._through))]
        at = entry.attachment
        effects: list[Effect] = [self._message(update, at), Count("bu_sent")]
        if self._is_active(entry):
            home = self._config.home_address
            effects.append(HandoverMark(home, Phase.UPDATE_SENT, now, at.uplink, at.care_of))
        if not self._bulk and not self._overwrite and self._is_active(entry):
            for other in companions:
                other.list.begin(now)
                effects += self._register(other, now)
        return effects

    def _wanted_flows(self, about: Iterable[PathEntry] = ()) -> dict[int, FlowBinding]:
        """Return the flows that have a care-of address to go by, at the home agent too."""
        usable = [entry for entry in self._order() if entry in about or entry.alive]
        bids: dict[str, int] = {}
        for entry in usable:
            bids.setdefault(entry.attachment.uplink, entry.bid)
        return self._flows.wanted(bids.get)

    def _may_overwrite(self, entry: PathEntry) -> bool:
        """Only one path may replace what was there; the others wait for its answer."""
        other = self._entries.get(self._overwriting)
        waits = other is not None and other.status is PathStatus.REGISTERING
        if other is not None and waits and other is not entry and other.list.outstanding:
            return False
        self._overwriting = entry.bid
        return True

    def _lasts_beyond(self, until: float) -> bool:
        times = [entry.list.expires for entry in self._entries.values()]
        late = any(at is not None and at > until + LIFETIME_UNIT for at in times)
        return late or super()._lasts_beyond(until)

    def _register_anew(self) -> None:
        """The next update replaces whatever the home agent holds."""
        self._overwrite = True
        self._overwriting = 0
        for entry in self._entries.values():
            entry.known, entry.told = False, 0
            self._flows.forget()
            entry.list.outstanding.clear()
            entry.list.retransmit_at = entry.list.refresh_at = None
            if entry.status is PathStatus.REGISTERED:
                entry.status = PathStatus.REGISTERING

    def _companions(self, entry: PathEntry, now: float) -> list[PathEntry]:
        """Return paths that one message may speak of as well (RFC 5648 section 5.3).

        Those whose preference has changed; and in IPv6 those that are to be
        registered or refreshed about now.
        """
        found = []
        for other in self._entries.values():
            times = other.list
            if other is entry:
                continue
            six = entry.attachment.version == 6 == other.attachment.version
            first = six and self._overwrite and other.status is PathStatus.REGISTERING
            stale = other.known and other.told != self._priority(other)
            soon = False
            if six and other.alive and times.refresh_at is not None:
                soon = self._bulk and times.refresh_at - now < _interval(times) * _TOGETHER
            waits = bool(times.outstanding)
            if (first and not waits) or (not self._overwrite and (stale or (soon and not waits))):
                found.append(other)
        return found

    def _send_removal(self, bid: int, now: float) -> list[Effect]:
        """Tell the home agent by the path in use that another one is over."""
        removal, active = self._gone[bid], self._active
        if active is None and self._home.place is not None:
            active = next((entry for entry in self._order() if entry.alive), None)
        if active is None or not active.alive:
            removal.note_waiting(now)
            return []
        update = paths_removal(self._next_sequence(), self._config.mobile_router, (bid,))
        removal.note_sent(update, now)
        return [self._message(update, active.attachment), Count("bu_sent")]

    def _unanswered(self, entry: PathEntry, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if entry.status is PathStatus.REFUSED:
            entry.status = PathStatus.REGISTERING
            entry.list.begin(now)
        elif entry.list.attempts >= TRIES and not self._answers(entry):
            effects += self._lost(entry, now)
        nobody = self._is_active(entry) and not any(other.alive for other in self._order())
        if nobody and entry.list.timeout >= MAX_TIMEOUT:
            elsewhere = self.agents.next("the home agent does not answer", now)
            if elsewhere:
                return elsewhere
        return [Count("bu_timeout"), *effects, *self._register(entry, now)]

    def _answers(self, entry: PathEntry) -> bool:
        """Whether probes say that only the updates were lost."""
        probed = self._probing_works and entry.probe.interval > 0
        return probed and entry.alive and not entry.probe.missed

    def _lost(self, entry: PathEntry, now: float) -> list[Effect]:
        """Nothing comes back by this path: let the other ones have its data."""
        if entry.status is PathStatus.LOST:
            return []
        registered = entry.status is PathStatus.REGISTERED
        others = any(other.alive for other in self._order() if other is not entry)
        if not registered and not others and len(self._order()) < 2:
            return []
        entry.status = PathStatus.LOST
        name, address = entry.attachment.uplink, entry.attachment.address
        effects: list[Effect] = [
            Count("path_lost"),
            Note("warning", f"{name}: no answer through {address}"),
        ]
        effects += self._choose(now)
        if registered and entry.known and self._active is not entry:
            # Flows that are bound to it alone must not go where nobody hears them.
            entry.known = False
            entry.list.retransmit_at = entry.list.refresh_at = None
            entry.list.outstanding.clear()
            self._gone[entry.bid] = UpdateListEntry(0)
            effects += self._send_removal(entry.bid, now)
        return effects

    def _refresh(self, now: float, why: str) -> list[Effect]:
        if not self._entries:
            return super()._refresh(now, why)
        effects: list[Effect] = [Note("info", f"sending updates: {why}")] if why else []
        for entry in self._order():
            fresh = entry.list.outstanding and entry.list.attempts == 1
            if entry.status in (PathStatus.REGISTERED, PathStatus.REGISTERING) and not fresh:
                entry.list.begin(now)
                effects += self._register(entry, now)
        return effects + self._put(now)

    def _send_update(self, now: float) -> list[Effect]:
        active = self._active
        return super()._send_update(now) if active is None else self._register(active, now)

    # --- probes ------------------------------------------------------------

    def _probe(self, entry: PathEntry, now: float) -> list[Effect]:
        # Where an update is under way, that is the probe.
        asked = entry.status in (PathStatus.REGISTERED, PathStatus.LOST)
        entry.probe.use(self._config.probe if asked and self._probing_works else 0, now)
        effects: list[Effect] = []
        if entry.probe.overdue(now) and entry.probe.dead:
            effects += self._lost(entry, now)
        if entry.probe.due(now):
            self._beat = (self._beat + 1) & 0xFFFFFFFF
            entry.probe.note_sent(self._beat, now)
            at, config = entry.attachment, self._config
            effects += [
                SendMessage(
                    Heartbeat(self._beat),
                    config.home_address,
                    config.home_agent6,
                    at.care_of,
                    at.interface,
                ),
                Count("heartbeat_sent"),
            ]
        return effects

    def _heartbeat(self, message: Heartbeat, received: Received, now: float) -> list[Effect]:
        if not message.response:
            return [Count("heartbeat_ignored")]
        for entry in self._entries.values():
            missed = entry.probe.missed
            if not entry.probe.answered(message.sequence, now):
                continue
            if entry.status is not PathStatus.LOST:
                return self._choose(now) if missed else []
            self._gone.pop(entry.bid, None)
            entry.status, entry.known = PathStatus.REGISTERING, False
            entry.list.begin(now)
            note = Note("info", f"{entry.attachment.uplink}: answers again")
            return [note, *self._register(entry, now), *self._put(now)]
        return [Count("heartbeat_ignored")]

    def _binding_error(self, error: BindingError, now: float) -> list[Effect]:
        if self._entries and error.status == BindingErrorStatus.UNKNOWN_TYPE and self._beat:
            if not self._probing_works:
                return []
            self._probing_works = False
            for entry in self._entries.values():
                entry.probe.use(0, now)
            return [Note("info", "the home agent knows no heartbeats: paths are not probed")]
        return super()._binding_error(error, now)

    # --- answers ------------------------------------------------------------

    def _acknowledged(self, answer: BindingAcknowledgement, now: float) -> list[Effect]:
        if not self._entries:
            return super()._acknowledged(answer, now)
        if answer.status == BindingAckStatus.SEQUENCE_OUT_OF_WINDOW:
            return self._resynchronise(answer, now)
        for bid, removal in list(self._gone.items()):
            if removal.answered(answer.sequence):
                del self._gone[bid]
                return [Count("ba_removal")]
        about = [
            (entry, sent)
            for entry in self._entries.values()
            if (sent := entry.list.answered(answer.sequence)) is not None
        ]
        if not about:
            return [Count("ba_unexpected")]
        if answer.status < 128 and self._config.mobile_router and not answer.mobile_router:
            return [Count("ba_without_r"), *self.agents.unfit(NO_ROUTERS, now)]
        stated = {o.bid: o.status for o in find_all(answer.options, BindingIdentifier)}
        granted = self._home.answered(answer)
        if granted is False:
            return self._not_both(about, now)
        if answer.status == BindingAckStatus.MCOA_PROHIBITED or (
            answer.status < 128 and not stated
        ):
            return self._fall_back(answer, now)
        if answer.status == BindingAckStatus.MCOA_NON_MCOA_BINDING_EXISTS:
            if not self._overwrite:
                self._register_anew()
            return self._again(about, now)
        if answer.status == BindingAckStatus.MCOA_BULK_PROHIBITED:
            self._bulk = False
            both = self._home.place is not None
            return self._not_both(about, now) if both else self._again(about, now)
        overall = 0 if answer.status < 128 else answer.status
        first, self._overwrite = self._overwrite, self._overwrite and overall >= 128
        effects: list[Effect] = []
        for entry, sent in about:
            status = stated.get(entry.bid, 0) or overall
            if status < 128:
                effects += self._accept_path(entry, sent, answer, now)
            else:
                effects += self._refuse_path(entry, sent, status, now)
        more = self._flows.answered(answer.sequence, answer)
        if overall < 128:
            effects += self._take_ipv4(answer)
            effects += self.take_name(answer)
        if first and not self._overwrite:
            for entry in self._order():
                waits = entry.status in (PathStatus.REGISTERING, PathStatus.LOST)
                if waits and not entry.list.outstanding:
                    entry.list.begin(now)
                    effects += self._register(entry, now)
        if granted:
            effects += self._be_home(now)
        effects += self._choose(now)
        active = self._active
        more = more or self._flows.stale(self._wanted_flows())
        if more and active is not None and active.alive and not active.list.outstanding:
            active.list.begin(now)
            effects += self._register(active, now)
        return effects + self._put(now)

    def _accept_path(
        self, entry: PathEntry, sent: Sent, answer: BindingAcknowledgement, now: float
    ) -> list[Effect]:
        if entry.bid in self._gone or entry.status is PathStatus.LEAVING:
            return []
        effects: list[Effect] = []
        at = entry.attachment
        if sent is entry.list.outstanding[-1]:
            entry.told = entry.priority
        entry.list.accept(sent, answer, self._config, now)
        entry.known, entry.problem = True, ""
        if entry.status is not PathStatus.REGISTERED:
            entry.status = PathStatus.REGISTERED
            entry.probe.missed = 0
        effects += self._probe(entry, now)
        nat = find(answer.options, NatDetection)
        own = self._through.get(sent.sequence) == entry.bid
        if own and at.version == 4 and nat is not None:
            quiet = not nat.force and nat.refresh_time == NatDetection.NO_KEEPALIVE
            entry.nat = not quiet and not nat.force
            entry.kind = WireKind.IP4 if quiet else WireKind.UDP4
        if self._is_active(entry):
            self._kind, self._nat = entry.kind, entry.nat
            self._keys_follow = answer.key_management or not self._config.key_mobility
            self._state, self._problem, self._refusal = State.REGISTERED, "", 0
            self.agents.settled()
            if self._unacknowledged:
                self._unacknowledged = False
                home = self._config.home_address
                effects.append(HandoverMark(home, Phase.ACKNOWLEDGED, now, at.uplink, at.care_of))
        return [*effects, Count("ba_accepted")]

    def _refuse_path(self, entry: PathEntry, sent: Sent, status: int, now: float) -> list[Effect]:
        entry.list.outstanding.clear()
        effects: list[Effect] = [Count(f"ba_refused_{status}")]
        if udp_refused(status, sent.force_udp, False):
            entry.force_udp = False
            note = Note("info", "UDP is refused, going on without")
            return [*effects, note, *self._register(entry, now)]
        if status == BindingAckStatus.MCOA_UNKNOWN_CARE_OF_ADDRESS and entry.known:
            entry.known = False
            return [*effects, *self._register(entry, now)]
        text = describe(status, force_udp=sent.force_udp)
        entry.problem = f"status {status}: {text}"
        entry.status = PathStatus.REFUSED
        entry.known = False
        entry.list.refresh_at = entry.list.expires = None
        entry.list.retransmit_at = now + REFUSED_AGAIN
        if self._is_active(entry):
            self._problem = entry.problem
            if status in FATAL:
                self._state, self._refusal = State.REFUSED, status
        name = entry.attachment.uplink
        effects.append(Note("error", f"the home agent refuses {name}, {entry.problem}"))
        if status in FATAL and not any(other.alive for other in self._order()):
            effects += self.agents.next("the home agent refuses us", now)
        return effects

    def _again(self, about: list[tuple[PathEntry, Sent]], now: float) -> list[Effect]:
        """Say the same in the way that the home agent asks for."""
        effects: list[Effect] = []
        for entry, _sent in about:
            entry.list.outstanding.clear()
        for entry, _sent in about:
            if not entry.list.outstanding:
                entry.list.begin(now)
                effects += self._register(entry, now)
        return effects + self._put(now)

    def _fall_back(self, answer: BindingAcknowledgement, now: float) -> list[Effect]:
        """Register the best care-of address alone (RFC 5648 section 5.7)."""
        self._alone = True
        self._forget()
        self._at = None
        self._in_kernel = False
        self._state = State.DETACHED
        refused = answer.status == BindingAckStatus.MCOA_PROHIBITED
        why = "wants one care-of address only" if refused else "knows no several care-of addresses"
        return [Note("warning", f"the home agent {why}"), *self._choose(now, at_once=True)]

    def _not_both(self, about: list[tuple[PathEntry, Sent]], now: float) -> list[Effect]:
        """Be at home, or away, as without the other: the home agent does not serve both."""
        self._home.refused = True
        for entry, _sent in about:
            entry.list.outstanding.clear()
        note = Note("info", "the home agent serves no care-of addresses of who is at home")
        return [note, *self._choose(now, at_once=True)]

    @abstractmethod
    def _be_home(self, now: float) -> list[Effect]:
        """Use the home link, since the home agent does."""

    def _resynchronise(self, answer: BindingAcknowledgement, now: float) -> list[Effect]:
        """Repeat what was overtaken, with numbers that the home agent has not seen."""
        if not self._entries:
            return super()._resynchronise(answer, now)
        last = answer.sequence
        late = [
            entry
            for entry in self._entries.values()
            if entry.list.outstanding and not _newer(entry.list.outstanding[-1].sequence, last)
        ]
        removals = [
            bid
            for bid, each in self._gone.items()
            if each.outstanding and not _newer(each.outstanding[-1].sequence, last)
        ]
        if not late and not removals:
            return [Count("ba_unexpected")]
        if _newer(last, self._list.sequence):
            self._list.sequence = last
        effects: list[Effect] = [Count("bu_resynchronised")]
        for entry in late:
            entry.list.outstanding.clear()
            entry.list.begin(now)
            effects += self._register(entry, now)
        for bid in removals:
            self._gone[bid].outstanding.clear()
            effects += self._send_removal(bid, now)
        return effects + self._put(now)

    # --- the kernel ------------------------------------------------------------

    def _put(self, now: float) -> list[Effect]:
        """Let the kernel hold all paths, and what another daemon has to know of them."""
        entries = list(self._entries.values())
        if not entries or self._waiting:
            return []
        ends = [entry.list.expires for entry in entries if entry.list.expires is not None]
        lifetime = max(int(max(ends) - now + 0.999), 1) if ends else 0
        config, active = self._config, self._active
        prefixes, local, home_address4 = self._carried()
        rows = [
            [entry.bid, entry.list.granted, int(_interval(entry.list)), int(entry.nat)]
            for entry in entries
            if entry.known and entry.status is PathStatus.REGISTERED
        ]
        memory = {"a": active.bid if active else 0, "m": rows, "agent": self.agent_memory()}
        home = self._home
        if home.granted and home.place is not None:
            link_layer = int.from_bytes(home.link_layer)
            memory["h"] = [home.place.interface, home.bid, int(home.silent), link_layer]
        binding = KernelBinding(
            home_address=config.home_address,
            home_address4=home_address4,
            prefixes=prefixes,
            local_prefixes=local,
            paths=kernel_paths(config, entries, active),
            mobile=True,
            lifetime=lifetime,
            sequence=self._list.sequence,
            data=json.dumps(memory, separators=(",", ":")).encode(),
            copies=any(flow.copies for flow in config.flows),
        )
        held = (replace(binding, lifetime=0), max(ends, default=0.0))
        effects: list[Effect] = []
        if not self._in_kernel or held != self._held:
            self._held, self._in_kernel = held, True
            effects.append(PutBinding(binding))
        return effects + self._put_flows()

    def _put_flows(self) -> list[Effect]:
        """Let what leaves here take the same ways as what comes (RFC 6089 leaves it open)."""
        config = self._config
        wanted = self._flows.in_force(self._wanted_flows())
        bids = {entry.bid for entry in self._entries.values()}
        now_right = flow_bindings.rules(wanted.values(), bids) if wanted else ()
        if now_right == (self._rules or ()):
            return []
        self._rules = now_right
        networks: list[Network] = [IPv6Network(config.home_address), *config.networks]
        if self._home_address4 is not None:
            networks.append(IPv4Network(self._home_address4))
        return [PutFlows(config.home_address, tuple(networks), now_right, mobile=True)]

    def _remember(self, now: float) -> list[Effect]:
        return self._put(now) if self._entries else super()._remember(now)


def same(one: Attachment, other: Attachment) -> bool:
    """Tell whether two are one care-of address, whatever its uplink is called."""
    return (one.address, one.interface) == (other.address, other.interface)


def _newer(one: int, other: int) -> bool:
    return 0 < (one - other) & 0xFFFF < 0x8000


def _interval(times: UpdateListEntry) -> float:
    if times.refresh_at is None or times.acknowledged_at is None:
        return 1.0
    return max(times.refresh_at - times.acknowledged_at, 1.0)
