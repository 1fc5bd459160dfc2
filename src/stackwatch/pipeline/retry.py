"""Decide what follows a failed attempt: try again, wait for a condition, or ask a human. Pure.

The error's disposition decides, never its type; its `max_attempts` and the policy's bound the
trying.
"""

from dataclasses import dataclass
from typing import assert_never

from stackwatch.errors import Disposition, StackwatchError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently failed jobs are tried again.

    Attributes
    ----------
    max_attempts : int
        Attempts in all before a job is parked; an error may allow fewer.
    first_delay_s, cap_s : float
        Wait after the first failure, and the longest wait.
    factor : float
        Each further wait is this much longer.
    recheck_s, recheck_cap_s : float
        How soon a condition (room on the disk) is looked at again: at first, and at the latest.
    """

    max_attempts: int = 5
    first_delay_s: float = 10.0
    cap_s: float = 3600.0
    factor: float = 4.0
    recheck_s: float = 30.0
    recheck_cap_s: float = 1800.0


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """Try again when this many seconds have passed."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Look again every so many seconds; waiting costs no attempt."""

    recheck_s: float


@dataclass(frozen=True, slots=True)
class Park:
    """Set the job aside for a human."""

    reason: str


NextStep = RetryAfter | WaitFor | Park


def plan_next(
    error: StackwatchError, failures: int, policy: RetryPolicy | None = None, waits: int = 0
) -> NextStep:
    """Decide what follows a failed attempt.

    Parameters
    ----------
    error : StackwatchError
        Why the attempt failed.
    failures : int
        Failed attempts of this content so far, this one included; at least 1. Attempts that were
        stopped on request or waited for a condition do not count.
    policy : RetryPolicy or None
        None takes the defaults.
    waits : int
        Attempts before this one that waited in vain, in a row: a quota that no figure shows would
        be written full every half minute.

    Returns
    -------
    RetryAfter, WaitFor or Park

    Examples
    --------
    >>> from stackwatch.errors import CorruptSliceError
    >>> plan_next(CorruptSliceError(), failures=1)
    RetryAfter(delay_s=10.0)
    >>> plan_next(CorruptSliceError(), failures=2)
    Park(reason='failed 2 times')
    """
    policy = policy or RetryPolicy()
    match error.disposition:
        case Disposition.PARK:
            return Park("needs a human")
        case Disposition.WAIT:
            return WaitFor(min(policy.recheck_s * 2 ** min(waits, 16), policy.recheck_cap_s))
        case Disposition.RETRY:
            allowed = min(policy.max_attempts, error.max_attempts or policy.max_attempts)
            if failures >= allowed:
                return Park("failed once" if failures == 1 else f"failed {failures} times")
            return RetryAfter(plan_delay(failures, policy))
        case unknown:
            assert_never(unknown)


def plan_delay(failures: int, policy: RetryPolicy) -> float:
    """Return the seconds to wait after so many failures: growing, never beyond the cap."""
    delay = policy.first_delay_s
    for _ in range(failures - 1):
        delay *= policy.factor
        if delay >= policy.cap_s:
            break
    return min(delay, policy.cap_s)


def plan_smaller(
    memory_gib: float, threads: int, kills: int, floor_gib: float = 0.25
) -> tuple[float, int]:
    """Return memory and threads for an attempt after so many killed workers.

    A worker that ends without a word was most often killed for its memory: each time the budget
    is halved, and one thread has to do.
    """
    if kills <= 0:
        return memory_gib, threads
    smallest = min(floor_gib, memory_gib)
    return max(memory_gib / 2 ** min(kills, 32), smallest), 1
