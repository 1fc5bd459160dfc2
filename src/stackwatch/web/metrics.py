"""The metrics of the service, for Prometheus and whatever reads the same.

They are made at each scrape, from the ledger and the newest snapshot: there is no second book that
could say something else. Totals come from the ledger's history: a restart does not set them back.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from stackwatch import __version__
from stackwatch.ledger.browsing import Totals
from stackwatch.ledger.records import FolderRecord
from stackwatch.model.job import AcquisitionState, FolderState
from stackwatch.model.wording import now_us

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from stackwatch.web.live import Snapshot
    from stackwatch.web.site import Site

PREFIX: Final = "stackwatch_"
CHANGED: Final = "changed_during_conversion"

Samples = Iterable[tuple[tuple[str, ...], float]]
"""Values, each with those of the labels."""


class Metrics:
    """Makes the text of `/metrics`. Used by the page's thread."""

    def __init__(self, site: "Site") -> None:
        self._site = site
        self._totals = Totals()

    def render(self) -> tuple[bytes, str]:
        """Return the metrics as text, and the type of that text."""
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
        from prometheus_client.exposition import CONTENT_TYPE_LATEST

        registry = CollectorRegistry()
        ProcessCollector(namespace="stackwatch", registry=registry)
        registry.register(self)
        return generate_latest(registry), CONTENT_TYPE_LATEST

    def collect(self) -> Iterator["Metric"]:
        """Yield every metric; the registry calls it."""
        browser, snapshot = self._site.browser, self._site.service.snapshot
        yield _gauge("info", "Which stackwatch this is.", ("version",), [((__version__,), 1)])
        yield from self._parts(snapshot)
        folders = [one for one in browser.list_folders() if one.is_configured]
        yield from _folder_metrics(folders, snapshot)
        yield from self._work(snapshot)
        yield from self._events()
        yield from _disk_metrics(snapshot)

    def _parts(self, snapshot: "Snapshot") -> Iterator["Metric"]:
        parts = self._site.service.list_parts()
        yield _gauge(
            "part_alive", "Whether a part of the service is heard of in time.", ("part",),
            [((part.name,), part.is_alive) for part in parts],
        )  # fmt: skip
        yield _gauge(
            "part_silent_seconds", "Since a part of the service was last heard of.", ("part",),
            [((part.name,), round(part.silent_s, 3)) for part in parts],
        )  # fmt: skip
        yield _gauge(
            "ledger_writable", "Whether the ledger takes writes.", (),
            [((), not snapshot.degraded)],
        )  # fmt: skip

    def _work(self, snapshot: "Snapshot") -> Iterator["Metric"]:
        browser, now = self._site.browser, now_us()
        jobs, sums = browser.count_jobs(), browser.sums()
        yield _gauge("jobs", "Jobs by state.", ("state",), _by_state(jobs))
        yield _gauge(
            "deliveries", "Deliveries by state.", ("state",), _by_state(browser.count_deliveries())
        )
        yield _gauge("datasets", "Datasets that are published.", (), _one(sums["datasets"]))
        yield _gauge(
            "oldest_settling_seconds", "Since the oldest that settles was first seen.", (),
            _age(sums["settling_us"], now),
        )  # fmt: skip
        yield _gauge(
            "oldest_queued_seconds", "Since the oldest job in the queue was queued.", (),
            _age(sums["queued_us"], now),
        )  # fmt: skip
        succeeded_us = sums["succeeded_us"]
        yield _gauge(
            "last_success_timestamp_seconds", "When a conversion last succeeded.", (),
            _one(succeeded_us / 1e6 if succeeded_us else None),
        )  # fmt: skip
        yield _gauge(
            "paused_folders", "Folders that wait for room or for their target.", (),
            [((), len(snapshot.paused))],
        )  # fmt: skip
        yield from _conversion_metrics(snapshot)

    def _events(self) -> Iterator["Metric"]:
        browser, totals = self._site.browser, self._totals
        browser.add_events(totals)
        converted = browser.converted()
        yield _counter(
            "events", "Events in the ledger.", ("event",),
            [((event,), count) for event, count in sorted(totals.events.items())],
        )  # fmt: skip
        yield _counter(
            "parked", "What was parked, by the code of its error.", ("error_code",),
            _by_code(totals, "parked"),
        )  # fmt: skip
        yield _counter(
            "retries", "Conversions that are tried again by themselves, by error.", ("error_code",),
            _by_code(totals, "waiting"),
        )  # fmt: skip
        changed = sum(count for (_, code), count in totals.errors.items() if code == CHANGED)
        yield _counter(
            "source_changed", "Sources that changed while they were read.", (), [((), changed)]
        )
        yield _counter("read_bytes", "Bytes read by conversions that succeeded.", (),
                       [((), converted["bytes_read"])])  # fmt: skip
        yield _counter("written_bytes", "Bytes written by conversions that succeeded.", (),
                       [((), converted["bytes_written"])])  # fmt: skip
        yield _gauge(
            "notices", "Notices by kind and state.", ("kind", "state"),
            list(browser.count_notices().items()),
        )  # fmt: skip


def _folder_metrics(folders: list[FolderRecord], snapshot: "Snapshot") -> Iterator["Metric"]:
    yield _gauge(
        "folder_up", "Whether a drop folder can be looked through.", ("folder",),
        [((one.name,), one.state is not FolderState.UNAVAILABLE) for one in folders],
    )  # fmt: skip
    yield _gauge(
        "folder_polled", "Whether a drop folder is polled, because events do not tell.",
        ("folder",), [((one.name,), one.state is FolderState.POLLING) for one in folders],
    )  # fmt: skip
    yield _gauge(
        "scan_seconds", "How long the last whole scan of a drop folder took.", ("folder",),
        [((one.name,), one.scan_ms / 1000) for one in folders if one.scanned_at_us],
    )  # fmt: skip
    yield _gauge(
        "scan_files", "Files that the last whole scan of a drop folder saw.", ("folder",),
        [((one.name,), one.files) for one in folders if one.scanned_at_us],
    )  # fmt: skip
    yield _gauge(
        "scan_timestamp_seconds", "When a drop folder was last looked through.", ("folder",),
        [((one.name,), one.scanned_at_us / 1e6) for one in folders if one.scanned_at_us],
    )  # fmt: skip
    yield _gauge(
        "acquisitions", "Acquisitions by folder and state.", ("folder", "state"),
        [((one.name, str(state)), one.acquisitions.get(str(state), 0))
         for one in folders for state in AcquisitionState],
    )  # fmt: skip
    yield from _watch_metrics(snapshot)


def _watch_metrics(snapshot: "Snapshot") -> Iterator["Metric"]:
    events = sorted(snapshot.events.items())
    told = {
        "watch_events": ("Events that the kernel told, since the folder was added.", "events"),
        "watch_errors": ("Errors of the observer, since the folder was added.", "errors"),
        "watch_overflows": ("Overflows of the kernel's queue.", "overflows"),
        "watch_restarts": ("Restarts of the observer.", "restarts"),
    }
    for name, (meaning, field) in told.items():
        values = [((folder,), getattr(one, field)) for folder, one in events]
        yield _counter(name, meaning, ("folder",), values)


def _conversion_metrics(snapshot: "Snapshot") -> Iterator["Metric"]:
    running = snapshot.conversions
    yield _gauge("converting", "Conversions that run.", (), [((), len(running))])
    yield _gauge(
        "converting_read_bytes_per_second", "What running conversions read together.", (),
        [((), round(sum(one.read_per_s for one in running)))],
    )  # fmt: skip
    yield _gauge(
        "converting_written_bytes_per_second", "What running conversions write together.", (),
        [((), round(sum(one.written_per_s for one in running)))],
    )  # fmt: skip


def _disk_metrics(snapshot: "Snapshot") -> Iterator["Metric"]:
    disks = [one for one in snapshot.disks if one.total_bytes]
    for name, meaning, field in (
        ("disk_free_bytes", "Free room where the service writes.", "free_bytes"),
        ("disk_bytes", "Room in all where the service writes.", "total_bytes"),
        ("disk_reserve_bytes", "Room that is kept free.", "reserve_bytes"),
    ):
        values = [((one.role, one.path), getattr(one, field)) for one in disks]
        yield _gauge(name, meaning, ("role", "path"), values)


# ---------------------------------------------------------------- values


def _gauge(name: str, meaning: str, labels: tuple[str, ...], samples: Samples) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily

    return _fill(GaugeMetricFamily(f"{PREFIX}{name}", meaning, labels=labels), samples)


def _counter(name: str, meaning: str, labels: tuple[str, ...], samples: Samples) -> "Metric":
    from prometheus_client.core import CounterMetricFamily

    return _fill(CounterMetricFamily(f"{PREFIX}{name}", meaning, labels=labels), samples)


def _fill(family: Any, samples: Samples) -> "Metric":  # its classes share no typed parent
    for labels, value in samples:
        family.add_metric([_plain(label) for label in labels], float(value))
    filled: Metric = family
    return filled


def _plain(label: str) -> str:
    """Return text that can be written as UTF-8."""
    return label.encode("utf-8", "backslashreplace").decode()


def _by_state(counts: dict[str, int]) -> list[tuple[tuple[str, ...], float]]:
    return [((state,), count) for state, count in counts.items()]


def _by_code(totals: Totals, state: str) -> list[tuple[tuple[str, ...], float]]:
    found = [(code, count) for (to, code), count in totals.errors.items() if to == state]
    return [((code,), count) for code, count in sorted(found)]


def _one(value: float | None) -> list[tuple[tuple[str, ...], float]]:
    return [((), value)] if value is not None else []


def _age(since_us: int | None, now: int) -> list[tuple[tuple[str, ...], float]]:
    """Return an age in seconds; 0 where nothing waits, so that a rule about it needs no more."""
    return [((), round(max(0, now - since_us) / 1e6, 3) if since_us else 0)]
