# SPDX-License-Identifier: GPL-2.0-only
"""The home agent as delegating router (RFC 6276 section 3, RFC 8415 section 18.3).

Who asks is told by the home address of a Relay-forward, which only a registered
router can use, or on the home link by the DUID. What an identity may have is
decided by ``ownership``; here is only for how long.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, IPv6Network

from ..packet.dhcpv6 import (
    CLIENT_PORT,
    INFINITY,
    SERVER_PORT,
    LeasedPrefix,
    Message,
    MessageType,
    OptionCode,
    PrefixAssociation,
    Relayed,
    Status,
    StatusCode,
    build,
    parse,
)
from ..packet.errors import PacketError
from .delegation import (
    DelegationEffect,
    DelegationError,
    Lease,
    LeasesChanged,
    Place,
    SendDatagram,
)
from .effects import Count, Note
from .ownership import NotOwned, Owner, Ownership

#: This server is the only one that can serve its routers (RFC 8415 section 21.8).
PREFERENCE = 255
_TYPES = frozenset(
    (
        MessageType.SOLICIT,
        MessageType.REQUEST,
        MessageType.RENEW,
        MessageType.REBIND,
        MessageType.RELEASE,
    )
)
#: Messages that name the server, and those that must not (RFC 8415 section 16).
_TO_ONE = frozenset((MessageType.REQUEST, MessageType.RENEW, MessageType.RELEASE))


@dataclass(frozen=True, slots=True)
class DelegatingConfig:
    """``valid`` and ``preferred`` lifetimes in seconds; ``dns`` is told to who asks for it."""

    duid: bytes
    valid: int = 86400
    preferred: int = 43200
    dns: tuple[IPv6Address, ...] = ()


class DelegatingRouter:
    """The engine. ``ownership`` returns the table that holds at the moment.

    ``leases`` are those that were given before a restart; one whose prefix cannot
    be its identity's any more is forgotten.
    """

    def __init__(
        self,
        config: DelegatingConfig,
        ownership: Callable[[], Ownership],
        now: float,
        leases: Iterable[Lease] = (),
    ) -> None:
        self._config = config
        self._ownership = ownership
        self._leases: dict[str, dict[int, Lease]] = {}
        self._by_duid: dict[bytes, str] = {}
        self._ends: list[tuple[float, str, int]] = []
        table = ownership()
        for lease in leases:
            if lease.valid_until > now and table.adopt_prefix(lease.identity, lease.prefix):
                self._keep(lease)

    # --- inputs ------------------------------------------------------------------

    def receive(
        self, data: bytes, source: IPv6Address, destination: IPv6Address, place: Place, now: float
    ) -> list[DelegationEffect]:
        """Handle a datagram that came to the server's port.

        ``place`` has the home address that a registered router's packet came from,
        or the interface of the home link.
        """
        try:
            message = parse(data)
            if place.at_home:
                return self._on_link(message, source, place, now)
            return self._relayed(message, source, destination, place, now)
        except PacketError as error:
            return [Count("pd_malformed"), Note("info", f"DHCPv6 from {source}: {error.reason}")]

    def next_timer(self) -> float | None:
        """Return when ``handle_timer`` wants to be called, None for never."""
        return self._ends[0][0] if self._ends else None

    def handle_timer(self, now: float) -> list[DelegationEffect]:
        """Take back what nobody has renewed."""
        effects: list[DelegationEffect] = []
        while self._ends and self._ends[0][0] <= now:
            _, identity, iaid = heapq.heappop(self._ends)
            lease = self._leases.get(identity, {}).get(iaid)
            # A lease that was renewed has another entry, further on.
            if lease is None or lease.valid_until > now:
                continue
            effects += [
                *self._end(lease),
                Count("pd_expired"),
                Note("info", f"{lease.identity}: the lease of {lease.prefix} ended"),
            ]
        return effects

    def reconfigure(self, config: DelegatingConfig, now: float) -> list[DelegationEffect]:
        """Apply a new configuration; leases that the owners' table still allows stay."""
        self._config = config
        table = self._ownership()
        effects: list[DelegationEffect] = []
        for lease in self.leases():
            if not table.adopt_prefix(lease.identity, lease.prefix):
                effects += self._end(lease)
        return effects

    def leases(self) -> list[Lease]:
        """Return all leases."""
        return [lease for held in self._leases.values() for lease in held.values()]

    def _keep(self, lease: Lease) -> None:
        self._leases.setdefault(lease.identity, {})[lease.iaid] = lease
        if lease.duid:
            self._by_duid[lease.duid] = lease.identity
        if lease.valid_until != float("inf"):
            heapq.heappush(self._ends, (lease.valid_until, lease.identity, lease.iaid))

    # --- who asks ------------------------------------------------------------------

    def _relayed(
        self,
        outer: Message | Relayed,
        source: IPv6Address,
        destination: IPv6Address,
        place: Place,
        now: float,
    ) -> list[DelegationEffect]:
        home = place.home_address
        if not isinstance(outer, Relayed) or outer.type is not MessageType.RELAY_FORWARD:
            return [Count("pd_not_relayed")]
        if outer.link != home or outer.peer != home or source != home:
            return [
                Count("pd_wrong_relay"),
                Note("warning", f"{source} relays for {outer.peer} at {outer.link}, dropped"),
            ]
        owner = self._ownership().find(home)
        message = parse(outer.payload)
        if owner is None or isinstance(message, Relayed):
            # RFC 6276 section 3.1.2: client and relay are in one router.
            return [Count("pd_not_served")]
        answer, effects = self._answer(message, owner, now)
        if answer is None:
            return effects
        back = replace(outer, type=MessageType.RELAY_REPLY, payload=build(answer))
        sent = SendDatagram(build(back), home, SERVER_PORT, destination)
        return [*effects, sent]

    def _on_link(
        self, message: Message | Relayed, source: IPv6Address, place: Place, now: float
    ) -> list[DelegationEffect]:
        if isinstance(message, Relayed):
            return [Count("pd_relayed_at_home")]
        if not source.is_link_local:
            return [Count("pd_not_link_local")]
        owner = self._at_home(message.client or b"")
        answer, effects = self._answer(message, owner, now)
        if answer is None:
            return effects
        sent = SendDatagram(build(answer), source, CLIENT_PORT, None, place.interface)
        return [*effects, sent]

    def _at_home(self, duid: bytes) -> Owner | None:
        """Return whose client that is: by configuration, or as was seen while it was away."""
        table = self._ownership()
        found = table.client(duid)
        if found is None and duid in self._by_duid:
            found = table.named(self._by_duid[duid])
        return found

    # --- what is answered ------------------------------------------------------------

    def _answer(
        self, message: Message, owner: Owner | None, now: float
    ) -> tuple[Message | None, list[DelegationEffect]]:
        kind = message.type
        counted: list[DelegationEffect] = [Count(f"pd_{kind.name.lower()}")]
        if kind not in _TYPES or message.client is None:
            return None, [Count("pd_ignored")]
        if (kind in _TO_ONE) != (message.server is not None):
            return None, [Count("pd_ignored")]
        if message.server not in (None, self._config.duid):
            return None, [Count("pd_other_server")]
        commits = kind is not MessageType.SOLICIT or message.rapid_commit
        answer = Message(
            MessageType.REPLY if commits else MessageType.ADVERTISE,
            message.transaction,
            message.client,
            self._config.duid,
            addresses=message.addresses,
            dns=self._config.dns if OptionCode.DNS_SERVERS in message.requested else (),
            preference=None if commits else PREFERENCE,
            rapid_commit=kind is MessageType.SOLICIT and commits,
        )
        if kind is MessageType.RELEASE:
            status, effects = self._release(message, owner)
            return replace(answer, status=status, addresses=()), counted + effects
        associations: list[PrefixAssociation] = []
        offered: list[IPv6Network] = []
        for asked in message.associations:
            try:
                if owner is None:
                    raise DelegationError(StatusCode.NO_PREFIX, "nobody is known by that DUID")
                found, effects = self._association(message, owner, asked, commits, offered, now)
                counted += effects
            except DelegationError as error:
                counted.append(Count(f"pd_status_{int(error.status.code)}"))
                found = PrefixAssociation(asked.iaid, status=error.status)
            associations.append(found)
        if owner is not None and not commits:
            # An offer binds nobody: it is found again when it is asked for.
            kept = [one.prefix for one in self._leases.get(owner.identity, {}).values()]
            for prefix in offered:
                if prefix not in kept:
                    self._ownership().take_back(owner.identity, prefix)
        return replace(answer, associations=tuple(associations)), counted

    def _association(
        self,
        message: Message,
        owner: Owner,
        asked: PrefixAssociation,
        commits: bool,
        offered: list[IPv6Network],
        now: float,
    ) -> tuple[PrefixAssociation, list[DelegationEffect]]:
        """Answer one IA_PD; a router that got a prefix has its binding changed."""
        leases = self._leases.get(owner.identity, {})
        before = leases.get(asked.iaid)
        named = [one.prefix for one in asked.prefixes if int(one.prefix.network_address)]
        if before is None and message.type is MessageType.RENEW:
            raise DelegationError(StatusCode.NO_BINDING, "no such lease is known")
        prefix = before.prefix if before else None
        if prefix is None:
            held = [one.prefix for one in leases.values()]
            held += [one for one in offered if one not in held]
            prefix = self._choose(owner, held, next(iter(named), None))
            offered.append(prefix)
        config = self._config
        association = PrefixAssociation(
            asked.iaid,
            config.preferred // 2 if config.preferred != INFINITY else INFINITY,
            config.preferred // 5 * 4 if config.preferred != INFINITY else INFINITY,
            (
                LeasedPrefix(prefix, config.preferred, config.valid),
                # RFC 8415 section 18.3.4: what it thinks to have and has not, ends now.
                *(LeasedPrefix(one) for one in named if commits and one != prefix),
            ),
        )
        if not commits:
            return association, []
        lease = Lease(
            owner.identity,
            asked.iaid,
            prefix,
            _end(now, config.preferred),
            _end(now, config.valid),
            message.client or b"",
        )
        self._keep(lease)
        effects: list[DelegationEffect] = [LeasesChanged(owner.identity, before is None)]
        if before is None:
            effects.append(Note("info", f"{owner.identity}: {prefix} is delegated to it"))
        return association, effects

    def _choose(
        self, owner: Owner, held: list[IPv6Network], wanted: IPv6Network | None
    ) -> IPv6Network:
        try:
            return self._ownership().delegate(owner.identity, held, wanted)
        except NotOwned as error:
            raise DelegationError(StatusCode.NO_PREFIX, str(error)) from None

    def _release(
        self, message: Message, owner: Owner | None
    ) -> tuple[Status, list[DelegationEffect]]:
        effects: list[DelegationEffect] = []
        for asked in message.associations:
            leases = {} if owner is None else self._leases.get(owner.identity, {})
            lease = leases.get(asked.iaid)
            if lease is None or lease.prefix not in [one.prefix for one in asked.prefixes]:
                effects.append(Count(f"pd_status_{int(StatusCode.NO_BINDING)}"))
                continue
            effects += self._end(lease)
            effects.append(Note("info", f"{lease.identity}: {lease.prefix} is given back"))
        # RFC 8415 section 18.3.7: Success, whatever was known of them.
        return Status(StatusCode.SUCCESS), effects

    def _end(self, lease: Lease) -> list[DelegationEffect]:
        held = self._leases[lease.identity]
        del held[lease.iaid]
        if not held:
            del self._leases[lease.identity]
        if self._by_duid.get(lease.duid) == lease.identity and not held:
            del self._by_duid[lease.duid]
        self._ownership().take_back(lease.identity, lease.prefix)
        return [LeasesChanged(lease.identity)]


def _end(now: float, lifetime: int) -> float:
    return float("inf") if lifetime == INFINITY else now + lifetime
