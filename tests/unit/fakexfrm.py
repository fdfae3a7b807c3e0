# SPDX-License-Identifier: GPL-2.0-only
"""A kernel's security databases, as far as managers of keys can tell."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from dsmip.ipsec.association import (
    Address,
    Association,
    Installed,
    Replay,
    SecurityProtocol,
    Usage,
)
from dsmip.ipsec.movement import (
    Ability,
    ClearLarval,
    DropPolicy,
    Migrate,
    MigrateState,
    PutPolicy,
    Reinstall,
    Remap,
    Settle,
    Step,
)
from dsmip.ipsec.policy import Policy, is_our_reqid


class FakeXfrm:
    """Holds one policy for each selector and direction, one association for each SPI."""

    def __init__(self, ability: Ability = Ability.MIGRATE) -> None:
        self.ability = ability
        self.held: dict[object, Policy] = {}
        self.sas: dict[tuple[Address, int], Association] = {}
        self.told: list[tuple[Address, Address]] = []
        self.removed: list[Association] = []
        self.usage: dict[int, Usage] = {}
        self.refuse: type | None = None

    def policies(self) -> list[Policy]:
        return list(self.held.values())

    def put_policy(self, policy: Policy) -> None:
        self.held[policy.direction, policy.selector] = policy

    def remove_policy(self, policy: Policy) -> None:
        self.held.pop((policy.direction, policy.selector), None)

    def associations(self, reqids: Collection[int] = ()) -> list[Association]:
        return [one for one in self.sas.values() if is_our_reqid(one.reqid) or one.reqid in reqids]

    def installed(self, reqids: Collection[int] = ()) -> list[Installed]:
        return [self._with_counters(one) for one in self.associations(reqids)]

    def read(
        self, destination: Address, spi: int, protocol: SecurityProtocol = SecurityProtocol.ESP
    ) -> Installed | None:
        found = self.sas.get((destination, spi))
        return None if found is None else self._with_counters(found)

    def _with_counters(self, one: Association) -> Installed:
        return Installed(one, Replay(), self.usage.get(one.spi, Usage()))

    def add_association(self, association: Association) -> None:
        key = association.destination, association.spi
        if key in self.sas:
            raise OSError(17, "File exists")
        self.sas[key] = association

    def remove_association(self, association: Association) -> None:
        found = self.sas.pop((association.destination, association.spi), None)
        if found is not None:
            self.removed.append(found)

    def carry(self, steps: Iterable[Step]) -> None:
        for step in steps:
            match step:
                case PutPolicy():
                    self.put_policy(step.policy)
                case DropPolicy():
                    self.remove_policy(step.policy)
                case ClearLarval():
                    pass
                case Migrate():
                    self._migrate(step)
                case MigrateState() | Reinstall() | Settle():
                    self._move(step.association, step.moved)
                case Remap():
                    self._move(step.association, step.association)

    def _migrate(self, step: Migrate) -> None:
        assert self.ability is not Ability.NONE
        self.told.append(step.addresses)
        key = step.policy.direction, step.policy.selector
        held = self.held[key]
        if held.template is None or held.template.outer != step.old:
            return
        self.held[key] = replace(held, template=replace(held.template, outer=step.new))
        for one in list(self.sas.values()):
            if one.reqid == held.template.reqid and one.ends == step.old:
                self._move(one, one.at(step.new, step.encapsulation))

    def _move(self, association: Association, moved: Association) -> None:
        found = self.sas.pop((association.destination, association.spi), None)
        if found is not None:
            self.sas[moved.destination, moved.spi] = found.at(moved.ends, moved.encapsulation)

    # --- what tests ask

    def of(self, reqid: int) -> list[Association]:
        """Return the associations of a request id."""
        return [one for one in self.sas.values() if one.reqid == reqid]

    def outers(self, reqid: int) -> set[tuple[Address, Address] | None]:
        """Return the outer ends that policies of a request id have."""
        return {
            policy.template.outer
            for policy in self.held.values()
            if policy.template is not None and policy.template.reqid == reqid
        }
