# SPDX-License-Identifier: GPL-2.0-only
"""The loop of other tests: hours pass in no time, and in order."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from tests.unit import clockwork


def test_hours_pass_in_no_time_and_in_order() -> None:
    said: list[tuple[str, float]] = []

    async def story() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()

        def note(what: str) -> None:
            said.append((what, round(loop.time() - began, 6)))

        loop.call_later(7200, note, "late")
        loop.call_later(0.5, note, "early")
        await asyncio.sleep(3600)
        note("between")
        await asyncio.sleep(3600.1)
        return loop.time() - began

    before = time.process_time()
    assert clockwork.run(story()) == pytest.approx(7200.1)
    assert said == [("early", 0.5), ("between", 3600.0), ("late", 7200.0)]
    assert time.process_time() - before < 3600


def test_what_is_in_a_socket_comes_before_what_is_due_later() -> None:
    async def story() -> list[str]:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        found: list[str] = []
        loop.add_reader(here, lambda: found.append(here.recv(9).decode()))
        loop.call_later(0.001, found.append, "timer")
        there.send(b"data")
        await asyncio.sleep(1)
        loop.remove_reader(here)
        here.close()
        there.close()
        return found

    assert clockwork.run(story()) == ["data", "timer"]
