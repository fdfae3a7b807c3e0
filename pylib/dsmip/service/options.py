# SPDX-License-Identifier: GPL-2.0-only
"""Typed, checked access to the options of one section of a configuration.

Faults are collected, not raised at the first: who has three mistakes in a file
wants to hear of three.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, TypeVar

from ..packet.kernel import Address, Network

T = TypeVar("T")
_INTERFACE = re.compile(r"[^\s/:]{1,15}")
#: Options whose values are never repeated in a complaint.
_SECRETS = frozenset(
    (
        "static_key",
        "auth_key",
        "enc_key",
        "psk",
        "password",
        "ppk",
        "secret",
        "mn_ha_key",
        "mn_aaa_key",
    )
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake: where it is, what stands there, what may stand there."""

    source: str
    section: str
    option: str
    value: str
    problem: str

    def __str__(self) -> str:
        where = f"{self.source}: [{self.section}]" if self.section else self.source
        if not self.option:
            return f"{where}: {self.problem}"
        if not self.value:
            return f"{where} {self.option}: {self.problem}"
        return f"{where} {self.option} = {self.value}: {self.problem}"


class ConfigError(Exception):
    """A configuration is refused; ``faults`` says all that is wrong with it."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


class Refused(ValueError):
    """A reader takes no such value; the text is what is allowed instead."""


class Word(str):
    """A value of a file in which everything is text, as in UCI; readers convert it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(str(self))


_BOOLEANS = dict.fromkeys(("1", "on", "yes", "true", "enabled"), True) | dict.fromkeys(
    ("0", "off", "no", "false", "disabled"), False
)
_WHOLE = re.compile(r"-?[0-9]{1,20}|0x[0-9a-fA-F]{1,16}")


def _whole(value: object) -> object:
    """Return the number that a word is, anything else as it is."""
    if isinstance(value, Word) and _WHOLE.fullmatch(value):
        return int(value, 0 if value.startswith("0x") else 10)
    return value


def _shown(value: object) -> str:
    text = {True: "true", False: "false"}.get(value) if isinstance(value, bool) else repr(value)
    text = text or ""
    return text if len(text) <= 60 else text[:57] + "..."


def address(value: object) -> Address:
    """Read a unicast address of either family."""
    if isinstance(value, str):
        try:
            found = ip_address(value)
        except ValueError:
            pass
        else:
            mapped = isinstance(found, IPv6Address) and found.ipv4_mapped is not None
            zone = isinstance(found, IPv6Address) and found.scope_id is not None
            if not (
                found.is_multicast
                or found.is_unspecified
                or found.is_loopback
                or found.is_link_local
                or mapped
                or zone
            ):
                return found
    raise Refused("a routable unicast IPv6 or IPv4 address")


def address6(value: object) -> IPv6Address:
    """Read a unicast IPv6 address."""
    try:
        found = address(value)
    except Refused:
        found = None
    if not isinstance(found, IPv6Address):
        raise Refused("a routable unicast IPv6 address")
    return found


def address4(value: object) -> IPv4Address:
    """Read a unicast IPv4 address."""
    try:
        found = address(value)
    except Refused:
        found = None
    if not isinstance(found, IPv4Address):
        raise Refused("a routable unicast IPv4 address")
    return found


def prefix(value: object) -> Network:
    """Read a prefix without bits beyond its length."""
    if isinstance(value, str) and "/" in value:
        try:
            found = ip_network(value)
        except ValueError as error:
            if "has host bits set" in str(error):
                proper = ip_network(value, strict=False)
                raise Refused(f"it has bits beyond its length, did you mean {proper}?") from None
        else:
            if found.prefixlen and not found.is_multicast and not found.is_link_local:
                return found
    raise Refused("a prefix like 2001:db8:100::/56 or 203.0.113.0/28, not a default route")


def prefix6(value: object) -> IPv6Network:
    """Read an IPv6 prefix."""
    found = prefix(value)
    if not isinstance(found, IPv6Network):
        raise Refused("an IPv6 prefix like 2001:db8:1::/64")
    return found


def prefix4(value: object) -> IPv4Network:
    """Read an IPv4 prefix."""
    found = prefix(value)
    if not isinstance(found, IPv4Network):
        raise Refused("an IPv4 prefix like 203.0.113.0/28")
    return found


def text(value: object) -> str:
    """Read a text that is not empty and has no control characters."""
    if isinstance(value, str) and value and value.isprintable() and len(value) <= 255:
        return value
    raise Refused("a text of 1 to 255 printable characters")


def interface(value: object) -> str:
    """Read the name of a network interface."""
    if isinstance(value, str) and _INTERFACE.fullmatch(value) and value not in (".", ".."):
        return value
    raise Refused("the name of a network interface, at most 15 characters")


def boolean(value: object) -> bool:
    """Read true or false."""
    if isinstance(value, Word):
        if value in _BOOLEANS:
            return _BOOLEANS[value]
        raise Refused("0 or 1")
    if isinstance(value, bool):
        return value
    raise Refused("true or false")


def integer(low: int, high: int) -> Callable[[object], int]:
    """Return a reader of whole numbers from ``low`` to ``high``."""

    def read(value: object) -> int:
        value = _whole(value)
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise Refused(f"a whole number from {low} to {high}")

    return read


def number(low: float, high: float) -> Callable[[object], float]:
    """Return a reader of numbers from ``low`` to ``high``."""

    def read(value: object) -> float:
        if isinstance(value, Word):
            with contextlib.suppress(ValueError):
                value = float(value)
        plain = isinstance(value, int | float) and not isinstance(value, bool)
        if plain and low <= float(value) <= high:  # type: ignore[arg-type]
            return float(value)  # type: ignore[arg-type]
        raise Refused(f"a number from {low:g} to {high:g}")

    return read


def choice(*allowed: str) -> Callable[[object], str]:
    """Return a reader of one of some words."""

    def read(value: object) -> str:
        if isinstance(value, str) and value in allowed:
            return value
        raise Refused("one of " + ", ".join(f'"{word}"' for word in allowed))

    return read


def octets(*sizes: int, least: int = 0, largest: int = 0) -> Callable[[object], bytes]:
    """Return a reader of hexadecimal octets of one of some sizes, or of a range."""

    def read(value: object) -> bytes:
        try:
            found = bytes.fromhex(value.removeprefix("0x")) if isinstance(value, str) else None
        except ValueError:
            found = None
        if found is not None and (len(found) in sizes or least <= len(found) <= largest):
            return found
        wanted = " or ".join(map(str, sizes)) if sizes else f"{least} to {largest}"
        raise Refused(f"{wanted} octets in hexadecimal")

    return read


def several(read: Callable[[object], T], least: int = 0) -> Callable[[object], tuple[T, ...]]:
    """Return a reader of lists; double entries are refused."""

    def read_all(value: object) -> tuple[T, ...]:
        if isinstance(value, Word):
            value = [Word(word) for word in value.split()]
        if not isinstance(value, list):
            raise Refused('a list, like ["...", "..."]')
        found = []
        for entry in value:
            try:
                item = read(entry)
            except Refused as refused:
                raise Refused(f"{_shown(entry)} is not allowed there: {refused}") from None
            if item in found:
                raise Refused(f"{_shown(entry)} stands there twice")
            found.append(item)
        if len(found) < least:
            raise Refused(f"at least {least}")
        return tuple(found)

    return read_all


class Section:
    """One table of the configuration.

    ``get`` returns the fallback when an option is absent, or wrong: then a
    fault was noted, and the caller's result will not be used.
    """

    def __init__(
        self, source: str, name: str, values: Mapping[str, Any], faults: list[Fault]
    ) -> None:
        self.name = name
        self._source = source
        self._values = values
        self._faults = faults
        self._known: list[str] = []

    def __contains__(self, option: str) -> bool:
        return option in self._values

    def fault(self, option: str, problem: str) -> None:
        """Note what is wrong with an option."""
        value = self._values.get(option)
        shown = "" if value is None or option in _SECRETS else _shown(value)
        self._faults.append(Fault(self._source, self.name, option, shown, problem))

    def get(self, option: str, read: Callable[[object], T], fallback: T) -> T:
        """Read an option."""
        self._known.append(option)
        value = self._values.get(option)
        if value is None:
            return fallback
        try:
            return read(value)
        except Refused as refused:
            said = str(refused)
            bare = "did you mean" in said or "stands there" in said or "is not allowed" in said
            self.fault(option, said if bare else f"allowed is {said}")
            return fallback

    def need(self, option: str, read: Callable[[object], T], fallback: T) -> T:
        """Read an option that must be there."""
        if self._values.get(option) is None:
            self._known.append(option)
            self.fault(option, "is missing")
            return fallback
        return self.get(option, read, fallback)

    def section(self, option: str) -> Section | None:
        """Return a table inside this one, None when there is none."""
        self._known.append(option)
        value = self._values.get(option)
        if value is None:
            return None
        name = f"{self.name}.{option}" if self.name else option
        if not isinstance(value, Mapping):
            self.fault(option, f"allowed is a table: [{name}]")
            return None
        return Section(self._source, name, value, self._faults)

    def sections(self, option: str) -> list[Section]:
        """Return the entries of an array of tables."""
        self._known.append(option)
        value = self._values.get(option, [])
        name = f"{self.name}.{option}"
        if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
            self.fault(option, f"allowed is an array of tables: [[{name}]]")
            return []
        return [
            Section(self._source, f"{name} {number}", entry, self._faults)
            for number, entry in enumerate(value, 1)
        ]

    def finish(self) -> None:
        """Note the options that nobody asked for."""
        for option in self._values:
            if option in self._known:
                continue
            import difflib

            near = difflib.get_close_matches(option, self._known, 1, 0.6)
            if near:
                self.fault(option, f'is not known, did you mean "{near[0]}"?')
            else:
                self.fault(option, "is not known here, known are " + ", ".join(self._known))
