# SPDX-License-Identifier: GPL-2.0-only
"""The mobile router (RFC 6275 section 11, RFC 3963 section 5, RFC 5555 section 4.4)."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from ..packet.careof import WireKind
from ..packet.kernel import PathEvent
from ..packet.mobility import (
    BindingAcknowledgement,
    BindingError,
    BindingRefreshRequest,
    BindingRevocationIndication,
    BindingUpdate,
    Heartbeat,
    HomeAgentSwitch,
    Message,
)
from ..packet.options import IPv4AddressAcknowledgement, NatDetection, find, find_all
from ..packet.status import BindingAckStatus, BindingErrorStatus, IPv4Status, describe, udp_refused
from .agent_choice import AgentChoice
from .agent_side import FATAL
from .attachment import (
    BLOCKED_FOR,
    DOUBTED_MAX,
    Attachment,
    Paths,
    away,
    candidates,
    protected,
    reachable,
    usable,
)
from .config import MobileRouterConfig
from .effects import (
    Announce,
    Attach,
    Count,
    DropBinding,
    DropPath,
    Effect,
    HandoverMark,
    KernelBinding,
    Moved,
    Note,
    Path,
    Phase,
    PutBinding,
    PutPath,
    Received,
    SendMessage,
    SolicitPrefixes,
    Uplink,
)
from .router_kernel import EVERYTHING as EVERYTHING
from .router_kernel import RouterKernel
from .router_view import FlowView as FlowView
from .router_view import PathView as PathView
from .router_view import RegistrationView as RegistrationView
from .router_view import State as State
from .strangers import Strangers
from .update_list import (
    INITIAL_TIMEOUT,
    MAX_TIMEOUT,
    Sent,
    UpdateListEntry,
    binding_update,
    removal,
)

#: Unanswered updates after which another care-of address is tried (RFC 5555 section 4.4.1).
TRIES = 3
#: What is told of a home agent that answers as for a plain mobile node.
NO_ROUTERS = "the home agent serves no mobile routers"
#: A refusal that only an operator can mend is tried again this often.
REFUSED_AGAIN = 60.0


class MobileRouter(RouterKernel):
    """The engine. Times are those of the caller's monotonic clock.

    Without a home address (``::``) it chooses a care-of address and waits for
    ``home_address_assigned``.
    """

    def __init__(
        self,
        config: MobileRouterConfig,
        now: float,
        adopted: Iterable[KernelBinding] = (),
        sequence: int | None = None,
    ) -> None:
        self._config = config
        self._uplinks: tuple[Uplink, ...] = ()
        self._wanted: str | None = None
        self._at: Attachment | None = None
        self._state = State.DETACHED
        self._paths = Paths(config)
        first = random.SystemRandom().randrange(0x10000) if sequence is None else sequence
        self._list = UpdateListEntry(first)
        self._home_address4 = config.home_address4
        self._kind: WireKind | None = None
        self._nat = False
        self._force_udp = config.force_udp
        self._problem = ""
        self._refusal = 0
        self._keys_follow = True
        self._strangers = Strangers()
        self._blocked: dict[Attachment, float] = {}
        #: Those that did not answer when they were tried last, oldest first.
        self._doubted: dict[Attachment, None] = {}
        self._better: tuple[Attachment, float] | None = None
        self._probing = False
        self._in_kernel = False
        self._adopted = next(
            (b for b in adopted if b.home_address == config.home_address and b.mobile), None
        )
        self.agents = AgentChoice(self)

    # --- inputs ------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Take over the binding that the kernel holds."""
        binding, self._adopted = self._adopted, None
        if binding is None or not binding.paths:
            return []
        self._paths = Paths(self._config, binding.paths)
        active = self._paths.active()
        try:
            memory = json.loads(binding.data)
            uplink, granted = str(memory["uplink"]), int(memory["granted"])
            nat, refresh = bool(memory["nat"]), float(memory["refresh"])
            effects = self.adopt_agent(memory)
        except (ValueError, KeyError, TypeError):
            active = None
        self._list.sequence = binding.sequence
        self._in_kernel = True
        if active is None:
            return []
        self._at = Attachment(uplink, active.interface, active.local)
        self._kind, self._nat = active.kind, nat
        self._home_address4 = binding.home_address4 or self._home_address4
        self._list.granted = granted
        self._list.expires = now + binding.lifetime if binding.lifetime else None
        self._list.refresh_at = now + min(refresh, binding.lifetime / 2)
        self._state = State.REGISTERED
        return [
            *effects,
            Note("info", f"took over the binding with care-of address {active.local}"),
            Attach(False, active.interface),
            Moved(self._config.home_address, None, self._at.care_of),
        ]

    def uplinks_changed(self, uplinks: tuple[Uplink, ...], now: float) -> list[Effect]:
        """Take the complete list of access networks as they are now."""
        known = reachable(self._uplinks)
        self._uplinks = uplinks
        fresh = reachable(uplinks) - known
        for attachment in list(self._blocked):
            # An address that went and came back, or was held, may stand for another network.
            if (attachment.address, attachment.interface) in fresh:
                del self._blocked[attachment]
        effects = self._choose(now)
        for bid in self._paths.forget(uplinks):
            effects.append(DropPath(self._config.home_address, bid))
        return effects

    def handover(self, uplink: str | None, now: float) -> list[Effect]:
        """Prefer an uplink by name, whatever its priority; None: choose as configured.

        Who asks after a refusal has mended what was wrong: it is tried again at once.
        """
        self._wanted = uplink
        self._blocked.clear()
        self._better = None
        effects = self._choose(now, at_once=True)
        if not effects and self._state is State.REFUSED:
            return self._timed_out(now)
        return effects

    def try_again(self, uplink: str, now: float) -> list[Effect]:
        """Hear that the home agent may be reached again by an uplink that was given up.

        If it is preferred it is tried with one update, and given up again without an answer.
        """
        for attachment in [a for a in self._blocked if a.uplink == uplink]:
            del self._blocked[attachment]
        best = self._ranking()[:1]
        return self._choose(now) if any(one.uplink == uplink for one in best) else []

    def keys_ready(self, now: float) -> list[Effect]:
        """Send again what could not leave, or be heard, before there were keys."""
        if self._at is None or self._state not in (State.REGISTERING, State.RETURNING):
            return []
        if not self._list.outstanding or self._waiting:
            return []
        self._list.begin(now)
        return [Count("keys_ready"), *self._send_update(now)]

    def receive(self, received: Received, now: float) -> list[Effect]:
        """Handle a mobility message."""
        # The Care-of option of what comes in names an address of ours.
        message = self._strangers.read(replace(received, care_of=None), now)
        if isinstance(message, list):
            return message
        if received.source != self._config.home_agent6 or not received.protected:
            return self._receive_unprotected(message, received, now)
        if isinstance(message, BindingAcknowledgement):
            return self._acknowledged(message, now)
        if isinstance(message, BindingRefreshRequest):
            if self._state not in (State.REGISTERED, State.REGISTERING):
                return [Count("brr_ignored")]
            return [Count("brr"), *self._refresh(now, "the home agent asks for it")]
        if isinstance(message, BindingError):
            return self._binding_error(message, now)
        if isinstance(message, HomeAgentSwitch):
            return self.agents.switch(message, received, now)
        if isinstance(message, BindingRevocationIndication):
            return self.agents.revoke(message, received, now)
        if isinstance(message, Heartbeat):
            return self._heartbeat(message, received, now)
        return [Count("mh_not_for_mobile_router")]

    def path_event(
        self, home_address: IPv6Address, event: PathEvent, path: Path | None, now: float
    ) -> list[Effect]:
        """Take an event of the kernel."""
        at = self._at
        if home_address != self._config.home_address or at is None or path is None:
            return []
        if path.local != at.address or path.interface != at.interface:
            return []
        if event is PathEvent.HEARD:
            return [HandoverMark(home_address, Phase.FIRST_PACKET, now, at.uplink, at.care_of)]
        if event is PathEvent.SILENT and self._state is State.REGISTERED:
            self._probing = True
            return [Count("path_silent"), *self._refresh(now, f"{at.uplink} is silent")]
        return []

    def next_timer(self) -> float | None:
        """Return when ``handle_timer`` wants to be called, None for never."""
        times = [self._list.retransmit_at, self._list.refresh_at, self._list.expires]
        if self._better is not None:
            times.append(self._better[1])
        times += self._blocked.values()
        return min((at for at in times if at is not None), default=None)

    def handle_timer(self, now: float) -> list[Effect]:
        """Do what time asks for."""
        effects: list[Effect] = []
        entry = self._list
        for attachment in [a for a, until in self._blocked.items() if until <= now]:
            del self._blocked[attachment]
        if entry.expires is not None and entry.expires <= now:
            entry.expires = None
            if self._state is State.REGISTERED:
                self._state = State.REGISTERING
                effects.append(Note("warning", "the binding's lifetime ended unrefreshed"))
        if self._better is not None and self._better[1] <= now:
            effects += self._choose(now)
        if entry.retransmit_at is not None and entry.retransmit_at <= now:
            effects += self._timed_out(now)
        elif entry.refresh_at is not None and entry.refresh_at <= now:
            effects += self._refresh(now, "")
        return effects

    def reconfigure(self, config: MobileRouterConfig, now: float) -> list[Effect]:
        """Apply a new configuration; a binding that it still describes stays.

        Other home addresses or home agents mean another router: that needs a new
        engine, and ``ValueError`` says so.
        """
        old = self._config
        self._config = config = self.keep_agent(config)
        if config.home_address.is_unspecified:
            self._config = config = replace(config, home_address=old.home_address)
        if (old.home_address, old.home_agent6, old.home_agent4) != (
            config.home_address,
            config.home_agent6,
            config.home_agent4,
        ):
            self._config = old
            raise ValueError("home address and home agent cannot change while running")
        self._paths.reconfigure(config)
        self._force_udp = config.force_udp
        if (old.networks, old.home_address4) == (config.networks, config.home_address4):
            return []
        self._home_address4 = config.home_address4
        if self._at is None or self._at.at_home:
            return []
        return self._refresh(now, "the configuration changed")

    def stop(self, now: float, deregister: bool) -> list[Effect]:
        """End; the kernel goes on with what it has unless ``deregister`` is set."""
        if not deregister or self._at is None or self._at.at_home:
            return []
        config = self._config
        update = removal(self._next_sequence(), config.mobile_router, self._at, config.dns_name)
        return [
            self._message(update, self._at),
            DropBinding(self._config.home_address),
            Attach(False, 0),
        ]

    def registration(self, now: float) -> RegistrationView:
        """Return what a status document shows."""
        entry, at, config = self._list, self._at, self._config
        by4 = at is not None and at.version == 4 and config.home_agent4 is not None
        return RegistrationView(
            state=self._state,
            uplink=at.uplink if at else "",
            care_of=None if at is None or at.at_home else at.care_of,
            kind=self._kind,
            nat=self._nat,
            home_address=config.home_address,
            home_address4=self._home_address4,
            home_agent=(config.home_agent4 if by4 else None) or config.home_agent6,
            sequence=entry.sequence,
            lifetime=entry.granted,
            remaining=max(entry.expires - now, 0.0) if entry.expires else 0.0,
            refresh_in=entry.refresh_at - now if entry.refresh_at else None,
            attempts=entry.attempts,
            problem=self._problem,
            refusal=self._refusal,
            name_status=self.name_status,
        )

    def reach(self) -> dict[str, bool]:
        """Say of the uplinks that were tried whether the home agent answers through them."""
        found = {attachment.uplink: False for attachment in self._blocked}
        at, tries = self._at, self._list.attempts
        if at is not None and not at.at_home:
            if self._state is State.REFUSED or (self._state is State.REGISTERED and not tries):
                found[at.uplink] = True
            elif tries >= TRIES:
                found[at.uplink] = False
        return found

    def paths(self, now: float) -> tuple[PathView, ...]:
        """Return the care-of addresses, best first, when several are registered."""
        return ()

    def flows(self) -> tuple[FlowView, ...]:
        """Return the flows that choose among them."""
        return ()

    # --- movement ------------------------------------------------------------------

    @property
    def _waiting(self) -> bool:
        return self._config.home_address.is_unspecified

    def _ranking(self) -> list[Attachment]:
        ranked = candidates(self._config, self._uplinks)
        ranked.sort(key=lambda a: (a.uplink != self._wanted, not a.at_home) if self._wanted else 0)
        free = [a for a in ranked if a not in self._blocked]
        return free or ranked

    def _choose(self, now: float, at_once: bool = False) -> list[Effect]:
        ranked = self._ranking()
        current = self._at
        alive = current is not None and usable(current, self._uplinks)
        if not ranked:
            self._better = None
            return self._detach(now) if current is not None else []
        best = ranked[0]
        if alive and best == current:
            self._better = None
            return []
        wait = self._config.hysteresis
        if alive and current is not None and not at_once and wait > 0 and not best.at_home:
            same_uplink = best.interface == current.interface
            if self._better is None or self._better[0] != best:
                # An uplink's other address is not flapping: only uplinks need proof.
                self._better = (best, now if same_uplink else now + wait)
            if self._better[1] > now:
                return []
        self._better = None
        if current is None:
            reason = f"{best.uplink} came up"
        elif not alive:
            reason = (
                f"{current.uplink} lost {'the home link' if current.at_home else 'its address'}"
            )
        else:
            reason = f"{best.uplink} is preferred"
        return self._move(best, reason, now)

    def _detach(self, now: float) -> list[Effect]:
        at, self._at = self._at, None
        assert at is not None
        self._state = State.DETACHED
        # Nothing goes out through a dead interface.
        self._list.retransmit_at = self._list.refresh_at = None
        home = self._config.home_address
        return [
            HandoverMark(home, Phase.LINK, now, at.uplink, None, f"{at.uplink} went away"),
            Attach(False, 0),
            Note("warning", f"{at.uplink} went away and no uplink is left"),
        ]

    def _move(self, to: Attachment, reason: str, now: float) -> list[Effect]:
        config, home = self._config, self._config.home_address
        before, self._at = self._at, to
        # What did not answer before may not keep data from a way that works for long.
        self._probing = to in self._doubted
        self._problem = ""
        self._force_udp = config.force_udp
        if self._waiting:
            return self._wait_for_address(before, to, reason, now)
        effects: list[Effect] = []
        if before is not None or self._state is not State.DETACHED or not self._list.recent:
            effects.append(HandoverMark(home, Phase.LINK, now, to.uplink, None, reason))
        effects.append(HandoverMark(home, Phase.ADDRESS, now, to.uplink, to.care_of, reason))
        if to.at_home:
            return effects + self._return_home(before, to, reason, now)
        self._kind = to.care_of.kind
        self._nat = False
        self._list.begin(now)
        self._list.outstanding.clear()
        way = self._install(to, self._kind)
        if before is None or before.at_home or before.interface != to.interface:
            way.append(Attach(False, to.interface))
        way.append(Note("info", f"{reason}: registering {to.address} on {to.uplink}"))
        keys = Moved(home, away(before), to.care_of, False, self._keys_follow)
        effects += protected(before, keys, way)
        self._state = State.REGISTERING
        return effects + self._send_update(now)

    def _install(self, to: Attachment, kind: WireKind) -> list[Effect]:
        home = self._config.home_address
        effects: list[Effect] = [DropPath(home, bid) for bid in self._paths.make_room()]
        changed = self._paths.activate(to, kind)
        if not self._in_kernel:
            self._in_kernel = True
            return [PutBinding(self._kernel_binding(0))]
        return [*effects, *(PutPath(home, path) for path in changed)]

    def _wait_for_address(
        self, before: Attachment | None, to: Attachment, reason: str, now: float
    ) -> list[Effect]:
        """Let IKE ask from there; another care-of address is tried as for a registration."""
        self._state = State.REGISTERING
        self._list.begin(now)
        note = Note("info", f"{reason}: asking for a home address from {to.uplink}")
        new = None if to.at_home else to.care_of
        moved = Moved(self._config.home_address, away(before), new, to.at_home)
        return [note, moved, *self._send_update(now)]

    def _return_home(
        self, before: Attachment | None, to: Attachment, reason: str, now: float
    ) -> list[Effect]:
        """De-register from the home link (RFC 6275 section 11.5.5)."""
        self.agents.cancel()
        self._kind = None
        self._nat = False
        effects: list[Effect] = [
            Attach(True, to.interface),
            Moved(self._config.home_address, away(before), None, True, self._keys_follow),
        ]
        if self._list.expires is None and not self._in_kernel:
            self._state = State.HOME
            note = Note("info", f"{reason}: at home on {to.uplink}")
            return [*effects, Announce(to.interface), note]
        self._state = State.RETURNING
        effects.append(Note("info", f"{reason}: home on {to.uplink}, de-registering"))
        self._list.begin(now)
        self._list.timeout = INITIAL_TIMEOUT
        self._list.outstanding.clear()
        return effects + self._send_update(now)

    # --- sending -------------------------------------------------------------------

    def _next_sequence(self) -> int:
        self._list.sequence = (self._list.sequence + 1) & 0xFFFF
        return self._list.sequence

    def _message(self, update: BindingUpdate, at: Attachment) -> SendMessage:
        return SendMessage(
            update,
            self._config.home_address,
            self._config.home_agent6,
            None if at.at_home else at.care_of,
            at.interface,
        )

    def _send_update(self, now: float) -> list[Effect]:
        at = self._at
        if at is None:
            return []
        if self._waiting:
            self._list.note_waiting(now)
            return []
        later = self._list.may_send(now)
        if later:
            self._list.retransmit_at = later
            return []
        sequence = self._next_sequence()
        if at.at_home or self.agents.leaving:
            update = removal(sequence, self._config.mobile_router, None if at.at_home else at)
        else:
            service = "" if self._list.bound(now) else self._config.service
            terms = self._for([at], now)
            update = binding_update(terms, at, sequence, self._force_udp, service)
        self._list.note_sent(update, now)
        mark = HandoverMark(
            self._config.home_address, Phase.UPDATE_SENT, now, at.uplink, at.care_of
        )
        # The sequence number outlives the daemon in the kernel.
        return [self._message(update, at), Count("bu_sent"), mark, *self._remember(now)]

    def _refresh(self, now: float, why: str) -> list[Effect]:
        if self._at is None or self._state in (State.RETURNING, State.HOME):
            return []
        if self._list.outstanding and self._list.attempts == 1:
            return []
        self._list.begin(now)
        notes: list[Effect] = [Note("info", f"sending an update: {why}")] if why else []
        return notes + self._send_update(now)

    def _timed_out(self, now: float) -> list[Effect]:
        at, entry = self._at, self._list
        if at is None:
            entry.retransmit_at = None
            return []
        if self._state is State.REFUSED:
            self._state = State.REGISTERING
            entry.begin(now)
            return self._send_update(now)
        if self.agents.leaving and entry.attempts >= TRIES:
            return self.agents.left(now)
        if not at.at_home and entry.attempts >= (1 if self._probing else TRIES):
            others = [a for a in candidates(self._config, self._uplinks) if a != at]
            if any(a not in self._blocked for a in others):
                self._blocked[at] = now + BLOCKED_FOR
                self._doubted[at] = None
                if len(self._doubted) > DOUBTED_MAX:
                    del self._doubted[next(iter(self._doubted))]
                return self._move(
                    self._ranking()[0], f"no answer through {at.uplink} ({at.address})", now
                )
        if not at.at_home and entry.timeout >= MAX_TIMEOUT:
            elsewhere = self.agents.next("the home agent does not answer", now)
            if elsewhere:
                return elsewhere
        return [Count("bu_timeout"), *self._send_update(now)]

    # --- answers -------------------------------------------------------------------

    def _receive_unprotected(
        self, message: Message, received: Received, now: float
    ) -> list[Effect]:
        """Only a Binding Error may come in clear, and it is only a hint (section 11.3.6)."""
        if isinstance(message, BindingError) and received.source == self._config.home_agent6:
            return self._binding_error(message, now)
        if isinstance(message, HomeAgentSwitch) and received.protected:
            return self.agents.switch(message, received, now)
        return [
            Count("mh_unprotected"),
            Note("warning", f"{received.source}: mobility message without IPsec, dropped"),
        ]

    def _heartbeat(self, message: Heartbeat, received: Received, now: float) -> list[Effect]:
        return [Count("heartbeat_ignored")]

    def _binding_error(self, error: BindingError, now: float) -> list[Effect]:
        if error.status == BindingErrorStatus.UNKNOWN_TYPE:
            return [Count("binding_error_2"), Note("warning", "the home agent knows less than we")]
        if error.home_address != self._config.home_address:
            return [Count("binding_error_ignored")]
        return [Count("binding_error_1"), *self._refresh(now, "the home agent knows no binding")]

    def _acknowledged(self, answer: BindingAcknowledgement, now: float) -> list[Effect]:
        at = self._at
        sent = self._list.answered(answer.sequence)
        if at is None or (
            sent is None and answer.status != BindingAckStatus.SEQUENCE_OUT_OF_WINDOW
        ):
            return [Count("ba_unexpected")]
        if answer.status == BindingAckStatus.SEQUENCE_OUT_OF_WINDOW:
            return self._resynchronise(answer, now)
        assert sent is not None
        if at.at_home:
            return self._removed(answer, now)
        if self.agents.leaving:
            return self.agents.left(now)
        if answer.status >= 128:
            return self._refused(answer, sent, now)
        return self._accepted(answer, sent, at, now)

    def _resynchronise(self, answer: BindingAcknowledgement, now: float) -> list[Effect]:
        """Go on from the number that the home agent names (section 11.7.3)."""
        if not self._list.outstanding:
            return [Count("ba_unexpected")]
        self._list.sequence = answer.sequence
        self._list.outstanding.clear()
        self._list.begin(now)
        note = Note("info", f"the home agent's last sequence number is {answer.sequence}")
        return [Count("bu_resynchronised"), note, *self._send_update(now)]

    def _accepted(
        self, answer: BindingAcknowledgement, sent: Sent, at: Attachment, now: float
    ) -> list[Effect]:
        config, home = self._config, self._config.home_address
        if config.mobile_router and not answer.mobile_router:
            return [Count("ba_without_r"), *self.agents.unfit(NO_ROUTERS, now)]
        effects: list[Effect] = []
        self._probing = False
        self._doubted.pop(at, None)
        self._keys_follow = answer.key_management or not config.key_mobility
        self._list.accept(sent, answer, config, now)
        if self._state is not State.REGISTERED:
            effects.append(HandoverMark(home, Phase.ACKNOWLEDGED, now, at.uplink, at.care_of))
        self._state = State.REGISTERED
        self._problem = ""
        self._refusal = 0
        self.agents.settled()
        if answer.status == BindingAckStatus.ACCEPTED_PREFIX_DISCOVERY:
            effects.append(SolicitPrefixes())
        effects += self._take_ipv4(answer)
        effects += self.take_name(answer)
        nat = find(answer.options, NatDetection)
        quiet = nat is not None and not nat.force and nat.refresh_time == NatDetection.NO_KEEPALIVE
        self._nat = at.version == 4 and not quiet and not (nat is not None and nat.force)
        kind = WireKind.IP6 if at.version == 6 else WireKind.IP4 if quiet else WireKind.UDP4
        if kind is not self._kind:
            self._kind = kind
            effects += [PutPath(home, path) for path in self._paths.activate(at, kind)]
        if sent.sequence == self._list.sequence:
            effects.append(Count("ba_accepted"))
        effects += self._remember(now)
        return effects

    def _take_ipv4(self, answer: BindingAcknowledgement) -> list[Effect]:
        """See what became of the IPv4 home address and prefixes (RFC 5555 section 4.4.2)."""
        problems = []
        address: IPv4Address | None = None
        for option in find_all(answer.options, IPv4AddressAcknowledgement):
            if option.status != IPv4Status.SUCCESS:
                problems.append(f"{option.address} refused, status {option.status}")
            elif option.prefix_length == 32:
                address = option.address
        wanted = self._config.home_address4 is not None or self._config.request_home_address4
        if wanted and address is None and not problems:
            problems.append("the home agent does not serve IPv4")
        self._home_address4 = address
        self._problem = "; ".join(problems)
        return [Note("warning", f"IPv4: {problem}") for problem in problems]

    def _removed(self, answer: BindingAcknowledgement, now: float) -> list[Effect]:
        entry, home = self._list, self._config.home_address
        at = self._at
        assert at is not None
        entry.outstanding.clear()
        entry.retransmit_at = entry.refresh_at = entry.expires = None
        self._state = State.HOME
        self._in_kernel = False
        self._paths = Paths(self._config)
        effects: list[Effect] = [HandoverMark(home, Phase.ACKNOWLEDGED, now, at.uplink)]
        # 133 says that there was none: as good.
        if answer.status not in (BindingAckStatus.ACCEPTED, BindingAckStatus.NOT_HOME_AGENT):
            effects.append(Note("warning", f"de-registration: {describe(answer.status)}"))
        note = Note("info", "de-registered, at home")
        return [*effects, DropBinding(home), Announce(at.interface), note]

    def _refused(self, answer: BindingAcknowledgement, sent: Sent, now: float) -> list[Effect]:
        entry = self._list
        entry.outstanding.clear()
        effects: list[Effect] = [Count(f"ba_refused_{answer.status}")]
        if udp_refused(answer.status, sent.force_udp, False):
            self._force_udp = False
            return [
                *effects,
                Note("info", "UDP is refused, going on without"),
                *self._send_update(now),
            ]
        text = describe(answer.status, force_udp=sent.force_udp)
        self._problem = f"status {answer.status}: {text}"
        entry.refresh_at = None
        if answer.status in FATAL:
            # RFC 3963 section 5.4: the home agent holds no binding of ours.
            self._state = State.REFUSED
            self._refusal = answer.status
            entry.expires = None
            entry.retransmit_at = now + REFUSED_AGAIN
            effects.append(Note("error", f"the home agent refuses us, {self._problem}"))
            return effects + self.agents.next("the home agent refuses us", now)
        entry.retransmit_at = max(entry.retransmit_at or 0.0, now + entry.timeout)
        return [*effects, Note("error", f"the home agent refuses the update, {self._problem}")]
