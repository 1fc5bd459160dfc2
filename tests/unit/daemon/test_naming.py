"""Where datasets go, and who keeps a name."""

from pathlib import Path

import pytest

from stackwatch.daemon.naming import (
    changed_after_publishing,
    count_published,
    ensure_unclaimed,
    plan_target,
)
from stackwatch.errors import Disposition, TargetExistsError
from stackwatch.ledger.records import DatasetRecord
from stackwatch.model.job import DatasetState, JobId
from stackwatch.settings import FolderSettings, Settings


def make_folder(name: str = "em", **options) -> FolderSettings:
    """Return a folder's settings."""
    return FolderSettings(name=name, path=Path("/drop") / name, target=Path("/data"), **options)


@pytest.mark.parametrize(
    ("published", "expected"), [(0, "run_1"), (1, "run_1-r2"), (2, "run_1-r3")]
)
def test_later_generations_get_a_number(published, expected):
    """Only what was published before counts."""
    assert Path("/data") / expected == plan_target(make_folder(), "run 1", published)


@pytest.mark.parametrize("on_change", ["replace", "park"])
def test_a_replacement_keeps_the_name(on_change):
    """Without versions there is one name."""
    assert Path("/data/run_1") == plan_target(make_folder(on_change=on_change), "run_1", 3)


def test_the_older_acquisition_keeps_the_name():
    """Names that differ only in what is replaced meet, in any folder with the same target."""
    folder, other = make_folder("em"), make_folder("lm")
    settings = Settings(folder=(folder, other))

    ensure_unclaimed(settings, folder, "run 1", [("em", "run_2"), ("gone", "run_1")])
    for older in [("em", "run_1"), ("lm", "run#1")]:
        with pytest.raises(TargetExistsError, match="would both become") as caught:
            ensure_unclaimed(settings, folder, "run 1", [older])
        assert Disposition.PARK is caught.value.disposition


def test_a_change_that_asks_for_a_person_names_the_setting():
    """The message says what to set."""
    error = changed_after_publishing(make_folder(on_change="park"), "run_1")

    assert 'on_change = "version"' in error.hint


def test_only_what_was_published_under_the_name_is_counted():
    """A sidecar may give an acquisition another name: then its numbers begin anew."""

    def published(generation: int, name: str) -> DatasetRecord:
        return DatasetRecord(
            1, JobId(1), "em", "run", generation, DatasetState.SUPERSEDED, name,
            Path("/data", name), Path("/x"), "r", "d", 0, 0, 0, None, None,
        )  # fmt: skip

    folder = make_folder()
    older = [published(1, "run"), published(2, "cortex"), published(3, "cortex-r2")]
    several = [published(1, "cortex_A"), published(1, "cortex_B"), published(2, "cortex-r2_A")]

    assert (1, 2, 0) == tuple(
        count_published(folder, name, older) for name in ("run", "cortex", "x")
    )
    assert 2 == count_published(folder, "cortex", several)
    assert Path("/data/cortex-r3") == plan_target(folder, "cortex", 2)
