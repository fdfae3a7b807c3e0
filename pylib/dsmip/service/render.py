# SPDX-License-Identifier: GPL-2.0-only
"""The status document for people: plain text of at most 80 columns.

Everything shown comes from the document; what does not fit is cut with an
ellipsis, addresses last of all.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

WIDTH: Final = 80
_LABEL: Final = 16
_PHASES: Final = (
    ("address", "addr"),
    ("update_sent", "sent"),
    ("acknowledged", "ack"),
    ("first_packet", "data"),
)

Document = Mapping[str, Any]


def cut(text: str, width: int) -> str:
    """Shorten a text to a width."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def duration(seconds: float | None) -> str:
    """Write a duration in at most two units."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02} h"


def milliseconds(value: float | None) -> str:
    """Write milliseconds so that small ones keep a digit."""
    if value is None:
        return "-"
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def octets(count: int) -> str:
    """Write a number of octets with a binary prefix."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _line(label: str, text: str) -> list[str]:
    body = textwrap.wrap(text, WIDTH - _LABEL, break_on_hyphens=False) or [""]
    first = cut(label, _LABEL - 1).ljust(_LABEL) + body[0]
    return [first, *(" " * _LABEL + more for more in body[1:])]


line = _line


def table(head: Sequence[str], rows: Iterable[Sequence[str]], elastic: int) -> list[str]:
    """Lay out a table; the ``elastic`` column gives way when it is too wide."""
    everything = [list(head), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in everything) for column in range(len(head))]
    excess = sum(widths) + 2 * (len(widths) - 1) - WIDTH
    if excess > 0:
        widths[elastic] = max(widths[elastic] - excess, 4)
    # Identities may be long too; the widest give way in turn.
    while sum(widths) + 2 * (len(widths) - 1) > WIDTH:
        widths[widths.index(max(widths))] -= 1
    return [
        "  ".join(
            cut(cell, width).ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in everything
    ]


def care_of(document: Document | None) -> str:
    """Write a care-of address with its wire kind."""
    if not document:
        return "-"
    port = f" port {document['port']}" if document.get("port") else ""
    return f"{document['address']}{port}"


def status(document: Document) -> list[str]:
    """Render the whole status."""
    device = document["device"]
    lines = [
        cut(
            f"dsmipd {document['version']}, up {duration(document['uptime'])}, "
            f"device {device['name']} port {device['port']}",
            WIDTH,
        )
    ]
    if device.get("data_path") == "portable":
        lines += _line("Data path", "portable: no kernel module, all in UDP, also ip6")
    router = document.get("mobile_router")
    if router:
        lines += ["", *_router(router)]
        if document.get("bootstrap"):
            lines += _bootstrap(document["bootstrap"])
        for life in document.get("home_prefixes") or ():
            lines += _home_prefix(life)
        if document.get("uplinks"):
            lines += ["", *uplinks(document["uplinks"])]
    agent = document.get("home_agent")
    if agent:
        lines += ["", *_agent(agent)]
    if device["drops"]:
        drops = ", ".join(f"{name} {count}" for name, count in device["drops"].items())
        lines += ["", *_line("Dropped packets", drops)]
    return lines


def _router(router: Document) -> list[str]:
    where = router["state"]
    if router["uplink"]:
        where += f" on {router['uplink']}"
    lines = _line("Mobile router", f"{router['identity']}: {where}")
    if router["problem"]:
        lines += _line("Problem", router["problem"])
    if router["care_of"]:
        nat = ", behind NAT" if router["nat"] else ""
        lines += _line("Care-of address", f"{care_of(router['care_of'])} ({router['kind']}{nat})")
    lines += _line("Home agent", router["home_agent"])
    homes = [router["home_address"], router["home_address4"]]
    lines += _line("Home addresses", ", ".join(address for address in homes if address))
    if router["dns_name"]:
        lines += _line(
            "Name in DNS", f"{router['dns_name']}: {router['dns_status'] or 'asked for'}"
        )
    lines += _line("Mobile networks", ", ".join(router["prefixes"]) or "none")
    delegation = router.get("delegation")
    if delegation:
        lines += _line("Delegated", _leases(delegation["leases"]) or "nothing yet")
    if router["lifetime"]:
        refresh = ""
        if router["refresh_in"] is not None:
            refresh = f", refresh in {duration(max(router['refresh_in'], 0))}"
        lines += _line(
            "Binding",
            f"{duration(router['remaining'])} of {duration(router['lifetime'])} left{refresh}, "
            f"sequence {router['sequence']}",
        )
    if router["traffic"]:
        traffic = router["traffic"]
        lines += _line(
            "Traffic",
            f"{octets(traffic['rx_bytes'])} in, {octets(traffic['tx_bytes'])} out",
        )
    if router["protection"] == "none":
        lines += _line("Warning", "signalling is not protected by IPsec, as configured")
    last = router["last_handover"]
    if last:
        lines += _line("Last handover", _summary(last))
    return lines


def _bootstrap(document: Document) -> list[str]:
    """Render how the home agent was found, and when each step was done."""
    asked = document["domain"] or document["asked_name"]
    agents = ", ".join(document["home_agents"])
    where = f"{document['home_agent_name']} ({agents})" if agents else document["state"]
    how = f", {document['found_by']}" if document["found_by"] else ""
    lines = _line("Bootstrapping", f"{asked}: {where}{how}")
    for step in document["steps"]:
        said = f"failed: {step['text']}" if step["failed"] else step["text"]
        lines += _line(f"  {step['seconds']:.2f} s", f"{step['step']}: {said}")
    if document["problem"]:
        again = document["retry_in"]
        when = "" if again is None else f", again in {duration(again)}"
        lines += _line("  problem", f"{document['problem']}{when}")
    return lines


def _leases(leases: Sequence[Document]) -> str:
    return ", ".join(
        f"{one['prefix']} for {'ever' if one['valid'] is None else duration(one['valid'])}"
        for one in leases
    )


def _home_prefix(life: Document) -> list[str]:
    """Write a home prefix and how long the home address in it may be used."""
    valid = "for ever" if life["valid"] is None else f"for {duration(life['valid'])}"
    if life["preferred"] == 0:
        valid += ", deprecated"
    used = " (in use)" if life["first"] else ""
    return _line("Home prefix", f"{life['prefix']}: {life['home_address'] or '-'}{used}, {valid}")


def _summary(record: Document) -> str:
    gap = record["gap_ms"]
    parts = [
        time.strftime("%H:%M:%S", time.localtime(record["time"])),
        f"{record['from'] or '-'} -> {record['to'] or '-'}",
        f"gap {milliseconds(gap)} ms" if gap is not None else "no packet yet",
    ]
    if record["packets_lost"] is not None:
        parts.append(f"{record['packets_lost']} packets lost")
    return ", ".join(parts) + (f" ({record['reason']})" if record["reason"] else "")


def _agent(agent: Document) -> list[str]:
    lines = _line("Home agent", ", ".join(agent["addresses"]))
    lines += _line("Home link", agent["interface"] or "virtual")
    lines += _line("Home prefixes", ", ".join(agent["prefixes"]))
    lines += _line("Bindings", f"{agent['bindings']} of {agent['routers']} routers")
    if agent.get("delegated_prefixes"):
        lines += _line("Delegated", f"{agent['delegated_prefixes']} prefixes")
    if agent["dns"]:
        dns = agent["dns"]
        lines += _line("Names in DNS", f"{len(dns['names'])} in {dns['zone']} at {dns['server']}")
    counters = agent["counters"]
    accepted = counters.get("bu_accepted", 0)
    refused = sum(count for name, count in counters.items() if name.startswith("bu_refused_"))
    return lines + _line("Updates", f"{accepted} accepted, {refused} refused")


def uplinks(documents: Sequence[Document], flows: Sequence[Document] = ()) -> list[str]:
    """Render the uplinks, one line each and one for each further address, and flows."""
    rows = []
    for uplink in documents:
        state = "active" if uplink["active"] else uplink["why_not"]
        if uplink["at_home"]:
            state += ", home link"
        addresses = uplink["addresses"] or ["-"]
        name, interface = uplink["name"], uplink["interface"]
        rows.append([name, interface, str(uplink["priority"]), state, addresses[0]])
        rows += [["", "", "", "", address] for address in addresses[1:]]
    if not rows:
        return ["No uplinks are configured."]
    lines = table(("UPLINK", "INTERFACE", "PRIO", "STATE", "ADDRESSES"), rows, elastic=3)
    facts = [(str(uplink["name"]), _facts(uplink)) for uplink in documents]
    if any(said for _name, said in facts):
        lines += ["", *(one for name, said in facts if said for one in _line(name, said))]
    paths = [path for uplink in documents for path in uplink.get("registrations", ())]
    lines += ["", *_registrations(paths)] if paths else []
    return lines + (["", *_flows(flows)] if flows else [])


def _facts(uplink: Document) -> str:
    """Write what else is known of an uplink, most important first."""
    parts = []
    if uplink.get("portal"):
        parts.append(f"portal login needed: {uplink['portal']}")
        if uplink.get("login_problem"):
            parts.append(f"not from the LAN: {uplink['login_problem']}")
    if uplink.get("stalled"):
        parts.append(str(uplink["stalled"]))
    if uplink.get("metered"):
        parts.append("metered")
    if uplink.get("cost"):
        parts.append(f"cost class {uplink['cost']}")
    if uplink.get("signal"):
        parts.append(signal(uplink["signal"]))
    used = uplink.get("used")
    if used:
        day = time.strftime("%Y-%m-%d", time.localtime(used["since"]))
        parts.append(f"{octets(used['rx_bytes'])} in, {octets(used['tx_bytes'])} out since {day}")
    return "; ".join(part for part in parts if part)


def signal(document: Document) -> str:
    """Write a modem's signal: "Operator lte, 67 %, RSRP -98 dBm"."""
    named = " ".join(str(document[one]) for one in ("operator", "technology") if one in document)
    parts = [named] if named else []
    if "quality" in document:
        parts.append(f"{document['quality']} %")
    units = (("rssi", "dBm"), ("rsrp", "dBm"), ("rsrq", "dB"), ("snr", "dB"))
    parts += [f"{one.upper()} {document[one]:g} {unit}" for one, unit in units if one in document]
    return ", ".join(parts)


def _flows(documents: Sequence[Document]) -> list[str]:
    """Render flows, and whether the home agent knows of them."""
    rows = []
    for flow in documents:
        state = "bound" if flow["bound"] and flow["active"] else "no uplink, as all else"
        if flow["active"] and not flow["bound"]:
            state = flow["problem"] or "not bound yet"
        rows.append([flow["name"], ", ".join(flow["uplinks"]), state])
    return table(("FLOW", "UPLINKS", "STATE"), rows, elastic=2)


def _registrations(paths: Sequence[Document]) -> list[str]:
    """Render care-of addresses that are registered side by side, best first."""
    rows = []
    for path in sorted(paths, key=lambda path: int(path["rank"])):
        rtt, loss = path["rtt_ms"], path["loss_percent"]
        rows.append(
            [
                str(path["rank"]),
                str(path["bid"]),
                path["uplink"],
                "active" if path["active"] else path["why_not"],
                "-" if rtt is None else f"{milliseconds(rtt)} ms",
                "-" if loss is None else f"{loss:g} %",
                path["kind"] + (", NAT" if path["nat"] else ""),
            ]
        )
    head = ("RANK", "BID", "UPLINK", "STATE", "RTT", "LOST", "KIND")
    return table(head, rows, elastic=3)


def bindings(answer: Document) -> list[str]:
    """Render bindings, a block of three lines each."""
    from . import render_direct

    found = answer["bindings"]
    if not found:
        return ["No bindings."]
    lines: list[str] = []
    for binding in found:
        if lines:
            lines.append("")
        if binding.get("role") in render_direct.ROLES:
            lines += render_direct.binding(binding)
        else:
            lines += _binding(binding)
    if answer["total"] > len(found):
        lines += ["", f"{len(found)} of {answer['total']} bindings shown, --limit shows more"]
    return lines


def absent(answer: Document) -> list[str]:
    """Render routers that are not registered."""
    found = answer["routers"]
    if not found:
        return ["Every router is registered."]
    rows = []
    for one in found:
        first, *more = one["prefixes"] or ["-"]
        rows.append([one["identity"], one["home_address"], first])
        rows += [["", "", prefix] for prefix in more]
    lines = table(("ROUTER", "HOME ADDRESS", "PREFIXES"), rows, elastic=0)
    if answer["total"] > len(found):
        lines += ["", f"{len(found)} of {answer['total']} routers shown, --limit shows more"]
    return lines


def life_and_traffic(binding: Document) -> list[str]:
    """Render what all kinds of bindings have: how long they live, and what they carried."""
    lines = _line(
        "  lifetime",
        f"{duration(binding['remaining'])} of {duration(binding['lifetime'])} left, "
        f"sequence {binding['sequence']}",
    )
    if binding["traffic"]:
        traffic = binding["traffic"]
        lines += _line(
            "  traffic",
            f"{traffic['rx_packets']} packets in ({octets(traffic['rx_bytes'])}), "
            f"{traffic['tx_packets']} out ({octets(traffic['tx_bytes'])})",
        )
    return lines


def _binding(binding: Document) -> list[str]:
    homes = [binding["home_address"], binding["home_address4"]]
    lines = _line(binding["identity"], ", ".join(address for address in homes if address))
    several = [path for path in binding.get("care_of_addresses", ()) if path["bid"]]
    for path in several:
        nat = ", NAT" if path["nat"] else ""
        text = f"{care_of(path['care_of'])} ({path['care_of']['kind']}{nat})"
        lines += _line("  care-of", f"{text}, BID {path['bid']}, preference {path['priority']}")
    if binding["care_of"] and not several:
        kind = binding.get("kind") or binding["care_of"]["kind"]
        nat = ", NAT" if binding["nat"] else ""
        lines += _line("  care-of", f"{care_of(binding['care_of'])} ({kind}{nat})")
    lines += _line("  prefixes", ", ".join(binding["prefixes"]) or "none")
    lines += life_and_traffic(binding)
    move = binding.get("last_move")
    if move:
        when = time.strftime("%m-%d %H:%M:%S", time.localtime(move["time"]))
        silent = move["silent_ms"]
        gap = "" if silent is None else f", nothing heard for {milliseconds(silent)} ms before"
        lines += _line("  last move", f"{when} from {move['from']}{gap}")
    if binding.get("certificate_ends"):
        day = time.strftime("%Y-%m-%d", time.localtime(binding["certificate_ends"]))
        lines += _line("  certificate", f"ends {day}")
    if binding.get("order"):
        lines += _line("  order", f"{binding['order']}, not answered yet")
    if not binding.get("in_kernel", True):
        lines += _line("  warning", "not in the kernel: nothing is forwarded")
    return lines


def history(records: Sequence[Document]) -> list[str]:
    """Render handovers with their phases in milliseconds since the first sign."""
    if not records:
        return ["No handovers yet."]
    rows = []
    for record in records:
        phases = record["phases_ms"]
        route = f"{record['from'] or '-'} > {record['to'] or '-'}"
        if record.get("event"):
            route = f"{record['to']}: {record['event']}"
        kind = record["kind"]
        lost = "-" if record["packets_lost"] is None else str(record["packets_lost"])
        rows.append(
            [
                time.strftime("%m-%d %H:%M:%S", time.localtime(record["time"])),
                f"{route} ({kind})" if kind else route,
                *(milliseconds(phases.get(name)) for name, _head in _PHASES),
                lost,
                record["reason"],
            ]
        )
    head = ("TIME", "HANDOVER", *(head for _name, head in _PHASES), "LOST", "REASON")
    return table(head, rows, elastic=7)


def watch_line(document: Document) -> str:
    """Render a status as one line, for a running log."""
    parts = [time.strftime("%H:%M:%S", time.localtime(document["time"]))]
    router = document.get("mobile_router")
    if router:
        parts.append(f"{router['state']} {router['uplink'] or '-'}")
        if router["care_of"]:
            parts.append(f"{care_of(router['care_of'])} {router['kind']}")
        if router["traffic"]:
            traffic = router["traffic"]
            parts.append(f"in {traffic['rx_packets']} out {traffic['tx_packets']}")
    agent = document.get("home_agent")
    if agent:
        parts.append(f"{agent['bindings']} bindings")
    return cut("  ".join(parts), WIDTH)
