# SPDX-License-Identifier: GPL-2.0-only
"""Home prefixes with lifetimes: in the configuration, and the keys of second home addresses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING

from ..ipsec.static import derive
from ..mobility.config import INFINITE, HomePrefix
from ..mobility.home_prefix import same_in
from . import options as o
from .ike_config import Manager, Payload

if TYPE_CHECKING:
    from .config import Row
    from .options import Section

#: Prefixes that one home link has at a time while it is renumbered.
LIVES_MAX = 4
_FORM = 'PREFIX VALID PREFERRED, in seconds or "forever", and perhaps "counting"'


def _seconds(text: str) -> int:
    if text == "forever":
        return INFINITE
    if not text.isascii() or not text.isdigit() or int(text) > INFINITE:
        raise o.Refused(_FORM)
    return int(text)


def lifetime(value: object) -> HomePrefix:
    """Read a home prefix with its lifetimes."""
    words = value.split() if isinstance(value, str) else []
    counting = words[3:] == ["counting"]
    if len(words) != 3 and not counting:
        raise o.Refused(_FORM)
    prefix = o.prefix6(words[0])
    valid, preferred = _seconds(words[1]), _seconds(words[2])
    if preferred > valid:
        raise o.Refused("no prefix is preferred for longer than it is valid")
    return HomePrefix(prefix, valid, preferred, counting)


def read_lives(
    section: Section, prefixes: Iterable[object], rows: Iterable[Row]
) -> tuple[HomePrefix, ...]:
    """Read ``prefix_lifetimes``; each is one of the home prefixes."""
    option = "prefix_lifetimes"
    lives: tuple[HomePrefix, ...] = section.get(option, o.several(lifetime), ())
    here = list(prefixes)
    for life in lives:
        if life.prefix not in here:
            section.fault(option, f"{life.prefix} must be one of the prefixes of the agent")
        if sum(other.prefix == life.prefix for other in lives) > 1:
            section.fault(option, f"{life.prefix} stands there twice")
            break
    if len(lives) > LIVES_MAX:
        section.fault(option, f"allowed are at most {LIVES_MAX} prefixes")
    if len(lives) > 1 and any(row.plan.payload is not Payload.NONE for row in rows):
        section.fault(option, 'renumbering needs payload = "none": SAs of payload do not follow')
    return lives


def begun(
    lives: tuple[HomePrefix, ...], before: tuple[HomePrefix, ...], now: float
) -> tuple[HomePrefix, ...]:
    """Return prefixes whose lifetimes count from now; those that stay go on counting."""
    known = {replace(life, since=0.0): life for life in before}
    return tuple(known.get(replace(life, since=0.0), replace(life, since=now)) for life in lives)


def can_be_renumbered(row: Row) -> bool:
    """Whether both ends can make keys for a second home address without a handshake."""
    if row.plan.payload is not Payload.NONE:
        return False
    return row.plan.manager is Manager.NONE or bool(row.secret)


def row_for(row: Row, home_address: IPv6Address) -> Row:
    """Return the row of another home address of the same router."""
    keys = derive(row.secret, home_address, row.agent) if row.secret else row.keys
    # It goes by its address: its identity is that of the first one's row.
    plan = replace(row.plan, identity="", reqid=0)
    return replace(
        row, home_address=home_address, keys=keys, plan=plan, prefixes=(), home_address4=None
    )


def agent_rows(rows: Iterable[Row], lives: tuple[HomePrefix, ...]) -> tuple[Row, ...]:
    """Return the rows that a home agent needs besides, for second home addresses."""
    listed = list(rows)
    taken = {row.home_address for row in listed}
    return tuple(
        row_for(row, address)
        for row in listed
        if len(lives) > 1 and can_be_renumbered(row)
        for address in same_in(row.home_address, lives)
        if address not in taken
    )


def first_of(lives: Iterable[HomePrefix], configured: IPv6Network, now: float) -> HomePrefix | None:
    """Return the prefix to register in: the configured one while it is preferred at all."""
    valid = [life for life in lives if life.lifetimes(now)[0]]
    return min(
        valid,
        key=lambda life: (
            not life.lifetimes(now)[1],
            life.prefix != configured,
            -life.lifetimes(now)[0],
        ),
        default=None,
    )
