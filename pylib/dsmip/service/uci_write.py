# SPDX-License-Identifier: GPL-2.0-only
"""Parts of our tree as sections of OpenWrt's configuration: what ``uci`` reads, written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Piece:
    """A section to be written; ``name`` "" is left to UCI."""

    kind: str
    name: str
    values: Mapping[str, str | list[str]]

    def document(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"type": self.kind, "name": self.name, "values": dict(self.values)}


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)


def _values(table: Mapping[str, Any]) -> dict[str, str | list[str]]:
    return {
        name: [_plain(one) for one in value] if isinstance(value, list) else _plain(value)
        for name, value in table.items()
    }


def peer(entry: Mapping[str, Any]) -> Piece:
    """Return the section of an entry of ``[[home_agent.router]]``."""
    return Piece("peer", "", _values(entry))


def router(values: Mapping[str, Any]) -> list[Piece]:
    """Return the sections of a mobile router's whole configuration, without tables [esp]."""
    section = dict(values["mobile_router"])
    uplinks, prefixes = section.pop("uplink", []), section.pop("prefixes", [])
    pieces = []
    if "globals" in values:
        pieces.append(Piece("globals", "globals", _values(values["globals"])))
    pieces.append(Piece("mobile_router", "router", _values(section)))
    pieces += [
        Piece("prefix", f"prefix{number}", {"prefix": _plain(one)})
        for number, one in enumerate(prefixes, 1)
    ]
    # What has a default route now is a device, not one of netifd's interfaces.
    pieces += [
        Piece("uplink", "", {"device": _plain(one["interface"]), "name": _plain(one["interface"])})
        for one in uplinks
    ]
    if "ike" in values:
        pieces.append(Piece("ike", "ike", _values(values["ike"])))
    return pieces


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def text_of(pieces: Iterable[Piece]) -> str:
    """Write sections as they stand in a file."""
    lines = []
    for piece in pieces:
        lines += ["", f"config {piece.kind}" + (f" {_quoted(piece.name)}" if piece.name else "")]
        for name, value in piece.values.items():
            if isinstance(value, list):
                lines += [f"\tlist {name} {_quoted(one)}" for one in value]
            else:
                lines.append(f"\toption {name} {_quoted(value)}")
    return "\n".join(lines) + "\n"
