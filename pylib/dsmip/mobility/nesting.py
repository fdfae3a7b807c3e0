# SPDX-License-Identifier: GPL-2.0-only
"""Mobile networks in mobile networks (RFC 3963 section 2, RFC 4888).

A router whose care-of address is in another's mobile network is reached through
that one. As long as this leads to the Internet in the end it needs nothing special.
Where it leads back, packets for either would go round between home agent and
nobody: such a care-of address is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv6Address

from .binding_cache import Entry
from .effects import Address
from .ownership import Ownership

#: Nobody nests so deep; each level costs a header, and the kernel carries fewer.
DEPTH_MAX = 8


def leads_back(
    entries: Mapping[IPv6Address, Entry], ownership: Ownership, home: IPv6Address, care_of: Address
) -> bool:
    """Tell whether the way to a care-of address leads through the router that has it."""
    reached = {care_of}
    for _ in range(DEPTH_MAX):
        further: set[Address] = set()
        for address in reached:
            owner = ownership.owner_of(address)
            if owner is None:
                continue
            if owner.home_address == home:
                return True
            entry = entries.get(owner.home_address)
            if entry is not None:
                further |= {path.care_of.address for path in entry.paths.values()}
        if not further:
            return False
        reached = further
    return True
