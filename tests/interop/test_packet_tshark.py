# SPDX-License-Identifier: GPL-2.0-only
"""tshark reads what our builders write: every field it knows, and no complaint."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path

import pytest
from dsmip.packet import icmp6
from dsmip.packet import mobility as mh
from dsmip.packet import options as opt
from dsmip.packet.extension import build_home_address, build_routing
from dsmip.packet.flows import FlowIdentification, FlowSummary, IPv6Selector

from tests.interop.judge import ICMP6, MOBILITY, Verdict, ipv6, tshark, write_pcap

HOME = IPv6Address("2001:db8:1::100")
AGENT = IPv6Address("2001:db8:1::1")
CARE_OF = IPv6Address("2001:db8:2::200")
HOME4 = IPv4Address("198.51.100.7")

Fields = dict[str, list[str]]

#: One option each, and all that tshark 4.0 shows of it.
OPTIONS: list[tuple[opt.Option, Fields]] = [
    (opt.BindingRefreshAdvice(150), {"mip6.bra.interval": ["150"]}),
    (opt.AlternateCareOfAddress(CARE_OF), {"mip6.acoa.acoa": [str(CARE_OF)]}),
    (opt.NonceIndices(7, 8), {"mip6.ni.hni": ["7"], "mip6.ni.cni": ["8"]}),
    (
        opt.BindingAuthorizationData(bytes(range(12))),
        {"mip6.bad.auth": ["00:01:02:03:04:05:06:07:08:09:0a:0b"]},
    ),
    (
        opt.MobileNetworkPrefix(IPv6Network("2001:db8:100::/56")),
        {"mip6.nemo.mnp.pfl": ["56"], "mip6.nemo.mnp.mnp": ["2001:db8:100::"]},
    ),
    (
        opt.LinkLayerAddress(bytes.fromhex("020000000001")),
        {"mip6.lla.optcode": ["2"], "mip6.lla": ["02:00:00:00:00:01"]},
    ),
    (
        opt.MobileNodeIdentifier(b"bus-17@fleet.example"),
        {"mip6.mnid.subtype": ["1"], "mip6.mnid.identifier": ["bus-17@fleet.example"]},
    ),
    (
        opt.MobilityMessageAuthentication(1, 256, bytes(range(12))),
        {"mip6.auth.subtype": ["1"], "mip6.auth.mobility_spi": ["256"]},
    ),
    (
        opt.ReplayProtection(0xE500000080000000),
        {"mip6.options.mseg_id": ["0a:08:e5:00:00:00:80:00:00:00"]},
    ),
    (
        opt.DnsUpdate(b"bus.example", remove=True, status=129),
        {"mip6.dnsu.status": ["129"], "mip6.dnsu.flag.r": ["1"]},
    ),
    (
        opt.VendorSpecific(32473, 9, b"hi"),
        {"mip6.vsm.vendorId": ["32473"], "mip6.vsm.subtype": ["9"]},
    ),
    (opt.ServiceSelection("ims"), {"mip6.ss.identifier": ["ims"]}),
    (
        opt.IPv4HomeAddress(HOME4, 28, True),
        {
            "mip6.ipv4ha.preflen": ["28"],
            "mip6.ipv4ha.p_flag": ["1"],
            "mip6.ipv4ha.ha": ["198.51.100.7"],
        },
    ),
    (
        opt.IPv4HomeAddress(IPv4Address(0)),
        {
            "mip6.ipv4ha.preflen": ["32"],
            "mip6.ipv4ha.p_flag": ["0"],
            "mip6.ipv4ha.ha": ["0.0.0.0"],
        },
    ),
    (
        opt.IPv4AddressAcknowledgement(132, 24, HOME4),
        {
            "mip6.ipv4aa.sts": ["132"],
            "mip6.ipv4ha.preflen": ["24"],
            "mip6.ipv4ha.ha": ["198.51.100.7"],
        },
    ),
    (
        opt.NatDetection(True, 110),
        {"mip6.natd.f_flag": ["1"], "mip6.natd.refresh_t": ["110"], "mip6.natd.reserved": ["0"]},
    ),
    (
        opt.NatDetection(False, opt.NatDetection.NO_KEEPALIVE),
        {"mip6.natd.f_flag": ["0"], "mip6.natd.refresh_t": ["4294967295"]},
    ),
    (
        opt.IPv4CareOfAddress(IPv4Address("192.168.1.20")),
        {"mip6.ipv4coa.addr": ["192.168.1.20"], "mip6.ipv4coa.reserved": ["0"]},
    ),
    (
        opt.BindingIdentifier(5, status=167),
        {"mip6.bi.bid": ["5"], "mip6.bi.status": ["167"], "mip6.bi.h_flag": ["0"]},
    ),
    (
        opt.BindingIdentifier(5, home=True, priority=3, address=IPv4Address("10.0.0.1")),
        {"mip6.bi.bid": ["5"], "mip6.bi.h_flag": ["1"], "mip6.bi.coa_ipv4": ["10.0.0.1"]},
    ),
    (
        opt.BindingIdentifier(5, home=True, address=CARE_OF),
        {"mip6.bi.bid": ["5"], "mip6.bi.h_flag": ["1"], "mip6.bi.coa_ipv6": [str(CARE_OF)]},
    ),
]

#: Known to tshark 4.0 by number and length only; it notes "not dissected yet".
UNREAD: list[opt.Option] = [
    FlowSummary((1, 2)),
    FlowIdentification(1, 2, selector=IPv6Selector(source_start=CARE_OF), references=(1,)),
    opt.UnknownOption(200, b"abc"),
]

COOKIE = bytes(range(8))
MESSAGES: list[tuple[mh.Message, Fields]] = [
    (mh.BindingRefreshRequest(), {"mip6.mhtype": ["0"]}),
    (
        mh.Heartbeat(0x01020304, response=True),
        {"mip6.hb.seqnr": ["16909060"], "mip6.hb.r_flag": ["1"], "mip6.hb.u_flag": ["0"]},
    ),
    (mh.HomeTestInit(COOKIE), {"mip6.hoti.cookie": ["0x0001020304050607"]}),
    (mh.CareOfTestInit(COOKIE), {"mip6.coti.cookie": ["0x0001020304050607"]}),
    (
        mh.HomeTest(3, COOKIE, COOKIE[::-1]),
        {
            "mip6.hot.nindex": ["3"],
            "mip6.hot.cookie": ["0x0001020304050607"],
            "mip6.hot.token": ["0x0706050403020100"],
        },
    ),
    (
        mh.CareOfTest(3, COOKIE, COOKIE[::-1]),
        {"mip6.cot.nindex": ["3"], "mip6.cot.cookie": ["0x0001020304050607"]},
    ),
    (
        mh.BindingAcknowledgement(142, 5, 900, key_management=True, mobile_router=True),
        {
            "mip6.ba.status": ["142"],
            "mip6.ba.k_flag": ["1"],
            "mip6.nemo.ba.r_flag": ["1"],
            "mip6.ba.p_flag": ["0"],
            "mip6.ba.seqnr": ["5"],
            "mip6.ba.lifetime": ["900"],
        },
    ),
    (mh.BindingError(1, HOME), {"mip6.be.status": ["1"], "mip6.be.haddr": [str(HOME)]}),
    (
        mh.BindingRevocationIndication(1, 7, ipv4_only=True),
        {
            "mip6.bri_br.type": ["1"],
            "mip6.bri_r.trigger": ["1"],
            "mip6.bri_seqnr": ["7"],
            "mip6.bri_ip": ["0"],
            "mip6.bri_iv": ["1"],
            "mip6.bri_ig": ["0"],
        },
    ),
    (
        mh.BindingRevocationAcknowledgement(128, 7, proxy=True, everything=True),
        {
            "mip6.bri_br.type": ["2"],
            "mip6.bri_status": ["128"],
            "mip6.bri_seqnr": ["7"],
            "mip6.bri_ap": ["1"],
            "mip6.bri_av": ["0"],
            "mip6.bri_ag": ["1"],
        },
    ),
    (
        mh.BindingUpdate(
            3,
            27,
            acknowledge=True,
            home=True,
            mobile_router=True,
            force_udp=True,
            options=(
                opt.MobileNodeIdentifier(b"bus-17@fleet.example"),
                opt.AlternateCareOfAddress(CARE_OF),
                opt.MobileNetworkPrefix(IPv6Network("2001:db8:100::/56")),
                opt.MobileNetworkPrefix(IPv6Network("2001:db8:200::/56")),
                opt.IPv4HomeAddress(HOME4),
                opt.IPv4CareOfAddress(IPv4Address("192.168.1.20")),
            ),
        ),
        {
            "mip6.mnid.identifier": ["bus-17@fleet.example"],
            "mip6.acoa.acoa": [str(CARE_OF)],
            "mip6.nemo.mnp.mnp": ["2001:db8:100::", "2001:db8:200::"],
            "mip6.ipv4ha.ha": ["198.51.100.7"],
            "mip6.ipv4coa.addr": ["192.168.1.20"],
            "mip6.bu.lifetime": ["27"],
        },
    ),
]

BU_FLAGS = {
    "acknowledge": "mip6.bu.a_flag",
    "home": "mip6.bu.h_flag",
    "link_local": "mip6.bu.l_flag",
    "key_management": "mip6.bu.k_flag",
    "map_registration": "mip6.bu.m_flag",
    "mobile_router": "mip6.nemo.bu.r_flag",
    "proxy": "mip6.bu.p_flag",
    "force_udp": "mip6.bu.f_flag",
    "tlv": "mip6.bu.t_flag",
    "overwrite": "mip6.bu.b_flag",
}
BA_FLAGS = {
    "key_management": "mip6.ba.k_flag",
    "mobile_router": "mip6.nemo.ba.r_flag",
    "proxy": "mip6.ba.p_flag",
    "tlv": "mip6.ba.t_flag",
    "bulk": "mip6.ba.b_flag",
}

PREFIX = icmp6.PrefixInformation(AGENT, 64, True, True, True, 3600, 1800)
PREFIX_FIELDS = {
    "icmpv6.opt.prefix": [str(AGENT)],
    "icmpv6.opt.prefix.length": ["64"],
    "icmpv6.opt.prefix.flag.l": ["1"],
    "icmpv6.opt.prefix.flag.a": ["1"],
    "icmpv6.opt.prefix.flag.r": ["1"],
    "icmpv6.opt.prefix.valid_lifetime": ["3600"],
    "icmpv6.opt.prefix.preferred_lifetime": ["1800"],
}
ICMP: list[tuple[icmp6.IcmpMessage, Fields]] = [
    (
        icmp6.RouterSolicitation((icmp6.SourceLinkLayerAddress(bytes.fromhex("020000000001")),)),
        {"icmpv6.type": ["133"], "icmpv6.opt.src_linkaddr": ["02:00:00:00:00:01"]},
    ),
    (icmp6.HomeAgentDiscoveryRequest(5, True), {"icmpv6.mip6.identifier": ["5"]}),
    (
        icmp6.HomeAgentDiscoveryReply(5, (AGENT, CARE_OF), True),
        {"icmpv6.mip6.home_agent_address": [str(AGENT), str(CARE_OF)]},
    ),
    (icmp6.MobilePrefixSolicitation(5), {"icmpv6.mip6.identifier": ["5"]}),
    (
        icmp6.MobilePrefixAdvertisement(5, True, False, (PREFIX,)),
        {"icmpv6.mip6.flag.m": ["1"], "icmpv6.mip6.flag.o": ["0"], **PREFIX_FIELDS},
    ),
    (
        icmp6.RouterAdvertisement(
            64,
            1800,
            home_agent=True,
            options=(
                PREFIX,
                icmp6.AdvertisementInterval(250),
                icmp6.HomeAgentInformation(9, 1700, True),
                icmp6.SourceLinkLayerAddress(bytes.fromhex("020000000001")),
            ),
        ),
        {
            "icmpv6.nd.ra.flag.h": ["1"],
            "icmpv6.nd.ra.flag.m": ["0"],
            "icmpv6.nd.ra.router_lifetime": ["1800"],
            "icmpv6.opt.advertisement_interval": ["250"],
            "icmpv6.opt.home_agent_preference": ["9"],
            "icmpv6.opt.home_agent_lifetime": ["1700"],
            "icmpv6.opt.src_linkaddr": ["02:00:00:00:00:01"],
            **PREFIX_FIELDS,
        },
    ),
]


def read(tmp_path: Path, packets: list[bytes]) -> list[Verdict]:
    path = tmp_path / "built.pcap"
    write_pcap(path, packets)
    verdicts = tshark(path)
    assert len(verdicts) == len(packets)
    return verdicts


def read_messages(tmp_path: Path, messages: list[mh.Message]) -> list[Verdict]:
    return read(tmp_path, [ipv6(HOME, AGENT, mh.build(item, HOME, AGENT)) for item in messages])


def agrees(verdict: Verdict, expected: Fields) -> None:
    assert {name: verdict.fields[name] for name in expected} == expected
    assert verdict.complaints == []


def test_options(tmp_path: Path) -> None:
    updates: list[mh.Message] = [mh.BindingUpdate(1, 900, options=(item,)) for item, _ in OPTIONS]
    for verdict, (_, expected) in zip(read_messages(tmp_path, updates), OPTIONS, strict=True):
        agrees(verdict, expected)


def test_every_known_option_is_judged() -> None:
    judged = {type(option) for option, _ in OPTIONS} | {type(option) for option in UNREAD}
    assert judged == {*opt.BY_CLASS, opt.UnknownOption}
    messages = {type(message) for message, _ in MESSAGES}
    assert messages | {mh.HomeAgentSwitch} == set(mh.BY_CLASS)
    assert {type(message) for message, _ in ICMP} == set(icmp6.MESSAGE_LAYOUTS)


def test_options_it_does_not_read(tmp_path: Path) -> None:
    updates: list[mh.Message] = [mh.BindingUpdate(1, 900, options=(item,)) for item in UNREAD]
    for verdict, option in zip(read_messages(tmp_path, updates), UNREAD, strict=True):
        kind = option.type if isinstance(option, opt.UnknownOption) else option.TYPE
        assert str(kind) in verdict.fields["mip6.mobility_opt"]
        assert verdict.complaints == ["IE data not dissected yet"]


def test_messages(tmp_path: Path) -> None:
    verdicts = read_messages(tmp_path, [message for message, _ in MESSAGES])
    for verdict, (message, expected) in zip(verdicts, MESSAGES, strict=True):
        agrees(verdict, expected)
        assert verdict.fields["mip6.mhtype"] == [str(message.TYPE)]
        assert verdict.fields["mip6.proto"] == ["59"]


def test_home_agent_switch(tmp_path: Path) -> None:
    """tshark 4.0 shows the fields, then looks for options within them; so only those count."""
    none, two = read_messages(
        tmp_path, [mh.HomeAgentSwitch(), mh.HomeAgentSwitch((AGENT, CARE_OF))]
    )
    assert none.fields["mip6.has.num_addrs"] == ["0"]
    assert two.fields["mip6.has.num_addrs"] == ["2"]
    assert two.fields["mip6.has.address"] == [str(AGENT), str(CARE_OF)]


@pytest.mark.parametrize(
    ("cls", "flags"),
    [(mh.BindingUpdate, BU_FLAGS), (mh.BindingAcknowledgement, BA_FLAGS)],
    ids=["update", "acknowledgement"],
)
def test_flags(tmp_path: Path, cls: type, flags: dict[str, str]) -> None:
    fixed = (1, 2) if cls is mh.BindingUpdate else (0, 1, 2)
    verdicts = read_messages(tmp_path, [cls(*fixed, **{name: True}) for name in flags])
    for verdict, name in zip(verdicts, flags, strict=True):
        agrees(verdict, {field: [str(int(flags[name] == field))] for field in flags.values()})


def test_icmp(tmp_path: Path) -> None:
    packets = [ipv6(AGENT, HOME, icmp6.build(item, AGENT, HOME), ICMP6) for item, _ in ICMP]
    for verdict, (_, expected) in zip(read(tmp_path, packets), ICMP, strict=True):
        agrees(verdict, {**expected, "icmpv6.checksum.status": ["1"]})


def test_extension_headers(tmp_path: Path) -> None:
    update = mh.build(mh.BindingUpdate(1, 2, home=True), HOME, AGENT)
    answer = mh.build(mh.BindingAcknowledgement(0, 1, 2), AGENT, HOME)
    sent, received = read(
        tmp_path,
        [
            ipv6(CARE_OF, AGENT, build_home_address(HOME, MOBILITY) + update, 60),
            ipv6(AGENT, CARE_OF, build_routing(HOME, MOBILITY) + answer, 43),
        ],
    )
    agrees(sent, {"ipv6.opt.mipv6.home_address": [str(HOME)], "mip6.mhtype": ["5"]})
    agrees(received, {"ipv6.routing.mipv6.home_address": [str(HOME)], "mip6.mhtype": ["6"]})
