# SPDX-License-Identifier: GPL-2.0-only
"""What the engines are configured with. Times in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from .effects import Network
from .flow_config import Flow
from .ownership import Owner

#: Care-of addresses of one binding: the kernel holds 16 paths, and one in plain
#: IPv4 takes two of them.
PATHS_MAX = 8

#: A lifetime that never ends (RFC 4861 section 4.6.2).
INFINITE = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class HomePrefix:
    """A home prefix and its lifetimes in seconds, as its home agents advertise them.

    With ``counts`` they are what was left at ``since``, else they never run out
    as long as they are advertised (RFC 4861 section 6.2.1).
    """

    prefix: IPv6Network
    valid: int = INFINITE
    preferred: int = INFINITE
    counts: bool = False
    since: float = 0.0

    def lifetimes(self, now: float) -> tuple[int, int]:
        """Return valid and preferred lifetime as of now."""
        passed = int(now - self.since) if self.counts else 0
        left = [
            value if value == INFINITE else max(value - passed, 0)
            for value in (self.valid, self.preferred)
        ]
        return left[0], min(left)


@dataclass(frozen=True, slots=True)
class HomeAgentConfig:
    """A home agent.

    ``home_link`` tells that the home prefixes are on a physical link, where home
    addresses are checked for duplicates and defended (RFC 6275 section 10.4.1).
    ``refresh`` is the Binding Refresh Advice, 0 for half of what was granted.
    ``allow_ip4`` permits IP in IPv4 without UDP where no NAT was found (RFC 5555
    section 4.4.3); without it UDP is asked for everywhere in IPv4. ``pool4`` and
    ``pool6`` hold the home addresses of owners that have none of their own, and
    ``prefix_pool`` the prefixes of ``delegated_length`` bits that are delegated.
    ``several`` lets a router register more than one care-of address (RFC 5648),
    at most ``paths_max``; ``bulk`` lets it do so in one update, ``flows`` lets it bind
    flows to them (RFC 6089), ``copies`` one flow to two of them.
    ``home_and_away`` lets a router keep them at home (RFC 5648 section 5.6). Only where
    ``only_router`` says that there is no other router on the home link does it then
    answer for its home addresses by itself.
    ``lives`` are home prefixes that are renumbered: with lifetimes, and the same
    mobile nodes in each of them. ``preferred`` is how long a granted lifetime may be
    without prefix discovery being needed.
    """

    addresses6: tuple[IPv6Address, ...]
    address4: IPv4Address | None
    prefixes: tuple[IPv6Network, ...]
    owners: tuple[Owner, ...]
    prefixes4: tuple[IPv4Network, ...] = ()
    pool4: tuple[IPv4Network, ...] = ()
    pool6: tuple[IPv6Network, ...] = ()
    prefix_pool: tuple[IPv6Network, ...] = ()
    delegated_length: int = 64
    home_link: bool = False
    lifetime: int = 600
    refresh: int = 0
    nat_keepalive: int = 110
    force_udp: bool = False
    allow_ip4: bool = True
    bindings_max: int = 100_000
    several: bool = True
    bulk: bool = True
    paths_max: int = PATHS_MAX
    flows: bool = True
    copies: bool = False
    home_and_away: bool = True
    only_router: bool = False
    lives: tuple[HomePrefix, ...] = ()
    preferred: int = INFINITE


@dataclass(frozen=True, slots=True)
class AgentAddress:
    """Where a home agent is found; without an IPv4 address it serves IPv6 networks only."""

    address6: IPv6Address
    address4: IPv4Address | None = None


@dataclass(frozen=True, slots=True)
class CorrespondentConfig:
    """A correspondent node.

    ``addresses`` are those at which it takes bindings, ``home_prefixes`` those of
    the home addresses that it optimises routes for; empty means any. ``trusted``
    are home addresses with which it shares IPsec associations: nothing but these
    vouches for them.
    """

    addresses: tuple[IPv6Address, ...] = ()
    home_prefixes: tuple[IPv6Network, ...] = ()
    lifetime: int = 420
    bindings_max: int = 1000
    trusted: frozenset[IPv6Address] = frozenset()


@dataclass(frozen=True, slots=True)
class RouteOptimisationConfig:
    """The mobile router's side of route optimisation.

    ``correspondents`` are those with whom it starts by itself when the home
    address speaks to them. ``protected_tests``: the home agent protects Home Test
    Init and Home Test by ESP, and nothing else is heard. ``trusted`` correspondents
    share IPsec associations with the home address, which take the place of tests.
    """

    enabled: bool = True
    correspondents: tuple[IPv6Network, ...] = ()
    lifetime: int = 420
    correspondents_max: int = 64
    protected_tests: bool = False
    trusted: frozenset[IPv6Address] = frozenset()


@dataclass(frozen=True, slots=True)
class MobileRouterConfig:
    """A mobile router.

    ``home_address4`` is the static IPv4 home address; without it
    ``request_home_address4`` asks for one. ``explicit`` lists the prefixes in
    every update, else the home agent knows them (RFC 3963 section 5.2).
    ``keepalive`` bounds the refresh interval behind a NAT. ``silent_ms`` is how
    long data may go out unanswered before the path is probed, 0 for never.
    ``hysteresis`` is how long a better uplink must last before it is taken while
    the one in use still works. ``key_mobility`` sets the K bit: IKE can follow.
    ``delegated_prefixes`` is how many prefixes it asks for by DHCPv6, ``delegated``
    are those that it was given (RFC 6276).
    ``agents`` are other home agents of the home link, ``any_agent`` tells that keys
    can be had for any there, ``discover`` that they are looked for (RFC 6275 section
    11.4.1). ``link_local`` sets the L bit: the link-local address on the home link
    has the interface identifier of the home address.
    ``home_and_away`` keeps the care-of addresses registered at home (RFC 5648 section
    5.6). ``service`` is selected at a first registration (RFC 5149), "" for none.
    ``dns_name`` shall have the home address in DNS (RFC 5026 section 6). A home
    agent ``::`` is one that is yet to be found.
    """

    home_address: IPv6Address
    home_prefix: IPv6Network
    home_agent6: IPv6Address
    home_agent4: IPv4Address | None = None
    identity: str = ""
    home_address4: IPv4Address | None = None
    request_home_address4: bool = False
    prefixes: tuple[Network, ...] = ()
    explicit: bool = True
    lifetime: int = 600
    force_udp: bool = False
    keepalive: int = 110
    silent_ms: int = 400
    hysteresis: float = 1.0
    key_mobility: bool = False
    port: int = 4191
    several: bool = False
    probe: float = 1.0
    flows: tuple[Flow, ...] = ()
    agents: tuple[AgentAddress, ...] = ()
    any_agent: bool = False
    discover: bool = False
    link_local: bool = False
    delegated_prefixes: int = 0
    delegated: tuple[IPv6Network, ...] = ()
    dns_name: str = ""
    service: str = ""
    home_and_away: bool = False

    @property
    def networks(self) -> tuple[Network, ...]:
        """All mobile network prefixes: those of the configuration and those delegated."""
        return tuple(dict.fromkeys((*self.prefixes, *self.delegated)))

    @property
    def mobile_router(self) -> bool:
        """Whether it registers as a mobile router, or as a plain mobile node."""
        return bool(self.prefixes) or self.delegated_prefixes > 0
