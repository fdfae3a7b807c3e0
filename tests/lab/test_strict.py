# SPDX-License-Identifier: GPL-2.0-only
"""scapy on the wire against our daemons, and our daemons' frames before a strict reader.

Sender and judge know nothing of ours but addresses and manual keys: packets are
made by scapy from RFC 6275's diagrams, sealed by its ESP, and what comes back is
opened and read as ``tests.interop.strict`` has it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ParamProblem,
    IPv6,
    IPv6ExtHdrRouting,
)
from scapy.layers.ipsec import ESP, SecurityAssociation
from scapy.packet import Packet, Raw

from tests.interop import strict_sender as make
from tests.interop.strict import AUTHORIZATION, NAT, REFRESH, Frame, NotMobility, clean, read
from tests.lab.kmodlib import load_module
from tests.lab.kmodnet import Capture, Injector
from tests.lab.pair import Pair, agent_configuration, router_configuration
from tests.lab.topology import CN6, HA4, HA6, HOA, HOME, NET6, Topology, wait_for

COA, COA4, STRANGER = "2001:db8:a6::66", "198.18.4.10", "2001:db8:1::777"
#: The home address of a node that registers with nobody, and a cookie of its tests.
NODE, COOKIE = "2001:db8:a6::77", bytes(range(8))
TO_AGENT, TO_ROUTER = 0x1001, 0x2002
CRYPT, AUTH = bytes(range(16)), bytes(range(32))
PREFIX = [(NET6.partition("/")[0], int(NET6.partition("/")[2]))]


def manual(who: str) -> str:
    """Return the table of manual keys of one side."""
    ways = (TO_AGENT, TO_ROUTER) if who == "home_agent.router" else (TO_ROUTER, TO_AGENT)
    return (
        f"[{who}.esp]\nspi_in = {ways[0]}\nspi_out = {ways[1]}\n"
        f'enc_key = "{CRYPT.hex()}"\nauth_key = "{AUTH.hex()}"\n'
    )


def association(spi: int) -> SecurityAssociation:
    """Return scapy's end of one direction."""
    return SecurityAssociation(
        ESP,
        spi,
        crypt_algo="AES-CBC",
        crypt_key=CRYPT,
        auth_algo="SHA2-256-128",
        auth_key=AUTH,
    )


KEYS = [association(TO_AGENT), association(TO_ROUTER)]


class Wire:
    """The router's access links: what passes them, and a way to put packets there."""

    def __init__(self, net: Topology) -> None:
        self._injectors = {name: Injector(name) for name in ("mr", "ha")}
        self.links = {name: Capture("mr", name) for name in ("wan0", "wan1", "wan2", "wan3")}
        self._numbers = itertools.count(1000)

    def close(self) -> None:
        for thing in (*self._injectors.values(), *self.links.values()):
            thing.close()

    def seal(self, packet: Packet, spi: int = TO_AGENT) -> Packet:
        """Return a packet under ESP."""
        key = next(key for key in KEYS if key.spi == spi)
        return key.encrypt(IPv6(bytes(packet)), seq_num=next(self._numbers))

    def send(self, packet: Packet, where: str = "mr") -> None:
        """Forget what passed, then send a packet from a namespace."""
        for link in self.links.values():
            link.packets(0)
            link.seen.clear()
        self._injectors[where].send(bytes(packet))

    def packet(self, link: str, name: str, source: str = HA6) -> bytes:
        """Return the first packet of a kind from an address, waiting for it."""

        def wanted(packet: bytes) -> bool:
            try:
                frame = read(packet, KEYS)
            except NotMobility:
                return False
            return (frame.name, frame.source) == (name, source)

        return self.links[link].find(wanted, 8)

    def answer(self, name: str = "BA") -> Frame:
        """Return the home agent's answer, which must be without fault."""
        return clean(self.packet("wan0", name), KEYS)

    def frames(self, source: str = "") -> list[tuple[str, Frame]]:
        """Return all messages, or those of one node, by link; each must be without fault."""
        found = []
        for name, link in self.links.items():
            for packet in link.packets():
                try:
                    frame = read(packet, KEYS)
                except NotMobility:
                    continue
                if source in ("", frame.source):
                    found.append((name, clean(packet, KEYS)))
        return found


@pytest.fixture(scope="module")
def pair(shared_net: Topology) -> Pair:
    """Both configurations with manual keys; only the home agent runs."""
    load_module()
    agent = agent_configuration(
        shared_net, router={"static_key": None}, more=manual("home_agent.router")
    )
    router = router_configuration(shared_net, static_key=None) + manual("mobile_router")
    return Pair(shared_net, agent, router).start("ha")


@pytest.fixture(scope="module")
def wire(shared_net: Topology, pair: Pair) -> Iterator[Wire]:
    made = Wire(shared_net)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def road(shared_net: Topology, wire: Wire) -> Wire:
    """scapy's own care-of addresses, where a router would have them."""
    shared_net.plug("wan0", "v6")
    shared_net.plug("wan1", "v4")
    shared_net.shell(
        "mr",
        f"ip addr add {COA}/64 dev wan0 nodad\n"
        "ip -6 route replace 2001:db8:1::/64 via 2001:db8:a6::1 dev wan0\n",
    )
    return wire


def update(wire: Wire, message: Packet) -> Frame:
    """Send a home registration from away; return the answer."""
    wire.send(wire.seal(make.away(COA, HA6, HOA, message)))
    frame = wire.answer()
    assert frame.headers == ["routing", "ESP"]
    assert (frame.wire_source, frame.wire_destination, frame.routing) == (HA6, COA, HOA)
    return frame


@pytest.mark.spec("M-007", "M-032", "M-037", "M-041", "M-060", "M-063", "M-072", "N-044")
def test_the_home_agent_answers_scapy(pair: Pair, road: Wire) -> None:
    """Registrations of all kinds, each answered as the strict reader wants it."""
    first = update(road, make.home_update(100, COA, flags="AHR", prefixes=PREFIX))
    assert (first.fields["status"], first.fields["sequence"]) == (0, 100)
    assert first.fields["flags"] == 0x40
    assert 0 < first.fields["lifetime"] <= 30
    assert first.option(REFRESH) is not None
    odd = make.home_update(
        101, COA, flags="AHR", res=0xFF, reserved=0x3F, more=[make.strange_option(200, 7)]
    )
    assert update(road, odd).fields["status"] == 0
    for message, status in (
        (make.home_update(101, COA, flags="AHR"), 135),
        (make.home_update(102, COA, flags="AH"), 139),
        (make.home_update(103, COA, flags="AR"), 140),
        (make.home_update(104, "ff0e::1", flags="AHR"), 174),
        (make.home_update(105, COA, flags="AHR", prefixes=[("2001:db8:300::", 56)]), 142),
    ):
        frame = update(road, message)
        assert frame.fields["status"] == status
        assert frame.fields["sequence"] == (101 if status == 135 else message.seq)
        assert frame.options == []
    assert (pair.binding() or {})["sequence"] == 101
    # In UDP over IPv4, by the same association: no Home Address option, no routing header.
    message = make.home_update(106, None, flags="AHR", more=[make.care_of4("10.9.9.9")])
    inner = road.seal(make.straight(HOA, HA6, message))
    road.send(make.in_udp(COA4, HA4, inner))
    frame = clean(road.packet("wan1", "BA"), KEYS)
    assert frame.headers == ["ESP"]
    assert (frame.outer, frame.fields["status"]) == ((4191, HA4), 0)
    advice = frame.option(NAT)
    assert advice is not None
    assert advice[2:] == (110).to_bytes(4, "big")
    # And gone again.
    gone = update(road, make.home_update(107, COA, flags="AHR", lifetime=0))
    assert (gone.fields["status"], gone.fields["lifetime"], gone.options) == (0, 0, [])
    assert pair.binding() is None


@pytest.mark.spec("M-002", "M-003", "M-004", "M-008", "M-021")
def test_errors_that_scapy_provokes(pair: Pair, road: Wire) -> None:
    """Binding Errors and Parameter Problems, and silence where the RFC wants it."""
    assert update(road, make.home_update(200, COA, flags="AHR")).fields["status"] == 0
    before = pair.held()
    # An unknown type, with and without a Home Address option.
    road.send(road.seal(make.away(COA, HA6, HOA, make.unknown(200))))
    error = road.answer("BE")
    assert (error.fields["status"], error.headers) == (2, [])
    assert error.fields["home_address"] == int.from_bytes(bytes(IPv6(src=HOA))[8:24], "big")
    road.send(make.straight(COA, HA6, make.unknown(99)))
    error = road.answer("BE")
    assert (error.wire_destination, error.fields["home_address"]) == (COA, 0)
    # Data of a home address that has no binding.
    data = UDP(sport=9, dport=9) / Raw(b"data")
    road.send(make.away(COA, HA6, STRANGER, data))
    error = road.answer("BE")
    assert (error.fields["status"], error.wire_destination) == (1, COA)
    assert error.fields["home_address"] == int.from_bytes(bytes(IPv6(src=STRANGER))[8:24], "big")
    # Payload Proto and Header Len.
    for field, pointer in (({"nh": 6}, 0), ({"len": 0}, 1)):
        message = make.home_update(201, COA, flags="AHR", **field)
        road.send(road.seal(make.away(COA, HA6, HOA, message)))
        found = road.links["wan0"].find(
            lambda p: ICMPv6ParamProblem in IPv6(p) and IPv6(p).src == HA6, 8
        )
        problem = IPv6(found)[ICMPv6ParamProblem]
        assert problem.code == 0
        quoted = found[found.index(bytes(problem)[4:8]) + 4 :]
        assert quoted[problem.ptr - pointer : problem.ptr - pointer + 3] == bytes(message)[:3]
    # A wrong checksum, an update in clear, messages that are for others.
    spoilt = make.away(COA, HA6, HOA, make.home_update(202, "2001:db8:a6::1", cksum=1))
    clear = make.away(COA, HA6, HOA, make.home_update(203, "2001:db8:a6::1"))
    for packet in (
        road.seal(spoilt),
        clear,
        make.straight(COA, HA6, make.refresh_request()),
        make.straight(COA, HA6, make.home_test(1, bytes(8), bytes(8))),
        make.straight(COA, HA6, make.care_of_test(1, bytes(8), bytes(8))),
        make.straight(COA, HA6, make.binding_error(1, HOA)),
    ):
        road.send(packet)
        time.sleep(0.3)
        assert road.frames(HA6) == []
    assert pair.held() == before
    assert update(road, make.home_update(204, COA, flags="AHR", lifetime=0)).fields["status"] == 0


# --- the correspondent -----------------------------------------------------------------------


@pytest.mark.spec("M-021", "M-022", "M-026", "M-033", "M-036", "M-039", "M-040", "M-041", "M-042")
def test_the_correspondent_answers_scapy(pair: Pair, road: Wire) -> None:
    """Tests, updates, data and a deletion of a node that scapy makes, all in clear."""
    net = pair.net
    state = f'socket = "{net.socket("cn")}"\nstate = "{net.directory}/cn-state"\n'
    process = net.daemon("cn", f"[globals]\n{state}[correspondent]\n")
    wait_for(lambda: net.ask("cn", "status"), 120, "the correspondent's daemon")
    net.shell("mr", f"ip addr add {NODE}/64 dev wan0 nodad\n")

    def answer(packet: Packet, name: str) -> Frame:
        road.send(packet)
        return clean(road.packet("wan0", name, CN6))

    def nothing(*packets: Packet) -> None:
        for packet in packets:
            road.send(packet)
            time.sleep(0.3)
            assert road.frames(CN6) == []

    def held() -> list[str]:
        return [one["care_of"] for one in net.ask("cn", "bindings")["bindings"]]

    # Tests: each to the address that it is about, cookies copied; not with a second address.
    home = answer(make.straight(NODE, CN6, make.home_test_init(COOKIE)), "HoT")
    care = answer(make.straight(COA, CN6, make.care_of_test_init(COOKIE[::-1])), "CoT")
    assert (home.wire_destination, care.wire_destination) == (NODE, COA)
    assert home.fields["cookie"] == int.from_bytes(COOKIE, "big")
    assert care.fields["cookie"] == int.from_bytes(COOKIE[::-1], "big")
    nothing(
        make.away(COA, CN6, NODE, make.home_test_init(COOKIE)),
        make.away(COA, CN6, NODE, make.care_of_test_init(COOKIE)),
    )
    tokens = [frame.fields["token"].to_bytes(8, "big") for frame in (home, care)]
    key = make.management_key(*tokens)
    numbers = itertools.count(1)

    def update(*, care_of: str = COA, sign: bytes = key, shift: int = 0, **more: object) -> Packet:
        message = make.correspondent_update(
            next(numbers),
            sign,
            care_of,
            CN6,
            home_index=(home.fields["index"] + shift) % 65536,
            care_of_index=care.fields["index"],
            **more,
        )
        return make.away(COA, CN6, NODE, message)

    # Data under a home address without a binding, then what nothing authorises.
    echo = make.away(COA, CN6, NODE, ICMPv6EchoRequest(id=7, seq=1))
    error = answer(echo, "BE")
    assert (error.fields["status"], error.wire_destination) == (1, COA)
    nothing(
        update(sign=make.management_key(tokens[1], tokens[0])),
        update(care_of="2001:db8:a6::88", alternate="2001:db8:a6::88"),
        make.away(COA, CN6, NODE, make.home_update(9, COA, flags="A")),
    )
    stale = answer(update(shift=1000), "BA")
    assert stale.fields["status"] in (136, 138)
    assert (stale.option(AUTHORIZATION), held()) == (None, [])
    # A binding: answered by the routing header and under the same key.
    bound = answer(update(), "BA")
    assert (bound.headers, bound.routing, bound.wire_destination) == (["routing"], NODE, COA)
    assert bound.fields["status"] == 0
    assert 0 < bound.fields["lifetime"] <= 105
    assert make.authorized(key, COA, CN6, bound.message)
    assert len(held()) == 1
    # Now the same data is taken for the home address's, and answered to the care-of address.
    road.send(echo)
    reply = IPv6(road.links["wan0"].find(lambda p: ICMPv6EchoReply in IPv6(p), 8))
    assert (reply.src, reply.dst) == (CN6, COA)
    header = reply[IPv6ExtHdrRouting]
    assert (header.type, header.segleft, header.addresses) == (2, 1, [NODE])
    # The end of it, after which its updates are worth nothing.
    gone = make.management_key(tokens[0])
    deleted = answer(update(care_of=NODE, sign=gone, lifetime=0, alternate=NODE), "BA")
    assert (deleted.fields["status"], deleted.fields["lifetime"], held()) == (0, 0, [])
    assert answer(update(), "BA").fields["status"] in (136, 137, 138)
    assert held() == []
    net.stop(process)


# --- the mobile router -----------------------------------------------------------------------


NETWORKS = {"v6": "wan0", "v4": "wan1", "nat": "wan2", HOME: "wan3"}


@pytest.mark.spec("M-113", "M-140", "M-150", "D-004", "D-005", "D-006", "N-026", "D-058")
def test_everything_of_the_router_passes(pair: Pair, wire: Wire) -> None:
    """All messages of both daemons on a tour, read from the links with the keys."""
    net = pair.net
    for wan in list(net.where):
        net.unplug(wan)
    for link in wire.links.values():
        link.packets(0)
        link.seen.clear()
    pair.start("mr")
    at = ""
    for network, wan in (*NETWORKS.items(), ("v6", "wan0")):
        if at:
            net.roam(at, wan, network)
        else:
            net.plug(wan, network)
        pair.settled(network)
        at = wan
    # scapy in the home agent's place: it knows no binding, so there is a new update.
    care_of = pair.router()["care_of"]["address"]
    passed = wire.frames()
    wire.send(make.straight(HA6, care_of, make.binding_error(1, HOA)), "ha")
    update = clean(wire.packet("wan0", "BU", HOA), KEYS)
    assert update.fields["sequence"] > passed[-1][1].fields["sequence"]
    updates = [(link, frame) for link, frame in passed if frame.name == "BU"]
    answers = [(link, frame) for link, frame in passed if frame.name == "BA"]
    assert len(updates) + len(answers) == len(passed)
    assert {link for link, _ in updates} == {link for link, _ in answers} == set(NETWORKS.values())
    # In UDP, with a Home Address option, or straight from the home link.
    forms = {"wan0": {"option", "udp"}, "wan1": {"udp"}, "wan2": {"udp"}, "wan3": {"home"}}
    for link, frame in updates:
        form = "udp" if frame.outer else "option" if frame.home else "home"
        assert form in forms[link] | ({"option"} if link == "wan3" else set())
        assert frame.headers == (["options", "ESP"] if form == "option" else ["ESP"])
        assert (frame.source, frame.destination) == (HOA, HA6)
        assert (frame.fields["lifetime"] == 0) is (form == "home")
    assert {bool(frame.home) for link, frame in updates if link == "wan0"} >= {True}
    assert [link for link, frame in updates if frame.fields["lifetime"] == 0] == ["wan3"]
    for _, frame in answers:
        assert frame.headers == (["routing", "ESP"] if frame.routing else ["ESP"])
    # The router begins at random: its first number may be old, after those of scapy. Before
    # it is told so it may have gone over from its IPv4 to its IPv6 care-of address.
    statuses = [frame.fields["status"] for _, frame in answers]
    accepted = statuses.index(0)
    assert statuses[:accepted] in ([], [135], [135, 135])
    assert not any(statuses[accepted:])
    wait_for(lambda: pair.router()["state"] == "Roaming", 10, "the new update's answer")
