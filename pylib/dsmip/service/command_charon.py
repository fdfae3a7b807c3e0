# SPDX-License-Identifier: GPL-2.0-only
"""``dsmip charon-profile``: configuration of strongSwan's charon."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..ipsec.policy import Role
from . import files
from .charon_profile import ProfileError, profile
from .config import DEFAULT_PATH, parse
from .enroll import read_values
from .options import ConfigError
from .terminal import CommandError, show, show_json, warn

_ROLES = {"router": Role.MOBILE_ROUTER, "agent": Role.HOME_AGENT}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Say what may stand behind ``dsmip charon-profile``."""
    parser.add_argument("--json", action="store_true", help="both files in one document")
    parser.add_argument("--config", default=DEFAULT_PATH, help=f"default {DEFAULT_PATH}")
    parser.add_argument("--role", choices=tuple(_ROLES), help="default: what is configured")
    parser.add_argument("--ike", type=int, choices=(1, 2), default=2, help="version, default 2")
    parser.add_argument("--every", action="store_true", help='also for routers with keys = "ikev2"')
    parser.add_argument("--output", metavar="FOLDER", help="write swanctl.conf, strongswan.conf")
    parser.add_argument("--secrets", action="store_true", help="print secrets too")
    parser.add_argument("--force", action="store_true", help="write over files that are there")


def run(options: argparse.Namespace) -> int:
    """Make and show or write them. Raises ``CommandError``."""
    source = os.path.abspath(options.config)
    try:
        values = read_values(files.read(source).decode("utf-8", "replace"), source)
        role = _ROLES.get(options.role)
        made = profile(parse(values, source), values, source, role, options.ike, options.every)
        written = []
        if options.output:
            files.folder(options.output)
            pairs = (
                ("swanctl.conf", made.swanctl, files.SECRET),
                ("strongswan.conf", made.strongswan, files.PUBLIC),
            )
            for name, text, mode in pairs:
                target = Path(options.output, name)
                files.write(target, text.encode(), mode, options.force)
                written.append(str(target))
    except ConfigError as error:
        raise CommandError("\n".join(str(fault) for fault in error.faults)) from None
    except (ProfileError, files.FileError) as error:
        raise CommandError(str(error)) from None
    warn(made.notes)
    shown = made.swanctl if options.secrets else made.masked
    if options.json:
        show_json(
            {
                "connections": made.connections,
                "swanctl": shown,
                "strongswan": made.strongswan,
                "notes": made.notes,
                "files": written,
            }
        )
    elif written:
        show(written)
    else:
        show([shown, made.strongswan.rstrip("\n")])
    return 0
