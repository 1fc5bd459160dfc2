"""What the stand-in for WEBKNOSSOS checks: names, the shape of JSON bodies, and data sources."""

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from stackwatch.testing.webknossos_http import RefusedError, as_json, html_page

ELEMENT_CLASSES: Final = (
    "uint8", "uint16", "uint24", "uint32", "uint64", "int8", "int16", "int32", "int64", "float",
    "double",
)  # fmt: skip
DATA_FORMATS: Final = ("wkw", "zarr", "zarr3", "n5", "neuroglancerPrecomputed")
LARGEST_IDS: Final = {"uint8": 2**8, "uint16": 2**16, "uint32": 2**32, "uint64": 2**64}

_INVALID = "Dataset name is invalid. Please use "
_KINDS: Final = {
    str: "error.expected.jsstring",
    int: "error.expected.jsnumber",
    bool: "error.expected.jsboolean",
    list: "error.expected.jsarray",
    dict: "error.expected.jsobject",
}


def name_error(name: str) -> str:
    """Return the first rule that a dataset's name breaks; empty: none."""
    if not re.fullmatch(r"[A-Za-z0-9_.\-]*", name):
        return f"{_INVALID}only letters, digits, dots, underscores, hyphens."
    if name.startswith("."):
        return f"{_INVALID}a name that does not start with a dot."
    if len(name) < 3:
        return f"{_INVALID}at least three characters."
    return ""


def check_schema(body: Any, required: Mapping[str, type], optional: Mapping[str, type]) -> None:
    """Refuse a JSON body whose members are missing or of another kind.

    Parameters
    ----------
    required, optional : mapping
        Kind by dotted path; null counts as absent.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for path, kind in {**required, **optional}.items():
        value = body
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            if path in required:
                found[f"obj.{path}"] = [{"msg": ["error.path.missing"], "args": []}]
        elif not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            found[f"obj.{path}"] = [{"msg": [_KINDS[kind]], "args": []}]
    if found:
        raise RefusedError(as_json(found, 400))


def check_object_id(text: str) -> str:
    """Return a 24-digit id, or refuse as Play does for a bad parameter."""
    if not re.fullmatch(r"[0-9a-f]{24}", text):
        raise RefusedError(html_page(400, f"Invalid ObjectId: {text}"))
    return text


def properties_problem(document: Any) -> str:
    """Return why a properties file does not parse; empty: it does."""
    if not isinstance(document, dict) or not isinstance(document.get("id"), dict):
        return "id"
    if not (_is_scale(document.get("scale")) and isinstance(document.get("dataLayers"), list)):
        return "scale or dataLayers"
    for layer in document["dataLayers"]:
        if not isinstance(layer, dict):
            return "dataLayers"
        for problem in _layer_problems(layer):
            return problem
    return ""


def data_source_errors(document: dict[str, Any]) -> list[str]:
    """Return what the server's own validation says against a data source that parses."""
    errors = []
    if any(edge <= 0 for edge in scale_factor(document["scale"])):
        errors.append("Voxel size (scale) is negative in at least one dimension.")
    layers: list[dict[str, Any]] = document["dataLayers"]
    if not layers:
        errors.append("No layers.")
    for layer in layers:
        errors += _layer_errors(layer)
    names = [layer["name"] for layer in layers]
    if len(set(names)) < len(names):
        errors.append("Layer names must be unique. At least two layers have the same name.")
    if any("/" in name for name in names):
        errors.append("Layer names must not contain forward slash.")
    if any(name.startswith(".") for name in names):
        errors.append("Layer names must not start with dot.")
    return errors


def scale_factor(scale: Any) -> list[float]:
    """Return the edges of a voxel, in the unit of the scale."""
    return [float(edge) for edge in (scale["factor"] if isinstance(scale, dict) else scale)]


def mags_of(layer: dict[str, Any]) -> list[tuple[int, int, int]]:
    """Return a layer's mags in the order in which they are listed."""
    mags = layer.get("mags")
    if mags is None:
        return [_mag(entry["resolution"]) for entry in layer["wkwResolutions"]]
    return [_mag(entry["mag"]) for entry in mags]


def mag_literal(mag: tuple[int, int, int]) -> str:
    """Return `1`, `2`, or `2-2-1` where the edges differ."""
    return str(mag[0]) if len(set(mag)) == 1 else "-".join(str(edge) for edge in mag)


def mag_path(layer: dict[str, Any], mag: tuple[int, int, int]) -> str:
    """Return the path of a mag as the properties say it, or as it is without being said."""
    for entry in layer.get("mags") or []:
        if _mag(entry["mag"]) == mag and entry.get("path"):
            return str(entry["path"])
    return f"./{layer['name']}/{mag_literal(mag)}"


def is_remote(path: str) -> bool:
    """Tell whether a path is a URL of some foreign storage."""
    return re.match(r"[a-z0-9]+://", path) is not None and not path.startswith("file://")


def leaves_dataset(path: str) -> bool:
    """Tell whether a local path is absolute or goes up."""
    if is_remote(path):
        return False
    local = PurePosixPath(path.removeprefix("file://"))
    return local.is_absolute() or ".." in local.parts


def _mag(value: Any) -> tuple[int, int, int]:
    if isinstance(value, int):
        return (value, value, value)
    x, y, z = value
    return (x, y, z)


def _is_scale(scale: Any) -> bool:
    factor = scale.get("factor") if isinstance(scale, dict) else scale
    return (
        isinstance(factor, list)
        and len(factor) == 3
        and all(isinstance(edge, int | float) for edge in factor)
    )


def _layer_problems(layer: dict[str, Any]) -> Iterator[str]:
    if not isinstance(layer.get("name"), str):
        yield "name"
    if layer.get("category") not in {"color", "segmentation"}:
        yield "category"
    if layer.get("elementClass") not in ELEMENT_CLASSES:
        yield "elementClass"
    if layer.get("dataFormat") not in DATA_FORMATS:
        yield "dataFormat"
    if "mags" not in layer and "wkwResolutions" not in layer:
        yield "Either 'mags' or 'wkwResolutions' must be provided"
    box = layer.get("boundingBox")
    if not isinstance(box, dict) or {"topLeft", "width", "height", "depth"} - box.keys():
        yield "boundingBox"


def _layer_errors(layer: dict[str, Any]) -> Iterator[str]:
    mags = mags_of(layer)
    if len(set(mags)) < len(mags):
        yield "There are duplicate mags in a layer."
    ordered = sorted(mags, key=max)
    if any(
        any(a > b for a, b in zip(fine, coarse, strict=True))
        for fine, coarse in itertools.pairwise(ordered)
    ):
        yield "Mags do not monotonically increase in all dimensions."
    box = layer["boundingBox"]
    if min(box["width"], box["height"], box["depth"]) <= 0:
        yield "Empty bounding box in a layer."
    if layer["category"] != "segmentation":
        return
    if layer["elementClass"] in {"uint24", "float", "double"}:
        yield "Invalid element class for a segmentation layer."
    largest = layer.get("largestSegmentId") or 0
    if isinstance(largest, dict):
        largest = int(largest.get("value", 0))
    if largest >= LARGEST_IDS.get(layer["elementClass"].removeprefix("int"), 2**64):
        yield f"Largest segment id exceeds range {layer['elementClass']}"
