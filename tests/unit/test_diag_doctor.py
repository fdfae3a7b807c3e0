# SPDX-License-Identifier: GPL-2.0-only
"""The doctor names each fault with its cure, and none on a machine without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dsmip import cli
from dsmip_diag import doctor
from dsmip_diag.command_doctor import lines
from dsmip_diag.doctor import Finding, Host, examine

CONFIG = """
[mobile_router]
identity = "bus-17"
home_address = "2001:db8:1::100"
home_prefix = "2001:db8:1::/64"
home_agent = ["2001:db8:1::1", "198.51.100.1"]
prefixes = ["2001:db8:100::/56"]
static_key = "000102030405060708090a0b0c0d0e0f"
[[mobile_router.uplink]]
interface = "wan0"
"""
HEALTHY_STATUS: dict[str, Any] = {
    "version": "0.1.0",
    "mobile_router": {"state": "Roaming", "uplink": "wan0", "problem": ""},
    "uplinks": [{"name": "wan0", "why_not": ""}],
}


class Patient(Host):
    """A healthy machine; a test makes it ill."""

    def __init__(self) -> None:
        self.files = {
            "/sys/class/net/wan0/mtu": "1500\n",
            "/proc/sys/net/ipv6/conf/wan0/disable_ipv6": "0\n",
            "/proc/sys/net/ipv6/conf/all/forwarding": "1\n",
            "/proc/sys/net/ipv4/ip_forward": "1\n",
        }
        self.there = {"/sys/module/dsmip", "/dev/net/tun"}
        self.symbols = {"INET6_ESP": "m", "XFRM_MIGRATE": "y"}
        self.rules: str | None = "policy drop\nudp dport 4191 accept\n"
        self.time = 1.8e9
        self.raw = True
        self.full: set[str] = set()
        self.ports: set[int] = set()
        self.names: set[str] = set()
        self.said: dict[str, Any] | None = HEALTHY_STATUS

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def kernel_config(self) -> dict[str, str]:
        return self.symbols

    def run(self, *command: str) -> str | None:
        return self.rules

    def exists(self, path: str) -> bool:
        return path in self.there

    def writable(self, folder: str) -> bool:
        return folder not in self.full

    def resolves(self, name: str) -> bool:
        return name in self.names

    def port_in_use(self, port: int) -> bool:
        return port in self.ports

    def raw_socket(self, protocol: int) -> bool:
        return self.raw

    def now(self) -> float:
        return self.time

    def status(self, path: str) -> dict[str, Any] | None:
        return self.said


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "dsmip.toml"
    path.write_text(CONFIG)
    path.chmod(0o600)
    return path


def faults(file: Path, host: Host) -> list[Finding]:
    return [one for one in examine(str(file), host) if one.level == "fault"]


def test_healthy_machine_has_no_fault(file: Path) -> None:
    findings = examine(str(file), Patient())
    assert [one for one in findings if one.level == "fault"] == []
    subjects = [one.subject for one in findings if one.level == "good"]
    assert subjects == ["configuration", "clock", "daemon", "registration", "data path"]
    assert lines(findings)[-1] == "no faults"


@pytest.mark.parametrize(
    ("change", "subject", "text", "cure"),
    [
        ({"time": 60.0}, "clock", "it says 1970", "NTP"),
        ({"said": None}, "daemon", "nobody answers", "service dsmip start"),
        ({"raw": False}, "privileges", "no raw socket", "CAP_NET_RAW"),
        ({"there": set()}, "data path", "neither the kernel module nor", "kmod-tun"),
        ({"symbols": {"XFRM": "y"}}, "IPsec", "no ESP", "kmod-ipsec6"),
        ({"rules": "chain input { policy drop; }"}, "firewall", "4191", "firewall reload"),
        ({"full": {"/var/lib/dsmip"}}, "storage", "/var/lib/dsmip", "free space"),
    ],
)
def test_each_fault_has_its_cure(
    file: Path, change: dict[str, Any], subject: str, text: str, cure: str
) -> None:
    host = Patient()
    for name, value in change.items():
        setattr(host, name, value)
    (found,) = faults(file, host)
    assert found.subject == subject
    assert text in found.text
    assert cure in found.cure
    shown = lines([found])
    assert shown[0].startswith("FAULT")
    assert shown[-1] == "1 fault"


@pytest.mark.parametrize(
    ("state", "problem", "cure"),
    [
        ("No uplink", "", "dsmip uplinks"),
        ("Home agent lost", "", "dsmip capture"),
        ("Refused by home agent", "not home agent", "home agent's configuration"),
        ("Portal login needed", "", "log in with a browser"),
        ("Switching", "", "wait"),
    ],
)
def test_registration(file: Path, state: str, problem: str, cure: str) -> None:
    host = Patient()
    router = {"state": state, "uplink": "", "problem": problem}
    host.said = HEALTHY_STATUS | {"mobile_router": router}
    (found,) = faults(file, host)
    assert found.subject == "registration"
    assert found.text.startswith(state)
    assert problem in found.text
    assert cure in found.cure


def test_ports_matter_only_while_the_daemon_is_down(file: Path) -> None:
    host = Patient()
    host.ports = {4191, 500}
    assert faults(file, host) == []
    host.said = None
    assert [one.text for one in faults(file, host) if one.subject == "ports"] == [
        "UDP port 4191 is in use, by another program?"
    ]
    text = CONFIG.replace("static_key = ", 'keys = "ikev2"\nhome_agent_identity = "h"\npsk = ')
    file.write_text(text)
    found = [one.text for one in faults(file, host) if one.subject == "ports"]
    assert found[1] == "UDP port 500 is in use, by strongSwan or libreswan?"


def test_configuration_with_mistakes(file: Path) -> None:
    file.write_text(CONFIG.replace("/64", "/x").replace("wan0", ""))
    found = faults(file, Patient())
    assert len(found) == 2
    assert all(one.subject == "configuration" for one in found)


def test_missing_module_is_a_note_or_a_fault(file: Path) -> None:
    host = Patient()
    host.there = {"/dev/net/tun"}
    assert faults(file, host) == []
    assert any("portable mode" in one.text for one in examine(str(file), host))
    file.write_text('[globals]\ndata_path = "kernel"\n' + CONFIG)
    assert "kmod-dsmip" in faults(file, host)[0].cure


def test_uplinks(file: Path) -> None:
    host = Patient()
    host.files["/sys/class/net/wan0/mtu"] = "1300\n"
    host.files["/proc/sys/net/ipv6/conf/wan0/disable_ipv6"] = "1\n"
    host.said = HEALTHY_STATUS | {"uplinks": [{"name": "lte", "why_not": "no address"}]}
    texts = [one.text for one in examine(str(file), host) if one.subject == "uplinks"]
    assert texts == [
        "wan0 has an MTU of 1300: full packets are fragmented in the tunnel",
        "IPv6 is off on wan0: it is used by IPv4 only",
        "lte is not used: no address",
    ]
    portal = {"name": "wifi", "why_not": "standby", "login_problem": "nft: no such program"}
    host.said = HEALTHY_STATUS | {"uplinks": [portal]}
    found = [one for one in examine(str(file), host) if one.text.startswith("wifi")]
    assert found[0].text == "wifi: no login from the LAN: nft: no such program"
    assert "nftables" in found[0].cure
    host.files = {}
    assert "there is no interface wan0 now" in [one.text for one in examine(str(file), host)]


def test_forwarding_is_the_daemons_business_until_it_runs(file: Path) -> None:
    host = Patient()
    host.files["/proc/sys/net/ipv4/ip_forward"] = "0\n"
    assert [one.text for one in faults(file, host)] == ["net.ipv4.ip_forward is 0"]
    host.said = None
    assert [one.subject for one in faults(file, host)] == ["daemon"]


def test_real_machine_can_be_examined(file: Path) -> None:
    """Whatever this machine is like: every finding is of a known level, every fault has a cure."""
    findings = examine(str(file))
    assert len(findings) > 3
    for one in findings:
        assert one.level in ("good", "note", "fault")
        assert bool(one.cure) or one.level != "fault"


def test_command(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("x = ")
    assert cli.main(["doctor", "--config", str(file), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    assert found[0]["subject"] == "configuration"
    assert "is not TOML" in found[0]["text"]


def test_every_check_is_in_the_list() -> None:
    made = [
        value
        for value in vars(doctor).values()
        if callable(value) and getattr(value, "__annotations__", {}).get("patient")
    ]
    assert set(made) == set(doctor.CHECKS)
