# SPDX-License-Identifier: GPL-2.0-only
"""dsmipd: wires engines to the kernel and serves the control socket."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any, Final

from .. import __version__
from ..ipsec.movement import Ability
from ..linux.advertising_socket import AdvertisingSocket
from ..linux.dsmip import BindingState
from ..linux.icmp6_socket import Icmp6Socket
from ..linux.neighbours import Interface, Neighbours
from ..linux.netlink import NetlinkError, Overrun
from ..linux.pfkey import PfKeySocket
from ..linux.route_monitor import RouteMonitor
from ..linux.rtnl import Link, Rtnl
from ..linux.sysctl import Sysctls
from ..linux.uplinks import UplinkMonitor
from ..linux.xfrm import Xfrm
from ..mobility.bootstrap import Target
from ..mobility.effects import UseHomeAgent
from . import listing, orders, renumbering, status
from .agent import HomeAgentRole
from .agents_config import using
from .bootstrapping import Bootstrapping, FoundFile, tell
from .config import (
    Config,
    HomeAgentSection,
    MobileRouterSection,
    load,
)
from .control import ControlServer, Handler, Lock, RequestError
from .data_used import DataUsed
from .datapath import StartError, open_data_path
from .derived import home_prefixes, rows_of
from .direct_host import DirectPaths, open_direct, optimise
from .discovery import Discovering
from .flow_rules import FlowRules, open_flows
from .history import History
from .ike_config import IkeSection, Manager, fixed_settings
from .keys import Guard, Keys
from .lan import Lan
from .lan_prefixes import with_lan
from .leases import GIVEN, TAKEN, LeaseFile, with_given, with_lease
from .openwrt import OpenWrt
from .options import ConfigError
from .portal_logins import LoginDoors
from .prefix_leases import DELEGATED, RECEIVED, PrefixLeaseFile
from .reloading import fixed_options, rows_with_prefixes
from .renumbering import PrefixFile, Renumbering, with_renumbered
from .roles import Kernel, Role
from .router import MobileRouterRole
from .routing import AgentRouting, RouterRouting
from .samples import Sampler, measures
from .uplink_care import UplinkCare

if TYPE_CHECKING:
    from .ike_host import IkeHost

log = logging.getLogger("dsmipd")

IKE_COMMANDS: Final = ("ike.status", "ike.initiate", "ike.rekey", "ike.terminate")
#: Keys and IKE SAs in a brief status document.
_BRIEF: Final = 100
_WATCH_LEAST, _WATCH_USUAL, _WATCH_MOST = 0.1, 1.0, 3600.0


class Daemon:
    """One process: a mobile router, a home agent, or both, on one device."""

    def __init__(self, config: Config, path: str) -> None:
        self._config = config
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._stopping = asyncio.Event()
        self._history = History(config.globals.history)
        self._sampler = Sampler(
            self._loop, lambda: measures(self._router, self._kernel_binding()), time.time
        )
        self._lock = Lock(config.globals.socket)
        self._sysctls = Sysctls()
        self._rtnl = Rtnl()
        self._monitor: UplinkMonitor | None = None
        self._router: MobileRouterRole | None = None
        self._agent: HomeAgentRole | None = None
        self._bootstrapping: Bootstrapping | None = None
        self._discovering: Discovering | None = None
        self._direct: DirectPaths | None = None
        self._renumbering: Renumbering | None = None
        self._care: UplinkCare | None = None
        self._path_in_use = open_data_path(config, self._rtnl, self._sysctls)
        self._config = config = with_lan(self._path_in_use.fit(config), self._rtnl)
        self._device = self._path_in_use.device
        self._xfrm = self._path_in_use.security(
            Ability.NONE if config.ike.migrate == "off" else None
        )
        # While it is open, the kernel repeats each MIGRATE to whoever listens to PF_KEY.
        self._pf_key = PfKeySocket() if config.ike.pf_key else None
        self._ike: IkeHost | None = None
        self._flows: FlowRules | None = None
        self._keys = Keys(self._xfrm, self._make_keys)
        self._install_keys(config)
        # Only now: a message that came before its policies would pass in clear.
        self._wire = self._path_in_use.wire()
        self._events = self._path_in_use.events()
        self._neighbours = Neighbours()
        self._openwrt = OpenWrt(self._loop, self._device.name)
        self._handlers: dict[str, Handler] = {
            "status": self._status,
            "bindings": self._bindings,
            "routers": lambda request: listing.routers(
                request, self._device, self._agent, self._credential_ends
            ),
            "uplinks": self._uplinks,
            "absent": lambda request: listing.absent(request, self._agent),
            "history": lambda request: listing.handovers(request, self._history),
            "handover": lambda request: orders.handover(self._router, request),
            "hold": lambda request: orders.hold(self._router, request),
            "failover": lambda request: orders.failover(self._router, self._history, request),
            "samples": self._sampler.handle,
            "audit": lambda request: orders.audit(self._agent, request),
            "enroll": lambda request: orders.enroll(
                self._agent,
                self._path,
                request,
                lambda: self._reload_asked({}),
                kernel=self._path_in_use.mode != "portable",
            ),
            "optimise": lambda request: optimise(self._direct, request),
            "reload": self._reload_asked,
            "netifd": self._openwrt.poke,
            "home-network": lambda request: tell(self._bootstrapping, request),
            "home-agents": lambda _: orders.home_agents(self._discovering, self._router),
            "revoke": lambda request: orders.revoke(self._agent, request),
            "switch": lambda request: orders.switch(self._agent, self._router, request),
            **{name: self._ike_command(name) for name in IKE_COMMANDS},
        }
        self._control = ControlServer(config.globals.socket, self._handlers, {"watch": self._watch})

    # --- start

    def _make_keys(self, manager: Manager) -> Guard:
        if manager is Manager.EXTERNAL:
            from .external import ExternalKeys

            return ExternalKeys(self._xfrm)
        return self._open_ike(self._config.ike).keys

    def _open_ike(self, ike: IkeSection) -> IkeHost:
        if self._ike is None:
            from .ike_open import IkeUnusable, open_ike

            assert isinstance(self._xfrm, Xfrm)
            try:
                self._ike = open_ike(ike, self._xfrm, self._loop, self._config.globals.state)
            except IkeUnusable as error:
                raise StartError(str(error)) from error
        return self._ike

    def _ike_command(self, name: str) -> Handler:
        def handle(request: Mapping[str, Any]) -> Any:
            if self._ike is None:
                raise RequestError('no keys come from IKEv2 here: nothing says keys = "ikev2"')
            from .ike_control import handlers

            return handlers(self._ike)[name](request)

        return handle

    def _install_keys(self, config: Config) -> None:
        if config.ike.connections:
            self._open_ike(config.ike)
        try:
            self._keys.update(rows_of(config), home_prefixes(config))
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
        self._flows = open_flows(
            self._device, self._config.globals.mark_mask, self._config.globals.copy_mask
        )
        kernel = Kernel(self._device, self._wire, self._neighbours, self._keys, self._flows)
        adopted = self._device.bindings()
        if self._config.mobile_router is not None:
            self._router = self._make_router(self._config.mobile_router, kernel, adopted)
        if self._config.home_agent is not None:
            self._agent = self._make_agent(self._config.home_agent, kernel, adopted)
        self._direct = open_direct(
            self._config,
            self._device,
            kernel,
            self._loop,
            self._history,
            self._rtnl,
            adopted,
            self._router,
            self._agent,
        )
        # A correspondent alone is a host, which forwards nothing.
        if self._config.globals.forwarding and (self._router or self._agent):
            for name in self._sysctls.forward():
                log.error("cannot switch on %s: nothing will be forwarded", name)
        self._connect_ike()
        self._discovering = Discovering(
            self._loop, self._agent, self._router, self._device.interface, self._home_agent_changes
        )
        for one in (self._router, self._agent):
            if one is not None:
                one.prefixes_changed = self._prefixes_changed
        self._prefixes_changed()
        if self._router is not None:
            used = DataUsed(self._config.globals.state)
            doors = LoginDoors(self._router, self._loop, self._rtnl)
            self._care = UplinkCare(
                self._router, self._loop, self._history, used, self._kernel_binding, doors=doors
            )
        for role in self._roles():
            role.start()
        if self._router is not None:
            self._renumbering = Renumbering(
                self._loop,
                Icmp6Socket(renumbering.TYPES),
                self._router,
                kernel,
                self._history,
                adopted,
                PrefixFile(self._config.globals.state),
                self._use_rows,
            )
            self._renumbering.start()
        if self._care is not None:
            self._care.start()
        self._keys.started()
        self._path_in_use.attach(self._loop)
        self._loop.add_reader(self._wire.fileno(), self._messages)
        self._loop.add_reader(self._events.fileno(), self._kernel_events)
        if self._direct is not None:
            self._direct.listen(self._loop)
        if self._agent is not None:
            self._loop.add_reader(self._neighbours.fileno(), self._advertisements)
        if self._monitor is not None:
            self._loop.add_reader(self._monitor.fileno(), self._links)
        await self._control.start()
        if self._router is not None:
            self._sampler.start()
        self._openwrt.start(self._router, self._handlers)
        titles = " and ".join(role.title for role in self._roles())
        log.info("dsmipd %s runs as %s on %s", __version__, titles, self._device.name)
        await self._stopping.wait()
        await self._shut_down()

    def _use_rows(self, section: MobileRouterSection) -> None:
        """Make keys for all home addresses of the router."""
        try:
            self._update_keys(replace(self._config, mobile_router=section))
        except (RequestError, OSError) as error:
            log.error("no keys for another home address: %s", error)

    def _home_agent_changes(self, effect: UseHomeAgent) -> None:
        """Make keys for another home agent before the first message to it."""
        router = self._router
        assert router is not None
        others = router.engine.config.agents
        section = using(router.section, effect.address6, effect.address4, others)
        try:
            self._update_keys(replace(self._config, mobile_router=section))
        except (RequestError, OSError) as error:
            log.error("no keys with %s: %s", effect.address6, error)
        router.home_agent_changed(section)

    def _with_agent_in_use(self, config: Config) -> Config:
        """Return a new configuration that goes on with the home agent in use, if it may."""
        section, router = config.mobile_router, self._router
        if section is None or router is None:
            return config
        kept = router.engine.keep_agent(section.engine)
        if kept == section.engine:
            return config
        section = using(section, kept.home_agent6, kept.home_agent4, kept.agents)
        return replace(config, mobile_router=section)

    def _connect_ike(self) -> None:
        """Let IKE and the engines hear of each other."""
        if self._ike is None:
            return
        if self._router is not None:
            self._ike.keys.ready = self._router.keys_ready
            self._ike.keys.brought = self._home_address_brought
            self._ike.keys.name_servers = self._router.use_name_servers
            self._ike.keys.witness = self._bootstrapping
            self._router.another_address = self._ike.keys.another_address
            self._ike.keys.agents = self._router
        self._ike.keys.book = self._agent
        self._ike.start()

    def _home_address_brought(self, home_address: IPv6Address) -> None:
        assert self._router is not None
        identity = self._router.section.engine.identity
        LeaseFile(self._config.globals.state, TAKEN).write({identity: home_address})
        if self._bootstrapping is not None:
            self._bootstrapping.home_address(home_address)
        self._router.use_home_address(home_address)

    def _home_agent_found(self, target: Target) -> None:
        """Make keys and register with a home agent that bootstrapping has found."""
        router = self._router
        assert router is not None
        section = router.section.with_home_agent(target.name, target.agent6, target.agent4)
        try:
            self._update_keys(replace(self._config, mobile_router=section))
        except (RequestError, OSError) as error:
            log.error("no keys with %s: %s", target.name, error)
        router.use_home_agent(section)

    def _prefixes_changed(self) -> None:
        """Protect the payload of delegated prefixes as that of all others."""
        rows = rows_with_prefixes(rows_of(self._config), self._router, self._agent)
        if rows is None:
            return
        try:
            self._keys.update(rows, home_prefixes(self._config))
        except OSError as error:
            log.error("payload of delegated prefixes is not protected: %s", error.strerror)

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
            engine.networks,
            engine.home_agent4,
        )
        lan: Lan | None = None
        if section.advertise and section.lan:
            lan = Lan(self._rtnl, AdvertisingSocket(), self._loop, self._device.name)
        self._monitor = UplinkMonitor(self._rtnl, [u.interface for u in section.uplinks])
        made = MobileRouterRole(
            section,
            kernel,
            self._loop,
            self._history,
            routing,
            self._monitor,
            self._sysctls,
            adopted,
            lan,
            PrefixLeaseFile(self._config.globals.state, RECEIVED),
        )
        if section.bootstrap is not None:
            memory = FoundFile(self._config.globals.state)
            self._bootstrapping = Bootstrapping(
                section.bootstrap, self._loop, memory, made, self._home_agent_found
            )
            made.observer = self._bootstrapping.observe
        return made

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
            LeaseFile(self._config.globals.state, GIVEN),
            PrefixLeaseFile(self._config.globals.state, DELEGATED),
            RouteMonitor(self._rtnl, section.learn_table, self._device.interface)
            if section.learn_table
            else None,
        )

    async def _shut_down(self) -> None:
        keep = self._config.globals.keep_state
        router = self._router
        if self._bootstrapping is not None:
            self._bootstrapping.stop()
        if router is not None and router.section.deregister_on_stop:
            router.deregister()
        for service in (self._discovering, self._renumbering, self._care, self._sampler):
            if service is not None:
                service.stop()
        for role in self._roles():
            role.stop()
        if not keep:
            if self._direct is not None:
                self._direct.clear()
            if self._agent is not None:
                self._agent.clear()
            if router is not None:
                router.clear()
        if self._flows is not None:
            self._flows.stop(keep)
        self._keys.stop(keep)
        if self._ike is not None:
            self._ike.stop(keep)
        self._openwrt.stop()
        await self._control.stop()
        self._lock.release()
        log.info("stopped, %s", "forwarding goes on" if keep else "all state removed")

    def _roles(self) -> Iterator[Role]:
        if self._direct is not None:
            yield from self._direct.roles()
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
                if self._direct is not None and self._direct.event(event):
                    continue
                router = self._router
                if router is not None and router.owns(event.home_address):
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
        try:
            config = self._path_in_use.fit(with_given(with_lease(load(self._path))))
            config = with_lan(config, self._rtnl)
        except StartError as error:
            raise RequestError(str(error)) from error
        old = self._config
        if self._bootstrapping is not None and config.mobile_router is not None:
            if config.mobile_router.bootstrap != self._bootstrapping.section:
                raise RequestError(
                    "[mobile_router] how the home agent is found can only change at a restart"
                )
            config = self._bootstrapping.complete(config)
        config = self._with_agent_in_use(with_renumbered(config, self._loop.time()))
        names = ("device", "port", "socket", "state", "data_path", "mark_mask", "copy_mask")
        changed = [n for n in names if getattr(old.globals, n) != getattr(config.globals, n)]
        if changed:
            raise RequestError(f"[globals] {', '.join(changed)} can only change at a restart")
        roles = ("home_agent", "mobile_router", "correspondent")
        if any((getattr(old, n) is None) != (getattr(config, n) is None) for n in roles):
            raise RequestError("roles can only be added or removed at a restart")
        option = fixed_options(old, config)
        if option:
            raise RequestError(f"{option} can only change at a restart")
        fixed = fixed_settings(old.ike, config.ike)
        if fixed:
            raise RequestError(f"[ike] {', '.join(fixed)} can only change at a restart")
        self._update_keys(config)
        try:
            if self._router is not None and config.mobile_router is not None:
                self._router.reconfigure(config.mobile_router)
        except ValueError as error:
            self._update_keys(old)
            raise RequestError(str(error)) from error
        if self._agent is not None and config.home_agent is not None:
            self._agent.reconfigure(config.home_agent)
        if self._direct is not None:
            self._direct.reconfigure(config)
        self._config = config
        self._prefixes_changed()
        self._history.resize(config.globals.history)
        logging.getLogger().setLevel(config.globals.log_level.upper())
        log.info("configuration reloaded")

    def _update_keys(self, config: Config) -> None:
        self._config = config
        before = self._ike
        if before is not None:
            before.reconfigure(config.ike)
        try:
            self._keys.update(rows_of(config), home_prefixes(config))
        except StartError as error:
            raise RequestError(str(error)) from error
        if before is None:
            self._connect_ike()

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
        home_address = self._router.section.engine.home_address
        # IKEv2 may still have to bring one, and the kernel knows no binding without.
        return None if home_address.is_unspecified else self._device.binding(home_address)

    def _status(self, request: Mapping[str, Any]) -> dict[str, Any]:
        # Ten thousand routers in one document are more than a message of ubus carries.
        brief = _BRIEF if request.get("brief") is True else None
        document = status.process_document(
            self._device.name, self._device.state(), self._started, self._loop.time()
        )
        document["device"]["data_path"] = self._path_in_use.mode
        if self._router is not None:
            kernel = self._kernel_binding()
            document["mobile_router"] = status.router_document(self._router, kernel, self._history)
            document["bootstrap"] = (
                None if self._bootstrapping is None else self._bootstrapping.document()
            )
            watched = request.get("watched") is True
            document["uplinks"] = status.uplinks_document(self._router, kernel, watched=watched)
            document["flows"] = [status.flow_document(flow) for flow in self._router.flows()]
            document["home_prefixes"] = (
                [] if self._renumbering is None else self._renumbering.documents()
            )
        if self._agent is not None:
            count = len(self._agent.registered())
            document["home_agent"] = status.agent_document(self._agent, count)
        if self._direct is not None:
            self._direct.status(document)
        document["keys"] = self._keys.documents(brief)
        document["ike"] = None
        if self._ike is not None:
            runtime = self._ike.runtime
            document["ike"] = self._ike.document(lambda: runtime.views(brief))
        return document

    def _uplinks(self, _request: Mapping[str, Any]) -> Any:
        if self._router is None:
            raise RequestError("this daemon is no mobile router, it has no uplinks")
        return {
            "uplinks": status.uplinks_document(self._router, self._kernel_binding()),
            "flows": [status.flow_document(flow) for flow in self._router.flows()],
        }

    def _bindings(self, request: Mapping[str, Any]) -> Any:
        kernel = self._kernel_binding()
        router = (self._router, kernel, self._history) if self._router and kernel else None
        return listing.bindings(
            request, self._device, self._agent, router, self._direct, self._credential_ends
        )

    def _credential_ends(self, identity: str) -> float | None:
        return None if self._ike is None else self._ike.credential_ends(identity)

    async def _watch(self, request: Mapping[str, Any]) -> AsyncIterator[Any]:
        interval = request.get("interval", _WATCH_USUAL)
        plain = isinstance(interval, int | float) and not isinstance(interval, bool)
        if not plain or not _WATCH_LEAST <= interval <= _WATCH_MOST:
            raise RequestError(f'"interval" is from {_WATCH_LEAST} to {_WATCH_MOST:g} seconds')
        while True:
            yield self._status({**request, "watched": True})
            await asyncio.sleep(interval)
