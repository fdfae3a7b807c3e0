# SPDX-License-Identifier: GPL-2.0-only
"""A router that knows a domain: what its configuration says, and what contradicts itself."""

from __future__ import annotations

import re
import time
import tomllib
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from dsmip.ikev2.authentication import AuthenticationFailed, Verifier
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.issuing import issue
from dsmip.ikev2.signatures import KeyKind, generate_key
from dsmip.linux.rtnl import InterfaceAddress, Link
from dsmip.mobility.bootstrap import BootstrapConfig, Target
from dsmip.service import ike_build, render
from dsmip.service.bootstrapping import FoundFile, with_found
from dsmip.service.config import Config, parse
from dsmip.service.ike_config import Authentication, Manager
from dsmip.service.lan_prefixes import with_lan
from dsmip.service.options import ConfigError

from tests.unit.test_config import ROUTER, changed, faults
from tests.unit.test_render import router as shown_router

DOMAIN, BUS, AGENT = "example.test", "bus-17.example.test", "ha1.example.test"
HA6, HA4 = IPv6Address("2001:db8:1::1"), IPv4Address("198.51.100.1")
TEXT = (Path(__file__).parents[2] / "docs" / "bootstrap.md").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a router's certificate and a home agent's."""
    made = tmp_path_factory.mktemp("pki")
    root = generate_key(KeyKind.P256)
    common: dict[str, Any] = {"at": time.time(), "lifetime": 86400.0}
    ca = issue(root.public, root, None, subject="CN=Operator", ca=True, **common)
    (made / "ca.crt").write_bytes(ca.pem())
    for name, names in {"bus": [BUS, "bus-17.fleet.test"], "ha": [AGENT, DOMAIN]}.items():
        key = generate_key(KeyKind.P256)
        leaf = issue(
            key.public,
            root,
            ca,
            subject=f"CN={names[0]}",
            identities=[Identity.parse(one) for one in names],
            **common,
        )
        (made / f"{name}.crt").write_bytes(leaf.pem())
        (made / f"{name}.key").write_bytes(key.pem())
    return made


def known(folder: Path, **router: object) -> dict[str, Any]:
    """Return a configuration with no more than a domain and a certificate."""
    section = {"domain": DOMAIN, "uplink": [{"interface": "wan0"}]} | router
    return {
        "ike": {
            "certificate": str(folder / "bus.crt"),
            "private_key": str(folder / "bus.key"),
            "authorities": [str(folder / "ca.crt")],
        },
        "mobile_router": {name: value for name, value in section.items() if value is not None},
    }


def test_domain_and_certificate_are_enough(folder: Path) -> None:
    section = parse(known(folder)).mobile_router
    assert section is not None
    engine = section.engine
    assert engine.identity == BUS, "the certificate's first name"
    assert engine.home_agent6.is_unspecified
    assert engine.home_address.is_unspecified
    assert not engine.explicit
    (row,) = section.rows
    assert row.asks
    assert row.plan.manager is Manager.IKEV2
    assert row.plan.credentials is not None
    assert row.plan.credentials.authentication is Authentication.CERTIFICATE
    assert row.plan.agent_name == DOMAIN
    found = section.with_home_agent(AGENT, HA6, HA4)
    assert (found.engine.home_agent6, found.engine.home_agent4) == (HA6, HA4)
    assert (found.rows[0].agent, found.rows[0].agent4) == (HA6, HA4)
    assert found.rows[0].plan.agent_identity == AGENT
    lan = found.with_prefixes((ip_network("2001:db8:100::/64"),))
    assert lan.engine.prefixes == lan.rows[0].prefixes
    assert lan.engine.mobile_router


def test_home_agent_by_name(folder: Path) -> None:
    values = known(folder, domain=None, home_agent_name=AGENT, home_address="2001:db8:1::100")
    section = parse(values).mobile_router
    assert section is not None
    assert section.bootstrap is not None
    assert section.bootstrap.engine.name == section.rows[0].plan.agent_name == AGENT
    assert not section.rows[0].asks
    given = known(folder, home_agent_identity="ha.example.test")
    pinned = parse(given).mobile_router
    assert pinned is not None
    assert pinned.rows[0].plan.agent_name == ""
    assert pinned.with_home_agent(AGENT, HA6, None).rows[0].plan.agent_identity == "ha.example.test"


@pytest.mark.parametrize(
    ("more", "option", "reason"),
    [
        ({"home_agent": [str(HA6)]}, "home_agent", "domain excludes it"),
        ({"home_prefix": "2001:db8:1::/64"}, "home_prefix", "domain excludes it"),
        ({"home_address": "2001:db8:1::100"}, "home_address", "domain excludes it"),
        ({"home_agent_name": AGENT}, "home_agent_name", "domain excludes it"),
        ({"domain": None, "home_agent_name": AGENT, "home_agent": [str(HA6)]}, "home_agent", "ex"),
        ({"static_key": "8f" * 32}, "static_key", 'needs keys = "ikev2"'),
        ({"protection": "none"}, "protection", 'needs keys = "ikev2"'),
        ({"domain": "test"}, "domain", "a domain name like"),
        ({"domain": "a..test"}, "domain", "a domain name like"),
        ({"domain": "x" * 64 + ".test"}, "domain", "a domain name like"),
        ({"domain": "exa mple.test"}, "domain", "a domain name like"),
        ({"dns_name": "bus-18.example.test"}, "dns_name", "the certificate in [ike] is for"),
        ({"identity": "bus-18.example.test"}, "identity", "the certificate in [ike] is for"),
        ({"dns_name": "bus-17.fleet.test", "identity": BUS}, "dns_name", "must be the identity"),
        ({"dns_servers": ["ns.example.test"]}, "dns_servers", "address of a name server"),
        ({"dns_servers": ["ff02::1"]}, "dns_servers", "address of a name server"),
        ({"bootstrap_wait": 1}, "bootstrap_wait", "a number from 2 to 600"),
        ({"bootstrap_retry": 0}, "bootstrap_retry", "a number from 1 to 86400"),
    ],
)
def test_contradictions(folder: Path, more: dict[str, Any], option: str, reason: str) -> None:
    found = faults(known(folder, **more))
    assert any(f"[mobile_router] {option}" in f and reason in f for f in found), found


def test_what_goes_with_a_domain_only() -> None:
    for option, value in (("bootstrap_wait", 5), ("dns_servers", ["192.0.2.53"])):
        found = faults(changed(ROUTER, f"mobile_router.{option}", value))
        assert any("goes with domain or home_agent_name only" in fault for fault in found)


def test_no_name_at_all(folder: Path) -> None:
    values = known(folder, auth="psk", psk="secret", keys="ikev2")
    del values["ike"]
    found = faults(values)
    assert any("no certificate in [ike] has a domain name" in fault for fault in found)


# --- whom it believes ---------------------------------------------------------------


def judge(folder: Path, who: str, identity: str, **router: object) -> str:
    """Let the router's verifier look at a certificate; return why it refuses it."""
    made = parse(known(folder, **router))
    assert made.mobile_router is not None
    row = made.mobile_router.with_home_agent(AGENT, HA6, None).rows[0]
    connection = ike_build.connection("x", row.plan, made.ike, (), mobile=True)
    assert (connection.remote is None) == bool(row.plan.agent_name)
    (verifier,) = connection.peer
    assert isinstance(verifier, Verifier)
    from dsmip.ikev2.certificates import load_certificates

    (leaf,) = load_certificates((folder / f"{who}.crt").read_bytes())
    data = b"signed"
    from dsmip.ikev2.signatures import load_private_key

    key = load_private_key((folder / f"{who}.key").read_bytes())
    method, signature = key.sign_auth(data, (2, 3, 4))
    try:
        verifier.verify(
            method, signature, data, 5, Identity.parse(identity), ((4, leaf.der),), time.time()
        )
    except AuthenticationFailed as error:
        return error.reason
    return ""


def test_the_certificate_must_be_for_the_domain(folder: Path) -> None:
    """Whoever answers is not enough: every router has a certificate of the same authority."""
    assert judge(folder, "ha", AGENT) == ""
    assert judge(folder, "ha", DOMAIN) == ""
    assert "is for another name than example.test" in judge(folder, "bus", BUS)
    assert "is not for ha2.example.test" in judge(folder, "ha", "ha2.example.test")
    by_name = {"domain": None, "home_agent_name": "ha2.example.test"}
    assert "is for another name than ha2" in judge(folder, "ha", AGENT, **by_name)


def test_a_key_without_a_name_is_nobodys(folder: Path) -> None:
    made = parse(known(folder))
    assert made.mobile_router is not None
    row = made.mobile_router.with_home_agent(AGENT, HA6, None).rows[0]
    (verifier,) = ike_build.connection("x", row.plan, made.ike, (), mobile=True).peer
    assert isinstance(verifier, Verifier)
    key = generate_key(KeyKind.P256)
    method, signature = key.sign_auth(b"signed", (2, 3, 4))
    with pytest.raises(AuthenticationFailed, match="has no name"):
        verifier.verify(
            method, signature, b"signed", 5, Identity.parse(AGENT), ((15, key.public.spki),), 0.0
        )


# --- what is remembered -------------------------------------------------------------


def test_a_home_agent_is_remembered(folder: Path, tmp_path: Path) -> None:
    made = parse(known(folder) | {"globals": {"state": str(tmp_path)}})
    assert with_found(made) is made
    target = Target(AGENT, HA6, HA4)
    assert made.mobile_router is not None
    assert made.mobile_router.bootstrap is not None
    memory = FoundFile(str(tmp_path))
    memory.write(made.mobile_router.bootstrap.engine, target)
    found = with_found(made).mobile_router
    assert found is not None
    assert found.engine.home_agent6 == HA6
    assert memory.read(made.mobile_router.bootstrap.engine) == target
    assert memory.read(BootstrapConfig(domain="other.test")) is None
    assert with_found(Config(made.globals)).mobile_router is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"domain": 1}', '{"agent6": "x"}', "\0"])
def test_a_memory_that_is_spoilt(tmp_path: Path, text: str) -> None:
    (tmp_path / "home-agent.json").write_text(text)
    assert FoundFile(str(tmp_path)).read(BootstrapConfig(domain=DOMAIN)) is None


# --- the document -------------------------------------------------------------------


def test_examples_are_good_configurations(folder: Path, tmp_path: Path) -> None:
    key = generate_key(KeyKind.ED25519)
    (tmp_path / "bus-17.pub").write_bytes(key.public.pem())
    (tmp_path / "own.key").write_bytes(key.pem())
    examples = [tomllib.loads(text) for text in re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)]
    assert len(examples) == 2
    router, agent = examples
    router["ike"] = known(folder)["ike"]
    agent["ike"] = {"private_key": "own.key"}
    for values in (router, agent):
        try:
            made = parse(values, str(tmp_path / "dsmip.toml"))
        except ConfigError as error:
            pytest.fail(str(error))
    assert made.home_agent is not None
    assert made.home_agent.dns_update is not None


def test_options_and_their_defaults(folder: Path) -> None:
    rows = dict(re.findall(r"(?m)^\| `([a-z_]+)` \| ([^|]*) \|", TEXT))
    section = parse(known(folder)).mobile_router
    assert section is not None
    assert section.bootstrap is not None
    plain = section.bootstrap
    shown = {
        "resolv_conf": plain.resolv_conf,
        "bootstrap_wait": plain.engine.wait,
        "bootstrap_retry": plain.engine.retry,
    }
    for name, value in shown.items():
        assert tomllib.loads(f"x = {rows[name].strip('`')}")["x"] == value
    assert replace(plain, servers=()) == plain
    assert all(len(line) <= 100 for line in TEXT.splitlines())


# --- prefixes -------------------------------------------------------------------------


def test_mobile_network_prefixes_are_those_of_the_lan(folder: Path) -> None:
    class Rtnl:
        def link(self, name: str) -> Link | None:
            return {"lan0": Link(4, "lan0", True, True, 1500)}.get(name)

        def addresses(self) -> list[InterfaceAddress]:
            return [
                InterfaceAddress(interface, ip_address(address), length)
                for interface, address, length in (
                    (4, "2001:db8:100::1", 64),
                    (4, "fe80::1", 64),
                    (4, "203.0.113.1", 28),
                    (4, "2001:db8:100::2", 64),
                    (4, "2001:db8:1::100", 128),
                    (5, "2001:db8:500::1", 64),
                )
            ]

    made = with_lan(parse(known(folder, lan=["lan0", "gone"])), Rtnl())
    assert made.mobile_router is not None
    found = made.mobile_router.engine.prefixes
    assert [str(p) for p in found] == ["2001:db8:100::/64", "203.0.113.0/28"]
    named = parse(known(folder, lan=["lan0"], prefixes=["2001:db8:100::/56"]))
    assert with_lan(named, Rtnl()) is named
    usual = parse(ROUTER)
    assert with_lan(usual, Rtnl()) is usual


# --- what people see ------------------------------------------------------------------


def test_each_step_is_shown_with_its_time() -> None:
    steps = [("access network", 0.0, False, "wan0"), ("authentication", 1.234, True, "x " * 99)]
    document = {
        "version": "1",
        "uptime": 5,
        "device": {"name": "mip0", "port": 4191, "drops": {}},
        "mobile_router": shown_router(home_agent=IPv6Address(0)),
        "bootstrap": {
            "domain": DOMAIN,
            "asked_name": "",
            "state": "waiting to try again",
            "found_by": "",
            "home_agent_name": "",
            "home_agents": [],
            "problem": "certificate of CN=x is for another name than example.test",
            "retry_in": 29.0,
            "steps": [
                {"step": step, "seconds": at, "failed": failed, "text": text}
                for step, at, failed, text in steps
            ],
        },
    }
    lines = render.status(document)
    text = "\n".join(lines)
    assert "Looking for a home agent" in text
    assert "Bootstrapping   example.test: waiting to try again" in text
    assert "  0.00 s        access network: wan0" in text
    assert "  1.23 s        authentication: failed: x x" in text
    assert "is for another name than" in text
    assert "again in 29 s" in " ".join(text.split())
    assert max(map(len, lines)) <= render.WIDTH
