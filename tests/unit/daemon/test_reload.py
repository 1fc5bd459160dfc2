"""Settings read anew: in a thread, one reading at a time."""

import queue
import threading
from pathlib import Path
from typing import Any

import pytest

from stackwatch.daemon.reload import LOAD_TIMEOUT_S, Reload, SettingsLoaded, plan_swap
from stackwatch.errors import ConfigError, StackwatchError, UnexpectedError, UsageError
from stackwatch.settings import DaemonSettings, FolderSettings, Settings

DEADLINE_S = 10.0


class Standing:
    """A clock that stands still until it is moved."""

    at = 0.0

    def monotonic(self) -> float:
        """Return the seconds since the beginning."""
        return self.at

    def now(self) -> float:
        """Return the same."""
        return self.at


def folder(name: str, path: str = "/drop") -> FolderSettings:
    """Return a folder's settings."""
    return FolderSettings(name=name, path=Path(path), target=Path("/out"))


def reading(load: Any) -> tuple[Reload, "queue.Queue[SettingsLoaded]", Standing]:
    """Return a reload, what it posts, and its clock."""
    posted: queue.Queue[SettingsLoaded] = queue.Queue()
    clock = Standing()
    return Reload(load, posted.put, clock), posted, clock


def test_folders_are_known_by_their_names():
    """D11: another path is the same folder, changed; another name is another folder."""
    old = Settings(folder=(folder("kept"), folder("moved"), folder("gone")))
    new = Settings(folder=(folder("moved", "/elsewhere"), folder("kept"), folder("new")))

    swap = plan_swap(old, new)

    assert (("new",), ("gone",), ("moved",)) == (swap.added, swap.removed, swap.changed)
    assert new == swap.settings
    assert () == swap.needs_restart


def test_what_needs_a_restart_is_named_and_kept():
    """Only the state directory cannot be swapped; the rest of the new settings counts."""
    old = Settings(daemon=DaemonSettings(state_dir=Path("/old")))
    new = Settings(daemon=DaemonSettings(state_dir=Path("/new"), workers=3))

    swap = plan_swap(old, new)

    assert ("daemon.state_dir",) == swap.needs_restart
    assert (Path("/old"), 3) == (swap.settings.daemon.state_dir, swap.settings.daemon.workers)
    assert ["daemon.state_dir"] == swap.as_record()["needs_restart"]


@pytest.mark.parametrize("error", [ConfigError("two mistakes"), UsageError("no file")])
def test_a_refusal_reaches_the_main_thread(error: StackwatchError):
    """C14: what the thread finds wrong is what the callers are told."""

    def load() -> Settings:
        raise error

    reload, posted, _ = reading(load)
    reload.begin()
    loaded = posted.get(timeout=DEADLINE_S)

    assert error is loaded.found
    assert reload.take(loaded)


def test_any_exception_is_a_refusal():
    """C14: even a mistake of ours leaves the old settings in force."""

    def load() -> Settings:
        raise ZeroDivisionError

    reload, posted, _ = reading(load)
    reload.begin()

    assert isinstance(posted.get(timeout=DEADLINE_S).found, UnexpectedError)


def test_who_asks_meanwhile_gets_a_reading_of_his_own():
    """A reading that began before a change of the file does not answer for it."""
    go = threading.Event()
    readings: list[int] = []

    def load() -> Settings:
        readings.append(len(readings))
        assert go.wait(DEADLINE_S)
        return Settings()

    reload, posted, _ = reading(load)
    replies: list[queue.SimpleQueue[Any]] = [queue.SimpleQueue() for _ in range(3)]
    for reply in replies:
        reload.begin(reply)
    go.set()
    first = posted.get(timeout=DEADLINE_S)
    assert reload.take(first)
    reload.finish({"status": "first"})

    assert {"status": "first"} == replies[0].get_nowait()
    assert replies[1].empty()
    second = posted.get(timeout=DEADLINE_S)
    assert not reload.take(first)
    assert reload.take(second)
    reload.finish({"status": "second"})
    assert ["second", "second"] == [reply.get_nowait()["status"] for reply in replies[1:]]
    assert [0, 1] == readings


def test_a_check_that_hangs_is_given_up():
    """C14: a dead share in the new settings does not hold up the answer for ever."""
    go = threading.Event()

    def load() -> Settings:
        assert go.wait(DEADLINE_S)
        return Settings()

    reload, posted, clock = reading(load)
    reload.begin()
    assert reload.expired() is None

    clock.at = LOAD_TIMEOUT_S
    late = reload.expired()

    assert late is not None
    assert isinstance(late.found, ConfigError)
    assert reload.take(late)
    reload.finish(late.found)
    go.set()
    assert not reload.take(posted.get(timeout=DEADLINE_S))
    assert reload.expired() is None


def test_settings_without_a_file_cannot_be_read_again():
    """There is nothing to read; the caller is told at once."""
    reload, _, _ = reading(None)

    with pytest.raises(UsageError):
        reload.begin()
