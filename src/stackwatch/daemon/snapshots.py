"""The picture of this moment that the main thread gives the page."""

from typing import Final

from stackwatch.clock import Clock
from stackwatch.daemon.answers import describe_running
from stackwatch.daemon.attempts import Running
from stackwatch.daemon.conversions import Conversions
from stackwatch.daemon.deliveries import Deliveries
from stackwatch.daemon.disks import DiskReading, Disks
from stackwatch.daemon.folders import WatchedFolder
from stackwatch.daemon.watching import Watching
from stackwatch.model.acquisition import show_path
from stackwatch.model.job import JobId
from stackwatch.watch.settle import Phase, SettleOptions
from stackwatch.web.live import Arriving, Conversion, Disk, Events, Snapshot
from stackwatch.web.rates import RateMeter

ARRIVING_MAX: Final = 500
"""Of more than so many, the page tells what the ledger knows."""


class Snapshots:
    """Takes snapshots. Used by the main thread alone, which nothing here may hold up.

    Parameters
    ----------
    watching : Watching
    conversions : Conversions
    deliveries : Deliveries
    disks : Disks
    clock : Clock
    """

    def __init__(
        self,
        watching: Watching,
        conversions: Conversions,
        deliveries: Deliveries,
        disks: Disks,
        clock: Clock,
    ) -> None:
        self._watching = watching
        self._conversions = conversions
        self._deliveries = deliveries
        self._disks = disks
        self._clock = clock
        self._started_s = clock.monotonic()
        self._meters: dict[tuple[JobId, int], RateMeter] = {}

    def take(self, *, is_stopping: bool) -> Snapshot:
        """Return the service as it is now."""
        now_s = self._clock.monotonic()
        running = [one for one in self._conversions.running if not one.is_ending]
        kept = {(one.job.job_id, one.job.attempt) for one in running}
        self._meters = {key: meter for key, meter in self._meters.items() if key in kept}
        return Snapshot(
            at_us=round(self._clock.now() * 1_000_000),
            started_s=now_s - self._started_s,
            is_up=self._watching.is_up,
            degraded=self._conversions.guard.reason,
            is_stopping=is_stopping,
            paused={name: one.as_record() for name, one in self._conversions.paused.items()},
            conversions=tuple(self._describe(one, now_s) for one in running),
            arriving=self._arriving(now_s),
            events={
                name: Events(
                    one.mode == "poll", one.events, one.errors, one.overflows, one.restarts
                )
                for name, one in self._watching.hint_health().items()
            },
            disks=tuple(map(_disk, self._disks.readings())),
            deliveries={
                one["delivery_id"]: one["progress"] or {}
                for one in self._deliveries.describe()["running"]
            },
        )

    def _describe(self, running: Running, now_s: float) -> Conversion:
        record = describe_running(running)
        key = (running.job.job_id, running.job.attempt)
        rate = self._meters.setdefault(key, RateMeter()).note(now_s, record["progress"])
        return Conversion(
            record,
            now_s - running.started_s,
            rate.read_per_s,
            rate.written_per_s,
            rate.left_s,
        )

    def _arriving(self, now_s: float) -> dict[tuple[str, str], Arriving]:
        found: dict[tuple[str, str], Arriving] = {}
        for folder in self._watching.folders:
            for key, told in _settling(folder, now_s, ARRIVING_MAX - len(found)).items():
                found[folder.name, show_path(key)] = told
        return found


def _settling(folder: WatchedFolder, now_s: float, most: int) -> dict[str, Arriving]:
    options = SettleOptions(folder.quiet_gap_s, folder.settings.incomplete_after_h)
    found: dict[str, Arriving] = {}
    for key, state in folder.view.states.items():
        if len(found) >= most:
            break
        if state.phase in (Phase.SETTLING, Phase.INCOMPLETE):
            found[key] = Arriving(
                tuple(veto.reason for veto in state.vetoes),
                max(0.0, now_s - state.quiet_since_s),
                None if state.is_held_back else state.ready_s(options) - now_s,
            )
    return found


def _disk(reading: DiskReading) -> Disk:
    room = reading.room
    return Disk(
        show_path(reading.path),
        reading.role,
        reading.folders,
        room.total_bytes,
        room.free_bytes,
        reading.reserve_bytes,
        show_path(room.obstacle),
    )
