# SPDX-License-Identifier: GPL-2.0-only
"""The binding cache of a correspondent node (RFC 6275 sections 5.2.8, 9.1 and 9.5.3)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv6Address

from ..packet.careof import WireKind
from .effects import KernelBinding, Path


@dataclass(frozen=True, slots=True)
class Used:
    """The nonces that authorised an update, with the care-of address they were used for.

    ``care_of`` None is a deletion, which needs no care-of nonce.
    """

    home: int
    care_of_nonce: int
    care_of: IPv6Address | None


@dataclass(slots=True)
class Entry:
    """A binding.

    ``local`` is our address that it was made with. ``used`` is what authorised it
    last, None where IPsec did (``trusted``), and ``replay_until`` when the last of its
    updates can be repeated no more.
    ``asked`` counts Binding Refresh Requests since the last update, ``packets`` is
    what it had carried then. ``unreachable`` is since when errors come back.
    """

    home_address: IPv6Address
    local: IPv6Address
    care_of: IPv6Address
    sequence: int
    lifetime: int
    expires: float
    registered: float
    updated: float
    used: Used | None = None
    replay_until: float = 0.0
    asked: int = 0
    packets: int = 0
    unreachable: float | None = None
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class Deleted:
    """What is remembered of a binding's end while its updates could be repeated."""

    sequence: int
    used: Used | None
    until: float


def to_kernel(entry: Entry, now: float) -> KernelBinding:
    """Return the binding as the kernel is to hold it."""
    memory = {"local": str(entry.local), "lifetime": entry.lifetime}
    return KernelBinding(
        home_address=entry.home_address,
        home_address4=None,
        prefixes=(),
        local_prefixes=(),
        paths=(Path(0, WireKind.RO, entry.local, entry.care_of),),
        mobile=False,
        lifetime=max(int(entry.expires - now + 0.999), 1),
        sequence=entry.sequence,
        data=json.dumps(memory, separators=(",", ":")).encode(),
        direct=True,
    )


def adopt(binding: KernelBinding, now: float) -> Entry | None:
    """Return the entry that the kernel's binding was made from, None if it is not ours.

    With the daemon its nonces are gone, so nothing can be repeated.
    """
    try:
        memory = json.loads(binding.data)
        local, lifetime = IPv6Address(memory["local"]), int(memory["lifetime"])
        (path,) = binding.paths
    except (ValueError, KeyError, TypeError):
        return None
    if not binding.lifetime or not isinstance(path.remote, IPv6Address):
        return None
    return Entry(
        home_address=binding.home_address,
        local=local,
        care_of=path.remote,
        sequence=binding.sequence,
        lifetime=lifetime,
        expires=now + binding.lifetime,
        registered=now,
        updated=now + binding.lifetime - lifetime,
    )
