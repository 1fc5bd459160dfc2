"""What a server refuses, and what it forgets to check, is found before anything is sent."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from stackwatch.errors import DeliveryRefusedError
from stackwatch.webknossos.claims import iter_problems
from stackwatch.webknossos.local import survey_dataset

BOX = {"topLeft": [0, 0, 0], "width": 8, "height": 6, "depth": 4}
GOOD: dict[str, Any] = {
    "id": {"name": "cells", "team": ""},
    "scale": {"factor": [11.0, 11.0, 25.0], "unit": "nanometer"},
    "dataLayers": [
        {
            "name": "color", "category": "color", "boundingBox": BOX, "elementClass": "uint8",
            "dataFormat": "zarr3",
            "mags": [{"mag": [1, 1, 1], "path": "./color/1"}, {"mag": [2, 2, 1]}],
        },
        {
            "name": "cells", "category": "segmentation", "boundingBox": BOX,
            "elementClass": "uint16", "dataFormat": "zarr3", "largestSegmentId": 9,
            "mags": [{"mag": [1, 1, 1], "path": "cells/1"}],
        },
    ],
}  # fmt: skip

Change = Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], object]


def changed(change: Change) -> dict[str, Any]:
    """Return the good properties, changed; told the document and its two layers."""
    document = copy.deepcopy(GOOD)
    change(document, *document["dataLayers"])
    return document


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Return a dataset as the good properties describe it."""
    root = tmp_path / "cells"
    for path, shape, dtype in (
        ("color/1", (1, 8, 6, 4), "uint8"),
        ("color/2-2-1", (1, 4, 3, 4), "uint8"),
        ("cells/1", (1, 8, 6, 4), "uint16"),
    ):
        array = zarr.create_array(root / path, shape=shape, dtype=dtype, chunks=shape)
        array[...] = np.ones(shape, dtype)
    (root / "color" / "zarr.json").write_text("{}")
    (root / "stackwatch.json").write_text("{}")
    write(root, GOOD)
    return root


def write(root: Path, document: dict[str, Any]) -> None:
    """Write the properties."""
    (root / "datasource-properties.json").write_text(json.dumps(document))


def test_only_what_the_server_keeps_is_sent(dataset: Path):
    """Properties and what lies below the mags; no manifest, no group, no empty or hidden file."""
    (dataset / "color/1/c/0/0/0/empty").write_bytes(b"")
    (dataset / "color/1/.nfs0001").write_bytes(b"x")
    found = survey_dataset(dataset)

    assert [
        "cells/1/c/0/0/0/0", "cells/1/zarr.json", "color/1/c/0/0/0/0", "color/1/zarr.json",
        "color/2-2-1/c/0/0/0/0", "color/2-2-1/zarr.json", "datasource-properties.json",
    ] == [file.path for file in found.files]  # fmt: skip
    assert found.total_bytes == sum((dataset / file.path).stat().st_size for file in found.files)
    assert ("cells", ["color", "cells"]) == (found.name, [layer.name for layer in found.layers])
    assert found.digest == survey_dataset(dataset).digest
    (dataset / "color/1/c/0/0/0/0").write_bytes(b"12345")
    assert found.digest != survey_dataset(dataset).digest


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d, _a, _b: d.pop("id"), "`id` is missing"),
        (lambda d, _a, _b: d.update(scale=[1, 0, 1]), "voxel size"),
        (lambda d, _a, _b: d.update(scale=None), "voxel size"),
        (lambda d, _a, _b: d.update(dataLayers=[]), "no layers"),
        (lambda _d, _a, b: b.update(name="color"), "two layers are called “color”"),
        (lambda _d, a, _b: a.update(name="a/b"), "hold a slash"),
        (lambda _d, a, _b: a.update(name=".a"), "begin with a dot"),
        (lambda _d, a, _b: a.update(category="mask"), "color or segmentation"),
        (lambda _d, a, _b: a.update(dataFormat="tiff"), "format tiff"),
        (lambda _d, a, _b: a.update(elementClass="float16"), "type float16"),
        (lambda _d, _a, b: b.update(elementClass="float"), "cannot hold float"),
        (lambda _d, _a, b: b.update(largestSegmentId=70000), "beyond uint16"),
        (lambda _d, a, _b: a.update(boundingBox={**BOX, "width": 0}), "bounding box is empty"),
        (lambda _d, a, _b: a.update(mags=[]), "no mags"),
        (lambda _d, a, _b: a["mags"].append({"mag": [1, 1, 1]}), "same mag twice"),
        (lambda _d, a, _b: a["mags"].append({"mag": [4, 1, 1]}), "do not grow"),
        (lambda _d, a, _b: a["mags"].append({"mag": 4}), "three whole numbers"),
        (lambda _d, a, _b: a["mags"][0].update(path="../x"), "leaves the dataset"),
        (lambda _d, a, _b: a["mags"][0].update(path="/etc"), "leaves the dataset"),
        (lambda _d, a, _b: a["mags"][0].update(path="s3://b/x"), "leaves the dataset"),
    ],
)
def test_what_the_server_refuses(change: Change, said: str):
    """Each rule of the server is checked here, with a sentence for people."""
    problems = list(iter_problems(changed(change), 16))

    assert 1 == len(problems)
    assert said in problems[0]


def test_good_properties_have_no_problems():
    """The example that the mistakes are made from has none."""
    assert [] == list(iter_problems(GOOD, 10))


def test_very_large_ids_need_a_new_server():
    """The envelope around a large id is understood from version 15 on."""
    envelope = {"customJsonEncoding": "bigint", "value": str(2**60)}
    document = changed(lambda _d, _a, b: b.update(elementClass="uint64", largestSegmentId=envelope))

    assert [] == list(iter_problems(document, 15))
    assert "too old" in next(iter(iter_problems(document, 14)))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: (root / "datasource-properties.json").unlink(), "cannot be read"),
        (lambda root: (root / "datasource-properties.json").write_text("{"), "cannot be read"),
        (lambda root: (root / "cells/1").rename(root / "elsewhere"), "no file in “cells/1”"),
        (lambda root: (root / "color/1/zarr.json").unlink(), "its array cannot be read"),
        (lambda root: (root / "color/1/c/0/0/0/l").symlink_to("/etc/passwd"), "is a link"),
        (lambda root: (root / "color/1/c/a\nb").write_bytes(b"x"), "a name that cannot be sent"),
        (
            lambda root: write(root, changed(lambda _d, _a, b: b.update(elementClass="uint32"))),
            "uint16 values, though the layer claims uint32",
        ),
        (
            lambda root: write(root, changed(lambda _d, a, _b: a["boundingBox"].update(width=9))),
            "the array ends at",
        ),
    ],
)
def test_what_the_server_forgets_to_check(
    dataset: Path, spoil: Callable[[Path], object], said: str
):
    """Arrays and files that are not what the properties claim would arrive, and be black."""
    spoil(dataset)
    with pytest.raises(DeliveryRefusedError, match=said):
        survey_dataset(dataset)


def test_all_problems_are_told_at_once(dataset: Path):
    """The message shows the first few, the values hold all."""
    write(dataset, changed(lambda d, a, b: (d.pop("id"), a.update(mags=[]), b.update(name="."))))
    with pytest.raises(DeliveryRefusedError) as refused:
        survey_dataset(dataset)

    assert 3 == len(refused.value.values["problems"])
