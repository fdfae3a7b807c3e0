# SPDX-License-Identifier: GPL-2.0-only
"""Commands about home agents: who there is, who goes where, whose binding ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv6Address
from typing import Any, Final

from ..mobility.orders import TRIGGERS, BadOrder
from ..packet.status import RevocationTrigger
from . import status
from .agent import HomeAgentRole
from .control import RequestError
from .discovery import Discovering
from .history import History
from .holding import TEST_MOST
from .ike_config import Manager
from .router import MobileRouterRole

REASONS: Final = {trigger.name.lower().replace("_", "-"): trigger for trigger in TRIGGERS}


def home_agents(discovering: Discovering | None, router: MobileRouterRole | None) -> dict[str, Any]:
    """Return the home agents list, and the home agents that the router knows."""
    known: list[dict[str, Any]] = []
    if router is not None:
        known = [
            {
                "address": str(one.address6),
                "address4": None if one.address4 is None else str(one.address4),
                "used": position == 0,
            }
            for position, one in enumerate(router.engine.agents.known())
        ]
    agent = None if discovering is None else discovering.agent
    return {"link": [] if agent is None else agent.agents(), "router": known}


def revoke(agent: HomeAgentRole | None, request: Mapping[str, Any]) -> dict[str, Any]:
    """Revoke a binding, or a part of it."""
    if agent is None:
        raise RequestError("this daemon is no home agent, it has no bindings to revoke")
    who = _text(request, "router", "the identity or the home address of a router")
    word = request.get("reason", "administrative")
    if word not in REASONS:
        raise RequestError(f'"reason" is one of {", ".join(REASONS)}')
    ipv4_only = request.get("ipv4_only", False)
    bids = request.get("bids", [])
    if not isinstance(ipv4_only, bool):
        raise RequestError('"ipv4_only" is true or false')
    whole = isinstance(bids, list) and all(
        isinstance(bid, int) and not isinstance(bid, bool) for bid in bids
    )
    if not whole:
        raise RequestError('"bids" is a list of whole numbers')
    trigger: RevocationTrigger = REASONS[word]
    try:
        identity = agent.revoke(who, trigger, ipv4_only, tuple(bids))
    except BadOrder as error:
        raise RequestError(str(error)) from error
    return {"router": identity, "reason": word, "ipv4_only": ipv4_only, "bids": bids}


def switch(
    agent: HomeAgentRole | None, router: MobileRouterRole | None, request: Mapping[str, Any]
) -> dict[str, Any]:
    """Send a router to other home agents; the router itself can be asked too."""
    who = _text(request, "router", "the identity or the home address of a router")
    texts = request.get("addresses", [])
    stay = request.get("stay", 0)
    if not isinstance(texts, list):
        raise RequestError('"addresses" is a list of IPv6 addresses')
    try:
        addresses = tuple(IPv6Address(text) for text in texts)
    except ValueError as error:
        raise RequestError(f'"addresses" is a list of IPv6 addresses: {error}') from error
    if not isinstance(stay, int | float) or isinstance(stay, bool):
        raise RequestError('"stay" is a number of seconds')
    try:
        if agent is not None:
            identity = agent.switch(who, addresses, float(stay))
        elif router is not None:
            identity = _go(router, who, addresses)
        else:
            raise RequestError("this daemon is neither home agent nor mobile router")
    except (BadOrder, ValueError) as error:
        raise RequestError(str(error)) from error
    return {"router": identity, "addresses": [str(address) for address in addresses]}


def handover(router: MobileRouterRole | None, request: Mapping[str, Any]) -> dict[str, Any]:
    """Go to an uplink, or choose by priority again."""
    if router is None:
        raise RequestError("this daemon is no mobile router, it has no uplinks")
    name = request.get("uplink")
    if name is not None and not isinstance(name, str):
        raise RequestError('"uplink" is the name of an uplink, or null to choose by priority')
    try:
        router.handover(name)
    except ValueError as error:
        raise RequestError(str(error)) from error
    view = router.registration()
    return {"wanted": name, "uplink": view.uplink, "state": status.word_of(router)}


def hold(router: MobileRouterRole | None, request: Mapping[str, Any]) -> dict[str, Any]:
    """Pause an uplink, or use it again, without a change of the configuration."""
    if router is None:
        raise RequestError("this daemon is no mobile router, it has no uplinks")
    name = request.get("uplink")
    if not isinstance(name, str):
        raise RequestError('"uplink" is the name of an uplink, or "" for all')
    held = request.get("held")
    if not isinstance(held, bool):
        raise RequestError('"held" is true or false')
    try:
        router.holding.hold(name, held)
    except ValueError as error:
        raise RequestError(str(error)) from error
    return {"uplink": name, "held": held}


def failover(
    router: MobileRouterRole | None, history: History, request: Mapping[str, Any]
) -> dict[str, Any]:
    """Do without an uplink for some seconds, to see how long packets stop.

    The handover that follows has a greater number than ``after``.
    """
    if router is None:
        raise RequestError("this daemon is no mobile router, it has no uplinks")
    name, seconds = request.get("uplink") or router.registration().uplink, request.get("seconds", 5)
    if not isinstance(name, str):
        raise RequestError('"uplink" is the name of an uplink, or "" for the one in use')
    if not name:
        raise RequestError("no uplink is in use now")
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not number or not 1 <= seconds <= TEST_MOST:
        raise RequestError(f'"seconds" is a number from 1 to {TEST_MOST:.0f}')
    last = history.last()
    after = 0 if last is None else last.number
    try:
        router.holding.test(name, float(seconds))
    except ValueError as error:
        raise RequestError(str(error)) from error
    return {"uplink": name, "seconds": seconds, "after": after}


def audit(agent: HomeAgentRole | None, request: Mapping[str, Any]) -> dict[str, Any]:
    """Tell who got which prefix when."""
    if agent is None:
        raise RequestError("this daemon is no home agent, it gives no prefixes")
    return agent.audit.handle(request)


def enroll(
    agent: HomeAgentRole | None,
    path: str,
    request: Mapping[str, Any],
    reload: Callable[[], object],
    *,
    kernel: bool = True,
) -> dict[str, Any]:
    """Put a new router into the configuration file, and return its token.

    Without the ``kernel``'s IPsec its keys are static: there is no IKEv2 then.
    """
    from .enrolling import answer

    if agent is None:
        raise RequestError("this daemon is no home agent, no router is enrolled here")
    manager = Manager.IKEV2 if kernel else Manager.STATIC
    done = answer(path, request, manager=manager)
    try:
        reload()
    except RequestError as error:
        # The router is in the file, and its token is not to be had again as easily.
        return done | {"problem": str(error)}
    return done


def _go(router: MobileRouterRole, who: str, addresses: tuple[IPv6Address, ...]) -> str:
    config = router.section.engine
    if who not in (config.identity, str(config.home_address)):
        raise ValueError(f"{who} is not this router, which is {config.identity}")
    if len(addresses) != 1:
        raise ValueError("a router goes to one home agent: give one address")
    router.use_agent(addresses[0])
    return config.identity


def _text(request: Mapping[str, Any], name: str, what: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not value:
        raise RequestError(f'"{name}" is {what}')
    return value
