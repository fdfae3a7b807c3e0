# SPDX-License-Identifier: GPL-2.0-only
"""Names in DNS for home addresses, at the home agent (RFC 5026 section 6).

The binding is made without waiting for DNS; its acknowledgement tells what became
of the name and so waits, for a moment at most. A name that was given to a home
address goes with the binding, unless its router is at home.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv6Address
from typing import Final

from ..packet.dns import DnsMalformed, canonical
from ..packet.dns_update import read_option
from ..packet.mobility import BindingAcknowledgement
from ..packet.options import DnsUpdate, find
from ..packet.status import DnsUpdateStatus
from .effects import Count, DropBinding, Effect, Moved, Note, SendMessage, UpdateName
from .ownership import Ownership

#: A mobile node sends its first update again after 1.5 s (RFC 6275 section 11.8).
ANSWER_WITHIN: Final = 1.0
PENDING_MAX: Final = 1024
#: A name that could not be removed is stale until it is: it is tried again.
REMOVE_AGAIN: Final = 60.0


@dataclass(slots=True)
class _Pending:
    """An update of DNS that is under way, and the acknowledgement that waits for it.

    ``again``: it has failed, and is tried again at ``deadline``.
    """

    name: str
    remove: bool
    answer: SendMessage | None
    deadline: float
    again: bool = False


class Names:
    """The engine; ``zone`` "" is none, then every wish for a name is refused."""

    def __init__(self, zone: str) -> None:
        self._zone = canonical(zone)
        self._held: dict[IPv6Address, str] = {}
        self._pending: dict[IPv6Address, _Pending] = {}

    @property
    def held(self) -> dict[IPv6Address, str]:
        """The names that are in DNS, by home address."""
        return dict(self._held)

    def use_zone(self, zone: str) -> None:
        """Update another zone from now on."""
        self._zone = canonical(zone)

    def filter(self, effects: Iterable[Effect], ownership: Ownership, now: float) -> list[Effect]:
        """Return the home agent's effects with what has to happen for names."""
        given = list(effects)
        at_home = {e.home_address for e in given if isinstance(e, Moved) and e.at_home}
        found: list[Effect] = []
        for effect in given:
            option = _wish(effect)
            if option is not None and isinstance(effect, SendMessage):
                found += self._asked(effect, option, ownership, now)
                continue
            found.append(effect)
            if isinstance(effect, DropBinding) and effect.home_address not in at_home:
                found += self._gone(effect.home_address, now)
        return found

    def done(
        self, home_address: IPv6Address, name: str, remove: bool, error: str, now: float
    ) -> list[Effect]:
        """Take the end of an ``UpdateName``; ``error`` "" says that it was performed."""
        if not error and remove and self._held.get(home_address) == name:
            del self._held[home_address]
        if not error and not remove:
            self._held[home_address] = name
        effects: list[Effect] = [Count("dns_update_failed" if error else "dns_updated")]
        if error:
            what = "removed from" if remove else "put into"
            effects.append(Note("error", f"{name} cannot be {what} DNS: {error}"))
        pending = self._pending.get(home_address)
        if pending is None or (pending.name, pending.remove) != (name, remove):
            return effects
        if error and remove and pending.answer is None:
            pending.again, pending.deadline = True, now + REMOVE_AGAIN
            return effects
        del self._pending[home_address]
        if pending.answer is not None:
            status = DnsUpdateStatus.FAILED if error else DnsUpdateStatus.PERFORMED
            effects.append(_with_status(pending.answer, status))
        return effects

    def next_timer(self) -> float | None:
        """Return when ``handle_timer`` wants to be called, None for never."""
        waiting = [p.deadline for p in self._pending.values() if p.answer is not None or p.again]
        return min(waiting, default=None)

    def handle_timer(self, now: float) -> list[Effect]:
        """Acknowledge what has waited for DNS long enough, and remove what is stale."""
        effects: list[Effect] = []
        for home, pending in self._pending.items():
            if pending.again and pending.deadline <= now:
                pending.again = False
                effects.append(UpdateName(home, pending.name, remove=True))
            if pending.answer is not None and pending.deadline <= now:
                effects.append(_with_status(pending.answer, DnsUpdateStatus.FAILED))
                effects.append(Count("dns_update_late"))
                pending.answer = None
        return effects

    def _asked(
        self, answer: SendMessage, option: DnsUpdate, ownership: Ownership, now: float
    ) -> list[Effect]:
        home = answer.destination
        try:
            name = read_option(option.name)
        except DnsMalformed as error:
            note = Note("info", f"{home}: {error.reason}")
            refused = _with_status(answer, DnsUpdateStatus.REASON_UNSPECIFIED)
            return [Count("dns_update_malformed"), note, refused]
        owner = ownership.find(home)
        inside = name == self._zone or name.endswith("." + self._zone)
        if not (self._zone and inside and owner and ownership.owns_name(owner, name)):
            who = owner.identity if owner else str(home)
            refused = _with_status(answer, DnsUpdateStatus.ADMINISTRATIVELY_PROHIBITED)
            note = Note("warning", f"{who} may not have the name {name} in DNS")
            return [Count("dns_update_prohibited"), note, refused]
        pending = self._pending.get(home)
        if pending is not None and (pending.name, pending.remove) == (name, option.remove):
            pending.answer, pending.deadline = answer, now + ANSWER_WITHIN
            effects: list[Effect] = []
            if pending.again:
                pending.again = False
                effects.append(UpdateName(home, name, option.remove))
            return effects
        held = self._held.get(home)
        if pending is None and held == name and not option.remove:
            return [_with_status(answer, DnsUpdateStatus.PERFORMED)]
        if len(self._pending) >= PENDING_MAX and pending is None:
            return [Count("dns_update_full"), _with_status(answer, DnsUpdateStatus.FAILED)]
        effects = []
        if pending is not None and pending.answer is not None:
            effects.append(_with_status(pending.answer, DnsUpdateStatus.FAILED))
        if held is not None and held != name:
            effects.append(UpdateName(home, held, remove=True))
        self._pending[home] = _Pending(name, option.remove, answer, now + ANSWER_WITHIN)
        return [*effects, UpdateName(home, name, option.remove)]

    def _gone(self, home: IPv6Address, now: float) -> list[Effect]:
        """Remove the name of a binding that is no more (RFC 5026 section 6)."""
        pending = self._pending.get(home)
        name = self._held.get(home)
        if pending is not None and not pending.remove:
            name = pending.name
        if name is None:
            return []
        self._pending[home] = _Pending(name, True, None, now)
        return [UpdateName(home, name, remove=True)]


def _wish(effect: Effect) -> DnsUpdate | None:
    """Return the option of an acknowledgement that was left for here to fill in."""
    if not isinstance(effect, SendMessage):
        return None
    message = effect.message
    if not isinstance(message, BindingAcknowledgement) or message.status >= 128:
        return None
    return find(message.options, DnsUpdate)


def _with_status(send: SendMessage, status: DnsUpdateStatus) -> SendMessage:
    message = send.message
    assert isinstance(message, BindingAcknowledgement)
    options = tuple(
        replace(option, status=int(status)) if isinstance(option, DnsUpdate) else option
        for option in message.options
    )
    return replace(send, message=replace(message, options=options))
