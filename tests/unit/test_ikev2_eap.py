# SPDX-License-Identifier: GPL-2.0-only
"""EAP conversations: order, identifiers, early and forged ends."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

import pytest
from dsmip.ikev2.eap import (
    ROUNDS_MAX,
    EapClient,
    EapClientSession,
    EapError,
    EapFailure,
    EapMessage,
    EapPeer,
    EapReply,
    EapResult,
    EapServerSession,
    EapSuccess,
    LocalEap,
    RemoteEap,
    ServerMethod,
    next_identifier,
    parse_message,
)
from dsmip.ikev2.errors import LocalError
from dsmip.ikev2.numbers import EapCode, EapType, NotifyType

KEY = EapSuccess(bytes(range(64)), "bus-17")
PEER = EapPeer("bus-17", "198.51.100.7", "198.51.100.1")


class Echo:
    """A client method that is content after ``rounds`` requests."""

    TYPE: ClassVar[int] = 200

    def __init__(self, rounds: int = 2) -> None:
        self.complaint = "not today"
        self.left = rounds

    def answer(self, identifier: int, data: bytes) -> bytes:
        if data == b"bad":
            raise EapError("bad request")
        self.left -= 1
        return data

    def outcome(self) -> EapSuccess | None:
        return KEY if self.left <= 0 else None


class Count:
    """A server method that wants its number back ``rounds`` times."""

    TYPE: ClassVar[int] = 200

    def __init__(self, rounds: int = 2) -> None:
        self.left = rounds

    def begin(self, identifier: int) -> bytes:
        return bytes((identifier,))

    def answer(self, identifier: int, data: bytes) -> bytes | EapResult:
        if data != bytes((identifier,)):
            return EapFailure("wrong number")
        self.left -= 1
        return KEY if self.left == 0 else bytes((next_identifier(identifier),))


class OtherCount(Count):
    TYPE: ClassVar[int] = 201


class EchoConfig:
    def client(self, at: float) -> Echo:
        return Echo()


def request(identifier: int, kind: int, data: bytes = b"") -> bytes:
    return EapMessage(EapCode.REQUEST, identifier, kind, data).build()


def response(identifier: int, kind: int, data: bytes = b"") -> bytes:
    return EapMessage(EapCode.RESPONSE, identifier, kind, data).build()


def end(code: int, identifier: int) -> bytes:
    return EapMessage(code, identifier).build()


def client(rounds: int = 2) -> EapClientSession:
    return EapClientSession("bus-17", [Echo(rounds)])


def failed(reply: EapReply) -> str:
    assert isinstance(reply.result, EapFailure)
    return reply.result.reason


# --- messages -----------------------------------------------------------------------


def test_messages_survive_the_wire() -> None:
    for message in (
        EapMessage(EapCode.REQUEST, 3, EapType.TLS, b"abc"),
        EapMessage(EapCode.RESPONSE, 255, EapType.IDENTITY),
        EapMessage(EapCode.SUCCESS, 0),
        EapMessage(EapCode.FAILURE, 9),
    ):
        assert parse_message(message.build()) == message
        assert parse_message(message.build() + b"padding") == message


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        ("", "0 octets"),
        ("010100", "3 octets"),
        ("01010003", "says 3"),
        ("01010006 1a", "says 6"),
        ("01010004", "without a type"),
        ("02010004", "without a type"),
        ("03010005 00", "of 5"),
        ("04010005 00", "of 5"),
        ("00010005 01", "code 0"),
        ("05010005 01", "code 5"),
    ],
)
def test_malformed_messages(octets: str, reason: str) -> None:
    with pytest.raises(EapError, match=reason) as caught:
        parse_message(bytes.fromhex(octets))
    assert caught.value.notify == NotifyType.AUTHENTICATION_FAILED
    assert caught.value.data == b""
    assert reason in failed(client().receive(bytes.fromhex(octets)))
    server = EapServerSession([Count()])
    server.begin()
    reply = server.receive(bytes.fromhex(octets))
    assert reason in failed(reply)
    assert reply.octets[0] == EapCode.FAILURE


def test_our_own_message_may_be_too_large() -> None:
    with pytest.raises(ValueError, match="65541"):
        EapMessage(1, 1, 1, bytes(65536)).build()


# --- the client ---------------------------------------------------------------------


def test_client_goes_through() -> None:
    session = client()
    identity = parse_message(session.receive(request(7, EapType.IDENTITY)).octets)
    assert (identity.identifier, identity.data) == (7, b"bus-17")
    assert session.receive(request(8, EapType.NOTIFICATION, b"hello")).octets == response(8, 2)
    assert session.receive(request(9, 200, b"a")).octets == response(9, 200, b"a")
    assert session.receive(request(10, 200, b"b")).octets == response(10, 200, b"b")
    assert session.receive(end(EapCode.SUCCESS, 10)) == EapReply(result=KEY)
    assert "after the end" in failed(session.receive(request(11, 200)))


@pytest.mark.parametrize("before", [0, 1])
def test_early_success_is_refused(before: int) -> None:
    session = client()
    session.receive(request(8, EapType.IDENTITY))
    for number in range(before):
        session.receive(request(9 + number, 200))
    assert "before the server" in failed(session.receive(end(EapCode.SUCCESS, 8 + before)))


def test_success_before_anything_is_refused() -> None:
    assert "answers nothing" in failed(client().receive(end(EapCode.SUCCESS, 0)))


def test_success_with_a_foreign_identifier_is_refused() -> None:
    session = client(1)
    session.receive(request(9, 200))
    assert "answers nothing" in failed(session.receive(end(EapCode.SUCCESS, 10)))
    # And the right one afterwards is too late.
    assert "after the end" in failed(session.receive(end(EapCode.SUCCESS, 9)))


def test_failure_ends_even_a_good_conversation() -> None:
    session = client(1)
    session.receive(request(9, 200))
    assert failed(session.receive(end(EapCode.FAILURE, 9))) == (
        "the EAP server refuses us: not today"
    )


def test_failure_without_a_method() -> None:
    session = client()
    session.receive(request(1, EapType.IDENTITY))
    assert failed(session.receive(end(EapCode.FAILURE, 1))) == "the EAP server refuses us"


def test_repeated_request_gets_the_same_response() -> None:
    session = client()
    first = session.receive(request(9, 200, b"a"))
    assert session.receive(request(9, 200, b"a")) == first
    # It counted once: another is needed.
    assert "before the server" in failed(session.receive(end(EapCode.SUCCESS, 9)))


def test_two_requests_with_one_identifier_are_refused() -> None:
    session = client()
    session.receive(request(9, 200, b"a"))
    assert "two requests" in failed(session.receive(request(9, 200, b"b")))


def test_client_says_what_it_can_do() -> None:
    session = client()
    assert session.receive(request(1, EapType.MD5_CHALLENGE, b"x")).octets == response(
        1, EapType.NAK, b"\xc8"
    )
    assert session.receive(request(2, 200, b"a")).octets == response(2, 200, b"a")


def test_client_without_methods_wants_none() -> None:
    session = EapClientSession("bus-17", [])
    assert session.receive(request(1, 200)).octets == response(1, EapType.NAK, b"\0")
    assert session.receive(request(2, 254, bytes(7))).octets[-8:].hex() == "fe00000000000000"


def test_expanded_types_are_answered_in_kind() -> None:
    """RFC 3748 section 5.3.2."""
    data = parse_message(client().receive(request(1, EapType.EXPANDED, bytes(7))).octets)
    assert data.type == EapType.EXPANDED
    assert (b"\xfe" + data.data).hex() == "fe00000000000003fe000000000000c8"


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (request(10, EapType.IDENTITY), "inside a conversation"),
        (request(10, EapType.TLS), "inside a conversation"),
        (request(10, EapType.NAK), "inside a conversation"),
        (response(10, 200), "response from a server"),
        (request(10, 200, b"bad"), "bad request"),
    ],
)
def test_client_refuses_what_has_no_place_in_a_method(octets: bytes, reason: str) -> None:
    session = client()
    session.receive(request(9, 200))
    assert reason in failed(session.receive(octets))


def test_nak_from_a_server() -> None:
    assert "Nak" in failed(client().receive(request(1, EapType.NAK)))


def test_endless_requests_end() -> None:
    session = client()
    for number in range(ROUNDS_MAX):
        assert session.receive(request(number, EapType.NOTIFICATION)).result is None
    assert "more than" in failed(session.receive(request(ROUNDS_MAX, EapType.NOTIFICATION)))


def test_client_configuration_serves_many_conversations() -> None:
    config = EapClient("bus-17", (EchoConfig(),))
    one, two = config.begin(0.0), config.begin(0.0)
    one.receive(request(1, 200))
    assert two.receive(request(1, 200, b"z")).octets == response(1, 200, b"z")


# --- the server ---------------------------------------------------------------------


def started(methods: Sequence[ServerMethod]) -> tuple[EapServerSession, int]:
    server = EapServerSession(methods, random=lambda size: b"\xfe" * size)
    return server, parse_message(server.begin().octets).identifier


def test_server_goes_through_and_the_identifier_wraps() -> None:
    server, first = started([Count()])
    assert first == 255
    second = server.receive(response(255, 200, b"\xff"))
    assert second.octets == request(0, 200, b"\0")
    assert server.receive(response(0, 200, b"\0")) == EapReply(end(EapCode.SUCCESS, 0), KEY)
    assert "after the end" in failed(server.receive(response(0, 200, b"\0")))


def test_server_asks_for_the_identity() -> None:
    server = EapServerSession([Count()], ask_identity=True)
    first = parse_message(server.begin().octets)
    assert first.type == EapType.IDENTITY
    reply = server.receive(response(first.identifier, EapType.IDENTITY, b"bus-17"))
    assert server.claimed == "bus-17"
    assert parse_message(reply.octets).type == 200


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (response(254, 200, b"\xff"), "response 254 to request 255"),
        (response(255, 201), "in a conversation of 200"),
        (response(255, EapType.IDENTITY), "in a conversation of 200"),
        (request(255, 200), "code 1 from a client"),
        (end(EapCode.SUCCESS, 255), "code 3 from a client"),
        (end(EapCode.FAILURE, 255), "code 4 from a client"),
        (response(255, 200, b"\0"), "wrong number"),
        (response(255, EapType.NAK, b"\x0d"), "accepts only the EAP types [13]"),
        (response(255, EapType.NAK), "accepts only the EAP types []"),
    ],
)
def test_server_refuses(octets: bytes, reason: str) -> None:
    server, _ = started([Count()])
    reply = server.receive(octets)
    assert reason in failed(reply)
    assert reply.octets == end(EapCode.FAILURE, 255)


def test_replayed_response_is_refused() -> None:
    server, _ = started([Count()])
    server.receive(response(255, 200, b"\xff"))
    assert "response 255 to request 0" in failed(server.receive(response(255, 200, b"\xff")))


def test_identity_request_wants_an_identity() -> None:
    server = EapServerSession([Count()], ask_identity=True, random=lambda size: bytes(size))
    server.begin()
    assert "instead of an identity" in failed(server.receive(response(1, 200)))


def test_client_chooses_among_methods() -> None:
    server, _ = started([Count(), OtherCount()])
    reply = server.receive(response(255, EapType.NAK, bytes((201, 200))))
    assert reply.octets == request(0, 201, b"\0")
    # Once, and only at the beginning.
    assert "only the EAP types" in failed(server.receive(response(0, EapType.NAK, b"\xc8")))


def test_nak_inside_a_method_is_refused() -> None:
    server, _ = started([Count(), OtherCount()])
    server.receive(response(255, 200, b"\xff"))
    assert "in a conversation of 200" in failed(server.receive(response(0, EapType.NAK, b"\xc9")))


def test_endless_responses_end() -> None:
    server, identifier = started([Count(1000)])
    for _ in range(ROUNDS_MAX):
        assert not server.receive(response(identifier, 200, bytes((identifier,)))).result
        identifier = next_identifier(identifier)
    assert "more than" in failed(server.receive(response(identifier, 200, bytes((identifier,)))))


def test_server_needs_a_method() -> None:
    with pytest.raises(ValueError, match="method"):
        EapServerSession([])


# --- behind the responder -----------------------------------------------------------


def test_local_backend_holds_conversations_apart() -> None:
    seen = []

    def methods(peer: EapPeer, at: float) -> list[ServerMethod]:
        seen.append((peer.identity, at))
        return [Count(1)]

    backend = LocalEap(methods, random=lambda size: bytes(size))
    for session in (1, 2):
        assert backend.begin(session, PEER, 5.0).octets == request(1, 200, b"\1")
    assert seen == [("bus-17", 5.0)] * 2
    assert backend.answer(2, response(1, 200, b"\1")).result == KEY
    assert len(backend) == 1
    assert "no EAP conversation 2" in failed(backend.answer(2, response(1, 200, b"\1")))
    backend.forget(1)
    backend.forget(1)
    assert len(backend) == 0


def test_local_backend_is_bounded() -> None:
    backend = LocalEap(lambda peer, at: [Count()], sessions_max=1)
    backend.begin(1, PEER, 0.0)
    assert "too many" in failed(backend.begin(2, PEER, 0.0))
    # The same session may begin anew.
    assert not backend.begin(1, PEER, 0.0).result


def test_local_backend_survives_a_missing_library() -> None:
    def methods(peer: EapPeer, at: float) -> list[ServerMethod]:
        raise LocalError("no pyOpenSSL")

    reply = LocalEap(methods).begin(1, PEER, 0.0)
    assert failed(reply) == "no pyOpenSSL"
    assert reply.octets[0] == EapCode.FAILURE


def test_remote_backend_leaves_all_to_others() -> None:
    backend = RemoteEap()
    backend.begin(1, PEER, 0.0)
    backend.answer(1, b"")
    backend.forget(1)


@pytest.mark.fuzz
def test_random_octets_never_raise() -> None:
    draw = random.Random(20759)
    for _ in range(3000):
        size = draw.randrange(12)
        octets = bytearray(draw.randbytes(size))
        if size >= 4 and draw.random() < 0.8:
            octets[0] = draw.randrange(1, 5)
            octets[1] = draw.choice((0, 1, 255))
            octets[2:4] = size.to_bytes(2, "big")
            if size > 4:
                octets[4] = draw.choice((1, 2, 3, 200, 254, octets[4]))
        server, _ = started([Count(), OtherCount()])
        for session in (client(), server):
            session.receive(bytes(octets))
            reply = session.receive(bytes(octets))
            assert reply.octets or reply.result
