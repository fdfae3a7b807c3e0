# SPDX-License-Identifier: GPL-2.0-only
"""Who gives and keeps the keys of the rows that ``ipsec.policy`` computes."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from ipaddress import IPv6Address
from typing import Protocol

from ..ipsec.policy import (
    Association,
    Policy,
    Role,
    associations,
    block_policy,
    policies,
    signalling_row,
)
from ..packet.careof import CareOf
from .config import Row

log = logging.getLogger(__name__)


class KeyManager(Protocol):
    """Mobility's view of IPsec keys; engines never see more of it."""

    def update(self, rows: Iterable[tuple[Role, Row]]) -> None:
        """Take the complete list of rows. Raises ``OSError`` when the kernel refuses."""

    def protects(self, home_address: IPv6Address, agent: IPv6Address) -> bool:
        """Whether a message between these two can only have arrived protected."""

    def moved(self, home_address: IPv6Address, old: CareOf | None, new: CareOf | None) -> None:
        """Move what is tied to a care-of address; called before the update is sent."""

    def clear(self) -> None:
        """Remove everything that was installed."""


class SecurityDatabase(Protocol):
    """The part of ``linux.xfrm.Xfrm`` that is used here."""

    def synchronise(
        self, associations: Iterable[Association], policies: Iterable[Policy]
    ) -> tuple[int, int]: ...


class StaticKeys:
    """Keys from the configuration (RFC 3776 section 4.1).

    Associations are between home address and home agent, so nothing moves with
    the care-of address.
    """

    def __init__(self, database: SecurityDatabase) -> None:
        self._database = database
        self._protected: set[tuple[IPv6Address, IPv6Address]] = set()

    def update(self, rows: Iterable[tuple[Role, Row]]) -> None:
        """Install rows and remove those that are not there any more."""
        wanted_associations: list[Association] = []
        wanted_policies: list[Policy] = []
        protected = set()
        for role, row in rows:
            protected.add((row.home_address, row.agent))
            if row.keys is None:
                log.warning(
                    "signalling between %s and %s is not protected, as configured",
                    row.home_address,
                    row.agent,
                )
                continue
            signalling = signalling_row(row.home_address, row.agent)
            wanted_associations += associations(signalling, row.keys)
            wanted_policies += policies(signalling, role)
            if role is Role.HOME_AGENT:
                wanted_policies.append(block_policy(row.home_address))
        added, removed = self._database.synchronise(wanted_associations, wanted_policies)
        self._protected = protected
        if added or removed:
            log.info("IPsec: %d associations and policies added, %d removed", added, removed)

    def protects(self, home_address: IPv6Address, agent: IPv6Address) -> bool:
        """Whether a row covers both; one that is configured without keys counts."""
        return (home_address, agent) in self._protected

    def moved(self, home_address: IPv6Address, old: CareOf | None, new: CareOf | None) -> None:
        """Nothing to do: transport-mode selectors know no care-of address."""

    def clear(self) -> None:
        """Remove all rows."""
        self._database.synchronise((), ())
        self._protected = set()
