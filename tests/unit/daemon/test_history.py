"""Failures, kills and cut-offs, counted from a job's history."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from stackwatch.daemon.history import count_cut_offs, count_failures, count_kills
from stackwatch.ledger.records import EventRecord

CLOCK = itertools.count()


def attempt(code: str, event: str = "job.waiting") -> EventRecord:
    """Return the end of an attempt."""
    facts = {"attempt": 1, "error_code": code}
    return EventRecord(next(CLOCK), event, "claimed", "waiting", facts)


CLAIMED = EventRecord(0, "job.claimed", "queued", "claimed", {"attempt": 1})
RETRIED = EventRecord(0, "job.retried", "", "", {})
CUT_OFF = attempt("worker_killed", "job.recovered")


def test_only_what_may_be_tried_again_counts_as_a_failure():
    """Waiting for room, a stop on request and a cut-off cost no try."""
    history = (
        CLAIMED, attempt("verification"), CLAIMED, attempt("out_of_space"),
        CLAIMED, attempt("cancelled", "job.queued"), CLAIMED, CUT_OFF,
        CLAIMED, attempt("worker_killed"),
    )  # fmt: skip

    assert 2 == count_failures(history)
    assert 1 == count_kills(history)


def test_a_retry_by_a_person_gives_all_tries_back():
    """What happened before the retry does not count."""
    history = (attempt("worker_killed"), attempt("verification"), RETRIED, attempt("verification"))

    assert 1 == count_failures(history)
    assert 0 == count_kills(history)


def test_cut_offs_count_in_a_row():
    """An attempt that came to an end of its own, or a retry, begins the row anew."""
    assert 2 == count_cut_offs((CUT_OFF, CLAIMED, CUT_OFF))
    assert 1 == count_cut_offs((CUT_OFF, CUT_OFF, CLAIMED, attempt("verification"), CUT_OFF))
    assert 0 == count_cut_offs((CUT_OFF, RETRIED))


@given(st.lists(st.sampled_from([CLAIMED, RETRIED, CUT_OFF, attempt("verification"),
                                 attempt("out_of_space"), attempt("worker_killed")])))  # fmt: skip
def test_counts_agree_with_a_slow_count(history):
    """Cut at the last retry, then count one by one."""
    last = max((i for i, event in enumerate(history) if event is RETRIED), default=-1)
    rest = [event.facts.get("error_code") for event in history[last + 1 :] if event is not CUT_OFF]

    expected = rest.count("verification") + rest.count("worker_killed")
    assert expected == count_failures(tuple(history))
    assert rest.count("worker_killed") == count_kills(tuple(history))
