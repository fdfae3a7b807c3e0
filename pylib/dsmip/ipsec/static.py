# SPDX-License-Identifier: GPL-2.0-only
"""Static keys (RFC 3776 section 4.1): one secret makes both directions' keys."""

from __future__ import annotations

import hashlib
import hmac
from ipaddress import IPv6Address
from typing import Final

from .association import DirectionKeys, RowKeys

LEAST_SECRET: Final = 16
LARGEST_SECRET: Final = 128
ENCRYPTION_KEY_SIZES: Final = (16, 24, 32)
AUTHENTICATION_KEY_SIZE: Final = 32
#: RFC 4303 section 2.1: smaller values are reserved.
LEAST_SPI: Final = 256


def derive(secret: bytes, home_address: IPv6Address, agent: IPv6Address) -> RowKeys:
    """Make SPIs and keys of a shared secret, different for each pair and direction.

    Output block i of direction d is HMAC-SHA-256(secret, "dsmip esp" | d | i |
    home address | agent): block 0 is the authentication key, block 1 the
    encryption key, block 2 starts with the SPI.
    """

    def block(direction: int, index: int) -> bytes:
        text = b"dsmip esp" + bytes((direction, index)) + home_address.packed + agent.packed
        return hmac.new(secret, text, hashlib.sha256).digest()

    def keys(direction: int) -> DirectionKeys:
        spi = int.from_bytes(block(direction, 2)[:4], "big")
        return DirectionKeys(max(spi, LEAST_SPI), block(direction, 1), block(direction, 0))

    return RowKeys(to_agent=keys(0), to_router=keys(1))
