# SPDX-License-Identifier: GPL-2.0-only
"""Debian's charon, as it is, inside namespaces of the lab.

``charon-systemd`` runs in the foreground without systemd, has no pid file and
takes its vici socket from its configuration, so several live side by side.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from .topology import Topology, wait_for
from .vici import Vici, ViciError

#: Order matters only for kernel backends, of which there is one.
PLUGINS = (
    "random nonce drbg openssl hmac kdf sha1 sha2 aes gcm chapoly curve25519 gmp pem pkcs1 pkcs8 "
    "pubkey x509 constraints revocation eap-identity eap-mschapv2 eap-md5 eap-tls "
    "kernel-netlink socket-default vici updown"
)

_SETTINGS = """\
charon-systemd {{
  load = {plugins}
  install_routes = no
  install_virtual_ip = no
  retransmit_tries = 4
  retransmit_timeout = 2
  {more}
  plugins {{
    vici {{
      socket = unix://{socket}
    }}
    {plugin_settings}
  }}
  journal {{
    default = -1
  }}
  filelog {{
    scenario {{
      path = {log}
      append = yes
      flush_line = yes
      time_format = %H:%M:%S
      time_add_ms = yes
      default = 1
      {levels}
    }}
  }}
}}
swanctl {{
  load = random openssl pem pkcs1 pkcs8 pubkey x509
  socket = unix://{socket}
}}
"""


class Charon:
    """One charon in one namespace; ``name`` is that of its files and defaults to it.

    ``settings`` and ``plugin_settings`` go into strongswan.conf as they are, so does
    ``general``: sections such as ``charon``, which hold where those here say nothing.
    """

    def __init__(
        self,
        net: Topology,
        namespace: str,
        name: str = "",
        *,
        settings: str = "",
        plugin_settings: str = "",
        general: str = "",
        levels: str = "ike = 1",
        plugins: str = PLUGINS,
    ) -> None:
        self.net = net
        self.namespace = namespace
        self.name = f"charon-{name or namespace}"
        self.directory = net.directory / self.name
        self.directory.mkdir(exist_ok=True)
        self.socket = self.directory / "vici"
        self.logfile = net.directory / f"{self.name}.log"
        self.settings = self.directory / "strongswan.conf"
        self.settings.write_text(
            _SETTINGS.format(
                plugins=plugins,
                more=settings,
                socket=self.socket,
                plugin_settings=plugin_settings,
                log=self.logfile,
                levels=levels,
            )
            + general
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, wait: bool = True) -> Charon:
        """Start it; with ``wait`` return when it answers."""
        self.socket.unlink(missing_ok=True)
        self.process = self.net.start(
            self.namespace,
            ["/usr/sbin/charon-systemd"],
            log=f"{self.name}.out",
            STRONGSWAN_CONF=str(self.settings),
        )
        if wait:
            self.answers()
        return self

    def answers(self) -> None:
        """Wait until it answers; fail at once when it has ended."""

        def there() -> bool:
            assert self.process is not None
            ended = self.process.poll()
            assert ended is None, f"{self.name} ended with {ended}:\n{self.log()}"
            return "daemon" in self.ask("version")

        wait_for(there, 60, self.name)

    def stop(self) -> None:
        """End it as systemd would; it deletes its IKE_SAs."""
        assert self.process is not None
        self.net.stop(self.process)

    def kill(self) -> None:
        """End it so that nobody hears of it."""
        assert self.process is not None
        self.net.stop(self.process, 9)

    def log(self) -> str:
        """Return what it has logged."""
        return self.logfile.read_text(errors="replace") if self.logfile.exists() else ""

    def file(self, name: str, content: str | bytes) -> Path:
        """Write a file below its directory, such as ``x509ca/ca.pem``."""
        target = self.directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
        return target

    def load(self, configuration: str) -> str:
        """Load a swanctl configuration, credentials as well; raises ``RuntimeError``.

        Certificates and keys come from the folders that :meth:`file` wrote.
        """
        file = self.file("swanctl.conf", configuration)
        command = ["env", f"STRONGSWAN_CONF={self.settings}", f"SWANCTL_DIR={self.directory}"]
        command += ["swanctl", "--load-all", "--clear", "--file", str(file)]
        return self.net.run(self.namespace, command)

    def swanctl(self, *words: str, check: bool = True) -> str:
        """Run swanctl against it."""
        command = ["env", f"STRONGSWAN_CONF={self.settings}", "swanctl", *words]
        return self.net.run(self.namespace, command, check=check)

    def ask(self, command: str, **message: Any) -> dict[str, Any]:
        """Run a vici command."""
        with Vici(self.socket) as vici:
            return vici.ask(command, **message)

    def sas(self, connection: str = "") -> list[dict[str, Any]]:
        """Return its IKE_SAs as vici lists them, each with its ``name``."""
        filters = {"ike": connection} if connection else {}
        with Vici(self.socket) as vici:
            found = vici.stream("list-sas", "list-sa", **filters)
        return [{"name": name, **sa} for answer in found for name, sa in answer.items()]

    def sa(self, connection: str) -> dict[str, Any]:
        """Return the only established IKE_SA of a connection; ``ViciError`` if there is not one."""
        found = [sa for sa in self.sas(connection) if sa["state"] == "ESTABLISHED"]
        if len(found) != 1:
            raise ViciError(f"{len(found)} IKE_SAs of {connection} in {self.name}")
        return found[0]

    def children(self, connection: str, child: str = "") -> list[dict[str, Any]]:
        """Return the installed child SAs of a connection, of that name if one is given."""
        return [
            found
            for sa in self.sas(connection)
            for found in sa.get("child-sas", {}).values()
            if found["state"] == "INSTALLED" and child in ("", found["name"])
        ]

    def initiate(self, child: str = "", ike: str = "", seconds: float = 20) -> None:
        """Bring a child up, or an IKE_SA alone; raises ``ViciError`` with its reason."""
        self.ask("initiate", **_named(child, ike), timeout=int(seconds * 1000), loglevel=-1)

    def terminate(self, child: str = "", ike: str = "", force: bool = False) -> None:
        """Delete a child SA or an IKE_SA."""
        self.ask("terminate", **_named(child, ike), timeout=20000, loglevel=-1, force=force)

    def rekey(self, child: str = "", ike: str = "", reauth: bool = False) -> None:
        """Begin to replace a child SA or an IKE_SA."""
        self.ask("rekey", **_named(child, ike), **({"reauth": True} if reauth else {}))


def _named(child: str, ike: str) -> dict[str, str]:
    return {key: value for key, value in (("child", child), ("ike", ike)) if value}
