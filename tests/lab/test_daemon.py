# SPDX-License-Identifier: GPL-2.0-only
"""Both daemons on the standard network, and what they survive."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from tests.lab.kmodlib import load_module
from tests.lab.pair import (
    NETWORK_OF,
    Pair,
    agent_configuration,
    all_ways,
    router_configuration,
)
from tests.lab.topology import LAN6, Topology, wait_for
from tests.lab.traffic import Traffic


@pytest.fixture(autouse=True)
def _module_loaded() -> None:
    load_module()


@contextlib.contextmanager
def lossless(net: Topology, rate: float = 200) -> Iterator[None]:
    """Fail if a packet of a flow to the LAN host is lost meanwhile."""
    traffic = Traffic(net)
    traffic.flow("probe", LAN6, rate=rate)
    time.sleep(0.5)
    yield
    (flow,) = traffic.finish()
    arrived = {sequence for _, sequence in flow.arrivals}
    lost = [(n, at - flow.sent[0]) for n, at in enumerate(flow.sent) if n not in arrived]
    assert len(flow.sent) > 50
    assert lost == [], f"of {len(flow.sent)}: (number, second) {lost[:20]}"


@pytest.mark.parametrize("network", ["v6", "nat"])
def test_killed_daemons_cost_nothing(net: Topology, network: str) -> None:
    """SIGKILL on either side: no packet lost, bindings adopted, next refresh accepted."""
    # A refresh that comes soon, but not while a slow machine starts a daemon again.
    agent = agent_configuration(net, lifetime=600, refresh=30)
    # Nor silence that is only the slow machine's, while nobody could answer.
    router = router_configuration(net, lifetime=600, keepalive=45, silent_ms=8000)
    pair = Pair(net, agent, router).start()
    net.plug(NETWORK_OF[network], network)
    pair.settled(network)
    before = pair.held()
    with lossless(net):
        for who in ("mr", "ha"):
            pair.kill(who)
            time.sleep(1)
            pair.restart(who)
    # A refresh may have come in between: all but the sequence number is the same.
    after = pair.held()
    assert [row[:-1] for row in after] == [row[:-1] for row in before]
    assert pair.router()["state"] == "Roaming"
    last, accepted = after[0][-1], pair.counter("bu_accepted")
    wait_for(lambda: str((pair.binding() or {})["sequence"]) != last, 120, "the next refresh", 0.5)
    assert pair.counter("bu_accepted") == accepted + 1
    assert pair.binding() is not None
    assert all(all_ways(net))


def test_nat_that_forgets(net: Topology) -> None:
    """Keepalives hold the mapping; a lost mapping is replaced from the next packet on."""
    net.nat_expires(5)
    pair = Pair(net, router=router_configuration(net, keepalive=2)).start()
    net.plug("wan2", "nat")
    router = pair.settled("nat")
    assert router["nat"]
    assert router["kind"] == "udp4"
    binding = pair.binding()
    assert binding is not None
    assert binding["care_of"]["address"] == net.nat_outside
    time.sleep(8)
    assert all_ways(net) == [True] * 5
    for _ in range(2):
        port = (pair.binding() or {})["care_of"]["port"]
        net.nat_forget()
        wait_for(lambda port=port: (pair.binding() or {})["care_of"]["port"] != port, 10, "rebind")
        assert all_ways(net) == [True] * 5
    assert pair.router()["state"] == "Roaming"


def test_planned_moves_lose_nothing_and_dead_uplinks_are_left(net: Topology) -> None:
    pair = Pair(net).start()
    net.plug("wan0", "v6")
    pair.settled("v6")
    net.plug("wan1", "v4")
    net.plug("wan2", "nat")
    uplinks = {u["name"]: u for u in net.ask("mr", "uplinks")["uplinks"]}
    assert uplinks["v6"]["active"]
    assert uplinks["home"]["why_not"] == "no carrier"
    wait_for(
        lambda: (
            [u["why_not"] for u in net.ask("mr", "uplinks")["uplinks"]]
            == ["", "standby", "standby", "no carrier"]
        ),
        10,
        "standby uplinks",
    )
    with lossless(net):
        for name in ("v4", "nat", "v6"):
            assert name in net.dsmip("mr", "handover", name)
            pair.settled(name)
            time.sleep(0.5)
    net.dsmip("mr", "handover", "auto")
    for gone, left in (("wan0", "v4"), ("wan1", "nat")):
        net.unplug(gone)
        pair.settled(left)
        assert all_ways(net) == [True] * 5
    net.unplug("wan2")
    pair.wait_state("No uplink")
    sent = pair.router()["sequence"]
    time.sleep(2)
    assert pair.router()["sequence"] == sent
    net.plug("wan0", "v6only")
    pair.settled("v6")
    assert all_ways(net) == [True] * 5


def test_home_and_away_again(net: Topology) -> None:
    pair = Pair(net).start()
    net.plug("wan3", "home")
    pair.settled("home")
    assert pair.binding() is None
    assert all_ways(net) == [True] * 5
    net.plug("wan1", "v4")
    net.unplug("wan3")
    pair.settled("v4")
    assert all_ways(net) == [True] * 5
    net.plug("wan3", "home")
    pair.settled("home")
    wait_for(lambda: pair.binding() is None, 5, "de-registration")
    # Another uplink is up and has default routes as well: home traffic must not use it.
    assert all_ways(net) == [True] * 5
