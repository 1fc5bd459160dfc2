"""What an acquisition's sidecar changes about its conversion.

The command line wins over the sidecar, the sidecar over the settings of the drop folder: a person
wrote it for this very acquisition.
"""

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import xxhash

from stackwatch.layout.sidecar import (
    MAX_SIDECAR_BYTES,
    Sidecar,
    find_sidecars,
    is_sidecar,
    load_sidecar,
    parse_sidecar,
    sidecar_error,
)
from stackwatch.model.acquisition import FileEntry, Listing, fit_dataset_name, show_path
from stackwatch.model.facts import Directives
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.options import ConvertOptions, LayerRule, LayoutOptions
from stackwatch.model.plan import DatasetPlan
from stackwatch.model.voxels import Category
from stackwatch.readers.probe import open_image
from stackwatch.readers.protocol import ImageOpener
from stackwatch.readers.raw import RawWord
from stackwatch.readers.raw_files import RawFiles
from stackwatch.readers.source import AcquisitionFiles, FolderFiles

_NOTHING: Final[Mapping[str, Any]] = {}
_TOO_LATE = (
    "`name`, `skip`, `upload`, `priority` and `expected_files` are asked for before an archive is "
    "opened: put the sidecar beside the archive"
)


def read_sidecar(listing: Listing, files: AcquisitionFiles, beside: Listing) -> Sidecar | None:
    """Return what an acquisition's sidecar says, None if there is none.

    Parameters
    ----------
    listing : Listing
    files : AcquisitionFiles
        Of the listing.
    beside : Listing
        Of an archive the sidecars beside it, else empty: they are in the listing.

    Raises
    ------
    SidecarError
        It has mistakes, or there are two; the caller parks.
    ChangedDuringConversionError, VanishedError, ReadError
        The caller passes them on.
    """
    for place in (listing, beside):
        for refusal in place.refusals:
            if find_sidecars((refusal.path,)):
                load_sidecar(place.root / refusal.path)  # tells what is wrong with it
    inside = sidecar_entries(listing)
    names = [entry.path for entry in (*inside, *beside.entries)]
    if len(names) > 1:
        shown = " and ".join(f"“{show_path(name)}”" for name in names)
        raise sidecar_error(listing.root, [f"there are two sidecars, {shown}: remove one"])
    if beside.entries:
        with closing(FolderFiles(beside.root)) as files_beside:
            return _read_one(beside.entries[0], files_beside, beside.root)
    if not inside:
        return None
    sidecar = _read_one(inside[0], files, listing.root)
    if not inside[0].inode and sidecar.directives != Directives():  # the member of an archive
        raise sidecar_error(listing.root / inside[0].path, [_TOO_LATE])
    return sidecar


def sidecar_entries(listing: Listing) -> tuple[FileEntry, ...]:
    """Return the entries of a listing that are its sidecars: one at most, if all is well.

    An archive may hold one folder that holds everything else; then its top counts.
    """
    base = ""
    if listing.entries and not listing.entries[0].inode:
        tops = {"".join(entry.path.partition("/")[:2]) for entry in listing.entries}
        base = tops.pop() if len(tops) == 1 else ""
        base = base if base.endswith("/") else ""
    below = [entry for entry in listing.entries if entry.path.startswith(base)]
    found = set(find_sidecars(entry.path[len(base) :] for entry in below))
    return tuple(entry for entry in below if entry.path[len(base) :] in found)


def without_sidecars(listing: Listing) -> Listing:
    """Return a listing as the layouts see it: no sidecar is a slice, nor a stray file."""
    kept = tuple(
        entry for entry in listing.entries if not is_sidecar(entry.path.rpartition("/")[2])
    )
    return replace(listing, entries=kept) if len(kept) < len(listing.entries) else listing


def _read_one(entry: FileEntry, files: AcquisitionFiles, root: Path) -> Sidecar:
    with files.open(entry.path) as file:
        files.check(entry, file)
        data = file.read(MAX_SIDECAR_BYTES + 1)
        files.check(entry, file)
    return parse_sidecar(data, root / entry.path)


# ---------------------------------------------------------------- what it changes


def apply_sidecar(options: ConvertOptions, sidecar: Sidecar) -> ConvertOptions:
    """Return the options of a conversion after its sidecar had its say.

    Parameters
    ----------
    options : ConvertOptions
        Flags (`are_flags`) win over the sidecar; settings of a folder give way to it.
    sidecar : Sidecar
    """
    name = options.dataset_name
    if name is None and sidecar.name:
        name = fit_dataset_name(sidecar.name)
    voxel_size = replace(
        options.voxel_size,
        sidecar_nm=PartialVoxelSize(*sidecar.voxel_size_nm),
        sidecar=sidecar.file,
    )
    layout = _apply_to_layers(options.layout, sidecar, are_flags=options.are_flags)
    if sidecar.rescale is not None and not (options.are_flags and layout.rescale is not None):
        layout = replace(layout, rescale=sidecar.rescale)
    return replace(options, dataset_name=name, voxel_size=voxel_size, layout=layout)


def _apply_to_layers(options: LayoutOptions, sidecar: Sidecar, *, are_flags: bool) -> LayoutOptions:
    """Let the stronger of the two say what layers are called and what they hold.

    A rule for one layer wins over a word for all, within either; but no rule of the weaker one
    wins over a word of the stronger one.
    """
    said_category = Category(sidecar.category) if sidecar.category is not None else None
    own = tuple(
        LayerRule(rule.match, rule.name, Category(rule.category) if rule.category else None)
        for rule in sidecar.layers
    )
    if are_flags:
        category, name = options.category or said_category, options.layer_name or sidecar.layer_name
        rules = options.layer_rules + _weakened(own, options.category, options.layer_name)
    else:
        category, name = said_category or options.category, sidecar.layer_name or options.layer_name
        rules = own + _weakened(options.layer_rules, said_category, sidecar.layer_name)
    return replace(options, category=category, layer_name=name, layer_rules=rules)


def _weakened(
    rules: tuple[LayerRule, ...], category: Category | None, name: str | None
) -> tuple[LayerRule, ...]:
    """Return rules without what somebody stronger has decided for all layers."""
    return tuple(
        LayerRule(
            rule.match,
            rule.name if name is None else None,
            rule.category if category is None else None,
        )
        for rule in rules
    )


def open_raw_files(
    files: AcquisitionFiles,
    listing: Listing,
    options: ConvertOptions,
    sidecar: Sidecar | None,
    opener: ImageOpener = open_image,
) -> RawFiles:
    """Return what opens the images of an acquisition, its raw files as they are described.

    The command line wins over the sidecar, that over a text beside the raw file, and that over the
    settings of the drop folder.
    """
    said = RawWord(options.layout.raw, "the command line" if options.are_flags else "the settings")
    stronger, weaker = ((said,), ()) if options.are_flags else ((), (said,))
    if sidecar is not None:
        stronger = (*stronger, RawWord(sidecar.raw, f"“{sidecar.file}”"))
    entries = {entry.path: entry for entry in listing.entries}
    return RawFiles(files, entries, stronger, weaker, opener)


def tell_sidecar(dataset: DatasetPlan, sidecar: Sidecar, files: int) -> DatasetPlan:
    """Return a plan that says what its sidecar said, and keeps the sidecar's metadata.

    Parameters
    ----------
    dataset : DatasetPlan
    sidecar : Sidecar
    files : int
        How many the acquisition has, the sidecar not counted.
    """
    said = [key for key in sidecar.meaning() if key != "metadata"]
    sentence = f"“{sidecar.file}” says {', '.join(said)}" if said else f"“{sidecar.file}” was read"
    kept = dict(dataset.metadata or {})
    if sidecar.metadata:
        kept["sidecar"] = dict(sidecar.metadata)
    return replace(
        dataset,
        evidence=(*dataset.evidence, sentence),
        warnings=(*dataset.warnings, *_overruled(sidecar, files)),
        metadata=kept or None,
    )


def _overruled(sidecar: Sidecar, files: int) -> list[str]:
    """Return what a sidecar says against a conversion that somebody wanted all the same."""
    warnings = []
    if sidecar.directives.skip:
        warnings.append(f"“{sidecar.file}” says `skip = true`, which the service obeys")
    expected = sidecar.directives.expected_files
    if expected is not None and files < expected:
        warnings.append(f"“{sidecar.file}” expects {expected:,} files, there are {files:,}")
    return warnings


def digest_meaning(
    sidecar: Sidecar | None,
    raw: Mapping[str, Any] = _NOTHING,
    texts: Mapping[str, str] = _NOTHING,
) -> str:
    """Return a digest of what texts change about the dataset; empty if that is nothing.

    Parameters
    ----------
    sidecar : Sidecar or None
    raw : mapping
        `RawFiles.meaning()`.
    texts : mapping
        `TextFiles.meaning()`.
    """
    meaning: dict[str, Any] = dict(sidecar.meaning()) if sidecar is not None else {}
    if raw:
        meaning["beside raw files"] = dict(raw)
    if texts:
        meaning["of the instrument"] = dict(texts)
    if not meaning:
        return ""
    text = json.dumps(meaning, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return xxhash.xxh3_128_hexdigest(text.encode())
