# SPDX-License-Identifier: GPL-2.0-only
"""Status codes, above all the one with two meanings."""

from __future__ import annotations

import pytest
from dsmip.packet.status import BindingAckStatus, describe, udp_refused


@pytest.mark.parametrize(
    ("status", "force_udp", "replay_protection", "refused"),
    [
        (144, True, False, True),
        (144, True, True, False),
        (144, False, False, False),
        (144, False, True, False),
        (143, True, False, False),
        (0, True, False, False),
    ],
)
def test_144(status: int, force_udp: bool, replay_protection: bool, refused: bool) -> None:
    assert udp_refused(status, force_udp, replay_protection) is refused


def test_words() -> None:
    assert describe(0) == "accepted"
    assert describe(142) == "not authorized for prefix"
    assert describe(144, force_udp=True) == "UDP encapsulation refused"
    assert describe(144, replay_protection=True) == "identification mismatch"
    assert describe(144, force_udp=True, replay_protection=True) == "identification mismatch"
    assert describe(144) == "identification mismatch, or UDP encapsulation refused"
    assert describe(163) == "gre key required"
    assert describe(250) == "unknown status 250"


def test_numbers_are_the_registry() -> None:
    numbers = {int(status) for status in BindingAckStatus}
    assert numbers == {*range(7), *range(128, 179)}
    assert BindingAckStatus.ID_MISMATCH is BindingAckStatus.UDP_ENCAPSULATION_REFUSED
