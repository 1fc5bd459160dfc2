"""The dataset as it lies here: what of it is sent, checked against all that a server refuses.

And against what a server forgets to check: whether arrays and files are there, of the type that the
properties claim. A dataset without would arrive, and be black.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stackwatch.errors import DeliveryRefusedError, StackwatchError
from stackwatch.model.acquisition import show_path
from stackwatch.readers.wkw_header import HEADER_BYTES, HEADER_FILE, parse_header
from stackwatch.stores.properties import PROPERTIES_FILE
from stackwatch.webknossos.claims import box_of, iter_problems, mag_path

MOST_PARTS: Final = 10
"""So deep does a server look for files."""
ARRAY_FILE: Final = "zarr.json"
_DTYPES: Final = {"uint24": "uint8", "float": "float32", "double": "float64"}
_ZARR_KEPT: Final = (".zarray", ".zattrs", ".zgroup")


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file of the dataset that is sent.

    Attributes
    ----------
    path : str
        Relative to the dataset, `/` between parts.
    size : int
        Bytes; never 0.
    mtime_ns : int
    """

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class LocalMag:
    """A mag of a layer.

    Attributes
    ----------
    mag : (int, int, int)
    path : str
        Of its directory, relative to the dataset.
    """

    mag: tuple[int, int, int]
    path: str


@dataclass(frozen=True, slots=True)
class LocalLayer:
    """A layer as the properties describe it.

    Attributes
    ----------
    name, category, element_class, data_format : str
    top_left, size : (int, int, int)
        x, y, z in mag-1 voxels.
    mags : tuple of LocalMag
        Finest first.
    has_more_axes : bool
        Whether there are axes beside channel, x, y and z: a time.
    """

    name: str
    category: str
    element_class: str
    data_format: str
    top_left: tuple[int, int, int]
    size: tuple[int, int, int]
    mags: tuple[LocalMag, ...]
    has_more_axes: bool = False

    @property
    def dtype_name(self) -> str:
        """Name of the numpy dtype of its values."""
        return _DTYPES.get(self.element_class, self.element_class)

    @property
    def channels(self) -> int:
        """Values of a voxel."""
        return 3 if self.element_class == "uint24" else 1


@dataclass(frozen=True, slots=True)
class LocalDataset:
    """A dataset that a server takes.

    Attributes
    ----------
    root : Path
    properties : dict
        Its `datasource-properties.json`.
    layers : tuple of LocalLayer
    files : tuple of SentFile
        The properties and what lies below the mags, sorted; what else lies there a server deletes.
    """

    root: Path
    properties: dict[str, Any]
    layers: tuple[LocalLayer, ...]
    files: tuple[SentFile, ...]

    @property
    def name(self) -> str:
        """The name it gives itself; its directory's where it gives none."""
        identity = self.properties.get("id")
        named = identity.get("name") if isinstance(identity, dict) else None
        return named if isinstance(named, str) and named else self.root.name

    @property
    def total_bytes(self) -> int:
        """Of all files that are sent."""
        return sum(file.size for file in self.files)

    @property
    def digest(self) -> str:
        """Of names and sizes of the files that are sent."""
        import xxhash

        found = xxhash.xxh3_128()
        for file in self.files:
            found.update(f"{file.path}\0{file.size}\n".encode())
        return found.hexdigest()


def survey_dataset(root: Path, data_version: int = 16) -> LocalDataset:
    """Read a dataset's properties, check them and the files they name, and list what is sent.

    Parameters
    ----------
    root : Path
    data_version : int
        Of the protocol: older servers cannot read very large segment ids.

    Raises
    ------
    DeliveryRefusedError
        With all that is wrong; the caller parks the delivery.

    Cost
    ----
    One `stat` for each file; memory for its name.
    """
    properties = _load(root / PROPERTIES_FILE)
    problems = list(iter_problems(properties, data_version))
    if problems:
        raise _refused(root, problems)
    layers = tuple(_parse_layer(layer) for layer in properties["dataLayers"])
    files = [_stat_file(root / PROPERTIES_FILE, root)]
    for layer in layers:
        for mag in layer.mags:
            found = list(_iter_files(root, mag.path, problems))
            files += found
            if not found:
                problems.append(f"layer “{layer.name}”, mag {mag.mag}: no file in “{mag.path}”")
            else:
                problems += _array_problems(root, layer, mag)
    if problems:
        raise _refused(root, problems)
    return LocalDataset(root, properties, layers, tuple(sorted(files, key=lambda f: f.path)))


def _load(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        hint = "Give the directory of a dataset that stackwatch published."
        raise DeliveryRefusedError(
            f"“{show_path(path)}” cannot be read ({error}), so this is no dataset that can be "
            f"sent. {hint}",
            hint=hint,
            path=show_path(path),
        ) from error
    return document if isinstance(document, dict) else {}


def _refused(root: Path, problems: list[str]) -> DeliveryRefusedError:
    more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
    hint = f"Mend {PROPERTIES_FILE}, or convert the acquisition again."
    return DeliveryRefusedError(
        f"WEBKNOSSOS would not take “{show_path(root)}”: {'; '.join(problems[:5])}{more}. Nothing "
        f"was sent. {hint}",
        hint=hint,
        path=show_path(root),
        problems=problems[:100],
    )


def _parse_layer(layer: dict[str, Any]) -> LocalLayer:
    box = box_of(layer)
    assert box is not None, "checked before"
    mags = sorted((tuple(mag["mag"]), mag_path(layer, mag)) for mag in layer["mags"])
    return LocalLayer(
        name=layer["name"],
        category=layer["category"],
        element_class=layer["elementClass"],
        data_format=layer["dataFormat"],
        top_left=box[0],
        size=box[1],
        mags=tuple(LocalMag((mag[0], mag[1], mag[2]), path) for mag, path in mags),
        has_more_axes=bool(layer.get("additionalAxes")),
    )


def _stat_file(path: Path, root: Path) -> SentFile:
    found = path.stat()
    return SentFile(path.relative_to(root).as_posix(), found.st_size, found.st_mtime_ns)


def _iter_files(root: Path, folder: str, problems: list[str]) -> Iterator[SentFile]:
    """Yield the files below a mag; empty ones are left out, a server would never see them."""
    for place, folders, names in os.walk(root / folder):
        for name in sorted([*folders, *names]):
            path = Path(place, name)
            shown = show_path(path.relative_to(root))
            if path.is_symlink():
                problems.append(f"“{shown}” is a link")
            elif name in folders or (name.startswith(".") and name not in _ZARR_KEPT):
                continue
            elif not shown.isprintable() or shown != str(path.relative_to(root)):
                problems.append(f"“{shown}” has a name that cannot be sent")
            elif len(path.relative_to(root).parts) > MOST_PARTS:
                problems.append(f"“{shown}” lies deeper than {MOST_PARTS} folders")
            elif path.stat().st_size:
                yield _stat_file(path, root)


def _array_problems(root: Path, layer: LocalLayer, mag: LocalMag) -> list[str]:
    """Compare what the properties claim with what the array says of itself."""
    told = f"layer “{layer.name}”, mag {'-'.join(map(str, mag.mag))}"
    try:
        if layer.data_format == "wkw":
            found = _wkw_facts(root / mag.path)
        elif layer.data_format == "zarr3":
            found = _zarr_facts(root / mag.path)
        else:
            return []
    except (OSError, ValueError, KeyError, TypeError, StackwatchError) as error:
        return [f"{told}: its array cannot be read ({error})"]
    dtype_name, shape = found
    problems = []
    if dtype_name != layer.dtype_name:
        problems.append(f"{told}: {dtype_name} values, though the layer claims {layer.dtype_name}")
    ends = [a + b for a, b in zip(layer.top_left, layer.size, strict=True)]
    needed = [-(-end // edge) for end, edge in zip(ends, mag.mag, strict=True)]
    if shape and any(have < want for have, want in zip(shape, needed, strict=True)):
        problems.append(f"{told}: the array ends at {shape}, the layer's box at {needed}")
    return problems


def _wkw_facts(folder: Path) -> tuple[str, list[int]]:
    with (folder / HEADER_FILE).open("rb") as file:
        header = parse_header(file.read(HEADER_BYTES), folder / HEADER_FILE)
    return header.dtype_name, []


def _zarr_facts(folder: Path) -> tuple[str, list[int]]:
    document = json.loads((folder / ARRAY_FILE).read_text(encoding="utf-8"))
    return str(document["data_type"]), [int(edge) for edge in document["shape"][-3:]]
