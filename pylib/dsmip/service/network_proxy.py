# SPDX-License-Identifier: GPL-2.0-only
"""Mobile networks that are a part of the home link's own prefix.

Where no prefix is routed to the home agent, it answers on the home link for all
that it has given away: neighbours there take those addresses for their own link's.
It does so whether the router is away or at home, for a router on the home link is
reached by the home agent, too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from typing import Final, Protocol

from ..linux.neighbours import Interface
from ..linux.prefix_proxy import PrefixProxy
from ..mobility.config import HomeAgentConfig
from ..packet.kernel import Address, Network

log = logging.getLogger(__name__)

#: IPv4 addresses of mobile networks that are answered for, each by an entry of its own.
ADDRESSES4_MAX: Final = 1024


class SingleProxies(Protocol):
    """The part of ``linux.rtnl.Rtnl`` that is used here."""

    def put_proxy(self, interface: int, address: Address, router: bool) -> None: ...
    def remove_proxy(self, interface: int, address: Address) -> None: ...


class WholeProxy(Protocol):
    """The part of ``linux.prefix_proxy.PrefixProxy`` that is used here."""

    def fileno(self) -> int: ...
    def close(self) -> None: ...
    def serve(self, prefixes: Iterable[IPv6Network]) -> None: ...
    def answer(self) -> None: ...


def on_link(
    networks: Iterable[Network], config: HomeAgentConfig
) -> tuple[tuple[IPv6Network, ...], tuple[IPv4Network, ...]]:
    """Return the mobile networks that neighbours on the home link take for on-link."""
    found6: list[IPv6Network] = []
    found4: list[IPv4Network] = []
    for network in networks:
        if isinstance(network, IPv6Network):
            if any(network.subnet_of(prefix) for prefix in config.prefixes):
                found6.append(network)
        elif any(network.subnet_of(prefix) for prefix in config.prefixes4):
            found4.append(network)
    return tuple(dict.fromkeys(found6)), tuple(dict.fromkeys(found4))


class NetworkProxy:
    """Answers on a home link for mobile networks; nothing is opened before it is needed."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        link: Interface,
        proxies: SingleProxies,
        make: Callable[[Interface, IPv6Address], WholeProxy] = PrefixProxy,
    ) -> None:
        self._loop, self._link, self._proxies, self._make = loop, link, proxies, make
        self._whole: WholeProxy | None = None
        self._single: set[Address] = set()

    def serve(self, networks: Iterable[Network], config: HomeAgentConfig) -> None:
        """Answer for these mobile networks, as far as they are on-link, and no others."""
        six, four = on_link(networks, config)
        own = next(
            (a for a in config.addresses6 if any(a in prefix for prefix in config.prefixes)),
            config.addresses6[0],
        )
        self._serve6(six, own)
        self._serve4(four)

    def stop(self) -> None:
        """Hear no more solicitations; what the kernel answers for stays."""
        if self._whole is not None:
            self._loop.remove_reader(self._whole.fileno())
            self._whole.close()
            self._whole = None

    def clear(self) -> None:
        """Answer for nothing."""
        self.stop()
        self._serve4(())

    def _serve6(self, networks: tuple[IPv6Network, ...], own: IPv6Address) -> None:
        if not networks:
            self.stop()
            return
        if self._whole is None:
            if len(self._link.address) != 6:
                log.warning("%s is no Ethernet: nothing is answered there", self._link.name)
                return
            try:
                self._whole = self._make(self._link, own)
            except OSError as error:
                log.error("no answers for mobile networks on %s: %s", self._link.name, error)
                return
            self._loop.add_reader(self._whole.fileno(), self._whole.answer)
        self._whole.serve(networks)

    def _serve4(self, networks: tuple[IPv4Network, ...]) -> None:
        count = sum(network.num_addresses for network in networks)
        if count > ADDRESSES4_MAX:
            log.error(
                "%d IPv4 addresses of mobile networks on %s, at most %d are answered for",
                count,
                self._link.name,
                ADDRESSES4_MAX,
            )
            return
        wanted: set[Address] = {address for network in networks for address in network}
        for address in self._single - wanted:
            self._proxies.remove_proxy(self._link.index, address)
        for address in wanted - self._single:
            self._proxies.put_proxy(self._link.index, address, True)
        self._single = wanted
