"""One drop folder as the daemon sees it: settings, what was seen last, and when to look again."""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace

from stackwatch.daemon.scanner import ScanOrder
from stackwatch.model.facts import AcquisitionFact, Sighting
from stackwatch.model.job import FolderState
from stackwatch.settings import FolderSettings
from stackwatch.watch.agenda import (
    COST_FACTOR,
    MAX_NAMES,
    AgendaOptions,
    Look,
    NameHint,
    plan_look,
)
from stackwatch.watch.mounts import MountIdentity
from stackwatch.watch.observed import LookBook
from stackwatch.watch.probe import ReadinessOptions
from stackwatch.watch.reconcile import Action, FolderView, ReconcileOptions, reconcile
from stackwatch.watch.scan import FolderScan, FolderUnavailable, ScanOptions
from stackwatch.watch.settle import SettleOptions
from stackwatch.watch.silence import Announcements

POLLED_SHARE = 0.015
"""The part of one processor that scans may take where nothing else finds what is new."""

WATCHED_SHARE = 0.004
"""The same where events tell of it, and scans find what they have missed."""


class WatchedFolder:
    """A drop folder between two scans. Used by the main thread alone.

    Parameters
    ----------
    settings : FolderSettings
    mount : MountIdentity or None
        Of its last good scan, from the ledger.
    chance : callable
        Returns a number from 0 to 1; moves each full scan a little.

    Attributes
    ----------
    all_scans_s : float
        Processor time of one scan of everything of all folders together.
    refused : dict of str to Sighting
        By key: the last sighting of each acquisition in which something is refused.
    """

    def __init__(
        self,
        settings: FolderSettings,
        mount: MountIdentity | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings
        self.view = FolderView(mount=mount)
        self.is_degraded = settings.watch == "poll"
        self.is_hinted = False
        self.refusal = self.poll_reason = ""
        self.all_scans_s = 0.0
        self.refused: dict[str, Sighting] = {}
        self.announcements = Announcements()
        self.looks = LookBook()
        self._hint: NameHint | None = None
        self._names_again_s = 0.0
        self._draw = chance
        self._chance = chance()

    @property
    def name(self) -> str:
        """The folder's name in the settings."""
        return self.settings.name

    @property
    def state(self) -> FolderState:
        """How the folder is doing."""
        if self.reason:
            return FolderState.UNAVAILABLE
        return FolderState.POLLING if self.is_degraded else FolderState.HEALTHY

    @property
    def reason(self) -> str:
        """Why it is unavailable: it cannot be scanned, or its target is not ours to write to."""
        return self.view.unavailable or self.refusal

    @property
    def quiet_gap_s(self) -> float:
        """The gap in force: as set, or by the kind of the mount and by what is waited for."""
        return self.settings.gap_in_force_s(is_remote=self.is_remote)

    @property
    def is_remote(self) -> bool:
        """Whether it lies on a network mount, as far as a scan has told."""
        return self.view.mount is not None and self.view.mount.is_remote

    @property
    def reconcile_options(self) -> ReconcileOptions:
        """What the next scan is judged by."""
        return ReconcileOptions(
            SettleOptions(self.quiet_gap_s, self.settings.incomplete_after_h), self.settings.loose
        )

    def adopt(self, settings: FolderSettings) -> None:
        """Take new settings over; what divides the folder otherwise begins anew.

        At the same path the mount stays known, and that the share is away, if it is.
        """
        old, self.settings = self.settings, settings
        if (old.path, scan_options(old)) != (settings.path, scan_options(settings)):
            is_same_place = old.path == settings.path
            kept = (self.view.mount, self.view.unavailable) if is_same_place else (None, "")
            self.view = FolderView(mount=kept[0], unavailable=kept[1])
        else:
            self.view = replace(self.view, scanned_s=None, full_scan_s=None)
        self.is_degraded = settings.watch == "poll"

    def next_look(self) -> Look:
        """Return when to look at the folder, and at what."""
        agenda = AgendaOptions(
            scan_interval_s=self.settings.scan_interval_s,
            all_scans_s=self.all_scans_s,
            cpu_share=POLLED_SHARE if self.is_degraded else WATCHED_SHARE,
        )
        return plan_look(
            self.view, agenda, is_hinted=self.is_hinted, chance=self._chance, hint=self._hint
        )

    def note_hint(self, names: frozenset[str] | None, now_s: float) -> None:
        """Take a hint: names of what changed, or None for anything.

        A name above the acquisitions, and many names, mean anything too.
        """
        self.announcements.note(names)
        if names is None or any(
            name.count("/") + 1 < self.settings.acquisition_depth for name in names
        ):
            self.is_hinted = True
            return
        hint = self._hint or NameHint(frozenset(), now_s, now_s, self._names_again_s)
        self._hint = hint.joined(names, now_s)
        if len(self._hint.names) > MAX_NAMES:
            self.is_hinted, self._hint = True, None

    def order_scan(
        self, keys: frozenset[str] | None, ticket: int = 0, *, is_probing: bool = True
    ) -> ScanOrder:
        """Return the order for a scan that begins now."""
        if keys is None:
            self.is_hinted = False
            self._chance = self._draw()
        if keys is None or (self._hint is not None and keys >= self._hint.names):
            self._hint = None
        return ScanOrder(
            self.name,
            self.settings.path,
            scan_options(self.settings),
            self.view.mount,
            keys,
            ticket,
            is_probing,
        )

    def is_of_now(self, order: ScanOrder) -> bool:
        """Tell whether a scan began under the path and the division that are in force."""
        return (order.path, order.options) == (self.settings.path, scan_options(self.settings))

    def take_scan(
        self,
        found: FolderScan | FolderUnavailable,
        facts: Mapping[str, AcquisitionFact],
        now_s: float,
    ) -> tuple[Action, ...]:
        """Take a scan into account and return what is to be done.

        Parameters
        ----------
        found : FolderScan or FolderUnavailable
        facts : mapping of str to AcquisitionFact
            The ledger's, of this folder.
        now_s : float
            Monotonic seconds.
        """
        if isinstance(found, FolderScan) and found.keys is not None and not found.is_probing:
            self._names_again_s = now_s + found.seconds * COST_FACTOR
        if isinstance(found, FolderScan):
            self._note_refusals(found)
        view, actions = reconcile(self.view, found, facts, now_s, self.reconcile_options)
        # a scan that failed was a look too: the next one comes after the interval, not at once
        self.view = replace(view, scanned_s=now_s)
        return actions

    def _note_refusals(self, found: FolderScan) -> None:
        seen = {one.key: one for one in found.sightings if one.refused}
        if found.keys is None:
            self.refused = seen
        else:
            quiet = {key: one for key, one in self.refused.items() if key not in found.keys}
            self.refused = quiet | seen


def scan_options(settings: FolderSettings) -> ScanOptions:
    """Return what a scan of this folder is told."""
    readiness = ReadinessOptions(
        settings.marker or "", settings.expected_files, settings.veto_open_files
    )
    return ScanOptions(settings.acquisition_depth, settings.loose, settings.ignore, readiness)
