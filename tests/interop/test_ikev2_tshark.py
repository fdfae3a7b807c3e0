# SPDX-License-Identifier: GPL-2.0-only
"""tshark decrypts and reads what our IKEv2 builders write: fields, check values, no complaint."""

from __future__ import annotations

import subprocess
from enum import IntEnum
from ipaddress import IPv6Address
from pathlib import Path
from xml.etree import ElementTree

import pytest
from dsmip.ikev2 import fragments
from dsmip.ikev2 import message as msg
from dsmip.ikev2 import payloads as pl
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.keys import IkeKeys, initial
from dsmip.ikev2.message import Header
from dsmip.ikev2.numbers import ConfigAttribute, ExchangeType, NotifyType
from dsmip.ikev2.proposals import Suite, parse_proposal, parse_proposals, select, with_spi
from dsmip.ikev2.selectors import TrafficSelector

from tests.interop.judge import Verdict, ipv6, write_pcap

MOBILE = IPv6Address("2001:db8:2::200")
AGENT = IPv6Address("2001:db8:1::1")
HOME = IPv6Address("2001:db8:1::100")
UDP = 17

#: Proposals whose ciphers tshark 4.0 can undo, and its names for them.
NAMES = {
    "aes128gcm16-prfsha256-x25519": ("AES-GCM-128 with 16 octet ICV [RFC5282]", "NONE [RFC4306]"),
    "aes256gcm16-prfsha384-x25519": ("AES-GCM-256 with 16 octet ICV [RFC5282]", "NONE [RFC4306]"),
    "aes128-sha1-modp2048": ("AES-CBC-128 [RFC3602]", "HMAC_SHA1_96 [RFC2404]"),
    "aes192-sha256-modp2048": ("AES-CBC-192 [RFC3602]", "HMAC_SHA2_256_128 [RFC4868]"),
    "aes256-sha384-modp2048": ("AES-CBC-256 [RFC3602]", "HMAC_SHA2_384_192 [RFC4868]"),
    "aes256-sha512-modp2048": ("AES-CBC-256 [RFC3602]", "HMAC_SHA2_512_256 [RFC4868]"),
}

OFFER = parse_proposals(["aes128gcm16-prfsha256-x25519-ecp256", "aes256-sha512-modp2048"])
INIT: list[pl.Payload] = [
    pl.Notify(NotifyType.COOKIE, b"\xc0" * 17),
    pl.SA(OFFER),
    pl.KE(31, bytes(range(32))),
    pl.Nonce(b"\x4e" * 32),
    pl.Notify(NotifyType.NAT_DETECTION_SOURCE_IP, b"\x11" * 20),
    pl.Notify(NotifyType.NAT_DETECTION_DESTINATION_IP, b"\x22" * 20),
    pl.Notify(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED),
    pl.Notify(NotifyType.SIGNATURE_HASH_ALGORITHMS, bytes.fromhex("0002000300040005")),
    pl.Notify(NotifyType.REDIRECT_SUPPORTED),
    pl.VendorId(b"dsmip"),
]
AUTH: list[pl.Payload] = [
    pl.IdI(Identity.parse("bus-17.example.net")),
    pl.CertReq(4, b"\x33" * 20),
    pl.IdR(Identity.of(AGENT)),
    pl.Auth(2, b"\x44" * 32),
    pl.Configuration(
        1,
        (
            pl.Attribute(ConfigAttribute.INTERNAL_IP6_ADDRESS, HOME.packed + b"\x40"),
            pl.Attribute(ConfigAttribute.INTERNAL_IP6_SUBNET, HOME.packed + b"\x38"),
        ),
    ),
    pl.SA(
        with_spi(parse_proposals(["aes128gcm16", "aes256-sha256-esn-noesn"], 3), b"\xc0\xff\xee\1")
    ),
    pl.TSi((TrafficSelector.typed(HOME, 135, 5), TrafficSelector.from_network("198.51.100.0/24"))),
    pl.TSr((TrafficSelector.typed(AGENT, 135, 6),)),
    pl.Notify(NotifyType.USE_TRANSPORT_MODE),
    pl.Notify(NotifyType.REKEY_SA, b"", 3, b"\xc0\xff\xee\2"),
    pl.Delete(3, (b"\xc0\xff\xee\3", b"\xc0\xff\xee\4")),
]


def datagram(message: bytes) -> bytes:
    head = b"".join(n.to_bytes(2) for n in (500, 500, 8 + len(message)))
    packet = ipv6(MOBILE, AGENT, head + bytes(2) + message, UDP)
    total = sum(
        int.from_bytes(packet[at : at + 2].ljust(2, b"\0")) for at in range(8, len(packet), 2)
    )
    total += UDP + 8 + len(message)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return packet[:46] + ((~total & 0xFFFF) or 0xFFFF).to_bytes(2) + packet[48:]


class Sa:
    """An IKE_SA of ours and the row that lets tshark follow it."""

    def __init__(self, number: int, text: str) -> None:
        offer = (parse_proposal(text),)
        self.suite: Suite = select(offer, offer)
        self.header = Header(
            number.to_bytes(8), (number + 0x100).to_bytes(8), ExchangeType.IKE_AUTH, 8, 1
        )
        names = (bytes(32), b"\x01" * 32, self.header.spi_i, self.header.spi_r)
        self.keys: IkeKeys = initial(self.suite, b"secret", *names)
        self.cipher, _ = self.keys.ciphers(self.suite)
        encr, integ = NAMES[text]
        k = self.keys
        # tshark takes the octets without quotes only.
        self.row = (
            f"{self.header.spi_i.hex()},{self.header.spi_r.hex()}"
            f',{k.sk_ei.hex()},{k.sk_er.hex()},"{encr}"'
            f',{k.sk_ai.hex()},{k.sk_ar.hex()},"{integ}"'
        )


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    """Run tshark once over all messages; its verdict on each by name."""
    messages: dict[str, bytes] = {
        "init": msg.build(Header(b"initiatr", bytes(8), ExchangeType.IKE_SA_INIT, 8, 0), INIT)
    }
    rows = []
    for number, text in enumerate(NAMES, 1):
        sa = Sa(number, text)
        rows.append(sa.row)
        wire = msg.seal(sa.header, AUTH, sa.cipher)
        messages[text] = wire
        messages[f"damaged {text}"] = wire[:-1] + bytes((wire[-1] ^ 1,))
        first, plain = msg.build_payloads([*AUTH, pl.VendorId(b"\x30" * 900)])
        sa.header.message_id = 2
        pieces = fragments.seal(sa.header, first, plain, sa.cipher, fragments.limit(4))
        messages |= {f"fragment {n} {text}": piece for n, piece in enumerate(pieces, 1)}
    path = tmp_path_factory.mktemp("ikev2") / "ikev2.pcap"
    write_pcap(path, map(datagram, messages.values()))
    shown = decrypted(path, rows)
    return dict(zip(messages, shown, strict=True))


def decrypted(path: Path, rows: list[str]) -> list[Verdict]:
    options = [word for row in rows for word in ("-o", f"uat:ikev2_decryption_table:{row}")]
    output = subprocess.run(
        ["tshark", "-n", "-r", str(path), "-T", "pdml", *options], capture_output=True, check=True
    ).stdout
    return [Verdict(packet) for packet in ElementTree.fromstring(output).iter("packet")]


def numbers(verdict: Verdict, field: str) -> list[int]:
    return [int(value, 0) for value in verdict.fields[field]]


def octets(verdict: Verdict, field: str) -> list[bytes]:
    return [bytes.fromhex(value.replace(":", "")) for value in verdict.fields[field]]


def test_init(verdicts: dict[str, Verdict]) -> None:
    seen = verdicts["init"]
    assert not seen.complaints
    assert octets(seen, "isakmp.ispi") == [b"initiatr"]
    assert numbers(seen, "isakmp.exchangetype") == [34]
    assert numbers(seen, "isakmp.flags") == [8]
    assert numbers(seen, "isakmp.messageid") == [0]
    assert numbers(seen, "isakmp.prop.number") == [1, 2]
    assert numbers(seen, "isakmp.prop.protoid") == [1, 1]
    assert numbers(seen, "isakmp.prop.transforms") == [4, 4]
    assert numbers(seen, "isakmp.tf.id.encr") == [20, 12]
    assert numbers(seen, "isakmp.ike2.attr.key_length") == [128, 256]
    assert numbers(seen, "isakmp.tf.id.prf") == [5, 7]
    assert numbers(seen, "isakmp.tf.id.integ") == [14]
    assert numbers(seen, "isakmp.tf.id.dh") == [31, 19, 14]
    assert numbers(seen, "isakmp.key_exchange.dh_group") == [31]
    assert octets(seen, "isakmp.key_exchange.data") == [bytes(range(32))]
    assert octets(seen, "isakmp.nonce") == [b"\x4e" * 32]
    assert numbers(seen, "isakmp.notify.msgtype") == [16390, 16388, 16389, 16430, 16431, 16406]
    assert numbers(seen, "isakmp.notify.data.signature_hash_algorithms") == [2, 3, 4, 5]
    assert octets(seen, "isakmp.vid_bytes") == [b"dsmip"]


def check_auth(seen: Verdict) -> None:
    assert not seen.complaints
    assert seen.fields["isakmp.id.data.fqdn"] == ["bus-17.example.net"]
    assert seen.fields["isakmp.id.data.ipv6_addr"] == [str(AGENT)]
    assert numbers(seen, "isakmp.auth.method") == [2]
    assert octets(seen, "isakmp.auth.data") == [b"\x44" * 32]
    assert numbers(seen, "isakmp.certreq.type") == [4]
    assert octets(seen, "isakmp.ike.certreq.authority") == [b"\x33" * 20]
    assert numbers(seen, "isakmp.cfg.type") == [1]
    assert numbers(seen, "isakmp.cfg.attr.type") == [8, 15]
    assert seen.fields["isakmp.cfg.attr.internal_ip6_address"] == [str(HOME)]
    assert numbers(seen, "isakmp.cfg.attr.internal_ip6_address.prefix") == [64]
    assert numbers(seen, "isakmp.cfg.attr.internal_ip6_subnet_prefix") == [56]
    assert numbers(seen, "isakmp.prop.protoid") == [3, 3]
    assert numbers(seen, "isakmp.tf.id.encr") == [20, 12]
    assert numbers(seen, "isakmp.tf.id.integ") == [12]
    assert numbers(seen, "isakmp.tf.id.esn") == [0, 1, 0]
    assert numbers(seen, "isakmp.ts.number") == [2, 1]
    assert numbers(seen, "isakmp.ts.type") == [8, 7, 8]
    assert numbers(seen, "isakmp.ts.protoid") == [135, 0, 135]
    assert numbers(seen, "isakmp.ts.start_port") == [0x500, 0, 0x600]
    assert numbers(seen, "isakmp.ts.end_port") == [0x500, 65535, 0x600]
    assert seen.fields["isakmp.ts.start_ipv6"] == [str(HOME), str(AGENT)]
    assert seen.fields["isakmp.ts.end_ipv4"] == ["198.51.100.255"]
    assert numbers(seen, "isakmp.notify.msgtype") == [16391, 16393]
    assert octets(seen, "isakmp.delete.spi") == [b"\xc0\xff\xee\3", b"\xc0\xff\xee\4"]


@pytest.mark.parametrize("text", NAMES)
def test_encrypted(verdicts: dict[str, Verdict], text: str) -> None:
    check_auth(verdicts[text])


@pytest.mark.parametrize("text", NAMES)
def test_tshark_checks_the_check_value(verdicts: dict[str, Verdict], text: str) -> None:
    assert any("Integrity Checksum" in note for note in verdicts[f"damaged {text}"].complaints)


@pytest.mark.parametrize("text", NAMES)
def test_fragments(verdicts: dict[str, Verdict], text: str) -> None:
    names = [name for name in verdicts if name.startswith("fragment") and name.endswith(text)]
    assert len(names) >= 3
    for n, name in enumerate(names, 1):
        seen = verdicts[name]
        assert numbers(seen, "isakmp.frag.number")[0] == n
        assert numbers(seen, "isakmp.frag.total")[0] == len(names)
        if n < len(names):
            assert not seen.complaints
    # tshark puts them together and reads the whole with the last one.
    last = verdicts[names[-1]]
    assert octets(last, "isakmp.vid_bytes") == [b"\x30" * 900]
    check_auth(last)


@pytest.fixture(scope="module")
def registry() -> dict[str, dict[int, set[str]]]:
    """Return tshark's names of numbers, by field."""
    output = subprocess.run(["tshark", "-G", "values"], capture_output=True, check=True, text=True)
    names: dict[str, dict[int, set[str]]] = {}
    for line in output.stdout.splitlines():
        kind, field, *row = (*line.split("\t"), "")
        if kind in ("V", "R") and field.startswith("isakmp."):
            names.setdefault(field, {}).setdefault(int(row[0], 0), set()).add(row[-2].upper())
    return names


@pytest.mark.parametrize(
    ("field", "members", "newest"),
    [
        ("isakmp.notify.msgtype", NotifyType, 16431),
        ("isakmp.cfg.attr.type", ConfigAttribute, 21),
        ("isakmp.exchangetype", ExchangeType, 38),
    ],
)
def test_numbers(
    registry: dict[str, dict[int, set[str]]], field: str, members: type[IntEnum], newest: int
) -> None:
    """Up to the newest that tshark 4.0 knows, but for one it has wrong and one it has not."""
    theirs = registry[field]
    wrong = {m.name for m in members if m <= newest and m.name not in theirs.get(m, ())}
    assert wrong <= {"AUTHORIZATION_FAILED", "STATE_NOT_FOUND"}
