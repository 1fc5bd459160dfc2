"""docs/faults.md and the tests agree: each fault has its proof, or the reason why it has none."""

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/faults.md"
FAULTS = {"E": 15, "L": 25, "D": 14, "C": 31}
IDS = [f"{letter}{number}" for letter, last in FAULTS.items() for number in range(1, last + 1)]
REASONS = ("Not tested: ", "Not ours: ")
ROW = re.compile(
    r"^\| (?P<id>[ELDC]\d+) \| (?P<fault>[^|]+) \| (?P<does>[^|]+) \| (?P<proof>[^|]+) \|$"
)
CLAIM = re.compile(r"(?P<ids>[ELDCI]\d+(?:, [ELDCI]\d+)*): ")
NAMED = re.compile(r"`(?P<file>[\w/.]+\.py)::(?P<test>test_\w+)`")


@cache
def rows() -> dict[str, re.Match[str]]:
    """Return the page's rows by id; a second row of an id would be lost, see the first test."""
    found = [match for line in PAGE.read_text().splitlines() if (match := ROW.match(line))]
    return {match["id"]: match for match in found}


@cache
def claims() -> dict[str, set[str]]:
    """Return the tests whose docstring begins with an id, as `file::function`, by id."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                match = CLAIM.match(ast.get_docstring(node) or "")
                for name in match["ids"].split(", ") if match else ():
                    found[name].add(f"{path.relative_to(ROOT / 'tests').as_posix()}::{node.name}")
    return dict(found)


def test_every_fault_stands_on_the_page_once_and_in_order() -> None:
    """The page has the rows of all faults, and no other."""
    listed = re.findall(r"^\| ([ELDC]\d+) \|", PAGE.read_text(), re.MULTILINE)

    assert IDS == listed
    assert IDS == list(rows())


@pytest.mark.parametrize("name", IDS)
def test_a_row_names_its_proof_or_the_reason_for_none(name: str) -> None:
    """Each named test is there and claims the id; who names none says why."""
    proof = rows()[name]["proof"]
    named = {f"{match['file']}::{match['test']}" for match in NAMED.finditer(proof)}
    if not named:
        assert proof.startswith(REASONS), proof
        assert len(proof) > len(REASONS[0]) + 20, "no reason"

    assert set() == named - claims().get(name, set())


def test_ids_in_the_tests_are_faults_or_invariants() -> None:
    """No test claims an id that does not exist, or that the page says nobody tests."""
    known = {*IDS, *(f"I{number}" for number in range(1, 8))}
    unproven = {name for name, row in rows().items() if row["proof"].startswith(REASONS)}

    assert set() == set(claims()) - known
    assert set() == set(claims()) & unproven


def test_every_invariant_is_claimed_by_a_test() -> None:
    """I1 to I7 stand on the page, and each is somebody's claim."""
    text = PAGE.read_text()

    for name in (f"I{number}" for number in range(1, 8)):
        assert f"**{name}**" in text
        assert claims().get(name), name
