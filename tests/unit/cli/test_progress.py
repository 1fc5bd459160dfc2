"""Progress: a few lines where nobody sits, a bar on a terminal."""

import io
import signal
import sys

import pytest

from stackwatch.cli.progress import reporter
from stackwatch.cli.signals import StopOnSignal
from stackwatch.errors import CancelledError, ExitCode
from stackwatch.model.result import Progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def test_phases_are_said_once(capsys: pytest.CaptureFixture[str]):
    """Off a terminal each phase is one line, not one for every slice."""
    with reporter() as journal:
        journal.progress(Progress("reading"))
        for done in range(100):
            journal.progress(Progress("converting", done, 100, 0, done << 20))
        journal.progress(Progress("verifying", 100, 100))
    shown = capsys.readouterr()

    assert ["reading …", "converting: 0 of 100 slices", "verifying: 100 of 100 slices"] == (
        shown.err.splitlines()
    )
    assert not shown.out


def test_quiet_means_no_lines(capsys: pytest.CaptureFixture[str]):
    """With --json nothing is said on the way, unless somebody sits at the terminal."""
    with reporter(is_quiet=True) as journal:
        journal.progress(Progress("converting", 1, 2))

    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch):
    """On a terminal stderr shows phase and slices."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with reporter(is_quiet=True) as journal:
        journal.progress(Progress("converting", 64, 256, 0, 5 << 20))

    assert "converting" in stream.getvalue()
    assert "64/256" in stream.getvalue()


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)],
)
def test_the_first_signal_asks_to_stop(number: signal.Signals, code: int):
    """A signal sets the event; the error that follows carries the exit code of that signal."""
    before = signal.getsignal(number)

    def convert() -> None:
        with StopOnSignal() as stop:
            signal.raise_signal(number)
            assert stop.cancelled.is_set()
            assert signal.getsignal(number) is before, "a second signal acts at once"
            raise CancelledError("stopped")

    with pytest.raises(CancelledError) as caught:
        convert()

    assert code == caught.value.values["exit_code"]
    assert signal.getsignal(number) is before


def test_without_a_signal_nothing_changes():
    """Handlers are put back, and the event stays unset."""
    before = signal.getsignal(signal.SIGTERM)
    with StopOnSignal() as stop:
        assert signal.getsignal(signal.SIGTERM) is not before

    assert not stop.cancelled.is_set()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("is_ignored", [False, True])
def test_a_connection_that_is_lost_stops_too_unless_it_is_not_to(is_ignored):
    """What was begun is cleared away; with `nohup` it goes on."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if is_ignored else signal.SIG_DFL)
    try:
        with StopOnSignal() as stop:
            signal.raise_signal(signal.SIGHUP)
            found = stop.cancelled.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)

    assert found is not is_ignored
