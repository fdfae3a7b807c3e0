# SPDX-License-Identifier: GPL-2.0-only
"""Debian's libreswan, as it is, inside a namespace of the lab.

Its package conflicts with charon's, so it is unpacked instead of installed; the
libraries it needs are on the list of packages in the Makefile.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from .kernels import BUILD, locked
from .topology import Topology, wait_for

_BASE = BUILD.parent / "libreswan"
#: Compiled into its programs, which call each other by it.
_HOME = Path("/usr/libexec/ipsec")

_SETUP = """\
config setup
  dumpdir={directory}
  protostack=xfrm
  dnssec-enable=no
  virtual-private=
"""


def prepare() -> Path:
    """Fetch and unpack the package, once; return where its programs are."""
    programs = _BASE / "usr" / "libexec" / "ipsec"
    with locked(_BASE.with_suffix(".lock")):
        if not (_BASE / "done").exists():
            shutil.rmtree(_BASE, ignore_errors=True)
            _BASE.mkdir(parents=True)
            print("fetching Debian's libreswan (once)", flush=True)
            _host("apt-get", "download", "libreswan")
            (package,) = _BASE.glob("libreswan_*.deb")
            _host("dpkg", "-x", str(package), ".")
            package.unlink()
            (_BASE / "done").touch()
    return programs


def _host(*command: str) -> None:
    done = subprocess.run(
        command,
        cwd=_BASE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: failed\n{done.stdout}")


class Libreswan:
    """One pluto in one namespace."""

    def __init__(self, net: Topology, namespace: str) -> None:
        self.net = net
        self.namespace = namespace
        self.name = f"pluto-{namespace}"
        self.directory = net.directory / self.name
        self.directory.mkdir(exist_ok=True)
        self.logfile = net.directory / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._socket = self.directory / "pluto.ctl"

    def start(self, connections: str, secrets: str) -> Libreswan:
        """Start it with the text of ipsec.conf's connections and of ipsec.secrets."""
        configuration = self.directory / "ipsec.conf"
        configuration.write_text(_SETUP.format(directory=self.directory) + connections)
        secrets_file = self.directory / "ipsec.secrets"
        secrets_file.write_text(secrets)
        secrets_file.chmod(0o600)
        database = self.directory / "nss"
        database.mkdir(exist_ok=True)
        self.net.run(
            self.namespace, ["certutil", "-N", "--empty-password", "-d", f"sql:{database}"]
        )
        arguments = [
            "--nofork",
            *("--config", str(configuration), "--secretsfile", str(secrets_file)),
            *("--rundir", str(self.directory), "--ipsecdir", str(self.directory)),
            *("--nssdir", str(database), "--logfile", str(self.logfile)),
        ]
        # The mount namespace that comes with the command ends with it.
        script = (
            f"mkdir -p {_HOME} && mount --bind {prepare()} {_HOME} && exec {_HOME}/pluto "
            + " ".join(arguments)
        )
        self.process = self.net.start(self.namespace, ["sh", "-c", script], log=f"{self.name}.out")

        def there() -> bool:
            assert self.process is not None
            ended = self.process.poll()
            assert ended is None, f"pluto ended with {ended}:\n{self.log()}"
            # It reads the connections by itself, then their secrets.
            return "loading secrets" in self.log()

        wait_for(there, 60, self.name)
        return self

    def whack(self, *words: str, check: bool = True) -> str:
        """Speak to it."""
        command = [str(prepare() / "whack"), "--ctlsocket", str(self._socket), *words]
        return self.net.run(self.namespace, command, check=check)

    def stop(self) -> None:
        """End it."""
        assert self.process is not None
        self.net.stop(self.process)

    def log(self) -> str:
        """Return what it has logged."""
        return self.logfile.read_text(errors="replace") if self.logfile.exists() else ""

    def states(self, connection: str) -> list[tuple[int, str]]:
        """Return number and name of the states of a connection."""
        found = re.findall(
            rf'#(\d+): "{re.escape(connection)}"\S* (?:\S+ )?(STATE_\w+)',
            self.whack("--showstates"),
        )
        return [(int(number), state) for number, state in found]
