# SPDX-License-Identifier: GPL-2.0-only
"""The terms of a home registration: what is granted for one Binding Update.

Which care-of address: over IPv6 the Alternate Care-of Address option, since ESP
covers it and not the packet's source (RFC 6275 section 11.7.1); the answer goes
to the source all the same (section 9.5.4). Over IPv4 it is the outer source,
address and port, since behind a NAT nothing else reaches the router (RFC 5555
section 4.5); the IPv4 Care-of Address option only tells whether there is a NAT.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from ..packet.careof import CareOf, WireKind
from ..packet.mobility import BindingAcknowledgement, BindingUpdate
from ..packet.options import (
    AlternateCareOfAddress,
    BindingRefreshAdvice,
    DnsUpdate,
    IPv4AddressAcknowledgement,
    IPv4CareOfAddress,
    IPv4HomeAddress,
    MobileNetworkPrefix,
    NatDetection,
    Option,
    find,
    find_all,
)
from ..packet.status import BindingAckStatus, DnsUpdateStatus, IPv4Status
from .config import HomeAgentConfig
from .effects import Address, Network, Received
from .ownership import NotOwned4, Owner, Ownership, inside

#: Lifetimes on the wire count these many seconds.
LIFETIME_UNIT = 4
LIFETIME_LEAST = 4


class Refused(Exception):
    """A Binding Update is answered with ``status``."""

    def __init__(self, status: BindingAckStatus, reason: str, sequence: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.sequence = sequence


class RateLimit:
    """A token bucket: ``burst`` at once, then ``rate`` a second."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, burst: float, rate: float) -> None:
        self._burst = self._left = burst
        self._rate = rate
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """Tell whether one more is allowed, and count it."""
        if self._at is not None:
            self._left = min(self._left + (now - self._at) * self._rate, self._burst)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


@dataclass(frozen=True, slots=True)
class Terms:
    """What an accepted Binding Update gets."""

    care_of: CareOf
    reach: CareOf
    lifetime: int
    prefixes: tuple[Network, ...]
    home_address4: IPv4Address | None
    answers4: tuple[Option, ...]
    nat: bool
    force_udp: bool
    claimed4: IPv4Address | None
    in_udp: bool
    key_mobility: bool = False


def is_routable(address: Address) -> bool:
    """Tell whether it may be a home or care-of address (RFC 6275 section 9.3.1)."""
    return not (
        address.is_multicast
        or address.is_link_local
        or address.is_loopback
        or address.is_unspecified
        or (isinstance(address, IPv6Address) and address.ipv4_mapped is not None)
        or (isinstance(address, IPv4Address) and int(address) in (0, 0xFFFFFFFF))
    )


def is_unicast(address: Address) -> bool:
    """Tell whether a packet from there can be answered at all."""
    broadcast = isinstance(address, IPv4Address) and int(address) == 0xFFFFFFFF
    return not (address.is_multicast or address.is_unspecified or broadcast)


def is_home(update: BindingUpdate, received: Received) -> bool:
    """Tell whether the care-of address is the home address: a de-registration."""
    alternate = find(update.options, AlternateCareOfAddress)
    if received.care_of is not None and received.care_of.kind is not WireKind.IP6:
        return False
    if alternate is not None:
        return alternate.address == received.source
    return received.care_of is None


def judge(
    config: HomeAgentConfig,
    ownership: Ownership,
    owner: Owner,
    update: BindingUpdate,
    received: Received,
) -> Terms:
    """Return the terms, or raise ``Refused`` or ``NotOwned``."""
    reach = _care_of(config, update, received)
    claimed = find(update.options, IPv4CareOfAddress)
    path = judge_path(config, owner, update, reach, claimed.address if claimed else None)
    networks = judge_networks(ownership, owner, update, (reach.address,))
    return Terms(
        care_of=path.care_of,
        reach=reach,
        lifetime=granted(config, update),
        prefixes=networks.prefixes,
        home_address4=networks.home_address4,
        answers4=networks.answers4,
        nat=path.nat,
        force_udp=path.force_udp,
        claimed4=path.claimed4,
        in_udp=reach.kind is WireKind.UDP4,
        key_mobility=owner.key_mobility,
    )


@dataclass(frozen=True, slots=True)
class NetworkTerms:
    """What is bound to the care-of addresses, and how IPv4 was answered."""

    prefixes: tuple[Network, ...]
    home_address4: IPv4Address | None
    answers4: tuple[Option, ...]


def judge_networks(
    ownership: Ownership, owner: Owner, update: BindingUpdate, care_of: Iterable[Address]
) -> NetworkTerms:
    """Return what the update binds, or raise ``Refused`` or ``NotOwned``."""
    home_address4, prefixes4, answers4 = _ipv4(ownership, owner, update)
    prefixes: tuple[Network, ...] = ()
    if update.mobile_router:
        wanted: list[Network] = [
            option.prefix for option in find_all(update.options, MobileNetworkPrefix)
        ]
        explicit4 = any(
            option.prefix_length < 32 or option.prefix_requested
            for option in find_all(update.options, IPv4HomeAddress)
        )
        if wanted or not explicit4:
            prefixes = ownership.prefixes(owner, wanted)
        prefixes = tuple(dict.fromkeys((*prefixes, *prefixes4)))
        for address in care_of:
            check_outside(address, prefixes)
    return NetworkTerms(prefixes, home_address4, answers4)


def granted(config: HomeAgentConfig, update: BindingUpdate) -> int:
    """Return the lifetime that an update gets, in seconds."""
    return max(min(update.lifetime * LIFETIME_UNIT, config.lifetime), LIFETIME_LEAST)


@dataclass(frozen=True, slots=True)
class PathTerms:
    """What a care-of address gets: ``claimed4`` is as the router knows it."""

    care_of: CareOf
    reach: CareOf
    nat: bool = False
    force_udp: bool = False
    claimed4: IPv4Address | None = None


def judge_path(
    config: HomeAgentConfig,
    owner: Owner,
    update: BindingUpdate,
    reach: CareOf,
    claimed4: IPv4Address | None,
) -> PathTerms:
    """Return the terms of one care-of address, or raise ``Refused``."""
    _check_care_of(config, owner, reach)
    if reach.kind is not WireKind.UDP4:
        if update.force_udp:
            raise Refused(
                BindingAckStatus.UDP_ENCAPSULATION_REFUSED, "UDP is not used in IPv6 networks"
            )
        return PathTerms(reach, reach, claimed4=claimed4)
    nat = claimed4 != reach.address
    force_udp = update.force_udp or config.force_udp or not config.allow_ip4
    care_of = reach if nat or force_udp else CareOf(reach.address, WireKind.IP4)
    return PathTerms(care_of, reach, nat, force_udp, claimed4)


def check_outside(address: Address, prefixes: Iterable[Network]) -> None:
    """Raise ``Refused`` for a care-of address inside the mobile network itself."""
    for prefix in prefixes:
        if address in prefix:
            raise Refused(
                BindingAckStatus.INVALID_CARE_OF_ADDRESS,
                f"care-of address {address} is in its own prefix {prefix}",
            )


def check_service(owner: Owner, service: str) -> None:
    """Raise ``Refused`` for a service that is not its own (RFC 5149 section 4.2).

    Names are compared in the form that the RFC asks for, NFKC.
    """
    wanted = unicodedata.normalize("NFKC", service)
    if wanted not in {unicodedata.normalize("NFKC", one) for one in owner.services or ()}:
        raise Refused(
            BindingAckStatus.SERVICE_AUTHORIZATION_FAILED, f"it may not select {service[:64]!r}"
        )


def _care_of(config: HomeAgentConfig, update: BindingUpdate, received: Received) -> CareOf:
    alternate = find(update.options, AlternateCareOfAddress)
    came = received.care_of
    if came is not None and came.kind is WireKind.UDP4:
        if config.address4 is None:
            raise Refused(BindingAckStatus.INVALID_CARE_OF_ADDRESS, "IPv4 is not served")
        return CareOf(came.address, WireKind.UDP4, came.port)
    if alternate is not None:
        return CareOf(alternate.address, WireKind.IP6)
    if came is None:
        raise Refused(BindingAckStatus.INVALID_CARE_OF_ADDRESS, "no care-of address")
    return CareOf(came.address, WireKind.IP6)


def _check_care_of(config: HomeAgentConfig, owner: Owner, care_of: CareOf) -> None:
    address = care_of.address
    if not is_routable(address):
        raise Refused(
            BindingAckStatus.INVALID_CARE_OF_ADDRESS, f"{address} cannot be a care-of address"
        )
    if address in config.addresses6 or address == config.address4:
        raise Refused(
            BindingAckStatus.INVALID_CARE_OF_ADDRESS, f"{address} is the home agent's own"
        )
    if address in (owner.home_address, owner.home_address4):
        raise Refused(BindingAckStatus.INVALID_CARE_OF_ADDRESS, f"{address} is its home address")


def _ipv4(
    ownership: Ownership, owner: Owner, update: BindingUpdate
) -> tuple[IPv4Address | None, tuple[IPv4Network, ...], tuple[Option, ...]]:
    """Answer each IPv4 Home Address option (RFC 5555 section 4.5)."""
    home_address4: IPv4Address | None = None
    prefixes: list[IPv4Network] = []
    answers: list[Option] = []
    for option in find_all(update.options, IPv4HomeAddress):
        wanted = option.address
        try:
            if not 0 < option.prefix_length <= 32:
                raise NotOwned4(IPv4Status.INVALID_ADDRESS, "prefix length is not 1 to 32")
            if option.prefix_length == 32 and not option.prefix_requested:
                if int(wanted) and not is_routable(wanted):
                    raise NotOwned4(IPv4Status.INVALID_ADDRESS, f"{wanted} is no host's address")
                home_address4 = ownership.home_address4(owner, wanted if int(wanted) else None)
                wanted = home_address4
            elif int(wanted) == 0:
                mine = [p for p in owner.prefixes if isinstance(p, IPv4Network)]
                if not mine:
                    raise NotOwned4(IPv4Status.PREFIX_UNAUTHORIZED, "it has no IPv4 prefix")
                prefixes += mine
                answers += [
                    IPv4AddressAcknowledgement(IPv4Status.SUCCESS, p.prefixlen, p.network_address)
                    for p in mine
                ]
                continue
            else:
                network = IPv4Network((int(wanted), option.prefix_length), strict=False)
                prefixes.append(ownership.prefix4(owner, network))
                wanted = network.network_address
            status, length = IPv4Status.SUCCESS, option.prefix_length
        except NotOwned4 as refused:
            status, length = refused.status, 0
        answers.append(IPv4AddressAcknowledgement(status, length, wanted))
    return home_address4, tuple(prefixes), tuple(answers)


def acknowledge(
    update: BindingUpdate, terms: Terms, config: HomeAgentConfig
) -> BindingAcknowledgement:
    """Return the Binding Acknowledgement of an accepted update.

    In UDP the NAT Detection option is always there (RFC 5555 section 4.2). With
    neither NAT nor force it carries all ones: no keepalives, IP in IPv4.
    """
    options = list(terms.answers4)
    if terms.in_udp:
        quiet = not terms.nat and not terms.force_udp
        options.append(
            NatDetection(
                terms.force_udp, NatDetection.NO_KEEPALIVE if quiet else config.nat_keepalive
            )
        )
    return _acknowledgement(
        update, BindingAckStatus.ACCEPTED, terms.lifetime, options, config, terms.key_mobility
    )


def acknowledge_paths(
    update: BindingUpdate,
    status: int,
    lifetime: int,
    options: Iterable[Option],
    config: HomeAgentConfig,
    owner: Owner,
) -> BindingAcknowledgement:
    """Return the answer to an update with BIDs; ``options`` has theirs (RFC 5648)."""
    return _acknowledgement(update, status, lifetime, options, config, owner.key_mobility)


def _acknowledgement(
    update: BindingUpdate,
    status: int,
    lifetime: int,
    options: Iterable[Option],
    config: HomeAgentConfig,
    key_mobility: bool,
) -> BindingAcknowledgement:
    if status == BindingAckStatus.ACCEPTED and config.preferred // 4 < lifetime // 4:
        # RFC 6275 section 10.3.1: its prefix is, or becomes, deprecated.
        status = BindingAckStatus.ACCEPTED_PREFIX_DISCOVERY
    advice = config.refresh or lifetime // 2
    first: list[Option] = []
    if LIFETIME_UNIT <= advice < lifetime:
        first.append(BindingRefreshAdvice(advice // LIFETIME_UNIT))
    return BindingAcknowledgement(
        status,
        update.sequence,
        lifetime // LIFETIME_UNIT,
        key_management=update.key_management and key_mobility,
        mobile_router=update.mobile_router,
        options=(*first, *options, *_name_answer(update)),
    )


def acknowledge_removal(
    update: BindingUpdate,
    home_address4: IPv4Address | None,
    status: int = BindingAckStatus.ACCEPTED,
    identifiers: Iterable[Option] = (),
) -> BindingAcknowledgement:
    """Return the answer to a de-registration (RFC 6275 section 10.3.2)."""
    options = tuple(
        IPv4AddressAcknowledgement(IPv4Status.SUCCESS, option.prefix_length, option.address)
        for option in find_all(update.options, IPv4HomeAddress)
        if option.address == home_address4
    )
    return BindingAcknowledgement(
        status,
        update.sequence,
        0,
        mobile_router=update.mobile_router,
        options=(*options, *identifiers, *_name_answer(update)),
    )


def _name_answer(update: BindingUpdate) -> tuple[Option, ...]:
    """Return the DNS Update option of an answer; who updates names says what became of it."""
    wish = find(update.options, DnsUpdate)
    return () if wish is None else (replace(wish, status=DnsUpdateStatus.REASON_UNSPECIFIED),)


def refusal(update: BindingUpdate, refused: Refused) -> BindingAcknowledgement:
    """Return the answer to a refused update."""
    sequence = update.sequence if refused.sequence is None else refused.sequence
    return BindingAcknowledgement(refused.status, sequence, 0)


def delegated(
    ownership: Ownership, owner: Owner, bound: tuple[Network, ...]
) -> tuple[Network, ...]:
    """Return what of the bound prefixes is still owned, and what was delegated since."""
    owned = ownership.all_prefixes(owner)
    if owner.routing:
        return owned
    kept = [one for one in bound if any(inside(one, own) for own in owned)]
    new = [one for one in owned if one not in owner.prefixes]
    return tuple(dict.fromkeys((*kept, *new)))
