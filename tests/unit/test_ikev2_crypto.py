# SPDX-License-Identifier: GPL-2.0-only
"""PRFs, ciphers and key exchanges: published vectors, and values that must be refused."""

from __future__ import annotations

import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from dsmip.ikev2 import crypto, exchange
from dsmip.ikev2 import message as msg
from dsmip.ikev2 import payloads as pl
from dsmip.ikev2.errors import Ignored, LocalError, RemoteError
from dsmip.ikev2.message import Header
from dsmip.ikev2.numbers import Encr, Integ, KeyExchange, NotifyType, Prf
from dsmip.ikev2.proposals import Suite
from hypothesis import given
from hypothesis import strategies as st

METHODS = sorted(crypto.available())

# --- pseudorandom functions -----------------------------------------------------------

#: RFC 2202 and RFC 4231, test case 1.
HMACS = {
    Prf.HMAC_SHA1: "b617318655057264e28bc0b6fb378c8ef146be00",
    Prf.HMAC_SHA2_256: "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    Prf.HMAC_SHA2_384: "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59c"
    "faea9ea9076ede7f4af152e8b2fa9cb6",
    Prf.HMAC_SHA2_512: "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"
    "daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
}


@pytest.mark.parametrize("transform", HMACS)
def test_prf(transform: Prf) -> None:
    output = crypto.prf(transform, b"\x0b" * 20, b"Hi There")
    assert output.hex() == HMACS[transform]
    assert crypto.prf_size(transform) == len(output)


@given(
    transform=st.sampled_from(sorted(HMACS)),
    key=st.binary(max_size=80),
    seed=st.binary(max_size=80),
    size=st.integers(0, 400),
)
def test_prf_plus(transform: int, key: bytes, seed: bytes, size: int) -> None:
    """T1 = prf(K, S | 0x01), T2 = prf(K, T1 | S | 0x02) and so on."""
    name = {2: "sha1", 5: "sha256", 6: "sha384", 7: "sha512"}[transform]
    last = b""
    stream = bytearray()
    for count in range(1, 22):
        last = hmac.new(key, last + seed + bytes([count]), name).digest()
        stream += last
    assert crypto.prf_plus(transform, key, seed, size) == stream[:size]


def test_prf_plus_ends() -> None:
    longest = crypto.prf_plus(5, b"k", b"s", 255 * 32)
    assert len(longest) == 255 * 32
    with pytest.raises(LocalError):
        crypto.prf_plus(5, b"k", b"s", 255 * 32 + 1)
    with pytest.raises(LocalError):
        crypto.prf_size(Prf.AES128_XCBC)


# --- ciphers --------------------------------------------------------------------------

GCM = Suite(Encr.AES_GCM_16, 128, Prf.HMAC_SHA2_256)
CBC = Suite(Encr.AES_CBC, 128, Prf.HMAC_SHA2_256, Integ.HMAC_SHA2_256_128)
CHACHA = Suite(Encr.CHACHA20_POLY1305, 0, Prf.HMAC_SHA2_256)


def test_chacha20_poly1305_vector() -> None:
    """RFC 7634 appendix B: a whole message."""
    wire = bytes.fromhex(
        "c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e202500000000090000004529000029"
        "1011121314151617610394701f8d017f7c129248896b71bfe25236efd7cdc67066906315b2"
    )
    key = bytes(range(0x80, 0xA0)) + bytes.fromhex("a0a1a2a3")
    parsed = msg.parse(wire)
    inner = [pl.Notify(16385, bytes((0, 0, 0, 10)))]
    assert msg.open(parsed, crypto.cipher(CHACHA, key)) == inner
    ours = crypto.cipher(CHACHA, key)
    ours._count = 0x1011121314151616  # type: ignore[attr-defined]
    spi_i, spi_r = wire[:8], wire[8:16]
    assert msg.seal(Header(spi_i, spi_r, 37, 0, 9), inner, ours) == wire


def test_aes_gcm_vector() -> None:
    """Test case 4 of the GCM submission, without the pad length octet of ours."""
    key = bytes.fromhex("feffe9928665731c6d6a8f9467308308")
    nonce = bytes.fromhex("cafebabefacedbaddecaf888")
    aad = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    plain = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    )
    box = crypto.cipher(GCM, key + nonce[:4])
    sealed = bytes.fromhex(
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
        "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091"
        "5bc94fbc3221a5db94fae95ae7121a47"
    )
    # The last octet, 0x39, says how much padding there is: 57 octets before it.
    assert box.open(aad, nonce[4:] + sealed) == plain[: len(plain) - 1 - plain[-1]]


@pytest.mark.parametrize("suite", [GCM, CHACHA])
def test_no_iv_twice(suite: Suite) -> None:
    size = crypto.encryption_key_size(suite.encr, suite.key_length)
    box = crypto.cipher(suite, bytes(size))
    ivs = [box.seal(b"head", b"")[:8] for _ in range(100)]
    assert len(set(ivs)) == 100


@pytest.mark.parametrize("suite", [GCM, CBC, CHACHA])
@given(head=st.binary(max_size=40), plain=st.binary(max_size=600))
def test_sizes(suite: Suite, head: bytes, plain: bytes) -> None:
    key = bytes(crypto.encryption_key_size(suite.encr, suite.key_length))
    box = crypto.cipher(suite, key, bytes(crypto.integrity_key_size(suite.integ)))
    sealed = box.seal(head, plain)
    assert len(sealed) == box.size(len(plain))
    assert box.capacity(len(sealed)) >= len(plain)
    assert box.size(box.capacity(len(sealed))) == len(sealed)
    assert box.open(head, sealed) == plain


def test_cbc_pads_as_another_may() -> None:
    """Up to 255 octets of padding with any content are right (RFC 7296 section 3.14)."""
    box = crypto.cipher(CBC, bytes(16), bytes(32))
    for fill in (7, 23, 247):
        padded = b"12345678" + b"\xa5" * fill + bytes((fill,))
        assert box.open(b"head", sealed_cbc(padded)) == b"12345678"


def sealed_cbc(padded: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    iv = b"\x17" * 16
    body = iv + Cipher(algorithms.AES(bytes(16)), modes.CBC(iv)).encryptor().update(padded)
    return body + hmac.digest(bytes(32), b"head" + body, "sha256")[:16]


def test_padding_longer_than_the_payload() -> None:
    box = crypto.cipher(CBC, bytes(16), bytes(32))
    with pytest.raises(RemoteError) as caught:
        box.open(b"head", sealed_cbc(bytes(15) + b"\x10"))
    assert caught.value.notify == NotifyType.INVALID_SYNTAX
    assert box.open(b"head", sealed_cbc(bytes(15) + b"\x0f")) == b""


@pytest.mark.parametrize("cut", [1, 15, 16, 17])
def test_cbc_of_wrong_length(cut: int) -> None:
    box = crypto.cipher(CBC, bytes(16), bytes(32))
    sealed = box.seal(b"head", bytes(20))
    with pytest.raises(Ignored) as caught:
        box.open(b"head", sealed[:-cut])
    assert caught.value.counter == "ike_bad_icv"


@pytest.mark.parametrize(
    ("encr", "bits", "octets"),
    [
        (Encr.NULL, 0, 0),
        (Encr.AES_CBC, 128, 16),
        (Encr.AES_CBC, 192, 24),
        (Encr.AES_CBC, 256, 32),
        (Encr.AES_CTR, 128, 20),
        (Encr.AES_CCM_16, 256, 35),
        (Encr.AES_GCM_8, 128, 20),
        (Encr.AES_GCM_12, 192, 28),
        (Encr.AES_GCM_16, 256, 36),
        (Encr.NULL_AUTH_AES_GMAC, 128, 20),
        (Encr.CHACHA20_POLY1305, 0, 36),
    ],
)
def test_key_sizes(encr: Encr, bits: int, octets: int) -> None:
    assert crypto.encryption_key_size(encr, bits) == octets


@pytest.mark.parametrize(
    ("encr", "bits"), [(Encr.AES_CBC, 0), (Encr.AES_GCM_16, 64), (Encr.DES, 0), (99, 128)]
)
def test_no_key_size(encr: int, bits: int) -> None:
    with pytest.raises(LocalError):
        crypto.encryption_key_size(encr, bits)


def test_integrity_key_sizes() -> None:
    sizes = {integ: crypto.integrity_key_size(integ) for integ in (0, 2, 12, 13, 14)}
    assert sizes == {0: 0, 2: 20, 12: 32, 13: 48, 14: 64}
    with pytest.raises(LocalError):
        crypto.integrity_key_size(Integ.AES_XCBC_96)


@pytest.mark.parametrize(
    ("suite", "encryption", "integrity"),
    [
        (GCM, 16, 0),
        (CBC, 20, 32),
        (CBC, 16, 20),
        (CHACHA, 32, 0),
        (Suite(Encr.AES_GCM_16, 128, Prf.AES128_XCBC), 20, 0),
        (Suite(Encr.AES_GCM_16, 128, Prf.HMAC_SHA2_256, Integ.HMAC_SHA1_96), 20, 20),
        (Suite(Encr.AES_CBC, 128, Prf.HMAC_SHA2_256), 16, 0),
        (Suite(Encr.AES_GCM_8, 128, Prf.HMAC_SHA2_256), 20, 0),
        (Suite(Encr.NULL, 0, Prf.HMAC_SHA2_256, Integ.HMAC_SHA1_96), 0, 20),
        (Suite(Encr.AES_GCM_16, 64, Prf.HMAC_SHA2_256), 12, 0),
    ],
)
def test_suites_that_protect_no_ike_sa(suite: Suite, encryption: int, integrity: int) -> None:
    with pytest.raises(LocalError):
        crypto.cipher(suite, bytes(encryption), bytes(integrity))


# --- key exchange ---------------------------------------------------------------------


def test_x25519_vector() -> None:
    """RFC 7748 section 6.1."""
    alice = exchange._X25519(
        X25519PrivateKey.from_private_bytes(
            bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
        )
    )
    bob = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    assert alice.public.hex() == (
        "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    )
    assert alice.shared(bob).hex() == (
        "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    )


#: RFC 5903 section 8: method, curve, i, gix | giy, grx | gry, girx.
ECP = [
    (
        KeyExchange.ECP256,
        ec.SECP256R1(),
        "C88F01F5 10D9AC3F 70A292DA A2316DE5 44E9AAB8 AFE84049 C62A9C57 862D1433",
        "DAD0B653 94221CF9 B051E1FE CA5787D0 98DFE637 FC90B9EF 945D0C37 72581180"
        "5271A046 1CDB8252 D61F1C45 6FA3E59A B1F45B33 ACCF5F58 389E0577 B8990BB3",
        "D12DFB52 89C8D4F8 1208B702 70398C34 2296970A 0BCCB74C 736FC755 4494BF63"
        "56FBF3CA 366CC23E 8157854C 13C58D6A AC23F046 ADA30F83 53E74F33 039872AB",
        "D6840F6B 42F6EDAF D13116E0 E1256520 2FEF8E9E CE7DCE03 812464D0 4B9442DE",
    ),
    (
        KeyExchange.ECP384,
        ec.SECP384R1(),
        "099F3C70 34D4A2C6 99884D73 A375A67F 7624EF7C 6B3C0F16 0647B674 14DCE655"
        "E35B5380 41E649EE 3FAEF896 783AB194",
        "667842D7 D180AC2C DE6F74F3 7551F557 55C7645C 20EF73E3 1634FE72 B4C55EE6"
        "DE3AC808 ACB4BDB4 C88732AE E95F41AA"
        "9482ED1F C0EEB9CA FC498462 5CCFC23F 65032149 E0E144AD A0241815 35A0F38E"
        "EB9FCFF3 C2C947DA E69B4C63 4573A81C",
        "E558DBEF 53EECDE3 D3FCCFC1 AEA08A89 A987475D 12FD950D 83CFA417 32BC509D"
        "0D1AC43A 0336DEF9 6FDA41D0 774A3571"
        "DCFBEC7A ACF31964 72169E83 8430367F 66EEBE3C 6E70C416 DD5F0C68 759DD1FF"
        "F83FA401 42209DFF 5EAAD96D B9E6386C",
        "11187331 C279962D 93D60424 3FD592CB 9D0A926F 422E4718 7521287E 7156C5C4"
        "D6031355 69B9E9D0 9CF5D4A2 70F59746",
    ),
    (
        KeyExchange.ECP521,
        ec.SECP521R1(),
        "0037ADE9 319A89F4 DABDB3EF 411AACCC A5123C61 ACAB57B5 393DCE47 608172A0"
        "95AA85A3 0FE1C295 2C6771D9 37BA9777 F5957B26 39BAB072 462F68C2 7A57382D 4A52",
        "0015417E 84DBF28C 0AD3C278 713349DC 7DF153C8 97A1891B D98BAB43 57C9ECBE"
        "E1E3BF42 E00B8E38 0AEAE57C 2D107564 94188594 2AF5A7F4 601723C4 195D176C ED3E"
        "017CAE20 B6641D2E EB695786 D8C94614 6239D099 E18E1D5A 514C739D 7CB4A10A"
        "D8A78801 5AC405D7 799DC75E 7B7D5B6C F2261A6A 7F150743 8BF01BEB 6CA3926F 9582",
        "00D0B397 5AC4B799 F5BEA16D 5E13E9AF 971D5E9B 984C9F39 728B5E57 39735A21"
        "9B97C356 436ADC6E 95BB0352 F6BE64A6 C2912D4E F2D0433C ED2B6171 640012D9 460F"
        "015C6822 6383956E 3BD066E7 97B623C2 7CE0EAC2 F551A10C 2C724D98 52077B87"
        "220B6536 C5C408A1 D2AEBB8E 86D678AE 49CB5709 1F473229 6579AB44 FCD17F0F C56A",
        "01144C7D 79AE6956 BC8EDB8E 7C787C45 21CB086F A64407F9 7894E5E6 B2D79B04"
        "D1427E73 CA4BAA24 0A347868 59810C06 B3C715A3 A8CC3151 F2BEE417 996D19F3 DDEA",
    ),
]


@pytest.mark.parametrize(("method", "curve", "private", "own", "peer", "secret"), ECP)
def test_ecp_vectors(
    method: KeyExchange, curve: ec.EllipticCurve, private: str, own: str, peer: str, secret: str
) -> None:
    number = int(private.replace(" ", ""), 16)
    key = exchange._Ecp(method, ec.derive_private_key(number, curve))
    assert key.public == bytes.fromhex(own)
    assert key.shared(bytes.fromhex(peer)) == bytes.fromhex(secret)
    assert len(pl.build(pl.KE(method, key.public))) + 4 == {19: 0x48, 20: 0x68, 21: 0x8C}[method]


@pytest.mark.parametrize(
    ("method", "tail"),
    [
        (KeyExchange.MODP2048, "15728E5A8AACAA68FFFFFFFFFFFFFFFF"),
        (KeyExchange.MODP3072, "4B82D120A93AD2CAFFFFFFFFFFFFFFFF"),
        (KeyExchange.MODP4096, "34063199FFFFFFFFFFFFFFFF"),
    ],
)
def test_modp_primes(method: KeyExchange, tail: str) -> None:
    """As printed in RFC 3526, at both ends; and prime by Fermat's test."""
    prime = exchange.modp_prime(method)
    digits = f"{prime:X}"
    assert len(digits) == {14: 512, 15: 768, 16: 1024}[method]
    assert digits.startswith("FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E08")
    assert digits.endswith(tail)
    assert pow(3, prime - 1, prime) == 1


@pytest.mark.parametrize("method", METHODS)
def test_both_sides_agree(method: KeyExchange) -> None:
    own = crypto.generate(method)
    public, secret = crypto.respond(method, own.public)
    assert own.method == method
    assert own.shared(public) == secret
    assert crypto.generate(method).public != own.public
    assert secret.hex() not in repr(own)


@pytest.mark.parametrize("method", METHODS)
def test_public_values_of_wrong_size(method: KeyExchange) -> None:
    own = crypto.generate(method)
    public, _ = crypto.respond(method, own.public)
    for wrong in (b"", public[:-1], public + b"\0", b"\0" + public):
        with pytest.raises(RemoteError) as caught:
            own.shared(wrong)
        assert caught.value.notify == NotifyType.INVALID_SYNTAX
        with pytest.raises(RemoteError):
            crypto.respond(method, wrong)


@pytest.mark.parametrize("method", [14, 15, 16])
def test_modp_values_out_of_range(method: int) -> None:
    own = crypto.generate(method)
    prime = exchange.modp_prime(method)
    size = len(own.public)
    for value in (0, 1, prime - 1, prime, prime + 1, (1 << 8 * size) - 1):
        with pytest.raises(RemoteError) as caught:
            own.shared(value.to_bytes(size))
        assert caught.value.notify == NotifyType.INVALID_SYNTAX
    assert own.shared((2).to_bytes(size)) == own.public
    # In range, and yet no power of the generator: which some libraries refuse.
    try:
        assert len(own.shared((prime - 2).to_bytes(size))) == size
    except RemoteError as error:
        if error.notify != NotifyType.INVALID_SYNTAX:
            raise


def test_modp_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = crypto.generate(14)
    with monkeypatch.context() as patch:
        patch.setattr(exchange, "_parameters", lambda method: None)
        own = crypto.generate(14)
        assert own._key is None  # type: ignore[attr-defined]
        secret = own.shared(theirs.public)
        with pytest.raises(RemoteError):
            own.shared(bytes(256))
    assert theirs.shared(own.public) == secret


def test_modp_of_a_library_that_drops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        """A module whose classes have gone."""

    for library in (None, Gone()):
        exchange._parameters.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(exchange, "_library", lambda library=library: library)
            assert exchange._parameters(14) is None
    exchange._parameters.cache_clear()


@pytest.mark.parametrize("method", [19, 20, 21])
def test_points_off_the_curve(method: int) -> None:
    own = crypto.generate(method)
    peer = crypto.generate(method).public
    size = len(peer) // 2
    off = peer[:-1] + bytes((peer[-1] ^ 1,))
    for wrong in (bytes(2 * size), off, peer[size:] + peer[:size], b"\xff" * (2 * size)):
        with pytest.raises(RemoteError) as caught:
            own.shared(wrong)
        assert caught.value.notify == NotifyType.INVALID_SYNTAX


@pytest.mark.parametrize(
    "point",
    [
        "00" * 32,
        "01" + "00" * 31,
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    ],
)
def test_x25519_points_of_small_order(point: str) -> None:
    with pytest.raises(RemoteError) as caught:
        crypto.generate(31).shared(bytes.fromhex(point))
    assert caught.value.notify == NotifyType.INVALID_SYNTAX


def test_methods_that_are_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for method in (0, 2, 5, 22, 99):
        with pytest.raises(LocalError):
            crypto.generate(method)
    with pytest.raises(LocalError):
        crypto.encapsulate(31, bytes(32))
    monkeypatch.setattr(exchange, "_mlkem", lambda: None)
    with pytest.raises(LocalError, match="ML-KEM"):
        crypto.generate(36)
    with pytest.raises(LocalError, match="ML-KEM"):
        crypto.encapsulate(36, bytes(1184))
    crypto.available.cache_clear()
    assert KeyExchange.MLKEM768 not in crypto.available()
    assert {14, 15, 16, 19, 20, 21, 31} <= crypto.available()
    crypto.available.cache_clear()


def test_encapsulation_keys_that_are_none() -> None:
    for method in METHODS:
        if method == KeyExchange.MLKEM768:
            with pytest.raises(RemoteError) as caught:
                crypto.encapsulate(method, b"\xff" * 1184)
            assert caught.value.notify == NotifyType.INVALID_SYNTAX
