# SPDX-License-Identifier: GPL-2.0-only
"""The binding cache of a home agent (RFC 6275 sections 9.1 and 10.1)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from ..packet.careof import CareOf, WireKind
from ..packet.mobility import BindingUpdate
from .effects import KernelBinding, Network, Path, Received
from .flow_bindings import FlowBinding
from .ownership import Owner

#: MAX_DELETE_BCE_TIMEOUT (RFC 6275 section 10.3.2): a removed entry still knows
#: its sequence number, so that an update that comes late is refused.
DELETED_FOR = 10.0

#: The path of a router in a plain IPv4 network that still sends in UDP: of a
#: binding without BIDs, and what is added to a BID. Such BIDs are not given out.
UDP_STANDBY_BID = 1
UDP_STANDBY = 0x8000
STANDBY_PRIORITY = 10
#: Where paths without BID-PRI stand among those with one (1 to 127).
NO_PRIORITY = 128
_LINK_LOCAL = 0xFE80 << 112


def sequence_is_newer(received: int, last: int) -> bool:
    """Compare sequence numbers modulo 2**16 (RFC 6275 section 9.5.1)."""
    return 0 < (received - last) & 0xFFFF < 0x8000


def link_local(home: IPv6Address) -> IPv6Address:
    """Return the link-local address with the interface identifier of a home address."""
    return IPv6Address(_LINK_LOCAL | int(home) & 0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True, slots=True)
class BoundPath:
    """One care-of address of a binding; ``bid`` 0 for the only one of a plain binding.

    ``care_of`` is where its packets go: address, wire kind and UDP port.
    ``reach`` is where its signalling came from, the same but for the wire kind.
    ``claimed4`` is the IPv4 care-of address as the router knows it, which
    differs behind a NAT. ``priority`` is BID-PRI of RFC 6089, the lower the
    better, 0 when none was given.
    """

    bid: int
    care_of: CareOf
    reach: CareOf
    lifetime: int
    expires: float
    priority: int = 0
    nat: bool = False
    force_udp: bool = False
    claimed4: IPv4Address | None = None

    @property
    def rank(self) -> tuple[int, int]:
        """Order of preference; who gives no priority comes after those who do."""
        return self.priority or NO_PRIORITY, self.bid


@dataclass(frozen=True, slots=True)
class HomePath:
    """The home link as a way to a router that has care-of addresses besides (RFC 5648).

    ``link_layer`` is the router's address there.
    """

    bid: int
    link_layer: bytes
    lifetime: int
    expires: float
    priority: int = 0

    @property
    def rank(self) -> int:
        """Order of preference among all ways, the lower the better."""
        return self.priority or NO_PRIORITY


@dataclass(slots=True)
class Entry:
    """A binding; what it says of its care-of address is said of the preferred one."""

    owner: Owner
    local6: IPv6Address
    paths: dict[int, BoundPath]
    sequence: int
    registered: float
    updated: float
    mobile_router: bool = False
    link_local: bool = False
    home_address4: IPv4Address | None = None
    prefixes: tuple[Network, ...] = ()
    refresh_requested: float = float("-inf")
    flows: dict[int, FlowBinding] = field(default_factory=dict)
    #: After a restart: flow bindings were there, and only the router knows them.
    flows_forgotten: bool = False
    home: HomePath | None = None

    @property
    def home_address(self) -> IPv6Address:
        return self.owner.home_address

    @property
    def name(self) -> str:
        """Who it is, for the log."""
        return f"{self.owner.identity} ({self.home_address})"

    @property
    def preferred(self) -> BoundPath:
        """The path of packets that no flow binding concerns."""
        return min(self.paths.values(), key=lambda path: path.rank)

    @property
    def at_home(self) -> bool:
        """Whether the home link is the best way, or as good as the best."""
        return self.home is not None and self.home.rank <= self.preferred.rank[0]

    @property
    def care_of(self) -> CareOf:
        return self.preferred.care_of

    @property
    def nat(self) -> bool:
        return self.preferred.nat

    @property
    def lifetime(self) -> int:
        return max(self.paths.values(), key=lambda path: path.expires).lifetime

    @property
    def expires(self) -> float:
        """When the last of its paths ends."""
        return max(path.expires for path in self.paths.values())

    @property
    def several(self) -> bool:
        """Whether its care-of addresses have BIDs (RFC 5648)."""
        return 0 not in self.paths

    @property
    def networks(self) -> tuple[Network, ...]:
        """Everything that is reached by this binding."""
        homes: list[Network] = [IPv6Network(self.home_address)]
        if self.home_address4 is not None:
            homes.append(IPv4Network(self.home_address4))
        return (*homes, *self.prefixes)

    def ways(self) -> list[BoundPath | HomePath]:
        """Return the paths, and the home link if it is a way to the router."""
        return [*self.paths.values(), *([self.home] if self.home is not None else [])]

    def ordered(self) -> list[BoundPath]:
        """Return the paths, the preferred one first."""
        return sorted(self.paths.values(), key=lambda path: path.rank)


@dataclass(slots=True)
class Pending:
    """A first registration that waits for duplicate address detection.

    ``unchecked`` are the addresses that may still turn out to be in use.
    """

    update: BindingUpdate
    received: Received
    since: float
    unchecked: set[IPv6Address] = field(default_factory=set)


@dataclass(slots=True)
class Deleted:
    """What is remembered of a binding for a while after its end."""

    sequence: int
    until: float


def to_kernel(entry: Entry, address4: IPv4Address | None, now: float) -> KernelBinding:
    """Return the binding as the kernel is to hold it."""
    paths: list[Path] = []
    for bound in entry.ordered():
        care_of, bid = bound.care_of, bound.bid
        paths.append(_path(bid, bound.rank[0] if bid else 0, entry, care_of, address4))
        if care_of.kind is WireKind.IP4:
            # The router learns from our answer that it may do without UDP.
            standby = bid | UDP_STANDBY if bid else UDP_STANDBY_BID
            paths.append(_path(standby, STANDBY_PRIORITY, entry, bound.reach, address4, bool(bid)))
    return KernelBinding(
        home_address=entry.home_address,
        home_address4=entry.home_address4,
        prefixes=entry.prefixes,
        local_prefixes=(),
        paths=tuple(paths),
        mobile=False,
        lifetime=max(int(entry.expires - now + 0.999), 1),
        sequence=entry.sequence,
        data=_remember(entry, now),
        copies=any(flow.copies for flow in entry.flows.values()),
    )


def _path(
    bid: int,
    priority: int,
    entry: Entry,
    care_of: CareOf,
    address4: IPv4Address | None,
    down: bool = False,
) -> Path:
    local: IPv6Address | IPv4Address = entry.local6
    if isinstance(care_of.address, IPv4Address):
        assert address4 is not None
        local = address4
    port = care_of.port if care_of.kind is WireKind.UDP4 else 0
    return Path(
        bid, care_of.kind, local, care_of.address, port, priority=min(priority, 255), down=down
    )


def _remember(entry: Entry, now: float) -> bytes:
    # 512 octets are all there is: names of one letter, and no list element by name.
    home = entry.home
    way: dict[str, list[int]] = {}
    if home is not None:
        left = int(home.expires - now)
        way["h"] = [home.bid, home.priority, home.lifetime, left, int.from_bytes(home.link_layer)]
    return json.dumps(
        {
            **way,
            "id": _short(entry.owner.identity),
            "at": str(entry.local6),
            "mr": int(entry.mobile_router),
            "ll": int(entry.link_local),
            "f": int(bool(entry.flows) or entry.flows_forgotten),
            "p": [_remember_path(path, now) for path in entry.paths.values()],
        },
        separators=(",", ":"),
        ensure_ascii=False,
    ).encode()


def _short(identity: str) -> str:
    return identity.encode()[:48].decode(errors="ignore")


def _remember_path(path: BoundPath, now: float) -> list[int]:
    claimed4 = int(path.claimed4) if path.claimed4 else 0
    flags = path.nat | path.force_udp << 1
    return [path.bid, path.priority, path.lifetime, int(path.expires - now), flags, claimed4]


def adopt(binding: KernelBinding, owner: Owner, now: float) -> Entry | None:
    """Return the entry that the kernel's binding was made from, None if it is not ours."""
    held = {path.bid: path for path in binding.paths}
    try:
        memory = json.loads(binding.data)
        if binding.mobile or memory["id"] != _short(owner.identity):
            return None
        # What the kernel counts from now on ends with the last of the paths.
        rows = [[int(value) for value in row] for row in memory["p"]]
        passed = max(row[3] for row in rows) - binding.lifetime
        paths = {row[0]: _adopt_path(row, held, now - passed) for row in rows}
        return Entry(
            owner=owner,
            local6=IPv6Address(memory["at"]),
            paths=paths,
            sequence=binding.sequence,
            registered=now,
            updated=min(now, max(path.expires - path.lifetime for path in paths.values())),
            mobile_router=bool(memory["mr"]),
            link_local=bool(memory["ll"]),
            home_address4=binding.home_address4,
            prefixes=binding.prefixes,
            flows_forgotten=bool(memory["f"]),
            home=_adopt_home(memory.get("h"), now - passed),
        )
    except (ValueError, KeyError, TypeError, IndexError):
        return None


def _adopt_home(row: list[int] | None, written: float) -> HomePath | None:
    if row is None:
        return None
    bid, priority, lifetime, left, link_layer = (int(value) for value in row)
    return HomePath(bid, link_layer.to_bytes(6), lifetime, written + left, priority)


def _adopt_path(row: list[int], held: dict[int, Path], written: float) -> BoundPath:
    bid, priority, lifetime, left, flags, claimed4 = row
    path = held[bid]
    care_of = reach = CareOf(path.remote, path.kind, path.remote_port)
    if path.kind is WireKind.IP4:
        standby = held[bid | UDP_STANDBY if bid else UDP_STANDBY_BID]
        reach = CareOf(standby.remote, standby.kind, standby.remote_port)
    return BoundPath(
        bid,
        care_of,
        reach,
        lifetime,
        written + left,
        priority,
        bool(flags & 1),
        bool(flags & 2),
        IPv4Address(claimed4) if claimed4 else None,
    )
