"""What follows a failed attempt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackwatch.errors import (
    CorruptSliceError,
    Disposition,
    OutOfSpaceError,
    UnknownLayoutError,
    VerificationError,
    WorkerKilledError,
    error_by_code,
)
from stackwatch.pipeline.retry import (
    Park,
    RetryAfter,
    RetryPolicy,
    WaitFor,
    plan_delay,
    plan_next,
    plan_smaller,
)

POLICY = RetryPolicy(max_attempts=5, first_delay_s=10, cap_s=3600, factor=4, recheck_s=30)


def test_an_error_for_a_human_is_parked_at_once():
    """A park disposition never tries again."""
    assert isinstance(plan_next(UnknownLayoutError(), 1, POLICY), Park)


@pytest.mark.parametrize("failures", [1, 5, 1000])
def test_waiting_never_ends_in_parking(failures):
    """A full disk is waited for, however long."""
    assert WaitFor(30) == plan_next(OutOfSpaceError(), failures, POLICY)


def test_retries_back_off_and_end():
    """L15: delays grow four-fold; the fifth failure parks."""
    steps = [plan_next(VerificationError(), n, POLICY) for n in range(1, 6)]

    assert [
        RetryAfter(10), RetryAfter(40), RetryAfter(160), RetryAfter(640), Park("failed 5 times"),
    ] == steps  # fmt: skip


def test_an_error_may_allow_fewer_attempts():
    """A corrupt slice is read once more, a killed worker three times in all."""
    assert RetryAfter(10) == plan_next(CorruptSliceError(), 1, POLICY)
    assert Park("failed 2 times") == plan_next(CorruptSliceError(), 2, POLICY)
    assert RetryAfter(40) == plan_next(WorkerKilledError(), 2, POLICY)
    assert isinstance(plan_next(WorkerKilledError(), 3, POLICY), Park)


def test_a_policy_of_one_attempt_parks_at_once():
    """The smaller of the policy's and the error's bound counts."""
    assert Park("failed once") == plan_next(WorkerKilledError(), 1, RetryPolicy(max_attempts=1))


@given(st.integers(1, 10_000))
def test_delays_grow_and_never_pass_the_cap(failures):
    """Every delay is at least the one before and at most the cap."""
    now, after = plan_delay(failures, POLICY), plan_delay(failures + 1, POLICY)

    assert POLICY.first_delay_s <= now <= after <= POLICY.cap_s


@given(st.sampled_from(sorted(error_by_code())), st.integers(1, 50))
def test_the_disposition_alone_decides(code, failures):
    """Every error of the tree gets the step its disposition names, or is parked in the end."""
    error = error_by_code()[code]("x")

    step = plan_next(error, failures, POLICY)

    expected = {
        Disposition.PARK: (Park,),
        Disposition.WAIT: (WaitFor,),
        Disposition.RETRY: (RetryAfter, Park),
    }[error.disposition]
    assert isinstance(step, expected)


@pytest.mark.parametrize(
    ("kills", "expected"), [(0, (4.0, 8)), (1, (2.0, 1)), (2, (1.0, 1)), (99, (0.25, 1))]
)
def test_a_killed_worker_gets_half_the_memory_and_one_thread(kills, expected):
    """Each killing halves the budget, down to a floor."""
    assert expected == plan_smaller(4.0, 8, kills)


def test_a_small_budget_is_not_raised_to_the_floor():
    """The floor never gives more than the settings allow."""
    assert (0.1, 1) == plan_smaller(0.1, 2, 3)
