# SPDX-License-Identifier: GPL-2.0-only
"""Mobile prefix discovery, the mobile router's side, and what follows from it.

RFC 6275 section 11.4: what the home agent says of home prefixes is taken as if
it stood in a Router Advertisement on the home link. A home address is formed in
a new prefix and used; the old one lives on until its prefix is not valid any more.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network

from ..packet.errors import Malformed
from ..packet.icmp6 import (
    MobilePrefixAdvertisement,
    MobilePrefixSolicitation,
    PrefixInformation,
    parse,
)
from .config import INFINITE, HomePrefix
from .discovery import DiscoveryEffect, IcmpReceived, SendIcmp
from .effects import Count, Network, Note
from .home_prefix import renumbered

#: INITIAL_SOLICIT_TIMER (RFC 6275 section 12), doubled up to a minute.
INITIAL_SOLICIT_TIMER = 3.0
MAX_SOLICIT_TIMER = 60.0
SOLICIT_TRIES = 5
#: Unsolicited advertisements are answered at most that often.
ANSWER_INTERVAL = 1.0
#: Home prefixes that a router keeps, and so home addresses.
PREFIXES_MAX = 4
#: The prefixes are asked for again when this part of a lifetime is left, but not
#: more often than that.
ASK_AGAIN = 0.25
ASK_AGAIN_LEAST = 10.0


@dataclass(frozen=True, slots=True)
class HomePrefixes:
    """The home prefixes as of now: register in the first, the others live on.

    ``valid_until`` is by the engine's clock, None for ever. What is not listed
    any more is to be given up.
    """

    addresses: tuple[tuple[IPv6Address, IPv6Network, float | None], ...]


RenumberingEffect = DiscoveryEffect | HomePrefixes


@dataclass(slots=True)
class _Question:
    """The last solicitation, not answered yet."""

    identifier: int
    at: float
    timeout: float = INITIAL_SOLICIT_TIMER
    sent: int = 1


@dataclass(slots=True)
class PrefixDiscovery:
    """A mobile router's side.

    ``home_address`` is the one of the configuration: its interface identifier is
    that of all. ``networks`` are the mobile network prefixes, which no home
    prefix can be part of.
    """

    home_address: IPv6Address
    home_prefix: IPv6Network
    networks: tuple[Network, ...] = ()
    chance: random.Random = field(default_factory=random.SystemRandom)
    prefixes: dict[IPv6Network, HomePrefix] = field(default_factory=dict)
    _question: _Question | None = None
    _answered_at: float = float("-inf")
    _ask_at: float | None = None
    _looked: float = 0.0
    _shown: tuple[tuple[IPv6Address, IPv6Network], ...] = ()

    def adopt(self, prefixes: Iterable[HomePrefix], now: float) -> list[RenumberingEffect]:
        """Go on with prefixes that were known before a restart."""
        for life in list(prefixes)[:PREFIXES_MAX]:
            if life.lifetimes(now)[0]:
                self.prefixes[life.prefix] = life
        return self._look(now)

    def solicit(self, home: IPv6Address, agent: IPv6Address, now: float) -> list[RenumberingEffect]:
        """Ask for the home prefixes, unless that is under way."""
        if self._question is not None:
            return []
        self._question = _Question(self.chance.randrange(0x10000), now + INITIAL_SOLICIT_TIMER)
        return [Count("mps_started"), self._send(home, agent)]

    def receive(
        self, received: IcmpReceived, home: IPv6Address, agent: IPv6Address, now: float
    ) -> list[RenumberingEffect]:
        """Take an advertisement for ``home`` that may have come from ``agent``."""
        try:
            message = parse(received.data)
        except Malformed:
            return [Count("icmp_malformed")]
        if not isinstance(message, MobilePrefixAdvertisement):
            return [Count("icmp_not_for_mobile_router")]
        if received.source != agent or received.destination != home:
            return [Count("mpa_not_for_us")]
        if not received.protected:
            text = f"{received.source}: prefix advertisement without IPsec, dropped"
            return [Count("mpa_unprotected"), Note("warning", text)]
        question = self._question
        if question is None or message.identifier != question.identifier:
            # Section 11.4.3: discarded, and asked for what it says.
            effects: list[RenumberingEffect] = [Count("mpa_unsolicited")]
            if question is None and now - self._answered_at >= ANSWER_INTERVAL:
                self._answered_at = now
                effects += self.solicit(home, agent, now)
            return effects
        self._question = None
        return [Count("mpa"), *self._take(message, now)]

    def next_timer(self) -> float | None:
        """Return when ``handle_timer`` wants to be called, None for never."""
        times = [self._ask_at]
        if self._question is not None:
            times.append(self._question.at)
        for life in self.prefixes.values():
            times.append(self._until(life))
            if 0 < life.preferred < life.valid and life.lifetimes(self._looked)[1]:
                times.append(life.since + life.preferred)
        return min((at for at in times if at is not None), default=None)

    def handle_timer(
        self, home: IPv6Address, agent: IPv6Address, now: float
    ) -> list[RenumberingEffect]:
        """Ask again, and give up prefixes that are not valid any more."""
        effects: list[RenumberingEffect] = []
        question = self._question
        if question is not None and question.at <= now:
            if question.sent >= SOLICIT_TRIES:
                self._question = None
                effects.append(Count("mps_unanswered"))
            else:
                question.sent += 1
                question.timeout = min(question.timeout * 2, MAX_SOLICIT_TIMER)
                question.at = now + question.timeout
                effects.append(self._send(home, agent))
        if self._ask_at is not None and self._ask_at <= now:
            self._ask_at = None
            effects += self.solicit(home, agent, now)
        gone = [p for p, life in self.prefixes.items() if not life.lifetimes(now)[0]]
        for prefix in gone:
            del self.prefixes[prefix]
            effects.append(Note("warning", f"the home prefix {prefix} is not valid any more"))
        return effects + self._look(now)

    # --- what an advertisement says

    def _take(self, message: MobilePrefixAdvertisement, now: float) -> list[RenumberingEffect]:
        effects: list[RenumberingEffect] = []
        for option in message.options:
            if not isinstance(option, PrefixInformation) or not option.autonomous:
                continue
            problem = self._problem(option)
            if problem:
                effects += [Count("mpa_bad_prefix"), Note("warning", f"home prefix {problem}")]
                continue
            prefix = IPv6Network((int(option.prefix), option.prefix_length), strict=False)
            if not option.valid_lifetime:
                self.prefixes.pop(prefix, None)
                continue
            if prefix not in self.prefixes and len(self.prefixes) >= PREFIXES_MAX:
                effects.append(Count("mpa_too_many_prefixes"))
                continue
            self.prefixes[prefix] = HomePrefix(
                prefix, option.valid_lifetime, option.preferred_lifetime, True, now
            )
        self._ask_at = self._next_question(now)
        return effects + self._look(now)

    def _problem(self, option: PrefixInformation) -> str:
        """Say why an option is ignored (RFC 4862 section 5.5.3), "" if it is not."""
        if option.prefix_length != self.home_prefix.prefixlen:
            return f"of {option.prefix_length} bits, ours has {self.home_prefix.prefixlen}"
        prefix = IPv6Network((int(option.prefix), option.prefix_length), strict=False)
        if prefix.is_multicast or prefix.is_link_local or not int(prefix.network_address):
            return f"{prefix}, which can be none"
        if option.preferred_lifetime > option.valid_lifetime:
            return f"{prefix} is preferred longer than it is valid"
        if any(isinstance(n, IPv6Network) and n.overlaps(prefix) for n in self.networks):
            return f"{prefix}, which is a mobile network's"
        return ""

    def _next_question(self, now: float) -> float | None:
        left = [life.lifetimes(now)[0] for life in self.prefixes.values()]
        finite = [value for value in left if value != INFINITE]
        if not finite:
            return None
        return now + max(min(finite) * (1 - ASK_AGAIN), ASK_AGAIN_LEAST)

    def _look(self, now: float) -> list[RenumberingEffect]:
        """Return the home addresses if they have changed, the preferred one first."""
        self._looked = now
        lives = sorted(self.prefixes.values(), key=lambda life: self._rank(life, now))
        addresses = tuple(
            (self._address(life.prefix), life.prefix, self._until(life)) for life in lives
        )
        shown = tuple((address, prefix) for address, prefix, _ in addresses)
        if shown == self._shown or not addresses:
            return []
        self._shown = shown
        return [HomePrefixes(addresses)]

    def _rank(self, life: HomePrefix, now: float) -> tuple[bool, bool, int]:
        """The configured prefix stays the first as long as it is preferred at all."""
        valid, preferred = life.lifetimes(now)
        return not preferred, life.prefix != self.home_prefix, -valid

    def _address(self, prefix: IPv6Network) -> IPv6Address:
        if prefix == self.home_prefix:
            return self.home_address
        return renumbered(self.home_address, prefix)

    @staticmethod
    def _until(life: HomePrefix) -> float | None:
        return None if life.valid == INFINITE else life.since + life.valid

    def _send(self, home: IPv6Address, agent: IPv6Address) -> SendIcmp:
        assert self._question is not None
        return SendIcmp(MobilePrefixSolicitation(self._question.identifier), home, agent)
