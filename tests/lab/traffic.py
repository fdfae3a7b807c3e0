# SPDX-License-Identifier: GPL-2.0-only
"""Flows that know what they lost: run inside namespaces, results as JSON.

    python -m tests.lab.traffic receive --port 5000 --out FILE
    python -m tests.lab.traffic send --to ADDRESS --port 5000 --rate 100 --out FILE
    python -m tests.lab.traffic tcp-receive / tcp-send  likewise

A receiver sends each datagram back, so that the way up is used as well. All run
until SIGTERM and then write what they saw; times are of CLOCK_MONOTONIC, which
all namespaces share.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import socket
import struct
import time
from pathlib import Path
from typing import Any

from .report import Flow
from .topology import Topology, wait_for

_PAYLOAD = struct.Struct("!Id")
_CHUNK = 8192


class Stop(Exception):
    """SIGTERM arrived."""


def _receive(port: int, quiet: bool) -> dict[str, Any]:
    arrivals: list[tuple[float, int]] = []
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", port))
        with contextlib.suppress(Stop):
            while True:
                data, source = sock.recvfrom(2048)
                arrivals.append((time.monotonic(), _PAYLOAD.unpack_from(data)[0]))
                if not quiet:
                    with contextlib.suppress(OSError):
                        sock.sendto(data, source)
        # What had arrived, though nobody had looked yet.
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                arrivals.append((time.monotonic(), _PAYLOAD.unpack_from(sock.recv(2048))[0]))
    return {"arrivals": arrivals}


def _send(to: str, port: int, rate: float, size: int) -> dict[str, Any]:
    sent: list[float] = []
    echoes: list[tuple[float, int]] = []
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        due = time.monotonic()
        with contextlib.suppress(Stop):
            while True:
                now = time.monotonic()
                if now >= due:
                    packet = _PAYLOAD.pack(len(sent), now).ljust(size, b".")
                    with contextlib.suppress(OSError):
                        sock.sendto(packet, (to, port))
                    # Only now: what a signal keeps from being sent cannot be lost.
                    sent.append(now)
                    due = max(due + 1 / rate, now - 1)
                with contextlib.suppress(OSError):
                    while True:
                        data = sock.recv(2048)
                        echoes.append((time.monotonic(), _PAYLOAD.unpack_from(data)[0]))
                time.sleep(max(min(due - time.monotonic(), 0.01), 0))
    return {"sent": sent, "echoes": echoes}


def _tcp_receive(port: int) -> dict[str, Any]:
    progress: list[tuple[float, int]] = []
    with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        total = 0
        with contextlib.suppress(Stop):
            connection, _ = server.accept()
            with connection:
                while data := connection.recv(65536):
                    total += len(data)
                    progress.append((time.monotonic(), total))
    return {"progress": progress}


def _tcp_send(to: str, port: int, rate: float) -> dict[str, Any]:
    sent = 0
    with contextlib.suppress(Stop, OSError), socket.create_connection((to, port), 20) as sock:
        sock.settimeout(None)
        start = time.monotonic()
        while True:
            sock.sendall(bytes(_CHUNK))
            sent += _CHUNK
            time.sleep(max(start + sent / rate - time.monotonic(), 0))
    return {"sent": sent}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("receive", "send", "tcp-receive", "tcp-send"))
    parser.add_argument("--to", default="")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, default=100, help="packets or octets a second")
    parser.add_argument("--size", type=int, default=100, help="octets of a datagram")
    parser.add_argument("--quiet", action="store_true", help="send nothing back")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    def stop(*_: object) -> None:
        # Once only: the results must not be lost to a second signal.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Stop

    signal.signal(signal.SIGTERM, stop)
    # Whoever started this may end it from now on.
    options.out.touch()
    result: dict[str, Any] = {}
    with contextlib.suppress(Stop):
        if options.what == "receive":
            result = _receive(options.port, options.quiet)
        elif options.what == "send":
            result = _send(options.to, options.port, options.rate, options.size)
        elif options.what == "tcp-receive":
            result = _tcp_receive(options.port)
        else:
            result = _tcp_send(options.to, options.port, options.rate)
    options.out.write_text(json.dumps(result))


class Traffic:
    """Flows from the correspondent to the LAN host, started and read together."""

    def __init__(self, net: Topology) -> None:
        self.net = net
        self._flows: list[tuple[str, bool, Path, Path]] = []
        self._processes: list[Any] = []
        self._port = 5000

    def _start(self, namespace: str, what: str, out: Path, *more: str) -> None:
        words = (what, "--port", str(self._port), "--out", str(out), *more)
        self._processes.append(
            self.net.python(namespace, "tests.lab.traffic", *words, log="traffic.log")
        )

    def flow(
        self,
        name: str,
        to: str,
        rate: float = 100,
        source: str = "cn",
        sink: str = "lan",
        quiet: bool = False,
    ) -> None:
        """Start a UDP flow of ``rate`` packets a second; ``quiet``: nothing is sent back."""
        self._begin(name, False, "receive", "send", to, rate, source, sink, quiet)

    def transfer(
        self, name: str, to: str, rate: float = 400_000, source: str = "cn", sink: str = "lan"
    ) -> None:
        """Start a TCP transfer of at most ``rate`` octets a second."""
        self._begin(name, True, "tcp-receive", "tcp-send", to, rate, source, sink)

    def _begin(
        self,
        name: str,
        tcp: bool,
        receive: str,
        send: str,
        to: str,
        rate: float,
        source: str,
        sink: str,
        quiet: bool = False,
    ) -> None:
        self._port += 1
        inward = self.net.directory / f"{name}-receiver.json"
        outward = self.net.directory / f"{name}-sender.json"
        self._start(sink, receive, inward, *(["--quiet"] if quiet else []))
        self._wait_bound(sink)
        self._start(source, send, outward, "--to", to, "--rate", str(rate))
        wait_for(outward.exists, 20, "a sender")
        self._flows.append((name, tcp, outward, inward))

    def _wait_bound(self, namespace: str) -> None:
        for _ in range(200):
            if f":{self._port} " in self.net.run(namespace, ["ss", "-Hlntu"]):
                return
            time.sleep(0.05)
        raise AssertionError("a receiver did not start")

    def finish(self, drain: float = 0.5) -> list[Flow]:
        """Stop the senders, let the last packets arrive, return what was seen."""
        for process in self._processes[1::2]:
            self.net.stop(process)
        time.sleep(drain)
        for process in self._processes[0::2]:
            self.net.stop(process)
        flows = []
        for name, tcp, outward, inward in self._flows:
            sender, receiver = json.loads(outward.read_text()), json.loads(inward.read_text())
            if tcp:
                flows.append(Flow(name, progress=[tuple(p) for p in receiver["progress"]]))
            else:
                arrivals = [tuple(a) for a in receiver["arrivals"]]
                flows.append(Flow(name, sent=sender["sent"], arrivals=arrivals))
        return flows


if __name__ == "__main__":
    main()
