# SPDX-License-Identifier: GPL-2.0-only
"""``make demo``: the tour in a virtual machine, its results in build/demo/."""

from __future__ import annotations

import sys

from .kernels import BUILD, build_module, prepare
from .vm import Machine, parser


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
    if code == 0:
        for name in ("timeline.svg", "capture.pcapng", "report.json"):
            print(f"  {(out / name).relative_to(BUILD.parents[1])}")
    sys.exit(code)


if __name__ == "__main__":
    main()
