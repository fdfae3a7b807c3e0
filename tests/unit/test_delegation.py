# SPDX-License-Identifier: GPL-2.0-only
"""Prefix delegation, both ends together (RFC 6276, RFC 8415)."""

from __future__ import annotations

import itertools
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network

import pytest
from dsmip.mobility.delegating_router import DelegatingConfig, DelegatingRouter
from dsmip.mobility.delegation import Place, SendDatagram, duid_of
from dsmip.mobility.ownership import Owner, Ownership
from dsmip.mobility.requesting_router import RequestingRouter
from dsmip.packet.dhcpv6 import (
    ALL_SERVERS,
    LeasedPrefix,
    Message,
    MessageType,
    PrefixAssociation,
    Relayed,
    Status,
    StatusCode,
    build,
    parse,
)

from tests.unit.delegating import (
    AT_HOME,
    AWAY,
    CLIENT,
    CONFIG,
    LINK_LOCAL,
    OWNER,
    POOL,
    SERVER,
    Exchange,
    in_relay,
    owners,
)
from tests.unit.roaming import HA6, HOA

SOLICIT = Message(MessageType.SOLICIT, 7, CLIENT, associations=(PrefixAssociation(1),))
REQUEST = replace(SOLICIT, type=MessageType.REQUEST, server=SERVER)
STRANGER = IPv6Address("2001:db8:1::bad")


# --- how it should go ------------------------------------------------------------


@pytest.mark.spec("N-070", "N-071", "N-079")
def test_nothing_is_asked_before_the_registration_then_two_messages_do() -> None:
    world = Exchange()
    world.run(100)
    assert world.sent == []
    world.attach(AWAY)
    assert world.kinds("router") == ["SOLICIT"]
    assert world.kinds("agent") == ["REPLY"]
    (prefix,) = world.prefixes()
    assert prefix.prefixlen == 56
    assert prefix.subnet_of(POOL)
    assert ("agent", True) in world.changes
    assert ("router", True) in world.changes
    assert world.table.all_prefixes(OWNER) == (prefix,)


@pytest.mark.spec("N-071")
def test_without_rapid_commit_a_request_follows_the_solicit() -> None:
    world = Exchange(config=replace(CONFIG, rapid_commit=False))
    world.attach(AWAY)
    assert world.kinds("router") == ["SOLICIT", "REQUEST"]
    assert world.kinds("agent") == ["ADVERTISE", "REPLY"]
    assert len(world.prefixes()) == 1


@pytest.mark.spec("N-072")
def test_the_relay_names_the_home_address_twice_and_one_hop() -> None:
    router = RequestingRouter(CONFIG)
    (sent,) = [e for e in router.attached(AWAY, 0.0) if isinstance(e, SendDatagram)]
    assert (sent.source, sent.destination, sent.port) == (HOA, HA6, 547)
    outer = parse(sent.data)
    assert isinstance(outer, Relayed)
    assert (outer.type, outer.hops, outer.link, outer.peer) == (
        MessageType.RELAY_FORWARD,
        1,
        HOA,
        HOA,
    )


@pytest.mark.spec("N-077")
def test_at_home_the_relay_is_off_and_the_home_link_is_used() -> None:
    world = Exchange()
    world.attach(AWAY)
    before = world.prefixes()
    router = world.router
    (sent,) = [e for e in router.attached(AT_HOME, world.now) if isinstance(e, SendDatagram)]
    assert (sent.source, sent.destination, sent.interface) == (None, ALL_SERVERS, 3)
    message = parse(sent.data)
    assert isinstance(message, Message)
    assert message.type is MessageType.REBIND
    # The home agent knows the client by its DUID, as it was seen away from home.
    (answer,) = [
        e
        for e in world.agent.receive(sent.data, LINK_LOCAL, ALL_SERVERS, AT_HOME, world.now)
        if isinstance(e, SendDatagram)
    ]
    assert (answer.destination, answer.port, answer.interface) == (LINK_LOCAL, 546, 3)
    router.receive(answer.data, LINK_LOCAL, AT_HOME, world.now)
    assert world.prefixes() == before


@pytest.mark.spec("N-071")
def test_a_router_that_restarts_rebinds_what_it_had() -> None:
    world = Exchange()
    world.attach(AWAY)
    leases = world.router.leases()
    world.router = RequestingRouter(CONFIG, leases, world.router.server)
    world.sent.clear()
    world.attach(None)
    world.attach(AWAY)
    assert world.kinds("router") == ["REBIND"]
    assert world.router.leases()[0].prefix == leases[0].prefix


def test_leases_live_as_long_as_they_are_renewed() -> None:
    world = Exchange(delegating=DelegatingConfig(SERVER, valid=1000, preferred=600))
    world.attach(AWAY)
    (prefix,) = world.prefixes()
    world.run(5000)
    assert world.prefixes() == [prefix]
    assert world.kinds("router").count("RENEW") in range(15, 18)
    world.to_agent = lambda data: None
    begin = world.now
    world.run(480)
    assert world.kinds("router")[-1] == "REBIND"
    world.run(1100)
    assert world.prefixes() == []
    assert world.kinds("router")[-1] == "SOLICIT"
    assert world.counts["agent pd_expired"] == 1
    assert world.table.all_prefixes(OWNER) == ()
    assert world.now - begin == 1580


def test_an_identity_gets_the_same_prefix_again() -> None:
    first = Exchange()
    first.attach(AWAY)
    again = Exchange()
    again.attach(AWAY)
    assert first.prefixes() == again.prefixes()
    before = first.prefixes()
    first.carry("router", first.router.release(first.now))
    assert first.prefixes() == []
    assert first.table.all_prefixes(OWNER) == ()
    first.attach(None)
    first.attach(AWAY)
    assert first.prefixes() == before


def test_several_prefixes_come_in_one_exchange() -> None:
    world = Exchange(config=replace(CONFIG, count=2, rapid_commit=False))
    world.attach(AWAY)
    one, other = world.prefixes()
    assert not one.overlaps(other)
    assert world.kinds("router") == ["SOLICIT", "REQUEST"]
    assert set(world.table.all_prefixes(OWNER)) == {one, other}


def test_what_the_configuration_gives_is_delegated_first() -> None:
    own = IPv6Network("2001:db8:100::/56")
    owner = replace(OWNER, prefixes=(own,))
    world = Exchange(Ownership((owner,), prefix_pool=(POOL,), delegated_length=56))
    world.config = replace(CONFIG, count=2)
    world.router = RequestingRouter(world.config)
    world.attach(AWAY)
    assert world.prefixes()[0] == own
    assert world.prefixes()[1].subnet_of(POOL)
    # Given back, it stays its own: the configuration says so.
    world.carry("router", world.router.release(world.now))
    assert world.table.all_prefixes(owner) == (own,)


def test_leases_outlive_a_restart_of_the_home_agent() -> None:
    world = Exchange()
    world.attach(AWAY)
    (prefix,) = world.prefixes()
    table = Ownership(owners(6), prefix_pool=(POOL,), delegated_length=56)
    agent = DelegatingRouter(world.delegating, lambda: table, world.now, world.agent.leases())
    assert table.all_prefixes(OWNER) == (prefix,)
    assert [lease.prefix for lease in agent.leases()] == [prefix]
    # And one whose prefix has become somebody else's does not.
    other = Owner("tram", HOA, prefixes=(prefix,))
    table = Ownership((other, replace(OWNER, home_address=STRANGER)), prefix_pool=(POOL,))
    assert (
        DelegatingRouter(world.delegating, lambda: table, 0.0, world.agent.leases()).leases() == []
    )


@pytest.mark.spec("N-078")
def test_six_solicits_then_the_home_agent_counts_as_one_that_delegates_nothing() -> None:
    world = Exchange(to_agent=lambda data: None)
    world.attach(AWAY)
    world.run(500)
    times = [at for _, at, _ in world.sent]
    assert world.kinds("router") == ["SOLICIT"] * 6
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert 1.0 <= gaps[0] <= 1.1
    assert all(1.9 <= later / earlier <= 2.1 for earlier, later in itertools.pairwise(gaps))
    assert world.counts["router pd_unserved"] == 1
    # Its lack may be a fault that is mended.
    world.to_agent = lambda data: data
    world.run(700)
    assert len(world.prefixes()) == 1


def test_a_server_that_forgot_is_asked_anew() -> None:
    world = Exchange(delegating=DelegatingConfig(SERVER, valid=1000, preferred=600))
    world.attach(AWAY)
    before = world.prefixes()
    world.table = Ownership(owners(6), prefix_pool=(POOL,), delegated_length=56)
    world.agent = DelegatingRouter(world.delegating, lambda: world.table, world.now)
    world.run(310)
    assert world.counts["agent pd_status_3"] == 1
    assert world.kinds("router")[-2:] == ["RENEW", "REQUEST"]
    assert world.prefixes() == before
    assert list(world.table.all_prefixes(OWNER)) == before


# --- what is refused by the home agent ---------------------------------------------


def test_the_pool_is_exhausted_at_one_past_its_size_and_refilled_by_a_release() -> None:
    world = Exchange()
    homes = [owner.home_address for owner in owners(6)]
    given = []
    for home in homes[:4]:
        answer = world.ask(replace(REQUEST, client=duid_of(str(home))), home)
        assert answer is not None
        given.append(answer.associations[0].prefixes[0].prefix)
    assert sorted(given) == sorted(POOL.subnets(new_prefix=56))
    answer = world.ask(REQUEST, homes[4])
    assert answer is not None
    assert answer.associations[0].prefixes == ()
    assert answer.associations[0].status is not None
    assert answer.associations[0].status.code == StatusCode.NO_PREFIX
    assert world.counts["agent pd_status_6"] == 1
    back = PrefixAssociation(1, prefixes=(LeasedPrefix(given[2]),))
    release = replace(REQUEST, type=MessageType.RELEASE, associations=(back,))
    answer = world.ask(release, homes[2])
    assert answer is not None
    assert answer.status == Status(StatusCode.SUCCESS)
    answer = world.ask(REQUEST, homes[4])
    assert answer is not None
    assert answer.associations[0].prefixes[0].prefix == given[2]


def test_an_identity_gets_no_more_than_its_number() -> None:
    world = Exchange()
    three = tuple(PrefixAssociation(iaid) for iaid in (1, 2, 3))
    answer = world.ask(replace(REQUEST, associations=three))
    assert answer is not None
    assert [len(one.prefixes) for one in answer.associations] == [1, 1, 0]
    none = Ownership((replace(OWNER, delegated_prefixes=0),), prefix_pool=(POOL,))
    world = Exchange(none)
    answer = world.ask(REQUEST)
    assert answer is not None
    assert answer.associations[0].prefixes == ()


def test_nobody_gets_or_ends_what_is_anothers() -> None:
    world = Exchange()
    first, second = (owner.home_address for owner in owners(2))
    answer = world.ask(REQUEST, first)
    assert answer is not None
    prefix = answer.associations[0].prefixes[0].prefix
    claim = (PrefixAssociation(1, prefixes=(LeasedPrefix(prefix),)),)
    for kind in (MessageType.REQUEST, MessageType.REBIND):
        server = SERVER if kind is MessageType.REQUEST else None
        answer = world.ask(replace(REQUEST, type=kind, server=server, associations=claim), second)
        assert answer is not None
        named = {one.prefix: one.valid for one in answer.associations[0].prefixes}
        assert named.get(prefix, 0) == 0
    answer = world.ask(replace(REQUEST, type=MessageType.RELEASE, associations=claim), second)
    assert world.counts["agent pd_status_3"] == 1
    assert world.table.all_prefixes(OWNER) == (prefix,)
    answer = world.ask(
        replace(REQUEST, type=MessageType.RENEW, associations=claim),
        owners(3)[2].home_address,
    )
    assert answer is not None
    assert answer.associations[0].status is not None
    assert answer.associations[0].status.code == StatusCode.NO_BINDING


@pytest.mark.parametrize(
    ("change", "counter"),
    [
        ({"server": duid_of("another")}, "pd_other_server"),
        ({"server": None}, "pd_ignored"),
        ({"client": None}, "pd_ignored"),
        ({"type": MessageType.CONFIRM}, "pd_ignored"),
        ({"type": MessageType.REPLY}, "pd_ignored"),
        ({"type": MessageType.RECONFIGURE}, "pd_ignored"),
        ({"type": MessageType.SOLICIT}, "pd_ignored"),
    ],
)
def test_messages_that_are_not_for_the_server_get_no_answer(
    change: dict[str, object], counter: str
) -> None:
    world = Exchange()
    assert world.ask(replace(REQUEST, **change)) is None  # type: ignore[arg-type]
    assert world.counts[f"agent {counter}"] == 1
    assert world.agent.leases() == []


def test_relays_that_speak_for_others_are_not_heard() -> None:
    world = Exchange()
    relay = MessageType.RELAY_FORWARD
    other = owners(2)[1].home_address
    wrong = [
        Relayed(relay, 1, other, other, build(REQUEST)),
        Relayed(relay, 1, HOA, other, build(REQUEST)),
        Relayed(relay, 1, other, HOA, build(REQUEST)),
    ]
    for message in wrong:
        world.deliver(build(message), AWAY)
    world.deliver(build(wrong[0]), Place(other), source=HOA)
    assert world.counts["agent pd_wrong_relay"] == 4
    inner = build(Relayed(relay, 0, HOA, HOA, build(REQUEST)))
    world.deliver(build(Relayed(relay, 1, HOA, HOA, inner)), AWAY)
    world.deliver(build(Relayed(relay, 1, STRANGER, STRANGER, build(REQUEST))), Place(STRANGER))
    assert world.counts["agent pd_not_served"] == 2
    world.deliver(build(Relayed(MessageType.RELAY_REPLY, 1, HOA, HOA, build(REQUEST))), AWAY)
    world.deliver(build(REQUEST), AWAY)
    assert world.counts["agent pd_not_relayed"] == 2
    assert world.sent == []


def test_on_the_home_link_only_known_clients_get_prefixes() -> None:
    known = replace(OWNER, duid=duid_of("printer"))
    world = Exchange(Ownership((known,), prefix_pool=(POOL,), delegated_length=56))
    world.place = AT_HOME
    world.to_router = lambda data: None
    world.deliver(build(replace(SOLICIT, client=duid_of("guest"))))
    (_, _, answer) = world.sent.pop()
    assert answer.associations[0].prefixes == ()
    assert answer.associations[0].status is not None
    assert answer.associations[0].status.code == StatusCode.NO_PREFIX
    world.deliver(build(replace(SOLICIT, client=duid_of("printer"), addresses=(9,))))
    (_, _, answer) = world.sent.pop()
    assert len(answer.associations[0].prefixes) == 1
    # An offer holds nothing back.
    assert world.table.delegated() == []
    world.deliver(build(SOLICIT), source=STRANGER)
    world.deliver(build(Relayed(MessageType.RELAY_FORWARD, 1, HOA, HOA, build(SOLICIT))))
    assert world.sent == []
    assert world.counts["agent pd_not_link_local"] == 1
    assert world.counts["agent pd_relayed_at_home"] == 1


# --- what is refused by the mobile router --------------------------------------------


def _other_client(message: Message) -> Message:
    return replace(message, client=duid_of("tram-3"))


def _other_transaction(message: Message) -> Message:
    return replace(message, transaction=message.transaction ^ 1)


def _no_server(message: Message) -> Message:
    return replace(message, server=None)


def _not_committed(message: Message) -> Message:
    return replace(message, rapid_commit=False)


def _another_type(message: Message) -> Message:
    return replace(message, type=MessageType.RECONFIGURE)


def _another_association(message: Message) -> Message:
    (one,) = message.associations
    return replace(message, associations=(replace(one, iaid=77),))


def _times_the_wrong_way(message: Message) -> Message:
    (one,) = message.associations
    return replace(message, associations=(replace(one, renew=10, rebind=5),))


def _lives_less_than_preferred(message: Message) -> Message:
    (one,) = message.associations
    bad = replace(one.prefixes[0], preferred=10, valid=5)
    return replace(message, associations=(replace(one, prefixes=(bad,)),))


def _named(text: str):  # type: ignore[no-untyped-def]
    def change(message: Message) -> Message:
        (one,) = message.associations
        bad = replace(one.prefixes[0], prefix=IPv6Network(text))
        return replace(message, associations=(replace(one, prefixes=(bad,)),))

    return change


@pytest.mark.parametrize(
    ("change", "counter"),
    [
        (_other_client, "pd_wrong_client"),
        (_other_transaction, "pd_wrong_transaction"),
        (_no_server, "pd_no_server"),
        (_not_committed, "pd_unexpected"),
        (_another_type, "pd_unexpected"),
        (_another_association, "pd_wrong_association"),
        (_times_the_wrong_way, "pd_bad_times"),
        (_lives_less_than_preferred, "pd_bad_times"),
        (_named("2001:db8:1::/56"), "pd_unfit_prefix"),
        (_named("2001:db8::/32"), "pd_unfit_prefix"),
        (_named("::/0"), "pd_unfit_prefix"),
        (_named("ff05::/16"), "pd_unfit_prefix"),
        (_named("fe80::/64"), "pd_unfit_prefix"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
@pytest.mark.spec("N-076")
def test_replies_that_are_not_ours_or_not_fit_bring_no_prefix(change, counter) -> None:  # type: ignore[no-untyped-def]
    world = Exchange(to_router=lambda data: in_relay(data, change))
    world.attach(AWAY)
    assert world.prefixes() == []
    assert world.counts[f"router {counter}"] == 1
    # The right one, when it comes, still counts.
    world.to_router = lambda data: data
    world.run(200)
    assert len(world.prefixes()) == 1


def test_overlapping_prefixes_are_not_taken_together() -> None:
    def overlap(message: Message) -> Message:
        one, two = message.associations
        inner = replace(two.prefixes[0], prefix=next(one.prefixes[0].prefix.subnets(new_prefix=60)))
        return replace(message, associations=(one, replace(two, prefixes=(inner,))))

    world = Exchange(
        config=replace(CONFIG, count=2), to_router=lambda data: in_relay(data, overlap)
    )
    world.attach(AWAY)
    assert len(world.prefixes()) == 1
    assert world.counts["router pd_unfit_prefix"] == 1


@pytest.mark.parametrize("source", [STRANGER, HOA])
def test_relay_replies_count_only_from_the_home_agent_and_for_this_home(
    source: IPv6Address,
) -> None:
    answers: list[bytes] = []
    world = Exchange(to_router=lambda data: answers.append(data))
    world.attach(AWAY)
    (answer,) = answers
    outer = parse(answer)
    assert isinstance(outer, Relayed)
    wrong = [
        (answer, source, AWAY),
        (build(replace(outer, link=STRANGER)), HA6, AWAY),
        (build(replace(outer, peer=STRANGER)), HA6, AWAY),
        (build(replace(outer, type=MessageType.RELAY_FORWARD)), HA6, AWAY),
        (build(replace(outer, payload=answer)), HA6, AWAY),
        (outer.payload, HA6, AWAY),
        (outer.payload, LINK_LOCAL, AT_HOME),
        (answer[:-1], HA6, AWAY),
        (b"", HA6, AWAY),
    ]
    for data, sender, place in wrong:
        world.carry("router", world.router.receive(data, sender, place, world.now))
    assert world.prefixes() == []
    assert world.counts["router pd_wrong_relay"] == 5
    assert world.counts["router pd_not_relayed"] == 1
    assert world.counts["router pd_unexpected"] == 1
    assert world.counts["router pd_malformed"] == 2
    world.carry("router", world.router.receive(answer, HA6, AWAY, world.now))
    assert len(world.prefixes()) == 1
    # Once more, late: nothing is open any more.
    world.carry("router", world.router.receive(answer, HA6, AWAY, world.now))
    assert world.counts["router pd_wrong_transaction"] == 1


def test_an_offer_from_the_first_server_is_requested_from_no_other() -> None:
    def other_server(message: Message) -> Message:
        if message.type is MessageType.REPLY:
            return replace(message, server=duid_of("rogue"))
        return message

    world = Exchange(
        config=replace(CONFIG, rapid_commit=False),
        to_router=lambda data: in_relay(data, other_server),
    )
    world.attach(AWAY)
    assert world.counts["router pd_other_server"] == 1
    assert world.prefixes() == []


def test_a_prefix_that_the_server_ends_is_ours_no_more() -> None:
    world = Exchange(delegating=DelegatingConfig(SERVER, valid=1000, preferred=600))
    world.attach(AWAY)

    def ended(message: Message) -> Message:
        (one,) = message.associations
        over = replace(one.prefixes[0], preferred=0, valid=0)
        return replace(message, associations=(replace(one, prefixes=(over,)),))

    world.to_router = lambda data: in_relay(data, ended)
    world.run(310)
    assert world.prefixes() == []
    assert world.changes[-1] == ("router", True)
