# SPDX-License-Identifier: GPL-2.0-only
"""Signals of modems: what mmcli and uqmi say, and what they should not."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from dsmip.service import programs
from dsmip.service.modem import (
    FRESH,
    STALE,
    Signal,
    Signals,
    read_modem,
    read_modem_list,
    read_uqmi,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.unit import clockwork

LIST = b'{"modem-list": ["/org/freedesktop/ModemManager1/Modem/0"]}'
MODEM: dict[str, Any] = {
    "modem": {
        "3gpp": {"operator-name": "Example Tel", "imei": "1"},
        "dbus-path": "/org/freedesktop/ModemManager1/Modem/0",
        "generic": {
            "access-technologies": ["lte", "5gnr"],
            "ports": ["cdc-wdm0 (qmi)", "ttyUSB0 (at)", "wwan0 (net)", "wwan1 (net)"],
            "signal-quality": {"recent": "yes", "value": "67"},
        },
    }
}
UQMI = b'{"type": "lte", "rssi": -65, "rsrq": -9, "rsrp": -98, "snr": 12.4}'


def octets(value: object) -> bytes:
    return json.dumps(value).encode()


def test_what_mmcli_says() -> None:
    assert read_modem_list(LIST) == ["0"]
    assert read_modem_list(b'{"modem-list": []}') == []
    interfaces, signal = read_modem(octets(MODEM))
    assert interfaces == ("wwan0", "wwan1")
    assert signal.document() == {
        "quality": 67,
        "technology": "lte, 5gnr",
        "operator": "Example Tel",
    }


def test_what_uqmi_says() -> None:
    assert read_uqmi(UQMI).document() == {
        "technology": "lte",
        "rssi": -65,
        "rsrp": -98,
        "rsrq": -9,
        "snr": 12.4,
    }
    assert read_uqmi(b'{"type": "wcdma", "rssi": -70, "ecio": -8}').document() == {
        "technology": "wcdma",
        "rssi": -70,
    }


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"Failed to connect to service\n",
        b'"No effect"',
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"modem-list": 1}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_list(said: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        read_modem_list(said)


@pytest.mark.parametrize("said", [b"", b"oops", b"[1]", b'"Request canceled"', b"{" * 100_000])
def test_what_is_no_object(said: bytes) -> None:
    for read in (read_modem, read_uqmi):
        with pytest.raises(ValueError):  # noqa: PT011
            read(said)


def test_entries_of_the_list_that_are_none() -> None:
    path = "/org/freedesktop/ModemManager1/Modem/"
    listed = [path + "1; reboot", path + "-h", path, 7, None, f"{path}12", path + "1234567"]
    assert read_modem_list(octets({"modem-list": listed})) == ["12"]
    many = [f"{path}{number}" for number in range(100)]
    assert len(read_modem_list(octets({"modem-list": many}))) == 8


@pytest.mark.parametrize(
    ("generic", "interfaces", "document"),
    [
        ({}, (), {}),
        ({"signal-quality": {"value": "--"}}, (), {}),
        ({"signal-quality": {"value": "101"}}, (), {}),
        ({"signal-quality": {"value": "nan"}}, (), {}),
        ({"signal-quality": {"value": True}}, (), {}),
        ({"signal-quality": "67"}, (), {}),
        ({"signal-quality": {"value": "9" * 5000}}, (), {}),
        ({"access-technologies": "--"}, (), {}),
        ({"access-technologies": ["l\x1b[31mte"]}, (), {}),
        ({"access-technologies": "x" * 100}, (), {"technology": "x" * 40}),
        ({"ports": "wwan0 (net)"}, (), {}),
        ({"ports": ["../etc (net)", "a b (net)", "sixteenletters16 (net)", 5]}, (), {}),
        ({"ports": ["wwan0 (net)"] * 100}, ("wwan0",) * 16, {}),
    ],
)
def test_values_that_are_none(
    generic: dict[str, Any], interfaces: tuple[str, ...], document: dict[str, Any]
) -> None:
    found, signal = read_modem(octets({"modem": {"generic": generic}}))
    assert found == interfaces
    assert signal.document() == document


@pytest.mark.parametrize("value", [1, -151, "x", None, [], {}, True, 1e308, "Infinity"])
def test_strengths_that_are_none(value: object) -> None:
    assert read_uqmi(octets({"rssi": value})) == Signal()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["modem", "generic", "3gpp", "ports", "signal-quality", "value", "type"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_nothing_else_breaks_them(value: object) -> None:
    data = octets(value)
    for read in (read_modem, read_uqmi, read_modem_list):
        try:
            read(data)
        except ValueError:
            assert not isinstance(value, dict) or read is read_modem_list


class Host:
    """Programs and a clock."""

    def __init__(self, *there: str, **said: bytes | OSError) -> None:
        self.there = there
        self.said = said
        self.now = 1000.0
        self.ran: list[tuple[str, ...]] = []

    async def run(self, command: Sequence[str]) -> bytes:
        self.ran.append(tuple(command))
        found = self.said[self.key(command)]
        if isinstance(found, OSError):
            raise found
        return found

    @staticmethod
    def key(command: Sequence[str]) -> str:
        if command[0] == "uqmi":
            return command[command.index("-d") + 1].rpartition("/")[2]
        return "list" if command[-1] == "-L" else f"modem{command[-1]}"

    def signals(self) -> Signals:
        def which(name: str) -> str | None:
            return name if name in self.there else None

        def device(interface: str) -> str | None:
            return f"/dev/{interface}" if interface.startswith("cdc") else None

        return Signals(asyncio.get_running_loop(), self.run, which, device, lambda: self.now)


def asked(host: Host, *interfaces: str) -> Signals:
    async def work() -> Signals:
        signals = host.signals()
        signals.look(interfaces)
        signals.look(interfaces)
        await asyncio.sleep(0.01)
        return signals

    return clockwork.run(work())


def test_mmcli_is_asked_once_and_what_it_says_grows_old() -> None:
    host = Host("mmcli", "uqmi", list=LIST, modem0=octets(MODEM))
    signals = asked(host, "wwan0")
    assert host.ran == [("mmcli", "-J", "-L"), ("mmcli", "-J", "-m", "0")]
    found = signals.of("wwan1")
    assert found is not None
    assert found.quality == 67
    assert signals.of("eth0") is None
    host.now += STALE - 1
    assert signals.of("wwan0") is not None
    host.now += 1
    assert signals.of("wwan0") is None


def test_a_modem_that_fails_is_no_reason_not_to_ask_the_next() -> None:
    path = "/org/freedesktop/ModemManager1/Modem/"
    two = octets({"modem-list": [path + "1", path + "0"]})
    host = Host("mmcli", list=two, modem1=OSError("ended with 1"), modem0=octets(MODEM))
    assert asked(host).of("wwan0") is not None
    host = Host("uqmi", **{"cdc-wdm0": b"nonsense", "cdc-wdm1": UQMI})
    signals = asked(host, "cdc-wdm0", "eth0", "cdc-wdm1")
    assert len(host.ran) == 2
    assert signals.of("cdc-wdm0") is None
    assert signals.of("cdc-wdm1") == read_uqmi(UQMI)


def test_nobody_to_ask() -> None:
    host = Host()
    assert asked(host, "cdc-wdm0").of("cdc-wdm0") is None
    assert host.ran == []
    failing = Host("mmcli", list=OSError("no bus"))
    assert asked(failing).of("wwan0") is None


def test_it_is_asked_again_after_a_while() -> None:
    host = Host("mmcli", list=LIST, modem0=octets(MODEM))

    async def work() -> None:
        signals = host.signals()
        for _ in range(3):
            signals.look(())
            await asyncio.sleep(0.01)
        assert len(host.ran) == 2
        host.now += FRESH
        signals.look(())
        await asyncio.sleep(0.01)
        assert len(host.ran) == 4
        signals.stop()

    clockwork.run(work())


# --- programs ------------------------------------------------------------------------


def run(text: str, timeout: float = 10, largest: int = 100) -> bytes:
    return asyncio.run(programs.run((sys.executable, "-c", text), timeout, largest))


def test_what_a_program_says() -> None:
    assert run("print('x' * 99)") == b"x" * 99 + b"\n"
    assert run("print('x' * 1000)", largest=0) == b""
    assert run("") == b""


def test_a_program_that_says_too_much_or_fails_or_is_not_there() -> None:
    with pytest.raises(OSError, match="says too much"):
        run("print('x' * 100)")
    with pytest.raises(OSError, match="says too much"):
        run("while True: print('x' * 100)")
    with pytest.raises(OSError, match="ended with 3"):
        run("exit(3)")
    with pytest.raises(FileNotFoundError):
        asyncio.run(programs.run(("/nowhere/mmcli",), 1, 10))


def test_a_program_that_hangs_is_ended() -> None:
    with pytest.raises(TimeoutError):
        run("import time; time.sleep(60)", timeout=0.3)
