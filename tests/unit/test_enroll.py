# SPDX-License-Identifier: GPL-2.0-only
"""Enrolment: what the home agent prints makes a router that it knows."""

from __future__ import annotations

import contextlib
import dataclasses
import tomllib
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import pytest
from dsmip.ikev2.signatures import KeyKind, generate_key
from dsmip.service import credentials as c
from dsmip.service import printable
from dsmip.service import token as t
from dsmip.service.authority import Authority
from dsmip.service.config import Config, parse
from dsmip.service.enroll import (
    Agent,
    EnrollError,
    Enrolment,
    Wish,
    again,
    configuration,
    enroll,
    lan_now,
    uplinks_now,
)
from dsmip.service.ike_config import Authentication, Manager, Payload
from dsmip.service.options import ConfigError
from dsmip.service.printable import Frame, Kind, PrintableError
from dsmip.service.token import Token, TokenError
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_800_000_000.0
AGENT = """\
[home_agent]
identity = "ha.example.net"
addresses = ["2001:db8:1::1", "198.51.100.1"]
prefixes = ["2001:db8:1::/64"]
"""
PREFIX = IPv6Network("2001:db8:100::/56")
WISH = Wish("bus-17", prefixes=(PREFIX,))


def joined(text: str, wish: Wish, source: str = "/x/ha.toml") -> tuple[str, Enrolment]:
    agent = Agent(text, source)
    made = enroll(agent, wish, NOW)
    for one in made.files:
        Path(one.path).write_bytes(one.data)
    return agent.with_entry(made.entry), made


def router(made: Enrolment, directory: str = "", **more: Any) -> tuple[str, Config]:
    """Carry the token over as text, and read what the router makes of it."""
    token = t.read("\n".join(printable.lines(t.frame(made.token))))
    text, new = configuration(token, ["wan", "wwan0"], ["br-lan"], directory, **more)
    for one in new:
        Path(one.path).write_bytes(one.data)
    return text, parse(tomllib.loads(text), "/x/mr.toml")


def both(text: str, wish: Wish, tmp_path: Path, **more: Any) -> tuple[Config, Config]:
    whole, made = joined(text, wish)
    return parse(tomllib.loads(whole), "/x/ha.toml"), router(made, str(tmp_path), **more)[1]


# --- one step --------------------------------------------------------------------


def test_router_and_agent_agree(tmp_path: Path) -> None:
    agent, router = both(AGENT, WISH, tmp_path)
    assert agent.home_agent is not None
    assert router.mobile_router is not None
    (theirs,) = (row for row in agent.home_agent.rows)
    (ours,) = router.mobile_router.rows
    assert theirs.plan.credentials == ours.plan.credentials
    assert (theirs.home_address, theirs.agent) == (ours.home_address, ours.agent)
    assert theirs.plan.agent_identity == ours.plan.agent_identity == "ha.example.net"
    engine = router.mobile_router.engine
    assert engine.identity == "bus-17"
    assert engine.home_agent4 == IPv4Address("198.51.100.1")
    assert engine.prefixes == agent.home_agent.engine.owners[0].prefixes == (PREFIX,)
    assert [up.interface for up in router.mobile_router.uplinks] == ["wan", "wwan0"]
    assert router.mobile_router.lan == ("br-lan",)


def test_a_host_has_no_prefixes(tmp_path: Path) -> None:
    agent, router = both(AGENT, Wish("phone"), tmp_path)
    assert agent.home_agent is not None
    assert router.mobile_router is not None
    assert not agent.home_agent.engine.owners[0].mobile_router
    assert not router.mobile_router.engine.explicit


def test_static_keys(tmp_path: Path) -> None:
    wish = dataclasses.replace(WISH, manager=Manager.STATIC)
    agent, router = both(AGENT.replace("identity", "#identity"), wish, tmp_path)
    assert agent.home_agent is not None
    assert router.mobile_router is not None
    assert agent.home_agent.rows[0].keys == router.mobile_router.rows[0].keys
    assert agent.home_agent.rows[0].keys is not None


def test_external_keys(tmp_path: Path) -> None:
    agent, router = both(AGENT, WISH, tmp_path, manager=Manager.EXTERNAL)
    assert agent.home_agent is not None
    assert router.mobile_router is not None
    assert agent.home_agent.rows[0].plan.manager is Manager.IKEV2
    assert router.mobile_router.rows[0].plan.manager is Manager.EXTERNAL


def with_credentials(folder: Path) -> tuple[str, Authority]:
    authority = Authority.create(folder, "Fleet", NOW)
    key = generate_key(KeyKind.P256)
    own = authority.issue(c.identity_of("ha.example.net"), key.public, NOW)
    (folder / "ha.key").write_bytes(key.pem())
    (folder / "ha.crt").write_bytes(own.pem())
    ike = (
        f'[ike]\nprivate_key = "{folder}/ha.key"\ncertificate = "{folder}/ha.crt"\n'
        f'authorities = ["{folder}/ca.crt"]\n'
    )
    return AGENT + ike, authority


@pytest.mark.parametrize("kind", c.KINDS)
def test_certificates(tmp_path: Path, kind: str) -> None:
    (tmp_path / "mr").mkdir()
    (tmp_path / "ca").mkdir()
    text, authority = with_credentials(tmp_path / "ca")
    wish = dataclasses.replace(
        WISH,
        authentication=Authentication.CERTIFICATE,
        directory=str(tmp_path / "ca"),
        kind=kind,
    )
    agent, router = both(text, wish, tmp_path / "mr")
    ike = router.ike
    assert ike.certificate is not None
    assert ike.private_key is not None
    material = c.inspect(ike.private_key.data).merged(c.inspect(ike.certificate.data))
    assert material.key is not None
    assert material.key.kind.value == kind
    found = c.judge(material, NOW, c.identity_of("bus-17"), [authority.certificate])
    assert found == c.Judgement()
    assert agent.ike.authorities[0].data == ike.authorities[0].data


def test_public_keys(tmp_path: Path) -> None:
    (tmp_path / "mr").mkdir()
    (tmp_path / "ca").mkdir()
    text, _ = with_credentials(tmp_path / "ca")
    wish = dataclasses.replace(
        WISH, authentication=Authentication.PUBLIC_KEY, directory=str(tmp_path / "ca")
    )
    agent, router = both(text, wish, tmp_path / "mr")
    assert agent.home_agent is not None
    assert router.mobile_router is not None
    for one, other in ((agent, router.mobile_router), (router, agent.home_agent)):
        assert one.ike.private_key is not None
        held = c.inspect(one.ike.private_key.data)
        credentials = other.rows[0].plan.credentials
        assert credentials is not None
        assert credentials.public_key is not None
        assert c.public_of(held) == c.inspect(credentials.public_key.data).public


def test_keys_that_the_agent_lacks(tmp_path: Path) -> None:
    for method in (Authentication.PUBLIC_KEY, Authentication.CERTIFICATE):
        wish = dataclasses.replace(WISH, authentication=method, directory=str(tmp_path))
        with pytest.raises(EnrollError, match="private_key"):
            joined(AGENT, wish)
    text, _ = with_credentials(tmp_path)
    other = tmp_path / "other"
    Authority.create(other, "Another", NOW)
    wish = dataclasses.replace(
        WISH, authentication=Authentication.CERTIFICATE, directory=str(other)
    )
    with pytest.raises(EnrollError, match="would not believe"):
        joined(text, wish)
    wish = dataclasses.replace(WISH, authentication=Authentication.EAP_TLS)
    with pytest.raises(EnrollError, match="no token can be made"):
        joined(text, wish)


# --- choosing --------------------------------------------------------------------


def test_addresses_and_prefixes_that_nobody_has() -> None:
    text = AGENT
    homes, prefixes = [], []
    pool = ip_network("2001:db8:200::/47")
    for number in range(4):
        wish = Wish(f"bus-{number}", prefix_pools=(pool,), prefix_length=48)
        if number == 2:
            # Half of the pool at once.
            with pytest.raises(EnrollError, match="no free prefix of length 48"):
                joined(text, wish)
            continue
        if number == 3:
            wish = Wish("bus-3", prefixes=(PREFIX,))
        text, made = joined(text, wish)
        homes.append(str(made.token.home_address))
        prefixes += [str(prefix) for prefix in made.token.prefixes]
    assert homes == ["2001:db8:1::100", "2001:db8:1::101", "2001:db8:1::102"]
    assert prefixes == ["2001:db8:200::/48", "2001:db8:201::/48", str(PREFIX)]


def test_a_prefix_around_what_is_taken() -> None:
    pool = IPv4Network("203.0.113.0/24")
    taken = (IPv4Network("203.0.113.0/26"), IPv4Network("203.0.113.80/28"))
    text, _ = joined(AGENT, Wish("bus-1", prefixes=taken))
    _, made = joined(text, Wish("bus-2", prefix_pools=(pool,), prefix_length=28))
    assert made.token.prefixes == (IPv4Network("203.0.113.64/28"),)
    _, made = joined(text, Wish("bus-2", prefix_pools=(pool,), prefix_length=27))
    assert made.token.prefixes == (IPv4Network("203.0.113.96/27"),)
    with pytest.raises(EnrollError, match="no prefixes of length 20"):
        joined(text, Wish("bus-2", prefix_pools=(pool,), prefix_length=20))


def test_pools_of_the_agent() -> None:
    text = AGENT + 'pool6 = ["2001:db8:1::1000/116"]\npool = ["192.0.2.0/24"]\n'
    whole, made = joined(text, WISH)
    assert made.token.home_address is None
    assert made.token.request4
    values = tomllib.loads(whole)["home_agent"]["router"][0]
    assert "home_address" not in values
    assert values["home_address4"] == "pool"
    _, config = router(made)
    assert config.mobile_router is not None
    assert config.mobile_router.rows[0].asks
    assert config.mobile_router.engine.request_home_address4
    with pytest.raises(EnrollError, match='needs keys = "ikev2"'):
        configuration(made.token, ["wan"], manager=Manager.EXTERNAL)


def test_a_home_address_that_is_asked_for() -> None:
    wanted = IPv6Address("2001:db8:1::77")
    _, made = joined(AGENT, dataclasses.replace(WISH, home_address=wanted))
    assert made.token.home_address == wanted
    for wrong in (IPv6Address("2001:db8:2::1"), "auto"):
        with pytest.raises(EnrollError):
            joined(AGENT, dataclasses.replace(WISH, home_address=wrong))


def test_what_others_have_is_refused() -> None:
    text, _ = joined(AGENT, WISH)
    with pytest.raises(EnrollError, match="enrolled already"):
        joined(text, WISH)
    with pytest.raises(ConfigError, match=r"overlap|owns|both"):
        joined(text, Wish("bus-18", prefixes=(PREFIX,)))


# --- the agent's file ------------------------------------------------------------


def test_entries_go_behind_other_tables() -> None:
    text = AGENT + "\n[globals]\nport = 4444\n# the end, without a line end"
    whole, made = joined(text, WISH)
    assert whole.startswith(text)
    assert made.token.port == 4444
    more, _ = joined(whole, Wish("bus-18"))
    assert len(tomllib.loads(more)["home_agent"]["router"]) == 2
    mine, config = router(made)
    assert config.globals.port == 4444
    assert "[globals]" in mine


def test_forms_that_nothing_can_be_appended_to() -> None:
    inline = AGENT + "router = []\n"
    with pytest.raises(EnrollError, match="--print-only"):
        joined(inline, WISH)


def test_files_without_a_home_agent() -> None:
    with pytest.raises(EnrollError, match=r"no \[home_agent\]"):
        Agent("[globals]\nport = 4191\n", "x.toml")
    with pytest.raises(ConfigError, match="is not TOML"):
        Agent("[home_agent", "x.toml")
    with pytest.raises(ConfigError, match="addresses"):
        Agent("[home_agent]\n", "x.toml")
    with pytest.raises(EnrollError, match="needs a name first"):
        joined(AGENT.replace("identity", "#identity"), WISH)


@given(st.text(st.characters(blacklist_categories=["C"]), min_size=1, max_size=60))
def test_whatever_an_identity_is_the_file_stays_toml(identity: str) -> None:
    wish = Wish(identity, manager=Manager.STATIC)
    try:
        whole, _ = joined(AGENT, wish)
    except (ConfigError, EnrollError):
        return
    assert tomllib.loads(whole)["home_agent"]["router"][0]["identity"] == identity


# --- another token ---------------------------------------------------------------


def test_another_token_has_the_same_secret() -> None:
    for manager in (Manager.IKEV2, Manager.STATIC):
        wish = dataclasses.replace(WISH, manager=manager, payload=Payload.INSIDE)
        whole, made = joined(AGENT, wish)
        renewed = again(Agent(whole, "x.toml"), Wish("bus-17"), NOW + 86400)
        assert renewed.entry == ""
        expected = dataclasses.replace(
            made.token, made=int(NOW) + 86400, expires=renewed.token.expires
        )
        assert renewed.token == expected


def test_another_token_with_a_new_key(tmp_path: Path) -> None:
    text, _ = with_credentials(tmp_path)
    wish = dataclasses.replace(
        WISH, authentication=Authentication.PUBLIC_KEY, directory=str(tmp_path)
    )
    whole, made = joined(text, wish)
    renewed = again(Agent(whole, "x.toml"), Wish("bus-17"), NOW)
    assert [one.path for one in renewed.files] == [one.path for one in made.files]
    assert renewed.token.key != made.token.key


def test_no_other_token() -> None:
    agent = Agent(AGENT, "x.toml")
    with pytest.raises(EnrollError, match="has no entry"):
        again(agent, WISH, NOW)
    entry = '[[home_agent.router]]\nidentity = "bus-17"\nhome_address = "2001:db8:1::9"\n'
    for more in ('protection = "none"', 'keys = "external"'):
        with pytest.raises(EnrollError, match="could hold"):
            again(Agent(f"{AGENT}{entry}{more}\n", "x.toml"), WISH, NOW)


# --- tokens ----------------------------------------------------------------------


def token(**more: Any) -> Token:
    values: dict[str, Any] = {
        "identity": "bus-17",
        "agents": (IPv6Address("2001:db8:1::1"),),
        "home_prefix": IPv6Network("2001:db8:1::/64"),
        "made": int(NOW),
        "expires": int(NOW) + 3600,
        "secret": b"s" * 32,
    }
    return Token(**(values | more))


def read_body(body: bytes, version: int = t.VERSION) -> Token:
    return t.read(printable.text(Frame(Kind.TOKEN, version, body)))


@given(
    st.builds(
        token,
        identity=st.text(min_size=1, max_size=80),
        home_address=st.none() | st.ip_addresses(v=6),
        home_address4=st.none() | st.ip_addresses(v=4),
        request4=st.booleans(),
        manager=st.sampled_from(Manager),
        authentication=st.sampled_from(Authentication),
        payload=st.sampled_from(Payload),
        prefixes=st.lists(st.ip_addresses().map(ip_network), max_size=4).map(tuple),
        port=st.integers(1, 65535),
        secret=st.binary(max_size=64),
        chain=st.lists(st.binary(min_size=1, max_size=40), max_size=2).map(tuple),
    )
)
def test_tokens_come_back(made: Token) -> None:
    assert t.read(printable.text(t.frame(made))) == made


def test_tokens_with_a_psk_are_small() -> None:
    _, made = joined(AGENT, WISH)
    modules = printable.matrix(printable.compact(t.frame(made.token)))
    assert len(modules) <= 80


def test_typing_mistakes_and_loss() -> None:
    groups = printable.groups(t.frame(token()))
    with pytest.raises(PrintableError, match="group 5 has a typing mistake"):
        t.read("-".join([*groups[:4], groups[4][::-1], *groups[5:]]))
    with pytest.raises(PrintableError, match="ends early"):
        t.read("-".join(groups[:-3]))
    with pytest.raises(PrintableError, match="this is a shared secret, not an enrolment token"):
        t.read(printable.text(Frame(Kind.SECRET, 1, bytes(32))))


def test_other_versions() -> None:
    body = t.frame(token()).body
    with pytest.raises(PrintableError, match=r"version 2.*update dsmip"):
        read_body(body, version=2)
    with pytest.raises(TokenError, match="update dsmip"):
        read_body(body + b"\x63\x00\x01x")
    # From 128 on there is only what can be left aside.
    assert read_body(body + b"\xe3\x00\x01x") == token()


@given(st.binary(max_size=120))
def test_any_body_is_refused_or_read(body: bytes) -> None:
    with contextlib.suppress(TokenError):
        read_body(body)


@given(st.data())
def test_damaged_bodies_never_raise_anything_else(data: st.DataObject) -> None:
    body = bytearray(t.frame(token(prefixes=(PREFIX,), agent_identity="ha")).body)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(TokenError):
        read_body(bytes(body))


def test_missing_and_double_fields() -> None:
    with pytest.raises(TokenError, match="lacks identity"):
        read_body(b"")
    body = t.frame(token()).body
    with pytest.raises(TokenError, match="identity twice"):
        read_body(body + b"\x01\x00\x01x")
    with pytest.raises(TokenError, match="home_address cannot be read"):
        read_body(body + b"\x09\x00\x03abc")
    with pytest.raises(TokenError, match="home_address cannot be read"):
        read_body(body + b"\x09\x00\x04abcd")
    with pytest.raises(TokenError, match="content ends early"):
        read_body(body + b"\x09\x00")


def test_times_of_tokens() -> None:
    t.check_time(token(), NOW + 3600)
    with pytest.raises(TokenError, match="expired at 2027-01-15 09:00 UTC"):
        t.check_time(token(), NOW + 3601)
    with pytest.raises(TokenError, match="set this machine's clock"):
        t.check_time(token(), 0.0)


def test_tokens_do_not_show_their_secrets() -> None:
    made = token(key=b"private", secret=b"my secret")
    assert "my secret" not in repr(made)
    assert "private" not in repr(made)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"chain": (b"x",), "authorities": (b"y",), "key": b"z"},
        {"key": c.private_der(generate_key(KeyKind.ED25519))},
    ],
)
def test_tokens_whose_key_is_of_no_use(more: dict[str, Any], tmp_path: Path) -> None:
    made = token(authentication=Authentication.CERTIFICATE, **more)
    with pytest.raises(EnrollError, match="token"):
        configuration(made, ["wan"], directory=str(tmp_path))


def test_keys_do_not_change_their_manager() -> None:
    with pytest.raises(EnrollError, match='for keys = "ikev2"'):
        configuration(token(), ["wan"], manager=Manager.STATIC)


# --- what a router has -----------------------------------------------------------


def test_uplinks_of_the_moment(tmp_path: Path) -> None:
    (tmp_path / "route").write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "wwan0\t00000000\t0100000A\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"
        "wan\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
        "br-lan\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    )
    zero = "0" * 32
    (tmp_path / "ipv6_route").write_text(
        f"{zero} 00 {zero} 00 fe800000000000000000000000000001 00000200 1 0 00450003     wan\n"
        f"{zero} 00 {zero} 00 {zero} ffffffff 1 0 00200200       lo\n"
        f"{zero} 00 {zero} 00 {zero} 00000100 1 0 00450003     mip0\n"
    )
    assert uplinks_now(tmp_path) == ["wan", "wwan0"]
    assert uplinks_now(tmp_path / "nothing") == []
    assert lan_now(tmp_path) == []
    (tmp_path / "br-lan").mkdir()
    assert lan_now(tmp_path) == ["br-lan"]
