# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel is asked, and what is done when it says no."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv6Address
from typing import Any

import pytest
from dsmip.ipsec.association import Association, Cipher, Integrity, Mode, Replay
from dsmip.ipsec.movement import Ability, MigrateState, Reinstall
from dsmip.ipsec.policy import Ends, Mobile, Protection, Role, first_reqid, policies
from dsmip.linux import xfrm
from dsmip.linux.netlink import NetlinkError
from dsmip.linux.xfrm_codec import Message, encode_association

HOA, HA = IPv6Address("2001:db8:1::100"), IPv6Address("2001:db8:1::1")
COA, COA_2 = IPv6Address("2001:db8:a::2"), IPv6Address("2001:db8:b::2")
REQID = first_reqid("bus-17")
HELD = Association(
    COA,
    HA,
    0x1001,
    b"k" * 20,
    b"",
    None,
    Mode.TUNNEL,
    REQID + 3,
    cipher=Cipher.AES_GCM_16,
    integrity=Integrity.NONE,
    replay_window=32,
)
MOVED = HELD.at((COA_2, HA), None)


class Netlink:
    """Answers with errors by message type, and keeps what was asked."""

    def __init__(self, _protocol: int) -> None:
        self.asked: list[tuple[int, bytes]] = []

    def request(self, kind: int, body: bytes, flags: int = 0, what: str = "") -> list[Any]:
        self.asked.append((kind, body))
        error = ERRORS.get(kind, 0)
        if error:
            raise NetlinkError(error, what)
        return ANSWERS.get(kind, [])

    def dump(self, kind: int, body: bytes, what: str = "") -> list[Any]:
        self.asked.append((kind, body))
        return ANSWERS.get(kind, [])


class Notifications:
    """A socket on which nothing comes."""

    def __init__(self, _protocol: int, _groups: tuple[int, ...]) -> None:
        pass

    def receive(self) -> list[Any]:
        return []

    def close(self) -> None:
        pass


ERRORS: dict[int, int] = {}
ANSWERS: dict[int, list[Any]] = {}
Make = Callable[..., tuple[xfrm.Xfrm, Netlink]]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    def made(
        errors: dict[int, int], answers: dict[int, list[Any]] | None = None
    ) -> tuple[xfrm.Xfrm, Netlink]:
        ERRORS.clear()
        ANSWERS.clear()
        ERRORS.update(errors)
        ANSWERS.update(answers or {})
        monkeypatch.setattr(xfrm, "NetlinkSocket", Netlink)
        monkeypatch.setattr(xfrm, "NotificationSocket", Notifications)
        database = xfrm.Xfrm()
        netlink: Netlink = database._netlink  # type: ignore[assignment]
        return database, netlink

    return made


STATE, MIGRATE = Message.MIGRATE_STATE, Message.MIGRATE


@pytest.mark.parametrize(
    ("errors", "ability"),
    [
        ({STATE: errno.ESRCH, MIGRATE: errno.EINVAL}, Ability.MIGRATE_STATE),
        ({STATE: errno.EINVAL, MIGRATE: errno.EINVAL}, Ability.MIGRATE),
        ({STATE: errno.EINVAL, MIGRATE: errno.ENOPROTOOPT}, Ability.NONE),
        ({STATE: errno.ENOPROTOOPT, MIGRATE: errno.ENOPROTOOPT}, Ability.NONE),
    ],
)
def test_abilities_are_found_out_once(make: Make, errors: dict[int, int], ability: Ability) -> None:
    database, netlink = make(errors)
    assert database.ability is ability
    asked = len(netlink.asked)
    assert database.ability is ability
    assert len(netlink.asked) == asked


def test_without_the_right_nothing_is_found_out(make: Make) -> None:
    database, _netlink = make({STATE: errno.EPERM, MIGRATE: errno.EPERM})
    with pytest.raises(NetlinkError, match="permitted"):
        _ = database.ability


def test_forced_off_is_not_even_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xfrm, "NetlinkSocket", Netlink)
    database = xfrm.Xfrm(Ability.NONE)
    assert database.ability is Ability.NONE
    assert database._netlink.asked == []  # type: ignore[attr-defined]


def test_an_association_moves_by_its_spi(make: Make) -> None:
    step = MigrateState(HELD, MOVED, (Reinstall(HELD, MOVED, 256),))
    database, netlink = make({})
    database.carry([step])
    assert [kind for kind, _ in netlink.asked] == [STATE]
    present = memoryview(encode_association(HELD, Replay(sent=7, received=3, bitmap=(1,))))
    database, netlink = make({STATE: errno.EINVAL}, {Message.GETSA: [(Message.NEWSA, present)]})
    database.carry([step])
    kinds = [kind for kind, _ in netlink.asked]
    assert kinds == [STATE, Message.GETSA, Message.DELSA, Message.NEWSA]
    # Nothing told of its end, so what was read before is what counts.
    again = encode_association(MOVED, Replay(sent=7 + 256, received=3, bitmap=(1,)))
    assert netlink.asked[-1][1].startswith(again[:200])
    assert again[-16:] in netlink.asked[-1][1]


def test_numbers_stop_at_the_end(make: Make) -> None:
    """Rather no packet than a number for the second time."""
    present = memoryview(encode_association(HELD, Replay(sent=0xFFFFFFF0)))
    database, netlink = make({}, {Message.GETSA: [(Message.NEWSA, present)]})
    database.carry([Reinstall(HELD, MOVED, 256)])
    wanted = encode_association(MOVED, Replay(sent=0xFFFFFFFF, bitmap=(0,)))
    assert wanted[-16:] in netlink.asked[-1][1]


def test_real_errors_are_not_swallowed(make: Make) -> None:
    database, _netlink = make({STATE: errno.ENOMEM})
    with pytest.raises(NetlinkError):
        database.carry([MigrateState(HELD, MOVED, ())])


def test_what_others_keep_is_left_to_them(make: Make) -> None:
    """Only policies are brought in order where somebody else keeps the associations."""
    mobile = Mobile(HOA, HA, REQID)
    wanted = policies(mobile, Protection(), Role.HOME_AGENT, Ends(COA, HA))
    database, netlink = make({})
    assert database.synchronise(None, wanted) == (len(wanted), 0)
    kinds = {kind for kind, _ in netlink.asked}
    assert kinds == {Message.GETPOLICY, Message.UPDPOLICY}


def test_another_key_under_the_same_spi(make: Make) -> None:
    """Removed first: it cannot wait for its turn."""
    present = memoryview(encode_association(HELD))
    database, netlink = make({}, {Message.GETSA: [(Message.NEWSA, present)]})
    assert database.synchronise([replace(HELD, encryption_key=b"q" * 20)], ()) == (1, 1)
    kinds = [kind for kind, _ in netlink.asked]
    assert kinds == [Message.GETSA, Message.GETPOLICY, Message.DELSA, Message.NEWSA]
    # A stranger's stays.
    stranger = memoryview(encode_association(replace(HELD, reqid=9)))
    database, netlink = make({}, {Message.GETSA: [(Message.NEWSA, stranger)]})
    database.clear()
    assert Message.DELSA not in [kind for kind, _ in netlink.asked]
    database.clear([9])
    assert Message.DELSA in [kind for kind, _ in netlink.asked]
