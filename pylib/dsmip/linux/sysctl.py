# SPDX-License-Identifier: GPL-2.0-only
"""Kernel settings that mobility depends on, each with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path("/proc/sys/net")


class Sysctls:
    """Reads and writes settings below /proc/sys/net."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root

    def read(self, name: str) -> str | None:
        """Return a setting, None where this kernel does not have it."""
        try:
            return (self._root / name).read_text().strip()
        except OSError:
            return None

    def write(self, name: str, value: int | str) -> bool:
        """Write a setting unless it has that value; False where it cannot be written."""
        if self.read(name) == str(value):
            return True
        try:
            (self._root / name).write_text(f"{value}\n")
        except OSError:
            return False
        return True

    def forward(self) -> list[str]:
        """Turn forwarding on; returns the settings that could not be written."""
        names = ("ipv6/conf/all/forwarding", "ipv4/ip_forward")
        return [name for name in names if not self.write(name, 1)]

    def prepare_uplink(self, name: str) -> None:
        """Make an access network's addresses usable from the first moment.

        A router ignores advertisements unless accept_ra is 2 (RFC 3963 section
        5.6). Optimistic addresses (RFC 4429) are not given to hosts that
        forward, so there duplicate address detection is switched off: it would
        hold each handover for a second. Replies to another uplink's traffic
        must not be dropped by strict reverse path filtering. A link that lost its
        carrier keeps the route of its prefix, and behind the home link that was
        left stands the home agent: such routes must not count.
        """
        conf = f"ipv6/conf/{name}"
        self.write(f"{conf}/accept_ra", 2)
        self.write(f"{conf}/router_solicitation_delay", 0)
        self.write(f"{conf}/optimistic_dad", 1)
        self.write(f"{conf}/use_optimistic", 1)
        self.write(f"{conf}/dad_transmits", 0)
        # Neighbours that hold an old link-layer address learn of the new one.
        self.write(f"{conf}/ndisc_notify", 1)
        self.write(f"ipv4/conf/{name}/arp_notify", 1)
        for version in ("ipv6", "ipv4"):
            self.write(f"{version}/conf/{name}/ignore_routes_with_linkdown", 1)
        # Nobody on a home link that was left is answered for the IPv4 home address.
        self.write(f"ipv4/conf/{name}/arp_ignore", 1)
        self._loose_reverse_path(name)

    def be_router(self, name: str, on: bool) -> None:
        """Behave as a router on an access network, or as a host.

        A mobile router is a host on visited links: no member of all-routers, no R
        flag in its advertisements (RFC 3963 sections 5.6 and 5.7). Packets are
        forwarded all the same.
        """
        self.write(f"ipv6/conf/{name}/forwarding", int(on))

    def prepare_device(self, name: str) -> None:
        """The tunnel device: no link-local address, no redirects, loose reverse path."""
        self.write(f"ipv6/conf/{name}/addr_gen_mode", 1)
        self.write(f"ipv6/conf/{name}/accept_ra", 0)
        self.write(f"ipv6/conf/{name}/dad_transmits", 0)
        self.no_redirects(name)
        self.write(f"ipv4/conf/{name}/rp_filter", 2)

    def prepare_home_link(self, name: str) -> None:
        """A home agent's home link: answer for routers that are away, at once, no redirects."""
        self.write(f"ipv6/conf/{name}/proxy_ndp", 1)
        self.write(f"ipv6/neigh/{name}/proxy_delay", 0)
        self.write(f"ipv4/neigh/{name}/proxy_delay", 0)
        self.no_redirects(name)

    def no_redirects(self, name: str) -> None:
        """Send no ICMP redirects: the kernel takes the most permissive of all and one."""
        self.write("ipv4/conf/all/send_redirects", 0)
        self.write(f"ipv4/conf/{name}/send_redirects", 0)

    def _loose_reverse_path(self, name: str) -> None:
        # The stricter of "all" and the interface holds, but loose beats strict.
        if "1" in (self.read("ipv4/conf/all/rp_filter"), self.read(f"ipv4/conf/{name}/rp_filter")):
            self.write(f"ipv4/conf/{name}/rp_filter", 2)
