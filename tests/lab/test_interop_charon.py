# SPDX-License-Identifier: GPL-2.0-only
"""Our IKEv2 with Debian's charon, each as initiator and as responder.

Every SA carries echo requests before it is believed. The home agent is 20 ms
away, so what both ends begin at once does cross on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.lab.charon import Charon
from tests.lab.interop import (
    CBC,
    CHACHA,
    GUEST,
    OUR4,
    OUR6,
    OUR_NAT,
    Authority,
    Case,
    Ours,
    addresses,
    connect,
    diagnosis,
    guest,
    ping,
    policies,
    slow,
    swanctl,
    toml,
    warm,
)
from tests.lab.kmodlib import ip_batch
from tests.lab.migrate import FORWARD, IN, OUT, Ends, migrate
from tests.lab.states import states
from tests.lab.topology import HA4, HA6, Topology, wait_for

#: A second address of charon's, which comes and goes.
THEIR_OTHER = "2001:db8:f:1::77"
#: Another one of ours.
OUR_OTHER = "2001:db8:a6::99"

GCM_PSK = Case(1, "gcm")
CBC_PSK = Case(2, "cbc", proposals=CBC)
ECDSA = Case(3, "ecdsa", auth="certificate", proposals=CHACHA)
EAP = Case(4, "eap", auth="eap-mschapv2")
EAP_ASKED = Case(5, "eap-asked", auth="eap-mschapv2", anywhere=True)
NAT = Case(6, "nat", ours=OUR_NAT, theirs=HA4)
REKEY = Case(7, "rekey")
CROSSING = Case(8, "crossing")
MOBIKE = Case(9, "mobike", theirs=THEIR_OTHER, movement="mobike")
ALIVE = Case(10, "alive", more="dpd_delay = 1s")
HOST = Case(11, "host", ours=OUR4, theirs=GUEST, anywhere=True)
FOLLOW = Case(12, "follow")
CASES = (
    *(GCM_PSK, CBC_PSK, ECDSA, EAP, EAP_ASKED, NAT),
    *(REKEY, CROSSING, MOBIKE, ALIVE, FOLLOW),
)

_SMALL = "fragment_size = 576"
#: Its MIGRATE moves one child of a request id: for so long after a rekey the old one.
_MOVES_NEWEST = "\ndelete_rekeyed_delay = 1"
#: Seconds of silence after which we ask.
DPD = 4


@dataclass(frozen=True, slots=True)
class Lab:
    """The network with our daemon, charon at the home agent's place, one behind the NAT."""

    net: Topology
    ours: Ours
    charon: Charon
    guest: Charon

    def other(self, case: Case) -> Charon:
        return self.guest if case is HOST else self.charon

    def initiate(self, case: Case, by_us: bool) -> None:
        """Bring a case up and see that both ends and the kernel have it."""
        if by_us:
            self.ours.ask("ike.initiate", connection=case.name, child=case.name)
        else:
            self.other(case).initiate(case.name, case.name)
        self.wait_up(case)

    def wait_up(self, case: Case) -> None:
        """Wait until there is one child SA, the same at both ends, and see it carry packets."""
        other = self.other(case)

        def agreed() -> bool:
            here = {state.spi for state in states(self.net, "mr", case.reqid)}
            there = other.children(case.name)
            spis = {int(child[key], 16) for child in there for key in ("spi-in", "spi-out")}
            return len(here) == 2 and here == spis

        wait_for(agreed, 15, f"one child SA of {case.name}")
        self.carries(case)

    def carries(self, case: Case) -> None:
        """See echo requests go through the SA, in both directions and encrypted."""
        before = self.spent(case)
        ours, theirs = case.inner
        there = self.other(case).namespace
        assert ping(self.net, "mr", ours, theirs) == 3, diagnosis(self.net, "mr", there)
        # Requests out and answers in, counted by the SA in use.
        assert self.spent(case) - before == 6

    def spent(self, case: Case) -> int:
        """Return how many packets the kernel has handled by SAs of a case."""
        return sum(state.packets for state in states(self.net, "mr", case.reqid))

    def spis(self, case: Case) -> set[int]:
        return {state.spi for state in states(self.net, "mr", case.reqid)}

    def gone(self, case: Case) -> None:
        """Wait until neither end nor our kernel has anything of a case."""
        wait_for(
            lambda: (
                not self.other(case).sas(case.name)
                and not self.ours.sas(case.name)
                and not states(self.net, "mr", case.reqid)
            ),
            10,
            f"{case.name} gone",
        )

    def terminate(self, case: Case, by_us: bool) -> None:
        """Delete the IKE SA of a case and see that all of it goes."""
        if by_us:
            self.ours.ask("ike.terminate", connection=case.name)
        else:
            self.other(case).terminate(ike=case.name)
        self.gone(case)


@pytest.fixture(scope="module")
def lab(shared_net: Topology) -> Iterator[Lab]:
    net = shared_net
    warm(net)
    connect(net)
    ip_batch("ha", f"addr add {THEIR_OTHER}/64 dev core nodad")
    ip_batch("mr", f"addr add {OUR_OTHER}/64 dev wan0 nodad")
    authority = Authority()
    here, key = authority.issue("ours", [case.identities[0] for case in CASES])
    for name, content in (("ca", authority.root_pem), ("ours", here), ("ours-key", key)):
        (net.directory / f"{name}.pem").write_bytes(content)
    with guest(net):
        charon = Charon(net, "ha", settings=_SMALL + _MOVES_NEWEST, levels="net = 1")
        charon.start(wait=False)
        host = Charon(net, "guest", settings=_SMALL).start(wait=False)
        ours = Ours(net)
        ike = (
            f'certificate = "ours.pem"\nprivate_key = "ours-key.pem"\nauthorities = ["ca.pem"]\n'
            f"dpd = {DPD}\n{_SMALL}\n"
        )
        ours.start(toml((*CASES, HOST), net.socket("mr"), ike))
        there, key = authority.issue("charon", [case.identities[1] for case in CASES])
        charon.answers()
        charon.file("x509ca/ca.pem", authority.root_pem)
        charon.file("x509/charon.pem", there)
        charon.file("private/charon.pem", key)
        charon.load(swanctl(CASES))
        host.answers()
        host.load(swanctl((HOST,)))
        addresses(net, CASES, "mr", "ha")
        addresses(net, (HOST,), "mr", "guest")
        for case in CASES:
            policies(case)
        policies(HOST, net.nat_outside)
        yield Lab(net, ours, charon, host)
        assert "Traceback" not in ours.log()


# --- how both ends prove themselves, what they agree on --------------------------------


@pytest.mark.parametrize(
    ("case", "algorithms"),
    [
        (GCM_PSK, ("AES_GCM_16", "CURVE_25519", "AES_GCM_16")),
        (CBC_PSK, ("AES_CBC", "MODP_2048", "AES_CBC")),
        (ECDSA, ("CHACHA20_POLY1305", "ECP_256", "CHACHA20_POLY1305")),
    ],
    ids=lambda value: value.name if isinstance(value, Case) else "",
)
def test_both_ways(lab: Lab, case: Case, algorithms: tuple[str, str, str]) -> None:
    """Each end initiates, the other one deletes."""
    for by_us in (True, False):
        lab.initiate(case, by_us)
        sa = lab.charon.sa(case.name)
        (child,) = lab.charon.children(case.name)
        assert (sa["encr-alg"], sa["dh-group"], child["encr-alg"]) == algorithms
        assert (sa.get("initiator") == "yes") is not by_us
        lab.terminate(case, not by_us)


def test_eap_mschapv2(lab: Lab) -> None:
    """We answer charon's challenge, and it ours; the one that asks has a certificate."""
    lab.initiate(EAP, by_us=True)
    assert "EAP method EAP_MSCHAPV2 succeeded" in lab.charon.log()
    lab.terminate(EAP, by_us=True)
    lab.initiate(EAP_ASKED, by_us=False)
    assert "EAP method EAP_MSCHAPV2 succeeded, MSK established" in lab.charon.log()
    lab.terminate(EAP_ASKED, by_us=False)


def test_fragments(lab: Lab) -> None:
    """A certificate does not fit into 576 octets, in either direction (RFC 7383)."""
    lab.initiate(ECDSA, by_us=False)
    log = lab.charon.log()
    assert "splitting IKE message" in log
    assert "received fragment #2 of" in log
    lab.terminate(ECDSA, by_us=False)


# --- NAT ------------------------------------------------------------------------------


def nat_holds(lab: Lab, case: Case, behind: str) -> None:
    """See UDP encapsulation, and both ends follow when the NAT takes another port."""
    for state in states(lab.net, "mr", case.reqid):
        assert state.encapsulation is not None
        assert 4500 in state.encapsulation
    lab.net.nat_forget()
    # What is behind the NAT must speak first; then the way back is known again.
    ours, theirs = case.inner
    source, target = (ours, theirs) if behind == "mr" else (theirs, ours)
    wait_for(lambda: ping(lab.net, behind, source, target, 1), 10, "the new mapping")
    lab.carries(case)


def test_behind_a_nat_we_initiate(lab: Lab) -> None:
    lab.initiate(NAT, by_us=True)
    sa = lab.charon.sa(NAT.name)
    assert sa["nat-remote"] == "yes"
    assert sa["remote-host"] == lab.net.nat_outside
    nat_holds(lab, NAT, "mr")
    lab.charon.rekey(child=NAT.name)
    lab.wait_up(NAT)
    lab.terminate(NAT, by_us=False)


def test_behind_a_nat_charon_initiates(lab: Lab) -> None:
    lab.initiate(HOST, by_us=False)
    assert lab.guest.sa(HOST.name)["nat-local"] == "yes"
    nat_holds(lab, HOST, "guest")
    lab.ours.ask("ike.rekey", connection=HOST.name, child=HOST.name)
    lab.wait_up(HOST)
    lab.terminate(HOST, by_us=True)


# --- rekey and delete -------------------------------------------------------------------


def test_rekey_and_delete(lab: Lab) -> None:
    """Child and IKE SA from both sides, then the child alone is deleted and made again."""
    lab.initiate(REKEY, by_us=True)
    for by_us in (True, False):
        before = lab.spis(REKEY)
        if by_us:
            lab.ours.ask("ike.rekey", connection=REKEY.name, child=REKEY.name)
        else:
            lab.charon.rekey(child=REKEY.name)
        wait_for(lambda before=before: not lab.spis(REKEY) & before, 10, "other keys")  # type: ignore[misc]
        lab.wait_up(REKEY)
    for by_us in (True, False):
        spis, name = lab.spis(REKEY), lab.charon.sa(REKEY.name)["initiator-spi"]
        if by_us:
            lab.ours.ask("ike.rekey", connection=REKEY.name)
        else:
            lab.charon.rekey(ike=REKEY.name)

        def renewed(old: str = name) -> bool:
            found = lab.charon.sas(REKEY.name)
            return len(found) == 1 and found[0]["initiator-spi"] != old

        wait_for(renewed, 10, "another IKE SA")
        assert lab.spis(REKEY) == spis
        lab.carries(REKEY)
    for by_us in (True, False):
        if by_us:
            lab.ours.ask("ike.terminate", connection=REKEY.name, child=REKEY.name)
        else:
            lab.charon.terminate(child=REKEY.name)
        wait_for(lambda: not lab.spis(REKEY), 10, "no child")
        assert lab.charon.sa(REKEY.name)["state"] == "ESTABLISHED"
        if by_us:
            lab.ours.ask("ike.initiate", connection=REKEY.name, child=REKEY.name)
        else:
            lab.charon.initiate(REKEY.name, REKEY.name)
        lab.wait_up(REKEY)
    lab.terminate(REKEY, by_us=True)


@pytest.mark.parametrize("child", [CROSSING.name, ""], ids=["child", "ike"])
def test_simultaneous_rekey(lab: Lab, child: str) -> None:
    """Both ends begin within one way's time: one SA is left, and it is in use."""
    lab.initiate(CROSSING, by_us=True)
    slow(lab.net, 250)
    try:
        # What an end has under way when it is told keeps it from crossing.
        for _ in range(3):
            seen = len(lab.charon.log())
            crossed = cross(lab, child, seen)
            lab.wait_up(CROSSING)
            if crossed:
                break
    finally:
        slow(lab.net, lab.net.rtt_ms / 2)
    assert crossed
    lab.terminate(CROSSING, by_us=False)


def cross(lab: Lab, child: str, seen: int) -> bool:
    """Have both ends rekey at once; return whether charon saw it so."""
    spis, spi = lab.spis(CROSSING), lab.charon.sa(CROSSING.name)["initiator-spi"]
    more = {"child": child} if child else {}
    lab.ours.ask("ike.rekey", connection=CROSSING.name, **more)
    lab.charon.rekey(child=child, ike="" if child else CROSSING.name)

    def done() -> bool:
        sa = lab.charon.sa(CROSSING.name)
        if len(lab.charon.sas(CROSSING.name)) + len(lab.ours.sas(CROSSING.name)) != 2:
            return False
        if child:
            return len(lab.spis(CROSSING)) == 2 and not lab.spis(CROSSING) & spis
        return bool(sa["initiator-spi"] != spi)

    wait_for(done, 15, "both done")
    kind = "CHILD" if child else "IKE"
    return f"detected {kind}_REKEY collision with {kind}_REKEY" in lab.charon.log()[seen:]


# --- movement and silence ----------------------------------------------------------------


def test_liveness(lab: Lab) -> None:
    """Who hears nothing asks, and is answered: charon where it does so first, else we."""
    lab.initiate(ALIVE, by_us=True)
    answered = lab.charon.log().count("parsed INFORMATIONAL response")

    def answers() -> bool:
        log = lab.charon.log()
        return "sending DPD request" in log and (
            log.count("parsed INFORMATIONAL response") > answered + 1
        )

    wait_for(answers, 20, "answers to what charon asks")
    assert lab.charon.sa(ALIVE.name)["state"] == "ESTABLISHED"
    lab.carries(ALIVE)
    lab.terminate(ALIVE, by_us=True)
    lab.initiate(GCM_PSK, by_us=True)
    theirs = lab.charon.log().count("sending DPD request")
    asked = lab.charon.log().count("generating INFORMATIONAL response")
    for silent in (True, False):
        wait_for(
            lambda silent=silent: (lab.ours.sa(GCM_PSK.name)["silent_for"] > DPD - 1) is silent,  # type: ignore[misc]
            2 * DPD,
            "silence" if silent else "charon's answer to what we ask",
        )
    assert lab.charon.log().count("generating INFORMATIONAL response") == asked + 1
    assert lab.charon.log().count("sending DPD request") == theirs
    lab.terminate(GCM_PSK, by_us=False)


def migrate_all(lab: Lab, case: Case, old: Ends, new: Ends, reqids: dict[str, int]) -> None:
    """Announce a movement of our end in the namespaces of ``reqids``.

    Charon moves what is its own as soon as it hears of one policy.
    """
    ours, theirs = case.inner
    for namespace, reqid in reqids.items():
        for direction in (OUT, IN, FORWARD) if namespace == "mr" else (OUT,):
            up = (namespace == "mr") == (direction == OUT)
            migrate(
                namespace,
                direction,
                ours if up else theirs,
                theirs if up else ours,
                old=old if up else old.reversed(),
                new=new if up else new.reversed(),
                reqid=reqid,
            )


def ends_of(lab: Lab, case: Case) -> set[tuple[str, str]]:
    return {(state.source, state.destination) for state in states(lab.net, "mr", case.reqid)}


def both(ends: Ends) -> set[tuple[str, str]]:
    return {(ends.source, ends.destination), (ends.destination, ends.source)}


def test_mobike_we_move(lab: Lab) -> None:
    """A MIGRATE tells us of another address of ours, and MOBIKE tells charon."""
    lab.initiate(MOBIKE, by_us=True)
    spis = lab.spis(MOBIKE)
    old, new = Ends(OUR6, THEIR_OTHER), Ends(OUR_OTHER, THEIR_OTHER)
    try:
        migrate_all(lab, MOBIKE, old, new, {"mr": MOBIKE.reqid})
        wait_for(lambda: lab.charon.sa(MOBIKE.name)["remote-host"] == OUR_OTHER, 15, "charon told")
        wait_for(lambda: ends_of(lab, MOBIKE) == both(new), 5, "our SAs moved")
        assert lab.spis(MOBIKE) == spis
        lab.carries(MOBIKE)
        lab.terminate(MOBIKE, by_us=True)
    finally:
        policies(MOBIKE)


def test_mobike_charon_moves(lab: Lab) -> None:
    """Its address goes: UPDATE_SA_ADDRESSES, and our SAs follow."""
    lab.initiate(MOBIKE, by_us=False)
    spis = lab.spis(MOBIKE)
    try:
        ip_batch("ha", f"addr del {THEIR_OTHER}/64 dev core")

        def moved() -> bool:
            found = states(lab.net, "mr", MOBIKE.reqid)
            return bool(found) and not any(
                THEIR_OTHER in (state.source, state.destination) for state in found
            )

        wait_for(moved, 15, "SAs moved")
        assert lab.spis(MOBIKE) == spis
        (there,) = {s.source for s in states(lab.net, "mr", MOBIKE.reqid)} - {OUR6}
        policies(MOBIKE, there)
        lab.carries(MOBIKE)
        lab.terminate(MOBIKE, by_us=True)
    finally:
        policies(MOBIKE)
        ip_batch("ha", f"addr add {THEIR_OTHER}/64 dev core nodad")


def test_we_follow_migrate(lab: Lab) -> None:
    """MIGRATE sent by hand moves IKE SA and child SAs: within IPv6, to IPv4, and back."""
    lab.initiate(FOLLOW, by_us=True)
    spis, spi = lab.spis(FOLLOW), lab.ours.sa(FOLLOW.name)["spi_i"]
    (child,) = lab.charon.children(FOLLOW.name)
    reqids = {"mr": FOLLOW.reqid, "ha": int(child["reqid"])}
    six, other, four = Ends(OUR6, HA6), Ends(OUR_OTHER, HA6), Ends(OUR4, HA4)
    for old, new in ((six, other), (other, four), (four, six)):
        migrate_all(lab, FOLLOW, old, new, reqids)

        def moved(new: Ends = new) -> bool:
            sa = lab.ours.sa(FOLLOW.name)
            found = sa["local"]["address"], sa["remote"]["address"]
            return found == (new.source, new.destination)

        wait_for(moved, 10, "the ends of IKE")
        wait_for(lambda new=new: ends_of(lab, FOLLOW) == both(new), 5, "our SAs moved")  # type: ignore[misc]
        assert lab.spis(FOLLOW) == spis
        if new is four:
            # Charon leaves parts of the IPv6 addresses in its SAs; new ones are right.
            lab.ours.ask("ike.rekey", connection=FOLLOW.name, child=FOLLOW.name)
            wait_for(lambda spis=spis: not lab.spis(FOLLOW) & spis, 10, "other keys")  # type: ignore[misc]
            lab.wait_up(FOLLOW)
            spis = lab.spis(FOLLOW)
            wait_for(
                lambda spis=spis: {s.spi for s in states(lab.net, "ha", reqids["ha"])} == spis,  # type: ignore[misc]
                5,
                "charon's old SA gone, which it would move instead",
            )
        lab.carries(FOLLOW)
        seen = len(lab.charon.log())

        def asked(new: Ends = new, seen: int = seen) -> bool:
            log = lab.charon.log()[seen:]
            return f"received packet: from {new.source}" in log and "INFORMATIONAL request" in log

        wait_for(asked, 15, "a liveness check from there")
    assert lab.ours.sa(FOLLOW.name)["spi_i"] == spi
    lab.terminate(FOLLOW, by_us=False)
