"""Find the acquisition somebody asks about, and the reason for its state."""

import os
import re
from collections.abc import Callable
from typing import Any

from stackwatch.errors import UsageError
from stackwatch.ledger.reader import LedgerReader
from stackwatch.ledger.records import AcquisitionRecord, Job
from stackwatch.model.acquisition import show_path
from stackwatch.model.job import AcquisitionState, JobId
from stackwatch.model.wording import EVENTS_SHOWN, describe_disposal, format_time

Ask = Callable[[dict[str, Any]], dict[str, Any] | None]
"""Asks the running daemon; None if there is none, or it is busy."""

_DIGITS = 19
"""A number with so many may be larger than any in the ledger."""

WATCH_KEYS = (
    "phase",
    "quiet_s",
    "quiet_gap_s",
    "ready_s",
    "next_look_s",
    "vetoes",
    "veto_kinds",
    "awaited",
    "unseen",
    "refused",
    "refusals",
    "is_accepted",
    "paused",
)
_ARRIVING = (AcquisitionState.SETTLING, AcquisitionState.INCOMPLETE)
_IN_QUEUE = (AcquisitionState.QUEUED, AcquisitionState.WAITING)
_WITH_ERROR = (
    AcquisitionState.INCOMPLETE,
    AcquisitionState.WAITING,
    AcquisitionState.PARKED,
    AcquisitionState.IGNORED,
)
"""States whose reason is the error that led to them."""
_REASONS = {
    AcquisitionState.SETTLING: "it is still changing, or has not been quiet for the quiet gap yet. "
    "It is queued by itself when the gap has passed.",
    AcquisitionState.INCOMPLETE: "it has been arriving for longer than `incomplete_after_h`, or "
    "not all of it can be read. Look whether the instrument has finished.",
    AcquisitionState.QUEUED: "it waits for a free worker.",
    AcquisitionState.CONVERTING: "a worker converts it.",
    AcquisitionState.PUBLISHED: "its dataset is in place.",
    AcquisitionState.SUPERSEDED: "a newer generation has taken its place.",
    AcquisitionState.IGNORED: "nothing in it is to be converted.",
    AcquisitionState.WAITING: "it is tried again by itself.",
    AcquisitionState.PARKED: "a human is needed.",
}
_NOT_READY = "it is not complete yet, as far as can be seen. It is queued by itself when it is."
_COMPARED = (
    "it has been quiet for long enough. Its content is compared with what was published, and it is "
    "queued if it is another one."
)


def build_explanation(
    reader: LedgerReader, what: str, ask: Ask, limit: int = EVENTS_SHOWN
) -> dict[str, Any]:
    """Return the document of `stackwatch jobs explain`.

    Parameters
    ----------
    reader : LedgerReader
    what : str
        A job's number, an acquisition's path, or its name.
    ask : callable
    limit : int
        How many of the last lines of its history are told.

    Raises
    ------
    UsageError
        Nothing of that name was seen; the caller shows it.
    """
    found = find_acquisition(reader, what)
    return explain(reader, found, _ask_watcher(reader, found, ask), limit)


def explain(
    reader: LedgerReader,
    found: AcquisitionRecord,
    live: dict[str, Any] | None,
    limit: int = EVENTS_SHOWN,
) -> dict[str, Any]:
    """Return the document about an acquisition that is known.

    Parameters
    ----------
    reader : LedgerReader
    found : AcquisitionRecord
    live : dict or None
        What the daemon's watcher knows at this moment: the values of `WATCH_KEYS`.
    limit : int
        How many of the last lines of its history are told.
    """
    newest = reader.last_job_of(found.acquisition_id)
    history = reader.list_events(acquisition_id=found.acquisition_id, limit=limit)
    planned = reader.find_disposal(found.acquisition_id)
    return {
        "status": "ok",
        "acquisition": found.as_record(),
        "because": say_why(reader, found, live),
        "not_ready": list_reasons(found, live),
        "watch": live,
        "job": newest.as_record() if newest is not None else None,
        "disposal": planned.as_record() if planned is not None else None,
        "events": [event.as_record() for event in history],
        "event_count": reader.count_events(acquisition_id=found.acquisition_id),
    }


def say_why(reader: LedgerReader, found: AcquisitionRecord, live: dict[str, Any] | None) -> str:
    """Return why an acquisition is in its state, in sentences; parameters as for `explain`."""
    not_ready = list_reasons(found, live)
    planned = reader.find_disposal(found.acquisition_id)
    return (
        _reason(found, reader.last_job_of(found.acquisition_id), live, not_ready)
        + _describe_wait(found, live, not_ready)
        + _describe_refusals(live)
        + _describe_source(planned.as_record() if planned is not None else None)
    )


def _ask_watcher(reader: LedgerReader, found: AcquisitionRecord, ask: Ask) -> dict[str, Any] | None:
    """Return what the daemon's watcher knows at this moment."""
    if not reader.is_daemon_alive():
        return None
    folder = next(folder for folder in reader.list_folders() if folder.name == found.folder)
    answer = ask({"command": "explain", "path": str(folder.path / found.key)})
    if answer is None or answer.get("acquisition") is None:
        return None
    return {key: answer.get(key) for key in WATCH_KEYS}


def list_reasons(acquisition: AcquisitionRecord, live: dict[str, Any] | None) -> list[str]:
    """Return what speaks against its being complete: now, or when it was last recorded."""
    if acquisition.state not in _ARRIVING:
        return []
    if live is not None:
        return list(live["vetoes"] or ())
    values = (acquisition.error or {}).get("values", {})
    return [str(reason) for reason in values.get("vetoes", ())]


def _describe_wait(
    acquisition: AcquisitionRecord, live: dict[str, Any] | None, not_ready: list[str]
) -> str:
    """Return what an arriving acquisition waits for, or one whose folder is paused."""
    if acquisition.state in _IN_QUEUE and live is not None and live["paused"]:
        return f" Its folder {live['paused']}."
    if acquisition.state not in _ARRIVING or acquisition.vanished_at_us is not None:
        return ""
    if _is_compared(acquisition, live):
        return ""
    said = []
    if not_ready and (live is not None or acquisition.state is AcquisitionState.SETTLING):
        recorded = "" if live is not None else " (when it was last recorded)"
        said.append(f"Not ready because: {'; '.join(not_ready)}{recorded}.")
    if live is not None:
        said.append(_describe_quiet(live))
        if live["awaited"]:
            said.append(f"Waited for: {', '.join(live['awaited'])}.")
        if live["unseen"]:
            said.append(f"Cannot be seen: {', '.join(live['unseen'])}.")
        if live["is_accepted"]:
            said.append("A person has accepted it as it is.")
    return "".join(f" {sentence}" for sentence in said)


def _describe_refusals(live: dict[str, Any] | None) -> str:
    """Return what lies in it and is never read."""
    if live is None or not live["refused"]:
        return ""
    more = live["refused"] - len(live["refusals"])
    rest = f"; and {more} more" if more > 0 else ""
    return f" Never read: {'; '.join(live['refusals'])}{rest}."


def _describe_quiet(live: dict[str, Any]) -> str:
    looked = f"looked at again in {live['next_look_s']:.0f} s."
    if live["ready_s"] is None:
        return f"When that is over, {live['quiet_gap_s']:g} s of quiet are waited for; {looked}"
    whole_s = live["quiet_s"] + live["ready_s"]
    return f"Quiet for {live['quiet_s']:.0f} of {whole_s:g} s; {looked}"


def find_acquisition(reader: LedgerReader, what: str) -> AcquisitionRecord:
    """Return the acquisition that a job's number, a path or a name means.

    Raises
    ------
    UsageError
        Nothing of that name was seen; the caller shows it.
    """
    if what.isascii() and what.isdecimal() and len(what) < _DIGITS:
        details = reader.show_job(JobId(int(what)), events=0)
        if details is not None:
            wanted = details.job.acquisition_id
            found = reader.first_acquisition(lambda number, *_: number == wanted)
            assert found is not None  # a job's acquisition is never removed
            return found
    folders = {folder.name: str(folder.path) for folder in reader.list_folders()}
    path = os.path.abspath(what)  # noqa: PTH100 - links are left as people see them

    def is_meant(_number: int, folder: str, key: str, name: str) -> bool:
        is_named = what in {key, name, f"{folder}/{key}"}
        return is_named or _is_inside(path, f"{folders[folder].rstrip('/')}/{key}")

    found = reader.first_acquisition(is_meant)
    if found is not None:
        return found
    hint = "`stackwatch status` shows the drop folders; files that are ignored are not seen."
    raise UsageError(
        f"Nothing called “{show_path(what)}” has been seen in a drop folder. {hint}",
        hint=hint,
        path=show_path(what),
    )


def _is_inside(path: str, acquisition: str) -> bool:
    """Tell whether a path is an acquisition's, or of something in it; `#` stands for a number."""
    if "#" not in acquisition:
        return path == acquisition or path.startswith(f"{acquisition}/")
    inside = re.escape(acquisition).replace(r"\#", r"[0-9]+")
    return re.fullmatch(rf"{inside}(/.*)?", path) is not None


def _describe_source(disposal: dict[str, Any] | None) -> str:
    return f" Its source: {describe_disposal(disposal)}." if disposal is not None else ""


def _is_compared(acquisition: AcquisitionRecord, live: dict[str, Any] | None) -> bool:
    """Tell whether it lies still, and only its content decides what it is."""
    is_settling = acquisition.state is AcquisitionState.SETTLING
    return is_settling and live is not None and live["phase"] == "settled"


def _reason(
    acquisition: AcquisitionRecord,
    job: Job | None,
    live: dict[str, Any] | None,
    not_ready: list[str],
) -> str:
    if acquisition.vanished_at_us is not None:
        return f"it has not been there since {format_time(acquisition.vanished_at_us)}."
    if _is_compared(acquisition, live):
        return _COMPARED
    if acquisition.state is AcquisitionState.SETTLING and not_ready:
        return _NOT_READY
    reason = _REASONS[acquisition.state]
    error = acquisition.error or (job.error if job is not None else None)
    if acquisition.state not in _WITH_ERROR or not error:
        return reason
    message = str(error.get("message", ""))
    if acquisition.state is AcquisitionState.WAITING and job is not None:
        return f"{message} It is tried again at {format_time(job.not_before_us)}."
    return message
