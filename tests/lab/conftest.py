# SPDX-License-Identifier: GPL-2.0-only
"""What every scenario has: the network, and its remains when it fails."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

import pytest

from tests.lab.kmodlib import KernelLog
from tests.lab.topology import Topology


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep scenarios off a machine that is not the lab's: they replace namespaces."""
    if "DSMIP_IN_LAB" not in os.environ and any("tests/lab/" in item.nodeid for item in items):
        raise pytest.UsageError("tests/lab runs in the virtual machine: python -m tests.lab")


@contextlib.contextmanager
def _recorded(request: pytest.FixtureRequest) -> Iterator[Topology]:
    """The standard network with nothing plugged in, recorded at both ends.

    Scenarios that fail leave captures and logs in a directory of their name; one
    in which the kernel complains has failed.
    """
    name = re.sub(r"[^\w.-]+", "-", request.node.name.removesuffix(".py")).strip("-/")
    failed = request.session.testsfailed
    log = KernelLog()
    try:
        with Topology(name) as topology:
            topology.capture("ha")
            topology.capture("mr")
            yield topology
            complaints = log.complaints()
            topology.failed = request.session.testsfailed > failed or bool(complaints)
    finally:
        log.close()
    assert not complaints


@pytest.fixture
def net(request: pytest.FixtureRequest) -> Iterator[Topology]:
    """A network of the scenario's own."""
    with _recorded(request) as topology:
        yield topology


@pytest.fixture(scope="module")
def shared_net(request: pytest.FixtureRequest) -> Iterator[Topology]:
    """One network for scenarios that leave it as they found it."""
    with _recorded(request) as topology:
        yield topology
