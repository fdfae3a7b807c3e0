# SPDX-License-Identifier: GPL-2.0-only
"""The home agent's page: its routers, and how one is enrolled."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from dsmip.service import printable

from tests.browser.browser import Browser
from tests.browser.documents import agent
from tests.browser.server import Fixtures, Pages
from tests.browser.test_status import HOSTILE, OUT, SCRIPT, clean

TOKEN = "dsmip1-" + "0123456789abcdef" * 12
MATRIX = ["".join(str(one) for one in row) for row in printable.matrix(TOKEN.upper())]
MADE = {
    "identity": "bus-99",
    "home_address": "2001:db8:1::99",
    "prefixes": ["2001:db8:9900::/56", "203.0.113.0/28"],
    "token": TOKEN,
    "expires": 1_900_000_000,
    "files": [],
    "config": "/etc/config/dsmip",
    "qr": MATRIX,
}
ROWS = "return Array.from(document.querySelectorAll('.dsmip-rows')[0].tBodies[0].rows)"
NAMES = f"{ROWS}.map((row) => row.cells[0].textContent).filter((name) => name);"


@pytest.fixture
def served() -> Iterator[tuple[Fixtures, str]]:
    fixtures = Fixtures(agent(6, absent=2) | {"enroll": MADE})
    with Pages(fixtures) as pages:
        yield fixtures, f"{pages.url}/page/dsmip/agent"


def opened(browser: Browser, url: str, more: str = "", **how: Any) -> None:
    browser.open(url + more, **how)
    browser.wait("document.querySelector('#dsmip-found').textContent.includes(' of ')")


def cells(browser: Browser, name: str) -> list[str]:
    found = browser.evaluate(
        f"{ROWS}.filter((row) => row.cells[0].textContent == argument)"
        ".map((row) => Array.from(row.cells).map((cell) => cell.textContent))[0];",
        name,
    )
    return list(found)


def test_a_row_tells_what_the_document_says(browser: Browser, served: tuple[Fixtures, str]) -> None:
    fixtures, url = served
    row = fixtures.documents["bindings"]["bindings"][1]
    opened(browser, url)
    browser.wait("document.querySelector('.dsmip-rows').textContent.includes('9.0 ms')")
    shown = cells(browser, "bus-1")
    assert shown[1] == "online"
    assert row["care_of"]["address"] in shown[2]
    assert shown[3] == "IPv4"
    assert shown[4] == row["prefixes"][0]
    assert shown[5] == "9.0 ms"
    assert shown[7] == "≤ 21 ms"
    assert shown[8] == "ended"
    assert cells(browser, "bus-3")[8] == "1 day"
    assert row["home_address"] in shown[9]
    assert cells(browser, "tram-0")[1:4] == ["absent", "–", "–"]
    assert "6 of 8 routers" in browser.text("#dsmip-strip")
    row["updated_ago"] = row["lifetime"] * 0.8
    browser.wait("document.querySelector('.dsmip-dot.late')", 8000)
    clean(browser)


def test_throughput_of_what_is_seen(browser: Browser, served: tuple[Fixtures, str]) -> None:
    fixtures, url = served
    opened(browser, url)
    traffic = fixtures.documents["bindings"]["bindings"][0]["traffic"]
    for _ in range(8):
        traffic["rx_bytes"] += 500_000
        time.sleep(1)
    browser.wait("document.querySelector('.dsmip-rows').textContent.includes('Mbit/s')", 5000)
    clean(browser)


def test_filter_and_order(browser: Browser, served: tuple[Fixtures, str]) -> None:
    _, url = served
    opened(browser, url)
    assert browser.evaluate(NAMES) == [f"bus-{n}" for n in range(6)] + ["tram-0", "tram-1"]
    browser.click(".dsmip-rows th:nth-child(1) button")
    assert browser.evaluate(NAMES)[:2] == ["tram-1", "tram-0"]
    browser.click(".dsmip-rows th:nth-child(8) button")
    names = browser.evaluate(NAMES)
    assert names[:3] == ["bus-1", "bus-3", "bus-5"]
    browser.click(".dsmip-rows th:nth-child(8) button")
    names = browser.evaluate(NAMES)
    assert names[:3] == ["bus-5", "bus-3", "bus-1"], "what is unknown stays behind"
    assert (
        browser.evaluate("return document.querySelectorAll('th')[7].getAttribute('aria-sort');")
        == "descending"
    )
    for word, expected in (
        ("absent", {"tram-0", "tram-1"}),
        ("udp4", {"bus-0", "bus-3"}),
        ("ends", {"bus-1", "bus-2", "bus-3", "bus-5"}),
        ("late", set()),
        ("online", {f"bus-{number}" for number in range(6)}),
    ):
        browser.select(".dsmip-actions select", word)
        shown = set(browser.evaluate(NAMES)) - {"No router is enrolled, or none matches."}
        assert shown == expected, word
    clean(browser)


def test_who_comes_and_goes(browser: Browser, served: tuple[Fixtures, str]) -> None:
    fixtures, url = served
    opened(browser, url)
    bound, away = fixtures.documents["bindings"]["bindings"], fixtures.documents["absent"]
    gone = bound.pop(2)
    away["routers"].append({"identity": gone["identity"], "home_address": gone["home_address"]})
    browser.wait(
        "Array.from(document.querySelectorAll('.dsmip-rows tr')).some("
        "(row) => row.textContent.includes('bus-2') && row.textContent.includes('absent'))",
        15000,
    )
    away["routers"].clear()
    bound.append(gone)
    browser.wait("!document.querySelector('.dsmip-rows').textContent.includes('tram')", 15000)
    browser.wait("!document.querySelector('.dsmip-dot.absent')", 15000)
    assert browser.evaluate(NAMES) == [f"bus-{number}" for number in range(6)]
    clean(browser)


def test_why_updates_were_refused(browser: Browser, served: tuple[Fixtures, str]) -> None:
    fixtures, url = served
    counters = fixtures.documents["status"]["home_agent"]["counters"]
    counters |= {"bu_refused_142": 3, "bu_refused_135": 17, "bu_refused_199": 1}
    opened(browser, url)
    assert "21 refused" in browser.text(".dsmip-figures")
    rows = browser.evaluate(
        "return Array.from(document.querySelector('#dsmip-refused').rows)"
        ".slice(1).map((row) => Array.from(row.cells).map((cell) => cell.textContent));"
    )
    assert rows == [
        ["17", "135", "old or repeated message"],
        ["3", "142", "prefix of somebody else"],
        ["1", "199", "–"],
    ]
    browser.click("#dsmip-counters summary")
    time.sleep(3.5)
    assert browser.evaluate("return document.querySelector('#dsmip-counters details').open;")
    clean(browser)


def test_pools(browser: Browser, served: tuple[Fixtures, str]) -> None:
    fixtures, url = served
    fixtures.documents["status"]["home_agent"]["pools"] = [
        {"of": "prefixes", "prefix": "2001:db8:100::/40", "length": 56, "size": 65536, "used": 9},
        {"of": "home addresses", "prefix": "::/64", "length": 128, "size": 2**53, "used": 7},
        {"of": SCRIPT, "prefix": SCRIPT, "size": 0, "used": "x"},
    ]
    opened(browser, url)
    shown = browser.text("#dsmip-prefixes")
    assert "2001:db8:100::/40 – 9 of 65536 in use" in shown
    assert "::/64 – 7 in use" in shown
    assert SCRIPT in shown
    clean(browser)


def test_audit(browser: Browser, served: tuple[Fixtures, str]) -> None:
    fixtures, url = served
    opened(browser, url)
    browser.wait("document.querySelectorAll('.dsmip-rows')[1].textContent.includes('bus-0')")
    shown = browser.evaluate(
        "return Array.from(document.querySelectorAll('.dsmip-rows')[1].tBodies[0].rows)"
        ".map((row) => Array.from(row.cells).map((cell) => cell.textContent))[3];"
    )
    entry = fixtures.documents["audit"]["entries"][2]
    assert shown[0] == entry["identity"]
    assert shown[2:5] == ["ended", "–", entry["lost"][0]]
    fixtures.documents["audit"]["entries"].insert(0, entry | {"identity": SCRIPT})
    browser.wait(
        "document.querySelectorAll('.dsmip-rows')[1].textContent.includes('onerror')", 12000
    )
    clean(browser)


# --- enrolment -------------------------------------------------------------------


def drawn(browser: Browser) -> list[str]:
    """Return the modules of the QR code that is drawn."""
    side, path = browser.evaluate(
        "const svg = document.querySelector('.dsmip-qr');"
        "return [ svg.viewBox.baseVal.width, svg.querySelector('path').getAttribute('d') ];"
    )
    size = int(side) - 8
    modules = [["0"] * size for _ in range(size)]
    for x, y, run in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\3z", path):
        for at in range(int(run)):
            assert modules[int(y) - 4][int(x) - 4 + at] == "0", "drawn twice"
            modules[int(y) - 4][int(x) - 4 + at] = "1"
    return ["".join(row) for row in modules]


@pytest.mark.parametrize(("width", "height"), [(1200, 900), (390, 844)], ids=["desktop", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_enrol(
    browser: Browser, served: tuple[Fixtures, str], dark: bool, width: int, height: int
) -> None:
    fixtures, url = served
    opened(browser, url, f"?dark={int(dark)}", width=width, height=height, dark=dark)
    name = f"{'dark' if dark else 'light'}-{width}.png"
    browser.click("#dsmip-enrol-open")
    time.sleep(0.3)  # LuCI's dialogs fade in
    browser.screenshot(OUT / f"enrol-form-{name}")
    for identity, networks, refused in (
        ("", "", "name without spaces"),
        ("two words", "", "name without spaces"),
        ("bus-99", "2001:db8::", "Prefixes look like"),
        ("bus-99", "$(reboot)", "Prefixes look like"),
    ):
        browser.fill("#dsmip-enrol-identity", identity)
        browser.fill("#dsmip-enrol-prefixes", networks)
        browser.click("#dsmip-enrol .cbi-button-positive")
        browser.wait("document.querySelector('#dsmip-enrol-said .error')")
        assert refused in browser.text("#dsmip-enrol-said")
    assert [method for _, method, _ in fixtures.calls if method == "enroll"] == []

    browser.fill("#dsmip-enrol-prefixes", " 2001:db8:9900::/56, 203.0.113.0/28 ")
    browser.select("#dsmip-enrol-payload", "inside")
    browser.click("#dsmip-enrol .cbi-button-positive")
    browser.wait("document.querySelector('.dsmip-qr')")
    asked = [arguments for _, method, arguments in fixtures.calls if method == "enroll"]
    assert asked == [
        {
            "identity": "bus-99",
            "prefixes": "2001:db8:9900::/56, 203.0.113.0/28",
            "payload": "inside",
            "again": 0,
        }
    ]
    assert drawn(browser) == MATRIX
    assert browser.evaluate("return document.querySelector('.dsmip-token').value;") == TOKEN
    assert "2001:db8:1::99" in browser.text("#dsmip-enrol")
    assert browser.evaluate("return document.documentElement.scrollWidth <= window.innerWidth;")
    browser.screenshot(OUT / f"enrol-token-{name}")
    browser.click("#dsmip-enrol .cbi-button-action")
    browser.wait(
        "document.querySelector('#dsmip-enrol .cbi-button-action').textContent == 'Copied'"
    )
    browser.click("#dsmip-enrol .right button")
    assert browser.evaluate("return !document.documentElement.outerHTML.includes(argument);", TOKEN)
    clean(browser)


@pytest.mark.parametrize("text", HOSTILE)
def test_enrolment_that_is_refused_or_odd(
    browser: Browser, served: tuple[Fixtures, str], text: str
) -> None:
    fixtures, url = served
    opened(browser, url)
    browser.click("#dsmip-enrol-open")
    browser.fill("#dsmip-enrol-identity", "bus-99")
    fixtures.documents["enroll"] = {"error": text}
    browser.click("#dsmip-enrol .cbi-button-positive")
    browser.wait("document.querySelector('#dsmip-enrol-said .error')")
    assert text in browser.evaluate(
        "return document.querySelector('#dsmip-enrol-said').textContent;"
    )
    assert browser.evaluate("return document.querySelector('#dsmip-enrol-identity').value;")
    fixtures.documents["enroll"] = {
        "identity": text,
        "token": text,
        "qr": ["01", text],
        "no_qr": text,
        "problem": text,
        "prefixes": text,
        "expires": text,
    }
    browser.click("#dsmip-enrol .cbi-button-positive")
    browser.wait("document.querySelector('.dsmip-token')")
    assert (
        browser.evaluate("return document.querySelectorAll('#dsmip-enrol img, .dsmip-qr').length;")
        == 0
    )
    assert text in browser.evaluate(
        "return document.querySelector('#dsmip-enrol .warning').textContent;"
    )
    clean(browser)


def test_no_daemon_while_enrolling(browser: Browser, served: tuple[Fixtures, str]) -> None:
    fixtures, url = served
    opened(browser, url)
    browser.click("#dsmip-enrol-open")
    browser.fill("#dsmip-enrol-identity", "bus-99")
    fixtures.dead = True
    browser.click("#dsmip-enrol .cbi-button-positive")
    browser.wait("document.querySelector('#dsmip-enrol-said .error')")
    browser.wait("document.querySelector('.dsmip-absent')", 20000)
    assert browser.evaluate(NAMES)[0] == "bus-0", "what was known stays"
    fixtures.dead = False
    browser.wait("!document.querySelector('.dsmip-absent')", 8000)
    clean(browser)


def test_read_only_users_enrol_nobody(browser: Browser, served: tuple[Fixtures, str]) -> None:
    _, url = served
    opened(browser, url, "?readonly=1")
    assert browser.evaluate("return document.querySelector('#dsmip-enrol-open').disabled;")


# --- many routers ----------------------------------------------------------------


def test_pages_come_once_and_then_one_at_a_time(browser: Browser) -> None:
    fixtures = Fixtures(agent(1200, absent=300))
    with Pages(fixtures) as pages:
        opened(browser, f"{pages.url}/page/dsmip/agent")
        browser.wait("document.querySelector('#dsmip-found').textContent == '1500 of 1500'")
        asked = [
            (method, arguments.get("after"))
            for _, method, arguments in fixtures.calls
            if method in ("bindings", "absent")
        ]
        assert len(asked) == len(set(asked)) == 5 + 2, "no page twice"
        before = len(fixtures.calls)
        time.sleep(7)
        methods = [method for _, method, _ in fixtures.calls[before:]]
        assert 1 <= methods.count("bindings") <= 3
        assert 1 <= methods.count("routers") <= 4
        for _, method, arguments in fixtures.calls:
            if method == "routers":
                assert len(arguments["addresses"].split()) <= 100
        clean(browser)


def test_a_list_that_turns_in_circles_ends(browser: Browser) -> None:
    fixtures = Fixtures(agent(3))
    fixtures.documents["absent"] = {"total": 9, "routers": "none", "next": "2001:db8::1"}
    with Pages(fixtures) as pages:
        opened(browser, f"{pages.url}/page/dsmip/agent")
        browser.wait("document.querySelector('#dsmip-found').textContent == '3 of 3'")
        clean(browser)


@pytest.mark.parametrize("other", [None, "text", 7, [], {}], ids=str)
def test_rows_with_missing_and_mistyped_fields(browser: Browser, other: Any) -> None:
    documents = agent(20, absent=3)
    rows = [*documents["bindings"]["bindings"], *documents["absent"]["routers"]]
    names = sorted({name for row in rows for name in row} - {"home_address"})
    for name, row in zip(names, rows, strict=False):
        row[name] = other
    for number, entry in enumerate(documents["audit"]["entries"]):
        entry[list(entry)[number % len(entry)]] = other
    with Pages(Fixtures(documents)) as pages:
        opened(browser, f"{pages.url}/page/dsmip/agent")
        for column in (1, 2, 3, 6, 8, 9):
            browser.click(f".dsmip-rows th:nth-child({column}) button")
        browser.fill("input[type=search]", "bus")
        assert browser.complaints() == []


def test_nothing_is_asked_while_nobody_looks(
    browser: Browser, served: tuple[Fixtures, str]
) -> None:
    fixtures, url = served
    opened(browser, url)
    browser.evaluate(
        "Object.defineProperty(document, 'hidden', { value: true, configurable: true });"
        "document.dispatchEvent(new Event('visibilitychange'));"
    )
    time.sleep(1)
    asked = len(fixtures.calls)
    time.sleep(4)
    assert len(fixtures.calls) == asked
