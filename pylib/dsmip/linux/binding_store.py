# SPDX-License-Identifier: GPL-2.0-only
"""Bindings of the portable data path, kept where the next daemon finds them.

One small file for each binding in a folder that a reboot empties, so that a
change costs the same however many bindings there are. It holds no keys.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path as File
from typing import Any, Final

from ..packet.careof import WireKind
from ..packet.kernel import KernelBinding, Path

log = logging.getLogger(__name__)

_SUFFIX: Final = ".json"
#: A file is at most this large: 16 paths, 64 prefixes and 512 octets have less.
_LARGEST: Final = 1 << 16


def to_plain(binding: KernelBinding, expires: float | None) -> dict[str, Any]:
    """Return a binding as plain values; ``expires`` is of CLOCK_BOOTTIME."""
    return {
        "home_address": str(binding.home_address),
        "home_address4": None if binding.home_address4 is None else str(binding.home_address4),
        "prefixes": [str(prefix) for prefix in binding.prefixes],
        "local_prefixes": [str(prefix) for prefix in binding.local_prefixes],
        "mobile": binding.mobile,
        "expires": expires,
        "sequence": binding.sequence,
        "data": binding.data.hex(),
        "paths": [
            {
                "bid": path.bid,
                "kind": int(path.kind),
                "local": str(path.local),
                "remote": str(path.remote),
                "remote_port": path.remote_port,
                "interface": path.interface,
                "priority": path.priority,
                "down": path.down,
                "silent_ms": path.silent_ms,
            }
            for path in binding.paths
        ],
    }


def from_plain(values: Any, now: float) -> KernelBinding | None:
    """Read what ``to_plain`` made; None when its lifetime has ended.

    Raises ``ValueError``, ``KeyError`` or ``TypeError`` for anything else.
    """
    lifetime = 0
    if values["expires"] is not None:
        remains = float(values["expires"]) - now
        if remains < 1:
            return None
        lifetime = int(remains)
    home4 = values["home_address4"]
    return KernelBinding(
        home_address=IPv6Address(values["home_address"]),
        home_address4=None if home4 is None else IPv4Address(home4),
        prefixes=tuple([ip_network(prefix) for prefix in values["prefixes"]]),
        local_prefixes=tuple([ip_network(prefix) for prefix in values["local_prefixes"]]),
        paths=tuple(
            [
                Path(
                    bid=int(path["bid"]),
                    kind=WireKind(path["kind"]),
                    local=ip_address(path["local"]),
                    remote=ip_address(path["remote"]),
                    remote_port=int(path["remote_port"]),
                    interface=int(path["interface"]),
                    priority=int(path["priority"]),
                    down=bool(path["down"]),
                    silent_ms=int(path["silent_ms"]),
                )
                for path in values["paths"]
            ]
        ),
        mobile=bool(values["mobile"]),
        lifetime=lifetime,
        sequence=int(values["sequence"]),
        data=bytes.fromhex(values["data"]),
    )


class BindingStore:
    """The folder. What cannot be written is told of once, and never stops anything."""

    def __init__(self, folder: File) -> None:
        self._folder = folder
        self._failed = False

    def read(self, now: float) -> Iterator[KernelBinding]:
        """Yield the bindings that still hold; what is damaged or has ended is removed."""
        try:
            names = sorted(self._folder.glob(f"*{_SUFFIX}"))
        except OSError:
            return
        for file in names:
            found: KernelBinding | None = None
            try:
                if file.stat().st_size > _LARGEST:
                    raise ValueError(f"more than {_LARGEST} octets")
                found = from_plain(json.loads(file.read_text()), now)
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("%s is not used: %s", file, error)
            if found is None:
                with contextlib.suppress(OSError):
                    file.unlink()
            else:
                yield found

    def write(self, binding: KernelBinding, expires: float | None) -> None:
        """Keep a binding."""
        target = self._file(binding.home_address)
        made = target.with_suffix(".new")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            made.write_text(json.dumps(to_plain(binding, expires)))
            os.replace(made, target)
        except OSError as error:
            # Rather none than an old one: a wrong sequence number refuses what is right.
            for file in (made, target):
                with contextlib.suppress(OSError):
                    file.unlink()
            if not self._failed:
                log.error(
                    "bindings will not outlive this daemon: %s: %s",
                    self._folder,
                    error.strerror or error,
                )
            self._failed = True
            return
        self._failed = False

    def drop(self, home_address: IPv6Address) -> None:
        """Forget a binding."""
        with contextlib.suppress(OSError):
            self._file(home_address).unlink()

    def _file(self, home_address: IPv6Address) -> File:
        return self._folder / (home_address.packed.hex() + _SUFFIX)
