# SPDX-License-Identifier: GPL-2.0-only
"""INFORMATIONAL: deletes and liveness (RFC 7296 sections 1.4, 1.4.1, 2.4, 2.25)."""

from __future__ import annotations

from collections.abc import Sequence

from .child_sa import Child
from .contents import Contents, describe
from .core import Core, delete_ike
from .effects import DownCause
from .errors import RemoteError
from .ike_sa import IkeSa
from .numbers import ExchangeType, NotifyType, ProtocolId
from .payloads import Delete, Notify, Payload
from .redirect import redirect_notify
from .request import Request
from .states import CLOSE_CHILD, ChildEvent, ChildState, IkeEvent, IkeState, Reply
from .window import WIDEST

#: What ends an IKE SA without a Delete payload (section 2.21.2).
FATAL = frozenset(
    {
        NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD,
        NotifyType.INVALID_SYNTAX,
        NotifyType.AUTHENTICATION_FAILED,
    }
)


class Informational(Request):
    """Base of requests that need no more than an answer."""

    __slots__ = ()

    TYPE = ExchangeType.INFORMATIONAL


class DeleteChild(Informational):
    """Our request to delete a child, or an SPI of ours that was never installed."""

    __slots__ = ("_child", "_reason", "_spi")

    ABOUT_CHILD = True

    def __init__(
        self,
        child: Child | None = None,
        reason: str = "rekeyed",
        spi: tuple[int, bytes] | None = None,
    ) -> None:
        self._child = child
        self._reason = reason
        self._spi = spi

    def request(self, core: Core, sa: IkeSa) -> Sequence[Payload] | None:
        """See ``Request``."""
        child = self._child
        if child is None:
            return [Delete(self._spi[0], (self._spi[1],))] if self._spi else None
        if child.state in (ChildState.GONE, ChildState.DELETING):
            return None
        child.change(ChildEvent.DELETE)
        return [Delete(child.sa.protocol, (child.spi_in,))]

    def answered(self, core: Core, sa: IkeSa, contents: Contents) -> None:
        """See ``Request``; whatever the answer lists, the pair is gone at the other end."""
        if self._child is not None:
            core.remove_child(self._child, self._reason)

    def failed(self, core: Core, sa: IkeSa, error: RemoteError) -> None:
        """See ``Request``."""
        if self._child is not None:
            core.remove_child(self._child, self._reason)


class DeleteIke(Informational):
    """Our request to delete the IKE SA: the last one in it."""

    __slots__ = ("_cause", "_quiet", "_reason")

    ALONE = True
    LAST = True

    def __init__(
        self, reason: str, cause: DownCause = DownCause.REPLACED, quiet: bool = False
    ) -> None:
        self._reason = reason
        self._cause = cause
        self._quiet = quiet

    def request(self, core: Core, sa: IkeSa) -> Sequence[Payload] | None:
        """See ``Request``."""
        if sa.state is IkeState.DELETING:
            return None
        sa.change(IkeEvent.DELETE)
        core.linger(sa)
        return [delete_ike()]

    def answered(self, core: Core, sa: IkeSa, contents: Contents) -> None:
        """See ``Request``."""
        self.over(core, sa)

    def failed(self, core: Core, sa: IkeSa, error: RemoteError) -> None:
        """See ``Request``."""
        self.over(core, sa)

    def unanswered(self, core: Core, sa: IkeSa) -> None:
        """See ``Request``."""
        self.over(core, sa)

    def over(self, core: Core, sa: IkeSa) -> None:
        """End the IKE SA here, answered or not."""
        core.down(sa, self._cause, self._reason, quiet=self._quiet)


class Tell(Informational):
    """A request with some notifications."""

    __slots__ = ("_notifies",)

    def __init__(self, *notifies: Notify) -> None:
        self._notifies = notifies

    def request(self, core: Core, sa: IkeSa) -> Sequence[Payload] | None:
        """See ``Request``."""
        return self._notifies


def redirect_away(gateway: str) -> Tell:
    """Return the request that sends an established initiator elsewhere (RFC 5685 section 5)."""
    return Tell(redirect_notify(gateway))


# --- the end that answers -------------------------------------------------------------------


def answer_deletes(core: Core, sa: IkeSa, contents: Contents) -> list[Payload]:
    """Delete children that the other side deletes; return the Delete payloads that say so."""
    ours: dict[int, list[bytes]] = {}
    for delete in contents.deletes:
        if delete.protocol not in (ProtocolId.AH, ProtocolId.ESP):
            continue
        for spi in delete.spis:
            child = sa.child_out(delete.protocol, spi)
            if child is None:
                continue
            if CLOSE_CHILD[child.state] is Reply.WITHOUT_DELETE:
                continue
            ours.setdefault(delete.protocol, []).append(child.spi_in)
            core.remove_child(child, "deleted by the other side")
    return [Delete(protocol, tuple(spis)) for protocol, spis in ours.items()]


def deletes_ike(contents: Contents) -> bool:
    """Whether the other side deletes the IKE SA."""
    return any(delete.protocol == ProtocolId.IKE for delete in contents.deletes)


def fatal_notify(contents: Contents) -> str:
    """Return why the other side gives the IKE SA up, "" when it does not."""
    error = contents.error
    if error is not None and error.type in FATAL:
        return f"the other side says {describe(error.type)}"
    return ""


def read_window(sa: IkeSa, contents: Contents) -> None:
    """Take SET_WINDOW_SIZE: how many requests of ours may be under way (section 2.3)."""
    notify = contents.notify(NotifyType.SET_WINDOW_SIZE)
    if notify is not None and len(notify.data) == 4:
        size = int.from_bytes(notify.data)
        # It never shrinks (section 2.3).
        sa.requests.size = max(sa.requests.size, min(size, WIDEST))
