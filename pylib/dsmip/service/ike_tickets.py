# SPDX-License-Identifier: GPL-2.0-only
"""Tickets for resuming IKE SAs (RFC 5723), in a file that outlives the daemon.

A router that starts again so goes on with the keys it had: one round trip less, and
no certificates or EAP. The file is as secret as those keys; each ticket is good once
and for a day at most, and goes when its connection is ended on purpose.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Final

from . import files

log = logging.getLogger(__name__)

NAME: Final = "ike-tickets.json"
#: Connections whose tickets are kept.
MOST: Final = 64
_LARGEST: Final = 1 << 20


class TicketFile:
    """Tickets by connection. A file that cannot be used is told of, never fatal."""

    def __init__(self, folder: str) -> None:
        self._path = Path(folder, NAME)
        self._held: dict[str, bytes] = {}

    def read(self) -> dict[str, bytes]:
        """Return what the file holds; what cannot be read is left out."""
        self._held = {}
        if not self._path.exists():
            return {}
        try:
            found = json.loads(files.read(self._path, _LARGEST))
            if not isinstance(found, dict):
                raise ValueError("no tickets are in it")
            held = {str(name): bytes.fromhex(text) for name, text in found.items()}
        except (files.FileError, ValueError, TypeError) as error:
            log.warning("%s is not used: %s", self._path, error)
            return {}
        self._held = dict(list(held.items())[-MOST:])
        return dict(self._held)

    def put(self, connection: str, data: bytes) -> None:
        """Keep the ticket of a connection, b"" for none."""
        if self._held.get(connection, b"") == data:
            return
        self._held.pop(connection, None)
        if data:
            self._held[connection] = data
            while len(self._held) > MOST:
                del self._held[next(iter(self._held))]
        text = json.dumps({name: ticket.hex() for name, ticket in self._held.items()})
        try:
            files.folder(self._path.parent)
            files.write(self._path, text.encode() + b"\n", files.SECRET, force=True)
        except files.FileError as error:
            log.warning("IKE cannot be resumed after a restart: %s", error)
