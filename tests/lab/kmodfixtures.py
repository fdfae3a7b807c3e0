# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the tests of dsmip.ko: a pytest plugin that each of them names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import pytest

from tests.lab.kmodlib import Device, KernelLog, load_module
from tests.lab.kmodnet import Alone, Reused, World

_R = TypeVar("_R", bound=Reused)


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


class _Kept(Generic[_R]):
    """Used again unless a test changed it or failed: a world takes 1.5 s to make and end."""

    def __init__(self, make: Callable[[], _R]) -> None:
        self._make = make
        self._made: _R | None = None

    @contextlib.contextmanager
    def lent(self, session: pytest.Session) -> Iterator[_R]:
        """Lend it to a test."""
        if self._made is None:
            self._made = self._make()
            self._made.watch()
        failed = session.testsfailed
        try:
            yield self._made
        finally:
            if session.testsfailed != failed or not self._made.cleared():
                self._close()

    def _close(self) -> None:
        if self._made is not None:
            made, self._made = self._made, None
            made.close()

    @contextlib.contextmanager
    def watched(self) -> Iterator[_Kept[_R]]:
        """Close it at the end, of which the kernel has nothing to say either."""
        try:
            yield self
        finally:
            log = KernelLog()
            self._close()
            complaints = log.complaints()
            log.close()
        assert not complaints


@pytest.fixture(scope="module")
def worlds() -> Iterator[_Kept[World]]:
    """Those of one file."""
    with _Kept(World).watched() as kept:
        yield kept


@pytest.fixture
def world(
    quiet_kernel: None, worlds: _Kept[World], request: pytest.FixtureRequest
) -> Iterator[World]:
    """Router, core and agent, with a dsmip device on either end, no binding yet."""
    with worlds.lent(request.session) as world:
        yield world


@pytest.fixture(scope="module")
def lone_devices() -> Iterator[_Kept[Alone]]:
    """Those of one file."""
    with _Kept(Alone).watched() as kept:
        yield kept


@pytest.fixture
def device(
    quiet_kernel: None, lone_devices: _Kept[Alone], request: pytest.FixtureRequest
) -> Iterator[Device]:
    """A device alone in a namespace, no binding yet."""
    with lone_devices.lent(request.session) as alone:
        yield alone.one
