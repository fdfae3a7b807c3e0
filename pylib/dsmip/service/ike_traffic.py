# SPDX-License-Identifier: GPL-2.0-only
"""What child SAs carry: shown in status documents, and missed behind a NAT."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from ..ikev2.effects import ChildView, IkeView
from ..ipsec.association import Usage
from ..packet.kernel import Address
from .ike_kernel import Scheduler
from .keys import SecurityDatabase

log = logging.getLogger(__name__)

#: Seconds between two looks while packets come in, and while none do.
BUSY, IDLE = 0.4, 1.0
#: Seconds between two questions: much that comes in has pauses.
PAUSE: Final = 5.0
#: So many packets between two looks are a stream, whose end is worth a question.
STREAM: Final = 3


def traffic(database: SecurityDatabase, views: Iterable[IkeView]) -> dict[int, dict[str, int]]:
    """Return packets and octets of child SAs by their ``id``, as far as the kernel has them."""
    children = [child for view in views for child in view.children]
    if not children:
        return {}
    try:
        installed = database.installed(frozenset(child.reqid for child in children))
    except OSError as error:
        log.warning("counters of child SAs: %s", error.strerror or error)
        return {}
    usage = {(one.association.destination, one.association.spi): one.usage for one in installed}
    return {child.id: _document(child, usage) for child in children}


def _document(child: ChildView, usage: dict[tuple[Address, int], Usage]) -> dict[str, int]:
    none = Usage()
    received = usage.get((child.ends.local, child.spi_in), none)
    sent = usage.get((child.ends.remote, child.spi_out), none)
    return {
        "rx_packets": received.packets,
        "rx_bytes": received.bytes,
        "tx_packets": sent.packets,
        "tx_bytes": sent.bytes,
    }


@dataclass(slots=True)
class _Heard:
    """How much had come in at the last look; ``owed``: it was a stream."""

    packets: int = 0
    lately: int = 0
    owed: bool = False
    asked: float = float("-inf")


class Clock(Scheduler, Protocol):
    """The part of an event loop that is used here."""

    def time(self) -> float: ...


class Silence:
    """Notices when a connection behind a NAT hears nothing any more.

    A NAT that has forgotten a mapping lets nothing in until something goes out, and
    what only receives would wait for the next keepalive, whose new port the other
    end does not take. So when a stream breaks off, ``ask`` is called once with the
    connection: an exchange of IKE makes the mapping anew and tells it. ``received``
    counts the packets that have come in for a connection.
    """

    def __init__(
        self,
        received: Callable[[str], int],
        scheduler: Clock,
        ask: Callable[[str], None],
    ) -> None:
        self._received = received
        self._scheduler = scheduler
        self._ask = ask
        self._behind: dict[int, str] = {}
        self._heard: dict[str, _Heard] = {}
        self._waiting = False

    def behind(self, ike: int, connection: str, nat: bool) -> None:
        """Take note whether this end of an IKE SA is behind a NAT."""
        if nat:
            self._behind[ike] = connection
            self._wait(IDLE)
        else:
            self.over(ike)

    def over(self, ike: int) -> None:
        """Take note that an IKE SA is gone."""
        self._behind.pop(ike, None)

    def _wait(self, seconds: float) -> None:
        if not self._waiting:
            self._waiting = True
            self._scheduler.call_later(seconds, self._look)

    def _look(self) -> None:
        self._waiting = False
        watched = dict.fromkeys(self._behind.values())
        self._heard = {name: self._heard.get(name, _Heard()) for name in watched}
        for name in watched:
            self._listen(name, self._heard[name])
        if watched:
            busy = any(heard.owed for heard in self._heard.values())
            self._wait(BUSY if busy else IDLE)

    def _listen(self, name: str, heard: _Heard) -> None:
        total = self._received(name)
        came = total - heard.packets
        heard.packets = total
        if came < 0:
            # SAs were renewed: others are counted now.
            heard.owed, heard.lately = False, 0
        elif came:
            # A stream often ends early between two looks: the time before tells as well.
            heard.owed = max(came, heard.lately) >= STREAM
            heard.lately = came
        elif heard.owed and self._scheduler.time() >= heard.asked + PAUSE:
            heard.owed, heard.lately = False, 0
            heard.asked = self._scheduler.time()
            self._ask(name)
