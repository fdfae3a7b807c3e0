# SPDX-License-Identifier: GPL-2.0-only
"""The question by HTTP that shows captive portals, asked through one uplink."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final

from ..linux import dns_socket
from ..mobility.captive import Access, Expected, Verdict, judge, together
from ..packet import dns
from ..packet.errors import PacketError
from ..packet.http import REPLY_MAX, Target, complete, parse_reply, question
from ..packet.kernel import Address
from .bootstrap_config import RESOLV_CONF
from .dns_client import talk

log = logging.getLogger(__name__)

#: Seconds for one question, the look-up of its name included.
TIMEOUT: Final = 4.0
_DNS_TIMEOUT: Final = 1.5


async def ask(
    targets: tuple[Target, ...],
    expected: Expected,
    sources: tuple[Address, ...],
    interface: int,
) -> Verdict:
    """Ask from each of the sources, one of each family, and return what holds.

    The first target that the family of a source can reach is asked.
    """
    asked = [
        _ask_one(target, expected, source, interface)
        for source in sources
        for target in [one for one in targets if _fits(one.host, source.version)][:1]
    ]
    return together(await asyncio.gather(*asked))


def _fits(host: str, version: int) -> bool:
    try:
        return ip_address(host).version == version
    except ValueError:
        return True


async def _ask_one(target: Target, expected: Expected, source: Address, interface: int) -> Verdict:
    held = bytearray()
    refused = False
    try:
        async with asyncio.timeout(TIMEOUT):
            server = (await _resolve(target.host, source, interface))[0]
            await _exchange(target, server, source, interface, held)
    except (OSError, TimeoutError) as error:
        # Somebody may be there who does not want to talk.
        refused = isinstance(error, ConnectionError)
        log.debug("%s through %s: %s", target.url, source, str(error) or "no answer in time")
    if not held:
        return Verdict(Access.UNCLEAR if refused else Access.SILENT)
    try:
        # Of who breaks off, or drips, the beginning has to do.
        return judge(parse_reply(bytes(held)), target, expected)
    except PacketError as error:
        log.debug("%s through %s: %s", target.url, source, error.reason)
        return Verdict(Access.UNCLEAR)


async def _exchange(
    target: Target, server: Address, source: Address, interface: int, held: bytearray
) -> None:
    """Put what comes back into ``held``. Raises ``OSError``."""
    loop = asyncio.get_running_loop()
    with contextlib.closing(dns_socket.open_socket(server, source, interface, True)) as sock:
        await loop.sock_connect(sock, dns_socket.target(server, target.port, interface))
        await loop.sock_sendall(sock, question(target))
        while not complete(held) and (more := await loop.sock_recv(sock, REPLY_MAX - len(held))):
            held += more


async def look_up(host: str, sources: tuple[Address, ...], interface: int) -> tuple[Address, ...]:
    """Return the addresses that a name has in the families of the sources, none in doubt."""
    asked = [_resolve(host, source, interface) for source in sources]
    found = await asyncio.gather(*asked, return_exceptions=True)
    for error in found:
        if isinstance(error, BaseException) and not isinstance(error, OSError):
            raise error
    return tuple(one for several in found if isinstance(several, tuple) for one in several)


async def _resolve(host: str, source: Address, interface: int) -> tuple[Address, ...]:
    """Return addresses of the host that the source can reach.

    A forged answer harms nobody: whoever can forge it can answer by HTTP as well.
    Raises ``OSError``.
    """
    with contextlib.suppress(ValueError):
        return (ip_address(host),)
    servers = dns_socket.name_servers(RESOLV_CONF)
    kind = dns.RecordType.AAAA if source.version == 6 else dns.RecordType.A
    asked = dns.Question(dns.canonical(host), kind)
    for server in servers:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_DNS_TIMEOUT):
                return await _query(asked, server, source, interface)
    raise OSError(f"no address of {host} from {', '.join(map(str, servers)) or 'no name server'}")


async def _query(
    asked: dns.Question, server: Address, source: Address, interface: int
) -> tuple[Address, ...]:
    mine = None if server.is_loopback or server.version != source.version else source
    number = random.SystemRandom().randrange(0x10000)
    async with contextlib.aclosing(
        talk(dns.build_query(number, asked), server, dns.PORT, mine, interface)
    ) as answers:
        async for data in answers:
            with contextlib.suppress(PacketError):
                response = dns.parse(data)
                if response.id == number and response.questions == (asked,):
                    return _addresses(response.answers, source.version)
    raise OSError("no answer")


def _addresses(records: Sequence[dns.Record], version: int) -> tuple[Address, ...]:
    """Return the addresses at the end of whatever aliases. Raises ``OSError`` without any."""
    found = [
        record.data
        for record in records
        if not isinstance(record.data, str | bytes | dns.Service) and record.data.version == version
    ]
    if not found:
        raise OSError("no such address")
    return tuple(found)
