# SPDX-License-Identifier: GPL-2.0-only
"""Runs the lab's scenarios with pytest inside one boot of a kernel.

    python -m tests.lab --kernel 6.12 -k nat

Everything else on the command line is pytest's. What a failing scenario leaves
behind is in build/lab/KERNEL/.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

from . import libreswan
from .kernels import BUILD, build_module, prepare
from .vm import Machine, parser

#: Scenarios about programs, about XFRM or the lab itself, which a kernel changes little,
#: run on one of them, so that the machines share the work.
ONE_KERNEL = {
    "test_topology.py": "6.1",
    "test_interop_charon.py": "6.1",
    "test_interop_libreswan.py": "6.1",
    "test_xfrm.py": "6.1",
    "test_home_link.py": "6.1",
    "test_discovery.py": "6.1",
    "test_correspondent.py": "6.12",
    "test_ikev2.py": "6.12",
    "test_external.py": "6.12",
    "test_strict.py": "6.12",
    "test_bootstrap.py": "6.12",
    "test_multihoming.py": "6.12",
    "test_prefixes.py": "6.12",
    "test_access_routers.py": "6.1",
    "test_configured.py": "6.1",
    "test_operator.py": "6.1",
}
_COMPLAINT = re.compile(r"WARNING:|BUG:|Oops|Call Trace|general protection|refcount_t|leaked")


def _compile(arguments: list[str]) -> None:
    """Have pytest compile the scenarios here; an emulated machine takes long for it."""
    environment = os.environ | {"DSMIP_IN_LAB": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run(
        [sys.executable, *arguments, "--collect-only"],
        env=environment,
        stdout=subprocess.DEVNULL,
        check=False,
    )


def main() -> None:
    options = parser(__doc__ or "")
    options.set_defaults(timeout=2400)
    options.add_argument("--cpus", type=int, default=2)
    chosen, arguments = options.parse_known_args()
    kernel = prepare(chosen.kernel)
    module = build_module(kernel)
    libreswan.prepare()
    machine = Machine(
        kernel,
        chosen.out or BUILD.parent / "lab" / chosen.kernel,
        timeout=chosen.timeout,
        cpus=chosen.cpus,
        environment={"DSMIP_KO": str(module), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    print(f"== lab on {kernel.version}", flush=True)
    if not any(argument.startswith("tests") for argument in arguments):
        elsewhere = [name for name, where in ONE_KERNEL.items() if where != chosen.kernel]
        for name in elsewhere:
            print(f"   {name}: on {ONE_KERNEL[name]}")
        ignored = [f"--ignore=tests/lab/{name}" for name in elsewhere]
        arguments = ["tests/lab", *ignored, *arguments]
    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    _compile(pytest)
    code = machine.run(["python", *pytest])
    complaints = [line for line in machine.dmesg.splitlines() if _COMPLAINT.search(line)]
    if complaints:
        print("the kernel complains:", *complaints[:20], sep="\n  ")
    sys.exit(code or (1 if complaints else 0))


if __name__ == "__main__":
    main()
