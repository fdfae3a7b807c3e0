# SPDX-License-Identifier: GPL-2.0-only
"""Plans of movement, carried out by a model of the kernel that keeps its bad habits."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from dsmip.ipsec.association import (
    Association,
    Cipher,
    Encapsulation,
    Integrity,
    Mode,
    Selector,
)
from dsmip.ipsec.movement import (
    SKIP,
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
    plan,
)
from dsmip.ipsec.policy import (
    Action,
    Direction,
    Ends,
    Form,
    Mobile,
    Place,
    Policy,
    Protection,
    Role,
    Row,
    Template,
    Whereabouts,
    first_reqid,
    protecting,
    row_policies,
    rows,
)

HOA, HA = IPv6Address("2001:db8:1::100"), IPv6Address("2001:db8:1::1")
HA4 = IPv4Address("198.51.100.1")
HOME, UNKNOWN = Whereabouts.HOME, Whereabouts.UNKNOWN
ROUTER, AGENT = Role.MOBILE_ROUTER, Role.HOME_AGENT
BUS = Mobile(
    HOA,
    HA,
    first_reqid("bus-17"),
    None,
    (IPv6Network("2001:db8:100::/56"), IPv4Network("203.0.113.0/28")),
)
ROWS = rows(BUS, Protection(return_routability=Form.RFC4877, payload=Form.RFC4877))
PAYLOAD = ROWS[-1]
V6 = Ends(IPv6Address("2001:db8:a::2"), HA)
OTHER = Ends(IPv6Address("2001:db8:b::2"), HA)
V4 = Ends(IPv4Address("198.18.0.2"), HA4)
NAT = Ends(IPv4Address("10.0.5.2"), HA4, (4500, 4500))
MAPPED = Ends(IPv4Address("10.0.5.2"), HA4, (4500, 20002))
SAME_WITH_PORTS = Ends(IPv4Address("198.18.0.2"), HA4, (4500, 4500))
AWAY = (V6, OTHER, V4, NAT, MAPPED, SAME_WITH_PORTS)
PLACES: tuple[Place, ...] = (*AWAY, HOME)
MOVES = list(itertools.permutations(PLACES, 2))
Slot = tuple[Direction, Selector]


@dataclass(slots=True)
class Held:
    """An association in the kernel: its last number sent, and whether it is larval."""

    association: Association
    sent: int = 1000
    larval: bool = False


@dataclass(slots=True)
class Kernel:
    """What a kernel does with the steps, and whether it may."""

    ability: Ability
    role: Role
    policies: dict[Slot, Policy] = field(default_factory=dict)
    held: list[Held] = field(default_factory=list)
    told: list[Migrate] = field(default_factory=list)
    refuses: bool = False

    def find(self, association: Association) -> Held | None:
        key = (association.destination, association.spi)
        return next(
            (
                one
                for one in self.held
                if (one.association.destination, one.association.spi) == key and not one.larval
            ),
            None,
        )

    def carry(self, steps: Iterable[Step]) -> None:
        for step in steps:
            self.one(step)

    def one(self, step: Step) -> None:
        if isinstance(step, PutPolicy):
            self.policies[step.policy.direction, step.policy.selector] = step.policy
        elif isinstance(step, DropPolicy):
            self.policies.pop((step.policy.direction, step.policy.selector), None)
        elif isinstance(step, ClearLarval):
            self.held = [
                one
                for one in self.held
                if not (one.larval and one.association.ends == step.template.outer)
            ]
        elif isinstance(step, Migrate):
            self.migrate(step)
        elif isinstance(step, MigrateState):
            assert self.ability is Ability.MIGRATE_STATE
            if self.refuses:
                self.carry(step.otherwise)
                return
            found = self.find(step.association)
            if found is not None:
                self.copied(found)
                found.association = step.moved
        elif isinstance(step, Reinstall):
            self.reinstall(step.association, step.moved, step.skip)
        elif isinstance(step, Settle):
            self.settle(step)
        else:
            found = self.find(step.association)
            assert found is not None
            assert found.association.encapsulation is not None
            assert found.association.ends == step.association.ends
            found.association = step.association

    def copied(self, held: Held) -> None:
        """A packet under way may get the next number from the old one, unseen by the copy."""
        if self.sends(held):
            self.blocked(held.association.reqid)

    def sends(self, held: Held) -> bool:
        return held.association.spi % 2 == (self.role is ROUTER)

    def blocked(self, reqid: int) -> None:
        """No outgoing packet of a row can find its association now."""
        for policy in self.policies.values():
            mine = policy.template is not None and policy.template.reqid == reqid
            if mine and policy.direction is Direction.OUT:
                assert policy.action is Action.BLOCK, "it sends while it is copied"

    def migrate(self, step: Migrate) -> None:
        assert self.ability is not Ability.NONE
        self.told.append(step)
        present = self.policies.get((step.policy.direction, step.policy.selector))
        template = step.policy.template
        assert template is not None
        matches = (
            present is not None
            and present.template is not None
            and (
                template.mode is Mode.TRANSPORT
                or (present.template.outer == step.old and present.template.reqid == template.reqid)
            )
        )
        found = next(
            (
                one
                for one in self.held
                if one.association.ends == step.old and one.association.reqid == template.reqid
            ),
            None,
        )
        if self.refuses or not matches or (found is not None and found.larval):
            assert found is None or not found.larval, "the kernel would warn"
            self.carry(step.otherwise)
            return
        assert present is not None
        if template.mode is Mode.TUNNEL:
            moved = replace(template, outer=step.new)
            self.policies[present.direction, present.selector] = replace(present, template=moved)
        if found is not None:
            self.copied(found)
            kept = step.encapsulation or found.association.encapsulation
            found.association = found.association.at(step.new, kept)

    def reinstall(self, association: Association, moved: Association, skip: int) -> None:
        found = self.find(association)
        assert found is not None
        self.copied(found)
        assert (skip > 0) == self.sends(found)
        found.association = found.association.at(moved.ends, moved.encapsulation)
        found.sent += skip

    def settle(self, step: Settle) -> None:
        found = self.find(step.moved) or self.find(step.association)
        assert found is not None
        if found.association != step.moved:
            self.reinstall(found.association, step.moved, step.skip)
        else:
            self.copied(found)
            found.sent += step.skip


def pair(row: Row, place: Place, spi: int) -> list[Association]:
    """Return both directions; the SPI towards the agent is odd."""
    ends = row.ends(place if isinstance(place, Ends) else None)
    return [
        Association(
            *ends.pair(towards_agent),
            spi + (0 if towards_agent else 1),
            b"k" * 20,
            b"",
            None,
            Mode.TUNNEL,
            row.reqid,
            cipher=Cipher.AES_GCM_16,
            integrity=Integrity.NONE,
            encapsulation=ends.encapsulation(towards_agent),
        )
        for towards_agent in (True, False)
    ]


def kernel_at(place: Place, role: Role, ability: Ability, pairs: int = 1) -> Kernel:
    kernel = Kernel(ability, role)
    for row in ROWS:
        for policy in row_policies(row, role, place):
            kernel.policies[policy.direction, policy.selector] = policy
    for number in range(pairs):
        made = pair(PAYLOAD, place, 0x1001 + 2 * number)
        kernel.held += [Held(association) for association in made]
    return kernel


def moved(kernel: Kernel, old: Place, new: Place, *, announce: bool = True) -> tuple[Step, ...]:
    given = [one.association for one in kernel.held if not one.larval]
    steps = plan(ROWS, kernel.role, old, new, kernel.ability, given, announce)
    kernel.carry(steps)
    return steps


def check(kernel: Kernel, new: Place, pairs: int) -> None:
    wanted = {
        (policy.direction, policy.selector): policy
        for row in ROWS
        for policy in row_policies(row, kernel.role, new)
    }
    assert kernel.policies == wanted
    found = {one.association.spi: one for one in kernel.held}
    assert len(found) == 2 * pairs
    for number in range(pairs):
        for association in pair(PAYLOAD, new, 0x1001 + 2 * number):
            assert found[association.spi].association == association


# --- every movement --------------------------------------------------------------


@pytest.mark.parametrize("ability", list(Ability))
@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("announce", [True, False])
@pytest.mark.parametrize("pairs", [0, 1, 2])
@pytest.mark.parametrize("refuses", [False, True])
def test_all_arrive_whatever_the_kernel_can(
    ability: Ability, role: Role, announce: bool, pairs: int, refuses: bool
) -> None:
    for old, new in MOVES:
        kernel = kernel_at(old, role, ability, pairs)
        kernel.refuses = refuses
        steps = moved(kernel, old, new, announce=announce)
        check(kernel, new, pairs)
        told = bool(kernel.told)
        assert told or not announce or ability is Ability.NONE
        if not announce and ability is not Ability.MIGRATE:
            assert not told
        # What was copied may send its next number only beyond what the old one may have sent.
        for held in kernel.held:
            copied = any(
                isinstance(step, (Reinstall, Settle))
                and step.association.spi == held.association.spi
                for step in steps
            )
            if kernel.sends(held) and copied:
                assert held.sent >= 1000 + SKIP
            else:
                assert held.sent == 1000


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("ability", list(Ability))
def test_long_tour(role: Role, ability: Ability) -> None:
    """Back and forth, as a bus does all day."""
    kernel = kernel_at(V6, role, ability)
    place: Place = V6
    for new in (V4, NAT, HOME, NAT, MAPPED, V6, OTHER, HOME, V4, SAME_WITH_PORTS, V4, V6):
        moved(kernel, place, new)
        check(kernel, new, 1)
        place = new


@pytest.mark.parametrize("ability", list(Ability))
def test_first_registration(ability: Ability) -> None:
    """From blocking to protecting, without any association; IKE hears where it may run."""
    kernel = kernel_at(UNKNOWN, ROUTER, ability, 0)
    assert any(policy.action is Action.BLOCK for policy in kernel.policies.values())
    # Somebody tried to send before.
    template = protecting(PAYLOAD, ROUTER)[0].template
    assert template is not None
    assert template.outer == (HOA, HA)
    larval = replace(pair(PAYLOAD, HOME, 0x1001)[0], spi=0)
    kernel.held.append(Held(larval, larval=True))
    moved(kernel, UNKNOWN, V6)
    kernel.held = [one for one in kernel.held if not one.larval]
    check(kernel, V6, 0)
    if ability is not Ability.NONE:
        assert {one.addresses for one in kernel.told} == {(V6.router, HA)}
        signalling = ROWS[0].reqid
        assert signalling in {
            one.policy.template.reqid for one in kernel.told if one.policy.template
        }


# --- one by one ------------------------------------------------------------------


def test_key_managers_are_told_of_each_policy_and_direction() -> None:
    """draft-sugimoto section 4.1.3: one message each, and none without a movement."""
    for role in Role:
        kernel = kernel_at(V6, role, Ability.MIGRATE)
        moved(kernel, V6, V4)
        tunnel = [one for one in kernel.told if one.policy.template and one.policy.template.outer]
        wanted = [policy for row in ROWS[1:] for policy in protecting(row, role, V6)]
        assert [one.policy for one in tunnel] == wanted
        addresses = (V4.router, HA4) if role is ROUTER else (HA4, V4.router)
        assert {one.addresses for one in kernel.told} == {addresses}
        for step in tunnel:
            out = step.policy.direction is Direction.OUT
            towards_agent = out == (role is ROUTER)
            assert (step.old, step.new) == (V6.pair(towards_agent), V4.pair(towards_agent))
    assert plan(ROWS, ROUTER, V6, V6, Ability.MIGRATE, pair(PAYLOAD, V6, 0x1001)) == ()


def test_signalling_is_told_of_but_not_copied() -> None:
    """SA1 and SA2 stay where they are: the message finds none (old source unspecified)."""
    (row, *_) = ROWS
    steps = plan((row,), ROUTER, V6, V4, Ability.MIGRATE)
    assert [type(step) for step in steps] == [Migrate, Migrate]
    for step in steps:
        assert isinstance(step, Migrate)
        assert step.old[0].is_unspecified
        assert set(step.new) == {HOA, HA}
        assert step.otherwise == ()
    assert plan((row,), ROUTER, V6, V4, Ability.NONE) == ()
    assert plan((row,), ROUTER, V6, V4, Ability.MIGRATE, announce=False) == ()


def test_inside_form_does_not_move() -> None:
    inside = rows(BUS, Protection(signalling=False, payload=Form.INSIDE))
    for old, new in itertools.permutations(AWAY, 2):
        assert plan(inside, AGENT, old, new, Ability.MIGRATE) == ()
    (row,) = inside
    home = plan(inside, AGENT, V6, HOME, Ability.MIGRATE)
    assert home == tuple(DropPolicy(policy) for policy in protecting(row, AGENT))
    away = plan(inside, AGENT, HOME, NAT, Ability.MIGRATE)
    assert away == tuple(PutPolicy(policy) for policy in protecting(row, AGENT))
    assert plan(inside, ROUTER, UNKNOWN, V6, Ability.MIGRATE) == ()


def test_blocked_before_anything_moves() -> None:
    """First all outgoing policies block, last they pass; nothing is installed open between."""
    for ability, new in itertools.product(Ability, (V4, NAT, OTHER)):
        kernel = kernel_at(V6, ROUTER, ability)
        given = [one.association for one in kernel.held]
        steps = plan(ROWS, ROUTER, V6, new, ability, given)
        outward = [
            (number, step.policy.action)
            for number, step in enumerate(steps)
            if isinstance(step, PutPolicy) and step.policy.direction is Direction.OUT
        ]
        moves = [
            number
            for number, step in enumerate(steps)
            if isinstance(step, (Reinstall, MigrateState, Settle))
            or (isinstance(step, Migrate) and step.policy.template and step.policy.template.outer)
        ]
        blocks = [number for number, action in outward if action is Action.BLOCK]
        passes = [number for number, action in outward if action is Action.PROTECT]
        assert max(blocks) < min(moves)
        assert max(moves) < min(passes)
        assert len(blocks) == len(passes)


def test_encapsulation_cannot_be_taken_off_by_migrate() -> None:
    """NAT to no NAT: the association first, by hand; then the policy has nothing to drag."""
    given = pair(PAYLOAD, NAT, 0x1001)
    steps = plan((PAYLOAD,), ROUTER, NAT, V6, Ability.MIGRATE, given)
    kinds = [type(step) for step in steps if not isinstance(step, PutPolicy)]
    assert kinds[:2] == [Reinstall, Reinstall]
    assert Settle not in kinds
    # The other way MIGRATE can.
    steps = plan((PAYLOAD,), ROUTER, V6, NAT, Ability.MIGRATE, pair(PAYLOAD, V6, 0x1001))
    assert not any(isinstance(step, Reinstall) for step in steps)
    assert all(
        step.encapsulation == Encapsulation(4500, 4500)
        for step in steps
        if isinstance(step, Migrate)
    )
    # And where one association can be moved by its SPI, it never needs a hand.
    given = pair(PAYLOAD, NAT, 0x1001)
    steps = plan((PAYLOAD,), ROUTER, NAT, V6, Ability.MIGRATE_STATE, given)
    assert not any(isinstance(step, Reinstall) for step in steps)
    assert sum(isinstance(step, MigrateState) for step in steps) == 2


def test_ports_change_in_place() -> None:
    given = pair(PAYLOAD, NAT, 0x1001)
    steps = plan((PAYLOAD,), AGENT, NAT, MAPPED, Ability.MIGRATE, given)
    assert steps == tuple(Remap(association) for association in pair(PAYLOAD, MAPPED, 0x1001))


def test_associations_of_others_stay() -> None:
    """Another row's, another router's, and one that is not where this one's are."""
    given = [
        replace(pair(PAYLOAD, V6, 0x1001)[0], reqid=7),
        *pair(PAYLOAD, OTHER, 0x1003)[1:],
    ]
    steps = plan((PAYLOAD,), ROUTER, V6, V4, Ability.NONE, given)
    assert not any(isinstance(step, Reinstall) for step in steps)


def test_larval_states_go_first() -> None:
    """Where a row has no association of a direction, a packet may have asked for one."""
    steps = plan((PAYLOAD,), ROUTER, V6, V4, Ability.MIGRATE)
    cleared = [step.template for step in steps if isinstance(step, ClearLarval)]
    assert set(cleared) == {Template(Mode.TUNNEL, PAYLOAD.reqid, (V6.router, HA))}
    # The first policy takes the associations along; a packet under way finds none after it.
    given = pair(PAYLOAD, V6, 0x1001)
    for role in (ROUTER, AGENT):
        steps = plan((PAYLOAD,), role, V6, V4, Ability.MIGRATE, given)
        outward = [
            isinstance(before, ClearLarval)
            for before, step in itertools.pairwise(steps)
            if isinstance(step, Migrate) and step.policy.direction is Direction.OUT
        ]
        assert outward == [False, True, True]
        assert sum(isinstance(step, ClearLarval) for step in steps) == 2
