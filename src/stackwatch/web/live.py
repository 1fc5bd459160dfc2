"""What the page is told by the daemon's main thread: one immutable picture of this moment."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Ask = Callable[[dict[str, Any]], dict[str, Any]]
"""Has the main thread carry out a command of the control socket; may block, may raise."""


@dataclass(frozen=True, slots=True)
class Arriving:
    """How an acquisition is settling at this moment.

    Attributes
    ----------
    vetoes : tuple of str
        What speaks against its being complete.
    quiet_s : float
        For so long nothing has changed.
    ready_s : float or None
        In so many seconds it has settled, if nothing changes; None while something is waited for.
    """

    vetoes: tuple[str, ...]
    quiet_s: float
    ready_s: float | None


@dataclass(frozen=True, slots=True)
class Events:
    """How the events of one drop folder are doing."""

    is_polled: bool
    events: int
    errors: int
    overflows: int
    restarts: int


@dataclass(frozen=True, slots=True)
class Disk:
    """The room on one file system that the service writes to.

    Attributes
    ----------
    path : str
        For people.
    role : str
        `target` or `state`.
    folders : tuple of str
        Whose target it is.
    total_bytes, free_bytes, reserve_bytes : int
    obstacle : str
        Why nothing can be said or written there; empty if all is well.
    """

    path: str
    role: str
    folders: tuple[str, ...]
    total_bytes: int
    free_bytes: int
    reserve_bytes: int
    obstacle: str = ""


@dataclass(frozen=True, slots=True)
class Conversion:
    """A job in the hands of a worker, with what its progress says about the rest.

    Attributes
    ----------
    record : dict
        As the daemon answers to `status`.
    seconds : float
        Since it was claimed.
    read_per_s, written_per_s : float
        Bytes in a second, over the last seconds.
    left_s : float or None
        Until the last slice is read; None: not known.
    """

    record: Mapping[str, Any]
    seconds: float
    read_per_s: float = 0.0
    written_per_s: float = 0.0
    left_s: float | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The service at one moment.

    Attributes
    ----------
    at_us : int
    started_s : float
        For so many seconds the service has run.
    is_up : bool
        Whether every local folder was scanned once.
    degraded : str
        Why the ledger takes no writes; empty while it does.
    is_stopping : bool
    paused : mapping of str to dict
        By folder, why its jobs wait.
    conversions : tuple of Conversion
    arriving : mapping of (str, str) to Arriving
        By folder and acquisition, as people see them; not all, if there are very many.
    events : mapping of str to Events
        By folder.
    disks : tuple of Disk
    deliveries : mapping of int to dict
        By delivery, the progress of those that run, as JSON values.
    """

    at_us: int = 0
    started_s: float = 0.0
    is_up: bool = False
    degraded: str = ""
    is_stopping: bool = False
    paused: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    conversions: tuple[Conversion, ...] = ()
    arriving: Mapping[tuple[str, str], Arriving] = field(default_factory=dict)
    events: Mapping[str, Events] = field(default_factory=dict)
    disks: tuple[Disk, ...] = ()
    deliveries: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    def as_live(self) -> dict[str, Any]:
        """Return what `ledger.documents.add_live` takes."""
        return {
            "converting": [one.record for one in self.conversions],
            "paused": dict(self.paused),
            "degraded": self.degraded or None,
        }


@dataclass(frozen=True, slots=True)
class PageOptions:
    """What can be set, as the page needs it.

    Attributes
    ----------
    state_dir : Path
    listen : str
        HOST:PORT.
    hosts : tuple of str
        Further names under which it may be asked for.
    has_actions : bool
    token_file : Path or None
    viewer : Path or None
    """

    state_dir: Path
    listen: str
    hosts: tuple[str, ...] = ()
    has_actions: bool = False
    token_file: Path | None = None
    viewer: Path | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the service and for how long it has been silent."""

    name: str
    silent_s: float
    is_alive: bool


class Service:
    """What the page sees of the service. Written by the main thread, read by the page's.

    Each attribute is replaced as a whole, so that no lock is needed.

    Attributes
    ----------
    options : PageOptions
    snapshot : Snapshot
    asked_s : float
        When somebody last looked, monotonic seconds: nobody looks, no need for news.
    """

    def __init__(
        self,
        options: PageOptions,
        ask: Ask,
        list_parts: Callable[[], tuple[Part, ...]],
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.options = options
        self.snapshot = Snapshot()
        self.asked_s = float("-inf")
        self.ask = ask
        self.list_parts = list_parts
        self.beat = beat
