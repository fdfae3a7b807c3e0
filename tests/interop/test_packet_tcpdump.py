# SPDX-License-Identifier: GPL-2.0-only
"""tcpdump reads what our builders write."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path

from dsmip.packet import icmp6
from dsmip.packet import mobility as mh
from dsmip.packet import options as opt

from tests.interop.judge import ICMP6, ipv6, tcpdump, write_pcap

HOME = IPv6Address("2001:db8:1::100")
AGENT = IPv6Address("2001:db8:1::1")
CARE_OF = IPv6Address("2001:db8:2::200")
COOKIE = bytes(range(8))
CODE = opt.BindingAuthorizationData(bytes(12))

#: The last option stays out of these texts: tcpdump 4.99.3 (Debian 12) calls that of any
#: message truncated, in its own test captures too.
MESSAGES: list[tuple[mh.Message, str]] = [
    (mh.BindingRefreshRequest(), "BRR"),
    (mh.HomeTestInit(COOKIE), "HoTI Home Init Cookie=00010203:04050607"),
    (mh.CareOfTestInit(COOKIE), "CoTI Care-of Init Cookie=00010203:04050607"),
    (
        mh.HomeTest(3, COOKIE, COOKIE),
        "HoT nonce id=0x3 Home Init Cookie=00010203:04050607 Home Keygen Token=00010203:04050607",
    ),
    (
        mh.CareOfTest(3, COOKIE, COOKIE),
        "CoT nonce id=0x3 Care-of Init Cookie=00010203:04050607"
        " Care-of Keygen Token=00010203:04050607",
    ),
    (
        mh.BindingUpdate(7, 900, True, True, True, True, options=(CODE,)),
        "BU seq#=7 AHLK lifetime=3600",
    ),
    (
        mh.BindingUpdate(
            7,
            900,
            acknowledge=True,
            options=(opt.AlternateCareOfAddress(CARE_OF), opt.NonceIndices(7, 8), CODE),
        ),
        "BU seq#=7 A lifetime=3600(padn)(alt-CoA: 2001:db8:2::200)(ni: ho=0x0007 co=0x0008)",
    ),
    (
        mh.BindingUpdate(
            7,
            900,
            options=(
                opt.MobileNetworkPrefix(IPv6Network("2001:db8::/32")),
                opt.MobileNodeIdentifier(b"x@y"),
                CODE,
            ),
        ),
        "BU seq#=7 lifetime=3600(type-0x06: len=18)(type-0x08: len=4)",
    ),
    (
        mh.BindingAcknowledgement(
            142, 9, 900, key_management=True, options=(opt.BindingRefreshAdvice(60), CODE)
        ),
        "BA status=142 K seq#=9 lifetime=3600(refresh: 240)",
    ),
    (mh.BindingError(1, HOME), "BE status=1 homeaddr 2001:db8:1::100"),
]

ICMP: list[tuple[icmp6.IcmpMessage, str]] = [
    (icmp6.HomeAgentDiscoveryRequest(5, True), "[icmp6 sum ok] ICMP6, ha discovery request"),
    (
        icmp6.HomeAgentDiscoveryReply(5, (AGENT, CARE_OF)),
        "id 0x0005, 2001:db8:1::1, 2001:db8:2::200",
    ),
    (icmp6.MobilePrefixSolicitation(5), "[icmp6 sum ok] ICMP6, mobile router solicitation"),
    (
        icmp6.MobilePrefixAdvertisement(
            5, True, True, (icmp6.PrefixInformation(AGENT, 64, True, True, True, 3600, 1800),)
        ),
        "mobile router advertisement, length 40, id 0x0005 MO"
        " | prefix info option (3), length 32 (4): 2001:db8:1::1/64,"
        " Flags [onlink, auto, router], valid time 3600s, pref. time 1800s",
    ),
    (
        icmp6.RouterAdvertisement(
            64,
            1800,
            home_agent=True,
            options=(
                icmp6.AdvertisementInterval(250),
                icmp6.HomeAgentInformation(9, 1700),
                icmp6.SourceLinkLayerAddress(bytes.fromhex("020000000001")),
            ),
        ),
        "Flags [home agent]",
    ),
]


def test_messages(tmp_path: Path) -> None:
    path = tmp_path / "built.pcap"
    write_pcap(path, [ipv6(HOME, AGENT, mh.build(item, HOME, AGENT)) for item, _ in MESSAGES])
    for line, (_, text) in zip(tcpdump(path), MESSAGES, strict=True):
        said = line.split("mobility: ", 1)[1]
        rest = said.removeprefix(text)
        assert rest != said
        assert re.fullmatch(r"(\(padn\))?(\(auth\)| \[\|mobility\])?", rest)


def test_icmp(tmp_path: Path) -> None:
    for number, (message, text) in enumerate(ICMP):
        path = tmp_path / f"{number}.pcap"
        write_pcap(path, [ipv6(AGENT, HOME, icmp6.build(message, AGENT, HOME), ICMP6)])
        lines = [line.strip() for line in tcpdump(path)]
        assert text in " | ".join(lines)
        assert "[icmp6 sum ok]" in lines[0]
        assert "[|" not in " ".join(lines)
