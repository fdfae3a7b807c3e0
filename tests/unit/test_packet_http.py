# SPDX-License-Identifier: GPL-2.0-only
"""One question by HTTP, and answers of servers good, bad and hostile."""

from __future__ import annotations

import re

import pytest
from dsmip.packet.errors import Malformed
from dsmip.packet.http import (
    REPLY_MAX,
    URL_MAX,
    Reply,
    Target,
    complete,
    host_of,
    parse_reply,
    parse_url,
    question,
)
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://check.example", Target("check.example")),
        ("http://check.example/generate_204", Target("check.example", 80, "/generate_204")),
        ("http://192.0.2.1:8080/a?b=c", Target("192.0.2.1", 8080, "/a?b=c")),
        ("http://[2001:DB8::1]:1/", Target("2001:db8::1", 1)),
    ],
)
def test_urls_that_can_be_asked(url: str, expected: Target) -> None:
    assert parse_url(url) == expected
    assert parse_url(parse_url(url).url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "check.example",
        "https://check.example/",
        "http://",
        "http://user@check.example/",
        "http://check.example:0/",
        "http://check.example:65536/",
        "http://check.example:123456/",
        "http://[2001:db8::g]/",
        "http://[::ffff:1.2.3.4.5]/",
        "http://check..example/",
        f"http://{'a' * 64}.example/",
        "http://check.example/ HTTP/1.1",
        "http://check.example/\r\nHost: other",
        "http://check.example/\x7f",
        "http://bücher.example/",
        "http://check.example/" + "a" * (URL_MAX - 20),
    ],
)
def test_urls_that_cannot(url: str) -> None:
    with pytest.raises(ValueError, match=r"^an http:// URL"):
        parse_url(url)


def test_the_longest_url() -> None:
    url = "http://check.example/" + "a" * (URL_MAX - 21)
    assert parse_url(url).url == url


def test_the_question_is_one_request() -> None:
    asked = question(Target("2001:db8::1", 8080, "/x?y"))
    head, rest = asked.split(b"\r\n\r\n")
    assert rest == b""
    first, *fields = head.split(b"\r\n")
    assert first == b"GET /x?y HTTP/1.1"
    assert b"Host: [2001:db8::1]:8080" in fields
    assert b"Connection: close" in fields


def test_an_answer_is_read() -> None:
    data = (
        b"HTTP/1.1 302 Found\r\nlOCATION:  http://p.example/login \r\nLocation: http://x/\r\n\r\nB"
    )
    assert parse_reply(data) == Reply(302, "http://p.example/login", b"B")


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.0 200\r\n\r\nhello",
        b"HTTP/1.1 200 OK\nServer: cheap\n\nhello",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded: line\r\nno field at all\r\n: empty\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 2000 + b"\r\nhello",
    ],
    ids=["no reason", "line feeds", "bad fields", "many fields"],
)
def test_bad_servers_are_understood(data: bytes) -> None:
    assert parse_reply(data) == Reply(200, "", b"hello")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 099 x\r\n\r\n",
        b"HTTP/1.1 600 x\r\n\r\n",
        b"HTTP/1.1 2000 x\r\n\r\n",
        b"HTTP/1.1 2x0 x\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * REPLY_MAX + b"\r\n\r\n",
    ],
)
def test_what_is_no_answer(data: bytes) -> None:
    with pytest.raises(Malformed):
        parse_reply(data)


@pytest.mark.parametrize(
    "location",
    [
        b"http://p.example/\x1b]0;owned\x07",
        b"http://p.example/\xff",
        b"http://p.example/a b",
        b"http://p.example/" + b"a" * URL_MAX,
    ],
    ids=["control", "not ASCII", "space", "long"],
)
def test_locations_that_nobody_is_shown(location: bytes) -> None:
    assert parse_reply(b"HTTP/1.1 302 x\r\nLocation: " + location + b"\r\n\r\n").location == ""


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://p.example/x", "p.example"),
        ("HTTPS://P.Example:8443", "p.example"),
        ("http://[2001:DB8::1]/", "2001:db8::1"),
        ("/login", ""),
        ("javascript:alert(1)", ""),
        ("//p.example/", ""),
        ("ftp://p.example/", ""),
    ],
)
def test_hosts_of_locations(url: str, host: str) -> None:
    assert host_of(url) == host


@pytest.mark.parametrize(
    ("data", "enough"),
    [
        (b"HTTP/1.1 302 x\r\nLocation: http://p/", False),
        (b"HTTP/1.1 302 x\r\nLocation: http://p/\r\n\r\n", True),
        (b"HTTP/1.1 204 x\r\n\r\n", True),
        (b"HTTP/1.1 200 x\r\n\r\nhel", False),
        (b"HTTP/1.1 200 x\r\nContent-Length: 5\r\n\r\nhell", False),
        (b"HTTP/1.1 200 x\r\nContent-Length: 5\r\n\r\nhello", True),
        (b"HTTP/1.1 200 x\ncontent-length:5\n\nhello", True),
        (b"HTTP/1.1 200 x\r\nContent-Length: -1\r\n\r\nhello", False),
        (b"x" * REPLY_MAX, True),
    ],
)
def test_when_an_answer_has_come(data: bytes, enough: bool) -> None:
    assert complete(data) is enough
    assert complete(bytearray(data)) is enough


@given(
    st.lists(
        st.sampled_from(
            [b"HTTP/1.1 ", b"200 ", b"302 ", b"511", b"\r\n", b"\n", b"\r\n\r\n", b"Location: "]
        )
        | st.binary(max_size=8),
        max_size=12,
    ).map(b"".join)
)
def test_nothing_but_answers_and_malformed(data: bytes) -> None:
    complete(data)
    try:
        reply = parse_reply(data)
    except Malformed:
        return
    assert 100 <= reply.status < 600
    assert re.fullmatch(r"[!-~]*", reply.location)
