# SPDX-License-Identifier: GPL-2.0-only
"""Options of delegated prefixes, of the LAN, and of nodes without IPsec."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network
from typing import Any

import pytest
from dsmip.ipsec.policy import Kind, Numbering, Role
from dsmip.service.config import Config, parse
from dsmip.service.ike_config import Manager
from dsmip.service.members import members, protection_of
from dsmip.service.options import ConfigError
from dsmip.service.uci import parse_sections, tree_of

from tests.unit.test_config import AGENT, ROUTER, changed

KEY = "0f" * 16


def agent(entry: dict[str, Any] | None = None, **options: Any) -> Config:
    values = changed(AGENT, "home_agent.prefix_pool", ["2001:db8:400::/48"])
    values["home_agent"] |= {"delegated_length": 56} | options
    values["home_agent"]["router"][0] |= entry or {}
    return parse(values, "test.toml")


def router(**options: Any) -> Config:
    values = changed(ROUTER, "mobile_router.lan", ["lan0"])
    values["mobile_router"] |= options
    values["mobile_router"] = {k: v for k, v in values["mobile_router"].items() if v is not None}
    return parse(values, "test.toml")


def test_a_home_agent_delegates_to_who_is_named() -> None:
    config = agent({"delegated_prefixes": 2, "duid": "00030001020000000001"}, dns=["2001:db8::53"])
    section = config.home_agent
    assert section is not None
    assert section.delegates
    assert section.engine.prefix_pool == (IPv6Network("2001:db8:400::/48"),)
    assert section.engine.delegated_length == 56
    assert section.delegated_lifetime == 86400
    assert section.dns == (IPv6Address("2001:db8::53"),)
    (owner,) = section.engine.owners
    assert owner.delegated_prefixes == 2
    assert owner.duid == bytes.fromhex("00030001020000000001")
    plain = agent().home_agent
    assert plain is not None
    assert not plain.delegates


def test_a_router_that_asks_registers_implicitly_and_advertises() -> None:
    section = router(prefixes=None, delegated_prefixes=1).mobile_router
    assert section is not None
    assert not section.engine.explicit
    assert section.engine.mobile_router
    assert section.advertise
    quiet = router(prefixes=None, delegated_prefixes=1, advertise=False).mobile_router
    assert quiet is not None
    assert not quiet.advertise
    usual = router().mobile_router
    assert usual is not None
    assert (usual.engine.explicit, usual.advertise) == (True, False)


@pytest.mark.spec("N-080")
def test_dhcpv6_has_a_row_of_its_own_at_both_ends() -> None:
    for config, role in (
        (agent({"delegated_prefixes": 1}), Role.HOME_AGENT),
        (router(prefixes=None, delegated_prefixes=1), Role.MOBILE_ROUTER),
    ):
        section = config.home_agent or config.mobile_router
        assert section is not None
        (row,) = section.rows
        assert protection_of(row).delegation
        (member,) = members([(role, row)], Numbering()).values()
        found = member.row_of(Kind.DELEGATION)
        assert found is not None
        (there,) = found.selectors(towards_agent=True)
        (back,) = found.selectors(towards_agent=False)
        assert (there.protocol, there.source_port, there.destination_port) == (17, None, 547)
        assert (back.protocol, back.source_port, back.destination_port) == (17, 547, None)


def test_a_node_without_ipsec_is_told_by_its_entry() -> None:
    entry = {
        "static_key": None,
        "protection": "rfc4285",
        "mn_ha_key": KEY,
        "mn_ha_spi": 4097,
        "nai": "phone@example.net",
        "mobile_router": False,
    }
    values = changed(AGENT, "home_agent.router.0.static_key", None)
    values["home_agent"]["router"][0] |= {k: v for k, v in entry.items() if v is not None}
    section = parse(values, "test.toml").home_agent
    assert section is not None
    (owner,) = section.engine.owners
    assert owner.authentication is not None
    assert (owner.authentication.spi, owner.authentication.nai) == (4097, "phone@example.net")
    assert owner.authentication.timestamps
    assert KEY not in repr(owner)
    assert section.rows[0].plan.manager is Manager.NONE


@pytest.mark.parametrize(
    ("entry", "options", "complaint"),
    [
        ({"delegated_prefixes": 9}, {}, "a whole number from 0 to 8"),
        (
            {"delegated_prefixes": 1, "prefixes": []},
            {"prefix_pool": []},
            "is missing: bus-17 has delegated_prefixes",
        ),
        ({}, {"prefix_pool": ["2001:db8:1::/64"]}, "overlaps 2001:db8:1::/64"),
        ({}, {"prefix_pool": ["2001:db8:400::/48", "2001:db8:400::/50"]}, "overlaps 2001:db8:400"),
        ({}, {"prefix_pool": ["2001:db8:400::/60"]}, "smaller than a prefix of 56 bits"),
        ({}, {"delegated_length": 129}, "a whole number from 1 to 128"),
        ({}, {"delegated_lifetime": 10}, "a whole number from 60"),
        ({"duid": "00"}, {}, "3 to 130 octets"),
        ({"mn_ha_key": KEY}, {}, 'goes with protection = "rfc4285" only'),
        ({"protection": "rfc4285"}, {}, '"rfc4285" excludes static_key'),
        ({"protection": "rfc4285"}, {}, "mn_ha_spi: is missing"),
        ({"protection": "rfc4285", "mn_ha_spi": 255}, {}, "a whole number from 256"),
        ({"protection": "rfc4285", "mn_ha_key": KEY[2:]}, {}, "16 octets in hexadecimal"),
        ({"protection": "rfc4285", "delegated_prefixes": 1}, {}, "excludes it"),
        ({"protection": "rfc4285", "replay": "none"}, {}, '"timestamp", "sequence"'),
        ({"protection": "rfc4286"}, {}, '"esp", "none", "rfc4285"'),
    ],
)
def test_mistakes_at_the_home_agent_are_named(
    entry: dict[str, Any], options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        agent(entry, **options)
    assert complaint in str(caught.value)
    assert KEY[2:] not in str(caught.value)


def test_two_routers_cannot_have_one_duid() -> None:
    values = changed(AGENT, "home_agent.router.0.duid", "00030001020000000001")
    second = dict(values["home_agent"]["router"][0])
    second |= {
        "identity": "tram",
        "home_address": "2001:db8:1::200",
        "home_address4": "198.51.100.101",
        "prefixes": ["2001:db8:300::/56"],
        "static_key": "9e" * 32,
    }
    values["home_agent"]["router"].append(second)
    with pytest.raises(ConfigError, match="DUID 00030001020000000001 is given to"):
        parse(values)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"delegated_prefixes": 1, "mode": "explicit"}, 'needs "implicit"'),
        ({"delegated_prefixes": -1}, "a whole number from 0 to 8"),
        ({"delegated_length": 200}, "a whole number from 0 to 128"),
        ({"advertise": "yes"}, "true or false"),
        ({"dns": ["10.0.0.1"]}, "a routable unicast IPv6 address"),
        ({"lan": ["wan0"]}, "wan0 is an uplink too"),
        ({"prefixes": None}, "prefixes: is missing"),
    ],
)
def test_mistakes_at_the_router_are_named(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        router(**options)
    assert complaint in str(caught.value)


def test_on_openwrt_odhcpd_advertises() -> None:
    text = """
config mobile_router
    option identity 'bus-17'
    option home_address '2001:db8:1::100'
    option home_prefix '2001:db8:1::/64'
    list home_agent '2001:db8:1::1'
    option static_key '%s'
    option delegated_prefixes '2'
    list lan 'br-lan'

config uplink 'wan'
    option interface 'wan'
"""
    key = "8f" * 32
    tree = tree_of(parse_sections(text % key), "dsmip")
    section = parse(tree.values).mobile_router
    assert section is not None
    assert section.engine.delegated_prefixes == 2
    assert not section.advertise
    wanted = text.replace("option delegated", "option advertise '1'\n    option delegated")
    section = parse(tree_of(parse_sections(wanted % key), "dsmip").values).mobile_router
    assert section is not None
    assert section.advertise


def test_uci_spells_a_node_without_ipsec_alike() -> None:
    text = f"""
config home_agent
    list addresses '2001:db8:1::1'
    list prefixes '2001:db8:1::/64'

config peer
    option identity 'phone'
    option home_address '2001:db8:1::300'
    option mobile_router '0'
    option protection 'rfc4285'
    option mn_ha_spi '4097'
    option mn_ha_key '{KEY}'
    option delegated_prefixes '0'
"""
    section = parse(tree_of(parse_sections(text), "dsmip").values).home_agent
    assert section is not None
    (owner,) = section.engine.owners
    assert owner.authentication is not None
    assert owner.authentication.spi == 4097
