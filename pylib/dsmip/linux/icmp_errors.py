# SPDX-License-Identifier: GPL-2.0-only
"""ICMPv6 errors about packets of ours: destination unreachable and parameter problem."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

UNREACHABLE: Final = 1
PARAMETER_PROBLEM: Final = 4
#: Parameter problem: the next header is not known there.
UNKNOWN_NEXT_HEADER: Final = 1
_FILTER: Final = 1  # ICMPV6_FILTER
_HEADER: Final = struct.Struct("!BBHI")
_LARGEST: Final = 2048


@dataclass(frozen=True, slots=True)
class IcmpError:
    """One error; ``quoted`` is the packet that it is about, as far as it is quoted."""

    kind: int
    code: int
    pointer: int
    source: IPv6Address
    quoted: bytes


def only(*kinds: int) -> bytes:
    """Return the socket filter that lets through these types and nothing else."""
    mask = bytearray(b"\xff" * 32)
    for kind in kinds:
        word = int.from_bytes(mask[kind // 32 * 4 :][:4], "little") & ~(1 << kind % 32)
        mask[kind // 32 * 4 : kind // 32 * 4 + 4] = word.to_bytes(4, "little")
    return bytes(mask)


class IcmpErrorSocket:
    """Hears errors. Needs CAP_NET_RAW."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_INET6, kind, socket.IPPROTO_ICMPV6)
        wanted = only(UNREACHABLE, PARAMETER_PROBLEM)
        if struct.pack("=H", 1) == b"\0\1":  # the words of the filter are the host's
            wanted = b"".join(wanted[at : at + 4][::-1] for at in range(0, 32, 4))
        self._socket.setsockopt(socket.IPPROTO_ICMPV6, _FILTER, wanted)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def receive(self, limit: int = 64) -> Iterator[IcmpError]:
        """Yield at most ``limit`` waiting errors."""
        for _ in range(limit):
            try:
                data, source = self._socket.recvfrom(_LARGEST)
            except BlockingIOError:
                return
            except OSError:
                continue
            error = parse(data, IPv6Address(source[0].split("%")[0]))
            if error is not None:
                yield error


def parse(data: bytes, source: IPv6Address) -> IcmpError | None:
    """Read an error; None for what is none of these or too short."""
    if len(data) < _HEADER.size:
        return None
    kind, code, _checksum, pointer = _HEADER.unpack_from(data)
    if kind not in (UNREACHABLE, PARAMETER_PROBLEM):
        return None
    return IcmpError(kind, code, pointer, source, data[_HEADER.size :])
