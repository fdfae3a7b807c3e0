# SPDX-License-Identifier: GPL-2.0-only
"""What the commands share: printing, asking for secrets, drawing QR codes."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterable
from typing import Any

from . import files, printable
from .printable import Frame


class CommandError(Exception):
    """A command cannot do what it is asked; the text is for the operator."""


def show(lines: Iterable[str]) -> None:
    """Print lines."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def show_json(document: Any) -> None:
    """Print a document."""
    show([json.dumps(document, indent=2)])


def say(options: argparse.Namespace, *lines: str) -> None:
    """Print lines for people, unless ``--json`` asks for a document alone."""
    if not options.json:
        show(lines)


def warn(lines: Iterable[str]) -> None:
    """Print warnings where they do not mix with what a command gives."""
    sys.stdout.flush()
    for line in lines:
        print(f"warning: {line}", file=sys.stderr, flush=True)


def draw(frame: Frame) -> list[str]:
    """Return a frame as a QR code for this terminal.

    Raises ``CommandError`` when it is too large for it, and what ``printable`` raises.
    """
    modules = printable.matrix(printable.compact(frame))
    columns = shutil.get_terminal_size((80, 24)).columns
    if len(modules) > columns:
        raise CommandError(
            f"the QR code is {len(modules)} columns wide and the terminal {columns}: "
            "use --svg FILE, or a wider terminal"
        )
    return printable.terminal(modules, colour=sys.stdout.isatty())


def write_svg(frame: Frame, path: str, force: bool) -> None:
    """Write a frame as a QR code in an SVG file, which is as secret as what it holds."""
    text = printable.svg(printable.matrix(printable.compact(frame)))
    files.write(path, text.encode(), files.SECRET, force)


def secret_input(argument: str | None, what: str) -> str:
    """Return a text that should not stand in a command line.

    "-" or nothing reads standard input up to an empty line or its end, "@FILE"
    a file. Raises ``CommandError`` and ``FileError``.
    """
    if argument and argument.startswith("@"):
        return files.read(argument[1:]).decode("utf-8", "replace")
    if argument and argument != "-":
        return argument
    if sys.stdin.isatty():
        print(f"Paste {what}, then press Enter on an empty line:", file=sys.stderr, flush=True)
    lines: list[str] = []
    for line in sys.stdin:
        if not line.strip() and lines:
            break
        lines.append(line)
    if not "".join(lines).strip():
        raise CommandError(f"standard input has no {what}")
    return "".join(lines)


def password(path: str | None) -> bytes | None:
    """Return what opens an encrypted key: the first line of a file. Raises ``FileError``."""
    if path is None:
        return None
    return files.read(path).split(b"\n", 1)[0].rstrip(b"\r")


def absolute(path: str) -> str:
    """Return a path as a configuration elsewhere should name it."""
    return os.path.abspath(path)
