# SPDX-License-Identifier: GPL-2.0-only
"""Our IKEv2 with Debian's libreswan: pre-shared key, AES-GCM, rekey, delete."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.lab.interop import (
    SECRET,
    Case,
    Ours,
    addresses,
    connect,
    ping,
    policies,
    toml,
    warm,
)
from tests.lab.libreswan import Libreswan
from tests.lab.states import states
from tests.lab.topology import CN6, Topology, wait_for

CASE = Case(
    1, "pluto", theirs=CN6, proposals=("aes128gcm16-prfsha256-x25519", "aes128gcm16-x25519")
)


def connection(case: Case) -> str:
    """Return the other side of a case as ipsec.conf has it."""
    ours, theirs = case.identities
    inner_ours, inner_theirs = case.inner
    return f"""
conn {case.name}
  ikev2=insist
  authby=secret
  left={case.theirs}
  leftid=@{theirs}
  leftsubnet={inner_theirs}/128
  right={case.ours}
  rightid=@{ours}
  rightsubnet={inner_ours}/128
  ike=aes_gcm128-sha2_256;dh31
  esp=aes_gcm128;dh31
  leftupdown=%disabled
  auto=add
"""


@dataclass(frozen=True, slots=True)
class Lab:
    """Our daemon and pluto at the correspondent's place."""

    net: Topology
    ours: Ours
    pluto: Libreswan

    def spis(self) -> set[int]:
        return {state.spi for state in states(self.net, "mr", CASE.reqid)}

    def wait_up(self) -> None:
        """Wait until both kernels have the same pair of SAs, and see it carry packets."""

        def agreed() -> bool:
            here = self.spis()
            return len(here) == 2 and here == {state.spi for state in states(self.net, "cn")}

        wait_for(agreed, 20, "one child SA")
        before = sum(state.packets for state in states(self.net, "mr", CASE.reqid))
        assert ping(self.net, "mr", *CASE.inner) == 3
        assert sum(s.packets for s in states(self.net, "mr", CASE.reqid)) - before == 6

    def gone(self) -> None:
        """Wait until nothing is left at either end."""
        wait_for(
            lambda: (
                not self.pluto.states(CASE.name)
                and not self.ours.sas(CASE.name)
                and not self.spis()
                and not states(self.net, "cn")
            ),
            15,
            "nothing left",
        )


@pytest.fixture(scope="module")
def lab(shared_net: Topology) -> Iterator[Lab]:
    net = shared_net
    warm(net)
    connect(net)
    addresses(net, (CASE,), "mr", "cn")
    policies(CASE)
    ours = Ours(net).start(toml((CASE,), net.socket("mr")))
    names = " ".join(f"@{name}" for name in CASE.identities)
    secret = f"{names} : PSK {SECRET}{CASE.number:02x}\n"
    pluto = Libreswan(net, "cn").start(connection(CASE), secret)
    yield Lab(net, ours, pluto)
    assert "Traceback" not in ours.log()


@pytest.mark.parametrize("by_us", [True, False], ids=["we", "libreswan"])
def test_base(lab: Lab, by_us: bool) -> None:
    """One end initiates, both rekey child and IKE SA, the other end deletes."""
    if by_us:
        lab.ours.ask("ike.initiate", connection=CASE.name, child=CASE.name)
    else:
        lab.pluto.whack("--name", CASE.name, "--initiate", "--asynchronous")
    lab.wait_up()
    for theirs in (False, True):
        before = lab.spis()
        if theirs:
            lab.pluto.whack("--name", CASE.name, "--rekey-ipsec", "--asynchronous")
        else:
            lab.ours.ask("ike.rekey", connection=CASE.name, child=CASE.name)
        wait_for(lambda before=before: not lab.spis() & before, 20, "other keys")  # type: ignore[misc]
        lab.wait_up()
    for theirs in (False, True):
        spi = lab.ours.sa(CASE.name)["spi_i"]
        if theirs:
            lab.pluto.whack("--name", CASE.name, "--rekey-ike", "--asynchronous")
        else:
            lab.ours.ask("ike.rekey", connection=CASE.name)

        def renewed(old: str = spi) -> bool:
            found = lab.ours.sas(CASE.name)
            return len(found) == 1 and found[0]["spi_i"] != old

        wait_for(renewed, 20, "another IKE SA")
        lab.wait_up()
    if not by_us:
        before = lab.spis()
        lab.ours.ask("ike.terminate", connection=CASE.name)
        wait_for(lambda: not lab.spis() & before, 10, "our side deleted")
        # Told to keep the connection up, it begins anew at once.
        lab.wait_up()
    lab.pluto.whack("--name", CASE.name, "--terminate")
    lab.gone()
    assert re.search(r"established Child SA", lab.pluto.log())
