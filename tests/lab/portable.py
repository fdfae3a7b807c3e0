# SPDX-License-Identifier: GPL-2.0-only
"""The tour without the kernel module, on this very machine: ``make demo MODE=portable``.

Everything happens in network namespaces that nobody else sees: a private mount
namespace hides their names, and all is gone with this process. The kernel needs
namespaces, veth, bridges, TUN and nftables; root is needed for these.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from .topology import Topology, wait_for

HIDDEN = ("/run/netns", "/run/dsmip", "/tmp/lab")


def hide() -> None:
    """Run this program again where its namespaces and files are its own."""
    if os.environ.get("DSMIP_HIDDEN") == "1":
        for folder in HIDDEN:
            Path(folder).mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "lab", folder], check=True)
        return
    if os.geteuid():
        sys.exit("network namespaces need root: run it with sudo")
    # Whoever starts daemons by name gets this Python's.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    os.environ |= {"DSMIP_HIDDEN": "1", "PATH": path}
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m"]
    module = sys.modules["__main__"].__spec__
    assert module is not None
    os.execvp(command[0], [*command, module.name, *sys.argv[1:]])


class PortableTopology(Topology):
    """The standard networks where the kernel has no netem: a process delays packets."""

    def _long_link(self) -> str:
        command = [sys.executable, "-m", "tests.lab.delay", str(self.rtt_ms / 2)]
        log = (self.directory / "delay.log").open("ab")
        self.processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        log.close()
        for namespace, interface in (("core", "ha"), ("ha", "core")):
            there = ["ip", "-n", namespace, "link", "show", interface]
            wait_for(
                lambda there=there: not subprocess.run(there, capture_output=True).returncode,
                10,
                "the link to the home agent",
            )
        return "ip link set ha up\n"

    def _delay(self, interface: str) -> str:
        return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rtt", type=float, default=20, help="ms between core and home agent")
    parser.add_argument("--out", type=Path, default=Path("build/demo"))
    options = parser.parse_args()
    hide()
    from .tour import Tour

    kernel = Path("/proc/sys/kernel/osrelease").read_text().strip()

    def say(text: str) -> None:
        print(text, flush=True)

    say(f"kernel {kernel}, no kernel module: dsmipd forwards by itself, through TUN and UDP")
    began = time.monotonic()
    # While a daemon starts nothing is forwarded here, so it starts as a user's does.
    with PortableTopology("demo", rtt_ms=options.rtt, executed=True) as net:
        tour = Tour(net, say)
        try:
            tour.run()
        except BaseException:
            for who in ("ha", "mr"):
                say(f"--- log of {who}\n{net.log(who)[-3000:]}")
            raise
        tour.write(options.out, kernel)
        dead = tour.dead_flows()
    from .report import table

    say("\n" + table(tour.moves, tour.flows) + "\n")
    for name in ("timeline.svg", "capture.pcapng", "report.json"):
        say(f"  {options.out / name}")
    say(f"{time.monotonic() - began:.0f} s in all")
    if dead:
        say(f"did not survive: {', '.join(dead)}")
        sys.exit(1)
    say("all flows are alive")


if __name__ == "__main__":
    main()
