# SPDX-License-Identifier: GPL-2.0-only
"""Which requirements of the RFCs are proven, by which tests.

    python -m tests.conformance

takes the reasons of rows that are proven by now out of tests/requirements.toml and
writes docs/conformance.md. A test proves a row when it is marked with its id:
``@pytest.mark.spec("M-001")``, or its module is, by ``pytestmark``. The markers are
read from the sources, so those of scenarios count where no machine can run them.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_name("requirements.toml")
DOCUMENT = ROOT / "docs" / "conformance.md"
ROOMS = ("unit", "interop", "fuzz", "lab")
#: What a reason may start with, and how the document says it.
REASONS = {
    "not done": "not done",
    "not our actor": "asked only of nodes that dsmip is not",
    "kernel": "Linux does it by itself",
    "operator": "for the people who run it",
    "other": "done in another way",
}
ID = re.compile(r"[A-Z]-\d{3}")
_BINDING = re.compile(r"\b(must|required)\b", re.IGNORECASE)
_TABLE_ROW = re.compile(r"\| ([A-Z]-\d{3}) \|[^|]*\|([^|]*)\|")


@dataclass(slots=True)
class Row:
    """A requirement; ``level`` in the RFC's words, empty where it only describes."""

    rfc: str
    id: str
    section: str
    level: str
    actor: str
    text: str
    reason: str = ""
    note: str = ""
    tests: list[str] = field(default_factory=list)

    @property
    def binding(self) -> bool:
        """Tell whether it says MUST, for all of it or for a part."""
        return bool(_BINDING.search(self.level))


@dataclass(frozen=True, slots=True)
class Marker:
    """A test and the rows that it names."""

    test: str
    ids: tuple[str, ...]


class BadMarker(ValueError):
    """A marker that proves nothing: not on a test, or not of literal ids."""


# --- the list ---------------------------------------------------------------------


def rows(path: Path = LIST) -> dict[str, Row]:
    """Return the requirements by id, in the list's order.

    Raises ValueError for a row that is there twice.
    """
    found: dict[str, Row] = {}
    for rfc, table in tomllib.loads(path.read_text()).items():
        for key, values in table.items():
            if key == "title":
                continue
            if key in found:
                raise ValueError(f"{key} is there twice")
            found[key] = Row(rfc, key, **values)
    return found


def titles(path: Path = LIST) -> dict[str, str]:
    """Return the title of each RFC, by the name of its table."""
    return {rfc: table["title"] for rfc, table in tomllib.loads(path.read_text()).items()}


# --- the markers ------------------------------------------------------------------


def _ids(call: ast.Call, where: str) -> tuple[str, ...]:
    ids = tuple(a.value for a in call.args if isinstance(a, ast.Constant))
    if not ids or len(ids) != len(call.args) or call.keywords:
        raise BadMarker(f"{where}: ids are written out, one string each")
    return tuple(str(one) for one in ids)


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.spec":
            yield node


def _marked(tree: ast.Module, where: str) -> Iterator[Marker]:
    everywhere: tuple[str, ...] = ()
    attached = set()
    tests: list[tuple[str, list[ast.expr]]] = []
    for node in tree.body:
        names = [t.id for t in getattr(node, "targets", ()) if isinstance(t, ast.Name)]
        if isinstance(node, ast.Assign) and names == ["pytestmark"]:
            for call in _calls(node):
                attached.add(call)
                everywhere += _ids(call, where)
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            tests.append((node.name, node.decorator_list))
        elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            tests += [
                (f"{node.name}::{inner.name}", node.decorator_list + inner.decorator_list)
                for inner in node.body
                if isinstance(inner, ast.FunctionDef) and inner.name.startswith("test_")
            ]
    for name, decorators in tests:
        calls = [call for one in decorators for call in _calls(one)]
        attached.update(calls)
        ids = everywhere + tuple(one for call in calls for one in _ids(call, f"{where}::{name}"))
        if ids:
            yield Marker(f"{where}::{name}", tuple(dict.fromkeys(ids)))
    for call in _calls(tree):
        if call not in attached:
            raise BadMarker(f"{where}:{call.lineno}: the marker is on no test")


def markers(root: Path = ROOT) -> list[Marker]:
    """Return all markers below tests/, by file and then as written.

    Raises BadMarker.
    """
    found: list[Marker] = []
    for room in ROOMS:
        for path in sorted((root / "tests" / room).rglob("test_*.py")):
            text = path.read_text()
            if "pytest.mark.spec" in text:
                where = path.relative_to(root).as_posix()
                found += _marked(ast.parse(text, where), where)
    return found


def proven(root: Path = ROOT, path: Path = LIST) -> dict[str, Row]:
    """Return the requirements with the tests that name them.

    Raises BadMarker for one that names a row which the list does not have.
    """
    known = rows(path)
    for marker in markers(root):
        for one in marker.ids:
            if one not in known:
                raise BadMarker(f"{marker.test}: {one} is not in {path.name}")
            known[one].tests.append(marker.test)
    return known


# --- what is wrong ----------------------------------------------------------------


def complaints(known: dict[str, Row], specification: Path | None = None) -> list[str]:
    """Return what the list and the markers do not agree on, one sentence each.

    ``specification`` is a directory of requirement tables, none of whose rows that
    say MUST may be missing.
    """
    found = []
    for row in known.values():
        if row.tests and row.reason:
            found.append(f"{row.id} is proven by {row.tests[0]}: its reason must go")
        if row.binding and not row.tests and not row.reason:
            found.append(f"{row.id} says {row.level} and has neither a test nor a reason")
        if row.reason and row.reason.partition(":")[0] not in REASONS:
            found.append(f"{row.id}: a reason starts with one of {', '.join(REASONS)}")
        if row.note and not row.tests:
            found.append(f"{row.id} has a note, but no test that proves the rest")
    if specification is not None:
        for one, level in table_rows(specification):
            if _BINDING.search(level) and one not in known:
                found.append(f"{one} says {level} in the tables, and is not in the list")
    return found


def table_rows(specification: Path) -> Iterator[tuple[str, str]]:
    """Yield id and level of the rows of the tables that the list covers."""
    for name in ("mipv6", "nemo", "dsmip", "multihoming", "extras"):
        for line in (specification / f"{name}.md").read_text().splitlines():
            if match := _TABLE_ROW.match(line):
                yield match[1], match[2].strip()


def specification() -> Path | None:
    """Return where the tables are: $DSMIP_SPEC, or beside this tree; None without."""
    beside = ROOT.parent / "shared" / "spec"
    chosen = Path(os.environ["DSMIP_SPEC"]) if "DSMIP_SPEC" in os.environ else beside
    return chosen if chosen.is_dir() or "DSMIP_SPEC" in os.environ else None


# --- the document -----------------------------------------------------------------


def count(found: Iterable[Row]) -> str:
    """Return how many of the rows that say MUST are proven."""
    binding = [row for row in found if row.binding]
    done = sum(bool(row.tests) for row in binding)
    return f"{done} of {len(binding)} rows that say MUST are proven by tests"


def document(known: dict[str, Row], names: dict[str, str]) -> str:
    """Return docs/conformance.md."""
    everything = list(known.values())
    lines = [
        "# Conformance",
        "",
        "Written by `python -m tests.conformance` from `tests/requirements.toml` and the",
        "markers of the tests; not by hand.",
        "",
        f"{count(everything)}. The others have a reason:",
        "",
        "| reason | rows |",
        "|---|---|",
    ]
    for kind, meaning in REASONS.items():
        rest = [r for r in everything if r.binding and r.reason.startswith(f"{kind}:")]
        lines.append(f"| {meaning} | {len(rest)} |")
    lines += [
        "",
        "A row without a level describes, or recommends, and needs no proof. Actors: MN mobile",
        "node, MR mobile router, HA home agent, CN correspondent node, receiver HA or CN, K in",
        "the packet path, IKE, all. Tests are functions of files below `tests/`.",
    ]
    for rfc, title in names.items():
        own = [row for row in everything if row.rfc == rfc]
        lines += [
            "",
            f"## RFC {rfc.removeprefix('rfc')}: {title}",
            "",
            f"{count(own)}.",
            "",
            "| row | § | level | actor | meaning | proven by, or why not |",
            "|---|---|---|---|---|---|",
        ]
        lines += [_line(row) for row in own]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    cells = (row.id, row.section, row.level, row.actor, row.text, _proof(row))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _proof(row: Row) -> str:
    if not row.tests:
        return row.reason or "–"
    by_file: dict[str, list[str]] = {}
    for test in row.tests:
        file, _, name = test.partition("::")
        by_file.setdefault(file.removeprefix("tests/").removesuffix(".py"), []).append(name)
    shown = "; ".join(
        f"{file}: {', '.join(f'`{name}`' for name in names)}" for file, names in by_file.items()
    )
    return f"{shown} ({row.note})" if row.note else shown


# --- a run of tests ---------------------------------------------------------------


def summary(known: dict[str, Row], outcomes: dict[str, bool]) -> list[str]:
    """Return what a run of tests ends with.

    ``outcomes`` tells of each marked test that ran, without its parameters, whether
    all of it passed. A row whose every test that ran failed is named.
    """
    here = {
        row.id: any(outcomes[test] for test in row.tests if test in outcomes)
        for row in known.values()
        if any(test in outcomes for test in row.tests)
    }
    passed = sum(ok and known[one].binding for one, ok in here.items())
    lines = [f"conformance: {count(known.values())}, {passed} of them in this run"]
    failed = [one for one, ok in here.items() if not ok]
    if failed:
        lines.append(f"conformance: not shown in this run, for their tests fail: {failed}")
    return lines


# --- the command ------------------------------------------------------------------


def without_reasons(text: str, ids: Iterable[str]) -> str:
    """Return the list's text without the reasons of these rows."""
    for one in ids:
        line = re.search(rf"^{one} = .*$", text, re.MULTILINE)
        assert line is not None
        shorter = re.sub(r', reason = "(?:[^"\\]|\\.)*"', "", line[0])
        text = text[: line.start()] + shorter + text[line.end() :]
    return text


def main() -> None:
    known = proven()
    done = [row.id for row in known.values() if row.tests and row.reason]
    if done:
        LIST.write_text(without_reasons(LIST.read_text(), done))
        print(f"reasons that went: {', '.join(done)}")
        known = proven()
    DOCUMENT.write_text(document(known, titles()))
    wrong = complaints(known, specification())
    print(count(known.values()), *wrong, sep="\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
