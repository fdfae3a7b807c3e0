# SPDX-License-Identifier: GPL-2.0-only
"""A home agent's and a mobile router's daemon on the standard topology."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from typing import Any

from .topology import (
    CN4,
    CN6,
    HA4,
    HA6,
    HOA,
    HOA4,
    HOME,
    LAN4,
    LAN6,
    NET4,
    NET6,
    Process,
    Topology,
    wait_for,
)

IDENTITY = "bus-17"
KEY = "8f1d0c3ab5e27694d0f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f7"
AGENT_IDENTITY = "ha.example.net"
PSK = "0x" + KEY

#: Options that give the router's entry keys from IKEv2 instead of static ones.
IKEV2: Mapping[str, Any] = {"static_key": None, "keys": "ikev2", "psk": PSK}

#: Where each interface of the router leads, unless a scenario says otherwise.
UPLINKS = {"wan0": "v6", "wan1": "v4", "wan2": "nat", "wan3": HOME}
NETWORK_OF = {network: wan for wan, network in UPLINKS.items()}


def _toml(values: Mapping[str, Any]) -> str:
    def value(given: Any) -> str:
        if isinstance(given, bool):
            return str(given).lower()
        if isinstance(given, str):
            return f'"{given}"'
        if isinstance(given, (list, tuple)):
            return f"[{', '.join(value(item) for item in given)}]"
        return str(given)

    return "".join(f"{name} = {value(given)}\n" for name, given in values.items())


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: option for name, option in values.items() if option is not None}


def _ike(values: Mapping[str, Any] | None) -> str:
    return f"[ike]\n{_toml(values)}" if values else ""


def agent_configuration(
    net: Topology,
    *,
    router: Mapping[str, Any] | None = None,
    more: str = "",
    ike: Mapping[str, Any] | None = None,
    keep_state: bool = True,
    **options: Any,
) -> str:
    """Return the home agent's configuration; ``router`` changes the router's entry.

    An option that is None is left out; ``ike`` is the section of that name.
    """
    agent: dict[str, Any] = {
        "addresses": [HA6, HA4],
        "interface": "home",
        "prefixes": ["2001:db8:1::/64", "198.51.100.0/24"],
        "lifetime": 120,
    }
    entry: dict[str, Any] = {
        "identity": IDENTITY,
        "home_address": HOA,
        "home_address4": HOA4,
        "prefixes": [NET6, NET4],
        "static_key": KEY,
    }
    common = {
        "socket": net.socket("ha"),
        "state": str(net.directory / "ha-state"),
        "keep_state": keep_state,
    }
    entry = _given(entry | dict(router or {}))
    return (
        f"[globals]\n{_toml(common)}{_ike(ike)}[home_agent]\n{_toml(_given(agent | options))}"
        f"[[home_agent.router]]\n{_toml(entry)}{more}"
    )


def router_configuration(
    net: Topology,
    *,
    uplinks: Mapping[str, str] = UPLINKS,
    ike: Mapping[str, Any] | None = None,
    keep_state: bool = True,
    **options: Any,
) -> str:
    """Return the mobile router's configuration; an option that is None is left out."""
    router: dict[str, Any] = {
        "identity": IDENTITY,
        "home_address": HOA,
        "home_prefix": "2001:db8:1::/64",
        "home_address4": HOA4,
        "home_agent": [HA6, HA4],
        "prefixes": [NET6, NET4],
        "lifetime": 120,
        "lan": ["lan0"],
        "static_key": KEY,
    } | options
    common = {
        "socket": net.socket("mr"),
        "state": str(net.directory / "mr-state"),
        "keep_state": keep_state,
    }
    text = f"[globals]\n{_toml(common)}{_ike(ike)}[mobile_router]\n{_toml(_given(router))}"
    for wan, name in uplinks.items():
        text += f"[[mobile_router.uplink]]\n{_toml({'interface': wan, 'name': name})}"
    return text


class Pair:
    """Both daemons; ``agent`` and ``router`` are configurations, the usual ones if empty."""

    def __init__(self, net: Topology, agent: str = "", router: str = "") -> None:
        self.net = net
        self.configurations = {
            "ha": agent or agent_configuration(net),
            "mr": router or router_configuration(net),
        }
        self.processes: dict[str, Process] = {}

    def start(self, *only: str) -> Pair:
        """Start both, or one of them, and wait until they answer."""
        for who in only or self.configurations:
            self.launch(who)
        for who in only or self.configurations:
            self.answers(who)
        return self

    def launch(self, who: str) -> None:
        """Start one without waiting for it."""
        self.processes[who] = self.net.daemon(who, self.configurations[who])

    def answers(self, who: str) -> None:
        """Wait until a daemon answers; fail at once when it has ended."""

        def there() -> bool:
            ended = self.processes[who].poll()
            assert ended is None, f"the daemon of {who} ended with {ended}:\n{self.net.log(who)}"
            return bool(self.net.ask(who, "status"))

        wait_for(there, 180, f"the daemon of {who}")

    def kill(self, who: str, how: int = signal.SIGKILL) -> None:
        """End a daemon."""
        self.net.stop(self.processes[who], how)

    def restart(self, who: str) -> None:
        """Start a daemon again after it was killed."""
        self.launch(who)
        self.answers(who)

    def reconfigure(self, who: str, text: str) -> None:
        """Write another configuration and have it taken."""
        self.configurations[who] = text
        (self.net.directory / f"{who}.toml").write_text(text)
        self.net.ask(who, "reload")

    def router(self) -> dict[str, Any]:
        """Return the mobile router's part of its status."""
        return dict(self.net.ask("mr", "status")["mobile_router"])

    def binding(self) -> dict[str, Any] | None:
        """Return the home agent's only binding, None when it has none."""
        found = self.net.ask("ha", "bindings")["bindings"]
        assert len(found) <= 1
        return dict(found[0]) if found else None

    def held(self) -> list[tuple[object, ...]]:
        """Return what of the bindings must be the same before and after a restart."""
        names = ("identity", "home_address", "home_address4", "care_of", "prefixes", "sequence")
        found = self.net.ask("ha", "bindings")["bindings"]
        return [tuple(str(binding[name]) for name in names) for binding in found]

    def counter(self, name: str) -> int:
        """Return one of the home agent's counters."""
        return int(self.net.ask("ha", "status")["home_agent"]["counters"].get(name, 0))

    def settled(self, network: str, seconds: float = 30) -> dict[str, Any]:
        """Wait until the router is registered, or at home, by an uplink; return its status."""
        want = "At home" if network == HOME else "Roaming"

        def reached() -> dict[str, Any] | None:
            router = self.router()
            return router if router["state"] == want and router["uplink"] == network else None

        found: dict[str, Any] = wait_for(reached, seconds, f"{want} by {network}")
        return found

    def unheard(self) -> None:
        """Wait until the router repeats its update; fail if the home agent has taken any."""
        wait_for(lambda: self.router()["attempts"] >= 2, 20, "a retransmission")
        assert self.binding() is None
        assert self.counter("mh_received") == 0

    def wait_state(self, word: str, seconds: float = 30) -> None:
        """Wait until the router says that it is in a state."""
        wait_for(lambda: self.router()["state"] == word, seconds, word)


def reaches(net: Topology, namespace: str, address: str) -> bool:
    """Tell whether a ping is answered; the first may wait for neighbours."""
    command = ["ping", "-n", "-q", "-c", "3", "-i", "0.2", "-W", "2", address]
    return re.search(r" [123] received", net.run(namespace, command, check=False)) is not None


def all_ways(net: Topology) -> list[bool]:
    """Return whether the mobile network is reached, and reaches, in both families."""
    ways = (("cn", LAN6), ("cn", LAN4), ("lan", CN6), ("lan", CN4), ("cn", HOA))
    return [reaches(net, *way) for way in ways]
