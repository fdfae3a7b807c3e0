# SPDX-License-Identifier: GPL-2.0-only
"""EAP-TLS (RFC 5216, and RFC 9190 with TLS 1.3), both sides.

Python's own ``ssl`` cannot export keying material, so that the MSK needs
pyOpenSSL; it is loaded when a conversation begins. What certificates are
believed is said by :class:`dsmip.ikev2.trust.Trust` here as everywhere, with
the wall-clock time passed in: OpenSSL's own judgement is not asked.
"""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

from .certificates import Certificate
from .eap import EapError, EapFailure, EapResult, EapSuccess
from .errors import LocalError
from .identity import Identity
from .numbers import EapType
from .signatures import AuthenticationFailed, PrivateKey
from .trust import TLS_CLIENT_USAGES, TLS_SERVER_USAGES, Trust, Verified

if TYPE_CHECKING:
    from OpenSSL import SSL

#: Flags of RFC 5216 section 3.1.
LENGTH: Final = 0x80
MORE: Final = 0x40
START: Final = 0x20
#: TLS octets in one EAP message.
FRAGMENT_SIZE: Final = 1024
#: TLS octets that are sent or taken in one turn (RFC 5216 section 2.1.5).
TURN_MAX: Final = 65536
#: What the server writes when it is content (RFC 9190 section 2.1.1).
COMMITMENT: Final = b"\0"
#: Cipher suites of TLS 1.2; those of TLS 1.3 are all good.
_CIPHERS: Final = b"ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL"
_LABEL_12: Final = b"client EAP encryption"
_LABEL_13: Final = b"EXPORTER_EAP_TLS_Key_Material"


# --- fragments -----------------------------------------------------------------------


class Fragments:
    """Splits what goes out in turns and puts together what comes in (RFC 5216 section 2.1.5)."""

    def __init__(self, size: int = FRAGMENT_SIZE) -> None:
        self._size = size
        self._out = b""
        self._sent = 0
        self._in = bytearray()
        self._announced: int | None = None

    @property
    def sending(self) -> bool:
        """Whether fragments are still to be sent when the other side asks for them."""
        return self._sent < len(self._out)

    def send(self, octets: bytes) -> bytes:
        """Begin a turn: type data of its first message."""
        if len(octets) > TURN_MAX:
            raise EapError(f"{len(octets)} octets of TLS in one turn")
        self._out, self._sent = octets, 0
        return self.next()

    def next(self) -> bytes:
        """Type data of the next fragment."""
        piece = self._out[self._sent : self._sent + self._size]
        first = self._sent == 0
        self._sent += len(piece)
        flags = MORE if self.sending else 0
        if first and self.sending:
            return struct.pack("!BI", flags | LENGTH, len(self._out)) + piece
        return bytes((flags,)) + piece

    def receive(self, data: bytes) -> bytes | None:
        """Take type data; the turn when it is complete, else None. Raises :class:`EapError`."""
        flags, body = data[0], data[1:]
        if flags & LENGTH:
            if len(body) < 4:
                raise EapError("EAP-TLS length is truncated")
            (announced,) = struct.unpack_from("!I", body)
            body = body[4:]
            if announced > TURN_MAX:
                raise EapError(f"EAP-TLS turn of {announced} octets is announced")
            if self._announced not in (None, announced) or (self._in and self._announced is None):
                raise EapError("EAP-TLS length changes between fragments")
            self._announced = announced
        self._in += body
        limit = TURN_MAX if self._announced is None else self._announced
        if len(self._in) > limit:
            raise EapError(f"EAP-TLS turn has more than {limit} octets")
        if flags & MORE:
            if not body:
                raise EapError("EAP-TLS fragment is empty")
            return None
        if self._announced not in (None, len(self._in)):
            raise EapError(f"EAP-TLS turn of {self._announced} octets has {len(self._in)}")
        turn = bytes(self._in)
        self._in.clear()
        self._announced = None
        return turn


def available() -> bool:
    """Whether the library is there; for a look at a configuration before it is used."""
    return importlib.util.find_spec("OpenSSL") is not None


# --- TLS in memory -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TlsCredential:
    """Our key and certificate chain, leaf first, and what the other side is checked by.

    Raises ``ValueError`` when the first certificate is not that of the key.
    """

    key: PrivateKey
    chain: tuple[Certificate, ...]
    trust: Trust
    fragment: int = FRAGMENT_SIZE

    def __post_init__(self) -> None:
        if not self.chain or self.chain[0].public != self.key.public:
            raise ValueError("EAP-TLS needs a certificate of its key")
        if not 64 <= self.fragment <= 32768:
            raise ValueError(f"EAP-TLS fragments of {self.fragment} octets")


def _load(owner: Any, name: str, value: Any, wrap: Callable[[Any], Any]) -> None:
    """Hand an object of ``cryptography`` to pyOpenSSL; before version 24.3 it wants its own."""
    try:
        getattr(owner, name)(value)
    except TypeError:
        getattr(owner, name)(wrap(value))


class Tls:
    """A TLS connection between octets and octets, of either side."""

    def __init__(
        self,
        credential: TlsCredential,
        *,
        server: bool,
        peer: Identity | None,
        at: float,
        versions: tuple[int, int] | None = None,
    ) -> None:
        try:
            from OpenSSL import SSL, crypto
        except ImportError:
            raise LocalError(
                "EAP-TLS needs pyOpenSSL (python3-openssl), which is not installed"
            ) from None
        self._ssl = SSL
        self._trust = credential.trust
        self._usages: Collection[str] = TLS_CLIENT_USAGES if server else TLS_SERVER_USAGES
        self._peer = peer
        self._at = at
        self._server = server
        self._seen: dict[int, bytes] = {}
        self.reason = ""
        self.done = False
        self.verified: Verified | None = None
        context = SSL.Context(SSL.TLS_METHOD)
        lowest, highest = versions or (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)
        context.set_min_proto_version(lowest)
        context.set_max_proto_version(highest)
        context.set_cipher_list(_CIPHERS)
        # A resumed session would show no certificate.
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_options(SSL.OP_NO_TICKET | getattr(SSL, "OP_NO_RENEGOTIATION", 0))
        mode = SSL.VERIFY_PEER | (SSL.VERIFY_FAIL_IF_NO_PEER_CERT if server else 0)
        context.set_verify(mode, self._judge)
        key, leaf, *above = (credential.key, *credential.chain)
        _load(context, "use_certificate", leaf.loaded, crypto.X509.from_cryptography)
        for authority in above:
            if not authority.self_issued:
                _load(
                    context,
                    "add_extra_chain_cert",
                    authority.loaded,
                    crypto.X509.from_cryptography,
                )
        _load(
            context,
            "use_privatekey",
            key.key,
            lambda _: crypto.load_privatekey(crypto.FILETYPE_PEM, key.pem()),
        )
        if server:
            for anchor in credential.trust.anchors:
                _load(context, "add_client_ca", anchor.loaded, crypto.X509.from_cryptography)
        self._connection = SSL.Connection(context, None)
        if server:
            self._connection.set_accept_state()
        else:
            self._connection.set_connect_state()

    def _judge(
        self, connection: SSL.Connection, x509: Any, error: int, depth: int, ok: int
    ) -> bool:
        """Called by OpenSSL for each certificate, the leaf last: refusing makes it send an alert.

        Some versions leave that last call out, so the word that counts is
        spoken in :meth:`_verify`.
        """
        from cryptography.hazmat.primitives.serialization import Encoding

        self._seen[depth] = x509.to_cryptography().public_bytes(Encoding.DER)
        return not (ok and depth == 0) or self._believe([self._seen[n] for n in sorted(self._seen)])

    def _believe(self, chain: list[bytes]) -> bool:
        try:
            self.verified = self._trust.verify(chain, self._at, self._peer, self._usages)
        except AuthenticationFailed as error:
            self.verified = None
            self.reason = error.reason
            return False
        return True

    def _verify(self) -> None:
        from cryptography.hazmat.primitives.serialization import Encoding

        leaf = self._connection.get_peer_certificate()
        if leaf is None:
            self.reason = "TLS without a certificate of the other side"
            return
        sent = [leaf, *(self._connection.get_peer_cert_chain() or ())]
        chain = [each.to_cryptography().public_bytes(Encoding.DER) for each in sent]
        self._believe([chain[0], *(der for der in chain[1:] if der != chain[0])])

    @property
    def is_13(self) -> bool:
        """Whether it is TLS 1.3; tells nothing before the handshake is done."""
        return self._connection.get_protocol_version_name() == "TLSv1.3"

    def advance(self, octets: bytes) -> bytes:
        """Take a turn of the other side and return ours, which may be empty.

        ``done`` is set when the handshake is complete and the other side
        believed; ``reason`` when it has failed.
        """
        ssl = self._ssl
        try:
            if octets:
                self._connection.bio_write(octets)
            if not self.done:
                self._connection.do_handshake()
                self._verify()
                self.done = not self.reason
        except ssl.WantReadError:
            pass
        except ssl.Error as error:
            self.done = False
            self.reason = self.reason or _describe(error)
        return self._drain()

    def write(self, octets: bytes) -> bytes:
        """Protect application data."""
        self._connection.send(octets)
        return self._drain()

    def read(self) -> bytes:
        """Application data that has come; sets ``reason`` when TLS was ended instead."""
        ssl = self._ssl
        try:
            return self._connection.recv(TURN_MAX)
        except ssl.WantReadError:
            return b""
        except ssl.ZeroReturnError:
            self.reason = "the other side has ended TLS"
        except ssl.Error as error:
            self.reason = _describe(error)
        return b""

    def _drain(self) -> bytes:
        ssl = self._ssl
        out = b""
        while True:
            try:
                out += self._connection.bio_read(TURN_MAX)
            except ssl.WantReadError:
                return out

    def msk(self) -> bytes:
        """The first 64 octets of the key material (RFC 5216 section 2.3, RFC 9190 2.3)."""
        if self.is_13:
            context = bytes((EapType.TLS,))
            return self._connection.export_keying_material(_LABEL_13, 128, context)[:64]
        return self._connection.export_keying_material(_LABEL_12, 128)[:64]


def _describe(error: Exception) -> str:
    """The text of OpenSSL's first complaint."""
    details = error.args[0] if error.args and isinstance(error.args[0], list) else []
    texts = [entry[-1] for entry in details if isinstance(entry, tuple) and entry and entry[-1]]
    return f"TLS: {texts[0]}" if texts else f"TLS: {error or type(error).__name__}"


# --- the client ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TlsClient:
    """Our certificate, and who the EAP server must be.

    ``server`` None: any server whose certificate ``credential.trust`` believes,
    which is enough only where its anchors issue to nobody else. ``versions`` are
    the lowest and highest TLS version as pyOpenSSL numbers them.
    """

    credential: TlsCredential
    server: Identity | None
    versions: tuple[int, int] | None = field(default=None, compare=False)

    def client(self, at: float) -> TlsClientSession:
        """See :class:`dsmip.ikev2.eap.ClientMethodConfig`. Raises ``LocalError``."""
        tls = Tls(self.credential, server=False, peer=self.server, at=at, versions=self.versions)
        return TlsClientSession(tls, self.credential)


class TlsClientSession:
    """See :class:`dsmip.ikev2.eap.ClientMethod`."""

    TYPE: ClassVar[int] = EapType.TLS

    def __init__(self, tls: Tls, credential: TlsCredential) -> None:
        self.complaint = ""
        self._tls = tls
        self._identity = str(credential.chain[0])
        self._fragments = Fragments(credential.fragment)
        self._started = False
        self._committed = False

    def outcome(self) -> EapSuccess | None:
        """The keys, when the handshake is complete; with TLS 1.3 only after the server's word."""
        if not self._tls.done or self._tls.reason or self._fragments.sending:
            return None
        if self._tls.is_13 and not self._committed:
            return None
        return EapSuccess(self._tls.msk(), self._identity)

    def answer(self, identifier: int, data: bytes) -> bytes:
        """Answer a start, a fragment or an acknowledgement. Raises :class:`EapError`."""
        if not data:
            raise EapError("EAP-TLS message without flags")
        if data[0] & START:
            if self._started:
                raise EapError("EAP-TLS starts twice")
            self._started = True
            return self._fragments.send(self._tls.advance(b""))
        if not self._started:
            raise EapError("EAP-TLS message before the start")
        if self._fragments.sending:
            if data != b"\0":
                raise EapError("EAP-TLS fragment instead of an acknowledgement")
            return self._fragments.next()
        if self.complaint:
            raise EapError(f"EAP-TLS server goes on after {self.complaint}")
        turn = self._fragments.receive(data)
        if turn is None:
            return b"\0"
        return self._turn(turn)

    def _turn(self, turn: bytes) -> bytes:
        if not turn:
            raise EapError("EAP-TLS turn without TLS")
        out = self._tls.advance(turn)
        if self._tls.done:
            received = self._tls.read()
            if received:
                if received != COMMITMENT or not self._tls.is_13:
                    raise EapError("EAP-TLS server sends application data")
                self._committed = True
        if self._tls.reason:
            # Our alert goes out, or the answer to the server's (RFC 5216 section 2.1.3):
            # the failure that follows ends the conversation.
            self.complaint = self._tls.reason
        return self._fragments.send(out)


# --- the server ----------------------------------------------------------------------


class TlsServer:
    """See :class:`dsmip.ikev2.eap.ServerMethod`.

    The client's certificate must be for ``identity``, usually the IDi it came
    with; None takes any that ``credential.trust`` believes, and the identity of
    the result is then the first of the certificate. ``at`` is wall-clock time.
    Raises ``LocalError`` without pyOpenSSL.
    """

    TYPE: ClassVar[int] = EapType.TLS

    def __init__(
        self,
        credential: TlsCredential,
        identity: Identity | None,
        at: float,
        *,
        versions: tuple[int, int] | None = None,
    ) -> None:
        self._identity = identity
        self._tls = Tls(credential, server=True, peer=identity, at=at, versions=versions)
        self._fragments = Fragments(credential.fragment)
        self._result: EapResult | None = None

    def begin(self, identifier: int) -> bytes:
        """The start."""
        return bytes((START,))

    def answer(self, identifier: int, data: bytes) -> bytes | EapResult:
        """Take a fragment, an acknowledgement or an alert. Raises :class:`EapError`."""
        if not data or data[0] & START:
            raise EapError("EAP-TLS message without flags, or a start from a client")
        if self._fragments.sending:
            if data != b"\0":
                raise EapError("EAP-TLS fragment instead of an acknowledgement")
            return self._fragments.next()
        turn = self._fragments.receive(data)
        if turn is None:
            return b"\0"
        if self._result:
            return self._finish(turn)
        if not turn:
            raise EapError("EAP-TLS turn without TLS")
        out = self._tls.advance(turn)
        if self._tls.done:
            return self._complete(out)
        if self._tls.reason:
            self._result = EapFailure(self._tls.reason)
            return self._fragments.send(out) if out else self._result
        return self._fragments.send(out)

    def _complete(self, out: bytes) -> bytes:
        assert self._tls.verified
        names = self._tls.verified.certificate.identities()
        identity = self._identity or next(iter(names), None)
        self._result = EapSuccess(self._tls.msk(), str(identity or ""))
        if self._tls.is_13:
            out += self._tls.write(COMMITMENT)
        return self._fragments.send(out)

    def _finish(self, turn: bytes) -> EapResult:
        assert self._result
        if isinstance(self._result, EapSuccess) and turn:
            # A client that does not believe us answers with an alert.
            self._tls.advance(turn)
            self._tls.read()
            raise EapError(self._tls.reason or "EAP-TLS client goes on after the end")
        return self._result
