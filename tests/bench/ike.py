# SPDX-License-Identifier: GPL-2.0-only
"""IKE_SA_INIT and IKE_AUTH per CPU second: ``dsmipd --role ike`` beside Debian's charon.

    python -m tests.bench.ike

Root is needed, a virtual machine is not: each responder and the initiator have a
nameless network namespace that ends with its process. The initiator is our engine
for both; handshakes come one after the other, rounds alternate. Counted is the CPU
time of the responder's process, all threads, user and system, from before
some handshakes until it rests after them. Then the IKE_SAs are deleted, which is
not counted.

Same proposals, PSK and one child; the kernel is told of the child's two SAs. Where
the kernel has no ESP it refuses them: dsmipd gives up at the first one, after it
has computed its whole answer, which it sends, and writes a line to its log; charon
asks for both and then answers IKE_AUTH with NO_PROPOSAL_CHOSEN, without the child.
The last lines of the table say what initiators were told. Nothing else is logged.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final, cast

from dsmip.ikev2.authentication import Psk
from dsmip.ikev2.config import (
    ChildConfig,
    Connection,
    EngineConfig,
    Movement,
    NoDirectory,
    Timings,
)
from dsmip.ikev2.effects import AddChild, ChildFailed, Effect, Endpoint, IkeDown, IkeUp, Send
from dsmip.ikev2.engine import Engine
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.numbers import ProtocolId
from dsmip.ikev2.proposals import parse_proposal
from dsmip.ikev2.selectors import TrafficSelector
from dsmip.linux.ike_socket import MARKER, IkeSockets
from dsmip.service.client import Client, ClientError

from tests.lab.charon import Charon
from tests.lab.topology import Topology, wait_for

from . import table

RESPONDER: Final = "responder.example.net"
#: Initiators, who come one after the other before the CPU is read.
PEERS: Final = 20
SECRET: Final = "7YxCq0bCcVJvZ1xM8oKfSg"
IKE, ESP = "aes128gcm16-prfsha256-x25519", "aes128gcm16"
NEAR, FAR = "10.1.0.0/24", "10.2.0.0/24"
#: Where each responder is, and the initiator on the same wire.
ENDS = {"dsmipd": ("192.0.2.1", "192.0.2.2"), "charon": ("198.51.100.1", "198.51.100.2")}
PLUGINS = "random nonce drbg openssl hmac kdf kernel-netlink socket-default vici"
_PATIENCE_S: Final = 10.0
#: Who used no CPU for so long has done its work: it answers before all of it is done.
_REST_S: Final = 0.002
_GROUPS: Final = "dmn mgr ike chd job cfg knl net asn enc lib esp tls tnc imc imv pts"
_SILENT = "\n".join(f"{group} = -1" for group in _GROUPS.split())

_OURS = """\
[globals]
socket = "{socket}"
log_level = "error"
[ike]
rekey_ike = 0
dpd = 0
"""
_OURS_PEER = f"""\
[[ike.connection]]
name = "peer-{{number}}"
local_identity = "{RESPONDER}"
remote_identity = "{{identity}}"
psk = "{SECRET}"
proposals = ["{IKE}"]
[[ike.connection.child]]
name = "net"
reqid = {{number}}
local = ["{FAR}"]
remote = ["{NEAR}"]
esp_proposals = ["{ESP}"]
start = "none"
"""

_THEIRS_PEER = f"""\
connections {{{{
  peer-{{number}} {{{{
    version = 2
    proposals = {IKE}
    unique = never
    mobike = no
    rekey_time = 0
    local {{{{
      auth = psk
      id = {RESPONDER}
    }}}}
    remote {{{{
      auth = psk
      id = {{identity}}
    }}}}
    children {{{{
      net {{{{
        local_ts = {FAR}
        remote_ts = {NEAR}
        esp_proposals = {ESP}
      }}}}
    }}}}
  }}}}
}}}}
secrets {{{{
  ike-{{number}} {{{{
    id = {{identity}}
    secret = {SECRET}
  }}}}
}}}}
"""


def identity(number: int) -> str:
    """Return who an initiator is."""
    return f"initiator-{number}.example.net"


def for_peers(text: str) -> str:
    """Return a piece of a configuration for each initiator."""
    numbers = range(1, PEERS + 1)
    return "".join(text.format(number=number, identity=identity(number)) for number in numbers)


class Unshared:
    """The part of the lab's topology that ``Charon`` uses, in nameless namespaces."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(
        self, namespace: str, command: Sequence[str], log: str = "", **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start a responder at the far end of a wire of its own."""
        here, there = ENDS[namespace]
        with (self.directory / log).open("ab") as output:
            process = subprocess.Popen(
                ["unshare", "-n", "sh", "-c", 'read go; exec "$@"', "sh", *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=os.environ | environment,
            )
        self.processes.append(process)
        pid, own = str(process.pid), os.readlink("/proc/self/ns/net")
        wait_for(lambda: os.readlink(f"/proc/{pid}/ns/net") != own, 10, "a namespace", 0.01)
        at = ["nsenter", "-t", pid, "-n", "ip"]
        for words in (
            f"ip link add {namespace} type veth peer name wire netns {pid}",
            f"ip address add {there}/24 dev {namespace}",
            f"ip link set {namespace} up",
        ):
            subprocess.run(words.split(), check=True)
        for words in ("link set lo up", f"address add {here}/24 dev wire", "link set wire up"):
            subprocess.run([*at, *words.split()], check=True)
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.close()
        return process

    def run(self, _namespace: str, command: Sequence[str], check: bool = True) -> str:
        """Run a command that speaks to a responder over a socket in the file system."""
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def close(self) -> None:
        """End the responders."""
        for process in self.processes:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass(slots=True)
class Initiator:
    """One IKE_SA after the other by our engine, on blocking sockets."""

    connections: tuple[Connection, ...]
    engine: Engine
    sockets: IkeSockets
    children: Counter[str] = field(default_factory=Counter)

    def handshakes(self, name: str, pid: int, count: int) -> float:
        """Return the CPU ms of a responder for one IKE_SA; ``RuntimeError`` when one fails.

        ``count`` is a multiple of ``PEERS``.
        """
        there, here = (Endpoint(IPv4Address(text), 500) for text in ENDS[name])
        total = 0
        for _ in range(count // PEERS):
            before = cpu_ns(pid)
            for connection in self.connections:
                effects = self.engine.initiate(connection, here, there, time.monotonic())
                self._until(effects, IkeUp)
            total += cpu_ns(pid) - before
            for connection in self.connections:
                ike = self.engine.find(connection.name)
                assert ike is not None
                self._until(self.engine.terminate(ike, time.monotonic()), IkeDown)
        return total / count / 1e6

    def _until(self, effects: list[Effect], wanted: type[IkeUp | IkeDown]) -> None:
        end = time.monotonic() + _PATIENCE_S
        while not self._carry(effects, wanted):
            ready = select.select(list(self.sockets), [], [], 0.2)[0]
            effects = [] if ready else self.engine.handle_timer(time.monotonic())
            for one in ready:
                for got in one.receive():
                    marked = got.local.port == self.sockets.nat_port
                    data = MARKER + got.data if marked else got.data
                    local = Endpoint(got.local.address, got.local.port)
                    remote = Endpoint(got.remote.address, got.remote.port)
                    effects += self.engine.receive(data, local, remote, time.monotonic())
            if time.monotonic() > end:
                raise RuntimeError(f"no {wanted.__name__} within {_PATIENCE_S:.0f} s")

    def _carry(self, effects: list[Effect], wanted: type[IkeUp | IkeDown]) -> bool:
        done = False
        for effect in effects:
            done = done or isinstance(effect, wanted)
            match effect:
                case Send():
                    marked = effect.local.port == self.sockets.nat_port
                    data = effect.data[len(MARKER) :] if marked else effect.data
                    self.sockets.send(data, effect.local, effect.remote)
                case AddChild():
                    self.children["made"] += 1
                case ChildFailed():
                    self.children[f"refused ({effect.reason})"] += 1
                case IkeDown() if wanted is IkeUp:
                    raise RuntimeError(f"{effect.connection} at {effect.ike}: {effect.reason}")
        return done


def initiator() -> Initiator:
    """Return the load of both responders."""
    secret = Psk(SECRET.encode())
    proposals = (parse_proposal(IKE),)
    child = ChildConfig(
        "net",
        1,
        (TrafficSelector.from_network(NEAR),),
        (TrafficSelector.from_network(FAR),),
        (parse_proposal(ESP, ProtocolId.ESP),),
    )
    connections = tuple(
        Connection(
            f"peer-{number}",
            Identity.parse(identity(number)),
            Identity.parse(RESPONDER),
            secret,
            (secret,),
            proposals,
            (child,),
            movement=Movement.LOCAL,
            timings=Timings(rekey=0.0, liveness=0.0),
            unique=False,
        )
        for number in range(1, PEERS + 1)
    )
    return Initiator(connections, Engine(EngineConfig(proposals), NoDirectory()), IkeSockets())


def cpu_ns(pid: int) -> int:
    """Return the CPU time of a process once it rests, threads that have ended included."""
    clock = ~pid << 3 | 2  # CPUCLOCK_SCHED of the whole process
    seen = -1
    while (now := time.clock_gettime_ns(clock)) != seen:
        seen = now
        time.sleep(_REST_S)
    return now


def _start_ours(net: Unshared) -> subprocess.Popen[bytes]:
    socket, file = net.directory / "dsmipd.sock", net.directory / "dsmipd.toml"
    file.write_text(_OURS.format(socket=socket) + for_peers(_OURS_PEER))
    command = [sys.executable, "-m", "dsmip.service", "--role", "ike", "--config", str(file)]
    process = net.start("dsmipd", command, log="dsmipd.log")

    def there() -> bool:
        if process.poll() is not None:
            sys.exit(f"dsmipd has ended:\n{(net.directory / 'dsmipd.log').read_text()}")
        with contextlib.suppress(ClientError), Client(str(socket)) as client:
            return bool(client.ask("ike.status"))
        return False

    wait_for(there, 60, "dsmipd")
    return process


def _start_theirs(net: Unshared) -> tuple[subprocess.Popen[bytes], str]:
    charon = Charon(
        cast(Topology, net),
        "charon",
        settings="dos_protection = no",
        levels=_SILENT,
        plugins=PLUGINS,
    ).start()
    charon.load(for_peers(_THEIRS_PEER))
    assert charon.process is not None
    return charon.process, str(charon.ask("version")["version"])


def measure(count: int, rounds: int) -> str:
    """Run both; return the table."""
    with ExitStack() as ending:
        net = Unshared(Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))))
        ending.callback(net.close)
        ours = _start_ours(net)
        theirs, version = _start_theirs(net)
        load = initiator()
        figures: dict[str, list[float]] = {"dsmipd": [], "charon": []}
        answers: dict[str, Counter[str]] = {}
        for turn in range(rounds + 1):
            for name, process in (("dsmipd", ours), ("charon", theirs)):
                load.children = answers.setdefault(name, Counter())
                if turn:
                    figures[name].append(load.handshakes(name, process.pid, count))
                else:
                    load.handshakes(name, process.pid, PEERS)
                    load.children.clear()
        return table.handshakes(figures, count, {"charon": f"charon {version}"}, answers)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--handshakes", type=int, default=300, help="in a round")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if not chosen.inside:
        command = [sys.executable, "-m", "tests.bench.ike", "--inside", *sys.argv[1:]]
        os.execvp("unshare", ["unshare", "-n", *command])
    print(f"== IKEv2 responders, {IKE}, PSK, one child", flush=True)
    if chosen.handshakes < PEERS or chosen.handshakes % PEERS:
        options.error(f"--handshakes is a multiple of {PEERS}")
    print(measure(chosen.handshakes, chosen.rounds))


if __name__ == "__main__":
    main()
