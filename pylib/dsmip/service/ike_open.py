# SPDX-License-Identifier: GPL-2.0-only
"""Opening IKEv2 on the real kernel; imported only where it is configured."""

from __future__ import annotations

import asyncio

from ..ikev2.errors import IkeError
from ..linux.ike_socket import IkeSockets
from ..linux.xfrm import Xfrm, XfrmMonitor
from .ike_config import IkeSection
from .ike_host import IkeHost


class IkeUnusable(Exception):
    """IKEv2 cannot run as configured; the text says why."""


def open_ike(
    ike: IkeSection, database: Xfrm, loop: asyncio.AbstractEventLoop, state: str
) -> IkeHost:
    """Open sockets and notifications; ``state`` is a folder for what outlives the daemon.

    Raises ``OSError`` for a port that is taken, ``IkeUnusable`` for settings
    that cannot be used.
    """
    sockets = IkeSockets(ike.port, ike.nat_port)
    monitor = XfrmMonitor()
    try:
        return IkeHost(ike, database, sockets, monitor, loop, state)
    except (IkeError, ValueError) as error:
        sockets.close()
        monitor.close()
        raise IkeUnusable(str(error)) from error
