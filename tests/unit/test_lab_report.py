# SPDX-License-Identifier: GPL-2.0-only
"""The figures that the demo prints come out of hand-made flows as computed by hand."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from tests.lab.report import Flow, Move, document, table, timeline


def udp(lost: set[int], count: int = 1000, rate: float = 100.0, delay: float = 0.02) -> Flow:
    sent = [10 + i / rate for i in range(count)]
    arrivals = [(t + delay, i) for i, t in enumerate(sent) if i not in lost]
    return Flow("udp6", sent=sent, arrivals=arrivals)


MOVE = Move("v6 -> v4", "v4", 13.0, 16.0, "udp4", 12.4, 3.0, 24.0)


def test_gap_and_loss_are_those_of_the_window() -> None:
    flow = udp({300, 301, 302, 800})
    assert flow.lost(13.0, 16.0) == (3, 301)
    assert abs(flow.gap_ms(13.0, 16.0) - 40) < 0.01
    assert abs(flow.gap_ms(11.0, 12.0) - 10) < 0.01


def test_a_flow_that_ends_in_the_window_has_an_open_gap() -> None:
    flow = udp(set(range(400, 1000)))
    assert not flow.alive_at(20.0, 2.0)
    assert flow.gap_ms(15.0, 19.0) == 4000
    assert udp(set()).alive_at(20.0, 2.0)


def test_duplicates_do_not_hide_a_loss() -> None:
    flow = udp({300})
    flow.arrivals.insert(250, flow.arrivals[249])
    assert flow.lost(13.0, 16.0)[0] == 1


def test_tcp_stall_counts_progress_not_wakeups() -> None:
    flow = Flow("tcp", progress=[(0.0, 10), (0.1, 20), (0.5, 20), (1.1, 30)])
    assert abs(flow.gap_ms(0.0, 2.0) - 1000) < 0.01


def test_table_fits_a_terminal() -> None:
    flows = [udp({300}), udp(set()), Flow("tcp", progress=[(10.0, 1), (19.0, 10**9)])]
    text = table([MOVE, Move("daemon killed", "nat", 17.0, 19.0)], flows)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "1/301" in text
    assert "12" in text


def test_a_way_from_home_is_explained() -> None:
    assert "duplicate" not in table([MOVE], [udp(set())])
    text = table([Move("home -> v6", "ip6", 17.0, 19.0)], [udp(set())])
    assert "duplicate" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_timeline_is_well_formed_whatever_the_names() -> None:
    flow = udp({300})
    flow.name = "<udp & co>"
    root = ElementTree.fromstring(timeline([MOVE], [flow], "a <tour>"))
    assert "a <tour>" in "".join(root.itertext())
    assert ElementTree.fromstring(timeline([], [], "nothing")) is not None


def test_document_repeats_the_tables_figures() -> None:
    flow = udp({300})
    row = document([MOVE], [flow], kernel="6.1")["moves"][0]
    assert row["flows"]["udp6"] == {"gap_ms": 20.0, "lost": 1, "sent": 301}
