# SPDX-License-Identifier: GPL-2.0-only
"""The cryptography of MS-CHAP-V2 (RFC 2759 section 8) and its keys (RFC 3079 section 3).

MD4 (RFC 1320) and DES (FIPS 46-3) are written out: OpenSSL 3 has them in no
provider that is loaded by default. Both are broken; what protects a password
here is the IKE SA around it, whose responder has signed before (RFC 7296
section 2.16). An offline guess costs an attacker who ends the IKE SA 2**56.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

# --- MD4 -----------------------------------------------------------------------------

#: For each round: constant, order of the words, and the four shifts.
_MD4_ROUNDS: Final = (
    (0, tuple(range(16)), (3, 7, 11, 19)),
    (0x5A827999, (0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), (3, 5, 9, 13)),
    (0x6ED9EBA1, (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15), (3, 9, 11, 15)),
)
_WORD: Final = 0xFFFFFFFF


def _mix(number: int, x: int, y: int, z: int) -> int:
    if number == 0:
        return (x & y) | (~x & z)
    if number == 1:
        return (x & y) | (x & z) | (y & z)
    return x ^ y ^ z


def md4(data: bytes) -> bytes:
    """The 16 octets of MD4."""
    size = len(data)
    data += b"\x80" + bytes(-(size + 9) % 64) + struct.pack("<Q", size * 8)
    state = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476]
    for start in range(0, len(data), 64):
        words = struct.unpack_from("<16I", data, start)
        a, b, c, d = state
        for number, (constant, order, shifts) in enumerate(_MD4_ROUNDS):
            for step, index in enumerate(order):
                value = (a + _mix(number, b, c, d) + words[index] + constant) & _WORD
                shift = shifts[step % 4]
                a, b, c, d = d, (value << shift | value >> (32 - shift)) & _WORD, b, c
        state = [(old + new) & _WORD for old, new in zip(state, (a, b, c, d), strict=True)]
    return struct.pack("<4I", *state)


# --- DES -----------------------------------------------------------------------------

_INITIAL: Final = tuple(
    column - 8 * row for column in (58, 60, 62, 64, 57, 59, 61, 63) for row in range(8)
)
_FINAL: Final = tuple(_INITIAL.index(position) + 1 for position in range(1, 65))
_EXPANSION: Final = tuple((4 * row + step - 1) % 32 + 1 for row in range(8) for step in range(6))
_PERMUTATION: Final = (
    *(16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10),
    *(2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25),
)
_CHOICE_1: Final = (
    *(57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18),
    *(10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36),
    *(63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22),
    *(14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12, 4),
)
_CHOICE_2: Final = (
    *(14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4),
    *(26, 8, 16, 7, 27, 20, 13, 2, 41, 52, 31, 37, 47, 55, 30, 40),
    *(51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32),
)
_SHIFTS: Final = (1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1)
#: The S-boxes, four rows of 16 in hexadecimal each.
_BOXES: Final = tuple(
    tuple(int(digit, 16) for digit in box)
    for box in (
        "e4d12fb83a6c59070f74e2d1a6cb953841e8d62bfc973a50fc8249175b3ea06d",
        "f18e6b34972dc05a3d47f28ec01a69b50e7ba4d158c6932fd8a13f42b67c05e9",
        "a09e63f51dc7b428d709346a285ecbf1d6498f30b12c5ae71ad069874fe3b52c",
        "7de3069a1285bc4fd8b56f03472c1ae9a690cb7df13e52843f06a1d8945bc72e",
        "2c417ab6853fd0e9eb2c47d150fa3986421bad78f9c5630eb8c71e2d6f09a453",
        "c1af92680d34e75baf427c9561de0b389ef528c3704a1db6432c95fabe17608d",
        "4b2ef08d3c975a61d0b7491ae35c2f8614bdc37eaf6805926bd814a7950fe23c",
        "d2846fb1a93e50c71fd8a374c56b0e927b419ce206adf35821e74a8dfc90356b",
    )
)


def _permute(value: int, size: int, positions: tuple[int, ...]) -> int:
    """Pick bits of a number of ``size`` bits; position 1 is the first."""
    result = 0
    for position in positions:
        result = result << 1 | (value >> (size - position) & 1)
    return result


def _round(half: int, key: int) -> int:
    mixed = _permute(half, 32, _EXPANSION) ^ key
    result = 0
    for number, box in enumerate(_BOXES):
        six = mixed >> (42 - 6 * number) & 0x3F
        result = result << 4 | box[(six & 0x20 | (six & 1) << 4) | (six >> 1 & 0xF)]
    return _permute(result, 32, _PERMUTATION)


def des_encrypt(key: bytes, block: bytes) -> bytes:
    """Encrypt 8 octets; ``key`` has 7, which the parity bits are put between."""
    bits = int.from_bytes(key, "big")
    spread = 0
    for shift in range(49, -1, -7):
        spread = spread << 8 | (bits >> shift & 0x7F) << 1
    chosen = _permute(spread, 64, _CHOICE_1)
    c, d = chosen >> 28, chosen & 0xFFFFFFF
    value = _permute(int.from_bytes(block, "big"), 64, _INITIAL)
    left, right = value >> 32, value & _WORD
    for shift in _SHIFTS:
        c = (c << shift | c >> (28 - shift)) & 0xFFFFFFF
        d = (d << shift | d >> (28 - shift)) & 0xFFFFFFF
        left, right = right, left ^ _round(right, _permute(c << 28 | d, 56, _CHOICE_2))
    return _permute(right << 32 | left, 64, _FINAL).to_bytes(8, "big")


# --- RFC 2759 ------------------------------------------------------------------------

_MAGIC_1: Final = b"Magic server to client signing constant"
_MAGIC_2: Final = b"Pad to make it do more than one iteration"


def _sha1(*parts: bytes) -> bytes:
    return hashlib.sha1(b"".join(parts), usedforsecurity=False).digest()


def nt_password_hash(password: str) -> bytes:
    """NtPasswordHash (section 8.3): all that a server needs of a password."""
    return md4(password.encode("utf-16-le"))


def challenge_hash(peer_challenge: bytes, challenge: bytes, user: str) -> bytes:
    """ChallengeHash (section 8.2); ``user`` is without a Windows domain."""
    return _sha1(peer_challenge, challenge, user.encode())[:8]


def nt_response(challenge: bytes, peer_challenge: bytes, user: str, password_hash: bytes) -> bytes:
    """GenerateNTResponse (section 8.1): 24 octets."""
    block = challenge_hash(peer_challenge, challenge, user)
    keys = password_hash + bytes(5)
    return b"".join(des_encrypt(keys[start : start + 7], block) for start in (0, 7, 14))


def authenticator_response(
    challenge: bytes, peer_challenge: bytes, user: str, password_hash: bytes, response: bytes
) -> bytes:
    """GenerateAuthenticatorResponse (section 8.7): 20 octets, sent as ``S=`` in hexadecimal."""
    digest = _sha1(md4(password_hash), response, _MAGIC_1)
    return _sha1(digest, challenge_hash(peer_challenge, challenge, user), _MAGIC_2)


# --- RFC 3079 ------------------------------------------------------------------------

_MASTER: Final = b"This is the MPPE Master Key"
_TO_SERVER: Final = (
    b"On the client side, this is the send key; on the server side, it is the receive key."
)
_TO_CLIENT: Final = (
    b"On the client side, this is the receive key; on the server side, it is the send key."
)


def master_key(password_hash: bytes, response: bytes) -> bytes:
    """GetMasterKey (section 3.4): 16 octets."""
    return _sha1(md4(password_hash), response, _MASTER)[:16]


def start_key(master: bytes, *, to_server: bool) -> bytes:
    """GetAsymmetricStartKey (section 3.4) of 16 octets, for one direction."""
    magic = _TO_SERVER if to_server else _TO_CLIENT
    return _sha1(master, bytes(40), magic, b"\xf2" * 40)[:16]


def session_key(password_hash: bytes, response: bytes) -> bytes:
    """The MSK of EAP-MSCHAPv2: what the server receives with, sends with, and zeros to 64."""
    master = master_key(password_hash, response)
    keys = start_key(master, to_server=True) + start_key(master, to_server=False)
    return keys + bytes(32)
