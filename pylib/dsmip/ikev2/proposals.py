# SPDX-License-Identifier: GPL-2.0-only
"""Proposals, and what two sides agree on (RFC 7296 sections 2.7 and 3.3, RFC 9370).

They are written in swanctl's words, ``aes128gcm16-prfsha256-x25519``, and shown
in the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from .errors import RemoteError
from .numbers import Encr, Esn, Integ, KeyExchange, NotifyType, Prf, ProtocolId, TransformType

ENCR: Final = int(TransformType.ENCR)
PRF: Final = int(TransformType.PRF)
INTEG: Final = int(TransformType.INTEG)
KE: Final = int(TransformType.KE)
ESN: Final = int(TransformType.ESN)
ADDKE: Final = tuple(range(TransformType.ADDKE1, TransformType.ADDKE7 + 1))
_OPTIONAL: Final = frozenset((INTEG, KE, ESN, *ADDKE))

#: Encryption transforms that authenticate as well.
AEAD: Final = frozenset(
    map(
        int,
        (
            Encr.AES_CCM_8,
            Encr.AES_CCM_12,
            Encr.AES_CCM_16,
            Encr.AES_GCM_8,
            Encr.AES_GCM_12,
            Encr.AES_GCM_16,
            Encr.NULL_AUTH_AES_GMAC,
            Encr.CHACHA20_POLY1305,
        ),
    )
)


@dataclass(frozen=True, slots=True)
class Transform:
    """One algorithm on offer; ``key_length`` in bits where the algorithm has several.

    ``other`` holds attributes that are not understood, as received: such a
    transform is never chosen (RFC 7296 section 3.3.6).
    """

    type: int
    id: int
    key_length: int | None = None
    other: bytes = b""


@dataclass(frozen=True, slots=True)
class Proposal:
    """Transforms that go together; of each type one is chosen, in order of preference."""

    number: int
    protocol: int
    spi: bytes
    transforms: tuple[Transform, ...]

    def ids(self, kind: int) -> list[int]:
        """Return the transform ids of one type, in order."""
        return [t.id for t in self.transforms if t.type == kind]

    def __str__(self) -> str:
        return "-".join(_word(t, self.protocol) for t in self.transforms) or "nothing"


@dataclass(frozen=True, slots=True)
class Suite:
    """What was chosen: one algorithm of each kind, 0 for none.

    ``key_length`` is in bits, 0 where the cipher has only one. ``additional_ke``
    are the methods of RFC 9370 to run after ``ke``, in order. ``number``,
    ``spi`` and ``transforms`` belong to the chosen proposal: the SPI is that of
    the side that sent it.
    """

    encr: int
    key_length: int = 0
    prf: int = 0
    integ: int = 0
    ke: int = 0
    additional_ke: tuple[int, ...] = ()
    esn: bool = False
    protocol: int = field(default=int(ProtocolId.IKE), compare=False)
    number: int = field(default=1, compare=False)
    spi: bytes = field(default=b"", compare=False)
    transforms: tuple[Transform, ...] = field(default=(), compare=False)

    @property
    def aead(self) -> bool:
        """Whether the cipher authenticates as well."""
        return self.encr in AEAD

    def answer(self, spi: bytes = b"") -> Proposal:
        """Return the proposal that accepts this, with ``spi`` of the side that accepts."""
        return Proposal(self.number, self.protocol, spi, self.transforms)

    def __str__(self) -> str:
        shown = [t for t in self.transforms if t.type != ESN or t.id]
        return "-".join(_word(t, self.protocol) for t in shown)


# --- swanctl's words ----------------------------------------------------------------


def _words() -> dict[str, Transform]:
    words = {
        "null": Transform(ENCR, Encr.NULL),
        "chacha20poly1305": Transform(ENCR, Encr.CHACHA20_POLY1305),
        "esn": Transform(ESN, Esn.ESN),
        "noesn": Transform(ESN, Esn.NO_ESN),
    }
    for bits in (128, 192, 256):
        words[f"aes{bits}"] = Transform(ENCR, Encr.AES_CBC, bits)
        for octets, gcm in ((8, Encr.AES_GCM_8), (12, Encr.AES_GCM_12), (16, Encr.AES_GCM_16)):
            words[f"aes{bits}gcm{octets}"] = Transform(ENCR, gcm, bits)
    for name, integ, prf in (
        ("sha1", Integ.HMAC_SHA1_96, Prf.HMAC_SHA1),
        ("sha256", Integ.HMAC_SHA2_256_128, Prf.HMAC_SHA2_256),
        ("sha384", Integ.HMAC_SHA2_384_192, Prf.HMAC_SHA2_384),
        ("sha512", Integ.HMAC_SHA2_512_256, Prf.HMAC_SHA2_512),
    ):
        words[name] = Transform(INTEG, integ)
        words[f"prf{name}"] = Transform(PRF, prf)
    for name, method in (
        ("modp2048", KeyExchange.MODP2048),
        ("modp3072", KeyExchange.MODP3072),
        ("modp4096", KeyExchange.MODP4096),
        ("ecp256", KeyExchange.ECP256),
        ("ecp384", KeyExchange.ECP384),
        ("ecp521", KeyExchange.ECP521),
        ("x25519", KeyExchange.CURVE25519),
        ("mlkem768", KeyExchange.MLKEM768),
        ("none", KeyExchange.NONE),
    ):
        words[name if method else "modpnone"] = Transform(KE, method)
        for slot, kind in enumerate(ADDKE, 1):
            words[f"ke{slot}_{name}"] = Transform(kind, method)
    return words


#: Every word that a proposal can be made of.
WORDS: Final = _words()
_BY_TRANSFORM: Final = {transform: word for word, transform in WORDS.items()}
_ALIASES: Final = {
    "aes": "aes128",
    "sha": "sha1",
    "sha2_256": "sha256",
    "sha2_384": "sha384",
    "sha2_512": "sha512",
    "curve25519": "x25519",
    "aes128gcm": "aes128gcm16",
    "aes192gcm": "aes192gcm16",
    "aes256gcm": "aes256gcm16",
    "aes128gcm128": "aes128gcm16",
    "aes192gcm128": "aes192gcm16",
    "aes256gcm128": "aes256gcm16",
}
_PRF_OF: Final = {
    int(Integ.HMAC_SHA1_96): int(Prf.HMAC_SHA1),
    int(Integ.HMAC_SHA2_256_128): int(Prf.HMAC_SHA2_256),
    int(Integ.HMAC_SHA2_384_192): int(Prf.HMAC_SHA2_384),
    int(Integ.HMAC_SHA2_512_256): int(Prf.HMAC_SHA2_512),
}
#: Ciphers that the SK payload of IKE cannot use.
_ESP_ONLY: Final = frozenset(map(int, (Encr.NULL, Encr.AES_GCM_8, Encr.AES_GCM_12)))


def _word(transform: Transform, protocol: int) -> str:
    word = _BY_TRANSFORM.get(transform)
    if word is not None:
        return word
    bits = f"/{transform.key_length}" if transform.key_length else ""
    return f"{transform.type}:{transform.id}{bits}{'+' if transform.other else ''}"


def parse_proposal(text: str, protocol: int = ProtocolId.IKE, number: int = 1) -> Proposal:
    """Return the proposal that ``text`` describes in swanctl's words, for one protocol.

    Several words of a kind are alternatives, best first. For IKE a missing PRF
    is taken from the integrity algorithms; for ESP and AH ``noesn`` is added
    when nothing is said. Raises ``ValueError`` that names the wrong word.
    """
    transforms: list[Transform] = []
    for word in text.strip().lower().split("-"):
        word = _ALIASES.get(word, word)
        transform = WORDS.get(word)
        if transform is None:
            raise ValueError(
                f"proposal '{text}': '{word}' is not one of {', '.join(sorted(WORDS))}"
            )
        if transform not in transforms:
            transforms.append(transform)

    def ids(kind: int) -> list[int]:
        return [t.id for t in transforms if t.type == kind]

    def need(condition: object, what: str) -> None:
        if not condition:
            raise ValueError(f"proposal '{text}': {what}")

    encrs, integs, methods = ids(ENCR), ids(INTEG), ids(KE)
    aead = [encr for encr in encrs if encr in AEAD]
    need(not aead or len(aead) == len(encrs), "ciphers with and without integrity do not mix")
    need(methods or not any(ids(kind) for kind in ADDKE), "ke1_ to ke7_ come after a first group")
    need(KeyExchange.MLKEM768 not in methods, "mlkem768 is an additional group: ke1_mlkem768")
    if protocol == ProtocolId.AH:
        need(not encrs and not ids(PRF), "AH has no cipher and no PRF")
        need(integs, "AH needs an integrity algorithm")
    else:
        need(encrs, "a cipher is missing")
        need(aead or integs, "an integrity algorithm is missing")
        need(not (aead and integs), "this cipher takes no integrity algorithm")
    if protocol == ProtocolId.IKE:
        need(not ids(ESN), "IKE has no sequence number choice")
        need(not _ESP_ONLY.intersection(encrs), "a cipher that only ESP has")
        if not ids(PRF):
            need(integs, "a PRF is missing, as prfsha256")
            transforms += [Transform(PRF, _PRF_OF[integ]) for integ in integs]
        need(methods and all(methods), "a key exchange method is missing, as x25519")
    else:
        need(not ids(PRF), "only IKE has a PRF")
        if not ids(ESN):
            transforms.append(Transform(ESN, Esn.NO_ESN))
    ordered = sorted(transforms, key=lambda t: t.type)
    return Proposal(number, int(protocol), b"", tuple(ordered))


def parse_proposals(texts: Iterable[str], protocol: int = ProtocolId.IKE) -> tuple[Proposal, ...]:
    """Return numbered proposals, best first. Raises ``ValueError``."""
    return tuple(parse_proposal(text, protocol, n) for n, text in enumerate(texts, 1))


def with_spi(proposals: Iterable[Proposal], spi: bytes) -> tuple[Proposal, ...]:
    """Return the proposals as they are offered, numbered from 1, each with our ``spi``."""
    return tuple(replace(p, number=n, spi=spi) for n, p in enumerate(proposals, 1))


def without_ke(proposals: Iterable[Proposal]) -> tuple[Proposal, ...]:
    """Return child proposals without key exchange, as IKE_AUTH negotiates them."""
    found: dict[tuple[Transform, ...], Proposal] = {}
    for proposal in proposals:
        kept = tuple(t for t in proposal.transforms if t.type != KE and t.type not in ADDKE)
        found.setdefault(kept, replace(proposal, transforms=kept))
    return tuple(found.values())


# --- choosing -----------------------------------------------------------------------


def _by_type(proposal: Proposal) -> dict[int, list[Transform]]:
    kinds: dict[int, list[Transform]] = {}
    for transform in proposal.transforms:
        kinds.setdefault(transform.type, []).append(transform)
    return kinds


def _common(kind: int, mine: list[Transform], theirs: list[Transform]) -> list[Transform]:
    """Return what both lists have, in the order of ``mine``; [] when nothing.

    Of a type that may be left out, not to mention it means NONE, which has the
    number 0.
    """
    if mine and theirs:
        return [t for t in mine if t in theirs]
    if kind not in _OPTIONAL:
        return []
    return [t for t in mine or theirs if t.id == 0 and not t.other][:1]


def _assign(slots: list[tuple[int, list[Transform]]], used: set[int]) -> list[Transform] | None:
    """Return a method for each additional key exchange, none twice, or None.

    The same method a second time would add nothing (RFC 9370 section 2.2.1).
    """
    if not slots:
        return []
    for transform in slots[0][1]:
        if transform.id in used:
            continue
        rest = _assign(slots[1:], used | {transform.id} if transform.id else used)
        if rest is not None:
            return [transform, *rest]
    return None


def _pick(
    own: dict[int, list[Transform]], offer: dict[int, list[Transform]], group: int | None
) -> dict[int, Transform] | None:
    """Return one transform of each type, or None; with ``group`` only with that group."""
    chosen: dict[int, Transform] = {}
    slots: list[tuple[int, list[Transform]]] = []
    for kind in sorted(own.keys() | offer.keys()):
        common = _common(kind, own.get(kind, []), offer.get(kind, []))
        if kind == KE and group is not None:
            common = [t for t in common if t.id == group]
        if not common:
            return None
        if kind in ADDKE:
            slots.append((kind, common))
        else:
            chosen[kind] = common[0]
    if slots:
        methods = _assign(slots, {chosen[KE].id} - {0} if KE in chosen else set())
        if methods is None:
            return None
        chosen.update((kind, method) for (kind, _), method in zip(slots, methods, strict=True))
    return chosen


def _suite(offer: Proposal, chosen: dict[int, Transform]) -> Suite:
    def number(kind: int) -> int:
        return chosen[kind].id if kind in chosen else 0

    sent = {t.type for t in offer.transforms}
    encr = chosen.get(ENCR)
    return Suite(
        encr=encr.id if encr else 0,
        key_length=(encr.key_length or 0) if encr else 0,
        prf=number(PRF),
        integ=number(INTEG),
        ke=number(KE),
        additional_ke=tuple(chosen[k].id for k in ADDKE if k in chosen and chosen[k].id),
        esn=number(ESN) == Esn.ESN,
        protocol=offer.protocol,
        number=offer.number,
        spi=offer.spi,
        transforms=tuple(t for kind, t in chosen.items() if kind in sent),
    )


def select(
    offered: Sequence[Proposal], allowed: Iterable[Proposal], group: int | None = None
) -> Suite:
    """Choose from ``offered`` what is best in ``allowed``, whose order decides.

    ``group`` is the method of the KE payload that came along: it is taken where
    both sides have it, to spare a round trip. Raises ``RemoteError``:
    NO_PROPOSAL_CHOSEN, or INVALID_KE_PAYLOAD with the wanted group when only
    that must change.
    """
    offers = [(offer, _by_type(offer)) for offer in offered]
    mine = [(own, _by_type(own)) for own in allowed]
    fallback: Suite | None = None
    for own, own_types in mine:
        for offer, offer_types in offers:
            if own.protocol != offer.protocol:
                continue
            chosen = _pick(own_types, offer_types, group)
            if chosen is not None:
                return _suite(offer, chosen)
            if group is not None and fallback is None:
                chosen = _pick(own_types, offer_types, None)
                if chosen is not None:
                    fallback = _suite(offer, chosen)
    if fallback is None:
        raise RemoteError(
            f"nothing acceptable among {', '.join(map(str, offered)) or 'no proposals'}",
            NotifyType.NO_PROPOSAL_CHOSEN,
        )
    raise RemoteError(
        f"key exchange method {group} instead of {fallback.ke}",
        NotifyType.INVALID_KE_PAYLOAD,
        fallback.ke.to_bytes(2),
    )


def accepted(answer: Sequence[Proposal], offered: Sequence[Proposal]) -> Suite:
    """Return what the responder's ``answer`` chose from what we ``offered``.

    Raises ``RemoteError`` NO_PROPOSAL_CHOSEN for anything that was not on offer,
    or for more than one proposal or transform of a type.
    """
    if len(answer) == 1:
        (chosen,) = answer
        kinds = [t.type for t in chosen.transforms]
        own = next((o for o in offered if o.number == chosen.number), None)
        if own is not None and own.protocol == chosen.protocol and len(set(kinds)) == len(kinds):
            picked = _pick(_by_type(own), _by_type(chosen), None)
            if picked is not None:
                return _suite(chosen, picked)
    raise RemoteError(
        f"answer {', '.join(map(str, answer)) or 'without proposal'} was not on offer",
        NotifyType.NO_PROPOSAL_CHOSEN,
    )
