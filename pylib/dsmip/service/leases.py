# SPDX-License-Identifier: GPL-2.0-only
"""Home addresses that were given, in a file that outlives daemons and reboots."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final

from ..mobility.home_agent import ownership_of
from . import files
from .config import Config

log = logging.getLogger(__name__)

#: What a home agent has given, and what a mobile router was given.
GIVEN: Final = "leases.json"
TAKEN: Final = "home-address.json"
#: A hundred thousand leases have less.
_LARGEST: Final = 64 << 20


class LeaseFile:
    """Addresses by identity. A file that cannot be used is told of, never fatal."""

    def __init__(self, folder: str, name: str) -> None:
        self._path = Path(folder, name)
        self._held: dict[str, IPv6Address] = {}

    def read(self) -> dict[str, IPv6Address]:
        """Return what the file says; what cannot be read is left out."""
        self._held = {}
        if not self._path.exists():
            return {}
        try:
            found = json.loads(files.read(self._path, _LARGEST))
        except (files.FileError, ValueError) as error:
            log.error("%s is not used: %s", self._path, error)
            return {}
        for identity, text in found.items() if isinstance(found, dict) else ():
            try:
                self._held[str(identity)] = IPv6Address(text)
            except ValueError:
                log.warning("%s: the address of %s is none, left out", self._path, identity)
        return dict(self._held)

    def write(self, leases: Mapping[str, IPv6Address]) -> None:
        """Keep these and no others; unchanged ones cost nothing."""
        if dict(leases) == self._held:
            return
        text = json.dumps({name: str(address) for name, address in sorted(leases.items())})
        try:
            files.folder(self._path.parent)
            files.write(self._path, text.encode() + b"\n", force=True)
        except files.FileError as error:
            log.error("home addresses will not outlive a reboot: %s", error)
            return
        self._held = dict(leases)


def with_lease(config: Config) -> Config:
    """Return a configuration with the home address that IKE brought before, if it asks for one."""
    section = config.mobile_router
    if section is None or not section.engine.home_address.is_unspecified:
        return config
    leases = LeaseFile(config.globals.state, TAKEN).read()
    given = leases.get(section.engine.identity)
    if given is None:
        return config
    return replace(config, mobile_router=section.with_home_address(given))


def with_given(config: Config) -> Config:
    """Return a configuration with the home addresses that a home agent has given before.

    Known from the start, their policies and associations stay in the kernel, and
    their bindings find them there.
    """
    section = config.home_agent
    if section is None or not any(owner.dynamic_home_address for owner in section.engine.owners):
        return config
    leases = LeaseFile(config.globals.state, GIVEN).read()
    held = ownership_of(section.engine, leases).leases()
    rows = [
        replace(row, home_address=held[row.plan.identity])
        if row.home_address.is_unspecified and row.plan.identity in held
        else row
        for row in section.rows
    ]
    return replace(config, home_agent=replace(section, rows=tuple(rows)))
