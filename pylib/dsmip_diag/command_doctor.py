# SPDX-License-Identifier: GPL-2.0-only
"""``dsmip doctor``: what is wrong with this machine, and what to do."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from typing import Final

from .doctor import Finding, examine

_MARKS: Final = {"good": "ok   ", "note": "note ", "fault": "FAULT"}
_CONFIGS: Final = ("/etc/config/dsmip", "/etc/dsmip.toml")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Say what may stand behind ``dsmip doctor``."""
    found = next((path for path in _CONFIGS if os.path.exists(path)), _CONFIGS[-1])
    parser.add_argument("--config", default=found, help=f"default {found}")
    parser.add_argument("--json", action="store_true", help="the document itself")


def lines(findings: list[Finding]) -> list[str]:
    """Render findings."""
    out = []
    for one in findings:
        out.append(f"{_MARKS[one.level]} {one.subject}: {one.text}")
        if one.cure:
            out.append(f"      {'->' if one.level == 'fault' else '  '} {one.cure}")
    faults = sum(one.level == "fault" for one in findings)
    out.append(f"{faults or 'no'} fault{'' if faults == 1 else 's'}")
    return out


def run(options: argparse.Namespace) -> int:
    """Print the findings; returns 1 if there is a fault."""
    findings = examine(options.config)
    if options.json:
        print(json.dumps({"findings": [asdict(one) for one in findings]}, indent=2))
    else:
        print("\n".join(lines(findings)))
    return 1 if any(one.level == "fault" for one in findings) else 0
