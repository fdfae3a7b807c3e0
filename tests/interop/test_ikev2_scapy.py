# SPDX-License-Identifier: GPL-2.0-only
"""scapy reads what our IKEv2 builders write, and our parsers read what scapy writes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from dsmip.ikev2 import message as msg
from dsmip.ikev2 import payloads as pl
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.message import Header
from dsmip.ikev2.proposals import Proposal, parse_proposals, with_spi
from dsmip.ikev2.selectors import TrafficSelector
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.contrib import ikev2 as scapy

from tests.fuzz.ikev2_messages import octets
from tests.fuzz.messages import u8, u16, u32, v4, v6

SPI_I, SPI_R = b"initiatr", b"respondr"
few = settings(max_examples=40)


def read(payload: pl.Payload) -> scapy.IKEv2_Payload:
    """Let scapy read a message of ours with one payload, and write it again."""
    wire = msg.build(Header(SPI_I, SPI_R, 37, 8, 7), [payload])
    packet = scapy.IKEv2(wire)
    assert bytes(packet) == wire
    assert packet.next_payload == payload.TYPE
    layer = packet.payload
    assert layer.length == len(layer)
    return layer


def written(*layers: object) -> list[pl.Payload]:
    """Return our reading of a message that scapy makes of these layers."""
    packet = scapy.IKEv2(init_SPI=SPI_I, resp_SPI=SPI_R, exch_type=37, flags=8, id=7)
    for layer in layers:
        packet /= layer
    parsed = msg.parse(bytes(packet))
    assert (parsed.header.spi_i, parsed.header.spi_r) == (SPI_I, SPI_R)
    assert parsed.header.initiator
    return parsed.payloads


# --- ours, read by scapy -------------------------------------------------------------


@few
@given(exchange=u8, message_id=u32)
def test_header(exchange: int, message_id: int) -> None:
    packet = scapy.IKEv2(msg.build(Header(SPI_I, SPI_R, exchange, 0x28, message_id), []))
    assert (packet.init_SPI, packet.resp_SPI) == (SPI_I, SPI_R)
    assert (packet.exch_type, packet.id, packet.length) == (exchange, message_id, 28)
    assert (packet.version, str(packet.flags)) == (0x20, "Initiator+Response")


@pytest.mark.parametrize(
    ("proposals", "spi"),
    [
        (parse_proposals(["aes128gcm16-prfsha256-x25519", "aes256-sha512-modp2048-ecp256"]), b""),
        (with_spi(parse_proposals(["aes256gcm16-prfsha384-ecp384"]), b"12345678"), b"12345678"),
        (with_spi(parse_proposals(["aes128gcm16-esn-noesn", "null-sha256"], 3), b"abcd"), b"abcd"),
    ],
)
def test_security_association(proposals: tuple[Proposal, ...], spi: bytes) -> None:
    layer = read(pl.SA(proposals)).prop
    for proposal in proposals:
        assert (layer.proposal, layer.proto) == (proposal.number, proposal.protocol)
        assert (layer.SPI, layer.trans_nb) == (spi, len(proposal.transforms))
        transform = layer.trans
        for ours in proposal.transforms:
            assert (transform.transform_type, transform.transform_id) == (ours.type, ours.id)
            assert transform.key_length == ours.key_length
            transform = transform.payload
        layer = layer.payload


@few
@given(method=u16, data=octets(0, 80))
def test_key_exchange(method: int, data: bytes) -> None:
    layer = read(pl.KE(method, data))
    assert (layer.group, layer.ke) == (method, data)


@few
@given(data=octets(16, 256))
def test_nonce(data: bytes) -> None:
    assert read(pl.Nonce(data)).nonce == data


@few
@given(
    kind=u16.filter(lambda kind: kind not in (16407, 16408)), data=octets(0, 40), spi=octets(0, 8)
)
def test_notify(kind: int, data: bytes, spi: bytes) -> None:
    layer = read(pl.Notify(kind, data, 3, spi))
    assert (layer.type, layer.proto, layer.SPI, layer.notify) == (kind, 3, spi, data)


def test_redirect() -> None:
    gateway = IPv6Address("2001:db8::1")
    layer = read(pl.Notify(16407, b"\x02\x10" + gateway.packed + bytes(16)))
    assert (layer.gw_id_type, layer.gw_id, layer.nonce) == (2, str(gateway), bytes(16))


@few
@given(spis=st.lists(octets(4, 4), max_size=4))
def test_delete(spis: list[bytes]) -> None:
    layer = read(pl.Delete(3, tuple(spis)))
    assert (layer.proto, layer.SPIsize, layer.SPInum) == (3, 4, len(spis))
    assert [spi if isinstance(spi, bytes) else bytes(spi) for spi in layer.SPI] == spis


@few
@given(first=v4, second=v6, protocol=u8, start=u16, end=u16)
def test_traffic_selectors(
    first: IPv4Address, second: IPv6Address, protocol: int, start: int, end: int
) -> None:
    selectors = (
        TrafficSelector(protocol, start, end, first, first),
        TrafficSelector(protocol, start, end, second, second),
    )
    for payload in (pl.TSi(selectors), pl.TSr(selectors)):
        layer = read(payload)
        assert layer.number_of_TSs == 2
        four, six = layer.traffic_selector
        assert (four.TS_type, six.TS_type) == (7, 8)
        assert four.starting_address_v4 == four.ending_address_v4 == str(first)
        assert IPv6Address(six.starting_address_v6) == IPv6Address(six.ending_address_v6) == second
        for selector in (four, six):
            assert selector.IP_protocol_ID == protocol
            assert (selector.start_port, selector.end_port) == (start, end)


@pytest.mark.parametrize("cls", [pl.IdI, pl.IdR])
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("bus-17.example.net", b"bus-17.example.net"),
        ("user@realm", b"user@realm"),
        ("198.51.100.1", "198.51.100.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("keyid:fleet", b"fleet"),
    ],
)
def test_identification(cls: type[pl.IdI | pl.IdR], text: str, shown: str | bytes) -> None:
    identity = Identity.parse(text)
    layer = read(cls(identity))
    assert (layer.IDtype, layer.ID) == (identity.type, shown)


def test_the_rest() -> None:
    layer = read(pl.Auth(14, b"signature"))
    assert (layer.auth_type, layer.load) == (14, b"signature")
    assert read(pl.VendorId(b"dsmip")).vendorID == b"dsmip"
    layer = read(pl.CertReq(4, b"\x11" * 40))
    assert (layer.cert_encoding, layer.cert_authority) == (4, b"\x11" * 40)
    layer = read(pl.Cert(15, b"\x30\x00"))
    assert (layer.cert_encoding, layer.cert_data) == (15, b"\x30\x00")
    assert read(pl.Eap(b"\x01\x05\x00\x05\x01")).load == b"\x01\x05\x00\x05\x01"


def test_configuration() -> None:
    prefix = bytes(4) + bytes(16) + b"\x38"
    layer = read(
        pl.Configuration(
            2, (pl.Attribute(8), pl.Attribute(16, prefix), pl.Attribute(3, b"\x01" * 4))
        )
    )
    assert layer.CFGType == 2
    empty, home, dns = layer.attributes
    assert (empty.type, empty.length) == (8, 0)
    assert (home.type, home.value) == (16, prefix)
    assert (dns.type, dns.value) == (3, "1.1.1.1")


# --- scapy's, read by us -------------------------------------------------------------


def test_written_by_scapy() -> None:
    transforms = scapy.IKEv2_Transform(
        transform_type=1, transform_id=20, length=12, key_length=128, next_payload=3
    ) / scapy.IKEv2_Transform(transform_type=5, transform_id=0, next_payload=0)
    proposal = scapy.IKEv2_Proposal(proto=3, SPI=b"abcd", trans_nb=2, trans=transforms)
    found = written(
        scapy.IKEv2_SA(prop=proposal),
        scapy.IKEv2_KE(group=31, ke=bytes(32)),
        scapy.IKEv2_Nonce(nonce=bytes(range(32))),
        scapy.IKEv2_Notify(type=16393, proto=3, SPI=b"abcd", notify=b""),
        scapy.IKEv2_Delete(proto=3, SPIsize=4, SPInum=2, SPI=[b"abcd", b"efgh"]),
        scapy.IKEv2_VendorID(vendorID=b"scapy"),
    )
    assert found == [
        pl.SA(with_spi(parse_proposals(["aes128gcm16"], 3), b"abcd")),
        pl.KE(31, bytes(32)),
        pl.Nonce(bytes(range(32))),
        pl.Notify(16393, b"", 3, b"abcd"),
        pl.Delete(3, (b"abcd", b"efgh")),
        pl.VendorId(b"scapy"),
    ]


def test_selectors_and_identities_written_by_scapy() -> None:
    four = scapy.IPv4TrafficSelector(
        IP_protocol_ID=17,
        start_port=547,
        end_port=547,
        starting_address_v4="198.51.100.0",
        ending_address_v4="198.51.100.255",
    )
    six = scapy.IPv6TrafficSelector(
        length=40,
        IP_protocol_ID=135,
        start_port=0x500,
        end_port=0x500,
        starting_address_v6="2001:db8:1::100",
        ending_address_v6="2001:db8:1::100",
    )
    selectors = (
        TrafficSelector.from_network("198.51.100.0/24", 17, 547, 547),
        TrafficSelector.typed("2001:db8:1::100", 135, 5),
    )
    found = written(
        scapy.IKEv2_IDi(IDtype="FQDN", ID=b"bus-17"),
        scapy.IKEv2_IDr(IDtype="IPv6_addr", ID="2001:db8::1"),
        scapy.IKEv2_AUTH(auth_type=2, load=b"x" * 32),
        scapy.IKEv2_TSi(traffic_selector=[four, six]),
        scapy.IKEv2_TSr(traffic_selector=[six]),
        scapy.IKEv2_CP(CFGType=1, attributes=[scapy.ConfigurationAttribute(type=8, value=b"")]),
    )
    assert found == [
        pl.IdI(Identity.parse("bus-17")),
        pl.IdR(Identity.parse("2001:db8::1")),
        pl.Auth(2, b"x" * 32),
        pl.TSi(selectors),
        pl.TSr(selectors[1:]),
        pl.Configuration(1, (pl.Attribute(8),)),
    ]


def test_encrypted_as_scapy_sees_it() -> None:
    from tests.unit.test_ikev2_message import pair

    ours, _ = pair("aes128gcm16-prfsha256-x25519")
    packet = scapy.IKEv2(msg.seal(Header(SPI_I, SPI_R, 37, 8, 7), [pl.Delete(1)], ours))
    assert packet.next_payload == 46
    assert (packet.payload.next_payload, packet.payload.length) == (42, packet.length - 28)
    wire = msg.seal_fragment(Header(SPI_I, SPI_R, 37, 8, 7), 42, b"abc", 1, 3, ours)
    fragment = scapy.IKEv2(wire)[scapy.IKEv2_Encrypted_Fragment]
    assert (fragment.frag_number, fragment.frag_total, fragment.next_payload) == (1, 3, 42)
