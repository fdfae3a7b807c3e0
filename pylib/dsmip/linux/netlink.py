# SPDX-License-Identifier: GPL-2.0-only
"""Netlink sockets: requests with acknowledgement, dumps, notifications.

Requests block the caller for the microseconds the kernel needs, so effects are
carried out in the order in which an engine gave them; nothing here needs a
thread. Messages are bytes; who calls packs and unpacks them.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import struct
from collections.abc import Iterator
from typing import Final

NETLINK_ROUTE: Final = 0
NETLINK_XFRM: Final = 6
NETLINK_GENERIC: Final = 16

NLM_F_REQUEST: Final = 0x1
NLM_F_ACK: Final = 0x4
NLM_F_DUMP: Final = 0x300
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
NLM_F_APPEND: Final = 0x800

_SOL_NETLINK: Final = 270
_ADD_MEMBERSHIP: Final = 1
_CAP_ACK: Final = 10
_EXT_ACK: Final = 11
_GET_STRICT_CHK: Final = 12

_ERROR: Final = 2
_DONE: Final = 3
_OVERRUN: Final = 4
_F_DUMP_INTR: Final = 0x10
_F_CAPPED: Final = 0x100
_F_ACK_TLVS: Final = 0x200
_EXTACK_MSG: Final = 1

_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_TYPE_MASK: Final = 0x3FFF
_NESTED: Final = 0x8000
_BUFFER: Final = 1 << 18
_ANSWER_TIMEOUT: Final = 10.0
_DUMP_TRIES: Final = 10

Answer = tuple[int, memoryview]


class NetlinkError(OSError):
    """The kernel refused a request; ``extack`` is its own explanation, if any."""

    def __init__(self, code: int, request: str, extack: str = "") -> None:
        text = os.strerror(code)
        super().__init__(code, f"{request}: {extack} ({text})" if extack else f"{request}: {text}")
        self.extack = extack


class Overrun(OSError):
    """Notifications were lost (the socket's buffer was full): read everything anew."""


# --- attributes ------------------------------------------------------------------


def attribute(kind: int, value: bytes) -> bytes:
    """Pack one attribute with its padding."""
    size = 4 + len(value)
    return _ATTRIBUTE.pack(size, kind) + value + b"\0" * (-size & 3)


def nest(kind: int, *parts: bytes) -> bytes:
    """Pack a nested attribute."""
    return attribute(kind | _NESTED, b"".join(parts))


def u8(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=B", value))


def u16(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=H", value))


def be16(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!H", value))


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def attributes(data: memoryview | bytes, offset: int = 0) -> Iterator[tuple[int, memoryview]]:
    """Yield (type, value) of a run of attributes; a damaged tail ends it."""
    view = memoryview(data)
    end = len(view)
    unpack = _ATTRIBUTE.unpack_from
    while offset + 4 <= end:
        size, kind = unpack(view, offset)
        if size < 4 or offset + size > end:
            return
        yield kind & _TYPE_MASK, view[offset + 4 : offset + size]
        offset += (size + 3) & ~3


def attribute_map(data: memoryview | bytes, offset: int = 0) -> dict[int, memoryview]:
    """Return attributes by type; of a repeated one the last."""
    return dict(attributes(data, offset))


# --- sockets ---------------------------------------------------------------------


class NetlinkSocket:
    """One netlink socket for requests.

    Raises ``NetlinkError`` when the kernel answers with an error, ``OSError``
    when the socket itself fails or no answer comes.
    """

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
        )
        self._sequence = itertools.count(1)
        self._buffer = bytearray(_BUFFER)
        self._socket.settimeout(_ANSWER_TIMEOUT)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        for option in (_EXT_ACK, _CAP_ACK, _GET_STRICT_CHK):
            _try_option(self._socket, option)
        self._socket.bind((0, 0))

    def close(self) -> None:
        self._socket.close()

    def request(
        self, kind: int, body: bytes, flags: int = 0, what: str = "netlink"
    ) -> list[Answer]:
        """Send one request and return what the kernel answered before its acknowledgement.

        ``what`` names the request in errors.
        """
        return list(self._exchange(kind, body, flags | NLM_F_ACK, what))

    def dump(self, kind: int, body: bytes, what: str = "netlink") -> list[Answer]:
        """Return a whole dump; one that changed while it was read is read again."""
        for _ in range(_DUMP_TRIES):
            try:
                return list(self._exchange(kind, body, NLM_F_DUMP, what))
            except InterruptedError:
                continue
        raise NetlinkError(errno.EINTR, what, "the table changed at every attempt to read it")

    def _exchange(self, kind: int, body: bytes, flags: int, what: str) -> Iterator[Answer]:
        sequence = next(self._sequence) & 0xFFFFFFFF
        length = _HEADER.size + len(body)
        self._socket.send(_HEADER.pack(length, kind, flags | NLM_F_REQUEST, sequence, 0) + body)
        interrupted = False
        while True:
            size = self._socket.recv_into(self._buffer)
            # One copy per datagram: answers outlive the buffer.
            data = memoryview(bytes(memoryview(self._buffer)[:size]))
            for answer, answer_flags, answer_sequence, payload in _messages(data):
                if answer_sequence != sequence:
                    continue  # the late answer to a request that timed out
                interrupted = interrupted or bool(answer_flags & _F_DUMP_INTR)
                if answer in (_ERROR, _DONE):
                    _raise_error(payload, answer_flags, answer, what)
                    if interrupted:
                        raise InterruptedError(errno.EINTR, what)
                    return
                yield answer, payload


class NotificationSocket:
    """A non-blocking socket that receives multicast notifications."""

    def __init__(self, protocol: int, groups: tuple[int, ...], buffer: int = 1 << 20) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
            protocol,
        )
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self._socket.bind((0, 0))
        for group in groups:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def receive(self) -> Iterator[Answer]:
        """Yield all waiting notifications; raises ``Overrun`` when some were lost."""
        while True:
            try:
                data = self._socket.recv(_BUFFER)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    raise Overrun(errno.ENOBUFS, "notifications were lost") from error
                raise
            for kind, _flags, _sequence, payload in _messages(memoryview(data)):
                if kind > _OVERRUN:
                    yield kind, payload


def _try_option(sock: socket.socket, option: int) -> None:
    try:
        sock.setsockopt(_SOL_NETLINK, option, 1)
    except OSError:
        pass  # an old kernel: errors come without explanation


def _messages(data: memoryview) -> Iterator[tuple[int, int, int, memoryview]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        size, kind, flags, sequence, _port = _HEADER.unpack_from(data, offset)
        if size < _HEADER.size or offset + size > len(data):
            return
        yield kind, flags, sequence, data[offset + _HEADER.size : offset + size]
        offset += (size + 3) & ~3


def _raise_error(payload: memoryview, flags: int, kind: int, what: str) -> None:
    code = -struct.unpack_from("=i", payload)[0]
    if code <= 0:
        return
    explanation = ""
    if flags & _F_ACK_TLVS:
        start = 4
        if kind == _ERROR:
            quoted = struct.unpack_from("=I", payload, 4)[0]
            start = (
                4 + _HEADER.size + (0 if flags & _F_CAPPED else (quoted - _HEADER.size + 3) & ~3)
            )
        found = attribute_map(payload, start).get(_EXTACK_MSG)
        if found is not None:
            explanation = bytes(found).rstrip(b"\0").decode(errors="replace")
    raise NetlinkError(code, what, explanation)
