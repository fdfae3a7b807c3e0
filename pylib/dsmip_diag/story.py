# SPDX-License-Identifier: GPL-2.0-only
"""A capture as a story: who registered what, through which NAT, what was refused and why."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from dsmip.packet.mobility import (
    BindingAcknowledgement,
    BindingError,
    BindingUpdate,
    Message,
)
from dsmip.packet.options import (
    AlternateCareOfAddress,
    BindingIdentifier,
    IPv4AddressAcknowledgement,
    IPv4CareOfAddress,
    IPv4HomeAddress,
    MobileNetworkPrefix,
    NatDetection,
    find,
    find_all,
)
from dsmip.packet.status import describe

from .dissect import Seen

#: RFC 6275 section 6.1.7: lifetimes are in units of 4 s.
_UNIT: Final = 4
_REFUSED: Final = 128
_NODES_MAX: Final = 4096
_PENDING_MAX: Final = 64
Address = IPv6Address | IPv4Address


@dataclass(slots=True)
class Node:
    """A mobile node as the capture has shown it."""

    home: Address
    care_of: Address | None = None
    kind: str = ""
    sent: OrderedDict[int, tuple[float, BindingUpdate]] = field(default_factory=OrderedDict)
    towards: int = 0
    back: int = 0
    protected: int = 0


class Story:
    """Takes packets in their order and yields lines."""

    def __init__(self) -> None:
        self._nodes: OrderedDict[Address, Node] = OrderedDict()
        #: Who was signalled to, so that their own packets are no mobile node's.
        self._agents: set[Address] = set()
        self._start: float | None = None
        self._last = 0.0
        self.counters: Counter[str] = Counter()

    def take(self, time: float, seen: Seen) -> Iterator[str]:
        """Tell what a packet adds to the story, most often nothing."""
        if self._start is None:
            self._start = time
        self._last = time
        self.counters[seen.what] += 1
        if seen.what == "data":
            self._data(seen)
            return
        if seen.what == "message" and seen.message is not None:
            lines = list(self._message(time, seen, seen.message))
        elif seen.what == "protected":
            lines = list(self._protected(seen))
        elif seen.what == "damaged":
            lines = [f"{seen.source} sends {seen.destination} a damaged message: {seen.detail}"]
        elif seen.what == "icmp":
            lines = self._icmp(seen)
        elif seen.what == "ike" and seen.detail not in ("ESP in UDP", "keepalive"):
            lines = [f"IKEv2 {seen.detail}: {seen.source} to {seen.destination}"]
        else:
            lines = []
        for line in lines:
            yield f"{time - self._start:9.3f} s  {line}"

    def _node(self, home: Address) -> Node:
        node = self._nodes.get(home)
        if node is None:
            if len(self._nodes) >= _NODES_MAX:
                self._nodes.popitem(last=False)
            node = self._nodes[home] = Node(home)
        return node

    # --- messages

    def _message(self, time: float, seen: Seen, message: Message) -> Iterator[str]:
        if isinstance(message, BindingUpdate):
            yield from self._update(time, seen, message)
        elif isinstance(message, BindingAcknowledgement):
            yield from self._answer(time, seen, message)
        elif isinstance(message, BindingError):
            yield (
                f"{seen.source} refuses a packet of {message.home_address}: "
                + {1: "no binding for its Home Address option", 2: "unknown message type"}.get(
                    message.status, f"status {message.status}"
                )
            )
        else:
            name = type(message).__name__
            yield f"{name}: {seen.source} to {seen.destination}"

    def _update(self, time: float, seen: Seen, update: BindingUpdate) -> Iterator[str]:
        node = self._node(seen.source)
        again = update.sequence in node.sent
        node.sent[update.sequence] = time, update
        while len(node.sent) > _PENDING_MAX:
            node.sent.popitem(last=False)
        care_of, kind = where(seen)
        verb = "de-registers from" if not update.lifetime else "registers with"
        if again:
            verb = f"asks again (sequence {update.sequence}) to be bound by"
        line = f"{seen.source} {verb} {seen.destination}"
        if update.lifetime:
            line += f" at {care_of}, {kind}"
        yield line
        if again:
            return
        facts = [f"sequence {update.sequence}", f"lifetime {update.lifetime * _UNIT} s"]
        prefixes = [str(o.prefix) for o in find_all(update.options, MobileNetworkPrefix)]
        if update.mobile_router:
            facts.append(f"router of {', '.join(prefixes) or 'what the agent knows'}")
        for home4 in find_all(update.options, IPv4HomeAddress):
            asks = not int(home4.address)
            wanted = "one from the agent" if asks else _with_length(home4)
            facts.append(
                f"IPv4 {'prefix' if home4.prefix_length < 32 else 'home address'} {wanted}"
            )
        for binding in find_all(update.options, BindingIdentifier):
            facts.append(f"BID {binding.bid}")
        if update.force_udp:
            facts.append("UDP in any case")
        if not seen.was_protected and update.home:
            facts.append("NOT PROTECTED")
        yield "    " + ", ".join(facts)
        yield from self._nat(seen, update)
        if node.care_of is not None and update.lifetime and care_of != node.care_of:
            yield f"    it was at {node.care_of}, {node.kind}"
        node.care_of, node.kind = (care_of, kind) if update.lifetime else (None, "")

    @staticmethod
    def _nat(seen: Seen, update: BindingUpdate) -> Iterator[str]:
        claimed = find(update.options, IPv4CareOfAddress)
        outer = seen.outer
        if claimed is not None and outer is not None and claimed.address != outer.source:
            yield (
                f"    a NAT is between: the router has {claimed.address}, "
                f"the agent sees {outer.source} port {outer.source_port}"
            )
        alternate = find(update.options, AlternateCareOfAddress)
        if alternate is None or outer is None or outer.source.version != 6:
            return
        if alternate.address not in (outer.source, seen.source):
            yield f"    it names {alternate.address}, but comes from {outer.source}"

    def _answer(self, time: float, seen: Seen, answer: BindingAcknowledgement) -> Iterator[str]:
        node = self._node(seen.destination)
        sent = node.sent.pop(answer.sequence, None)
        force = sent is not None and sent[1].force_udp
        word = describe(answer.status, force)
        after = "" if sent is None else f" after {(time - sent[0]) * 1000:.0f} ms"
        if answer.status >= _REFUSED:
            yield (
                f"{seen.source} REFUSES {seen.destination}{after}: {word} (status {answer.status})"
            )
            return
        if not answer.lifetime:
            yield f"{seen.source} lets {seen.destination} go{after}"
            return
        line = f"{seen.source} accepts {seen.destination}{after}, for {answer.lifetime * _UNIT} s"
        if answer.status:
            line += f" ({word})"
        nat = find(answer.options, NatDetection)
        if nat is not None and nat.refresh_time not in (0, NatDetection.NO_KEEPALIVE):
            line += f", keepalive every {nat.refresh_time} s"
        yield line
        for home4 in find_all(answer.options, IPv4AddressAcknowledgement):
            word = "prefix" if home4.prefix_length < 32 else "home address"
            if home4.status >= _REFUSED:
                yield f"    but not its IPv4 {word} {home4.address} (status {home4.status})"
            else:
                yield f"    IPv4 {word} {_with_length(home4)}"
        for binding in find_all(answer.options, BindingIdentifier):
            if binding.status:
                words = describe(binding.status)
                yield f"    BID {binding.bid}: {words} (status {binding.status})"

    # --- what no key opens, errors, data

    def _protected(self, seen: Seen) -> Iterator[str]:
        if seen.outer is None:
            return
        # A home agent in IPv4 has another outer address too: who spoke first tells.
        if seen.outer.source == seen.source or seen.source in self._agents:
            self._node(seen.destination).protected += 1
            return
        if len(self._agents) < _NODES_MAX:
            self._agents.add(seen.destination)
        node = self._node(seen.source)
        node.protected += 1
        care_of, kind = where(seen)
        if care_of != node.care_of:
            moved = "" if node.care_of is None else f", was at {node.care_of}"
            yield f"{seen.source} signals (ESP) to {seen.destination} from {care_of}, {kind}{moved}"
            node.care_of, node.kind = care_of, kind

    def _icmp(self, seen: Seen) -> list[str]:
        self.counters[f"icmp: {seen.detail}"] += 1
        if self.counters[f"icmp: {seen.detail}"] > 3:
            return []
        return [f"{seen.source} to {seen.destination}: {seen.detail}"]

    def _data(self, seen: Seen) -> None:
        outer = seen.outer
        assert outer is not None
        for node in self._nodes.values():
            if node.care_of == outer.source:
                node.towards += 1
                return
            if node.care_of == outer.destination:
                node.back += 1
                return

    # --- the end

    def summary(self) -> Iterator[str]:
        """Tell what was counted."""
        if self._start is None:
            yield "No packet of Mobile IPv6 is in it."
            return
        yield f"{self._last - self._start:.1f} s in all."
        for node in self._nodes.values():
            facts = []
            if node.care_of is not None:
                facts.append(f"at the end at {node.care_of}, {node.kind}")
            facts.append(f"{node.towards} packets from it and {node.back} to it in the tunnel")
            if node.protected:
                facts.append(f"{node.protected} messages that no key here opens")
            if node.sent:
                facts.append(f"{len(node.sent)} updates without an answer")
            yield f"{node.home}: {'; '.join(facts)}"
        for name in ("damaged", "keepalive"):
            if self.counters[name]:
                yield f"{name} packets: {self.counters[name]}"


def _with_length(home4: IPv4HomeAddress | IPv4AddressAcknowledgement) -> str:
    whole = home4.prefix_length == 32
    return str(home4.address) if whole else f"{home4.address}/{home4.prefix_length}"


def where(seen: Seen) -> tuple[Address, str]:
    """Return the care-of address that a packet shows, and how it came, in words."""
    outer = seen.outer
    if outer is None:
        return seen.source, "on its home link"
    if outer.kind.startswith("udp"):
        return outer.source, f"UDP port {outer.source_port}"
    return outer.source, {"ip6": "IPv6", "ip4": "IP in IPv4"}[outer.kind]
