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
    router = document.get("mobile_router")
    if router:
        lines += ["", *_router(router)]
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
    lines += _line("Mobile networks", ", ".join(router["prefixes"]) or "none")
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
    if router["protection"] != "esp":
        lines += _line("Warning", "signalling is not protected by IPsec, as configured")
    last = router["last_handover"]
    if last:
        lines += _line("Last handover", _summary(last))
    return lines


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
    counters = agent["counters"]
    accepted = counters.get("bu_accepted", 0)
    refused = sum(count for name, count in counters.items() if name.startswith("bu_refused_"))
    return lines + _line("Updates", f"{accepted} accepted, {refused} refused")


def uplinks(documents: Sequence[Document]) -> list[str]:
    """Render the uplinks, one line each and one for each further address."""
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
    return table(("UPLINK", "INTERFACE", "PRIO", "STATE", "ADDRESSES"), rows, elastic=3)


def bindings(answer: Document) -> list[str]:
    """Render bindings, a block of three lines each."""
    found = answer["bindings"]
    if not found:
        return ["No bindings."]
    lines: list[str] = []
    for binding in found:
        if lines:
            lines.append("")
        lines += _binding(binding)
    if answer["total"] > len(found):
        lines += ["", f"{len(found)} of {answer['total']} bindings shown, --limit shows more"]
    return lines


def _binding(binding: Document) -> list[str]:
    homes = [binding["home_address"], binding["home_address4"]]
    lines = _line(binding["identity"], ", ".join(address for address in homes if address))
    if binding["care_of"]:
        kind = binding.get("kind") or binding["care_of"]["kind"]
        nat = ", NAT" if binding["nat"] else ""
        lines += _line("  care-of", f"{care_of(binding['care_of'])} ({kind}{nat})")
    lines += _line("  prefixes", ", ".join(binding["prefixes"]) or "none")
    lines += _line(
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
