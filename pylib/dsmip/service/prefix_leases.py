# SPDX-License-Identifier: GPL-2.0-only
"""Leases of delegated prefixes, in a file that outlives daemons and reboots.

Ends are kept in seconds since 1970, since the clock of engines starts anew.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from ipaddress import IPv6Network
from pathlib import Path
from typing import Any, Final

from ..mobility.delegation import Lease
from . import files

log = logging.getLogger(__name__)

#: What a home agent has delegated, and what was delegated to a mobile router.
DELEGATED: Final = "delegated.json"
RECEIVED: Final = "prefixes.json"
_LARGEST: Final = 128 << 20
_NEVER: Final = float("inf")


class PrefixLeaseFile:
    """Leases, and the DUID of who gave them. What cannot be used is told of, never fatal."""

    def __init__(self, folder: str, name: str) -> None:
        self._path = Path(folder, name)

    def read(self, now: float, wall: float) -> tuple[list[Lease], bytes]:
        """Return the leases by the clock whose time is ``now``, and the server's DUID."""
        if not self._path.exists():
            return [], b""
        try:
            found = json.loads(files.read(self._path, _LARGEST))
            entries, server = found["leases"], bytes.fromhex(found["server"])
        except (files.FileError, ValueError, KeyError, TypeError) as error:
            log.error("%s is not used: %s", self._path, error)
            return [], b""
        leases = []
        for entry in entries if isinstance(entries, list) else ():
            try:
                leases.append(_lease(entry, now - wall))
            except (ValueError, KeyError, TypeError):
                log.warning("%s: %.80s is no lease, left out", self._path, entry)
        return leases, server

    def write(self, leases: Iterable[Lease], server: bytes, now: float, wall: float) -> None:
        """Keep these leases and no others."""
        entries = [
            {
                "identity": lease.identity,
                "iaid": lease.iaid,
                "prefix": str(lease.prefix),
                "preferred": _wall(lease.preferred_until, wall - now),
                "valid": _wall(lease.valid_until, wall - now),
                "duid": lease.duid.hex(),
            }
            for lease in leases
        ]
        text = json.dumps({"server": server.hex(), "leases": entries})
        try:
            files.folder(self._path.parent)
            files.write(self._path, text.encode() + b"\n", force=True)
        except files.FileError as error:
            log.error("delegated prefixes will not outlive a reboot: %s", error)


def _lease(entry: dict[str, Any], shift: float) -> Lease:
    preferred, valid = entry["preferred"], entry["valid"]
    return Lease(
        str(entry["identity"]),
        int(entry["iaid"]),
        IPv6Network(entry["prefix"]),
        _NEVER if preferred is None else float(preferred) + shift,
        _NEVER if valid is None else float(valid) + shift,
        bytes.fromhex(entry["duid"]),
    )


def _wall(until: float, shift: float) -> float | None:
    return None if until == _NEVER else round(until + shift, 1)
