# SPDX-License-Identifier: GPL-2.0-only
"""The nftables table by which hosts of the mobile network reach a portal's login.

A portal knows the router alone, so what is led to it has the uplink's address. Which
packets are led there is said by routes and rules; here they only get their source.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ..packet.kernel import Address
from .flows import run_nft

TABLE: Final = "inet dsmip_login"


@dataclass(frozen=True, slots=True)
class Door:
    """From interfaces of the LAN to a portal's host by an uplink, to these TCP ports."""

    lan: tuple[str, ...]
    uplink: str
    address: Address
    ports: tuple[int, ...]


def expression(door: Door) -> str:
    """Return the nft expression of a door."""
    ip = "ip6" if door.address.version == 6 else "ip"
    lan = ", ".join(f'"{name}"' for name in door.lan)
    ports = ", ".join(map(str, door.ports))
    return (
        f'iifname {{ {lan} }} oifname "{door.uplink}" {ip} daddr {door.address} '
        f"tcp dport {{ {ports} }} masquerade"
    )


class LoginTable:
    """The table of this process; every method raises ``OSError`` when nft refuses."""

    def __init__(self, run: Callable[[str], None] = run_nft) -> None:
        self._run = run

    def reset(self) -> None:
        """Remove what a former process left."""
        self._run(f"add table {TABLE}\ndelete table {TABLE}\n")

    def put(self, doors: Sequence[Door]) -> None:
        """Open these doors and no others."""
        rules = "".join(f"    {expression(door)}\n" for door in doors)
        self._run(
            f"add table {TABLE}\ndelete table {TABLE}\n"
            f"table {TABLE} {{\n  chain out {{\n"
            "    type nat hook postrouting priority srcnat - 5; policy accept;\n"
            f"{rules}  }}\n}}\n"
        )
