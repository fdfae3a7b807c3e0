# SPDX-License-Identifier: GPL-2.0-only
"""What the last IKE_AUTH answer brings beside authentication, at the initiator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from . import configuration
from .authentication import Authenticated
from .child_sa import Offer, Trigger, conclude, install
from .contents import Contents, Refused
from .core import Core, Timer
from .create_child import NewChild, clean_up
from .effects import Assigned, ChildFailed
from .errors import RemoteError
from .ike_sa import IkeSa
from .informational import Tell
from .numbers import NotifyType
from .payloads import Notify

#: Part of the time left after which we authenticate anew before a credential expires.
_BEFORE_EXPIRY = 0.9


def set_expiry(core: Core, sa: IkeSa, authenticated: Authenticated | None) -> None:
    """End the IKE SA no later than the credential that the other side showed."""
    if authenticated is None or authenticated.expires is None:
        return
    sa.credential_ends = authenticated.expires
    left = max(0.0, authenticated.expires - core.wall_clock())
    core.timers.set((Timer.EXPIRY, sa.id, 0), core.now + left)
    if sa.initiator:
        reauthenticate_within(sa, core.now, left * _BEFORE_EXPIRY)


def reauthenticate_within(sa: IkeSa, now: float, seconds: float) -> None:
    """Authenticate anew no later than then."""
    at = now + seconds
    if sa.reauthenticate_at is None or at < sa.reauthenticate_at:
        sa.reauthenticate_at = at


def read_auth_lifetime(core: Core, sa: IkeSa, contents: Contents) -> bool:
    """Take AUTH_LIFETIME (RFC 4478): the other side wants us to authenticate anew."""
    notify = contents.notify(NotifyType.AUTH_LIFETIME)
    if notify is None or len(notify.data) != 4:
        return False
    reauthenticate_within(sa, core.now, int.from_bytes(notify.data) * _BEFORE_EXPIRY)
    return True


def take_assignment(core: Core, sa: IkeSa, contents: Contents) -> None:
    """Take the addresses that were given, and put them into the children."""
    assert sa.connection is not None
    assert sa.peer is not None
    use = contents.notify(NotifyType.USE_ASSIGNED_HOA)
    if contents.cp is None and use is None:
        return
    if sa.connection.request is None and use is None:
        core.note("info", f"{sa}: addresses that were not asked for")
        return
    sa.assignment = configuration.read_reply(contents.cp, use)
    sa.assigned_here = True
    sa.resolve_children()
    core.emit(Assigned(sa.id, sa.connection.name, sa.peer, sa.assignment, True))


def first_child(core: Core, sa: IkeSa, contents: Contents, offered: Offer | None) -> None:
    """Install the child that came with IKE_AUTH, or tell why there is none."""
    assert sa.connection is not None
    if offered is None:
        return
    name = offered.config.name
    resolved = sa.child_config(name)
    if resolved is not None:
        offered.config = resolved
    try:
        agreed = conclude(sa, offered, contents)
        if offered.config.unresolved:
            raise RemoteError("no address was assigned", NotifyType.INTERNAL_ADDRESS_FAILURE)
    except RemoteError as error:
        core.emit(ChildFailed(sa.id, sa.connection.name, name, error.notify, error.reason))
        if not isinstance(error, Refused):
            clean_up(core, sa, offered)
        return
    if contents.has(NotifyType.ADDITIONAL_TS_POSSIBLE):
        core.note("info", f"{sa}: {name}: the other side has more selectors to offer")
    install(core, sa, agreed)


def more_children(
    core: Core, sa: IkeSa, names: Iterable[str], triggers: Mapping[str, Trigger]
) -> None:
    """Ask for the children that IKE_AUTH had no place for, and tell our window."""
    assert sa.connection is not None
    window = sa.connection.window
    if window > 1:
        sa.answers.size = max(sa.answers.size, window)
        core.queue(sa, Tell(Notify(NotifyType.SET_WINDOW_SIZE, window.to_bytes(4))))
    for name in names:
        core.queue(sa, NewChild(name, triggers.get(name)))
