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

#: ESP on top of IPv6 inside UDP 4191 is what tshark must be told: the port has no dissector.
TUNNEL = ["-d", "udp.port==4191,ipv6"]


class Told:
    """A tour that was made, what it said, and its files."""

    def __init__(self, tour: Tour, directory: Path, lines: list[str]) -> None:
        self.tour = tour
        self.directory = directory
        self.lines = lines
        self.report = json.loads((directory / "report.json").read_text())

    def packets(self, condition: str, *fields: str, options: list[str] | None = None) -> list[str]:
        """Return what tshark shows of the packets that meet a condition."""
        shown = [word for name in fields or ("frame.number",) for word in ("-e", name)]
        command = ["tshark", "-r", str(self.directory / "capture.pcapng"), *(options or [])]
        command += ["-Y", condition, "-T", "fields", *shown]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()


@pytest.fixture(scope="module")
def told() -> Told:
    load_module()
    log = KernelLog()
    lines: list[str] = []
    directory = OUT / "tour"
    with Topology("tour") as net:
        tour = Tour(net, lines.append, pause=2.0)
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
    assert told.packets("_ws.malformed") == []
    assert told.packets("_ws.malformed", options=TUNNEL) == []


def test_update_over_ipv6_is_home_address_option_then_esp(told: Told) -> None:
    fields = ("frame.protocols", "ipv6.src", "ipv6.dst", "mip6.hoa")
    there = told.packets("esp && ipv6.dstopts && !ip", "frame.protocols", "ipv6.dst", *fields[1:2])
    assert len(there) >= 2
    for line in there:
        protocols, destination, source = line.split("\t")
        assert protocols.endswith(":ipv6:ipv6.dstopts:esp")
        assert destination == HA6
        # tshark shows the home address as the source where it knows the option.
        assert source == HOA or source.startswith("2001:db8:a6:")
    options = told.packets("esp && ipv6.dstopts && !ip", "ipv6.opt.type")
    assert all("201" in line.split(",") for line in options)


def test_acknowledgement_over_ipv6_is_type_2_routing_header_then_esp(told: Told) -> None:
    back = told.packets("esp && ipv6.routing.type == 2 && !ip", "frame.protocols")
    assert len(back) >= 2
    assert all(line.endswith(":ipv6:ipv6.routing:esp") for line in back)


def test_update_over_ipv4_is_udp_4191_ipv6_esp(told: Told) -> None:
    fields = ("frame.protocols", "ip.dst", "ipv6.src", "ipv6.dst", "udp.dstport")
    there = told.packets(f"esp && ip && ipv6.src == {HOA}", *fields, options=TUNNEL)
    assert len(there) >= 3
    for line in there:
        protocols, outer, source, destination, port = line.split("\t")
        assert protocols.endswith(":ip:udp:ipv6:esp")
        assert (outer, source, destination, port) == (HA4, HOA, HA6, "4191")


def test_nothing_of_signalling_is_in_clear(told: Told) -> None:
    assert told.packets("mipv6") == []
    assert told.packets("mipv6", options=TUNNEL) == []


def test_care_of_option_never_leaves_a_host(told: Told) -> None:
    seen = told.packets("ipv6.opt.type", "ipv6.opt.type")
    assert seen
    assert not any("30" in line.split(",") for line in seen)


def test_no_redirects(told: Told) -> None:
    assert told.packets("icmpv6.type == 137 || icmp.type == 5") == []


def test_logs_are_quiet(told: Told) -> None:
    assert "Traceback" not in told.lines[-1]
    assert " ERROR " not in told.lines[-1]


def test_what_is_printed_fits_a_terminal(told: Told) -> None:
    for text in told.lines[:-1]:
        assert all(len(line) <= 84 for line in text.splitlines()), text
