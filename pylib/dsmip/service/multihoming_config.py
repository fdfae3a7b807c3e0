# SPDX-License-Identifier: GPL-2.0-only
"""Options about several uplinks at once, and which flows take which."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Any, Final

from ..mobility.config import PATHS_MAX
from ..mobility.flow_config import Flow
from ..packet.flows import IPv4Selector, IPv6Selector
from ..packet.kernel import Network
from . import options as o
from .ike_config import Payload
from .options import Refused, Section

PROTOCOLS: Final = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "icmpv6": 58, "sctp": 132}
#: RFC 2474, RFC 2597, RFC 3246.
DSCP: Final = {"ef": 46, **{f"cs{n}": 8 * n for n in range(8)}}
DSCP.update({f"af{c}{d}": 8 * c + 2 * d for c in range(1, 5) for d in range(1, 4)})
FLOWS_MAX: Final = 32
_WITH_PORTS: Final = (6, 17, 33, 132, 136)
_ONE_FAMILY: Final = {1: 4, 58: 6}


@dataclass(frozen=True, slots=True)
class Multihoming:
    """What the mobile router's engine gets of it."""

    several: bool
    probe: float
    flows: tuple[Flow, ...]
    home_and_away: bool


def read_multihoming(
    section: Section, uplinks: Iterable[str], payload: Payload, copies: bool
) -> Multihoming:
    """Read the options of ``[mobile_router]``."""
    names = tuple(uplinks)
    several = section.get("multihoming", o.boolean, False)
    probe = section.get("probe", o.number(0, 3600), 1.0)
    if 0 < probe < 0.1:
        section.fault("probe", "allowed is 0 for never, or 0.1 to 3600 seconds")
    if several and payload is Payload.RFC4877:
        # RFC 5648 section 9.3.2: its SAs would have to choose a care-of address for each packet.
        section.fault("multihoming", 'needs payload = "inside": "rfc4877" has one care-of address')
    entries = section.sections("flow")
    flows = tuple(_flow(entry, number, names) for number, entry in enumerate(entries))
    if flows and not several:
        section.fault("flow", "needs multihoming = true: flows choose among several uplinks")
    if any(flow.copies for flow in flows) and not copies:
        section.fault("flow", "with copies needs copy_mask in [globals], here and there")
    if len(flows) > FLOWS_MAX:
        section.fault("flow", f"allowed are at most {FLOWS_MAX}")
    both = section.get("home_and_away", o.boolean, False)
    if both and not several:
        section.fault("home_and_away", "needs multihoming = true: it is about several ways")
    return Multihoming(several, probe, flows, both)


def read_limits(section: Section, copies: bool) -> dict[str, Any]:
    """Read the options of ``[home_agent]``."""
    return {
        "copies": copies,
        "several": section.get("multihoming", o.boolean, True),
        "bulk": section.get("bulk_registration", o.boolean, True),
        "paths_max": section.get("care_of_addresses_max", o.integer(1, PATHS_MAX), PATHS_MAX),
        "flows": section.get("flows", o.boolean, True),
        "home_and_away": section.get("home_and_away", o.boolean, True),
        "only_router": section.get("only_router", o.boolean, False),
    }


def read_masks(section: Section) -> dict[str, int]:
    """Read which bits of a packet mark name a BID, from ``[globals]``."""
    mark = section.get("mark_mask", _mask, 0xFF000000)
    copy = section.get("copy_mask", _mask, 0)
    if mark & copy:
        section.fault("copy_mask", "has bits that mark_mask has, too")
    return {"mark_mask": mark, "copy_mask": copy}


def _mask(value: object) -> int:
    found = o.integer(0xF, 0xFFFFFFFF)(value)
    bits = f"{found:b}".strip("0")
    if "0" in bits or len(bits) < 4:
        raise Refused("at least 4 bits side by side, like 0xff000000")
    return found


def _flow(entry: Section, number: int, uplinks: tuple[str, ...]) -> Flow:
    wanted: tuple[str, ...] = entry.need("uplinks", o.several(o.text, 1), ())
    for name in wanted:
        if name not in uplinks:
            entry.fault("uplinks", f'no uplink is called "{name}", there are: {", ".join(uplinks)}')
    copies = entry.get("copies", o.boolean, False)
    weights: tuple[int, ...] = entry.get("weights", _weights, ())
    if weights and len(weights) != len(wanted):
        entry.fault("weights", "allowed is one weight for each of uplinks")
    if copies and (weights or len(wanted) != 2):
        entry.fault("copies", "needs two uplinks, and excludes weights")
    flow = Flow(
        name=entry.get("name", o.text, f"flow {number + 1}"),
        priority=entry.get("priority", o.integer(0, 1000), min(10 * (number + 1), 1000)),
        selectors=_selectors(entry),
        uplinks=wanted,
        weights=weights or (() if copies or len(wanted) < 2 else (1,) * len(wanted)),
        copies=copies,
    )
    entry.finish()
    return flow


def _selectors(entry: Section) -> tuple[IPv4Selector | IPv6Selector, ...]:
    remote: Network | None = entry.get("remote", _network, None)
    local: Network | None = entry.get("local", _network, None)
    protocol: int | None = entry.get("protocol", _named(PROTOCOLS, 255), None)
    remote_port: tuple[int, int] | None = entry.get("remote_port", _range(65535), None)
    local_port: tuple[int, int] | None = entry.get("local_port", _range(65535), None)
    dscp: int | None = entry.get("dscp", _named(DSCP, 63), None)
    versions: set[int] = {network.version for network in (remote, local) if network is not None}
    if protocol in _ONE_FAMILY:
        versions.add(_ONE_FAMILY[protocol])
    if len(versions) > 1:
        entry.fault("remote", "remote, local and protocol are of different IP versions")
        return ()
    if (remote_port or local_port) and protocol not in (None, *_WITH_PORTS):
        entry.fault("protocol", "has no ports, but a port is given")
    found: list[IPv4Selector | IPv6Selector] = []
    for version in sorted(versions or {4, 6}, reverse=True):
        values: dict[str, Any] = {
            **_between("source", None if remote is None else (remote[0], remote[-1])),
            **_between("destination", None if local is None else (local[0], local[-1])),
            **_between("source_port", remote_port),
            **_between("destination_port", local_port),
            **_between("traffic_class" if version == 6 else "ds", dscp and (dscp << 2, dscp << 2)),
            **_between("next_header" if version == 6 else "protocol", protocol and (protocol,) * 2),
        }
        found.append(IPv6Selector(**values) if version == 6 else IPv4Selector(**values))
    return tuple(found)


def _between(name: str, pair: tuple[Any, ...] | int | None) -> dict[str, Any]:
    if not isinstance(pair, tuple):
        return {}
    start, end = pair
    return {f"{name}_start": start} | ({f"{name}_end": end} if end != start else {})


def _network(value: object) -> Network:
    try:
        return o.prefix(value)
    except Refused:
        try:
            found: IPv4Address | IPv6Address = o.address(value)
        except Refused:
            raise Refused("an address or a prefix like 2001:db8:c::/64") from None
    return IPv4Network(found) if isinstance(found, IPv4Address) else o.prefix6(f"{found}/128")


def _named(names: dict[str, int], largest: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, str) and value.lower() in names:
            return names[value.lower()]
        try:
            return o.integer(1 if names is PROTOCOLS else 0, largest)(value)
        except Refused as refused:
            words = ", ".join(f'"{name}"' for name in names)
            raise Refused(f"{refused}, or one of {words}") from None

    return read


def _range(largest: int) -> Callable[[object], tuple[int, int]]:
    """Return a reader of a number or of two, like ``5000-6000``."""

    def read(value: object) -> tuple[int, int]:
        start, _, end = str(value).partition("-")
        plain = isinstance(value, int | str) and not isinstance(value, bool)
        if plain and start.isdecimal() and (end or start).isdecimal():
            pair = int(start), int(end or start)
            if pair[0] <= pair[1] <= largest:
                return pair
        raise Refused(f"a number from 0 to {largest}, or a range like 5000-6000")

    return read


def _weights(value: object) -> tuple[int, ...]:
    read = o.integer(1, 255)
    if isinstance(value, o.Word):
        value = [o.Word(word) for word in value.split()]
    if not isinstance(value, list):
        raise Refused("a list of whole numbers from 1 to 255, like [3, 1]")
    return tuple(read(entry) for entry in value)
