# SPDX-License-Identifier: GPL-2.0-only
"""Uplinks that are up and lead nowhere: stalled modems, captive portals."""

from __future__ import annotations

import os
import re
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.lab.pair import Pair, reaches
from tests.lab.portable import PortableTopology
from tests.lab.topology import CN6, LAN4, NET4, wait_for
from tests.netns import portal
from tests.netns.test_openwrt import UCI
from tests.netns.test_portable import silent

PORTAL = f"10.0.8.1:{portal.PORT}"
#: Another address of the same web server.
ELSEWHERE = f"198.18.108.2:{portal.PORT}"

#: At the access network: packets that should not come there by the uplink.
LEAKS = f"""
table ip leaks {{
  chain pre {{
    type filter hook prerouting priority -300
    iifname "acc" ip saddr {NET4} counter
    iifname "acc" ip daddr 198.18.108.2 counter
  }}
}}
"""

#: netifd, as far as the daemon asks it; a modem's interface comes back as it was.
UBUS = """#!/bin/sh
shift 2
case "$2 $3" in
"network.interface dump") cat "%(folder)s/dump.json" ;;
"network.interface.wwan down") echo down >>"%(folder)s/restarts"; ip link set wan2 down ;;
"network.interface.wwan up")
	echo up >>"%(folder)s/restarts"
	ip link set wan2 up
	ip addr replace 10.0.5.11/24 dev wan2
	ip route replace default via 10.0.5.1 dev wan2 metric 102
	;;
*) exit 2 ;;
esac
"""
DUMP = """{"interface": [
    {"interface": "wan", "up": true, "l3_device": "wan0", "data": {}},
    {"interface": "wwan", "up": true, "l3_device": "wan2", "data": {"metered": 1, "cost": 0}}
]}"""
MMCLI = """#!/bin/sh
case "$*" in
"-J -L") echo '{"modem-list": ["/org/freedesktop/ModemManager1/Modem/3"]}' ;;
"-J -m 3") cat <<'END'
{"modem": {"3gpp": {"operator-name": "Example"}, "generic": {"access-technologies": ["lte"],
 "ports": ["cdc-wdm0 (qmi)", "wan2 (net)"], "signal-quality": {"recent": "yes", "value": "61"}}}}
END
;;
esac
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the programs that OpenWrt has and Debian has not."""
    for name, text in (("ubus", UBUS), ("mmcli", MMCLI)):
        program = tmp_path / name
        program.write_text(text % {"folder": tmp_path} if name == "ubus" else text)
        program.chmod(0o755)
    (tmp_path / "dump.json").write_text(DUMP)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def uplinks(net: PortableTopology) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in net.ask("mr", "uplinks")["uplinks"]}


def events(net: PortableTopology) -> list[tuple[str, str]]:
    records = net.ask("mr", "history")["handovers"]
    return [(one["event"], one["to"]) for one in records if one["event"]]


def fetched(net: PortableTopology, url: str) -> str:
    """Return the status that a host of the LAN gets of an URL, or what went wrong."""
    program = (
        "import sys, urllib.request as r\n"
        "try: print(r.urlopen(sys.argv[1], timeout=2).status)\n"
        "except OSError as error: print(getattr(error, 'reason', error))"
    )
    return net.run("lan", ["python", "-c", program, url]).strip()


def way(net: PortableTopology, address: str, port: int, protocol: str = "tcp") -> str:
    """Return the interface by which a packet of the LAN leaves."""
    packet = ["from", LAN4, "iif", "lan0", "ipproto", protocol, "dport", str(port)]
    words = net.run("mr", ["ip", "route", "get", address, *packet]).split()
    return words[words.index("dev") + 1]


def started(net: PortableTopology, configuration: str) -> Pair:
    """Start a home agent, and a router that reads UCI."""
    pair = Pair(net).start("ha")
    config = net.directory / "dsmip"
    config.write_text(
        configuration % {"socket": net.socket("mr"), "state": net.directory / "mr-state"}
    )
    net.python("mr", "dsmip.service.dsmipd", "--config", str(config), log="mr.log")
    wait_for(lambda: net.ask("mr", "status"), 20, "the daemon")
    return pair


def test_stalled_modem(net: PortableTopology, programs: Path) -> None:
    """A modem that is up without a path: its interface is restarted, with growing waits.

    Stand-ins, for what Debian cannot provide: ubus with netifd behind it (a program
    that takes the modem's link down and up), and ModemManager's mmcli.
    """
    head, _, rest = UCI.partition("config uplink 'cable'")
    cable, _, modem = rest.partition("config uplink 'lte'")
    first = f"config uplink 'lte'{modem.rstrip()}\n\toption restart_after '1'\n\n"
    net.plug("wan0", "v6")
    net.plug("wan2", "nat")
    pair = started(net, f"{head}{first}config uplink 'cable'{cable}")
    home = pair.settled("lte")["home_address"]
    net.start("lan", ["ping", "-n", "-i", "0.2", CN6], log="ping.log")
    net.shell("nat", "nft add rule ip guard portal drop\n")
    pair.settled("cable")

    def restarted() -> int:
        file = programs / "restarts"
        words = file.read_text().split() if file.exists() else []
        assert words == ["down", "up"] * (len(words) // 2) + ["down"] * (len(words) % 2)
        return len(words) // 2

    wait_for(lambda: restarted() == 3, 20, "three restarts")
    records = net.ask("mr", "history")["handovers"]
    times = [one["time"] for one in records if one["event"] == "restart"]
    first_gap, second_gap = (later - earlier for earlier, later in pairwise(times))
    # To the precision of two clocks.
    assert first_gap >= 1.9
    assert second_gap >= 3.9
    pair.settled("cable")
    lte = uplinks(net)["lte"]
    assert lte["restarts"] == 3
    assert lte["stalled"].startswith("stalled, restarted 3 times")
    assert lte["why_not"] == lte["stalled"]
    assert (lte["network"], lte["metered"], lte["cost"]) == ("wwan", True, 0)
    # Meanwhile everything goes by the other one.
    assert reaches(net, "cn", home)

    net.shell("nat", "nft flush chain ip guard portal\n")
    pair.settled("lte", 15)
    count = restarted()
    assert events(net) == [("restart", "lte")] * count
    assert "lte: restart" in net.dsmip("mr", "history")
    lte = uplinks(net)["lte"]
    assert (lte["restarts"], lte["stalled"]) == (0, "")
    assert lte["signal"] == {"quality": 61, "technology": "lte", "operator": "Example"}
    assert lte["used"]["tx_bytes"] > 0
    assert "Example lte, 61 %" in net.dsmip("mr", "uplinks")
    assert pair.router()["counters"]["uplink_restarts"] == count
    silent(net)


def test_captive_portal(net: PortableTopology, programs: Path) -> None:
    """A portal holds registration, another uplink is used, and the login ends it.

    Stand-ins: ubus and mmcli as above. The portal is a web server of the access
    network, which drops everything else until the login.
    """
    net.start("captive", ["python", "-m", "tests.netns.portal", "10.0.8.1"], log="portal.log")
    wait_for(lambda: "ready" in net.log("portal"), 10, "the portal")
    wifi = "config uplink 'wifi'\n\toption interface 'wan1'\n\n"
    head, cable, rest = UCI.partition("config uplink 'cable'")
    head += f"config prefix 'lan4'\n\toption prefix '{NET4}'\n\n"
    pair = started(net, head + wifi + cable + rest)
    net.plug("wan1", "captive")
    pair.wait_state("Portal login needed", 20)
    login = f"http://{PORTAL}/login"
    shown = uplinks(net)["wifi"]
    assert shown["portal"] == login
    assert shown["why_not"] == f"portal login needed: {login}"
    assert f"portal login needed: {login}" in net.dsmip("mr", "uplinks")
    # Nothing is registered there now.
    sent = pair.router()["counters"]["bu_sent"]
    time.sleep(2)
    assert pair.router()["counters"]["bu_sent"] == sent

    net.plug("wan0", "v6")
    pair.settled("cable")
    assert reaches(net, "cn", pair.router()["home_address"])
    assert uplinks(net)["wifi"]["portal"] == login

    # A passenger logs in, from the LAN, which gets nowhere else by that uplink.
    wait_for(lambda: uplinks(net)["wifi"]["login"] == ["10.0.8.1"], 10, "the door")
    assert [way(net, "10.0.8.1", port) for port in (80, 443, portal.PORT)] == ["wan1"] * 3
    assert way(net, "10.0.8.1", 22) == way(net, "10.0.8.1", 80, "udp") == "mip0"
    assert way(net, "10.0.8.9", 80) == "mip0"
    net.shell("captive", f"nft -f - <<'END'\n{LEAKS}END\n")
    assert fetched(net, f"http://{ELSEWHERE}/") == "timed out"
    assert net.run("captive", ["nft", "list", "table", "ip", "leaks"]).count("packets 0") == 2
    assert fetched(net, login) == "200"
    assert ELSEWHERE not in net.log("portal")
    pair.settled("wifi", 15)
    wait_for(lambda: "dsmip_login" not in net.run("mr", ["nft", "list", "tables"]), 10, "nft")
    for command in (["ip", "rule"], ["ip", "route", "show", "table", "all"]):
        assert not re.search(r"\b(4186|4192)\b", net.run("mr", command))
    assert uplinks(net)["wifi"]["portal"] == ""
    assert reaches(net, "lan", CN6)
    assert events(net) == [("portal", "wifi"), ("portal passed", "wifi")]
    silent(net)
