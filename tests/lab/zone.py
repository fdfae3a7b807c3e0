# SPDX-License-Identifier: GPL-2.0-only
"""Debian's name server with a zone of the operator's, and certificates for both ends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from dsmip.ikev2.certificates import Certificate
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.issuing import issue
from dsmip.ikev2.signatures import KeyKind, PrivateKey, generate_key

from .topology import CN4, CN6, HA4, HA6, Topology, wait_for

DOMAIN = "example.test"
AGENT = f"ha1.{DOMAIN}"
BUS = f"bus-17.{DOMAIN}"
#: The key that the home agent and the name server share, as in named.conf.
KEY_NAME = "ha1-key"
KEY = "c2l4dGVlbiBhbmQgc2l4dGVlbiBhcmUgMzIgb2N0ZXRz"

ZONE = f"""\
$TTL 60
@ IN SOA ns.{DOMAIN}. hostmaster.{DOMAIN}. 1 3600 600 86400 5
@ IN NS ns.{DOMAIN}.
ns IN AAAA {CN6}
ns IN A {CN4}
_mip6._ipv6 IN SRV 5 0 0 spare
_mip6._ipv6 IN SRV 10 0 0 ha1
ha1 IN AAAA {HA6}
ha1 IN A {HA4}
spare IN CNAME elsewhere
elsewhere IN AAAA 2001:db8:f:f::1
"""

#: The home agent's right to update it.
UPDATES = f"""\
[home_agent.dns_update]
server = "{CN6}"
zone = "{DOMAIN}"
key_name = "{KEY_NAME}"
secret = "{KEY}"
"""

_NAMED = """\
key "{key_name}" {{ algorithm hmac-sha256; secret "{key}"; }};
options {{
  directory "{directory}";
  pid-file none; lock-file none; session-keyfile "{directory}/session.key";
  managed-keys-directory "{directory}"; dnssec-validation no; recursion no;
  empty-zones-enable no; listen-on {{ {four}; }}; listen-on-v6 {{ {six}; }};
}};
controls {{ }};
zone "{domain}" {{
  type primary; file "{directory}/zone";
  update-policy {{ grant {key_name} zonesub AAAA; }};
}};
"""


class NameServer:
    """``named`` on the correspondent's host, reached from every access network."""

    def __init__(self, net: Topology) -> None:
        self._net = net
        directory = net.directory / "named"
        directory.mkdir(exist_ok=True)
        (directory / "zone").write_text(ZONE)
        conf = directory / "named.conf"
        conf.write_text(
            _NAMED.format(
                key_name=KEY_NAME, key=KEY, directory=directory, four=CN4, six=CN6, domain=DOMAIN
            )
        )
        #: What a DHCP client leaves behind on the router.
        self.resolv_conf = net.directory / "resolv.conf"
        self.resolv_conf.write_text(f"nameserver {CN6}\nnameserver {CN4}\n")
        net.start("cn", ["named", "-g", "-n", "1", "-c", str(conf)], log="named.log")

    def ready(self) -> None:
        """Wait until it answers."""
        wait_for(lambda: self.lookup(f"ns.{DOMAIN}") == [CN6], 90, "named")

    def lookup(self, name: str, kind: str = "AAAA") -> list[str]:
        """Ask it with Debian's own tool."""
        command = ["dig", "+short", "+tries=1", "+time=2", f"@{CN6}", name, kind]
        return [line for line in self._net.run("cn", command, check=False).split() if line]


class Authority:
    """The operator's certification authority, with files below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = generate_key(KeyKind.P256)
        self.certificate = self._issue(self._key, "CN=Operator", ca=True)
        self.file = self._write("authority.pem", self.certificate.pem())

    def _issue(
        self, key: PrivateKey, subject: str, names: Sequence[str] = (), ca: bool = False
    ) -> Certificate:
        return issue(
            key.public,
            self._key,
            None if ca else self.certificate,
            subject=subject,
            identities=[Identity.parse(name) for name in names],
            at=time.time(),
            lifetime=86400.0,
            ca=ca,
        )

    def _write(self, name: str, data: bytes) -> str:
        file = self._folder / name
        file.write_bytes(data)
        file.chmod(0o600)
        return str(file)

    def files(self, who: str, *names: str) -> dict[str, object]:
        """Return options of ``[ike]`` with a new certificate for these names."""
        key = generate_key(KeyKind.P256)
        certificate = self._issue(key, f"CN={names[0]}", names)
        return {
            "certificate": self._write(f"{who}.pem", certificate.pem()),
            "private_key": self._write(f"{who}.key", key.pem()),
            "authorities": [self.file],
        }
