"""`stackwatch logs`: the service's log, for people."""

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from stackwatch.cli.answers import answer_json, answer_text, answering, say
from stackwatch.cli.log_sources import (
    Line,
    add_events,
    is_journal_here,
    read_events,
    read_file,
    read_journal,
)
from stackwatch.cli.options import NUMBER_MAX, ConfigOption, JsonFlag, SetOption
from stackwatch.errors import LedgerError, UsageError
from stackwatch.journal import describe_event, priority_of
from stackwatch.logs import LogLevel

Source = Literal["journal", "file", "ledger"]

LINES: Final = 50
_EPILOG = """\b
Examples:
  stackwatch logs                       the last 50 lines
  stackwatch logs --follow              and what comes, until Ctrl-C
  stackwatch logs --job 118             all that is known of a job
  stackwatch logs --level error -n 0    every line that asked for a human
  stackwatch logs --raw -n 0 | stackwatch replay -
"""
_COLOURS: Final = {"error": "1;31", "critical": "1;31", "warning": "33", "debug": "2"}
_NAMES: Final = {"error": "ERROR", "critical": "ERROR", "warning": "warn ", "debug": "debug"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("logs", epilog=_EPILOG)(answering(logs))


def logs(
    is_following: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is written from now on.")
    ] = False,
    job: Annotated[
        int | None,
        typer.Option(
            min=1, max=NUMBER_MAX, help="Only this job: its lines, and its history from the ledger."
        ),
    ] = None,
    lines: Annotated[
        int | None,
        typer.Option(
            "--lines",
            "-n",
            min=0,
            help="At most so many of the newest; 0: all. [default: 50, of a job all]",
        ),
    ] = None,
    level: Annotated[LogLevel, typer.Option(help="The lowest level shown.")] = "debug",
    source: Annotated[
        Literal["auto", "journal", "file", "ledger"],
        typer.Option(help="Where to read; `auto` takes the first that has something to tell."),
    ] = "auto",
    is_raw: Annotated[
        bool, typer.Option("--raw", help="Each line as it was written: one JSON object a line.")
    ] = False,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show the service's log: from systemd's journal, else from `[logs] file`.

    With --job the ledger's history of that job is added, so that it is there even where the log is
    gone. Reading the journal needs root, or the group systemd-journal.
    """
    if as_json and is_following:
        raise UsageError(
            "--json is one document and never ends with --follow.",
            hint="Take `--raw --follow`: one JSON object a line.",
        )
    from stackwatch.settings import load_settings

    settings = load_settings(config, assignments=assignments or (), is_file_needed=False).settings
    events = _read_history(settings.daemon.state_dir, job)
    taken = _choose(source, settings.logs.file, has_job=job is not None)
    count = lines if lines is not None else LINES if job is None else 0
    found = _read(taken, settings.logs.file, (job, level), count, is_following=is_following)
    shown: Iterable[Line] = found
    if not is_following:
        shown = [one for one in add_events(found, events) if priority_of(one) <= _rank(level)]
        shown = shown[-count:] if count else shown
    if as_json:
        answer_json({"status": "ok", "source": taken, "lines": list(shown)})
        return
    is_empty = True
    for line in shown:
        is_empty = False
        _write(dump(line) if is_raw else render(line, has_colour=_has_colour()))
    if is_empty and not is_raw:
        say("no lines")


def dump(line: Mapping[str, Any]) -> str:
    """Return a line as JSON, as it was written."""
    return json.dumps(line, ensure_ascii=False, separators=(",", ":"))


def render(line: Mapping[str, Any], *, has_colour: bool = False) -> str:
    """Return a line for people: time, level, what, where, why.

    Examples
    --------
    >>> print(render({"level": "error", "event": "job.parked", "job_id": 7, "folder": "em1",
    ...               "acquisition": "run_041", "message": "No voxel size.", "hint": "Set it."}))
    -                   ERROR job.parked em1/run_041 (job 7): No voxel size.
                              hint: Set it.
    """
    level = str(line.get("level", "info"))
    told = str(line.get("message") if line.get("event") == "systemd" else describe_event(line))
    more = told.splitlines() or [""]
    hint = line.get("hint")
    if isinstance(hint, str) and hint not in told:
        more.append(f"hint: {hint}")
    first, *more = map(_disarm, more)
    head = f"{_time(line):<19} "
    body = f"{_NAMES.get(level, '     ')} {first}"
    if has_colour:
        head, body = _paint("2", head), _paint(_COLOURS.get(level, ""), body)
    return "\n".join([head + body, *(" " * 26 + text for text in more)])


def _read(
    source: Source,
    path: Path | None,
    wanted: tuple[int | None, LogLevel],
    lines: int,
    *,
    is_following: bool,
) -> Iterator[Line]:
    """Return the lines of one source."""
    job, level = wanted

    def is_wanted(line: Mapping[str, Any]) -> bool:
        return job in (None, line.get("job_id")) and priority_of(line) <= _rank(level)

    if source == "journal":
        return read_journal(job, lines, _rank(level), follows=is_following)
    if source == "file" and path is not None:
        return read_file(path, is_wanted, lines, follows=is_following)
    if is_following:
        raise _no_log()
    return iter(())


def _choose(source: str, path: Path | None, *, has_job: bool) -> Source:
    """Return where to read."""
    if source == "file" and path is None:
        raise _no_log()
    if source == "ledger" and not has_job:
        raise UsageError(
            "The ledger keeps the history of jobs alone.", hint="Say which: `--job NUMBER`."
        )
    if source in ("journal", "file", "ledger"):
        return source  # type: ignore[return-value]  # mypy does not narrow by a tuple
    if is_journal_here() and next(read_journal(None, 1), None) is not None:
        return "journal"
    if path is not None and path.exists():
        return "file"
    if has_job:
        return "ledger"
    raise _no_log()


def _no_log() -> UsageError:
    hint = "Set `[logs] file`, or become a member of the group systemd-journal."
    return UsageError(
        "No log is found: the journal has nothing of the service that you may read, and there is "
        f"no `[logs] file`. {hint}",
        hint=hint,
    )


def _read_history(state_dir: Path, job: int | None) -> list[Line]:
    """Return a job's history; empty without a ledger, where the log may still tell."""
    from stackwatch.cli.jobs import no_such_job
    from stackwatch.ledger.reader import LedgerReader
    from stackwatch.model.job import JobId

    if job is None:
        return []
    try:
        with LedgerReader.open(state_dir) as reader:
            details = reader.show_job(JobId(job))
    except LedgerError:
        return []
    if details is None:
        raise no_such_job(job)
    history = read_events(details.events, job)
    error = details.job.as_record()
    if history and error["message"]:  # only the newest error is kept
        last = history[-1]
        last["message"] = f"{last['message']}; {error['message']}"
        last["hint"] = error["hint"]
    return history


def _rank(level: LogLevel) -> int:
    return priority_of({"level": level})


def _time(line: Mapping[str, Any]) -> str:
    """Return when it was written, in the reader's own time zone."""
    try:
        at = datetime.fromisoformat(str(line["timestamp"])).astimezone()
    except (KeyError, ValueError):
        return "-"
    return at.strftime("%Y-%m-%d %H:%M:%S")


def _disarm(text: str) -> str:
    r"""Return a line whose control characters a terminal shows, and does not obey: file names."""
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c).startswith("C") else c
        for c in text.expandtabs()
    )


def _paint(code: str, text: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if code else text


def _has_colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _write(text: str) -> None:
    """Print a line; end quietly when nobody reads any more (`| head`)."""
    answer_text(text)
    try:
        is_read = os.fstat(sys.stdout.fileno()).st_rdev != Path(os.devnull).stat().st_rdev
    except (OSError, ValueError):
        return
    if not is_read:
        raise SystemExit(0)
