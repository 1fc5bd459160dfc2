"""When may the files of a published acquisition be archived or deleted? Pure.

The rule behind all others: nothing is touched unless the newest generation is published, its
datasets were verified a moment ago, the retention is over, and what lies in the drop folder is
exactly what was published.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from stackwatch.errors import DisposalError, StackwatchError, StillArrivingError
from stackwatch.ledger.disposals import DisposalRecord
from stackwatch.ledger.records import DatasetRecord
from stackwatch.model.acquisition import show_path
from stackwatch.model.disposal import DisposalAction, DisposalState
from stackwatch.model.facts import Sighting, VetoKind
from stackwatch.model.job import AcquisitionState, DatasetState
from stackwatch.settings import FolderSettings

HOUR_US = 3_600_000_000
BLOCKING = frozenset({VetoKind.OPEN, VetoKind.UNREADABLE, VetoKind.TEMPORARY})
"""A marker or a count was judged when it settled, and a person may have accepted it since."""


@dataclass(frozen=True, slots=True)
class NotNow:
    """Nothing is to be done at present."""


@dataclass(frozen=True, slots=True)
class OnlyTell:
    """A dry run: say what would be done, once."""

    message: str


@dataclass(frozen=True, slots=True)
class Verify:
    """It is due: verify its datasets, look at it again, then ask `ensure_disposable`."""


Step = NotNow | OnlyTell | Verify


def action_of(folder: FolderSettings | None) -> DisposalAction | None:
    """Return what a folder's settings ask for; None if its sources are kept."""
    if folder is None or folder.on_success == "keep":
        return None
    return DisposalAction(folder.on_success)


def plan_disposal(
    disposal: DisposalRecord, folder: FolderSettings | None, now_us: int, *, is_available: bool
) -> Step:
    """Return what is to be done with a planned disposal.

    Parameters
    ----------
    disposal : DisposalRecord
    folder : FolderSettings or None
        As they are now; None if the folder is not in them any more.
    now_us : int
        Microseconds since 1970 UTC.
    is_available : bool
        Whether the drop folder answers.
    """
    if folder is None or action_of(folder) is not disposal.action:
        return NotNow()
    if disposal.state is not DisposalState.DUE or not is_published(disposal):
        return NotNow()
    if folder.on_success_dry_run:
        return OnlyTell(_rehearse(disposal, folder)) if disposal.remark is None else NotNow()
    is_due = is_available and disposal.due_at_us <= now_us
    return Verify() if is_due else NotNow()


def is_published(disposal: DisposalRecord) -> bool:
    """Tell whether the generation is its acquisition's newest, and published."""
    is_newest = disposal.is_newest and not disposal.is_gone
    return is_newest and disposal.acquisition_state is AcquisitionState.PUBLISHED


def ensure_disposable(
    disposal: DisposalRecord,
    folder: FolderSettings | None,
    datasets: Collection[DatasetRecord],
    verified: Collection[str],
    sighting: Sighting | None,
    now_us: int,
) -> None:
    """Refuse unless everything holds at this very moment.

    Parameters
    ----------
    disposal : DisposalRecord
        Read again after the verification.
    folder : FolderSettings or None
    datasets : collection of DatasetRecord
        Of its generation.
    verified : collection of str
        Runs whose datasets were just compared with their manifests, at their places.
    sighting : Sighting or None
        Of a look that began after the verification; None if it was not seen.
    now_us : int

    Raises
    ------
    DisposalError
        A dataset is not what it should be: the source is kept, and a person may look.
    StillArrivingError
        It is not to be done now; it is looked at again later.
    """
    name = show_path(disposal.name)
    step = plan_disposal(disposal, folder, now_us, is_available=sighting is not None)
    if not isinstance(step, Verify) or sighting is None:
        raise _not_now(name, "something newer is going on, or it cannot be seen")
    if sighting.stat_mark != disposal.stat_mark:
        raise _not_now(name, "it is not what was published any more")
    vetoes = [veto.reason for veto in sighting.vetoes if veto.kind in BLOCKING]
    if vetoes or sighting.unreadable:
        raise _not_now(name, "; ".join(vetoes) or "not all of it can be read")
    wrong = [d for d in datasets if d.state is not DatasetState.PUBLISHED]
    wrong += [d for d in datasets if d.run_id not in verified]
    if wrong or not datasets:
        shown = show_path(wrong[0].path) if wrong else "none"
        raise DisposalError(
            f"“{name}” is kept: not all of its datasets are published and verified ({shown}). "
            "Look at `stackwatch jobs show`.",
            hint="Look at `stackwatch jobs show`.",
            path=shown,
        )


def is_passing(error: StackwatchError) -> bool:
    """Tell whether an error may pass by itself, so that it is tried again later."""
    return error.disposition != "park"


def _rehearse(disposal: DisposalRecord, folder: FolderSettings) -> str:
    what = "deleted"
    if disposal.action is DisposalAction.ARCHIVE:
        assert folder.archive_to is not None
        what = f"archived to “{show_path(folder.archive_to / disposal.name)}”"
    at = datetime.fromtimestamp(disposal.due_at_us // 1_000_000, UTC).isoformat(" ", "minutes")
    return (
        f"It would be {what} after the retention of {folder.retention_h:g} h, at {at}. This is a "
        "dry run: `on_success_dry_run = false` does it."
    )


def _not_now(name: str, why: str) -> StillArrivingError:
    return StillArrivingError(
        f"“{name}” is kept for now: {why}. It is looked at again later.",
        hint="Nothing to do: it goes on by itself.",
    )
