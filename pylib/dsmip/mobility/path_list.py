# SPDX-License-Identifier: GPL-2.0-only
"""The entries of the binding update list by BID (RFC 5648 section 4.3)."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from ..packet.careof import WireKind
from ..packet.kernel import Path
from ..packet.mobility import BindingUpdate
from ..packet.options import (
    AlternateCareOfAddress,
    BindingIdentifier,
    IPv4CareOfAddress,
    Option,
)
from .attachment import ACTIVE_PRIORITY, STANDBY_PRIORITY, Attachment
from .binding_cache import UDP_STANDBY
from .config import MobileRouterConfig
from .probing import Probe
from .update_list import UpdateListEntry, binding_update

#: The kernel holds 16 paths for a binding; a care-of address in IPv4 takes two.
KERNEL_PATHS = 16
#: BID-PRI (RFC 6089): of the path in use, and where the others start.
PRIORITY_ACTIVE, PRIORITY_STANDBY = 1, 10
#: How long a path is heard that an operator took out of use.
LINGER = 2.0


class PathStatus(enum.Enum):
    """What the home agent and the router make of one care-of address."""

    REGISTERING = "registering"
    REGISTERED = "registered"
    REFUSED = "refused"
    LOST = "no answer"
    LEAVING = "leaving"


@dataclass(slots=True)
class PathEntry:
    """A care-of address with its BID and its own registration.

    ``known``: the home agent has its address, so that an update may leave it out.
    ``priority`` is the BID-PRI of the last update, ``told`` that of the last answer.
    """

    bid: int
    attachment: Attachment
    probe: Probe
    kind: WireKind
    list: UpdateListEntry = field(default_factory=lambda: UpdateListEntry(0))
    status: PathStatus = PathStatus.REGISTERING
    nat: bool = False
    known: bool = False
    force_udp: bool = False
    priority: int = 0
    told: int = 0
    leave_at: float | None = None
    problem: str = ""

    @property
    def alive(self) -> bool:
        """Whether data can go this way now."""
        return self.status is PathStatus.REGISTERED and not self.probe.dead


def bid_of(position: int, attachment: Attachment) -> int:
    """Return the BID of a care-of address on the uplink at that position.

    It depends on nothing else, so it stays as long as the configuration does.
    """
    return 2 * position + (1 if attachment.version == 6 else 2)


def kernel_cost(attachment: Attachment) -> int:
    """Return how many of the kernel's paths it takes."""
    return 1 if attachment.version == 6 else 2


def kernel_paths(
    config: MobileRouterConfig, entries: Iterable[PathEntry], active: PathEntry | None
) -> tuple[Path, ...]:
    """Return the paths that the kernel is to hold.

    What is not registered is heard and never sent to, but for the path in use: data
    goes along with the update. In IPv4 both kinds are heard: what the home agent
    found out about NAT shows in its data before it shows in its answer.
    """
    paths = []
    for entry in entries:
        mine = entry is active
        down = not mine and not entry.alive
        priority = ACTIVE_PRIORITY if mine else min(STANDBY_PRIORITY + entry.bid, 255)
        silent = config.silent_ms if mine else 0
        paths.append(_path(config, entry, entry.kind, entry.bid, priority, down, silent))
        if entry.attachment.version == 4:
            other = WireKind.UDP4 if entry.kind is WireKind.IP4 else WireKind.IP4
            paths.append(_path(config, entry, other, entry.bid | UDP_STANDBY, 255, True, 0))
    return tuple(paths)


def _path(
    config: MobileRouterConfig,
    entry: PathEntry,
    kind: WireKind,
    bid: int,
    priority: int,
    down: bool,
    silent_ms: int,
) -> Path:
    remote = config.home_agent6 if kind is WireKind.IP6 else config.home_agent4
    assert remote is not None
    return Path(
        bid=bid,
        kind=kind,
        local=entry.attachment.address,
        remote=remote,
        remote_port=config.port if kind is WireKind.UDP4 else 0,
        interface=entry.attachment.interface,
        priority=priority,
        down=down,
        silent_ms=silent_ms,
    )


def paths_update(
    config: MobileRouterConfig,
    through: PathEntry,
    about: Iterable[PathEntry],
    sequence: int,
    overwrite: bool,
    more: Iterable[Option] = (),
) -> BindingUpdate:
    """Return an update about these paths, to be sent through one of them.

    The address is in the option until the home agent has it, and whenever an IPv4
    address speaks for itself: what the NAT made of it may have changed. Neither
    the Alternate nor the IPv4 Care-of Address option goes with a BID (RFC 5648
    sections 5.2 and 8.1).
    """
    first = config.service if overwrite else ""
    plain = binding_update(config, through.attachment, sequence, through.force_udp, first)
    rest = [
        option
        for option in plain.options
        if not isinstance(option, AlternateCareOfAddress | IPv4CareOfAddress)
    ]
    identifiers = [identifier(entry, entry is through) for entry in about]
    return replace(plain, overwrite=overwrite, options=(*identifiers, *rest, *more))


def identifier(entry: PathEntry, through: bool) -> BindingIdentifier:
    """Return the option that names a path in an update."""
    address = entry.attachment.address
    needed = not entry.known or (through and isinstance(address, IPv4Address))
    return BindingIdentifier(
        entry.bid, priority=entry.priority, address=address if needed else None
    )


def paths_removal(sequence: int, mobile_router: bool, bids: Iterable[int]) -> BindingUpdate:
    """Return a de-registration of some BIDs (RFC 5648 section 5.4)."""
    return BindingUpdate(
        sequence,
        0,
        acknowledge=True,
        home=True,
        mobile_router=mobile_router,
        options=tuple(BindingIdentifier(bid) for bid in bids),
    )
