# SPDX-License-Identifier: GPL-2.0-only
"""The question for portals through real sockets, to servers that mean no good."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from dsmip.mobility.captive import Access, Expected, Verdict
from dsmip.packet import dns
from dsmip.packet.dns import Record, RecordType, build_message
from dsmip.packet.http import REPLY_MAX, Target
from dsmip.service import portal_probe

from tests.unit.test_dns_client import Server

HERE = IPv4Address("127.0.0.1")
NO_CONTENT = Expected(204)
LOGIN = "http://p.example/login"
FOUND = f"HTTP/1.1 302 Found\r\nLocation: {LOGIN}\r\n".encode()
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def web(serve: Serve) -> AsyncIterator[int]:
    """A web server on this host; yields its port."""

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await serve(reader, writer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(guarded, str(HERE), 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def ask(serve: Serve, expected: Expected = NO_CONTENT) -> Verdict:
    async def run() -> Verdict:
        async with web(serve) as port:
            return await portal_probe.ask((Target(str(HERE), port, "/x"),), expected, (HERE,), 0)

    return asyncio.run(run())


def says(*parts: bytes, wait: float = 0.0) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(wait)

    return serve


def test_the_request_that_a_server_gets() -> None:
    got = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    assert ask(serve) == Verdict(Access.OPEN)
    assert got[0].startswith(b"GET /x HTTP/1.1\r\nHost: 127.0.0.1:")


def test_a_redirect_and_a_body_in_pieces() -> None:
    assert ask(says(FOUND, b"\r\n", wait=0.05)) == Verdict(Access.CAPTIVE, LOGIN)
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
    assert ask(says(page, b"suc", b"cess!!", wait=0.05), Expected(text="success")).access is (
        Access.OPEN
    )


def test_a_body_without_end_is_not_read_to_the_end() -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while sent < 1 << 26:
            writer.write(bytes(1 << 16))
            await writer.drain()
            sent += 1 << 16

    assert ask(serve).access is Access.CAPTIVE
    assert sent < 1 << 25  # what the kernel's buffers hold, no more


def test_a_head_without_end_is_no_answer() -> None:
    assert ask(says(b"HTTP/1.1 200 OK\r\nA: " + b"x" * 2 * REPLY_MAX)).access is Access.UNCLEAR


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portal_probe, "TIMEOUT", 0.5)


@pytest.mark.usefixtures("hurried")
def test_who_drips_is_not_waited_for() -> None:
    drops = [bytes((octet,)) for octet in FOUND]
    began = time.monotonic()
    assert ask(says(*drops, wait=0.1)).access is Access.UNCLEAR
    assert ask(says(wait=0)).access is Access.SILENT
    # The head is there, and its body never ends.
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nlog in"
    assert ask(says(page, b"", wait=5)).access is Access.CAPTIVE
    assert time.monotonic() - began < 5


@pytest.mark.usefixtures("hurried")
def test_who_says_nothing_is_silent() -> None:
    assert ask(says(b"", wait=5)).access is Access.SILENT


def test_who_breaks_off() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    assert ask(reset).access is Access.UNCLEAR
    assert ask(says(FOUND)).access is Access.UNCLEAR


def test_what_is_not_http() -> None:
    assert ask(says(b"SSH-2.0-x\r\n\r\n")).access is Access.UNCLEAR
    assert ask(says(bytes(100))).access is Access.UNCLEAR


def test_a_closed_port_is_somebody() -> None:
    with socket.socket() as sock:
        sock.bind((str(HERE), 0))
        target = Target(str(HERE), sock.getsockname()[1])
    verdict = asyncio.run(portal_probe.ask((target,), Expected(), (HERE,), 0))
    assert verdict.access is Access.UNCLEAR


def test_no_way_is_silence() -> None:
    six = IPv6Address("2001:db8::5")
    for targets, sources in (
        ((Target("198.51.100.1"),), (six,)),
        ((Target("198.51.100.1"),), ()),
        ((), (HERE,)),
        ((Target("2001:db8::1"),), (six,)),  # an address that this host does not have
    ):
        verdict = asyncio.run(portal_probe.ask(targets, Expected(), sources, 0))
        assert verdict.access is Access.SILENT


def lookup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[[bytes, bool], list[bytes]]
) -> Verdict:
    """Ask by a name that a name server of ours knows."""
    conf = tmp_path / "resolv.conf"
    conf.write_text(f"nameserver {HERE}\n")
    monkeypatch.setattr(portal_probe, "RESOLV_CONF", str(conf))
    monkeypatch.setattr(portal_probe, "_DNS_TIMEOUT", 0.3)

    async def run() -> Verdict:
        async with Server(answer) as server, web(says(b"HTTP/1.1 204 x\r\n\r\n")) as port:
            monkeypatch.setattr(dns, "PORT", server.port)
            target = Target("check.example", port)
            return await portal_probe.ask((target,), Expected(204), (HERE,), 0)

    return asyncio.run(run())


def reply(query: bytes, *records: Record, id: int | None = None) -> bytes:
    asked = dns.Question("check.example", RecordType.A)
    number = int.from_bytes(query[:2]) if id is None else id
    return build_message(number, 0, (asked,), (records, (), ()), 0x8180)


ADDRESS = Record("check.example", RecordType.A, 60, HERE)


def test_a_name_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alias = Record("check.example", RecordType.CNAME, 60, "edge.example")
    edge = Record("edge.example", RecordType.A, 60, HERE)
    found = lookup(tmp_path, monkeypatch, lambda query, _tcp: [reply(query, alias, edge)])
    assert found.access is Access.OPEN


def test_all_addresses_of_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a way to log in; a family that the name server does not know takes nothing away."""
    second = Record("check.example", RecordType.A, 60, IPv4Address("10.0.8.1"))
    six = Record("check.example", RecordType.AAAA, 60, IPv6Address("2001:db8::1"))
    conf = tmp_path / "resolv.conf"
    conf.write_text(f"nameserver {HERE}\n")
    monkeypatch.setattr(portal_probe, "RESOLV_CONF", str(conf))
    monkeypatch.setattr(portal_probe, "_DNS_TIMEOUT", 0.3)

    async def run(name: str, *sources: IPv4Address | IPv6Address) -> tuple[object, ...]:
        async with Server(lambda query, _tcp: [reply(query, ADDRESS, six, second)]) as server:
            monkeypatch.setattr(dns, "PORT", server.port)
            return await portal_probe.look_up(name, sources, 0)

    both = (HERE, IPv6Address("::1"))
    assert asyncio.run(run("Check.example.", *both)) == (HERE, IPv4Address("10.0.8.1"))
    assert asyncio.run(run("other.example", *both)) == ()
    assert asyncio.run(run("check.example")) == ()


def test_stray_answers_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(query: bytes, _tcp: bool) -> list[bytes]:
        other = (int.from_bytes(query[:2]) + 1) & 0xFFFF
        return [b"junk", reply(query, ADDRESS, id=other), query, reply(query, ADDRESS)]

    assert lookup(tmp_path, monkeypatch, answer).access is Access.OPEN


@pytest.mark.parametrize("records", [(), (Record("check.example", 16, 60, b"\1x"),)])
def test_a_name_without_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: tuple[Record, ...]
) -> None:
    found = lookup(tmp_path, monkeypatch, lambda query, _tcp: [reply(query, *records)])
    assert found.access is Access.SILENT


def test_a_name_server_that_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lookup(tmp_path, monkeypatch, lambda _query, _tcp: []).access is Access.SILENT
