# SPDX-License-Identifier: GPL-2.0-only
"""Which router of an access link is the default one, and which addresses go with it.

Several routers of one link may advertise several prefixes. A care-of address has a
prefix of the router in use (RFC 6275 section 11.5.4), and another router is taken only
when that one has gone: a new router alone is no proof that the link has changed
(section 11.5.1). A router has gone that is not heard although it was asked and others
answer, or that neighbour unreachability detection did not find.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network

from ..packet.errors import Malformed
from ..packet.icmp6 import AdvertisementInterval, PrefixInformation, RouterAdvertisement, parse

#: Advertisements that may be lost before a router is asked whether it is there.
MISSED = 3
#: How long an answer may take: RFC 4861 allows one multicast advertisement in 3 s, and
#: half a second more.
ANSWER_TIME = 4.0
#: What anybody on a link can make us remember.
ROUTERS_MAX = 16
PREFIXES_MAX = 32


@dataclass(slots=True)
class _Router:
    """What a router said, and when it was heard last."""

    heard: float
    interval: float = 0.0
    prefixes: tuple[IPv6Network, ...] = ()
    gone: bool = False


@dataclass(slots=True)
class _Link:
    routers: dict[IPv6Address, _Router] = field(default_factory=dict)
    current: IPv6Address | None = None
    asked: float | None = None


class AccessRouters:
    """The routers of all access links, by interface index."""

    def __init__(self) -> None:
        self._links: dict[int, _Link] = {}

    # --- what is heard

    def advertised(self, interface: int, router: IPv6Address, data: bytes, now: float) -> bool:
        """Take a valid Router Advertisement; tell whether it changes what is to be used."""
        try:
            message = parse(data)
        except Malformed:
            return False
        if not isinstance(message, RouterAdvertisement):
            return False
        link = self._links.setdefault(interface, _Link())
        if not message.lifetime:
            return link.routers.pop(router, None) is not None
        before = link.routers.get(router)
        if before is None and len(link.routers) >= ROUTERS_MAX:
            return False
        told = {
            IPv6Network((int(o.prefix), o.prefix_length), strict=False): o.valid_lifetime > 0
            for o in message.options
            if isinstance(o, PrefixInformation)
        }
        intervals = [o.interval for o in message.options if isinstance(o, AdvertisementInterval)]
        interval = intervals[0] / 1000 if intervals else 0.0
        # A router may tell its prefixes one by one (RFC 4861 section 6.2.3).
        known = before.prefixes if before is not None else ()
        both = dict.fromkeys((*(p for p, valid in told.items() if valid), *known))
        kept = tuple(p for p in both if told.get(p, True))[:PREFIXES_MAX]
        link.routers[router] = _Router(now, interval, kept)
        return before is None or before.gone or set(before.prefixes) != set(kept)

    def forget(self, interface: int) -> None:
        """Take note that a link has gone: the next one there may be another."""
        self._links.pop(interface, None)

    def suspect(self, interface: int, now: float) -> bool:
        """Doubt that a router is there; tell whether routers are to be solicited for that."""
        link = self._links.get(interface)
        if link is None or link.asked is not None:
            return False
        link.asked = now
        return True

    def unreachable(self, interface: int, router: IPv6Address) -> bool:
        """Take note that neighbour unreachability detection has given a router up."""
        link = self._links.get(interface)
        found = None if link is None else link.routers.get(router)
        if found is None or found.gone:
            return False
        found.gone = True
        return True

    # --- time

    def next_timer(self) -> float | None:
        """Return when ``handle_timer`` wants to be called, None for never."""
        times = []
        for link in self._links.values():
            if link.asked is not None:
                times.append(link.asked + ANSWER_TIME)
            elif self._overdue(link) < float("inf"):
                times.append(self._overdue(link))
        return min(times, default=None)

    @staticmethod
    def _overdue(link: _Link) -> float:
        """Return when the router in use has missed its advertisements."""
        current = None if link.current is None else link.routers.get(link.current)
        if current is None or not current.interval or current.gone:
            return float("inf")
        return current.heard + MISSED * current.interval

    def handle_timer(self, now: float) -> tuple[list[int], list[int]]:
        """Return the interfaces on which to solicit, and those with another default router."""
        solicit, changed = [], []
        for interface, link in self._links.items():
            if link.asked is not None:
                if link.asked + ANSWER_TIME <= now and self._judge(link, link.asked, now):
                    changed.append(interface)
            elif self._overdue(link) <= now:
                link.asked = now
                solicit.append(interface)
        return solicit, changed

    @staticmethod
    def _judge(link: _Link, asked: float, now: float) -> bool:
        """Give up those that did not answer where others did."""
        link.asked = None
        silent = [one for one in link.routers.values() if one.heard < asked and not one.gone]
        if not any(one.heard >= asked for one in link.routers.values()):
            # Nobody is there, or nobody can be heard: whoever comes back is as good as ever.
            for one in silent:
                one.heard = now
            return False
        for one in silent:
            one.gone = True
        return bool(silent)

    # --- what is to be used

    def choose(
        self, interface: int, gateways: Sequence[IPv6Address], addresses: Iterable[IPv6Address]
    ) -> IPv6Address | None:
        """Return which of the default routers, the kernel's favourite first, is the one to use.

        One that has gone is used when there is no other, and one that goes with none of
        the link's addresses as well.
        """
        if not gateways:
            return None
        link = self._links.setdefault(interface, _Link())
        there = [g for g in gateways if g not in link.routers or not link.routers[g].gone]
        mine = tuple(addresses)
        suitable = [g for g in there if self.addresses(interface, g, mine)]
        found = suitable or there or list(gateways)
        if link.current not in found:
            link.current = found[0]
        return link.current

    def addresses(
        self, interface: int, router: IPv6Address, addresses: Iterable[IPv6Address]
    ) -> tuple[IPv6Address, ...]:
        """Return the addresses that can be care-of addresses by a router, best first.

        Those of its prefixes come first. Those that other routers have announced and it
        has not are left out.
        """
        link = self._links.get(interface)
        if link is None or router not in link.routers or not link.routers[router].prefixes:
            return tuple(addresses)
        own = link.routers[router].prefixes
        others = [p for name, one in link.routers.items() if name != router for p in one.prefixes]
        mine, free = [], []
        for address in addresses:
            if any(address in prefix for prefix in own):
                mine.append(address)
            elif not any(address in prefix for prefix in others):
                free.append(address)
        return (*mine, *free)
