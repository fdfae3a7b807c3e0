# SPDX-License-Identifier: GPL-2.0-only
"""A mobile node without IPsec: what it adds to updates and checks in answers (RFC 4285)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from ipaddress import IPv6Address

from ..packet.authenticator import MN_HA, sign, signed, unsigned
from ..packet.errors import PacketError
from ..packet.mobility import BindingAcknowledgement, BindingUpdate, parse
from ..packet.options import MobileNodeIdentifier, Option, ReplayProtection, find
from ..packet.status import BindingAckStatus
from .authentication import NAI, covered_care_of, ntp
from .effects import Count, Effect, Note, Received, SendMessage
from .ownership import MobilityKey

#: Updates whose answers may still come.
SENT_MAX = 16


@dataclass(frozen=True, slots=True)
class _Sent:
    care_of: IPv6Address
    timestamp: int | None


class Signer:
    """Between a mobile router's engine and the wire; ``wall`` is seconds since 1970."""

    def __init__(self, association: MobilityKey) -> None:
        self._association = association
        self._sent: OrderedDict[int, _Sent] = OrderedDict()
        self._last = 0
        #: What to add to the clock here to have the home agent's, in 2**-32 s.
        self._offset = 0

    def reconfigure(self, association: MobilityKey) -> None:
        """Use another security association from now on."""
        if association != self._association:
            self._association = association
            self._sent.clear()

    def sign(self, effect: SendMessage, wall: float) -> SendMessage:
        """Return what is to be sent: an update with identifier, timestamp and authenticator."""
        update = effect.message
        if not isinstance(update, BindingUpdate):
            return effect
        association, home = self._association, effect.source
        # Who it is comes before what it selects (RFC 5149 section 4.1).
        options: list[Option] = [
            MobileNodeIdentifier(association.nai.encode("utf-8"), NAI),
            *update.options,
        ]
        timestamp = None
        if association.timestamps:
            # Greater than any before, whatever the clock does.
            timestamp = max(ntp(wall) + self._offset, self._last + 1) & ((1 << 64) - 1)
            self._last = timestamp
            options.append(ReplayProtection(timestamp))
        options.append(unsigned(MN_HA, association.spi))
        care_of = covered_care_of(update, effect.care_of, home)
        self._sent[update.sequence] = _Sent(care_of, timestamp)
        while len(self._sent) > SENT_MAX:
            self._sent.popitem(last=False)
        whole = replace(update, options=tuple(options))
        return replace(effect, message=sign(whole, MN_HA, association.key, care_of, home))

    def check(self, received: Received, home: IPv6Address) -> Received | list[Effect]:
        """Return a message for the engine, ``protected`` if it is authentic; or what to do.

        Only acknowledgements are covered by this protocol.
        """
        try:
            answer = parse(received.data)
        except PacketError:
            return replace(received, protected=False)
        if not isinstance(answer, BindingAcknowledgement):
            return replace(received, protected=False)
        sent = self._sent.get(answer.sequence)
        if sent is None and answer.status == BindingAckStatus.SEQUENCE_OUT_OF_WINDOW:
            # It names the home agent's number: any update that is open may be meant.
            sent = self._one_signed(received, home)
        if sent is None:
            return [Count("ba_unexpected")]
        if not signed(received.data, MN_HA, self._association.key, sent.care_of, home):
            text = f"{received.source}: acknowledgement with a wrong authenticator, dropped"
            return [Count("ba_auth_failed"), Note("warning", text)]
        stamp = find(answer.options, ReplayProtection)
        there = None if stamp is None else stamp.timestamp
        if answer.status == BindingAckStatus.ID_MISMATCH and sent.timestamp is not None:
            return self._adjust(sent.timestamp, there)
        if there != sent.timestamp:
            return [Count("ba_auth_timestamp")]
        return replace(received, protected=True)

    def _one_signed(self, received: Received, home: IPv6Address) -> _Sent | None:
        for sent in reversed(self._sent.values()):
            if signed(received.data, MN_HA, self._association.key, sent.care_of, home):
                return sent
        return None

    def _adjust(self, sent: int, there: int | None) -> list[Effect]:
        """Take the home agent's time of day (section 6); the next update has it."""
        if there is None or (there ^ sent) & 0xFFFFFFFF:
            return [Count("ba_auth_timestamp")]
        self._offset += there - sent
        # What was sent by the wrong clock was not accepted, and must not hold us back.
        self._last = 0
        seconds = (there - sent) >> 32
        text = f"the home agent's clock is {abs(seconds)} s {'ahead' if seconds > 0 else 'behind'}"
        return [Count("clock_adjusted"), Note("info", f"{text}, timestamps follow it")]
