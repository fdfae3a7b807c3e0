# SPDX-License-Identifier: GPL-2.0-only
"""Home prefixes with their lifetimes, and several home addresses of one mobile node.

While a home network is renumbered a mobile node has a home address in the old
prefix and one in the new, both with the same interface identifier (RFC 6275
section 10.6). Both belong to its owner, and both are bound; mobile network
prefixes and the IPv4 home address go with the one that lasts longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network

from ..packet.status import BindingAckStatus
from .binding_cache import Entry
from .config import INFINITE, HomeAgentConfig, HomePrefix
from .registration import LIFETIME_UNIT, Refused


def renumbered(address: IPv6Address, prefix: IPv6Network) -> IPv6Address:
    """Return an address with the same interface identifier in another prefix."""
    host = int(address) & int(prefix.hostmask)
    return IPv6Address(int(prefix.network_address) | host)


def same_in(address: IPv6Address, prefixes: Iterable[HomePrefix]) -> list[IPv6Address]:
    """Return what a home address is called in each home prefix of the same length."""
    lives = list(prefixes)
    own = next((life.prefix for life in lives if address in life.prefix), None)
    if own is None:
        return []
    return [
        renumbered(address, life.prefix)
        for life in lives
        if life.prefix != own and life.prefix.prefixlen == own.prefixlen
    ]


def life_of(config: HomeAgentConfig, address: IPv6Address) -> HomePrefix | None:
    """Return the home prefix of an address, None when nothing limits it."""
    return next((life for life in config.lives if address in life.prefix), None)


def limited(config: HomeAgentConfig, home: IPv6Address, now: float) -> HomeAgentConfig:
    """Return what may be granted to a home address (RFC 6275 section 10.3.1).

    Its lifetime is no longer than that of the prefix. Raises ``Refused`` when the
    prefix is none of this home agent's any more.
    """
    life = life_of(config, home)
    if life is None:
        return config
    valid, preferred = life.lifetimes(now)
    if valid < LIFETIME_UNIT:
        raise Refused(BindingAckStatus.NOT_HOME_SUBNET, f"{life.prefix} is not valid any more")
    return replace(config, lifetime=min(config.lifetime, valid), preferred=preferred)


def shortened(config: HomeAgentConfig, entry: Entry, now: float) -> Entry | None:
    """Return a binding that ends with its prefix; None when it does so already."""
    life = life_of(config, entry.home_address)
    if life is None:
        return None
    valid, _ = life.lifetimes(now)
    if valid == INFINITE or entry.expires <= now + valid:
        return None
    end = now + valid
    paths = {
        bid: replace(path, expires=min(path.expires, end)) for bid, path in entry.paths.items()
    }
    home = entry.home and replace(entry.home, expires=min(entry.home.expires, end))
    return replace(entry, paths=paths, home=home)


def holder(
    config: HomeAgentConfig, entries: Mapping[IPv6Address, Entry], new: Entry, now: float
) -> tuple[Entry, list[Entry]]:
    """Return a new binding, and others of its owner that change because of it.

    Of several home addresses one holds mobile network prefixes and the IPv4 home
    address: the one whose prefix is preferred longest, or else valid longest.
    """
    others = [
        entries[address]
        for address in same_in(new.home_address, config.lives)
        if address in entries and entries[address].owner.identity == new.owner.identity
    ]
    if not others:
        return new, []
    best = max((new, *others), key=lambda entry: _rank(config, entry, now))
    if best is not new:
        return replace(new, prefixes=(), home_address4=None), []
    changed = [
        replace(entry, prefixes=(), home_address4=None)
        for entry in others
        if entry.prefixes or entry.home_address4 is not None
    ]
    return new, changed


def _rank(config: HomeAgentConfig, entry: Entry, now: float) -> tuple[int, int, int]:
    life = life_of(config, entry.home_address)
    valid, preferred = (INFINITE, INFINITE) if life is None else life.lifetimes(now)
    # The later one of two that are as good is the one that its owner wants.
    position = -1 if life is None else config.lives.index(life)
    return preferred, valid, position
