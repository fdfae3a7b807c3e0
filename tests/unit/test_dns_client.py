# SPDX-License-Identifier: GPL-2.0-only
"""DNS through real sockets: queries, updates, and a router's bootstrapping with them."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Coroutine
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dsmip.linux.dns_socket import name_servers, open_socket, target
from dsmip.mobility.bootstrap import BootstrapConfig, Target
from dsmip.mobility.effects import UpdateName, Uplink
from dsmip.mobility.resolver import Way
from dsmip.mobility.router_view import State
from dsmip.packet import dns, dns_update
from dsmip.packet.dns import Question, Record, RecordType, Response, Service, build_message
from dsmip.service import bootstrapping, dns_updates
from dsmip.service.bootstrap_config import BootstrapSection
from dsmip.service.bootstrapping import Bootstrapping, FoundFile
from dsmip.service.dns_client import talk
from dsmip.service.dns_config import DnsSection
from dsmip.service.dns_updates import NameUpdater

HERE = IPv4Address("127.0.0.1")
KEY = dns_update.Key("ha1-key", b"sixteen and sixteen are 32 octets")
HA6, HA4 = IPv6Address("2001:db8:1::1"), IPv4Address("198.51.100.1")
HOA = IPv6Address("2001:db8:1::4017")
SRV, AGENT, BUS = "_mip6._ipv6.example.test", "ha1.example.test", "bus-17.example.test"
Answer = Callable[[bytes, bool], list[bytes]]


class Server(asyncio.DatagramProtocol):
    """A name server on this host; ``answer`` is given each message and whether it came by TCP."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.seen: list[bytes] = []
        self.port = 0

    async def __aenter__(self) -> Server:
        loop = asyncio.get_running_loop()
        while True:
            self.transport, _ = await loop.create_datagram_endpoint(
                lambda: self, local_addr=(str(HERE), 0)
            )
            self.port = self.transport.get_extra_info("sockname")[1]
            try:
                self.tcp = await asyncio.start_server(self.stream, str(HERE), self.port)
            except OSError:  # the port is somebody's over TCP
                self.transport.close()
            else:
                return self

    async def __aexit__(self, *_: object) -> None:
        self.transport.close()
        self.tcp.close()

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.seen.append(data)
        for reply in self.answer(data, False):
            self.transport.sendto(reply, address)

    async def stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
        data = await reader.readexactly(size)
        self.seen.append(data)
        for reply in self.answer(data, True):
            octets = struct.pack("!H", len(reply)) + reply
            # In two parts, as networks like to have it.
            writer.write(octets[:3])
            await writer.drain()
            writer.write(octets[3:])
        writer.close()


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 20))


def asked(data: bytes) -> tuple[int, Question]:
    name, end = dns.read_name(data, 12)
    return int.from_bytes(data[:2], "big"), Question(name, *struct.unpack_from("!2H", data, end))


ZONE: dict[tuple[str, int], tuple[Record, ...]] = {
    (SRV, RecordType.SRV): (Record(SRV, RecordType.SRV, 60, Service(10, 0, 0, AGENT)),),
    (AGENT, RecordType.AAAA): (Record(AGENT, RecordType.AAAA, 60, HA6),),
    (AGENT, RecordType.A): (Record(AGENT, RecordType.A, 60, HA4),),
}


def from_zone(data: bytes, tcp: bool) -> list[bytes]:
    id, question = asked(data)
    found = ZONE.get((question.name, question.type), ())
    flags = 0x8180 if tcp or question.type != RecordType.SRV else 0x8380
    return [build_message(id, 0, (question,), (found if flags == 0x8180 else (), (), ()), flags)]


# --- sockets --------------------------------------------------------------------------


@pytest.mark.parametrize("tcp", [False, True])
def test_one_message_and_its_answer(tcp: bool) -> None:
    async def work() -> Response:
        async with Server(from_zone) as server:
            query = dns.build_query(7, Question(AGENT, RecordType.AAAA))
            async for data in talk(query, HERE, server.port, HERE, tcp=tcp):
                return dns.parse(data)
        raise AssertionError("no answer")

    assert [record.data for record in run(work()).answers] == [HA6]


def test_a_server_that_is_not_there() -> None:
    async def work(tcp: bool) -> None:
        async for _ in talk(b"\0" * 12, HERE, 1, tcp=tcp):
            pass

    for tcp in (False, True):
        with pytest.raises(ConnectionRefusedError):
            run(work(tcp))


def test_a_server_that_hangs_up() -> None:
    async def work() -> None:
        async with Server(lambda data, tcp: []) as server:
            async for _ in talk(b"\0" * 12, HERE, server.port, tcp=True):
                pass

    with pytest.raises(OSError, match="closed the connection"):
        run(work())


def test_sockets_are_bound_to_the_uplink() -> None:
    with open_socket(HERE, HERE, 0, tcp=False) as made:
        assert made.getsockname()[0] == str(HERE)
    with pytest.raises(OSError, match="no way from"):
        open_socket(HERE, ip_address("2001:db8::1"), 0, tcp=False)
    with pytest.raises(OSError, match="assign requested address"):
        open_socket(HERE, IPv4Address("192.0.2.1"), 0, tcp=False)
    assert target(ip_address("fe80::1"), 53, 4) == ("fe80::1", 53, 0, 4)
    assert target(ip_address("2001:db8::1"), 53, 4) == ("2001:db8::1", 53, 0, 0)


def test_resolv_conf(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(
        "# Interface wan\nnameserver 192.0.2.53\nnameserver 2001:db8:53::1 # primary\n"
        "nameserver fe80::1%wan0\nnameserver x\nnameserver\nsearch example.test\n"
        "nameserver 192.0.2.53\nnameserver ff02::1\noptions edns0\n"
    )
    assert [str(a) for a in name_servers(str(file))] == ["192.0.2.53", "2001:db8:53::1", "fe80::1"]
    assert name_servers(str(tmp_path / "none")) == ()
    assert name_servers(str(tmp_path)) == ()
    file.write_text("\n".join(f"nameserver 192.0.2.{n}" for n in range(1, 200)))
    assert len(name_servers(str(file))) == 8


# --- updates --------------------------------------------------------------------------


def signed(rcode: int = 0, key: dns_update.Key = KEY) -> Answer:
    """Answer updates as named does; the code of the request is at the end of its TSIG."""

    def answer(data: bytes, tcp: bool) -> list[bytes]:
        id, zone = asked(data)
        code = data[-6 - 32 : -6]
        bare = build_message(id, dns.Opcode.UPDATE, (zone,), ((), (), ()), 0x8000 | rcode)
        return [dns_update.sign(bare, id, key, time_of(data), code)[0]]

    return answer


def time_of(data: bytes) -> float:
    return int.from_bytes(data[-6 - 32 - 2 - 8 : -6 - 32 - 2 - 2], "big")


def updated(answer: Answer, remove: bool = False, **more: Any) -> tuple[list[str], list[bytes]]:
    """Let a name be updated; return why it failed, and what the server saw."""

    async def work() -> tuple[list[str], list[bytes]]:
        errors: list[str] = []
        done = asyncio.Event()

        def ended(wish: UpdateName, error: str) -> None:
            errors.append(error)
            done.set()

        async with Server(answer) as server:
            section = DnsSection(HERE, "example.test", KEY, server.port, **more)
            NameUpdater(section, ended).update(UpdateName(HOA, BUS, remove))
            await done.wait()
            return errors, server.seen

    found: tuple[list[str], list[bytes]] = run(work())
    return found


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_updates, "_WAITS", (0.2, 0.2, 0.2))


def test_an_update_is_performed() -> None:
    errors, seen = updated(signed())
    assert errors == [""]
    assert len(seen) == 1
    assert HOA.packed in seen[0]
    assert dns.encode_name(BUS) in seen[0]
    errors, seen = updated(signed(), reverse_zone="8.b.d.0.1.0.0.2.ip6.arpa")
    assert errors == [""]
    assert [asked(data)[1].name for data in seen] == ["example.test", "8.b.d.0.1.0.0.2.ip6.arpa"]


def test_an_update_that_is_refused_or_not_answered() -> None:
    assert updated(signed(dns.Rcode.REFUSED))[0] == ["the name server says REFUSED"]
    errors, seen = updated(lambda data, tcp: [])
    assert errors == ["the name server does not answer"]
    assert len(seen) == 3


def test_forged_answers_do_not_count() -> None:
    """Neither success from who has no key, nor failure."""
    other = dns_update.Key("ha1-key", b"another secret of sixteen octets")
    errors, _ = updated(signed(key=other))
    assert errors == ["the signature of the answer is wrong"]

    def both(data: bytes, tcp: bool) -> list[bytes]:
        id, zone = asked(data)
        bare = build_message(id, dns.Opcode.UPDATE, (zone,), ((), (), ()), 0x8005)
        return [bare, b"x", *signed(5, other)(data, tcp), *signed()(data, tcp)]

    assert updated(both)[0] == [""]


def test_updates_of_one_address_keep_their_order() -> None:
    async def work() -> list[str]:
        order: list[str] = []
        done = asyncio.Event()

        def ended(wish: UpdateName, error: str) -> None:
            order.append("removed" if wish.remove else "made")
            if len(order) == 3:
                done.set()

        async with Server(signed()) as server:
            updater = NameUpdater(DnsSection(HERE, "example.test", KEY, server.port), ended)
            for remove in (False, True, False):
                updater.update(UpdateName(HOA, BUS, remove))
            await done.wait()
            return order

    assert run(work()) == ["made", "removed", "made"]


# --- bootstrapping ----------------------------------------------------------------------


class Router:
    """What bootstrapping sees of the mobile router's role."""

    def __init__(self) -> None:
        self.section: Any = SimpleNamespace(
            engine=SimpleNamespace(home_agent6=IPv6Address(0), home_agent4=None), rows=()
        )
        self.uplinks: tuple[Uplink, ...] = ()
        self.view: Any = SimpleNamespace(
            state=State.DETACHED, uplink="", attempts=0, problem="", refusal=0
        )

    def registration(self) -> Any:
        return self.view

    def use_home_prefix(self, prefix: object) -> None:
        raise AssertionError("nobody has told it")


def test_a_router_finds_its_home_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> tuple[list[Target], dict[str, Any]]:
        async with Server(from_zone) as server:
            way = Way(HERE, None, 0, server.port)
            monkeypatch.setattr(bootstrapping, "ways", lambda *_: (way,))
            router, used = Router(), []
            found = asyncio.Event()

            def use(target: Target) -> None:
                used.append(target)
                found.set()

            section = BootstrapSection(BootstrapConfig(domain="example.test"), (HERE,))
            memory = FoundFile(str(tmp_path))
            made = Bootstrapping(section, asyncio.get_running_loop(), memory, router, use)
            made.observe()
            assert made.document()["state"] == "no access network"
            router.uplinks = (Uplink("wan0", 2, 10, addresses4=(HERE,), gateway4=True),)
            made.observe()
            await found.wait()
            router.view.state, router.view.problem = State.REFUSED, "status 134"
            router.view.refusal = 134
            made.observe()
            assert made.document()["state"] == "trying a home agent", "with another address"
            router.view.state, router.view.refusal = State.REGISTERED, 0
            made.keys_up()
            made.home_address(HOA)
            made.observe()
            document = made.document()
            router.view.state = State.DETACHED
            made.observe()
            assert made.document()["state"] == "asking DNS for home agents", "no way to it"
            made.stop()
            await asyncio.sleep(0)
            assert memory.read(section.engine) == used[0]
            return used, document

    used, document = run(work())
    assert used == [Target(AGENT, HA6, HA4)]
    assert document["state"] == "registered"
    assert document["counters"]["dns_truncated"] == 1, "the SRV record came by TCP"
    assert [entry["failed"] for entry in document["steps"]] == [False] * 6
