# SPDX-License-Identifier: GPL-2.0-only
"""What an operator orders and asks on the command line, before real daemons."""

from __future__ import annotations

from tests.lab.pair import IDENTITY, Pair
from tests.lab.portable import PortableTopology
from tests.lab.topology import HOA, NET4, NET6, wait_for


def test_failover_is_tested_and_uplinks_pause(net: PortableTopology) -> None:
    pair = Pair(net).start("ha")
    assert [one["identity"] for one in net.ask("ha", "absent")["routers"]] == [IDENTITY]
    assert HOA in net.dsmip("ha", "bindings", "--absent")
    net.plug("wan0", "v6")
    net.plug("wan2", "nat")
    pair.start("mr").settled("v6")

    said = net.dsmip_json("mr", "test-failover", "--seconds", "2")
    assert said["uplink"] == "v6"
    assert said["handover"]["to"] == "nat"
    assert 0 < said["handover"]["gap_ms"] < 2000
    pair.settled("v6")

    net.dsmip("mr", "pause", "v6")
    pair.settled("nat")
    uplinks = {one["name"]: one for one in net.ask("mr", "uplinks")["uplinks"]}
    assert uplinks["v6"]["why_not"] == "held"
    net.dsmip("mr", "pause")
    pair.wait_state("No uplink")
    net.dsmip("mr", "resume")
    pair.settled("v6")
    assert "no uplink is called" in net.dsmip("mr", "pause", "moon", check=False)

    def measured() -> bool:
        uplinks = net.dsmip_json("mr", "samples")["uplinks"]
        return all(any(one is not None for one in uplinks[name]["tx"]) for name in ("v6", "nat"))

    wait_for(measured, 20, "samples of both uplinks")
    assert "v6" in net.dsmip("mr", "samples")

    (entry,) = net.dsmip_json("ha", "audit")["entries"]
    assert (entry["event"], entry["identity"]) == ("registered", IDENTITY)
    assert {NET6, NET4} == set(entry["gained"])
    assert NET6 in net.dsmip("ha", "audit", IDENTITY)
    move = net.ask("ha", "bindings")["bindings"][0]["last_move"]
    assert move["from"] != move["to"]
