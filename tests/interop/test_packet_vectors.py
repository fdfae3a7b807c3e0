# SPDX-License-Identifier: GPL-2.0-only
"""Captures of other stacks: parsed and rebuilt octet by octet, or refused as they should be.

The captures are not part of the repository. They are looked for in the folder
that DSMIP_VECTORS names, else in ../shared/vectors beside the repository. The
frames below the captures' tests are ours, of the same shapes, and always there.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from dsmip.packet import extension, icmp6
from dsmip.packet import mobility as mh
from dsmip.packet import options as opt
from dsmip.packet.authenticator import authorized
from dsmip.packet.errors import Malformed, ParameterProblem

from tests.interop.judge import ipv6, read_pcap

VECTORS = Path(os.environ.get("DSMIP_VECTORS") or Path(__file__).parents[3] / "shared" / "vectors")
captures = pytest.mark.skipif(
    not VECTORS.is_dir(), reason=f"no captures in {VECTORS} (set DSMIP_VECTORS)"
)

ETHERNET = 1
IP6_IN_IP6 = 41
IP6_HEADER = 40


def frames(path: Path) -> Iterator[bytes]:
    """Yield the IPv6 packets of a capture, bare or on Ethernet, cut short or not."""
    for link, data in read_pcap(path):
        if link == ETHERNET:
            if data[12:14] == b"\x86\xdd":
                yield data[14:]
        elif data[:1] and data[0] >> 4 == 6:
            yield data


def mobility_headers(path: Path) -> Iterator[extension.HomeForm]:
    """Yield every mobility header of a capture in home form, those in tunnels too."""
    for packet in frames(path):
        form = extension.home_form(packet)
        while form.protocol == IP6_IN_IP6:
            form = extension.home_form(form.payload)
        if form.protocol == mh.PROTOCOL:
            yield form


@captures
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("umip-nemo-explicit-core.pcap", {mh.BindingUpdate: 6, mh.BindingAcknowledgement: 6}),
        ("umip-nemo-explicit-mn-eth0.pcap", {mh.BindingUpdate: 10, mh.BindingAcknowledgement: 9}),
    ],
)
def test_umip(name: str, counts: dict[type, int]) -> None:
    seen: Counter[type] = Counter()
    for form in mobility_headers(VECTORS / "umip" / name):
        message = mh.parse(form.payload)
        seen[type(message)] += 1
        assert mh.checksum_correct(form.source, form.destination, form.payload)
        assert mh.build(message, form.source, form.destination) == form.payload
        # UMIP pads as the RFCs say, so nothing had to be remembered for that.
        assert type(message.options) is tuple
        assert isinstance(message, mh.BindingUpdate | mh.BindingAcknowledgement)
        assert message.mobile_router
        if isinstance(message, mh.BindingUpdate):
            assert message.home
            assert message.acknowledge
            if message.lifetime:
                assert opt.find(message.options, opt.AlternateCareOfAddress)
                assert opt.find(message.options, opt.MobileNetworkPrefix)
    assert seen == counts


@captures
def test_tcpdump_valid() -> None:
    forms = list(mobility_headers(VECTORS / "tcpdump" / "ipv6_mobility_1.pcap"))
    kinds = [mh.parse(form.payload).TYPE for form in forms]
    assert kinds == [0, 1, 2, 3, 4, 5, 5, 5, 5, 5, 6, 6, 6, 6, 7, 5]
    for form in forms:
        message = mh.parse(form.payload)
        assert mh.build(message)[:4] == form.payload[:4]
        assert mh.build(message)[6:] == form.payload[6:]
    updates = [mh.parse(form.payload) for form in forms if form.payload[2] == 5]
    assert all(update.sequence == 1000 and update.lifetime == 3600 for update in updates)
    assert opt.find(updates[1].options, opt.AlternateCareOfAddress) == opt.AlternateCareOfAddress(
        IPv6Address("2001:660:4701:f004:20d:54ff:fe98:bc93")
    )
    assert opt.find(updates[4].options, opt.NonceIndices) == opt.NonceIndices(0x4D2, 0x162E)


ASAN = [f"mobility_opt_asan{suffix}.pcap" for suffix in ("", *(f"_{n}" for n in range(2, 9)))]


@captures
@pytest.mark.parametrize("name", ASAN)
def test_tcpdump_damaged(name: str) -> None:
    """tcpdump's text says of each "payload protocol ... should be 59"."""
    packets = list(frames(VECTORS / "tcpdump" / name))
    assert packets
    text = (VECTORS / "tcpdump" / name).with_suffix(".out").read_text()
    assert text.count("should be 59") == len(packets)
    for packet in packets:
        with pytest.raises(ParameterProblem) as caught:
            mh.parse(packet[IP6_HEADER:])
        assert (caught.value.code, caught.value.pointer) == (0, 0)
        # With that put right the next fault is found: cut off long before Header Len.
        with pytest.raises(Malformed):
            mh.parse(b"\x3b" + packet[IP6_HEADER + 1 :])


@captures
@pytest.mark.parametrize(
    ("name", "parse"),
    [("ipv6-mobility-header-oobr.pcap", mh.parse), ("icmp6_mobileprefix_asan.pcap", icmp6.parse)],
)
def test_tcpdump_cut_short(name: str, parse: Callable[[bytes], object]) -> None:
    """Seven and six octets of a message: nobody to answer, whatever they say."""
    (packet, *_) = frames(VECTORS / "tcpdump" / name)
    assert len(packet) - IP6_HEADER in (6, 7)
    with pytest.raises(Malformed):
        parse(packet[IP6_HEADER:])


@captures
@pytest.mark.parametrize("name", [*ASAN, "icmp6_mobileprefix_asan.pcap"])
def test_tcpdump_damaged_packets(name: str) -> None:
    """The length in the IPv6 header already says that something is missing."""
    for packet in frames(VECTORS / "tcpdump" / name):
        with pytest.raises(Malformed):
            extension.home_form(packet)


# --- frames of our own, of the same shapes ----------------------------------------------

HOME = IPv6Address("2001:db8:1::100")
CARE_OF = IPv6Address("2001:db8:2::200")
AGENT = IPv6Address("2001:db8:1::1")
ALTERNATE = "0310" + CARE_OF.packed.hex()
CODE = "050c" + "5a" * 12

#: As tcpdump's test writer lays them out: unaligned, padding after the authenticator.
UNALIGNED = [
    "3b03 05000000 03e8 8000 0e10" + ALTERNATE + "0100",
    "3b02 05000000 03e8 8000 0e10 0404 04d2 162e 0104 00000000",
    "3b03 05000000 03e8 8000 0e10" + CODE + "0104 00000000",
    "3b06 05000000 03e8 8000 0e10" + ALTERNATE + "0404 04d2 162e" + CODE + "0104 00000000",
    "3b03 06000000 0000 03e8 0e10 0202 0708" + CODE + "0000",
    "3b01 05000000 03e8 8000 0e10 00000000",
    "3b01 06000000 0000 03e8 0e10 0202 0708",
]


@pytest.mark.parametrize("octets", UNALIGNED)
def test_unaligned(octets: str) -> None:
    wire = bytes.fromhex(octets)
    message = mh.parse(wire)
    assert mh.build(message) == wire
    again = mh.build(message, HOME, AGENT)
    assert mh.checksum_correct(HOME, AGENT, again)
    assert mh.parse(again) == message
    if opt.find(message.options, opt.BindingAuthorizationData):
        assert not authorized(wire, bytes(20), CARE_OF, AGENT)


def test_update_as_umip_lays_it_out() -> None:
    """PadN(2), Alternate Care-of Address, PadN(4), Mobile Network Prefix, under HAO."""
    payload = bytes.fromhex(
        "3b06 0500 0000 8a1c c400 000f 0100" + ALTERNATE + "0102 0000"
        "0612 0040 20010db8010000010000000000000000"
    )
    payload = mh.build(mh.parse(payload), HOME, AGENT)
    packet = ipv6(CARE_OF, AGENT, extension.build_home_address(HOME, 135) + payload, 60)
    form = extension.home_form(packet)
    assert (form.source, form.destination) == (HOME, AGENT)
    assert mh.checksum_correct(form.source, form.destination, form.payload)
    message = mh.parse(form.payload)
    assert type(message.options) is tuple
    assert mh.build(message, HOME, AGENT) == form.payload


#: Cut short, Payload Proto wrong: the shapes of the fuzzers' finds in tcpdump.
DAMAGED = [
    "0213 0500 8000 0074 8057 0f80 0002 0004",
    "020f 0500 9000 0074 8057 0f00 0202 0202",
    "06ec 0001 068e 15fe 0600 0400 14",
    "0213 04f7 8000 0074 8057 0f80 0000 0004",
    "020f 0500 9000 9b9d 073e ff53 0300 1000",
    "020f 0500 8000 0074 8057 0f00 0000 3c13 1004 0000 0000 00cc 0100",
]


@pytest.mark.parametrize("octets", DAMAGED)
def test_damaged(octets: str) -> None:
    wire = bytes.fromhex(octets.replace("06ec 0001", "06ec 0000"))
    with pytest.raises(ParameterProblem) as caught:
        mh.parse(wire)
    assert (caught.value.code, caught.value.pointer) == (0, 0)
    with pytest.raises(Malformed):
        mh.parse(b"\x3b" + wire[1:])
    with pytest.raises(Malformed):
        mh.parse(wire[:7])
