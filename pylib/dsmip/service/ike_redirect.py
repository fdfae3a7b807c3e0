# SPDX-License-Identifier: GPL-2.0-only
"""Where a REDIRECT leads (RFC 5685): names are looked up, nonsense is not followed.

How often it is followed is the engine's to bound, and that the other gateway has the
identity that was configured.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Final

from ..ikev2.effects import Redirected
from ..packet.kernel import Address

log = logging.getLogger(__name__)

#: Seconds that a name may take.
PATIENCE: Final = 10.0
#: Addresses of one name that are tried.
MOST: Final = 8


def usable(address: Address, effect: Redirected) -> bool:
    """Whether a gateway may be at an address; never where the redirect came from."""
    return address != effect.redirected_from and not (
        address.is_unspecified
        or address.is_multicast
        or address.is_loopback
        or address.is_link_local
        or address.is_reserved
    )


class Redirects:
    """Gives every REDIRECT to ``follow``, with the addresses that it stands for."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        follow: Callable[[Redirected, Sequence[Address]], None],
    ) -> None:
        self._loop = loop
        self._follow = follow
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, effect: Redirected) -> None:
        """Follow a REDIRECT soon; a name first has to be looked up."""
        log.info("%s: redirected to %s", effect.connection, effect.gateway)
        try:
            found = ip_address(effect.gateway)
        except ValueError:
            task = self._loop.create_task(self._look_up(effect))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._loop.call_soon(self._found, effect, [found])

    def close(self) -> None:
        """Look nothing up any more."""
        for task in self._tasks:
            task.cancel()

    async def _look_up(self, effect: Redirected) -> None:
        try:
            query = self._loop.getaddrinfo(effect.gateway, None, type=socket.SOCK_DGRAM)
            answers = await asyncio.wait_for(query, PATIENCE)
        except (OSError, TimeoutError, UnicodeError) as error:
            log.warning("%s: %s is not found: %s", effect.connection, effect.gateway, error)
            answers = []
        texts = dict.fromkeys(str(answer[4][0]).partition("%")[0] for answer in answers)
        self._found(effect, [ip_address(text) for text in texts])

    def _found(self, effect: Redirected, addresses: Sequence[Address]) -> None:
        self._follow(effect, [one for one in addresses if usable(one, effect)][:MOST])
