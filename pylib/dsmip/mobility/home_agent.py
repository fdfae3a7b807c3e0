# SPDX-License-Identifier: GPL-2.0-only
"""The home agent (RFC 6275 section 10, RFC 3963 section 6, RFC 5555 section 4.5)."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from ..packet.careof import CareOf, WireKind
from ..packet.kernel import PathEvent
from ..packet.mobility import (
    BindingAcknowledgement,
    BindingRefreshRequest,
    BindingRevocationAcknowledgement,
    BindingRevocationIndication,
    BindingUpdate,
    Heartbeat,
)
from ..packet.options import (
    BindingIdentifier,
    NonceIndices,
    ServiceSelection,
    find,
    find_all,
)
from ..packet.status import BindingAckStatus, describe
from . import agent_home, identifiers, registration
from .agent_paths import AgentPaths, ask_for_flows, flows_changed, paths_changed, rules_of
from .binding_cache import (
    DELETED_FOR,
    BoundPath,
    Deleted,
    Entry,
    Pending,
    adopt,
    link_local,
    sequence_is_newer,
    to_kernel,
)
from .config import HomeAgentConfig
from .effects import (
    Address,
    AtHome,
    Count,
    DetectDuplicate,
    DropBinding,
    Effect,
    KernelBinding,
    Moved,
    Network,
    Note,
    Path,
    PutBinding,
    Received,
    SendMessage,
)
from .home_link import defend
from .home_prefix import holder, limited, shortened
from .nesting import leads_back
from .orders import Orders
from .ownership import NotOwned, Owner, Ownership
from .registration import Refused
from .strangers import Strangers, sender, shown

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
    paths: tuple[BoundPath, ...] = ()
    at_home: bool = False

    @property
    def ends(self) -> float:
        """When the last of its paths ends, by the engine's clock."""
        return max((path.expires for path in self.paths), default=0.0)

    order: str = ""


class HomeAgent(AgentPaths):
    """The engine. Times are those of the caller's monotonic clock.

    ``leases`` are home addresses that identities were given before a restart.
    ``orders`` takes what an operator wants mobile nodes to do.
    """

    def __init__(
        self,
        config: HomeAgentConfig,
        now: float,
        adopted: Iterable[KernelBinding] = (),
        leases: Mapping[str, IPv6Address] | None = None,
    ) -> None:
        self._config = config
        self._ownership = ownership_of(config, leases or {})
        self._entries: dict[IPv6Address, Entry] = {}
        self._pending: dict[IPv6Address, Pending] = {}
        self._deleted: dict[IPv6Address, Deleted] = {}
        self._strangers = Strangers()
        self._timers: list[tuple[float, IPv6Address]] = []
        self._adopted = tuple(adopted)
        self.orders = Orders(self)

    # --- inputs ------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Take over the bindings that the kernel holds; drop those that have no owner."""
        config = self._config
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
            for path in entry.paths.values():
                self._call_at(path.expires, binding.home_address)
            if entry.home is not None:
                self._call_at(entry.home.expires, binding.home_address)
            if entry.home_address4:
                self._ownership.adopt4(owner, entry.home_address4)
            effects += agent_home.changed(config, None, entry)
            effects += defend(config, None, entry)
            effects += agent_home.moved(None, entry, keys_follow=True)
            if entry.flows_forgotten:
                effects.append(ask_for_flows(entry))
        if self._entries:
            effects.append(Note("info", f"took over {len(self._entries)} bindings"))
        self._adopted = ()
        return effects

    def receive(self, received: Received, now: float) -> list[Effect]:
        """Handle a mobility message."""
        message = self._strangers.read(received, now)
        if isinstance(message, list):
            return message
        if isinstance(message, BindingUpdate):
            return self._binding_update(message, received, now)
        if isinstance(message, Heartbeat):
            return self._heartbeat(message, received)
        if isinstance(message, BindingRevocationAcknowledgement | BindingRevocationIndication):
            return self.orders.receive(message, received, now)
        return [Count("mh_not_for_home_agent")]

    def duplicate_checked(self, address: Address, unique: bool, now: float) -> list[Effect]:
        """Take the result of duplicate address detection."""
        if isinstance(address, IPv4Address):
            return []
        home = next((h for h in self._pending if address in (h, link_local(h))), None)
        if home is None:
            return []
        pending = self._pending[home]
        pending.unchecked.discard(address)
        if unique and pending.unchecked:
            return []
        del self._pending[home]
        owner = self._ownership.find(home)
        try:
            if owner is None:
                raise Refused(BindingAckStatus.NOT_HOME_AGENT, "it is not served any more")
            if not unique:
                raise Refused(BindingAckStatus.DUPLICATE_ADDRESS, f"another node uses {address}")
            return self._register(owner, pending.update, pending.received, now)
        except Refused as refused:
            return self._refuse(pending.update, pending.received, refused)

    def path_event(
        self, home_address: IPv6Address, event: PathEvent, path: Path | None, now: float
    ) -> list[Effect]:
        """Take an event of the kernel."""
        if event is PathEvent.STRANGER and path is not None:
            return self._strangers.home_address(home_address, path, now)
        entry = self._entries.get(home_address)
        if entry is None:
            return []
        if event is PathEvent.NEW_SOURCE and path is not None:
            return self._new_source(entry, path, now)
        if event is PathEvent.EXPIRED:
            return self._remove(entry, now, f"{entry.name}: lifetime ended")
        return []

    def next_timer(self) -> float | None:
        """Return when ``handle_timer`` wants to be called, None for never."""
        times = (self._timers[0][0] if self._timers else None, self.orders.next_timer())
        return min((at for at in times if at is not None), default=None)

    def handle_timer(self, now: float) -> list[Effect]:
        """Do what time asks for."""
        effects: list[Effect] = []
        while self._timers and self._timers[0][0] <= now:
            home = heapq.heappop(self._timers)[1]
            entry = self._entries.get(home)
            if entry is not None and any(way.expires <= now for way in entry.ways()):
                effects += self._expire(entry, now)
            deleted = self._deleted.get(home)
            if deleted is not None and deleted.until <= now:
                del self._deleted[home]
            pending = self._pending.get(home)
            if pending is not None and pending.since + DUPLICATE_TIMEOUT <= now:
                pending.unchecked = {home}
                effects += self.duplicate_checked(home, True, now)
        return effects + self.orders.handle_timer(now)

    def _call_at(self, at: float, home: IPv6Address) -> None:
        """Look at a home address again then; a refresh leaves earlier calls to find nothing."""
        heapq.heappush(self._timers, (at, home))

    def reconfigure(self, config: HomeAgentConfig, now: float) -> list[Effect]:
        """Apply a new configuration; a binding that it still allows is not touched."""
        ownership = ownership_of(config, self._ownership.leases())
        for identity, prefix in self._ownership.delegated():
            ownership.adopt_prefix(identity, prefix)
        for identity, networks in self._ownership.learned().items():
            ownership.learn(identity, networks)
        self._config, self._ownership = config, ownership
        effects: list[Effect] = []
        for entry in list(self._entries.values()):
            owner = ownership.find(entry.home_address)
            if owner is not None and owner.identity == entry.owner.identity:
                entry.owner = owner
                if entry.home_address4:
                    ownership.adopt4(owner, entry.home_address4)
                if self._still_owned(entry):
                    effects += self._end_with_prefix(entry, now)
                    continue
            effects += self._remove(entry, now, f"{entry.name}: not allowed any more")
        return effects

    def prefixes_changed(self, identity: str, now: float) -> list[Effect]:
        """Bind what was delegated to an identity, and no more what was (RFC 6276 section 3.1)."""
        owner = self._ownership.named(identity)
        entry = None if owner is None else self._entries.get(owner.home_address)
        if owner is None or entry is None or not entry.mobile_router:
            return []
        prefixes = registration.delegated(self._ownership, owner, entry.prefixes)
        if prefixes == entry.prefixes:
            return []
        before = rules_of(entry)
        entry.prefixes = prefixes
        return [
            PutBinding(to_kernel(entry, self._config.address4, now)),
            *flows_changed(before, entry, entry),
            Count("pd_bound"),
        ]

    def holds(self, home_address: IPv6Address) -> bool:
        """Tell whether a home address is registered."""
        return home_address in self._entries

    @property
    def ownership(self) -> Ownership:
        """Who owns what; a reconfiguration makes another one."""
        return self._ownership

    def registered(self) -> list[IPv6Address]:
        """Return the home addresses that have a binding, in their order."""
        return sorted(self._entries, key=int)

    def bindings(
        self, now: float, wanted: Iterable[IPv6Address] | None = None
    ) -> list[BindingView]:
        """Return all bindings by home address, or those of the home addresses ``wanted``."""
        addresses = self.registered() if wanted is None else wanted
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
                paths=tuple(entry.ordered()),
                at_home=entry.at_home,
                order=self.orders.pending(entry.home_address),
            )
            for entry in map(self._entries.get, addresses)
            if entry is not None
        ]

    # --- binding updates -----------------------------------------------------------

    def _binding_update(
        self, update: BindingUpdate, received: Received, now: float
    ) -> list[Effect]:
        if not received.protected:
            # RFC 6275 section 5.1: without its SA it says nothing.
            return [
                Count("bu_unprotected"),
                Note("warning", f"{sender(received)}: Binding Update without IPsec, dropped"),
            ]
        if received.destination not in self._config.addresses6:
            return [Count("bu_not_for_us")]
        if received.care_of is not None and not registration.is_unicast(received.care_of.address):
            # RFC 6275 section 9.5.4: there is nobody to answer.
            return [Count("bu_bad_source")]
        if not update.home and not update.mobile_router:
            return [Count("bu_not_home_registration")]
        if find(update.options, NonceIndices) is not None:
            return [Count("bu_nonce_indices"), Note("info", f"{sender(received)}: nonces with H")]
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
        wanted = identifiers.identifiers(update)
        if wanted and update.lifetime == 0:
            return self._deregister_some(entry, wanted, update, received, now)
        if not wanted and (update.lifetime == 0 or registration.is_home(update, received)):
            return self._deregister(entry, update, received, now)
        unwelcome = self.orders.refuses(home, update)
        if unwelcome:
            raise Refused(BindingAckStatus.ADMINISTRATIVELY_PROHIBITED, unwelcome)
        if wanted:
            identifiers.check_permission(self._config, update, wanted)
            if entry is not None and not entry.several and not update.overwrite:
                raise Refused(
                    BindingAckStatus.MCOA_NON_MCOA_BINDING_EXISTS, "its binding has no BID"
                )
        selected = find(update.options, ServiceSelection)
        if selected is not None and owner.services is not None:
            try:
                registration.check_service(owner, selected.identifier)
            except Refused as refused:
                # RFC 5149 section 4.2: with it goes what was bound for another service.
                why = f"it selects {selected.identifier[:64]!r}"
                gone = [] if entry is None else self._remove(entry, now, f"{entry.name}: {why}")
                return [*gone, *self._refuse(update, received, refused)]
        if update.mobile_router and not (update.home and owner.mobile_router):
            raise Refused(BindingAckStatus.MOBILE_ROUTER_NOT_PERMITTED, "it may not be a router")
        if entry is not None and entry.mobile_router != update.mobile_router:
            raise Refused(BindingAckStatus.REGISTRATION_TYPE_CHANGE, "its R flag changed")
        if entry is None:
            if len(self._entries) + len(self._pending) >= self._config.bindings_max:
                raise Refused(BindingAckStatus.INSUFFICIENT_RESOURCES, "the cache is full")
            look = self._config.home_link and not agent_home.free_to_register(self._config, update)
            if look and len(self._pending) < PENDING_MAX:
                # Refuse what can be refused before anybody waits for it.
                if not wanted:
                    registration.judge(self._config, self._ownership, owner, update, received)
                addresses = [home, link_local(home)] if update.link_local else [home]
                unchecked = set(addresses) if pending is None else pending.unchecked
                self._pending[home] = Pending(update, received, now, unchecked)
                self._call_at(now + DUPLICATE_TIMEOUT, home)
                return [] if pending else [DetectDuplicate(address) for address in addresses]
            self._pending.pop(home, None)
        return self._register(owner, update, received, now)

    def _register(
        self, owner: Owner, update: BindingUpdate, received: Received, now: float
    ) -> list[Effect]:
        before = self._entries.get(owner.home_address)
        try:
            if find(update.options, BindingIdentifier) is not None:
                return self._register_some(owner, update, received, now)
            config = limited(self._config, owner.home_address, now)
            terms = registration.judge(config, self._ownership, owner, update, received)
        except NotOwned as refused:
            raise Refused(refused.status, str(refused)) from None
        path = BoundPath(
            0,
            terms.care_of,
            terms.reach,
            terms.lifetime,
            now + terms.lifetime,
            0,
            terms.nat,
            terms.force_udp,
            terms.claimed4,
        )
        networks = registration.NetworkTerms(terms.prefixes, terms.home_address4, ())
        entry = self._entry(owner, update, received, {0: path}, networks, now)
        answer = registration.acknowledge(update, terms, config)
        return self._bound(before, entry, answer, update, received, now)

    def _bound(
        self,
        before: Entry | None,
        entry: Entry,
        answer: BindingAcknowledgement,
        update: BindingUpdate,
        received: Received,
        now: float,
    ) -> list[Effect]:
        entry, others = holder(self._config, self._entries, entry, now)
        effects: list[Effect] = [e for other in others for e in self.change(other, now)]
        home = entry.home_address
        for path in entry.paths.values():
            address = path.care_of.address
            if leads_back(self._entries, self._ownership, home, address):
                text = f"the way to {address} leads through its own network"
                raise Refused(BindingAckStatus.INVALID_CARE_OF_ADDRESS, text)
        self._entries[home] = entry
        for way in entry.ways():
            self._call_at(way.expires, home)
        self._deleted.pop(home, None)
        self.orders.forget(home)
        place = agent_home.changed(self._config, before, entry)
        followed = agent_home.moved(before, entry, update.key_management)
        leaves = agent_home.leaves(before, entry)
        if leaves:
            effects += followed
        if entry.at_home:
            # Its answer may be the first that goes there.
            effects += [*defend(self._config, before, entry), *place]
        else:
            effects += place
        effects += [
            PutBinding(to_kernel(entry, self._config.address4, now)),
            *flows_changed(rules_of(before), entry, entry),
            SendMessage(
                answer,
                received.destination,
                received.source,
                received.care_of,
                received.interface,
            ),
            Count("bu_accepted"),
        ]
        if not entry.at_home:
            effects += defend(self._config, before, entry)
        if not leaves:
            effects += followed
        if followed:
            effects.append(Note("info", _moved(before, entry)))
        if before is not None:
            effects += paths_changed(before, entry)
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
        home = registration.is_home(update, received)
        removed = self._remove(entry, now, f"{entry.name}: de-registered", home)
        return [*removed, answer, Count("bu_deregistered")]

    def _refuse(self, update: BindingUpdate, received: Received, refused: Refused) -> list[Effect]:
        answer = registration.refusal(update, refused)
        wanted = find_all(update.options, BindingIdentifier)
        if wanted and answer.status != BindingAckStatus.MCOA_PROHIBITED:
            answer = identifiers.with_options(answer, wanted)
        # Its binding leads elsewhere: the answer must not (RFC 6275 section 10.3.2).
        on_link = received.care_of is None and received.source in self._entries
        return [
            Count(f"bu_refused_{int(refused.status)}"),
            Note(
                "warning",
                f"{sender(received)}: update refused, status {int(refused.status)} "
                f"({describe(refused.status, force_udp=update.force_udp)}): {refused}",
            ),
            SendMessage(
                answer,
                received.destination,
                received.source,
                received.care_of,
                received.interface,
                on_link,
            ),
        ]

    def _remove(self, entry: Entry, now: float, why: str, at_home: bool = False) -> list[Effect]:
        del self._entries[entry.home_address]
        self.orders.forget(entry.home_address)
        if len(self._deleted) < DELETED_MAX:
            self._deleted[entry.home_address] = Deleted(entry.sequence, now + DELETED_FOR)
            self._call_at(now + DELETED_FOR, entry.home_address)
        gone: list[Effect] = []
        if entry.at_home:
            gone = [AtHome(entry.home_address, entry.home_address4, False)]
        return [
            *gone,
            *defend(self._config, entry, None),
            DropBinding(entry.home_address),
            *flows_changed(rules_of(entry), entry, None),
            Moved(entry.home_address, None if entry.at_home else entry.care_of, None, at_home),
            Note("info", why),
        ]

    def _end_with_prefix(self, entry: Entry, now: float) -> list[Effect]:
        shorter = shortened(self._config, entry, now)
        if shorter is None:
            return []
        self._call_at(shorter.expires, entry.home_address)
        return self.change(shorter, now)

    @property
    def entries(self) -> Mapping[IPv6Address, Entry]:
        """The binding cache, by home address."""
        return self._entries

    def end(self, entry: Entry, now: float, why: str) -> list[Effect]:
        """Remove a binding with all that belongs to it."""
        return self._remove(entry, now, why)

    def change(self, entry: Entry, now: float) -> list[Effect]:
        """Put another version of a binding in its place."""
        before = self._entries[entry.home_address]
        self._entries[entry.home_address] = entry
        followed = agent_home.moved(before, entry, keys_follow=True)
        effects = [
            *agent_home.changed(self._config, before, entry),
            PutBinding(to_kernel(entry, self._config.address4, now)),
            *flows_changed(rules_of(before), before, entry),
            *defend(self._config, before, entry),
        ]
        return [*followed, *effects] if agent_home.leaves(before, entry) else [*effects, *followed]

    # --- the rest --------------------------------------------------------------------

    def _new_source(self, entry: Entry, path: Path, now: float) -> list[Effect]:
        """Ask a source that nobody has vouched for to register (RFC 6275 section 9.5.5).

        Only who holds the router's keys can read the request and answer it.
        """
        in_udp = any(bound.reach.kind is WireKind.UDP4 for bound in entry.paths.values())
        if path.kind is not WireKind.UDP4 or not in_udp:
            return [Count("new_source_ignored")]
        if now - entry.refresh_requested < REFRESH_REQUEST_INTERVAL:
            return []
        entry.refresh_requested = now
        source = CareOf(path.remote, path.kind, path.remote_port)
        return [
            Count("new_source"),
            Note("info", f"{entry.name}: data comes from {shown(source)}, asking for an update"),
            SendMessage(BindingRefreshRequest(), entry.local6, entry.home_address, source),
        ]

    def _still_owned(self, entry: Entry) -> bool:
        try:
            if entry.prefixes:
                self._ownership.prefixes(entry.owner, entry.prefixes)
        except NotOwned:
            return False
        return (
            all(path.care_of.kind is WireKind.IP6 for path in entry.paths.values())
            or self._config.address4 is not None
        )


def ownership_of(config: HomeAgentConfig, leases: Mapping[str, IPv6Address]) -> Ownership:
    """Return who owns what, with the home addresses that were given before."""
    made = Ownership(
        config.owners,
        config.pool4,
        config.pool6,
        config.addresses6,
        config.prefix_pool,
        config.delegated_length,
    )
    made.renumber([life.prefix for life in config.lives])
    for identity, address in leases.items():
        made.adopt(identity, address)
    return made


def _moved(before: Entry | None, entry: Entry) -> str:
    if entry.at_home:
        return f"{entry.name}: at home, with {len(entry.paths)} care-of addresses besides"
    where = f"{shown(entry.care_of)} by {entry.care_of.kind.name.lower()}"
    nat = ", behind a NAT" if entry.nat else ""
    if before is None:
        return f"{entry.name}: registered from {where}{nat}"
    return f"{entry.name}: moved from {shown(before.care_of)} to {where}{nat}"
