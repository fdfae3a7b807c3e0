# SPDX-License-Identifier: GPL-2.0-only
"""Rows of RFC 3776 for both ends, and the form in which the kernel gets them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from dsmip.ipsec.policy import (
    MOBILITY_HEADER,
    PRIORITY,
    Association,
    Direction,
    Mode,
    Policy,
    Role,
    Row,
    associations,
    block_policy,
    is_ours,
    policies,
    signalling_row,
)
from dsmip.ipsec.static import LEAST_SPI, derive
from dsmip.linux.xfrm import (
    decode_association,
    decode_policy,
    encode_association,
    encode_policy,
)

HOA, HA = IPv6Address("2001:db8:1::100"), IPv6Address("2001:db8:1::1")
COA = IPv6Address("2001:db8:a::2")
ROW = signalling_row(HOA, HA)
KEYS = derive(b"s" * 32, HOA, HA)
TUNNEL = replace(ROW, mode=Mode.TUNNEL, remote=IPv6Network("::/0"), rank=3, protocol=0)


def test_both_ends_protect_the_same_packets() -> None:
    """What one end sends under protection the other accepts only so (RFC 3776 5.2.1)."""
    for one, other in (
        (Role.MOBILE_ROUTER, Role.HOME_AGENT),
        (Role.HOME_AGENT, Role.MOBILE_ROUTER),
    ):
        (out,) = (p for p in policies(ROW, one) if p.direction is Direction.OUT)
        (back,) = (p for p in policies(ROW, other) if p.direction is Direction.IN)
        assert out.selector == back.selector
        assert out.selector.protocol == MOBILITY_HEADER


def test_transport_rows_know_no_care_of_address() -> None:
    assert all(policy.outer is None for policy in policies(ROW, Role.MOBILE_ROUTER))
    to_agent, to_router = associations(ROW, KEYS)
    assert (to_agent.source, to_agent.destination) == (HOA, HA)
    assert (to_router.source, to_router.destination) == (HA, HOA)


def test_tunnel_rows_end_at_the_care_of_address() -> None:
    with pytest.raises(ValueError, match="care-of"):
        policies(TUNNEL, Role.HOME_AGENT)
    with pytest.raises(ValueError, match="care-of"):
        associations(TUNNEL, KEYS)
    found = {p.direction: p.outer for p in policies(TUNNEL, Role.MOBILE_ROUTER, COA)}
    assert found[Direction.OUT] == (COA, HA)
    assert found[Direction.IN] == found[Direction.FORWARD] == (HA, COA)
    assert [sa.destination for sa in associations(TUNNEL, KEYS, COA)] == [HA, COA]


def test_block_comes_after_protection() -> None:
    block = block_policy(HOA)
    assert not block.protect
    assert block.direction is Direction.IN
    assert all(
        policy.priority < block.priority for policy in policies(TUNNEL, Role.HOME_AGENT, COA)
    )
    assert is_ours(block)
    assert not is_ours(replace(block, priority=PRIORITY - 1))


def test_keys_differ_by_direction_pair_and_secret() -> None:
    """One secret for two routers, or one router at two agents, never means one key."""
    found = []
    for secret in (b"a" * 16, b"b" * 16):
        for home in (HOA, HOA + 1):
            for agent in (HA, HA + 1):
                keys = derive(secret, home, agent)
                for way in (keys.to_agent, keys.to_router):
                    assert way.spi >= LEAST_SPI
                    found += [way.encryption_key, way.authentication_key]
    assert len(set(found)) == len(found) == 32


def test_keys_stay_out_of_texts() -> None:
    shown = repr(KEYS) + repr(associations(ROW, KEYS))
    assert KEYS.to_agent.encryption_key.hex() not in shown
    assert repr(KEYS.to_agent.encryption_key) not in shown


ROWS: list[Row] = [
    ROW,
    TUNNEL,
    Row(IPv4Address("198.51.100.100"), HA, IPv6Network(HOA), IPv6Network("2001:db8::/32"), 58),
]


@pytest.mark.parametrize("row", ROWS[:2])
@pytest.mark.parametrize("role", list(Role))
def test_the_kernel_gives_back_what_it_got(row: Row, role: Role) -> None:
    for policy in (*policies(row, role, COA), block_policy(HOA)):
        assert decode_policy(memoryview(encode_policy(policy))) == policy
    for association in associations(row, KEYS, COA):
        assert decode_association(memoryview(encode_association(association))) == association


def test_foreign_rows_are_not_touched() -> None:
    (association, _) = associations(ROW, KEYS)
    other: Association = replace(association, reqid=1)
    assert decode_association(memoryview(encode_association(other))) is None
    policy: Policy = policies(ROW, Role.HOME_AGENT)[0]
    for size in (0, 10):
        body = encode_policy(policy)
        cut = memoryview(body[: len(body) - 64 + size])
        assert decode_policy(cut) is None
