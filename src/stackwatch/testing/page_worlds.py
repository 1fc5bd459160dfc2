"""Ledgers to look at: an empty one, a busy one, one with every kind of failure, and a long history.

Made by the ledger's own verbs, but for the ten thousand rows of the long one.
"""

import math
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from stackwatch.errors import (
    DeliveryRefusedError,
    IncompleteAcquisitionError,
    MissingMetadataError,
    MissingSlicesError,
    OutOfSpaceError,
    StackwatchError,
    UnknownLayoutError,
)
from stackwatch.ledger.ledger import LEDGER_NAME, Ledger
from stackwatch.ledger.records import Job, NewDataset
from stackwatch.model.delivery import Delivered
from stackwatch.model.facts import AcquisitionKind, Sighting
from stackwatch.model.job import FolderState, NewJob
from stackwatch.web.live import Arriving, Conversion, Disk, Events, Snapshot

SERVER = "https://webknossos.example.org"
GB = 10**9


class SteppingClock:
    """A clock that goes on by a given step at each look."""

    def __init__(self, at_s: float, step_s: float = 1.0) -> None:
        self.at_s = at_s
        self.step_s = step_s

    def monotonic(self) -> float:
        """Return the same as `now`, without going on."""
        return self.at_s

    def now(self) -> float:
        """Return the time and go on."""
        self.at_s += self.step_s
        return self.at_s


class World:
    """A ledger that is being filled.

    Parameters
    ----------
    root : Path
        Where the ledger lies, below `state`.
    ledger : Ledger
    base : Path or None
        The drop folders and targets are said to lie below it; None: below `root`.
    """

    def __init__(self, root: Path, ledger: Ledger, base: Path | None = None) -> None:
        self.root = root
        self.base = base or root
        self.ledger = ledger
        self.runs = 0

    @staticmethod
    def now_us() -> int:
        """Return the time as the ledger counts it."""
        return time.time_ns() // 1000

    def add_folder(
        self, name: str, state: FolderState = FolderState.HEALTHY, reason: str = ""
    ) -> None:
        """Add a drop folder."""
        folders = self.ledger.folders
        folders.upsert(name, self.base / "drop" / name, self.base / "datasets" / name)
        folders.record_scan(name, files=1840, seconds=0.214, mount=None)
        folders.record_state(name, state, reason)

    def settle(self, folder: str, key: str, files: int = 1200, size: int = 41 * GB) -> Sighting:
        """Have an acquisition seen that settles."""
        sighting = sight(key, files, size)
        self.ledger.folders.record_settling(folder, sighting)
        return sighting

    def queue(self, folder: str, key: str, files: int = 1200, size: int = 41 * GB) -> Job:
        """Have an acquisition settle and a job queued."""
        self.settle(folder, key, files, size)
        return self.ledger.jobs.queue(NewJob(folder, key, 1, "mark", files, size, "size"))

    def begin(self, folder: str, key: str, **sizes: int) -> Job:
        """Have a job claimed."""
        job = self.queue(folder, key, **sizes)
        claimed = self.ledger.jobs.claim(4711, job.job_id)
        assert claimed is not None
        return claimed

    def succeed(self, folder: str, key: str, size: int = 41 * GB) -> Job:
        """Have a job succeed and its dataset published."""
        job = self.begin(folder, key, size=size)
        self.runs += 1
        path = job.target / key
        run_id = f"{self.runs:032x}"
        new = NewDataset(path, path.parent / ".stackwatch" / "1-1", run_id, "d" * 32, size // 2)
        self.ledger.datasets.record_publishing(job.job_id, new)
        self.ledger.datasets.record_published(run_id, path)
        return self.ledger.jobs.succeed(job.job_id, result_of(key, path, size))

    def park(self, folder: str, key: str, error: StackwatchError) -> Job:
        """Have a job parked."""
        job = self.begin(folder, key)
        return self.ledger.jobs.park(job.job_id, error)


def sight(key: str, files: int, size: int) -> Sighting:
    """Return a scan's view of an acquisition that is a folder."""
    return Sighting(key, key, AcquisitionKind.FOLDER, key, (), files, size, 0, "mark", "size")


def result_of(name: str, path: Path, size: int) -> dict[str, Any]:
    """Return what a conversion answers."""
    layer = {
        "name": "color", "category": "color", "voxel_type": "uint8",
        "bounding_box": {"top_left": [0, 0, 0], "size": [8192, 8192, 1200]}, "timepoints": 1,
        "mags": ["1", "2-2-1", "4-4-1", "8-8-2"],
    }  # fmt: skip
    dataset = {
        "name": name, "path": str(path), "layers": [layer], "voxel_size_nm": [11.24, 11.24, 25.0],
        "voxel_size_source": ["files", "files", "settings"], "bytes_written": size // 2,
    }  # fmt: skip
    return {
        "status": "succeeded", "layout": "file-per-slice", "datasets": [dataset],
        "content_digest": "d" * 32, "bytes_read": size, "bytes_written": size // 2,
        "seconds": 312.4, "peak_mib": 1830.0, "verified_chunks": 640, "warnings": [],
    }  # fmt: skip


# ---------------------------------------------------------------- the worlds


def fill_empty(world: World) -> Snapshot:
    """Make a service that has just been set up."""
    world.add_folder("em1")
    return _snapshot(world)


def fill_busy(world: World) -> Snapshot:
    """Make a service with something in every state that is well."""
    world.add_folder("em1")
    world.add_folder("lightsheet", FolderState.POLLING, "the mount (nfs4) tells no events")
    for number in range(31, 39):
        job = world.succeed("em1", f"cortex_{number:03}")
        draw_picture(world.root / "state" / "previews" / f"{world.runs:032x}.png", seed=number)
    world.ledger.deliveries.plan("em1", SERVER, lambda _: "upload")
    _deliver_most(world)
    running = [world.begin("em1", "cortex_039"), world.begin("lightsheet", "embryo_7")]
    for key in ("cortex_040", "cortex_041", "cortex_042"):
        world.queue("em1", key)
    job = world.begin("lightsheet", "embryo_6")
    error = OutOfSpaceError(
        "41.0 GB are free above the reserve, about 120 GB are needed.", hint="Make room."
    )
    world.ledger.jobs.wait(job.job_id, error, world.now_us() + 600_000_000)
    for number in range(43, 48):
        world.settle("em1", f"cortex_{number:03}", 100 * number, number * GB)
    return _snapshot(
        world,
        conversions=tuple(converting(job, 412 + 300 * at, 1200) for at, job in enumerate(running)),
        arriving={
            ("em1", "cortex_043"): Arriving(("the marker “done.txt” is not there",), 12.0, None),
            ("em1", "cortex_044"): Arriving((), 41.0, 19.0),
            ("em1", "cortex_045"): Arriving(("slice_0412.tif is open for writing",), 0.0, None),
        },
    )


def fill_failed(world: World) -> Snapshot:
    """Make a service with everything that can go wrong."""
    world.add_folder("em1")
    away = "“/mnt/scope” is not mounted: the folder is there, and it is not the share"
    world.add_folder("scope", FolderState.UNAVAILABLE, away)
    world.add_folder("em2")
    world.succeed("em1", "cortex_030")
    world.ledger.deliveries.plan("em1", SERVER, lambda _: "upload")
    delivery = world.ledger.deliveries.start(world.ledger.deliveries.waiting()[0].delivery_id)
    refused = DeliveryRefusedError(
        "WEBKNOSSOS refuses “cortex_030”: the storage of the organization is full.",
        hint="Make room there, then `stackwatch deliveries retry 1`.",
    )
    world.ledger.deliveries.park(delivery.delivery_id, refused)
    for key, error in PARKED.items():
        world.park("em1", key, error)
    job = world.begin("em2", "retina_4")
    world.ledger.jobs.fail(job.job_id, IncompleteAcquisitionError("It never came to an end."))
    world.queue("em2", "retina_5")
    pause = {
        "reason": "waits for room: needs 120.0 GB, 41.0 GB free above the reserve of 21.5 GB",
        "needed_bytes": 120 * GB, "free_bytes": 41 * GB, "reserve_bytes": 21 * GB,
    }  # fmt: skip
    low = Disk("/data/datasets", "target", ("em1", "em2"), 4000 * GB, 12 * GB, 21 * GB)
    return _snapshot(world, paused={"em2": pause}, disks=(low,))


PARKED: dict[str, StackwatchError] = {
    "cortex_041": MissingSlicesError(
        "Slices 412 and 977–980 are missing from “/drop/em1/cortex_041” (expected 0–1199 from the "
        'file names). Copy them in, or allow padding with `missing_slices = "black"`.',
        hint="Copy them in; it goes on by itself.", slices=[412, 977, 978, 979, 980],
    ),
    "stack <b>&": MissingMetadataError(
        "No voxel size in “/drop/em1/stack <b>&/stack.tif”. Conversion would invent a scale.",
        hint='Add `voxel_size_nm = [x, y, z]` under `[[folder]] name = "em1"`.',
    ),
    "notes": UnknownLayoutError("Nothing in “/drop/em1/notes” is an image that is known."),
}  # fmt: skip


def fill_long(world: World, acquisitions: int = 1_000, jobs: int = 10_000) -> Snapshot:
    """Make a service with a long history and very much that settles."""
    world.add_folder("em1")
    world.add_folder("archive")
    world.succeed("em1", "first")
    for number in range(acquisitions):
        world.settle("em1", f"arriving_{number:05}", number, number * 10**6)
    _repeat_first(world, jobs)
    arriving = {("em1", f"arriving_{number:05}"): Arriving((), 10.0, 50.0) for number in range(500)}
    return _snapshot(world, arriving=arriving)


def _repeat_first(world: World, count: int) -> None:
    """Copy the first acquisition with its job, dataset and events many times, by SQL."""
    shifts = {
        "acquisitions": {"key": "CAST('run_' || n AS BLOB)", "name": "CAST('run_' || n AS BLOB)"},
        "generations": {"acquisition_id": "acquisition_id + 100000 + n"},
        "jobs": {
            "acquisition_id": "acquisition_id + 100000 + n",
            "generation_id": "generation_id + 100000 + n",
        },
        "datasets": {
            "generation_id": "generation_id + 100000 + n", "job_id": "job_id + 100000 + n",
            "path": "CAST('/data/run_' || n AS BLOB)", "name": "'run_' || n",
            "run_id": "printf('%032x', n + 1000)",
        },
        "events": {
            "acquisition_id": "acquisition_id + 100000 + n", "job_id": "job_id + 100000 + n",
        },
    }  # fmt: skip
    with closing(sqlite3.connect(world.root / "state" / LEDGER_NAME)) as connection, connection:
        for table, changes in shifts.items():
            _copy_row(connection, table, changes, count)


def _copy_row(
    connection: sqlite3.Connection, table: str, changes: dict[str, str], count: int
) -> None:
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    number = "id * 1000000 + n" if table == "events" else "id + 100000 + n"
    chosen = [number if name == "id" else changes.get(name, name) for name in names]
    which = "job_id = 1" if table == "events" else "id = 1"
    connection.execute(
        "WITH RECURSIVE numbers (n) AS ("  # noqa: S608 - nothing but our own columns
        "SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?) "
        f"INSERT INTO {table} ({', '.join(names)}) "
        f"SELECT {', '.join(chosen)} FROM {table}, numbers WHERE {which}",
        (count,),
    )


def _deliver_most(world: World) -> None:
    waiting = world.ledger.deliveries.waiting()
    for delivery in waiting[:-2]:
        begun = world.ledger.deliveries.start(delivery.delivery_id)
        link = f"{SERVER}/datasets/{delivery.name}-{delivery.delivery_id}"
        done = Delivered(f"remote-{delivery.delivery_id}", link, delivery.name, 20 * GB, 300.0)
        world.ledger.deliveries.deliver(begun.delivery_id, done)
    begun = world.ledger.deliveries.start(waiting[-2].delivery_id)
    told = {"stage": "sending", "done_bytes": 9 * GB, "total_bytes": 20 * GB}
    world.ledger.deliveries.progress(begun.delivery_id, told)


def converting(job: Job, done: int, total: int, **values: Any) -> Conversion:
    """Return a job in the hands of a worker."""
    progress = {
        "phase": "converting", "done": done, "total": total, "bytes_read": done * 34 * 10**6,
        "bytes_written": done * 17 * 10**6, "layer": "color", "steps": 0,
    }  # fmt: skip
    record = {
        "job_id": int(job.job_id), "attempt": job.attempt, "folder": job.folder,
        "acquisition": job.key, "pid": 4711, "progress": progress,
    }  # fmt: skip
    rates = {"read_per_s": 183.4e6, "written_per_s": 91.2e6, "left_s": (total - done) / 5.4}
    return Conversion(record, done / 5.4, **{**rates, **values})


def _snapshot(world: World, **values: Any) -> Snapshot:
    told: dict[str, Any] = {
        "at_us": world.now_us(),
        "started_s": 3 * 86400.0,
        "is_up": True,
        "events": {"em1": Events(is_polled=False, events=4123, errors=0, overflows=0, restarts=0)},
        "disks": (
            Disk(str(world.base / "state"), "state", (), 120 * GB, 80 * GB, 0),
            Disk("/data/datasets", "target", ("em1",), 40_000 * GB, 9_400 * GB, 21 * GB),
        ),
    }
    return Snapshot(**{**told, **values})


def draw_picture(path: Path, seed: int = 1) -> None:
    """Write a small grey picture that looks a little like tissue."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("L", (256, 160))
    picture.putdata([
        int(128 + 50 * math.sin((x + 7 * seed) / 9) * math.cos(y / (5 + seed % 7)))
        for y in range(160) for x in range(256)
    ])  # fmt: skip
    picture.save(path)


Fill = Callable[[World], Snapshot]
WORLDS: dict[str, Fill] = {
    "empty": fill_empty,
    "busy": fill_busy,
    "failed": fill_failed,
    "long": fill_long,
}
