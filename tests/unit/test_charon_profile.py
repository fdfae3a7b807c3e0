# SPDX-License-Identifier: GPL-2.0-only
"""The profile of charon: the six settings, the right request ids, mirrored at both ends."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.signatures import KeyKind, generate_key
from dsmip.ipsec.policy import Kind, Numbering, Role
from dsmip.service import credentials as c
from dsmip.service.authority import Authority
from dsmip.service.charon_profile import Profile, ProfileError, charon_identity, profile
from dsmip.service.config import parse
from dsmip.service.members import members

from tests.unit.test_config import AGENT, ROUTER, changed

SOURCE = "/x/dsmip.toml"
KEYS = {
    "keys": "external",
    "psk": "0x" + "8f" * 32,
    "payload": "rfc4877",
    "return_routability": "rfc4877",
    "prefix_discovery": True,
}
Tree = dict[str, Any]


def router(**more: Any) -> dict[str, Any]:
    values = changed(ROUTER, "mobile_router.home_agent_identity", "ha.example.net")
    return _with(values, "mobile_router", more)


def agent(**more: Any) -> dict[str, Any]:
    values = changed(AGENT, "home_agent.identity", "ha.example.net")
    values = changed(values, "home_agent.router.0.prefixes", ["2001:db8:100::/56"])
    values = changed(values, "home_agent.router.0.home_address4", None)
    return _with(values, "home_agent.router.0", more)


def _with(values: dict[str, Any], where: str, more: dict[str, Any]) -> dict[str, Any]:
    given = {k: v for k, v in (KEYS | more).items() if v is not None or k not in KEYS}
    for name, value in {"static_key": None, **given}.items():
        values = changed(values, f"{where}.{name}", value)
    return values


def made(values: dict[str, Any], **more: Any) -> Profile:
    return profile(parse(values, SOURCE), values, SOURCE, **more)


def tree(text: str) -> Tree:
    """Read the format of strongSwan's files: sections in braces, one setting a line."""
    top: Tree = {}
    stack = [top]
    for line in text.splitlines():
        bare = line.split("#")[0].strip() if '"' not in line else line.strip()
        if not bare or bare.startswith("#"):
            continue
        if bare == "}":
            stack.pop()
        elif bare.endswith("{"):
            inner: Tree = {}
            stack[-1][bare[:-1].strip()] = inner
            stack.append(inner)
        else:
            name, _, value = bare.partition(" = ")
            assert name not in stack[-1], line
            stack[-1][name] = value
    assert stack == [top]
    return top


def test_the_six_settings() -> None:
    found = made(router())
    connection = tree(found.swanctl)["connections"]["dsmip-bus-17"]
    children = connection["children"]
    assert connection["mobike"] == "no"
    assert children["dsmip-bus-17-signalling"]["mode"] == "transport_proxy"
    assert {child["policies"] for child in children.values()} == {"no"}
    assert {child["start_action"] for child in children.values()} == {"trap"}
    plugins = tree(found.strongswan)["charon"]["plugins"]
    assert plugins["kernel-netlink"]["roam_events"] == "no"
    # A movement soon after a rekey must find the new SA; inside nothing moves.
    assert tree(found.strongswan)["charon"]["delete_rekeyed_delay"] == "1"
    inside = made(router(payload="inside", return_routability="none")).strongswan
    assert "delete_rekeyed_delay" not in inside
    # Its policies come before ours.
    assert plugins["bypass-lan"]["load"] == "no"
    for number in range(1, 7):
        assert f"({number})" in found.swanctl + found.strongswan


def test_request_ids_are_those_of_the_policies() -> None:
    values = router()
    section = parse(values, SOURCE).mobile_router
    assert section is not None
    ours = members([(Role.MOBILE_ROUTER, row) for row in section.rows], Numbering())
    (member,) = ours.values()
    children = tree(made(values).swanctl)["connections"]["dsmip-bus-17"]["children"]
    found = [int(child["reqid"]) for child in children.values()]
    assert found == [row.reqid for row in member.rows]
    assert len(set(found)) == len(set(Kind) - {Kind.DELEGATION})
    given = tree(made(router(reqid=4000)).swanctl)["connections"]["dsmip-bus-17"]["children"]
    assert [int(child["reqid"]) for child in given.values()] == [4000, 4001, 4002, 4003]


@pytest.mark.parametrize("version", [1, 2])
def test_both_ends_mirror_each_other(version: int) -> None:
    ours = tree(made(router(), version=version).swanctl)
    theirs = tree(made(agent(), version=version).swanctl)
    here = ours["connections"]["dsmip-bus-17"]
    there = theirs["connections"]["dsmip-bus-17"]
    assert here["local"]["id"] == there["remote"]["id"] == "bus-17"
    assert here["remote"]["id"] == there["local"]["id"] == "ha.example.net"
    assert here["version"] == there["version"] == str(version)
    assert here["local_addrs"] == there["remote_addrs"] == "%any"
    assert here["remote_addrs"] == there["local_addrs"] == "2001:db8:1::1, 198.51.100.1"
    assert here["proposals"] == there["proposals"]
    assert list(here["children"]) == list(there["children"])
    # The home agent's end waits for the router's, whose port it does not know.
    assert [there[name] for name in ("dpd_delay", "rekey_time")] == ["0", "0"]
    assert {child["rekey_time"] for child in there["children"].values()} == {"0"}
    for name, child in here["children"].items():
        other = there["children"][name]
        assert child["local_ts"] == other["remote_ts"]
        assert child["remote_ts"] == other["local_ts"]
        for same in ("mode", "reqid", "esp_proposals"):
            assert child[same] == other[same]
    assert ours["secrets"] == theirs["secrets"]
    assert there["children"]["dsmip-bus-17-payload"]["start_action"] == "none"


def test_inside_has_an_ike_sa_of_its_own() -> None:
    """Between the addresses, which are the identities too; either end may begin."""
    found = [made(end(payload="inside")) for end in (router, agent)]
    here, there = (tree(one.swanctl) for one in found)
    for one, local, remote in (
        (here, "2001:db8:1::100", "2001:db8:1::1"),
        (there, "2001:db8:1::1", "2001:db8:1::100"),
    ):
        connection = one["connections"]["dsmip-bus-17-inside"]
        assert (connection["local_addrs"], connection["remote_addrs"]) == (local, remote)
        assert (connection["local"]["id"], connection["remote"]["id"]) == (local, remote)
        (child,) = connection["children"].values()
        assert (child["mode"], child["policies"], child["start_action"]) == ("tunnel", "no", "trap")
        assert child["rekey_time"] != "0"
        assert "dsmip-bus-17-payload" not in one["connections"]["dsmip-bus-17"]["children"]
        secrets = one["secrets"]
        assert secrets["ike-dsmip-bus-17-inside"]["secret"] == KEYS["psk"]
        assert set(secrets["ike-dsmip-bus-17-inside"].values()) >= {local, remote}
    # It runs from the home address, which is on the tunnel's device.
    assert "interfaces_ignore" not in found[0].strongswan


def test_selectors() -> None:
    children = tree(made(router()).swanctl)["connections"]["dsmip-bus-17"]["children"]
    found = {name[13:]: (child["local_ts"], child["remote_ts"]) for name, child in children.items()}
    assert found == {
        "signalling": ("2001:db8:1::100/128[135]", "2001:db8:1::1/128[135]"),
        # Types 146 and 147 in the high octet, any code.
        "prefix-discovery": (
            "2001:db8:1::100/128[58/37376-37631]",
            "2001:db8:1::1/128[58/37632-37887]",
        ),
        "return-routability": ("2001:db8:1::100/128[135]", "::/0[135]"),
        "payload": ("2001:db8:1::100/128, 2001:db8:100::/56", "::/0, 0.0.0.0/0"),
    }
    assert children["dsmip-bus-17-payload"]["mode"] == "tunnel"


def test_ikev1() -> None:
    found = made(agent(), version=1)
    connection = tree(found.swanctl)["connections"]["dsmip-bus-17"]
    assert connection["aggressive"] == "yes"
    assert "gcm" not in connection["proposals"]
    # One selector at each end is all that IKEv1 has.
    for child in connection["children"].values():
        assert "," not in child["local_ts"] + child["remote_ts"]
    assert any("aggressive mode" in note for note in found.notes)
    assert "use_aggressive_mode_psk = yes" in found.strongswan
    assert "aggressive" not in made(router(), version=1).strongswan
    assert not made(router(payload="none", return_routability="none")).notes


def test_secrets_only_where_they_belong() -> None:
    found = made(router())
    assert "8f8f" in found.swanctl
    assert "8f8f" not in found.masked + found.strongswan + repr(found)
    assert "has no psk" in made(router(psk=None)).swanctl


def test_a_text_is_the_same_secret() -> None:
    found = tree(made(router(psk="correct horse")).swanctl)
    assert found["secrets"]["ike-dsmip-bus-17"]["secret"] == "0x" + b"correct horse".hex()


def test_many_routers_are_many_connections() -> None:
    values = agent()
    second = values["home_agent"]["router"][0] | {
        "identity": "bus.17",
        "home_address": "2001:db8:1::200",
        "prefixes": ["2001:db8:200::/56"],
    }
    third = second | {
        "identity": "bus-17@example.net",
        "home_address": "2001:db8:1::300",
        "prefixes": [],
        "keys": "ikev2",
        "payload": "none",
        "mobile_router": False,
    }
    values["home_agent"]["router"] += [second, third]
    assert made(values).connections == ("dsmip-bus-17", "dsmip-bus-17-2")
    every = made(values, every=True)
    assert every.connections == ("dsmip-bus-17", "dsmip-bus-17-2", "dsmip-bus-17-example-net")
    reqids = re.findall(r"reqid = (\d+)", every.swanctl)
    assert len(reqids) == len(set(reqids))
    # Explained once, not for each router.
    assert every.swanctl.count("(2)") == 1


def test_both_roles() -> None:
    values = router() | agent()
    values["home_agent"]["router"][0]["identity"] = "bus-18"
    assert made(values).connections == ("dsmip-bus-18", "dsmip-bus-17")
    assert made(values, role=Role.HOME_AGENT).connections == ("dsmip-bus-18",)
    with pytest.raises(ProfileError, match="no such role"):
        made(router(), role=Role.HOME_AGENT)


def with_files(folder: Path, auth: str) -> dict[str, Any]:
    authority = Authority.create(folder, "Fleet", 1_800_000_000.0)
    key = generate_key(KeyKind.P256)
    certificate = authority.issue(c.identity_of("bus-17"), key.public, 1_800_000_000.0)
    (folder / "bus.key").write_bytes(key.pem())
    (folder / "bus.crt").write_bytes(certificate.pem())
    (folder / "ha.pub").write_bytes(key.public.pem())
    values = router(psk=None, auth=auth)
    if auth == "public-key":
        values = changed(values, "mobile_router.public_key", str(folder / "ha.pub"))
    values["ike"] = {
        "private_key": str(folder / "bus.key"),
        "certificate": str(folder / "bus.crt"),
        "authorities": [str(folder / "ca.crt")],
        "revocation": [str(folder / "ca.crl")],
    }
    return values


def test_certificates(tmp_path: Path) -> None:
    found = made(with_files(tmp_path, "certificate"))
    connection = tree(found.swanctl)["connections"]["dsmip-bus-17"]
    assert connection["local"] == {
        "id": "bus-17",
        "auth": "pubkey",
        "certs": str(tmp_path / "bus.crt"),
    }
    assert connection["remote"]["cacerts"] == str(tmp_path / "ca.crt")
    assert "x509crl" in found.swanctl
    assert "/etc/swanctl/private/" in found.swanctl
    version1 = made(with_files(tmp_path / "1", "certificate"), version=1)
    assert "aggressive" not in version1.swanctl
    assert not any("aggressive" in note for note in version1.notes)


def test_public_keys(tmp_path: Path) -> None:
    connection = tree(made(with_files(tmp_path, "public-key")).swanctl)["connections"]
    assert connection["dsmip-bus-17"]["remote"]["pubkeys"] == str(tmp_path / "ha.pub")
    assert connection["dsmip-bus-17"]["local"]["pubkeys"] == "bus-17.pub"


def test_settings_of_the_configuration() -> None:
    values = router()
    values["ike"] = {"proposals": ["aes128gcm16-prfsha256-x25519"], "port": 1500, "dpd": 7}
    values["ike"] |= {"esp_proposals": ["aes128gcm16"], "reauthenticate": 86400}
    values["globals"] = {"device": "mip7"}
    found = made(values)
    connection = tree(found.swanctl)["connections"]["dsmip-bus-17"]
    assert connection["proposals"] == "aes128gcm16-prfsha256-x25519"
    assert connection["dpd_delay"] == "7s"
    assert connection["reauth_time"] == "86400s"
    charon = tree(found.strongswan)["charon"]
    assert charon["port"] == "1500"
    assert charon["interfaces_ignore"] == "mip7"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (router(payload="inside", auth="certificate"), "psk"),
        (router(home_agent_identity=None), "agent_identity is missing"),
        (router(auth="eap-tls"), "by hand"),
        (changed(ROUTER, "globals.port", 4191), 'nothing has keys = "external"'),
    ],
)
def test_what_no_profile_can_be_made_of(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ProfileError, match=said):
        made(values)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("bus-17", "bus-17"),
        ("bus-17.example.net", "bus-17.example.net"),
        ("driver@example.net", "driver@example.net"),
        ("2001:db8::17", "2001:db8::17"),
        ("keyid:0xdead", '"keyid:#dead"'),
        ("fqdn:a b", '"fqdn:#612062"'),
        ("dn:CN=17", '"asn1dn:#300d310b300906035504030c023137"'),
    ],
)
def test_identities(text: str, written: str) -> None:
    assert charon_identity(text) == written
    if "#" in written:
        assert Identity.parse(text).data.hex() in written
