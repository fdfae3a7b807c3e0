# SPDX-License-Identifier: GPL-2.0-only
"""What strangers and broken peers send: nothing of it raises, grows or brings anybody in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv6Address, ip_address
from random import Random
from typing import Any

import pytest
from dsmip.ikev2.config import EngineConfig, Timings
from dsmip.ikev2.effects import DownCause, Endpoint, IkeUp, Send
from dsmip.ikev2.initial import complete_keys
from dsmip.ikev2.message import NO_SPI, Header, build, parse, seal_fragment
from dsmip.ikev2.message import seal as seal_message
from dsmip.ikev2.numbers import ExchangeType, NotifyType
from dsmip.ikev2.payloads import (
    KE,
    Auth,
    IdI,
    IdR,
    Nonce,
    Notify,
    Payload,
    TSi,
    TSr,
    Unknown,
)
from dsmip.ikev2.proposals import parse_proposal

from tests.unit.ikepair import (
    AGENT,
    MOBILE,
    Packet,
    Pair,
    connection,
    selector,
    tunnel,
)
from tests.unit.iketamper import SUITE, Change, resealed, sane, size_of


def whole_life(pair: Pair) -> None:
    """Handshake, a new child, both rekeys, a movement, deletes: every kind of exchange."""
    elsewhere = ip_address("2001:db8:2::7")
    steps: list[Callable[[], None]] = [
        pair.initiate,
        lambda: pair.a(pair.a.engine.rekey(pair.a.views[0].children[0].id, pair.now)),
        lambda: pair.b(pair.b.engine.rekey(pair.b.views[0].id, pair.now)),
        lambda: pair.moved(elsewhere, AGENT),
        lambda: pair.told(elsewhere, AGENT),
        lambda: pair.a(pair.a.engine.terminate(pair.a.views[0].id, pair.now)),
    ]
    for step in steps:
        # What went wrong before may have left nothing to do that with.
        with suppress(IndexError):
            step()
        pair.later(2)


def script() -> list[str]:
    pair = Pair(connection(children=(tunnel(), tunnel("other", 2))))
    whole_life(pair)
    return [str(packet) for packet in pair.history]


SCRIPT = script()


def tampered(number: int, change: Change) -> Pair:
    """Play the whole life with one message changed on the way."""
    pair = Pair(connection(children=(tunnel(), tunnel("other", 2))))
    before = pair.put

    def put(packet: Packet) -> None:
        if len(pair.history) == number:
            packet = resealed(pair, packet, change)
        before(packet)

    pair.put = put  # type: ignore[method-assign]
    whole_life(pair)
    return pair


# --- payloads ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(SCRIPT)), ids=SCRIPT)
def test_payloads_left_out_repeated_and_in_another_order(number: int) -> None:
    reference = Pair(connection(children=(tunnel(), tunnel("other", 2))))
    sizes: list[int] = []
    before = reference.put

    def put(packet: Packet) -> None:
        message = parse(packet.message)
        clear = message.encrypted is None
        sizes.append(len(message.payloads if clear else reference.peek(packet)))
        before(packet)

    reference.put = put  # type: ignore[method-assign]
    whole_life(reference)
    for at in range(sizes[number]):
        sane(tampered(number, lambda payloads, at=at: payloads[:at] + payloads[at + 1 :]))
        sane(tampered(number, lambda payloads, at=at: [*payloads, payloads[at]]))
    pair = tampered(number, lambda payloads: payloads[::-1])
    sane(pair)
    if number >= 2:
        # RFC 7296 section 2.5: any order of known payloads is accepted.
        assert [str(packet) for packet in pair.history[: len(SCRIPT)]] == SCRIPT


@pytest.mark.parametrize("number", range(2, len(SCRIPT)), ids=SCRIPT[2:])
def test_unknown_payloads(number: int) -> None:
    """I-106: skipped, or refused when critical."""
    pair = tampered(number, lambda payloads: [Unknown(200, b"x"), *payloads])
    sane(pair)
    assert [str(packet) for packet in pair.history[: len(SCRIPT)]] == SCRIPT
    critical = tampered(number, lambda payloads: [Unknown(200, b"x", True), *payloads])
    sane(critical)
    if "request" in SCRIPT[number]:
        (notify,) = critical.peek(critical.history[number + 1])
        assert notify.type == NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD
        assert notify.data == b"\xc8"


def test_critical_payloads_of_strangers() -> None:
    pair = Pair()
    request = build(Header(b"s" * 8, NO_SPI, 34, 0x08, 0), [Unknown(200, b"x", True)])
    effects = pair.b.engine.receive(request, Endpoint(AGENT, 500), Endpoint(MOBILE, 500), 1.0)
    (send,) = [effect for effect in effects if isinstance(effect, Send)]
    (notify,) = parse(send.data).payloads
    assert isinstance(notify, Notify)
    assert (notify.type, notify.data) == (NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD, b"\xc8")


@pytest.mark.parametrize("number", range(len(SCRIPT)), ids=SCRIPT)
def test_messages_cut_and_flipped(number: int) -> None:
    random = Random(number)
    pair = Pair(connection(children=(tunnel(), tunnel("other", 2))))
    before = pair.put

    def put(packet: Packet) -> None:
        if len(pair.history) == number:
            data = packet.data
            for size in {0, 1, 3, 4, 20, 28, 31, 32, 40, len(data) // 2, len(data) - 1}:
                pair.deliver(replace(packet, data=data[:size]))
            for _ in range(30):
                at = random.randrange(len(data))
                flipped = data[:at] + bytes((data[at] ^ 1 << random.randrange(8),)) + data[at + 1 :]
                pair.deliver(replace(packet, data=flipped))
            # Lengths that lie.
            start = len(data) - len(packet.message)
            for length in (0, 27, 28, len(data) + 1, 0xFFFFFFFF):
                forged = data[: start + 24] + length.to_bytes(4) + data[start + 28 :]
                pair.deliver(replace(packet, data=forged))
        before(packet)

    pair.put = put  # type: ignore[method-assign]
    whole_life(pair)
    sane(pair)
    if number >= 2:
        # Protected messages: no forgery changed anything.
        assert len(pair.a.of(IkeUp)) == 2
        assert pair.down(pair.a).cause is DownCause.TERMINATED


def test_random_octets() -> None:
    random = Random(1)
    pair = Pair().up()
    view = pair.b.ike
    for _ in range(3000):
        data = random.randbytes(random.choice((0, 1, 4, 27, 28, 29, 60, 200)))
        if random.random() < 0.7 and len(data) >= 28:
            spis = random.choice([(view.spi_i, view.spi_r), (view.spi_i, NO_SPI)])
            exchange = random.choice((34, 35, 36, 37, 38, 43, 44, 99))
            following = random.choice((0, 33, 41, 46, 53, 200))
            flags = random.choice((0x08, 0x28, 0x20, 0))
            data = (
                spis[0]
                + spis[1]
                + bytes((following, 0x20, exchange, flags))
                + random.choice((0, 1, 2, 5)).to_bytes(4)
                + len(data).to_bytes(4)
                + data[28:]
            )
        port = random.choice((500, 4500))
        if port == 4500 and random.random() < 0.8:
            data = bytes(4) + data
        for host, here in ((pair.a, MOBILE), (pair.b, AGENT)):
            there = AGENT if here is MOBILE else MOBILE
            host(host.engine.receive(data, Endpoint(here, port), Endpoint(there, port), pair.now))
    pair.queue.clear()
    sane(pair)
    pair.check()


# --- every exchange in every state ------------------------------------------------------------


def states() -> Iterator[tuple[str, Pair]]:
    """A pair with the responder in each of its states."""
    pair = Pair()
    pair.initiate()
    pair.step()
    yield "half-open", pair
    pair = Pair(connection(proposals=(parse_proposal("aes128gcm16-prfsha256-x25519-ke1_ecp256"),)))
    pair.initiate()
    for _ in range(3):
        pair.step()
    yield "intermediate", pair
    pair = Pair(connection(own=connection().own, peer=connection().peer))
    pair.accounts.connections.clear()
    pair.initiate()
    for _ in range(3):
        pair.step()
    yield "refused", pair
    yield "established", Pair().up()
    pair = Pair().up()
    pair.b(pair.b.engine.rekey(pair.b.ike.id, pair.now))
    yield "rekeying", pair
    pair = Pair().up()
    pair.a(pair.a.engine.rekey(pair.a.ike.id, pair.now))
    pair.step()
    yield "rekeyed", pair
    pair = Pair().up()
    pair.b(pair.b.engine.terminate(pair.b.ike.id, pair.now))
    yield "deleting", pair


@pytest.mark.parametrize("exchange", [*ExchangeType, 99])
@pytest.mark.parametrize("response", [False, True])
def test_every_exchange_in_every_state(exchange: int, response: bool) -> None:
    contents: list[list[Payload]] = [
        [],
        [Notify(NotifyType.REKEY_SA, protocol=3, spi=b"\1\2\3\4")],
        [
            SUITE,
            Nonce(bytes(16)),
            KE(31, bytes(32)),
        ],
        [Notify(NotifyType.AUTHENTICATION_FAILED)],
        [Notify(NotifyType.INVALID_SYNTAX)],
        [Notify(NotifyType.ADDITIONAL_KEY_EXCHANGE, b"x")],
    ]
    for payloads in contents:
        for state, pair in states():
            pair.queue.clear()
            sa_a = next(iter(pair.a.engine._core.sas.values()))
            sa_b = next(sa for sa in pair.b.engine._core.sas.values() if sa.spi_i == sa_a.spi_i)
            assert sa_b.state.value == state
            if sa_a.cipher_out is None:
                complete_keys(pair.b.engine._core, sa_b)
                cipher = sa_b.cipher_in
            else:
                cipher = sa_a.cipher_out
            assert cipher is not None
            number = 0 if response else max(1, sa_b.answers.highest + 1)
            head = Header(sa_a.spi_i, sa_b.spi_r, int(exchange), 0x28 if response else 0x08, number)
            data = bytes(4) + seal_message(head, payloads, cipher)
            ups = len(pair.b.of(IkeUp))
            pair.b(
                pair.b.engine.receive(data, Endpoint(AGENT, 4500), Endpoint(MOBILE, 4500), pair.now)
            )
            assert not pair.b.counters["ike_fault"]
            assert len(pair.b.of(IkeUp)) == ups, (state, exchange)


# --- message ids ------------------------------------------------------------------------------


def test_replays_and_ids_out_of_the_window() -> None:
    pair = Pair().up()
    for _ in range(5):
        pair.a(pair.a.engine.rekey(pair.a.child.id, pair.now))
        pair.run()
    everything = list(pair.history)
    ike, children = pair.a.ike, dict(pair.a.installed)
    for packet in everything:
        pair.deliver(replace(packet, source=Endpoint(IPv6Address("2001:db8:666::1"), 4500)))
        pair.queue.clear()
    assert pair.a.ike == replace(ike, silent_for=pair.a.ike.silent_for)
    assert pair.a.installed == children
    assert pair.b.ike.remote.address == MOBILE
    sa = next(iter(pair.a.engine._core.sas.values()))
    assert sa.cipher_out is not None
    for number in (sa.requests.next_id + 1, sa.requests.next_id + 100, 0xFFFFFFFF, 0):
        head = Header(sa.spi_i, sa.spi_r, 37, 0x08, number)
        data = bytes(4) + seal_message(head, [], sa.cipher_out)
        before = len(pair.b.of(Send))
        pair.b(pair.b.engine.receive(data, Endpoint(AGENT, 4500), Endpoint(MOBILE, 4500), pair.now))
        assert len(pair.b.of(Send)) == before
    pair.queue.clear()
    pair.check()


# --- authentication ---------------------------------------------------------------------------


def test_nobody_comes_in_with_a_wrong_auth() -> None:
    def wrong(payloads: list[Any]) -> list[Any]:
        return [Auth(p.method, bytes(len(p.data))) if isinstance(p, Auth) else p for p in payloads]

    for sender in "ab":
        pair = Pair()
        pair.initiate()
        pair.step()
        pair.step()
        if sender == "b":
            pair.step()
        pair.deliver(resealed(pair, pair.take(), wrong))
        pair.run()
        assert not pair.a.of(IkeUp)
        assert not pair.a.installed
        assert not pair.b.installed
        pair.later(400)
        pair.gone()


def test_auth_covers_ids_nonces_and_first_messages() -> None:
    """What a man in the middle changes in clear shows in AUTH."""
    changes: list[Change] = [
        lambda ps: [p for p in ps if not isinstance(p, Notify)],
        lambda ps: [*ps, Notify(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED)],
        lambda ps: [Nonce(b"z" * 32) if isinstance(p, Nonce) else p for p in ps],
    ]
    for change in changes:
        for steps in (0, 1):
            pair = Pair()
            pair.initiate()
            for _ in range(steps):
                pair.step()
            pair.deliver(resealed(pair, pair.take(), change))
            pair.run()
            assert not pair.a.of(IkeUp)
            assert not pair.a.installed
            pair.later(400)
            pair.gone()


def test_an_identity_changed_by_its_owner_is_another_one() -> None:
    other = connection().remote
    assert other is not None

    def swap(payloads: list[Any]) -> list[Any]:
        return [IdI(other) if isinstance(p, IdI) else p for p in payloads]

    pair = Pair()
    pair.initiate()
    pair.step()
    pair.step()
    pair.deliver(resealed(pair, pair.take(), swap))
    pair.run()
    assert not pair.b.of(IkeUp)


def test_wrong_idr_is_not_answered_by_somebody_else() -> None:
    stranger = connection().local

    def swap(payloads: list[Any]) -> list[Any]:
        return [IdR(stranger) if isinstance(p, IdR) else p for p in payloads]

    pair = Pair()
    pair.initiate()
    pair.step()
    pair.step()
    pair.deliver(resealed(pair, pair.take(), swap))
    pair.run()
    assert pair.down(pair.a).notify == NotifyType.AUTHENTICATION_FAILED


def test_the_answer_may_not_widen_what_was_asked() -> None:
    wide = (selector("::/0"),)

    def widen(payloads: list[Any]) -> list[Any]:
        swap = {TSi: TSi(wide), TSr: TSr(wide)}
        return [swap.get(type(p), p) for p in payloads]

    pair = Pair()
    pair.initiate()
    for _ in range(3):
        pair.step()
    pair.deliver(resealed(pair, pair.take(), widen))
    pair.run()
    sane(pair)
    assert not pair.a.installed
    assert not pair.b.installed
    pair = Pair().up()
    pair.a(pair.a.engine.rekey(pair.a.child.id, pair.now))
    pair.step()
    pair.deliver(resealed(pair, pair.take(), widen))
    pair.run()
    sane(pair)
    assert len(pair.a.installed) == 1


def test_early_exchanges_cost_nothing_and_open_nothing() -> None:
    pair = Pair()
    pair.initiate()
    pair.step()
    sa = next(iter(pair.b.engine._core.sas.values()))
    for exchange in (36, 37, 44, 99):
        head = Header(sa.spi_i, sa.spi_r, exchange, 0x08, 1)
        data = build(head, [])[:16] + b"\x2e" + build(head, [])[17:24]
        data += (28 + 40).to_bytes(4) + b"\0\0\0\x28" + bytes(36)
        pair.b(
            pair.b.engine.receive(
                bytes(4) + data, Endpoint(AGENT, 4500), Endpoint(MOBILE, 4500), 1.0
            )
        )
    assert sa.keys is None
    assert pair.b.counters["ike_early"] == 4


# --- fragments --------------------------------------------------------------------------------


def fragmented() -> tuple[Pair, list[Packet]]:
    """A handshake whose IKE_AUTH request is on the way in fragments."""
    selectors = tuple(selector(f"2001:db8:77:{n:x}::/64") for n in range(40))
    mobile = connection(children=(tunnel(local=selectors),), fragment=600)
    pair = Pair(mobile)
    pair.initiate()
    pair.step()
    pair.step()
    packets = list(pair.queue)
    pair.queue.clear()
    assert len(packets) > 3
    return pair, packets


def test_fragments_in_every_order_repeated_and_missing() -> None:
    random = Random(4)
    for _ in range(20):
        pair, packets = fragmented()
        order = packets * 2
        random.shuffle(order)
        for packet in order:
            pair.deliver(packet)
        pair.run()
        pair.check()
    for missing in range(4):
        pair, packets = fragmented()
        for packet in packets[:missing] + packets[missing + 1 :]:
            pair.deliver(packet)
        assert not pair.queue
        pair.deliver(packets[missing])
        pair.run()
        pair.check()


def test_forged_fragments() -> None:
    pair, packets = fragmented()
    at = 4 + 28 + 4
    for number, total in ((0, 4), (5, 4), (1, 0), (0, 0), (1, 65535), (200, 255), (1, 2)):
        for packet in packets:
            head = number.to_bytes(2) + total.to_bytes(2)
            forged = packet.data[:at] + head + packet.data[at + 4 :]
            pair.deliver(replace(packet, data=forged))
    assert not pair.queue
    for packet in packets:
        pair.deliver(packet)
    pair.run()
    pair.check()


def test_fragments_that_were_not_agreed_on() -> None:
    mobile = connection()
    pair = Pair(mobile, agent_config=EngineConfig(mobile.proposals, fragmentation=False)).up()
    sa = next(iter(pair.a.engine._core.sas.values()))
    assert sa.cipher_out is not None
    head = Header(sa.spi_i, sa.spi_r, 37, 0x08, sa.requests.next_id)
    data = bytes(4) + seal_fragment(head, 0, b"", 1, 1, sa.cipher_out)
    pair.b(pair.b.engine.receive(data, Endpoint(AGENT, 4500), Endpoint(MOBILE, 4500), pair.now))
    assert pair.b.counters["ike_fragment_invalid"] == 1
    assert not pair.queue


def test_an_idle_pair_stays_as_small_as_it_is() -> None:
    timings = Timings(rekey=600, liveness=30, jitter=0)
    pair = Pair(connection(timings=timings)).up()
    pair.later(2000)
    sizes = [size_of(host) for host in (pair.a, pair.b)]
    children = len(pair.a.engine._core.by_spi_out)
    pair.later(6000)
    assert [size_of(host) for host in (pair.a, pair.b)] == sizes
    assert len(pair.a.engine._core.by_spi_out) == children
    pair.check()
