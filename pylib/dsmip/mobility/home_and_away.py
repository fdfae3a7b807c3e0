# SPDX-License-Identifier: GPL-2.0-only
"""The home link as one of a router's ways, with care-of addresses besides (RFC 5648 section 5.6).

The home agent hears of it by a care-of address that is registered: so the home address
is nowhere on the home link before the answer says whether it may be.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..packet.mobility import BindingAcknowledgement
from ..packet.options import BindingIdentifier, LinkLayerAddress, Option, find_all
from ..packet.status import BindingAckStatus
from .attachment import Attachment
from .update_list import OUTSTANDING_MAX


@dataclass(slots=True)
class HomeWay:
    """Where the home link is and what the home agent makes of it.

    ``granted``: packets go there. ``silent``: the home agent goes on answering for the
    home address, and ``used`` is what the router did last about that. ``refused``: it
    wants nobody there who has care-of addresses.
    """

    place: Attachment | None = None
    bid: int = 0
    link_layer: bytes = b""
    granted: bool = False
    silent: bool = False
    refused: bool = False
    used: bool | None = None
    _asked: list[int] = field(default_factory=list)

    def be(self, place: Attachment, bid: int, link_layer: bytes) -> None:
        """Take note of the home link."""
        if self.place is not None and (self.bid, self.link_layer) != (bid, link_layer):
            self.granted = False
        self.place, self.bid, self.link_layer = place, bid, link_layer

    def leave(self) -> None:
        """Take note that the home link is none of the ways any more."""
        self.place = None
        self.granted = self.silent = False
        self.used = None
        self._asked.clear()

    def options(self, sequence: int, priority: int) -> list[Option]:
        """Return what an update says of it: the address every time, since it is short-lived."""
        if self.place is None:
            return []
        self._asked.append(sequence)
        del self._asked[:-OUTSTANDING_MAX]
        return [
            BindingIdentifier(self.bid, home=True, priority=priority, address=self.place.address),
            LinkLayerAddress(self.link_layer),
        ]

    def asked(self, sequences: Iterable[int]) -> bool:
        """Tell whether one of these updates speaks of it and is not answered yet."""
        return any(sequence in self._asked for sequence in sequences)

    def answered(self, answer: BindingAcknowledgement) -> bool | None:
        """Tell whether an answer grants it; None: it says nothing of it."""
        if self.place is None or answer.sequence not in self._asked:
            return None
        self._asked.remove(answer.sequence)
        if answer.status == BindingAckStatus.MCOA_HOME_AND_FOREIGN_PROHIBITED:
            return False
        if answer.status >= 128:
            return None
        stated = {o.bid: o.status for o in find_all(answer.options, BindingIdentifier)}
        status = stated.get(self.bid, BindingAckStatus.MCOA_HOME_AND_FOREIGN_PROHIBITED)
        if status >= 128:
            return False
        both = {status, answer.status}
        self.silent = BindingAckStatus.MCOA_RETURN_HOME_WITHOUT_NDP in both
        return True
