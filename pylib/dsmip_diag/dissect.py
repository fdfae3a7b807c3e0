# SPDX-License-Identifier: GPL-2.0-only
"""What one captured packet is to Mobile IPv6: tunnel, signalling, error, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from dsmip.ipsec.esp import EspError, EspTransport
from dsmip.packet.errors import Malformed
from dsmip.packet.extension import home_form
from dsmip.packet.mobility import PROTOCOL, Message, parse

Address = IPv6Address | IPv4Address
_UDP, _IN4, _IN6, _ICMP4, _ICMP6, _ESP = 17, 4, 41, 1, 58, 50
_IKE: Final = (500, 4500)
_LEVELS: Final = 6


@dataclass(frozen=True, slots=True)
class Outer:
    """The outermost tunnel header: both ends, UDP ports (0 without), its wire kind."""

    source: Address
    destination: Address
    kind: str
    source_port: int = 0
    destination_port: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """One packet.

    ``what`` is "message", "protected" (ESP that no key opens), "damaged", "data",
    "ike", "keepalive", "icmp" or "other". ``source`` and ``destination`` are those
    of the home form. ``care_of`` is where the mobile node was, as the packet shows.
    """

    what: str
    source: Address
    destination: Address
    outer: Outer | None = None
    message: Message | None = None
    was_protected: bool = False
    care_of: Address | None = None
    spi: int = 0
    size: int = 0
    detail: str = ""


class Keys:
    """Associations by destination and SPI, to look into signalling."""

    def __init__(self, found: Mapping[tuple[Address, int], EspTransport] | None = None) -> None:
        self._found = dict(found or {})

    def open(self, destination: Address, packet: bytes) -> tuple[int, bytes] | None:
        """Return next header and payload, None when no key opens it."""
        key = self._found.get((destination, int.from_bytes(packet[:4], "big")))
        try:
            return None if key is None else key.open(packet)
        except EspError:
            return None


def look(data: bytes, port: int = 4191, keys: Keys | None = None) -> Seen | None:
    """Dissect an IP packet, None when it is none or damaged."""
    return _look(data, port, keys or Keys(), None, 0)


def _look(data: bytes, port: int, keys: Keys, outer: Outer | None, level: int) -> Seen | None:
    if level > _LEVELS or not data:
        return None
    if data[0] >> 4 == 4:
        return _look4(data, port, keys, outer, level)
    if data[0] >> 4 != 6:
        return None
    try:
        form = home_form(data)
    except Malformed:
        return None
    payload, protocol = form.payload, form.protocol
    ends = form.source, form.destination
    direct = form.source != form.wire_source or form.destination != form.wire_destination
    care_of: Address | None = None
    if direct:
        away = form.source != form.wire_source
        care_of = form.wire_source if away else form.wire_destination
        outer = outer or Outer(form.wire_source, form.wire_destination, "ip6")
    elif outer is not None:
        care_of = outer.source
    if protocol in (PROTOCOL, _ESP):
        return _signalling(protocol, payload, ends, outer, care_of, keys)
    inner = _tunnel(protocol, payload, ends, port, outer)
    if inner is not None:
        return _look(inner[1], port, keys, inner[0], level + 1) or _other(ends, outer, data)
    return _plain(protocol, payload, ends, outer, data, port)


def _look4(data: bytes, port: int, keys: Keys, outer: Outer | None, level: int) -> Seen | None:
    size = (data[0] & 15) * 4
    if len(data) < 20 or size < 20 or len(data) < size:
        return None
    ends: tuple[Address, Address] = IPv4Address(data[12:16]), IPv4Address(data[16:20])
    payload = data[size : int.from_bytes(data[2:4], "big")]
    if int.from_bytes(data[6:8], "big") & 0x1FFF:
        return _other(ends, outer, data)  # a later fragment
    protocol = data[9]
    inner = _tunnel(protocol, payload, ends, port, outer)
    if inner is not None:
        return _look(inner[1], port, keys, inner[0], level + 1) or _other(ends, outer, data)
    return _plain(protocol, payload, ends, outer, data, port)


def _tunnel(
    protocol: int, payload: bytes, ends: tuple[Address, Address], port: int, outer: Outer | None
) -> tuple[Outer, bytes] | None:
    """Return the tunnel header and the inner packet."""
    version = ends[0].version
    if protocol in (_IN4, _IN6):
        return outer or Outer(*ends, "ip6" if version == 6 else "ip4"), payload
    if protocol == _UDP and len(payload) > 9:
        ports = int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big")
        if port in ports:
            return outer or Outer(*ends, f"udp{version}", *ports), payload[8:]
    return None


def _signalling(
    protocol: int,
    payload: bytes,
    ends: tuple[Address, Address],
    outer: Outer | None,
    care_of: Address | None,
    keys: Keys,
) -> Seen:
    spi = int.from_bytes(payload[:4], "big") if protocol == _ESP else 0
    if protocol == _ESP:
        opened = keys.open(ends[1], payload)
        if opened is None or opened[0] != PROTOCOL:
            return Seen("protected", *ends, outer, None, True, care_of, spi, len(payload))
        payload = opened[1]
    try:
        message = parse(payload)
    except (Malformed, ValueError) as error:
        detail = str(error)
        return Seen("damaged", *ends, outer, None, bool(spi), care_of, spi, detail=detail)
    return Seen("message", *ends, outer, message, bool(spi), care_of, spi, len(payload))


def _plain(
    protocol: int,
    payload: bytes,
    ends: tuple[Address, Address],
    outer: Outer | None,
    data: bytes,
    port: int,
) -> Seen:
    if protocol == _UDP and len(payload) >= 8:
        ports = int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big")
        if port in ports and outer is None:
            return Seen("keepalive", *ends, size=len(data))
        if outer is None and set(_IKE) & set(ports):
            return Seen("ike", *ends, detail=_ike(payload[8:], 4500 in ports), size=len(data))
    if protocol in (_ICMP4, _ICMP6) and outer is None and len(payload) >= 8:
        detail = _icmp(protocol, payload)
        if detail:
            return Seen("icmp", *ends, size=len(data), detail=detail)
    if outer is not None:
        return Seen("data", *ends, outer, size=len(data))
    return _other(ends, outer, data)


def _other(ends: tuple[Address, Address], outer: Outer | None, data: bytes) -> Seen:
    return Seen("other", *ends, outer, size=len(data))


_EXCHANGES: Final = {34: "IKE_SA_INIT", 35: "IKE_AUTH", 36: "CREATE_CHILD_SA", 37: "INFORMATIONAL"}


def _ike(payload: bytes, marked: bool) -> str:
    if marked:
        if payload[:4] != bytes(4):
            return "ESP in UDP" if len(payload) > 1 else "keepalive"
        payload = payload[4:]
    if len(payload) < 28:
        return "damaged"
    name = _EXCHANGES.get(payload[18], f"exchange {payload[18]}")
    return f"{name} {'answer' if payload[19] & 0x20 else 'request'}"


def _icmp(protocol: int, payload: bytes) -> str:
    """Return words for errors that concern mobility, "" for all else."""
    kind, code = payload[0], payload[1]
    if protocol == _ICMP6:
        if kind == 4:
            return _PROBLEMS.get(code, f"Parameter Problem code {code}")
        if kind == 2:
            return f"Packet Too Big, MTU {int.from_bytes(payload[4:8], 'big')}"
        if kind == 1:
            return f"Destination Unreachable code {code}"
        return ""
    if kind == 3:
        if code == 4:
            return f"Fragmentation Needed, MTU {int.from_bytes(payload[6:8], 'big')}"
        return {3: "Port Unreachable", 2: "Protocol Unreachable"}.get(
            code, f"Destination Unreachable code {code}"
        )
    return ""


_PROBLEMS: Final = {
    0: "Parameter Problem: a routing header that its receiver does not take",
    1: "Parameter Problem: nobody there takes mobility messages",
    2: "Parameter Problem: the Home Address option is not known there",
}
