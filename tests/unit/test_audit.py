# SPDX-License-Identifier: GPL-2.0-only
"""Who got which prefix when, and the pages of long lists."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from types import SimpleNamespace
from typing import Any

import pytest
from dsmip.mobility.binding_cache import BoundPath
from dsmip.mobility.home_agent import BindingView
from dsmip.mobility.ownership import Owner, Ownership
from dsmip.packet.careof import CareOf, WireKind
from dsmip.packet.kernel import KernelBinding, Path
from dsmip.service import command_records, listing, orders
from dsmip.service.audit import SIZE, Audit
from dsmip.service.control import RequestError
from dsmip.service.render import WIDTH

HOME = IPv6Address("2001:db8:1::100")
FIRST, SECOND = IPv6Network("2001:db8:100::/56"), IPv6Network("2001:db8:200::/56")
BINDING = KernelBinding(
    home_address=HOME,
    home_address4=None,
    prefixes=(FIRST,),
    local_prefixes=(),
    paths=(Path(0, WireKind.IP6, IPv6Address("2001:db8:1::1"), IPv6Address("2001:db8:a6::1")),),
    mobile=False,
    lifetime=60,
    sequence=1,
)


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def audit() -> Audit:
    return Audit(lambda address: "bus-17" if address == HOME else "", Clock())


def entries(audit: Audit, **request: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = audit.handle(request)["entries"]
    return found


def test_what_came_and_went_is_told_once(audit: Audit) -> None:
    audit.bound(BINDING)
    audit.bound(replace(BINDING, sequence=2, lifetime=30))
    audit.bound(replace(BINDING, prefixes=(SECOND,)))
    audit.ended(HOME)
    audit.ended(HOME)
    told = [(one["event"], one["gained"], one["lost"]) for one in entries(audit)]
    assert told == [
        ("ended", [], [str(SECOND)]),
        ("changed", [str(SECOND)], [str(FIRST)]),
        ("registered", [str(FIRST)], []),
    ]
    last = entries(audit)[-1]
    assert last["identity"] == "bus-17"
    assert last["care_of"] == "2001:db8:a6::1"
    times = [one["time"] for one in entries(audit)]
    assert times == sorted(times, reverse=True)


def test_what_was_adopted_is_nothing_new(audit: Audit) -> None:
    audit.adopt(BINDING)
    audit.bound(BINDING)
    assert entries(audit) == []
    audit.bound(replace(BINDING, home_address4=IPv4Address("198.51.100.7")))
    (one,) = entries(audit)
    assert one["home_address4"] == "198.51.100.7"


def test_only_the_last_are_kept_and_found(audit: Audit) -> None:
    for number in range(SIZE + 10):
        network = IPv6Network((int(FIRST.network_address) + (number << 72), 56))
        audit.bound(replace(BINDING, prefixes=(network,)))
    answer = audit.handle({"limit": SIZE})
    assert answer["total"] == len(answer["entries"]) == SIZE
    assert len(entries(audit)) == 500
    assert len(entries(audit, match="bus-17", limit=3)) == 3
    assert entries(audit, match=str(FIRST)) == []


@pytest.mark.parametrize(
    "request_", [{"match": 5}, {"limit": 0}, {"limit": SIZE + 1}, {"limit": True}, {"limit": "9"}]
)
def test_requests_that_make_no_sense(audit: Audit, request_: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        audit.handle(request_)


def test_who_is_no_home_agent_has_no_audit() -> None:
    with pytest.raises(RequestError, match="no home agent"):
        orders.audit(None, {})
    with pytest.raises(RequestError, match="no home agent"):
        orders.enroll(None, "/etc/config/dsmip", {"identity": "bus-17"}, list)


def test_audit_for_people(audit: Audit) -> None:
    audit.bound(replace(BINDING, prefixes=(FIRST, SECOND)))
    audit.bound(BINDING)
    audit.ended(HOME)
    lines = command_records.audit(audit.handle({}))
    assert all(len(line) <= WIDTH for line in lines)
    assert "ended" in lines[1]
    assert f"-{FIRST}" in lines[1]
    assert f"-{SECOND}" in lines[2]
    assert [f"+{one}" in "".join(lines[3:]) for one in (FIRST, SECOND)] == [True, True]
    assert "No router" in command_records.audit({"entries": []})[0]


# --- pages of bindings -----------------------------------------------------------


class Device:
    def binding(self, home_address: IPv6Address) -> None:
        return None


def view(number: int) -> BindingView:
    care_of = CareOf(ip_address("198.18.0.1"), 4191, WireKind.UDP4)
    return BindingView(
        home_address=IPv6Address((0x20010DB8 << 96) + 0x100 + number),
        home_address4=None,
        identity=f"bus-{number}",
        care_of=care_of,
        nat=True,
        mobile_router=True,
        prefixes=(),
        sequence=1,
        lifetime=60,
        remaining=30.0,
        registered_for=5.0,
        updated_ago=1.0,
        paths=(BoundPath(0, care_of, True, 100.0, 60),),
    )


def agent(count: int, absent: int = 0) -> Any:
    names = [Owner(f"bus-{one}", view(one).home_address) for one in range(count + absent)]
    owners = Ownership(names[::-1])
    made = {one.home_address: one for one in (view(number) for number in range(count))}
    return SimpleNamespace(
        registered=lambda: sorted(made, key=int),
        bindings=lambda wanted: [made[one] for one in wanted if one in made],
        engine=SimpleNamespace(ownership=owners),
        observed=lambda _address: {"rtt_ms": None, "last_move": None},
        round_trips=SimpleNamespace(ask=list),
    )


def paged(count: int, **request: Any) -> tuple[list[str], int]:
    found: list[str] = []
    after, pages = "", 0
    while True:
        answer = listing.bindings(request | {"after": after}, Device(), agent(count), None, None)
        assert answer["total"] == count
        found += [one["identity"] for one in answer["bindings"]]
        after, pages = answer["next"], pages + 1
        if not after:
            return found, pages


@pytest.mark.parametrize(("count", "limit", "pages"), [(10, 10, 1), (11, 10, 2), (10_000, 250, 40)])
def test_all_bindings_arrive_once(count: int, limit: int, pages: int) -> None:
    found, took = paged(count, limit=limit)
    assert found == [f"bus-{number}" for number in range(count)]
    assert took == pages


def test_pages_of_what_matches() -> None:
    found, took = paged(1000, limit=10, match="bus-99")
    assert found == ["bus-99", *(f"bus-99{digit}" for digit in range(10))]
    assert took == 2


def test_absent_routers_have_pages_of_their_own() -> None:
    made, found, after = agent(3, absent=25), [], ""
    while True:
        answer = listing.absent({"after": after, "limit": 10}, made)
        assert answer["total"] == 25
        found += [one["identity"] for one in answer["routers"]]
        after = answer["next"]
        if not after:
            break
    assert found == [f"bus-{number}" for number in range(3, 28)]
    assert listing.absent({}, agent(3)) == {"total": 0, "next": "", "routers": []}
    for bad in ({"limit": 0}, {"limit": "10"}, {"after": "bus-17"}):
        with pytest.raises(RequestError):
            listing.absent(bad, made)
    with pytest.raises(RequestError, match="no home agent"):
        listing.absent({}, None)


@pytest.mark.parametrize("after", ["bus-17", "::1/128", "300.1.1.1"])
def test_after_is_an_address(after: str) -> None:
    with pytest.raises(RequestError, match="home address"):
        listing.bindings({"after": after}, Device(), agent(3), None, None)
