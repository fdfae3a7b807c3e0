# SPDX-License-Identifier: GPL-2.0-only
"""What time asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .control import expired, reauthenticate, rekey_child, rekey_ike, retire, terminate
from .core import Core, Timer
from .effects import DownCause, Send
from .follow_up import forget_follow_ups
from .ike_sa import IkeSa
from .informational import DeleteIke
from .movement import Liveness
from .receive import KEEPALIVE
from .request import first_request
from .states import ChildState, IkeState


def _half_open(core: Core, sa: IkeSa) -> None:
    core.count("ike_half_open_expired")
    core.down(sa, DownCause.FAILED, "the handshake took too long")


def _refusal(core: Core, sa: IkeSa) -> None:
    request = first_request(sa)
    if request is not None:
        request.refused(core, sa)


def _retry(core: Core, sa: IkeSa) -> None:
    waiting, sa.delayed = sa.delayed, []
    for exchange in waiting:
        core.queue(sa, exchange)
    retire(core, sa)


def _reauthenticate(core: Core, sa: IkeSa) -> None:
    if sa.state is not IkeState.ESTABLISHED:
        return
    if sa.initiator or sa.mobile:
        reauthenticate(core, sa)


def _expiry(core: Core, sa: IkeSa) -> None:
    terminate(core, sa, "the other side's credential expired")


def _liveness(core: Core, sa: IkeSa) -> None:
    assert sa.connection is not None
    wait = sa.connection.timings.liveness
    if not sa.up or not wait:
        return
    due = sa.heard + wait
    if due <= core.now:
        if not sa.requests.outstanding and not sa.queue:
            core.queue(sa, Liveness())
        due = core.now + wait
    core.timers.set((Timer.LIVENESS, sa.id, 0), due)


def _keepalive(core: Core, sa: IkeSa) -> None:
    if not sa.up or not sa.nat_local:
        return
    due = sa.sent + core.config.nat_keepalive
    if due <= core.now:
        core.emit(Send(KEEPALIVE, sa.local, sa.remote))
        due = core.now + core.config.nat_keepalive
    core.timers.set((Timer.KEEPALIVE, sa.id, 0), due)


def _linger(core: Core, sa: IkeSa) -> None:
    """Nobody ended it in time."""
    for item in list(sa.requests.outstanding.values()):
        if isinstance(item.exchange, DeleteIke):
            item.exchange.over(core, sa)
            return
    for exchange in sa.queue:
        if isinstance(exchange, DeleteIke):
            exchange.over(core, sa)
            return
    cause = DownCause.REPLACED if sa.state is IkeState.REKEYED else DownCause.TERMINATED
    if not sa.announced:
        core.down(sa, cause, "nobody wants it", quiet=True)
    else:
        core.close(sa, "the other side did not delete it in time", cause)


_IKE: Final[dict[Timer, Callable[[Core, IkeSa], None]]] = {
    Timer.HALF_OPEN: _half_open,
    Timer.REFUSAL: _refusal,
    Timer.RETRY: _retry,
    Timer.REKEY: rekey_ike,
    Timer.REAUTHENTICATE: _reauthenticate,
    Timer.EXPIRY: _expiry,
    Timer.LIVENESS: _liveness,
    Timer.KEEPALIVE: _keepalive,
    Timer.LINGER: _linger,
    Timer.FOLLOW_UP: forget_follow_ups,
}


def handle(core: Core) -> None:
    """Do everything that is due."""
    for kind, number, message_id in core.timers.due(core.now):
        if kind is Timer.RETRANSMIT:
            sa = core.sas.get(number)
            if sa is not None:
                core.retransmit(sa, message_id)
            continue
        action = _IKE.get(kind)
        if action is not None:
            sa = core.sas.get(number)
            if sa is not None:
                action(core, sa)
            continue
        child = core.children.get(number)
        if child is None:
            continue
        if kind is Timer.CHILD_REKEY:
            rekey_child(core, child)
        elif kind is Timer.CHILD_EXPIRY:
            expired(core, child)
        elif kind is Timer.USE_CHILD and child.state is ChildState.INSTALLED:
            core.use_child(child)
