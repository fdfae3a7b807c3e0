# SPDX-License-Identifier: GPL-2.0-only
"""Mobile network prefixes of a router that is told of none: those of its LAN."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import Protocol

from ..linux.rtnl import InterfaceAddress, Link
from ..packet.kernel import Network
from .config import Config


class Lan(Protocol):
    """The part of ``linux.rtnl.Rtnl`` that is used here."""

    def link(self, name: str) -> Link | None: ...
    def addresses(self) -> list[InterfaceAddress]: ...


def with_lan(config: Config, rtnl: Lan) -> Config:
    """Return a configuration with the prefixes of its LAN, when it names none itself.

    For a router that looks for its home agent: that one knows which prefixes are
    the router's (RFC 3963 section 5.2, implicit mode).
    """
    section = config.mobile_router
    if section is None or section.engine.prefixes or section.bootstrap is None:
        return config
    if section.engine.delegated_prefixes:
        return config  # what is on the LAN was delegated, and its lease may end
    return replace(config, mobile_router=section.with_prefixes(_on_lan(rtnl, section.lan)))


def _on_lan(rtnl: Lan, names: tuple[str, ...]) -> tuple[Network, ...]:
    links = [rtnl.link(name) for name in names]
    lan = {link.index for link in links if link is not None}
    return tuple(
        dict.fromkeys(
            ip_network((entry.address, entry.length), strict=False)
            for entry in rtnl.addresses()
            if entry.interface in lan
            and not entry.address.is_link_local
            and entry.length < entry.address.max_prefixlen
        )
    )
