# SPDX-License-Identifier: GPL-2.0-only
"""Bindings of portable mode outlive the daemon, and nothing in their folder is trusted."""

from __future__ import annotations

import logging
from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from dsmip.linux.binding_store import BindingStore

from tests.unit.test_forwarding import at_agent, at_router, ip6, udp4

NOW = 1000.0


def test_what_was_written_is_read(tmp_path: Path) -> None:
    store = BindingStore(tmp_path / "mip0")
    other = replace(at_router(), home_address=IPv6Address("2001:db8:1::200"), data=b"\0\xffx")
    first = at_agent(udp4(priority=3, silent_ms=400, interface=7), ip6(down=True))
    store.write(first, NOW + first.lifetime)
    store.write(other, None)
    assert list(BindingStore(tmp_path / "mip0").read(NOW)) == [first, other]
    store.drop(other.home_address)
    assert list(store.read(NOW + 40)) == [replace(first, lifetime=60)]


def test_what_has_ended_is_removed(tmp_path: Path) -> None:
    store = BindingStore(tmp_path)
    store.write(at_agent(), NOW + 10)
    assert list(store.read(NOW + 9.5)) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"expires": "x"}', "\xff", "[" * 70000],
)
def test_damaged_file_is_removed(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = BindingStore(tmp_path)
    store.write(at_agent(), None)
    (tmp_path / "zz.json").write_text(text, encoding="latin-1")
    assert list(store.read(NOW)) == [replace(at_agent(), lifetime=0)]
    assert not (tmp_path / "zz.json").exists()
    assert "zz.json is not used" in caplog.text


def test_full_disk_is_told_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    (tmp_path / "mip0").write_text("a file where the folder should be")
    store = BindingStore(tmp_path / "mip0")
    for _ in range(3):
        store.write(at_agent(), None)
    store.drop(at_agent().home_address)
    assert list(store.read(NOW)) == []
    assert len(caplog.records) == 1
    assert "will not outlive" in caplog.text


def test_old_state_is_not_left_when_the_new_one_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home agent with an old sequence number would refuse what is right."""
    store = BindingStore(tmp_path)
    store.write(at_agent(), None)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    store.write(at_agent(sequence=8), None)
    assert list(store.read(NOW)) == []
