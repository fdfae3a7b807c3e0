# SPDX-License-Identifier: GPL-2.0-only
"""What the shell scripts of the OpenWrt packages do, under busybox's ash.

Stand-ins, since Debian has none of these: ``rc.common`` and procd (each call is
written down), ``/lib/functions.sh`` (UCI by our own parser), jshn (written down),
netifd's ``netifd-proto.sh`` and its JSON (variables given), ``uci``. They are in
``_STAND_INS``; all else is the script itself and busybox.
"""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "package"
FILES = PACKAGE / "dsmip" / "files"


def _is_shell(path: Path) -> bool:
    first = path.read_bytes()[:30].split(b"\n")[0]
    return path.is_file() and first.startswith(b"#!/bin/sh")


SCRIPTS = sorted(path for path in PACKAGE.rglob("*") if path.is_file() and _is_shell(path))

_STAND_INS = r"""
said() { printf '%s\n' "$*" >>"$ROOT/said"; }
for name in procd_open_instance procd_close_instance procd_set_param procd_open_data \
    procd_close_data procd_send_signal procd_add_reload_trigger \
    procd_add_reload_interface_trigger json_add_object json_close_object json_add_array \
    json_close_array json_add_string proto_config_add_string proto_config_add_boolean \
    proto_config_add_int proto_notify_error proto_block_restart proto_setup_failed \
    add_protocol; do
    eval "$name() { said $name \"\$@\"; }"
done
procd_running() { [ -n "$RUNNING" ]; }
start() { said start; }
stop() { said stop; }
json_get_vars() { said json_get_vars "$@"; }
config_load() { . "$ROOT/config"; }
config_get() { eval "$1=\"\${CONFIG_$2_$3:-\$4}\""; }
config_get_bool() {
    config_get "$@"
    eval "case \"\$$1\" in 1|on|yes|true|enabled) $1=1;; *) $1=0;; esac"
}
config_foreach() {
    local section
    for section in $(eval "echo \$SECTIONS_$2"); do "$1" "$section"; done
}
"""


class Shell:
    """A scratch root and the words to run a script's functions in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "stand-ins").write_text(_STAND_INS)
        (root / "config").write_text("")
        (root / "bin").mkdir()

    def config(self, *sections: tuple[str, str, dict[str, str]]) -> None:
        """Give sections as kind, name and options."""
        lines, kinds = [], dict[str, list[str]]()
        for kind, name, options in sections:
            kinds.setdefault(kind, []).append(name)
            lines += [f"CONFIG_{name}_{option}='{value}'" for option, value in options.items()]
        lines += [f"SECTIONS_{kind}='{' '.join(names)}'" for kind, names in kinds.items()]
        (self.root / "config").write_text("\n".join(lines) + "\n")

    def program(self, name: str, text: str) -> None:
        """Put a program into the path."""
        file = self.root / "bin" / name
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)

    def run(self, script: Path, call: str, check: bool = True, **environment: str) -> list[str]:
        """Source a script and call something of it; return what was said."""
        text = script.read_text()
        for place in (
            "/tmp/luci-",
            "/var/run",
            "/etc/dsmip",
            "/etc/config",
            "/usr/sbin",
            "/etc/init.d",
        ):
            text = text.replace(place, f"{self.root}{place}")
        text = text.replace(". /lib/functions.sh", ":")
        (self.root / "said").write_text("")
        done = subprocess.run(
            ["busybox", "ash", "-c", f'. "$ROOT/stand-ins"\n{text}\n{call}\n'],
            capture_output=True,
            text=True,
            env=os.environ
            | {
                "ROOT": str(self.root),
                "RUNNING": "",
                "PATH": f"{self.root}/bin:{os.environ['PATH']}",
            }
            | environment,
        )
        assert not check or done.returncode == 0, done.stderr
        return (self.root / "said").read_text().splitlines()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


GLOBALS = ("globals", "globals", {"enabled": "1"})
ROUTER = ("mobile_router", "router", {"identity": "bus-17"})


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 7


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_and_ash_take_it(script: Path) -> None:
    # SC3043: "local" is in every shell of OpenWrt. SC1091: files of the router.
    # SC2317, SC2329: functions that procd, netifd and config_foreach call.
    options = ["-s", "dash", "-e", "SC1091,SC3043,SC2317,SC2329"]
    done = subprocess.run(["shellcheck", *options, str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    subprocess.run(["busybox", "ash", "-n", str(script)], check=True)


# --- the service -----------------------------------------------------------------------

INIT = FILES / "dsmip.init"


def test_luci_makes_its_menu_anew(shell: Shell) -> None:
    (shell.root / "tmp").mkdir()
    for name in ("luci-indexcache.1f.json", "other.json"):
        (shell.root / "tmp" / name).touch()
    shell.run(INIT, "start_service")
    assert [file.name for file in (shell.root / "tmp").iterdir()] == ["other.json"]


def test_nothing_starts_unless_it_is_enabled(shell: Shell) -> None:
    assert shell.run(INIT, "start_service") == []
    shell.config(("globals", "globals", {"enabled": "0"}), ROUTER)
    assert shell.run(INIT, "start_service") == []
    assert not (shell.root / "var/run/dsmip").exists()


def test_service(shell: Shell) -> None:
    shell.config(GLOBALS, ROUTER)
    said = shell.run(INIT, "start_service")
    assert said[0] == "procd_open_instance"
    assert said[-1] == "procd_close_instance"
    root = shell.root
    command = f"{root}/usr/sbin/dsmipd --config {root}/etc/config/dsmip --log-format plain"
    assert f"procd_set_param command {command}" in said
    for line in ("respawn 3600 5 0", "stdout 1", "stderr 1", "reload_signal HUP"):
        assert f"procd_set_param {line}" in said
    assert (root / "var/run/dsmip").stat().st_mode & 0o777 == 0o700
    assert (root / "etc/dsmip").stat().st_mode & 0o777 == 0o700


def rules(said: list[str]) -> list[tuple[str, str]]:
    """Return protocol and port or type of the firewall's entries."""
    data = said[said.index("procd_open_data") + 1 : said.index("procd_close_data")]
    assert (data[0], data[-1]) == ("json_add_array firewall", "json_close_array")
    found = []
    entry: dict[str, str] = {}
    for line in data[1:-1]:
        word, *rest = line.split(" ")
        if word == "json_add_string":
            entry[rest[0]] = rest[1]
        elif word == "json_close_object":
            assert (entry["type"], entry["src"], entry["target"]) == ("rule", "*", "ACCEPT")
            assert entry["name"].startswith("dsmip-")
            if entry["proto"] == "icmpv6":
                assert entry["family"] == "ipv6"
            found.append((entry["proto"], entry.get("dest_port") or entry.get("icmp_type") or ""))
            entry = {}
    return found


TUNNELS = [("50", ""), ("135", ""), ("41", ""), ("4", "")]


def test_ports_of_a_router(shell: Shell) -> None:
    shell.config(GLOBALS, ROUTER)
    assert rules(shell.run(INIT, "start_service")) == [("udp", "4191"), *TUNNELS]


def test_ports_of_an_agent_with_ikev2(shell: Shell) -> None:
    shell.config(
        ("globals", "globals", {"enabled": "1", "port": "5191"}),
        ("home_agent", "agent", {}),
        ("peer", "a", {}),
        ("peer", "b", {"keys": "ikev2"}),
    )
    assert rules(shell.run(INIT, "start_service")) == [
        ("udp", "5191"),
        *TUNNELS,
        ("udp", "500"),
        ("udp", "4500"),
        *(("icmpv6", str(kind)) for kind in range(144, 148)),
    ]


def test_reload_sends_a_signal_and_drops_nothing(shell: Shell) -> None:
    shell.config(GLOBALS, ROUTER)
    assert shell.run(INIT, "reload_service", RUNNING="1") == [
        "start",
        "procd_send_signal dsmip * HUP",
    ]
    # A signal to one that has just been started would end it.
    assert shell.run(INIT, "reload_service") == ["start"]
    shell.config(("globals", "globals", {"enabled": "0"}), ROUTER)
    assert shell.run(INIT, "reload_service", RUNNING="1") == ["start"]
    assert shell.run(INIT, "start_service") == []


def test_triggers(shell: Shell) -> None:
    uplinks = [("uplink", "a", {"interface": "wan"}), ("uplink", "b", {"interface": "wwan"})]
    shell.config(GLOBALS, ROUTER, *uplinks, ("uplink", "c", {}))
    assert shell.run(INIT, "service_triggers || true") == [
        "procd_add_reload_trigger dsmip network",
        "procd_add_reload_interface_trigger wan",
        "procd_add_reload_interface_trigger wwan",
    ]


# --- netifd's protocol -----------------------------------------------------------------

PROTO = FILES / "dsmip.proto.sh"


def proto(shell: Shell, call: str, **more: str) -> list[str]:
    shell.root.joinpath("usr/sbin").mkdir(parents=True, exist_ok=True)
    daemon = shell.root / "usr/sbin/dsmipd"
    daemon.write_text("")
    daemon.chmod(0o755)
    return shell.run(PROTO, call, INCLUDE_ONLY="1", **more)


def test_protocol_says_what_it_takes(shell: Shell) -> None:
    said = proto(
        shell,
        "proto_dsmip_init_config; said no_device=$no_device available=$available "
        "no_proto_task=$no_proto_task",
    )
    assert said == [
        "proto_config_add_boolean defaultroute",
        "proto_config_add_boolean delegate",
        "proto_config_add_int metric",
        "no_device=1 available=1 no_proto_task=1",
    ]


def test_setup_leaves_a_wish_and_teardown_takes_it(shell: Shell) -> None:
    given = "json_get_vars() { metric=20; delegate=0; }"
    assert proto(shell, f"{given}; proto_dsmip_setup mobile") == []
    wish = shell.root / "var/run/dsmip/netifd/mobile"
    assert wish.read_text() == "defaultroute 1\ndelegate 0\nmetric 20\n"
    assert [file.name for file in wish.parent.iterdir()] == ["mobile"]
    proto(shell, "proto_dsmip_teardown mobile")
    assert not wish.exists()
    proto(shell, "proto_dsmip_teardown mobile")


@pytest.mark.parametrize("metric", ["1 2", "x;reboot", "$(reboot)", "a\nb"])
def test_setup_refuses_odd_words(shell: Shell, metric: str) -> None:
    call = 'json_get_vars() { metric="$METRIC"; }; proto_dsmip_setup mobile || said failed'
    said = proto(shell, call, METRIC=metric)
    assert said == [
        "proto_notify_error mobile INVALID_OPTION",
        "proto_block_restart mobile",
        "failed",
    ]
    assert not (shell.root / "var/run/dsmip/netifd").exists()


def test_setup_without_room_is_told(shell: Shell) -> None:
    (shell.root / "var").write_text("a file where a folder should be")
    said = proto(shell, "proto_dsmip_setup mobile || said failed")
    assert said[-3:] == [
        "proto_notify_error mobile NO_SPACE",
        "proto_setup_failed mobile",
        "failed",
    ]


# --- hotplug and first boot ------------------------------------------------------------

HOTPLUG = FILES / "dsmip.hotplug"


@pytest.mark.parametrize(
    ("action", "interface", "device", "reloads"),
    [
        ("ifup", "wwan", "wwan1", True),
        ("ifupdate", "wwan", "wwan1", True),
        ("ifdown", "wwan", "wwan1", False),
        ("ifup", "lan", "br-lan", False),
        ("ifup", "wwan", "", False),
    ],
)
def test_hotplug(shell: Shell, action: str, interface: str, device: str, reloads: bool) -> None:
    shell.config(GLOBALS, ("uplink", "lte", {"interface": "wwan"}))
    run = shell.root / "var/run"
    run.mkdir(parents=True)
    init = shell.root / "etc/init.d/dsmip"
    init.parent.mkdir(parents=True)
    init.write_text('#!/bin/sh\necho "$1" >>"$ROOT/said"\n')
    init.chmod(0o755)
    event = {"ACTION": action, "INTERFACE": interface, "DEVICE": device}
    assert shell.run(HOTPLUG, "", **event) == []
    here = os.getcwd()
    os.chdir(run)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("dsmip.sock")
            assert shell.run(HOTPLUG, "", **event) == (["reload"] if reloads else [])
            # The same device again is no news.
            assert shell.run(HOTPLUG, "", **event) == []
    finally:
        os.chdir(here)


UCI = r"""
case "$*" in
"-q get "*) grep -q "^$3\$" "$ROOT/uci" ;;
"-q batch") tee -a "$ROOT/batch" | sed -n "s/.*set \([a-z_.0-9]*\)=.*/\1/p" >>"$ROOT/uci" ;;
*) exit 1 ;;
esac
"""


@pytest.mark.parametrize(
    ("script", "section"),
    [
        (FILES / "dsmip.defaults", "firewall.dsmip"),
        (PACKAGE / "dsmip-home-agent/files/home-agent.defaults", "dsmip.agent"),
    ],
)
def test_first_boot_is_idempotent(shell: Shell, script: Path, section: str) -> None:
    shell.program("uci", UCI)
    (shell.root / "uci").write_text("")
    config = shell.root / "etc/config"
    config.mkdir(parents=True)
    (config / "firewall").write_text("")
    for _ in range(2):
        shell.run(script, "")
        assert section in (shell.root / "uci").read_text().splitlines()
    assert (shell.root / "batch").read_text().count(f"set {section}=") == 1
