# SPDX-License-Identifier: GPL-2.0-only
"""The data path without dsmip.ko: a TUN device and two UDP sockets.

What ``linux.dsmip.DsmipDevice`` asks the module to do is done here, by the table
in ``packet.forwarding``. Slower by far, but it needs nothing but TUN. Packets
flow only as long as the process lives; bindings outlive it in files.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path as File
from typing import Final

from ..packet.careof import CareOf, WireKind
from ..packet.forwarding import Entry, ForwardingError, Outer, PathEntry, Table, dsfield
from ..packet.kernel import KernelBinding, Path
from .binding_store import BindingStore
from .dsmip import COUNTERS, BindingState, DeviceState, KernelEvent, PathState, Traffic
from .netlink import NETLINK_ROUTE, NetlinkError, NotificationSocket, Overrun
from .rtnl import Rtnl

_TUN: Final = "/dev/net/tun"
_TUNSETIFF: Final = 0x400454CA
_TUNSETPERSIST: Final = 0x400454CB
_IFF_TUN: Final = 0x0001
_IFF_TAP: Final = 0x0002
_IFF_NO_PI: Final = 0x1000
_IFREQ: Final = struct.Struct("=16sH22x")
_IFREQ_INT: Final = struct.Struct("=16si20x")
_SIOCGIFMTU: Final = 0x8921
_SIOCSIFMTU: Final = 0x8922
_GROUP_ADDRESS4: Final = 5
_GROUP_ADDRESS6: Final = 9
_IP_PKTINFO: Final = 8
_IP_MTU_DISCOVER: Final = 10
_IP_RECVTOS: Final = 13
_IPV6_MTU_DISCOVER: Final = 23
_PKTINFO4: Final = struct.Struct("=i4s4s")
_PKTINFO6: Final = struct.Struct("=16si")
_INT: Final = struct.Struct("=i")
_CONTROL: Final = 128
_LARGEST: Final = 65536
#: Packets for each time that a descriptor is readable, so that timers get their turn.
_BATCH: Final = 64
_BUFFER: Final = 1 << 22
_IP6_LEAST_MTU: Final = 1280
_USUAL_MTU: Final = 1500
#: Headers in front of an inner packet, UDP included.
_OVERHEAD: Final = {WireKind.IP6: 48, WireKind.IP4: 28, WireKind.UDP4: 28}

Ancillary = list[tuple[int, int, bytes]]
Reader = tuple[int, Callable[[], None]]


def now() -> float:
    """Return the time of CLOCK_BOOTTIME, which goes on in another process."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def open_tun(name: str) -> int:
    """Return a descriptor of a TUN device that stays when the process ends.

    Raises ``OSError``: EBUSY when another process has it, ENOENT without TUN.
    """
    descriptor = _open(name, _IFF_TUN)
    try:
        fcntl.ioctl(descriptor, _TUNSETPERSIST, 1)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def open_tap(name: str) -> int:
    """Return a descriptor of a new Ethernet device, which goes with it."""
    return _open(name, _IFF_TAP)


def _open(name: str, kind: int) -> int:
    descriptor = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, _IFREQ.pack(name.encode(), kind | _IFF_NO_PI))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class Signal:
    """A descriptor that is readable while something waits in a queue of this process."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._descriptor

    def raise_(self) -> None:
        """Make it readable."""
        os.eventfd_write(self._descriptor, 1)

    def lower(self) -> None:
        """Make it unreadable."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class _Udp:
    """One of the two sockets; all of a node's paths of a family share it."""

    def __init__(self, family: int, port: int) -> None:
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self.socket = socket.socket(family, kind)
        self.six = family == socket.AF_INET6
        option = self.socket.setsockopt
        if self.six:
            option(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            option(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            option(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
            # What does not fit is fragmented: inner packets were told the device's MTU.
            option(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, 0)
        else:
            option(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            option(socket.IPPROTO_IP, _IP_RECVTOS, 1)
            option(socket.IPPROTO_IP, _IP_MTU_DISCOVER, 0)
        for size in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            option(socket.SOL_SOCKET, size, _BUFFER)
        self.socket.bind(("::" if self.six else "0.0.0.0", port))

    def receive(self) -> Iterator[tuple[bytes, Outer]]:
        """Yield at most a batch of what waits."""
        for _ in range(_BATCH):
            try:
                data, control, _flags, source = self.socket.recvmsg(_LARGEST, _CONTROL)
            except BlockingIOError:
                return
            except OSError:
                continue  # a pending ICMP error of something sent earlier
            destination, interface, field = b"", 0, 0
            for level, kind, value in control:
                if self.six and level == socket.IPPROTO_IPV6:
                    if kind == socket.IPV6_PKTINFO:
                        destination, interface = _PKTINFO6.unpack(value)
                    elif kind == socket.IPV6_TCLASS:
                        field = _INT.unpack(value)[0]
                elif not self.six and level == socket.IPPROTO_IP:
                    if kind == _IP_PKTINFO:
                        interface, _local, destination = _PKTINFO4.unpack(value)
                    elif kind == socket.IP_TOS:
                        field = value[0]
            if self.six:
                packed = socket.inet_pton(socket.AF_INET6, source[0].partition("%")[0])
            else:
                packed = socket.inet_aton(source[0])
            yield data, Outer(packed, source[1], destination, interface, field)

    def ancillary(self, local: bytes, interface: int) -> Ancillary:
        """Return what names the local end of what is sent; zeros let routing decide."""
        if self.six:
            info = _PKTINFO6.pack(local or bytes(16), interface)
            return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info)]
        info = _PKTINFO4.pack(interface, local or bytes(4), bytes(4))
        return [(socket.IPPROTO_IP, _IP_PKTINFO, info)]

    def field(self, value: int) -> Ancillary:
        """Return what sets DSCP and ECN of the outer header."""
        if self.six:
            return [(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _INT.pack(value))]
        return [(socket.IPPROTO_IP, socket.IP_TOS, _INT.pack(value))]

    def send(self, data: bytes, control: Ancillary, to: tuple[str, int]) -> None:
        """Send; an error of an earlier packet does not count. Raises ``OSError``."""
        try:
            self.socket.sendmsg([data], control, 0, to)
        except ConnectionRefusedError:
            self.socket.sendmsg([data], control, 0, to)


class PortableEvents:
    """What the module would report, in place of ``linux.dsmip.EventSocket``."""

    def __init__(self, device: PortableDevice) -> None:
        self._device = device

    def fileno(self) -> int:
        return self._device.events_waiting.fileno()

    def close(self) -> None:
        """The device owns what is behind it."""

    def events(self) -> Iterator[KernelEvent]:
        """Yield what waits."""
        self._device.events_waiting.lower()
        waiting = self._device.table.events
        while waiting:
            event = waiting.popleft()
            yield KernelEvent(
                event.event, self._device.interface, event.home_address, event.path, now()
            )


class PortableDevice:
    """The TUN device with its bindings and paths; ``DsmipDevice`` for the rest of dsmip.

    Requests raise ``NetlinkError`` as those to the module do. ``signalling`` is
    called with each ESP packet or mobility message for this host.
    """

    def __init__(self, name: str, port: int, folder: File, rtnl: Rtnl) -> None:
        self.name = name
        self._rtnl = rtnl
        self._tun = open_tun(name)
        link = rtnl.link(name)
        if link is None:
            raise NetlinkError(errno.ENODEV, f"finding device {name}")
        self.interface = link.index
        self._mtu = 0
        self.table = Table(port)
        self.events_waiting = Signal()
        self.signalling: Callable[[bytes, Outer], None] = lambda _packet, _outer: None
        #: Called when ``tick`` may be due earlier than it said.
        self.changed: Callable[[], None] = lambda: None
        self._store = BindingStore(folder)
        self._udp = {6: _Udp(socket.AF_INET6, port), 4: _Udp(socket.AF_INET, port)}
        self._addresses = NotificationSocket(NETLINK_ROUTE, (_GROUP_ADDRESS4, _GROUP_ADDRESS6))
        self._read_addresses()
        for binding in self._store.read(now()):
            with contextlib.suppress(ForwardingError):
                self.table.put_binding(binding, now())
        self._fit_mtu()

    def close(self) -> None:
        for udp in self._udp.values():
            udp.socket.close()
        self._addresses.close()
        self.events_waiting.close()
        os.close(self._tun)

    # --- descriptors and time

    def readers(self) -> list[Reader]:
        """Return descriptors with what is to be called when they are readable."""
        return [
            (self._tun, self._from_host),
            (self._udp[4].socket.fileno(), lambda: self._from_network(self._udp[4])),
            (self._udp[6].socket.fileno(), lambda: self._from_network(self._udp[6])),
            (self._addresses.fileno(), self._addresses_changed),
        ]

    def tick(self) -> float | None:
        """Do what is due; return the seconds until it should be called again."""
        at = now()
        self.table.tick(at)
        for event in self.table.events:
            if event.path is None:
                self._store.drop(event.home_address)
        self._report()
        due = self.table.next_tick(at)
        return None if due is None else max(due - at, 0.0)

    def _report(self) -> None:
        if self.table.events:
            self.events_waiting.raise_()

    def _addresses_changed(self) -> None:
        with contextlib.suppress(Overrun):
            for _ in self._addresses.receive():
                pass
        self._read_addresses()

    def _read_addresses(self) -> None:
        found = self._rtnl.addresses()
        self.table.own = frozenset(entry.address.packed for entry in found)

    # --- packets

    def _from_host(self) -> None:
        for _ in range(_BATCH):
            try:
                packet = os.read(self._tun, _LARGEST)
            except BlockingIOError:
                return
            except OSError:
                return  # the device is down
            path = self.table.transmit(packet)
            if path is not None:
                self._carry(packet, path)

    def _carry(self, packet: bytes, path: PathEntry) -> None:
        if path.sender is None:
            udp = self._udp[path.path.remote.version]
            to = (str(path.path.remote), path.remote[1])
            path.sender = udp, udp.ancillary(path.local, path.path.interface), to
        udp, control, to = path.sender
        field = dsfield(packet)
        try:
            udp.send(packet, control + udp.field(field) if field else control, to)
        except BlockingIOError:
            self.table.counters["tx_queue_full"] += 1
        except OSError as error:
            name = "tx_too_big" if error.errno == errno.EMSGSIZE else "tx_no_route"
            self.table.counters[name] += 1

    def _from_network(self, udp: _Udp) -> None:
        at = now()
        for data, outer in udp.receive():
            verdict = self.table.receive(data, outer, at)
            if verdict.packet is None:
                continue
            if verdict.signalling:
                self.signalling(verdict.packet, outer)
                continue
            try:
                os.write(self._tun, verdict.packet)
            except OSError:
                self.table.counters["rx_not_taken"] += 1
        self._report()

    def send_by(self, packet: bytes, care_of: CareOf) -> None:
        """Send an inner packet by the path that a care-of address names.

        Raises ``OSError``, ENETUNREACH when there is no such path.
        """
        source, destination = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
        mobile = self.table.entry(source)
        if mobile is not None and not mobile.binding.mobile:
            mobile = None
        entry = mobile or self.table.entry(destination)
        address, port, interface = care_of.address, care_of.port, care_of.interface
        active = None if entry is None else entry.active
        if care_of.kind is WireKind.ANY:
            if active is None:
                raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
            self._carry(packet, active)
            return
        version = 6 if care_of.kind is WireKind.IP6 else 4
        if address.version != version or care_of.kind is WireKind.RO:
            raise OSError(errno.EINVAL, f"{address} is no care-of address for it")
        paths = [] if entry is None else [p for p in entry.paths if p.path.local.version == version]
        local, remote = b"", b""
        if mobile is not None or self._is_own(address):
            # The end that the care-of address does not name is that of the path it means.
            local = address.packed
            best = next((p for p in paths if p.local == local), paths[0] if paths else None)
            if best is not None:
                remote, port = best.remote
            elif version == 6:
                remote, port = destination.packed, self.table.port
        else:
            remote, port = address.packed, port or self.table.port
            local = next((p.local for p in paths), b"")
        if not remote:
            self.table.counters["tx_no_path"] += 1
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
        udp = self._udp[version]
        family = socket.AF_INET6 if udp.six else socket.AF_INET
        to = (socket.inet_ntop(family, remote), port)
        udp.send(packet, udp.ancillary(local, interface), to)

    def _is_own(self, address: IPv6Address | IPv4Address) -> bool:
        return address.packed in self.table.own

    def care_of(self, outer: Outer) -> CareOf:
        """Return what the Care-of option would say of a received packet."""
        if outer.kind is WireKind.IP6:
            # No port: in IPv6 there is no NAT, and both ends use the device's.
            return CareOf(IPv6Address(outer.source), WireKind.IP6, 0, outer.interface)
        return CareOf(IPv4Address(outer.source), WireKind.UDP4, outer.port, outer.interface)

    # --- requests

    @contextlib.contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        try:
            yield
        except ForwardingError as error:
            raise NetlinkError(error.code, f"{self.name}: {what}", str(error)) from error

    def _keep(self, home_address: IPv6Address) -> None:
        entry = self.table.entry(home_address)
        if entry is not None:
            self._store.write(entry.value(now()), entry.expires)
        self._fit_mtu()
        self.changed()

    def put_binding(self, binding: KernelBinding) -> None:
        """Create or replace a binding with all its paths and prefixes, or change nothing."""
        with self._asked(f"binding {binding.home_address}"):
            self.table.put_binding(binding, now())
        self._keep(binding.home_address)

    def drop_binding(self, home_address: IPv6Address) -> None:
        """Remove one binding with everything it owns."""
        with self._asked(f"removing binding {home_address}"):
            self.table.drop_binding(home_address)
        self._store.drop(home_address)

    def put_path(self, home_address: IPv6Address, path: Path) -> None:
        """Add or replace one path: the handover on the data path."""
        with self._asked(f"path {path.bid} of {home_address}"):
            self.table.put_path(home_address, path)
        self._keep(home_address)

    def drop_path(self, home_address: IPv6Address, bid: int) -> None:
        """Remove one path."""
        with self._asked(f"removing path {bid} of {home_address}"):
            self.table.drop_path(home_address, bid)
        self._keep(home_address)

    def binding(self, home_address: IPv6Address) -> BindingState | None:
        """Read one binding; None when there is none."""
        entry = self.table.entry(home_address)
        return None if entry is None else self._state(entry, now())

    def bindings(self) -> list[BindingState]:
        """Read all bindings, in the order of their home addresses."""
        at = now()
        return [self._state(entry, at) for entry in self.table.entries()]

    def _state(self, entry: Entry, at: float) -> BindingState:
        paths = []
        for one in entry.paths:
            heard = None if one.last_rx is None else int((at - one.last_rx) * 1000)
            traffic = Traffic(one.rx_packets, one.rx_bytes, one.tx_packets, one.tx_bytes)
            paths.append(PathState(one.path, one is entry.active, traffic, heard, self._mtu))
        traffic = Traffic(entry.rx_packets, entry.rx_bytes, entry.tx_packets, entry.tx_bytes)
        return BindingState(entry.value(at), traffic, tuple(paths))

    def state(self) -> DeviceState:
        """Read the device's settings and drop counters."""
        counters = dict.fromkeys(COUNTERS, 0) | dict(self.table.counters)
        return DeviceState(self.table.port, 0, 0, counters)

    def configure(self, mark_mask: int | None = None, ttl: int | None = None) -> None:
        """Refuse what a TUN device cannot do: marks and hop limits do not reach it."""
        if mark_mask or ttl:
            raise NetlinkError(
                errno.EOPNOTSUPP, f"{self.name}: changing the device", "needs the kernel module"
            )

    # --- MTU

    def _fit_mtu(self) -> None:
        """Make the device's MTU what the smallest of the paths in use can carry."""
        sizes = []
        for entry in self.table.entries():
            path = entry.active
            if path is None or not entry.binding.mobile:
                continue
            sizes.append(self._interface_mtu(path.path.interface) - _OVERHEAD[path.path.kind])
        wanted = max(min(sizes, default=_USUAL_MTU - _OVERHEAD[WireKind.IP6]), _IP6_LEAST_MTU)
        if wanted == self._mtu:
            return
        request = _IFREQ_INT.pack(self.name.encode(), wanted)
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._udp[4].socket.fileno(), _SIOCSIFMTU, request)
            self._mtu = wanted

    def _interface_mtu(self, index: int) -> int:
        try:
            request = _IFREQ_INT.pack(socket.if_indextoname(index).encode(), 0)
            answer = fcntl.ioctl(self._udp[4].socket.fileno(), _SIOCGIFMTU, request)
        except OSError:
            return _USUAL_MTU
        return int(_IFREQ_INT.unpack(answer)[1])
