# SPDX-License-Identifier: GPL-2.0-only
"""Finding a home agent by DNS and getting along with it (RFC 5026 sections 5 and 7).

The engine asks for names, proposes one home agent after the other, and hears how
keys and registration fare there. While a binding works nothing is asked; a home
agent that was found stays until it is lost and there is another one.
"""

from __future__ import annotations

import enum
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from ..packet.dns import Record, RecordType, Service
from .effects import Count, Note
from .registration import is_routable
from .resolver import Answer, Outcome, Random

#: Home agents of one domain that are tried, and addresses of each.
AGENTS_MAX: Final = 16
ADDRESSES_MAX: Final = 4
#: All home agents say no: an operator must see to it (RFC 5026 section 5.1.2).
GIVEN_UP_FOR: Final = 3600.0


class Step(enum.Enum):
    """What has to be done, in this order."""

    NETWORK = "access network"
    SERVICE = "home agent's name"
    ADDRESS = "home agent's address"
    KEYS = "authentication"
    HOME_ADDRESS = "home address"
    REGISTRATION = "registration"


class Phase(enum.Enum):
    """What is going on."""

    IDLE = "no access network"
    SERVICE = "asking DNS for home agents"
    ADDRESS = "asking DNS for an address"
    TRYING = "trying a home agent"
    REGISTERED = "registered"
    WAITING = "waiting to try again"
    GIVEN_UP = "given up: every home agent refuses"


@dataclass(frozen=True, slots=True)
class BootstrapConfig:
    """What is known beforehand: a ``domain`` with SRV records, or the home agent's ``name``.

    ``wait`` is how long a home agent may take to authenticate and then to
    register, ``retry`` the time after which everything is tried again when none
    answered (RFC 5026 section 5.1.2). Seconds.
    """

    domain: str = ""
    name: str = ""
    wait: float = 20.0
    retry: float = 30.0

    @property
    def service(self) -> str:
        """The name of the SRV records (RFC 5026 section 5.1.2)."""
        return f"_mip6._ipv6.{self.domain}"


@dataclass(frozen=True, slots=True)
class Target:
    """A home agent as DNS describes it."""

    name: str
    agent6: IPv6Address
    agent4: IPv4Address | None = None

    def __str__(self) -> str:
        four = f", {self.agent4}" if self.agent4 else ""
        return f"{self.name} ({self.agent6}{four})"


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a step has come: after ``seconds`` since the beginning it was done, or failed."""

    step: Step
    seconds: float
    failed: bool
    text: str


@dataclass(frozen=True, slots=True)
class BootstrapView:
    """What a status document shows; ``retry_in`` in seconds."""

    phase: Phase
    target: Target | None
    how: str
    marks: tuple[Mark, ...]
    problem: str
    retry_in: float | None


# --- effects ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AskName:
    """Look a name up; ``fresh``: what was answered before has led to nothing."""

    name: str
    type: int
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class UseAgent:
    """Make keys with this home agent and register there, instead of any other."""

    target: Target


@dataclass(frozen=True, slots=True)
class Remember:
    """A registration succeeded there: begin with it after a restart."""

    target: Target


BootstrapEffect = AskName | UseAgent | Remember | Note | Count


def ranked(services: Sequence[Service], chance: Random) -> list[str]:
    """Return targets in the order to try them, by priority and weight (RFC 2782)."""
    found: list[str] = []
    rest = sorted(services, key=lambda service: (service.priority, service.weight != 0))
    for _, group in itertools.groupby(rest, key=lambda service: service.priority):
        waiting = list(group)
        while waiting:
            drawn = chance.randrange(sum(service.weight for service in waiting) + 1)
            sums = itertools.accumulate(service.weight for service in waiting)
            index = next(i for i, total in enumerate(sums) if total >= drawn)
            found.append(waiting.pop(index).target)
    return [target for target in dict.fromkeys(found) if target][:AGENTS_MAX]


class Bootstrap:
    """The engine. Times are those of the caller's monotonic clock.

    ``remembered`` is the home agent of a former daemon, whose binding may be in
    the kernel still: the caller uses it already.
    """

    def __init__(
        self,
        config: BootstrapConfig,
        now: float,
        remembered: Target | None = None,
        chance: Random | None = None,
    ) -> None:
        self._config = config
        self._chance = chance or random.SystemRandom()
        self._phase = Phase.IDLE
        self._target = remembered
        self._how = "remembered" if remembered else ""
        self._began = now
        self._network: object = None
        self._marks: dict[Step, Mark] = {}
        self._names: list[str] = []
        self._targets: list[Target] = []
        self._addresses: dict[tuple[str, int], tuple[object, ...]] = {}
        self._asking = ""
        self._refused: list[bool] = []
        self._deadline: float | None = None
        self._problem = ""
        self._proven = remembered is not None
        self._direct = False  # without having asked DNS
        self._hints: list[str | Target] = []
        self._hinted = False
        self._fresh = False

    # --- inputs

    def network(self, name: str, key: object, now: float) -> list[BootstrapEffect]:
        """Take whether there is an access network; ``key`` differs when it is another one."""
        changed, self._network = key != self._network, key if name else None
        if not name:
            if self._phase is not Phase.REGISTERED:
                self._phase, self._deadline = Phase.IDLE, None
            return []
        if self._phase is Phase.IDLE:
            self._begin(name, now)
            if self._target is not None and self._proven:
                # DNS has time until this one is known to be lost.
                self._mark(Step.ADDRESS, f"{self._target}, {self._how}", now)
                self._direct = True
                self._trying(now)
                return []
            return self._ask_all(now)
        if changed and self._phase in (Phase.WAITING, Phase.GIVEN_UP):
            # Who said no there was perhaps not who is asked here.
            self._begin(name, now)
            return self._ask_all(now)
        return []

    def hinted(self, hints: Sequence[str | Target], now: float) -> list[BootstrapEffect]:
        """Take home agents that an access network names (RFC 6611); they are tried first.

        They are no more believed than those of DNS. Nothing is left for them that works.
        """
        before, self._hints = self._hints, list(hints)[:AGENTS_MAX]
        fresh = self._hints and self._hints != before
        if fresh and self._phase in (Phase.SERVICE, Phase.WAITING, Phase.GIVEN_UP):
            self._begin("", now)
            return self._ask_all(now)
        return []

    def answered(self, answer: Answer, now: float) -> list[BootstrapEffect]:
        """Take an answer of DNS."""
        if answer.type == RecordType.SRV:
            if self._phase is not Phase.SERVICE or answer.name != self._config.service:
                return []
            return self._services(answer, now)
        if self._phase is not Phase.ADDRESS or answer.name != self._asking:
            return []
        if answer.outcome is Outcome.FAILED and answer.type == RecordType.AAAA:
            return self._next(now, f"{answer.name}: {answer.reason}", Step.ADDRESS)
        self._addresses[answer.name, answer.type] = answer.data
        return self._addressed(now)

    def keys_up(self, now: float) -> list[BootstrapEffect]:
        """Hear that the home agent has authenticated itself, and we ourselves."""
        late = self._phase in (Phase.WAITING, Phase.GIVEN_UP)
        if (late or self._phase is Phase.TRYING) and self._target is not None:
            self._phase = Phase.TRYING
            self._deadline = now + self._config.wait
            self._problem = ""
            self._mark(Step.KEYS, f"{self._target.name} has proved who it is", now)
        return []

    def keys_failed(self, reason: str, refused: bool, now: float) -> list[BootstrapEffect]:
        """Hear that there are no keys; ``refused``: authentication failed at an end."""
        if self._phase is not Phase.TRYING or self._target is None:
            return []
        return self._next(now, f"{self._target.name}: {reason}", Step.KEYS, refused)

    def home_address(self, address: IPv6Address, now: float) -> list[BootstrapEffect]:
        """Hear which home address came."""
        self._mark(Step.HOME_ADDRESS, str(address), now)
        return []

    def registration(
        self, registered: bool, lost: bool, problem: str, now: float
    ) -> list[BootstrapEffect]:
        """Hear how the registration is; ``lost``: several updates were not answered.

        ``problem`` is why the home agent refuses it, "" when it does not.
        """
        target = self._target
        if target is None:
            return []
        if registered:
            if self._phase is Phase.REGISTERED:
                return []
            self._phase, self._deadline, self._problem = Phase.REGISTERED, None, ""
            self._proven, self._direct, self._fresh = True, False, False
            self._mark(Step.REGISTRATION, f"at {target.name}", now)
            return [Remember(target)]
        if problem and self._phase in (Phase.TRYING, Phase.REGISTERED):
            text = f"{target.name} refuses the registration: {problem}"
            if self._phase is Phase.REGISTERED:
                return self._lost(text, now)
            return self._next(now, text, Step.REGISTRATION)
        if lost and self._phase is Phase.REGISTERED:
            return self._lost(f"{target.name} does not answer any more", now)
        return []

    def next_timer(self) -> float | None:
        """Return when ``handle_timer`` wants to be called, None for never."""
        return self._deadline

    def handle_timer(self, now: float) -> list[BootstrapEffect]:
        """Do what time asks for."""
        if self._deadline is None or self._deadline > now:
            return []
        self._deadline = None
        if self._phase is Phase.TRYING and self._target is not None:
            step = Step.REGISTRATION if Step.KEYS in self._marks else Step.KEYS
            what = "binding updates" if step is Step.REGISTRATION else "IKE"
            return self._next(now, f"{self._target.name} does not answer {what}", step)
        if self._phase in (Phase.WAITING, Phase.GIVEN_UP):
            self._begin("", now)
            return self._ask_all(now)
        return []

    def view(self, now: float) -> BootstrapView:
        """Return what a status document shows."""
        waiting = self._phase in (Phase.WAITING, Phase.GIVEN_UP) and self._deadline is not None
        return BootstrapView(
            phase=self._phase,
            target=self._target,
            how=self._how,
            marks=tuple(self._marks[step] for step in Step if step in self._marks),
            problem=self._problem,
            retry_in=max(self._deadline - now, 0.0) if waiting and self._deadline else None,
        )

    # --- asking

    def _begin(self, network: str, now: float) -> None:
        held = self._marks.get(Step.NETWORK)
        self._marks = {}
        self._began = now
        self._mark(Step.NETWORK, network or (held.text if held else ""), now)

    def _ask_all(self, now: float) -> list[BootstrapEffect]:
        self._names, self._targets, self._refused = [], [], []
        self._problem = ""
        self._addresses = {}
        self._deadline = None
        self._direct = False
        self._hinted = bool(self._hints)
        if self._hinted:
            self._names = [hint for hint in self._hints if isinstance(hint, str)]
            self._targets = [hint for hint in self._hints if isinstance(hint, Target)]
            self._how = "DHCPv6"
            return self._propose(now) if self._targets else self._ask_next(now)
        return self._ask_dns(now)

    def _ask_dns(self, now: float) -> list[BootstrapEffect]:
        self._hinted = False
        if self._config.name:
            self._names = [self._config.name]
            return self._ask_next(now)
        self._phase = Phase.SERVICE
        return [AskName(self._config.service, RecordType.SRV, self._fresh)]

    def _services(self, answer: Answer, now: float) -> list[BootstrapEffect]:
        service = self._config.service
        if answer.outcome is Outcome.FAILED:
            return self._none(now, f"{service}: {answer.reason}", Step.SERVICE)
        services = [one for one in answer.data if isinstance(one, Service)]
        names = ranked(services, self._chance)
        if services and not names:
            text = f"{self._config.domain} says that it has no home agent (SRV target '.')"
            return self._none(now, text, Step.SERVICE)
        if not names:
            return self._none(now, f"no SRV record for {service}", Step.SERVICE)
        self._mark(Step.SERVICE, f"SRV {service}: {', '.join(names)}", now)
        self._how = f"SRV {service}"
        current = self._target.name if self._target else ""
        # Whom we just lost comes last.
        self._names = sorted(names, key=lambda name: name == current)
        self._take_glue(answer.glue)
        return self._ask_next(now)

    def _take_glue(self, glue: Sequence[Record]) -> None:
        """Use addresses that came along; a family that did not is asked for."""
        for record in glue:
            key = record.name, record.type
            self._addresses[key] = (*self._addresses.get(key, ()), record.data)

    def _ask_next(self, now: float) -> list[BootstrapEffect]:
        self._phase = Phase.ADDRESS
        self._deadline = None
        self._asking = self._names.pop(0)
        missing: list[BootstrapEffect] = [
            AskName(self._asking, kind, self._fresh)
            for kind in (RecordType.AAAA, RecordType.A)
            if (self._asking, kind) not in self._addresses
        ]
        return missing or self._addressed(now)

    def _addressed(self, now: float) -> list[BootstrapEffect]:
        name = self._asking
        both = [self._addresses.get((name, kind)) for kind in (RecordType.AAAA, RecordType.A)]
        if any(found is None for found in both):
            return []
        six = [a for a in both[0] or () if isinstance(a, IPv6Address) and is_routable(a)]
        four = [a for a in both[1] or () if isinstance(a, IPv4Address) and is_routable(a)]
        if not six:
            # RFC 5555 section 4.1: also over IPv4 it is the IPv6 address that is registered with.
            return self._next(now, f"no AAAA record for {name}", Step.ADDRESS)
        if self._config.name and not self._hinted:
            self._how = f"AAAA {name}"
        found = [Target(name, address, four[0] if four else None) for address in six]
        found.sort(key=lambda target: target == self._target)
        self._targets = found[:ADDRESSES_MAX]
        return self._propose(now)

    # --- trying

    def _propose(self, now: float) -> list[BootstrapEffect]:
        target = self._targets.pop(0)
        self._mark(Step.ADDRESS, str(target), now)
        for step in (Step.KEYS, Step.HOME_ADDRESS, Step.REGISTRATION):
            self._marks.pop(step, None)
        self._trying(now)
        if target == self._target:
            return []
        self._target = target
        note = Note("info", f"home agent {target}, found by {self._how}")
        return [Count("bootstrap_agents"), note, UseAgent(target)]

    def _trying(self, now: float) -> None:
        self._phase = Phase.TRYING
        self._deadline = now + self._config.wait

    def _lost(self, text: str, now: float) -> list[BootstrapEffect]:
        """Ask DNS again; the home agent that is lost may come back in the meantime."""
        self._begin("", now)
        self._fresh = True
        asking = self._ask_all(now)
        self._problem = text
        note = Note("warning", f"{text}: asking DNS again")
        return [Count("bootstrap_lost"), note, *asking]

    def _next(
        self, now: float, text: str, step: Step, refused: bool = False
    ) -> list[BootstrapEffect]:
        """Go on to the next home agent after a failure."""
        if self._direct:
            return self._lost(text, now)
        self._refused.append(refused)
        if not self._targets and not self._names:
            if self._hinted:
                note = Note("warning", f"{text}, asking DNS")
                return [note, *self._ask_dns(now)]
            return self._none(now, text, step)
        self._mark(step, text, now, failed=True)
        effects: list[BootstrapEffect] = [Note("warning", f"{text}, trying another home agent")]
        return effects + (self._propose(now) if self._targets else self._ask_next(now))

    def _none(self, now: float, text: str, step: Step) -> list[BootstrapEffect]:
        """There is nobody else to try."""
        self._mark(step, text, now, failed=True)
        self._problem = text
        hopeless = bool(self._refused) and all(self._refused)
        self._phase = Phase.GIVEN_UP if hopeless else Phase.WAITING
        wait = GIVEN_UP_FOR if hopeless else self._config.retry
        self._deadline = now + wait
        level, more = ("error", "giving up") if hopeless else ("warning", f"again in {wait:g} s")
        return [Count("bootstrap_failed"), Note(level, f"bootstrapping: {text}, {more}")]

    def _mark(self, step: Step, text: str, now: float, failed: bool = False) -> None:
        self._marks[step] = Mark(step, max(now - self._began, 0.0), failed, text)
