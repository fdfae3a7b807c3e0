# SPDX-License-Identifier: GPL-2.0-only
"""Configuration of keys: what is taken, and what is said about each mistake."""

from __future__ import annotations

import copy
import subprocess
import sys
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest
from dsmip.ipsec.policy import Form, Kind, Numbering, Role
from dsmip.service import ike_build
from dsmip.service.config import Config, parse
from dsmip.service.ike_config import (
    Authentication,
    Manager,
    Movement,
    Payload,
    Start,
    fixed_settings,
)
from dsmip.service.members import members
from dsmip.service.options import ConfigError

from tests.unit.test_config import AGENT, ROUTER, SECRET, changed, faults

PSK = "0x" + "5a" * 64


def with_psk(base: dict[str, Any], path: str, **more: object) -> dict[str, Any]:
    made = changed(base, f"{path}.static_key", None)
    for option, value in ({"keys": "ikev2", "psk": PSK} | more).items():
        if value is not None:
            made = changed(made, f"{path}.{option}", value)
    return made


IKE_AGENT = changed(with_psk(AGENT, "home_agent.router.0"), "home_agent.identity", "ha.example.net")
IKE_ROUTER = with_psk(ROUTER, "mobile_router", home_agent_identity="ha.example.net")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys and certificates of one host, made with OpenSSL as an operator would."""
    folder = tmp_path_factory.mktemp("keys")
    commands = [
        "genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-256 -out host.key",
        "req -new -x509 -key host.key -subj /CN=ha.example.net -days 30 -out host.pem "
        "-addext subjectAltName=DNS:ha.example.net",
        "pkey -in host.key -pubout -out host.pub",
        "genpkey -algorithm ed25519 -out other.key",
    ]
    for command in commands:
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    (folder / "empty.pem").write_bytes(b"")
    return folder


def ike(base: dict[str, Any], **options: object) -> dict[str, Any]:
    made = copy.deepcopy(base)
    made.setdefault("ike", {}).update(options)
    return made


def test_shared_secret_at_both_ends() -> None:
    agent, router = parse(IKE_AGENT).home_agent, parse(IKE_ROUTER).mobile_router
    assert agent is not None
    assert router is not None
    for row in (*agent.rows, *router.rows):
        plan = row.plan
        assert plan.manager is Manager.IKEV2
        assert plan.identity == "bus-17"
        assert plan.agent_identity == "ha.example.net"
        assert plan.payload is Payload.NONE
        assert plan.movement is Movement.MIGRATE
        assert plan.credentials is not None
        assert plan.credentials.authentication is Authentication.PSK
        assert plan.credentials.psk == b"\x5a" * 64
        assert row.keys is None
        assert row.agent4 == IPv4Address("198.51.100.1")
        assert IPv6Network("2001:db8:100::/56") in row.prefixes
    assert router.engine.key_mobility
    assert agent.engine.owners[0].key_mobility


def test_static_stays_what_is_meant_when_nothing_is_said() -> None:
    agent = parse(AGENT).home_agent
    assert agent is not None
    assert agent.rows[0].plan.manager is Manager.STATIC
    assert agent.rows[0].secret == bytes.fromhex(SECRET)
    assert not agent.engine.owners[0].key_mobility


def test_payload_with_a_static_key() -> None:
    values = changed(AGENT, "home_agent.router.0.payload", "inside")
    agent = parse(values).home_agent
    assert agent is not None
    (member,) = members([(Role.HOME_AGENT, agent.rows[0])], Numbering()).values()
    row = member.row_of(Kind.PAYLOAD)
    assert row is not None
    assert row.form is Form.INSIDE
    assert IPv6Network("2001:db8:100::/56") in row.home


def test_home_address_from_ike() -> None:
    values = changed(IKE_AGENT, "home_agent.pool6", ["2001:db8:1::1000/116"])
    values = changed(values, "home_agent.router.0.home_address", None)
    agent = parse(values).home_agent
    assert agent is not None
    assert agent.engine.pool6 == (IPv6Network("2001:db8:1::1000/116"),)
    assert agent.engine.owners[0].dynamic_home_address
    router = parse(changed(IKE_ROUTER, "mobile_router.home_address", "auto")).mobile_router
    assert router is not None
    assert router.engine.home_address.is_unspecified
    assert router.rows[0].asks
    leased = router.with_home_address(IPv6Address("2001:db8:1::1234"))
    assert leased.engine.home_address == leased.rows[0].home_address
    assert leased.rows[0].asks


def test_general_options() -> None:
    values = ike(
        IKE_AGENT, migrate="off", cookie_threshold=0, dpd=2, proposals=["aes128-sha256-modp2048"]
    )
    found = parse(values).ike
    assert (found.migrate, found.cookie_threshold, found.dpd) == ("off", 0, 2.0)
    assert [str(p) for p in ike_build.ike_proposals(found)] == ["aes128-prfsha256-sha256-modp2048"]
    plain = parse(IKE_AGENT).ike
    assert (plain.port, plain.nat_port, plain.migrate) == (500, 4500, "auto")
    assert fixed_settings(plain, found) == ["migrate", "cookie_threshold"]


def test_certificates_are_read_from_beside_the_configuration(files: Path) -> None:
    values = with_psk(AGENT, "home_agent.router.0", psk=None, auth="certificate")
    values = changed(values, "home_agent.identity", "ha.example.net")
    values = ike(values, certificate="host.pem", private_key="host.key", authorities=["host.pem"])
    found = parse(values, str(files / "dsmip.toml"))
    assert found.ike.certificate is not None
    assert found.ike.certificate.path == str(files / "host.pem")
    assert "BEGIN" not in repr(found)
    plan = found.home_agent.rows[0].plan  # type: ignore[union-attr]
    connection = ike_build.connection("bus-17", plan, found.ike, (), mobile=False)
    assert len(connection.own.chain) == 1  # type: ignore[union-attr]
    assert str(connection.remote) == "bus-17"


def test_public_keys(files: Path) -> None:
    values = with_psk(
        AGENT, "home_agent.router.0", psk=None, auth="public-key", public_key="host.pub"
    )
    values = changed(values, "home_agent.identity", "ha.example.net")
    found = parse(ike(values, private_key="other.key"), str(files / "dsmip.toml"))
    plan = found.home_agent.rows[0].plan  # type: ignore[union-attr]
    connection = ike_build.connection("bus-17", plan, found.ike, (), mobile=False)
    assert connection.own.chain == ()  # type: ignore[union-attr]


ALONE: dict[str, Any] = {
    "ike": {
        "connection": [
            {
                "name": "umip",
                "local_identity": "mn.example.net",
                "remote_identity": "ha.example.net",
                "remote": ["2001:db8:1::1"],
                "psk": "a secret between the two",
                "child": [
                    {
                        "name": "signalling",
                        "reqid": 77,
                        "mode": "transport",
                        "local": ["2001:db8:1::100[135]"],
                        "remote": ["2001:db8:1::1[135/0x500]"],
                        "endpoints": ["2001:db8:1::100", "2001:db8:1::1"],
                    },
                    {
                        "name": "tunnel",
                        "reqid": 78,
                        "local": ["2001:db8:1::100/128"],
                        "remote": ["::/0"],
                        "start": "start",
                    },
                ],
            }
        ]
    }
}


def test_connections_of_another_stack() -> None:
    found = parse(ALONE).ike
    (entry,) = found.connections
    assert [child.start for child in entry.children] == [Start.TRAP, Start.START]
    connection = ike_build.alone(entry, found)
    signalling, tunnel = connection.children
    assert signalling.mode.value == "transport"
    assert str(signalling.local[0]) == "2001:db8:1::100/128[135]"
    assert str(signalling.remote[0]) == "2001:db8:1::1/128[135/1280]"
    assert signalling.endpoints == (IPv6Address("2001:db8:1::100"), IPv6Address("2001:db8:1::1"))
    assert tunnel.endpoints is None


MISTAKES: list[tuple[dict[str, Any], str, object, str]] = [
    (IKE_AGENT, "ike.port", 0, "1 to 65535"),
    (IKE_AGENT, "ike.nat_port", 500, "the same as port"),
    (IKE_AGENT, "ike.migrate", "maybe", '"auto", "off"'),
    (IKE_AGENT, "ike.prot", 1, 'did you mean "port"?'),
    (IKE_AGENT, "ike.proposals", ["aes128-rot13"], "'rot13' is not one of"),
    (IKE_AGENT, "ike.esp_proposals", ["aes128"], "an integrity algorithm is missing"),
    (IKE_AGENT, "ike.certificate", "absent.pem", "a file that can be read (No such file"),
    (IKE_AGENT, "ike.certificate", 7, "the name of a file"),
    (IKE_AGENT, "ike.authorities", ["empty.pem"], "a file that can be used"),
    (IKE_AGENT, "ike.certificate", "host.pem", "private_key: is missing"),
    (IKE_AGENT, "ike", {"certificate": "host.pem", "private_key": "other.key"}, "another key"),
    (IKE_AGENT, "ike.radius", {"server": "192.0.2.1"}, "secret: is missing"),
    (IKE_AGENT, "home_agent.identity", None, 'with keys = "ikev2" the home agent has a name'),
    (IKE_AGENT, "home_agent.identity", "no name", "no identity"),
    (IKE_AGENT, "home_agent.router.0.identity", "two words", "no identity"),
    (IKE_AGENT, "home_agent.router.0.keys", "magic", '"static", "ikev2", "external"'),
    (IKE_AGENT, "home_agent.router.0.psk", None, 'auth = "psk" needs it'),
    (IKE_AGENT, "home_agent.router.0.psk", "0xzz", "0x and hexadecimal"),
    (IKE_AGENT, "home_agent.router.0.psk", "", "1 to 256 octets"),
    (IKE_AGENT, "home_agent.router.0.static_key", SECRET, '"ikev2" excludes static_key'),
    (IKE_AGENT, "home_agent.router.0.password", "x", "of no use with"),
    (IKE_AGENT, "home_agent.router.0.auth", "certificate", "needs private_key in [ike]"),
    (IKE_AGENT, "home_agent.router.0.auth", "public-key", "public_key: is missing"),
    (IKE_AGENT, "home_agent.router.0.auth", "eap-mschapv2", "password: is missing"),
    (IKE_AGENT, "home_agent.router.0.ppk", "x" * 32, "ppk_id: is missing"),
    (IKE_AGENT, "home_agent.router.0.payload", "some", '"none", "inside", "rfc4877"'),
    (IKE_AGENT, "home_agent.router.0.movement", "fly", '"migrate", "mobike"'),
    (IKE_AGENT, "home_agent.router.0.home_address", None, "no pool6"),
    (IKE_AGENT, "home_agent.pool6", ["2001:db8:2::/64"], "must be in a home prefix"),
    (IKE_ROUTER, "mobile_router.home_agent_identity", None, "needs to know it"),
    (AGENT, "home_agent.router.0.psk", "x", 'goes with keys = "ikev2" only'),
    (AGENT, "home_agent.router.0.payload", "rfc4877", 'needs keys = "ikev2"'),
    (AGENT, "home_agent.router.0.home_address", None, 'only keys = "ikev2" can bring one'),
    (ROUTER, "mobile_router.home_address", "auto", 'only keys = "ikev2" can bring one'),
    (AGENT, "globals.state", "var", "absolute path"),
    (ALONE, "ike.connection.0.child.1.reqid", 77, "is that of umip/signalling too"),
    (ALONE, "ike.connection.0.child.1.name", "signalling", "stands there twice"),
    (ALONE, "ike.connection.0.child.0.local", ["2001:db8::1[300]"], "a selector like"),
    (ALONE, "ike.connection.0.child.0.endpoints", ["192.0.2.1", "2001:db8::1"], "of one family"),
    (ALONE, "ike.connection.0.child", None, "[[ike.connection 1.child]]"),
    (ALONE, "ike.connection.0.psk", None, 'auth = "psk" needs it'),
    (ALONE, "ike.connection.0.remote_identity", None, "is missing"),
]


@pytest.mark.parametrize(("base", "path", "value", "said"), MISTAKES)
def test_mistakes_are_named(
    files: Path, base: dict[str, Any], path: str, value: object, said: str
) -> None:
    assert parse(base)
    values = copy.deepcopy(base)
    if path.startswith("ike.") and "ike" not in values:
        values["ike"] = {}
    with_fault = changed(values, path, value)
    with pytest.raises(ConfigError) as caught:
        parse(with_fault, str(files / "x.toml"))
    found = [str(fault) for fault in caught.value.faults]
    assert any(said in fault for fault in found), found


def test_secrets_are_not_repeated_in_complaints() -> None:
    for option in ("psk", "password", "ppk"):
        found = "".join(faults(changed(AGENT, f"home_agent.router.0.{option}", "c0ffee" * 60)))
        assert "c0ffee" not in found
    assert "5a5a" not in repr(parse(IKE_AGENT)).lower()
    assert r"\x5a" not in repr(parse(IKE_AGENT))


def test_routers_are_numbered_apart() -> None:
    second = copy.deepcopy(IKE_AGENT["home_agent"]["router"][0]) | {
        "identity": "tram-3",
        "home_address": "2001:db8:1::200",
        "home_address4": "198.51.100.200",
        "prefixes": ["2001:db8:200::/56"],
        "reqid": 4096,
    }
    values = changed(IKE_AGENT, "home_agent.router", [*IKE_AGENT["home_agent"]["router"], second])
    found: Config = parse(values)
    assert found.home_agent is not None
    made = members([(Role.HOME_AGENT, row) for row in found.home_agent.rows], Numbering())
    assert [member.mobile.reqid == 4096 for member in made.values()] == [False, True]
    # A home agent's member of IKE gets policies when it has been authenticated.
    assert not any(member.active for member in made.values())


def test_the_engine_is_not_loaded_for_static_keys(tmp_path: Path) -> None:
    """On a small router it would cost more memory than all the rest."""
    script = (
        "import sys\n"
        "from dsmip.service.config import parse\n"
        "import dsmip.service.dsmipd\n"
        f"parse({ROUTER!r})\n"
        "bad = [m for m in sys.modules if m.startswith(('dsmip.ikev2', 'cryptography'))]\n"
        "assert not bad, bad\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)
