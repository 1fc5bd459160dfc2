"""The watching river inside the daemon: hints and scans in, facts and jobs into the ledger."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from stackwatch.clock import Clock
from stackwatch.daemon.folders import WatchedFolder
from stackwatch.daemon.heartbeats import HINTS, SCANS, Beat, Heartbeats
from stackwatch.daemon.mistakes import Mistakes
from stackwatch.daemon.recorder import Recorder
from stackwatch.daemon.scanner import ScanDone, Scanner, ScanSaid
from stackwatch.daemon.veils import Veils
from stackwatch.errors import IllegalTransitionError, StackwatchError
from stackwatch.ledger.ledger import Ledger
from stackwatch.logs import Event, logger
from stackwatch.model.acquisition import show_path
from stackwatch.model.facts import Sighting
from stackwatch.model.job import FolderState
from stackwatch.settings import FolderSettings, Settings
from stackwatch.watch.hints import HintHealth, Hints
from stackwatch.watch.mounts import MountIdentity
from stackwatch.watch.reconcile import RecordMoved, RecordSettling
from stackwatch.watch.scan import FolderScan, FolderUnavailable

SUPERVISE_INTERVAL_S = 2.0


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look at one acquisition found.

    Attributes
    ----------
    sighting : Sighting or None
        None if it is not there, or its folder is unavailable.
    reason : str
        Why there is no sighting, for a person.
    """

    sighting: Sighting | None
    reason: str = ""


class Watching:
    """All drop folders: when to scan, and what a scan means. Used by the main thread alone.

    Parameters
    ----------
    ledger : Ledger
    recorder : Recorder
    clock : Clock
    post : callable
        Takes `ScanSaid` from other threads; hand it to `take`.
    wake : threading.Event
        Set when a hint came.

    Attributes
    ----------
    mistakes : Mistakes
        Where exceptions that nobody expected are counted.
    """

    def __init__(
        self,
        ledger: Ledger,
        recorder: Recorder,
        clock: Clock,
        post: Callable[[ScanSaid], None],
        wake: threading.Event,
    ) -> None:
        self._ledger = ledger
        self._recorder = recorder
        self._clock = clock
        self._wake = wake
        self.mistakes = Mistakes(clock)
        self.veils = Veils()
        self._hints = Hints(wake)
        self._scanner = Scanner(post, clock)
        self._folders: dict[str, WatchedFolder] = {}
        self._looks: dict[int, Callable[[Looked], None]] = {}
        self._reported: dict[str, set[str]] = {}
        self._costs: dict[str, float] = {}
        self._moved: dict[tuple[str, str], str] = {}
        self._tickets = 0
        self._supervised_s = 0.0
        self._beat_scans: Beat = _stay_silent
        self._beat_hints: Beat = _stay_silent

    @property
    def folders(self) -> tuple[WatchedFolder, ...]:
        """Every drop folder, in the order of the settings."""
        return tuple(self._folders.values())

    @property
    def is_up(self) -> bool:
        """Whether every local folder was scanned once; a dead share is not waited for."""
        return all(
            folder.view.scanned_s is not None
            for folder in self.folders
            if folder.view.mount is None or not folder.view.mount.is_remote
        )

    def tell_of_life(self, heartbeats: Heartbeats) -> None:
        """Tell from now on whenever scans, and hints, were supervised."""
        self._beat_scans = heartbeats.expect(SCANS)
        self._beat_hints = heartbeats.expect(HINTS)

    def hint_health(self) -> dict[str, HintHealth]:
        """Return how the events of each drop folder are doing, by name."""
        return self._hints.health()

    # ------------------------------------------------------------ settings

    def adopt(self, settings: Settings) -> None:
        """Take over the folders of new settings: first the watch, then the list."""
        names = [folder.name for folder in settings.folder]
        self._ledger.folders.keep_only(frozenset(names))  # it may refuse: then nothing changes
        for gone in set(self._folders) - set(names):
            self._hints.remove(gone)
            self._scanner.forget(gone)
            self._reported.pop(gone, None)
            del self._folders[gone]
        self._scanner.deadline_s = settings.daemon.scan_deadline_s
        for folder in settings.folder:
            self._adopt_folder(folder)
        self._folders = {name: self._folders[name] for name in names}

    def _adopt_folder(self, settings: FolderSettings) -> None:
        known = self._folders.get(settings.name)
        if known is not None and known.settings == settings:
            return
        self._ledger.folders.upsert(settings.name, settings.path, settings.target)
        if known is None:
            mount = self._ledger.folders.mount(settings.name)
            identity = MountIdentity.from_record(mount) if mount is not None else None
            known = self._folders[settings.name] = WatchedFolder(settings, identity)
        else:
            known.adopt(settings)
        health = self._hints.add(
            settings.name,
            settings.path,
            settings.watch,
            depth=settings.acquisition_depth,
            is_writable=settings.writable,
        )
        logger(folder=settings.name).info(Event.WATCH_STARTED, path=show_path(settings.path))
        self._note_health(known, health)

    def _note_health(self, folder: WatchedFolder, health: HintHealth) -> None:
        was_degraded, folder.is_degraded = folder.is_degraded, health.mode == "poll"
        folder.poll_reason = health.reason
        log = logger(folder=folder.name)
        if health.reason:
            log.warning(Event.WATCH_DEGRADED, reason=health.reason)
        elif was_degraded and not folder.is_degraded:
            log.info(Event.WATCH_STARTED, path=show_path(folder.settings.path))

    # ------------------------------------------------------------ time

    def tick(self) -> None:
        """Do what is due: take hints, mend watches, give up on scans, order new ones."""
        now_s = self._clock.monotonic()
        self._wake.clear()
        for name, dirt in self._hints.take().items():
            self._folders[name].note_hint(dirt.names, now_s)
        if now_s - self._supervised_s >= SUPERVISE_INTERVAL_S:
            self._supervised_s = now_s
            for name, health in self._hints.supervise(now_s).items():
                self._note_health(self._folders[name], health)
            self._beat_hints()
        for done in self._scanner.expire():
            self._conclude(done)
        for folder in self.folders:
            look = folder.next_look()
            if look.at_s <= now_s and not self._scanner.is_busy_with(folder.name):
                self._scanner.order(folder.order_scan(look.keys, is_probing=look.is_probing))
        self._beat_scans()

    def next_due_s(self) -> float:
        """Return when `tick` has something to do, monotonic seconds."""
        due = [self._supervised_s + SUPERVISE_INTERVAL_S]
        if self._scanner.next_deadline_at is not None:
            due.append(self._scanner.next_deadline_at)
        due += [
            folder.next_look().at_s
            for folder in self.folders
            if not self._scanner.is_busy_with(folder.name)
        ]
        return min(due)

    # ------------------------------------------------------------ scans

    def look_at(self, folder: str, key: str, tell: Callable[[Looked], None]) -> None:
        """Look at one acquisition now, and tell what was found before it is acted upon."""
        watched = self._folders.get(folder)
        if watched is None:
            tell(Looked(None, f"folder “{folder}” is not in the settings any more"))
            return
        self._tickets += 1
        self._looks[self._tickets] = tell
        self._scanner.order(watched.order_scan(frozenset({key}), self._tickets))

    def key_now(self, folder: str, key: str) -> str:
        """Return the key of an acquisition that may have been renamed while it was worked on."""
        while (moved := self._moved.get((folder, key))) is not None:
            key = moved
        return key

    def rescan(self, name: str) -> bool:
        """Scan a folder as soon as possible; return False if there is no such folder."""
        folder = self._folders.get(name)
        if folder is None:
            return False
        folder.is_hinted = True
        if not self._scanner.is_busy_with(name):
            self._scanner.order(folder.order_scan(None))
        return True

    def refuse(self, why_not: Callable[[Path], str]) -> None:
        """Take folders out of service whose targets somebody else uses; their scans go on.

        Parameters
        ----------
        why_not : callable
            Returns why nothing may be written to a target, for a person; empty if it may.
        """
        for folder in self.folders:
            before, refusal = folder.state, why_not(folder.settings.target)
            if refusal != folder.refusal:
                folder.refusal = refusal
                self._record_state(folder, before)

    def take(self, said: ScanSaid) -> None:
        """Act upon the answer of a scan process."""
        done = self._scanner.take(said)
        if done is not None:
            self._conclude(done)

    def _conclude(self, done: ScanDone) -> None:
        """Act upon a scan; a mistake of ours in one folder must not end all the others."""
        tell = self._looks.pop(done.order.ticket, None)
        folder = self._folders.get(done.order.folder)
        is_of_now = folder is not None and folder.is_of_now(done.order)
        if tell is not None:
            tell(_looked(done) if is_of_now else Looked(None, "its folder has new settings"))
        if folder is None or not is_of_now:
            return  # taken out of the settings meanwhile, or the next scan sees what is meant now
        try:
            self._act_upon(folder, done)
        except Exception as error:
            if isinstance(error, StackwatchError) and not isinstance(error, IllegalTransitionError):
                raise  # a ledger that fails is the matter of the whole daemon
            self._give_up(folder, self.mistakes.note(folder.name, error))

    def _give_up(self, folder: WatchedFolder, reason: str) -> None:
        """Leave a folder alone until its next scan; nothing settles meanwhile."""
        before = folder.state
        folder.take_scan(FolderUnavailable(reason), {}, self._clock.monotonic())
        self._record_state(folder, before)

    def _act_upon(self, folder: WatchedFolder, done: ScanDone) -> None:
        before = folder.state
        done = replace(done, found=self.veils.found(folder.name, done.found))
        facts = self.veils.facts(folder.name, self._ledger.folders.facts(folder.name))
        options, states = folder.reconcile_options, folder.view.states
        actions = folder.take_scan(done.found, facts, self._clock.monotonic())
        self._record_state(folder, before)
        if isinstance(done.found, FolderScan):
            looks = folder.looks.note(folder.name, done.found, folder.view, facts, actions, options)
            for look in looks:
                logger(folder=folder.name, acquisition=look.acquisition).info(
                    Event.ACQUISITION_OBSERVED, look=look.as_record()
                )
        if isinstance(done.found, FolderScan) and done.order.keys is None:
            self._record_scan(folder.name, done.found)
            silent = folder.announcements.judge(states, done.found)
            self._hints.note_scan(folder.name, done.found.directories, silent)
            self._report_refusals(folder, done.found)
        for action in actions:
            self._recorder.carry_out(folder, action, facts)
            if isinstance(action, RecordMoved):
                facts = self.veils.facts(folder.name, self._ledger.folders.facts(folder.name))
                self._moved.pop((folder.name, action.sighting.key), None)
                self._moved[folder.name, action.key] = action.sighting.key
            elif isinstance(action, RecordSettling):
                self._moved.pop((folder.name, action.sighting.key), None)  # the name is taken anew

    def _record_state(self, folder: WatchedFolder, before: FolderState) -> None:
        after = folder.state
        reason = folder.poll_reason if after is FolderState.POLLING else folder.reason
        self._ledger.folders.record_state(folder.name, after, reason)
        log = logger(folder=folder.name, at_s=folder.view.scanned_s)
        if after is FolderState.UNAVAILABLE and before is not after:
            folder.looks.forget()
            log.warning(Event.FOLDER_UNAVAILABLE, reason=reason)
        elif before is FolderState.UNAVAILABLE and after is not before:
            log.info(Event.FOLDER_RECOVERED, path=show_path(folder.settings.path))

    def _record_scan(self, name: str, found: FolderScan) -> None:
        self._costs[name] = found.cpu_s
        all_scans_s = sum(self._costs.get(folder.name, 0.0) for folder in self.folders)
        for folder in self.folders:
            folder.all_scans_s = all_scans_s
        self._ledger.folders.record_scan(
            name, files=found.files, seconds=found.seconds, mount=found.mount.as_record()
        )
        logger(folder=name).debug(
            Event.SCAN_FINISHED, files=found.files, seconds=round(found.seconds, 3)
        )

    def _report_refusals(self, folder: WatchedFolder, found: FolderScan) -> None:
        """Log what is refused outside of acquisitions, once: no command would ever show it."""
        depth = folder.settings.acquisition_depth
        refusals = {
            refusal.path: refusal.reason
            for refusal in found.refusals
            if refusal.path.count("/") < depth
        }
        known = self._reported.get(folder.name, set())
        for path in sorted(refusals.keys() - known):
            logger(folder=folder.name).warning(
                Event.ENTRY_REFUSED, path=show_path(path), reason=refusals[path]
            )
        self._reported[folder.name] = {*refusals}

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """Stop watching and kill the scan processes; `is_closed` tells when they are gone."""
        self._hints.close()
        self._scanner.close()

    def discard(self, said: ScanSaid) -> None:
        """Take what a scan process still says, without acting upon it."""
        self._scanner.take(said)

    @property
    def is_closed(self) -> bool:
        """Whether no scan process is left."""
        return not self._scanner.has_children


def _stay_silent() -> None:
    """Tell nobody."""


def _looked(done: ScanDone) -> Looked:
    if isinstance(done.found, FolderUnavailable):
        return Looked(None, done.found.reason)
    for sighting in done.found.sightings:
        if done.order.keys is not None and sighting.key in done.order.keys:
            return Looked(sighting)
    return Looked(None, "it is not in its drop folder any more")
