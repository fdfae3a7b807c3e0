# SPDX-License-Identifier: GPL-2.0-only
"""scapy reads what our builders write, and our parsers read what scapy writes."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network

import pytest
from dsmip.packet import extension, icmp6
from dsmip.packet import mobility as mh
from dsmip.packet import options as opt
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers import inet6 as scapy
from scapy.utils6 import in6_ptop

from tests.fuzz.messages import networks, octets, u8, u16, u32, v6

HOME = IPv6Address("2001:db8:1::100")
AGENT = IPv6Address("2001:db8:1::1")
CARE_OF = IPv6Address("2001:db8:2::200")

few = settings(max_examples=60)
cookie = octets(8, 8)


def dissect(message: mh.Message) -> scapy.IPv6:
    """Let scapy read a packet of ours; its own checksum must be the one it carries."""
    wire = mh.build(message, HOME, AGENT)
    head = bytes(scapy.IPv6(src=str(HOME), dst=str(AGENT), nh=135, plen=len(wire)))
    packet = scapy.IPv6(head + wire)
    assert scapy.in6_chksum(135, packet, wire) == 0
    assert bytes(packet) == head + wire
    return packet


def written(layer: object) -> bytes:
    """Return the mobility header that scapy makes, checksum included."""
    packet = bytes(scapy.IPv6(src=str(HOME), dst=str(AGENT)) / layer)
    assert mh.checksum_correct(HOME, AGENT, packet[40:])
    return packet[40:]


def same(address: str, expected: IPv6Address) -> bool:
    return in6_ptop(address) == in6_ptop(str(expected))


# --- ours, read by scapy -------------------------------------------------------------


@few
@given(sequence=u16, lifetime=u16, bits=st.lists(st.booleans(), min_size=6, max_size=6))
def test_binding_update(sequence: int, lifetime: int, bits: list[bool]) -> None:
    names = ("acknowledge", "home", "link_local", "key_management", "map_registration")
    flags = dict(zip((*names, "mobile_router"), bits, strict=True))
    layer = dissect(mh.BindingUpdate(sequence, lifetime, **flags))[scapy.MIP6MH_BU]
    assert (layer.seq, layer.mhtime) == (sequence, lifetime)
    letters = dict(zip((*names, "mobile_router"), "AHLKMR", strict=True))
    assert set(str(layer.flags)) == {letters[name] for name, bit in flags.items() if bit}


@few
@given(status=u8, sequence=u16, lifetime=u16, key=st.booleans(), router=st.booleans())
def test_binding_acknowledgement(
    status: int, sequence: int, lifetime: int, key: bool, router: bool
) -> None:
    message = mh.BindingAcknowledgement(
        status, sequence, lifetime, key_management=key, mobile_router=router
    )
    layer = dissect(message)[scapy.MIP6MH_BA]
    assert (layer.status, layer.seq, layer.mhtime) == (status, sequence, lifetime)
    assert set(str(layer.flags)) == {letter for letter, bit in (("K", key), ("R", router)) if bit}


@few
@given(index=u16, first=cookie, second=cookie)
def test_return_routability(index: int, first: bytes, second: bytes) -> None:
    assert dissect(mh.HomeTestInit(first))[scapy.MIP6MH_HoTI].cookie == first
    assert dissect(mh.CareOfTestInit(first))[scapy.MIP6MH_CoTI].cookie == first
    for message, kind in (
        (mh.HomeTest(index, first, second), scapy.MIP6MH_HoT),
        (mh.CareOfTest(index, first, second), scapy.MIP6MH_CoT),
    ):
        layer = dissect(message)[kind]
        assert (layer.index, layer.cookie, layer.token) == (index, first, second)


def test_refresh_request_and_error() -> None:
    assert dissect(mh.BindingRefreshRequest()).haslayer(scapy.MIP6MH_BRR)
    layer = dissect(mh.BindingError(2, HOME))[scapy.MIP6MH_BE]
    assert layer.status == 2
    assert same(layer.ha, HOME)


@few
@given(
    advice=u16,
    address=v6,
    nonces=st.tuples(u16, u16),
    network=networks,
    name=octets(40, 1),
    secret=octets(20, 1),
    spi=u32,
    code=octets(12, 12),
)
def test_options(
    advice: int,
    address: IPv6Address,
    nonces: tuple[int, int],
    network: IPv6Network,
    name: bytes,
    secret: bytes,
    spi: int,
    code: bytes,
) -> None:
    message = mh.BindingUpdate(
        1,
        2,
        options=(
            opt.BindingRefreshAdvice(advice),
            opt.AlternateCareOfAddress(address),
            opt.NonceIndices(*nonces),
            opt.MobileNetworkPrefix(network),
            opt.MobileNodeIdentifier(name),
            opt.MobilityMessageAuthentication(1, spi, secret),
            opt.UnknownOption(200, name),
            opt.BindingAuthorizationData(code),
        ),
    )
    layers = [
        layer
        for layer in dissect(message)[scapy.MIP6MH_BU].options
        if not isinstance(layer, scapy.Pad1 | scapy.PadN)
    ]
    assert [layer.otype for layer in layers] == [2, 3, 4, 6, 8, 9, 200, 5]
    assert layers[0].rinter == advice
    assert same(layers[1].acoa, address)
    assert (layers[2].hni, layers[2].coni) == nonces
    assert layers[3].plen == network.prefixlen
    assert same(layers[3].prefix, network.network_address)
    assert (layers[4].subtype, layers[4].id) == (1, name)
    assert (layers[5].mspi, layers[5].authdata) == (spi, secret)
    assert layers[6].odata == name
    assert layers[7].authenticator == int.from_bytes(code, "big")


# --- scapy's, read by us -----------------------------------------------------------------


@few
@given(sequence=u16, lifetime=u16, address=v6, network=networks)
def test_reads_an_update(
    sequence: int, lifetime: int, address: IPv6Address, network: IPv6Network
) -> None:
    wire = written(
        scapy.MIP6MH_BU(
            seq=sequence,
            mhtime=lifetime,
            flags="AHR",
            options=[
                scapy.MIP6OptAltCoA(acoa=str(address)),
                scapy.MIP6OptMobNetPrefix(
                    plen=network.prefixlen, prefix=str(network.network_address)
                ),
            ],
        )
    )
    message = mh.parse(wire)
    assert message == mh.BindingUpdate(
        sequence,
        lifetime,
        acknowledge=True,
        home=True,
        mobile_router=True,
        options=(opt.AlternateCareOfAddress(address), opt.MobileNetworkPrefix(network)),
    )
    assert mh.build(message, HOME, AGENT) == wire


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (scapy.MIP6MH_BRR(), mh.BindingRefreshRequest()),
        (scapy.MIP6MH_HoTI(cookie=b"12345678"), mh.HomeTestInit(b"12345678")),
        (scapy.MIP6MH_CoTI(cookie=b"12345678"), mh.CareOfTestInit(b"12345678")),
        (
            scapy.MIP6MH_HoT(index=3, cookie=b"12345678", token=b"abcdefgh"),
            mh.HomeTest(3, b"12345678", b"abcdefgh"),
        ),
        (
            scapy.MIP6MH_CoT(index=3, cookie=b"12345678", token=b"abcdefgh"),
            mh.CareOfTest(3, b"12345678", b"abcdefgh"),
        ),
        (
            scapy.MIP6MH_BA(
                status=142, seq=9, mhtime=75, flags="KR", options=[scapy.MIP6OptBRAdvice(rinter=60)]
            ),
            mh.BindingAcknowledgement(
                142,
                9,
                75,
                key_management=True,
                mobile_router=True,
                options=(opt.BindingRefreshAdvice(60),),
            ),
        ),
        (scapy.MIP6MH_BE(status=1, ha=str(HOME)), mh.BindingError(1, HOME)),
        (
            scapy.MIP6MH_BU(
                seq=1,
                mhtime=2,
                flags="",
                options=[
                    # scapy writes length 16 for both unless told.
                    scapy.MIP6OptNonceIndices(olen=4, hni=7, coni=8),
                    scapy.MIP6OptBindingAuthData(olen=12, authenticator=0xABCDEF),
                ],
            ),
            mh.BindingUpdate(
                1,
                2,
                options=(
                    opt.NonceIndices(7, 8),
                    opt.BindingAuthorizationData(bytes.fromhex("000000000000000000abcdef")),
                ),
            ),
        ),
        (
            scapy.MIP6MH_BU(
                seq=1,
                mhtime=2,
                flags="",
                options=[
                    scapy.MIP6OptMNID(subtype=1, id=b"bus-17@fleet.example"),
                    scapy.MIP6OptMsgAuth(subtype=1, mspi=256, authdata=b"A" * 12),
                ],
            ),
            mh.BindingUpdate(
                1,
                2,
                options=(
                    opt.MobileNodeIdentifier(b"bus-17@fleet.example"),
                    opt.MobilityMessageAuthentication(1, 256, b"A" * 12),
                ),
            ),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_reads_scapy(layer: object, expected: mh.Message) -> None:
    wire = written(layer)
    message = mh.parse(wire)
    assert message == expected
    assert mh.build(message, HOME, AGENT) == wire


# --- extension headers and ICMPv6 -----------------------------------------------------


def test_home_address_option() -> None:
    ours = extension.build_home_address(HOME, 135)
    theirs = bytes(scapy.IPv6ExtHdrDestOpt(nh=135, options=[scapy.HAO(hoa=str(HOME))]))
    assert ours == theirs
    assert extension.parse_home_address(theirs) == HOME


def test_routing_header() -> None:
    ours = extension.build_routing(HOME, 135)
    theirs = bytes(scapy.IPv6ExtHdrRouting(nh=135, type=2, addresses=[str(HOME)]))
    assert ours == theirs
    assert extension.parse_routing(theirs) == HOME


def test_home_form_of_scapy_packets() -> None:
    update = (
        scapy.IPv6(src=str(CARE_OF), dst=str(AGENT))
        / scapy.IPv6ExtHdrDestOpt(options=[scapy.HAO(hoa=str(HOME))])
        / scapy.MIP6MH_BU(seq=5)
    )
    form = extension.home_form(bytes(update))
    assert (form.source, form.destination, form.protocol) == (HOME, AGENT, 135)
    assert mh.checksum_correct(form.source, form.destination, form.payload)
    answer = (
        scapy.IPv6(src=str(AGENT), dst=str(CARE_OF))
        / scapy.IPv6ExtHdrRouting(type=2, addresses=[str(HOME)])
        / scapy.MIP6MH_BA(seq=5)
    )
    form = extension.home_form(bytes(answer))
    assert (form.source, form.destination, form.protocol) == (AGENT, HOME, 135)
    assert mh.checksum_correct(form.source, form.destination, form.payload)


ICMP = [
    (scapy.ICMPv6HAADRequest(id=5, R=1), icmp6.HomeAgentDiscoveryRequest(5, True)),
    (
        scapy.ICMPv6HAADReply(id=5, R=1, addresses=[str(AGENT), str(CARE_OF)]),
        icmp6.HomeAgentDiscoveryReply(5, (AGENT, CARE_OF), True),
    ),
    (scapy.ICMPv6MPSol(id=5), icmp6.MobilePrefixSolicitation(5)),
    (
        scapy.ICMPv6MPAdv(id=5, flags=2)
        / scapy.ICMPv6NDOptPrefixInfo(
            prefixlen=64,
            L=1,
            A=1,
            R=1,
            validlifetime=3600,
            preferredlifetime=1800,
            prefix=str(AGENT),
        ),
        icmp6.MobilePrefixAdvertisement(
            5,
            managed=True,
            options=(icmp6.PrefixInformation(AGENT, 64, True, True, True, 3600, 1800),),
        ),
    ),
    (
        scapy.ICMPv6ND_RA(chlim=64, H=1, prf=1, routerlifetime=1800)
        / scapy.ICMPv6NDOptAdvInterval(advint=250)
        / scapy.ICMPv6NDOptHAInfo(res=0x8000, pref=9, lifetime=1700)
        / scapy.ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:00:01"),
        icmp6.RouterAdvertisement(
            64,
            1800,
            home_agent=True,
            preference=1,
            options=(
                icmp6.AdvertisementInterval(250),
                icmp6.HomeAgentInformation(9, 1700, True),
                icmp6.SourceLinkLayerAddress(bytes.fromhex("020000000001")),
            ),
        ),
    ),
]


@pytest.mark.parametrize(
    ("layer", "message"), ICMP, ids=[type(message).__name__ for _, message in ICMP]
)
def test_icmp(layer: object, message: icmp6.IcmpMessage) -> None:
    wire = bytes(scapy.IPv6(src=str(AGENT), dst=str(HOME), hlim=255) / layer)[40:]
    assert icmp6.parse(wire) == message
    assert icmp6.build(message, AGENT, HOME) == wire
