# SPDX-License-Identifier: GPL-2.0-only
"""What anybody may have sent and still may be true: the other end knows nothing of us.

A host that has started anew says INVALID_IKE_SPI or INVALID_SPI, in clear, and so may
anybody else (RFC 7296 sections 1.5, 2.4, 2.21.4). It ends nothing. It makes us ask at
once, and when the answer stays away the end that moves does not wait for all
retransmissions: it makes a new IKE SA beside the old one, which goes only when the
new one is authenticated, or by itself.
"""

from __future__ import annotations

from typing import Final

from .core import Core
from .effects import Endpoint
from .errors import RemoteError
from .ike_sa import IkeSa
from .informational import DeleteIke
from .message import Header, Message, parse
from .movement import Liveness
from .numbers import ExchangeType, NotifyType
from .payloads import Notify
from .states import ChildState, IkeState

#: Seconds between hints of one IKE SA that are taken.
HINT_INTERVAL: Final = 10.0


def _says(message: Message, kind: NotifyType) -> Notify | None:
    for payload in message.payloads:
        if isinstance(payload, Notify) and payload.type == kind:
            return payload
    return None


def unprotected(core: Core, sa: IkeSa, message: Message) -> None:
    """Take a message in clear of an IKE SA that is there."""
    core.count("ike_unprotected")
    if _says(message, NotifyType.INVALID_IKE_SPI) is None:
        return
    if not message.header.response or not sa.up:
        return
    if sa.state is IkeState.DELETING:
        # It shall end anyway: nothing can be gained by forging this.
        for item in list(sa.requests.outstanding.values()):
            if isinstance(item.exchange, DeleteIke):
                item.exchange.over(core, sa)
        return
    _take(core, sa)


def invalid_spi(core: Core, data: bytes, header: Header, remote: Endpoint) -> bool:
    """Whether a message of no IKE SA is about an SPI of ESP, which gets no answer."""
    if header.exchange != ExchangeType.INFORMATIONAL or header.response:
        return False
    try:
        notify = _says(parse(data, header), NotifyType.INVALID_SPI)
    except RemoteError:
        return False
    if notify is None:
        return False
    core.count("ike_invalid_spi")
    for child in core.by_spi_out.get(int.from_bytes(notify.data), {}).values():
        # Where it sends to must say so, and not just anybody who saw the SPI.
        there = child.sa.ends.remote == remote.address
        if there and child.state is ChildState.INSTALLED and child.ike.up:
            _take(core, child.ike)
    return True


def _take(core: Core, sa: IkeSa) -> None:
    """Ask at once, or let what is asked already count as doubtful; not too often."""
    if core.now < sa.hinted + HINT_INTERVAL:
        return
    sa.hinted = core.now
    core.count("ike_hint")
    if not sa.requests.outstanding:
        core.queue(sa, Liveness())
