# SPDX-License-Identifier: GPL-2.0-only
"""Options of uplinks, and of the question that finds captive portals."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ..mobility.captive import Expected
from ..packet.http import Target, parse_url
from . import options as o
from .options import Refused, Section

#: Cost classes; uplinks of a lower one come first, whatever their priority.
COST_MAX: Final = 9
PRIORITIES: Final = 256
#: What netifd takes for the name of an interface of its own.
NETWORK: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ARGUMENTS_MAX: Final = 32


@dataclass(frozen=True, slots=True)
class UplinkEntry:
    """One access network; lower ``priority`` is preferred.

    ``network`` is netifd's name of it, "" where there is none. ``metered`` and ``cost``
    are None where netifd is to say. After ``restart_after`` seconds of silence the
    interface is restarted, 0 for never: by ``restart``, else by netifd. ``portal``:
    it may be asked through whether a login is needed.
    """

    interface: str
    name: str
    priority: int
    held: bool = False
    network: str = ""
    metered: bool | None = None
    cost: int | None = None
    restart: tuple[str, ...] = ()
    restart_after: float = 60.0
    portal: bool = True


@dataclass(frozen=True, slots=True)
class PortalSection:
    """Whom to ask; ``target`` None: the home agent itself, which answers nobody."""

    target: Target | None
    expected: Expected


def read_uplinks(section: Section) -> tuple[UplinkEntry, ...]:
    """Read the entries [[mobile_router.uplink]]."""
    found: list[UplinkEntry] = []
    for number, entry in enumerate(section.sections("uplink")):
        interface = entry.need("interface", o.interface, "?")
        plain = UplinkEntry(interface, interface, min(10 * (number + 1), 255))
        uplink = UplinkEntry(
            interface,
            name=entry.get("name", o.text, interface),
            priority=entry.get("priority", o.integer(0, PRIORITIES - 1), plain.priority),
            held=entry.get("held", o.boolean, False),
            network=entry.get("network", _network, ""),
            metered=entry.get("metered", o.boolean, None),
            cost=entry.get("cost", o.integer(0, COST_MAX), None),
            restart=entry.get("restart", _command, ()),
            restart_after=entry.get("restart_after", o.number(0, 86400), plain.restart_after),
            portal=entry.get("portal", o.boolean, True),
        )
        if uplink.name in (other.name for other in found):
            entry.fault("name", "stands there twice")
        if interface in (other.interface for other in found):
            entry.fault("interface", "stands there twice")
        if 0 < uplink.restart_after < 1:
            entry.fault("restart_after", "allowed is 0 for never, else at least 1")
        found.append(uplink)
        entry.finish()
    if not found and "uplink" not in section:
        section.fault("uplink", "is missing: an entry [[mobile_router.uplink]] for each")
    return tuple(found)


def read_portal(section: Section) -> PortalSection | None:
    """Read ``portal_url`` and ``portal_answer`` of [mobile_router]; None: nobody is asked."""
    auto = section.get("portal_url", lambda value: value == "auto", False)
    none = section.get("portal_url", lambda value: value == "none", False)
    answer = section.get("portal_answer", _answer, Expected(204))
    if auto or none or "portal_url" not in section:
        if "portal_answer" in section:
            section.fault("portal_answer", "needs a portal_url that it is the answer of")
        return PortalSection(None, Expected()) if auto else None
    target = section.get("portal_url", _url, Target("::"))
    return PortalSection(target, answer)


def _url(value: object) -> Target:
    if not isinstance(value, str):
        raise Refused('"auto", "none" or an http:// URL')
    try:
        return parse_url(value)
    except ValueError as error:
        raise Refused(f'"auto", "none" or {error}') from None


def _answer(value: object) -> Expected:
    """Read a status code, or a text that is in the body."""
    try:
        return Expected(status=o.integer(200, 299)(value))
    except Refused:
        digits = isinstance(value, str) and value.isdigit()
        if isinstance(value, str) and not digits and 0 < len(value) <= 255 and value.isprintable():
            return Expected(text=str(value))
    raise Refused("a status code from 200 to 299, or a text that the answer contains")


def _network(value: object) -> str:
    if isinstance(value, str) and NETWORK.fullmatch(value):
        return str(value)
    raise Refused("netifd's name of an interface")


def _command(value: object) -> tuple[str, ...]:
    """Read a program and its arguments, which may be the same twice."""
    if isinstance(value, o.Word):
        value = value.split()
    if isinstance(value, list) and 0 < len(value) <= _ARGUMENTS_MAX:
        plain = all(isinstance(one, str) and "\0" not in one for one in value)
        if plain and value[0].startswith("/"):
            return tuple(str(one) for one in value)
    raise Refused('a program by its absolute path, with its arguments: ["/path", "..."]')
