# SPDX-License-Identifier: GPL-2.0-only
"""``dsmip home-agents``, ``revoke`` and ``switch``: who serves whom, and for how long."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, Final

from .client import Client
from .render import duration, table
from .terminal import show, show_json

#: Why a binding may be revoked (RFC 5846 section 5.1); ``orders.REASONS`` has the numbers.
REASONS: Final = (
    "administrative",
    "unspecified",
    "user-initiated",
    "access-network-termination",
    "out-of-sync",
)


def arguments(parser: argparse.ArgumentParser, command: str) -> None:
    """Say what may stand behind a command."""
    parser.add_argument("--json", action="store_true", help="the document itself")
    if command == "home-agents":
        return
    parser.add_argument("router", help="its identity, or its home address")
    if command == "revoke":
        parser.add_argument(
            "--reason", choices=REASONS, default=REASONS[0], help=f"default {REASONS[0]}"
        )
        parser.add_argument("--ipv4", action="store_true", help="only the IPv4 home address")
        parser.add_argument(
            "--bid", type=int, action="append", default=[], help="only this care-of address"
        )
    else:
        parser.add_argument(
            "addresses",
            nargs="*",
            metavar="ADDRESS",
            help="of other home agents, best first; without any it has to look for one",
        )
        parser.add_argument(
            "--stay", type=float, default=0, metavar="SECONDS", help="how long it may still stay"
        )


def request(options: argparse.Namespace) -> dict[str, Any]:
    """Return what is asked of the daemon."""
    if options.command == "home-agents":
        return {}
    if options.command == "revoke":
        return {
            "router": options.router,
            "reason": options.reason,
            "ipv4_only": options.ipv4,
            "bids": options.bid,
        }
    return {"router": options.router, "addresses": options.addresses, "stay": options.stay}


def run(options: argparse.Namespace) -> int:
    """Ask the daemon and show its answer. Raises ``ClientError``."""
    with Client(options.socket) as client:
        answer = client.ask(options.command, **request(options))
    if options.json:
        show_json(answer)
    else:
        show(lines(options.command, answer))
    return 0


def lines(command: str, answer: Mapping[str, Any]) -> list[str]:
    """Render an answer for people."""
    if command == "revoke":
        what = "The IPv4 home address" if answer["ipv4_only"] else "The binding"
        if answer["bids"]:
            what = f"BID {', '.join(str(bid) for bid in answer['bids'])}"
        return [f"{what} of {answer['router']} is being revoked ({answer['reason']})."]
    if command == "switch":
        where = ", ".join(answer["addresses"]) or "another home agent"
        return [f"{answer['router']} is sent to {where}."]
    return home_agents(answer)


def home_agents(answer: Mapping[str, Any]) -> list[str]:
    """Render the home agents list, and those that the router knows."""
    rows = []
    for agent in answer["link"]:
        left = "-" if agent["remaining"] is None else duration(agent["remaining"])
        what = "this one" if agent["this"] else agent["link_local"]
        serves = "routers" if agent["mobile_routers"] else "hosts only"
        first, *more = agent["addresses"] or ["-"]
        rows.append([first, str(agent["preference"]), serves, left, what])
        rows += [[address, "", "", "", ""] for address in more]
    out = table(("HOME AGENT", "PREF", "SERVES", "LEFT", "FROM"), rows, elastic=4) if rows else []
    known = [
        [one["address"], one["address4"] or "-", "in use" if one["used"] else ""]
        for one in answer["router"]
    ]
    if known:
        out += [""] if out else []
        out += table(("HOME AGENT", "IPV4", "STATE"), known, elastic=2)
    return out or ["No home agents are known."]
