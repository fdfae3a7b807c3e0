# SPDX-License-Identifier: GPL-2.0-only
"""Routers and home agents whose traffic is protected, and where each router is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address

from ..ipsec.association import Association
from ..ipsec.policy import (
    Ends,
    Form,
    Kind,
    Mobile,
    Numbering,
    Place,
    Policy,
    Protection,
    Role,
    Whereabouts,
    policies,
    rows,
)
from ..ipsec.policy import Row as SecurityRow
from ..packet.careof import CareOf
from ..packet.kernel import Address
from .config import Row
from .ike_config import Manager, Payload

_FORMS = {Payload.NONE: None, Payload.INSIDE: Form.INSIDE, Payload.RFC4877: Form.RFC4877}


@dataclass(slots=True)
class Member:
    """One router at one home agent's address.

    ``active`` tells that its policies are, or should be, in the kernel. ``place``
    is where they are. ``told`` tells that the mobility side has said so itself.
    """

    role: Role
    row: Row
    mobile: Mobile
    protection: Protection
    place: Place
    active: bool = True
    told: bool = False
    rows: tuple[SecurityRow, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.rows = rows(self.mobile, self.protection)

    @property
    def known(self) -> bool:
        """Whether its home address is known."""
        return not self.mobile.home_address.is_unspecified

    @property
    def name(self) -> str:
        """Whom it is about, for people: the router's identity, or its home address."""
        return self.row.plan.identity or str(self.mobile.home_address)

    @property
    def moves(self) -> bool:
        """Whether a row has the care-of address as an end."""
        return any(row.moves for row in self.rows)

    def row_of(self, kind: Kind) -> SecurityRow | None:
        """Return its row of a kind."""
        return next((row for row in self.rows if row.kind is kind), None)

    def with_home_address(self, home_address: IPv6Address) -> Member:
        """Return the same router with a home address that it was given."""
        return Member(
            self.role,
            replace(self.row, home_address=home_address),
            replace(self.mobile, home_address=home_address),
            self.protection,
            self.place,
            self.active,
        )

    def policies(self) -> tuple[Policy, ...]:
        """Return what should be in the kernel now."""
        if not (self.active and self.known):
            return ()
        return policies(self.mobile, self.protection, self.role, self.place)

    def agent_for(self, care_of: Address) -> Address:
        """Return the home agent's address in the family of a care-of address."""
        if isinstance(care_of, IPv4Address):
            return self.row.agent4 or IPv4Address(0)
        return self.mobile.agent

    def place_at(self, care_of: CareOf | None, at_home: bool) -> Place:
        """Return the place that a movement leads to, without UDP encapsulation."""
        if care_of is not None:
            return Ends(care_of.address, self.agent_for(care_of.address))
        if at_home or self.role is Role.HOME_AGENT:
            return Whereabouts.HOME
        return Whereabouts.UNKNOWN


def protection_of(row: Row) -> Protection:
    """Return what is protected for a row of the configuration."""
    plan = row.plan
    return Protection(
        signalling=plan.manager is not Manager.NONE,
        prefix_discovery=plan.prefix_discovery,
        delegation=plan.delegation,
        everything=plan.everything,
        return_routability=_FORMS[plan.return_routability],
        payload=_FORMS[plan.payload],
    )


def members(
    configured: Iterable[tuple[Role, Row]], numbering: Numbering
) -> dict[tuple[str, IPv6Address], Member]:
    """Return the members of a configuration by name of the router and home agent.

    The name stands for the router, whether its home address is known or not.
    """
    found: dict[tuple[str, IPv6Address], Member] = {}
    for role, row in configured:
        if row.plan.manager is Manager.NONE:
            continue
        name = row.plan.identity or str(row.home_address)
        second = any(other == name for other, _ in found)
        number = f"{name} {row.agent}" if second else name
        reqid = numbering.first(number, 0 if second else row.plan.reqid)
        mobile = Mobile(row.home_address, row.agent, reqid, row.home_address4, row.prefixes)
        agent = role is Role.HOME_AGENT
        place = Whereabouts.HOME if agent else Whereabouts.UNKNOWN
        # RFC 4877 section 7.2: who is not authenticated yet has no policies.
        active = not (agent and row.plan.manager is Manager.IKEV2)
        found[name, row.agent] = Member(role, row, mobile, protection_of(row), place, active)
    return found


def infer(
    member: Member,
    present: Mapping[int, Iterable[Policy]],
    associations: Mapping[int, Iterable[Association]],
) -> Place | None:
    """Return where the policies of a former daemon are; None when there are none.

    ``present`` and ``associations`` are by request id.
    """
    towards_agent = member.role is Role.MOBILE_ROUTER
    found: Place | None = None
    for row in member.rows:
        outer = next(
            (
                policy.template.outer
                for policy in present.get(row.reqid, ())
                if policy.template is not None
                and policy.template.outer is not None
                and policy.direction.name == "OUT"
            ),
            None,
        )
        if outer is None:
            continue
        if not row.moves:
            found = found or Whereabouts.UNKNOWN
            continue
        router, agent = outer if towards_agent else outer[::-1]
        ports = next(
            (
                (one.encapsulation.source_port, one.encapsulation.destination_port)
                for one in associations.get(row.reqid, ())
                if one.encapsulation is not None and one.destination == agent
            ),
            None,
        )
        return Ends(router, agent, ports)
    return found
