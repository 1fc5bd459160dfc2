"""What a conversion is asked for: which acquisition, how, and where its datasets come."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stackwatch.model.options import ConvertOptions


@dataclass(frozen=True, slots=True)
class EarlierDataset:
    """A dataset of the same acquisition that was published before.

    Attributes
    ----------
    path : Path
    run_id : str
        The run that wrote it, as its manifest says.
    is_kept : bool
        It is of this very content, from an attempt that published some datasets and not all: it
        stays, and is not written again. Otherwise it is an older one, which is replaced if this
        conversion comes to its place.
    """

    path: Path
    run_id: str
    is_kept: bool = False


@dataclass(frozen=True, slots=True)
class ConvertRequest:
    """One conversion to be made.

    Attributes
    ----------
    source : Path
        Absolute: a folder, a single file, or a zip archive. With `members`: the folder they are in.
    target : Path
        Absolute: the dataset's own directory. Where one file holds several images, each dataset
        has its image's name added (`place_datasets`).
    options : ConvertOptions
    members : tuple of str
        Names of loose files directly in `source` that form the acquisition; empty for all of it.
    staging_name : str
        Name of the staging directory under `<target's parent>/.stackwatch/`; for a job
        `<job>-<attempt>`. Empty: made up from the dataset's name and the time, and the
        folders above the target are created. A job creates none: a share that is not mounted must
        not be filled beneath its mount point.
    earlier : tuple of EarlierDataset
        What may stand where this conversion comes to; nothing else may.
    announced_runs : tuple of str
        Runs of attempts that were cut off after they had announced a dataset: in a bucket it may be
        visible, though nobody was told. It is removed, and written again.
    """

    source: Path
    target: Path
    options: ConvertOptions = field(default_factory=ConvertOptions)
    members: tuple[str, ...] = ()
    staging_name: str = ""
    earlier: tuple[EarlierDataset, ...] = ()
    announced_runs: tuple[str, ...] = ()

    def replaceable_run(self, place: Path) -> str:
        """Return the run whose dataset may be replaced at a place; empty if none may."""
        return self._run_at(place, is_kept=False)

    def kept_run(self, place: Path) -> str:
        """Return the run whose dataset at a place is kept; empty if there is none."""
        return self._run_at(place, is_kept=True)

    def _run_at(self, place: Path, *, is_kept: bool) -> str:
        runs = [o.run_id for o in self.earlier if (o.path, o.is_kept) == (place, is_kept)]
        return runs[-1] if runs else ""


def place_datasets(target: Path, scenes: Sequence[str]) -> tuple[Path, ...]:
    """Return the directory of each dataset of a conversion.

    Parameters
    ----------
    target : Path
        The place of the only one.
    scenes : sequence of str
        What tells the datasets apart (`DatasetPlan.scene_name`).

    Returns
    -------
    tuple of Path
        `target`; or, of several, `<target>_<scene>`.

    Examples
    --------
    >>> [path.name for path in place_datasets(Path("/data/run"), ["A", "B"])]
    ['run_A', 'run_B']
    """
    if len(scenes) == 1:
        return (target,)
    return tuple(target.with_name(f"{target.name}_{scene}") for scene in scenes)
