# SPDX-License-Identifier: GPL-2.0-only
"""What a home agent tells its operator of a router that moves, with the kernel's counters."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.kmodlib import load_module
from tests.lab.pair import IDENTITY, Pair
from tests.lab.topology import HOA, LAN6, NET4, NET6, Topology, wait_for


@pytest.fixture(autouse=True)
def _module_loaded() -> None:
    load_module()


def test_round_trip_move_and_audit(net: Topology) -> None:
    pair = Pair(net).start()
    net.plug("wan0", "v6")
    net.plug("wan2", "nat")
    first = pair.settled("v6")["care_of"]["address"]

    def measured() -> dict[str, Any] | None:
        (one,) = net.ask("ha", "routers", addresses=HOA)["bindings"]
        return dict(one) if one["rtt_ms"] is not None else None

    before = wait_for(measured, 30, "a round trip to the home address")
    assert 0 < before["rtt_ms"] < 5000
    assert before["last_move"] is None
    net.run("cn", ["ping", "-n", "-q", "-c", "2", "-i", "0.2", "-W", "5", LAN6])
    net.unplug("wan0")
    second = pair.settled("nat")["care_of"]["address"]
    move = net.ask("ha", "bindings")["bindings"][0]["last_move"]
    assert move["from"] == first
    # Behind the NAT it is another address that the home agent sees.
    assert move["to"] not in (first, second)
    assert 0 <= move["silent_ms"] < 120_000
    (entry,) = net.ask("ha", "audit")["entries"]
    assert (entry["event"], entry["identity"]) == ("registered", IDENTITY)
    assert {NET6, NET4} == set(entry["gained"])
    assert net.ask("ha", "absent") == {"total": 0, "next": "", "routers": []}
