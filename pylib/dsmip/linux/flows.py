# SPDX-License-Identifier: GPL-2.0-only
"""Flow bindings as nftables rules: marks that dsmip.ko takes for BIDs.

One table has everything: verdict maps find the chain of a binding by the address
at its mobile side, the chain finds the flow, and a chain for each BID sets the
mark. Signalling is not touched (RFC 6089 section 4.3): at the home agent only
forwarded packets are looked at, at the router none of ESP or the mobility header
of its own.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv6Address
from typing import Final, Protocol

from ..packet.flows import IPv4Selector, IPv6Selector
from ..packet.kernel import Network

log = logging.getLogger(__name__)

TABLE: Final = "inet dsmip"
_WITH_PORTS: Final = "meta l4proto { 6, 17, 33, 132, 136 }"
#: Both ends must hash alike, or a flow goes one way and comes another.
_SEED: Final = 0x6D697036


class Rule(Protocol):
    """A flow with the BIDs that it goes by; see ``mobility.effects.FlowRule``."""

    @property
    def selector(self) -> IPv4Selector | IPv6Selector: ...
    @property
    def bids(self) -> tuple[int, ...]: ...
    @property
    def weights(self) -> tuple[int, ...]: ...


def run_nft(script: str) -> None:
    """Apply a script whole or not at all; raises ``OSError`` with what nft says."""
    done = subprocess.run(
        ["nft", "-f", "-"], input=script, text=True, capture_output=True, check=False
    )
    if done.returncode:
        first = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        raise OSError(0, f"nft: {first}")


class FlowTable:
    """The rules of all bindings of this process.

    ``mask`` are the bits of the packet mark that name a BID, ``copy_mask`` those
    that name another for a copy, 0 without copies. Every method raises ``OSError``
    when nft refuses or is not installed.
    """

    def __init__(self, mask: int, copy_mask: int = 0, run: Callable[[str], None] = run_nft) -> None:
        self._mask = mask
        self._copy_mask = copy_mask
        self._run = run
        self._there = False
        self._elements: dict[IPv6Address, list[tuple[str, str, str]]] = {}
        self._marks: set[tuple[int, ...]] = set()

    def reset(self) -> None:
        """Remove what a former process left: it is made anew as flows are bound."""
        self._run(f"add table {TABLE}\ndelete table {TABLE}\n")
        self._there = False
        self._elements.clear()
        self._marks.clear()

    def put(
        self,
        home_address: IPv6Address,
        networks: Iterable[Network],
        rules: Sequence[Rule],
        mobile: bool,
    ) -> None:
        """Replace the rules of one binding; see ``mobility.effects.PutFlows``."""
        chain = f"b{int(home_address):032x}"
        old = self._elements.get(home_address, [])
        side = "from" if mobile else "to"
        fresh = [
            (f"{side}{network.version}", str(network), f" : goto {chain}")
            for network in (_outermost(networks) if rules else ())
        ]
        # nft 1.0 loses its way when chains, maps and elements that lead to them are made
        # in one script: what is pointed at comes first, what points at it goes first.
        if rules:
            self._put_rules(chain, rules, mobile)
        if old != fresh:
            self._change(_elements("delete", old))
            self._elements.pop(home_address, None)
            self._change(_elements("add", fresh))
            if fresh:
                self._elements[home_address] = fresh
        if old and not rules:
            self._change([f"flush chain {TABLE} {chain}", f"delete chain {TABLE} {chain}"])

    def _put_rules(self, chain: str, rules: Sequence[Rule], mobile: bool) -> None:
        if not self._there:
            self._change(_SKELETON.splitlines())
            self._there = True
        made: set[tuple[int, ...]] = set()
        script = [f"add chain {TABLE} {chain}", f"flush chain {TABLE} {chain}"]
        for rule in rules:
            if not self._fits(rule):
                continue
            for mark in {*targets(rule)} - self._marks - made:
                script += self._marker(mark)
                made.add(mark)
            script += [f"add rule {TABLE} {chain} {text}" for text in expressions(rule, mobile)]
        self._change(script)
        self._marks |= made

    def _change(self, script: list[str]) -> None:
        if script:
            self._run("\n".join(script) + "\n")

    def _fits(self, rule: Rule) -> bool:
        for bids in targets(rule):
            for bid, mask in zip(bids, (self._mask, self._copy_mask), strict=False):
                if _shifted(bid, mask) > mask:
                    log.warning("BID %d does not fit the mark mask 0x%08x", bid, mask)
                    return False
        return True

    def _marker(self, bids: tuple[int, ...]) -> list[str]:
        rest = ~(self._mask | self._copy_mask) & 0xFFFFFFFF
        mark = _shifted(bids[0], self._mask)
        if len(bids) > 1:
            mark |= _shifted(bids[1], self._copy_mask)
        chain = f"{TABLE} {_chain(bids)}"
        return [
            f"add chain {chain}",
            f"flush chain {chain}",
            f"add rule {chain} meta mark set meta mark & 0x{rest:08x} | 0x{mark:08x}",
            f"add rule {chain} accept",
        ]


def _shifted(bid: int, mask: int) -> int:
    """Return a BID as bits of a mask; more than the mask when it has no room."""
    return bid * (mask & -mask) if mask else bid


def _chain(bids: tuple[int, ...]) -> str:
    return "bid" + "and".join(map(str, bids))


def targets(rule: Rule) -> list[tuple[int, ...]]:
    """Return what packets of a flow are marked with: one BID, or two for copies."""
    return [(bid,) for bid in rule.bids] if rule.weights else [rule.bids[:2]]


_SKELETON: Final = f"""\
add table {TABLE}
delete table {TABLE}
table {TABLE} {{
  map to6 {{ type ipv6_addr : verdict; flags interval; }}
  map to4 {{ type ipv4_addr : verdict; flags interval; }}
  map from6 {{ type ipv6_addr : verdict; flags interval; }}
  map from4 {{ type ipv4_addr : verdict; flags interval; }}
  chain forwarded {{
    type filter hook prerouting priority mangle; policy accept;
    ip6 daddr vmap @to6
    ip daddr vmap @to4
    ip6 saddr vmap @from6
    ip saddr vmap @from4
  }}
  chain own {{
    type route hook output priority mangle; policy accept;
    meta l4proto {{ 50, 135 }} return
    ip6 saddr vmap @from6
    ip saddr vmap @from4
  }}
}}
"""


def _elements(verb: str, elements: Iterable[tuple[str, str, str]]) -> list[str]:
    by_map: dict[str, list[str]] = {}
    for name, key, value in elements:
        by_map.setdefault(name, []).append(key + (value if verb == "add" else ""))
    return [
        f"{verb} element {TABLE} {name} {{ {', '.join(items)} }}" for name, items in by_map.items()
    ]


def _outermost(networks: Iterable[Network]) -> list[Network]:
    """Leave out what another one covers: an interval map takes no overlaps."""
    found: list[Network] = []
    for network in sorted(networks, key=lambda n: (n.version, n.prefixlen)):
        inside = any(
            network.version == other.version and network.network_address in other for other in found
        )
        if not inside:
            found.append(network)
    return found


def expressions(rule: Rule, mobile: bool) -> list[str]:
    """Return the nft expressions of a flow; none if it cannot be told in this direction.

    A label and an SPI are chosen by each sender for itself: the way back has others.
    """
    selector = rule.selector
    if mobile and (selector.spi_start is not None or _value(selector, "flow_label") is not None):
        return []
    six = isinstance(selector, IPv6Selector)
    ip = "ip6" if six else "ip"
    near, far = ("saddr", "daddr") if mobile else ("daddr", "saddr")
    near_port, far_port = ("sport", "dport") if mobile else ("dport", "sport")
    parts = [f"meta nfproto {'ipv6' if six else 'ipv4'}"]
    for name, expression in (
        ("source", f"{ip} {far}"),
        ("destination", f"{ip} {near}"),
        ("spi", "esp spi"),
        ("flow_label", "ip6 flowlabel"),
    ):
        value = _value(selector, name)
        if value is not None:
            parts.append(f"{expression} {value}")
    octet = "traffic_class" if six else "ds"
    dscp = _value(selector, octet, lambda number: number >> 2)
    if dscp is not None:
        parts.append(f"{ip} dscp {dscp}")
    protocol = _value(selector, "next_header" if six else "protocol")
    ports = [("source_port", f"th {far_port}"), ("destination_port", f"th {near_port}")]
    given = [(text, _value(selector, name)) for name, text in ports]
    if protocol is not None:
        parts.append(f"meta l4proto {protocol}")
    elif any(value is not None for _text, value in given):
        parts.append(_WITH_PORTS)
    parts += [f"{text} {value}" for text, value in given if value is not None]
    match = " ".join(parts)
    if not rule.weights or len(rule.bids) == 1:
        return [f"{match} goto {_chain(targets(rule)[0])}"]
    addresses = f"{ip} {far} . {ip} {near}"
    total = sum(rule.weights)
    shares = f"mod {total} seed 0x{_SEED:08x} vmap {{ {_shares(rule)} }}"
    with_ports = f"{_WITH_PORTS} jhash {addresses} . th {far_port} . th {near_port} {shares}"
    return [f"{match} {with_ports}", f"{match} jhash {addresses} {shares}"]


def _shares(rule: Rule) -> str:
    start, parts = 0, []
    for bid, weight in zip(rule.bids, rule.weights, strict=True):
        end = start + weight - 1
        parts.append(f"{start}{f'-{end}' if end > start else ''} : goto bid{bid}")
        start = end + 1
    return ", ".join(parts)


def _value(
    selector: IPv4Selector | IPv6Selector,
    name: str,
    take: Callable[[int], int] = lambda number: number,
) -> str | None:
    start = getattr(selector, name + "_start", None)
    if start is None:
        return None
    end = getattr(selector, name + "_end")
    if isinstance(start, int):
        start, end = take(start), None if end is None else take(end)
    return f"{start}" if end is None or end == start else f"{start}-{end}"
