# SPDX-License-Identifier: GPL-2.0-only
"""Talking to a running daemon over its control socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any, Final

_TIMEOUT: Final = 10.0
_ANSWER_MAX: Final = 256 << 20


class ClientError(Exception):
    """The daemon cannot be reached, or refuses; the text is for the operator."""


class Client:
    """One connection."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(_TIMEOUT)
        try:
            self._socket.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            self._socket.close()
            raise ClientError(
                f"dsmipd is not running (nobody listens on {path});\n"
                "start it, or name its socket with --socket"
            ) from None
        except PermissionError:
            self._socket.close()
            raise ClientError(f"no permission to use {path}: try as root") from None
        except OSError as error:
            self._socket.close()
            raise ClientError(f"{path}: {error.strerror or error}") from None
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, command: str, **parameters: Any) -> Any:
        """Send a command and return its result."""
        self._send(command, parameters)
        return self._answer()

    def watch(self, command: str, **parameters: Any) -> Iterator[Any]:
        """Send a command and yield results until the daemon ends."""
        self._send(command, parameters)
        interval = float(parameters.get("interval", 1.0))
        self._socket.settimeout(_TIMEOUT + interval)
        while True:
            yield self._answer()

    def _send(self, command: str, parameters: dict[str, Any]) -> None:
        try:
            self._socket.sendall(json.dumps({"command": command, **parameters}).encode() + b"\n")
        except BrokenPipeError:
            pass  # why it hung up may stand there to be read
        except OSError as error:
            raise ClientError(f"the daemon hung up: {error.strerror or error}") from None

    def _answer(self) -> Any:
        try:
            line = self._file.readline(_ANSWER_MAX)
        except TimeoutError:
            raise ClientError("the daemon does not answer") from None
        except OSError as error:
            raise ClientError(f"the daemon hung up: {error.strerror or error}") from None
        if not line:
            raise ClientError("the daemon hung up")
        try:
            answer = json.loads(line)
        except ValueError:
            raise ClientError("the daemon's answer cannot be read") from None
        if not isinstance(answer, dict) or not answer.get("ok"):
            text = answer.get("error") if isinstance(answer, dict) else None
            raise ClientError(str(text or "the daemon's answer cannot be read"))
        return answer.get("result")
