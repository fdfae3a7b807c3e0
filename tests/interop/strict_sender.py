# SPDX-License-Identifier: GPL-2.0-only
"""Mobile IPv6 packets made by scapy from the diagrams of RFC 6275; nothing of dsmip.

Packets are as the wire has them. Checksums, lengths and padding are scapy's;
authenticators are computed here as RFC 6275 section 6.2.7 has them.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from ipaddress import IPv6Address

from scapy.fields import ByteField, IPField, ShortField
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    HAO,
    MIP6MH_BA,
    MIP6MH_BE,
    MIP6MH_BRR,
    MIP6MH_BU,
    ICMPv6HAADReply,
    ICMPv6HAADRequest,
    ICMPv6MPAdv,
    ICMPv6MPSol,
    ICMPv6NDOptPrefixInfo,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrRouting,
    MIP6MH_CoT,
    MIP6MH_CoTI,
    MIP6MH_Generic,
    MIP6MH_HoT,
    MIP6MH_HoTI,
    MIP6OptAltCoA,
    MIP6OptBindingAuthData,
    MIP6OptBRAdvice,
    MIP6OptMobNetPrefix,
    MIP6OptNonceIndices,
    MIP6OptUnknown,
    _MIP6OptAlign,
)
from scapy.packet import Packet

DSMIP_PORT = 4191


class IPv4CareOfAddress(_MIP6OptAlign):  # type: ignore[misc]
    """RFC 5555 section 3.1.2, which scapy does not have."""

    fields_desc = (
        ByteField("otype", 32),
        ByteField("olen", 6),
        ShortField("reserved", 0),
        IPField("address", "0.0.0.0"),
    )
    x, y = 4, 0


# --- headers -----------------------------------------------------------------------------


def away(care_of: str, peer: str, home: str, message: Packet) -> Packet:
    """Return a packet with the Home Address option (section 6.3)."""
    options = IPv6ExtHdrDestOpt(options=[HAO(hoa=home)])
    return IPv6(src=care_of, dst=peer) / options / message


def towards(peer: str, care_of: str, home: str, message: Packet) -> Packet:
    """Return a packet with the type 2 routing header (section 6.4)."""
    header = IPv6ExtHdrRouting(type=2, addresses=[home], segleft=1)
    return IPv6(src=peer, dst=care_of) / header / message


def straight(source: str, destination: str, message: Packet) -> Packet:
    """Return a packet with neither."""
    return IPv6(src=source, dst=destination) / message


def in_udp(source: str, destination: str, inner: Packet, port: int = DSMIP_PORT) -> Packet:
    """Return a packet in IPv4 and UDP (RFC 5555 section 4.1)."""
    outer = IP(src=source, dst=destination) / UDP(sport=port, dport=DSMIP_PORT, chksum=0)
    return outer / inner


# --- messages ----------------------------------------------------------------------------


def home_update(
    sequence: int,
    care_of: str | None,
    *,
    flags: str = "AH",
    lifetime: int = 30,
    prefixes: Sequence[tuple[str, int]] = (),
    more: Sequence[Packet] = (),
    **fields: int,
) -> Packet:
    """Return a home registration (section 6.1.7); lifetime in units of 4 s."""
    options: list[Packet] = [] if care_of is None else [MIP6OptAltCoA(acoa=care_of)]
    options += [MIP6OptMobNetPrefix(prefix=prefix, plen=length) for prefix, length in prefixes]
    return MIP6MH_BU(
        seq=sequence, flags=flags, mhtime=lifetime, options=[*options, *more], **fields
    )


def home_test_init(cookie: bytes) -> Packet:
    """Return a Home Test Init (section 6.1.3)."""
    return MIP6MH_HoTI(cookie=cookie)


def care_of_test_init(cookie: bytes) -> Packet:
    """Return a Care-of Test Init (section 6.1.4)."""
    return MIP6MH_CoTI(cookie=cookie)


def home_test(index: int, cookie: bytes, token: bytes) -> Packet:
    """Return a Home Test (section 6.1.5)."""
    return MIP6MH_HoT(index=index, cookie=cookie, token=token)


def care_of_test(index: int, cookie: bytes, token: bytes) -> Packet:
    """Return a Care-of Test (section 6.1.6)."""
    return MIP6MH_CoT(index=index, cookie=cookie, token=token)


def acknowledgement(
    status: int, sequence: int, lifetime: int, *, flags: str = "", more: Sequence[Packet] = ()
) -> Packet:
    """Return a Binding Acknowledgement (section 6.1.8)."""
    return MIP6MH_BA(
        status=status, seq=sequence, mhtime=lifetime, flags=flags, options=list(more), res2=0
    )


def refresh_request() -> Packet:
    """Return a Binding Refresh Request (section 6.1.2)."""
    return MIP6MH_BRR()


def binding_error(status: int, home: str) -> Packet:
    """Return a Binding Error (section 6.1.9)."""
    return MIP6MH_BE(status=status, ha=home)


def unknown(kind: int, data: bytes = b"\0\0") -> Packet:
    """Return a mobility header of a type that nobody knows."""
    return MIP6MH_Generic(mhtype=kind, msg=data, res=0)


def address_request(identifier: int, router: int = 0) -> Packet:
    """Return a Home Agent Address Discovery Request (section 6.5); R as RFC 3963 has it."""
    return ICMPv6HAADRequest(id=identifier, R=router)


def address_reply(identifier: int, addresses: Sequence[str]) -> Packet:
    """Return a Home Agent Address Discovery Reply (section 6.6)."""
    return ICMPv6HAADReply(id=identifier, R=0, addresses=list(addresses))


def prefix_solicitation(identifier: int) -> Packet:
    """Return a Mobile Prefix Solicitation (section 6.7)."""
    return ICMPv6MPSol(id=identifier)


def prefix_advertisement(identifier: int, prefix: str, valid: int, preferred: int) -> Packet:
    """Return a Mobile Prefix Advertisement (section 6.8)."""
    option = ICMPv6NDOptPrefixInfo(
        prefix=prefix, validlifetime=valid, preferredlifetime=preferred, R=1
    )
    return ICMPv6MPAdv(id=identifier, flags=0) / option


def care_of4(address: str) -> Packet:
    """Return an IPv4 Care-of Address option."""
    return IPv4CareOfAddress(address=address)


def padding(size: int) -> Packet:
    """Return PadN with so many octets of data."""
    return MIP6OptUnknown(otype=1, odata=bytes(size))


def refresh_advice(interval: int) -> Packet:
    """Return a Binding Refresh Advice in units of 4 s."""
    return MIP6OptBRAdvice(rinter=interval)


def strange_option(kind: int, size: int) -> Packet:
    """Return an option that nobody knows."""
    return MIP6OptUnknown(otype=kind, odata=bytes(size))


# --- return routability --------------------------------------------------------------------


def management_key(home_token: bytes, care_of_token: bytes = b"") -> bytes:
    """Return Kbm (section 5.2.5); without a care-of token that of a deletion."""
    return hashlib.sha1(home_token + care_of_token).digest()


def authenticator(key: bytes, care_of: str, correspondent: str, header: bytes) -> bytes:
    """Return what section 6.2.7 has, of a header that ends with a place for it."""
    covered = IPv6Address(care_of).packed + IPv6Address(correspondent).packed
    covered += header[:4] + b"\0\0" + header[6:-12]
    return hmac.new(key, covered, hashlib.sha1).digest()[:12]


def correspondent_update(
    sequence: int,
    key: bytes,
    care_of: str,
    correspondent: str,
    *,
    home_index: int,
    care_of_index: int,
    flags: str = "A",
    lifetime: int = 105,
    alternate: str | None = None,
) -> Packet:
    """Return an update for a correspondent (section 11.7.2), authorized for ``care_of``."""
    options: list[Packet] = [] if alternate is None else [MIP6OptAltCoA(acoa=alternate)]
    options.append(MIP6OptNonceIndices(olen=4, hni=home_index, coni=care_of_index))

    def made(sign: bytes) -> Packet:
        place = MIP6OptBindingAuthData(olen=12, authenticator=int.from_bytes(sign, "big"))
        return MIP6MH_BU(seq=sequence, flags=flags, mhtime=lifetime, options=[*options, place])

    octets = bytes(straight(care_of, correspondent, made(bytes(12))))[40:]
    return made(authenticator(key, care_of, correspondent, octets))


def correspondent_acknowledgement(
    status: int,
    sequence: int,
    lifetime: int,
    key: bytes,
    care_of: str,
    correspondent: str,
    more: Sequence[Packet] = (),
) -> Packet:
    """Return the answer to an update (section 9.5.4), authorized for ``care_of``."""

    def made(sign: bytes) -> Packet:
        place = MIP6OptBindingAuthData(olen=12, authenticator=int.from_bytes(sign, "big"))
        return acknowledgement(status, sequence, lifetime, more=[*more, place])

    octets = bytes(straight(correspondent, care_of, made(bytes(12))))[40:]
    return made(authenticator(key, care_of, correspondent, octets))


def authorized(key: bytes, care_of: str, correspondent: str, header: bytes) -> bool:
    """Tell whether a header ends with the authenticator that it must have."""
    return header[-12:] == authenticator(key, care_of, correspondent, header)
