# SPDX-License-Identifier: GPL-2.0-only
"""How messages are damaged, the same way for the same seed."""

from __future__ import annotations

import random
from collections.abc import Sequence


def damaged(
    chance: random.Random, wire: bytes, interesting: Sequence[int], lengths: Sequence[int]
) -> bytearray:
    """Change, insert, remove or splice a few octets; sometimes cut the end.

    ``interesting`` are octets that mean something, ``lengths`` how many come or go.
    """
    octets = bytearray(wire)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(octets)) if octets else 0
        match chance.randrange(6):
            case 0 if octets:
                octets[at] ^= 1 << chance.randrange(8)
            case 1 if octets:
                octets[at] = chance.choice(interesting)
            case 2:
                octets[at:at] = chance.randbytes(chance.choice(lengths))
            case 3:
                del octets[at : at + chance.choice(lengths)]
            case 4:
                del octets[at:]
            case _ if wire:
                start = chance.randrange(len(wire))
                octets[at:at] = wire[start : start + chance.randrange(24)]
    return octets
