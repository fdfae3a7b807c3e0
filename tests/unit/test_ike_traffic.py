# SPDX-License-Identifier: GPL-2.0-only
"""What child SAs carried: in the status, and missed when a NAT has forgotten a mapping."""

from __future__ import annotations

from typing import Any

import pytest
from dsmip.ipsec.association import Encapsulation, Usage
from dsmip.service.ike_control import handlers
from dsmip.service.ike_traffic import BUSY, IDLE, PAUSE, Silence

from tests.unit.ikeworld import AT6, AT_NAT, NAT4, SEEN_NAT, Loop, World
from tests.unit.test_ike_runtime import registered

SOON = 2 * BUSY + 0.1


class Listener:
    """A connection behind a NAT whose packets are counted by hand."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.packets = 0
        self.looks = 0
        self.asked: list[str] = []
        self.silence = Silence(self._received, self.loop, self.asked.append)  # type: ignore[arg-type]

    def _received(self, connection: str) -> int:
        assert connection == "home"
        self.looks += 1
        return self.packets

    def stream(self, seconds: float, rate: float = 20) -> None:
        for _ in range(int(seconds * rate)):
            self.packets += 1
            self.loop.run(1 / rate)


def test_a_stream_that_breaks_off_is_asked_for_once() -> None:
    made = Listener()
    made.silence.behind(1, "home", True)
    made.stream(3)
    assert made.asked == []
    made.loop.run(SOON)
    assert made.asked == ["home"]
    made.loop.run(60)
    assert made.asked == ["home"]
    made.stream(3)
    made.loop.run(SOON)
    assert made.asked == ["home", "home"]


def test_pauses_of_a_stream_do_not_cost_a_question_each() -> None:
    made = Listener()
    made.silence.behind(1, "home", True)
    for _ in range(20):
        made.stream(1)
        made.loop.run(1)
    assert 4 <= len(made.asked) <= 40 / PAUSE + 1


def test_a_silence_soon_after_another_is_asked_about_later() -> None:
    made = Listener()
    made.silence.behind(1, "home", True)
    made.stream(2)
    made.loop.run(SOON)
    made.stream(1)
    made.loop.run(SOON)
    assert made.asked == ["home"]
    made.loop.run(PAUSE)
    assert made.asked == ["home", "home"]


def test_single_packets_are_no_stream() -> None:
    made = Listener()
    made.silence.behind(1, "home", True)
    for _ in range(20):
        made.stream(1, rate=1)
        made.loop.run(3)
    assert made.asked == []


def test_nobody_looks_without_a_nat() -> None:
    made = Listener()
    made.silence.behind(1, "home", False)
    made.stream(3)
    made.loop.run(10)
    assert (made.looks, made.asked) == (0, [])


@pytest.mark.parametrize("how", ["moved away", "gone"])
def test_looking_ends_with_the_nat(how: str) -> None:
    made = Listener()
    made.silence.behind(1, "home", True)
    made.stream(2)
    if how == "gone":
        made.silence.over(1)
    else:
        made.silence.behind(1, "home", False)
    made.loop.run(IDLE)
    looks = made.looks
    made.stream(2)
    made.loop.run(10)
    assert (made.looks, made.asked) == (looks, [])


def test_other_sas_start_at_zero() -> None:
    """A rekey begins to count anew, which is neither a stream nor its end."""
    made = Listener()
    made.silence.behind(1, "home", True)
    made.stream(2)
    made.packets = 0
    made.loop.run(SOON)
    assert made.asked == []
    made.silence.behind(2, "home", True)
    made.silence.over(1)
    made.stream(2)
    made.loop.run(SOON)
    assert made.asked == ["home"]


# --- with both ends ---------------------------------------------------------------------


def inbound(made: World) -> int:
    """Return the SPI of the router's inbound SA in UDP."""
    (found,) = (o.spi for o in made.mr.associations() if o.encapsulation and o.source != INSIDE)
    return found


INSIDE = AT_NAT.address


def receive(made: World, spi: int, seconds: float, rate: int = 20) -> None:
    for _ in range(int(seconds * rate)):
        before = made.mr.xfrm.usage.get(spi, Usage())
        made.mr.xfrm.usage[spi] = Usage(before.bytes + 100, before.packets + 1)
        made.run(1 / rate)


def port(made: World) -> Encapsulation | None:
    return next(o.encapsulation for o in made.ha.associations() if o.destination == NAT4)


def test_a_nat_that_forgets_under_a_stream_is_found_out() -> None:
    made = registered("rfc4877")
    made.move(AT_NAT, seen=SEEN_NAT)
    old = port(made)
    spi = inbound(made)
    receive(made, spi, 3)
    made.wire.nat_port += 5000
    sent = len(made.wire.sent)
    made.run(SOON + 0.1)
    assert made.mr.host.runtime.counters["ike_silent"] == 1
    assert old == Encapsulation(4500, 44500)
    assert port(made) == Encapsulation(4500, 49500)
    assert len(made.wire.sent) - sent == 2, "one question and its answer"
    assert made.wire.handshakes() == 1


def test_the_end_of_a_stream_elsewhere_is_not_asked_about() -> None:
    """Without a NAT, and at the end that does not move."""
    made = registered("rfc4877")
    for side in (made.mr, made.ha):
        spi = next(o.spi for o in side.associations() if o.spi in made.mr.spis())
        side.xfrm.usage[spi] = Usage(1000, 100)
    made.run(5)
    made.move(AT_NAT, seen=SEEN_NAT)
    made.move(AT6)
    receive(made, spi, 2)
    made.run(5)
    assert "ike_silent" not in made.mr.host.runtime.counters
    assert "ike_silent" not in made.ha.host.runtime.counters


# --- shown ------------------------------------------------------------------------------


def _children(made: World) -> list[dict[str, Any]]:
    (shown,) = handlers(made.mr.host)["ike.status"]({})["connections"]
    children: list[dict[str, Any]] = shown["children"]
    return children


def test_status_has_the_counters_of_each_child() -> None:
    made = registered("rfc4877")
    payload = next(c for c in made.mr.view().children if c.name == "payload")
    made.mr.xfrm.usage = {payload.spi_in: Usage(5000, 50), payload.spi_out: Usage(70, 1)}
    carried = {child["name"]: child["traffic"] for child in _children(made)}
    nothing = dict.fromkeys(("rx_packets", "rx_bytes", "tx_packets", "tx_bytes"), 0)
    assert carried["signalling"] == nothing
    assert carried["payload"] == {
        "rx_packets": 50,
        "rx_bytes": 5000,
        "tx_packets": 1,
        "tx_bytes": 70,
    }


def test_status_without_counters_when_the_kernel_refuses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = registered()

    def refuse(_reqids: object) -> Any:
        raise OSError(1, "Operation not permitted")

    made.mr.xfrm.installed = refuse  # type: ignore[method-assign]
    assert [child["traffic"] for child in _children(made)] == [None]
    assert "Operation not permitted" in caplog.text
