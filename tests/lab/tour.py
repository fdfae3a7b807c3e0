# SPDX-License-Identifier: GPL-2.0-only
"""A router's tour through every access network while traffic flows.

Run in the lab's machine; ``make demo`` does that and shows what comes out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .kmodlib import load_module
from .pair import UPLINKS, Pair
from .report import Flow, Move, document, table, timeline
from .topology import HOME, LAN4, LAN6, OUT, Topology
from .traffic import Traffic


class Tour:
    """The story, step by step; ``say`` gets a line at each.

    ``pause`` is how many seconds each step is watched, ``rate`` the UDP packets a
    second of each flow; the transfer is in proportion.
    """

    #: ``rate`` is UDP packets a second; the transfer is in proportion.
    def __init__(
        self, net: Topology, say: Callable[[str], None], pause: float = 4.0, rate: float = 100
    ) -> None:
        self.net = net
        self.pair = Pair(net)
        self.say = say
        self.pause = pause
        self.rate = rate
        self.moves: list[Move] = []
        self.flows: list[Flow] = []
        self.began = time.monotonic()

    def run(self) -> None:
        """Make the whole tour."""
        net = self.net
        net.capture("core", "ha")
        self.pair.start()
        net.plug("wan0", "v6")
        self.pair.settled("v6")
        self._tell("the router is registered from the IPv6 network; dsmip status says:\n")
        self.say(textwrap.indent(net.dsmip("mr", "status"), "    "))
        traffic = Traffic(net)
        traffic.flow("udp6", LAN6, self.rate)
        traffic.flow("udp4", LAN4, self.rate)
        traffic.transfer("tcp", LAN6, self.rate * 4000)
        time.sleep(3)

        self._move("v6 -> v4", "wan0", "wan1")
        self._move("v4 -> nat", "wan1", "wan2")
        self._move("nat -> v6", "wan2", "wan0")
        self._step("home agent killed", "", self._restart_agent)
        self._move("v6 -> nat", "wan0", "wan2")
        self._step("NAT loses mappings", "", net.nat_forget)
        self._move("nat -> home", "wan2", "wan3")
        self.flows = traffic.finish()

    # --- steps ---------------------------------------------------------------------

    def _move(self, name: str, old: str, new: str) -> None:
        network = UPLINKS[new]
        self._tell(f"{name}: {old} is unplugged, {new} plugged into {network}")
        start = self.net.roam(old, new, network)
        kind = self.pair.settled(network)["kind"]
        record = self._last_handover()
        move = Move(name, network, start, start, "home" if network == HOME else kind)
        phases = record.get("phases_ms", {})
        began = record.get("time", 0.0) - (time.time() - time.monotonic())
        if "address" in phases:
            move.usable_ms = (began - start) * 1000 + phases["address"]
        if "update_sent" in phases and "address" in phases:
            move.detect_ms = phases["update_sent"] - phases["address"]
        if "update_sent" in phases and "acknowledged" in phases:
            move.update_ms = phases["acknowledged"] - phases["update_sent"]
        self._end(move)

    def _step(self, name: str, network: str, do: Callable[[], Any]) -> None:
        self._tell(name)
        start = time.monotonic()
        do()
        self._end(Move(name, network, start, start))

    def _end(self, move: Move) -> None:
        if move.wire_kind:
            answered = f", acknowledged after {move.update_ms:.0f} ms" if move.update_ms else ""
            self._tell(f"  goes on as {move.wire_kind}{answered}")
        time.sleep(self.pause)
        move.end = time.monotonic()
        self.moves.append(move)

    def _restart_agent(self) -> None:
        before = self.net.dsmip_json("ha", "bindings")
        self.pair.kill("ha")
        self.pair.restart("ha")
        after = self.net.dsmip_json("ha", "bindings")
        same = _identities(before) == _identities(after)
        self._tell(f"  a new one is up, bindings {'as before' if same else 'LOST'}")
        if not same:
            raise AssertionError(f"bindings before {before}, after {after}")

    def _last_handover(self) -> dict[str, Any]:
        records = self.net.ask("mr", "history")["handovers"]
        return dict(records[-1]) if records else {}

    def _tell(self, text: str) -> None:
        self.say(f"{time.monotonic() - self.began:6.1f} s  {text}")

    # --- what came out -----------------------------------------------------------------

    def dead_flows(self) -> list[str]:
        """Return the flows that did not live to the end of the tour."""
        end = self.moves[-1].end if self.moves else time.monotonic()
        return [flow.name for flow in self.flows if not flow.alive_at(end, 2.0)]

    def write(self, directory: Path, kernel: str) -> None:
        """Write report.json, timeline.svg and capture.pcapng."""
        directory.mkdir(parents=True, exist_ok=True)
        figures = document(
            self.moves, self.flows, kernel=kernel, rtt_ms=self.net.rtt_ms, dead=self.dead_flows()
        )
        (directory / "report.json").write_text(json.dumps(figures, indent=1) + "\n")
        title = (
            f"Tour of a mobile router, kernel {kernel}, home agent {self.net.rtt_ms:.0f} ms away"
        )
        (directory / "timeline.svg").write_text(timeline(self.moves, self.flows, title))
        capture = self.net.directory / "core-ha.pcap"
        if capture.exists():
            target = directory / "capture.pcapng"
            subprocess.run(["editcap", "-F", "pcapng", str(capture), str(target)], check=True)


def _identities(bindings: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (b["identity"], b["home_address"], b["care_of"], b["prefixes"])
        for b in bindings["bindings"]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rtt", type=float, default=20, help="ms between core and home agent")
    options = parser.parse_args()
    kernel = Path("/proc/sys/kernel/osrelease").read_text().strip()

    def say(text: str) -> None:
        print(text, flush=True)

    say(f"kernel {kernel}; bringing up home agent, mobile router and five access networks")
    load_module()
    with Topology("demo", rtt_ms=options.rtt) as net:
        tour = Tour(net, say)
        try:
            tour.run()
        except BaseException:
            for who in ("ha", "mr"):
                say(f"--- log of {who}\n{net.log(who)[-3000:]}")
            raise
        say("\n" + table(tour.moves, tour.flows) + "\n")
        tour.write(OUT, kernel)
        dead = tour.dead_flows()
    if dead:
        say(f"did not survive: {', '.join(dead)}")
        sys.exit(1)
    say("all flows are alive")


if __name__ == "__main__":
    main()
