# SPDX-License-Identifier: GPL-2.0-only
"""How far router and home agent are from each other, measured while somebody wants to know.

An ICMPv6 echo between home address and home agent goes the way of all packets.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv6Address
from typing import Final, Protocol, TypeVar

from ..linux.icmp6_socket import Icmp6Socket
from ..linux.ip6_socket import Received

K = TypeVar("K")
V = TypeVar("V")

_REQUEST, _REPLY = 128, 129
_ECHO: Final = struct.Struct(">BBHHH8s")
#: Seconds: between two echoes to one router, until an answer is late, until a value is old.
_EVERY, _LATE, _OLD = 1.0, 5.0, 30.0
#: Those who are asked or known at a time.
MOST: Final = 1000
#: Echoes of which the loss is a share.
COUNTED: Final = 20


class Echoes(Protocol):
    """The part of ``linux.icmp6_socket.Icmp6Socket`` that is used."""

    def fileno(self) -> int: ...
    def close(self) -> None: ...
    def send(self, data: bytes, source: IPv6Address, destination: IPv6Address) -> None: ...
    def receive(self) -> Iterable[Received]: ...


def _open() -> Icmp6Socket:
    return Icmp6Socket((_REPLY,))


class RoundTrips:
    """Sends echoes from the first of ``sources``; the socket opens with the first question."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sources: Sequence[IPv6Address],
        opener: Callable[[], Echoes] = _open,
    ) -> None:
        self._loop = loop
        self._sources = sources
        self._opener = opener
        self._socket: Echoes | None = None
        self._number = 0
        self._nonce = secrets.token_bytes(8)
        self._identifier = secrets.randbelow(1 << 16)
        #: By number of the echo: whom it was sent to and when.
        self._asked: OrderedDict[int, tuple[IPv6Address, float]] = OrderedDict()
        self._sent: OrderedDict[IPv6Address, float] = OrderedDict()
        self._known: OrderedDict[IPv6Address, tuple[float, float]] = OrderedDict()
        #: A bit for each of the last echoes, set where it was answered, below a set bit.
        self._outcomes: OrderedDict[IPv6Address, int] = OrderedDict()

    def ask(self, addresses: Iterable[IPv6Address]) -> None:
        """Send an echo to each that had none in the last second."""
        now = self._loop.time()
        if self._socket is None:
            if not self._sources:
                return
            try:
                self._socket = self._opener()
            except OSError:
                return
            self._loop.add_reader(self._socket.fileno(), self._readable)
        self._give_up(now)
        for address in addresses:
            if now - self._sent.get(address, -_EVERY) >= _EVERY:
                self._echo(self._socket, address, now)

    def _echo(self, echoes: Echoes, address: IPv6Address, now: float) -> None:
        self._number = (self._number + 1) & 0xFFFF
        _keep(self._sent, address, now)
        _keep(self._asked, self._number, (address, now))
        data = _ECHO.pack(_REQUEST, 0, 0, self._identifier, self._number, self._nonce)
        try:
            echoes.send(data, self._sources[0], address)
        except OSError:
            self._asked.pop(self._number, None)

    def _give_up(self, now: float) -> None:
        for number, (address, since) in list(self._asked.items()):
            if now - since <= _LATE:
                return
            del self._asked[number]
            self._count(address, answered=False)

    def _count(self, address: IPv6Address, *, answered: bool) -> None:
        bits = self._outcomes.get(address, 1) << 1 | answered
        if bits >> COUNTED > 1:
            bits = bits & (1 << COUNTED) - 1 | 1 << COUNTED
        _keep(self._outcomes, address, bits)

    def _readable(self) -> None:
        if self._socket is None:
            return
        for packet in self._socket.receive():
            self.take(packet)

    def take(self, packet: Received) -> None:
        """Take an answer; what answers no question of ours is no matter."""
        if len(packet.data) != _ECHO.size:
            return
        kind, code, _, identifier, number, nonce = _ECHO.unpack(packet.data)
        asked = self._asked.get(number)
        mine = (kind, code, identifier) == (_REPLY, 0, self._identifier)
        if asked is None or not mine or nonce != self._nonce or packet.source != asked[0]:
            return
        del self._asked[number]
        now = self._loop.time()
        if now - asked[1] <= _LATE:
            _keep(self._known, asked[0], (now - asked[1], now))
            self._count(asked[0], answered=True)

    def of(self, address: IPv6Address) -> float | None:
        """Return the last round trip in ms, None when none is known of late."""
        known = self._known.get(address)
        if known is None or self._loop.time() - known[1] > _OLD:
            return None
        return round(known[0] * 1000, 1)

    def loss(self, address: IPv6Address) -> float | None:
        """Return how many of the last echoes were not answered, in percent.

        None without any, and for who has never answered: that may be a firewall.
        """
        if address not in self._known:
            return None
        bits = self._outcomes[address]
        count = bits.bit_length() - 1
        return round(100 * (count + 1 - bits.bit_count()) / count, 1)

    def forget(self) -> None:
        """Begin anew: what was measured was another way."""
        for table in (self._asked, self._sent, self._known, self._outcomes):
            table.clear()

    def stop(self) -> None:
        """End."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None


def _keep(table: OrderedDict[K, V], key: K, value: V) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > MOST:
        table.popitem(last=False)
