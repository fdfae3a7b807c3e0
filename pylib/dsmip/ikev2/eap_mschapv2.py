# SPDX-License-Identifier: GPL-2.0-only
"""EAP-MSCHAPv2 (draft-kamath-pppext-eap-mschapv2), both sides.

A password proves both ends to each other, but weakly: it is used only inside an
IKE SA whose responder has signed its AUTH payload (RFC 7296 section 2.16).
"""

from __future__ import annotations

import enum
import hmac
import re
import secrets
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final

from .eap import EapError, EapFailure, EapResult, EapSuccess, Random
from .mschap import authenticator_response, nt_password_hash, nt_response, session_key
from .numbers import EapType

#: Password hash of a user, None for an unknown one; the name is without a Windows domain.
Accounts = Callable[[str], bytes | None]

CHALLENGE_SIZE: Final = 16
RESPONSE_SIZE: Final = 24
NAME_MAX: Final = 256
#: ERROR_AUTHENTICATION_FAILURE (RFC 2759 section 6).
ERROR_AUTHENTICATION: Final = 691
_MEANINGS: Final = {
    646: "this is no hour to log in",
    647: "the account is disabled",
    648: "the password has expired",
    649: "the account may not use this service",
    ERROR_AUTHENTICATION: "user or password is wrong",
    709: "the password could not be changed",
}
_ERROR: Final = re.compile(rb"E=([0-9]{1,10})(?![0-9])")


class Code(enum.IntEnum):
    """OpCodes."""

    CHALLENGE = 1
    RESPONSE = 2
    SUCCESS = 3
    FAILURE = 4


def _bare(name: str) -> str:
    """The user without a Windows domain, as the hashes take it (RFC 2759 section 8.2)."""
    return name.rpartition("\\")[2]


def _build(code: Code, identifier: int, data: bytes) -> bytes:
    return struct.pack("!BBH", code, identifier, 4 + len(data)) + data


def _parse(data: bytes) -> tuple[int, int, bytes]:
    """Opcode, MS-CHAPv2-ID and data of a message with a length. Raises :class:`EapError`."""
    if len(data) < 4:
        raise EapError(f"MSCHAPv2 message of {len(data)} octets")
    code, identifier, size = struct.unpack_from("!BBH", data)
    if size != len(data):
        raise EapError(f"MSCHAPv2 message says {size} octets and has {len(data)}")
    return code, identifier, data[4:]


def _parse_value(data: bytes, size: int) -> tuple[bytes, str]:
    """The value of a challenge or response, and the name. Raises :class:`EapError`."""
    if len(data) < 1 + size or data[0] != size:
        raise EapError(f"MSCHAPv2 value is not {size} octets long")
    name = data[1 + size :]
    try:
        text = name.decode()
    except UnicodeDecodeError:
        raise EapError("MSCHAPv2 name is not UTF-8") from None
    if len(name) > NAME_MAX:
        raise EapError(f"MSCHAPv2 name of {len(name)} octets")
    return data[1 : 1 + size], text


# --- the client ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MsChapV2Client:
    """A user's name and password."""

    user: str
    password: str = field(repr=False)
    random: Random = field(default=secrets.token_bytes, repr=False, compare=False)

    def client(self, at: float) -> MsChapV2ClientSession:
        """See :class:`dsmip.ikev2.eap.ClientMethodConfig`."""
        return MsChapV2ClientSession(self)


class MsChapV2ClientSession:
    """See :class:`dsmip.ikev2.eap.ClientMethod`."""

    TYPE: ClassVar[int] = EapType.MSCHAPV2

    def __init__(self, config: MsChapV2Client) -> None:
        self.complaint = ""
        self._config = config
        self._expected: bytes | None = None
        self._identifier = 0
        self._msk = b""
        self._success: EapSuccess | None = None
        self._refused = False

    def outcome(self) -> EapSuccess | None:
        """The keys, once the server has shown that it knows the password."""
        return self._success

    def answer(self, identifier: int, data: bytes) -> bytes:
        """Answer a challenge, a success or a failure. Raises :class:`EapError`."""
        code, number, body = _parse(data)
        if self._success or self._refused:
            raise EapError("MSCHAPv2 request after the end")
        if code == Code.CHALLENGE:
            return self._challenge(number, body)
        if self._expected is None:
            raise EapError(f"MSCHAPv2 code {code} before a challenge")
        if number != self._identifier:
            raise EapError(f"MSCHAPv2 identifier {number}, not {self._identifier}")
        if code == Code.SUCCESS:
            return self._check(body)
        if code == Code.FAILURE:
            # There is no other password to try: the failure that follows ends it.
            self._refused = True
            self.complaint = _complaint(body)
            return bytes((Code.FAILURE,))
        raise EapError(f"MSCHAPv2 code {code} from a server")

    def _challenge(self, identifier: int, body: bytes) -> bytes:
        if self._expected is not None:
            raise EapError("MSCHAPv2 challenge twice")
        challenge, _ = _parse_value(body, CHALLENGE_SIZE)
        own = self._config.random(CHALLENGE_SIZE)
        user = _bare(self._config.user)
        secret = nt_password_hash(self._config.password)
        response = nt_response(challenge, own, user, secret)
        self._expected = authenticator_response(challenge, own, user, secret, response)
        self._msk = session_key(secret, response)
        self._identifier = identifier
        value = own + bytes(8) + response + b"\0"
        return _build(
            Code.RESPONSE, identifier, bytes((len(value),)) + value + self._config.user.encode()
        )

    def _check(self, body: bytes) -> bytes:
        assert self._expected is not None
        sent = body[:42].upper()
        if not hmac.compare_digest(sent, b"S=" + self._expected.hex().upper().encode()):
            raise EapError("the EAP server does not know our password")
        self._success = EapSuccess(self._msk, self._config.user)
        return bytes((Code.SUCCESS,))


def _complaint(body: bytes) -> str:
    """What a failure message says (RFC 2759 section 6)."""
    found = _ERROR.search(body)
    number = int(found[1]) if found else None
    meaning = _MEANINGS.get(number) if number is not None else None
    return meaning or f"MSCHAPv2 error {number}"


# --- the server ----------------------------------------------------------------------


class MsChapV2Server:
    """See :class:`dsmip.ikev2.eap.ServerMethod`.

    ``name`` is what the client is told of the server. With ``retries`` a wrong
    password may be followed by so many others, each with a fresh challenge. An
    unknown user is treated as one with a wrong password.
    """

    TYPE: ClassVar[int] = EapType.MSCHAPV2

    def __init__(
        self,
        name: str,
        accounts: Accounts,
        *,
        retries: int = 0,
        random: Random = secrets.token_bytes,
    ) -> None:
        self._name = name.encode()
        self._accounts = accounts
        self._retries = retries
        self._random = random
        self._challenge = b""
        self._identifier = 0
        self._success: EapSuccess | None = None
        self._failure: EapFailure | None = None

    def begin(self, identifier: int) -> bytes:
        """The challenge."""
        self._identifier = identifier
        self._challenge = self._random(CHALLENGE_SIZE)
        value = bytes((CHALLENGE_SIZE,)) + self._challenge
        return _build(Code.CHALLENGE, identifier, value + self._name)

    def answer(self, identifier: int, data: bytes) -> bytes | EapResult:
        """Take a response, or what follows our success or failure. Raises :class:`EapError`."""
        if not data:
            raise EapError("MSCHAPv2 message of 0 octets")
        code = data[0]
        if self._success:
            if code != Code.SUCCESS:
                raise EapError(f"MSCHAPv2 code {code} instead of a success")
            return self._success
        if self._failure:
            if code == Code.FAILURE:
                return self._failure
            if self._retries == 0:
                raise EapError(f"MSCHAPv2 code {code} instead of a failure")
            self._retries -= 1
        if code != Code.RESPONSE:
            raise EapError(f"MSCHAPv2 code {code} instead of a response")
        return self._response(identifier, data)

    def _response(self, identifier: int, data: bytes) -> bytes:
        _, number, body = _parse(data)
        if number != self._identifier:
            raise EapError(f"MSCHAPv2 identifier {number}, not {self._identifier}")
        value, name = _parse_value(body, CHALLENGE_SIZE + 8 + RESPONSE_SIZE + 1)
        user = _bare(name)
        known = self._accounts(user)
        secret = known or self._random(16)
        peer_challenge = value[:CHALLENGE_SIZE]
        response = value[CHALLENGE_SIZE + 8 : -1]
        expected = nt_response(self._challenge, peer_challenge, user, secret)
        right = hmac.compare_digest(expected, response)
        if not known or not right:
            what = "a wrong password" if known else "no account"
            self._failure = EapFailure(f"user {user!r} has {what}")
            return self._refuse(number)
        self._failure = None
        self._success = EapSuccess(session_key(secret, response), user)
        proof = authenticator_response(self._challenge, peer_challenge, user, secret, response)
        text = f"S={proof.hex().upper()} M=OK"
        return _build(Code.SUCCESS, number, text.encode())

    def _refuse(self, number: int) -> bytes:
        self._challenge = self._random(CHALLENGE_SIZE)
        # The response to a retry has the identifier of its challenge plus one.
        self._identifier = (number + 1) & 0xFF
        text = (
            f"E={ERROR_AUTHENTICATION} R={int(self._retries > 0)} "
            f"C={self._challenge.hex().upper()} V=3 M=Authentication failed"
        )
        return _build(Code.FAILURE, number, text.encode())
