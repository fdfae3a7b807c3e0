# SPDX-License-Identifier: GPL-2.0-only
"""A router that knows a domain and has a certificate, with a real name server (RFC 5026)."""

from __future__ import annotations

import json
import shutil
import signal
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import pytest
from dsmip.mobility.ownership import Owner, Ownership

from tests.lab.kmodlib import load_module
from tests.lab.pair import Pair, agent_configuration, reaches, router_configuration
from tests.lab.protection import connection, load_ciphers
from tests.lab.topology import HA4, HA6, LAN4, LAN6, Topology, wait_for
from tests.lab.zone import AGENT, BUS, DOMAIN, UPDATES, Authority, NameServer

POOL = "2001:db8:1::4000/120"


@pytest.fixture(autouse=True, scope="module")
def _modules_loaded() -> None:
    load_module()
    load_ciphers()


def agent(net: Topology, ike: dict[str, Any], **more: Any) -> str:
    entry = {
        "identity": BUS,
        "home_address": None,
        "home_address4": None,
        "static_key": None,
        "keys": "ikev2",
        "auth": "certificate",
    }
    return agent_configuration(
        net, identity=AGENT, pool6=[POOL], ike=ike, router=entry, more=UPDATES, **more
    )


def router(net: Topology, ike: dict[str, Any], name_server: NameServer, **more: Any) -> str:
    """Return a configuration with a domain, a certificate, and what its host has."""
    unknown = ("identity", "home_address", "home_prefix", "home_address4", "home_agent")
    options: dict[str, Any] = dict.fromkeys((*unknown, "prefixes", "static_key"))
    options |= {
        "domain": DOMAIN,
        "resolv_conf": str(name_server.resolv_conf),
        "dns_name": BUS,
        "deregister_on_stop": True,
        "bootstrap_wait": 5,
    }
    return router_configuration(net, ike=ike, **(options | more))


def steps(net: Topology) -> dict[str, dict[str, Any]]:
    found = net.ask("mr", "status")["bootstrap"]["steps"]
    return {entry["step"]: entry for entry in found}


def forgotten(net: Topology) -> None:
    """Leave nothing of a router's former life, in the kernel and on disk."""
    shutil.rmtree(net.directory / "mr-state", ignore_errors=True)
    net.shell("mr", "ip link del mip0\nip xfrm state flush\nip xfrm policy flush\n")


def neighbour_with(net: Topology, address: str) -> None:
    """Let a node of the home link have an address."""
    net.shell(
        "ha",
        "ip link add dup type veth peer name dup0\nip link set dup0 netns cn\n"
        "ip link set dup master home\nip link set dup up\n",
    )
    net.shell("cn", f"ip link set dup0 up\nip addr add {address}/128 dev dup0 nodad\n")


@pytest.mark.spec("B-001", "B-002", "B-003", "B-004", "B-008", "B-010", "B-011")
def test_router_that_knows_a_domain(net: Topology) -> None:
    owner = Owner(BUS, IPv6Address(0), dynamic_home_address=True)
    taken = str(Ownership([owner], (), (IPv6Network(POOL),)).home_address(BUS, None).home_address)
    neighbour_with(net, taken)
    name_server = NameServer(net)
    authority = Authority(net.directory)
    good = authority.files("ha", AGENT, DOMAIN)
    pair = Pair(net, agent(net, good), router(net, authority.files("mr", BUS), name_server))
    name_server.ready()
    pair.start()
    assert pair.router()["state"] == "Looking for a home agent"
    net.plug("wan0", "v6")
    found = pair.settled("v6", 90)
    assert ip_address(found["home_address"]) in ip_network(POOL)
    # The first one that the home agent gave was another node's.
    assert found["home_address"] != taken
    assert pair.counter("bu_refused_134") == 1
    assert found["home_agent"] == HA6
    document = net.ask("mr", "status")["bootstrap"]
    assert document["found_by"] == f"SRV _mip6._ipv6.{DOMAIN}"
    assert document["home_agents"] == [HA6, HA4]
    assert [entry["step"] for entry in document["steps"] if not entry["failed"]] == [
        "access network",
        "home agent's name",
        "home agent's address",
        "authentication",
        "home address",
        "registration",
    ]
    times = [entry["seconds"] for entry in document["steps"]]
    assert times == sorted(times)
    text = net.dsmip("mr", "status")
    assert f"Bootstrapping   {DOMAIN}: {AGENT}" in text
    # The first in the zone is an alias of a host that answers nobody.
    assert "spare.example.test does not answer IKE" in net.log("mr")
    binding = pair.binding()
    assert binding is not None
    assert binding["identity"] == BUS
    wait_for(lambda: reaches(net, "cn", LAN6), 20, "the LAN")
    assert reaches(net, "cn", found["home_address"])
    queries = document["counters"]["dns_queries"]
    # What the acknowledgement says of the name is so.
    wait_for(lambda: pair.router()["dns_status"] == "updated", 20, "the name")
    assert name_server.lookup(BUS) == [found["home_address"]]

    # The same in another network, with a daemon that remembers, and then with nothing.
    net.roam("wan0", "wan2", "nat")
    pair.settled("nat")
    assert reaches(net, "cn", LAN6)
    pair.kill("mr")
    pair.restart("mr")
    assert pair.settled("nat")["home_address"] == found["home_address"]
    assert net.ask("mr", "status")["bootstrap"]["counters"].get("dns_queries", 0) == 0 < queries
    pair.kill("mr")
    forgotten(net)
    pair.restart("mr")
    assert pair.settled("nat", 90)["home_address"] == found["home_address"]
    assert connection(net, "mr")["remote"]["address"] == HA4
    assert net.ask("mr", "status")["bootstrap"]["counters"]["dns_queries"] >= 1
    wait_for(lambda: reaches(net, "cn", LAN6), 20, "the LAN behind a NAT")
    assert reaches(net, "cn", LAN4)
    (net.directory / "bootstrap.json").write_text(
        json.dumps(net.ask("mr", "status")["bootstrap"], indent=1)
    )

    # It takes its name away when it ends.
    assert name_server.lookup(BUS) == [found["home_address"]]
    pair.kill("mr", signal.SIGTERM)
    wait_for(lambda: name_server.lookup(BUS) == [], 20, "the name's end")

    # A home agent of the same operator that is not the domain's.
    pair.kill("ha")
    forgotten(net)
    pair.configurations["ha"] = agent(net, authority.files("ha", AGENT))
    pair.restart("ha")
    pair.restart("mr")

    told = f"is for another name than {DOMAIN}"

    def refused() -> bool:
        step = steps(net).get("authentication", {})
        return bool(step.get("failed")) and told in step["text"]

    wait_for(refused, 60, "the refusal")
    assert pair.router()["state"] != "Roaming"
    assert told in net.log("mr")
