"""What a dataset claims of itself: all that a server refuses in `datasource-properties.json`. Pure.

Source: the rules by which the server reads the file; units and values as in docs/formats.md.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

_FORMATS: Final = ("wkw", "zarr", "zarr3", "n5", "neuroglancerPrecomputed")
_LARGEST: Final = {
    "uint8": 2**8 - 1, "uint16": 2**16 - 1, "uint32": 2**32 - 1, "uint64": 2**64 - 1,
    "int8": 2**7 - 1, "int16": 2**15 - 1, "int32": 2**31 - 1, "int64": 2**63 - 1,
}  # fmt: skip
_COLOR_ONLY: Final = ("uint24", "float", "double")


def iter_problems(properties: dict[str, Any], data_version: int) -> Iterator[str]:
    """Yield all that a server of this version refuses in a dataset's properties."""
    if not isinstance(properties.get("id"), dict):
        yield "`id` is missing"
    scale = properties.get("scale")
    factor = scale.get("factor") if isinstance(scale, dict) else scale
    if not _is_positive(factor, int | float):
        yield f"the voxel size must be three numbers over 0 (is {factor})"
    layers = properties.get("dataLayers")
    if not isinstance(layers, list) or not layers:
        yield "it has no layers"
        return
    names = [layer.get("name") if isinstance(layer, dict) else None for layer in layers]
    for name in sorted({str(name) for name in names if names.count(name) > 1}):
        yield f"two layers are called “{name}”"
    for layer in layers:
        if isinstance(layer, dict):
            yield from _iter_layer_problems(layer, data_version)


def _iter_layer_problems(layer: dict[str, Any], data_version: int) -> Iterator[str]:
    name = layer.get("name")
    told = f"layer “{name}”"
    if not isinstance(name, str) or not name or "/" in name or name.startswith("."):
        yield f"{told}: a name must not be empty, hold a slash or begin with a dot"
    if layer.get("category") not in {"color", "segmentation"}:
        yield f"{told}: the category must be color or segmentation (is {layer.get('category')})"
    if layer.get("dataFormat") not in _FORMATS:
        yield f"{told}: the format {layer.get('dataFormat')} is not known"
    yield from (f"{told}: {problem}" for problem in _iter_value_problems(layer, data_version))
    if not box_of(layer):
        yield f"{told}: its bounding box is empty"
    yield from (f"{told}: {problem}" for problem in _iter_mag_problems(layer))


def _iter_value_problems(layer: dict[str, Any], data_version: int) -> Iterator[str]:
    kind = layer.get("elementClass")
    if kind not in _LARGEST and kind not in _COLOR_ONLY:
        yield f"values of type {kind} are not known"
    if layer.get("category") != "segmentation":
        return
    if kind in _COLOR_ONLY:
        yield f"a segmentation cannot hold {kind} values"
    largest = layer.get("largestSegmentId")
    if isinstance(largest, dict):
        if data_version < 15:
            yield (
                "this server is too old for segment ids over 2^53; upgrade it, or remove "
                "`largestSegmentId`"
            )
        value = str(largest.get("value", ""))
        largest = int(value) if value.isdigit() else None
    if isinstance(largest, int) and not 0 <= largest <= _LARGEST.get(str(kind), largest):
        yield f"the largest segment id {largest} is beyond {kind}"


def _iter_mag_problems(layer: dict[str, Any]) -> Iterator[str]:
    mags = layer.get("mags")
    if not isinstance(mags, list) or not mags:
        yield "it has no mags"
        return
    found = []
    for mag in mags:
        edges = mag.get("mag") if isinstance(mag, dict) else None
        if not isinstance(edges, list) or not _is_positive(edges, int):
            yield f"a mag must be three whole numbers over 0 (is {edges})"
            return
        found.append(tuple(edges))
        path = mag_path(layer, mag)
        if "://" in path or path.startswith("/") or ".." in path.split("/"):
            yield f"the path “{path}” leaves the dataset"
    if len(set(found)) < len(found):
        yield "it has the same mag twice"
    pairs = pairwise(sorted(found))
    if any(fine > coarse for a, b in pairs for fine, coarse in zip(a, b, strict=True)):
        yield "its mags do not grow in all directions"


def _is_positive(edges: Any, kind: Any) -> bool:
    if not isinstance(edges, list) or len(edges) != 3:
        return False
    return all(isinstance(e, kind) and not isinstance(e, bool) and e > 0 for e in edges)


def box_of(layer: dict[str, Any]) -> tuple[tuple[int, int, int], tuple[int, int, int]] | None:
    """Return top-left and size of a layer in mag-1 voxels; None if they are not whole numbers."""
    box = layer.get("boundingBox")
    if not isinstance(box, dict):
        return None
    corner = box.get("topLeft")
    edges = [box.get(edge) for edge in ("width", "height", "depth")]
    if not isinstance(corner, list) or len(corner) != 3 or not _is_positive(edges, int):
        return None
    if not all(isinstance(at, int) for at in corner):
        return None
    (x, y, z), (width, height, depth) = corner, edges
    return (x, y, z), (int(width or 0), int(height or 0), int(depth or 0))


def mag_path(layer: dict[str, Any], mag: dict[str, Any]) -> str:
    """Return the directory of a mag; one without a path lies where its name says."""
    edges = mag["mag"]
    literal = str(edges[0]) if len(set(edges)) == 1 else "-".join(str(edge) for edge in edges)
    path = str(mag.get("path") or f"{layer.get('name')}/{literal}")
    return path.removeprefix("./").rstrip("/")
