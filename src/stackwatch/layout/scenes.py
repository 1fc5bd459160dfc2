"""Files with several images: which of them become datasets, and what tells these apart."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from numpy.typing import NDArray

from stackwatch.errors import (
    AmbiguousLayoutError,
    StackwatchError,
    UnknownLayoutError,
    UnsupportedFormatError,
)
from stackwatch.layout.drafts import Probe, Verdict
from stackwatch.layout.instruments import recognise_instrument
from stackwatch.layout.plan import Told, plan_dataset
from stackwatch.layout.scene_drafts import Folder, SceneDraft, TextOf
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
    text_of: TextOf | None = None,
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
    text_of : TextOf or None
        Reads the texts beside its images; None: they are not asked.

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
    planner = _Planner(listing, probe, palette, options, voxel_size, text_of)
    if text_of is not None:
        once = cache(lambda path: probe(path, 0))  # recognised and planned by the same headers
        drafts = recognise_instrument(Folder(listing, text_of, once, options))
        if drafts:
            return _plan_drafts(planner, drafts, once)
    return _plan_files(planner)


@dataclass(frozen=True, slots=True)
class _Planner:
    """What all datasets of an acquisition are planned with, as `plan_datasets` takes it."""

    listing: Listing
    probe: SceneProbe
    palette: ScenePalette
    options: LayoutOptions
    voxel_size: VoxelSizeOptions
    text_of: TextOf | None

    def plan(
        self, scene: int = 0, verdict: Verdict | None = None, probe: Probe | None = None
    ) -> DatasetPlan:
        """Plan the dataset of one image of the files, or of the files a verdict names."""
        return plan_dataset(
            self.listing,
            probe or (lambda path: self.probe(path, scene)),
            lambda path: self.palette(path, scene),
            self.options,
            self.voxel_size,
            Told(self.text_of, verdict) if self.text_of is not None else None,
        )


def _plan_drafts(
    planner: _Planner, drafts: Sequence[SceneDraft], probe: Probe
) -> tuple[DatasetPlan, ...]:
    """Plan the datasets that an instrument's metadata tells apart."""
    scenes = [draft.name for draft in drafts]
    wanted = choose_scenes(scenes, planner.options.scenes, show_path(planner.listing.root))
    if len(drafts) == 1:
        return (planner.plan(verdict=drafts[0].decide(), probe=probe),)
    names = name_scenes(scenes)
    return tuple(
        _named(
            names[scene],
            scenes[scene],
            lambda scene=scene: planner.plan(  # type: ignore[misc]
                verdict=drafts[scene].decide(), probe=probe
            ),
        )
        for scene in wanted
    )


def _plan_files(planner: _Planner) -> tuple[DatasetPlan, ...]:
    """Plan the dataset of the images, or one for each image of the only file."""
    seen: dict[str, ImageInfo] = {}
    options = planner.options

    def probe_first(path: str) -> ImageInfo:
        seen[path] = _probe_any(planner.probe, path, options.scenes)
        return seen[path]

    refusal: StackwatchError | None = None
    plans: tuple[DatasetPlan, ...] = ()
    try:
        plans = (planner.plan(probe=probe_first),)
    except StackwatchError as error:
        refusal = error
    several = [path for path, info in seen.items() if len(info.scenes) > 1]
    if several and len(seen) > 1:
        raise _several_files(planner.listing, several[0], seen[several[0]], len(seen)) from refusal
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
        _named(
            names[scene],
            scenes[scene],
            lambda scene=scene: planner.plan(scene),  # type: ignore[misc]
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


def _named(name: str, own_name: str, plan: Callable[[], DatasetPlan]) -> DatasetPlan:
    """Plan one image under its name for the dataset, and keep the one it has in the file."""
    try:
        planned = plan()
    except StackwatchError as error:
        raise type(error)(
            f"Image “{name}”: {error.message} To convert the others one by one, name each in "
            "`scenes`.",
            hint=error.hint,
            **{"scene": name, **error.values},
        ) from error
    metadata = {**(planned.metadata or {}), **({"scene": own_name} if own_name else {})}
    return replace(planned, scene_name=name, metadata=metadata or None)


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
