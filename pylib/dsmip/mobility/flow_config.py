# SPDX-License-Identifier: GPL-2.0-only
"""Flows of a mobile router as they are configured."""

from __future__ import annotations

from dataclasses import dataclass

from ..packet.flows import IPv4Selector, IPv6Selector


@dataclass(frozen=True, slots=True)
class Flow:
    """Packets that are to go by certain uplinks, in both directions.

    ``selectors`` see them as the home agent does, on their way to the mobile
    network; one of them is enough. With several ``uplinks`` each flow within goes
    by one of them, in proportion to their ``weights``; with ``copies`` each packet
    goes by both. Lower ``priority`` comes first.
    """

    name: str
    priority: int
    selectors: tuple[IPv4Selector | IPv6Selector, ...]
    uplinks: tuple[str, ...]
    weights: tuple[int, ...] = ()
    copies: bool = False
