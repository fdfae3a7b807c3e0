# SPDX-License-Identifier: GPL-2.0-only
"""Hypothesis strategies for every message and option there is a table entry for."""

from __future__ import annotations

from ipaddress import IPv6Network

from dsmip.packet import icmp6
from dsmip.packet import mobility as mh
from dsmip.packet import options as opt
from dsmip.packet.flows import (
    FlowIdentification,
    FlowSummary,
    IPv4Selector,
    IPv6Selector,
    OtherSelector,
)
from hypothesis import strategies as st

u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
v4 = st.ip_addresses(v=4)
v6 = st.ip_addresses(v=6)
flag = st.booleans()


def octets(most: int, least: int = 0) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=least, max_size=most)


networks = st.builds(
    lambda address, length: IPv6Network((address, length), strict=False), v6, st.integers(0, 128)
)


@st.composite
def selectors(draw: st.DrawFn, cls: type, address: st.SearchStrategy[object]) -> object:
    rows = {
        IPv4Selector: (u32, u16, u16, u8, u8),
        IPv6Selector: (u32, u32, u16, u16, u8, u8),
    }[cls]
    names = [name for name in cls.__dataclass_fields__ if name.endswith("_start")]
    values = {}
    for name, kind in zip(names, (address, address, *rows), strict=True):
        if draw(flag):
            values[name] = draw(kind)
            if draw(flag):
                values[name.replace("_start", "_end")] = draw(kind)
    return cls(**values)


any_selector = st.one_of(
    st.none(),
    selectors(IPv4Selector, v4),
    selectors(IPv6Selector, v6),
    st.builds(OtherSelector, st.integers(3, 255), octets(60)),
)

OPTIONS: dict[type[opt.Option], st.SearchStrategy[opt.Option]] = {
    opt.BindingRefreshAdvice: st.builds(opt.BindingRefreshAdvice, u16),
    opt.AlternateCareOfAddress: st.builds(opt.AlternateCareOfAddress, v6),
    opt.NonceIndices: st.builds(opt.NonceIndices, u16, u16),
    opt.BindingAuthorizationData: st.builds(opt.BindingAuthorizationData, octets(12, 12)),
    opt.MobileNetworkPrefix: st.builds(opt.MobileNetworkPrefix, networks),
    opt.LinkLayerAddress: st.builds(opt.LinkLayerAddress, octets(254), u8),
    opt.MobileNodeIdentifier: st.builds(opt.MobileNodeIdentifier, octets(254), u8),
    opt.MobilityMessageAuthentication: st.builds(
        opt.MobilityMessageAuthentication, u8, u32, octets(250)
    ),
    opt.ReplayProtection: st.builds(opt.ReplayProtection, st.integers(0, 2**64 - 1)),
    opt.DnsUpdate: st.builds(opt.DnsUpdate, octets(253), flag, u8),
    opt.VendorSpecific: st.builds(opt.VendorSpecific, u32, u8, octets(250)),
    opt.ServiceSelection: st.builds(opt.ServiceSelection, st.text(min_size=1, max_size=60)),
    opt.IPv4HomeAddress: st.builds(opt.IPv4HomeAddress, v4, st.integers(0, 63), flag),
    opt.IPv4AddressAcknowledgement: st.builds(
        opt.IPv4AddressAcknowledgement, u8, st.integers(0, 63), v4
    ),
    opt.NatDetection: st.builds(opt.NatDetection, flag, u32),
    opt.IPv4CareOfAddress: st.builds(opt.IPv4CareOfAddress, v4),
    opt.BindingIdentifier: st.builds(
        opt.BindingIdentifier, u16, u8, flag, st.integers(0, 127), st.one_of(st.none(), v4, v6)
    ),
    FlowIdentification: st.builds(
        FlowIdentification,
        u16,
        u16,
        u8,
        any_selector,
        st.lists(u16, max_size=10).map(tuple),
    ),
    FlowSummary: st.builds(FlowSummary, st.lists(u16, min_size=1, max_size=127).map(tuple)),
}

_foreign = [kind for kind in range(2, 256) if kind not in opt.BY_TYPE]
unknown_options = st.builds(opt.UnknownOption, st.sampled_from(_foreign), octets(255))
some_option = st.one_of(
    unknown_options,
    *(strategy for cls, strategy in OPTIONS.items() if cls is not opt.BindingAuthorizationData),
)


@st.composite
def option_lists(draw: st.DrawFn) -> tuple[opt.Option, ...]:
    """Up to five options (they always fit), an authenticator perhaps last."""
    options = draw(st.lists(some_option, max_size=5))
    if draw(flag):
        options.append(draw(OPTIONS[opt.BindingAuthorizationData]))
    return tuple(options)


cookie = octets(8, 8)
MESSAGES: dict[type[mh.Message], st.SearchStrategy[mh.Message]] = {
    mh.BindingRefreshRequest: st.builds(mh.BindingRefreshRequest, options=option_lists()),
    mh.HomeTestInit: st.builds(mh.HomeTestInit, cookie, options=option_lists()),
    mh.CareOfTestInit: st.builds(mh.CareOfTestInit, cookie, options=option_lists()),
    mh.HomeTest: st.builds(mh.HomeTest, u16, cookie, cookie, options=option_lists()),
    mh.CareOfTest: st.builds(mh.CareOfTest, u16, cookie, cookie, options=option_lists()),
    mh.BindingUpdate: st.builds(mh.BindingUpdate, u16, u16, *[flag] * 10, options=option_lists()),
    mh.BindingAcknowledgement: st.builds(
        mh.BindingAcknowledgement, u8, u16, u16, *[flag] * 5, options=option_lists()
    ),
    mh.BindingError: st.builds(mh.BindingError, u8, v6, options=option_lists()),
    mh.HomeAgentSwitch: st.builds(
        mh.HomeAgentSwitch, st.lists(v6, max_size=20).map(tuple), options=option_lists()
    ),
    mh.Heartbeat: st.builds(mh.Heartbeat, u32, flag, flag, options=option_lists()),
    mh.BindingRevocationIndication: st.builds(
        mh.BindingRevocationIndication, u8, u16, flag, flag, flag, options=option_lists()
    ),
    mh.BindingRevocationAcknowledgement: st.builds(
        mh.BindingRevocationAcknowledgement, u8, u16, flag, flag, flag, options=option_lists()
    ),
    mh.OtherMessage: st.builds(
        mh.OtherMessage,
        st.sampled_from(sorted(mh.OTHER_TYPES)),
        st.integers(0, 40).flatmap(lambda n: octets(2 + 8 * n, 2 + 8 * n)),
    ),
}
any_message = st.one_of(*MESSAGES.values())

# --- ICMPv6 ----------------------------------------------------------------------

ND_OPTIONS: dict[type[icmp6.NdOption], st.SearchStrategy[icmp6.NdOption]] = {
    icmp6.PrefixInformation: st.builds(icmp6.PrefixInformation, v6, u8, flag, flag, flag, u32, u32),
    icmp6.AdvertisementInterval: st.builds(icmp6.AdvertisementInterval, u32),
    icmp6.HomeAgentInformation: st.builds(icmp6.HomeAgentInformation, u16, u16, flag),
    icmp6.SourceLinkLayerAddress: st.builds(icmp6.SourceLinkLayerAddress, octets(6, 6)),
    icmp6.LinkMtu: st.builds(icmp6.LinkMtu, u32),
    icmp6.UnknownNdOption: st.builds(
        icmp6.UnknownNdOption,
        st.sampled_from([2, 14, 24, 25, 253]),
        st.integers(0, 20).flatmap(lambda n: octets(6 + 8 * n, 6 + 8 * n)),
    ),
}
nd_options = st.lists(st.one_of(*ND_OPTIONS.values()), max_size=6).map(tuple)
ICMP_MESSAGES: dict[type[icmp6.IcmpMessage], st.SearchStrategy[icmp6.IcmpMessage]] = {
    icmp6.HomeAgentDiscoveryRequest: st.builds(icmp6.HomeAgentDiscoveryRequest, u16, flag),
    icmp6.HomeAgentDiscoveryReply: st.builds(
        icmp6.HomeAgentDiscoveryReply, u16, st.lists(v6, max_size=8).map(tuple), flag
    ),
    icmp6.MobilePrefixSolicitation: st.builds(icmp6.MobilePrefixSolicitation, u16, nd_options),
    icmp6.MobilePrefixAdvertisement: st.builds(
        icmp6.MobilePrefixAdvertisement, u16, flag, flag, nd_options
    ),
    icmp6.RouterSolicitation: st.builds(icmp6.RouterSolicitation, nd_options),
    icmp6.RouterAdvertisement: st.builds(
        icmp6.RouterAdvertisement,
        u8,
        u16,
        u32,
        u32,
        flag,
        flag,
        flag,
        st.integers(0, 3),
        nd_options,
    ),
}
any_icmp = st.one_of(*ICMP_MESSAGES.values())
