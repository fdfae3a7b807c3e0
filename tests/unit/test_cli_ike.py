# SPDX-License-Identifier: GPL-2.0-only
"""``dsmip ike``: what is asked of the daemon, and its answers on 80 columns."""

from __future__ import annotations

import argparse
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest
from dsmip import cli
from dsmip.ikev2.config import Assignment, Mode
from dsmip.ikev2.effects import ChildView, Endpoint, Ends, IkeView
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.numbers import ProtocolId
from dsmip.ikev2.selectors import TrafficSelector
from dsmip.service import command_ike, render_ike
from dsmip.service.ike_control import view_document
from dsmip.service.render import WIDTH
from hypothesis import given
from hypothesis import strategies as st

LONG = IPv6Address("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff")
NETWORK = IPv6Network("2001:db8:ffff:ffff:ffff:ffff:ffff:ff00/120")


def child(**more: Any) -> ChildView:
    values: dict[str, Any] = {
        "id": 8,
        "name": "signalling",
        "reqid": 0x5D89A018,
        "state": "installed",
        "mode": Mode.TRANSPORT,
        "protocol": ProtocolId.ESP,
        "spi_in": 0xC0FFEE01,
        "spi_out": 0x10203,
        "suite": "aes256gcm16-noesn",
        "local": (TrafficSelector.from_network(NETWORK, 135),),
        "remote": (TrafficSelector.from_network(NETWORK, 135),),
        "ends": Ends(LONG, LONG, (4500, 40123)),
        "age": 12.0,
        "rekey_in": 3300.0,
    }
    return ChildView(**(values | more))


def ike(**more: Any) -> IkeView:
    values: dict[str, Any] = {
        "id": 7,
        "connection": "bus-17",
        "state": "established",
        "initiator": True,
        "spi_i": bytes(range(8)),
        "spi_r": bytes(range(8, 16)),
        "local_identity": Identity.parse("bus-17.example.net"),
        "peer": Identity.parse("ha.example.net"),
        "local": Endpoint(LONG, 4500),
        "remote": Endpoint(LONG, 4500),
        "nat_local": True,
        "nat_remote": False,
        "suite": "aes256gcm16-prfsha384-x25519-ke1_mlkem768",
        "ppk": True,
        "age": 90_000.0,
        "silent_for": 3.0,
        "rekey_in": 14_000.0,
        "reauthenticate_in": 80_000.0,
        "assignment": Assignment(addresses6=((LONG, 64),)),
        "children": (child(),),
    }
    return IkeView(**(values | more))


CARRIED = {8: {"rx_packets": 1200, "rx_bytes": 98_000, "tx_packets": 7, "tx_bytes": 700}}


def status(*views: IkeView, **counters: int) -> dict[str, Any]:
    return {"connections": [view_document(view, CARRIED) for view in views], "counters": counters}


def fits(lines: list[str]) -> str:
    assert max(map(len, lines)) <= WIDTH, "\n".join(lines)
    return "\n".join(lines)


# --- rendering -------------------------------------------------------------------


def test_everything_is_shown() -> None:
    text = " ".join(fits(render_ike.status(status(ike(), ike_up=3, nothing=0))).split())
    for part in (
        "bus-17 #7: established, 1 d 01 h old, we began",
        "bus-17.example.net at",
        "ha.example.net at",
        f"{LONG} port 4500",
        "NAT here",
        "aes256gcm16-prfsha384-x25519-ke1_mlkem768 with PPK",
        "in 3 h 53 min",
        "3 s ago",
        f"{LONG}/64",
        "0001020304050607 of the initiator, 08090a0b0c0d0e0f",
        "signalling #8: installed, 12 s old, ESP transport",
        f"c0ffee01 in, 00010203 out, reqid {0x5D89A018}",
        "in UDP 4500 to 40123",
        f"{NETWORK}[135]",
        "in 55 min 00 s",
        "1200 packets in (",
        "7 out (",
        "ike_up 3",
    ):
        assert part in text
    assert "nothing" not in text


def test_an_attempt_is_shown() -> None:
    early = ike(
        state="half-open",
        peer=None,
        initiator=False,
        rekey_in=None,
        reauthenticate_in=None,
        nat_local=False,
        assignment=None,
        children=(),
        ppk=False,
    )
    text = fits(render_ike.status(status(early)))
    assert "the other end began" in text
    assert "not known yet" in text
    assert "rekey" not in text
    assert fits(render_ike.status(status())) == "No IKE SAs."


def test_traffic_where_the_daemon_tells_it() -> None:
    document = status(ike())
    document["connections"][0]["children"][0]["traffic"] = {
        "rx_packets": 3,
        "rx_bytes": 4096,
        "tx_packets": 4,
        "tx_bytes": 10,
    }
    assert "3 packets in (4.0 KiB), 4 out (10 B)" in fits(render_ike.status(document))


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=255))
def test_long_names_fit(name: str) -> None:
    view = ike(
        connection=name,
        local_identity=Identity.parse(f"keyid:{name}"),
        children=(child(name=name),),
    )
    fits(render_ike.status(status(view, **{name: 1})))
    for action in ("initiate", "rekey", "terminate"):
        fits(render_ike.done(action, {"connection": name, "child": name, "id": None}))


def test_many_selectors_go_on_in_next_lines() -> None:
    networks = NETWORK.subnets(new_prefix=124)
    many = tuple(TrafficSelector.from_network(network) for network in networks)
    text = fits(render_ike.status(status(ike(children=(child(local=many),)))))
    for selector in many:
        assert str(selector) in text


def test_one_line() -> None:
    _, line = render_ike.summary(status(ike(), ike(state="half-open", children=())))
    assert line == "IKEv2           1 IKE SA with 1 child SA, 1 being made or ended"
    assert render_ike.summary(None) == []


# --- asking ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["status"], {}),
        (["status", "bus"], {"connection": "bus"}),
        (["initiate", "bus-17"], {"connection": "bus-17"}),
        (["initiate", "bus-17", "--child", "x"], {"connection": "bus-17", "child": "x"}),
        (["rekey", "#7"], {"id": 7}),
        (["terminate", "7"], {"id": 7}),
        (["rekey", "bus-17"], {"connection": "bus-17"}),
        (["rekey", "17", "--child", "x"], {"connection": "17", "child": "x"}),
    ],
)
def test_requests(words: list[str], asked: dict[str, Any]) -> None:
    parser = argparse.ArgumentParser()
    command_ike.arguments(parser)
    assert command_ike.request(parser.parse_args(words)) == asked


@contextmanager
def daemon(path: Path, answer: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """Answer one request on a control socket; yields what was asked."""
    asked: list[dict[str, Any]] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            client, _ = server.accept()
            with client, client.makefile("rwb") as file:
                asked.append(json.loads(file.readline()))
                file.write(json.dumps(answer).encode() + b"\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        thread.join(10)


def test_status_from_a_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = {"ok": True, "result": status(ike())}
    for number, json_words in enumerate(([], ["--json"])):
        path = tmp_path / str(number)
        with daemon(path, answer) as asked:
            words = ["--socket", str(path), "ike", "status", "bus", *json_words]
            assert cli.main(words) == 0
        assert asked == [{"command": "ike.status", "connection": "bus"}]
        out = capsys.readouterr().out
        if json_words:
            assert json.loads(out) == answer["result"]
        else:
            assert out.startswith("bus-17 #7: established")


def test_refusals_from_a_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s"
    with daemon(path, {"ok": False, "error": "nothing has the number 9"}):
        assert cli.main(["--socket", str(path), "ike", "rekey", "#9"]) == 1
    assert capsys.readouterr().err == "dsmip: nothing has the number 9\n"
    assert cli.main(["--socket", str(tmp_path / "none"), "ike", "status"]) == 1
    assert "is not running" in capsys.readouterr().err


def test_actions_from_a_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s"
    answer = {"connection": None, "child": None, "id": 7}
    with daemon(path, {"ok": True, "result": answer}) as asked:
        assert cli.main(["--socket", str(path), "ike", "terminate", "#7"]) == 0
    assert asked == [{"command": "ike.terminate", "id": 7}]
    assert capsys.readouterr().out == "#7: being deleted\n"


def test_an_action_is_needed() -> None:
    with pytest.raises(SystemExit):
        cli.main(["ike"])
