# SPDX-License-Identifier: GPL-2.0-only
"""Python programs in namespaces without the seconds that their imports take.

An emulated machine needs four seconds to import what the daemon is made of, and
the scenarios start it hundreds of times: a child of the process that has it all
imported runs the same ``main`` at once. Otherwise it is what ``ip netns exec``
makes: network and mount namespace, ``/sys``, ``/etc/netns``, output, signals.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import logging
import os
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from .kmodlib import CLONE_NEWNET

_CLONE_NEWNS = 0x20000
_MS_BIND, _MS_REC, _MS_SLAVE, _MNT_DETACH = 0x1000, 0x4000, 0x80000, 2
_libc = ctypes.CDLL(None, use_errno=True)

#: What programs import only when they need it, most of it cryptography.
_LATER = (
    "dsmip.cli",
    "dsmip.service.dsmipd",
    "dsmip.service.ike_build",
    "dsmip.service.ike_open",
    "dsmip.service.ike_host",
    "dsmip.service.ike_control",
    "dsmip.service.external",
    "dsmip.service.render",
    "dsmip.service.render_ike",
)


class Forked:
    """A running program; the part of ``subprocess.Popen`` that the lab uses."""

    def __init__(
        self,
        namespace: str,
        module: str,
        arguments: Sequence[str],
        output: int,
        environment: Mapping[str, str],
    ) -> None:
        self.args = [module, *arguments]
        self.returncode: int | None = None
        for name in _LATER:
            importlib.import_module(name)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 70
            try:
                _enter(namespace, output)
                os.environ.update(environment)
                code = _run(module, arguments)
            except BaseException:
                traceback.print_exc()
            finally:
                with contextlib.suppress(OSError, ValueError):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(code)

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Raises ``subprocess.TimeoutExpired``."""
        end = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if end is not None and time.monotonic() >= end:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            time.sleep(0.02)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def _enter(namespace: str, output: int) -> None:
    """Become a process of its own in the namespace, with nothing of the parent's state."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.set_wakeup_fd(-1)
    # What the parent left as garbage must not be collected here: a socket in it would
    # close a descriptor that has become the program's.
    gc.freeze()
    null = os.open("/dev/null", os.O_RDWR)
    for target, source in ((0, null), (1, output), (2, output)):
        os.dup2(source, target)
    os.closerange(3, 4096)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", buffering=1, closefd=False)
    logging.root.handlers.clear()
    logging.root.setLevel(logging.WARNING)
    logging.disable(logging.NOTSET)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    _check(_libc.setns(there, CLONE_NEWNET), f"setns {namespace}")
    os.close(there)
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    _check(_libc.mount(b"", b"/", b"none", _MS_SLAVE | _MS_REC, None), "mount /")
    _libc.umount2(b"/sys", _MNT_DETACH)
    _check(_libc.mount(namespace.encode(), b"/sys", b"sysfs", 0, None), "mount /sys")
    for file in Path("/etc/netns", namespace).glob("*"):
        target = f"/etc/{file.name}".encode()
        _check(_libc.mount(str(file).encode(), target, b"none", _MS_BIND, None), file.name)


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _run(module: str, arguments: Sequence[str]) -> int:
    sys.argv = [module, *arguments]
    loaded = sys.modules.get(module)
    try:
        if loaded is None:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            return 0
        return int(loaded.main() or 0)
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
            return 1
        return int(ended.code or 0)
    except KeyboardInterrupt:
        return 130
