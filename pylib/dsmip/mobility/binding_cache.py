# SPDX-License-Identifier: GPL-2.0-only
"""The binding cache of a home agent (RFC 6275 sections 9.1 and 10.1)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from ..packet.careof import CareOf, WireKind
from ..packet.mobility import BindingUpdate
from .effects import KernelBinding, Network, Path, Received
from .ownership import Owner

#: MAX_DELETE_BCE_TIMEOUT (RFC 6275 section 10.3.2): a removed entry still knows
#: its sequence number, so that an update that comes late is refused.
DELETED_FOR = 10.0

#: The path of a router in a plain IPv4 network that still sends in UDP.
UDP_STANDBY_BID = 1


def sequence_is_newer(received: int, last: int) -> bool:
    """Compare sequence numbers modulo 2**16 (RFC 6275 section 9.5.1)."""
    return 0 < (received - last) & 0xFFFF < 0x8000


@dataclass(slots=True)
class Entry:
    """A binding.

    ``care_of`` is where its packets go: address, wire kind and UDP port.
    ``reach`` is where its signalling came from, the same but for the wire kind.
    ``claimed4`` is the IPv4 care-of address as the router knows it, which
    differs behind a NAT.
    """

    owner: Owner
    local6: IPv6Address
    care_of: CareOf
    reach: CareOf
    sequence: int
    lifetime: int
    expires: float
    registered: float
    updated: float
    mobile_router: bool = False
    force_udp: bool = False
    nat: bool = False
    claimed4: IPv4Address | None = None
    home_address4: IPv4Address | None = None
    prefixes: tuple[Network, ...] = ()
    refresh_requested: float = float("-inf")

    @property
    def home_address(self) -> IPv6Address:
        return self.owner.home_address


@dataclass(slots=True)
class Pending:
    """A first registration that waits for duplicate address detection."""

    update: BindingUpdate
    received: Received
    since: float


@dataclass(slots=True)
class Deleted:
    """What is remembered of a binding for a while after its end."""

    sequence: int
    until: float


def to_kernel(entry: Entry, address4: IPv4Address | None, now: float) -> KernelBinding:
    """Return the binding as the kernel is to hold it."""
    care_of = entry.care_of
    paths = [_path(0, 0, entry, care_of, address4)]
    if care_of.kind is WireKind.IP4:
        # The router learns from our answer that it may do without UDP.
        paths.append(_path(UDP_STANDBY_BID, 10, entry, entry.reach, address4))
    return KernelBinding(
        home_address=entry.home_address,
        home_address4=entry.home_address4,
        prefixes=entry.prefixes,
        local_prefixes=(),
        paths=tuple(paths),
        mobile=False,
        lifetime=max(int(entry.expires - now + 0.999), 1),
        sequence=entry.sequence,
        data=_remember(entry),
    )


def _path(
    bid: int, priority: int, entry: Entry, care_of: CareOf, address4: IPv4Address | None
) -> Path:
    local: IPv6Address | IPv4Address = entry.local6
    if isinstance(care_of.address, IPv4Address):
        assert address4 is not None
        local = address4
    port = care_of.port if care_of.kind is WireKind.UDP4 else 0
    return Path(bid, care_of.kind, local, care_of.address, port, priority=priority)


def _remember(entry: Entry) -> bytes:
    reach = entry.reach
    return json.dumps(
        {
            "identity": entry.owner.identity[:64],
            "local": str(entry.local6),
            "reach": [str(reach.address), int(reach.kind), reach.port],
            "lifetime": entry.lifetime,
            "router": entry.mobile_router,
            "nat": entry.nat,
            "force": entry.force_udp,
            "claimed4": str(entry.claimed4) if entry.claimed4 else None,
        },
        separators=(",", ":"),
    ).encode()


def adopt(binding: KernelBinding, owner: Owner, now: float) -> Entry | None:
    """Return the entry that the kernel's binding was made from, None if it is not ours."""
    active = next((path for path in binding.paths if path.bid == 0), None)
    try:
        memory = json.loads(binding.data)
        address, kind, port = memory["reach"]
        reach = CareOf(ip_address(address), WireKind(kind), port)
        claimed4 = memory["claimed4"]
        if active is None or binding.mobile or memory["identity"] != owner.identity[:64]:
            return None
        return Entry(
            owner=owner,
            local6=IPv6Address(memory["local"]),
            care_of=CareOf(active.remote, active.kind, active.remote_port),
            reach=reach,
            sequence=binding.sequence,
            lifetime=int(memory["lifetime"]),
            expires=now + binding.lifetime,
            registered=now,
            updated=now + binding.lifetime - int(memory["lifetime"]),
            mobile_router=bool(memory["router"]),
            force_udp=bool(memory["force"]),
            nat=bool(memory["nat"]),
            claimed4=IPv4Address(claimed4) if claimed4 else None,
            home_address4=binding.home_address4,
            prefixes=binding.prefixes,
        )
    except (ValueError, KeyError, TypeError):
        return None
