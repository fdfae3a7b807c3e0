# SPDX-License-Identifier: GPL-2.0-only
"""Options of mobile nodes that ask for prefixes, or have no IPsec."""

from __future__ import annotations

from ipaddress import IPv6Network
from typing import Final

from ..mobility.config import HomeAgentConfig
from ..mobility.ownership import MobilityKey, Owner
from ..packet.kernel import Network
from . import options as o
from .ike_config import DELEGATED_MAX, KeyPlan, Payload
from .options import Section

#: RFC 4285 section 5.1: a key has 16 octets, SPIs up to 255 are reserved.
_KEY_SIZE: Final = 16
_LEAST_SPI: Final = 256
_LARGEST_AAA_KEY: Final = 64
_OPTIONS: Final = ("mn_ha_key", "mn_ha_spi", "mn_aaa_key", "nai", "replay")


def read_mobility_key(entry: Section, identity: str) -> MobilityKey | None:
    """Read what authenticates a node with ``protection = "rfc4285"``."""
    wanted = entry.get("protection", lambda value: value == "rfc4285", False)
    key = entry.get("mn_ha_key", o.octets(_KEY_SIZE), b"")
    spi = entry.get("mn_ha_spi", o.integer(_LEAST_SPI, 0xFFFFFFFF), 0)
    found = MobilityKey(
        nai=entry.get("nai", o.text, identity),
        spi=spi,
        key=key,
        aaa_key=entry.get("mn_aaa_key", o.octets(least=_KEY_SIZE, largest=_LARGEST_AAA_KEY), b""),
        timestamps=entry.get("replay", o.choice("timestamp", "sequence"), "timestamp")
        == "timestamp",
    )
    if not wanted:
        for option in _OPTIONS:
            if option in entry:
                entry.fault(option, 'goes with protection = "rfc4285" only')
        return None
    for option in ("mn_ha_key", "mn_ha_spi"):
        if option not in entry:
            entry.fault(option, 'is missing: protection = "rfc4285" needs it')
    if entry.get("delegated_prefixes", o.integer(0, DELEGATED_MAX), 0):
        # RFC 6276 section 4 wants ESP for DHCPv6.
        entry.fault("delegated_prefixes", 'protection = "rfc4285" excludes it')
    if entry.get("prefix_discovery", o.boolean, False):
        entry.fault("prefix_discovery", 'protection = "rfc4285" excludes it')
    return found


def check_routing(section: Section, entry: Section, owner: Owner, plan: KeyPlan) -> None:
    """Note what a router that speaks a routing protocol in the tunnel lacks."""
    if not owner.routing:
        return
    if "learn_table" not in section:
        entry.fault("routing", f"needs learn_table in [{section.name}]")
    if not owner.prefixes:
        entry.fault("prefixes", "is missing: what it may tell of with routing = true")
    if plan.payload is Payload.NONE:
        # RFC 3963 section 8: its messages are authenticated and encrypted.
        entry.fault("routing", 'needs payload = "inside" or "rfc4877"')


def check_prefix_pool(
    section: Section, engine: HomeAgentConfig, prefixes: tuple[Network, ...]
) -> None:
    """Note what is wrong with the pool of prefixes, and who needs one and has none."""
    pools = engine.prefix_pool
    for number, pool in enumerate(pools):
        if pool.prefixlen > engine.delegated_length:
            text = f"{pool} is smaller than a prefix of {engine.delegated_length} bits"
            section.fault("prefix_pool", text)
        for other in (*prefixes, *pools[:number]):
            if isinstance(other, IPv6Network) and pool.overlaps(other):
                section.fault("prefix_pool", f"{pool} overlaps {other}")
    for owner in engine.owners:
        own = any(isinstance(prefix, IPv6Network) for prefix in owner.prefixes)
        if owner.delegated_prefixes and not pools and not own:
            text = f"is missing: {owner.identity} has delegated_prefixes and no prefix of its own"
            section.fault("prefix_pool", text)
