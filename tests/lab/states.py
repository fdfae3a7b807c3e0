# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's security associations, as ``ip xfrm`` shows them."""

from __future__ import annotations

import re
from typing import NamedTuple

from .topology import Topology


class State(NamedTuple):
    """An SA of the kernel; ``encapsulation`` is (source, destination) UDP port."""

    source: str
    destination: str
    spi: int
    encapsulation: tuple[int, int] | None
    reqid: int
    mode: str
    packets: int

    @property
    def place(self) -> tuple[str, str, int, tuple[int, int] | None]:
        """Which SA it is and where: what traffic does not change."""
        return self[:4]


_STATE = re.compile(r"src (\S+) dst (\S+)\n\s+proto \w+ spi (0x\w+)\S* reqid (\d+)\S* mode (\w+)")


def states(net: Topology, namespace: str, reqid: int | None = None) -> list[State]:
    """Return the SAs of a namespace, of one request id if given; larval ones left out."""
    found = []
    for text in re.split(r"\n(?=src )", net.run(namespace, ["ip", "-s", "xfrm", "state"])):
        match = _STATE.match(text)
        if match is None or int(match[3], 16) == 0:
            continue
        udp = re.search(r"encap type espinudp sport (\d+) dport (\d+)", text)
        count = re.search(r"lifetime current:\s+\d+\(bytes\), (\d+)\(packets\)", text)
        state = State(
            match[1],
            match[2],
            int(match[3], 16),
            (int(udp[1]), int(udp[2])) if udp else None,
            int(match[4]),
            match[5],
            int(count[1]) if count else 0,
        )
        if reqid in (None, state.reqid):
            found.append(state)
    return found
