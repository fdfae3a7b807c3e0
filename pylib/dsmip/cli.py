# SPDX-License-Identifier: GPL-2.0-only
"""The ``dsmip`` command."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from typing import Any

# What only one command needs is imported by that command: on a small router
# each module costs more than the command itself.

_SOCKET = "/var/run/dsmip.sock"
_CONFIG = "/etc/dsmip.toml"
_UCI = "/etc/config/dsmip"
#: Commands that have a module of their own in ``service``, and what they are for.
_OWN = {
    "ike": "IKE SAs: status, initiate, rekey, terminate",
    "keys": "generate, issue, revoke, import, export secrets, keys and certificates",
    "enroll": "a router in one step: a token at the home agent, a configuration at the router",
    "charon-profile": "configuration of strongSwan's charon for the same keys",
    "home-agents": "the home agents of the home link, and those that the router knows",
    "home-network": "what DHCPv6 of an access network tells of home agents (router)",
    "revoke": "end a router's binding, or a part of it (home agent)",
    "pause": "use an uplink no more, until told otherwise (router)",
    "resume": "use an uplink again (router)",
    "test-failover": "do without an uplink for some seconds, and show the gap (router)",
    "samples": "what each uplink carried in the last five minutes, or the last day (router)",
    "audit": "who got which prefix when (home agent)",
    "switch": "send a router to other home agents (home agent; or at the router itself)",
}
#: Modules of several commands.
_SHARED = {
    "home-agents": "agents",
    "revoke": "agents",
    "switch": "agents",
    "pause": "hold",
    "resume": "hold",
    "test-failover": "hold",
    "samples": "records",
    "audit": "records",
}
#: Commands of another package, dsmip-diag.
_DIAGNOSIS = {
    "decode": "a capture told as a story (package dsmip-diag)",
    "capture": "record signalling, or tell it as it comes (package dsmip-diag)",
    "doctor": "what is wrong with this machine, and what to do (package dsmip-diag)",
}


def _module(command: str) -> Any:
    name = _SHARED.get(command, command.split("-")[0])
    package = "dsmip_diag" if command in _DIAGNOSIS else f"{__package__}.service"
    return importlib.import_module(f"{package}.command_{name}")


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
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
    bindings.add_argument(
        "--absent", action="store_true", help="routers that are not registered (home agent)"
    )
    bindings.add_argument("--limit", type=_count, default=1000, help="how many, default 1000")
    command("uplinks", "the access networks, and why one is not used")
    history = command("history", "the last handovers with their phases in milliseconds")
    history.add_argument("--limit", type=_count, default=20, help="how many, default 20")
    watch = command("watch", "the status again and again")
    watch.add_argument("--interval", type=_seconds, default=1.0, help="seconds, default 1")
    watch.add_argument("--count", type=_count, help="end after so many, default never")
    handover = command("handover", "move to an uplink, or back to automatic choice")
    handover.add_argument("uplink", help='name of an uplink, or "auto"')
    optimise = command("optimise", "reach a correspondent directly, without the home agent")
    optimise.add_argument("correspondent", help="its IPv6 address")
    optimise.add_argument("--off", action="store_true", help="by the home agent again")
    command("reload", "read the configuration anew; bindings stay")
    command("netifd", "have netifd told of the tunnel again (OpenWrt's protocol handler)")
    check = command("check-config", "check a configuration without touching anything")
    check.add_argument("file", nargs="?", help=f"default {_CONFIG}, with --uci {_UCI}")
    check.add_argument("--uci", action="store_true", help="the file is OpenWrt's, not TOML")
    for name, text in (_OWN | _DIAGNOSIS).items():
        added = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        if name in words:
            shared = (name,) if name in _SHARED else ()
            try:
                _module(name).arguments(added, *shared)
            except ModuleNotFoundError as error:
                if name not in _DIAGNOSIS or error.name != "dsmip_diag":
                    raise
                added.error("install package dsmip-diag")
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


def _number(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _check_config(path: str, as_json: bool, uci: bool) -> int:
    from .service.config import load
    from .service.options import ConfigError

    faults: list[str] = []
    warnings: list[str] = []
    try:
        config = load(path, True if uci else None)
    except ConfigError as error:
        faults = [str(fault) for fault in error.faults]
    else:
        from .service.advice import warnings_of

        warnings = warnings_of(config, path)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    if as_json:
        document = {"file": path, "valid": not faults, "faults": faults, "warnings": warnings}
        print(json.dumps(document, indent=2))
    elif faults:
        _print([*faults, _number(len(faults), "mistake")])
    else:
        roles = []
        if config.mobile_router is not None:
            uplinks = _number(len(config.mobile_router.uplinks), "uplink")
            roles.append(f"mobile router with {uplinks}")
        if config.home_agent is not None:
            roles.append(f"home agent of {_number(len(config.home_agent.engine.owners), 'router')}")
        if config.correspondent is not None:
            roles.append("correspondent")
        if config.ike.connections:
            roles.append(f"IKEv2 with {_number(len(config.ike.connections), 'connection')}")
        good = f"{path}: good, {' and '.join(roles)}"
        if warnings:
            good += f"; {_number(len(warnings), 'warning')}"
        _print([good])
    return 1 if faults else 0


def _ask(arguments: argparse.Namespace) -> Any:
    from .service.client import Client

    parameters: dict[str, Any] = {}
    name = arguments.command
    if name == "bindings" and arguments.absent:
        name, parameters = "absent", {"limit": arguments.limit}
    elif name == "bindings":
        parameters = {"match": arguments.match, "limit": arguments.limit}
    elif arguments.command == "history":
        parameters = {"limit": arguments.limit}
    elif arguments.command == "optimise":
        parameters = {"correspondent": arguments.correspondent, "on": not arguments.off}
    elif arguments.command == "handover":
        parameters = {"uplink": None if arguments.uplink == "auto" else arguments.uplink}
    with Client(arguments.socket) as client:
        return client.ask(name, **parameters)


def _show(command: str, result: Any) -> None:
    from .service import render

    if command == "status":
        lines = render.status(result)
        if result.get("ike"):
            from .service import render_ike

            lines += render_ike.summary(result["ike"])
        if result.get("route_optimisation") or result.get("correspondent"):
            from .service import render_direct

            lines += render_direct.summary(result)
        _print(lines)
    elif command == "bindings":
        _print(render.absent(result) if "routers" in result else render.bindings(result))
    elif command == "uplinks":
        _print(render.uplinks(result["uplinks"], result.get("flows", ())))
    elif command == "history":
        _print(render.history(result["handovers"]))
    elif command == "handover":
        wish = f"prefers {result['wanted']}" if result["wanted"] else "chooses by priority"
        _print([f"The router {wish}; now {result['state']} on {result['uplink'] or 'nothing'}."])
    elif command == "netifd":
        _print([f"Interfaces: {', '.join(result['interfaces']) or 'none'}"])
    elif command == "optimise":
        from .service import render_direct

        _print([render_direct.optimised(result)])
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


def _own(arguments: argparse.Namespace) -> int:
    from .service.client import ClientError
    from .service.terminal import CommandError

    try:
        status: int = _module(arguments.command).run(arguments)
        return status
    except (ClientError, CommandError) as error:
        print(f"dsmip: {error}", file=sys.stderr)
        return 1


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command in _OWN or arguments.command in _DIAGNOSIS:
        return _own(arguments)
    if arguments.command == "check-config":
        path = arguments.file or (_UCI if arguments.uci else _CONFIG)
        return _check_config(path, arguments.json, arguments.uci)
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
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 1 for refusals, 2 for wrong usage."""
    words = sys.argv[1:] if argv is None else argv
    parser = _parser(words)
    arguments = parser.parse_args(words)
    if arguments.version:
        from . import __version__

        print(f"dsmip {__version__}")
        return 0
    if arguments.command is None:
        parser.print_help()
        return 2
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (head, less) has seen enough.
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main())
