"""When `run --once` has nothing left to wait for."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stackwatch.daemon.drain import SURE_S, Drain, Pending, Survey
from stackwatch.daemon.folders import WatchedFolder
from stackwatch.daemon.history import History
from stackwatch.errors import (
    CorruptSliceError,
    ExitCode,
    MissingSlicesError,
    OutOfSpaceError,
    StackwatchError,
)
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.records import NewDataset
from stackwatch.model.facts import AcquisitionKind, Sighting, Veto, VetoKind
from stackwatch.model.job import NewJob
from stackwatch.settings import FolderSettings
from stackwatch.watch.settle import Phase, SettleState

NOW = 1_700_000_000.0


class Standing:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at = 0.0

    def monotonic(self) -> float:
        """Return the seconds since the beginning."""
        return self.at

    def now(self) -> float:
        """Return the time of day."""
        return NOW + self.at


def folder_with(states: dict[str, SettleState], **view: Any) -> WatchedFolder:
    """Return a folder that was looked through, with these acquisitions."""
    folder = WatchedFolder(
        FolderSettings(name="em", path=Path("/drop"), target=Path("/out"), quiet_gap_s=10)
    )
    folder.view = replace(folder.view, states=states, full_scan_s=0.0, scanned_s=0.0, **view)
    return folder


def arriving(mark: str = "a", vetoes: Any = ()) -> SettleState:
    """Return the state of an acquisition that settles."""
    return SettleState(Phase.SETTLING, mark, 0.0, 0.0, None, vetoes)


@pytest.fixture
def ledger(tmp_path: Path):
    """Return a ledger that knows the folder, and its reader."""
    with Ledger.open(tmp_path, Standing()) as ledger:
        ledger.folders.upsert("em", Path("/drop"), Path("/out"))
        history = History.open(tmp_path)
        yield SimpleNamespace(ledger=ledger, history=history)
        history.close()


def end_job(book: Any, key: str, error: StackwatchError | None, not_before_s: float = 0) -> None:
    """Give an acquisition a job that ended so."""
    sighting = Sighting(key, key, AcquisitionKind.FOLDER, key, (), 1, 1, 0, "mark", "size")
    book.ledger.folders.record_settling("em", sighting)
    book.ledger.jobs.queue(NewJob("em", key, 1, "mark", 1, 1, "size"))
    job = book.ledger.jobs.claim()
    if error is None:
        place = Path("/out") / key
        book.ledger.datasets.record_publishing(job.job_id, NewDataset(place, place, key, "d", 1))
        book.ledger.datasets.record_published(key, place)
        book.ledger.jobs.succeed(job.job_id, {"datasets": []})
    elif not_before_s:
        book.ledger.jobs.wait(job.job_id, error, round((NOW + not_before_s) * 1e6))
    else:
        book.ledger.jobs.park(job.job_id, error)


def names(pending: tuple[Pending, ...]) -> list[str]:
    """Return which acquisitions, or folders, are meant."""
    return [one.acquisition or one.folder for one in pending]


def test_a_folder_is_looked_through_first():
    """Nothing is over before the first scan of everything."""
    folder = folder_with({})
    folder.view = replace(folder.view, full_scan_s=None)

    assert ["em"] == names(Drain().survey_folders([folder], 0.0).awaited)


def test_a_folder_that_is_away_is_left():
    """A share that is away is not waited for, and nothing in it."""
    survey = Drain().survey_folders([folder_with({"a": arriving()}, unavailable="no mount")], 0.0)

    assert ([], ["em"]) == (names(survey.awaited), names(survey.left))
    assert "no mount" in survey.left[0].reason


def test_what_settles_is_waited_for_and_what_goes_on_changing_is_left_after_three_gaps():
    """Three quiet gaps of patience, or as long as is asked for."""
    drain, asked = Drain(), Drain(5)
    changing = [folder_with({"a": arriving(str(number))}) for number in range(2)]
    for one in (drain, asked):
        one.survey_folders(changing[:1], 0.0)

    assert ["a"] == names(drain.survey_folders(changing[:1], 29.0).awaited)
    assert ["a"] == names(drain.survey_folders(changing[1:], 30.0).left)
    assert ["a"] == names(asked.survey_folders(changing[:1], 4.9).awaited)
    assert ["a"] == names(asked.survey_folders(changing[1:], 5.0).left)


def test_patience_counts_from_the_first_look_and_has_a_floor():
    """A folder that takes long to look through, or has a tiny gap, is not given up at once."""
    drain = Drain()
    folder = folder_with({"a": arriving()})
    folder.settings = folder.settings.model_copy(update={"quiet_gap_s": 0.1})

    assert ["a"] == names(drain.survey_folders([folder], 100.0).awaited)
    assert ["a"] == names(drain.survey_folders([folder], 109.0).awaited)
    assert ["a"] == names(drain.survey_folders([folder], 110.0).left)


def test_what_is_held_back_is_left_with_the_reason_once_it_lies_still():
    """A missing marker is not waited for longer than one quiet gap without a change."""
    drain = Drain()
    veto = Veto(VetoKind.MARKER, "marker `*.done` is not there")
    folder = folder_with({"a": arriving(vetoes=(veto,))})

    assert ["a"] == names(drain.survey_folders([folder], 0.0).awaited)
    assert ["a"] == names(drain.survey_folders([folder], 9.0).awaited)
    survey = drain.survey_folders([folder], 10.0)
    assert ["a"] == names(survey.left)
    assert "marker `*.done` is not there" in survey.left[0].reason


def test_what_may_be_meant_so_is_waited_for_until_it_is_taken_for_granted():
    """An empty file lapses after ten gaps: a run that left it earlier would leave it for ever."""
    drain = Drain()
    folder = folder_with({"a": arriving(vetoes=(Veto(VetoKind.EMPTY_FILE, "empty"),))})

    assert ["a"] == names(drain.survey_folders([folder], 0.0).awaited)
    assert ["a"] == names(drain.survey_folders([folder], 109.0).awaited)
    assert ["a"] == names(drain.survey_folders([folder], 110.0).left)


def test_what_lies_still_is_no_matter():
    """Settled and empty ones are done."""
    states = {
        "a": replace(arriving(), phase=Phase.SETTLED),
        "b": replace(arriving(), phase=Phase.EMPTY),
    }

    assert Survey() == Drain().survey_folders([folder_with(states)], 0.0)


def test_a_retry_that_is_near_is_waited_for_and_all_else_left(ledger):
    """A retry within a minute is worth it; room, and a later retry, are not."""
    end_job(ledger, "near", CorruptSliceError("x"), 50)
    end_job(ledger, "far", CorruptSliceError("x"), 70)
    end_job(ledger, "full", OutOfSpaceError("no room"), 10)

    survey = Drain().survey([folder_with({})], ledger.history, Standing())

    assert ["near"] == names(survey.awaited)
    assert {"far", "full"} == set(names(survey.left))


def test_a_queued_job_may_take_a_minute_to_begin(ledger):
    """Its target is looked at first; when nothing begins for a minute it is left."""
    sighting = Sighting("a", "a", AcquisitionKind.FOLDER, "a", (), 1, 1, 0, "mark", "size")
    ledger.ledger.folders.record_settling("em", sighting)
    ledger.ledger.jobs.queue(NewJob("em", "a", 1, "mark", 1, 1, "size"))
    drain, clock = Drain(), Standing()
    drain.begin(clock, ledger.history)
    folders = [folder_with({})]

    clock.at = 59.0
    assert ["a"] == names(drain.survey(folders, ledger.history, clock).awaited)
    busy = [Pending("em", "b", "converting")]
    assert ["b", "a"] == names(drain.survey(folders, ledger.history, clock, busy).awaited)
    clock.at = 118.0
    assert ["a"] == names(drain.survey(folders, ledger.history, clock).awaited)
    clock.at = 119.0
    assert ["a"] == names(drain.survey(folders, ledger.history, clock).left)


def test_a_folder_without_room_is_left_with_the_reason(ledger):
    """A paused folder goes on when there is room: not in this run."""
    end_job(ledger, "near", CorruptSliceError("x"), 50)
    sighting = Sighting("a", "a", AcquisitionKind.FOLDER, "a", (), 1, 1, 0, "mark", "size")
    ledger.ledger.folders.record_settling("em", sighting)
    ledger.ledger.jobs.queue(NewJob("em", "a", 1, "mark", 1, 1, "size"))

    survey = Drain().survey(
        [folder_with({})], ledger.history, Standing(), hindered={"em": "no room"}
    )

    assert ([], {"a", "near"}) == (names(survey.awaited), set(names(survey.left)))
    assert "no room" in {one.reason for one in survey.left}


def test_jobs_of_folders_outside_the_settings_are_no_matter(ledger):
    """A folder that was taken out of the settings is neither waited for nor left."""
    end_job(ledger, "near", CorruptSliceError("x"), 50)
    ledger.ledger.folders.keep_only(frozenset())

    assert Survey() == Drain().survey([], ledger.history, Standing())


def test_it_is_over_when_nothing_has_been_left_to_wait_for_a_moment():
    """One quiet look is not enough: an answer may be on its way."""
    drain = Drain()
    busy = Survey((Pending("em", "a", "settles"),))

    assert not drain.is_over(busy, 0.0)
    assert not drain.is_over(Survey(), 1.0)
    assert not drain.is_over(busy, 1.5)
    assert not drain.is_over(Survey(), 2.0)
    assert drain.is_over(Survey(), 2.0 + SURE_S)


@pytest.mark.parametrize(
    ("error", "left", "code", "status"),
    [
        (None, (), ExitCode.DONE, "succeeded"),
        (None, (Pending("em", "b", "settles"),), ExitCode.FAILED, "failed"),
        (MissingSlicesError("Slice 4."), (), ExitCode.PARKED, "parked"),
        (
            MissingSlicesError("Slice 4."),
            (Pending("em", "b", "settles"),),
            ExitCode.PARKED,
            "parked",
        ),
    ],
)
def test_the_verdict_counts_only_this_run(ledger, error, left, code, status):
    """0 when all is done, 75 if something was parked, 1 if something was left; not the past."""
    end_job(ledger, "before", MissingSlicesError("long ago"))
    end_job(ledger, "earlier", None)
    drain, clock = Drain(), Standing()
    drain.begin(clock, ledger.history)
    end_job(ledger, "now", error)

    assert code == drain.conclude(ledger.history, Survey((), left), clock)

    summary = drain.summary
    assert status == summary["status"]
    found = summary["parked" if error else "succeeded"]
    assert ["now"] == [entry["acquisition"] for entry in found]
    assert [one.as_record() for one in left] == summary["left"]
    if error:
        assert ("missing_slices", "Slice 4.") == (found[0]["error_code"], found[0]["message"])
