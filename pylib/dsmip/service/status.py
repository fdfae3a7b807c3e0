# SPDX-License-Identifier: GPL-2.0-only
"""The one status document; every interface shows parts of it.

Plain values only. Times are seconds unless a name says otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from .. import __version__
from ..linux.dsmip import BindingState, DeviceState, PathState, Traffic
from ..linux.uplinks import LinkState
from ..mobility.effects import Uplink
from ..mobility.home_agent import BindingView
from ..mobility.mobile_router import RegistrationView, State
from ..packet.careof import CareOf
from .agent import HomeAgentRole
from .history import KINDS, History
from .router import MobileRouterRole

#: What people are told about each state of the engine.
STATE_WORDS: Final = {
    State.DETACHED: "No uplink",
    State.REGISTERING: "Switching",
    State.REGISTERED: "Roaming",
    State.RETURNING: "Returning home",
    State.HOME: "At home",
    State.REFUSED: "Refused by home agent",
}
#: Unanswered updates after which the home agent counts as lost.
_LOST_AFTER: Final = 3


def care_of_document(care_of: CareOf | None) -> dict[str, Any] | None:
    """Return a care-of address as plain values."""
    if care_of is None:
        return None
    return {
        "address": str(care_of.address),
        "port": care_of.port,
        "kind": KINDS.get(care_of.kind, str(care_of.kind)),
    }


def traffic_document(traffic: Traffic) -> dict[str, int]:
    """Return counters as plain values."""
    return {
        "rx_packets": traffic.rx_packets,
        "rx_bytes": traffic.rx_bytes,
        "tx_packets": traffic.tx_packets,
        "tx_bytes": traffic.tx_bytes,
    }


def path_document(state: PathState) -> dict[str, Any]:
    """Return a kernel path as plain values."""
    path = state.path
    return {
        "bid": path.bid,
        "kind": KINDS.get(path.kind, str(path.kind)),
        "local": str(path.local),
        "remote": str(path.remote),
        "remote_port": path.remote_port,
        "active": state.active,
        "priority": path.priority,
        "mtu": state.mtu,
        "last_heard_ms": state.last_heard_ms,
        "traffic": traffic_document(state.traffic),
    }


def state_word(view: RegistrationView) -> str:
    """Say in a word how the router is."""
    if view.state in (State.REGISTERING, State.RETURNING) and view.attempts > _LOST_AFTER:
        return "Home agent lost"
    return STATE_WORDS[view.state]


def router_document(
    role: MobileRouterRole, kernel: BindingState | None, history: History
) -> dict[str, Any]:
    """Return the mobile router's part."""
    view = role.registration()
    config = role.section.engine
    last = history.last()
    return {
        "identity": config.identity,
        "state": state_word(view),
        "engine_state": view.state.value,
        "problem": view.problem,
        "uplink": view.uplink,
        "care_of": care_of_document(view.care_of),
        "kind": "" if view.kind is None else KINDS.get(view.kind, ""),
        "nat": view.nat,
        "home_address": str(view.home_address),
        "home_address4": None if view.home_address4 is None else str(view.home_address4),
        "home_agent": str(view.home_agent),
        "prefixes": [str(prefix) for prefix in config.prefixes],
        "sequence": view.sequence,
        "lifetime": view.lifetime,
        "remaining": round(view.remaining, 1),
        "refresh_in": None if view.refresh_in is None else round(view.refresh_in, 1),
        "attempts": view.attempts,
        "protection": "esp" if any(row.keys for row in role.section.rows) else "none",
        "traffic": traffic_document(kernel.traffic) if kernel else None,
        "paths": [path_document(path) for path in kernel.paths] if kernel else [],
        "last_handover": last.document() if last else None,
        "counters": dict(sorted(role.counters.items())),
    }


def uplink_document(
    uplink: Uplink, link: LinkState, view: RegistrationView, kernel: BindingState | None
) -> dict[str, Any]:
    """Return one uplink, with the reason why it is not used."""
    own = {str(address) for address in (*uplink.addresses6, *uplink.addresses4)}
    paths = [path for path in kernel.paths if str(path.path.local) in own] if kernel else []
    active = uplink.name == view.uplink
    return {
        "name": uplink.name,
        "interface": link.name,
        "priority": uplink.priority,
        "carrier": link.carrier,
        "active": active,
        "at_home": uplink.at_home,
        "addresses": [str(address) for address in (*uplink.addresses6, *uplink.addresses4)],
        "gateways": [
            str(route.gateway)
            for route in (link.default6, link.default4)
            if route is not None and route.gateway is not None
        ],
        "why_not": "" if active else why_not(uplink, link),
        "paths": [path_document(path) for path in paths],
    }


def why_not(uplink: Uplink, link: LinkState) -> str:
    """Say why an uplink is not in use."""
    if not link.index:
        return f"there is no interface {link.name}"
    if not link.carrier:
        return "no carrier"
    if uplink.held:
        return "held"
    if not uplink.addresses6 and not uplink.addresses4:
        return "no address"
    if not uplink.gateway6 and not uplink.gateway4 and not uplink.at_home:
        return "no default route"
    return "standby"


def binding_document(view: BindingView, kernel: BindingState | None) -> dict[str, Any]:
    """Return one binding of the home agent."""
    return {
        "identity": view.identity,
        "home_address": str(view.home_address),
        "home_address4": None if view.home_address4 is None else str(view.home_address4),
        "care_of": care_of_document(view.care_of),
        "nat": view.nat,
        "mobile_router": view.mobile_router,
        "prefixes": [str(prefix) for prefix in view.prefixes],
        "sequence": view.sequence,
        "lifetime": view.lifetime,
        "remaining": round(view.remaining, 1),
        "registered_for": round(view.registered_for, 1),
        "updated_ago": round(view.updated_ago, 1),
        "in_kernel": kernel is not None,
        "traffic": traffic_document(kernel.traffic) if kernel else None,
        "paths": [path_document(path) for path in kernel.paths] if kernel else [],
    }


def agent_document(role: HomeAgentRole, bindings: int) -> dict[str, Any]:
    """Return the home agent's part."""
    engine = role.section.engine
    addresses = [*engine.addresses6, *([engine.address4] if engine.address4 else [])]
    return {
        "addresses": [str(address) for address in addresses],
        "prefixes": [str(prefix) for prefix in (*engine.prefixes, *engine.prefixes4)],
        "interface": role.section.interface,
        "routers": len(engine.owners),
        "bindings": bindings,
        "counters": dict(sorted(role.counters.items())),
    }


def process_document(device: str, state: DeviceState, started: float, now: float) -> dict[str, Any]:
    """Return what concerns the whole process; drop counters that are not zero."""
    counters: Mapping[str, int] = state.counters
    return {
        "version": __version__,
        "time": round(time.time(), 3),
        "uptime": round(now - started, 1),
        "device": {
            "name": device,
            "port": state.port,
            "drops": {name: count for name, count in counters.items() if count},
        },
    }
