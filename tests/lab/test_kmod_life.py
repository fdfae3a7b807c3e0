# SPDX-License-Identifier: GPL-2.0-only
"""dsmip.ko comes and goes under traffic, and devices between namespaces."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from ipaddress import IPv6Network

import pytest

from tests.lab.kmodlib import (
    Device,
    KernelLog,
    delete_namespaces,
    inside,
    ip_batch,
    link_add,
    load_module,
    path,
    prefix,
    run,
    sysctl,
    unload_module,
)
from tests.lab.kmodnet import (
    CN,
    COA,
    COA4,
    HA,
    HA4,
    HOME,
    LAN,
    World,
    path_at_agent,
    path_at_router,
    reaches,
)

pytest_plugins = ["tests.lab.kmodfixtures"]


@pytest.fixture
def world(quiet_kernel: None) -> Iterator[World]:
    """One for each test: they take its devices and namespaces away."""
    made = World()
    try:
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def traffic(*flows: tuple[str, str, str]) -> Iterator[None]:
    """Send datagrams as fast as it goes while the block runs, whatever becomes of them."""
    stop = threading.Event()
    sockets = []
    for ns, source, destination in flows:
        with inside(ns):
            one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        one.bind((source, 0))
        sockets.append((one, destination))

    def work(sender: socket.socket, destination: str) -> None:
        while not stop.is_set():
            for size in (64, 1300, 3000):
                with contextlib.suppress(OSError):
                    sender.sendto(bytes(size), (destination, 9000))

    threads = [threading.Thread(target=work, args=one) for one in sockets]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for one, _ in sockets:
            one.close()


def both_ways(world: World) -> contextlib.AbstractContextManager[None]:
    """Traffic from the LAN to the correspondent and back."""
    return traffic((world.mr, LAN, CN), (world.core, CN, LAN))


@pytest.mark.parametrize("kind", ["udp4", "ip4", "ip6"])
def test_device_deleted(world: World, kind: str) -> None:
    world.bind(kind)
    assert reaches(world.mr, LAN, world.core, CN)
    with both_ways(world):
        time.sleep(0.3)
        ip_batch(world.ha, "link del mip0")
        time.sleep(0.2)
        ip_batch(world.mr, "link del mip0")
        time.sleep(0.2)


def test_bindings_change_under_traffic(world: World) -> None:
    """Paths, prefixes and bindings are replaced and removed while packets use them."""
    world.bind("udp4")
    with both_ways(world):
        for turn in range(40):
            kind = ("udp4", "ip6", "ip4")[turn % 3]
            world.bind_agent(path_at_agent(kind), path("ip6", HA, COA, bid=turn % 15 + 1))
            world.router.path_set(HOME, path_at_router(kind))
            if turn % 4 == 1:
                world.agent.binding_del(HOME)
            if turn % 8 == 3:
                world.router.binding_del()
                world.bind_router(path_at_router(kind))
    world.bind("udp4")
    assert reaches(world.mr, LAN, world.core, CN)


@pytest.mark.parametrize("kind", ["udp4", "ip6"])
@pytest.mark.parametrize("side", ["mr", "ha"])
def test_namespace_deleted(world: World, side: str, kind: str) -> None:
    world.bind(kind)
    assert reaches(world.mr, LAN, world.core, CN)
    with both_ways(world):
        time.sleep(0.2)
        world.router.close()
        world.agent.close()
        delete_namespaces(getattr(world, side))
        time.sleep(0.5)
    # The kernel takes a namespace down in its own time.
    time.sleep(0.5)


def test_module_unloaded() -> None:
    """rmmod with devices up and traffic on: all of it goes, and it can come again."""
    for kind in ("udp4", "ip6"):
        load_module()
        log = KernelLog()
        made = World()
        try:
            made.bind(kind)
            for n in range(300):
                made.agent.binding_set(
                    f"2001:db8:1:1::{n:x}",
                    prefixes=[
                        prefix(f"2001:db8:{0x8000 + n:x}::/48"),
                        prefix(f"10.{n // 256}.{n % 256}.0/24"),
                    ],
                    paths=[path("udp4", HA4, COA4, silent_ms=100)],
                    lifetime=1 + n % 3,
                )
            assert reaches(made.mr, LAN, made.core, CN)
            made.router.close()
            made.agent.close()
            with both_ways(made):
                time.sleep(0.3)
                unload_module()
                time.sleep(0.2)
            assert not os.path.exists("/sys/module/dsmip")
            assert "mip0" not in run(f"ip -n {made.ha} link show")
        finally:
            made.close()
        assert not log.complaints()
        log.close()
    load_module()


@pytest.mark.parametrize("kind", ["udp4", "ip6"])
def test_outer_namespace(quiet_kernel: None, kind: str) -> None:
    """A device made in one namespace and moved to another joins the two."""
    names = ("k-out", "k-in", "k-far")
    one, other = (COA, "2001:db8:a::1") if kind == "ip6" else (COA4, "198.18.0.1")
    delete_namespaces(*names)
    run("".join(f"ip netns add {name};" for name in names))
    try:
        for name in names:
            sysctl(name, {"net/ipv6/conf/default/accept_dad": 0})
        ip_batch(
            "k-out",
            "link add near type veth peer name far netns k-far\n"
            f"addr add {COA4}/24 dev near\naddr add {COA}/64 dev near nodad\nlink set near up",
        )
        ip_batch(
            "k-far",
            "addr add 198.18.0.1/24 dev far\naddr add 2001:db8:a::1/64 dev far nodad\n"
            f"link set far up\nlink add mip0 type dsmip\n"
            f"link set mip0 up\naddr add {CN}/128 dev mip0 nodad\nroute add {LAN}/128 dev mip0",
        )
        link_add("k-in", "mip0", link_ns="k-out")
        ip_batch(
            "k-in",
            f"link set lo up\nlink set mip0 up\naddr add {LAN}/128 dev mip0 nodad\n"
            f"route add {CN}/128 dev mip0",
        )
        near, far = Device("k-in"), Device("k-far")
        near.binding_set(
            HOME, mobile=True, prefixes=[prefix("::/0")], paths=[path(kind, one, other)]
        )
        far.binding_set(HOME, prefixes=[prefix(f"{LAN}/128")], paths=[path(kind, other, one)])
        assert reaches("k-in", LAN, "k-far", CN)
        assert reaches("k-far", CN, "k-in", LAN)
        # The outer side goes: the device stays, and sends nothing any more.
        with traffic(("k-in", LAN, CN), ("k-far", CN, LAN)):
            time.sleep(0.1)
            delete_namespaces("k-out")
            time.sleep(1)
        assert not reaches("k-in", LAN, "k-far", CN, timeout=0.2)
        assert near.binding_get(HOME)["home_address"] == HOME
        near.close()
        far.close()
    finally:
        delete_namespaces(*names)


def test_port_is_free_again(quiet_kernel: None) -> None:
    """What a device held, the next one gets, again and again."""
    delete_namespaces("k-one")
    run("ip netns add k-one")
    try:
        for _ in range(25):
            ip_batch(
                "k-one",
                "link add mip0 type dsmip\nlink set mip0 up\nlink set mip0 down\n"
                "link set mip0 name mip1\nlink del mip1",
            )
    finally:
        delete_namespaces("k-one")


def test_tables_filled_and_emptied(quiet_kernel: None) -> None:
    """Random prefixes of a fixed seed: the trie keeps its shape, memory comes back."""
    delete_namespaces("k-one")
    run("ip netns add k-one")
    ip_batch("k-one", "link set lo up\nlink add mip0 type dsmip\nlink set mip0 up")
    device = Device("k-one")
    dice = random.Random(3963)
    owned: dict[str, set[str]] = {}
    taken: set[str] = set()
    try:
        for _ in range(600):
            home = f"2001:db8:1::{dice.randrange(1, 40):x}"
            bits = dice.choice((0, 1, 7, 8, 31, 32, 33, 63, 64, 65, 127, 128))
            value = dice.getrandbits(3) << 125 | dice.getrandbits(2)
            value = value >> (128 - bits) << (128 - bits)
            net = str(IPv6Network((value, bits)))
            mine = owned.setdefault(home, set())
            if dice.random() < 0.2 and mine:
                gone = dice.choice(sorted(mine))
                device.binding_set(home, prefixes=[prefix(gone, remove=True)])
                mine.discard(gone)
                taken.discard(gone)
            elif dice.random() < 0.05:
                device.binding_set(home)
                device.binding_del(home)
                taken -= mine
                owned[home] = set()
            elif net in taken and net not in mine:
                with pytest.raises(OSError, match="another binding"):
                    device.binding_set(home, prefixes=[prefix(net)])
            else:
                device.binding_set(home, prefixes=[prefix(net)])
                mine.add(net)
                taken.add(net)
        shown = {
            one["home_address"]: {f"{p['address']}/{p['length']}" for p in one["prefixes"]}
            for one in device.bindings()
        }
        assert {home: nets for home, nets in shown.items() if nets} == {
            home: nets for home, nets in owned.items() if nets
        }
        device.binding_del()
        assert device.bindings() == []
        # The trie is empty: any of them may be anybody's.
        device.binding_set(HOME, prefixes=[prefix(net) for net in sorted(taken)[:64]])
        device.close()
    finally:
        delete_namespaces("k-one")
