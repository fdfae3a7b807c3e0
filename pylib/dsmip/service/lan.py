# SPDX-License-Identifier: GPL-2.0-only
"""The links of the mobile network: the router's addresses there, and its advertisements.

Not where something else does it, as odhcpd or radvd: then ``advertise`` is off.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from typing import Any, Final, Protocol

from ..linux.rtnl import Link as Interface
from ..linux.uplinks import LinkState
from ..mobility.advertising import Link, OnLink, parts
from ..mobility.delegation import Lease
from ..mobility.mobile_router import RegistrationView, State
from ..packet.kernel import Address
from ..packet.status import BindingAckStatus
from .advertise import Advertising, Wire
from .config import MobileRouterSection
from .ike_config import Payload

log = logging.getLogger(__name__)

_LOOK_AGAIN: Final = 5.0
#: Octets in front of a packet of the mobile network: in IPv6, in UDP and IPv4.
_TUNNEL6, _TUNNEL4 = 40, 28
#: ESP around it at most: header, IV, padding, trailer and check value; a tunnel's own
#: IPv6 header, or UDP's, comes on top.
_ESP: Final = 8 + 16 + 15 + 2 + 16
_INSIDE, _OUTSIDE = 40, 8
_LEAST: Final = 1280
_NEVER: Final = float("inf")
_ENDS: Final = (BindingAckStatus.INVALID_PREFIX, BindingAckStatus.NOT_AUTHORIZED_FOR_PREFIX)


class Delegated(Protocol):
    """The part of ``requesting.Requesting`` that is used here."""

    @property
    def leases(self) -> list[Lease]: ...
    @property
    def dns(self) -> tuple[IPv6Address, ...]: ...


class AddressControl(Protocol):
    """The part of ``linux.rtnl.Rtnl`` that is used here."""

    def link(self, name: str) -> Interface | None: ...
    def add_address(self, interface: int, address: Address, length: int) -> None: ...
    def remove_address(self, interface: int, address: Address, length: int) -> None: ...


@dataclass(frozen=True, slots=True)
class _Terms:
    """What the links are told, before it is divided among them."""

    names: tuple[str, ...]
    networks: tuple[tuple[IPv6Network, float, float], ...]
    networks4: tuple[IPv4Network, ...]
    default: bool
    mtu: int
    dns: tuple[IPv6Address, ...]


class Lan(Advertising):
    """All links of the mobile network; ``device`` is the tunnel that leads away from them."""

    def __init__(
        self,
        rtnl: AddressControl,
        wire: Wire,
        loop: asyncio.AbstractEventLoop,
        device: str = "",
    ) -> None:
        super().__init__(wire, loop)
        self._rtnl = rtnl
        self._device = device
        self._terms: _Terms | None = None
        self._held: set[tuple[int, Address, int]] = set()
        self._looking: asyncio.TimerHandle | None = None

    def tell(
        self,
        section: MobileRouterSection,
        view: RegistrationView,
        links: Iterable[LinkState],
        delegated: Delegated,
        login: bool = False,
    ) -> None:
        """Take how the registration is; what did not change costs nothing.

        ``login``: there is a way to a portal's login, which hosts take by the default route.
        """
        terms = _terms(section, view, links, delegated, self._loop.time(), login)
        if terms != self._terms:
            self._terms = terms
            self._apply()

    def _apply(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        terms = self._terms
        assert terms is not None
        # What the device refuses hosts shall not send, whatever the uplinks take.
        device = self._rtnl.link(self._device) if self._device else None
        most = min(terms.mtu, device.mtu if device and device.mtu else terms.mtu)
        found: list[Interface | None] = [self._rtnl.link(name) for name in terms.names]
        if not all(found):
            # An interface that comes later than the daemon, as bridges do.
            self._looking = self._loop.call_later(_LOOK_AGAIN, self._apply)
        divided = parts((network for network, _, _ in terms.networks), len(found))
        ends = {network: (preferred, valid) for network, preferred, valid in terms.networks}
        wanted: set[tuple[int, Address, int]] = set()
        told: list[Link] = []
        for number, (interface, networks) in enumerate(zip(found, divided, strict=True)):
            if interface is None:
                continue
            here = []
            for network in networks:
                whole = next(one for one in ends if network.subnet_of(one))
                here.append(OnLink(network, *ends[whole]))
                if ends[whole][1] > self._loop.time():
                    first = network.network_address + (network.prefixlen < 127)
                    wanted.add((interface.index, first, network.prefixlen))
            for four in terms.networks4 if number == 0 else ():
                first4 = four.network_address + (four.prefixlen < 31)
                wanted.add((interface.index, first4, four.prefixlen))
            mtu = min(most, interface.mtu) if most else 0
            told.append(
                Link(interface.index, interface.address, tuple(here), terms.default, mtu, terms.dns)
            )
        self._addresses(wanted)
        self._wire.join(link.interface for link in told)
        self.engine.update(told, self._loop.time())
        self._arm()

    def _addresses(self, wanted: set[tuple[int, Address, int]]) -> None:
        for entry in wanted - self._held:
            try:
                self._rtnl.add_address(*entry)
                self._held.add(entry)
            except OSError as error:
                log.error("address %s: %s", entry[1], error.strerror)
        for entry in self._held - wanted:
            try:
                self._rtnl.remove_address(*entry)
            except OSError as error:
                log.warning("removing address %s: %s", entry[1], error.strerror)
        self._held &= wanted

    def stop(self) -> None:
        """Say no more; what was said holds, since the kernel goes on forwarding."""
        super().stop()
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def clear(self) -> None:
        """Say that there is no router any more, and remove its addresses."""
        self.retire()
        self._addresses(set())

    def document(self) -> dict[str, Any]:
        """Return what the status document shows."""
        terms = self._terms
        return {
            "links": list(terms.names) if terms else [],
            "default_router": terms.default if terms else False,
            "mtu": terms.mtu if terms else 0,
            "dns": [str(one) for one in terms.dns] if terms else [],
            "counters": dict(sorted(self.counters.items())),
        }


def _terms(
    section: MobileRouterSection,
    view: RegistrationView,
    links: Iterable[LinkState],
    delegated: Delegated,
    now: float,
    login: bool,
) -> _Terms:
    engine = section.engine
    # RFC 3963 section 5.4.2: what the home agent refuses is advertised no longer.
    over = view.refusal in _ENDS
    leases = {lease.prefix: lease for lease in delegated.leases}
    networks = []
    for network in engine.networks:
        if not isinstance(network, IPv6Network):
            continue
        lease = leases.get(network)
        preferred = lease.preferred_until if lease else _NEVER
        valid = lease.valid_until if lease else _NEVER
        networks.append((network, 0.0, 0.0) if over else (network, preferred, valid))
    return _Terms(
        names=section.lan,
        networks=tuple(networks),
        networks4=tuple(one for one in engine.networks if isinstance(one, IPv4Network)),
        default=view.state in (State.REGISTERED, State.HOME, State.RETURNING)
        or (view.remaining > 0 and view.state is not State.REFUSED)
        or login,
        mtu=tunnel_mtu(links, _payload(section)),
        dns=tuple(dict.fromkeys((*section.dns, *delegated.dns)))[:8],
    )


def _payload(section: MobileRouterSection) -> Payload:
    return next((row.plan.payload for row in section.rows), Payload.NONE)


def tunnel_mtu(links: Iterable[LinkState], payload: Payload) -> int:
    """Return what fits through the tunnel by any of the uplinks, 0 when none is there.

    Of all uplinks, since hosts shall not have to learn another size at a handover.
    """
    sizes = []
    for link in links:
        if link.mtu and (link.default6 is not None or link.default4 is not None):
            tunnel = _TUNNEL6 if link.default6 is not None else _TUNNEL4
            sizes.append(link.mtu - tunnel)
    if not sizes:
        return 0
    more = {Payload.NONE: 0, Payload.INSIDE: _ESP + _INSIDE, Payload.RFC4877: _ESP + _OUTSIDE}
    return max(min(sizes) - more[payload], _LEAST)
