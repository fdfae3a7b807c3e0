# SPDX-License-Identifier: GPL-2.0-only
"""RADIUS for EAP (RFC 2865, RFC 3579, RFC 2548): the authenticator's side.

The codec, and :class:`RadiusClient`, which carries EAP conversations to a RADIUS
server without touching a socket: datagrams and times go in, effects come out.
Every answer must carry a Message-Authenticator, whatever its kind, since MD5
alone no longer protects one.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from .eap import (
    IDENTITY_MAX,
    EapError,
    EapFailure,
    EapMessage,
    EapPeer,
    EapReply,
    EapSuccess,
    Random,
    parse_message,
)
from .errors import Ignored
from .numbers import EapCode, EapType

Address = IPv6Address | IPv4Address

PACKET_MAX: Final = 4096
HEADER_SIZE: Final = 20
VALUE_MAX: Final = 253
MICROSOFT: Final = 311
_SEND_KEY: Final = 16
_RECV_KEY: Final = 17
MSK_SIZE: Final = 64


class RadiusCode(IntEnum):
    """Packet codes (RFC 2865 section 3)."""

    ACCESS_REQUEST = 1
    ACCESS_ACCEPT = 2
    ACCESS_REJECT = 3
    ACCESS_CHALLENGE = 11


class RadiusType(IntEnum):
    """Attribute types (RFC 2865, 2869, 3162, 3579, 4818, 6911)."""

    USER_NAME = 1
    NAS_IP_ADDRESS = 4
    SERVICE_TYPE = 6
    FRAMED_IP_ADDRESS = 8
    FRAMED_MTU = 12
    REPLY_MESSAGE = 18
    STATE = 24
    CLASS = 25
    VENDOR_SPECIFIC = 26
    SESSION_TIMEOUT = 27
    CALLED_STATION_ID = 30
    CALLING_STATION_ID = 31
    NAS_IDENTIFIER = 32
    NAS_PORT_TYPE = 61
    EAP_MESSAGE = 79
    MESSAGE_AUTHENTICATOR = 80
    NAS_IPV6_ADDRESS = 95
    DELEGATED_IPV6_PREFIX = 123
    FRAMED_IPV6_ADDRESS = 168


_FRAMED: Final = struct.pack("!I", 2)
_VIRTUAL: Final = struct.pack("!I", 5)
#: Never handed on: they belong to this one packet, or are secret.
_OWN: Final = frozenset(
    {RadiusType.STATE, RadiusType.EAP_MESSAGE, RadiusType.MESSAGE_AUTHENTICATOR}
)

Attributes = tuple[tuple[int, bytes], ...]


# --- packets -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RadiusPacket:
    """A packet; attributes in the order of the wire, as (type, value)."""

    code: int
    identifier: int
    authenticator: bytes
    attributes: Attributes

    def get(self, kind: int) -> bytes | None:
        """The first attribute of a type."""
        return next((value for found, value in self.attributes if found == kind), None)

    def eap(self) -> bytes | None:
        """The EAP message, put together (RFC 3579 section 3.1); None without one."""
        parts = [value for kind, value in self.attributes if kind == RadiusType.EAP_MESSAGE]
        return b"".join(parts) if parts else None


def parse_packet(data: bytes) -> RadiusPacket:
    """Parse a packet, without judging who made it. Raises ``Ignored``."""
    if len(data) < HEADER_SIZE:
        raise Ignored(f"RADIUS packet of {len(data)} octets", "radius_malformed")
    code, identifier, size = struct.unpack_from("!BBH", data)
    if not HEADER_SIZE <= size <= min(len(data), PACKET_MAX):
        raise Ignored(f"RADIUS packet says {size} octets, has {len(data)}", "radius_malformed")
    attributes = []
    position = HEADER_SIZE
    while position < size:
        end = position + data[position + 1] if position + 1 < size else size + 1
        if not position + 2 <= end <= size:
            raise Ignored("RADIUS attribute is truncated", "radius_malformed")
        attributes.append((data[position], data[position + 2 : end]))
        position = end
    return RadiusPacket(code, identifier, data[4:HEADER_SIZE], tuple(attributes))


def split_eap(octets: bytes) -> Attributes:
    """An EAP message as EAP-Message attributes."""
    return tuple(
        (int(RadiusType.EAP_MESSAGE), octets[start : start + VALUE_MAX])
        for start in range(0, len(octets), VALUE_MAX)
    )


def _encode(
    code: int, identifier: int, authenticator: bytes, attributes: Iterable[tuple[int, bytes]]
) -> bytes:
    body = b"".join(bytes((kind, 2 + len(value))) + value for kind, value in attributes)
    size = HEADER_SIZE + len(body)
    if size > PACKET_MAX:
        raise ValueError(f"RADIUS packet of {size} octets")
    return struct.pack("!BBH", code, identifier, size) + authenticator + body


def _authenticated(
    code: int, identifier: int, authenticator: bytes, attributes: Attributes, secret: bytes
) -> bytes:
    """A packet whose first attribute is its Message-Authenticator (RFC 3579 section 3.2)."""
    kind = int(RadiusType.MESSAGE_AUTHENTICATOR)
    blank = _encode(code, identifier, authenticator, ((kind, bytes(16)), *attributes))
    mac = hmac.digest(secret, blank, "md5")
    return _encode(code, identifier, authenticator, ((kind, mac), *attributes))


def build_request(
    identifier: int, authenticator: bytes, attributes: Attributes, secret: bytes
) -> bytes:
    """An Access-Request with Message-Authenticator; ``authenticator`` is 16 random octets.

    Raises ``ValueError`` beyond 4096 octets.
    """
    return _authenticated(RadiusCode.ACCESS_REQUEST, identifier, authenticator, attributes, secret)


def build_answer(code: int, request: RadiusPacket, attributes: Attributes, secret: bytes) -> bytes:
    """A server's answer to ``request``, with both authenticators."""
    data = _authenticated(code, request.identifier, request.authenticator, attributes, secret)
    digest = hashlib.md5(data + secret, usedforsecurity=False).digest()
    return data[:4] + digest + data[HEADER_SIZE:]


def check_request(data: bytes, secret: bytes) -> RadiusPacket:
    """Parse an Access-Request and check its Message-Authenticator. Raises ``Ignored``."""
    packet = parse_packet(data)
    _check_message(packet, packet.authenticator, secret)
    return packet


def check_answer(data: bytes, authenticator: bytes, secret: bytes) -> RadiusPacket:
    """Parse the answer to a request with ``authenticator``, and check who made it.

    Both the response authenticator (RFC 2865 section 3) and the
    Message-Authenticator must be there and right. Raises ``Ignored``.
    """
    packet = parse_packet(data)
    (size,) = struct.unpack_from("!H", data, 2)
    signed = data[:4] + authenticator + data[HEADER_SIZE:size] + secret
    digest = hashlib.md5(signed, usedforsecurity=False).digest()
    if not hmac.compare_digest(digest, packet.authenticator):
        raise Ignored("RADIUS response authenticator is wrong", "radius_forged")
    _check_message(packet, authenticator, secret)
    return packet


def _check_message(packet: RadiusPacket, authenticator: bytes, secret: bytes) -> None:
    kind = RadiusType.MESSAGE_AUTHENTICATOR
    found = [value for each, value in packet.attributes if each == kind]
    if len(found) != 1 or len(found[0]) != 16:
        raise Ignored("RADIUS packet without one Message-Authenticator", "radius_forged")
    blank = [(each, bytes(16) if each == kind else value) for each, value in packet.attributes]
    data = _encode(packet.code, packet.identifier, authenticator, blank)
    if not hmac.compare_digest(hmac.digest(secret, data, "md5"), found[0]):
        raise Ignored("RADIUS Message-Authenticator is wrong", "radius_forged")


# --- keys ----------------------------------------------------------------------------


def _keystream(secret: bytes, before: bytes) -> bytes:
    return hashlib.md5(secret + before, usedforsecurity=False).digest()


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def decrypt_key(value: bytes, authenticator: bytes, secret: bytes) -> bytes:
    """The key in an MS-MPPE-Send-Key or -Recv-Key (RFC 2548 section 2.4.2).

    ``value`` begins with the salt, ``authenticator`` is the request's. Raises
    :class:`EapError`.
    """
    salt, cipher = value[:2], value[2:]
    if len(salt) < 2 or not cipher or len(cipher) % 16:
        raise EapError("MS-MPPE key is malformed")
    plain = b""
    before = authenticator + salt
    for start in range(0, len(cipher), 16):
        block = cipher[start : start + 16]
        plain += _xor(block, _keystream(secret, before))
        before = block
    size = plain[0]
    if not 0 < size < len(plain):
        raise EapError("MS-MPPE key has a wrong length")
    return plain[1 : 1 + size]


def encrypt_key(key: bytes, salt: bytes, authenticator: bytes, secret: bytes) -> bytes:
    """The reverse of :func:`decrypt_key`, for a server."""
    plain = bytes((len(key),)) + key
    plain += bytes(-len(plain) % 16)
    out = b""
    before = authenticator + salt
    for start in range(0, len(plain), 16):
        before = _xor(plain[start : start + 16], _keystream(secret, before))
        out += before
    return salt + out


def _vendor(packet: RadiusPacket, wanted: int) -> bytes | None:
    """The first Microsoft attribute of a type."""
    for kind, value in packet.attributes:
        if kind != RadiusType.VENDOR_SPECIFIC or value[:4] != struct.pack("!I", MICROSOFT):
            continue
        rest = value[4:]
        while len(rest) >= 2 and 2 <= rest[1] <= len(rest):
            if rest[0] == wanted:
                return rest[2 : rest[1]]
            rest = rest[rest[1] :]
    return None


def key_attributes(
    msk: bytes, salts: tuple[bytes, bytes], authenticator: bytes, secret: bytes
) -> Attributes:
    """The MSK as MS-MPPE-Recv-Key and -Send-Key, half in each, for a server."""
    half = len(msk) // 2
    found = []
    for kind, key, salt in ((_RECV_KEY, msk[:half], salts[0]), (_SEND_KEY, msk[half:], salts[1])):
        value = encrypt_key(key, salt, authenticator, secret)
        vendor = struct.pack("!IBB", MICROSOFT, kind, 2 + len(value)) + value
        found.append((int(RadiusType.VENDOR_SPECIFIC), vendor))
    return tuple(found)


def session_key(packet: RadiusPacket, authenticator: bytes, secret: bytes) -> bytes:
    """The MSK of an Access-Accept: Recv-Key, Send-Key, zeros to 64. Raises :class:`EapError`."""
    keys = b""
    for kind in (_RECV_KEY, _SEND_KEY):
        value = _vendor(packet, kind)
        if value is None:
            raise EapError("RADIUS accepts without MS-MPPE keys")
        keys += decrypt_key(value, authenticator, secret)
    if len(keys) > MSK_SIZE:
        raise EapError(f"MS-MPPE keys of {len(keys)} octets")
    return keys.ljust(MSK_SIZE, b"\0")


# --- the client ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RadiusServer:
    """Where a server is and what we share with it."""

    address: Address
    secret: bytes = field(repr=False)
    port: int = 1812


@dataclass(frozen=True, slots=True)
class RadiusConfig:
    """``servers`` in order of preference; times in seconds.

    A request is sent ``tries`` times, ``timeout`` apart, to each server in turn;
    within a conversation only to the server that holds it. ``ask_identity`` asks
    the initiator for its EAP identity, instead of taking IDi for it.
    """

    servers: tuple[RadiusServer, ...]
    nas_identifier: str
    nas_address: Address | None = None
    timeout: float = 3.0
    tries: int = 3
    framed_mtu: int = 1100
    ask_identity: bool = False

    def __post_init__(self) -> None:
        if not self.servers:
            raise ValueError("RADIUS needs a server")


@dataclass(frozen=True, slots=True)
class Datagram:
    """Send ``data`` by UDP."""

    data: bytes
    address: Address
    port: int


@dataclass(frozen=True, slots=True)
class EapAnswer:
    """Hand ``reply`` to the engine's ``eap_answer`` for the IKE SA ``session``."""

    session: int
    reply: EapReply


RadiusEffect = Datagram | EapAnswer


@dataclass(slots=True)
class _Session:
    """One conversation."""

    peer: EapPeer
    user: bytes
    server: int
    tried: int = 1
    bound: bool = False
    state: bytes | None = None
    identifier: int = 0
    asked: bool = False
    request: int | None = None


@dataclass(slots=True)
class _Request:
    """A request without an answer yet; resent as it is, or anew to another server."""

    session: int
    server: int
    authenticator: bytes
    eap: bytes
    data: bytes
    sent: int
    due: float


class RadiusClient:
    """Carries EAP between the engine and RADIUS servers; the caller owns the socket.

    256 requests can be under way at once: the identifier has no more values.
    """

    def __init__(self, config: RadiusConfig, *, random: Random = secrets.token_bytes) -> None:
        self._config = config
        self._random = random
        self._sessions: dict[int, _Session] = {}
        self._requests: dict[int, _Request] = {}
        self._next = random(1)[0]
        # Conversations begin with the server that was last known to answer.
        self._preferred = 0

    # --- inputs from the engine ----------------------------------------------------------

    def begin(self, session: int, peer: EapPeer, now: float) -> list[RadiusEffect]:
        """An IKE SA wants its peer authenticated."""
        self.forget(session)
        user = peer.identity.encode()[:IDENTITY_MAX]
        state = self._sessions[session] = _Session(peer, user, self._preferred)
        if self._config.ask_identity:
            state.asked = True
            ask = EapMessage(EapCode.REQUEST, 0, EapType.IDENTITY)
            return [EapAnswer(session, EapReply(ask.build()))]
        identity = EapMessage(EapCode.RESPONSE, 0, EapType.IDENTITY, user)
        return self._ask(session, state, identity.build(), now)

    def answer(self, session: int, octets: bytes, now: float) -> list[RadiusEffect]:
        """The initiator's next EAP message."""
        state = self._sessions.get(session)
        if state is None:
            return [EapAnswer(session, EapReply(result=EapFailure("no EAP conversation")))]
        try:
            message = parse_message(octets)
            if message.code != EapCode.RESPONSE or message.identifier != state.identifier:
                raise EapError("EAP message that answers nothing of ours")
            if state.request is not None:
                raise EapError("EAP message before the RADIUS server's")
            if state.asked:
                if message.type != EapType.IDENTITY:
                    raise EapError(f"EAP type {message.type} instead of an identity")
                state.asked = False
                state.user = message.data[:IDENTITY_MAX]
        except EapError as error:
            return [self._end(session, state, EapFailure(error.reason))]
        return self._ask(session, state, octets, now)

    def forget(self, session: int) -> None:
        """The IKE SA is gone."""
        state = self._sessions.pop(session, None)
        if state and state.request is not None:
            self._requests.pop(state.request, None)

    # --- inputs from the network and the clock -------------------------------------------

    def receive(self, data: bytes, address: Address, port: int, now: float) -> list[RadiusEffect]:
        """Take a datagram. Raises ``Ignored`` for what no server of ours has sent."""
        identifier = data[1] if len(data) > 1 else 0
        request = self._requests.get(identifier)
        if request is None:
            raise Ignored(f"RADIUS answer {identifier} to nothing", "radius_unexpected")
        server = self._config.servers[request.server]
        if (address, port) != (server.address, server.port):
            raise Ignored(f"RADIUS answer from {address} port {port}", "radius_forged")
        packet = check_answer(data, request.authenticator, server.secret)
        state = self._sessions[request.session]
        del self._requests[identifier]
        state.request = None
        state.bound = True
        try:
            return [self._take(request, state, packet, server.secret)]
        except EapError as error:
            return [self._end(request.session, state, EapFailure(error.reason))]

    def handle_timer(self, now: float) -> list[RadiusEffect]:
        """Resend what is due, by :meth:`next_timer`."""
        effects: list[RadiusEffect] = []
        for identifier, request in list(self._requests.items()):
            if request.due <= now:
                effects += self._again(identifier, request, now)
        return effects

    def next_timer(self) -> float | None:
        """When to call :meth:`handle_timer`; None: not at all."""
        return min((request.due for request in self._requests.values()), default=None)

    # --- inside --------------------------------------------------------------------------

    def _take(
        self, request: _Request, state: _Session, packet: RadiusPacket, secret: bytes
    ) -> RadiusEffect:
        eap = packet.eap()
        message = parse_message(eap) if eap is not None else None
        if packet.code == RadiusCode.ACCESS_REJECT:
            said = packet.get(RadiusType.REPLY_MESSAGE) or b""
            reason = f"RADIUS refuses {state.user.decode(errors='replace')!r}"
            if said:
                reason += f": {said.decode(errors='replace')!r}"
            return self._end(request.session, state, EapFailure(reason))
        if eap is None or message is None:
            raise EapError("RADIUS answers without an EAP message")
        if packet.code == RadiusCode.ACCESS_CHALLENGE:
            if message.code != EapCode.REQUEST:
                raise EapError("RADIUS challenges without an EAP request")
            state.state = packet.get(RadiusType.STATE)
            state.identifier = message.identifier
            return EapAnswer(request.session, EapReply(eap))
        if packet.code != RadiusCode.ACCESS_ACCEPT or message.code != EapCode.SUCCESS:
            raise EapError(f"RADIUS code {packet.code} with EAP code {message.code}")
        msk = session_key(packet, request.authenticator, secret)
        user = packet.get(RadiusType.USER_NAME) or state.user
        kept = tuple(
            (kind, value)
            for kind, value in packet.attributes
            if kind not in _OWN and not self._is_key(kind, value)
        )
        self.forget(request.session)
        result = EapSuccess(msk, user.decode(errors="replace"), kept)
        return EapAnswer(request.session, EapReply(eap, result))

    @staticmethod
    def _is_key(kind: int, value: bytes) -> bool:
        return kind == RadiusType.VENDOR_SPECIFIC and value[:4] == struct.pack("!I", MICROSOFT)

    def _end(self, session: int, state: _Session, failure: EapFailure) -> EapAnswer:
        self.forget(session)
        octets = EapMessage(EapCode.FAILURE, state.identifier).build()
        return EapAnswer(session, EapReply(octets, failure))

    def _ask(self, session: int, state: _Session, eap: bytes, now: float) -> list[RadiusEffect]:
        if len(self._requests) > 0xFF:
            return [self._end(session, state, EapFailure("RADIUS is busy"))]
        while self._next in self._requests:
            self._next = (self._next + 1) & 0xFF
        identifier, self._next = self._next, (self._next + 1) & 0xFF
        server = self._config.servers[state.server]
        authenticator = self._random(16)
        try:
            data = build_request(
                identifier, authenticator, self._attributes(state, eap), server.secret
            )
        except ValueError as error:
            return [self._end(session, state, EapFailure(str(error)))]
        self._requests[identifier] = _Request(
            session, state.server, authenticator, eap, data, 1, now + self._config.timeout
        )
        state.request = identifier
        return [Datagram(data, server.address, server.port)]

    def _attributes(self, state: _Session, eap: bytes) -> Attributes:
        config = self._config
        found: list[tuple[int, bytes]] = [
            (RadiusType.USER_NAME, state.user),
            (RadiusType.SERVICE_TYPE, _FRAMED),
            (RadiusType.NAS_PORT_TYPE, _VIRTUAL),
            (RadiusType.FRAMED_MTU, struct.pack("!I", config.framed_mtu)),
            (RadiusType.NAS_IDENTIFIER, config.nas_identifier.encode()[:VALUE_MAX]),
            (RadiusType.CALLING_STATION_ID, state.peer.remote.encode()[:VALUE_MAX]),
            (RadiusType.CALLED_STATION_ID, state.peer.local.encode()[:VALUE_MAX]),
        ]
        if config.nas_address:
            four = config.nas_address.version == 4
            kind = RadiusType.NAS_IP_ADDRESS if four else RadiusType.NAS_IPV6_ADDRESS
            found.append((kind, config.nas_address.packed))
        if state.state is not None:
            found.append((RadiusType.STATE, state.state))
        kept: Sequence[tuple[int, bytes]] = [item for item in found if item[1]]
        return (*kept, *split_eap(eap))

    def _again(self, identifier: int, request: _Request, now: float) -> list[RadiusEffect]:
        server = self._config.servers[request.server]
        if request.sent < self._config.tries:
            request.sent += 1
            request.due = now + self._config.timeout
            return [Datagram(request.data, server.address, server.port)]
        state = self._sessions[request.session]
        del self._requests[identifier]
        state.request = None
        if self._preferred == request.server:
            self._preferred = (request.server + 1) % len(self._config.servers)
        if state.bound or state.tried >= len(self._config.servers):
            return [self._end(request.session, state, EapFailure("no RADIUS server answers"))]
        state.tried += 1
        state.server = (state.server + 1) % len(self._config.servers)
        return self._ask(request.session, state, request.eap, now)
