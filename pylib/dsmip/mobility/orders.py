# SPDX-License-Identifier: GPL-2.0-only
"""What a home agent tells a mobile node to do: end its binding, or go elsewhere.

Binding revocation (RFC 5846 section 7) and home agent switch (RFC 5142 section
5). Both go by the security association of Binding Acknowledgements.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from ..packet.mobility import (
    BindingRevocationAcknowledgement,
    BindingRevocationIndication,
    BindingUpdate,
    HomeAgentSwitch,
    Message,
)
from ..packet.options import BindingIdentifier, BindingRefreshAdvice, IPv4HomeAddress, Option
from ..packet.status import RevocationStatus, RevocationTrigger
from .binding_cache import Entry
from .effects import Count, Effect, Note, Received, SendMessage
from .registration import LIFETIME_UNIT, is_routable

#: BRIMaxRetriesNumber, InitMINDelayBRIs and MAX_BRACK_TIMEOUT (RFC 5846 section 11).
REVOCATION_RETRIES = 1
REVOCATION_TIMEOUT, REVOCATION_TIMEOUT_MOST = 1.0, 2.0
#: RFC 5142 section 8; at most one such message a second leaves a home agent.
SWITCH_TIMEOUT, SWITCH_TIMEOUT_MOST = 5.0, 20.0
SWITCH_INTERVAL = 1.0
#: What a message of 1280 octets has room for, and more than any home link has.
SWITCH_ADDRESSES_MAX = 32
#: Triggers that a home agent may give for one mobile node's own binding.
TRIGGERS = (
    RevocationTrigger.UNSPECIFIED,
    RevocationTrigger.ADMINISTRATIVE,
    RevocationTrigger.USER_INITIATED,
    RevocationTrigger.ACCESS_NETWORK_TERMINATION,
    RevocationTrigger.OUT_OF_SYNC,
)


class BadOrder(ValueError):
    """An operator asks for what cannot be; the text says what can."""


@dataclass(slots=True)
class Revocation:
    """A Binding Revocation Indication that waits for its acknowledgement."""

    sequence: int
    trigger: RevocationTrigger
    ipv4_only: bool
    bids: tuple[int, ...]
    at: float
    timeout: float
    sent: int = 0


@dataclass(slots=True)
class Switch:
    """A Home Agent Switch that waits for the binding's end."""

    addresses: tuple[IPv6Address, ...]
    until: float | None
    at: float
    timeout: float
    sent: int = 0


class Bindings(Protocol):
    """The home agent's side of it: its binding cache."""

    @property
    def entries(self) -> Mapping[IPv6Address, Entry]:
        """The binding cache, by home address."""

    def end(self, entry: Entry, now: float, why: str) -> list[Effect]:
        """Remove a binding with all that belongs to it."""

    def change(self, entry: Entry, now: float) -> list[Effect]:
        """Put another version of a binding in its place."""


class Orders:
    """The orders under way, by home address."""

    def __init__(self, bindings: Bindings, sequence: int | None = None) -> None:
        first = random.SystemRandom().randrange(0x10000) if sequence is None else sequence
        self._bindings = bindings
        self._sequence = first
        self._revocations: dict[IPv6Address, Revocation] = {}
        self._switches: dict[IPv6Address, Switch] = {}
        self._switched_at = float("-inf")

    def find(self, who: str) -> Entry:
        """Return the binding of an identity, or of a home address. Raises ``BadOrder``."""
        for home, entry in self._bindings.entries.items():
            if who in (entry.owner.identity, str(home)):
                return entry
        raise BadOrder(f"{who} has no binding here")

    def revoke(
        self,
        entry: Entry,
        trigger: RevocationTrigger,
        now: float,
        ipv4_only: bool = False,
        bids: Iterable[int] = (),
    ) -> list[Effect]:
        """Revoke a binding, or only its IPv4 home address, or only some of its care-of addresses.

        Raises ``BadOrder``.
        """
        if trigger not in TRIGGERS:
            raise BadOrder(f"trigger {int(trigger)} is none for a mobile node's own binding")
        if ipv4_only and entry.home_address4 is None:
            raise BadOrder(f"{entry.owner.identity} has no IPv4 home address bound")
        chosen = tuple(sorted(set(bids)))
        for bid in chosen:
            if bid not in entry.paths or not bid:
                raise BadOrder(f"{entry.owner.identity} has no care-of address with BID {bid}")
        if chosen and ipv4_only:
            raise BadOrder("the IPv4 home address or care-of addresses, not both at once")
        self._sequence = (self._sequence + 1) & 0xFFFF
        order = Revocation(self._sequence, trigger, ipv4_only, chosen, now, REVOCATION_TIMEOUT)
        self._revocations[entry.home_address] = order
        what = "the IPv4 home address" if ipv4_only else "the binding"
        if chosen:
            what = f"BID {', '.join(str(bid) for bid in chosen)}"
        reason = trigger.name.lower().replace("_", " ")
        note = Note("info", f"{_name(entry)}: revoking {what}, {reason}")
        return [note, Count("bri"), *self._indicate(order, entry, now)]

    def switch(
        self, entry: Entry, addresses: Iterable[IPv6Address], remaining: float, now: float
    ) -> list[Effect]:
        """Send a mobile node to other home agents, best first; none: it has to look for one.

        ``remaining`` is how many seconds it may still stay, 0 for none. Raises
        ``BadOrder``.
        """
        chosen = tuple(dict.fromkeys(addresses))
        for address in chosen:
            if not is_routable(address):
                raise BadOrder(f"{address} is no home agent's address")
            if address in (entry.home_address, entry.care_of.address):
                raise BadOrder(f"{address} is the mobile node's own address")
            if address == entry.local6:
                raise BadOrder(f"{address} is this home agent's own address")
        if len(chosen) > SWITCH_ADDRESSES_MAX:
            raise BadOrder(f"{len(chosen)} home agents, at most {SWITCH_ADDRESSES_MAX}")
        most = 0xFFFF * LIFETIME_UNIT
        if not 0 <= remaining <= most:
            raise BadOrder(f"{remaining:g} seconds to stay, allowed is 0 to {most}")
        at = max(now, self._switched_at + SWITCH_INTERVAL)
        self._switched_at = at
        until = now + remaining if remaining >= LIFETIME_UNIT else None
        # Half of the time that is left, if that is less (RFC 5142 section 5.2).
        first = min(SWITCH_TIMEOUT, remaining / 2) if until is not None else SWITCH_TIMEOUT
        order = Switch(chosen, until, at, max(first, SWITCH_INTERVAL))
        self._switches[entry.home_address] = order
        where = ", ".join(str(address) for address in chosen) or "another home agent"
        note = Note("info", f"{_name(entry)}: is sent to {where}")
        return [note, *(self._redirect(order, entry, now) if at <= now else [])]

    def refuses(self, home: IPv6Address, update: BindingUpdate) -> str | None:
        """Say why an update that would extend a binding is refused, None if it is not.

        RFC 5142 section 5.3; RFC 5846 section 7 leaves it to policy: what an
        operator revokes stays revoked, other reasons end with the next update.
        """
        if update.lifetime == 0:
            return None
        if home in self._switches:
            return "it was sent to another home agent"
        order = self._revocations.get(home)
        if (
            order is not None
            and not order.ipv4_only
            and not order.bids
            and order.trigger is RevocationTrigger.ADMINISTRATIVE
        ):
            return "its binding is being revoked"
        return None

    def forget(self, home: IPv6Address) -> None:
        """Take note that a binding was renewed, or is no more."""
        self._revocations.pop(home, None)
        self._switches.pop(home, None)

    def pending(self, home: IPv6Address) -> str:
        """Return what a binding waits for, in a word for status documents."""
        if home in self._revocations:
            return "revoking"
        return "switching" if home in self._switches else ""

    def receive(
        self,
        message: BindingRevocationAcknowledgement | BindingRevocationIndication,
        received: Received,
        now: float,
    ) -> list[Effect]:
        """Take a binding revocation message of a mobile node."""
        if not received.protected:
            text = f"{received.source}: binding revocation without IPsec, dropped"
            return [Count("bra_unprotected"), Note("warning", text)]
        entry = self._bindings.entries.get(received.source)
        if isinstance(message, BindingRevocationIndication):
            return self._indicated(message, received)
        order = None if entry is None else self._revocations.get(entry.home_address)
        if (
            entry is None
            or order is None
            or message.sequence != order.sequence
            or message.proxy
            or message.everything
            or message.ipv4_only is not order.ipv4_only
        ):
            return [Count("bra_unexpected")]
        del self._revocations[entry.home_address]
        counted = Count(f"bra_{message.status}")
        if message.status < 128 or message.status == RevocationStatus.BINDING_DOES_NOT_EXIST:
            return [counted, *self._ended(order, entry, now, "revoked")]
        text = (
            f"{_name(entry)}: it refuses the revocation, status {message.status}; the binding stays"
        )
        return [counted, Note("warning", text)]

    def next_timer(self) -> float | None:
        """Return when ``handle_timer`` wants to be called, None for never."""
        times = [order.at for order in self._revocations.values()]
        times += [order.at for order in self._switches.values()]
        return min(times, default=None)

    def handle_timer(self, now: float) -> list[Effect]:
        """Repeat what was not answered, or give up."""
        effects: list[Effect] = []
        for home, order in list(self._revocations.items()):
            entry = self._bindings.entries.get(home)
            if order.at > now or entry is None:
                continue
            if order.sent > REVOCATION_RETRIES:
                del self._revocations[home]
                effects.append(Count("bri_unanswered"))
                effects += self._ended(order, entry, now, "revoked, it did not answer")
            else:
                effects += self._indicate(order, entry, now)
        for home, move in list(self._switches.items()):
            entry = self._bindings.entries.get(home)
            if move.at <= now and entry is not None:
                effects += self._redirect(move, entry, now)
        return effects

    def _indicated(self, message: BindingRevocationIndication, received: Received) -> list[Effect]:
        """Answer an indication: nobody but us revokes bindings here (RFC 5846 section 8)."""
        status = RevocationStatus.FUNCTION_NOT_SUPPORTED
        if message.proxy:
            status = RevocationStatus.PROXY_NOT_SUPPORTED
        answer = BindingRevocationAcknowledgement(
            status, message.sequence, message.proxy, message.ipv4_only, message.everything
        )
        text = f"{received.source}: it wants a binding revoked, which only we may"
        return [
            Count("bri_refused"),
            Note("warning", text),
            SendMessage(
                answer,
                received.destination,
                received.source,
                received.care_of,
                received.interface,
            ),
        ]

    def _ended(self, order: Revocation, entry: Entry, now: float, why: str) -> list[Effect]:
        left = {bid: path for bid, path in entry.paths.items() if bid not in order.bids}
        if order.bids and left:
            note = Note("info", f"{_name(entry)}: BID {order.bids} {why}")
            return [*self._bindings.change(replace(entry, paths=left), now), note]
        if not order.ipv4_only:
            return self._bindings.end(entry, now, f"{_name(entry)}: {why}")
        note = Note("info", f"{_name(entry)}: IPv4 home address {why}")
        return [*self._bindings.change(replace(entry, home_address4=None), now), note]

    def _indicate(self, order: Revocation, entry: Entry, now: float) -> list[Effect]:
        options: tuple[Option, ...] = tuple(BindingIdentifier(bid) for bid in order.bids)
        if order.ipv4_only:
            options = (IPv4HomeAddress(entry.home_address4 or IPv4Address(0)),)
        message = BindingRevocationIndication(
            order.trigger, order.sequence, ipv4_only=order.ipv4_only, options=options
        )
        order.sent += 1
        order.at = now + order.timeout
        order.timeout = min(order.timeout * 2, REVOCATION_TIMEOUT_MOST)
        return [_to(entry, message), Count("bri_sent")]

    def _redirect(self, order: Switch, entry: Entry, now: float) -> list[Effect]:
        options: tuple[Option, ...] = ()
        if order.until is not None and order.until - now >= LIFETIME_UNIT:
            options = (BindingRefreshAdvice(int(order.until - now) // LIFETIME_UNIT),)
        order.sent += 1
        order.at = now + order.timeout
        order.timeout = min(order.timeout * 2, SWITCH_TIMEOUT_MOST)
        return [_to(entry, HomeAgentSwitch(order.addresses, options=options)), Count("has_sent")]


def _to(entry: Entry, message: Message) -> SendMessage:
    """Address a message as the acknowledgement of the last update was (RFC 5846 section 4)."""
    return SendMessage(message, entry.local6, entry.home_address, entry.preferred.reach)


def _name(entry: Entry) -> str:
    return f"{entry.owner.identity} ({entry.home_address})"
