"""Whose turn it is: no folder starves another, priorities count, limits hold."""

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from stackwatch.daemon.turns import Share, order_turns
from stackwatch.ledger.records import Job
from stackwatch.model.facts import AcquisitionKind
from stackwatch.model.job import AcquisitionId, JobId, JobState

QUEUES = st.dictionaries(st.sampled_from("abcde"), st.integers(1, 60), min_size=1)


def play(queues: dict[str, int], priorities: dict[str, int]) -> list[str]:
    """Claim until nothing is queued; return the folders in the order of their turns."""
    left, turns = dict(queues), Counter[str]()
    order: list[str] = []
    while any(left.values()):
        heads = [head(name, queues[name] - count) for name, count in left.items() if count]
        shares = {
            name: Share(priority=priorities.get(name, 0), last_turn=turns[name]) for name in queues
        }
        job = order_turns(heads, shares)[0]
        turns[job.folder] = len(order) + 1
        left[job.folder] -= 1
        order.append(job.folder)
    return order


def head(folder: str, number: int, priority: int = 0) -> Job:
    """Return the job of a folder that may start next; they were queued folder by folder."""
    place = ord(folder) * 1000 + number
    return Job(
        job_id=JobId(place),
        acquisition_id=AcquisitionId(place),
        folder=folder,
        folder_path=Path("/drop") / folder,
        target=Path("/out"),
        key=str(number),
        name=str(number),
        kind=AcquisitionKind.FOLDER,
        source=str(number),
        generation=1,
        stat_mark="m",
        size_mark="s",
        files=1,
        total_bytes=1,
        state=JobState.QUEUED,
        attempt=0,
        tries=0,
        worker_pid=None,
        error=None,
        progress=None,
        result=None,
        not_before_us=0,
        queued_at_us=place,
        claimed_at_us=None,
        alive_at_us=None,
        finished_at_us=None,
        priority=priority,
    )


@given(QUEUES)
def test_equal_folders_take_turns(queues: dict[str, int]):
    """L14: while two folders wait, neither is converted twice before the other once."""
    order = play(queues, {})

    assert Counter(queues) == Counter(order)
    for one in queues:
        for other in queues:
            waits = 0
            for position, name in enumerate(order):
                if other not in order[position:]:
                    break
                waits = 0 if name == other else waits + (name == one)
                assert waits <= 1


@given(QUEUES, st.dictionaries(st.sampled_from("abcde"), st.integers(-2, 2)))
def test_a_higher_priority_comes_first(queues: dict[str, int], priorities: dict[str, int]):
    """A folder is converted only when no folder of a higher priority waits."""
    order = play(queues, priorities)

    ranks = [-priorities.get(name, 0) for name in order]
    assert sorted(ranks) == ranks


@given(st.integers(1, 4), st.integers(0, 4))
def test_a_folder_keeps_to_its_workers(most: int, running: int):
    """A folder that has all its workers waits, whatever its priority; others go on."""
    shares = {"a": Share(priority=9, max_workers=most, running=running), "b": Share()}

    order = [job.folder for job in order_turns([head("a", 1), head("b", 2)], shares)]

    assert (["a", "b"] if running < most else ["b"]) == order


def test_an_acquisitions_priority_is_added_to_its_folders():
    """A sidecar's priority lifts one acquisition over another folder's."""
    heads = [head("a", 1), head("b", 2, priority=3)]
    shares = {"a": Share(priority=2), "b": Share(), "c": Share()}

    assert ["b", "a"] == [job.folder for job in order_turns(heads, shares)]
    assert ["a"] == [job.folder for job in order_turns(heads, {"a": Share()})]
