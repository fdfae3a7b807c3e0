# SPDX-License-Identifier: GPL-2.0-only
"""``dsmip decode``: a capture as a story."""

from __future__ import annotations

import argparse
import sys

from dsmip.ipsec.esp import EspTransport
from dsmip.ipsec.policy import associations, signalling_row
from dsmip.service.config import load
from dsmip.service.options import ConfigError
from dsmip.service.terminal import CommandError

from . import capture
from .dissect import Address, Keys, look
from .story import Story


def arguments(parser: argparse.ArgumentParser) -> None:
    """Say what may stand behind ``dsmip decode``."""
    parser.add_argument("file", help="pcap or pcapng; - reads standard input")
    parser.add_argument("--port", type=int, default=4191, help="UDP port of the tunnel")
    parser.add_argument(
        "--config", help="a configuration whose static keys open signalling that ESP protects"
    )


def keys_of(path: str | None) -> Keys:
    """Return the static keys of a configuration. Raises ``CommandError``."""
    if path is None:
        return Keys()
    try:
        config = load(path)
    except ConfigError as error:
        raise CommandError(str(error)) from None
    found: dict[tuple[Address, int], EspTransport] = {}
    for section in (config.home_agent, config.mobile_router):
        for row in section.rows if section is not None else ():
            if row.keys is None:
                continue
            signalling = signalling_row(row.home_address, row.agent, 0)
            for one in associations(signalling, row.keys):
                found[one.destination, one.spi] = EspTransport(one)
    return Keys(found)


def run(options: argparse.Namespace) -> int:
    """Print the story; returns the exit status."""
    keys = keys_of(options.config)
    story = Story()
    try:
        file = sys.stdin.buffer if options.file == "-" else open(options.file, "rb")  # noqa: SIM115
        with file:
            for frame in capture.frames(file):
                data = capture.packet(frame)
                seen = look(data, options.port, keys) if data else None
                if seen is None or seen.what == "other":
                    continue
                for line in story.take(frame.time, seen):
                    print(line, flush=options.file == "-")
    except OSError as error:
        raise CommandError(f"{options.file} cannot be read: {error.strerror or error}") from None
    except capture.CaptureError as error:
        raise CommandError(f"{options.file}: {error}") from None
    print()
    for line in story.summary():
        print(line)
    return 0
