# SPDX-License-Identifier: GPL-2.0-only
"""Router advertisements on the links of the mobile network (RFC 4861 section 6.2).

Only ever there, and on the home link of a home agent (RFC 6275 section 7): on an uplink
a mobile router advertises nothing (RFC 3963 section 5.6). What a mobile router tells
depends on the registration. Without one the router is no
default router and its prefixes are deprecated; a prefix that the home agent
refused, or that is no longer the router's, has no lifetime left (section 5.4.2).
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network

from ..packet.errors import PacketError
from ..packet.icmp6 import (
    HomeAgentInformation,
    LinkMtu,
    NdOption,
    PrefixInformation,
    RouterAdvertisement,
    RouterSolicitation,
    SourceLinkLayerAddress,
    parse,
    recursive_dns,
)
from .effects import Count

#: Between unsolicited advertisements, in seconds (MaxRtrAdvInterval and the least).
INTERVAL_MOST = 200.0
INTERVAL_LEAST = 66.0
#: RFC 4861 section 10.
MIN_DELAY_BETWEEN = 3.0
SOLICITED_DELAY_MOST = 0.5
INITIAL_INTERVAL = 16.0
INITIAL = 3
ROUTER_LIFETIME = 600
#: What hosts are promised at most: a router that is switched off is soon forgotten.
PREFERRED_MOST = 1800
VALID_MOST = 7200
#: RFC 4862 section 5.5.3: for so long hosts keep a prefix that ends without notice.
WITHDRAWN_FOR = 7200.0
WITHDRAWN_MAX = 32
AGAIN = 1.0
_SLACK = 2.0
_AUTOCONFIGURED = 64


@dataclass(frozen=True, slots=True)
class OnLink:
    """A prefix of one link; the ends are times of the engine's clock, infinity for never.

    ``router`` is the router's own address there, which is told instead of the prefix
    (RFC 6275 section 7.2). No more than the last two is promised, in seconds.
    """

    prefix: IPv6Network
    preferred_until: float = float("inf")
    valid_until: float = float("inf")
    router: IPv6Address | None = None
    valid_most: int = VALID_MOST
    preferred_most: int = PREFERRED_MOST


@dataclass(frozen=True, slots=True)
class AgentPart:
    """What a home agent tells besides (RFC 6275 section 7.4, RFC 3963 section 4.4)."""

    preference: int = 0
    mobile_routers: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """What is told on one link; ``default``: the router leads to everywhere now.

    ``agent``: it is the home link of a home agent, whose prefixes do not depend on that.
    """

    interface: int
    link_layer: bytes
    prefixes: tuple[OnLink, ...] = ()
    default: bool = False
    mtu: int = 0
    dns: tuple[IPv6Address, ...] = ()
    agent: AgentPart | None = None


@dataclass(frozen=True, slots=True)
class SendAdvertisement:
    """Multicast an advertisement on a link, from its link-local address."""

    interface: int
    message: RouterAdvertisement


AdvertisingEffect = SendAdvertisement | Count


@dataclass(slots=True)
class _State:
    link: Link
    next_at: float
    last: float = float("-inf")
    initial: int = INITIAL
    withdrawn: dict[IPv6Network, float] = field(default_factory=dict)


def parts(networks: Iterable[IPv6Network], count: int) -> list[list[IPv6Network]]:
    """Return for each of ``count`` links its part of each network.

    A network of 64 bits or more cannot be divided and goes to the first link.
    """
    found: list[list[IPv6Network]] = [[] for _ in range(count)]
    for network in networks:
        if network.prefixlen >= _AUTOCONFIGURED:
            for here in found[:1]:
                here.append(network)
            continue
        first = int(network.network_address)
        for number, here in enumerate(found[: 1 << (_AUTOCONFIGURED - network.prefixlen)]):
            here.append(IPv6Network((first + (number << 64), _AUTOCONFIGURED)))
    return found


class Advertiser:
    """The engine for all links of a mobile network."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)
        self._states: dict[int, _State] = {}

    def update(self, links: Iterable[Link], now: float) -> None:
        """Take the complete list of links as they are now; tell hosts what changed at once."""
        wanted = {link.interface: link for link in links}
        for gone in self._states.keys() - wanted.keys():
            del self._states[gone]
        for interface, link in wanted.items():
            state = self._states.get(interface)
            if state is None:
                self._states[interface] = _State(link, now)
                continue
            if state.link == link:
                continue
            present = {one.prefix for one in link.prefixes}
            for one in state.link.prefixes:
                if one.prefix not in present and len(state.withdrawn) < WITHDRAWN_MAX:
                    state.withdrawn[one.prefix] = now + WITHDRAWN_FOR
            for prefix in present:
                state.withdrawn.pop(prefix, None)
            if _told(state.link) != _told(link) or _shorter(state.link, link):
                state.initial = INITIAL
                state.next_at = min(state.next_at, max(now, state.last + MIN_DELAY_BETWEEN))
            state.link = link

    def solicited(
        self, interface: int, source: IPv6Address, data: bytes, now: float
    ) -> list[AdvertisingEffect]:
        """Handle a Router Solicitation whose hop limit was 255 (RFC 4861 section 6.1.1)."""
        state = self._states.get(interface)
        if state is None:
            return [Count("rs_elsewhere")]
        try:
            message = parse(data)
        except PacketError:
            return [Count("rs_malformed")]
        if not isinstance(message, RouterSolicitation):
            return [Count("rs_malformed")]
        named = any(isinstance(one, SourceLinkLayerAddress) for one in message.options)
        if not (source.is_link_local or source.is_unspecified) or (source.is_unspecified and named):
            return [Count("rs_malformed")]
        at = now + self._random.uniform(0, SOLICITED_DELAY_MOST)
        state.next_at = min(state.next_at, max(at, state.last + MIN_DELAY_BETWEEN))
        return [Count("rs_received")]

    def failed(self, interface: int, now: float) -> None:
        """Hear that an advertisement could not be sent."""
        state = self._states.get(interface)
        if state is not None:
            state.last = float("-inf")
            state.next_at = now + AGAIN

    def next_timer(self) -> float | None:
        """Return when ``handle_timer`` wants to be called, None for never."""
        return min((state.next_at for state in self._states.values()), default=None)

    def handle_timer(self, now: float) -> list[AdvertisingEffect]:
        """Send what is due."""
        effects: list[AdvertisingEffect] = []
        for state in self._states.values():
            if state.next_at > now:
                continue
            effects.append(SendAdvertisement(state.link.interface, self._message(state, now)))
            effects.append(Count("ra_sent"))
            state.last = now
            wait = self._random.uniform(INTERVAL_LEAST, INTERVAL_MOST)
            state.initial = max(state.initial - 1, 0)
            state.next_at = now + (min(wait, INITIAL_INTERVAL) if state.initial else wait)
        return effects

    def stop(self, now: float) -> list[AdvertisingEffect]:
        """Say that the router is one no more (RFC 4861 section 6.2.5)."""
        effects: list[AdvertisingEffect] = []
        for state in self._states.values():
            link = state.link
            # Those of a home link are not only this router's.
            prefixes = () if link.agent else link.prefixes
            ended = Link(link.interface, link.link_layer, prefixes)
            message = self._message(_State(ended, now, withdrawn=state.withdrawn), now)
            effects.append(SendAdvertisement(link.interface, message))
        self._states.clear()
        return effects

    def _message(self, state: _State, now: float) -> RouterAdvertisement:
        link = state.link
        options: list[NdOption] = []
        if len(link.link_layer) == 6:
            options.append(SourceLinkLayerAddress(link.link_layer))
        if link.mtu:
            options.append(LinkMtu(link.mtu))
        for one in link.prefixes:
            valid = _left(one.valid_until, one.valid_most, now)
            used = link.default or link.agent is not None
            preferred = _left(one.preferred_until, one.preferred_most, now) if used else 0
            options.append(_information(one.prefix, valid, min(preferred, valid), one.router))
        for prefix, until in list(state.withdrawn.items()):
            if until <= now:
                del state.withdrawn[prefix]
            else:
                options.append(_information(prefix, 0, 0))
        if link.dns and link.default:
            options.append(recursive_dns(ROUTER_LIFETIME, link.dns))
        if link.agent is not None:
            options += _agent(link.agent, link.default)
        return RouterAdvertisement(
            hop_limit=64,
            lifetime=ROUTER_LIFETIME if link.default else 0,
            home_agent=link.agent is not None,
            options=tuple(options),
        )


def _agent(part: AgentPart, default: bool) -> list[NdOption]:
    """Return the Home Agent Information option, unless it would say what is known without."""
    if default and part == AgentPart():
        return []
    return [
        HomeAgentInformation(
            mobile_router=part.mobile_routers,
            preference=part.preference,
            lifetime=ROUTER_LIFETIME,
        )
    ]


def _told(link: Link) -> tuple[object, ...]:
    """Return what hosts must learn of at once: not that a lifetime became longer."""
    prefixes = {(p.prefix, p.router, p.valid_most, p.preferred_most) for p in link.prefixes}
    return prefixes, link.default, link.mtu, link.dns, link.agent


def _shorter(before: Link, after: Link) -> bool:
    """Tell whether a prefix ends, or is deprecated, earlier than hosts were told."""
    ends = {one.prefix: one for one in before.prefixes}
    return any(
        one.preferred_until < ends[one.prefix].preferred_until - _SLACK
        or one.valid_until < ends[one.prefix].valid_until - _SLACK
        for one in after.prefixes
        if one.prefix in ends
    )


def _left(until: float, most: int, now: float) -> int:
    return int(max(min(until - now, most), 0))


def _information(
    prefix: IPv6Network, valid: int, preferred: int, router: IPv6Address | None = None
) -> PrefixInformation:
    return PrefixInformation(
        router or prefix.network_address,
        prefix.prefixlen,
        on_link=True,
        autonomous=prefix.prefixlen == _AUTOCONFIGURED,
        router=router is not None,
        valid_lifetime=valid,
        preferred_lifetime=preferred,
    )
