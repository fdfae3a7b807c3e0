# SPDX-License-Identifier: GPL-2.0-only
"""Mobile prefix discovery, the home agent's side (RFC 6275 section 10.6).

Nothing is said to who is not protected by IPsec, and nothing is heard from him.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address

from ..packet.careof import CareOf
from ..packet.errors import Malformed
from ..packet.icmp6 import (
    MobilePrefixAdvertisement,
    MobilePrefixSolicitation,
    PrefixInformation,
    parse,
)
from .binding_cache import Entry
from .config import HomePrefix
from .discovery import DiscoveryEffect, IcmpReceived, SendIcmp
from .effects import Count, Note

#: RFC 6275 section 12, and section 13 for the default interval bounds.
PREFIX_ADV_RETRIES = 3
PREFIX_ADV_TIMEOUT = 3.0
MAX_INTERVAL, MIN_INTERVAL = 86400.0, 600.0
#: RFC 6275 section 6.8: at most one advertisement a second to a mobile node.
RATE = 1.0
#: Prefixes in an advertisement of 1280 octets, with room for ESP and headers.
PREFIXES_MAX = 32


@dataclass(frozen=True, slots=True)
class PrefixConfig:
    """What is advertised; ``least`` and ``most`` bound the random delay, in seconds."""

    lives: tuple[HomePrefix, ...] = ()
    least: float = MIN_INTERVAL
    most: float = MAX_INTERVAL
    enabled: bool = True


@dataclass(slots=True)
class _Delivery:
    """An advertisement that is due at a mobile node, or not acknowledged yet.

    ``asked_from`` is the care-of address of a solicitation that it answers.
    """

    at: float
    identifier: int = 0
    sent: int = 0
    timeout: float = PREFIX_ADV_TIMEOUT
    asked_from: CareOf | None = None


class PrefixAdvertiser:
    """Answers solicitations, and tells mobile nodes that are away of changes.

    ``entries`` is the home agent's binding cache.
    """

    def __init__(
        self,
        config: PrefixConfig,
        entries: Mapping[IPv6Address, Entry],
        chance: random.Random | None = None,
    ) -> None:
        self._config = config
        self._entries = entries
        self._chance = chance or random.SystemRandom()
        self._due: dict[IPv6Address, _Delivery] = {}
        self._told: dict[IPv6Address, float] = {}

    def reconfigure(self, config: PrefixConfig, now: float) -> list[DiscoveryEffect]:
        """Advertise other prefixes; who is away is told soon (RFC 6275 section 10.6.2)."""
        before, self._config = self._config, config
        if not config.enabled:
            self._due = {}
            return []
        if before.lives == config.lives:
            return []
        for home in self._entries:
            delivery = self._due.get(home)
            if delivery is None or delivery.sent:
                # A newer one takes the place of one that nobody has acknowledged.
                self._due[home] = _Delivery(now + self._delay(home, now))
        count = len(self._entries)
        return [Note("info", f"home prefixes have changed, {count} mobile nodes are to be told")]

    def receive(self, received: IcmpReceived, now: float) -> list[DiscoveryEffect]:
        """Take a solicitation."""
        try:
            message = parse(received.data)
        except Malformed:
            return [Count("icmp_malformed")]
        if not isinstance(message, MobilePrefixSolicitation):
            return [Count("icmp_not_for_home_agent")]
        if not self._config.enabled:
            return [Count("mps_disabled")]
        if not received.protected:
            text = f"{received.source}: prefix solicitation without IPsec, dropped"
            return [Count("mps_unprotected"), Note("warning", text)]
        entry = self._entries.get(received.source)
        if entry is None or received.destination != entry.local6:
            return [Count("mps_without_binding")]
        # It has asked: no advertisement waits for that any more.
        self._due.pop(received.source, None)
        care_of = received.care_of or entry.preferred.reach
        soonest = self._told.get(received.source, float("-inf")) + RATE
        if now < soonest:
            self._due[received.source] = _Delivery(soonest, message.identifier, asked_from=care_of)
            return [Count("mps_delayed")]
        return [Count("mps"), self._advertise(entry, message.identifier, care_of, now)]

    def next_timer(self) -> float | None:
        """Return when ``handle_timer`` wants to be called, None for never."""
        return min((delivery.at for delivery in self._due.values()), default=None)

    def handle_timer(self, now: float) -> list[DiscoveryEffect]:
        """Send what is due."""
        effects: list[DiscoveryEffect] = []
        for home, delivery in list(self._due.items()):
            entry = self._entries.get(home)
            if entry is None:
                del self._due[home]
                self._told.pop(home, None)
            elif delivery.at <= now:
                effects += self._deliver(entry, delivery, now)
        return effects

    def _deliver(self, entry: Entry, delivery: _Delivery, now: float) -> list[DiscoveryEffect]:
        home = entry.home_address
        if delivery.asked_from is not None:
            del self._due[home]
            return [self._advertise(entry, delivery.identifier, delivery.asked_from, now)]
        if delivery.sent > PREFIX_ADV_RETRIES:
            del self._due[home]
            text = f"{entry.name}: has not acknowledged the home prefixes"
            return [Count("mpa_unanswered"), Note("warning", text)]
        wait = self._told.get(home, float("-inf")) + RATE - now
        if wait > 0:
            delivery.at = now + wait
            return []
        if not delivery.sent:
            delivery.identifier = self._chance.randrange(0x10000)
        else:
            delivery.timeout *= 2
        delivery.sent += 1
        delivery.at = now + delivery.timeout
        sent = self._advertise(entry, delivery.identifier, entry.preferred.reach, now)
        return [Count("mpa_unsolicited"), sent]

    def _advertise(self, entry: Entry, identifier: int, care_of: CareOf, now: float) -> SendIcmp:
        if len(self._told) > len(self._entries) + 1000:
            self._told = {home: at for home, at in self._told.items() if home in self._entries}
        self._told[entry.home_address] = now
        options = []
        for life in self._config.lives[:PREFIXES_MAX]:
            valid, preferred = life.lifetimes(now)
            prefix = life.prefix
            options.append(
                PrefixInformation(
                    prefix.network_address,
                    prefix.prefixlen,
                    on_link=True,
                    autonomous=True,
                    router=False,
                    valid_lifetime=valid,
                    preferred_lifetime=preferred,
                )
            )
        message = MobilePrefixAdvertisement(identifier, options=tuple(options))
        return SendIcmp(message, entry.local6, entry.home_address, care_of)

    def _delay(self, home: IPv6Address, now: float) -> float:
        """Return RAND_ADV_DELAY (RFC 6275 section 10.6.2)."""
        life = next((life for life in self._config.lives if home in life.prefix), None)
        most = self._config.most
        if life is not None:
            most = min(most, life.lifetimes(now)[1])
        least = self._config.least
        span = abs(most - least)
        return least + (self._chance.random() * span if span else 0.0)
