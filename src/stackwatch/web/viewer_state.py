"""What the viewer shows, and how: its state, from what a dataset says of itself. Pure.

Source: the viewer takes its state as JSON after `#!` in its address; `|zarr3:` names the format of
what lies at an address; `c^` makes an axis the channels of a shader (neuroglancer, documentation of
its state, *data sources* and *image layer rendering*; each seen at work in Chromium).
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

PANEL: Final = 300
"""A panel of the viewer is about so many pixels wide."""

GREY_SHADER: Final = (
    "#uicontrol invlerp normalized\n#uicontrol vec3 color color\n"
    "void main() {\n  emitRGB(color * normalized());\n}\n"
)
RGB_SHADER: Final = (
    "void main() {\n  emitRGB(vec3(toNormalized(getDataValue(0)), "
    "toNormalized(getDataValue(1)), toNormalized(getDataValue(2))));\n}\n"
)
_METRES: Final = {
    "angstrom": 1e-10, "nanometer": 1e-9, "micrometer": 1e-6, "millimeter": 1e-3, "meter": 1.0,
}  # fmt: skip


def build_viewer_state(data: str, properties: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the viewer's state for a dataset: all of it in view, with its contrast and colours.

    Parameters
    ----------
    data : str
        Where the files of the dataset are served: a whole address without a slash at its end.
    properties : mapping
        The content of `datasource-properties.json`.

    Returns
    -------
    dict or None
        JSON values. None: no layer of it can be shown; the viewer reads Zarr3 alone.

    Raises
    ------
    KeyError, TypeError, ValueError
        These are no properties; the caller shows no viewer.
    """
    scale = properties["scale"]
    metres = [float(edge) * _METRES[scale["unit"]] for edge in scale["factor"]]
    axes = {axis: [edge, "m"] for axis, edge in zip("xyz", metres, strict=True)}
    shown = [layer for layer in properties["dataLayers"] if layer["dataFormat"] == "zarr3"]
    if not shown:
        return None
    corners = [_corners(layer["boundingBox"]) for layer in shown]
    start = [min(axis) for axis in zip(*(first for first, _ in corners), strict=True)]
    end = [max(axis) for axis in zip(*(last for _, last in corners), strict=True)]
    widest = max((b - a) * edge for a, b, edge in zip(start, end, metres, strict=True))
    return {
        "dimensions": axes,
        "position": [(a + b) / 2 for a, b in zip(start, end, strict=True)],
        # in voxels along x for each pixel; in three dimensions for the height of the panel
        "crossSectionScale": widest / metres[0] / PANEL,
        "projectionScale": widest / metres[0] * 1.5,
        "crossSectionBackgroundColor": "#000000",
        "layers": [_layer(data, layer, axes) for layer in shown],
        "layout": "4panel",
        "showSlices": False,
    }


def _layer(data: str, layer: Mapping[str, Any], axes: Mapping[str, Any]) -> dict[str, Any]:
    url = f"{data}/{quote(layer['name'], safe='')}/|zarr3:"
    if layer["category"] == "segmentation":
        return {"type": "segmentation", "name": layer["name"], "source": url}
    image = {"type": "image", "name": layer["name"], "opacity": 1, "blend": "additive"}
    if layer.get("numChannels", 1) == 3:
        time = {"t": [1, ""]} if layer.get("additionalAxes") else {}
        transform = {"outputDimensions": {**time, "c^": [1, ""], **axes}}
        return {**image, "source": {"url": url, "transform": transform}, "shader": RGB_SHADER}
    view = layer.get("defaultViewConfiguration") or {}
    controls: dict[str, Any] = {}
    if view.get("intensityRange"):
        controls["normalized"] = {"range": list(view["intensityRange"])}
    if view.get("color"):
        controls["color"] = "#" + "".join(f"{int(light):02x}" for light in view["color"])
    return {**image, "source": url, "shader": GREY_SHADER, "shaderControls": controls}


def _corners(box: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    start = [int(number) for number in box["topLeft"]]
    edges = [int(box[key]) for key in ("width", "height", "depth")]
    return start, [a + edge for a, edge in zip(start, edges, strict=True)]
