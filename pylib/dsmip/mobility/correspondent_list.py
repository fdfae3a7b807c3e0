# SPDX-License-Identifier: GPL-2.0-only
"""Correspondents in the binding update list of a mobile router (RFC 6275 section 11.1)."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from ipaddress import IPv6Address

from ..packet.careof import CareOf, WireKind
from .effects import KernelBinding, Path
from .return_routability import Retry, RunningTest, Token


class Phase(enum.Enum):
    """Where route optimisation with one correspondent stands."""

    WAITING = "waiting"  # for an IPv6 care-of address, or for the home registration
    TESTING = "testing"
    UPDATING = "updating"
    BOUND = "bound"
    DELETING = "deleting"
    LEFT_ALONE = "left alone"


@dataclass(frozen=True, slots=True)
class Attached:
    """Where the router is. ``care_of`` None: at home, or where no direct path can be.

    ``ready``: the home agent has acknowledged it, or the router is at home, so that
    the home address can be reached. ``until``: the home registration's end.
    """

    care_of: CareOf | None = None
    ready: bool = False
    at_home: bool = False
    until: float = 0.0

    @property
    def address(self) -> IPv6Address | None:
        """The care-of address."""
        address = self.care_of.address if self.care_of is not None else None
        return address if isinstance(address, IPv6Address) else None


@dataclass(frozen=True, slots=True)
class SentUpdate:
    """An update that awaits its acknowledgement; ``covers`` is the address in its key."""

    sequence: int
    at: float
    lifetime: int
    covers: IPv6Address
    key: bytes = field(repr=False)


@dataclass(slots=True)
class Correspondent:
    """One correspondent.

    ``wanted`` False: its binding is to end. ``asked``: by the operator, so it is
    kept up without traffic. ``bound`` is the care-of address that it may hold, up
    to ``expires``; ``direct`` tells that packets take it. ``until`` ends its being
    left alone.
    """

    address: IPv6Address
    sequence: int
    asked: bool = False
    wanted: bool = True
    phase: Phase = Phase.WAITING
    home_test: RunningTest | None = None
    care_of_test: RunningTest | None = None
    home_token: Token | None = None
    care_of_token: Token | None = None
    update: SentUpdate | None = None
    retry: Retry = field(default_factory=Retry)
    bound: IPv6Address | None = None
    direct: bool = False
    lifetime: int = 0
    bound_at: float = 0.0
    expires: float = 0.0
    refresh_at: float | None = None
    failures: int = 0
    failed_at: float = float("-inf")
    until: float = 0.0
    packets: int = 0
    problem: str = ""
    sent: dict[str, list[float]] = field(default_factory=dict)

    def may_send(self, what: str, now: float, most: int) -> float:
        """Return 0 when one more message of a type may go out this second, else when it may."""
        recent = self.sent[what] = [at for at in self.sent.get(what, ()) if now - at < 1.0]
        if len(recent) >= most:
            return recent[0] + 1.0
        recent.append(now)
        return 0.0

    def quiet(self) -> None:
        """Wait for no answer any more."""
        self.home_test = self.care_of_test = self.update = None
        self.retry = Retry()
        self.refresh_at = None

    def timers(self) -> list[float | None]:
        """Return when something is to be done."""
        tests = [test.retry.at for test in (self.home_test, self.care_of_test) if test]
        left = self.until if self.phase is Phase.LEFT_ALONE else None
        bound = self.expires if self.bound is not None else None
        return [*tests, self.retry.at, self.refresh_at, left, bound]


@dataclass(frozen=True, slots=True)
class CorrespondentState:
    """One correspondent for status documents; times in seconds."""

    address: IPv6Address
    phase: Phase
    direct: bool
    asked: bool
    care_of: IPv6Address | None
    sequence: int
    lifetime: int
    remaining: float
    retry_in: float | None
    problem: str


def to_kernel(one: Correspondent, care_of: CareOf, now: float) -> KernelBinding:
    """Return the direct binding as the kernel is to hold it."""
    path = Path(0, WireKind.RO, care_of.address, one.address, interface=care_of.interface)
    memory = {"asked": one.asked, "lifetime": one.lifetime}
    return KernelBinding(
        home_address=one.address,
        home_address4=None,
        prefixes=(),
        local_prefixes=(),
        paths=(path,),
        mobile=False,
        lifetime=max(int(one.expires - now), 1),
        sequence=one.sequence,
        data=json.dumps(memory, separators=(",", ":")).encode(),
        direct=True,
    )


def adopt(binding: KernelBinding, now: float) -> Correspondent | None:
    """Return the correspondent of a kernel's binding, None if it cannot be made out.

    Its tokens went with the daemon: they are asked for again at once.
    """
    try:
        memory = json.loads(binding.data)
        asked, lifetime = bool(memory["asked"]), int(memory["lifetime"])
        (path,) = binding.paths
    except (ValueError, KeyError, TypeError):
        return None
    if not binding.lifetime or not isinstance(path.local, IPv6Address):
        return None
    return Correspondent(
        binding.home_address,
        binding.sequence,
        asked=asked,
        bound=path.local,
        direct=True,
        lifetime=lifetime,
        expires=now + binding.lifetime,
    )
