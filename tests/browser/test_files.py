# SPDX-License-Identifier: GPL-2.0-only
"""Texts, menus, rights, the form, and what the harness itself is held to."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.browser.browser import Browser
from tests.browser.documents import router
from tests.browser.server import ROOT, Fixtures, Pages, read_po
from tests.browser.texts import TEMPLATE, found, template

APP = ROOT / "luci-app" / "luci-app-dsmip"
PLUGIN = ROOT / "package" / "dsmip" / "files" / "luci.dsmip"


def test_template_has_all_texts() -> None:
    assert TEMPLATE.read_text() == template(), "python -m tests.browser.texts writes it"


@pytest.mark.parametrize("language", ["de"])
def test_translation_is_complete_and_fits(language: str) -> None:
    words = read_po((APP / "po" / language / "dsmip.po").read_text())
    texts = {text for _, one, many in found() for text in (one, many) if text}
    assert texts <= words.keys(), texts - words.keys()
    for text in texts:
        holes = [sorted(re.findall(r"%[a-z%]", value)) for value in (text, words[text])]
        assert holes[0] == holes[1], text


def test_menu_and_rights_name_what_there_is() -> None:
    menu = json.loads((APP / "root/usr/share/luci/menu.d/luci-app-dsmip.json").read_text())
    views = APP / "htdocs/luci-static/resources/view"
    for entry in menu.values():
        assert (views / f"{entry['action']['path']}.js").is_file()
    (rights,) = json.loads(
        (APP / "root/usr/share/rpcd/acl.d/luci-app-dsmip.json").read_text()
    ).values()
    allowed = {name for way in ("read", "write") for name in rights[way]["ubus"]["luci.dsmip"]}
    used = {
        name
        for file in views.parent.rglob("*.js")
        for name in re.findall(r"object: 'luci\.dsmip', method: '(\w+)'", file.read_text())
    }
    offered = set(re.findall(r"^\t(\w+): \{", PLUGIN.read_text(), re.MULTILINE))
    assert used <= allowed <= offered
    # Who only looks orders nothing, and sees no secret.
    orders = {"handover", "hold", "failover", "enroll", "token", "reload"}
    assert orders == set(rights["write"]["ubus"]["luci.dsmip"])
    assert not orders & set(rights["read"]["ubus"]["luci.dsmip"])


def test_eslint() -> None:
    here = Path(__file__).parent
    command = [str(here / "node_modules/.bin/eslint"), "--config", str(here / "eslint.config.mjs")]
    command += ["luci-app", "tests/browser/harness"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("reply", "want"),
    [
        (
            {"jsonrpc": "2.0", "id": 1, "result": [0, {"mobile_router": {"state": "Roaming"}}]},
            {"mobile_router": {"state": "Roaming"}},
        ),
        ({"jsonrpc": "2.0", "id": 1, "result": [0]}, 0),
        ({"jsonrpc": "2.0", "id": 1, "result": [4]}, 4),
        (
            {"jsonrpc": "2.0", "id": 1, "error": {"code": -32002, "message": "Access denied"}},
            "Access denied",
        ),
    ],
)
def test_harness_reads_replies_as_luci_does(
    browser: Browser, reply: dict[str, Any], want: Any
) -> None:
    """The replies are those of uhttpd's ubus plugin: a status, then what was returned."""
    with Pages(Fixtures(router())) as pages:
        browser.open(f"{pages.url}/page/dsmip/router")
        answered = pages.call

        def call(request: Mapping[str, Any]) -> dict[str, Any]:
            ours = request.get("method") == "call" and request["params"][1] == "luci.dsmip"
            return reply | {"id": request["id"]} if ours else answered(request)

        pages.call = call  # type: ignore[method-assign]
        got = browser.evaluate(
            "const rpc = await L.require('rpc');"
            "const call = rpc.declare({ object: 'luci.dsmip', method: 'status' });"
            "return call().catch((e) => String(e));"
        )
        assert got == want if not isinstance(want, str) else want in got


def test_harness_has_lucis_traps(browser: Browser) -> None:
    """A string as children is markup, in an array it is text; modules are instances."""
    with Pages(Fixtures(router())) as pages:
        browser.open(f"{pages.url}/page/dsmip/router")
        assert browser.evaluate("return E('p', {}, '<b>x</b>').querySelectorAll('b').length;") == 1
        assert (
            browser.evaluate("return E('p', {}, [ '<b>x</b>' ]).querySelectorAll('b').length;") == 0
        )
        assert (
            browser.evaluate("return E('p', { 'disabled': null }).hasAttribute('disabled');")
            is False
        )
        for text, want in (
            ("'%h'.format('<')", "&#60;"),
            ("'%5.1f%%'.format(12.34)", " 12.3%"),
            ("'%t'.format(3725)", "1h 2m 5s"),
            ("'%t'.format(5)", "0h 0m 5s"),
            ("'%t'.format(90061)", "1d 1h 1m 1s"),
            ("'%1024.1mB'.format(2048)", "2.0 KiB"),
            ("'%1024.1mB'.format(512)", "512 B"),
            ("'%1000mB'.format(2048)", "2.05 KB"),
            ("'%d'.format(-1.5)", "-2"),
            ("L.toArray('a b').length", 2),
            ("String(L.hasViewPermission())", "true"),
            ("E('p', {}, [ 1, null, undefined, 'a' ]).textContent", "1a"),
        ):
            assert browser.evaluate(f"return {text};") == want, text
        assert (
            browser.evaluate("return L.require('dsmip.data').then((d) => typeof(d.status));")
            == "function"
        )
        titles = browser.evaluate(
            "const ui = await L.require('ui');"
            "const note = ui.addNotification('<i>x</i>', E('p'), 'warning');"
            "ui.showModal('<i>x</i>', [ E('p', {}, [ '<i>y</i>' ]) ]);"
            "const found = [ note.querySelectorAll('h4 i').length,"
            " document.querySelectorAll('#modal_overlay i').length,"
            " document.body.classList.contains('modal-overlay-active') ];"
            "ui.hideModal(); note.remove();"
            "return found.concat([ document.body.classList.contains('modal-overlay-active') ]);"
        )
        assert titles == [1, 1, True, False]


def test_harness_leaves_failures_to_the_page(browser: Browser) -> None:
    """What a button's or the poll's function fails with, nobody but the console is told."""
    with Pages(Fixtures(router())) as pages:
        browser.open(f"{pages.url}/page/dsmip/router")
        found = browser.evaluate(
            "const ui = await L.require('ui'), told = [];"
            "window.addEventListener('unhandledrejection', (e) => told.push(String(e.reason)));"
            "const fails = () => Promise.reject(new Error('no'));"
            "const button = E('button', { 'click': ui.createHandlerFn(null, fails) });"
            "document.body.appendChild(button); button.click();"
            "const busy = [ button.disabled, button.classList.contains('spinning') ];"
            "await new Promise((done) => setTimeout(done, 100));"
            "button.remove();"
            "return busy.concat([ button.disabled, told.length,"
            " document.querySelectorAll('#maincontent > .alert-message').length ]);"
        )
        assert found == [True, True, False, 1, 0]
