# SPDX-License-Identifier: GPL-2.0-only
"""Lists of further addresses that both ends tell each other (RFC 4555 section 3.6)."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from .config import Address, Connection
from .contents import Contents
from .core import Core
from .ike_sa import IkeSa
from .informational import Informational
from .numbers import NotifyType
from .payloads import Notify, Payload

#: Additional addresses of the other side that are remembered, and of ours that are told.
ADDRESSES_MAX: Final = 16


def additional(sa: IkeSa) -> list[Notify]:
    """Return what tells our further addresses; the one in use is none of them."""
    found = []
    for address in sa.connection.additional_addresses if sa.connection else ():
        if address == sa.local.address:
            continue
        kind = NotifyType.ADDITIONAL_IP6_ADDRESS
        if address.version == 4:
            kind = NotifyType.ADDITIONAL_IP4_ADDRESS
        found.append(Notify(kind, address.packed))
    return found[:ADDRESSES_MAX]


class Announce(Informational):
    """Our request that replaces the list which the other side has of us."""

    __slots__ = ()

    def request(self, core: Core, sa: IkeSa) -> Sequence[Payload] | None:
        """See ``Request``."""
        if not sa.features.mobike:
            return None
        return additional(sa) or [Notify(NotifyType.NO_ADDITIONAL_ADDRESSES)]


def announce(core: Core, sa: IkeSa, before: Connection) -> None:
    """Tell the other side when a changed configuration has other addresses of ours."""
    connection = sa.connection
    assert connection is not None
    if sa.features.mobike and connection.additional_addresses != before.additional_addresses:
        core.queue(sa, Announce())


def read_addresses(sa: IkeSa, contents: Contents) -> None:
    """Replace the list of the other side's addresses, if there is a new one."""
    found: list[Address] = []
    seen = contents.has(NotifyType.NO_ADDITIONAL_ADDRESSES)
    for notify in contents.notifies:
        if notify.type == NotifyType.ADDITIONAL_IP4_ADDRESS and len(notify.data) == 4:
            found.append(IPv4Address(notify.data))
        elif notify.type == NotifyType.ADDITIONAL_IP6_ADDRESS and len(notify.data) == 16:
            found.append(IPv6Address(notify.data))
    if seen or found:
        sa.peer_addresses = tuple(found[:ADDRESSES_MAX])
