# SPDX-License-Identifier: GPL-2.0-only
"""dsmip.ko remembers the way of IPv6 tunnel packets to this host: nobody else's."""

from __future__ import annotations

from tests.lab.kmodlib import ip_batch, ns_run, path
from tests.lab.kmodnet import (
    CN,
    COA,
    HA,
    LAN,
    STRANGER,
    Sink,
    World,
    datagram,
    ip6,
    path_at_agent,
)

pytest_plugins = ["tests.lab.kmodfixtures"]

#: So many that several meet in one tick of any kernel.
TRAIN = 60


def tunnelled(number: int, source: str = COA, destination: str = HA) -> bytes:
    """Return a packet from the router's LAN as the router sends it to its agent."""
    return ip6(source, destination, 41, datagram(LAN, CN, b"%s %d" % (source.encode(), number)))


def came(sink: Sink) -> list[str]:
    """Return what came, once nothing comes any more."""
    found = []
    while (one := sink.get(0.5)) is not None:
        found.append(one[0].decode())
    return found


def sent(*sources: str) -> list[str]:
    """Return what comes of trains from these addresses, one packet of each in turn."""
    return [f"{source} {number}" for number in range(TRAIN) for source in sources]


def test_firewall_sees_each_packet(world: World) -> None:
    """Only routing is not asked again: the host's own filter is."""
    world.bind("ip6")
    sink = world.sink(world.core, CN)
    outsider = world.injector(world.core)
    for number in range(TRAIN):
        outsider.send(tunnelled(number))
    assert came(sink) == sent(COA)
    ns_run(
        world.ha,
        "nft 'add table ip6 t; add chain ip6 t in { type filter hook input priority 0; };"
        " add rule ip6 t in meta l4proto 41 ip6 flowlabel 7 drop'",
    )
    for number in range(TRAIN):
        outsider.send(tunnelled(number))
        labelled = bytearray(tunnelled(-1))
        labelled[3] = 7
        outsider.send(bytes(labelled))
    assert came(sink) == sent(COA)
    ns_run(world.ha, "nft delete table ip6 t")


def test_address_comes_and_goes(world: World) -> None:
    """An address that is taken off the host takes no packets, and does again when it is back."""
    world.bind("ip6")
    sink = world.sink(world.core, CN)
    outsider = world.injector(world.core)
    for change in ("", f"addr del {HA}/64 dev home", f"addr add {HA}/64 dev home nodad"):
        if change:
            ip_batch(
                world.ha, f"{change}\nroute replace default via 2001:db8:1::ff dev home onlink"
            )
        for number in range(TRAIN):
            outsider.send(tunnelled(number))
        assert came(sink) == ([] if "del" in change else sent(COA))


def test_routing_rules_are_asked(world: World) -> None:
    """Where rules tell sources apart, one's way is not the other's."""
    world.bind("ip6")
    world.bind_agent(path_at_agent("ip6"), path("ip6", HA, STRANGER, bid=1))
    sink = world.sink(world.core, CN)
    outsider = world.injector(world.core)

    def trains() -> None:
        for number in range(TRAIN):
            outsider.send(tunnelled(number, COA))
            outsider.send(tunnelled(number, STRANGER))

    trains()
    assert came(sink) == sent(COA, STRANGER)
    ip_batch(
        world.ha,
        "-6 rule add pref 100 lookup local\n-6 rule del pref 0\n"
        f"-6 rule add pref 50 from {STRANGER} blackhole",
    )
    trains()
    assert came(sink) == sent(COA)
    ip_batch(world.ha, "-6 rule del pref 50")
    trains()
    assert came(sink) == sent(COA, STRANGER)


def test_tunnel_packets_of_others_go_on(world: World) -> None:
    """A tunnel packet for a host behind the agent is forwarded amid those for the agent."""
    world.bind("ip6")
    sink = world.sink(world.core, CN)
    behind = world.capture(world.mr, "mip0")
    outsider = world.injector(world.core)
    for number in range(TRAIN):
        outsider.send(tunnelled(number))
        outsider.send(tunnelled(number, CN, LAN))
    assert came(sink) == sent(COA)
    # They may wait for the router's link-layer address, a second if the link just came up.
    behind.find(lambda one: one[6] == 41 and one.endswith(b" %d" % (TRAIN - 1)))
    passed = [one for one in behind.packets() if one[6] == 41]
    assert [one[40 + 40 + 8 :].decode() for one in passed] == sent(CN)
