# SPDX-License-Identifier: GPL-2.0-only
"""The configuration: one tree of dataclasses, read from TOML, checked whole."""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any, Final

from ..ipsec.static import (
    LARGEST_SECRET,
    LEAST_SECRET,
)
from ..mobility.config import HomeAgentConfig, MobileRouterConfig
from ..mobility.ownership import MobilityKey, Owner
from ..packet.dhcpv6 import DUID_LARGEST, DUID_LEAST
from ..packet.kernel import Address, Network
from . import options as o
from .agent_checks import check_owners, check_pool, check_spis
from .agents_config import makes_keys, read_other_agents, with_agents
from .bootstrap_config import (
    BootstrapSection,
    check_identity,
    read_bootstrap,
    read_dns_name,
    router_identity,
)
from .direct_config import (
    CorrespondentSection,
    OptimisationSection,
    read_correspondent,
    read_optimisation,
)
from .dns_config import DnsSection, read_dns, read_names
from .ike_config import (
    DELEGATED_MAX,
    IkeSection,
    Manager,
    read_ike,
    read_plan,
)
from .ike_config import identity as read_identity
from .multihoming_config import read_limits, read_masks, read_multihoming
from .node_config import check_prefix_pool, check_routing, read_mobility_key
from .options import ConfigError, Fault, Section
from .prefix_config import agent_rows, read_lives
from .row_config import Row as Row
from .row_config import check_plan, read_rows
from .uplink_config import PortalSection, read_portal, read_uplinks
from .uplink_config import UplinkEntry as UplinkEntry

DEFAULT_PATH: Final = "/etc/dsmip.toml"
DEFAULT_SOCKET: Final = "/var/run/dsmip.sock"
DEFAULT_STATE: Final = "/var/lib/dsmip"
LEVELS: Final = ("debug", "info", "warning", "error")
_NOWHERE: Final = IPv6Address(0)
#: RFC 6275 section 6.1.7: lifetimes are 16 bits in units of 4 s.
_LIFETIME_MAX: Final = 0xFFFF * 4


@dataclass(frozen=True, slots=True)
class Globals:
    """What concerns the whole process.

    ``forwarding`` turns the kernel's forwarding on. ``keep_state`` leaves
    bindings, routes and associations in the kernel when the daemon stops.
    ``state`` is the folder of what outlives a reboot: home addresses given away.
    ``mark_mask`` are the bits of packet marks that flow bindings use, ``copy_mask``
    those for a second copy, 0 for no copies.
    ``data_path`` is "kernel" for the module, "portable" for a TUN device, "auto"
    for the module if it is there.
    """

    device: str = "mip0"
    port: int = 4191
    socket: str = DEFAULT_SOCKET
    state: str = DEFAULT_STATE
    log_level: str = "info"
    forwarding: bool = True
    keep_state: bool = True
    history: int = 200
    mark_mask: int = 0xFF000000
    copy_mask: int = 0
    data_path: str = "auto"


@dataclass(frozen=True, slots=True)
class HomeAgentSection:
    """The home agent's role. ``interface`` is the home link, "" for a virtual one.

    ``home_routes`` keeps routes to mobile networks by way of their routers'
    home addresses on the home link, for routers that are at home.
    ``delegated_lifetime`` in seconds is that of delegated prefixes, ``dns`` are the
    recursive name servers that routers are told of. ``preference`` is its place in
    the home agents list, the higher the better; ``discovery`` that it answers who
    looks for home agents (RFC 6275 section 10.5). ``neighbour_proxy``: it answers on
    the home link for mobile networks that are a part of a home prefix. ``prefix_delays`` are
    MinMobPfxAdvInterval and MaxMobPfxAdvInterval (section 13), in seconds.
    ``dns_update`` is where names of home addresses are kept, ``learn_table`` where a
    routing daemon puts what it learns from mobile routers, 0 for nowhere.
    ``advertise`` tells whether it sends Router Advertisements on the home link, and
    whether as its default router ("router") or as a home agent only ("agent").
    """

    engine: HomeAgentConfig
    rows: tuple[Row, ...]
    interface: str = ""
    home_routes: bool = True
    preference: int = 0
    discovery: bool = True
    neighbour_proxy: bool = True
    prefix_delays: tuple[int, int] = (600, 86400)
    delegated_lifetime: int = 86400
    dns: tuple[IPv6Address, ...] = ()
    dns_update: DnsSection | None = None
    learn_table: int = 0
    advertise: str = "no"

    @property
    def delegates(self) -> bool:
        """Whether any router may have prefixes by DHCPv6."""
        return any(owner.delegated_prefixes for owner in self.engine.owners)


@dataclass(frozen=True, slots=True)
class MobileRouterSection:
    """The mobile router's role. ``undelegated`` are prefixes that netifd is not given.

    With ``bootstrap`` the home agent has the address ``::`` until it was found.
    ``lan`` are the links of the mobile network. With ``advertise`` the router has
    addresses there and sends Router Advertisements, which name ``dns``.
    ``delegated_length`` is how long delegated prefixes shall be, 0 for any.
    ``authentication`` takes the place of IPsec (RFC 4285). ``portal`` is whom to ask
    whether an access network wants a login first, and with ``portal_login`` hosts of
    the mobile network can log in there.
    """

    engine: MobileRouterConfig
    rows: tuple[Row, ...]
    uplinks: tuple[UplinkEntry, ...]
    optimisation: OptimisationSection = field(default_factory=OptimisationSection)
    lan: tuple[str, ...] = ()
    deregister_on_stop: bool = False
    undelegated: tuple[Network, ...] = ()
    advertise: bool = False
    delegated_length: int = 0
    dns: tuple[IPv6Address, ...] = ()
    authentication: MobilityKey | None = None
    bootstrap: BootstrapSection | None = None
    portal: PortalSection | None = None
    portal_login: bool = True

    def with_home_agent(
        self, name: str, agent6: IPv6Address, agent4: IPv4Address | None
    ) -> MobileRouterSection:
        """Return the same with a home agent that was found by DNS."""
        rows = []
        for row in self.rows:
            # One that may call itself as it likes goes by its name in DNS here.
            plan = replace(row.plan, agent_identity=name) if row.plan.agent_name else row.plan
            rows.append(replace(row, agent=agent6, agent4=agent4, plan=plan))
        return replace(
            self,
            engine=replace(self.engine, home_agent6=agent6, home_agent4=agent4),
            rows=tuple(rows),
        )

    def with_prefixes(self, prefixes: tuple[Network, ...]) -> MobileRouterSection:
        """Return the same with the mobile network prefixes that its LAN has."""
        return replace(
            self,
            engine=replace(self.engine, prefixes=prefixes),
            rows=tuple(replace(row, prefixes=prefixes) for row in self.rows),
        )

    def with_delegated(self, prefixes: tuple[IPv6Network, ...]) -> MobileRouterSection:
        """Return the same with the prefixes that were delegated to the router."""
        return replace(self, engine=replace(self.engine, delegated=prefixes))

    def with_home_address(self, home_address: IPv6Address) -> MobileRouterSection:
        """Return the same with a home address that IKE has brought."""
        return replace(
            self,
            engine=replace(self.engine, home_address=home_address),
            rows=tuple(replace(row, home_address=home_address) for row in self.rows),
            optimisation=self.optimisation.with_home_address(home_address),
        )


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration."""

    globals: Globals
    home_agent: HomeAgentSection | None = None
    mobile_router: MobileRouterSection | None = None
    ike: IkeSection = field(default_factory=IkeSection)
    correspondent: CorrespondentSection | None = None


def load(path: str | Path, uci: bool | None = None) -> Config:
    """Read and check a file. Raises ``ConfigError`` with every mistake in it.

    ``uci`` None: a file without a suffix, as those below /etc/config, is UCI.
    """
    source = str(path)
    if uci or (uci is None and not Path(path).suffix):
        return _load_uci(source)
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


def _load_uci(source: str) -> Config:
    from .netifd import Devices
    from .uci import LARGEST, UciError, parse_sections, retitled, tree_of

    try:
        with open(source, "rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise UciError(f"it has more than {LARGEST} octets")
        sections = parse_sections(data.decode())
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        raise ConfigError([Fault(source, "", "", "", problem)]) from error
    except (UciError, UnicodeDecodeError) as error:
        raise ConfigError([Fault(source, "", "", "", f"is not UCI: {error}")]) from error
    tree = tree_of(sections, source, Devices())
    try:
        return parse(tree.values, source)
    except ConfigError as error:
        raise ConfigError(retitled(error.faults, tree.titles)) from None


def parse(values: Mapping[str, Any], source: str = "configuration") -> Config:
    """Check a tree of plain values. Raises ``ConfigError`` with every mistake in it.

    Names of files in it are relative to the folder of ``source``.
    """
    faults: list[Fault] = []
    top = Section(source, "", values, faults)
    common = _globals(top.section("globals"))
    agent_section = top.section("home_agent")
    router_section = top.section("mobile_router")
    ike_section = top.section("ike")
    correspondent_section = top.section("correspondent")
    ike = read_ike(ike_section, source)
    agent = None if agent_section is None else _home_agent(agent_section, common, source, ike)
    router = None if router_section is None else _mobile_router(router_section, common, source, ike)
    correspondent = None
    if correspondent_section is not None:
        correspondent = read_correspondent(correspondent_section, source, ike)
        if router_section is not None:
            top.fault("correspondent", "a mobile router cannot be one as well")
    top.finish()
    roles = (agent_section, router_section, correspondent_section)
    if roles == (None, None, None) and not ike.connections and not faults:
        problem = (
            "neither [home_agent] nor [mobile_router] nor [correspondent] nor "
            "[[ike.connection]] is there: nothing to do"
        )
        faults.append(Fault(source, "", "", "", problem))
    if faults:
        raise ConfigError(list(dict.fromkeys(faults)))
    return Config(common, agent, router, ike, correspondent)


def _globals(section: Section | None) -> Globals:
    plain = Globals()
    if section is None:
        return plain
    found = Globals(
        device=section.get("device", o.interface, plain.device),
        port=section.get("port", o.integer(1, 65535), plain.port),
        socket=section.get("socket", o.text, plain.socket),
        state=section.get("state", o.text, plain.state),
        log_level=section.get("log_level", o.choice(*LEVELS), plain.log_level),
        forwarding=section.get("forwarding", o.boolean, plain.forwarding),
        keep_state=section.get("keep_state", o.boolean, plain.keep_state),
        history=section.get("history", o.integer(1, 10000), plain.history),
        **read_masks(section),
        data_path=section.get("data_path", o.choice("auto", "kernel", "portable"), plain.data_path),
    )
    if not found.socket.startswith("/") or len(found.socket.encode()) > 107:
        section.fault("socket", "allowed is an absolute path of at most 107 octets")
    if not found.state.startswith("/"):
        section.fault("state", "allowed is an absolute path")
    section.finish()
    return found


# --- home agent ------------------------------------------------------------------


def _home_agent(
    section: Section, common: Globals, source: str, ike: IkeSection
) -> HomeAgentSection:
    addresses: tuple[Address, ...] = section.need("addresses", o.several(o.address, 1), ())
    addresses6, address4 = _agent_addresses(section, "addresses", addresses)
    prefixes: tuple[Network, ...] = section.need("prefixes", o.several(o.prefix, 1), ())
    identity = section.get("identity", read_identity, "")
    pool6: tuple[IPv6Network, ...] = section.get("pool6", o.several(o.prefix6), ())
    prefix_pool: tuple[IPv6Network, ...] = section.get("prefix_pool", o.several(o.prefix6), ())
    entries = section.sections("router")
    owners: list[Owner] = []
    rows: list[Row] = []
    secrets: dict[bytes, str] = {}
    for entry in entries:
        owner = _owner(entry, prefixes)
        plan = read_plan(entry, source, owner.identity, identity)
        check_plan(entry, plan, ike, owner.home_address, agent_side=True)
        check_routing(section, entry, owner, plan)
        if owner.dynamic_home_address and not pool6:
            entry.fault("home_address", "is missing, and [home_agent] has no pool6 to take it from")
        for row in read_rows(entry, owner.home_address, addresses6, plan, agent_side=True):
            four = owner.home_address4
            own = replace(row, agent4=address4, prefixes=owner.prefixes, home_address4=four)
            rows.append(own)
        secret = entry.get("static_key", o.octets(least=LEAST_SECRET, largest=LARGEST_SECRET), b"")
        if secret and secret in secrets:
            # RFC 6275 section 5.1: static keys are different for each mobile node.
            entry.fault("static_key", f"is the same as that of {secrets[secret]}")
        secrets[secret] = owner.identity
        owners.append(replace(owner, key_mobility=plan.follows))
        entry.finish()
    lives = read_lives(section, prefixes, rows)
    rows += agent_rows(rows, lives)
    found = HomeAgentSection(
        engine=HomeAgentConfig(
            addresses6=addresses6,
            address4=address4,
            prefixes=tuple(p for p in prefixes if isinstance(p, IPv6Network)),
            prefixes4=tuple(p for p in prefixes if isinstance(p, IPv4Network)),
            pool4=section.get("pool", o.several(o.prefix4), ()),
            pool6=pool6,
            prefix_pool=prefix_pool,
            delegated_length=section.get("delegated_length", o.integer(1, 128), 64),
            owners=tuple(owners),
            lives=lives,
            home_link="interface" in section,
            lifetime=section.get("lifetime", o.integer(4, _LIFETIME_MAX), 600),
            refresh=section.get("refresh", o.integer(0, _LIFETIME_MAX), 0),
            nat_keepalive=section.get("nat_keepalive", o.integer(1, 86400), 110),
            force_udp=section.get("force_udp", o.boolean, False),
            allow_ip4=section.get("allow_ip4", o.boolean, True),
            bindings_max=section.get("bindings_max", o.integer(1, 10_000_000), 100_000),
            **read_limits(section, common.copy_mask != 0),
        ),
        rows=tuple(rows),
        interface=section.get("interface", o.interface, ""),
        home_routes=section.get("home_routes", o.boolean, True),
        delegated_lifetime=section.get("delegated_lifetime", o.integer(60, 0xFFFFFFFE), 86400),
        dns=section.get("dns", o.several(o.address6), ()),
        learn_table=section.get("learn_table", o.integer(1, 0x7FFFFFFF), 0),
        preference=section.get("preference", o.integer(0, 65535), 0),
        discovery=section.get("discovery", o.boolean, True),
        neighbour_proxy=section.get("neighbour_proxy", o.boolean, True),
        prefix_delays=(
            section.get("prefix_delay_min", o.integer(1, 86400), 600),
            section.get("prefix_delay_max", o.integer(1, 86400), 86400),
        ),
        dns_update=read_dns(section.section("dns_update")),
        advertise=section.get("advertise", o.choice("no", "agent", "router"), "no"),
    )
    if found.advertise != "no" and not found.interface:
        section.fault("advertise", "needs interface: only a physical home link hears it")
    check_pool(section, pool6, prefixes)
    check_prefix_pool(section, found.engine, prefixes)
    if not identity and any(row.plan.manager is Manager.IKEV2 for row in rows):
        section.fault("identity", 'is missing: with keys = "ikev2" the home agent has a name')
    check_owners(section, owners, found.engine)
    check_spis(section, rows, owners)
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
    home_address = entry.get("home_address", o.address6, _NOWHERE)
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
        dynamic_home_address="home_address" not in entry,
        delegated_prefixes=entry.get("delegated_prefixes", o.integer(0, DELEGATED_MAX), 0),
        routing=entry.get("routing", o.boolean, False),
        duid=entry.get("duid", o.octets(least=DUID_LEAST, largest=DUID_LARGEST), b""),
        dns_names=read_names(entry),
        services=entry.get("services", o.several(o.text), None),
    )
    owner = replace(owner, authentication=read_mobility_key(entry, owner.identity))
    inside = any(home_address in p for p in home_prefixes if isinstance(p, IPv6Network))
    if home_address != _NOWHERE and home_prefixes and not inside:
        six = (
            ", ".join(str(p) for p in home_prefixes if p.version == 6) or "no IPv6 prefix is there"
        )
        entry.fault("home_address", f"must be in a home prefix of the agent ({six})")
    return owner


def _service(value: object) -> str:
    """Read the name of a service (RFC 5149 section 3)."""
    found = unicodedata.normalize("NFKC", o.text(value))
    if len(found.encode()) > 255:
        raise o.Refused("1 to 255 octets of UTF-8")
    return found


# --- mobile router ---------------------------------------------------------------


def _mobile_router(
    section: Section, common: Globals, source: str, ike: IkeSection
) -> MobileRouterSection:
    bootstrap = read_bootstrap(section)
    auto = section.get("home_address", lambda value: value == "auto", False)
    auto = auto or (bootstrap is not None and "home_address" not in section)
    home_address = _NOWHERE if auto else section.need("home_address", o.address6, _NOWHERE)
    read = section.need if bootstrap is None else section.get
    agents: tuple[Address, ...] = read("home_agent", o.several(o.address, 1), ())
    addresses6, address4 = _agent_addresses(section, "home_agent", agents)
    if len(addresses6) > 1:
        section.fault("home_agent", "allowed is one IPv6 and one IPv4 address of one home agent")
    if bootstrap is not None:
        addresses6, address4 = (_NOWHERE,), None
    home_prefix = read("home_prefix", o.prefix6, IPv6Network("::/128"))
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
    delegated = section.get("delegated_prefixes", o.integer(0, DELEGATED_MAX), 0)
    usual = "implicit" if delegated or bootstrap is not None else "explicit"
    mode = section.get("mode", o.choice("explicit", "implicit"), usual)
    if delegated and mode == "explicit":
        # RFC 6276 section 3.1: it registers before it knows what it will be given.
        section.fault("mode", 'delegated_prefixes needs "implicit"')
    if mode == "explicit" and not prefixes:
        section.fault("prefixes", 'is missing: mode "explicit" names the prefixes in each update')
    uplinks = read_uplinks(section)
    identity = router_identity(section, bootstrap is not None, ike)
    agent_identity = section.get("home_agent_identity", read_identity, "")
    agent_name = "" if bootstrap is None else bootstrap.reference
    plan = read_plan(section, source, identity, agent_identity, agent_name)
    check_plan(section, plan, ike, home_address, agent_side=False)
    names = [uplink.name for uplink in uplinks]
    multihoming = read_multihoming(section, names, plan.payload, common.copy_mask != 0)
    if bootstrap is not None:
        check_identity(section, identity, ike)
    plain = MobileRouterConfig(home_address, home_prefix, _NOWHERE)
    engine = MobileRouterConfig(
        home_address=home_address,
        home_prefix=home_prefix,
        home_agent6=addresses6[0] if addresses6 else _NOWHERE,
        home_agent4=address4,
        identity=identity,
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
        key_mobility=plan.follows,
        several=multihoming.several,
        probe=multihoming.probe,
        flows=multihoming.flows,
        home_and_away=multihoming.home_and_away,
        dns_name=read_dns_name(section, identity),
        service=section.get("service", _service, ""),
        delegated_prefixes=delegated,
        agents=read_other_agents(section, addresses6),
        discover=section.get("discover", o.boolean, False),
        link_local=section.get("link_local", o.boolean, False),
    )
    found = MobileRouterSection(
        engine=engine,
        rows=tuple(
            replace(
                row,
                asks=auto,
                agent4=address4,
                prefixes=prefixes,
                home_address4=engine.home_address4,
            )
            for row in read_rows(section, home_address, addresses6[:1], plan, agent_side=False)
        ),
        uplinks=uplinks,
        optimisation=read_optimisation(section, source, ike, home_address, plan),
        lan=section.get("lan", o.several(o.interface), ()),
        deregister_on_stop=section.get("deregister_on_stop", o.boolean, False),
        undelegated=section.get("undelegated", o.several(o.prefix), ()),
        bootstrap=bootstrap,
        advertise=section.get("advertise", o.boolean, delegated > 0),
        delegated_length=section.get("delegated_length", o.integer(0, 128), 0),
        dns=section.get("dns", o.several(o.address6), ()),
        authentication=read_mobility_key(section, identity),
        portal=read_portal(section),
        portal_login=section.get("portal_login", o.boolean, True),
    )
    if found.rows:
        learns = makes_keys(found.rows[0])
        found = with_agents(replace(found, engine=replace(engine, any_agent=learns)))
        if not learns and (engine.agents or engine.discover):
            option = "other_home_agents" if engine.agents else "discover"
            section.fault(option, "needs keys that can be made for any home agent: static_key")
    for name in found.lan:
        if any(uplink.interface == name for uplink in uplinks):
            section.fault("lan", f"{name} is an uplink too")
    section.finish()
    return found
