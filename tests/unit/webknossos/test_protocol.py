"""Versions, forms and waits: what needs no server."""

import threading
from pathlib import Path
from typing import Any

import pytest

from stackwatch.errors import CancelledError, DeliveryRefusedError, DeliveryUnavailableError
from stackwatch.webknossos.chunks import ChunkForm, iter_chunks, run_threads
from stackwatch.webknossos.dialects import Dialect, Reservation, choose_version
from stackwatch.webknossos.greeting import Datastore, checked_url, choose_datastore
from stackwatch.webknossos.local import SentFile
from stackwatch.webknossos.meter import Meter
from stackwatch.webknossos.patience import Patience, Waiting
from stackwatch.webknossos.places import walk_folders

WANTED = Reservation("id-1", "cells", "lab", "f" * 24, ("t" * 24,), ["a", "b/c"], 2, 12)


class Stepped:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.at = 0.0

    def monotonic(self) -> float:
        """Return seconds."""
        return self.at

    def now(self) -> float:
        """Return seconds."""
        return self.at


@pytest.mark.parametrize(
    ("oldest", "current", "expected"), [(10, 16, 16), (10, 99, 16), (5, 13, 13), (16, 20, 16)]
)
def test_the_newest_common_version_is_spoken(oldest: int, current: int, expected: int):
    """Ours ends at 16, theirs at `current`."""
    assert expected == choose_version(oldest, current, "wk")


@pytest.mark.parametrize(("oldest", "current", "who"), [(17, 20, "stackwatch"), (5, 9, "server")])
def test_without_a_common_version_both_ranges_are_told(oldest: int, current: int, who: str):
    """The remedy names who is to be upgraded."""
    with pytest.raises(DeliveryRefusedError, match=f"{oldest} to {current}") as refused:
        choose_version(oldest, current, "wk")

    assert who in refused.value.hint


def test_reservations_in_both_dialects():
    """14 to 16 nest the upload's facts, 10 to 13 have them flat under other names."""
    new, old = (Dialect(version).reserve_body(WANTED) for version in (14, 13))

    assert ["a", "b/c"] == new["resumableUploadInfo"]["filePaths"] == old["filePaths"]
    assert (2, 12) == (old["totalFileCount"], old["totalFileSizeInBytes"])
    assert ("cells", "lab", ["t" * 24]) == (old["name"], old["organization"], old["initialTeams"])
    assert ("cells", "lab") == (new["datasetName"], new["organizationId"])
    assert new["folderId"] == old["folderId"] == "f" * 24


@pytest.mark.parametrize(
    ("version", "document", "expected"),
    [
        (14, {"datasetId": "x"}, "x"),
        (13, {"newDatasetId": "y"}, "y"),
        (14, None, ""),
        (14, {"datasetId": 5}, ""),
    ],
)
def test_the_id_of_what_was_finished(version: int, document: Any, expected: str):
    """Both names of the id are understood; without one it is empty."""
    assert expected == Dialect(version).finished_id(document)


def test_waits_double_and_are_spread():
    """Twice as long each time, up to a minute; between half and all of it by chance."""
    patience = Patience()

    assert [0.5, 1.0, 2.0, 30.0] == [patience.delay_s(n, 0.0) for n in (1, 2, 3, 99)]
    assert [1.0, 60.0] == [patience.delay_s(n, 1.0) for n in (1, 99)]
    assert 180.0 == patience.settled_after_s(0)
    assert 7200.0 == patience.settled_after_s(10**15)


def test_a_pause_named_by_the_server_is_kept():
    """`Retry-After` lengthens a wait, within the longest."""
    clock = Stepped()
    slept: list[float] = []

    def sleep(seconds: float) -> bool:
        slept.append(seconds)
        clock.at += seconds
        return False

    waiting = Waiting(clock=clock, sleep=sleep, draw=lambda: 1.0)
    answers = [DeliveryUnavailableError(retry_after_s=n) for n in (20, 9999, 0)]

    def attempt() -> str:
        if answers:
            raise answers.pop(0)
        return "done"

    assert "done" == waiting.repeat(attempt)
    assert [20.0, 60.0, 4.0] == slept


def test_giving_up_counts_from_the_first_failure():
    """A chunk that took an hour to fail is tried again all the same."""
    clock = Stepped()
    waiting = Waiting(clock=clock, sleep=lambda _s: False, draw=lambda: 1.0)
    tries = []

    def attempt() -> int:
        clock.at += 3600
        tries.append(clock.at)
        if len(tries) < 2:
            raise DeliveryUnavailableError
        return len(tries)

    assert 2 == waiting.repeat(attempt)


def test_a_stop_ends_every_wait():
    """Cancelled before, or while waiting: nothing is tried any more."""
    stop = threading.Event()
    waiting = Waiting(stop)
    stop.set()
    with pytest.raises(CancelledError):
        waiting.repeat(lambda: 1)
    with pytest.raises(CancelledError):
        waiting.pause(1000.0)


def test_chunks_cover_files_without_gap():
    """Each byte is in one chunk; all but a file's last have the same size."""
    files = [SentFile("a", 7, 0), SentFile("b", 8, 0), SentFile("c", 1, 0)]
    chunks = list(iter_chunks(files, 4))

    assert [("a", 1, 2, 0, 4), ("a", 2, 2, 4, 3), ("b", 1, 2, 0, 4), ("b", 2, 2, 4, 4),
            ("c", 1, 1, 0, 1)] == [
        (c.file.path, c.number, c.count, c.start, c.size) for c in chunks
    ]  # fmt: skip


def test_a_form_is_as_long_as_it_says(tmp_path: Path):
    """Length, fields and bytes of a chunk; a file that changed is not sent."""
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    file = SentFile("a", 10, path.stat().st_mtime_ns)
    chunk = list(iter_chunks([file], 4))[1]
    sent: list[int] = []
    form = ChunkForm(tmp_path, chunk, {"resumableIdentifier": "u/ä"}, sent.append)
    body = b"".join(form)

    assert str(len(body)) == form.headers["Content-Length"]
    assert b"\r\n\r\n4567\r\n" in body
    assert "u/ä".encode() in body
    assert b"".join(form) == body
    assert [4, 4] == sent
    path.write_bytes(b"01234567890")
    with pytest.raises(DeliveryRefusedError, match="changed while it was sent"):
        b"".join(form)


def test_the_first_error_of_many_threads_wins():
    """What failed is raised, not that others stopped because of it."""
    stop = threading.Event()
    first = threading.Barrier(3)

    def work() -> None:
        if first.wait() == 0:
            raise DeliveryUnavailableError("the cause")
        stop.wait()
        raise CancelledError

    with pytest.raises(DeliveryUnavailableError, match="the cause"):
        run_threads(work, 3, stop, lambda: None)


def test_rate_and_time_left():
    """The rate is that of the last seconds; what was there before counts as done, not as sent."""
    clock = Stepped()
    meter = Meter(1000, clock)
    meter.add_known(200)
    first = meter.progress("sending")
    meter.add_sent(100)
    clock.at = 2.0
    meter.add_sent(50)
    meter.add_sent(-50)
    second = meter.progress("sending")
    clock.at = 20.0
    third = meter.progress("sending")
    clock.at = 40.0
    last = meter.progress("sending")

    assert (200, 0.0, None) == (first.done_bytes, first.bytes_per_s, first.left_s)
    assert (300, 50.0, 14.0) == (second.done_bytes, second.bytes_per_s, second.left_s)
    assert third.bytes_per_s < second.bytes_per_s
    assert (0.0, None) == (last.bytes_per_s, last.left_s)
    assert 100 == meter.sent_bytes


FOLDERS: list[dict[str, Any]] = [
    {"id": "r", "name": "Datasets", "parent": None},
    {"id": "a", "name": "em", "parent": "r"},
    {"id": "b", "name": "em", "parent": "r"},
    {"id": "c", "name": "2026", "parent": "a", "isEditable": False},
]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ("r", (), False, True)),
        ("Datasets", ("r", (), False, True)),
        ("Datasets/em", ("a", (), True, True)),
        ("em/2026/", ("c", (), True, False)),
        ("lm/x", ("r", ("lm", "x"), False, True)),
    ],
)
def test_paths_of_folders(path: str, expected: tuple[Any, ...]):
    """The root's name may be left out; the first of two is taken and told; the rest is missing."""
    place = walk_folders(FOLDERS, FOLDERS[0], path)

    assert expected == (place.folder_id, place.missing, place.is_ambiguous, place.is_editable)


def test_choosing_a_datastore():
    """By name, by address, the first that takes uploads; an unlisted address is taken as given."""
    stores = (Datastore("a", "http://a", allows_upload=False), Datastore("b", "http://b"))

    assert stores[1] == choose_datastore(stores, "", "http://wk")
    assert stores[0] == choose_datastore(stores, "a", "http://wk")
    assert stores[0] == choose_datastore(stores, "http://a/", "http://wk")
    assert Datastore("", "http://c") == choose_datastore(stores, "http://c", "http://wk")
    with pytest.raises(DeliveryRefusedError, match="no datastore that takes uploads"):
        choose_datastore(stores[:1], "", "http://wk")


@pytest.mark.parametrize(
    "url", ["", "webknossos.org", "ftp://x", "https://", "https://ada:pass@wk.example.org"]
)
def test_what_is_no_address(url: str):
    """An address begins with http or https, names a host, and holds no password."""
    with pytest.raises(ValueError, match=r"no address|password"):
        checked_url(url)
