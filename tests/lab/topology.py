# SPDX-License-Identifier: GPL-2.0-only
"""The standard topology, and the words that scenarios are told in.

                  cn
                   |
    home link --- ha --- core --- v6, v4, nat, v6only, captive (access networks)
                                   :
                                   mr --- lan

``mr`` has interfaces wan0 to wan3, any of which can be plugged into any access
network or into the home link. Everything lives in network namespaces of one
machine, joined by veth; all clocks are one clock.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

from dsmip.service.client import Client, ClientError
from pyroute2 import IPRoute

from .forked import Forked
from .kmodlib import inside, sysctl

OUT = Path(os.environ.get("DSMIP_OUT", "build/lab"))

Process: TypeAlias = subprocess.Popen[bytes] | Forked

HA6, HA4 = "2001:db8:1::1", "198.51.100.1"
HOA, HOA4 = "2001:db8:1::100", "198.51.100.100"
CN6, CN4 = "2001:db8:c::2", "192.0.2.2"
NET6, NET4 = "2001:db8:100::/56", "203.0.113.0/28"
LAN6, LAN4 = "2001:db8:100::2", "203.0.113.2"
WANS = ("wan0", "wan1", "wan2", "wan3")
#: An EtherType of IEEE 802 for experiments: no stack listens to it.
_EXPERIMENTAL = 0x88B5


@dataclass(frozen=True, slots=True)
class Access:
    """An access network: its prefixes, and the address its router leases in IPv4."""

    number: int
    prefix6: str = ""
    prefix4: str = ""
    nat: bool = False

    @property
    def router4(self) -> str:
        return self.prefix4 + ".1"


ACCESS = {
    "v6": Access(6, "2001:db8:a6", "198.18.6"),
    "v4": Access(4, "", "198.18.4"),
    "nat": Access(5, "", "10.0.5", nat=True),
    "v6only": Access(7, "2001:db8:a7"),
    "captive": Access(8, "", "10.0.8", nat=True),
}
HOME = "home"

_RADVD = """\
interface {interface} {{
  AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 10; MinDelayBetweenRAs 0.03;
  AdvDefaultLifetime 1800; AdvHomeAgentFlag {home};{more}
  AdvIntervalOpt on; AdvRASolicitedUnicast on;
  prefix {prefix} {{ AdvOnLink on; AdvAutonomous on; AdvRouterAddr {router};
    AdvValidLifetime 7200; AdvPreferredLifetime 3600; }};
}};
"""


# Random ports, so that a mapping that is made anew is another one.
_NAT = """\
table ip nat {
  chain post {
    type nat hook postrouting priority 100
    oifname "core" masquerade random
  }
}
table ip guard {
  chain in {
    type filter hook input priority 0
    iifname "core" ct state new drop
  }
  chain portal {
    type filter hook forward priority 0
  }
}
"""

_PORTAL_CLOSED = "add rule ip guard portal drop\n"
NAT_SECONDS = 30


class Topology:
    """The networks, up as long as the context lasts.

    ``rtt_ms`` is the round trip between the core and the home agent. ``name``
    is where captures and logs are kept when the scenario fails.
    """

    def __init__(self, name: str, rtt_ms: float = 20, executed: bool = False) -> None:
        self.name = name
        self.executed = executed
        self._numbers = itertools.count()
        self.rtt_ms = rtt_ms
        self.directory = Path("/tmp/lab") / name
        self.processes: list[Process] = []
        self.where: dict[str, str] = {}
        self.failed = False
        self._sockets: dict[str, IPRoute] = {}
        self._captures: dict[Path, tuple[str, str]] = {}

    # --- up and down -------------------------------------------------------------

    def __enter__(self) -> Topology:
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.failed = self.failed or error is not None
        self.close()

    def close(self) -> None:
        """Stop what was started, take the networks down, keep what a failure left."""
        for process in reversed(self.processes):
            self.stop(process)
        for netlink in self._sockets.values():
            netlink.close()
        self._delete_namespaces()
        if self.failed:
            kept = OUT / self.name
            shutil.copytree(self.directory, kept, dirs_exist_ok=True, ignore=_sockets)

    @staticmethod
    def _namespaces() -> list[str]:
        return ["cn", "core", "ha", "mr", "lan", *ACCESS]

    def _delete_namespaces(self) -> None:
        text = "".join(f"netns del {name}\n" for name in self._namespaces())
        command = ["ip", "-force", "-batch", "-"]
        subprocess.run(command, input=text, text=True, check=False, capture_output=True)

    def _build(self) -> None:
        self._delete_namespaces()
        self.shell(None, "\n".join(f"ip netns add {name}" for name in self._namespaces()))
        forward = "sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1\n"
        loopback = "ip link set lo up\n"
        # Interfaces take their default when they are moved in.
        no_dad = "net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0"
        for name in self._namespaces():
            if name != "mr":
                self.shell(name, f"sysctl -qw {no_dad}\n")
        self.shell(
            "core",
            forward
            + loopback
            + self._veth("cn", "cn", "eth0")
            + "ip addr add 2001:db8:c::1/64 dev cn\nip addr add 192.0.2.1/24 dev cn\n"
            + self._long_link()
            + "ip addr add 2001:db8:f:1::1/64 dev ha\nip addr add 198.18.1.1/24 dev ha\n"
            + "ip route add 2001:db8:1::/64 via 2001:db8:f:1::2\n"
            + "ip route add 2001:db8:100::/40 via 2001:db8:f:1::2\n"
            + "ip route add 198.51.100.0/24 via 198.18.1.2\n"
            + "ip route add 203.0.113.0/24 via 198.18.1.2\n"
            + "".join(self._core_side(name, access) for name, access in ACCESS.items())
            + self._delay("ha"),
        )
        self.shell(
            "cn",
            loopback + "ip link set eth0 up\nip addr add 2001:db8:c::2/64 dev eth0\n"
            "ip addr add 192.0.2.2/24 dev eth0\nip route add default via 2001:db8:c::1\n"
            "ip route add default via 192.0.2.1\n",
        )
        self.shell(
            "ha",
            forward + loopback + "ip link add home address 02:00:00:00:00:01 "
            "type bridge mcast_snooping 0\nip link set home up\n"
            "ip link set core up\nip addr add 2001:db8:f:1::2/64 dev core\n"
            "ip addr add 198.18.1.2/24 dev core\nip addr add 2001:db8:1::1/64 dev home\n"
            "ip addr add 198.51.100.1/24 dev home\nip route add default via 2001:db8:f:1::1\n"
            "ip route add default via 198.18.1.1\n" + self._delay("core"),
        )
        for name, access in ACCESS.items():
            if access.nat:
                self.filter(name, _NAT + (_PORTAL_CLOSED if name == "captive" else ""))
                self.nat_expires(NAT_SECONDS, name)
            self.shell(name, forward + loopback + self._access_side(name, access))
        wans = "".join(
            f"ip link add {wan} type veth peer name {wan}p\n"
            f"ip link set {wan}p netns core\n"
            f"ip link set {wan} up\n"
            for wan in WANS
        )
        self.shell(
            "mr",
            "sysctl -qw net.ipv6.conf.default.accept_ra=2\n"
            + forward
            + "ip link set lo up\n"
            + wans
            + "ip link add lan0 type veth peer name eth0\n"
            # A vehicle's own network was up before: its hosts are found from the first.
            "ip link set lan0 addrgenmode none\n"
            "ip link set eth0 netns lan\nip link set lan0 up\n"
            "ip addr add fe80::1/64 dev lan0 nodad\n"
            "ip addr add 2001:db8:100::1/64 dev lan0 nodad\nip addr add 203.0.113.1/28 dev lan0\n",
        )
        self.shell(
            "lan",
            loopback + "ip link set eth0 up\nip addr add 2001:db8:100::2/64 dev eth0\n"
            "ip addr add 203.0.113.2/28 dev eth0\nip route add default via 2001:db8:100::1\n"
            "ip route add default via 203.0.113.1\n",
        )
        self._advertise()

    def _long_link(self) -> str:
        """Lay the link between the core and the home agent."""
        return self._veth("ha", "ha", "core")

    def _delay(self, interface: str) -> str:
        return f"tc qdisc add dev {interface} root netem delay {self.rtt_ms / 2}ms limit 10000\n"

    @staticmethod
    def _veth(here: str, other: str, there: str) -> str:
        return (
            f"ip link add {here} type veth peer name {there}\n"
            f"ip link set {there} netns {other}\nip link set {here} up\n"
        )

    def _core_side(self, name: str, access: Access) -> str:
        n = access.number
        script = self._veth(f"a{n}", name, "core")
        script += (
            f"ip addr add 2001:db8:f:{n}::1/64 dev a{n}\nip addr add 198.18.10{n}.1/24 dev a{n}\n"
        )
        if access.prefix6:
            script += f"ip route add {access.prefix6}::/64 via 2001:db8:f:{n}::2\n"
        if access.prefix4 and not access.nat:
            script += f"ip route add {access.prefix4}.0/24 via 198.18.10{n}.2\n"
        return script

    def _access_side(self, name: str, access: Access) -> str:
        n = access.number
        script = (
            "ip link set core up\n"
            f"ip link add acc address 02:00:00:00:00:{n:02x} type bridge mcast_snooping 0\n"
            "ip link set acc up\n"
            f"ip addr add 2001:db8:f:{n}::2/64 dev core\nip addr add 198.18.10{n}.2/24 dev core\n"
            f"ip route add default via 2001:db8:f:{n}::1\nip route add default via 198.18.10{n}.1\n"
        )
        if access.prefix6:
            script += f"ip addr add {access.prefix6}::1/64 dev acc\n"
        if access.prefix4:
            script += f"ip addr add {access.router4}/24 dev acc\n"
        return script

    def _advertise(self) -> None:
        for name, access in ACCESS.items():
            if access.prefix6:
                self.advertise(name, "acc", f"{access.prefix6}::/64")
        self.advertise("ha", "home", f"{HA6}/64", home=True)

    def advertise(self, namespace: str, interface: str, prefix: str, home: bool = False) -> None:
        """Start a router's advertisements, on the home link as a home agent."""
        onoff = "on" if home else "off"
        more = "\n  HomeAgentLifetime 1800; HomeAgentPreference 10;" if home else ""
        file = self.directory / f"radvd-{namespace}.conf"
        file.write_text(
            _RADVD.format(interface=interface, prefix=prefix, home=onoff, router=onoff, more=more)
        )
        file.chmod(0o644)
        pid = self.directory / f"radvd-{namespace}.pid"
        self.start(
            namespace,
            ["radvd", "-n", "-m", "stderr", "-C", str(file), "-p", str(pid)],
            log=f"radvd-{namespace}.log",
        )

    # --- running things ----------------------------------------------------------

    def shell(self, namespace: str | None, script: str) -> str:
        """Run a shell script, stopping at the first failure; return its output.

        Each process costs 50 ms: what it starts with of ``sysctl``, ``ip`` and ``tc``
        needs few.
        """
        printed = ""
        lines = script.splitlines()
        with inside(namespace) if namespace else contextlib.nullcontext():
            for kind, group in itertools.groupby(script.splitlines(), _kind):
                if not namespace or not kind:
                    break
                mine = list(group)
                del lines[: len(mine)]
                if kind == "sysctl":
                    _set_sysctls(namespace, mine)
                else:
                    batch = "".join(line.removeprefix(f"{kind} ") + "\n" for line in mine)
                    printed += _piped([kind, "-batch", "-"], batch)
            if lines:
                printed += _piped(["sh", "-e"], _batched(lines))
        return printed

    def filter(self, namespace: str, rules: str) -> None:
        """Give rules to the packet filter of a namespace."""
        with inside(namespace):
            _piped(["nft", "-f", "-"], rules)

    def run(self, namespace: str, command: Sequence[str], check: bool = True) -> str:
        """Run one command; return what it prints."""
        with inside(namespace):
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
        if check and done.returncode:
            raise RuntimeError(f"{namespace}: {' '.join(command)}: {done.stdout}")
        return done.stdout

    def start(
        self, namespace: str, command: Sequence[str], log: str = "", **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start a command that goes on; its output is appended to ``log``."""
        target = (self.directory / log).open("ab") if log else subprocess.DEVNULL
        with inside(namespace):
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=target,
                stderr=target,
                env=os.environ | environment,
            )
        if log:
            target.close()  # type: ignore[union-attr]
        self.processes.append(process)
        return process

    def python(
        self, namespace: str, module: str, *arguments: str, log: str = "", **environment: str
    ) -> Process:
        """Start a Python program that goes on; its output is appended to ``log``.

        Its imports cost it nothing, see ``forked``; where ``executed`` is set it is
        started as a user would.
        """
        if self.executed:
            command = ["python", "-m", module, *arguments]
            return self.start(namespace, command, log, **environment)
        with (self.directory / log if log else Path(os.devnull)).open("ab") as target:
            process = Forked(namespace, module, arguments, target.fileno(), environment)
        self.processes.append(process)
        return process

    def stop(self, process: Process, how: int = signal.SIGTERM) -> None:
        """End a started process and wait for it."""
        if process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process in self.processes:
            self.processes.remove(process)

    def capture(self, namespace: str, interface: str = "any") -> Path:
        """Record packets from now on; the file is complete when the topology closes."""
        file = self.directory / f"{namespace}-{interface}.pcap"
        if file in self._captures:
            file = file.with_stem(f"{file.stem}-{len(self._captures)}")
        process = self.start(
            namespace,
            ["tcpdump", "--immediate-mode", "-i", interface, "-U", "-w", str(file), "-Z", "root"],
            log="tcpdump.log",
        )
        wait_for(lambda: file.exists() and file.stat().st_size >= 24, 10, "tcpdump")
        assert process.poll() is None
        self._captures[file] = namespace, interface
        return file

    def captured(self, file: Path) -> Path:
        """Return the file of a capture when all that has passed until now is in it.

        tcpdump writes a little later; a frame of our own, which it sees after all others,
        tells when it has.
        """
        namespace, interface = self._captures[file]
        mark = os.urandom(16)
        with inside(namespace), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind(("lo" if interface == "any" else interface, _EXPERIMENTAL))
            sender.send(bytes(12) + struct.pack("!H", _EXPERIMENTAL) + mark)
        wait_for(lambda: mark in file.read_bytes(), 10, "what tcpdump has seen")
        return file

    # --- the story ------------------------------------------------------------------

    def plug(self, wan: str, network: str, lease: bool = True) -> float:
        """Connect an interface of the router; return when its link came up.

        Over IPv4 the router gets its lease at once, as from a DHCP client;
        ``lease`` False leaves that to the scenario.
        """
        port = self._lay(wan, network)
        at = time.monotonic()
        self._switch(port, up=True)
        if lease:
            self.lease(wan)
        return at

    def lease(self, wan: str) -> None:
        """Give the interface its IPv4 address and default route."""
        access = ACCESS.get(self.where[wan])
        index = WANS.index(wan)
        if access and access.prefix4:
            ip = self._netlink("mr")
            oif = self._index("mr", wan)
            ip.addr("add", index=oif, address=f"{access.prefix4}.{9 + index}", prefixlen=24)
            ip.route("add", dst="default", gateway=access.router4, oif=oif, priority=100 + index)

    def unplug(self, wan: str) -> float:
        """Pull the cable; return when. Then the addresses go, as netifd would do it."""
        at = time.monotonic()
        self._switch(self._port(wan), up=False)
        self._flush(wan)
        return at

    def roam(self, old: str, new: str, network: str) -> float:
        """Pull one cable at the moment at which another is plugged in; return when."""
        port = self._lay(new, network)
        at = time.monotonic()
        self._switch(self._port(old), up=False)
        self._switch(port, up=True)
        self.lease(new)
        self._flush(old)
        return at

    def _port(self, wan: str) -> tuple[str, str]:
        network = self.where[wan]
        return ("ha" if network == HOME else network, f"{wan}p")

    def _lay(self, wan: str, network: str) -> tuple[str, str]:
        """Lay a cable from an interface of the router to a network, dead as yet."""
        if wan in self.where:
            raise ValueError(f"{wan} is plugged into {self.where[wan]}")
        self.where[wan] = network
        target, port = self._port(wan)
        bridge = "home" if network == HOME else "acc"
        self.shell("core", f"ip link set {port} netns {target}\n")
        self.shell(target, f"ip link set {port} master {bridge}\n")
        return target, port

    def _switch(self, port: tuple[str, str], up: bool) -> None:
        state = "up" if up else "down"
        self._netlink(port[0]).link("set", index=self._index(*port), state=state)

    def _flush(self, wan: str) -> None:
        target, port = self._port(wan)
        self.shell(
            "mr",
            f"ip -4 addr flush dev {wan}\nip -6 addr flush dev {wan} scope global\n"
            f"ip -6 route flush dev {wan} proto ra\n",
        )
        self.shell(target, f"ip link set {port} nomaster\nip link set {port} netns core\n")
        del self.where[wan]

    def _netlink(self, namespace: str) -> IPRoute:
        """Return a socket there: a process for each step would take longer than a handover."""
        if namespace not in self._sockets:
            with inside(namespace):
                self._sockets[namespace] = IPRoute()
        return self._sockets[namespace]

    def _index(self, namespace: str, interface: str) -> int:
        return int(self._netlink(namespace).link_lookup(ifname=interface)[0])

    def link_address(self, namespace: str, interface: str) -> str:
        """Return the link-layer address of an interface."""
        (link,) = self._netlink(namespace).get_links(self._index(namespace, interface))
        return str(link.get_attr("IFLA_ADDRESS"))

    @property
    def nat_outside(self) -> str:
        """The address that the NAT shows to the world."""
        return f"198.18.10{ACCESS['nat'].number}.2"

    def nat_forget(self, network: str = "nat") -> float:
        """Let the NAT lose all its mappings, as it does when it restarts."""
        at = time.monotonic()
        self.run(network, ["conntrack", "-F"])
        return at

    def nat_expires(self, seconds: int = NAT_SECONDS, network: str = "nat") -> None:
        """Let mappings of the NAT that are not used go after so many seconds."""
        name = "net/netfilter/nf_conntrack_udp_timeout"
        sysctl(network, {name: seconds, f"{name}_stream": seconds})

    def logout(self) -> None:
        """Close the captive portal."""
        self.filter("captive", _PORTAL_CLOSED)

    def login(self) -> None:
        """Pass the captive portal."""
        self.filter("captive", "flush chain ip guard portal\n")

    # --- daemons ----------------------------------------------------------------------

    def daemon(self, namespace: str, configuration: str, *more: str) -> Process:
        """Start dsmipd with a TOML configuration; its log is NAMESPACE.log."""
        file = self.directory / f"{namespace}.toml"
        file.write_text(configuration)
        words = ("--config", str(file), *more)
        module = "dsmip.service" if self.executed else "dsmip.service.dsmipd"
        return self.python(namespace, module, *words, log=f"{namespace}.log")

    def socket(self, namespace: str) -> str:
        """Return the control socket for configurations and commands."""
        return str(self.directory / f"{namespace}.sock")

    def dsmip(self, namespace: str, *words: str, check: bool = True) -> str:
        """Run the ``dsmip`` command against a daemon."""
        file = f"cli-{next(self._numbers)}.txt"
        words = ("--socket", self.socket(namespace), *words)
        code = self.python(namespace, "dsmip.cli", *words, log=file).wait()
        printed = (self.directory / file).read_text()
        if check and code:
            raise RuntimeError(f"{namespace}: dsmip {' '.join(words)}: {printed}")
        return printed

    def dsmip_json(self, namespace: str, *words: str) -> dict[str, Any]:
        """Run it with ``--json``; return what it says."""
        found = json.loads(self.dsmip(namespace, *words, "--json"))
        assert isinstance(found, dict)
        return found

    def ask(self, namespace: str, command: str, **parameters: Any) -> dict[str, Any]:
        """Ask a daemon what ``dsmip --json`` would, without the time a process takes."""
        try:
            with Client(self.socket(namespace)) as client:
                found = client.ask(command, **parameters)
        except ClientError as error:
            raise RuntimeError(str(error)) from error
        assert isinstance(found, dict)
        return found

    def log(self, name: str) -> str:
        """Return what a daemon has written."""
        file = self.directory / f"{name}.log"
        return file.read_text(errors="replace") if file.exists() else ""


def _sockets(directory: str, names: list[str]) -> list[str]:
    """Return what cannot be copied: a daemon that was killed leaves its socket."""
    return [name for name in names if Path(directory, name).is_socket()]


def _is_plain_ip(line: str) -> bool:
    return re.match("ip ([a-mo-z]|netns add)", line) is not None


def _kind(line: str) -> str:
    """Return "ip", "tc" or "sysctl" for what needs no shell."""
    if line.startswith("sysctl -qw ") and not re.search(r"['\"$|;&<>]", line):
        return "sysctl"
    found = re.match(r"(ip|tc) [a-mo-z][^'\"$|;&<>]*$", line)
    return found[1] if found else ""


def _set_sysctls(namespace: str, lines: list[str]) -> None:
    words = [word for line in lines for word in line.removeprefix("sysctl -qw ").split()]
    settings = dict(word.split("=", 1) for word in words)
    sysctl(namespace, {name.replace(".", "/"): value for name, value in settings.items()})


def _piped(command: list[str], text: str) -> str:
    done = subprocess.run(
        command,
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n{text}\n{done.stdout}")
    return done.stdout


def _batched(script: list[str]) -> str:
    """Let one process do what follows each other as ``ip`` commands."""
    out: list[str] = []
    for plain, lines in itertools.groupby(script, _is_plain_ip):
        if plain:
            batch = "\n".join(line.removeprefix("ip ") for line in lines)
            out.append(f"ip -batch - <<'END'\n{batch}\nEND")
        else:
            out += lines
    return "\n".join(out) + "\n"


def wait_for(condition, seconds: float, what: str, step: float = 0.05):  # type: ignore[no-untyped-def]
    """Return the first true value of ``condition``; fail after some seconds.

    A condition that raises is not true yet: what it looks for is not there, or two of
    it are for a moment. What can never become true again is an ``AssertionError``.
    """
    end = time.monotonic() + seconds
    while True:
        why: Exception | None = None
        try:
            value = condition()
            if value:
                return value
        except (RuntimeError, LookupError, json.JSONDecodeError, OSError) as error:
            why = error
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s") from why
        time.sleep(step)


@contextlib.contextmanager
def topology(name: str, **options: float) -> Iterator[Topology]:
    """Return the standard topology under a name."""
    with Topology(name, **options) as made:  # type: ignore[arg-type]
        yield made
