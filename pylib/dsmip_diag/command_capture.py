# SPDX-License-Identifier: GPL-2.0-only
"""``dsmip capture``: what is worth recording, by tcpdump."""

from __future__ import annotations

import argparse
import os
import shutil
from typing import Final

from dsmip.service.terminal import CommandError

#: Signalling and errors about it: no payload.
_SIGNALLING: Final = (
    "(ip6 and (ip6[6] == 135 or ip6[6] == 50 or ip6[6] == 60 or ip6[6] == 43)) or "
    "esp or udp port 500 or udp port 4500 or "
    "(udp port {port} and (udp[14] == 50 or udp[14] == 135 or udp[4:2] < 12)) or "
    "(ip[9] == 41 and (ip[26] == 50 or ip[26] == 135)) or "
    "icmp[0] == 3 or (ip6 and ip6[6] == 58 and "
    "(ip6[40] < 5 or (ip6[40] >= 144 and ip6[40] <= 147)))"
)
_EVERYTHING: Final = "{signalling} or udp port {port} or ip proto 41 or ip proto 4 or ip6 proto 41"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Say what may stand behind ``dsmip capture``."""
    parser.add_argument("file", nargs="?", default="-", help="default: told as a story at once")
    parser.add_argument("--interface", default="any", help='default "any"')
    parser.add_argument("--port", type=int, default=4191, help="UDP port of the tunnel")
    parser.add_argument("--seconds", type=int, default=0, help="how long, default until Ctrl-C")
    parser.add_argument("--data", action="store_true", help="payload in the tunnel too")


def command(options: argparse.Namespace) -> list[str]:
    """Return the tcpdump command."""
    rule = _SIGNALLING.format(port=options.port)
    if options.data:
        rule = _EVERYTHING.format(signalling=rule, port=options.port)
    words = ["tcpdump", "-n", "-i", options.interface, "-U", "-s", "0", "-w", options.file]
    if options.seconds:
        words = ["timeout", str(options.seconds), *words]
    return [*words, rule]


def run(options: argparse.Namespace) -> int:
    """Become tcpdump, or feed a story from it; returns the exit status."""
    if shutil.which("tcpdump") is None:
        raise CommandError("tcpdump is not there: opkg install tcpdump, or apk add tcpdump")
    words = command(options)
    if options.file != "-":
        os.execvp(words[0], words)
    import subprocess
    import sys

    from .capture import CaptureError, frames, packet
    from .dissect import look
    from .story import Story

    story = Story()
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            for frame in frames(process.stdout):
                seen = look(packet(frame), options.port)
                for line in story.take(frame.time, seen) if seen is not None else ():
                    print(line, flush=True)
        except KeyboardInterrupt:
            pass
        except CaptureError:
            print("tcpdump says nothing: root, and an interface that is there?", file=sys.stderr)
            return 1
        finally:
            process.terminate()
    for line in story.summary():
        print(line)
    return 0
