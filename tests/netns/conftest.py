# SPDX-License-Identifier: GPL-2.0-only
"""What every scenario has: the network of the lab, with nothing plugged in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from tests.lab.portable import PortableTopology


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep scenarios out of the machine's own network: they replace namespaces."""
    if "DSMIP_HIDDEN" not in os.environ and any("tests/netns/" in one.nodeid for one in items):
        raise pytest.UsageError("tests/netns runs in namespaces of its own: python -m tests.netns")


@pytest.fixture
def net(request: pytest.FixtureRequest) -> Iterator[PortableTopology]:
    name = re.sub(r"[^\w.-]+", "-", request.node.name).strip("-")
    failed = request.session.testsfailed
    with PortableTopology(name) as topology:
        yield topology
        topology.failed = request.session.testsfailed > failed
