# SPDX-License-Identifier: GPL-2.0-only
"""The bench's figures as tables of at most 80 columns."""

from __future__ import annotations

from statistics import median
from typing import Any

Figures = dict[str, dict[str, list[float]]]

#: Whom each of ours is compared with, and the ratios that we aim at.
RIVALS = {"udp4": "fou", "ip4": "sit", "ip6": "ip6tnl"}
GOALS = (("udp4", "mbit", 0.95), ("udp4", "pps", 0.95), ("ip6", "pps", 1.2))
UNITS = {"mbit": "TCP throughput", "pps": "64-byte packets"}
#: Outage of UMIP per move in seconds, least and most, same kernel: NEMO without IPsec,
#: and with static ESP.
UMIP_OUTAGE = {"without IPsec": (2.1, 5.6), "static ESP": (3.8, 4.8)}


def ratio(figures: Figures, kind: str, rival: str, what: str) -> float:
    """Return the median of the rounds' ratios: both of a round met the same machine."""
    pairs = zip(figures[kind][what], figures[rival][what], strict=True)
    return median(ours / theirs for ours, theirs in pairs)


def forwarding(figures: Figures) -> str:
    """Return throughput and packet rate of each kind, median and spread of the rounds."""
    lines = [
        f"{'kind':<11}{'TCP Mbit/s':>11}{'spread':>13}{'64 B pkt/s':>12}{'spread':>15}"
        f"{'rival':>9}{'x TCP':>7}{'x pkt':>6}"[:80],
        "-" * 80,
    ]
    for kind, found in figures.items():
        row = f"{kind:<11}"
        for what, width, spread in (("mbit", 11, 13), ("pps", 12, 15)):
            values = found[what]
            row += f"{median(values):>{width}.0f}"
            row += f"{f'{min(values):.0f}-{max(values):.0f}':>{spread}}"
        rival = RIVALS.get(kind)
        if rival:
            row += f"{rival:>8}{ratio(figures, kind, rival, 'mbit'):>6.2f}"
            row += f"{ratio(figures, kind, rival, 'pps'):>6.2f}"
        lines.append(row[:80])
    return "\n".join(lines)


def instructions(figures: Figures) -> str:
    """Return what a packet costs from its source to the sink, and in the tunnel alone."""
    plain = median(figures["plain"]["ns"])
    lines = [f"{'kind':<11}{'instructions per packet':>25}{'more than plain':>18}{'x rival':>10}"]
    lines.append("-" * 64)
    for kind, found in figures.items():
        cost = median(found["ns"])
        row = f"{kind:<11}{cost:>25.0f}{cost - plain:>18.0f}"
        rival = RIVALS.get(kind)
        if rival:
            row += f"{(cost - plain) / (median(figures[rival]['ns']) - plain):>10.2f}"
        lines.append(row)
    return "\n".join(lines)


def goals(figures: Figures) -> str:
    """Return each aim and whether this run met it."""
    lines = []
    for kind, what, aim in GOALS:
        got = ratio(figures, kind, RIVALS[kind], what)
        verdict = "met" if got >= aim else "MISSED"
        lines.append(
            f"{kind} at least {aim:.2f} x {RIVALS[kind]} in {UNITS[what]}: {got:.2f}, {verdict}"
        )
    return "\n".join(lines)


def handovers(report: dict[str, Any]) -> str:
    """Return the demo's moves beside those of UMIP."""
    allowed = report["rtt_ms"] + 100
    lines = [f"{'handover':<22}{'gap ms':>8}{'after the address ms':>22}"]
    lines.append("-" * 52)
    for move in report["moves"]:
        gap = max(flow["gap_ms"] for flow in move["flows"].values() if "sent" in flow)
        after = move.get("after_ms")
        shown = "-" if after is None else f"{after:.0f}"
        lines.append(f"{move['name']:<22}{gap:>8.0f}{shown:>22}")
    for how, (least, most) in UMIP_OUTAGE.items():
        lines.append(f"{'UMIP, ' + how:<22}{f'{least * 1000:.0f}-{most * 1000:.0f}':>8}")
    waits = [m["after_ms"] for m in report["moves"] if m.get("after_ms") is not None]
    if waits:
        verdict = "met" if max(waits) <= allowed else "MISSED"
        lines.append(
            f"at most one RTT + 100 ms = {allowed:.0f} ms after the address: "
            f"{max(waits):.0f}, {verdict}"
        )
    return "\n".join(lines)
