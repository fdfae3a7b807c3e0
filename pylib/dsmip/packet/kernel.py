# SPDX-License-Identifier: GPL-2.0-only
"""What dsmip.ko holds, as both the engines and the netlink side name it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from .careof import WireKind

Network = IPv6Network | IPv4Network
Address = IPv6Address | IPv4Address


@dataclass(frozen=True, slots=True)
class Path:
    """A kernel path: BID, wire kind, both outer ends (dsmip.h)."""

    bid: int
    kind: WireKind
    local: Address
    remote: Address
    remote_port: int = 0
    interface: int = 0
    priority: int = 0
    down: bool = False
    silent_ms: int = 0


@dataclass(frozen=True, slots=True)
class KernelBinding:
    """A binding as the kernel holds it: what a daemon writes and later adopts.

    ``lifetime`` is in seconds from now, 0 for no end. ``data`` is the engine's
    own memory (at most 512 octets), handed back at adoption. ``copies``: what comes
    by a second path is dropped. ``direct`` is route
    optimisation: ``home_address`` is that of a mobile node or of a correspondent,
    reached without a tunnel.
    """

    home_address: IPv6Address
    home_address4: IPv4Address | None
    prefixes: tuple[Network, ...]
    local_prefixes: tuple[Network, ...]
    paths: tuple[Path, ...]
    mobile: bool
    lifetime: int
    sequence: int
    data: bytes = b""
    direct: bool = False
    copies: bool = False


class PathEvent(enum.IntEnum):
    """Kernel events about a path; the numbers of enum dsmip_event."""

    NEW_SOURCE = 1
    SILENT = 2
    HEARD = 3
    STRANGER = 4
    EXPIRED = 5
    TUNNELLED = 6
