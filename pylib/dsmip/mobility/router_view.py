# SPDX-License-Identifier: GPL-2.0-only
"""What is shown of a mobile router's registration."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from ..packet.careof import CareOf, WireKind


class State(enum.Enum):
    """Where the router stands."""

    DETACHED = "detached"
    REGISTERING = "registering"
    REGISTERED = "registered"
    RETURNING = "returning home"
    HOME = "home"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class RegistrationView:
    """The registration for status documents; times in seconds.

    ``refusal`` is the status of the last fatal refusal, 0 once an update was
    accepted.
    """

    state: State
    uplink: str
    care_of: CareOf | None
    kind: WireKind | None
    nat: bool
    home_address: IPv6Address
    home_address4: IPv4Address | None
    home_agent: IPv6Address | IPv4Address
    sequence: int
    lifetime: int
    remaining: float
    refresh_in: float | None
    attempts: int
    problem: str
    refusal: int = 0
    name_status: int | None = None


@dataclass(frozen=True, slots=True)
class PathView:
    """One of several care-of addresses for status documents (RFC 5648).

    ``rank`` counts from 1, the path in use or the next to take; ``loss`` is the
    share of probes without an answer, ``rtt`` their round trip in seconds, None
    where nothing was probed. ``why_not`` says why data does not go this way.
    """

    bid: int
    uplink: str
    care_of: CareOf
    kind: WireKind
    nat: bool
    state: str
    active: bool
    rank: int
    priority: int
    rtt: float | None
    loss: float | None
    remaining: float
    why_not: str


@dataclass(frozen=True, slots=True)
class FlowView:
    """A flow for status documents: whether it has an uplink, and whether it is bound."""

    name: str
    uplinks: tuple[str, ...]
    here: bool
    there: bool
    problem: str
