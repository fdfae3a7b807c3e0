# SPDX-License-Identifier: GPL-2.0-only
"""Direct paths: whatever anybody sends, no engine breaks, and nobody unauthorised is bound."""

from __future__ import annotations

import random
from ipaddress import IPv6Address
from typing import Any

import pytest
from dsmip.linux.icmp_errors import parse as parse_error
from dsmip.mobility.effects import PutBinding
from dsmip.packet.careof import CareOf, WireKind
from dsmip.packet.kernel import Path, PathEvent
from dsmip.packet.mobility import (
    BindingAcknowledgement,
    BindingError,
    BindingRefreshRequest,
    BindingUpdate,
    CareOfTest,
    CareOfTestInit,
    HomeTest,
    HomeTestInit,
    Message,
    build,
)
from dsmip.packet.options import (
    AlternateCareOfAddress,
    BindingAuthorizationData,
    NonceIndices,
    Option,
)
from dsmip.service.correspondent import destination_of, is_correspondents

from tests.unit.optimising import AT_HOME, BY_IPV4, CN, COA, COA2, HA6, HOA, OTHER_CN, Pair, away

pytestmark = pytest.mark.fuzz

ADDRESSES = (HOA, HOA + 1, COA, COA2, CN, OTHER_CN, HA6, IPv6Address("ff02::1"), IPv6Address("::"))
KINDS = (WireKind.IP6, WireKind.UDP4, WireKind.IP4, WireKind.RO)
ATTACHMENTS = (AT_HOME, BY_IPV4, away(), away(COA2), away(ready=False))


def message(chance: random.Random, pair: Pair) -> Message:
    """Return a message whose fields are often those of one under way."""

    def octets(size: int, *likely: bytes) -> bytes:
        return chance.choice((*likely, chance.randbytes(size)))

    index = pair.cn._nonces.current(pair.now).index
    one = pair.mr._list.get(CN)
    tests = [] if one is None else [t for t in (one.home_test, one.care_of_test) if t]
    cookies = [test.cookie for test in tests]
    sequence = chance.choice((chance.randrange(0x10000), one.sequence if one else 0))
    options: list[Option] = []
    if chance.random() < 0.8:
        options.append(NonceIndices(chance.choice((index, 7)), chance.choice((index, 0))))
    if chance.random() < 0.3:
        options.insert(0, AlternateCareOfAddress(chance.choice(ADDRESSES)))
    if chance.random() < 0.8:
        options.append(BindingAuthorizationData(chance.randbytes(12)))
    made: list[Message] = [
        HomeTestInit(octets(8)),
        CareOfTestInit(octets(8)),
        HomeTest(chance.choice((index, 1)), octets(8, *cookies), octets(8)),
        CareOfTest(chance.choice((index, 1)), octets(8, *cookies), octets(8)),
        BindingUpdate(
            sequence,
            chance.choice((0, 1, 105, 0xFFFF)),
            chance.random() < 0.5,
            home=chance.random() < 0.1,
            options=tuple(options),
        ),
        BindingAcknowledgement(
            chance.choice((0, 1, 128, 129, 130, 135, 136, 137, 138, 139, 200)),
            sequence,
            chance.choice((0, 1, 105)),
            options=tuple(o for o in options if isinstance(o, BindingAuthorizationData)),
        ),
        BindingError(chance.randrange(4), chance.choice(ADDRESSES)),
        BindingRefreshRequest(),
    ]
    return chance.choice(made)


def spoilt(chance: random.Random, data: bytes) -> bytes:
    """Return octets as they are, or changed, cut or made longer."""
    out = bytearray(data)
    for _ in range(chance.choice((0, 0, 0, 1, 3)) if data else 0):
        out[chance.randrange(len(out))] = chance.randrange(256)
    if chance.random() < 0.1:
        out = out[: chance.randrange(len(out) + 1)]
    return bytes(out + (chance.randbytes(8) if chance.random() < 0.1 else b""))


@pytest.mark.parametrize("seed", range(30))
def test_engines_survive_everything(seed: int) -> None:
    chance = random.Random(seed)
    # Nothing gets through between the two, so no key that binds is ever made.
    pair = Pair(seed=seed, lost=lambda _who, _effect: True)
    for _ in range(400):
        pair.now += chance.choice((0, 0.01, 1, 40))
        if chance.random() < 0.1:
            pair.attach(chance.choice(ATTACHMENTS))
        if chance.random() < 0.2:
            pair.speak(chance.choice(ADDRESSES))
        made = message(chance, pair)
        source, destination = chance.choice(ADDRESSES), chance.choice(ADDRESSES)
        data = spoilt(chance, bytes(build(made, source, destination)))
        by = CareOf(chance.choice(ADDRESSES), chance.choice(KINDS))
        given: dict[str, Any] = {"care_of": chance.choice((None, by, CareOf(COA), CareOf(HA6)))}
        pair.to_cn(data, source, given["care_of"], destination)
        pair.to_mr(data, chance.choice((source, CN)), chance.choice((destination, HOA)), **given)
        path = Path(0, WireKind.RO, source, destination)
        event = chance.choice(list(PathEvent))
        pair.carry("cn", pair.cn.path_event(source, event, path, pair.now))
        pair.carry("mr", pair.mr.path_event(source, event, path, pair.now))
        pair.carry("mr", pair.mr.unsupported(source, spoilt(chance, data * 2), pair.now))
        pair.carry("cn", pair.cn.unreachable(destination, pair.now))
        pair.run(0)
    assert not any(isinstance(effect, PutBinding) for _, _, effect in pair.effects)
    assert pair.kernel == {"cn": {}, "mr": {}}


@pytest.mark.parametrize("seed", range(20))
def test_readers_of_errors_and_messages(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(300):
        data = chance.randbytes(chance.randrange(120))
        is_correspondents(data)
        found = destination_of(b"`" + data)
        assert found is None or isinstance(found, IPv6Address)
        error = parse_error(bytes((chance.choice((1, 4, 128)),)) + data, CN)
        assert error is None or error.kind in (1, 4)
