# SPDX-License-Identifier: GPL-2.0-only
"""What follows from a configuration and what the host has."""

from __future__ import annotations

from ipaddress import IPv6Network

from ..ipsec.policy import Role as IpsecRole
from .config import Config, Row


def rows_of(config: Config) -> list[tuple[IpsecRole, Row]]:
    """Return the rows whose keys are needed, with the end that this host is."""
    rows: list[tuple[IpsecRole, Row]] = []
    if config.home_agent is not None:
        rows += [(IpsecRole.HOME_AGENT, row) for row in config.home_agent.rows]
    if config.mobile_router is not None:
        found = [row for row in config.mobile_router.rows if not row.agent.is_unspecified]
        found += config.mobile_router.optimisation.rows
        rows += [(IpsecRole.MOBILE_ROUTER, row) for row in found]
    if config.correspondent is not None:
        rows += [(IpsecRole.HOME_AGENT, row) for row in config.correspondent.rows]
    return rows


def home_prefixes(config: Config) -> tuple[IPv6Network, ...]:
    """Return the home prefixes of a home agent."""
    return () if config.home_agent is None else config.home_agent.engine.prefixes
