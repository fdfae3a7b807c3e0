# SPDX-License-Identifier: GPL-2.0-only
"""IKE SAs and their children for people: plain text of at most 80 columns.

Identities and selectors may be long: they go on in a next line, never cut.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .render import WIDTH, cut, duration, octets

_LABEL: Final = 14
_INDENT: Final = "  "
_UP: Final = frozenset(("established", "rekeying"))

Document = Mapping[str, Any]


def _line(label: str, text: str, depth: int = 1) -> list[str]:
    start = (_INDENT * depth + label).ljust(_LABEL + 2 * depth)
    width = WIDTH - len(start)
    body = textwrap.wrap(text, width, break_on_hyphens=False) or ["-"]
    return [start + body[0], *(" " * len(start) + more for more in body[1:])]


def _head(text: str, depth: int = 0) -> str:
    return cut(_INDENT * depth + text, WIDTH)


def _end(end: Document) -> str:
    return f"{end['address']} port {end['port']}"


def status(document: Document) -> list[str]:
    """Render what ``ike.status`` answers."""
    lines: list[str] = []
    for connection in document["connections"]:
        if lines:
            lines.append("")
        lines += _connection(connection)
    if not lines:
        lines = ["No IKE SAs."]
    counters = {name: count for name, count in document["counters"].items() if count}
    if counters:
        text = ", ".join(f"{name} {count}" for name, count in counters.items())
        lines += ["", "Counters", *_line("", text, depth=0)]
    return lines


def _connection(view: Document) -> list[str]:
    began = "we began" if view["initiator"] else "the other end began"
    state = f"{view['state']}, {duration(view['age'])} old"
    lines = [_head(f"{view['connection']} #{view['id']}: {state}, {began}")]
    lines += _line("here", f"{view['local_identity']} at {_end(view['local'])}")
    lines += _line("there", f"{view['peer'] or 'not known yet'} at {_end(view['remote'])}")
    nat = [name for name, there in (("here", "nat_local"), ("there", "nat_remote")) if view[there]]
    lines += _line("NAT", " and ".join(nat) or "none")
    lines += _line("algorithms", view["suite"] + (" with PPK" if view["ppk"] else ""))
    if view["state"] in _UP:
        lines += _line("rekey", _soon(view["rekey_in"]))
        if view["reauthenticate_in"] is not None:
            lines += _line("reauth", _soon(view["reauthenticate_in"]))
        lines += _line("last heard", f"{duration(view['silent_for'])} ago")
    if view["assigned"]:
        lines += _line("addresses", ", ".join(view["assigned"]))
    lines += _line("SPIs", f"{view['spi_i']} of the initiator, {view['spi_r']}")
    for child in view["children"]:
        lines += _child(child)
    return lines


def _soon(seconds: float | None) -> str:
    return "never" if seconds is None else f"in {duration(max(seconds, 0))}"


def _child(child: Document) -> list[str]:
    what = f"{child['protocol'].upper()} {child['mode']}"
    lines = [
        _head(
            f"{child['name']} #{child['id']}: {child['state']}, "
            f"{duration(child['age'])} old, {what}",
            depth=1,
        )
    ]

    def add(label: str, text: str) -> None:
        lines.extend(_line(label, text, depth=2))

    add("SPIs", f"{child['spi_in']} in, {child['spi_out']} out, reqid {child['reqid']}")
    ends = child["ends"]
    ports = ends["ports"]
    wrapped = f", in UDP {ports[0]} to {ports[1]}" if ports else ""
    add("ends", f"{ends['local']} to {ends['remote']}{wrapped}")
    add("local", " ".join(child["local"]))
    add("remote", " ".join(child["remote"]))
    add("algorithms", child["suite"])
    add("rekey", _soon(child["rekey_in"]))
    traffic = child.get("traffic")
    if traffic:
        add(
            "traffic",
            f"{traffic['rx_packets']} packets in ({octets(traffic['rx_bytes'])}), "
            f"{traffic['tx_packets']} out ({octets(traffic['tx_bytes'])})",
        )
    return lines


def done(command: str, answer: Document) -> list[str]:
    """Render what the other ``ike`` commands answer."""
    what = answer["connection"] or f"#{answer['id']}"
    if answer["child"]:
        what += f", child SA {answer['child']}"
    verb = {"initiate": "being made", "rekey": "being rekeyed", "terminate": "being deleted"}
    hint = "" if command == "terminate" else ' ("dsmip ike status" tells how it ends)'
    return textwrap.wrap(f"{what}: {verb[command]}{hint}", WIDTH, break_on_hyphens=False)


def summary(document: Document | None) -> list[str]:
    """Render IKE's part of the whole status."""
    if not document:
        return []
    views: Sequence[Document] = document["connections"]
    up = [view for view in views if view["state"] in _UP]
    children = sum(len(view["children"]) for view in up)
    text = f"{_number(len(up), 'IKE SA')} with {_number(children, 'child SA')}"
    others = len(views) - len(up)
    if others:
        text += f", {others} being made or ended"
    return ["", f"{'IKEv2':16}{text}"]


def _number(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
