# SPDX-License-Identifier: GPL-2.0-only
"""Access networks that want a login first: when to ask, and what the answer means.

A network that answers a question by HTTP in the place of who was asked is a captive
portal, and nothing is registered there until the login is done. Who was asked may
have answered so itself; so where there is no other way than by a portal, a
registration is tried from time to time.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ..packet.http import Reply, Target, host_of

#: Seconds until a portal is looked at again: somebody may be typing a password.
CAPTIVE_AGAIN: Final = 2.0
#: ... and when nobody has for that long.
CAPTIVE_PATIENCE: Final = 600.0
CAPTIVE_LATER: Final = 10.0
#: Where nothing is known the waits double from the one to the other.
SILENT_AGAIN: Final = 5.0
SILENT_LATEST: Final = 300.0
#: A portal that does not answer so many times in a row is one no more.
SILENCES_MAX: Final = 5
#: With no other way a registration is tried that often, for so long.
TRIAL_EVERY: Final = 60.0
TRIAL_LASTS: Final = 8.0


class Access(enum.Enum):
    """What an answer says; UNCLEAR is one that neither was expected nor is a portal's."""

    OPEN = "open"
    CAPTIVE = "captive"
    UNCLEAR = "unclear"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one question; ``url`` is where the login is."""

    access: Access
    url: str = ""


@dataclass(frozen=True, slots=True)
class Expected:
    """Whom to ask, and what says that the way is open.

    ``status`` 0: any; ``text`` is in the body. Without either the one asked has no
    web server of its own, and only who sends elsewhere is a portal.
    """

    status: int = 0
    text: str = ""


def judge(reply: Reply, asked: Target, expected: Expected) -> Verdict:
    """Say what an answer means."""
    told = bool(expected.status or expected.text)
    right_status = reply.status == expected.status if expected.status else reply.status == 200
    if told and right_status and expected.text.encode() in reply.body:
        return Verdict(Access.OPEN)
    elsewhere = host_of(reply.location)
    # Pages show it as a link: it is a web address or none.
    login = reply.location if elsewhere else asked.url
    if reply.status == 511:  # RFC 6585 section 6
        return Verdict(Access.CAPTIVE, login)
    if 300 <= reply.status < 400:
        if told or (elsewhere and elsewhere != asked.host.lower()):
            return Verdict(Access.CAPTIVE, login)
        return Verdict(Access.UNCLEAR)
    if told and 200 <= reply.status < 300:
        return Verdict(Access.CAPTIVE, asked.url)
    return Verdict(Access.UNCLEAR)


def together(verdicts: Iterable[Verdict]) -> Verdict:
    """Return what holds of an uplink that was asked through in both address families.

    One that is open will do.
    """
    found = list(verdicts)
    for access in Access:
        for one in found:
            if one.access is access:
                return one
    return Verdict(Access.SILENT)


@dataclass(frozen=True, slots=True)
class Asked:
    """An uplink that can be asked through; another ``key`` is another network.

    ``answered`` is whether the home agent answers through it, None when unknown.
    ``at_once``: it is asked through before that is known.
    """

    name: str
    key: object
    answered: bool | None = None
    at_once: bool = True


@dataclass(frozen=True, slots=True)
class PortalChange:
    """A portal was met, or is in the way no more; ``text`` tells it to people."""

    name: str
    met: bool
    text: str


@dataclass(slots=True)
class _Entry:
    key: object
    due: float | None
    verdict: Verdict | None = None
    answered: bool | None = None
    waits: bool = False
    wait: float = SILENT_AGAIN
    since: float = 0.0
    silences: int = 0
    #: Begin of a trial, and whether it goes on.
    trial_at: float = 0.0
    trial: bool = False


def _captive(entry: _Entry) -> bool:
    return entry.verdict is not None and entry.verdict.access is Access.CAPTIVE


def _try(entry: _Entry, settled: bool, now: float) -> None:
    """Begin or end the trial of a registration through a portal."""
    if not _captive(entry) or settled:
        # Data goes by another uplink, which a trial would take it from.
        entry.trial, entry.trial_at = False, now + TRIAL_EVERY
    elif entry.trial and now >= entry.trial_at + TRIAL_LASTS:
        entry.trial, entry.trial_at = False, now + TRIAL_EVERY
    elif not entry.trial and now >= entry.trial_at:
        entry.trial, entry.trial_at = True, now


class PortalWatch:
    """The engine: says through which uplinks to ask, and remembers what they are.

    Times are those of the caller's monotonic clock. Every name that ``due`` has
    returned is to be followed by ``taken``.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def observe(self, uplinks: Iterable[Asked], settled: bool, now: float) -> list[PortalChange]:
        """Take the uplinks that have an address and a route; others are forgotten.

        ``settled``: the router is registered or at home, by whichever uplink.
        """
        changes: list[PortalChange] = []
        found: dict[str, _Entry] = {}
        for one in uplinks:
            entry = self._entries.get(one.name)
            if entry is None or entry.key != one.key:
                entry = _Entry(one.key, now if one.at_once else None)
            if one.answered and not entry.answered:
                # Who lets registrations through is no portal to us, whatever it says.
                changes += self._settle(one.name, entry, Verdict(Access.OPEN), now)
                entry.due = None
            elif one.answered is False and entry.answered is not False:
                entry.wait, entry.due = SILENT_AGAIN, now
                if not _captive(entry):
                    entry.verdict = None  # what was true of it is so no more
            entry.answered = one.answered
            _try(entry, settled, now)
            found[one.name] = entry
        self._entries = found
        return changes

    def due(self, now: float) -> list[str]:
        """Return the uplinks to ask through now."""
        names = []
        for name, entry in self._entries.items():
            if entry.due is not None and entry.due <= now and not entry.waits:
                entry.waits, entry.due = True, None
                names.append(name)
        return names

    def taken(self, name: str, key: object, verdict: Verdict, now: float) -> list[PortalChange]:
        """Take an answer, or that there was none; return what has changed."""
        entry = self._entries.get(name)
        if entry is None or entry.key != key:
            return []  # another network's
        entry.waits = False
        if entry.answered:
            return []
        changes = self._settle(name, entry, verdict, now)
        if verdict.access is Access.CAPTIVE:
            patient = now - entry.since < CAPTIVE_PATIENCE
            entry.due = now + (CAPTIVE_AGAIN if patient else CAPTIVE_LATER)
        elif verdict.access is Access.OPEN and entry.answered is None:
            entry.due = None
        else:
            entry.due = now + entry.wait
            entry.wait = min(entry.wait * 2, SILENT_LATEST)
        return changes

    def _settle(self, name: str, entry: _Entry, verdict: Verdict, now: float) -> list[PortalChange]:
        before = _captive(entry)
        entry.silences = entry.silences + 1 if verdict.access is Access.SILENT else 0
        if before and 0 < entry.silences < SILENCES_MAX:
            # A portal that was seen is not gone for a lost packet.
            return []
        entry.verdict = verdict
        if verdict.access is Access.CAPTIVE and not before:
            entry.since, entry.trial_at, entry.trial = now, now + TRIAL_EVERY, False
            text = f"{name}: portal login needed: {verdict.url}"
            return [PortalChange(name, True, text)]
        if before and verdict.access is not Access.CAPTIVE:
            entry.wait = SILENT_AGAIN
            gone = "is silent" if entry.silences else "lets us through"
            return [PortalChange(name, False, f"{name}: the portal {gone}, registering")]
        return []

    def holds(self, name: str) -> bool:
        """Whether nothing is to be registered through an uplink."""
        entry = self._entries.get(name)
        return entry is not None and _captive(entry) and not entry.trial

    def url(self, name: str) -> str:
        """Return where the login of an uplink is, "" where none is needed."""
        entry = self._entries.get(name)
        if entry is None or entry.verdict is None or not _captive(entry):
            return ""
        return entry.verdict.url

    def answers(self, name: str) -> bool | None:
        """Whether anything answered the last question; None when nothing was asked."""
        entry = self._entries.get(name)
        if entry is None or entry.verdict is None:
            return None
        return entry.verdict.access is not Access.SILENT

    def next_timer(self) -> float | None:
        """Return when ``observe`` and ``due`` want to be called, None for never."""
        entries = self._entries.values()
        times = [e.due for e in entries if e.due is not None and not e.waits]
        times += [e.trial_at + TRIAL_LASTS * e.trial for e in entries if _captive(e)]
        return min(times, default=None)
