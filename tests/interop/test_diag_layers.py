# SPDX-License-Identifier: GPL-2.0-only
"""scapy with our layers reads the options that it lacks, as our builders write them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from dsmip.packet import mobility as mh
from dsmip.packet.flows import FlowIdentification, IPv4Selector
from dsmip.packet.options import (
    BindingIdentifier,
    IPv4AddressAcknowledgement,
    IPv4CareOfAddress,
    IPv4HomeAddress,
    NatDetection,
    Option,
)
from dsmip_diag import layers
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import MIP6MH_BU, IPv6, Pad1, PadN

HOA, HA = IPv6Address("2001:db8:1::100"), IPv6Address("2001:db8:1::1")
FOUR = IPv4Address("192.0.2.7")

CASES = [
    (
        IPv4HomeAddress(FOUR, 28, True),
        layers.MIP6OptIPv4HomeAddress(plen=28, p=1, addr=str(FOUR)),
    ),
    (
        IPv4AddressAcknowledgement(130, 28, FOUR),
        layers.MIP6OptIPv4AddressAck(status=130, plen=28, addr=str(FOUR)),
    ),
    (NatDetection(True, 110), layers.MIP6OptNATDetection(f=1, refresh=110)),
    (IPv4CareOfAddress(FOUR), layers.MIP6OptIPv4CareOfAddress(addr=str(FOUR))),
    (
        BindingIdentifier(7, 0, True, 20),
        layers.MIP6OptBindingIdentifier(bid=7, h=1, priority=20),
    ),
    (
        BindingIdentifier(8, address=FOUR),
        layers.MIP6OptBindingIdentifier(olen=8, bid=8, coa4=str(FOUR)),
    ),
    (
        BindingIdentifier(9, address=HOA),
        layers.MIP6OptBindingIdentifier(olen=20, bid=9, coa6=str(HOA)),
    ),
    (
        FlowIdentification(3, 10, 0, None, (7, 8)),
        layers.MIP6OptFlowIdentification(
            fid=3, priority=10, sub=[layers.FlowSubOption(type=2, value=b"\0\x07\0\x08")]
        ),
    ),
]


@pytest.fixture(autouse=True)
def _loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave scapy as it was: other tests are about what it lacks."""
    from scapy.layers import inet6

    monkeypatch.setattr(inet6, "moboptcls", dict(inet6.moboptcls))
    monkeypatch.setattr(UDP, "payload_guess", list(UDP.payload_guess))
    layers.load()


@pytest.mark.parametrize(("ours", "theirs"), CASES, ids=lambda x: type(x).__name__)
def test_option_is_read_and_written_alike(ours: Option, theirs: object) -> None:
    wire = mh.build(mh.BindingUpdate(1, 30, home=True, options=(ours,)), HOA, HA)
    packet = IPv6(bytes(IPv6(src=str(HOA), dst=str(HA), nh=135)) [:4] + len(wire).to_bytes(2, "big")
                  + bytes((135, 64)) + HOA.packed + HA.packed + wire)  # fmt: skip
    read = [one for one in packet[MIP6MH_BU].options if not isinstance(one, Pad1 | PadN)]
    assert len(read) == 1
    assert type(read[0]) is type(theirs)
    assert bytes(read[0]) == bytes(theirs)  # type: ignore[call-overload]


def test_traffic_selector_is_a_sub_option() -> None:
    flow = FlowIdentification(3, 10, 0, IPv4Selector(destination_port_start=5060), (7,))
    wire = mh.build(mh.BindingUpdate(1, 30, options=(flow,)), HOA, HA)
    (read,) = [o for o in MIP6MH_BU(wire).options if not isinstance(o, Pad1 | PadN)]
    assert [(sub.type, len(sub.value)) for sub in read.sub if sub.type > 1] == [(3, 8), (2, 2)]


@pytest.mark.parametrize("inner", [IPv6(dst=str(HA)), IP(dst="192.0.2.1")])
def test_tunnel_is_read_by_its_first_nibble(inner: object) -> None:
    for ports in ({"sport": 4191, "dport": 20001}, {"sport": 20001, "dport": 4191}):
        packet = IP(bytes(IP(dst="198.51.100.1") / UDP(**ports) / inner))
        assert packet.haslayer(layers.Tunnel)
        assert packet[layers.Tunnel].payload.dst == inner.dst  # type: ignore[attr-defined]
