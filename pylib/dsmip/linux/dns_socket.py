# SPDX-License-Identifier: GPL-2.0-only
"""Sockets for one question to one name server, and what the host says of name servers."""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

from ..packet.kernel import Address

#: resolv.conf(5) knows three; more do no harm.
SERVERS_MAX: Final = 8
_CONF_MAX: Final = 1 << 16


def open_socket(
    server: Address, source: Address | None, interface: int, tcp: bool
) -> socket.socket:
    """Return a socket that does not block, on a random port. Raises ``OSError``.

    ``source`` makes its packets leave by the uplink that has this address.
    """
    if source is not None and source.version != server.version:
        raise OSError(errno.EAFNOSUPPORT, f"no way from {source} to {server}")
    family = socket.AF_INET6 if server.version == 6 else socket.AF_INET
    kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    made = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        if source is not None:
            made.bind((str(source), 0))
    except OSError:
        made.close()
        raise
    return made


def target(
    server: Address, port: int, interface: int
) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return a server's address in the form that sockets take."""
    if isinstance(server, IPv4Address):
        return str(server), port
    scope = interface if server.is_link_local else 0
    return str(server).partition("%")[0], port, 0, scope


def name_servers(path: str) -> tuple[Address, ...]:
    """Return the name servers of a resolv.conf, none when it cannot be read."""
    try:
        with Path(path).open(errors="replace") as file:
            text = file.read(_CONF_MAX)
    except OSError:
        return ()
    found: list[Address] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            address = ip_address(words[1].partition("%")[0])
        except ValueError:
            continue
        usable = isinstance(address, IPv4Address | IPv6Address) and not address.is_multicast
        if usable and address not in found:
            found.append(address)
    return tuple(found[:SERVERS_MAX])
