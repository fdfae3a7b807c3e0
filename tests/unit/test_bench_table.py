# SPDX-License-Identifier: GPL-2.0-only
"""The bench's tables say what was measured."""

from __future__ import annotations

import pytest

from tests.bench import table

FIGURES = {
    kind: {"mbit": [rate, rate * 2], "pps": [rate * 10, rate * 20], "ns": [cost], "lost": [0, 0]}
    for kind, rate, cost in (
        ("plain", 1000.0, 1000.0),
        ("sit", 500.0, 3000.0),
        ("fou", 400.0, 3500.0),
        ("ip6tnl", 300.0, 4000.0),
        ("udp4", 380.0, 3250.0),
        ("ip4", 500.0, 3000.0),
        ("ip6", 450.0, 2500.0),
    )
}


def test_ratios_are_of_rounds() -> None:
    assert table.ratio(FIGURES, "udp4", "fou", "mbit") == pytest.approx(0.95)
    uneven = FIGURES | {"udp4": {"mbit": [400.0, 400.0]}}
    assert table.ratio(uneven, "udp4", "fou", "mbit") == pytest.approx(0.75)


def test_forwarding_fits_a_terminal() -> None:
    lines = table.forwarding(FIGURES).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "0.95" in next(line for line in lines if line.startswith("udp4"))


def test_goals_are_told_as_they_are() -> None:
    assert table.goals(FIGURES).count("met") == 3
    slower = FIGURES | {"ip6": FIGURES["ip6tnl"]}
    assert "1.00, MISSED" in table.goals(slower)


def test_instructions_of_the_tunnel_alone() -> None:
    row = next(r for r in table.instructions(FIGURES).splitlines() if r.startswith("udp4"))
    assert row.split() == ["udp4", "3250", "2250", "0.90"]


def test_handovers_beside_umip() -> None:
    move = {"name": "v6 -> v4", "after_ms": 90.0, "flows": {"udp6": {"gap_ms": 210, "sent": 9}}}
    told = table.handovers({"rtt_ms": 20.0, "moves": [move]})
    assert "210" in told
    assert "2100-5600" in told
    assert "90, met" in told
    late = table.handovers({"rtt_ms": 20.0, "moves": [move | {"after_ms": 130.0}]})
    assert "130, MISSED" in late
