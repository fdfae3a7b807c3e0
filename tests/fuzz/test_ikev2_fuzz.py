# SPDX-License-Identifier: GPL-2.0-only
"""Damaged IKEv2 messages: only RemoteError and Ignored come out.

What is accepted can be rebuilt. Damage is done in clear, to what is encrypted,
and to what is inside an authentic encrypted payload, which a peer with keys can
make as wrong as it likes.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from functools import partial

import pytest
from dsmip.ikev2 import fragments
from dsmip.ikev2 import message as msg
from dsmip.ikev2 import payloads as pl
from dsmip.ikev2.crypto import available, respond
from dsmip.ikev2.errors import Ignored, RemoteError
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.message import Header
from dsmip.ikev2.proposals import accepted, parse_proposals, select, with_spi, without_ke
from dsmip.ikev2.selectors import TrafficSelector, narrow

from tests.fuzz.damage import damaged
from tests.unit.test_ikev2_message import SUITES, pair

pytestmark = pytest.mark.fuzz

SEED = 7296
ROUNDS = 40_000
SECONDS = float(os.environ.get("DSMIP_FUZZ_SECONDS", "4")) / 2

IKE = parse_proposals(
    ["aes128gcm16-prfsha256-x25519-ke1_mlkem768-ke1_none", "aes256-sha512-modp2048-ecp256"]
)
ESP = parse_proposals(["aes128gcm16-x25519-modpnone-esn-noesn", "aes256-sha256"], 3)
HOME = "2001:db8:1::100"
SELECTORS = (
    TrafficSelector.typed(HOME, 135, 5),
    TrafficSelector.from_network("198.51.100.0/24", 17, 547, 547),
    TrafficSelector.from_network("::/0"),
)
CHAINS: tuple[list[pl.Payload], ...] = (
    [
        pl.Notify(16390, b"cookie"),
        pl.SA(IKE),
        pl.KE(31, bytes(32)),
        pl.Nonce(bytes(32)),
        pl.Notify(16388, bytes(20)),
        pl.Notify(16431, bytes.fromhex("00020003")),
        pl.VendorId(b"dsmip"),
    ],
    [
        pl.IdI(Identity.parse("bus-17")),
        pl.IdR(Identity.parse("2001:db8::1")),
        pl.Cert(4, bytes(40)),
        pl.CertReq(4, bytes(20)),
        pl.Auth(2, bytes(32)),
        pl.Configuration(1, (pl.Attribute(8), pl.Attribute(16, bytes(21)))),
        pl.SA(with_spi(ESP, b"abcd")),
        pl.TSi(SELECTORS),
        pl.TSr(SELECTORS[:1]),
    ],
    [pl.IdI(Identity.parse("dn:CN=bus-17,O=Fleet")), pl.IdR(Identity.parse("198.51.100.1"))],
    [pl.Delete(3, (b"abcd", b"efgh")), pl.Delete(1), pl.Eap(b"\1\5\0\5\1"), pl.Unknown(99, b"x")],
    [],
)
INTERESTING = (0, 1, 2, 3, 4, 8, 33, 41, 44, 46, 47, 53, 127, 128, 129, 254, 255)


def damage(chance: random.Random, wire: bytes) -> bytes:
    return bytes(damaged(chance, wire, INTERESTING, (1, 4, 8)))


def run(samples: list[bytes], check: Callable[[random.Random, bytes], None]) -> None:
    """Feed damaged samples to ``check``, which may raise nothing but a refusal."""
    chance = random.Random(SEED)
    end = time.process_time() + SECONDS
    accepted_count = tried = 0
    while tried < ROUNDS * max(1, SECONDS / 2) and time.process_time() < end:
        tried += 1
        try:
            check(chance, damage(chance, chance.choice(samples)))
        except (RemoteError, Ignored) as error:
            if not error.reason:
                raise
        else:
            accepted_count += 1
    assert 0 < accepted_count < tried


def use(payloads: list[pl.Payload]) -> None:
    """Do with the parsed what an engine does first."""
    for payload in payloads:
        match payload:
            case pl.SA():
                for allowed in (IKE, without_ke(ESP)):
                    for group in (None, 0, 31):
                        try:
                            suite = select(payload.proposals, allowed, group)
                        except RemoteError as error:
                            if error.notify not in (14, 17):
                                raise
                        else:
                            assert accepted((suite.answer(),), payload.proposals) == suite
            case pl.TSi() | pl.TSr():
                assert len(narrow(payload.selectors, SELECTORS)) <= 255
                for selector in payload.selectors:
                    assert str(selector)
            case pl.IdI() | pl.IdR():
                assert Identity.parse(str(payload.identity)).matches(payload.identity)


def check_rebuilt(parsed: msg.Message) -> None:
    """What was accepted says the same when it is built and parsed again."""
    again = msg.parse(msg.build(parsed.header, parsed.payloads))
    assert again.payloads == parsed.payloads
    use(parsed.payloads)


def check_clear(chance: random.Random, wire: bytes) -> None:
    if len(wire) >= msg.HEADER_SIZE and chance.random() < 0.8:  # get past the first checks
        wire = wire[:17] + b"\x20" + wire[18:24] + len(wire).to_bytes(4) + wire[28:]
    parsed = msg.parse(wire)
    if parsed.encrypted is None:
        check_rebuilt(parsed)


def test_clear() -> None:
    header = Header(b"initiatr", b"respondr", 34, 8, 0)
    run([msg.build(header, chain) for chain in CHAINS], check_clear)


def test_authentic_but_wrong_inside() -> None:
    """The damaged octets are sealed with the right keys, as a payload or a fragment of one."""
    header = Header(b"initiatr", b"respondr", 35, 8, 1)
    pairs = [pair(text) for text in (SUITES[0], SUITES[5])]

    def check(chance: random.Random, plain: bytes) -> None:
        ours, theirs = chance.choice(pairs)
        first = chance.choice((33, 35, 35, 42, 99, 0))
        if chance.random() < 0.5:
            inner = msg.open(msg.parse(msg.seal_octets(header, first, plain, ours)), theirs)
        else:
            whole = fragments.Reassembly()
            done = None
            for piece in fragments.seal(header, first, plain, ours, 300):
                parsed = msg.parse(piece)
                if parsed.encrypted is not None and not parsed.encrypted.total:
                    done = first, msg.open_octets(parsed, theirs)
                else:
                    done = whole.add(parsed, theirs, 0.0)
            assert done == (first, plain)
            inner = msg.parse_payloads(*done)
        check_rebuilt(msg.parse(msg.build(header, inner)))

    run([msg.build_payloads(chain)[1] for chain in CHAINS], check)


def test_damaged_encryption() -> None:
    header = Header(b"initiatr", b"respondr", 37, 8, 1)
    pairs = [pair(text) for text in SUITES]
    samples = []
    for ours, _ in pairs:
        samples.append(msg.seal(header, CHAINS[3], ours))
        first, plain = msg.build_payloads(CHAINS[1])
        samples += fragments.seal(header, first, plain, ours, 300)
    whole = fragments.Reassembly()
    untouched = frozenset(samples)

    def check(chance: random.Random, wire: bytes) -> None:
        if chance.random() < 0.01:
            wire = chance.choice(samples)
        elif len(wire) >= msg.HEADER_SIZE:
            wire = wire[:17] + b"\x20" + wire[18:24] + len(wire).to_bytes(4) + wire[28:]
        parsed = msg.parse(wire)
        if parsed.encrypted is None:
            raise Ignored("nothing is encrypted")
        for at, (_, theirs) in enumerate(pairs):
            try:
                if parsed.encrypted.total:
                    whole.clear()
                    whole.add(parsed, theirs, 0.0)
                else:
                    msg.open(parsed, theirs)
            except Ignored:
                if at == len(pairs) - 1:
                    raise
            else:
                assert wire in untouched
                return

    run(samples, check)


def test_random_octets() -> None:
    chance = random.Random(SEED)
    _, theirs = pair(SUITES[0])
    for _ in range(5_000):
        body = chance.randbytes(chance.randrange(0, 120))
        kind = chance.choice(INTERESTING)
        attempts: tuple[Callable[[], object], ...] = (
            partial(msg.parse, body),
            partial(msg.parse_payloads, kind, body),
            partial(pl.parse, kind, body, bool(kind & 1)),
            partial(theirs.open, b"head", body),
        )
        for attempt in attempts:
            try:
                attempt()
            except (RemoteError, Ignored):
                continue


def test_random_public_values() -> None:
    chance = random.Random(SEED)
    sizes = {14: 256, 19: 64, 20: 96, 21: 132, 31: 32, 36: 1184}
    for method in available() & sizes.keys():
        for _ in range(20):
            value = chance.randbytes(sizes[method] + chance.choice((0, 0, 0, -1, 1)))
            try:
                public, secret = respond(method, value)
            except RemoteError:
                continue
            assert public
            assert any(secret)
