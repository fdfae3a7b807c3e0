# SPDX-License-Identifier: GPL-2.0-only
"""The configuration of DNS updates at a home agent (RFC 5026 section 6)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from ipaddress import IPv6Address

from ..packet.dns import PORT
from ..packet.dns_update import ALGORITHMS, Key
from ..packet.kernel import Address
from . import options as o
from .bootstrap_config import domain_name, server
from .options import Refused, Section

_SECRET_LEAST, _SECRET_MOST = 16, 512
_TTL_MOST = 86400


@dataclass(frozen=True, slots=True)
class DnsSection:
    """The primary name server of ``zone``, and the key that it shares with this host.

    ``reverse_zone`` "" leaves the addresses' own names alone.
    """

    server: Address
    zone: str
    key: Key
    port: int = PORT
    ttl: int = 60
    reverse_zone: str = ""


def _secret(value: object) -> bytes:
    """Read what ``tsig-keygen`` prints."""
    if isinstance(value, str):
        try:
            found = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            found = b""
        if _SECRET_LEAST <= len(found) <= _SECRET_MOST:
            return found
    raise Refused(f"{_SECRET_LEAST} to {_SECRET_MOST} octets in base64, as of tsig-keygen")


def _key_name(value: object) -> str:
    """Read the name of a key: a domain name, of one label as well."""
    return domain_name(f"{value}.x" if isinstance(value, str) else value).removesuffix(".x")


def read_dns(section: Section | None) -> DnsSection | None:
    """Read ``[home_agent.dns_update]``."""
    if section is None:
        return None
    nowhere: Address = IPv6Address(0)
    found = DnsSection(
        server=section.need("server", server, nowhere),
        zone=section.need("zone", domain_name, "?"),
        key=Key(
            name=section.need("key_name", _key_name, "?"),
            secret=section.need("secret", _secret, b""),
            algorithm=section.get("algorithm", o.choice(*ALGORITHMS), "hmac-sha256"),
        ),
        port=section.get("port", o.integer(1, 65535), PORT),
        ttl=section.get("ttl", o.integer(1, _TTL_MOST), 60),
        reverse_zone=section.get("reverse_zone", domain_name, ""),
    )
    if found.reverse_zone and not found.reverse_zone.endswith("ip6.arpa"):
        section.fault("reverse_zone", "allowed is a zone below ip6.arpa")
    section.finish()
    return found


def read_names(entry: Section) -> tuple[str, ...] | None:
    """Read the names that a router may have; None when nothing is said."""
    nobody: tuple[str, ...] = ()
    found = entry.get("dns_names", o.several(domain_name), nobody)
    return found if "dns_names" in entry else None
