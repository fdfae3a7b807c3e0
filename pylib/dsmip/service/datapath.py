# SPDX-License-Identifier: GPL-2.0-only
"""Which data path carries packets: the kernel module, or this process (portable mode)."""

from __future__ import annotations

import asyncio
import errno
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..ipsec.movement import Ability
from ..linux.dsmip import DsmipDevice, EventSocket
from ..linux.mobility_socket import MobilitySocket
from ..linux.netlink import NetlinkError
from ..linux.portable import PortableDevice, PortableEvents, Reader
from ..linux.rtnl import Rtnl
from ..linux.sysctl import Sysctls
from ..linux.xfrm import Xfrm
from ..mobility.config import RouteOptimisationConfig
from .alarm import Alarm
from .config import Config, Row
from .direct_config import OptimisationSection
from .ike_config import Manager, Payload

if TYPE_CHECKING:
    from ..ipsec.database import SecurityTable
    from ..linux.portable_wire import PortableWire

log = logging.getLogger("dsmipd")

KERNEL, PORTABLE = "kernel", "portable"
_WHY: Final = "portable mode: packets pass through this process, in UDP; slower than dsmip.ko"
_NEEDS: Final = "{what} needs the kernel: install kmod-dsmip and kmod-ipsec6"


class StartError(Exception):
    """The daemon cannot start; the text says what to do."""


class KernelPath:
    """dsmip.ko and the kernel's IPsec."""

    mode = KERNEL

    def __init__(self, device: DsmipDevice) -> None:
        self.device = device

    def security(self, ability: Ability | None) -> Xfrm:
        """Return the databases of policies and associations."""
        return Xfrm(ability)

    def wire(self) -> MobilitySocket:
        """Return what sends and receives mobility messages."""
        return MobilitySocket()

    def events(self) -> EventSocket:
        """Return what reports on paths."""
        return EventSocket(self.device.family)

    def fit(self, config: Config) -> Config:
        """Return a configuration as it is carried out."""
        return config

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let packets flow from now on."""
        del loop  # packets do not wait for us


class PortablePath:
    """A TUN device, and ESP for signalling in this process."""

    mode = PORTABLE

    def __init__(self, device: PortableDevice) -> None:
        # ESP in this process brings a library that the kernel's needs not.
        from ..ipsec.database import SecurityTable

        self.device = device
        self._security = SecurityTable()
        self._wire: PortableWire | None = None

    def security(self, ability: Ability | None) -> SecurityTable:
        """Return the databases of policies and associations."""
        del ability
        return self._security

    def wire(self) -> PortableWire:
        """Return what sends and receives mobility messages."""
        from ..linux.portable_wire import PortableWire

        self._wire = PortableWire(self.device, self._security)
        return self._wire

    def events(self) -> PortableEvents:
        """Return what reports on paths."""
        return PortableEvents(self.device)

    def fit(self, config: Config) -> Config:
        """Return a configuration as it is carried out. Raises ``StartError``."""
        if config.ike.connections:
            raise StartError(_NEEDS.format(what="[[ike.connection]]"))
        for row in _rows(config):
            problem = _needs_kernel(row)
            if problem:
                raise StartError(_NEEDS.format(what=problem))
        agent, router = config.home_agent, config.mobile_router
        if config.correspondent is not None:
            raise StartError(_NEEDS.format(what="[correspondent]"))
        # Everything is in UDP here: where the engines choose, they must choose that.
        if agent is not None:
            agent = replace(agent, engine=replace(agent.engine, force_udp=True))
        if router is not None:
            router = replace(
                router,
                engine=replace(router.engine, force_udp=True),
                optimisation=OptimisationSection(RouteOptimisationConfig(enabled=False)),
            )
        return replace(config, home_agent=agent, mobile_router=router)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let packets flow from now on."""
        readers: list[Reader] = self.device.readers()
        if self._wire is not None:
            readers += self._wire.readers()
        for descriptor, read in readers:
            loop.add_reader(descriptor, read)

        def tick(now: float) -> None:
            again = self.device.tick()
            alarm.set(None if again is None else now + again)

        def changed() -> None:
            alarm.set(loop.time())

        alarm = Alarm(loop, tick)
        self.device.changed = changed
        changed()


#: What the daemon wires engines to; both have the same methods.
DataPath = KernelPath | PortablePath


def _rows(config: Config) -> list[Row]:
    sections = (config.home_agent, config.mobile_router)
    return [row for section in sections if section is not None for row in section.rows]


def _needs_kernel(row: Row) -> str:
    plan = row.plan
    if plan.manager in (Manager.IKEV2, Manager.EXTERNAL):
        return f'keys = "{plan.manager.value}"'
    for option, form in (
        ("payload", plan.payload),
        ("return_routability", plan.return_routability),
    ):
        if form is not Payload.NONE:
            return f'{option} = "{form.value}"'
    return ""


def open_data_path(config: Config, rtnl: Rtnl, sysctls: Sysctls) -> DataPath:
    """Return the data path that the configuration and this kernel allow.

    Raises ``StartError`` with what to do, ``OSError`` for what is unexpected.
    """
    common = config.globals
    link = rtnl.link(common.device)
    wanted = common.data_path
    if link is not None and link.kind not in ("dsmip", "tun"):
        kind = link.kind or "another kind"
        raise StartError(f"{common.device} is there already, but is a {kind} device, not dsmip")
    if link is not None and wanted != "auto" and (link.kind == "dsmip") != (wanted == KERNEL):
        raise StartError(
            f'{common.device} is a {link.kind} device and data_path is "{wanted}": '
            f"delete it with 'ip link del {common.device}'"
        )
    path: DataPath | None = None
    if wanted != PORTABLE and (link is None or link.kind == "dsmip"):
        path = _open_kernel(config, rtnl)
    if path is None:
        path = _open_portable(config, rtnl)
    sysctls.prepare_device(path.device.name)
    rtnl.set_up(path.device.interface)
    return path


def _open_kernel(config: Config, rtnl: Rtnl) -> KernelPath | None:
    common = config.globals
    link = rtnl.link(common.device)
    if link is None:
        try:
            rtnl.create_device(common.device, common.port)
        except NetlinkError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            if common.data_path != KERNEL:
                return None
            raise StartError(
                f"cannot create {common.device}: the kernel module dsmip is not there; "
                "run 'modprobe dsmip' or install kmod-dsmip"
            ) from error
        link = rtnl.link(common.device)
        log.info("created device %s", common.device)
    if link is None:
        raise StartError(f"{common.device} was there and is gone")
    device = DsmipDevice(link.index, link.name)
    port = device.state().port
    if port and port != common.port:
        raise StartError(
            f"{link.name} has UDP port {port}, the configuration says {common.port}: "
            f"delete it with 'ip link del {link.name}' or change [globals] port"
        )
    return KernelPath(device)


def _open_portable(config: Config, rtnl: Rtnl) -> PortablePath:
    common = config.globals
    # Beside the control socket: what a reboot ends must not outlive it.
    folder = Path(common.socket).with_suffix("") / common.device
    try:
        device = PortableDevice(common.device, common.port, folder, rtnl)
    except OSError as error:
        problem = _TROUBLE.get(error.errno or 0)
        if problem is None:
            raise
        raise StartError(problem.format(name=common.device, port=common.port)) from error
    if common.data_path == "auto":
        log.warning("the kernel module dsmip is not there, install kmod-dsmip for speed")
    log.info("%s", _WHY)
    return PortablePath(device)


_TROUBLE: Final = {
    errno.ENOENT: "neither the kernel module dsmip nor /dev/net/tun is there: "
    "run 'modprobe tun' or install kmod-tun",
    errno.ENODEV: "/dev/net/tun is there without a driver: run 'modprobe tun'",
    errno.EBUSY: "{name} is used by another process",
    errno.EADDRINUSE: "UDP port {port} is used by another process",
}
