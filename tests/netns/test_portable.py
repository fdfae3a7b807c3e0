# SPDX-License-Identifier: GPL-2.0-only
"""What portable mode survives: crashes, full disks, clocks that jump, a second daemon."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.lab.pair import (
    NETWORK_OF,
    Pair,
    agent_configuration,
    all_ways,
    reaches,
    router_configuration,
)
from tests.lab.portable import PortableTopology
from tests.lab.topology import HOA, LAN6, wait_for
from tests.lab.traffic import Traffic


def registered(net: PortableTopology, network: str = "v6", **options: object) -> Pair:
    """Return a pair that is registered from a network."""
    pair = Pair(net, router=router_configuration(net, **options)).start()  # type: ignore[arg-type]
    net.plug(NETWORK_OF[network], network)
    pair.settled(network)
    return pair


def kept(pair: Pair) -> list[tuple[object, ...]]:
    """Return the bindings without their sequence numbers: a refresh may come at any time."""
    return [row[:-1] for row in pair.held()]


def silent(net: PortableTopology) -> None:
    """Fail if a daemon has said that something is wrong with itself."""
    for who in ("ha", "mr"):
        assert "Traceback" not in net.log(who)
        assert "internal error" not in net.log(who)


@pytest.mark.parametrize("network", ["v6", "v4", "nat"])
def test_all_traffic_by_each_network(net: PortableTopology, network: str) -> None:
    pair = registered(net, network)
    assert all_ways(net) == [True] * 5
    status = net.ask("mr", "status")
    assert status["device"]["data_path"] == "portable"
    assert status["mobile_router"]["protection"] == "esp"
    binding = pair.binding()
    assert binding is not None
    assert binding["nat"] is (network == "nat")
    assert binding["in_kernel"]
    assert "portable: no kernel module" in net.dsmip("mr", "status")
    # Larger than any outer packet may be: fragments, and what tells senders of the MTU.
    big = ["ping", "-n", "-q", "-c", "6", "-i", "0.2", "-s", "3000", LAN6]
    assert re.search(r" [3-6] received", net.run("cn", big, check=False))
    silent(net)


def test_signalling_is_not_taken_in_clear_or_by_another_key(net: PortableTopology) -> None:
    wrong = router_configuration(net, static_key="00" * 32)
    pair = Pair(net, router=wrong).start()
    net.plug("wan1", "v4")
    pair.unheard()

    def drops(name: str) -> int:
        return int(net.ask("ha", "status")["device"]["drops"].get(name, 0))

    wait_for(lambda: drops("esp_unknown") >= 2, 20, "messages under another key")
    pair.reconfigure("mr", router_configuration(net, protection="none", static_key=None))
    wait_for(lambda: drops("mh_unprotected") >= 1, 40, "a message in clear")
    assert pair.binding() is None
    silent(net)


def test_crash_loop(net: PortableTopology) -> None:
    """Ten restarts in about ten seconds, on either side: the binding and the session stay."""
    pair = registered(net)
    traffic = Traffic(net)
    traffic.transfer("tcp", LAN6, 20_000)
    before = kept(pair)
    start = time.monotonic()
    for who in ("ha", "mr"):
        for _ in range(10):
            pair.kill(who)
            pair.restart(who)
        assert kept(pair) == before
    pair.settled("v6")
    assert all_ways(net) == [True] * 5
    end = time.monotonic()
    # TCP doubles its pauses: one may still last as long as all before.
    pause = end - start + 1
    time.sleep(pause)
    (flow,) = traffic.finish()
    assert flow.alive_at(end + pause, pause)
    silent(net)


def test_killed_amid_writing(net: PortableTopology) -> None:
    """A binding file that is half written is no binding, and no reason to fail."""
    pair = registered(net, lifetime=16)
    folder = net.directory / "ha" / "mip0"
    (file,) = folder.glob("*.json")
    pair.kill("ha")
    file.write_text(file.read_text()[:50])
    (folder / "zz.new").write_text("{")
    pair.restart("ha")
    assert pair.binding() is None
    assert "is not used" in net.log("ha")
    wait_for(lambda: pair.binding() is not None, 90, "the router registers again", 0.5)
    assert all_ways(net) == [True] * 5


def test_full_disk(net: PortableTopology) -> None:
    """Nothing can be written any more: it is told once, and packets flow."""
    run = net.directory / "ha"
    run.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "full", str(run)], check=True)
    try:
        with (run / "filler").open("wb", buffering=0) as filler:
            while True:
                try:
                    filler.write(bytes(4096))
                except OSError:
                    break
        registered(net)
        assert all_ways(net) == [True] * 5
        net.plug("wan1", "v4")
        net.unplug("wan0")
        wait_for(lambda: reaches(net, "cn", LAN6), 30, "another uplink")
        assert net.log("ha").count("bindings will not outlive this daemon") == 1
        silent(net)
    finally:
        subprocess.run(["umount", "-l", str(run)], check=True)


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the seconds by which the daemons' wall clock is wrong."""
    library, file = tmp_path / "clock.so", tmp_path / "clock"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    file.write_text("0")
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("CLOCK_FILE", str(file))
    return file


def test_clock_jumps_from_1970_to_now_and_back(net: PortableTopology, clock: Path) -> None:
    """NTP comes after the first registration: no lifetime and no timer knows the wall clock."""
    net.executed = True
    now = int(time.time())
    clock.write_text(str(-now + 60))
    pair = registered(net, lifetime=120)
    assert net.ask("mr", "status")["time"] < 86400
    before = kept(pair)
    for offset in (0, 10 * 365 * 86400, -now + 60):
        clock.write_text(str(offset))
        time.sleep(0.5)
        assert kept(pair) == before
        router = pair.router()
        assert router["state"] == "Roaming"
        assert 0 < router["remaining"] <= 120
        assert reaches(net, "cn", LAN6)
    clock.write_text("0")
    pair.kill("ha")
    pair.restart("ha")
    assert kept(pair) == before
    assert all_ways(net) == [True] * 5
    silent(net)


def test_second_daemon(net: PortableTopology) -> None:
    pair = registered(net)
    same = net.directory / "mr.toml"
    done = net.run("mr", ["python", "-m", "dsmip.service", "--config", str(same)], check=False)
    assert re.search(r"another dsmipd \(process \d+\) uses", done)
    other = net.directory / "other.toml"
    other.write_text(same.read_text().replace("mr.sock", "other.sock"))
    done = net.run("mr", ["python", "-m", "dsmip.service", "--config", str(other)], check=False)
    assert "mip0 is used by another process" in done
    other.write_text(other.read_text().replace("[globals]\n", '[globals]\ndevice = "mip1"\n'))
    done = net.run("mr", ["python", "-m", "dsmip.service", "--config", str(other)], check=False)
    assert "UDP port 4191 is used by another process" in done
    assert "Traceback" not in done
    assert pair.router()["state"] == "Roaming"
    assert all_ways(net) == [True] * 5


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"payload": "inside"}, 'payload = "inside" needs the kernel'),
        ({"keys": "external", "static_key": None}, 'keys = "external" needs the kernel'),
    ],
    ids=["payload", "keys"],
)
def test_what_portable_mode_cannot_do_is_said_at_start(
    net: PortableTopology, options: dict[str, object], expected: str
) -> None:
    file = net.directory / "mr.toml"
    file.write_text(router_configuration(net, **options))  # type: ignore[arg-type]
    done = net.run("mr", ["python", "-m", "dsmip.service", "--config", str(file)], check=False)
    assert expected in done
    assert "Traceback" not in done


def test_interface_names_with_odd_characters(net: PortableTopology) -> None:
    odd = "5g@w,n+#="
    for words in ("set wan1 down", f"set wan1 name {odd}", f"set {odd} up"):
        net.run("mr", ["ip", "link", *words.split()])
    net.plug("wan1", "v4", lease=False)
    net.run("mr", ["ip", "addr", "add", "198.18.4.10/24", "dev", odd])
    net.run("mr", ["ip", "route", "add", "default", "via", "198.18.4.1", "dev", odd])
    pair = Pair(net, router=router_configuration(net, uplinks={odd: "5G, front"})).start()
    assert pair.settled("5G, front")["kind"] == "udp4"
    assert all_ways(net) == [True] * 5
    silent(net)


def test_stop_leaves_what_it_was_told_to(net: PortableTopology) -> None:
    pair = Pair(
        net,
        agent=agent_configuration(net, keep_state=False),
        router=router_configuration(net, keep_state=False, deregister_on_stop=True),
    ).start()
    net.plug("wan0", "v6")
    pair.settled("v6")
    pair.kill("mr", signal.SIGTERM)
    wait_for(lambda: pair.binding() is None, 5, "de-registration")
    pair.kill("ha", signal.SIGTERM)
    assert HOA not in net.run("mr", ["ip", "-6", "addr"])
    assert "4191" not in net.run("mr", ["ip", "-6", "rule"])
    assert list((net.directory / "ha" / "mip0").glob("*.json")) == []
    assert os.path.exists(net.directory / "ha.log")
