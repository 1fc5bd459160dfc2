"""When people are told of what, and when it is tried again. Pure."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from stackwatch.model.notice import NewNotice, Notice, NoticeKind, NoticeState, ReceiverAnswer

SECOND_US: Final = 1_000_000
FIRST_WAIT_US: Final = 30 * SECOND_US
LONGEST_WAIT_US: Final = 3600 * SECOND_US
GIVE_UP_US: Final = 3 * 86_400 * SECOND_US
"""What could not be told within so long is old news, and dropped."""

BATCH_MAX: Final = 500
"""More is not recorded or sent at once; a message names only the first of them anyway."""

KEPT_US: Final = 90 * 86_400 * SECOND_US
"""What was told is kept for so long, trouble that is not over for ever."""

SINCE: Final = "since_us"
"""Key in the facts of trouble: the same thing that begins anew is told anew."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is not as it should be at this moment.

    Attributes
    ----------
    kind, subject : str
        As in `NewNotice`.
    facts : mapping
    since_us : int
        When it began, if that is known; 0 otherwise.
    """

    kind: NoticeKind
    subject: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    since_us: int = 0


class Fate(Enum):
    """What became of trouble that is not seen any more."""

    OVER = "over"
    """People are told."""
    ENDED = "ended"
    """Somebody has seen to it, or it does not matter any more: nobody needs to be told."""
    UNSURE = "unsure"


def plan_notices(
    known: Mapping[tuple[str, str], Notice],
    troubles: Iterable[Trouble],
    fate_of: Callable[[Notice], tuple[Fate, Mapping[str, Any]]],
    about: Collection[str],
) -> Iterator[tuple[NewNotice, NoticeState]]:
    """Yield what is to be recorded: new trouble, and what is over.

    Parameters
    ----------
    known : mapping
        By topic: the trouble that was recorded and is not over.
    troubles : iterable of Trouble
        All there is now.
    fate_of : callable
        Asked for trouble that is not there any more; returns facts with the fate.
    about : collection of str
        Kinds that people are told about; others are not looked at.
    """
    seen = set()
    for trouble in troubles:
        seen.add((trouble.kind, trouble.subject))
        before = known.get((trouble.kind, trouble.subject))
        is_same = before is not None and before.facts.get(SINCE, 0) == trouble.since_us
        if trouble.kind in about and not is_same:
            told = {**trouble.facts, SINCE: trouble.since_us}
            yield NewNotice(trouble.kind, trouble.subject, told), NoticeState.DUE
    for topic, before in known.items():
        if topic in seen or before.kind not in about:
            continue
        fate, facts = fate_of(before)
        if fate is Fate.UNSURE:
            continue
        state = NoticeState.DUE if fate is Fate.OVER else NoticeState.DROPPED
        kept = {key: before.facts[key] for key in _KEPT if key in before.facts}
        yield NewNotice(before.kind, before.subject, {**kept, **facts}, is_recovery=True), state


def choose_due(due: Sequence[Notice], now_us: int, next_new_us: int) -> tuple[Notice, ...]:
    """Return what is to be sent now, oldest first.

    Once something is to be tried again, all is that has failed before: a receiver that is back gets
    one message, and one that stays away is not asked for each notice by itself.

    Parameters
    ----------
    due : sequence of Notice
        The outbox.
    now_us : int
    next_new_us : int
        When new notices may be sent: one digest after the last.
    """

    def is_time(one: Notice) -> bool:
        if not one.attempt:
            return next_new_us <= now_us
        # no wait is that long: the clock was set back
        return one.not_before_us <= now_us or one.not_before_us > now_us + LONGEST_WAIT_US

    ready = {one.notice_id for one in due if is_time(one)}
    is_retried = any(one.attempt and one.notice_id in ready for one in due)
    chosen = [one for one in due if one.notice_id in ready or (is_retried and one.attempt)]
    # what only comes along must not crowd out whose time has come
    chosen = sorted(chosen, key=lambda one: (one.notice_id not in ready, one.notice_id))
    return tuple(sorted(chosen[:BATCH_MAX], key=lambda one: one.notice_id))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a notice after an attempt.

    Attributes
    ----------
    state : NoticeState
        `due`: it is tried again.
    reached : tuple of str
        Receivers that have it now and had not before.
    error : str
    not_before_us : int
    """

    state: NoticeState
    reached: tuple[str, ...] = ()
    error: str = ""
    not_before_us: int = 0


def judge_attempt(
    notice: Notice, answers: Sequence[ReceiverAnswer], now_us: int, *, is_whole: bool
) -> Verdict:
    """Decide what becomes of a notice.

    Parameters
    ----------
    notice : Notice
    answers : sequence of ReceiverAnswer
        Of all receivers; those that had the notice before say so without naming it.
    now_us : int
    is_whole : bool
        The process that sent it came to its end: nobody is missing from the answers.
    """
    reached = tuple(a.receiver for a in answers if a.is_reached and notice.notice_id in a.notices)
    failed = [
        f"{a.name}: {a.reason}"
        for a in answers
        if not a.is_reached and (notice.notice_id in a.notices or not a.notices)
    ]
    if not is_whole:
        failed.append("the process that sends ended without a word")
    elif not answers:
        failed.append("there is nobody to tell")
    if not failed:
        return Verdict(NoticeState.SENT, reached)
    error = "; ".join(failed)
    if now_us - notice.created_at_us > GIVE_UP_US:
        return Verdict(NoticeState.DROPPED, reached, error)
    wait_us = min(LONGEST_WAIT_US, FIRST_WAIT_US << min(notice.attempt, 16))
    return Verdict(NoticeState.DUE, reached, error, now_us + wait_us)


_KEPT: Final = ("name", "folder", "acquisition", "dataset", "job_id")
"""Facts of trouble that are repeated when it is over."""
