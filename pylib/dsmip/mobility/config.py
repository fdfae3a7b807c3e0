# SPDX-License-Identifier: GPL-2.0-only
"""What the engines are configured with. Times in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from .effects import Network
from .ownership import Owner


@dataclass(frozen=True, slots=True)
class HomeAgentConfig:
    """A home agent.

    ``home_link`` tells that the home prefixes are on a physical link, where home
    addresses are checked for duplicates and defended (RFC 6275 section 10.4.1).
    ``refresh`` is the Binding Refresh Advice, 0 for half of what was granted.
    ``allow_ip4`` permits IP in IPv4 without UDP where no NAT was found (RFC 5555
    section 4.4.3); without it UDP is asked for everywhere in IPv4.
    """

    addresses6: tuple[IPv6Address, ...]
    address4: IPv4Address | None
    prefixes: tuple[IPv6Network, ...]
    owners: tuple[Owner, ...]
    prefixes4: tuple[IPv4Network, ...] = ()
    pool4: tuple[IPv4Network, ...] = ()
    home_link: bool = False
    lifetime: int = 600
    refresh: int = 0
    nat_keepalive: int = 110
    force_udp: bool = False
    allow_ip4: bool = True
    bindings_max: int = 100_000


@dataclass(frozen=True, slots=True)
class MobileRouterConfig:
    """A mobile router.

    ``home_address4`` is the static IPv4 home address; without it
    ``request_home_address4`` asks for one. ``explicit`` lists the prefixes in
    every update, else the home agent knows them (RFC 3963 section 5.2).
    ``keepalive`` bounds the refresh interval behind a NAT. ``silent_ms`` is how
    long data may go out unanswered before the path is probed, 0 for never.
    ``hysteresis`` is how long a better uplink must last before it is taken while
    the one in use still works.
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
    port: int = 4191
