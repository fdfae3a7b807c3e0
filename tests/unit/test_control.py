# SPDX-License-Identifier: GPL-2.0-only
"""The control socket and the command that speaks to it, over a real socket."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from dsmip import cli
from dsmip.service.client import Client, ClientError
from dsmip.service.control import (
    CLIENTS_MAX,
    REQUEST_MAX,
    AlreadyRunning,
    ControlServer,
    Lock,
    RequestError,
)


def _refuse(_request: Mapping[str, Any]) -> Any:
    raise RequestError("not today")


def _break(_request: Mapping[str, Any]) -> Any:
    raise ZeroDivisionError


def _fail(_request: Mapping[str, Any]) -> Any:
    raise OSError(101, "Network is unreachable")


async def _watch(_request: Mapping[str, Any]) -> AsyncIterator[Any]:
    for number in range(100):
        yield {"number": number}


HANDLERS = {
    "echo": dict,
    "uplinks": lambda _: {"uplinks": []},
    "history": lambda _: {"handovers": []},
    "reload": _refuse,
    "handover": lambda request: {"wanted": request["uplink"], "uplink": "", "state": "Switching"},
    "break": _break,
    "fail": _fail,
}


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    """A server in a thread of its own."""
    at = str(tmp_path / "control.sock")
    loop = asyncio.new_event_loop()
    server = ControlServer(at, HANDLERS, {"watch": _watch})
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    yield at
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()
    assert not os.path.exists(at)


def raw(path: str, data: bytes) -> list[dict[str, Any]]:
    """Send octets, then nothing more; return the answers."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(path)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        with sock.makefile("rb") as answers:
            return [json.loads(line) for line in answers]


def test_only_its_owner_may_connect(path: str) -> None:
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_one_connection_many_requests(path: str) -> None:
    with Client(path) as client:
        for number in range(3):
            assert client.ask("echo", number=number)["number"] == number


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"hello\n", "one JSON object"),
        (b"[1]\n", 'with a "command"'),
        (b'{"command": 5}\n', 'with a "command"'),
        (b'{"command": "fly"}\n', "no such command 'fly'"),
        (b"\xff\xfe\n", "one JSON object"),
        (b"[" * 60000 + b"\n", "one JSON object"),
        (b'{"command": "reload"}\n', "not today"),
        (b'{"command": "fail"}\n', "Network is unreachable"),
        (b'{"command": "break"}\n', "internal error"),
    ],
)
def test_refusals_keep_the_connection(path: str, data: bytes, said: str) -> None:
    refusal, answer = raw(path, data + b'{"command": "echo"}\n')
    assert not refusal["ok"]
    assert said in refusal["error"]
    assert answer["ok"]


def test_request_at_the_limit_and_past_it(path: str) -> None:
    frame = len('{"command": "echo", "x": ""}\n')
    full = json.dumps({"command": "echo", "x": "a" * (REQUEST_MAX - frame)}) + "\n"
    assert len(full) == REQUEST_MAX
    (answer,) = raw(path, full.encode())
    assert answer["ok"]
    (refusal,) = raw(path, b"x" * (REQUEST_MAX + 2))
    assert str(REQUEST_MAX) in refusal["error"]


def test_connections_at_the_limit_and_past_it(path: str) -> None:
    clients = [Client(path) for _ in range(CLIENTS_MAX)]
    try:
        for client in clients:
            assert client.ask("echo") is not None
        for pause in (0.0, 0.2):  # it may have hung up before it is asked
            with Client(path) as late:
                time.sleep(pause)
                with pytest.raises(ClientError, match="too many"):
                    late.ask("echo")
    finally:
        for client in clients:
            client.__exit__()
    with Client(path) as client:
        assert client.ask("echo") is not None


def test_one_daemon_for_a_socket(tmp_path: Path) -> None:
    at = str(tmp_path / "s")
    lock = Lock(at)
    with pytest.raises(AlreadyRunning, match=str(os.getpid())):
        Lock(at, patience=0.05)
    lock.release()
    Lock(at).release()


def test_killed_while_it_starts_a_program(tmp_path: Path) -> None:
    """Its child, not yet another program, has the lock for a while; the next daemon waits."""
    at = str(tmp_path / "s")
    killed = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, sys\n"
            "from dsmip.service.control import Lock\n"
            "lock = Lock(sys.argv[1])\n"
            "if os.fork():\n"
            "    print(flush=True)\n"
            "sys.stdin.read()\n",
            at,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert killed.stdin is not None
    assert killed.stdout is not None
    killed.stdout.readline()
    killed.kill()
    killed.wait()
    with pytest.raises(AlreadyRunning, match=str(killed.pid)):
        Lock(at, patience=0)
    threading.Timer(0.2, killed.stdin.close).start()
    Lock(at, patience=60).release()
    killed.stdout.close()


# --- the command ------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.main(words)
    out = capsys.readouterr()
    return code, out.out, out.err


def test_command(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    at = ("--socket", path)
    assert run(capsys, *at, "uplinks")[:2] == (0, "No uplinks are configured.\n")
    assert run(capsys, *at, "history")[:2] == (0, "No handovers yet.\n")
    code, out, _ = run(capsys, *at, "handover", "auto")
    assert (code, out) == (0, "The router chooses by priority; now Switching on nothing.\n")
    code, out, _ = run(capsys, *at, "uplinks", "--json")
    assert json.loads(out) == {"uplinks": []}
    code, out, err = run(capsys, *at, "reload")
    assert (code, out, err) == (1, "", "dsmip: not today\n")
    code, out, _ = run(capsys, *at, "watch", "--json", "--count", "3")
    assert [json.loads(line)["number"] for line in out.splitlines()] == [0, 1, 2]


def test_without_a_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "--socket", str(tmp_path / "none"), "status")
    assert code == 1
    assert "dsmipd is not running" in err
    assert "Traceback" not in err


def test_check_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.toml"
    file.write_text("[home_agent]\n[globals]\nport = 0\n")
    code, out, _ = run(capsys, "check-config", str(file))
    assert code == 1
    assert "[globals] port = 0: allowed is a whole number from 1 to 65535" in out
    assert "mistakes" in out.splitlines()[-1]


@pytest.mark.parametrize("words", [(), ("history", "--limit", "0"), ("handover",), ("--sock", "x")])
def test_wrong_usage(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = cli.main(words)
    except SystemExit as ended:
        code = int(str(ended.code))
    assert code == 2
