# SPDX-License-Identifier: GPL-2.0-only
"""What network interfaces have carried, and which modem is behind one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/class/net")
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Counters:
    """Octets since the interface was made; ``index`` tells it from one made later."""

    index: int
    rx: int
    tx: int


def counters(interface: str, root: Path = ROOT) -> Counters | None:
    """Return what an interface has carried, None when there is no such interface."""
    folder = root / interface
    try:
        index, rx, tx = (
            int((folder / name).read_text())
            for name in ("ifindex", "statistics/rx_bytes", "statistics/tx_bytes")
        )
    except (OSError, ValueError):
        return None
    return Counters(index, rx, tx)


def boot_id(path: Path = _BOOT) -> str:
    """Return what tells this boot from all others, "" where the kernel does not say."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def control_device(interface: str, root: Path = ROOT) -> str | None:
    """Return the device by which a modem is asked, such as /dev/cdc-wdm0."""
    try:
        names = sorted(one.name for one in (root / interface / "device" / "usbmisc").iterdir())
    except OSError:
        return None
    return next((f"/dev/{name}" for name in names if name.startswith("cdc-wdm")), None)
