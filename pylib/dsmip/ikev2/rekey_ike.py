# SPDX-License-Identifier: GPL-2.0-only
"""Rekeying of the IKE SA itself, with its collisions.

RFC 7296 sections 1.3.2, 2.8, 2.8.2, 2.18 and 2.25.2; RFC 9370 section 2.2.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from .contents import Contents, Refused, describe, need
from .core import Core, Timer
from .create_child import GROUPS_MAX, out_of_step, retry_delay
from .crypto import PrivateKey, check_suite, generate, respond
from .effects import DownCause
from .errors import RemoteError
from .follow_up import FollowUp, expect_follow_ups, follows_up, link_of
from .ike_sa import Features, IkeSa
from .informational import DeleteIke
from .initial import use_keys
from .keys import rekeyed
from .numbers import ExchangeType, NotifyType, TransformType
from .payloads import KE, SA, Nonce, Notify, Payload
from .proposals import Proposal, Suite, accepted, select, with_spi
from .request import Request
from .resumption import TicketRequest
from .states import REKEY_IKE, IkeEvent, IkeState, Reply

#: The wait after a rekey was refused for good.
REFUSED_AFTER: Final = 60.0
#: How long an IKE SA that lost a collision waits for its creator to delete it.
REDUNDANT_LINGERS: Final = 30.0


@dataclass(slots=True, eq=False)
class AgreedIke:
    """A successor of an IKE SA that both ends agreed on."""

    suite: Suite
    spi_i: bytes
    spi_r: bytes
    nonce_i: bytes
    nonce_r: bytes
    initiator: bool
    rekeyed: IkeSa
    secrets: list[bytes] = field(default_factory=list, repr=False)

    @property
    def lowest_nonce(self) -> bytes:
        """The lower nonce, compared octet by octet (RFC 7296 section 2.8.2)."""
        return min(self.nonce_i, self.nonce_r)


def successor(core: Core, agreed: AgreedIke) -> IkeSa:
    """Make the IKE SA that was agreed on; it takes nothing over yet."""
    old = agreed.rekeyed
    assert old.keys is not None
    new = IkeSa(
        core.new_id(),
        agreed.initiator,
        old.mobile,
        agreed.spi_i,
        agreed.spi_r,
        old.local,
        old.remote,
        core.now,
        connection=old.connection,
        state=IkeState.HALF_OPEN,
        own=old.own,
        peer=old.peer,
        suite=agreed.suite,
        nonce_i=agreed.nonce_i,
        nonce_r=agreed.nonce_r,
        handshake=None,
    )
    follow_path(old, new)
    use_keys(
        new,
        rekeyed(
            agreed.suite,
            old.keys,
            agreed.secrets[0],
            agreed.nonce_i,
            agreed.nonce_r,
            agreed.spi_i,
            agreed.spi_r,
            tuple(agreed.secrets[1:]),
        ),
    )
    features = old.features
    new.features = Features(
        features.nat_traversal,
        features.fragmentation,
        features.mobike,
        features.childless,
        redirect=features.redirect,
        intermediate=features.intermediate,
    )
    new.ppk_used = old.ppk_used
    new.peer_addresses = old.peer_addresses
    core.register(new)
    return new


def follow_path(old: IkeSa, new: IkeSa) -> None:
    """Put ``new`` where ``old`` is."""
    new.local, new.remote = old.local, old.remote
    new.nat_local, new.nat_remote, new.nat_known = old.nat_local, old.nat_remote, old.nat_known
    new.path, new.tunnel = old.path, old.tunnel


def take_over(core: Core, old: IkeSa, new: IkeSa) -> None:
    """Let ``new`` have everything of ``old``, which only waits for its end from now on."""
    follow_path(old, new)
    new.assignment, new.assigned_here = old.assignment, old.assigned_here
    new.resolved, new.connection = old.resolved, old.connection
    new.reauthenticate_at = old.reauthenticate_at
    new.credential_ends = old.credential_ends
    new.claimed = old.claimed
    expiry = core.timers.at((Timer.EXPIRY, old.id, 0))
    if expiry is not None:
        core.timers.set((Timer.EXPIRY, new.id, 0), expiry)
    for other in core.of_connection(old.connection.name) if old.connection else ():
        if other.replaces == old.id:
            other.replaces = new.id
    waits_for, old.replaces = old.replaces, None
    new.replaces = old.id
    old.successor = new
    old.change(IkeEvent.SUCCEEDED)
    core.take_over(old, new)
    new.replaces = waits_for
    if old.ticket:
        # It was for the old one (RFC 5723 section 6.2).
        core.tickets.used(old.ticket, core.now + core.config.ticket_lifetime, core.now)
    if new.mobile and new.connection is not None and new.connection.resumption:
        core.tickets.forget(new.connection.name)
        core.queue(new, TicketRequest())


class RekeyIke(Request):
    """Our request to rekey the IKE SA.

    When the other side does so at the same time, ``rival_nonces`` are those of its
    exchange and ``rival`` is the IKE SA that it made.
    """

    __slots__ = (
        "_group",
        "_nonce",
        "_private",
        "_proposals",
        "_sa",
        "_spi",
        "_tries",
        "rival",
        "rival_nonces",
    )

    TYPE = ExchangeType.CREATE_CHILD_SA
    ALONE = True

    def __init__(self) -> None:
        self.rival: IkeSa | None = None
        self.rival_nonces: tuple[bytes, bytes] | None = None
        self._group: int | None = None
        self._tries = 0
        self._private: PrivateKey | None = None
        self._spi = b""
        self._nonce = b""
        self._proposals: tuple[Proposal, ...] = ()

    def request(self, core: Core, sa: IkeSa) -> Sequence[Payload] | None:
        """See ``Request``."""
        if sa.state is not IkeState.ESTABLISHED:
            return None
        assert sa.connection is not None
        sa.change(IkeEvent.REKEY)
        self.rival = self.rival_nonces = None
        self._spi = core.new_ike_spi()
        self._nonce = core.random(32)
        self._proposals = with_spi(sa.connection.proposals, self._spi)
        if self._group is None:
            # The group in use is the one that the other side surely takes.
            offered = {g for p in self._proposals for g in p.ids(TransformType.KE)}
            first = self._proposals[0].ids(TransformType.KE)[0]
            used = sa.suite.ke if sa.suite else 0
            self._group = used if used in offered else first
        self._private = generate(self._group)
        return [
            SA(self._proposals),
            Nonce(self._nonce),
            KE(self._private.method, self._private.public),
        ]

    def answered(self, core: Core, sa: IkeSa, contents: Contents) -> None:
        """See ``Request``."""
        if contents.sa is None and contents.error is not None:
            self._refused(core, sa, contents.error)
            return
        private = self._private
        assert private is not None
        suite = accepted(need(contents.sa, "SA").proposals, self._proposals)
        if len(suite.spi) != 8 or not any(suite.spi):
            raise RemoteError("IKE SA without SPI")
        theirs = need(contents.ke, "KE")
        if theirs.method != private.method or suite.ke != private.method:
            raise RemoteError(f"key exchange method {theirs.method} was not sent")
        nonce_r = need(contents.nonce, "Nonce").data
        agreed = AgreedIke(suite, self._spi, suite.spi, self._nonce, nonce_r, True, sa)
        agreed.secrets.append(private.shared(theirs.data))
        sa.failing_since = None
        if suite.additional_ke:
            if self._loses(agreed):
                core.count("ike_collision_lost")
                self._yield(core, sa)
                return
            follow_up = FollowUp(self, agreed, link_of(contents), self._finish)
            core.queue(sa, follow_up, first=True)
        else:
            self._finish(core, sa, agreed)

    def _loses(self, agreed: AgreedIke) -> bool:
        """Whether the other side's rekey stays: the lowest nonce loses."""
        if self.rival_nonces is None:
            return False
        if self.rival is not None and self.rival.state is IkeState.GONE:
            return False
        return agreed.lowest_nonce < min(self.rival_nonces)

    def _finish(self, core: Core, sa: IkeSa, agreed: AgreedIke) -> None:
        loses = self._loses(agreed) and self.rival is not None
        new = successor(core, agreed)
        if loses:
            core.count("ike_collision_lost")
            new.change(IkeEvent.UP)
            core.queue(new, DeleteIke("it lost a collision", quiet=True))
            self._yield(core, sa)
            return
        if self.rival is not None and self.rival.state is not IkeState.GONE:
            core.count("ike_collision_won")
            core.linger(self.rival, REDUNDANT_LINGERS)
        take_over(core, sa, new)
        core.queue(sa, DeleteIke("rekeyed"))

    def _yield(self, core: Core, sa: IkeSa) -> None:
        """Go on in the other side's IKE SA; it deletes the old one."""
        if self.rival is not None and sa.state is IkeState.REKEYING:
            take_over(core, sa, self.rival)
            core.linger(sa)
        elif sa.state is IkeState.REKEYING:
            sa.change(IkeEvent.REKEY_FAILED)

    def _refused(self, core: Core, sa: IkeSa, error: Notify) -> None:
        if self.rival is not None and self.rival.state is not IkeState.GONE:
            self._yield(core, sa)
            return
        if sa.state is IkeState.REKEYING:
            sa.change(IkeEvent.REKEY_FAILED)
        if error.type == NotifyType.TEMPORARY_FAILURE:
            if not out_of_step(core, sa):
                core.timers.set((Timer.REKEY, sa.id, 0), core.now + retry_delay(core))
        elif error.type == NotifyType.INVALID_KE_PAYLOAD and self._tries < GROUPS_MAX:
            self._group = int.from_bytes(error.data[:2])
            if self._group not in {g for p in self._proposals for g in p.ids(TransformType.KE)}:
                self._later(core, sa, f"key exchange method {self._group} was not on offer")
                return
            self._tries += 1
            core.queue(sa, self, first=True)
        else:
            self._later(core, sa, f"the other side says {describe(error.type)}")

    def _later(self, core: Core, sa: IkeSa, reason: str) -> None:
        core.note("warning", f"{sa} cannot be rekeyed: {reason}")
        core.timers.set((Timer.REKEY, sa.id, 0), core.now + REFUSED_AFTER)

    def failed(self, core: Core, sa: IkeSa, error: RemoteError) -> None:
        """See ``Request``.

        After an answer that makes no sense the other side goes on in an IKE SA that
        we do not have: nothing can be saved.
        """
        if not isinstance(error, Refused):
            core.close(sa, f"rekeyed to an IKE SA that is of no use: {error.reason}")
            return
        if sa.state is IkeState.REKEYING:
            sa.change(IkeEvent.REKEY_FAILED)
        self._later(core, sa, error.reason)

    def adopt_rival(self, core: Core, sa: IkeSa) -> bool:
        """Go on in the other side's IKE SA if there is one; our request is forgotten."""
        if self.rival is None or self.rival.state is IkeState.GONE:
            return False
        self._yield(core, sa)
        return True

    def unanswered(self, core: Core, sa: IkeSa) -> None:
        """See ``Request``."""
        self.adopt_rival(core, sa)
        super().unanswered(core, sa)

    def dropped(self, core: Core, sa: IkeSa) -> None:
        """See ``Request``; what the other side made goes too unless it took over."""
        if self.rival is not None and not self.rival.announced:
            core.down(self.rival, DownCause.REPLACED, "the IKE SA it came from ended", quiet=True)


def own_rekey(sa: IkeSa) -> RekeyIke | None:
    """Return our request to rekey ``sa`` that is under way."""
    for item in sa.requests.outstanding.values():
        if isinstance(item.exchange, RekeyIke):
            return item.exchange
    return None


# --- the end that answers -------------------------------------------------------------------


def answer_rekey_ike(
    core: Core, sa: IkeSa, contents: Contents
) -> tuple[list[Payload], IkeSa | None]:
    """Answer a request to rekey the IKE SA.

    Returns the payloads and, unless follow-ups are missing or our own rekey decides
    first, the IKE SA that takes over once the answer is out. Raises ``RemoteError``.
    """
    reply = REKEY_IKE.get(sa.state, Reply.TEMPORARY_FAILURE)
    assert sa.connection is not None
    busy = any(item.exchange.ABOUT_CHILD for item in sa.requests.outstanding.values())
    if reply is Reply.TEMPORARY_FAILURE or busy or follows_up(sa, sa) or not sa.announced:
        raise RemoteError(f"{sa} is {sa.state.value}", NotifyType.TEMPORARY_FAILURE)
    offered = need(contents.sa, "SA").proposals
    theirs = need(contents.ke, "KE")
    nonce_i = need(contents.nonce, "Nonce").data
    suite = select(offered, sa.connection.proposals, theirs.method)
    check_suite(suite)
    if len(suite.spi) != 8 or not any(suite.spi):
        raise RemoteError("IKE SA without SPI", NotifyType.NO_PROPOSAL_CHOSEN)
    public, secret = respond(suite.ke, theirs.data)
    agreed = AgreedIke(
        suite, suite.spi, core.new_ike_spi(), nonce_i, core.random(32), False, sa, [secret]
    )
    payloads: list[Payload] = [
        SA((suite.answer(agreed.spi_r),)),
        Nonce(agreed.nonce_r),
        KE(suite.ke, public),
    ]
    own = own_rekey(sa) if reply is Reply.COLLISION else None
    if own is not None:
        own.rival_nonces = agreed.nonce_i, agreed.nonce_r
    if suite.additional_ke:
        payloads.append(expect_follow_ups(core, sa, agreed, finish_answer))
        return payloads, None
    new = successor(core, agreed)
    if own is not None:
        # Both requests crossed: which one stays is known when ours is answered.
        own.rival = new
        new.change(IkeEvent.UP)
        return payloads, None
    return payloads, new


def finish_answer(core: Core, sa: IkeSa, agreed: AgreedIke) -> None:
    """Complete an answer whose follow-ups came."""
    new = successor(core, agreed)
    own = own_rekey(sa)
    if own is not None:
        own.rival = new
        new.change(IkeEvent.UP)
    elif sa.state is IkeState.ESTABLISHED:
        answered(core, sa, new)


def answered(core: Core, sa: IkeSa, new: IkeSa) -> None:
    """Go on in ``new``: the answer that makes it is out."""
    take_over(core, sa, new)
    core.linger(sa)
