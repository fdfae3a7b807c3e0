# SPDX-License-Identifier: GPL-2.0-only
"""Messages changed on the way, and what must hold after them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dsmip.ikev2.message import build, parse
from dsmip.ikev2.message import seal as seal_message
from dsmip.ikev2.payloads import SA
from dsmip.ikev2.proposals import parse_proposal

from tests.unit.ikepair import Packet, Pair, connection

SUITE = SA((parse_proposal("aes128gcm16-prfsha256-x25519"),))
Change = Callable[[list[Any]], list[Any]]


def resealed(pair: Pair, packet: Packet, change: Change) -> Packet:
    """The same message with other payloads, protected as its sender would do it."""
    message = parse(packet.message)
    marker = packet.data[: len(packet.data) - len(packet.message)]
    if message.encrypted is None:
        return replace(packet, data=marker + build(message.header, change(message.payloads)))
    payloads = change(pair.peek(packet))
    return replace(
        packet, data=marker + seal_message(message.header, payloads, pair.cipher_of(packet))
    )


def sane(pair: Pair) -> None:
    """After a while both ends agree, or have nothing."""
    pair.lose = lambda p: False
    pair.queue.clear()
    timers = connection().timings
    assert timers.liveness == 0
    for host in (pair.a, pair.b):
        for view in host.views:
            if view.state == "established":
                host(host.engine.check(view.id, pair.now))
    pair.later(900)
    for host in (pair.a, pair.b):
        assert set(host.states) <= {"established"}, host.states
        assert host.engine.half_open() == 0
        assert not host.counters["ike_fault"]
    assert len(pair.a.views) == len(pair.b.views)
    children_a = {(c.spi_in, c.spi_out) for c in pair.a.installed.values()}
    children_b = {(c.spi_out, c.spi_in) for c in pair.b.installed.values()}
    assert children_a == children_b


def size_of(host: Any) -> int:
    core = host.engine._core
    return (
        len(core.sas)
        + len(core.by_spi)
        + len(core.initial)
        + len(core.timers)
        + len(core.admission._sources)
        + len(core.by_connection)
    )
