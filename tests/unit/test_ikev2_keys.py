# SPDX-License-Identifier: GPL-2.0-only
"""Key derivation against NIST's vectors; AUTH, PPK, IntAuth, cookies by their definitions."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import astuple, replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from dsmip.ikev2 import keys
from dsmip.ikev2 import message as msg
from dsmip.ikev2 import payloads as pl
from dsmip.ikev2.crypto import prf_plus
from dsmip.ikev2.errors import LocalError
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.keys import Cookies, IkeKeys
from dsmip.ikev2.proposals import Suite, parse_proposal, select


def suite(text: str, protocol: int = 1) -> Suite:
    proposals = (parse_proposal(text, protocol),)
    return select(proposals, proposals)


def h(text: str) -> bytes:
    return bytes.fromhex(text)


#: NIST's CAVS samples for the IKEv2 key derivation function (SP 800-135): a suite that
#: takes as many octets or more, Ni, Nr, SPIi, SPIr, g^ir, new g^ir, SKEYSEED, rekeyed
#: SKEYSEED, DKM.
NIST = [
    (
        "aes128-sha1-modp2048",
        "32b50d5f4a3763f3",
        "9206a04b26564cb1",
        "34c9e7c188868785",
        "3ff77d760d2b2199",
        "4b2c1f971981a8ad8d0abeafabf38cf75fc8349c148142465ed9c8b516b8be52",
        "863f3c9d06efd39d2b907b97f8699e5dd5251ef64a2a176f36ee40c87d4f9330",
        "a9a7b222b59f8f48645f28a1db5b5f5d7479cba7",
        "63e81194946ebd05df7df5ebf5d8750056bf1f1d",
        "a14293677cc80ff8f9cc0eee30d895da9d8f405666e30ef0dfcb63c634a46002"
        "a2a63080e514a062768b76606f9fa5e992204fc5a670bde3f10d6b027113936a"
        "5c55b648a194ae587b0088d52204b702c979fa280870d2ed41efa9c549fd1119"
        "8af1670b143d384bd275c5f594cf266b05ebadca855e4249520a441a81157435"
        "a7a56cc4",
    ),
    (
        "aes128gcm16-prfsha256-x25519",
        "3f302be1abcb28e1",
        "8c332ee006064c9b",
        "40dac39e1e1a8640",
        "8619a1cf9a6e4c07",
        "0f4d257d7a58fc4545c7d7a88119eee5d5c9690c5b4c989171d3abbfd99d1d29",
        "25f3b12d6f282739256e39bf54eda53b60ffcf379bb7bcc90c27b4c4c578616c",
        "5f00d1bd2c58ec224b1e6b71fa0f19a1faa7a193952c444411b47c1a9d8ba6fe",
        "2d63f6debc92048b4fef3889c4c99ca67d6496e0fac14a2bca9a2d6566ff2398",
        "0b137d669b0947d7d026d593f0305ad401ff0c471357d695778a9c7f4b4869ec"
        "e98aca531188d16041b3bb936d2dbb3b4993a6e768a809160de45d0283f273a6"
        "cdf6854379e31be72b8d3d1fa990cf9c5b015ca9f918a7df6253c958114a09d4"
        "e1c19bdcd4db14b29d98db1a74ad405c588662c14a04d0d36aa4ab55e90f8986"
        "d12d4aad",
    ),
    (
        "aes128gcm16-prfsha384-x25519",
        "fd1b572a8e735591",
        "6013b0ef88dacd3d",
        "2116ad07ce61f749",
        "24880e55f11a65b7",
        "d3288cd87565101e88fe3bad918f31939d8dd26ff1071f8b2d7f447524e58d7c",
        "3358f620539473aee8d07e779764c4c6a9aabddc79a28e136b3bac021dbde44a",
        "69fe7a1ac94adaeb711295f5fe004b1a8d6a0b65d05692758ce8ad2f7a45f59d"
        "7d0b596f51f7dfcf3330061888f6a94f",
        "e0548c1682e13bce454026b3b1bdf42985b24e4e7408095a7c529de38c3d1fcb"
        "04c9fe6868042a34c9614c6c99e3fcea",
        "4f904c2025c90c817ea5ff9b662a6fdb445a73b57cdf09eacd379b95e1f03cac"
        "b04cd6deeda4f952191dd9bc1f7a9502471a648d74dc06d38112de48a42501f6"
        "b1a3ad55c2099cd9a648e5f17e5bf3e34bf9b5953decb768a34f875fe2b78dca"
        "0c2fcca81ec1a412006dfaed38fa06882e61f4c148105fb8e231fdb33c4d484c"
        "001721d4",
    ),
]


@pytest.mark.parametrize(
    ("text", "ni", "nr", "spi_i", "spi_r", "gir", "gir_new", "seed", "seed_rekey", "dkm"), NIST
)
def test_nist(
    text: str,
    ni: str,
    nr: str,
    spi_i: str,
    spi_r: str,
    gir: str,
    gir_new: str,
    seed: str,
    seed_rekey: str,
    dkm: str,
) -> None:
    chosen = suite(text)
    names = (h(ni), h(nr), h(spi_i), h(spi_r))
    made = keys.initial(chosen, h(gir), *names)
    assert made == keys.derive(chosen, h(seed), *names)
    assert b"".join(astuple(made)[1:]).startswith(h(dkm))
    again = keys.rekeyed(chosen, made, h(gir_new), *names)
    assert again == keys.derive(chosen, h(seed_rekey), *names)
    # The old PRF makes SKEYSEED, the new one the keys.
    other = suite("aes256-sha512-modp2048")
    expected = keys.derive(other, h(seed_rekey), *names)
    assert keys.rekeyed(other, made, h(gir_new), *names) == expected


#: Children of the first sample, without and with a key exchange of their own.
CHILD = (
    "8059e3ee8810e6c3a91bc8bcd2a7a41151b8d0e6ae239c7b38093ad85ef4c581"
    "1a8e7b5d1cdabd9560b2d5e092d1f24e2d4b85eccdf0ad0dc9abd94b51ee7181"
    "4ca6dbc8bb51b6309f5b9545c7eb35cf5580b1e521a8fe20754a2d883ba0c2cf"
    "285f524aea6545b33106bc03e614296d319d41d4b50b3f510b1c0a22f3e66499"
    "4d234cb4"
)
CHILD_KE = (
    "bb43244c1860ad65ee1e211ffe8bb3661750c8f89cb9f547df7f4fa61d373016"
    "28190e38c66232eab4b3ab14c400a5197dd3730ed4820a8a10394d51e1c04000"
    "52f63ebd36b0e7ef53aaed31eba4a5080d7d4b5666023a8bbb5ffb7857240f9a"
    "05884d1b7d2f933708450b7b3288f1fc863ab49fa901227cffc06e27899c7054"
    "d56fd74c"
)


@pytest.mark.parametrize(
    ("text", "protocol", "sizes"),
    [
        ("aes256-sha1", 3, (32, 20, 32, 20)),
        ("aes128gcm16", 3, (20, 0, 20, 0)),
        ("chacha20poly1305", 3, (36, 0, 36, 0)),
        ("null-sha256", 3, (0, 32, 0, 32)),
        ("sha512", 2, (0, 64, 0, 64)),
    ],
)
def test_nist_children(text: str, protocol: int, sizes: tuple[int, ...]) -> None:
    _, ni, nr, spi_i, spi_r, gir, gir_new, *_ = NIST[0]
    ike = keys.initial(suite(NIST[0][0]), h(gir), h(ni), h(nr), h(spi_i), h(spi_r))
    child = suite(text, protocol)
    for shared, dkm in ((b"", CHILD), (h(gir_new), CHILD_KE)):
        made = astuple(keys.child(child, ike, h(ni), h(nr), shared))
        assert tuple(map(len, made)) == sizes
        assert b"".join(made) == h(dkm)[: sum(sizes)]


NI, NR = bytes(range(32)), bytes(range(32, 64))
SPI_I, SPI_R = b"initiatr", b"respondr"
NAMES = (NI, NR, SPI_I, SPI_R)
GCM = suite("aes128gcm16-prfsha256-x25519")


def sha256(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, "sha256").digest()


@pytest.fixture
def made() -> IkeKeys:
    return keys.initial(GCM, b"shared", *NAMES)


def test_additional_key_exchanges(made: IkeKeys) -> None:
    after = keys.after_additional(GCM, made, b"second", *NAMES)
    assert after == keys.derive(GCM, sha256(made.sk_d, b"second" + NI + NR), *NAMES)
    rekeyed = keys.rekeyed(GCM, made, b"first", *NAMES, additional=(b"second", b"third"))
    seed = sha256(made.sk_d, b"first" + NI + NR + b"second" + b"third")
    assert rekeyed == keys.derive(GCM, seed, *NAMES)
    child = keys.child(suite("aes128gcm16", 3), made, NI, NR, b"first", (b"second",))
    stream = prf_plus(5, made.sk_d, b"first" + NI + NR + b"second", 40)
    assert child.encryption_i + child.encryption_r == stream


def test_resumption(made: IkeKeys) -> None:
    seed = sha256(made.sk_d, b"Resumption" + NI + NR)
    assert keys.resumed(GCM, made.sk_d, *NAMES) == keys.derive(GCM, seed, *NAMES)
    assert keys.resumption_auth(5, made.sk_pi, b"octets") == sha256(made.sk_pi, b"octets")


def test_ppk(made: IkeKeys) -> None:
    mixed = keys.with_ppk(made, b"ppk")
    assert mixed.sk_d == sha256(b"ppk", made.sk_d + b"\x01")
    assert mixed.sk_pi == sha256(b"ppk", made.sk_pi + b"\x01")
    assert mixed.sk_pr == sha256(b"ppk", made.sk_pr + b"\x01")
    kept = {"sk_d": made.sk_d, "sk_pi": made.sk_pi, "sk_pr": made.sk_pr}
    assert replace(mixed, **kept) == made


def test_auth(made: IkeKeys) -> None:
    body = pl.identity_body(Identity.parse("bus-17"))
    assert body == b"\x02\0\0\0bus-17"
    octets = keys.auth_octets(5, made.sk_pi, b"message", NR, body)
    assert octets == b"message" + NR + sha256(made.sk_pi, body)
    assert keys.psk_auth(5, b"secret", octets) == sha256(
        sha256(b"secret", b"Key Pad for IKEv2"), octets
    )


def test_int_auth(made: IkeKeys) -> None:
    header = msg.Header(SPI_I, SPI_R, 43, 8, 1)
    first, plain = msg.build_payloads([pl.Notify(16384)])
    octets = msg.int_auth_octets(header, first, plain)
    one = keys.int_auth(5, made.sk_pi, b"", octets)
    assert one == sha256(made.sk_pi, octets)
    assert keys.int_auth(5, made.sk_pi, one, octets) == sha256(made.sk_pi, one + octets)
    tail = keys.int_auth_tail(one, b"\x11" * 32, 2)
    assert tail == one + b"\x11" * 32 + b"\0\0\0\x02"
    assert keys.auth_octets(5, made.sk_pi, b"m", NR, b"id", tail).endswith(tail)


def test_keys_are_not_shown(made: IkeKeys) -> None:
    assert repr(replace(made, prf=5)) == "IkeKeys(prf=5)"
    assert repr(keys.child(suite("aes128gcm16", 3), made, NI, NR)) == "ChildKeys()"
    for cipher in made.ciphers(GCM):
        assert made.sk_ei.hex() not in repr(cipher)


def test_ciphers_of_both_directions(made: IkeKeys) -> None:
    for chosen in (GCM, suite("aes256-sha512-modp2048")):
        own = keys.initial(chosen, b"shared", *NAMES)
        i, r = own.ciphers(chosen)
        i2, r2 = own.ciphers(chosen)
        assert i2.open(b"head", i.seal(b"head", b"x")) == b"x"
        assert r2.open(b"head", r.seal(b"head", b"x")) == b"x"


def test_suites_without_keys(made: IkeKeys) -> None:
    with pytest.raises(LocalError):
        keys.initial(Suite(20, 128), b"shared", *NAMES)
    with pytest.raises(LocalError):
        keys.child(Suite(99, 128), made, NI, NR)
    assert keys.child(Suite(11, integ=12), made, NI, NR).encryption_i == b""


@pytest.mark.parametrize("address", [IPv4Address("198.51.100.1"), IPv6Address("2001:db8::1")])
def test_nat_detection(address: IPv4Address | IPv6Address) -> None:
    expected = hashlib.sha1(SPI_I + SPI_R + address.packed + b"\x11\x94").digest()
    assert keys.nat_detection(SPI_I, SPI_R, address, 4500) == expected


# --- cookies --------------------------------------------------------------------------

ADDRESS = IPv6Address("2001:db8::1")


def test_cookies() -> None:
    jar = Cookies()
    cookie = jar.make(NI, ADDRESS, SPI_I, 0.0)
    assert 1 <= len(cookie) <= 64
    assert jar.check(cookie, NI, ADDRESS, SPI_I, 1.0)
    assert not jar.check(cookie, NR, ADDRESS, SPI_I, 1.0)
    assert not jar.check(cookie, NI, IPv6Address("2001:db8::2"), SPI_I, 1.0)
    assert not jar.check(cookie, NI, IPv4Address("198.51.100.1"), SPI_I, 1.0)
    assert not jar.check(cookie, NI, ADDRESS, SPI_R, 1.0)
    assert not jar.check(b"", NI, ADDRESS, SPI_I, 1.0)
    assert not jar.check(cookie[:-1], NI, ADDRESS, SPI_I, 1.0)
    assert not jar.check(bytes(64), NI, ADDRESS, SPI_I, 1.0)
    assert not Cookies().check(cookie, NI, ADDRESS, SPI_I, 1.0)


def test_cookies_of_one_family_are_none_of_the_other() -> None:
    jar = Cookies()
    cookie = jar.make(bytes(28), IPv4Address("32.1.13.184"), SPI_I, 0.0)
    for swapped in (SPI_I, bytes(8)):
        assert not jar.check(cookie, bytes(16), IPv6Address("2001:db8::"), swapped, 0.0)


def test_cookies_grow_old() -> None:
    jar = Cookies(period=60.0)
    cookie = jar.make(NI, ADDRESS, SPI_I, 0.0)
    assert jar.check(cookie, NI, ADDRESS, SPI_I, 59.0)
    assert jar.check(cookie, NI, ADDRESS, SPI_I, 61.0)
    assert jar.make(NI, ADDRESS, SPI_I, 61.0) != cookie
    assert not jar.check(cookie, NI, ADDRESS, SPI_I, 122.0)


def test_cookies_after_a_long_silence() -> None:
    jar = Cookies(period=60.0)
    cookie = jar.make(NI, ADDRESS, SPI_I, 0.0)
    assert not jar.check(cookie, NI, ADDRESS, SPI_I, 1000.0)
    assert jar.check(jar.make(NI, ADDRESS, SPI_I, 1000.0), NI, ADDRESS, SPI_I, 1001.0)
    with pytest.raises(LocalError):
        Cookies(period=0.0)
