"""How far an upload by hand came: a small file for each dataset and server.

It outlives the process, so that calling the same command again goes on. The token is no part of it.
"""

import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from stackwatch.errors import DeliveryUnavailableError, UsageError
from stackwatch.model.acquisition import show_path
from stackwatch.model.delivery import (
    Delivered,
    DeliveryProgress,
    DeliveryRequest,
    UploadRecord,
)
from stackwatch.pipeline.deliver import deliver
from stackwatch.pipeline.manifest import load_manifest
from stackwatch.webknossos.patience import Patience, Waiting
from stackwatch.webknossos.token import Token

_SCHEMA: Final = 1

Show = Callable[[DeliveryProgress], None]
OnWait = Callable[[DeliveryUnavailableError, float], None]


def default_state_dir() -> Path:
    """Return where uploads by hand keep how far they came: below XDG_STATE_HOME."""
    named = os.environ.get("XDG_STATE_HOME", "")
    base = Path(named) if named.startswith("/") else Path.home() / ".local" / "state"
    return base / "stackwatch" / "uploads"


def upload_by_hand(
    request: DeliveryRequest,
    *,
    state_dir: Path | None = None,
    token: Token | None = None,
    show: Show | None = None,
    cancelled: threading.Event | None = None,
    on_wait: OnWait | None = None,
) -> Delivered:
    """Upload a dataset, or go on where an earlier call of this stopped.

    Parameters
    ----------
    request : DeliveryRequest
        Without a record: it is read from the state file.
    state_dir : Path or None
        None: `default_state_dir()`.
    token : Token or None
        None looks in file, credential and environment.
    show : callable or None
        Hears of progress, from any thread.
    cancelled : threading.Event or None
    on_wait : callable or None
        Told why it waits and for how many seconds, from any thread.

    Raises
    ------
    VerificationError, DeliveryError, CancelledError
        As `deliver`.
    UsageError
        Another process uploads this dataset to this server.
    """
    manifest, _ = load_manifest(request.dataset)
    run_id = str(manifest.get("run_id", ""))
    folder = state_dir or default_state_dir()
    stop = cancelled or threading.Event()
    with open_state(folder, request, run_id, show, stop) as journal:
        patience = Patience(finish_timeout_s=request.server.finish_timeout_s)
        waiting = Waiting(stop, patience, on_wait=on_wait)
        whole = replace(request, run_id=run_id, record=journal.last)
        return deliver(whole, journal, token=token, waiting=waiting)


class StateJournal:
    """A journal that keeps the last record in a file.

    Attributes
    ----------
    cancelled : threading.Event
    last : UploadRecord or None
        What an earlier process recorded.
    """

    def __init__(self, path: Path, show: Show | None, cancelled: threading.Event) -> None:
        self.cancelled = cancelled
        self.last = _load(path)
        self._path = path
        self._show = show

    def progress(self, progress: DeliveryProgress) -> None:
        """Pass the progress on."""
        if self._show is not None:
            self._show(progress)

    def record(self, record: UploadRecord) -> None:
        """Write the record to the disk."""
        self.last = record
        temporary = self._path.with_suffix(".new")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump({"schema": _SCHEMA, "record": asdict(record)}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)


@contextmanager
def open_state(
    folder: Path,
    request: DeliveryRequest,
    run_id: str,
    show: Show | None,
    cancelled: threading.Event,
) -> Iterator[StateJournal]:
    """Open the state file of a dataset and a server, alone.

    Raises
    ------
    UsageError
        Another process holds it, or it cannot be written.
    """
    import xxhash

    who = f"{request.server.url.rstrip('/')}\0{run_id or request.dataset}".encode()
    path = folder / f"{xxhash.xxh3_64_hexdigest(who)}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(
            path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        raise UsageError(
            f"“{show_path(folder)}” cannot be written ({error.strerror}). Uploads by hand keep "
            "there how far they came; name another folder with --state-dir.",
            hint="Name another folder with --state-dir.",
            path=show_path(folder),
        ) from error
    try:
        _lock(descriptor, request.dataset)
        yield StateJournal(path, show, cancelled)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, dataset: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(
            f"Another process uploads “{show_path(dataset)}” to this server at this moment. Let it "
            "finish, or stop it first.",
            hint="Wait for the other upload, or stop it.",
            path=show_path(dataset),
        ) from error


def _load(path: Path) -> UploadRecord | None:
    """Return the last record; what cannot be read is as good as none: the server is asked too."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return UploadRecord(**document["record"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
