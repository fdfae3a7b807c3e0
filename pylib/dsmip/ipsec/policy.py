# SPDX-License-Identifier: GPL-2.0-only
"""Rows of the security policy database: who talks to whom, protected how.

A row is one line of the table of RFC 3776 section 5.2 and RFC 4877 section 4,
seen from the mobile router; role and place make policies of it. Selectors name
home addresses and prefixes only, so nothing here changes at a handover save the
outer ends of rows in the form of RFC 4877.

What needs protection never passes in clear, since a protecting policy refuses
what comes unprotected and holds back what has no association yet. Where such a
policy cannot be (no care-of address is known), a blocking one stands.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from .association import ICMP6, Address, Encapsulation, Network, SecurityProtocol
from .association import MOBILITY_HEADER as MOBILITY_HEADER
from .association import Association as Association
from .association import DirectionKeys as DirectionKeys
from .association import Mode as Mode
from .association import RowKeys as RowKeys
from .association import Selector as Selector

#: Policy priorities from here on are ours; lower is looked up first.
PRIORITY: Final = 41910000
PRIORITY_RANGE: Final = 1000
#: Request ids from here on are ours, unless the configuration gives others.
REQID: Final = 0x5D000000
REQID_MASK: Final = 0xFF000000
#: Request ids that one mobile router takes up: its first one and one for each kind of row.
REQIDS: Final = 8

#: After what is signalled, before payload.
_BYPASS: Final = PRIORITY + 250
_BLOCK: Final = PRIORITY + 900
#: Before return routability, whose selectors are wider.
_CORRESPONDENT: Final = PRIORITY + 150
_UDP: Final = 17
_IKE_PORTS: Final = (500, 4500)
_TUNNEL_PORT: Final = 4191
_DHCP_SERVER: Final = 547
_HOTI: Final = 1
_PREFIX_SOLICITATION: Final = 146
_PREFIX_ADVERTISEMENT: Final = 147
_NEIGHBOUR_DISCOVERY: Final = range(133, 138)
_ANY6: Final = IPv6Network("::/0")
_ANY4: Final = IPv4Network("0.0.0.0/0")
_LINK_LOCAL: Final[dict[Network, tuple[Network, ...]]] = {
    _ANY6: (IPv6Network("fe80::/10"), IPv6Network("ff02::/16")),
    _ANY4: (
        IPv4Network("169.254.0.0/16"),
        IPv4Network("224.0.0.0/24"),
        IPv4Network("255.255.255.255/32"),
    ),
}


class Role(enum.Enum):
    """Which end of a row this host is."""

    MOBILE_ROUTER = "mobile_router"
    HOME_AGENT = "home_agent"


class Direction(enum.IntEnum):
    """Policy directions with the kernel's numbers."""

    IN = 0
    OUT = 1
    FORWARD = 2


class Action(enum.Enum):
    """What becomes of the packets of a policy."""

    PROTECT = "protect"
    BLOCK = "block"
    BYPASS = "bypass"


class Kind(enum.IntEnum):
    """What a row is for; a row's request id is the router's first one plus this.

    Lower priorities are looked up first where selectors overlap (A to D of RFC 3776
    section 5.2.2).
    """

    SIGNALLING = 0
    PREFIX_DISCOVERY = 1
    RETURN_ROUTABILITY = 2
    PAYLOAD = 3
    DELEGATION = 4

    @property
    def priority(self) -> int:
        """Where its policies stand: delegation is signalling, looked up before payload."""
        return PRIORITY + (150 if self is Kind.DELEGATION else 100 * self)


class Form(enum.Enum):
    """Outer ends of a tunnel row.

    ``INSIDE``: home address and home agent; mip0 carries it like any packet and
    no movement concerns it. ``RFC4877``: care-of address and home agent.
    """

    INSIDE = "inside"
    RFC4877 = "rfc4877"


class Whereabouts(enum.Enum):
    """Where a router is that has no care-of address in use.

    ``HOME``: on the home link, or not registered at all as the home agent sees
    it: tunnel rows are inactive (RFC 3776 section 4.2). ``UNKNOWN``: not yet
    known, as only the router itself can be: tunnel rows block.
    """

    HOME = "home"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Ends:
    """Both ends of the tunnel between a care-of address and a home agent.

    ``ports`` are the UDP ports of router and home agent when ESP goes in UDP
    (RFC 3948), as the host sees them that holds this.
    """

    router: Address
    agent: Address
    ports: tuple[int, int] | None = None

    def pair(self, towards_agent: bool) -> tuple[Address, Address]:
        """Return source and destination of one direction."""
        return (self.router, self.agent) if towards_agent else (self.agent, self.router)

    def encapsulation(self, towards_agent: bool) -> Encapsulation | None:
        """Return the ports of one direction, None for plain ESP."""
        if self.ports is None:
            return None
        return Encapsulation(*(self.ports if towards_agent else self.ports[::-1]))


Place = Ends | Whereabouts


@dataclass(frozen=True, slots=True)
class Template:
    """What a policy demands, or but allows; ``outer`` is None in transport mode."""

    mode: Mode
    reqid: int
    outer: tuple[Address, Address] | None = None
    protocol: SecurityProtocol = SecurityProtocol.ESP
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy. A blocking one may have a template: that of the one it stands for."""

    direction: Direction
    selector: Selector
    priority: int
    action: Action
    template: Template | None = None


@dataclass(frozen=True, slots=True)
class Mobile:
    """A mobile router as one home agent knows it.

    ``prefixes`` are its mobile network prefixes. ``local`` are other networks
    behind it, whose traffic with the protected ones never leaves it. ``reqid``
    is the first of ``REQIDS`` request ids.
    """

    home_address: IPv6Address
    agent: IPv6Address
    reqid: int
    home_address4: IPv4Address | None = None
    prefixes: tuple[Network, ...] = ()
    local: tuple[Network, ...] = ()

    def networks(self) -> tuple[Network, ...]:
        """Return all that has a permanent address: home addresses and prefixes."""
        home: list[Network] = [IPv6Network(self.home_address)]
        if self.home_address4 is not None:
            home.append(IPv4Network(self.home_address4))
        return (*home, *self.prefixes)


@dataclass(frozen=True, slots=True)
class Protection:
    """What is protected between a router and its home agent, and with what.

    ``everything``: the row of signalling takes all between both home addresses along,
    as between a mobile node and a correspondent that share keys.
    """

    signalling: bool = True
    prefix_discovery: bool = False
    return_routability: Form | None = None
    payload: Form | None = None
    protocol: SecurityProtocol = SecurityProtocol.ESP
    delegation: bool = False
    everything: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One protected conversation of a home address, or of a whole mobile network.

    ``home`` is the router's side of the selectors, ``remote`` the other. ``types``
    are the message types towards the home agent and towards the router, None for
    all. ``port`` is the home agent's, None for any. ``form`` is None in transport
    mode.
    """

    kind: Kind
    home_address: IPv6Address
    agent: IPv6Address
    home: tuple[Network, ...]
    remote: tuple[Network, ...]
    protocol: int
    reqid: int
    form: Form | None = None
    types: tuple[int | None, int | None] = (None, None)
    security: SecurityProtocol = SecurityProtocol.ESP
    port: int | None = None

    @property
    def mode(self) -> Mode:
        """The mode of its associations."""
        return Mode.TRANSPORT if self.form is None else Mode.TUNNEL

    @property
    def moves(self) -> bool:
        """Whether its outer ends are those of the path."""
        return self.form is Form.RFC4877

    def selectors(self, towards_agent: bool) -> tuple[Selector, ...]:
        """Return the selectors of one direction, without message types."""
        pairs = [
            (home, remote)
            for home in self.home
            for remote in self.remote
            if home.version == remote.version
        ]
        ports = (None, self.port) if towards_agent else (self.port, None)
        return tuple(
            Selector(*(pair if towards_agent else pair[::-1]), self.protocol, *ports)
            for pair in pairs
        )

    def ends(self, place: Ends | None) -> Ends:
        """Return the outer ends of its associations; ``place`` None is at home."""
        if self.moves and place is not None:
            return place
        return Ends(self.home_address, self.agent)


# --- request ids -----------------------------------------------------------------


def first_reqid(name: str) -> int:
    """Return the request ids' first for a router of this name, the same at each start.

    21 bits of SHA-256 over the name (identity or home address) choose one of
    two million groups of ``REQIDS``. ``Numbering`` keeps those apart that meet.
    """
    digest = hashlib.sha256(b"dsmip reqid" + name.encode()).digest()
    return REQID | (int.from_bytes(digest[:3], "big") >> 3) * REQIDS


class Numbering:
    """Request ids of many routers: an own group for each, whatever their names hash to."""

    def __init__(self) -> None:
        self._owners: dict[int, str] = {}
        self._given: dict[str, int] = {}

    def first(self, name: str, wanted: int = 0) -> int:
        """Return a name's first request id, always the same; ``wanted`` from the configuration.

        ``ValueError`` when another has what is wanted.
        """
        if name in self._given and wanted in (0, self._given[name]):
            return self._given[name]
        found = wanted or first_reqid(name)
        while found in self._owners and self._owners[found] != name:
            if wanted:
                raise ValueError(f"request id {wanted} is that of {self._owners[found]}")
            found = REQID | (found + REQIDS) & ~REQID_MASK
        self.release(name)
        self._owners[found], self._given[name] = name, found
        return found

    def release(self, name: str) -> None:
        """Forget a name."""
        found = self._given.pop(name, None)
        if found is not None:
            del self._owners[found]


def is_our_reqid(reqid: int) -> bool:
    """Whether a request id is one that ``first_reqid`` makes."""
    return reqid & REQID_MASK == REQID


def kind_of(reqid: int) -> Kind | None:
    """Return what a request id of ours is for."""
    number = reqid & (REQIDS - 1)
    return Kind(number) if is_our_reqid(reqid) and number in set(Kind) else None


# --- rows ------------------------------------------------------------------------


def signalling_row(
    home_address: IPv6Address,
    agent: IPv6Address,
    reqid: int,
    security: SecurityProtocol = SecurityProtocol.ESP,
) -> Row:
    """Return SA1 and SA2 of RFC 3776 section 5.2.1, for all mobility headers.

    The message type is no selector: stock kernels never decode it on receive,
    so a policy for type 5 alone would let all others pass in clear.
    """
    home, remote = IPv6Network(home_address), IPv6Network(agent)
    kind = Kind.SIGNALLING
    return Row(
        kind,
        home_address,
        agent,
        (home,),
        (remote,),
        MOBILITY_HEADER,
        reqid + kind,
        security=security,
    )


def rows(mobile: Mobile, protection: Protection) -> tuple[Row, ...]:
    """Return the rows of one router, in the order in which they are looked up."""
    signalling = signalling_row(
        mobile.home_address, mobile.agent, mobile.reqid, protection.protocol
    )
    if protection.everything:
        signalling = replace(signalling, protocol=0)
    found = [signalling] if protection.signalling else []
    if protection.prefix_discovery:
        # SA5 and SA6, RFC 3776 section 5.2.3.
        found.append(
            replace(
                signalling,
                kind=Kind.PREFIX_DISCOVERY,
                protocol=ICMP6,
                reqid=mobile.reqid + Kind.PREFIX_DISCOVERY,
                types=(_PREFIX_SOLICITATION, _PREFIX_ADVERTISEMENT),
            )
        )
    if protection.delegation:
        # RFC 6276 section 4: DHCPv6 at the home agent's server port, whatever the router's.
        found.append(
            replace(
                signalling,
                kind=Kind.DELEGATION,
                protocol=_UDP,
                reqid=mobile.reqid + Kind.DELEGATION,
                port=_DHCP_SERVER,
            )
        )
    if protection.return_routability is not None:
        # SA3 and SA4, RFC 3776 section 5.2.2. Home Test Init is chosen by its type,
        # which a raw socket tells; the home agent forwards, where nothing tells it.
        found.append(
            replace(
                signalling,
                kind=Kind.RETURN_ROUTABILITY,
                remote=(_ANY6,),
                reqid=mobile.reqid + Kind.RETURN_ROUTABILITY,
                form=protection.return_routability,
                types=(_HOTI, None),
                security=SecurityProtocol.ESP,
            )
        )
    if protection.payload is not None:
        # SA7 and SA8, RFC 3776 section 5.2.4, RFC 5555 section 5.2.2.
        found.append(
            replace(
                signalling,
                kind=Kind.PAYLOAD,
                home=mobile.networks(),
                remote=(_ANY6, _ANY4),
                protocol=0,
                reqid=mobile.reqid + Kind.PAYLOAD,
                form=protection.payload,
            )
        )
    return tuple(found)


# --- policies --------------------------------------------------------------------


def protecting(row: Row, role: Role, place: Ends | None = None) -> tuple[Policy, ...]:
    """Return the policies that protect a row at one end; ``place`` None is at home."""
    mobile = role is Role.MOBILE_ROUTER
    ends = row.ends(place)
    directions = [Direction.OUT, Direction.IN]
    if row.mode is Mode.TUNNEL:
        directions.append(Direction.FORWARD)
    found: list[Policy] = []
    for direction in directions:
        towards_agent = mobile == (direction is Direction.OUT)
        outer = ends.pair(towards_agent) if row.mode is Mode.TUNNEL else None
        template = Template(row.mode, row.reqid, outer, row.security)
        kind = row.types[0 if towards_agent else 1]
        if row.protocol == MOBILITY_HEADER and not (mobile and towards_agent):
            kind = None
        for selector in row.selectors(towards_agent):
            if kind is not None:
                selector = replace(selector, source_port=kind)
            found.append(Policy(direction, selector, row.kind.priority, Action.PROTECT, template))
    return tuple(found)


def blocking(row: Row, role: Role) -> tuple[Policy, ...]:
    """Return policies that keep a row's packets from passing at all."""
    return tuple(
        replace(policy, action=Action.BLOCK, template=None) for policy in protecting(row, role)
    )


def row_policies(row: Row, role: Role, place: Place) -> tuple[Policy, ...]:
    """Return what stands for a row while the router is at a place."""
    if row.mode is Mode.TRANSPORT:
        return protecting(row, role)
    if place is Whereabouts.HOME:
        return ()
    if isinstance(place, Ends):
        return protecting(row, role, place)
    return blocking(row, role) if row.moves else protecting(row, role)


def policies(
    mobile: Mobile, protection: Protection, role: Role, place: Place
) -> tuple[Policy, ...]:
    """Return every policy of one router while it is at a place."""
    found: list[Policy] = []
    if role is Role.HOME_AGENT and protection.signalling:
        found.append(block_policy(mobile.home_address))
    for row in rows(mobile, protection):
        made = row_policies(row, role, place)
        # The kernel holds one policy for each selector: a row's replaces the block.
        taken = {(policy.direction, policy.selector) for policy in made}
        found = [one for one in found if (one.direction, one.selector) not in taken]
        found += made
    if protection.payload is not None and role is Role.MOBILE_ROUTER:
        found += _local_bypass(mobile)
    return tuple(found)


def block_policy(home: IPv6Address | IPv6Network) -> Policy:
    """Return what keeps mobility messages in clear out of a home agent.

    RFC 4877 section 7.2.1: an update that arrives before there are keys must be
    dropped, not answered; with a whole home prefix also that of a router nobody
    knows. It is wider than the row's own selector, since the kernel holds one
    policy for each selector, and only inbound, since outbound policies are asked
    about forwarded packets too (a Home Test, for instance).
    """
    selector = Selector(IPv6Network(home), _ANY6, MOBILITY_HEADER)
    return Policy(Direction.IN, selector, _BLOCK, Action.BLOCK)


def correspondent_policy(row: Row, correspondent: IPv6Address) -> Policy:
    """Return what lets a correspondent's acknowledgements in where Home Tests are protected.

    ``row`` is that of return routability. The kernel cannot tell one message type from
    another on receive, so Home Tests pass in clear as well: who takes them must see how
    they came.
    """
    home, own = IPv6Network(row.home_address), IPv6Network(correspondent)
    template = Template(
        row.mode, row.reqid, row.ends(None).pair(False), row.security, optional=True
    )
    selector = Selector(own, home, MOBILITY_HEADER)
    return Policy(Direction.IN, selector, _CORRESPONDENT, Action.PROTECT, template)


def bypass_policies(role: Role, agents: Iterable[Address]) -> tuple[Policy, ...]:
    """Return what payload protection must not catch, once for all routers of a host.

    That is neighbour discovery and all else on the link, and, at the home agents'
    addresses, IKE, the tunnel of dsmip and IPsec itself.
    """
    found = [
        _bypass(direction, Selector(_ANY6, _ANY6, ICMP6, kind))
        for direction in (Direction.IN, Direction.OUT)
        for kind in _NEIGHBOUR_DISCOVERY
    ]
    for anywhere, link in _LINK_LOCAL.items():
        found += [_bypass(Direction.OUT, Selector(anywhere, network)) for network in link]
        found.append(_bypass(Direction.IN, Selector(link[0], anywhere)))
        found += [_bypass(Direction.IN, Selector(anywhere, network)) for network in link[1:]]
    for agent in agents:
        found += _services(role, agent)
    return tuple(found)


def _services(role: Role, agent: Address) -> Iterator[Policy]:
    anywhere: Network = _ANY6 if agent.version == 6 else _ANY4
    own: Network = IPv6Network(agent) if isinstance(agent, IPv6Address) else IPv4Network(agent)
    mobile = role is Role.MOBILE_ROUTER
    for towards_agent in (True, False):
        direction = Direction.OUT if mobile == towards_agent else Direction.IN
        pair = (anywhere, own) if towards_agent else (own, anywhere)
        for port in (*_IKE_PORTS, _TUNNEL_PORT):
            ports = (None, port) if towards_agent else (port, None)
            yield _bypass(direction, Selector(*pair, _UDP, *ports))
        for protocol in SecurityProtocol:
            yield _bypass(direction, Selector(*pair, protocol))


def _local_bypass(mobile: Mobile) -> Iterator[Policy]:
    """Yield what lets hosts behind a router talk to it, and to each other."""
    networks = dict.fromkeys((*mobile.networks(), *mobile.local))
    own = mobile.networks()
    for source in networks:
        for destination in networks:
            if source.version == destination.version and (source in own or destination in own):
                for direction in Direction:
                    yield _bypass(direction, Selector(source, destination))


def _bypass(direction: Direction, selector: Selector) -> Policy:
    return Policy(direction, selector, _BYPASS, Action.BYPASS)


def is_ours(policy: Policy) -> bool:
    """Whether a policy read from the kernel was made from a row of ours."""
    return PRIORITY <= policy.priority < PRIORITY + PRIORITY_RANGE


# --- static associations ---------------------------------------------------------


def associations(row: Row, keys: RowKeys, place: Ends | None = None) -> tuple[Association, ...]:
    """Return both directions' associations with static keys, the same at both ends.

    AES-CBC and HMAC-SHA-256-128 only: the counter of other modes does not survive
    a restart (RFC 8221 section 3). No replay window either: static keys cannot
    have one (RFC 3776 section 4.4).
    """
    ends = row.ends(place)
    found = []
    for towards_agent, key in ((True, keys.to_agent), (False, keys.to_router)):
        selectors = row.selectors(towards_agent)
        found.append(
            Association(
                *ends.pair(towards_agent),
                key.spi,
                key.encryption_key,
                key.authentication_key,
                selectors[0] if row.mode is Mode.TRANSPORT else None,
                row.mode,
                row.reqid,
                encapsulation=ends.encapsulation(towards_agent),
            )
        )
    return tuple(found)
