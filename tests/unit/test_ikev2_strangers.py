# SPDX-License-Identifier: GPL-2.0-only
"""What strangers send: nothing of it raises, grows, amplifies or costs much."""

from __future__ import annotations

import gc
from ipaddress import IPv6Address
from random import Random
from typing import Any

import pytest
from dsmip.ikev2.config import EngineConfig
from dsmip.ikev2.effects import Count, Endpoint, IkeDown, IkeUp, Send
from dsmip.ikev2.exchange import modp_prime
from dsmip.ikev2.message import NO_SPI, Header, build, parse
from dsmip.ikev2.numbers import ExchangeType, KeyExchange, NotifyType
from dsmip.ikev2.payloads import (
    KE,
    SA,
    Auth,
    Nonce,
    Notify,
    Payload,
)
from dsmip.ikev2.proposals import parse_proposal

from tests.unit.ikepair import (
    AGENT,
    MOBILE,
    Pair,
    connection,
)
from tests.unit.iketamper import SUITE, resealed, sane, size_of

# --- before authentication --------------------------------------------------------------------


def first(
    spi: bytes, nonce: bytes = bytes(32), *more: Payload, public: bytes = b"\x09" * 32
) -> bytes:
    payloads: list[Payload] = [
        *more,
        SUITE,
        KE(31, b"\x09" * 32),
        Nonce(nonce),
    ]
    return build(Header(spi, NO_SPI, 34, 0x08, 0), payloads)


def test_a_flood_from_forged_sources_meets_cookies_and_bounds() -> None:
    """I-107: bounded memory, no amplification, and honest initiators still come in."""
    mobile = connection()
    config = EngineConfig(mobile.proposals, cookie_threshold=20, half_open_max=40)
    pair = Pair(mobile, agent_config=config)
    random = Random(2)
    here = Endpoint(AGENT, 500)
    sizes = []
    for number in range(3000):
        source = Endpoint(IPv6Address(random.getrandbits(128)), 500)
        request = first(random.randbytes(8), random.randbytes(32))
        effects = pair.b.engine.receive(request, here, source, pair.now)
        sent = [effect for effect in effects if isinstance(effect, Send)]
        assert sum(len(effect.data) for effect in sent) <= 3 * len(request)
        if number >= 20:
            assert all(len(effect.data) < len(request) for effect in sent)
        if number % 500 == 499:
            sizes.append(size_of(pair.b))
    assert len(set(sizes)) == 1
    assert pair.b.engine.half_open() == 20
    pair.up().check()
    pair.later(31)
    assert pair.b.engine.half_open() == 0
    gc.collect()


def test_one_source_with_cookies_is_bounded_too() -> None:
    mobile = connection()
    config = EngineConfig(
        mobile.proposals, cookie_threshold_source=2, half_open_source_max=6, half_open_max=50
    )
    pair = Pair(mobile, agent_config=config)
    here = Endpoint(AGENT, 500)
    random = Random(3)
    dropped = 0
    for number in range(200):
        # Other addresses of one /64 are one source.
        source = Endpoint(IPv6Address(int(IPv6Address("2001:db8:bad::")) + number), 500)
        spi, nonce = random.randbytes(8), random.randbytes(32)
        (answer,) = [
            e.data
            for e in pair.b.engine.receive(first(spi, nonce), here, source, pair.now)
            if isinstance(e, Send)
        ]
        cookie = parse(answer).payloads[0]
        if isinstance(cookie, Notify) and cookie.type == NotifyType.COOKIE:
            effects = pair.b.engine.receive(first(spi, nonce, cookie), here, source, pair.now)
            dropped += Count("ike_too_many") in effects
    assert pair.b.engine.half_open() == 6
    assert dropped == 194
    pair.up().check()


def test_cookies_of_others_and_old_ones() -> None:
    mobile = connection()
    pair = Pair(mobile, agent_config=EngineConfig(mobile.proposals, cookie_threshold=0))
    here, there = Endpoint(AGENT, 500), Endpoint(MOBILE, 500)
    spi, nonce = b"s" * 8, b"n" * 32

    def ask(source: Endpoint, *more: Payload) -> Payload:
        effects = pair.b.engine.receive(first(spi, nonce, *more), here, source, pair.now)
        (send,) = [effect for effect in effects if isinstance(effect, Send)]
        return parse(send.data).payloads[0]

    cookie = ask(there)
    assert isinstance(cookie, Notify)
    assert isinstance(ask(Endpoint(IPv6Address("2001:db8::1"), 500), cookie), Notify)
    assert isinstance(ask(there, Notify(NotifyType.COOKIE, b"")), Notify)
    assert isinstance(ask(there, Notify(NotifyType.COOKIE, cookie.data[:-1] + b"x")), Notify)
    pair.now += 200
    assert isinstance(ask(there, cookie), Notify)
    fresh = ask(there)
    assert isinstance(ask(there, fresh), SA)


def test_answers_to_strangers_are_rate_limited() -> None:
    """I-104, RFC 7296 2.21.4."""
    pair = Pair()
    here, there = Endpoint(AGENT, 500), Endpoint(MOBILE, 500)
    answered = 0
    for number in range(500):
        stray = build(Header(number.to_bytes(8) or b"x" * 8, b"r" * 8, 37, 0x08, 1), [])
        bad = build(Header(b"a" * 8, NO_SPI, 34, 0x08, 0), [])
        future = bytearray(first(b"b" * 8))
        future[17] = 0x30
        for data in (stray, bad, bytes(future)):
            effects = pair.b.engine.receive(data, here, there, pair.now)
            answered += sum(isinstance(effect, Send) for effect in effects)
    assert answered == 20
    assert size_of(pair.b) == 0


def test_a_later_version() -> None:
    pair = Pair()
    data = bytearray(first(b"b" * 8))
    data[17] = 0x30
    effects = pair.b.engine.receive(bytes(data), Endpoint(AGENT, 500), Endpoint(MOBILE, 500), 1.0)
    (send,) = [effect for effect in effects if isinstance(effect, Send)]
    (notify,) = parse(send.data).payloads
    assert isinstance(notify, Notify)
    assert notify.type == NotifyType.INVALID_MAJOR_VERSION
    data[17] = 0x21
    assert pair.b.engine.receive(bytes(data), Endpoint(AGENT, 500), Endpoint(MOBILE, 500), 1.0)
    assert pair.b.engine.half_open() == 1


def test_what_cannot_begin_an_ike_sa() -> None:
    pair = Pair()
    good = parse(first(b"b" * 8)).payloads
    for head in (
        Header(b"b" * 8, b"r" * 8, 34, 0x08, 0),
        Header(b"b" * 8, NO_SPI, 34, 0x08, 1),
        Header(b"b" * 8, NO_SPI, 34, 0x00, 0),
        Header(b"b" * 8, NO_SPI, 34, 0x20, 0),
        Header(NO_SPI, NO_SPI, 34, 0x08, 0),
    ):
        effects = pair.b.engine.receive(
            build(head, good), Endpoint(AGENT, 500), Endpoint(MOBILE, 500), pair.now
        )
        assert all(isinstance(effect, Count) for effect in effects)
    assert size_of(pair.b) == 0


def test_ports_without_marker() -> None:
    pair = Pair()
    here, there = Endpoint(AGENT, 4500), Endpoint(MOBILE, 4500)
    assert pair.b.engine.receive(b"\xff", here, there, 1.0) == []
    assert pair.b.engine.receive(b"\0\0\0\1" + bytes(60), here, there, 1.0) == [
        Count("ike_no_marker")
    ]
    answered = pair.b.engine.receive(bytes(4) + first(b"b" * 8), here, there, 1.0)
    (send,) = [effect for effect in answered if isinstance(effect, Send)]
    assert send.data[:4] == bytes(4)


def test_unprotected_messages_kill_nothing() -> None:
    """I-104: a hint at most, and not too often."""
    pair = Pair().up()
    view = pair.a.ike
    for kind in (4, 7, 14, 24, 1, 11):
        for flags in (0x20, 0x00, 0x28, 0x08):
            forged = build(Header(view.spi_i, view.spi_r, 37, flags, 0), [Notify(NotifyType(kind))])
            for host, there in ((pair.a, AGENT), (pair.b, MOBILE)):
                here = MOBILE if there is AGENT else AGENT
                host(
                    host.engine.receive(
                        bytes(4) + forged, Endpoint(here, 4500), Endpoint(there, 4500), pair.now
                    )
                )
    asked = sum(
        p.exchange == ExchangeType.INFORMATIONAL and parse(p.message).encrypted is not None
        for p in pair.history
    )
    assert 1 <= asked <= 2
    pair.run()
    pair.check()


def test_forged_answers_to_ike_sa_init() -> None:
    """The handshake goes on for whoever is really there."""
    pair = Pair()
    pair.initiate()
    request = pair.history[0]
    spi_i = request.message[:8]
    offered = parse(request.message).payloads
    answers: list[list[Payload]] = [
        [],
        [Notify(NotifyType.NO_PROPOSAL_CHOSEN)],
        [Notify(NotifyType.INVALID_SYNTAX)],
        [Notify(NotifyType.COOKIE, b"")],
        [Notify(NotifyType.COOKIE, bytes(65))],
        [Notify(NotifyType.INVALID_KE_PAYLOAD, b"\0\x0e")],
        [Notify(NotifyType.INVALID_KE_PAYLOAD)],
        [SA((parse_proposal("aes256-sha1-modp2048"),)), KE(14, bytes(256)), Nonce(bytes(32))],
        [
            SUITE,
            KE(31, bytes(32)),
            Nonce(bytes(32)),
        ],
        [
            SUITE,
            KE(19, bytes(64)),
            Nonce(bytes(32)),
        ],
        [*offered, *offered],
    ]
    for payloads in answers:
        for spi_r in (NO_SPI, b"r" * 8):
            forged = build(Header(spi_i, spi_r, 34, 0x20, 0), payloads)
            pair.a(pair.a.engine.receive(forged, request.source, request.target, pair.now))
    assert not pair.a.of(IkeDown)
    pair.run()
    pair.check()


def test_endless_cookies_end() -> None:
    pair = Pair()
    pair.initiate()
    request = pair.history[0]
    for number in range(50):
        forged = build(
            Header(request.message[:8], NO_SPI, 34, 0x20, 0),
            [Notify(NotifyType.COOKIE, bytes((number + 1,)))],
        )
        pair.a(pair.a.engine.receive(forged, request.source, request.target, pair.now))
    assert len(pair.history) < 12


@pytest.mark.parametrize("method", [KeyExchange.MODP2048, KeyExchange.MODP3072])
@pytest.mark.parametrize("which", ["0", "1", "p-1", "p", "p+1", "short", "long"])
def test_public_values_that_must_not_be_used(method: KeyExchange, which: str) -> None:
    prime = modp_prime(method)
    size = (prime.bit_length() + 7) // 8
    values = {"0": 0, "1": 1, "p-1": prime - 1, "p": prime, "p+1": prime + 1}
    public = values.get(which, 5).to_bytes(size)
    public = {"short": public[1:], "long": b"\0" + public}.get(which, public)
    name = {KeyExchange.MODP2048: "modp2048", KeyExchange.MODP3072: "modp3072"}[method]
    small_order(f"aes128-sha256-{name}", public)


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("x25519", bytes(32)),
        ("x25519", b"\1" + bytes(31)),
        ("x25519", bytes(31)),
        ("ecp256", bytes(64)),
        ("ecp256", b"\1" * 64),
        ("ecp256", bytes(63)),
        ("ecp384", b"\2" * 96),
        ("ecp521", b"\3" * 132),
    ],
)
def test_points_that_are_not_on_the_curve(name: str, public: bytes) -> None:
    small_order(f"aes128-sha256-{name}", public)


def small_order(proposal: str, public: bytes) -> None:
    """Neither end goes on with ``public`` from the other one."""
    pair = Pair(connection(proposals=(parse_proposal(proposal),)))

    def swap(payloads: list[Any]) -> list[Any]:
        return [KE(p.method, public) if isinstance(p, KE) else p for p in payloads]

    pair.initiate()
    pair.deliver(resealed(pair, pair.take(), swap))
    pair.run()
    assert not pair.a.of(IkeUp)
    assert not pair.b.of(IkeUp)
    pair.later(400)
    pair.gone()
    pair = Pair(connection(proposals=(parse_proposal(proposal),)))
    pair.initiate()
    pair.step()
    answer = pair.take()
    pair.deliver(resealed(pair, answer, swap))
    assert pair.a.counters["ike_bad_answer"] == 1
    # The real one is still good.
    pair.deliver(answer)
    pair.run()
    pair.check()


def test_bad_public_values_in_create_child_sa() -> None:
    for what in ("child", "ike"):
        for response in (False, True):
            pair = Pair().up()
            ids = {"child": pair.a.child.id, "ike": pair.a.ike.id}
            pair.a(pair.a.engine.rekey(ids[what], pair.now))
            if response:
                pair.step()
            pair.deliver(
                resealed(
                    pair,
                    pair.take(),
                    lambda ps: [KE(31, bytes(32)) if isinstance(p, KE) else p for p in ps],
                )
            )
            sane(pair)


def test_a_claim_is_no_connection() -> None:
    """Who says the name of a peer, and cannot prove it, changes nothing for that one."""
    pair = Pair()
    pair.initiate()
    for _ in range(2):
        pair.step()
    request = pair.take("a")
    pair.deliver(
        resealed(
            pair, request, lambda ps: [Auth(2, bytes(32)) if isinstance(p, Auth) else p for p in ps]
        )
    )
    assert not pair.b.engine.connected("router")
    assert pair.b.engine.find("router") is None
    assert pair.b.engine.moved("router", AGENT, IPv6Address("2001:db8:666::1"), pair.now) == []
    with pytest.raises(LookupError):
        pair.b.engine.acquire("router", "net", pair.now)
