# SPDX-License-Identifier: GPL-2.0-only
"""EAP-TLS with both TLS versions, and everything that must end it."""

from __future__ import annotations

import random
import struct
import sys
from collections.abc import Callable

import pytest
from dsmip.ikev2 import eap_tls
from dsmip.ikev2.certificates import Certificate, load_revocations
from dsmip.ikev2.eap import (
    EapClient,
    EapClientSession,
    EapError,
    EapFailure,
    EapMessage,
    EapReply,
    EapServerSession,
    EapSuccess,
    parse_message,
)
from dsmip.ikev2.eap_tls import (
    LENGTH,
    MORE,
    START,
    TURN_MAX,
    Fragments,
    TlsClient,
    TlsCredential,
    TlsServer,
)
from dsmip.ikev2.errors import LocalError
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.issuing import YEAR, revoke
from dsmip.ikev2.numbers import EapCode, EapType
from dsmip.ikev2.signatures import KeyKind
from dsmip.ikev2.trust import Trust
from OpenSSL import SSL

from tests.unit.authorities import AT, ROOT, ROOT_KEY, TRUST, authority, key, leaf

HA = Identity.parse("ha.example.net")
BUS = Identity.parse("bus-17.example.net")
TLS12 = (SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION)
TLS13 = (SSL.TLS1_3_VERSION, SSL.TLS1_3_VERSION)
VERSIONS = pytest.mark.parametrize("versions", [TLS12, TLS13], ids=["TLS 1.2", "TLS 1.3"])


def credential(
    name: Identity, *chain: Certificate, trust: Trust = TRUST, fragment: int = 1024
) -> TlsCredential:
    return TlsCredential(key(str(name)), chain or (leaf(str(name)),), trust, fragment)


def client(
    own: TlsCredential | None = None,
    server: Identity | None = HA,
    versions: tuple[int, int] | None = None,
    at: float = AT,
) -> EapClientSession:
    method = TlsClient(own or credential(BUS), server, versions)
    return EapClient("bus-17", (method,)).begin(at)


def server(
    own: TlsCredential | None = None,
    identity: Identity | None = BUS,
    versions: tuple[int, int] | None = None,
    at: float = AT,
) -> EapServerSession:
    return EapServerSession(
        [TlsServer(own or credential(HA), identity, at, versions=versions)],
        random=lambda size: bytes(size),
    )


def converse(
    mine: EapClientSession,
    theirs: EapServerSession,
    change: Callable[[bytes], bytes] = lambda octets: octets,
) -> tuple[EapReply, EapReply, int]:
    """Carry messages to the end; returns the last of client and server, and their number."""
    reply = theirs.begin()
    for count in range(200):
        answer = mine.receive(change(reply.octets))
        if answer.result or reply.result:
            return answer, reply, count
        reply = theirs.receive(answer.octets)
    raise AssertionError("no end")


def failure(reply: EapReply) -> str:
    assert isinstance(reply.result, EapFailure)
    return reply.result.reason


# --- success ------------------------------------------------------------------------


@VERSIONS
def test_both_sides_have_one_key(versions: tuple[int, int]) -> None:
    mine, theirs, _ = converse(client(versions=versions), server(versions=versions))
    assert isinstance(mine.result, EapSuccess)
    assert isinstance(theirs.result, EapSuccess)
    assert mine.result.msk == theirs.result.msk
    assert len(mine.result.msk) == 64
    assert theirs.result.identity == "bus-17.example.net"


@VERSIONS
def test_small_fragments_and_chains(versions: tuple[int, int]) -> None:
    one, one_key = authority("One", ROOT, ROOT_KEY)
    names = (HA, BUS)
    own = {
        name: credential(name, leaf(str(name), one, one_key), one, fragment=64) for name in names
    }
    mine, theirs, count = converse(
        client(own[BUS], versions=versions), server(own[HA], versions=versions)
    )
    assert isinstance(mine.result, EapSuccess)
    assert isinstance(theirs.result, EapSuccess)
    assert mine.result.msk == theirs.result.msk
    assert count > 30


@pytest.mark.parametrize("kind", [KeyKind.ED25519, KeyKind.P384, KeyKind.RSA2048])
def test_keys_of_all_kinds(kind: KeyKind) -> None:
    name = str(BUS)
    own = TlsCredential(key(name, kind), (leaf(name, kind=kind),), TRUST)
    mine, theirs, _ = converse(client(own), server())
    assert isinstance(mine.result, EapSuccess)
    assert isinstance(theirs.result, EapSuccess)


def test_server_without_a_wish_learns_the_identity() -> None:
    _, theirs, _ = converse(client(), server(identity=None))
    assert isinstance(theirs.result, EapSuccess)
    assert theirs.result.identity == "bus-17.example.net"


def test_time_is_the_one_passed_in() -> None:
    """Both certificates are of the year 2027, whatever this machine believes."""
    late = AT + 2 * YEAR
    mine, _, _ = converse(client(at=late), server(at=late))
    assert "has expired" in failure(mine)


# --- certificates -------------------------------------------------------------------


@VERSIONS
@pytest.mark.parametrize(
    ("own", "reason"),
    [
        (lambda: credential(HA, leaf(str(HA), at=AT - 2 * YEAR)), "has expired"),
        (lambda: credential(HA, leaf(str(HA), at=AT + 2 * YEAR)), "not valid yet"),
        (lambda: credential(HA, leaf(str(HA), identities=[BUS])), "is not for ha.example.net"),
        (lambda: credential(HA, leaf(str(HA), *authority("Other"))), "no trusted authority"),
        (lambda: credential(HA, leaf(str(HA), usages=("1.3.6.1.5.5.7.3.2",))), "this usage"),
    ],
)
def test_client_refuses_the_server(  # type: ignore[no-untyped-def]
    versions: tuple[int, int], own, reason: str
) -> None:
    mine, theirs, _ = converse(client(versions=versions), server(own(), versions=versions))
    assert reason in failure(mine)
    assert not isinstance(theirs.result, EapSuccess)
    assert "TLS" in failure(theirs)


@VERSIONS
@pytest.mark.parametrize(
    ("own", "reason"),
    [
        (lambda: credential(BUS, leaf(str(BUS), at=AT - 2 * YEAR)), "has expired"),
        (lambda: credential(BUS, leaf(str(BUS), identities=[HA])), "is not for bus-17"),
        (lambda: credential(BUS, leaf(str(BUS), *authority("Other"))), "no trusted authority"),
        (lambda: credential(BUS, leaf(str(BUS), usages=("1.3.6.1.5.5.7.3.1",))), "this usage"),
    ],
)
def test_server_refuses_the_client(  # type: ignore[no-untyped-def]
    versions: tuple[int, int], own, reason: str
) -> None:
    mine, theirs, _ = converse(client(own(), versions=versions), server(versions=versions))
    assert reason in failure(theirs)
    assert theirs.octets[0] == EapCode.FAILURE
    assert "TLS" in failure(mine)


def test_revoked_client() -> None:
    own = leaf(str(BUS))
    lists = (load_revocations(revoke(ROOT, ROOT_KEY, [own.serial], at=AT)),)
    trust = Trust(anchors=(ROOT,), revocations=lists)
    _, theirs, _ = converse(client(credential(BUS, own)), server(credential(HA, trust=trust)))
    assert "is revoked" in failure(theirs)


def test_a_router_cannot_play_the_server() -> None:
    """Its certificate is good for the very same authority, but names another."""
    mine, _, _ = converse(client(), server(credential(BUS)))
    assert "is not for ha.example.net" in failure(mine)


def test_self_signed_is_believed_only_when_pinned() -> None:
    from dsmip.ikev2.issuing import issue

    def own(name: Identity) -> Certificate:
        signer = key(str(name))
        return issue(signer.public, signer, subject="CN=x", identities=[name], at=AT)

    certificates = {name: own(name) for name in (HA, BUS)}
    pinned = Trust(pinned=tuple(certificates.values()))
    good = {name: credential(name, certificates[name], trust=pinned) for name in (HA, BUS)}
    mine, _, _ = converse(client(good[BUS]), server(good[HA]))
    assert isinstance(mine.result, EapSuccess)
    mine, _, _ = converse(client(), server(good[HA]))
    assert "no trusted authority" in failure(mine)


def test_credential_must_fit() -> None:
    with pytest.raises(ValueError, match="certificate of its key"):
        TlsCredential(key("x"), (leaf(str(HA)),), TRUST)
    with pytest.raises(ValueError, match="certificate of its key"):
        TlsCredential(key("x"), (), TRUST)
    with pytest.raises(ValueError, match="fragments of 1 octets"):
        credential(HA, fragment=1)


# --- TLS itself ---------------------------------------------------------------------


def test_versions_must_meet() -> None:
    mine, theirs, _ = converse(client(versions=TLS13), server(versions=TLS12))
    assert "TLS" in failure(theirs)
    assert mine.result


@VERSIONS
def test_flipped_bit_on_the_way(versions: tuple[int, int]) -> None:
    draw = random.Random(5216)
    for _ in range(30):
        place = draw.randrange(60, 900)

        def flip(octets: bytes, place: int = place) -> bytes:
            message = bytearray(octets)
            if len(message) > place:
                message[place] ^= 0x10
            return bytes(message)

        mine, theirs, _ = converse(client(versions=versions), server(versions=versions), flip)
        assert isinstance(mine.result, EapFailure) or isinstance(theirs.result, EapSuccess)


# --- the end ------------------------------------------------------------------------


def walk(
    versions: tuple[int, int],
) -> list[tuple[EapClientSession, EapServerSession, bytes]]:
    """The two ends after 1, 2, 3 ... requests, with the last request."""
    states = []
    for steps in range(1, 12):
        mine, theirs = client(versions=versions), server(versions=versions)
        reply = theirs.begin()
        for _ in range(steps):
            reply = theirs.receive(mine.receive(reply.octets).octets)
            if reply.result:
                return states
        states.append((mine, theirs, reply.octets))
    return states


@VERSIONS
def test_early_success_is_refused_at_every_step(versions: tuple[int, int]) -> None:
    states = walk(versions)
    assert len(states) >= 2
    for mine, _, octets in states:
        # A success for the request before the one that is held back.
        early = EapMessage(EapCode.SUCCESS, parse_message(octets).identifier - 1).build()
        assert "before the server" in failure(mine.receive(early))


def test_success_without_the_servers_word_is_refused() -> None:
    """RFC 9190 section 2.1.1: the handshake alone is not enough with TLS 1.3."""
    mine, _, octets = walk(TLS13)[-1]
    message = parse_message(octets)
    early = EapMessage(EapCode.SUCCESS, message.identifier - 1).build()
    assert "before the server" in failure(mine.receive(early))


@VERSIONS
def test_client_answers_nothing_else_after_the_end(versions: tuple[int, int]) -> None:
    mine, theirs = client(versions=versions), server(versions=versions)
    answer, _, _ = converse(mine, theirs)
    assert isinstance(answer.result, EapSuccess)
    assert "after the end" in failure(mine.receive(theirs.begin().octets))


@VERSIONS
def test_server_ends_what_goes_on_after_the_end(versions: tuple[int, int]) -> None:
    mine, theirs, octets = walk(versions)[-1]
    last = parse_message(mine.receive(octets).octets)
    assert last.data == b"\0"
    more = EapMessage(EapCode.RESPONSE, last.identifier, EapType.TLS, b"\0\x17\x03\x03\0\1x")
    assert "TLS" in failure(theirs.receive(more.build()))


# --- messages -----------------------------------------------------------------------


def request(identifier: int, data: bytes) -> bytes:
    return EapMessage(EapCode.REQUEST, identifier, EapType.TLS, data).build()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "without flags"),
        (b"\0", "before the start"),
        (b"\0\x16\x03\x03\0\0", "before the start"),
    ],
)
def test_client_wants_a_start(data: bytes, reason: str) -> None:
    assert reason in failure(client().receive(request(1, data)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes((START,)), "starts twice"),
        (b"", "without flags"),
        (b"\0", "without TLS"),
        (bytes((LENGTH,)) + b"\0\0\0", "length is truncated"),
        (bytes((LENGTH | MORE,)) + b"\0\2\0\0x", "131072 octets is announced"),
        (bytes((LENGTH | MORE,)) + struct.pack("!I", 2) + b"abc", "more than 2"),
        (bytes((LENGTH,)) + struct.pack("!I", 5) + b"abc", "of 5 octets has 3"),
        (bytes((MORE,)), "fragment is empty"),
    ],
)
def test_client_refuses_malformed_messages(data: bytes, reason: str) -> None:
    session = client(credential(BUS, fragment=8192))
    session.receive(request(1, bytes((START,))))
    assert reason in failure(session.receive(request(2, data)))


def test_client_tells_of_junk_by_an_alert() -> None:
    session = client(credential(BUS, fragment=8192))
    session.receive(request(1, bytes((START,))))
    answer = session.receive(request(2, b"\0\x16\x03\x03\0\x04\xff\0\0\0"))
    assert parse_message(answer.octets).data[1] == 21
    assert "TLS" in failure(session.receive(request(3, b"\0x")))


def test_server_refuses_malformed_messages() -> None:
    for data, reason in (
        (b"", "without flags"),
        (bytes((START,)), "start from a client"),
        (b"\0", "without TLS"),
        (bytes((LENGTH | MORE,)) + b"\xff\xff\xff\xffx", "4294967295 octets is announced"),
    ):
        session = server()
        identifier = parse_message(session.begin().octets).identifier
        message = EapMessage(EapCode.RESPONSE, identifier, EapType.TLS, data)
        assert reason in failure(session.receive(message.build()))


def test_fragment_instead_of_an_acknowledgement() -> None:
    mine, theirs = client(credential(BUS, fragment=8192)), server(credential(HA, fragment=64))
    reply = theirs.receive(mine.receive(theirs.begin().octets).octets)
    message = parse_message(reply.octets)
    assert message.data[0] == LENGTH | MORE
    wrong = EapMessage(EapCode.RESPONSE, message.identifier, EapType.TLS, b"\0x")
    assert "instead of an acknowledgement" in failure(theirs.receive(wrong.build()))


# --- fragments ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 200, 250, 65536])
def test_fragments_are_put_together(size: int) -> None:
    turn = random.Random(size).randbytes(size)
    sender, receiver = Fragments(100), Fragments()
    piece = sender.send(turn)
    while sender.sending:
        assert piece[0] & MORE
        assert receiver.receive(piece) is None
        piece = sender.next()
    assert receiver.receive(piece) == turn
    # And again: nothing is left over.
    assert receiver.receive(b"\0abc") == b"abc"


def test_length_may_be_in_every_fragment_but_must_not_change() -> None:
    receiver = Fragments()
    head = struct.pack("!BI", LENGTH | MORE, 6)
    assert receiver.receive(head + b"abc") is None
    assert receiver.receive(struct.pack("!BI", LENGTH, 6) + b"def") == b"abcdef"
    receiver.receive(head + b"abc")
    with pytest.raises(EapError, match="changes"):
        receiver.receive(struct.pack("!BI", LENGTH, 7) + b"defg")
    late = Fragments()
    late.receive(bytes((MORE,)) + b"abc")
    with pytest.raises(EapError, match="changes"):
        late.receive(struct.pack("!BI", LENGTH, 6) + b"def")


def test_turns_without_a_length_are_bounded() -> None:
    receiver = Fragments()
    for _ in range(TURN_MAX // 1024):
        receiver.receive(bytes((MORE,)) + bytes(1024))
    with pytest.raises(EapError, match="more than"):
        receiver.receive(bytes((MORE,)) + b"x")


def test_own_turns_are_bounded() -> None:
    with pytest.raises(EapError, match="in one turn"):
        Fragments().send(bytes(TURN_MAX + 1))


# --- without the library ------------------------------------------------------------


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert eap_tls.available()
    monkeypatch.setitem(sys.modules, "OpenSSL", None)
    with pytest.raises(LocalError, match="needs pyOpenSSL"):
        client()
    with pytest.raises(LocalError, match="needs pyOpenSSL"):
        server()
