# SPDX-License-Identifier: GPL-2.0-only
"""Commands about IKE of the control socket.

==================  ==========================================================
``ike.status``      ``{"connection": part of a name or identity, optional}``:
                    ``{"connections": [...], "counters": {...}}``
``ike.initiate``    ``{"connection": name}``: start, or start anew, make before
                    break; with ``"child"`` only that child SA
``ike.rekey``       ``{"connection": name}`` with ``"child"``: name, or
                    ``{"id": number}`` of an IKE SA or a child SA as in
                    ``ike.status``
``ike.terminate``   the same as ``ike.rekey``
==================  ==========================================================

The last three answer ``{"connection": name, "child": name or null, "id":
number or null}`` as soon as the first message is on its way; how it ended is
in ``ike.status``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..ikev2.config import Assignment
from ..ikev2.effects import ChildView, IkeView
from .control import RequestError
from .ike import matching
from .ike_host import IkeHost


def handlers(host: IkeHost) -> dict[str, Callable[[Mapping[str, Any]], Any]]:
    """Return the commands, to be served beside those of mobility."""
    return {
        "ike.status": lambda request: _status(host, request),
        "ike.initiate": lambda request: _initiate(host, request),
        "ike.rekey": lambda request: _act(host, request, host.runtime.rekey),
        "ike.terminate": lambda request: _act(host, request, host.runtime.terminate),
    }


def _text(request: Mapping[str, Any], name: str) -> str | None:
    value = request.get(name)
    if value is not None and not isinstance(value, str):
        raise RequestError(f'"{name}" is a text')
    return value


def _status(host: IkeHost, request: Mapping[str, Any]) -> dict[str, Any]:
    part = _text(request, "connection") or ""
    return host.document(lambda: matching(host.runtime.views(), part))


def _initiate(host: IkeHost, request: Mapping[str, Any]) -> dict[str, Any]:
    name, child = _text(request, "connection"), _text(request, "child")
    if not name:
        raise RequestError('"connection" is missing: the name of a connection')
    try:
        host.runtime.start(name, child)
    except LookupError as error:
        raise RequestError(_said(error)) from error
    return {"connection": name, "child": child, "id": host.runtime.up(name)}


def _act(
    host: IkeHost, request: Mapping[str, Any], action: Callable[[int], None]
) -> dict[str, Any]:
    name, child, number = _text(request, "connection"), _text(request, "child"), request.get("id")
    if number is None:
        number = _find(host, name, child)
    elif not isinstance(number, int) or isinstance(number, bool):
        raise RequestError('"id" is a number as in ike.status')
    try:
        action(number)
    except LookupError as error:
        raise RequestError(f"nothing has the number {number}") from error
    return {"connection": name, "child": child, "id": number}


def _find(host: IkeHost, name: str | None, child: str | None) -> int:
    if not name:
        raise RequestError('"connection" or "id" is missing')
    ike = host.runtime.up(name)
    if ike is None:
        raise RequestError(f'no IKE SA of a connection "{name}" is up')
    if child is None:
        return ike
    view = next(view for view in host.runtime.views() if view.id == ike)
    found = [one.id for one in view.children if one.name == child]
    if not found:
        raise RequestError(f'{name} has no child SA "{child}"')
    return found[-1]


def _said(error: LookupError) -> str:
    return str(error.args[0]) if error.args else str(error)


# --- documents -------------------------------------------------------------------


def view_document(view: IkeView, carried: Mapping[int, Mapping[str, int]]) -> dict[str, Any]:
    """Return an IKE SA as plain values; times in seconds.

    ``carried`` has the counters of child SAs by their ``id``.
    """
    return {
        "id": view.id,
        "connection": view.connection,
        "state": view.state,
        "initiator": view.initiator,
        "spi_i": view.spi_i.hex(),
        "spi_r": view.spi_r.hex(),
        "local_identity": str(view.local_identity),
        "peer": None if view.peer is None else str(view.peer),
        "local": {"address": str(view.local.address), "port": view.local.port},
        "remote": {"address": str(view.remote.address), "port": view.remote.port},
        "nat_local": view.nat_local,
        "nat_remote": view.nat_remote,
        "suite": view.suite,
        "ppk": view.ppk,
        "age": round(view.age, 1),
        "silent_for": round(view.silent_for, 1),
        "rekey_in": _rounded(view.rekey_in),
        "reauthenticate_in": _rounded(view.reauthenticate_in),
        "peer_certificate_ends": view.credential_ends,
        "assigned": _assignment_document(view.assignment),
        "children": [_child_document(child, carried.get(child.id)) for child in view.children],
    }


def _child_document(child: ChildView, traffic: Mapping[str, int] | None) -> dict[str, Any]:
    ends = child.ends
    return {
        "id": child.id,
        "name": child.name,
        "reqid": child.reqid,
        "state": child.state,
        "mode": child.mode.value,
        "protocol": child.protocol.name.lower(),
        "spi_in": f"{child.spi_in:08x}",
        "spi_out": f"{child.spi_out:08x}",
        "suite": child.suite,
        "local": [str(selector) for selector in child.local],
        "remote": [str(selector) for selector in child.remote],
        "ends": {
            "local": str(ends.local),
            "remote": str(ends.remote),
            "ports": None if ends.encapsulation is None else list(ends.encapsulation),
        },
        "age": round(child.age, 1),
        "rekey_in": _rounded(child.rekey_in),
        "traffic": traffic,
    }


def _assignment_document(assignment: Assignment | None) -> list[str]:
    if assignment is None:
        return []
    return [
        *(f"{address}/{length}" for address, length in assignment.addresses6),
        *(str(address) for address in assignment.addresses4),
    ]


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
