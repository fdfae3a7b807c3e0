# SPDX-License-Identifier: GPL-2.0-only
"""Two routers on one access link: the one in use stays in use until it has gone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.kmodlib import load_module
from tests.lab.pair import Pair, reaches
from tests.lab.topology import CN6, LAN6, Topology, wait_for

SECOND = "r2"
FIRST_NET, SECOND_NET = "2001:db8:a7:", "2001:db8:ab:"
#: The first router says, forwards and hears nothing any more; its link lives on.
_DEAD = """
table ip6 dead {
  chain in { type filter hook input priority -300; policy drop; }
  chain out { type filter hook output priority -300; policy drop; }
  chain forward { type filter hook forward priority -300; policy drop; }
}
"""


@pytest.fixture(autouse=True)
def _module_loaded() -> None:
    load_module()


@contextlib.contextmanager
def second_router(net: Topology) -> Iterator[None]:
    """Have another router on the access link ``v6only``, with a prefix of its own."""
    net.shell(None, f"ip netns add {SECOND}\n")
    try:
        net.shell(
            SECOND,
            "sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0\n"
            "sysctl -qw net.ipv6.conf.all.forwarding=1\nip link set lo up\n",
        )
        net.shell(
            "core",
            f"ip link add r2 type veth peer name core netns {SECOND}\nip link set r2 up\n"
            "ip addr add 2001:db8:f:12::1/64 dev r2 nodad\n",
        )
        net.shell(
            "v6only",
            f"ip link add r2 type veth peer name acc netns {SECOND}\n"
            "ip link set r2 master acc\nip link set r2 up\n",
        )
        net.shell(
            SECOND,
            "ip link set core up\nip link set acc up\n"
            "ip addr add 2001:db8:f:12::2/64 dev core nodad\n"
            f"ip addr add {SECOND_NET}:1/64 dev acc nodad\n"
            "ip route add default via 2001:db8:f:12::1\n",
        )
        net.shell("core", f"ip route add {SECOND_NET}:/64 via 2001:db8:f:12::2\n")
        net.advertise(SECOND, "acc", f"{SECOND_NET}:/64")
        yield
    finally:
        net.shell(None, f"ip netns del {SECOND}\n")


def care_of(pair: Pair) -> str:
    found: dict[str, Any] = pair.router()["care_of"] or {}
    return str(found.get("address", ""))


@pytest.mark.spec("M-130", "M-135")
def test_a_new_router_is_no_movement_and_a_silent_one_is(net: Topology) -> None:
    pair = Pair(net).start()
    net.plug("wan0", "v6only")
    pair.settled("v6")  # what the configuration calls that interface
    first = care_of(pair)
    assert first.startswith(FIRST_NET)
    with second_router(net):

        def addresses() -> str:
            return net.run("mr", ["ip", "-6", "addr", "show", "dev", "wan0", "scope", "global"])

        wait_for(lambda: SECOND_NET in addresses(), 15, "an address of the second router's")
        defaults = net.run("mr", ["ip", "-6", "route", "show", "default", "dev", "wan0"])
        assert defaults.count("via fe80::") == 2
        assert reaches(net, "cn", LAN6)
        time.sleep(1)
        assert care_of(pair) == first
        # What stays is the link with its carrier, both addresses, both routes.
        net.filter("v6only", _DEAD)
        died = time.monotonic()
        # Who only listens hears of it when advertisements have been missed for long.
        net.start("lan", ["ping", "-n", "-q", "-i", "0.1", CN6], log="pings.log")
        wait_for(lambda: care_of(pair).startswith(SECOND_NET), 20, "the second router's prefix")
        wait_for(lambda: pair.router()["state"] == "Roaming", 10, "registration")
        assert reaches(net, "cn", LAN6)
        assert time.monotonic() - died < 25
        assert first in addresses(), "the kernel knows no better"
        assert "default router of wan0 has gone" in net.log("mr")
        assert "Traceback" not in net.log("mr") + net.log("ha")
