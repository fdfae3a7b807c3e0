# SPDX-License-Identifier: GPL-2.0-only
"""The configuration of bootstrapping: a router that knows a name instead of addresses."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from ..mobility.bootstrap import BootstrapConfig
from ..packet import dns
from ..packet.kernel import Address
from . import options as o
from .ike_config import IkeSection
from .options import Refused, Section

RESOLV_CONF: Final = "/etc/resolv.conf"
#: What the home agent tells, so that it must not be configured beside ``domain``.
_TOLD: Final = ("home_agent", "home_prefix", "home_address")


@dataclass(frozen=True, slots=True)
class BootstrapSection:
    """How a home agent is found. Without ``servers`` those of ``resolv_conf`` are asked."""

    engine: BootstrapConfig
    servers: tuple[Address, ...] = ()
    resolv_conf: str = RESOLV_CONF

    @property
    def reference(self) -> str:
        """The name that the home agent's certificate must be for.

        What an SRV record points to is no proof of anything (RFC 6125 section
        6.2.1), what the operator configured is.
        """
        return self.engine.domain or self.engine.name


def domain_name(value: object) -> str:
    """Read a domain name of at least two labels."""
    if isinstance(value, str) and value.isascii() and "." in value.strip("."):
        name = dns.canonical(value)
        plain = all(c.isalnum() or c in "-_." for c in name)
        try:
            dns.encode_name(name)
        except ValueError:
            plain = False
        if plain:
            return name
    raise Refused("a domain name like example.net")


def read_bootstrap(section: Section) -> BootstrapSection | None:
    """Read how the home agent is found; None when its addresses are configured."""
    domain = section.get("domain", domain_name, "")
    name = section.get("home_agent_name", domain_name, "")
    plain = BootstrapConfig()
    found = BootstrapSection(
        engine=BootstrapConfig(
            domain=domain,
            name=name,
            wait=section.get("bootstrap_wait", o.number(2, 600), plain.wait),
            retry=section.get("bootstrap_retry", o.number(1, 86400), plain.retry),
        ),
        servers=section.get("dns_servers", o.several(server), ()),
        resolv_conf=section.get("resolv_conf", o.text, RESOLV_CONF),
    )
    if "domain" not in section and "home_agent_name" not in section:
        for option in ("bootstrap_wait", "bootstrap_retry", "dns_servers", "resolv_conf"):
            if option in section:
                section.fault(option, "goes with domain or home_agent_name only")
        return None
    if "domain" in section:
        if "home_agent_name" in section:
            section.fault("home_agent_name", "domain excludes it: DNS names the home agents")
        for option in _TOLD:
            if option in section:
                section.fault(option, "domain excludes it: DNS and the home agent tell it")
    elif "home_agent" in section:
        section.fault("home_agent", "home_agent_name excludes it: DNS tells the addresses")
    for option in ("static_key", "esp", "protection"):
        if option in section:
            section.fault(option, 'keys are made with whom DNS names: needs keys = "ikev2"')
    return found


def server(value: object) -> Address:
    """Read a name server's address; one on this host is as good."""
    try:
        found = ip_address(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or found.is_multicast or found.is_unspecified:
        raise Refused("the address of a name server")
    return found


def router_identity(section: Section, bootstrapped: bool, ike: IkeSection) -> str:
    """Return the router's identity: as configured, its name in DNS, or its certificate's name."""
    if "identity" in section or not bootstrapped:
        return section.need("identity", o.text, "?")
    section.get("identity", o.text, "")
    name = section.get("dns_name", domain_name, "")
    if name:
        return name
    names = certified_names(ike)
    if not names:
        section.fault("identity", "is missing: no certificate in [ike] has a domain name either")
        return "?"
    return names[0]


def certified_names(ike: IkeSection) -> list[str]:
    """Return the domain names of this host's own certificate."""
    if ike.certificate is None:
        return []
    from ..ikev2.certificates import load_certificates
    from ..ikev2.numbers import IdType

    first = load_certificates(ike.certificate.data)[0]
    return [str(found) for found in first.identities() if found.type == IdType.FQDN]


def read_dns_name(section: Section, identity: str) -> str:
    """Read the name that shall have the home address in DNS.

    The home agent has only the router's identity to tell whose name it is (RFC
    5026 section 5.2).
    """
    name = section.get("dns_name", domain_name, "")
    if name and dns.canonical(identity) != name:
        section.fault("dns_name", f'must be the identity, which is "{identity}" (RFC 5026)')
    return name


def check_identity(section: Section, identity: str, ike: IkeSection) -> None:
    """Note when this host's own certificate is for somebody else."""
    names = certified_names(ike)
    if names and "." in identity and dns.canonical(identity) not in names:
        option = next((name for name in ("identity", "dns_name") if name in section), "identity")
        section.fault(option, f"the certificate in [ike] is for {', '.join(names)}")
