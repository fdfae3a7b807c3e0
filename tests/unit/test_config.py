# SPDX-License-Identifier: GPL-2.0-only
"""The configuration: what is taken, and what is said about each mistake."""

from __future__ import annotations

import copy
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest
from dsmip.ipsec.static import derive
from dsmip.service.config import Config, load, parse
from dsmip.service.options import ConfigError
from hypothesis import given
from hypothesis import strategies as st

SECRET = "8f" * 32

AGENT: dict[str, Any] = {
    "home_agent": {
        "addresses": ["2001:db8:1::1", "198.51.100.1"],
        "interface": "home",
        "prefixes": ["2001:db8:1::/64"],
        "router": [
            {
                "identity": "bus-17",
                "home_address": "2001:db8:1::100",
                "home_address4": "198.51.100.100",
                "prefixes": ["2001:db8:100::/56", "203.0.113.0/28"],
                "static_key": SECRET,
            }
        ],
    }
}
ROUTER: dict[str, Any] = {
    "mobile_router": {
        "identity": "bus-17",
        "home_address": "2001:db8:1::100",
        "home_prefix": "2001:db8:1::/64",
        "home_agent": ["2001:db8:1::1", "198.51.100.1"],
        "prefixes": ["2001:db8:100::/56"],
        "static_key": SECRET,
        "uplink": [{"interface": "wan0", "name": "lte"}, {"interface": "wlan0"}],
    }
}
MANUAL = {"spi_in": 256, "spi_out": 0xFFFFFFFF, "auth_key": "11" * 32, "enc_key": "22" * 16}


def changed(base: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """Return a copy with one option set, or removed when the value is None."""
    made = copy.deepcopy(base)
    *way, last = path.split(".")
    at: Any = made
    for step in way:
        at = at[int(step)] if step.isdigit() else at.setdefault(step, {})
    if value is None:
        del at[last]
    else:
        at[last] = value
    return made


def faults(values: dict[str, Any]) -> list[str]:
    """Return what is said about a configuration that must be refused."""
    with pytest.raises(ConfigError) as caught:
        parse(values, "x.toml")
    return [str(fault) for fault in caught.value.faults]


def test_home_agent() -> None:
    section = parse(AGENT).home_agent
    assert section is not None
    engine = section.engine
    assert engine.addresses6 == (IPv6Address("2001:db8:1::1"),)
    assert engine.address4 == IPv4Address("198.51.100.1")
    assert engine.home_link
    (owner,) = engine.owners
    assert owner.prefixes == (IPv6Network("2001:db8:100::/56"), IPv4Network("203.0.113.0/28"))
    (row,) = section.rows
    assert row.keys == derive(bytes.fromhex(SECRET), owner.home_address, row.agent)


def test_mobile_router() -> None:
    section = parse(ROUTER).mobile_router
    assert section is not None
    assert [(u.interface, u.name, u.priority) for u in section.uplinks] == [
        ("wan0", "lte", 10),
        ("wlan0", "wlan0", 20),
    ]
    assert section.engine.explicit
    assert section.engine.home_agent4 == IPv4Address("198.51.100.1")


def test_both_ends_make_the_same_keys() -> None:
    agent, router = parse(AGENT).home_agent, parse(ROUTER).mobile_router
    assert agent is not None
    assert router is not None
    assert agent.rows[0].keys == router.rows[0].keys


def test_manual_keys_are_each_others_mirror() -> None:
    here = changed(changed(ROUTER, "mobile_router.static_key", None), "mobile_router.esp", MANUAL)
    there = MANUAL | {"spi_in": MANUAL["spi_out"], "spi_out": MANUAL["spi_in"]}
    agent = changed(AGENT, "home_agent.router.0.static_key", None)
    agent = changed(agent, "home_agent.router.0.esp", there)
    one, other = parse(here).mobile_router, parse(agent).home_agent
    assert one is not None
    assert other is not None
    assert one.rows[0].keys == other.rows[0].keys


def test_services_of_a_router() -> None:
    for names, expected in ((["ims", "voice"], ("ims", "voice")), ([], ())):
        agent = parse(changed(AGENT, "home_agent.router.0.services", names)).home_agent
        assert agent is not None
        assert agent.engine.owners[0].services == expected
    plain = parse(AGENT).home_agent
    assert plain is not None
    assert plain.engine.owners[0].services is None


def test_both_roles_in_one_process() -> None:
    both = parse(AGENT | ROUTER)
    assert both.home_agent is not None
    assert both.mobile_router is not None


MISTAKES: list[tuple[dict[str, Any], str, object, str]] = [
    (AGENT, "globals.devise", "mip0", 'did you mean "device"?'),
    (AGENT, "globals.port", 0, "1 to 65535"),
    (AGENT, "globals.port", True, "1 to 65535"),
    (AGENT, "globals.port", "4191", "1 to 65535"),
    (AGENT, "globals.device", "a" * 16, "at most 15 characters"),
    (AGENT, "globals.device", "../x", "name of a network interface"),
    (AGENT, "globals.socket", "relative", "absolute path"),
    (AGENT, "globals.socket", "/" + "x" * 107, "at most 107 octets"),
    (AGENT, "globals.log_level", "loud", '"debug", "info"'),
    (AGENT, "home_agent.lifetime", 262141, "4 to 262140"),
    (AGENT, "home_agent.lifetime", 3, "4 to 262140"),
    (AGENT, "home_agent.adresses", ["::1"], 'did you mean "addresses"?'),
    (AGENT, "home_agent.addresses", ["198.51.100.1"], "needs an IPv6 address"),
    (AGENT, "home_agent.addresses", ["2001:db8::1", "ff02::1"], "routable unicast"),
    (AGENT, "home_agent.addresses", ["fe80::1"], "routable unicast"),
    (AGENT, "home_agent.addresses", ["2001:db8::1%eth0"], "routable unicast"),
    (AGENT, "home_agent.addresses", ["::ffff:192.0.2.1"], "routable unicast"),
    (AGENT, "home_agent.addresses", "2001:db8::1", "a list"),
    (AGENT, "home_agent.addresses", [], "at least 1"),
    (AGENT, "home_agent.prefixes", ["2001:db8:1::1/64"], "did you mean 2001:db8:1::/64?"),
    (AGENT, "home_agent.prefixes", ["::/0"], "not a default route"),
    (AGENT, "home_agent.router.0.services", "ims", "a list"),
    (ROUTER, "mobile_router.service", "", "1 to 255"),
    (ROUTER, "mobile_router.service", "\u20ac" * 86, "255 octets"),
    (AGENT, "home_agent.router.0.services", [1], "text"),
    (AGENT, "home_agent.prefixes", None, "is missing"),
    (AGENT, "home_agent.router", "bus", "array of tables"),
    (AGENT, "home_agent.router.0.identity", "", "1 to 255 printable"),
    (AGENT, "home_agent.router.0.identity", "a\x1b[31m", "printable"),
    (AGENT, "home_agent.router.0.home_address", "2001:db8:2::1", "must be in a home prefix"),
    (AGENT, "home_agent.router.0.static_key", "8f" * 15, "16 to 128 octets"),
    (AGENT, "home_agent.router.0.static_key", "xyz", "in hexadecimal"),
    (AGENT, "home_agent.router.0.static_key", None, "signalling is protected by ESP"),
    (AGENT, "home_agent.router.0.protection", "none", "excludes static_key"),
    (AGENT, "home_agent.router.0.esp", MANUAL, "excludes"),
    (ROUTER, "mobile_router.home_prefix", "2001:db8:2::/64", "does not contain"),
    (ROUTER, "mobile_router.prefixes", ["2001:db8:1::/56", "2001:db8:1::/64"], "overlap"),
    (ROUTER, "mobile_router.prefixes", ["2001:db8:1::/56", "2001:db8:1::/56"], "twice"),
    (ROUTER, "mobile_router.prefixes", None, 'mode "explicit" names the prefixes'),
    (ROUTER, "mobile_router.uplink", None, "[[mobile_router.uplink]]"),
    (ROUTER, "mobile_router.uplink.1.interface", "wan0", "twice"),
    (ROUTER, "mobile_router.uplink.1.name", "lte", "twice"),
    (ROUTER, "mobile_router.uplink.1.priority", 256, "0 to 255"),
    (ROUTER, "mobile_router.lan", ["wan0"], "is an uplink too"),
    (ROUTER, "mobile_router.hysteresis", -1, "0 to 3600"),
    (ROUTER, "mobile_router.home_agent", ["2001:db8::1", "2001:db8::2"], "one home agent"),
    (ROUTER, "mobile_router.home_agent", ["2001:db8::1", "192.0.2.1", "192.0.2.2"], "at most one"),
]


@pytest.mark.parametrize(("base", "path", "value", "said"), MISTAKES)
def test_mistakes_are_named(base: dict[str, Any], path: str, value: object, said: str) -> None:
    assert parse(base)
    found = faults(changed(base, path, value))
    assert any(said in fault for fault in found), found
    assert all(fault.startswith("x.toml") for fault in found)


def test_all_mistakes_are_told_at_once() -> None:
    values = changed(AGENT, "globals.port", 0)
    values = changed(values, "home_agent.lifetime", 1)
    values = changed(values, "home_agent.colour", "red")
    assert len(faults(values)) == 3


def test_keys_are_not_repeated_in_complaints() -> None:
    found = "".join(faults(changed(AGENT, "home_agent.router.0.static_key", "c0ffee")))
    assert "c0ffee" not in found


def second_router(**more: object) -> dict[str, Any]:
    other = {
        "identity": "tram-3",
        "home_address": "2001:db8:1::200",
        "prefixes": ["2001:db8:200::/56"],
        "static_key": "42" * 32,
    }
    routers = [*AGENT["home_agent"]["router"], other | more]
    return changed(AGENT, "home_agent.router", routers)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"identity": "bus-17"}, "bus-17 is given to"),
        ({"home_address": "2001:db8:1::100"}, "2001:db8:1::100 is given to"),
        ({"home_address4": "198.51.100.100"}, "198.51.100.100 is given to"),
        ({"prefixes": ["2001:db8:100::/57"]}, "2001:db8:100::/5"),
        ({"prefixes": ["2001:db8::/32"]}, "2001:db8"),
        ({"static_key": SECRET}, "is the same as that of bus-17"),
    ],
)
def test_routers_share_nothing(more: dict[str, object], said: str) -> None:
    assert parse(second_router())
    assert any(said in fault for fault in faults(second_router(**more)))


def test_same_spi_twice() -> None:
    values = second_router()
    for router in values["home_agent"]["router"]:
        del router["static_key"]
        router["esp"] = MANUAL
    assert any("both use SPI 0x00000100" in fault for fault in faults(values))


def test_nothing_to_do() -> None:
    assert "nothing to do" in faults({})[0]


@pytest.mark.parametrize(
    ("content", "said"), [(b"[globals", "is not TOML"), (b"\xff\xfe", "is not TOML")]
)
def test_files_that_are_none(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "dsmip.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        load(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "absent.toml")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["globals", "home_agent", "mobile_router", "router", "uplink", "prefixes", "esp", "static_key"]
)


@given(st.dictionaries(NAMES, st.dictionaries(NAMES, PLAIN) | PLAIN))
def test_any_tree_is_taken_or_refused_in_words(values: dict[str, Any]) -> None:
    said: object
    try:
        said = parse(values)
    except ConfigError as error:
        said = error.faults
    assert isinstance(said, Config) or (isinstance(said, tuple) and said)
