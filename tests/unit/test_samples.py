# SPDX-License-Identifier: GPL-2.0-only
"""Samples of uplinks: what a page finds that is opened later."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from dsmip.service import command_records
from dsmip.service.command_records import expanded
from dsmip.service.control import RequestError
from dsmip.service.render import WIDTH
from dsmip.service.samples import SPANS, UPLINKS_MAX, Measure, Sampler, Samples

from tests.unit import clockwork

NOON = 1_800_000_000.0


def carried(samples: Samples, seconds: int, rate: int = 1000, start: int = 0, **more: Any) -> None:
    for second in range(start, start + seconds + 1):
        samples.take([Measure("wan", rate * second, 2 * rate * second, **more)], second + 0.001)


def shown(samples: Samples, span: str, now: float, uplink: str = "wan") -> dict[str, Any]:
    document = expanded(samples.document(span, now, NOON + now))
    lengths = {len(one) for each in document["uplinks"].values() for one in each.values()}
    assert len(lengths) <= 1
    found: dict[str, Any] = document["uplinks"][uplink]
    return found


def test_rates_are_octets_a_second() -> None:
    samples = Samples()
    carried(samples, 10, rtt=20.04, loss=1.0)
    found = shown(samples, "fine", 10.5)
    assert found["rx"][-9:] == [1000.0] * 9
    assert found["tx"][-9:] == [2000.0] * 9
    assert found["rtt_ms"][-1] == 20.0
    assert found["loss_percent"][-1] == 1.0


def test_the_last_value_has_its_time() -> None:
    samples = Samples()
    carried(samples, 10)
    document = samples.document("fine", 10.5, NOON)
    assert document["to"] == pytest.approx(NOON - 0.5)
    assert document["every"] == 1


def test_rings_are_bounded() -> None:
    samples = Samples()
    carried(samples, 100_000)
    for span, (every, size) in SPANS.items():
        found = shown(samples, span, 100_000.5)
        assert len(found["rx"]) == size - 1, (every, span)
        assert set(found["rx"]) == {1000.0}


def test_a_minute_has_the_mean_of_traffic_and_the_worst_round_trip() -> None:
    samples = Samples()
    octets = 0
    for second in range(181):
        octets += 6000 if second % 60 == 30 else 0
        rtt = 500.0 if second == 90 else 20.0
        samples.take([Measure("wan", octets, 0, rtt, 0.0)], second + 0.001)
    found = shown(samples, "coarse", 180.5)
    assert found["rx"] == [pytest.approx(6000 / 59, abs=1), 100.0, 100.0]
    assert found["rtt_ms"] == [20.0, 500.0, 20.0]


def test_what_nobody_measured_has_no_value() -> None:
    """The daemon was held up: there is a hole, not a line through it."""
    samples = Samples()
    carried(samples, 5)
    carried(samples, 5, start=20)
    found = shown(samples, "fine", 25.5)["rx"]
    assert found[-5:] == [1000.0] * 5
    assert found[-18:-6] == [None] * 12
    assert shown(samples, "fine", 5000.5)["rx"] == [None] * 299


def test_a_path_made_anew_counts_from_nothing() -> None:
    samples = Samples()
    for second, octets in enumerate((0, 1000, 0, 500)):
        samples.take([Measure("wan", octets, 0)], second + 0.001)
    assert shown(samples, "fine", 4.5)["rx"][-3:] == [1000.0, 0.0, 500.0]


def test_an_uplink_that_went_keeps_its_past_until_room_is_needed() -> None:
    samples = Samples()
    carried(samples, 3)
    for second in range(4, 7):
        samples.take([Measure("other", second, 0)], second + 0.001)
    assert [one for one in shown(samples, "fine", 7.5)["rx"] if one] == [1000.0] * 3
    for second in range(7, 9):
        many = [Measure(f"u{number}", second, 0) for number in range(UPLINKS_MAX + 5)]
        samples.take(many, second + 0.001)
    names = samples.document("fine", 9.5, NOON)["uplinks"]
    assert list(names) == [f"u{number}" for number in range(UPLINKS_MAX)]


def test_clock_that_does_not_move_is_no_division_by_zero() -> None:
    samples = Samples()
    for octets in (0, 5, 10):
        samples.take([Measure("wan", octets, 0)], 1.0)
    assert samples.document("fine", 1.0, NOON)["uplinks"] == {}


def test_command() -> None:
    measured = iter(range(1000))

    def look() -> list[Measure]:
        number = next(measured)
        if number == 1:
            raise OSError(19, "No such device")
        return [Measure("wan", 1000 * number, 0)]

    async def run() -> dict[str, Any]:
        sampler = Sampler(asyncio.get_running_loop(), look, lambda: NOON)
        sampler.start()
        await asyncio.sleep(2.2)
        for bad in ("hour", 5, None, ["fine"]):
            with pytest.raises(RequestError, match="fine, coarse"):
                sampler.handle({"span": bad})
        sampler.stop()
        return sampler.handle({})

    document = clockwork.run(run())
    assert document["span"] == "fine"
    assert "wan" in document["uplinks"], "a failure ends nothing"


def test_samples_for_people() -> None:
    """A line for each series, never wider than the terminal, whatever an uplink is called."""
    samples = Samples()
    for second in range(200):
        octets = 1000 * second + (5_000_000 if second > 100 else 0)
        samples.take([Measure("wan", octets, 10, 20.0, None)], second + 0.001)
        samples.take([Measure("wan", octets, 10, 20.0, None)], second + 0.001)
    lines = command_records.samples(expanded(samples.document("fine", 200.5, NOON)))
    assert all(len(line) <= WIDTH for line in lines)
    assert [line[:4].strip() for line in lines[1:]] == ["in", "out", "rtt"]
    assert "4.8 MiB/s" in lines[1]
    assert lines[1].count("█") == 1
    assert lines[3].endswith("20 ms")
    assert command_records.samples({"uplinks": {}}) == ["No samples yet."]
