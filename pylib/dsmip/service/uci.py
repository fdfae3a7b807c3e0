# SPDX-License-Identifier: GPL-2.0-only
"""OpenWrt's configuration files (UCI): their syntax, and how they become our tree.

The options are those of the TOML file, by the same names. What TOML nests is a
section of its own here: ``uplink``, ``flow`` and ``prefix`` belong to the mobile
router, ``peer`` is a router that the home agent serves and ``dns_update`` its
name server, ``ike_radius``, ``ike_connection`` and ``ike_child`` belong to ``ike``.
A section with ``option enabled '0'`` counts as absent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from .options import ConfigError, Fault, Word
from .uplink_config import NETWORK

LARGEST: Final = 1 << 20
SECTIONS_MAX: Final = 200_000
_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,255}")
_TYPE: Final = re.compile(r"[A-Za-z0-9_-]{1,255}")
_NO: Final = ("0", "off", "no", "false", "disabled")
_YES: Final = ("1", "on", "yes", "true", "enabled")
#: Options that TOML keeps in a table [esp] inside the entry.
_ESP: Final = ("spi_in", "spi_out", "auth_key", "enc_key")
_SINGLE: Final = (
    "globals",
    "home_agent",
    "dns_update",
    "mobile_router",
    "correspondent",
    "ike",
    "ike_radius",
)
_REPEATED: Final = ("uplink", "prefix", "flow", "peer", "ike_connection", "ike_child")
#: What stands elsewhere when /etc is the only thing that outlives a reboot.
_DEFAULTS: Final = {"state": "/etc/dsmip"}
#: The name servers of access networks; resolv.conf itself names dnsmasq.
_RESOLV_CONF: Final = "/tmp/resolv.conf.d/resolv.conf.auto"
#: What this machine may be.
_ROLES: Final = ("mobile_router", "home_agent", "correspondent", "ike_connection")
Resolve = Callable[[str], str | None]


class UciError(Exception):
    """A file is not UCI; the text names the line."""


@dataclass(slots=True)
class UciSection:
    """One section; ``name`` is "" for an anonymous one."""

    kind: str
    name: str
    line: int
    values: dict[str, Word | list[Word]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """How people are told of it."""
        return f"{self.kind} '{self.name}'" if self.name else f"{self.kind} in line {self.line}"


def _words(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield commands with their line: words, quotes taken off, comments left out."""
    at, line, start = 0, 1, 1
    words: list[str] = []
    current: list[str] | None = None
    end = len(text)
    while at < end:
        char = text[at]
        at += 1
        if char in "'\"":
            current = current if current is not None else []
            opened = line
            while True:
                if at >= end:
                    raise UciError(f"line {opened}: the quote {char} is never closed")
                inner = text[at]
                at += 1
                if inner == char:
                    break
                if inner == "\\" and char == '"' and at < end:
                    inner = text[at]
                    at += 1
                if inner == "\n":
                    line += 1
                current.append(inner)
            continue
        if char == "\\" and at < end:
            escaped = text[at]
            at += 1
            if escaped == "\n":
                line += 1
            else:
                current = (current or []) + [escaped]
            continue
        if char not in " \t\r\n;#":
            current = current if current is not None else []
            current.append(char)
            continue
        if current is not None:
            words.append("".join(current))
            current = None
        if char == "#":
            at = text.find("\n", at)
            at = end if at < 0 else at
        elif char in "\n;":
            if words:
                yield start, words
            words = []
            line += char == "\n"
            start = line
    if current is not None:
        words.append("".join(current))
    if words:
        yield start, words


def parse_sections(text: str) -> list[UciSection]:
    """Read the text of a file. Raises ``UciError``.

    A named section that stands there twice is one, as in libuci; an option that
    stands there twice has its last value.
    """
    if "\0" in text:
        raise UciError("there is a NUL character in it")
    found: list[UciSection] = []
    named: dict[tuple[str, str], UciSection] = {}
    section: UciSection | None = None
    for line, words in _words(text):
        command, values = words[0], words[1:]
        if command == "package":
            if len(values) != 1:
                raise UciError(f"line {line}: 'package' has one name")
            continue
        if command == "config":
            if not 1 <= len(values) <= 2 or not _TYPE.fullmatch(values[0]):
                raise UciError(f"line {line}: 'config' has a type, then a name or nothing")
            name = values[1] if len(values) == 2 else ""
            if name and not _NAME.fullmatch(name):
                raise UciError(f"line {line}: a name has letters, digits and _ only, not {name!r}")
            section = named.get((values[0], name)) if name else None
            if section is None:
                section = UciSection(values[0], name, line)
                found.append(section)
                if len(found) > SECTIONS_MAX:
                    raise UciError(f"line {line}: more than {SECTIONS_MAX} sections")
            named[values[0], name] = section
            continue
        if command not in ("option", "list"):
            raise UciError(f"line {line}: {command!r} is none of config, option, list, package")
        if section is None:
            raise UciError(f"line {line}: '{command}' stands before the first 'config'")
        if len(values) != 2 or not _NAME.fullmatch(values[0]):
            raise UciError(f"line {line}: '{command}' has a name and one value")
        name, value = values[0], Word(values[1])
        if command == "option":
            section.values[name] = value
            continue
        before = section.values.get(name)
        if not isinstance(before, list):
            before = [] if before is None else [before]
            section.values[name] = before
        before.append(value)
    return found


@dataclass(slots=True)
class Tree:
    """The tree of plain values, with the section that each part of it came from."""

    values: dict[str, Any]
    titles: dict[str, str]


def tree_of(sections: list[UciSection], source: str, resolve: Resolve | None = None) -> Tree:
    """Arrange sections as the tree that ``config.parse`` takes. Raises ``ConfigError``.

    ``resolve`` gives the device of a logical interface, None when it has none now.
    """
    faults: list[Fault] = []
    by_kind: dict[str, list[UciSection]] = {}
    for section in sections:
        if section.kind not in (*_SINGLE, *_REPEATED):
            known = ", ".join((*_SINGLE, *_REPEATED))
            faults.append(
                Fault(source, section.title, "", "", f"type is not known, known are {known}")
            )
            continue
        if _enabled(section, source, faults):
            by_kind.setdefault(section.kind, []).append(section)
    for kind in _SINGLE:
        for extra in by_kind.get(kind, ())[1:]:
            text = f"there is one already: {by_kind[kind][0].title}"
            faults.append(Fault(source, extra.title, "", "", text))
    if not faults and not any(kind in by_kind for kind in _ROLES):
        text = f"no section of type {', '.join(_ROLES)} is there and enabled: nothing to do"
        faults.append(Fault(source, "", "", "", text))
    tree = Tree({}, {})
    _place(tree, by_kind, source, faults, resolve)
    if faults:
        raise ConfigError(faults)
    return tree


def _enabled(section: UciSection, source: str, faults: list[Fault]) -> bool:
    # In globals it is for the init script: who starts the daemon wants it to run.
    value = section.values.pop("enabled", "1")
    if isinstance(value, list) or value not in (*_NO, *_YES):
        shown = " ".join(value) if isinstance(value, list) else value
        faults.append(
            Fault(source, section.title, "enabled", repr(str(shown)), "allowed is 0 or 1")
        )
        return False
    return section.kind == "globals" or value in _YES


def _place(
    tree: Tree,
    by_kind: dict[str, list[UciSection]],
    source: str,
    faults: list[Fault],
    resolve: Resolve | None,
) -> None:
    def single(kind: str, path: str) -> dict[str, Any] | None:
        found = by_kind.get(kind)
        if not found:
            return None
        tree.titles[path] = found[0].title
        return _nested(found[0])

    def repeated(kind: str, path: str) -> list[dict[str, Any]]:
        entries = []
        for number, section in enumerate(by_kind.get(kind, ()), 1):
            tree.titles[f"{path} {number}"] = section.title
            entries.append(_nested(section))
        return entries

    values = tree.values
    values["globals"] = _DEFAULTS | (single("globals", "globals") or {})
    agent, router = single("home_agent", "home_agent"), single("mobile_router", "mobile_router")
    ike = single("ike", "ike")
    updates = single("dns_update", "home_agent.dns_update")
    correspondent = single("correspondent", "correspondent")
    if correspondent is not None:
        values["correspondent"] = correspondent
    peers = repeated("peer", "home_agent.router")
    uplinks = repeated("uplink", "mobile_router.uplink")
    flows = repeated("flow", "mobile_router.flow")
    for kind, parent in (
        ("peer", agent),
        ("dns_update", agent),
        ("uplink", router),
        ("flow", router),
        ("prefix", router),
    ):
        if parent is None:
            owner = "home_agent" if kind in ("peer", "dns_update") else "mobile_router"
            for section in by_kind.get(kind, ()):
                text = f"there is no section of type {owner} that it could belong to"
                faults.append(Fault(source, section.title, "", "", text))
    if agent is not None:
        if peers:
            agent["router"] = peers
        if updates is not None:
            agent["dns_update"] = updates
        values["home_agent"] = agent
    if router is not None:
        if "domain" in router or "home_agent_name" in router:
            router.setdefault("resolv_conf", _RESOLV_CONF)
        # Where a modem is, portals are: the home agent is asked, and nobody else.
        router.setdefault("portal_url", Word("auto"))
        if "delegated_prefixes" in router:
            # netifd is told of what comes, and odhcpd advertises it.
            router.setdefault("advertise", Word("0"))
        sections = by_kind.get("uplink", [])
        for section, entry in zip(sections, uplinks, strict=True):
            _name_uplink(section, entry, resolve)
        _one_of_each_device(tree, sections, uplinks)
        if uplinks:
            router["uplink"] = uplinks
        if flows:
            router["flow"] = flows
        _take_prefixes(router, by_kind.get("prefix", ()), source, faults)
        values["mobile_router"] = router
    radius = single("ike_radius", "ike.radius")
    connections = repeated("ike_connection", "ike.connection")
    _take_children(connections, by_kind, source, faults)
    if ike is not None or radius is not None or connections:
        ike = ike or {}
        if radius is not None:
            ike["radius"] = radius
        if connections:
            ike["connection"] = connections
        values["ike"] = ike


def _nested(section: UciSection) -> dict[str, Any]:
    values: dict[str, Any] = dict(section.values)
    esp: dict[str, Any] = {name: values.pop(name) for name in _ESP if name in values}
    if esp and section.kind in ("peer", "mobile_router"):
        values["esp"] = esp
    else:
        values |= esp
    return values


def _name_uplink(section: UciSection, entry: dict[str, Any], resolve: Resolve | None) -> None:
    """An uplink names a logical interface, and the device is that of the moment."""
    interface, device = entry.get("interface"), entry.pop("device", None)
    if isinstance(interface, str):
        entry.setdefault("name", (section.name and Word(section.name)) or interface)
        found = device or (resolve(interface) if resolve is not None else None)
        if resolve is not None and NETWORK.fullmatch(interface):
            entry.setdefault("network", Word(interface))
        entry["interface"] = found or interface
    elif device is not None:
        entry["interface"] = device
        if section.name:
            entry.setdefault("name", Word(section.name))


def _one_of_each_device(
    tree: Tree, sections: list[UciSection], entries: list[dict[str, Any]]
) -> None:
    """Leave out who has the device of another before it: wan and wan6 are one uplink here.

    netifd has an interface for each family. Who is written down twice stays, and is a fault.
    """
    kept: list[tuple[UciSection, dict[str, Any]]] = []
    for section, entry in zip(sections, entries, strict=True):
        device = entry.get("interface")
        if not any(
            device == other.get("interface") and _are_two_networks(one, section)
            for one, other in kept
        ):
            kept.append((section, entry))
    entries[:] = [entry for _, entry in kept]
    for number, (section, _entry) in enumerate(kept, 1):
        tree.titles[f"mobile_router.uplink {number}"] = section.title


def _are_two_networks(one: UciSection, other: UciSection) -> bool:
    names = {str(each.values.get("interface", "")) for each in (one, other)}
    named = not any("device" in each.values for each in (one, other))
    return named and len(names) == 2 and "" not in names


def _take_prefixes(
    router: dict[str, Any],
    sections: list[UciSection] | tuple[UciSection, ...],
    source: str,
    faults: list[Fault],
) -> None:
    """Add the mobile network prefixes that have sections of their own."""
    given = router.get("prefixes", [])
    prefixes = list(given) if isinstance(given, list) else given.split()
    for section in sections:
        for option in section.values:
            if option not in ("prefix", "delegate"):
                text = "is not known here, known are enabled, prefix, delegate"
                faults.append(Fault(source, section.title, option, "", text))
        value = section.values.get("prefix")
        if value is None or isinstance(value, list):
            faults.append(Fault(source, section.title, "prefix", "", "is missing: one prefix"))
            continue
        prefixes.append(value)
        delegate = section.values.get("delegate", Word("1"))
        if delegate not in (*_NO, *_YES):
            shown = repr(str(delegate))
            faults.append(Fault(source, section.title, "delegate", shown, "allowed is 0 or 1"))
        elif delegate in _NO:
            router.setdefault("undelegated", []).append(value)
    if prefixes:
        router["prefixes"] = prefixes


def _take_children(
    connections: list[dict[str, Any]],
    by_kind: dict[str, list[UciSection]],
    source: str,
    faults: list[Fault],
) -> None:
    for section in by_kind.get("ike_child", ()):
        values = dict(section.values)
        owner = values.pop("connection", None)
        found = [entry for entry in connections if entry.get("name") == owner]
        if not found:
            names = ", ".join(str(entry.get("name")) for entry in connections) or "none"
            shown = "" if owner is None else repr(str(owner))
            text = f"allowed is the name of an ike_connection, there are: {names}"
            faults.append(Fault(source, section.title, "connection", shown, text))
            continue
        found[0].setdefault("child", []).append(values)


def retitled(faults: tuple[Fault, ...], titles: Mapping[str, str]) -> list[Fault]:
    """Return faults of the tree with the names of the file's own sections."""
    made = []
    for fault in faults:
        # [mobile_router.esp] has no section of its own: its options are its parent's.
        path = fault.section.removesuffix(".esp")
        made.append(replace(fault, section=titles.get(path, path)))
    return made
