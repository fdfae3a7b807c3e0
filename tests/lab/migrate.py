# SPDX-License-Identifier: GPL-2.0-only
"""MIGRATE as another Mobile IPv6 stack sends it: raw netlink, none of our code.

The message announces that one end of policies and associations has moved, and by
its KMADDRESS attribute where key managers are to go on.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from .kmodlib import inside

IN, OUT, FORWARD = range(3)
TRANSPORT, TUNNEL = range(2)

_NETLINK_XFRM = 6
_MIGRATE = 0x21
_ACK_REQUEST = 5
_XFRMA_MIGRATE = 17
_XFRMA_KMADDRESS = 19
_ESP = 50


@dataclass(frozen=True, slots=True)
class Ends:
    """Outer source and destination."""

    source: str
    destination: str

    def reversed(self) -> Ends:
        return Ends(self.destination, self.source)


def _family(text: str) -> int:
    return socket.AF_INET6 if ":" in text else socket.AF_INET


def _wide(text: str) -> bytes:
    return ip_address(text).packed.ljust(16, b"\0")


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data.ljust((len(data) + 3) & ~3, b"\0")


def encode(
    direction: int,
    source: str,
    destination: str,
    protocol: int,
    old: Ends,
    new: Ends,
    reqid: int,
    mode: int,
    local_first: bool,
) -> bytes:
    """Pack the message for the policy with a selector and direction."""
    to, by = ip_network(destination), ip_network(source)
    selector = struct.pack(
        "=16s16s8xHBBB3x8x",
        to.network_address.packed.ljust(16, b"\0"),
        by.network_address.packed.ljust(16, b"\0"),
        _family(source),
        to.prefixlen,
        by.prefixlen,
        protocol,
    )
    body = selector + struct.pack("=IB3x", 0, direction)
    move = b"".join(map(_wide, (old.destination, old.source, new.destination, new.source)))
    move += struct.pack(
        "=BBHIHH", _ESP, mode, 0, reqid, _family(old.destination), _family(new.destination)
    )
    local, remote = new.source, new.destination
    if not local_first:
        local, remote = remote, local
    manager = _wide(local) + _wide(remote) + struct.pack("=IH2x", 0, _family(local))
    body += _attribute(_XFRMA_KMADDRESS, manager) + _attribute(_XFRMA_MIGRATE, move)
    return struct.pack("=IHHII", 16 + len(body), _MIGRATE, _ACK_REQUEST, 1, 0) + body


def migrate(
    namespace: str,
    direction: int,
    source: str,
    destination: str,
    *,
    old: Ends,
    new: Ends,
    reqid: int,
    mode: int = TUNNEL,
    protocol: int = 0,
) -> None:
    """Send it in a namespace; raises ``OSError`` with the kernel's answer.

    ``old`` and ``new`` are source and destination of what the policy protects;
    the host's own end is the source of what it sends.
    """
    message = encode(
        direction, source, destination, protocol, old, new, reqid, mode, direction == OUT
    )
    with inside(namespace), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_XFRM) as s:
        s.bind((0, 0))
        s.send(message)
        error = -struct.unpack_from("=i", s.recv(65536), 16)[0]
    if error:
        raise OSError(error, os.strerror(error))
