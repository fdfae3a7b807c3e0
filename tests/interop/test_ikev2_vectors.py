# SPDX-License-Identifier: GPL-2.0-only
"""IKEv2 captures of other stacks: opened with their keys, parsed, rebuilt octet by octet.

The captures are not part of the repository, see test_packet_vectors.
"""

from __future__ import annotations

import csv
import hmac
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from dsmip.ikev2 import message as msg
from dsmip.ikev2 import payloads as pl
from dsmip.ikev2.crypto import Cipher, cipher, encryption_key_size, integrity_key_size
from dsmip.ikev2.errors import Ignored, RemoteError
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.numbers import Encr, Integ, NotifyType, Prf
from dsmip.ikev2.proposals import Suite

from tests.interop.judge import read_pcap
from tests.interop.test_packet_vectors import VECTORS, captures

#: Link type -> octets before the address family or EtherType, and their number.
LINKS = {0: 4, 1: 14}
UDP = 17

#: Names in the decryption table -> cipher and key length, integrity transform.
CIPHERS = {
    "AES-CBC-256 [RFC3602]": (Encr.AES_CBC, 256),
    "AES-GCM-256 with 16 octet ICV [RFC5282]": (Encr.AES_GCM_16, 256),
}
INTEGS = {
    "HMAC_SHA2_256_128 [RFC4868]": Integ.HMAC_SHA2_256_128,
    "NONE [RFC4306]": Integ.NONE,
}


def records(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (link type, octets) of a capture in either format."""
    data = path.read_bytes()
    if data[:4] != b"\x0a\x0d\x0d\x0a":
        yield from read_pcap(path)
        return
    order = "<" if data[8:12] == b"\x4d\x3c\x2b\x1a" else ">"
    at = link = 0
    while at + 12 <= len(data):
        kind, size = struct.unpack_from(order + "II", data, at)
        if kind == 1:
            (link,) = struct.unpack_from(order + "H", data, at + 8)
        elif kind == 6:
            (captured,) = struct.unpack_from(order + "I", data, at + 20)
            yield link, data[at + 28 : at + 28 + captured]
        at += size


def messages(path: Path) -> Iterator[bytes]:
    """Yield the IKE messages of a capture, without the marker of port 4500."""
    for link, frame in records(path):
        packet = frame[LINKS[link] :]
        if packet[0] >> 4 != 4 or packet[9] != UDP:
            continue
        datagram = packet[(packet[0] & 15) * 4 :]
        source, destination, length = struct.unpack_from("!HHH", datagram)
        data = datagram[8:length]
        if 4500 in (source, destination):
            data = data[4:]
        yield data


def suites() -> dict[tuple[bytes, bytes], tuple[Cipher, Cipher]]:
    """Return the ciphers of every IKE_SA in the table that has some of ours."""
    found = {}
    text = (VECTORS / "ikev2" / "ikev2_decryption_table.txt").read_text()
    for row in csv.reader(line for line in text.splitlines() if not line.startswith("#")):
        spi_i, spi_r, ei, er, encr, ai, ar, integ = row
        if encr not in CIPHERS:
            continue
        number, bits = CIPHERS[encr]
        suite = Suite(number, bits, Prf.HMAC_SHA2_256, INTEGS[integ])
        e, a = encryption_key_size(number, bits), integrity_key_size(suite.integ)
        keys = [bytes.fromhex(key) for key in (ei, ai, er, ar)]
        assert [len(key) for key in keys] == [e, a, e, a]
        found[bytes.fromhex(spi_i), bytes.fromhex(spi_r)] = (
            cipher(suite, keys[0], keys[1]),
            cipher(suite, keys[2], keys[3]),
        )
    return found


def check_clear(parsed: msg.Message) -> None:
    """A message in clear comes out again as it was, but for critical bits of known payloads."""
    if parsed.encrypted is not None:
        return
    octets = bytearray(parsed.octets)
    at = msg.HEADER_SIZE
    while at < len(octets):
        octets[at + 1] &= ~msg.CRITICAL
        at += int.from_bytes(octets[at + 2 : at + 4])
    assert msg.build(parsed.header, parsed.payloads) == octets


@captures
@pytest.mark.parametrize(
    ("name", "opened"),
    [
        ("ikev2-decrypt-aes256cbc.pcapng", {pl.Auth: 2, pl.SA: 2, pl.TSi: 2, pl.TSr: 2}),
        ("ikev2-decrypt-aes256gcm16.pcap", {pl.Auth: 2, pl.SA: 2, pl.TSi: 2, pl.TSr: 2}),
        ("ikev2-decrypt-3des-sha1_160.pcap", {}),
        ("ikev2-decrypt-aes128ccm12-2.pcap", {}),
        ("ikev2-decrypt-aes128ccm12.pcap", {}),
        ("ikev2-decrypt-aes192ctr.pcap", {}),
        ("ikev2-decrypt-aes256ccm16.pcapng", {}),
        ("ikev2-decrypt-aes256gcm8.pcap", {}),
    ],
)
def test_wireshark(name: str, opened: dict[type, int]) -> None:
    ciphers = suites()
    seen: Counter[type] = Counter()
    clear: Counter[type] = Counter()
    for data in messages(VECTORS / "ikev2" / name):
        parsed = msg.parse(data)
        check_clear(parsed)
        clear.update(type(payload) for payload in parsed.payloads)
        both = ciphers.get((parsed.header.spi_i, parsed.header.spi_r))
        if parsed.encrypted is None or both is None:
            continue
        theirs = both[not parsed.header.initiator]
        inner = msg.open(parsed, theirs)
        seen.update(type(payload) for payload in inner)
        first, plain = msg.build_payloads(inner)
        assert first == parsed.encrypted.first
        assert plain == msg.open_octets(parsed, theirs)
        rebuilt = msg.parse(msg.seal(parsed.header, inner, theirs))
        assert len(rebuilt.octets) == len(data)
        assert rebuilt.octets[: rebuilt.encrypted.body] == data[: parsed.encrypted.body]
        with pytest.raises(Ignored):
            msg.open(msg.parse(data[:-1] + bytes((data[-1] ^ 1,))), theirs)
    assert {clear[kind] for kind in (pl.SA, pl.KE, pl.Nonce)} == {2}
    assert bool(seen) is bool(opened)
    assert {kind: seen[kind] for kind in opened} == opened


@captures
def test_tcpdump_four() -> None:
    """A cookie, a group that is not wanted, then messages whose keys nobody has."""
    exchanges: Counter[int] = Counter()
    notifies: Counter[int] = Counter()
    encrypted = 0
    for data in messages(VECTORS / "tcpdump" / "ikev2four.pcap"):
        parsed = msg.parse(data)
        check_clear(parsed)
        exchanges[parsed.header.exchange] += 1
        notifies.update(p.type for p in parsed.payloads if isinstance(p, pl.Notify))
        encrypted += parsed.encrypted is not None
    assert exchanges[34] == 4
    assert notifies[NotifyType.COOKIE] == 2
    assert encrypted == sum(exchanges.values()) - 4


@captures
def test_tcpdump_with_keys() -> None:
    """AES-128 and HMAC-SHA1 of an early draft: its check value leaves the headers out."""
    line = (VECTORS / "tcpdump" / "ikev2pI2-secrets.txt").read_text().splitlines()[0]
    integrity, encryption = (bytes.fromhex(w.partition(":0x")[2]) for w in line.split()[4:6])
    init, auth = messages(VECTORS / "tcpdump" / "ikev2pI2.pcap")
    check_clear(msg.parse(init))
    suite = Suite(Encr.AES_CBC, 128, Prf.HMAC_SHA1, Integ.HMAC_SHA1_96)
    box = cipher(suite, encryption, integrity)
    assert hmac.digest(integrity, auth[32:-12], "sha1")[:12] == auth[-12:]
    with pytest.raises(Ignored):
        msg.open(msg.parse(auth), box)
    right = hmac.digest(integrity, auth[:-12], "sha1")[:12]
    inner = msg.open(msg.parse(auth[:-12] + right), box)
    assert inner == [pl.IdI(Identity.parse("west")), pl.Auth(1, bytes(192))]


@captures
@pytest.mark.parametrize("name", ["ikev2-id-normal.pcap", "ikev2-id-short.pcap"])
def test_tcpdump_damaged(name: str) -> None:
    """No SPI; with one, an address identity of one octet or none, and nothing after it."""
    (data,) = messages(VECTORS / "tcpdump" / name)
    with pytest.raises(Ignored):
        msg.parse(data)
    with pytest.raises(RemoteError) as caught:
        msg.parse(b"\x01" + data[1:])
    assert caught.value.notify == NotifyType.INVALID_SYNTAX


@captures
def test_tcpdump_segfault() -> None:
    """A transform says that another kind of thing follows."""
    (data,) = messages(VECTORS / "tcpdump" / "ikev2pI2-segfault.pcapng")
    with pytest.raises(RemoteError) as caught:
        msg.parse(data)
    assert caught.value.notify == NotifyType.INVALID_SYNTAX
