# SPDX-License-Identifier: GPL-2.0-only
"""RADIUS packets, their authenticators, and EAP carried by them."""

from __future__ import annotations

import hashlib
import hmac
import random
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_address

import pytest
from dsmip.ikev2.eap import (
    EapClient,
    EapError,
    EapFailure,
    EapMessage,
    EapPeer,
    EapReply,
    EapServerSession,
    EapSuccess,
)
from dsmip.ikev2.eap_mschapv2 import MsChapV2Client, MsChapV2Server
from dsmip.ikev2.errors import Ignored
from dsmip.ikev2.mschap import nt_password_hash
from dsmip.ikev2.numbers import EapCode, EapType
from dsmip.ikev2.radius import (
    Attributes,
    Datagram,
    EapAnswer,
    RadiusClient,
    RadiusCode,
    RadiusConfig,
    RadiusEffect,
    RadiusPacket,
    RadiusServer,
    RadiusType,
    build_answer,
    build_request,
    check_answer,
    check_request,
    decrypt_key,
    encrypt_key,
    key_attributes,
    parse_packet,
    session_key,
    split_eap,
)

SECRET = b"radius secret"
AUTHENTICATOR = bytes(range(16))
ONE = RadiusServer(ip_address("192.0.2.1"), SECRET)
TWO = RadiusServer(ip_address("2001:db8::2"), b"another", 1645)
CONFIG = RadiusConfig((ONE,), "ha", ip_address("198.51.100.1"))
PEER = EapPeer("bus-17", "198.51.100.7[4500]", "198.51.100.1")
MSK = bytes(range(64))
SALTS = (b"\x80\1", b"\x80\2")


# --- packets ------------------------------------------------------------------------


def test_request_of_rfc_2865() -> None:
    """Its section 7.1, whose User-Password is only an attribute here."""
    data = bytes.fromhex(
        "010000380f403f9473978057bd83d5cb98f4227a01066e656d6f0212"
        "0dbe708d93d413ce3196e43f782a0aee0406c0a8011005060000 0003"
    )
    packet = parse_packet(data)
    assert (packet.code, packet.identifier) == (RadiusCode.ACCESS_REQUEST, 0)
    assert packet.get(RadiusType.USER_NAME) == b"nemo"
    assert packet.get(RadiusType.NAS_IP_ADDRESS) == ip_address("192.168.1.16").packed
    assert packet.get(RadiusType.STATE) is None
    assert packet.eap() is None


def test_message_authenticator_comes_first_and_covers_everything() -> None:
    data = build_request(7, AUTHENTICATOR, ((1, b"bus-17"), *split_eap(b"x" * 600)), SECRET)
    packet = check_request(data, SECRET)
    assert packet.attributes[0][0] == RadiusType.MESSAGE_AUTHENTICATOR
    assert packet.eap() == b"x" * 600
    assert [len(value) for kind, value in packet.attributes if kind == 79] == [253, 253, 94]
    blank = data[:22] + bytes(16) + data[38:]
    assert data[22:38] == hmac.digest(SECRET, blank, "md5")
    with pytest.raises(Ignored, match="Message-Authenticator is wrong"):
        check_request(data, b"another")
    with pytest.raises(Ignored, match="Message-Authenticator is wrong"):
        check_request(data[:-1] + b"y", SECRET)


def test_answers_are_checked_by_both_authenticators() -> None:
    request = check_request(build_request(7, AUTHENTICATOR, (), SECRET), SECRET)
    answer = build_answer(RadiusCode.ACCESS_ACCEPT, request, ((1, b"bus-17"),), SECRET)
    packet = check_answer(answer, AUTHENTICATOR, SECRET)
    assert packet.get(RadiusType.USER_NAME) == b"bus-17"
    # Octets beyond the length are padding (RFC 2865 section 3).
    assert check_answer(answer + b"padding", AUTHENTICATOR, SECRET) == packet
    for wrong in (
        (answer, bytes(16), SECRET),
        (answer, AUTHENTICATOR, b"another"),
        (b"\3" + answer[1:], AUTHENTICATOR, SECRET),
        (answer[:-1] + b"8", AUTHENTICATOR, SECRET),
    ):
        with pytest.raises(Ignored, match="response authenticator is wrong") as caught:
            check_answer(*wrong)
        assert caught.value.counter == "radius_forged"


def signed(body: bytes, code: int = 2) -> bytes:
    """An answer with a good response authenticator and any attributes."""
    head = struct.pack("!BBH", code, 7, 20 + len(body))
    digest = hashlib.md5(head + AUTHENTICATOR + body + SECRET).digest()
    return head + digest + body


@pytest.mark.parametrize(
    "body", [b"", b"\x50\x12" + bytes(16), b"\x50\x03x", (b"\x50\x12" + bytes(16)) * 2]
)
def test_answers_need_one_message_authenticator(body: bytes) -> None:
    """MD5 alone would let anybody on the way turn a reject into an accept."""
    with pytest.raises(Ignored, match="Message-Authenticator"):
        check_answer(signed(body), AUTHENTICATOR, SECRET)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(19),
        bytes(20),
        b"\1\0\0\x15" + bytes(16),
        b"\1\0\x10\1" + bytes(4093),
        b"\1\0\0\x15" + bytes(17),
        b"\1\0\0\x16" + bytes(16) + b"\1\1",
        b"\1\0\0\x16" + bytes(16) + b"\1\0",
        b"\1\0\0\x16" + bytes(16) + b"\1\3x",
    ],
)
def test_malformed_packets(data: bytes) -> None:
    with pytest.raises(Ignored) as caught:
        parse_packet(data)
    assert caught.value.counter == "radius_malformed"


def test_our_packets_are_bounded() -> None:
    with pytest.raises(ValueError, match="RADIUS packet of"):
        build_request(1, AUTHENTICATOR, split_eap(bytes(4096)), SECRET)


# --- keys ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 15, 16, 31, 32, 64])
def test_keys_survive(size: int) -> None:
    value = encrypt_key(MSK[:size], SALTS[0], AUTHENTICATOR, SECRET)
    assert value[:2] == SALTS[0]
    assert len(value) % 16 == 2
    assert decrypt_key(value, AUTHENTICATOR, SECRET) == MSK[:size]


def test_first_block_of_a_key_is_that_of_rfc_2548() -> None:
    value = encrypt_key(MSK[:15], SALTS[0], AUTHENTICATOR, SECRET)
    stream = hashlib.md5(SECRET + AUTHENTICATOR + SALTS[0]).digest()
    assert bytes(a ^ b for a, b in zip(value[2:], stream, strict=True)) == b"\x0f" + MSK[:15]


@pytest.mark.parametrize("value", [b"", b"\x80", b"\x80\1", b"\x80\1" + bytes(15)])
def test_malformed_keys(value: bytes) -> None:
    with pytest.raises(EapError, match="malformed"):
        decrypt_key(value, AUTHENTICATOR, SECRET)


def test_key_longer_than_its_attribute() -> None:
    stream = hashlib.md5(SECRET + AUTHENTICATOR + SALTS[0]).digest()
    for size in (0, 16, 255):
        value = SALTS[0] + bytes((stream[0] ^ size,)) + stream[1:]
        with pytest.raises(EapError, match="wrong length"):
            decrypt_key(value, AUTHENTICATOR, SECRET)


def accepted(attributes: Attributes) -> RadiusPacket:
    return RadiusPacket(RadiusCode.ACCESS_ACCEPT, 0, bytes(16), attributes)


def test_receive_key_comes_first() -> None:
    attributes = key_attributes(MSK, SALTS, AUTHENTICATOR, SECRET)
    other = (26, struct.pack("!I", 9) + b"\x11\3x")
    packet = accepted((other, *reversed(attributes)))
    assert session_key(packet, AUTHENTICATOR, SECRET) == MSK
    assert session_key(packet, AUTHENTICATOR, SECRET) != MSK[32:] + MSK[:32]
    # Both in one attribute.
    both = (26, attributes[0][1] + attributes[1][1][4:])
    assert session_key(accepted((both,)), AUTHENTICATOR, SECRET) == MSK


def test_short_keys_are_filled_up() -> None:
    """EAP-MSCHAPv2 has 16 octets for each direction."""
    packet = accepted(key_attributes(MSK[:32], SALTS, AUTHENTICATOR, SECRET))
    assert session_key(packet, AUTHENTICATOR, SECRET) == MSK[:32] + bytes(32)


def test_keys_that_are_missing_or_too_long() -> None:
    attributes = key_attributes(MSK, SALTS, AUTHENTICATOR, SECRET)
    for some in ((), attributes[:1], ((26, b"\0\0\1\x37\x11"), attributes[1])):
        with pytest.raises(EapError, match="without MS-MPPE keys"):
            session_key(accepted(some), AUTHENTICATOR, SECRET)
    long = key_attributes(bytes(66), SALTS, AUTHENTICATOR, SECRET)
    with pytest.raises(EapError, match="66 octets"):
        session_key(accepted(long), AUTHENTICATOR, SECRET)


# --- a server that runs EAP ---------------------------------------------------------


class Aaa:
    """A RADIUS server with one user."""

    def __init__(self, server: RadiusServer = ONE, extra: Attributes = ()) -> None:
        self.server = server
        self.extra = extra
        self.sessions: dict[bytes, EapServerSession] = {}
        self.seen: list[RadiusPacket] = []

    def answer(self, data: bytes) -> bytes:
        packet = check_request(data, self.server.secret)
        self.seen.append(packet)
        eap = packet.eap()
        assert eap
        state = packet.get(RadiusType.STATE)
        if state is None:
            state = bytes((len(self.sessions),))
            method = MsChapV2Server("aaa", lambda user: nt_password_hash("pw"))
            self.sessions[state] = EapServerSession([method])
            reply = self.sessions[state].begin()
        else:
            reply = self.sessions[state].receive(eap)
        return self.build(packet, reply, state)

    def build(self, request: RadiusPacket, reply: EapReply, state: bytes) -> bytes:
        eap = split_eap(reply.octets)
        code = RadiusCode.ACCESS_CHALLENGE
        attributes: Attributes = (*eap, (RadiusType.STATE, state))
        if isinstance(reply.result, EapFailure):
            code, attributes = RadiusCode.ACCESS_REJECT, (*eap, *self.extra)
        elif reply.result:
            keys = key_attributes(
                reply.result.msk, SALTS, request.authenticator, self.server.secret
            )
            code, attributes = RadiusCode.ACCESS_ACCEPT, (*eap, *keys, *self.extra)
        return build_answer(code, request, attributes, self.server.secret)


@dataclass
class World:
    """The client of RADIUS between an EAP client and servers."""

    radius: RadiusClient
    password: str = "pw"
    now: float = 0.0

    def run(self, servers: Iterable[Aaa]) -> tuple[EapReply, EapReply]:
        """A conversation to its end: the last of the EAP client and of RADIUS."""
        by_address = {aaa.server.address: aaa for aaa in servers}
        method = MsChapV2Client("bus-17", self.password)
        mine = EapClient("bus-17", (method,)).begin(0.0)
        effects = self.radius.begin(1, PEER, self.now)
        while True:
            effect = effects.pop(0)
            if isinstance(effect, EapAnswer):
                answer = mine.receive(effect.reply.octets)
                if effect.reply.result:
                    return answer, effect.reply
                effects += self.radius.answer(1, answer.octets, self.now)
            elif effect.address in by_address:
                data = by_address[effect.address].answer(effect.data)
                effects += self.radius.receive(data, effect.address, effect.port, self.now)
            else:
                due = self.radius.next_timer()
                assert due is not None
                self.now = due
                effects += self.radius.handle_timer(self.now)


def world(config: RadiusConfig = CONFIG, password: str = "pw") -> World:
    return World(RadiusClient(config), password)


def only(effects: list[RadiusEffect]) -> Datagram:
    assert len(effects) == 1
    assert isinstance(effects[0], Datagram)
    return effects[0]


def ended(effects: list[RadiusEffect]) -> EapReply:
    assert len(effects) == 1
    assert isinstance(effects[0], EapAnswer)
    assert effects[0].session == 1
    assert effects[0].reply.result
    return effects[0].reply


def failure(effects: list[RadiusEffect]) -> str:
    reply = ended(effects)
    assert isinstance(reply.result, EapFailure)
    assert reply.octets[0] == EapCode.FAILURE
    return reply.result.reason


def test_whole_conversation() -> None:
    """RFC 3579 section 2, with IDi in place of the identity."""
    extra = ((27, struct.pack("!I", 3600)), (168, ip_address("2001:db8::17").packed))
    aaa = Aaa(extra=extra)
    there = world()
    mine, reply = there.run([aaa])
    assert isinstance(mine.result, EapSuccess)
    assert isinstance(reply.result, EapSuccess)
    assert reply.result.msk == mine.result.msk
    assert reply.result.identity == "bus-17"
    assert reply.result.attributes == extra
    assert there.radius.next_timer() is None
    first, *others = aaa.seen
    assert first.eap() == EapMessage(2, 0, EapType.IDENTITY, b"bus-17").build()
    for packet in aaa.seen:
        assert packet.get(RadiusType.USER_NAME) == b"bus-17"
        assert packet.get(RadiusType.NAS_IDENTIFIER) == b"ha"
        assert packet.get(RadiusType.NAS_IP_ADDRESS) == ip_address("198.51.100.1").packed
        assert packet.get(RadiusType.CALLING_STATION_ID) == b"198.51.100.7[4500]"
    assert first.get(RadiusType.STATE) is None
    assert all(packet.get(RadiusType.STATE) == b"\0" for packet in others)
    assert len({packet.authenticator for packet in aaa.seen}) == len(aaa.seen)


def test_true_identity_comes_from_the_server() -> None:
    """RFC 4877 section 8."""
    _, reply = world().run([Aaa(extra=((1, b"real@example.net"),))])
    assert isinstance(reply.result, EapSuccess)
    assert reply.result.identity == "real@example.net"


def test_reject() -> None:
    mine, reply = world(password="wrong").run([Aaa(extra=((18, b"go away"),))])
    assert reply.result == EapFailure("RADIUS refuses 'bus-17': 'go away'")
    assert mine.result == EapFailure("the EAP server refuses us: user or password is wrong")


def test_identity_is_asked_for_when_wanted() -> None:
    radius = RadiusClient(replace(CONFIG, ask_identity=True))
    (ask,) = radius.begin(1, PEER, 0.0)
    assert isinstance(ask, EapAnswer)
    assert ask.reply.octets == EapMessage(EapCode.REQUEST, 0, EapType.IDENTITY).build()
    answer = EapMessage(EapCode.RESPONSE, 0, EapType.IDENTITY, b"anonymous").build()
    packet = parse_packet(only(radius.answer(1, answer, 0.0)).data)
    assert packet.get(RadiusType.USER_NAME) == b"anonymous"
    assert packet.eap() == answer
    radius.begin(1, PEER, 0.0)
    other = EapMessage(EapCode.RESPONSE, 0, EapType.TLS).build()
    assert "instead of an identity" in failure(radius.answer(1, other, 0.0))


# --- loss, silence, failover --------------------------------------------------------


def test_requests_are_repeated_as_they_are() -> None:
    radius = RadiusClient(CONFIG)
    first = only(radius.begin(1, PEER, 10.0))
    assert radius.next_timer() == 13.0
    assert radius.handle_timer(12.9) == []
    assert radius.handle_timer(13.0) == [first]
    assert radius.handle_timer(16.0) == [first]
    assert "no RADIUS server answers" in failure(radius.handle_timer(19.0))
    assert radius.next_timer() is None


def test_second_server_takes_over_and_is_remembered() -> None:
    config = replace(CONFIG, servers=(ONE, TWO))
    there = world(config)
    _, reply = there.run([Aaa(TWO)])
    assert isinstance(reply.result, EapSuccess)
    assert there.now == 9.0
    _, reply = there.run([Aaa(TWO)])
    assert isinstance(reply.result, EapSuccess)
    assert there.now == 9.0


def test_all_servers_are_silent() -> None:
    there = world(replace(CONFIG, servers=(ONE, TWO)))
    _, reply = there.run([])
    assert reply.result == EapFailure("no RADIUS server answers")
    assert there.now == 18.0


def test_no_failover_inside_a_conversation() -> None:
    radius = RadiusClient(replace(CONFIG, servers=(ONE, TWO)))
    data = Aaa().answer(only(radius.begin(1, PEER, 0.0)).data)
    (challenge,) = radius.receive(data, ONE.address, ONE.port, 0.0)
    assert isinstance(challenge, EapAnswer)
    identifier = challenge.reply.octets[1]
    answer = EapMessage(EapCode.RESPONSE, identifier, EapType.NAK, b"\x0d").build()
    assert only(radius.answer(1, answer, 1.0)).address == ONE.address
    for now in (4.0, 7.0):
        assert only(radius.handle_timer(now)).address == ONE.address
    assert "no RADIUS server answers" in failure(radius.handle_timer(10.0))


def test_identifiers_run_out() -> None:
    radius = RadiusClient(CONFIG)
    seen = {only(radius.begin(session, PEER, 0.0)).data[1] for session in range(2, 258)}
    assert len(seen) == 256
    assert "busy" in failure(radius.begin(1, PEER, 0.0))
    radius.forget(100)
    assert only(radius.begin(1, PEER, 0.0))


def test_forgotten_sessions_leave_nothing() -> None:
    radius = RadiusClient(CONFIG)
    request = only(radius.begin(1, PEER, 0.0))
    radius.forget(1)
    radius.forget(1)
    assert radius.next_timer() is None
    with pytest.raises(Ignored, match="to nothing"):
        radius.receive(Aaa().answer(request.data), ONE.address, ONE.port, 0.0)
    assert "no EAP conversation" in str(radius.answer(1, b"", 0.0))


# --- what must not be believed ------------------------------------------------------


def asked() -> tuple[RadiusClient, RadiusPacket, bytes]:
    """A client with one open request, that request, and the server's challenge."""
    radius = RadiusClient(CONFIG)
    data = only(radius.begin(1, PEER, 0.0)).data
    return radius, parse_packet(data), Aaa().answer(data)


@pytest.mark.parametrize(
    ("change", "counter"),
    [
        (lambda data: data[:4] + bytes(16) + data[20:], "radius_forged"),
        (lambda data: data[:-1] + bytes((data[-1] ^ 1,)), "radius_forged"),
        (lambda data: b"\2" + data[1:], "radius_forged"),
        (lambda data: data[:1] + bytes((data[1] ^ 1,)) + data[2:], "radius_unexpected"),
        (lambda data: data[:-1], "radius_malformed"),
        (lambda data: data[:1], "radius_unexpected"),
        (lambda data: b"", "radius_unexpected"),
    ],
)
def test_forged_answers_change_nothing(change: Callable[[bytes], bytes], counter: str) -> None:
    radius, request, data = asked()
    with pytest.raises(Ignored) as caught:
        radius.receive(change(data), ONE.address, ONE.port, 0.0)
    assert caught.value.counter in (counter, "radius_malformed", "radius_unexpected")
    # The true one is still welcome.
    (effect,) = radius.receive(data, ONE.address, ONE.port, 0.0)
    assert isinstance(effect, EapAnswer)
    assert effect.reply.result is None
    assert request.identifier == data[1]


def test_answers_from_elsewhere() -> None:
    radius, _, data = asked()
    for address, port in ((ip_address("192.0.2.66"), 1812), (ONE.address, 1813)):
        with pytest.raises(Ignored, match="RADIUS answer from"):
            radius.receive(data, address, port, 0.0)
    assert radius.receive(data, ONE.address, ONE.port, 0.0)


def test_answers_count_once() -> None:
    radius, _, data = asked()
    radius.receive(data, ONE.address, ONE.port, 0.0)
    with pytest.raises(Ignored, match="to nothing"):
        radius.receive(data, ONE.address, ONE.port, 0.0)


SUCCESS = split_eap(EapMessage(EapCode.SUCCESS, 0).build())
REQUEST = split_eap(EapMessage(EapCode.REQUEST, 1, EapType.TLS, b" ").build())


@pytest.mark.parametrize(
    ("code", "attributes", "reason"),
    [
        (RadiusCode.ACCESS_ACCEPT, SUCCESS, "without MS-MPPE keys"),
        (RadiusCode.ACCESS_ACCEPT, (), "without an EAP message"),
        (RadiusCode.ACCESS_ACCEPT, REQUEST, "code 2 with EAP code 1"),
        (RadiusCode.ACCESS_CHALLENGE, (), "without an EAP message"),
        (RadiusCode.ACCESS_CHALLENGE, SUCCESS, "without an EAP request"),
        (RadiusCode.ACCESS_CHALLENGE, split_eap(b"\1\1"), "EAP message of 2 octets"),
        (RadiusCode.ACCESS_REQUEST, REQUEST, "code 1 with EAP code 1"),
        (5, SUCCESS, "code 5 with EAP code 3"),
        (RadiusCode.ACCESS_REJECT, SUCCESS, "RADIUS refuses 'bus-17'"),
        (RadiusCode.ACCESS_REJECT, (), "RADIUS refuses 'bus-17'"),
    ],
)
def test_answers_that_make_no_sense(code: int, attributes: Attributes, reason: str) -> None:
    radius, request, _ = asked()
    data = build_answer(code, request, attributes, SECRET)
    assert reason in failure(radius.receive(data, ONE.address, ONE.port, 0.0))


def test_key_with_a_wrong_secret_inside() -> None:
    radius, request, _ = asked()
    keys = key_attributes(MSK, SALTS, request.authenticator, b"another")
    data = build_answer(RadiusCode.ACCESS_ACCEPT, request, (*SUCCESS, *keys), SECRET)
    effects = radius.receive(data, ONE.address, ONE.port, 0.0)
    result = ended(effects).result
    assert not isinstance(result, EapSuccess) or result.msk != MSK


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"", "EAP message of 0 octets"),
        (EapMessage(EapCode.SUCCESS, 0).build(), "answers nothing"),
        (EapMessage(EapCode.REQUEST, 0, EapType.TLS).build(), "answers nothing"),
        (EapMessage(EapCode.RESPONSE, 77, EapType.TLS).build(), "answers nothing"),
    ],
)
def test_the_initiator_cannot_send_anything_else(octets: bytes, reason: str) -> None:
    radius, _, data = asked()
    radius.receive(data, ONE.address, ONE.port, 0.0)
    assert reason in failure(radius.answer(1, octets, 0.0))


def test_the_initiator_must_wait() -> None:
    radius, _, _ = asked()
    early = EapMessage(EapCode.RESPONSE, 0, EapType.TLS).build()
    assert "before the RADIUS server's" in failure(radius.answer(1, early, 0.0))
    assert radius.next_timer() is None


def test_large_eap_messages_end_the_conversation() -> None:
    radius, _, data = asked()
    (challenge,) = radius.receive(data, ONE.address, ONE.port, 0.0)
    assert isinstance(challenge, EapAnswer)
    identifier = challenge.reply.octets[1]
    large = EapMessage(EapCode.RESPONSE, identifier, EapType.TLS, bytes(4096)).build()
    assert "RADIUS packet of" in failure(radius.answer(1, large, 0.0))


def test_configuration() -> None:
    with pytest.raises(ValueError, match="needs a server"):
        RadiusConfig((), "ha")
    assert "secret'" not in repr(CONFIG)
    assert "radius secret" not in repr(CONFIG)


@pytest.mark.fuzz
def test_random_answers_never_raise_anything_else() -> None:
    draw = random.Random(3579)
    radius, request, data = asked()
    for _ in range(2000):
        broken = bytearray(data)
        for _ in range(draw.randrange(1, 5)):
            broken[draw.randrange(len(broken))] = draw.randrange(256)
        if broken == data:
            continue
        with pytest.raises(Ignored):
            radius.receive(bytes(broken), ONE.address, ONE.port, 0.0)
    for _ in range(500):
        body = tuple(
            (draw.choice((24, 26, 79, 80, 1)), draw.randbytes(draw.randrange(40)))
            for _ in range(draw.randrange(5))
        )
        body = tuple(item for item in body if item[0] != RadiusType.MESSAGE_AUTHENTICATOR)
        code = draw.choice((2, 3, 11, 1))
        effects = radius.receive(
            build_answer(code, request, body, SECRET), ONE.address, ONE.port, 0.0
        )
        assert isinstance(effects[0], EapAnswer)
        radius, request, _ = asked()
