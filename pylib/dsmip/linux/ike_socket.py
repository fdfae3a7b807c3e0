# SPDX-License-Identifier: GPL-2.0-only
"""The UDP sockets of IKE: ports 500 and 4500, IPv4 and IPv6.

The kernel takes ESP out of what comes to port 4500 (RFC 3948) and gives the rest
with its non-ESP marker, which no one above sees. Policies of this host never
catch what these sockets send or receive.
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Protocol

from ..ipsec.association import Address

log = logging.getLogger(__name__)

PORT: Final = 500
NAT_PORT: Final = 4500
#: RFC 3948 section 2.2: what makes IKE differ from ESP, whose SPI is never zero.
MARKER: Final = bytes(4)
KEEPALIVE: Final = b"\xff"

_LARGEST: Final = 65535
_UDP_ENCAP: Final = 100
_ESPINUDP: Final = 2
_IP_PKTINFO: Final = 8
_IP_XFRM_POLICY: Final = 17
_IP_MTU_DISCOVER: Final = 10
_IPV6_XFRM_POLICY: Final = 35
_IPV6_MTU_DISCOVER: Final = 23
_PMTUDISC_DONT: Final = 0
_INFO4: Final = struct.Struct("=i4s4s")
_INFO6: Final = struct.Struct("=16sI")
_CONTROL: Final = socket.CMSG_SPACE(_INFO4.size) + socket.CMSG_SPACE(_INFO6.size)
_CONTROL4: Final = (socket.IPPROTO_IP, _IP_PKTINFO)
_CONTROL6: Final = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)
#: struct xfrm_userpolicy_info: a selector of the family and nothing else, allow.
_BYPASS: Final = struct.Struct("=40xH14x64x32xIIBBBB4x")
_RECEIVE_BUFFER: Final = 1 << 21


class Locator(Protocol):
    """An address with a UDP port."""

    @property
    def address(self) -> Address: ...
    @property
    def port(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Place:
    """An address with a UDP port."""

    address: Address
    port: int


@dataclass(frozen=True, slots=True)
class Datagram:
    """One IKE message, without marker; ``local`` is the address that it was sent to."""

    data: bytes
    local: Place
    remote: Place


class IkeSocket:
    """One family and one port. Raises ``OSError`` when the port is taken.

    ``nat`` is the port with the marker, where ESP arrives too.
    """

    def __init__(self, family: int, port: int, nat: bool) -> None:
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(family, kind)
        self._six = family == socket.AF_INET6
        self._nat = nat
        try:
            self._prepare()
            self._socket.bind(("::" if self._six else "", port))
        except OSError:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]

    def _prepare(self) -> None:
        sock = self._socket
        if self._six:
            level, policy = socket.IPPROTO_IPV6, _IPV6_XFRM_POLICY
            sock.setsockopt(level, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(level, socket.IPV6_RECVPKTINFO, 1)
            sock.setsockopt(level, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT)
        else:
            level, policy = socket.IPPROTO_IP, _IP_XFRM_POLICY
            sock.setsockopt(level, _IP_PKTINFO, 1)
            sock.setsockopt(level, _IP_MTU_DISCOVER, _PMTUDISC_DONT)
        for direction in (0, 1):
            sock.setsockopt(level, policy, _BYPASS.pack(sock.family, 0, 0, direction, 0, 0, 0))
        if self._nat:
            sock.setsockopt(socket.IPPROTO_UDP, _UDP_ENCAP, _ESPINUDP)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def receive(self, limit: int = 64) -> Iterator[Datagram]:
        """Yield at most ``limit`` waiting messages, so that timers get their turn.

        What is no IKE (keepalives, ESP that the kernel did not want) is left out.
        """
        for _ in range(limit):
            try:
                data, control, _flags, source = self._socket.recvmsg(_LARGEST, _CONTROL)
            except BlockingIOError:
                return
            except OSError:
                continue  # a pending ICMP error of something sent earlier
            if self._nat:
                if not data.startswith(MARKER):
                    continue
                data = data[len(MARKER) :]
            local = self._local(control)
            if data and local is not None:
                address, port = source[0].partition("%")[0], source[1]
                remote: Address = IPv6Address(address) if self._six else IPv4Address(address)
                yield Datagram(data, Place(local, self.port), Place(remote, port))

    def _local(self, control: list[tuple[int, int, bytes]]) -> Address | None:
        for level, kind, value in control:
            if (level, kind) == _CONTROL6 and len(value) >= _INFO6.size:
                return IPv6Address(_INFO6.unpack_from(value)[0])
            if (level, kind) == _CONTROL4 and len(value) >= _INFO4.size:
                return IPv4Address(_INFO4.unpack_from(value)[2])
        return None

    def send(self, data: bytes, source: Address, remote: Locator) -> None:
        """Send a message from an address of this host. Raises ``OSError``."""
        self._send(MARKER + data if self._nat else data, source, remote)

    def keepalive(self, source: Address, remote: Locator) -> None:
        """Keep the mapping of a NAT (RFC 3948 section 2.3). Raises ``OSError``."""
        self._send(KEEPALIVE, source, remote)

    def _send(self, data: bytes, source: Address, remote: Locator) -> None:
        if self._six:
            control = (*_CONTROL6, _INFO6.pack(source.packed, 0))
        else:
            control = (*_CONTROL4, _INFO4.pack(0, source.packed, bytes(4)))
        self._socket.sendmsg([data], [control], 0, (str(remote.address), remote.port))


class IkeSockets:
    """All sockets of IKE on this host, one for each port and family it has.

    Raises ``OSError`` when a port is taken. A kernel without IPv6 or without ESP
    in UDP for IPv6 (before 5.8) goes without that.
    """

    def __init__(self, port: int = PORT, nat_port: int = NAT_PORT) -> None:
        self.port, self.nat_port = port, nat_port
        self._sockets: dict[tuple[int, int], IkeSocket] = {}
        try:
            for number, nat in ((port, False), (nat_port, True)):
                for family, version in ((socket.AF_INET, 4), (socket.AF_INET6, 6)):
                    self._open(family, version, number, nat)
        except OSError:
            self.close()
            raise

    def _open(self, family: int, version: int, port: int, nat: bool) -> None:
        try:
            self._sockets[version, port] = IkeSocket(family, port, nat)
        except OSError as error:
            if family == socket.AF_INET or error.errno not in (
                errno.EAFNOSUPPORT,
                errno.ENOPROTOOPT,
            ):
                raise
            log.warning("no IKE over IPv6 on port %d: %s", port, error.strerror)

    def __iter__(self) -> Iterator[IkeSocket]:
        return iter(self._sockets.values())

    def close(self) -> None:
        for one in self._sockets.values():
            one.close()

    def send(self, data: bytes, local: Locator, remote: Locator) -> None:
        """Send from one of our addresses and ports. Raises ``OSError``, for an unknown port too."""
        self._of(local).send(data, local.address, remote)

    def keepalive(self, local: Locator, remote: Locator) -> None:
        """Send a NAT keepalive between the ends of ESP. Raises ``OSError``."""
        self._of(local).keepalive(local.address, remote)

    def _of(self, local: Locator) -> IkeSocket:
        found = self._sockets.get((local.address.version, local.port))
        if found is None:
            raise OSError(errno.EADDRNOTAVAIL, f"no socket for IPv{local.address.version}")
        return found
