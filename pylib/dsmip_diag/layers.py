# SPDX-License-Identifier: GPL-2.0-only
"""For scapy: mobility options that it lacks, and what RFC 5555 puts into UDP 4191.

    from dsmip_diag import layers; layers.load()

Nothing else of dsmip loads scapy: it takes 80 MB.
"""

from __future__ import annotations

from typing import Any, ClassVar

from scapy.fields import (
    BitField,
    ByteField,
    ConditionalField,
    FieldLenField,
    IntField,
    IPField,
    PacketListField,
    ShortField,
    StrLenField,
    XByteField,
)
from scapy.layers import inet6
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IP6Field, IPv6, _MIP6OptAlign
from scapy.packet import Packet, Raw, bind_layers

PORT = 4191


class MIP6OptIPv4HomeAddress(_MIP6OptAlign):  # type: ignore[misc]
    """RFC 5555 section 3.1.1."""

    name = "MIPv6 Option - IPv4 Home Address"
    fields_desc: ClassVar = [
        ByteField("otype", 29),
        ByteField("olen", 6),
        BitField("plen", 32, 6),
        BitField("p", 0, 1),
        BitField("reserved", 0, 9),
        IPField("addr", "0.0.0.0"),
    ]
    x, y = 4, 0


class MIP6OptIPv4AddressAck(_MIP6OptAlign):  # type: ignore[misc]
    """RFC 5555 section 3.2.1."""

    name = "MIPv6 Option - IPv4 Address Acknowledgement"
    fields_desc: ClassVar = [
        ByteField("otype", 30),
        ByteField("olen", 6),
        ByteField("status", 0),
        BitField("plen", 32, 6),
        BitField("reserved", 0, 2),
        IPField("addr", "0.0.0.0"),
    ]
    x, y = 4, 0


class MIP6OptNATDetection(_MIP6OptAlign):  # type: ignore[misc]
    """RFC 5555 section 3.2.2."""

    name = "MIPv6 Option - NAT Detection"
    fields_desc: ClassVar = [
        ByteField("otype", 31),
        ByteField("olen", 6),
        BitField("f", 0, 1),
        BitField("reserved", 0, 15),
        IntField("refresh", 0),
    ]
    x, y = 4, 0


class MIP6OptIPv4CareOfAddress(_MIP6OptAlign):  # type: ignore[misc]
    """RFC 5555 section 3.1.2."""

    name = "MIPv6 Option - IPv4 Care-of Address"
    fields_desc: ClassVar = [
        ByteField("otype", 32),
        ByteField("olen", 6),
        ShortField("reserved", 0),
        IPField("addr", "0.0.0.0"),
    ]
    x, y = 4, 0


class MIP6OptBindingIdentifier(_MIP6OptAlign):  # type: ignore[misc]
    """RFC 5648 section 4.1, with the priority of RFC 6089 section 4.1."""

    name = "MIPv6 Option - Binding Identifier"
    fields_desc: ClassVar = [
        ByteField("otype", 35),
        ByteField("olen", 4),
        ShortField("bid", 0),
        ByteField("status", 0),
        BitField("h", 0, 1),
        BitField("priority", 0, 7),
        ConditionalField(IPField("coa4", "0.0.0.0"), lambda packet: packet.olen == 8),
        ConditionalField(IP6Field("coa6", "::"), lambda packet: packet.olen == 20),
    ]
    x, y = 2, 0


class FlowSubOption(Packet):  # type: ignore[misc]
    """A sub-option of a flow: 0 and 1 pad, 2 binding reference, 3 traffic selector."""

    name = "Flow sub-option"
    fields_desc: ClassVar = [
        XByteField("type", 2),
        ConditionalField(
            FieldLenField("len", None, length_of="value", fmt="B"), lambda packet: packet.type
        ),
        ConditionalField(
            StrLenField("value", b"", length_from=lambda packet: packet.len),
            lambda packet: packet.type,
        ),
    ]

    def extract_padding(self, data: bytes) -> tuple[bytes, bytes]:
        """What follows is the next one."""
        return b"", data


class MIP6OptFlowIdentification(_MIP6OptAlign):  # type: ignore[misc]
    """RFC 6089 section 4.2."""

    name = "MIPv6 Option - Flow Identification"
    fields_desc: ClassVar = [
        ByteField("otype", 45),
        FieldLenField("olen", None, length_of="sub", fmt="B", adjust=lambda _, size: size + 6),
        ShortField("fid", 0),
        ShortField("priority", 0),
        ByteField("reserved", 0),
        ByteField("status", 0),
        PacketListField("sub", [], FlowSubOption, length_from=lambda packet: packet.olen - 6),
    ]
    x, y = 2, 0


OPTIONS = {
    29: MIP6OptIPv4HomeAddress,
    30: MIP6OptIPv4AddressAck,
    31: MIP6OptNATDetection,
    32: MIP6OptIPv4CareOfAddress,
    35: MIP6OptBindingIdentifier,
    45: MIP6OptFlowIdentification,
}


class Tunnel(Packet):  # type: ignore[misc]
    """What follows UDP port 4191: an inner packet, told by its first nibble (RFC 5555 4.1)."""

    name = "DSMIPv6 tunnel"

    def guess_payload_class(self, payload: bytes) -> type[Any]:
        """Return the class of what is inside."""
        found: type[Any] = {6: IPv6, 4: IP}.get(payload[0] >> 4 if payload else 0, Raw)
        return found


def load() -> None:
    """Have scapy know them. Once is enough, again does nothing."""
    inet6.moboptcls.update(OPTIONS)
    bind_layers(UDP, Tunnel, dport=PORT)
    bind_layers(UDP, Tunnel, sport=PORT)
