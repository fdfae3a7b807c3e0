# SPDX-License-Identifier: GPL-2.0-only
"""A strict reader of Mobile IPv6 packets, made from the diagrams of RFC 6275 alone.

Nothing of dsmip is imported here: what this reader says of a packet is a second
opinion. It takes a packet as it is on the wire and tells what it holds and each
rule of RFC 6275 that it breaks: lengths, padding, alignment, reserved bits,
checksums over home-form addresses, the order of extension headers, and which
options and headers a message must and must not have. Additions to the
two registration messages by RFC 3963, RFC 5555 and RFC 5648 are known; all others
are faults.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network

from scapy.layers.inet import IP, UDP
from scapy.layers.ipsec import ESP, SecurityAssociation

HOP_BY_HOP, ROUTING, FRAGMENT, AH, OPTIONS, NONE = 0, 43, 44, 51, 60, 59
ESP_HEADER, MOBILITY, ICMP6, IN_IPV6 = 50, 135, 58, 41
#: Section 6.3, and RFC 4861 section 4.6.2.
HOME_ADDRESS, PREFIX_INFORMATION = 0xC9, 3
EXTENSIONS = {
    HOP_BY_HOP: "hop-by-hop",
    ROUTING: "routing",
    FRAGMENT: "fragment",
    AH: "AH",
    ESP_HEADER: "ESP",
    OPTIONS: "options",
}
#: RFC 8200 section 4.1 with RFC 6275 section 6.3: options before and after a routing
#: header, then fragment, AH, ESP.
ORDER = ("hop-by-hop", "options", "routing", "options", "fragment", "AH", "ESP")
DSMIP_PORT = 4191
#: RFC 2526 with 64-bit interface identifiers, identifier 126.
ANYCAST_SUFFIX = 0xFDFF_FFFF_FFFF_FFFE


@dataclass(frozen=True)
class Layout:
    """A message's diagram after the checksum: (name, octets), reserved ones without a name."""

    name: str
    fields: tuple[tuple[str, int], ...]


#: Sections 6.1.2 to 6.1.9.
MESSAGES = {
    0: Layout("BRR", (("", 2),)),
    1: Layout("HoTI", (("", 2), ("cookie", 8))),
    2: Layout("CoTI", (("", 2), ("cookie", 8))),
    3: Layout("HoT", (("index", 2), ("cookie", 8), ("token", 8))),
    4: Layout("CoT", (("index", 2), ("cookie", 8), ("token", 8))),
    5: Layout("BU", (("sequence", 2), ("flags", 2), ("lifetime", 2))),
    6: Layout("BA", (("status", 1), ("flags", 1), ("sequence", 2), ("lifetime", 2))),
    7: Layout("BE", (("status", 1), ("", 1), ("home_address", 16))),
}
A, H, L, K, R, F, OVERWRITE = 0x8000, 0x4000, 0x2000, 0x1000, 0x0400, 0x0100, 0x0040
BA_K, BA_R = 0x80, 0x40


@dataclass(frozen=True)
class OptionLayout:
    """An option's length, alignment (x, y) of xn+y, and messages that may have it.

    A length of 0 stands for one of several.
    """

    name: str
    length: int
    align: tuple[int, int]
    messages: frozenset[str]


_BU, _BA = frozenset({"BU"}), frozenset({"BA"})
REFRESH, ALTERNATE, NONCES, AUTHORIZATION, PREFIX = 2, 3, 4, 5, 6
HOME4, ANSWER4, NAT, CARE_OF4, IDENTIFIER = 29, 30, 31, 32, 35
#: Sections 6.2.4 to 6.2.7; RFC 3963 section 4.3; RFC 5555 sections 3.1 and 3.2; RFC 5648
#: section 4.1.
MOBILITY_OPTIONS = {
    REFRESH: OptionLayout("Binding Refresh Advice", 2, (2, 0), _BA),
    ALTERNATE: OptionLayout("Alternate Care-of Address", 16, (8, 6), _BU),
    NONCES: OptionLayout("Nonce Indices", 4, (2, 0), _BU),
    AUTHORIZATION: OptionLayout("Binding Authorization Data", 12, (8, 2), _BU | _BA),
    PREFIX: OptionLayout("Mobile Network Prefix", 18, (8, 4), _BU),
    HOME4: OptionLayout("IPv4 Home Address", 6, (4, 0), _BU),
    ANSWER4: OptionLayout("IPv4 Address Acknowledgement", 6, (4, 0), _BA),
    NAT: OptionLayout("NAT Detection", 6, (4, 0), _BA),
    CARE_OF4: OptionLayout("IPv4 Care-of Address", 6, (4, 0), _BU),
    IDENTIFIER: OptionLayout("Binding Identifier", 0, (2, 0), _BU | _BA | frozenset({"BRR"})),
}
#: Sections 6.5 to 6.8, after the checksum; R of RFC 3963 in the first two.
ICMP_MESSAGES = {
    144: Layout("HAAD request", (("identifier", 2), ("flags", 2))),
    145: Layout("HAAD reply", (("identifier", 2), ("flags", 2))),
    146: Layout("MPS", (("identifier", 2), ("flags", 2))),
    147: Layout("MPA", (("identifier", 2), ("flags", 2))),
}
ICMP_FLAGS = {144: 0x8000, 145: 0x8000, 146: 0, 147: 0xC000}


@dataclass
class Frame:
    """A packet as read; ``faults`` has one sentence for each broken rule.

    ``source`` and ``destination`` are in home form, ``home`` and ``routing`` the
    addresses in the Home Address option and the type 2 routing header. ``outer``
    is the IPv4 source, UDP port first, of a packet that came in UDP. ``message``
    are the octets of the mobility header or ICMPv6 message.
    """

    wire_source: str = "::"
    wire_destination: str = "::"
    home: str | None = None
    routing: str | None = None
    outer: tuple[int, str] | None = None
    tunnelled: bool = False
    tunnel_source: str = "::"
    headers: list[str] = field(default_factory=list)
    name: str = ""
    message: bytes = b""
    fields: dict[str, int] = field(default_factory=dict)
    options: list[tuple[int, bytes]] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def source(self) -> str:
        return self.home or self.wire_source

    @property
    def destination(self) -> str:
        return self.routing or self.wire_destination

    @property
    def protected(self) -> bool:
        return "ESP" in self.headers

    def option(self, kind: int) -> bytes | None:
        """Return an option's data, None without it."""
        return next((data for number, data in self.options if number == kind), None)

    def expect(self, rule: bool, fault: str) -> None:
        """Note a fault unless the rule is kept."""
        if not rule:
            self.faults.append(fault)


class NotMobility(ValueError):
    """No packet that RFC 6275 is about, or none that can be read on."""


def read(packet: bytes, keys: Iterable[SecurityAssociation] = ()) -> Frame:
    """Read a packet; ``keys`` open its ESP.

    Raises NotMobility for packets that carry no message of RFC 6275.
    """
    frame = Frame()
    if packet[:1] and packet[0] >> 4 == 4:
        packet = _out_of_udp(frame, packet)
    by_spi = {key.spi: key for key in keys}
    protocol, octets = _ipv6(frame, packet, by_spi)
    while protocol == IN_IPV6:
        frame.tunnelled = True
        frame.tunnel_source, frame.home, frame.routing = frame.wire_source, None, None
        outer, frame.headers = frame.headers, []
        frame.expect(set(outer) <= {"ESP"}, f"{outer} before an inner packet")
        protocol, octets = _ipv6(frame, octets, by_spi)
    if protocol == MOBILITY:
        _mobility(frame, octets)
    elif protocol == ICMP6 and octets[:1] and octets[0] in ICMP_MESSAGES:
        _icmp(frame, octets)
    else:
        raise NotMobility(f"protocol {protocol}")
    return frame


def clean(packet: bytes, keys: Iterable[SecurityAssociation] = ()) -> Frame:
    """Read a packet that must be without fault."""
    frame = read(packet, keys)
    assert frame.faults == [], f"{frame.name}: {frame.faults}\n{packet.hex()}"
    return frame


# --- headers -----------------------------------------------------------------------------


def _out_of_udp(frame: Frame, packet: bytes) -> bytes:
    """RFC 5555 section 4.1: an IP header follows UDP at once."""
    outer = IP(packet)
    if UDP not in outer or DSMIP_PORT not in (outer[UDP].sport, outer[UDP].dport):
        raise NotMobility("IPv4, and not UDP on port 4191")
    inner = packet[outer.ihl * 4 + 8 :]
    frame.outer = (outer[UDP].sport, outer.src)
    frame.expect(outer[UDP].len == 8 + len(inner), "UDP length")
    return inner


def _ipv6(frame: Frame, packet: bytes, keys: dict[int, SecurityAssociation]) -> tuple[int, bytes]:
    """Take an IPv6 header and its extension headers; return what follows them."""
    if len(packet) < 40 or packet[0] >> 4 != 6:
        raise NotMobility("no IPv6 packet")
    frame.wire_source = str(IPv6Address(packet[8:24]))
    frame.wire_destination = str(IPv6Address(packet[24:40]))
    frame.expect(int.from_bytes(packet[4:6], "big") == len(packet) - 40, "payload length")
    source = IPv6Address(packet[8:24])
    frame.expect(not source.is_multicast and int(source) != 0, "the source is not unicast")
    protocol, octets = packet[6], packet[40:]
    while protocol in EXTENSIONS:
        frame.headers.append(EXTENSIONS[protocol])
        if protocol == ESP_HEADER:
            protocol, octets = _esp(frame, octets, keys)
            continue
        size = 8 if protocol == FRAGMENT else 8 + octets[1] * 8
        header = octets[:size]
        if len(header) < size:
            raise NotMobility("an extension header runs over the end")
        if protocol in (OPTIONS, HOP_BY_HOP):
            _destination_options(frame, header)
        elif protocol == ROUTING:
            _routing_header(frame, header)
        protocol, octets = octets[0], octets[size:]
    order = iter(ORDER)
    frame.expect(all(name in order for name in frame.headers), f"order: {frame.headers}")
    if frame.home and "routing" in frame.headers:
        after = frame.headers.index("routing") < frame.headers.index("options")
        frame.expect(after, "the Home Address option stands before the routing header")
    return protocol, octets


def _esp(frame: Frame, octets: bytes, keys: dict[int, SecurityAssociation]) -> tuple[int, bytes]:
    """Open ESP (RFC 4303); scapy raises for a bad integrity check value."""
    sealed = ESP(octets)
    key = keys.get(sealed.spi)
    if key is None:
        raise NotMobility(f"no key for SPI {sealed.spi:#x}")
    key.auth_algo.verify(sealed, key.auth_key)
    plain = key.crypt_algo.decrypt(key, sealed, key.crypt_key, key.auth_algo.icv_size)
    counting = bytes(range(1, len(plain.padding) + 1))
    frame.expect(plain.padding == counting, "ESP padding does not count up")
    return plain.nh, bytes(plain.data)


def _destination_options(frame: Frame, header: bytes) -> None:
    for kind, at, data in _options(frame, header, 2, "destination option"):
        if kind != HOME_ADDRESS:
            frame.expect(False, f"destination option {kind:#x}")
            continue
        frame.expect(frame.home is None, "two Home Address options")
        frame.expect(at % 8 == 6, f"Home Address option at {at}, not 8n+6")
        frame.expect(len(data) == 16, "Home Address option is not of 16 octets")
        if len(data) == 16:
            frame.home = str(IPv6Address(data))
            frame.expect(_routable(data), "the home address is not unicast routable")


def _routing_header(frame: Frame, header: bytes) -> None:
    """Section 6.4.1."""
    frame.expect(header[2] == 2, f"routing header of type {header[2]}")
    frame.expect(header[1] == 2, f"Hdr Ext Len {header[1]} of a type 2 routing header")
    frame.expect(header[3] == 1, f"{header[3]} segments left")
    frame.expect(header[4:8] == bytes(4), "reserved octets of the routing header")
    frame.expect(frame.routing is None, "two routing headers")
    if len(header) == 24:
        frame.routing = str(IPv6Address(header[8:24]))
        frame.expect(_routable(header[8:24]), "the home address is not unicast routable")


def _options(frame: Frame, octets: bytes, at: int, what: str) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, offset and data of each option; padding is judged here."""
    padding = 0
    while at < len(octets):
        kind = octets[at]
        if kind == 0:
            at, padding = at + 1, padding + 1
            continue
        size = 2 + octets[at + 1] if at + 1 < len(octets) else 2
        data = octets[at + 2 : at + size]
        if at + size > len(octets):
            frame.expect(False, f"{what} {kind} runs over the end")
            return
        if kind == 1:
            padding += size
            frame.expect(data == bytes(len(data)), "PadN is not zero")
        else:
            frame.expect(padding < 8, f"{padding} octets of padding at once")
            padding = 0
            yield kind, at, data
        at += size
    frame.expect(padding < 8, f"{padding} octets of padding at once")


def _routable(octets: bytes) -> bool:
    address = IPv6Address(octets)
    bad = address.is_multicast or address.is_link_local or address.is_loopback
    return not (bad or address.is_unspecified or address.ipv4_mapped is not None)


def checksum(source: str, destination: str, protocol: int, octets: bytes) -> int:
    """Return the upper-layer checksum (RFC 8200 section 8.1) of octets that include one.

    It is 0 where the one that they include is right.
    """
    pseudo = IPv6Address(source).packed + IPv6Address(destination).packed
    data = pseudo + struct.pack("!II", len(octets), protocol) + octets
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


# --- mobility headers ----------------------------------------------------------------------


def _fields(frame: Frame, layout: Layout, octets: bytes, at: int) -> int:
    for name, size in layout.fields:
        value = int.from_bytes(octets[at : at + size], "big")
        if name:
            frame.fields[name] = value
        else:
            frame.expect(value == 0, f"reserved field of {layout.name}")
        at += size
    return at


def _mobility(frame: Frame, octets: bytes) -> None:
    """Section 6.1.1."""
    frame.message = octets
    if len(octets) < 8:
        raise NotMobility(f"a mobility header of {len(octets)} octets")
    size = (octets[1] + 1) * 8
    frame.expect(size == len(octets), f"Header Len {octets[1]} for {len(octets)} octets")
    frame.expect(octets[0] == NONE, f"Payload Proto {octets[0]}")
    frame.expect(octets[3] == 0, "reserved octet of the mobility header")
    good = checksum(frame.source, frame.destination, MOBILITY, octets) == 0
    frame.expect(good, f"checksum over {frame.source} and {frame.destination}")
    layout = MESSAGES.get(octets[2])
    if layout is None:
        raise NotMobility(f"mobility header type {octets[2]}")
    frame.name = layout.name
    least = 6 + sum(size for _, size in layout.fields)
    if len(octets) < least:
        frame.expect(False, f"{frame.name} of {len(octets)} octets")
        return
    at = _fields(frame, layout, octets, 6)
    seen: list[int] = []
    for kind, offset, data in _options(frame, octets, at, "option"):
        frame.options.append((kind, data))
        known = MOBILITY_OPTIONS.get(kind)
        if known is None:
            frame.expect(False, f"option {kind} in {frame.name}")
            continue
        x, y = known.align
        frame.expect(offset % x == y, f"{known.name} at {offset}, not {x}n+{y}")
        fits = len(data) == known.length or (known.length == 0 and len(data) in (4, 8, 20))
        frame.expect(fits, f"{known.name} of {len(data)} octets")
        if kind == IDENTIFIER and len(data) > 4:
            frame.expect(offset % 8 == 2, f"{known.name} with an address at {offset}, not 8n+2")
        frame.expect(frame.name in known.messages, f"{known.name} in {frame.name}")
        frame.expect(AUTHORIZATION not in seen, f"{known.name} after the authorization data")
        repeated = kind in seen and kind not in (PREFIX, HOME4, ANSWER4, IDENTIFIER)
        frame.expect(not repeated, f"{known.name} twice")
        seen.append(kind)
        _judge_option(frame, kind, data)
    if seen and seen[-1] == AUTHORIZATION:
        ends = octets[-14:-12] == bytes((AUTHORIZATION, 12))
        frame.expect(ends, "padding after the authorization data")
    _HEADERS[frame.name](frame)


def _judge_option(frame: Frame, kind: int, data: bytes) -> None:
    """What an option of the right length may hold."""
    if kind == IDENTIFIER and len(data) in (4, 8, 20):
        frame.expect(data[:2] != b"\0\0", "BID 0")
        frame.expect(frame.name == "BA" or data[2] == 0, "a status outside of an answer")
        # Erratum 1904: addresses are not echoed.
        frame.expect(frame.name == "BU" or len(data) == 4, "an address outside of an update")
        if len(data) == 20:
            frame.expect(_routable(data[4:]), "the care-of address of a BID is not routable")
    if len(data) != MOBILITY_OPTIONS[kind].length:
        return
    if kind == ALTERNATE:
        frame.expect(_routable(data), "the alternate care-of address is not routable")
    elif kind == PREFIX:
        frame.expect(data[0] == 0, "reserved octet of the prefix option")
        frame.expect(0 < data[1] <= 128, f"prefix length {data[1]}")
        network = IPv6Network((data[2:], min(data[1], 128)), strict=False)
        frame.expect(network.network_address.packed == data[2:], "host bits of a prefix")
    elif kind == HOME4:
        word = int.from_bytes(data[:2], "big")
        frame.expect(0 < word >> 10 <= 32, f"IPv4 prefix length {word >> 10}")
        frame.expect(word & 0x1FF == 0, "reserved bits of the IPv4 home address")
    elif kind == ANSWER4:
        frame.expect(data[1] & 3 == 0, "reserved bits of the IPv4 acknowledgement")
        if data[0] >= 128:
            frame.expect(data[1] >> 2 == 0, "a refused IPv4 address has a prefix length")
    elif kind == NAT:
        frame.expect(data[0] & 0x7F == 0 and data[1] == 0, "reserved bits of NAT detection")
    elif kind == CARE_OF4:
        frame.expect(data[:2] == bytes(2), "reserved octets of the IPv4 care-of address")


# --- what each message must have -----------------------------------------------------------


def _bare(frame: Frame) -> None:
    """Section 6.1: neither header is for any but BU and BA."""
    frame.expect(frame.home is None, f"{frame.name} with a Home Address option")
    frame.expect(frame.routing is None, f"{frame.name} with a type 2 routing header")


def _test_init(frame: Frame) -> None:
    _bare(frame)
    frame.expect(frame.name != "CoTI" or not frame.tunnelled, "CoTI in a tunnel")


def _update(frame: Frame) -> None:
    """Sections 6.1.7 and 11.7; RFC 3963 section 5.2; RFC 5555 section 4.4.2."""
    flags, kinds = frame.fields["flags"], [kind for kind, _ in frame.options]
    frame.expect(frame.routing is None, "BU with a type 2 routing header")
    frame.expect(
        flags & ~(A | H | L | K | R | F | OVERWRITE) == 0, f"reserved flags of BU {flags:#06x}"
    )
    several = IDENTIFIER in kinds
    frame.expect(several or not flags & OVERWRITE, "O without a Binding Identifier")
    if flags & H:
        frame.expect(bool(flags & A), "home registration without A")
        for kind in (NONCES, AUTHORIZATION):
            frame.expect(kind not in kinds, f"option {kind} in a home registration")
        if several:
            # RFC 5648 sections 5.2 and 8.1: the care-of address stands in that option.
            for kind in (ALTERNATE, CARE_OF4):
                frame.expect(kind not in kinds, f"option {kind} beside a Binding Identifier")
        elif frame.home:
            frame.expect(ALTERNATE in kinds, "no Alternate Care-of Address from away")
        elif frame.outer:
            frame.expect(CARE_OF4 in kinds, "no IPv4 Care-of Address from IPv4")
        else:
            frame.expect(frame.fields["lifetime"] == 0, "neither Home Address option nor UDP")
    else:
        frame.expect(flags & (L | K | R | F) == 0, "L, K, R or F without H")
        for kind in (NONCES, AUTHORIZATION):
            frame.expect(kind in kinds, f"no option {kind} to a correspondent")
        for kind in (PREFIX, HOME4, CARE_OF4):
            frame.expect(kind not in kinds, f"option {kind} to a correspondent")
        frame.expect(frame.fields["lifetime"] <= 105, "more than MAX_RR_BINDING_LIFETIME")


def _acknowledgement(frame: Frame) -> None:
    """Section 6.1.8."""
    kinds, status = [kind for kind, _ in frame.options], frame.fields["status"]
    frame.expect(frame.home is None, "BA with a Home Address option")
    frame.expect(frame.fields["flags"] & ~(BA_K | BA_R) == 0, "reserved flags of BA")
    if REFRESH in kinds:
        advice = int.from_bytes(frame.option(REFRESH) or b"", "big")
        frame.expect(status < 128, "refresh advice in a refusal")
        frame.expect(AUTHORIZATION not in kinds, "refresh advice of a correspondent")
        less = 0 < advice < frame.fields["lifetime"]
        frame.expect(less, f"refresh advice {advice} of {frame.fields['lifetime']}")
    if frame.outer:
        frame.expect(NAT in kinds or status >= 128, "no NAT Detection in UDP")
    else:
        frame.expect(NAT not in kinds, "NAT Detection over IPv6")
    if status in (136, 137, 138):
        frame.expect(AUTHORIZATION not in kinds, f"authorization data with status {status}")


def _error(frame: Frame) -> None:
    """Section 6.1.9."""
    _bare(frame)
    frame.expect(frame.fields["status"] in (1, 2), f"BE status {frame.fields['status']}")
    frame.expect(not frame.options, "options in BE")
    frame.expect(frame.fields["status"] != 1 or frame.fields["home_address"] > 0, "BE 1 for ::")


_HEADERS: dict[str, Callable[[Frame], None]] = {
    "BRR": _bare,
    "HoTI": _test_init,
    "CoTI": _test_init,
    "HoT": _bare,
    "CoT": _bare,
    "BU": _update,
    "BA": _acknowledgement,
    "BE": _error,
}


# --- ICMPv6 ----------------------------------------------------------------------------------


def _icmp(frame: Frame, octets: bytes) -> None:
    """Sections 6.5 to 6.8."""
    frame.message, layout = octets, ICMP_MESSAGES[octets[0]]
    frame.name = layout.name
    if len(octets) < 8:
        raise NotMobility(f"{layout.name} of {len(octets)} octets")
    good = checksum(frame.source, frame.destination, ICMP6, octets) == 0
    frame.expect(good, f"checksum over {frame.source} and {frame.destination}")
    frame.expect(octets[1] == 0, f"code {octets[1]}")
    _fields(frame, layout, octets, 4)
    reserved = frame.fields["flags"] & ~ICMP_FLAGS[octets[0]]
    frame.expect(reserved == 0, f"reserved bits of {layout.name}")
    anycast = int(IPv6Address(frame.wire_destination)) & (1 << 64) - 1 == ANYCAST_SUFFIX
    rest = octets[8:]
    if layout.name == "HAAD request":
        _bare(frame)
        frame.expect(anycast, "not to the home agents' anycast address")
        frame.expect(not rest, "octets after a HAAD request")
    elif layout.name == "HAAD reply":
        _bare(frame)
        source = int(IPv6Address(frame.wire_source)) & (1 << 64) - 1
        frame.expect(source != ANYCAST_SUFFIX, "a reply from an anycast address")
        frame.expect(len(rest) % 16 == 0 and rest != b"", "no whole home agent address")
        frame.addresses = [str(IPv6Address(rest[i : i + 16])) for i in range(0, len(rest) - 15, 16)]
        frame.expect(len(frame.message) + 40 <= 1280, "more than the least MTU")
        frame.expect(all(_routable(IPv6Address(a).packed) for a in frame.addresses), "unroutable")
    elif layout.name == "MPS":
        frame.expect(frame.home is not None, "MPS without a Home Address option")
        _nd_options(frame, rest, frozenset())
    else:
        frame.expect(frame.routing is not None, "MPA without a type 2 routing header")
        _nd_options(frame, rest, frozenset({PREFIX_INFORMATION}))
        prefixes = [kind for kind, _ in frame.options]
        frame.expect(PREFIX_INFORMATION in prefixes, "MPA without a prefix")


def _nd_options(frame: Frame, octets: bytes, allowed: frozenset[int]) -> None:
    """RFC 4861 section 4.6, and the R bit of section 7.2."""
    at = 0
    while at < len(octets):
        size = octets[at + 1] * 8 if at + 1 < len(octets) else 0
        if size == 0 or at + size > len(octets):
            frame.expect(False, "a neighbour discovery option runs over the end, or is empty")
            return
        kind, data = octets[at], octets[at + 2 : at + size]
        frame.options.append((kind, data))
        frame.expect(kind in allowed, f"neighbour discovery option {kind} in {frame.name}")
        if kind == PREFIX_INFORMATION:
            frame.expect(size == 32, f"prefix information of {size} octets")
            frame.expect(data[1] & 0x1F == 0, "reserved bits of prefix information")
            frame.expect(data[10:14] == bytes(4), "reserved octets of prefix information")
            valid, preferred = struct.unpack_from("!II", data, 2)
            frame.expect(preferred <= valid, "preferred for longer than valid")
        at += size
