# SPDX-License-Identifier: GPL-2.0-only
"""What can be wrong with a machine that dsmip runs on: each fault with its cure.

A check looks at the machine through ``Host`` and yields findings; none changes
anything.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dsmip.service.advice import warnings_of
from dsmip.service.client import Client, ClientError
from dsmip.service.config import Config, load
from dsmip.service.ike_config import Manager
from dsmip.service.options import ConfigError

#: Before this release no clock is right.
_EARLIEST: Final = 1735689600
#: IPv6's minimum, and what the tunnel puts in front.
_LEAST_MTU: Final = 1280
_OVERHEAD: Final = 40
_IKE_PORTS: Final = (500, 4500)


@dataclass(frozen=True, slots=True)
class Finding:
    """``level`` is "good", "note" or "fault"; a fault has a cure."""

    level: str
    subject: str
    text: str
    cure: str = ""


class Host:
    """The machine. Replaced in tests."""

    def read(self, path: str) -> str | None:
        """Return a file's text, None when it cannot be read."""
        try:
            return Path(path).read_text(errors="replace")
        except OSError:
            return None

    def kernel_config(self) -> dict[str, str]:
        """Return the kernel's configuration, empty when it does not tell."""
        text = ""
        with contextlib.suppress(OSError):
            text = gzip.decompress(Path("/proc/config.gz").read_bytes()).decode()
        text = text or self.read(f"/boot/config-{os.uname().release}") or ""
        lines = [line.split("=", 1) for line in text.splitlines() if line.startswith("CONFIG_")]
        return {name.removeprefix("CONFIG_"): value for name, value in lines}

    def run(self, *command: str) -> str | None:
        """Return what a program prints, None when it is not there or fails."""
        if shutil.which(command[0]) is None:
            return None
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout if done.returncode == 0 else None

    def exists(self, path: str) -> bool:
        """Whether a file is there."""
        return Path(path).exists()

    def writable(self, folder: str) -> bool:
        """Whether a file can be made in a folder, or in the first of its parents there is."""
        path = Path(folder)
        while not path.exists():
            path = path.parent
        try:
            place = path / ".dsmip-doctor"
            place.write_text("x")
            place.unlink()
        except OSError:
            return False
        return True

    def resolves(self, name: str) -> bool:
        """Whether DNS knows a name."""
        try:
            return bool(socket.getaddrinfo(name, None))
        except OSError:
            return False

    def port_in_use(self, port: int) -> bool:
        """Whether another process has a UDP port."""
        for family, anywhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            try:
                with socket.socket(family, socket.SOCK_DGRAM) as probe:
                    if family == socket.AF_INET6:
                        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    probe.bind((anywhere, port))
            except OSError:
                return True
        return False

    def raw_socket(self, protocol: int) -> bool:
        """Whether raw IPv6 sockets are allowed."""
        try:
            socket.socket(socket.AF_INET6, socket.SOCK_RAW, protocol).close()
        except OSError:
            return False
        return True

    def now(self) -> float:
        """Return the wall clock."""
        return time.time()

    def status(self, path: str) -> dict[str, Any] | None:
        """Return the daemon's status, None when nobody answers."""
        try:
            with Client(path) as client:
                found = client.ask("status")
        except ClientError:
            return None
        return found if isinstance(found, dict) else None


@dataclass(slots=True)
class Patient:
    """What checks look at. ``config`` is None when it cannot be used."""

    host: Host
    path: str
    config: Config | None = None
    status: dict[str, Any] | None = None


def good(subject: str, text: str) -> Finding:
    """Return a finding that needs nothing."""
    return Finding("good", subject, text)


def note(subject: str, text: str, cure: str = "") -> Finding:
    """Return a finding that explains something."""
    return Finding("note", subject, text, cure)


def fault(subject: str, text: str, cure: str) -> Finding:
    """Return a finding that keeps dsmip from working."""
    return Finding("fault", subject, text, cure)


# --- checks ------------------------------------------------------------------------------


def configuration(patient: Patient) -> Iterator[Finding]:
    """The configuration, and what is allowed in it but unwise."""
    try:
        patient.config = load(patient.path)
    except ConfigError as error:
        for one in error.faults:
            yield fault("configuration", str(one), "correct the file, then dsmip check-config")
        return
    yield good("configuration", f"{patient.path} has no mistake")
    for warning in warnings_of(patient.config, patient.path):
        yield note("configuration", warning)


def privileges(patient: Patient) -> Iterator[Finding]:
    """Whether the daemon could do its work as this user."""
    if not patient.host.raw_socket(135):
        yield fault(
            "privileges",
            "no raw socket for the mobility header",
            "run as root, or give CAP_NET_RAW and CAP_NET_ADMIN; IPv6 must be in the kernel",
        )


def clock(patient: Patient) -> Iterator[Finding]:
    """Certificates and logs need a clock; bindings do not."""
    now = patient.host.now()
    if now < _EARLIEST:
        year = time.gmtime(now).tm_year
        yield fault(
            "clock",
            f"it says {year}: certificates are not valid yet",
            "set up NTP (service sysntpd on OpenWrt), reachable before the tunnel is",
        )
    else:
        yield good("clock", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now)))


def daemon(patient: Patient) -> Iterator[Finding]:
    """Whether it runs, and what it says itself."""
    if patient.config is None:
        return
    path = patient.config.globals.socket
    patient.status = patient.host.status(path)
    if patient.status is None:
        yield fault(
            "daemon",
            f"nobody answers on {path}",
            "start it (service dsmip start, on OpenWrt with globals.enabled 1), read its log",
        )
        return
    yield good("daemon", f"dsmipd {patient.status['version']} runs")
    router = patient.status.get("mobile_router")
    if router is None:
        return
    if router["state"] in ("Roaming", "At home"):
        yield good("registration", f"{router['state']} on {router['uplink']}")
        return
    cures = {
        "No uplink": "see 'dsmip uplinks' for the reason of each",
        "Home agent lost": "UDP 4191 or the mobility header is filtered on the way, or the "
        "home agent is down, or keys differ: 'dsmip capture' on both sides tells which",
        "Refused by home agent": "the home agent's configuration of this router",
        "Portal login needed": "log in with a browser: 'dsmip uplinks' tells where",
    }
    text = router["state"] + (f": {router['problem']}" if router["problem"] else "")
    yield fault("registration", text, cures.get(router["state"], "wait some seconds, then again"))


def data_path(patient: Patient) -> Iterator[Finding]:
    """Kernel module, TUN, ESP."""
    config = patient.config
    wanted = "auto" if config is None else config.globals.data_path
    loaded = patient.host.exists("/sys/module/dsmip")
    tun = patient.host.exists("/dev/net/tun")
    if loaded:
        yield good("data path", "the kernel module is loaded")
    elif wanted == "kernel":
        yield fault(
            "data path",
            'the kernel module is not loaded, and data_path is "kernel"',
            "install kmod-dsmip of exactly this kernel, then modprobe dsmip",
        )
    elif tun:
        yield note(
            "data path",
            "portable mode: packets pass through the daemon",
            "install kmod-dsmip for speed; on a kernel that nobody built it for, leave it",
        )
    else:
        yield fault(
            "data path",
            "neither the kernel module nor /dev/net/tun",
            "install kmod-dsmip or kmod-tun, then modprobe",
        )
    symbols = patient.host.kernel_config()
    if symbols and loaded and symbols.get("INET6_ESP") not in ("y", "m"):
        yield fault(
            "IPsec",
            "the kernel has no ESP for IPv6 (CONFIG_INET6_ESP)",
            'install kmod-ipsec6, or set data_path "portable"',
        )
    if symbols and symbols.get("XFRM_MIGRATE") != "y":
        yield note("IPsec", "no XFRM_MIGRATE: SAs are reinstalled at a move, which works as well")


def ports(patient: Patient) -> Iterator[Finding]:
    """UDP ports that somebody else may have."""
    if patient.config is None or patient.status is not None:
        return
    wanted = [patient.config.globals.port]
    if _managers(patient.config) & {Manager.IKEV2}:
        wanted += _IKE_PORTS
    for port in wanted:
        if patient.host.port_in_use(port):
            who = "strongSwan or libreswan" if port in _IKE_PORTS else "another program"
            yield fault(
                "ports",
                f"UDP port {port} is in use, by {who}?",
                f"find it with 'ss -lnup | grep :{port}' and stop it, or change the port",
            )


def _managers(config: Config) -> set[Manager]:
    sections = (config.home_agent, config.mobile_router)
    return {row.plan.manager for section in sections if section for row in section.rows}


def uplinks(patient: Patient) -> Iterator[Finding]:
    """Interfaces of the router, and what the daemon says of them."""
    config, host = patient.config, patient.host
    if config is None or config.mobile_router is None:
        return
    for entry in config.mobile_router.uplinks:
        name = entry.interface
        text = host.read(f"/sys/class/net/{name}/mtu")
        if text is None:
            yield note("uplinks", f"there is no interface {name} now")
            continue
        mtu = int(text)
        if mtu < _LEAST_MTU + _OVERHEAD:
            yield note(
                "uplinks",
                f"{name} has an MTU of {mtu}: full packets are fragmented in the tunnel",
                f"raise it to {_LEAST_MTU + _OVERHEAD} or more if the network allows it",
            )
        if host.read(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6") == "1\n":
            yield note("uplinks", f"IPv6 is off on {name}: it is used by IPv4 only")
    for uplink in (patient.status or {}).get("uplinks", ()):
        if uplink["why_not"] not in ("", "standby", "held"):
            yield note("uplinks", f"{uplink['name']} is not used: {uplink['why_not']}")
        if uplink.get("login_problem"):
            yield note(
                "uplinks",
                f"{uplink['name']}: no login from the LAN: {uplink['login_problem']}",
                "log in from the router itself; nftables with masquerading must be there",
            )


def forwarding(patient: Patient) -> Iterator[Finding]:
    """Settings of the kernel, and other programs' rules."""
    host = patient.host
    if patient.config is not None and patient.config.globals.forwarding and not patient.status:
        return  # the daemon switches it on when it starts
    for name in ("ipv6/conf/all/forwarding", "ipv4/ip_forward"):
        if (host.read(f"/proc/sys/net/{name}") or "").strip() == "0":
            yield fault(
                "forwarding",
                f"net.{name.replace('/', '.')} is 0",
                "leave globals.forwarding on, or set it in /etc/sysctl.conf",
            )


def firewall(patient: Patient) -> Iterator[Finding]:
    """Whether the ports seem to be open."""
    rules = patient.host.run("nft", "list", "ruleset")
    if rules is None:
        return
    drops = "policy drop" in rules or "policy reject" in rules
    port = 4191 if patient.config is None else patient.config.globals.port
    if drops and str(port) not in rules:
        yield fault(
            "firewall",
            f"it drops by default and does not name UDP port {port}",
            "let UDP 4191, ESP (50), the mobility header (135), IPv6 and IPv4 in IP (41, 4) in; "
            "on OpenWrt the running service does it: /etc/init.d/firewall reload",
        )


def names(patient: Patient) -> Iterator[Finding]:
    """Whether DNS answers, where names are used."""
    config = patient.config
    bootstrap = (
        None if config is None or config.mobile_router is None else (config.mobile_router.bootstrap)
    )
    if bootstrap is None:
        return
    reference = bootstrap.reference
    if not patient.host.resolves(reference):
        yield fault(
            "DNS",
            f"{reference} is not known to it",
            "check /etc/resolv.conf, and that the name has records",
        )


def storage(patient: Patient) -> Iterator[Finding]:
    """Whether what must outlive a restart can be written."""
    if patient.config is None:
        return
    common = patient.config.globals
    for folder, what in (
        (common.state, "home addresses given away do not outlive a reboot"),
        (str(Path(common.socket).parent), "the daemon cannot have its control socket"),
    ):
        if not patient.host.writable(folder):
            yield fault("storage", f"{folder} cannot be written: {what}", "free space, remount it")


CHECKS: Final[Sequence[Callable[[Patient], Iterator[Finding]]]] = (
    configuration,
    privileges,
    clock,
    daemon,
    data_path,
    ports,
    uplinks,
    forwarding,
    firewall,
    names,
    storage,
)


def examine(path: str, host: Host | None = None) -> list[Finding]:
    """Carry out all checks on a configuration and the machine it is on."""
    patient = Patient(host or Host(), path)
    return [finding for check in CHECKS for finding in check(patient)]
