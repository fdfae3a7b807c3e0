# SPDX-License-Identifier: GPL-2.0-only
"""What a home agent defends on the home link for a router that is away."""

from __future__ import annotations

from .binding_cache import Entry, link_local
from .config import HomeAgentConfig
from .effects import Address, Effect, Proxy


def defend(config: HomeAgentConfig, before: Entry | None, after: Entry | None) -> list[Effect]:
    """Defend what a binding needs defended, and no more than that (RFC 6275 section 10.4.1).

    ``before`` is the version of the binding that ``after`` replaces.
    """
    old, new = _defended(config, before), _defended(config, after)
    router = after is not None and after.mobile_router
    return [
        *(Proxy(address, False, False) for address in old if address not in new),
        *(Proxy(address, True, router) for address in new if address not in old),
    ]


def _defended(config: HomeAgentConfig, entry: Entry | None) -> list[Address]:
    if entry is None or not config.home_link:
        return []
    if entry.home is not None and config.only_router:
        return []  # it is there itself (RFC 5648 section 6.3)
    addresses: list[Address] = []
    if any(entry.home_address in prefix for prefix in config.prefixes):
        addresses.append(entry.home_address)
        if entry.link_local:
            addresses.append(link_local(entry.home_address))
    four = None if entry.at_home else entry.home_address4  # RFC 5648 is about IPv6 alone
    if four is not None and any(four in prefix for prefix in config.prefixes4):
        addresses.append(four)
    return addresses
