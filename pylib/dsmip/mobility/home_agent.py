# SPDX-License-Identifier: GPL-2.0-only
"""The home agent (RFC 6275 section 10, RFC 3963 section 6, RFC 5555 section 4.5)."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from ..packet.careof import CareOf, WireKind
from ..packet.errors import PacketError, ParameterProblem, UnknownMessageType
from ..packet.kernel import PathEvent
from ..packet.mobility import (
    BindingError,
    BindingRefreshRequest,
    BindingUpdate,
    Message,
    OtherMessage,
    parse,
)
from ..packet.options import NonceIndices, find
from ..packet.status import BindingAckStatus, BindingErrorStatus, describe
from . import registration
from .binding_cache import (
    DELETED_FOR,
    Deleted,
    Entry,
    Pending,
    adopt,
    sequence_is_newer,
    to_kernel,
)
from .config import HomeAgentConfig
from .effects import (
    Address,
    Count,
    DetectDuplicate,
    DropBinding,
    Effect,
    KernelBinding,
    Moved,
    Network,
    Note,
    Path,
    Proxy,
    PutBinding,
    Received,
    SendMessage,
    SendParameterProblem,
)
from .ownership import NotOwned, Owner, Ownership
from .registration import RateLimit, Refused

#: A Binding Refresh Request to a source that is not authenticated yet.
REFRESH_REQUEST_INTERVAL = 1.0
#: Duplicate address detection that is never answered counts as unique.
DUPLICATE_TIMEOUT = 4.0
PENDING_MAX = 1024
DELETED_MAX = 100_000


@dataclass(frozen=True, slots=True)
class BindingView:
    """A binding for status documents; times in seconds."""

    home_address: IPv6Address
    home_address4: IPv4Address | None
    identity: str
    care_of: CareOf
    nat: bool
    mobile_router: bool
    prefixes: tuple[Network, ...]
    sequence: int
    lifetime: int
    remaining: float
    registered_for: float
    updated_ago: float


class HomeAgent:
    """The engine. Times are those of the caller's monotonic clock."""

    def __init__(
        self, config: HomeAgentConfig, now: float, adopted: Iterable[KernelBinding] = ()
    ) -> None:
        self._config = config
        self._ownership = Ownership(config.owners, config.pool4)
        self._entries: dict[IPv6Address, Entry] = {}
        self._pending: dict[IPv6Address, Pending] = {}
        self._deleted: dict[IPv6Address, Deleted] = {}
        self._errors = RateLimit(10, 10.0)
        self._timers: list[tuple[float, IPv6Address]] = []
        self._adopted = tuple(adopted)

    # --- inputs ------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Take over the bindings that the kernel holds; drop those that have no owner."""
        effects: list[Effect] = []
        for binding in self._adopted:
            owner = self._ownership.find(binding.home_address)
            entry = adopt(binding, owner, now) if owner else None
            if entry is None or owner is None or not self._still_owned(entry):
                effects.append(DropBinding(binding.home_address))
                effects.append(
                    Note("warning", f"{binding.home_address}: the kernel's binding has no owner")
                )
                continue
            self._entries[binding.home_address] = entry
            self._call_at(entry.expires, binding.home_address)
            if entry.home_address4:
                self._ownership.adopt4(owner, entry.home_address4)
            effects += self._proxies(entry, True)
        if self._entries:
            effects.append(Note("info", f"took over {len(self._entries)} bindings"))
        self._adopted = ()
        return effects

    def receive(self, received: Received, now: float) -> list[Effect]:
        """Handle a mobility message."""
        try:
            message = parse(received.data)
        except ParameterProblem as error:
            return [
                Count(error.counter),
                Note("info", f"{_from(received)}: {error.reason}"),
                SendParameterProblem(received, error.code, error.pointer),
            ]
        except UnknownMessageType as error:
            return [Count(error.counter), *self._unknown_type(received, error.reason, now)]
        except PacketError as error:
            return [Count(error.counter), Note("info", f"{_from(received)}: {error.reason}")]
        if isinstance(message, BindingUpdate):
            return self._binding_update(message, received, now)
        if isinstance(message, OtherMessage):
            reason = f"mobility header type {message.type} is not known"
            return [Count("mh_unknown_type"), *self._unknown_type(received, reason, now)]
        return [Count("mh_not_for_home_agent")]

    def duplicate_checked(self, address: Address, unique: bool, now: float) -> list[Effect]:
        """Take the result of duplicate address detection."""
        if isinstance(address, IPv4Address):
            return []
        pending = self._pending.pop(address, None)
        if pending is None:
            return []
        owner = self._ownership.find(address)
        try:
            if owner is None:
                raise Refused(BindingAckStatus.NOT_HOME_AGENT, "it is not served any more")
            if not unique:
                raise Refused(
                    BindingAckStatus.DUPLICATE_ADDRESS, "another node uses its home address"
                )
            return self._register(owner, pending.update, pending.received, now)
        except Refused as refused:
            return self._refuse(pending.update, pending.received, refused)

    def path_event(
        self, home_address: IPv6Address, event: PathEvent, path: Path | None, now: float
    ) -> list[Effect]:
        """Take an event of the kernel."""
        if event is PathEvent.STRANGER and path is not None:
            return self._stranger(home_address, path, now)
        entry = self._entries.get(home_address)
        if entry is None:
            return []
        if event is PathEvent.NEW_SOURCE and path is not None:
            return self._new_source(entry, path, now)
        if event is PathEvent.EXPIRED:
            return self._remove(entry, now, f"{_name(entry)}: lifetime ended")
        return []

    def next_timer(self) -> float | None:
        """Return when ``handle_timer`` wants to be called, None for never."""
        return self._timers[0][0] if self._timers else None

    def handle_timer(self, now: float) -> list[Effect]:
        """Do what time asks for."""
        effects: list[Effect] = []
        while self._timers and self._timers[0][0] <= now:
            home = heapq.heappop(self._timers)[1]
            entry = self._entries.get(home)
            if entry is not None and entry.expires <= now:
                effects += self._remove(entry, now, f"{_name(entry)}: lifetime ended")
            deleted = self._deleted.get(home)
            if deleted is not None and deleted.until <= now:
                del self._deleted[home]
            pending = self._pending.get(home)
            if pending is not None and pending.since + DUPLICATE_TIMEOUT <= now:
                effects += self.duplicate_checked(home, True, now)
        return effects

    def _call_at(self, at: float, home: IPv6Address) -> None:
        """Look at a home address again then; a refresh leaves earlier calls to find nothing."""
        heapq.heappush(self._timers, (at, home))

    def reconfigure(self, config: HomeAgentConfig, now: float) -> list[Effect]:
        """Apply a new configuration; a binding that it still allows is not touched."""
        ownership = Ownership(config.owners, config.pool4)
        self._config, self._ownership = config, ownership
        effects: list[Effect] = []
        for entry in list(self._entries.values()):
            owner = ownership.find(entry.home_address)
            if owner is not None and owner.identity == entry.owner.identity:
                entry.owner = owner
                if entry.home_address4:
                    ownership.adopt4(owner, entry.home_address4)
                if self._still_owned(entry):
                    continue
            effects += self._remove(entry, now, f"{_name(entry)}: not allowed any more")
        return effects

    def bindings(self, now: float) -> list[BindingView]:
        """Return all bindings, by home address."""
        return [
            BindingView(
                home_address=entry.home_address,
                home_address4=entry.home_address4,
                identity=entry.owner.identity,
                care_of=entry.care_of,
                nat=entry.nat,
                mobile_router=entry.mobile_router,
                prefixes=entry.prefixes,
                sequence=entry.sequence,
                lifetime=entry.lifetime,
                remaining=max(entry.expires - now, 0.0),
                registered_for=now - entry.registered,
                updated_ago=now - entry.updated,
            )
            for _, entry in sorted(self._entries.items())
        ]

    # --- binding updates -----------------------------------------------------------

    def _binding_update(
        self, update: BindingUpdate, received: Received, now: float
    ) -> list[Effect]:
        if not received.protected:
            # RFC 6275 section 5.1: without its SA it says nothing.
            return [
                Count("bu_unprotected"),
                Note("warning", f"{_from(received)}: Binding Update without IPsec, dropped"),
            ]
        if received.destination not in self._config.addresses6:
            return [Count("bu_not_for_us")]
        if not update.home and not update.mobile_router:
            return [Count("bu_not_home_registration")]
        if find(update.options, NonceIndices) is not None:
            return [Count("bu_nonce_indices"), Note("info", f"{_from(received)}: nonces with H")]
        try:
            return self._home_registration(update, received, now)
        except Refused as refused:
            return self._refuse(update, received, refused)
        except NotOwned as refused:
            return self._refuse(update, received, Refused(refused.status, str(refused)))

    def _home_registration(
        self, update: BindingUpdate, received: Received, now: float
    ) -> list[Effect]:
        home = received.source
        if not registration.is_routable(home):
            return [Count("bu_bad_home_address")]
        owner = self._ownership.find(home)
        if owner is None:
            if any(home in prefix for prefix in self._config.prefixes):
                raise Refused(BindingAckStatus.NOT_HOME_AGENT, f"{home} is nobody's here")
            raise Refused(BindingAckStatus.NOT_HOME_SUBNET, f"{home} is in no home prefix")
        if update.proxy:
            raise Refused(
                BindingAckStatus.PROXY_REGISTRATION_NOT_ENABLED, "it asks for proxy mobility"
            )
        pending = self._pending.get(home)
        if pending is not None and not sequence_is_newer(update.sequence, pending.update.sequence):
            return [Count("bu_duplicate")]
        entry = self._entries.get(home)
        last = entry or self._deleted.get(home)
        if last is not None and not sequence_is_newer(update.sequence, last.sequence):
            raise Refused(
                BindingAckStatus.SEQUENCE_OUT_OF_WINDOW,
                f"sequence {update.sequence} after {last.sequence}",
                sequence=last.sequence,
            )
        if update.lifetime == 0 or registration.is_home(update, received):
            return self._deregister(entry, update, received, now)
        if update.mobile_router and not (update.home and owner.mobile_router):
            raise Refused(BindingAckStatus.MOBILE_ROUTER_NOT_PERMITTED, "it may not be a router")
        if entry is not None and entry.mobile_router != update.mobile_router:
            raise Refused(BindingAckStatus.REGISTRATION_TYPE_CHANGE, "its R flag changed")
        if entry is None:
            if len(self._entries) + len(self._pending) >= self._config.bindings_max:
                raise Refused(BindingAckStatus.INSUFFICIENT_RESOURCES, "the cache is full")
            if self._config.home_link and len(self._pending) < PENDING_MAX:
                # Refuse what can be refused before anybody waits for it.
                registration.judge(self._config, self._ownership, owner, update, received)
                self._pending[home] = Pending(update, received, now)
                self._call_at(now + DUPLICATE_TIMEOUT, home)
                return [] if pending else [DetectDuplicate(home)]
        return self._register(owner, update, received, now)

    def _register(
        self, owner: Owner, update: BindingUpdate, received: Received, now: float
    ) -> list[Effect]:
        try:
            terms = registration.judge(self._config, self._ownership, owner, update, received)
        except NotOwned as refused:
            raise Refused(refused.status, str(refused)) from None
        before = self._entries.get(owner.home_address)
        entry = Entry(
            owner=owner,
            local6=received.destination,
            care_of=terms.care_of,
            reach=terms.reach,
            sequence=update.sequence,
            lifetime=terms.lifetime,
            expires=now + terms.lifetime,
            registered=before.registered if before else now,
            updated=now,
            mobile_router=update.mobile_router,
            force_udp=terms.force_udp,
            nat=terms.nat,
            claimed4=terms.claimed4,
            home_address4=terms.home_address4,
            prefixes=terms.prefixes,
        )
        self._entries[owner.home_address] = entry
        self._call_at(entry.expires, owner.home_address)
        self._deleted.pop(owner.home_address, None)
        effects: list[Effect] = [
            PutBinding(to_kernel(entry, self._config.address4, now)),
            SendMessage(
                registration.acknowledge(update, terms, self._config),
                received.destination,
                received.source,
                received.care_of,
                received.interface,
            ),
            Count("bu_accepted"),
        ]
        if before is None or before.home_address4 != entry.home_address4:
            effects += self._proxies(before, False) if before else []
            effects += self._proxies(entry, True)
        if before is None or before.care_of != entry.care_of:
            effects.append(
                Moved(entry.home_address, before.care_of if before else None, entry.care_of)
            )
            effects.append(Note("info", _moved(before, entry)))
        return effects

    def _deregister(
        self, entry: Entry | None, update: BindingUpdate, received: Received, now: float
    ) -> list[Effect]:
        if entry is None:
            raise Refused(BindingAckStatus.NOT_HOME_AGENT, "there is no binding to remove")
        entry.sequence = update.sequence
        answer = SendMessage(
            registration.acknowledge_removal(update, entry.home_address4),
            received.destination,
            received.source,
            received.care_of,
            received.interface,
        )
        removed = self._remove(entry, now, f"{_name(entry)}: de-registered")
        return [*removed, answer, Count("bu_deregistered")]

    def _refuse(self, update: BindingUpdate, received: Received, refused: Refused) -> list[Effect]:
        return [
            Count(f"bu_refused_{int(refused.status)}"),
            Note(
                "warning",
                f"{_from(received)}: update refused, status {int(refused.status)} "
                f"({describe(refused.status, force_udp=update.force_udp)}): {refused}",
            ),
            SendMessage(
                registration.refusal(update, refused),
                received.destination,
                received.source,
                received.care_of,
                received.interface,
            ),
        ]

    def _remove(self, entry: Entry, now: float, why: str) -> list[Effect]:
        del self._entries[entry.home_address]
        if len(self._deleted) < DELETED_MAX:
            self._deleted[entry.home_address] = Deleted(entry.sequence, now + DELETED_FOR)
            self._call_at(now + DELETED_FOR, entry.home_address)
        return [
            *self._proxies(entry, False),
            DropBinding(entry.home_address),
            Moved(entry.home_address, entry.care_of, None),
            Note("info", why),
        ]

    # --- the rest --------------------------------------------------------------------

    def _new_source(self, entry: Entry, path: Path, now: float) -> list[Effect]:
        """Ask a source that nobody has vouched for to register (RFC 6275 section 9.5.5).

        Only who holds the router's keys can read the request and answer it.
        """
        if path.kind is not WireKind.UDP4 or entry.reach.kind is not WireKind.UDP4:
            return [Count("new_source_ignored")]
        if now - entry.refresh_requested < REFRESH_REQUEST_INTERVAL:
            return []
        entry.refresh_requested = now
        source = CareOf(path.remote, path.kind, path.remote_port)
        return [
            Count("new_source"),
            Note("info", f"{_name(entry)}: data comes from {_text(source)}, asking for an update"),
            SendMessage(BindingRefreshRequest(), entry.local6, entry.home_address, source),
        ]

    def _stranger(self, home_address: IPv6Address, path: Path, now: float) -> list[Effect]:
        effects: list[Effect] = [Count("home_address_without_binding")]
        source, local = path.remote, path.local
        if isinstance(source, IPv6Address) and isinstance(local, IPv6Address):
            error = BindingError(BindingErrorStatus.UNKNOWN_BINDING, home_address)
            effects += self._binding_error(error, local, source, now)
        return effects

    def _unknown_type(self, received: Received, reason: str, now: float) -> list[Effect]:
        care_of = received.care_of
        wire, home = received.source, IPv6Address(0)
        answer_by: CareOf | None = None
        if care_of is not None and isinstance(care_of.address, IPv6Address):
            wire, home = care_of.address, received.source
        elif care_of is not None:
            answer_by = care_of
        error = BindingError(BindingErrorStatus.UNKNOWN_TYPE, home)
        return [
            Note("info", f"{_from(received)}: {reason}"),
            *self._binding_error(error, received.destination, wire, now, answer_by),
        ]

    def _binding_error(
        self,
        error: Message,
        source: IPv6Address,
        destination: IPv6Address,
        now: float,
        care_of: CareOf | None = None,
    ) -> list[Effect]:
        if not registration.is_routable(destination) or not self._errors.take(now):
            return [Count("binding_error_suppressed")]
        return [SendMessage(error, source, destination, care_of)]

    def _proxies(self, entry: Entry, on: bool) -> list[Effect]:
        if not self._config.home_link:
            return []
        addresses: list[Address] = []
        if any(entry.home_address in prefix for prefix in self._config.prefixes):
            addresses.append(entry.home_address)
        if entry.home_address4 and any(
            entry.home_address4 in prefix for prefix in self._config.prefixes4
        ):
            addresses.append(entry.home_address4)
        return [Proxy(address, on, entry.mobile_router) for address in addresses]

    def _still_owned(self, entry: Entry) -> bool:
        try:
            if entry.prefixes:
                self._ownership.prefixes(entry.owner, entry.prefixes)
        except NotOwned:
            return False
        return entry.care_of.kind is WireKind.IP6 or self._config.address4 is not None


def _text(care_of: CareOf) -> str:
    return f"{care_of.address}:{care_of.port}" if care_of.port else str(care_of.address)


def _name(entry: Entry) -> str:
    return f"{entry.owner.identity} ({entry.home_address})"


def _from(received: Received) -> str:
    if received.care_of is None:
        return str(received.source)
    return f"{received.source} at {_text(received.care_of)}"


def _moved(before: Entry | None, entry: Entry) -> str:
    where = f"{_text(entry.care_of)} by {entry.care_of.kind.name.lower()}"
    nat = ", behind a NAT" if entry.nat else ""
    if before is None:
        return f"{_name(entry)}: registered from {where}{nat}"
    return f"{_name(entry)}: moved from {_text(before.care_of)} to {where}{nat}"
