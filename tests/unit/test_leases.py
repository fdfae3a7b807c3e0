# SPDX-License-Identifier: GPL-2.0-only
"""Home addresses from a pool outlive the daemons that gave and took them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from dsmip.ipsec.policy import Kind, Policy
from dsmip.service.config import Config, parse
from dsmip.service.leases import GIVEN, LeaseFile, with_given

from tests.unit.ikeworld import AT4, Side, World
from tests.unit.test_config import changed
from tests.unit.test_ike_config import IKE_AGENT
from tests.unit.test_ike_runtime import NOWHERE, POOL, auto


def protecting(side: Side) -> set[Policy]:
    """Return the policies of payload in a kernel."""
    (member,) = side.host.keys.members.values()
    row = member.row_of(Kind.PAYLOAD)
    assert row is not None
    return {
        policy
        for policy in side.xfrm.held.values()
        if policy.template is not None and policy.template.reqid == row.reqid
    }


def killed(made: World, configurations: dict[str, Config]) -> None:
    """Kill both daemons at once and start others on what the kernels hold."""
    sides = {who: getattr(made, who) for who in configurations}
    for side in sides.values():
        side.dead = True
        side.host.runtime.stop(keep=True)
    for who, config in configurations.items():
        old = sides[who]
        setattr(made, who, Side(who, made.loop, made.wire, config, old.xfrm, made.book))
    made._join()


def test_both_daemons_are_killed_at_once(tmp_path: Path) -> None:
    """Payload stays protected, and goes on: before IKE is back, and after."""
    made = auto()
    made.mr.keys.moved(NOWHERE, None, AT4)
    made.run(3)
    (home,) = made.mr.brought
    made.ha.keys.moved(home, None, AT4)
    made.run(2)
    before = {who: protecting(getattr(made, who)) for who in ("ha", "mr")}
    assert all(before.values())
    spis = made.ha.spis()
    common = replace(made.ha.config.globals, state=str(tmp_path))
    LeaseFile(str(tmp_path), GIVEN).write({"bus-17": home})
    agent = with_given(replace(made.ha.config, globals=common))
    router = made.mr.config.mobile_router
    assert router is not None
    known = replace(made.mr.config, mobile_router=router.with_home_address(home))
    killed(made, {"ha": agent, "mr": known})
    for who in ("ha", "mr"):
        assert protecting(getattr(made, who)) == before[who], "nothing is ever in clear"
    assert made.ha.spis() == made.mr.spis() == spis, "what is there carries traffic"
    for side in (made.ha, made.mr):
        side.keys.moved(home, None, AT4)
        side.keys.started()
    made.run(30)
    for who in ("ha", "mr"):
        assert protecting(getattr(made, who)) == before[who]
    assert made.ha.spis() == made.mr.spis()
    assert not made.ha.spis() & spis
    assert made.mr.brought == [], "the same address again"


def pooled(**more: object) -> Config:
    agent = changed(IKE_AGENT, "home_agent.router.0.home_address", None)
    agent = changed(agent, "home_agent.pool6", [str(POOL)])
    for path, value in more.items():
        agent = changed(agent, path.replace("__", "."), value)
    return parse(agent)


@pytest.mark.parametrize(
    "leases",
    [
        {},
        {"tram-3": POOL[7]},
        {"bus-17": IPv6Address("2001:db8:1::9999")},
        {"bus-17": POOL[0]},
        {"bus-17": IPv6Address("2001:db8:1::1")},
    ],
)
def test_leases_that_are_of_no_use(tmp_path: Path, leases: dict[str, IPv6Address]) -> None:
    """Nobody's, and what the pool does not have any more."""
    LeaseFile(str(tmp_path), GIVEN).write(leases)
    config = pooled(globals__state=str(tmp_path))
    found = with_given(config).home_agent
    assert found is not None
    assert {row.home_address for row in found.rows} == {NOWHERE}


def test_a_configured_home_address_needs_no_lease(tmp_path: Path) -> None:
    LeaseFile(str(tmp_path), GIVEN).write({"bus-17": POOL[7]})
    config = parse(changed(IKE_AGENT, "globals.state", str(tmp_path)))
    assert with_given(config) is config
