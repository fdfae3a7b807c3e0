# SPDX-License-Identifier: GPL-2.0-only
"""The home agents list of one link (RFC 6275 sections 10.1 and 10.5.1)."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network

from ..packet.icmp6 import HomeAgentInformation, PrefixInformation, RouterAdvertisement
from .registration import is_routable

#: Who fills the list with invented routers gains nothing beyond these.
AGENTS_MAX = 32
ADDRESSES_MAX = 8


@dataclass(slots=True)
class ListedAgent:
    """A home agent on the link; ``expires`` None for this one itself, which never does."""

    link_local: IPv6Address
    preference: int
    expires: float | None
    mobile_router: bool
    addresses: tuple[IPv6Address, ...]


class HomeAgentsList:
    """Other home agents of a link, learned from their Router Advertisements, and oneself.

    Only addresses in ``prefixes`` count, the home prefixes that this home agent
    serves: what a router says of other prefixes is none of its business here.
    """

    def __init__(self, prefixes: tuple[IPv6Network, ...], own: ListedAgent) -> None:
        self._prefixes = prefixes
        self._own = own
        self._others: dict[IPv6Address, ListedAgent] = {}

    def reconfigure(self, prefixes: tuple[IPv6Network, ...], own: ListedAgent) -> None:
        """Serve other prefixes, or be another home agent, from now on."""
        self._prefixes, self._own = prefixes, own
        for agent in list(self._others.values()):
            agent.addresses = self._ours(agent.addresses)
            if not agent.addresses:
                del self._others[agent.link_local]

    def heard(self, source: IPv6Address, advertisement: RouterAdvertisement, now: float) -> str:
        """Take a valid Router Advertisement; return the name of what became of it.

        Valid are those that RFC 4861 section 6.1.2 calls so: from a link-local
        address, with a hop limit of 255.
        """
        self.expire(now)
        known = self._others.get(source)
        information = next(
            (o for o in advertisement.options if isinstance(o, HomeAgentInformation)), None
        )
        preference, lifetime, router = 0, advertisement.lifetime, False
        if information is not None:
            preference, lifetime = information.preference, information.lifetime
            router = information.mobile_router
        if not advertisement.home_agent or lifetime == 0:
            self._others.pop(source, None)
            return "ra_agent_gone" if known else "ra_no_agent"
        addresses = self._ours(
            option.prefix
            for option in advertisement.options
            if isinstance(option, PrefixInformation) and option.router
        )
        # What belongs to somebody else here cannot be taken from it.
        taken = {
            a for agent in self._others.values() if agent is not known for a in agent.addresses
        }
        addresses = tuple(a for a in addresses if a not in taken and a not in self._own.addresses)
        if known is None:
            # Without an address there is nothing to list, whatever its preference.
            if not addresses:
                return "ra_foreign_prefix"
            if len(self._others) >= AGENTS_MAX:
                return "ra_list_full"
            known = ListedAgent(source, preference, now + lifetime, router, ())
            self._others[source] = known
        known.preference, known.expires = preference, now + lifetime
        known.mobile_router = router
        both = dict.fromkeys((*addresses, *known.addresses))
        known.addresses = tuple(both)[:ADDRESSES_MAX]
        return "ra_agent"

    def expire(self, now: float) -> None:
        """Delete who has not been heard of for its lifetime."""
        for source, agent in list(self._others.items()):
            if agent.expires is not None and agent.expires <= now:
                del self._others[source]

    def next_expiry(self) -> float | None:
        """Return when the next entry ends, None for never."""
        times = (agent.expires for agent in self._others.values())
        return min((at for at in times if at is not None), default=None)

    def listed(self, now: float) -> list[ListedAgent]:
        """Return everybody, the most preferred first."""
        self.expire(now)
        everybody = [self._own, *self._others.values()]
        return sorted(everybody, key=lambda agent: -agent.preference)

    def addresses(
        self, mobile_router: bool, now: float, chance: random.Random
    ) -> tuple[tuple[IPv6Address, ...], bool]:
        """Return the addresses for an answer, and whether they serve mobile routers.

        By falling preference, equal ones and those of one home agent in random
        order. Who asks for mobile routers is told of plain home agents only if
        there are no others (RFC 3963 section 7.2).
        """
        agents = self.listed(now)
        routers = [agent for agent in agents if agent.mobile_router]
        if mobile_router and routers:
            agents = routers
        chance.shuffle(agents)
        agents.sort(key=lambda agent: -agent.preference)
        found: list[IPv6Address] = []
        for agent in agents:
            mine = list(agent.addresses)
            chance.shuffle(mine)
            found += mine
        return tuple(dict.fromkeys(found)), mobile_router and bool(routers)

    def _ours(self, addresses: Iterable[IPv6Address]) -> tuple[IPv6Address, ...]:
        found = [
            address
            for address in addresses
            if is_routable(address) and any(_hosted(address, p) for p in self._prefixes)
        ]
        return tuple(dict.fromkeys(found))[:ADDRESSES_MAX]


def _hosted(address: IPv6Address, prefix: IPv6Network) -> bool:
    """Tell whether it is a router's own address in a prefix, not the prefix itself."""
    return address in prefix and (address != prefix.network_address or prefix.prefixlen > 126)
