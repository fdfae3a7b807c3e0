# SPDX-License-Identifier: GPL-2.0-only
"""``dsmip home-network``: what a DHCPv6 client has heard of home agents (RFC 6611)."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Any

from ..packet.home_network import CONTAINERS, Code, request
from .client import Client
from .terminal import CommandError, show, show_json

_PREFIX = "OPTION_"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Say what may stand behind it."""
    parser.add_argument("--json", action="store_true", help="the document itself")
    parser.add_argument(
        "option",
        nargs="*",
        metavar="CODE=HEX",
        help=f"options {', '.join(str(int(code)) for code in CONTAINERS)} of DHCPv6; "
        f"without any, those that odhcp6c puts into its script's environment",
    )
    parser.add_argument(
        "--ask", metavar="DOMAIN", help="print what odhcp6c must send, and tell the daemon nothing"
    )


def run(options: argparse.Namespace) -> int:
    """Tell the daemon. Raises ``ClientError`` and ``CommandError``."""
    if options.ask:
        codes = " ".join(f"-r {int(code)}" for code in Code)
        show([f"odhcp6c {codes} -x {int(Code.IDENTIFIER)}:{request(options.ask).hex()}"])
        return 0
    given = _given(options.option) if options.option else _environment(os.environ)
    with Client(options.socket) as client:
        answer = client.ask("home-network", options=given)
    if options.json:
        show_json(answer)
    else:
        show([f"Home agents to try: {', '.join(answer['home_agents']) or 'none'}"])
    return 0


def _given(words: list[str]) -> list[list[Any]]:
    found: list[list[Any]] = []
    for word in words:
        code, equals, text = word.partition("=")
        if not equals or not code.isdecimal():
            raise CommandError(f"'{word}' is not CODE=HEX")
        found.append([int(code), text])
    return found


def _environment(environment: Mapping[str, str]) -> list[list[Any]]:
    wanted = {f"{_PREFIX}{int(code)}": int(code) for code in CONTAINERS}
    return [[code, environment[name]] for name, code in wanted.items() if name in environment]
