# SPDX-License-Identifier: GPL-2.0-only
"""What a Binding Update to a correspondent says (RFC 6275 section 11.7.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv6Address

from ..packet.authenticator import binding_key
from ..packet.careof import CareOf, WireKind
from ..packet.options import AlternateCareOfAddress, NonceIndices, Option
from .config import RouteOptimisationConfig
from .correspondent_list import Attached, Correspondent, Phase
from .registration import LIFETIME_UNIT
from .return_routability import MAX_RR_BINDING_LIFETIME, MAX_TRUSTED_LIFETIME


@dataclass(frozen=True, slots=True)
class Made:
    """An update to be sent.

    ``covers`` is the address in its authenticator, ``key`` is empty where IPsec takes
    that one's place. Without ``path`` it goes as from home.
    """

    options: tuple[Option, ...]
    lifetime: int
    covers: IPv6Address
    key: bytes = field(repr=False)
    path: CareOf | None


def make_update(
    one: Correspondent,
    at: Attached,
    config: RouteOptimisationConfig,
    home_address: IPv6Address,
    now: float,
) -> Made | None:
    """Return an update to one that is being deleted, or bound; None without time to bind for."""
    trusted = one.address in config.trusted
    if one.phase is Phase.DELETING:
        return _removal(one, at, home_address, trusted)
    address, home, care_of = at.address, one.home_token, one.care_of_token
    assert at.care_of is not None
    assert address is not None
    path = CareOf(address, WireKind.IP6, 0, at.care_of.interface)
    if trusted:
        # ESP does not cover the source of the packet.
        options: tuple[Option, ...] = (AlternateCareOfAddress(address),)
        most, key = MAX_TRUSTED_LIFETIME, b""
    else:
        assert home is not None
        assert care_of is not None
        options = (NonceIndices(home.nonce_index, care_of.nonce_index),)
        most = min(config.lifetime, MAX_RR_BINDING_LIFETIME)
        key = binding_key(home.value, care_of.value)
    lifetime = min(most, int(at.until - now))
    return None if lifetime < LIFETIME_UNIT else Made(options, lifetime, address, key, path)


def _removal(one: Correspondent, at: Attached, home_address: IPv6Address, trusted: bool) -> Made:
    # Away without an IPv6 care-of address it goes as from home, by the tunnel.
    path = at.care_of if at.address is not None else None
    options: list[Option] = []
    if path is not None:
        # Sections 6.2.7 and 11.7.2 differ in the address that is covered: with this
        # option both mean the home address.
        options.append(AlternateCareOfAddress(home_address))
    key = b""
    if not trusted:
        assert one.home_token is not None
        options.append(NonceIndices(one.home_token.nonce_index, 0))
        key = binding_key(one.home_token.value)
    return Made(tuple(options), 0, home_address, key, path)
