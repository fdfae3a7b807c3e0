# SPDX-License-Identifier: GPL-2.0-only
"""Rows of the security policy database: who talks to whom, protected how.

A row is one line of the table of RFC 3776 section 5.2 and RFC 4877 section 4,
seen from the mobile router; role and keys make policies and associations of it.
Selectors name home addresses only, so nothing here changes at a handover save
the outer ends of tunnel-mode rows.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

Address = IPv6Address | IPv4Address
Network = IPv6Network | IPv4Network

MOBILITY_HEADER: Final = 135
#: Request ids from here on are ours; a restarted daemon knows its rows by them.
REQID: Final = 0x105F0000
#: Policy priorities from here on are ours; lower is looked up first.
PRIORITY: Final = 41910000
PRIORITY_RANGE: Final = 1000
_BLOCK: Final = PRIORITY + 900


class Role(enum.Enum):
    """Which end of a row this host is."""

    MOBILE_ROUTER = "mobile_router"
    HOME_AGENT = "home_agent"


class Direction(enum.IntEnum):
    """Policy directions with the kernel's numbers."""

    IN = 0
    OUT = 1
    FORWARD = 2


class Mode(enum.IntEnum):
    """Modes with the kernel's numbers."""

    TRANSPORT = 0
    TUNNEL = 1


@dataclass(frozen=True, slots=True)
class Selector:
    """Packets a policy is about; ``protocol`` 0 is any."""

    source: Network
    destination: Network
    protocol: int = 0


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy; without ``protect`` it blocks.

    ``outer`` are the tunnel's source and destination, None in transport mode.
    """

    direction: Direction
    selector: Selector
    priority: int
    protect: bool = True
    mode: Mode = Mode.TRANSPORT
    reqid: int = REQID
    outer: tuple[Address, Address] | None = None


@dataclass(frozen=True, slots=True)
class Association:
    """One ESP association; keys for AES-CBC and HMAC-SHA-256-128."""

    source: Address
    destination: Address
    spi: int
    encryption_key: bytes
    authentication_key: bytes
    selector: Selector
    mode: Mode = Mode.TRANSPORT
    reqid: int = REQID

    def __repr__(self) -> str:
        # Keys must not reach a log by way of a traceback.
        return f"Association({self.source} -> {self.destination}, spi 0x{self.spi:08x})"


@dataclass(frozen=True, slots=True)
class DirectionKeys:
    """SPI and keys of one direction."""

    spi: int
    encryption_key: bytes
    authentication_key: bytes

    def __repr__(self) -> str:
        return f"DirectionKeys(spi 0x{self.spi:08x})"


@dataclass(frozen=True, slots=True)
class RowKeys:
    """Keys of one row: towards the home agent and towards the mobile router."""

    to_agent: DirectionKeys
    to_router: DirectionKeys


@dataclass(frozen=True, slots=True)
class Row:
    """One protected conversation between a home address and a home agent.

    ``rank`` orders rows whose selectors overlap (A to D of RFC 3776 section
    5.2.2 as 0 to 3). ``remote`` is what the home address talks to.
    """

    home_address: Address
    agent: Address
    home: Network
    remote: Network
    protocol: int
    rank: int = 0
    mode: Mode = Mode.TRANSPORT
    reqid: int = REQID

    def selector(self, towards_agent: bool) -> Selector:
        """Return the selector of one direction."""
        if towards_agent:
            return Selector(self.home, self.remote, self.protocol)
        return Selector(self.remote, self.home, self.protocol)


def signalling_row(home_address: IPv6Address, agent: IPv6Address) -> Row:
    """Return SA1 and SA2 of RFC 3776 section 5.2.1, for all mobility headers.

    The message type is no selector: stock kernels never decode it on receive,
    so a policy for type 5 alone would let all others pass in clear.
    """
    home, remote = IPv6Network(home_address), IPv6Network(agent)
    return Row(home_address, agent, home, remote, MOBILITY_HEADER)


def policies(row: Row, role: Role, care_of: Address | None = None) -> tuple[Policy, ...]:
    """Return the policies that protect a row at one end.

    ``care_of`` is the router's end of a tunnel-mode row; ``ValueError`` without.
    """
    mobile = role is Role.MOBILE_ROUTER
    ends = None
    if row.mode is Mode.TUNNEL:
        if care_of is None:
            raise ValueError("a tunnel-mode row needs the care-of address")
        ends = (care_of, row.agent)
    inbound = [Direction.IN] if row.mode is Mode.TRANSPORT else [Direction.IN, Direction.FORWARD]
    found = []
    for direction in (Direction.OUT, *inbound):
        towards_agent = mobile == (direction is Direction.OUT)
        found.append(
            Policy(
                direction,
                row.selector(towards_agent),
                PRIORITY + row.rank,
                mode=row.mode,
                reqid=row.reqid,
                outer=None if ends is None else (ends if towards_agent else ends[::-1]),
            )
        )
    return tuple(found)


def associations(
    row: Row, keys: RowKeys, care_of: Address | None = None
) -> tuple[Association, ...]:
    """Return both directions' associations, the same at both ends."""
    router_end: Address = row.home_address
    if row.mode is Mode.TUNNEL:
        if care_of is None:
            raise ValueError("a tunnel-mode row needs the care-of address")
        router_end = care_of
    found = []
    for towards_agent, key in ((True, keys.to_agent), (False, keys.to_router)):
        source, destination = (router_end, row.agent) if towards_agent else (row.agent, router_end)
        found.append(
            Association(
                source,
                destination,
                key.spi,
                key.encryption_key,
                key.authentication_key,
                row.selector(towards_agent),
                row.mode,
                row.reqid,
            )
        )
    return tuple(found)


def block_policy(home_address: IPv6Address) -> Policy:
    """Return what keeps mobility messages in clear out of a home agent.

    RFC 4877 section 7.2.1: an update that arrives before there are keys must be
    dropped, not answered. It is wider than the row's own selector, since the
    kernel holds one policy for each selector, and only inbound, since outbound
    policies are asked about forwarded packets too (a Home Test, for instance).
    """
    anywhere = IPv6Network("::/0")
    selector = Selector(IPv6Network(home_address), anywhere, MOBILITY_HEADER)
    return Policy(Direction.IN, selector, _BLOCK, protect=False)


def is_ours(policy: Policy) -> bool:
    """Whether a policy read from the kernel was made from a row of ours."""
    return PRIORITY <= policy.priority < PRIORITY + PRIORITY_RANGE
