# SPDX-License-Identifier: GPL-2.0-only
"""DNS: whatever name servers and forgers send, lookups end and nothing is left over."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv6Address

import pytest
from dsmip.mobility.bootstrap import Bootstrap, BootstrapConfig
from dsmip.mobility.effects import Count, Note
from dsmip.mobility.resolver import Answered, CloseQuery, Resolver, SendQuery, Way
from dsmip.packet.dns import (
    Data,
    DnsMalformed,
    Question,
    Record,
    RecordType,
    Service,
    build_message,
    parse,
    read_name,
)
from dsmip.packet.dns_update import Key, check, read_option
from dsmip.packet.home_network import CONTAINERS, HomeNetworkMalformed
from dsmip.packet.home_network import parse as parse_home_network

pytestmark = pytest.mark.fuzz

NAMES = ("_mip6._ipv6.example.test", "ha1.example.test", "a.test", "b.test", "")
KINDS = (RecordType.SRV, RecordType.AAAA, RecordType.A, RecordType.CNAME, RecordType.SOA)
WAYS = tuple(Way(IPv6Address(f"2001:db8:53::{n}")) for n in (1, 2))
EFFECTS = (SendQuery, CloseQuery, Answered, Note, Count)


def data(chance: random.Random, kind: int) -> Data:
    name = chance.choice(NAMES)
    made: dict[int, Data] = {
        RecordType.SRV: Service(chance.randrange(3), chance.randrange(3), 0, name),
        RecordType.AAAA: IPv6Address(chance.getrandbits(128)),
        RecordType.A: IPv4Address(chance.getrandbits(32)),
        RecordType.CNAME: name,
        RecordType.SOA: bytes(20),
    }
    return made[kind]


def response(chance: random.Random, query: bytes) -> bytes:
    """Return something like an answer, often a right one, often spoilt."""
    name, end = read_name(query, 12)
    kind = int.from_bytes(query[end : end + 2], "big")
    records = []
    for _ in range(chance.randrange(5)):
        what = kind if chance.random() < 0.5 else chance.choice(KINDS)
        owner = name if chance.random() < 0.6 else chance.choice(NAMES)
        records.append(Record(owner, what, chance.choice((0, 60, 1 << 31)), data(chance, what)))
    id = int.from_bytes(query[:2], "big") ^ (chance.random() < 0.2)
    rcode = chance.choice((0, 0, 0, 0, 1, 2, 3, 5, 15))
    truncated = 0x0200 if chance.random() < 0.1 else 0
    cut = chance.randrange(len(records) + 1)
    question = Question(name if chance.random() < 0.9 else "other.test", kind)
    sections = (records[:cut], (), records[cut:])
    octets = bytearray(build_message(id, 0, (question,), sections, 0x8180 | rcode | truncated))
    for _ in range(chance.choice((0, 0, 0, 1, 3))):
        octets[chance.randrange(len(octets))] = chance.randrange(256)
    if chance.random() < 0.1:
        del octets[chance.randrange(len(octets)) :]
    return bytes(octets)


def test_lookups_always_end() -> None:
    for seed in range(200):
        chance = random.Random(seed)
        engine, now = Resolver(chance), 100.0
        opened: dict[int, SendQuery] = {}
        answers = sent = 0
        waiting = [engine.use_ways(WAYS, now), engine.ask(NAMES[seed % 4], KINDS[seed % 3], now)]
        for _ in range(300):
            for effect in waiting.pop(0) if waiting else ():
                assert isinstance(effect, EFFECTS)
                if isinstance(effect, SendQuery):
                    opened[effect.token] = effect
                    sent += 1
                elif isinstance(effect, CloseQuery):
                    del opened[effect.token]
                elif isinstance(effect, Answered):
                    answers += 1
            if waiting:
                continue
            at = engine.next_timer()
            if at is None:
                break
            if opened and chance.random() < 0.8:
                query = chance.choice(list(opened.values()))
                waiting.append(engine.received(query.token, response(chance, query.data), now))
            elif opened and chance.random() < 0.3:
                waiting.append(engine.failed(chance.choice(list(opened)), "shut", now))
            else:
                now = at
                waiting.append(engine.handle_timer(now))
        assert engine.next_timer() is None, seed
        assert (answers, opened) == (1, {}), seed
        assert sent < 150, seed


def test_bootstrapping_takes_any_answers() -> None:
    """Made-up answers never make it fall, or try what cannot be a home agent."""
    for seed in range(60):
        chance = random.Random(seed)
        engine, now = Bootstrap(BootstrapConfig(domain="example.test"), 0.0, None, chance), 0.0
        resolver = Resolver(chance)
        resolver.use_ways(WAYS, now)
        engine.network("wan0", 1, now)
        for _ in range(60):
            now += 1
            for name, kind in ((n, k) for n in NAMES[:4] for k in KINDS[:3]):
                for effect in resolver.ask(name, kind, now, fresh=True):
                    if isinstance(effect, SendQuery):
                        for made in resolver.received(
                            effect.token, response(chance, effect.data), now
                        ):
                            if isinstance(made, Answered):
                                engine.answered(made.answer, now)
            resolver.cancel()
            engine.handle_timer(now)
            target = engine.view(now).target
            if target is not None:
                assert not target.agent6.is_multicast
                assert not target.agent6.is_link_local


def test_other_octets() -> None:
    key = Key("k", b"sixteen octets ..")
    for seed in range(1500):
        chance = random.Random(seed)
        octets = chance.randbytes(chance.randrange(120))
        for attempt in (
            lambda o: parse(o),
            lambda o: read_option(o),
            lambda o: check(o, 1, key, b"", 0.0),
            lambda o: parse(b"\0\1\xa8\0\0\1\0\0\0\0\0\1" + o),
        ):
            try:
                attempt(octets)
            except DnsMalformed:
                pass
        try:
            parse_home_network(chance.choice(CONTAINERS), octets)
        except HomeNetworkMalformed:
            pass
