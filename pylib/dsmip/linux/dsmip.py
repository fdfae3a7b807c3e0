# SPDX-License-Identifier: GPL-2.0-only
"""Client of dsmip.ko's generic netlink family (kmod/uapi/dsmip.h).

Packed by hand: a home agent that restarts reads 100,000 bindings at once.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from ..packet.careof import WireKind
from ..packet.kernel import Address, KernelBinding, Network, Path, PathEvent
from .netlink import (
    NETLINK_GENERIC,
    NLM_F_REPLACE,
    NetlinkError,
    NetlinkSocket,
    NotificationSocket,
    attribute,
    attribute_map,
    attributes,
    be16,
    nest,
    text,
    u8,
    u16,
    u32,
)

FAMILY: Final = "dsmip"
VERSION: Final = 1
EVENTS: Final = "events"
DATA_MAX: Final = 512

_GENL: Final = struct.Struct("=BBH")
_U16: Final = struct.Struct("=H")
_BE16: Final = struct.Struct("!H")
_U32: Final = struct.Struct("=I")
_U64: Final = struct.Struct("=Q")

_CTRL: Final = 0x10
_CTRL_GETFAMILY: Final = 3
_CTRL_FAMILY_ID: Final = 1
_CTRL_FAMILY_NAME: Final = 2
_CTRL_MCAST_GROUPS: Final = 7
_CTRL_GROUP_NAME: Final = 1
_CTRL_GROUP_ID: Final = 2

_DEVICE_GET, _DEVICE_SET, _BINDING_GET, _BINDING_SET, _BINDING_DEL, _PATH_SET, _PATH_DEL = range(
    1, 8
)

_A_IFINDEX: Final = 2
_A_PORT: Final = 4
_A_MARK_MASK: Final = 5
_A_TTL: Final = 6
_A_COUNTERS: Final = 7
_A_HOME_ADDRESS: Final = 8
_A_HOME_ADDRESS4: Final = 9
_A_BINDING_FLAGS: Final = 10
_A_REQUEST_FLAGS: Final = 11
_A_LIFETIME: Final = 12
_A_SEQUENCE: Final = 13
_A_DATA: Final = 14
_A_PATHS: Final = 15
_A_PREFIXES: Final = 16
_A_STATS: Final = 17
_A_PATH: Final = 18
_A_EVENT: Final = 19
_A_TIME_NS: Final = 20
_A_TELL_TUNNELLED: Final = 21
_A_COPY_MASK: Final = 22

_P_BID: Final = 2
_P_KIND: Final = 3
_P_LOCAL: Final = 4
_P_REMOTE: Final = 5
_P_REMOTE_PORT: Final = 6
_P_IFINDEX: Final = 7
_P_PRIORITY: Final = 8
_P_FLAGS: Final = 9
_P_SILENT_MS: Final = 10
_P_STATS: Final = 11
_P_LAST_RX_MS: Final = 12
_P_MTU: Final = 13

_X_ADDRESS: Final = 1
_X_LENGTH: Final = 2
_X_FLAGS: Final = 3

_BINDING_MOBILE: Final = 1
_BINDING_DIRECT: Final = 2
_BINDING_COPIES: Final = 4
_REQUEST_REPLACE_PATHS: Final = 1
_REQUEST_REPLACE_PREFIXES: Final = 2
_PATH_DOWN: Final = 1
_PATH_ACTIVE: Final = 2
_PREFIX_LOCAL: Final = 1

#: Names of enum dsmip_counter, in its order.
COUNTERS: Final = (
    "tx_no_binding",
    "tx_no_path",
    "tx_no_route",
    "tx_bad_source",
    "tx_too_big",
    "tx_nested",
    "rx_malformed",
    "rx_no_binding",
    "rx_wrong_source",
    "rx_bad_inner",
    "rx_bad_destination",
    "rx_nested",
    "rx_ecn",
    "rx_forged_careof",
    "rx_stranger",
    "rx_bad_routing",
    "mh_nobody",
    "rx_copy",
)


@dataclass(slots=True)
class Traffic:
    """Packets and octets through a binding or a path."""

    rx_packets: int = 0
    rx_bytes: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0


@dataclass(slots=True)
class PathState:
    """A path with what the kernel measured.

    ``last_heard_ms``: milliseconds since its last packet, None for never.
    ``mtu``: largest inner packet, 0 when not known.
    """

    path: Path
    active: bool
    traffic: Traffic
    last_heard_ms: int | None
    mtu: int


@dataclass(slots=True)
class BindingState:
    """A binding with what the kernel measured."""

    binding: KernelBinding
    traffic: Traffic
    paths: tuple[PathState, ...]


@dataclass(slots=True)
class DeviceState:
    """The device: its port, mark mask, hop limit and drop counters by name."""

    port: int
    mark_mask: int
    ttl: int
    counters: dict[str, int]


@dataclass(frozen=True, slots=True)
class KernelEvent:
    """One notification; ``time`` in seconds of CLOCK_BOOTTIME."""

    event: PathEvent
    interface: int
    home_address: IPv6Address | None
    path: Path | None
    time: float


@dataclass(frozen=True, slots=True)
class Family:
    """Numbers that the kernel gave to our family and its event group."""

    number: int
    events: int


def find_family(netlink: NetlinkSocket) -> Family:
    """Look up the family.

    Raises ``NetlinkError`` with ENOENT when the module is not loaded.
    """
    body = _GENL.pack(_CTRL_GETFAMILY, 2, 0) + text(_CTRL_FAMILY_NAME, FAMILY)
    try:
        answers = netlink.request(_CTRL, body, what="looking for the dsmip kernel module")
    except NetlinkError as error:
        if error.errno == errno.ENOENT:
            raise NetlinkError(
                errno.ENOENT,
                "looking for the dsmip kernel module",
                "dsmip.ko is not loaded: run 'modprobe dsmip' or install kmod-dsmip",
            ) from error
        raise
    for _kind, payload in answers:
        found = attribute_map(payload, _GENL.size)
        number = _U16.unpack(found[_CTRL_FAMILY_ID])[0]
        for _index, group in attributes(found.get(_CTRL_MCAST_GROUPS, b"")):
            entry = attribute_map(group)
            if bytes(entry[_CTRL_GROUP_NAME]).rstrip(b"\0") == EVENTS.encode():
                return Family(number, _U32.unpack(entry[_CTRL_GROUP_ID])[0])
    raise NetlinkError(errno.EPROTO, "looking for the dsmip kernel module", "it has no event group")


class DsmipDevice:
    """One ``dsmip`` network device: its bindings and paths.

    Every method raises ``NetlinkError`` with the module's own explanation.
    """

    def __init__(self, interface: int, name: str, netlink: NetlinkSocket | None = None) -> None:
        self.interface = interface
        self.name = name
        self._netlink = netlink or NetlinkSocket(NETLINK_GENERIC)
        self.family = find_family(self._netlink)
        self._device = u32(_A_IFINDEX, interface)

    def close(self) -> None:
        self._netlink.close()

    def _do(self, command: int, body: bytes, what: str, flags: int = 0) -> list[memoryview]:
        message = _GENL.pack(command, VERSION, 0) + self._device + body
        answers = self._netlink.request(self.family.number, message, flags, f"{self.name}: {what}")
        return [payload for _kind, payload in answers]

    def put_binding(self, binding: KernelBinding) -> None:
        """Create or replace a binding with all its paths and prefixes, or change nothing."""
        self._do(
            _BINDING_SET, encode_binding(binding), f"binding {binding.home_address}", NLM_F_REPLACE
        )

    def drop_binding(self, home_address: IPv6Address) -> None:
        """Remove one binding with everything it owns."""
        body = attribute(_A_HOME_ADDRESS, home_address.packed)
        self._do(_BINDING_DEL, body, f"removing binding {home_address}")

    def put_path(self, home_address: IPv6Address, path: Path) -> None:
        """Add or replace one path: the handover on the data path."""
        body = attribute(_A_HOME_ADDRESS, home_address.packed) + nest(_A_PATH, encode_path(path))
        self._do(_PATH_SET, body, f"path {path.bid} of {home_address}", NLM_F_REPLACE)

    def drop_path(self, home_address: IPv6Address, bid: int) -> None:
        """Remove one path."""
        body = attribute(_A_HOME_ADDRESS, home_address.packed) + nest(_A_PATH, u16(_P_BID, bid))
        self._do(_PATH_DEL, body, f"removing path {bid} of {home_address}")

    def binding(self, home_address: IPv6Address) -> BindingState | None:
        """Read one binding; None when there is none."""
        body = attribute(_A_HOME_ADDRESS, home_address.packed)
        try:
            answers = self._do(_BINDING_GET, body, f"reading binding {home_address}")
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return decode_binding(answers[0])

    def bindings(self) -> list[BindingState]:
        """Read all bindings, in the order of their home addresses."""
        message = _GENL.pack(_BINDING_GET, VERSION, 0) + self._device
        answers = self._netlink.dump(self.family.number, message, f"{self.name}: reading bindings")
        return [decode_binding(payload) for _kind, payload in answers]

    def state(self) -> DeviceState:
        """Read the device's settings and drop counters."""
        found = attribute_map(self._do(_DEVICE_GET, b"", "reading the device")[0], _GENL.size)
        counters = dict.fromkeys(COUNTERS, 0)
        for kind, value in attributes(found.get(_A_COUNTERS, b"")):
            if 1 <= kind <= len(COUNTERS):
                counters[COUNTERS[kind - 1]] = _U64.unpack(value)[0]
        return DeviceState(
            port=_BE16.unpack(found[_A_PORT])[0] if _A_PORT in found else 0,
            mark_mask=_U32.unpack(found[_A_MARK_MASK])[0] if _A_MARK_MASK in found else 0,
            ttl=found[_A_TTL][0] if _A_TTL in found else 0,
            counters=counters,
        )

    def configure(
        self,
        mark_mask: int | None = None,
        ttl: int | None = None,
        tell_tunnelled: bool | None = None,
        copy_mask: int | None = None,
    ) -> None:
        """Change the mark mask that selects paths, or the outer hop limit (0: the system's).

        ``copy_mask`` selects the path of a second copy, 0 for none.
        ``tell_tunnelled`` asks for events about those to whom the home address speaks.
        """
        body = b""
        if mark_mask is not None:
            body += u32(_A_MARK_MASK, mark_mask)
        if ttl is not None:
            body += u8(_A_TTL, ttl)
        if copy_mask is not None:
            body += u32(_A_COPY_MASK, copy_mask)
        if tell_tunnelled is not None:
            body += u8(_A_TELL_TUNNELLED, tell_tunnelled)
        self._do(_DEVICE_SET, body, "changing the device")


class EventSocket(NotificationSocket):
    """Notifications of dsmip.ko, to be read when its descriptor is readable."""

    def __init__(self, family: Family) -> None:
        super().__init__(NETLINK_GENERIC, (family.events,))

    def events(self) -> Iterator[KernelEvent]:
        """Yield what waits; raises ``Overrun`` when notifications were lost."""
        for _kind, payload in self.receive():
            event = decode_event(payload)
            if event is not None:
                yield event


# --- codec -----------------------------------------------------------------------


def encode_path(path: Path) -> bytes:
    """Pack the attributes of a path."""
    parts = [
        u16(_P_BID, path.bid),
        u8(_P_KIND, path.kind),
        attribute(_P_LOCAL, path.local.packed),
        attribute(_P_REMOTE, path.remote.packed),
        u8(_P_PRIORITY, path.priority),
        u32(_P_FLAGS, _PATH_DOWN if path.down else 0),
        u32(_P_SILENT_MS, path.silent_ms),
    ]
    if path.kind is WireKind.UDP4:
        parts.append(be16(_P_REMOTE_PORT, path.remote_port))
    if path.interface:
        parts.append(u32(_P_IFINDEX, path.interface))
    return b"".join(parts)


def encode_prefix(prefix: Network, local: bool) -> bytes:
    """Pack the attributes of a prefix."""
    return (
        attribute(_X_ADDRESS, prefix.network_address.packed)
        + u8(_X_LENGTH, prefix.prefixlen)
        + u32(_X_FLAGS, _PREFIX_LOCAL if local else 0)
    )


def encode_binding(binding: KernelBinding) -> bytes:
    """Pack a whole binding: what it does not name is removed."""
    if len(binding.data) > DATA_MAX:
        raise ValueError(f"binding data of {len(binding.data)} octets, at most {DATA_MAX} allowed")
    flags = _BINDING_MOBILE if binding.mobile else 0
    flags |= _BINDING_DIRECT if binding.direct else 0
    flags |= _BINDING_COPIES if binding.copies else 0
    prefixes = [encode_prefix(prefix, False) for prefix in binding.prefixes]
    prefixes += [encode_prefix(prefix, True) for prefix in binding.local_prefixes]
    parts = [
        attribute(_A_HOME_ADDRESS, binding.home_address.packed),
        u32(_A_BINDING_FLAGS, flags),
        u32(_A_REQUEST_FLAGS, _REQUEST_REPLACE_PATHS | _REQUEST_REPLACE_PREFIXES),
        u32(_A_LIFETIME, binding.lifetime),
        u16(_A_SEQUENCE, binding.sequence),
        attribute(_A_DATA, binding.data),
        nest(_A_PATHS, *(nest(1, encode_path(path)) for path in binding.paths)),
        nest(_A_PREFIXES, *(nest(1, prefix) for prefix in prefixes)),
    ]
    if binding.home_address4 is not None:
        parts.insert(1, attribute(_A_HOME_ADDRESS4, binding.home_address4.packed))
    return b"".join(parts)


def decode_binding(payload: memoryview) -> BindingState:
    """Read one binding out of an answer, generic netlink header included."""
    found = attribute_map(payload, _GENL.size)
    home = IPv6Address(bytes(found[_A_HOME_ADDRESS]))
    home4 = found.get(_A_HOME_ADDRESS4)
    prefixes: list[Network] = []
    local_prefixes: list[Network] = []
    for _kind, entry in attributes(found.get(_A_PREFIXES, b"")):
        prefix, local = _decode_prefix(entry)
        (local_prefixes if local else prefixes).append(prefix)
    paths = tuple(decode_path(entry) for _kind, entry in attributes(found.get(_A_PATHS, b"")))
    flags = _U32.unpack(found[_A_BINDING_FLAGS])[0] if _A_BINDING_FLAGS in found else 0
    binding = KernelBinding(
        home_address=home,
        home_address4=None if home4 is None else IPv4Address(bytes(home4)),
        prefixes=tuple(prefixes),
        local_prefixes=tuple(local_prefixes),
        paths=tuple([state.path for state in paths]),
        mobile=bool(flags & _BINDING_MOBILE),
        lifetime=_U32.unpack(found[_A_LIFETIME])[0] if _A_LIFETIME in found else 0,
        sequence=_U16.unpack(found[_A_SEQUENCE])[0] if _A_SEQUENCE in found else 0,
        data=bytes(found.get(_A_DATA, b"")),
        direct=bool(flags & _BINDING_DIRECT),
        copies=bool(flags & _BINDING_COPIES),
    )
    return BindingState(binding, _decode_traffic(found.get(_A_STATS)), paths)


def decode_path(entry: memoryview) -> PathState:
    """Read one path; raises ``ValueError`` when the kernel sends an unknown wire kind."""
    found = attribute_map(entry)
    flags = _U32.unpack(found[_P_FLAGS])[0] if _P_FLAGS in found else 0
    path = Path(
        bid=_U16.unpack(found[_P_BID])[0] if _P_BID in found else 0,
        kind=WireKind(found[_P_KIND][0]) if _P_KIND in found else WireKind.ANY,
        local=_address(found.get(_P_LOCAL)),
        remote=_address(found.get(_P_REMOTE)),
        remote_port=_BE16.unpack(found[_P_REMOTE_PORT])[0] if _P_REMOTE_PORT in found else 0,
        interface=_U32.unpack(found[_P_IFINDEX])[0] if _P_IFINDEX in found else 0,
        priority=found[_P_PRIORITY][0] if _P_PRIORITY in found else 0,
        down=bool(flags & _PATH_DOWN),
        silent_ms=_U32.unpack(found[_P_SILENT_MS])[0] if _P_SILENT_MS in found else 0,
    )
    heard = found.get(_P_LAST_RX_MS)
    return PathState(
        path,
        active=bool(flags & _PATH_ACTIVE),
        traffic=_decode_traffic(found.get(_P_STATS)),
        last_heard_ms=None if heard is None else _U64.unpack(heard)[0],
        mtu=_U32.unpack(found[_P_MTU])[0] if _P_MTU in found else 0,
    )


def decode_event(payload: memoryview) -> KernelEvent | None:
    """Read one notification; None for events of a newer module."""
    found = attribute_map(payload, _GENL.size)
    if _A_EVENT not in found:
        return None
    try:
        event = PathEvent(found[_A_EVENT][0])
    except ValueError:
        return None
    home = found.get(_A_HOME_ADDRESS)
    path = found.get(_A_PATH)
    return KernelEvent(
        event,
        interface=_U32.unpack(found[_A_IFINDEX])[0] if _A_IFINDEX in found else 0,
        home_address=None if home is None else IPv6Address(bytes(home)),
        path=None if path is None else decode_path(path).path,
        time=_U64.unpack(found[_A_TIME_NS])[0] / 1e9 if _A_TIME_NS in found else 0.0,
    )


def _address(value: memoryview | None) -> Address:
    if value is None:
        return IPv6Address(0)
    return IPv4Address(bytes(value)) if len(value) == 4 else IPv6Address(bytes(value))


def _decode_prefix(entry: memoryview) -> tuple[Network, bool]:
    found = attribute_map(entry)
    address = bytes(found[_X_ADDRESS])
    length = found[_X_LENGTH][0]
    flags = _U32.unpack(found[_X_FLAGS])[0] if _X_FLAGS in found else 0
    network: Network = (
        IPv4Network((address, length)) if len(address) == 4 else IPv6Network((address, length))
    )
    return network, bool(flags & _PREFIX_LOCAL)


def _decode_traffic(nested: memoryview | None) -> Traffic:
    traffic = Traffic()
    if nested is None:
        return traffic
    for kind, value in attributes(nested):
        if kind == 2:
            traffic.rx_packets = _U64.unpack(value)[0]
        elif kind == 3:
            traffic.rx_bytes = _U64.unpack(value)[0]
        elif kind == 4:
            traffic.tx_packets = _U64.unpack(value)[0]
        elif kind == 5:
            traffic.tx_bytes = _U64.unpack(value)[0]
    return traffic
