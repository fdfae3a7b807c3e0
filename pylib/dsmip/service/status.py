# SPDX-License-Identifier: GPL-2.0-only
"""The one status document; every interface shows parts of it.

Plain values only. Times are seconds unless a name says otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from .. import __version__
from ..linux.dsmip import BindingState, DeviceState, PathState, Traffic
from ..linux.uplinks import LinkState
from ..mobility.binding_cache import BoundPath
from ..mobility.effects import Uplink
from ..mobility.home_agent import BindingView
from ..mobility.mobile_router import FlowView, PathView, RegistrationView, State
from ..packet.careof import CareOf
from ..packet.kernel import Network
from ..packet.status import name_status
from .agent import HomeAgentRole
from .config import MobileRouterSection, Row
from .history import KINDS, History
from .ike_config import Manager
from .router import MobileRouterRole
from .samples import measured_by_probes
from .uplink_config import PRIORITIES

#: What people are told about each state of the engine.
STATE_WORDS: Final = {
    State.DETACHED: "No uplink",
    State.REGISTERING: "Switching",
    State.REGISTERED: "Roaming",
    State.RETURNING: "Returning home",
    State.HOME: "At home",
    State.REFUSED: "Refused by home agent",
}
LOGIN_NEEDED: Final = "Portal login needed"
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
    if view.home_agent.is_unspecified:
        return "Looking for a home agent"
    if view.state in (State.REGISTERING, State.RETURNING) and view.attempts > _LOST_AFTER:
        return "Home agent lost"
    return STATE_WORDS[view.state]


def word_of(role: MobileRouterRole) -> str:
    """Say in a word how the router is, and whether a login is all that it waits for."""
    if role.care is not None and role.care.needs_login():
        return LOGIN_NEEDED
    return state_word(role.registration())


def router_document(
    role: MobileRouterRole, kernel: BindingState | None, history: History
) -> dict[str, Any]:
    """Return the mobile router's part."""
    view = role.registration()
    config = role.section.engine
    last = history.last()
    return {
        "identity": config.identity,
        "state": word_of(role),
        "engine_state": view.state.value,
        "problem": view.problem,
        "uplink": view.uplink,
        "care_of": care_of_document(view.care_of),
        "kind": "" if view.kind is None else KINDS.get(view.kind, ""),
        "nat": view.nat,
        "home_address": str(view.home_address),
        "home_address4": None if view.home_address4 is None else str(view.home_address4),
        "home_agent": str(view.home_agent),
        "prefixes": [str(prefix) for prefix in config.networks],
        "delegation": role.requesting.document() if config.delegated_prefixes else None,
        "lan": None if role.lan is None else role.lan.document(),
        "dns_name": config.dns_name,
        "dns_status": "" if view.name_status is None else name_status(view.name_status),
        "sequence": view.sequence,
        "lifetime": view.lifetime,
        "remaining": round(view.remaining, 1),
        "refresh_in": None if view.refresh_in is None else round(view.refresh_in, 1),
        "attempts": view.attempts,
        "protection": _protection(role.section),
        "traffic": traffic_document(kernel.traffic) if kernel else None,
        "paths": [path_document(path) for path in kernel.paths] if kernel else [],
        "last_handover": last.document() if last else None,
        "counters": dict(sorted(role.counters.items())),
    }


def _protection(section: MobileRouterSection) -> str:
    if section.authentication is not None:
        return "rfc4285"
    return "none" if all(_unprotected(row) for row in section.rows) else "esp"


def _unprotected(row: Row) -> bool:
    return row.plan.manager is Manager.NONE


def registration_document(path: PathView) -> dict[str, Any]:
    """Return one of several care-of addresses as plain values (RFC 5648)."""
    rtt, loss = measured_by_probes(path)
    return {
        "bid": path.bid,
        "uplink": path.uplink,
        "care_of": care_of_document(path.care_of),
        "kind": KINDS.get(path.kind, ""),
        "nat": path.nat,
        "state": path.state,
        "active": path.active,
        "rank": path.rank,
        "priority": path.priority,
        "rtt_ms": rtt,
        "loss_percent": loss,
        "remaining": round(path.remaining, 1),
        "why_not": path.why_not,
    }


def flow_document(flow: FlowView) -> dict[str, Any]:
    """Return a flow of the router as plain values."""
    return {
        "name": flow.name,
        "uplinks": list(flow.uplinks),
        "active": flow.here,
        "bound": flow.there,
        "problem": flow.problem,
    }


def uplink_document(
    uplink: Uplink,
    link: LinkState,
    view: RegistrationView,
    kernel: BindingState | None,
    registered: Iterable[PathView] = (),
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return one uplink, with the reason why it is not used.

    ``more`` is what ``uplink_care`` knows of it.
    """
    mine = [path for path in registered if path.uplink == uplink.name]
    own = {str(address) for address in (*uplink.addresses6, *uplink.addresses4)}
    paths = [path for path in kernel.paths if str(path.path.local) in own] if kernel else []
    active = uplink.name == view.uplink
    probed = [measured_by_probes(path) for path in mine if path.rtt is not None]
    rtt, loss = probed[0] if probed else (None, None)
    return {
        "name": uplink.name,
        "interface": link.name,
        "priority": uplink.priority % PRIORITIES,
        "carrier": link.carrier,
        "active": active,
        "at_home": uplink.at_home,
        # A portal's hold is no operator's.
        "held": uplink.held and not (more or {}).get("portal"),
        "addresses": [str(address) for address in (*uplink.addresses6, *uplink.addresses4)],
        "gateways": [
            str(route.gateway)
            for route in (link.default6, link.default4)
            if route is not None and route.gateway is not None
        ],
        "why_not": "" if active else _reason(uplink, link, mine, more or {}),
        "rtt_ms": rtt,
        "loss_percent": loss,
        **(more or {}),
        "paths": [path_document(path) for path in paths],
        "registrations": [registration_document(path) for path in mine],
    }


def uplinks_document(
    role: MobileRouterRole, kernel: BindingState | None, *, watched: bool = False
) -> list[dict[str, Any]]:
    """Return all uplinks of the mobile router; ``watched`` when somebody looks on."""
    view, paths, care = role.registration(), role.paths(), role.care
    if care is not None:
        care.refresh(watched=watched)
    return [
        uplink_document(
            uplink,
            link,
            view,
            kernel,
            paths,
            None if care is None else care.document(uplink.name),
        )
        for uplink, link in zip(role.uplinks, role.links, strict=False)
    ]


def _reason(uplink: Uplink, link: LinkState, paths: list[PathView], more: Mapping[str, Any]) -> str:
    if more.get("portal"):
        return f"portal login needed: {more['portal']}"
    if more.get("stalled"):
        return str(more["stalled"])
    return paths[0].why_not if paths else why_not(uplink, link)


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


def bound_document(path: BoundPath, view: BindingView) -> dict[str, Any]:
    """Return a care-of address of a binding as plain values; BID 0 is the only one."""
    return {
        "bid": path.bid,
        "care_of": care_of_document(path.care_of),
        "nat": path.nat,
        "priority": path.priority,
        "lifetime": path.lifetime,
        # The last one ends when the binding does.
        "remaining": round(view.remaining - (view.ends - path.expires), 1),
    }


def binding_document(view: BindingView, kernel: BindingState | None) -> dict[str, Any]:
    """Return one binding of the home agent."""
    return {
        "identity": view.identity,
        "home_address": str(view.home_address),
        "home_address4": None if view.home_address4 is None else str(view.home_address4),
        "care_of": care_of_document(view.care_of),
        "care_of_addresses": [bound_document(path, view) for path in view.paths],
        "nat": view.nat,
        "at_home": view.at_home,
        "mobile_router": view.mobile_router,
        "prefixes": [str(prefix) for prefix in view.prefixes],
        "sequence": view.sequence,
        "lifetime": view.lifetime,
        "remaining": round(view.remaining, 1),
        "registered_for": round(view.registered_for, 1),
        "updated_ago": round(view.updated_ago, 1),
        "order": view.order,
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
        "delegated": role.delegating.documents(),
        "delegated_prefixes": len(role.delegating.engine.leases()),
        "pools": pools_document(role),
        "dns": role.names.document(),
        "counters": dict(sorted(role.counters.items())),
    }


def pools_document(role: HomeAgentRole) -> list[dict[str, Any]]:
    """Return what is given out of pools: parts of ``length`` bits, how many there are and used."""
    engine, table = role.section.engine, role.engine.ownership
    prefixes = [prefix for _, prefix in table.delegated()]
    homes = list(table.leases().values())
    homes4 = [view.home_address4 for view in role.bindings()] if engine.pool4 else []
    parts: list[tuple[str, Network, int, int]] = [
        ("prefixes", pool, engine.delegated_length, sum(one.subnet_of(pool) for one in prefixes))
        for pool in engine.prefix_pool
    ]
    parts += [
        ("home addresses", pool, 128, sum(one in pool for one in homes)) for pool in engine.pool6
    ]
    parts += [
        ("IPv4 home addresses", pool, 32, sum(one is not None and one in pool for one in homes4))
        for pool in engine.pool4
    ]
    return [
        {
            "of": what,
            "prefix": str(pool),
            "length": length,
            # A number of JSON is exact up to here.
            "size": min(1 << (length - pool.prefixlen), 1 << 53),
            "used": used,
        }
        for what, pool, length, used in parts
    ]


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
