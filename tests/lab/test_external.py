# SPDX-License-Identifier: GPL-2.0-only
"""Keys from Debian's charon, unpatched, on both hosts: the whole tour.

Nothing passes between it and our daemons but what the kernel says to each:
policies with request ids, ACQUIRE, and MIGRATE with KMADDRESS.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from dsmip.service.charon_profile import Profile, profile
from dsmip.service.config import parse

from tests.lab.charon import Charon
from tests.lab.interop import ping, warm
from tests.lab.kmodlib import load_module
from tests.lab.pair import PSK, UPLINKS, Pair, agent_configuration, router_configuration
from tests.lab.states import states
from tests.lab.topology import CN6, HA4, HA6, HOME, LAN6, Topology, wait_for

WAN = {network: wan for wan, network in UPLINKS.items()}
#: What the profile calls the connections; their only children are in REQID.
SIGNALLING, PAYLOAD = "dsmip-bus-17", "dsmip-bus-17-inside"
_CHILD = re.compile(r"dsmip-bus-17-(signalling|payload) \{[^}]*reqid = (\d+)")


def at(charon: Charon) -> tuple[str, str]:
    """Return the ends of its only IKE_SA for signalling."""
    found = charon.sa(SIGNALLING)
    return found["local-host"], found["remote-host"]


@dataclass(slots=True)
class Lab:
    """Both daemons and both charons; ``reqids`` are those that the profile names."""

    pair: Pair
    router: Charon
    agent: Charon
    reqids: dict[str, int]

    @property
    def net(self) -> Topology:
        return self.pair.net

    def spis(self, child: str) -> set[int]:
        return {state.spi for state in states(self.net, "mr", self.reqids[child])}

    def spent(self) -> int:
        """Return how many packets payload SAs of the router have handled."""
        return sum(state.packets for state in states(self.net, "mr", self.reqids["payload"]))

    def carries(self, network: str) -> None:
        """See payload go both ways, in SAs unless the router is at home.

        An echo of the daemon's own may come between, which measures its distance.
        """
        before = self.spent()
        assert ping(self.net, "cn", CN6, LAN6, 20) == 20
        assert self.spent() - before in ((0,) if network == HOME else (40, 41, 42))

    def followed(self, network: str) -> None:
        """Wait until both charons are where the router is."""
        local, remote = at(self.router)
        assert remote == (HA4 if network in ("v4", "nat") else HA6)
        seen = self.net.nat_outside if network == "nat" else local
        wait_for(lambda: at(self.agent)[1] == seen, 10, f"the agent's charon at {seen}")


def made(configuration: str, version: int) -> Profile:
    """Return what ``dsmip charon-profile`` writes for a daemon's configuration."""
    values = tomllib.loads(configuration)
    return profile(parse(values, "dsmip.toml"), values, "dsmip.toml", version=version)


@pytest.fixture(scope="module")
def started(shared_net: Topology) -> Iterator[Lab]:
    net = shared_net
    warm(net)
    load_module()
    keys: dict[str, Any] = {
        "static_key": None,
        "keys": "external",
        "psk": PSK,
        "payload": "inside",
    }
    # The router's charon asks often, since the agent's learns ports behind a NAT from it.
    ike = {"dpd": 5}
    pair = Pair(
        net,
        agent=agent_configuration(net, identity="ha.example.net", router=keys, ike=ike),
        router=router_configuration(net, home_agent_identity="ha.example.net", ike=ike, **keys),
    )
    # What charon reads at its start only allows IKEv1 as well; the rest is the same.
    charons = {
        who: Charon(
            net,
            who,
            general=made(pair.configurations[who], 1).strongswan,
            levels="ike = 1\n job = 2\n knl = 2",
        ).start(wait=False)
        for who in ("mr", "ha")
    }
    pair.start()
    load(pair, charons, 2)
    text = made(pair.configurations["mr"], 2).swanctl
    reqids = {name: int(number) for name, number in _CHILD.findall(text)}
    yield Lab(pair, charons["mr"], charons["ha"], reqids)
    assert "Traceback" not in net.log("mr") + net.log("ha")


def load(pair: Pair, charons: dict[str, Charon], version: int) -> None:
    """Have both charons take the profile for a version of IKE."""
    for who, charon in charons.items():
        charon.answers()
        charon.load(made(pair.configurations[who], version).swanctl)


def test_tour(started: Lab) -> None:
    """v6, v4, NAT, v6, NAT again, home: one IKE_SA that is never set up anew."""
    lab = started
    net, pair, router, agent = lab.net, lab.pair, lab.router, lab.agent
    net.plug("wan0", "v6")
    pair.settled("v6", 60)
    first = router.sa(SIGNALLING)
    wait_for(lambda: ping(net, "cn", CN6, LAN6, 1), 20, "keys for payload")
    kept = {child: lab.spis(child) for child in lab.reqids}
    assert [len(spis) for spis in kept.values()] == [2, 2]
    last = "wan0"
    for network in ("v4", "nat", "v6", "nat", HOME):
        net.roam(last, WAN[network], network)
        last = WAN[network]
        pair.settled(network)
        lab.carries(network)
        lab.followed(network)
    assert router.sa(SIGNALLING)["initiator-spi"] == first["initiator-spi"]
    assert {child: lab.spis(child) for child in lab.reqids} == kept
    for charon in (router, agent):
        assert len(re.findall(r"IKE_SA \S+ established between", charon.log())) == 2


def test_rekey_behind_the_nat(started: Lab) -> None:
    """An IKE_SA that came there by MIGRATE renews its keys and itself."""
    lab = started
    net, pair, router = lab.net, lab.pair, lab.router
    net.roam("wan3", "wan2", "nat")
    pair.settled("nat")
    lab.followed("nat")
    before = lab.spis("signalling")
    spi = router.sa(SIGNALLING)["initiator-spi"]
    router.rekey(child=f"{SIGNALLING}-signalling")
    wait_for(lambda: len(lab.spis("signalling") - before) == 2, 10, "other keys")
    router.rekey(ike=SIGNALLING)
    wait_for(lambda: router.sa(SIGNALLING)["initiator-spi"] != spi, 10, "another IKE_SA")
    wait_for(lambda: not before & lab.spis("signalling"), 10, "the old keys gone")
    kept = lab.spis("signalling")
    packets = sum(state.packets for state in states(net, "mr", lab.reqids["signalling"]))
    accepted = pair.counter("bu_accepted")
    net.roam("wan2", "wan0", "v6")
    pair.settled("v6")
    # Its IPv4 address may come first, and be registered until there is a better one: the
    # updates are counted by the new SAs, each with its acknowledgement.
    updates = pair.counter("bu_accepted") - accepted
    assert updates >= 1
    assert lab.spis("signalling") == kept
    spent = sum(state.packets for state in states(net, "mr", lab.reqids["signalling"])) - packets
    assert spent >= 2 * updates
    lab.carries("v6")


def test_ikev1(started: Lab) -> None:
    """The profile for IKEv1: signalling and payload are carried, and go along to IPv4."""
    lab = started
    for connection in (PAYLOAD, SIGNALLING):
        lab.router.terminate(ike=connection)
    wait_for(lambda: not any(lab.spis(child) for child in lab.reqids), 10, "all gone")
    # Only now: an IKE_SA that ends leaves a trap with the profile that it was made by.
    load(lab.pair, {"mr": lab.router, "ha": lab.agent}, 1)
    # Over IPv4 charon would not find the home agent's other address by itself.
    lab.router.initiate(f"{SIGNALLING}-signalling", SIGNALLING)
    wait_for(lambda: ping(lab.net, "cn", CN6, LAN6, 1), 20, "keys for payload")
    assert lab.router.sa(PAYLOAD)["version"] == "1"
    lab.carries("v6")
    accepted = lab.pair.counter("bu_accepted")
    lab.net.roam("wan0", "wan1", "v4")
    lab.pair.settled("v4")
    assert lab.pair.counter("bu_accepted") > accepted
    assert lab.router.sa(SIGNALLING)["version"] == lab.agent.sa(SIGNALLING)["version"] == "1"
    assert len(lab.spis("signalling")) == 2
    lab.carries("v4")
    lab.followed("v4")
