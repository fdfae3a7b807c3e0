# SPDX-License-Identifier: GPL-2.0-only
"""What every scenario has: the network, and its remains when it fails."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from tests.lab.kmodlib import KernelLog
from tests.lab.topology import Topology

_FAILED = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep scenarios off a machine that is not the lab's: they replace namespaces."""
    if "DSMIP_IN_LAB" not in os.environ and any("tests/lab/" in item.nodeid for item in items):
        raise pytest.UsageError("tests/lab runs in the virtual machine: python -m tests.lab")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.fixture(name="topology_options")
def _topology_options() -> dict[str, float]:
    """Return what the network is made with; a scenario may ask for other values."""
    return {}


@pytest.fixture
def net(request: pytest.FixtureRequest, topology_options: dict[str, float]) -> Iterator[Topology]:
    """The standard network with nothing plugged in, recorded at both ends.

    A scenario that fails leaves captures and logs in a directory of its name; one
    in which the kernel complains has failed.
    """
    name = re.sub(r"[^\w.-]+", "-", request.node.name).strip("-")
    log = KernelLog()
    try:
        with Topology(name, **topology_options) as topology:
            topology.capture("ha")
            topology.capture("mr")
            yield topology
            complaints = log.complaints()
            topology.failed = request.node.stash.get(_FAILED, False) or bool(complaints)
    finally:
        log.close()
    assert not complaints
