# SPDX-License-Identifier: GPL-2.0-only
"""Documents for the pages: those of real daemons, and what is made of them."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parent / "fixtures"


def document(name: str) -> dict[str, Any]:
    """Return what a daemon said; ``fixtures/`` was written by its control socket."""
    return dict(json.loads((FIXTURES / f"{name}.json").read_text()))


def router() -> dict[str, Any]:
    """Return the answers at a mobile router."""
    return {
        "status": document("router-status"),
        "history": document("router-history"),
        "samples": document("router-samples"),
    }


def travelling() -> dict[str, Any]:
    """Return the answers at a router with much to tell: portal, stalled modem, signal, data."""
    documents = router()
    now = documents["status"]["time"]
    v6, v4, nat, home = documents["status"]["uplinks"]
    plain = {"held": False, "metered": False, "cost": 0, "signal": None, "portal": ""}
    plain |= {"stalled": "", "restarts": 0}
    for uplink, used in ((v6, 7 << 20), (v4, 0), (nat, 3 << 30), (home, 1 << 40)):
        uplink |= plain | {"used": {"rx_bytes": used, "tx_bytes": used // 9, "since": now - 9e5}}
    v6 |= {"carrier": True, "addresses": ["2001:db8:a6::7823"], "gateways": ["fe80::1"]}
    v6 |= {"portal": "http://portal.example/login?session=abc123"}
    v6 |= {"why_not": f"portal login needed: {v6['portal']}"}
    v4 |= {"carrier": True, "addresses": ["10.64.7.9"], "gateways": ["10.64.7.1"], "metered": True}
    v4 |= {"stalled": "stalled, restarted 2 times, again in 4 min", "restarts": 2, "cost": 2}
    v4 |= {"why_not": v4["stalled"]}
    v4["signal"] = {"quality": 31, "technology": "lte", "operator": "Example", "rsrp": -109.0}
    nat["signal"] = {"quality": 78, "technology": "5g", "operator": "Sample", "rsrp": -88.0}
    nat["signal"] |= {"snr": 17.2}
    nat["metered"] = True
    path = {"bid": 2, "uplink": "nat", "state": "registered", "active": True, "nat": True}
    path |= {"rank": 1, "priority": 0, "rtt_ms": 31.4, "loss_percent": 0.0, "why_not": ""}
    nat["registrations"] = [path]
    nat |= {"rtt_ms": 31.4, "loss_percent": 0.0}
    home |= {"carrier": True, "addresses": ["192.0.2.20"], "gateways": ["192.0.2.1"]}
    home |= {"why_not": "standby"}
    other = path | {"bid": 4, "uplink": "home", "active": False, "nat": False, "rank": 2}
    home["registrations"] = [other | {"rtt_ms": 12.0, "loss_percent": 1.5}]
    home |= {"rtt_ms": 12.0, "loss_percent": 1.5}
    home["paths"] = [nat["paths"][1] | {"active": False, "local": "192.0.2.20"}]
    documents["status"]["mobile_router"]["nat"] = True
    base = documents["history"]["handovers"][0]
    nothing = {"phases_ms": {}, "gap_ms": None, "packets_lost": None, "kind": "", "care_of": ""}
    for event, uplink, reason in (
        ("restart", "v4", "v4 stalled: interface restarted"),
        ("restart", "v4", "v4 stalled: interface restarted, number 2"),
        ("portal", "v6", f"v6: portal login needed at {v6['portal']}"),
    ):
        number = len(documents["history"]["handovers"]) + 1
        documents["history"]["handovers"].append(
            base
            | nothing
            | {"event": event, "from": uplink, "to": uplink, "reason": reason}
            | {"number": number, "time": now - 200 + 20 * number}
        )
    slots = [index % 60 for index in range(300)]
    series = {
        "rx": ",".join(str(90_000 + 900 * slot) for slot in slots),
        "tx": ",".join(str(20_000 + 100 * slot) for slot in slots),
        "rtt_ms": ",".join(str(30 + slot % 7) for slot in slots),
        "loss_percent": ",".join("2" if slot > 55 else "0" for slot in slots),
    }
    documents["samples"] = {"span": "fine", "every": 1, "to": now, "uplinks": {"nat": series}}
    return documents


def current(documents: dict[str, Any]) -> dict[str, Any]:
    """Return a router's answers as if its daemon had given them now."""
    status, handovers = documents["status"], documents["history"]["handovers"]
    later = time.time() - status["time"]
    for one in (status, status["mobile_router"]["last_handover"], *handovers):
        one["time"] += later
    if "samples" in documents:
        documents["samples"]["to"] += later
    return documents


def agent(bindings: int = 1, absent: int = 0) -> dict[str, Any]:
    """Return the answers at a home agent with some routers, and some that are not registered."""
    status, found = document("agent-status"), document("agent-bindings")
    (one,) = found["bindings"]
    rows = []
    for number in range(bindings):
        row = copy.deepcopy(one)
        row["identity"] = f"bus-{number}"
        row["home_address"] = f"2001:db8:1::{number + 0x100:x}"
        row["prefixes"] = [f"2001:db8:{number + 0x100:x}::/56"]
        row["nat"] = number % 3 == 0
        row["care_of"]["kind"] = ("udp4", "ip4", "ip6")[number % 3]
        row["rtt_ms"] = 8.0 + number % 90
        if number % 2:
            row["last_move"] = {
                "time": time.time() - 60 * number,
                "from": "192.0.2.1",
                "to": row["care_of"]["address"],
                "silent_ms": 20 + number,
            }
        if number % 4:
            row["certificate_ends"] = time.time() + (number % 400 - 1) * 86400
        rows.append(row)
    status["home_agent"] |= {"bindings": bindings, "routers": bindings + absent}
    away = [
        {
            "identity": f"tram-{number}",
            "home_address": f"2001:db8:1::1:{number:x}",
            "home_address4": None,
            "prefixes": [f"2001:db8:{number + 0x8000:x}::/56"],
        }
        for number in range(absent)
    ]
    return {
        "status": status,
        "bindings": {"total": bindings, "bindings": rows},
        "absent": {"total": absent, "routers": away},
        "audit": audit(rows[:100]),
    }


def audit(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return an audit in which routers got their prefixes one after the other."""
    entries = [
        {
            "time": time.time() - number,
            "event": ("registered", "changed", "ended")[number % 3],
            "identity": row["identity"],
            "home_address": row["home_address"],
            "home_address4": None,
            "care_of": row["care_of"]["address"] if number % 3 != 2 else "",
            "gained": row["prefixes"] if number % 3 != 2 else [],
            "lost": row["prefixes"] if number % 3 == 2 else [],
        }
        for number, row in enumerate(rows)
    ]
    return {"total": len(entries), "entries": entries}
