# SPDX-License-Identifier: GPL-2.0-only
"""Runs the lab's scenarios with pytest inside one boot of a kernel.

    python -m tests.lab --kernel 6.12 -k nat

Everything else on the command line is pytest's. What a failing scenario leaves
behind is in build/lab/KERNEL/.
"""

from __future__ import annotations

import re
import sys

from .kernels import BUILD, build_module, prepare
from .vm import Machine, parser

_COMPLAINT = re.compile(r"WARNING:|BUG:|Oops|Call Trace|general protection|refcount_t|leaked")


def main() -> None:
    options = parser(__doc__ or "")
    options.set_defaults(timeout=2400)
    options.add_argument("--cpus", type=int, default=2)
    chosen, arguments = options.parse_known_args()
    kernel = prepare(chosen.kernel)
    module = build_module(kernel)
    machine = Machine(
        kernel,
        chosen.out or BUILD.parent / "lab" / chosen.kernel,
        timeout=chosen.timeout,
        cpus=chosen.cpus,
        environment={"DSMIP_KO": str(module)},
    )
    print(f"== lab on {kernel.version}", flush=True)
    if not any(not argument.startswith("-") for argument in arguments):
        arguments = ["tests/lab", *arguments]
    code = machine.run(["python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments])
    complaints = [line for line in machine.dmesg.splitlines() if _COMPLAINT.search(line)]
    if complaints:
        print("the kernel complains:", *complaints[:20], sep="\n  ")
    sys.exit(code or (1 if complaints else 0))


if __name__ == "__main__":
    main()
