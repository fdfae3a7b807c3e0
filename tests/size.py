# SPDX-License-Identifier: GPL-2.0-only
"""What dsmip takes of flash, memory and time: ``make size``.

Packages are measured as they would be installed. Then daemons run without the kernel
module, in network namespaces of this machine, and the router roams: memory is the
resident size that the kernel tells, time is from the start of the process.
"""

from __future__ import annotations

import argparse
import compileall
import re
import sys
import tempfile
import time
from pathlib import Path

from package.ipk.__main__ import make
from tests.lab.kernels import ROOT
from tests.lab.pair import Pair
from tests.lab.portable import PortableTopology, hide
from tests.lab.topology import wait_for

#: What the daemon may take on x86_64 with pyroute2 and cryptography loaded.
RSS_MB, START_SECONDS = 40.0, 2.0
ROUND = (("wan0", "v6"), ("wan1", "v4"), ("wan2", "nat"))


def packages() -> None:
    """Print the size of each package, packed and installed."""
    with tempfile.TemporaryDirectory() as folder:
        made = make(Path(folder))
        index = (Path(folder) / "Packages").read_text()
        print("package                packed kB  installed kB")
        for stanza in index.strip().split("\n\n"):
            fields = dict(re.findall(r"(?m)^([\w-]+): (.*)$", stanza))
            file = next(one for one in made if one.name == fields["Filename"])
            installed = int(fields["Installed-Size"]) / 1024
            print(f"{fields['Package']:22} {file.stat().st_size / 1024:9.0f} {installed:13.0f}")


def resident(pid: int) -> float:
    """Return the resident size of a process in MB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def roam(minutes: float) -> bool:
    """Print memory and time of both daemons; tell whether they are within their bounds."""
    with PortableTopology("size", executed=True) as net:
        pair = Pair(net).start("ha")
        net.plug("wan0", "v6")
        wait_for(lambda: "2001:db8:a6:" in net.run("mr", ["ip", "-6", "addr"]), 20, "an address")
        began = time.monotonic()
        pair.launch("mr")
        wait_for(lambda: pair.router()["state"] == "Roaming", 30, "a registration", step=0.01)
        took = time.monotonic() - began
        print(f"\nfrom start to registered: {took:.2f} s")
        end, moves, worst = time.monotonic() + minutes * 60, 0, 0.0
        shown = 0.0
        print("\nminute   moves   router MB   home agent MB")
        while True:
            sizes = [resident(pair.processes[who].pid) for who in ("mr", "ha")]
            worst = max(worst, *sizes)
            left = end - time.monotonic()
            if time.monotonic() >= shown or left <= 0:
                shown = time.monotonic() + max(minutes * 6, 1)
                done = minutes - max(left, 0) / 60
                print(f"{done:6.1f} {moves:7} {sizes[0]:11.1f} {sizes[1]:15.1f}", flush=True)
            if left <= 0:
                break
            old, (new, network) = ROUND[moves % 3][0], ROUND[(moves + 1) % 3]
            net.roam(old, new, network)
            pair.settled(network)
            moves += 1
    good = True
    for what, measured, bound, unit in (
        ("resident size", worst, RSS_MB, "MB"),
        ("start to registered", took, START_SECONDS, "s"),
    ):
        met = measured <= bound
        good = good and met
        word = "met" if met else "MISSED"
        print(f"{what}, goal {bound:.0f} {unit}, measured {measured:.2f} {unit}: {word}")
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="how long the router roams")
    options = parser.parse_args()
    hide()
    packages()
    # As packages have it: compiled when they are built, not when the daemon first starts.
    compileall.compile_dir(ROOT / "pylib", quiet=2)
    if not roam(options.minutes):
        sys.exit(1)


if __name__ == "__main__":
    main()
