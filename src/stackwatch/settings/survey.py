"""What the settings mean on this machine: for `config check`, and for warnings at the start.

Looks at the disk, and never waits long for it: a share that is dead must not hang a check of the
settings, least of all in the running service.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

from stackwatch.model.acquisition import show_path
from stackwatch.settings.model import (
    LOCAL_QUIET_GAP_S,
    NETWORK_QUIET_GAP_S,
    FolderSettings,
    Settings,
)
from stackwatch.settings.places import check_places
from stackwatch.settings.survey_outside import outside_warnings
from stackwatch.settings.survey_page import page_warnings
from stackwatch.settings.survey_server import server_warnings
from stackwatch.watch.mounts import MOUNTINFO, is_remote_type, locate_mount, read_mounts

ANSWER_S: Final = 2.0
"""So long a path may take to answer. The threads that wait for a dead one stay behind."""

T = TypeVar("T")


class Presence(StrEnum):
    """Whether something is at a path."""

    THERE = "there"
    ABSENT = "absent"
    SILENT = "silent"
    """The path did not answer: a share that hangs."""


@dataclass(frozen=True, slots=True)
class FolderSurvey:
    """What the settings of one drop folder mean here and now.

    Attributes
    ----------
    name : str
    path : Path
    presence : Presence
    fstype : str
        Of the mount, empty where the kernel does not tell.
    watch : "events" | "poll"
        How changes are noticed, if nothing else comes up.
    watch_reason : str
    quiet_gap_s : float
        In force.
    gap_from : "settings" | "local" | "network"
        As set, or the default for the kind of mount and for what is waited for besides.
    readiness : tuple of str
        What an acquisition has to show besides, a phrase each.
    reserve_gib : float
    on_success : str
        What becomes of the source, as a sentence.
    warnings : tuple of str
    """

    name: str
    path: Path
    presence: Presence
    fstype: str
    watch: str
    watch_reason: str
    quiet_gap_s: float
    gap_from: str
    readiness: tuple[str, ...]
    reserve_gib: float
    on_success: str
    warnings: tuple[str, ...]

    def as_record(self) -> dict[str, Any]:
        """Return JSON values, as docs/json.md has them."""
        return {
            "name": self.name,
            "path": show_path(self.path),
            "presence": str(self.presence),
            "fstype": self.fstype or None,
            "watch": self.watch,
            "watch_reason": self.watch_reason,
            "quiet_gap_s": self.quiet_gap_s,
            "gap_from": self.gap_from,
            "readiness": list(self.readiness),
            "reserve_gib": self.reserve_gib,
            "on_success": self.on_success,
            "warnings": list(self.warnings),
        }


def survey_folder(
    folder: FolderSettings, mountinfo: Path = MOUNTINFO, patience_s: float = ANSWER_S
) -> FolderSurvey:
    """Return what a drop folder's settings mean here and now.

    Parameters
    ----------
    folder : FolderSettings
    mountinfo : Path
        Where the kernel tells of mounts; it may be hidden.
    patience_s : float
        How long the path may take to answer.
    """
    presence = find_presence(folder.path, patience_s)
    mount = locate_mount(folder.path, read_mounts(mountinfo))
    fstype = mount.fstype if mount is not None else ""
    is_remote = is_remote_type(fstype)
    watch, reason = _plan_watch(folder, fstype)
    gap_s, gap_from = _gap(folder, is_remote=is_remote)
    return FolderSurvey(
        name=folder.name,
        path=folder.path,
        presence=presence,
        fstype=fstype,
        watch=watch,
        watch_reason=reason,
        quiet_gap_s=gap_s,
        gap_from=gap_from,
        readiness=tuple(_iter_readiness(folder)),
        reserve_gib=folder.reserve_gib,
        on_success=_describe_success(folder),
        warnings=tuple(_iter_warnings(folder, presence, gap_s, is_remote=is_remote)),
    )


def find_warnings(settings: Settings, surveys: Sequence[FolderSurvey] | None = None) -> list[str]:
    """Return what a person should look at, though it is no mistake.

    Looks at the disk, for two seconds at most where a path does not answer.

    Parameters
    ----------
    settings : Settings
    surveys : sequence of FolderSurvey or None
        Of the folders, where they have been made already.
    """
    if not settings.folder:
        return ["no [[folder]] is configured: nothing will be watched"]
    found = [
        f"folder[{at}] “{folder.name}”: {warning}"
        for at, folder in enumerate(surveys or map(survey_folder, settings.folder))
        for warning in folder.warnings
    ]
    silent = check_places(settings.model_dump()).silent
    outside = ask_within(2 * ANSWER_S, lambda: list(outside_warnings(settings)))
    if outside is None:
        outside = ["cluster or bucket: no answer; look at the network"]
    logs = _log_warnings(settings.logs.file)
    page = ask_within(ANSWER_S, lambda: list(page_warnings(settings.web)))
    if page is None:
        page = ["web.token_file or web.viewer does not answer: look at the mount"]
    return [*silent, *logs, *page, *_server_warnings(settings), *outside, *found]


def find_presence(path: Path, patience_s: float = ANSWER_S) -> Presence:
    """Tell whether a folder is there, without waiting for a share that hangs."""
    is_folder = ask_within(patience_s, lambda: _is_folder(path))
    if is_folder is None:
        return Presence.SILENT
    return Presence.THERE if is_folder else Presence.ABSENT


def ask_within(patience_s: float, question: Callable[[], T]) -> T | None:
    """Return the answer to a question about a path, None if it takes too long.

    The thread that asked stays behind: nothing ends a call that hangs in the kernel.
    """
    answers: list[T] = []
    asking = threading.Thread(
        target=lambda: answers.append(question()), name="ask-path", daemon=True
    )
    asking.start()
    asking.join(patience_s)
    return answers[0] if answers else None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # no permission
        return False


def _plan_watch(folder: FolderSettings, fstype: str) -> tuple[str, str]:
    """Return how changes will be noticed, and why."""
    every = f"looked through every {folder.scan_interval_s:g} s"
    if folder.watch == "poll":
        return "poll", f'{every} (`watch = "poll"`)'
    if folder.watch == "auto" and is_remote_type(fstype):
        return "poll", f"{every}: {fstype} tells nothing of what other machines write"
    return "events", f"told by the kernel at once, and {every}"


def _gap(folder: FolderSettings, *, is_remote: bool) -> tuple[float, str]:
    gap_s = folder.gap_in_force_s(is_remote=is_remote)
    if folder.quiet_gap_s is not None:
        return gap_s, "settings"
    return gap_s, "network" if is_remote else "local"


def _iter_readiness(folder: FolderSettings) -> Iterator[str]:
    """Yield what an acquisition has to show beside the quiet gap."""
    if folder.marker is not None:
        yield f"a marker `{folder.marker}` that does not tell of an abort, and whose numbers fit"
    if folder.expected_files is not None:
        yield f"exactly {folder.expected_files:,} files"
    yield "no file with the name of an unfinished transfer, none empty or with holes for long"
    if folder.veto_open_files:
        yield "no file that a program has open for writing, as far as that can be seen"


def _describe_success(folder: FolderSettings) -> str:
    """Return what becomes of a source after its dataset was published."""
    if folder.on_success == "keep":
        return "the source stays where it is"
    after = f"{folder.retention_h:g} h after publishing"
    deed = (
        f"moved to “{show_path(folder.archive_to or '')}”"
        if folder.on_success == "archive"
        else "deleted"
    )
    if folder.on_success_dry_run:
        return f"the source would be {deed} {after}; dry run: it is only told in the log"
    return f"the source is {deed} {after}"


def _iter_warnings(
    folder: FolderSettings, presence: Presence, gap_s: float, *, is_remote: bool
) -> Iterator[str]:
    shown = show_path(folder.path)
    if presence is Presence.ABSENT:
        yield f"path “{shown}” is not there (yet): the folder starts as unavailable"
    elif presence is Presence.SILENT:
        yield (
            f"path “{shown}” does not answer: the folder starts as unavailable; look at the mount"
        )
    usual_s = NETWORK_QUIET_GAP_S if is_remote else LOCAL_QUIET_GAP_S
    has_signal = folder.marker is not None or folder.expected_files is not None
    if gap_s < usual_s and not has_signal:
        yield (
            f"quiet_gap_s = {gap_s:g} is shorter than {usual_s:g}, and there is no `marker` or "
            "`expected_files`: a writer that pauses longer is taken for finished, and its later "
            "files become a new generation"
        )
    if folder.watch == "events" and is_remote:
        yield (
            'watch = "events" on a network mount: what other machines write is only noticed '
            f"every {folder.scan_interval_s:g} s"
        )
    if folder.on_success == "delete" and not folder.on_success_dry_run:
        yield (
            'on_success = "delete": sources are removed for good '
            f"{folder.retention_h:g} h after publishing"
        )


def _log_warnings(file: Path | None) -> list[str]:
    """Return a warning if the log file cannot be written to."""
    if file is None:
        return []
    can_write = ask_within(ANSWER_S, lambda: _is_writable(file))
    if can_write:
        return []
    why = "cannot be written to" if can_write is not None else "does not answer"
    return [f"logs.file “{show_path(file)}” {why}: the log goes to stdout alone"]


def _server_warnings(settings: Settings) -> list[str]:
    """Return warnings about the server and its token, without waiting long for the token's file."""
    found = ask_within(ANSWER_S, lambda: list(server_warnings(settings)))
    if found is not None:
        return found
    shown = show_path(settings.webknossos.token_file or "")
    return [f"webknossos.token_file “{shown}” does not answer: look at the mount"]


def _is_writable(file: Path) -> bool:
    place = file if file.exists() else file.parent
    return os.access(place, os.W_OK)
