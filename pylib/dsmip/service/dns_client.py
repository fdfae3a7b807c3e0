# SPDX-License-Identifier: GPL-2.0-only
"""DNS messages to a name server and back, by UDP or TCP."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncGenerator
from typing import Final

from ..linux import dns_socket
from ..packet.kernel import Address

_LENGTH: Final = struct.Struct("!H")
_LARGEST: Final = 65535


async def talk(
    data: bytes,
    server: Address,
    port: int,
    source: Address | None = None,
    interface: int = 0,
    tcp: bool = False,
) -> AsyncGenerator[bytes, None]:
    """Send one message from a new socket, and yield what comes back until nobody listens.

    Only what the server's address and port send is seen. By TCP it is one
    message. Raises ``OSError``.
    """
    loop = asyncio.get_running_loop()
    with contextlib.closing(dns_socket.open_socket(server, source, interface, tcp)) as sock:
        await loop.sock_connect(sock, dns_socket.target(server, port, interface))
        if not tcp:
            await loop.sock_sendall(sock, data)
            while True:
                yield await loop.sock_recv(sock, _LARGEST)
        await loop.sock_sendall(sock, _LENGTH.pack(len(data)) + data)
        held = bytearray()
        while len(held) < 2 or len(held) < 2 + _LENGTH.unpack_from(held)[0]:
            more = await loop.sock_recv(sock, _LARGEST)
            if not more:
                raise ConnectionResetError("the name server closed the connection")
            held += more
        (size,) = _LENGTH.unpack_from(held)
        yield bytes(held[2 : 2 + size])
