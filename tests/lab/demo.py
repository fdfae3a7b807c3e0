# SPDX-License-Identifier: GPL-2.0-only
"""``make demo``: the tour in a virtual machine, its results in build/demo/."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .kernels import BUILD, build_module, prepare
from .vm import Machine, parser


def _judged(capture: Path) -> str:
    """Return what tshark says of the packets between the core and the home agent."""
    command = ["tshark", "-n", "-r", str(capture), "-T", "fields", "-e", "_ws.malformed"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    bad = sum(bool(line.strip()) for line in lines)
    return f"tshark reads {len(lines)} packets, {bad or 'none'} of them malformed"


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--rtt", default="20", help="ms between core and home agent")
    chosen = options.parse_args()
    kernel = prepare(chosen.kernel)
    module = build_module(kernel)
    out = chosen.out or BUILD.parent / "demo"
    machine = Machine(kernel, out, timeout=chosen.timeout, environment={"DSMIP_KO": str(module)})
    print("starting the lab", flush=True)
    code = machine.run(["python", "-m", "tests.lab.tour", "--rtt", chosen.rtt])
    if (out / "capture.pcapng").exists():
        print(_judged(out / "capture.pcapng"))
    if code == 0:
        for name in ("timeline.svg", "capture.pcapng", "report.json"):
            print(f"  {(out / name).relative_to(BUILD.parents[1])}")
    sys.exit(code)


if __name__ == "__main__":
    main()
