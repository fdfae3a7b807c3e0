# SPDX-License-Identifier: GPL-2.0-only
"""The Extensible Authentication Protocol inside IKE_AUTH (RFC 3748, RFC 7296 section 2.16).

Both ends are plain objects: the EAP message of an EAP payload goes in, an
:class:`EapReply` comes out. IKE carries every message reliably and in lockstep,
so nothing is retransmitted here, and what RFC 3748 would discard in silence
ends the conversation: the other side would wait for an answer for ever.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Protocol

from .errors import LocalError, RemoteError
from .numbers import EapCode, EapType, NotifyType

#: Messages of one conversation; EAP-TLS with long chains needs some dozens.
ROUNDS_MAX: Final = 100
#: Conversations that a :class:`LocalEap` holds at once.
SESSIONS_MAX: Final = 10_000
#: Octets of an identity that is looked at (RFC 4282 section 2.2: 253 at most).
IDENTITY_MAX: Final = 253

Random = Callable[[int], bytes]


class EapError(RemoteError):
    """The other side's EAP message is refused; ``reason`` is for our log only."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, NotifyType.AUTHENTICATION_FAILED)


# --- messages ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EapMessage:
    """One EAP packet (RFC 3748 section 4).

    ``type`` is None for Success and Failure; ``data`` is what follows the type.
    """

    code: int
    identifier: int
    type: int | None = None
    data: bytes = b""

    def build(self) -> bytes:
        """The octets of an EAP payload's body. Raises ``ValueError`` beyond 65535 octets."""
        body = b"" if self.type is None else bytes((self.type,)) + self.data
        size = 4 + len(body)
        if size > 0xFFFF:
            raise ValueError(f"EAP message of {size} octets")
        return struct.pack("!BBH", self.code, self.identifier, size) + body


def parse_message(octets: bytes) -> EapMessage:
    """Parse the body of an EAP payload. Raises :class:`EapError`."""
    if len(octets) < 4:
        raise EapError(f"EAP message of {len(octets)} octets")
    code, identifier, size = struct.unpack_from("!BBH", octets)
    # Octets beyond the length are padding of the lower layer (RFC 3748 section 4);
    # IKE has none, but a relay may have left some.
    if not 4 <= size <= len(octets):
        raise EapError(f"EAP message says {size} octets and has {len(octets)}")
    if code in (EapCode.REQUEST, EapCode.RESPONSE):
        if size < 5:
            raise EapError("EAP request or response without a type")
        return EapMessage(code, identifier, octets[4], octets[5:size])
    if code in (EapCode.SUCCESS, EapCode.FAILURE):
        if size != 4:
            raise EapError(f"EAP success or failure of {size} octets")
        return EapMessage(code, identifier)
    raise EapError(f"EAP code {code} is not known")


# --- what comes out ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EapSuccess:
    """The conversation ended well.

    ``msk`` keys the last AUTH payloads of both sides as a shared secret
    (RFC 7296 section 2.16). ``identity`` is the one that the method has proved,
    which need not be IDi: authorization goes by this one. ``attributes`` are
    those of a RADIUS Access-Accept, as (type, value).
    """

    msk: bytes = field(repr=False)
    identity: str
    attributes: tuple[tuple[int, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class EapFailure:
    """The conversation ended without authentication; ``reason`` is for the log."""

    reason: str


EapResult = EapSuccess | EapFailure


@dataclass(frozen=True, slots=True)
class EapReply:
    """What to do next: send ``octets`` in an EAP payload, unless empty, and take ``result``.

    On the server a result comes along with the Success or Failure message that
    tells the client. On the client a result comes alone, and a message of ours
    without a result means: go on.
    """

    octets: bytes = b""
    result: EapResult | None = None


# --- methods -------------------------------------------------------------------------


class ClientMethod(Protocol):
    """The client's half of one EAP method in one conversation.

    ``complaint`` is what the server says when it refuses us, for the log.
    """

    TYPE: ClassVar[int]
    complaint: str

    def answer(self, identifier: int, data: bytes) -> bytes:
        """Type data of a request to type data of the response. Raises :class:`EapError`."""

    def outcome(self) -> EapSuccess | None:
        """The keys, once the server too has proved itself; None until then."""


class ServerMethod(Protocol):
    """The server's half of one EAP method in one conversation."""

    TYPE: ClassVar[int]

    def begin(self, identifier: int) -> bytes:
        """Type data of the first request."""

    def answer(self, identifier: int, data: bytes) -> bytes | EapResult:
        """Type data of a response to those of the next request, or the end.

        ``identifier`` is that of the response; the next request has the next
        one. Raises :class:`EapError`.
        """


def next_identifier(identifier: int) -> int:
    """The identifier of the request after the one with ``identifier``."""
    return (identifier + 1) & 0xFF


# --- the client ----------------------------------------------------------------------


class ClientMethodConfig(Protocol):
    """An EAP method with our credentials for it, used in any number of conversations."""

    def client(self, at: float) -> ClientMethod:
        """A new conversation at wall-clock time ``at``, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class EapClient:
    """Our own authentication by EAP; ``methods`` in order of preference.

    ``identity`` answers an identity request; IDi is the engine's.
    """

    identity: str
    methods: tuple[ClientMethodConfig, ...]

    def begin(self, at: float) -> EapClientSession:
        """A new conversation; ``at`` is wall-clock time in seconds since 1970.

        Raises ``LocalError`` when a method lacks a library.
        """
        return EapClientSession(self.identity, [method.client(at) for method in self.methods])


class EapClientSession:
    """Answers the requests of one conversation.

    Raises nothing on received octets: what is wrong ends in :class:`EapFailure`.
    """

    def __init__(self, identity: str, methods: Sequence[ClientMethod]) -> None:
        self._identity = identity.encode()
        self._methods = {method.TYPE: method for method in methods}
        self._method: ClientMethod | None = None
        self._last: EapMessage | None = None
        self._response = b""
        self._rounds = 0
        self._ended = False

    def receive(self, octets: bytes) -> EapReply:
        """Take the EAP message of the responder's EAP payload."""
        try:
            if self._ended:
                raise EapError("EAP message after the end of the conversation")
            return self._receive(octets)
        except EapError as error:
            self._ended = True
            return EapReply(result=EapFailure(error.reason))

    def _receive(self, octets: bytes) -> EapReply:
        message = parse_message(octets)
        if message.code == EapCode.REQUEST:
            return EapReply(self._request(message))
        if message.code == EapCode.RESPONSE:
            raise EapError("EAP response from a server")
        return self._end(message)

    def _request(self, request: EapMessage) -> bytes:
        if self._last and request.identifier == self._last.identifier:
            if request != self._last:
                raise EapError(f"EAP identifier {request.identifier} used for two requests")
            return self._response
        self._rounds += 1
        if self._rounds > ROUNDS_MAX:
            raise EapError(f"more than {ROUNDS_MAX} EAP requests")
        kind, data = self._answer(request)
        self._last = request
        self._response = EapMessage(EapCode.RESPONSE, request.identifier, kind, data).build()
        return self._response

    def _answer(self, request: EapMessage) -> tuple[int, bytes]:
        kind = request.type
        assert kind is not None
        if kind == EapType.NOTIFICATION:
            return kind, b""
        if self._method:
            if kind != self._method.TYPE:
                raise EapError(f"EAP type {kind} inside a conversation of {self._method.TYPE}")
        elif kind == EapType.IDENTITY:
            return kind, self._identity
        elif kind == EapType.NAK:
            raise EapError("EAP Nak from a server")
        elif kind == EapType.EXPANDED:
            return kind, self._expanded_nak()
        elif kind not in self._methods:
            return EapType.NAK, bytes(self._methods) or b"\0"
        else:
            self._method = self._methods[kind]
        return kind, self._method.answer(request.identifier, request.data)

    def _expanded_nak(self) -> bytes:
        # RFC 3748 section 5.3.2: vendor 0, type Nak, then each method in the same form.
        kinds = [EapType.NAK, *(self._methods or (0,))]
        return b"\xfe".join(struct.pack("!II", 0, kind)[1:] for kind in kinds)

    def _end(self, message: EapMessage) -> EapReply:
        if not self._last or message.identifier != self._last.identifier:
            raise EapError("EAP success or failure that answers nothing of ours")
        outcome = self._method.outcome() if self._method else None
        if message.code == EapCode.FAILURE:
            complaint = self._method.complaint if self._method else ""
            raise EapError(f"the EAP server refuses us{complaint and ': '}{complaint}")
        if not outcome:
            raise EapError("EAP success before the server has authenticated itself")
        self._ended = True
        return EapReply(result=outcome)


# --- the server ----------------------------------------------------------------------


class EapServerSession:
    """Runs one conversation; ``methods`` in order of preference.

    With ``ask_identity`` it begins with an identity request, whose answer is
    only a hint (``claimed``): what counts is the identity the method proves.
    """

    def __init__(
        self,
        methods: Sequence[ServerMethod],
        *,
        ask_identity: bool = False,
        random: Random = secrets.token_bytes,
    ) -> None:
        if not methods:
            raise ValueError("an EAP server needs a method")
        self.claimed = ""
        self._methods = list(methods)
        self._method: ServerMethod | None = None
        self._fresh = True
        self._ask_identity = ask_identity
        self._identifier = random(1)[0]
        self._rounds = 0
        self._ended = False

    def begin(self) -> EapReply:
        """The first request."""
        if self._ask_identity:
            return self._send(EapType.IDENTITY, b"")
        return self._start(self._methods[0])

    def receive(self, octets: bytes) -> EapReply:
        """Take the EAP message of the initiator's EAP payload."""
        if self._ended:
            return EapReply(result=EapFailure("EAP message after the end of the conversation"))
        try:
            result = self._receive(parse_message(octets))
        except EapError as error:
            result = EapFailure(error.reason)
        if isinstance(result, EapReply):
            return result
        self._ended = True
        code = EapCode.SUCCESS if isinstance(result, EapSuccess) else EapCode.FAILURE
        return EapReply(EapMessage(code, self._identifier).build(), result)

    def _receive(self, message: EapMessage) -> EapReply | EapResult:
        if message.code != EapCode.RESPONSE:
            raise EapError(f"EAP code {message.code} from a client")
        if message.identifier != self._identifier:
            raise EapError(f"EAP response {message.identifier} to request {self._identifier}")
        self._rounds += 1
        if self._rounds > ROUNDS_MAX:
            raise EapError(f"more than {ROUNDS_MAX} EAP responses")
        if self._method is None:
            if message.type != EapType.IDENTITY:
                raise EapError(f"EAP type {message.type} instead of an identity")
            self.claimed = message.data[:IDENTITY_MAX].decode(errors="replace")
            return self._start(self._methods[0])
        if message.type == EapType.NAK and self._fresh:
            return self._other(message.data)
        if message.type != self._method.TYPE:
            raise EapError(f"EAP type {message.type} in a conversation of {self._method.TYPE}")
        self._fresh = False
        step = self._method.answer(message.identifier, message.data)
        return self._send(self._method.TYPE, step) if isinstance(step, bytes) else step

    def _other(self, wanted: bytes) -> EapReply:
        assert self._method
        self._methods.remove(self._method)
        for method in self._methods:
            if method.TYPE in wanted:
                return self._start(method)
        raise EapError(f"the client accepts only the EAP types {list(wanted)}")

    def _start(self, method: ServerMethod) -> EapReply:
        self._method = method
        return self._send(method.TYPE, method.begin(next_identifier(self._identifier)))

    def _send(self, kind: int, data: bytes) -> EapReply:
        self._identifier = next_identifier(self._identifier)
        return EapReply(EapMessage(EapCode.REQUEST, self._identifier, kind, data).build())


# --- behind the responder ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EapPeer:
    """Who wants to be authenticated: IDi and where it is, as texts."""

    identity: str
    remote: str
    local: str


class EapServerBackend(Protocol):
    """Where the responder's engine gets its EAP messages from.

    ``session`` is a number of the engine's choice, one for each IKE SA. None
    instead of a reply means that it comes later, from outside of the engine
    (``Engine.eap_answer``).
    """

    def begin(self, session: int, peer: EapPeer, at: float) -> EapReply | None:
        """The first request; ``at`` is wall-clock time in seconds since 1970."""

    def answer(self, session: int, octets: bytes) -> EapReply | None:
        """The message that follows the client's."""

    def forget(self, session: int) -> None:
        """The IKE SA is gone; unknown sessions are ignored."""


def _refusal(reason: str) -> EapReply:
    return EapReply(EapMessage(EapCode.FAILURE, 0).build(), EapFailure(reason))


class LocalEap:
    """An :class:`EapServerBackend` that runs the methods here.

    ``methods`` makes the methods of a conversation anew, from the peer and
    wall-clock time.
    """

    def __init__(
        self,
        methods: Callable[[EapPeer, float], Sequence[ServerMethod]],
        *,
        ask_identity: bool = False,
        sessions_max: int = SESSIONS_MAX,
        random: Random = secrets.token_bytes,
    ) -> None:
        self._methods = methods
        self._ask_identity = ask_identity
        self._sessions_max = sessions_max
        self._random = random
        self._servers: dict[int, EapServerSession] = {}

    def __len__(self) -> int:
        return len(self._servers)

    def begin(self, session: int, peer: EapPeer, at: float) -> EapReply:
        """See :class:`EapServerBackend`."""
        self.forget(session)
        if len(self._servers) >= self._sessions_max:
            return _refusal("too many EAP conversations")
        try:
            methods = self._methods(peer, at)
        except LocalError as error:
            # A library that is missing here is no reason to stop the engine.
            return _refusal(error.reason)
        server = EapServerSession(methods, ask_identity=self._ask_identity, random=self._random)
        self._servers[session] = server
        return server.begin()

    def answer(self, session: int, octets: bytes) -> EapReply:
        """See :class:`EapServerBackend`."""
        server = self._servers.get(session)
        if server is None:
            return EapReply(result=EapFailure(f"no EAP conversation {session}"))
        reply = server.receive(octets)
        if reply.result:
            del self._servers[session]
        return reply

    def forget(self, session: int) -> None:
        """See :class:`EapServerBackend`."""
        self._servers.pop(session, None)


class RemoteEap:
    """An :class:`EapServerBackend` whose messages all come from outside, such as RADIUS.

    The engine turns each call into an ``AskEap`` effect.
    """

    def begin(self, session: int, peer: EapPeer, at: float) -> None:
        """See :class:`EapServerBackend`."""

    def answer(self, session: int, octets: bytes) -> None:
        """See :class:`EapServerBackend`."""

    def forget(self, session: int) -> None:
        """See :class:`EapServerBackend`."""
