# SPDX-License-Identifier: GPL-2.0-only
"""``dsmip keys``, ``enroll`` and ``charon-profile`` as they are typed."""

from __future__ import annotations

import io
import json
import stat
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dsmip import cli
from dsmip.service import command_enroll, printable

AGENT = """\
[home_agent]
identity = "ha.example.net"
addresses = ["2001:db8:1::1", "198.51.100.1"]
prefixes = ["2001:db8:1::/64"]
"""


class Shell:
    """Commands in one folder; keeps what was printed by the last."""

    def __init__(self, folder: Path, captured: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.keys = folder / "keys"
        self._captured = captured
        self.out = self.err = ""

    def run(self, *words: object, status: int = 0) -> str:
        self._captured.readouterr()
        found = cli.main([str(word) for word in words])
        self.out, self.err = self._captured.readouterr()
        assert found == status, self.err
        plain = self.out.replace(str(self.folder), "/etc")
        # Documents, and files that others read, are as wide as they are.
        if "--json" not in words and "---BEGIN" not in plain:
            assert max(map(len, plain.splitlines()), default=0) <= 80, plain
        return self.out

    def keys_run(self, action: str, *words: object, status: int = 0) -> str:
        return self.run("keys", action, *words, "--directory", self.keys, status=status)

    def document(self, *words: object) -> Any:
        return json.loads(self.run(*words, "--json"))

    def refused(self, *words: object) -> str:
        self.run(*words, status=1)
        assert self.err.startswith("dsmip: ")
        assert "Traceback" not in self.err
        return self.err

    def mode(self, name: str) -> int:
        return stat.S_IMODE((self.folder / name).stat().st_mode)


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capsys)


# --- secrets ---------------------------------------------------------------------


def test_a_secret_on_the_terminal(shell: Shell) -> None:
    text = shell.run("keys", "generate").strip()
    assert len(bytes.fromhex(text.removeprefix("0x"))) == 32
    text = shell.run("keys", "generate", "psk", "--format", "base64url").strip()
    assert len(text) == 43


def test_a_secret_printed_and_typed_in(shell: Shell) -> None:
    shell.run("keys", "generate", "--output", shell.folder / "psk", "--print", "--qr")
    assert shell.mode("psk") == 0o600
    secret = (shell.folder / "psk").read_text().strip()
    assert secret not in shell.out
    assert "█" in shell.out
    printed = [line for line in shell.out.splitlines() if line[5:6] == "-"]
    (shell.folder / "typed").write_text("\n".join(printed).lower())
    shell.keys_run("import", shell.folder / "typed", "--identity", "bus-17")
    assert (shell.keys / "bus-17.psk").read_text().strip() == secret
    shell.keys_run("export", shell.keys / "bus-17.psk", "--secret")
    assert shell.out.strip() == secret
    assert "nothing but secret" in shell.refused("keys", "export", shell.keys / "bus-17.psk")
    shell.keys_run("export", shell.keys / "bus-17.psk", "--secret", "--format", "base64")
    assert shell.out.startswith("0s")


def test_weak_secrets(shell: Shell) -> None:
    (shell.folder / "psk").write_text("letmein\n")
    words = ("import", shell.folder / "psk", "--identity", "bus-17")
    shell.keys_run(*words, status=1)
    assert "weak" in shell.err
    assert "letmein" not in shell.err + shell.out
    assert not (shell.keys / "bus-17.psk").exists()
    shell.keys_run(*words, "--accept-weak")
    assert (shell.keys / "bus-17.psk").exists()


def test_nothing_is_written_over(shell: Shell) -> None:
    target = shell.folder / "psk"
    target.write_text("mine")
    assert "--force" in shell.refused("keys", "generate", "--output", target)
    assert target.read_text() == "mine"
    shell.run("keys", "generate", "--output", target, "--force")
    assert target.read_text() != "mine"


def test_without_the_qr_library(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segno", None)
    assert "dsmip[qr]" in shell.refused("keys", "generate", "--qr")


# --- keys and certificates -------------------------------------------------------


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-p256"])
def test_key_pairs(shell: Shell, kind: str) -> None:
    request, certificate = shell.folder / "csr", shell.folder / "crt"
    around = ("--request", request, "--self-signed", certificate)
    shell.keys_run("generate", kind, "--identity", "bus-17", *around)
    assert shell.mode("keys/bus-17.key") == 0o600
    shell.run("keys", "export", shell.keys / "bus-17.key")
    assert shell.out == (shell.keys / "bus-17.pub").read_text()
    assert "PRIVATE" not in shell.out
    shell.run("keys", "export", shell.keys / "bus-17.key", "--secret")
    assert shell.out == (shell.keys / "bus-17.key").read_text()
    words = ("import", shell.keys / "bus-17.key", certificate, "--identity", "bus-17")
    shell.keys_run(*words, "--check")
    assert "certificate of CN=bus-17" in shell.out
    shell.keys_run("generate", "--ca")
    found = shell.document(
        "keys", "issue", "bus-18", "--request", request, "--directory", shell.keys
    )
    assert "private_key" not in found


def test_keys_need_a_name(shell: Shell) -> None:
    assert "--identity" in shell.refused("keys", "generate", "ed25519")
    words = ("keys", "generate", "ed25519", "--output", shell.folder / "k")
    assert "--identity" in shell.refused(*words, "--request", shell.folder / "r")
    assert "needs a key pair" in shell.refused("keys", "generate", "--request", "x")
    assert "has a key pair" in shell.refused("keys", "generate", "psk", "--ca")


def test_an_authority(shell: Shell) -> None:
    shell.keys_run("generate", "--ca", "--name", "Fleet")
    assert shell.mode("keys/ca.key") == 0o600
    assert "--force" in shell.refused("keys", "generate", "--ca", "--directory", shell.keys)
    shell.keys_run("issue", "bus-17")
    shell.keys_run("issue", "bus-17", status=1)
    assert "--force" in shell.err
    trust = ("--authority", shell.keys / "ca.crt", "--check", "--identity", "bus-17")
    files = [shell.keys / name for name in ("bus-17.key", "bus-17.crt")]
    shell.keys_run("import", *files, *trust)
    shell.keys_run("import", *files, *trust[:-1], "bus-18", status=1)
    assert "not for bus-18" in shell.err
    shell.keys_run("revoke", "bus-17")
    shell.keys_run("import", *files, shell.keys / "ca.crl", *trust, status=1)
    assert "revoked" in shell.err
    shell.keys_run("revoke", "bus-18", status=1)
    assert "no certificate of bus-18" in shell.err


def test_no_authority(shell: Shell) -> None:
    shell.keys_run("issue", "bus-17", status=1)
    assert "keys generate --ca" in shell.err


def test_a_constrained_authority_leaves_nothing_behind(shell: Shell) -> None:
    shell.keys_run("generate", "--ca", "--permit", "bus.example.net")
    shell.keys_run("issue", "tram.example.net", status=1)
    assert "name constraints" in shell.err
    assert not (shell.keys / "tram.example.net.key").exists()


def test_import_of_everything_at_once(shell: Shell) -> None:
    shell.keys_run("generate", "--ca")
    shell.keys_run("issue", "bus-17")
    bundle = shell.folder / "bundle.pem"
    names = ("bus-17.key", "bus-17.crt", "ca.crt", "ca.crl")
    bundle.write_bytes(b"".join((shell.keys / name).read_bytes() for name in names))
    other = shell.folder / "other"
    words = ("keys", "import", bundle, "--identity", "bus-17", "--directory", other)
    written = shell.document(*words)["files"]
    assert {name: Path(path).name for name, path in written.items()} == {
        "private_key": "bus-17.key",
        "certificate": "bus-17.crt",
        "authorities": "bus-17.ca.crt",
        "revocation": "bus-17.crl",
    }
    assert (other / "bus-17.crt").read_bytes() == (shell.keys / "bus-17.crt").read_bytes()
    assert "is there already" in shell.refused(*words)
    shell.run(*words, "--force")
    assert f'certificate = "{other}/bus-17.crt"' in shell.out
    tomllib.loads(shell.out[shell.out.index("[ike]") :])


def test_wrong_files(shell: Shell) -> None:
    assert "cannot be read" in shell.refused("keys", "import", shell.folder / "none")
    (shell.folder / "f").write_bytes(b"\xff\xfe")
    assert "neither PEM" in shell.refused("keys", "import", shell.folder / "f", "--check")
    assert "neither PEM" in shell.refused("keys", "export", shell.folder / "f")
    shell.keys_run("generate", "ed25519", "--identity", "x")
    assert "give --output" in shell.refused(
        "keys", "export", shell.keys / "x.key", "--format", "der", "--secret"
    )


# --- enrolment -------------------------------------------------------------------


def enrolled(shell: Shell, *words: object) -> Any:
    config = shell.folder / "ha.toml"
    if not config.exists():
        config.write_text(AGENT)
        config.chmod(0o600)
    return shell.document("enroll", "bus-17", "--config", config, "--directory", shell.keys, *words)


def test_one_step_at_each_end(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    config = shell.folder / "ha.toml"
    config.write_text(AGENT)
    config.chmod(0o640)
    shell.run("enroll", "bus-17", "--config", config, "--prefix", "2001:db8:100::/56")
    assert shell.mode("ha.toml") == 0o640
    printed = [line for line in shell.out.splitlines() if line[5:6] == "-"]
    assert "█" in shell.out
    shell.run("check-config", config)
    output = shell.folder / "mr.toml"
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(printed) + "\n\nleft over\n"))
    shell.run("enroll", "--token", "--output", output, "--uplink", "wan", "--lan", "br-lan")
    assert shell.mode("mr.toml") == 0o600
    shell.run("check-config", output)
    assert shell.out == f"{output}: good, mobile router with 1 uplink\n"
    assert shell.err == ""
    ours = tomllib.loads(output.read_text())["mobile_router"]
    theirs = tomllib.loads(config.read_text())["home_agent"]["router"][0]
    assert ours["psk"] == theirs["psk"]
    assert ours["psk"] not in shell.out


def test_token_as_words_and_as_a_file(shell: Shell) -> None:
    found = enrolled(shell)
    (shell.folder / "token").write_text(found["token"])
    for number, words in enumerate(([found["token"]], found["token"].split("-"), None)):
        token = [f"@{shell.folder}/token"] if words is None else words
        shell.run(
            "enroll", "--uplink", "wan", "--output", shell.folder / f"{number}", "--token", *token
        )


def test_only_printed(shell: Shell) -> None:
    config = shell.folder / "ha.toml"
    config.write_text(AGENT)
    shell.run("enroll", "bus-17", "--config", config, "--print-only", "--no-qr")
    assert config.read_text() == AGENT
    start = shell.out.index("[[home_agent.router]]")
    tomllib.loads(shell.out[start : shell.out.index("\n\n", start)])


def test_again_and_svg(shell: Shell) -> None:
    first = enrolled(shell)
    before = (shell.folder / "ha.toml").read_text()
    picture = shell.folder / "token.svg"
    second = enrolled(shell, "--again", "--svg", picture)
    assert second["entry"] == ""
    assert (shell.folder / "ha.toml").read_text() == before
    assert first["token"] != second["token"] or first["expires"] == second["expires"]
    assert shell.mode("token.svg") == 0o600
    assert picture.read_text().startswith("<svg")


def test_tokens_that_are_refused(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    found = enrolled(shell, "--valid", 2)
    words = ("enroll", "--uplink", "wan", "--output", shell.folder / "mr.toml", "--token")
    token = found["token"]
    assert "group 1 has a typing mistake" in shell.refused(*words, "1" + token[1:])
    assert "ends early" in shell.refused(*words, token[:59])
    for at, said in ((found["expires"] + 1, "expired"), (0, "set this machine's clock")):
        monkeypatch.setattr(command_enroll, "time", SimpleNamespace(time=lambda at=at: at))
        assert said in shell.refused(*words, token)
    assert not (shell.folder / "mr.toml").exists()
    with pytest.raises(SystemExit):
        shell.run("enroll", "bus-18", "--home-address", "fe80::1")
    assert "give the name" in shell.refused("enroll")


def test_a_configuration_is_not_written_over(shell: Shell) -> None:
    found = enrolled(shell)
    target = shell.folder / "mr.toml"
    target.write_text("mine")
    words = ("enroll", "--uplink", "wan", "--output", target, "--token", found["token"])
    assert "--force" in shell.refused(*words)
    assert target.read_text() == "mine"
    shell.run(*words, "--force")


def test_what_fails_leaves_nothing_behind(shell: Shell) -> None:
    shell.keys_run("generate", "--ca")
    shell.keys_run("issue", "ha.example.net")
    config = shell.folder / "ha.toml"
    config.write_text(
        AGENT
        + '[ike]\nprivate_key = "keys/ha.example.net.key"\n'
        + 'certificate = "keys/ha.example.net.crt"\nauthorities = ["keys/ca.crt"]\n'
    )
    config.chmod(0o600)
    before = config.read_text()
    # The prefix is a home prefix's neighbour, the home address is outside of it.
    words = ("--config", config, "--directory", shell.keys, "--auth", "public-key")
    said = shell.refused("enroll", "bus-17", "--home-address", "2001:db8:9::1", *words)
    assert "home prefix" in said
    assert config.read_text() == before
    assert not (shell.keys / "bus-17.pub").exists()
    found = shell.document("enroll", "bus-17", *words)
    there = shell.folder / "there"
    target = shell.folder / "mr.toml"
    words = ("--directory", there, "--output", target, "--token", found["token"])
    # The LAN is an uplink: no complete configuration, so no key either.
    said = shell.refused("enroll", "--uplink", "wan", "--lan", "wan", *words)
    assert "is an uplink too" in said
    assert not list(there.iterdir())
    shell.run("enroll", "--uplink", "wan", *words)
    shell.run("check-config", target)
    assert sorted(path.name for path in there.iterdir()) == ["bus-17.agent.pub", "bus-17.key"]


def test_tokens_too_large_for_a_terminal(shell: Shell) -> None:
    shell.keys_run("generate", "--ca")
    shell.keys_run("issue", "ha.example.net")
    config = shell.folder / "ha.toml"
    config.write_text(
        AGENT
        + '[ike]\nprivate_key = "keys/ha.example.net.key"\n'
        + 'certificate = "keys/ha.example.net.crt"\nauthorities = ["keys/ca.crt"]\n'
    )
    words = ("--config", config, "--directory", shell.keys, "--auth", "certificate")
    shell.run("enroll", "bus-17", *words)
    assert "use --svg FILE" in shell.err
    assert "█" not in shell.out


# --- charon ----------------------------------------------------------------------


def test_charon_profile(shell: Shell) -> None:
    found = enrolled(shell)
    config = shell.folder / "mr.toml"
    words = ("--uplink", "wan", "--output", config, "--keys", "external")
    shell.run("enroll", *words, "--token", found["token"])
    profile = ("charon-profile", "--config", config)
    out = shell.folder / "charon"
    psk = tomllib.loads(config.read_text())["mobile_router"]["psk"]
    document = shell.document(*profile, "--output", out)
    assert psk not in document["swanctl"]
    assert shell.mode("charon/swanctl.conf") == 0o600
    assert psk in (out / "swanctl.conf").read_text()
    assert "--force" in shell.refused(*profile, "--output", out)
    assert 'has keys = "external"' in shell.refused(
        "charon-profile", "--config", shell.folder / "ha.toml"
    )
    assert psk in shell.document(*profile, "--secrets")["swanctl"]
    document = shell.document(*profile, "--ike", 1)
    assert "version = 1" in document["swanctl"]
    assert "aggressive" in shell.err


def test_help_of_each_command(shell: Shell) -> None:
    for words in (["ike"], ["keys"], ["keys", "generate"], ["enroll"], ["charon-profile"]):
        with pytest.raises(SystemExit) as ended:
            shell.run(*words, "--help")
        assert ended.value.code == 0


def test_printable_lines_are_what_the_command_prints(shell: Shell) -> None:
    found = enrolled(shell)
    frame = printable.parse_frame(found["token"])
    assert printable.text(frame) == found["token"]
