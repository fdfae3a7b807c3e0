# SPDX-License-Identifier: GPL-2.0-only
"""The control protocol of charon (vici): commands, streams of events, plain data.

Sections are dictionaries, lists are lists, everything else is text, as charon
sends it.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

_REQUEST, _RESPONSE, _UNKNOWN, _REGISTER, _UNREGISTER, _CONFIRM, _NO_EVENT, _EVENT = range(8)
_SECTION, _SECTION_END, _VALUE, _LIST, _ITEM, _LIST_END = range(1, 7)


class ViciError(RuntimeError):
    """Charon refused a command, or knows none of that name."""


def encode(message: dict[str, Any]) -> bytes:
    """Pack a tree of dictionaries, lists and words."""

    def name(kind: int, text: str) -> bytes:
        return bytes((kind, len(text))) + text.encode()

    def value(given: Any) -> bytes:
        if isinstance(given, bool):
            given = "yes" if given else "no"
        data = given if isinstance(given, bytes) else str(given).encode()
        return struct.pack("!H", len(data)) + data

    out = b""
    for key, given in message.items():
        if isinstance(given, dict):
            out += name(_SECTION, key) + encode(given) + bytes((_SECTION_END,))
        elif isinstance(given, (list, tuple)):
            items = b"".join(bytes((_ITEM,)) + value(item) for item in given)
            out += name(_LIST, key) + items + bytes((_LIST_END,))
        else:
            out += name(_VALUE, key) + value(given)
    return out


def decode(data: bytes) -> dict[str, Any]:
    """Read a message."""
    root: dict[str, Any] = {}
    stack = [root]
    items: list[str] | None = None
    at = 0

    def text(width: int) -> str:
        nonlocal at
        length = int.from_bytes(data[at : at + width], "big")
        at += width + length
        return data[at - length : at].decode(errors="replace")

    while at < len(data):
        kind = data[at]
        at += 1
        if kind == _SECTION:
            inner: dict[str, Any] = {}
            stack[-1][text(1)] = inner
            stack.append(inner)
        elif kind == _SECTION_END:
            stack.pop()
        elif kind == _VALUE:
            key = text(1)
            stack[-1][key] = text(2)
        elif kind == _LIST:
            items = []
            stack[-1][text(1)] = items
        elif kind == _ITEM:
            assert items is not None
            items.append(text(2))
        elif kind == _LIST_END:
            items = None
        else:
            raise ViciError(f"element type {kind} in a message of charon")
    return root


class Vici:
    """One connection to a charon; every method raises ``ViciError`` or ``OSError``."""

    def __init__(self, path: Path, timeout: float = 60) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))

    def __enter__(self) -> Vici:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def _send(self, kind: int, name: str, body: bytes = b"") -> None:
        packet = bytes((kind, len(name))) + name.encode() + body
        self._socket.sendall(struct.pack("!I", len(packet)) + packet)

    def _receive(self) -> tuple[int, str, dict[str, Any]]:
        (length,) = struct.unpack("!I", self._exactly(4))
        packet = self._exactly(length)
        if packet[0] != _EVENT:
            return packet[0], "", decode(packet[1:])
        end = 2 + packet[1]
        return _EVENT, packet[2:end].decode(), decode(packet[end:])

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self._socket.recv(count - len(data))
            if not more:
                raise ViciError("charon closed the connection")
            data += more
        return data

    def ask(self, command: str, **message: Any) -> dict[str, Any]:
        """Run a command; underscores in names of values stand for themselves."""
        self._send(_REQUEST, command, encode(message))
        while True:
            kind, _name, answer = self._receive()
            if kind == _UNKNOWN:
                raise ViciError(f"charon knows no command {command}")
            if kind == _RESPONSE:
                break
        if answer.get("success", "yes") != "yes":
            raise ViciError(f"{command}: {answer.get('errmsg', answer)}")
        return answer

    def stream(self, command: str, event: str, **message: Any) -> list[dict[str, Any]]:
        """Run a command that answers with events; return what each of them holds."""
        self.listen(event)
        self._send(_REQUEST, command, encode(message))
        found = []
        while True:
            kind, name, answer = self._receive()
            if kind == _EVENT and name == event:
                found.append(answer)
            elif kind == _UNKNOWN:
                raise ViciError(f"charon knows no command {command}")
            elif kind == _RESPONSE:
                break
        self._send(_UNREGISTER, event)
        while self._receive()[0] not in (_CONFIRM, _NO_EVENT):
            pass
        return found

    def listen(self, *events: str) -> None:
        """Have events of these names sent from now on."""
        for event in events:
            self._send(_REGISTER, event)
            while (kind := self._receive()[0]) not in (_CONFIRM, _NO_EVENT):
                pass
            if kind == _NO_EVENT:
                raise ViciError(f"charon has no event {event}")

    def events(self, seconds: float) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield events as they come, for so many seconds."""
        end = time.monotonic() + seconds
        before = self._socket.gettimeout()
        try:
            while (left := end - time.monotonic()) > 0:
                self._socket.settimeout(left)
                try:
                    kind, name, answer = self._receive()
                except TimeoutError:
                    return
                if kind == _EVENT:
                    yield name, answer
        finally:
            self._socket.settimeout(before)
