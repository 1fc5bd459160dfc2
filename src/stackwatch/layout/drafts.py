"""What the rules of this floor read and what they say: contents of a folder, stacks, claims."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

from stackwatch.errors import StackwatchError
from stackwatch.layout.names import Family, parse_families
from stackwatch.layout.voxel_size import StatedSize
from stackwatch.model.image import Channel, ImageInfo
from stackwatch.model.plan import PlaneRef

Probe = Callable[[str], ImageInfo]
"""From a path relative to the acquisition to what the file's headers tell; may raise ReadError."""

SEQUENCE: Final = "sequence"
NAMED_AXES: Final = "named-axes"
SINGLE_FILE: Final = "single-file"
OME_SET: Final = "ome-set"
Z_PARTS: Final = "z-parts"
LAYER_PER_FILE: Final = "layer-per-file"
"""Names of the rules, as the `layout` setting takes them."""

NO_CHANNEL: Final = Channel()
"""A channel of which nothing is said."""

SAMPLE: Final = 64
"""Files looked at before a conversion; every slice is checked again while it is read."""


def spread_sample(files: tuple[str, ...], limit: int = SAMPLE) -> tuple[str, ...]:
    """Return all files, or `limit` of them spread evenly with the first and the last.

    Examples
    --------
    >>> spread_sample(("a", "b", "c", "d", "e"), limit=3)
    ('a', 'c', 'e')
    """
    count = len(files)
    if count <= limit:
        return files
    return tuple(files[round(i * (count - 1) / (limit - 1))] for i in range(limit))


@dataclass(frozen=True, slots=True)
class StackDraft:
    """The slices of one stack in order, before their pixels are looked at.

    Attributes
    ----------
    files : tuple of str
        Relative to the acquisition's root.
    planes_tz : tuple of tuple of PlaneRef
        Indexed [t][z].
    label : str
        What tells this stack from the others of the same content: a channel's or a file's name;
        empty where there is only one.
    is_label_enough : bool
        Whether the label names the layer by itself, or only after the folder's name.
    channel : Channel
    words : tuple of str
        Folder and file names that may say what the layer holds.
    """

    files: tuple[str, ...]
    planes_tz: tuple[tuple[PlaneRef, ...], ...]
    label: str = ""
    is_label_enough: bool = False
    channel: Channel = NO_CHANNEL
    words: tuple[str, ...] = ()

    @property
    def channel_index(self) -> int:
        """Which channel of its files it is: all its planes are of one."""
        return max((ref.c for planes in self.planes_tz for ref in planes), default=0)


@dataclass(frozen=True, slots=True)
class Claim:
    """A rule's word that it can read a content.

    Attributes
    ----------
    rule : str
        Its name, as the `layout` setting takes it.
    evidence : tuple of str
    stacks : tuple of StackDraft
    error : StackwatchError or None
        The content is of this rule's kind, but it is not whole or cannot be converted.
    is_sure : bool
        False: only the `layout` setting can decide for this rule.
    warnings : tuple of str
    """

    rule: str
    evidence: tuple[str, ...]
    stacks: tuple[StackDraft, ...] = ()
    error: StackwatchError | None = None
    is_sure: bool = True
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Misfit:
    """A rule's reason why a content is not of its kind."""

    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class LayerDraft:
    """A stack with the name it would give its layer.

    Attributes
    ----------
    stack : StackDraft
    folder : str
        The layer folder's name, as it is; empty for a flat acquisition.
    """

    stack: StackDraft
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an acquisition is organised.

    Attributes
    ----------
    layout : str
    evidence : tuple of str
    layers : tuple of LayerDraft
    warnings : tuple of str
    stated : tuple of StatedSize
        What texts beside the images say of the voxel size.
    metadata : dict or None
        Provenance they tell. JSON values.
    """

    layout: str
    evidence: tuple[str, ...]
    layers: tuple[LayerDraft, ...]
    warnings: tuple[str, ...] = ()
    stated: tuple[StatedSize, ...] = ()
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True)
class Content:
    """The image files of one place: what a rule decides about.

    Attributes
    ----------
    shown : str
        The place, for messages.
    files : tuple of str
        Relative to the acquisition's root, in natural order; at least one.
    probe : Probe
    missing_slices : "park" | "black"
    folders : tuple of str
        Names of the folders that belong to this content alone.
    is_forced : bool
        Whether the `layout` setting names the rule: then a lone number counts what that rule
        counts, whatever the word before it says.
    """

    shown: str
    files: tuple[str, ...]
    probe: Probe
    missing_slices: Literal["park", "black"] = "park"
    folders: tuple[str, ...] = ()
    is_forced: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """Return what may say what the content holds: its folders, and what its names share."""
        return (*self.folders, self.families[0].template)

    @cached_property
    def by_name(self) -> dict[str, str]:
        """Return each file's path by its base name."""
        return {path.rpartition("/")[2]: path for path in self.files}

    @cached_property
    def families(self) -> tuple[Family, ...]:
        """Return the families of the base names, the largest first."""
        return parse_families(self.by_name)

    @cached_property
    def sampled(self) -> dict[str, ImageInfo]:
        """Return what the headers of a spread sample tell, by path."""
        return {path: self.probe(path) for path in spread_sample(self.files)}

    @cached_property
    def first(self) -> ImageInfo:
        """Return what the headers of the first file tell."""
        return self.sampled[self.files[0]]

    @cached_property
    def depths(self) -> set[bool]:
        """Return whether files hold several slices or timepoints: one answer if they all agree."""
        return {info.size_z > 1 or info.size_t > 1 for info in self.sampled.values()}

    @cached_property
    def is_planar(self) -> bool:
        """Tell whether every sampled file holds one slice (of one or more channels)."""
        return self.depths == {False}

    @cached_property
    def is_deep(self) -> bool:
        """Tell whether every sampled file holds several slices or timepoints."""
        return self.depths == {True}

    @cached_property
    def is_set(self) -> bool:
        """Tell whether a sampled file belongs to an OME-TIFF set."""
        return any(info.set_files for info in self.sampled.values())

    @cached_property
    def extents(self) -> set[tuple[int, int, int, int]]:
        """Return the distinct t, z, y, x of the sampled files."""
        return {(i.size_t, i.size_z, i.size_y, i.size_x) for i in self.sampled.values()}
