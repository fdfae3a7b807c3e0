# SPDX-License-Identifier: GPL-2.0-only
"""Addresses by configuration payload, and the children that follow from them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import pytest
from dsmip.ikev2.config import (
    AddressRequest,
    Assignment,
    ChildConfig,
    Connection,
    HomePrefix,
    Mode,
)
from dsmip.ikev2.configuration import (
    read_reply,
    read_request,
    reply_payload,
    request_payload,
    resolve,
    use_assigned,
)
from dsmip.ikev2.effects import Assigned, ChildFailed
from dsmip.ikev2.errors import RemoteError
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.numbers import ConfigAttribute, ConfigType, NotifyType
from dsmip.ikev2.payloads import Attribute, Configuration, Notify

from tests.unit.ikepair import (
    AGENT,
    HOME,
    MOBILE4,
    Pair,
    connection,
    counterpart,
    mirrored,
    selector,
    signalling,
    tunnel,
)

HOME4 = IPv4Address("192.0.2.77")
ANY6 = IPv6Address("::")


def asking(**request: object) -> AddressRequest:
    return replace(AddressRequest((None,)), **request)  # type: ignore[arg-type]


def dynamic_signalling() -> ChildConfig:
    """The transport child for whatever home address is assigned."""
    return replace(
        signalling(),
        local=(selector("::/0", 135),),
        endpoints=(ANY6, AGENT),
        dynamic=True,
    )


def giving(assignment: Assignment, mobile: Connection | None = None, **changes: object) -> Pair:
    mobile = mobile or connection(request=asking(), children=(dynamic_signalling(),))
    agent = counterpart(mobile, children=tuple(mirrored(c) for c in mobile.children), **changes)
    pair = Pair(mobile, agent)
    pair.accounts.assigner = lambda *asked: assignment
    return pair


ONE = Assignment(((IPv6Address(HOME), 64),))


# --- the payload itself -----------------------------------------------------------------------


def test_requests_and_replies_survive_the_wire() -> None:
    request = AddressRequest(
        (None, IPv6Address(HOME)), (None, HOME4), dns6=True, dns4=True, home_prefix=True
    )
    payload = request_payload(request)
    assert payload.kind == ConfigType.REQUEST
    assert read_request(payload) == request
    assignment = Assignment(
        ((IPv6Address(HOME), 64),),
        (HOME4,),
        (IPv6Address("2001:db8::53"),),
        (IPv4Address("192.0.2.53"),),
        HomePrefix(IPv6Network("2001:db8:1:2::/64"), 7200),
    )
    assert read_reply(reply_payload(assignment)) == assignment


@pytest.mark.spec("B-005")
def test_lengths_are_those_of_the_rfcs() -> None:
    """I-026, B-005."""
    payload = request_payload(AddressRequest((None, IPv6Address(HOME)), home_prefix=True))
    assert [len(a.value) for a in payload.attributes] == [0, 17, 0]
    reply = reply_payload(
        Assignment(
            ((IPv6Address(HOME), 64),),
            home_prefix=HomePrefix(IPv6Network("2001:db8:1:2::/64"), 7200),
        )
    )
    assert [(a.type, len(a.value)) for a in reply.attributes] == [(8, 17), (16, 21)]
    prefix = reply.attributes[1].value
    assert prefix == (7200).to_bytes(4) + ip_address("2001:db8:1:2::").packed + b"\x40"


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        (ConfigAttribute.INTERNAL_IP6_ADDRESS, 15),
        (ConfigAttribute.INTERNAL_IP4_ADDRESS, 3),
        (ConfigAttribute.INTERNAL_IP6_DNS, 4),
        (ConfigAttribute.MIP6_HOME_PREFIX, 20),
    ],
)
def test_wrong_lengths(kind: int, size: int) -> None:
    wrong = Configuration(ConfigType.REPLY, (Attribute(kind, bytes(size)),))
    with pytest.raises(RemoteError):
        read_reply(wrong)
    if kind in (ConfigAttribute.INTERNAL_IP6_ADDRESS, ConfigAttribute.INTERNAL_IP4_ADDRESS):
        with pytest.raises(RemoteError):
            read_request(wrong)


def test_odd_replies() -> None:
    empty = Configuration(
        ConfigType.REPLY,
        (
            Attribute(ConfigAttribute.INTERNAL_IP6_ADDRESS),
            Attribute(ConfigAttribute.INTERNAL_IP4_ADDRESS),
            Attribute(ConfigAttribute.MIP6_HOME_PREFIX),
            Attribute(ConfigAttribute.APPLICATION_VERSION, b"x"),
            Attribute(ConfigAttribute.INTERNAL_IP6_ADDRESS, bytes(16) + b"\xff"),
        ),
    )
    assert read_reply(empty) == Assignment()
    short = Configuration(
        ConfigType.REPLY, (Attribute(ConfigAttribute.INTERNAL_IP6_ADDRESS, HOME.packed),)
    )
    assert read_reply(short).addresses6 == ((HOME, 128),)
    assert read_request(
        Configuration(
            ConfigType.REQUEST, (Attribute(ConfigAttribute.INTERNAL_IP6_ADDRESS, bytes(17)),)
        )
    ).addresses6 == (None,)
    many = Configuration(
        ConfigType.REQUEST, (Attribute(ConfigAttribute.INTERNAL_IP6_ADDRESS),) * 1000
    )
    assert len(read_request(many).addresses6) == 8


@pytest.mark.spec("B-007")
def test_use_assigned_home_address() -> None:
    """B-007."""
    notify = use_assigned(ONE)
    assert notify.type == NotifyType.USE_ASSIGNED_HOA
    got = read_reply(None, notify)
    assert got.use_assigned
    assert got.addresses6 == ONE.addresses6
    assert read_reply(None, Notify(NotifyType.USE_ASSIGNED_HOA, b"xx")).addresses6 == ()


def test_only_what_depends_on_an_assignment_is_changed_by_it() -> None:
    plain = tunnel()
    assert resolve(plain, ONE, True) is plain
    assert resolve(dynamic_signalling(), None, True).unresolved
    done = resolve(dynamic_signalling(), ONE, True)
    assert not done.unresolved
    assert done.local == (selector(str(HOME), 135),)
    assert done.endpoints == (HOME, AGENT)
    only4 = Assignment(addresses4=(HOME4,))
    assert resolve(dynamic_signalling(), only4, True).unresolved


# --- two ends ----------------------------------------------------------------------------------


@pytest.mark.spec("B-004")
def test_the_home_address_comes_from_the_agent() -> None:
    """I-026, B-004: asked for in IKE_AUTH, the child for it in the same exchange."""
    pair = giving(ONE).up()
    pair.check()
    assert len(pair.history) == 4
    assert pair.a.child.mode is Mode.TRANSPORT
    assert pair.a.child.ends.local == HOME
    assert pair.b.child.ends.remote == HOME
    assert pair.b.child.remote == (selector(str(HOME), 135),)
    ours, theirs = pair.a.of(Assigned)[0], pair.b.of(Assigned)[0]
    assert ours.assignment.addresses6 == theirs.assignment.addresses6 == ONE.addresses6
    assert (ours.initiator, theirs.initiator) == (True, False)
    assert pair.a.ike.assignment == ONE


def test_the_reply_is_used_even_if_another_was_wished() -> None:
    """I-027."""
    wish = IPv6Address("2001:db8:ffff::99")
    mobile = connection(request=AddressRequest((wish,)), children=(dynamic_signalling(),))
    pair = giving(ONE, mobile).up()
    assert pair.accounts.asked[0].addresses6 == (wish,)
    assert pair.a.child.ends.local == HOME


def test_no_address_is_free() -> None:
    """I-028: the IKE SA stays, there is no child, and the reason is told."""

    def none_free(*asked: object) -> Assignment:
        raise RemoteError("pool is empty", NotifyType.INTERNAL_ADDRESS_FAILURE)

    pair = giving(ONE)
    pair.accounts.assigner = none_free
    pair.up()
    assert pair.a.of(ChildFailed)[0].notify == NotifyType.INTERNAL_ADDRESS_FAILURE
    pair.check(children=0)
    assert not pair.a.of(Assigned)


def test_an_agent_that_gives_nothing() -> None:
    pair = giving(ONE)
    pair.accounts.assigner = None
    pair.up()
    pair.check(children=0)
    assert pair.a.of(ChildFailed)


def test_nobody_takes_what_was_not_assigned_to_it() -> None:
    """I-019: without a request a dynamic child is nobody's."""
    mobile = connection(request=None, children=(signalling(home="2001:db8:ffff::66"),))
    pair = giving(ONE, mobile)
    pair.accounts.connections[0] = counterpart(mobile, children=(mirrored(dynamic_signalling()),))
    pair.up()
    assert pair.a.of(ChildFailed)[0].notify == NotifyType.TS_UNACCEPTABLE
    greedy = connection(request=asking(), children=(signalling(home="2001:db8:ffff::66"),))
    pair = giving(ONE, greedy)
    pair.accounts.connections[0] = counterpart(greedy, children=(mirrored(dynamic_signalling()),))
    pair.up()
    assert pair.a.of(ChildFailed)[0].notify == NotifyType.TS_UNACCEPTABLE


def test_children_of_the_agent_may_depend_on_the_assignment() -> None:
    mobile = connection(request=asking(), children=(dynamic_signalling(), tunnel("net", 3)))
    children = (mirrored(signalling()), mirrored(tunnel("net", 3)))
    pair = giving(replace(ONE, children=children), mobile)
    pair.accounts.connections[0] = counterpart(mobile, children=())
    pair.up()
    pair.check(children=2)


def test_more_children_for_the_assigned_address() -> None:
    payload = tunnel("payload", 4, local=(selector("::/0"),), endpoints=(ANY6, AGENT), dynamic=True)
    mobile = connection(request=asking(), children=(dynamic_signalling(), payload))
    pair = giving(ONE, mobile).up()
    pair.check(children=2)
    assert pair.a.named("payload").fixed
    assert pair.a.named("payload").ends.local == HOME
    assert pair.b.named("payload").remote == (selector(str(HOME)),)


def test_both_families() -> None:
    mobile = connection(
        request=AddressRequest((None,), (None,)),
        children=(
            tunnel(
                local=(selector("::/0"), selector("0.0.0.0/0")),
                remote=(selector("::/0"), selector("0.0.0.0/0")),
                dynamic=True,
            ),
        ),
    )
    pair = giving(Assignment(((IPv6Address(HOME), 128),), (HOME4,)), mobile).up()
    pair.check()
    assert [s.host for s in pair.a.child.local] == [HOME, HOME4]


def test_the_home_address_survives_rekeys_and_authentication_anew() -> None:
    """I-029."""
    pair = giving(ONE).up()
    for end in (pair.a, pair.b):
        end(end.engine.rekey(end.ike.id, pair.now))
        pair.run()
        end(end.engine.rekey(end.child.id, pair.now))
        pair.run()
        pair.check()
    assert pair.a.ike.assignment == ONE
    pair.a(pair.a.engine.reauthenticate(pair.a.ike.id, pair.now))
    pair.run()
    pair.check()
    assert len(pair.accounts.asked) == 2


@pytest.mark.spec("B-005", "B-006")
def test_home_prefix_then_an_address_of_our_own() -> None:
    """B-005, B-006: the address is made from the prefix, then CREATE_CHILD_SA for it."""
    prefix = HomePrefix(IPv6Network("2001:db8:ffff::/64"), 3600)
    mobile = connection(request=AddressRequest(home_prefix=True), children=())
    pair = giving(Assignment(home_prefix=prefix), mobile)
    pair.accounts.connections[0] = counterpart(mobile, children=(mirrored(signalling()),))
    pair.up()
    assert pair.accounts.asked[0].home_prefix
    assert pair.a.of(Assigned)[0].assignment.home_prefix == prefix
    own = replace(mobile, children=(signalling(),))
    pair.a(pair.a.engine.configure(own, pair.now))
    pair.run()
    pair.check()
    assert pair.a.child.ends.local == HOME


@pytest.mark.spec("B-007")
def test_an_agent_that_insists_on_its_address() -> None:
    """B-007."""
    pair = giving(replace(ONE, use_assigned=True)).up()
    pair.check()
    assigned = pair.a.of(Assigned)[0].assignment
    assert assigned.use_assigned
    assert assigned.addresses6 == ONE.addresses6


def test_dynamic_children_over_nat_and_movement() -> None:
    pair = giving(ONE)
    inside = ip_address("10.0.0.7")
    pair.a.addresses.add(inside)
    pair.nat_of[inside] = ip_address("198.51.100.9")
    pair.up(inside, ip_address("203.0.113.1"))
    assert pair.a.child.ends.encapsulation is None
    pair.moved(MOBILE4, ip_address("203.0.113.1"))
    pair.run()
    assert pair.a.child.ends.local == HOME


def test_addresses_that_were_not_asked_for_are_left() -> None:
    mobile = connection()
    pair = Pair(mobile)
    pair.initiate()
    for _ in range(3):
        pair.step()
    # A connection without request gets no reply; a stray one is not taken.
    from dsmip.ikev2.contents import Contents
    from dsmip.ikev2.establish import take_assignment

    pair.run()
    sa = next(iter(pair.a.engine._core.sas.values()))
    take_assignment(pair.a.engine._core, sa, Contents(cp=reply_payload(ONE)))
    assert sa.assignment is None


def test_identity_of_the_assignment() -> None:
    seen: list[Identity] = []

    def assign(found: Connection, peer: Identity, request: AddressRequest) -> Assignment:
        seen.append(peer)
        return ONE

    pair = giving(ONE)
    pair.accounts.assigner = assign
    pair.up()
    assert [str(peer) for peer in seen] == ["mr.example.net"]
