# SPDX-License-Identifier: GPL-2.0-only
"""A router as OpenWrt runs it: UCI, init script, daemon, protocol handler, LAN."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from ipaddress import IPv6Network
from pathlib import Path
from typing import Any

import pytest

from tests.lab.pair import IDENTITY, KEY, Pair, reaches
from tests.lab.portable import PortableTopology
from tests.lab.topology import CN6, HA4, HA6, HOA, NET6, wait_for
from tests.unit.test_openwrt_scripts import INIT, PROTO, Shell

UCI = f"""
config globals 'globals'
	option enabled '1'
	option socket '%(socket)s'
	option state '%(state)s'

config mobile_router 'router'
	option identity '{IDENTITY}'
	option home_address '{HOA}'
	option home_prefix '2001:db8:1::/64'
	list home_agent '{HA6}'
	list home_agent '{HA4}'
	option lifetime '120'
	option lan 'lan0'
	option static_key '{KEY}'

config prefix 'lan6'
	option prefix '{NET6}'

config uplink 'cable'
	option interface 'wan'

config uplink 'lte'
	option interface 'wwan'
"""

#: netifd, as far as the daemon asks it or tells it anything.
UBUS = """#!/bin/sh
shift 2
case "$3" in
dump) cat "%(folder)s/dump.json" ;;
notify_proto) printf '%%s\\n' "$4" >>"%(folder)s/told.json" ;;
*) exit 2 ;;
esac
"""


class Netifd:
    """netifd's part: interface names to the daemon, addresses and prefixes from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = folder / "ubus"
        program.write_text(UBUS % {"folder": folder})
        program.chmod(0o755)
        self.interfaces(wan="wan0", wwan="wan2")

    def interfaces(self, **devices: str) -> None:
        entries = [
            {"interface": name, "up": True, "l3_device": device} for name, device in devices.items()
        ]
        (self.folder / "dump.json").write_text(json.dumps({"interface": entries}))

    def told(self) -> list[dict[str, Any]]:
        file = self.folder / "told.json"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def netifd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Netifd:
    folder = tmp_path / "netifd"
    folder.mkdir()

    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return Netifd(folder)


def started_by_procd(shell: Shell) -> list[str]:
    """Return the command that the init script gives to procd."""
    shell.config(("globals", "globals", {"enabled": "1"}), ("mobile_router", "router", {}))
    said = shell.run(INIT, "start_service")
    (line,) = [line for line in said if line.startswith("procd_set_param command ")]
    return shlex.split(line)[2:]


def test_router_as_openwrt_runs_it(net: PortableTopology, netifd: Netifd, tmp_path: Path) -> None:
    """From a UCI file to a LAN host that is reached by an address it made of an RA.

    Stand-ins, for what Debian cannot provide: procd and ``rc.common`` (the init
    script's calls are written down, and the command it gives is started here),
    ``/lib/functions.sh`` and ``netifd-proto.sh`` (shell functions of
    ``test_openwrt_scripts``), ubus with netifd behind it (a program that answers
    and writes down), netifd's ``ip6assign`` (an ``ip addr add`` of what the daemon
    delegated) and odhcpd (radvd). The daemon, its UCI file, the init script, the
    protocol handler and the kernel are real.
    """
    net.executed = True
    folder = tmp_path / "root"
    folder.mkdir()
    shell = Shell(folder)
    command = started_by_procd(shell)
    config = net.directory / "dsmip"
    config.write_text(UCI % {"socket": net.socket("mr"), "state": net.directory / "mr-state"})
    assert command[1:3] == ["--config", f"{folder}/etc/config/dsmip"]
    pair = Pair(net).start("ha")
    net.plug("wan0", "v6")
    words = ["python", "-m", "dsmip.service", "--config", str(config), *command[3:]]
    process = net.start("mr", words, log="mr.log")
    wait_for(lambda: net.ask("mr", "status"), 20, "the daemon")
    # By IPv4 first if that has an address before IPv6 has.
    wait_for(lambda: pair.settled("cable")["kind"] == "ip6", 30, "the care-of address")
    assert netifd.told() == []

    # ifup mobile
    (folder / "usr/sbin").mkdir(parents=True)
    (folder / "usr/sbin/dsmipd").touch(0o755)
    shell.run(PROTO, "proto_dsmip_setup mobile", INCLUDE_ONLY="1")
    subprocess.run(["cp", "-r", f"{folder}/var/run/dsmip/netifd", "/run/dsmip/"], check=True)
    assert net.dsmip("mr", "netifd").strip() == "Interfaces: mobile"
    wait_for(netifd.told, 5, "what netifd is told")
    (told,) = netifd.told()
    assert (told["interface"], told["ifname"], told["link-up"]) == ("mobile", "mip0", True)
    assert {route["source"] for route in told["routes6"]} == {f"{HOA}/128", NET6}
    assert told["ip6prefix"] == [NET6]

    # ip6assign 64 on lan, and its advertisement
    lan = next(IPv6Network(told["ip6prefix"][0]).subnets(new_prefix=64))
    net.shell("mr", f"ip -6 addr flush dev lan0 scope global\nip addr add {lan[1]}/64 dev lan0\n")
    net.shell(
        "lan",
        "ip addr flush dev eth0 scope global\n"
        "sysctl -qw net.ipv6.conf.eth0.accept_ra=1 net.ipv6.conf.eth0.autoconf=1\n",
    )
    net.advertise("mr", "lan0", str(lan))

    def formed() -> str:
        shown = net.run("lan", ["ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "global"])
        return shown.split()[3].partition("/")[0] if "dynamic" in shown else ""

    address: str = wait_for(formed, 15, "an address from the advertisement")
    wait_for(lambda: reaches(net, "lan", CN6), 10, "the correspondent")
    assert reaches(net, "cn", address)

    # The uplink's interface gets another device, as a modem does that comes back.
    netifd.interfaces(wan="wan1", wwan="wan2")
    net.unplug("wan0")
    net.plug("wan1", "v6only")
    net.dsmip("mr", "reload")
    pair.settled("cable")
    uplinks = {u["name"]: u["interface"] for u in net.ask("mr", "uplinks")["uplinks"]}
    assert uplinks == {"cable": "wan1", "lte": "wan2"}
    assert reaches(net, "cn", address)
    # The LAN keeps its prefix: netifd has not been told anything else.
    assert netifd.told() == [told]

    # A mistake in the file: the old configuration stays, and its words name the place.
    config.write_text(config.read_text().replace("option lifetime '120'", "option lifetime 'x'"))
    refused = net.dsmip("mr", "reload", check=False)
    assert "[mobile_router 'router'] lifetime = 'x': allowed is a whole number" in refused
    assert reaches(net, "cn", address)

    # netifd and the daemon are restarted: it is told again.
    net.stop(process)
    config.write_text(config.read_text().replace("option lifetime 'x'", ""))
    net.start("mr", words, log="mr.log")
    wait_for(lambda: len(netifd.told()) == 2, 20, "netifd is told again")
    assert netifd.told()[1] == told
    wait_for(lambda: reaches(net, "cn", address), 10, "the LAN host")
    assert "Traceback" not in net.log("mr")
