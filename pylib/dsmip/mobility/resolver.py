# SPDX-License-Identifier: GPL-2.0-only
"""A stub resolver: asks name servers through the access networks that are there.

Against forged answers (RFC 5452) each attempt has a random id and is sent from a
socket, and so a random port, of its own; an answer must repeat the question.
Who sees too many wrong answers goes on by TCP. Times in seconds.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from ..packet import dns
from ..packet.dns import Data, DnsMalformed, Question, Rcode, Record, RecordType, Response, Service
from .effects import Address, Count, Note

#: A way is waited for that long, twice as long in each further round.
WAIT_FIRST: Final = 1.0
ROUNDS: Final = 3
WAYS_MAX: Final = 8
LOOKUPS_MAX: Final = 16
CACHE_MAX: Final = 64
#: Aliases that are followed in all (RFC 1034 section 3.6.2 warns of loops).
ALIASES_MAX: Final = 8
#: Answers with a wrong id or question, after which UDP is not believed any more.
WRONG_MAX: Final = 8
TTL_MAX: Final = 86400
#: RFC 2308 section 5 allows hours; somebody waits here for a record to appear.
TTL_ABSENT_MAX: Final = 60


class Random(Protocol):
    """The part of ``random.Random`` that is used."""

    def randrange(self, stop: int, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Way:
    """A name server, and from where on this host it is asked.

    ``source`` None leaves it to the host, for a server of its own.
    """

    server: Address
    source: Address | None = None
    interface: int = 0
    port: int = dns.PORT

    def __str__(self) -> str:
        return str(self.server)


class Outcome(enum.Enum):
    """What became of a question."""

    FOUND = "found"
    NO_NAME = "there is no such name"
    NO_DATA = "there is no such record"
    FAILED = "no name server answered"


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of a lookup.

    ``name`` is what was asked for, ``data`` what stands at the end of its
    aliases. ``glue`` are addresses of SRV targets that came along. ``reason``
    says why it failed.
    """

    name: str
    type: int
    outcome: Outcome
    data: tuple[Data, ...] = ()
    glue: tuple[Record, ...] = ()
    reason: str = ""


# --- effects ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendQuery:
    """Send a query from a new socket; what comes back goes to ``received`` with ``token``."""

    token: int
    data: bytes
    way: Way
    tcp: bool = False


@dataclass(frozen=True, slots=True)
class CloseQuery:
    """Close the socket of a query."""

    token: int


@dataclass(frozen=True, slots=True)
class Answered:
    """A lookup ended."""

    answer: Answer


ResolverEffect = SendQuery | CloseQuery | Answered | Note | Count


# --- engine -----------------------------------------------------------------------


@dataclass(slots=True)
class _Attempt:
    lookup: _Lookup
    id: int
    way: Way
    question: Question
    tcp: bool
    edns: bool
    wrong: int = 0


@dataclass(slots=True)
class _Lookup:
    name: str
    type: int
    asked: str
    tries: int = 0
    retry_at: float = 0.0
    aliases: set[str] = field(default_factory=set)
    ttl: int = TTL_MAX
    tokens: set[int] = field(default_factory=set)
    reason: str = ""


class Resolver:
    """The engine. Times are those of the caller's monotonic clock."""

    def __init__(self, chance: Random | None = None) -> None:
        self._chance = chance or random.SystemRandom()
        self._ways: tuple[Way, ...] = ()
        self._lookups: dict[tuple[str, int], _Lookup] = {}
        self._attempts: dict[int, _Attempt] = {}
        self._cache: dict[tuple[str, int], tuple[float, Answer]] = {}
        self._token = 0

    @property
    def ways(self) -> tuple[Way, ...]:
        """The name servers, in the order in which they are asked."""
        return self._ways

    def use_ways(self, ways: Sequence[Way], now: float) -> list[ResolverEffect]:
        """Take the name servers as they can be reached now; lookups go on there."""
        before, self._ways = self._ways, tuple(ways)[:WAYS_MAX]
        if self._ways == before:
            return []
        effects: list[ResolverEffect] = []
        for lookup in list(self._lookups.values()):
            gone = [t for t in lookup.tokens if self._attempts[t].way not in self._ways]
            effects += self._close(lookup, gone)
            if not lookup.tokens:
                lookup.tries = 0
                effects += self._try(lookup, now)
        return effects

    def ask(self, name: str, type: int, now: float, fresh: bool = False) -> list[ResolverEffect]:
        """Look a name up; the answer may be there at once. ``fresh`` passes by the cache.

        Raises ``ValueError`` when it is no name.
        """
        key = dns.canonical(name), type
        dns.encode_name(name)
        if key in self._lookups:
            return []
        held = self._cache.get(key)
        if held is not None and not fresh and held[0] > now:
            return [Answered(held[1])]
        lookup = _Lookup(key[0], type, key[0])
        if len(self._lookups) >= LOOKUPS_MAX:
            return [Answered(Answer(*key, Outcome.FAILED, reason="too many lookups at once"))]
        self._lookups[key] = lookup
        return self._try(lookup, now)

    def cancel(self) -> list[ResolverEffect]:
        """End all lookups without an answer."""
        effects: list[ResolverEffect] = []
        for lookup in self._lookups.values():
            effects += self._close(lookup)
        self._lookups.clear()
        return effects

    def received(self, token: int, data: bytes, now: float) -> list[ResolverEffect]:
        """Take what came to the socket of a query."""
        attempt = self._attempts.get(token)
        if attempt is None:
            return []
        try:
            response = dns.parse(data)
        except DnsMalformed as error:
            return [Count(error.counter), *self._wrong(token, attempt, error.reason, now)]
        question = attempt.question
        if response.id != attempt.id or response.opcode or response.questions != (question,):
            reason = "an answer to another question"
            return [Count("dns_mismatch"), *self._wrong(token, attempt, reason, now)]
        if response.truncated:
            if attempt.tcp:
                return self._lost(token, f"{attempt.way} cuts its answers by TCP, too", now)
            return [Count("dns_truncated"), *self._again(token, attempt, tcp=True)]
        if response.rcode in (Rcode.FORMERR, Rcode.NOTIMP) and attempt.edns:
            return self._again(token, attempt, edns=False)
        if response.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
            word = Rcode(response.rcode).name if response.rcode <= 10 else str(response.rcode)
            return self._lost(token, f"{attempt.way} says {word}", now)
        return self._take(attempt.lookup, response, now)

    def failed(self, token: int, reason: str, now: float) -> list[ResolverEffect]:
        """Hear that a query could not be sent, or that its connection ended."""
        attempt = self._attempts.get(token)
        return [] if attempt is None else self._lost(token, f"{attempt.way}: {reason}", now)

    def next_timer(self) -> float | None:
        """Return when ``handle_timer`` wants to be called, None for never."""
        return min((lookup.retry_at for lookup in self._lookups.values()), default=None)

    def handle_timer(self, now: float) -> list[ResolverEffect]:
        """Do what time asks for."""
        effects: list[ResolverEffect] = []
        for lookup in list(self._lookups.values()):
            if lookup.retry_at <= now:
                effects += self._try(lookup, now)
        return effects

    # --- asking

    def _try(self, lookup: _Lookup, now: float) -> list[ResolverEffect]:
        ways = self._ways
        if not ways:
            return self._end(lookup, Outcome.FAILED, now, reason="no name server is known")
        if lookup.tries >= ROUNDS * len(ways):
            reason = lookup.reason or f"no answer from {', '.join(dict.fromkeys(map(str, ways)))}"
            return self._end(lookup, Outcome.FAILED, now, reason=reason)
        way = ways[lookup.tries % len(ways)]
        lookup.retry_at = now + WAIT_FIRST * 2 ** (lookup.tries // len(ways))
        lookup.tries += 1
        return self._send(lookup, way, tcp=False, edns=True)

    def _send(self, lookup: _Lookup, way: Way, tcp: bool, edns: bool) -> list[ResolverEffect]:
        self._token += 1
        question = Question(lookup.asked, lookup.type)
        id = self._chance.randrange(0x10000)
        self._attempts[self._token] = _Attempt(lookup, id, way, question, tcp, edns)
        lookup.tokens.add(self._token)
        return [SendQuery(self._token, dns.build_query(id, question, edns), way, tcp)]

    def _again(
        self, token: int, attempt: _Attempt, tcp: bool = False, edns: bool = True
    ) -> list[ResolverEffect]:
        """Ask the same server in another manner, within the time of this attempt."""
        lookup = attempt.lookup
        closed = self._close(lookup, [token])
        return [
            *closed,
            *self._send(lookup, attempt.way, tcp or attempt.tcp, edns and attempt.edns),
        ]

    def _wrong(
        self, token: int, attempt: _Attempt, reason: str, now: float
    ) -> list[ResolverEffect]:
        attempt.wrong += 1
        if attempt.tcp:
            # Its sender is who it should be: there will be no better answer.
            return self._lost(token, f"{attempt.way}: {reason}", now)
        if attempt.wrong < WRONG_MAX:
            return []
        note = Note("warning", f"DNS: forged answers in the name of {attempt.way}, going on by TCP")
        return [note, *self._again(token, attempt, tcp=True)]

    def _lost(self, token: int, reason: str, now: float) -> list[ResolverEffect]:
        """Go on to the next way without waiting, but for the end of a round."""
        lookup = self._attempts[token].lookup
        lookup.reason = reason
        closed = self._close(lookup, [token])
        if lookup.tokens:
            return closed
        if lookup.tries % max(len(self._ways), 1) == 0 and lookup.tries < ROUNDS * len(self._ways):
            return closed
        return [*closed, *self._try(lookup, now)]

    def _close(self, lookup: _Lookup, tokens: Iterable[int] | None = None) -> list[ResolverEffect]:
        closed: list[ResolverEffect] = []
        for token in sorted(lookup.tokens if tokens is None else tokens):
            lookup.tokens.discard(token)
            del self._attempts[token]
            closed.append(CloseQuery(token))
        return closed

    # --- answers

    def _take(self, lookup: _Lookup, response: Response, now: float) -> list[ResolverEffect]:
        while True:
            here = [r for r in response.answers if r.name == lookup.asked and r.cls == 1]
            wanted = [record for record in here if record.type == lookup.type]
            if wanted:
                lookup.ttl = min([lookup.ttl, *(record.ttl for record in wanted)])
                data = tuple(dict.fromkeys(record.data for record in wanted))
                glue = _glue(data, response.additional)
                return self._end(lookup, Outcome.FOUND, now, data, glue)
            alias = next((r for r in here if r.type == RecordType.CNAME), None)
            if alias is None:
                break
            lookup.aliases.add(lookup.asked)
            lookup.ttl = min(lookup.ttl, alias.ttl)
            target = str(alias.data)
            if target in lookup.aliases or len(lookup.aliases) > ALIASES_MAX:
                reason = f"the aliases of {lookup.name} go round in circles"
                return self._end(lookup, Outcome.FAILED, now, reason=reason)
            lookup.asked = target
        missing = lookup.aliases and response.questions[0].name != lookup.asked
        if missing and response.rcode == Rcode.NOERROR:
            # The server left the end of the aliases to us.
            lookup.tries = 0
            return [*self._close(lookup), *self._try(lookup, now)]
        absent = Outcome.NO_NAME if response.rcode == Rcode.NXDOMAIN else Outcome.NO_DATA
        lookup.ttl = _absent_for(response.authorities)
        return self._end(lookup, absent, now)

    def _end(
        self,
        lookup: _Lookup,
        outcome: Outcome,
        now: float,
        data: tuple[Data, ...] = (),
        glue: tuple[Record, ...] = (),
        reason: str = "",
    ) -> list[ResolverEffect]:
        key = lookup.name, lookup.type
        del self._lookups[key]
        answer = Answer(*key, outcome, data, glue, reason)
        self._cache.pop(key, None)
        if outcome is not Outcome.FAILED and lookup.ttl > 0:
            if len(self._cache) >= CACHE_MAX:
                self._cache.pop(next(iter(self._cache)))
            self._cache[key] = now + lookup.ttl, answer
        return [*self._close(lookup), Answered(answer)]


def _glue(data: tuple[Data, ...], additional: Sequence[Record]) -> tuple[Record, ...]:
    targets = {service.target for service in data if isinstance(service, Service)}
    kinds = (RecordType.A, RecordType.AAAA)
    return tuple(r for r in additional if r.name in targets and r.type in kinds and r.cls == 1)


def _absent_for(authorities: Sequence[Record]) -> int:
    """Return for how long an absence holds (RFC 2308 section 5)."""
    for record in authorities:
        if record.type == RecordType.SOA and isinstance(record.data, bytes):
            return min(record.ttl, int.from_bytes(record.data, "big"), TTL_ABSENT_MAX)
    return 0
