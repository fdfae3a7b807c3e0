# SPDX-License-Identifier: GPL-2.0-only
"""What is asked of the engine from outside, apart from messages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from .addresses import announce
from .auth_request import AuthRequest
from .child_sa import Child, Trigger
from .config import Address, ChildConfig, Connection, Start
from .contents import Contents
from .core import Core, Timer
from .create_child import NewChild, RekeyChild
from .effects import DownCause, Endpoint, Redirected
from .errors import LocalError
from .ike_sa import IkeSa
from .informational import DeleteChild, DeleteIke, redirect_away
from .initial import InitRequest, begin
from .intermediate import proceed
from .numbers import NotifyType, ProtocolId
from .redirect import read_redirect
from .rekey_ike import RekeyIke
from .resumption import resume
from .states import ChildState, IkeState

#: How long an IKE SA that is asked to end waits for exchanges under way.
TERMINATION_TIME = 10.0
#: When authenticating anew failed: the wait until the next attempt.
REAUTHENTICATE_AFTER = 30.0
#: How long an IKE SA that is to end waits for its rekey.
RETIRE_AFTER = 1.0
_LIVE = (ChildState.INSTALLED, ChildState.REKEYING)


def initiate(
    core: Core,
    connection: Connection,
    local: Endpoint,
    remote: Endpoint,
    children: tuple[str, ...] | None,
    redirected_from: Address | None,
) -> IkeSa:
    """Start an IKE SA that replaces what there is of the connection."""
    if local.address.version != remote.address.version:
        raise LocalError(f"{local} and {remote} are of two families")
    older: IkeSa | None = None
    for sa in core.of_connection(connection.name):
        if sa.initiator and not sa.announced and not sa.up:
            core.down(sa, DownCause.REPLACED, "another attempt begins")
        elif sa.state in (IkeState.ESTABLISHED, IkeState.REKEYING) and older is None:
            older = sa
    auth = AuthRequest(children)
    sa = begin(core, connection, local, remote, redirect=redirected_from)
    sa.auth_request = auth
    sa.replaces = older.id if older else None
    first = InitRequest(connection, partial(proceed, auth=auth))
    try:
        # An IKE SA that is there is replaced in full: that is what it is done for.
        if older is not None or not resume(core, sa, first):
            first.start(core, sa)
    except LocalError:
        core.down(sa, DownCause.FAILED, "it cannot begin", quiet=True)
        raise
    return sa


def _live_names(sa: IkeSa) -> tuple[str, ...]:
    """Return the children that another IKE SA in place of ``sa`` must have."""
    names = {child.sa.name for child in sa.children.values() if child.state in _LIVE}
    names.update(c.name for c in sa.resolved if c.start is Start.WITH_IKE)
    return tuple(sorted(names))


def reauthenticate(core: Core, sa: IkeSa) -> None:
    """Make a new IKE SA with the children of ``sa``, which ends once that is up."""
    connection = sa.connection
    assert connection is not None
    remote = sa.remote
    if remote.port == core.config.nat_port:
        remote = Endpoint(remote.address, core.config.port)
    local = Endpoint(sa.local.address, core.config.port)
    initiate(core, connection, local, remote, _live_names(sa), None)
    core.timers.set((Timer.REAUTHENTICATE, sa.id, 0), core.now + REAUTHENTICATE_AFTER)


def retire(core: Core, sa: IkeSa) -> None:
    """End the IKE SA that ``sa`` takes over from, once all children are made again."""
    if sa.replaces is None or sa.state is not IkeState.ESTABLISHED:
        return
    under_way = any(item.exchange.ABOUT_CHILD for item in sa.requests.outstanding.values())
    if under_way or sa.queue or sa.delayed:
        return
    old = core.sas.get(sa.replaces)
    if old is not None and old.state is IkeState.REKEYING:
        # Which of its successors is to end is known in a moment.
        core.timers.set((Timer.RETRY, sa.id, 0), core.now + RETIRE_AFTER)
        return
    sa.replaces = None
    if old is not None and old.state is IkeState.ESTABLISHED:
        old.queue.clear()
        if any(item.doubted for item in old.requests.outstanding.values()):
            core.down(old, DownCause.REPLACED, "authenticated anew, nobody answers in it")
        else:
            core.queue(old, DeleteIke("authenticated anew", DownCause.REPLACED))


def redirected_later(core: Core, sa: IkeSa, contents: Contents) -> None:
    """Follow a REDIRECT of an IKE SA that is up (RFC 5685 section 5)."""
    notify = contents.notify(NotifyType.REDIRECT)
    connection = sa.connection
    if notify is None or connection is None or not sa.mobile:
        return
    gateway, _ = read_redirect(notify)
    if not connection.follow_redirect or not core.loops.follow(connection.name, core.now):
        core.note("warning", f"{sa}: the other side wants us at {gateway}: not followed")
        return
    names = _live_names(sa)
    core.emit(Redirected(sa.id, connection.name, gateway, sa.remote.address, True, names))


def redirect(core: Core, sa: IkeSa, gateway: str) -> None:
    """Send an initiator elsewhere; its IKE SA ends when it has gone, or after a while."""
    if sa.up and not sa.mobile and sa.features.redirect:
        core.queue(sa, redirect_away(gateway))
        core.linger(sa)


# --- children ---------------------------------------------------------------------------------


def configure(core: Core, connection: Connection) -> None:
    """Apply another configuration to the IKE SAs of a connection that are up."""
    for sa in core.of_connection(connection.name):
        if not sa.up:
            continue
        before, replaced = sa.resolved, sa.connection
        sa.connection = connection
        if sa.assignment is not None and sa.assignment.children is not None:
            sa.assignment = replace(sa.assignment, children=None)
        sa.resolve_children()
        if sa.state not in (IkeState.ESTABLISHED, IkeState.REKEYING):
            continue
        if replaced is not None:
            announce(core, sa, replaced)
        _apply(core, sa, before)


def _apply(core: Core, sa: IkeSa, before: Iterable[ChildConfig]) -> None:
    known = {config.name: config for config in before}
    again: list[str] = []
    for child in list(sa.children.values()):
        config = sa.child_config(child.sa.name)
        if config is not None and _same_traffic(config, known.get(config.name, child.config)):
            continue
        if child.state in _LIVE:
            core.queue(sa, DeleteChild(child, "not configured any more"))
            if config is not None:
                again.append(config.name)
    if not sa.mobile:
        return
    for config in sa.resolved:
        fresh = config.name not in known or config.unresolved != known[config.name].unresolved
        if config.name in again or (fresh and config.start is Start.WITH_IKE):
            core.queue(sa, NewChild(config.name))


def _same_traffic(one: ChildConfig, other: ChildConfig) -> bool:
    return (one.local, one.remote, one.mode, one.endpoints, one.reqid) == (
        other.local,
        other.remote,
        other.mode,
        other.endpoints,
        other.reqid,
    )


def acquire(core: Core, connection: str, name: str, trigger: Trigger | None) -> None:
    """Make a child. Raises ``LookupError`` when there is no IKE SA for it."""
    for sa in core.of_connection(connection):
        if sa.state in (IkeState.ESTABLISHED, IkeState.REKEYING):
            waiting = [item.exchange for item in sa.requests.outstanding.values()]
            waiting += [*sa.queue, *sa.delayed]
            if not any(isinstance(e, NewChild) and e.name == name for e in waiting):
                core.queue(sa, NewChild(name, trigger))
            return
        if sa.initiator and not sa.up and sa.auth_request is not None:
            if trigger is not None:
                sa.auth_request.triggers.setdefault(name, trigger)
            sa.auth_request.also.add(name)
            return
    raise LookupError(f"no IKE SA of {connection}")


def expire(
    core: Core, protocol: ProtocolId, spi: int, hard: bool, destination: Address | None
) -> None:
    """An SA of the kernel reached a limit."""
    for child in _find(core, protocol, spi, destination):
        if hard:
            expired(core, child)
        else:
            rekey_child(core, child)


def _find(core: Core, protocol: ProtocolId, spi: int, destination: Address | None) -> list[Child]:
    found = [child for child in [core.by_spi_in.get(spi)] if child is not None]
    if destination is not None:
        found = [child for child in found if child.sa.ends.local == destination]
        outbound = core.by_spi_out.get(spi, {}).values()
        found += [child for child in outbound if child.sa.ends.remote == destination]
    elif not found:
        found = list(core.by_spi_out.get(spi, {}).values())
    return [child for child in found if child.sa.protocol == protocol]


def expired(core: Core, child: Child) -> None:
    """A child reached its hard limit: the kernel uses it no more."""
    sa = child.ike
    was_live = child.state in _LIVE
    known = child.state is not ChildState.DELETING
    core.remove_child(child, "expired", expired=True)
    if sa.state not in (IkeState.ESTABLISHED, IkeState.REKEYING):
        return
    if known:
        core.queue(sa, DeleteChild(spi=(child.sa.protocol, child.spi_in)))
    config = sa.child_config(child.sa.name)
    if was_live and config is not None and config.start is Start.WITH_IKE and sa.mobile:
        core.queue(sa, NewChild(config.name))


def rekey_child(core: Core, child: Child) -> None:
    """Rekey a child, unless that is under way or it is about to go."""
    if child.state is ChildState.INSTALLED and child.successor is None:
        sa = child.ike
        if not any(isinstance(e, RekeyChild) and e.child is child for e in sa.queue):
            core.queue(sa, RekeyChild(child))


def rekey_ike(core: Core, sa: IkeSa) -> None:
    """Rekey an IKE SA, unless that is under way or it is about to go."""
    if sa.state is IkeState.ESTABLISHED and not any(isinstance(e, RekeyIke) for e in sa.queue):
        core.queue(sa, RekeyIke())


# --- ends ---------------------------------------------------------------------------------------


def terminate(core: Core, sa: IkeSa, reason: str) -> None:
    """End an IKE SA, with a word to the other side when it is up."""
    if not sa.up:
        core.down(sa, DownCause.TERMINATED, reason)
        return
    if sa.state is IkeState.DELETING:
        return
    sa.queue.clear()
    sa.delayed.clear()
    core.linger(sa, TERMINATION_TIME)
    core.queue(sa, DeleteIke(reason, DownCause.TERMINATED))


def terminate_child(core: Core, child: Child, reason: str) -> None:
    """Delete a child."""
    core.queue(child.ike, DeleteChild(child, reason))


def shutdown(core: Core) -> None:
    """Tell all and wait for nobody."""
    for sa in list(core.sas.values()):
        core.close(sa, "shut down", DownCause.TERMINATED)
