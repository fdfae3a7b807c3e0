# SPDX-License-Identifier: GPL-2.0-only
"""Carries out updates of DNS for the home agent (RFC 2136, RFC 8945)."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from ipaddress import IPv6Address
from typing import Final

from ..mobility.effects import UpdateName
from ..packet import dns_update
from ..packet.dns import DnsMalformed, Rcode, Record
from .dns_client import talk
from .dns_config import DnsSection

log = logging.getLogger(__name__)

#: How long each try waits for an answer, in seconds.
_WAITS: Final = (1.0, 2.0, 4.0)
_AT_ONCE: Final = 32

Done = Callable[[UpdateName, str], None]


class NameUpdater:
    """One home agent's updates; those of one home address keep their order.

    ``done`` is called with each and why it failed, "" when it was performed.
    """

    def __init__(self, section: DnsSection, done: Done) -> None:
        self._section = section
        self._done = done
        self._last: dict[IPv6Address, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)

    def update(self, wish: UpdateName) -> None:
        """Begin an update."""
        before = self._last.get(wish.home_address)
        task = asyncio.get_running_loop().create_task(self._run(wish, before))
        self._last[wish.home_address] = task
        task.add_done_callback(lambda ended: self._forget(wish.home_address, ended))

    def stop(self) -> None:
        """End what is under way."""
        for task in self._last.values():
            task.cancel()

    def _forget(self, home: IPv6Address, task: asyncio.Task[None]) -> None:
        if self._last.get(home) is task:
            del self._last[home]

    async def _run(self, wish: UpdateName, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait((before,))
        section, home, name = self._section, wish.home_address, wish.name
        async with self._room:
            if wish.remove:
                forward = dns_update.remove_address(name, home)
                backward = dns_update.remove_reverse(name, home)
            else:
                forward = dns_update.add_address(name, home, section.ttl)
                backward = dns_update.add_reverse(name, home, section.ttl)
            error = await self._send(section.zone, forward)
            if not error and section.reverse_zone:
                reverse = await self._send(section.reverse_zone, backward)
                if reverse:
                    log.error("%s: %s: %s", section.reverse_zone, home, reverse)
        self._done(wish, error)

    async def _send(self, zone: str, records: Sequence[Record]) -> str:
        """Update a zone; return why it failed."""
        error = "the name server does not answer"
        for wait in _WAITS:
            heard: list[str] = []
            try:
                async with asyncio.timeout(wait):
                    return await self._try(zone, records, heard)
            except TimeoutError:
                error = heard[-1] if heard else error
            except OSError as failure:
                error = failure.strerror or str(failure)
                await asyncio.sleep(wait)
        return error

    async def _try(self, zone: str, records: Sequence[Record], heard: list[str]) -> str:
        """Ask once; what is wrong with answers that do not count is added to ``heard``."""
        section = self._section
        id = secrets.randbelow(0x10000)
        data, code = dns_update.build(id, zone, records, section.key, time.time())
        async with aclosing(talk(data, section.server, section.port)) as answers:
            async for answer in answers:
                try:
                    response = dns_update.check(answer, id, section.key, code, time.time())
                except DnsMalformed as error:
                    # An attacker's answer may come before the true one.
                    heard.append(error.reason)
                    continue
                if response.rcode == Rcode.NOERROR:
                    return ""
                return f"the name server says {dns_update.rcode_text(response.rcode)}"
        return "the name server does not answer"
