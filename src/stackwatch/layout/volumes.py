"""Acquisitions that are a volume already: Zarr, WKW, KNOSSOS, NDTiff, OIF, told by their files.

Such a folder is one image, or several, whatever the names of the files in it; each image is opened
by its anchor (`readers.folder`). Recognising them is pure.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from stackwatch.errors import (
    AcquisitionError,
    AmbiguousLayoutError,
    StillArrivingError,
    UnknownLayoutError,
)
from stackwatch.layout.assembly import channel_labels
from stackwatch.layout.drafts import LayerDraft, Probe, StackDraft, Verdict
from stackwatch.layout.ignore import finished_name
from stackwatch.layout.kinds import FileKind, kind_of
from stackwatch.layout.names import natural_key
from stackwatch.layout.refusals import show_extent
from stackwatch.model.acquisition import Listing, show_path
from stackwatch.model.image import ImageInfo
from stackwatch.model.plan import PlaneRef
from stackwatch.readers.folder import (
    KNOSSOS_CONF,
    NDTIFF_INDEX,
    OIF_SUFFIX,
    PROPERTIES,
    WKW_HEADER,
    ZARR_METADATA,
)

VOLUME_FOLDER: Final = "volume-folder"
"""Name of this layout, as the `layout` setting takes it."""

_PREFERRED: Final = ("zarr.json", ".zattrs", ".zarray", ".zgroup")
_MAG: Final = re.compile(r"\d+(-\d+-\d+)?")


@dataclass(frozen=True, slots=True)
class VolumeLayer:
    """One image of a volume: its anchor, and the name of its layer where it has one."""

    anchor: str
    name: str = ""
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Volumes:
    """What was recognised.

    Attributes
    ----------
    what : str
        For people.
    root : str
        The folder with everything that belongs to it; empty for the acquisition's own.
    layers : tuple of VolumeLayer
    """

    what: str
    root: str
    layers: tuple[VolumeLayer, ...]


def find_volumes(listing: Listing) -> Volumes | None:
    """Return the volume an acquisition is, or None if it is none.

    Raises
    ------
    AmbiguousLayoutError
        There are several, or other images beside it; the caller parks.
    StillArrivingError
        A file of it is still being written; the caller waits.
    AcquisitionError
        A link or an unreadable folder may hide a part of it; the caller parks.
    """
    by_name: dict[str, list[str]] = defaultdict(list)
    for entry in listing.entries:
        folder, _, name = entry.path.rpartition("/")
        if name in ZARR_METADATA or name in {WKW_HEADER, KNOSSOS_CONF, PROPERTIES}:
            by_name[name].append(folder)
    single = [*_find_oif(listing), *_find_ndtiff(listing)]
    zarr = {folder for name in ZARR_METADATA for folder in by_name[name]}
    wkw, knossos = set(by_name[WKW_HEADER]), set(by_name[KNOSSOS_CONF])
    if not (zarr or wkw or knossos or single):
        return None
    if len(single) > 1 or (single and (zarr or wkw or knossos)):
        raise _several(listing, [*single, *sorted(zarr | wkw | knossos)])
    found = (
        _single(single[0])
        if single
        else _recognise(listing, zarr, wkw, knossos, by_name[PROPERTIES])
    )
    _ensure_whole(listing, found)
    _ensure_alone(listing, found)
    return found


def classify_volumes(listing: Listing, volumes: Volumes, probe: Probe) -> Verdict:
    """Return the layers of a volume: one for each image and channel.

    Raises
    ------
    ReadError, LayoutError
        An image cannot be opened; the caller parks.
    """
    where = f"“{show_path(volumes.root)}”" if volumes.root else f"“{show_path(listing.root)}”"
    evidence = [f"{where} is {volumes.what}"]
    layers: list[LayerDraft] = []
    for layer in volumes.layers:
        info = probe(layer.anchor)
        shown = f"“{show_path(layer.anchor)}”"
        evidence.append(f"{shown} stands for an image: {show_extent(info)}")
        layers += [LayerDraft(stack) for stack in _stacks(layer, info, listing)]
    return Verdict(VOLUME_FOLDER, tuple(evidence), tuple(layers))


def _stacks(layer: VolumeLayer, info: ImageInfo, listing: Listing) -> Iterable[StackDraft]:
    own_name = (listing.root.name,) if listing.is_whole_folder else ()
    for c, (label, channel) in enumerate(channel_labels(info)):
        is_named = bool(channel.name) and channel.name.strip() == label
        yield StackDraft(
            files=(layer.anchor,),
            planes_tz=tuple(
                tuple(PlaneRef(0, t, c, z) for z in range(info.size_z)) for t in range(info.size_t)
            ),
            label="_".join(part for part in (layer.name, label) if part),
            is_label_enough=bool(layer.name) or is_named,
            channel=channel,
            words=(info.category,) if info.category else layer.words or own_name,
        )


# ---------------------------------------------------------------- what it is


def _recognise(
    listing: Listing, zarr: set[str], wkw: set[str], knossos: set[str], properties: list[str]
) -> Volumes:
    described = [root for root in properties if _mags_below(root, zarr | wkw)]
    if len(described) == 1:
        root = described[0]
        layers = _finest_mags(listing, _mags_below(root, zarr | wkw), wkw)
        return Volumes("a WEBKNOSSOS dataset", root, layers)
    kinds = [bool(zarr), bool(wkw), bool(knossos)]
    finest = {folder for folder in knossos if folder.rpartition("/")[2] == "mag1"}
    knossos = finest if finest and not _mag_roots(knossos - finest) else knossos
    roots = sorted(_topmost(zarr | knossos), key=natural_key)
    if sum(kinds) > 1 or len(described) > 1 or (not wkw and len(roots) > 1):
        raise _several(listing, described or [*roots, *sorted(wkw)])
    if wkw:
        layers = _finest_mags(listing, wkw, wkw)
        common = {folder.rpartition("/")[0].rpartition("/")[0] for folder in wkw}
        return Volumes("WKW", common.pop() if len(common) == 1 else "", layers)
    if knossos:
        anchor = _join(roots[0], KNOSSOS_CONF)
        root = roots[0].rpartition("/")[0] if finest == {roots[0]} else roots[0]
        return Volumes("KNOSSOS cubes", root, (VolumeLayer(anchor),))
    return _zarr(listing, roots[0], zarr)


def _find_oif(listing: Listing) -> list[str]:
    """Return the settings of each OIF whose folder of images is there too."""
    settings = [e.path for e in listing.entries if e.path.lower().endswith(OIF_SUFFIX)]
    folders = {entry.path.rpartition("/")[0] for entry in listing.entries}
    return [path for path in settings if f"{path}.files" in folders]


def _find_ndtiff(listing: Listing) -> list[str]:
    """Return the index of each NDTiff dataset."""
    return [e.path for e in listing.entries if e.path.rpartition("/")[2] == NDTIFF_INDEX]


def _single(anchor: str) -> Volumes:
    """Return the one image that an OIF or an NDTiff dataset is."""
    folder, _, name = anchor.rpartition("/")
    what = "an NDTiff dataset" if name == NDTIFF_INDEX else "an OIF"
    return Volumes(what, folder, (VolumeLayer(anchor),))


def _mag_roots(folders: set[str]) -> set[str]:
    """Return the folders that are not called like a coarser mag of KNOSSOS."""
    return {one for one in folders if not re.fullmatch(r"mag\d+", one.rpartition("/")[2])}


def _zarr(listing: Listing, root: str, zarr: set[str]) -> Volumes:
    paths = {entry.path for entry in listing.entries}
    labels_folder = _join(root, "labels")
    labels = sorted(
        (one for one in zarr if one.rpartition("/")[0] == labels_folder), key=natural_key
    )
    layers = [VolumeLayer(_zarr_anchor(paths, root))]
    for folder in labels:
        name = folder.rpartition("/")[2]
        layers.append(VolumeLayer(_zarr_anchor(paths, folder), name, ("labels", name)))
    return Volumes("a Zarr hierarchy", root, tuple(layers))


def _zarr_anchor(paths: set[str], folder: str) -> str:
    return next(_join(folder, name) for name in _PREFERRED if _join(folder, name) in paths)


def _mags_below(root: str, folders: set[str]) -> set[str]:
    """Return the folders of mags: two below the root, with the name of a mag."""
    prefix = f"{root}/" if root else ""
    return {
        folder
        for folder in folders
        if folder.startswith(prefix)
        and folder[len(prefix) :].count("/") == 1
        and _MAG.fullmatch(folder.rpartition("/")[2])
    }


def _finest_mags(listing: Listing, mags: set[str], wkw: set[str]) -> tuple[VolumeLayer, ...]:
    paths = {entry.path for entry in listing.entries}
    finest: dict[str, str] = {}
    for folder in sorted(mags, key=lambda path: _factors(path.rpartition("/")[2])):
        finest.setdefault(folder.rpartition("/")[0], folder)
    layers = []
    for layer in sorted(finest, key=natural_key):
        folder = finest[layer]
        if _factors(folder.rpartition("/")[2]) > (1, 1, 1):
            hint = "Copy the mag “1” too, or give it as a dataset of its own."
            raise UnknownLayoutError(
                f"Layer “{show_path(layer)}” of “{show_path(listing.root)}” has no mag 1: the "
                f"finest is “{show_path(folder.rpartition('/')[2])}”. {hint}",
                hint=hint,
                layer=show_path(layer),
            )
        name = layer.rpartition("/")[2]
        anchor = _join(folder, WKW_HEADER) if folder in wkw else _zarr_anchor(paths, folder)
        layers.append(VolumeLayer(anchor, name, (name,)))
    return tuple(layers)


def _factors(mag: str) -> tuple[int, int, int]:
    """Return the factors of a mag by its name; large ones for what is no mag.

    Examples
    --------
    >>> _factors("1"), _factors("2-2-1")
    ((1, 1, 1), (2, 2, 1))
    """
    if not _MAG.fullmatch(mag):
        return (2**30,) * 3
    numbers = [int(part) for part in mag.split("-")]
    x, y, z = numbers if len(numbers) == 3 else numbers * 3
    return x, y, z


def _topmost(folders: set[str]) -> set[str]:
    """Return the folders that lie in no other of them."""
    found: set[str] = set()
    for folder in sorted(folders):
        parents = {folder[: match.start()] for match in re.finditer("/", folder)} | {""}
        if not (parents - {folder}) & found:
            found.add(folder)
    return found


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


# ---------------------------------------------------------------- nothing but it, and all of it


def _ensure_whole(listing: Listing, volumes: Volumes) -> None:
    prefix = f"{volumes.root}/" if volumes.root else ""
    for path in listing.ignored:
        if path.startswith(prefix) and finished_name(path.rstrip("/").rpartition("/")[2]):
            raise StillArrivingError(
                f"“{show_path(path)}” of “{show_path(listing.root)}” is still being written, or "
                "the copy was given up. Finish the copy, or remove it.",
                hint="Finish the copy, or remove the temporary files.",
                pending=[show_path(path)],
            )
    for refusal in listing.refusals:
        if refusal.path.startswith(prefix):
            hint = "Put the files themselves in its place."
            raise AcquisitionError(
                f"“{show_path(refusal.path)}” in “{show_path(listing.root)}” is {refusal.reason}. "
                f"Links and unreadable folders are never followed, and it is part of an image. "
                f"{hint}",
                hint=hint,
                path=show_path(refusal.path),
            )


def _ensure_alone(listing: Listing, volumes: Volumes) -> None:
    prefixes = [f"{volumes.root}/" if volumes.root else ""]
    if volumes.layers[0].anchor.lower().endswith(OIF_SUFFIX):
        prefixes = [f"{volumes.layers[0].anchor}{end}" for end in ("\0", ".files/")]
    others = [
        entry.path
        for entry in listing.entries
        if not f"{entry.path}\0".startswith(tuple(prefixes))
        and kind_of(entry.path) in {FileKind.IMAGE, FileKind.FOREIGN}
    ]
    if others:
        hint = f'Move them apart, or set `ignore = ["{show_path(others[0])}"]`.'
        raise AmbiguousLayoutError(
            f"“{show_path(listing.root)}” holds {volumes.what} in “{show_path(volumes.root)}” and "
            f"{len(others)} other images, such as “{show_path(others[0])}”. {hint}",
            hint=hint,
            others=[show_path(path) for path in others[:20]],
        )


def _several(listing: Listing, roots: list[str]) -> AmbiguousLayoutError:
    hint = "Drop each by itself, or raise `acquisition_depth`."
    shown = ", ".join(f"“{show_path(root)}”" for root in roots[:4])
    return AmbiguousLayoutError(
        f"“{show_path(listing.root)}” holds {len(roots)} volumes ({shown}): layers of one dataset, "
        f"or datasets? {hint}",
        hint=hint,
        roots=[show_path(root) for root in roots[:20]],
    )
