# SPDX-License-Identifier: GPL-2.0-only
"""CREATE_CHILD_SA for children: new ones and rekeys, with every collision.

RFC 7296 sections 1.3.1, 1.3.3, 2.8, 2.8.1, 2.25 and 2.25.1; RFC 9370 section 2.2.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .child_sa import Agreed, Child, Offer, Trigger, answer, conclude, install, offer
from .contents import Contents, Refused, describe, need
from .core import Core, Timer
from .effects import ChildFailed
from .errors import RemoteError
from .follow_up import FollowUp, expect_follow_ups, follows_up, link_of
from .ike_sa import IkeSa
from .informational import DeleteChild
from .numbers import ExchangeType, NotifyType, TransformType
from .payloads import Notify, Payload
from .request import Request
from .states import CREATE_CHILD, REKEY_CHILD, ChildEvent, ChildState, Reply

#: Waits after TEMPORARY_FAILURE, at random between these (RFC 7296 section 2.25).
RETRY_AFTER: Final = (2.0, 5.0)
#: The wait after a rekey was refused for good: the child lives on until it expires.
REFUSED_AFTER: Final = 60.0
#: Other groups that we try for one child.
GROUPS_MAX: Final = 3


def retry_delay(core: Core) -> float:
    """Return how long to wait after TEMPORARY_FAILURE."""
    least, most = RETRY_AFTER
    return core.jittered(most, 1.0 - least / most)


def out_of_step(core: Core, sa: IkeSa) -> bool:
    """Note a TEMPORARY_FAILURE; True when it went on for so long that the IKE SA closed."""
    assert sa.connection is not None
    if sa.failing_since is None:
        sa.failing_since = core.now
    elif core.now - sa.failing_since >= sa.connection.timings.temporary_failure:
        core.close(sa, "TEMPORARY_FAILURE for too long")
        return True
    return False


def _other_group(error: Notify, offered: Offer, tries: int) -> int:
    """Return the group that INVALID_KE_PAYLOAD asks for. Raises ``RemoteError``."""
    group = int.from_bytes(error.data[:2])
    known = {g for p in offered.proposals for g in p.ids(TransformType.KE)}
    if group not in known or tries >= GROUPS_MAX:
        raise RemoteError(f"key exchange method {group} was not on offer", error.type)
    return group


class NewChild(Request):
    """Our request for a new child; ``trigger`` is the packet that asks for it."""

    __slots__ = ("_group", "_offer", "_tries", "name", "trigger")

    TYPE = ExchangeType.CREATE_CHILD_SA
    ABOUT_CHILD = True

    def __init__(self, name: str, trigger: Trigger | None = None) -> None:
        self.name = name
        self.trigger = trigger
        self._group: int | None = None
        self._tries = 0
        self._offer: Offer | None = None

    def request(self, core: Core, sa: IkeSa) -> Sequence[Payload] | None:
        """See ``Request``."""
        config = sa.child_config(self.name)
        if config is None:
            return None
        alive = (ChildState.INSTALLED, ChildState.REKEYING)
        if any(c.sa.name == self.name and c.state in alive for c in sa.children.values()):
            return None
        if config.unresolved:
            self._fail(core, sa, NotifyType.INTERNAL_ADDRESS_FAILURE, "no address was assigned")
            return None
        self._offer = offer(core, sa, config, group=self._group, trigger=self.trigger)
        return self._offer.payloads()

    def answered(self, core: Core, sa: IkeSa, contents: Contents) -> None:
        """See ``Request``."""
        offered = self._offer
        assert offered is not None
        error = contents.error if contents.sa is None else None
        if error is not None and error.type == NotifyType.TEMPORARY_FAILURE:
            if not out_of_step(core, sa):
                core.retry(sa, self, retry_delay(core))
            return
        if error is not None and error.type == NotifyType.INVALID_KE_PAYLOAD:
            self._group = _other_group(error, offered, self._tries)
            self._tries += 1
            core.queue(sa, self, first=True)
            return
        agreed = conclude(sa, offered, contents)
        sa.failing_since = None
        if agreed.suite.additional_ke:
            core.queue(sa, FollowUp(self, agreed, link_of(contents), self._install), first=True)
        else:
            self._install(core, sa, agreed)

    def _install(self, core: Core, sa: IkeSa, agreed: Agreed) -> None:
        install(core, sa, agreed)

    def failed(self, core: Core, sa: IkeSa, error: RemoteError) -> None:
        """See ``Request``."""
        self._fail(core, sa, error.notify, error.reason)
        if self._offer is not None and not isinstance(error, Refused):
            clean_up(core, sa, self._offer)

    def _fail(self, core: Core, sa: IkeSa, notify: int, reason: str) -> None:
        assert sa.connection is not None
        core.emit(ChildFailed(sa.id, sa.connection.name, self.name, notify, reason))


def clean_up(core: Core, sa: IkeSa, offered: Offer) -> None:
    """Delete what the other side made of an offer, but answered wrongly (section 2.21)."""
    protocol = offered.proposals[0].protocol
    core.queue(sa, DeleteChild(spi=(protocol, offered.spi.to_bytes(4))))


class RekeyChild(Request):
    """Our request to rekey a child.

    When the other side rekeys it at the same time, ``rival_nonces`` are those of
    its exchange and ``rival`` is what that made here.
    """

    __slots__ = ("_group", "_offer", "_tries", "child", "rival", "rival_nonces")

    TYPE = ExchangeType.CREATE_CHILD_SA
    ABOUT_CHILD = True

    def __init__(self, child: Child) -> None:
        self.child = child
        self.rival: Child | None = None
        self.rival_nonces: tuple[bytes, bytes] | None = None
        self._group: int | None = None
        self._tries = 0
        self._offer: Offer | None = None

    def request(self, core: Core, sa: IkeSa) -> Sequence[Payload] | None:
        """See ``Request``."""
        child = self.child
        if child.state is not ChildState.INSTALLED:
            return None
        child.change(ChildEvent.REKEY)
        self.rival = self.rival_nonces = None
        config = sa.child_config(child.sa.name) or child.config
        if config.mode is not child.sa.mode or config.endpoints != child.config.endpoints:
            config = child.config
        self._offer = offer(core, sa, config, group=self._group, rekeyed=child)
        spi = child.spi_in
        return [
            Notify(NotifyType.REKEY_SA, protocol=child.sa.protocol, spi=spi),
            *self._offer.payloads(),
        ]

    def answered(self, core: Core, sa: IkeSa, contents: Contents) -> None:
        """See ``Request``."""
        offered, child = self._offer, self.child
        assert offered is not None
        if contents.sa is None and contents.error is not None:
            self._refused(core, sa, contents.error, offered)
            return
        agreed = conclude(sa, offered, contents)
        sa.failing_since = child.failing_since = None
        if agreed.suite.additional_ke:
            if self._loses(agreed):
                # The other end forgets by itself what is not followed up.
                core.count("ike_child_collision_lost")
                self._yield()
                return
            core.queue(sa, FollowUp(self, agreed, link_of(contents), self._finish), first=True)
        else:
            self._finish(core, sa, agreed)

    def _loses(self, agreed: Agreed) -> bool:
        """Whether the other side's rekey stays: the lowest nonce loses (section 2.8.1)."""
        if self.rival_nonces is None:
            return False
        if self.rival is not None and self.rival.state is ChildState.GONE:
            return False
        return agreed.lowest_nonce < min(self.rival_nonces)

    def _finish(self, core: Core, sa: IkeSa, agreed: Agreed) -> None:
        child = self.child
        if self._loses(agreed) and self.rival is not None:
            core.count("ike_child_collision_lost")
            spi = agreed.spi_in.to_bytes(4)
            core.queue(sa, DeleteChild(spi=(agreed.suite.protocol, spi)))
            self._yield()
            return
        new = install(core, sa, agreed)
        if self.rival is not None and self.rival.state is ChildState.INSTALLED:
            # The other side deletes it, having seen the same nonces; it is never used.
            core.count("ike_child_collision_won")
            core.timers.cancel((Timer.USE_CHILD, self.rival.sa.id, 0))
            self.rival.change(ChildEvent.SUCCEEDED)
            self.rival.successor = new
        if child.state is ChildState.REKEYING:
            child.change(ChildEvent.SUCCEEDED)
            child.successor = new
            core.queue(sa, DeleteChild(child))

    def _yield(self) -> None:
        """Leave the old child to the other side, whose rekey stays."""
        if self.child.state is ChildState.REKEYING:
            self.child.change(ChildEvent.SUCCEEDED)
            self.child.successor = self.rival

    def _refused(self, core: Core, sa: IkeSa, error: Notify, offered: Offer) -> None:
        child = self.child
        if child.state is not ChildState.REKEYING:
            return
        if self.rival is not None and self.rival.state is not ChildState.GONE:
            self._yield()
            return
        child.change(ChildEvent.REKEY_FAILED)
        if error.type == NotifyType.CHILD_SA_NOT_FOUND:
            name = child.sa.name
            core.remove_child(child, "the other side does not know it")
            core.queue(sa, NewChild(name))
        elif error.type == NotifyType.TEMPORARY_FAILURE:
            if not out_of_step(core, sa):
                at = core.now + retry_delay(core)
                core.timers.set((Timer.CHILD_REKEY, child.sa.id, 0), at)
        elif error.type == NotifyType.INVALID_KE_PAYLOAD:
            self._group = _other_group(error, offered, self._tries)
            self._tries += 1
            core.queue(sa, self, first=True)
        else:
            self._later(core, sa, f"the other side says {describe(error.type)}")

    def failed(self, core: Core, sa: IkeSa, error: RemoteError) -> None:
        """See ``Request``."""
        if self._offer is not None and not isinstance(error, Refused):
            clean_up(core, sa, self._offer)
        if self.child.state is ChildState.REKEYING:
            self.child.change(ChildEvent.REKEY_FAILED)
        self._later(core, sa, error.reason)

    def _later(self, core: Core, sa: IkeSa, reason: str) -> None:
        child = self.child
        core.note("warning", f"{sa}: {child} cannot be rekeyed: {reason}")
        if child.state is ChildState.INSTALLED:
            core.timers.set((Timer.CHILD_REKEY, child.sa.id, 0), core.now + REFUSED_AFTER)

    def dropped(self, core: Core, sa: IkeSa) -> None:
        """See ``Request``."""
        if self.child.state is ChildState.REKEYING:
            self.child.change(ChildEvent.REKEY_FAILED)


# --- the end that answers -------------------------------------------------------------------


def answer_create_child(core: Core, sa: IkeSa, contents: Contents) -> list[Payload]:
    """Answer a request for a child or its rekey. Raises ``RemoteError`` to refuse it."""
    if CREATE_CHILD[sa.state] is Reply.TEMPORARY_FAILURE or not sa.announced:
        raise RemoteError(f"{sa} is being replaced", NotifyType.TEMPORARY_FAILURE)
    assert sa.connection is not None
    notify = contents.notify(NotifyType.REKEY_SA)
    if notify is not None:
        return _answer_rekey(core, sa, contents, notify)
    if len(sa.children) >= core.config.children_max:
        raise RemoteError("too many children", NotifyType.NO_ADDITIONAL_SAS)
    agreed, payloads = answer(core, sa, contents, sa.resolved)
    if agreed.suite.additional_ke:
        payloads.append(expect_follow_ups(core, sa, agreed, _install_new))
    else:
        _install_new(core, sa, agreed)
    return payloads


def _install_new(core: Core, sa: IkeSa, agreed: Agreed) -> None:
    install(core, sa, agreed)


def _answer_rekey(core: Core, sa: IkeSa, contents: Contents, notify: Notify) -> list[Payload]:
    child = sa.child_out(notify.protocol, notify.spi)
    reply = REKEY_CHILD[child.state if child else ChildState.GONE]
    if child is None or reply is Reply.NOT_FOUND:
        return [Notify(NotifyType.CHILD_SA_NOT_FOUND, protocol=notify.protocol, spi=notify.spi)]
    if reply is Reply.TEMPORARY_FAILURE or follows_up(sa, child):
        raise RemoteError(f"{child} is {child.state.value}", NotifyType.TEMPORARY_FAILURE)
    need(contents.nonce, "Nonce")
    config = sa.child_config(child.sa.name) or child.config
    if config.mode is not child.sa.mode or config.endpoints != child.config.endpoints:
        config = child.config
    agreed, payloads = answer(core, sa, contents, [config], rekeyed=child)
    if reply is Reply.COLLISION:
        rekey = _own_rekey(sa, child)
        if rekey is not None:
            rekey.rival_nonces = agreed.nonce_i, agreed.nonce_r
    if agreed.suite.additional_ke:
        payloads.append(expect_follow_ups(core, sa, agreed, _install_rekeyed))
    else:
        _install_rekeyed(core, sa, agreed)
    return payloads


def _own_rekey(sa: IkeSa, child: Child) -> RekeyChild | None:
    for item in sa.requests.outstanding.values():
        exchange = item.exchange
        if isinstance(exchange, RekeyChild) and exchange.child is child:
            return exchange
    return None


def _install_rekeyed(core: Core, sa: IkeSa, agreed: Agreed) -> None:
    """Be ready to receive by the new child before the answer goes out (section 2.8)."""
    old = agreed.rekeyed
    assert old is not None
    if old.state is ChildState.GONE:
        install(core, sa, agreed)
        return
    new = install(core, sa, agreed, outbound=False)
    rekey = _own_rekey(sa, old)
    if old.state is ChildState.REKEYING and rekey is not None:
        rekey.rival = new
        rekey.rival_nonces = new.nonces
    elif old.state in (ChildState.INSTALLED, ChildState.REKEYING):
        if old.state is ChildState.REKEYING:
            old.change(ChildEvent.REKEY_FAILED)
        old.change(ChildEvent.SUCCEEDED)
        old.successor = new
        core.timers.cancel((Timer.CHILD_REKEY, old.sa.id, 0))
