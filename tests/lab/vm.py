# SPDX-License-Identifier: GPL-2.0-only
"""Runs a command in a virtual machine that sees this machine's files.

    python -m tests.lab.vm --kernel 6.12 -- uname -r

The guest has the host's root file system under an overlay, so whatever is
installed here is installed there, and whatever it writes is gone afterwards, but
for what it writes to the directory ``--out`` (``$DSMIP_OUT`` there). Without a
usable KVM the machine is emulated; ``DSMIP_KVM=1`` uses KVM.
"""

from __future__ import annotations

import argparse
import compileall
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import tty
from pathlib import Path

from . import tsc
from .kernels import BUILD, NAMES, ROOT, Kernel, prepare

# A fresh /tmp must not hide these.
_NEEDED = (ROOT, Path(sys.prefix), Path(sys.base_prefix))

_INIT = """\
#!/bin/bash
export PATH={venv}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LANG=C.UTF-8 TERM={term} PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={root}
export DSMIP_OUT=/dsmip-share/out DSMIP_KERNEL={kernel} DSMIP_IN_LAB=1 {environment}
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/lock {scratch}
mount -t tmpfs -o mode=1777 tmpfs {scratch}
export TMPDIR={scratch}
{modules}
ip link set lo up
ulimit -c 0
cd {root}
setsid -c bash -c 'stty {terminal}; . /dsmip-share/command' < /dev/ttyS1 > /dev/ttyS1 2>&1
echo $? > /dsmip-share/rc
dmesg > /dsmip-share/dmesg
sync
echo o > /proc/sysrq-trigger
sleep 100
"""


class Machine:
    """One boot of a kernel.

    With ``icount`` its clock counts instructions, a nanosecond each. While it is
    idle that clock goes with the host's, so that waiting for a file of the host
    takes the time it takes; with ``skip_idle`` it leaps to the next timer.
    """

    def __init__(
        self,
        kernel: Kernel,
        out: Path,
        *,
        cpus: int = 2,
        memory: int = 2048,
        icount: bool = False,
        skip_idle: bool = False,
        timeout: float = 1200,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.kernel = kernel
        self.out = out
        self.cpus = 1 if icount else cpus
        self.memory = memory
        self.icount = icount
        self.skip_idle = skip_idle
        self.timeout = timeout
        self.environment = environment or {}
        self.dmesg = ""

    def run(self, command: list[str], interactive: bool = False) -> int:
        """Boot, run the command, return its exit code; 124 when time ran out."""
        self.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="dsmip-lab-") as name:
            share = Path(name)
            results = share / "out"
            results.mkdir()
            self._write_init(share, command, interactive)
            qemu = self._qemu(share, share / "root")
            (share / "root").mkdir()
            # Tests are compiled here once, not in every guest and much slower there.
            for tree in ("pylib", "tests"):
                compileall.compile_dir(ROOT / tree, quiet=2)
            # In a mount namespace of its own the bind mount ends with the machine.
            script = (
                f"mount --bind / {share}/root && exec setpriv --pdeathsig KILL {shlex.join(qemu)}"
            )
            machine = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
                stdin=None if interactive else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                start_new_session=not interactive,
            )
            self._watch(machine, interactive)
            if (share / "dmesg").exists():
                self.dmesg = (share / "dmesg").read_text(errors="replace")
                (self.out / "dmesg.txt").write_text(self.dmesg)
            subprocess.run(["cp", "-rT", str(results), str(self.out)], check=True)
            if (share / "rc").exists():
                return int((share / "rc").read_text())
            console = (share / "console").read_text(errors="replace")
            sys.stderr.write(f"{console}\nthe machine went down, or time ran out\n")
            self.dmesg += console
            return 124

    def _qemu(self, share: Path, root: Path) -> list[str]:
        if os.environ.get("DSMIP_KVM") == "1" and not self.icount:
            accelerator = ["-accel", "kvm", "-cpu", "host"]
        elif self.icount:
            accelerator = ["-accel", "tcg,thread=single", "-cpu", "max"]
            accelerator += ["-icount", f"shift=0,sleep={'off' if self.skip_idle else 'on'}"]
        else:
            # With a thread for each CPU an emulated one now and then runs into the
            # breakpoint by which the kernel patches its code after it was removed.
            # Emulated, copying octet by octet is slow, and so are page tables of five
            # levels: the kernel and the C library do without when they are not there.
            cpu = "max,erms=off,fsrm=off,la57=off,pku=off"
            accelerator = ["-accel", "tcg,thread=single", "-cpu", cpu]
        virtfs = "local,security_model=none,path={},mount_tag={}"
        append = "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable no_timer_check audit=0"
        # The kernel's own tests of its ciphers take seconds when emulated.
        append += " cryptomgr.notests=1"
        speed = None if self.icount else tsc.kilohertz()
        if speed is not None:
            append += f" tsc_early_khz={speed}"
        return [
            "qemu-system-x86_64",
            *("-M", "q35,usb=off"),
            *accelerator,
            *("-smp", str(self.cpus), "-m", f"{self.memory}M"),
            *("-kernel", str(self.kernel.vmlinux), "-initrd", str(self.kernel.initramfs)),
            *("-append", append),
            *("-virtfs", virtfs.format(root, "host") + ",readonly=on"),
            *("-virtfs", virtfs.format(share, "share")),
            *("-virtfs", virtfs.format(ROOT, "repository") + ",readonly=on"),
            *("-nodefaults", "-nographic", "-monitor", "none", "-no-reboot"),
            # The kernel has a console to itself, so none of it gets into the output.
            *("-serial", f"file:{share}/console"),
            *("-chardev", "stdio,id=terminal,signal=off", "-serial", "chardev:terminal"),
        ]

    def _write_init(self, share: Path, command: list[str], interactive: bool) -> None:
        size = os.get_terminal_size() if sys.stdout.isatty() else os.terminal_size((100, 40))
        lines = []
        if ROOT.stat().st_dev != Path("/").stat().st_dev:
            option = "trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro"
            lines += [
                f"mkdir -p /run/lower /run/upper/u /run/upper/w {ROOT}",
                f"mount -t 9p -o {option} repository /run/lower",
                "mount -t overlay -o lowerdir=/run/lower,upperdir=/run/upper/u,"
                f"workdir=/run/upper/w overlay {ROOT}",
            ]
        modules = self.kernel.modules
        if not str(modules).startswith("/lib/modules"):
            lines.append(f"mkdir -p /lib/modules/{self.kernel.version}")
            lines.append(f"mount --bind {modules} /lib/modules/{self.kernel.version}")
        (share / "command").write_text(shlex.join(command) + "\n")
        terminal = f"cols {size.columns} rows {size.lines} sane"
        if not interactive:
            terminal += " -echo -opost"
        scratch = "/run/tmp" if any(p.is_relative_to("/tmp") for p in _NEEDED) else "/tmp"
        environment = " ".join(f"{k}={shlex.quote(v)}" for k, v in self.environment.items())
        init = share / "init"
        init.write_text(
            _INIT.format(
                venv=ROOT / ".venv",
                term=os.environ.get("TERM", "dumb") if interactive else "dumb",
                kernel=self.kernel.name,
                environment=environment,
                modules="\n".join(lines),
                root=ROOT,
                terminal=terminal,
                scratch=scratch,
            )
        )
        init.chmod(0o755)

    def _watch(self, machine: subprocess.Popen[bytes], interactive: bool) -> None:
        assert machine.stdout is not None
        timer = threading.Timer(self.timeout, machine.kill)
        timer.daemon = True
        terminal = sys.stdin.fileno() if interactive and sys.stdin.isatty() else None
        before = termios.tcgetattr(terminal) if terminal is not None else None
        try:
            if not interactive:
                timer.start()
            if terminal is not None:
                tty.setraw(terminal)
            while chunk := os.read(machine.stdout.fileno(), 65536):
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
        except KeyboardInterrupt:
            machine.send_signal(signal.SIGTERM)
        finally:
            timer.cancel()
            if terminal is not None and before is not None:
                termios.tcsetattr(terminal, termios.TCSADRAIN, before)
            machine.wait()


def parser(description: str) -> argparse.ArgumentParser:
    """Return the options that everything which boots a machine has."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--kernel", choices=NAMES, default="6.1")
    made.add_argument("--out", type=Path)
    made.add_argument("--timeout", type=float, default=1200, help="seconds")
    return made


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--icount", action="store_true", help="count instructions, not time")
    options.add_argument("--cpus", type=int, default=2)
    options.add_argument("--interactive", action="store_true")
    options.add_argument("command", nargs="+")
    chosen = options.parse_args()
    machine = Machine(
        prepare(chosen.kernel),
        chosen.out or BUILD.parent / "run" / chosen.kernel,
        cpus=chosen.cpus,
        icount=chosen.icount,
        timeout=chosen.timeout,
    )
    sys.exit(machine.run(chosen.command, chosen.interactive))


if __name__ == "__main__":
    main()
