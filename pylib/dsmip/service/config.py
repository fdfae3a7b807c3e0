# SPDX-License-Identifier: GPL-2.0-only
"""The configuration: one tree of dataclasses, read from TOML, checked whole."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any, Final

from ..ipsec.policy import DirectionKeys, RowKeys
from ..ipsec.static import (
    AUTHENTICATION_KEY_SIZE,
    ENCRYPTION_KEY_SIZES,
    LARGEST_SECRET,
    LEAST_SECRET,
    LEAST_SPI,
    derive,
)
from ..mobility.config import HomeAgentConfig, MobileRouterConfig
from ..mobility.ownership import Owner, Ownership
from ..packet.kernel import Address, Network
from . import options as o
from .options import ConfigError, Fault, Section

DEFAULT_PATH: Final = "/etc/dsmip.toml"
DEFAULT_SOCKET: Final = "/run/dsmip.sock"
LEVELS: Final = ("debug", "info", "warning", "error")
_NOWHERE: Final = IPv6Address(0)
#: RFC 6275 section 6.1.7: lifetimes are 16 bits in units of 4 s.
_LIFETIME_MAX: Final = 0xFFFF * 4


@dataclass(frozen=True, slots=True)
class Globals:
    """What concerns the whole process.

    ``forwarding`` turns the kernel's forwarding on. ``keep_state`` leaves
    bindings, routes and associations in the kernel when the daemon stops.
    """

    device: str = "mip0"
    port: int = 4191
    socket: str = DEFAULT_SOCKET
    log_level: str = "info"
    forwarding: bool = True
    keep_state: bool = True
    history: int = 200


@dataclass(frozen=True, slots=True)
class Row:
    """A home address and a home agent, with the keys they share (None: no IPsec)."""

    home_address: IPv6Address
    agent: IPv6Address
    keys: RowKeys | None


@dataclass(frozen=True, slots=True)
class HomeAgentSection:
    """The home agent's role. ``interface`` is the home link, "" for a virtual one.

    ``home_routes`` keeps routes to mobile networks by way of their routers'
    home addresses on the home link, for routers that are at home.
    """

    engine: HomeAgentConfig
    rows: tuple[Row, ...]
    interface: str = ""
    home_routes: bool = True


@dataclass(frozen=True, slots=True)
class UplinkEntry:
    """One access network; lower ``priority`` is preferred."""

    interface: str
    name: str
    priority: int
    held: bool = False


@dataclass(frozen=True, slots=True)
class MobileRouterSection:
    """The mobile router's role."""

    engine: MobileRouterConfig
    rows: tuple[Row, ...]
    uplinks: tuple[UplinkEntry, ...]
    lan: tuple[str, ...] = ()
    deregister_on_stop: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration."""

    globals: Globals
    home_agent: HomeAgentSection | None = None
    mobile_router: MobileRouterSection | None = None


def load(path: str | Path) -> Config:
    """Read and check a file. Raises ``ConfigError`` with every mistake in it."""
    source = str(path)
    try:
        with open(path, "rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise ConfigError(
            [Fault(source, "", "", "", f"cannot be read: {error.strerror}")]
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([Fault(source, "", "", "", f"is not TOML: {error}")]) from error
    return parse(values, source)


def parse(values: Mapping[str, Any], source: str = "configuration") -> Config:
    """Check a tree of plain values. Raises ``ConfigError`` with every mistake in it."""
    faults: list[Fault] = []
    top = Section(source, "", values, faults)
    common = _globals(top.section("globals"))
    agent_section = top.section("home_agent")
    router_section = top.section("mobile_router")
    agent = None if agent_section is None else _home_agent(agent_section)
    router = None if router_section is None else _mobile_router(router_section, common)
    top.finish()
    if agent_section is None and router_section is None and not faults:
        problem = "neither [home_agent] nor [mobile_router] is there: nothing to do"
        faults.append(Fault(source, "", "", "", problem))
    if faults:
        raise ConfigError(list(dict.fromkeys(faults)))
    return Config(common, agent, router)


def _globals(section: Section | None) -> Globals:
    plain = Globals()
    if section is None:
        return plain
    found = Globals(
        device=section.get("device", o.interface, plain.device),
        port=section.get("port", o.integer(1, 65535), plain.port),
        socket=section.get("socket", o.text, plain.socket),
        log_level=section.get("log_level", o.choice(*LEVELS), plain.log_level),
        forwarding=section.get("forwarding", o.boolean, plain.forwarding),
        keep_state=section.get("keep_state", o.boolean, plain.keep_state),
        history=section.get("history", o.integer(1, 10000), plain.history),
    )
    if not found.socket.startswith("/") or len(found.socket.encode()) > 107:
        section.fault("socket", "allowed is an absolute path of at most 107 octets")
    section.finish()
    return found


# --- home agent ------------------------------------------------------------------


def _home_agent(section: Section) -> HomeAgentSection:
    addresses: tuple[Address, ...] = section.need("addresses", o.several(o.address, 1), ())
    addresses6, address4 = _agent_addresses(section, "addresses", addresses)
    prefixes: tuple[Network, ...] = section.need("prefixes", o.several(o.prefix, 1), ())
    entries = section.sections("router")
    owners: list[Owner] = []
    rows: list[Row] = []
    secrets: dict[bytes, str] = {}
    for entry in entries:
        owner = _owner(entry, prefixes)
        rows += _rows(entry, owner.home_address, addresses6, agent_side=True)
        secret = entry.get("static_key", o.octets(least=LEAST_SECRET, largest=LARGEST_SECRET), b"")
        if secret and secret in secrets:
            # RFC 6275 section 5.1: static keys are different for each mobile node.
            entry.fault("static_key", f"is the same as that of {secrets[secret]}")
        secrets[secret] = owner.identity
        owners.append(owner)
        entry.finish()
    found = HomeAgentSection(
        engine=HomeAgentConfig(
            addresses6=addresses6,
            address4=address4,
            prefixes=tuple(p for p in prefixes if isinstance(p, IPv6Network)),
            prefixes4=tuple(p for p in prefixes if isinstance(p, IPv4Network)),
            pool4=section.get("pool", o.several(o.prefix4), ()),
            owners=tuple(owners),
            home_link="interface" in section,
            lifetime=section.get("lifetime", o.integer(4, _LIFETIME_MAX), 600),
            refresh=section.get("refresh", o.integer(0, _LIFETIME_MAX), 0),
            nat_keepalive=section.get("nat_keepalive", o.integer(1, 86400), 110),
            force_udp=section.get("force_udp", o.boolean, False),
            allow_ip4=section.get("allow_ip4", o.boolean, True),
            bindings_max=section.get("bindings_max", o.integer(1, 10_000_000), 100_000),
        ),
        rows=tuple(rows),
        interface=section.get("interface", o.interface, ""),
        home_routes=section.get("home_routes", o.boolean, True),
    )
    if not entries and "router" not in section:
        section.fault("router", "is missing: an entry [[home_agent.router]] for each router")
    _check_owners(section, owners, found.engine.pool4)
    _check_spis(section, rows, owners)
    section.finish()
    return found


def _agent_addresses(
    section: Section, option: str, addresses: tuple[Address, ...]
) -> tuple[tuple[IPv6Address, ...], IPv4Address | None]:
    six = tuple(a for a in addresses if isinstance(a, IPv6Address))
    four = [a for a in addresses if isinstance(a, IPv4Address)]
    if addresses and not six:
        section.fault(option, "needs an IPv6 address: registrations are made with it")
    if len(four) > 1:
        section.fault(option, "allowed is at most one IPv4 address")
    return six, four[0] if four else None


def _owner(entry: Section, home_prefixes: tuple[Network, ...]) -> Owner:
    home_address = entry.need("home_address", o.address6, _NOWHERE)
    dynamic = False
    home_address4: IPv4Address | None = None
    if entry.get("home_address4", lambda value: value == "pool", False):
        dynamic = True
    else:
        home_address4 = entry.get("home_address4", o.address4, None)
    owner = Owner(
        identity=entry.need("identity", o.text, "?"),
        home_address=home_address,
        home_address4=home_address4,
        prefixes=entry.get("prefixes", o.several(o.prefix), ()),
        mobile_router=entry.get("mobile_router", o.boolean, True),
        dynamic_home_address4=dynamic,
    )
    inside = any(home_address in p for p in home_prefixes if isinstance(p, IPv6Network))
    if home_address != _NOWHERE and home_prefixes and not inside:
        six = (
            ", ".join(str(p) for p in home_prefixes if p.version == 6) or "no IPv6 prefix is there"
        )
        entry.fault("home_address", f"must be in a home prefix of the agent ({six})")
    return owner


def _check_owners(section: Section, owners: list[Owner], pool4: tuple[IPv4Network, ...]) -> None:
    seen: dict[object, str] = {}
    for owner in owners:
        keys: list[object] = [owner.identity, owner.home_address]
        keys += [owner.home_address4] if owner.home_address4 else []
        for key in keys:
            if key in seen and key not in ("?", _NOWHERE):
                section.fault("router", f"{key} is given to {seen[key]} and to {owner.identity}")
                return
            seen[key] = owner.identity
    try:
        Ownership(owners, pool4)
    except ValueError as error:
        section.fault("router", str(error))


def _check_spis(section: Section, rows: list[Row], owners: list[Owner]) -> None:
    names = {owner.home_address: owner.identity for owner in owners}
    seen: dict[tuple[IPv6Address, int], str] = {}
    for row in rows:
        if row.keys is None:
            continue
        key, name = (row.agent, row.keys.to_agent.spi), names[row.home_address]
        if key in seen:
            spi = row.keys.to_agent.spi
            section.fault("router", f"{seen[key]} and {name} both use SPI 0x{spi:08x}")
        seen[key] = name


# --- mobile router ---------------------------------------------------------------


def _mobile_router(section: Section, common: Globals) -> MobileRouterSection:
    home_address = section.need("home_address", o.address6, _NOWHERE)
    agents: tuple[Address, ...] = section.need("home_agent", o.several(o.address, 1), ())
    addresses6, address4 = _agent_addresses(section, "home_agent", agents)
    if len(addresses6) > 1:
        section.fault("home_agent", "allowed is one IPv6 and one IPv4 address of one home agent")
    home_prefix = section.need("home_prefix", o.prefix6, IPv6Network("::/128"))
    if home_address != _NOWHERE and home_prefix.prefixlen < 128 and home_address not in home_prefix:
        section.fault("home_prefix", f"does not contain the home address {home_address}")
    request4 = section.get("home_address4", lambda value: value == "request", False)
    prefixes: tuple[Network, ...] = section.get("prefixes", o.several(o.prefix), ())
    for index, one in enumerate(prefixes):
        for other in prefixes[index + 1 :]:
            if one.version == other.version and (
                one.network_address in other or other.network_address in one
            ):
                section.fault("prefixes", f"{one} and {other} overlap")
    mode = section.get("mode", o.choice("explicit", "implicit"), "explicit")
    if mode == "explicit" and not prefixes:
        section.fault("prefixes", 'is missing: mode "explicit" names the prefixes in each update')
    uplinks = _uplinks(section)
    plain = MobileRouterConfig(home_address, home_prefix, _NOWHERE)
    engine = MobileRouterConfig(
        home_address=home_address,
        home_prefix=home_prefix,
        home_agent6=addresses6[0] if addresses6 else _NOWHERE,
        home_agent4=address4,
        identity=section.need("identity", o.text, "?"),
        home_address4=None if request4 else section.get("home_address4", o.address4, None),
        request_home_address4=request4,
        prefixes=prefixes,
        explicit=mode == "explicit",
        lifetime=section.get("lifetime", o.integer(4, _LIFETIME_MAX), plain.lifetime),
        force_udp=section.get("force_udp", o.boolean, plain.force_udp),
        keepalive=section.get("keepalive", o.integer(1, 86400), plain.keepalive),
        silent_ms=section.get("silent_ms", o.integer(0, 30000), plain.silent_ms),
        hysteresis=section.get("hysteresis", o.number(0, 3600), plain.hysteresis),
        port=common.port,
    )
    found = MobileRouterSection(
        engine=engine,
        rows=_rows(section, home_address, addresses6[:1], agent_side=False),
        uplinks=uplinks,
        lan=section.get("lan", o.several(o.interface), ()),
        deregister_on_stop=section.get("deregister_on_stop", o.boolean, False),
    )
    for name in found.lan:
        if any(uplink.interface == name for uplink in uplinks):
            section.fault("lan", f"{name} is an uplink too")
    section.finish()
    return found


def _uplinks(section: Section) -> tuple[UplinkEntry, ...]:
    found: list[UplinkEntry] = []
    for number, entry in enumerate(section.sections("uplink")):
        interface = entry.need("interface", o.interface, "?")
        uplink = UplinkEntry(
            interface,
            name=entry.get("name", o.text, interface),
            priority=entry.get("priority", o.integer(0, 255), min(10 * (number + 1), 255)),
            held=entry.get("held", o.boolean, False),
        )
        if uplink.name in (other.name for other in found):
            entry.fault("name", "stands there twice")
        if interface in (other.interface for other in found):
            entry.fault("interface", "stands there twice")
        found.append(uplink)
        entry.finish()
    if not found and "uplink" not in section:
        section.fault("uplink", "is missing: an entry [[mobile_router.uplink]] for each")
    return tuple(found)


# --- keys ------------------------------------------------------------------------


def _rows(
    section: Section, home_address: IPv6Address, agents: tuple[IPv6Address, ...], agent_side: bool
) -> tuple[Row, ...]:
    read = o.octets(least=LEAST_SECRET, largest=LARGEST_SECRET)
    secret = section.get("static_key", read, b"")
    esp = section.section("esp")
    unprotected = section.get("protection", o.choice("esp", "none"), "esp") == "none"
    given = [name for name in ("static_key", "esp") if name in section]
    if unprotected and given:
        section.fault("protection", f'"none" excludes {given[0]}')
    elif len(given) > 1:
        section.fault("static_key", f"excludes [{section.name}.esp]")
    elif not given and not unprotected:
        section.fault(
            "static_key",
            "is missing: signalling is protected by ESP (RFC 6275 section 5.1); "
            f"give static_key or [{section.name}.esp]",
        )
    manual = None if esp is None else _manual_keys(esp, agent_side)
    found = []
    for agent in agents:
        keys = manual
        if keys is None and secret:
            keys = derive(secret, home_address, agent)
        found.append(Row(home_address, agent, keys))
    return tuple(found)


def _manual_keys(section: Section, agent_side: bool) -> RowKeys:
    spi = o.integer(LEAST_SPI, 0xFFFFFFFF)
    spi_in = section.need("spi_in", spi, LEAST_SPI)
    spi_out = section.need("spi_out", spi, LEAST_SPI)
    authentication = section.need("auth_key", o.octets(AUTHENTICATION_KEY_SIZE), b"")
    encryption = section.need("enc_key", o.octets(*ENCRYPTION_KEY_SIZES), b"")
    section.finish()
    inbound = DirectionKeys(spi_in, encryption, authentication)
    outbound = DirectionKeys(spi_out, encryption, authentication)
    if agent_side:
        return RowKeys(to_agent=inbound, to_router=outbound)
    return RowKeys(to_agent=outbound, to_router=inbound)
