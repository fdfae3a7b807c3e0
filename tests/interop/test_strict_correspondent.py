# SPDX-License-Identifier: GPL-2.0-only
"""The correspondent's engine against a mobile node made by scapy, and the strict reader."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest
from dsmip.mobility.config import CorrespondentConfig
from dsmip.mobility.correspondent import Correspondent
from dsmip.mobility.effects import Effect, MeasureUse, Path, SendMessage
from dsmip.packet.careof import WireKind
from dsmip.packet.kernel import PathEvent
from scapy.packet import Packet

from tests.interop import strict_sender as make
from tests.interop.strict import AUTHORIZATION, Frame, NotMobility, clean, read
from tests.interop.test_strict_engines import on_the_wire, taken

HOME, CARE_OF, OTHER = "2001:db8:1::100", "2001:db8:a6::5", "2001:db8:a7::5"
CORRESPONDENT = "2001:db8:c::2"
COOKIE, COOKIE2 = bytes(range(8)), bytes(range(8, 16))


class Node:
    """A mobile node by scapy and, by a call, the correspondent that it talks to."""

    def __init__(self) -> None:
        self.now = 1000.0
        config = CorrespondentConfig(addresses=(IPv6Address(CORRESPONDENT),))
        self.engine = Correspondent(config, self.now)
        self.effects = self.engine.start(self.now)
        self.sequence = 0
        self.indices = (0, 0)
        self.tokens = (b"", b"")

    def send(self, packet: Packet) -> list[Frame]:
        """Return what comes back, each without fault."""
        return self.take(self.engine.receive(taken(packet, protected=False), self.now))

    def take(self, effects: list[Effect]) -> list[Frame]:
        self.effects = effects
        found = []
        for effect in effects:
            if isinstance(effect, SendMessage):
                # The module puts an answer under a routing header where there was an option.
                octets = on_the_wire(effect, CORRESPONDENT)
                found.append(clean(octets))
        return found

    def test(self, care_of: str = CARE_OF) -> None:
        """Run return routability."""
        (home,) = self.send(make.straight(HOME, CORRESPONDENT, make.home_test_init(COOKIE)))
        (care,) = self.send(make.straight(care_of, CORRESPONDENT, make.care_of_test_init(COOKIE2)))
        self.indices = (home.fields["index"], care.fields["index"])
        self.tokens = tuple(f.fields["token"].to_bytes(8, "big") for f in (home, care))

    @property
    def key(self) -> bytes:
        return make.management_key(*self.tokens)

    def message(self, care_of: str = CARE_OF, **more: object) -> Packet:
        """Return the next authorized update."""
        self.sequence += 1
        values = {"key": self.key, "sequence": self.sequence} | more
        return make.correspondent_update(
            care_of=care_of,
            correspondent=CORRESPONDENT,
            home_index=self.indices[0],
            care_of_index=self.indices[1],
            **values,
        )

    def update(self, message: Packet, source: str = CARE_OF) -> list[Frame]:
        return self.send(make.away(source, CORRESPONDENT, HOME, message))

    def bound(self) -> list[str]:
        return [str(view.care_of) for view in self.engine.bindings(self.now)]


@pytest.fixture
def node() -> Node:
    made = Node()
    made.test()
    return made


def signed(frame: Frame, key: bytes, care_of: str = CARE_OF) -> bool:
    """Tell whether an acknowledgement has the authenticator that it must have."""
    assert frame.option(AUTHORIZATION) is not None
    return make.authorized(key, care_of, CORRESPONDENT, frame.message)


# --- tests -----------------------------------------------------------------------------------


@pytest.mark.spec("M-027")
def test_tests_of_scapy() -> None:
    node = Node()
    for source, init, name, cookie in (
        (HOME, make.home_test_init(COOKIE), "HoT", COOKIE),
        (CARE_OF, make.care_of_test_init(COOKIE2), "CoT", COOKIE2),
    ):
        (frame,) = node.send(make.straight(source, CORRESPONDENT, init))
        assert (frame.name, frame.headers) == (name, [])
        assert (frame.wire_source, frame.wire_destination) == (CORRESPONDENT, source)
        assert frame.fields["cookie"] == int.from_bytes(cookie, "big")
        assert frame.fields["token"] != 0
    assert node.bound() == []


@pytest.mark.spec("M-026")
@pytest.mark.parametrize("init", [make.home_test_init(COOKIE), make.care_of_test_init(COOKIE)])
def test_tests_with_a_home_address_option(init: Packet) -> None:
    assert Node().send(make.away(CARE_OF, CORRESPONDENT, HOME, init)) == []


@pytest.mark.spec("M-007")
def test_reserved_bits_of_tests_are_ignored() -> None:
    node = Node()
    for source, init in (
        (HOME, make.home_test_init(COOKIE)),
        (CARE_OF, make.care_of_test_init(COOKIE)),
    ):
        init.res, init.reserved = 0xFF, b"\xff\xff"
        (frame,) = node.send(make.straight(source, CORRESPONDENT, init))
        assert frame.fields["cookie"] == int.from_bytes(COOKIE, "big")


# --- updates ---------------------------------------------------------------------------------


@pytest.mark.spec("M-033", "M-038", "M-040", "M-041", "M-042")
def test_an_update_of_scapys_is_bound_and_answered(node: Node) -> None:
    (frame,) = node.update(node.message(lifetime=105))
    assert (frame.name, frame.headers, frame.routing) == ("BA", ["routing"], HOME)
    assert (frame.wire_source, frame.wire_destination) == (CORRESPONDENT, CARE_OF)
    assert frame.fields == {"status": 0, "flags": 0, "sequence": 1, "lifetime": 105}
    assert signed(frame, node.key)
    assert node.bound() == [CARE_OF]
    # More than 420 s are never given, and without A nothing is said.
    long = node.message(lifetime=1000)
    (frame,) = node.update(long)
    assert frame.fields["lifetime"] == 105
    assert node.update(node.message(flags="")) == []
    assert node.bound() == [CARE_OF]


@pytest.mark.spec("M-036")
def test_the_alternate_care_of_address_counts_and_is_covered(node: Node) -> None:
    node.test(OTHER)
    (frame,) = node.update(node.message(OTHER, alternate=OTHER))
    assert frame.fields["status"] == 0
    assert (frame.wire_destination, node.bound()) == (CARE_OF, [OTHER])
    assert signed(frame, node.key, OTHER)
    # Tokens of one care-of address authorise no other one.
    node.test(CARE_OF)
    assert node.update(node.message(CARE_OF, alternate=OTHER)) == []
    assert node.bound() == [OTHER]


def spoilt(node: Node, change: int) -> Packet:
    """Return an update whose authenticator has one bit changed."""
    message = node.message()
    message.options[-1].authenticator ^= 1 << change
    return message


@pytest.mark.spec("M-033", "M-040")
def test_what_is_not_authorized_gets_no_answer(node: Node) -> None:
    wrong = make.management_key(bytes(8), bytes(8))
    half = make.management_key(node.tokens[0])
    for message in (
        *(spoilt(node, bit) for bit in (0, 50, 95)),
        node.message(key=wrong),
        node.message(key=half),
        make.home_update(9, None, flags="A"),
        make.home_update(9, CARE_OF, flags="A"),
    ):
        assert node.update(message) == []
    padded = node.message()
    padded.options.append(make.padding(6))
    assert node.update(padded) == []
    assert node.update(node.message(), OTHER) == []
    assert node.bound() == []


@pytest.mark.spec("M-029", "M-033", "M-040", "M-042")
@pytest.mark.parametrize(
    ("shift", "status"), [((7, 0), 136), ((0, 7), 137), ((7, 7), 138)], ids=["home", "care", "both"]
)
@pytest.mark.parametrize("flags", ["A", ""])
def test_indices_that_are_out_of_range(
    node: Node, shift: tuple[int, int], status: int, flags: str
) -> None:
    """The status is told even without A, and has no authenticator."""
    home, care_of = node.indices
    node.indices = ((home + 40 * shift[0]) & 0xFFFF, (care_of + 40 * shift[1]) & 0xFFFF)
    (frame,) = node.update(node.message(flags=flags))
    assert frame.fields["status"] == status
    assert frame.option(AUTHORIZATION) is None
    assert node.bound() == []


@pytest.mark.spec("M-029")
def test_tokens_live_for_210_and_not_for_240_seconds(node: Node) -> None:
    message = node.message()
    node.now += 210
    (frame,) = node.update(message)
    assert frame.fields["status"] == 0
    late = node.message()
    node.now += 31
    (frame,) = node.update(late)
    assert frame.fields["status"] == 138


@pytest.mark.spec("M-031", "M-032", "M-040", "M-042")
def test_sequence_numbers(node: Node) -> None:
    (frame,) = node.update(node.message(sequence=100))
    assert frame.fields["status"] == 0
    for old, flags in ((100, "A"), (99, ""), (100 - 32768 & 0xFFFF, "A")):
        (frame,) = node.update(node.message(sequence=old, flags=flags))
        assert (frame.fields["status"], frame.fields["sequence"]) == (135, 100)
        assert signed(frame, node.key)
    (frame,) = node.update(node.message(sequence=100 + 32767))
    assert frame.fields["status"] == 0


@pytest.mark.spec("M-061")
def test_a_home_registration_is_not_for_it(node: Node) -> None:
    (frame,) = node.update(make.home_update(1, CARE_OF))
    assert (frame.fields["status"], frame.options) == (131, [])
    assert node.bound() == []


@pytest.mark.spec("M-039")
def test_a_deletion_and_the_replay_of_what_was_before(node: Node) -> None:
    first = node.message()
    assert node.update(first)[0].fields["status"] == 0
    key = make.management_key(node.tokens[0])
    gone = node.message(HOME, key=key, lifetime=0, alternate=HOME)
    (frame,) = node.update(gone)
    assert (frame.fields["status"], frame.fields["lifetime"]) == (0, 0)
    assert node.bound() == []
    for replayed in (first, gone):
        node.update(replayed)
        assert node.bound() == []
    # Not even with a newer number: the nonces are spent.
    (frame,) = node.update(node.message())
    assert frame.fields["status"] in (136, 137, 138)
    assert node.bound() == []


@pytest.mark.spec("M-030", "M-037")
@pytest.mark.parametrize("address", ["ff0e::1", "fe80::1", "::1"])
def test_impossible_addresses(node: Node, address: str) -> None:
    for packet in (
        make.away(CARE_OF, CORRESPONDENT, HOME, node.message(address, alternate=address)),
        make.away(CARE_OF, CORRESPONDENT, address, node.message()),
        make.straight(address, CORRESPONDENT, make.home_test_init(COOKIE)),
        make.straight(address, CORRESPONDENT, make.care_of_test_init(COOKIE)),
    ):
        assert node.send(packet) == []
    assert node.bound() == []


# --- the rest --------------------------------------------------------------------------------


@pytest.mark.spec("M-043")
def test_a_refresh_request_goes_to_the_home_address(node: Node) -> None:
    node.update(node.message(lifetime=30))
    while not any(isinstance(effect, MeasureUse) for effect in node.effects):
        at = node.engine.next_timer()
        assert at is not None
        node.now = at
        node.effects = node.engine.handle_timer(at)
    assert 1000 < node.now < 1000 + 120
    (frame,) = node.take(node.engine.measured(IPv6Address(HOME), 10, node.now))
    assert (frame.name, frame.headers, frame.wire_destination) == ("BRR", [], HOME)


@pytest.mark.spec("M-002", "M-021")
def test_errors(node: Node) -> None:
    unknown = make.straight(CARE_OF, CORRESPONDENT, make.unknown(200))
    with pytest.raises(NotMobility):
        read(bytes(unknown))
    path = Path(0, WireKind.RO, IPv6Address(CORRESPONDENT), IPv6Address(CARE_OF))
    stranger = node.engine.path_event(IPv6Address(HOME), PathEvent.STRANGER, path, node.now)
    (frame,) = node.take(stranger)
    assert (frame.name, frame.fields["status"], frame.wire_destination) == ("BE", 1, CARE_OF)
    assert frame.fields["home_address"] == int(IPv6Address(HOME))


def test_what_is_for_mobile_nodes_is_ignored(node: Node) -> None:
    for message in (
        make.refresh_request(),
        make.home_test(1, COOKIE, COOKIE2),
        make.care_of_test(1, COOKIE, COOKIE2),
        make.acknowledgement(0, 1, 30),
        make.binding_error(1, HOME),
    ):
        assert node.send(make.straight(CARE_OF, CORRESPONDENT, message)) == []
