# SPDX-License-Identifier: GPL-2.0-only
"""How generated input is drawn, and what a run of tests ends with.

Input is the same each time, however slow the machine; the end tells how many
requirements are proven. The lab's machine needs neither, and half a minute for
their imports.
"""

from __future__ import annotations

import os

import pytest

if "DSMIP_IN_LAB" not in os.environ:
    from hypothesis import HealthCheck, settings

    settings.register_profile(
        "repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("repeatable")

_outcomes: dict[str, bool] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember whether a test passed, all of its parameters and phases taken together."""
    test = report.nodeid.partition("[")[0]
    _outcomes[test] = _outcomes.get(test, True) and report.passed


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell how many rows of the requirement tables are proven."""
    if "DSMIP_IN_LAB" in os.environ:
        return
    from tests import conformance

    try:
        lines = conformance.summary(conformance.proven(), _outcomes)
    except ValueError as error:
        lines = [f"conformance: {error}"]
    for line in lines:
        terminalreporter.write_line(line)
