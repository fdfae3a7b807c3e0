# SPDX-License-Identifier: GPL-2.0-only
"""A router that is at home and keeps its care-of addresses registered (RFC 5648 section 5.6)."""

from __future__ import annotations

from abc import abstractmethod

from .attachment import Attachment, away
from .effects import (
    Announce,
    Attach,
    DropBinding,
    Effect,
    HandoverMark,
    Moved,
    Note,
    Phase,
)
from .path_list import PathEntry, bid_of
from .path_registrar import PathRegistrar
from .router_view import State
from .update_list import removal


class HomePaths(PathRegistrar):
    """What it does about the home link as one of several ways."""

    @abstractmethod
    def _wanted_paths(self) -> dict[int, Attachment]:
        """Return the care-of addresses to register, best first, by BID."""

    def _link_layer(self, place: Attachment) -> bytes:
        found = (u.link_layer for u in self._uplinks if u.interface == place.interface)
        return next(found, b"")

    def _may_be_both(self, place: Attachment, now: float) -> bool:
        """Tell whether care-of addresses can stay registered at home.

        They can when the home agent can be told by one of them at once, or when
        nothing waits for its answer, since data is at home already.
        """
        able = self._config.home_and_away and self._bulk and not self._home.refused
        if not able or not place.at_home or self._alone or self.agents.leaving:
            return False
        if len(self._link_layer(place)) != 6 or not self._wanted_paths():
            return False
        entries = self._entries.values()
        if self._home.granted:
            return any(entry.list.bound(now) for entry in entries)
        return self._state is State.HOME or any(entry.alive for entry in entries)

    def _be_both(self, place: Attachment) -> None:
        positions = {uplink.interface: at for at, uplink in enumerate(self._uplinks)}
        self._home.be(place, bid_of(positions[place.interface], place), self._link_layer(place))

    def _be_at_home(self, fresh: list[PathEntry], now: float) -> list[Effect]:
        """Register care-of addresses beside the home link, where data goes or will go."""
        place = self._home.place
        assert place is not None
        if self._at is not None and self._at.at_home:
            self._at = place
        effects = self._put(now)
        alive = [entry for entry in self._order() if entry.alive]
        sent = [one.sequence for entry in alive for one in entry.list.outstanding]
        if alive and not self._home.granted and not self._home.asked(sent):
            alive[0].list.begin(now)
            effects += self._register(alive[0], now)
        for entry in fresh:
            if entry.list.attempts == 0:
                effects += self._register(entry, now)
        for bid, gone in list(self._gone.items()):
            if gone.attempts == 0:
                effects += self._send_removal(bid, now)
        return effects + self._put(now)

    def _be_home(self, now: float) -> list[Effect]:
        place, before = self._home.place, self._at
        assert place is not None
        self._home.granted = True
        if self._home.used is self._home.silent:
            return []
        self._home.used = self._home.silent
        self.agents.settled()
        home, name = self._config.home_address, place.uplink
        self._at, self._kind, self._nat, self._better = place, None, False, None
        self._problem = ""
        effects: list[Effect] = []
        if before is None or not before.at_home:
            reason = f"{name} is the home link"
            effects += [
                HandoverMark(home, Phase.LINK, now, name, None, reason),
                HandoverMark(home, Phase.ADDRESS, now, name, place.care_of, reason),
                HandoverMark(home, Phase.ACKNOWLEDGED, now, name),
            ]
        self._state = State.HOME
        effects.append(Attach(True, place.interface, self._home.silent))
        if before is None or not before.at_home:
            # Only when nothing goes into the tunnel any more.
            effects.append(Moved(home, away(before), None, True, self._keys_follow))
        effects.append(Announce(place.interface))
        kept = len(self._order())
        effects.append(Note("info", f"at home on {name}, {kept} care-of addresses are kept"))
        return effects

    def _adopt_home(self, row: list[int] | None) -> None:
        if row is None:
            return
        interface, bid, silent, link_layer = (int(value) for value in row)
        # Its uplink is named when the uplinks are told.
        place = Attachment("", interface, self._config.home_address, at_home=True)
        self._home.be(place, bid, link_layer.to_bytes(6))
        self._home.granted = True
        self._home.silent = self._home.used = bool(silent)

    def stop(self, now: float, deregister: bool) -> list[Effect]:
        alive = next((entry for entry in self._order() if entry.alive), None)
        if not deregister or alive is None or self._at is None or not self._at.at_home:
            return super().stop(now, deregister)
        config = self._config
        update = removal(
            self._next_sequence(), config.mobile_router, alive.attachment, config.dns_name
        )
        gone = DropBinding(config.home_address)
        return [self._message(update, alive.attachment), gone, Attach(False, 0)]
