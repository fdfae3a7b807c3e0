# SPDX-License-Identifier: GPL-2.0-only
"""What a home agent does about several care-of addresses of a binding (RFC 5648)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv6Address

from ..packet.flows import FlowIdentification
from ..packet.mobility import (
    BindingAcknowledgement,
    BindingRefreshRequest,
    BindingUpdate,
    Heartbeat,
)
from ..packet.options import BindingIdentifier, Option
from ..packet.status import BindingAckStatus
from . import agent_home, flow_bindings, identifiers, registration
from .binding_cache import BoundPath, Entry, to_kernel
from .config import HomeAgentConfig
from .effects import (
    Count,
    Effect,
    FlowRule,
    Network,
    Note,
    PutBinding,
    PutFlows,
    Received,
    SendMessage,
)
from .home_link import defend
from .home_prefix import limited
from .ownership import Owner, Ownership
from .registration import Refused
from .strangers import sender, shown


class AgentPaths(ABC):
    """The part of the engine that knows BIDs."""

    _config: HomeAgentConfig
    _ownership: Ownership
    _entries: dict[IPv6Address, Entry]

    def _register_some(
        self, owner: Owner, update: BindingUpdate, received: Received, now: float
    ) -> list[Effect]:
        """Register care-of addresses by BID (RFC 5648 section 6.2)."""
        config, before = (
            limited(self._config, owner.home_address, now),
            self._entries.get(owner.home_address),
        )
        known = before.paths if before and before.several and not update.overwrite else {}
        verdicts = identifiers.judge(config, owner, update, received, known, now)
        verdicts += self._judge_home(config, owner, update, now)
        notes: list[Effect] = [
            Note("warning", f"{sender(received)}: status {int(v.status)}, {v.reason}")
            for v in verdicts
            if v.refused
        ]
        fresh = {verdict.path.bid: verdict.path for verdict in verdicts if verdict.path}
        home = next((verdict.home for verdict in verdicts if verdict.home), None)
        if home is not None:
            known = {bid: path for bid, path in known.items() if bid != home.bid}
        if not fresh and not (home and known):
            if home is not None:
                # RFC 5648 section 5.6 is about both at once; home alone is no binding at all.
                what = BindingAckStatus.MCOA_HOME_AND_FOREIGN_PROHIBITED
                raise Refused(what, "it has no care-of address besides")
            raise Refused(BindingAckStatus(identifiers.overall(verdicts)), verdicts[0].reason)
        paths = {**known, **fresh}
        networks = registration.judge_networks(
            self._ownership, owner, update, [path.care_of.address for path in paths.values()]
        )
        entry = self._entry(owner, update, received, paths, networks, now)
        # Without the H flag in an update the home link is not used any more.
        entry.home = home
        flows_before = before.flows if before and before.several else {}
        entry.flows, flow_answers = flow_bindings.take(
            flows_before, update, set(paths), config.flows, config.copies
        )
        notes += flow_notes(entry, flow_answers)
        answer = registration.acknowledge_paths(
            update,
            self._overall(verdicts),
            registration.granted(config, update),
            (
                *networks.answers4,
                *identifiers.nat_detection(config, verdicts, received),
                *(verdict.answer for verdict in verdicts),
                *flow_answers,
            ),
            config,
            owner,
        )
        return notes + self._bound(before, entry, answer, update, received, now)

    def _judge_home(
        self, config: HomeAgentConfig, owner: Owner, update: BindingUpdate, now: float
    ) -> list[identifiers.Verdict]:
        option = agent_home.wanted(update)
        if option is None:
            return []
        before = self._entries.get(owner.home_address)
        try:
            home = agent_home.judge(config, owner, update, option, before, now)
        except Refused as refused:
            return [identifiers.Verdict(option, None, refused.status, str(refused))]
        return [identifiers.Verdict(option, home=home)]

    def _overall(self, verdicts: list[identifiers.Verdict]) -> int:
        status = identifiers.overall(verdicts)
        silent = any(verdict.home for verdict in verdicts) and not self._config.only_router
        if status == BindingAckStatus.ACCEPTED and silent:
            return BindingAckStatus.MCOA_RETURN_HOME_WITHOUT_NDP
        return status

    def _entry(
        self,
        owner: Owner,
        update: BindingUpdate,
        received: Received,
        paths: dict[int, BoundPath],
        networks: registration.NetworkTerms,
        now: float,
    ) -> Entry:
        before = self._entries.get(owner.home_address)
        return Entry(
            owner=owner,
            local6=received.destination,
            paths=paths,
            sequence=update.sequence,
            registered=before.registered if before else now,
            updated=now,
            mobile_router=update.mobile_router,
            link_local=before.link_local if before else update.link_local,
            home_address4=networks.home_address4,
            prefixes=networks.prefixes,
        )

    def _deregister_some(
        self,
        entry: Entry | None,
        wanted: list[BindingIdentifier],
        update: BindingUpdate,
        received: Received,
        now: float,
    ) -> list[Effect]:
        """Remove care-of addresses by BID; the last one takes the binding with it."""
        known = entry.paths if entry is not None and entry.several else {}
        leaves = entry.home if entry is not None else None
        verdicts = [
            identifiers.Verdict(option, known.get(option.bid))
            if option.bid in known
            else identifiers.Verdict(option, home=leaves)
            if leaves is not None and leaves.bid == option.bid
            else identifiers.Verdict(option, None, BindingAckStatus.NOT_HOME_AGENT)
            for option in wanted
        ]
        gone = [verdict.option.bid for verdict in verdicts if verdict.path]
        if entry is None or all(verdict.refused for verdict in verdicts):
            raise Refused(BindingAckStatus.NOT_HOME_AGENT, "there is no such BID to remove")
        answer = SendMessage(
            registration.acknowledge_removal(
                update,
                entry.home_address4,
                identifiers.overall(verdicts),
                [verdict.answer for verdict in verdicts],
            ),
            received.destination,
            received.source,
            received.care_of,
            received.interface,
        )
        entry.sequence = update.sequence
        home = any(verdict.home for verdict in verdicts)
        names = ", ".join(str(v.option.bid) for v in verdicts if not v.refused)
        if len(gone) == len(known):
            removed = self._remove(entry, now, f"{entry.name}: de-registered with BID {names}")
        else:
            why = f"{entry.name}: BID {names} de-registered"
            removed = self._without(entry, gone, now, why, home)
        return [*removed, answer, Count("bu_deregistered")]

    def _expire(self, entry: Entry, now: float) -> list[Effect]:
        over = [path.bid for path in entry.paths.values() if path.expires <= now]
        home = entry.home is not None and entry.home.expires <= now
        if len(over) == len(entry.paths):
            return self._remove(entry, now, f"{entry.name}: lifetime ended")
        gone = [*over, *([entry.home.bid] if entry.home and home else [])]
        names = ", ".join(str(bid) for bid in gone)
        why = f"{entry.name}: lifetime of BID {names} ended"
        return self._without(entry, over, now, why, home)

    def _without(
        self, entry: Entry, bids: list[int], now: float, why: str, home: bool = False
    ) -> list[Effect]:
        before = replace(entry, paths=dict(entry.paths))
        for bid in bids:
            del entry.paths[bid]
        if home:
            entry.home = None
        effects: list[Effect] = [
            *agent_home.changed(self._config, before, entry),
            PutBinding(to_kernel(entry, self._config.address4, now)),
            Note("info", why),
        ]
        effects += flows_changed(rules_of(before), entry, entry)
        effects += defend(self._config, before, entry)
        return effects + agent_home.moved(before, entry, keys_follow=True)

    def _heartbeat(self, message: Heartbeat, received: Received) -> list[Effect]:
        """Answer by the path that it came by: so a router sees how its paths are."""
        if not received.protected or message.response:
            return [Count("heartbeat_ignored")]
        if self._ownership.find(received.source) is None:
            return [Count("heartbeat_ignored")]
        answer = Heartbeat(message.sequence, response=True)
        return [
            Count("heartbeat"),
            SendMessage(
                answer,
                received.destination,
                received.source,
                received.care_of,
                received.interface,
            ),
        ]

    # --- what the engine has

    @abstractmethod
    def _bound(
        self,
        before: Entry | None,
        entry: Entry,
        answer: BindingAcknowledgement,
        update: BindingUpdate,
        received: Received,
        now: float,
    ) -> list[Effect]: ...

    @abstractmethod
    def _remove(
        self, entry: Entry, now: float, why: str, at_home: bool = False
    ) -> list[Effect]: ...


Networks = tuple[Network, ...]


def rules_of(entry: Entry | None) -> tuple[Networks, tuple[FlowRule, ...]]:
    """Return the flow rules of a binding and what they are about."""
    if entry is None or not entry.flows:
        return (), ()
    return entry.networks, flow_bindings.rules(entry.flows.values(), entry.paths)


def flows_changed(
    before: tuple[Networks, tuple[FlowRule, ...]], old: Entry, entry: Entry | None
) -> list[Effect]:
    """Return what makes the flow rules those of the entry; None: it is gone."""
    after = rules_of(entry)
    return [] if after == before else [PutFlows(old.home_address, *after)]


def ask_for_flows(entry: Entry) -> Effect:
    """Ask a router for an update: after a restart only it knows its flow bindings."""
    return SendMessage(
        BindingRefreshRequest(), entry.local6, entry.home_address, entry.preferred.reach
    )


def flow_notes(entry: Entry, answers: Iterable[Option]) -> list[Effect]:
    """Tell of refused flows, for the log."""
    return [
        Note("warning", f"{entry.name}: flow {answer.fid} refused, status {answer.status}")
        for answer in answers
        if isinstance(answer, FlowIdentification) and answer.status >= 128
    ]


def paths_changed(before: Entry, entry: Entry) -> list[Effect]:
    """Tell of further care-of addresses that came or went, for the log."""
    if not entry.several:
        return []
    notes: list[Effect] = []
    for bid, path in entry.paths.items():
        old = before.paths.get(bid)
        if (old is None or old.care_of != path.care_of) and bid != entry.preferred.bid:
            text = f"{entry.name}: BID {bid} is {shown(path.care_of)}"
            notes.append(Note("info", f"{text} by {path.care_of.kind.name.lower()}"))
    return notes
