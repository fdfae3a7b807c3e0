# SPDX-License-Identifier: GPL-2.0-only
"""dsmipd: wires engines to the kernel and serves the control socket."""

from __future__ import annotations

import argparse
import asyncio
import errno
import logging
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Final

from .. import __version__
from ..ipsec.policy import Role as IpsecRole
from ..linux.dsmip import BindingState, DsmipDevice, EventSocket
from ..linux.mobility_socket import MobilitySocket
from ..linux.neighbours import Interface, Neighbours
from ..linux.netlink import NetlinkError, Overrun
from ..linux.rtnl import Link, Rtnl
from ..linux.sysctl import Sysctls
from ..linux.uplinks import UplinkMonitor
from ..linux.xfrm import Xfrm
from ..mobility.home_agent import BindingView
from . import status
from .agent import HomeAgentRole
from .config import (
    DEFAULT_PATH,
    LEVELS,
    Config,
    HomeAgentSection,
    MobileRouterSection,
    Row,
    load,
)
from .control import AlreadyRunning, ControlServer, Lock, RequestError
from .history import History
from .keys import StaticKeys
from .options import ConfigError
from .roles import Kernel, Role
from .router import MobileRouterRole
from .routing import AgentRouting, RouterRouting

log = logging.getLogger("dsmipd")

_BINDINGS_LIMIT: Final = 1000
_WATCH_LEAST, _WATCH_USUAL, _WATCH_MOST = 0.1, 1.0, 3600.0


class StartError(Exception):
    """The daemon cannot start; the text says what to do."""


class Daemon:
    """One process: a mobile router, a home agent, or both, on one device."""

    def __init__(self, config: Config, path: str) -> None:
        self._config = config
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._stopping = asyncio.Event()
        self._history = History(config.globals.history)
        self._lock = Lock(config.globals.socket)
        self._sysctls = Sysctls()
        self._rtnl = Rtnl()
        self._monitor: UplinkMonitor | None = None
        self._router: MobileRouterRole | None = None
        self._agent: HomeAgentRole | None = None
        self._device = self._open_device()
        self._xfrm = Xfrm()
        self._keys = StaticKeys(self._xfrm)
        self._install_keys(config)
        # Only now: a message that came before its policies would pass in clear.
        self._wire = MobilitySocket()
        self._events = EventSocket(self._device.family)
        self._neighbours = Neighbours()
        self._control = ControlServer(
            config.globals.socket,
            {
                "status": self._status,
                "bindings": self._bindings,
                "uplinks": self._uplinks,
                "history": self._show_history,
                "handover": self._handover,
                "reload": self._reload_asked,
            },
            {"watch": self._watch},
        )

    # --- start

    def _open_device(self) -> DsmipDevice:
        common = self._config.globals
        link = self._rtnl.link(common.device)
        if link is None:
            try:
                self._rtnl.create_device(common.device, common.port)
            except NetlinkError as error:
                if error.errno == errno.EOPNOTSUPP:
                    raise StartError(
                        f"cannot create {common.device}: the kernel module dsmip is not there; "
                        "run 'modprobe dsmip' or install kmod-dsmip"
                    ) from error
                raise
            link = self._rtnl.link(common.device)
            log.info("created device %s", common.device)
        if link is None or link.kind != "dsmip":
            kind = "" if link is None else link.kind or "another kind"
            raise StartError(f"{common.device} is there already, but is a {kind} device, not dsmip")
        device = DsmipDevice(link.index, link.name)
        port = device.state().port
        if port and port != common.port:
            raise StartError(
                f"{link.name} has UDP port {port}, the configuration says {common.port}: "
                f"delete it with 'ip link del {link.name}' or change [globals] port"
            )
        self._sysctls.prepare_device(link.name)
        self._rtnl.set_up(link.index)
        return device

    def _install_keys(self, config: Config) -> None:
        try:
            self._keys.update(_rows(config))
        except NetlinkError as error:
            if error.errno == errno.EPROTONOSUPPORT:
                raise StartError(
                    "the kernel has no ESP for IPv6: run 'modprobe esp6' or install kmod-ipsec6"
                ) from error
            raise

    async def run(self) -> None:
        """Run until a signal says to stop."""
        for number, action in (
            (signal.SIGTERM, self._stopping.set),
            (signal.SIGINT, self._stopping.set),
            (signal.SIGHUP, self._reload_signalled),
        ):
            self._loop.add_signal_handler(number, action)
        kernel = Kernel(self._device, self._wire, self._neighbours, self._keys)
        adopted = self._device.bindings()
        if self._config.mobile_router is not None:
            self._router = self._make_router(self._config.mobile_router, kernel, adopted)
        if self._config.home_agent is not None:
            self._agent = self._make_agent(self._config.home_agent, kernel, adopted)
        if self._config.globals.forwarding:
            for name in self._sysctls.forward():
                log.error("cannot switch on %s: nothing will be forwarded", name)
        for role in self._roles():
            role.start()
        self._loop.add_reader(self._wire.fileno(), self._messages)
        self._loop.add_reader(self._events.fileno(), self._kernel_events)
        if self._agent is not None:
            self._loop.add_reader(self._neighbours.fileno(), self._advertisements)
        if self._monitor is not None:
            self._loop.add_reader(self._monitor.fileno(), self._links)
        await self._control.start()
        titles = " and ".join(role.title for role in self._roles())
        log.info("dsmipd %s runs as %s on %s", __version__, titles, self._device.name)
        await self._stopping.wait()
        await self._shut_down()

    def _make_router(
        self, section: MobileRouterSection, kernel: Kernel, adopted: list[BindingState]
    ) -> MobileRouterRole:
        for uplink in section.uplinks:
            # Before forwarding is switched on: that makes the kernel forget routers.
            self._sysctls.prepare_uplink(uplink.interface)
        engine = section.engine
        routing = RouterRouting(
            self._rtnl,
            self._device.interface,
            engine.home_address,
            engine.prefixes,
            engine.home_agent4,
        )
        self._monitor = UplinkMonitor(self._rtnl, [u.interface for u in section.uplinks])
        return MobileRouterRole(
            section,
            kernel,
            self._loop,
            self._history,
            routing,
            self._monitor,
            self._sysctls,
            adopted,
        )

    def _make_agent(
        self, section: HomeAgentSection, kernel: Kernel, adopted: list[BindingState]
    ) -> HomeAgentRole:
        link: Link | None = None
        if section.interface:
            link = self._rtnl.link(section.interface)
            if link is None:
                raise StartError(f"the home link's interface {section.interface} is not there")
            self._sysctls.prepare_home_link(link.name)
        return HomeAgentRole(
            section,
            kernel,
            self._loop,
            self._history,
            AgentRouting(self._rtnl, self._device.interface, link.index if link else 0),
            self._rtnl,
            None if link is None else Interface(link.index, link.name, link.address),
            adopted,
        )

    async def _shut_down(self) -> None:
        keep = self._config.globals.keep_state
        router = self._router
        if router is not None and router.section.deregister_on_stop:
            router.deregister()
        for role in self._roles():
            role.stop()
        if not keep:
            if self._agent is not None:
                self._agent.clear()
            if router is not None:
                router.clear()
            self._keys.clear()
        await self._control.stop()
        self._lock.release()
        log.info("stopped, %s", "forwarding goes on" if keep else "all state removed")

    def _roles(self) -> Iterator[HomeAgentRole | MobileRouterRole]:
        if self._router is not None:
            yield self._router
        if self._agent is not None:
            yield self._agent

    # --- what descriptors bring

    def _messages(self) -> None:
        for datagram in self._wire.receive():
            role: Role | None = next((r for r in self._roles() if r.concerns(datagram)), None)
            if role is not None:
                role.receive(datagram)

    def _kernel_events(self) -> None:
        try:
            for event in self._events.events():
                if event.interface != self._device.interface or event.home_address is None:
                    continue
                router = self._router
                if router is not None and event.home_address == router.section.engine.home_address:
                    router.kernel_event(event)
                elif self._agent is not None:
                    self._agent.kernel_event(event)
        except Overrun:
            log.warning("events of the kernel module were lost, timers take over")

    def _advertisements(self) -> None:
        for interface, target in self._neighbours.advertised():
            if self._agent is not None:
                self._agent.advertised(interface, target)

    def _links(self) -> None:
        if self._router is not None:
            self._router.links_changed()

    # --- reload

    def _reload_signalled(self) -> None:
        try:
            self._reload()
        except (ConfigError, RequestError, OSError) as error:
            for line in str(error).splitlines():
                log.error("not reloaded: %s", line)

    def _reload(self) -> None:
        """Apply the difference; raises before anything changes if it cannot."""
        config = load(self._path)
        old = self._config
        fixed = ("device", "port", "socket")
        changed = [n for n in fixed if getattr(old.globals, n) != getattr(config.globals, n)]
        if changed:
            raise RequestError(f"[globals] {', '.join(changed)} can only change at a restart")
        if (old.home_agent is None) != (config.home_agent is None) or (
            old.mobile_router is None
        ) != (config.mobile_router is None):
            raise RequestError("roles can only be added or removed at a restart")
        if (
            old.home_agent
            and config.home_agent
            and old.home_agent.interface != config.home_agent.interface
        ):
            raise RequestError("[home_agent] interface can only change at a restart")
        self._keys.update(_rows(config))
        try:
            if self._router is not None and config.mobile_router is not None:
                self._router.reconfigure(config.mobile_router)
        except ValueError as error:
            self._keys.update(_rows(old))
            raise RequestError(str(error)) from error
        if self._agent is not None and config.home_agent is not None:
            self._agent.reconfigure(config.home_agent)
        self._config = config
        self._history.resize(config.globals.history)
        logging.getLogger().setLevel(config.globals.log_level.upper())
        log.info("configuration reloaded")

    # --- control

    def _reload_asked(self, _request: Mapping[str, Any]) -> Any:
        try:
            self._reload()
        except ConfigError as error:
            raise RequestError(str(error)) from error
        return {"reloaded": self._path}

    def _kernel_binding(self) -> BindingState | None:
        if self._router is None:
            return None
        return self._device.binding(self._router.section.engine.home_address)

    def _status(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        document = status.process_document(
            self._device.name, self._device.state(), self._started, self._loop.time()
        )
        if self._router is not None:
            kernel = self._kernel_binding()
            document["mobile_router"] = status.router_document(self._router, kernel, self._history)
            document["uplinks"] = self._uplink_documents(kernel)
        if self._agent is not None:
            count = len(self._agent.bindings())
            document["home_agent"] = status.agent_document(self._agent, count)
        return document

    def _uplink_documents(self, kernel: BindingState | None) -> list[dict[str, Any]]:
        assert self._router is not None
        view = self._router.registration()
        pairs = zip(self._router.uplinks, self._router.links, strict=False)
        return [status.uplink_document(uplink, link, view, kernel) for uplink, link in pairs]

    def _uplinks(self, _request: Mapping[str, Any]) -> Any:
        if self._router is None:
            raise RequestError("this daemon is no mobile router, it has no uplinks")
        return {"uplinks": self._uplink_documents(self._kernel_binding())}

    def _bindings(self, request: Mapping[str, Any]) -> Any:
        match, limit = request.get("match", ""), request.get("limit", _BINDINGS_LIMIT)
        if not isinstance(match, str):
            raise RequestError('"match" is a text: part of an identity, an address or a prefix')
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise RequestError('"limit" is a whole number from 1')
        found: list[dict[str, Any]] = []
        total = 0
        if self._agent is not None:
            views = self._agent.bindings()
            total = len(views)
            chosen = [view for view in views if _matches(view, match)][:limit]
            for view in chosen:
                kernel = self._device.binding(view.home_address)
                found.append({"role": "home agent", **status.binding_document(view, kernel)})
        kernel = self._kernel_binding()
        if self._router is not None and kernel is not None:
            total += 1
            part = status.router_document(self._router, kernel, self._history)
            part.pop("counters")
            found.append({"role": "mobile router", **part})
        return {"total": total, "bindings": found}

    def _show_history(self, request: Mapping[str, Any]) -> Any:
        limit = request.get("limit", 0)
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
            raise RequestError('"limit" is a whole number from 0')
        return {"handovers": self._history.documents(limit)}

    def _handover(self, request: Mapping[str, Any]) -> Any:
        if self._router is None:
            raise RequestError("this daemon is no mobile router, it has no uplinks")
        name = request.get("uplink")
        if name is not None and not isinstance(name, str):
            raise RequestError('"uplink" is the name of an uplink, or null to choose by priority')
        try:
            self._router.handover(name)
        except ValueError as error:
            raise RequestError(str(error)) from error
        view = self._router.registration()
        return {"wanted": name, "uplink": view.uplink, "state": status.state_word(view)}

    async def _watch(self, request: Mapping[str, Any]) -> AsyncIterator[Any]:
        interval = request.get("interval", _WATCH_USUAL)
        plain = isinstance(interval, int | float) and not isinstance(interval, bool)
        if not plain or not _WATCH_LEAST <= interval <= _WATCH_MOST:
            raise RequestError(f'"interval" is from {_WATCH_LEAST} to {_WATCH_MOST:g} seconds')
        while True:
            yield self._status(request)
            await asyncio.sleep(interval)


def _rows(config: Config) -> list[tuple[IpsecRole, Row]]:
    rows: list[tuple[IpsecRole, Row]] = []
    if config.home_agent is not None:
        rows += [(IpsecRole.HOME_AGENT, row) for row in config.home_agent.rows]
    if config.mobile_router is not None:
        rows += [(IpsecRole.MOBILE_ROUTER, row) for row in config.mobile_router.rows]
    return rows


def _matches(view: BindingView, match: str) -> bool:
    if not match:
        return True
    texts = (view.identity, view.home_address, view.home_address4, *view.prefixes)
    return any(match in str(text) for text in texts)


def main(argv: Sequence[str] | None = None) -> int:
    """Run dsmipd; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="dsmipd", description="Dual-Stack Mobile IPv6 mobile router and home agent"
    )
    parser.add_argument("--config", default=DEFAULT_PATH, help=f"default {DEFAULT_PATH}")
    parser.add_argument("--log-level", choices=LEVELS, help="instead of the configured one")
    parser.add_argument("--version", action="version", version=f"dsmipd {__version__}")
    arguments = parser.parse_args(argv)
    try:
        config = load(arguments.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    logging.basicConfig(
        level=(arguments.log_level or config.globals.log_level).upper(),
        format="%(asctime)s.%(msecs)03d %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    try:
        asyncio.run(_run(config, arguments.config))
    except (StartError, AlreadyRunning) as error:
        log.error("%s", error)
        return 1
    except OSError as error:
        log.error("%s", error.strerror if isinstance(error, NetlinkError) else error)
        if error.errno in (errno.EPERM, errno.EACCES):
            log.error("dsmipd needs root (CAP_NET_ADMIN and CAP_NET_RAW)")
        return 1
    return 0


async def _run(config: Config, path: str) -> None:
    await Daemon(config, path).run()


if __name__ == "__main__":
    sys.exit(main())
