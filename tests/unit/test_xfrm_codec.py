# SPDX-License-Identifier: GPL-2.0-only
"""XFRM messages against what Debian's kernel sent for commands of iproute2.

Runs of one octet are written ``octet*count``; the command stands above each.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from dsmip.ipsec.association import (
    Association,
    Cipher,
    Encapsulation,
    Installed,
    Integrity,
    Lifetimes,
    Mode,
    Replay,
    SecurityProtocol,
    Selector,
    Usage,
)
from dsmip.ipsec.policy import Action, Direction, Policy, Template
from dsmip.linux.xfrm_codec import (
    decode_association,
    decode_counters,
    decode_deleted,
    decode_installed,
    decode_policy,
    encode_allocation,
    encode_association,
    encode_get_counters,
    encode_migrate,
    encode_migrate_state,
    encode_policy,
    encode_sa_id,
    encode_set_counters,
)
from dsmip.linux.xfrm_events import Acquire, Expire, Mapping, Migrated, Move, decode_event

HOA, HA = IPv6Address("2001:db8:1::100"), IPv6Address("2001:db8:1::1")
COA, COA4, HA4 = (
    IPv6Address("2001:db8:a::2"),
    IPv4Address("198.18.0.2"),
    IPv4Address("198.51.100.1"),
)
NET6, ANY6 = IPv6Network("2001:db8:100::/56"), IPv6Network("::/0")


def octets(text: str) -> memoryview:
    """Return the octets of a text with runs."""
    found = b""
    for part in text.split():
        octet, _, count = part.partition("*")
        found += bytes.fromhex(octet) * int(count or 1)
    return memoryview(found)


# ip xfrm state add src 2001:db8:1::100 dst 2001:db8:1::1 proto esp spi 0x1001 reqid 7
#   mode transport replay-window 32 auth-trunc 'hmac(sha256)' 0xa1... 128 enc 'cbc(aes)' 0xb2...
#   sel src 2001:db8:1::100/128 dst 2001:db8:1::1/128 proto 135 limit byte-soft 1000
#   limit byte-hard 2000 limit packet-soft 10 limit packet-hard 20 limit time-soft 3000
#   limit time-hard 3600
TRANSPORT = octets(
    "20010db80001 00*9 0120010db80001 00*8 01 00*9 0a00808087 00*11 20010db80001 00*9"
    " 01000010013200000020010db80001 00*8 0100e803 00*6 d007 00*6 0a 00*7 14 00*7 b80b 00*6 100e"
    " 00*38 7716066b 00*28 070000000a000020 00*8 68000100686d61632873686132353629 00*53 010000"
    " a1*32 6c001400686d61632873686132353629 00*53 01000080000000 a1*32"
    " 580002006362632861657329 00*56 80000000 b2*16 10000a 00*13"
)
# ip xfrm state add src 198.18.0.2 dst 198.51.100.1 proto esp spi 0x1002 reqid 8 mode tunnel
#   flag af-unspec flag esn replay-window 64 replay-seq 5 replay-oseq 9 replay-seq-hi 1
#   replay-oseq-hi 2 aead 'rfc4106(gcm(aes))' 0xc3... 128 encap espinudp 4500 4501 0.0.0.0
TUNNEL = octets(
    "00*56 c6336401 00*14 100232000000c6120002 00*12 ff*32 00*48 7b16066b 00*28"
    " 0800000002000100a0 00*7 60001200726663343130362867636d286165732929 00*47"
    " a000000080000000 c3*20 1c000400020011941195 00*18"
    " 24001700020000000900000005000000020000000100000040 00*11"
)
# ip xfrm state delete src 198.18.0.2 dst 198.51.100.1 proto esp spi 0x1002
DELETED = octets(
    "c6336401 00*14 100202003200e40006 00*57 c6336401 00*14 100232000000c6120002 00*12 ff*32"
    " 00*48 a116066b 00*28 0800000002000100a0 00*7 60001200726663343130362867636d286165732929"
    " 00*47 a000000080000000 c3*20 1c000400020011941195 00*18"
    " 24001700020000000900000005000000020000000100000040 00*11"
)
# ip xfrm state add src 2001:db8:1::1 dst 2001:db8:1::100 proto ah spi 0x1003 reqid 9
#   mode transport auth-trunc 'hmac(sha512)' 0xd4... 256
AUTHENTICATED = octets(
    "00*40 0a 00*15 20010db80001 00*8 0100000010033300000020010db80001 00*9 01 ff*32 00*48"
    " 7f16066b 00*28 090000000a 00*11 88000100686d61632873686135313229 00*53 020000 d4*64"
    " 8c001400686d61632873686135313229 00*53 02000000010000 d4*64 10000a 00*13"
)
# ip xfrm policy add src 2001:db8:100::/56 dst ::/0 dir out priority 41910300
#   tmpl src 2001:db8:a::2 dst 2001:db8:1::1 proto esp reqid 8 mode tunnel
PROTECTING = octets(
    "00*16 20010db801 00*19 0a000038 00*12 ff*32 00*48 8116066b 00*12 1c807f020100000001 00*7"
    " 4400050020010db80001 00*9 01 00*4 320000000a00000020010db8000a 00*9 020800000001000000"
    " ff*12 0a0010 00*9"
)
# ip xfrm policy add src 2001:db8:1::100/128 dst 2001:db8:1::1/128 proto ipv6-icmp type 146
#   dir out priority 41910100 tmpl proto esp reqid 9 mode transport
SOLICITING = octets(
    "20010db80001 00*9 0120010db80001 00*8 01 00*6 92ffff0a0080803a 00*11 ff*32 00*48"
    " 8216066b 00*12 547f7f020900000001 00*7 440005 00*21 320000000a 00*19 09 00*7 ff*12"
    " 0a0010 00*9"
)
# ip xfrm policy add src 203.0.113.0/28 dst 0.0.0.0/0 proto udp dport 500 dir in
#   priority 41910900 action block
BLOCKING = octets(
    "00*16 cb0071 00*13 01f4ffff 00*4 0200001c11 00*11 ff*32 00*48 8216066b 00*12"
    " 74827f0210 00*4 01 00*6 0a0010 00*9"
)
# A datagram from 2001:db8:100::2 port 4000 to 2001:db8:c::2 port 77 that PROTECTING is for
ACQUIRE = octets(
    "20010db80001 00*9 01 00*4 3200000020010db8000a 00*9 0220010db8000c 00*9 0220010db801"
    " 00*10 02004dffff0fa0ffff0a00808011 00*27 20010db801 00*19 0a000038 00*12 ff*32 00*48"
    " 8116066b 00*12 1c807f020100000001 00*7 ff*12 010000004400050020010db80001 00*9 01 00*4"
    " 320000000a00000020010db8000a 00*9 020800000001000000 ff*12 0a0010 00*9"
)
# MIGRATE of PROTECTING from 2001:db8:a::2 to 198.18.0.2, with both ends for IKE
MIGRATED = octets(
    "00*16 20010db801 00*19 0a000038 00*16 010000002c001300c6120002 00*12 c6336401 00*16"
    " 020000000a0010 00*9 5000110020010db80001 00*9 0120010db8000a 00*9 02c6336401 00*12"
    " c6120002 00*12 32010000080000000a000200"
)
# ESP in UDP came from port 20002 instead of 20001
MAPPED = octets("c6336401 00*14 1001020032009bbe895dc63364fe 00*12 c63364fe 00*12 4e214e22")
EXPIRED = (
    "00*56 20010db80001 00*9 01000010033200000020010db8000a 00*9 02 ff*16 02 00*7 03 00*39"
    " 9c 00*7 03 00*7 b516066b 00*4 b516066b 00*20 9bbe895d0a00010020 00*7 {} 00*7"
)

ADDED = 0x6B061677
SIGNALLING = Association(
    HOA,
    HA,
    0x1001,
    b"\xb2" * 16,
    b"\xa1" * 32,
    Selector(IPv6Network(HOA), IPv6Network(HA), 135),
    Mode.TRANSPORT,
    7,
    replay_window=32,
    lifetimes=Lifetimes(3000, 3600, 1000, 2000, 10, 20),
)
PAYLOAD = Association(
    COA4,
    HA4,
    0x1002,
    b"\xc3" * 20,
    b"",
    None,
    Mode.TUNNEL,
    8,
    cipher=Cipher.AES_GCM_16,
    integrity=Integrity.NONE,
    esn=True,
    replay_window=64,
    encapsulation=Encapsulation(4500, 4501),
)
COUNTED = Replay(2 << 32 | 9, 1 << 32 | 5, (0, 0))


def test_associations_read_as_iproute2_wrote_them() -> None:
    assert decode_installed(TRANSPORT) == Installed(
        SIGNALLING, Replay(0, 0, (0,)), Usage(added=ADDED)
    )
    found = decode_installed(TUNNEL)
    assert found == Installed(PAYLOAD, COUNTED, Usage(added=0x6B06167B))
    deleted = decode_deleted(DELETED)
    assert deleted is not None
    assert (deleted.association, deleted.replay) == (PAYLOAD, COUNTED)
    authenticated = decode_association(AUTHENTICATED)
    assert authenticated is not None
    assert authenticated.protocol is SecurityProtocol.AH
    assert authenticated.cipher is Cipher.NONE
    assert authenticated.integrity is Integrity.HMAC_SHA2_512_256
    assert authenticated.authentication_key == b"\xd4" * 64


def test_associations_are_written_as_iproute2_wrote_them() -> None:
    """But for what only the kernel fills in: times, and the MAC in its old attribute."""
    # Up to the counters, then the tail; algorithms as found in the kernel's message.
    ours = encode_association(SIGNALLING)
    assert ours[:160] == TRANSPORT[:160]
    assert ours[204:224] == TRANSPORT[204:224]
    for size in (0x6C, 0x58):
        start = TRANSPORT.tobytes().index(bytes((size, 0)), 224 + 0x68)
        assert TRANSPORT[start : start + size].tobytes() in ours
    ours = encode_association(PAYLOAD, COUNTED)
    assert ours[:160] == TUNNEL[:160]
    assert ours[204:224] == TUNNEL[204:224]
    for size in (0x60, 0x1C, 0x24):
        start = TUNNEL.tobytes().index(bytes((size, 0)), 224)
        assert TUNNEL[start : start + size - 8].tobytes() in ours


SUITES = [
    (Cipher.AES_CBC, 24, Integrity.HMAC_SHA1_96),
    (Cipher.AES_CBC, 32, Integrity.HMAC_SHA2_384_192),
    (Cipher.AES_CBC, 16, Integrity.HMAC_SHA2_512_256),
    (Cipher.NULL, 0, Integrity.HMAC_SHA2_256_128),
    (Cipher.AES_GCM_16, 36, Integrity.NONE),
    (Cipher.CHACHA20_POLY1305, 36, Integrity.NONE),
]


@pytest.mark.parametrize(("cipher", "size", "integrity"), SUITES)
@pytest.mark.parametrize(("esn", "window"), [(False, 0), (False, 32), (False, 256), (True, 64)])
def test_what_is_written_reads_back(
    cipher: Cipher, size: int, integrity: Integrity, esn: bool, window: int
) -> None:
    association = replace(
        PAYLOAD,
        cipher=cipher,
        encryption_key=bytes(range(size)),
        integrity=integrity,
        authentication_key=bytes(integrity.key_size),
        esn=esn,
        replay_window=window,
        encapsulation=None,
    )
    words = window // 32 if window > 32 or esn else 1
    replay = Replay(77, 66, (5,) * words)
    found = decode_installed(memoryview(encode_association(association, replay)))
    assert found is not None
    assert (found.association, found.replay) == (association, replay)


def test_larval_and_foreign_states_are_no_associations() -> None:
    # Without algorithms, as between ACQUIRE and an association.
    assert decode_association(TRANSPORT[:224]) is None
    assert decode_association(TRANSPORT[:100]) is None
    assert decode_deleted(TRANSPORT[:20]) is None
    other = bytearray(TUNNEL)
    at = bytes(other).index(b"rfc4106")
    other[at : at + 7] = b"rfc4309"
    assert decode_association(memoryview(other)) is None
    for at, value in ((214, 2), (56 + 20, 108)):
        other = bytearray(TRANSPORT)
        other[at] = value  # mode route optimization, IPComp
        assert decode_association(memoryview(other)) is None


@pytest.mark.parametrize(
    ("message", "policy"),
    [
        (
            PROTECTING,
            Policy(
                Direction.OUT,
                Selector(NET6, ANY6),
                41910300,
                Action.PROTECT,
                Template(Mode.TUNNEL, 8, (COA, HA)),
            ),
        ),
        (
            SOLICITING,
            Policy(
                Direction.OUT,
                Selector(IPv6Network(HOA), IPv6Network(HA), 58, 146),
                41910100,
                Action.PROTECT,
                Template(Mode.TRANSPORT, 9),
            ),
        ),
        (
            BLOCKING,
            Policy(
                Direction.IN,
                Selector(IPv4Network("203.0.113.0/28"), IPv4Network("0.0.0.0/0"), 17, None, 500),
                41910900,
                Action.BLOCK,
            ),
        ),
    ],
    ids=["tunnel", "typed", "block"],
)
def test_policies_are_those_of_iproute2(message: memoryview, policy: Policy) -> None:
    assert decode_policy(message) == policy
    ours = encode_policy(policy)
    assert ours[:120] == message[:120]
    assert ours[152:156] == message[152:156]
    assert ours[160:168] == message[160:168]
    assert decode_policy(memoryview(ours)) == policy
    if policy.template is not None and policy.template.outer is not None:
        assert ours[168:] == message[168:236]


def test_policies_not_like_ours_are_left_alone() -> None:
    assert decode_policy(PROTECTING[:167]) is None
    for at, value in ((160, 3), (168 + 4 + 20, 108), (48, 1)):
        other = bytearray(PROTECTING)  # a socket's, one of IPComp, one of a device
        other[at] = value
        assert decode_policy(memoryview(other)) is None
    port = bytearray(BLOCKING)
    port[34] = 0xF0
    assert decode_policy(memoryview(port)) is None
    # Templates of two layers.
    two = bytes(PROTECTING[:168]) + b"\x84\0\5\0" + bytes(PROTECTING[172:236]) * 2
    assert decode_policy(memoryview(two)) is None


def test_acquire() -> None:
    assert decode_event(0x17, ACQUIRE) == Acquire(
        Selector(IPv6Network("2001:db8:100::2"), IPv6Network("2001:db8:c::2"), 17, 4000, 77),
        Selector(NET6, ANY6),
        Direction.OUT,
        41910300,
        Template(Mode.TUNNEL, 8, (COA, HA)),
        1,
    )


def test_migrate_as_seen_and_as_sent() -> None:
    found = decode_event(0x21, MIGRATED)
    assert found == Migrated(
        Selector(NET6, ANY6),
        Direction.OUT,
        (Move((COA, HA), (COA4, HA4), 1, 50, 8),),
        (COA4, HA4),
        None,
    )
    policy = decode_policy(PROTECTING)
    assert policy is not None
    # The kernel's notification has one attribute more, the type of the policy.
    sent = encode_migrate(policy, (COA, HA), (COA4, HA4), None, (COA4, HA4))
    assert sent[:108] == MIGRATED[:108]
    assert sent[108:] == MIGRATED[120:]
    natted = encode_migrate(policy, (COA, HA), (COA4, HA4), Encapsulation(4500, 4501), (COA4, HA4))
    again = decode_event(0x21, memoryview(natted))
    assert isinstance(again, Migrated)
    assert again.encapsulation == Encapsulation(4500, 4501)
    with pytest.raises(ValueError, match="template"):
        encode_migrate(replace(policy, template=None), (COA, HA), (COA4, HA4))


def test_mapping_and_expiry() -> None:
    nat = IPv4Address("198.51.100.254")
    assert decode_event(0x26, MAPPED) == Mapping(
        HA4, 0x1001, 0x5D89BE9B, (nat, 20001), (nat, 20002)
    )
    for hard in (False, True):
        message = octets(EXPIRED.format(f"{hard:02x}"))
        assert decode_event(0x18, message) == Expire(
            COA, HA, 0x1003, SecurityProtocol.ESP, 0x5D89BE9B, hard
        )


@pytest.mark.parametrize(
    ("kind", "message"),
    [(0x17, ACQUIRE), (0x21, MIGRATED), (0x26, MAPPED), (0x18, octets(EXPIRED.format("01")))],
)
def test_events_cut_short_are_none_or_whole(kind: int, message: memoryview) -> None:
    for size in range(len(message)):
        event = decode_event(kind, message[:size])
        assert event is None or size >= 64
    for at in range(len(message)):
        for value in (0, 0xFF):
            other = bytearray(message)
            other[at] = value
            decode_event(kind, memoryview(other))
    assert decode_event(0x55, message) is None


def test_small_requests() -> None:
    """Layouts of linux/xfrm.h, written out."""
    assert encode_sa_id(HA, 0x1001, SecurityProtocol.ESP) == bytes(
        octets("20010db80001 00*9 01 00001001 0a00 32 00")
    )
    assert encode_sa_id(HA4, 0x1001, SecurityProtocol.AH) == bytes(
        octets("c6336401 00*12 00001001 0200 33 00")
    )
    assert encode_get_counters(PAYLOAD) == bytes(
        octets("c6336401 00*12 00001002 0200 32 00 c6120002 00*12 06000000 08000000")
    )
    counters = encode_set_counters(PAYLOAD, COUNTED)
    assert counters[48:] == bytes(
        octets("24001700 02000000 09000000 05000000 02000000 01000000 40000000 00*8")
    )
    assert decode_counters(memoryview(counters)) == COUNTED
    assert decode_counters(memoryview(counters)[:40]) is None
    plain = replace(PAYLOAD, esn=False, replay_window=32)
    counters = encode_set_counters(plain, Replay(9, 5, (3,)))
    assert counters[48:] == bytes(octets("10000a00 09000000 05000000 03000000"))
    larval = encode_allocation(Template(Mode.TUNNEL, 8, (COA, HA)), 0x1234)
    assert len(larval) == 232
    assert larval[56:80] == bytes(octets("20010db80001 00*9 01 00*4 32 00*3"))
    assert larval[80:96] == COA.packed
    assert larval[-8:] == bytes(octets("34120000 34120000"))
    with pytest.raises(ValueError, match="ends"):
        encode_allocation(Template(Mode.TRANSPORT, 8), 0x1234)


def test_migrate_state() -> None:
    """The layout that kernels of 2026 publish: 132 octets, then ENCAP in every call."""
    moved = PAYLOAD.at((COA, HA), None)
    message = encode_migrate_state(PAYLOAD, moved)
    assert message == bytes(
        octets(
            "c6336401 00*12 00001002 0200 32 00 20010db80001 00*9 01 20010db8000a 00*9 02 00*8"
            " 00*56 08000000 00000000 0a00 0000 1c000400 00*24"
        )
    )
    message = encode_migrate_state(moved, PAYLOAD)
    assert message[132:] == bytes(octets("1c000400 0200 1194 1195 0000 00*16"))
