# SPDX-License-Identifier: GPL-2.0-only
"""Keys with a home agent that was found: what bootstrapping hears of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network
from typing import Any

import pytest
from dsmip.ipsec.policy import Role
from dsmip.mobility.ownership import NotOwned, Owner, Ownership
from dsmip.service.config import parse

from tests.unit.ikeworld import AT6, HA6, HOME, Side, World
from tests.unit.test_config import changed
from tests.unit.test_ike_config import IKE_ROUTER
from tests.unit.test_ike_runtime import NOWHERE, POOL, auto, world


class Witness:
    """Writes down what it hears."""

    def __init__(self, side: Side) -> None:
        self.heard: list[Any] = []
        side.host.keys.witness = self

    def keys_up(self) -> None:
        self.heard.append("up")

    def keys_failed(self, reason: str, refused: bool) -> None:
        self.heard.append((reason, refused))

    def home_prefix(self, prefix: IPv6Network) -> None:
        self.heard.append(prefix)


def test_it_hears_of_keys_and_of_the_home_prefix() -> None:
    made = auto()
    witness = Witness(made.mr)
    made.mr.keys.moved(NOWHERE, None, AT6)
    made.run(3)
    assert witness.heard == ["up", HOME]
    assert len(made.mr.brought) == 1


def test_it_hears_why_there_are_none() -> None:
    router = changed(IKE_ROUTER, "mobile_router.psk", "another secret")
    from tests.unit.test_ike_config import IKE_AGENT

    made = World(parse(IKE_AGENT), parse(router))
    witness = Witness(made.mr)
    made.mr.keys.moved(IPv6Address("2001:db8:1::100"), None, AT6)
    made.run(3)
    reason, refused = witness.heard[0]
    assert refused
    assert reason
    silent = world(retransmissions=2)
    witness = Witness(silent.mr)
    silent.wire.broken = True
    silent.mr.keys.moved(IPv6Address("2001:db8:1::100"), None, AT6)
    silent.run(20)
    reason, refused = witness.heard[0]
    assert not refused, "who is silent may come back"


@pytest.mark.parametrize(
    ("given", "prefix", "reason"),
    [
        (POOL[7], IPv6Network("2001:db8:99::/64"), "outside the home prefix 2001:db8:99::/64"),
        (POOL[7], IPv6Network("2001:db8:1::5000/116"), "outside the home prefix"),
        (IPv6Address("fe80::1"), IPv6Network("fe80::/64"), "is no home address"),
        (IPv6Address("ff02::1"), IPv6Network("ff02::/64"), "is no home address"),
        (IPv6Address("::ffff:192.0.2.1"), IPv6Network("::/64"), "is no home address"),
        (HA6, HOME, "is no home address"),
    ],
)
def test_a_home_agent_that_gives_what_cannot_be(
    given: IPv6Address, prefix: IPv6Network, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = auto()
    witness = Witness(made.mr)
    give: Callable[..., Owner] = lambda identity, wanted: Owner(identity, given)  # noqa: E731
    made.ha.give = give  # type: ignore[method-assign]
    made.ha.home_prefix = lambda address: prefix  # type: ignore[method-assign]
    made.mr.keys.moved(NOWHERE, None, AT6)
    made.run(3)
    assert made.mr.brought == [], "it is not used"
    failures = [heard for heard in witness.heard if isinstance(heard, tuple)]
    assert failures
    assert reason in failures[0][0]
    assert failures[0][1] is False
    assert "gives no usable home address" in caplog.text
    assert not [v for v in made.mr.views() if v.state == "established"]


def test_another_home_agent_means_other_keys() -> None:
    """Nothing of the old one stays, and it is told."""
    book = Ownership([Owner("bus-17", NOWHERE, dynamic_home_address=True)], (), (POOL,))
    made = auto(book)
    made.mr.keys.moved(NOWHERE, None, AT6)
    made.run(3)
    assert made.ha.views()
    other = IPv6Address("2001:db8:2::1")
    section = made.mr.config.mobile_router
    assert section is not None
    found = section.with_home_agent("ha2.example.test", other, None)
    (home,) = made.mr.brought
    rows = [(Role.MOBILE_ROUTER, replace(row, home_address=home)) for row in found.rows]
    made.mr.keys.update(rows)
    made.run(3)
    assert not made.ha.views(), "the old one was told"
    assert not made.mr.pairs() & {(home, HA6), (HA6, home)}
    made.mr.keys.moved(home, None, AT6)
    made.run(1)
    assert made.wire.sent[-1][1].address == other


def test_a_home_agent_that_answers_too_late_is_nobody() -> None:
    made = auto()
    made.wire.broken = True
    made.mr.keys.moved(NOWHERE, None, AT6)
    made.run(1)
    assert made.mr.views()
    section = made.mr.config.mobile_router
    assert section is not None
    found = section.with_home_agent("ha2.example.test", IPv6Address("2001:db8:2::1"), None)
    made.mr.keys.update([(Role.MOBILE_ROUTER, row) for row in found.rows])
    made.wire.broken = False
    made.run(60)
    assert not made.mr.views()
    assert not made.mr.xfrm.sas
    assert made.mr.brought == []


@pytest.mark.spec("B-008")
def test_a_home_address_that_another_node_uses_is_replaced() -> None:
    """Both ends forget it; the identity gets another one, with keys for it."""
    book = Ownership([Owner("bus-17", NOWHERE, dynamic_home_address=True)], (), (POOL,))
    made = auto(book)
    made.mr.keys.moved(NOWHERE, None, AT6)
    made.run(3)
    (taken,) = made.mr.brought
    made.mr.keys.moved(taken, None, AT6)
    assert book.spoil(taken)
    made.mr.host.keys.another_address(taken)
    made.run(5)
    assert len(made.mr.brought) == 2
    other = made.mr.brought[1]
    assert other in POOL
    assert other != taken
    ends = {(other, HA6), (HA6, other)}
    assert made.mr.pairs() == made.ha.pairs() == ends
    assert not made.ha.keys.protects(taken, HA6)
    made.mr.host.keys.another_address(taken)
    made.run(2)
    assert len(made.mr.brought) == 2, "it is nobody's any more"


@pytest.mark.spec("B-009")
def test_what_is_spoilt_is_not_given_again() -> None:
    one, two = (Owner(name, NOWHERE, dynamic_home_address=True) for name in ("a", "b"))
    small = IPv6Network("2001:db8:1::4000/126")
    fixed = Owner("c", small[3])
    book = Ownership([one, two, fixed], (), (small,))
    first = book.home_address("a", small[1]).home_address
    assert first == small[1]
    assert book.home_address("b", small[3]).home_address == small[2], "not another's own"
    assert book.find(small[3]) is not None
    assert not book.spoil(small[3]), "what is configured stays"
    assert not book.spoil(POOL[9])
    assert book.spoil(first)
    assert book.find(first) is None
    assert not book.adopt("a", first)
    with pytest.raises(NotOwned, match="pool of addresses is empty"):
        book.home_address("a", None)
    assert book.leases().get("a") is None
