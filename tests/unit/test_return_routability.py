# SPDX-License-Identifier: GPL-2.0-only
"""The correspondent's nonces."""

from __future__ import annotations

import pytest
from dsmip.mobility.return_routability import MAX_NONCE_LIFETIME, MAX_TOKEN_LIFETIME, Nonces


@pytest.mark.spec("M-028", "M-029")
def test_nonces_last_as_long_as_they_must_and_no_longer() -> None:
    drawn: list[int] = []

    def octets(size: int) -> bytes:
        drawn.append(size)
        return bytes((len(drawn),)) * size

    nonces = Nonces(octets)
    assert drawn == [2]
    first = nonces.current(0)
    assert (len(first.key), len(first.value)) == (20, 8)
    assert nonces.current(29.9) is first
    second = nonces.current(30)
    assert second.index != first.index
    assert second.key != first.key
    assert second.value != first.value
    # Each token lasts 210 s, even one that was made at the last moment.
    assert nonces.find(first.index, 29.9 + MAX_TOKEN_LIFETIME) is first
    assert nonces.find(first.index, MAX_NONCE_LIFETIME) is None
    assert nonces.find(second.index + 1, 31) is None


def test_nonces_are_few_and_only_made_when_asked_for() -> None:
    nonces = Nonces()
    for step in range(10_000):
        nonces.current(step * 7.0)
        assert len(nonces) <= 8
    nonces.current(1e6)
    assert len(nonces) == 1


def test_indices_wrap_and_are_never_zero() -> None:
    nonces = Nonces(lambda size: b"\xff" * size)
    indices = [nonces.current(step * 30.0).index for step in range(3)]
    assert indices == [1, 2, 3]
