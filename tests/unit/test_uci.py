# SPDX-License-Identifier: GPL-2.0-only
"""OpenWrt's configuration: its syntax, its mapping, and every mistake by its name."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from pathlib import Path

import pytest
from dsmip import cli
from dsmip.service import uci
from dsmip.service.config import Config, load, parse
from dsmip.service.netifd import Devices, dump
from dsmip.service.options import ConfigError, Word
from dsmip.service.uci import UciError, parse_sections, tree_of
from hypothesis import given
from hypothesis import strategies as st

KEY = "11" * 32
ROUTER = f"""
config globals 'globals'
	option enabled '1'
	option log_level 'debug'
	option forwarding '0'
	option history '50'

config mobile_router 'router'
	option identity 'bus-17'
	option home_address '2001:db8:1::100'
	option home_prefix '2001:db8:1::/64'
	option home_address4 'request'
	list home_agent '2001:db8:1::1'
	list home_agent '198.51.100.1'
	list prefixes '203.0.113.0/28'
	option lan 'br-lan br-guest'
	option hysteresis '2.5'
	option static_key '{KEY}'

config prefix 'lan6'
	option prefix '2001:db8:100::/56'
	option delegate '1'

config uplink 'wan'
	option interface 'wan'

config uplink 'lte'
	option interface 'wwan'
	option priority '50'
	option held 'on'

config uplink 'spare'
	option interface 'wan2'
	option enabled '0'
"""
AGENT = f"""
config home_agent 'agent'
	list addresses '2001:db8:1::1'
	list addresses '198.51.100.1'
	list prefixes '2001:db8:1::/64'
	option lifetime '120'

config peer 'bus17'
	option identity 'bus-17'
	option home_address '2001:db8:1::100'
	list prefixes '2001:db8:100::/56'
	option static_key '{KEY}'

config peer
	option identity 'tram-3'
	option home_address '2001:db8:1::200'
	option spi_in '0x1001'
	option spi_out '4098'
	option auth_key '{"22" * 32}'
	option enc_key '{"33" * 16}'
"""


def read(text: str, tmp_path: Path) -> Config:
    file = tmp_path / "dsmip"
    file.write_text(text)
    return load(file)


def mistakes(text: str, tmp_path: Path) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        read(text, tmp_path)
    prefix = f"{tmp_path / 'dsmip'}: "
    return [str(fault).removeprefix(prefix) for fault in refused.value.faults]


# --- what it means -------------------------------------------------------------------


def test_router(tmp_path: Path) -> None:
    config = read(ROUTER, tmp_path)
    assert (config.globals.log_level, config.globals.forwarding) == ("debug", False)
    assert (config.globals.history, config.globals.state) == (50, "/etc/dsmip")
    router = config.mobile_router
    assert router is not None
    assert router.engine.request_home_address4
    assert [str(p) for p in router.engine.prefixes] == ["203.0.113.0/28", "2001:db8:100::/56"]
    assert router.engine.hysteresis == 2.5
    assert router.lan == ("br-lan", "br-guest")
    assert [(u.interface, u.name, u.priority, u.held) for u in router.uplinks] == [
        ("wan", "wan", 10, False),
        ("wwan", "lte", 50, True),
    ]


def test_it_is_what_toml_says(tmp_path: Path) -> None:
    """The same options by the same names make the same tree."""
    config = read(AGENT, tmp_path)
    same = parse(
        {
            "globals": {"state": "/etc/dsmip"},
            "home_agent": {
                "addresses": ["2001:db8:1::1", "198.51.100.1"],
                "prefixes": ["2001:db8:1::/64"],
                "lifetime": 120,
                "router": [
                    {
                        "identity": "bus-17",
                        "home_address": "2001:db8:1::100",
                        "prefixes": ["2001:db8:100::/56"],
                        "static_key": KEY,
                    },
                    {
                        "identity": "tram-3",
                        "home_address": "2001:db8:1::200",
                        "esp": {
                            "spi_in": 0x1001,
                            "spi_out": 4098,
                            "auth_key": "22" * 32,
                            "enc_key": "33" * 16,
                        },
                    },
                ],
            },
        },
        str(tmp_path / "dsmip"),
    )
    assert config == same


def test_ike_sections(tmp_path: Path) -> None:
    text = AGENT.replace(f"option static_key '{KEY}'", "option keys 'ikev2'\n\toption psk 'x1y2z3'")
    text = text.replace("config peer\n", "config peer 'tram'\n\toption enabled 'no'\n")
    text = text.replace("config peer 'bus17'", "\toption identity 'ha.example'\n\nconfig peer 'b'")
    text += """
config ike 'ike'
	option dpd '20'
	list esp_proposals 'aes128gcm16'

config ike_radius
	option server '192.0.2.9'
	option secret 'correct horse'
"""
    config = read(text, tmp_path)
    assert config.ike.dpd == 20
    assert config.ike.radius is not None
    assert config.home_agent is not None
    assert [owner.identity for owner in config.home_agent.engine.owners] == ["bus-17"]


@pytest.mark.parametrize("name", ["router", "agent"])
def test_shipped_examples(name: str, tmp_path: Path) -> None:
    assert read({"router": ROUTER, "agent": AGENT}[name], tmp_path)


def test_netifd_tells_devices_of_interfaces(tmp_path: Path) -> None:
    ubus = tmp_path / "ubus"
    answer = {
        "interface": [
            {"interface": "wan", "up": True, "device": "eth1", "l3_device": "pppoe-wan"},
            {"interface": "wwan", "up": False, "device": "wwan0"},
            {"interface": "vpn", "up": False},
        ]
    }
    ubus.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    ubus.chmod(0o755)
    devices = Devices(str(ubus))
    tree = tree_of(parse_sections(ROUTER + "config uplink\n\toption interface vpn\n"), "x", devices)
    found = tree.values["mobile_router"]["uplink"]
    assert [entry["interface"] for entry in found] == ["pppoe-wan", "wwan0", "vpn"]
    assert dump(str(tmp_path / "nothing")) == {}
    for broken in ("exit 1", "echo '{'", "echo '[]'", "echo '{\"interface\": [1]}'"):
        ubus.write_text(f"#!/bin/sh\n{broken}\n")
        assert dump(str(ubus)) == {}


TWO = """
config mobile_router 'router'
	option identity 'bus-17'
	option home_address '2001:db8:1::100'
	option home_prefix '2001:db8:1::/64'
	list home_agent '2001:db8:1::1'
	option static_key '000102030405060708090a0b0c0d0e0f'
	option prefixes '2001:db8:100::/56'

config uplink 'wan'
	option interface 'wan'

config uplink 'wan6'
	option interface '%s'
%s
config uplink 'lte'
	option interface 'wwan'
	option priority '%s'
"""


def test_two_interfaces_of_one_device_are_one_uplink() -> None:
    """netifd has wan for IPv4 and wan6 for IPv6, of the same wire."""
    device = {"wan": "eth1", "wan6": "eth1", "wwan": "wwan0"}.get
    tree = tree_of(parse_sections(TWO % ("wan6", "", "5")), "x", device)
    router = parse(tree.values, "x").mobile_router
    assert router is not None
    assert [(one.interface, one.name, one.network) for one in router.uplinks] == [
        ("eth1", "wan", "wan"),
        ("wwan0", "lte", "wwan"),
    ]
    tree = tree_of(parse_sections(TWO % ("wan6", "", "x")), "x", device)
    assert tree.titles["mobile_router.uplink 2"] == "uplink 'lte'", "faults have its name"


@pytest.mark.parametrize(
    ("interface", "more"),
    [("wan", ""), ("eth1", "\toption device 'eth1'\n")],
    ids=["the same interface", "a device by its name"],
)
def test_who_is_written_down_twice_is_told(interface: str, more: str) -> None:
    device = {"wan": "eth1", "wwan": "wwan0"}.get
    tree = tree_of(parse_sections(TWO % (interface, more, "5")), "x", device)
    with pytest.raises(ConfigError, match="stands there twice"):
        parse(tree.values, "x")


# --- mistakes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "option home_prefix '2001:db8:1::/64'",
            "option home_prefix '2001:db8:1::1/64'",
            "[mobile_router 'router'] home_prefix = '2001:db8:1::1/64': "
            "it has bits beyond its length, did you mean 2001:db8:1::/64?",
        ),
        (
            "option priority '50'",
            "option priority '5O'",
            "[uplink 'lte'] priority = '5O': allowed is a whole number from 0 to 255",
        ),
        (
            "option priority '50'",
            "option priority '256'",
            "[uplink 'lte'] priority = '256': allowed is a whole number from 0 to 255",
        ),
        (
            "option held 'on'",
            "option held 'maybe'",
            "[uplink 'lte'] held = 'maybe': allowed is 0 or 1",
        ),
        (
            "option held 'on'",
            "option helt 'on'",
            "[uplink 'lte'] helt = 'on': is not known, did you mean \"held\"?",
        ),
        (
            "option delegate '1'",
            "option delegated '1'",
            "[prefix 'lan6'] delegated: is not known here, known are enabled, prefix, delegate",
        ),
        (
            "option prefix '2001:db8:100::/56'",
            "option prefix '2001:db8:1OO::/56'",
            "[mobile_router 'router'] prefixes = ",
        ),
        (
            "option delegate '1'",
            "option delegate 'x'",
            "[prefix 'lan6'] delegate = 'x': allowed is 0 or 1",
        ),
        ("option prefix '2001:db8:100::/56'", "", "[prefix 'lan6'] prefix: is missing: one prefix"),
        (
            "option enabled '0'",
            "option enabled '2'",
            "[uplink 'spare'] enabled = '2': allowed is 0 or 1",
        ),
        (
            "option log_level 'debug'",
            "option log_level 'loud'",
            "[globals 'globals'] log_level = 'loud': allowed is one of",
        ),
        (
            "config mobile_router 'router'",
            "config mobile_ruter 'router'",
            "[mobile_ruter 'router']: type is not known, known are globals,",
        ),
        (
            "config prefix 'lan6'",
            "config mobile_router 'two'\n\nconfig prefix 'lan6'",
            "[mobile_router 'two']: there is one already: mobile_router 'router'",
        ),
        (
            "option identity 'bus-17'",
            "list identity 'bus-17'",
            "[mobile_router 'router'] identity = ['bus-17']: allowed is a text",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in ROUTER
    found = mistakes(ROUTER.replace(old, new, 1), tmp_path)
    assert any(text.startswith(expected) for text in found), found


def test_secrets_are_not_repeated(tmp_path: Path) -> None:
    found = mistakes(ROUTER.replace(KEY, "s3cret"), tmp_path)
    assert found == [
        "[mobile_router 'router'] static_key: allowed is 16 to 128 octets in hexadecimal"
    ]


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    text = ROUTER.replace("'50'", "'many'").replace("'bus-17'", "''").replace("'2.5'", "'x'")
    assert len(mistakes(text, tmp_path)) >= 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("option a b", "line 1: 'option' stands before the first 'config'"),
        ("config globals\n\n option a", "line 3: 'option' has a name and one value"),
        ("config globals\noption a 'b c' d", "line 2: 'option' has a name and one value"),
        ("config globals\noption a-b c", "line 2: 'option' has a name and one value"),
        ("config", "line 1: 'config' has a type, then a name or nothing"),
        ("config a b c", "line 1: 'config' has a type, then a name or nothing"),
        ("config globals 'a b'", "line 1: a name has letters, digits and _ only, not 'a b'"),
        ("\n# x\nfoo bar", "line 3: 'foo' is none of config, option, list, package"),
        ("config globals\noption a 'b\n\n", "line 2: the quote ' is never closed"),
        ("package", "line 1: 'package' has one name"),
        ("config a\0b", "there is a NUL character in it"),
    ],
)
def test_what_is_not_uci(text: str, expected: str, tmp_path: Path) -> None:
    assert mistakes(text, tmp_path) == [f"is not UCI: {expected}"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "nowhere")
    (tmp_path / "dsmip").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UCI"):
        load(tmp_path / "dsmip")
    (tmp_path / "dsmip").write_text("#" * ((1 << 20) + 1))
    with pytest.raises(ConfigError, match="more than 1048576 octets"):
        load(tmp_path / "dsmip")


def test_a_domain_and_names_in_dns(tmp_path: Path) -> None:
    text = "\nconfig dns_update\n\toption server '2001:db8:53::1'\n\toption port '5353'\n"
    text += "\toption zone 'example.test'\n\toption key_name 'ha1-key'\n"
    text += "\toption secret 'c2l4dGVlbiBhbmQgc2l4dGVlbg=='\n"
    agent = read(AGENT + text, tmp_path).home_agent
    assert agent is not None
    assert agent.dns_update is not None
    assert (agent.dns_update.zone, agent.dns_update.port) == ("example.test", 5353)
    text = "config mobile_router\n\toption domain 'example.test'\n\toption keys 'ikev2'\n"
    text += "\toption auth 'psk'\n\toption psk 'secret'\n\toption identity 'bus-17'\n"
    text += "\nconfig uplink\n\toption interface 'wan'\n"
    router = read(text, tmp_path).mobile_router
    assert router is not None
    assert router.bootstrap is not None
    assert router.bootstrap.resolv_conf == "/tmp/resolv.conf.d/resolv.conf.auto"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "config globals 'globals'\n",
        AGENT.replace(
            "config home_agent 'agent'", "config home_agent 'agent'\n\toption enabled '0'"
        ),
    ],
    ids=["empty", "globals", "disabled"],
)
def test_who_is_nothing_is_told_in_words_of_the_file(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no section of type mobile_router, home_agent"):
        read(text, tmp_path)


@pytest.mark.parametrize("kind", ["uplink", "flow", "prefix", "peer", "dns_update"])
def test_orphans(kind: str, tmp_path: Path) -> None:
    other = AGENT if kind not in ("peer", "dns_update") else ROUTER
    found = mistakes(other + f"\nconfig {kind} 'x'\n\toption prefix '2001:db8:9::/64'\n", tmp_path)
    owner = "home_agent" if kind in ("peer", "dns_update") else "mobile_router"
    assert found == [f"[{kind} 'x']: there is no section of type {owner} that it could belong to"]


# --- syntax --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'a b'", "a b"),
        ('"a b"', "a b"),
        ("a\\ b", "a b"),
        ("'a'\"b\"c", "abc"),
        ("'it'\\''s'", "it's"),
        ('"say \\"so\\""', 'say "so"'),
        ("'back\\slash'", "back\\slash"),
        ("''", ""),
        ("'two\nlines'", "two\nlines"),
        ("'#no comment' # one", "#no comment"),
        ("x;", "x"),
    ],
)
def test_quotes(text: str, value: str) -> None:
    (section,) = parse_sections(f"config globals g\n\toption a {text}\n\toption b 1")
    assert section.values == {"a": value, "b": "1"}
    assert all(isinstance(one, Word) for one in section.values.values())


def test_sections_and_lists() -> None:
    text = (
        "package dsmip\nconfig a; option x 1\nconfig a\nconfig b n\nlist l 1\nlist l 2\n"
        "config b n\noption x 1\noption x 2\n"
    )
    found = parse_sections(text)
    assert [(s.kind, s.name, s.title) for s in found] == [
        ("a", "", "a in line 2"),
        ("a", "", "a in line 3"),
        ("b", "n", "b 'n'"),
    ]
    assert found[2].values == {"l": ["1", "2"], "x": "2"}


@given(st.text(alphabet="config option list \n'\"\\#;ab1_-\0é", max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(UciError):
        assert all(section.kind for section in parse_sections(text))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["priority", "held", "interface", "name", "x"]),
            st.text(st.characters(codec="utf-8", exclude_characters="'\0"), max_size=20),
        ),
        max_size=6,
    )
)
def test_any_value_is_taken_or_named(options: list[tuple[str, str]]) -> None:
    more = "".join(f"\toption {name} '{value}'\n" for name, value in options)
    text = f"{ROUTER}\nconfig uplink 'odd'\n{more}"
    with contextlib.suppress(ConfigError):
        router = parse(tree_of(parse_sections(text), "x").values, "x").mobile_router
        assert router is not None
        assert router.uplinks[2].name


# --- the command ---------------------------------------------------------------------


def test_check_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "some.conf"
    file.write_text(ROUTER)
    assert cli.main(["check-config", "--uci", str(file)]) == 0
    assert "good, mobile router with 2 uplinks" in capsys.readouterr().out
    file.write_text(ROUTER.replace("priority '50'", "priority 'x'"))
    assert cli.main(["check-config", "--uci", "--json", str(file)]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert shown["faults"] == [
        f"{file}: [uplink 'lte'] priority = 'x': allowed is a whole number from 0 to 255"
    ]


def test_subprocess_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ubusd that hangs does not hang a reload."""

    def slow(*arguments: object, timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired("ubus", timeout)

    monkeypatch.setattr(subprocess, "run", slow)
    assert dump("/bin/ubus") == {}


# --- the documents -------------------------------------------------------------------

DOCS = (Path(__file__).parents[2] / "docs" / "openwrt.md").read_text()


@pytest.mark.parametrize("number", [0, 1])
def test_examples_in_the_documents(tmp_path: Path, number: int) -> None:
    examples = re.findall(r"```uci\n(.*?)```", DOCS, re.DOTALL)
    assert len(examples) == 2
    config = read(examples[number], tmp_path)
    assert (config.mobile_router is None, config.home_agent is None) == (bool(number), not number)


def test_each_section_is_in_the_documents() -> None:
    for kind in (*uci._SINGLE, *uci._REPEATED):
        assert f"`{kind}`" in DOCS
