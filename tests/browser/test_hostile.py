# SPDX-License-Identifier: GPL-2.0-only
"""The status pages before daemons that are away, slow, of another version, or told evil names."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.browser.browser import Browser
from tests.browser.documents import agent, travelling
from tests.browser.server import Fixtures, Pages
from tests.browser.test_status import HOSTILE, clean


def test_daemon_goes_and_comes_back(browser: Browser, served: tuple[Fixtures, str]) -> None:
    fixtures, url = served
    browser.open(f"{url}/page/dsmip/router")
    fixtures.dead = True
    browser.wait("document.querySelector('.dsmip-absent')", 9000)
    assert "/etc/init.d/dsmip" in browser.text(".dsmip-absent")
    assert "2001:db8:1::100" in browser.text("#dsmip-binding"), "what was known stays"
    fixtures.dead = False
    browser.wait("!document.querySelector('.dsmip-absent')", 5000)
    clean(browser)


def test_no_daemon_from_the_beginning(browser: Browser, served: tuple[Fixtures, str]) -> None:
    fixtures, url = served
    fixtures.dead = True
    for view in ("router", "agent"):
        browser.open(f"{url}/page/dsmip/{view}")
        assert "/etc/init.d/dsmip" in browser.text(".dsmip-absent")
    fixtures.dead = False
    browser.wait("!document.querySelector('.dsmip-absent .dsmip-absent')", 1000)


def test_who_has_no_router_yet_is_led_to_the_form(
    browser: Browser, served: tuple[Fixtures, str]
) -> None:
    fixtures, url = served
    del fixtures.documents["status"]["mobile_router"]
    browser.open(f"{url}/page/dsmip/router")
    browser.wait("document.querySelector('#view .alert-message a')", 5000)
    assert "no mobile router" in browser.text("#view .alert-message")
    link = "return document.querySelector('#view .alert-message a').getAttribute('href');"
    assert browser.evaluate(link).endswith("/admin/services/dsmip")


def test_a_slow_daemon_is_asked_once_at_a_time(
    browser: Browser, served: tuple[Fixtures, str]
) -> None:
    fixtures, url = served
    browser.open(f"{url}/page/dsmip/router")
    fixtures.delay = 2.0
    before = len(fixtures.calls)
    time.sleep(5)
    assert len(fixtures.calls) - before <= 6
    clean(browser)


@pytest.mark.parametrize("view", ["router", "agent"])
def test_hostile_texts_are_texts(browser: Browser, view: str) -> None:
    fixtures = Fixtures({})
    with Pages(fixtures) as pages:
        for number, text in enumerate(HOSTILE):
            documents = agent(3) if view == "agent" else travelling()
            _poison(documents, text)
            fixtures.documents = documents
            if number == 0 or view == "agent":
                browser.open(f"{pages.url}/page/dsmip/{view}")
            else:
                # The page is open already when it is told.
                browser.evaluate("document.dispatchEvent(new Event('visibilitychange'));")
            expected = json.dumps(text[:60])
            browser.wait(f"document.querySelector('#view').textContent.includes({expected})", 3000)
            assert (
                browser.evaluate(
                    "return document.querySelectorAll('#view img, #view script').length;"
                )
                == 0
            )
            clean(browser)


def _poison(value: Any, text: str) -> None:
    """Put a text in the place of every name that comes from elsewhere."""
    if isinstance(value, list):
        for one in value:
            _poison(one, text)
    elif isinstance(value, dict):
        for key, one in value.items():
            if key in (
                "identity",
                "name",
                "reason",
                "problem",
                "why_not",
                "stalled",
                "operator",
                "technology",
                "event",
                "from",
                "to",
                "interface",
            ) and isinstance(one, str):
                value[key] = text
            else:
                _poison(one, text)


@pytest.mark.parametrize("other", [None, "text", 7, [], {}, [None]], ids=repr)
@pytest.mark.parametrize("view", ["router", "agent"])
def test_missing_and_mistyped_fields(browser: Browser, view: str, other: Any) -> None:
    documents = agent(2) if view == "agent" else travelling()
    part = "home_agent" if view == "agent" else "mobile_router"
    with Pages(Fixtures(documents)) as pages:
        fixtures = pages.answer
        assert isinstance(fixtures, Fixtures)
        whole = documents["status"]
        if view == "router":
            # Each field of an uplink and of a handover is wrong in one of them.
            for rows in (whole["uplinks"], documents["history"]["handovers"]):
                for at, name in enumerate(sorted(rows[0])):
                    rows[at % len(rows)][name] = other
        fixtures.documents |= {"history": documents.get("history"), "status": whole}
        whole[part] = dict.fromkeys(whole[part], other)
        browser.open(f"{pages.url}/page/dsmip/{view}")
        assert browser.complaints() == []
        assert browser.evaluate("return !document.querySelector('#view .alert-message.error');")
        # And each field of the rest alone, while the page is open.
        whole[part] = (agent(2) if view == "agent" else travelling())["status"][part]
        for name in list(whole[part]):
            before, whole[part][name] = whole[part][name], other
            fixtures.documents["status"] = whole
            browser.evaluate("document.dispatchEvent(new Event('visibilitychange'));")
            time.sleep(0.05)
            assert browser.complaints() == [], name
            whole[part][name] = before


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"uplinks": None},
        {"mobile_router": {}},
        {"mobile_router": {}, "uplinks": [{}]},
        {"mobile_router": {}, "uplinks": {}, "time": "x"},
    ],
)
def test_documents_of_another_version(browser: Browser, broken: dict[str, Any]) -> None:
    with Pages(Fixtures({"status": broken, "history": {}})) as pages:
        browser.open(f"{pages.url}/page/dsmip/router")
        time.sleep(0.2)
        assert browser.complaints() == []
        assert browser.text("#view").strip()


def test_clock_skew_is_a_fault_with_a_cure(browser: Browser, served: tuple[Fixtures, str]) -> None:
    fixtures, url = served
    fixtures.documents["status"]["time"] = time.time()
    browser.open(f"{url}/page/dsmip/router")
    assert browser.evaluate("return !document.querySelector('[data-fault=clock]');")
    fixtures.documents["status"]["time"] = time.time() - 86400
    browser.wait("document.querySelector('[data-fault=clock]')", 3000)
    assert "NTP" in browser.text("[data-fault=clock]")
