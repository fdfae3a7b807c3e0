# SPDX-License-Identifier: GPL-2.0-only
"""Mobile nodes without IPsec (RFC 4285, RFC 4283), as the home agent meets them.

What arrives is built here octet by octet, with a keyed hash of our own reading of
the RFC's section 5.1, so that our signing is not judged by itself.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv6Address

import pytest
from dsmip.mobility.authentication import AuthenticatingHomeAgent, is_close, ntp
from dsmip.mobility.effects import (
    Count,
    DetectDuplicate,
    Effect,
    PutBinding,
    Received,
    SendMessage,
)
from dsmip.mobility.ownership import MobilityKey, Owner
from dsmip.packet.careof import CareOf
from dsmip.packet.mobility import BindingAcknowledgement, build
from dsmip.packet.options import MobilityMessageAuthentication, ReplayProtection, find

from tests.unit.roaming import BUS, COA6, HA6, HA_CONFIG

PHONE6 = IPv6Address("2001:db8:1::300")
KEY, AAA = bytes(range(16)), bytes(range(32, 52))
SPI = 0x1001
NAI = "phone@example.net"
ASSOCIATION = MobilityKey(NAI, SPI, KEY, AAA)
PHONE = Owner("phone", PHONE6, mobile_router=False, authentication=ASSOCIATION)
CONFIG = replace(HA_CONFIG, owners=(BUS, PHONE))
WALL = 1_800_000_000.25


class Phone:
    """A mobile node and its home agent; each update is one octet string."""

    def __init__(self, owner: Owner = PHONE, **config: object) -> None:
        self.agent = AuthenticatingHomeAgent(
            replace(CONFIG, owners=(BUS, owner), **config),  # type: ignore[arg-type]
            100.0,
        )
        self.now = 100.0
        self.wall = WALL
        self.sequence = 10

    def update(
        self,
        *,
        proofs: tuple[str, ...] = ("ha",),
        key: bytes = KEY,
        spi: int = SPI,
        aaa_spi: int = 3,
        aaa: bytes = AAA,
        nai: bytes | None = NAI.encode(),
        stamp: int | None = -1,
        lifetime: int = 60,
        care_of: IPv6Address = COA6,
        extra: bytes = b"",
        tail: bytes = b"",
        nai_last: bool = False,
        subtype: int = 1,
    ) -> bytes:
        """Return a Binding Update as section 5.1 and RFC 6275 section 6.1.7 draw it."""
        self.sequence += 1
        body = struct.pack("!HHH", self.sequence, 0xC000, lifetime)
        data = bytes((59, 0, 5, 0, 0, 0)) + body

        def pad(data: bytes, modulus: int, phase: int) -> bytes:
            missing = (phase - len(data)) % modulus
            fill = b"" if not missing else b"\0" if missing == 1 else bytes((1, missing - 2))
            return data + fill + bytes(max(missing - 2, 0))

        if care_of != COA6:
            data = pad(data, 8, 6) + bytes((3, 16)) + care_of.packed
        name = b"" if nai is None else bytes((8, 1 + len(nai), subtype)) + nai
        data += extra
        if not nai_last:
            data += name
        if stamp is not None:
            value = ntp(self.wall) if stamp == -1 else stamp
            data = pad(data, 8, 2) + bytes((10, 8)) + struct.pack("!Q", value)
        # The header's length covers everything that follows; sizes are known beforehand.
        whole = data
        for proof in proofs:
            size = 12 if proof == "ha" else 20
            whole = pad(whole, 4, 1) + bytes((9, 5 + size)) + bytes(5 + size)
        whole = pad(whole + tail + (name if nai_last else b""), 8, 0)
        length = bytes((len(whole) // 8 - 1,))
        data = data[:1] + length + data[2:]
        for proof in proofs:
            size = 12 if proof == "ha" else 20
            number = spi if proof == "ha" else aaa_spi
            data = pad(data, 4, 1) + bytes((9, 5 + size, 1 if proof == "ha" else 2))
            data += struct.pack("!I", number)
            covered = care_of.packed + PHONE6.packed + data
            if proof == "ha":
                data += hmac.new(key, covered, hashlib.sha1).digest()[:12]
            else:
                data += hmac.new(aaa, hashlib.sha1(covered).digest(), hashlib.sha1).digest()
        return pad(data + tail + (name if nai_last else b""), 8, 0)

    def send(
        self, data: bytes, protected: bool = False, source: IPv6Address = PHONE6
    ) -> list[Effect]:
        received = Received(data, source, HA6, CareOf(COA6), 2, protected, self.wall)
        return self.agent.receive(received, self.now)

    def bound(self) -> bool:
        return any(view.home_address == PHONE6 for view in self.agent.bindings(self.now))


def answers(effects: list[Effect]) -> Iterator[BindingAcknowledgement]:
    for effect in effects:
        if isinstance(effect, SendMessage):
            assert isinstance(effect.message, BindingAcknowledgement)
            yield effect.message


def counted(effects: list[Effect]) -> list[str]:
    return [effect.name for effect in effects if isinstance(effect, Count)]


def is_authentic(answer: BindingAcknowledgement, care_of: IPv6Address = COA6) -> bool:
    """Check an answer's MN-HA option by the RFC's text: it is the last, and covers the rest."""
    data = build(answer)
    at = data.rindex(bytes((9, 17, 1)) + struct.pack("!I", SPI))
    end = at + 19
    assert len(data) - end < 8
    covered = care_of.packed + PHONE6.packed + data[:4] + b"\0\0" + data[6 : at + 7]
    return hmac.new(KEY, covered, hashlib.sha1).digest()[:12] == data[at + 7 : end]


@pytest.mark.spec("E-001", "E-013", "E-015")
def test_an_update_with_a_good_authenticator_is_accepted_and_the_answer_has_one() -> None:
    phone = Phone()
    effects = phone.send(phone.update())
    (answer,) = answers(effects)
    assert answer.status == 0
    assert any(isinstance(effect, PutBinding) for effect in effects)
    assert is_authentic(answer)
    stamp = find(answer.options, ReplayProtection)
    assert stamp is not None
    assert stamp.timestamp == ntp(WALL)
    assert isinstance(answer.options[-1], MobilityMessageAuthentication)
    # Of the alternate care-of address, not of the packet's source.
    phone.wall += 1
    other = IPv6Address("2001:db8:a7::9")
    (answer,) = answers(phone.send(phone.update(care_of=other)))
    assert answer.status == 0
    assert is_authentic(answer, other)


def test_a_plain_mobile_node_gets_no_prefixes_and_its_r_flag_is_refused() -> None:
    phone = Phone()
    effects = phone.send(phone.update())
    (put,) = [effect for effect in effects if isinstance(effect, PutBinding)]
    assert put.binding.prefixes == ()
    (answer,) = answers(effects)
    assert not answer.mobile_router


def test_without_policy_for_it_the_option_opens_no_door() -> None:
    phone = Phone(replace(PHONE, authentication=None))
    assert counted(phone.send(phone.update())) == ["bu_unprotected"]
    assert not phone.bound()


@pytest.mark.parametrize(
    ("change", "counter"),
    [
        ({"proofs": ()}, "bu_auth_missing"),
        ({"spi": SPI + 1}, "bu_auth_spi"),
        ({"spi": 3}, "bu_auth_spi"),
        ({"nai": None}, "bu_auth_no_identifier"),
        ({"nai": b"bus-17"}, "bu_auth_identifier"),
        ({"nai": b"phone@example.net "}, "bu_auth_identifier"),
        ({"nai": b"\xff\xfe"}, "bu_auth_identifier"),
        ({"nai": b""}, "bu_auth_identifier"),
        ({"subtype": 2}, "bu_auth_identifier"),
        ({"nai_last": True}, "bu_auth_order"),
        ({"proofs": ("ha", "ha")}, "bu_auth_order"),
        ({"proofs": ("aaa", "ha")}, "bu_auth_order"),
        ({"proofs": ("aaa", "aaa")}, "bu_auth_order"),
        ({"proofs": ("ha", "aaa", "aaa")}, "bu_auth_order"),
        ({"tail": bytes((40, 1, 0))}, "bu_auth_order"),
        ({"extra": bytes((8, 6, 1)) + b"other"}, "bu_auth_identifier"),
    ],
)
@pytest.mark.spec("E-002", "E-011", "E-012", "E-013")
def test_what_cannot_be_judged_is_dropped_in_silence(
    change: dict[str, object], counter: str
) -> None:
    phone = Phone()
    # Nor does it count that no IPsec policy stands in the way of this node.
    effects = phone.send(phone.update(**change), protected=True)  # type: ignore[arg-type]
    assert counted(effects) == [counter]
    assert list(answers(effects)) == []
    assert not phone.bound()


@pytest.mark.spec("E-013")
def test_a_wrong_authenticator_is_answered_146_under_the_right_key() -> None:
    phone = Phone()
    good = phone.update()
    phone.sequence -= 1
    for data in (
        phone.update(key=KEY[::-1]),
        good[:8] + b"\x80" + good[9:],
        good[:7] + bytes((good[7] ^ 1,)) + good[8:],
    ):
        effects = phone.send(data)
        (answer,) = answers(effects)
        assert answer.status == 146
        assert is_authentic(answer)
        assert "bu_refused_146" in counted(effects)
    # Another care-of address under the same authenticator.
    received = Received(good, PHONE6, HA6, CareOf(IPv6Address("2001:db8:a7::9")), 2, False, WALL)
    (answer,) = answers(phone.agent.receive(received, phone.now))
    assert answer.status == 146
    assert not phone.bound()
    # None of them used up the timestamp.
    (answer,) = answers(phone.send(good))
    assert answer.status == 0


@pytest.mark.spec("E-015")
@pytest.mark.parametrize("off", [-7.5, 7.5, -3600, 3600, 2**31])
def test_a_timestamp_that_is_not_close_gets_144_and_the_time_here(off: float) -> None:
    phone = Phone()
    stamp = ntp(WALL + off) & ~0xFFFF | 0x1234
    effects = phone.send(phone.update(stamp=stamp))
    (answer,) = answers(effects)
    assert answer.status == 144
    assert is_authentic(answer)
    found = find(answer.options, ReplayProtection)
    assert found is not None
    assert found.timestamp & 0xFFFFFFFF == stamp & 0xFFFFFFFF
    assert found.timestamp >> 32 == ntp(WALL) >> 32
    assert not phone.bound()
    # The node corrects its clock and is taken.
    (answer,) = answers(phone.send(phone.update()))
    assert answer.status == 0


@pytest.mark.spec("E-015")
def test_timestamps_only_ever_grow() -> None:
    phone = Phone()
    first = phone.update()
    (answer,) = answers(phone.send(first))
    assert answer.status == 0
    for stamp in (ntp(WALL), ntp(WALL) - 1, ntp(WALL - 6)):
        (answer,) = answers(phone.send(phone.update(stamp=stamp)))
        assert answer.status == 144
    (answer,) = answers(phone.send(first))
    assert answer.status == 144
    (answer,) = answers(phone.send(phone.update(stamp=ntp(WALL) + 1)))
    assert answer.status == 0
    # After the binding's end as well, where sequence numbers are forgotten.
    (answer,) = answers(phone.send(phone.update(stamp=ntp(WALL) + 2, lifetime=0)))
    assert (answer.status, answer.lifetime) == (0, 0)
    assert is_authentic(answer)
    phone.now += 100
    phone.agent.handle_timer(phone.now)
    (answer,) = answers(phone.send(first))
    assert answer.status == 144


@pytest.mark.spec("E-017")
def test_a_missing_timestamp_is_asked_for_where_policy_wants_it() -> None:
    phone = Phone()
    (answer,) = answers(phone.send(phone.update(stamp=None)))
    assert answer.status == 145
    assert is_authentic(answer)
    loose = Phone(replace(PHONE, authentication=replace(ASSOCIATION, timestamps=False)))
    data = loose.update(stamp=None)
    (answer,) = answers(loose.send(data))
    assert answer.status == 0
    assert find(answer.options, ReplayProtection) is None
    # Then sequence numbers protect from replay.
    (answer,) = answers(loose.send(data))
    assert answer.status == 135
    assert is_authentic(answer)


def test_mn_aaa_counts_with_its_own_key_and_number() -> None:
    phone = Phone()
    (answer,) = answers(phone.send(phone.update(proofs=("ha", "aaa"))))
    assert answer.status == 0
    phone.wall += 1
    (answer,) = answers(phone.send(phone.update(proofs=("aaa",))))
    assert answer.status == 0
    # The answer is always under MN-HA, and never has MN-AAA.
    assert is_authentic(answer)
    phone.wall += 1
    for change in ({"aaa": AAA[::-1]}, {"aaa_spi": 5}):
        (answer,) = answers(phone.send(phone.update(proofs=("ha", "aaa"), **change)))  # type: ignore[arg-type]
        assert answer.status == 146
    plain = Phone(replace(PHONE, authentication=replace(ASSOCIATION, aaa_key=b"")))
    assert counted(plain.send(plain.update(proofs=("aaa",)))) == ["bu_auth_aaa"]
    (answer,) = answers(plain.send(plain.update(proofs=("ha", "aaa"), aaa=b"x" * 20)))
    assert answer.status == 0


def test_an_answer_that_waits_for_duplicate_detection_is_authentic_too() -> None:
    for unique, status in ((True, 0), (False, 134)):
        phone = Phone(home_link=True)
        effects = phone.send(phone.update())
        assert any(isinstance(effect, DetectDuplicate) for effect in effects)
        assert list(answers(effects)) == []
        # What a forger sends meanwhile changes nothing.
        (refused,) = answers(phone.send(phone.update(key=KEY[::-1])))
        assert refused.status == 146
        (answer,) = answers(phone.agent.duplicate_checked(PHONE6, unique, phone.now))
        assert answer.status == status
        assert is_authentic(answer)


def test_other_messages_of_such_a_node_are_not_covered() -> None:
    phone = Phone()
    hoti = bytes((59, 1, 1, 0, 0, 0, 0, 0)) + bytes(8)
    assert counted(phone.send(hoti, protected=True)) == ["mh_not_authenticated"]
    assert counted(phone.send(b"\x3b\0", protected=True)) == ["mh_malformed"]


def test_a_node_with_ipsec_is_served_as_ever() -> None:
    phone = Phone()
    data = bytes((59, 1, 5, 0, 0, 0)) + struct.pack("!HHHHBBH", 7, 0xC000, 60, 0x0102, 0, 0, 0)[:10]
    effects = phone.send(data, protected=True, source=BUS.home_address)
    assert not any(name.startswith("bu_auth") for name in counted(effects))


def test_closeness_is_seven_seconds_either_way_and_survives_the_end_of_the_era() -> None:
    assert is_close(ntp(WALL + 6.99), WALL)
    assert is_close(ntp(WALL - 6.99), WALL)
    assert not is_close(ntp(WALL + 7.01), WALL)
    # The NTP era ends in 2036; both sides of it are near each other.
    end = (1 << 32) - 2_208_988_800
    assert is_close(ntp(end - 1), end + 1)
    assert is_close(ntp(end + 1), end - 1)
