# SPDX-License-Identifier: GPL-2.0-only
"""Configuration of direct paths: the section [correspondent], and the router's options."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address, IPv6Network
from typing import Final

from ..mobility.config import CorrespondentConfig, RouteOptimisationConfig
from ..mobility.return_routability import MAX_RR_BINDING_LIFETIME
from . import options as o
from .ike_config import IkeSection, KeyPlan, Manager, Payload, read_plan
from .ike_config import identity as read_identity
from .options import Section
from .row_config import Row, check_plan, read_rows

_NOWHERE: Final = IPv6Address(0)


@dataclass(frozen=True, slots=True)
class CorrespondentSection:
    """The correspondent's role; ``rows`` are for nodes with which it shares keys."""

    engine: CorrespondentConfig = field(default_factory=CorrespondentConfig)
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class OptimisationSection:
    """The router's side; ``rows`` are for correspondents with which it shares keys."""

    engine: RouteOptimisationConfig = field(default_factory=RouteOptimisationConfig)
    rows: tuple[Row, ...] = ()

    def with_home_address(self, home_address: IPv6Address) -> OptimisationSection:
        """Return the same with another home address."""
        return replace(
            self, rows=tuple(replace(row, home_address=home_address) for row in self.rows)
        )


def read_correspondent(section: Section, source: str, ike: IkeSection) -> CorrespondentSection:
    """Read the section [correspondent]."""
    plain = CorrespondentConfig()
    addresses: tuple[IPv6Address, ...] = section.get("addresses", o.several(o.address6), ())
    name = section.get("identity", read_identity, "")
    rows: list[Row] = []
    for entry in section.sections("trusted"):
        home = entry.need("home_address", o.address6, _NOWHERE)
        router = entry.get("identity", read_identity, "")
        plan = read_plan(entry, source, router or str(home), name)
        check_plan(entry, plan, ike, home, agent_side=True)
        if plan.manager is Manager.IKEV2 and not (router and name):
            entry.fault("identity", 'is missing, here or above: keys = "ikev2" needs names')
        rows += read_rows(entry, home, addresses, _whole(entry, plan), agent_side=True)
        entry.finish()
    if "trusted" in section and not addresses:
        section.fault("addresses", "is missing: keys are shared by addresses")
    found = CorrespondentConfig(
        addresses=addresses,
        home_prefixes=section.get("home_prefixes", o.several(o.prefix6), ()),
        lifetime=section.get("lifetime", o.integer(4, MAX_RR_BINDING_LIFETIME), plain.lifetime),
        bindings_max=section.get("bindings_max", o.integer(1, 100_000), plain.bindings_max),
        trusted=frozenset(row.home_address for row in rows),
    )
    section.finish()
    return CorrespondentSection(found, tuple(rows))


def read_optimisation(
    section: Section, source: str, ike: IkeSection, home_address: IPv6Address, plan: KeyPlan
) -> OptimisationSection:
    """Read the router's options of route optimisation, and its ``trusted`` correspondents.

    On unless payload is protected: what goes directly is not the home agent's to see.
    """
    excluded = ""
    if plan.payload is not Payload.NONE:
        excluded = f'payload = "{plan.payload.value}" excludes it: direct packets are in clear'
    elif plan.return_routability is Payload.RFC4877:
        excluded = 'needs return_routability = "inside" or "none"'
    elif section.get("protection", lambda value: value == "rfc4285", False):
        # RFC 4285 section 2: its tests would be without protection.
        excluded = 'protection = "rfc4285" excludes it'
    rows: list[Row] = []
    for entry in section.sections("trusted"):
        address = entry.need("address", o.address6, _NOWHERE)
        name = entry.get("identity", read_identity, "")
        own = read_plan(entry, source, plan.identity, name)
        if own.manager is Manager.IKEV2 and not name:
            entry.fault("identity", 'is missing: keys = "ikev2" needs the correspondent\'s')
        check_plan(entry, own, ike, home_address, agent_side=bool(not name))
        rows += read_rows(entry, home_address, (address,), _whole(entry, own), agent_side=False)
        entry.finish()
    enabled = section.get("route_optimisation", o.boolean, not excluded)
    correspondents: tuple[IPv6Network, ...] = section.get(
        "correspondents", o.several(o.prefix6), ()
    )
    if excluded and enabled:
        section.fault("route_optimisation", excluded)
    for option, given in (("correspondents", correspondents), ("trusted", rows)):
        if given and (excluded or not enabled):
            why = f", but {excluded}" if excluded else " = true"
            section.fault(option, f"needs route_optimisation{why}")
    engine = RouteOptimisationConfig(
        enabled=enabled,
        correspondents=correspondents,
        protected_tests=plan.return_routability is Payload.INSIDE,
        trusted=frozenset(row.agent for row in rows),
    )
    return OptimisationSection(engine, tuple(rows))


def _whole(entry: Section, plan: KeyPlan) -> KeyPlan:
    """Return a plan for all that goes between both, and for nothing else."""
    forms = {"payload": plan.payload, "return_routability": plan.return_routability}
    for option, form in forms.items():
        if form is not Payload.NONE:
            entry.fault(option, "is not for correspondents: all between both is protected")
    return replace(
        plan,
        payload=Payload.NONE,
        return_routability=Payload.NONE,
        prefix_discovery=False,
        delegation=False,
        everything=True,
    )
