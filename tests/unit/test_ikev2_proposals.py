# SPDX-License-Identifier: GPL-2.0-only
"""Proposals: swanctl's words, and every way in which two sides agree or do not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dsmip.ikev2.errors import RemoteError
from dsmip.ikev2.numbers import NotifyType, ProtocolId
from dsmip.ikev2.proposals import (
    WORDS,
    Proposal,
    Suite,
    Transform,
    accepted,
    parse_proposal,
    parse_proposals,
    select,
    with_spi,
    without_ke,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.ikev2_messages import proposals

ESP = ProtocolId.ESP
AH = ProtocolId.AH
SPI = b"\xc0\xff\xee\x01"


def ike(*texts: str) -> tuple[Proposal, ...]:
    return parse_proposals(texts)


def esp(*texts: str, spi: bytes = SPI) -> tuple[Proposal, ...]:
    return with_spi(parse_proposals(texts, ESP), spi)


@pytest.mark.parametrize(
    ("text", "protocol", "transforms"),
    [
        ("aes128gcm16-prfsha256-x25519", 1, [(1, 20, 128), (2, 5, None), (4, 31, None)]),
        (
            "aes256-sha256-modp2048",
            1,
            [(1, 12, 256), (2, 5, None), (3, 12, None), (4, 14, None)],
        ),
        (
            "aes192-sha384-sha512-ecp384-ecp521",
            1,
            [
                (1, 12, 192),
                (2, 6, None),
                (2, 7, None),
                (3, 13, None),
                (3, 14, None),
                (4, 20, None),
                (4, 21, None),
            ],
        ),
        (
            "chacha20poly1305-prfsha512-x25519-ke1_mlkem768-ke1_none",
            1,
            [(1, 28, None), (2, 7, None), (4, 31, None), (6, 36, None), (6, 0, None)],
        ),
        ("aes128-sha1-modp3072", 1, [(1, 12, 128), (2, 2, None), (3, 2, None), (4, 15, None)]),
        ("aes256gcm16", 3, [(1, 20, 256), (5, 0, None)]),
        ("aes128gcm16-esn-noesn", 3, [(1, 20, 128), (5, 1, None), (5, 0, None)]),
        (
            "aes128-sha256-modp4096-modpnone",
            3,
            [(1, 12, 128), (3, 12, None), (4, 16, None), (4, 0, None), (5, 0, None)],
        ),
        ("null-sha256", 3, [(1, 11, None), (3, 12, None), (5, 0, None)]),
        ("sha256", 2, [(3, 12, None), (5, 0, None)]),
        ("AES128GCM128-PRFSHA256-CURVE25519", 1, [(1, 20, 128), (2, 5, None), (4, 31, None)]),
    ],
)
def test_words(text: str, protocol: int, transforms: list[tuple[int, int, int | None]]) -> None:
    proposal = parse_proposal(text, protocol)
    assert [(t.type, t.id, t.key_length) for t in proposal.transforms] == transforms
    assert parse_proposal(str(proposal), protocol) == proposal


@pytest.mark.parametrize(
    ("text", "protocol", "complaint"),
    [
        ("", 1, "''"),
        ("aes128gcm16-x25519-prfsha25", 1, "'prfsha25' is not one of"),
        ("aes128gcm16-x25519", 1, "PRF is missing"),
        ("aes128gcm16-prfsha256", 1, "key exchange method is missing"),
        ("prfsha256-x25519", 1, "cipher is missing"),
        ("aes128-prfsha256-x25519", 1, "integrity algorithm is missing"),
        ("aes128gcm16-sha256-x25519", 1, "takes no integrity"),
        ("aes128gcm16-aes128-sha256-x25519", 1, "do not mix"),
        ("aes128gcm16-prfsha256-modpnone", 1, "key exchange method is missing"),
        ("aes128gcm16-prfsha256-x25519-esn", 1, "no sequence number"),
        ("aes128gcm16-prfsha256-mlkem768", 1, "ke1_mlkem768"),
        ("aes128gcm16-prfsha256-ke1_mlkem768", 1, "come after a first group"),
        ("null-sha256-x25519", 1, "only ESP"),
        ("aes128gcm8-prfsha256-x25519", 1, "only ESP"),
        ("aes128gcm16-prfsha256", 3, "only IKE has a PRF"),
        ("null", 3, "integrity algorithm is missing"),
        ("aes128-sha256", 2, "AH has no cipher"),
        ("noesn", 2, "AH needs an integrity"),
    ],
)
def test_wrong_words(text: str, protocol: int, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_proposal(text, protocol)


def test_every_word_is_good_for_something() -> None:
    for word, transform in WORDS.items():
        assert str(Proposal(1, 3, b"", (transform,))) == word
    assert str(Proposal(1, 3, b"", (Transform(1, 99, 128, b"x"),))) == "1:99/128+"
    assert str(Proposal(1, 3, b"", ())) == "nothing"


def test_our_order_decides() -> None:
    offered = ike("aes128-aes256-sha256-sha512-modp2048-ecp256", "aes128gcm16-prfsha256-x25519")
    allowed = ike("aes256-sha512-ecp256-modp2048", "aes128gcm16-prfsha256-x25519")
    suite = select(offered, allowed)
    assert (suite.encr, suite.key_length, suite.prf, suite.integ, suite.ke) == (12, 256, 7, 14, 19)
    assert suite.number == 1
    suite = select(offered, tuple(reversed(allowed)))
    assert (suite.encr, suite.integ, suite.ke, suite.number, suite.aead) == (20, 0, 31, 2, True)
    assert suite.answer() == replace(offered[1], number=2)
    assert str(suite) == "aes128gcm16-prfsha256-x25519"


def test_the_group_of_the_public_value_is_taken() -> None:
    allowed = ike("aes128gcm16-prfsha256-x25519", "aes128-sha256-ecp256-modp2048")
    offered = ike("aes128gcm16-prfsha256-x25519-ecp256", "aes128-sha256-modp2048-ecp256")
    assert select(offered, allowed, 31).ke == 31
    assert select(offered, allowed, 14).ke == 14
    assert select(offered, allowed, 19).ke == 19
    with pytest.raises(RemoteError) as caught:
        select(offered, allowed, 20)
    assert caught.value.notify == NotifyType.INVALID_KE_PAYLOAD
    assert caught.value.data == b"\x00\x1f"


@pytest.mark.parametrize(
    ("offered", "allowed"),
    [
        (ike("aes128gcm16-prfsha256-x25519"), ike("aes256gcm16-prfsha256-x25519")),
        (ike("aes128gcm16-prfsha256-x25519"), ike("aes128gcm16-prfsha512-x25519")),
        (ike("aes128-sha256-x25519"), ike("aes128-sha512-prfsha256-x25519")),
        (ike("aes128gcm16-prfsha256-x25519"), ike("aes128gcm16-prfsha256-ecp256")),
        (ike("aes128gcm16-prfsha256-x25519"), ike("aes128-sha256-x25519")),
        (ike("aes128gcm16-prfsha256-x25519-ke1_mlkem768"), ike("aes128gcm16-prfsha256-x25519")),
        (ike("aes128gcm16-prfsha256-x25519"), ike("aes128gcm16-prfsha256-x25519-ke1_mlkem768")),
        (esp("aes128gcm16-x25519"), esp("aes128gcm16")),
        (esp("aes128gcm16"), esp("aes128gcm16-x25519")),
        (esp("aes128gcm16-esn"), esp("aes128gcm16")),
        (parse_proposals(["sha256"], AH), parse_proposals(["null-sha256"], ESP)),
        ((), ike("aes128gcm16-prfsha256-x25519")),
        (ike("aes128gcm16-prfsha256-x25519"), ()),
    ],
)
def test_nothing_in_common(offered: tuple[Proposal, ...], allowed: tuple[Proposal, ...]) -> None:
    for group in (None, 31):
        with pytest.raises(RemoteError) as caught:
            select(offered, allowed, group)
        assert caught.value.notify == NotifyType.NO_PROPOSAL_CHOSEN


def test_children() -> None:
    offered = esp("aes256-sha256", "aes128gcm16-x25519-modpnone-esn-noesn")
    suite = select(offered, parse_proposals(["aes128gcm16-esn"], ESP), 0)
    assert suite == Suite(20, 128, esn=True)
    assert (suite.number, suite.spi, suite.protocol) == (2, SPI, ESP)
    assert suite.answer(b"abcd") == Proposal(
        2, 3, b"abcd", (Transform(1, 20, 128), Transform(4, 0), Transform(5, 1))
    )
    # With a group of ours and no public value of theirs, that is what must change.
    with pytest.raises(RemoteError) as caught:
        select(offered, parse_proposals(["aes128gcm16-x25519-esn"], ESP), 0)
    assert caught.value.notify == NotifyType.INVALID_KE_PAYLOAD


def test_sequence_numbers_that_are_not_mentioned() -> None:
    old = (Proposal(1, 3, SPI, (Transform(1, 20, 128),)),)
    suite = select(old, parse_proposals(["aes128gcm16-esn-noesn"], ESP))
    assert not suite.esn
    assert suite.answer(b"abcd").transforms == (Transform(1, 20, 128),)


def test_authentication_header() -> None:
    offered = with_spi(parse_proposals(["sha512-sha256"], AH), SPI)
    suite = select(offered, parse_proposals(["sha256"], AH))
    assert (suite.encr, suite.integ, suite.protocol) == (0, 12, AH)
    assert str(suite) == "sha256"


def test_without_key_exchange() -> None:
    stripped = without_ke(
        parse_proposals(["aes128gcm16-x25519", "aes128gcm16", "aes256gcm16"], ESP)
    )
    assert [str(p) for p in stripped] == ["aes128gcm16-noesn", "aes256gcm16-noesn"]
    assert [p.number for p in with_spi(stripped, SPI)] == [1, 2]


def test_additional_key_exchanges() -> None:
    both = ike("aes128gcm16-prfsha256-x25519-ke1_mlkem768-ke1_none-ke3_ecp384")
    suite = select(both, both)
    assert suite.additional_ke == (36, 20)
    assert [t.type for t in suite.answer().transforms] == [1, 2, 4, 6, 8]
    plain = ike("aes128gcm16-prfsha256-x25519-ke3_ecp384")
    assert select(plain, both).additional_ke == (20,)
    assert select(both, plain).additional_ke == (20,)
    assert [t.id for t in select(both, plain).answer().transforms] == [20, 5, 31, 0, 20]


def test_no_method_twice() -> None:
    same = ike("aes128gcm16-prfsha256-x25519-ke1_x25519")
    with pytest.raises(RemoteError):
        select(same, same)
    other = ike("aes128gcm16-prfsha256-x25519-ke1_ecp256-ke1_ecp384-ke2_ecp256-ke3_none-ke4_none")
    assert select(other, other).additional_ke == (20, 19)


def test_transforms_that_are_not_understood() -> None:
    (good,) = ike("aes128gcm16-prfsha256-x25519")
    allowed = (good,)
    unknown_attribute = Transform(1, 20, 128, b"\x80\x01\x00\x07")
    odd = replace(good, transforms=(unknown_attribute, *good.transforms[1:]))
    with pytest.raises(RemoteError):
        select((odd,), allowed)
    assert select((replace(good, transforms=(unknown_attribute, *good.transforms)),), allowed)
    # A type that is not known makes the whole proposal unacceptable, NONE or not.
    with pytest.raises(RemoteError):
        select((replace(good, transforms=(*good.transforms, Transform(13, 0))),), allowed)


def test_answers() -> None:
    offered = ike("aes128gcm16-aes256gcm16-prfsha256-x25519", "aes128-sha256-modp2048")
    chosen = select(offered, ike("aes256gcm16-prfsha256-x25519"))
    assert accepted((chosen.answer(),), offered) == chosen
    assert accepted((chosen.answer(SPI),), offered).spi == SPI
    good = chosen.answer()
    for wrong in (
        (),
        (good, good),
        (replace(good, number=2),),
        (replace(good, number=3),),
        (replace(good, protocol=3),),
        (replace(good, transforms=good.transforms[:-1]),),
        (replace(good, transforms=(*good.transforms, good.transforms[0])),),
        (replace(good, transforms=(Transform(1, 20, 192), *good.transforms[1:])),),
        (replace(good, transforms=(*good.transforms, Transform(3, 12))),),
    ):
        with pytest.raises(RemoteError) as caught:
            accepted(wrong, offered)
        assert caught.value.notify == NotifyType.NO_PROPOSAL_CHOSEN


CHOICES = ike(
    "aes128gcm16-aes256gcm16-prfsha256-prfsha512-x25519-ecp256-ke1_mlkem768-ke1_none",
    "aes128-aes256-sha256-sha512-modp2048-x25519",
)


@given(
    offered=st.lists(proposals | st.sampled_from(CHOICES), max_size=4),
    group=st.none() | st.sampled_from((0, 14, 19, 31)),
)
def test_whatever_is_offered_the_choice_was_on_offer(
    offered: list[Proposal], group: int | None
) -> None:
    numbered = [replace(p, number=n) for n, p in enumerate(offered, 1)]
    try:
        suite = select(numbered, CHOICES, group)
    except RemoteError:
        return
    assert accepted((suite.answer(),), numbered) == suite
    assert group is None or suite.ke == group
