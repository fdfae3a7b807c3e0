# SPDX-License-Identifier: GPL-2.0-only
"""Measures forwarding through tunnels, in the guest, in alternating rounds.

    source --- near ===== far --- sink

``near`` is the mobile router of a network with ``source`` in it, ``far`` its home
agent; both forward. Every kind carries the same inner IPv6 packets. Only the one
that is measured exists meanwhile: dsmip looks at tunnel packets before sit and
ip6tnl do, and would be paid for by them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.lab.kmodlib import (
    Device,
    delete_namespaces,
    inside,
    ip_batch,
    load_module,
    module_file,
    ns_run,
    path,
    prefix,
    run,
    sysctl,
)

SOURCE, NEAR, FAR, SINK = NAMESPACES = ("b-source", "b-near", "b-far", "b-sink")
NEAR6, FAR6, NEAR4, FAR4 = "2001:db8:7::a", "2001:db8:7::b", "198.18.7.1", "198.18.7.2"
MOBILE, FIXED = "2001:db8:5::/48", "2001:db8:6::/48"
HOME = "2001:db8:5:ff::1"
# Of each side: its host, the router on its link, and a network that the host
# drops without a word, where small packets end.
HOSTS = {SOURCE: "2001:db8:5:1::2", SINK: "2001:db8:6:1::2"}
ROUTERS = {SOURCE: "2001:db8:5:1::1", SINK: "2001:db8:6:1::1"}
DROPS = {SOURCE: "2001:db8:5:2::", SINK: "2001:db8:6:2::"}
#: The same for all kinds, so that they carry segments of the same size.
MTU = 1400
MODULES = "sit fou ip6_tunnel wireguard pktgen veth udp_tunnel ip6_udp_tunnel tunnel4 tunnel6"
FOU_PORT, WIREGUARD_PORT = 5555, 51820
PAYLOAD = 64
BURSTS = 6
#: How many bursts may lose packets, which are no measure, before there is one that does not.
_TRIES = 20
#: The share of a burst that may still wait to be forwarded when its time is over.
_LATE = 0.01
#: Where time counts instructions it leaps ahead whenever the machine waits for its host.
PATIENCE = 100_000.0
_LOOKS = 20
_HEADERS = 14 + 40 + 8  # Ethernet, IPv6, UDP: what pktgen counts in as well

Figures = dict[str, dict[str, list[float]]]


class Incomplete(Exception):
    """Packets got lost, or a program failed: there is no figure."""


# --- the network ----------------------------------------------------------------


def build() -> None:
    """Make the namespaces and the links between them."""
    delete_namespaces(*NAMESPACES)
    run("".join(f"ip netns add {name};" for name in NAMESPACES), timeout=PATIENCE)
    for name in NAMESPACES:
        sysctl(
            name,
            {
                "net/ipv6/conf/all/forwarding": 1,
                "net/ipv4/conf/all/forwarding": 1,
                "net/ipv6/conf/all/accept_dad": 0,
                "net/ipv6/conf/default/accept_dad": 0,
            },
        )
        ip_batch(name, "link set lo up")
    for host, router in ((SOURCE, NEAR), (SINK, FAR)):
        ip_batch(
            host,
            f"link add eth0 mtu {MTU} type veth peer name lan mtu {MTU} netns {router}\n"
            f"addr add {HOSTS[host]}/64 dev eth0 nodad\nlink set eth0 up",
        )
        ip_batch(
            router,
            f"addr add {ROUTERS[host]}/64 dev lan nodad\nlink set lan up\n"
            f"route add {DROPS[host]}/64 via {HOSTS[host]}",
        )
        ip_batch(
            host, f"route add ::/0 via {ROUTERS[host]}\n-6 route add blackhole {DROPS[host]}/64"
        )
    ip_batch(NEAR, f"link add wire type veth peer name wire netns {FAR}")
    for name, six, four in ((NEAR, NEAR6, NEAR4), (FAR, FAR6, FAR4)):
        ip_batch(
            name, f"addr add {six}/64 dev wire nodad\naddr add {four}/24 dev wire\nlink set wire up"
        )


# --- the kinds ------------------------------------------------------------------


@contextmanager
def _both(near: str, far: str) -> Iterator[None]:
    """Have a tunnel t0 on either side, made by lines of ``ip``; routes lead into it."""
    for name, lines, to in ((NEAR, near, FIXED), (FAR, far, MOBILE)):
        ip_batch(name, f"{lines}\nlink set t0 mtu {MTU}\nlink set t0 up\nroute add {to} dev t0")
    try:
        yield
    finally:
        for name in (NEAR, FAR):
            ip_batch(name, "link del t0")


@contextmanager
def _plain() -> Iterator[None]:
    ip_batch(NEAR, f"route add {FIXED} via {FAR6}")
    ip_batch(FAR, f"route add {MOBILE} via {NEAR6}")
    try:
        yield
    finally:
        ip_batch(NEAR, f"route del {FIXED}")
        ip_batch(FAR, f"route del {MOBILE}")


@contextmanager
def _ip_tunnel(kind: str, more: str, near: str, far: str) -> Iterator[None]:
    ends = ((near, far), (far, near))
    lines = [f"link add t0 type {kind} local {a} remote {b} {more}" for a, b in ends]
    with _both(*lines):
        yield


@contextmanager
def _fou() -> Iterator[None]:
    ports = f"encap fou encap-sport {FOU_PORT} encap-dport {FOU_PORT}"
    for name in (NEAR, FAR):
        ns_run(name, f"ip fou add port {FOU_PORT} ipproto 41", timeout=PATIENCE)
    try:
        with _ip_tunnel("sit", ports, NEAR4, FAR4):
            yield
    finally:
        for name in (NEAR, FAR):
            ns_run(name, f"ip fou del port {FOU_PORT}", timeout=PATIENCE)


@contextmanager
def _wireguard() -> Iterator[None]:
    def key(command: str, given: str = "") -> str:
        done = subprocess.run(
            ["wg", command], input=given, capture_output=True, check=True, text=True
        )
        return done.stdout.strip()

    line = "link add t0 type wireguard"
    keys = {name: key("genkey") for name in (NEAR, FAR)}
    with _both(line, line):
        for name, other, address in ((NEAR, FAR, FAR4), (FAR, NEAR, NEAR4)):
            file = Path(f"/run/{name}.key")
            file.write_text(keys[name])
            ns_run(
                name,
                f"wg set t0 listen-port {WIREGUARD_PORT} private-key {file} "
                f"peer {key('pubkey', keys[other])} allowed-ips ::/0 "
                f"endpoint {address}:{WIREGUARD_PORT}",
                timeout=PATIENCE,
            )
        yield


@contextmanager
def _dsmip(kind: str) -> Iterator[None]:
    near, far = (NEAR6, FAR6) if kind == "ip6" else (NEAR4, FAR4)
    line = "link add t0 type dsmip"
    with _both(line, line), ExitStack() as stack:
        router, agent = Device(NEAR, "t0"), Device(FAR, "t0")
        stack.callback(router.close)
        stack.callback(agent.close)
        # As a daemon does it: the router checks both ends of every packet, the
        # agent knows whose source it is.
        own = [prefix("::/0"), prefix("0.0.0.0/0"), prefix(MOBILE, local=True)]
        router.binding_set(HOME, mobile=True, prefixes=own, paths=[path(kind, near, far)])
        agent.binding_set(HOME, prefixes=[prefix(MOBILE)], paths=[path(kind, far, near)])
        yield


KINDS: dict[str, Callable[[], object]] = {
    "plain": _plain,
    # Ours beside its rival: the machine is the same for both then.
    "sit": lambda: _ip_tunnel("sit", "", NEAR4, FAR4),
    "ip4": lambda: _dsmip("ip4"),
    "fou": _fou,
    "udp4": lambda: _dsmip("udp4"),
    # It carries both families, as ours does; its encapsulation limit option, on by
    # default, is for nobody else to carry.
    "ip6tnl": lambda: _ip_tunnel("ip6tnl", "mode any encaplimit none", NEAR6, FAR6),
    "ip6": lambda: _dsmip("ip6"),
    "ip6tnl-lim": lambda: _ip_tunnel("ip6tnl", "mode any", NEAR6, FAR6),
    "ip6tnl-6": lambda: _ip_tunnel("ip6tnl", "mode ip6ip6 encaplimit none", NEAR6, FAR6),
    "wireguard": _wireguard,
}


# --- the traffic ----------------------------------------------------------------


def tcp(seconds: int) -> float:
    """Return Mbit/s of one TCP connection from source to sink."""
    command = f"iperf3 -6 -c {HOSTS[SINK]} -t {seconds} -A 0,1 -J"
    told = json.loads(ns_run(SOURCE, command, check=False, timeout=PATIENCE))
    if "error" in told:
        raise Incomplete(told["error"])
    return float(told["end"]["sum_received"]["bits_per_second"]) / 1e6


def _received(name: str) -> int:
    with inside(name):
        found = re.search(r"eth0:\s*\d+\s+(\d+)", Path("/proc/thread-self/net/dev").read_text())
    assert found
    return int(found[1])


def packets(sender: str, receiver: str, count: int) -> tuple[float, int]:
    """Send UDP packets from host to host; return ns for each and how many got lost.

    The time is the packet generator's own: starting it takes longer than all
    packets do. They are forwarded while they are sent, on the same processor.
    """
    router = NEAR if sender == SOURCE else FAR
    link = json.loads(ns_run(router, "ip -j link show lan", timeout=PATIENCE))
    settings = (
        f"count {count}",
        "clone_skb 0",
        f"pkt_size {_HEADERS + PAYLOAD}",
        "delay 0",
        f"dst6 {DROPS[receiver]}9",
        f"src6 {HOSTS[sender]}",
        f"dst_mac {link[0]['address']}",
    )
    before = _received(receiver)
    with inside(sender):
        root = Path("/proc/thread-self/net/pktgen")
        (root / "kpktgend_0").write_text("rem_device_all\n")
        (root / "kpktgend_0").write_text("add_device eth0\n")
        for setting in settings:
            (root / "eth0").write_text(setting + "\n")
        (root / "pgctrl").write_text("start\n")
        # "start" may return while the result is still being written.
        for _ in range(_LOOKS):
            told = (root / "eth0").read_text()
            found = re.search(r"Result: OK: (\d+)\(c\d+\+d\d+\) usec, (\d+)", told)
            if found:
                break
            time.sleep(0.05)
    if not found or int(found[2]) != count:
        raise Incomplete(told)
    arrived, last = _received(receiver) - before, -1
    while arrived < count and arrived != last:
        time.sleep(0.05)
        last, arrived = arrived, _received(receiver) - before
    return int(found[1]) * 1000 / count, count - arrived


@contextmanager
def _nothing_waits(count: int) -> Iterator[None]:
    """Have packets forwarded while they are sent: what waits long is lost, and shows.

    The kernel's thread that forwards what the sender left comes before the sender.
    """
    limit = Path("/proc/sys/net/core/netdev_max_backlog")
    before = limit.read_text()
    for name in Path("/proc").glob("[0-9]*/comm"):
        if name.read_text().startswith("ksoftirqd/"):
            os.sched_setscheduler(int(name.parent.name), os.SCHED_FIFO, os.sched_param(1))
    limit.write_text(str(int(count * _LATE)))
    try:
        yield
    finally:
        limit.write_text(before)


def whole(sender: str, receiver: str, count: int) -> tuple[float, int]:
    """Return ns for each packet of a burst that arrived whole, and how many bursts did not."""
    for discarded in range(_TRIES):
        each, lost = packets(sender, receiver, count)
        if not lost:
            return each, discarded
    raise Incomplete(f"of {count} packets some got lost, {_TRIES} times")


# --- the rounds -----------------------------------------------------------------


def by_clock(kinds: list[str], rounds: int, seconds: int, count: int) -> Figures:
    """Return Mbit/s, packets/s and discarded bursts of each kind in every round."""
    found: Figures = {kind: {"mbit": [], "pps": [], "discarded": []} for kind in kinds}
    server = subprocess.Popen(
        ["ip", "netns", "exec", SINK, "iperf3", "-s"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for number in _alternating(kinds, rounds):
            for kind in number:
                with KINDS[kind]():  # type: ignore[attr-defined]
                    _reach()
                    packets(SOURCE, SINK, count // 10)
                    with _nothing_waits(count):
                        bursts = [whole(SOURCE, SINK, count) for _ in range(BURSTS)]
                    # The least disturbed: an emulated machine's bursts vary by a tenth.
                    found[kind]["pps"].append(1e9 / min(each for each, _ in bursts))
                    found[kind]["discarded"].append(sum(discarded for _, discarded in bursts))
                    found[kind]["mbit"].append(tcp(seconds))
    finally:
        server.terminate()
        server.wait()
    return found


def by_instructions(kinds: list[str], rounds: int, count: int) -> Figures:
    """Return instructions for each packet, from and to the mobile network.

    In this machine an instruction takes one nanosecond.
    """
    found: Figures = {kind: {"up": [], "down": [], "lost": []} for kind in kinds}
    for number in _alternating(kinds, rounds):
        for kind in number:
            with KINDS[kind]():  # type: ignore[attr-defined]
                _reach()
                for name, sender, receiver in (("up", SOURCE, SINK), ("down", SINK, SOURCE)):
                    packets(sender, receiver, count // 10)
                    each, lost = packets(sender, receiver, count)
                    found[kind][name].append(each)
                    found[kind]["lost"].append(lost)
    return found


def _alternating(kinds: list[str], rounds: int) -> Iterator[list[str]]:
    """Every other round goes backwards, so that no kind always follows the same one."""
    for number in range(rounds):
        start = time.monotonic()
        yield kinds[:: -1 if number % 2 else 1]
        print(f"round {number + 1} of {rounds}, {time.monotonic() - start:.0f} s", flush=True)


def _reach() -> None:
    ns_run(SOURCE, f"ping -n -q -c 2 -i 0.1 -W 3 {HOSTS[SINK]}", timeout=PATIENCE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--count", type=int, default=30000)
    parser.add_argument("--instructions", action="store_true")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    options = parser.parse_args()
    # All that is read from the host, before something with a timeout needs it.
    module_file().read_bytes()
    run(f"modprobe -a {MODULES}", timeout=PATIENCE)
    load_module()
    build()
    if options.instructions:
        found = by_instructions(options.kinds, options.rounds, options.count)
    else:
        found = by_clock(options.kinds, options.rounds, options.seconds, options.count)
    (Path(os.environ["DSMIP_OUT"]) / "figures.json").write_text(json.dumps(found))
    delete_namespaces(*NAMESPACES)


if __name__ == "__main__":
    main()
