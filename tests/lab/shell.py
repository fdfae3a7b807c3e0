# SPDX-License-Identifier: GPL-2.0-only
"""A shell inside the lab: the standard topology, both daemons, the router in the v6 network.

Type ``net.roam("wan0", "wan1", "v4")`` or ``print(net.dsmip("mr", "status"))``;
``sh("mr")`` opens a shell in a namespace, Ctrl-D ends it all.
"""

from __future__ import annotations

import code
import subprocess
import sys

from .kernels import BUILD, build_module, prepare
from .kmodlib import load_module
from .pair import Pair
from .topology import Topology
from .vm import Machine, parser


def inside() -> None:
    """Be that shell, in the guest."""
    load_module()
    print("bringing up the networks and both daemons", flush=True)
    with Topology("shell", executed=True) as net:
        pair = Pair(net).start()
        net.plug("wan0", "v6")
        pair.settled("v6")

        def sh(namespace: str = "mr") -> None:
            subprocess.run(["ip", "netns", "exec", namespace, "bash", "-i"], check=False)

        code.interact(__doc__, local={"net": net, "pair": pair, "sh": sh}, exitmsg="")


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--inside", action="store_true", help="we are in the guest")
    chosen = options.parse_args()
    if chosen.inside:
        inside()
        return
    kernel = prepare(chosen.kernel)
    module = build_module(kernel)
    out = chosen.out or BUILD.parent / "shell"
    machine = Machine(kernel, out, environment={"DSMIP_KO": str(module)})
    command = ["python", "-m", "tests.lab.shell", "--inside"]
    sys.exit(machine.run(command, interactive=True))


if __name__ == "__main__":
    main()
