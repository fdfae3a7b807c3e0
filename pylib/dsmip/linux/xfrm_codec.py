# SPDX-License-Identifier: GPL-2.0-only
"""XFRM netlink messages: what ``ipsec`` describes, as the kernel's structures.

Numbers and layouts are those of linux/xfrm.h. Messages come from the kernel
only, yet nothing here reads past their end: what is too short is None.
"""

from __future__ import annotations

import enum
import socket
import struct
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from ..ipsec.association import (
    FOREVER,
    Address,
    Association,
    Cipher,
    Encapsulation,
    Installed,
    Integrity,
    Lifetimes,
    Mode,
    Network,
    Replay,
    SecurityProtocol,
    Selector,
    Usage,
)
from ..ipsec.policy import Action, Direction, Policy, Template
from .netlink import attribute, attribute_map, u32


class Message(enum.IntEnum):
    """Message types; ``MIGRATE_STATE`` is of kernels from 2026 on."""

    NEWSA = 0x10
    DELSA = 0x11
    GETSA = 0x12
    NEWPOLICY = 0x13
    DELPOLICY = 0x14
    GETPOLICY = 0x15
    ALLOCSPI = 0x16
    ACQUIRE = 0x17
    EXPIRE = 0x18
    UPDPOLICY = 0x19
    UPDSA = 0x1A
    NEWAE = 0x1E
    GETAE = 0x1F
    MIGRATE = 0x21
    MAPPING = 0x26
    MIGRATE_STATE = 0x29


class Attribute(enum.IntEnum):
    """Attribute types that are used here."""

    CRYPT = 2
    ENCAPSULATION = 4
    TEMPLATE = 5
    SA = 6
    LIFETIME = 9
    REPLAY = 10
    MIGRATE = 17
    AEAD = 18
    KMADDRESS = 19
    AUTH_TRUNC = 20
    REPLAY_ESN = 23
    MAPPING_THRESHOLD = 32


_SELECTOR: Final = struct.Struct("=16s16s2s2s2s2sHBBB3xiI")
XFRM_ID: Final = struct.Struct("!16sIB3x")
_LIMITS: Final = struct.Struct("=8Q")
_USAGE: Final = struct.Struct("=4Q")
SA_TAIL: Final = struct.Struct("=IIHBBB7x")
SA_ID: Final = struct.Struct("=16s4sHBx")
POLICY_TAIL: Final = struct.Struct("=IIBBBB4x")
POLICY_ID: Final = struct.Struct("=IB3x")
_TEMPLATE: Final = struct.Struct("=16s4sB3xH2x16sIBBBxIII")
_ALGORITHM: Final = struct.Struct("=64sI")
_TRUNCATED: Final = struct.Struct("=64sII")
_ENCAPSULATION: Final = struct.Struct("=H2s2s2x16s")
_REPLAY: Final = struct.Struct("=III")
_REPLAY_ESN: Final = struct.Struct("=6I")
_EVENT: Final = struct.Struct("=24s16sII")
MIGRATE: Final = struct.Struct("=16s16s16s16sBBHIHH")
KMADDRESS: Final = struct.Struct("=16s16sIH2x")

SELECTOR_SIZE: Final = _SELECTOR.size
SOURCE_AT: Final = SELECTOR_SIZE + XFRM_ID.size
_LIMITS_AT: Final = SOURCE_AT + 16
_USAGE_AT: Final = _LIMITS_AT + _LIMITS.size
SA_TAIL_AT: Final = _USAGE_AT + _USAGE.size + 12
SA_SIZE: Final = SA_TAIL_AT + SA_TAIL.size
POLICY_TAIL_AT: Final = SELECTOR_SIZE + _LIMITS.size + _USAGE.size
POLICY_SIZE: Final = POLICY_TAIL_AT + POLICY_TAIL.size
_INFINITE: Final = 0xFFFFFFFFFFFFFFFF

_ALLOW: Final = 0
_BLOCK: Final = 1
_ESPINUDP: Final = 2
_AF_UNSPEC: Final = 32
_ESN: Final = 128
#: A window of the plain sequence number that the old attribute can hold.
_OLD_WINDOW: Final = 32
#: Seconds between two reports of one other port: a packet each would be a flood.
_MAPPING_INTERVAL: Final = 1
_AE_VALUES: Final = 2 | 4
_ANY_ALGORITHM: Final = 0xFFFFFFFF

_CIPHERS: Final = {
    Cipher.NULL: b"ecb(cipher_null)",
    Cipher.AES_CBC: b"cbc(aes)",
    Cipher.AES_GCM_16: b"rfc4106(gcm(aes))",
    Cipher.CHACHA20_POLY1305: b"rfc7539esp(chacha20,poly1305)",
}
_CIPHER_OF: Final = {name: cipher for cipher, name in _CIPHERS.items()}
_AEAD_BITS: Final = 128
#: Names and bits of what is left of the MAC.
_INTEGRITIES: Final = {
    Integrity.HMAC_SHA1_96: (b"hmac(sha1)", 96),
    Integrity.HMAC_SHA2_256_128: (b"hmac(sha256)", 128),
    Integrity.HMAC_SHA2_384_192: (b"hmac(sha384)", 192),
    Integrity.HMAC_SHA2_512_256: (b"hmac(sha512)", 256),
}
_INTEGRITY_OF: Final = {name: integrity for integrity, name in _INTEGRITIES.items()}


# --- pieces ----------------------------------------------------------------------


def _wide(address: Address) -> bytes:
    return address.packed.ljust(16, b"\0")


def _family(address: Address | Network) -> int:
    return socket.AF_INET6 if address.version == 6 else socket.AF_INET


def narrow(data: bytes | memoryview, family: int) -> Address:
    return IPv6Address(bytes(data)) if family == socket.AF_INET6 else IPv4Address(bytes(data[:4]))


def _port(number: int | None) -> tuple[bytes, bytes]:
    return (b"\0\0", b"\0\0") if number is None else (number.to_bytes(2, "big"), b"\xff\xff")


def _encode_selector(selector: Selector | None) -> bytes:
    if selector is None:
        return bytes(SELECTOR_SIZE)
    destination_port, destination_mask = _port(selector.destination_port)
    source_port, source_mask = _port(selector.source_port)
    return _SELECTOR.pack(
        _wide(selector.destination.network_address),
        _wide(selector.source.network_address),
        destination_port,
        destination_mask,
        source_port,
        source_mask,
        _family(selector.source),
        selector.destination.prefixlen,
        selector.source.prefixlen,
        selector.protocol,
        0,
        0,
    )


def decode_selector(
    data: memoryview, family: int = socket.AF_INET6, any_device: bool = False
) -> Selector | None:
    """Read a selector; None when it has more than ours: part of a port, a device, a user.

    ``any_device`` overlooks the device, which the kernel fills in for a packet.
    """
    (
        destination,
        source,
        destination_port,
        destination_mask,
        source_port,
        source_mask,
        own_family,
        destination_length,
        source_length,
        protocol,
        device,
        user,
    ) = _SELECTOR.unpack_from(data)
    if (device and not any_device) or user:
        return None
    family = own_family or family

    def network(packed: bytes, length: int) -> Network:
        if family == socket.AF_INET6:
            return IPv6Network((packed, length), strict=False)
        return IPv4Network((packed[:4], length), strict=False)

    def port(number: bytes, mask: bytes) -> int | None:
        if mask not in (b"\0\0", b"\xff\xff"):
            raise ValueError("part of a port")
        return int.from_bytes(number, "big") if any(mask) else None

    try:
        return Selector(
            network(source, source_length),
            network(destination, destination_length),
            protocol,
            port(source_port, source_mask),
            port(destination_port, destination_mask),
        )
    except ValueError:
        return None


def _encode_template(template: Template, selector: Selector) -> bytes:
    source, destination = template.outer or (
        selector.source.network_address,
        selector.destination.network_address,
    )
    return _TEMPLATE.pack(
        _wide(destination),
        bytes(4),
        template.protocol,
        _family(destination),
        _wide(source),
        template.reqid,
        template.mode,
        0,
        template.optional,
        *(_ANY_ALGORITHM,) * 3,
    )


def decode_template(data: memoryview, keep_ends: bool = False) -> Template | None:
    if len(data) < _TEMPLATE.size:
        return None
    fields = _TEMPLATE.unpack_from(data)
    destination, _spi, protocol, family, source, reqid, mode, _share, optional, *_rest = fields
    if protocol not in set(SecurityProtocol) or mode not in set(Mode):
        return None
    ends = (narrow(source, family), narrow(destination, family))
    outer = ends if keep_ends or mode == Mode.TUNNEL else None
    return Template(Mode(mode), reqid, outer, SecurityProtocol(protocol), bool(optional))


def _encode_encapsulation(encapsulation: Encapsulation | None) -> bytes:
    if encapsulation is None:
        return b""
    return attribute(
        Attribute.ENCAPSULATION,
        _ENCAPSULATION.pack(
            _ESPINUDP,
            encapsulation.source_port.to_bytes(2, "big"),
            encapsulation.destination_port.to_bytes(2, "big"),
            bytes(16),
        ),
    )


def decode_encapsulation(found: dict[int, memoryview]) -> Encapsulation | None:
    data = found.get(Attribute.ENCAPSULATION)
    if data is None or len(data) < _ENCAPSULATION.size:
        return None
    kind, source, destination, _original = _ENCAPSULATION.unpack_from(data)
    if kind != _ESPINUDP:
        return None
    return Encapsulation(int.from_bytes(source, "big"), int.from_bytes(destination, "big"))


def _limit(value: int) -> int:
    return value or _INFINITE


def _encode_lifetimes(lifetimes: Lifetimes) -> bytes:
    return _LIMITS.pack(
        _limit(lifetimes.soft_bytes),
        _limit(lifetimes.hard_bytes),
        _limit(lifetimes.soft_packets),
        _limit(lifetimes.hard_packets),
        lifetimes.soft_seconds,
        lifetimes.hard_seconds,
        0,
        0,
    )


def _decode_lifetimes(data: memoryview) -> Lifetimes:
    limits = [0 if value == _INFINITE else value for value in _LIMITS.unpack_from(data)]
    soft_bytes, hard_bytes, soft_packets, hard_packets, soft, hard, _use, _use_hard = limits
    return Lifetimes(soft, hard, soft_bytes, hard_bytes, soft_packets, hard_packets)


def _words(window: int) -> int:
    return (window + 31) // 32


def _extended(association: Association) -> bool:
    return association.esn or association.replay_window > _OLD_WINDOW


def encode_replay(association: Association, replay: Replay | None) -> bytes:
    """Pack the attribute for sequence numbers and window; nothing for a plain new one."""
    if _extended(association):
        replay = replay or Replay()
        words = _words(association.replay_window)
        bitmap = (*replay.bitmap, *(0,) * words)[:words]
        mask = 0xFFFFFFFF
        head = _REPLAY_ESN.pack(
            words,
            replay.sent & mask,
            replay.received & mask,
            replay.sent >> 32,
            replay.received >> 32,
            association.replay_window,
        )
        return attribute(Attribute.REPLAY_ESN, head + struct.pack(f"={words}I", *bitmap))
    if replay is None:
        return b""
    first = replay.bitmap[0] if replay.bitmap else 0
    return attribute(Attribute.REPLAY, _REPLAY.pack(replay.sent, replay.received, first))


def _decode_replay(found: dict[int, memoryview]) -> tuple[Replay, int]:
    """Return counters and, where the attribute tells it, the window."""
    data = found.get(Attribute.REPLAY_ESN)
    if data is not None and len(data) >= _REPLAY_ESN.size:
        words, sent, received, sent_high, received_high, window = _REPLAY_ESN.unpack_from(data)
        words = min(words, (len(data) - _REPLAY_ESN.size) // 4)
        bitmap = struct.unpack_from(f"={words}I", data, _REPLAY_ESN.size)
        return Replay(sent_high << 32 | sent, received_high << 32 | received, bitmap), window
    data = found.get(Attribute.REPLAY)
    if data is not None and len(data) >= _REPLAY.size:
        sent, received, first = _REPLAY.unpack_from(data)
        return Replay(sent, received, (first,)), 0
    return Replay(), 0


# --- associations ----------------------------------------------------------------


def encode_association(
    association: Association, replay: Replay | None = None, usage: Usage | None = None
) -> bytes:
    """Pack XFRM_MSG_NEWSA or UPDSA, with the counters of one that it continues, if any."""
    flags = 0
    if association.selector is None:
        # One tunnel for inner packets of both families.
        flags |= _AF_UNSPEC
    if association.esn:
        flags |= _ESN
    info = (
        _encode_selector(association.selector)
        + XFRM_ID.pack(_wide(association.destination), association.spi, association.protocol)
        + _wide(association.source)
        + _encode_lifetimes(association.lifetimes)
        + bytes(_USAGE.size + 12)
        + SA_TAIL.pack(
            0,
            association.reqid,
            _family(association.destination),
            association.mode,
            0 if _extended(association) else association.replay_window,
            flags,
        )
    )
    lifetime = b""
    if usage is not None:
        values = (usage.bytes, usage.packets, usage.added, usage.used)
        lifetime = attribute(Attribute.LIFETIME, _USAGE.pack(*values))
    encapsulation = _encode_encapsulation(association.encapsulation)
    if encapsulation:
        encapsulation += u32(Attribute.MAPPING_THRESHOLD, _MAPPING_INTERVAL)
    return (
        info
        + _encode_algorithms(association)
        + encode_replay(association, replay)
        + lifetime
        + encapsulation
    )


def _encode_algorithms(association: Association) -> bytes:
    encryption, authentication = association.encryption_key, association.authentication_key
    if association.cipher.counter_mode:
        head = _TRUNCATED.pack(_CIPHERS[association.cipher], len(encryption) * 8, _AEAD_BITS)
        return attribute(Attribute.AEAD, head + encryption)
    packed = b""
    if association.integrity is not Integrity.NONE:
        name, bits = _INTEGRITIES[association.integrity]
        head = _TRUNCATED.pack(name, len(authentication) * 8, bits)
        packed += attribute(Attribute.AUTH_TRUNC, head + authentication)
    if association.cipher is not Cipher.NONE:
        head = _ALGORITHM.pack(_CIPHERS[association.cipher], len(encryption) * 8)
        packed += attribute(Attribute.CRYPT, head + encryption)
    return packed


def _decode_algorithms(
    found: dict[int, memoryview],
) -> tuple[Cipher, bytes, Integrity, bytes] | None:
    """Return cipher, key, integrity, key; None for algorithms that are none of ours."""
    aead = found.get(Attribute.AEAD)
    if aead is not None and len(aead) >= _TRUNCATED.size:
        name, _bits, icv = _TRUNCATED.unpack_from(aead)
        cipher = _CIPHER_OF.get(name.rstrip(b"\0"))
        if cipher is None or icv != _AEAD_BITS:
            return None
        return cipher, bytes(aead[_TRUNCATED.size :]), Integrity.NONE, b""
    cipher, encryption = Cipher.NONE, b""
    crypt = found.get(Attribute.CRYPT)
    if crypt is not None and len(crypt) >= _ALGORITHM.size:
        known = _CIPHER_OF.get(_ALGORITHM.unpack_from(crypt)[0].rstrip(b"\0"))
        if known is None:
            return None
        cipher, encryption = known, bytes(crypt[_ALGORITHM.size :])
    integrity, authentication = Integrity.NONE, b""
    truncated = found.get(Attribute.AUTH_TRUNC)
    if truncated is not None and len(truncated) >= _TRUNCATED.size:
        name, _bits, icv = _TRUNCATED.unpack_from(truncated)
        kind = _INTEGRITY_OF.get((name.rstrip(b"\0"), icv))
        if kind is None:
            return None
        integrity, authentication = kind, bytes(truncated[_TRUNCATED.size :])
    return cipher, encryption, integrity, authentication


def decode_installed(payload: memoryview) -> Installed | None:
    """Read an association and its counters; None for what ours never are."""
    if len(payload) < SA_SIZE:
        return None
    return _decode_sa(payload, attribute_map(payload, SA_SIZE))


def decode_deleted(payload: memoryview) -> Installed | None:
    """Read the notification of a deletion: an association's last counters."""
    found = attribute_map(payload, SA_ID.size)
    info = found.get(Attribute.SA)
    return None if info is None or len(info) < SA_SIZE else _decode_sa(info, found)


def _decode_sa(info: memoryview, found: dict[int, memoryview]) -> Installed | None:
    _seq, reqid, family, mode, window, flags = SA_TAIL.unpack_from(info, SA_TAIL_AT)
    destination, spi, protocol = XFRM_ID.unpack_from(info, SELECTOR_SIZE)
    algorithms = _decode_algorithms(found)
    selector = decode_selector(info, family)
    unselective = bool(flags & _AF_UNSPEC) and not any(info[:SELECTOR_SIZE])
    if (
        algorithms is None
        or mode not in set(Mode)
        or protocol not in set(SecurityProtocol)
        or (selector is None and not unselective)
    ):
        return None
    replay, own_window = _decode_replay(found)
    try:
        association = Association(
            narrow(info[SOURCE_AT : SOURCE_AT + 16], family),
            narrow(destination, family),
            spi,
            algorithms[1],
            algorithms[3],
            None if unselective else selector,
            Mode(mode),
            reqid,
            SecurityProtocol(protocol),
            algorithms[0],
            algorithms[2],
            bool(flags & _ESN),
            own_window or window,
            decode_encapsulation(found),
            _decode_lifetimes(info[_LIMITS_AT:]),
        )
    except ValueError:
        return None  # larval, or from somebody who does without integrity
    return Installed(association, replay, Usage(*_USAGE.unpack_from(info, _USAGE_AT)))


def decode_association(payload: memoryview) -> Association | None:
    """Read an association; None for what ours never are."""
    installed = decode_installed(payload)
    return None if installed is None else installed.association


def encode_sa_id(destination: Address, spi: int, protocol: SecurityProtocol) -> bytes:
    """Pack struct xfrm_usersa_id: the body of GETSA and DELSA."""
    return SA_ID.pack(_wide(destination), spi.to_bytes(4, "big"), _family(destination), protocol)


def encode_get_counters(association: Association) -> bytes:
    """Pack XFRM_MSG_GETAE."""
    return _event_id(association)


def encode_set_counters(association: Association, replay: Replay) -> bytes:
    """Pack XFRM_MSG_NEWAE with other sequence numbers."""
    return _event_id(association) + encode_replay(association, replay)


def _event_id(association: Association) -> bytes:
    identity = encode_sa_id(association.destination, association.spi, association.protocol)
    return _EVENT.pack(identity, _wide(association.source), _AE_VALUES, association.reqid)


def decode_counters(payload: memoryview) -> Replay | None:
    """Read the answer to GETAE."""
    if len(payload) < _EVENT.size:
        return None
    return _decode_replay(attribute_map(payload, _EVENT.size))[0]


def encode_allocation(template: Template, spi: int) -> bytes:
    """Pack XFRM_MSG_ALLOCSPI for just one SPI.

    ``ValueError`` for a template without outer ends.
    """
    if template.outer is None:
        raise ValueError("without ends there is nothing to look for")
    source, destination = template.outer
    info = (
        bytes(SELECTOR_SIZE)
        + XFRM_ID.pack(_wide(destination), 0, template.protocol)
        + _wide(source)
        + bytes(_LIMITS.size + _USAGE.size + 12)
        + SA_TAIL.pack(0, template.reqid, _family(destination), template.mode, 0, 0)
    )
    return info + struct.pack("=II", spi, spi)


# --- policies --------------------------------------------------------------------


def encode_policy(policy: Policy) -> bytes:
    """Pack XFRM_MSG_UPDPOLICY with its template, if there is one."""
    action = _BLOCK if policy.action is Action.BLOCK else _ALLOW
    info = (
        _encode_selector(policy.selector)
        + _encode_lifetimes(FOREVER)
        + bytes(_USAGE.size)
        + POLICY_TAIL.pack(policy.priority, 0, policy.direction, action, 0, 0)
    )
    if policy.template is None:
        return info
    return info + attribute(Attribute.TEMPLATE, _encode_template(policy.template, policy.selector))


def encode_policy_id(policy: Policy) -> bytes:
    """Pack struct xfrm_userpolicy_id: the body of DELPOLICY and MIGRATE."""
    return _encode_selector(policy.selector) + POLICY_ID.pack(0, policy.direction)


def decode_policy(payload: memoryview) -> Policy | None:
    """Read a policy; None for one that is not like ours (other protocols, socket policies)."""
    if len(payload) < POLICY_SIZE:
        return None
    priority, _index, direction, action, _flags, _share = POLICY_TAIL.unpack_from(
        payload, POLICY_TAIL_AT
    )
    selector = decode_selector(payload)
    if direction not in set(Direction) or selector is None:
        return None
    data = attribute_map(payload, POLICY_SIZE).get(Attribute.TEMPLATE)
    template = None
    if data is not None:
        template = decode_template(data)
        if template is None or len(data) != _TEMPLATE.size:
            return None
    found = Action.BLOCK
    if action == _ALLOW:
        found = Action.BYPASS if template is None else Action.PROTECT
    return Policy(Direction(direction), selector, priority, found, template)


# --- movement --------------------------------------------------------------------


def encode_migrate(
    policy: Policy,
    old: tuple[Address, Address],
    new: tuple[Address, Address],
    encapsulation: Encapsulation | None = None,
    addresses: tuple[Address, Address] | None = None,
) -> bytes:
    """Pack XFRM_MSG_MIGRATE for the template of a policy.

    ``ValueError`` when the policy has no template.
    """
    template = policy.template
    if template is None:
        raise ValueError("a policy without a template cannot move")
    packed = encode_policy_id(policy)
    if addresses is not None:
        local, remote = addresses
        packed += attribute(
            Attribute.KMADDRESS,
            KMADDRESS.pack(_wide(local), _wide(remote), 0, _family(local)),
        )
    packed += attribute(
        Attribute.MIGRATE,
        MIGRATE.pack(
            _wide(old[1]),
            _wide(old[0]),
            _wide(new[1]),
            _wide(new[0]),
            template.protocol,
            template.mode,
            0,
            template.reqid,
            _family(old[1]),
            _family(new[1]),
        ),
    )
    return packed + _encode_encapsulation(encapsulation)


def encode_migrate_state(association: Association, moved: Association) -> bytes:
    """Pack XFRM_MSG_MIGRATE_STATE; a UDP encapsulation that ``moved`` lacks is taken off."""
    body = (
        encode_sa_id(association.destination, association.spi, association.protocol)
        + _wide(moved.destination)
        + _wide(moved.source)
        + bytes(8)
        + _encode_selector(association.selector)
        + struct.pack("=IIHH", moved.reqid, 0, _family(moved.destination), 0)
    )
    if moved.encapsulation is None:
        return body + attribute(Attribute.ENCAPSULATION, bytes(_ENCAPSULATION.size))
    return body + _encode_encapsulation(moved.encapsulation)
