# SPDX-License-Identifier: GPL-2.0-only
"""A router, a home agent and a host behind each, joined by the kernel's IPsec alone.

lan -- mr -- core -- ha -- cn. The router has two care-of addresses of IPv6, a
public one of IPv4 and one behind a NAT, which is in core. There is no dsmip
device: what goes through the tunnel is ESP between care-of address and agent.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import threading
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from dsmip.ipsec.association import Association, Cipher, Integrity, Mode, SecurityProtocol
from dsmip.ipsec.movement import Ability, plan
from dsmip.ipsec.policy import (
    Ends,
    Form,
    Kind,
    Mobile,
    Place,
    Protection,
    Role,
    Row,
    Whereabouts,
    bypass_policies,
    first_reqid,
    policies,
    rows,
)
from dsmip.linux.ike_socket import IkeSockets
from dsmip.linux.netlink import NETLINK_XFRM, NetlinkError, NetlinkSocket, Overrun
from dsmip.linux.xfrm import Xfrm, XfrmMonitor
from dsmip.linux.xfrm_events import Event

from tests.lab.kmodlib import delete_namespaces, inside, ip_batch, ns_run, sysctl
from tests.lab.kmodnet import Capture, reaches

HOA, HA = IPv6Address("2001:db8:1::100"), IPv6Address("2001:db8:1::1")
HA4 = IPv4Address("198.51.100.1")
COA, COA_2 = IPv6Address("2001:db8:a::2"), IPv6Address("2001:db8:a::3")
COA4, PRIVATE = IPv4Address("198.18.0.2"), IPv4Address("10.0.5.2")
NAT, NAT_PORT = IPv4Address("198.51.100.254"), 20001
NET6, NET4 = IPv6Network("2001:db8:100::/56"), IPv4Network("203.0.113.0/28")
LAN, LAN4 = "2001:db8:100::2", "203.0.113.2"
ROUTER_LAN = "2001:db8:100::1"
CN, CN4 = "2001:db8:c::2", "192.0.2.2"

MOBILE = Mobile(HOA, HA, first_reqid("bus-17"), None, (NET6, NET4))
PROTECTION = Protection(payload=Form.RFC4877)

_FLUSH_ASSOCIATIONS, _FLUSH_POLICIES = 0x1C, 0x1D

ROUTER, AGENT = Role.MOBILE_ROUTER, Role.HOME_AGENT


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in the topology, as either end sees it."""

    router: Place
    agent: Place


AT = {
    "v6": Spot(Ends(COA, HA), Ends(COA, HA)),
    "v6-2": Spot(Ends(COA_2, HA), Ends(COA_2, HA)),
    "v4": Spot(Ends(COA4, HA4), Ends(COA4, HA4)),
    "nat": Spot(Ends(PRIVATE, HA4, (4500, 4500)), Ends(NAT, HA4, (NAT_PORT, 4500))),
    "home": Spot(Whereabouts.HOME, Whereabouts.HOME),
    "unknown": Spot(Whereabouts.UNKNOWN, Whereabouts.HOME),
}


@dataclass(frozen=True, slots=True)
class Suite:
    """Algorithms of a pair of associations."""

    cipher: Cipher
    integrity: Integrity
    key_size: int = 0
    esn: bool = False
    window: int = 32
    protocol: SecurityProtocol = SecurityProtocol.ESP


GCM = Suite(Cipher.AES_GCM_16, Integrity.NONE, 20, window=128)
GCM_ESN = Suite(Cipher.AES_GCM_16, Integrity.NONE, 20, esn=True, window=64)


class Side:
    """One end: its kernel, what it holds and where it thinks the router is."""

    def __init__(self, role: Role, ns: str) -> None:
        self.role, self.ns = role, ns
        self.place: Place = Whereabouts.HOME
        self.protection = PROTECTION
        with inside(ns):
            self.xfrm = Xfrm()
            self.monitor = XfrmMonitor()
            self.sockets = IkeSockets()

    @property
    def rows(self) -> tuple[Row, ...]:
        return rows(MOBILE, self.protection)

    def row(self, kind: Kind = Kind.PAYLOAD) -> Row:
        """Return the row of a kind."""
        return next(row for row in self.rows if row.kind is kind)

    def force(self, ability: Ability | None) -> None:
        """Take the kernel for one of less ability, or see for itself."""
        with inside(self.ns):
            self.xfrm.close()
            self.xfrm = Xfrm(ability)

    def install(self, spot: Spot, associations: tuple[Association, ...] = ()) -> None:
        """Start at a place with exactly this."""
        self.place = spot.router if self.role is ROUTER else spot.agent
        wanted = policies(MOBILE, self.protection, self.role, self.place)
        bypass = bypass_policies(self.role, (HA, HA4))
        with inside(self.ns):
            self.xfrm.synchronise(associations, (*wanted, *bypass))
        self.drain()

    def drain(self) -> list[Event]:
        """Return what the kernel told; what was too much for the socket is lost."""
        found: list[Event] = []
        while True:
            try:
                found += self.monitor.receive()
                return found
            except Overrun:
                continue

    def held(self) -> list[Association]:
        """Return the associations that the kernel holds."""
        return self.xfrm.associations()

    def move(self, spot: Spot, announce: bool = True) -> None:
        """Move to another place."""
        new = spot.router if self.role is ROUTER else spot.agent
        steps = plan(
            self.rows, self.role, self.place, new, self.xfrm.ability, self.held(), announce
        )
        with inside(self.ns):
            self.xfrm.carry(steps)
        self.place = new

    def flush(self) -> None:
        """Remove all policies and associations, whosever they are."""
        with inside(self.ns):
            netlink = NetlinkSocket(NETLINK_XFRM)
        for kind, body in ((_FLUSH_POLICIES, b""), (_FLUSH_ASSOCIATIONS, bytes(1))):
            with contextlib.suppress(NetlinkError):  # there is nothing
                netlink.request(kind, body)
        netlink.close()

    def counters(self) -> dict[str, int]:
        """Return the error counters of IPsec that are not zero."""
        with inside(self.ns), open("/proc/net/xfrm_stat") as lines:
            pairs = [line.split() for line in lines]
        return {name: int(value) for name, value in pairs if int(value)}

    def ip(self, arguments: str) -> str:
        """Return what iproute2 says of the same."""
        return ns_run(self.ns, f"ip {arguments}")

    def close(self) -> None:
        self.xfrm.close()
        self.monitor.close()
        self.sockets.close()


class XfrmWorld:
    """The five namespaces; nothing of IPsec in them yet but IKE's sockets."""

    def __init__(self) -> None:
        names = ("x-lan", "x-mr", "x-core", "x-ha", "x-cn")
        self.lan, self.mr, self.core, self.ha, self.cn = self.names = names
        delete_namespaces(*names)
        settings: dict[str, object] = {
            "net/ipv6/conf/all/forwarding": 1,
            "net/ipv6/conf/default/accept_dad": 0,
            "net/ipv6/conf/all/accept_dad": 0,
            "net/ipv4/conf/all/forwarding": 1,
            "net/ipv4/conf/all/rp_filter": 0,
            "net/ipv4/conf/default/rp_filter": 0,
        }
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
            sysctl(name, settings)
        ip_batch(
            self.core,
            f"""
            link add tomr type veth peer name wan0 netns {self.mr}
            link add toha type veth peer name home netns {self.ha}
            addr add 2001:db8:a::1/64 dev tomr nodad
            addr add 198.18.0.1/24 dev tomr
            addr add 10.0.5.1/24 dev tomr
            addr add 2001:db8:1::ff/64 dev toha nodad
            addr add {NAT}/24 dev toha
            link set tomr up
            link set toha up
            route add 192.0.2.0/24 via {HA4}
            -6 route add 2001:db8:c::/64 via {HA}
            """,
        )
        ip_batch(
            self.mr,
            f"""
            link set lo up
            link add lan0 type veth peer name eth0 netns {self.lan}
            addr add {HOA}/128 dev lo
            addr add {COA}/64 dev wan0 nodad
            addr add {COA_2}/64 dev wan0 nodad
            addr add {COA4}/24 dev wan0
            addr add {PRIVATE}/24 dev wan0
            addr add {ROUTER_LAN}/64 dev lan0 nodad
            addr add 203.0.113.1/28 dev lan0
            link set wan0 up
            link set lan0 up
            route add default via 198.18.0.1
            -6 route add default via 2001:db8:a::1
            """,
        )
        ip_batch(
            self.lan,
            f"""
            addr add {LAN}/64 dev eth0 nodad
            addr add {LAN4}/28 dev eth0
            link set eth0 up
            route add default via 203.0.113.1
            -6 route add default via {ROUTER_LAN}
            """,
        )
        ip_batch(
            self.ha,
            f"""
            link set lo up
            link add tocn type veth peer name eth0 netns {self.cn}
            addr add {HA}/64 dev home nodad
            addr add {HA4}/24 dev home
            addr add 2001:db8:c::1/64 dev tocn nodad
            addr add 192.0.2.1/24 dev tocn
            link set home up
            link set tocn up
            route add default via {NAT}
            -6 route add default via 2001:db8:1::ff
            -6 route add {HOA}/128 via 2001:db8:1::ff
            """,
        )
        ip_batch(
            self.cn,
            f"""
            addr add {CN}/64 dev eth0 nodad
            addr add {CN4}/24 dev eth0
            link set eth0 up
            route add default via 192.0.2.1
            -6 route add default via 2001:db8:c::1
            """,
        )
        rules = (
            "add table ip x; add chain ip x out "
            "{ type nat hook postrouting priority 100; }; "
            f"add rule ip x out ip saddr {PRIVATE} udp dport 4500 masquerade to :{NAT_PORT}"
        )
        ns_run(self.core, f"nft '{rules}'")
        # Whatever is not protected would arrive.
        ip_batch(
            self.core,
            f"""
            route add {NET4} via {COA4}
            -6 route add {NET6} via {COA}
            -6 route add {HOA}/128 via {COA}
            """,
        )
        self.router, self.agent = Side(ROUTER, self.mr), Side(AGENT, self.ha)
        self.sides = (self.router, self.agent)
        self._spi = 0x1000

    def keyed(self, spot: Spot, suite: Suite, kind: Kind = Kind.PAYLOAD) -> list[list[Association]]:
        """Return a new pair of associations for a row, as either end has it."""
        made: list[list[Association]] = [[], []]
        row = self.router.row(kind)
        for towards_agent in (True, False):
            self._spi += 1
            keys = os.urandom(suite.key_size), os.urandom(suite.integrity.key_size)
            for found, place in zip(made, (spot.router, spot.agent), strict=True):
                ends = row.ends(place if isinstance(place, Ends) else None)
                found.append(
                    Association(
                        *ends.pair(towards_agent),
                        self._spi,
                        *keys,
                        None if row.mode is Mode.TUNNEL else row.selectors(towards_agent)[0],
                        row.mode,
                        row.reqid,
                        suite.protocol,
                        suite.cipher,
                        suite.integrity,
                        suite.esn,
                        suite.window,
                        ends.encapsulation(towards_agent),
                    )
                )
        return made

    def start(self, where: str, suite: Suite | None = GCM, **protection: Any) -> None:
        """Begin anew at a place, with a pair of associations for payload."""
        for side in self.sides:
            side.force(None)
            side.protection = Protection(**{"payload": Form.RFC4877, **protection})
        spot = AT[where]
        pairs = self.keyed(spot, suite) if suite else [[], []]
        for side, pair in zip(self.sides, pairs, strict=True):
            side.install(spot, tuple(pair))

    def move(self, where: str, announce: bool = True) -> None:
        """Move both ends, the router first."""
        for side in self.sides:
            side.move(AT[where], announce)

    def passes(self, four: bool = False) -> bool:
        """Tell whether datagrams come through, both ways."""
        lan, cn = (LAN4, CN4) if four else (LAN, CN)
        return reaches(self.lan, lan, self.cn, cn) and reaches(self.cn, cn, self.lan, lan)

    def leaks(self, four: bool = False) -> bool:
        """Tell whether anything gets through, either way, when nothing should."""
        lan, cn = (LAN4, CN4) if four else (LAN, CN)
        ways = ((self.lan, lan, self.cn, cn), (self.cn, cn, self.lan, lan))
        return any(reaches(*way, timeout=0.2) for way in ways)

    def capture(self, device: str = "toha") -> Capture:
        """Capture in the core."""
        return Capture(self.core, device)

    def spis(self) -> list[int]:
        """Return the SPIs towards the agent and towards the router."""
        found = self.router.held()
        found.sort(key=lambda one: one.spi)
        return [one.spi for one in found if one.reqid == self.router.row().reqid]

    def clear(self) -> None:
        """Leave nothing behind."""
        for side in self.sides:
            side.flush()
            side.drain()

    def close(self) -> None:
        for side in self.sides:
            side.close()
        delete_namespaces(*self.names)


class Load:
    """Datagrams in both directions, some thousand in a second, from a thread."""

    def __init__(self, world: XfrmWorld) -> None:
        self._world = world
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with contextlib.ExitStack() as stack:
            ways = []
            for ns, source, target in (
                (self._world.lan, LAN, CN),
                (self._world.cn, CN, LAN),
            ):
                with inside(ns):
                    sender = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
                sender.bind((source, 0))
                ways.append((sender, target))
            while not self._end.wait(0.001):
                for sender, target in ways:
                    for _ in range(4):
                        with contextlib.suppress(OSError):
                            sender.sendto(b"load" * 8, (target, 9))

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def esp_of(packet: bytes) -> tuple[int, int] | None:
    """Return SPI and sequence number of an ESP packet, in UDP or not."""
    four = packet[0] >> 4 == 4
    protocol, at = (packet[9], 20) if four else (packet[6], 40)
    if protocol == 17 and len(packet) >= at + 16:
        at += 8
        if packet[at : at + 4] == bytes(4) or 4500 not in struct.unpack_from("!HH", packet, at - 8):
            return None
    elif protocol != 50:
        return None
    spi, sequence = struct.unpack_from("!II", packet, at)
    return spi, sequence


def sequences(packets: list[bytes], spi: int) -> list[int]:
    """Return the sequence numbers sent under an SPI, in order."""
    found = [esp_of(packet) for packet in packets]
    return [one[1] for one in found if one is not None and one[0] == spi]


def clear_text(packets: list[bytes]) -> list[bytes]:
    """Return the packets that are of the mobile network and not protected."""
    found = []
    for packet in packets:
        if packet[0] >> 4 == 4:
            inside_own = any(IPv4Address(packet[at : at + 4]) in NET4 for at in (12, 16))
        else:
            wide = [IPv6Address(packet[at : at + 16]) for at in (8, 24)]
            inside_own = any(one in NET6 or one == HOA for one in wide)
        if inside_own:
            found.append(packet)
    return found
