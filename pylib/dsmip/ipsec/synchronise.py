# SPDX-License-Identifier: GPL-2.0-only
"""From what a security database holds to what it shall hold, without a gap."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from .association import Association
from .policy import Policy


class Database(Protocol):
    """What is asked of a database of policies and associations."""

    def policies(self) -> list[Policy]: ...
    def put_policy(self, policy: Policy) -> None: ...
    def remove_policy(self, policy: Policy) -> None: ...
    def associations(self, reqids: frozenset[int] = frozenset()) -> list[Association]: ...
    def add_association(self, association: Association) -> None: ...
    def remove_association(self, association: Association) -> None: ...


def synchronise(
    database: Database,
    associations: Iterable[Association] | None,
    policies: Iterable[Policy],
    reqids: Collection[int] = (),
    keeps: Callable[[Association], bool] = lambda one: False,
) -> tuple[int, int]:
    """Make a database hold exactly these of ours; returns (added, removed).

    What is there already stays untouched, so a daemon that restarts loses
    neither sequence numbers nor packets. Policies come after the associations they
    need and go before them. ``associations`` None leaves those to whoever keeps
    keys, ``keeps`` those that it says. ``reqids`` are ours beside those that
    ``first_reqid`` makes.
    """
    wanted = dict.fromkeys(associations or ())
    wanted_policies = dict.fromkeys(policies)
    present: dict[Association, None] = {}
    if associations is not None:
        ours = frozenset((*reqids, *(one.reqid for one in wanted)))
        present = dict.fromkeys(database.associations(ours))
    present_policies = dict.fromkeys(database.policies())
    stale = [one for one in present if one not in wanted and not keeps(one)]
    missing = [one for one in wanted if one not in present]
    taken = {(one.destination, one.spi) for one in missing}
    for association in stale:
        # Another key under the same SPI cannot wait for its turn.
        if (association.destination, association.spi) in taken:
            database.remove_association(association)
    for association in missing:
        database.add_association(association)
    new = [policy for policy in wanted_policies if policy not in present_policies]
    old = [policy for policy in present_policies if policy not in wanted_policies]
    replaced = {(policy.direction, policy.selector) for policy in new}
    for policy in new:
        database.put_policy(policy)
    for policy in old:
        if (policy.direction, policy.selector) not in replaced:
            database.remove_policy(policy)
    for association in stale:
        if (association.destination, association.spi) not in taken:
            database.remove_association(association)
    return len(missing) + len(new), len(stale) + len(old)
