# SPDX-License-Identifier: GPL-2.0-only
"""Dynamic home agent address discovery (RFC 6275 sections 10.5 and 11.4.1).

Two engines: a home agent's, which keeps the home agents list of its home link
and answers, and a mobile router's, which asks. Nothing of this is protected, and
cannot be: what comes out are candidates, and only IPsec makes one a home agent.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network

from ..packet.careof import CareOf
from ..packet.errors import Malformed
from ..packet.icmp6 import (
    HomeAgentDiscoveryReply,
    HomeAgentDiscoveryRequest,
    IcmpMessage,
    RouterAdvertisement,
    parse,
)
from .agents_list import HomeAgentsList, ListedAgent
from .effects import Count, Note
from .registration import RateLimit, is_routable

#: RFC 6275 section 12.
DHAAD_RETRIES = 4
INITIAL_DHAAD_TIMEOUT = 3.0
#: Addresses in an answer of 1280 octets.
REPLY_MAX = (1280 - 40 - 8) // 16
#: Answers a second, since anybody may ask: as for ICMPv6 errors (RFC 4443 section 2.4).
_ANSWERS_BURST, _ANSWERS_RATE = 20.0, 10.0
#: What a mobile router takes of a list.
FOUND_MAX = 16


@dataclass(frozen=True, slots=True)
class IcmpReceived:
    """An ICMPv6 message in home form, its checksum verified.

    ``protected`` as for mobility messages: it can only have come under the SA
    tied to the home address among its two ends.
    """

    data: bytes
    source: IPv6Address
    destination: IPv6Address
    interface: int
    hop_limit: int = 255
    care_of: CareOf | None = None
    protected: bool = False


@dataclass(frozen=True, slots=True)
class SendIcmp:
    """Send ``message``; with ``care_of`` in home form by that path."""

    message: IcmpMessage
    source: IPv6Address
    destination: IPv6Address
    care_of: CareOf | None = None
    interface: int = 0


@dataclass(frozen=True, slots=True)
class HomeAgentsFound:
    """Discovery has ended; addresses in the order in which to try them, none for failure."""

    addresses: tuple[IPv6Address, ...]


DiscoveryEffect = SendIcmp | HomeAgentsFound | Count | Note


def home_agents_anycast(prefix: IPv6Network) -> IPv6Address:
    """Return the Mobile IPv6 Home-Agents anycast address of a subnet (RFC 2526).

    Interface identifiers of 64 bits have the universal/local bit clear.
    """
    size = 128 - prefix.prefixlen
    identifier = (1 << size) - 2
    if size == 64:
        identifier &= ~(1 << 57)
    return IPv6Address(int(prefix.network_address) | identifier)


@dataclass(frozen=True, slots=True)
class DiscoveryConfig:
    """What a home agent answers with: itself, and who else is on its home link.

    ``link`` is the interface of the home link, 0 for a virtual one.
    """

    addresses: tuple[IPv6Address, ...]
    prefixes: tuple[IPv6Network, ...]
    preference: int = 0
    mobile_router: bool = True
    link: int = 0
    enabled: bool = True

    def own(self) -> ListedAgent:
        """Return the entry of the home agent itself."""
        mine = tuple(a for a in self.addresses if any(a in p for p in self.prefixes))
        addresses = mine or self.addresses
        return ListedAgent(IPv6Address(0), self.preference, None, self.mobile_router, addresses)


class AgentDiscovery:
    """A home agent's side."""

    def __init__(self, config: DiscoveryConfig, chance: random.Random | None = None) -> None:
        self._config = config
        self._chance = chance or random.SystemRandom()
        self._list = HomeAgentsList(config.prefixes, config.own())
        self._answers = RateLimit(_ANSWERS_BURST, _ANSWERS_RATE)

    def reconfigure(self, config: DiscoveryConfig) -> None:
        """Answer with something else from now on."""
        self._config = config
        self._list.reconfigure(config.prefixes, config.own())

    def anycast(self) -> tuple[IPv6Address, ...]:
        """Return the addresses at which requests arrive."""
        if not self._config.enabled:
            return ()
        return tuple(home_agents_anycast(p) for p in self._config.prefixes if p.prefixlen <= 120)

    def agents(self, now: float) -> list[ListedAgent]:
        """Return the home agents list, the most preferred first."""
        return self._list.listed(now)

    def receive(self, received: IcmpReceived, now: float) -> list[DiscoveryEffect]:
        """Take a discovery request or a Router Advertisement."""
        try:
            message = parse(received.data)
        except Malformed as error:
            return [Count("icmp_malformed"), Note("debug", f"{received.source}: {error.reason}")]
        if isinstance(message, RouterAdvertisement):
            return self._advertisement(message, received, now)
        if isinstance(message, HomeAgentDiscoveryRequest):
            return self._request(message, received, now)
        return [Count("icmp_not_for_home_agent")]

    def _advertisement(
        self, message: RouterAdvertisement, received: IcmpReceived, now: float
    ) -> list[DiscoveryEffect]:
        if not self._config.link or received.interface != self._config.link:
            return [Count("ra_other_link")]
        if not received.source.is_link_local or received.hop_limit != 255:
            # RFC 4861 section 6.1.2: it did not come from this link.
            return [Count("ra_invalid")]
        return [Count(self._list.heard(received.source, message, now))]

    def _request(
        self, message: HomeAgentDiscoveryRequest, received: IcmpReceived, now: float
    ) -> list[DiscoveryEffect]:
        if received.destination not in self.anycast():
            return [Count("dhaad_not_for_us")]
        if not is_routable(received.source) or received.source in self._config.addresses:
            return [Count("dhaad_bad_source")]
        if not self._answers.take(now):
            return [Count("dhaad_suppressed")]
        addresses, routers = self._list.addresses(message.mobile_router, now, self._chance)
        prefix = next(
            p for p in self._config.prefixes if home_agents_anycast(p) == received.destination
        )
        mine = self._config.addresses
        source = next((a for a in mine if a in prefix), mine[0])
        reply = HomeAgentDiscoveryReply(message.identifier, addresses[:REPLY_MAX], routers)
        return [Count("dhaad_answered"), SendIcmp(reply, source, received.source)]


@dataclass(slots=True)
class _Search:
    """One search under way, from one care-of address."""

    identifier: int
    source: IPv6Address
    interface: int
    at: float
    timeout: float = INITIAL_DHAAD_TIMEOUT
    sent: int = 1


@dataclass(slots=True)
class AgentFinder:
    """A mobile router's side; ``mobile_router`` tells that it needs an agent for those."""

    prefix: IPv6Network
    mobile_router: bool = True
    chance: random.Random = field(default_factory=random.SystemRandom)
    _search: _Search | None = None

    def start(self, source: IPv6Address, interface: int, now: float) -> list[DiscoveryEffect]:
        """Ask from a care-of address; a search that goes on from there is left alone."""
        search = self._search
        if search is not None and (search.source, search.interface) == (source, interface):
            return []
        identifier = self.chance.randrange(0x10000)
        self._search = _Search(identifier, source, interface, now + INITIAL_DHAAD_TIMEOUT)
        return [Count("dhaad_started"), self._request(self._search)]

    def stop(self) -> None:
        """Ask no more."""
        self._search = None

    def next_timer(self) -> float | None:
        """Return when ``handle_timer`` wants to be called, None for never."""
        return None if self._search is None else self._search.at

    def handle_timer(self, now: float) -> list[DiscoveryEffect]:
        """Repeat the same request, or give up."""
        search = self._search
        if search is None or search.at > now:
            return []
        if search.sent > DHAAD_RETRIES:
            self._search = None
            text = f"no home agent of {self.prefix} has answered"
            return [Count("dhaad_unanswered"), Note("warning", text), HomeAgentsFound(())]
        search.sent += 1
        search.timeout *= 2
        search.at = now + search.timeout
        return [self._request(search)]

    def receive(self, received: IcmpReceived, now: float) -> list[DiscoveryEffect]:
        """Take an answer; one that does not belong to the last request is dropped."""
        try:
            message = parse(received.data)
        except Malformed:
            return [Count("icmp_malformed")]
        search = self._search
        if not isinstance(message, HomeAgentDiscoveryReply):
            return [Count("icmp_not_for_mobile_router")]
        if (
            search is None
            or message.identifier != search.identifier
            or received.destination != search.source
            or not is_routable(received.source)
        ):
            return [Count("dhaad_unexpected")]
        if self.mobile_router and not message.mobile_router:
            # RFC 3963 section 7.2: those listed know no mobile routers.
            text = f"{received.source}: no home agent there serves mobile routers"
            return [Count("dhaad_no_router_agent"), Note("warning", text)]
        found = tuple(dict.fromkeys(a for a in message.addresses if is_routable(a)))
        if not found:
            return [Count("dhaad_empty")]
        self._search = None
        names = ", ".join(str(address) for address in found[:4])
        text = f"{received.source} names home agents: {names}"
        return [Count("dhaad_found"), Note("info", text), HomeAgentsFound(found[:FOUND_MAX])]

    def _request(self, search: _Search) -> SendIcmp:
        request = HomeAgentDiscoveryRequest(search.identifier, self.mobile_router)
        return SendIcmp(
            request,
            search.source,
            home_agents_anycast(self.prefix),
            interface=search.interface,
        )
