# SPDX-License-Identifier: GPL-2.0-only
"""The bench's tables say what was measured."""

from __future__ import annotations

import pytest

from tests.bench import table

RATES = {
    "plain": 1000.0,
    "sit": 500.0,
    "fou": 400.0,
    "ip6tnl": 300.0,
    "ip6tnl-lim": 290.0,
    "wireguard": 100.0,
    "udp4": 380.0,
    "ip4": 500.0,
    "ip6": 450.0,
}
CLOCK = {
    kind: {"mbit": [rate, rate * 2], "pps": [rate * 10, rate * 20], "discarded": [0, 0]}
    for kind, rate in RATES.items()
}
COUNTED = {
    kind: {"up": [cost - 100], "down": [cost + 100], "lost": [0]}
    for kind, cost in (
        ("plain", 1000.0),
        ("sit", 3000.0),
        ("fou", 3500.0),
        ("ip6tnl", 4000.0),
        ("ip6tnl-lim", 4100.0),
        ("wireguard", 30000.0),
        ("udp4", 3250.0),
        ("ip4", 3000.0),
        ("ip6", 2500.0),
    )
}


def row_of(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


def test_ratios_are_of_rounds() -> None:
    assert table.ratio(CLOCK, "udp4", "fou", "mbit") == pytest.approx(0.95)
    uneven = CLOCK | {"udp4": {"mbit": [400.0, 400.0]}}
    assert table.ratios(uneven, "udp4", "fou", "mbit") == pytest.approx([1.0, 0.5])
    assert table.ratio(uneven, "udp4", "fou", "mbit") == pytest.approx(0.75)


def test_tables_fit_a_terminal() -> None:
    tables = (
        table.forwarding(CLOCK),
        table.compared(CLOCK),
        table.instructions(COUNTED),
        table.verdicts(table.goals(CLOCK, COUNTED)),
    )
    for text in tables:
        assert max(len(line) for line in text.splitlines()) <= 80, text
    assert "(380-760)" in row_of(tables[0], "udp4")
    assert "0.95 (0.95-0.95)" in row_of(tables[1], "udp4 to fou")
    assert "1.50" in row_of(tables[1], "ip6 to ip6tnl")


def test_goals_are_told_as_they_are() -> None:
    assert table.verdicts(table.goals(CLOCK, COUNTED)).count("met") == len(
        table.goals(CLOCK, COUNTED)
    )
    slower = CLOCK | {"ip6": CLOCK["ip6tnl"]}
    assert "measured 1.00: MISSED" in table.verdicts(table.goals(slower, COUNTED))
    dearer = COUNTED | {"udp4": COUNTED["wireguard"]}
    assert [met for *_, met in table.goals(CLOCK, dearer)].count(False) == 1


def test_instructions_of_the_tunnel_alone() -> None:
    row = row_of(table.instructions(COUNTED), "udp4")
    assert row.split() == ["udp4", "3150", "3350", "3250", "2250", "1.08", "0.90"]


def test_handovers_beside_umip() -> None:
    flow = {"gap_ms": 210, "sent": 9, "lost": 2}
    move = {"name": "v6 -> v4", "after_ms": 90.0, "wire_kind": "ip4", "flows": {"udp6": flow}}
    told = table.handovers({"rtt_ms": 20.0, "moves": [move]})
    assert "2/9" in told
    assert "2100-5600" in told
    assert "longest 90 ms: met" in told
    late = table.handovers({"rtt_ms": 20.0, "moves": [move | {"after_ms": 130.0}]})
    assert "longest 130 ms: MISSED" in late
    away = move | {"name": "home -> v6", "after_ms": 1053.0}
    both = table.handovers({"rtt_ms": 20.0, "moves": [move, away]})
    assert "1053" in both
    assert "longest 90 ms: met" in both
    assert all(len(line) <= 80 for line in told.splitlines())


def test_handshakes_beside_charon() -> None:
    figures = {"dsmipd": [2.0, 3.0, 4.0], "charon": [2.0, 2.0, 2.0]}
    answers = {"dsmipd": {"made": 900}, "charon": {f"refused ({'x' * 90})": 900}}
    told = table.handshakes(figures, 300, {"charon": "charon 5.9.8"}, answers)
    ours = row_of(told, "dsmipd").split()
    assert ours == ["dsmipd", "3", "x", "300", "3.000", "(2.000-4.000)", "333"]
    assert row_of(told, "charon 5.9.8").split()[-1] == "500"
    assert "1.50 (1.00-2.00), goal at most 2.00: met" in told
    assert "child at dsmipd: made, 900 times" in told
    assert all(len(line) <= 80 for line in told.splitlines())
    slower = figures | {"dsmipd": [4.1, 4.1, 4.1]}
    assert "2.05 (2.05-2.05), goal at most 2.00: MISSED" in table.handshakes(slower, 300, {}, {})
