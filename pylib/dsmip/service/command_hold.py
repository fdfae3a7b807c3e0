# SPDX-License-Identifier: GPL-2.0-only
"""``dsmip pause``, ``resume`` and ``test-failover``: uplinks that are not to be used."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any, Final

from .client import Client
from .render import history, milliseconds
from .terminal import CommandError, show, show_json

#: Seconds between looks at the history, and how long a handover is waited for after a test.
_POLL: Final = 0.2
_PATIENCE: Final = 5.0


def arguments(parser: argparse.ArgumentParser, command: str) -> None:
    """Say what may stand behind a command."""
    parser.add_argument("--json", action="store_true", help="the document itself")
    if command == "test-failover":
        parser.add_argument("uplink", nargs="?", default="", help="default the one in use")
        parser.add_argument("--seconds", type=int, default=5, help="1 to 60, default 5")
    else:
        parser.add_argument("uplink", nargs="?", default="", help="default all of them")


def run(options: argparse.Namespace) -> int:
    """Ask the daemon and show its answer. Raises ``ClientError`` and ``CommandError``."""
    with Client(options.socket) as client:
        if options.command == "test-failover":
            answer = _test(client, options)
        else:
            answer = client.ask("hold", uplink=options.uplink, held=options.command == "pause")
    if options.json:
        show_json(answer)
    else:
        show(lines(options.command, answer))
    return 0


def _test(client: Client, options: argparse.Namespace) -> dict[str, Any]:
    started: dict[str, Any] = client.ask("failover", uplink=options.uplink, seconds=options.seconds)
    until = time.monotonic() + options.seconds + _PATIENCE
    while True:
        found = client.ask("history")["handovers"]
        later = [one for one in found if one["number"] > started["after"] and not one["event"]]
        done = any(one["gap_ms"] is not None for one in later[:1])
        if done or time.monotonic() > until:
            break
        time.sleep(_POLL)
    if not later:
        raise CommandError(
            f"{started['uplink']} was not used for {started['seconds']} s, and no handover "
            "followed: it was not the one in use, or there is no other"
        )
    return started | {"handover": later[0]}


def lines(command: str, answer: Mapping[str, Any]) -> list[str]:
    """Render an answer for people."""
    what = answer["uplink"] or "All uplinks"
    if command == "pause":
        return [f"{what}: not used until resumed, or until the daemon starts again."]
    if command == "resume":
        return [f"{what}: used again."]
    handover = answer["handover"]
    gap = handover["gap_ms"]
    said = "no packet came yet" if gap is None else f"a gap of {milliseconds(gap)} ms"
    to = handover["to"] or "nothing"
    return [f"Without {answer['uplink']}: to {to}, {said}.", "", *history([handover])]
