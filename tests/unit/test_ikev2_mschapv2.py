# SPDX-License-Identifier: GPL-2.0-only
"""EAP-MSCHAPv2 against the vectors of its RFCs, and two ends against each other."""

from __future__ import annotations

import struct

import pytest
from dsmip.ikev2.eap import (
    EapClient,
    EapClientSession,
    EapError,
    EapFailure,
    EapReply,
    EapServerSession,
    EapSuccess,
)
from dsmip.ikev2.eap_mschapv2 import (
    Code,
    MsChapV2Client,
    MsChapV2ClientSession,
    MsChapV2Server,
)
from dsmip.ikev2.mschap import (
    authenticator_response,
    challenge_hash,
    des_encrypt,
    master_key,
    md4,
    nt_password_hash,
    nt_response,
    session_key,
    start_key,
)

# RFC 2759 section 9.2, RFC 3079 section 3.5.3.
USER = "User"
PASSWORD = "clientPass"
CHALLENGE = bytes.fromhex("5B5D7C7D7B3F2F3E3C2C602132262628")
PEER_CHALLENGE = bytes.fromhex("21402324255E262A28295F2B3A337C7E")
RESPONSE = bytes.fromhex("82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF")
AUTHENTICATOR = "407A5589115FD0D6209F510FE9C04566932CDA56"


# --- the cryptography ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        (b"", "31d6cfe0d16ae931b73c59d7e0c089c0"),
        (b"a", "bde52cb31de33e46245e05fbdbd6fb24"),
        (b"abc", "a448017aaf21d8525fc10ae87aa6729d"),
        (b"message digest", "d9130a8164549fe818874806e1c7014b"),
        (b"abcdefghijklmnopqrstuvwxyz", "d79e1c308aa5bbcdeea8ed63df412da9"),
        (b"1234567890" * 8, "e33b4ddc9c38f2199c3e7b164fcc0536"),
    ],
)
def test_md4(text: bytes, digest: str) -> None:
    """RFC 1320 section A.5."""
    assert md4(text).hex() == digest


@pytest.mark.parametrize("size", [54, 55, 56, 57, 63, 64, 65, 119, 120, 128])
def test_md4_pads_at_every_block_boundary(size: int) -> None:
    assert len({md4(bytes(n)) for n in range(size, size + 3)}) == 3


def test_des_with_the_classic_example() -> None:
    # Key 133457799BBCDFF1 without its parity bits.
    spread = 0x133457799BBCDFF1
    bits = 0
    for shift in range(56, -1, -8):
        bits = bits << 7 | (spread >> shift & 0xFF) >> 1
    cipher = des_encrypt(bits.to_bytes(7, "big"), bytes.fromhex("0123456789ABCDEF"))
    assert cipher.hex() == "85e813540f0ab405"


def test_des_of_zeros() -> None:
    assert des_encrypt(bytes(7), bytes(8)).hex() == "8ca64de9c1b123a7"


def test_vectors_of_rfc_2759() -> None:
    secret = nt_password_hash(PASSWORD)
    assert secret.hex() == "44ebba8d5312b8d611474411f56989ae"
    assert md4(secret).hex() == "41c00c584bd2d91c4017a2a12fa59f3f"
    assert challenge_hash(PEER_CHALLENGE, CHALLENGE, USER).hex() == "d02e4386bce91226"
    assert nt_response(CHALLENGE, PEER_CHALLENGE, USER, secret) == RESPONSE
    proof = authenticator_response(CHALLENGE, PEER_CHALLENGE, USER, secret, RESPONSE)
    assert proof.hex().upper() == AUTHENTICATOR


def test_vectors_of_rfc_3079() -> None:
    master = master_key(nt_password_hash(PASSWORD), RESPONSE)
    assert master.hex() == "fdece3717a8c838cb388e527ae3cdd31"
    assert start_key(master, to_server=False).hex() == "8b7cdc149b993a1ba118cb153f56dccb"


def test_session_key_is_receive_key_then_send_key_of_the_server() -> None:
    secret = nt_password_hash(PASSWORD)
    msk = session_key(secret, RESPONSE)
    assert len(msk) == 64
    assert msk[:16] == start_key(master_key(secret, RESPONSE), to_server=True)
    assert msk[16:32].hex() == "8b7cdc149b993a1ba118cb153f56dccb"
    assert msk[32:] == bytes(32)


# --- two ends -----------------------------------------------------------------------


def accounts(user: str) -> bytes | None:
    return nt_password_hash(PASSWORD) if user == USER else None


def client(user: str = USER, password: str = PASSWORD) -> EapClientSession:
    return EapClient(user, (MsChapV2Client(user, password),)).begin(0.0)


def server(retries: int = 0) -> EapServerSession:
    return EapServerSession([MsChapV2Server("ha", accounts, retries=retries)])


def converse(own: EapClientSession, other: EapServerSession) -> tuple[EapReply, EapReply]:
    """Carry messages until one side has a result; returns the last of each."""
    reply = other.begin()
    while True:
        answer = own.receive(reply.octets)
        if answer.result or reply.result:
            return answer, reply
        reply = other.receive(answer.octets)


def test_both_sides_have_one_key() -> None:
    mine, theirs = converse(client(), server())
    assert isinstance(mine.result, EapSuccess)
    assert isinstance(theirs.result, EapSuccess)
    assert mine.result.msk == theirs.result.msk
    assert theirs.result.identity == USER
    assert mine.result.msk.hex() not in repr(mine.result)


def test_windows_domain_is_no_part_of_the_user() -> None:
    mine, theirs = converse(client(rf"FLEET\{USER}"), server())
    assert isinstance(mine.result, EapSuccess)
    assert isinstance(theirs.result, EapSuccess)
    assert theirs.result.identity == USER


def test_keys_differ_between_conversations() -> None:
    keys = set()
    for _ in range(2):
        _, theirs = converse(client(), server())
        assert isinstance(theirs.result, EapSuccess)
        keys.add(theirs.result.msk)
    assert len(keys) == 2


def test_wrong_password() -> None:
    mine, theirs = converse(client(password="clientpass"), server())
    assert theirs.result == EapFailure("user 'User' has a wrong password")
    assert theirs.octets[0] == 4
    assert mine.result == EapFailure("the EAP server refuses us: user or password is wrong")


def test_unknown_user_is_told_the_same_as_a_wrong_password() -> None:
    known, unknown = server(), server()
    one, two = client(password="x"), client("Nobody")
    first = known.receive(one.receive(known.begin().octets).octets).octets
    second = unknown.receive(two.receive(unknown.begin().octets).octets).octets
    assert len(first) == len(second)
    assert first[9:].partition(b"C=")[0] == second[9:].partition(b"C=")[0]
    assert unknown.receive(two.receive(second).octets).result == EapFailure(
        "user 'Nobody' has no account"
    )


def method(retries: int = 0) -> tuple[MsChapV2Server, bytes]:
    made = MsChapV2Server("ha", accounts, retries=retries)
    return made, made.begin(7)


def respond(request: bytes, challenge: bytes, password: str, number: int | None = None) -> bytes:
    """A client's response, made by hand."""
    own = bytes(range(16))
    value = own + bytes(8) + nt_response(challenge, own, USER, nt_password_hash(password)) + b"\0"
    body = bytes((49,)) + value + USER.encode()
    identifier = request[1] if number is None else number
    return struct.pack("!BBH", Code.RESPONSE, identifier, 4 + len(body)) + body


def test_retry_with_another_password_and_a_fresh_challenge() -> None:
    made, request = method(retries=1)
    refusal = made.answer(7, respond(request, request[5:21], "wrong"))
    assert isinstance(refusal, bytes)
    assert refusal[0] == Code.FAILURE
    text = refusal[4:].decode()
    assert text.startswith("E=691 R=1 C=")
    challenge = bytes.fromhex(text.split()[2].removeprefix("C="))
    assert challenge != request[5:21]
    success = made.answer(8, respond(request, challenge, PASSWORD, request[1] + 1))
    assert isinstance(success, bytes)
    assert success[4:6] == b"S="
    assert isinstance(made.answer(9, bytes((Code.SUCCESS,))), EapSuccess)


def test_retries_end() -> None:
    made, request = method(retries=1)
    made.answer(7, respond(request, request[5:21], "wrong"))
    last = made.answer(8, respond(request, bytes(16), "wrong", request[1] + 1))
    assert isinstance(last, bytes)
    assert b" R=0 " in last
    with pytest.raises(EapError, match="instead of a failure"):
        made.answer(9, respond(request, bytes(16), PASSWORD, request[1] + 2))


def test_old_response_is_no_answer_to_a_new_challenge() -> None:
    _, request = method()
    old = respond(request, request[5:21], PASSWORD)
    made, _ = method()
    assert isinstance(made.answer(7, old), bytes)
    assert isinstance(made.answer(8, bytes((Code.FAILURE,))), EapFailure)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: b"", "0 octets"),
        (lambda data: data[:3], "3 octets"),
        (lambda data: data[:-1], "says"),
        (lambda data: data[:1] + b"\x55" + data[2:], "identifier"),
        (lambda data: data[:4] + b"\x30" + data[5:], "value"),
        (lambda data: bytes((Code.SUCCESS,)) + data[1:], "instead of a response"),
        (lambda data: struct.pack("!BBH", 2, 7, 10) + data[4:10], "value"),
        (lambda data: struct.pack("!BBH", 2, 7, 55) + data[4:54] + b"\xff", "UTF-8"),
        (lambda data: struct.pack("!BBH", 2, 7, 354) + data[4:54] + b"a" * 300, "name"),
    ],
)
def test_server_refuses_malformed_responses(change, reason: str) -> None:  # type: ignore[no-untyped-def]
    made, request = method()
    with pytest.raises(EapError, match=reason):
        made.answer(7, change(respond(request, request[5:21], PASSWORD)))


def test_client_must_confirm_the_success() -> None:
    made, request = method()
    made.answer(7, respond(request, request[5:21], PASSWORD))
    with pytest.raises(EapError, match="instead of a success"):
        made.answer(8, bytes((Code.FAILURE,)))


# --- the client alone ---------------------------------------------------------------


def challenged() -> MsChapV2ClientSession:
    session = MsChapV2Client(USER, PASSWORD, lambda size: PEER_CHALLENGE).client(0.0)
    answer = session.answer(1, struct.pack("!BBHB", 1, 9, 23, 16) + CHALLENGE + b"ha")
    assert answer[:5] == struct.pack("!BBHB", 2, 9, 58, 49)
    assert answer[5:21] == PEER_CHALLENGE
    assert answer[29:53] == RESPONSE
    assert answer[54:] == USER.encode()
    return session


def test_client_takes_the_server_only_with_its_proof() -> None:
    session = challenged()
    assert session.outcome() is None
    text = f"S={AUTHENTICATOR} M=Welcome".encode()
    assert session.answer(2, struct.pack("!BBH", 3, 9, 4 + len(text)) + text) == b"\x03"
    success = session.outcome()
    assert success
    assert success.msk == session_key(nt_password_hash(PASSWORD), RESPONSE)


@pytest.mark.parametrize(
    ("code", "number", "text", "reason"),
    [
        (3, 9, b"S=" + b"0" * 40, "does not know"),
        (3, 9, b"", "does not know"),
        (3, 9, AUTHENTICATOR.encode(), "does not know"),
        (3, 8, b"S=" + AUTHENTICATOR.encode(), "identifier"),
        (1, 9, b"\x10" + bytes(16), "twice"),
        (2, 9, b"", "from a server"),
        (7, 9, b"", "from a server"),
    ],
)
def test_client_refuses(code: int, number: int, text: bytes, reason: str) -> None:
    session = challenged()
    with pytest.raises(EapError, match=reason):
        session.answer(2, struct.pack("!BBH", code, number, 4 + len(text)) + text)
    assert session.outcome() is None


@pytest.mark.parametrize("code", [3, 4])
def test_client_wants_a_challenge_first(code: int) -> None:
    session = MsChapV2Client(USER, PASSWORD).client(0.0)
    with pytest.raises(EapError, match="before a challenge"):
        session.answer(1, struct.pack("!BBH", code, 9, 4))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"E=648 R=0", "has expired"),
        (b"E=647 R=0", "disabled"),
        (b"E=4711 R=0", "error 4711"),
        (b"nothing", "error None"),
    ],
)
def test_client_tells_why_it_was_refused(text: bytes, complaint: str) -> None:
    session = challenged()
    assert session.answer(2, struct.pack("!BBH", 4, 9, 4 + len(text)) + text) == b"\x04"
    assert complaint in session.complaint
    with pytest.raises(EapError, match="after the end"):
        session.answer(3, struct.pack("!BBH", 3, 9, 4))
    assert session.outcome() is None


def test_password_is_in_no_repr() -> None:
    assert PASSWORD not in repr(MsChapV2Client(USER, PASSWORD))
