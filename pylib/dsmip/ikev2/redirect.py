# SPDX-License-Identifier: GPL-2.0-only
"""REDIRECT and its loops (RFC 5685)."""

from __future__ import annotations

from collections import deque
from ipaddress import IPv4Address, IPv6Address, ip_address

from .config import Address
from .errors import RemoteError
from .numbers import NotifyType, RedirectIdType
from .payloads import Notify


def _gateway(gateway: str | Address) -> bytes:
    try:
        address = ip_address(gateway)
    except ValueError:
        name = str(gateway).encode()
        return bytes((RedirectIdType.FQDN, len(name))) + name
    kind = RedirectIdType.IPV4 if address.version == 4 else RedirectIdType.IPV6
    return bytes((kind, len(address.packed))) + address.packed


def redirect_notify(gateway: str, nonce: bytes = b"") -> Notify:
    """Return REDIRECT; ``nonce`` is the initiator's, in the answer to IKE_SA_INIT only."""
    return Notify(NotifyType.REDIRECT, _gateway(gateway) + nonce)


def redirected_from(address: Address) -> Notify:
    """Return REDIRECTED_FROM, which stands for REDIRECT_SUPPORTED as well."""
    return Notify(NotifyType.REDIRECTED_FROM, _gateway(address))


def read_redirect(notify: Notify) -> tuple[str, bytes]:
    """Return where to go, as address or name, and the nonce behind it.

    Raises ``RemoteError`` INVALID_SYNTAX.
    """
    data = notify.data
    if len(data) < 2 or len(data) < 2 + data[1]:
        raise RemoteError("redirect is cut short")
    kind, value, rest = data[0], data[2 : 2 + data[1]], data[2 + data[1] :]
    if kind == RedirectIdType.IPV4 and len(value) == 4:
        return str(IPv4Address(value)), rest
    if kind == RedirectIdType.IPV6 and len(value) == 16:
        return str(IPv6Address(value)), rest
    if kind == RedirectIdType.FQDN and value:
        name = value.decode("ascii", "replace")
        if name.isprintable() and " " not in name and "\ufffd" not in name:
            return name, rest
    raise RemoteError(f"redirect to an identity of type {kind}")


class Loops:
    """Counts the redirects of each connection: more than a few in a while is a loop."""

    def __init__(self, most: int, within: float) -> None:
        self._most = most
        self._within = within
        self._seen: dict[str, deque[float]] = {}

    def follow(self, connection: str, now: float) -> bool:
        """Whether one more may be followed (section 3: 5 in 300 seconds)."""
        seen = self._seen.setdefault(connection, deque())
        while seen and seen[0] <= now - self._within:
            seen.popleft()
        if len(seen) >= self._most:
            return False
        seen.append(now)
        return True
