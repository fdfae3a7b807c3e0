# SPDX-License-Identifier: GPL-2.0-only
"""What the scenarios with other IKEv2 programs share: who speaks how with whom.

The mobile router's namespace runs ``dsmipd --role ike`` and nothing else of ours;
charon is at the home agent's place and, as ``guest``, behind the NAT. Each case
is one connection with a child of its own between two addresses of its own, so
that many of them are loaded at once and none is in another's way.
"""

from __future__ import annotations

import contextlib
import datetime
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .kmodlib import ip_batch
from .topology import HA6, Process, Topology, wait_for

OUR6, OUR4, OUR_NAT = "2001:db8:a6::10", "198.18.4.10", "10.0.5.11"
GUEST = "10.0.5.77"
GCM = ("aes128gcm16-prfsha256-x25519", "aes128gcm16-x25519")
CBC = ("aes128-sha256-modp2048", "aes128-sha256-modp2048")
CHACHA = ("chacha20poly1305-prfsha256-ecp256", "chacha20poly1305-ecp256")
SECRET = "0x7d1f4c0b2a95e83660c1d2e3f4a5b6c7"
PASSWORD = "correct horse battery staple"


@dataclass(frozen=True, slots=True)
class Case:
    """A connection: ``number`` makes its addresses and request id.

    ``ours`` and ``theirs`` are outer addresses, ``proposals`` for IKE and ESP.
    ``anywhere``: we take the other side from wherever it comes, and with EAP are
    the one that asks. ``more`` goes into its connection as it is.
    """

    number: int
    name: str
    ours: str = OUR6
    theirs: str = HA6
    proposals: tuple[str, str] = GCM
    auth: str = "psk"
    movement: str = "migrate"
    anywhere: bool = False
    more: str = ""

    @property
    def inner(self) -> tuple[str, str]:
        """Our and their address inside."""
        return f"fd77::{self.number:x}:1", f"fd77::{self.number:x}:2"

    @property
    def reqid(self) -> int:
        return 7000 + self.number

    @property
    def identities(self) -> tuple[str, str]:
        """Our and their identity."""
        return f"{self.name}.ours.example", f"{self.name}.theirs.example"


class Authority:
    """A certificate authority that both sides trust."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.root = self._certificate("Root of the lab", self._key, None, (), True)
        self.root_pem = self.root.public_bytes(serialization.Encoding.PEM)

    def _certificate(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        issuer: x509.Certificate | None,
        names: Sequence[str],
        authority: bool,
    ) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            alternative = x509.SubjectAlternativeName([x509.DNSName(given) for given in names])
            builder = builder.add_extension(alternative, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def issue(self, name: str, names: Sequence[str]) -> tuple[bytes, bytes]:
        """Return certificate and private key, both PEM, for these DNS names."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._certificate(name, key, self.root, names, False)
        return (
            made.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )


# --- configurations ----------------------------------------------------------------


def swanctl(cases: Sequence[Case]) -> str:
    """Return what charon loads: the other side of each case."""
    connections, secrets = "", ""
    for case in cases:
        ours, theirs = case.identities
        inner_ours, inner_theirs = case.inner
        local = remote = "auth = psk"
        if case.auth == "certificate":
            local, remote = "auth = pubkey\n certs = charon.pem", "auth = pubkey"
        elif case.auth == "eap-mschapv2" and case.anywhere:
            local, remote = f"auth = eap-mschapv2\n eap_id = {theirs}", "auth = pubkey"
        elif case.auth == "eap-mschapv2":
            local = "auth = pubkey\n certs = charon.pem"
            remote = f"auth = eap-mschapv2\n eap_id = {ours}"
        ike, esp = case.proposals
        connections += f"""
  {case.name} {{
    version = 2
    local_addrs = {case.theirs}
    remote_addrs = {"%any" if case.ours == OUR_NAT else case.ours}
    proposals = {ike}
    mobike = {"yes" if case.movement == "mobike" else "no"}
    {case.more}
    local {{
      {local}
      id = {theirs}
    }}
    remote {{
      {remote}
      id = {ours}
    }}
    children {{
      {case.name} {{
        local_ts = {inner_theirs}/128
        remote_ts = {inner_ours}/128
        esp_proposals = {esp}
      }}
    }}
  }}"""
        if case.auth == "psk":
            secrets += f"""
  ike-{case.name} {{
    id-ours = {ours}
    id-theirs = {theirs}
    secret = {SECRET}{case.number:02x}
  }}"""
        elif case.auth == "eap-mschapv2":
            secrets += f"""
  eap-{case.name} {{
    id = {theirs if case.anywhere else ours}
    secret = "{PASSWORD}"
  }}"""
    return f"connections {{{connections}\n}}\nsecrets {{{secrets}\n}}\n"


def toml(cases: Sequence[Case], socket: str, ike: str = "") -> str:
    """Return what ``dsmipd --role ike`` reads: our side of each case."""
    text = f'[globals]\nsocket = "{socket}"\nlog_level = "debug"\n[ike]\n{ike}'
    for case in cases:
        ours, theirs = case.identities
        inner_ours, inner_theirs = case.inner
        secret = {
            "psk": f'psk = "{SECRET}{case.number:02x}"\n',
            "eap-mschapv2": f'password = "{PASSWORD}"\n',
        }.get(case.auth, "")
        remote = "" if case.anywhere else f'remote = ["{case.theirs}"]\n'
        text += f"""
[[ike.connection]]
name = "{case.name}"
local = ["{case.ours}"]
{remote}local_identity = "{ours}"
remote_identity = "{theirs}"
auth = "{case.auth}"
{secret}movement = "{case.movement}"
proposals = ["{case.proposals[0]}"]
[[ike.connection.child]]
name = "{case.name}"
reqid = {case.reqid}
local = ["{inner_ours}/128"]
remote = ["{inner_theirs}/128"]
esp_proposals = ["{case.proposals[1]}"]
start = "none"
"""
    return text


# --- the network ---------------------------------------------------------------------


@contextlib.contextmanager
def guest(net: Topology) -> Iterator[None]:
    """A host of its own behind the NAT."""
    net.shell(None, "ip netns add guest\n")
    try:
        net.shell(
            "nat",
            "ip link add guest type veth peer name eth0\nip link set eth0 netns guest\n"
            "ip link set guest master acc\nip link set guest up\n",
        )
        ip_batch(
            "guest",
            "link set lo up\nlink set eth0 up\n"
            f"addr add {GUEST}/24 dev eth0\nroute add default via 10.0.5.1\n"
            "-6 route add fd77::/16 dev eth0",
        )
        yield
    finally:
        net.shell(None, "ip netns del guest\n")


def connect(net: Topology) -> None:
    """Plug the router into three networks at once; what it sends goes by its source."""
    net.plug("wan0", "v6")
    net.plug("wan1", "v4")
    net.plug("wan2", "nat")
    ip_batch(
        "mr",
        f"addr add {OUR6}/64 dev wan0 nodad\n"
        "route add default via 10.0.5.1 dev wan2 table 77\n"
        f"rule add from {OUR_NAT} table 77 priority 77",
    )
    wait_for(
        lambda: "default" in net.run("mr", ["ip", "-6", "route", "show", "default"]), 20, "route"
    )


def addresses(net: Topology, cases: Sequence[Case], ours: str, theirs: str) -> None:
    """Put the inner addresses of cases into both namespaces."""
    for namespace, index in ((ours, 0), (theirs, 1)):
        lines = [f"addr add {case.inner[index]}/128 dev lo nodad" for case in cases]
        ip_batch(namespace, "\n".join(lines))


def policies(case: Case, theirs: str = "") -> None:
    """Install our side's policies, as a mobility stack does: our daemon leaves them to it.

    ``theirs`` is the other side's outer address where it is not that of the case.
    """
    outer = case.ours, theirs or case.theirs
    inner = case.inner
    lines = []
    for direction, order in (("out", 1), ("in", -1), ("fwd", -1)):
        (source, destination), ends = inner[::order], outer[::order]
        lines.append(
            f"xfrm policy update src {source}/128 dst {destination}/128 dir {direction} "
            f"priority 1000 tmpl src {ends[0]} dst {ends[1]} proto esp reqid {case.reqid} "
            "mode tunnel"
        )
    ip_batch("mr", "\n".join(lines))


def warm(net: Topology) -> None:
    """Have the kernel load its ciphers meanwhile: emulated, the first SA takes seconds."""
    key, long = "0x" + "ab" * 20, "0x" + "ab" * 36
    ciphers = (
        f"aead rfc4106(gcm(aes)) {key} 128",
        f"aead rfc7539esp(chacha20,poly1305) {long} 128",
        f"auth-trunc hmac(sha256) {long[:66]} 128 enc cbc(aes) {key[:34]}",
    )
    lines = [
        f"xfrm state add src fd00::1 dst fd00::2 proto esp spi {300 + n} mode tunnel {cipher}\n"
        f"xfrm state del src fd00::1 dst fd00::2 proto esp spi {300 + n}\n"
        for n, cipher in enumerate(ciphers)
    ]
    batch = net.directory / "ciphers"
    batch.write_text("".join(lines))
    net.start("captive", ["ip", "-batch", str(batch)], log="ciphers.log")


# --- our daemon ----------------------------------------------------------------------


class Ours:
    """``dsmipd --role ike`` in a namespace."""

    def __init__(self, net: Topology, namespace: str = "mr") -> None:
        self.net = net
        self.namespace = namespace
        self.process: Process | None = None

    def start(self, configuration: str) -> Ours:
        """Start it and wait until it answers."""
        self.process = self.net.daemon(self.namespace, configuration, "--role", "ike")

        def there() -> bool:
            assert self.process is not None
            ended = self.process.poll()
            assert ended is None, f"our daemon ended with {ended}:\n{self.log()}"
            return bool(self.ask("ike.status"))

        wait_for(there, 60, "our daemon")
        return self

    def ask(self, command: str, **parameters: Any) -> dict[str, Any]:
        """Ask it over its control socket."""
        return self.net.ask(self.namespace, command, **parameters)

    def log(self) -> str:
        """Return what it has logged."""
        return self.net.log(self.namespace)

    def sas(self, connection: str) -> list[dict[str, Any]]:
        """Return the IKE SAs of a connection, as ``ike.status`` has them."""
        found = self.ask("ike.status", connection=connection)["connections"]
        return [sa for sa in found if sa["connection"] == connection]

    def sa(self, connection: str) -> dict[str, Any]:
        """Return the only IKE SA of a connection; ``RuntimeError`` if there is not one."""
        found = self.sas(connection)
        if len(found) != 1:
            raise RuntimeError(f"{len(found)} IKE SAs of {connection} at our end")
        return found[0]

    def children(self, connection: str) -> list[dict[str, Any]]:
        """Return the child SAs of a connection that are up."""
        return [child for sa in self.sas(connection) for child in sa["children"]]

    def counter(self, name: str) -> int:
        """Return one of its counters."""
        return int(self.ask("ike.status")["counters"].get(name, 0))


# --- what is looked at ----------------------------------------------------------------


def ping(net: Topology, namespace: str, source: str, target: str, count: int = 3) -> int:
    """Send some echo requests; return how many were answered."""
    command = ["ping", "-n", "-q", "-c", str(count), "-i", "0.1", "-W", "2", "-I", source, target]
    found = re.search(r"(\d+) received", net.run(namespace, command, check=False))
    return int(found[1]) if found else 0


def diagnosis(net: Topology, *namespaces: str) -> str:
    """Return what the kernels hold and count, for the words of a failure."""
    return "\n".join(
        f"--- {namespace}\n"
        + net.run(namespace, ["ip", "-s", "xfrm", "state"])
        + net.run(namespace, ["ip", "xfrm", "policy"])
        + net.run(namespace, ["grep", "-v", r"\s0$", "/proc/net/xfrm_stat"], check=False)
        for namespace in namespaces
    )


def slow(net: Topology, milliseconds: float) -> None:
    """Set the delay of each direction between the core and the home agent."""
    for namespace, device in (("core", "ha"), ("ha", "core")):
        change = f"tc qdisc change dev {device} root netem delay {milliseconds}ms limit 10000\n"
        net.shell(namespace, change)
