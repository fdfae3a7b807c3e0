# SPDX-License-Identifier: GPL-2.0-only
"""Who may import whom, and what engines may not do at all."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOUSE = ROOT / "pylib" / "dsmip"
ROOMS: dict[str, set[str]] = {
    "packet": set(),
    "mobility": {"packet"},
    "ikev2": set(),
    "ipsec": set(),
    "linux": {"packet", "ipsec"},
    "service": {"packet", "mobility", "ikev2", "ipsec", "linux"},
}
SANS_IO = ("mobility", "ikev2", "ipsec", "packet")
IO_MODULES = {
    "asyncio",
    "os",
    "pyroute2",
    "select",
    "selectors",
    "signal",
    "socket",
    "subprocess",
    "threading",
    "time",
}
MODULES = sorted(HOUSE.rglob("*.py"))


def room_of(path: Path) -> str | None:
    parts = path.relative_to(HOUSE).parts
    return parts[0] if len(parts) > 1 else None


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield (dotted name, is ours); ours without the leading ``dsmip.``."""
    package = list(path.relative_to(HOUSE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                ours = alias.name.split(".")[0] == "dsmip"
                yield (alias.name.removeprefix("dsmip.") if ours else alias.name), ours
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                base = package[: len(package) - node.level + 1]
                names = [module] if module else [alias.name for alias in node.names]
                for name in names:
                    yield ".".join([*base, name]), True
            elif module == "dsmip" or module.startswith("dsmip."):
                inner = module.removeprefix("dsmip").lstrip(".")
                for name in [inner] if inner else [alias.name for alias in node.names]:
                    yield name, True
            else:
                yield module, False


def test_every_file_has_a_room() -> None:
    assert MODULES
    for path in MODULES:
        room = room_of(path)
        assert room in ROOMS or path.name in {"__init__.py", "cli.py"}, path


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_imports_follow_the_house(path: Path) -> None:
    room = room_of(path)
    allowed = ROOMS[room] | {room} if room else {"service"}
    for name, ours in imports(path):
        target = name.split(".")[0]
        if ours and target in ROOMS:
            assert target in allowed, f"{path.name} imports {name}"
        assert ours or name.split(".")[0] != "scapy", f"{path.name} imports scapy"


@pytest.mark.parametrize(
    "path", [p for p in MODULES if room_of(p) in SANS_IO], ids=lambda p: str(p.relative_to(HOUSE))
)
def test_engines_do_no_io(path: Path) -> None:
    used = {name.split(".")[0] for name, ours in imports(path) if not ours}
    assert not used & IO_MODULES, f"{path.name} uses {used & IO_MODULES}"


@pytest.mark.parametrize("suffix", [".py", ".c", ".h"])
def test_files_stay_readable_in_one_sitting(suffix: str) -> None:
    for top in ("pylib", "kmod", "tests"):
        for path in (ROOT / top).rglob(f"*{suffix}"):
            if path.name.endswith(".mod.c"):
                continue
            with path.open() as lines:
                assert sum(1 for _ in lines) <= 700, path


def test_every_source_names_its_licence() -> None:
    kinds = {".py", ".c", ".h", ".sh", ".js", ".mjs", ".css"}
    for top in ("pylib", "kmod", "tests", "luci-app"):
        for path in (ROOT / top).rglob("*"):
            if "node_modules" in path.parts or path.name.endswith(".mod.c"):
                continue
            if path.suffix in kinds:
                assert "SPDX-License-Identifier" in path.read_text()[:200], path
