# SPDX-License-Identifier: GPL-2.0-only
"""As much of HTTP/1.1 (RFC 9112) as it takes to ask one question and read the answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from .dns import encode_name
from .errors import Malformed

#: Octets of an answer that are looked at; what follows is not read.
REPLY_MAX: Final = 16384
#: A longer URL is nothing that anybody would type.
URL_MAX: Final = 512
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[0-9] ([1-5][0-9]{2})(?: [^\0]*)?")
# A bare line feed will do (RFC 9112 section 2.2).
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_LENGTH: Final = re.compile(rb"(?im)^content-length:[ \t]*([0-9]{1,9})[ \t]*\r?$")
_URL: Final = re.compile(
    r"http://(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/[!-~]*)?"
)
_WHOLE: Final = re.compile(
    r"(?i:https?)://(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))"
    r"(?::(?P<port>[0-9]{1,5}))?(?:[/?#][!-~]*)?"
)
_AUTHORITY: Final = re.compile(r"(?i:https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a question goes; ``host`` is a name or an address, without brackets."""

    host: str
    port: int = 80
    path: str = "/"

    @property
    def authority(self) -> str:
        """The host as a URL has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 80 else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.authority}{self.path}"


def parse_url(text: str) -> Target:
    """Read an absolute http URL. Raises ``ValueError`` that says what is wrong with it.

    https is refused: a portal that answers in somebody else's place cannot do so
    there, and what fails for want of its key says nothing.
    """
    found = _URL.fullmatch(text) if len(text) <= URL_MAX else None
    if found is None:
        raise ValueError(f"an http:// URL of at most {URL_MAX} characters")
    host = found["host"] or found["six"]
    try:
        if found["six"]:
            host = str(IPv6Address(host))
        encode_name(host)
    except ValueError:
        raise ValueError("an http:// URL with the name or address of a host") from None
    port = int(found["port"] or 80)
    if not 1 <= port <= 65535:
        raise ValueError("an http:// URL with a port from 1 to 65535")
    return Target(host, port, found["path"] or "/")


def host_of(url: str) -> str:
    """Return the host that an absolute URL names, "" for anything else."""
    found = _AUTHORITY.match(url)
    return "" if found is None else found[1].strip("[]").lower()


def authority_of(url: str) -> tuple[str, int] | None:
    """Return host and port of an absolute URL; port 0 where it names none.

    None for what browsers and this might understand differently, as with a user's
    name in it, and for a port that is none.
    """
    found = _WHOLE.fullmatch(url) if len(url) <= URL_MAX else None
    if found is None:
        return None
    host, port = found["host"] or found["six"], found["port"]
    try:
        if found["six"]:
            host = str(IPv6Address(host))
        encode_name(host)
    except ValueError:
        return None
    if port is not None and not 1 <= int(port) <= 65535:
        return None
    return host.lower(), int(port or 0)


def question(target: Target) -> bytes:
    """Return a request that nothing on the way may answer from memory."""
    return (
        f"GET {target.path} HTTP/1.1\r\nHost: {target.authority}\r\n"
        "User-Agent: dsmip\r\nAccept: */*\r\nCache-Control: no-cache\r\nConnection: close\r\n\r\n"
    ).encode("ascii")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. ``location`` is "" unless it is a URL of printable characters."""

    status: int
    location: str = ""
    body: bytes = b""


def complete(data: bytes | bytearray) -> bool:
    """Tell whether more octets would change nothing of what is read.

    A body is read of a successful answer only.
    """
    if len(data) >= REPLY_MAX:
        return True
    end = _HEAD_END.search(data)
    if end is None:
        return False
    head = bytes(data[: end.start()])
    status = head[9:12]
    if head.startswith(b"HTTP/1.") and (not status.startswith(b"2") or status == b"204"):
        return True
    length = _LENGTH.search(head)
    return length is not None and len(data) - end.end() >= int(length[1])


def parse_reply(data: bytes) -> Reply:
    """Read the beginning of an answer. Raises ``Malformed``.

    Lines that are no fields are passed over: a portal with a bad web server is a
    portal all the same.
    """
    data = data[:REPLY_MAX]
    end = _HEAD_END.search(data)
    if end is None:
        raise Malformed("no end of the header section")
    first, *fields = re.split(rb"\r?\n", data[: end.start()])
    status = _STATUS_LINE.fullmatch(first)
    if status is None:
        raise Malformed("no status line of HTTP/1")
    location = ""
    for field in fields:
        name, _colon, value = field.partition(b":")
        if name.lower() == b"location" and not location:
            location = _printable(value.strip())
    return Reply(int(status[1]), location, data[end.end() :])


def _printable(value: bytes) -> str:
    plain = len(value) <= URL_MAX and all(0x21 <= octet <= 0x7E for octet in value)
    return value.decode("ascii") if plain else ""
