# SPDX-License-Identifier: GPL-2.0-only
"""A correspondent's daemon and a router that speaks to it directly."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest
from dsmip.packet.extension import build_home_address
from dsmip.packet.mobility import PROTOCOL, BindingError, parse

from tests.lab.kmodlib import inside, load_module
from tests.lab.pair import IDENTITY, Pair, agent_configuration, reaches, router_configuration
from tests.lab.topology import CN6, HOA, LAN6, Topology, wait_for

UPLINKS = {"wan0": "v6", "wan1": "v6only", "wan2": "v4", "wan3": "home"}
STRANGER = "2001:db8:77::7"
ROUTING, OPTIONS, ESP = 43, 60, 50


@pytest.fixture(autouse=True)
def _module_loaded() -> None:
    load_module()


CORRESPONDENT = "cn.example.net"


def keys(how: str, identity: str) -> str:
    """Return the options of keys that both share; ``identity`` is the other's."""
    secret = "42" * 32
    if how == "static":
        return f'static_key = "{secret}"\n'
    return f'keys = "ikev2"\npsk = "0x{secret}"\nidentity = "{identity}"\n'


def trusted(how: str) -> str:
    """Return the correspondent's section."""
    return (
        f'[correspondent]\naddresses = ["{CN6}"]\nidentity = "{CORRESPONDENT}"\n'
        f'[[correspondent.trusted]]\nhome_address = "{HOA}"\n{keys(how, IDENTITY)}'
    )


def trusting(how: str) -> str:
    """Return the router's entry."""
    return f'[[mobile_router.trusted]]\naddress = "{CN6}"\n{keys(how, CORRESPONDENT)}'


def correspondent_configuration(net: Topology, section: str = "[correspondent]\n") -> str:
    return (
        f'[globals]\nsocket = "{net.socket("cn")}"\nstate = "{net.directory}/cn-state"\n{section}'
    )


class Trio(Pair):
    """The daemons of a pair and that of the correspondent."""

    def __init__(self, net: Topology, how: str = "") -> None:
        if how:
            router = router_configuration(net, uplinks=UPLINKS)
            super().__init__(net, router=router + trusting(how))
            self.configurations["cn"] = correspondent_configuration(net, trusted(how))
            return
        # Home tests are protected on their way between router and home agent.
        super().__init__(
            net,
            agent_configuration(net, router={"return_routability": "inside"}),
            router_configuration(
                net,
                uplinks=UPLINKS,
                correspondents=["2001:db8:c::/64"],
                return_routability="inside",
            ),
        )
        self.configurations["cn"] = correspondent_configuration(net)

    def correspondent(self, address: str = CN6) -> dict[str, Any]:
        """Return what the router has of a correspondent."""
        found = self.net.ask("mr", "status")["route_optimisation"]["correspondents"]
        return next((one for one in found if one["correspondent"] == address), {})

    def cached(self) -> dict[str, Any]:
        """Return the correspondent's only binding."""
        found = self.net.ask("cn", "bindings")["bindings"]
        assert len(found) <= 1
        return dict(found[0]) if found else {}

    def counted(self, who: str, section: str, name: str) -> int:
        return int(self.net.ask(who, "status")[section]["counters"].get(name, 0))

    def direct(self, prefix: str, seconds: float = 30) -> None:
        """Wait until both ends speak directly, from a care-of address in a network."""
        wait_for(
            lambda: (
                self.correspondent().get("direct")
                and self.correspondent()["care_of"].startswith(prefix)
                and self.cached()["care_of"].startswith(prefix)
            ),
            seconds,
            f"a direct path from {prefix}",
        )


#: Echoes in the second after which an update or a test is repeated: fewer are lost where
#: nothing had to be, only what overtook an update while the home agent was reading it.
REPEATED = 20


class Pings:
    """An echo every 50 ms from the correspondent to the home address, and what was lost."""

    def __init__(self, net: Topology) -> None:
        self.net = net
        self.name = f"pings-{time.monotonic()}.log"
        self.process = net.start("cn", ["ping", "-n", "-i", "0.05", HOA], log=self.name)
        wait_for(lambda: "bytes from" in self.text(), 10, "an echo")

    def text(self) -> str:
        return (self.net.directory / self.name).read_text()

    def lost(self) -> int:
        time.sleep(0.3)
        self.net.stop(self.process, signal.SIGINT)
        sent, received = re.findall(r"(\d+) packets transmitted, (\d+) received", self.text())[0]
        # The last one may be on its way.
        return max(int(sent) - int(received) - 1, 0)


def frames(file: Path) -> list[bytes]:
    """Return the IPv6 packets of a capture."""
    data = file.read_bytes()
    found, at = [], 24
    while at + 16 <= len(data):
        size = struct.unpack_from("<I", data, at + 8)[0]
        frame = data[at + 16 : at + 16 + size]
        if frame[12:14] == b"\x86\xdd":
            found.append(frame[14:])
        at += 16 + size
    return found


@contextlib.contextmanager
def captured(net: Topology, *interfaces: str) -> Iterator[Callable[[str], list[bytes]]]:
    """Capture in the core; afterwards ask for an interface's packets."""
    files = {name: net.capture("core", name) for name in interfaces}
    packets: dict[str, list[bytes]] = {}
    yield lambda name: packets[name]
    packets |= {name: frames(net.captured(file)) for name, file in files.items()}


def is_echo_in(packet: bytes, header: int) -> bool:
    """Whether a packet is an echo behind that extension header."""
    return packet[6] == header and packet[40] == socket.IPPROTO_ICMPV6 and packet[64] in (128, 129)


def tunnelled(packets: list[bytes]) -> list[bytes]:
    """Return tunnelled echoes, plain ones, those to and from the home agent's link."""
    plain = [p for p in packets if p[6] == socket.IPPROTO_ICMPV6 and p[40] in (128, 129)]
    inner = [p for p in packets if p[6] == 41 and p[46] == socket.IPPROTO_ICMPV6]
    return plain + [p for p in inner if p[80] in (128, 129)]


def goes_directly(net: Topology, access: str) -> None:
    """See both directions on the wire of the access network, and nothing at the home agent."""
    with captured(net, access, "ha") as packets:
        assert reaches(net, "cn", HOA)
        time.sleep(0.2)
    seen = packets(access)
    assert any(is_echo_in(packet, ROUTING) for packet in seen)
    assert any(is_echo_in(packet, OPTIONS) for packet in seen)
    assert tunnelled(packets("ha")) == []
    assert tunnelled(seen) == []


def hidden_tests(net: Topology, access: list[bytes], beyond: list[bytes]) -> None:
    """See Home Test Init and Home Test in ESP tunnel mode on one side of the home agent only."""
    clear = {p[42] for p in beyond if p[6] == PROTOCOL}
    assert {1, 3} <= clear, "both of them, as the correspondent has them"
    inner = [p[40:] for p in access if p[6] == 41]
    assert not [p for p in (*access, *inner) if p[6] == PROTOCOL and p[42] in (1, 3)]
    state = net.run("mr", ["ip", "xfrm", "state"])
    found = re.findall(r"spi (0x\w+) reqid \d+ mode tunnel(?s:.*?)\n\t(enc cbc\(aes\)|aead)", state)
    tunnels = {int(spi, 16) for spi, _ in found}
    assert len(tunnels) == 2, state
    forms = [p for p in access if p[6] in (OPTIONS, ROUTING) and p[40] == ESP]
    assert tunnels <= {struct.unpack_from("!I", p, 64)[0] for p in forms}


def messages_have_their_own_form(packets: list[bytes]) -> None:
    """Only updates go under a Home Address option, only their answers under a routing header."""
    for header, allowed in ((OPTIONS, 5), (ROUTING, 6)):
        kinds = {p[40 + 24 + 2] for p in packets if p[6] == header and p[40] == PROTOCOL}
        assert kinds == {allowed}


@pytest.mark.spec("M-110", "M-111", "M-022", "M-023", "M-086", "M-006")
def test_direct_path(net: Topology) -> None:
    trio = Trio(net).start()
    with captured(net, "a6", "ha") as packets:
        net.plug("wan0", "v6")
        trio.settled("v6")
        # Traffic of the home address starts it, and does not stop when it changes over.
        pings = Pings(net)
        trio.direct("2001:db8:a6:")
    hidden_tests(net, packets("a6"), packets("ha"))
    messages_have_their_own_form(packets("a6"))
    goes_directly(net, "a6")
    # What is behind the router goes by the home agent, both ways.
    with captured(net, "ha") as packets:
        assert reaches(net, "lan", CN6)
        assert reaches(net, "cn", LAN6)
    assert tunnelled(packets("ha"))
    assert "directly from" in net.dsmip("mr", "status")
    assert HOA in net.dsmip("cn", "bindings")

    # A planned move: the old network still delivers what is under way.
    with captured(net, "a7") as packets:
        net.plug("wan1", "v6only")
        net.ask("mr", "handover", uplink="v6only")
        trio.settled("v6only")
        trio.direct("2001:db8:a7:")
    # The binding that both ends have does not lead these messages.
    messages_have_their_own_form(packets("a7"))
    goes_directly(net, "a7")
    assert pings.lost() < REPEATED

    # A network that is gone: what was sent there is lost until the update, no more.
    pings = Pings(net)
    net.ask("mr", "handover", uplink=None)
    net.unplug("wan1")
    trio.direct("2001:db8:a6:")
    assert pings.lost() < 60
    assert "Traceback" not in net.log("mr") + net.log("cn") + net.log("ha")


@pytest.mark.spec("M-121", "M-021", "M-119")
def test_correspondents_that_forget_and_those_that_never_knew(net: Topology) -> None:
    trio = Trio(net).start()
    net.plug("wan0", "v6")
    trio.settled("v6")
    reaches(net, "cn", HOA)
    trio.direct("2001:db8:a6:")

    # Killed: its kernel goes on. Its state lost with it: by the home agent, then anew.
    trio.kill("cn")
    assert reaches(net, "cn", HOA)
    net.run("cn", ["ip", "link", "del", "mip0"])
    trio.restart("cn")
    assert trio.cached() == {}
    own = ["ping", "-n", "-q", "-c", "8", "-i", "0.3", "-I", HOA, CN6]
    assert int(re.findall(r"(\d+) received", net.run("mr", own, check=False))[0]) >= 4
    assert trio.counted("cn", "correspondent", "home_address_without_binding") >= 1
    assert trio.counted("mr", "route_optimisation", "ro_be_1") >= 1
    trio.direct("2001:db8:a6:")

    # Somebody else's home address, with data that no binding vouches for.
    assert stranger_is_told(net) == BindingError(1, IPv6Address(STRANGER))

    # The core's router knows no mobility header.
    net.dsmip("mr", "optimise", "2001:db8:c::1")
    wait_for(
        lambda: trio.correspondent("2001:db8:c::1").get("phase") == "left alone", 10, "left alone"
    )
    assert "does not know" in trio.correspondent("2001:db8:c::1")["problem"]
    own[-1] = "2001:db8:c::1"
    assert " 8 received" in net.run("mr", own)

    # At home the correspondent is told that the direct path ends.
    net.dsmip("mr", "optimise", "--off", "2001:db8:c::1")
    net.plug("wan3", "home")
    trio.settled("home")
    wait_for(lambda: trio.cached() == {}, 10, "the end of the direct binding")
    wait_for(lambda: trio.correspondent() == {}, 10, "its acknowledgement")
    assert reaches(net, "cn", HOA)
    assert "Traceback" not in net.log("mr") + net.log("cn") + net.log("ha")


@pytest.mark.parametrize("how", ["static", "ikev2"])
def test_both_share_keys(net: Topology, how: str) -> None:
    """No tests, and nothing in clear, neither by the home agent nor directly."""
    trio = Trio(net, how).start()
    net.plug("wan0", "v6")
    trio.settled("v6")
    # Nothing passes before there are keys.
    wait_for(lambda: reaches(net, "cn", HOA), 20, "keys")
    pings = Pings(net)
    trio.direct("2001:db8:a6:")
    with captured(net, "a6", "ha") as packets:
        assert reaches(net, "cn", HOA)
        time.sleep(0.2)
    seen = packets("a6")
    assert tunnelled(packets("ha")) == []
    for header in (ROUTING, OPTIONS):
        assert any(p[6] == header and p[40] == ESP for p in seen)
        assert not any(is_echo_in(p, header) for p in seen)
    assert tunnelled(seen) == []
    assert trio.counted("cn", "correspondent", "hot_sent") == 0
    net.plug("wan1", "v6only")
    net.ask("mr", "handover", uplink="v6only")
    trio.direct("2001:db8:a7:")
    assert pings.lost() < REPEATED
    assert "Traceback" not in net.log("mr") + net.log("cn") + net.log("ha")


def stranger_is_told(net: Topology) -> object:
    """Send data with a Home Address option that nobody bound; return what comes back."""
    with (
        inside("v6"),
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as data,
        socket.socket(socket.AF_INET6, socket.SOCK_RAW, PROTOCOL) as answers,
    ):
        answers.settimeout(0.3)
        header = b"\0" + build_home_address(IPv6Address(STRANGER))[1:]
        data.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, header)
        for _ in range(20):
            data.sendto(b"data", (CN6, 9))
            with contextlib.suppress(TimeoutError):
                return parse(answers.recv(2048))
    return None
