# SPDX-License-Identifier: GPL-2.0-only
"""Printable keys and tokens: what goes in comes out, and mistakes are told by their place."""

from __future__ import annotations

import random
import sys

import pytest
from dsmip.service import printable
from dsmip.service.printable import Frame, Kind, PrintableError, QrMissing
from hypothesis import given
from hypothesis import strategies as st

KEY = Frame(Kind.SECRET, 1, bytes(range(32)))
GROUPS = printable.groups(KEY)


def refusal(text: str, kind: Kind = Kind.SECRET) -> str:
    with pytest.raises(PrintableError) as caught:
        printable.parse(text, kind, 1)
    return str(caught.value)


@given(st.binary(max_size=600))
def test_round_trip(body: bytes) -> None:
    frame = Frame(Kind.TOKEN, 1, body)
    for text in (printable.text(frame), "\n".join(printable.lines(frame))):
        assert printable.parse(text, Kind.TOKEN, 1) == body


def test_fixed_text() -> None:
    # Text that lies in drawers must stay readable.
    text = (
        "040GX-08004-0410T-6105H-0R3GY-G28AK-1C604-T3GF5-"
        "208HV-44RM8-2MB1P-E60S6-38DHN-R78YR-3ZBHM-7QXYJ"
    )
    assert printable.parse(text, Kind.SECRET, 1) == KEY.body


def test_written_by_hand() -> None:
    text = printable.text(KEY)
    for written in (text.lower(), text.replace("0", "O").replace("1", "l"), f"\n {text}\t\n"):
        assert printable.parse(written, Kind.SECRET, 1) == KEY.body
    assert printable.parse(printable.compact(KEY), Kind.SECRET, 1) == KEY.body
    assert printable.parse(text.replace("-", "\u2013"), Kind.SECRET, 1) == KEY.body


@given(st.data())
def test_a_wrong_character_is_found_where_it_is(data: st.DataObject) -> None:
    text = "".join(GROUPS)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from([c for c in printable.ALPHABET if c != text[place]]))
    assert f"group {place // 5 + 1} " in refusal(text[:place] + other + text[place + 1 :])


@given(st.data())
def test_exchanged_characters_are_found(data: st.DataObject) -> None:
    text = list("".join(GROUPS))
    place = data.draw(st.integers(0, len(text) - 2))
    following = data.draw(st.integers(place + 1, min(place + 4, len(text) - 1)))
    if text[place] == text[following]:
        return
    text[place], text[following] = text[following], text[place]
    assert "group" in refusal("".join(text))


def test_groups_that_changed_places_or_are_missing() -> None:
    swapped = [*GROUPS[:3], GROUPS[4], GROUPS[3], *GROUPS[5:]]
    assert "group 4 has a typing mistake" in refusal("-".join(swapped))
    assert "a group before it is missing" in refusal("-".join(GROUPS[:3] + GROUPS[4:]))
    short = [*GROUPS[:6], GROUPS[6][:4], *GROUPS[7:]]
    assert "group 7 has 4 characters, not 5" in refusal("-".join(short))


@pytest.mark.parametrize("kept", range(1, len("".join(GROUPS))))
def test_cut_off_anywhere(kept: int) -> None:
    said = refusal("".join(GROUPS)[:kept])
    assert "ends early" in said or "typing mistake" in said


def test_what_is_not_ours() -> None:
    assert refusal("") == "there is no text"
    assert "which never occurs" in refusal("040G?")
    assert "typing mistake" in refusal("hello world")
    assert "too long" in refusal("0" * 100_000)
    assert "goes on" in refusal(printable.text(KEY) + extra(len(GROUPS)))
    mixed = printable.groups(Frame(Kind.SECRET, 1, bytes(32)))
    assert "checksum" in refusal("-".join(GROUPS[:8] + mixed[8:]))


def extra(place: int) -> str:
    """Return a group of zeros that is right at a place, counted from 0."""
    return "0000" + printable.ALPHABET[place & 31]


def test_another_kind_or_version() -> None:
    text = printable.text(KEY)
    assert refusal(text, Kind.TOKEN) == "this is a shared secret, not an enrolment token"
    newer = printable.text(Frame(Kind.SECRET, 2, b"x"))
    assert "of version 2, but only version 1 is known here: update dsmip" in refusal(newer)
    assert "make a new one" in refusal(printable.text(Frame(Kind.SECRET, 0, b"x")))


def test_refusals_do_not_repeat_secrets() -> None:
    chance = random.Random(17)
    for _ in range(200):
        text = list("".join(GROUPS))
        text[chance.randrange(len(text))] = chance.choice("?!_" + printable.ALPHABET)
        if "".join(text) != "".join(GROUPS):
            said = refusal("".join(text), Kind.SECRET)
            assert not any(group in said for group in GROUPS)
    assert "000102" not in repr(KEY)


def test_lines_fit() -> None:
    assert all(len(line) <= 47 for line in printable.lines(KEY))
    with pytest.raises(ValueError, match="at most"):
        printable.groups(Frame(Kind.SECRET, 1, bytes(printable.BODY_MAX + 1)))


def test_terminal_drawing_is_the_code() -> None:
    modules = printable.matrix(printable.compact(KEY))
    drawn = printable.terminal(modules, colour=False)
    assert max(map(len, drawn)) == len(modules) <= 80
    back = {"█": (0, 0), "▀": (0, 1), "▄": (1, 0), " ": (1, 1)}
    rows: list[bytes] = []
    for line in drawn:
        pairs = [back[mark] for mark in line]
        rows += [bytes(upper for upper, _ in pairs), bytes(lower for _, lower in pairs)]
    assert tuple(rows[: len(modules)]) == modules
    coloured = printable.terminal(modules, colour=True)
    assert [line[8:-4] for line in coloured] == drawn


def test_svg_drawing_is_the_code() -> None:
    modules = printable.matrix("HELLO")
    text = printable.svg(modules)
    side = len(modules)
    dark = [bytearray(side) for _ in range(side)]
    for part in text.split('<path d="M')[1].split('"')[0].split("M"):
        where, _, width = part.partition("h")
        x, y = map(int, where.split())
        for column in range(x, x + int(width.partition("v")[0])):
            dark[y][column] = 1
    assert tuple(map(bytes, dark)) == modules
    assert f'viewBox="0 0 {side} {side}"' in text


def test_too_much_for_a_code() -> None:
    with pytest.raises(PrintableError, match="too long for a QR code"):
        printable.matrix("A" * 5000)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segno", None)
    with pytest.raises(QrMissing, match=r"dsmip\[qr\]"):
        printable.matrix("A")
