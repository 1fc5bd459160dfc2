"""docs/json.md and docs/operations.md name what the program says."""

import re
from pathlib import Path

import pytest

from stackwatch.cli.answers import error_record
from stackwatch.errors import UsageError
from stackwatch.ledger.explaining import WATCH_KEYS
from stackwatch.logs import Event
from stackwatch.model.facts import VetoKind
from stackwatch.model.geometry import MAG_1, BoundingBox, VoxelSize
from stackwatch.model.result import ConvertResult, DatasetResult, LayerResult
from stackwatch.model.voxels import Category, VoxelType

from .conftest import History

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "json.md").read_text(encoding="utf-8")


def named(text: str) -> set[str]:
    """Return every word in code marks."""
    return set(re.findall(r"`([\w.\[\]]+)`", text))


def section(heading: str) -> str:
    """Return a section of the page."""
    start = PAGE.index(f"## {heading}\n")
    end = PAGE.find("\n## ", start + 1)
    return PAGE[start : end if end >= 0 else len(PAGE)]


@pytest.mark.parametrize(
    ("heading", "arguments"),
    [
        ("`status`", ["status"]),
        ("`jobs list`", ["jobs", "list"]),
        ("`jobs show`", ["jobs", "show", "1"]),
        ("`jobs explain`", ["jobs", "explain", "run_2"]),
        ("`jobs retry`", ["jobs", "retry", "2"]),
        ("`jobs accept`", ["jobs", "accept", "run_9"]),
        ("`jobs forget`", ["jobs", "forget", "run_2"]),
        (
            "`ledger check`, `ledger backup`, `ledger restore`, `ledger rebuild`",
            ["ledger", "check"],
        ),
        (
            "`ledger check`, `ledger backup`, `ledger restore`, `ledger rebuild`",
            ["ledger", "backup"],
        ),
        (
            "`ledger check`, `ledger backup`, `ledger restore`, `ledger rebuild`",
            ["ledger", "rebuild"],
        ),
        ("`logs`", ["logs", "--job", "1", "--source", "ledger"]),
        ("`config check`", ["config", "check"]),
        ("`config show`", ["config", "show"]),
        ("`deliveries list`", ["deliveries", "list"]),
    ],
)
def test_every_key_of_an_answer_is_explained(history: History, heading: str, arguments: list[str]):
    """Each key that a command answers stands in its section."""
    assert set(history.answer(*arguments)) <= named(section(heading)) | {"status"}


def test_every_key_of_a_job_is_explained(history: History):
    """Each key of a job, a folder and an acquisition is explained once."""
    status = history.answer("status")
    (folder,) = status["folders"]

    assert set(history.answer("jobs", "list")["jobs"][0]) <= named(section("`jobs list`"))
    assert set(folder) | set(status["daemon"]) <= named(section("`status`"))
    assert set(status["parked"][0]) <= named(section("`jobs explain`")) | {"job_id"}


def test_every_key_of_a_wait_is_explained():
    """What a running daemon tells of an acquisition that waits is explained, with every veto."""
    page = named(section("`jobs explain`"))

    assert set(WATCH_KEYS) <= page
    assert set(VetoKind) <= page


def test_every_key_of_a_result_is_explained():
    """Each key of a conversion's result, its datasets and layers is explained."""
    layer = LayerResult(
        "a", Category.COLOR, VoxelType("uint8"), BoundingBox.of_size(1, 1, 1), (MAG_1,)
    )
    dataset = DatasetResult("a", Path("/a"), (layer,), VoxelSize(1, 1, 1), ("x", "x", "x"), 1)
    record = ConvertResult((dataset,), "single", "", 1, 1, 1.0, 1.0).as_record()
    keys = {*record, *record["datasets"][0], *record["datasets"][0]["layers"][0]}

    assert keys <= named(section("`convert`"))
    assert set(error_record(UsageError("x"))) <= named(section("Errors"))


def test_every_event_in_the_table_exists():
    """The page for operators names no event that is never written."""
    page = (DOCS / "operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z]+\.[a-z]+)` \|", page, re.MULTILINE)

    assert rows
    assert set(rows) <= set(Event)
