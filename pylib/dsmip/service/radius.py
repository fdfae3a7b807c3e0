# SPDX-License-Identifier: GPL-2.0-only
"""EAP handed to a RADIUS server: the socket and the clock of ``ikev2.radius``."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from ipaddress import ip_address

from ..ikev2.eap import EapPeer, EapReply
from ..ikev2.effects import AskEap
from ..ikev2.errors import Ignored
from ..ikev2.radius import Datagram, RadiusClient, RadiusConfig, RadiusEffect, RadiusServer
from .alarm import Alarm
from .ike_config import Radius

log = logging.getLogger(__name__)

_LARGEST = 4096


class RadiusRelay:
    """Asks one server; answers go to whoever asked."""

    def __init__(self, radius: Radius, name: str, loop: asyncio.AbstractEventLoop) -> None:
        server = RadiusServer(radius.server, radius.secret, radius.port)
        self._client = RadiusClient(RadiusConfig((server,), name))
        self._loop = loop
        self._asking: dict[int, Callable[[EapReply], None]] = {}
        self._alarm = Alarm(loop, self._rang)
        family = socket.AF_INET6 if radius.server.version == 6 else socket.AF_INET
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(family, kind)
        self.counters: Counter[str] = Counter()
        loop.add_reader(self._socket.fileno(), self._readable)

    def close(self) -> None:
        """Ask no more."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self._alarm.stop()

    def ask(self, effect: AskEap, answer: Callable[[EapReply], None]) -> None:
        """Take what an initiator said, or that it is there; ``answer`` gets the reply."""
        now = self._loop.time()
        session = effect.ike
        known = session in self._asking
        self._asking[session] = answer
        if known:
            self._carry(self._client.answer(session, effect.packet, now))
        else:
            peer = EapPeer(str(effect.peer), "", "")
            self._carry(self._client.begin(session, peer, now))

    def forget(self, ike: int) -> None:
        """An IKE SA is authenticated, or gone."""
        if self._asking.pop(ike, None) is not None:
            self._client.forget(ike)

    def _readable(self) -> None:
        while True:
            try:
                data, source = self._socket.recvfrom(_LARGEST)
            except BlockingIOError:
                return
            except OSError as error:
                log.warning("RADIUS: %s", error.strerror or error)
                return
            address = ip_address(source[0].partition("%")[0])
            try:
                effects = self._client.receive(data, address, source[1], self._loop.time())
            except Ignored as error:
                self.counters[error.counter] += 1
                continue
            self._carry(effects)

    def _carry(self, effects: Iterable[RadiusEffect]) -> None:
        for effect in effects:
            if isinstance(effect, Datagram):
                try:
                    self._socket.sendto(effect.data, (str(effect.address), effect.port))
                except OSError as error:
                    log.warning("RADIUS request not sent: %s", error.strerror or error)
            else:
                answer = self._asking.get(effect.session)
                if effect.reply.result is not None:
                    self._asking.pop(effect.session, None)
                if answer is not None:
                    self._loop.call_soon(answer, effect.reply)
        self._alarm.set(self._client.next_timer())

    def _rang(self, now: float) -> None:
        self._carry(self._client.handle_timer(now))
