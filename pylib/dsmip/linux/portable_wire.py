# SPDX-License-Identifier: GPL-2.0-only
"""Mobility messages without dsmip.ko and without the kernel's ESP.

Away from home they travel in UDP as inner packets; on the home link, and from
nodes that are there, as ordinary packets through raw sockets. ESP and the
policies about it are those of ``ipsec.database``.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import struct
from collections import Counter, deque
from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import Final

from ..ipsec.database import Held, SecurityTable
from ..ipsec.esp import EspError, Exhausted
from ..packet.careof import CareOf
from ..packet.forwarding import Outer
from ..packet.icmp6 import checksum as icmp_checksum
from ..packet.mobility import PROTOCOL, checksum, checksum_correct
from . import ip6_socket
from .mobility_socket import Datagram, MobilitySocket, parameter_problem
from .portable import PortableDevice, Reader, Signal

log = logging.getLogger(__name__)

_ESP: Final = 50
_HEADER: Final = struct.Struct("!IHBB16s16s")
_HOP_LIMIT: Final = 64
_WAITING_MAX: Final = 4096
_BATCH: Final = 64


class _EspSocket:
    """ESP packets that arrive as they are, and leave as they are."""

    def __init__(self) -> None:
        self._socket = ip6_socket.open_raw(_ESP, socket.IPV6_RECVPKTINFO, ip6_socket.IPV6_FREEBIND)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def receive(self) -> Iterator[ip6_socket.Received]:
        """Yield what waits."""
        return ip6_socket.receive(self._socket, _BATCH)

    def send(
        self, data: bytes, source: IPv6Address, destination: IPv6Address, interface: int
    ) -> None:
        """Send a packet. Raises ``OSError``."""
        ip6_socket.send(self._socket, data, source, destination, None, interface)


class PortableWire:
    """``linux.mobility_socket.MobilitySocket`` for the rest of dsmip.

    ``counters`` say why messages were not taken.
    """

    def __init__(self, device: PortableDevice, security: SecurityTable) -> None:
        self._device = device
        self._security = security
        self._clear = MobilitySocket()
        self._esp = _EspSocket()
        self._waiting: deque[Datagram] = deque()
        self._signal = Signal()
        self.counters: Counter[str] = device.table.counters
        device.signalling = self._from_tunnel

    def fileno(self) -> int:
        return self._signal.fileno()

    def close(self) -> None:
        self._clear.close()
        self._esp.close()
        self._signal.close()

    def readers(self) -> list[Reader]:
        """Return descriptors with what is to be called when they are readable."""
        return [(self._clear.fileno(), self._from_clear), (self._esp.fileno(), self._from_esp)]

    # --- inbound

    def _take(self, datagram: Datagram) -> None:
        if len(self._waiting) >= _WAITING_MAX:
            self.counters["mh_queue_full"] += 1
            return
        self._waiting.append(datagram)
        self._signal.raise_()

    def _from_tunnel(self, packet: bytes, outer: Outer) -> None:
        source, destination = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
        care_of = self._device.care_of(outer)
        data = packet[40:]
        if packet[6] == _ESP:
            self._protected(data, source, destination, care_of, outer.interface)
        elif not checksum_correct(source, destination, data):
            self.counters["mh_bad_checksum"] += 1
        else:
            self._in_clear(Datagram(data, source, destination, care_of, outer.interface))

    def _protected(
        self,
        data: bytes,
        source: IPv6Address,
        destination: IPv6Address,
        care_of: CareOf | None,
        interface: int,
    ) -> None:
        try:
            message = self._security.unprotect(source, destination, data)
        except EspError as error:
            self.counters[error.counter] += 1
            log.debug("ESP from %s: %s", source, error)
            return
        if not checksum_correct(source, destination, message):
            self.counters["mh_bad_checksum"] += 1
            return
        self._take(Datagram(message, source, destination, care_of, interface))

    def _in_clear(self, datagram: Datagram) -> None:
        data = datagram.data
        if len(data) < 8 or not self._security.admits(datagram.source, datagram.destination, data):
            self.counters["mh_unprotected"] += 1
            return
        self._take(datagram)

    def _from_clear(self) -> None:
        for datagram in self._clear.receive():
            # Only dsmip.ko writes the Care-of option; from outside it is a forgery.
            if datagram.care_of is not None:
                self.counters["rx_forged_careof"] += 1
                continue
            self._in_clear(datagram)

    def _from_esp(self) -> None:
        for came in self._esp.receive():
            self._protected(came.data, came.source, came.destination, None, came.interface)

    def receive(self, limit: int = 64) -> Iterator[Datagram]:
        """Yield at most ``limit`` waiting messages, so that timers get their turn."""
        self._signal.lower()
        for _ in range(limit):
            if not self._waiting:
                return
            yield self._waiting.popleft()
        if self._waiting:
            self._signal.raise_()

    # --- outbound

    def send(
        self,
        data: bytes,
        source: IPv6Address,
        destination: IPv6Address,
        care_of: CareOf | None = None,
        interface: int = 0,
    ) -> None:
        """Send a message; raises ``OSError`` when there is no way, or no key, for it."""
        message = bytearray(data)
        message[4:6] = checksum(source, destination, message).to_bytes(2, "big")
        plain = bytes(message)
        try:
            packet = self._security.protect(source, destination, plain)
        except (Held, Exhausted) as error:
            raise OSError(errno.EACCES, str(error)) from None
        protocol = PROTOCOL if packet is plain else _ESP
        if care_of is not None:
            self._send_inner(packet, protocol, source, destination, care_of)
        elif protocol == _ESP:
            self._esp.send(packet, source, destination, interface)
        else:
            self._clear.send(data, source, destination, None, interface)

    def send_on_link(
        self, data: bytes, source: IPv6Address, destination: IPv6Address, interface: int
    ) -> None:
        """Send a message to a neighbour. Raises ``OSError``."""
        self.send(data, source, destination, None, interface)

    def _send_inner(
        self,
        payload: bytes,
        protocol: int,
        source: IPv6Address,
        destination: IPv6Address,
        care_of: CareOf,
    ) -> None:
        header = _HEADER.pack(
            6 << 28, len(payload), protocol, _HOP_LIMIT, source.packed, destination.packed
        )
        self._device.send_by(header + payload, care_of)

    def send_parameter_problem(self, datagram: Datagram, code: int, pointer: int) -> None:
        """Tell the sender what is wrong with its message (RFC 6275 section 9.2)."""
        if datagram.care_of is None:
            self._clear.send_parameter_problem(datagram, code, pointer)
            return
        error = bytearray(parameter_problem(datagram, code, pointer))
        source, destination = datagram.destination, datagram.source
        error[2:4] = icmp_checksum(source, destination, error).to_bytes(2, "big")
        with contextlib.suppress(BlockingIOError):
            self._send_inner(
                bytes(error), socket.IPPROTO_ICMPV6, source, destination, datagram.care_of
            )
