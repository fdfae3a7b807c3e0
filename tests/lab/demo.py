# SPDX-License-Identifier: GPL-2.0-only
"""``make demo``: the tour in a virtual machine, its results in build/demo/.

An emulated machine is many times slower than a real one, and slower again when
the host has other work. So its clock counts instructions, a nanosecond each:
what is measured is a processor of that speed, the same on every host. With
``--wall-clock``, and under KVM, it is the host's time.
"""

from __future__ import annotations

import os
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
    options.add_argument("--wall-clock", action="store_true", help="do not count instructions")
    options.add_argument("--secure", choices=("inside", "rfc4877"), help="payload protection")
    options.add_argument("--migrate", choices=("auto", "off"), default="auto")
    chosen = options.parse_args()
    kernel = prepare(chosen.kernel)
    module = build_module(kernel)
    out = chosen.out or BUILD.parent / "demo"
    counting = not chosen.wall_clock and os.environ.get("DSMIP_KVM") != "1"
    machine = Machine(
        kernel,
        out,
        icount=counting,
        timeout=chosen.timeout,
        environment={"DSMIP_KO": str(module)},
    )
    clock = "its clock counts instructions, a nanosecond each" if counting else "by the wall clock"
    print(f"starting the lab; {clock}", flush=True)
    command = ["python", "-m", "tests.lab.tour", "--rtt", chosen.rtt, "--migrate", chosen.migrate]
    if chosen.secure:
        command += ["--secure", chosen.secure]
    code = machine.run(command)
    if (out / "capture.pcapng").exists():
        print(_judged(out / "capture.pcapng"))
    if code == 0:
        for name in ("timeline.svg", "capture.pcapng", "report.json"):
            print(f"  {(out / name).relative_to(BUILD.parents[1])}")
    sys.exit(code)


if __name__ == "__main__":
    main()
