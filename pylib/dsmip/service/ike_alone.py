# SPDX-License-Identifier: GPL-2.0-only
"""IKEv2 for another mobility stack, which speaks to it through the kernel only.

Policies are that stack's. Its ACQUIREs ask for keys by request id, its MIGRATEs
tell by KMADDRESS where IKE is to go on (draft-ebalard-mext-pfkey-enhanced-migrate
section 5).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from ..ikev2.config import AddressRequest, Assignment, Connection
from ..ikev2.effects import (
    Assigned,
    ChildFailed,
    ChildSa,
    IkeDown,
    IkeMoved,
    IkeUp,
    MoveChild,
    Redirected,
)
from ..ikev2.identity import Identity
from ..linux.xfrm_events import Acquire, Migrated
from ..packet.kernel import Address
from . import ike_build
from .ike import RETRY_FIRST, RETRY_MOST, IkeRuntime
from .ike_config import ConnectionEntry, IkeSection, Start
from .keys import SecurityDatabase

log = logging.getLogger(__name__)


class Alone:
    """The connections of ``[[ike.connection]]``."""

    def __init__(
        self,
        runtime: IkeRuntime,
        ike: IkeSection,
        loop: asyncio.AbstractEventLoop,
        source_of: Callable[[Address], Address | None],
        database: SecurityDatabase,
    ) -> None:
        self._runtime = runtime
        self._loop = loop
        self._source_of = source_of
        self._database = database
        self._entries: dict[str, ConnectionEntry] = {}
        self._connections: dict[str, Connection] = {}
        self._ends: dict[str, tuple[Address, Address]] = {}
        self._waits: dict[str, float] = {}
        self._retries: dict[str, asyncio.TimerHandle] = {}
        self.reqids: dict[int, tuple[str, str]] = {}
        runtime.add_owner(self)
        self._take(ike)

    def _take(self, ike: IkeSection) -> None:
        connections = {entry.name: ike_build.alone(entry, ike) for entry in ike.connections}
        self._entries = {entry.name: entry for entry in ike.connections}
        self._connections = connections
        self.reqids = {
            child.reqid: (entry.name, child.name)
            for entry in ike.connections
            for child in entry.children
        }

    def reconfigure(self, ike: IkeSection) -> None:
        """Take other connections; what did not change is not touched."""
        entries, before = self._entries, self._connections
        self._take(ike)
        if any(self._entries.get(name) != entry for name, entry in entries.items()):
            # Who was shut out, or has another secret, must not come in by a ticket.
            self._runtime.void_tickets()
        for name in before.keys() - self._connections.keys():
            self._ends.pop(name, None)
            up = self._runtime.up(name)
            if up is not None:
                self._runtime.terminate(up)
        for name, connection in self._connections.items():
            if name not in before:
                self._start_if_wanted(name)
            elif self._entries[name] != entries[name] and self._runtime.connected(name):
                self._runtime.configure(connection)

    def begin(self) -> None:
        """Take over what is in the kernel; start what is to be up from the beginning."""
        if self.reqids:
            found = self._database.associations(frozenset(self.reqids))
            self._runtime.table.adopt(one for one in found if one.reqid in self.reqids)
        for name in self._connections:
            self._start_if_wanted(name)

    def _wanted(self, name: str) -> bool:
        return any(child.start is Start.START for child in self._entries[name].children)

    def _start_if_wanted(self, name: str) -> None:
        if not self._wanted(name):
            return
        try:
            self.start(name)
        except LookupError as error:
            log.warning("%s", error)

    # --- the runtime asks and tells

    def owns(self, connection: str) -> bool:
        return connection in self._connections

    def find(self, own: Identity | None, peer: Identity) -> Connection | None:
        for connection in self._connections.values():
            remote = connection.remote
            if remote is None or not remote.matches(peer):
                continue
            if own is None or own.matches(connection.local):
                return connection
        return None

    def assign(
        self, connection: Connection, peer: Identity, request: AddressRequest
    ) -> Assignment | None:
        return None

    def up(self, effect: IkeUp) -> None:
        self._waits.pop(effect.connection, None)

    def down(self, effect: IkeDown) -> None:
        name = effect.connection
        if self._wanted(name) and not self._runtime.connected(name):
            wait = self._waits.get(name, RETRY_FIRST)
            self._waits[name] = min(wait * 2, RETRY_MOST)
            # An attempt that was redirected may have set one already.
            if name in self._retries:
                self._retries[name].cancel()
            self._retries[name] = self._loop.call_later(wait, self._again, name)

    def _again(self, name: str) -> None:
        self._retries.pop(name, None)
        if name in self._connections and not self._runtime.connected(name):
            self._start_if_wanted(name)

    def ends_changed(self, effect: IkeMoved) -> None:
        """Only what a MIGRATE said outlives the IKE SA: a peer may be back where it was."""

    def assigned(self, effect: Assigned) -> None:
        """Nobody here asks for addresses."""

    def child_added(self, child: ChildSa) -> None:
        """Policies are the other stack's."""

    def child_moved(self, effect: MoveChild) -> None:
        self._runtime.table.settle(effect.child)

    def child_failed(self, effect: ChildFailed) -> None:
        """The next ACQUIRE asks again."""

    def redirected(self, effect: Redirected, gateways: Sequence[Address]) -> bool:
        """Go on at another gateway; whatever comes after it begins where it always did."""
        connection = self._connections.get(effect.connection)
        if connection is None:
            return False
        for gateway in gateways:
            local = self._local(effect.connection, gateway)
            if local is not None:
                origin, children = effect.redirected_from, effect.children
                self._runtime.initiate(connection, local, gateway, children, origin)
                return True
        return False

    # --- starting

    def start(self, connection: str, child: str | None = None) -> None:
        """Start a connection or a child; ``LookupError`` when its other end is not known."""
        configured = self._connections[connection]
        if child is not None and configured.child(child) is None:
            raise LookupError(f'{connection} has no child SA "{child}"')
        if child is not None and self._runtime.up(connection) is not None:
            self._runtime.acquire(connection, child)
            return
        wanted = (child,) if child is not None else None
        self._runtime.initiate(configured, *self._where(connection), children=wanted)

    def _where(
        self, name: str, hint: tuple[Address, Address] | None = None
    ) -> tuple[Address, Address]:
        """Return the ends for a new IKE SA.

        What a MIGRATE said comes first, then the configuration, then the packet
        that asked. A source that the packet has may be a home address, so for the
        local end the kernel's choice comes before it.
        """
        if name in self._ends:
            return self._ends[name]
        entry = self._entries[name]
        remotes = list(entry.remote)
        if not remotes and hint is not None:
            remotes.append(hint[1])
        for remote in remotes:
            local = self._local(name, remote)
            if local is not None:
                return local, remote
        raise LookupError(f"{name}: no way to its other end is known")

    def _local(self, name: str, remote: Address) -> Address | None:
        """Return the address of ours to speak from."""
        given = (a for a in self._entries[name].local if a.version == remote.version)
        return next(given, None) or self._source_of(remote)

    # --- the kernel tells

    def acquired(self, event: Acquire) -> None:
        """Make the child SA that a policy with our request id misses."""
        found = self.reqids.get(event.reqid)
        if found is None:
            return
        name, child = found
        if self._runtime.up(name) is not None:
            self._runtime.acquire(name, child)
        elif not self._runtime.connected(name):
            try:
                ends = self._where(name, event.template.outer)
            except LookupError as error:
                log.warning("%s", error)
                return
            self._runtime.initiate(self._connections[name], *ends, children=(child,))

    def migrated(self, event: Migrated) -> None:
        """Go along with a movement that another stack has announced."""
        if event.addresses is None:
            return
        for name in {self.reqids[m.reqid][0] for m in event.moves if m.reqid in self.reqids}:
            if self._ends.get(name) != event.addresses:
                log.info("%s: MIGRATE says %s, %s", name, *event.addresses)
            self._ends[name] = event.addresses
            if self._runtime.up(name) is not None:
                self._runtime.moved(name, *event.addresses)

    def documents(self) -> list[dict[str, Any]]:
        """Return what the status document shows of connections that may not be up."""
        return [
            {
                "connection": name,
                "connected": self._runtime.up(name) is not None,
                "children": [child.name for child in entry.children],
            }
            for name, entry in self._entries.items()
        ]
