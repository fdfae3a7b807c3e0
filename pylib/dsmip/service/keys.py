# SPDX-License-Identifier: GPL-2.0-only
"""Who gives and keeps the keys of the rows that ``ipsec.policy`` computes.

Managers share one kernel: each says which policies and associations it wants,
and ``Keys`` makes the kernel hold the sum.
"""

from __future__ import annotations

import hmac
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import IPv6Address
from itertools import islice
from typing import Any, Final, Protocol

from ..ipsec.association import Association, Installed, SecurityProtocol
from ..ipsec.movement import Ability, Step, plan
from ..ipsec.policy import (
    Ends,
    Kind,
    Numbering,
    Place,
    Policy,
    Role,
    Whereabouts,
    associations,
    block_policy,
    bypass_policies,
    correspondent_policy,
)
from ..ipsec.policy import Row as SecurityRow
from ..ipsec.static import derive
from ..ipsec.synchronise import Database, synchronise
from ..packet.careof import CareOf
from ..packet.kernel import Address
from .config import Row
from .ike_config import Manager
from .members import Member, infer, members

log = logging.getLogger(__name__)

Key = tuple[str, IPv6Address]
Rows = Sequence[tuple[Role, Row]]
#: Static keys of payload are made of the same secret as those of signalling.
_PAYLOAD_LABEL: Final = b"dsmip payload"


class KeyManager(Protocol):
    """Mobility's view of IPsec keys; engines never see more of it."""

    def protects(self, home_address: IPv6Address, agent: IPv6Address) -> bool:
        """Whether a message between these two can only have arrived protected."""

    def protects_prefixes(self, home_address: IPv6Address, agent: IPv6Address) -> bool:
        """Whether the same holds for Mobile Prefix Solicitations and Advertisements."""

    def moved(
        self,
        home_address: IPv6Address,
        old: CareOf | None,
        new: CareOf | None,
        at_home: bool = False,
        follow: bool = True,
    ) -> None:
        """Move what is tied to a care-of address; called before the update is sent.

        ``follow``: an IKE SA goes along, else a new one takes its place.
        """

    def admit(self, home_address: IPv6Address, correspondents: frozenset[IPv6Address]) -> None:
        """Let just these correspondents send mobility messages to a home address."""


class SecurityDatabase(Database, Protocol):
    """The part of ``linux.xfrm.Xfrm`` that is used here. Raises ``NetlinkError``."""

    @property
    def ability(self) -> Ability: ...
    def installed(self, reqids: frozenset[int] = frozenset()) -> list[Installed]: ...
    def read(
        self, destination: Address, spi: int, protocol: SecurityProtocol = SecurityProtocol.ESP
    ) -> Installed | None: ...
    def carry(self, steps: Iterable[Step]) -> None: ...


class Guard:
    """Base of all managers: the members of one, and their policies in the kernel."""

    manager: Manager

    def __init__(self, database: SecurityDatabase) -> None:
        self._database = database
        self.members: dict[Key, Member] = {}
        self._by_home: dict[IPv6Address, list[Member]] = {}
        self.by_reqid: dict[int, tuple[Member, SecurityRow]] = {}

    # --- what there shall be

    def take(self, wanted: dict[Key, Member]) -> None:
        """Take the complete list of members; those that stay the same keep their place."""
        for key, member in wanted.items():
            before = self.members.get(key)
            if before is not None and self._same(before, member):
                wanted[key] = before
            elif before is not None:
                member.place, member.active = before.place, before.active
                member.told = before.told
        self.members = wanted
        self._index()

    def _same(self, before: Member, member: Member) -> bool:
        return (before.row, before.mobile) == (member.row, member.mobile)

    def _index(self) -> None:
        found: dict[IPv6Address, list[Member]] = defaultdict(list)
        self.by_reqid = {}
        for member in self.members.values():
            found[member.mobile.home_address].append(member)
            for row in member.rows:
                self.by_reqid[row.reqid] = member, row
        self._by_home = dict(found)

    def policies(self) -> Iterator[Policy]:
        """Yield every policy that shall be in the kernel."""
        for member in self.members.values():
            yield from member.policies()

    def associations(self) -> Iterator[Association]:
        """Yield associations that shall be in the kernel; none for who keeps them otherwise."""
        return iter(())

    def keeps(self, association: Association) -> bool:
        """Whether an association in the kernel is this manager's to keep or to remove."""
        return association.reqid in self.by_reqid

    # --- what mobility tells

    def protects(self, home_address: IPv6Address, agent: IPv6Address) -> bool:
        """Whether the row's policies stand, so that nothing can come in clear."""
        return any(
            member.active and member.mobile.agent == agent
            for member in self._by_home.get(home_address, ())
        )

    def protects_prefixes(self, home_address: IPv6Address, agent: IPv6Address) -> bool:
        """Whether the policies of prefix discovery stand."""
        return any(
            member.active and member.mobile.agent == agent and member.protection.prefix_discovery
            for member in self._by_home.get(home_address, ())
        )

    def moved(
        self, home_address: IPv6Address, new: CareOf | None, at_home: bool, follow: bool = True
    ) -> list[Member]:
        """Move the members of a home address; return them."""
        found = self._by_home.get(home_address, [])
        for member in found:
            member.told = True
            self.settle(member, member.place_at(new, at_home))
        return found

    def settle(self, member: Member, place: Place) -> None:
        """Carry out the movement of a member to another place."""
        old = member.place
        if old == place:
            return
        if member.active and member.known:
            steps = plan(
                member.rows, member.role, old, place, self._database.ability, self.held(member)
            )
            self._database.carry(steps)
        member.place = place

    def held(self, member: Member) -> Iterable[Association]:
        """Return the associations of a member that a movement must take along."""
        reqids = frozenset(row.reqid for row in member.rows)
        return self._database.associations(reqids)

    def activate(self, member: Member) -> None:
        """Install a member's policies."""
        if not member.active:
            member.active = True
            for policy in member.policies():
                self._database.put_policy(policy)

    def started(self) -> None:
        """Take note that all who are registered have been told of."""
        for member in list(self.members.values()):
            if not member.told and member.role is Role.HOME_AGENT:
                self.settle(member, Whereabouts.HOME)

    # --- what is shown

    def documents(self) -> Iterator[dict[str, Any]]:
        """Yield what the status document shows, one entry for each member."""
        for member in self.members.values():
            yield member_document(member, self.manager)

    def stop(self, keep: bool) -> None:
        """End; with ``keep`` the other side is told nothing and SAs stay."""


class StaticKeys(Guard):
    """Keys from the configuration (RFC 3776 section 4.1)."""

    manager = Manager.STATIC

    def associations(self) -> Iterator[Association]:
        for member in self.members.values():
            yield from self.held(member)

    def held(self, member: Member) -> Iterator[Association]:
        keys = member.row.keys
        if keys is None:
            return
        place = member.place if isinstance(member.place, Ends) else None
        for row in member.rows:
            if row.kind is Kind.SIGNALLING:
                yield from associations(row, keys)
            elif member.row.secret:
                label = _PAYLOAD_LABEL + bytes((row.kind,))
                secret = hmac.digest(member.row.secret, label, "sha256")
                made = derive(secret, row.home_address, row.agent)
                yield from associations(row, made, place)


class Keys:
    """All managers of a daemon, by the one that each row names.

    ``ready`` is called with a home address whose keys have come; ``assigned``
    with one that IKE brought for this host.
    """

    def __init__(
        self, database: SecurityDatabase, make: Callable[[Manager], Guard] | None = None
    ) -> None:
        self._database = database
        self._make = make
        self._numbering = Numbering()
        self._managers: dict[Manager, Guard] = {Manager.STATIC: StaticKeys(database)}
        self._unprotected: set[tuple[IPv6Address, IPv6Address]] = set()
        self._first = True
        self._admitted: dict[IPv6Address, frozenset[IPv6Address]] = {}

    def manager(self, manager: Manager) -> Guard | None:
        """Return a manager that is in use."""
        return self._managers.get(manager)

    def update(self, rows: Rows, prefixes: Iterable[Any] = ()) -> None:
        """Take the complete list of rows. Raises ``OSError`` when the kernel refuses.

        ``prefixes`` are the home prefixes of a home agent, from whose addresses
        nothing is heard that nobody vouches for.
        """
        self._unprotected = set()
        for _, row in rows:
            if row.plan.manager is Manager.NONE:
                self._unprotected.add((row.home_address, row.agent))
                log.warning(
                    "signalling between %s and %s is not protected, as configured",
                    row.home_address,
                    row.agent,
                )
        sorted_rows: dict[Manager, dict[Key, Member]] = defaultdict(dict)
        for key, member in members(rows, self._numbering).items():
            sorted_rows[member.row.plan.manager][key] = member
        for manager in sorted_rows:
            if manager not in self._managers:
                assert self._make is not None
                self._managers[manager] = self._make(manager)
        if self._first:
            self._infer(sorted_rows)
            self._first = False
        for manager, guard in self._managers.items():
            guard.take(sorted_rows.get(manager, {}))
        self._synchronise(self._general(rows, prefixes))

    def _infer(self, wanted: dict[Manager, dict[Key, Member]]) -> None:
        """See where a former daemon's policies are, so that traffic goes on."""
        by_reqid: dict[int, list[Policy]] = defaultdict(list)
        for policy in self._database.policies():
            if policy.template is not None:
                by_reqid[policy.template.reqid].append(policy)
        if not by_reqid:
            return
        held: dict[int, list[Association]] = defaultdict(list)
        for association in self._database.associations(frozenset(by_reqid)):
            held[association.reqid].append(association)
        for group in wanted.values():
            for member in group.values():
                if any(row.reqid in by_reqid for row in member.rows):
                    member.active = True
                place = infer(member, by_reqid, held)
                if place is not None:
                    member.place = place

    def _general(self, rows: Rows, prefixes: Iterable[Any]) -> Iterator[Policy]:
        """Yield policies that are no single router's."""
        asked = [row for role, row in rows if role is Role.HOME_AGENT]
        named = any(row.plan.manager in (Manager.IKEV2, Manager.EXTERNAL) for row in asked)
        if named and all(row.plan.manager is not Manager.NONE for row in asked):
            for prefix in prefixes:
                yield block_policy(prefix)
        for home, correspondents in self._admitted.items():
            yield from self._admitting(home, correspondents)
        for role in Role:
            agents: dict[Address, None] = {}
            for guard in self._managers.values():
                for member in guard.members.values():
                    if member.role is role and member.protection.payload is not None:
                        agents[member.mobile.agent] = None
                        if member.row.agent4 is not None:
                            agents[member.row.agent4] = None
            if agents:
                yield from bypass_policies(role, agents)

    def _synchronise(self, general: Iterable[Policy]) -> None:
        """Make the kernel hold what is wanted and nothing else of ours."""
        policies = [*general]
        wanted: list[Association] = []
        for guard in self._managers.values():
            policies += guard.policies()
            wanted += guard.associations()
        static = self._managers[Manager.STATIC]
        others = [guard for guard in self._managers.values() if guard is not static]
        added, removed = synchronise(
            self._database,
            wanted,
            policies,
            keeps=lambda one: any(guard.keeps(one) for guard in others),
        )
        if added or removed:
            log.info("IPsec: %d associations and policies added, %d removed", added, removed)

    def started(self) -> None:
        """Take note that the engines have told of every binding that they took over."""
        for guard in self._managers.values():
            guard.started()

    def protects(self, home_address: IPv6Address, agent: IPv6Address) -> bool:
        """Whether a row covers both; one that is configured without keys counts."""
        return (home_address, agent) in self._unprotected or any(
            guard.protects(home_address, agent) for guard in self._managers.values()
        )

    def protects_prefixes(self, home_address: IPv6Address, agent: IPv6Address) -> bool:
        """Whether prefix discovery between both is protected, or need not be as configured."""
        return (home_address, agent) in self._unprotected or any(
            guard.protects_prefixes(home_address, agent) for guard in self._managers.values()
        )

    def moved(
        self,
        home_address: IPv6Address,
        old: CareOf | None,
        new: CareOf | None,
        at_home: bool = False,
        follow: bool = True,
    ) -> None:
        """Tell the managers of a home address."""
        for guard in self._managers.values():
            guard.moved(home_address, new, at_home, follow)

    def admit(self, home_address: IPv6Address, correspondents: frozenset[IPv6Address]) -> None:
        """Let just these correspondents send mobility messages to a home address."""
        before = self._admitted.get(home_address, frozenset())
        self._admitted[home_address] = correspondents
        for policy in self._admitting(home_address, correspondents - before):
            self._database.put_policy(policy)
        for policy in self._admitting(home_address, before - correspondents):
            self._database.remove_policy(policy)

    def _admitting(
        self, home_address: IPv6Address, correspondents: Iterable[IPv6Address]
    ) -> Iterator[Policy]:
        for guard in self._managers.values():
            for member in guard.members.values():
                row = member.row_of(Kind.RETURN_ROUTABILITY)
                if row is not None and row.home_address == home_address:
                    yield from (correspondent_policy(row, one) for one in correspondents)

    def documents(self, limit: int | None = None) -> list[dict[str, Any]]:
        """Return what the status document shows, at most ``limit`` entries."""
        found = (entry for guard in self._managers.values() for entry in guard.documents())
        return list(islice(found, limit))

    def stop(self, keep: bool) -> None:
        """End all managers; without ``keep`` nothing is left in the kernel."""
        for guard in self._managers.values():
            guard.stop(keep)
        if keep:
            return
        for policy in self._database.policies():
            self._database.remove_policy(policy)
        for association in self._database.associations():
            self._database.remove_association(association)


def member_document(member: Member, manager: Manager) -> dict[str, Any]:
    """Return a member as plain values."""
    place = member.place
    outer = None
    if isinstance(place, Ends):
        outer = {
            "router": str(place.router),
            "agent": str(place.agent),
            "ports": None if place.ports is None else list(place.ports),
        }
    return {
        "role": member.role.value.replace("_", " "),
        "identity": member.row.plan.identity,
        "home_agent_identity": member.row.plan.agent_identity,
        "home_address": str(member.mobile.home_address) if member.known else None,
        "home_agent": str(member.mobile.agent),
        "manager": manager.value,
        "payload": member.row.plan.payload.value,
        "policies": member.active and member.known,
        "outer": outer,
        "rows": [
            {"kind": row.kind.name.lower().replace("_", " "), "reqid": row.reqid}
            for row in member.rows
        ],
    }
