# SPDX-License-Identifier: GPL-2.0-only
"""The mobile router as requesting router (RFC 6276 section 3, RFC 8415 section 18.2)."""

from __future__ import annotations

import enum
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, IPv6Network

from ..packet.dhcpv6 import (
    ALL_SERVERS,
    INFINITY,
    SERVER_PORT,
    LeasedPrefix,
    Message,
    MessageType,
    OptionCode,
    PrefixAssociation,
    Relayed,
    StatusCode,
    build,
    parse,
)
from ..packet.errors import PacketError
from .delegation import (
    DelegationEffect,
    Lease,
    LeasesChanged,
    Place,
    SendDatagram,
)
from .effects import Count, Note

#: A home agent that has left so many Solicits unanswered delegates nothing
#: (RFC 6276 section 3.3); it is asked again after a while.
SOLICITS_MAX = 6
UNSERVED_AGAIN = 600.0
_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class RequestingConfig:
    """``count`` prefixes are asked for, of ``length`` bits if it is not 0.

    ``reserved`` are networks that no delegated prefix may overlap, the home prefix
    for one. ``own`` are the mobile network prefixes of the configuration: one of
    them may be delegated, but no part of it.
    """

    duid: bytes
    home_agent: IPv6Address
    identity: str = ""
    count: int = 1
    length: int = 0
    rapid_commit: bool = True
    reserved: tuple[IPv6Network, ...] = ()
    own: tuple[IPv6Network, ...] = ()


class Phase(enum.Enum):
    """What is going on, and the message that is sent again and again meanwhile."""

    IDLE = None
    SOLICIT = MessageType.SOLICIT
    REQUEST = MessageType.REQUEST
    RENEW = MessageType.RENEW
    REBIND = MessageType.REBIND
    RELEASE = MessageType.RELEASE


#: RFC 8415 section 7.6: initial and largest interval, most times; 0 is no bound.
_TIMES: dict[Phase, tuple[float, float, int]] = {
    Phase.SOLICIT: (1.0, 3600.0, SOLICITS_MAX),
    Phase.REQUEST: (1.0, 30.0, 10),
    Phase.RENEW: (10.0, 600.0, 0),
    Phase.REBIND: (10.0, 600.0, 0),
    Phase.RELEASE: (1.0, 0.0, 4),
}
#: A Rebind that asks whether a lease still holds comes at once and soon again
#: (RFC 8415 section 18.2.12).
_CONFIRM_TIMES = (1.0, 600.0, 0)


class RequestingRouter:
    """The engine. ``leases`` are those that a former process left."""

    def __init__(
        self,
        config: RequestingConfig,
        leases: Iterable[Lease] = (),
        server: bytes = b"",
        seed: int | None = None,
    ) -> None:
        self._config = config
        self._leases = {lease.iaid: lease for lease in leases}
        self._server = server
        self._random = random.Random(seed) if seed is not None else random.SystemRandom()
        self._place: Place | None = None
        self._phase = Phase.IDLE
        self._transaction = 0
        self._began = 0.0
        self._attempts = 0
        self._interval = 0.0
        self._times = _TIMES[Phase.SOLICIT]
        self._retransmit_at: float | None = None
        self._renew_at = self._rebind_at = _NEVER
        self._offer: Message | None = None
        self._solicit_max = _TIMES[Phase.SOLICIT][1]
        self._dns: tuple[IPv6Address, ...] = ()

    # --- inputs ------------------------------------------------------------------

    def attached(self, place: Place | None, now: float) -> list[DelegationEffect]:
        """Hear that the router is registered, at home, or neither (``place`` None).

        Away, it has registered first (RFC 6276 section 3.1). Leases that were
        there before, or made at another place, are asked about by a Rebind.
        """
        if place == self._place:
            return []
        self._place = place
        if place is None:
            self._idle()
            return []
        effects = self._expire(now)
        if self._leases:
            return effects + self._begin(Phase.REBIND, now, _CONFIRM_TIMES)
        return effects + self._begin(Phase.SOLICIT, now)

    def receive(
        self, data: bytes, source: IPv6Address, place: Place, now: float
    ) -> list[DelegationEffect]:
        """Handle a datagram that came to the relay (away) or to the client (at home)."""
        try:
            message = parse(data)
            if self._place is None or place != self._place:
                return [Count("pd_unexpected")]
            if isinstance(message, Relayed) != (not place.at_home):
                return [Count("pd_not_relayed")]
            if isinstance(message, Relayed):
                home = place.home_address
                if (message.type, message.link, message.peer, source) != (
                    MessageType.RELAY_REPLY,
                    home,
                    home,
                    self._config.home_agent,
                ):
                    return [Count("pd_wrong_relay")]
                message = parse(message.payload)
                if isinstance(message, Relayed):
                    return [Count("pd_wrong_relay")]
            return self._message(message, now)
        except PacketError as error:
            return [Count("pd_malformed"), Note("info", f"DHCPv6 from {source}: {error.reason}")]

    def next_timer(self) -> float | None:
        """Return when ``handle_timer`` wants to be called, None for never."""
        times = [lease.valid_until for lease in self._leases.values()]
        if self._retransmit_at is not None:
            times.append(self._retransmit_at)
        if self._place is not None and self._phase in (Phase.IDLE, Phase.RENEW):
            times += [self._rebind_at]
            if self._phase is Phase.IDLE:
                times.append(self._renew_at)
        return min((at for at in times if at != _NEVER), default=None)

    def handle_timer(self, now: float) -> list[DelegationEffect]:
        """Do what time asks for."""
        effects = self._expire(now)
        if self._place is None:
            return effects
        if effects and not self._leases and self._phase is not Phase.SOLICIT:
            return effects + self._begin(Phase.SOLICIT, now)
        if self._phase in (Phase.IDLE, Phase.RENEW) and self._rebind_at <= now:
            return effects + self._begin(Phase.REBIND, now)
        if self._phase is Phase.IDLE and self._renew_at <= now:
            return effects + self._begin(Phase.RENEW, now)
        if self._retransmit_at is not None and self._retransmit_at <= now:
            effects += self._again(now)
        return effects

    def use_home_agent(self, address: IPv6Address) -> bool:
        """Ask another home agent; the router is registered with it first. True for another."""
        if address == self._config.home_agent:
            return False
        self._config = replace(self._config, home_agent=address)
        self._place = None
        self._idle()
        return True

    def release(self, now: float) -> list[DelegationEffect]:
        """Give all prefixes back, before the router stops for good."""
        if not self._leases or self._place is None:
            return []
        effects = self._begin(Phase.RELEASE, now)
        self._leases.clear()
        self._renew_at = self._rebind_at = _NEVER
        return [*effects, LeasesChanged(self._config.identity)]

    def reconfigure(self, config: RequestingConfig, now: float) -> list[DelegationEffect]:
        """Apply a new configuration; associations that it wants no more are left to end."""
        before, self._config = self._config, config
        gone = [iaid for iaid in self._leases if iaid > config.count]
        for iaid in gone:
            del self._leases[iaid]
        effects: list[DelegationEffect] = [LeasesChanged(config.identity)] if gone else []
        if self._place is not None and config.count > before.count:
            # RFC 8415 section 18.2.4: more associations come with a Renew or Rebind.
            phase = Phase.REBIND if self._leases else Phase.SOLICIT
            effects += self._begin(phase, now, _CONFIRM_TIMES if self._leases else None)
        return effects

    def leases(self) -> list[Lease]:
        """Return the leases, by association."""
        return [lease for _, lease in sorted(self._leases.items())]

    @property
    def server(self) -> bytes:
        """The DUID of the server that gave them."""
        return self._server

    @property
    def dns(self) -> tuple[IPv6Address, ...]:
        """The recursive name servers that the server told of (RFC 3646)."""
        return self._dns

    @property
    def phase(self) -> Phase:
        """What is going on."""
        return self._phase

    # --- sending -------------------------------------------------------------------

    def _idle(self) -> None:
        self._phase = Phase.IDLE
        self._retransmit_at = None
        self._offer = None

    def _begin(
        self, phase: Phase, now: float, times: tuple[float, float, int] | None = None
    ) -> list[DelegationEffect]:
        self._phase = phase
        self._times = times or _TIMES[phase]
        if phase is Phase.SOLICIT:
            self._times = self._times[0], self._solicit_max, self._times[2]
            self._offer = None
            self._renew_at = self._rebind_at = _NEVER
        self._transaction = self._random.randrange(1 << 24)
        self._began = now
        self._attempts = 0
        self._interval = 0.0
        return self._send(now)

    def _send(self, now: float) -> list[DelegationEffect]:
        place, config = self._place, self._config
        assert place is not None
        first, most, _ = self._times
        spread = self._random.uniform(-0.1, 0.1)
        if self._attempts == 0:
            # RFC 8415 section 18.2.1: the first wait of a Solicit is never shorter.
            spread = abs(spread) if self._phase is Phase.SOLICIT else spread
            self._interval = first * (1 + spread)
        else:
            self._interval *= 2 + spread
        if most and self._interval > most:
            self._interval = most * (1 + spread)
        self._attempts += 1
        self._retransmit_at = now + self._interval
        phase = self._phase
        assert phase.value is not None
        names_server = phase in (Phase.REQUEST, Phase.RENEW, Phase.RELEASE)
        message = Message(
            phase.value,
            self._transaction,
            config.duid,
            self._server if names_server else None,
            tuple(self._wish(iaid) for iaid in range(1, config.count + 1)),
            requested=(OptionCode.DNS_SERVERS, OptionCode.SOLICIT_MAX_RT),
            elapsed=int((now - self._began) * 100),
            rapid_commit=phase is Phase.SOLICIT and config.rapid_commit,
        )
        data = build(message)
        counted = Count(f"pd_{phase.value.name.lower()}_sent")
        if place.at_home:
            sent = SendDatagram(data, ALL_SERVERS, SERVER_PORT, None, place.interface)
            return [sent, counted]
        home = place.home_address
        assert home is not None
        # RFC 6276 section 3.1.2.
        relayed = Relayed(MessageType.RELAY_FORWARD, 1, home, home, data)
        return [SendDatagram(build(relayed), config.home_agent, SERVER_PORT, home), counted]

    def _wish(self, iaid: int) -> PrefixAssociation:
        lease = self._leases.get(iaid)
        if lease is not None:
            return PrefixAssociation(iaid, prefixes=(LeasedPrefix(lease.prefix),))
        if self._phase is Phase.REQUEST and self._offer is not None:
            for one in self._offer.associations:
                if one.iaid == iaid and one.prefixes:
                    wished = tuple(LeasedPrefix(p.prefix) for p in one.prefixes[:1])
                    return PrefixAssociation(iaid, prefixes=wished)
        if self._config.length:
            hint = IPv6Network((0, self._config.length))
            return PrefixAssociation(iaid, prefixes=(LeasedPrefix(hint),))
        return PrefixAssociation(iaid)

    def _again(self, now: float) -> list[DelegationEffect]:
        if self._phase is Phase.IDLE:
            return self._begin(Phase.SOLICIT, now)
        if self._phase is Phase.SOLICIT and self._offer is not None:
            return self._begin_request(now)
        most = self._times[2]
        if not most or self._attempts < most:
            return self._send(now)
        if self._phase is Phase.SOLICIT:
            self._idle()
            self._retransmit_at = now + UNSERVED_AGAIN
            text = f"home agent {self._config.home_agent} delegates no prefixes"
            return [Count("pd_unserved"), Note("error", text)]
        if self._phase is Phase.REQUEST:
            return self._begin(Phase.SOLICIT, now)
        self._idle()
        return []

    def _begin_request(self, now: float) -> list[DelegationEffect]:
        offer = self._offer
        assert offer is not None
        self._server = offer.server or b""
        return self._begin(Phase.REQUEST, now)

    # --- answers -------------------------------------------------------------------

    def _message(self, message: Message, now: float) -> list[DelegationEffect]:
        if message.client != self._config.duid:
            return [
                Count("pd_wrong_client"),
                Note("warning", "a DHCPv6 answer for another client, dropped"),
            ]
        if message.transaction != self._transaction or self._phase is Phase.IDLE:
            return [Count("pd_wrong_transaction")]
        if not message.server:
            return [Count("pd_no_server")]
        if message.solicit_max is not None and 60 <= message.solicit_max <= 86400:
            self._solicit_max = float(message.solicit_max)  # RFC 8415 section 21.24
        if message.type is MessageType.ADVERTISE and self._phase is Phase.SOLICIT:
            return self._advertised(message, now)
        if message.type is not MessageType.REPLY:
            return [Count("pd_unexpected")]
        if self._phase is Phase.SOLICIT and not message.rapid_commit:
            return [Count("pd_unexpected")]
        named = self._phase in (Phase.REQUEST, Phase.RENEW, Phase.RELEASE)
        if named and message.server != self._server:
            return [Count("pd_other_server")]
        return self._replied(message, now)

    def _advertised(self, message: Message, now: float) -> list[DelegationEffect]:
        usable = any(
            one.iaid <= self._config.count and any(p.valid for p in one.prefixes)
            for one in message.associations
        )
        if not usable:
            reason = next((one.status for one in message.associations if one.status), None)
            text = f": {reason.text}" if reason and reason.text.isprintable() else ""
            return [
                Count("pd_no_prefix"),
                Note("warning", f"the home agent offers no prefix{text}"),
            ]
        best = self._offer
        if best is None or (message.preference or 0) > (best.preference or 0):
            self._offer = message
        if message.preference == 255 or self._attempts > 1:
            # RFC 8415 section 18.2.1: that one, at once; or the first that answers late.
            return self._begin_request(now)
        return []

    def _replied(self, message: Message, now: float) -> list[DelegationEffect]:
        phase = self._phase
        if phase is Phase.RELEASE:
            self._idle()
            return [Count("pd_released")]
        if message.status is not None and message.status.code != StatusCode.SUCCESS:
            # RFC 8415 section 18.2.10: it goes on as if nothing had come.
            return [Count(f"pd_status_{message.status.code}")]
        effects: list[DelegationEffect] = [Count("pd_reply")]
        before = dict(self._leases)
        again = False
        renew = rebind = _NEVER
        for association in message.associations:
            if not 1 <= association.iaid <= self._config.count:
                effects.append(Count("pd_wrong_association"))
                continue
            if 0 < association.rebind < association.renew:
                effects.append(Count("pd_bad_times"))  # RFC 8415 section 21.21
                continue
            status = association.status
            if status is not None and status.code != StatusCode.SUCCESS:
                effects.append(Count(f"pd_status_{status.code}"))
                if status.code == StatusCode.NO_BINDING:
                    again = True
                continue
            effects += self._take(association, now)
            lease = self._leases.get(association.iaid)
            if lease is not None:
                renew = min(renew, _time(association.renew, lease, 0.5, now))
                rebind = min(rebind, _time(association.rebind, lease, 0.8, now))
        self._server = message.server or b""
        other_dns, self._dns = message.dns != self._dns, message.dns
        lost = [iaid for iaid in before if iaid not in self._leases]
        if self._leases != before or other_dns:
            prefixes = {i: lease.prefix for i, lease in self._leases.items()}
            same = prefixes == {i: lease.prefix for i, lease in before.items()} and not lost
            effects.append(LeasesChanged(self._config.identity, not same))
        if again and phase in (Phase.RENEW, Phase.REBIND):
            # RFC 8415 section 18.2.10.1: the server knows nothing of it; ask for it.
            self._offer = None
            return effects + self._begin(Phase.REQUEST, now)
        self._renew_at, self._rebind_at = renew, rebind
        if not self._leases:
            self._idle()
            self._retransmit_at = now + UNSERVED_AGAIN / 10
            return [*effects, Note("warning", "the home agent delegates no prefix to us")]
        self._idle()
        return effects

    def _take(self, association: PrefixAssociation, now: float) -> list[DelegationEffect]:
        effects: list[DelegationEffect] = []
        iaid, identity = association.iaid, self._config.identity
        for leased in association.prefixes:
            held = self._leases.get(iaid)
            mine = held is not None and held.prefix == leased.prefix
            if leased.valid == 0:
                if mine:
                    del self._leases[iaid]
                    effects.append(Note("warning", f"{leased.prefix} is ours no more"))
                continue
            if leased.preferred > leased.valid:
                effects.append(Count("pd_bad_times"))  # RFC 8415 section 21.22
                continue
            reason = self._unfit(leased.prefix, iaid)
            if reason:
                effects.append(Count("pd_unfit_prefix"))
                effects.append(Note("warning", f"{leased.prefix} is not taken: {reason}"))
                continue
            if held is not None and not mine and held.valid_until > now:
                # One association, one prefix: the new one takes the place of the old.
                effects.append(Note("info", f"{leased.prefix} instead of {held.prefix}"))
            elif held is None:
                effects.append(Note("info", f"{leased.prefix} is delegated to us"))
            self._leases[iaid] = Lease(
                identity,
                iaid,
                leased.prefix,
                _NEVER if leased.preferred == INFINITY else now + leased.preferred,
                _NEVER if leased.valid == INFINITY else now + leased.valid,
                self._config.duid,
            )
        return effects

    def _unfit(self, prefix: IPv6Network, iaid: int) -> str:
        if prefix.prefixlen == 0 or prefix.is_multicast or prefix.is_link_local:
            return "it cannot be routed"
        # RFC 6276 section 3.1: the home address is not from a delegated prefix.
        for other in (*self._config.reserved, *self._config.own):
            if prefix.overlaps(other) and prefix not in self._config.own:
                return f"it overlaps {other}"
        for number, lease in self._leases.items():
            if number != iaid and prefix.overlaps(lease.prefix):
                return f"it overlaps {lease.prefix}, which is delegated too"
        home = None if self._place is None else self._place.home_address
        if home is not None and home in prefix:
            return "the home address is in it"
        return ""

    def _expire(self, now: float) -> list[DelegationEffect]:
        ended = [lease for lease in self._leases.values() if lease.valid_until <= now]
        effects: list[DelegationEffect] = []
        for lease in ended:
            del self._leases[lease.iaid]
            effects.append(Note("warning", f"the lease of {lease.prefix} ended"))
        if ended:
            effects.append(LeasesChanged(self._config.identity))
        return effects


def _time(given: int, lease: Lease, part: float, now: float) -> float:
    """Return T1 or T2; what the server leaves open is a part of the preferred lifetime."""
    if given == INFINITY:
        return _NEVER
    if given:
        return now + given
    return now + max((lease.preferred_until - now) * part, 1.0)
