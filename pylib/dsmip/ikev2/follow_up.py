# SPDX-License-Identifier: GPL-2.0-only
"""IKE_FOLLOWUP_KE: additional key exchanges after CREATE_CHILD_SA (RFC 9370 section 2.2.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from .contents import Contents, Refused, need
from .core import Core, Timer
from .crypto import PrivateKey, generate, respond
from .errors import RemoteError
from .ike_sa import IkeSa
from .numbers import ExchangeType, NotifyType
from .payloads import KE, Notify, Payload
from .proposals import Suite
from .request import Request

#: Exchanges of one IKE SA that may wait for their follow-ups.
MOST: Final = 4
_LINK: Final = 8


class Unfinished(Protocol):
    """What key exchanges are still missing to: an agreed child or an agreed IKE SA."""

    suite: Suite
    secrets: list[bytes]

    @property
    def rekeyed(self) -> object | None:
        """What it takes over from."""


U = TypeVar("U", bound=Unfinished)


def link_of(contents: Contents) -> bytes:
    """Return what links follow-ups to their exchange. Raises ``RemoteError``."""
    return need(contents.notify(NotifyType.ADDITIONAL_KEY_EXCHANGE), "ADDITIONAL_KEY_EXCHANGE").data


class FollowUp(Request):
    """One additional key exchange of ours.

    ``finish`` is called after the last one; ``owner`` is the request that it follows
    up, and is told of failures.
    """

    __slots__ = ("_finish", "_link", "_owner", "_private", "agreed")

    TYPE = ExchangeType.IKE_FOLLOWUP_KE
    ABOUT_CHILD = True

    def __init__(
        self,
        owner: Request,
        agreed: U,
        link: bytes,
        finish: Callable[[Core, IkeSa, U], None],
    ) -> None:
        self.agreed: Unfinished = agreed
        self._owner = owner
        self._link = link
        self._finish: Callable[[Core, IkeSa], None] = lambda core, sa: finish(core, sa, agreed)
        self._private: PrivateKey | None = None

    def request(self, core: Core, sa: IkeSa) -> Sequence[Payload]:
        """See ``Request``."""
        self._private = generate(_next_method(self.agreed))
        return [
            KE(self._private.method, self._private.public),
            Notify(NotifyType.ADDITIONAL_KEY_EXCHANGE, self._link),
        ]

    def answered(self, core: Core, sa: IkeSa, contents: Contents) -> None:
        """See ``Request``."""
        if contents.error is not None:
            self._owner.failed(core, sa, Refused(contents.error))
            return
        theirs = need(contents.ke, "KE")
        assert self._private is not None
        if theirs.method != self._private.method:
            raise RemoteError(f"key exchange method {theirs.method} was not sent")
        agreed = self.agreed
        agreed.secrets.append(self._private.shared(theirs.data))
        if len(agreed.secrets) <= len(agreed.suite.additional_ke):
            self._link = link_of(contents)
            core.queue(sa, self, first=True)
        else:
            self._finish(core, sa)

    def failed(self, core: Core, sa: IkeSa, error: RemoteError) -> None:
        """See ``Request``."""
        self._owner.failed(core, sa, error)

    def dropped(self, core: Core, sa: IkeSa) -> None:
        """See ``Request``."""
        self._owner.dropped(core, sa)


def _next_method(agreed: Unfinished) -> int:
    return agreed.suite.additional_ke[len(agreed.secrets) - 1]


@dataclass(slots=True, eq=False)
class Expected:
    """A follow-up that the other side is to begin."""

    agreed: Unfinished
    finish: Callable[[], None]
    until: float


def expect_follow_ups(
    core: Core, sa: IkeSa, agreed: U, finish: Callable[[Core, IkeSa, U], None]
) -> Notify:
    """Wait for follow-ups; return the notification that links them.

    Raises ``RemoteError`` TEMPORARY_FAILURE when too many are waited for.
    """
    forget_follow_ups(core, sa)
    if len(sa.follow_ups) >= MOST:
        raise RemoteError("too many key exchanges at once", NotifyType.TEMPORARY_FAILURE)
    link = core.random(_LINK)
    until = core.now + core.config.follow_up_timeout
    sa.follow_ups[link] = Expected(agreed, lambda: finish(core, sa, agreed), until)
    core.timers.set((Timer.FOLLOW_UP, sa.id, 0), until)
    return Notify(NotifyType.ADDITIONAL_KEY_EXCHANGE, link)


def forget_follow_ups(core: Core, sa: IkeSa) -> None:
    """Forget follow-ups that did not come in time."""
    late = [link for link, expected in sa.follow_ups.items() if expected.until <= core.now]
    for link in late:
        del sa.follow_ups[link]
    if sa.follow_ups:
        at = min(expected.until for expected in sa.follow_ups.values())
        core.timers.set((Timer.FOLLOW_UP, sa.id, 0), at)


def answer_follow_up(core: Core, sa: IkeSa, contents: Contents) -> list[Payload]:
    """Answer an IKE_FOLLOWUP_KE request. Raises ``RemoteError`` to refuse it."""
    forget_follow_ups(core, sa)
    expected = sa.follow_ups.pop(link_of(contents), None)
    if expected is None:
        raise RemoteError("follow-up to nothing", NotifyType.STATE_NOT_FOUND)
    agreed = expected.agreed
    theirs = need(contents.ke, "KE")
    if theirs.method != _next_method(agreed):
        raise RemoteError(f"key exchange method {theirs.method} is not the next one")
    public, secret = respond(theirs.method, theirs.data)
    agreed.secrets.append(secret)
    payloads: list[Payload] = [KE(theirs.method, public)]
    if len(agreed.secrets) <= len(agreed.suite.additional_ke):
        link = core.random(_LINK)
        sa.follow_ups[link] = expected
        payloads.append(Notify(NotifyType.ADDITIONAL_KEY_EXCHANGE, link))
    else:
        expected.finish()
    return payloads


def follows_up(sa: IkeSa, old: object) -> bool:
    """Whether key exchanges of either end are missing to what takes over from ``old``."""
    own = [item.exchange for item in sa.requests.outstanding.values()] + list(sa.queue)
    return any(e.agreed.rekeyed is old for e in own if isinstance(e, FollowUp)) or any(
        expected.agreed.rekeyed is old for expected in sa.follow_ups.values()
    )
