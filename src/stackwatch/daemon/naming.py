"""Where an acquisition's dataset goes: pure."""

import re
from collections.abc import Iterable
from pathlib import Path

from stackwatch.errors import TargetExistsError
from stackwatch.ledger.records import DatasetRecord
from stackwatch.model.acquisition import show_path
from stackwatch.settings import FolderSettings, Settings


def plan_target(folder: FolderSettings, name: str, published_before: int) -> Path:
    """Return the place of a dataset.

    Parameters
    ----------
    folder : FolderSettings
    name : str
        Of the acquisition.
    published_before : int
        How many older generations of it were published under this name.

    Returns
    -------
    Path
        `<target>/<name>`; for a later generation under `on_change = "version"` with `-r2`, `-r3`.
    """
    place = folder.target / folder.dataset_name_for(name)
    if published_before and folder.on_change == "version":
        return place.with_name(f"{place.name}-r{published_before + 1}")
    return place


def count_published(folder: FolderSettings, name: str, published: Iterable[DatasetRecord]) -> int:
    """Return how many generations of an acquisition were published under a name.

    Parameters
    ----------
    folder : FolderSettings
    name : str
        Of the acquisition, as it is now: its sidecar may have given it another one.
    published : iterable of DatasetRecord
        Of this acquisition's older generations.
    """
    base = re.escape(plan_target(folder, name, 0).name)
    # of a file with several images each dataset has its image's name at the end
    is_of_name = re.compile(rf"{base}(-r[0-9]+)?(_.*)?").fullmatch
    return len({one.generation for one in published if is_of_name(one.path.name)})


def ensure_unclaimed(
    settings: Settings, folder: FolderSettings, name: str, older: Iterable[tuple[str, str]]
) -> None:
    """Refuse a name that an older acquisition has.

    Parameters
    ----------
    older : iterable of (str, str)
        Folder and name of the acquisitions that came before, with the same target.

    Raises
    ------
    TargetExistsError
        The caller parks the job.
    """
    place = plan_target(folder, name, 0)
    for other_folder, other_name in older:
        other = settings.folder_named(other_folder)
        if other is not None and plan_target(other, other_name, 0) == place:
            hint = "Rename one of them, or choose another `dataset_name`."
            raise TargetExistsError(
                f"“{show_path(name)}” of folder “{folder.name}” and “{show_path(other_name)}” of "
                f"folder “{other_folder}” would both become the dataset “{show_path(place.name)}”. "
                f"The first keeps the name, this one is parked. {hint}",
                hint=hint,
                path=show_path(place),
            )


def changed_after_publishing(folder: FolderSettings, name: str) -> TargetExistsError:
    """Return the error for a changed acquisition under `on_change = "park"`."""
    hint = f'Set `on_change = "version"` for folder “{folder.name}” to publish it beside the old.'
    return TargetExistsError(
        f"“{show_path(name)}” of folder “{folder.name}” was published and has changed since. "
        f'`on_change = "park"` asks for a person. {hint}',
        hint=hint,
        folder=folder.name,
    )
