# SPDX-License-Identifier: GPL-2.0-only
"""Home agents that DHCPv6 of an access network tells of (RFC 6610, 6611)."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Any

import pytest
from dsmip import cli
from dsmip.mobility.bootstrap import Phase, Target
from dsmip.packet.dns import encode_name
from dsmip.packet.home_network import (
    OPTIONS_MAX,
    Code,
    HomeNetwork,
    HomeNetworkMalformed,
    parse,
    request,
    suitable,
)
from dsmip.service import bootstrapping, command_home
from dsmip.service.control import RequestError
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_bootstrap import ONE, SIX, Way

HA6, HA4 = IPv6Address("2001:db8:1::1"), IPv4Address("198.51.100.1")
DOMAIN = "example.test"


def option(code: int, data: bytes) -> bytes:
    return struct.pack("!HH", code, len(data)) + data


FOUR = option(72, IPv6Address("64:ff9b::c633:6401").packed)
WHOLE = (
    option(49, encode_name(DOMAIN))
    + option(71, b"\x40" + IPv6Address("2001:db8:1::").packed)
    + option(72, HA6.packed)
    + FOUR
    + option(73, encode_name(ONE))
    + option(9999, b"later")
)


@pytest.mark.spec("B-013")
def test_a_home_network() -> None:
    assert parse(69, WHOLE) == HomeNetwork(
        Code.IDENTIFIED, DOMAIN, (HA6,), (HA4,), (ONE,), (IPv6Network("2001:db8:1::/64"),)
    )
    assert request("Example.Test.") == b"\x07example\x04test\0"


@pytest.mark.parametrize(
    ("code", "data"),
    [
        (71, WHOLE),
        (69, b""),
        (69, FOUR),
        (69, WHOLE[:-1]),
        (69, WHOLE + b"\0\1\0"),
        (69, option(72, HA6.packed[:15])),
        (69, option(73, b"")),
        (69, option(73, b"\0")),
        (69, option(73, encode_name(ONE) + b"x")),
        (69, option(73, b"\xc0\x00")),
        (69, option(72, HA6.packed) + option(71, b"\x81" + bytes(16))),
        (69, option(72, HA6.packed) + option(71, b"\x40")),
        (69, option(72, HA6.packed) + option(1, b"") * OPTIONS_MAX),
    ],
)
def test_what_is_none(code: int, data: bytes) -> None:
    with pytest.raises(HomeNetworkMalformed):
        parse(code, data)


@given(st.integers(0, 100), st.binary(max_size=80))
def test_any_octets(code: int, data: bytes) -> None:
    try:
        parse(code, data)
    except HomeNetworkMalformed:
        pass


def test_which_are_tried() -> None:
    """The domain's own first; never another domain's, nor the visited network's."""
    own = HomeNetwork(Code.IDENTIFIED, DOMAIN, names=("a.test",))
    free = HomeNetwork(Code.UNRESTRICTED, names=("b.test",))
    other = HomeNetwork(Code.IDENTIFIED, "other.test", names=("c.test",))
    visited = HomeNetwork(Code.VISITED, names=("d.test",))
    assert suitable([visited, other, free, own], "Example.TEST") == [own, free]


# --- in bootstrapping ---------------------------------------------------------------


@pytest.mark.spec("B-013")
def test_they_are_tried_before_dns_is_asked() -> None:
    way = Way()
    hint = Target(str(HA6), HA6, HA4)
    way.take(way.engine.hinted([hint], way.now))
    way.network()
    assert way.used == [hint]
    assert not way.asked
    way.registered()
    assert way.engine.view(way.now).how == "DHCPv6"


def test_when_they_fail_dns_is_asked() -> None:
    way = Way()
    way.take(way.engine.hinted([Target("x", IPv6Address("2001:db8:bad::1"))], way.now))
    way.network()
    way.refuse("certificate is for another name")
    assert way.used[-1].agent6 == SIX[ONE]
    names = Way()
    names.take(names.engine.hinted(["nowhere.test", ONE], names.now))
    names.network()
    assert names.used[-1].name == ONE
    assert ("nowhere.test", 28) in names.asked


def test_who_waits_uses_them_at_once_and_who_is_registered_never() -> None:
    way = Way()
    way.zone.clear()
    way.network()
    assert way.phase is Phase.WAITING
    hint = Target("x", HA6)
    way.take(way.engine.hinted([hint], way.now))
    assert way.used == [hint]
    way.registered()
    way.take(way.engine.hinted([Target("y", SIX[ONE])], way.now))
    assert way.used == [hint]
    assert way.phase is Phase.REGISTERED


class Deaf:
    """A router's bootstrapping, which writes down what it is told."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = {"home_network_malformed": 0}
        self.found: list[HomeNetwork] = []

    def home_networks(self, found: list[HomeNetwork]) -> list[str]:
        self.found = found
        return [name for one in found for name in one.names]


def test_the_daemon_is_told() -> None:
    deaf: Any = Deaf()
    options = [[69, WHOLE.hex()], [70, "00"], [50, WHOLE.hex()]]
    assert bootstrapping.tell(deaf, {"options": options}) == {"home_agents": [ONE, ONE]}
    assert deaf.counters["home_network_malformed"] == 1
    bad: list[Any] = [None, [[69]], [[69, "xy"]], ["69"], [[69, 1]], [[69, "00"]] * 17, {}]
    for wrong in bad:
        with pytest.raises(RequestError):
            bootstrapping.tell(deaf, {"options": wrong})
    with pytest.raises(RequestError, match="looks for no home agent"):
        bootstrapping.tell(None, {"options": []})


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[dict[str, Any]] = []

    class Client:
        def __init__(self, socket: str) -> None: ...
        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None: ...
        def ask(self, command: str, **parameters: Any) -> dict[str, Any]:
            asked.append({"command": command} | parameters)
            return {"home_agents": [ONE]}

    monkeypatch.setattr(command_home, "Client", Client)
    assert cli.main(["home-network", "69=aabb", "70=00"]) == 0
    monkeypatch.setenv("OPTION_69", "aabb")
    monkeypatch.setenv("OPTION_71", "00")
    assert cli.main(["home-network"]) == 0
    assert [call["options"] for call in asked] == [[[69, "aabb"], [70, "00"]], [[69, "aabb"]]]
    assert ONE in capsys.readouterr().out
    assert cli.main(["home-network", "--ask", DOMAIN]) == 0
    assert "-x 49:076578616d706c65047465737400" in capsys.readouterr().out
    assert cli.main(["home-network", "x"]) != 0
