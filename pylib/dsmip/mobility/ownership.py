# SPDX-License-Identifier: GPL-2.0-only
"""Who may bind what: the one place where that is decided.

An identity may only ever bind the addresses and prefixes it owns (RFC 3963
section 9, RFC 5555 section 4.5). Nothing registers around this.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from ..packet.dns import canonical
from ..packet.status import BindingAckStatus, IPv4Status
from .effects import Address, Network
from .prefix_pool import PrefixPool


@dataclass(frozen=True, slots=True)
class MobilityKey:
    """A mobility security association of a node without IPsec (RFC 4285 section 5.1).

    ``nai`` is what its Mobile Node Identifier says. ``aaa_key`` checks the MN-AAA
    option here, where no AAA server is asked. ``timestamps``: updates carry one, else
    sequence numbers alone protect from replay.
    """

    nai: str
    spi: int
    key: bytes = field(repr=False)
    aaa_key: bytes = field(default=b"", repr=False)
    timestamps: bool = True


#: Addresses that others are known to use.
SPOILT_MAX = 4096


@dataclass(frozen=True, slots=True)
class Owner:
    """An identity and all that is its own.

    Without ``home_address4`` it may be given one from the home agent's pool when
    ``dynamic_home_address4`` is set. With ``dynamic_home_address`` the home
    address is ``::`` until one was given, too. ``key_mobility``: its keys are
    from IKE, which can follow it (the K bit). ``delegated_prefixes`` is how many
    prefixes DHCPv6 may delegate to it at once; ``duid`` is the client that it is
    on the home link, where nothing else tells who asks. ``dns_names`` are the names
    that may have its home address in DNS, None for its identity alone.
    ``authentication`` takes the place of IPsec. ``routing``: of its prefixes those
    are bound that a routing protocol in the tunnel tells (RFC 3963 section 8).
    ``services`` are those that it may select (RFC 5149); None: whatever it selects, it
    gets the only one there is.
    """

    identity: str
    home_address: IPv6Address
    home_address4: IPv4Address | None = None
    prefixes: tuple[Network, ...] = ()
    mobile_router: bool = True
    dynamic_home_address4: bool = False
    dynamic_home_address: bool = False
    key_mobility: bool = False
    delegated_prefixes: int = 0
    duid: bytes = b""
    dns_names: tuple[str, ...] | None = None
    authentication: MobilityKey | None = None
    routing: bool = False
    services: tuple[str, ...] | None = None


def names_of(owner: Owner) -> tuple[str, ...]:
    """Return the names in DNS that are an owner's: its identity, unless others are given."""
    return (canonical(owner.identity),) if owner.dns_names is None else owner.dns_names


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
    """The table of owners. Raises ``ValueError`` if two own the same.

    Home addresses are given from ``pool6``, but for those of ``reserved``, and
    prefixes of ``delegated_length`` from ``prefix_pool``.
    """

    def __init__(
        self,
        owners: Sequence[Owner],
        pool4: Iterable[IPv4Network] = (),
        pool6: Iterable[IPv6Network] = (),
        reserved: Iterable[IPv6Address] = (),
        prefix_pool: Iterable[IPv6Network] = (),
        delegated_length: int = 64,
    ) -> None:
        self._by_home: dict[IPv6Address, Owner] = {}
        self._same: tuple[IPv6Network, ...] = ()
        self._by_identity: dict[str, Owner] = {}
        self._pool4 = tuple(pool4)
        self._pool6 = tuple(pool6)
        self._reserved = frozenset(reserved)
        self._assigned: dict[IPv4Address, str] = {}
        taken: list[tuple[Network, Owner]] = []
        named: dict[str, str] = {}
        for owner in owners:
            self._by_identity[owner.identity] = owner
            for name in names_of(owner):
                if named.setdefault(name, owner.identity) != owner.identity:
                    raise ValueError(f"{name} is a name of {named[name]} and of {owner.identity}")
            mine: list[Network] = [*owner.prefixes]
            if not owner.dynamic_home_address:
                mine.append(IPv6Network(owner.home_address))
                self._by_home[owner.home_address] = owner
            if owner.home_address4:
                mine.append(IPv4Network(owner.home_address4))
                self._assigned[owner.home_address4] = owner.identity
            for network in mine:
                if network.prefixlen == 0:
                    raise ValueError(f"{owner.identity}: {network} would own everything")
            taken += [(network, owner) for network in mine]
        # Sorted, an overlap stands next to what it overlaps or next to another overlap.
        self._spans: dict[int, list[tuple[int, int, str]]] = {4: [], 6: []}
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
                    first, last = int(network[0]), int(network[-1])
                    self._spans[version].append((first, last, owner.identity))

        self._taken6 = [n for n, _ in taken if isinstance(n, IPv6Network)]
        self._prefixes = PrefixPool(prefix_pool, delegated_length, self._taken6)
        self._learned: dict[str, tuple[Network, ...]] = {}
        self._by_duid = {owner.duid: owner.identity for owner in owners if owner.duid}

    def find(self, home_address: IPv6Address) -> Owner | None:
        """Return who owns the home address."""
        owner = self._by_home.get(home_address)
        return owner if owner is not None else self._renumbered(home_address)

    def renumber(self, prefixes: Sequence[IPv6Network]) -> None:
        """Let each owner have the address with its interface identifier in each of these.

        An address that is somebody's own, or in a pool, stays so.
        """
        self._same = tuple(prefixes)

    def _renumbered(self, address: IPv6Address) -> Owner | None:
        here = next((prefix for prefix in self._same if address in prefix), None)
        if here is None or any(address in network for network in (*self._taken6, *self._pool6)):
            return None
        host = int(address) & int(here.hostmask)
        for prefix in self._same:
            if prefix != here and prefix.prefixlen == here.prefixlen:
                owner = self._by_home.get(IPv6Address(int(prefix.network_address) | host))
                if owner is not None:
                    return replace(owner, home_address=address)
        return None

    def owner_of(self, address: Address) -> Owner | None:
        """Return whose prefix, or home address, an address is in."""
        identity = self._prefixes.holder(address) if isinstance(address, IPv6Address) else None
        spans = self._spans[address.version]
        at = bisect.bisect_right(spans, int(address), key=lambda span: span[0]) - 1
        if identity is None and at >= 0 and spans[at][1] >= int(address):
            identity = spans[at][2]
        return None if identity is None else self._by_identity.get(identity)

    def __iter__(self) -> Iterator[Owner]:
        """Yield the owners that have a home address."""
        return iter(list(self._by_home.values()))

    def home_address(self, identity: str, wanted: IPv6Address | None) -> Owner:
        """Return an authenticated identity with its home address (RFC 5026 section 9.2).

        ``wanted`` is but a wish (RFC 4877 section 9). The same identity is given
        the same address as long as its lease is remembered and, the pool being
        searched from a place that the identity determines, most often after that.
        Raises ``NotOwned`` for who is not known, and when the pool is empty.
        """
        owner = self._by_identity.get(identity)
        if owner is None:
            raise NotOwned(BindingAckStatus.NOT_HOME_AGENT, f"{identity} is not known")
        if not owner.dynamic_home_address or owner.home_address in self._by_home:
            return owner
        if wanted is not None and self.adopt(identity, wanted):
            return self._by_identity[identity]
        seed = int.from_bytes(hashlib.sha256(identity.encode()).digest(), "big")
        for pool in self._pool6:
            # More places need not be tried than there are addresses taken.
            crowd = len(self._by_home) + len(self._reserved) + len(self._taken6) + 2
            for step in range(min(pool.num_addresses, crowd)):
                address = pool.network_address + (seed + step) % pool.num_addresses
                if self.adopt(identity, address):
                    return self._by_identity[identity]
        raise NotOwned(BindingAckStatus.INSUFFICIENT_RESOURCES, "the pool of addresses is empty")

    def adopt(self, identity: str, address: IPv6Address) -> bool:
        """Give an address that was given before; False when it cannot be its own any more."""
        owner = self._by_identity.get(identity)
        if owner is None or not owner.dynamic_home_address or owner.home_address in self._by_home:
            return owner is not None and owner.home_address == address
        pool = next((pool for pool in self._pool6 if address in pool), None)
        if (
            pool is None
            # The subnet-router anycast address is every router's (RFC 4291 section 2.6.1).
            or (address == pool.network_address and pool.prefixlen < 127)
            or address in self._reserved
            or address in self._by_home
            or any(address in network for network in self._taken6)
        ):
            return False
        given = replace(owner, home_address=address)
        self._by_identity[identity] = self._by_home[address] = given
        return True

    def spoil(self, address: IPv6Address) -> bool:
        """Take back an address that another node turned out to use; it is not given again.

        False for one that was not given from a pool.
        """
        owner = self._by_home.get(address)
        if owner is None or not owner.dynamic_home_address:
            return False
        del self._by_home[address]
        self._by_identity[owner.identity] = replace(owner, home_address=IPv6Address(0))
        if len(self._reserved) < SPOILT_MAX:
            self._reserved |= {address}
        return True

    def leases(self) -> Mapping[str, IPv6Address]:
        """Return the home addresses that were given, by identity."""
        return {
            owner.identity: owner.home_address
            for owner in self._by_home.values()
            if owner.dynamic_home_address
        }

    def owns_name(self, owner: Owner, name: str) -> bool:
        """Tell whether a name in DNS is an owner's to have (RFC 5026 section 9.5)."""
        return canonical(name) in names_of(owner)

    def prefixes(self, owner: Owner, wanted: Sequence[Network]) -> tuple[Network, ...]:
        """Return the prefixes to bind: all that are asked for, or those on record.

        An empty ``wanted`` is the implicit mode (RFC 3963 section 5.2). Raises
        ``NotOwned`` with 141, 142 or 143; then none may be bound (section 6.2).
        """
        known = self.all_prefixes(owner)
        if not wanted:
            # RFC 6276 section 3.1: it registers first and asks for prefixes then.
            if not known and not owner.delegated_prefixes and not owner.routing:
                raise NotOwned(
                    BindingAckStatus.FORWARDING_SETUP_FAILED, "no prefix is known for it"
                )
            return known
        for network in wanted:
            if network.prefixlen == 0 or network.is_multicast or network.is_link_local:
                raise NotOwned(BindingAckStatus.INVALID_PREFIX, f"{network} cannot be routed")
            if not any(inside(network, own) for own in (*owner.prefixes, *known)):
                raise NotOwned(
                    BindingAckStatus.NOT_AUTHORIZED_FOR_PREFIX, f"{network} is not its own"
                )
        return tuple(dict.fromkeys(wanted))

    def all_prefixes(self, owner: Owner) -> tuple[Network, ...]:
        """Return its prefixes, those of the configuration and those delegated."""
        told = self._learned.get(owner.identity, ()) if owner.routing else owner.prefixes
        return tuple(dict.fromkeys((*told, *self._prefixes.of(owner.identity))))

    def learn(self, identity: str, networks: Iterable[Network]) -> bool:
        """Take what a routing protocol tells of an identity; tell whether that is news.

        Only what is its own by configuration counts (RFC 3963 section 9).
        """
        owner = self._by_identity.get(identity)
        own = owner.prefixes if owner is not None and owner.routing else ()
        found = tuple(n for n in networks if any(inside(n, one) for one in own))
        before = self._learned.pop(identity, ())
        if found:
            self._learned[identity] = found
        return set(found) != set(before)

    def learned(self) -> Mapping[str, tuple[Network, ...]]:
        """Return what routing protocols have told, by identity."""
        return dict(self._learned)

    # --- delegation (RFC 6276)

    def client(self, duid: bytes) -> Owner | None:
        """Return whose client has a DUID on the home link."""
        identity = self._by_duid.get(duid)
        return None if identity is None else self._by_identity[identity]

    def named(self, identity: str) -> Owner | None:
        """Return the owner of that identity."""
        return self._by_identity.get(identity)

    def delegate(
        self, identity: str, held: Collection[IPv6Network], wanted: IPv6Network | None = None
    ) -> IPv6Network:
        """Give an authenticated identity one more prefix than it has with ``held``.

        First those that the configuration gives it, then from the pool. ``wanted``
        is but a wish. Raises ``NotOwned`` when there is none for it.
        """
        owner = self._by_identity.get(identity)
        if owner is None or len(held) >= owner.delegated_prefixes:
            raise NotOwned(BindingAckStatus.NOT_AUTHORIZED_FOR_PREFIX, "no more prefixes are its")
        own = [p for p in owner.prefixes if isinstance(p, IPv6Network) and p not in held]
        if own:
            return wanted if wanted in own and wanted is not None else own[0]
        found = next((one for one in self._prefixes.of(identity) if one not in held), None)
        found = found or self._prefixes.give(identity, wanted)
        if found is None:
            raise NotOwned(BindingAckStatus.INSUFFICIENT_RESOURCES, "the pool of prefixes is empty")
        return found

    def adopt_prefix(self, identity: str, prefix: IPv6Network) -> bool:
        """Give a prefix that was given before; False when it cannot be its own any more."""
        owner = self._by_identity.get(identity)
        if owner is None or not owner.delegated_prefixes:
            return False
        return prefix in owner.prefixes or self._prefixes.adopt(identity, prefix)

    def delegated(self) -> list[tuple[str, IPv6Network]]:
        """Return what was given out of the pool, with its identities."""
        return self._prefixes.given()

    def take_back(self, identity: str, prefix: IPv6Network) -> None:
        """Return a delegated prefix to the pool."""
        self._prefixes.take_back(identity, prefix)

    def prefix4(self, owner: Owner, wanted: IPv4Network) -> IPv4Network:
        """Return an IPv4 prefix that was asked for, or raise ``NotOwned4``."""
        if wanted.prefixlen and any(inside(wanted, own) for own in owner.prefixes):
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


def inside(wanted: Network, own: Network) -> bool:
    """Tell whether a network is another or a part of it."""
    return (
        wanted.version == own.version
        and wanted.prefixlen >= own.prefixlen
        and wanted.network_address in own
    )
