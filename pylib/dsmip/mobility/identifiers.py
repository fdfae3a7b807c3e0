# SPDX-License-Identifier: GPL-2.0-only
"""The Binding Identifier options of an update, at the home agent (RFC 5648 section 6.2).

Each option is judged for itself, and the answer has a status for each. Over IPv6
the address in the option is the care-of address, since ESP covers it. An IPv4
care-of address is registered through itself, for only so a NAT is found (section
8.1): in an update that came in UDP, the option that names the outer source, or the
only one with an IPv4 address, stands for that source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from ..packet.careof import CareOf, WireKind
from ..packet.mobility import BindingAcknowledgement, BindingUpdate
from ..packet.options import BindingIdentifier, MalformedOption, NatDetection, find_all
from ..packet.status import BindingAckStatus
from . import registration
from .binding_cache import UDP_STANDBY, BoundPath, HomePath
from .config import HomeAgentConfig
from .effects import Received
from .ownership import Owner
from .registration import Refused


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one option: the path as it will be, or why it is refused.

    ``home`` is the way over the home link, which is none of the paths.
    """

    option: BindingIdentifier
    path: BoundPath | None = None
    status: int = BindingAckStatus.ACCEPTED
    reason: str = ""
    home: HomePath | None = None

    @property
    def refused(self) -> bool:
        """Whether there is nothing that it names."""
        return self.path is None and self.home is None

    @property
    def answer(self) -> BindingIdentifier:
        """Return the option of the acknowledgement, without address (erratum 1904)."""
        return BindingIdentifier(
            self.option.bid, int(self.status), self.option.home, self.option.priority
        )


def identifiers(update: BindingUpdate) -> list[BindingIdentifier]:
    """Return the options; raises ``Refused`` with 164 when one cannot be read."""
    for option in update.options:
        if isinstance(option, MalformedOption) and option.type == BindingIdentifier.TYPE:
            raise Refused(
                BindingAckStatus.MCOA_MALFORMED,
                f"a Binding Identifier option has {len(option.data)} octets",
            )
    found = find_all(update.options, BindingIdentifier)
    counts = Counter(option.bid for option in found)
    for bid, count in counts.items():
        if bid == 0:
            raise Refused(BindingAckStatus.MCOA_MALFORMED, "BID 0 is reserved")
        if count > 1:
            raise Refused(BindingAckStatus.MCOA_MALFORMED, f"BID {bid} is there {count} times")
    return found


def check_permission(
    config: HomeAgentConfig, update: BindingUpdate, wanted: Sequence[BindingIdentifier]
) -> None:
    """Raise ``Refused`` for what this home agent does not do at all."""
    if not config.several:
        raise Refused(BindingAckStatus.MCOA_PROHIBITED, "several care-of addresses are not allowed")
    if len(wanted) > 1 and not config.bulk:
        raise Refused(BindingAckStatus.MCOA_BULK_PROHIBITED, "one care-of address in one update")


def judge(
    config: HomeAgentConfig,
    owner: Owner,
    update: BindingUpdate,
    received: Received,
    known: Mapping[int, BoundPath],
    now: float,
) -> list[Verdict]:
    """Judge each option of a registration that names a care-of address, in their order."""
    wanted = [o for o in find_all(update.options, BindingIdentifier) if not o.home]
    through = _through(wanted, received, known)
    # An address that this update gives to another BID or takes anew is free.
    taken = {
        (path.reach.address, path.reach.port): bid
        for bid, path in known.items()
        if all(bid != option.bid or option.address is None for option in wanted)
    }
    room = config.paths_max - len(known)
    verdicts = []
    for option in wanted:
        try:
            if option.bid not in known and room <= 0:
                raise Refused(
                    BindingAckStatus.INSUFFICIENT_RESOURCES,
                    f"BID {option.bid}: {config.paths_max} care-of addresses are there already",
                )
            path = _judge_one(config, owner, update, received, option, option is through, known)
            key = (path.reach.address, path.reach.port)
            if taken.setdefault(key, option.bid) != option.bid:
                raise Refused(
                    BindingAckStatus.INVALID_CARE_OF_ADDRESS,
                    f"BID {option.bid}: {path.reach.address} is that of BID {taken[key]}",
                )
        except Refused as refused:
            verdicts.append(Verdict(option, None, refused.status, str(refused)))
            continue
        room -= option.bid not in known
        lifetime = registration.granted(config, update)
        path = replace(path, lifetime=lifetime, expires=now + lifetime, priority=option.priority)
        verdicts.append(Verdict(option, path))
    return verdicts


def _through(
    wanted: Iterable[BindingIdentifier], received: Received, known: Mapping[int, BoundPath]
) -> BindingIdentifier | None:
    """Return the option whose care-of address the outer IPv4 source is."""
    came = received.care_of
    if came is None or came.kind is not WireKind.UDP4:
        return None
    four = [option for option in wanted if isinstance(option.address, IPv4Address)]
    exact = [option for option in four if option.address == came.address]
    new = [
        option
        for option in four
        if option.bid not in known or known[option.bid].claimed4 != option.address
    ]
    for found in (exact, new, four):
        if len(found) == 1:
            return found[0]
    return None


def _judge_one(
    config: HomeAgentConfig,
    owner: Owner,
    update: BindingUpdate,
    received: Received,
    option: BindingIdentifier,
    through: bool,
    known: Mapping[int, BoundPath],
) -> BoundPath:
    before, bid = known.get(option.bid), option.bid
    if bid & UDP_STANDBY:
        raise Refused(BindingAckStatus.INSUFFICIENT_RESOURCES, f"BID {bid}: 32767 is the largest")
    address = option.address
    if address is None:
        if before is None:
            raise Refused(
                BindingAckStatus.MCOA_UNKNOWN_CARE_OF_ADDRESS, f"BID {bid} has no address yet"
            )
        return before
    if not registration.is_routable(address):
        raise Refused(
            BindingAckStatus.MCOA_MALFORMED, f"BID {bid}: {address} cannot be a care-of address"
        )
    if isinstance(address, IPv6Address):
        terms = registration.judge_path(config, owner, update, CareOf(address), None)
    elif through:
        if config.address4 is None:
            raise Refused(BindingAckStatus.INVALID_CARE_OF_ADDRESS, "IPv4 is not served")
        came = received.care_of
        assert came is not None
        reach = CareOf(came.address, WireKind.UDP4, came.port)
        terms = registration.judge_path(config, owner, update, reach, address)
    elif before is not None and before.claimed4 == address and not before.nat:
        return before
    else:
        raise Refused(
            BindingAckStatus.MCOA_MALFORMED,
            f"BID {bid}: {address} must be registered through itself first",
        )
    return BoundPath(
        bid, terms.care_of, terms.reach, 0, 0.0, 0, terms.nat, terms.force_udp, terms.claimed4
    )


def overall(verdicts: Sequence[Verdict]) -> int:
    """Return the acknowledgement's own status (RFC 5648 section 6.2)."""
    refused = [verdict.status for verdict in verdicts if verdict.refused]
    if not refused:
        return BindingAckStatus.ACCEPTED
    return refused[0] if len(refused) == len(verdicts) else BindingAckStatus.MCOA_NOT_COMPLETE


def nat_detection(
    config: HomeAgentConfig, verdicts: Sequence[Verdict], received: Received
) -> list[NatDetection]:
    """Return what the answer to an update in UDP says of that path (RFC 5555 section 4.2)."""
    came = received.care_of
    if came is None or came.kind is not WireKind.UDP4:
        return []
    path = next(
        (
            verdict.path
            for verdict in verdicts
            if verdict.path and verdict.path.reach.address == came.address
        ),
        None,
    )
    quiet = path is not None and not path.nat and not path.force_udp
    keepalive = NatDetection.NO_KEEPALIVE if quiet else config.nat_keepalive
    return [NatDetection(path is not None and path.force_udp, keepalive)]


def with_options(
    answer: BindingAcknowledgement, wanted: Iterable[BindingIdentifier]
) -> BindingAcknowledgement:
    """Return a refusal that repeats the options (RFC 5648 section 6.2).

    Their status is 0: what counts is that of the acknowledgement.
    """
    options = tuple(
        BindingIdentifier(option.bid, 0, option.home, option.priority) for option in wanted
    )
    return replace(answer, options=(*answer.options, *options))
