# SPDX-License-Identifier: GPL-2.0-only
"""Prefixes that are delegated out of a pool; asked only by ``ownership``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from ipaddress import IPv6Address, IPv6Network


class PrefixPool:
    """Equal parts of some networks, each with at most one identity.

    ``taken`` are networks that are somebody's by configuration; no part that
    overlaps one of them is ever given.
    """

    def __init__(
        self, networks: Iterable[IPv6Network], length: int, taken: Iterable[IPv6Network] = ()
    ) -> None:
        self._networks = tuple(networks)
        self._length = length
        self._taken = [n for n in taken if any(n.overlaps(one) for one in self._networks)]
        self._given: dict[IPv6Network, str] = {}
        self._of: dict[str, list[IPv6Network]] = {}

    def of(self, identity: str) -> tuple[IPv6Network, ...]:
        """Return what an identity has, in the order in which it was given."""
        return tuple(self._of.get(identity, ()))

    def holder(self, address: IPv6Address) -> str | None:
        """Return the identity in whose prefix an address is."""
        if not self._given:
            return None
        return self._given.get(IPv6Network((int(address), self._length), strict=False))

    def given(self) -> list[tuple[str, IPv6Network]]:
        """Return everything that is given, with its identities."""
        return [(identity, prefix) for prefix, identity in self._given.items()]

    def give(self, identity: str, wanted: IPv6Network | None = None) -> IPv6Network | None:
        """Give one more prefix, None when there is none left.

        ``wanted`` is but a wish. The search starts at a place that the identity
        determines, so that it most often finds what it had before.
        """
        if wanted is not None and wanted not in self._given and self.adopt(identity, wanted):
            return wanted
        seed = int.from_bytes(hashlib.sha256(identity.encode()).digest(), "big")
        for network in self._networks:
            size = 1 << (128 - self._length)
            total = network.num_addresses // size
            # More places need not be tried than can be occupied: of the networks
            # that are taken each may cover many parts.
            crowd = len(self._given) + sum(max(n.num_addresses // size, 1) for n in self._taken)
            first = int(network.network_address)
            for step in range(min(total, crowd + 1)):
                at = first + (seed + step) % total * size
                found = IPv6Network((at, self._length))
                if found not in self._given and self.adopt(identity, found):
                    return found
        return None

    def adopt(self, identity: str, prefix: IPv6Network) -> bool:
        """Give just that prefix; False when it is another's or no part of the pool."""
        holder = self._given.get(prefix)
        if holder is not None:
            return holder == identity
        if (
            prefix.prefixlen != self._length
            or not any(prefix.subnet_of(network) for network in self._networks)
            or any(prefix.overlaps(one) for one in self._taken)
        ):
            return False
        self._given[prefix] = identity
        self._of.setdefault(identity, []).append(prefix)
        return True

    def take_back(self, identity: str, prefix: IPv6Network) -> None:
        """Return a prefix to the pool."""
        if self._given.get(prefix) != identity:
            return
        del self._given[prefix]
        self._of[identity].remove(prefix)
        if not self._of[identity]:
            del self._of[identity]
