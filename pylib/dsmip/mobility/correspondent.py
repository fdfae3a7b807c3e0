# SPDX-License-Identifier: GPL-2.0-only
"""The correspondent node (RFC 6275 section 9).

Tests are answered without remembering who asked. A Binding Update is judged by
the nonces that it names: its key follows from them and from both addresses.
"""

from __future__ import annotations

import heapq
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address

from ..packet.authenticator import authorize, authorized, binding_key
from ..packet.careof import CareOf, WireKind
from ..packet.kernel import PathEvent
from ..packet.mobility import (
    BindingAcknowledgement,
    BindingRefreshRequest,
    BindingUpdate,
    CareOfTest,
    CareOfTestInit,
    HomeTest,
    HomeTestInit,
)
from ..packet.options import (
    AlternateCareOfAddress,
    BindingIdentifier,
    NonceIndices,
    find,
    find_all,
)
from ..packet.status import BindingAckStatus, describe
from .binding_cache import sequence_is_newer
from .config import CorrespondentConfig
from .correspondent_cache import Deleted, Entry, Used, adopt, to_kernel
from .effects import (
    Count,
    DropBinding,
    Effect,
    KernelBinding,
    MeasureUse,
    Moved,
    Note,
    Path,
    PutBinding,
    Received,
    SendMessage,
)
from .registration import LIFETIME_UNIT, RateLimit, Refused, is_routable, refusal
from .return_routability import (
    MAX_RR_BINDING_LIFETIME,
    MAX_TRUSTED_LIFETIME,
    Nonce,
    Nonces,
    Random,
)
from .strangers import Strangers, sender

#: Tests answered at once, then a second, whoever asks.
TESTS_BURST, TESTS_RATE = 500.0, 500.0
#: Updates refused without authorisation, likewise.
REFUSALS_BURST, REFUSALS_RATE = 20.0, 10.0
#: A binding in use is asked for a refresh so long before its end, and once more.
REFRESH_REQUEST_BEFORE = 20.0
REFRESH_REQUESTS = 2
#: Errors about a care-of address must last so long to count (section 9.3.4).
UNREACHABLE_FOR = 10.0


class Ignored(Exception):
    """A message is dropped in silence; ``counter`` counts it."""

    def __init__(self, counter: str, reason: str) -> None:
        super().__init__(reason)
        self.counter = counter


@dataclass(frozen=True, slots=True)
class Authority:
    """What authorises an update, and its answer: a key and the address it covers.

    ``key`` None: IPsec does. ``until`` is when the update can be repeated no more.
    """

    key: bytes | None
    address: IPv6Address
    used: Used | None
    until: float


@dataclass(frozen=True, slots=True)
class CorrespondentView:
    """A binding for status documents; times in seconds."""

    home_address: IPv6Address
    care_of: IPv6Address
    local: IPv6Address
    sequence: int
    lifetime: int
    remaining: float
    registered_for: float
    updated_ago: float


def _nobody(_home_address: IPv6Address) -> bool:
    return False


class Correspondent:
    """The engine. Times are those of the caller's monotonic clock.

    ``is_home_registration`` tells whether a home address is registered with this
    host as its home agent: that entry never becomes a correspondent's.
    """

    def __init__(
        self,
        config: CorrespondentConfig,
        now: float,
        adopted: Iterable[KernelBinding] = (),
        is_home_registration: Callable[[IPv6Address], bool] = _nobody,
        random: Random = secrets.token_bytes,
    ) -> None:
        self._config = config
        self._random = random
        self._nonces = Nonces(random)
        self._is_home_registration = is_home_registration
        self._entries: dict[IPv6Address, Entry] = {}
        self._deleted: dict[IPv6Address, Deleted] = {}
        self._strangers = Strangers()
        self._tests = RateLimit(TESTS_BURST, TESTS_RATE)
        self._refusals = RateLimit(REFUSALS_BURST, REFUSALS_RATE)
        self._timers: list[tuple[float, IPv6Address]] = []
        self._calls: dict[IPv6Address, float] = {}
        self._adopted = tuple(adopted)

    # --- inputs ------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Take over the bindings that the kernel holds."""
        effects: list[Effect] = []
        for binding in self._adopted:
            entry = adopt(binding, now)
            if entry is None or not self._serves(entry.home_address, entry.local):
                effects.append(DropBinding(binding.home_address))
                continue
            self._entries[entry.home_address] = entry
            self._call_at(_refresh_request_at(entry), entry.home_address)
            entry.trusted = entry.home_address in self._config.trusted
            if entry.trusted:
                effects.append(Moved(entry.home_address, None, CareOf(entry.care_of)))
        self._adopted = ()
        if self._entries:
            effects.append(Note("info", f"took over {len(self._entries)} direct bindings"))
        return effects

    def receive(self, received: Received, now: float) -> list[Effect]:
        """Handle a mobility message."""
        message = self._strangers.read(received, now)
        if isinstance(message, list):
            return message
        try:
            if isinstance(message, HomeTestInit):
                return self._home_test(message, received, now)
            if isinstance(message, CareOfTestInit):
                return self._care_of_test(message, received, now)
            if isinstance(message, BindingUpdate):
                return self._binding_update(message, received, now)
        except Ignored as ignored:
            return [Count(ignored.counter), Note("info", f"{sender(received)}: {ignored}")]
        return [Count("mh_not_for_correspondent")]

    def path_event(
        self, home_address: IPv6Address, event: PathEvent, path: Path | None, now: float
    ) -> list[Effect]:
        """Take an event of the kernel."""
        if event is PathEvent.STRANGER and path is not None:
            return self._strangers.home_address(home_address, path, now)
        entry = self._entries.get(home_address)
        if entry is not None and event is PathEvent.EXPIRED:
            return self._remove(entry, now, "its lifetime ended")
        return []

    def measured(self, home_address: IPv6Address, packets: int, now: float) -> list[Effect]:
        """Take how many packets a binding has carried in all; ask for a refresh if any more.

        Section 9.5.5: before the end, and only for what is in use.
        """
        entry = self._entries.get(home_address)
        if entry is None:
            return []
        if entry.packets < 0:
            entry.packets = packets
            return []
        used, entry.packets = packets > entry.packets, packets
        if not used and not entry.asked:
            return [Count("binding_not_in_use")]
        entry.asked += 1
        return [
            Count("brr_sent"),
            SendMessage(BindingRefreshRequest(), entry.local, entry.home_address),
        ]

    def unreachable(self, care_of: IPv6Address, now: float) -> list[Effect]:
        """Take an ICMPv6 destination unreachable about a care-of address (section 9.3.4).

        Anybody can send such an error, and one may be of the past: only when they
        last the binding goes, and packets take the way of the home address again.
        """
        effects: list[Effect] = []
        for entry in [e for e in self._entries.values() if e.care_of == care_of]:
            if entry.unreachable is None or now - entry.unreachable > 3 * UNREACHABLE_FOR:
                entry.unreachable = now
            elif now - entry.unreachable >= UNREACHABLE_FOR:
                effects += self._remove(entry, now, f"{care_of} cannot be reached")
                effects.append(Count("binding_unreachable"))
        return effects

    def next_timer(self) -> float | None:
        """Return when ``handle_timer`` wants to be called, None for never."""
        return self._timers[0][0] if self._timers else None

    def handle_timer(self, now: float) -> list[Effect]:
        """Do what time asks for."""
        effects: list[Effect] = []
        while self._timers and self._timers[0][0] <= now:
            at, home = heapq.heappop(self._timers)
            if self._calls.get(home) != at:
                continue
            del self._calls[home]
            entry = self._entries.get(home)
            if entry is not None and entry.expires <= now:
                effects += self._remove(entry, now, "its lifetime ended")
            elif entry is not None and _refresh_request_at(entry) <= now:
                effects.append(MeasureUse(home))
                again = now + _margin(entry) / REFRESH_REQUESTS
                self._call_at(min(again, entry.expires), home)
            elif entry is not None:
                self._call_at(_refresh_request_at(entry), home)
            deleted = self._deleted.get(home)
            if deleted is not None and deleted.until <= now:
                del self._deleted[home]
            elif deleted is not None:
                self._call_at(deleted.until, home)
        return effects

    def reconfigure(self, config: CorrespondentConfig, now: float) -> list[Effect]:
        """Apply a new configuration; a binding that it still allows is not touched."""
        self._config = config
        effects: list[Effect] = []
        for entry in list(self._entries.values()):
            if not self._serves(entry.home_address, entry.local):
                effects += self._remove(entry, now, "it is not allowed any more")
        return effects

    def holds(self, home_address: IPv6Address) -> bool:
        """Tell whether a home address is bound."""
        return home_address in self._entries

    def bindings(self, now: float) -> list[CorrespondentView]:
        """Return all bindings, by home address."""
        return [
            CorrespondentView(
                home_address=entry.home_address,
                care_of=entry.care_of,
                local=entry.local,
                sequence=entry.sequence,
                lifetime=entry.lifetime,
                remaining=max(entry.expires - now, 0.0),
                registered_for=now - entry.registered,
                updated_ago=now - entry.updated,
            )
            for _, entry in sorted(self._entries.items())
        ]

    # --- tests ---------------------------------------------------------------------

    def _home_test(self, init: HomeTestInit, received: Received, now: float) -> list[Effect]:
        self._check_test(received, "hoti")
        trusted = received.source in self._config.trusted
        if trusted or not self._serves(received.source, received.destination):
            raise Ignored("hoti_not_served", "it asks for tests, which are not for it")
        nonce = self._nonces.current(now)
        token = nonce.home_token(received.source)
        return self._answer(HomeTest(nonce.index, init.cookie, token), received, now)

    def _care_of_test(self, init: CareOfTestInit, received: Received, now: float) -> list[Effect]:
        self._check_test(received, "coti")
        if not self._serves(None, received.destination):
            raise Ignored("coti_not_served", "it asks for tests, which are not for it")
        nonce = self._nonces.current(now)
        token = nonce.care_of_token(received.source)
        return self._answer(CareOfTest(nonce.index, init.cookie, token), received, now)

    def _check_test(self, received: Received, name: str) -> None:
        if received.care_of is not None:
            # Section 9.4.1, and what came through a tunnel came from nobody's home agent.
            raise Ignored(f"{name}_home_address", "a test with another address than its source")
        if not is_routable(received.source):
            raise Ignored(f"{name}_bad_source", "it cannot be a home or care-of address")

    def _answer(
        self, answer: HomeTest | CareOfTest, received: Received, now: float
    ) -> list[Effect]:
        name = "hot" if isinstance(answer, HomeTest) else "cot"
        if not self._tests.take(now):
            return [Count(f"{name}_suppressed")]
        return [
            Count(f"{name}_sent"),
            SendMessage(answer, received.destination, received.source),
        ]

    # --- binding updates -----------------------------------------------------------

    def _binding_update(
        self, update: BindingUpdate, received: Received, now: float
    ) -> list[Effect]:
        home = received.source
        if not is_routable(home):
            raise Ignored("bu_bad_home_address", "it cannot be a home address")
        wire = received.care_of
        if wire is not None and wire.kind is not WireKind.IP6:
            raise Ignored("bu_tunnelled", "a Binding Update through a tunnel")
        if update.home or update.proxy:
            refused = Refused(
                BindingAckStatus.HOME_REGISTRATION_NOT_SUPPORTED, "this is no home agent"
            )
            return self._refuse(update, received, refused, None, now)
        care_of = _care_of(update, received)
        if not is_routable(care_of):
            raise Ignored("bu_bad_care_of_address", f"{care_of} cannot be a care-of address")
        deletes = update.lifetime == 0 or care_of == home
        authority: Authority | None = None
        try:
            if received.protected and home in self._config.trusted:
                authority = Authority(None, care_of, None, now + MAX_TRUSTED_LIFETIME)
            elif home in self._config.trusted:
                raise Ignored("bu_unprotected", "a Binding Update without IPsec")
            else:
                authority = self._authority(update, received, care_of, deletes, now)
            return self._authorized(update, received, authority, care_of, deletes, now)
        except Refused as refused:
            return self._refuse(update, received, refused, authority, now)

    def _authority(
        self,
        update: BindingUpdate,
        received: Received,
        care_of: IPv6Address,
        deletes: bool,
        now: float,
    ) -> Authority:
        """Return what authorises an update. Raises ``Ignored`` or ``Refused``."""
        indices = find(update.options, NonceIndices)
        if indices is None:
            raise Ignored("bu_no_nonce_indices", "a Binding Update without nonce indices")
        home_nonce = self._nonces.find(indices.home, now)
        care_of_nonce = None if deletes else self._nonces.find(indices.care_of, now)
        if home_nonce is None or (care_of_nonce is None and not deletes):
            raise Refused(_expired(home_nonce, care_of_nonce, deletes), "its nonces are too old")
        home, own = received.source, received.destination
        addresses: tuple[IPv6Address, ...]
        token = home_nonce.home_token(home)
        if care_of_nonce is None:
            # Section 6.2.7 names the home address here, others take the packet's (see 11.7.2).
            key, addresses = binding_key(token), (home, care_of, _wire(received))
            used, until = Used(indices.home, 0, None), home_nonce.until
        else:
            key, addresses = binding_key(token, care_of_nonce.care_of_token(care_of)), (care_of,)
            used = Used(indices.home, indices.care_of, care_of)
            until = min(home_nonce.until, care_of_nonce.until)
        for address in addresses:
            if authorized(received.data, key, address, own):
                break
        else:
            raise Ignored("bu_bad_authenticator", "a Binding Update that nothing authorises")
        deleted = self._deleted.get(home)
        if deleted is not None and now < deleted.until and used == deleted.used and not deletes:
            # Section 9.5.3: what made a binding that was deleted makes no other one.
            raise Refused(BindingAckStatus.EXPIRED_NONCES, "its nonces have been used")
        return Authority(key, address, used, until)

    def _authorized(
        self,
        update: BindingUpdate,
        received: Received,
        authority: Authority,
        care_of: IPv6Address,
        deletes: bool,
        now: float,
    ) -> list[Effect]:
        home = received.source
        if self._is_home_registration(home):
            raise Refused(
                BindingAckStatus.REGISTRATION_TYPE_CHANGE, "it is registered with us as home agent"
            )
        entry = self._entries.get(home)
        last = entry or self._deleted.get(home)
        if last is not None and not sequence_is_newer(update.sequence, last.sequence):
            raise Refused(
                BindingAckStatus.SEQUENCE_OUT_OF_WINDOW,
                f"sequence {update.sequence} after {last.sequence}",
                sequence=last.sequence,
            )
        if len(find_all(update.options, BindingIdentifier)) > 1:
            raise Refused(
                BindingAckStatus.MCOA_BULK_PROHIBITED, "several care-of addresses in one update"
            )
        if deletes:
            return self._delete(entry, update, received, authority, now)
        if not self._serves(home, received.destination):
            raise Refused(BindingAckStatus.ADMINISTRATIVELY_PROHIBITED, f"{home} is not served")
        if entry is None and len(self._entries) >= self._config.bindings_max:
            raise Refused(BindingAckStatus.INSUFFICIENT_RESOURCES, "the cache is full")
        return self._bind(entry, update, received, authority, care_of, now)

    def _bind(
        self,
        before: Entry | None,
        update: BindingUpdate,
        received: Received,
        authority: Authority,
        care_of: IPv6Address,
        now: float,
    ) -> list[Effect]:
        asked = update.lifetime * LIFETIME_UNIT
        most = min(self._config.lifetime, MAX_RR_BINDING_LIFETIME)
        lifetime = min(asked, MAX_TRUSTED_LIFETIME if authority.key is None else most)
        entry = Entry(
            home_address=received.source,
            local=received.destination,
            care_of=care_of,
            sequence=update.sequence,
            lifetime=lifetime,
            expires=now + lifetime,
            registered=before.registered if before else now,
            updated=now,
            used=authority.used,
            replay_until=authority.until,
            packets=-1 if before else 0,
            trusted=authority.key is None,
        )
        deleted = self._deleted.pop(entry.home_address, None)
        for earlier in (before.replay_until if before else 0, deleted.until if deleted else 0):
            entry.replay_until = max(entry.replay_until, earlier)
        self._entries[entry.home_address] = entry
        self._call_at(_refresh_request_at(entry), entry.home_address)
        effects: list[Effect] = [PutBinding(to_kernel(entry, now)), Count("bu_accepted")]
        if before is not None:
            effects.append(MeasureUse(entry.home_address))
        if entry.trusted and (before is None or before.care_of != care_of):
            old = None if before is None else CareOf(before.care_of)
            effects.append(Moved(entry.home_address, old, CareOf(care_of)))
        if update.acknowledge:
            answer = BindingAcknowledgement(
                BindingAckStatus.ACCEPTED, update.sequence, lifetime // LIFETIME_UNIT
            )
            effects.append(_acknowledgement(answer, received, authority))
        if before is None or before.care_of != care_of:
            effects.append(Note("info", f"{entry.home_address}: reached directly at {care_of}"))
        return effects

    def _delete(
        self,
        entry: Entry | None,
        update: BindingUpdate,
        received: Received,
        authority: Authority,
        now: float,
    ) -> list[Effect]:
        effects: list[Effect] = [Count("bu_deleted")]
        if entry is not None:
            entry.sequence = update.sequence
            effects += self._remove(entry, now, "deleted by itself")
        else:
            # An earlier update that is still under way must not come after this one.
            self._remember(received.source, Deleted(update.sequence, None, authority.until), now)
        if update.acknowledge:
            answer = BindingAcknowledgement(BindingAckStatus.ACCEPTED, update.sequence, 0)
            effects.append(_acknowledgement(answer, received, authority))
        return effects

    def _refuse(
        self,
        update: BindingUpdate,
        received: Received,
        refused: Refused,
        authority: Authority | None,
        now: float,
    ) -> list[Effect]:
        status = refused.status
        effects: list[Effect] = [
            Count(f"bu_refused_{int(status)}"),
            Note(
                "info",
                f"{sender(received)}: update refused, status {int(status)} "
                f"({describe(status)}): {refused}",
            ),
        ]
        answer = refusal(update, refused)
        if authority is not None:
            return [*effects, _acknowledgement(answer, received, authority)]
        if not self._refusals.take(now) or not is_routable(_wire(received)):
            return [*effects, Count("refusal_suppressed")]
        return [*effects, _send(answer, received)]

    # --- the cache -------------------------------------------------------------------

    def _serves(self, home_address: IPv6Address | None, local: IPv6Address) -> bool:
        config = self._config
        if config.addresses and local not in config.addresses:
            return False
        return (
            home_address is None
            or not config.home_prefixes
            or any(home_address in prefix for prefix in config.home_prefixes)
        )

    def _remove(self, entry: Entry, now: float, why: str) -> list[Effect]:
        home = entry.home_address
        del self._entries[home]
        if now < entry.replay_until:
            self._remember(home, Deleted(entry.sequence, entry.used, entry.replay_until), now)
        effects: list[Effect] = [DropBinding(home)]
        if entry.trusted:
            effects.append(Moved(home, CareOf(entry.care_of), None, True))
        return [*effects, Note("info", f"{home}: binding removed, {why}")]

    def _remember(self, home: IPv6Address, deleted: Deleted, now: float) -> None:
        if home not in self._deleted and len(self._deleted) >= self._config.bindings_max:
            # Section 5.2.8, the last measure: no update that could be repeated is good any more.
            self._deleted.clear()
            self._nonces = Nonces(self._random)
            return
        self._deleted[home] = deleted
        self._call_at(deleted.until, home)

    def _call_at(self, at: float, home: IPv6Address) -> None:
        """Look at a home address then, or earlier if it is to be looked at earlier anyway."""
        if self._calls.get(home, at + 1) > at:
            self._calls[home] = at
            heapq.heappush(self._timers, (at, home))


def _margin(entry: Entry) -> float:
    return min(REFRESH_REQUEST_BEFORE, entry.lifetime / 4)


def _refresh_request_at(entry: Entry) -> float:
    return entry.expires - _margin(entry)


def _wire(received: Received) -> IPv6Address:
    """Return the source address of the packet that brought a message."""
    care_of = received.care_of
    if care_of is not None and isinstance(care_of.address, IPv6Address):
        return care_of.address
    return received.source


def _care_of(update: BindingUpdate, received: Received) -> IPv6Address:
    alternate = find(update.options, AlternateCareOfAddress)
    return alternate.address if alternate is not None else _wire(received)


def _expired(home: Nonce | None, care_of: Nonce | None, deletes: bool) -> BindingAckStatus:
    if home is not None:
        return BindingAckStatus.EXPIRED_CARE_OF_NONCE
    if deletes or care_of is not None:
        return BindingAckStatus.EXPIRED_HOME_NONCE
    return BindingAckStatus.EXPIRED_NONCES


def _acknowledgement(
    answer: BindingAcknowledgement, received: Received, authority: Authority
) -> SendMessage:
    """Return an answer that its receiver can tell from a stranger's (section 9.5.4)."""
    unauthorised = (
        BindingAckStatus.EXPIRED_HOME_NONCE,
        BindingAckStatus.EXPIRED_CARE_OF_NONCE,
        BindingAckStatus.EXPIRED_NONCES,
    )
    if answer.status in unauthorised or authority.key is None:
        return _send(answer, received)
    return _send(
        authorize(answer, authority.key, authority.address, received.destination), received
    )


def _send(answer: BindingAcknowledgement, received: Received) -> SendMessage:
    return SendMessage(
        answer, received.destination, received.source, received.care_of, received.interface
    )
