# SPDX-License-Identifier: GPL-2.0-only
"""The history of handovers, and what happened to uplinks between them."""

from __future__ import annotations

from ipaddress import IPv6Address

from dsmip.mobility.effects import HandoverMark, Phase
from dsmip.service import render
from dsmip.service.history import History


def test_events_stand_between_handovers_and_end_none() -> None:
    home = IPv6Address("2001:db8:1::100")
    history = History(3, lambda: 1_800_000_000.0)
    history.note("restart", "lte", "lte stalled: interface restarted", 1.0)
    assert history.last() is None
    history.mark(HandoverMark(home, Phase.LINK, 2.0, "wifi", None, "wifi came up"), 2.0)
    history.mark(HandoverMark(home, Phase.UPDATE_SENT, 2.0, "wifi"), 2.1)
    history.note("portal", "lte", "lte: portal login needed: http://p.example/", 2.2)
    history.mark(HandoverMark(home, Phase.ACKNOWLEDGED, 2.3, "wifi"), 2.3)
    history.mark(HandoverMark(home, Phase.FIRST_PACKET, 2.4, "wifi"), 2.4)
    restart_, moved, portal = history.documents()
    assert [one["event"] for one in (restart_, moved, portal)] == ["restart", "", "portal"]
    assert [one["number"] for one in (restart_, moved, portal)] == [1, 2, 3]
    assert moved["gap_ms"] == 400.0
    assert set(moved["phases_ms"]) == {"link", "update_sent", "acknowledged", "first_packet"}
    assert portal["gap_ms"] is None
    assert portal["phases_ms"] == {}
    last = history.last()
    assert last is not None
    assert last.number == 2
    shown = render.history(history.documents())
    assert any("lte: restart" in line for line in shown)
    assert any("lte: portal" in line for line in shown)
    # Many events push handovers out, and the next mark still finds its own.
    for number in range(5):
        history.note("restart", "lte", f"number {number}", 3.0)
    history.mark(HandoverMark(home, Phase.UPDATE_SENT, 4.0, "wifi"), 4.0)
    assert [one["event"] for one in history.documents()] == ["restart"] * 3
