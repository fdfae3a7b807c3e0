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
from .protection import handshakes, load_ciphers, pair_with
from .report import Flow, Move, document, table, timeline
from .states import states
from .topology import HA6, HOA, HOME, LAN4, LAN6, OUT, Topology, wait_for
from .traffic import Traffic


class Tour:
    """The story, step by step; ``say`` gets a line at each.

    ``pause`` is how many seconds each step is watched, ``rate`` the UDP packets a
    second of each flow; the transfer is in proportion. ``secure`` is the form of
    payload protection with keys from IKEv2, "" for static keys and signalling
    alone; ``migrate`` whether XFRM_MIGRATE may be used.
    """

    def __init__(
        self,
        net: Topology,
        say: Callable[[str], None],
        pause: float = 4.0,
        rate: float = 100,
        secure: str = "",
        migrate: str = "auto",
    ) -> None:
        self.net = net
        self.secure = secure
        if secure:
            self.pair = pair_with(net, ike={"migrate": migrate}, payload=secure)
        else:
            self.pair = Pair(net)
        self.say = say
        self.pause = pause
        self.rate = rate
        self.moves: list[Move] = []
        self.flows: list[Flow] = []
        self.began = time.monotonic()
        self.first_spis: set[int] = set()
        self.begun = 0

    def run(self) -> None:
        """Make the whole tour."""
        net = self.net
        net.capture("core", "ha")
        self.pair.start()
        net.plug("wan0", "v6")
        self.pair.settled("v6")
        self._tell("the router is registered from the IPv6 network; dsmip status says:\n")
        self.say(textwrap.indent(net.dsmip("mr", "status"), "    "))
        if self.secure:
            wait_for(lambda: len(states(net, "mr")) >= 4, 30, "SAs of the payload")
            self.first_spis = {state.spi for state in states(net, "mr")}
            # An IPv4 address may come first: IKE begins anew from a better one.
            self.begun = self._handshakes()
            self.say(textwrap.indent(net.dsmip("mr", "ike", "status"), "    "))
        traffic = Traffic(net)
        traffic.flow("udp6", LAN6, self.rate)
        traffic.flow("udp4", LAN4, self.rate)
        traffic.transfer("tcp", LAN6, self.rate * 4000)
        time.sleep(3)

        self._move("v6 -> v4", "wan0", "wan1")
        self._move("v4 -> nat", "wan1", "wan2")
        self._move("nat -> v6", "wan2", "wan0")
        if not self.secure:
            self._step("home agent killed", "", self._restart_agent)
        self._move("v6 -> nat", "wan0", "wan2")
        self._step("NAT loses mappings", "", net.nat_forget)
        self._move("nat -> home", "wan2", "wan3")
        if self.secure:
            self._move("home -> v6", "wan3", "wan0")
            self._count_handshakes()
            # Keys never leave the process, so a new one must shake hands again.
            self._step("home agent killed", "", self._restart_agent)
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
        if self.secure and move.wire_kind:
            self._tell_associations()

    def _tell_associations(self) -> None:
        found = [
            state
            for state in states(self.net, "mr")
            if {HOA, HA6} != {state.source, state.destination}
        ]
        for state in found:
            ports = state.encapsulation
            encapsulated = f" in UDP {ports[0]} -> {ports[1]}" if ports else ""
            where = f"{state.source} -> {state.destination}{encapsulated}"
            self._tell(f"  payload SA {state.spi:#010x}: {where}")
        if not found:
            self._tell("  no payload SA between care-of address and home agent")

    def _handshakes(self) -> int:
        return handshakes(self.net.directory / "core-ha.pcap")

    def _count_handshakes(self) -> None:
        count = self._handshakes()
        kept = self.first_spis <= {state.spi for state in states(self.net, "mr")}
        self._tell(
            f"IKE_SA_INIT seen on the wire: {self.begun} before the tour, still {count} after it; "
            f"the kernel's SAs are {'the first ones, moved' if kept else 'NOT the first ones'}"
        )
        if count != self.begun or not kept:
            raise AssertionError(f"{count - self.begun} handshakes, first SAs kept: {kept}")

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
    parser.add_argument("--secure", choices=("inside", "rfc4877"), default="")
    parser.add_argument("--migrate", choices=("auto", "off"), default="auto")
    options = parser.parse_args()
    kernel = Path("/proc/sys/kernel/osrelease").read_text().strip()

    def say(text: str) -> None:
        print(text, flush=True)

    say(f"kernel {kernel}; bringing up home agent, mobile router and five access networks")
    load_module()
    if options.secure:
        load_ciphers()
    with Topology("demo", rtt_ms=options.rtt, executed=True) as net:
        tour = Tour(net, say, secure=options.secure, migrate=options.migrate)
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
