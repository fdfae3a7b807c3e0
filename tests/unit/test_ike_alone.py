# SPDX-License-Identifier: GPL-2.0-only
"""IKEv2 beside another mobility stack: its ACQUIREs and MIGRATEs are followed."""

from __future__ import annotations

import copy
from dataclasses import replace
from ipaddress import IPv6Network
from typing import Any

from dsmip.ikev2.effects import DownCause
from dsmip.ipsec.association import Selector
from dsmip.ipsec.movement import Ability
from dsmip.ipsec.policy import Direction, Mode, Template
from dsmip.linux.xfrm_events import Acquire, Migrated, Move
from dsmip.packet.kernel import Address
from dsmip.service.config import Config, parse

from tests.unit.fakexfrm import FakeXfrm
from tests.unit.ikeworld import COA6, COA6B, HA6, HOA, Loop, Side, Wire
from tests.unit.test_ike_config import ALONE

SIGNALLING = {(HOA, HA6), (HA6, HOA)}
MH = Selector(IPv6Network(HOA), IPv6Network(HA6), 135)


def mirrored(values: dict[str, Any]) -> dict[str, Any]:
    """Return the home agent's view of the same connection."""
    made = copy.deepcopy(values)
    (entry,) = made["ike"]["connection"]
    entry["local_identity"], entry["remote_identity"] = (
        entry["remote_identity"],
        entry["local_identity"],
    )
    del entry["remote"]
    for child in entry["child"]:
        child["local"], child["remote"] = child["remote"], child["local"]
        child["start"] = "none"
        if "endpoints" in child:
            child["endpoints"] = child["endpoints"][::-1]
    return made


class Pair:
    """Two hosts with other mobility stacks; ``tunnel`` says whether it starts at once."""

    def __init__(self, start: str = "trap") -> None:
        values = copy.deepcopy(ALONE)
        for child in values["ike"]["connection"][0]["child"]:
            child["start"] = start
        values["ike"]["connection"][0]["local"] = [str(COA6)]
        self.loop = Loop()
        self.wire = Wire(self.loop)
        self.mn = self._side("mn", parse(values))
        self.ha = self._side("ha", parse(mirrored(values)))
        self.wire.at.update({HA6: self.ha, COA6: self.mn, COA6B: self.mn})

    def _side(self, name: str, config: Config) -> Side:
        return Side(name, self.loop, self.wire, config, FakeXfrm(Ability.MIGRATE))


def acquire(reqid: int, ends: tuple[Address, Address], mode: Mode) -> Acquire:
    template = Template(mode, reqid, ends)
    return Acquire(MH, MH, Direction.OUT, 0, template, 1)


def migrated(reqid: int, addresses: tuple[Address, Address] | None) -> Migrated:
    move = Move((COA6, HA6), (COA6B, HA6), 1, 50, reqid)
    return Migrated(MH, Direction.OUT, (move,), addresses, None)


def test_an_acquire_starts_ike_from_the_care_of_address() -> None:
    pair = Pair()
    pair.loop.run(1)
    assert not pair.mn.views()
    pair.mn.tell(acquire(77, (HOA, HA6), Mode.TRANSPORT))
    pair.loop.run(1)
    assert pair.mn.view().local.address == COA6
    assert pair.mn.pairs() == pair.ha.pairs() == SIGNALLING
    pair.mn.tell(acquire(78, (COA6, HA6), Mode.TUNNEL))
    pair.loop.run(1)
    assert pair.mn.pairs() == SIGNALLING | {(COA6, HA6), (HA6, COA6)}
    assert pair.wire.handshakes() == 1
    pair.mn.tell(acquire(4711, (COA6, HA6), Mode.TUNNEL))
    pair.loop.run(1)
    assert len(pair.mn.spis()) == 4


def test_children_that_start_at_once() -> None:
    pair = Pair("start")
    pair.loop.run(1)
    assert len(pair.mn.spis()) == 4


def test_migrate_moves_ike_and_its_tunnels() -> None:
    pair = Pair("start")
    pair.loop.run(1)
    spis = pair.mn.spis()
    for side, addresses in ((pair.mn, (COA6B, HA6)), (pair.ha, (HA6, COA6B))):
        # The kernel has moved its associations when it tells.
        for one in side.associations():
            if COA6 in one.ends:
                ends = tuple(COA6B if end == COA6 else end for end in one.ends)
                del side.xfrm.sas[one.destination, one.spi]
                side.xfrm.add_association(one.at((ends[0], ends[1]), None))
        for reqid in (77, 78):
            side.tell(migrated(reqid, addresses))
    pair.loop.run(2)
    assert pair.mn.view().local.address == pair.ha.view().remote.address == COA6B
    assert pair.mn.pairs() == pair.ha.pairs() == SIGNALLING | {(COA6B, HA6), (HA6, COA6B)}
    assert pair.mn.spis() == spis
    assert pair.wire.handshakes() == 1


def test_migrate_without_addresses_says_nothing() -> None:
    pair = Pair("start")
    pair.loop.run(1)
    pair.mn.tell(migrated(78, None))
    pair.mn.tell(migrated(4711, (COA6B, HA6)))
    pair.loop.run(1)
    assert pair.mn.view().local.address == COA6


def test_migrate_before_the_first_packet_tells_where_from() -> None:
    """Bootstrapping, draft-ebalard-mext-pfkey-enhanced-migrate section 5.1.2."""
    pair = Pair()
    pair.mn.tell(migrated(77, (COA6B, HA6)))
    pair.mn.tell(acquire(77, (HOA, HA6), Mode.TRANSPORT))
    pair.loop.run(1)
    assert pair.mn.view().local.address == COA6B


def test_a_restart_takes_over_what_is_there() -> None:
    pair = Pair("start")
    pair.loop.run(1)
    old = pair.mn.spis()
    pair.mn.dead = True
    pair.mn.host.runtime.stop(keep=True)
    again = Side("mn", pair.loop, pair.wire, pair.mn.config, pair.mn.xfrm)
    pair.wire.at.update({COA6: again, COA6B: again})
    assert again.spis() == old
    pair.loop.run(10)
    assert not again.spis() & old
    assert again.spis() == pair.ha.spis()


def resumptions(pair: Pair) -> int:
    return len({data[:8] for _, _, data in pair.wire.sent if len(data) > 18 and data[18] == 38})


def lost(pair: Pair) -> None:
    """The mobile node's IKE SA is gone without a word; its daemon knows the ticket."""
    (sa,) = pair.mn.host.runtime.engine._core.sas.values()
    core = pair.mn.host.runtime.engine._core
    core.effects = []
    core.down(sa, DownCause.UNREACHABLE, "no answer")
    pair.mn.host.runtime.carry(core.effects)


def test_tickets_end_with_what_they_were_given_for() -> None:
    pair = Pair("start")
    pair.loop.run(1)
    lost(pair)
    pair.loop.run(3)
    assert (pair.wire.handshakes(), resumptions(pair)) == (1, 1)
    ike = pair.ha.config.ike
    again = replace(ike.connections[0], children=ike.connections[0].children[:1])
    pair.ha.host.reconfigure(replace(ike, connections=(again,)))
    lost(pair)
    pair.loop.run(3)
    assert (pair.wire.handshakes(), resumptions(pair)) == (2, 2)
    assert pair.ha.host.runtime.counters["ike_ticket_unknown"] == 1


def test_reload_adds_and_removes_connections() -> None:
    pair = Pair("start")
    pair.loop.run(1)
    ike = pair.mn.config.ike
    entry = ike.connections[0]
    other = replace(entry, name="second", remote_identity="ha2.example.net", children=())
    pair.mn.host.reconfigure(replace(ike, connections=(entry, other)))
    pair.loop.run(1)
    assert len(pair.mn.spis()) == 4
    assert [d["connection"] for d in pair.mn.host.alone.documents()] == ["umip", "second"]
    pair.mn.host.reconfigure(replace(ike, connections=()))
    pair.loop.run(1)
    assert not pair.mn.spis()
    assert not pair.ha.spis()
