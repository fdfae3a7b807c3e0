# SPDX-License-Identifier: GPL-2.0-only
"""The status page in a real browser, before real daemons, while the router moves.

What LuCI's ubus and rpcd would carry goes by way of the control socket instead.
"""

from __future__ import annotations

import time

from tests.browser.browser import Browser
from tests.browser.server import ROOT, Live, Pages
from tests.lab.pair import AGENT_IDENTITY, IDENTITY, Pair, agent_configuration
from tests.lab.portable import PortableTopology
from tests.lab.topology import HA4, HA6, NET4, NET6, wait_for

OUT = ROOT / "build" / "browser"


def test_the_page_sees_the_router_move(net: PortableTopology) -> None:
    pair = Pair(net).start()
    net.plug("wan0", "v6")
    pair.settled("v6")
    browser = Browser()
    try:
        with Pages(Live(net.socket("mr"))) as pages, Pages(Live(net.socket("ha"))) as agent:
            browser.open(f"{pages.url}/page/dsmip/router")
            strip = browser.text("#dsmip-strip")
            assert "Roaming · v6" in strip
            assert HA6 in strip
            browser.evaluate("window.same = true;")
            net.plug("wan2", "nat")
            net.unplug("wan0")
            pair.settled("nat")
            shown = "document.querySelector('#dsmip-strip').textContent.includes('Roaming · nat')"
            browser.wait(shown, 2000)
            browser.wait(f"document.querySelector('#dsmip-strip').textContent.includes('{HA4}')")
            gap = "document.querySelectorAll('#dsmip-history tbody tr, #dsmip-history tr').length"
            assert browser.evaluate(f"return {gap};") >= 3
            assert browser.evaluate("return window.same;"), "the page was not loaded again"

            # A failover is tested from the page: the preferred uplink is back, and is done without.
            net.plug("wan0", "v6")
            pair.settled("v6")
            browser.wait(shown.replace("nat", "v6"), 3000)
            browser.click("[data-action=test]")
            browser.click("#modal_overlay .cbi-button-action")
            browser.wait("document.querySelector('#dsmip-failover .dsmip-gap')", 15000)
            assert "v6 → nat" in browser.text("#dsmip-failover")
            browser.click("#modal_overlay .right .btn:first-child")
            # What the daemon has sampled meanwhile is drawn, also after the page is opened anew.
            browser.wait("document.querySelector('#dsmip-plots polygon')", 5000)
            net.unplug("wan0")
            pair.settled("nat")

            # The daemon is killed under the page, and comes back.
            pair.kill("mr")
            browser.wait("document.querySelector('.dsmip-absent')", 15000)
            pair.restart("mr")
            browser.wait("!document.querySelector('.dsmip-absent')", 5000)
            pair.settled("nat")
            browser.wait(shown, 3000)
            time.sleep(1.2)
            browser.screenshot(OUT / "live-router.png")
            assert [one for one in browser.complaints() if "Failed to load" not in one] == []

            browser.open(f"{agent.url}/page/dsmip/agent")
            assert IDENTITY in browser.text(".dsmip-rows")
            assert "1 of 1 routers" in browser.text("#dsmip-strip")
            browser.screenshot(OUT / "live-agent.png")
    finally:
        browser.close()


def test_a_router_is_enrolled_and_registers(net: PortableTopology) -> None:
    """From the form to the binding: the token is all that goes from one to the other."""
    whole = agent_configuration(net, identity=AGENT_IDENTITY)
    pair = Pair(net, agent=whole.partition("[[home_agent.router]]")[0]).start("ha")
    browser = Browser()
    try:
        with Pages(Live(net.socket("ha"))) as pages:
            browser.open(f"{pages.url}/page/dsmip/agent")
            browser.wait("document.querySelector('#dsmip-found').textContent == '0 of 0'")
            browser.click("#dsmip-enrol-open")
            browser.fill("#dsmip-enrol-identity", IDENTITY)
            browser.fill("#dsmip-enrol-prefixes", f"{NET6} {NET4}")
            browser.click("#dsmip-enrol .cbi-button-positive")
            browser.wait("document.querySelector('.dsmip-token')")
            warned = browser.evaluate(
                "return document.querySelector('#dsmip-enrol .warning')?.textContent;"
            )
            assert not warned
            assert browser.evaluate("return !!document.querySelector('.dsmip-qr');")
            token = browser.evaluate("return document.querySelector('.dsmip-token').value;")
            browser.screenshot(OUT / "live-enrol.png")
            browser.click("#dsmip-enrol .right button")
            rows = "document.querySelectorAll('.dsmip-rows')"
            browser.wait(f"{rows}[0].textContent.includes('absent')")

            made = net.directory / "made.toml"
            (net.directory / "token").write_text(token)
            words = f"enroll --token @{net.directory / 'token'} --uplink wan0 --lan lan0"
            net.dsmip("mr", *words.split(), "--output", str(made), "--directory", str(made.parent))
            own = f'socket = "{net.socket("mr")}"\nstate = "{net.directory / "mr-state"}"\n'
            pair.configurations["mr"] = f"[globals]\n{own}{made.read_text()}"
            net.plug("wan0", "v6")
            pair.start("mr")
            wait_for(pair.binding, 60, "the enrolled router's binding")

            browser.wait(f"{rows}[0].textContent.includes('online')", 15000)
            browser.wait(f"/\\d ms/.test({rows}[0].textContent)", 15000)
            browser.wait(f"{rows}[1].textContent.includes('registered')", 20000)
            assert all(network in browser.text("#view") for network in (NET6, NET4))
            browser.screenshot(OUT / "live-enrolled.png")
            assert browser.complaints() == []
    finally:
        browser.close()
