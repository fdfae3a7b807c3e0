# SPDX-License-Identifier: GPL-2.0-only
"""Where both ends are: told by the mobility side, by MOBIKE, or learned from packets.

RFC 7296 section 2.23, RFC 4555, RFC 5555 section 5.1.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Final

from . import nat
from .addresses import additional, read_addresses
from .child_sa import Child
from .config import Address, Movement
from .contents import Contents
from .core import Core
from .effects import Endpoint, Ends, IkeMoved
from .ike_sa import IkeSa
from .informational import Informational
from .numbers import NotifyType
from .payloads import Notify, Payload
from .request import first_request
from .states import IkeState

#: UNEXPECTED_NAT_DETECTED answers to one movement before it is given up (RFC 4555 3.9).
PROHIBITION_TRIES: Final = 5
_COOKIE2: Final = 16


def _tell(core: Core, sa: IkeSa) -> None:
    if sa.connection is not None and sa.announced:
        core.emit(
            IkeMoved(sa.id, sa.connection.name, sa.local, sa.remote, sa.nat_local, sa.nat_remote)
        )


def _suspect(sa: IkeSa, nat_seen: bool | None) -> None:
    """Guess the NAT state of a new path: nobody translates IPv6, almost everybody IPv4.

    Both ends guess alike, so that ESP has one form at both until they know.
    """
    force = sa.connection is not None and sa.connection.force_encapsulation
    guess = sa.remote.address.version == 4 if nat_seen is None else nat_seen
    sa.nat_known = False
    sa.nat_local = (guess or force) and sa.mobile
    sa.nat_remote = guess and not sa.mobile


def moved(core: Core, sa: IkeSa, local: Address, remote: Address, nat_seen: bool | None) -> None:
    """Put an IKE SA where the mobility side says its ends are."""
    if not sa.mobile and (sa.movement is not Movement.LOCAL or not sa.up):
        return
    here = sa.local.address == local and sa.remote.address == remote
    if here and (sa.mobile or sa.tunnel is None or _at(sa.tunnel, local, remote)):
        return
    if not here:
        port = core.config.nat_port if sa.features.nat_traversal else sa.local.port
        far = core.config.nat_port if sa.features.nat_traversal else sa.remote.port
        sa.local, sa.remote = Endpoint(local, port), Endpoint(remote, far)
        sa.path += 1
        if sa.state is IkeState.INITIATING:
            request = first_request(sa)
            if request is not None:
                # NAT detection in it names the addresses, so it is another request, and
                # an answer to the one before must not be taken for its own.
                core.respell(sa)
                request.start(core, sa)
            return
        _suspect(sa, nat_seen)
        sa.seen_mapping = None
        _tell(core, sa)
        core.keepalive(sa)
        core.repeat_all(sa)
    if sa.up:
        core.move_tunnel(sa, core.path_ends(sa))
        if sa.mobile and sa.state in (IkeState.ESTABLISHED, IkeState.REKEYING):
            core.queue(sa, UpdateAddresses(sa.path), first=True)


def _at(ends: Ends, local: Address, remote: Address) -> bool:
    return ends.local == local and ends.remote == remote


def after_authentication(core: Core, sa: IkeSa) -> None:
    """Tell the other side of a movement during the handshake."""
    if sa.mobile and sa.path:
        core.queue(sa, UpdateAddresses(sa.path), first=True)


def learn(core: Core, sa: IkeSa, found: tuple[bool, bool]) -> None:
    """Take what NAT detection found on the path in use."""
    before = sa.nat_local, sa.nat_remote
    force = sa.connection is not None and sa.connection.force_encapsulation
    sa.nat_local = found[0] or (force and sa.mobile)
    sa.nat_remote = found[1]
    sa.nat_known = True
    core.keepalive(sa)
    if before != (sa.nat_local, sa.nat_remote):
        _tell(core, sa)


def settle(core: Core, sa: IkeSa) -> None:
    """Let the children follow the path in use, as far as they may.

    Where the mobility side decides, only an accepted Binding Update moves them
    (RFC 3776 section 4.3), which ``moved`` tells; ports they follow at once.
    """
    ends = sa.tunnel
    if ends is None or sa.state is IkeState.HALF_OPEN:
        return
    told = sa.movement is Movement.LOCAL and not sa.mobile
    if told and not _at(ends, sa.local.address, sa.remote.address):
        return
    core.move_tunnel(sa, core.path_ends(sa))


def follow(
    core: Core, sa: IkeSa, local: Endpoint, remote: Endpoint, newest: bool, response: bool
) -> None:
    """Go where a fresh authenticated message came from, where that is allowed.

    Never because of a repeated message, never when behind a NAT (RFC 7296 section
    2.23), never with MOBIKE (RFC 4555 section 3.8), and not where this end decides.
    """
    if (sa.remote == remote and sa.local == local) or not newest or not sa.up:
        return
    if sa.features.mobike or (sa.mobile and sa.movement is Movement.LOCAL):
        return
    port_only = sa.remote.address == remote.address and sa.local.address == local.address
    if sa.movement is Movement.LOCAL:
        # An answer may come late, from where the mobile end was before.
        if response and not port_only:
            return
    elif sa.nat_local:
        return
    sa.local, sa.remote = local, remote
    if not port_only:
        sa.path += 1
        _suspect(sa, None)
    core.count("ike_followed")
    _tell(core, sa)
    settle(core, sa)


def mapping(core: Core, child: Child, remote: Endpoint) -> None:
    """Follow ESP in UDP that the kernel saw from elsewhere (RFC 7296 section 2.23)."""
    sa = child.ike
    if sa.mobile or child.sa.ends.encapsulation is None or sa.nat_local:
        return
    if sa.remote == remote:
        return
    sa.remote = remote
    sa.nat_remote = True
    core.count("ike_mapping")
    _tell(core, sa)
    core.move_tunnel(sa, core.path_ends(sa))


# --- requests of ours ---------------------------------------------------------------------


def mobike_notifies(sa: IkeSa) -> list[Payload]:
    """Return what offers MOBIKE in IKE_AUTH (RFC 4555 sections 3.2, 3.4, 3.9)."""
    found: list[Payload] = [Notify(NotifyType.MOBIKE_SUPPORTED), *additional(sa)]
    if not sa.features.nat_traversal and sa.initiator:
        found.append(_no_nats(sa.local, sa.remote))
    return found


def _no_nats(source: Endpoint, destination: Endpoint) -> Notify:
    return Notify(
        NotifyType.NO_NATS_ALLOWED,
        source.address.packed
        + destination.address.packed
        + source.port.to_bytes(2)
        + destination.port.to_bytes(2),
    )


def elsewhere(core: Core, sa: IkeSa) -> bool:
    """Try another address of an end that nobody answers at (RFC 4555 section 3.5).

    False when there is none left. Children stay until it answers there.
    """
    if not (sa.features.mobike and sa.mobile and sa.up):
        return False
    sa.tried.add(sa.remote.address)
    for address in sa.peer_addresses:
        if address.version == sa.local.address.version and address not in sa.tried:
            sa.remote = Endpoint(address, sa.remote.port)
            sa.path += 1
            core.count("ike_elsewhere")
            _tell(core, sa)
            core.repeat_all(sa)
            core.queue(sa, UpdateAddresses(sa.path), first=True)
            return True
    return False


class _Probe(Informational):
    """Base of requests whose other end may be elsewhere when it does not answer."""

    __slots__ = ()

    def unanswered(self, core: Core, sa: IkeSa) -> None:
        """See ``Request``."""
        if not elsewhere(core, sa):
            super().unanswered(core, sa)


class UpdateAddresses(_Probe):
    """Our request after a movement: the other side learns address and port from it.

    With MOBIKE it asks for the change of addresses, else it is an INFORMATIONAL
    whose NAT detection payloads nobody needs to understand.
    """

    __slots__ = ("_path", "_tries")

    def __init__(self, path: int, tries: int = 0) -> None:
        self._path = path
        self._tries = tries

    def request(self, core: Core, sa: IkeSa) -> Sequence[Payload] | None:
        """See ``Request``."""
        if sa.path != self._path:
            return None
        payloads: list[Payload] = []
        if sa.features.mobike:
            payloads.append(Notify(NotifyType.UPDATE_SA_ADDRESSES))
        if sa.features.nat_traversal:
            force = sa.connection is not None and sa.connection.force_encapsulation
            payloads += nat.notifies(sa.spi_i, sa.spi_r, sa.local, sa.remote, force)
        elif sa.features.mobike:
            payloads.append(_no_nats(sa.local, sa.remote))
        return payloads

    def answered(self, core: Core, sa: IkeSa, contents: Contents) -> None:
        """See ``Request``."""
        if sa.path != self._path:
            return
        sa.tried.clear()
        if contents.has(NotifyType.UNEXPECTED_NAT_DETECTED):
            if self._tries < PROHIBITION_TRIES:
                core.queue(sa, UpdateAddresses(self._path, self._tries + 1), first=True)
            else:
                core.note("warning", f"{sa}: a NAT on the path, which is not allowed")
            return
        if contents.has(NotifyType.UNACCEPTABLE_ADDRESSES):
            core.note("warning", f"{sa}: the other side does not accept our addresses")
            return
        found = nat.detect(contents, sa.spi_i, sa.spi_r, sa.local, sa.remote)
        if found is not None and sa.features.nat_traversal:
            learn(core, sa, found)
            settle(core, sa)
        target = contents.notify(NotifyType.NAT_DETECTION_DESTINATION_IP)
        sa.seen_mapping = target.data if target else None


class Liveness(_Probe):
    """An empty request; any answer will do.

    With MOBIKE, from behind a NAT, it finds changed mappings too (RFC 4555 3.8).
    """

    __slots__ = ()

    def request(self, core: Core, sa: IkeSa) -> Sequence[Payload] | None:
        """See ``Request``."""
        if _watches_mapping(sa):
            return nat.notifies(sa.spi_i, sa.spi_r, sa.local, sa.remote)
        return []

    def answered(self, core: Core, sa: IkeSa, contents: Contents) -> None:
        """See ``Request``."""
        target = contents.notify(NotifyType.NAT_DETECTION_DESTINATION_IP)
        if not _watches_mapping(sa) or target is None:
            return
        changed = sa.seen_mapping is not None and sa.seen_mapping != target.data
        sa.seen_mapping = target.data
        if changed:
            core.count("ike_mapping")
            core.queue(sa, UpdateAddresses(sa.path), first=True)


def _watches_mapping(sa: IkeSa) -> bool:
    return sa.features.mobike and sa.mobile and sa.nat_local


class ReturnRoutability(Informational):
    """Whether the other side receives where it says it is (RFC 4555 section 3.7)."""

    __slots__ = ("_cookie", "_path")

    def __init__(self) -> None:
        self._cookie = b""
        self._path = 0

    def request(self, core: Core, sa: IkeSa) -> Sequence[Payload] | None:
        """See ``Request``."""
        self._cookie = core.random(_COOKIE2)
        self._path = sa.path
        return [Notify(NotifyType.COOKIE2, self._cookie)]

    def answered(self, core: Core, sa: IkeSa, contents: Contents) -> None:
        """See ``Request``."""
        cookie = contents.notify(NotifyType.COOKIE2)
        if cookie is None or not hmac.compare_digest(cookie.data, self._cookie):
            core.close(sa, "its answer lacks our COOKIE2")
        elif sa.path == self._path:
            settle(core, sa)
        # Else it went to more than one address, and the check of the newest one waits.


# --- the end that answers -------------------------------------------------------------------


def nats_prohibited(contents: Contents, local: Endpoint, remote: Endpoint) -> bool:
    """Whether the other side forbids NATs and there is one (RFC 4555 section 3.9)."""
    notify = contents.notify(NotifyType.NO_NATS_ALLOWED)
    return notify is not None and notify.data != _no_nats(remote, local).data


def answer_addresses(
    core: Core, sa: IkeSa, contents: Contents, local: Endpoint, remote: Endpoint, newest: bool
) -> list[Payload]:
    """Take what an INFORMATIONAL request says of addresses; return what answers it."""
    payloads: list[Payload] = []
    cookie = contents.notify(NotifyType.COOKIE2)
    if cookie is not None:
        payloads.append(cookie)
    if sa.features.mobike and nats_prohibited(contents, local, remote):
        return [Notify(NotifyType.UNEXPECTED_NAT_DETECTED), *payloads]
    updates = sa.features.mobike and contents.has(NotifyType.UPDATE_SA_ADDRESSES)
    if updates and newest and not sa.mobile:
        _update(core, sa, local, remote)
    found = None
    if sa.features.nat_traversal:
        found = nat.detect(contents, sa.spi_i, sa.spi_r, local, remote)
    if found is not None:
        payloads += nat.notifies(sa.spi_i, sa.spi_r, local, remote)
        here = sa.local == local and sa.remote == remote
        if newest and here and not sa.mobile and (updates or not sa.features.mobike):
            learn(core, sa, found)
            if not updates:
                settle(core, sa)
    if newest:
        read_addresses(sa, contents)
    return payloads


def _update(core: Core, sa: IkeSa, local: Endpoint, remote: Endpoint) -> None:
    if sa.local == local and sa.remote == remote:
        core.queue(sa, ReturnRoutability())
        return
    sa.local, sa.remote = local, remote
    sa.path += 1
    _tell(core, sa)
    core.repeat_all(sa)
    core.queue(sa, ReturnRoutability())


def read_mobike(sa: IkeSa, contents: Contents) -> None:
    """Take what IKE_AUTH says of MOBIKE."""
    if sa.movement is Movement.MOBIKE and contents.has(NotifyType.MOBIKE_SUPPORTED):
        sa.features.mobike = True
        read_addresses(sa, contents)
