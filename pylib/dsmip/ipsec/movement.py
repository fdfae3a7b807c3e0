# SPDX-License-Identifier: GPL-2.0-only
"""What is done, in which order, when the outer ends of protected traffic change.

A plan is a list of steps; ``linux.xfrm`` carries them out. Nothing may pass in
clear meanwhile, and no sequence number may be used twice under one key, for
with AES-GCM or ChaCha20 that gives the key away. The kernel's MIGRATE copies an
association before it deletes the old one, and so does what stands in for it, so
outgoing packets are held back by a blocking policy until the copy has jumped
ahead of whatever the old one may still have sent.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from .association import Address, Association, Encapsulation, Mode
from .policy import (
    Action,
    Direction,
    Ends,
    Kind,
    Place,
    Policy,
    Role,
    Row,
    Template,
    protecting,
    row_policies,
)

#: Sequence numbers left out by a copy: packets on their way through the kernel
#: may still be given the next ones of the old association.
SKIP: Final = 256


class Ability(enum.Enum):
    """What a kernel can do; later ones can do what earlier ones can."""

    NONE = "none"
    MIGRATE = "migrate"
    MIGRATE_STATE = "migrate_state"


@dataclass(frozen=True, slots=True)
class PutPolicy:
    """Install a policy, or replace the one with its selector and direction."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class DropPolicy:
    """Remove a policy."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class ClearLarval:
    """Remove what the kernel keeps between ACQUIRE and association, if it is there.

    MIGRATE fails where it finds such a state, and warns in the kernel's log. A packet
    makes one that found its policy before that was blocked, and no association any
    more, because that has moved with another policy.
    """

    template: Template


@dataclass(frozen=True, slots=True)
class Reinstall:
    """Delete an association and add it elsewhere, with its counters and ``skip`` more."""

    association: Association
    moved: Association
    skip: int


@dataclass(frozen=True, slots=True)
class MigrateState:
    """Move one association by its SPI; ``otherwise`` if the kernel refuses."""

    association: Association
    moved: Association
    otherwise: tuple[Reinstall, ...]


@dataclass(frozen=True, slots=True)
class Migrate:
    """Move a policy, with the association that it finds, and tell key managers.

    ``addresses`` are local and remote address for IKE (KMADDRESS). ``otherwise``
    is done if the kernel refuses; empty if the message only told something.
    """

    policy: Policy
    old: tuple[Address, Address]
    new: tuple[Address, Address]
    encapsulation: Encapsulation | None
    addresses: tuple[Address, Address]
    otherwise: tuple[PutPolicy | Reinstall, ...] = ()


@dataclass(frozen=True, slots=True)
class Settle:
    """Look whether an association is where it should be; reinstall it if it is not.

    One that has moved leaves out ``skip`` sequence numbers.
    """

    association: Association
    moved: Association
    skip: int


@dataclass(frozen=True, slots=True)
class Remap:
    """Change the UDP ports of an association, and nothing else."""

    association: Association


Step = PutPolicy | DropPolicy | ClearLarval | Reinstall | MigrateState | Migrate | Settle | Remap


def plan(
    rows: Iterable[Row],
    role: Role,
    old: Place,
    new: Place,
    ability: Ability,
    associations: Iterable[Association] = (),
    announce: bool = True,
) -> tuple[Step, ...]:
    """Return the steps of a movement of one router, in order.

    ``associations`` are those that exist now, of any row. With ``announce`` key
    managers hear of the movement through the kernel, wherever it has MIGRATE,
    and so does whoever must know the care-of address before there is any key
    (draft-ebalard-mext-pfkey-enhanced-migrate section 5.1).
    """
    held = list(associations)
    rows = list(rows)
    announce = announce and ability is not Ability.NONE
    steps: list[Step] = []
    moving = [row for row in rows if row.moves]
    if old != new and moving:
        steps += _Movement(moving, role, old, new, ability, held, announce).steps()
    for row in rows:
        if row.mode is Mode.TUNNEL and not row.moves:
            steps += _activity(row, role, old, new)
    if announce and old != new:
        addresses = _addresses(rows, role, new)
        for row in rows:
            if row.kind is Kind.SIGNALLING:
                steps += [_telling(policy, addresses) for policy in protecting(row, role)]
    return tuple(steps)


def _activity(row: Row, role: Role, old: Place, new: Place) -> list[Step]:
    before = dict.fromkeys(row_policies(row, role, old))
    after = dict.fromkeys(row_policies(row, role, new))
    steps: list[Step] = [PutPolicy(policy) for policy in after if policy not in before]
    return steps + [DropPolicy(policy) for policy in before if policy not in after]


def _addresses(rows: Sequence[Row], role: Role, place: Place) -> tuple[Address, Address]:
    """Return local and remote address for IKE."""
    row = rows[0]
    ends = place if isinstance(place, Ends) else Ends(row.home_address, row.agent)
    return ends.pair(role is Role.MOBILE_ROUTER)


def _telling(policy: Policy, addresses: tuple[Address, Address]) -> Migrate:
    """Return a MIGRATE that changes nothing but tells the addresses for IKE.

    Transport templates are matched without addresses. The old source is
    unspecified so that no association is found: it would be copied for nothing,
    and a larval one would make the message fail.
    """
    source = policy.selector.source.network_address
    destination = policy.selector.destination.network_address
    nowhere: Address = IPv6Address(0) if source.version == 6 else IPv4Address(0)
    return Migrate(policy, (nowhere, destination), (source, destination), None, addresses)


class _Movement:
    """The plan for all rows of one router whose outer ends are those of the path."""

    def __init__(
        self,
        rows: Sequence[Row],
        role: Role,
        old: Place,
        new: Place,
        ability: Ability,
        associations: Sequence[Association],
        announce: bool,
    ) -> None:
        self._rows = rows
        self._role = role
        self._old, self._new = old, new
        self._ability = ability
        self._associations = associations
        self._announce = announce
        self._policies_migrate = announce or ability is Ability.MIGRATE
        self._addresses = _addresses(rows, role, new)
        self._before = {row: protecting(row, role, _known(old)) for row in rows}
        self._after = {row: protecting(row, role, _known(new)) for row in rows}

    def steps(self) -> list[Step]:
        """Return the steps."""
        old, new = (self._rows[0].ends(_known(place)) for place in (self._old, self._new))
        if (old.router, old.agent) == (new.router, new.agent):
            return self._stay(old, new)
        steps: list[Step] = []
        for row in self._rows:
            steps += [PutPolicy(_blocked(policy)) for policy in self._outbound(row)]
            if self._policies_migrate and not isinstance(self._old, Ends):
                # MIGRATE needs something to move.
                steps += [PutPolicy(policy) for policy in self._inbound(row)]
        for row in self._rows:
            steps += self._move(row)
        for row in self._rows:
            steps += self._finish(row)
        return steps

    def _stay(self, old: Ends, new: Ends) -> list[Step]:
        """Ports or activity change, addresses do not."""
        steps: list[Step] = []
        for row in self._rows:
            for association in self._of(row):
                towards_agent = association.destination == new.agent
                encapsulation = new.encapsulation(towards_agent)
                if association.encapsulation == encapsulation:
                    continue
                moved = association.at(association.ends, encapsulation)
                if association.encapsulation is None or encapsulation is None:
                    steps += self._reinstalled_under_block(row, association, moved)
                else:
                    steps.append(Remap(moved))
            steps += _activity(row, self._role, self._old, self._new)
        return steps

    def _reinstalled_under_block(
        self, row: Row, association: Association, moved: Association
    ) -> list[Step]:
        policies = self._outbound(row) if isinstance(self._old, Ends) else ()
        return [
            *(PutPolicy(_blocked(policy)) for policy in policies),
            self._reinstall(association, moved),
            *(PutPolicy(policy) for policy in policies),
        ]

    def _move(self, row: Row) -> list[Step]:
        """Move associations and policies of one row."""
        steps: list[Step] = []
        old, new = row.ends(_known(self._old)), row.ends(_known(self._new))
        carried: dict[bool, list[tuple[Association, Association]]] = {True: [], False: []}
        for towards_agent in (True, False):
            found = self._ending(row, towards_agent)
            for association in found:
                moved = association.at(new.pair(towards_agent), new.encapsulation(towards_agent))
                if moved == association:
                    continue
                if self._ability is Ability.MIGRATE_STATE:
                    instead = (self._reinstall(association, moved),)
                    steps.append(MigrateState(association, moved, instead))
                    carried[towards_agent].append((association, moved))
                elif self._ability is Ability.MIGRATE and _expressible(found, moved):
                    carried[towards_agent].append((association, moved))
                else:
                    steps.append(self._reinstall(association, moved))
        # Whether the next policy that goes out takes associations along.
        carrying = bool(carried[self._role is Role.MOBILE_ROUTER])
        for policy, target in zip(self._before[row], self._after[row], strict=True):
            towards_agent = self._towards_agent(policy)
            if not self._policies_migrate:
                if policy.direction is not Direction.OUT:
                    steps.append(PutPolicy(target))
                continue
            again = target
            if policy.direction is Direction.OUT:
                again = _blocked(target)
                if policy.template is not None and not carrying:
                    steps.append(ClearLarval(policy.template))
                carrying = False
            steps.append(
                Migrate(
                    policy,
                    old.pair(towards_agent),
                    new.pair(towards_agent),
                    new.encapsulation(towards_agent),
                    self._addresses,
                    (PutPolicy(again),),
                )
            )
        for pairs in carried.values():
            for association, moved in pairs:
                steps.append(Settle(association, moved, self._skip(association)))
        return steps

    def _finish(self, row: Row) -> list[Step]:
        """Let outgoing packets pass again, or take the policies away."""
        active = isinstance(self._new, Ends)
        after = self._after[row]
        if not active:
            return [DropPolicy(policy) for policy in after]
        return [PutPolicy(policy) for policy in after if policy.direction is Direction.OUT]

    # --- what there is ---

    def _of(self, row: Row) -> list[Association]:
        return [one for one in self._associations if one.reqid == row.reqid]

    def _ending(self, row: Row, towards_agent: bool) -> list[Association]:
        """Return a row's associations of one direction, by where they should be now."""
        ends = row.ends(_known(self._old))
        wanted = ends.agent if towards_agent else ends.router
        return [one for one in self._of(row) if one.destination == wanted]

    def _outbound(self, row: Row) -> tuple[Policy, ...]:
        return tuple(one for one in self._before[row] if one.direction is Direction.OUT)

    def _inbound(self, row: Row) -> tuple[Policy, ...]:
        return tuple(one for one in self._before[row] if one.direction is not Direction.OUT)

    def _towards_agent(self, policy: Policy) -> bool:
        return (self._role is Role.MOBILE_ROUTER) == (policy.direction is Direction.OUT)

    def _skip(self, association: Association) -> int:
        """Sequence numbers to leave out: only those this host gives are at stake."""
        local = self._rows[0].ends(_known(self._old)).pair(self._role is Role.MOBILE_ROUTER)[0]
        return SKIP if association.source == local else 0

    def _reinstall(self, association: Association, moved: Association) -> Reinstall:
        return Reinstall(association, moved, self._skip(association))


def _known(place: Place) -> Ends | None:
    return place if isinstance(place, Ends) else None


def _blocked(policy: Policy) -> Policy:
    """Return the same policy, template included so that MIGRATE finds it, passing nothing."""
    return replace(policy, action=Action.BLOCK)


def _expressible(found: Sequence[Association], moved: Association) -> bool:
    """Whether MIGRATE can move an association: it takes the first it finds, and
    keeps a UDP encapsulation that it is not told to change.
    """
    stays = found[0].encapsulation is not None and moved.encapsulation is None
    return len(found) == 1 and not stays
