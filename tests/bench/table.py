# SPDX-License-Identifier: GPL-2.0-only
"""The bench's figures as tables of at most 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from tests.lab.report import is_first_registration

Figures = dict[str, dict[str, list[float]]]

#: Whom each of ours is compared with, besides WireGuard.
RIVALS = {"udp4": "fou", "ip4": "sit", "ip6": "ip6tnl"}
#: What we aim at: kind, figure, least ratio to the rival.
GOALS = (("udp4", "mbit", 0.95), ("udp4", "pps", 0.95), ("ip6", "pps", 1.2))
UNITS = {"mbit": "TCP", "pps": "packets/s"}
EXPLAINED = {
    "plain": "no tunnel: veth, routed",
    "sit": "IPv6 in IPv4",
    "fou": "sit in UDP over IPv4",
    "ip6tnl": "in IPv6, no option",
    "ip6tnl-lim": "the same as ip makes it",
    "ip6tnl-6": "in IPv6, no IPv4 inside",
    "wireguard": "encrypted, scalar code",
    "udp4": "dsmip: in UDP over IPv4",
    "ip4": "dsmip: in IPv4",
    "ip6": "dsmip: in IPv6",
}
#: At most so many times charon's CPU for a handshake of IKEv2.
HANDSHAKE_GOAL = 2.0
#: Outage per move of UMIP, the Mobile IPv6 daemon that uses what the kernel has, in
#: seconds, least and most of a router's moves between networks, on Linux 6.1 in the
#: same kind of virtual machine: NEMO without IPsec, and with static ESP.
UMIP_OUTAGE_S = {"UMIP, no IPsec": (2.1, 5.6), "UMIP, static ESP": (3.8, 4.8)}


def ratios(figures: Figures, kind: str, rival: str, what: str) -> list[float]:
    """Return the ratio of every round: both of a round met the same machine."""
    pairs = zip(figures[kind][what], figures[rival][what], strict=True)
    return [ours / theirs for ours, theirs in pairs]


def ratio(figures: Figures, kind: str, rival: str, what: str) -> float:
    """Return the median of the rounds' ratios."""
    return median(ratios(figures, kind, rival, what))


def forwarding(figures: Figures) -> str:
    """Return throughput and packet rate of each kind: median (least-most of the rounds)."""
    lines = [
        f"{'kind':<11}{'TCP Mbit/s':>18}{'64-octet UDP packets/s':>24}",
        "-" * 80,
    ]
    for kind, found in figures.items():
        row = f"{kind:<11}"
        for what, width, spread in (("mbit", 6, 12), ("pps", 8, 16)):
            values = found[what]
            row += f"{median(values):>{width}.0f}"
            row += f"{f'({min(values):.0f}-{max(values):.0f})':>{spread}}"
        lines.append(f"{row}  {EXPLAINED[kind]}")
    return "\n".join(line.rstrip() for line in lines)


def compared(figures: Figures) -> str:
    """Return ours beside each rival: median ratio (least-most of the rounds)."""
    lines = [f"{'':<22}{'TCP':>18}{'packets/s':>22}", "-" * 62]
    for kind in RIVALS:
        for rival in ("plain", RIVALS[kind], "wireguard"):
            row = f"{f'{kind} to {rival}':<22}"
            for what, width in (("mbit", 18), ("pps", 22)):
                all_of_them = ratios(figures, kind, rival, what)
                spread = f"({min(all_of_them):.2f}-{max(all_of_them):.2f})"
                row += f"{f'{median(all_of_them):.2f} {spread}':>{width}}"
            lines.append(row)
    return "\n".join(lines)


def cost(figures: Figures, kind: str) -> float:
    """Return instructions for a packet, the mean of both directions."""
    return (median(figures[kind]["up"]) + median(figures[kind]["down"])) / 2


def instructions(figures: Figures) -> str:
    """Return what a packet costs from its source to the sink, and in the tunnel alone."""
    plain = cost(figures, "plain")
    lines = [
        f"{'instructions':<13}{'from the':>9}{'to the':>8}{'both':>8}{'tunnel':>8}"
        f"   {'rate by that':>12}{'tunnel alone':>14}",
        f"{'per packet':<13}{'router':>9}{'router':>8}{'':>8}{'alone':>8}"
        f"   {'to rival':>12}{'to rival':>14}",
        "-" * 76,
    ]
    for kind in figures:
        here = cost(figures, kind)
        up, down = median(figures[kind]["up"]), median(figures[kind]["down"])
        row = f"{kind:<13}{up:>9.0f}{down:>8.0f}{here:>8.0f}{here - plain:>8.0f}"
        if kind in RIVALS:
            theirs = cost(figures, RIVALS[kind])
            row += f"{theirs / here:>15.2f}{(here - plain) / (theirs - plain):>14.2f}"
        lines.append(row)
    return "\n".join(lines)


def goals(figures: Figures, counted: Figures) -> list[tuple[str, float, float, bool]]:
    """Return what was aimed at, the aim, what came of it, and whether it was met."""
    found = []
    for kind, what, aim in GOALS:
        rival = RIVALS[kind]
        got = ratio(figures, kind, rival, what)
        found.append((f"{kind} to {rival}, {UNITS[what]} by the clock", aim, got, got >= aim))
        if what == "pps":
            got = cost(counted, rival) / cost(counted, kind)
            found.append((f"{kind} to {rival}, packets/s by instructions", aim, got, got >= aim))
    return found


def verdicts(found: list[tuple[str, float, float, bool]]) -> str:
    """Return the goals as lines."""
    return "\n".join(
        f"{what:<42} goal {aim:.2f}, measured {got:.2f}: {'met' if met else 'MISSED'}"
        for what, aim, got, met in found
    )


def handshakes(
    figures: dict[str, list[float]],
    count: int,
    shown: dict[str, str],
    answers: Mapping[str, Mapping[str, int]],
) -> str:
    """Return CPU ms of a handshake of "dsmipd" beside "charon", by round: median (least-most).

    ``count`` handshakes made a round, ``shown`` is what to call them, ``answers``
    is what came of the children and how often.
    """
    lines = [
        f"{'responder':<16}{'handshakes':>12}{'CPU ms each':>24}{'per CPU second':>18}",
        "-" * 70,
    ]
    for name, each in figures.items():
        spread = f"{median(each):.3f} ({min(each):.3f}-{max(each):.3f})"
        row = f"{shown.get(name, name):<16}{f'{len(each)} x {count}':>12}{spread:>24}"
        lines.append(f"{row}{1000 / median(each):>18.0f}")
    pairs = zip(figures["dsmipd"], figures["charon"], strict=True)
    by_round = [ours / theirs for ours, theirs in pairs]
    got = median(by_round)
    verdict = "met" if got <= HANDSHAKE_GOAL else "MISSED"
    lines.append(
        f"CPU, ours to charon's: {got:.2f} ({min(by_round):.2f}-{max(by_round):.2f}), "
        f"goal at most {HANDSHAKE_GOAL:.2f}: {verdict}"
    )
    for name, told in answers.items():
        for answer, times in told.items():
            lines.append(f"{f'child at {name}: {answer}, {times} times':.80}")
    return "\n".join(lines)


def handovers(report: dict[str, Any]) -> str:
    """Return the demo's moves beside what UMIP needs for one, and our aim.

    A move away from home is shown, not judged: the home agent looks for a duplicate
    first, for a second (RFC 6275 section 10.3.1).
    """
    lines = [
        f"{'handover':<22}{'wire':>6}{'longest silence':>17}{'after the address':>19}{'lost':>11}",
        f"{'':<22}{'kind':>6}{'ms':>17}{'ms':>19}{'of sent':>11}",
        "-" * 75,
    ]
    for move in report["moves"]:
        flows = [flow for flow in move["flows"].values() if "sent" in flow]
        gap = max(flow["gap_ms"] for flow in flows)
        after = move.get("after_ms")
        lost = f"{sum(f['lost'] for f in flows)}/{sum(f['sent'] for f in flows)}"
        shown = "-" if after is None else f"{after:.0f}"
        lines.append(
            f"{move['name']:<22.22}{move.get('wire_kind') or '-':>6}{gap:>17.0f}"
            f"{shown:>19}{lost:>11}"
        )
    for how, (least, most) in UMIP_OUTAGE_S.items():
        lines.append(f"{how:<28}{f'{least * 1000:.0f}-{most * 1000:.0f}':>17}{'-':>19}{'-':>11}")
    judged = [move for move in report["moves"] if not is_first_registration(move["name"])]
    waits = [move["after_ms"] for move in judged if move.get("after_ms") is not None]
    aim = report["rtt_ms"] + 100
    verdict = "met" if waits and max(waits) <= aim else "MISSED"
    longest = f"{max(waits):.0f} ms" if waits else "nothing"
    lines.append(
        f"after the address, goal 1 RTT + 100 = {aim:.0f} ms, longest {longest}: {verdict}"
    )
    return "\n".join(lines)
