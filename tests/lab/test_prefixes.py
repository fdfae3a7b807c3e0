# SPDX-License-Identifier: GPL-2.0-only
"""Prefixes of mobile networks: delegated, advertised, nested; and nodes without IPsec."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import ipaddress
import json
import re
import struct
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from dsmip.mobility.authentication import ntp
from scapy.layers.inet6 import (
    HAO,
    MIP6MH_BU,
    IPv6,
    IPv6ExtHdrDestOpt,
    MIP6OptMNID,
    MIP6OptMsgAuth,
    MIP6OptReplayProtection,
)

from tests.lab import bird
from tests.lab.kmodlib import load_module
from tests.lab.kmodnet import Capture, Injector
from tests.lab.pair import Pair, agent_configuration, router_configuration
from tests.lab.topology import CN6, HA4, HA6, HOA, LAN4, LAN6, NET4, NET6, Topology, wait_for

POOL = "2001:db8:140::/48"
DNS = "2001:db8:c::53"
JUDGE = "0003000102000000aa01"
INNER, INNER_KEY, INNER_NET = "2001:db8:1::180", "51" * 32, "2001:db8:180::/56"
PHONE, PHONE_NAI, PHONE_SPI = "2001:db8:1::300", "phone@example.net", 0x1234
PHONE_KEY = bytes(range(16))


@pytest.fixture(autouse=True)
def _module_loaded() -> None:
    load_module()


def reaches(net: Topology, namespace: str, address: str, *more: str) -> bool:
    """Tell whether a ping is answered; the first may wait for neighbours."""
    command = ["ping", "-n", "-q", "-c", "3", "-i", "0.2", "-W", "2", *more, address]
    return re.search(r" [123] received", net.run(namespace, command, check=False)) is not None


def no_fixed_addresses(net: Topology) -> None:
    """Leave it to the daemon and to Router Advertisements to number the LAN."""
    net.shell("mr", "ip -6 addr flush dev lan0 scope global\n")
    net.shell(
        "lan",
        "ip -6 addr flush dev eth0 scope global\nip -6 route flush default\n"
        "sysctl -qw net.ipv6.conf.eth0.accept_ra=2\n",
    )


def address_in(net: Topology, namespace: str, network: str) -> str:
    """Return an address of an interface that is in a network, "" when there is none yet."""
    found = json.loads(net.run(namespace, ["ip", "-j", "-6", "addr", "show", "scope", "global"]))
    for entry in found:
        for one in entry.get("addr_info", ()):
            local = one.get("local")
            usable = local and not one.get("tentative")
            if usable and ipaddress.ip_address(local) in ipaddress.ip_network(network):
                return str(local)
    return ""


def delegated(pair: Pair) -> str:
    """Return the prefix that the router was delegated, "" when it has none."""
    leases = pair.router()["delegation"]["leases"]
    return str(leases[0]["prefix"]) if leases else ""


@pytest.mark.spec("N-072", "N-073", "N-074")
def test_a_delegated_prefix_reaches_a_host_by_a_real_advertisement(net: Topology) -> None:
    """In clear, so that the wire shows how DHCPv6 goes: Home Address option, routing header."""
    no_fixed_addresses(net)
    clear = {"static_key": None, "protection": "none"}
    entry = {"prefixes": [NET4], "delegated_prefixes": 1, **clear}
    agent = agent_configuration(
        net, router=entry, prefix_pool=[POOL], delegated_length=56, dns=[DNS]
    )
    router = router_configuration(net, prefixes=[NET4], delegated_prefixes=1, **clear)
    pair = Pair(net, agent, router).start()
    link = Capture("mr", "wan0")
    net.plug("wan0", "v6")
    pair.settled("v6")
    prefix = wait_for(lambda: delegated(pair), 20, "a delegated prefix")
    assert prefix.endswith("/56")
    binding = pair.binding()
    assert binding is not None
    assert set(binding["prefixes"]) == {NET4, prefix}
    # The host numbers itself, and knows router, size and name server.
    host = wait_for(lambda: address_in(net, "lan", prefix), 20, "an address by SLAAC")
    route = net.run("lan", ["ip", "-6", "route", "show", "default"])
    assert "proto ra" in route
    assert net.run("lan", ["cat", "/proc/sys/net/ipv6/conf/eth0/mtu"]).strip() == "1420"
    assert reaches(net, "lan", CN6)
    assert reaches(net, "cn", host)
    assert reaches(net, "cn", LAN4)
    # The largest packet passes at once: nobody is ever told that it is too big.
    assert "1 received" in net.run(
        "lan", ["ping", "-n", "-q", "-c", "1", "-M", "do", "-s", str(1420 - 48), CN6]
    )
    packets = link.packets()
    link.close()
    home, agent_address = (ipaddress.ip_address(one).packed for one in (HOA, HA6))
    asked = [p for p in packets if p[6] == 60 and p[24:40] == agent_address and p[40] == 17]
    told = [p for p in packets if p[6] == 43 and p[8:24] == agent_address and p[40] == 17]
    assert asked
    assert told
    # RFC 6275: destination option 201 and routing header type 2, each with the home address.
    assert all(home in p[40:64] and b"\xc9\x10" in p[40:64] for p in asked)
    assert all(p[42] == 2 and p[48:64] == home for p in told)
    ports = {struct.unpack_from("!HH", p, 64)[1] for p in asked + told}
    assert ports == {547}
    assert {p[72] for p in asked} == {12}
    assert {p[72] for p in told} == {13}


def _lost_nothing(pair: Pair, prefix: str, host: str, network: str) -> None:
    pair.settled(network)
    wait_for(lambda: delegated(pair) == prefix, 20, "the same prefix")
    assert address_in(pair.net, "lan", prefix) == host
    assert reaches(pair.net, "cn", host)
    assert reaches(pair.net, "lan", CN6)


def _judged(net: Topology) -> str:
    """Return what ISC's client makes of the home agent as a server on the home link."""
    files = net.directory
    (files / "dhclient.conf").write_text(
        'interface "eth0" { send dhcp6.client-id ' + ":".join(re.findall("..", JUDGE)) + "; }\n"
    )
    leases = files / "dhclient.leases"
    leases.touch()
    common = ["-6", "-P", "-cf", str(files / "dhclient.conf"), "-lf", str(leases)]
    common += ["-pf", str(files / "dhclient.pid"), "-sf", "/bin/true", "eth0"]
    net.run("judge", ["dhclient", "-1", "-v", *common])
    found = re.search(r"iaprefix (\S+) \{", leases.read_text())
    assert found is not None
    given = net.ask("ha", "status")["home_agent"]["delegated"]
    assert found[1] in [one["prefix"] for one in given if one["identity"] == "judge"]
    assert f"name-servers {DNS}" in leases.read_text()
    net.run("judge", ["dhclient", "-r", *common])
    given = net.ask("ha", "status")["home_agent"]["delegated"]
    assert [one for one in given if one["identity"] == "judge"] == []
    return found[1]


@contextlib.contextmanager
def namespace(net: Topology, name: str, script: str, inside: str) -> Iterator[None]:
    """Add a namespace, with what the rest of the network and itself run for it."""
    net.shell(None, f"ip netns add {name}\n")
    try:
        net.shell(None, script)
        net.shell(name, "sysctl -qw net.ipv6.conf.all.accept_dad=0\nip link set lo up\n" + inside)
        yield
    finally:
        net.shell(None, f"ip netns del {name}\n")


def _update(sequence: int, care_of: str, key: bytes = PHONE_KEY, stamp: int | None = None) -> bytes:
    """Return a Binding Update of RFC 4285, made by scapy and signed by the RFC's text."""
    stamp = ntp(time.time()) if stamp is None else stamp
    options = [
        MIP6OptMNID(subtype=1, id=PHONE_NAI.encode()),
        MIP6OptReplayProtection(timestamp=0),
        MIP6OptMsgAuth(subtype=1, mspi=PHONE_SPI, authdata=bytes(12)),
    ]
    message = MIP6MH_BU(seq=sequence, flags="AH", mhtime=15, options=options)
    outer = IPv6(src=care_of, dst=HA6) / IPv6ExtHdrDestOpt(nh=135, options=[HAO(hoa=PHONE)])
    data = bytearray(bytes(outer / message))
    body = data[64:]
    # scapy reads a timestamp as seconds; the RFC has NTP's 64 bits.
    at = body.index(bytes((10, 8)) + bytes(8)) + 2
    body[at : at + 8] = struct.pack("!Q", stamp)
    end = body.index(bytes((9, 17, 1)) + struct.pack("!I", PHONE_SPI)) + 7
    covered = ipaddress.ip_address(care_of).packed + ipaddress.ip_address(PHONE).packed
    body[4:6] = bytes(2)
    body[end : end + 12] = hmac.new(key, covered + bytes(body[:end]), hashlib.sha1).digest()[:12]
    body[4:6] = struct.pack("!H", _checksum(PHONE, HA6, bytes(body)))
    return bytes(data[:64] + body)


def _checksum(source: str, destination: str, body: bytes) -> int:
    pseudo = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    whole = pseudo + struct.pack("!II", len(body), 135) + body
    total = sum(struct.unpack(f"!{len(whole) // 2}H", whole))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _phone_is_served(net: Topology, pair: Pair) -> None:
    """A plain mobile node at the correspondent's place, made of packets."""
    wire, link = Injector("cn"), Capture("cn", "eth0")
    try:

        def answer(data: bytes) -> tuple[int, bytes]:
            link.packets(0)
            link.seen.clear()
            wire.send(data)
            found = link.find(lambda p: p[6] == 43 and p[40] == 135 and p[66] == 6, 8)
            assert found[48:64] == ipaddress.ip_address(PHONE).packed
            return found[70], found[64:]

        status, message = answer(_update(1, CN6))
        assert status == 0
        end = message.index(bytes((9, 17, 1)) + struct.pack("!I", PHONE_SPI)) + 7
        covered = ipaddress.ip_address(CN6).packed + ipaddress.ip_address(PHONE).packed
        covered += message[:4] + bytes(2) + message[6:end]
        assert message[end : end + 12] == hmac.new(PHONE_KEY, covered, hashlib.sha1).digest()[:12]
        bindings = net.ask("ha", "bindings")["bindings"]
        (phone,) = [one for one in bindings if one["home_address"] == PHONE]
        assert (phone["care_of"]["address"], phone["prefixes"]) == (CN6, [])
        assert not phone["mobile_router"]
        assert answer(_update(2, CN6, key=PHONE_KEY[::-1]))[0] == 146
        assert answer(_update(3, CN6, stamp=ntp(time.time() - 60)))[0] == 144
        before = pair.counter("bu_auth_missing")
        # Without the option, as without IPsec: not a word.
        wire.send(_clear_bu(5, CN6))
        wait_for(lambda: pair.counter("bu_auth_missing") > before, 8, "a silent drop")
    finally:
        wire.close()
        link.close()


def _clear_bu(sequence: int, care_of: str) -> bytes:
    outer = IPv6(src=care_of, dst=HA6) / IPv6ExtHdrDestOpt(nh=135, options=[HAO(hoa=PHONE)])
    return bytes(outer / MIP6MH_BU(seq=sequence, flags="AH", mhtime=15))


@pytest.mark.spec("N-071", "N-077", "N-080")
def test_prefixes_outlive_daemons_moves_and_the_way_home(net: Topology) -> None:
    """Under ESP, behind a NAT; killed daemons; at home; then others who ask."""
    no_fixed_addresses(net)
    entry = {"prefixes": [NET4], "delegated_prefixes": 1}
    others = (
        f'[[home_agent.router]]\nidentity = "judge"\nhome_address = "2001:db8:1::99"\n'
        f'delegated_prefixes = 1\nduid = "{JUDGE}"\nstatic_key = "{"77" * 32}"\n'
        f'[[home_agent.router]]\nidentity = "phone"\nhome_address = "{PHONE}"\n'
        f'protection = "rfc4285"\nmn_ha_key = "{PHONE_KEY.hex()}"\nmn_ha_spi = {PHONE_SPI}\n'
        f'nai = "{PHONE_NAI}"\nmobile_router = false\n'
    )
    agent = agent_configuration(
        net, router=entry, more=others, prefix_pool=[POOL], delegated_length=56, dns=[DNS]
    )
    router = router_configuration(net, prefixes=[NET4], delegated_prefixes=1)
    pair = Pair(net, agent, router).start()
    link = Capture("mr", "wan2")
    net.plug("wan2", "nat")
    pair.settled("nat")
    prefix = wait_for(lambda: delegated(pair), 20, "a delegated prefix")
    host = wait_for(lambda: address_in(net, "lan", prefix), 20, "an address by SLAAC")
    assert reaches(net, "cn", host)
    # The tunnel in UDP: inner packets between home address and home agent are ESP only.
    inner = [p[28:] for p in link.packets() if p[0] >> 4 == 4 and p[9] == 17 and len(p) > 68]
    ends = {ipaddress.ip_address(one).packed for one in (HOA, HA6)}
    between = [p for p in inner if p[0] >> 4 == 6 and {p[8:24], p[24:40]} == ends]
    assert len(between) >= 4
    assert {p[6] for p in between} == {50}
    link.close()
    for who in ("mr", "ha"):
        pair.kill(who)
        pair.restart(who)
        _lost_nothing(pair, prefix, host, "nat")
    net.plug("wan3", "home")
    _lost_nothing(pair, prefix, host, "home")
    assert pair.counter("pd_rebind") >= 1
    _phone_is_served(net, pair)
    cable = (
        "ip -n ha link add judge0 type veth peer name eth0 netns judge\n"
        "ip -n ha link set judge0 master home up\n"
    )
    with namespace(net, "judge", cable, "ip link set eth0 up\n"):
        # Its link-local address must be no candidate any more.
        wait_for(lambda: "tentative" not in net.run("judge", ["ip", "-6", "addr"]), 10, "address")
        assert _judged(net) != prefix


def test_a_mobile_network_in_a_mobile_network(net: Topology) -> None:
    """The LAN host is a mobile router itself, with the same home agent."""
    no_fixed_addresses(net)
    net.shell("lan", "ip -4 addr flush dev eth0\n")
    second = (
        f'[[home_agent.router]]\nidentity = "bus-18"\nhome_address = "{INNER}"\n'
        f'prefixes = ["{INNER_NET}"]\nstatic_key = "{INNER_KEY}"\n'
    )
    agent = agent_configuration(net, more=second)
    outer = router_configuration(net, advertise=True)
    pair = Pair(net, agent, outer).start()
    net.plug("wan0", "v6")
    pair.settled("v6")
    inner = (
        f'[globals]\nsocket = "{net.socket("lan")}"\nstate = "{net.directory / "lan-state"}"\n'
        f'[mobile_router]\nidentity = "bus-18"\nhome_address = "{INNER}"\n'
        f'home_prefix = "2001:db8:1::/64"\nhome_agent = ["{HA6}", "{HA4}"]\n'
        f'prefixes = ["{INNER_NET}"]\nlan = ["inner0"]\nadvertise = true\n'
        f'static_key = "{INNER_KEY}"\n[[mobile_router.uplink]]\ninterface = "eth0"\n'
    )
    cable = (
        "ip -n lan link add inner0 type veth peer name eth0 netns inner\n"
        "ip -n lan link set inner0 up\n"
    )
    with namespace(net, "inner", cable, "ip link set eth0 up\n"):
        process = net.daemon("lan", inner)
        wait_for(lambda: net.ask("lan", "status"), 180, "the inner daemon")

        def state() -> str:
            return str(net.ask("lan", "status")["mobile_router"]["state"])

        wait_for(lambda: state() == "Roaming", 30, "the inner router")
        host = wait_for(lambda: address_in(net, "inner", INNER_NET), 20, "an address by SLAAC")
        assert _twice(lambda: reaches(net, "cn", host))
        assert _twice(lambda: reaches(net, "inner", CN6))
        # Two tunnels, one in the other; each level costs its 40 octets.
        bindings = {b["identity"]: b for b in net.ask("ha", "bindings")["bindings"]}
        care_of = bindings["bus-18"]["care_of"]["address"]
        assert ipaddress.ip_address(care_of) in ipaddress.ip_network("2001:db8:100::/56")
        # The outer one moves, and the inner one does not even notice.
        sequence = net.ask("lan", "status")["mobile_router"]["sequence"]
        net.plug("wan2", "nat")
        net.unplug("wan0")
        pair.settled("nat")
        assert _twice(lambda: reaches(net, "cn", host))
        assert net.ask("lan", "status")["mobile_router"]["sequence"] <= sequence + 1
        net.stop(process)


def _twice(ask: Callable[[], bool]) -> bool:
    """Give an answer that the first packets had to find a way for another try."""
    return ask() or ask()


def _bird(net: Topology, who: str, text: str) -> subprocess.Popen[bytes]:
    """Start BIRD in a namespace."""
    file = net.directory / f"bird-{who}.conf"
    file.write_text(text)
    control, pid = f"{net.directory}/bird-{who}.ctl", f"{net.directory}/bird-{who}.pid"
    command = ["bird", "-f", "-c", str(file), "-s", control, "-P", pid]
    return net.start(who, command, log=f"bird-{who}.log")


def _established(net: Topology) -> float:
    """Return since when the session is up, as BIRD tells the time of day."""
    command = ["birdc", "-s", f"{net.directory}/bird-mr.ctl", "show", "protocols", "home"]
    found = re.search(r"(\d+):(\d+):([\d.]+) +Established", net.run("mr", command))
    assert found is not None
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])


@pytest.mark.spec("N-025")
def test_bird_tells_the_home_agent_which_prefixes_there_are(net: Topology) -> None:
    """BGP in the tunnel, under ESP; only what the router owns is bound, and only while told."""
    inside = {"payload": "inside"}
    agent = agent_configuration(
        net,
        router={"prefixes": [NET6], "home_address4": None, "routing": True, **inside},
        learn_table=bird.TABLE,
    )
    router = router_configuration(
        net, prefixes=[NET6], home_address4=None, mode="implicit", **inside
    )
    pair = Pair(net, agent, router).start()

    def bound() -> list[str]:
        return list((pair.binding() or {"prefixes": ["none"]})["prefixes"])

    link = Capture("mr", "wan0")
    net.plug("wan0", "v6")
    pair.settled("v6")
    assert bound() == []
    _bird(net, "ha", bird.agent())
    process = _bird(net, "mr", bird.router([NET6, "2001:db8:1ff::/56"]))
    wait_for(lambda: bound() == [NET6], 30, "a prefix learned by BGP")
    learned = net.run("ha", ["ip", "-6", "route", "show", "table", str(bird.TABLE)])
    assert "2001:db8:1ff::/56" in learned
    assert _twice(lambda: reaches(net, "cn", LAN6))
    ends = {ipaddress.ip_address(one).packed for one in (HOA, HA6)}
    between = [p for p in link.packets() if p[6] in (43, 60) and ends & {p[48:64], p[8:24]}]
    link.close()
    assert between
    assert {p[40] for p in between} == {50}
    # A handover: the session between permanent addresses lives on.
    before = _established(net)
    net.plug("wan2", "nat")
    net.unplug("wan0")
    pair.settled("nat")
    assert _twice(lambda: reaches(net, "cn", LAN6))
    assert bound() == [NET6]
    assert abs(_established(net) - before) < 1
    net.stop(process)
    wait_for(lambda: bound() == [], 30, "the prefix to be withdrawn")
