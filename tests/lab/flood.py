# SPDX-License-Identifier: GPL-2.0-only
"""Streams of numbered datagrams at rates that Python does not reach in the lab."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .topology import Topology, wait_for

_SOURCE = Path(__file__).with_suffix(".c")
_PROGRAM = Path("/tmp/flood")


def build() -> Path:
    """Compile the program, once in the life of the machine."""
    if not _PROGRAM.exists():
        subprocess.run(["gcc", "-O1", "-o", str(_PROGRAM), str(_SOURCE)], check=True)
    return _PROGRAM


@dataclass(slots=True)
class Stream:
    """What became of a stream: when each datagram was sent, and when it arrived."""

    sent: dict[int, float]
    arrived: dict[int, float]
    #: How many arrived more than once.
    repeated: int = 0

    def lost(self, start: float = 0.0, end: float = float("inf")) -> list[int]:
        """Return the numbers of those sent in that time that never arrived."""
        return [n for n, at in self.sent.items() if start <= at < end and n not in self.arrived]

    def outage(self, start: float, end: float) -> float:
        """Return how long after ``start`` the last lost one was sent, 0 without loss."""
        gone = self.lost(start, end)
        return self.sent[gone[-1]] - start if gone else 0.0


class Flood:
    """Streams that are started and read together."""

    def __init__(self, net: Topology) -> None:
        self.net = net
        self._program = build()
        self._streams: dict[str, tuple[Any, Any, Path, Path]] = {}

    def stream(
        self, name: str, to: str, port: int, rate: float, source: str = "cn", sink: str = "lan"
    ) -> None:
        """Start a stream of ``rate`` datagrams a second."""
        inward = self.net.directory / f"{name}-received.txt"
        outward = self.net.directory / f"{name}-sent.txt"
        receive = [str(self._program), "receive", str(port), str(inward)]
        receiver = self.net.start(sink, receive, log="flood.log")
        wait_for(lambda: f":{port} " in self.net.run(sink, ["ss", "-Hlnu"]), 20, "a receiver")
        send = [str(self._program), "send", to, str(port), str(rate), str(outward)]
        sender = self.net.start(source, send, log="flood.log")
        self._streams[name] = (sender, receiver, outward, inward)

    def finish(self, drain: float = 1.0) -> dict[str, Stream]:
        """Stop the senders, let the last packets arrive, return what was seen."""
        for sender, _receiver, _outward, _inward in self._streams.values():
            self.net.stop(sender)
        time.sleep(drain)
        found = {}
        for name, (_sender, receiver, outward, inward) in self._streams.items():
            self.net.stop(receiver)
            sent, arrived = _read(outward), _read(inward)
            first = dict(reversed(arrived))
            found[name] = Stream(dict(sent), first, len(arrived) - len(first))
        self._streams = {}
        return found


def _read(file: Path) -> list[tuple[int, float]]:
    rows = [line.split() for line in file.read_text().splitlines()]
    return [(int(number), float(at)) for number, at in rows]
