# SPDX-License-Identifier: GPL-2.0-only
"""The stub resolver against name servers that answer, are silent, lie or are forged."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from dsmip.mobility import resolver as r
from dsmip.mobility.effects import Count, Note, Uplink
from dsmip.mobility.resolver import Answer, Answered, CloseQuery, Outcome, Resolver, SendQuery, Way
from dsmip.packet.dns import (
    Data,
    Opcode,
    Question,
    Rcode,
    Record,
    RecordType,
    Service,
    build_message,
)
from dsmip.service.bootstrapping import ways

NAME = "ha1.example.test"
SRV = "_mip6._ipv6.example.test"
HA6, HA4 = IPv6Address("2001:db8:1::1"), IPv4Address("198.51.100.1")
ONE, TWO = (Way(ip_address(a)) for a in ("2001:db8:53::1", "2001:db8:53::2"))
#: Sends of one lookup that nobody answers, to one server.
ALL = r.ROUNDS

Server = Callable[[Question], tuple[int, list[Record]]]


class Net:
    """A resolver with everything that it sends, and a clock."""

    def __init__(self, *given: Way) -> None:
        self.now = 100.0
        self.engine = Resolver()
        self.sent: list[SendQuery] = []
        self.open: dict[int, SendQuery] = {}
        self.answers: list[Answer] = []
        self.counts: list[str] = []
        self.notes: list[str] = []
        self.take(self.engine.use_ways(given or (ONE,), self.now))

    def take(self, effects: list[r.ResolverEffect]) -> None:
        for effect in effects:
            match effect:
                case SendQuery():
                    assert effect.token not in self.open
                    self.sent.append(effect)
                    self.open[effect.token] = effect
                case CloseQuery():
                    del self.open[effect.token]
                case Answered():
                    self.answers.append(effect.answer)
                case Count():
                    self.counts.append(effect.name)
                case Note():
                    self.notes.append(effect.text)

    def ask(self, name: str = NAME, kind: int = RecordType.AAAA, fresh: bool = False) -> None:
        self.take(self.engine.ask(name, kind, self.now, fresh))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        for _ in range(1000):
            at = self.engine.next_timer()
            if at is None or at > end:
                self.now = end
                return
            self.now = max(at, self.now)
            self.take(self.engine.handle_timer(self.now))
        raise AssertionError("time does not pass")

    def reply(self, *records: Record, to: SendQuery | None = None, **more: int) -> None:
        query = to or self.sent[-1]
        self.take(self.engine.received(query.token, response(query, *records, **more), self.now))


def question(query: SendQuery) -> tuple[int, Question]:
    """Read a query as a server does."""
    labels, offset = [], 12
    while query.data[offset]:
        size = query.data[offset]
        labels.append(query.data[offset + 1 : offset + 1 + size].decode())
        offset += 1 + size
    kind = int.from_bytes(query.data[offset + 1 : offset + 3], "big")
    return int.from_bytes(query.data[:2], "big"), Question(".".join(labels), kind)


def response(
    query: SendQuery,
    *records: Record,
    rcode: int = 0,
    flags: int = 0,
    id: int = -1,
    authority: tuple[Record, ...] = (),
    additional: tuple[Record, ...] = (),
    asked: Question | None = None,
) -> bytes:
    own, what = question(query)
    return build_message(
        own if id < 0 else id,
        Opcode.QUERY,
        (asked or what,),
        (records, authority, additional),
        0x8180 | flags | rcode,
    )


def six(address: Data = HA6, name: str = NAME, ttl: int = 60) -> Record:
    return Record(name, RecordType.AAAA, ttl, address)


def alias(name: str, target: str, ttl: int = 60) -> Record:
    return Record(name, RecordType.CNAME, ttl, target)


# --- answers ------------------------------------------------------------------------


def test_an_answer_is_kept_for_its_time() -> None:
    net = Net()
    net.ask()
    net.reply(six(ttl=30), six(ttl=20))
    assert net.answers == [Answer(NAME, RecordType.AAAA, Outcome.FOUND, (HA6,))]
    assert not net.open
    net.ask("HA1.example.TEST.")
    assert len(net.answers) == 2
    assert len(net.sent) == 1
    net.ask(fresh=True)
    assert len(net.sent) == 2
    net.reply(six(ttl=20))
    net.run(20.5)
    net.ask()
    assert len(net.sent) == 3, "the shortest time counts"
    net.reply(six(ttl=0))
    net.ask()
    assert len(net.sent) == 4, "no time is not kept"


def test_aliases_are_followed() -> None:
    net = Net()
    net.ask()
    net.reply(alias(NAME, "b.test", 5), six(name="b.test"))
    assert net.answers[0].data == (HA6,)
    assert net.answers[0].name == NAME
    net.run(6)
    net.ask()
    net.reply(alias(NAME, "c.test"))
    assert question(net.sent[-1])[1] == Question("c.test", RecordType.AAAA), "the end is asked for"
    net.reply(six(name="c.test"))
    assert net.answers[1].data == (HA6,)


def test_aliases_that_go_round_in_circles() -> None:
    net = Net()
    net.ask()
    net.reply(alias(NAME, "b.test"), alias("b.test", NAME))
    assert net.answers[0].outcome is Outcome.FAILED
    assert "circles" in net.answers[0].reason
    net.ask()
    for number in range(r.ALIASES_MAX + 2):
        if net.open:
            net.reply(alias(question(net.sent[-1])[1].name, f"n{number}.test"))
    assert net.answers[1].outcome is Outcome.FAILED
    assert len(net.sent) <= 1 + r.ALIASES_MAX + 2


@pytest.mark.parametrize(
    ("rcode", "outcome"), [(Rcode.NXDOMAIN, Outcome.NO_NAME), (0, Outcome.NO_DATA)]
)
def test_what_is_not_there_is_not_asked_for_at_once_again(rcode: int, outcome: Outcome) -> None:
    net = Net()
    net.ask()
    own, what = question(net.sent[-1])
    named = b"\0\0" + b"\0" * 16 + (7).to_bytes(4, "big")
    soa = Record("example.test", RecordType.SOA, 3600, named)
    data = build_message(own, 0, (what,), ((), (soa,), ()), 0x8180 | rcode)
    net.take(net.engine.received(net.sent[-1].token, data, net.now))
    assert net.answers[0].outcome is outcome
    net.ask()
    assert len(net.sent) == 1
    net.run(7.1)
    net.ask()
    assert len(net.sent) == 2


def test_addresses_that_come_with_an_srv_record() -> None:
    net = Net()
    net.ask(SRV, RecordType.SRV)
    four = Record(NAME, RecordType.A, 60, HA4)
    elsewhere = six(name="www.bank.test")
    service = Record(SRV, RecordType.SRV, 60, Service(10, 0, 0, NAME))
    own, what = question(net.sent[-1])
    data = build_message(own, 0, (what,), ((service,), (), (six(), four, elsewhere)), 0x8180)
    net.take(net.engine.received(net.sent[-1].token, data, net.now))
    assert net.answers[0].glue == (six(), four), "of the targets, and of nobody else"


# --- servers ------------------------------------------------------------------------


def test_each_server_is_asked_and_waited_for_longer() -> None:
    net = Net(ONE, TWO)
    net.ask()
    net.run(60)
    assert [query.way for query in net.sent] == [ONE, TWO] * ALL
    ids = {question(query)[0] for query in net.sent}
    assert len(ids) > 1, "each attempt has an id of its own"
    (failed,) = net.answers
    assert failed.outcome is Outcome.FAILED
    assert "no answer from 2001:db8:53::1, 2001:db8:53::2" in failed.reason
    assert not net.open
    assert net.engine.next_timer() is None


def test_a_late_answer_counts() -> None:
    net = Net(ONE, TWO)
    net.ask()
    first = net.sent[0]
    net.run(2.5)
    assert len(net.sent) > 1
    net.reply(six(), to=first)
    assert net.answers[0].data == (HA6,)
    assert not net.open


def test_a_server_that_cannot_says_so_and_the_next_is_asked() -> None:
    net = Net(ONE, TWO)
    net.ask()
    net.reply(rcode=Rcode.SERVFAIL)
    assert [query.way for query in net.sent] == [ONE, TWO]
    net.reply(rcode=Rcode.REFUSED)
    assert len(net.sent) == 2, "a round is over: not at once again"
    net.run(60)
    assert net.answers[0].outcome is Outcome.FAILED


def test_a_way_that_is_shut() -> None:
    net = Net(ONE)
    net.ask()
    for _ in range(ALL):
        for query in list(net.open.values()):
            net.take(net.engine.failed(query.token, "Network is unreachable", net.now))
        net.run(5)
    assert net.answers[0].reason == "2001:db8:53::1: Network is unreachable"
    nowhere = Net()
    nowhere.take(nowhere.engine.use_ways((), nowhere.now))
    nowhere.ask()
    assert nowhere.answers[0].reason == "no name server is known"


def test_another_network_while_asking() -> None:
    net = Net(ONE)
    net.ask()
    net.run(1.5)
    net.take(net.engine.use_ways((TWO,), net.now))
    assert net.sent[-1].way == TWO
    assert {query.way for query in net.open.values()} == {TWO}
    net.reply(six())
    assert net.answers[0].data == (HA6,)


def test_a_server_that_knows_no_extensions() -> None:
    net = Net()
    net.ask()
    assert net.sent[0].data[11] == 1
    net.reply(rcode=Rcode.FORMERR)
    assert net.sent[1].data[11] == 0
    net.reply(six())
    assert net.answers[0].data == (HA6,)


def test_a_long_answer_comes_by_tcp() -> None:
    net = Net()
    net.ask()
    net.reply(six(), flags=0x0200)
    assert [query.tcp for query in net.sent] == [False, True]
    net.reply(six())
    assert net.answers[0].data == (HA6,)
    net.ask(fresh=True)
    net.reply(flags=0x0200)
    net.reply(flags=0x0200)
    net.run(60)
    assert net.answers[1].outcome is Outcome.FAILED
    assert "cuts its answers by TCP" in net.answers[1].reason


# --- forgery ------------------------------------------------------------------------


def test_forged_answers_are_not_believed() -> None:
    net = Net()
    net.ask()
    query = net.sent[0]
    own, what = question(query)
    bad = IPv6Address("2001:db8:bad::1")
    forged = [
        response(query, six(bad), id=own ^ 1),
        response(query, six(bad), asked=Question("other.test", what.type)),
        response(query, six(bad), asked=Question(what.name, RecordType.A)),
        response(query, six(bad), asked=Question(what.name, what.type, 3)),
        build_message(own, 0, (), ((six(bad),), (), ()), 0x8180),
        build_message(own, Opcode.UPDATE, (what,), ((six(bad),), (), ()), 0x8180),
        b"\0" * 40,
    ]
    assert len(forged) < r.WRONG_MAX
    for data in forged:
        net.take(net.engine.received(query.token, data, net.now))
    assert net.counts == ["dns_mismatch"] * 6 + ["dns_malformed"]
    assert not net.answers
    net.reply(six())
    assert net.answers[0].data == (HA6,)
    net.take(net.engine.received(query.token, response(query, six(bad)), net.now))
    assert len(net.answers) == 1, "the socket is closed"


def test_records_of_another_name_are_not_the_answer() -> None:
    net = Net()
    net.ask()
    net.reply(six(name="other.test"))
    assert net.answers[0].outcome is Outcome.NO_DATA


def test_who_is_attacked_goes_on_by_tcp() -> None:
    net = Net()
    net.ask()
    query = net.sent[0]
    own, _ = question(query)
    for guess in range(r.WRONG_MAX):
        data = response(query, six(), id=own ^ (guess + 1))
        net.take(net.engine.received(query.token, data, net.now))
    assert net.sent[-1].tcp
    assert "forged answers" in net.notes[0]
    assert query.token not in net.open


def test_lookups_and_what_is_kept_are_bounded() -> None:
    net = Net()
    for number in range(r.LOOKUPS_MAX + 1):
        net.ask(f"n{number}.test")
    assert len(net.open) == r.LOOKUPS_MAX
    assert net.answers[0].reason == "too many lookups at once"
    net.take(net.engine.cancel())
    assert not net.open
    for number in range(r.CACHE_MAX + 5):
        net.ask(f"n{number}.test")
        net.reply(six(name=f"n{number}.test"))
    sent = len(net.sent)
    net.ask("n0.test")
    assert len(net.sent) == sent + 1, "the oldest made room"
    with pytest.raises(ValueError, match="no domain name"):
        net.ask("a..b")


# --- ways ---------------------------------------------------------------------------


def test_servers_are_asked_by_uplinks_of_their_family() -> None:
    """Access networks without IPv6, or without IPv4, do not stop the others."""
    servers = [ip_address(a) for a in ("2001:db8:53::1", "192.0.2.53")]
    v6 = Uplink("lte", 2, 10, addresses6=(ip_address("2001:db8:a6::5"),), gateway6=True)
    v4 = Uplink("wifi", 3, 20, addresses4=(ip_address("10.0.5.2"),), gateway4=True)
    dead = Uplink("eth", 4, 5, addresses4=(ip_address("10.0.6.2"),))
    held = Uplink("portal", 5, 1, addresses4=(ip_address("10.0.7.2"),), gateway4=True, held=True)
    found = ways((v4, v6, dead, held), servers)
    assert [(str(way.server), str(way.source), way.interface) for way in found] == [
        ("2001:db8:53::1", "2001:db8:a6::5", 2),
        ("192.0.2.53", "10.0.5.2", 3),
    ]
    assert [way.interface for way in ways((v4, v6), servers, active="wifi")] == [3, 2]
    assert ways((v4,), [ip_address("127.0.0.1")]) == (Way(ip_address("127.0.0.1")),)
    assert ways((), servers) == ()
