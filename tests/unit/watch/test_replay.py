"""The decisions of a log, repeated; and what must never happen, found."""

import json
from pathlib import Path
from typing import Any

import pytest

from stackwatch.watch.replay import Flaw, parse_log_line, replay

GOLDEN = Path(__file__).with_name("service.log.jsonl")


def look(at_s: float, mark: str = "la", **told: Any) -> str:
    """Return the line of a look at `run_1`."""
    acquisition = told.pop("acquisition", "run_1")
    record = {
        "at_s": at_s, "scan_s": 0.0, "kind": "folder", "files": 1, "bytes": 1, "mark": mark,
        "size": "s", "phase": "settling", "gap_s": 10.0, "ceiling_h": 1.0,
    } | told  # fmt: skip
    return line("acquisition.observed", acquisition=acquisition, look=record)


def line(event: str, **values: Any) -> str:
    """Return a line of the log."""
    return json.dumps({"event": event, "folder": "em", **values})


SETTLING = {"id": 1, "state": "settling", "generation": 0}
APPEARED = look(0.0, actions=["record_settling"])
SETTLED = look(11.0, phase="settled", actions=["queue_generation:1"], known=SETTLING)


def test_decisions_are_repeated():
    """Then and now are the same where nothing has changed in the watcher."""
    found = replay([line("daemon.started"), APPEARED, SETTLED, "not ours", "{}"])

    assert found.is_clean
    assert [("settling", ("record_settling",)), ("settled", ("queue_generation:1",))] == [
        (step.phase_now, step.actions_now) for step in found.steps
    ]
    assert (5, 2, 2) == (found.lines, found.skipped, len(found.steps))
    assert [0.0, 11.0] == [step.elapsed_s for step in found.steps]


def test_a_decision_that_differs_is_marked():
    """What was decided then and is not decided now stands out."""
    early = look(5.0, phase="settled", actions=["queue_generation:1"], known=SETTLING)

    found = replay([APPEARED, early])

    assert [True, False] == [step.is_same for step in found.steps]
    assert ("settling", ()) == (found.steps[1].phase_now, found.steps[1].actions_now)
    assert not found.is_clean


def test_looks_are_repeated_in_the_order_of_their_times():
    """A change that was held back was written after later looks at others."""
    other = look(3.0, acquisition="run_2", actions=["record_settling"])
    held_back = look(2.0, "lb", known=SETTLING)
    rest = look(12.5, "lb", phase="settled", actions=["queue_generation:1"], known=SETTLING)

    found = replay([APPEARED, other, held_back, rest])

    assert [0.0, 2.0, 3.0, 12.5] == [step.look.at_s for step in found.steps]
    assert found.is_clean


def test_a_new_start_forgets_what_was_seen():
    """Each life of the daemon has its own clock, and settles everything anew."""
    started = line("daemon.started")

    found = replay([started, APPEARED, started, look(3.0, known=SETTLING), SETTLED, started])

    assert [1, 2, 2] == [step.run for step in found.steps]
    assert [False] == [step.is_same for step in found.steps if step.look.at_s == 11.0]


def test_a_folder_that_was_away_begins_all_gaps_anew():
    """What settles right after a share is back has settled too early."""
    away = line("folder.unavailable", at_s=5.0, reason="no mount")
    back = line("folder.recovered", at_s=8.0)

    found = replay([APPEARED, away, back, look(8.0, known=SETTLING), SETTLED])

    assert not found.steps[-1].is_same
    assert "settling" == found.steps[-1].phase_now


def test_one_that_vanished_is_repeated():
    """An absent acquisition is taken out of the ledger, then as now."""
    gone = look(5.0, "", files=0, phase="absent", actions=["record_vanished"], known=SETTLING)

    assert replay([APPEARED, gone]).is_clean


@pytest.mark.parametrize(
    ("lines", "phrase"),
    [
        ([APPEARED, look(5.0, phase="settled", known=SETTLING)], "after 5.000 s"),
        (
            [APPEARED, look(9.0, "lb", known=SETTLING), look(11, "lb", phase="settled")],
            "after 2.000 s",
        ),
        ([APPEARED, look(11.0, "lb", phase="settled", known=SETTLING)], "after 0.000 s"),
        (
            [APPEARED, look(11.0, phase="settled", vetoes=[["marker", "no marker"]])],
            "although no marker",
        ),
        (
            [line("folder.unavailable", at_s=-1.0), APPEARED],
            "which could not be seen",
        ),
        (
            [
                line("job.queued", acquisition="run_1", job_id=number, generation=1)
                for number in (1, 2)
            ],
            "queued twice, as jobs 1 and 2",
        ),
        (
            [
                line("job.queued", acquisition="run_1", job_id=number, generation=number)
                for number in (1, 3)
            ],
            "generation 3 of “run_1” follows generation 1",
        ),
        ([line("job.succeeded", job_id=1)] * 2, "succeeded twice"),
        ([line("job.succeeded", job_id=1), line("job.claimed", job_id=1)], "after it had"),
    ],
)
def test_what_must_not_happen_is_found(lines: list[str], phrase: str):
    """Whatever the version decides: such a sequence is named with its line."""
    found = replay(lines)

    (flaw,) = found.impossible
    assert phrase in flaw.reason
    assert not found.is_clean


@pytest.mark.parametrize(
    "lines",
    [
        # a log that begins in the middle: the beginning of the gap is not known
        [look(5.0, phase="settled", known=SETTLING)],
        # a person said that it is complete
        [APPEARED, look(1.0, phase="settled", known={**SETTLING, "accepted": "la"})],
        # an empty file may be meant so
        [APPEARED, look(111.0, phase="settled", vetoes=[["empty_file", "empty"]])],
        # told twice, because the daemon was killed before the first was carried out
        [line("job.queued", acquisition="run_1", job_id=1, generation=1)] * 2,
        # the attempt was put back
        [line("job.queued", acquisition="run_1", job_id=1)] * 2,
    ],
)
def test_what_may_happen_is_not_accused(lines: list[str]):
    """What only looks impossible is let pass."""
    assert () == replay(lines).impossible


def test_the_log_of_a_real_service_is_repeated():
    """A recorded service: a marker, an empty file, changes, a share that was away, a restart."""
    found = replay(GOLDEN.read_text(encoding="utf-8").splitlines())
    decided = [(step.look.acquisition, *step.actions_now) for step in found.steps]

    assert [] == [step for step in found.steps if not step.is_same]
    assert ((), ()) == (found.impossible, found.unreadable)
    for action in (
        ("run_1", "record_settling"),
        ("run_1", "record_held_back"),
        ("run_1", "queue_generation:1"),
        ("run_1", "queue_generation:2"),
        ("slow", "queue_generation:1"),
        ("gap", "record_vanished"),
        ("run_1", "compare_digest:2"),
    ):
        assert action in decided
    assert {1, 2} == {step.run for step in found.steps}


def test_a_log_that_was_cut_off_is_read_as_far_as_it_goes():
    """The last line of a log that is still written may be half; the rest is repeated."""
    lines = GOLDEN.read_text(encoding="utf-8").splitlines()
    number = max(at for at, text in enumerate(lines) if "acquisition.observed" in text)

    found = replay([*lines[:number], lines[number][:100]])

    assert [number + 1] == [flaw.number for flaw in found.unreadable]
    assert found.is_clean
    assert found.steps


def test_damaged_lines_are_named():
    """A log that was cut off, or overwritten in the middle, is read as far as it goes."""
    found = replay([APPEARED, '{"event":"acquisition.obs', SETTLED.replace('"at_s"', '"at"')])

    assert [2, 3] == [flaw.number for flaw in found.unreadable]
    assert "damaged" in found.unreadable[0].reason
    assert "at_s" in found.unreadable[1].reason
    assert 1 == len(found.steps)


def test_other_forms_of_the_log_are_read():
    """What syslog and journalctl put around a line does not matter."""
    in_journal = json.dumps({"PRIORITY": "6", "MESSAGE": APPEARED})
    for text in (APPEARED, f"Nov 22 18:00:00 host stackwatch[1]: {APPEARED}", in_journal):
        found = parse_log_line(1, text)
        assert not isinstance(found, Flaw)
        assert found is not None
        assert found.look is not None
        assert "run_1" == found.look.acquisition
    assert parse_log_line(1, "[1, 2]") is None
    assert parse_log_line(1, '{"a": 1}') is None
    assert isinstance(parse_log_line(1, '{"MESSAGE": "{"}'), Flaw)
