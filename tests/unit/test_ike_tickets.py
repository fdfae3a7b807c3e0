# SPDX-License-Identifier: GPL-2.0-only
"""Tickets that outlive the router's daemon (RFC 5723): good once, secret, never in the way."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.numbers import ExchangeType, ProtocolId
from dsmip.ikev2.proposals import parse_proposal, select
from dsmip.ikev2.ticket import KEPT_MOST, Ticket, restored, stored
from dsmip.service.config import parse
from dsmip.service.ike_kernel import LINGER
from dsmip.service.ike_tickets import MOST, NAME, TicketFile

from tests.unit.ikeworld import AT6, HOA, World
from tests.unit.test_config import changed
from tests.unit.test_ike_config import IKE_AGENT, IKE_ROUTER

AGENT = "ha.example.net"
_OFFER = parse_proposal("aes128gcm16-prfsha256-x25519", ProtocolId.IKE)
TICKET = Ticket(
    until=1600.0,
    ike=7,
    ppk=False,
    credential_until=0.0,
    idi=Identity.parse("bus-17"),
    idr=Identity.parse(AGENT),
    peer=Identity.parse(AGENT),
    suite=select((_OFFER,), (_OFFER,), 31),
    sk_d=b"k" * 32,
    opaque=b"what only its giver can read",
)


# --- the form on disk --------------------------------------------------------------------


def test_a_ticket_survives_with_another_clock() -> None:
    """Monotonic clocks start anew with the machine, the calendar does not."""
    data = stored(TICKET, 1000.0, 1_700_000_000.0)
    again = restored(data, 5.0, 1_700_000_100.0)
    assert again.until == pytest.approx(505.0)
    assert again.credential_until == 0
    assert replace(again, until=0, suite=TICKET.suite) == replace(TICKET, until=0)
    assert again.suite.encr == TICKET.suite.encr
    expiring = replace(TICKET, credential_until=1300.0)
    data = stored(expiring, 1000.0, 1_700_000_000.0)
    assert restored(data, 5.0, 1_700_000_100.0).credential_until == pytest.approx(205.0)


@pytest.mark.parametrize(
    "wall", [1_700_000_600.0, 1_800_000_000.0, 1_700_000_000.0 - KEPT_MOST], ids=str
)
def test_one_that_is_too_old_or_from_the_future_is_none(wall: float) -> None:
    data = stored(TICKET, 1000.0, 1_700_000_000.0)
    with pytest.raises(ValueError, match="too old"):
        restored(data, 1000.0, wall)


def test_damaged_ones_are_none() -> None:
    data = stored(TICKET, 1000.0, 1_700_000_000.0)
    whole = len(data) - len(TICKET.opaque)
    for cut in range(whole + 1):
        with pytest.raises(ValueError, match="no sense"):
            restored(data[:cut], 1000.0, 1_700_000_000.0)
    for at in range(whole):
        for bit in (1, 0x80, 0xFF):
            damaged = data[:at] + bytes((data[at] ^ bit,)) + data[at + 1 :]
            try:
                restored(damaged, 1000.0, 1_700_000_000.0)
            except ValueError:
                continue
    with pytest.raises(ValueError, match="no sense"):
        restored(b"\2" + data[1:], 1000.0, 1_700_000_000.0)


# --- a router that starts again -----------------------------------------------------------


def world(folder: Path, **ike: Any) -> World:
    agent, router = (parse(one | {"ike": dict(ike)}) for one in (IKE_AGENT, IKE_ROUTER))
    made = World(agent, router, state=str(folder))
    _register(made)
    return made


def _register(made: World) -> None:
    made.mr.keys.moved(HOA, None, AT6)
    made.run(2)
    made.ha.keys.moved(HOA, None, AT6)
    made.run(LINGER + 3)


def again(made: World) -> None:
    made.restart("mr")
    _register(made)
    assert made.mr.spis() == made.ha.spis()
    assert len(made.mr.spis()) == 2


def resumptions(made: World) -> int:
    kind = ExchangeType.IKE_SESSION_RESUME
    return len({d[:8] for _, _, d in made.wire.sent if len(d) > 18 and d[18] == kind})


def tickets(folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / NAME).read_text())
    return found


def test_a_router_that_starts_again_resumes(tmp_path: Path) -> None:
    made = world(tmp_path)
    first = tickets(tmp_path)
    assert list(first) == [AGENT]
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
    spi = made.mr.view().spi_i
    again(made)
    assert (made.wire.handshakes(), resumptions(made)) == (1, 1)
    assert made.mr.view().spi_i != spi
    assert tickets(tmp_path) != first, "the next restart has a ticket of its own"
    again(made)
    assert (made.wire.handshakes(), resumptions(made)) == (1, 2)


def test_a_ticket_is_good_once(tmp_path: Path) -> None:
    made = world(tmp_path)
    first = (tmp_path / NAME).read_bytes()
    again(made)
    (tmp_path / NAME).write_bytes(first)
    again(made)
    assert (made.wire.handshakes(), resumptions(made)) == (2, 2)
    assert made.ha.host.runtime.counters["ike_ticket_used"] == 1


def test_an_agent_that_started_again_wants_the_whole_handshake(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.restart("ha")
    made.ha.keys.moved(HOA, None, AT6)
    again(made)
    assert made.wire.handshakes() == 2


def test_what_was_ended_on_purpose_is_not_resumed(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.mr.host.runtime.terminate(made.mr.view().id)
    made.run(0.5)
    assert tickets(tmp_path) == {}


def test_stopping_for_good_leaves_no_secret(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.mr.host.stop(keep=False)
    assert tickets(tmp_path) == {}
    kept = world(tmp_path / "other")
    kept.mr.host.stop(keep=True)
    assert list(tickets(tmp_path / "other")) == [AGENT]


def test_old_tickets_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = world(tmp_path)
    made.run(3601)
    later = time.time() + 3601
    monkeypatch.setattr("dsmip.service.ike.time.time", lambda: later)
    again(made)
    assert made.wire.handshakes() >= 2
    assert resumptions(made) == 0


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"ha.example.net": 5}', '{"ha.example.net": "zz"}', '{"a": "00"}']
)
def test_a_damaged_file_costs_a_handshake(tmp_path: Path, text: str) -> None:
    made = world(tmp_path)
    (tmp_path / NAME).write_text(text)
    again(made)
    assert (made.wire.handshakes(), resumptions(made)) == (2, 0)
    assert list(tickets(tmp_path)) == [AGENT]


def test_without_tickets_there_is_no_file(tmp_path: Path) -> None:
    made = world(tmp_path, ticket_lifetime=0)
    assert not list(tmp_path.iterdir())
    again(made)
    assert made.wire.handshakes() == 2


def test_a_folder_that_cannot_be_written_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    made = world(tmp_path / "file" / "below")
    assert "cannot be resumed" in caplog.text
    again(made)


def test_another_home_agent_is_not_resumed(tmp_path: Path) -> None:
    """Who is expected now counts, not who gave the ticket."""
    made = world(tmp_path)
    held = tickets(tmp_path)
    (tmp_path / NAME).write_text(json.dumps({"other.example.net": held[AGENT]}))
    made.mr.config = parse(
        changed(IKE_ROUTER, "mobile_router.home_agent_identity", "other.example.net")
    )
    made.restart("mr")
    made.mr.keys.moved(HOA, None, AT6)
    made.run(2)
    assert resumptions(made) == 0


@pytest.mark.parametrize("what", ["another secret", "removed"])
def test_who_was_shut_out_does_not_come_in_by_a_ticket(tmp_path: Path, what: str) -> None:
    made = world(tmp_path)
    if what == "removed":
        made.ha.keys.update([], ())
    else:
        made.ha.config = parse(changed(IKE_AGENT, "home_agent.router.0.psk", "another secret"))
        made.ha.keys.update(made.ha.rows(), ())
    made.restart("mr")
    made.mr.keys.moved(HOA, None, AT6)
    made.run(5)
    assert resumptions(made) <= 1
    assert made.mr.ready == []


def test_the_file_is_bounded(tmp_path: Path) -> None:
    kept = TicketFile(str(tmp_path))
    for number in range(2 * MOST):
        kept.put(f"home-{number}", b"x")
    assert list(TicketFile(str(tmp_path)).read()) == [f"home-{n}" for n in range(MOST, 2 * MOST)]
    before = (tmp_path / NAME).stat().st_ino
    kept.put("home-100", b"x")
    assert (tmp_path / NAME).stat().st_ino == before, "what is the same is not written"
