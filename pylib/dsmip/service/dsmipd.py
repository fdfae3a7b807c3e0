# SPDX-License-Identifier: GPL-2.0-only
"""dsmipd's command line."""

from __future__ import annotations

import argparse
import asyncio
import errno
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from .. import __version__
from ..linux.netlink import NetlinkError
from .bootstrapping import with_found
from .config import DEFAULT_PATH, LEVELS, Config, load
from .control import AlreadyRunning
from .daemon import Daemon
from .datapath import StartError
from .leases import with_given, with_lease
from .options import ConfigError
from .renumbering import with_renumbered

log = logging.getLogger("dsmipd")

_LOG_FORMATS: Final = {
    "timed": "%(asctime)s.%(msecs)03d %(levelname)s %(message)s",
    "plain": "%(levelname)s %(message)s",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run dsmipd; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="dsmipd", description="Dual-Stack Mobile IPv6 mobile router and home agent"
    )
    parser.add_argument("--config", default=DEFAULT_PATH, help=f"default {DEFAULT_PATH}")
    parser.add_argument("--log-level", choices=LEVELS, help="instead of the configured one")
    parser.add_argument(
        "--role",
        choices=("all", "ike"),
        default="all",
        help='"ike": only the connections of [[ike.connection]], for another mobility stack',
    )
    parser.add_argument(
        "--log-format",
        choices=("timed", "plain"),
        default="timed",
        help='"plain" where whoever takes the log knows the time',
    )
    parser.add_argument("--version", action="version", version=f"dsmipd {__version__}")
    arguments = parser.parse_args(argv)
    try:
        config = load(arguments.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.role == "ike":
        config = replace(config, home_agent=None, mobile_router=None, correspondent=None)
    roles = (config.home_agent, config.mobile_router, config.correspondent)
    if not any((*roles, arguments.role == "ike")):
        print(f"{arguments.config}: only [[ike.connection]] is there, run --role ike")
        return 2
    logging.basicConfig(
        level=(arguments.log_level or config.globals.log_level).upper(),
        format=_LOG_FORMATS[arguments.log_format],
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    try:
        asyncio.run(_run(config, arguments.config, arguments.role))
    except (StartError, AlreadyRunning) as error:
        log.error("%s", error)
        return 1
    except OSError as error:
        log.error("%s", error.strerror if isinstance(error, NetlinkError) else error)
        if error.errno in (errno.EPERM, errno.EACCES):
            log.error("dsmipd needs root (CAP_NET_ADMIN and CAP_NET_RAW)")
        return 1
    return 0


async def _run(config: Config, path: str, role: str) -> None:
    if role == "ike":
        from .ike_daemon import IkeDaemon

        await IkeDaemon(config, path).run()
    else:
        now = asyncio.get_running_loop().time()
        given = with_found(with_given(with_lease(config)))
        await Daemon(with_renumbered(given, now), path).run()
