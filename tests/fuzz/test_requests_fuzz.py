# SPDX-License-Identifier: GPL-2.0-only
"""Requests at the control socket: whatever they say, they are answered or refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest
from dsmip.service import enrolling, listing, orders
from dsmip.service.audit import Audit
from dsmip.service.control import RequestError
from dsmip.service.history import History
from dsmip.service.samples import Sampler
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.test_audit import BINDING, Device, agent
from tests.unit.test_enrolling import TOML
from tests.unit.test_holding import Router

pytestmark = pytest.mark.fuzz

NAMES = st.sampled_from(
    [
        "addresses",
        "after",
        "again",
        "held",
        "identity",
        "limit",
        "match",
        "payload",
        "prefixes",
        "seconds",
        "span",
        "uplink",
    ]
)
WORDS = st.sampled_from(
    ["", "wan", "fine", "coarse", "none", "bus-17", "2001:db8:1::100", "2001:db8:7::/48", "::", "1"]
)
#: JSON can say halves of characters, too, that no file takes.
ODD = st.text(st.characters(categories=["Cs", "Cc", "L", "P"]), max_size=9)
SINGLE = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | WORDS | ODD
VALUES = st.recursive(
    SINGLE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
REQUESTS = st.dictionaries(NAMES, VALUES)


def _audit(request: dict[str, Any]) -> Any:
    audit = Audit(lambda address: str(address))
    audit.bound(BINDING)
    return audit.handle(request)


def _samples(request: dict[str, Any]) -> Any:
    loop: Any = asyncio.new_event_loop()
    try:
        return Sampler(loop, list, lambda: 0.0).handle(request)
    finally:
        loop.close()


def _router() -> Any:
    return Router()


HANDLERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "bindings": lambda request: listing.bindings(request, Device(), agent(5), None, None),
    "routers": lambda request: listing.routers(request, Device(), agent(5)),
    "absent": lambda request: listing.absent(request, agent(2, absent=3)),
    "audit": _audit,
    "samples": _samples,
    "hold": lambda request: orders.hold(_router(), request),
    "failover": lambda request: orders.failover(_router(), History(5), request),
    "history": lambda request: listing.handovers(request, History(5)),
}


@pytest.mark.parametrize("name", HANDLERS)
@given(request=REQUESTS)
def test_answered_or_refused(name: str, request: dict[str, Any]) -> None:
    try:
        answer = HANDLERS[name](request)
    except RequestError:
        return
    json.dumps(answer)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(request=REQUESTS | st.fixed_dictionaries({"identity": ODD | st.text()}))
def test_enrolment_is_whole_or_nothing(tmp_path: Path, request: dict[str, Any]) -> None:
    file = tmp_path / "dsmip.toml"
    file.write_text(TOML)
    try:
        answer = enrolling.answer(str(file), request, str(tmp_path / "keys"))
    except RequestError:
        assert file.read_text() == TOML
        return
    assert json.loads(json.dumps(answer))["token"]
    assert IPv6Address(answer["home_address"])
    assert file.read_text().startswith(TOML)
