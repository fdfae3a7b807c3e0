# SPDX-License-Identifier: GPL-2.0-only
"""The strict reader against itself and scapy: it takes what is right, and nothing else."""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network

import pytest
from dsmip.packet import extension, icmp6
from dsmip.packet import mobility as mh
from dsmip.packet import options as opt
from scapy.layers.ipsec import ESP, IPSecIntegrityError, SecurityAssociation

from tests.interop import strict_sender as make
from tests.interop.judge import ipv6
from tests.interop.strict import MOBILITY, NotMobility, checksum, clean, read

HOME, AGENT, CARE_OF = "2001:db8:1::100", "2001:db8:1::1", "2001:db8:2::200"
PEER = "2001:db8:3::300"
ANYCAST = "2001:db8:1::fdff:ffff:ffff:fffe"
COOKIE, TOKEN = bytes(range(8)), bytes(range(8, 16))
KBM = make.management_key(TOKEN, COOKIE)

FRAMES = {
    "BRR": make.straight(PEER, HOME, make.refresh_request()),
    "HoTI": make.straight(HOME, PEER, make.home_test_init(COOKIE)),
    "CoTI": make.straight(CARE_OF, PEER, make.care_of_test_init(COOKIE)),
    "HoT": make.straight(PEER, HOME, make.home_test(7, COOKIE, TOKEN)),
    "CoT": make.straight(PEER, CARE_OF, make.care_of_test(8, COOKIE, TOKEN)),
    "BU": make.away(CARE_OF, AGENT, HOME, make.home_update(1, CARE_OF)),
    "BU of a router": make.away(
        CARE_OF,
        AGENT,
        HOME,
        make.home_update(1, CARE_OF, flags="AHR", prefixes=[("2001:db8:100::", 56)]),
    ),
    "BU from home": make.straight(HOME, AGENT, make.home_update(1, None, lifetime=0)),
    "BU to a correspondent": make.away(
        CARE_OF,
        PEER,
        HOME,
        make.correspondent_update(1, KBM, CARE_OF, PEER, home_index=7, care_of_index=8),
    ),
    "BA": make.towards(AGENT, CARE_OF, HOME, make.acknowledgement(0, 1, 30)),
    "BA at home": make.straight(AGENT, HOME, make.acknowledgement(0, 1, 0)),
    "BE": make.straight(PEER, CARE_OF, make.binding_error(1, HOME)),
    "HAAD request": make.straight(CARE_OF, ANYCAST, make.address_request(5)),
    "HAAD reply": make.straight(AGENT, CARE_OF, make.address_reply(5, [AGENT, PEER])),
    "MPS": make.away(CARE_OF, AGENT, HOME, make.prefix_solicitation(6)),
    "MPA": make.towards(AGENT, CARE_OF, HOME, make.prefix_advertisement(6, HOME, 600, 300)),
}


@pytest.mark.parametrize("name", FRAMES)
def test_takes_what_scapy_makes(name: str) -> None:
    frame = clean(bytes(FRAMES[name]))
    assert frame.name == name.split(" of ")[0].split(" from ")[0].split(" at ")[0].split(" to ")[0]
    at_home = {"BU from home", "BA at home"}
    away = name not in at_home and name.split()[0] in {"BU", "BA", "MPS", "MPA"}
    assert (frame.home or frame.routing) == (HOME if away else None)


def test_every_message_of_section_6_is_there() -> None:
    names = {read(bytes(packet)).name for packet in FRAMES.values()}
    assert names == {
        *("BRR", "HoTI", "CoTI", "HoT", "CoT", "BU", "BA", "BE"),
        *("HAAD request", "HAAD reply", "MPS", "MPA"),
    }


def test_tells_what_is_in_a_packet() -> None:
    frame = clean(bytes(FRAMES["BU of a router"]))
    assert (frame.wire_source, frame.wire_destination) == (CARE_OF, AGENT)
    assert (frame.source, frame.destination) == (HOME, AGENT)
    assert frame.headers == ["options"]
    assert frame.fields == {"sequence": 1, "flags": 0xC400, "lifetime": 30}
    assert frame.option(3) == IPv6Address(CARE_OF).packed
    assert frame.option(5) is None
    frame = clean(bytes(FRAMES["HAAD reply"]))
    assert frame.addresses == [AGENT, PEER]
    frame = clean(bytes(FRAMES["HoT"]))
    assert (frame.fields["index"], frame.fields["token"]) == (7, int.from_bytes(TOKEN, "big"))


def test_takes_the_worked_frame() -> None:
    """A home registration octet by octet, counted by hand."""
    octets = bytes.fromhex("3b0305005b8f0001d00003840100031020010db8000200000000000000000200")
    hao = bytes((135, 2, 1, 2, 0, 0, 0xC9, 16)) + IPv6Address(HOME).packed
    head = struct.pack("!IHBB", 6 << 28, 56, 60, 64)
    addresses = IPv6Address(CARE_OF).packed + IPv6Address(AGENT).packed
    frame = clean(head + addresses + hao + octets)
    assert frame.fields == {"sequence": 1, "flags": 0xD000, "lifetime": 900}


def test_reads_through_udp_and_a_tunnel() -> None:
    inner = make.straight(HOME, AGENT, make.home_update(9, None, more=[make.care_of4("10.0.5.2")]))
    frame = clean(bytes(make.in_udp("198.18.5.2", "198.51.100.1", inner, 40001)))
    assert (frame.outer, frame.source, frame.fields["sequence"]) == ((40001, "198.18.5.2"), HOME, 9)
    frame = clean(bytes(make.straight(CARE_OF, AGENT, FRAMES["HoTI"])))
    assert (frame.tunnelled, frame.tunnel_source, frame.source) == (True, CARE_OF, HOME)


def test_reads_through_esp() -> None:
    key = SecurityAssociation(
        ESP, 0x100, crypt_algo="AES-CBC", crypt_key=bytes(32), auth_algo="SHA2-256-128",
        auth_key=bytes(range(32)),
    )  # fmt: skip
    sealed = bytes(key.encrypt(FRAMES["BU"].__class__(bytes(FRAMES["BU"]))))
    frame = clean(sealed, [key])
    assert frame.headers == ["options", "ESP"]
    assert frame.protected
    with pytest.raises(NotMobility, match="no key"):
        read(sealed)
    with pytest.raises(IPSecIntegrityError):
        read(sealed[:-1] + bytes((sealed[-1] ^ 1,)), [key])


# --- what it must not take -----------------------------------------------------------------


def spoilt(name: str, change: Callable[[bytearray], object], header: int) -> list[str]:
    """Return the faults of a frame whose mobility header was changed, with a good checksum."""
    packet = bytearray(bytes(FRAMES[name]))
    body = packet[header:]
    change(body)
    body[4:6] = b"\0\0"
    frame = read(bytes(packet))
    total = checksum(frame.source, frame.destination, MOBILITY, bytes(body))
    body[4:6] = struct.pack("!H", total)
    packet[header:] = body
    packet[4:6] = struct.pack("!H", len(packet) - 40)
    return read(bytes(packet)).faults


def put(at: int, *values: int) -> Callable[[bytearray], object]:
    def change(octets: bytearray) -> None:
        octets[at : at + len(values)] = bytes(values)

    return change


def grown(*more: int) -> Callable[[bytearray], object]:
    def change(octets: bytearray) -> None:
        octets += bytes(more)
        octets[1] += len(more) // 8

    return change


def cut(octets: bytearray) -> None:
    del octets[-8:]


PAD16 = (1, 14, *bytes(14))
SPOILT = {
    "Payload Proto": ("HoTI", put(0, 6), 40, "Payload Proto 6"),
    "Header Len": ("HoTI", put(1, 2), 40, "Header Len 2 for 16"),
    "reserved octet": ("HoTI", put(3, 1), 40, "reserved octet of the mobility header"),
    "reserved of HoTI": ("HoTI", put(7, 1), 40, "reserved field of HoTI"),
    "reserved of BRR": ("BRR", put(6, 1), 40, "reserved field of BRR"),
    "reserved of BE": ("BE", put(7, 1), 40, "reserved field of BE"),
    "octets behind the header": ("HoT", lambda o: o.extend(bytes(8)), 40, "Header Len 2 for 32"),
    "too short": ("HoT", cut, 40, "Header Len 2 for 16"),
    "BU flags": ("BU", put(9, 1), 64, "reserved flags of BU"),
    "M flag": ("BU", put(8, 0xC8), 64, "reserved flags of BU"),
    "BA flags": ("BA", put(7, 1), 64, "reserved flags of BA"),
    "H without A": ("BU", put(8, 0x40), 64, "home registration without A"),
    "K to a correspondent": ("BU to a correspondent", put(8, 0x90), 64, "without H"),
    "misaligned": ("BU", put(12, 3, 16), 64, "Alternate Care-of Address at 12, not 8n+6"),
    "dirty padding": ("BU of a router", put(34, 7), 64, "PadN is not zero"),
    "over the end": ("BU", put(15, 17), 64, "option 3 runs over the end"),
    "unknown option": ("BA", put(12, 200, 2), 64, "option 200 in BA"),
    "too much padding": ("BA", grown(*PAD16), 64, "octets of padding at once"),
    "wrong length": ("BA", put(12, 2, 1, 0, 0), 64, "Binding Refresh Advice of 1 octets"),
    "option of a BU in a BA": ("BA", put(12, 4, 2, 0, 0), 64, "Nonce Indices in BA"),
    "nonces with H": ("BU to a correspondent", put(8, 0xC0), 64, "option 4 in a home"),
    "no alternate": ("BU", put(14, 1, 16, *bytes(16)), 64, "no Alternate Care-of Address"),
    "multicast alternate": ("BU", put(16, 0xFF, 2), 64, "alternate care-of address is not"),
    "prefix host bits": ("BU of a router", put(55, 1), 64, "host bits of a prefix"),
    "prefix length 0": ("BU of a router", put(39, 0), 64, "prefix length 0"),
    "prefix reserved": ("BU of a router", put(38, 1), 64, "reserved octet of the prefix"),
    "long lifetime": ("BU to a correspondent", put(11, 106), 64, "MAX_RR_BINDING_LIFETIME"),
    "advice too large": ("BA", put(12, 2, 2, 0, 30), 64, "refresh advice 30 of 30"),
    "advice in a refusal": (
        "BA",
        lambda o: (put(6, 130)(o), put(12, 2, 2, 0, 7)(o)),
        64,
        "refresh advice in a refusal",
    ),
    "padding behind authorization": (
        "BU to a correspondent",
        grown(1, 6, 0, 0, 0, 0, 0, 0),
        64,
        "padding after the authorization data",
    ),
    "option behind authorization": (
        "BU to a correspondent",
        grown(4, 4, 0, 1, 0, 2, 0, 0),
        64,
        "Nonce Indices after the authorization data",
    ),
    "no nonces": ("BU to a correspondent", put(12, 1, 4, 0, 0, 0, 0), 64, "no option 4 to"),
    "BID 0": ("BA", put(12, 35, 4, 0, 0, 0, 0), 64, "BID 0"),
    "BID of a wrong length": ("BA", put(12, 35, 3, 0, 1, 0), 64, "Binding Identifier of 3 octets"),
    "misaligned address of a BID": (
        "BU",
        put(12, 35, 18, 0, 1, 0, 0),
        64,
        "Binding Identifier of 18 octets",
    ),
    "alternate beside a BID": (
        "BU",
        grown(35, 4, 0, 1, 0, 0, 1, 0),
        64,
        "option 3 beside a Binding Identifier",
    ),
    "O without a BID": ("BU", put(9, 0x40), 64, "O without a Binding Identifier"),
    "status in an update": ("BU", put(14, 35, 16, 0, 1, 9), 64, "Binding Identifier of 16"),
    "BE status": ("BE", put(6, 3), 40, "BE status 3"),
    "BE 1 for none": ("BE", put(8, *bytes(16)), 40, "BE 1 for ::"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_names_the_fault(what: str) -> None:
    name, change, header, said = SPOILT[what]
    faults = spoilt(name, change, header)
    assert any(said in fault for fault in faults), faults


@pytest.mark.parametrize("name", FRAMES)
def test_every_wrong_checksum_is_named(name: str) -> None:
    packet = bytearray(bytes(FRAMES[name]))
    body = len(packet) - len(read(bytes(packet)).message)
    at = body + (4 if packet[body] == 59 else 2)
    packet[at] ^= 0x80
    assert any("checksum" in fault for fault in read(bytes(packet)).faults)


@pytest.mark.parametrize(
    ("name", "header"),
    [("BU", 64), ("BA", 64), ("MPS", 64), ("MPA", 64), ("BU to a correspondent", 64)],
)
def test_checksums_are_over_home_addresses(name: str, header: int) -> None:
    """A sender that took the care-of address is caught."""
    packet = bytearray(bytes(FRAMES[name]))
    frame = read(bytes(packet))
    protocol, at = (MOBILITY, 4) if packet[header] == 59 else (58, 2)
    packet[header + at : header + at + 2] = b"\0\0"
    total = checksum(frame.wire_source, frame.wire_destination, protocol, bytes(packet[header:]))
    packet[header + at : header + at + 2] = struct.pack("!H", total)
    assert any("checksum" in fault for fault in read(bytes(packet)).faults)


HAO = bytes((1, 2, 0, 0, 0xC9, 16)) + IPv6Address(HOME).packed
RH2 = bytes((2, 2, 1)) + bytes(4) + IPv6Address(HOME).packed


def chained(*headers: tuple[int, bytes], message: bytes = b"") -> list[str]:
    """Return the faults of a packet with these headers, each without its next header."""
    kinds = [kind for kind, _ in headers] + [MOBILITY]
    body = b"".join(
        bytes((after,)) + octets for (_, octets), after in zip(headers, kinds[1:], strict=True)
    )
    packet = ipv6(IPv6Address(CARE_OF), IPv6Address(AGENT), body + message, kinds[0])
    return read(packet).faults


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ([(60, b"\2" + HAO), (43, RH2)], "stands before the routing header"),
        ([(60, b"\2" + HAO), (60, b"\2" + HAO)], "two Home Address options"),
        ([(43, RH2), (43, RH2)], "two routing headers"),
        ([(44, bytes(7)), (60, b"\2" + HAO)], "order: ['fragment', 'options']"),
        ([(60, b"\2" + HAO[4:] + HAO[:4])], "at 2, not 8n+6"),
        ([(60, b"\2" + HAO[:5] + b"\x0f" + HAO[6:21] + b"\0")], "not of 16 octets"),
        ([(60, b"\2" + b"\1\2\0\1" + HAO[4:])], "PadN is not zero"),
        ([(60, b"\2" + HAO[:6] + IPv6Address("fe80::1").packed)], "not unicast routable"),
        ([(60, b"\0" + b"\x1e\4" + bytes(4))], "destination option 0x1e"),
        ([(43, RH2[:2] + b"\2" + RH2[3:])], "2 segments left"),
        ([(43, RH2[:3] + b"\1" + RH2[4:])], "reserved octets of the routing header"),
        ([(43, RH2[:1] + b"\0" + RH2[2:])], "routing header of type 0"),
        ([(43, b"\4" + RH2[1:] + bytes(16))], "Hdr Ext Len 4"),
        ([(43, RH2)], "HoTI with a type 2 routing header"),
        ([(60, b"\2" + HAO)], "HoTI with a Home Address option"),
    ],
)
def test_names_what_is_wrong_with_headers(headers: list[tuple[int, bytes]], said: str) -> None:
    faults = chained(*headers, message=bytes(FRAMES["HoTI"])[40:])
    assert any(said in fault for fault in faults), faults


@pytest.mark.parametrize(
    ("name", "at", "octet", "said"),
    [
        ("HAAD request", 41, 1, "code 1"),
        ("HAAD request", 47, 1, "reserved bits of HAAD request"),
        ("HAAD request", 39, 1, "not to the home agents' anycast address"),
        ("HAAD reply", 23, 0xFE, "checksum"),
        ("MPS", 70, 0x80, "reserved bits of MPS"),
        ("MPA", 71, 1, "reserved bits of MPA"),
        ("MPA", 75, 0x1F, "reserved bits of prefix information"),
        ("MPA", 80, 0xFF, "preferred for longer than valid"),
        ("MPA", 73, 0, "runs over the end"),
        ("MPA", 72, 24, "neighbour discovery option 24"),
    ],
)
def test_names_what_is_wrong_with_icmp(name: str, at: int, octet: int, said: str) -> None:
    packet = bytearray(bytes(FRAMES[name]))
    packet[at] = octet
    faults = read(bytes(packet)).faults
    assert any(said in fault for fault in faults), faults


def test_headers_that_a_message_must_have() -> None:
    for name, packet in (
        ("MPS without", make.straight(HOME, AGENT, make.prefix_solicitation(1))),
        ("MPA without", make.straight(AGENT, HOME, make.prefix_advertisement(1, HOME, 2, 1))),
        ("neither Home", make.straight(HOME, AGENT, make.home_update(1, CARE_OF))),
        ("CoTI in a tunnel", make.straight(CARE_OF, AGENT, FRAMES["CoTI"])),
        ("BA with a Home", make.away(CARE_OF, AGENT, HOME, make.acknowledgement(0, 1, 1))),
        ("HoT with a type", make.towards(PEER, CARE_OF, HOME, make.home_test(1, COOKIE, TOKEN))),
        ("no NAT Detection", make.in_udp("192.0.2.1", "192.0.2.2", FRAMES["BA at home"])),
        ("no IPv4 Care-of", make.in_udp("192.0.2.1", "192.0.2.2", FRAMES["BU from home"])),
    ):
        faults = read(bytes(packet)).faults
        assert any(name in fault for fault in faults), (name, faults)


@pytest.mark.parametrize("packet", [b"", b"\x60", bytes(40), bytes(FRAMES["HoTI"])[:44]])
def test_what_is_no_packet(packet: bytes) -> None:
    with pytest.raises(NotMobility):
        read(packet)


# --- what dsmip builds ---------------------------------------------------------------------


V6 = IPv6Address
OURS = {
    "BRR": (mh.BindingRefreshRequest(), PEER, HOME),
    "HoTI": (mh.HomeTestInit(COOKIE), HOME, PEER),
    "CoTI": (mh.CareOfTestInit(COOKIE), CARE_OF, PEER),
    "HoT": (mh.HomeTest(7, COOKIE, TOKEN), PEER, HOME),
    "CoT": (mh.CareOfTest(8, COOKIE, TOKEN), PEER, CARE_OF),
    "BE": (mh.BindingError(2, V6(HOME)), PEER, CARE_OF),
}


@pytest.mark.spec("M-007")
@pytest.mark.parametrize("name", OURS)
def test_our_messages_are_those_of_scapy(name: str) -> None:
    message, source, destination = OURS[name]
    wire = ipv6(V6(source), V6(destination), mh.build(message, V6(source), V6(destination)))
    assert clean(wire).name == name
    expected = make.binding_error(2, HOME) if name == "BE" else FRAMES[name].payload
    assert wire == bytes(make.straight(source, destination, expected))


@pytest.mark.spec("M-007")
def test_our_registration_messages_are_those_of_scapy() -> None:
    update = mh.BindingUpdate(
        1, 30, True, True, mobile_router=True,
        options=(
            opt.AlternateCareOfAddress(V6(CARE_OF)),
            opt.MobileNetworkPrefix(IPv6Network("2001:db8:100::/56")),
        ),
    )  # fmt: skip
    octets = mh.build(update, V6(HOME), V6(AGENT))
    wire = ipv6(V6(CARE_OF), V6(AGENT), extension.build_home_address(V6(HOME), 135) + octets, 60)
    assert clean(wire).fields["flags"] == 0xC400
    assert wire[64:] == bytes(FRAMES["BU of a router"])[64:]
    octets = mh.build(mh.BindingAcknowledgement(0, 1, 30), V6(AGENT), V6(HOME))
    wire = ipv6(V6(AGENT), V6(CARE_OF), extension.build_routing(V6(HOME), 135) + octets, 43)
    assert wire == bytes(FRAMES["BA"])


@pytest.mark.spec("M-007")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("HAAD request", icmp6.HomeAgentDiscoveryRequest(5)),
        ("HAAD reply", icmp6.HomeAgentDiscoveryReply(5, addresses=(V6(AGENT), V6(PEER)))),
        ("MPS", icmp6.MobilePrefixSolicitation(6)),
    ],
)
def test_our_icmp_messages_are_those_of_scapy(name: str, message: icmp6.IcmpMessage) -> None:
    packet = bytes(FRAMES[name])
    frame = read(packet)
    octets = icmp6.build(message, V6(frame.source), V6(frame.destination))
    assert octets == frame.message
