# SPDX-License-Identifier: GPL-2.0-only
"""Both daemons with keys from IKEv2, and what their IKE SAs and associations look like."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .pair import AGENT_IDENTITY, IKEV2, Pair, agent_configuration, router_configuration
from .topology import Topology

IKE_SA_INIT = 34


def load_ciphers() -> None:
    """The first SA of a cipher has the kernel look for modules, for seconds when emulated."""
    key = "0x" + "01" * 36
    for address in ("::1", "127.0.0.1"):
        state = f"src {address} dst {address} proto esp spi 0x1000"
        aead = f"aead rfc4106(gcm(aes)) {key} 128 mode transport"
        for command in (f"add {state} {aead}", f"delete {state}"):
            subprocess.run(["ip", "xfrm", "state", *command.split()], check=True)


def pair_with(
    net: Topology,
    agent: dict[str, Any] | None = None,
    router: dict[str, Any] | None = None,
    ike: dict[str, Any] | None = None,
    **both: Any,
) -> Pair:
    """Return both daemons with keys from IKEv2; ``both`` goes to the router's entry of each."""
    entry = dict(IKEV2) | both
    agent = dict(agent or {})
    return Pair(
        net,
        agent=agent_configuration(
            net,
            identity=AGENT_IDENTITY,
            ike=ike,
            router=entry | agent.pop("router", {}),
            **agent,
        ),
        router=router_configuration(
            net, **(entry | {"home_agent_identity": AGENT_IDENTITY, "ike": ike} | (router or {}))
        ),
    )


def connection(net: Topology, who: str) -> dict[str, Any]:
    """Return the only established IKE SA of a daemon; ``RuntimeError`` if there is not one."""
    found = [c for c in net.ask(who, "ike.status")["connections"] if c["state"] == "established"]
    if len(found) != 1:
        raise RuntimeError(f"{len(found)} established IKE SAs at {who}: {found}")
    return dict(found[0])


def at(net: Topology, who: str) -> tuple[str, str]:
    """Return local and remote address of its IKE SA."""
    found = connection(net, who)
    return found["local"]["address"], found["remote"]["address"]


def frames(file: Path) -> Iterator[bytes]:
    """Yield the frames of a capture of one Ethernet interface."""
    data = file.read_bytes()
    offset = 24
    while offset + 16 <= len(data):
        (size,) = struct.unpack_from("=I", data, offset + 8)
        yield data[offset + 16 : offset + 16 + size]
        offset += 16 + size


def _udp(frame: bytes) -> bytes:
    """Return the UDP datagram in an Ethernet frame, b"" when there is none."""
    if frame[12:14] == b"\x86\xdd" and frame[20] == 17:
        return frame[54:]
    if frame[12:14] == b"\x08\x00" and frame[23] == 17:
        return frame[14 + 4 * (frame[14] & 15) :]
    return b""


def handshakes(file: Path) -> int:
    """Return how many IKE SAs were begun: initiators' SPIs in IKE_SA_INIT."""
    spis = set()
    for frame in frames(file):
        datagram = _udp(frame)
        ports = struct.unpack_from("!HH", datagram) if len(datagram) > 8 else ()
        if not {500, 4500} & set(ports):
            continue
        message = datagram[8:]
        if 4500 in ports:
            if not message.startswith(bytes(4)):
                continue  # ESP
            message = message[4:]
        if len(message) >= 28 and message[18] == IKE_SA_INIT:
            spis.add(message[:8])
    return len(spis)
