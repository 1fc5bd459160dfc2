"""When people are told, what is folded into one line, and when it is tried again."""

import json

import pytest

from stackwatch.daemon.notice_rules import (
    BATCH_MAX,
    FIRST_WAIT_US,
    GIVE_UP_US,
    LONGEST_WAIT_US,
    Fate,
    Trouble,
    choose_due,
    judge_attempt,
    plan_notices,
)
from stackwatch.model.notice import Notice, NoticeState, ReceiverAnswer
from stackwatch.notices.wording import LINES_MAX, write_message

ABOUT = ("parked", "share-down", "disk-low")
NOW_US = 1_700_000_000_000_000


def notice(number=1, kind="parked", subject="acquisition:1", **values):
    """Return a notice in the outbox."""
    facts = values.pop("facts", {"name": "em/run", "since_us": 5})
    is_recovery = values.pop("is_recovery", False)
    values = {"created_at_us": NOW_US, **values}
    return Notice(number, kind, subject, facts, is_recovery, NoticeState.DUE, **values)


def plan(known, troubles, fate=Fate.UNSURE, about=ABOUT):
    """Return what is recorded, short."""
    by_topic = {one.topic: one for one in known}
    planned = plan_notices(by_topic, troubles, lambda _one: (fate, {"message": "!"}), about)
    return [(new.kind, new.subject, new.is_recovery, str(state)) for new, state in planned]


def test_new_trouble_is_told_once():
    """What is known already is not told again; what nobody asked for is not told at all."""
    trouble = Trouble("parked", "acquisition:1", {}, 5)

    assert [("parked", "acquisition:1", False, "due")] == plan([], [trouble])
    assert [] == plan([notice()], [trouble])
    assert [] == plan([], [trouble], about=("delivered",))


def test_the_same_that_begins_anew_is_told_anew():
    """Somebody let it be tried again, and it was parked again."""
    again = Trouble("parked", "acquisition:1", {}, 6)

    assert [("parked", "acquisition:1", False, "due")] == plan([notice()], [again])


@pytest.mark.parametrize(
    ("fate", "expected"),
    [(Fate.OVER, [("parked", "acquisition:1", True, "due")]),
     (Fate.ENDED, [("parked", "acquisition:1", True, "dropped")]), (Fate.UNSURE, [])],
)  # fmt: skip
def test_what_is_over_is_told_and_what_somebody_saw_to_is_not(fate, expected):
    """Recovery goes out; what was ignored or forgotten ends in silence; else it is waited for."""
    assert expected == plan([notice()], [], fate)


def test_the_first_at_once_then_a_digest():
    """New notices wait for the digest; what failed is tried again when its own time comes."""
    new, failed = notice(2), notice(1, attempt=1, not_before_us=NOW_US + 10)

    assert (new,) == choose_due([new, failed], NOW_US, next_new_us=0)
    assert () == choose_due([new, failed], NOW_US, next_new_us=NOW_US + 1)
    assert (failed,) == choose_due([new, failed], NOW_US + 10, next_new_us=NOW_US + 99)
    assert (failed, new) == choose_due([new, failed], NOW_US + 99, next_new_us=NOW_US + 99)


def test_what_failed_is_tried_again_together():
    """A receiver that is back gets one message, not one for each wait; new notices still wait."""
    failed = [notice(n, attempt=n, not_before_us=NOW_US + n) for n in (1, 2, 3)]

    assert tuple(failed) == choose_due([*failed, notice(4)], NOW_US + 2, next_new_us=NOW_US + 99)


def test_whose_time_has_come_is_not_crowded_out():
    """More than one message holds: those that only come along are left behind first."""
    failed = [notice(n, attempt=5, not_before_us=NOW_US + 9) for n in range(BATCH_MAX)]
    ready = notice(BATCH_MAX, attempt=1, not_before_us=NOW_US)

    chosen = choose_due([*failed, ready], NOW_US, next_new_us=0)

    assert (BATCH_MAX, ready) == (len(chosen), chosen[-1])


def test_a_clock_that_was_set_back_silences_nobody():
    """A moment further away than any wait is no reason to wait for it."""
    failed = notice(1, attempt=3, not_before_us=NOW_US)

    assert (failed,) == choose_due([failed], NOW_US - GIVE_UP_US, next_new_us=0)
    assert () == choose_due([failed], NOW_US - LONGEST_WAIT_US, next_new_us=0)


def answer(receiver="a", *, is_reached=True, notices=(1,)):
    """Return what a receiver said."""
    return ReceiverAnswer(receiver, f"webhook {receiver}", is_reached, "words", tuple(notices))


def test_everybody_has_it():
    """Only when nobody failed and the process came to its end it is sent."""
    assert NoticeState.SENT == judge_attempt(notice(), [answer()], NOW_US, is_whole=True).state
    cut_off = judge_attempt(notice(), [answer()], NOW_US, is_whole=False)
    assert (NoticeState.DUE, ("a",)) == (cut_off.state, cut_off.reached)
    assert NoticeState.DUE == judge_attempt(notice(), [], NOW_US, is_whole=True).state


def test_who_has_it_is_remembered():
    """C22: one receiver failed: the other is not told again, and the error names who failed."""
    answers = [answer("a"), answer("b", is_reached=False), answer("c", notices=())]
    verdict = judge_attempt(notice(), answers, NOW_US, is_whole=True)

    assert (NoticeState.DUE, ("a",)) == (verdict.state, verdict.reached)
    assert "webhook b: words" == verdict.error


def test_waits_grow_and_end():
    """C22: half a minute at first, an hour at most, and after three days it is dropped."""
    bad = [answer(is_reached=False)]
    waits = [
        judge_attempt(notice(attempt=n), bad, NOW_US, is_whole=True).not_before_us - NOW_US
        for n in range(12)
    ]

    assert [FIRST_WAIT_US, 2 * FIRST_WAIT_US, 4 * FIRST_WAIT_US] == waits[:3]
    assert LONGEST_WAIT_US == waits[-1]
    assert sorted(waits) == waits
    late = judge_attempt(notice(attempt=99), bad, NOW_US + GIVE_UP_US + 1, is_whole=True)
    assert NoticeState.DROPPED == late.state


def test_trouble_that_is_over_becomes_one_line():
    """A share that went and came within one digest is told once, with both times."""
    gone = notice(1, "share-down", "folder:em", facts={"name": "folder em", "message": "gone"})
    back = notice(
        2, "share-down", "folder:em", facts={"name": "folder em", "message": "well"},
        is_recovery=True, created_at_us=NOW_US + 180_000_000,
    )  # fmt: skip
    message = write_message([gone, back], "mic3", NOW_US)

    assert ("share back: folder em – from 22:13 UTC to 22:16 UTC – well",) == message.lines
    assert "stackwatch on mic3: 1 share back" == message.title
    assert [2] == [one["id"] for one in message.document["notices"]]
    assert "2023-11-14T22:13:20Z" == message.document["notices"][0]["began_at_utc"]


def test_trouble_again_is_not_folded_away():
    """What came, went and came again is down: both are told, in this order."""
    kinds = [notice(1), notice(2, is_recovery=True), notice(3)]

    assert [True, False] == [
        one["is_recovery"] for one in write_message(kinds, "mic3", NOW_US).document["notices"]
    ]


def test_a_flood_is_cut():
    """A message names twenty, and says how many more there are."""
    many = [notice(n, subject=f"acquisition:{n}") for n in range(500)]
    message = write_message(many, "mic3", NOW_US)

    assert LINES_MAX + 1 == len(message.lines)
    assert "480 more" in message.lines[-1]
    assert (480, LINES_MAX) == (message.document["left_out"], len(message.document["notices"]))
    assert "stackwatch on mic3: 500 parked" == message.title


def test_a_line_is_one_line():
    """Line ends and endless messages of an error do not tear a message apart."""
    facts = {"name": "em/a\nb\x1b[2J\x9b", "message": "x\r\ny " * 500, "link": "https://wk/1"}
    facts["hint"] = "bytes \udcff"
    message = write_message([notice(facts=facts)], "mic3", NOW_US)
    (line,) = message.lines
    json.dumps(message.document, ensure_ascii=False).encode()

    assert "\n" not in line
    assert "\r" not in line
    assert line.isprintable()
    assert len(line) <= 400
