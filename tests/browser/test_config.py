# SPDX-License-Identifier: GPL-2.0-only
"""The page of the configuration: its form, and the wizard that fills it in.

What it writes is read by the daemon's own parser here.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from dsmip import cli
from dsmip.service import enrolling
from dsmip.service.config import Config, parse
from dsmip.service.options import ConfigError, Word
from dsmip.service.uci import UciSection, tree_of

from tests.browser.browser import Browser
from tests.browser.server import ROOT, WWW, Fixtures, Pages

OUT = ROOT / "build" / ("browser" if WWW is None else "browser-luci")
SCRIPT = "<img src=x onerror=window.broken=1>"
GLOBALS = {".type": "globals", ".name": "globals", ".index": 0, "enabled": "0"}
CONFIGURATION: dict[str, Any] = {
    "globals": GLOBALS,
    "router": {".type": "mobile_router", ".name": "router", ".index": 1, "identity": "bus-17"},
    "wan": {".type": "uplink", ".name": "wan", ".index": 2, "interface": "wan"},
}
SHOWN = "return getComputedStyle(document.querySelector(argument)).display != 'none';"
AGENT = """
config globals 'globals'
	option enabled '1'

config home_agent 'agent'
	option identity 'ha.example.net'
	list addresses '2001:db8:1::1'
	list addresses '198.51.100.1'
	list prefixes '2001:db8:1::/64'
"""


def enrolled(folder: Path) -> tuple[str, dict[str, Any]]:
    """Return a token that a home agent has made, and what the plugin answers to it."""
    (folder / "dsmip").write_text(AGENT)
    request = {"identity": "bus-17", "prefixes": "2001:db8:100::/56 203.0.113.0/28", "payload": ""}
    token = str(enrolling.answer(str(folder / "dsmip"), request, str(folder / "keys"))["token"])
    (folder / "token").write_text(token)
    (folder / "router").write_text("config globals 'globals'\n")
    command = ["enroll", "--token", f"@{folder / 'token'}", "--uci", "--print-only", "--force"]
    command += ["--json", "--output", str(folder / "router"), "--directory", str(folder / "rkeys")]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert cli.main(command) == 0
    return token, dict(json.loads(said.getvalue()))


def read(values: Mapping[str, Mapping[str, Any]]) -> Config:
    """Read what a page has written as the daemon would. Raises ``ConfigError``."""
    sections = []
    for number, one in enumerate(sorted(values.values(), key=lambda one: one[".index"])):
        options = {
            name: [Word(text) for text in value] if isinstance(value, list) else Word(value)
            for name, value in one.items()
            if not name.startswith(".")
        }
        name = "" if one.get(".anonymous") else one[".name"]
        sections.append(UciSection(one[".type"], name, number, options))
    return parse(tree_of(sections, "dsmip").values, "dsmip")


def tab(browser: Browser, *names: str) -> None:
    """Bring a part of the form to the front."""
    for name in names:
        browser.click(f".cbi-tabmenu > li[data-tab={name}] > a")


def save(browser: Browser) -> None:
    """Save the form."""
    browser.click(".cbi-page-actions .cbi-button-save")
    time.sleep(0.1)
    browser.wait("!document.querySelector('.cbi-page-actions .spinning')", 5000)
    time.sleep(0.2)


def test_form_refuses_what_the_daemon_would(browser: Browser) -> None:
    fixtures = Fixtures({"check": {"valid": True, "faults": []}}, CONFIGURATION)
    with Pages(fixtures) as pages:
        browser.open(f"{pages.url}/page/dsmip/config")
        tab(browser, "uplink")
        browser.click("tr[data-section-id=wan] .cbi-button-edit")
        browser.wait("document.querySelector('#modal_overlay .cbi-value[data-name=priority]')")
        for place, option, bad, good in (
            ("", "priority", "256", "255"),
            ("", "restart", "reboot", "/sbin/reboot now"),
            ("", "restart_after", "1e3", "120.5"),
            ("general", "identity", "two words", "bus-18"),
            ("general", "home_agent", "198.51.100.256", "2001:db8:1::1"),
            ("general", "home_address", "2001:db8::zz", "2001:db8:1::100"),
            ("general", "home_prefix", "2001:db8::/129", "2001:db8:1::/64"),
            ("secrets", "static_key", "secret", "00112233445566778899aabbccddeeff"),
            ("handover", "portal_url", "javascript:alert(1)", "http://portal.example/ok"),
            ("advanced", "lifetime", "3", "600"),
        ):
            if place == "general" and option == "identity":
                browser.click("#modal_overlay .cbi-button-positive")
                browser.wait("!document.body.classList.contains('modal-overlay-active')")
                tab(browser, "mobile_router")
            if place:
                menu = "#cbi-dsmip-mobile_router .cbi-tabmenu"
                browser.click(f"{menu} > li[data-tab={place}] > a")
            field = f".cbi-value[data-name={option}] input[type]:not([type=hidden])"
            for value, refused in ((bad, True), (good, False)):
                browser.fill(field, value)
                invalid = browser.evaluate(
                    "return document.querySelector(argument).matches('.cbi-input-invalid');", field
                )
                assert invalid is refused, (option, value)
        browser.click("#cbi-dsmip-mobile_router .cbi-tabmenu > li[data-tab=network] > a")
        browser.select(".cbi-value[data-name=mode] select", "implicit")
        save(browser)
        assert fixtures.uci["router"]["identity"] == "bus-18"
        assert fixtures.uci["router"]["static_key"] == "00112233445566778899aabbccddeeff"
        assert fixtures.uci["wan"]["priority"] == "255"
        assert browser.complaints() == []
        config = read(fixtures.uci)
        assert config.mobile_router is not None
        assert config.mobile_router.uplinks[0].restart == ("/sbin/reboot", "now")


def test_form_keeps_hidden_fields_out(browser: Browser) -> None:
    """With a domain the addresses are not asked for; keys from IKEv2 need no static key."""
    with Pages(Fixtures({}, CONFIGURATION)) as pages:
        browser.open(f"{pages.url}/page/dsmip/config")
        tab(browser, "mobile_router")
        assert browser.evaluate(SHOWN, ".cbi-value[data-name=home_address]")
        browser.fill(".cbi-value[data-name=domain] input", "example.test")
        assert not browser.evaluate(SHOWN, ".cbi-value[data-name=home_address]")
        tab(browser, "secrets")
        assert browser.evaluate(SHOWN, ".cbi-value[data-name=static_key]")
        browser.select(".cbi-value[data-name=keys] select", "ikev2")
        assert not browser.evaluate(SHOWN, ".cbi-value[data-name=static_key]")
        assert browser.evaluate(SHOWN, ".cbi-value[data-name=psk]")


def test_harness_takes_out_what_is_hidden(browser: Browser) -> None:
    """As LuCI does: an option that another choice hides does not stay in the file."""
    fixtures = Fixtures({}, CONFIGURATION)
    fixtures.uci["router"] |= {"static_key": "00" * 16, "identity": "bus-17"}
    with Pages(fixtures) as pages:
        browser.open(f"{pages.url}/page/dsmip/config")
        tab(browser, "mobile_router", "secrets")
        browser.select(".cbi-value[data-name=keys] select", "ikev2")
        save(browser)
        assert fixtures.uci["router"]["keys"] == "ikev2"
        assert "static_key" not in fixtures.uci["router"]
        assert fixtures.uci["router"]["identity"] == "bus-17"


def test_faults_of_the_file_are_shown(browser: Browser) -> None:
    fault = "mobile_router: <b>identity</b> is missing"
    with Pages(Fixtures({"check": {"valid": False, "faults": [fault]}}, CONFIGURATION)) as pages:
        browser.open(f"{pages.url}/page/dsmip/config")
        assert fault in browser.text("#maincontent > .alert-message.warning")
        assert browser.evaluate("return !document.querySelector('.alert-message b');")


def test_every_option_is_one_and_every_other_has_a_line(browser: Browser) -> None:
    """Fields are for options that the daemon knows; what has none is kept and edited as text."""
    kinds = ("globals", "mobile_router", "uplink", "flow", "home_agent", "peer", "ike")
    values = {
        kind: {".type": kind, ".name": f"{kind}1", ".index": at, "strange_one": ["a", "b"]}
        for at, kind in enumerate(kinds)
    }
    values["globals"] |= {".name": "globals"}
    values["globals"] |= {"mark_mask": "0xff0000", "socket": "/x y"}
    fixtures = Fixtures({}, {str(one[".name"]): one for one in values.values()})
    with Pages(fixtures) as pages:
        browser.open(f"{pages.url}/page/dsmip/config")
        offered: dict[str, set[str]] = {}
        for kind in kinds:
            name = values[kind][".name"]
            tab(browser, kind)
            if kind in ("uplink", "flow", "peer"):
                browser.click(f"tr[data-section-id={name}] .cbi-button-edit")
                browser.wait(f"document.querySelector('#cbi-dsmip-{name}-_rest')")
            offered[kind] = set(
                browser.evaluate(
                    "return Array.from(document.querySelectorAll(argument))"
                    ".map((node) => node.dataset.name);",
                    f".cbi-value[id^='cbi-dsmip-{name}-']",
                )
            )
            if kind in ("uplink", "flow", "peer"):
                browser.click("#modal_overlay .button-row .btn:first-child")
                browser.wait("!document.body.classList.contains('modal-overlay-active')")
        assert browser.complaints() == []
        save(browser)
        assert browser.complaints() == []
        assert fixtures.uci["globals"]["strange_one"] == ["a", "b"]
        assert fixtures.uci["globals"]["mark_mask"] == "0xff0000"
        assert fixtures.uci["globals"]["socket"] == "/x y"
    plain = {
        "mobile_router": {".type": "mobile_router", "unknown_option": "1"},
        "home_agent": {".type": "home_agent", "unknown_option": "1"},
        "uplink": {".type": "uplink", "unknown_option": "1", "interface": "wan"},
        "flow": {".type": "flow", "unknown_option": "1", "uplinks": "wan"},
        "peer": {".type": "peer", "unknown_option": "1", "identity": "x"},
        "globals": {".type": "globals", "unknown_option": "1"},
        "ike": {".type": "ike", "unknown_option": "1"},
    }
    with pytest.raises(ConfigError) as caught:
        read({kind: one | {".name": kind, ".index": 1} for kind, one in plain.items()})
    known = {
        fault.section: set(re.split(r",? ", fault.problem.split("known are ")[1]))
        for fault in caught.value.faults
        if fault.option == "unknown_option"
    }
    places = {
        "mobile_router": "mobile_router",
        "home_agent": "home_agent",
        "globals": "globals",
        "ike": "ike",
        "uplink": "mobile_router.uplink 1",
        "flow": "mobile_router.flow 1",
        "peer": "home_agent.router 1",
    }
    for kind, place in places.items():
        own = offered[kind] - {"_rest", "enabled", "device" if kind == "uplink" else ""}
        assert len(own) > 5, kind
        assert own <= known[place], (kind, own - known[place])


@pytest.mark.parametrize(
    ("anchor", "home", "key", "wanted"),
    [
        ("example.test", "", "a secret", {"domain": "example.test", "psk": "a secret"}),
        (
            "2001:db8:1::1 198.51.100.1",
            "2001:db8:1::100/64",
            "00112233445566778899aabbccddeeff",
            {
                "home_agent": ["2001:db8:1::1", "198.51.100.1"],
                "home_prefix": "2001:db8:1:0:0:0:0:0/64",
                "static_key": "00112233445566778899aabbccddeeff",
            },
        ),
        (
            "2001:db8:1::1",
            "2001:db8:1:ffff::1/51",
            "x",
            {"home_prefix": "2001:db8:1:e000:0:0:0:0/51", "home_agent_identity": "ha.example"},
        ),
    ],
)
def test_wizard_by_hand(
    browser: Browser, anchor: str, home: str, key: str, wanted: dict[str, Any]
) -> None:
    fixtures = Fixtures({"check": {"valid": False, "faults": ["nothing"]}}, {"globals": GLOBALS})
    with Pages(fixtures) as pages:
        browser.open(f"{pages.url}/page/dsmip/config")
        browser.click("[data-action=wizard]")
        browser.wait("document.querySelector('#dsmip-wizard-token')")
        browser.click("[data-way=hand]")
        browser.click("[data-action=fill]")
        browser.wait("document.querySelector('#dsmip-wizard-told .error')")
        browser.fill("#dsmip-wizard-name", "bus-17")
        browser.fill("#dsmip-wizard-anchor", anchor)
        browser.fill("#dsmip-wizard-key", key)
        seen = "return !!document.querySelector(argument).offsetParent;"
        assert browser.evaluate(seen, "#dsmip-wizard-home") is bool(home)
        assert browser.evaluate(seen, "#dsmip-wizard-agent") is ("home_agent_identity" in wanted)
        if home:
            browser.fill("#dsmip-wizard-home", home)
        if "home_agent_identity" in wanted:
            browser.fill("#dsmip-wizard-agent", wanted["home_agent_identity"])
        browser.click("[data-action=fill]")
        browser.wait("document.querySelector('#maincontent > .alert-message.info')")
        assert fixtures.uci == {"globals": GLOBALS}, "nothing is saved yet"
        save(browser)
        router = next(one for one in fixtures.uci.values() if one[".type"] == "mobile_router")
        assert router.items() >= wanted.items()
        uplinks = [one["interface"] for one in fixtures.uci.values() if one[".type"] == "uplink"]
        assert uplinks == ["wan", "wwan"], "those that may lead outside"
        assert fixtures.uci["globals"]["enabled"] == "1"
        assert read(fixtures.uci).mobile_router is not None
        assert [one["proto"] for one in fixtures.files["network"].values()].count("dsmip") == 1
        assert browser.complaints() == []


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"name": "two words", "anchor": "example.test"},
        {"name": "bus-17"},
        {"name": "bus-17", "anchor": "198.51.100.1", "home": "2001:db8:1::1/64", "key": "x"},
        {"name": "bus-17", "anchor": "2001:db8::1", "home": "2001:db8:1::1", "key": "x"},
        {"name": "bus-17", "anchor": "2001:db8::1", "home": "192.0.2.1/24", "key": "x"},
        {"name": "bus-17", "anchor": "2001:db8::1", "home": "2001:db8:1::1/129", "key": "x"},
        {"name": "bus-17", "anchor": "2001:db8::1", "home": "2001:db8:1::1/64"},
        {"name": "bus-17", "anchor": "2001:db8::1", "home": "2001:db8:1::1/64", "key": "x"},
        {"name": "bus-17", "anchor": "one.example two.example", "key": "x"},
        {"name": "bus-17", "anchor": "example.test"},
    ],
    ids=str,
)
def test_wizard_says_what_is_missing(browser: Browser, values: dict[str, str]) -> None:
    fixtures = Fixtures({}, {"globals": GLOBALS})
    with Pages(fixtures) as pages:
        browser.open(f"{pages.url}/page/dsmip/config")
        browser.click("[data-action=wizard]")
        browser.click("[data-way=hand]")
        for name, value in sorted(values.items()):
            browser.fill(f"#dsmip-wizard-{name}", value)
        browser.click("[data-action=fill]")
        browser.wait("document.querySelector('#dsmip-wizard-told .error')")
        assert fixtures.uci == {"globals": GLOBALS}


def test_a_token_fills_everything_in(browser: Browser, tmp_path: Path) -> None:
    token, reply = enrolled(tmp_path)
    fixtures = Fixtures({"token": reply}, {"globals": GLOBALS})
    with Pages(fixtures) as pages:
        browser.open(f"{pages.url}/page/dsmip/config")
        browser.click("[data-action=wizard]")
        browser.fill("#dsmip-wizard-token", f"  {token}\n")
        browser.screenshot(OUT / "wizard.png", full=False)
        browser.click("[data-action=fill]")
        browser.wait("document.querySelector('#maincontent > .alert-message.info')")
        told = browser.text("#maincontent > .alert-message.info")
        assert all(file in told for file in reply["files"])
        assert ("luci.dsmip", "token", {"token": token}) in fixtures.calls
        tab(browser, "mobile_router")
        browser.screenshot(OUT / "filled.png")
        save(browser)
        config = read(fixtures.uci)
        assert config.mobile_router is not None
        engine = config.mobile_router.engine
        assert engine.identity == "bus-17"
        assert str(engine.home_agent6) == "2001:db8:1::1"
        assert [str(one) for one in engine.prefixes] == ["2001:db8:100::/56", "203.0.113.0/28"]
        # Another one later takes the place of all that, and leaves uplinks alone.
        other = {"type": "mobile_router", "name": "router", "values": {"domain": "example.test"}}
        other["values"] |= {"identity": "bus-18"}  # type: ignore[operator]
        fixtures.documents["token"] = {"identity": "bus-18", "files": [], "sections": [other]}
        browser.open(f"{pages.url}/page/dsmip/config")
        browser.click("[data-action=wizard]")
        browser.fill("#dsmip-wizard-token", "dsmip1:def")
        browser.click("[data-action=fill]")
        browser.wait("document.querySelector('#maincontent > .alert-message.info')")
        save(browser)
        kinds = [one[".type"] for one in fixtures.uci.values()]
        assert kinds.count("mobile_router") == 1
        assert kinds.count("uplink") == 2
        router = next(one for one in fixtures.uci.values() if one[".type"] == "mobile_router")
        assert router["identity"] == "bus-18"
        assert "home_address" not in router
        assert browser.complaints() == []


@pytest.mark.parametrize(
    "reply",
    [
        {"error": f"this is no token: {SCRIPT}"},
        {},
        {"sections": []},
        {"sections": [{"type": "peer", "name": "x", "values": {"identity": SCRIPT}}]},
        {"sections": "x"},
    ],
    ids=str,
)
def test_tokens_that_are_none(browser: Browser, reply: dict[str, Any]) -> None:
    fixtures = Fixtures({"token": reply}, {"globals": GLOBALS})
    with Pages(fixtures) as pages:
        browser.open(f"{pages.url}/page/dsmip/config")
        browser.click("[data-action=wizard]")
        browser.click("[data-action=fill]")
        browser.wait("document.querySelector('#dsmip-wizard-told .error')")
        browser.fill("#dsmip-wizard-token", SCRIPT)
        browser.click("[data-action=fill]")
        browser.wait("document.querySelector('#dsmip-wizard-told .error')")
        browser.wait("!document.querySelector('#modal_overlay .spinning')")
        if "error" in reply:
            assert SCRIPT in browser.text("#dsmip-wizard-told")
        assert fixtures.uci == {"globals": GLOBALS}
        assert browser.evaluate("return window.broken === undefined;")
        assert browser.complaints() == []


def test_hostile_values_of_the_file_are_texts(browser: Browser) -> None:
    text = SCRIPT
    plain = {"identity": text, "name": text, "domain": text, "uplinks": [text], text: text}
    values = {
        f"s{at}": {".type": kind, ".name": f"s{at}", ".index": at, **plain}
        for at, kind in enumerate(
            ("mobile_router", "home_agent", "ike", "dns_update", "uplink", "flow", "peer", "prefix")
        )
    }
    fixtures = Fixtures({"check": {"faults": [text, {"x": text}]}}, {"globals": GLOBALS, **values})
    with Pages(fixtures) as pages:
        browser.open(f"{pages.url}/page/dsmip/config")
        for kind in ("uplink", "flow", "peer"):
            tab(browser, kind)
            assert text in browser.text(f"#cbi-dsmip-{kind}")
            browser.click(f"#cbi-dsmip-{kind} tr .cbi-button-edit")
            browser.wait("document.querySelector('#modal_overlay [data-name=_rest]')")
            browser.click("#modal_overlay .button-row .btn:first-child")
            browser.wait("!document.body.classList.contains('modal-overlay-active')")
        assert (
            browser.evaluate("return document.querySelectorAll('#maincontent img[src=x]').length;")
            == 0
        )
        assert browser.evaluate("return window.broken === undefined;")
        assert browser.complaints() == []


def test_roles_are_added(browser: Browser) -> None:
    fixtures = Fixtures({}, {"globals": GLOBALS})
    with Pages(fixtures) as pages:
        browser.open(f"{pages.url}/page/dsmip/config")
        assert browser.evaluate("return !document.querySelector('[data-tab=home_agent]');")
        browser.click("[data-action=agent]")
        browser.wait("document.querySelector('li[data-tab=home_agent]')")
        tab(browser, "home_agent")
        assert browser.evaluate("return !document.querySelector('[data-action=agent]');")
        assert browser.evaluate("return !!document.querySelector('[data-action=router]');")
        save(browser)
        assert [one[".type"] for one in fixtures.uci.values()].count("home_agent") == 1
        assert browser.complaints() == []


def test_a_role_is_switched_on_and_off(browser: Browser) -> None:
    """The package of the home agent brings a section that is off."""
    agent = {".type": "home_agent", ".name": "agent", ".index": 1, "enabled": "0"}
    fixtures = Fixtures({}, {"globals": GLOBALS, "agent": agent})
    with Pages(fixtures) as pages:
        for expected in (None, "0"):
            browser.open(f"{pages.url}/page/dsmip/config")
            tab(browser, "home_agent")
            browser.click("[id$='dsmip.agent.enabled'], [data-name=enabled] [id*='dsmip.agent']")
            save(browser)
            assert fixtures.uci["agent"].get("enabled") == expected
        assert browser.complaints() == []


def test_read_only_users_change_nothing(browser: Browser) -> None:
    fixtures = Fixtures({}, CONFIGURATION)
    with Pages(fixtures) as pages:
        browser.open(f"{pages.url}/page/dsmip/config?readonly=1")
        enabled = browser.evaluate(
            "return Array.from(document.querySelectorAll('[data-action], .cbi-page-actions button,"
            " .cbi-section-create button, .cbi-section-remove button'), (one) => one.disabled)"
            ".filter((disabled) => !disabled).length;"
        )
        assert enabled == 0
        assert browser.complaints() == []


def test_protocol_of_network_interfaces(browser: Browser) -> None:
    """Its fields under Network, Interfaces are those that the protocol's script takes."""
    with Pages(Fixtures({})) as pages:
        browser.open(f"{pages.url}/page/dsmip/config")
        found = browser.evaluate(
            """
            const names = [ 'network', 'form', 'protocol.dsmip' ];
            const [ network, form ] = await Promise.all(names.map((name) => L.require(name)));
            const it = network.getProtocol('dsmip', 'mobile');
            const m = new form.Map('network');
            const s = m.section(form.NamedSection, 'mobile', 'interface');
            s.tab('general', 'General'); s.tab('advanced', 'Advanced');
            it.renderFormOptions(s);
            const node = await m.render();
            document.querySelector('#view').appendChild(node);
            return [ it.getI18n(), it.isFloating(), it.isVirtual(), it.getPackageName(),
                Array.from(node.querySelectorAll('.cbi-value'), (one) => one.dataset.name) ];
            """
        )
        assert found[:4] == ["Mobile IPv6 (dsmip)", True, True, "dsmip"]
        script = (ROOT / "package" / "dsmip" / "files" / "dsmip.proto.sh").read_text()
        taken = set(re.findall(r"proto_config_add_\w+ (\w+)", script))
        assert {name for name in found[4] if not name.startswith("_")} == taken
        assert browser.complaints() == []


def test_the_menu_is_made_anew_when_a_role_is_new(
    browser: Browser, served: tuple[Fixtures, str]
) -> None:
    """LuCI keeps its menu in the browser; a role that was applied has a page in it."""
    _, url = served
    browser.open(f"{url}/page/dsmip/config")
    browser.evaluate(
        "const ui = await L.require('ui'); ui.menu.flushCache = () => window.flushed = true;"
    )
    browser.evaluate("document.dispatchEvent(new CustomEvent('uci-applied'));")
    browser.wait("window.flushed", 3000)
