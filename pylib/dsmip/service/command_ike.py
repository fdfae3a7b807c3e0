# SPDX-License-Identifier: GPL-2.0-only
"""``dsmip ike``: what IKEv2 does, and telling it what to do."""

from __future__ import annotations

import argparse
from typing import Any

from . import render_ike
from .client import Client
from .terminal import show, show_json


def arguments(parser: argparse.ArgumentParser) -> None:
    """Say what may stand behind ``dsmip ike``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, text: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=text, description=text, allow_abbrev=False)
        added.add_argument("--json", action="store_true", help="the document itself")
        return added

    status = action("status", "IKE SAs and their child SAs")
    status.add_argument("match", nargs="?", default="", help="part of a name or identity")
    initiate = action("initiate", "make an IKE SA, or anew if there is one (make before break)")
    initiate.add_argument("connection", help="name of the connection, as in the status")
    initiate.add_argument("--child", metavar="NAME", help="make this child SA only")
    for name, text in (("rekey", "new keys now"), ("terminate", "delete an IKE SA or a child SA")):
        added = action(name, text)
        added.add_argument("what", help="name of a connection, or #NUMBER as in the status")
        added.add_argument("--child", metavar="NAME", help="this child SA of the connection")


def request(options: argparse.Namespace) -> dict[str, Any]:
    """Return what is asked of the daemon."""
    if options.action == "status":
        return {"connection": options.match} if options.match else {}
    if options.action == "initiate":
        asked = {"connection": options.connection}
    else:
        number = options.what.removeprefix("#")
        if number.isascii() and number.isdigit() and options.child is None:
            return {"id": int(number)}
        asked = {"connection": options.what}
    return asked | ({"child": options.child} if options.child else {})


def run(options: argparse.Namespace) -> int:
    """Ask the daemon and show its answer. Raises ``ClientError``."""
    with Client(options.socket) as client:
        answer = client.ask(f"ike.{options.action}", **request(options))
    if options.json:
        show_json(answer)
    elif options.action == "status":
        show(render_ike.status(answer))
    else:
        show(render_ike.done(options.action, answer))
    return 0
