# SPDX-License-Identifier: GPL-2.0-only
"""Which care-of address a mobile router can use, and which it should."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from ..packet.careof import CareOf, WireKind
from .config import MobileRouterConfig
from .effects import Address, Effect, Moved, Path, Uplink

#: How long a care-of address that the home agent does not answer is left alone.
BLOCKED_FOR = 30.0
#: So many attachments are remembered that did not answer.
DOUBTED_MAX = 16

ACTIVE_PRIORITY, STANDBY_PRIORITY = 0, 10


@dataclass(frozen=True, slots=True)
class Attachment:
    """A care-of address on an uplink; or the home link (``at_home``)."""

    uplink: str
    interface: int
    address: Address
    at_home: bool = False

    @property
    def version(self) -> int:
        return self.address.version

    @property
    def care_of(self) -> CareOf:
        """How signalling names it: always UDP in IPv4 (RFC 5555 section 4.4.2)."""
        kind = WireKind.IP6 if self.address.version == 6 else WireKind.UDP4
        return CareOf(self.address, kind, 0, self.interface)


def away(at: Attachment | None) -> CareOf | None:
    """Return the care-of address of an attachment, None for nowhere and for the home link."""
    return None if at is None or at.at_home else at.care_of


def protected(before: Attachment | None, keys: Moved, way: Iterable[Effect]) -> list[Effect]:
    """Return what opens a new way and what moves keys there, so that nothing goes in clear.

    On the home link, and before the first registration, packets need no protection: it
    has to be there before they go another way. Else it is, and the way comes first.
    """
    return [keys, *way] if away(before) is None else [*way, keys]


def candidates(config: MobileRouterConfig, uplinks: Iterable[Uplink]) -> list[Attachment]:
    """Return every usable attachment, the best first.

    The home link before all, then by the uplink's priority, IPv6 before IPv4
    (RFC 5555 section 4.4.1).
    """
    found: list[tuple[tuple[bool, int, str], list[Attachment]]] = []
    if config.home_agent6.is_unspecified:
        return []  # nobody to register with yet
    for uplink in uplinks:
        if uplink.held:
            continue
        here: list[Attachment] = []
        if uplink.at_home:
            here.append(
                Attachment(uplink.name, uplink.interface, config.home_address, at_home=True)
            )
        else:
            if uplink.gateway6:
                here += [
                    Attachment(uplink.name, uplink.interface, address)
                    for address in uplink.addresses6[:1]
                ]
            if uplink.gateway4 and config.home_agent4:
                here += [
                    Attachment(uplink.name, uplink.interface, address)
                    for address in uplink.addresses4[:1]
                ]
        found.append(((not uplink.at_home, uplink.priority, uplink.name), here))
    return [attachment for _, here in sorted(found) for attachment in here]


def usable(attachment: Attachment, uplinks: Iterable[Uplink]) -> bool:
    """Tell whether the attachment still exists, although another may be better."""
    for uplink in uplinks:
        if uplink.interface != attachment.interface or uplink.held:
            continue
        if attachment.at_home:
            return uplink.at_home
        if isinstance(attachment.address, IPv4Address):
            return uplink.gateway4 and attachment.address in uplink.addresses4
        return uplink.gateway6 and attachment.address in uplink.addresses6
    return False


def reachable(uplinks: Iterable[Uplink]) -> set[tuple[Address, int]]:
    """Return the addresses of uplinks that nobody holds, and their interfaces."""
    found: set[tuple[Address, int]] = set()
    for uplink in uplinks:
        if not uplink.held:
            found |= {(one, uplink.interface) for one in uplink.addresses6}
            found |= {(one, uplink.interface) for one in uplink.addresses4}
    return found


class Paths:
    """The kernel paths of a mobile router: a BID for each care-of address and kind."""

    def __init__(self, config: MobileRouterConfig, adopted: Iterable[Path] = ()) -> None:
        self._config = config
        self.installed: dict[int, Path] = {path.bid: path for path in adopted}

    def reconfigure(self, config: MobileRouterConfig) -> None:
        """Use other timers and home agents from now on."""
        self._config = config

    def _bid(self, local: Address, interface: int, kind: WireKind) -> int:
        for bid, path in self.installed.items():
            if (path.local, path.interface, path.kind) == (local, interface, kind):
                return bid
        return next(bid for bid in range(1, 17) if bid not in self.installed)

    def make_room(self) -> list[int]:
        """Forget the oldest standby paths, if the kernel would not take two more."""
        dropped = []
        while len(self.installed) > 14:
            bid = next(
                bid for bid, path in self.installed.items() if path.priority != ACTIVE_PRIORITY
            )
            del self.installed[bid]
            dropped.append(bid)
        return dropped

    def activate(self, attachment: Attachment, kind: WireKind) -> list[Path]:
        """Return the paths to put, in order, so that ``attachment`` carries the data.

        The new one comes first, so that there is an active path at any time. In
        IPv4 both kinds are put: what the home agent found out about NAT shows in
        its data before it shows in its answer.
        """
        changed: list[Path] = []
        kinds = [kind]
        if attachment.version == 4:
            kinds.append(WireKind.UDP4 if kind is WireKind.IP4 else WireKind.IP4)
        for each in kinds:
            path = self._path(attachment, each, each is kind)
            if self.installed.get(path.bid) != path:
                self.installed[path.bid] = path
                changed.append(path)
        now_active = {self._bid(attachment.address, attachment.interface, each) for each in kinds}
        for bid, path in self.installed.items():
            if bid not in now_active and path.priority == ACTIVE_PRIORITY:
                standby = Path(
                    path.bid,
                    path.kind,
                    path.local,
                    path.remote,
                    path.remote_port,
                    path.interface,
                    STANDBY_PRIORITY,
                )
                self.installed[bid] = standby
                changed.append(standby)
        return changed

    def _path(self, attachment: Attachment, kind: WireKind, active: bool) -> Path:
        config = self._config
        remote: IPv6Address | IPv4Address = config.home_agent6
        if kind is not WireKind.IP6:
            assert config.home_agent4 is not None
            remote = config.home_agent4
        return Path(
            bid=self._bid(attachment.address, attachment.interface, kind),
            kind=kind,
            local=attachment.address,
            remote=remote,
            remote_port=config.port if kind is WireKind.UDP4 else 0,
            interface=attachment.interface,
            priority=ACTIVE_PRIORITY if active else STANDBY_PRIORITY,
            silent_ms=config.silent_ms if active else 0,
        )

    def forget(self, uplinks: Iterable[Uplink]) -> list[int]:
        """Return the BIDs of paths whose address is gone, and forget them."""
        there: set[tuple[Address, int]] = set()
        for uplink in uplinks:
            there.update((address, uplink.interface) for address in uplink.addresses6)
            there.update((address, uplink.interface) for address in uplink.addresses4)
        gone = [
            bid
            for bid, path in self.installed.items()
            if (path.local, path.interface) not in there and path.priority != ACTIVE_PRIORITY
        ]
        for bid in gone:
            del self.installed[bid]
        return gone

    def active(self) -> Path | None:
        """Return the path that data takes."""
        return min(
            (path for path in self.installed.values() if path.priority == ACTIVE_PRIORITY),
            key=lambda path: path.bid,
            default=None,
        )
