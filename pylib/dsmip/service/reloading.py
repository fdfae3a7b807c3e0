# SPDX-License-Identifier: GPL-2.0-only
"""What a reload cannot change, and rows that follow prefixes while the daemon runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..ipsec.policy import Role as IpsecRole
from .agent import HomeAgentRole
from .config import Config, Row
from .ike_config import Payload
from .router import MobileRouterRole

Rows = list[tuple[IpsecRole, Row]]


def fixed_options(old: Config, new: Config) -> str:
    """Name the option that differs and can only change at a restart; "" for none."""
    if old.home_agent and new.home_agent:
        for option in ("interface", "learn_table"):
            if getattr(old.home_agent, option) != getattr(new.home_agent, option):
                return f"[home_agent] {option}"
    if (
        old.mobile_router
        and new.mobile_router
        and old.mobile_router.advertise != new.mobile_router.advertise
    ):
        return "[mobile_router] advertise"
    return ""


def rows_with_prefixes(
    rows: Iterable[tuple[IpsecRole, Row]],
    router: MobileRouterRole | None,
    agent: HomeAgentRole | None,
) -> Rows | None:
    """Return the rows with the prefixes that were delegated; None when nothing depends on them."""
    found = list(rows)
    if not any(row.plan.delegation and row.plan.payload is not Payload.NONE for _, row in found):
        return None
    return [(role, _with_prefixes(role, row, router, agent)) for role, row in found]


def _with_prefixes(
    role: IpsecRole, row: Row, router: MobileRouterRole | None, agent: HomeAgentRole | None
) -> Row:
    if role is IpsecRole.MOBILE_ROUTER and router is not None:
        return replace(row, prefixes=router.section.engine.networks)
    if role is IpsecRole.HOME_AGENT and agent is not None and row.plan.delegation:
        table = agent.engine.ownership
        owner = table.named(row.plan.identity)
        return row if owner is None else replace(row, prefixes=table.all_prefixes(owner))
    return row
