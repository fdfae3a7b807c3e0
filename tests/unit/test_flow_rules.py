# SPDX-License-Identifier: GPL-2.0-only
"""Flow bindings as nft scripts: what matches, in which direction, and where it goes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from dsmip.linux.flows import FlowTable, expressions
from dsmip.mobility.effects import FlowRule
from dsmip.packet.flows import IPv4Selector, IPv6Selector

HOA, NET = IPv6Address("2001:db8:1::100"), IPv6Network("2001:db8:100::/56")
NET4 = IPv4Network("203.0.113.0/28")
TRAM, TRAM_NET = IPv6Address("2001:db8:1::200"), IPv6Network("2001:db8:200::/56")

PORTS = IPv6Selector(source_port_start=5060, source_port_end=5070)
PARTS = IPv4Selector(
    source_start=IPv4Address("192.0.2.0"),
    source_end=IPv4Address("192.0.2.255"),
    destination_start=IPv4Address("203.0.113.2"),
    ds_start=0xB8,
    ds_end=0xBB,
    destination_port_start=80,
    protocol_start=6,
)


ALL = IPv6Selector()


class Scripts:
    """A table that is not there, and what would have been done to it."""

    def __init__(self, mask: int = 0xFF000000, copy_mask: int = 0) -> None:
        self.scripts: list[list[str]] = []
        self.refuse = False
        self.table = FlowTable(mask, copy_mask, self.take)

    def take(self, script: str) -> None:
        if self.refuse:
            raise OSError(0, "nft: no")
        self.scripts.append(script.splitlines())

    def last(self, word: str) -> list[str]:
        """Return lines of what was done since this was emptied."""
        return [line for script in self.scripts for line in script if word in line]


@pytest.mark.parametrize(
    ("rule", "mobile", "expected"),
    [
        (
            FlowRule(PORTS, (5,)),
            False,
            "meta nfproto ipv6 meta l4proto { 6, 17, 33, 132, 136 } th sport 5060-5070 goto bid5",
        ),
        (
            FlowRule(PORTS, (5,)),
            True,
            "meta nfproto ipv6 meta l4proto { 6, 17, 33, 132, 136 } th dport 5060-5070 goto bid5",
        ),
        (
            FlowRule(PARTS, (2,)),
            False,
            "meta nfproto ipv4 ip saddr 192.0.2.0-192.0.2.255 ip daddr 203.0.113.2 ip dscp 46 "
            "meta l4proto 6 th dport 80 goto bid2",
        ),
        (
            FlowRule(PARTS, (2,)),
            True,
            "meta nfproto ipv4 ip daddr 192.0.2.0-192.0.2.255 ip saddr 203.0.113.2 ip dscp 46 "
            "meta l4proto 6 th sport 80 goto bid2",
        ),
        (FlowRule(IPv6Selector(), (1,)), False, "meta nfproto ipv6 goto bid1"),
        (
            FlowRule(IPv6Selector(spi_start=7, flow_label_start=9), (1,)),
            False,
            "meta nfproto ipv6 esp spi 7 ip6 flowlabel 9 goto bid1",
        ),
    ],
)
def test_selector_becomes_an_expression(rule: FlowRule, mobile: bool, expected: str) -> None:
    assert expressions(rule, mobile) == [expected]


def test_what_the_way_back_does_not_have_is_no_rule_there() -> None:
    assert expressions(FlowRule(IPv6Selector(spi_start=7), (1,)), True) == []
    assert expressions(FlowRule(IPv6Selector(flow_label_start=7), (1,)), True) == []


def test_shares_are_the_same_in_both_directions() -> None:
    rule = FlowRule(IPv6Selector(), (1, 4), (3, 1))
    down, up = expressions(rule, False), expressions(rule, True)
    assert len(down) == len(up) == 2
    assert "jhash ip6 saddr . ip6 daddr . th sport . th dport mod 4" in down[0]
    assert "jhash ip6 daddr . ip6 saddr . th dport . th sport mod 4" in up[0]
    shares = "vmap { 0-2 : goto bid1, 3 : goto bid4 }"
    assert all(text.endswith(shares) for text in down + up)
    seeds = {text.split("seed ")[1].split()[0] for text in down + up}
    assert len(seeds) == 1


def test_a_binding_is_made_changed_and_removed() -> None:
    made = Scripts()
    networks = (IPv6Network(HOA), NET, NET4)
    made.table.put(HOA, networks, [FlowRule(PORTS, (5,))], mobile=False)
    assert made.last("chain forwarded")
    assert made.last("meta mark set meta mark & 0x00ffffff | 0x05000000")
    chain = "goto b20010db8000100000000000000000100"
    assert made.last("add element") == [
        f"add element inet dsmip to4 {{ 203.0.113.0/28 : {chain} }}",
        "add element inet dsmip to6 "
        f"{{ 2001:db8:100::/56 : {chain}, 2001:db8:1::100/128 : {chain} }}",
    ]
    # Another router's rules: nothing is made twice, nothing of the first is touched.
    made.scripts.clear()
    made.table.put(TRAM, (TRAM_NET,), [FlowRule(PORTS, (5, 6), (1, 1))], mobile=False)
    assert not made.last("delete")
    assert not made.last("chain forwarded")
    assert [line for line in made.last("add chain") if "bid" in line] == [
        "add chain inet dsmip bid6"
    ]
    made.scripts.clear()
    made.table.put(HOA, networks[:2], [FlowRule(IPv6Selector(), (6,))], mobile=False)
    assert made.last("delete element") == [
        "delete element inet dsmip to4 { 203.0.113.0/28 }",
        "delete element inet dsmip to6 { 2001:db8:100::/56, 2001:db8:1::100/128 }",
    ]
    assert len(made.last("add element")) == 1
    made.scripts.clear()
    made.table.put(HOA, (), (), mobile=False)
    assert len(made.last("delete element")) == 1
    assert len(made.last("delete chain")) == 1
    # What points at a chain goes before it, and comes after it.
    assert "delete element" in made.scripts[0][0]
    made.scripts.clear()
    made.table.put(IPv6Address("2001:db8:1::300"), (), (), mobile=False)
    assert made.scripts == []


@pytest.mark.spec("X-055")
def test_router_looks_at_what_leaves_and_never_at_its_own_signalling() -> None:
    made = Scripts()
    made.table.put(HOA, (NET,), [FlowRule(PORTS, (5,))], mobile=True)
    assert [line.split()[4] for line in made.last("add element")] == ["from6"]
    skeleton = "\n".join(made.scripts[0])
    own = skeleton[skeleton.index("chain own") :].splitlines()
    assert "meta l4proto { 50, 135 } return" in own[2]
    # A home agent's signalling is its own, and there nothing is looked at but what it forwards.
    made.scripts.clear()
    made.table.put(TRAM, (TRAM_NET,), [FlowRule(PORTS, (5,))], mobile=False)
    assert [line.split()[4] for line in made.last("add element")] == ["to6"]
    assert not any("@to6" in line or "@to4" in line for line in own)


def test_networks_within_networks_are_one() -> None:
    made = Scripts()
    inside = IPv6Address("2001:db8:100::1")
    made.table.put(inside, (IPv6Network(inside), NET), [FlowRule(PORTS, (5,))], mobile=False)
    assert len(made.last("add element")) == 1


def test_refused_script_changes_no_memory() -> None:
    made = Scripts()
    made.refuse = True
    with pytest.raises(OSError, match="nft: no"):
        made.table.put(HOA, (NET,), [FlowRule(PORTS, (5,))], mobile=False)
    made.refuse = False
    made.table.put(HOA, (NET,), [FlowRule(PORTS, (5,))], mobile=False)
    assert made.last("chain forwarded")
    assert made.last("add chain inet dsmip bid5")
    assert not made.last("delete element")


@pytest.mark.parametrize(("mask", "fits"), [(0xFF000000, 255), (0xF00, 15), (0xFFFF, 65535)])
def test_bid_that_fits_the_mask_and_one_past_it(mask: int, fits: int) -> None:
    made = Scripts(mask)
    rules = [FlowRule(PORTS, (fits,)), FlowRule(IPv6Selector(), (fits + 1,))]
    made.table.put(HOA, (NET,), rules, mobile=False)
    assert len(made.last("goto bid")) == 1
    assert made.last(f"| 0x{mask:08x}")


def test_reset_forgets_everything() -> None:
    made = Scripts()
    made.table.put(HOA, (NET,), [FlowRule(PORTS, (5,))], mobile=False)
    made.table.reset()
    made.scripts.clear()
    made.table.put(HOA, (NET,), [FlowRule(PORTS, (5,))], mobile=False)
    assert made.last("add chain inet dsmip bid5")
    assert not made.last("delete element")


def test_copies_are_marked_with_both_paths() -> None:
    made = Scripts(0xFF000000, 0x00FF0000)
    made.table.put(HOA, (NET,), [FlowRule(PORTS, (5, 2)), FlowRule(ALL, (2,))], mobile=False)
    assert made.last("goto bid5and2")
    assert made.last("bid5and2 meta mark set meta mark & 0x0000ffff | 0x05020000")
    # Who gets no copy loses what others may have left there.
    assert made.last("bid2 meta mark set meta mark & 0x0000ffff | 0x02000000")
    made.scripts.clear()
    rules = [FlowRule(PORTS, (5, 256)), FlowRule(ALL, (2,))]
    made.table.put(HOA, (NET,), rules, mobile=False)
    assert len(made.last("goto bid")) == 1
