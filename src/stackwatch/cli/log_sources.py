"""Where log lines can be read: systemd's journal, the file of `[logs] file`, the ledger's history.

Every source yields events as the service wrote them: JSON values with `timestamp`, `level` and
`event`. What is no event of ours (systemd's own word on the unit, a crash) has `systemd` as its
event and a `message`.
"""

import contextlib
import json
import os
import shutil
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stackwatch import journal
from stackwatch.errors import UsageError
from stackwatch.model.acquisition import show_path

if TYPE_CHECKING:
    from stackwatch.ledger.records import EventRecord

Line = dict[str, Any]
Wanted = Callable[[Mapping[str, Any]], bool]

UNIT: Final = "stackwatch.service"
_POLL_S: Final = 0.25
_SAME_S: Final = 3.0
_LEVELS: Final = ("critical",) * 3 + ("error", "warning", "info", "info", "debug")
_PRIORITIES: Final = tuple("01234567")
_READ_BYTES: Final = 1 << 16


def is_journal_here() -> bool:
    """Tell whether this machine has a journal that can be asked."""
    return shutil.which("journalctl") is not None and Path(journal.SOCKET).is_socket()


def read_journal(
    job: int | None,
    lines: int,
    priority: int = 7,
    *,
    follows: bool = False,
    journalctl: str = "journalctl",
) -> Iterator[Line]:
    """Yield the journal's entries, oldest first.

    Parameters
    ----------
    job : int or None
        Only those of one job.
    lines : int
        At most so many of the newest; 0: all.
    priority : int
        The lowest severity, as syslog counts it: 3 for errors, 7 for all.
    follows : bool
        Whether to go on with what is written from now on, for ever.
    journalctl : str
        The program that reads it.
    """
    import subprocess

    matches = [f"SYSLOG_IDENTIFIER={journal.IDENTIFIER}"]
    if job is None:
        matches += ["+", f"UNIT={UNIT}"]
    else:
        matches.append(f"{journal.PREFIX}JOB={job}")
    command = [
        journalctl,
        "--quiet",
        "--no-pager",
        "--all",
        "--output=json",
        f"--priority={priority}",
    ]
    command += [f"--lines={lines}"] if lines else ["--lines=all"] if follows else []
    command += ["--follow"] if follows else []
    with subprocess.Popen(  # noqa: S603 - systemd's own program, no shell
        [*command, *matches], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        try:
            for text in child.stdout:
                if (line := _parse_entry(text)) is not None:
                    yield line
        finally:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM)


def read_file(path: Path, wanted: Wanted, lines: int, *, follows: bool = False) -> Iterator[Line]:
    """Yield the lines of a log file, oldest first; a file that is rotated is followed.

    Parameters
    ----------
    path : Path
    wanted : callable
        Whether a line counts.
    lines : int
        At most so many of the newest; 0: all.
    follows : bool

    Raises
    ------
    UsageError
        The file cannot be read.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise UsageError(
            f"The log “{show_path(path)}” cannot be read: {error.strerror}.",
            hint="Is the service's user told by `[logs] file`, and may you read there?",
            path=show_path(path),
        ) from error
    with file:
        rest = b""

        def take_whole() -> Iterator[bytes]:
            nonlocal rest  # half a line: its writer has not come to its end
            for text in file:
                rest = b"" if text.endswith(b"\n") else text
                yield text

        found = filter(wanted, _parse_lines(take_whole()))
        yield from deque(found, maxlen=lines) if lines else found
        if follows:
            yield from filter(wanted, _parse_lines(_follow(path, file.fileno(), rest)))


def read_events(events: "Iterable[EventRecord]", job: int) -> list[Line]:
    """Return a job's history in the ledger as lines."""
    found = []
    for event in events:
        facts = dict(event.facts)
        told = facts.pop("message", None)
        states = f"{event.state_from or '-'} → {event.state_to}" if event.state_to else ""
        line = {
            "timestamp": _stamp(event.at_us / 1e6),
            "level": "error" if event.state_to == "parked" else "info",
            "event": event.event,
            "job_id": job,
            **facts,
            "message": "; ".join(str(part) for part in (states, told) if part),
        }
        found.append(line)
    return found


def add_events(lines: Iterable[Line], events: Iterable[Line]) -> list[Line]:
    """Return log lines with those events of the ledger that no line tells of, in order of time."""
    merged = list(lines)
    known = [(line.get("event"), _seconds(line)) for line in merged]
    merged += [
        event
        for event in events
        if not any(
            name == event["event"] and abs(at_s - _seconds(event)) < _SAME_S for name, at_s in known
        )
    ]
    return sorted(merged, key=_seconds)


def _follow(path: Path, descriptor: int, rest: bytes) -> Iterator[bytes]:
    """Yield whole lines as they are written, also into a new file of the same name."""
    held, renewed = os.dup(descriptor), None
    try:
        while True:
            data = os.read(held, _READ_BYTES)
            if data:
                *whole, rest = (rest + data).split(b"\n")
                yield from whole
            elif renewed is not None:  # the old one was read to its end after the new one was there
                os.close(held)
                rest, held, renewed = b"", renewed, None
            else:
                time.sleep(_POLL_S)
                renewed = _open_if_new(path, held)
    finally:
        os.close(held)
        if renewed is not None:
            os.close(renewed)


def _open_if_new(path: Path, descriptor: int) -> int | None:
    """Return the file of that name if it is another one, or was begun anew; else None."""
    held = os.fstat(descriptor)
    try:
        found = path.stat()
        is_same = (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)
        if is_same and found.st_size >= os.lseek(descriptor, 0, os.SEEK_CUR):
            return None
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None  # between two files


def _parse_lines(lines: Iterable[bytes]) -> Iterator[Line]:
    for text in lines:
        with contextlib.suppress(ValueError):
            line = json.loads(text)
            if isinstance(line, dict):
                yield line


def _parse_entry(text: bytes) -> Line | None:
    """Return a journal entry as an event."""
    try:
        entry = json.loads(text)
    except ValueError:
        return None
    stamp = _stamp(int(entry.get("__REALTIME_TIMESTAMP", 0)) / 1e6)
    message = _text(entry.get("MESSAGE"))
    for told in (_text(entry.get(journal.RECORD)), message):  # or a line of JSON on stdout
        with contextlib.suppress(ValueError):  # anybody may write to the journal
            line = json.loads(told)
            if isinstance(line, dict):
                return {**line, "timestamp": stamp}
    priority = _text(entry.get("PRIORITY"))
    level = _LEVELS[int(priority)] if priority in _PRIORITIES else "info"
    return {"timestamp": stamp, "level": level, "event": "systemd", "message": message}


def _text(value: Any) -> str:
    """Return a field's text: the journal shows what is not printable as a list of numbers."""
    if isinstance(value, list):
        return bytes(one for one in value if isinstance(one, int)).decode("utf-8", "replace")
    return str(value or "")


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _seconds(line: Mapping[str, Any]) -> float:
    """Return when a line was written; 0 where it does not say."""
    try:
        return datetime.fromisoformat(str(line["timestamp"])).timestamp()
    except (KeyError, ValueError):
        return 0.0
