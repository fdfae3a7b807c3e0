# SPDX-License-Identifier: GPL-2.0-only
"""Flow bindings at both ends (RFC 6089): which flows take which care-of address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from ..packet.flows import (
    FlowIdentification,
    FlowSummary,
    IPv4Selector,
    IPv6Selector,
    OtherSelector,
)
from ..packet.mobility import BindingAcknowledgement, BindingUpdate
from ..packet.options import MalformedOption, Option, find_all
from ..packet.status import FlowStatus
from .effects import FlowRule
from .flow_config import Flow
from .router_view import FlowView

#: Flow bindings that a home agent keeps for one home address.
FLOWS_MAX: Final = 64
_SUMMARY_MAX: Final = 127
#: New flows in one update: with the largest selectors it still fits a path's MTU.
_NEW_MAX: Final = 8
_REMEMBERED: Final = 16


@dataclass(frozen=True, slots=True)
class FlowBinding:
    """A flow binding; with several ``bids`` each has its weight, or both get a copy."""

    fid: int
    priority: int
    selector: IPv4Selector | IPv6Selector
    bids: tuple[int, ...]
    weights: tuple[int, ...] = ()

    @property
    def copies(self) -> bool:
        """Whether each packet goes by more than one of them."""
        return len(self.bids) > 1 and not self.weights


def rules(flows: Iterable[FlowBinding], bids: Collection[int]) -> tuple[FlowRule, ...]:
    """Return what is in force: flows with a care-of address left, by priority.

    The others are inactive, and come back with their care-of addresses (section 4.3).
    """
    found = []
    for flow in sorted(flows, key=lambda flow: flow.priority):
        weights = dict(zip(flow.bids, flow.weights, strict=False))
        left = tuple(bid for bid in flow.bids if bid in bids)
        if left:
            shares = tuple(weights[bid] for bid in left) if weights else ()
            found.append(FlowRule(flow.selector, left, shares))
    return tuple(found)


# --- home agent ------------------------------------------------------------------


def take(
    known: Mapping[int, FlowBinding],
    update: BindingUpdate,
    bids: Collection[int],
    allowed: bool = True,
    copies: bool = False,
) -> tuple[dict[int, FlowBinding], list[Option]]:
    """Return the flow bindings after an update, and the options of the answer.

    ``bids`` are those of the binding after this update (section 5.3.1). What it
    does not name is removed (section 5.3.4).
    """
    asked = find_all(update.options, FlowIdentification)
    broken = [
        option
        for option in update.options
        if isinstance(option, MalformedOption) and option.type == FlowIdentification.TYPE
    ]
    answers: list[Option] = [
        FlowIdentification(int.from_bytes(option.data[:2], "big"), 0, FlowStatus.MALFORMED)
        for option in broken
    ]
    kept: dict[int, FlowBinding] = {}
    for summary in find_all(update.options, FlowSummary):
        for fid in summary.fids:
            if fid in known:
                kept[fid] = known[fid]
            else:
                answers.append(FlowIdentification(fid, 0, FlowStatus.FID_NOT_FOUND))
    counts = Counter(option.fid for option in asked)
    for option in asked:
        if not allowed:
            status = FlowStatus.PROHIBITED
        elif max(counts.values()) > 1:
            # Section 5.3.2: the same FID twice, and none of them counts.
            status = FlowStatus.REJECTED
        else:
            status = _judge(option, known, kept, bids, copies)
        if status is not FlowStatus.SUCCESS and option.fid in known and allowed:
            kept.setdefault(option.fid, known[option.fid])
        answers.append(FlowIdentification(option.fid, option.priority, status))
    return kept, answers


def _judge(
    option: FlowIdentification,
    known: Mapping[int, FlowBinding],
    kept: dict[int, FlowBinding],
    bids: Collection[int],
    copies: bool,
) -> FlowStatus:
    """Put the flow into ``kept`` if it can be (sections 5.3.2.1 and 5.3.2.2)."""
    before = known.get(option.fid)
    selector = option.selector or (before.selector if before else None)
    references = option.references or (before.bids if before else ())
    if not option.fid or not option.priority or selector is None or not references:
        return FlowStatus.MALFORMED
    if isinstance(selector, OtherSelector):
        return FlowStatus.SELECTOR_NOT_SUPPORTED
    if not _in_order(selector) or len(set(references)) != len(references):
        return FlowStatus.MALFORMED
    weights: tuple[int, ...] = ()
    if option.spread:
        references = tuple(bid for bid, _weight in option.spread)
        weights = tuple(weight for _bid, weight in option.spread)
        if not all(weights) or len(set(references)) != len(references):
            return FlowStatus.MALFORMED
    elif not option.references and before is not None:
        weights = before.weights
    if not weights and len(references) > (2 if copies else 1):
        # Section 5.3.6 wants a copy for each; more than we make is refused (5.3.5).
        return FlowStatus.PROHIBITED
    # What is not said anew may be inactive; what is said must be there.
    named = option.references or option.spread
    if named and not set(references) <= set(bids):
        return FlowStatus.BID_NOT_FOUND
    others = [flow for fid, flow in kept.items() if fid != option.fid]
    if any(flow.priority == option.priority for flow in others):
        return FlowStatus.REJECTED
    if option.fid not in kept and len(kept) >= FLOWS_MAX:
        return FlowStatus.PROHIBITED
    kept[option.fid] = FlowBinding(option.fid, option.priority, selector, references, weights)
    return FlowStatus.SUCCESS


def _in_order(selector: IPv4Selector | IPv6Selector) -> bool:
    for name in type(selector).__dataclass_fields__:
        if name.endswith("_end"):
            start, end = getattr(selector, name[:-4] + "_start"), getattr(selector, name)
            if end is not None and end < start:
                return False
    return True


# --- mobile router ---------------------------------------------------------------


class FlowList:
    """The flow bindings of a mobile router, and what its home agent knows of them."""

    def __init__(self, flows: Iterable[Flow] = ()) -> None:
        self._flows: list[tuple[int, int, Flow, IPv4Selector | IPv6Selector]] = []
        self._told: dict[int, FlowBinding] = {}
        self._sent: dict[int, dict[int, FlowBinding]] = {}
        #: Whether the home agent answers for flows at all (section 5.2.6).
        self.supported = True
        #: Why flows are not in force there, by name.
        self.problems: dict[str, str] = {}
        self._refused: dict[int, FlowBinding] = {}
        self.configure(flows)

    def configure(self, flows: Iterable[Flow]) -> None:
        """Use other flows from now on; a FID stands for the place in the list and the family."""
        found = []
        for place, flow in enumerate(flows):
            for selector in flow.selectors:
                family = 1 if isinstance(selector, IPv6Selector) else 2
                found.append((flow.priority, 2 * place + family, flow, selector))
        found.sort(key=lambda row: row[:2])
        self.problems.clear()
        self._refused.clear()
        self._flows = [
            (fid, order, flow, selector)
            for order, (_priority, fid, flow, selector) in enumerate(found, 1)
        ]

    def forget(self) -> None:
        """Suppose that the home agent knows none: it is another one, or has started anew."""
        self._told.clear()
        self._sent.clear()
        self._refused.clear()
        self.problems.clear()

    def wanted(self, bid_of: Callable[[str], int | None]) -> dict[int, FlowBinding]:
        """Return the flows that can be bound, given the BID of each uplink that has one."""
        found = {}
        for fid, order, flow, selector in self._flows:
            places = [(bid_of(name), n) for n, name in enumerate(flow.uplinks)]
            bids = [(bid, n) for bid, n in places if bid is not None]
            if not bids:
                continue
            shared = len(bids) > 1 and not flow.copies
            weights = tuple(flow.weights[n] for _bid, n in bids) if shared else ()
            found[fid] = FlowBinding(fid, order, selector, tuple(b for b, _n in bids), weights)
        return found

    def in_force(self, wanted: Mapping[int, FlowBinding]) -> dict[int, FlowBinding]:
        """Return the flows as they are to be here: copies only for who will remove them."""
        return {
            fid: replace(flow, bids=flow.bids[:1])
            if flow.copies and self._told.get(fid) != flow
            else flow
            for fid, flow in wanted.items()
        }

    def options(self, sequence: int, wanted: Mapping[int, FlowBinding]) -> list[Option]:
        """Return what an update says of flows: every one that is to stay (section 5.2)."""
        if not self.supported or not self._flows:
            return []
        told = dict(self._told)
        # One whose care-of address is gone for now stays, inactive.
        ours = {fid for fid, *_ in self._flows}
        changed = [flow for fid, flow in wanted.items() if told.get(fid) != flow]
        # What was refused is tried again, after all else; the rest waits for the next update.
        changed.sort(key=lambda flow: self._refused.get(flow.fid) == flow)
        del changed[_NEW_MAX:]
        self._sent[sequence] = {flow.fid: flow for flow in changed}
        same = [fid for fid in told if fid in ours and fid not in self._sent[sequence]]
        while len(self._sent) > _REMEMBERED:
            del self._sent[next(iter(self._sent))]
        out: list[Option] = [_option(flow, told.get(flow.fid)) for flow in changed]
        for start in range(0, len(same), _SUMMARY_MAX):
            out.append(FlowSummary(tuple(same[start : start + _SUMMARY_MAX])))
        return out

    def answered(self, sequence: int, answer: BindingAcknowledgement) -> bool:
        """Take the statuses of an answer; tell whether there is more to say."""
        sent = self._sent.pop(sequence, None)
        if sent is None or answer.status >= 128:
            return False
        found = {
            option.fid: option.status for option in find_all(answer.options, FlowIdentification)
        }
        names = {fid: flow.name for fid, _order, flow, _selector in self._flows}
        if sent and not set(sent) & set(found):
            self.supported = False
            self.problems = dict.fromkeys(names.values(), "the home agent binds no flows")
            return False
        again = False
        for fid, status in found.items():
            name = names.get(fid, "")
            if status == FlowStatus.FID_NOT_FOUND:
                again = self._told.pop(fid, None) is not None or again
            elif fid in sent and status < 128:
                self._told[fid] = sent[fid]
                self._refused.pop(fid, None)
                self.problems.pop(name, None)
            elif fid in sent:
                self._refused[fid] = sent[fid]
                self.problems[name] = f"the home agent refuses it, status {status}"
        return again

    def stale(self, wanted: Mapping[int, FlowBinding]) -> bool:
        """Whether the home agent is to be told of something."""
        if not self.supported:
            return False
        gone = set(self._told) - {fid for fid, *_ in self._flows}
        return bool(gone) or any(
            flow not in (self._told.get(fid), self._refused.get(fid))
            for fid, flow in wanted.items()
        )

    def shown(self, in_force: Collection[int]) -> tuple[FlowView, ...]:
        """Return each flow for status documents; ``in_force`` are FIDs that have a BID now."""
        found: dict[str, FlowView] = {}
        for fid, _order, flow, _selector in self._flows:
            there = self.supported and fid in self._told
            before = found.get(flow.name)
            found[flow.name] = FlowView(
                flow.name,
                flow.uplinks,
                fid in in_force or bool(before and before.here),
                there or bool(before and before.there),
                self.problems.get(flow.name, ""),
            )
        return tuple(found.values())


def _option(flow: FlowBinding, before: FlowBinding | None) -> FlowIdentification:
    """Return a new flow whole, and of a known one what is different (section 5.2.2)."""
    option = FlowIdentification(
        flow.fid,
        flow.priority,
        selector=flow.selector,
        # Who does not know about spreading would make copies: let it use the first.
        references=flow.bids[:1] if flow.weights else flow.bids,
        spread=tuple(zip(flow.bids, flow.weights, strict=True)) if flow.weights else (),
    )
    if before is None:
        return option
    if before.selector == flow.selector:
        option = replace(option, selector=None)
    if (before.bids, before.weights) == (flow.bids, flow.weights):
        option = replace(option, references=(), spread=())
    return option
