# SPDX-License-Identifier: GPL-2.0-only
"""The home agent's entry of the binding update list (RFC 6275 sections 11.1 and 11.8)."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from ..packet.dns import encode_name
from ..packet.mobility import BindingAcknowledgement, BindingUpdate
from ..packet.options import (
    AlternateCareOfAddress,
    BindingRefreshAdvice,
    DnsUpdate,
    IPv4CareOfAddress,
    IPv4HomeAddress,
    MobileNetworkPrefix,
    NatDetection,
    Option,
    ServiceSelection,
    find,
)
from .attachment import Attachment
from .config import MobileRouterConfig
from .registration import LIFETIME_UNIT

#: Retransmission (RFC 6275 section 12); the first registration waits longer,
#: since the home agent may look for a duplicate of the home address first.
INITIAL_TIMEOUT = 1.0
INITIAL_TIMEOUT_FIRST = 1.5
MAX_TIMEOUT = 32.0
#: At most three updates a second about one care-of address (section 11.5.3).
UPDATE_RATE = 3
OUTSTANDING_MAX = 16
_ANY4 = IPv4Address(0)


@dataclass(slots=True)
class Sent:
    """An update that may still be answered."""

    sequence: int
    at: float
    lifetime: int
    force_udp: bool


@dataclass(slots=True)
class UpdateListEntry:
    """What the router knows of its registration.

    ``expires`` is when the last acknowledged binding ends, None without one;
    ``retransmit_at`` and ``refresh_at`` are None while there is nothing to wait
    for.
    """

    sequence: int
    expires: float | None = None
    granted: int = 0
    refresh_at: float | None = None
    retransmit_at: float | None = None
    timeout: float = INITIAL_TIMEOUT
    attempts: int = 0
    outstanding: list[Sent] = field(default_factory=list)
    recent: list[float] = field(default_factory=list)
    acknowledged_at: float | None = None

    def bound(self, now: float) -> bool:
        """Tell whether the home agent holds a binding, as far as we know."""
        return self.expires is not None and self.expires > now

    def begin(self, now: float) -> None:
        """Start over with the back-off: new care-of address, or a refresh."""
        self.attempts = 0
        self.timeout = INITIAL_TIMEOUT if self.bound(now) else INITIAL_TIMEOUT_FIRST

    def may_send(self, now: float) -> float:
        """Return 0 when an update may go out, else when it may."""
        self.recent = [at for at in self.recent if now - at < 1.0]
        return self.recent[0] + 1.0 if len(self.recent) >= UPDATE_RATE else 0.0

    def note_sent(self, update: BindingUpdate, now: float) -> None:
        """Arm the retransmission timer for an update that goes out now."""
        self.outstanding.append(
            Sent(update.sequence, now, update.lifetime * LIFETIME_UNIT, update.force_udp)
        )
        del self.outstanding[:-OUTSTANDING_MAX]
        self.recent.append(now)
        self.note_waiting(now)

    def note_waiting(self, now: float) -> None:
        """Count an attempt and arm the timer for the next one."""
        self.attempts += 1
        self.retransmit_at = now + self.timeout
        self.timeout = min(self.timeout * 2, MAX_TIMEOUT)
        self.refresh_at = None

    def answered(self, sequence: int) -> Sent | None:
        """Return the update that a sequence number answers, None for a stranger's."""
        return next((sent for sent in self.outstanding if sent.sequence == sequence), None)

    def accept(
        self,
        sent: Sent,
        acknowledgement: BindingAcknowledgement,
        config: MobileRouterConfig,
        now: float,
    ) -> None:
        """Take the lifetime and the advice of an acknowledgement (section 11.7.3)."""
        granted = min(acknowledgement.lifetime * LIFETIME_UNIT, sent.lifetime)
        self.granted = granted
        self.expires = sent.at + granted
        self.outstanding.clear()
        self.retransmit_at = None
        self.attempts = 0
        self.acknowledged_at = now
        interval = granted / 2
        advice = find(acknowledgement.options, BindingRefreshAdvice)
        if advice is not None and 0 < advice.interval * LIFETIME_UNIT < granted:
            interval = min(interval, advice.interval * LIFETIME_UNIT)
        nat = find(acknowledgement.options, NatDetection)
        if nat is not None and nat.refresh_time != NatDetection.NO_KEEPALIVE:
            interval = min(interval, nat.refresh_time or config.keepalive, config.keepalive)
        # Never at once, whatever the home agent says.
        self.refresh_at = now + max(interval, 1.0)


def binding_update(
    config: MobileRouterConfig,
    attachment: Attachment,
    sequence: int,
    force_udp: bool,
    service: str = "",
) -> BindingUpdate:
    """Return a home registration for the care-of address (RFC 6275 section 11.7.1).

    Over IPv6 the Alternate Care-of Address option repeats it, since ESP does not
    cover the packet's source; over IPv4 the IPv4 Care-of Address option lets the
    home agent see a NAT (RFC 5555 section 4.4.2). ``service`` is selected with it.
    """
    options = [_care_of_option(attachment)]
    if config.explicit:
        options += [
            MobileNetworkPrefix(prefix)
            for prefix in config.networks
            if isinstance(prefix, IPv6Network)
        ]
    options += ipv4_options(config)
    options += _name_option(config.dns_name)
    options += [ServiceSelection(service)] if service else []
    return BindingUpdate(
        sequence,
        config.lifetime // LIFETIME_UNIT,
        acknowledge=True,
        home=True,
        link_local=config.link_local,
        key_management=config.key_mobility,
        mobile_router=config.mobile_router,
        force_udp=force_udp and attachment.version == 4,
        options=tuple(options),
    )


def ipv4_options(config: MobileRouterConfig) -> list[Option]:
    """Return the IPv4 home address and prefixes to bind (RFC 5555 section 3.1.1)."""
    options: list[Option] = []
    if config.home_address4 is not None:
        options.append(IPv4HomeAddress(config.home_address4))
    elif config.request_home_address4:
        options.append(IPv4HomeAddress(_ANY4))
    if config.explicit:
        options += [
            IPv4HomeAddress(prefix.network_address, prefix.prefixlen)
            for prefix in config.prefixes
            if isinstance(prefix, IPv4Network)
        ]
    return options


def removal(
    sequence: int, mobile_router: bool, away: Attachment | None = None, dns_name: str = ""
) -> BindingUpdate:
    """Return a de-registration from the home link (RFC 6275 section 11.5.5), or from ``away``.

    With ``dns_name`` the home address is not used any more (RFC 5026 section 6).
    """
    options = [] if away is None else [_care_of_option(away)]
    return BindingUpdate(
        sequence,
        0,
        acknowledge=True,
        home=True,
        mobile_router=mobile_router,
        options=(*options, *_name_option(dns_name, remove=True)),
    )


def _name_option(name: str, remove: bool = False) -> list[Option]:
    return [DnsUpdate(encode_name(name), remove)] if name else []


def _care_of_option(attachment: Attachment) -> Option:
    if isinstance(attachment.address, IPv4Address):
        return IPv4CareOfAddress(attachment.address)
    return AlternateCareOfAddress(attachment.address)
