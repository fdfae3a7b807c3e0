# SPDX-License-Identifier: GPL-2.0-only
"""Lists that are asked for: bindings of all roles, and handovers."""

from __future__ import annotations

import bisect
import json
import time
from collections.abc import Callable, Mapping
from ipaddress import IPv6Address
from typing import Any, Final, Protocol

from ..linux.dsmip import BindingState
from ..mobility.home_agent import BindingView
from . import status
from .agent import HomeAgentRole
from .control import RequestError
from .direct_host import DirectPaths
from .history import History
from .router import MobileRouterRole

_BINDINGS_LIMIT: Final = 1000
_NOWHERE: Final = IPv6Address(0)
#: Home addresses in one request for some routers.
ROUTERS_MOST: Final = 100


def _unknown(identity: str) -> None:
    """Nobody here knows when certificates end."""


class Bindings(Protocol):
    """The part of a device that knows what its bindings have carried."""

    def binding(self, home_address: IPv6Address) -> BindingState | None: ...


def bindings(
    request: Mapping[str, Any],
    device: Bindings,
    agent: HomeAgentRole | None,
    router: tuple[MobileRouterRole, BindingState, History] | None,
    direct: DirectPaths | None,
    ends: Callable[[str], float | None] = _unknown,
) -> dict[str, Any]:
    """Return bindings that match, in the order of home addresses, ``limit`` at a time.

    ``next`` in the answer is what ``after`` has to be for those that follow, "" at the
    end. ``router`` is there when it has one in the kernel, ``ends`` tells when the
    certificate of an identity does.
    """
    match, limit = request.get("match", ""), _limit(request)
    after = _after(request)
    if not isinstance(match, str):
        raise RequestError('"match" is a text: part of an identity, an address or a prefix')
    found: list[dict[str, Any]] = []
    total, following = 0, ""
    if agent is not None:
        addresses = agent.registered()
        total = len(addresses)
        later = addresses[bisect.bisect(addresses, int(after), key=int) :]
        # One more than there is room for tells whether more follow.
        wanted = later if match else later[: limit + 1]
        chosen = [view for view in agent.bindings(wanted) if _matches(view, match)]
        if len(chosen) > limit:
            following = str(chosen[limit - 1].home_address)
        found = [_bound(view, device, agent, ends) for view in chosen[:limit]]
    # What is not paged comes with the first page.
    first = after == _NOWHERE
    if router is not None:
        total += 1
        part = status.router_document(*router)
        part.pop("counters")
        found += [{"role": "mobile router", **part}] if first else []
    if direct is not None:
        others = list(direct.bindings())
        total += len(others)
        found += [one for one in others if first and match in json.dumps(one)][:limit]
    return {"total": total, "next": following, "bindings": found}


def routers(
    request: Mapping[str, Any],
    device: Bindings,
    agent: HomeAgentRole | None,
    ends: Callable[[str], float | None] = _unknown,
) -> dict[str, Any]:
    """Return the bindings of some home addresses, and measure their round trips.

    A round trip is in the answer to the request after the one that asked for it.
    """
    if agent is None:
        raise RequestError("this daemon is no home agent, it has no routers")
    words = request.get("addresses", "")
    if not isinstance(words, str) or len(words.split()) > ROUTERS_MOST:
        raise RequestError(f'"addresses" is a text of at most {ROUTERS_MOST} home addresses')
    try:
        wanted = [IPv6Address(word) for word in words.split()]
    except ValueError as error:
        raise RequestError(f'"addresses" is a text of home addresses: {error}') from None
    views = agent.bindings(wanted)
    agent.round_trips.ask(view.home_address for view in views)
    return {
        "time": round(time.time(), 3),
        "bindings": [_bound(view, device, agent, ends) for view in views],
    }


def absent(request: Mapping[str, Any], agent: HomeAgentRole | None) -> dict[str, Any]:
    """Return routers that have a home address and no binding, paged as ``bindings`` are."""
    if agent is None:
        raise RequestError("this daemon is no home agent, it has no routers")
    after, limit = _after(request), _limit(request)
    table = agent.engine.ownership
    bound = set(agent.registered())
    missing = {owner.home_address: owner for owner in table if owner.home_address not in bound}
    addresses = sorted(missing, key=int)
    later = addresses[bisect.bisect(addresses, int(after), key=int) :]
    chosen = [missing[address] for address in later[:limit]]
    return {
        "total": len(addresses),
        "next": str(later[limit - 1]) if len(later) > limit else "",
        "routers": [
            {
                "identity": owner.identity,
                "home_address": str(owner.home_address),
                "home_address4": None if owner.home_address4 is None else str(owner.home_address4),
                "prefixes": [str(prefix) for prefix in table.all_prefixes(owner)],
            }
            for owner in chosen
        ],
    }


def _limit(request: Mapping[str, Any]) -> int:
    limit = request.get("limit", _BINDINGS_LIMIT)
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise RequestError('"limit" is a whole number from 1')
    return limit


def _bound(
    view: BindingView,
    device: Bindings,
    agent: HomeAgentRole,
    ends: Callable[[str], float | None],
) -> dict[str, Any]:
    return {
        "role": "home agent",
        **status.binding_document(view, device.binding(view.home_address)),
        **agent.observed(view.home_address),
        "certificate_ends": ends(view.identity),
    }


def _after(request: Mapping[str, Any]) -> IPv6Address:
    text = request.get("after", "")
    try:
        return IPv6Address(str(text)) if text else _NOWHERE
    except ValueError:
        raise RequestError('"after" is a home address, as "next" of the last answer') from None


def _matches(view: BindingView, match: str) -> bool:
    if not match:
        return True
    texts = (view.identity, view.home_address, view.home_address4, *view.prefixes)
    return any(match in str(text) for text in texts)


def handovers(request: Mapping[str, Any], history: History) -> dict[str, Any]:
    """Return the last handovers."""
    limit = request.get("limit", 0)
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        raise RequestError('"limit" is a whole number from 0')
    return {"handovers": history.documents(limit)}
