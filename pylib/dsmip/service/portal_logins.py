# SPDX-License-Identifier: GPL-2.0-only
"""The way by which hosts of the mobile network log in at captive portals.

A door is a rule and a route to each address of the portal's host, and an nftables
rule that gives what goes there the uplink's address. nft is a program and takes its
time, so a thread runs it; routes follow when it is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_network
from typing import Any, Final, Protocol

from ..linux.login_door import Door, LoginTable
from ..linux.rtnl import InterfaceAddress, Link
from ..linux.uplinks import LinkState
from ..mobility.effects import Uplink
from ..mobility.mobile_router import MobileRouter
from ..mobility.portal_login import LookUp, Portal, PortalLogins
from ..packet.kernel import Address, Network
from . import portal_probe
from .config import MobileRouterSection
from .ike_config import Payload
from .routing import LoginWay, host

log = logging.getLogger(__name__)

NO_LAN: Final = "no interface has an address of the mobile network, and option lan names none"
PROTECTED: Final = "payload protection lets nothing of the mobile network leave in clear"

#: Seconds until nft is called again after it refused.
NFT_AGAIN: Final = 60.0

Finder = Callable[[str, tuple[Address, ...], int], Awaitable[tuple[Address, ...]]]
Done = Callable[[OSError | None], None]


class Owner(Protocol):
    """The part of ``router.MobileRouterRole`` that is used here."""

    section: MobileRouterSection
    engine: MobileRouter

    @property
    def uplinks(self) -> tuple[Uplink, ...]: ...
    @property
    def links(self) -> tuple[LinkState, ...]: ...
    def use_logins(self, ways: tuple[LoginWay, ...]) -> None: ...


class Interfaces(Protocol):
    """The part of ``linux.rtnl.Rtnl`` that is used here."""

    def addresses(self) -> list[InterfaceAddress]: ...
    def links(self) -> list[Link]: ...


class Worker:
    """Calls in order, in a thread; ``done`` is called in the loop when one has ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pool = ThreadPoolExecutor(1, "nft-login")

    def submit(self, action: Callable[[], None], done: Done) -> None:
        def finished(future: Future[None]) -> None:
            error = future.exception()
            if error is not None and not isinstance(error, OSError):
                error = OSError(0, repr(error))
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(done, error)

        self._pool.submit(action).add_done_callback(finished)

    def finish(self) -> None:
        """Wait until all is done."""
        self._pool.shutdown(wait=True)


class Submitter(Protocol):
    """What ``Worker`` does."""

    def submit(self, action: Callable[[], None], done: Done) -> None: ...
    def finish(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Opening:
    """All doors that shall be open, as nft and as routing see them."""

    doors: tuple[Door, ...] = ()
    ways: tuple[LoginWay, ...] = ()


class LoginDoors:
    """Opens and closes the doors."""

    def __init__(
        self,
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        rtnl: Interfaces,
        table: LoginTable | None = None,
        worker: Submitter | None = None,
        finder: Finder = portal_probe.look_up,
    ) -> None:
        self._owner = owner
        self._loop = loop
        self._rtnl = rtnl
        self._table = LoginTable() if table is None else table
        self._worker = Worker(loop) if worker is None else worker
        self._finder = finder
        self._engine = PortalLogins()
        self._wanted = _Opening()
        self._open: tuple[LoginWay, ...] = ()
        self._used = False
        self._problem = ""
        self._retry_at = 0.0
        self._lan: tuple[str, ...] = ()
        # A daemon that was killed has left its table.
        self._worker.submit(self._table.reset, _left_alone)

    def look(self, portals: Iterable[Portal]) -> list[LookUp]:
        """Take the portals that are in the way; each of what is returned goes to ``find``."""
        portals = tuple(portals)
        closed: list[Network] = []
        self._lan = ()
        if portals:
            try:
                closed = self._closed()
            except OSError as error:
                log.error("nobody can log in at a portal: %s", error.strerror or error)
                portals = ()
        may = self._owner.section.portal_login and not self._hindrance()
        effects = self._engine.observe(portals if may else (), self._loop.time())
        self._apply(closed)
        return effects

    def next_timer(self) -> float | None:
        """Return when ``look`` wants to be called, None for never."""
        return self._engine.next_timer()

    def document(self, name: str, portal: str) -> dict[str, Any]:
        """Return what a status document tells of an uplink with a portal, "" for none."""
        index = next((one.interface for one in self._owner.uplinks if one.name == name), 0)
        ways = [way for way in self._open if way.interface == index] if portal else []
        said = "" if ways or not portal else self._why_closed(name)
        return {"login": [str(way.address) for way in ways], "login_problem": said}

    def stop(self) -> None:
        """Close all doors, and wait until they are."""
        self._wanted = _Opening()
        self._lead(())
        if self._used:
            self._worker.submit(self._table.reset, _left_alone)
        self._worker.finish()

    def _hindrance(self) -> str:
        rows = self._owner.section.rows
        if any(row.plan.payload is not Payload.NONE for row in rows):
            return PROTECTED
        return "" if self._lan else NO_LAN

    def _why_closed(self, name: str) -> str:
        if not self._owner.section.portal_login:
            return "portal_login is off"
        if hindrance := self._hindrance():
            return hindrance
        login = self._engine.login(name)
        if login is None:
            return "what the portal names is no address of a web page"
        if not self._engine.named(name):
            return f"no address of {login.host} is known"
        return self._problem or f"{login.host} is not where a portal may be"

    async def find(self, effect: LookUp) -> None:
        """Look a portal's host up; ``look`` wants to be called afterwards."""
        uplink = next((one for one in self._owner.uplinks if one.name == effect.name), None)
        found: tuple[Address, ...] = ()
        try:
            if uplink is not None:
                found = await self._finder(effect.host, _sources(uplink), uplink.interface)
        finally:
            self._engine.found(effect, found, self._loop.time())

    # --- what is opened

    def _closed(self) -> list[Network]:
        """Return where no door may lead: to us, to the LAN, to what is home.

        Finds the LAN as well: where none is named, it is what has addresses of the
        mobile network. Raises ``OSError`` when the kernel does not tell.
        """
        section, config = self._owner.section, self._owner.engine.config
        outside = {link.index for link in self._owner.links if link.index}
        closed: list[Network] = [section.engine.home_prefix, *section.engine.networks]
        closed += section.undelegated
        agents = [(one.address6, one.address4) for one in self._owner.engine.agents.known()]
        agents.append((config.home_agent6, config.home_agent4))
        closed += [host(one) for pair in agents for one in pair if one is not None]
        inside: set[int] = set()
        for entry in self._rtnl.addresses():
            closed.append(host(entry.address))
            if entry.interface in outside:
                continue
            closed.append(ip_network((entry.address, entry.length), strict=False))
            # The home address may be from the mobile network, too.
            single = entry.length == entry.address.max_prefixlen
            if not single and any(entry.address in one for one in section.engine.networks):
                inside.add(entry.interface)
        names = () if section.lan else self._rtnl.links()
        self._lan = section.lan or tuple(one.name for one in names if one.index in inside)
        for link in self._owner.links:
            for net in link.on_link:
                if isinstance(net, IPv4Network) and net.prefixlen < 31:
                    closed += [host(net.network_address), host(net.broadcast_address)]
        return closed

    def _opening(self, closed: list[Network]) -> _Opening:
        lan = self._lan
        doors: list[Door] = []
        ways: list[LoginWay] = []
        for uplink, link in zip(self._owner.uplinks, self._owner.links, strict=False):
            login = self._engine.login(uplink.name)
            if login is None:
                continue
            for address in self._engine.addresses(uplink.name, closed):
                default = link.default6 if address.version == 6 else link.default4
                own = uplink.addresses6 if address.version == 6 else uplink.addresses4
                if default is None or not own or any(way.address == address for way in ways):
                    continue
                near = any(address in net for net in link.on_link if net.version == address.version)
                gateway = None if near else default.gateway
                doors.append(Door(lan, link.name, address, login.ports))
                ways.append(LoginWay(link.index, address, gateway, lan, login.ports))
        return _Opening(tuple(doors), tuple(ways))

    def _apply(self, closed: list[Network]) -> None:
        wanted = self._opening(closed)
        if wanted == self._wanted or (wanted.doors and self._loop.time() < self._retry_at):
            return
        self._wanted = wanted
        # Nothing goes there any more before nft stops to lend it an address.
        self._lead(tuple(way for way in self._open if way in wanted.ways))
        if not wanted.doors:
            self._worker.submit(self._table.reset, _left_alone)
            return
        self._used = True
        self._worker.submit(
            lambda: self._table.put(wanted.doors), lambda error: self._put(wanted, error)
        )

    def _put(self, opening: _Opening, error: OSError | None) -> None:
        if opening is not self._wanted:
            return
        if error is not None:
            self._problem = error.strerror or str(error)
            log.error("hosts of the mobile network cannot log in: %s", self._problem)
            self._wanted = _Opening()
            self._retry_at = self._loop.time() + NFT_AGAIN
            self._lead(())
            return
        self._problem = ""
        for door in opening.doors:
            ports = ", ".join(map(str, door.ports))
            log.info("%s: hosts may log in at %s, port %s", door.uplink, door.address, ports)
        self._lead(opening.ways)

    def _lead(self, ways: tuple[LoginWay, ...]) -> None:
        self._open = ways
        self._owner.use_logins(ways)


def _left_alone(error: OSError | None) -> None:
    if error is not None:
        log.debug("nftables: %s", error.strerror or error)


def _sources(uplink: Uplink) -> tuple[Address, ...]:
    six = uplink.addresses6[:1] if uplink.gateway6 else ()
    four = uplink.addresses4[:1] if uplink.gateway4 else ()
    return (*six, *four)
