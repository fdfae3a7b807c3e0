# SPDX-License-Identifier: GPL-2.0-only
"""Where hosts of the mobile network may log in at a captive portal, and nowhere else.

All of it comes from the portal: the URL, and by its name servers the addresses. So
there are few of them, they change seldom, and none is one that was somebody's before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final

from ..packet.http import authority_of
from ..packet.kernel import Address, Network

#: Addresses of a portal in each family; further ones are left out.
ADDRESSES_MAX: Final = 4
#: Ports that are open besides the URL's own.
PORTS: Final = (80, 443)
#: Seconds until a portal may name another host or port: it is asked more often.
CHANGE_EVERY: Final = 10.0
#: Seconds until a name is looked up again, and when that has failed.
LOOK_UP_AGAIN: Final = 60.0
LOOK_UP_FAILED: Final = 5.0
_KEPT_MAX: Final = 32

_GLOBAL6: Final = IPv6Network("2000::/3")
_LOCAL6: Final = IPv6Network("fc00::/7")
#: Nobody's own, or with an IPv4 address in them that may be anybody's.
_NEVER: Final[tuple[Network, ...]] = (
    IPv4Network("0.0.0.0/8"),
    IPv4Network("127.0.0.0/8"),
    IPv4Network("169.254.0.0/16"),
    IPv4Network("224.0.0.0/3"),
    IPv6Network("2001::/32"),
    IPv6Network("2002::/16"),
)


@dataclass(frozen=True, slots=True)
class Login:
    """What a portal's URL names: a host, and the ports that are open there."""

    host: str
    ports: tuple[int, ...]


def login_of(url: str) -> Login | None:
    """Read the URL of a login; None for one that no door is opened for."""
    found = authority_of(url)
    if found is None:
        return None
    host, port = found
    return Login(host, tuple(sorted({*PORTS, port} - {0})))


def admissible(address: Address, closed: Sequence[Network]) -> bool:
    """Tell whether an address may be a portal's: unicast, and in none of those networks."""
    if address.version == 6 and address not in _GLOBAL6 and address not in _LOCAL6:
        return False
    return not any(address in one for one in (*_NEVER, *closed) if one.version == address.version)


@dataclass(frozen=True, slots=True)
class Portal:
    """A portal that is in the way of an uplink; another ``key`` is another network."""

    name: str
    key: object
    url: str


@dataclass(frozen=True, slots=True)
class LookUp:
    """The effect: find the addresses of a host through an uplink, then call ``found``."""

    name: str
    key: object
    host: str


@dataclass(slots=True)
class _Entry:
    key: object
    login: Login | None = None
    addresses: tuple[Address, ...] = ()
    due: float | None = None
    waits: LookUp | None = None
    #: The portal names another host, whose turn has not come.
    late: bool = False


class PortalLogins:
    """The engine. Times are those of the caller's monotonic clock."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        #: Outlives a portal that is passed and met again.
        self._may_change: dict[str, float] = {}

    def observe(self, portals: Iterable[Portal], now: float) -> list[LookUp]:
        """Take all portals that are in the way now; those of others are forgotten."""
        effects: list[LookUp] = []
        found: dict[str, _Entry] = {}
        self._may_change = {name: at for name, at in self._may_change.items() if at > now}
        for portal in portals:
            entry = self._entries.get(portal.name)
            if entry is None or entry.key != portal.key:
                entry = _Entry(portal.key)
            self._take(entry, portal, now)
            if entry.login is not None and entry.due is not None and entry.due <= now:
                entry.due = None
                entry.waits = LookUp(portal.name, portal.key, entry.login.host)
                effects.append(entry.waits)
            found[portal.name] = entry
        self._entries = found
        return effects

    def _take(self, entry: _Entry, portal: Portal, now: float) -> None:
        wanted = login_of(portal.url)
        entry.late = wanted != entry.login and portal.name in self._may_change
        if wanted == entry.login or entry.late:
            return
        self._may_change[portal.name] = now + CHANGE_EVERY
        entry.login, entry.addresses, entry.due, entry.waits = wanted, (), None, None
        if wanted is None:
            return
        try:
            entry.addresses = (ip_address(wanted.host),)
        except ValueError:
            entry.due = now

    def found(self, look_up: LookUp, addresses: Sequence[Address], now: float) -> None:
        """Take the addresses that a host has, none when that is not known."""
        entry = self._entries.get(look_up.name)
        if entry is None or entry.waits is not look_up:
            return  # of a portal that is not in the way any more, or has another host
        entry.waits = None
        if addresses:
            # The order of an answer changes each time, and says nothing.
            several = sorted(dict.fromkeys(addresses), key=lambda one: (one.version, int(one)))
            entry.addresses = tuple(several[:_KEPT_MAX])
        entry.due = now + (LOOK_UP_AGAIN if addresses else LOOK_UP_FAILED)

    def login(self, name: str) -> Login | None:
        """Return what is opened at an uplink, None for nothing."""
        entry = self._entries.get(name)
        return None if entry is None else entry.login

    def named(self, name: str) -> tuple[Address, ...]:
        """Return the addresses that the portal has by its own account."""
        entry = self._entries.get(name)
        return () if entry is None else entry.addresses

    def addresses(self, name: str, closed: Sequence[Network]) -> tuple[Address, ...]:
        """Return the addresses that are opened at an uplink, none of them in ``closed``."""
        good = [one for one in self.named(name) if admissible(one, closed)]
        return tuple(
            one
            for version in (4, 6)
            for one in [one for one in good if one.version == version][:ADDRESSES_MAX]
        )

    def next_timer(self) -> float | None:
        """Return when ``observe`` wants to be called, None for never."""
        times = [entry.due for entry in self._entries.values() if entry.due is not None]
        late = [name for name, entry in self._entries.items() if entry.late]
        times += [self._may_change[name] for name in late if name in self._may_change]
        return min(times, default=None)
