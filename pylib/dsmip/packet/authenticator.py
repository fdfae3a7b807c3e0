# SPDX-License-Identifier: GPL-2.0-only
"""Return routability (RFC 6275 section 5.2) and RFC 4285 authentication.

SHA-1 is fixed by these RFCs. All functions are pure; keys, nonces and cookies
come from the caller.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from ipaddress import IPv6Address
from typing import Final, TypeVar

from .mobility import BindingAcknowledgement, BindingUpdate, build
from .options import BindingAuthorizationData, MobilityMessageAuthentication

AUTHENTICATOR_SIZE: Final = 12
_OPTIONS_START: Final = 12  # in updates and acknowledgements alike
_OPTION: Final = bytes((BindingAuthorizationData.TYPE, AUTHENTICATOR_SIZE))

#: RFC 4285 section 5: subtypes, and the SPI that chooses HMAC-SHA1 for MN-AAA.
MN_HA: Final = 1
MN_AAA: Final = 2
SPI_HMAC_SHA1: Final = 3

Signed = TypeVar("Signed", BindingUpdate, BindingAcknowledgement)


def home_keygen_token(node_key: bytes, home_address: IPv6Address, nonce: bytes) -> bytes:
    """Return the 8 octets of a home keygen token; ``node_key`` is Kcn (20 octets)."""
    return _hmac_sha1(node_key, home_address.packed + nonce + b"\0")[:8]


def care_of_keygen_token(node_key: bytes, care_of_address: IPv6Address, nonce: bytes) -> bytes:
    """Return the 8 octets of a care-of keygen token; ``node_key`` is Kcn (20 octets)."""
    return _hmac_sha1(node_key, care_of_address.packed + nonce + b"\1")[:8]


def binding_key(home_token: bytes, care_of_token: bytes = b"") -> bytes:
    """Return Kbm (20 octets); without ``care_of_token`` the one for a deletion."""
    return hashlib.sha1(home_token + care_of_token).digest()


def authorize(
    message: Signed, key: bytes, care_of_address: IPv6Address, correspondent: IPv6Address
) -> Signed:
    """Return ``message`` with a Binding Authorization Data option at its end.

    ``key`` is Kbm, ``care_of_address`` the home address in a deletion (RFC 6275
    section 6.2.7). Nothing in the message may be changed afterwards.
    """
    empty = BindingAuthorizationData(bytes(AUTHENTICATOR_SIZE))
    data = build(replace(message, options=(*message.options, empty)))
    code = BindingAuthorizationData(_binding_code(data, key, care_of_address, correspondent))
    return replace(message, options=(*message.options, code))


def authorized(
    data: bytes, key: bytes, care_of_address: IPv6Address, correspondent: IPv6Address
) -> bool:
    """Tell whether a received mobility header ends in a good authenticator.

    False as well when Binding Authorization Data is not the very last thing in
    it: padding after it is not allowed. ``data`` is what ``mobility.parse``
    accepted.
    """
    data = data[: 8 + data[1] * 8]
    if data[-len(_OPTION) - AUTHENTICATOR_SIZE : -AUTHENTICATOR_SIZE] != _OPTION:
        return False
    expected = _binding_code(data, key, care_of_address, correspondent)
    return hmac.compare_digest(expected, data[-AUTHENTICATOR_SIZE:])


def unsigned(subtype: int, spi: int) -> MobilityMessageAuthentication:
    """Return the option that :func:`sign` will fill in; it has its final size."""
    size = AUTHENTICATOR_SIZE if subtype == MN_HA else hashlib.sha1().digest_size
    return MobilityMessageAuthentication(subtype, spi, bytes(size))


def sign(
    message: Signed,
    subtype: int,
    key: bytes,
    care_of_address: IPv6Address,
    home_address: IPv6Address,
) -> Signed:
    """Return ``message`` with its authentication option of ``subtype`` filled in.

    The message holds the option already (see :func:`unsigned`). With both
    subtypes MN-HA stands first and is signed first, since MN-AAA covers it (RFC
    4285 section 5). Raises ``ValueError`` without such an option.
    """
    data = build(message)
    options = list(message.options)
    for index, item in enumerate(options):
        if isinstance(item, MobilityMessageAuthentication) and item.subtype == subtype:
            code = _mobility_code(data, subtype, key, care_of_address, home_address)
            options[index] = replace(item, data=code)
            return replace(message, options=tuple(options))
    raise ValueError(f"no authentication option of subtype {subtype} to sign")


def signed(
    data: bytes,
    subtype: int,
    key: bytes,
    care_of_address: IPv6Address,
    home_address: IPv6Address,
) -> bool:
    """Tell whether the received update or acknowledgement ``data`` is signed by ``key``.

    Looks at the first authentication option of ``subtype``; False without one.
    ``data`` is what ``mobility.parse`` accepted.
    """
    found = _find(data, subtype)
    if found is None:
        return False
    expected = _mobility_code(data, subtype, key, care_of_address, home_address)
    return hmac.compare_digest(expected, data[slice(*found)])


def _hmac_sha1(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha1")


def _without_checksum(data: bytes) -> bytes:
    return data[:4] + b"\0\0" + data[6:]


def _binding_code(
    data: bytes, key: bytes, care_of_address: IPv6Address, correspondent: IPv6Address
) -> bytes:
    covered = _without_checksum(data[:-AUTHENTICATOR_SIZE])
    addresses = care_of_address.packed + correspondent.packed
    return _hmac_sha1(key, addresses + covered)[:AUTHENTICATOR_SIZE]


def _mobility_code(
    data: bytes,
    subtype: int,
    key: bytes,
    care_of_address: IPv6Address,
    home_address: IPv6Address,
) -> bytes:
    found = _find(data, subtype)
    if found is None:
        return b""
    covered = care_of_address.packed + home_address.packed + _without_checksum(data[: found[0]])
    if subtype == MN_HA:
        return _hmac_sha1(key, covered)[:AUTHENTICATOR_SIZE]
    return _hmac_sha1(key, hashlib.sha1(covered).digest())


def _find(data: bytes, subtype: int) -> tuple[int, int] | None:
    """Return start and end of the authentication data, which follows the SPI."""
    at, end = _OPTIONS_START, 8 + data[1] * 8
    while at < end:
        if data[at] == 0:
            at += 1
            continue
        stop = at + 2 + data[at + 1]
        if data[at] == MobilityMessageAuthentication.TYPE and data[at + 2] == subtype:
            return at + 7, stop
        at = stop
    return None
