# SPDX-License-Identifier: GPL-2.0-only
"""Sums of what uplinks carried: over restarts, and kind to flash."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from dsmip.linux.interface_counters import Counters, boot_id, control_device, counters
from dsmip.service.data_used import FILE, WRITE_EVERY, DataUsed

UPLINKS = {"lte": "wwan0"}


class Host:
    """Interfaces' counters, and how often the file was written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counters: dict[str, Counters] = {"wwan0": Counters(4, 1000, 100)}
        self.boot = "first"
        self.wall = 1_800_000_000.0

    def start(self) -> DataUsed:
        return DataUsed(str(self.folder), self.counters.get, lambda: self.wall, self.boot)

    def carry(self, rx: int, tx: int) -> None:
        before = self.counters["wwan0"]
        self.counters["wwan0"] = Counters(before.index, before.rx + rx, before.tx + tx)

    @property
    def written(self) -> int | None:
        file = self.folder / FILE
        return file.stat().st_ino if file.exists() else None


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def sums(used: DataUsed) -> tuple[int, int]:
    document = used.document("lte")
    assert document is not None
    return document["rx_bytes"], document["tx_bytes"]


def test_counting_begins_when_somebody_counts(host: Host) -> None:
    used = host.start()
    assert used.document("lte") is None
    used.look(UPLINKS, 0.0)
    assert used.document("lte") == {"rx_bytes": 0, "tx_bytes": 0, "since": 1_800_000_000}
    host.carry(50, 5)
    used.look(UPLINKS, 1.0)
    host.carry(7, 0)
    used.look(UPLINKS, 2.0)
    assert sums(used) == (57, 5)


def test_a_restart_of_the_daemon_loses_nothing(host: Host) -> None:
    used = host.start()
    used.look(UPLINKS, 0.0)
    host.carry(50, 5)
    used.look(UPLINKS, 1.0)
    used.write()
    host.carry(3, 3)  # while nobody looks
    host.wall += 1000
    used = host.start()
    used.look(UPLINKS, 0.0)
    assert used.document("lte") == {"rx_bytes": 53, "tx_bytes": 8, "since": 1_800_000_000}


def test_counters_that_begin_anew(host: Host) -> None:
    used = host.start()
    used.look(UPLINKS, 0.0)
    host.carry(50, 5)
    used.look(UPLINKS, 1.0)
    used.write()
    # The machine: its counters may be higher than before by now.
    host.boot = "second"
    host.counters["wwan0"] = Counters(4, 5000, 500)
    used = host.start()
    used.look(UPLINKS, 0.0)
    assert sums(used) == (5050, 505)
    # The modem is replugged, or its counters are reset.
    host.counters["wwan0"] = Counters(9, 6000, 600)
    used.look(UPLINKS, 1.0)
    assert sums(used) == (11050, 1105)
    host.counters["wwan0"] = Counters(9, 10, 700)
    used.look(UPLINKS, 2.0)
    assert sums(used) == (11060, 1805)


def test_an_interface_that_is_away(host: Host) -> None:
    used = host.start()
    used.look(UPLINKS, 0.0)
    host.carry(50, 5)
    used.look(UPLINKS, 1.0)
    there = host.counters.pop("wwan0")
    used.look(UPLINKS, 2.0)
    assert sums(used) == (50, 5)
    host.counters["wwan0"] = Counters(there.index, there.rx + 1, there.tx)
    used.look(UPLINKS, 3.0)
    assert sums(used) == (51, 5)


def test_flash_is_written_once_an_hour_and_only_when_there_is_something(host: Host) -> None:
    used = host.start()
    writes = set()
    for minute in range(24 * 60):
        host.carry(1, 1)
        used.look(UPLINKS, minute * 60.0)
        writes.add(host.written)
        if minute * 60 < WRITE_EVERY:
            assert writes == {None}
    saved = json.loads((host.folder / FILE).read_text())["lte"]
    assert 23 * 60 - 61 <= saved["rx"] <= 23 * 60
    before = host.written
    used.write()
    assert host.written != before
    before = host.written
    for minute in range(24 * 60, 48 * 60):
        used.look(UPLINKS, minute * 60.0)
    used.write()
    assert host.written == before


def test_a_daemon_that_starts_again_and_again_writes_nothing(host: Host) -> None:
    for _ in range(10):
        used = host.start()
        host.carry(1, 1)
        used.look(UPLINKS, 0.0)
        used.look(UPLINKS, 10.0)
    assert host.written is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '"x"',
        "[" * 60_000,
        '{"lte": 1}',
        '{"lte": {"rx": -1, "tx": 0, "since": 0, "boot": "", "last": [1, 1, 1]}}',
        '{"lte": {"rx": 1e3, "tx": 0, "since": 0, "boot": "", "last": [1, 1, 1]}}',
        '{"lte": {"rx": true, "tx": 0, "since": 0, "boot": "", "last": [1, 1, 1]}}',
        '{"lte": {"rx": 18446744073709551616, "tx": 0, "since": 0, "boot": "", "last": [1, 1, 1]}}',
        '{"lte": {"rx": 1, "tx": 0, "since": 0, "boot": "", "last": [1, 1]}}',
        '{"lte": {"rx": 1, "tx": 0, "boot": "", "last": [1, 1, 1]}}',
        " " * (1 << 17) + "{}",
    ],
)
def test_a_damaged_file_is_told_of(host: Host, text: str, caplog: pytest.LogCaptureFixture) -> None:
    (host.folder / FILE).write_text(text)
    with caplog.at_level(logging.WARNING):
        used = host.start()
    assert used.document("lte") is None
    assert FILE in caplog.text
    used.look(UPLINKS, 0.0)
    assert sums(used) == (0, 0)


def test_one_bad_entry_does_not_harm_the_others(host: Host) -> None:
    good = {"rx": 7, "tx": 8, "since": 9, "boot": "first", "last": [4, 1000, 100]}
    (host.folder / FILE).write_text(json.dumps({"wifi": None, "lte": good}))
    used = host.start()
    assert sums(used) == (7, 8)
    assert used.document("wifi") is None


def test_a_table_that_is_full_takes_no_more(host: Host) -> None:
    used = host.start()
    used.look({f"u{number}": "wwan0" for number in range(300)}, 0.0)
    assert used.document("u63") is not None
    assert used.document("u64") is None


def test_the_longest_file_is_read_again(host: Host) -> None:
    used = host.start()
    names = [f"{number:03}" + "\u1234" * 252 for number in range(64)]
    used.look(dict.fromkeys(names, "wwan0"), 0.0)
    used.write()
    again = host.start()
    assert all(again.document(name) is not None for name in names)


def test_a_folder_that_cannot_be_written(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    (host.folder / "file").touch()
    used = DataUsed(str(host.folder / "file"), host.counters.get, lambda: host.wall, "first")
    used.look(UPLINKS, 0.0)
    used.write()
    assert "data used will not outlive a reboot" in caplog.text
    host.carry(1, 1)
    used.look(UPLINKS, 1.0)
    assert sums(used) == (1, 1)


# --- what the kernel says --------------------------------------------------------------


def test_counters_of_an_interface(tmp_path: Path) -> None:
    folder = tmp_path / "wwan0" / "statistics"
    folder.mkdir(parents=True)
    (folder.parent / "ifindex").write_text("7\n")
    (folder / "rx_bytes").write_text("123\n")
    assert counters("wwan0", tmp_path) is None
    (folder / "tx_bytes").write_text("x\n")
    assert counters("wwan0", tmp_path) is None
    (folder / "tx_bytes").write_text("45\n")
    assert counters("wwan0", tmp_path) == Counters(7, 123, 45)
    assert counters("wwan1", tmp_path) is None
    there = counters("lo")
    assert there is not None
    assert there.index == 1


def test_which_device_a_modem_is_asked_by(tmp_path: Path) -> None:
    assert control_device("wwan0", tmp_path) is None
    folder = tmp_path / "wwan0" / "device" / "usbmisc"
    folder.mkdir(parents=True)
    assert control_device("wwan0", tmp_path) is None
    (folder / "hiddev0").mkdir()
    (folder / "cdc-wdm1").mkdir()
    assert control_device("wwan0", tmp_path) == "/dev/cdc-wdm1"


def test_the_boot(tmp_path: Path) -> None:
    assert len(boot_id()) == 36
    assert boot_id(tmp_path / "none") == ""
