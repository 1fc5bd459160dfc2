"""systemd's journal: entries with fields of their own, sent without ever waiting for anybody.

`journalctl STACKWATCH_JOB=7`, `journalctl -p err` and `journalctl MESSAGE_ID=…` find what a line of
text would hide. Where the journal's socket cannot be reached, lines on stdout carry their severity
as a prefix (`<3>`), which the journal understands too.

Source: systemd's “Native Journal Protocol”, and sd-daemon(3) for the prefixes.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TextIO

SOCKET: Final = "/run/systemd/journal/socket"
IDENTIFIER: Final = "stackwatch"
PREFIX: Final = "STACKWATCH_"
RECORD: Final = PREFIX + "RECORD"
"""The field that holds the whole line as JSON, as a log file has it."""

WAITING_BYTES_MAX: Final = 1 << 20
LINE_BYTES_MAX: Final = 40_000
"""The journal splits longer lines on stdout (`LineMax=48K`), and what is split is no JSON."""

MESSAGE_IDS: Final[dict[str, str]] = {
    "acquisition.settled": "7f574c3574ae473ab1b743425cdc12e0",
    "job.queued": "c223b7e52d3b462190e807a2fee3fbd4",
    "dataset.published": "069276d41fde4a1b8ff91d90522aadb9",
    "job.parked": "bde3b6a74df94e3b9ef3a35163a69ad3",
    "folder.unavailable": "726040e5fdc6476b835938f0187774c9",
    "folder.recovered": "e287412e85ec4c39b24f8ba05483bc95",
    "job.delivered": "a7d9f4dddaa348068d5541a56346b2f1",
    "delivery.parked": "17285b8244ec402b950a84a0708b317e",
    "part.stopped": "6b343b1e862a47b18a9e6c6705df4c7a",
}
"""What an event is known by, for ever: a number is never given to another event."""

_PRIORITIES: Final = {
    "critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7,
}  # fmt: skip
_FIELDS: Final = {"job_id": PREFIX + "JOB"}
_NOT_FIELDS: Final = frozenset({"level", "timestamp"})
_TOLD: Final = ("message", "reason", "path", "look")
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_PAUSE_S: Final = 0.02


def is_read_by_journal(stream: TextIO) -> bool:
    """Tell whether this very stream goes to the journal, which has its own clock."""
    wanted = os.environ.get("JOURNAL_STREAM", "")
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return wanted == f"{found.st_dev}:{found.st_ino}"


def priority_of(event: Mapping[str, Any]) -> int:
    """Return the severity of an event as syslog counts it: 3 is an error, 7 for debugging."""
    return _PRIORITIES.get(str(event.get("level")), 6)


def describe_event(event: Mapping[str, Any]) -> str:
    """Return an event as one line for people; a traceback follows on lines of its own.

    Examples
    --------
    >>> describe_event({"event": "job.parked", "job_id": 7, "folder": "em1",
    ...                 "acquisition": "run_041", "message": "Slice 12 is missing."})
    'job.parked em1/run_041 (job 7): Slice 12 is missing.'
    """
    names = [str(event[key]) for key in ("folder", "acquisition") if event.get(key) is not None]
    about = [str(event.get("event", "")), "/".join(names)]
    if event.get("job_id") is not None:
        about.append(f"(job {event['job_id']})")
    told = next((event[key] for key in _TOLD if isinstance(event.get(key), str)), "")
    line = " ".join(filter(None, about)) + (f": {told}" if told else "")
    return f"{line}\n{event['exception']}" if event.get("exception") else line


def make_entry(event: Mapping[str, Any], *, is_json: bool = False) -> bytes:
    """Return an event as the journal's datagram.

    Parameters
    ----------
    event : mapping
        JSON values.
    is_json : bool
        Whether the text of the entry is the event as JSON, instead of a line for people.
    """
    record = dump_event(event)
    fields = {
        "MESSAGE": record if is_json else describe_event(event),
        "PRIORITY": str(priority_of(event)),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
    }
    if (message_id := MESSAGE_IDS.get(str(event.get("event")))) is not None:
        fields["MESSAGE_ID"] = message_id
    for key, value in event.items():
        if value is not None and key not in _NOT_FIELDS:
            fields[_name_field(key)] = value if isinstance(value, str) else _dump(value)
    return b"".join(
        _encode_field(name, value) for name, value in {**fields, RECORD: record}.items()
    )


def make_line(event: Mapping[str, Any]) -> str:
    """Return an event as a line for stdout: severity, then JSON, short enough for the journal."""
    line = dump_event(event)
    shortened = dict(event)
    while len(line.encode("utf-8", "backslashreplace")) > LINE_BYTES_MAX:
        key = max(shortened, key=lambda name: len(_dump(shortened[name])))
        shortened[key] = f"… {len(_dump(shortened[key]))} characters were left out"
        line = dump_event(shortened)
    return f"<{priority_of(event)}>{line}"


def dump_event(event: Mapping[str, Any]) -> str:
    """Return an event as JSON, as every log holds it."""
    return json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _name_field(key: str) -> str:
    """Return a field's name: capitals, digits and `_`, 64 at most."""
    plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in key.upper())
    return _FIELDS.get(key) or (PREFIX + plain)[:64]


def _encode_field(name: str, value: str) -> bytes:
    """Return one field; a value with line breaks is preceded by its length."""
    data = value.encode("utf-8", "backslashreplace")
    if b"\n" not in data:
        return b"%s=%s\n" % (name.encode(), data)
    return b"%s\n%s%s\n" % (name.encode(), len(data).to_bytes(8, "little"), data)


class JournalOutlet:
    """Sends entries to the journal; they wait in memory where it is slow, up to a limit.

    What does not fit is counted, and the count is told when entries can be sent again. May be
    called from any thread.

    Parameters
    ----------
    describe_lost : callable
        Returns the event that tells how many were lost.
    path : str
        Of the journal's socket, where it is not the usual one.

    Raises
    ------
    OSError
        There is no such socket, or we may not use it.
    """

    def __init__(self, describe_lost: Callable[[int], Mapping[str, Any]], path: str = "") -> None:
        self._path = path or SOCKET
        if not Path(self._path).is_socket():
            raise FileNotFoundError(self._path)
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe,
            contextlib.suppress(ConnectionRefusedError),  # it is being started afresh
        ):
            probe.setblocking(False)
            probe.connect(self._path)
        self._describe_lost = describe_lost
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._waiting: deque[tuple[bytes, int]] = deque()
        """Entries, and how many lines are missing where one is not sent."""
        self._size = 0
        self._lost = 0
        self._lock = threading.Lock()

    def write(self, entry: bytes) -> None:
        """Send an entry, now or as soon as the journal takes it."""
        with self._lock:
            self._drain()
            if self._size + len(entry) > WAITING_BYTES_MAX and self._waiting:
                self._lost += 1
                return
            self._push(entry, 1)
            self._drain()

    def drain(self) -> None:
        """Send what waits, as far as the journal takes it."""
        with self._lock:
            self._drain()

    def flush(self, timeout_s: float) -> None:
        """Send what waits; give up when nobody takes it for so long."""
        deadline_s = time.monotonic() + timeout_s
        self.drain()
        while (self._waiting or self._lost) and time.monotonic() < deadline_s:
            time.sleep(_PAUSE_S)
            self.drain()

    def close(self) -> None:
        """Release the socket."""
        with self._lock:
            self._sock.close()

    # ------------------------------------------------------------ parts, under the lock

    def _push(self, entry: bytes, lines: int) -> None:
        self._waiting.append((entry, lines))
        self._size += len(entry)

    def _drain(self) -> None:
        while self._waiting or self._lost:
            if not self._waiting:
                lost, self._lost = self._lost, 0
                self._push(make_entry(self._describe_lost(lost)), lost)
            entry, lines = self._waiting[0]
            try:
                self._send(entry)
            except (BlockingIOError, ConnectionRefusedError, FileNotFoundError):
                return  # its queue is full, or it is being started afresh
            except OSError:
                self._lost += lines
                self._pop()
                return
            self._pop()

    def _pop(self) -> None:
        entry, _ = self._waiting.popleft()
        self._size -= len(entry)

    def _send(self, entry: bytes) -> None:
        try:
            self._sock.sendto(entry, socket.MSG_DONTWAIT, self._path)
        except OSError as error:
            if error.errno not in _TOO_LARGE:
                raise
            with _sealed(entry) as descriptor:
                self._sock.sendmsg([], _pass(descriptor), socket.MSG_DONTWAIT, self._path)


_TOO_LARGE: Final = frozenset({errno.EMSGSIZE, errno.ENOBUFS})


def _pass(descriptor: int) -> list[tuple[int, int, bytes]]:
    """Return the ancillary data that hands an open file over."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptor.to_bytes(4, sys.byteorder))]


@contextlib.contextmanager
def _sealed(entry: bytes) -> Iterator[int]:
    """Yield a file in memory that nobody can change any more: the journal takes no other."""
    descriptor = os.memfd_create("stackwatch-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(entry)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        yield descriptor
    finally:
        os.close(descriptor)
