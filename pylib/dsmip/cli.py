# SPDX-License-Identifier: GPL-2.0-only
"""The ``dsmip`` command."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

# What only one command needs is imported by that command: on a small router
# each module costs more than the command itself.

_SOCKET = "/run/dsmip.sock"
_CONFIG = "/etc/dsmip.toml"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dsmip", description="Show and steer a running dsmipd.", allow_abbrev=False
    )
    parser.add_argument("--socket", default=_SOCKET, help=f"default {_SOCKET}")
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        added.add_argument("--json", action="store_true", help="the document itself")
        return added

    command("status", "how everything is")
    bindings = command("bindings", "the bindings, of the home agent and of the router itself")
    bindings.add_argument("match", nargs="?", default="", help="part of an identity or address")
    bindings.add_argument("--limit", type=_count, default=1000, help="how many, default 1000")
    command("uplinks", "the access networks, and why one is not used")
    history = command("history", "the last handovers with their phases in milliseconds")
    history.add_argument("--limit", type=_count, default=20, help="how many, default 20")
    watch = command("watch", "the status again and again")
    watch.add_argument("--interval", type=_seconds, default=1.0, help="seconds, default 1")
    watch.add_argument("--count", type=_count, help="end after so many, default never")
    handover = command("handover", "move to an uplink, or back to automatic choice")
    handover.add_argument("uplink", help='name of an uplink, or "auto"')
    command("reload", "read the configuration anew; bindings stay")
    check = command("check-config", "check a configuration without touching anything")
    check.add_argument("file", nargs="?", default=_CONFIG, help=f"default {_CONFIG}")
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("a whole number from 1")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 3600:
        raise argparse.ArgumentTypeError("0.1 to 3600 seconds")
    return value


def _print(lines: Sequence[str]) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _check_config(path: str, as_json: bool) -> int:
    from .service.config import load
    from .service.options import ConfigError

    faults: list[str] = []
    try:
        config = load(path)
    except ConfigError as error:
        faults = [str(fault) for fault in error.faults]
    if as_json:
        print(json.dumps({"file": path, "valid": not faults, "faults": faults}, indent=2))
    elif faults:
        _print([*faults, f"{len(faults)} {'mistake' if len(faults) == 1 else 'mistakes'}"])
    else:
        roles = []
        if config.mobile_router is not None:
            roles.append(f"mobile router with {len(config.mobile_router.uplinks)} uplinks")
        if config.home_agent is not None:
            roles.append(f"home agent of {len(config.home_agent.engine.owners)} routers")
        _print([f"{path}: good, {' and '.join(roles)}"])
    return 1 if faults else 0


def _ask(arguments: argparse.Namespace) -> Any:
    from .service.client import Client

    parameters: dict[str, Any] = {}
    if arguments.command == "bindings":
        parameters = {"match": arguments.match, "limit": arguments.limit}
    elif arguments.command == "history":
        parameters = {"limit": arguments.limit}
    elif arguments.command == "handover":
        parameters = {"uplink": None if arguments.uplink == "auto" else arguments.uplink}
    with Client(arguments.socket) as client:
        return client.ask(arguments.command, **parameters)


def _show(command: str, result: Any) -> None:
    from .service import render

    if command == "status":
        _print(render.status(result))
    elif command == "bindings":
        _print(render.bindings(result))
    elif command == "uplinks":
        _print(render.uplinks(result["uplinks"]))
    elif command == "history":
        _print(render.history(result["handovers"]))
    elif command == "handover":
        wish = f"prefers {result['wanted']}" if result["wanted"] else "chooses by priority"
        _print([f"The router {wish}; now {result['state']} on {result['uplink'] or 'nothing'}."])
    elif command == "reload":
        _print([f"Reloaded {result['reloaded']}."])


def _watch(arguments: argparse.Namespace) -> int:
    from .service import render
    from .service.client import Client

    with Client(arguments.socket) as client:
        results = client.watch("watch", interval=arguments.interval)
        for number, result in enumerate(results, 1):
            if arguments.json:
                print(json.dumps(result), flush=True)
            else:
                _print([render.watch_line(result)])
            if number == arguments.count:
                break
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 1 for refusals, 2 for wrong usage."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.version:
        from . import __version__

        print(f"dsmip {__version__}")
        return 0
    if arguments.command is None:
        parser.print_help()
        return 2
    if arguments.command == "check-config":
        return _check_config(arguments.file, arguments.json)
    from .service.client import ClientError

    try:
        if arguments.command == "watch":
            return _watch(arguments)
        result = _ask(arguments)
        if arguments.json:
            print(json.dumps(result, indent=2))
        else:
            _show(arguments.command, result)
    except ClientError as error:
        print(f"dsmip: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (head, less) has seen enough.
        sys.stderr.close()
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
