# SPDX-License-Identifier: GPL-2.0-only
"""Direct paths for people, beside what ``render`` writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .render import duration, life_and_traffic, line

Document = Mapping[str, Any]
#: Bindings of these roles are written here.
ROLES = ("correspondent", "route optimisation")


def summary(document: Document) -> list[str]:
    """Render the parts of the status."""
    lines: list[str] = []
    for one in document.get("route_optimisation", {}).get("correspondents", ()):
        lines += line("Correspondent", f"{one['correspondent']}: {_state(one)}")
    correspondent = document.get("correspondent")
    if correspondent:
        accepted = correspondent["counters"].get("bu_accepted", 0)
        addresses = ", ".join(correspondent["addresses"]) or "all addresses"
        lines += line("Correspondent", f"on {addresses}")
        lines += line("Bindings", f"{correspondent['bindings']} direct, {accepted} updates")
    return ["", *lines] if lines else []


def _state(one: Document) -> str:
    if one["phase"] == "left alone":
        return f"left alone for {duration(one['retry_in'])}: {one['problem']}"
    way = f"directly from {one['care_of']}" if one["direct"] else "by the home agent"
    return way if one["phase"] == "bound" else f"{way}, {one['phase']}"


def binding(one: Document) -> list[str]:
    """Render one direct binding."""
    if one["role"] == "correspondent":
        lines = line("direct", f"{one['home_address']} at {one['care_of']}")
    else:
        lines = line("direct", f"{one['correspondent']} from {one['care_of']}")
    return lines + life_and_traffic(one)


def optimised(result: Document) -> str:
    """Say what has become of a wish."""
    if not result["on"]:
        return f"{result['correspondent']} is reached by the home agent again."
    return f"Route optimisation with {result['correspondent']}: {result['phase']}."
