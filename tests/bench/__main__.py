# SPDX-License-Identifier: GPL-2.0-only
"""Forwarding cost beside plain veth, sit, FOU, ip6tnl and WireGuard.

    python -m tests.bench --kernel 6.12

The same kernel runs twice: by the clock, then counting instructions.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.lab.kernels import BUILD, Kernel, build_module, prepare
from tests.lab.kmodlib import COMPLAINT
from tests.lab.vm import Machine, parser

from . import table


def _measured(
    kernel: Kernel, module: Path, out: Path, options: list[str], icount: bool, timeout: float
) -> table.Figures:
    machine = Machine(
        kernel,
        out,
        icount=icount,
        skip_idle=icount,
        timeout=timeout,
        environment={"DSMIP_KO": str(module)},
    )
    code = machine.run(["python", "-m", "tests.bench.guest", *options])
    complaints = [line for line in machine.dmesg.splitlines() if COMPLAINT.search(line)]
    if complaints:
        print("the kernel complains:", *complaints[:20], sep="\n  ")
    if code or complaints:
        sys.exit(code or 1)
    found: table.Figures = json.loads((out / "figures.json").read_text())
    return found


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    kernel = prepare(chosen.kernel)
    module = build_module(kernel)
    out = chosen.out or BUILD.parent / "bench" / chosen.kernel
    print(f"== forwarding on {kernel.version}, {chosen.rounds} alternating rounds", flush=True)
    rounds = ["--rounds", str(chosen.rounds)]
    clock = _measured(kernel, module, out, rounds, False, chosen.timeout)
    print(table.forwarding(clock), "", table.compared(clock), "", sep="\n", flush=True)
    few = ["--rounds", "1", "--count", "2000", "--instructions"]
    counted = _measured(kernel, module, out / "icount", few, True, chosen.timeout)
    print(table.instructions(counted), "", sep="\n", flush=True)
    print(table.verdicts(table.goals(clock, counted)), "", sep="\n", flush=True)
    report = BUILD.parent / "demo" / "report.json"
    if report.exists():
        print(table.handovers(json.loads(report.read_text())))
    else:
        print("no build/demo/report.json: 'make demo' measures the handovers")
    (out / "bench.json").write_text(json.dumps({"clock": clock, "icount": counted}, indent=1))


if __name__ == "__main__":
    main()
