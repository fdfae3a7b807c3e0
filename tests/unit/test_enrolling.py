# SPDX-License-Identifier: GPL-2.0-only
"""Enrolment on OpenWrt: by the daemon at the home agent, into UCI at the router."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dsmip import cli
from dsmip.service import enrolling, printable
from dsmip.service.advice import warnings_of
from dsmip.service.config import load
from dsmip.service.control import RequestError
from dsmip.service.enroll import read_uci
from dsmip.service.ike_config import Manager
from dsmip.service.uci_write import Piece, text_of

UCI = """
config globals 'globals'
	option enabled '1'

config home_agent 'agent'
	option identity 'ha.example.net'
	list addresses '2001:db8:1::1'
	list addresses '198.51.100.1'
	list prefixes '2001:db8:1::/64'
"""
TOML = """\
[home_agent]
identity = "ha.example.net"
addresses = ["2001:db8:1::1", "198.51.100.1"]
prefixes = ["2001:db8:1::/64"]
"""
REQUEST = {"identity": "bus-17", "prefixes": "2001:db8:100::/56, 203.0.113.0/28", "payload": ""}


@pytest.fixture(params=["dsmip", "dsmip.toml"])
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    file = tmp_path / str(request.param)
    file.write_text(TOML if file.suffix else UCI)
    return file


def enrol(agent: Path, **more: Any) -> dict[str, Any]:
    return enrolling.answer(str(agent), REQUEST | more, str(agent.parent / "keys"))


def test_the_daemon_enrols_as_the_command_does(agent: Path) -> None:
    done = enrol(agent)
    section = load(agent).home_agent
    assert section is not None
    (owner,) = section.engine.owners
    assert owner.identity == "bus-17"
    assert [str(one) for one in owner.prefixes] == ["2001:db8:100::/56", "203.0.113.0/28"]
    assert done["home_address"] == str(owner.home_address) == "2001:db8:1::100"
    assert printable.parse_frame(done["token"]).kind is printable.Kind.TOKEN
    assert len(done["qr"]) == len(done["qr"][0]) > 40
    assert set("".join(done["qr"])) == {"0", "1"}
    assert "entry" not in done, "it has the secret once more"


def test_without_ipsec_in_the_kernel_keys_are_static(tmp_path: Path) -> None:
    file = tmp_path / "dsmip.toml"
    file.write_text(TOML)
    enrolling.answer(str(file), REQUEST, str(tmp_path / "keys"), Manager.STATIC)
    section = load(file).home_agent
    assert section is not None
    assert [row.plan.manager for row in section.rows] == [Manager.STATIC]


def test_a_home_agent_starts_without_routers_with_a_name_or_none(tmp_path: Path) -> None:
    """The page enrols the first; without the warning nobody would know that it is missing."""
    file = tmp_path / "dsmip.toml"
    for text in (TOML, TOML.replace('identity = "ha.example.net"', "")):
        file.write_text(text)
        assert "no router yet" in "".join(warnings_of(load(file), str(file)))


def test_a_second_token_and_a_second_router(agent: Path) -> None:
    first = enrol(agent)
    with pytest.raises(RequestError, match="enrolled already"):
        enrol(agent)
    assert enrol(agent, again=True)["identity"] == first["identity"]
    with pytest.raises(RequestError, match=r"overlaps 203\.0\.113\.0/28 of bus-17"):
        enrol(agent, identity="bus-18")
    assert enrol(agent, identity="bus-18", prefixes=[])["home_address"] == "2001:db8:1::101"


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"identity": ""}, "name of a router"),
        ({"identity": "two words"}, "name of a router"),
        ({"identity": 5}, "name of a router"),
        ({"identity": "x" * 5000}, "name of a router"),
        ({"prefixes": "2001:db8::1/56"}, "prefixes"),
        ({"prefixes": {"a": 1}}, "list"),
        ({"prefixes": ["2001:db8::/48"] * 65}, "at most 64"),
        ({"payload": "$(reboot)"}, "payload"),
        ({"payload": "inside"}, None),
    ],
)
def test_requests_that_make_no_sense(agent: Path, bad: dict[str, Any], said: str | None) -> None:
    before = agent.read_text()
    if said is None:
        assert enrol(agent, **bad)["identity"] == "bus-17"
        return
    with pytest.raises(RequestError, match=said):
        enrol(agent, **bad)
    assert agent.read_text() == before


@pytest.mark.parametrize("name", ["bus;reboot", "bus`id`", "it's", "$(id)", "bus\\", "ü"])
def test_names_are_names(agent: Path, name: str) -> None:
    """Whatever it has in it, the file that comes out says it and nothing else."""
    try:
        done = enrol(agent, identity=name)
    except RequestError:
        return
    section = load(agent).home_agent
    assert section is not None
    assert [owner.identity for owner in section.engine.owners] == [name] == [done["identity"]]


def test_without_the_library_there_is_no_picture(
    agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(content: str) -> Any:
        raise printable.QrMissing

    monkeypatch.setattr(printable, "matrix", missing)
    done = enrol(agent)
    assert done["qr"] is None
    assert "segno" in done["no_qr"]
    assert done["token"]


# --- at the router ---------------------------------------------------------------


def router(tmp_path: Path, agent: Path, *words: str) -> tuple[int, Path]:
    token = tmp_path / "token"
    token.write_text(enrol(agent)["token"])
    output = tmp_path / "router"
    output.write_text("config globals 'globals'\n\toption enabled '0'\n")
    command = ["enroll", "--token", f"@{token}", "--uci", "--output", str(output)]
    return cli.main([*command, "--directory", str(tmp_path / "rkeys"), *words]), output


def test_a_token_becomes_uci(tmp_path: Path, agent: Path) -> None:
    status, output = router(tmp_path, agent, "--uplink", "wan0", "--lan", "br-lan")
    assert status == 0
    config = load(output, uci=True)
    assert config.mobile_router is not None
    engine = config.mobile_router.engine
    assert engine.identity == "bus-17"
    assert str(engine.home_agent6) == "2001:db8:1::1"
    assert [str(one) for one in engine.prefixes] == ["2001:db8:100::/56", "203.0.113.0/28"]
    assert [one.interface for one in config.mobile_router.uplinks] == ["wan0"]
    (agents,) = load(agent).home_agent.rows  # type: ignore[union-attr]
    (routers,) = config.mobile_router.rows
    assert agents.plan.credentials == routers.plan.credentials


def test_sections_for_a_form_and_nothing_written(
    tmp_path: Path, agent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, output = router(tmp_path, agent, "--print-only", "--json")
    assert status == 0
    said = json.loads(capsys.readouterr().out)
    assert "mobile_router" not in output.read_text()
    kinds = [one["type"] for one in said["sections"]]
    assert kinds[0] == "mobile_router"
    assert kinds.count("prefix") == 2
    pieces = [Piece(one["type"], one["name"], one["values"]) for one in said["sections"]]
    assert read_uci(text_of(pieces), "x")["mobile_router"]["identity"] == "bus-17"


def test_a_router_is_not_configured_twice(
    tmp_path: Path, agent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, output = router(tmp_path, agent, "--uplink", "wan0")
    assert status == 0
    before = output.read_text()
    command = ["enroll", "--token", f"@{tmp_path / 'token'}", "--uci", "--output", str(output)]
    assert cli.main([*command, "--uplink", "wan0", "--directory", str(tmp_path / "rkeys")]) == 1
    assert "already" in capsys.readouterr().err
    assert output.read_text() == before
