"""Logs: names of events and keys, and one place that sets structlog up.

`structlog` is imported late: a program that logs nothing does not pay for it.
"""

import atexit
import contextlib
import logging
import math
import os
import threading
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

from stackwatch.journal import (
    JournalOutlet,
    dump_event,
    is_read_by_journal,
    make_entry,
    make_line,
)
from stackwatch.log_file import LogFile
from stackwatch.model.acquisition import show_path
from stackwatch.outlet import Outlet

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

LogFormat = Literal["auto", "json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]
_LONGEST_TEXT: Final = 8000
_LONGEST_LIST: Final = 50
FLUSH_S: Final = 2.0
"""How long the end of the program waits for a slow reader of its log."""


class Event(StrEnum):
    """What happened: `noun.past_participle`, stable, no values inside."""

    ACQUISITION_OBSERVED = "acquisition.observed"
    ACQUISITION_SEEN = "acquisition.seen"
    ACQUISITION_SETTLED = "acquisition.settled"
    ACQUISITION_CHANGED = "acquisition.changed"
    ACQUISITION_INCOMPLETE = "acquisition.incomplete"
    ACQUISITION_VANISHED = "acquisition.vanished"
    ACQUISITION_ACCEPTED = "acquisition.accepted"
    ACQUISITION_FORGOTTEN = "acquisition.forgotten"
    ACQUISITION_IGNORED = "acquisition.ignored"
    ACQUISITION_MOVED = "acquisition.moved"
    BACKUP_FAILED = "backup.failed"
    CLAIM_TAKEN = "claim.taken"
    CONTROL_ANSWERED = "control.answered"
    CONTROL_REFUSED = "control.refused"
    DAEMON_DRAINED = "daemon.drained"
    DAEMON_STARTED = "daemon.started"
    DAEMON_STOPPED = "daemon.stopped"
    DAEMON_STOPPING = "daemon.stopping"
    DAEMON_WAITING = "daemon.waiting"
    DATASET_PUBLISHED = "dataset.published"
    DAEMON_DEGRADED = "daemon.degraded"
    DAEMON_RECOVERED = "daemon.recovered"
    DATASET_SUPERSEDED = "dataset.superseded"
    DELIVERED = "job.delivered"
    DELIVERY_FAILED = "delivery.failed"
    DELIVERY_PARKED = "delivery.parked"
    DELIVERY_PAUSED = "delivery.paused"
    DELIVERY_RECOVERED = "delivery.recovered"
    DELIVERY_RESUMED = "delivery.resumed"
    DELIVERY_STARTED = "delivery.started"
    DELIVERY_WARNED = "delivery.warned"
    ENTRY_REFUSED = "entry.refused"
    FOLDER_PAUSED = "folder.paused"
    FOLDER_RECOVERED = "folder.recovered"
    FOLDER_UNAVAILABLE = "folder.unavailable"
    JOB_CLAIMED = "job.claimed"
    JOB_FAILED = "job.failed"
    JOB_PARKED = "job.parked"
    JOB_QUEUED = "job.queued"
    JOB_RECOVERED = "job.recovered"
    JOB_SUCCEEDED = "job.succeeded"
    JOB_SUPERSEDED = "job.superseded"
    JOB_WAITING = "job.waiting"
    LIBRARY_WARNED = "library.warned"
    LOG_LOST = "log.lost"
    MISTAKE_CAUGHT = "mistake.caught"
    NOTICE_DROPPED = "notice.dropped"
    NOTICE_FAILED = "notice.failed"
    NOTICE_SENT = "notice.sent"
    PREVIEW_FAILED = "preview.failed"
    PAGE_FAILED = "page.failed"
    PAGE_REFUSED = "page.refused"
    PAGE_STARTED = "page.started"
    PART_RECOVERED = "part.recovered"
    PART_STOPPED = "part.stopped"
    RANGE_DONE = "range.done"
    RANGES_TAKEN = "ranges.taken"
    SCAN_FINISHED = "scan.finished"
    SETTINGS_REFUSED = "settings.refused"
    SETTINGS_RELOADED = "settings.reloaded"
    SETTINGS_WARNED = "settings.warned"
    SOURCE_ARCHIVED = "source.archived"
    SOURCE_DELETED = "source.deleted"
    SOURCE_KEPT = "source.kept"
    STAGING_REMOVED = "staging.removed"
    TARGET_UNAVAILABLE = "target.unavailable"
    WATCH_DEGRADED = "watch.degraded"
    WATCH_STARTED = "watch.started"
    WORKER_STALLED = "worker.stalled"
    WORKER_STOPPED = "worker.stopped"


KEYS: Final = frozenset({
    "acquisition", "acquisition_id", "added", "at_s", "attempt", "bytes_read", "bytes_sent",
    "bytes_written", "changed", "content_digest", "datasets", "delivery_id", "disposition",
    "error_code", "event", "exc_info", "exception", "files", "folder", "folders", "free_bytes",
    "generation", "hint", "host", "job_id", "layer", "layout", "left", "level", "lines", "link",
    "listen", "logger", "look", "mag", "message", "mib_per_s", "needed_bytes", "needs_restart",
    "parked", "path", "peak_mib", "pid", "range", "reason", "receiver", "removed", "reserve_bytes",
    "retry_at_utc", "seconds", "server", "shape_zyx", "signal", "slices", "state", "timestamp",
    "total_bytes", "version", "voxels", "workers",
})  # fmt: skip
"""Every key a log line may carry: units in the name."""


def logger(**bound: Any) -> "FilteringBoundLogger":  # JSON values
    """Return a logger.

    Parameters
    ----------
    **bound
        Keys that each of its lines carries, such as `job_id`.
    """
    import structlog

    log: FilteringBoundLogger = structlog.get_logger(**bound)
    return log


def configure_logs(
    stream: TextIO,
    log_format: LogFormat = "auto",
    level: str = "info",
    file: Path | None = None,
    *,
    never_blocks: bool = False,
) -> None:
    """Set structlog and the standard library's logging up for this process.

    Parameters
    ----------
    stream : text stream
        stdout for `stackwatch run`, stderr for every other command.
    log_format : "auto" | "json" | "console"
        `auto` is `console` on a terminal and `json` elsewhere. Where systemd's journal reads the
        stream, entries with fields go to it, `json` or a line for people as their text.
    level : str
        The lowest level shown.
    file : Path or None
        A file that gets every line as JSON too; it may be rotated by renaming. Nobody waits for
        it, not even on a share that hangs.
    never_blocks : bool
        Whether lines wait in memory, or are counted and dropped, where the reader of the stream is
        slow or gone: a service must go on. What still waits at the end is written then, for a
        little while; call `drain_logs` now and then.
    """
    import structlog

    _close_outlets()
    is_journal = is_read_by_journal(stream)
    lines = _open_lines(stream, is_journal=is_journal) if never_blocks else _LineLogger(stream)
    number = logging.getLevelNamesMapping()[level.upper()]
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    processors: list[Any] = [  # structlog's own alias for a processor is not exported as a type
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        stamp,
        make_plain,
        *([_open_copy(file)] if file is not None else []),
        _choose_renderer(stream, lines, log_format, is_journal=is_journal),
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_names: lines,
        cache_logger_on_first_use=False,
    )
    _adopt_library_logs()


def make_plain(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    r"""Turn every value into one that strict JSON can hold and the journal does not split.

    Undecodable bytes of file names become `\xNN`, NaN and infinity become text, and long texts
    and lists are cut. The keys everybody looks for come first.
    """
    first = [key for key in ("timestamp", "level", "event") if key in event]
    rest = [key for key in event if key not in first]
    return {show_path(str(key)): _plain(event[key]) for key in (*first, *rest)}


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case dict():
            return {show_path(str(key)): _plain(entry) for key, entry in value.items()}
        case list() | tuple() | set() | frozenset():
            entries = [_plain(entry) for entry in list(value)[:_LONGEST_LIST]]
            left = len(value) - len(entries)
            return [*entries, f"… and {left} more"] if left else entries
        case _:
            text = show_path(str(value))
            return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + " …"


def _choose_renderer(
    stream: TextIO, lines: "_LineLogger", log_format: LogFormat, *, is_journal: bool
) -> Any:
    """Return the last processor: it makes of an event what `lines` takes."""
    import structlog

    if is_journal:
        if not isinstance(lines, _OutletLogger) or not lines.is_journal:
            return _render_line
        return _render_json_entry if log_format == "json" else _render_entry
    if log_format == "console" or (log_format == "auto" and _is_terminal(stream)):
        return structlog.dev.ConsoleRenderer(colors=_wants_colour(stream))
    return _render_json


def _render_json(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    return dump_event(event)


def _render_line(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    event.pop("timestamp", None)  # the journal has its own clock
    return make_line(event)


def _render_entry(_logger: object, _method: str, event: MutableMapping[str, Any]) -> bytes:
    return make_entry(event)


def _render_json_entry(_logger: object, _method: str, event: MutableMapping[str, Any]) -> bytes:
    return make_entry(event, is_json=True)


def drain_logs() -> None:
    """Write the lines that wait for a slow reader, as far as it takes them now."""
    for outlet in _outlets:
        outlet.drain()


def flush_logs(timeout_s: float = FLUSH_S) -> None:
    """Write the lines that wait; give up when nobody takes them for so long."""
    for outlet in _outlets:
        outlet.flush(timeout_s)


_outlets: list[Outlet | JournalOutlet | LogFile] = []
"""Those of this process: of its stream and of its file, as far as it has them."""


def _open_lines(stream: TextIO, *, is_journal: bool) -> "_LineLogger":
    """Return a logger of lines that never waits."""
    try:
        outlet = _open_outlet(stream, is_journal=is_journal)
    except (OSError, ValueError):  # no descriptor behind it
        return _LineLogger(stream)
    _adopt_outlet(outlet)
    return _OutletLogger(stream, outlet)


def _open_copy(path: Path) -> "_FileCopy":
    file = LogFile(path, lambda lines: dump_event(_tell_lost(lines)))
    _adopt_outlet(file)
    return _FileCopy(file)


def _adopt_outlet(outlet: Outlet | JournalOutlet | LogFile) -> None:
    """Write what waits in an outlet at the end of the program too."""
    _outlets.append(outlet)
    atexit.unregister(flush_logs)
    atexit.register(flush_logs)


def _close_outlets() -> None:
    """Write what waits in the outlets before, a little while, and give them up."""
    flush_logs()
    while _outlets:
        _outlets.pop().close()


def _open_outlet(stream: TextIO, *, is_journal: bool) -> Outlet | JournalOutlet:
    if is_journal:
        with contextlib.suppress(OSError):  # a sandbox may hide its socket
            return JournalOutlet(_tell_lost)
    return Outlet(stream, lambda lines: dump_event(_tell_lost(lines)))


def _tell_lost(lines: int) -> dict[str, Any]:
    stamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return {"timestamp": stamp, "level": "warning", "event": str(Event.LOG_LOST), "lines": lines}


class _LineLogger:
    """Writes lines; a reader that went away does not matter to us."""

    _lock = threading.Lock()

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, message: str) -> None:
        try:
            with self._lock:
                self._stream.write(message + "\n")
                self._stream.flush()
        except (OSError, ValueError):  # broken pipe, full disk, closed stream
            return

    debug = info = warning = error = critical = exception = log = msg


class _OutletLogger(_LineLogger):
    """Writes lines to an outlet."""

    def __init__(self, stream: TextIO, outlet: Outlet | JournalOutlet) -> None:
        super().__init__(stream)
        self._outlet = outlet

    @property
    def is_journal(self) -> bool:
        """Whether it takes entries of the journal instead of lines."""
        return isinstance(self._outlet, JournalOutlet)

    def msg(self, message: Any) -> None:  # a line, or an entry as bytes
        self._outlet.write(message)

    debug = info = warning = error = critical = exception = log = msg


class _FileCopy:
    """Writes each event as JSON to a file too."""

    def __init__(self, file: LogFile) -> None:
        self._file = file

    def __call__(
        self, logger: object, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        self._file.write(_render_json(logger, method, event))
        return event


class _LibraryHandler(logging.Handler):
    """Passes what libraries say through the standard logging on as events of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        log = logger()
        say: Callable[..., Any] = log.error if record.levelno >= logging.ERROR else log.warning
        say(Event.LIBRARY_WARNED, logger=record.name, message=record.getMessage())


def _adopt_library_logs() -> None:
    root = logging.getLogger()
    root.handlers[:] = [_LibraryHandler(logging.WARNING)]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def _wants_colour(stream: TextIO) -> bool:
    return _is_terminal(stream) and not os.environ.get("NO_COLOR")
