# SPDX-License-Identifier: GPL-2.0-only
"""The home agent's daemon against messages that no honest router sends.

The sender here has the keys and makes packets octet by octet: what IPsec keeps
out, what the daemon refuses and with which status, and that the binding which
was there before stays as it was.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from dsmip.ipsec.policy import RowKeys
from dsmip.ipsec.static import derive
from dsmip.packet.mobility import (
    BindingAcknowledgement,
    BindingError,
    BindingUpdate,
    build,
    parse,
)
from dsmip.packet.options import (
    AlternateCareOfAddress,
    IPv4CareOfAddress,
    MobileNetworkPrefix,
    NonceIndices,
    Option,
    UnknownOption,
)

from tests.lab.kmodlib import load_module
from tests.lab.kmodnet import (
    Capture,
    Injector,
    esp_open,
    esp_seal,
    home_address_header,
    ip4,
    ip6,
    udp,
)
from tests.lab.pair import KEY, Pair, agent_configuration
from tests.lab.topology import HA4, HA6, HOA, NET6, Topology, wait_for

ESP, MH, DST, ROUTING, ICMP6, UDP = 50, 135, 60, 43, 58, 17
COA, COA2, COA4 = "2001:db8:a6::66", "2001:db8:a6::67", "198.18.4.10"
TRAM, TRAM_KEY, TRAM_NET = "2001:db8:1::200", "42" * 32, "2001:db8:200::/56"
FIRST = 100


def keys_of(home: str, secret: str) -> RowKeys:
    return derive(bytes.fromhex(secret), IPv6Address(home), IPv6Address(HA6))


def update(sequence: int, *options: Option, care_of: str = COA, **flags: bool) -> BindingUpdate:
    """Return a home registration of a mobile router in implicit mode."""
    values = {"acknowledge": True, "home": True, "mobile_router": True} | flags
    alternate = AlternateCareOfAddress(IPv6Address(care_of))
    return BindingUpdate(sequence, 15, options=(alternate, *options), **values)


def octets(message: BindingUpdate, home: str = HOA) -> bytes:
    return build(message, IPv6Address(home), IPv6Address(HA6))


class Sender:
    """A mobile router made of packets, in the IPv6 network at COA."""

    def __init__(self, net: Topology) -> None:
        net.plug("wan0", "v6")
        net.plug("wan1", "v4")
        # Deaf: what comes back is read from the link, and must not be answered.
        net.shell(
            "mr",
            f"ip addr add {COA}/64 dev wan0 nodad\nip addr add {COA2}/64 dev wan0 nodad\n"
            "ip -6 route replace 2001:db8:1::/64 via 2001:db8:a6::1 dev wan0\n",
        )
        self.keys = keys_of(HOA, KEY)
        self._numbers = itertools.count(1)
        self._injector = Injector("mr")
        self._links = {name: Capture("mr", name) for name in ("wan0", "wan1")}

    def close(self) -> None:
        """Close the sockets."""
        self._injector.close()
        for link in self._links.values():
            link.close()

    def send(
        self, message: bytes, *, home: str = HOA, keys: RowKeys | None = None, source: str = COA
    ) -> None:
        """Send a message as RFC 6275 has it: Home Address option, then ESP."""
        for link in self._links.values():
            link.packets(0)
            link.seen.clear()
        sealed = esp_seal((keys or self.keys).to_agent, next(self._numbers), MH, message)
        self._injector.send(ip6(source, HA6, DST, home_address_header(home, ESP) + sealed))

    def send4(self, message: bytes) -> None:
        """Send it as RFC 5555 has it: UDP over IPv4, home form inside."""
        sealed = esp_seal(self.keys.to_agent, next(self._numbers), MH, message)
        inner = ip6(HOA, HA6, ESP, sealed)
        self._injector.send(ip4(COA4, HA4, UDP, udp(COA4, HA4, 4191, 4191, inner)))

    def send_clear(self, message: bytes, home: str = HOA) -> None:
        """Send it without ESP."""
        self._injector.send(ip6(COA, HA6, DST, home_address_header(home, MH) + message))

    def answer(self, at: str = COA) -> BindingAcknowledgement:
        """Return the acknowledgement that came to an address, under ESP."""
        want = IPv6Address(at).packed

        def ours(packet: bytes) -> bool:
            return packet[6] == ROUTING and packet[24:40] == want and packet[40] == ESP

        packet = self._links["wan0"].find(ours, 8)
        assert packet[48:64] == IPv6Address(HOA).packed
        kind, message = esp_open(self.keys.to_router, packet[64:])
        assert kind == MH
        found = parse(message)
        assert isinstance(found, BindingAcknowledgement)
        return found

    def answer4(self) -> BindingAcknowledgement:
        """Return the acknowledgement that came in UDP."""
        packet = self._links["wan1"].find(lambda p: p[9:10] == b"\x11" and p[34:35] == b"\x32", 8)
        kind, message = esp_open(self.keys.to_router, packet[68:])
        assert kind == MH
        found = parse(message)
        assert isinstance(found, BindingAcknowledgement)
        return found

    def find(self, next_header: int, inner: int | None = None) -> bytes:
        """Return the first packet to COA with these headers."""

        def ours(packet: bytes) -> bool:
            return packet[6] == next_header and inner in (None, packet[40])

        return self._links["wan0"].find(ours, 5)

    def silence(self) -> bool:
        """Tell whether nothing came back, ICMPv6 neighbour discovery aside."""
        return not [
            p
            for p in self._links["wan0"].packets(0.4)
            if p[8:24] == IPv6Address(HA6).packed and not (p[6] == ICMP6 and p[40] >= 133)
        ]


@pytest.fixture(scope="module")
def pair(shared_net: Topology) -> Pair:
    """A home agent of two routers; nobody is on the road but the sender."""
    load_module()
    tram = (
        f'[[home_agent.router]]\nidentity = "tram-3"\nhome_address = "{TRAM}"\n'
        f'prefixes = ["{TRAM_NET}"]\nstatic_key = "{TRAM_KEY}"\n'
    )
    return Pair(shared_net, agent=agent_configuration(shared_net, more=tram)).start("ha")


@pytest.fixture(scope="module")
def road(shared_net: Topology, pair: Pair) -> Iterator[Sender]:
    """The sender, plugged in."""
    made = Sender(shared_net)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def sender(pair: Pair, road: Sender) -> Iterator[Sender]:
    """The sender, registered with sequence number FIRST; nobody knows of an earlier one."""
    pair.net.stop(pair.processes["ha"])
    pair.net.shell("ha", "ip link del mip0\n")
    pair.restart("ha")
    road.send(octets(update(FIRST)))
    assert road.answer().status == 0
    yield road
    # Whatever was tried: the daemon is well, and takes the next honest update.
    road.send(octets(update(int((pair.binding() or {})["sequence"]) + 1)))
    assert road.answer().status == 0
    assert "Traceback" not in pair.net.log("ha")
    assert pair.counter("internal_errors") == 0


def prefix(text: str) -> MobileNetworkPrefix:
    return MobileNetworkPrefix(IPv6Network(text))


REFUSED: dict[str, tuple[BindingUpdate, int]] = {
    "another's prefix": (update(101, prefix(TRAM_NET)), 142),
    "a shorter prefix": (update(101, prefix("2001:db8:100::/55")), 142),
    "a prefix over another's": (update(101, prefix("2001:db8::/32")), 142),
    "a prefix inside another's": (update(101, prefix("2001:db8:200:1::/64")), 142),
    "one good prefix, one bad": (update(101, prefix(NET6), prefix(TRAM_NET)), 142),
    "a zero-length prefix": (update(101, prefix("::/0")), 141),
    "a link-local prefix": (update(101, prefix("fe80::/64")), 141),
    "a multicast care-of address": (update(101, care_of="ff0e::1"), 174),
    "a link-local care-of address": (update(101, care_of="fe80::66"), 174),
    "the agent's own as care-of address": (update(101, care_of=HA6), 174),
    "a care-of address of its own network": (update(101, care_of="2001:db8:100::9"), 174),
    "a replayed sequence number": (update(FIRST), 135),
    "an older sequence number": (update(FIRST - 1), 135),
    "a sequence number half the circle ahead": (update(FIRST + 0x8001), 135),
    "a router without H": (update(101, home=False), 140),
    "a router that is none any more": (update(101, mobile_router=False), 139),
    "a proxy": (update(101, proxy=True), 152),
}


@pytest.mark.spec("M-032", "M-037", "N-042", "N-043", "N-044", "N-045", "N-046")
def test_refused_with_the_status_that_the_rfc_names(pair: Pair, sender: Sender) -> None:
    before = pair.held()
    refused = dict.fromkeys((status for _, status in REFUSED.values()), 0)
    for name, (message, status) in REFUSED.items():
        sender.send(octets(message))
        got = sender.answer()
        assert got.status == status, name
        assert got.sequence == (FIRST if status == 135 else message.sequence), name
        refused[status] += 1
        assert pair.held() == before, name
    for status, count in refused.items():
        assert pair.counter(f"bu_refused_{status}") == count
        assert f"update refused, status {status}" in pair.net.log("ha")
    assert f"{sum(refused.values())} refused" in pair.net.dsmip("ha", "status")


def test_care_of_address_other_than_the_source(pair: Pair, sender: Sender) -> None:
    """The protected one is bound (RFC 6275 section 9.5.1); in IPv4 the outer source."""
    sender.send(octets(update(101, care_of=COA2)))
    assert sender.answer().status == 0
    assert (pair.binding() or {})["care_of"]["address"] == COA2
    claimed = IPv4CareOfAddress(IPv4Address("192.0.2.99"))
    sender.send4(octets(BindingUpdate(102, 15, True, True, mobile_router=True, options=(claimed,))))
    assert sender.answer4().status == 0
    binding = pair.binding() or {}
    assert (binding["care_of"]["address"], binding["nat"]) == (COA4, True)


@pytest.mark.spec("M-034")
def test_silently_dropped(pair: Pair, sender: Sender) -> None:
    """Messages that RFC 6275 has ignored: no answer, only a counter."""
    before = pair.held()
    rows = {
        "bu_nonce_indices": update(101, NonceIndices(1, 2)),
        "bu_not_home_registration": update(101, home=False, mobile_router=False),
    }
    for counter, message in rows.items():
        sender.send(octets(message))
        wait_for(lambda counter=counter: pair.counter(counter) == 1, 5, counter)
        assert sender.silence(), counter
    assert pair.held() == before


@pytest.mark.spec("M-001", "M-002", "M-003", "M-004", "M-008")
def test_damaged_messages(pair: Pair, sender: Sender) -> None:
    before = pair.held()
    good = octets(update(101))

    # Cut anywhere: kernels with IPV6_MIP6 drop these themselves.
    for length in range(len(good)):
        sender.send(_checksummed(good[:length]))
    # Cut in the middle of an option, with a Header Len that fits.
    received = pair.counter("mh_received")
    for length in range(16, len(good), 8):
        sender.send(_checksummed(good[:1] + bytes((length // 8 - 1,)) + good[2:length]))
    assert sender.silence()
    assert pair.counter("mh_received") == received + (len(good) - 16) // 8
    assert pair.held() == before

    # A wrong checksum, and a length beyond the packet.
    received = pair.counter("mh_received")
    sender.send(good[:4] + bytes((good[4] ^ 1,)) + good[5:])
    assert sender.silence()
    assert pair.counter("mh_received") == received
    sender.send(_checksummed(good[:1] + b"\xff" + good[2:]))
    assert sender.silence()
    assert pair.held() == before

    # RFC 6275 section 9.2: Payload Proto and Header Len get a Parameter Problem.
    for octet, value in ((0, 6), (1, 0)):
        damaged = bytearray(good)
        damaged[octet] = value
        sender.send(_checksummed(bytes(damaged)))
        problem = sender.find(ROUTING, ICMP6)[64:]
        kind, code, _, pointer = struct.unpack_from("!BBHI", problem)
        assert (kind, code) == (4, 0)
        quoted = problem[8 + pointer - octet :]
        assert quoted[:3] == bytes(damaged[:3])

    # An unknown type gets a Binding Error to the source of the packet.
    sender.send(_checksummed(bytes((59, 0, 200, 0, 0, 0, 0, 0))))
    error = parse(sender.find(MH)[40:])
    assert isinstance(error, BindingError)
    assert (error.status, error.home_address) == (2, IPv6Address(HOA))
    assert pair.held() == before


@pytest.mark.spec("M-005", "M-031")
def test_large_and_repeated(pair: Pair, sender: Sender) -> None:
    """The largest message that fits is taken; the same again, or an older one, is not."""
    filler = [UnknownOption(200 + n, bytes(250)) for n in range(5)]
    largest = octets(update(101, *filler))
    assert len(largest) > 1280
    for expected in (0, 135):
        sender.send(largest)
        assert sender.answer().status == expected
    for sequence, expected in ((103, 0), (102, 135)):
        sender.send(octets(update(sequence)))
        assert sender.answer().status == expected
    assert (pair.binding() or {})["sequence"] == 103


@pytest.mark.spec("D-058", "M-024", "M-060", "N-026")
def test_forged_messages_do_not_get_in(pair: Pair, sender: Sender) -> None:
    before, received = pair.held(), pair.counter("mh_received")
    message = octets(update(101, care_of=COA2))
    strangers = {
        "another key": keys_of(HOA, "00" * 32),
        "the key of another router": keys_of(TRAM, TRAM_KEY),
        "the answer's direction": RowKeys(sender.keys.to_router, sender.keys.to_agent),
    }
    for name, keys in strangers.items():
        sender.send(message, keys=keys)
        assert sender.silence(), name
        assert pair.counter("mh_received") == received, name
    sender.send_clear(message)
    assert sender.silence()
    assert pair.counter("mh_received") == received
    assert pair.held() == before

    # Nobody's home address has no policy: it gets as far as the daemon, and no further.
    unknown = "2001:db8:1::999"
    sender.send_clear(octets(update(1), unknown), unknown)
    wait_for(lambda: pair.counter("bu_unprotected") == 1, 5, "the message in clear")
    assert sender.silence()
    assert pair.held() == before


def _checksummed(message: bytes) -> bytes:
    """Return it with the checksum of its home form, whatever else is wrong."""
    if len(message) < 6:
        return message
    pseudo = IPv6Address(HOA).packed + IPv6Address(HA6).packed
    data = pseudo + struct.pack("!II", len(message), MH) + message[:4] + b"\0\0" + message[6:]
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return message[:4] + struct.pack("!H", ~total & 0xFFFF) + message[6:]
