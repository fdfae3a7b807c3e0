# SPDX-License-Identifier: GPL-2.0-only
"""Whether a NAT is on the path (RFC 7296 section 2.23)."""

from __future__ import annotations

import hmac

from .contents import Contents
from .effects import Endpoint
from .keys import nat_detection
from .numbers import NotifyType
from .payloads import Notify, Payload


def notifies(
    spi_i: bytes, spi_r: bytes, local: Endpoint, remote: Endpoint, force: bool = False
) -> list[Payload]:
    """Return both NAT_DETECTION payloads; with ``force`` the first one is always wrong.

    The other side then believes in a NAT and both use UDP encapsulation.
    """
    source = nat_detection(spi_i, spi_r, local.address, 0 if force else local.port)
    target = nat_detection(spi_i, spi_r, remote.address, remote.port)
    return [
        Notify(NotifyType.NAT_DETECTION_SOURCE_IP, source),
        Notify(NotifyType.NAT_DETECTION_DESTINATION_IP, target),
    ]


def detect(
    contents: Contents, spi_i: bytes, spi_r: bytes, local: Endpoint, remote: Endpoint
) -> tuple[bool, bool] | None:
    """Return whether this end and the other one are behind a NAT; None when not told.

    ``local`` and ``remote`` are those of the datagram that brought ``contents``.
    """
    sources = contents.all(NotifyType.NAT_DETECTION_SOURCE_IP)
    target = contents.notify(NotifyType.NAT_DETECTION_DESTINATION_IP)
    if not sources or target is None:
        return None
    here = nat_detection(spi_i, spi_r, local.address, local.port)
    there = nat_detection(spi_i, spi_r, remote.address, remote.port)
    return (
        not hmac.compare_digest(target.data, here),
        not any(hmac.compare_digest(source.data, there) for source in sources),
    )
