# SPDX-License-Identifier: GPL-2.0-only
"""Keys from the IKEv2 engine in this process (RFC 3776, 4877, 5555 section 5)."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network
from typing import Any, Final, Protocol

from ..ikev2.config import AddressRequest, Assignment, ChildConfig, Connection, HomePrefix
from ..ikev2.effects import (
    Assigned,
    ChildFailed,
    ChildSa,
    DownCause,
    IkeDown,
    IkeMoved,
    IkeUp,
    MoveChild,
    Redirected,
)
from ..ikev2.errors import RemoteError
from ..ikev2.identity import Identity
from ..ikev2.numbers import NotifyType
from ..ipsec.association import Association
from ..ipsec.policy import Ends, Kind, Place, Role
from ..mobility.ownership import NotOwned
from ..mobility.ownership import Owner as Possessor
from ..mobility.registration import is_routable
from ..packet.careof import CareOf
from ..packet.kernel import Address
from . import ike_build
from .ike import RETRY_FIRST, RETRY_MOST, IkeRuntime
from .ike_config import IkeSection, Manager, Movement
from .keys import Guard, Key, SecurityDatabase, member_document
from .members import Member

log = logging.getLogger(__name__)

#: Prefix length of a home address in a configuration payload, when its prefix is not known.
_HOST: Final = 128
#: Ends of IKE SAs, or attempts, that say something about the home agent.
_FAILURES: Final = frozenset((DownCause.REFUSED, DownCause.FAILED, DownCause.UNREACHABLE))


class AddressBook(Protocol):
    """The home agent's engine as far as home addresses go; it decides, not IKE."""

    def give(self, identity: str, wanted: IPv6Address | None) -> Possessor:
        """Return an identity with its home address. Raises ``NotOwned``."""

    def home_prefix(self, home_address: IPv6Address) -> IPv6Network | None:
        """Return the home prefix that an address is in."""

    def name_servers(self) -> tuple[IPv6Address, ...]:
        """Return the recursive name servers that routers are told of."""


class Witness(Protocol):
    """Who wants to know how a mobile router fares with its home agent."""

    def keys_up(self) -> None:
        """Both ends have authenticated."""

    def keys_failed(self, reason: str, refused: bool) -> None:
        """There are no keys; ``refused``: authentication failed at an end."""

    def home_prefix(self, prefix: IPv6Network) -> None:
        """The home agent told the home prefix (RFC 5026 section 5.3.2)."""


class HomeAgents(Protocol):
    """The home agents of this host's router; it decides which one it uses."""

    def has_other_agents(self) -> bool:
        """Whether there is one to go to beside the one in use."""

    def follow(self, gateways: Sequence[Address]) -> bool:
        """Go to the one that has one of these addresses; False when it is not known."""


class Ikev2Keys(Guard):
    """Members keyed by IKEv2, and their connections.

    A connection has the name of the other end: the home agent's identity at the
    router, the router's at the home agent.
    """

    manager = Manager.IKEV2

    def __init__(
        self,
        database: SecurityDatabase,
        runtime: IkeRuntime,
        ike: IkeSection,
        loop: asyncio.AbstractEventLoop,
        source_of: Callable[[Address], Address | None],
    ) -> None:
        super().__init__(database)
        self._runtime = runtime
        self._ike = ike
        self._loop = loop
        self._source_of = source_of
        self.book: AddressBook | None = None
        self.ready: Callable[[IPv6Address], None] = _nobody
        self.brought: Callable[[IPv6Address], None] = _nobody
        self.name_servers: Callable[[tuple[IPv6Address, ...]], None] = lambda servers: None
        self.witness: Witness | None = None
        self.agents: HomeAgents | None = None
        self._sent_by: Address | None = None
        self._by_name: dict[str, list[Member]] = {}
        self._names: dict[str, str] = {}
        self._built: dict[str, Connection] = {}
        self._adopted = False
        self._ends: dict[str, tuple[Address, Address]] = {}
        self._waits: dict[str, float] = {}
        self._retries: dict[str, asyncio.TimerHandle] = {}
        runtime.add_owner(self)

    # --- what there shall be

    def reconfigure(self, ike: IkeSection) -> None:
        """Use other general settings from the next authentication on."""
        self._ike = ike
        self._built.clear()

    def take(self, wanted: dict[Key, Member]) -> None:
        """Take the complete list of members; live IKE SAs of those that stay are kept."""
        given = {
            key: member.mobile.home_address for key, member in self.members.items() if member.known
        }
        for key, member in wanted.items():
            if not member.known and key in given:
                wanted[key] = member.with_home_address(given[key])
        before = dict(self._by_name)
        super().take(wanted)
        if not self._adopted:
            self._adopted = True
            self._adopt()
        self._built.clear()
        gone = before.keys() - self._by_name.keys()
        if gone or any(_plans(before[n]) != _plans(self._by_name[n]) for n in before):
            # Who was shut out, or has another secret, must not come in by a ticket.
            self._runtime.void_tickets()
        for name in gone:
            self._forget(name)
        for name, found in self._by_name.items():
            if name in before and _agents(before[name]) != _agents(found):
                self._forget(name)
            changed = name in before and _plans(before[name]) != _plans(found)
            if changed and self._runtime.connected(name):
                self._runtime.configure(self._connection(name))

    def _index(self) -> None:
        super()._index()
        by_name: dict[str, list[Member]] = defaultdict(list)
        for member in self.members.values():
            by_name[_name(member)].append(member)
        self._by_name = dict(by_name)
        self._names = {_spelling(Identity.parse(name)): name for name in self._by_name}

    def _forget(self, name: str) -> None:
        ike = self._runtime.up(name)
        if ike is not None:
            self._runtime.terminate(ike)
        if self._runtime.connected(name):
            # What is only being made must not come up when nobody wants it any more.
            for view in self._runtime.views():
                if view.connection == name and view.id != ike:
                    self._runtime.terminate(view.id)
        self._stop_retry(name)
        self._ends.pop(name, None)
        self._waits.pop(name, None)

    def held(self, member: Member) -> Iterable[Association]:
        return self._runtime.table.held(row.reqid for row in member.rows)

    def _adopt(self) -> None:
        """Take over the associations of a former daemon."""
        reqids = frozenset(self.by_reqid)
        if not reqids:
            return
        mine = [one for one in self._database.associations(reqids) if one.reqid in reqids]
        if self._runtime.table.adopt(mine):
            log.info("took over %d security associations", len(mine))

    def _connection(self, name: str) -> Connection:
        found = self._built.get(name)
        if found is None:
            found = self._built[name] = self._build(name)
        return found

    def _build(self, name: str, assigned: bool = False) -> Connection:
        members = self._by_name[name]
        first = members[0]
        mobile = first.role is Role.MOBILE_ROUTER
        asks = mobile and first.row.asks
        return ike_build.connection(
            name,
            first.row.plan,
            self._ike,
            self._children(members, asking=asks and not assigned),
            mobile=mobile,
            wish=first.mobile.home_address if first.known else None,
            ask=asks,
            redirects=mobile and self.agents is not None and self.agents.has_other_agents(),
            addresses=() if mobile else _own_addresses(first),
        )

    def _children(self, members: Iterable[Member], asking: bool = False) -> list[ChildConfig]:
        found: list[ChildConfig] = []
        for number, member in enumerate(members, 1):
            mobile = member.role is Role.MOBILE_ROUTER
            if not (mobile or member.known):
                continue
            rows = member.rows
            if asking:
                # With the address that comes; the others follow when it is there.
                anonymous = member.with_home_address(IPv6Address(0))
                rows = tuple(row for row in anonymous.rows if row.kind is Kind.SIGNALLING)
            for row in rows:
                child = ike_build.child_of_row(row, self._ike, mobile=mobile, dynamic=asking)
                found.append(child if number == 1 else _numbered(child, number))
        return found

    # --- the runtime asks

    def owns(self, connection: str) -> bool:
        return connection in self._by_name

    def find(self, own: Identity | None, peer: Identity) -> Connection | None:
        name = self._names.get(_spelling(peer))
        if name is None:
            return None
        connection = self._connection(name)
        if own is not None and not own.matches(connection.local):
            return None
        return connection

    def assign(
        self, connection: Connection, peer: Identity, request: AddressRequest
    ) -> Assignment | None:
        """Let the home agent's engine decide about a home address (RFC 5026 section 9.2)."""
        members = self._by_name.get(connection.name, [])
        if self.book is None or not members or members[0].role is not Role.HOME_AGENT:
            return None
        wanted = next((address for address in request.addresses6 if address is not None), None)
        try:
            possessor = self.book.give(members[0].row.plan.identity, wanted)
        except NotOwned as error:
            raise RemoteError(str(error), NotifyType.INTERNAL_ADDRESS_FAILURE) from None
        home = possessor.home_address
        for member in members:
            if member.mobile.home_address != home:
                self._rename(member, home)
        prefix = self.book.home_prefix(home)
        length = _HOST if prefix is None else prefix.prefixlen
        with_prefix = request.home_prefix and prefix is not None
        return Assignment(
            addresses6=((home, length),) if request.addresses6 or with_prefix else (),
            dns6=self.book.name_servers() if request.dns6 else (),
            home_prefix=HomePrefix(prefix) if with_prefix and prefix is not None else None,
            use_assigned=bool(with_prefix),
            children=tuple(self._children(self._by_name[connection.name])),
        )

    def _rename(self, member: Member, home_address: IPv6Address) -> Member:
        """Give a member its home address."""
        key = next(key for key, other in self.members.items() if other is member)
        if member.active:
            for policy in member.policies():
                self._database.remove_policy(policy)
        renamed = member.with_home_address(home_address)
        self.members[key] = renamed
        self._index()
        self._built.pop(_name(member), None)
        if renamed.active:
            for policy in renamed.policies():
                self._database.put_policy(policy)
        return renamed

    # --- the runtime tells

    def up(self, effect: IkeUp) -> None:
        self._waits.pop(effect.connection, None)
        self._stop_retry(effect.connection)
        self._testify(effect.connection, lambda witness: witness.keys_up())
        for member in self._by_name[effect.connection]:
            if member.role is Role.HOME_AGENT and member.known:
                # RFC 4877 section 7.2: who has been authenticated gets policies.
                self.activate(member)

    def down(self, effect: IkeDown) -> None:
        name = effect.connection
        if name in self._ends and not self._runtime.connected(name):
            wait = self._waits.get(name, RETRY_FIRST)
            self._waits[name] = min(wait * 2, RETRY_MOST)
            self._stop_retry(name)
            self._retries[name] = self._loop.call_later(wait, self._begin, name)

        if effect.cause in _FAILURES and not self._runtime.connected(name):
            refused = effect.cause is DownCause.FAILED or (
                effect.cause is DownCause.REFUSED
                and effect.notify == NotifyType.AUTHENTICATION_FAILED
            )
            self._testify(name, lambda witness: witness.keys_failed(effect.reason, refused))

    def _testify(self, name: str, tell: Callable[[Witness], None]) -> None:
        """Let the witness know, when it is about this router's own connection."""
        members = self._by_name.get(name, [])
        if self.witness is not None and members and members[0].role is Role.MOBILE_ROUTER:
            # Not at once: IKE is in the middle of something.
            self._loop.call_soon(tell, self.witness)

    def ends_changed(self, effect: IkeMoved) -> None:
        """Child SAs tell for themselves."""

    def assigned(self, effect: Assigned) -> None:
        """Take the home address that the home agent gave (RFC 4877 section 9)."""
        given = effect.assignment.addresses6
        members = self._by_name[effect.connection]
        if not effect.initiator or not given or not members[0].row.asks:
            return
        home, length = given[0]
        prefix = IPv6Network((home, length), strict=False) if length < _HOST else None
        if effect.assignment.home_prefix is not None:
            prefix = effect.assignment.home_prefix.prefix
        problem = _unfit(home, prefix, members[0].mobile.agent)
        if problem:
            self._refuse_address(effect, problem)
            return
        if prefix is not None:
            told = prefix
            self._testify(effect.connection, lambda witness: witness.home_prefix(told))
        self._loop.call_soon(self.name_servers, effect.assignment.dns6)
        if members[0].mobile.home_address != home:
            self._rename(members[0], home)
            self._loop.call_soon(lambda: self.brought(home))
        self._built[effect.connection] = self._build(effect.connection, assigned=True)
        self._loop.call_soon(self._runtime.configure, self._built[effect.connection])
        # The next connection asks again: addresses are for as long as IKE SAs live.
        self._loop.call_soon(self._built.pop, effect.connection, None)

    def another_address(self, home_address: IPv6Address) -> None:
        """Ask for another home address in place of one that is of no use (RFC 5026 5.3.2)."""
        for member in list(self._by_home.get(home_address, ())):
            if member.role is not Role.MOBILE_ROUTER or not member.row.asks:
                continue
            log.warning("%s: another node uses %s, asking for another", member.name, home_address)
            self._rename(member, IPv6Address(0))
            ike = self._runtime.up(_name(member))
            if ike is not None:
                self._runtime.terminate(ike)

    def _refuse_address(self, effect: Assigned, problem: str) -> None:
        """End an IKE SA of which nothing good can come; it is tried again later."""
        log.error("%s: the home agent gives no usable home address: %s", effect.connection, problem)
        self._testify(effect.connection, lambda witness: witness.keys_failed(problem, False))

        def end() -> None:
            if self._runtime.up(effect.connection) == effect.ike:
                self._runtime.terminate(effect.ike)

        self._loop.call_soon(end)

    def child_added(self, child: ChildSa) -> None:
        member, kind = self._row(child)
        if member is None:
            return
        self._ports(member, child)
        if kind is Kind.SIGNALLING and member.role is Role.MOBILE_ROUTER:
            self._loop.call_soon(lambda: self.ready(member.mobile.home_address))

    def child_moved(self, effect: MoveChild) -> None:
        child = effect.child
        member, _ = self._row(child)
        if member is None:
            return
        place = self._place_of(member, child)
        if child.fixed:
            return
        if isinstance(member.place, Ends) or member.role is Role.MOBILE_ROUTER:
            self.settle(member, place)
        self._runtime.table.settle(child)

    def child_failed(self, effect: ChildFailed) -> None:
        """The engine tries again; the runtime has said it."""
        if effect.connection in self._by_name:
            reason = f"no {effect.name}: {effect.reason}"
            self._testify(effect.connection, lambda w: w.keys_failed(reason, False))

    def redirected(self, effect: Redirected, gateways: Sequence[Address]) -> bool:
        """Let the router go to a home agent that it knows, and to no other."""
        members = self._by_name.get(effect.connection, [])
        if self.agents is None or not members or members[0].role is not Role.MOBILE_ROUTER:
            return False
        self._sent_by = effect.redirected_from
        if not self.agents.follow(gateways):
            self._sent_by = None
        return self._sent_by is not None

    def _row(self, child: ChildSa) -> tuple[Member | None, Kind | None]:
        found = self.by_reqid.get(child.reqid)
        return (None, None) if found is None else (found[0], found[1].kind)

    def _place_of(self, member: Member, child: ChildSa) -> Ends:
        ends = child.ends
        if member.role is Role.MOBILE_ROUTER:
            return Ends(ends.local, ends.remote, ends.encapsulation)
        ports = ends.encapsulation
        return Ends(ends.remote, ends.local, None if ports is None else ports[::-1])

    def _ports(self, member: Member, child: ChildSa) -> None:
        """Take UDP ports of a child between the addresses where its row is already."""
        place = member.place
        if child.fixed or not isinstance(place, Ends):
            return
        found = self._place_of(member, child)
        if (found.router, found.agent) == (place.router, place.agent):
            self.settle(member, found)

    # --- movement

    def moved(
        self, home_address: IPv6Address, new: CareOf | None, at_home: bool, follow: bool = True
    ) -> list[Member]:
        """Let IKE and child SAs go along, or begin from the first care-of address."""
        found = self._by_home.get(home_address, [])
        for member in found:
            member.told = True
        # One IKE SA with a home agent, whatever addresses it has, and with a correspondent.
        for member in {_name(one): one for one in reversed(found)}.values():
            self._move_ike(member, new, at_home, follow or member.row.plan.everything)
        for member in list(self._by_home.get(home_address, ())):
            self.settle(member, self._with_ports(member, member.place_at(new, at_home)))
        return found

    def _move_ike(self, member: Member, new: CareOf | None, at_home: bool, follow: bool) -> None:
        name = _name(member)
        mobile = member.role is Role.MOBILE_ROUTER
        router: Address | None = None
        if new is not None:
            router = new.address
        elif at_home:
            router = member.mobile.home_address if member.known else None
            router = router or self._source_of(member.mobile.agent)
        if router is None or member.agent_for(router).is_unspecified:
            # Nobody knows where it is: IKE stays where it was.
            self._ends.pop(name, None)
            self._stop_retry(name)
            return
        agent = member.agent_for(router)
        ends = (router, agent) if mobile else (agent, router)
        before = self._ends.get(name)
        self._ends[name] = ends
        ike = self._runtime.up(name)
        mobike = member.row.plan.movement is Movement.MOBIKE
        if ike is not None and follow:
            if mobile or not mobike:
                self._runtime.moved(name, *ends)
        elif mobile:
            self._waits.pop(name, None)
            if follow and before not in (None, ends) and self._runtime.connected(name):
                # One that is being made goes along, instead of another one from here.
                self._stop_retry(name)
                self._runtime.moved(name, *ends)
            else:
                self._begin(name)
        elif ike is not None:
            # RFC 4877 section 7.4: the router makes a new one from where it is now.
            log.info("%s: IKE does not follow", name)

    def _with_ports(self, member: Member, place: Place) -> Place:
        """Complete a place by what IKE found out about NAT between these addresses."""
        if not isinstance(place, Ends):
            return place
        for row in member.rows:
            for pair in self._runtime.table.pairs(row.reqid) if row.moves else ():
                found = self._place_of(member, pair.child)
                if (found.router, found.agent) == (place.router, place.agent):
                    return found
        return place

    def settle(self, member: Member, place: Place) -> None:
        old = member.place
        super().settle(member, place)
        if old == place:
            return
        before = old if isinstance(old, Ends) else None
        after = place if isinstance(place, Ends) else None
        for row in member.rows:
            if not row.moves:
                continue
            was, now = row.ends(before), row.ends(after)

            def relocated(one: Association, was: Ends = was, now: Ends = now) -> Association:
                for towards_agent in (True, False):
                    if one.destination == was.pair(towards_agent)[1]:
                        return one.at(now.pair(towards_agent), now.encapsulation(towards_agent))
                return one

            self._runtime.table.relocate(row.reqid, relocated)

    # --- starting

    def _begin(self, name: str) -> None:
        """Start IKE between the ends of a connection, as far as they are known."""
        self._stop_retry(name)
        ends = self._ends.get(name)
        if ends is None or name not in self._by_name:
            return
        if any(end.is_unspecified for end in ends):
            log.warning("%s: the home agent has no address in this family", name)
            return
        sender, self._sent_by = self._sent_by, None
        origin = sender if sender not in ends else None
        self._runtime.initiate(self._connection(name), *ends, redirected_from=origin)

    def _stop_retry(self, name: str) -> None:
        handle = self._retries.pop(name, None)
        if handle is not None:
            handle.cancel()

    def start(self, connection: str, child: str | None = None) -> None:
        """Start a connection anew, or a child; ``LookupError`` when nobody knows where to."""
        if connection not in self._ends:
            raise LookupError(f"where {connection} is now is not known")
        if child is None:
            self._begin(connection)
        elif self._connection(connection).child(child) is None:
            raise LookupError(f'{connection} has no child SA "{child}"')
        elif self._runtime.up(connection) is None:
            self._begin(connection)
        else:
            self._runtime.acquire(connection, child)

    def acquired(self, reqid: int) -> bool:
        """Make the child SA that the kernel misses; False when it is not ours."""
        found = self.by_reqid.get(reqid)
        if found is None:
            return False
        member, row = found
        self._acquire(_name(member), ike_build.child_name(row))
        return True

    def _acquire(self, name: str, child: str) -> None:
        if self._runtime.up(name) is not None:
            self._runtime.acquire(name, child)
        elif name not in self._retries and not self._runtime.connected(name):
            self._begin(name)

    # --- the rest

    def documents(self) -> Iterator[dict[str, Any]]:
        for name, members in self._by_name.items():
            for member in members:
                document = member_document(member, self.manager)
                document["connection"] = name
                document["connected"] = self._runtime.up(name) is not None
                yield document

    def stop(self, keep: bool) -> None:
        for name in list(self._retries):
            self._stop_retry(name)


def _nobody(_address: IPv6Address) -> None:
    """Nobody is interested."""


def _name(member: Member) -> str:
    plan = member.row.plan
    return plan.agent_identity if member.role is Role.MOBILE_ROUTER else plan.identity


def _spelling(identity: Identity) -> str:
    return str(identity).lower().rstrip(".")


def _unfit(home: IPv6Address, prefix: IPv6Network | None, agent: IPv6Address) -> str:
    """Return why an address cannot be a home address, "" when it can."""
    if not is_routable(home) or home == agent:
        return f"{home} is no home address"
    if prefix is not None and (prefix.prefixlen == 0 or home not in prefix):
        return f"{home} is outside the home prefix {prefix}"
    return ""


def _agents(members: Iterable[Member]) -> set[IPv6Address]:
    return {m.mobile.agent for m in members if m.role is Role.MOBILE_ROUTER}


def _plans(members: Iterable[Member]) -> list[object]:
    return [(member.row.plan, member.mobile, member.row.agent4) for member in members]


def _own_addresses(member: Member) -> list[Address]:
    """Return the addresses of the home agent."""
    agent4 = member.row.agent4
    return [member.mobile.agent, *([] if agent4 is None else [agent4])]


def _numbered(child: ChildConfig, number: int) -> ChildConfig:
    return replace(child, name=f"{child.name}-{number}")
