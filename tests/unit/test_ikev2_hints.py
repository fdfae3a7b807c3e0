# SPDX-License-Identifier: GPL-2.0-only
"""Messages in clear that say that the other end knows nothing of us (RFC 7296 section 2.4)."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from dsmip.ikev2.config import EngineConfig, Timings
from dsmip.ikev2.effects import DownCause, Endpoint, IkeDown, IkeUp, Send
from dsmip.ikev2.hints import HINT_INTERVAL
from dsmip.ikev2.message import NO_SPI, Header, build
from dsmip.ikev2.numbers import ExchangeType, NotifyType
from dsmip.ikev2.payloads import Notify

from tests.unit.ikepair import AGENT, MOBILE, Host, Pair, connection

#: Three sends of a request, and a handshake.
SOON = 3.0


def up() -> Pair:
    """Both ends, which ask after half a minute of silence."""
    return Pair(connection(timings=Timings(rekey=0, liveness=30, jitter=0))).up()


def restarted(pair: Pair) -> None:
    """The home agent starts anew and knows no IKE SA."""
    pair.b = pair.add("b", (AGENT,), EngineConfig(pair.agent.proposals), pair.accounts)


def handshakes(pair: Pair) -> int:
    return len({p.message[:8] for p in pair.history if p.exchange == ExchangeType.IKE_SA_INIT})


def questions(pair: Pair, sender: str) -> int:
    """How many INFORMATIONAL requests a host has sent, repetitions apart."""
    found = {
        (p.message[:16], p.message_id)
        for p in pair.history
        if p.exchange == ExchangeType.INFORMATIONAL and not p.response and p.sender == sender
    }
    return len(found)


def forged(pair: Pair, host: Host, kind: NotifyType = NotifyType.INVALID_IKE_SPI) -> list[Send]:
    """Give a host an answer in clear of its newest IKE SA."""
    view = host.views[-1]
    flags = 0x20 if view.initiator else 0x28
    data = build(Header(view.spi_i, view.spi_r, 37, flags, 0), [Notify(kind)])
    effects = host.engine.receive(bytes(4) + data, view.local, view.remote, pair.now)
    host(effects)
    return [effect for effect in effects if isinstance(effect, Send)]


# --- INVALID_IKE_SPI -----------------------------------------------------------------------


def test_an_agent_that_started_anew_is_found_out_soon() -> None:
    pair = up()
    old = pair.a.child
    restarted(pair)
    pair.later(30.5)  # silence, then our question
    pair.later(SOON)
    pair.check()
    assert handshakes(pair) == 2
    assert pair.a.child.id != old.id
    assert pair.down(pair.a).cause is DownCause.REPLACED
    assert pair.a.counters["ike_doubted"] == 1


def test_the_old_ike_sa_goes_only_after_the_new_one_is_up() -> None:
    pair = up()
    restarted(pair)
    pair.later(31 + SOON)
    order = [type(e) for e in pair.a.effects if isinstance(e, IkeUp | IkeDown)]
    assert order == [IkeUp, IkeUp, IkeDown]


def test_a_movement_finds_it_out_too() -> None:
    pair = up()
    restarted(pair)
    pair.moved(ip_address("2001:db8:5::7"), AGENT)
    pair.later(SOON)
    pair.check()
    assert pair.a.ike.local.address == ip_address("2001:db8:5::7")
    assert handshakes(pair) == 2


def test_forged_it_costs_one_question() -> None:
    pair = up()
    for _ in range(50):
        forged(pair, pair.a)
        pair.later(0.1)
    assert questions(pair, "a") == 1
    pair.later(HINT_INTERVAL)
    forged(pair, pair.a)
    pair.later(5)
    assert questions(pair, "a") == 2
    assert handshakes(pair) == 1
    assert not pair.a.of(IkeDown)
    pair.check()


def test_forged_while_packets_are_lost_it_ends_nothing() -> None:
    """A new IKE SA is tried, which nobody answers either; then the old one goes on."""
    pair = up()
    child = pair.a.child
    pair.lose = lambda packet: True
    forged(pair, pair.a)
    pair.later(SOON)
    assert handshakes(pair) == 2
    assert pair.a.child == child
    pair.lose = lambda packet: packet.exchange == ExchangeType.IKE_SA_INIT
    pair.later(20)
    assert pair.a.child == child
    assert not [e for e in pair.a.of(IkeDown) if e.was_up]
    pair.lose = lambda packet: False
    pair.later(60)
    pair.check()


def test_without_a_hint_nothing_is_tried_anew() -> None:
    pair = up()
    pair.lose = lambda packet: True
    pair.later(30 + 2 * SOON)
    assert handshakes(pair) == 1


def test_the_end_that_answers_asks_and_waits() -> None:
    pair = up()
    pair.lose = lambda packet: True
    forged(pair, pair.b)
    pair.later(2 * SOON)
    assert questions(pair, "b") == 1
    assert not [p for p in pair.history if p.sender == "b" and p.exchange == 34 and not p.response]


@pytest.mark.parametrize("kind", [NotifyType.INVALID_SYNTAX, NotifyType.AUTHENTICATION_FAILED])
def test_other_words_in_clear_are_no_hint(kind: NotifyType) -> None:
    pair = up()
    assert not forged(pair, pair.a, kind)
    pair.check()


# --- INVALID_SPI ---------------------------------------------------------------------------


def invalid_spi(pair: Pair, spi: bytes, source: IPv6Address | IPv4Address = AGENT) -> list[Send]:
    data = build(Header(NO_SPI, NO_SPI, 37, 0x08, 0), [Notify(NotifyType.INVALID_SPI, spi)])
    effects = pair.a.engine.receive(data, Endpoint(MOBILE, 500), Endpoint(source, 500), pair.now)
    pair.a(effects)
    return [effect for effect in effects if isinstance(effect, Send)]


def test_esp_that_nobody_knows_leads_to_a_question() -> None:
    pair = up()
    spi = pair.a.child.spi_out.to_bytes(4)
    (asked,) = invalid_spi(pair, spi)
    assert asked.remote.address == AGENT
    for _ in range(20):
        assert not invalid_spi(pair, spi), "not too often"
    pair.run()
    pair.check()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda pair, spi: invalid_spi(pair, spi, ip_address("2001:db8:bad::1")),
        lambda pair, spi: invalid_spi(pair, b"\1\2\3\4"),
        lambda pair, spi: invalid_spi(pair, b""),
        lambda pair, spi: invalid_spi(pair, spi + bytes(4)),
        lambda pair, spi: invalid_spi(pair, pair.a.child.spi_in.to_bytes(4)),
    ],
    ids=["elsewhere", "unknown", "empty", "too long", "the other way"],
)
def test_strangers_cause_nothing(wrong: Callable[[Pair, bytes], list[Send]]) -> None:
    pair = up()
    assert wrong(pair, pair.a.child.spi_out.to_bytes(4)) == []
    pair.check()


def test_an_agent_that_lost_all_is_found_out_by_esp() -> None:
    pair = up()
    restarted(pair)
    invalid_spi(pair, pair.a.child.spi_out.to_bytes(4))
    pair.later(SOON)
    pair.check()
    assert handshakes(pair) == 2
