# SPDX-License-Identifier: GPL-2.0-only
"""What must hold between the parts of a home agent's configuration."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING

from ..mobility.config import HomeAgentConfig
from ..mobility.ownership import Owner, Ownership
from ..packet.kernel import Network
from .options import Section

if TYPE_CHECKING:
    from .config import Row


def check_pool(
    section: Section, pool6: tuple[IPv6Network, ...], prefixes: tuple[Network, ...]
) -> None:
    """Note pools of home addresses that are outside of the home prefixes."""
    for pool in pool6:
        if not any(isinstance(p, IPv6Network) and pool.subnet_of(p) for p in prefixes):
            section.fault("pool6", f"{pool} must be in a home prefix of the agent")


def check_owners(section: Section, owners: list[Owner], engine: HomeAgentConfig) -> None:
    """Note what is given to two routers."""
    seen: dict[object, str] = {}
    for owner in owners:
        keys: list[object] = [owner.identity]
        keys += [] if owner.dynamic_home_address else [owner.home_address]
        keys += [owner.home_address4] if owner.home_address4 else []
        keys += [f"DUID {owner.duid.hex()}"] if owner.duid else []
        for key in keys:
            if key in seen and key not in ("?", IPv6Address(0)):
                section.fault("router", f"{key} is given to {seen[key]} and to {owner.identity}")
                return
            seen[key] = owner.identity
    try:
        Ownership(
            owners,
            engine.pool4,
            engine.pool6,
            engine.addresses6,
            engine.prefix_pool,
            engine.delegated_length,
        )
    except ValueError as error:
        section.fault("router", str(error))


def check_spis(section: Section, rows: list[Row], owners: list[Owner]) -> None:
    """Note SPIs that two routers have."""
    names = {row.home_address: str(row.home_address) for row in rows}
    names |= {owner.home_address: owner.identity for owner in owners}
    seen: dict[tuple[IPv6Address, int], str] = {}
    for row in rows:
        if row.keys is None:
            continue
        key, name = (row.agent, row.keys.to_agent.spi), names[row.home_address]
        if key in seen:
            spi = row.keys.to_agent.spi
            section.fault("router", f"{seen[key]} and {name} both use SPI 0x{spi:08x}")
        seen[key] = name
