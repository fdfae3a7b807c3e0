# SPDX-License-Identifier: GPL-2.0-only
"""Mobile nodes without IPsec, as the home agent checks them (RFC 4285, RFC 4283).

Only owners whose entry has a mobility key may come this way, and they only this
way: an update without the option is dropped in silence (section 5).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv6Address

from ..packet.authenticator import MN_AAA, MN_HA, SPI_HMAC_SHA1, sign, signed, unsigned
from ..packet.careof import CareOf
from ..packet.errors import PacketError
from ..packet.mobility import BindingAcknowledgement, BindingUpdate, parse
from ..packet.options import (
    AlternateCareOfAddress,
    IPv4CareOfAddress,
    MobileNodeIdentifier,
    MobilityMessageAuthentication,
    Option,
    ReplayProtection,
    find,
    find_all,
)
from ..packet.status import BindingAckStatus
from .config import HomeAgentConfig
from .effects import (
    Address,
    Count,
    DetectDuplicate,
    Effect,
    KernelBinding,
    Note,
    Received,
    SendMessage,
)
from .home_agent import HomeAgent
from .ownership import MobilityKey, Owner
from .registration import Refused

#: Seconds between two clocks that are still "close enough" (section 6).
CLOSE_ENOUGH = 7
#: From 1900, where NTP counts from, to 1970.
_NTP_EPOCH = 2_208_988_800
NAI = 1


class Unheard(Exception):
    """A message is dropped without an answer; ``counter`` says why."""

    def __init__(self, counter: str, reason: str) -> None:
        super().__init__(reason)
        self.counter = counter


def ntp(wall: float) -> int:
    """Return seconds since 1970 as a 64-bit NTP timestamp."""
    return int((wall + _NTP_EPOCH) * (1 << 32)) & ((1 << 64) - 1)


def is_close(timestamp: int, wall: float) -> bool:
    """Tell whether a timestamp is close enough to the time here."""
    difference = (timestamp - ntp(wall)) & ((1 << 64) - 1)
    return min(difference, (1 << 64) - difference) <= CLOSE_ENOUGH << 32


@dataclass(frozen=True, slots=True)
class _Sender:
    """Who sent an update, and what its answers must have."""

    owner: Owner
    association: MobilityKey
    care_of: IPv6Address
    timestamp: int | None


def covered_care_of(
    update: BindingUpdate, care_of: CareOf | None, home: IPv6Address
) -> IPv6Address:
    """Return the care-of address that the authenticators of an update cover.

    That which it names, since it may come through a NAT; an IPv4 address as IPv6 maps
    it, about which RFC 4285 says nothing.
    """
    alternate = find(update.options, AlternateCareOfAddress)
    if alternate is not None:
        return alternate.address
    four = find(update.options, IPv4CareOfAddress)
    address: Address = home if care_of is None else care_of.address
    if four is not None:
        address = four.address
    if isinstance(address, IPv6Address):
        return address
    return IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)


class AuthenticatingHomeAgent(HomeAgent):
    """A home agent that also serves mobile nodes without IPsec."""

    def __init__(
        self,
        config: HomeAgentConfig,
        now: float,
        adopted: Iterable[KernelBinding] = (),
        leases: Mapping[str, IPv6Address] | None = None,
    ) -> None:
        super().__init__(config, now, adopted, leases)
        self._waiting: dict[IPv6Address, _Sender] = {}
        self._stamps: dict[str, int] = {}

    def receive(self, received: Received, now: float) -> list[Effect]:
        owner = self.ownership.find(received.source)
        if owner is None or owner.authentication is None:
            return super().receive(received, now)
        try:
            update = parse(received.data)
        except PacketError:
            return super().receive(replace(received, protected=False), now)
        if not isinstance(update, BindingUpdate):
            # Nothing else is covered by this protocol.
            return [Count("mh_not_authenticated")]
        try:
            sender = self._identify(owner, owner.authentication, update, received)
        except Unheard as unheard:
            text = f"{received.source}: {unheard}, dropped"
            return [Count(unheard.counter), Note("warning", text)]
        try:
            self._check(sender, update, received)
        except Refused as refused:
            if refused.status == BindingAckStatus.ID_MISMATCH and sender.timestamp is not None:
                # The high half of the answer tells the time here.
                high = ntp(received.wall) >> 32 << 32
                sender = replace(sender, timestamp=high | sender.timestamp & 0xFFFFFFFF)
            return _signed(sender, self._refuse(update, received, refused))
        effects = _signed(sender, super().receive(replace(received, protected=True), now))
        if any(isinstance(effect, DetectDuplicate) for effect in effects):
            self._waiting[received.source] = sender
        return effects

    def duplicate_checked(self, address: Address, unique: bool, now: float) -> list[Effect]:
        effects = super().duplicate_checked(address, unique, now)
        for effect in effects:
            if isinstance(effect, SendMessage) and effect.destination in self._waiting:
                return _signed(self._waiting.pop(effect.destination), effects)
        return effects

    # --- who it is -----------------------------------------------------------------

    def _identify(
        self, owner: Owner, association: MobilityKey, update: BindingUpdate, received: Received
    ) -> _Sender:
        """Find the security association; without one the update is not heard."""
        options = update.options
        proofs = find_all(options, MobilityMessageAuthentication)
        if not proofs:
            raise Unheard("bu_auth_missing", "an update without authentication")
        kinds = [proof.subtype for proof in proofs]
        if kinds not in ([MN_HA], [MN_AAA], [MN_HA, MN_AAA]) or options[-len(kinds) :] != tuple(
            proofs
        ):
            raise Unheard("bu_auth_order", "authentication options in a wrong order or place")
        names = find_all(options, MobileNodeIdentifier)
        if not names:
            raise Unheard("bu_auth_no_identifier", "an update that does not say whose it is")
        if [(one.subtype, one.identifier) for one in names] != [
            (NAI, association.nai.encode("utf-8"))
        ]:
            raise Unheard("bu_auth_identifier", "an update in another's name")
        if MN_HA in kinds and proofs[0].spi != association.spi:
            raise Unheard("bu_auth_spi", f"no key is known for SPI {proofs[0].spi}")
        if kinds == [MN_AAA] and not association.aaa_key:
            raise Unheard("bu_auth_aaa", "no key is known for MN-AAA authentication")
        stamp = find(options, ReplayProtection)
        return _Sender(
            owner,
            association,
            covered_care_of(update, received.care_of, received.source),
            None if stamp is None else stamp.timestamp,
        )

    def _check(self, sender: _Sender, update: BindingUpdate, received: Received) -> None:
        """Raise ``Refused`` unless the update is authentic and fresh."""
        association = sender.association
        home = received.source
        for proof in find_all(update.options, MobilityMessageAuthentication):
            key = association.key if proof.subtype == MN_HA else association.aaa_key
            if proof.subtype == MN_AAA and not key:
                continue  # MN-HA stands before it and counts
            if (proof.subtype == MN_AAA and proof.spi != SPI_HMAC_SHA1) or not signed(
                received.data, proof.subtype, key, sender.care_of, home
            ):
                raise Refused(BindingAckStatus.AUTHENTICATION_FAILED, "its authentication is wrong")
        stamp = sender.timestamp
        if stamp is None:
            if association.timestamps:
                raise Refused(BindingAckStatus.MESSAGE_ID_REQUIRED, "it has no timestamp")
            return
        identity = sender.owner.identity
        if not is_close(stamp, received.wall) or stamp <= self._stamps.get(identity, 0):
            raise Refused(BindingAckStatus.ID_MISMATCH, "its timestamp is not the time here")
        self._stamps[identity] = stamp


def _signed(sender: _Sender, effects: list[Effect]) -> list[Effect]:
    """Give acknowledgements the authentication that the update had (section 5.1.1)."""
    return [
        replace(effect, message=_acknowledged(effect.message, sender))
        if isinstance(effect, SendMessage) and isinstance(effect.message, BindingAcknowledgement)
        else effect
        for effect in effects
    ]


def _acknowledged(answer: BindingAcknowledgement, sender: _Sender) -> BindingAcknowledgement:
    association = sender.association
    more: list[Option] = []
    if sender.timestamp is not None:
        more.append(ReplayProtection(sender.timestamp))
    more.append(unsigned(MN_HA, association.spi))
    whole = replace(answer, options=(*answer.options, *more))
    home = sender.owner.home_address
    return sign(whole, MN_HA, association.key, sender.care_of, home)
