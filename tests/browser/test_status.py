# SPDX-License-Identifier: GPL-2.0-only
"""The status pages in a real browser."""

from __future__ import annotations

import csv
import gzip
import io
import json
import time
from pathlib import Path

import pytest

from tests.browser.browser import Browser
from tests.browser.documents import agent, current, router, travelling
from tests.browser.server import APPS, ROOT, WWW, Fixtures, Pages

OUT = ROOT / "build" / ("browser" if WWW is None else "browser-luci")
SCRIPT = "<img src=x onerror=window.broken=1>"
#: Everything that a text in a document may try, where texts of others are shown.
HOSTILE = [
    SCRIPT,
    "</script><script>window.broken=1</script>",
    "%s%h%d",
    "'\"><b>",
    "\u202eabc",
    "x" * 400,
]


def clean(browser: Browser) -> None:
    """Fail on errors in the page and on requests to anywhere else."""
    assert browser.complaints() == []
    assert all(url.startswith(("http://127.0.0.1:", "blob:")) for url in browser.requests())
    assert browser.evaluate("return window.broken === undefined;")


@pytest.mark.parametrize(("width", "height"), [(1200, 900), (390, 844)], ids=["desktop", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("view", ["router", "agent", "config"])
def test_every_page(browser: Browser, view: str, dark: bool, width: int, height: int) -> None:
    documents = agent(30) if view == "agent" else current(travelling())
    configuration = {"globals": {".type": "globals", ".name": "globals", "enabled": "1"}}
    with Pages(Fixtures(documents, configuration)) as pages:
        browser.open(
            f"{pages.url}/page/dsmip/{view}?dark={int(dark)}", width=width, height=height, dark=dark
        )
        if view == "agent":
            browser.wait("document.querySelectorAll('.dsmip-rows')[1].textContent.includes('bus-')")
        browser.screenshot(OUT / f"{view}-{'dark' if dark else 'light'}-{width}.png")
        assert browser.evaluate(
            "return document.documentElement.scrollWidth <= window.innerWidth;"
        ), "wider than the screen"
        clean(browser)


def test_router_tells_what_the_document_says(
    browser: Browser, served: tuple[Fixtures, str]
) -> None:
    fixtures, url = served
    said = fixtures.documents["status"]["mobile_router"]
    browser.open(f"{url}/page/dsmip/router")
    strip = browser.text("#dsmip-strip")
    assert "Roaming" in strip
    assert said["uplink"] in strip
    assert said["home_agent"] in strip
    assert f"{said['last_handover']['gap_ms']:.0f} ms" in strip
    uplinks = browser.text("#dsmip-uplinks")
    for uplink in fixtures.documents["status"]["uplinks"]:
        assert uplink["name"] in uplinks
        assert uplink["why_not"] in uplinks
    binding = browser.text("#dsmip-binding")
    for text in (said["home_address"], *said["prefixes"], str(said["sequence"])):
        assert text in binding
    assert (
        browser.evaluate(
            "return document.querySelectorAll('.dsmip-picture .uplink.active').length;"
        )
        == 1
    )
    history = browser.text("#dsmip-history")
    for handover in fixtures.documents["history"]["handovers"]:
        assert handover["reason"] in history
    clean(browser)


def test_a_handover_shows_without_reload(browser: Browser, served: tuple[Fixtures, str]) -> None:
    fixtures, url = served
    browser.open(f"{url}/page/dsmip/router")
    browser.evaluate("window.same = true;")
    moved = fixtures.documents["status"]["mobile_router"]
    moved["uplink"] = "v6"
    moved["last_handover"] |= {
        "number": 3,
        "from": "nat",
        "to": "v6",
        "gap_ms": 23.0,
        "packets_lost": 0,
    }
    fixtures.documents["history"]["handovers"].append(moved["last_handover"])
    browser.wait("document.querySelector('#dsmip-strip').textContent.includes('23 ms')", 3000)
    assert "0 packets lost" in browser.text("#dsmip-strip")
    assert browser.evaluate("return window.same;")
    clean(browser)


def test_plots_grow_and_carry_marks(browser: Browser, served: tuple[Fixtures, str]) -> None:
    fixtures, url = served
    status, handovers = fixtures.documents["status"], fixtures.documents["history"]["handovers"]
    status["time"] = time.time()
    handovers[-1]["time"] = status["time"] - 60
    browser.open(f"{url}/page/dsmip/router")
    path = status["uplinks"][2]["paths"][0]["traffic"]
    for _ in range(3):
        path["rx_bytes"] += 250_000
        time.sleep(1.1)
    browser.wait(
        "document.querySelectorAll('#dsmip-plots polygon[data-uplink=nat]').length == 1", 5000
    )
    label = browser.evaluate(
        "return Array.from(document.querySelectorAll('#dsmip-plots svg text'))"
        ".map((t) => t.textContent).join(' ');"
    )
    assert "Mbit/s" in label
    assert browser.evaluate("return document.querySelectorAll('#dsmip-plots .mark').length;") >= 1
    clean(browser)


def test_nothing_is_asked_while_nobody_looks(
    browser: Browser, served: tuple[Fixtures, str]
) -> None:
    fixtures, url = served
    browser.open(f"{url}/page/dsmip/router")
    browser.evaluate(
        "Object.defineProperty(document, 'hidden', { value: true, configurable: true });"
        "document.dispatchEvent(new Event('visibilitychange'));"
    )
    time.sleep(1.5)
    asked = len(fixtures.calls)
    time.sleep(2.5)
    assert len(fixtures.calls) == asked
    browser.evaluate(
        "delete document.hidden; document.dispatchEvent(new Event('visibilitychange'));"
    )
    time.sleep(0.5)
    assert len(fixtures.calls) > asked


def test_read_only_users_look_and_do_not_touch(
    browser: Browser, served: tuple[Fixtures, str]
) -> None:
    fixtures, url = served
    browser.open(f"{url}/page/dsmip/router?readonly=1")
    enabled = browser.evaluate(
        "return Array.from(document.querySelectorAll('#dsmip-uplinks button, [data-action]'))"
        ".filter((button) => !button.disabled).map((button) => button.dataset.action);"
    )
    assert enabled == ["diagnostics"]
    browser.evaluate("document.querySelectorAll('#view button').forEach((one) => one.click());")
    time.sleep(0.5)
    told = {method for name, method, _ in fixtures.calls if name == "luci.dsmip"}
    assert told <= {"status", "history", "samples", "check"}


def test_switch_now(browser: Browser, served: tuple[Fixtures, str]) -> None:
    fixtures, url = served
    browser.open(f"{url}/page/dsmip/router")
    assert browser.evaluate(
        "return !document.querySelector('[data-uplink=nat] .cbi-button-action');"
    ), "it is in use"
    switch = "tr[data-uplink=v4] .cbi-button-action"
    # What is redrawn each second is no button: the one that was aimed at is hit.
    browser.evaluate(f"window.button = document.querySelector('{switch}');")
    fixtures.documents["status"]["uplinks"][1] |= {"rtt_ms": 7, "registrations": [{"rank": 4}]}
    browser.wait("document.querySelector('tr[data-uplink=v4]').textContent.includes('7.0 ms')")
    assert browser.evaluate(f"return window.button === document.querySelector('{switch}');")
    browser.click(switch)
    time.sleep(0.5)
    assert ("luci.dsmip", "handover", {"uplink": "v4"}) in fixtures.calls
    fixtures.documents["handover"] = {"error": f"no uplink {SCRIPT}"}
    browser.click("[data-action=choose]")
    browser.wait("document.querySelector('#maincontent > .alert-message.error')", 3000)
    assert SCRIPT in browser.text("#maincontent > .alert-message.error")
    assert fixtures.calls.count(("luci.dsmip", "handover", {"uplink": "auto"})) == 1
    clean(browser)


def test_who_may_not_is_told(browser: Browser, served: tuple[Fixtures, str]) -> None:
    """The rights of a session may end while its page is open: rpcd refuses, the page says so."""
    fixtures, url = served
    browser.open(f"{url}/page/dsmip/router")
    fixtures.denied = {"hold", "failover", "check", "samples"}
    browser.click("[data-action=pause]")
    browser.wait("document.querySelector('#maincontent > .alert-message.error')", 3000)
    assert "Access denied" in browser.text("#maincontent > .alert-message.error")
    browser.click("[data-action=test]")
    browser.click("#modal_overlay .cbi-button-action")
    browser.wait("document.querySelector('#dsmip-failover .error')")
    assert "Access denied" in browser.text("#dsmip-failover .error")
    browser.click("#modal_overlay .right .btn:first-child")
    bundle = json.loads(browser.download("[data-action=diagnostics]")["text"])
    assert "Access denied" in bundle["check"]["error"]
    browser.click("[data-span=coarse]")
    time.sleep(0.5)
    clean(browser)


def test_pause_and_resume(browser: Browser, served: tuple[Fixtures, str]) -> None:
    fixtures, url = served
    uplinks = fixtures.documents["status"]["uplinks"]
    browser.open(f"{url}/page/dsmip/router")
    shown = "return getComputedStyle(document.querySelector(argument)).display != 'none';"
    assert browser.evaluate(shown, "[data-action=pause]")
    assert not browser.evaluate(shown, "[data-action=resume]")
    browser.click("tr[data-uplink=v4] .cbi-button-neutral")
    browser.wait("!document.querySelector('tr[data-uplink=v4] .spinning')")
    assert ("luci.dsmip", "hold", {"uplink": "v4", "held": 1}) in fixtures.calls
    uplinks[1]["held"] = True
    browser.wait("document.querySelector('tr[data-uplink=v4]').textContent.includes('paused')")
    browser.click("tr[data-uplink=v4] .cbi-button-apply")
    browser.wait("!document.querySelector('tr[data-uplink=v4] .spinning')")
    assert ("luci.dsmip", "hold", {"uplink": "v4", "held": 0}) in fixtures.calls
    browser.click("[data-action=pause]")
    browser.wait("!document.querySelector('[data-action=pause].spinning')")
    assert ("luci.dsmip", "hold", {"uplink": "", "held": 1}) in fixtures.calls
    for uplink in uplinks:
        uplink |= {"held": True, "active": False}
    fixtures.documents["status"]["mobile_router"] |= {"state": "No uplink", "uplink": ""}
    browser.wait("document.querySelector('#dsmip-strip').textContent.includes('Paused')")
    assert "Resume" in browser.text("[data-fault=paused]")
    assert not browser.evaluate(shown, "[data-action=pause]")
    browser.click("[data-action=resume]")
    browser.wait("!document.querySelector('[data-action=resume].spinning')")
    assert ("luci.dsmip", "hold", {"uplink": "", "held": 0}) in fixtures.calls
    clean(browser)


def test_failover_is_tested_and_its_gap_shown(browser: Browser) -> None:
    fixtures = Fixtures(travelling())
    history = fixtures.documents["history"]["handovers"]
    after = history[-1]["number"]
    fixtures.documents["failover"] = {"uplink": "nat", "seconds": 10, "after": after}
    with Pages(fixtures) as pages:
        browser.open(f"{pages.url}/page/dsmip/router")
        browser.click("[data-action=test]")
        browser.wait("document.querySelector('#dsmip-failover')")
        assert browser.evaluate("return !document.querySelector('#modal_overlay .warning');")
        browser.select("#modal_overlay select", "10")
        browser.click("#modal_overlay .cbi-button-action")
        browser.wait("document.querySelector('#dsmip-failover .spinning')")
        time.sleep(0.3)
        assert ("luci.dsmip", "failover", {"uplink": "nat", "seconds": 10}) in fixtures.calls
        # What comes first is no answer: an event, and a handover without a packet.
        base = history[1] | {"from": "nat", "to": "home", "packets_lost": 3}
        history += [
            base | {"number": after + 1, "event": "restart", "gap_ms": 1.0},
            base | {"number": after + 2, "gap_ms": None},
        ]
        time.sleep(1.2)
        assert browser.evaluate("return !document.querySelector('.dsmip-gap');")
        history[-1] |= {"gap_ms": 23.4}
        browser.wait("document.querySelector('.dsmip-gap')", 3000)
        told = browser.text("#dsmip-failover")
        assert "23 ms" in told
        assert "3 packets lost" in told
        assert "nat → home" in told
        browser.screenshot(OUT / "failover.png", full=False)
        fixtures.documents["failover"] = {"error": f"a test is under way {SCRIPT}"}
        browser.click("#modal_overlay .cbi-button-action")
        browser.wait("document.querySelector('#dsmip-failover .error')")
        assert SCRIPT in browser.text("#dsmip-failover")
        browser.click("#modal_overlay .right .btn:first-child")
        browser.wait("!document.body.classList.contains('modal-overlay-active')")
        clean(browser)


def test_failover_without_another_uplink_is_warned_of(
    browser: Browser, served: tuple[Fixtures, str]
) -> None:
    _, url = served
    browser.open(f"{url}/page/dsmip/router")
    browser.click("[data-action=test]")
    browser.wait("document.querySelector('#modal_overlay .warning')")
    clean(browser)


def test_uplinks_tell_signal_data_and_why_not(browser: Browser) -> None:
    with Pages(Fixtures(travelling())) as pages:
        browser.open(f"{pages.url}/page/dsmip/router")
        for uplink, texts in (
            ("v6", ("login needed", "a login is needed", "7.0 MiB")),
            ("v4", ("stalled", "metered", "cost 2", "31 %", "Example lte", "RSRP -109 dBm")),
            ("nat", ("active", "metered", "78 %", "31 ms / 0 %", "3.0 GiB", "since")),
            ("home", ("standby", "12 ms / 1.5 %")),
        ):
            row = browser.text(f"tr[data-uplink={uplink}]")
            for text in texts:
                assert text in row, (uplink, text)
        assert "again in 4 min" in browser.text("[data-fault=stalled]")
        history = browser.text("#dsmip-history")
        assert "interface restarted, number 2" in history
        assert browser.evaluate("return document.querySelectorAll('.dsmip-event').length;") == 3
        # Events are no handovers, and the first registration interrupted nothing.
        assert (
            browser.evaluate("return document.querySelectorAll('.dsmip-spark rect').length;") == 1
        )
        clean(browser)


def test_an_uplink_with_the_lans_own_addresses_is_a_fault(
    browser: Browser, served: tuple[Fixtures, str]
) -> None:
    fixtures, url = served
    browser.open(f"{url}/page/dsmip/router")
    assert browser.evaluate("return !document.querySelector('[data-fault=collision]');")
    for address, within in (
        ("203.0.113.14", True),
        ("203.0.113.16", False),
        ("2001:db8:100:7f::1", True),
        ("2001:db8:101::1", False),
        ("2001:db8:100::1%eth0", False),
        ("no address", False),
    ):
        fixtures.documents["status"]["uplinks"][2]["addresses"] = [address]
        browser.evaluate("document.dispatchEvent(new Event('visibilitychange'));")
        browser.wait(
            f"document.querySelector('[data-uplink=nat]').textContent.includes('{address}')"
        )
        found = browser.evaluate("return !!document.querySelector('[data-fault=collision]');")
        assert found is within, address
    clean(browser)


def test_picture_has_a_form_for_phones(browser: Browser) -> None:
    with Pages(Fixtures(travelling())) as pages:
        texts = {}
        for width in (390, 1200):
            browser.open(f"{pages.url}/page/dsmip/router", width=width)
            texts[width] = browser.text("svg.dsmip-picture")
            # Every letter of it has its size: nothing is scaled to less than it should be.
            assert (
                browser.evaluate(
                    "const svg = document.querySelector('svg.dsmip-picture');"
                    "return svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;"
                )
                > 0.8
            )
            assert (
                browser.evaluate(
                    "return document.querySelectorAll('.dsmip-picture .uplink').length;"
                )
                == 4
            )
            for text in ("bus-17", "198.51.100.1", "UDP/IPv4", "1472", "NAT"):
                assert text in texts[width]
        assert "LAN" in texts[1200]
        clean(browser)


@pytest.mark.parametrize(
    ("address", "linked"),
    [
        ("http://portal.example/login", True),
        ("https://portal.example/", True),
        ("javascript:alert(1)", False),
        ("data:text/html,<script>window.broken=1</script>", False),
        ("//portal.example/", False),
        (SCRIPT, False),
    ],
)
def test_portals_are_linked_only_where_a_browser_may_go(
    browser: Browser, address: str, linked: bool
) -> None:
    documents = router()
    documents["status"]["uplinks"][0] |= {"portal": address, "why_not": f"login at {address}"}
    documents["status"]["mobile_router"] |= {"state": "Portal login needed", "uplink": ""}
    with Pages(Fixtures(documents)) as pages:
        browser.open(f"{pages.url}/page/dsmip/router")
        assert "Portal login needed" in browser.text("#dsmip-strip")
        links = browser.evaluate(
            "return Array.from(document.querySelectorAll('#view a[href]'), (a) => [ a.protocol,"
            " a.target, a.rel ]);"
        )
        assert links == (
            [["http:" if "http:" in address else "https:", "_blank", "noopener noreferrer"]] * 3
            if linked
            else []
        )
        assert address in browser.text("#view")
        clean(browser)


def test_day_and_minutes_come_from_the_daemon(browser: Browser) -> None:
    """Also of the time before the page was opened; another clock shifts nothing."""
    fixtures = Fixtures(travelling())
    with Pages(fixtures) as pages:
        browser.open(f"{pages.url}/page/dsmip/router")
        drawn = "document.querySelectorAll('#dsmip-plots polygon[data-uplink=nat]').length == 1"
        browser.wait(drawn, 3000)
        points = browser.evaluate(
            "return document.querySelector('#dsmip-plots polygon[data-uplink=nat]')"
            ".getAttribute('points').split(' ').length / 2;"
        )
        assert points >= 295
        fixtures.documents["samples"] |= {"span": "coarse", "every": 60}
        browser.click("[data-span=coarse]")
        browser.wait("document.querySelector('[data-span=coarse][aria-pressed=true]')")
        browser.wait(drawn, 3000)
        spans = [given["span"] for name, method, given in fixtures.calls if method == "samples"]
        assert spans == ["fine", "coarse"]
        time.sleep(1.5)
        assert browser.evaluate(f"return {drawn};"), "and stays"
        clean(browser)


def test_samples_of_another_version_are_no_plot(browser: Browser) -> None:
    documents = router()
    for uplinks in (None, [], {"nat": None}, {"nat": {"rx": 7}}, {"nat": {"rx": "a,,b", "tx": {}}}):
        documents["samples"] = {"every": "x", "to": None, "uplinks": uplinks}
        with Pages(Fixtures(documents)) as pages:
            browser.open(f"{pages.url}/page/dsmip/router")
            time.sleep(0.2)
            clean(browser)


def test_diagnostics_have_no_secrets(browser: Browser) -> None:
    secrets = {
        "static_key": "5ec2e7" * 8,
        "psk": "SECRET-psk",
        "password": "SECRET-password",
        "ppk": "SECRET-ppk",
        "mn_ha_key": "SECRET-mn-ha",
        "mn_aaa_key": "SECRET-mn-aaa",
        "enc_key": "SECRET-enc",
        "secret": "SECRET-radius",
    }
    configuration = {
        "router": {".type": "mobile_router", ".name": "router", "identity": "bus-17", **secrets},
        "x": {".type": "ike_connection", ".name": "x", "public_key": "PUBLIC", "ppk_id": "NAMED"},
    }
    documents = travelling()
    documents["status"]["keys"][0] |= secrets
    documents["check"] = {"valid": True, "faults": []}
    with Pages(Fixtures(documents, configuration)) as pages:
        browser.open(f"{pages.url}/page/dsmip/router")
        got = browser.download("[data-action=diagnostics]")
        bundle = json.loads(got["text"])
        for value in secrets.values():
            assert value not in got["text"]
        assert "abc123" not in got["text"], "a portal's ticket"
        assert "http://portal.example/login" in got["text"]
        assert bundle["status"]["mobile_router"]["identity"] == "bus-17"
        assert bundle["check"] == {"valid": True, "faults": []}
        assert [one.get("public_key") for one in bundle["configuration"]].count("PUBLIC") == 1
        assert "NAMED" in got["text"]
        assert len(bundle["handovers"]) == len(documents["history"]["handovers"])
        assert got["text"].count("(removed)") >= 2 * len(secrets)
        clean(browser)


def test_exports(browser: Browser, served: tuple[Fixtures, str]) -> None:
    fixtures, url = served
    handovers = fixtures.documents["history"]["handovers"]
    handovers[0]["reason"] = '=HYPERLINK("http://x","y"), "quoted"'
    browser.open(f"{url}/page/dsmip/router")
    got = browser.download("text=Save as CSV")
    rows = list(csv.DictReader(io.StringIO(got["text"])))
    assert len(rows) == len(handovers)
    assert rows[0]["reason"] == "'" + handovers[0]["reason"], "no formula for a spreadsheet"
    assert float(rows[-1]["gap_ms"]) == handovers[-1]["gap_ms"]
    assert json.loads(browser.download("text=Save as JSON")["text"]) == handovers


def test_ten_thousand_routers(browser: Browser) -> None:
    with Pages(Fixtures(agent(10_000))) as pages:
        browser.open(f"{pages.url}/page/dsmip/agent", timeout=60000)
        browser.wait(
            "document.querySelector('#dsmip-found').textContent == '10000 of 10000'", 60000
        )
        assert (
            browser.evaluate("return document.querySelectorAll('.dsmip-rows tbody tr').length;")
            < 200
        )
        took = browser.evaluate(
            """
            const field = document.querySelector('input[type=search]'), times = [];
            const typed = (text) => {
                const start = performance.now();
                field.value = text;
                field.dispatchEvent(new Event('input'));
                document.querySelector('.dsmip-list').getBoundingClientRect();
                return performance.now() - start;
            };
            for (const text of ['b', 'bu', 'bus', 'bus-9', 'bus-99', 'bus-999', 'bus-9999']) {
                const tries = [];
                for (let number = 0; number < 10; number++) {
                    typed('');
                    await new Promise((done) => setTimeout(done, 20));
                    tries.push(typed(text));
                }
                /* The least disturbed is the page's own: other work comes on top. */
                times.push(Math.min(...tries));
            }
            return Math.max(...times);
            """
        )
        assert took < 100
        assert "1 of 10000" in browser.text("#dsmip-found")
        assert "bus-9999" in browser.text(".dsmip-rows")
        (OUT / "filter-ms.txt").write_text(f"{took:.1f}\n")
        browser.fill("input[type=search]", "")
        browser.evaluate(
            "const list = document.querySelector('.dsmip-list');"
            "list.scrollTop = list.scrollHeight;"
            "list.dispatchEvent(new Event('scroll'));"
        )
        browser.wait("document.querySelector('.dsmip-rows').textContent.includes('bus-9999')", 3000)
        browser.select(".dsmip-actions select", "nat")
        assert "3334 of 10000" in browser.text("#dsmip-found")
        browser.fill("input[type=search]", "nobody")
        assert "none matches" in browser.text(".dsmip-rows")
        clean(browser)


def test_right_to_left_and_another_language(browser: Browser, served: tuple[Fixtures, str]) -> None:
    _, url = served
    browser.open(f"{url}/page/dsmip/router?language=de&direction=rtl", width=390, height=844)
    assert "Mobilität" in browser.text("#view h2")
    browser.screenshot(OUT / "router-rtl-de.png")
    # An address is not turned around: its parts stand from left to right.
    assert browser.evaluate(
        "const bdi = Array.from(document.querySelectorAll('#dsmip-binding bdi'))"
        ".find((one) => one.textContent.startsWith('2001:')), text = bdi.firstChild;"
        "const at = (from) => { const range = document.createRange(); range.setStart(text, from);"
        " range.setEnd(text, from + 1); return range.getBoundingClientRect().left; };"
        "return at(0) < at(6);"
    )
    # Of the view alone: the theme itself hides menus far outside.
    assert browser.evaluate(
        "const view = document.querySelector('#view'), box = view.getBoundingClientRect();"
        "return view.scrollWidth <= view.clientWidth && box.left >= 0 && box.right <= innerWidth;"
    )
    clean(browser)


def test_front_page(browser: Browser) -> None:
    for documents, text in ((router(), "Roaming"), (agent(5), "5 of 5")):
        with Pages(Fixtures(documents)) as pages:
            browser.open(f"{pages.url}/page/include/80_dsmip")
            assert text in browser.text("#view")
            clean(browser)


def test_pages_are_small() -> None:
    """All that a page loads of ours, packed as uhttpd would send it."""
    for app in APPS:
        files = [file for file in sorted(app.rglob("*.js")) if file.is_file()]
        shared = [file for file in files if "view" not in file.parts]
        for view in [file for file in files if "view" in file.parts]:
            packed = sum(len(gzip.compress(Path(file).read_bytes())) for file in [*shared, view])
            assert packed < 60_000, view
