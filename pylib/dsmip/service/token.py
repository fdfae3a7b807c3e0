# SPDX-License-Identifier: GPL-2.0-only
"""The enrolment token: all that a router needs to know of its home agent, and its credential.

The body of a printable text of kind TOKEN: fields of type (1), size (2) and
value; a field of several values stands there several times. Who meets a type
below 128 that he does not know cannot use the token.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any, Final

from ..packet.kernel import Address, Network
from .ike_config import Authentication, Manager, Payload
from .printable import Frame, Kind, parse

VERSION: Final = 1
_OPTIONAL: Final = 128
#: Clocks of routers without a battery start somewhere in the past.
_CLOCK_SLACK: Final = 86400


class TokenError(ValueError):
    """A token cannot be used; the text is for the operator and holds no secret."""


@dataclass(frozen=True, slots=True)
class Token:
    """What a router is told. Times in seconds since 1970.

    A home address of None comes from IKE, ``request4`` asks for an IPv4 one in
    the Binding Update. ``secret`` is the PSK or the static key. With public keys
    and certificates ``key`` is the router's private key (PKCS #8), ``chain`` its
    certificates, leaf first, and ``authorities`` or ``agent_key`` (a
    SubjectPublicKeyInfo) prove who the home agent is. All of these are DER.
    """

    identity: str
    agents: tuple[Address, ...]
    home_prefix: IPv6Network
    made: int
    expires: int
    manager: Manager = Manager.IKEV2
    authentication: Authentication = Authentication.PSK
    agent_identity: str = ""
    home_address: IPv6Address | None = None
    home_address4: IPv4Address | None = None
    request4: bool = False
    prefixes: tuple[Network, ...] = ()
    payload: Payload = Payload.NONE
    port: int = 4191
    secret: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)
    chain: tuple[bytes, ...] = ()
    authorities: tuple[bytes, ...] = ()
    agent_key: bytes = b""


def _network(value: bytes) -> Network:
    made = ip_network((value[1:], value[0]))
    assert isinstance(made, IPv6Network | IPv4Network)
    return made


def _number(value: bytes) -> int:
    return int.from_bytes(value, "big")


def _shortest(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


_Codec = tuple[Callable[[Any], bytes], Callable[[bytes], Any]]
_TEXT: Final[_Codec] = (str.encode, bytes.decode)
_OCTETS: Final[_Codec] = (bytes, bytes)
_ADDRESS: Final[_Codec] = (lambda value: value.packed, ip_address)
_NETWORK: Final[_Codec] = (
    lambda value: bytes((value.prefixlen,)) + value.network_address.packed,
    _network,
)
_NUMBER: Final[_Codec] = (_shortest, _number)


def _word(kind: Any) -> _Codec:
    return (lambda value: str(value).encode(), lambda value: kind(value.decode()))


#: Type, field, codec, the class of the values.
_FIELDS: Final[tuple[tuple[int, str, _Codec, type | tuple[type, ...]], ...]] = (
    (1, "identity", _TEXT, str),
    (2, "agents", _ADDRESS, (IPv6Address, IPv4Address)),
    (3, "home_prefix", _NETWORK, IPv6Network),
    (4, "made", _NUMBER, int),
    (5, "expires", _NUMBER, int),
    (6, "manager", _word(Manager), Manager),
    (7, "authentication", _word(Authentication), Authentication),
    (8, "agent_identity", _TEXT, str),
    (9, "home_address", _ADDRESS, IPv6Address),
    (10, "home_address4", _ADDRESS, IPv4Address),
    (11, "request4", _NUMBER, int),
    (12, "prefixes", _NETWORK, (IPv6Network, IPv4Network)),
    (13, "payload", _word(Payload), Payload),
    (14, "port", _NUMBER, int),
    (15, "secret", _OCTETS, bytes),
    (16, "key", _OCTETS, bytes),
    (17, "chain", _OCTETS, bytes),
    (18, "authorities", _OCTETS, bytes),
    (19, "agent_key", _OCTETS, bytes),
)
_BY_TYPE: Final = {number: (name, codec, kind) for number, name, codec, kind in _FIELDS}
_DEFAULTS: Final = {
    one.name: None if one.default is dataclasses.MISSING else one.default
    for one in dataclasses.fields(Token)
}
_SEVERAL: Final = frozenset(("agents", "prefixes", "chain", "authorities"))
_NEEDED: Final = ("identity", "agents", "home_prefix", "made", "expires")


def frame(token: Token) -> Frame:
    """Pack a token for printing. Raises ``ValueError`` when it is too long."""
    body = bytearray()
    for number, name, (pack, _unpack), _kind in _FIELDS:
        value = getattr(token, name)
        if value == _DEFAULTS[name]:
            continue
        for one in value if name in _SEVERAL else (value,):
            packed = pack(one)
            body += bytes((number,)) + len(packed).to_bytes(2, "big") + packed
    return Frame(Kind.TOKEN, VERSION, bytes(body))


def read(text: str) -> Token:
    """Read a printed token. Raises ``PrintableError``, and ``TokenError`` for its content."""
    found: dict[str, Any] = {}
    for number, value in _fields(parse(text, Kind.TOKEN, VERSION)):
        if number not in _BY_TYPE:
            if number < _OPTIONAL:
                raise TokenError("the token says something that is not known here: update dsmip")
            continue
        name, (_pack, unpack), kind = _BY_TYPE[number]
        try:
            one = unpack(value)
        except (ValueError, IndexError):
            raise TokenError(f"the token's {name} cannot be read") from None
        if not isinstance(one, kind):
            raise TokenError(f"the token's {name} cannot be read")
        if name in _SEVERAL:
            found[name] = (*found.get(name, ()), one)
        elif name in found:
            raise TokenError(f"the token has {name} twice")
        else:
            found[name] = one
    for name in _NEEDED:
        if name not in found:
            raise TokenError(f"the token lacks {name}")
    found["request4"] = bool(found.get("request4", False))
    return Token(**found)


def _fields(body: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place < len(body):
        start = place + 3
        place = start + int.from_bytes(body[place + 1 : start], "big")
        if start > len(body) or place > len(body):
            raise TokenError("the token's content ends early")
        yield body[start - 3], body[start:place]


def check_time(token: Token, now: float) -> None:
    """Refuse a token that is too old, or a clock that is wrong. Raises ``TokenError``."""
    from time import gmtime, strftime

    def written(at: float) -> str:
        return strftime("%Y-%m-%d %H:%M UTC", gmtime(at))

    if now > token.expires:
        raise TokenError(
            f"the token expired at {written(token.expires)} (it is {written(now)} now): "
            "make a new one at the home agent"
        )
    if now < token.made - _CLOCK_SLACK:
        raise TokenError(
            f"the token was made at {written(token.made)}, but here it is {written(now)}: "
            "set this machine's clock"
        )
