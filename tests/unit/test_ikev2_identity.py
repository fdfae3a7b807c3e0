# SPDX-License-Identifier: GPL-2.0-only
"""Identities: what configuration says, what is on the wire, what is shown."""

from __future__ import annotations

import pytest
from cryptography import x509
from dsmip.ikev2 import distinguished_name as dn
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.numbers import IdType
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.ikev2_messages import identities

PARSED = [
    ("bus-17.example.net", IdType.FQDN, b"bus-17.example.net"),
    ("bus-17", IdType.FQDN, b"bus-17"),
    ("_x.example.", IdType.FQDN, b"_x.example."),
    ("user@realm", IdType.RFC822_ADDR, b"user@realm"),
    ("2001:db8::1", IdType.IPV6_ADDR, bytes.fromhex("20010db8000000000000000000000001")),
    ("198.51.100.1", IdType.IPV4_ADDR, bytes((198, 51, 100, 1))),
    ("keyid:fleet key", IdType.KEY_ID, b"fleet key"),
    ("keyid:0x00ff", IdType.KEY_ID, b"\x00\xff"),
    ("dn:CN=bus-17", IdType.DER_ASN1_DN, bytes.fromhex("3011310f300d06035504030c066275732d3137")),
    ("gn:0x8203627573", IdType.DER_ASN1_GN, b"\x82\x03bus"),
    ("fqdn:198.51.100.1", IdType.FQDN, b"198.51.100.1"),
    ("fqdn:user@realm", IdType.FQDN, b"user@realm"),
    ("fqdn:0xff", IdType.FQDN, b"\xff"),
    ("rfc822:bus", IdType.RFC822_ADDR, b"bus"),
    ("null:", IdType.NULL, b""),
    ("type12:0x0102", IdType.FC_NAME, b"\x01\x02"),
]


@pytest.mark.parametrize(("text", "kind", "data"), PARSED)
def test_parse(text: str, kind: IdType, data: bytes) -> None:
    identity = Identity.parse(text)
    assert identity == Identity(kind, data)
    assert Identity.parse(str(identity)) == identity


@pytest.mark.parametrize("text", [text for text, kind, _ in PARSED if kind != IdType.FC_NAME])
def test_shown_as_written(text: str) -> None:
    assert str(Identity.parse(text)) == text


def test_other_ways_to_write() -> None:
    assert str(Identity.parse("ipv6:2001:DB8::1")) == "2001:db8::1"
    assert str(Identity.parse("ipv4:198.51.100.1")) == "198.51.100.1"
    assert str(Identity.parse("keyid:0x616263")) == "keyid:abc"
    assert str(Identity(9, b"\x30\x00")) == "dn:"
    assert str(Identity(9, b"\xff")) == "dn:0xff"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a b",
        "bus/17",
        "-bus",
        "@realm",
        "us er@realm",
        "fe80::1%eth0",
        "198.51.100.256:1",
        "keyid:0xfg",
        "ipv6:bus",
        "dn:bus",
        "dn:XX=bus",
        "type300:0x01",
        "C=DE, O=Fleet",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Identity.parse(text)


@given(identity=identities)
def test_round_trip(identity: Identity) -> None:
    again = Identity.parse(str(identity))
    assert again.matches(identity)
    if identity.type != IdType.DER_ASN1_DN:
        assert again == identity


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("BUS-17.example.net", "bus-17.Example.NET", True),
        ("bus-17.example.net.", "bus-17.example.net", True),
        ("bus-17", "bus-18", False),
        ("bus-17@example.net", "bus-17@EXAMPLE.net", True),
        ("Bus-17@example.net", "bus-17@example.net", False),
        ("keyid:A", "keyid:a", False),
        ("fqdn:2001:db8::1", "2001:db8::1", False),
        ("dn:CN=Bus  17,O=Fleet", "dn:cn=bus 17,o=FLEET", True),
        ("dn:CN=bus,O=Fleet", "dn:O=Fleet,CN=bus", False),
        ("dn:CN=a+OU=b", "dn:OU=b+CN=a", True),
        ("dn:0xff", "dn:CN=a", False),
        ("dn:0xff", "dn:0xfe", False),
    ],
)
def test_matches(one: str, other: str, same: bool) -> None:
    assert Identity.parse(one).matches(Identity.parse(other)) is same
    assert Identity.parse(other).matches(Identity.parse(one)) is same


def test_addresses() -> None:
    with pytest.raises(ValueError, match="16 octets"):
        Identity(IdType.IPV6_ADDR, bytes(4))
    with pytest.raises(ValueError, match="4 octets"):
        Identity(IdType.IPV4_ADDR, bytes(16))
    assert str(Identity.parse("2001:db8::1").address) == "2001:db8::1"
    assert str(Identity.parse("198.51.100.1").address) == "198.51.100.1"
    assert Identity.parse("bus").address is None


# --- distinguished names, judged by the library that has an X.509 parser ------------------

NAMES = [
    "CN=bus-17,O=Fleet,C=DE",
    "CN=bus\\, seventeen,O=A\\+B\\\\C",
    "UID=17+CN=bus,DC=example,DC=net",
    "CN=\\ bus\\ ,OU=\\#17",
    "CN=Bäcker,ST=Ö,L=x,STREET=y",
    "C=DE",
]


@pytest.mark.parametrize("text", NAMES)
def test_names_as_the_library_encodes_them(text: str) -> None:
    theirs = x509.Name.from_rfc4514_string(text).public_bytes()
    assert dn.normalized(dn.encode(text)) == dn.normalized(theirs)
    assert dn.normalized(dn.encode(dn.decode(theirs))) == dn.normalized(theirs)


def test_names_and_types_of_strings() -> None:
    name = dn.encode("CN=b,C=DE,emailAddress=a@b.example,1.2.3.4=#0c0178")
    assert bytes.fromhex("1302") + b"DE" in name
    assert bytes.fromhex("160b") + b"a@b.example" in name
    assert dn.decode(name) == "CN=b,C=DE,emailAddress=a@b.example,1.2.3.4=#0c0178"
    printable = bytes.fromhex("300c310a300806035504031301") + b"b"
    assert dn.decode(printable) == "CN=b"
    assert dn.normalized(printable) == dn.normalized(dn.encode("CN=B"))


@pytest.mark.parametrize("text", ['CN="a, b"', "CN=a\\, b", "CN=a\\2c b"])
def test_escapes(text: str) -> None:
    assert dn.decode(dn.encode(text)) == "CN=a\\, b"


@pytest.mark.parametrize("text", ["CN=a\\", 'CN="a', "CN", "CN=a,,O=b", "1.40.1=x", "CN=#0c05"])
def test_names_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        dn.encode(text)


@given(text=st.text(max_size=40))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        der = dn.encode(text)
    except ValueError:
        return
    assert dn.normalized(dn.encode(dn.decode(der))) == dn.normalized(der)


@given(
    values=st.lists(
        st.tuples(st.sampled_from(("CN", "O", "OU", "UID")), st.text(max_size=12)), max_size=4
    )
)
def test_any_value_can_be_read_back(values: list[tuple[str, str]]) -> None:
    name = x509.Name(
        [
            x509.NameAttribute(x509.ObjectIdentifier(dn.KEYWORDS[word][0]), value or "-")
            for word, value in values
        ]
    )
    der = name.public_bytes()
    assert dn.encode(dn.decode(der)) == der


@given(der=st.binary(max_size=60))
def test_any_octets_are_a_name_or_refused(der: bytes) -> None:
    try:
        dn.decode(der)
        dn.normalized(der)
    except ValueError:
        return


def test_der_cut_short() -> None:
    der = dn.encode("CN=bus-17,O=Fleet,C=DE")
    for size in range(len(der)):
        with pytest.raises(ValueError, match="DER"):
            dn.decode(der[:size])
