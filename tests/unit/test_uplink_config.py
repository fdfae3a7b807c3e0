# SPDX-License-Identifier: GPL-2.0-only
"""Options of uplinks and portals: in TOML, in UCI, and what is said about mistakes."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from dsmip.mobility.captive import Expected
from dsmip.packet.http import Target
from dsmip.service.config import Config, MobileRouterSection, parse
from dsmip.service.options import ConfigError
from dsmip.service.uplink_config import PortalSection, UplinkEntry

from tests.unit.test_config import ROUTER, changed
from tests.unit.test_uci import ROUTER as UCI
from tests.unit.test_uci import mistakes, read

FIRST = "mobile_router.uplink.0."


def router(config: Config) -> MobileRouterSection:
    assert config.mobile_router is not None
    return config.mobile_router


def with_options(**options: Any) -> MobileRouterSection:
    values = ROUTER
    for name, value in options.items():
        values = changed(values, f"mobile_router.{name}", value)
    return router(parse(values))


def uplink(**options: Any) -> UplinkEntry:
    values = ROUTER
    for name, value in options.items():
        values = changed(values, FIRST + name, value)
    return router(parse(values)).uplinks[0]


def test_what_an_uplink_is_without_any_option() -> None:
    section = router(parse(ROUTER))
    assert section.uplinks[0] == UplinkEntry("wan0", "lte", 10)
    assert section.portal is None
    assert section.portal_login
    plain = section.uplinks[0]
    assert (plain.network, plain.metered, plain.cost, plain.restart) == ("", None, None, ())
    assert (plain.restart_after, plain.portal, plain.held) == (60.0, True, False)


def test_all_that_an_uplink_can_be() -> None:
    found = uplink(
        network="wwan",
        metered=True,
        cost=3,
        restart=["/usr/bin/modem", "reset", "reset"],
        restart_after=120,
        portal=False,
    )
    assert found == UplinkEntry(
        "wan0",
        "lte",
        10,
        network="wwan",
        metered=True,
        cost=3,
        restart=("/usr/bin/modem", "reset", "reset"),
        restart_after=120.0,
        portal=False,
    )
    for seconds in (0, 1, 86400):
        assert uplink(restart_after=seconds).restart_after == seconds
    for cost in (0, 9):
        assert uplink(cost=cost).cost == cost


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"portal_url": "none"}, None),
        ({"portal_url": "auto"}, PortalSection(None, Expected())),
        (
            {"portal_url": "http://check.example/204"},
            PortalSection(Target("check.example", 80, "/204"), Expected(204)),
        ),
        (
            {"portal_url": "http://[2001:db8::1]:8080/", "portal_answer": 200},
            PortalSection(Target("2001:db8::1", 8080), Expected(200)),
        ),
        (
            {"portal_url": "http://check.example/", "portal_answer": "success"},
            PortalSection(Target("check.example"), Expected(text="success")),
        ),
    ],
)
def test_whom_to_ask(options: dict[str, Any], expected: PortalSection | None) -> None:
    assert with_options(**options).portal == expected


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (FIRST + "network", "wwan; reboot", "netifd's name of an interface"),
        (FIRST + "network", "", "netifd's name of an interface"),
        (FIRST + "network", "a" * 65, "netifd's name of an interface"),
        (FIRST + "metered", 1, "true or false"),
        (FIRST + "cost", 10, "0 to 9"),
        (FIRST + "cost", -1, "0 to 9"),
        (FIRST + "restart", "/usr/bin/modem reset", "a program by its absolute path"),
        (FIRST + "restart", ["modem"], "a program by its absolute path"),
        (FIRST + "restart", [], "a program by its absolute path"),
        (FIRST + "restart", ["/x", 1], "a program by its absolute path"),
        (FIRST + "restart", ["/x", "a\0b"], "a program by its absolute path"),
        (FIRST + "restart", ["/x"] * 33, "a program by its absolute path"),
        (FIRST + "restart_after", -1, "0 to 86400"),
        (FIRST + "restart_after", 86401, "0 to 86400"),
        (FIRST + "restart_after", 0.5, "0 for never, else at least 1"),
        (FIRST + "portal", "no", "true or false"),
        (FIRST + "meterd", True, 'did you mean "metered"?'),
        ("mobile_router.portal_url", "https://check.example/", '"auto", "none" or an http:// URL'),
        ("mobile_router.portal_url", "automatic", '"auto", "none" or an http:// URL'),
        ("mobile_router.portal_url", 1, '"auto", "none" or an http:// URL'),
        ("mobile_router.portal_url", "http://x y/", '"auto", "none" or an http:// URL'),
        ("mobile_router.portal_answer", 204, "needs a portal_url"),
        ("mobile_router.portal_login", "auto", "true or false"),
    ],
)
def test_mistakes(path: str, value: object, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(changed(ROUTER, path, value))
    (fault,) = refused.value.faults
    assert said in str(fault)
    assert path.rpartition(".")[2] in str(fault)


@pytest.mark.parametrize("answer", [199, 300, "404", "", "a\nb", "x" * 256, True, ["x"]])
def test_answers_that_say_nothing(answer: object) -> None:
    values = changed(ROUTER, "mobile_router.portal_url", "http://check.example/")
    with pytest.raises(ConfigError, match="a status code from 200 to 299, or a text"):
        parse(changed(values, "mobile_router.portal_answer", answer))


def test_the_home_agents_answer_is_not_to_be_chosen() -> None:
    values = changed(ROUTER, "mobile_router.portal_url", "auto")
    with pytest.raises(ConfigError, match="portal_answer = 204: needs a portal_url"):
        parse(changed(values, "mobile_router.portal_answer", 204))


def test_the_document_names_every_option_and_shows_a_good_example() -> None:
    text = (Path(__file__).parents[2] / "docs" / "uplinks.md").read_text()
    named = re.findall(r"(?m)^\| `(\w+)` \|", text.partition("## A modem")[0])
    options = [field.name for field in fields(UplinkEntry)]
    assert sorted(named) == sorted([*options, "portal_url", "portal_answer", "portal_login"])
    example = tomllib.loads(text.partition("```toml\n")[2].partition("```")[0])["mobile_router"]
    values = changed(ROUTER, "mobile_router.uplink", example["uplink"])
    values = changed(values, "mobile_router.portal_url", example["portal_url"])
    assert [one.name for one in router(parse(values)).uplinks] == ["wifi", "lte"]


# --- UCI -----------------------------------------------------------------------------------


def test_uci_asks_the_home_agent_unless_told_otherwise(tmp_path: Path) -> None:
    assert router(read(UCI, tmp_path)).portal == PortalSection(None, Expected())
    for value, expected in (
        ("none", None),
        ("http://check.example/", PortalSection(Target("check.example"), Expected(204))),
    ):
        text = UCI.replace("\toption lan", f"\toption portal_url '{value}'\n\toption lan")
        assert router(read(text, tmp_path)).portal == expected
    text = UCI.replace(
        "\toption lan",
        "\toption portal_url 'http://check.example/'\n\toption portal_answer '200'\n\toption lan",
    )
    found = router(read(text, tmp_path))
    portal = found.portal
    assert portal is not None
    assert found.portal_login
    text = UCI.replace("\toption lan", "\toption portal_login '0'\n\toption lan")
    assert not router(read(text, tmp_path)).portal_login
    assert portal.expected == Expected(200)


def lte(*lines: str) -> str:
    return UCI.replace("\toption priority '50'\n", "".join(f"\t{line}\n" for line in lines))


def test_uci_options_of_an_uplink(tmp_path: Path) -> None:
    text = lte(
        "option metered '1'",
        "option cost '2'",
        "option restart '/etc/init.d/modem restart'",
        "option restart_after '90'",
        "option portal '0'",
    )
    found = router(read(text, tmp_path)).uplinks[1]
    assert (found.metered, found.cost, found.portal) == (True, 2, False)
    assert found.restart == ("/etc/init.d/modem", "restart")
    assert found.restart_after == 90.0
    listed = lte("list restart '/bin/modem'", "list restart 'two words'")
    assert router(read(listed, tmp_path)).uplinks[1].restart == ("/bin/modem", "two words")


def test_uci_knows_the_network_by_netifds_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ubus = tmp_path / "ubus"
    dump = '{"interface": [{"interface": "wwan", "l3_device": "wwan0"}]}'
    ubus.write_text(f"#!/bin/sh\necho '{dump}'\n")
    ubus.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    wan, wwan = router(read(UCI, tmp_path)).uplinks
    assert (wwan.interface, wwan.name, wwan.network) == ("wwan0", "lte", "wwan")
    assert (wan.interface, wan.network) == ("wan", "wan")
    chosen = router(read(lte("option network 'modem'"), tmp_path)).uplinks[1]
    assert chosen.network == "modem"
    device = router(read(lte("option device 'usb0'"), tmp_path)).uplinks[1]
    assert (device.interface, device.network) == ("usb0", "wwan")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("option metered 'perhaps'", "[uplink 'lte'] metered = 'perhaps': allowed is 0 or 1"),
        ("option cost '10'", "[uplink 'lte'] cost = '10': allowed is a whole number from 0 to 9"),
        ("option restart 'modem'", "[uplink 'lte'] restart = 'modem': allowed is a program"),
        ("option restart_after 'soon'", "[uplink 'lte'] restart_after = 'soon': allowed is"),
        ("option portal '2'", "[uplink 'lte'] portal = '2': allowed is 0 or 1"),
    ],
)
def test_mistakes_in_uci(line: str, said: str, tmp_path: Path) -> None:
    (mistake,) = mistakes(lte(line), tmp_path)
    assert mistake.startswith(said)
