# SPDX-License-Identifier: GPL-2.0-only
"""How easily a shared secret is guessed.

Whoever answers one IKE_SA_INIT and reads the IKE_AUTH request that follows can
try secrets at home (RFC 7296 section 5), so a password of a human is none.
"""

from __future__ import annotations

import math
import re
from typing import Final

#: Bits that a secret should be worth, and octets that it should have.
BITS_MIN: Final = 96.0
OCTETS_MIN: Final = 16
#: What a letter of a sentence is worth.
LANGUAGE_BITS: Final = 2.0

#: Words, also as parts and with digits for letters, that guessing begins with.
_WORD_LIST: Final = """
    access admin agent android apple august batman bus welcome changeme charon cisco city
    computer connect default demo december dragon dsmip east enter example february firewall
    fleet football freedom friday galaxy gateway geheim google hallo hello home hotspot ikev2
    internet ipsec january july june key letmein libreswan linux login london machine manager
    march master mobile monday money monkey mysecret network november october office openwrt
    pass passwd passwort password preshared private psk qwert qwerty remote root router sample
    saturday secret security september server service shadow shared simple strongswan summer
    sunday superman support swan sunshine system taxi test thursday tomorrow train transit
    tuesday tunnel user vehicle vpn wednesday wifi windows winter wireless yesterday
"""
_WORDS: Final = sorted(_WORD_LIST.split(), key=len, reverse=True)
_LEET: Final = str.maketrans("0134579@$!", "oleastgasi")
_RUNS: Final = (
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "01234567890123456789",
)


def _repeated(text: bytes) -> bool:
    """Whether it is one shorter piece again and again."""
    return len(text) > 1 and (text + text).find(text, 1) < len(text)


def _without_runs(text: str) -> str:
    """Keep two characters of each run along the alphabet, the keyboard, or of one character."""
    kept = text[:2]
    for at in range(2, len(text)):
        three = text[at - 2 : at + 1]
        ordered = any(three in run or three[::-1] in run for run in _RUNS)
        if not ordered and len(set(three)) > 1:
            kept += text[at]
    return kept


def _without_words(text: str) -> tuple[str, str | None]:
    """The text without well-known words, and the longest of them."""
    plain = text.translate(_LEET)
    longest = None
    for word in _WORDS:
        if len(word) > 2 and word in plain:
            longest = longest or word
            plain = plain.replace(word, " ")
    if longest is None:
        return text, None
    return plain, longest


def _alphabet(text: str) -> int:
    """How many characters there are to choose from, judged by those that occur."""
    if re.fullmatch(r"[0-9]*", text):
        return 10
    if re.fullmatch(r"[0-9a-f]*|[0-9A-F]*", text):
        return 16
    classes = ((r"[a-z]", 26), (r"[A-Z]", 26), (r"[0-9]", 10), (r"[^a-zA-Z0-9]", 20))
    return sum(size for pattern, size in classes if re.search(pattern, text))


def _is_language(text: str) -> bool:
    """Whether it looks like words: lower-case letters in groups, with vowels among them."""
    if not re.fullmatch(r"([A-Za-z][a-z]+[ _.,!?-]*)+[0-9]{0,4}", text):
        return False
    letters = [char for char in text.lower() if char.isalpha()]
    return sum(char in "aeiouy" for char in letters) >= 0.3 * len(letters)


def _entropy(data: bytes) -> float:
    """Bits by how often each octet occurs: an upper bound for short texts."""
    counts = [data.count(octet) for octet in set(data)]
    return -sum(count * math.log2(count / len(data)) for count in counts)


def psk_weakness(secret: bytes) -> str | None:
    """Say in a few words why a shared secret is weak; None when nothing is found.

    Secrets made by ``dsmip keys generate`` or ``openssl rand`` pass.
    """
    if not secret:
        return "it is empty"
    if len(secret) < OCTETS_MIN:
        return f"it has {len(secret)} octets, {OCTETS_MIN} or more are wanted"
    if _repeated(secret):
        return "it repeats a shorter piece"
    try:
        text = secret.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    if not text.isprintable() or not text:
        # Not typed by anybody; 16 random octets have some 62 bits by this measure.
        weak = len(set(secret)) < 8
        return "it has few different octets" if weak else None
    rest, word = _without_words(text.lower())
    random = len(_without_runs(rest.replace(" ", "")))
    each = LANGUAGE_BITS if _is_language(text) else math.log2(_alphabet(text))
    bits = min(random * each, 2 * _entropy(secret))
    if bits >= BITS_MIN:
        return None
    if word:
        return f"it contains '{word}' and little that cannot be guessed"
    return f"it is worth {bits:.0f} bits or less, {BITS_MIN:.0f} are wanted"
