# SPDX-License-Identifier: GPL-2.0-only
"""Captures as a story: from octets of each wire form, of both file formats, and of damage."""

from __future__ import annotations

import io
import struct
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path

import pytest
from dsmip import cli
from dsmip.ipsec.association import MOBILITY_HEADER
from dsmip.ipsec.esp import EspTransport
from dsmip.ipsec.policy import associations, signalling_row
from dsmip.ipsec.static import derive
from dsmip.packet.extension import build_home_address, build_routing
from dsmip.packet.mobility import BindingAcknowledgement, BindingError, BindingUpdate, build
from dsmip.packet.options import (
    IPv4CareOfAddress,
    IPv4HomeAddress,
    MobileNetworkPrefix,
    NatDetection,
)
from dsmip_diag import command_capture
from dsmip_diag.capture import CaptureError, Frame, frames
from dsmip_diag.capture import packet as ip_packet
from dsmip_diag.dissect import Keys, look
from dsmip_diag.story import Story
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_forwarding import packet

HOA, HA, COA = (IPv6Address(a) for a in ("2001:db8:1::100", "2001:db8:1::1", "2001:db8:a6::9"))
HA4, NAT4, COA4 = (IPv4Address(a) for a in ("198.51.100.1", "192.0.2.7", "10.0.5.9"))
KEY = "11" * 32
KEYS = derive(bytes.fromhex(KEY), HOA, HA)
TO_AGENT, TO_ROUTER = associations(signalling_row(HOA, HA, 0), KEYS)


def update(sequence: int = 7, lifetime: int = 30, *options: object, **flags: bool) -> bytes:
    message = BindingUpdate(
        sequence=sequence, lifetime=lifetime, home=True, acknowledge=True, mobile_router=True,
        options=(MobileNetworkPrefix(IPv6Network("2001:db8:100::/56")), *options), **flags,
    )  # type: ignore[arg-type] # fmt: skip
    return build(message, HOA, HA)


def answer(status: int = 0, sequence: int = 7, lifetime: int = 30, *options: object) -> bytes:
    made = BindingAcknowledgement(
        status=status, sequence=sequence, lifetime=lifetime, options=options,
    )  # type: ignore[arg-type] # fmt: skip
    return build(made, HA, HOA)


def esp(message: bytes, towards_agent: bool = True) -> bytes:
    return EspTransport(TO_AGENT if towards_agent else TO_ROUTER).seal(message, MOBILITY_HEADER)


def udp(payload: bytes, source: int = 20001, destination: int = 4191) -> bytes:
    return struct.pack("!4H", source, destination, 8 + len(payload), 0) + payload


def by_nat(inner: bytes, up: bool = True) -> bytes:
    ends = (NAT4, HA4) if up else (HA4, NAT4)
    return packet(*ends, 17, udp(inner) if up else udp(inner, 4191, 20001))


def native(payload: bytes, protocol: int, up: bool = True) -> bytes:
    if up:
        return packet(COA, HA, 60, build_home_address(HOA, protocol) + payload)
    return packet(HA, COA, 43, build_routing(HOA, protocol) + payload)


def open_keys() -> Keys:
    return Keys({(one.destination, one.spi): EspTransport(one) for one in (TO_AGENT, TO_ROUTER)})


def told(*packets: bytes, keys: Keys | None = None) -> list[str]:
    story, lines = Story(), []
    for number, data in enumerate(packets):
        seen = look(data, keys=keys)
        if seen is not None:
            lines += [line[13:] for line in story.take(100 + number * 0.02, seen)]
    return [*lines, "--", *story.summary()]


# --- what is told ----------------------------------------------------------------------


def test_registration_over_ipv6_in_clear() -> None:
    lines = told(native(update(), 135), native(answer(), 135, up=False))
    assert lines[:3] == [
        f"{HOA} registers with {HA} at {COA}, IPv6",
        "    sequence 7, lifetime 120 s, router of 2001:db8:100::/56, NOT PROTECTED",
        f"{HA} accepts {HOA} after 20 ms, for 120 s",
    ]


def test_registration_through_a_nat_with_keys() -> None:
    options = (IPv4CareOfAddress(COA4), IPv4HomeAddress(IPv4Address(0)))
    lines = told(
        by_nat(packet(HOA, HA, 50, esp(update(7, 30, *options)))),
        by_nat(packet(HA, HOA, 50, esp(answer(0, 7, 30, NatDetection(False, 110)), False)), False),
        keys=open_keys(),
    )
    assert lines[:4] == [
        f"{HOA} registers with {HA} at {NAT4}, UDP port 20001",
        "    sequence 7, lifetime 120 s, router of 2001:db8:100::/56, "
        "IPv4 home address one from the agent",
        f"    a NAT is between: the router has {COA4}, the agent sees {NAT4} port 20001",
        f"{HA} accepts {HOA} after 20 ms, for 120 s, keepalive every 110 s",
    ]


def test_without_keys_movements_are_seen_all_the_same() -> None:
    lines = told(
        native(esp(update()), 50),
        native(esp(answer(), False), 50, up=False),
        by_nat(packet(HOA, HA, 50, esp(update(8)))),
        by_nat(packet(HA, HOA, 50, esp(answer(0, 8), False)), False),
    )
    assert lines[:2] == [
        f"{HOA} signals (ESP) to {HA} from {COA}, IPv6",
        f"{HOA} signals (ESP) to {HA} from {NAT4}, UDP port 20001, was at {COA}",
    ]
    assert len(lines) == 5
    assert "4 messages that no key here opens" in lines[-1]


@pytest.mark.parametrize(
    ("status", "words"),
    [(133, "not home agent for this mobile node"), (140, "not permitted"), (144, "UDP encaps")],
)
def test_refusals_say_why(status: int, words: str) -> None:
    lines = told(native(update(force_udp=True), 135), native(answer(status), 135, up=False))
    (refused,) = [line for line in lines if "REFUSES" in line]
    assert words in refused
    assert f"(status {status})" in refused


def test_retransmissions_movements_and_the_end() -> None:
    lines = told(
        native(update(), 135),
        native(update(), 135),
        by_nat(packet(HOA, HA, 135, update(8))),
        native(update(9, 0), 135),
        native(answer(0, 9, 0), 135, up=False),
    )
    assert f"{HOA} asks again (sequence 7) to be bound by {HA} at {COA}, IPv6" in lines
    assert f"    it was at {COA}, IPv6" in lines
    assert f"{HOA} de-registers from {HA}" in lines
    assert f"{HA} lets {HOA} go after 20 ms" in lines
    assert "2 updates without an answer" in lines[-1]


def test_errors_about_mobility() -> None:
    error = build(BindingError(1, HOA), HA, COA)
    problem = bytes((4, 2, 0, 0, 0, 0, 0, 42)) + bytes(40)
    lines = told(packet(HA, COA, 135, error), packet(HA, COA, 58, problem))
    assert lines[:2] == [
        f"{HA} refuses a packet of {HOA}: no binding for its Home Address option",
        f"{HA} to {COA}: Parameter Problem: the Home Address option is not known there",
    ]


def test_data_is_counted_not_told() -> None:
    inner = packet(IPv6Address("2001:db8:100::2"), IPv6Address("2001:db8:c::2"), 59)
    back = packet(IPv6Address("2001:db8:c::2"), IPv6Address("2001:db8:100::2"), 59)
    lines = told(
        by_nat(packet(HOA, HA, 135, update())), *[by_nat(inner)] * 3, *[by_nat(back, False)] * 2
    )
    assert "3 packets from it and 2 to it in the tunnel" in lines[-1]


@pytest.mark.parametrize(
    ("payload", "port", "expected"),
    [
        (bytes(16) + bytes((0, 0, 34, 8)) + bytes(8), 500, "IKEv2 IKE_SA_INIT request"),
        (bytes(4) + bytes(16) + bytes((0, 0, 35, 0x20)) + bytes(8), 4500, "IKEv2 IKE_AUTH answer"),
    ],
)
def test_ike(payload: bytes, port: int, expected: str) -> None:
    assert told(packet(NAT4, HA4, 17, udp(payload, port, port)))[0].startswith(expected)


def test_damaged_message() -> None:
    lines = told(packet(HOA, HA, 135, b"\x3b\x09\x05\0\0\0\0\0"))
    assert f"{HOA} sends {HA} a damaged message" in lines[0]


def test_nothing_in_it() -> None:
    assert told() == ["--", "No packet of Mobile IPv6 is in it."]


# --- files -----------------------------------------------------------------------------


def pcap(*data: bytes, link: int = 101, order: str = "<", magic: int = 0xA1B2C3D4) -> bytes:
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    for number, each in enumerate(data):
        out += struct.pack(order + "4I", 100, number, len(each), len(each)) + each
    return out


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    size = 12 + len(body)
    return struct.pack(order + "2I", kind, size) + body + struct.pack(order + "I", size)


def pcapng(*data: bytes, link: int = 101, order: str = "<", options: bytes = b"") -> bytes:
    magic = struct.pack(order + "I", 0x1A2B3C4D)
    out = block(0x0A0D0D0A, magic + struct.pack(order + "HHq", 1, 0, -1), order)
    out += block(1, struct.pack(order + "HHI", link, 0, 0) + options, order)
    out += block(99, b"of a later version", order)
    for number, each in enumerate(data):
        head = struct.pack(order + "5I", 0, 0, 100_000_000 + number, len(each), len(each))
        out += block(6, head + each, order)
    return out


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("make", [pcap, pcapng])
def test_both_formats_in_both_byte_orders(make: object, order: str) -> None:
    found = list(frames(io.BytesIO(make(b"one", b"three", order=order))))  # type: ignore[operator]
    assert [(f.link, f.data) for f in found] == [(101, b"one"), (101, b"three")]
    assert [round(f.time, 6) for f in found] == [100.0, 100.000001]


def test_other_units_of_time() -> None:
    nano = list(frames(io.BytesIO(pcap(b"x", b"y", magic=0xA1B23C4D))))
    assert nano[1].time == pytest.approx(100 + 1e-9)
    for resolution, seconds in ((9, 0.1), (0x80 | 10, 97656.25)):
        options = struct.pack("<HHB3xI", 9, 1, resolution, 0)
        (frame,) = frames(io.BytesIO(pcapng(b"x", options=options)))
        assert frame.time == pytest.approx(seconds)


@pytest.mark.parametrize("make", [pcap, pcapng])
def test_file_that_is_still_written_ends_where_it_ends(make: object) -> None:
    whole = make(b"first packet", b"second packet")  # type: ignore[operator]
    counts = set()
    for end in range(24, len(whole)):
        try:
            counts.add(len(list(frames(io.BytesIO(whole[:end])))))
        except CaptureError:
            pytest.fail(f"an end after {end} octets is no damage")
    assert counts == {0, 1} or counts == {0, 1, 2}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a",
        b"\xd4\xc3\xb2\xa1\0",
        pcap() + struct.pack("<4I", 0, 0, 1 << 30, 1),
        b"\x0a\x0d\x0d\x0a" + bytes(20),
        pcapng() + struct.pack("<2I", 6, 13),
        pcapng() + block(6, struct.pack("<5I", 7, 0, 0, 0, 0)),
        pcapng() + block(6, struct.pack("<5I", 0, 0, 0, 99, 99)),
    ],
)
def test_what_is_no_capture(data: bytes) -> None:
    with pytest.raises(CaptureError):
        list(frames(io.BytesIO(data)))


@pytest.mark.parametrize(
    ("link", "head"),
    [
        (1, bytes(12) + b"\x86\xdd"),
        (1, bytes(12) + b"\x81\0\0\x05\x88\xa8\0\x07\x86\xdd"),
        (113, bytes(14) + b"\x86\xdd"),
        (276, b"\x86\xdd" + bytes(18)),
        (101, b""),
        (229, b""),
    ],
)
def test_link_types(link: int, head: bytes) -> None:
    data = packet(HOA, HA)
    assert ip_packet(Frame(0, link, head + data)) == data


def test_what_is_not_ip_is_passed_over() -> None:
    assert ip_packet(Frame(0, 1, bytes(12) + b"\x08\x06" + bytes(28))) == b""
    assert ip_packet(Frame(0, 147, bytes(50))) == b""


@given(data=st.binary(max_size=120))
def test_any_octets_are_dissected_or_passed_over(data: bytes) -> None:
    story = Story()
    for each in (data, b"\x60" + data, b"\x45" + data, by_nat(data), packet(HOA, HA, 135, data)):
        seen = look(each)
        if seen is not None:
            assert all(line for line in story.take(0.0, seen))
    assert list(story.summary())


@given(data=st.binary(max_size=200))
def test_any_file_is_read_or_refused(data: bytes) -> None:
    for start in (b"", pcap(), pcapng()):
        try:
            found = list(frames(io.BytesIO(start + data)))
        except CaptureError:
            continue
        assert all(len(frame.data) <= len(data) for frame in found)


# --- the commands ----------------------------------------------------------------------

CONFIG = f"""
[home_agent]
addresses = ["{HA}", "{HA4}"]
prefixes = ["2001:db8:1::/64"]
[[home_agent.router]]
identity = "bus-17"
home_address = "{HOA}"
prefixes = ["2001:db8:100::/56"]
static_key = "{KEY}"
"""


def test_decode_with_the_keys_of_a_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ha.toml").write_text(CONFIG)
    capture = tmp_path / "x.pcapng"
    capture.write_bytes(pcapng(native(esp(update()), 50), native(esp(answer(), False), 50, False)))
    assert cli.main(["decode", str(capture)]) == 0
    assert "signals (ESP)" in capsys.readouterr().out
    assert cli.main(["decode", "--config", str(tmp_path / "ha.toml"), str(capture)]) == 0
    shown = capsys.readouterr().out
    assert f"registers with {HA}" in shown
    assert f"accepts {HOA}" in shown
    assert KEY not in shown


def test_decode_refuses_with_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").write_text("no capture")
    for words, expected in (
        (["decode", str(tmp_path / "x")], "neither pcap nor pcapng"),
        (["decode", str(tmp_path / "y")], "cannot be read: No such file"),
        (["decode", "--config", str(tmp_path / "z.toml"), "x"], "cannot be read"),
    ):
        assert cli.main(words) == 1
        assert expected in capsys.readouterr().err


@pytest.mark.parametrize("data", [False, True])
def test_capture_filter_is_one(data: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """libpcap compiles what tcpdump is given."""
    import argparse
    import subprocess

    options = argparse.Namespace(file="-", interface="any", port=4191, seconds=3, data=data)
    command = command_capture.command(options)
    assert command[:2] == ["timeout", "3"]
    for link in ("EN10MB", "RAW"):
        done = subprocess.run(
            ["tcpdump", "-d", "-y", link, command[-1]], capture_output=True, text=True
        )
        assert done.returncode == 0 or "no such device" in done.stderr.lower(), done.stderr


def test_package_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(_name: str) -> None:
        raise ModuleNotFoundError("No module named 'dsmip_diag'", name="dsmip_diag")

    monkeypatch.setattr(cli.importlib, "import_module", missing)
    with pytest.raises(SystemExit):
        cli.main(["decode", "x"])
    assert "install package dsmip-diag" in capsys.readouterr().err
