# SPDX-License-Identifier: GPL-2.0-only
"""Child SAs of IKEv2 as associations of the kernel, and when old ones go.

The kernel holds the truth: what a former daemon left, and what belonged to an
IKE SA whose other end went silent, goes on carrying traffic until its successor
does.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from ..ikev2.config import Mode as IkeMode
from ..ikev2.effects import ChildSa
from ..ikev2.numbers import ProtocolId
from ..ikev2.selectors import TrafficSelector
from ..ipsec.association import (
    Association,
    Cipher,
    Encapsulation,
    Integrity,
    Lifetimes,
    Mode,
    SecurityProtocol,
    Selector,
)
from ..ipsec.movement import SKIP, Settle
from ..packet.kernel import Address
from .keys import SecurityDatabase

log = logging.getLogger(__name__)

#: How long an old SA receives after the new one is in use: packets under way.
LINGER: Final = 5.0
#: How long who answers waits before it sends by an SA that the asker may not have yet.
PATIENCE: Final = 1.0
_REPLAY_WINDOW: Final = 256


class Scheduler(Protocol):
    """The part of an event loop that is used here."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> object: ...


@dataclass(slots=True)
class Pair:
    """A child SA with its two associations; ``sending``: the outbound one is installed."""

    child: ChildSa
    inbound: Association
    outbound: Association
    sending: bool = False


def associations_of(child: ChildSa) -> tuple[Association, Association]:
    """Return the inbound and the outbound association of a child SA.

    Raises ``ValueError`` for algorithms that the kernel is not told of here.
    """
    ends = child.ends
    ports = ends.encapsulation
    mode = Mode.TRANSPORT if child.mode is IkeMode.TRANSPORT else Mode.TUNNEL
    ah = child.protocol is ProtocolId.AH
    inward = outward = None
    if mode is Mode.TRANSPORT:
        outward = _selector(child.local, child.remote)
        inward = Selector(outward.destination, outward.source, outward.protocol)

    def make(
        spi: int,
        pair: tuple[Address, Address],
        udp: Encapsulation | None,
        selector: Selector | None,
        inbound: bool,
    ) -> Association:
        keys = child.keys_in if inbound else child.keys_out
        return Association(
            *pair,
            spi,
            b"" if ah else keys.encryption,
            keys.integrity,
            selector,
            mode,
            child.reqid,
            protocol=SecurityProtocol.AH if ah else SecurityProtocol.ESP,
            cipher=Cipher.NONE if ah else Cipher(child.suite.encr),
            integrity=Integrity(child.suite.integ),
            esn=child.suite.esn,
            replay_window=_REPLAY_WINDOW,
            encapsulation=udp,
            lifetimes=_lifetimes(child),
        )

    udp_in = None if ports is None else Encapsulation(ports[1], ports[0])
    udp_out = None if ports is None else Encapsulation(*ports)
    return (
        make(child.spi_in, (ends.remote, ends.local), udp_in, inward, True),
        make(child.spi_out, (ends.local, ends.remote), udp_out, outward, False),
    )


def _selector(local: tuple[TrafficSelector, ...], remote: tuple[TrafficSelector, ...]) -> Selector:
    """Return the selector of a transport SA: addresses and protocol.

    Message types are left to policies: the kernel does not know them on receive.
    """
    return Selector(local[0].networks()[0], remote[0].networks()[0], local[0].protocol)


def _lifetimes(child: ChildSa) -> Lifetimes:
    given = child.lifetime
    return Lifetimes(
        int(given.soft_seconds),
        int(given.hard_seconds),
        given.soft_bytes,
        given.hard_bytes,
        given.soft_packets,
        given.hard_packets,
    )


class SaTable:
    """The associations that IKEv2 put into the kernel."""

    def __init__(self, database: SecurityDatabase, scheduler: Scheduler) -> None:
        self._database = database
        self._scheduler = scheduler
        self._pairs: dict[int, Pair] = {}
        self._by_reqid: dict[int, dict[int, Pair]] = {}
        self._orphans: dict[int, dict[tuple[object, int], Association]] = defaultdict(dict)

    def adopt(self, associations: Iterable[Association]) -> int:
        """Take over what a former daemon left; returns how many."""
        count = 0
        for association in associations:
            self._orphan(association)
            count += 1
        return count

    def _orphan(self, association: Association) -> None:
        key = (association.destination, association.spi)
        self._orphans[association.reqid][key] = association

    # --- effects of the engine

    def add(self, child: ChildSa, outbound: bool) -> None:
        """Install a child SA; raises ``OSError`` when the kernel refuses."""
        inward, outward = associations_of(child)
        pair = Pair(child, inward, outward)
        before = self._orphans.get(child.reqid) or any(p.sending for p in self.pairs(child.reqid))
        self._pairs[child.id] = pair
        self._by_reqid.setdefault(child.reqid, {})[child.id] = pair
        self._database.add_association(inward)
        if not outbound:
            return
        if before and not child.initiator:
            self._scheduler.call_later(PATIENCE, lambda: self._send_by(pair))
        else:
            self._send_by(pair)

    def use(self, child: ChildSa) -> None:
        """Send by a child SA from now on."""
        pair = self._pairs.get(child.id)
        if pair is not None:
            self._send_by(pair)

    def _send_by(self, pair: Pair) -> None:
        if pair.sending or self._pairs.get(pair.child.id) is not pair:
            return
        pair.sending = True
        self._database.add_association(pair.outbound)
        if self._orphans.get(pair.child.reqid):
            self._scheduler.call_later(LINGER, lambda: self._bury(pair.child.reqid))

    def remove(self, child: ChildSa, keep: bool) -> None:
        """Remove a child SA; ``keep`` until its successor carries traffic."""
        pair = self._pairs.pop(child.id, None)
        if pair is None:
            return
        del self._by_reqid[child.reqid][child.id]
        installed = [pair.inbound, *([pair.outbound] if pair.sending else [])]
        if not keep:
            left = self.pairs(child.reqid)
            if left and not any(other.sending for other in left):
                self._send_by(left[-1])
            for association in installed:
                self._database.remove_association(association)
            return
        for association in installed:
            self._orphan(association)
        if any(other.sending for other in self.pairs(child.reqid)):
            self._scheduler.call_later(LINGER, lambda: self._bury(child.reqid))

    def _bury(self, reqid: int) -> None:
        """Remove what has a successor."""
        if not any(pair.sending for pair in self.pairs(reqid)):
            return
        for association in self._orphans.pop(reqid, {}).values():
            try:
                self._database.remove_association(association)
            except OSError as error:
                log.warning("%s", error.strerror or error)

    def settle(self, child: ChildSa) -> None:
        """Let a child SA be where its ends are now, if it is not there yet."""
        pair = self._pairs.get(child.id)
        if pair is None:
            return
        inward, outward = associations_of(child)
        steps = [Settle(pair.inbound, inward, 0)] if pair.inbound != inward else []
        if pair.sending and pair.outbound != outward:
            steps.append(Settle(pair.outbound, outward, SKIP))
        pair.child, pair.inbound, pair.outbound = child, inward, outward
        if steps:
            self._database.carry(steps)

    def relocate(self, reqid: int, place: Callable[[Association], Association]) -> None:
        """Take note that the kernel's associations of a request id were moved."""
        for pair in self.pairs(reqid):
            pair.inbound, pair.outbound = place(pair.inbound), place(pair.outbound)
        orphans = self._orphans.pop(reqid, {})
        for association in orphans.values():
            self._orphan(place(association))

    # --- what there is

    def pairs(self, reqid: int) -> list[Pair]:
        """Return the child SAs of a request id."""
        return list(self._by_reqid.get(reqid, {}).values())

    def received(self, connection: str) -> int:
        """Return how many packets have come in by child SAs whose ESP is in UDP."""
        total = 0
        for pair in self._pairs.values():
            if pair.child.connection == connection and pair.child.ends.encapsulation is not None:
                one = pair.inbound
                found = self._database.read(one.destination, one.spi, one.protocol)
                total += 0 if found is None else found.usage.packets
        return total

    def held(self, reqids: Iterable[int]) -> list[Association]:
        """Return all installed associations of some request ids."""
        found: list[Association] = []
        for reqid in reqids:
            for pair in self.pairs(reqid):
                found += [pair.inbound, *([pair.outbound] if pair.sending else [])]
            found += self._orphans.get(reqid, {}).values()
        return found

    def clear(self) -> None:
        """Remove everything."""
        for reqid in {*self._orphans, *self._by_reqid}:
            for association in self.held((reqid,)):
                self._database.remove_association(association)
        self._pairs.clear()
        self._by_reqid.clear()
        self._orphans.clear()
