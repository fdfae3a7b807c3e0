# SPDX-License-Identifier: GPL-2.0-only
"""A mobile router that comes to its home link (RFC 6275 section 11.5.5).

Before it may use its home address there it must know where its home agent is:
a solicitation for the home agent's address would have the home address as its
source, which the home agent still defends. The link-layer address comes from
the home agent's Router Advertisement, or from its answer to a solicitation of
the home address itself, sent from the unspecified address. Without a binding
the same solicitation is duplicate address detection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final, Protocol

from ..linux.neighbours import Interface
from ..packet.errors import Malformed
from ..packet.icmp6 import (
    PrefixInformation,
    RouterAdvertisement,
    SourceLinkLayerAddress,
    parse,
)

log = logging.getLogger(__name__)

#: When the home address is solicited again, in seconds after the first time, and
#: when nobody is expected to answer any more.
ASK_AGAIN: Final = (0.3, 0.7)
ANSWER_TIME: Final = 1.0
_OVERRIDE: Final = 0x20
_TARGET_LINK_LAYER: Final = 2


class Solicitor(Protocol):
    """The part of ``linux.neighbours.Neighbours`` that is used here."""

    def probe(self, interface: Interface, target: IPv6Address) -> None: ...


@dataclass(slots=True)
class _Arrival:
    """What is known of a link that has the home prefix."""

    agent: bytes = b""
    asked: bool = False
    bound: bool = False
    done: bool = False
    taken: bool = False


class HomeArrival:
    """Finds the home agent on a home link, and who else has the home address.

    ``changed`` is called when a link became ready; ``learned`` with interface and
    link-layer address of the home agent before that; ``bound`` when the home
    agent turns out to hold a binding that the router does not know of.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        solicitor: Solicitor,
        changed: Callable[[], None],
        learned: Callable[[int, bytes], None],
        bound: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._solicitor = solicitor
        self._changed, self._learned, self._bound = changed, learned, bound
        self._links: dict[int, _Arrival] = {}
        self._timers: list[asyncio.TimerHandle] = []
        self.home_address = IPv6Address(0)
        self.home_agent = IPv6Address(0)

    def ready(self, interface: Interface, bound: bool) -> bool:
        """Tell whether the router may use its home address there; if not, find out.

        ``bound`` tells that the router believes its home agent to defend it.
        """
        arrival = self._links.setdefault(interface.index, _Arrival())
        if bound and arrival.agent and not arrival.done:
            arrival.done = True
            self._learned(interface.index, arrival.agent)
        if arrival.done:
            return not arrival.taken
        if not arrival.asked:
            arrival.asked, arrival.bound = True, bound
            # The advertisement that tells of the prefix may tell of the agent as well.
            first = 0.05 if bound else 0.0
            for delay in (first, *ASK_AGAIN):
                self._later(delay, lambda: self._ask(interface))
            self._later(ANSWER_TIME, lambda: self._silence(interface))
        return False

    @property
    def pending(self) -> bool:
        """Whether it is still being found out."""
        return any(arrival.asked and not arrival.done for arrival in self._links.values())

    def forget(self, index: int) -> None:
        """Take note that a link has gone: the next one there may be another."""
        self._links.pop(index, None)

    def stop(self) -> None:
        """Ask for nothing any more."""
        for handle in self._timers:
            handle.cancel()
        self._timers = []

    def router_advertised(self, index: int, data: bytes) -> None:
        """Take a valid Router Advertisement: it may be the home agent's."""
        try:
            message = parse(data)
        except Malformed:
            return
        if not isinstance(message, RouterAdvertisement) or not message.home_agent:
            return
        mine = any(
            isinstance(option, PrefixInformation)
            and option.router
            and option.prefix == self.home_agent
            for option in message.options
        )
        found = next((o for o in message.options if isinstance(o, SourceLinkLayerAddress)), None)
        if not mine or found is None or found.address[0] & 1:
            return
        arrival = self._links.setdefault(index, _Arrival())
        if arrival.agent == found.address:
            return
        arrival.agent = found.address
        if arrival.asked and arrival.bound and not arrival.done:
            self._finish(index, arrival)

    def neighbour_advertised(self, index: int, data: bytes) -> None:
        """Take a valid Neighbour Advertisement: it may answer for the home address."""
        arrival = self._links.get(index)
        if arrival is None or not arrival.asked or arrival.done or len(data) < 24:
            return
        if IPv6Address(data[8:24]) != self.home_address:
            return
        link_layer = _target_link_layer(data)
        if not link_layer:
            return
        # A proxy does not override (RFC 4861 section 7.2.8), an owner does.
        proxied = not data[4] & _OVERRIDE
        if proxied and arrival.agent in (b"", link_layer):
            if not arrival.bound:
                log.info("the home agent still defends %s", self.home_address)
                self._bound()
            arrival.agent = link_layer
        elif not arrival.bound:
            log.error("%s is in use by another node on the home link", self.home_address)
            arrival.taken = True
        else:
            return
        self._finish(index, arrival)

    def _finish(self, index: int, arrival: _Arrival) -> None:
        arrival.done = True
        if arrival.agent:
            self._learned(index, arrival.agent)
        self._changed()

    def _ask(self, interface: Interface) -> None:
        arrival = self._links.get(interface.index)
        if arrival is None or arrival.done:
            return
        try:
            self._solicitor.probe(interface, self.home_address)
        except OSError as error:
            log.debug("soliciting %s: %s", self.home_address, error.strerror)

    def _silence(self, interface: Interface) -> None:
        arrival = self._links.get(interface.index)
        if arrival is not None and not arrival.done:
            self._finish(interface.index, arrival)

    def _later(self, delay: float, action: Callable[[], None]) -> None:
        now = self._loop.time()
        self._timers = [handle for handle in self._timers if handle.when() > now]
        self._timers.append(self._loop.call_later(delay, action))


def _target_link_layer(data: bytes) -> bytes:
    """Return the Target Link-Layer Address of a Neighbour Advertisement, Ethernet."""
    at = 24
    while at + 8 <= len(data):
        size = data[at + 1] * 8
        if size == 0 or at + size > len(data):
            return b""
        if data[at] == _TARGET_LINK_LAYER and size == 8:
            return data[at + 2 : at + 8]
        at += size
    return b""
