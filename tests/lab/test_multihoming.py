# SPDX-License-Identifier: GPL-2.0-only
"""Two uplinks registered side by side: moves, a path that dies, flows that choose."""

from __future__ import annotations

import re
import time
from collections import Counter

import pytest

from tests.lab.flood import Flood
from tests.lab.kmodlib import load_module
from tests.lab.pair import Pair, agent_configuration, router_configuration
from tests.lab.topology import CN6, LAN6, Topology, wait_for

#: Seconds between probes. Two of the three intervals that it may take are enough for the
#: router: the third is for an emulated machine, which has a tenth of a real one's speed.
PROBE = 2.0
RATE = 1000


@pytest.fixture(autouse=True)
def _module_loaded() -> None:
    load_module()


#: What goes by the NAT whatever is preferred, told by the port at either end.
FLOWS = """
[[mobile_router.flow]]
name = "down"
protocol = "udp"
local_port = 7001
uplinks = ["nat"]
[[mobile_router.flow]]
name = "up"
protocol = "udp"
remote_port = "7002-7003"
uplinks = ["nat"]
[[mobile_router.flow]]
name = "shared"
protocol = "udp"
local_port = 7010
uplinks = ["v6", "nat"]
weights = [1, 1]
[[mobile_router.flow]]
name = "precious"
protocol = "udp"
local_port = "7020-7021"
uplinks = ["v6", "nat"]
copies = true
"""
#: Bits of the packet mark that name the path of a copy.
COPIES = "[globals]\ncopy_mask = 0x00ff0000\n"
#: Tunnel packets through an access network, by direction.
_COUNTERS = """
table inet seen {
  chain forward {
    type filter hook forward priority 0
    iifname "acc" meta l4proto { 4, 41 } counter comment "up"
    iifname "acc" udp dport 4191 counter comment "up"
    oifname "acc" meta l4proto { 4, 41 } counter comment "down"
    oifname "acc" udp sport 4191 counter comment "down"
  }
}
"""
_SPRAY = """
import socket
for port in range(64):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("::", 20000 + port))
        sock.sendto(b"x" * 40, ("{to}", 7010))
"""


def registered(net: Topology) -> dict[int, dict[str, object]]:
    """Return the router's care-of addresses that are registered, by BID."""
    uplinks = net.ask("mr", "uplinks")["uplinks"]
    paths = [path for uplink in uplinks for path in uplink["registrations"]]
    return {path["bid"]: path for path in paths if path["state"] == "registered"}


def both_sides(net: Topology, pair: Pair, count: int) -> bool:
    """Tell whether the router and the home agent hold that many care-of addresses."""
    there = (pair.binding() or {"care_of_addresses": []})["care_of_addresses"]
    return len(registered(net)) == len(there) == count


def die(net: Topology, network: str, dead: bool = True) -> float:
    """Let nothing through an access network, with carrier and addresses as before."""
    chain = "type filter hook forward priority -300; policy drop;"
    table = f"table inet dead {{\nchain nothing {{ {chain} }}\n}}\n"
    net.filter(network, table if dead else "delete table inet dead\n")
    return time.monotonic()


def seen(net: Topology, network: str) -> Counter[str]:
    """Return how many tunnel packets have passed an access network, up and down."""
    found: Counter[str] = Counter()
    for line in net.run(network, ["nft", "list", "table", "inet", "seen"]).splitlines():
        match = re.search(r'packets (\d+) .*comment "(\w+)"', line)
        if match:
            found[match[2]] += int(match[1])
    return found


def test_several_uplinks_at_once(net: Topology) -> None:
    """One story, since each daemon takes its time to start in an emulated machine."""
    more = {"multihoming": True, "probe": PROBE, "hysteresis": 0.2}
    texts = agent_configuration(net), router_configuration(net, **more) + FLOWS
    pair = Pair(net, *(text.replace("[globals]\n", COPIES, 1) for text in texts)).start()
    net.plug("wan0", "v6")
    net.plug("wan2", "nat")
    # The network called v6 has IPv4 as well.
    wait_for(lambda: both_sides(net, pair, 3), 30, "three care-of addresses")
    pair.settled("v6")
    found = (pair.binding() or {})["care_of_addresses"]
    assert {(path["care_of"]["kind"], path["nat"]) for path in found} == {
        ("ip6", False),
        ("ip4", False),
        ("udp4", True),
    }
    shown = net.dsmip("ha", "bindings")
    assert "BID 1" in shown
    assert net.nat_outside in shown
    planned_moves_lose_nothing(net, pair)
    flows_take_their_uplinks(net)
    copies_arrive_once(net)
    dead_path_is_left_within_three_probes(net, pair)
    killed_daemons_keep_all_paths(net, pair)
    assert "Traceback" not in net.log("ha") + net.log("mr")
    assert " ERROR " not in net.log("ha") + net.log("mr")


def planned_moves_lose_nothing(net: Topology, pair: Pair) -> None:
    """Between registered paths, in both directions, at a packet every millisecond."""
    flood = Flood(net)
    flood.stream("down", LAN6, 6001, RATE)
    flood.stream("up", CN6, 6002, RATE, source="lan", sink="cn")
    time.sleep(1)
    for name in ("nat", "v6", "nat", "v6"):
        net.ask("mr", "handover", uplink=name)
        pair.settled(name)
        time.sleep(0.7)
    for name, stream in flood.finish().items():
        assert len(stream.sent) > 2 * RATE, f"{name}: only {len(stream.sent)} were sent"
        lost = stream.lost()
        assert lost == [], f"{name}: {len(lost)} of {len(stream.sent)}: {lost[:10]}"
    net.ask("mr", "handover", uplink=None)


def flows_take_their_uplinks(net: Topology) -> None:
    """Seen on the wire of both access networks, in both directions."""
    wait_for(lambda: "7010" in net.run("ha", ["nft", "list", "ruleset"]), 10, "rules at the agent")
    wait_for(lambda: "7010" in net.run("mr", ["nft", "list", "ruleset"]), 10, "rules here")
    for network in ("v6", "nat"):
        net.filter(network, _COUNTERS)
    flood = Flood(net)
    flood.stream("down", LAN6, 7001, 100)
    flood.stream("up", CN6, 7002, 100, source="lan", sink="cn")
    time.sleep(1.5)
    streams = flood.finish()
    v6, nat = seen(net, "v6"), seen(net, "nat")
    for name, stream in streams.items():
        count = len(stream.sent)
        assert stream.lost() == []
        # Signalling goes by both all the time, but there is little of it.
        assert count <= nat[name] <= count + 30, (name, count, nat, v6)
        assert v6[name] < 30, (name, count, nat, v6)
    net.run("cn", ["python", "-c", _SPRAY.format(to=LAN6)])
    time.sleep(0.5)
    shares = [seen(net, "v6")["down"] - v6["down"], seen(net, "nat")["down"] - nat["down"]]
    assert min(shares) >= 15, shares


def copies_arrive_once(net: Topology) -> None:
    """Each packet goes by both access networks, and one of them is handed on."""
    v6, nat = seen(net, "v6"), seen(net, "nat")
    flood = Flood(net)
    flood.stream("copied", LAN6, 7020, 100)
    time.sleep(1.5)
    stream = flood.finish()["copied"]
    count = len(stream.sent)
    for network, before in (("v6", v6), ("nat", nat)):
        passed = seen(net, network)["down"] - before["down"]
        assert count <= passed <= count + 30, (network, count, passed)
    assert stream.lost() == []
    assert stream.repeated == 0
    drops = net.ask("mr", "status")["device"]["drops"]
    assert drops["rx_copy"] >= count


def dead_path_is_left_within_three_probes(net: Topology, pair: Pair) -> None:
    """Carrier, addresses and routes stay: only the probes tell."""
    flood = Flood(net)
    flood.stream("down", LAN6, 6003, RATE)
    flood.stream("up", CN6, 6004, RATE, source="lan", sink="cn")
    flood.stream("copied", LAN6, 7021, 100)
    time.sleep(1)
    died = die(net, "v6")
    pair.settled("nat")
    time.sleep(1)
    streams = flood.finish()
    # What goes by both paths does not even notice.
    assert streams.pop("copied").lost() == []
    for name, stream in streams.items():
        outage = stream.outage(died - 0.3, time.monotonic()) - 0.3
        assert 0 < outage <= 3 * PROBE, f"{name}: {outage:.2f} s"
    uplinks = {uplink["name"]: uplink for uplink in net.ask("mr", "uplinks")["uplinks"]}
    assert uplinks["v6"]["why_not"] in ("no answer", "stalled")
    wait_for(lambda: both_sides(net, pair, 1), 20, "the dead paths to be forgotten")
    assert "no answer" in net.dsmip("mr", "uplinks")
    die(net, "v6", dead=False)
    wait_for(lambda: both_sides(net, pair, 3), 30, "the paths to come back")
    pair.settled("v6")


def killed_daemons_keep_all_paths(net: Topology, pair: Pair) -> None:
    for who in ("mr", "ha"):
        before = (pair.binding() or {})["care_of_addresses"]
        pair.kill(who)
        pair.restart(who)
        after = (pair.binding() or {})["care_of_addresses"]
        assert [(p["bid"], p["care_of"]) for p in after] == [
            (p["bid"], p["care_of"]) for p in before
        ]
    wait_for(lambda: both_sides(net, pair, 3), 30, "all paths")
    wait_for(lambda: "7010" in net.run("ha", ["nft", "list", "ruleset"]), 20, "its flows")
