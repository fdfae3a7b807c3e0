# SPDX-License-Identifier: GPL-2.0-only
"""Who may bind what: the one place where that is decided.

An identity may only ever bind the addresses and prefixes it owns (RFC 3963
section 9, RFC 5555 section 4.5). Nothing registers around this.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from ..packet.status import BindingAckStatus, IPv4Status
from .effects import Network


@dataclass(frozen=True, slots=True)
class Owner:
    """An identity and all that is its own.

    Without ``home_address4`` it may be given one from the home agent's pool when
    ``dynamic_home_address4`` is set.
    """

    identity: str
    home_address: IPv6Address
    home_address4: IPv4Address | None = None
    prefixes: tuple[Network, ...] = ()
    mobile_router: bool = True
    dynamic_home_address4: bool = False


class NotOwned(Exception):
    """A registration asks for more than its identity owns; carries the status."""

    def __init__(self, status: BindingAckStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class NotOwned4(Exception):
    """The same for an IPv4 Home Address option; the rest of the update stands."""

    def __init__(self, status: IPv4Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and (
        one.network_address in other or other.network_address in one
    )


class Ownership:
    """The table of owners. Raises ``ValueError`` if two own the same."""

    def __init__(self, owners: Iterable[Owner], pool4: Iterable[IPv4Network] = ()) -> None:
        self._by_home: dict[IPv6Address, Owner] = {}
        self._pool4 = tuple(pool4)
        self._assigned: dict[IPv4Address, str] = {}
        taken: list[tuple[Network, Owner]] = []
        for owner in owners:
            mine: list[Network] = [IPv6Network(owner.home_address), *owner.prefixes]
            if owner.home_address4:
                mine.append(IPv4Network(owner.home_address4))
                self._assigned[owner.home_address4] = owner.identity
            for network in mine:
                if network.prefixlen == 0:
                    raise ValueError(f"{owner.identity}: {network} would own everything")
            taken += [(network, owner) for network in mine]
            self._by_home[owner.home_address] = owner
        # Sorted, an overlap stands next to what it overlaps or next to another overlap.
        for version in (4, 6):
            row = sorted(
                ((n, o) for n, o in taken if n.version == version),
                key=lambda entry: (int(entry[0].network_address), entry[0].prefixlen),
            )
            widest: tuple[Network, Owner] | None = None
            for network, owner in row:
                if widest and _overlap(widest[0], network) and widest[1] is not owner:
                    raise ValueError(
                        f"{owner.identity}: {network} overlaps {widest[0]} of {widest[1].identity}"
                    )
                if not widest or not _overlap(widest[0], network):
                    widest = (network, owner)

    def find(self, home_address: IPv6Address) -> Owner | None:
        """Return who owns the home address."""
        return self._by_home.get(home_address)

    def prefixes(self, owner: Owner, wanted: Sequence[Network]) -> tuple[Network, ...]:
        """Return the prefixes to bind: all that are asked for, or those on record.

        An empty ``wanted`` is the implicit mode (RFC 3963 section 5.2). Raises
        ``NotOwned`` with 141, 142 or 143; then none may be bound (section 6.2).
        """
        if not wanted:
            if not owner.prefixes:
                raise NotOwned(
                    BindingAckStatus.FORWARDING_SETUP_FAILED, "no prefix is known for it"
                )
            return owner.prefixes
        for network in wanted:
            if network.prefixlen == 0 or network.is_multicast or network.is_link_local:
                raise NotOwned(BindingAckStatus.INVALID_PREFIX, f"{network} cannot be routed")
            if not any(_inside(network, own) for own in owner.prefixes):
                raise NotOwned(
                    BindingAckStatus.NOT_AUTHORIZED_FOR_PREFIX, f"{network} is not its own"
                )
        return tuple(dict.fromkeys(wanted))

    def prefix4(self, owner: Owner, wanted: IPv4Network) -> IPv4Network:
        """Return an IPv4 prefix that was asked for, or raise ``NotOwned4``."""
        if wanted.prefixlen and any(_inside(wanted, own) for own in owner.prefixes):
            return wanted
        raise NotOwned4(IPv4Status.PREFIX_UNAUTHORIZED, f"{wanted} is not its own")

    def home_address4(self, owner: Owner, wanted: IPv4Address | None) -> IPv4Address:
        """Return the IPv4 home address; ``wanted`` None asks for any.

        The same identity is given the same address as long as the table lives
        and, the pool being searched from a place that the identity determines,
        most often after that. Raises ``NotOwned4``.
        """
        if owner.home_address4:
            if wanted not in (None, owner.home_address4):
                raise NotOwned4(IPv4Status.INCORRECT_HOME_ADDRESS, f"{wanted} is not its own")
            return owner.home_address4
        if not owner.dynamic_home_address4:
            raise NotOwned4(
                IPv4Status.DYNAMIC_ASSIGNMENT_NOT_AVAILABLE, "it has no IPv4 home address"
            )
        for address, identity in self._assigned.items():
            if identity == owner.identity:
                if wanted not in (None, address):
                    raise NotOwned4(IPv4Status.INCORRECT_HOME_ADDRESS, f"{wanted} is not its own")
                return address
        address = self._assign(owner.identity, wanted)
        self._assigned[address] = owner.identity
        return address

    def adopt4(self, owner: Owner, address: IPv4Address) -> None:
        """Remember an address that was given away before a restart."""
        if owner.dynamic_home_address4 and any(address in pool for pool in self._pool4):
            self._assigned.setdefault(address, owner.identity)

    def _assign(self, identity: str, wanted: IPv4Address | None) -> IPv4Address:
        if wanted is not None:
            if any(wanted in pool for pool in self._pool4) and wanted not in self._assigned:
                return wanted
            raise NotOwned4(IPv4Status.INCORRECT_HOME_ADDRESS, f"{wanted} is not to be had")
        seed = int.from_bytes(identity.encode(), "big")
        for pool in self._pool4:
            hosts = max(pool.num_addresses - 2, 1)
            for step in range(hosts):
                offset = (seed + step) % hosts + (1 if pool.num_addresses > 2 else 0)
                address = pool.network_address + offset
                if address not in self._assigned:
                    return address
        raise NotOwned4(IPv4Status.DYNAMIC_ASSIGNMENT_NOT_AVAILABLE, "the pool is empty")


def _inside(wanted: Network, own: Network) -> bool:
    return (
        wanted.version == own.version
        and wanted.prefixlen >= own.prefixlen
        and wanted.network_address in own
    )
