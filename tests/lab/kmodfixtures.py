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


@pytest.fixture
def world(quiet_kernel: None) -> Iterator[World]:
    """Router, core and agent, with a dsmip device on either end, no binding yet."""
    made = World()
    try:
        yield made
    finally:
        made.close()
