# SPDX-License-Identifier: GPL-2.0-only
"""Traffic selectors and how two sides agree on them (RFC 7296 sections 2.9 and 3.13)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    summarize_address_range,
)
from typing import Final, cast

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

ICMP: Final = 1
ICMP6: Final = 58
MOBILITY: Final = 135
ANY_PORT: Final = (0, 65535)
#: A port that cannot be seen, as in later fragments (RFC 4301 section 4.4.1.1).
OPAQUE: Final = (65535, 0)
#: More do not fit the count in a payload.
MOST: Final = 255


@dataclass(frozen=True, slots=True)
class TrafficSelector:
    """A protocol (0: any), a range of ports, and a range of addresses of one family.

    For ICMP, ICMPv6 and the mobility header the ports are the message type in
    the upper octet and the ICMP code in the lower one, see :meth:`typed`.
    """

    protocol: int
    start_port: int
    end_port: int
    first: Address
    last: Address

    @classmethod
    def from_network(
        cls,
        network: Network | Address | str,
        protocol: int = 0,
        start_port: int = 0,
        end_port: int = 65535,
    ) -> TrafficSelector:
        """Return the selector of a network or of one address. Raises ``ValueError``."""
        if isinstance(network, str):
            network = (IPv6Network if ":" in network else IPv4Network)(network)
        if isinstance(network, IPv4Address | IPv6Address):
            return cls(protocol, start_port, end_port, network, network)
        return cls(protocol, start_port, end_port, network[0], network[-1])

    @classmethod
    def typed(cls, network: Network | Address | str, protocol: int, kind: int) -> TrafficSelector:
        """Return the selector of one message type of ICMP, ICMPv6 or the mobility header.

        All codes of an ICMP type are meant; the mobility header has none, so
        its lower octet is 0 (RFC 7296 section 3.13.1).
        """
        start = kind << 8
        return cls.from_network(network, protocol, start, start | (0 if protocol == 135 else 0xFF))

    @property
    def kind(self) -> int | None:
        """The one message type this selects, or None when it is several or none."""
        if self.protocol not in (ICMP, ICMP6, MOBILITY) or self.start_port > self.end_port:
            return None
        kind = self.start_port >> 8
        return kind if kind == self.end_port >> 8 else None

    @property
    def any_port(self) -> bool:
        """Whether ports do not matter."""
        return self.start_port == 0 and self.end_port == 65535

    @property
    def opaque(self) -> bool:
        """Whether only packets are meant whose ports cannot be seen."""
        return self.start_port == 65535 and self.end_port == 0

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.first.version

    @property
    def host(self) -> Address | None:
        """The address, when it is a single one."""
        return self.first if self.first == self.last else None

    def networks(self) -> list[Network]:
        """Return the networks that make up the range of addresses."""
        first, last = self.first, self.last
        return list(summarize_address_range(cast(IPv6Address, first), cast(IPv6Address, last)))

    def intersection(self, other: TrafficSelector) -> TrafficSelector | None:
        """Return what both select, or None."""
        if self.first.version != other.first.version:
            return None
        if self.protocol and other.protocol and self.protocol != other.protocol:
            return None
        mine, theirs = (self.start_port, self.end_port), (other.start_port, other.end_port)
        if OPAQUE in (mine, theirs):
            if {mine, theirs} - {OPAQUE, ANY_PORT}:
                return None
            start, end = OPAQUE
        else:
            start, end = max(mine[0], theirs[0]), min(mine[1], theirs[1])
            if start > end:
                return None
        first = max(cast(IPv6Address, self.first), cast(IPv6Address, other.first))
        last = min(cast(IPv6Address, self.last), cast(IPv6Address, other.last))
        if first > last:
            return None
        return TrafficSelector(self.protocol or other.protocol, start, end, first, last)

    def covers(self, other: TrafficSelector) -> bool:
        """Whether all that ``other`` selects is selected here too."""
        both = self.intersection(other)
        return both == other

    def __str__(self) -> str:
        """Return swanctl's form, ``network[protocol/port]``."""
        networks = self.networks() if int(self.first) <= int(self.last) else []
        where = str(networks[0]) if len(networks) == 1 else f"{self.first}..{self.last}"
        if not self.protocol and self.any_port:
            return where
        if self.any_port:
            return f"{where}[{self.protocol}]"
        ports = str(self.start_port)
        if self.opaque:
            ports = "opaque"
        elif self.start_port != self.end_port:
            ports += f"-{self.end_port}"
        return f"{where}[{self.protocol}/{ports}]"


def narrow(
    offered: Sequence[TrafficSelector], allowed: Iterable[TrafficSelector]
) -> tuple[TrafficSelector, ...]:
    """Return what is both offered and allowed, the offered order kept (RFC 7296 section 2.9).

    So what is left of the initiator's first selector, often the very packet it
    wants to send, comes first. Nothing is said twice; empty when nothing fits,
    which is TS_UNACCEPTABLE.
    """
    policy = tuple(allowed)
    chosen: list[TrafficSelector] = []
    for offer in offered:
        for rule in policy:
            both = offer.intersection(rule)
            if both is not None and not any(c.covers(both) for c in chosen):
                chosen.append(both)
    return tuple(chosen[:MOST])


def covers(wide: Iterable[TrafficSelector], close: Iterable[TrafficSelector]) -> bool:
    """Whether each selector of ``close`` lies within one of ``wide``."""
    wider = tuple(wide)
    return all(any(w.covers(c) for w in wider) for c in close)
