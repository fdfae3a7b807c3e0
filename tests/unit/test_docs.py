# SPDX-License-Identifier: GPL-2.0-only
"""What the documents show is accepted, and what they name exists."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from dsmip import cli
from dsmip.service.advice import warnings_of
from dsmip.service.config import parse
from dsmip.service.ike_config import IkeSection

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "ike.md").read_text()
PREFIXES = (DOCS / "prefixes.md").read_text()
EXAMPLES = re.findall(r"```toml\n(.*?)```", TEXT + PREFIXES, re.DOTALL)
COMMANDS = sorted(set(re.findall(r"dsmip ((?:keys |ike )?[a-z][a-z-]+)", TEXT)))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.split("\n")[0])
def test_examples_are_good_configurations(example: str) -> None:
    values = tomllib.loads(example)
    if "certificate" in values.get("ike", {}):
        # The files it names are the reader's own.
        assert set(values["ike"]) == {"certificate", "private_key", "authorities", "revocation"}
        return
    assert warnings_of(parse(values), "/nowhere") == []


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*command.split(), "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for option in re.findall(rf"dsmip {command} [^\n]*?(--[a-z-]+)", TEXT):
        assert option in shown


def test_options_and_their_defaults() -> None:
    rows = dict(re.findall(r"(?m)^\| `([a-z_]+)` \| ([^|]*) \|", TEXT.split("## Times")[1]))
    plain = IkeSection()
    for name, default in rows.items():
        assert tomllib.loads(f"x = {default}")["x"] == getattr(plain, name), name
    # Others have no default that could be written down, or are shown by example.
    others = {"proposals", "esp_proposals", "certificate", "private_key", "authorities"}
    others |= {"revocation", "radius", "connections"}
    assert rows.keys() | others == {field.name for field in fields(IkeSection)}


def test_lines_fit() -> None:
    assert all(len(line) <= 100 for line in TEXT.splitlines())


# --- several uplinks -----------------------------------------------------------------

SEVERAL = (DOCS / "multihoming.md").read_text()
ROUTER = """
[mobile_router]
identity = "bus-17"
home_address = "2001:db8:1::100"
home_prefix = "2001:db8:1::/64"
home_agent = ["2001:db8:1::1", "198.51.100.1"]
prefixes = ["2001:db8:100::/56"]
static_key = "8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f"
uplink = [{ interface = "wwan0", name = "lte" }, { interface = "wlan0", name = "wifi" }]
"""


def test_several_uplinks_and_their_flows() -> None:
    options, flows = re.findall(r"```toml\n(.*?)```", SEVERAL, re.DOTALL)
    text = ROUTER + options.removeprefix("[mobile_router]\n") + flows
    engine = parse(tomllib.loads(text)).mobile_router.engine  # type: ignore[union-attr]
    assert engine.several
    assert [flow.name for flow in engine.flows] == ["voice", "backup", "everything else"]
    shown = dict(re.findall(r"(?m)^\| `([a-z_]+)` \| ([^|]*) \|", SEVERAL))
    plain = parse(tomllib.loads(ROUTER)).mobile_router.engine  # type: ignore[union-attr]
    assert tomllib.loads(f"x = {shown['probe']}")["x"] == plain.probe
    assert not plain.several
    assert all(len(line) <= 100 for line in SEVERAL.splitlines())
