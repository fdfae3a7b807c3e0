# SPDX-License-Identifier: GPL-2.0-only
"""Kernel settings of uplinks, the device and the home link, on files instead of /proc."""

from __future__ import annotations

from pathlib import Path

import pytest
from dsmip.linux.sysctl import Sysctls


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A router's settings as a stock kernel has them."""
    for name in ("all", "wan0", "mip0", "home"):
        for version, settings in (
            (
                "ipv6",
                {
                    "accept_ra": 1,
                    "dad_transmits": 1,
                    "forwarding": 0,
                    "proxy_ndp": 0,
                    "optimistic_dad": 0,
                },
            ),
            ("ipv4", {"rp_filter": 1, "forwarding": 0}),
        ):
            directory = tmp_path / version / "conf" / name
            directory.mkdir(parents=True)
            for key, value in settings.items():
                (directory / key).write_text(f"{value}\n")
    (tmp_path / "ipv4/ip_forward").write_text("0\n")
    return tmp_path


@pytest.mark.spec("N-019")
def test_an_uplink_of_a_router_hears_advertisements(root: Path) -> None:
    """RFC 3963 section 5.6: forwarding is on, and accept_ra is 2 all the same."""
    settings = Sysctls(root)
    assert settings.forward() == []
    settings.prepare_uplink("wan0")
    assert settings.read("ipv6/conf/all/forwarding") == "1"
    assert settings.read("ipv6/conf/wan0/accept_ra") == "2"


@pytest.mark.spec("M-134")
def test_duplicate_detection_does_not_delay_an_uplink(root: Path) -> None:
    settings = Sysctls(root)
    settings.prepare_uplink("wan0")
    assert settings.read("ipv6/conf/wan0/dad_transmits") == "0"


def test_the_device_takes_no_advertisements(root: Path) -> None:
    settings = Sysctls(root)
    settings.prepare_device("mip0")
    assert settings.read("ipv6/conf/mip0/accept_ra") == "0"
    assert settings.read("ipv6/conf/wan0/accept_ra") == "1"


def test_a_kernel_without_a_setting_is_no_fault(root: Path) -> None:
    settings = Sysctls(root)
    assert not settings.write("ipv6/conf/wan9/accept_ra", 2)
    assert settings.read("ipv6/conf/wan9/accept_ra") is None
    settings.prepare_uplink("wan9")
    (root / "ipv4/ip_forward").unlink()
    (root / "ipv4/ip_forward").mkdir()
    assert settings.forward() == ["ipv4/ip_forward"]
