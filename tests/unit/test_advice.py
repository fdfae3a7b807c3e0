# SPDX-License-Identifier: GPL-2.0-only
"""``check-config`` warns of what is allowed and still unwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dsmip import cli
from dsmip.ikev2.signatures import KeyKind, generate_key
from dsmip.service import credentials as c
from dsmip.service.advice import warnings_of
from dsmip.service.authority import Authority
from dsmip.service.config import parse
from dsmip.service.credentials import DAY

from tests.unit.test_config import AGENT, ROUTER, changed

NOW = 1_800_000_000.0
STRONG = "0x8f0a3b5c7d9e1f2b4c6d8e0a1b3c5d7fa17c3e5946b2d0f8817263544a5b6c9d"


def router(psk: str = STRONG, **more: Any) -> dict[str, Any]:
    values = changed(ROUTER, "mobile_router.home_agent_identity", "ha.example.net")
    values = changed(values, "mobile_router.static_key", None)
    values = changed(values, "mobile_router.keys", "ikev2")
    if "auth" not in more:
        values = changed(values, "mobile_router.psk", psk)
    for name, value in more.items():
        values = changed(values, f"mobile_router.{name}", value)
    return values


def agent(*psks: str) -> dict[str, Any]:
    values = changed(AGENT, "home_agent.identity", "ha.example.net")
    values["home_agent"]["router"] = [
        {
            "identity": f"bus-{number}",
            "home_address": f"2001:db8:1::{number}:1",
            "mobile_router": False,
            "keys": "ikev2",
            "psk": psk,
        }
        for number, psk in enumerate(psks)
    ]
    return values


def warned(values: dict[str, Any], now: float = NOW) -> list[str]:
    return warnings_of(parse(values, "/x/dsmip.toml"), "/x/dsmip.toml", now)


def test_nothing_to_say() -> None:
    assert warned(router()) == []
    assert warned(agent(STRONG, "0x" + STRONG[2:][::-1])) == []


def test_static_keys_and_none_at_all() -> None:
    (said,) = warned(changed(ROUTER, "mobile_router.static_key", STRONG[2:]))
    assert said.startswith("bus-17: static keys never change")
    values = changed(ROUTER, "mobile_router.static_key", None)
    (said,) = warned(changed(values, "mobile_router.protection", "none"))
    assert said == "bus-17: signalling is not protected at all"


def test_weak_secrets() -> None:
    (said,) = warned(router("swordfish"))
    assert said.startswith("bus-17: its psk is weak: ")
    assert "swordfish" not in said
    values = changed(ROUTER, "mobile_router.static_key", "00" * 16)
    assert any("its static_key is weak" in text for text in warned(values))
    values = router(ppk="short", ppk_id="one")
    assert any("its ppk is weak" in text for text in warned(values))


def test_shared_secrets() -> None:
    (said,) = warned(agent(STRONG, STRONG))
    assert said == "bus-1: its psk is that of bus-0 too, so each can pass for the other"


def test_an_agent_of_several_addresses_shares_with_itself_only() -> None:
    values = agent(STRONG)
    values["home_agent"]["addresses"] = ["2001:db8:1::1", "2001:db8:1::2"]
    assert warned(values) == []


class Pki:
    """An authority, and a router that has a certificate of it."""

    def __init__(self, folder: Path, identity: str = "bus-17", days: int = 365) -> None:
        self.folder = folder
        self.authority = Authority.create(folder, "Fleet", NOW)
        key = generate_key(KeyKind.P256)
        self.certificate = self.authority.issue(c.identity_of(identity), key.public, NOW, days)
        self._keep("bus.key", key.pem(), 0o600)
        self._keep("bus.crt", self.certificate.pem(), 0o644)

    def _keep(self, name: str, data: bytes, mode: int) -> None:
        (self.folder / name).write_bytes(data)
        (self.folder / name).chmod(mode)

    def values(self, revocation: bool = True) -> dict[str, Any]:
        made = router(auth="certificate")
        made["ike"] = {
            "private_key": str(self.folder / "bus.key"),
            "certificate": str(self.folder / "bus.crt"),
            "authorities": [str(self.folder / "ca.crt")],
            "revocation": [str(self.folder / "ca.crl")] if revocation else [],
        }
        return made


def test_good_certificates(tmp_path: Path) -> None:
    assert warned(Pki(tmp_path).values()) == []


def test_certificates_that_expire(tmp_path: Path) -> None:
    pki = Pki(tmp_path, days=60)
    pki.authority.revoke([], NOW + 40 * DAY)
    (said,) = warned(pki.values(), NOW + 40 * DAY)
    assert "bus.crt: the certificate of CN=bus-17 expires in 20 days" in said
    (said,) = warned(pki.values(), NOW + 61 * DAY)
    assert "expired on" in said
    (said, *_) = warned(pki.values(), 0.0)
    assert "is not valid before" in said


def test_certificates_of_somebody_else(tmp_path: Path) -> None:
    (said,) = warned(Pki(tmp_path, identity="bus-18").values())
    assert (
        said == f"{tmp_path}/bus.crt: the certificate is for bus-18, dn:CN=bus-18, not for bus-17"
    )


def test_revocation_lists(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    (said,) = warned(pki.values(revocation=False))
    assert "no revocation list of CN=Fleet" in said
    (said,) = warned(pki.values(), NOW + 100 * DAY)
    assert "out of date since" in said
    other = tmp_path / "other"
    Authority.create(other, "Fleet", NOW)
    (tmp_path / "ca.crl").write_bytes((other / "ca.crl").read_bytes())
    (said,) = warned(pki.values())
    assert "no revocation list of CN=Fleet" in said


def test_an_authority_that_is_none(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    values = pki.values()
    values["ike"]["authorities"].append(str(tmp_path / "bus.crt"))
    said = warned(values)
    assert any("is no certification authority" in text for text in said)


def test_files_that_others_can_read(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    (tmp_path / "bus.key").chmod(0o644)
    (said,) = warned(pki.values())
    assert said.startswith(f"{tmp_path}/bus.key holds secrets and everybody may read it")
    (tmp_path / "bus.key").chmod(0o620)
    (said,) = warned(pki.values())
    assert "may write it" in said


def test_on_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "dsmip.toml"
    path.write_text(
        '[mobile_router]\nidentity = "bus-17"\nhome_address = "2001:db8:1::100"\n'
        'home_prefix = "2001:db8:1::/64"\nhome_agent = ["2001:db8:1::1"]\n'
        'home_agent_identity = "ha"\nmode = "implicit"\nkeys = "ikev2"\npsk = "letmein"\n'
        '[[mobile_router.uplink]]\ninterface = "wan"\n'
    )
    path.chmod(0o644)
    assert cli.main(["check-config", str(path)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{path}: good, mobile router with 1 uplink; 2 warnings\n"
    assert [line.split(":")[0] for line in err.splitlines()] == ["warning", "warning"]
    assert "letmein" not in out + err
    assert cli.main(["check-config", "--json", str(path)]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["valid"]
    assert [f"warning: {text}" for text in document["warnings"]] == err.splitlines()
    path.write_text("[mobile_router]\n")
    assert cli.main(["check-config", str(path)]) == 1
    assert capsys.readouterr().err == ""
