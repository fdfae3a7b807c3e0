# SPDX-License-Identifier: GPL-2.0-only
"""Security policies and associations of the kernel (XFRM netlink)."""

from __future__ import annotations

import contextlib
import errno
import logging
import secrets
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv6Address
from typing import Final

from ..ipsec.association import Address, Association, Installed, Replay, SecurityProtocol, Usage
from ..ipsec.movement import (
    Ability,
    ClearLarval,
    DropPolicy,
    Migrate,
    MigrateState,
    PutPolicy,
    Reinstall,
    Remap,
    Settle,
    Step,
)
from ..ipsec.policy import Policy, Template, is_our_reqid, is_ours
from ..ipsec.synchronise import synchronise
from .netlink import (
    NETLINK_XFRM,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NetlinkError,
    NetlinkSocket,
    NotificationSocket,
)
from .xfrm_codec import (
    Message,
    decode_counters,
    decode_deleted,
    decode_installed,
    decode_policy,
    encode_allocation,
    encode_association,
    encode_get_counters,
    encode_migrate,
    encode_migrate_state,
    encode_policy,
    encode_policy_id,
    encode_sa_id,
    encode_set_counters,
)
from .xfrm_events import Event, Group, decode_event

log = logging.getLogger(__name__)

_GONE: Final = (errno.ENOENT, errno.ESRCH)
#: What MIGRATE answers when it cannot do what it is told.
_REFUSED: Final = (
    errno.ENOENT,
    errno.ESRCH,
    errno.ENODATA,
    errno.EINVAL,
    errno.ENOPROTOOPT,
    errno.EEXIST,
)
_TRIES: Final = 8
_NOWHERE: Final = IPv6Address(1)
_STATE_SIZE: Final = 132
_POLICY_ID_SIZE: Final = 64
_LAST_PLAIN: Final = 0xFFFFFFFF
_LAST_EXTENDED: Final = 0xFFFFFFFFFFFFFFFF


class Xfrm:
    """Installs what the rows of :mod:`dsmip.ipsec.policy` ask for, and moves it.

    ``ability`` forces what the kernel is taken to be able to do; by default it
    is found out once. Every method raises ``NetlinkError``.
    """

    def __init__(self, ability: Ability | None = None) -> None:
        self._netlink = NetlinkSocket(NETLINK_XFRM)
        self._ability = ability

    def close(self) -> None:
        self._netlink.close()

    # --- as a whole ---

    def synchronise(
        self,
        associations: Iterable[Association] | None,
        policies: Iterable[Policy],
        reqids: Collection[int] = (),
    ) -> tuple[int, int]:
        """Make the kernel hold exactly these of ours; see ``ipsec.synchronise``."""
        return synchronise(self, associations, policies, reqids)

    def clear(self, reqids: Collection[int] = ()) -> None:
        """Remove all policies and associations that are ours."""
        self.synchronise((), (), reqids)

    # --- associations ---

    def associations(self, reqids: Collection[int] = ()) -> list[Association]:
        """Return the associations that are ours, and those with other ``reqids``."""
        return [one.association for one in self.installed(reqids)]

    def installed(self, reqids: Collection[int] = ()) -> list[Installed]:
        """Return the same with their counters."""
        answers = self._netlink.dump(Message.GETSA, b"", "reading security associations")
        found = (decode_installed(payload) for kind, payload in answers if kind == Message.NEWSA)
        return [
            one
            for one in found
            if one is not None
            and (is_our_reqid(one.association.reqid) or one.association.reqid in reqids)
        ]

    def read(
        self,
        destination: Address,
        spi: int,
        protocol: SecurityProtocol = SecurityProtocol.ESP,
    ) -> Installed | None:
        """Return one association with its counters, None when it is not there."""
        body = encode_sa_id(destination, spi, protocol)
        what = f"reading security association 0x{spi:08x}"
        try:
            answers = self._netlink.request(Message.GETSA, body, what=what)
        except NetlinkError as error:
            if error.errno in _GONE:
                return None
            raise
        return decode_installed(answers[0][1]) if answers else None

    def add_association(
        self, association: Association, replay: Replay | None = None, usage: Usage | None = None
    ) -> None:
        """Install an association, with the counters of one that it continues."""
        body = encode_association(association, replay, usage)
        flags = NLM_F_CREATE | NLM_F_EXCL
        self._netlink.request(Message.NEWSA, body, flags, f"security {association!r}")

    def update_association(self, association: Association) -> None:
        """Give an association other lifetimes or UDP ports; the rest stays, counters too."""
        body = encode_association(association)
        self._netlink.request(Message.UPDSA, body, what=f"updating security {association!r}")

    def remove_association(self, association: Association) -> None:
        """Remove an association; one that is not there is no error."""
        self.remove(association.destination, association.spi, association.protocol)

    def remove(
        self,
        destination: Address,
        spi: int,
        protocol: SecurityProtocol = SecurityProtocol.ESP,
    ) -> None:
        """Remove an association by its SPI; one that is not there is no error."""
        body = encode_sa_id(destination, spi, protocol)
        self._remove(Message.DELSA, body, f"removing security association 0x{spi:08x}")

    def counters(self, association: Association) -> Replay:
        """Return the sequence numbers of an association."""
        what = f"reading counters of {association!r}"
        body = encode_get_counters(association)
        for _kind, payload in self._netlink.request(Message.GETAE, body, what=what):
            found = decode_counters(payload)
            if found is not None:
                return found
        raise NetlinkError(errno.ENODATA, what)

    def set_counters(self, association: Association, replay: Replay) -> None:
        """Set the sequence numbers of an association; never backwards with the same key."""
        body = encode_set_counters(association, replay)
        what = f"setting counters of {association!r}"
        self._netlink.request(Message.NEWAE, body, NLM_F_REPLACE, what)

    # --- policies ---

    def policies(self) -> list[Policy]:
        """Return the policies that are ours."""
        answers = self._netlink.dump(Message.GETPOLICY, b"", "reading security policies")
        found = (decode_policy(payload) for kind, payload in answers if kind == Message.NEWPOLICY)
        return [policy for policy in found if policy is not None and is_ours(policy)]

    def put_policy(self, policy: Policy) -> None:
        """Install a policy or replace the one with its selector and direction."""
        what = f"security policy for {policy.selector.source} -> {policy.selector.destination}"
        self._netlink.request(Message.UPDPOLICY, encode_policy(policy), what=what)

    def remove_policy(self, policy: Policy) -> None:
        """Remove a policy; one that is not there is no error."""
        what = f"removing security policy for {policy.selector.source}"
        self._remove(Message.DELPOLICY, encode_policy_id(policy), what)

    # --- movement ---

    @property
    def ability(self) -> Ability:
        """What the kernel can do, or is said to be able to do."""
        if self._ability is None:
            self._ability = self._probe()
        return self._ability

    def carry(self, steps: Iterable[Step]) -> None:
        """Carry out a plan of :mod:`dsmip.ipsec.movement`.

        After an error outgoing packets may still be held back: the caller brings
        policies in order by ``synchronise``.
        """
        for step in steps:
            if isinstance(step, PutPolicy):
                self.put_policy(step.policy)
            elif isinstance(step, DropPolicy):
                self.remove_policy(step.policy)
            elif isinstance(step, ClearLarval):
                self._clear_larval(step.template)
            elif isinstance(step, Migrate):
                self._migrate(step)
            elif isinstance(step, MigrateState):
                self._migrate_state(step)
            elif isinstance(step, Reinstall):
                self._reinstall(step.association, step.moved, step.skip)
            elif isinstance(step, Settle):
                self._settle(step)
            else:
                self._remap(step)

    def _probe(self) -> Ability:
        # An SPI that is never used: with MIGRATE_STATE the answer is that it is not there.
        nobody = encode_sa_id(_NOWHERE, 1, SecurityProtocol.ESP)
        try:
            self._netlink.request(Message.MIGRATE_STATE, nobody.ljust(_STATE_SIZE, b"\0"))
        except NetlinkError as error:
            if error.errno == errno.ESRCH:
                return Ability.MIGRATE_STATE
        try:
            # Without anything to migrate it is refused as incomplete where it exists at all.
            self._netlink.request(Message.MIGRATE, bytes(_POLICY_ID_SIZE))
        except NetlinkError as error:
            if error.errno == errno.EPERM:
                raise
            return Ability.NONE if error.errno == errno.ENOPROTOOPT else Ability.MIGRATE
        return Ability.MIGRATE

    def _migrate(self, step: Migrate) -> None:
        body = encode_migrate(step.policy, step.old, step.new, step.encapsulation, step.addresses)
        what = f"moving security policy for {step.policy.selector.source}"
        try:
            self._netlink.request(Message.MIGRATE, body, what=what)
        except NetlinkError as error:
            if error.errno not in _REFUSED:
                raise
            log.debug("%s; %d steps instead", error, len(step.otherwise))
            self.carry(step.otherwise)

    def _migrate_state(self, step: MigrateState) -> None:
        body = encode_migrate_state(step.association, step.moved)
        try:
            self._netlink.request(Message.MIGRATE_STATE, body, what=f"moving {step.moved!r}")
        except NetlinkError as error:
            if error.errno not in _REFUSED:
                raise
            log.debug("%s; it is installed anew", error)
            self.carry(step.otherwise)

    def _reinstall(self, association: Association, moved: Association, skip: int) -> None:
        last = self._delete(association)
        if last is None:
            return  # it expired, or whoever keeps keys has moved it
        held = last.association
        # What the kernel held counts, but for its ends: it may have been renewed meanwhile.
        again = held.at(moved.ends, moved.encapsulation)
        try:
            self.add_association(again, _ahead(held, last.replay, skip), last.usage)
        except NetlinkError as error:
            # Another key manager that MIGRATE told may have been faster.
            if error.errno != errno.EEXIST:
                raise

    def _delete(self, association: Association) -> Installed | None:
        """Delete an association and return its very last counters.

        They come with the notification of its end: whatever is read before, the
        next packet makes it old, and an old window accepts that packet again.
        """
        events = NotificationSocket(NETLINK_XFRM, (Group.SA,))
        try:
            before = self.read(association.destination, association.spi, association.protocol)
            if before is None:
                return None
            self.remove_association(association)
            for kind, payload in events.receive():
                last = decode_deleted(payload) if kind == Message.DELSA else None
                if last is not None and _same(last.association, association):
                    return last
            return before
        finally:
            events.close()

    def _settle(self, step: Settle) -> None:
        moved = step.moved
        found = self.read(moved.destination, moved.spi, moved.protocol)
        if found is None and moved.destination != step.association.destination:
            self._reinstall(step.association, moved, step.skip)
        elif found is not None:
            held = found.association
            if held.ends != moved.ends or held.encapsulation != moved.encapsulation:
                self._reinstall(held, moved, step.skip)
            elif step.skip:
                with _unless_gone():
                    self.set_counters(held, _ahead(held, found.replay, step.skip))

    def _remap(self, step: Remap) -> None:
        wanted = step.association
        found = self.read(wanted.destination, wanted.spi, wanted.protocol)
        if found is not None:
            renewed = replace(found.association, encapsulation=wanted.encapsulation)
            with _unless_gone():
                self.update_association(renewed)

    def _clear_larval(self, template: Template) -> None:
        """Remove the state that waits for an association.

        A larval state cannot be named by an SPI, since it has none, so it is given
        one; where there is no such state the kernel makes one for it.
        """
        if template.outer is None:
            return
        destination = template.outer[1]
        for _ in range(_TRIES):
            spi = secrets.randbelow(0xF0000000) + 0x10000000
            try:
                self._netlink.request(
                    Message.ALLOCSPI, encode_allocation(template, spi), what="larval state"
                )
            except NetlinkError as error:
                if error.errno in _GONE:
                    continue  # that SPI is taken
                raise
            self.remove(destination, spi, template.protocol)
            return

    def _remove(self, kind: Message, body: bytes, what: str) -> None:
        with _unless_gone():
            self._netlink.request(kind, body, what=what)


class XfrmMonitor:
    """Notifications for whoever keeps keys: ACQUIRE, EXPIRE, MAPPING and MIGRATE."""

    def __init__(self) -> None:
        groups = (Group.ACQUIRE, Group.EXPIRE, Group.MIGRATE, Group.MAPPING)
        self._socket = NotificationSocket(NETLINK_XFRM, groups)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def receive(self) -> Iterator[Event]:
        """Yield what has happened; raises ``Overrun`` when something was lost."""
        for kind, payload in self._socket.receive():
            event = decode_event(kind, payload)
            if event is not None:
                yield event


@contextlib.contextmanager
def _unless_gone() -> Iterator[None]:
    """Let pass that something is not there: it expired, or another key manager has it."""
    try:
        yield
    except NetlinkError as error:
        if error.errno not in _GONE:
            raise


def _same(one: Association, other: Association) -> bool:
    return (one.destination, one.spi, one.protocol) == (
        other.destination,
        other.spi,
        other.protocol,
    )


def _ahead(association: Association, replay: Replay, skip: int) -> Replay:
    """Return counters that leave out numbers; at the end they stop, they never wrap."""
    last = _LAST_EXTENDED if association.esn else _LAST_PLAIN
    return replace(replay, sent=min(replay.sent + skip, last))
