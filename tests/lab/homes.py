# SPDX-License-Identifier: GPL-2.0-only
"""The home link in scenarios: a second home agent there, and what is said on it."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path

from .pair import agent_configuration
from .topology import LAN6, Topology
from .traffic import Traffic

HA2, HA2_4 = "2001:db8:1::2", "198.51.100.2"
SECOND = "ha2"
_RADVD = """\
interface eth0 {{
  AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; MinDelayBetweenRAs 0.03;
  AdvDefaultLifetime 0; AdvHomeAgentFlag on; AdvHomeAgentInfo on;
  HomeAgentLifetime 1800; HomeAgentPreference {preference}; AdvMobRtrSupportFlag on;
  prefix {address}/64 {{ AdvOnLink on; AdvAutonomous off; AdvRouterAddr on; }};
}};
"""


@contextlib.contextmanager
def second_agent(net: Topology, preference: int = 20) -> Iterator[None]:
    """Have a second home agent on the home link, its daemon started but not waited for."""
    net.shell(None, f"ip netns add {SECOND}\n")
    try:
        net.shell(
            "ha",
            f"ip link add second type veth peer name eth0\nip link set eth0 netns {SECOND}\n"
            "ip link set second master home\nip link set second up\n",
        )
        net.shell(
            SECOND,
            "sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0\n"
            "sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1\n"
            "ip link set lo up\nip link set eth0 address 02:00:00:00:00:02\n"
            "ip link set eth0 up\n"
            f"ip addr add {HA2}/64 dev eth0\nip addr add {HA2_4}/24 dev eth0\n"
            "ip route add default via 2001:db8:1::1\nip route add default via 198.51.100.1\n",
        )
        conf = net.directory / "radvd-ha2.conf"
        conf.write_text(_RADVD.format(preference=preference, address=HA2))
        conf.chmod(0o644)
        pid = net.directory / "radvd-ha2.pid"
        command = ["radvd", "-n", "-m", "stderr", "-C", str(conf), "-p", str(pid)]
        net.start(SECOND, command, log="radvd-ha2.log")
        text = agent_configuration(net, addresses=[HA2, HA2_4], interface="eth0")
        text = text.replace(net.socket("ha"), net.socket(SECOND))
        net.daemon(SECOND, text.replace("/ha-state", "/ha2-state"))
        yield
    finally:
        net.shell(None, f"ip netns del {SECOND}\n")


class Neighbour:
    """A host on the home link; it has the addresses ``.77`` there."""

    NAME = "nb"

    def __init__(self, net: Topology) -> None:
        self._net = net
        net.shell(None, f"ip netns add {self.NAME}\n")
        net.shell(
            "ha",
            f"ip link add nb type veth peer name eth0\nip link set eth0 netns {self.NAME}\n"
            "ip link set nb master home\nip link set nb up\n",
        )
        net.shell(
            self.NAME,
            "ip link set lo up\nip link set eth0 up\n"
            "ip addr add 2001:db8:1::77/64 dev eth0 nodad\nip addr add 198.51.100.77/24 dev eth0\n",
        )

    def close(self) -> None:
        """Take it away."""
        self._net.shell(None, f"ip netns del {self.NAME}\n")

    def finds(self, address: str) -> str:
        """Return the link-layer address that answers for an address; "" for none."""
        net = self._net
        net.run(self.NAME, ["ip", "neigh", "flush", "dev", "eth0"])
        command = ["ping", "-n", "-q", "-c", "3", "-i", "0.2", "-W", "2", address]
        heard = " 0 received" not in net.run(self.NAME, command, check=False)
        known = net.run(self.NAME, ["ip", "neigh", "show", address, "dev", "eth0"]).split()
        return known[known.index("lladdr") + 1] if heard and "lladdr" in known else ""


class Stream:
    """One slow TCP connection from the correspondent to the LAN host."""

    def __init__(self, net: Topology) -> None:
        self._traffic = Traffic(net)
        self._traffic.transfer("stream", LAN6, rate=40_000)
        self._marks: list[tuple[str, float]] = []

    def mark(self, name: str, wait: float = 2.0) -> None:
        """Remember that something was done, and let the stream go on for a moment."""
        time.sleep(wait)
        self._marks.append((name, time.monotonic()))

    def finish(self) -> None:
        """End it; fail if it, the same connection, was not alive at each mark."""
        (flow,) = self._traffic.finish()
        assert flow.is_tcp
        times = flow.times()
        for name, at in self._marks:
            # Retransmissions back off: what was held up comes a little later.
            assert any(at - 2.0 < t < at + 0.5 for t in times), (name, at, times[-5:])


@dataclass(frozen=True, slots=True)
class Frame:
    """An IPv6 packet on an Ethernet link; ``data`` follows the IPv6 header."""

    at: float
    sender: str
    source: IPv6Address
    destination: IPv6Address
    next_header: int
    data: bytes

    @property
    def icmp(self) -> int:
        """The type of an ICMPv6 message, else 0."""
        return self.data[0] if self.next_header == 58 and self.data else 0

    @property
    def target(self) -> IPv6Address:
        """The target of a neighbour solicitation or advertisement."""
        return IPv6Address(self.data[8:24])


def frames(file: Path) -> list[Frame]:
    """Return the IPv6 packets of a capture of an Ethernet interface."""
    raw = file.read_bytes()
    order = "<" if raw[:4] == b"\xd4\xc3\xb2\xa1" else ">"
    found: list[Frame] = []
    at = 24
    while at + 16 <= len(raw):
        seconds, micro, size = struct.unpack_from(f"{order}III", raw, at)
        frame = raw[at + 16 : at + 16 + size]
        at += 16 + size
        if frame[12:14] != b"\x86\xdd" or len(frame) < 54:
            continue
        found.append(
            Frame(
                seconds + micro / 1e6,
                frame[6:12].hex(":"),
                IPv6Address(frame[22:38]),
                IPv6Address(frame[38:54]),
                frame[20],
                frame[54:],
            )
        )
    return found


def proxies(net: Topology, namespace: str = "ha") -> set[str]:
    """Return the addresses that a home agent defends."""
    found = set()
    for family in ("-6", "-4"):
        text = net.run(namespace, ["ip", family, "neigh", "show", "proxy"])
        found |= {line.split()[0] for line in text.splitlines() if line.strip()}
    return found
