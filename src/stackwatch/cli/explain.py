"""Find the acquisition somebody asks about, and the reason for its state."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackwatch.cli.live import ask_daemon
from stackwatch.cli.tables import format_time
from stackwatch.errors import UsageError
from stackwatch.model.acquisition import show_path
from stackwatch.model.job import AcquisitionState, JobId

if TYPE_CHECKING:
    from stackwatch.ledger.reader import LedgerReader
    from stackwatch.ledger.records import AcquisitionRecord, FolderRecord, Job

_ALL = 1_000_000
WATCH_KEYS = ("phase", "quiet_s", "quiet_gap_s", "next_look_s", "vetoes")
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


def explain_acquisition(state_dir: Path, what: str) -> dict[str, Any]:
    """Return the document of `stackwatch jobs explain`.

    Parameters
    ----------
    state_dir : Path
    what : str
        A job's number, an acquisition's path, or its name.

    Raises
    ------
    UsageError
        Nothing of that name was seen; the caller shows it.
    """
    from stackwatch.ledger.reader import LedgerReader

    with LedgerReader.open(state_dir) as reader:
        found = _find(reader, what)
        live = _ask_watcher(reader, state_dir, found)
        jobs = [
            job
            for job in reader.list_jobs(folder=found.folder, limit=_ALL)
            if job.acquisition_id == found.acquisition_id
        ]
        newest = jobs[0] if jobs else None
        history = reader.list_events(acquisition_id=found.acquisition_id)
        return {
            "status": "ok",
            "acquisition": found.as_record(),
            "because": _reason(found, newest) + _describe_quiet(found, live),
            "watch": live,
            "job": newest.as_record() if newest is not None else None,
            "events": [event.as_record() for event in history],
        }


def _ask_watcher(
    reader: "LedgerReader", state_dir: Path, found: "AcquisitionRecord"
) -> dict[str, Any] | None:
    """Return what the daemon's watcher knows at this moment."""
    if not reader.is_daemon_alive():
        return None
    folder = next(folder for folder in reader.list_folders() if folder.name == found.folder)
    answer = ask_daemon(state_dir, {"command": "explain", "path": str(folder.path / found.key)})
    if answer is None or answer.get("acquisition") is None:
        return None
    return {key: answer.get(key) for key in WATCH_KEYS}


def _describe_quiet(acquisition: "AcquisitionRecord", live: dict[str, Any] | None) -> str:
    if live is None or acquisition.state is not AcquisitionState.SETTLING:
        return ""
    vetoes = f" Held back by: {', '.join(live['vetoes'])}." if live["vetoes"] else ""
    return (
        f" Quiet for {live['quiet_s']:.0f} of {live['quiet_gap_s']:g} s; looked at again in "
        f"{live['next_look_s']:.0f} s.{vetoes}"
    )


def _find(reader: "LedgerReader", what: str) -> "AcquisitionRecord":
    acquisitions = reader.list_acquisitions(limit=_ALL)
    if what.isdigit():
        details = reader.show_job(JobId(int(what)))
        if details is not None:
            wanted = details.job.acquisition_id
            return next(a for a in acquisitions if a.acquisition_id == wanted)
    folders = {folder.name: folder for folder in reader.list_folders()}
    matching = [a for a in acquisitions if _is_meant(a, folders[a.folder], what)]
    if matching:
        return matching[0]
    hint = "`stackwatch status` shows the drop folders; files that are ignored are not seen."
    raise UsageError(
        f"Nothing called “{show_path(what)}” has been seen in a drop folder. {hint}",
        hint=hint,
        path=show_path(what),
    )


def _is_meant(acquisition: "AcquisitionRecord", folder: "FolderRecord", what: str) -> bool:
    """Tell whether a name or a path means this acquisition, or something inside it."""
    if what in {acquisition.key, acquisition.name, f"{acquisition.folder}/{acquisition.key}"}:
        return True
    path = os.path.abspath(what)  # noqa: PTH100 - links are left as people see them
    inside = re.escape(str(folder.path / acquisition.key)).replace(r"\#", r"[0-9]+")
    return re.fullmatch(rf"{inside}(/.*)?", path) is not None


def _reason(acquisition: "AcquisitionRecord", job: "Job | None") -> str:
    if acquisition.vanished_at_us is not None:
        return f"it has not been there since {format_time(acquisition.vanished_at_us)}."
    reason = _REASONS[acquisition.state]
    error = acquisition.error or (job.error if job is not None else None)
    if acquisition.state not in {AcquisitionState.WAITING, AcquisitionState.PARKED} or not error:
        return reason
    message = str(error.get("message", ""))
    if acquisition.state is AcquisitionState.WAITING and job is not None:
        return f"{message} It is tried again at {format_time(job.not_before_us)}."
    return message
