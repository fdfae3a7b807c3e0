# SPDX-License-Identifier: GPL-2.0-only
"""``dsmip enroll``: a router in one step."""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

from . import files, printable, uci, uci_write
from . import options as o
from .advice import readable
from .authority import DEFAULT_FOLDER
from .client import Client
from .config import DEFAULT_PATH, parse
from .credentials import KINDS, CredentialError
from .enroll import (
    TOKEN_DAYS,
    EnrollError,
    Enrolment,
    NewFile,
    Wish,
    again,
    check,
    configuration,
    enroll,
    lan_now,
    read_uci,
    read_values,
    uplinks_now,
)
from .enrolling import keep, read_agent, remove_all, write_all
from .ike_config import Authentication, Manager, Payload
from .options import ConfigError, Refused
from .printable import PrintableError, QrMissing
from .terminal import CommandError, draw, say, secret_input, show, show_json, warn, write_svg
from .token import Token, TokenError, check_time, frame, read

UCI_PATH = "/etc/config/dsmip"
_AUTH = (Authentication.PSK, Authentication.PUBLIC_KEY, Authentication.CERTIFICATE)


def _reader(read_value: Any) -> Any:
    def convert(text: str) -> Any:
        try:
            return read_value(text)
        except Refused as refused:
            raise argparse.ArgumentTypeError(f"{text!r}: allowed is {refused}") from None

    return convert


def _home_address(text: str) -> Any:
    return text if text == "auto" else o.address6(text)


def _home_address4(text: str) -> Any:
    return text if text == "pool" else o.address4(text)


def _pool(text: str) -> Any:
    return o.prefix(text)


def _days(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3650:
        raise argparse.ArgumentTypeError("more than 0 and at most 3650 days")
    return value


def arguments(parser: argparse.ArgumentParser) -> None:
    """Say what may stand behind ``dsmip enroll``."""
    parser.add_argument("--json", action="store_true", help="what was done, as a document")
    parser.add_argument("--force", action="store_true", help="write over files that are there")
    parser.add_argument(
        "--directory",
        default=DEFAULT_FOLDER,
        help=f"of keys, certificates and the authority, default {DEFAULT_FOLDER}",
    )
    here = parser.add_argument_group("at the home agent")
    here.add_argument("identity", nargs="?", help="the router's name, such as bus-17.example.net")
    here.add_argument("--config", default=DEFAULT_PATH, help=f"default {DEFAULT_PATH}")
    here.add_argument(
        "--home-address", type=_reader(_home_address), help='or "auto"; default: a free one'
    )
    here.add_argument(
        "--home-address4", type=_reader(_home_address4), help='or "pool"; default: as there is one'
    )
    here.add_argument(
        "--prefix", action="append", default=[], type=_reader(o.prefix), help="for its LAN"
    )
    here.add_argument(
        "--prefix-from",
        action="append",
        default=[],
        type=_reader(_pool),
        metavar="POOL",
        help="the first prefix in here that nobody has",
    )
    here.add_argument("--prefix-length", type=_reader(_length), help="of that prefix")
    here.add_argument(
        "--keys",
        choices=("ikev2", "external", "static"),
        help="who makes keys, default ikev2; with --token external is possible too",
    )
    here.add_argument("--auth", choices=[str(a) for a in _AUTH], default="psk", help="default psk")
    here.add_argument("--type", choices=KINDS, default="", help="of the router's key")
    here.add_argument("--payload", choices=[str(p) for p in Payload], default="none")
    here.add_argument(
        "--valid", type=_days, default=TOKEN_DAYS, metavar="DAYS", help="of the token"
    )
    here.add_argument("--again", action="store_true", help="another token for an enrolled router")
    here.add_argument("--print-only", action="store_true", help="print the entry only")
    here.add_argument("--reload", action="store_true", help="tell the running daemon")
    here.add_argument("--no-qr", action="store_true", help="no QR code")
    here.add_argument("--svg", metavar="FILE", help="the QR code in a file")
    there = parser.add_argument_group("at the router")
    there.add_argument(
        "--token",
        nargs="*",
        metavar="TOKEN",
        help="the token; nothing or - reads it, @FILE reads a file",
    )
    there.add_argument("--output", help=f"default {DEFAULT_PATH}, with --uci {UCI_PATH}")
    there.add_argument(
        "--uci",
        action="store_true",
        help="add sections to OpenWrt's configuration; with --print-only only show them",
    )
    there.add_argument(
        "--uplink",
        action="append",
        default=[],
        type=_reader(o.interface),
        help="in order of preference; default: what has a default route now",
    )
    there.add_argument("--lan", action="append", type=_reader(o.interface), help="default br-lan")


def _length(text: str) -> int:
    try:
        return o.integer(1, 128)(int(text))
    except ValueError:
        raise argparse.ArgumentTypeError("1 to 128") from None


def run(options: argparse.Namespace) -> int:
    """Do it. Raises ``CommandError`` and ``ClientError``."""
    if (options.token is None) == (options.identity is None):
        raise CommandError("give the name of a router (at the home agent), or --token (there)")
    try:
        document = _at_router(options) if options.identity is None else _at_agent(options)
    except ConfigError as error:
        raise CommandError("\n".join(str(fault) for fault in error.faults)) from None
    except (
        EnrollError,
        TokenError,
        CredentialError,
        PrintableError,
        QrMissing,
        files.FileError,
    ) as error:
        raise CommandError(str(error)) from None
    if options.json:
        show_json(document)
    return 0


# --- at the home agent -----------------------------------------------------------


def _at_agent(options: argparse.Namespace) -> dict[str, Any]:
    now = time.time()
    agent = read_agent(options.config)
    wish = Wish(
        identity=options.identity,
        home_address=options.home_address,
        home_address4=options.home_address4,
        prefixes=tuple(options.prefix),
        prefix_pools=tuple(options.prefix_from),
        prefix_length=options.prefix_length,
        manager=Manager(options.keys or Manager.IKEV2),
        authentication=Authentication(options.auth),
        payload=Payload(options.payload),
        kind=options.type,
        directory=options.directory,
        valid=options.valid * 86400,
    )
    made = again(agent, wish, now) if options.again else enroll(agent, wish, now)
    document = keep(
        agent,
        made,
        options.directory,
        options.force or options.again,
        write=not options.print_only,
    )
    if document["config"]:
        warn(readable(options.config))
    _tell(options, made)
    if options.reload:
        with Client(options.socket) as client:
            client.ask("reload")
        say(options, "The running daemon knows it.")
    return document


def _tell(options: argparse.Namespace, made: Enrolment) -> None:
    if options.json:
        if options.svg:
            write_svg(frame(made.token), options.svg, options.force)
        return
    token = made.token
    where = f"home address {token.home_address or 'from IKE'}"
    networks = ", ".join(str(prefix) for prefix in token.prefixes)
    show([f"{token.identity}: {where}" + (f", prefixes {networks}" if networks else "")])
    if options.print_only and made.entry:
        show(["", f"For {options.config}:", "", made.entry.rstrip("\n")])
    elif made.entry:
        hint = "" if options.reload else ' ("dsmip reload" makes it known)'
        show([f"Its entry is in {options.config} now{hint}."])
    until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(token.expires))
    show(["", f"Token, good until {until}. It holds the router's secret.", ""])
    printed = frame(token)
    show(printable.lines(printed, 12))
    if options.svg:
        write_svg(printed, options.svg, options.force)
        show(["", f"As a QR code: {options.svg}"])
    if not options.no_qr:
        try:
            show(["", *draw(printed)])
        except (QrMissing, CommandError, PrintableError) as error:
            warn([str(error)])
    show(["", "At the router:  dsmip enroll --token"])


# --- at the router ---------------------------------------------------------------


def _at_router(options: argparse.Namespace) -> dict[str, Any]:
    word = options.token[0] if len(options.token) == 1 else " ".join(options.token)
    token = read(secret_input(word, "the token"))
    check_time(token, time.time())
    uplinks = options.uplink or uplinks_now()
    # LuCI asks for them, by the names that netifd has.
    if not uplinks and not (options.uci and options.print_only):
        raise CommandError("no interface has a default route: name the uplinks with --uplink")
    lan = options.lan if options.lan is not None else lan_now()
    lan = [name for name in lan if name not in uplinks or options.lan is not None]
    manager = Manager(options.keys) if options.keys else None
    text, made = configuration(token, uplinks, lan, options.directory, manager)
    if options.uci:
        return _at_openwrt(options, token, text, made)
    options.output = options.output or DEFAULT_PATH
    if os.path.lexists(options.output) and not options.force:
        raise CommandError(f"{options.output} is there already: --force writes over it")
    new = write_all(made, options.directory, options.force)
    try:
        check(text, os.path.abspath(options.output))
        files.write(options.output, text.encode(), files.SECRET, options.force)
    except (ConfigError, files.FileError):
        remove_all(new)
        raise
    say(options, *_welcome(options, token, uplinks, lan))
    return {
        "identity": token.identity,
        "config": options.output,
        "files": [one.path for one in made],
        "uplinks": uplinks,
        "lan": lan,
    }


def _at_openwrt(
    options: argparse.Namespace, token: Token, text: str, made: tuple[NewFile, ...]
) -> dict[str, Any]:
    output = options.output or UCI_PATH
    before = files.read(output).decode("utf-8", "replace") if os.path.lexists(output) else ""
    try:
        sections = uci.parse_sections(before)
    except uci.UciError as error:
        raise CommandError(f"{output} is not UCI: {error}") from None
    if any(one.kind == "mobile_router" for one in sections) and not options.print_only:
        raise CommandError(f"{output} has a mobile router already: delete its sections first")
    pieces = uci_write.router(read_values(text, output))
    new = write_all(made, options.directory, options.force)
    if options.print_only:
        say(options, uci_write.text_of(pieces))
    else:
        whole = before + ("" if before.endswith("\n") or not before else "\n")
        whole += uci_write.text_of(pieces)
        try:
            parse(read_uci(whole, output), output)
            files.write(output, whole.encode(), files.SECRET, force=True)
        except (ConfigError, files.FileError):
            remove_all(new)
            raise
        say(options, f"{output} has it; enable the service: uci set dsmip.globals.enabled=1")
    return {
        "identity": token.identity,
        "config": None if options.print_only else output,
        "files": [one.path for one in made],
        "sections": [piece.document() for piece in pieces],
    }


def _welcome(
    options: argparse.Namespace, token: Token, uplinks: list[str], lan: list[str]
) -> list[str]:
    agents = ", ".join(str(address) for address in token.agents)
    networks = ", ".join(str(prefix) for prefix in token.prefixes) or "none"
    return [
        f"{options.output} is written and complete.",
        f"  identity         {token.identity}",
        f"  home agent       {agents}",
        f"  home address     {token.home_address or 'from IKE'}",
        f"  mobile networks  {networks}",
        f"  uplinks          {', '.join(uplinks)}",
        f"  LAN              {', '.join(lan) or 'none'}",
        "Start dsmipd, then dsmip status shows how it is.",
    ]
