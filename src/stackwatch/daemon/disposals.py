"""What becomes of sources: the daemon's end of archiving and deleting.

One disposal at a time for each drop folder, in a process of its own, because the share may hang.
The process verifies the datasets first; then the acquisition is looked at; then the intent is
committed; only then does the process touch the first file.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackwatch.clock import Clock
from stackwatch.daemon.children import Child, module_command
from stackwatch.daemon.disposal_rules import (
    HOUR_US,
    OnlyTell,
    Verify,
    action_of,
    ensure_disposable,
    is_passing,
    plan_disposal,
)
from stackwatch.daemon.drain import Pending
from stackwatch.daemon.folders import WatchedFolder, scan_options
from stackwatch.daemon.guard import LedgerGuard
from stackwatch.daemon.sides import Side, SideSaid
from stackwatch.daemon.watching import Looked, Watching
from stackwatch.daemon.wire import dump_record
from stackwatch.errors import (
    LedgerUnwritableError,
    StackwatchError,
    VerificationError,
    WorkerKilledError,
)
from stackwatch.ledger.disposals import DisposalRecord
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.records import DatasetRecord
from stackwatch.logs import Event, logger
from stackwatch.model.acquisition import show_path
from stackwatch.model.disposal import DisposalAction
from stackwatch.model.facts import Sighting
from stackwatch.model.job import FolderState
from stackwatch.pipeline.dispose import DisposeRequest
from stackwatch.settings import Settings

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

DISPOSAL_COMMAND = module_command("stackwatch.daemon.disposal_main")
INTERVAL_S = 10.0
RETRY_US = HOUR_US
SOON_US = HOUR_US // 6
"""What is still in use, or changed, is looked at again sooner than what failed."""


@dataclass(eq=False, slots=True)
class Running:
    """One disposal in the hands of a process."""

    disposal: DisposalRecord
    folder: WatchedFolder
    child: Child
    is_begun: bool
    datasets: tuple[DatasetRecord, ...] = ()
    verified: tuple[str, ...] = ()
    last_word: dict[str, Any] = field(default_factory=dict)
    told: str = ""


class Disposals(Side):
    """Archives and deletes what may be. Used by the main thread alone.

    Parameters
    ----------
    ledger : Ledger
    watching : Watching
    clock : Clock
    guard : LedgerGuard
    post : callable
        Takes `SideSaid` from other threads; hand it to `take`.
    state_dir : Path
    command : sequence of str
        What a disposal process is.
    """

    def __init__(
        self,
        ledger: Ledger,
        watching: Watching,
        clock: Clock,
        guard: LedgerGuard,
        post: Callable[[SideSaid], None],
        state_dir: Path,
        command: Sequence[str] = DISPOSAL_COMMAND,
    ) -> None:
        self._ledger = ledger
        self._watching = watching
        self._clock = clock
        self._guard = guard
        self._post = post
        self._books = state_dir / "disposals"
        self._command = command
        self._running: dict[str, Running] = {}
        self._next_s = 0.0
        self._is_stopping = False

    @property
    def has_children(self) -> bool:
        """Whether a process is left."""
        return bool(self._running)

    def pending(self) -> tuple[Pending, ...]:
        """Return what `run --once` has to wait for."""
        return (Pending("", "", "sources are put away"),) if self._running else ()

    # ------------------------------------------------------------ time

    def begin(self, settings: Settings) -> None:
        """At the start: hide what was being put away, and give what was refused another chance."""
        for disposal in self._ledger.disposals.running():
            self._watching.veils.hide(disposal.folder, disposal.key)
        self.adopt(settings)

    def adopt(self, settings: Settings) -> None:
        """Try what was refused again: the settings or the permissions may have changed."""
        self._ledger.disposals.reconsider()
        self.poke()

    def poke(self) -> None:
        """Look at the next tick: something was published, or the settings changed."""
        self._next_s = 0.0

    def tick(self) -> None:
        """Plan, tell, and start what is due."""
        now_s = self._clock.monotonic()
        if self._is_stopping or self._guard.is_degraded or now_s < self._next_s:
            return
        self._next_s = now_s + INTERVAL_S
        try:
            self._plan()
            for disposal in self._ledger.disposals.running():
                self._resume(disposal)
            for disposal in self._ledger.disposals.due():
                self._advance(disposal)
        except LedgerUnwritableError as error:
            self._guard.note(error)

    def stop(self) -> None:
        """End every process at once; what was begun is taken up at the next start."""
        self._is_stopping = True
        for running in self._running.values():
            running.child.kill()

    def discard(self, said: SideSaid) -> None:
        """Bury a killed process."""
        if said.message is None:
            said.child.reap()
            self._running.pop(self._of(said.child).folder.name)

    def _plan(self) -> None:
        for folder in self._watching.folders:
            action = action_of(folder.settings)
            if action is not None:
                retention_us = round(folder.settings.retention_h * HOUR_US)
                self._ledger.disposals.plan(folder.name, action, retention_us)

    def _advance(self, disposal: DisposalRecord) -> None:
        folder = self._folder(disposal.folder)
        is_available = folder is not None and folder.state is not FolderState.UNAVAILABLE
        settings = folder.settings if folder is not None else None
        match plan_disposal(disposal, settings, self._now_us(), is_available=is_available):
            case OnlyTell(message):
                self._ledger.disposals.remark(disposal.disposal_id, message)
                _log(disposal).info(Event.SOURCE_KEPT, reason=message)
            case Verify() if folder is not None:
                datasets = self._ledger.disposals.datasets(disposal)
                places = [[str(dataset.path), dataset.run_id] for dataset in datasets]
                order = {"kind": "verify", "datasets": places}
                running = self._start(disposal, folder, order, is_begun=False)
                if running is not None:
                    running.datasets = datasets

    def _resume(self, disposal: DisposalRecord) -> None:
        """Go on with what was begun, by a process that is not there any more."""
        folder = self._folder(disposal.folder)
        if folder is None or folder.view.scanned_s is None:
            return
        is_away = folder.state is FolderState.UNAVAILABLE
        if is_away or disposal.due_at_us > self._now_us():
            return
        # members are not needed to go on: what was taken is listed in its book
        order = {"kind": "resume", "request": self._request(disposal, folder, None)}
        self._start(disposal, folder, order, is_begun=True)

    def _start(
        self,
        disposal: DisposalRecord,
        folder: WatchedFolder,
        order: dict[str, Any],
        *,
        is_begun: bool,
    ) -> Running | None:
        if folder.name in self._running:
            return None
        try:
            child = Child(self._command, lambda ours, said: self._post(SideSaid(self, ours, said)))
        except OSError:
            return None  # short of memory or processes; tried again
        running = self._running[folder.name] = Running(disposal, folder, child, is_begun)
        running.told = str((disposal.remark or {}).get("message", ""))
        child.send(order)
        return running

    # ------------------------------------------------------------ what the process says

    def take(self, said: SideSaid) -> None:
        """Act upon what a disposal process says, or upon its end."""
        running = self._of(said.child)
        message = said.message
        if message is None:
            said.child.reap()
            del self._running[running.folder.name]
            self.poke()
            self._guard.record(lambda: self._conclude(running))
        elif message["kind"] == "verified":
            running.verified = tuple(message["runs"])
            self._look(running)
        elif message["kind"] == "archiving":
            self._guard.record(lambda: self._record_archive(running, Path(message["path"])))
        else:
            running.last_word = message

    def _look(self, running: Running) -> None:
        """Look at the acquisition, after the verification and right before it is touched."""
        disposal = running.disposal
        self._watching.look_at(
            disposal.folder, disposal.key, lambda looked: self._agree(running, looked)
        )

    def _agree(self, running: Running, looked: Looked) -> None:
        """Commit the intent and let the process begin, or have it end."""
        if self._running.get(running.folder.name) is not running or self._is_stopping:
            return
        try:
            disposal = self._ledger.disposals.find(running.disposal.disposal_id)
            folder = self._folder(disposal.folder)
            ensure_disposable(
                disposal,
                folder.settings if folder is not None else None,
                running.datasets,
                running.verified,
                looked.sighting,
                self._now_us(),
            )
            assert looked.sighting is not None
            running.disposal = self._ledger.disposals.begin(
                disposal.disposal_id, looked.sighting.stat_mark
            )
        except LedgerUnwritableError as error:
            self._guard.note(error)
            running.child.kill()  # nothing was touched; it begins anew
        except StackwatchError as error:
            running.last_word = {"kind": "error", "error": error.as_record()}
            running.child.kill()
        else:
            running.is_begun = True
            self._watching.veils.hide(disposal.folder, disposal.key)
            request = self._request(running.disposal, running.folder, looked.sighting)
            running.child.send({"kind": "begin", "request": request})

    def _record_archive(self, running: Running, path: Path) -> None:
        self._ledger.disposals.record_archive(running.disposal.disposal_id, path)
        running.child.send({"kind": "recorded"})

    def _conclude(self, running: Running) -> None:
        """Record what came of it; what was begun and not finished is taken up again."""
        word, disposal = running.last_word, running.disposal
        kind = word.get("kind")
        if kind == "done":
            self._record_done(disposal, word)
            self._lift(disposal)
        elif kind == "untouched":
            self._ledger.disposals.postpone(disposal.disposal_id, _cut_off(), self._now_us())
            self._lift(disposal)
        elif kind == "error":
            error = StackwatchError.from_record(word["error"])
            self._record_error(running, error, is_taken=bool(word.get("is_begun")))
        elif running.is_begun:
            until_us = self._now_us() + SOON_US
            self._ledger.disposals.interrupt(disposal.disposal_id, _cut_off(), until_us)
            _log(disposal).warning(Event.SOURCE_KEPT, reason=_cut_off().message)
        else:
            until_us = self._now_us() + SOON_US
            self._ledger.disposals.postpone(disposal.disposal_id, _cut_off(), until_us)

    def _record_done(self, disposal: DisposalRecord, word: dict[str, Any]) -> None:
        path = Path(word["path"]) if word["path"] is not None else None
        self._ledger.disposals.done(disposal.disposal_id, path)
        self._book(disposal).unlink(missing_ok=True)
        is_archived = disposal.action is DisposalAction.ARCHIVE
        _log(disposal).info(
            Event.SOURCE_ARCHIVED if is_archived else Event.SOURCE_DELETED,
            path=show_path(path) if path is not None else None,
            files=word["files"],
            total_bytes=word["total_bytes"],
        )

    def _record_error(self, running: Running, error: StackwatchError, *, is_taken: bool) -> None:
        disposal = running.disposal
        told = {"error_code": error.code, "message": error.message, "hint": error.hint}
        log, is_news = _log(disposal), running.told != error.message
        until_us = self._now_us() + _delay_us(error)
        if is_taken:  # nothing can be put back: it is finished as soon as that is possible
            self._ledger.disposals.interrupt(disposal.disposal_id, error, until_us)
        elif is_passing(error):
            self._ledger.disposals.postpone(disposal.disposal_id, error, until_us)
        else:
            self._ledger.disposals.refuse(disposal.disposal_id, error)
        if is_news and is_passing(error):
            log.warning(Event.SOURCE_KEPT, **told)
        elif is_news:
            log.error(Event.SOURCE_KEPT, **told)
        if running.is_begun:
            self._lift(disposal)  # what is taken is hidden already; a namesake must be seen

    def _lift(self, disposal: DisposalRecord) -> None:
        """Let the river see the place again, from a scan on that begins now."""
        veils, folder, key = self._watching.veils, disposal.folder, disposal.key
        self._watching.look_at(folder, key, lambda _looked: veils.lift(folder, key))

    # ------------------------------------------------------------ parts

    def _request(
        self, disposal: DisposalRecord, folder: WatchedFolder, sighting: Sighting | None
    ) -> dict[str, Any]:
        settings, known = folder.settings, disposal.archive_path
        request = DisposeRequest(
            folder=settings.path,
            key=disposal.key,
            name=disposal.name,
            source=disposal.source,
            members=sighting.members if sighting is not None else (),
            kind=disposal.kind,
            stat_mark=disposal.stat_mark,
            action=disposal.action,
            token=self._token(disposal),
            book=self._book(disposal),
            scan=scan_options(settings),
            archive_to=settings.archive_to or (known.parent if known is not None else None),
            archive_path=known,
            beside=sighting.beside if sighting is not None else None,
        )
        dumped: dict[str, Any] = dump_record(request)
        return dumped

    def _token(self, disposal: DisposalRecord) -> str:
        """Return what tells the disposal from those of all other ledgers."""
        return f"{self._ledger.identity()[:8]}-{disposal.disposal_id}"

    def _book(self, disposal: DisposalRecord) -> Path:
        return self._books / f"{self._token(disposal)}.json"

    def _folder(self, name: str) -> WatchedFolder | None:
        return next((folder for folder in self._watching.folders if folder.name == name), None)

    def _of(self, child: Child) -> Running:
        return next(one for one in self._running.values() if one.child is child)

    def _now_us(self) -> int:
        return round(self._clock.now() * 1_000_000)


def _delay_us(error: StackwatchError) -> int:
    """Return how long to wait before trying again; a dataset is not read through every hour."""
    if isinstance(error, VerificationError):
        return 24 * HOUR_US
    return SOON_US if error.disposition == "wait" else RETRY_US


def _cut_off() -> WorkerKilledError:
    return WorkerKilledError(
        "The process that archives or deletes was cut off. It goes on by itself.",
        hint="Nothing to do, unless it happens again.",
    )


def _log(disposal: DisposalRecord) -> "FilteringBoundLogger":
    return logger(
        folder=disposal.folder,
        acquisition=show_path(disposal.key),
        acquisition_id=disposal.acquisition_id,
        generation=disposal.generation,
    )
