# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the tests of dsmip.ko: a pytest plugin that each of them names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.kmodlib import KernelLog, load_module
from tests.lab.kmodnet import World


@pytest.fixture(autouse=True)
def quiet_kernel() -> Iterator[None]:
    """Load the module; fail a test in which the kernel complains."""
    load_module()
    log = KernelLog()
    try:
        yield
        complaints = log.complaints()
    finally:
        log.close()
    assert not complaints


class _Worlds:
    """A world is used again unless a test changed it or failed: one takes 1.5 s to make and end."""

    def __init__(self) -> None:
        self._made: World | None = None

    def take(self) -> World:
        if self._made is None:
            self._made = World()
            self._made.watch()
        return self._made

    def give_back(self, again: bool) -> None:
        if self._made is not None and not (again and self._made.cleared()):
            self.close()

    def close(self) -> None:
        if self._made is not None:
            made, self._made = self._made, None
            made.close()


@pytest.fixture(scope="module")
def worlds() -> Iterator[_Worlds]:
    """Those of one file; the kernel has nothing to say of the last one's end either."""
    kept = _Worlds()
    try:
        yield kept
    finally:
        log = KernelLog()
        kept.close()
        complaints = log.complaints()
        log.close()
    assert not complaints


@pytest.fixture
def world(quiet_kernel: None, worlds: _Worlds, request: pytest.FixtureRequest) -> Iterator[World]:
    """Router, core and agent, with a dsmip device on either end, no binding yet."""
    failed = request.session.testsfailed
    try:
        yield worlds.take()
    finally:
        worlds.give_back(again=request.session.testsfailed == failed)
