# SPDX-License-Identifier: GPL-2.0-only
"""``dsmip samples`` and ``audit``: what was, for people and for scripts."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .client import Client
from .render import cut, duration, milliseconds, octets, table
from .samples import values
from .terminal import show, show_json

_BARS: Final = "▁▂▃▄▅▆▇█"
_COLUMNS: Final = 60


def arguments(parser: argparse.ArgumentParser, command: str) -> None:
    """Say what may stand behind a command."""
    parser.add_argument("--json", action="store_true", help="the document itself")
    if command == "samples":
        parser.add_argument(
            "--span",
            choices=("fine", "coarse"),
            default="fine",
            help="5 minutes by the second (fine, the default), or 24 hours by the minute",
        )
    else:
        parser.add_argument("match", nargs="?", default="", help="part of an identity or address")
        parser.add_argument("--limit", type=int, default=50, help="how many, default 50")


def run(options: argparse.Namespace) -> int:
    """Ask the daemon and show its answer. Raises ``ClientError``."""
    with Client(options.socket) as client:
        if options.command == "samples":
            answer = expanded(client.ask("samples", span=options.span))
        else:
            answer = client.ask("audit", match=options.match, limit=options.limit)
    if options.json:
        show_json(answer)
    else:
        show(samples(answer) if options.command == "samples" else audit(answer))
    return 0


def expanded(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer with series as lists."""
    uplinks = {
        name: {key: values(text) for key, text in series.items()}
        for name, series in answer["uplinks"].items()
    }
    return {**answer, "uplinks": uplinks}


def _bars(series: Sequence[float | None]) -> str:
    """Draw values in as many columns as there is room for, each its part's greatest."""
    step = max(-(-len(series) // _COLUMNS), 1)
    parts = [series[at : at + step] for at in range(0, len(series), step)]
    tops = [max((one for one in part if one is not None), default=None) for part in parts]
    most = max((one for one in tops if one is not None), default=0.0)
    last = len(_BARS) - 1
    return "".join(
        " " if top is None else _BARS[round(top / most * last) if most else 0] for top in tops
    )


def samples(answer: Mapping[str, Any]) -> list[str]:
    """Render samples: a line of bars for each of an uplink's series, with the greatest value."""
    out: list[str] = []
    for name, series in answer["uplinks"].items():
        count = len(series["rx"])
        out += [""] if out else []
        out.append(cut(f"{name}: {duration(count * answer['every'])} until {_clock(answer)}", 80))
        for head, key in (("in", "rx"), ("out", "tx"), ("rtt", "rtt_ms"), ("loss", "loss_percent")):
            known = [one for one in series[key] if one is not None]
            if not known:
                continue
            top = max(known)
            most = f"{octets(int(top))}/s"
            if key == "rtt_ms":
                most = f"{milliseconds(top)} ms"
            elif key == "loss_percent":
                most = f"{top:g} %"
            out.append(f"{head:<5}{_bars(series[key])} {most}")
    return out or ["No samples yet."]


def _clock(answer: Mapping[str, Any]) -> str:
    return time.strftime("%H:%M:%S", time.localtime(answer["to"]))


def audit(answer: Mapping[str, Any]) -> list[str]:
    """Render entries of the audit, the latest first."""
    rows = []
    for entry in answer["entries"]:
        changes = [f"+{one}" for one in entry["gained"]] + [f"-{one}" for one in entry["lost"]]
        first, *more = changes or ["-"]
        when = time.strftime("%m-%d %H:%M:%S", time.localtime(entry["time"]))
        rows.append([when, entry["event"], entry["identity"], first, entry["care_of"] or "-"])
        rows += [["", "", "", one, ""] for one in more]
    if not rows:
        return ["No router has registered since the daemon started."]
    return table(("TIME", "EVENT", "ROUTER", "PREFIXES", "CARE-OF"), rows, elastic=2)
