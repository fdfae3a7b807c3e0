# SPDX-License-Identifier: GPL-2.0-only
"""The command line's output: complete, and never wider than 80 columns."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from types import SimpleNamespace
from typing import Any

import pytest
from dsmip.linux.dsmip import DeviceState
from dsmip.linux.uplinks import LinkState
from dsmip.mobility.binding_cache import BoundPath
from dsmip.mobility.effects import HandoverMark, Phase, Uplink
from dsmip.mobility.home_agent import BindingView
from dsmip.mobility.mobile_router import FlowView, PathView, RegistrationView, State
from dsmip.packet.careof import CareOf, WireKind
from dsmip.service import render, status
from dsmip.service.config import parse
from dsmip.service.history import History
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_config import ROUTER, changed

HOA, HA6 = IPv6Address("2001:db8:1::100"), IPv6Address("2001:db8:1::1")
LONG = IPv6Address("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff")
CARE_OF = CareOf(IPv4Address("198.18.105.2"), WireKind.UDP4, 40123)
NAMES = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=255)


def view(**more: Any) -> RegistrationView:
    values: dict[str, Any] = {
        "state": State.REGISTERED,
        "uplink": "lte",
        "care_of": CARE_OF,
        "kind": WireKind.UDP4,
        "nat": True,
        "home_address": HOA,
        "home_address4": IPv4Address("198.51.100.100"),
        "home_agent": IPv4Address("198.51.100.1"),
        "sequence": 7,
        "lifetime": 600,
        "remaining": 599.0,
        "refresh_in": 100.0,
        "attempts": 1,
        "problem": "",
    }
    return RegistrationView(**(values | more))


def router(identity: str = "bus-17", **more: Any) -> dict[str, Any]:
    section = parse(changed(ROUTER, "mobile_router.identity", identity)).mobile_router
    role = SimpleNamespace(
        registration=lambda: view(**more),
        section=section,
        counters=Counter(bu_sent=2),
        lan=None,
        care=None,
    )
    return status.router_document(role, None, history())  # type: ignore[arg-type]


def history(uplink: str = "lte", reason: str = "wan0 lost its address") -> History:
    made = History(3, wall_clock=lambda: 1000.0)
    for number in range(5):
        start = number * 10.0
        marks = [(Phase.LINK, 0.0), (Phase.ADDRESS, 0.012), (Phase.UPDATE_SENT, 0.0125)]
        for phase, after in [*marks, (Phase.ACKNOWLEDGED, 0.043), (Phase.FIRST_PACKET, 0.05)]:
            at = start + after
            care_of = CARE_OF if phase is Phase.ADDRESS else None
            made.mark(HandoverMark(HOA, phase, at, uplink, care_of, reason), at)
    return made


def document(**parts: Any) -> dict[str, Any]:
    state = DeviceState(4191, 0, 0, {"rx_no_binding": 3, "tx_no_path": 0})
    return status.process_document("mip0", state, 0.0, 90_000.0) | parts


def fits(lines: list[str]) -> str:
    assert max(map(len, lines)) <= render.WIDTH, "\n".join(lines)
    return "\n".join(lines)


def test_router() -> None:
    told = fits(render.status(document(mobile_router=router())))
    for part in (
        "Roaming on lte",
        "198.18.105.2 port 40123 (udp4, behind NAT)",
        "2001:db8:1::100, 198.51.100.100",
        "refresh in 1 min 40 s",
        "gap 50 ms",
        "rx_no_binding 3",
        "up 1 d 01 h",
    ):
        assert part in told
    assert "tx_no_path" not in told


def test_delegated_prefixes_and_how_long_they_are_leased() -> None:
    one = {"prefix": "2001:db8:200::/56", "valid": 7200.0, "preferred": 3600.0}
    two = {"prefix": "2001:db8:300::/56", "valid": None, "preferred": None}
    shown = router() | {"delegation": {"phase": "idle", "leases": [one, two]}}
    told = fits(render.status(document(mobile_router=shown)))
    assert "2001:db8:200::/56 for 2 h 00 min" in told
    assert "2001:db8:300::/56 for ever" in told
    shown["delegation"] = {"phase": "solicit", "leases": []}
    assert "nothing yet" in fits(render.status(document(mobile_router=shown)))


@pytest.mark.parametrize(
    ("state", "attempts", "word"),
    [
        (State.DETACHED, 0, "No uplink"),
        (State.REGISTERING, 3, "Switching"),
        (State.REGISTERING, 4, "Home agent lost"),
        (State.RETURNING, 1, "Returning home"),
        (State.HOME, 0, "At home"),
        (State.REFUSED, 1, "Refused by home agent"),
    ],
)
def test_states_in_words(state: State, attempts: int, word: str) -> None:
    told = fits(
        render.status(
            document(mobile_router=router(state=state, attempts=attempts, problem="because"))
        )
    )
    assert word in told
    assert "because" in told


def test_absent_routers() -> None:
    one = {
        "identity": "n" * 255,
        "home_address": str(LONG),
        "prefixes": [f"{LONG}/128", "203.0.113.0/28"],
    }
    lines = render.absent({"total": 2, "routers": [one]})
    assert all(len(line) <= render.WIDTH for line in lines)
    assert "203.0.113.0/28" in lines[2]
    assert "1 of 2" in lines[-1]
    assert render.absent({"total": 0, "routers": []}) == ["Every router is registered."]


@given(NAMES, NAMES, st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=300))
def test_long_names_do_not_break_lines(identity: str, uplink: str, problem: str) -> None:
    fits(render.status(document(mobile_router=router(identity, uplink=uplink, problem=problem))))
    fits(render.history(history(uplink, problem).documents()))
    fits(render.bindings({"total": 1, "bindings": [binding(identity)]}))
    link = LinkState("wan0", 3, True, 1500, b"", (LONG,))
    shown = status.uplink_document(Uplink(uplink, 3, 10, (LONG, LONG)), link, view(), None)
    where = (65535, uplink, CARE_OF, WireKind.UDP4, True)
    path = PathView(*where, "registered", False, 16, 127, 1.5, 0.25, 9.0, problem)
    shown_too = status.uplink_document(
        Uplink(uplink, 3, 10, (LONG, LONG)), link, view(), None, [path]
    )
    flow = status.flow_document(FlowView(identity, (uplink, uplink), True, False, problem))
    fits(render.uplinks([shown]))
    fits(render.uplinks([shown_too], [flow]))


def bound(identity: str = "bus-17") -> BindingView:
    prefixes = tuple(parse(ROUTER).mobile_router.engine.prefixes)  # type: ignore[union-attr]
    return BindingView(
        HOA, None, identity, CareOf(LONG), False, True, prefixes * 9, 65535, 600, 1.5, 4.0, 2.0
    )


def binding(identity: str = "bus-17") -> dict[str, Any]:
    return {"role": "home agent", **status.binding_document(bound(identity), None)}


def test_bindings() -> None:
    told = fits(render.bindings({"total": 1001, "bindings": [binding()]}))
    assert str(LONG) in told
    assert "not in the kernel" in told
    assert "1 of 1001 bindings shown" in told
    assert render.bindings({"total": 0, "bindings": []}) == ["No bindings."]


@pytest.mark.parametrize(
    ("link", "uplink", "why"),
    [
        (LinkState("wan0"), Uplink("a", 0, 1), "there is no interface wan0"),
        (LinkState("wan0", 3), Uplink("a", 3, 1), "no carrier"),
        (LinkState("wan0", 3, True), Uplink("a", 3, 1, held=True), "held"),
        (LinkState("wan0", 3, True), Uplink("a", 3, 1), "no address"),
        (LinkState("wan0", 3, True), Uplink("a", 3, 1, (LONG,)), "no default route"),
        (LinkState("wan0", 3, True), Uplink("a", 3, 1, (LONG,), gateway6=True), "standby"),
    ],
)
def test_why_an_uplink_is_not_used(link: LinkState, uplink: Uplink, why: str) -> None:
    assert status.why_not(uplink, link) == why


def test_history_keeps_the_last_and_counts_on() -> None:
    records = history().documents()
    assert [record["number"] for record in records] == [3, 4, 5]
    assert records[-1]["phases_ms"] == {
        "link": 0.0,
        "address": 12.0,
        "update_sent": 12.5,
        "acknowledged": 43.0,
        "first_packet": 50.0,
    }
    assert records[-1]["updates_sent"] == 1
    assert records[-1]["kind"] == "udp4"
    assert len(history().documents(2)) == 2


def test_a_first_packet_before_the_update_is_the_former_paths() -> None:
    made = History(3, wall_clock=lambda: 0.0)
    made.mark(HandoverMark(HOA, Phase.LINK, 1.0, "a"), 1.0)
    made.mark(HandoverMark(HOA, Phase.FIRST_PACKET, 1.1, "a"), 1.1)
    last = made.last()
    assert last is not None
    assert last.gap_ms is None


def test_units() -> None:
    assert [render.duration(s) for s in (None, 59.9, 3599, 86399, 90000)] == [
        "-",
        "59 s",
        "59 min 59 s",
        "23 h 59 min",
        "1 d 01 h",
    ]
    assert [render.octets(n) for n in (0, 1023, 1024, 5 << 40)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "5.0 TiB",
    ]
    assert render.cut("abcdef", 4) == "abc…"


def test_portable_mode_says_so() -> None:
    plain = document(mobile_router=router())
    assert "portable" not in fits(render.status(plain))
    plain["device"]["data_path"] = "portable"
    assert "portable: no kernel module" in fits(render.status(plain))


def test_several_uplinks_and_their_flows() -> None:
    """Each path with BID, round trip, loss, and why data does not go that way."""
    link = LinkState("wan0", 3, True, 1500, b"", (LONG,))
    six = (1, "lte", CareOf(LONG), WireKind.IP6, False)
    four = (4, "wifi", CARE_OF, WireKind.UDP4, True)
    paths = [
        PathView(*six, "registered", True, 1, 1, 0.0204, 0.0, 9.0, ""),
        PathView(*four, "no answer", False, 2, 14, None, 1.0, 9.0, "no answer"),
    ]
    documents = [
        status.uplink_document(Uplink(name, 3, 10), link, view(), None, paths)
        for name in ("lte", "wifi")
    ]
    assert documents[1]["why_not"] == "no answer"
    flows = [
        status.flow_document(FlowView("voice", ("lte",), True, True, "")),
        status.flow_document(FlowView("backup", ("wifi",), False, True, "")),
        status.flow_document(FlowView("web", ("lte", "wifi"), True, False, "status 128")),
    ]
    told = fits(render.uplinks(documents, flows))
    lines = [" ".join(line.split()) for line in told.splitlines()]
    for expected in (
        "RANK BID UPLINK STATE RTT LOST KIND",
        "1 1 lte active 20 ms 0 % ip6",
        "2 4 wifi no answer - 100 % udp4, NAT",
        "voice lte bound",
        "backup wifi no uplink, as all else",
        "web lte, wifi status 128",
    ):
        assert expected in lines, told


def test_binding_with_several_care_of_addresses() -> None:
    paths = (
        BoundPath(1, CareOf(LONG), CareOf(LONG), 120, 60.0, 1),
        BoundPath(4, CARE_OF, CARE_OF, 120, 50.0, 14, nat=True),
    )
    found = replace(bound(), paths=paths, remaining=60.0)
    document = status.binding_document(found, None)
    assert [path["remaining"] for path in document["care_of_addresses"]] == [60.0, 50.0]
    told = fits(render.bindings({"total": 1, "bindings": [document]}))
    assert f"{LONG} (ip6), BID 1" in told
    assert "198.18.105.2 port 40123 (udp4, NAT), BID 4, preference 14" in told


def test_home_prefixes_with_what_is_left_of_them() -> None:
    old = {
        "prefix": "2001:db8:1::/64",
        "valid": 90,
        "preferred": 0,
        "home_address": "2001:db8:1::100",
        "first": False,
    }
    new = old | {"prefix": LONG_PREFIX, "valid": None, "preferred": None, "first": True}
    lines = render._home_prefix(old) + render._home_prefix(new)
    assert "deprecated" in lines[0]
    assert "1 min 30 s" in lines[0]
    assert "in use" in " ".join(lines)
    assert all(len(line) <= render.WIDTH for line in lines)


LONG_PREFIX = "2001:db8:ffff:ffff::/64"


def test_orders_under_way_are_shown() -> None:
    document = binding("bus-17") | {"order": "revoking"}
    assert any("revoking" in line for line in render.bindings({"total": 1, "bindings": [document]}))
