# SPDX-License-Identifier: GPL-2.0-only
"""A mobile router's other home agents: how they are configured, and their keys."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from ..ipsec.association import RowKeys
from ..ipsec.static import derive
from ..mobility.config import AgentAddress
from ..packet.kernel import Address
from . import options as o
from .ike_config import Manager, Payload

if TYPE_CHECKING:
    from .config import MobileRouterSection, Row
    from .options import Section

#: More than any home link has, and each one has its associations in the kernel.
OTHERS_MAX = 15


def read_other_agents(section: Section, first: tuple[IPv6Address, ...]) -> tuple[AgentAddress, ...]:
    """Read ``other_home_agents``: IPv6 addresses, each followed by its IPv4 address if any."""
    option = "other_home_agents"
    addresses: tuple[Address, ...] = section.get(option, o.several(o.address), ())
    found: list[AgentAddress] = []
    for address in addresses:
        if isinstance(address, IPv6Address):
            if address in first or any(address == agent.address6 for agent in found):
                section.fault(option, f"{address} stands there twice")
            found.append(AgentAddress(address))
        elif found and found[-1].address4 is None:
            found[-1] = replace(found[-1], address4=address)
        else:
            section.fault(option, f"{address} follows no IPv6 address of the same home agent")
    if len(found) > OTHERS_MAX:
        section.fault(option, f"allowed are at most {OTHERS_MAX} home agents")
    return tuple(found)


def makes_keys(row: Row) -> bool:
    """Whether keys can be had for any home agent: they are derived, or IKE brings them."""
    return row.plan.manager in (Manager.IKEV2, Manager.NONE) or bool(row.secret)


def with_agents(section: MobileRouterSection) -> MobileRouterSection:
    """Return the section with rows for its other home agents.

    Payload is protected with the one in use only: the policies of two would have
    the same selectors.
    """
    engine = section.engine
    first = section.rows[0] if section.rows else None
    if first is None or not makes_keys(first):
        return section
    used = AgentAddress(engine.home_agent6, engine.home_agent4)
    by_agent = {row.agent: row for row in section.rows}
    plan = next((r.plan for r in section.rows if r.plan.payload is not Payload.NONE), first.plan)
    idle = replace(plan, payload=Payload.NONE, return_routability=Payload.NONE)
    # The order stays as it was: request ids go by it.
    wanted = {agent.address6: agent for agent in (used, *engine.agents)}
    order = [a for a in by_agent if a in wanted] + [a for a in wanted if a not in by_agent]
    rows = []
    for address in order:
        row = by_agent.get(address, first)
        rows.append(
            replace(
                row,
                agent=address,
                agent4=wanted[address].address4,
                keys=_keys(row, address),
                plan=plan if address == used.address6 else idle,
            )
        )
    return replace(section, rows=tuple(rows))


def using(
    section: MobileRouterSection,
    address6: IPv6Address,
    address4: IPv4Address | None,
    others: tuple[AgentAddress, ...],
) -> MobileRouterSection:
    """Return the section with another home agent in use."""
    engine = replace(section.engine, home_agent6=address6, home_agent4=address4, agents=others)
    return with_agents(replace(section, engine=engine))


def _keys(row: Row, agent: IPv6Address) -> RowKeys | None:
    if row.agent == agent or not row.secret:
        return row.keys
    return derive(row.secret, row.home_address, agent)
