"""What an errand does at a target: clear up after an attempt, survey what a dead daemon left.

These functions touch the disk, and may hang with it: the daemon has them called in an errand
process, and decides upon their answers.
"""

from dataclasses import dataclass
from pathlib import Path

from stackwatch.daemon.staging import Kept, is_published, remove_orphans, remove_staging
from stackwatch.stores.staging import is_held


@dataclass(frozen=True, slots=True)
class Announced:
    """A dataset of which only the intent to rename it is on record."""

    path: Path
    run_id: str


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What an attempt may have left: its staging directory, and datasets it had announced."""

    staging: Path
    announced: tuple[Announced, ...]


@dataclass(frozen=True, slots=True)
class Cleared:
    """What was found of them.

    Attributes
    ----------
    is_removed : bool
        Whether the staging directory is gone. Finished ranges are left in it: when it is known
        what comes of the job, a survey decides what comes of them.
    in_place : tuple of str
        Runs whose datasets lie at their places.
    """

    is_removed: bool
    in_place: tuple[str, ...]


def clear_leftovers(left: Leftovers) -> Cleared:
    """Look for the announced datasets, then remove the staging directory, but finished ranges."""
    in_place = _find_published(left.announced)
    is_removed = remove_staging(left.staging, is_wanted=True) or not left.staging.exists()
    return Cleared(is_removed, in_place)


@dataclass(frozen=True, slots=True)
class Target:
    """A target and what the ledger says is under way there.

    Attributes
    ----------
    path : Path
    claimed : tuple of Path
        The staging directories of claimed jobs.
    announced : tuple of Announced
    ours : tuple of int
        Jobs in the hands of this very daemon: their staging is left alone.
    wanted : tuple of int
        Jobs that are still to be converted.
    """

    path: Path
    claimed: tuple[Path, ...]
    announced: tuple[Announced, ...]
    ours: tuple[int, ...]
    wanted: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What was found there.

    Attributes
    ----------
    held : tuple of Path
        Staging directories of claimed jobs whose workers still live.
    in_place : tuple of str
        Runs whose datasets lie at their places.
    removed : tuple of Path
        Staging directories of nobody, removed.
    is_left : bool
        Whether one had to be left because a dying worker holds it.
    kept : tuple of Kept
        What wanted jobs have finished.
    """

    held: tuple[Path, ...]
    in_place: tuple[str, ...]
    removed: tuple[Path, ...]
    is_left: bool
    kept: tuple[Kept, ...] = ()


def survey_target(target: Target) -> Surveyed:
    """Look at what a daemon that ended left behind, and remove what belongs to nobody."""
    held = tuple(staging for staging in target.claimed if _is_held(staging))
    in_place = _find_published(target.announced)
    orphans = remove_orphans(target.path, target.ours, target.wanted)
    return Surveyed(held, in_place, orphans.removed, bool(orphans.held), orphans.kept)


def _find_published(announced: tuple[Announced, ...]) -> tuple[str, ...]:
    return tuple(one.run_id for one in announced if is_published(one.path, one.run_id))


def _is_held(staging: Path) -> bool:
    try:
        return is_held(staging)
    except OSError:
        return False
