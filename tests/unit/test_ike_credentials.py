# SPDX-License-Identifier: GPL-2.0-only
"""Routers that prove themselves in each way that can be configured."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from dsmip.ikev2.numbers import CertEncoding
from dsmip.service import ike_build
from dsmip.service.config import parse

from tests.unit.ikeworld import AT6, AT6B, COA6B, HA6, HOA, World
from tests.unit.test_config import changed
from tests.unit.test_ike_config import IKE_AGENT, IKE_ROUTER

BOTH = {(HOA, HA6), (HA6, HOA)}
#: File name, subject alternative name.
HOSTS = {"agent": "ha.example.net", "router": "bus-17", "stranger": "tram-3"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and hosts with certificates and public keys, made with OpenSSL."""
    folder = tmp_path_factory.mktemp("authority")

    def openssl(words: str) -> None:
        command = ["openssl", *words.split()]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)

    curve = "genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-256 -out"
    openssl(f"{curve} ca.key")
    openssl("req -new -x509 -key ca.key -subj /CN=Authority -days 30 -out ca.pem")
    for name, alternative in HOSTS.items():
        openssl(f"{curve} {name}.key")
        openssl(f"req -new -key {name}.key -subj /CN={name} -out request")
        (folder / "ext").write_text(f"subjectAltName=DNS:{alternative}\n")
        openssl(
            "x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial "
            f"-days 20 -extfile ext -out {name}.pem"
        )
        openssl(f"pkey -in {name}.key -pubout -out {name}.pub")
    return folder


def ike(name: str) -> dict[str, Any]:
    return {
        "certificate": f"{name}.pem",
        "private_key": f"{name}.key",
        "authorities": ["ca.pem"],
    }


def world(
    files: Path,
    auth: str,
    *,
    agent: dict[str, Any] | None = None,
    router: dict[str, Any] | None = None,
    agent_ike: dict[str, Any] | None = None,
    router_ike: dict[str, Any] | None = None,
) -> World:
    """Return both ends; further options go to the router's entry of each."""
    configs = []
    for base, path, entry, section in (
        (IKE_AGENT, "home_agent.router.0", agent, ike("agent") if agent_ike is None else agent_ike),
        (IKE_ROUTER, "mobile_router", router, ike("router") if router_ike is None else router_ike),
    ):
        values = changed(base, f"{path}.psk", None)
        for option, value in ({"auth": auth} | (entry or {})).items():
            values = changed(values, f"{path}.{option}", value)
        configs.append(parse(values | {"ike": section}, str(files / "dsmip.toml")))
    return World(*configs)


def comes_up(made: World) -> bool:
    made.mr.keys.moved(HOA, None, AT6)
    made.run(2)
    return made.mr.pairs() == made.ha.pairs() == BOTH and made.mr.ready == [HOA]


def test_certificates(files: Path) -> None:
    made = world(files, "certificate")
    assert comes_up(made)
    # Charon sends none unless it is asked in the first answer already.
    ((encoding, hashes),) = ike_build.engine_config(made.ha.config.ike).certificate_requests
    assert (encoding, len(hashes)) == (CertEncoding.X509_SIGNATURE, 20)


def test_a_certificate_for_another_name_is_refused(files: Path) -> None:
    made = world(files, "certificate", router_ike=ike("stranger"))
    assert not comes_up(made)
    assert not made.ha.xfrm.sas


def test_public_keys(files: Path) -> None:
    keys = [{"private_key": f"{name}.key"} for name in ("agent", "router")]
    options: dict[str, Any] = {
        "agent": {"public_key": "router.pub"},
        "router": {"public_key": "agent.pub"},
        "agent_ike": keys[0],
        "router_ike": keys[1],
    }
    assert comes_up(world(files, "public-key", **options))
    options["agent"] = {"public_key": "stranger.pub"}
    assert not comes_up(world(files, "public-key", **options))


def test_eap_mschapv2(files: Path) -> None:
    word = {"password": "correct horse"}
    only = {"authorities": ["ca.pem"]}
    assert comes_up(world(files, "eap-mschapv2", agent=word, router=word, router_ike=only))
    wrong = {"password": "battery staple"}
    made = world(files, "eap-mschapv2", agent=word, router=wrong, router_ike=only)
    assert not comes_up(made)
    assert not made.ha.xfrm.sas


def test_eap_tls(files: Path) -> None:
    pytest.importorskip("OpenSSL")
    assert comes_up(world(files, "eap-tls"))
    assert not comes_up(world(files, "eap-tls", router_ike=ike("stranger")))


def test_post_quantum_preshared_key() -> None:
    ppk = {"ppk_id": "first", "ppk": "0x" + "17" * 32, "ppk_required": True}
    configs = []
    for base, path in ((IKE_AGENT, "home_agent.router.0"), (IKE_ROUTER, "mobile_router")):
        values = base
        for option, value in ppk.items():
            values = changed(values, f"{path}.{option}", value)
        configs.append(parse(values))
    made = World(*configs)
    assert comes_up(made)
    assert made.mr.view().ppk
    other = changed(IKE_ROUTER, "mobile_router.ppk_id", "first")
    other = changed(other, "mobile_router.ppk", "another")
    assert not comes_up(World(configs[0], parse(other)))


def test_mobike_moves_as_well() -> None:
    configs = [
        parse(changed(base, f"{path}.movement", "mobike"))
        for base, path in ((IKE_AGENT, "home_agent.router.0"), (IKE_ROUTER, "mobile_router"))
    ]
    made = World(*configs)
    assert comes_up(made)
    made.move(AT6B)
    made.run(2)
    assert made.ha.view().remote.address == made.mr.view().local.address == COA6B
    assert made.wire.handshakes() == 1
