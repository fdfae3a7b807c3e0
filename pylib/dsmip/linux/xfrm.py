# SPDX-License-Identifier: GPL-2.0-only
"""Security policies and associations of the kernel (XFRM netlink)."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from ..ipsec.policy import (
    REQID,
    Address,
    Association,
    Direction,
    Mode,
    Network,
    Policy,
    Selector,
    is_ours,
)
from .netlink import (
    NETLINK_XFRM,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NetlinkError,
    NetlinkSocket,
    attribute,
    attribute_map,
)

_NEWSA, _DELSA, _GETSA, _NEWPOLICY, _DELPOLICY, _GETPOLICY = range(0x10, 0x16)
_UPDPOLICY: Final = 0x19

_SELECTOR: Final = struct.Struct("=16s16s8xHBBB3x8x")
_ID: Final = struct.Struct("!16sIB3x")
_LIFETIME: Final = struct.pack("=4Q32x", *(0xFFFFFFFFFFFFFFFF,) * 4)
_SA_TAIL: Final = struct.Struct("=IIHBBB7x")
_POLICY_TAIL: Final = struct.Struct("=IIBBBB4x")
_TEMPLATE_TAIL: Final = struct.Struct("=IBBBxIII")
_ALGORITHM: Final = struct.Struct("=64sI")
_AUTHENTICATION: Final = struct.Struct("=64sII")

_SA_SIZE: Final = 224
_POLICY_SIZE: Final = 168
_LIFETIMES: Final = 64 + 32
_XFRMA_CRYPT: Final = 2
_XFRMA_TEMPLATE: Final = 5
_XFRMA_AUTH_TRUNC: Final = 20
_ESP: Final = 50
_ALLOW: Final = 0
_BLOCK: Final = 1
_ENCRYPTION: Final = b"cbc(aes)"
_HMAC: Final = b"hmac(sha256)"
_HMAC_BITS: Final = 128
_REQID_MASK: Final = 0xFFFF0000


class Xfrm:
    """Installs what the rows of :mod:`dsmip.ipsec.policy` ask for.

    Every method raises ``NetlinkError``.
    """

    def __init__(self) -> None:
        self._netlink = NetlinkSocket(NETLINK_XFRM)

    def close(self) -> None:
        self._netlink.close()

    def synchronise(
        self, associations: Iterable[Association], policies: Iterable[Policy]
    ) -> tuple[int, int]:
        """Make the kernel hold exactly these of ours; returns (added, removed).

        What is there already stays untouched, so a daemon that restarts loses
        neither sequence numbers nor packets. Policies come after the
        associations they need and go before them.
        """
        wanted_associations = dict.fromkeys(associations)
        wanted_policies = dict.fromkeys(policies)
        present_associations = dict.fromkeys(self.associations())
        present_policies = dict.fromkeys(self.policies())
        stale = [sa for sa in present_associations if sa not in wanted_associations]
        missing = [sa for sa in wanted_associations if sa not in present_associations]
        taken = {(sa.destination, sa.spi) for sa in missing}
        for association in stale:
            # Another key under the same SPI cannot wait for its turn.
            if (association.destination, association.spi) in taken:
                self.remove_association(association)
        for association in missing:
            self.add_association(association)
        new = [policy for policy in wanted_policies if policy not in present_policies]
        old = [policy for policy in present_policies if policy not in wanted_policies]
        replaced = {(policy.direction, policy.selector) for policy in new}
        for policy in new:
            self.put_policy(policy)
        for policy in old:
            if (policy.direction, policy.selector) not in replaced:
                self.remove_policy(policy)
        for association in stale:
            if (association.destination, association.spi) not in taken:
                self.remove_association(association)
        return len(missing) + len(new), len(stale) + len(old)

    def associations(self) -> list[Association]:
        """Return the associations that are ours."""
        answers = self._netlink.dump(_GETSA, b"", "reading security associations")
        found = (decode_association(payload) for kind, payload in answers if kind == _NEWSA)
        return [association for association in found if association is not None]

    def add_association(self, association: Association) -> None:
        """Install an association."""
        flags = NLM_F_CREATE | NLM_F_EXCL
        body = encode_association(association)
        self._netlink.request(_NEWSA, body, flags, f"security {association!r}")

    def remove_association(self, association: Association) -> None:
        """Remove an association; one that is not there is no error."""
        body = struct.pack("!16sI", _wide(association.destination), association.spi) + struct.pack(
            "=HBx", _family(association.destination), _ESP
        )
        self._remove(_DELSA, body, f"removing security {association!r}")

    def policies(self) -> list[Policy]:
        """Return the policies that are ours."""
        answers = self._netlink.dump(_GETPOLICY, b"", "reading security policies")
        found = (decode_policy(payload) for kind, payload in answers if kind == _NEWPOLICY)
        return [policy for policy in found if policy is not None and is_ours(policy)]

    def put_policy(self, policy: Policy) -> None:
        """Install a policy or replace the one with its selector and direction."""
        what = f"security policy for {policy.selector.source} -> {policy.selector.destination}"
        self._netlink.request(_UPDPOLICY, encode_policy(policy), what=what)

    def remove_policy(self, policy: Policy) -> None:
        """Remove a policy; one that is not there is no error."""
        body = _selector(policy.selector) + struct.pack("=IB3x", 0, policy.direction)
        self._remove(_DELPOLICY, body, f"removing security policy for {policy.selector.source}")

    def _remove(self, kind: int, body: bytes, what: str) -> None:
        try:
            self._netlink.request(kind, body, what=what)
        except NetlinkError as error:
            if error.errno not in (errno.ENOENT, errno.ESRCH):
                raise


# --- codec -----------------------------------------------------------------------


def _wide(address: Address) -> bytes:
    return address.packed.ljust(16, b"\0")


def _family(address: Address | Network) -> int:
    return socket.AF_INET6 if address.version == 6 else socket.AF_INET


def _narrow(data: bytes, family: int) -> Address:
    return IPv6Address(data) if family == socket.AF_INET6 else IPv4Address(data[:4])


def _selector(selector: Selector) -> bytes:
    return _SELECTOR.pack(
        _wide(selector.destination.network_address),
        _wide(selector.source.network_address),
        _family(selector.source),
        selector.destination.prefixlen,
        selector.source.prefixlen,
        selector.protocol,
    )


def _decode_selector(data: memoryview, family: int) -> Selector:
    destination, source, own_family, to_length, from_length, protocol = _SELECTOR.unpack_from(data)
    family = own_family or family

    def network(packed: bytes, length: int) -> Network:
        if family == socket.AF_INET6:
            return IPv6Network((packed, length))
        return IPv4Network((packed[:4], length))

    return Selector(network(source, from_length), network(destination, to_length), protocol)


def encode_association(association: Association) -> bytes:
    """Pack XFRM_MSG_NEWSA. No replay window: static keys cannot have one (RFC 3776 section 4.4)."""
    info = (
        _selector(association.selector)
        + _ID.pack(_wide(association.destination), association.spi, _ESP)
        + _wide(association.source)
        + _LIFETIME
        + bytes(32 + 12)
        + _SA_TAIL.pack(
            0, association.reqid, _family(association.destination), association.mode, 0, 0
        )
    )
    encryption, authentication = association.encryption_key, association.authentication_key
    return (
        info
        + attribute(
            _XFRMA_AUTH_TRUNC,
            _AUTHENTICATION.pack(_HMAC, len(authentication) * 8, _HMAC_BITS) + authentication,
        )
        + attribute(_XFRMA_CRYPT, _ALGORITHM.pack(_ENCRYPTION, len(encryption) * 8) + encryption)
    )


def decode_association(payload: memoryview) -> Association | None:
    """Read an association; None when it is not one of ours."""
    _seq, reqid, family, mode, _window, _flags = _SA_TAIL.unpack_from(payload, _SA_SIZE - 20)
    if reqid & _REQID_MASK != REQID:
        return None
    offset = _SELECTOR.size
    destination, spi, _protocol = _ID.unpack_from(payload, offset)
    source = bytes(payload[offset + _ID.size : offset + _ID.size + 16])
    found = attribute_map(payload, _SA_SIZE)
    return Association(
        _narrow(source, family),
        _narrow(destination, family),
        spi,
        bytes(found.get(_XFRMA_CRYPT, b""))[_ALGORITHM.size :],
        bytes(found.get(_XFRMA_AUTH_TRUNC, b""))[_AUTHENTICATION.size :],
        _decode_selector(payload, family),
        Mode(mode),
        reqid,
    )


def encode_policy(policy: Policy) -> bytes:
    """Pack XFRM_MSG_UPDPOLICY with its template, if it protects."""
    info = (
        _selector(policy.selector)
        + _LIFETIME
        + bytes(32)
        + _POLICY_TAIL.pack(
            policy.priority, 0, policy.direction, _ALLOW if policy.protect else _BLOCK, 0, 0
        )
    )
    if not policy.protect:
        return info
    source, destination = policy.outer or (
        policy.selector.source.network_address,
        policy.selector.destination.network_address,
    )
    template = (
        _ID.pack(_wide(destination), 0, _ESP)
        + struct.pack("=H2x", _family(destination))
        + _wide(source)
        + _TEMPLATE_TAIL.pack(policy.reqid, policy.mode, 0, 0, *(0xFFFFFFFF,) * 3)
    )
    return info + attribute(_XFRMA_TEMPLATE, template)


def decode_policy(payload: memoryview) -> Policy | None:
    """Read a policy; None for one that is not like ours (other protocols, socket policies)."""
    priority, _index, direction, action, _flags, _share = _POLICY_TAIL.unpack_from(
        payload, _SELECTOR.size + _LIFETIMES
    )
    if direction > Direction.FORWARD:
        return None
    selector = _decode_selector(payload, socket.AF_INET6)
    if action != _ALLOW:
        return Policy(Direction(direction), selector, priority, protect=False)
    template = attribute_map(payload, _POLICY_SIZE).get(_XFRMA_TEMPLATE)
    if template is None or len(template) < 64:
        return None
    destination, _spi, protocol = _ID.unpack_from(template)
    family = struct.unpack_from("=H", template, _ID.size)[0]
    source = bytes(template[_ID.size + 4 : _ID.size + 20])
    reqid, mode, *_rest = _TEMPLATE_TAIL.unpack_from(template, _ID.size + 20)
    if protocol != _ESP or mode not in (Mode.TRANSPORT, Mode.TUNNEL):
        return None
    ends = (_narrow(source, family), _narrow(destination, family))
    outer = ends if mode == Mode.TUNNEL else None
    return Policy(Direction(direction), selector, priority, True, Mode(mode), reqid, outer)
