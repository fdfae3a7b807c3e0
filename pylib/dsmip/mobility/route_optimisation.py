# SPDX-License-Identifier: GPL-2.0-only
"""Route optimisation, the mobile router's side (RFC 6275 sections 5.2, 11.6 and 11.7).

It is for the router's own home address: hosts of a mobile network are reached
through the home agent (RFC 3963 section 6.2), since no test can show that a whole
prefix is where its router is. Until a correspondent has acknowledged a care-of
address, and whenever anything is in doubt, packets take the home agent's way.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from ipaddress import IPv6Address

from ..packet.authenticator import authorize, authorized
from ..packet.errors import PacketError
from ..packet.extension import home_form
from ..packet.kernel import PathEvent
from ..packet.mobility import (
    PROTOCOL,
    BindingAcknowledgement,
    BindingError,
    BindingRefreshRequest,
    BindingUpdate,
    CareOfTest,
    CareOfTestInit,
    HomeTest,
    HomeTestInit,
    Message,
    parse,
)
from ..packet.status import BindingAckStatus, BindingErrorStatus, describe
from .config import RouteOptimisationConfig
from .correspondent_list import (
    Attached,
    Correspondent,
    CorrespondentState,
    Phase,
    SentUpdate,
    adopt,
    to_kernel,
)
from .direct_update import make_update
from .effects import (
    Address,
    Count,
    DropBinding,
    Effect,
    KernelBinding,
    MeasureUse,
    Note,
    Path,
    PutBinding,
    Received,
    SendMessage,
)
from .registration import LIFETIME_UNIT, is_routable
from .return_routability import (
    Random,
    Retry,
    RunningTest,
)
from .strangers import Strangers

#: RFC 6275 section 12: after so many failures the home agent's way is taken.
MAX_RO_FAILURE = 3
#: No more messages of one type to one node in a second (section 11.8).
MAX_UPDATE_RATE = 3
#: How long a correspondent is left alone: one that does not answer, one that does
#: not know the protocol, one that has refused.
SILENT_FOR, UNSUPPORTED_FOR, REFUSED_FOR = 120.0, 900.0, 300.0
#: A binding is refreshed so long before its end.
REFRESH_BEFORE = 60.0
#: Failures so long ago do not count any more.
FORGIVEN_AFTER = 60.0
REFRESH_REQUEST_INTERVAL = 1.0

_NOBODY = IPv6Address(0)


class RouteOptimisation:
    """The engine. Times are those of the caller's monotonic clock.

    ``agents`` are the home agent's addresses, through whose tunnel Home Tests come.
    """

    def __init__(
        self,
        config: RouteOptimisationConfig,
        home_address: IPv6Address,
        agents: Iterable[Address],
        now: float,
        adopted: Iterable[KernelBinding] = (),
        random: Random = secrets.token_bytes,
    ) -> None:
        self._config = config
        self._home = home_address
        self._agents = frozenset(agents)
        self._random = random
        self._strangers = Strangers()
        self._at = Attached()
        self._list: dict[IPv6Address, Correspondent] = {}
        self._adopted = tuple(adopted)

    # --- inputs ------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Take over the direct bindings that the kernel holds."""
        effects: list[Effect] = []
        for binding in self._adopted:
            one = adopt(binding, now)
            if one is None or not self._config.enabled or not self._has_room():
                effects.append(DropBinding(binding.home_address))
            else:
                self._list[one.address] = one
        self._adopted = ()
        if self._list:
            effects.append(Note("info", f"took over {len(self._list)} direct bindings"))
        return effects

    def attached(self, at: Attached, now: float) -> list[Effect]:
        """Take where the router is now."""
        before, self._at = self._at, at
        if (before.care_of, before.at_home, before.ready) == (at.care_of, at.at_home, at.ready):
            if at.until > before.until - 1.0:
                return []
            # RFC 6275 section 11.4.2: no correspondent holds it longer than the home agent.
            late = [one for one in self._list.values() if one.bound and one.expires > at.until]
            return [effect for one in late for effect in self._refresh(one, now)]
        effects: list[Effect] = []
        for one in list(self._list.values()):
            if one.direct and one.bound != at.address:
                effects += self._indirect(one)
            if one.phase is not Phase.LEFT_ALONE:
                if before.care_of != at.care_of or before.at_home != at.at_home:
                    one.quiet()
                    one.failures = 0
                effects += self._proceed(one, now)
        return effects

    def use_agents(self, agents: Iterable[Address]) -> None:
        """Take other addresses of home agents."""
        self._agents = frozenset(agents)

    def use_home_address(self, home_address: IPv6Address, now: float) -> list[Effect]:
        """Take another home address: what was bound was the other's."""
        effects: list[Effect] = []
        if home_address != self._home:
            for one in list(self._list.values()):
                effects += self._forget(one)
            self._home = home_address
        return effects

    def optimise(self, address: IPv6Address, on: bool, now: float) -> list[Effect]:
        """Carry out the operator's wish. Raises ``ValueError`` when that cannot be."""
        one = self._list.get(address)
        if not on:
            if one is None:
                raise ValueError(f"{address} is no correspondent")
            return self._end(one, now)
        if not self._config.enabled:
            raise ValueError("route_optimisation is switched off in the configuration")
        if not is_routable(address) or address == self._home or address in self._agents:
            raise ValueError(f"{address} cannot be a correspondent")
        if one is None:
            if not self._make_room():
                raise ValueError(f"there are {self._config.correspondents_max} already")
            one = self._list[address] = Correspondent(address, self._first_sequence())
        one.asked = one.wanted = True
        if one.phase is Phase.LEFT_ALONE:
            one.phase = Phase.WAITING
        one.failures = 0
        return self._proceed(one, now)

    def receive(self, received: Received, now: float) -> list[Effect]:
        """Handle a mobility message that is not the home agent's."""
        message = self._strangers.read(received, now)
        if isinstance(message, list):
            return message
        one = self._list.get(received.source)
        if one is None:
            # Section 11.3.6 and 11.7.4: only those in the list have anything to say.
            return [Count("ro_from_nobody")]
        if isinstance(message, HomeTest):
            return self._home_test(one, message, received, now)
        if isinstance(message, CareOfTest):
            return self._care_of_test(one, message, received, now)
        if isinstance(message, BindingAcknowledgement):
            return self._acknowledged(one, message, received, now)
        if isinstance(message, BindingError):
            return self._binding_error(one, message, received, now)
        if isinstance(message, BindingRefreshRequest):
            return self._refresh_requested(one, received, now)
        return [Count("ro_not_for_mobile_router")]

    def unsupported(self, source: IPv6Address, quoted: bytes, now: float) -> list[Effect]:
        """Take an ICMPv6 parameter problem, code 1, about a packet of ours (section 11.3.5).

        It must quote a message that is under way, with what nobody else knows.
        """
        one = self._list.get(source)
        if one is None:
            return []
        try:
            packet = home_form(quoted)
            message = parse(packet.payload) if packet.protocol == PROTOCOL else None
        except PacketError:
            message = None
        if message is None or not _is_under_way(one, message):
            return [Count("ro_error_ignored")]
        return [
            Count("ro_unsupported"),
            *self._leave_alone(one, UNSUPPORTED_FOR, "it does not know Mobile IPv6", now),
        ]

    def path_event(
        self, home_address: IPv6Address, event: PathEvent, path: Path | None, now: float
    ) -> list[Effect]:
        """Take an event of the kernel."""
        if event is PathEvent.TUNNELLED and path is not None and home_address == self._home:
            return self._spoken_to(path.remote, now)
        one = self._list.get(home_address)
        if one is None or event is not PathEvent.EXPIRED or not one.direct:
            return []
        one.direct = False
        return []

    def measured(self, address: IPv6Address, packets: int, now: float) -> list[Effect]:
        """Take how many packets a direct binding has carried; refresh it if it is in use."""
        one = self._list.get(address)
        if one is None or one.phase is not Phase.BOUND:
            return []
        used, one.packets = packets != one.packets, packets
        if not used and not one.asked:
            return [Count("ro_not_in_use")]
        return self._refresh(one, now)

    def next_timer(self) -> float | None:
        """Return when ``handle_timer`` wants to be called, None for never."""
        return min(
            (at for one in self._list.values() for at in one.timers() if at is not None),
            default=None,
        )

    def handle_timer(self, now: float) -> list[Effect]:
        """Do what time asks for."""
        effects: list[Effect] = []
        for one in list(self._list.values()):
            effects += self._timer(one, now)
        return effects

    def reconfigure(self, config: RouteOptimisationConfig, now: float) -> list[Effect]:
        """Apply a new configuration."""
        self._config = config
        effects: list[Effect] = []
        for one in list(self._list.values()):
            if not config.enabled or not (one.asked or self._is_listed(one.address)):
                effects += self._end(one, now)
        return effects

    def stop(self, now: float) -> list[Effect]:
        """End all, without waiting for anybody."""
        effects: list[Effect] = []
        for one in list(self._list.values()):
            effects += self._forget(one)
        return effects

    def knows(self, address: IPv6Address) -> bool:
        """Tell whether an address is that of a correspondent."""
        return address in self._list

    def correspondents(self, now: float) -> list[CorrespondentState]:
        """Return all correspondents, by address."""
        return [
            CorrespondentState(
                address=one.address,
                phase=one.phase,
                direct=one.direct,
                asked=one.asked,
                care_of=one.bound,
                sequence=one.sequence,
                lifetime=one.lifetime if one.bound else 0,
                remaining=max(one.expires - now, 0.0) if one.bound else 0.0,
                retry_in=one.until - now if one.phase is Phase.LEFT_ALONE else None,
                problem=one.problem,
            )
            for _, one in sorted(self._list.items())
        ]

    # --- whom, and whether ------------------------------------------------------------

    def _is_listed(self, address: IPv6Address) -> bool:
        config = self._config
        return address in config.trusted or any(address in one for one in config.correspondents)

    def _spoken_to(self, address: Address, now: float) -> list[Effect]:
        """Start with a correspondent that the home address sends packets to by the tunnel."""
        if not isinstance(address, IPv6Address) or not self._config.enabled:
            return []
        if not self._is_listed(address) or not is_routable(address):
            return []
        if address in self._agents or address == self._home or address in self._list:
            return []
        if self._at.address is None or not self._at.ready:
            return []
        if not self._make_room():
            return [Count("ro_list_full")]
        one = self._list[address] = Correspondent(address, self._first_sequence())
        return [Count("ro_started"), *self._proceed(one, now)]

    def _has_room(self) -> bool:
        return len(self._list) < self._config.correspondents_max

    def _make_room(self) -> bool:
        """Let who is left alone make place for others."""
        if not self._has_room():
            alone = [one for one in self._list.values() if one.phase is Phase.LEFT_ALONE]
            free = [one for one in alone if not one.asked]
            if free:
                del self._list[min(free, key=lambda one: one.until).address]
        return self._has_room()

    def _first_sequence(self) -> int:
        return int.from_bytes(self._random(2), "big")

    def _end(self, one: Correspondent, now: float) -> list[Effect]:
        one.asked = one.wanted = False
        if one.phase is Phase.LEFT_ALONE:
            return self._forget(one)
        one.quiet()
        return [*self._indirect(one), *self._proceed(one, now)]

    def _indirect(self, one: Correspondent) -> list[Effect]:
        """Let packets take the home agent's way."""
        if not one.direct:
            return []
        one.direct = False
        return [DropBinding(one.address)]

    def _forget(self, one: Correspondent) -> list[Effect]:
        del self._list[one.address]
        return self._indirect(one)

    def _leave_alone(
        self, one: Correspondent, seconds: float, why: str, now: float
    ) -> list[Effect]:
        effects = self._indirect(one)
        one.quiet()
        one.home_token = one.care_of_token = None
        one.bound = None
        one.failures = 0
        one.problem = why
        effects.append(Note("info", f"{one.address} is left alone for {seconds:g} s: {why}"))
        if not one.wanted:
            return effects + self._forget(one)
        one.phase, one.until = Phase.LEFT_ALONE, now + seconds
        return effects

    def _failed(self, one: Correspondent, why: str, now: float) -> list[Effect]:
        """Try again, unless it was too often (section 5.2.9)."""
        if now - one.failed_at > FORGIVEN_AFTER:
            one.failures = 0
        one.failures += 1
        one.failed_at = now
        if one.failures >= MAX_RO_FAILURE:
            return self._leave_alone(one, SILENT_FOR, why, now)
        one.quiet()
        return self._proceed(one, now)

    # --- one correspondent ------------------------------------------------------------

    def _proceed(self, one: Correspondent, now: float) -> list[Effect]:
        """Do the next thing that leads to a binding, or to its end."""
        at = self._at
        care_of = at.address if one.wanted and self._config.enabled else None
        if care_of is None or at.care_of is None:
            return self._proceed_to_end(one, now)
        if one.phase is Phase.BOUND and one.bound == care_of and one.refresh_at is not None:
            return []
        effects: list[Effect] = []
        if one.phase is not Phase.BOUND or one.bound != care_of:
            one.phase = Phase.TESTING
        if one.address in self._config.trusted:
            return effects + self._proceed_trusted(one, now)
        # Both halves side by side (section 11.6.1), the one that can wait for nobody first.
        if one.care_of_token is None or not one.care_of_token.good(care_of, now):
            effects += self._start_care_of_test(one, care_of, now)
        if not at.ready:
            one.phase = Phase.WAITING if one.phase is not Phase.BOUND else one.phase
            return effects
        if one.home_token is None or not one.home_token.good(self._home, now):
            effects += self._start_home_test(one, now)
        if one.home_test is None and one.care_of_test is None and one.update is None:
            effects += self._send_update(one, now)
        return effects

    def _proceed_trusted(self, one: Correspondent, now: float) -> list[Effect]:
        """Associations between both take the place of tests."""
        if not self._at.ready:
            one.phase = Phase.WAITING if one.phase is not Phase.BOUND else one.phase
            return []
        return self._send_update(one, now) if one.update is None else []

    def _proceed_to_end(self, one: Correspondent, now: float) -> list[Effect]:
        """Delete what the correspondent may hold: it would send to where nobody is."""
        effects = self._indirect(one)
        if one.bound is None or one.expires <= now:
            if one.asked and one.wanted:
                one.phase = Phase.WAITING
                return effects
            return effects + self._forget(one)
        one.phase = Phase.DELETING
        one.care_of_test = None
        if not self._at.ready:
            return effects
        trusted = one.address in self._config.trusted
        if not trusted and not (one.home_token and one.home_token.good(self._home, now)):
            return effects + self._start_home_test(one, now)
        if one.update is None:
            effects += self._send_update(one, now)
        return effects

    def _start_home_test(self, one: Correspondent, now: float) -> list[Effect]:
        one.home_token = None
        if one.home_test is not None:
            return []
        one.home_test = RunningTest(self._home)
        return self._send_home_test(one, one.home_test, now)

    def _start_care_of_test(
        self, one: Correspondent, care_of: IPv6Address, now: float
    ) -> list[Effect]:
        one.care_of_token = None
        if one.care_of_test is not None and one.care_of_test.address == care_of:
            return []
        one.care_of_test = RunningTest(care_of)
        return self._send_care_of_test(one, one.care_of_test, now)

    def _send_home_test(self, one: Correspondent, test: RunningTest, now: float) -> list[Effect]:
        later = one.may_send("hoti", now, MAX_UPDATE_RATE)
        if later:
            test.retry.at = later
            return []
        message = HomeTestInit(test.send(now, self._random))
        return [Count("hoti_sent"), SendMessage(message, self._home, one.address)]

    def _send_care_of_test(self, one: Correspondent, test: RunningTest, now: float) -> list[Effect]:
        later = one.may_send("coti", now, MAX_UPDATE_RATE)
        if later:
            test.retry.at = later
            return []
        message = CareOfTestInit(test.send(now, self._random))
        interface = self._at.care_of.interface if self._at.care_of else 0
        return [
            Count("coti_sent"),
            SendMessage(message, test.address, one.address, None, interface),
        ]

    def _send_update(self, one: Correspondent, now: float) -> list[Effect]:
        deletes = one.phase is Phase.DELETING
        later = one.may_send("bu", now, MAX_UPDATE_RATE)
        if later:
            one.retry.at = later
            return []
        made = make_update(one, self._at, self._config, self._home, now)
        if made is None:
            # The home registration is about to be refreshed, or to end.
            one.retry.at = now + 1.0
            return []
        one.sequence = (one.sequence + 1) & 0xFFFF
        units = made.lifetime // LIFETIME_UNIT
        update = BindingUpdate(one.sequence, units, acknowledge=True, options=made.options)
        one.update = SentUpdate(one.sequence, now, units * LIFETIME_UNIT, made.covers, made.key)
        one.retry.note_sent(now)
        if not deletes:
            if one.phase is not Phase.BOUND:
                one.phase = Phase.UPDATING
            # From now on it may hold it, whether we hear so or not.
            one.bound, one.expires = made.covers, max(one.expires, now + made.lifetime)
        if made.key:
            update = authorize(update, made.key, made.covers, one.address)
        return [Count("ro_bu_sent"), SendMessage(update, self._home, one.address, made.path)]

    def _refresh(self, one: Correspondent, now: float) -> list[Effect]:
        one.refresh_at = None
        if one.update is not None or one.home_test is not None or one.care_of_test is not None:
            return []
        one.retry = Retry()
        return self._proceed(one, now)

    def _timer(self, one: Correspondent, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if one.phase is Phase.LEFT_ALONE:
            if one.until > now:
                return []
            if not one.asked:
                # Traffic will bring it back.
                return self._forget(one)
            one.phase = Phase.WAITING
            return self._proceed(one, now)
        if one.bound is not None and one.expires <= now:
            one.bound = None
            effects += self._indirect(one)
            if one.phase is Phase.DELETING:
                one.quiet()
                return effects + self._proceed(one, now)
            if one.phase is Phase.BOUND:
                one.phase = Phase.TESTING
                if not one.asked and one.home_test is None and one.care_of_test is None:
                    return effects + self._forget(one)
        for test, send in (
            (one.home_test, self._send_home_test),
            (one.care_of_test, self._send_care_of_test),
        ):
            if test is None or not test.retry.due(now):
                continue
            if test.retry.tries >= MAX_RO_FAILURE:
                return effects + self._leave_alone(one, SILENT_FOR, "it does not answer", now)
            effects += [Count("ro_test_timeout"), *send(one, test, now)]
        if one.retry.due(now):
            one.retry.at = None
            if one.retry.tries >= MAX_RO_FAILURE:
                why = "it acknowledges no update"
                return effects + self._leave_alone(one, SILENT_FOR, why, now)
            one.update = None
            effects += self._proceed(one, now)
        if one.refresh_at is not None and one.refresh_at <= now:
            one.refresh_at = None
            effects.append(MeasureUse(one.address))
        return effects

    # --- what they answer --------------------------------------------------------------

    def _home_test(
        self, one: Correspondent, test: HomeTest, received: Received, now: float
    ) -> list[Effect]:
        running = one.home_test
        if running is None or received.destination != self._home:
            return [Count("hot_ignored")]
        if not self._through_agent(received):
            return [
                Count("hot_not_through_agent"),
                Note("info", f"{one.address}: a Home Test that the home agent did not forward"),
            ]
        token = running.answered(test.cookie, test.nonce_index, test.token)
        if token is None:
            return [Count("hot_wrong_cookie")]
        one.home_test, one.home_token = None, token
        return [Count("hot"), *self._proceed(one, now)]

    def _through_agent(self, received: Received) -> bool:
        """Tell whether the home agent's tunnel brought a message (section 11.6.2)."""
        if self._at.at_home:
            return received.care_of is None
        if self._config.protected_tests:
            return received.protected
        return received.care_of is not None and received.care_of.address in self._agents

    def _care_of_test(
        self, one: Correspondent, test: CareOfTest, received: Received, now: float
    ) -> list[Effect]:
        running = one.care_of_test
        direct = received.care_of is None and received.destination == self._at.address
        if running is None or not direct or running.address != received.destination:
            return [Count("cot_ignored")]
        token = running.answered(test.cookie, test.nonce_index, test.token)
        if token is None:
            return [Count("cot_wrong_cookie")]
        one.care_of_test, one.care_of_token = None, token
        return [Count("cot"), *self._proceed(one, now)]

    def _acknowledged(
        self, one: Correspondent, ack: BindingAcknowledgement, received: Received, now: float
    ) -> list[Effect]:
        sent = one.update
        if sent is None or received.destination != self._home:
            return [Count("ro_ba_ignored")]
        status = ack.status
        if one.address not in self._config.trusted and status in (
            BindingAckStatus.EXPIRED_HOME_NONCE,
            BindingAckStatus.EXPIRED_CARE_OF_NONCE,
            BindingAckStatus.EXPIRED_NONCES,
        ):
            # Nobody can sign these (section 9.5.4): a forger only gets the tests repeated.
            if ack.sequence != sent.sequence:
                return [Count("ro_ba_ignored")]
            if status != BindingAckStatus.EXPIRED_CARE_OF_NONCE:
                one.home_token = None
            if status != BindingAckStatus.EXPIRED_HOME_NONCE:
                one.care_of_token = None
            return [Count(f"ro_ba_{status}"), *self._failed(one, describe(status), now)]
        if one.address in self._config.trusted:
            if not received.protected:
                return [Count("ro_ba_unprotected")]
        elif not authorized(received.data, sent.key, sent.covers, one.address):
            return [Count("ro_ba_bad_authenticator")]
        if status == BindingAckStatus.SEQUENCE_OUT_OF_WINDOW:
            one.sequence = ack.sequence
            return [Count("ro_ba_135"), *self._failed(one, describe(status), now)]
        if ack.sequence != sent.sequence:
            return [Count("ro_ba_ignored")]
        if status >= BindingAckStatus.REASON_UNSPECIFIED:
            refusal = f"it refuses: {describe(status)}"
            return [
                Count(f"ro_ba_{status}"),
                *self._leave_alone(one, REFUSED_FOR, refusal, now),
            ]
        if one.phase is Phase.DELETING:
            one.quiet()
            one.bound = None
            return [Count("ro_deleted"), *self._proceed(one, now)]
        return self._bind(one, sent, ack, now)

    def _bind(
        self, one: Correspondent, sent: SentUpdate, ack: BindingAcknowledgement, now: float
    ) -> list[Effect]:
        granted = min(ack.lifetime * LIFETIME_UNIT, sent.lifetime)
        care_of = self._at.care_of
        if sent.covers != self._at.address or care_of is None:
            return [Count("ro_ba_ignored")]
        one.quiet()
        if granted < LIFETIME_UNIT:
            return self._leave_alone(one, REFUSED_FOR, "it grants no time", now)
        fresh = not one.direct
        one.phase, one.direct, one.problem = Phase.BOUND, True, ""
        one.bound, one.lifetime, one.expires = sent.covers, granted, sent.at + granted
        one.bound_at = now
        margin = min(REFRESH_BEFORE, granted / 4)
        one.refresh_at = max(one.expires - margin, now + LIFETIME_UNIT / 4)
        effects: list[Effect] = [PutBinding(to_kernel(one, care_of, now)), Count("ro_bound")]
        if fresh:
            one.packets = 0
            text = f"{one.address}: direct path from {sent.covers} for {granted} s"
            effects.append(Note("info", text))
        return effects

    def _binding_error(
        self, one: Correspondent, error: BindingError, received: Received, now: float
    ) -> list[Effect]:
        if error.status == BindingErrorStatus.UNKNOWN_TYPE:
            if not self._awaits(one):
                return [Count("ro_be_ignored")]
            why = "it does not know a message of route optimisation"
            return [Count("ro_be_2"), *self._leave_alone(one, UNSUPPORTED_FOR, why, now)]
        ours = error.home_address == self._home and received.destination == self._at.address
        if error.status != BindingErrorStatus.UNKNOWN_BINDING or not ours or not one.direct:
            return [Count("ro_be_ignored")]
        # Section 11.3.6: it has lost the binding, and with it most likely its nonces.
        effects = [*self._indirect(one), Count("ro_be_1")]
        effects.append(Note("info", f"{one.address} knows no binding: by the home agent again"))
        one.home_token = one.care_of_token = None
        one.bound = None
        one.phase = Phase.TESTING
        return effects + self._failed(one, "it loses its binding again and again", now)

    def _awaits(self, one: Correspondent) -> bool:
        return any((one.home_test, one.care_of_test, one.update))

    def _refresh_requested(
        self, one: Correspondent, received: Received, now: float
    ) -> list[Effect]:
        if one.phase is not Phase.BOUND or now - one.bound_at < REFRESH_REQUEST_INTERVAL:
            return [Count("ro_brr_ignored")]
        if received.destination != self._home:
            return [Count("ro_brr_ignored")]
        return [Count("ro_brr"), *self._refresh(one, now)]


def _is_under_way(one: Correspondent, message: Message) -> bool:
    if isinstance(message, HomeTestInit):
        return one.home_test is not None and message.cookie == one.home_test.cookie
    if isinstance(message, CareOfTestInit):
        return one.care_of_test is not None and message.cookie == one.care_of_test.cookie
    if isinstance(message, BindingUpdate):
        return one.update is not None and message.sequence == one.update.sequence
    return False
