# SPDX-License-Identifier: GPL-2.0-only
"""The list of requirements, the markers that prove them, and the document made of both."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import conformance
from tests.conformance import BadMarker

LIST = """
[rfc6275]
title = "Mobility"
M-001 = { section = "9.2", level = "MUST", actor = "all", text = "one" }
M-002 = { section = "9.2", level = "SHOULD", actor = "all", text = "two" }
M-003 = { section = "1", level = "must not", actor = "HA", text = "3", reason = "not done: why" }
"""
WHOLE = """
import pytest
pytestmark = [pytest.mark.fuzz, pytest.mark.spec("M-002")]

@pytest.mark.parametrize("x", [1])
@pytest.mark.spec("M-001")
def test_one(x): pass

class TestTwo:
    @pytest.mark.spec("M-001", "M-003")
    def test_three(self): pass

def helper(): pass
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with a list and no test."""
    (tmp_path / "tests/unit").mkdir(parents=True)
    (tmp_path / "tests/requirements.toml").write_text(LIST)
    return tmp_path


def proven(tree: Path, source: str) -> dict[str, conformance.Row]:
    (tree / "tests/unit/test_it.py").write_text(source)
    return conformance.proven(tree, tree / "tests/requirements.toml")


# --- this tree --------------------------------------------------------------------------


def test_every_row_is_proven_or_has_a_reason() -> None:
    """And markers name rows that exist; python -m tests.conformance mends what it can."""
    assert conformance.complaints(conformance.proven()) == []


def test_the_document_is_up_to_date() -> None:
    """Else: python -m tests.conformance."""
    made = conformance.document(conformance.proven(), conformance.titles())
    assert conformance.DOCUMENT.read_text() == made


def test_no_row_of_the_tables_is_missing() -> None:
    """Where the tables are at hand: beside this tree, or at $DSMIP_SPEC."""
    tables = conformance.specification()
    missing = []
    if tables is not None:
        assert len(list(conformance.table_rows(tables))) > 250
        missing = conformance.complaints(conformance.proven(), tables)
    assert missing == []


def test_markers_are_those_that_pytest_sees(request: pytest.FixtureRequest) -> None:
    """The sources are read as pytest reads them: what was collected here is the same."""
    read = {marker.test: set(marker.ids) for marker in conformance.markers()}
    items = [item for item in request.session.items if "/lab/" not in item.nodeid]
    collected: dict[str, set[str]] = {}
    for item in items:
        ids = {one for mark in item.iter_markers("spec") for one in mark.args}
        collected.setdefault(item.nodeid.partition("[")[0], set()).update(ids)
    assert request.node.nodeid in collected
    for test, ids in collected.items():
        assert read.get(test, set()) == ids, test


def test_rows_are_written_plainly() -> None:
    for row in conformance.rows().values():
        assert conformance.ID.fullmatch(row.id)
        assert row.text
        assert not re.search(r"[^\x20-\x7e]", row.text + row.reason + row.note), row.id


# --- what is found ------------------------------------------------------------------------


def test_markers_of_functions_classes_and_modules(tree: Path) -> None:
    known = proven(tree, WHOLE)
    one, three = "tests/unit/test_it.py::test_one", "tests/unit/test_it.py::TestTwo::test_three"
    assert {row.id: row.tests for row in known.values()} == {
        "M-001": [one, three],
        "M-002": [one, three],
        "M-003": [three],
    }
    assert conformance.complaints(known) == [f"M-003 is proven by {three}: its reason must go"]


def test_a_row_without_test_or_reason_is_told(tree: Path) -> None:
    found = conformance.complaints(proven(tree, "def test_nothing(): pass\n"))
    assert found == ["M-001 says MUST and has neither a test nor a reason"]


def test_reasons_are_of_a_known_kind(tree: Path) -> None:
    known = proven(tree, WHOLE)
    known["M-001"].tests.clear()
    known["M-001"].reason = "no time"
    known["M-002"].tests.clear()
    known["M-002"].note = "half of it"
    found = conformance.complaints(known)
    assert [line[:5] for line in found] == ["M-001", "M-002", "M-003"]
    assert "starts with one of not done" in found[0]
    assert "has a note" in found[1]


def test_rows_missing_from_the_list_are_told(tree: Path) -> None:
    table = "| id | § | level |\n| M-001 | 1 | MUST | x |\n| M-077 | 2 | {} | y |\n"
    for name in ("mipv6", "nemo", "dsmip", "multihoming", "extras"):
        (tree / f"{name}.md").write_text("")
    known = proven(tree, WHOLE)
    known["M-003"].reason = ""
    for level, expected in (("SHOULD", []), ("SHOULD, MUST", ["M-077"]), ("REQUIRED", ["M-077"])):
        (tree / "mipv6.md").write_text(table.format(level))
        assert [line[:5] for line in conformance.complaints(known, tree)] == expected


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("@pytest.mark.spec('M-999')\ndef test_a(): pass\n", "test_a: M-999 is not in"),
        ("@pytest.mark.spec(ID)\ndef test_a(): pass\n", "test_a: ids are written out"),
        ("@pytest.mark.spec()\ndef test_a(): pass\n", "test_a: ids are written out"),
        ("@pytest.mark.spec('M-001')\ndef helper(): pass\n", "it.py:1: the marker is on no test"),
        ("x = [pytest.mark.spec('M-001')]\n", "it.py:1: the marker is on no test"),
    ],
)
def test_markers_that_prove_nothing(tree: Path, source: str, said: str) -> None:
    with pytest.raises(BadMarker, match=re.escape(said)):
        proven(tree, source)


# --- what is written ----------------------------------------------------------------------


def test_the_document(tree: Path) -> None:
    known = proven(tree, WHOLE.replace('"M-001", "M-003"', '"M-001"'))
    known["M-002"].note = "not | on Sundays"
    text = conformance.document(known, {"rfc6275": "Mobility"})
    assert "1 of 2 rows that say MUST are proven by tests. The others have a reason" in text
    assert "| not done | 1 |" in text
    assert (
        "| M-001 | 9.2 | MUST | all | one | unit/test_it: `test_one`, `TestTwo::test_three` |"
        in (text)
    )
    assert "`TestTwo::test_three` (not \\| on Sundays) |" in text
    assert "| M-003 | 1 | must not | HA | 3 | not done: why |" in text


def test_reasons_go_and_nothing_else() -> None:
    text = (
        'M-001 = { text = "a", reason = "not done: \\"x\\", y", note = "n" }\nM-002 = { x = 1 }\n'
    )
    shorter = conformance.without_reasons(text, ["M-001"])
    assert shorter == 'M-001 = { text = "a", note = "n" }\nM-002 = { x = 1 }\n'


def test_a_run_tells_what_it_has_shown(tree: Path) -> None:
    known = proven(tree, WHOLE)
    one, three = "tests/unit/test_it.py::test_one", "tests/unit/test_it.py::TestTwo::test_three"
    assert conformance.summary(known, {}) == [
        "conformance: 2 of 2 rows that say MUST are proven by tests, 0 of them in this run"
    ]
    ran = conformance.summary(known, {one: True, three: False, "other": True})
    assert ran[0].endswith("1 of them in this run")
    assert ran[1:] == ["conformance: not shown in this run, for their tests fail: ['M-003']"]
