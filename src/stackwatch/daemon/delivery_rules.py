"""Which datasets are delivered and how, what a delivery is told, what follows its end. Pure."""

from dataclasses import dataclass
from urllib.parse import quote

from stackwatch.errors import (
    CancelledError,
    DeliveryRefusedError,
    DeliveryUnauthorizedError,
    DeliveryUnavailableError,
    StackwatchError,
    StalledError,
)
from stackwatch.ledger.delivery_records import DeliveryRecord
from stackwatch.model.acquisition import show_path
from stackwatch.model.delivery import DeliveryKind, DeliveryRequest, PathRule, ServerOptions
from stackwatch.pipeline.delivery_journal import FOR_ALL
from stackwatch.pipeline.provenance import PREFIX
from stackwatch.pipeline.retry import Park, RetryAfter, RetryPolicy, WaitFor, plan_delay, plan_next
from stackwatch.settings import FolderSettings, Settings

PAUSES = RetryPolicy(first_delay_s=15.0, cap_s=900.0, factor=2.0)
"""How long a server that does not answer is left alone: 15 s, 30 s, … a quarter of an hour."""

AFTER_FINISH_S = 3600.0
"""An upload that the server finishes is silent for as long as that may take, and this on top."""


def choose_kind(folder: FolderSettings | None, said: bool | None) -> DeliveryKind | None:
    """Return how a dataset is delivered, None for not at all.

    Parameters
    ----------
    folder : FolderSettings or None
        None: it is not in the settings any more.
    said : bool or None
        `upload` in the acquisition's sidecar, which wins.

    Examples
    --------
    >>> from pathlib import Path
    >>> folder = FolderSettings(name="em", path=Path("/drop"), target=Path("/out"))
    >>> choose_kind(folder, None), choose_kind(folder, said=True)
    (None, 'upload')
    """
    if folder is None or said is False:
        return None
    if folder.delivery == "none":
        if not said:
            return None
        return "upload" if folder.bucket is None else "register"  # there is nothing here to send
    return folder.delivery


def is_wanted(delivery: DeliveryRecord, settings: Settings) -> bool:
    """Tell whether a planned delivery may begin, or go on, under these settings.

    What a server may have already is followed to its end, wherever that server is still the one.
    """
    if settings.webknossos.url != delivery.server:
        return False
    kind = choose_kind(settings.folder_named(delivery.folder), delivery.upload)
    return kind is not None or delivery.is_undecided


def plan_request(
    delivery: DeliveryRecord, settings: Settings, supersedes: tuple[str, ...]
) -> DeliveryRequest:
    """Return what the process of a delivery is told. The token is no part of it."""
    folder = settings.folder_named(delivery.folder)
    return DeliveryRequest(
        kind=delivery.kind,
        dataset=delivery.path,
        run_id=delivery.run_id,
        server=settings.webknossos.server_options(),
        remote_folder=(folder.remote_folder or "") if folder is not None else "",
        teams=folder.teams if folder is not None else (),
        tags=folder.tags if folder is not None else (),
        facts=_facts(delivery),
        path_rules=_path_rules(settings, folder),
        transfer=folder.transfer if folder is not None else "copy",
        supersedes=supersedes,
        record=delivery.record,
    )


def _path_rules(settings: Settings, folder: FolderSettings | None) -> tuple[PathRule, ...]:
    """Return where the server finds what lies here; what is in a bucket, there."""
    rules = settings.webknossos.path_rules()
    if folder is None or folder.bucket is None:
        return rules
    return (PathRule(str(folder.target), quote(folder.bucket, safe=":/")), *rules)


def _facts(delivery: DeliveryRecord) -> tuple[tuple[str, str], ...]:
    """Return what the ledger knows of a dataset's origin; its manifest adds to it."""
    return (
        (f"{PREFIX}source", show_path(delivery.source)),
        (f"{PREFIX}folder", delivery.folder),
        (f"{PREFIX}acquisition", show_path(delivery.key)),
        (f"{PREFIX}generation", str(delivery.generation)),
        (f"{PREFIX}content_digest", delivery.content_digest),
    )


@dataclass(frozen=True, slots=True)
class Release:
    """It was stopped on request: it goes on by itself, and nothing is counted."""


@dataclass(frozen=True, slots=True)
class PauseFor:
    """It waits for the server, or for a token, for so long at least. Never the end."""

    delay_s: float


_CLOSING = (DeliveryUnavailableError, DeliveryUnauthorizedError, StalledError)

After = Release | PauseFor | RetryAfter | Park


def plan_after(error: StackwatchError, failures: int, pauses: int) -> After:
    """Decide what follows a delivery that did not come to its end.

    Parameters
    ----------
    error : StackwatchError
    failures : int
        Failed attempts so far, this one included.
    pauses : int
        How often it was paused in a row, this one included.

    Examples
    --------
    >>> plan_after(DeliveryUnavailableError(), failures=99, pauses=2)
    PauseFor(delay_s=30.0)
    """
    match error:
        case CancelledError():
            return Release()
        case DeliveryUnauthorizedError():
            return PauseFor(0.0)  # the gate holds it, and lets it go as soon as a token is taken
        case _ if closes_for_all(error):
            return PauseFor(plan_delay(pauses, PAUSES))
    following = plan_next(error, failures)
    return PauseFor(following.recheck_s) if isinstance(following, WaitFor) else following


def closes_for_all(error: StackwatchError) -> bool:
    """Tell whether an error is the server's or the token's, so that no other delivery may begin."""
    is_refused = isinstance(error, DeliveryRefusedError)
    return isinstance(error, _CLOSING) or (is_refused and bool(error.values.get(FOR_ALL)))


def find_silence(stage: str, stall_after_s: float, server: ServerOptions) -> float:
    """Return after how many seconds without any movement a delivery is ended."""
    finish_s = server.finish_timeout_s + AFTER_FINISH_S
    return max(stall_after_s, finish_s) if stage == "finishing" else stall_after_s
