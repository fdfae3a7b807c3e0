# SPDX-License-Identifier: GPL-2.0-only
"""Configuration of keys: who shares them with whom, and what makes them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from ..ipsec.policy import DirectionKeys, RowKeys
from ..ipsec.static import (
    AUTHENTICATION_KEY_SIZE,
    ENCRYPTION_KEY_SIZES,
    LARGEST_SECRET,
    LEAST_SECRET,
    LEAST_SPI,
    derive,
)
from ..packet.kernel import Network
from . import options as o
from .ike_config import Authentication, IkeSection, KeyPlan, Manager, Payload
from .options import Section

_NOWHERE: Final = IPv6Address(0)


@dataclass(frozen=True, slots=True)
class Row:
    """A home address and a home agent, with the keys they share.

    ``plan`` says who makes the keys; ``keys`` are those of the configuration,
    None when there are none, and ``secret`` is what they were made of. A home
    address ``::`` comes from IKE, which is asked for one when ``asks``.
    ``prefixes`` and ``home_address4`` are what payload protection covers besides.
    """

    home_address: IPv6Address
    agent: IPv6Address
    keys: RowKeys | None
    plan: KeyPlan = field(default_factory=KeyPlan)
    secret: bytes = field(default=b"", repr=False)
    asks: bool = False
    agent4: IPv4Address | None = None
    prefixes: tuple[Network, ...] = ()
    home_address4: IPv4Address | None = None


def check_plan(
    section: Section, plan: KeyPlan, ike: IkeSection, home_address: IPv6Address, agent_side: bool
) -> None:
    """Note what a plan needs and does not find elsewhere in the configuration."""
    if home_address == _NOWHERE and plan.manager is not Manager.IKEV2:
        section.fault("home_address", 'is missing: only keys = "ikev2" can bring one')
    if plan.manager is Manager.STATIC:
        _check_static(section, plan)
    if plan.manager is Manager.EXTERNAL and plan.delegation and plan.payload is not Payload.NONE:
        # Nobody would tell the other daemon of a prefix that comes later.
        section.fault("payload", 'keys = "external" and delegated_prefixes exclude it')
    credentials = plan.credentials
    if credentials is None:
        return
    method = credentials.authentication
    if not (plan.agent_identity or plan.agent_name) and not agent_side:
        section.fault("home_agent_identity", 'is missing: keys = "ikev2" needs to know it')
    by_password = method is Authentication.EAP_MSCHAPV2
    radius = agent_side and ike.radius is not None
    if by_password and not credentials.password and not radius:
        section.fault("password", f'is missing: auth = "{method}" needs it')
    own_key = agent_side if by_password else method is not Authentication.PSK
    certified = method not in (Authentication.PSK, Authentication.PUBLIC_KEY)
    if own_key and ike.private_key is None:
        section.fault("auth", f'"{method}" needs private_key in [ike]')
    if own_key and certified and ike.certificate is None:
        section.fault("auth", f'"{method}" needs certificate in [ike]')
    verifies = certified and not (agent_side and (by_password or radius))
    if verifies and not ike.authorities:
        section.fault("auth", f'"{method}" needs authorities in [ike]')


def _check_static(section: Section, plan: KeyPlan) -> None:
    if plan.delegation and "esp" in section:
        section.fault("delegated_prefixes", "needs static_key: [esp] has keys for signalling only")
    forms = {"payload": plan.payload, "return_routability": plan.return_routability}
    for option, form in forms.items():
        if form is not Payload.NONE and "esp" in section:
            section.fault(option, "needs static_key: [esp] has keys for signalling only")
        if form is Payload.RFC4877:
            # Nobody would tell the UDP ports of ESP behind a NAT (RFC 3948).
            section.fault(option, '"rfc4877" needs keys = "ikev2" or "external"')


def read_rows(
    section: Section,
    home_address: IPv6Address,
    agents: tuple[IPv6Address, ...],
    plan: KeyPlan,
    agent_side: bool,
) -> tuple[Row, ...]:
    """Read the keys of an entry, for each of the home agent's addresses."""
    read = o.octets(least=LEAST_SECRET, largest=LARGEST_SECRET)
    secret = section.get("static_key", read, b"")
    esp = section.section("esp")
    word = section.get("protection", o.choice("esp", "none", "rfc4285"), "esp")
    unprotected = word != "esp"
    given = [name for name in ("static_key", "esp") if name in section]
    if unprotected and given:
        section.fault("protection", f'"{word}" excludes {given[0]}')
    elif len(given) > 1:
        section.fault("static_key", f"excludes [{section.name}.esp]")
    elif not given and not unprotected and plan.manager is Manager.STATIC:
        section.fault(
            "static_key",
            "is missing: signalling is protected by ESP (RFC 6275 section 5.1); "
            f"give static_key or [{section.name}.esp]",
        )
    manual = None if esp is None else _manual_keys(esp, agent_side)
    if unprotected:
        plan = replace(plan, manager=Manager.NONE, delegation=False)
        if plan.payload is not Payload.NONE:
            section.fault("payload", f'protection = "{word}" excludes it')
    found = []
    for agent in agents:
        keys = manual
        if keys is None and secret:
            keys = derive(secret, home_address, agent)
        found.append(Row(home_address, agent, keys, plan, secret))
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
