# SPDX-License-Identifier: GPL-2.0-only
"""The demo's tour, judged by what it left: flows, history, and packets on the wire."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.lab.kmodlib import KernelLog, load_module
from tests.lab.topology import HA4, HA6, HOA, OUT, Topology
from tests.lab.tour import Tour

FIELDS = (
    *("frame.number", "frame.protocols", "_ws.malformed", "ip.dst", "ipv6.src", "ipv6.dst"),
    *("ipv6.opt.type", "ipv6.routing.type", "udp.dstport", "icmp.type", "icmpv6.type"),
)


class Told:
    """A tour that was made, what it said, and its files."""

    def __init__(self, tour: Tour, directory: Path, lines: list[str]) -> None:
        self.tour = tour
        self.directory = directory
        self.lines = lines
        self.report = json.loads((directory / "report.json").read_text())
        # UDP port 4191 has no dissector for what RFC 5555 puts there, so IPv6 it is:
        # inner IPv4 remains undissected, and "malformed" counts where IPv6 is.
        command = ["tshark", "-r", str(directory / "capture.pcapng"), "-n"]
        command += ["-d", "udp.port==4191,ipv6", "-T", "fields"]
        command += ["-Y", "esp || mipv6 || icmp || icmpv6 || ipv6.opt || (_ws.malformed && ipv6)"]
        command += [word for name in FIELDS for word in ("-e", name)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows = [line.split("\t") for line in done.stdout.splitlines()]
        self.rows = [dict(zip(FIELDS, row, strict=True)) for row in rows]

    def packets(self, protocols: str) -> list[dict[str, str]]:
        """Return the packets whose layers end like that."""
        return [row for row in self.rows if row["frame.protocols"].endswith(protocols)]


@pytest.fixture(scope="module")
def told() -> Told:
    load_module()
    log = KernelLog()
    lines: list[str] = []
    directory = OUT / "tour"
    with Topology("tour") as net:
        tour = Tour(net, lines.append, pause=2.0, rate=40)
        tour.run()
        tour.write(directory, "test")
        lines.append(net.log("ha") + net.log("mr"))
    complaints = log.complaints()
    log.close()
    assert not complaints
    return Told(tour, directory, lines)


def test_every_flow_is_alive_after_every_move(told: Told) -> None:
    assert told.tour.dead_flows() == []
    for move in told.tour.moves:
        for flow in told.tour.flows:
            assert flow.alive_at(move.end, 1.5), (move.name, flow.name)


def test_each_network_has_its_wire_kind(told: Told) -> None:
    found = [(move.name, move.wire_kind) for move in told.tour.moves]
    assert found == [
        ("v6 -> v4", "ip4"),
        ("v4 -> nat", "udp4"),
        ("nat -> v6", "ip6"),
        ("home agent killed", ""),
        ("v6 -> nat", "udp4"),
        ("NAT loses mappings", ""),
        ("nat -> home", "home"),
    ]


def test_killed_agent_costs_no_packet(told: Told) -> None:
    killed = next(move for move in told.tour.moves if move.name == "home agent killed")
    for flow in told.tour.flows:
        if not flow.is_tcp:
            lost, sent = flow.lost(killed.start, killed.end)
            assert lost == 0
            assert sent > 100


def test_report_and_plot(told: Told) -> None:
    assert [row["name"] for row in told.report["moves"]] == [m.name for m in told.tour.moves]
    assert told.report["dead"] == []
    assert (told.directory / "timeline.svg").read_text().startswith("<svg")


def test_no_packet_is_malformed(told: Told) -> None:
    assert [
        row for row in told.rows if row["_ws.malformed"] and "ipv6" in row["frame.protocols"]
    ] == []


@pytest.mark.spec("M-113", "M-150")
def test_update_over_ipv6_is_home_address_option_then_esp(told: Told) -> None:
    there = told.packets(":ethertype:ipv6:ipv6.dstopts:esp")
    assert len(there) >= 2
    for row in there:
        assert row["ipv6.dst"] == HA6
        assert row["ipv6.src"].startswith("2001:db8:a6:")
        assert "0xc9" in row["ipv6.opt.type"].split(",")


@pytest.mark.spec("M-041")
def test_acknowledgement_over_ipv6_is_type_2_routing_header_then_esp(told: Told) -> None:
    back = told.packets(":ethertype:ipv6:ipv6.routing:esp")
    assert len(back) >= 2
    assert {row["ipv6.routing.type"] for row in back} == {"2"}


@pytest.mark.spec("D-004", "D-006")
def test_update_over_ipv4_is_udp_4191_ipv6_esp(told: Told) -> None:
    there = [row for row in told.packets(":ip:udp:ipv6:esp") if row["ipv6.src"] == HOA]
    assert len(there) >= 3
    for row in there:
        assert (row["ip.dst"], row["ipv6.dst"], row["udp.dstport"]) == (HA4, HA6, "4191")


@pytest.mark.spec("D-058", "N-026")
def test_nothing_of_signalling_is_in_clear(told: Told) -> None:
    assert [row for row in told.rows if "mipv6" in row["frame.protocols"]] == []


def test_care_of_option_never_leaves_a_host(told: Told) -> None:
    seen = [row["ipv6.opt.type"].split(",") for row in told.rows if row["ipv6.opt.type"]]
    assert seen
    assert not any("0x1e" in types for types in seen)


def test_no_redirects(told: Told) -> None:
    assert not any("137" in row["icmpv6.type"].split(",") for row in told.rows)
    assert not any("5" in row["icmp.type"].split(",") for row in told.rows)


def test_logs_are_quiet(told: Told) -> None:
    assert "Traceback" not in told.lines[-1]
    assert " ERROR " not in told.lines[-1]


def test_what_is_printed_fits_a_terminal(told: Told) -> None:
    for text in told.lines[:-1]:
        assert all(len(line) <= 84 for line in text.splitlines()), text
