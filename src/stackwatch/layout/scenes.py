"""Files with several images: which of them become datasets, and what tells these apart."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from numpy.typing import NDArray

from stackwatch.errors import (
    AmbiguousLayoutError,
    StackwatchError,
    UnknownLayoutError,
    UnsupportedFormatError,
)
from stackwatch.layout.plan import plan_dataset
from stackwatch.model.acquisition import Listing, show_path
from stackwatch.model.image import ImageInfo
from stackwatch.model.options import EVERY_SCENE, LayoutOptions, VoxelSizeOptions
from stackwatch.model.plan import DatasetPlan

SceneProbe = Callable[[str, int], ImageInfo]
"""From a path and the index of an image in that file to what the headers tell; may raise."""

ScenePalette = Callable[[str, int], NDArray[Any] | None]

_LONGEST_NAME: Final = 80
"""Characters of a scene in a dataset's name; every disk has to take the two together."""


def plan_datasets(
    listing: Listing,
    probe: SceneProbe,
    palette: ScenePalette,
    options: LayoutOptions,
    voxel_size: VoxelSizeOptions,
) -> tuple[DatasetPlan, ...]:
    """Classify an acquisition and plan its datasets: one, or one for each image of its file.

    Parameters
    ----------
    listing : Listing
    probe : SceneProbe
    palette : ScenePalette
        Asked for palette images only.
    options : LayoutOptions
        `scenes` says which images are wanted.
    voxel_size : VoxelSizeOptions

    Returns
    -------
    tuple of DatasetPlan
        In the file's order, each with a `scene_name` of its own; an empty one where the files hold
        one image each.

    Raises
    ------
    AmbiguousLayoutError
        Several files, and one of them holds several images; the caller parks.
    UnknownLayoutError
        The image that is asked for is not there; the caller parks.
    LayoutError, AcquisitionError, ReadError, PlanError, LimitExceededError
        As `layout.plan.plan_dataset` says, of any of the images.
    """
    seen: dict[str, ImageInfo] = {}

    def probe_first(path: str) -> ImageInfo:
        seen[path] = _probe_any(probe, path, options.scenes)
        return seen[path]

    refusal: StackwatchError | None = None
    plans: tuple[DatasetPlan, ...] = ()
    try:
        plans = (
            plan_dataset(listing, probe_first, lambda path: palette(path, 0), options, voxel_size),
        )
    except StackwatchError as error:
        refusal = error
    several = [path for path, info in seen.items() if len(info.scenes) > 1]
    if several and len(seen) > 1:
        raise _several_files(listing, several[0], seen[several[0]], len(seen)) from refusal
    if refusal is not None and not several:
        raise refusal
    scenes = seen[several[0]].scenes if several else next(iter(seen.values())).scenes
    if several and seen[several[0]].is_one_of_scenes and options.scenes == EVERY_SCENE:
        raise _one_to_name(several[0], scenes)
    wanted = choose_scenes(scenes or ("",), options.scenes, show_path(next(iter(seen))))
    if not several:
        return plans
    names = name_scenes(scenes)
    return tuple(
        _plan_scene(
            listing,
            lambda path, scene=scene: probe(path, scene),  # type: ignore[misc]
            lambda path, scene=scene: palette(path, scene),  # type: ignore[misc]
            options,
            voxel_size,
            (names[scene], scenes[scene]),
        )
        for scene in wanted
    )


def _probe_any(probe: SceneProbe, path: str, wanted: str) -> ImageInfo:
    """Return what is told of the first image, or, if that is not read, of the one asked for."""
    try:
        return probe(path, 0)
    except UnsupportedFormatError:
        if not (wanted.isascii() and wanted.isdigit() and int(wanted) > 1):
            raise
        return probe(path, int(wanted) - 1)


def name_scenes(scenes: Sequence[str]) -> tuple[str, ...]:
    """Return what tells the images of a file apart, fit for the name of a dataset.

    Their own names, or, if these are missing or repeat, their numbers from 1. Capitals alone tell
    nothing apart: some disks do not know them.

    Examples
    --------
    >>> name_scenes(["Well A1/pos 2", "B"]), name_scenes(["", "cells"]), name_scenes(["a", "A"])
    (('Well_A1_pos_2', 'B'), ('1', '2'), ('1', '2'))
    """
    fit = [re.sub(r"[^A-Za-z0-9_.-]", "_", scene)[:_LONGEST_NAME] for scene in scenes]
    are_words = all(re.search("[A-Za-z0-9]", name) for name in fit)
    if are_words and len({name.lower() for name in fit}) == len(fit):
        return tuple(fit)
    return tuple(str(number) for number in range(1, len(fit) + 1))


def choose_scenes(scenes: Sequence[str], wanted: str, shown: str) -> tuple[int, ...]:
    """Return the indices of the images to convert.

    Parameters
    ----------
    scenes : sequence of str
        Their names in the file.
    wanted : str
        As the `scenes` setting says: all, a name, or a number from 1.
    shown : str
        The file, for the message.

    Raises
    ------
    UnknownLayoutError
        There is none of this name or number; the caller parks.

    Examples
    --------
    >>> choose_scenes(["A", "B"], "datasets", "x"), choose_scenes(["A", "B"], "2", "x")
    ((0, 1), (1,))
    """
    if wanted == EVERY_SCENE:
        return tuple(range(len(scenes)))
    for names in (list(scenes), list(name_scenes(scenes)), [f"/{scene}" for scene in scenes]):
        if names.count(wanted) == 1:
            return (names.index(wanted),)
    if wanted.isascii() and wanted.isdigit() and 1 <= int(wanted) <= len(scenes):
        return (int(wanted) - 1,)
    listed = ", ".join(f"{i} “{name}”" if name else f"{i}" for i, name in enumerate(scenes[:20], 1))
    more = f" and {len(scenes) - 20} more" if len(scenes) > 20 else ""
    raise UnknownLayoutError(
        f"`scenes` asks for the image “{wanted}” of “{shown}”, and there is none: it holds "
        f'{listed}{more}. Name one of them, or set `scenes = "{EVERY_SCENE}"` for all.',
        hint=f'Name an image that is there, or set `scenes = "{EVERY_SCENE}"`.',
        wanted=wanted,
        scenes=list(scenes[:100]),
    )


def _plan_scene(
    listing: Listing,
    probe: Callable[[str], ImageInfo],
    palette: Callable[[str], NDArray[Any] | None],
    options: LayoutOptions,
    voxel_size: VoxelSizeOptions,
    names: tuple[str, str],
) -> DatasetPlan:
    """Plan one image; its name for the dataset and the one in the file."""
    name, own_name = names
    try:
        plan = plan_dataset(listing, probe, palette, options, voxel_size)
    except StackwatchError as error:
        raise type(error)(
            f"Image “{name}”: {error.message} To convert the others one by one, name each in "
            "`scenes`.",
            hint=error.hint,
            **{"scene": name, **error.values},
        ) from error
    metadata = {**(plan.metadata or {}), **({"scene": own_name} if own_name else {})}
    return replace(plan, scene_name=name, metadata=metadata or None)


def _one_to_name(path: str, scenes: Sequence[str]) -> AmbiguousLayoutError:
    listed = ", ".join(f"“{scene}”" for scene in scenes[:20])
    more = f" and {len(scenes) - 20} more" if len(scenes) > 20 else ""
    hint = f'Name one: `scenes = "{scenes[0]}"`, or `--scene {scenes[0]}`.'
    return AmbiguousLayoutError(
        f"“{show_path(path)}” holds {len(scenes)} datasets that may be the image: {listed}{more}. "
        f"Nothing is guessed. {hint}",
        hint=hint,
        path=show_path(path),
        scenes=list(scenes[:100]),
    )


def _several_files(
    listing: Listing, path: str, info: ImageInfo, files: int
) -> AmbiguousLayoutError:
    hint = "Put each file into a folder of its own, or drop the files one by one."
    return AmbiguousLayoutError(
        f"“{show_path(path)}” in “{show_path(listing.root)}” holds {len(info.scenes)} images "
        f"({', '.join(f'“{name}”' for name in info.scenes[:4])}), and there are other image files "
        f"beside it. Which image belongs to which cannot be told. {hint}",
        hint=hint,
        path=show_path(path),
        scenes=list(info.scenes[:100]),
        files=files,
    )
