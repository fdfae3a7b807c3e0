# SPDX-License-Identifier: GPL-2.0-only
"""Secrets, keys and certificates: what is taken, what is said of what is not."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.signatures import KeyKind, PrivateKey, generate_key
from dsmip.service import credentials as c
from dsmip.service import files, printable
from dsmip.service.authority import Authority, self_signed
from dsmip.service.credentials import DAY, CredentialError, Material
from dsmip.service.ike_config import secret as psk_option
from dsmip.service.printable import Frame, Kind
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_800_000_000.0
BUS = "bus-17.example.net"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("ca"), "Fleet", NOW)


@pytest.fixture(scope="module")
def key() -> PrivateKey:
    return generate_key(KeyKind.ED25519)


def certified(authority: Authority, key: PrivateKey, days: int = 365) -> Material:
    certificate = authority.issue(c.identity_of(BUS), key.public, NOW, days)
    return Material(key=key, certificates=(authority.certificate, certificate))


def refusal(data: bytes, password: bytes | None = None) -> str:
    with pytest.raises(CredentialError) as caught:
        c.inspect(data, password)
    return str(caught.value)


# --- secrets ---------------------------------------------------------------------


@given(st.binary(min_size=1, max_size=200))
def test_secrets_are_written_as_the_configuration_reads_them(secret: bytes) -> None:
    assert psk_option(c.secret_text(secret)) == secret


@pytest.mark.parametrize("text", [False, True])
def test_new_secrets(text: bool) -> None:
    made = c.new_secret(text)
    assert made != c.new_secret(text)
    assert psk_option(c.secret_text(made)) == made
    assert c.read_secret(c.secret_text(made)) == made
    assert c.judge(Material(secret=made), NOW) == c.Judgement()


def test_secrets_in_every_form() -> None:
    secret = bytes(range(0x80, 0xA0))
    printed = printable.lines(Frame(Kind.SECRET, c.FORMAT_VERSION, secret))
    for text in ("0x" + secret.hex(), "0sgIGCg4SFhoeIiYqLjI2Oj5CRkpOUlZaXmJmam5ydnp8"):
        assert c.read_secret(text) == secret
    assert c.inspect("\n".join(printed).encode()).secret == secret
    assert c.read_secret("".join(printed).replace("-", "")) == secret
    assert c.read_secret("DEADBEEF" * 8) == b"DEADBEEF" * 8
    assert c.inspect(b"  a text of its own \n").secret == b"a text of its own"


def test_wrong_secrets() -> None:
    printed = printable.text(Frame(Kind.SECRET, c.FORMAT_VERSION, bytes(32)))
    swapped = printed[:7] + ("1" if printed[7] == "0" else "0") + printed[8:]
    assert "group 2 has a typing mistake" in refusal(swapped.encode())
    assert "hexadecimal" in refusal(b"0x123")
    assert "256 octets" in refusal(b"x" * 257)
    assert "one line" in refusal(b"two\nlines\n")
    token = printable.text(Frame(Kind.TOKEN, 1, b"x" * 20))
    assert "dsmip enroll --token" in refusal(token.encode())
    (said,) = c.judge(Material(secret=b"swordfish"), NOW).faults
    assert said.startswith("the secret is weak")


# --- reading ---------------------------------------------------------------------


def test_pem_der_and_printed_keys(authority: Authority, key: PrivateKey) -> None:
    made = certified(authority, key)
    data = b"some words\n" + key.pem() + c.pem(made.certificates)
    found = c.inspect(data)
    assert found.key is not None
    assert found.key.public == key.public
    assert found.certificates == made.certificates
    assert found.chain() == tuple(reversed(made.certificates))
    assert c.inspect(c.private_der(key)).key == key
    assert c.inspect(key.public.spki).public == key.public
    assert c.inspect(made.certificates[0].der).certificates == made.certificates[:1]
    for secret in (True, False):
        printed = printable.text(c.frame_of(Material(key=key), secret)).encode()
        assert c.public_of(c.inspect(printed)) == key.public
        assert (c.inspect(printed).key is not None) is secret
    assert c.inspect((authority.folder / "ca.crl").read_bytes()).revocations


def test_encrypted_keys(key: PrivateKey) -> None:
    locked = key.pem(b"open sesame")
    assert c.inspect(locked, b"open sesame").key == key
    assert "--password-file" in refusal(locked)
    assert "does not open" in refusal(locked, b"wrong")
    # A password that is not needed does no harm.
    assert c.inspect(key.pem(), b"unused").key == key


def test_pkcs12(authority: Authority, key: PrivateKey) -> None:
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

    anchor, leaf = certified(authority, key).certificates
    data = pkcs12.serialize_key_and_certificates(
        b"bus", key.key, leaf.loaded, [anchor.loaded], BestAvailableEncryption(b"word")
    )
    found = c.inspect(data, b"word")
    assert found.key == key
    assert found.chain() == (leaf, anchor)
    assert "--password-file" in refusal(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "malformed"),
        (b"-----BEGIN CERTIFICATE-----\n", "no end"),
        (b"-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n", "DH PARAMETERS"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "private key"),
        (b"\x30\x03\x02\x01\x05", "neither a key"),
        (b"\xff\xfe\x00", "neither PEM"),
        (b"", "1 to 256"),
    ],
)
def test_what_cannot_be_read(data: bytes, said: str) -> None:
    assert said in refusal(data)


def test_small_rsa_keys_are_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    small = rsa.generate_private_key(65537, 1024)
    pem = small.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert "1024 bits" in refusal(pem)


def test_two_keys_are_one_too_many(key: PrivateKey) -> None:
    assert "more than one key" in refusal(key.pem() + generate_key(KeyKind.P256).pem())


# --- judging ---------------------------------------------------------------------


def test_good_material(authority: Authority, key: PrivateKey) -> None:
    made = certified(authority, key)
    found = c.judge(made, NOW, Identity.parse(BUS), [authority.certificate])
    assert found == c.Judgement()


def test_key_of_another_certificate(authority: Authority, key: PrivateKey) -> None:
    made = certified(authority, generate_key(KeyKind.P256))
    (said,) = c.judge(Material(key=key, certificates=made.certificates), NOW).faults
    assert "do not belong together" in said


def test_times(authority: Authority, key: PrivateKey) -> None:
    made = certified(authority, key, days=365)
    at = made.chain()[0].not_after
    assert "expired on" in c.judge(made, at + 1).faults[0]
    (soon,) = c.judge(made, at - 10 * DAY).warnings
    assert "expires in 10 days" in soon
    (today,) = c.judge(made, at - 60).warnings
    assert "expires today" in today
    assert not c.judge(made, at - 31 * DAY).warnings
    assert "is not valid before" in c.judge(made, NOW - DAY).faults[0]


def test_names_and_chains(authority: Authority, key: PrivateKey, tmp_path: Path) -> None:
    made = certified(authority, key)
    (said,) = c.judge(made, NOW, Identity.parse("bus-18.example.net")).faults
    assert said == f"the certificate is for {BUS}, dn:CN={BUS}, not for bus-18.example.net"
    stranger = Authority.create(tmp_path, "Fleet", NOW)
    assert c.judge(made, NOW, None, [stranger.certificate]).faults
    leaf_only = Material(key=authority.key, certificates=(authority.certificate,))
    (warning,) = c.judge(leaf_only, NOW).warnings
    assert "does not belong here" in warning


def test_revoked(tmp_path: Path, key: PrivateKey) -> None:
    authority = Authority.create(tmp_path, "Fleet", NOW)
    made = certified(authority, key)
    (gone,) = authority.revoke([BUS], NOW)
    assert gone == made.chain()[0]
    crl = c.inspect((tmp_path / "ca.crl").read_bytes())
    (said,) = c.judge(made.merged(crl), NOW, None, [authority.certificate]).faults
    assert "is revoked" in said


# --- the authority ---------------------------------------------------------------


def test_authority_files(authority: Authority) -> None:
    modes = {
        name: stat.S_IMODE((authority.folder / name).stat().st_mode)
        for name in ("ca.key", "ca.crt", "ca.crl")
    }
    assert modes == {"ca.key": 0o600, "ca.crt": 0o644, "ca.crl": 0o644}
    with pytest.raises(files.FileError, match="--force"):
        Authority.create(authority.folder, "Fleet", NOW)
    again = Authority.load(authority.folder)
    assert again.certificate == authority.certificate


@pytest.mark.parametrize(
    "identity", [BUS, "bus-17", "driver@example.net", "2001:db8::17", "192.0.2.1", "dn:CN=17,O=Bus"]
)
def test_every_identity_that_a_certificate_can_hold(
    authority: Authority, key: PrivateKey, identity: str
) -> None:
    made = authority.issue(c.identity_of(identity), key.public, NOW)
    assert made.names(Identity.parse(identity))


def test_long_names_have_no_subject(authority: Authority, key: PrivateKey) -> None:
    identity = c.identity_of("bus." + "x" * 60 + ".example.net")
    assert authority.issue(identity, key.public, NOW).names(identity)


def test_identities_that_no_certificate_can_hold(authority: Authority, key: PrivateKey) -> None:
    with pytest.raises(CredentialError, match="cannot hold"):
        authority.issue(c.identity_of("keyid:17"), key.public, NOW)
    with pytest.raises(CredentialError, match="is no identity"):
        c.identity_of("two words")


def test_constrained_authority(tmp_path: Path, key: PrivateKey) -> None:
    limited = Authority.create(tmp_path, "Buses", NOW, permitted=["bus.example.net"])
    limited.issue(c.identity_of("17.bus.example.net"), key.public, NOW)
    with pytest.raises(CredentialError, match="name constraints"):
        limited.issue(c.identity_of("17.tram.example.net"), key.public, NOW)
    # Nothing that was refused is on record.
    assert len(list(limited.issued())) == 1
    with pytest.raises(CredentialError, match="allowed is a domain"):
        Authority.create(tmp_path / "other", "Buses", NOW, permitted=["not a domain"])


def test_authority_that_expired(tmp_path: Path, key: PrivateKey) -> None:
    short = Authority.create(tmp_path, "Fleet", NOW, days=10)
    made = short.issue(c.identity_of(BUS), key.public, NOW, days=365)
    assert made.not_after == short.certificate.not_after
    with pytest.raises(CredentialError, match="expired"):
        short.issue(c.identity_of(BUS), key.public, NOW + 11 * DAY)


def test_authority_that_is_not_there(tmp_path: Path, authority: Authority) -> None:
    with pytest.raises(CredentialError, match="keys generate --ca"):
        Authority.load(tmp_path)
    for name in ("ca.key", "ca.crt"):
        (tmp_path / name).write_bytes((authority.folder / name).read_bytes())
    (tmp_path / "ca.key").write_bytes(generate_key(KeyKind.P256).pem())
    with pytest.raises(CredentialError, match="not the key of"):
        Authority.load(tmp_path)
    (tmp_path / "ca.key").write_bytes(b"nonsense")
    with pytest.raises(CredentialError, match="cannot be used"):
        Authority.load(tmp_path)


def test_revocation_lists_grow_and_forget(tmp_path: Path, key: PrivateKey) -> None:
    authority = Authority.create(tmp_path, "Fleet", NOW)
    first = authority.issue(c.identity_of("bus-1"), key.public, NOW, days=10)
    second = authority.issue(c.identity_of("bus-2"), key.public, NOW)

    def entries() -> set[int]:
        (found,) = c.inspect((tmp_path / "ca.crl").read_bytes()).revocations
        return {entry.serial_number for entry in found.loaded}

    assert entries() == set()
    assert authority.revoke(["bus-1"], NOW) == [first]
    assert authority.revoke([f"{second.serial:x}"], NOW) == [second]
    assert entries() == {first.serial, second.serial}
    assert authority.revoke(["bus-1"], NOW) == []
    with pytest.raises(CredentialError, match=r"no certificate of bus-3"):
        authority.revoke(["bus-3"], NOW)
    authority.revoke([], NOW + 30 * DAY)
    assert entries() == {second.serial}


def test_self_signed(key: PrivateKey) -> None:
    made = self_signed(key, c.identity_of(BUS), NOW, 30)
    assert made.self_issued
    assert not made.extensions.authority
    assert made.names(Identity.parse(BUS))


@pytest.mark.parametrize("kind", c.KINDS)
def test_requests(kind: str) -> None:
    own = generate_key(KeyKind(kind))
    request = c.inspect(c.request_pem(own, c.identity_of(BUS))).request
    assert c.requested_key(request) == own.public
    assert request.subject.rfc4514_string() == f"CN={BUS}"


def test_requests_with_a_wrong_signature() -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    request = c.inspect(c.request_pem(generate_key(KeyKind.P256), c.identity_of(BUS))).request
    der = bytearray(request.public_bytes(Encoding.DER))
    der[der.index(b"bus-17")] ^= 1
    with pytest.raises(CredentialError, match="signature"):
        c.requested_key(x509.load_der_x509_csr(bytes(der)))


# --- files -----------------------------------------------------------------------


def test_files_are_whole_and_secret(tmp_path: Path) -> None:
    target = tmp_path / "key"
    files.write(target, b"one")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with pytest.raises(files.FileError, match="--force writes over it"):
        files.write(target, b"two")
    assert target.read_bytes() == b"one"
    files.write(target, b"two", force=True)
    assert target.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["key"]


def test_links_are_not_followed_by_new_files(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    link = tmp_path / "link"
    link.symlink_to(victim)
    with pytest.raises(files.FileError):
        files.write(link, b"x")
    files.write(link, b"x", force=True)
    assert victim.read_bytes() == b"mine"
    assert not link.is_symlink()


def test_replacing_keeps_mode_and_follows_links(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_bytes(b"old")
    real.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(real)
    files.replace(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_file_systems_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    files.write(tmp_path / "key", b"one")
    with pytest.raises(files.FileError, match="is there already"):
        files.write(tmp_path / "key", b"two")
    assert os.listdir(tmp_path) == ["key"]


def test_file_errors_are_told(tmp_path: Path) -> None:
    with pytest.raises(files.FileError, match="cannot be written"):
        files.write(tmp_path / "no" / "key", b"x")
    with pytest.raises(files.FileError, match="cannot be read"):
        files.read(tmp_path / "nothing")
    (tmp_path / "large").write_bytes(bytes(11))
    with pytest.raises(files.FileError, match="more than 10 octets"):
        files.read(tmp_path / "large", 10)


@pytest.mark.parametrize(
    ("identity", "name"),
    [
        ("bus-17", "bus-17"),
        ("../../etc/passwd", "_._.._etc_passwd"),
        ("a@b c", "a@b_c"),
        (".", "_"),
    ],
)
def test_names_of_files(identity: str, name: str) -> None:
    assert c.file_name(identity) == name
    assert "/" not in c.file_name(identity)


def test_descriptions_have_no_secrets(authority: Authority, key: PrivateKey) -> None:
    material = certified(authority, key).merged(Material(secret=b"a secret of mine"))
    text = "\n".join(c.described(material, NOW))
    assert "a secret of mine" not in text
    assert "secret" not in repr(material).replace("secret=", "")
    assert key.public.fingerprint in text
