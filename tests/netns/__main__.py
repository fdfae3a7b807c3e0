# SPDX-License-Identifier: GPL-2.0-only
"""Scenarios without kernel module and virtual machine, in namespaces of this machine.

    python -m tests.netns -k NAME

Everything on the command line is pytest's. Needs root; ``make netns`` asks for it.
"""

from __future__ import annotations

import sys

import pytest

from tests.lab.portable import hide


def main() -> None:
    hide()
    arguments = sys.argv[1:]
    if not any(argument.startswith("tests") for argument in arguments):
        arguments = ["tests/netns", *arguments]
    sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *arguments]))


if __name__ == "__main__":
    main()
