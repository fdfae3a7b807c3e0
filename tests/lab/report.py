# SPDX-License-Identifier: GPL-2.0-only
"""The demo's figures: what each flow lost at each move, as table and as plot."""

from __future__ import annotations

import bisect
import itertools
from dataclasses import asdict, dataclass, field
from typing import Any
from xml.sax.saxutils import escape


@dataclass(slots=True)
class Flow:
    """One flow from the correspondent to the LAN host, as its receiver saw it.

    Times are seconds of the lab's one monotonic clock. ``sent`` holds the
    sending times of a UDP flow by sequence number, ``arrivals`` pairs of
    (arrival time, sequence number) in order of arrival. A TCP flow has
    ``progress`` instead: (time, octets received so far).
    """

    name: str
    sent: list[float] = field(default_factory=list)
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    progress: list[tuple[float, int]] = field(default_factory=list)

    @property
    def is_tcp(self) -> bool:
        return bool(self.progress)

    def times(self) -> list[float]:
        """Return when something new arrived."""
        if self.is_tcp:
            return [
                t
                for (t, octets), before in zip(
                    self.progress, [0, *(octets for _, octets in self.progress)], strict=False
                )
                if octets > before
            ]
        return [t for t, _ in self.arrivals]

    def gap_ms(self, start: float, end: float) -> float:
        """Return the longest silence that touches the window, in ms."""
        times = self.times()
        first = max(bisect.bisect_left(times, start) - 1, 0)
        last = bisect.bisect_right(times, end)
        inside = times[first : last + 1]
        if len(inside) < 2:
            return (end - start) * 1000
        return max(b - a for a, b in itertools.pairwise(inside)) * 1000

    def wait_ms(self, start: float, end: float) -> float:
        """Return the time from ``start`` until something new arrived, in ms."""
        times = self.times()
        after = bisect.bisect_left(times, start)
        return ((times[after] if after < len(times) else end) - start) * 1000

    def lost(self, start: float, end: float) -> tuple[int, int]:
        """Return (never arrived, sent) of the packets sent in the window."""
        arrived = {sequence for _, sequence in self.arrivals}
        window = range(bisect.bisect_left(self.sent, start), bisect.bisect_right(self.sent, end))
        return sum(sequence not in arrived for sequence in window), len(window)

    def alive_at(self, end: float, within: float) -> bool:
        """Tell whether something arrived in the last ``within`` seconds before ``end``."""
        times = self.times()
        return bool(times) and times[-1] >= end - within


@dataclass(slots=True)
class Move:
    """One step of the tour and what the daemons said of it.

    ``start`` is when the cable was pulled, ``usable_ms`` from there to a usable
    new address, ``detect_ms`` from that to the Binding Update, ``update_ms`` from
    the update to its acknowledgement; None where the step has no such phase.
    """

    name: str
    network: str
    start: float
    end: float
    wire_kind: str = ""
    detect_ms: float | None = None
    usable_ms: float | None = None
    update_ms: float | None = None

    def after(self, flows: list[Flow]) -> float | None:
        """Return ms from the usable address until the slowest flow arrived again."""
        if self.usable_ms is None:
            return None
        usable = self.start + self.usable_ms / 1000
        waits = [flow.wait_ms(usable, self.end) for flow in flows]
        return max(waits, default=None)


def table(moves: list[Move], flows: list[Flow]) -> str:
    """Return the handover table, at most 80 columns."""
    udp = [flow for flow in flows if not flow.is_tcp]
    tcp = [flow for flow in flows if flow.is_tcp]
    head = f"{'move':<18} {'wire':<5}{'addr':>5}{'detect':>7}{'BU-BA':>6}{'gap':>6}{'after':>6}"
    unit = f"{'':<18} {'kind':<5}{'ms':>5}{'ms':>7}{'ms':>6}{'ms':>6}{'ms':>6}"
    for flow in udp:
        head += f"{flow.name:>10}"
        unit += f"{'lost/sent':>10}"
    for flow in tcp:
        head += f"{flow.name:>6}"
        unit += f"{'ms':>6}"
    lines = [head, unit, "-" * len(head)]
    for move in moves:
        gap = max((flow.gap_ms(move.start, move.end) for flow in udp), default=0.0)
        detect = move.detect_ms
        line = f"{move.name:<18.18} {move.wire_kind:<5.5}{_ms(move.usable_ms):>5}"
        line += f"{_ms(detect):>7}{_ms(move.update_ms):>6}{gap:>6.0f}{_ms(move.after(udp)):>6}"
        for flow in udp:
            lost, sent = flow.lost(move.start, move.end)
            line += f"{f'{lost}/{sent}':>10}"
        for flow in tcp:
            line += f"{flow.gap_ms(move.start, move.end):>6.0f}"
        lines.append(line)
    lines.append("")
    lines.append("addr: cable pulled until a new address is usable; detect: from then to the")
    lines.append("Binding Update; gap: longest silence at the LAN host; after: from the usable")
    lines.append("address until packets arrive again; tcp: longest stall of the transfer")
    if any(is_first_registration(move.name) for move in moves):
        lines.append("home ->: first of all the home agent looks for a duplicate of the home")
        lines.append("address, for a second (RFC 6275 section 10.3.1)")
    return "\n".join(lines)


def is_first_registration(move: str) -> bool:
    """Tell whether a move leaves the home link, where there was no binding."""
    return move.startswith("home -> ")


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def document(moves: list[Move], flows: list[Flow], **more: Any) -> dict[str, Any]:
    """Return report.json: every figure of the table, and what it was taken from."""
    rows = []
    for move in moves:
        row: dict[str, Any] = asdict(move)
        row["after_ms"] = move.after([flow for flow in flows if not flow.is_tcp])
        row["flows"] = {}
        for flow in flows:
            entry: dict[str, Any] = {"gap_ms": round(flow.gap_ms(move.start, move.end), 2)}
            if not flow.is_tcp:
                entry["lost"], entry["sent"] = flow.lost(move.start, move.end)
            row["flows"][flow.name] = entry
        rows.append(row)
    return {**more, "moves": rows}


# --- the plot ----------------------------------------------------------------

_WIDTH, _LEFT, _RIGHT = 1000, 70, 20
_LANE, _SPACE, _TOP = 90, 34, 74
_COLOURS = {
    "v6": "#4c78a8",
    "v4": "#f58518",
    "nat": "#b279a2",
    "home": "#54a24b",
    "v6only": "#72b7b2",
}


def timeline(moves: list[Move], flows: list[Flow], title: str) -> str:
    """Return an SVG: the access networks over time, one lane for each flow."""
    begin = min((flow.times()[0] for flow in flows if flow.times()), default=0.0)
    end = max((flow.times()[-1] for flow in flows if flow.times()), default=begin + 1)
    span = max(end - begin, 0.001)

    def x(t: float) -> float:
        return _LEFT + (min(max(t, begin), end) - begin) / span * (_WIDTH - _LEFT - _RIGHT)

    height = _TOP + len(flows) * (_LANE + _SPACE) + 30
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="20" font-size="15" fill="#222">{escape(title)}</text>',
    ]
    out += _networks(moves, begin, end, x)
    for number, flow in enumerate(flows):
        top = _TOP + number * (_LANE + _SPACE)
        out += _lane(flow, top, x, begin, end)
        out += [
            f'<line x1="{x(m.start):.1f}" x2="{x(m.start):.1f}" y1="{top}" y2="{top + _LANE}" '
            'stroke="#888" stroke-dasharray="3 3"/>'
            for m in moves
        ]
    bottom = height - 24
    step = next((s for s in (1, 2, 5, 10, 20, 30, 60, 120) if span / s <= 14), 300)
    for tick in range(0, int(span) + 1, step):
        out.append(
            f'<text x="{x(begin + tick):.1f}" y="{bottom}" text-anchor="middle" '
            f'fill="#555">{tick} s</text>'
        )
    out.append("</svg>")
    return "\n".join(out) + "\n"


def _networks(moves: list[Move], begin: float, end: float, x: Any) -> list[str]:
    out = [f'<text x="{_LEFT - 8}" y="47" text-anchor="end" fill="#555">uplink</text>']
    steps = [(begin, moves[0].name.split(" ")[0] if moves else "")]
    steps += [(move.start, move.network) for move in moves if move.network]
    merged = [s for i, s in enumerate(steps) if i == 0 or s[1] != steps[i - 1][1]]
    for (start, network), (stop, _) in zip(merged, [*merged[1:], (end, "")], strict=True):
        out.append(
            f'<rect x="{x(start):.1f}" y="34" width="{max(x(stop) - x(start), 1):.1f}" height="18" '
            f'fill="{_COLOURS.get(network, "#999")}"/>'
        )
        if x(stop) - x(start) > 34:
            out.append(f'<text x="{x(start) + 5:.1f}" y="47" fill="#fff">{escape(network)}</text>')
    return out


def _lane(flow: Flow, top: float, x: Any, begin: float, end: float) -> list[str]:
    frame = (
        f'<rect x="{_LEFT}" y="{top}" width="{_WIDTH - _LEFT - _RIGHT}" height="{_LANE}" '
        'fill="none" stroke="#ccc"/>'
    )
    label = f'<text x="{_LEFT}" y="{top - 5}" fill="#222">{escape(flow.name)}, '
    if flow.is_tcp:
        bins = _throughput(flow, begin, end)
        peak = max((rate for _, rate in bins), default=0.0) or 1.0
        points = " ".join(f"{x(t):.1f},{top + _LANE * (1 - rate / peak):.1f}" for t, rate in bins)
        return [
            frame,
            label + "Mbit/s</text>",
            _scale(top, f"{peak:.1f}"),
            f'<polyline points="{points}" fill="none" stroke="#4c78a8" stroke-width="1.2"/>',
        ]
    delays = [(t, (t - flow.sent[s]) * 1000) for t, s in flow.arrivals if s < len(flow.sent)]
    peak = _nice(sorted(d for _, d in delays)[int(len(delays) * 0.995) - 1] if delays else 1.0)
    keep = max(1, len(delays) // 4000)
    dots = "".join(
        f"M{x(t):.1f} {top + _LANE * (1 - min(delay / peak, 1)):.1f}h1"
        for i, (t, delay) in enumerate(delays)
        if i % keep == 0 or delay > peak / 2
    )
    arrived = {sequence for _, sequence in flow.arrivals}
    missing = "".join(
        f"M{x(t):.1f} {top}v{_LANE}" for s, t in enumerate(flow.sent) if s not in arrived
    )
    return [
        frame,
        label + 'delay in ms; <tspan fill="#d62728">lost packets red</tspan></text>',
        _scale(top, f"{peak:.0f}"),
        f'<path d="{missing}" stroke="#d62728" stroke-width="0.7" opacity="0.6"/>',
        f'<path d="{dots}" stroke="#4c78a8" stroke-width="1.6" fill="none"/>',
    ]


def _scale(top: float, peak: str) -> str:
    return (
        f'<text x="{_LEFT - 6}" y="{top + 10}" text-anchor="end" fill="#555">{peak}</text>'
        f'<text x="{_LEFT - 6}" y="{top + _LANE}" text-anchor="end" fill="#555">0</text>'
    )


def _throughput(
    flow: Flow, begin: float, end: float, width: float = 0.2
) -> list[tuple[float, float]]:
    bins = [0] * (int((end - begin) / width) + 1)
    before = 0
    for t, octets in flow.progress:
        index = min(max(int((t - begin) / width), 0), len(bins) - 1)
        bins[index] += octets - before
        before = octets
    return [(begin + i * width, octets * 8 / width / 1e6) for i, octets in enumerate(bins)]


def _nice(value: float) -> float:
    scale = 1.0
    while value > scale * 10:
        scale *= 10
    return next(scale * m for m in (1, 2, 5, 10) if value <= scale * m)
