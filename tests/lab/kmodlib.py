# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of dsmip.ko share: namespaces, a netlink client, packets.

The client speaks generic netlink by itself, so that a test can also say what no
daemon ever would, and takes every number from ``kmod/uapi/dsmip.h``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import select
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parents[2]
CLONE_NEWNET = 0x40000000
RCVBUFFORCE = 33  # as large as asked for, whatever rmem_max is
_libc = ctypes.CDLL(None, use_errno=True)

# --- namespaces -------------------------------------------------------------


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """Put the calling thread into a network namespace; sockets stay there."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        if _libc.setns(there, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {name}")
        yield
    finally:
        _libc.setns(here, CLONE_NEWNET)
        os.close(here)
        os.close(there)


def run(command: str, *, check: bool = True, timeout: float = 60) -> str:
    """Run a shell command; return what it prints.

    Raises AssertionError with that output when it fails and ``check`` is set.
    """
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}"
    return done.stdout


def ns_run(name: str, command: str, *, check: bool = True, timeout: float = 60) -> str:
    """Run a command in a network namespace."""
    with inside(name):
        return run(command, check=check, timeout=timeout)


def ip_batch(name: str, text: str) -> None:
    """Run lines of ``ip`` commands in a namespace, one process for all of them.

    Lines that start with -6 come last, in a process of their own.
    """
    lines = [line.strip() for line in text.strip().splitlines()]
    batches: list[tuple[list[str], list[str]]] = [
        ([], [line for line in lines if not line.startswith("-6 ")]),
        (["-6"], [line.removeprefix("-6 ") for line in lines if line.startswith("-6 ")]),
    ]
    for options, chosen in batches:
        if not chosen:
            continue
        command = ["ip", *options, "-n", name, "-batch", "-"]
        given = "\n".join(chosen)
        done = subprocess.run(command, input=given, text=True, capture_output=True, check=False)
        assert done.returncode == 0, f"{command}:\n{given}\n{done.stderr}"


def sysctl(name: str, settings: dict[str, object]) -> None:
    """Write sysctls of a namespace; keys as paths below /proc/sys."""
    with inside(name):
        for key, value in settings.items():
            Path("/proc/sys", key).write_text(f"{value}\n")


def delete_namespaces(*names: str) -> None:
    """Delete those of the namespaces that exist."""
    for name in names:
        if os.path.exists(f"/run/netns/{name}"):
            run(f"ip netns del {name}")


class Changes:
    """Tells whether links, addresses, routes, rules or SAs of a namespace were changed."""

    # LINK, TC, addresses, routes and rules of both families, NETCONF; SA, POLICY.
    _GROUPS: Final = {0: (1, 4, 5, 7, 8, 9, 11, 19, 24, 25), 6: (3, 4)}

    def __init__(self, ns: str) -> None:
        self._sockets = []
        for protocol, groups in self._GROUPS.items():
            with inside(ns):
                one = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
            one.bind((0, 0))
            self._sockets.append(one)
            for group in groups:
                one.setsockopt(270, 1, group)

    def any(self, timeout: float = 0) -> bool:
        """Tell whether there was a change since it was last forgotten."""
        return bool(select.select(self._sockets, [], [], timeout)[0])

    def forget(self, settle: float) -> None:
        """Forget all until it is quiet for so many seconds."""
        while ready := select.select(self._sockets, [], [], settle)[0]:
            for one in ready:
                with contextlib.suppress(OSError):  # too many of them for its buffer
                    one.recv(1 << 16)

    def close(self) -> None:
        """Stop listening."""
        for one in self._sockets:
            one.close()


# --- the kernel's log and the module ----------------------------------------

COMPLAINT = re.compile(
    r"WARNING|BUG|Oops|Call Trace|general protection|refcount_t|suspicious RCU|"
    r"unregister_netdevice|Unaligned|dsmip.*leak|pcpu_stat|rcu:.*stall|soft lockup"
)


class KernelLog:
    """What the kernel says from now on."""

    def __init__(self) -> None:
        self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._fd, 0, os.SEEK_END)

    def lines(self) -> list[str]:
        """Return the lines since the last call."""
        found = []
        while True:
            try:
                record = os.read(self._fd, 8192)
            except BlockingIOError:
                return found
            except BrokenPipeError:
                continue
            found.append(record.decode(errors="replace").partition(";")[2].rstrip())

    def complaints(self) -> list[str]:
        """Return the lines since the last call that tell of a fault."""
        return [line for line in self.lines() if COMPLAINT.search(line)]

    def close(self) -> None:
        """Stop reading."""
        os.close(self._fd)


def module_file() -> Path:
    """Return the dsmip.ko built for the running kernel."""
    if "DSMIP_KO" in os.environ:
        return Path(os.environ["DSMIP_KO"])
    release = os.uname().release
    for found in sorted((ROOT / "build").glob("**/dsmip.ko")):
        if release in found.parts or release in run(f"modinfo -F vermagic {found}").split():
            return found
    raise FileNotFoundError(f"no dsmip.ko for {release} below build/: make kmod")


def load_module() -> None:
    """Load dsmip.ko unless it is there."""
    if os.path.exists("/sys/module/dsmip"):
        return
    run("modprobe -a udp_tunnel ip6_udp_tunnel tunnel4 tunnel6 veth dummy")
    run(f"insmod {module_file()}")


def unload_module() -> None:
    """Unload dsmip.ko, whatever devices there are."""
    run("rmmod dsmip")


# --- numbers of the interface ------------------------------------------------


def _header_numbers() -> dict[str, int]:
    text = (ROOT / "kmod/uapi/dsmip.h").read_text()
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    numbers: dict[str, int] = {}
    for name, shift in re.findall(r"#define\s+(\w+)\s+\(1U << (\d+)\)", text):
        numbers[name] = 1 << int(shift)
    for name, value in re.findall(r"#define\s+(\w+)\s+(0x[0-9a-fA-F]+|\d+)\s*$", text, flags=re.M):
        numbers[name] = int(value, 0)
    for body in re.findall(r"enum\s*\w*\s*\{(.*?)\}", text, flags=re.S):
        names = [part.strip() for part in body.split(",") if part.strip()]
        numbers.update({name: at for at, name in enumerate(names)})
    return numbers


N = _header_numbers()
COUNTERS = [
    name.removeprefix("DSMIP_COUNT_").lower() for name in N if name.startswith("DSMIP_COUNT_")
]
KINDS = {"ip6": 1, "ip4": 2, "udp4": 3, "ro": 4}
EVENTS = {N[name]: name.removeprefix("DSMIP_EVENT_") for name in N if name.startswith("DSMIP_EV")}

# --- netlink ----------------------------------------------------------------


class NetlinkError(OSError):
    """The kernel's answer to a bad request.

    ``message`` is its extended acknowledgement, ``attribute`` the octets of the
    request from the attribute that it points to ("" and None without).
    """

    def __init__(self, number: int, message: str, attribute: bytes | None) -> None:
        super().__init__(number, f"{os.strerror(number)}: {message}")
        self.message = message
        self.attribute = attribute

    def names(self, attribute: str) -> bool:
        """Tell whether the kernel pointed to this attribute."""
        if self.attribute is None:
            return False
        return struct.unpack_from("=H", self.attribute, 2)[0] & 0x3FFF == N[attribute]


def attr(name: str | int, payload: bytes) -> bytes:
    """Return one netlink attribute."""
    number = N[name] if isinstance(name, str) else name
    return struct.pack("=HH", 4 + len(payload), number) + payload + bytes(-len(payload) % 4)


def nest(name: str | int, *members: bytes) -> bytes:
    """Return a nested netlink attribute."""
    number = N[name] if isinstance(name, str) else name
    return attr(number | 0x8000, b"".join(members))


def u8(value: int) -> bytes:
    """Pack 8 bits."""
    return struct.pack("=B", value)


def u16(value: int) -> bytes:
    """Pack 16 bits in host order."""
    return struct.pack("=H", value)


def u32(value: int) -> bytes:
    """Pack 32 bits in host order."""
    return struct.pack("=I", value)


def packed(address: str | bytes) -> bytes:
    """Return an address in network order; octets as they are."""
    return address if isinstance(address, bytes) else ip_address(address).packed


def path(
    kind: str | int = "udp4",
    local: str | bytes | None = None,
    remote: str | bytes | None = None,
    *,
    bid: int = 0,
    port: int | None = None,
    ifindex: int | None = None,
    priority: int | None = None,
    flags: int | None = None,
    silent_ms: int | None = None,
    extra: bytes = b"",
) -> bytes:
    """Return the members of a path's nest."""
    out = attr("DSMIP_PATH_A_BID", u16(bid))
    out += attr("DSMIP_PATH_A_KIND", u8(KINDS[kind] if isinstance(kind, str) else kind))
    if local is not None:
        out += attr("DSMIP_PATH_A_LOCAL", packed(local))
    if remote is not None:
        out += attr("DSMIP_PATH_A_REMOTE", packed(remote))
    if port is None and kind == "udp4":
        port = N["DSMIP_UDP_PORT"]
    if port is not None:
        out += attr("DSMIP_PATH_A_REMOTE_PORT", struct.pack("!H", port))
    if ifindex is not None:
        out += attr("DSMIP_PATH_A_IFINDEX", u32(ifindex))
    if priority is not None:
        out += attr("DSMIP_PATH_A_PRIORITY", u8(priority))
    if flags is not None:
        out += attr("DSMIP_PATH_A_FLAGS", u32(flags))
    if silent_ms is not None:
        out += attr("DSMIP_PATH_A_SILENT_MS", u32(silent_ms))
    return out + extra


def prefix(network: str, *, local: bool = False, remove: bool = False) -> bytes:
    """Return the members of a prefix's nest."""
    net = ip_network(network)
    out = attr("DSMIP_PREFIX_A_ADDRESS", net.network_address.packed)
    out += attr("DSMIP_PREFIX_A_LENGTH", u8(net.prefixlen))
    flags = local * N["DSMIP_PREFIX_F_LOCAL"] | remove * N["DSMIP_PREFIX_F_REMOVE"]
    return out + (attr("DSMIP_PREFIX_A_FLAGS", u32(flags)) if flags else b"")


def members(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and payload of each attribute."""
    at = 0
    while at + 4 <= len(data):
        length, number = struct.unpack_from("=HH", data, at)
        assert 4 <= length <= len(data) - at
        yield number & 0x3FFF, data[at + 4 : at + length]
        at += (length + 3) & ~3


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _port(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _address(data: bytes) -> str:
    return str(ip_address(data))


def _decode(data: bytes, start: str) -> dict[str, Any]:
    names = {N[name]: name.removeprefix(start).lower() for name in N if name.startswith(start)}
    return {names[number]: _value(names[number], raw) for number, raw in members(data)}


def _value(name: str, raw: bytes) -> Any:
    match name:
        case "home_address" | "home_address4" | "local" | "remote" | "address":
            return _address(raw)
        case "port" | "remote_port":
            return _port(raw)
        case "ifname":
            return raw.rstrip(b"\0").decode()
        case "data":
            return raw
        case "paths":
            return [_decode(one, "DSMIP_PATH_A_") for _, one in members(raw)]
        case "path":
            return _decode(raw, "DSMIP_PATH_A_")
        case "prefixes":
            return [_decode(one, "DSMIP_PREFIX_A_") for _, one in members(raw)]
        case "stats":
            return _decode(raw, "DSMIP_STATS_A_")
        case "counters":
            return {COUNTERS[number - 1]: _number(one) for number, one in members(raw)}
        case "event":
            return EVENTS[_number(raw)]
        case _:
            return _number(raw)


class Genl:
    """A generic netlink socket in a namespace."""

    def __init__(self, ns: str) -> None:
        with inside(ns):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
        for option in (10, 11, 12):  # CAP_ACK, EXT_ACK, GET_STRICT_CHK
            self._socket.setsockopt(270, option, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, RCVBUFFORCE, 4 << 20)
        self._socket.bind((0, 0))
        self._socket.settimeout(10)
        self._sequence = 0
        self.family = 16
        answer = self.ask(3, attr(2, b"dsmip\0"), version=2, family=16)[0]
        found = dict(members(answer))
        self.family = _number(found[1])
        self.groups = {}
        for _, group in members(found[7]):
            one = dict(members(group))
            self.groups[one[1].rstrip(b"\0").decode()] = _number(one[2])

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def send(self, command: int, data: bytes, flags: int, version: int, family: int) -> bytes:
        """Send one request and return it whole."""
        self._sequence += 1
        message = struct.pack(
            "=IHHIIBBH", 20 + len(data), family, flags, self._sequence, 0, command, version, 0
        )
        self._socket.send(message + data)
        return message + data

    def ask(
        self,
        command: int,
        data: bytes,
        *,
        dump: bool = False,
        version: int = 1,
        family: int = 0,
    ) -> list[bytes]:
        """Send a request; return the attributes of each answer.

        Raises NetlinkError when the kernel refuses, InterruptedError when what
        a dump shows changed while it was read.
        """
        flags = 0x301 if dump else 0x5
        request = self.send(command, data, flags, version, family or self.family)
        answers: list[bytes] = []
        interrupted = False
        while True:
            batch = self._socket.recv(1 << 18)
            at = 0
            while at < len(batch):
                size, kind, flag, sequence = struct.unpack_from("=IHHI", batch, at)
                body = batch[at + 16 : at + size]
                at += (size + 3) & ~3
                assert sequence == self._sequence
                interrupted |= bool(flag & 0x10) and dump
                if kind == 2 or kind == 3:
                    number = struct.unpack_from("=i", body)[0] if body else 0
                    if number:
                        raise self.error(-number, flag, body, request, kind)
                    if interrupted:
                        raise InterruptedError("the dump is not of one moment")
                    return answers
                answers.append(body[4:])

    @staticmethod
    def error(number: int, flag: int, body: bytes, request: bytes, kind: int) -> NetlinkError:
        """Return what an error message, or the end of a dump, says of the request."""
        message, offset = "", None
        if flag & 0x200:
            for which, raw in members(body[20:] if kind == 2 else body[4:]):
                if which == 1:
                    message = raw.rstrip(b"\0").decode()
                elif which == 2:
                    offset = _number(raw)
        return NetlinkError(number, message, None if offset is None else request[offset:])


def link_add(
    ns: str,
    name: str,
    *,
    port: int | None = None,
    mark_mask: int | None = None,
    ttl: int | None = None,
    change: bool = False,
    link_ns: str | None = None,
) -> None:
    """Create a dsmip device, or change one; ``ip`` does not know our attributes.

    ``link_ns`` is the namespace of the outer side if it is another.
    """
    data = b""
    if port is not None:
        data += attr("IFLA_DSMIP_PORT", struct.pack("!H", port))
    if mark_mask is not None:
        data += attr("IFLA_DSMIP_MARK_MASK", u32(mark_mask))
    if ttl is not None:
        data += attr("IFLA_DSMIP_TTL", u8(ttl))
    body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + attr(3, name.encode() + b"\0")
    body += nest(18, attr(1, b"dsmip\0"), nest(2, data))
    files = []
    if link_ns:
        # Made in link_ns, which stays the outer side, and put into ns.
        files.append(os.open(f"/run/netns/{ns}", os.O_RDONLY))
        body += attr(28, u32(files[0]))
    message = struct.pack("=IHHII", 16 + len(body), 16, 0x5 if change else 0x605, 1, 0) + body
    with inside(link_ns or ns):
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    with sock:
        sock.setsockopt(270, 10, 1)
        sock.setsockopt(270, 11, 1)
        sock.send(message)
        answer = sock.recv(65536)
    for one in files:
        os.close(one)
    flag, number = struct.unpack_from("=H", answer, 6)[0], struct.unpack_from("=i", answer, 16)[0]
    if number:
        raise Genl.error(-number, flag, answer[16:], message, 2)


class Events:
    """The module's events as they come."""

    def __init__(self, ns: str) -> None:
        self._genl = Genl(ns)
        self._socket = self._genl._socket
        self._socket.setsockopt(270, 1, self._genl.groups["events"])

    def next(self, timeout: float = 3.0) -> dict[str, Any] | None:
        """Return the next event, None when there is none in time."""
        ready, _, _ = select.select([self._socket], [], [], timeout)
        if not ready:
            return None
        return _decode(self._socket.recv(65536)[20:], "DSMIP_A_")

    def wait(self, name: str, timeout: float = 3.0) -> dict[str, Any]:
        """Return the next event of this name, passing over others."""
        end = time.monotonic() + timeout
        others = []
        while (left := end - time.monotonic()) > 0:
            event = self.next(left)
            if event and event["event"] == name:
                return event
            others.append(event)
        raise AssertionError(f"no event {name}, but {others}")

    def drain(self, settle: float = 0.1) -> list[dict[str, Any]]:
        """Return all that came and comes until it is quiet."""
        found = []
        while event := self.next(settle):
            found.append(event)
        return found

    def close(self) -> None:
        """Close the socket."""
        self._genl.close()


class Device:
    """One dsmip device, as its daemon sees it."""

    def __init__(self, ns: str, name: str = "mip0") -> None:
        self.ns = ns
        self.name = name
        self.genl = Genl(ns)
        self.address = attr("DSMIP_A_IFNAME", name.encode() + b"\0")

    def ask(self, command: str, *parts: bytes, dump: bool = False) -> list[bytes]:
        """Send a command with the device's name and these attributes."""
        return self.genl.ask(N[f"DSMIP_CMD_{command}"], self.address + b"".join(parts), dump=dump)

    def binding_set(
        self,
        home: str,
        *,
        home4: str | None = None,
        mobile: bool = False,
        paths: list[bytes] | None = None,
        prefixes: list[bytes] | None = None,
        lifetime: int | None = None,
        sequence: int | None = None,
        data: bytes | None = None,
        request: int = 0,
    ) -> None:
        """Create or change a binding."""
        out = attr("DSMIP_A_HOME_ADDRESS", packed(home))
        if home4 is not None:
            out += attr("DSMIP_A_HOME_ADDRESS4", packed(home4))
        if mobile:
            out += attr("DSMIP_A_BINDING_FLAGS", u32(N["DSMIP_BINDING_F_MOBILE"]))
        if request:
            out += attr("DSMIP_A_REQUEST_FLAGS", u32(request))
        if lifetime is not None:
            out += attr("DSMIP_A_LIFETIME", u32(lifetime))
        if sequence is not None:
            out += attr("DSMIP_A_SEQUENCE", u16(sequence))
        if data is not None:
            out += attr("DSMIP_A_DATA", data)
        if paths is not None:
            out += nest("DSMIP_A_PATHS", *(nest(1, one) for one in paths))
        if prefixes is not None:
            out += nest("DSMIP_A_PREFIXES", *(nest(1, one) for one in prefixes))
        self.ask("BINDING_SET", out)

    def binding_get(self, home: str) -> dict[str, Any]:
        """Return one binding."""
        answer = self.ask("BINDING_GET", attr("DSMIP_A_HOME_ADDRESS", packed(home)))
        return _decode(answer[0], "DSMIP_A_")

    def bindings(self) -> list[dict[str, Any]]:
        """Return all bindings."""
        return [_decode(one, "DSMIP_A_") for one in self.ask("BINDING_GET", dump=True)]

    def binding_del(self, home: str | None = None) -> None:
        """Remove a binding, or all."""
        self.ask("BINDING_DEL", attr("DSMIP_A_HOME_ADDRESS", packed(home)) if home else b"")

    def path_set(self, home: str, one: bytes) -> None:
        """Add or change one path."""
        self.ask("PATH_SET", attr("DSMIP_A_HOME_ADDRESS", packed(home)), nest("DSMIP_A_PATH", one))

    def path_del(self, home: str, bid: int) -> None:
        """Remove one path."""
        self.ask(
            "PATH_DEL",
            attr("DSMIP_A_HOME_ADDRESS", packed(home)),
            nest("DSMIP_A_PATH", attr("DSMIP_PATH_A_BID", u16(bid))),
        )

    def device_get(self) -> dict[str, Any]:
        """Return the device's settings and counters."""
        return _decode(self.ask("DEVICE_GET")[0], "DSMIP_A_")

    def counters(self) -> dict[str, int]:
        """Return why packets were dropped, how often."""
        counters: dict[str, int] = self.device_get()["counters"]
        return counters

    @contextlib.contextmanager
    def counting(self, expected: dict[str, int] | None = None, **more: int) -> Iterator[None]:
        """Check that exactly these counters move by so much inside the block.

        A packet may still be under way when the block ends: waits up to 2 s for
        the expected, then looks once more that nothing else came.
        """
        wanted = {**(expected or {}), **more}
        before = self.counters()

        def moved() -> dict[str, int]:
            now = self.counters()
            return {name: now[name] - before[name] for name in now if now[name] != before[name]}

        yield
        end = time.monotonic() + 2
        while moved() != wanted and time.monotonic() < end:
            time.sleep(0.02)
        assert moved() == wanted, f"{moved()} instead of {wanted}"

    def close(self) -> None:
        """Close the socket; the device stays."""
        self.genl.close()
