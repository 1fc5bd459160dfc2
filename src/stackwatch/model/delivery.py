"""What is to be delivered to WEBKNOSSOS, how far that came, and what came of it."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal

DeliveryKind = Literal["upload", "register", "paths"]
"""Send the bytes; have the server read them where they lie; or put them into its own storage."""

Transfer = Literal["copy", "symlink", "move"]
"""How files come into the server's storage with `paths`; `move` leaves links where they lay."""

UploadStage = Literal["planned", "reserved", "sending", "finishing", "finished", "described"]
"""Committed before the step it names is begun: `planned` before the reservation, `finishing` before
the one request that finishes, `finished` when the server has the dataset, `described` when its
metadata is there too and the delivery is done."""


class DeliveryState(StrEnum):
    """Where a delivery stands. A dataset that nobody wants delivered has none."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    """It waits for the server, or for a token that is taken again."""
    DELIVERED = "delivered"
    PARKED = "parked"
    """A human is needed: the server refused it."""


DELIVERY_TRANSITIONS: Final[dict[DeliveryState, frozenset[DeliveryState]]] = {
    DeliveryState.QUEUED: frozenset({DeliveryState.RUNNING, DeliveryState.PAUSED}),
    DeliveryState.RUNNING: frozenset({
        DeliveryState.QUEUED, DeliveryState.PAUSED, DeliveryState.DELIVERED, DeliveryState.PARKED,
    }),
    DeliveryState.PAUSED: frozenset({DeliveryState.QUEUED, DeliveryState.RUNNING}),
    DeliveryState.PARKED: frozenset({DeliveryState.QUEUED}),
    DeliveryState.DELIVERED: frozenset(),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Which server, and how it is spoken with. The token is no part of it.

    Attributes
    ----------
    url : str
        Of WEBKNOSSOS itself, without a trailing slash.
    token_file : str
        The file that holds the token; empty: the service's credential or the environment does.
    datastore : str
        Name or URL of the datastore to send to; empty: the first one that allows uploads.
    ca_file : str
        Certificates of the authority to trust; empty: the system's.
    chunk_mib : int
        Size of the pieces in which files are sent, mebibytes.
    parallel : int
        How many pieces are under way at the same time.
    finish_timeout_s : float
        How long the server may take to finish an upload.
    """

    url: str
    token_file: str = ""
    datastore: str = ""
    ca_file: str = ""
    chunk_mib: int = 16
    parallel: int = 4
    finish_timeout_s: float = 7200.0


@dataclass(frozen=True, slots=True)
class PathRule:
    """Where the server finds what lies below a folder of ours.

    Attributes
    ----------
    local : str
        An absolute path here: `/data/wk`.
    remote : str
        The same place as the server's: `file:///srv/wk`, `https://…` or `s3://…`.
    """

    local: str
    remote: str


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """What a new process needs to go on with a delivery, or to find out what became of it.

    Attributes
    ----------
    stage : str
        The step that was begun last.
    kind : str
        How the dataset is delivered.
    upload_id : str
        Ours; known before the server hears of it.
    api_version : int
        Spoken with the server; an upload is finished in the dialect it was begun in.
    datastore_url : str
    organization : str
        The organization's id.
    folder_id : str
        Empty: the server's root folder.
    name : str
        The dataset's name on the server.
    chunk_bytes : int
        Never changes within an upload.
    files_digest : str
        Of the sorted names and sizes of what is sent; another one needs a new upload.
    reserved_at_ms : int
        When the reservation was sent, Unix milliseconds.
    remote_id : str
        The dataset's id on the server, as soon as it is known.
    places : str
        For `paths`: where the server wants each mag, as JSON: `{path in the dataset: its path}`.
    """

    stage: UploadStage
    kind: DeliveryKind
    upload_id: str = ""
    api_version: int = 0
    datastore_url: str = ""
    organization: str = ""
    folder_id: str = ""
    name: str = ""
    chunk_bytes: int = 0
    files_digest: str = ""
    reserved_at_ms: int = 0
    remote_id: str = ""
    places: str = ""


@dataclass(frozen=True, slots=True)
class DeliveryRequest:
    """One dataset and where it is to go.

    Attributes
    ----------
    kind : str
    dataset : Path
        A published dataset.
    run_id : str
        The run that wrote it, as in its `stackwatch.json`. On the server it answers whether the
        dataset was delivered already. Empty: as the dataset says.
    server : ServerOptions
    name : str
        On the server; empty: the dataset's own.
    remote_folder : str
        Path of a folder in WEBKNOSSOS, `Datasets/em`; empty: the root folder.
    teams, tags : tuple of str
    description : str
    facts : tuple of (str, str)
        Where the dataset comes from: kept as its metadata on the server, in this order.
    path_rules : tuple of PathRule
        For `register`.
    transfer : str
        For `paths`.
    supersedes : tuple of str
        Ids, on the server, of older generations of the same dataset: they get the tag `superseded`.
    record : UploadRecord or None
        How far an earlier attempt came.
    """

    kind: DeliveryKind
    dataset: Path
    run_id: str
    server: ServerOptions
    name: str = ""
    remote_folder: str = ""
    teams: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    description: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    path_rules: tuple[PathRule, ...] = ()
    transfer: Transfer = "copy"
    supersedes: tuple[str, ...] = ()
    record: UploadRecord | None = None


@dataclass(frozen=True, slots=True)
class DeliveryProgress:
    """How far a delivery is, at one moment.

    Attributes
    ----------
    stage : str
    done_bytes, total_bytes : int
        Of the files that are sent; what an earlier attempt sent counts as done.
    bytes_per_s : float
        Over the last seconds; 0 while nothing is sent.
    left_s : float or None
        None: not known.
    compared : int
        Boxes of voxels read back so far, once the server has the dataset.
    """

    stage: UploadStage
    done_bytes: int = 0
    total_bytes: int = 0
    bytes_per_s: float = 0.0
    left_s: float | None = None
    compared: int = 0


@dataclass(frozen=True, slots=True)
class Delivered:
    """A dataset that WEBKNOSSOS shows.

    Attributes
    ----------
    remote_id : str
        The dataset's id on the server.
    link : str
        Where people open it.
    name : str
        On the server.
    sent_bytes : int
        By this attempt.
    seconds : float
        Taken by this attempt.
    warnings : tuple of str
    """

    remote_id: str
    link: str
    name: str
    sent_bytes: int = 0
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
