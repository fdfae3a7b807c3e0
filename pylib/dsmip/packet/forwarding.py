# SPDX-License-Identifier: GPL-2.0-only
"""The data path of dsmip.ko as a table in user space: same bindings, same rules.

What a packet meets here is what it meets in the module: the longest prefix of
the inner destination gives the binding, its best path carries the packet; an
inner source belongs to one binding, and only that binding's paths may bring it
(RFC 3963 section 9, RFC 5555 section 4.5). Every path is UDP here, in IPv4 as in
RFC 5555 and, between nodes that both work this way, in IPv6.

Times are seconds of one monotonic clock that the caller chooses.
"""

from __future__ import annotations

import errno
import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

from .careof import OPTION_TYPE, WireKind
from .kernel import KernelBinding, Network, Path, PathEvent

PATHS_MAX: Final = 16
PREFIXES_MAX: Final = 64
_EVENTS_MAX: Final = 1024
#: NEW_SOURCE events of one binding are at least this far apart.
_NEW_SOURCE_INTERVAL: Final = 0.25
#: A quiet path that received this many packets in a period was in use.
_BUSY_PACKETS: Final = 8
_NESTING_MAX: Final = 4
_LEAST_PERIOD: Final = 0.025

_UDP, _IN_IP4, _IN_IP6, _ESP, _OPTIONS, _MOBILITY = 17, 4, 41, 50, 60, 135
_CE: Final = 3
_TUNNELS: Final = (_IN_IP4, _IN_IP6)


class ForwardingError(Exception):
    """A request is refused; ``code`` is an errno value, as the module would give it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(slots=True, eq=False)
class PathEntry:
    """A path with what was measured. ``sender`` is the caller's, to send by it."""

    path: Path
    remote: tuple[bytes, int]
    local: bytes
    rx_packets: int = 0
    rx_bytes: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0
    last_rx: float | None = None
    awaits: bool = False
    sender: Any = None
    _seen: tuple[int, int] = (0, 0)
    _lately: int = 0
    _owed: bool = False
    _owed_since: float = 0.0

    def listen(self, now: float) -> bool:
        """Look once a period; True when the path has just fallen silent.

        It is silent when for ``silent_ms`` nothing came although something was
        sent, or although plenty came just before. A path that was not heard of
        yet is awaited, not missed.
        """
        received = self.rx_packets - self._seen[0]
        sent = self.tx_packets - self._seen[1]
        self._seen = self.rx_packets, self.tx_packets
        if received or (sent and not self._owed):
            # A stream often ends early in a period: the one before it tells as well.
            self._owed = not received or max(received, self._lately) >= _BUSY_PACKETS
            self._owed_since = now
        self._lately = received
        late = now - self._owed_since >= self.path.silent_ms / 1000
        if not self._owed or self.awaits or not late:
            return False
        self.awaits = True
        return True


@dataclass(slots=True, eq=False)
class Entry:
    """A binding with its paths."""

    binding: KernelBinding
    expires: float | None
    paths: list[PathEntry] = field(default_factory=list)
    active: PathEntry | None = None
    has_local: bool = False
    new_source_at: float = -1.0
    rx_packets: int = 0
    rx_bytes: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0

    def value(self, now: float) -> KernelBinding:
        """Return the binding as it is now; its lifetime is what remains."""
        remains = 0 if self.expires is None else max(math.ceil(self.expires - now), 1)
        paths = tuple([entry.path for entry in self.paths])
        return replace(self.binding, lifetime=remains, paths=paths)


@dataclass(frozen=True, slots=True)
class Outer:
    """The outer side of a received packet: both ends, packed, and where it came in."""

    source: bytes
    port: int
    destination: bytes
    interface: int = 0
    dsfield: int = 0

    @property
    def kind(self) -> WireKind:
        """The kind of the path that brings such packets."""
        return WireKind.IP6 if len(self.source) == 16 else WireKind.UDP4


@dataclass(frozen=True, slots=True)
class TableEvent:
    """What the module would report."""

    event: PathEvent
    home_address: IPv6Address
    path: Path | None


class Prefixes:
    """Longest prefix match for one family of one direction."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._by_length: dict[int, dict[int, Entry]] = {}
        #: (shift, table) from the longest prefixes to the shortest.
        self._order: list[tuple[int, dict[int, Entry]]] = []

    def put(self, value: int, length: int, entry: Entry) -> None:
        """Give a prefix to a binding."""
        shift = self._bits - length
        if length not in self._by_length:
            self._by_length[length] = {}
            self._order = [
                (self._bits - size, self._by_length[size])
                for size in sorted(self._by_length, reverse=True)
            ]
        self._by_length[length][value >> shift] = entry

    def drop(self, value: int, length: int) -> None:
        """Take a prefix away."""
        table = self._by_length[length]
        del table[value >> (self._bits - length)]
        if not table:
            del self._by_length[length]
            self._order = [one for one in self._order if one[1] is not table]

    def owner(self, value: int, length: int) -> Entry | None:
        """Return whose a prefix is, exactly."""
        return self._by_length.get(length, {}).get(value >> (self._bits - length))

    def find(self, packed: bytes) -> Entry | None:
        """Return the binding of the longest prefix that holds an address."""
        value = int.from_bytes(packed, "big")
        for shift, table in self._order:
            entry = table.get(value >> shift)
            if entry is not None:
                return entry
        return None


@dataclass(slots=True)
class Verdict:
    """What becomes of a received packet.

    ``signalling``: ESP or a mobility message for this host, for the daemon. Else
    ``packet`` goes to the host, or is None and was counted.
    """

    packet: bytes | None = None
    signalling: bool = False


class Table:
    """Bindings, paths and prefixes; which packet goes where.

    ``own`` are the packed addresses of this host.
    """

    def __init__(self, port: int = 4191) -> None:
        self.port = port
        self.own: frozenset[bytes] = frozenset()
        self.counters: Counter[str] = Counter()
        self.events: deque[TableEvent] = deque(maxlen=_EVENTS_MAX)
        self._entries: dict[IPv6Address, Entry] = {}
        self._remote = {6: Prefixes(128), 4: Prefixes(32)}
        self._local = {6: Prefixes(128), 4: Prefixes(32)}
        self._mobile_homes: frozenset[bytes] = frozenset()

    # --- requests

    def put_binding(self, binding: KernelBinding, now: float) -> None:
        """Create or replace a binding, or change nothing and raise ``ForwardingError``."""
        if len(binding.paths) > PATHS_MAX:
            raise ForwardingError(errno.ENOSPC, f"at most {PATHS_MAX} paths")
        if len(binding.prefixes) + len(binding.local_prefixes) > PREFIXES_MAX:
            raise ForwardingError(errno.ENOSPC, f"at most {PREFIXES_MAX} prefixes")
        bids = [path.bid for path in binding.paths]
        if len(set(bids)) != len(bids):
            raise ForwardingError(errno.EEXIST, "a BID stands there twice")
        before = self._entries.get(binding.home_address)
        for prefixes, network in self._networks(binding):
            owner = prefixes.owner(int(network.network_address), network.prefixlen)
            if owner is not None and owner is not before:
                home = owner.binding.home_address
                raise ForwardingError(errno.EEXIST, f"{network} belongs to binding {home}")
        fresh = [self._path(path) for path in binding.paths]
        if before is not None:
            self._unlink(before)
        entry = before or Entry(binding, None)
        entry.binding = binding
        entry.expires = now + binding.lifetime if binding.lifetime else None
        entry.has_local = bool(binding.local_prefixes)
        self._entries[binding.home_address] = entry
        for prefixes, network in self._networks(binding):
            prefixes.put(int(network.network_address), network.prefixlen, entry)
        old = {path.path: path for path in entry.paths}
        # A path that is set to what it is already stays, with its counters.
        entry.paths = [old.get(path.path, path) for path in fresh]
        self._choose(entry)
        self._note_homes()

    def drop_binding(self, home_address: IPv6Address) -> None:
        """Remove a binding. Raises ``ForwardingError`` with ENOENT."""
        entry = self._entries.pop(home_address, None)
        if entry is None:
            raise ForwardingError(errno.ENOENT, f"there is no binding {home_address}")
        self._unlink(entry)
        self._note_homes()

    def put_path(self, home_address: IPv6Address, path: Path) -> None:
        """Add or replace one path. Raises ``ForwardingError``."""
        entry = self._need(home_address)
        fresh = self._path(path)
        others = [one for one in entry.paths if one.path.bid != path.bid]
        same = next((one for one in entry.paths if one.path == path), None)
        if same is None and len(others) >= PATHS_MAX:
            raise ForwardingError(errno.ENOSPC, f"at most {PATHS_MAX} paths")
        entry.paths = sorted([*others, same or fresh], key=lambda one: one.path.bid)
        self._choose(entry)

    def drop_path(self, home_address: IPv6Address, bid: int) -> None:
        """Remove one path. Raises ``ForwardingError`` with ENOENT."""
        entry = self._need(home_address)
        left = [one for one in entry.paths if one.path.bid != bid]
        if len(left) == len(entry.paths):
            raise ForwardingError(errno.ENOENT, f"there is no path {bid} of {home_address}")
        entry.paths = left
        self._choose(entry)

    def entry(self, home_address: IPv6Address) -> Entry | None:
        """Return a binding, None when there is none."""
        return self._entries.get(home_address)

    def entries(self) -> Iterator[Entry]:
        """Yield all bindings in the order of their home addresses."""
        for home_address in sorted(self._entries):
            yield self._entries[home_address]

    def _need(self, home_address: IPv6Address) -> Entry:
        entry = self._entries.get(home_address)
        if entry is None:
            raise ForwardingError(errno.ENOENT, f"there is no binding {home_address}")
        return entry

    def _path(self, path: Path) -> PathEntry:
        if path.kind not in (WireKind.IP6, WireKind.IP4, WireKind.UDP4):
            raise ForwardingError(
                errno.EOPNOTSUPP, f"paths of kind {path.kind.name.lower()} need the kernel module"
            )
        version = 6 if path.kind is WireKind.IP6 else 4
        if path.local.version != version or path.remote.version != version:
            raise ForwardingError(
                errno.EINVAL, f"addresses do not fit kind {path.kind.name.lower()}"
            )
        awaits = bool(path.silent_ms) and not path.down
        # Kinds without a port of their own are carried in UDP all the same.
        remote = path.remote.packed, path.remote_port or self.port
        return PathEntry(path, remote, path.local.packed, awaits=awaits)

    @staticmethod
    def _choose(entry: Entry) -> None:
        live = [one for one in entry.paths if not one.path.down]
        entry.active = min(live, key=lambda one: (one.path.priority, one.path.bid), default=None)

    def _networks(self, binding: KernelBinding) -> Iterator[tuple[Prefixes, Network]]:
        """Yield what belongs to a binding; home addresses are prefixes too."""
        homes: list[Network] = [IPv6Network(binding.home_address)]
        if binding.home_address4 is not None:
            homes.append(IPv4Network(binding.home_address4))
        remote: Iterable[Network] = binding.prefixes
        local: Iterable[Network] = binding.local_prefixes
        if binding.mobile:
            local = (*homes, *local)
        else:
            remote = (*homes, *remote)
        for tries, networks in ((self._remote, remote), (self._local, local)):
            for network in dict.fromkeys(networks):
                yield tries[network.version], network

    def _unlink(self, entry: Entry) -> None:
        for prefixes, network in self._networks(entry.binding):
            prefixes.drop(int(network.network_address), network.prefixlen)

    def _note_homes(self) -> None:
        self._mobile_homes = frozenset(
            home.packed for home, entry in self._entries.items() if entry.binding.mobile
        )

    # --- from this host into the tunnel

    def transmit(self, packet: bytes) -> PathEntry | None:
        """Return the path of a packet, None when it was dropped and counted."""
        version = packet[0] >> 4 if packet else 0
        if version == 6 and len(packet) >= 40:
            source, destination = packet[8:24], packet[24:40]
        elif version == 4 and len(packet) >= 20:
            source, destination = packet[12:16], packet[16:20]
        else:
            return self._drop("tx_no_binding")
        if not _routable(version, destination):
            return self._drop("tx_no_binding")
        entry = self._remote[version].find(destination)
        if entry is None:
            return self._drop("tx_no_binding")
        if entry.has_local and self._local[version].find(source) is not entry:
            return self._drop("tx_bad_source")
        path = entry.active
        if path is None:
            return self._drop("tx_no_path")
        if destination == path.remote[0] and source == path.local and _is_tunnelled(packet):
            # Its own outer packet came back: the route to the other end leads in here.
            return self._drop("tx_nested")
        size = len(packet)
        entry.tx_packets += 1
        entry.tx_bytes += size
        path.tx_packets += 1
        path.tx_bytes += size
        return path

    # --- from the tunnel to this host

    def receive(self, payload: bytes, outer: Outer, now: float) -> Verdict:
        """Judge what came in UDP."""
        # A single octet is what keeps a NAT mapping in other protocols.
        if len(payload) <= 1:
            return Verdict()
        length, version = _inner_length(payload)
        if not length:
            return self._refuse("rx_malformed")
        packet = payload[:length]
        signalling = False
        if version == 6:
            source, destination, protocol = packet[8:24], packet[24:40], packet[6]
            if protocol == _OPTIONS and _has_care_of(packet):
                return self._refuse("rx_forged_careof")
            here = destination in self.own or destination in self._mobile_homes
            signalling = protocol in (_ESP, _MOBILITY) and here
        else:
            source, destination, protocol = packet[12:16], packet[16:20], packet[9]
        if (
            not _routable(version, source)
            or not _routable(version, destination)
            or source in self.own
        ):
            return self._refuse("rx_bad_inner")
        entry = self._remote[version].find(source)
        path = None if entry is None else _path_from(entry, outer)
        if not signalling:
            if entry is None:
                return self._refuse("rx_no_binding")
            if path is None:
                self._new_source(entry, outer, now)
                return self._refuse("rx_wrong_source")
            if entry.has_local and self._local[version].find(destination) is not entry:
                return self._refuse("rx_bad_destination")
            nests = protocol in _TUNNELS or protocol == _UDP
            if nests and self._nesting(packet) > _NESTING_MAX:
                return self._refuse("rx_nested")
        if outer.dsfield & 3 == _CE:
            marked = _congested(packet, version)
            if marked is None:
                return self._refuse("rx_ecn")
            packet = marked
        if entry is not None and path is not None:
            self._heard(entry, path, length, now)
        return Verdict(packet, signalling)

    def _heard(self, entry: Entry, path: PathEntry, length: int, now: float) -> None:
        entry.rx_packets += 1
        entry.rx_bytes += length
        path.rx_packets += 1
        path.rx_bytes += length
        path.last_rx = now
        if path.awaits:
            path.awaits = False
            self._event(PathEvent.HEARD, entry, path.path)

    def _new_source(self, entry: Entry, outer: Outer, now: float) -> None:
        if now - entry.new_source_at < _NEW_SOURCE_INTERVAL:
            return
        entry.new_source_at = now
        path = Path(
            bid=0,
            kind=outer.kind,
            local=ip_address(outer.destination),
            remote=ip_address(outer.source),
            remote_port=outer.port if outer.kind is WireKind.UDP4 else 0,
            interface=outer.interface,
        )
        self._event(PathEvent.NEW_SOURCE, entry, path)

    def _nesting(self, packet: bytes) -> int:
        """Return how many more layers for this host a packet has, at most one too many."""
        depth = at = 0
        while depth <= _NESTING_MAX:
            version = packet[at] >> 4 if at < len(packet) else 0
            if version == 6 and len(packet) >= at + 40:
                protocol, destination, size = packet[at + 6], packet[at + 24 : at + 40], 40
            elif version == 4 and len(packet) >= at + 20:
                protocol, destination = packet[at + 9], packet[at + 16 : at + 20]
                size = (packet[at] & 15) * 4
            else:
                break
            if destination not in self.own or size < 20:
                break
            at += size
            if protocol == _UDP:
                if packet[at + 2 : at + 4] != self.port.to_bytes(2, "big"):
                    break
                at += 8
            elif protocol not in _TUNNELS:
                break
            depth += 1
        return depth

    # --- time

    def tick(self, now: float) -> None:
        """Look for paths that fell silent and bindings that ended."""
        ended: list[Entry] = []
        for entry in self._entries.values():
            if entry.expires is not None and entry.expires <= now:
                ended.append(entry)
                continue
            for path in entry.paths:
                if path.path.silent_ms and not path.path.down and path.listen(now):
                    self._event(PathEvent.SILENT, entry, path.path)
        for entry in ended:
            self.drop_binding(entry.binding.home_address)
            self._event(PathEvent.EXPIRED, entry, None)

    def next_tick(self, now: float) -> float | None:
        """Return when ``tick`` wants to be called, None for never."""
        at: float | None = None
        for entry in self._entries.values():
            periods = [one.path.silent_ms for one in entry.paths if one.path.silent_ms]
            times = [now + max(min(periods) / 2000, _LEAST_PERIOD)] if periods else []
            if entry.expires is not None:
                times.append(entry.expires)
            for time in times:
                at = time if at is None else min(at, time)
        return at

    # --- counting

    def _drop(self, name: str) -> PathEntry | None:
        self.counters[name] += 1
        return None

    def _refuse(self, name: str) -> Verdict:
        self.counters[name] += 1
        return Verdict()

    def _event(self, event: PathEvent, entry: Entry, path: Path | None) -> None:
        self.events.append(TableEvent(event, entry.binding.home_address, path))


# --- packets ---------------------------------------------------------------------


def _path_from(entry: Entry, outer: Outer) -> PathEntry | None:
    found: PathEntry | None = None
    for path in entry.paths:
        if path.remote != (outer.source, outer.port):
            continue
        found = path
        # All of a router's paths lead to one agent: our own end tells them apart.
        if path.local == outer.destination and path.path.kind is not WireKind.IP4:
            break
    return found


def _inner_length(payload: bytes) -> tuple[int, int]:
    """Return length and version that the inner header claims; 0 when it cannot be."""
    version = payload[0] >> 4
    if version == 6 and len(payload) >= 40:
        length = 40 + (payload[4] << 8 | payload[5])
    elif version == 4 and len(payload) >= 20:
        length = payload[2] << 8 | payload[3]
        header = (payload[0] & 15) * 4
        if header < 20 or length < header:
            return 0, 4
    else:
        return 0, version
    return (length if length <= len(payload) else 0), version


def _routable(version: int, address: bytes) -> bool:
    """Whether an address may stand in a tunnelled packet."""
    first = address[0]
    if version == 4:
        if first in (0, 127) or 224 <= first < 240 or address == b"\xff\xff\xff\xff":
            return False
        return address[:2] != b"\xa9\xfe"
    if first == 0xFF or (first == 0xFE and address[1] & 0xC0 == 0x80):
        return False
    # Unspecified, loopback, IPv4-mapped and IPv4-compatible.
    return address[:10] != bytes(10)


def _has_care_of(packet: bytes) -> bool:
    header = packet[40 : 40 + (packet[41] + 1) * 8] if len(packet) >= 42 else b""
    at = 2
    while at + 1 < len(header):
        if header[at] == 0:
            at += 1
            continue
        if header[at] == OPTION_TYPE:
            return True
        at += 2 + header[at + 1]
    return False


def _is_tunnelled(packet: bytes) -> bool:
    return (packet[6] if packet[0] >> 4 == 6 else packet[9]) == _UDP


def _congested(packet: bytes, version: int) -> bytes | None:
    """Return a packet with Congestion Experienced, None if it must be dropped (RFC 6040)."""
    if version == 6:
        field_ = packet[0] << 8 | packet[1]
        if not field_ >> 4 & 3:
            return None
        return (field_ | _CE << 4).to_bytes(2, "big") + packet[2:]
    if not packet[1] & 3:
        return None
    size = (packet[0] & 15) * 4
    header = bytearray(packet[:size])
    header[1] |= _CE
    header[10:12] = b"\0\0"
    total = int.from_bytes(header, "big") % 0xFFFF
    header[10:12] = ((0xFFFF - total) & 0xFFFF).to_bytes(2, "big")
    return bytes(header) + packet[size:]


def dsfield(packet: bytes) -> int:
    """Return DSCP and ECN of a packet, for its outer header (RFC 6040 normal mode)."""
    if packet[0] >> 4 == 6:
        return (packet[0] << 4 | packet[1] >> 4) & 0xFF
    return packet[1]
