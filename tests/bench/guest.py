# SPDX-License-Identifier: GPL-2.0-only
"""Measures forwarding through tunnels, in the guest, in alternating rounds.

    source --- near ===== tunnel ===== far --- sink

``near`` and ``far`` are routers joined by a veth; the tunnels run over it. Small
packets come from the kernel's packet generator, are forwarded twice and counted
where they leave for the sink. Every kind carries the same inner IPv6 packets.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from pathlib import Path

from tests.lab.kmodlib import (
    Device,
    N,
    delete_namespaces,
    inside,
    ip_batch,
    load_module,
    ns_run,
    path,
    prefix,
    run,
    sysctl,
)

SOURCE, NEAR, FAR = "b-source", "b-near", "b-far"
# sit allows one tunnel between two addresses: FOU has a pair of its own.
FOU_NEAR4, FOU_FAR4 = "198.18.8.1", "198.18.8.2"
NEAR6, FAR6, NEAR4, FAR4 = "2001:db8:7::a", "2001:db8:7::b", "198.18.7.1", "198.18.7.2"
SENDER, HOME, SINK, TARGET = "2001:db8:5::2", "2001:db8:5::ff", "2001:db8:6::1", "2001:db8:6::99"
BEHIND_NEAR, BEHIND_FAR = "2001:db8:5::/64", "2001:db8:6::/64"
MTU = 1400
DSMIP = ("udp4", "ip4", "ip6")
Figures = dict[str, dict[str, list[float]]]
KINDS = ("plain", "sit", "fou", "ip6tnl", "wireguard", *DSMIP)


def build() -> None:
    """Make the three namespaces and every tunnel."""
    delete_namespaces(SOURCE, NEAR, FAR)
    run("".join(f"ip netns add {name};" for name in (SOURCE, NEAR, FAR)))
    run("modprobe -a sit fou fou6 ip6_tunnel wireguard pktgen")
    for name in (SOURCE, NEAR, FAR):
        sysctl(
            name,
            {
                "net/ipv6/conf/all/forwarding": 1,
                "net/ipv4/conf/all/forwarding": 1,
                "net/ipv6/conf/all/accept_dad": 0,
                "net/ipv6/conf/default/accept_dad": 0,
            },
        )
    ip_batch(
        SOURCE,
        f"link set lo up\nlink add eth0 mtu {MTU} type veth peer name source mtu {MTU} "
        f"netns {NEAR}\naddr add {SENDER}/64 dev eth0 nodad\nlink set eth0 up",
    )
    ip_batch(
        NEAR,
        f"link set lo up\naddr add 2001:db8:5::1/64 dev source nodad\nlink set source up\n"
        f"link add wire type veth peer name wire netns {FAR}\naddr add {NEAR6}/64 dev wire nodad\n"
        f"addr add {NEAR4}/24 dev wire\naddr add {FOU_NEAR4}/24 dev wire\nlink set wire up",
    )
    ip_batch(
        FAR,
        f"link set lo up\naddr add {FAR6}/64 dev wire nodad\naddr add {FAR4}/24 dev wire\n"
        f"addr add {FOU_FAR4}/24 dev wire\n"
        f"link set wire up\nlink add sink type dummy\naddr add {SINK}/64 dev sink nodad\n"
        f"link set sink up\nneigh add {TARGET} lladdr 02:00:00:00:00:99 dev sink",
    )
    ip_batch(SOURCE, "route add ::/0 via 2001:db8:5::1")
    _tunnels(NEAR, (NEAR4, FAR4), (FOU_NEAR4, FOU_FAR4), (NEAR6, FAR6))
    _tunnels(FAR, (FAR4, NEAR4), (FOU_FAR4, FOU_NEAR4), (FAR6, NEAR6))
    _wireguard()


def _tunnels(name: str, *ends: tuple[str, str]) -> None:
    four, fou, six = ("local {} remote {}".format(*pair) for pair in ends)
    ns_run(name, "ip fou add port 5555 ipproto 41")
    ip_batch(
        name,
        f"link add s0 mtu {MTU} type sit {four}\nlink set s0 up\n"
        f"link add f0 mtu {MTU} type sit {fou} encap fou encap-sport 5555 encap-dport 5555\n"
        f"link set f0 up\nlink add t0 mtu {MTU} type ip6tnl mode ip6ip6 {six} encaplimit none\n"
        f"link set t0 up\nlink add mip0 mtu {MTU} type dsmip\nlink set mip0 up\n"
        f"link add wg0 mtu {MTU} type wireguard",
    )


def _wireguard() -> None:
    def made(command: str, given: str = "") -> str:
        done = subprocess.run(
            ["wg", command], input=given, capture_output=True, check=True, text=True
        )
        return done.stdout.strip()

    keys = {name: made("genkey") for name in (NEAR, FAR)}
    for name, other, address in ((NEAR, FAR, FAR4), (FAR, NEAR, NEAR4)):
        file = Path(f"/tmp/{name}.key")
        file.write_text(keys[name])
        ns_run(
            name,
            f"wg set wg0 listen-port 51820 private-key {file} peer {made('pubkey', keys[other])} "
            f"allowed-ips ::/0 endpoint {address}:51820",
        )
        ns_run(name, "ip link set wg0 up")


class Bench:
    """All kinds, switched by a route in each router."""

    def __init__(self) -> None:
        self._near, self._far = Device(NEAR), Device(FAR)
        found = ns_run(NEAR, "ip -o link show source")
        self._mac = found.split("link/ether ")[1].split()[0]

    def use(self, kind: str) -> None:
        """Send everything by this kind of tunnel."""
        devices = {"sit": "s0", "fou": "f0", "ip6tnl": "t0", "wireguard": "wg0"}
        if kind == "plain":
            ways = (f"via {FAR6}", f"via {NEAR6}")
        else:
            ways = (f"dev {devices.get(kind, 'mip0')}",) * 2
        if kind in DSMIP:
            near, far = (NEAR6, FAR6) if kind == "ip6" else (NEAR4, FAR4)
            own = [prefix("::/0"), prefix(BEHIND_NEAR, local=True)]
            other = N["DSMIP_REQUEST_F_REPLACE_PATHS"]
            self._near.binding_set(
                HOME, mobile=True, prefixes=own, paths=[path(kind, near, far)], request=other
            )
            theirs = [prefix(BEHIND_NEAR)]
            self._far.binding_set(
                HOME, prefixes=theirs, paths=[path(kind, far, near)], request=other
            )
        ns_run(NEAR, f"ip route replace {BEHIND_FAR} {ways[0]}")
        ns_run(FAR, f"ip route replace {BEHIND_NEAR} {ways[1]}")
        ns_run(SOURCE, f"ping -n -q -c 2 -i 0.2 -W 2 {SINK}")

    def tcp(self, seconds: float) -> float:
        """Return Mbit/s of one TCP connection from source to sink."""
        text = ns_run(SOURCE, f"iperf3 -6 -c {SINK} -t {seconds} -O 0.3 -J", check=False)
        return float(json.loads(text)["end"]["sum_received"]["bits_per_second"]) / 1e6

    def packets(self, count: int) -> tuple[float, int]:
        """Forward packets of 64 octets; return (seconds, arrived)."""
        settings = [
            f"count {count}",
            "clone_skb 0",
            "pkt_size 64",
            "delay 0",
            f"dst6 {TARGET}",
            f"src6 {SENDER}",
            f"dst_mac {self._mac}",
            "udp_dst_min 9",
            "udp_dst_max 9",
        ]
        with inside(SOURCE):
            root = Path("/proc/thread-self/net/pktgen")
            (root / "kpktgend_0").write_text("rem_device_all\n")
            (root / "kpktgend_0").write_text("add_device eth0\n")
            for setting in settings:
                (root / "eth0").write_text(setting + "\n")
            before = self._arrived()
            start = time.monotonic()
            (root / "pgctrl").write_text("start\n")
            elapsed = time.monotonic() - start
        time.sleep(0.05)
        return elapsed, self._arrived() - before

    @staticmethod
    def _arrived() -> int:
        found = json.loads(ns_run(FAR, "ip -j -s link show sink"))
        return int(found[0]["stats64"]["tx"]["packets"])


def measure(
    rounds: int, seconds: float, count: int, tcp: bool
) -> dict[str, dict[str, list[float]]]:
    """Return for each kind its figures of every round."""
    bench = Bench()
    found: Figures = {kind: {"mbit": [], "pps": [], "ns": [], "lost": []} for kind in KINDS}
    server = None
    if tcp:
        server = subprocess.Popen(
            ["ip", "netns", "exec", FAR, "iperf3", "-s"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(1)
    for number in range(rounds):
        # Every other round goes backwards, so that no kind always follows the same one.
        for kind in KINDS[::-1] if number % 2 else KINDS:
            bench.use(kind)
            figures = found[kind]
            if tcp:
                figures["mbit"].append(bench.tcp(seconds))
            bench.packets(count // 10)
            elapsed, arrived = bench.packets(count)
            figures["pps"].append(arrived / elapsed)
            figures["ns"].append(elapsed * 1e9 / count)
            figures["lost"].append(count - arrived)
        print(f"round {number + 1} of {rounds}", flush=True)
    if server is not None:
        server.terminate()
        server.wait()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--count", type=int, default=30000)
    parser.add_argument("--no-tcp", action="store_true")
    options = parser.parse_args()
    load_module()
    build()
    found = measure(options.rounds, options.seconds, options.count, not options.no_tcp)
    (Path(os.environ["DSMIP_OUT"]) / "figures.json").write_text(json.dumps(found))
    delete_namespaces(SOURCE, NEAR, FAR)


if __name__ == "__main__":
    main()
