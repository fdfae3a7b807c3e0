# SPDX-License-Identifier: GPL-2.0-only
"""The control socket: one JSON object a line, in both directions.

A request is ``{"command": NAME, ...}``, its answer ``{"ok": true, "result":
...}`` or ``{"ok": false, "error": TEXT}``. Who may connect is decided by the
socket's mode, 0600.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, TextIO

log = logging.getLogger(__name__)

REQUEST_MAX: Final = 64 * 1024
CLIENTS_MAX: Final = 32
#: A client that neither asks nor reads for so long is let go.
IDLE_TIMEOUT: Final = 60.0
WRITE_TIMEOUT: Final = 10.0
#: How long a new daemon waits for what the last one left, in seconds.
_PATIENCE: Final = 3.0
_PAUSE: Final = 0.01

Handler = Callable[[Mapping[str, Any]], Any]
Streamer = Callable[[Mapping[str, Any]], AsyncIterator[Any]]


class RequestError(Exception):
    """A request is refused; the text goes to the client."""


class AlreadyRunning(Exception):
    """Another daemon has the socket."""


class Lock:
    """Held by the one daemon that uses a control socket; released by the kernel at its end.

    A daemon that is killed while it starts a program leaves a child that has all
    its descriptors, this lock and its ports among them, until it becomes that
    program; hence the lock is waited for. Raises ``AlreadyRunning`` when
    ``patience`` seconds did not help.
    """

    def __init__(self, socket_path: str, patience: float = _PATIENCE) -> None:
        self._path = socket_path + ".lock"
        self._file: TextIO = open(self._path, "a+")  # noqa: SIM115 (held for life)
        end = time.monotonic() + patience
        while not self._taken():
            if time.monotonic() >= end:
                self._file.seek(0)
                holder = self._file.read().strip() or "unknown"
                self._file.close()
                raise AlreadyRunning(f"another dsmipd (process {holder}) uses {socket_path}")
            time.sleep(_PAUSE)
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let another daemon start."""
        self._file.close()


class ControlServer:
    """Serves commands; ``handlers`` answer once, ``streamers`` until the client leaves."""

    def __init__(
        self, path: str, handlers: Mapping[str, Handler], streamers: Mapping[str, Streamer]
    ) -> None:
        self._path = path
        self._handlers = handlers
        self._streamers = streamers
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Raises ``OSError``; the caller holds the ``Lock``."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        mask = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(
                self._accept, self._path, limit=REQUEST_MAX
            )
        finally:
            os.umask(mask)

    async def stop(self) -> None:
        """Close all connections and remove the socket."""
        if self._server is not None:
            self._server.close()
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            if len(self._clients) > CLIENTS_MAX:
                await _write(writer, _refusal("too many connections"))
            else:
                await self._serve(reader, writer)
        except (ConnectionError, TimeoutError, asyncio.CancelledError):
            pass
        finally:
            self._clients.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                line = await asyncio.wait_for(reader.readline(), IDLE_TIMEOUT)
            except ValueError:
                # The rest of the line cannot be told from a next request.
                await _write(writer, _refusal(f"a request has at most {REQUEST_MAX} octets"))
                return
            if not line:
                return
            request: object
            try:
                request = json.loads(line)
            except (ValueError, RecursionError):
                await _write(writer, _refusal("a request is one JSON object on a line"))
                continue
            if not isinstance(request, dict) or not isinstance(request.get("command"), str):
                await _write(writer, _refusal('a request is an object with a "command"'))
                continue
            streamer = self._streamers.get(request["command"])
            if streamer is not None:
                await self._stream(streamer, request, reader, writer)
                return
            await _write(writer, self._answer(request))

    def _answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        handler = self._handlers.get(request["command"])
        if handler is None:
            known = ", ".join(sorted([*self._handlers, *self._streamers]))
            return _refusal(f"no such command {request['command']!r:.60}, known are: {known}")
        try:
            return {"ok": True, "result": handler(request)}
        except RequestError as error:
            return _refusal(str(error))
        except OSError as error:
            return _refusal(error.strerror or str(error))
        except Exception:
            log.exception("control command %s: internal error", request["command"])
            return _refusal("internal error, see the daemon's log")

    async def _stream(
        self,
        streamer: Streamer,
        request: Mapping[str, Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        gone = asyncio.ensure_future(reader.read())
        documents = streamer(request)
        try:
            while not gone.done():
                following = asyncio.ensure_future(anext(documents))
                await asyncio.wait((following, gone), return_when=asyncio.FIRST_COMPLETED)
                if not following.done():
                    following.cancel()
                    return
                await _write(writer, {"ok": True, "result": following.result()})
        except StopAsyncIteration:
            pass
        except RequestError as error:
            await _write(writer, _refusal(str(error)))
        finally:
            gone.cancel()


def _refusal(text: str) -> dict[str, Any]:
    return {"ok": False, "error": text}


async def _write(writer: asyncio.StreamWriter, answer: Mapping[str, Any]) -> None:
    writer.write(json.dumps(answer, separators=(",", ":")).encode() + b"\n")
    await asyncio.wait_for(writer.drain(), WRITE_TIMEOUT)
