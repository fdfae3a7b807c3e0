# SPDX-License-Identifier: GPL-2.0-only
"""Flow Identification and traffic selectors: worked octets and refusals."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from dsmip.packet import options as opt
from dsmip.packet.flows import (
    FlowIdentification,
    IPv4Selector,
    IPv6Selector,
    OtherSelector,
)
from dsmip.packet.mobility import BindingUpdate, build, parse
from hypothesis import given, settings

from tests.fuzz.messages import OPTIONS

NODE = IPv6Address("2001:db8:3::300")
END = IPv6Address("2001:db8:3::3ff")

#: Octets written out from RFC 6089 section 4.2 and RFC 6088 section 3.
WORKED = [
    (FlowIdentification(1, 2), "2d06 0001 0002 00 00"),
    (FlowIdentification(9, 1, status=132), "2d06 0009 0001 00 84"),
    (FlowIdentification(1, 2, references=(3, 4)), "2d0c 0001 0002 00 00 0204 0003 0004"),
    (
        FlowIdentification(1, 2, selector=IPv4Selector(), references=(7,)),
        "2d12 0001 0002 00 00 0306 01 00 00000000 0202 0007",
    ),
    (
        FlowIdentification(
            1,
            2,
            selector=IPv4Selector(
                source_start=IPv4Address("192.0.2.1"),
                destination_port_start=5000,
                destination_port_end=5010,
                protocol_start=17,
            ),
            references=(7,),
        ),
        # Flags A, I, J, M; an odd size, so Pad1 before the binding reference.
        "2d1c 0001 0002 00 00 030f 01 00 80c80000 c0000201 1388 1392 11 00 0202 0007",
    ),
    (
        FlowIdentification(
            5,
            6,
            selector=IPv6Selector(
                source_start=NODE, source_end=END, flow_label_start=0x12345, next_header_start=6
            ),
        ),
        "2d33 0005 0006 00 00 032b 02 00 c2020000"
        + NODE.packed.hex()
        + END.packed.hex()
        + "00012345 06",
    ),
    (
        FlowIdentification(1, 2, selector=OtherSelector(9, b"abc"), references=(1,)),
        "2d12 0001 0002 00 00 0305 09 00 616263 00 0202 0001",
    ),
]


def update(option: opt.Option) -> BindingUpdate:
    return BindingUpdate(1, 10, options=(option,))


def received(octets: str) -> bytes:
    """A Binding Update that carries an option 45 with these octets as its data."""
    return build(update(opt.UnknownOption(45, bytes.fromhex(octets))))


@pytest.mark.parametrize(("flow", "octets"), WORKED, ids=range(len(WORKED)))
def test_worked_octets(flow: FlowIdentification, octets: str) -> None:
    wire = build(update(flow))
    assert bytes.fromhex(octets) in wire
    back = parse(wire)
    assert back.options == (flow,)
    assert build(back) == wire


@settings(max_examples=300)
@given(flow=OPTIONS[FlowIdentification])
def test_selector_is_aligned(flow: FlowIdentification) -> None:
    wire = build(update(flow))
    body = bytes((0, FlowIdentification.TYPE))
    at = next(at for at in range(12, len(wire)) if wire[at] == body[1] and wire[at + 1] >= 6)
    widest = 1
    if isinstance(flow.selector, IPv4Selector | IPv6Selector):
        names = type(flow.selector).__dataclass_fields__
        given_fields = [name for name in names if getattr(flow.selector, name) is not None]
        if any("port" in name for name in given_fields):
            widest = 2
        if any("spi" in name or "label" in name for name in given_fields):
            widest = 4
        if any("source_s" in name or "destination_s" in name for name in given_fields):
            widest = 4 if isinstance(flow.selector, IPv4Selector) else 8
        assert wire[at + 8] == 3
        assert (at + 8) % widest == 0
    assert at % 2 == 0


HEAD = "0001 0002 00 00"


@pytest.mark.parametrize(
    "octets",
    [
        "",
        "0001 0002 00",
        HEAD + "02",
        HEAD + "0200",
        HEAD + "0203 0001 00",
        HEAD + "0204 0001",
        HEAD + "0202 0001 0202 0002",
        HEAD + "0300",
        HEAD + "0301 01",
        HEAD + "0305 01 00 000000",
        HEAD + "0306 01 00 80000000",
        HEAD + "030a 01 00 40000000 c0000201",
        HEAD + "0309 01 00 80000000 c00002",
        HEAD + "0307 01 00 00000000 00",
        HEAD + "0306 01 00 00000000 0306 01 00 00000000",
        HEAD + "0105 0000",
    ],
)
def test_malformed_flows_can_be_answered(octets: str) -> None:
    """RFC 6089 section 5.3.2 wants status 130, so the message itself is not refused."""
    wire = received(octets)
    back = parse(wire)
    assert back.options == (opt.MalformedOption(45, bytes.fromhex(octets)),)
    assert build(back) == wire


@pytest.mark.parametrize(
    "octets",
    [
        HEAD + "00",
        HEAD + "0100 00",
        HEAD + "0104 00000000 0202 0001",
        HEAD + "0202 0001 0306 01 00 00000000",
        HEAD + "7703 aabbcc",
        "0001 0002 ff 00",
        HEAD + "0306 01 ff 00000000",
        HEAD + "0306 01 00 00000001",
        HEAD + "0102 ffff",
    ],
)
def test_what_is_ignored_in_a_flow_is_kept(octets: str) -> None:
    wire = received(octets)
    back = parse(wire)
    (flow,) = back.options
    assert isinstance(flow, FlowIdentification)
    assert (flow.fid, flow.priority) == (1, 2)
    assert build(back) == wire


@pytest.mark.parametrize(
    "flow",
    [
        FlowIdentification(0x10000, 1),
        FlowIdentification(1, 1, selector=IPv4Selector(source_end=IPv4Address(1))),
        FlowIdentification(1, 1, selector=IPv4Selector(protocol_start=256)),
        FlowIdentification(1, 1, selector=IPv6Selector(source_port_start=-1)),
        FlowIdentification(1, 1, references=tuple(range(125))),
        FlowIdentification(1, 1, references=(0x10000,)),
    ],
    ids=range(6),
)
def test_values_of_ours_that_do_not_fit(flow: FlowIdentification) -> None:
    with pytest.raises(ValueError, match=r".+"):
        build(update(flow))
