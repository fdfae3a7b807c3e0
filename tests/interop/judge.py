# SPDX-License-Identifier: GPL-2.0-only
"""Hand IPv6 packets to programs that no one here wrote, and read their verdict."""

from __future__ import annotations

import struct
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from ipaddress import IPv6Address
from pathlib import Path
from xml.etree import ElementTree

LINKTYPE_IPV6 = 229
MOBILITY = 135
ICMP6 = 58


def ipv6(
    source: IPv6Address, destination: IPv6Address, payload: bytes, protocol: int = MOBILITY
) -> bytes:
    """Put an IPv6 header before ``payload``."""
    head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64)
    return head + source.packed + destination.packed + payload


def write_pcap(path: Path, packets: Iterable[bytes]) -> None:
    """Write a classic pcap file of bare IPv6 packets."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, LINKTYPE_IPV6))
        for second, packet in enumerate(packets):
            file.write(struct.pack("<IIII", second, 0, len(packet), len(packet)) + packet)


def read_pcap(path: Path) -> list[tuple[int, bytes]]:
    """Return (link type, octets) of each whole record of a classic pcap file."""
    data = path.read_bytes()
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    link = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF
    at = 24
    records = []
    while at + 16 <= len(data):
        size = struct.unpack_from(order + "I", data, at + 8)[0]
        if at + 16 + size > len(data):
            break
        records.append((link, data[at + 16 : at + 16 + size]))
        at += 16 + size
    return records


class Verdict:
    """What tshark says about one packet.

    ``fields`` has the values of each field by name, ``labels`` the words beside
    them, ``complaints`` all notes of its expert and of its dissectors' failures.
    """

    def __init__(self, packet: ElementTree.Element) -> None:
        self.fields: dict[str, list[str]] = defaultdict(list)
        self.labels: dict[str, list[str]] = defaultdict(list)
        self.complaints: list[str] = []
        for element in packet.iter():
            name = element.get("name", "")
            self.fields[name].append(element.get("show", ""))
            self.labels[name].append(element.get("showname", ""))
            if name in ("_ws.malformed", "_ws.expert.message", "_ws.short"):
                self.complaints.append(element.get("show") or element.get("showname") or name)


def tshark(path: Path) -> list[Verdict]:
    """Let tshark decode a capture, checksums included."""
    shown = subprocess.run(
        ["tshark", "-n", "-r", str(path), "-T", "pdml"],
        capture_output=True,
        check=True,
    )
    return [Verdict(packet) for packet in ElementTree.fromstring(shown.stdout).iter("packet")]


def tcpdump(path: Path) -> list[str]:
    """Return tcpdump's text, one line a packet."""
    shown = subprocess.run(
        ["tcpdump", "-n", "-t", "-v", "-r", str(path)], capture_output=True, check=True, text=True
    )
    return shown.stdout.splitlines()
