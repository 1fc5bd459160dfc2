"""Acquisitions that are volumes: OME-Zarr, Zarr, WKW, KNOSSOS, written by their own libraries."""

import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import stackwatch
from stackwatch.errors import (
    AmbiguousLayoutError,
    CorruptSliceError,
    StackwatchError,
    UnsupportedFormatError,
)
from stackwatch.testing.patterns import coordinate_stack
from stackwatch.testing.volume_folders import write_knossos, write_ome_zarr, write_wkw

SHAPE = (2, 2, 13, 37, 45)


def volumes() -> np.ndarray:
    """Return voxels t, c, z, y, x, each of another value as far as the type reaches."""
    return np.arange(np.prod(SHAPE), dtype=np.uint32).reshape(SHAPE).astype(np.uint16)


def mag_1(dataset: Path, layer: str) -> np.ndarray:
    """Return the voxels of a layer of one channel, axes (t,) z, y, x."""
    stored = np.asarray(zarr.open_array(dataset / layer / "1", mode="r"))
    return np.moveaxis(stored[..., 0, :, :, :], (-3, -1), (-1, -3))


def parked(path: Path, **flags: Any) -> dict[str, Any]:
    """Return what `inspect` says of an acquisition that is parked."""
    answer = stackwatch.inspect(path, **flags).record
    assert answer["status"] != "ready", answer
    return answer


# ---------------------------------------------------------------- OME-Zarr


@pytest.mark.parametrize("kind", ["v2", "v3", "sharded", "zip"])
def test_ome_zarr(kind, tmp_path):
    """Times, channels with names and colours, odd sizes, both versions, sharded, in a zip."""
    data = volumes()
    more: dict[str, Any] = {"shards": (1, 1, 8, 32, 32)} if kind == "sharded" else {}
    source = tmp_path / "run.zarr"
    write_ome_zarr(source, data, version=2 if kind == "v2" else 3, **more)
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "run.zip", "w") as archive:
            for path in sorted(source.rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(tmp_path))
        source = tmp_path / "run.zip"

    answer = stackwatch.convert(source, tmp_path / "dataset", threads=2)

    for c in range(2):
        np.testing.assert_array_equal(data[:, c], mag_1(tmp_path / "dataset", f"dye_{c}"))
    assert "volume-folder" == answer.layout
    properties = json.loads((tmp_path / "dataset/datasource-properties.json").read_text())
    assert [125.0, 250.0, 500.0] == properties["scale"]["factor"]
    assert [0, 255, 128] == properties["dataLayers"][0]["defaultViewConfiguration"]["color"]


def test_ome_zarr_of_three_axes_and_labels(tmp_path):
    """Labels beside the image become a segmentation layer of their own name."""
    image, labels = coordinate_stack((9, 40, 50), "uint8"), coordinate_stack((9, 40, 50), "uint32")
    source = tmp_path / "run.zarr"
    group = write_ome_zarr(source, image, axes="zyx")
    group.create_group("labels").attrs["ome"] = {"labels": ["cells"]}
    write_ome_zarr(source / "labels/cells", labels, axes="zyx")

    answer = stackwatch.convert(source, tmp_path / "dataset")

    np.testing.assert_array_equal(image, mag_1(tmp_path / "dataset", "color"))
    np.testing.assert_array_equal(labels, mag_1(tmp_path / "dataset", "cells"))
    assert ["color", "segmentation"] == [layer.category for layer in answer.datasets[0].layers]


def test_series_become_datasets(tmp_path):
    """A store in the layout of bioformats2raw holds several images: a dataset each."""
    source = tmp_path / "run.zarr"
    root = zarr.open_group(source, mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    stacks = [coordinate_stack((5, 30 + i, 40), "uint8") for i in range(2)]
    for i, stack in enumerate(stacks):
        write_ome_zarr(source / str(i), stack, version=2, axes="zyx")

    stackwatch.convert(source, tmp_path / "run", layer_name="em")

    for i, stack in enumerate(stacks):
        np.testing.assert_array_equal(stack, mag_1(tmp_path / f"run_{i}", "em"))


def test_labels_of_one_image_of_several_are_told(tmp_path):
    """They are no layers of any dataset, and a warning names them and the way to have them."""
    source = tmp_path / "run.zarr"
    root = zarr.open_group(source, mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    stack = coordinate_stack((5, 30, 40), "uint8")
    for place in ("0", "1", "0/labels/cells"):
        write_ome_zarr(source / place, stack, version=2, axes="zyx")
    zarr.open_group(source / "0/labels", mode="a", zarr_format=2).attrs["labels"] = ["cells"]

    record = stackwatch.inspect(source).record

    told = [warning for warning in record["warnings"] if "labels" in warning]
    assert (1, True, True) == (len(told), "“cells”" in told[0], "“0”" in told[0])
    assert [1, 1] == [len(one["layers"]) for one in record["scenes"]]


def test_fields_of_a_plate_become_datasets(tmp_path):
    """A plate lists wells, a well its fields; each field is an image."""
    source = tmp_path / "plate.zarr"
    root = zarr.open_group(source, mode="w", zarr_format=2)
    root.attrs["plate"] = {"wells": [{"path": "A/1"}, {"path": "B/2"}]}
    stack = np.zeros((1, 20, 30), np.uint8)
    for well in ("A/1", "B/2"):
        root.create_group(well).attrs["well"] = {"images": [{"path": "0"}, {"path": "1"}]}
        for field in "01":
            stack = coordinate_stack((1, 20, 30), "uint8") + ord(well[0]) + int(field)
            write_ome_zarr(source / well / field, stack, version=2, axes="zyx")

    stackwatch.convert(source, tmp_path / "run", layer_name="em", scene="B/2/1")
    scenes = stackwatch.inspect(source).record["scenes"]

    assert ["A_1_0", "A_1_1", "B_2_0", "B_2_1"] == [one["scene"] for one in scenes]
    np.testing.assert_array_equal(stack, mag_1(tmp_path / "run", "em"))


def test_axes_of_the_first_version(tmp_path):
    """OME-Zarr 0.1 names no axes: they are t, c, z, y, x, and there is no voxel size."""
    data = volumes()
    group = write_ome_zarr(tmp_path / "run.zarr", data, version=2)
    group.attrs["multiscales"] = [{"version": "0.1", "datasets": [{"path": "0"}]}]

    answer = parked(tmp_path / "run.zarr")
    ready = stackwatch.inspect(tmp_path / "run.zarr", voxel_size_nm=(4, 4, 30)).record

    assert "missing_metadata" == answer["error_code"]
    assert ["dye_0", "dye_1"] == [layer["name"] for layer in ready["layers"]]
    assert [45, 37, 13] == ready["layers"][0]["bounding_box"]["size"]


def test_every_file_is_content(tmp_path):
    """All files are in the digest, those of coarser levels too: a change of any is another one."""
    source = tmp_path / "run.zarr"
    write_ome_zarr(source, coordinate_stack((5, 30, 40), "uint8"), axes="zyx")
    first = stackwatch.convert(source, tmp_path / "a")
    manifest = json.loads((tmp_path / "a/stackwatch.json").read_text())
    chunk = next(path for path in sorted((source / "1").rglob("c/*/*/*")) if path.is_file())
    chunk.unlink()
    second = stackwatch.convert(source, tmp_path / "b")

    files = [path for path in source.rglob("*") if path.is_file()]
    assert len(files) + 1 == len(manifest["files"])
    assert first.content_digest != second.content_digest
    # whole files are digested as they are read, and none is read for its digest again
    assert sum(path.stat().st_size for path in files) == second.bytes_read


def test_missing_chunks_are_the_fill_value(tmp_path):
    """A chunk that was never written reads as the array says, as everywhere with Zarr."""
    source = tmp_path / "run.zarr"
    data = np.zeros((8, 32, 32), np.uint8)
    data[:4, :16, :16] = 5
    write_ome_zarr(source, data, axes="zyx", config={"write_empty_chunks": False})

    stackwatch.convert(source, tmp_path / "dataset", layer_name="em")

    np.testing.assert_array_equal(data, mag_1(tmp_path / "dataset", "em"))


@pytest.mark.parametrize("damage", ["truncated", "metadata", "nested", "no array"])
def test_damaged_zarr(damage, tmp_path):
    """Whatever is cut or missing is an error, and nothing is published."""
    source = tmp_path / "run.zarr"
    write_ome_zarr(source, coordinate_stack((9, 40, 50), "uint16"), axes="zyx")
    if damage == "truncated":
        chunk = source / "0/c/1/1/1"
        chunk.write_bytes(chunk.read_bytes()[:-20])
    elif damage == "metadata":
        (source / "zarr.json").write_text('{"zarr_format": 3, "node_ty')
    elif damage == "nested":
        (source / "zarr.json").write_text("[" * 99_999)
    else:
        shutil.rmtree(source / "0")

    with pytest.raises(StackwatchError) as caught:
        stackwatch.convert(source, tmp_path / "dataset")

    assert caught.value.code in {"corrupt_slice", "unsupported_format"}
    assert not (tmp_path / "dataset").exists()


def test_links_are_never_followed(tmp_path):
    """A chunk that is a link is refused by its name."""
    source = tmp_path / "run.zarr"
    write_ome_zarr(source, coordinate_stack((9, 40, 50), "uint16"), axes="zyx")
    chunk = source / "0/c/1/1/1"
    chunk.rename(tmp_path / "elsewhere")
    chunk.symlink_to(tmp_path / "elsewhere")

    assert "0/c/1/1/1" in parked(source)["message"]


def test_a_chunk_still_being_written_is_waited_for(tmp_path):
    """A temporary file within the folder means that it is not complete."""
    source = tmp_path / "run.zarr"
    write_ome_zarr(source, coordinate_stack((9, 40, 50), "uint16"), axes="zyx")
    (source / "0/c/0/0/9.partial").write_bytes(b"x")

    assert "still_arriving" == parked(source)["error_code"]


# ---------------------------------------------------------------- plain Zarr


def test_plain_arrays(tmp_path):
    """Named dimensions are believed, three without names are z, y, x; four are never guessed."""
    stack = coordinate_stack((5, 20, 30), "uint8")
    size: dict[str, Any] = {"voxel_size_nm": (4, 4, 30), "layer_name": "em"}
    zarr.create_array(
        tmp_path / "named", data=np.ascontiguousarray(stack.T), dimension_names=("x", "y", "z")
    )
    zarr.create_array(tmp_path / "bare", data=stack, zarr_format=2)
    zarr.create_array(tmp_path / "four", data=stack[None])

    stackwatch.convert(tmp_path / "named", tmp_path / "a", **size)
    answer = stackwatch.convert(tmp_path / "bare", tmp_path / "b", **size)

    np.testing.assert_array_equal(stack, mag_1(tmp_path / "a", "em"))
    np.testing.assert_array_equal(stack, mag_1(tmp_path / "b", "em"))
    assert any("taken for z, y, x" in warning for warning in answer.warnings)
    assert "without names" in parked(tmp_path / "four", **size)["message"]
    assert "missing_metadata" == parked(tmp_path / "bare")["error_code"]


def test_arrays_of_a_group_are_named(tmp_path):
    """Where several arrays may be the image, one has to be named."""
    group = zarr.open_group(tmp_path / "run.zarr", mode="w")
    raw = coordinate_stack((5, 20, 30), "uint8")
    group.create_array("volumes/raw", data=raw)
    group.create_array("volumes/labels", data=np.ones((5, 20, 30), np.uint32))

    answer = parked(tmp_path / "run.zarr", voxel_size_nm=(4, 4, 30))
    stackwatch.convert(
        tmp_path / "run.zarr", tmp_path / "dataset",
        voxel_size_nm=(4, 4, 30), scene="volumes/raw", layer_name="em",
    )  # fmt: skip

    assert {"volumes/raw", "volumes/labels"} == set(answer["values"]["scenes"])
    np.testing.assert_array_equal(raw, mag_1(tmp_path / "dataset", "em"))


def test_other_images_beside_a_volume(tmp_path):
    """An image beside a volume is not passed over."""
    write_ome_zarr(tmp_path / "run/a.zarr", coordinate_stack((5, 20, 30), "uint8"), axes="zyx")
    (tmp_path / "run/b.tif").write_bytes(b"II*\0")

    assert "b.tif" in parked(tmp_path / "run")["message"]


# ---------------------------------------------------------------- WKW


def layer_entry(name: str, category: str, start: tuple[int, ...], size: tuple[int, ...]) -> Any:
    """Return a layer of the properties as WEBKNOSSOS's older library wrote them."""
    box = dict(zip(("width", "height", "depth"), size, strict=True))
    return {
        "name": name, "category": category, "boundingBox": {"topLeft": list(start), **box},
        "dataFormat": "wkw", "wkwResolutions": [{"resolution": 1, "cubeLength": 64}],
    }  # fmt: skip


def write_old_dataset(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Write a WKW dataset of two layers that do not begin at 0; return both as z, y, x."""
    color = np.asfortranarray(coordinate_stack((21, 50, 70), "uint8").T + 1)
    cells = np.asfortranarray(coordinate_stack((9, 30, 20), "uint32").T + 1)
    write_wkw(root / "color/1", color, (40, 35, 30))
    write_wkw(root / "nuclei/1", cells, (50, 45, 36))
    entries = [
        layer_entry("color", "color", (40, 35, 30), (70, 50, 21)),
        layer_entry("nuclei", "segmentation", (50, 45, 36), (20, 30, 9)),
    ]
    properties = {
        "id": {"name": "old", "team": ""},
        "scale": [11.24, 11.24, 25],
        "dataLayers": entries,
    }
    (root / "datasource-properties.json").write_text(json.dumps(properties))
    return color.T, cells.T


def test_wkw_dataset(tmp_path):
    """An old dataset becomes a new one: layers fit each other, categories and voxel size stay."""
    color, cells = write_old_dataset(tmp_path / "old")

    answer = stackwatch.convert(tmp_path / "old", tmp_path / "new", format="zarr3")

    placed = np.zeros((6 + 9, 10 + 30, 10 + 20), np.uint32)
    placed[6:, 10:, 10:] = cells
    np.testing.assert_array_equal(color, mag_1(tmp_path / "new", "color"))
    np.testing.assert_array_equal(placed, mag_1(tmp_path / "new", "nuclei"))
    layers = answer.datasets[0].layers
    assert {"color": "color", "nuclei": "segmentation"} == {x.name: x.category for x in layers}
    assert (11.24, 11.24, 25.0) == tuple(answer.datasets[0].voxel_size_nm)
    assert any("begins at (40, 35, 30)" in warning for warning in answer.warnings)


def test_wkw_in_a_zip(tmp_path):
    """Cubes in an archive are read as those on the disk."""
    color, _ = write_old_dataset(tmp_path / "old")
    shutil.make_archive(str(tmp_path / "old"), "zip", tmp_path, "old")

    stackwatch.convert(tmp_path / "old.zip", tmp_path / "new")

    np.testing.assert_array_equal(color, mag_1(tmp_path / "new", "color"))


def test_wkw_layer_without_properties(tmp_path):
    """A bare layer is read in whole cubes, and says so."""
    voxels = np.asfortranarray(coordinate_stack((21, 50, 70), "uint16").T)
    write_wkw(tmp_path / "layer/1", voxels, (64, 0, 0))

    answer = stackwatch.convert(
        tmp_path / "layer", tmp_path / "new", voxel_size_nm=(4, 4, 30), layer_name="em"
    )

    found = mag_1(tmp_path / "new", "em")
    assert (64, 64, 128) == found.shape
    np.testing.assert_array_equal(voxels.T, found[:21, :50, :70])
    assert not found[21:].any()
    assert any("whole cubes" in warning for warning in answer.warnings)


def test_colours_of_wkw(tmp_path):
    """Three channels of bytes are one RGB layer."""
    voxels = np.random.default_rng(2).integers(0, 255, (3, 50, 40, 10), np.uint8)
    write_wkw(tmp_path / "rgb/color/1", np.asfortranarray(voxels), (0, 0, 0))

    stackwatch.convert(tmp_path / "rgb", tmp_path / "new", voxel_size_nm=(4, 4, 30))

    stored = np.asarray(zarr.open_array(tmp_path / "new/color/1", mode="r"))
    np.testing.assert_array_equal(voxels, stored[:, :50, :40, :10])


@pytest.mark.parametrize("written", ["wkw", "zarr3"])
def test_own_datasets_are_read_again(written, tmp_path):
    """What was written here is an acquisition like any other, mag by mag the same."""
    color, _ = write_old_dataset(tmp_path / "old")
    stackwatch.convert(tmp_path / "old", tmp_path / "once", format=written)

    stackwatch.convert(tmp_path / "once", tmp_path / "twice")

    np.testing.assert_array_equal(color, mag_1(tmp_path / "twice", "color"))


@pytest.mark.parametrize("kind", ["wkw", "zarr"])
def test_volumes_without_data_are_told(kind, tmp_path):
    """A layer whose cubes or chunks were left behind is black, and never silently."""
    if kind == "wkw":
        write_old_dataset(tmp_path / "run")
        shutil.rmtree(tmp_path / "run/color/1/z0")
    else:
        write_ome_zarr(tmp_path / "run", coordinate_stack((5, 20, 30), "uint8"), axes="zyx")
        shutil.rmtree(tmp_path / "run/0/c")

    warnings = stackwatch.inspect(tmp_path / "run").record["warnings"]

    assert any("there" in warning for warning in warnings)


def test_truncated_cube_of_wkw(tmp_path):
    """A cube that was cut is an error that names it."""
    write_old_dataset(tmp_path / "old")
    cube = tmp_path / "old/color/1/z0/y0/x0.wkw"
    cube.write_bytes(cube.read_bytes()[:-900])

    with pytest.raises(CorruptSliceError, match=r"x0\.wkw"):
        stackwatch.convert(tmp_path / "old", tmp_path / "new")


def test_wkw_without_mag_1(tmp_path):
    """Coarser mags alone are no reason to guess the voxel size."""
    write_old_dataset(tmp_path / "old")
    os.rename(tmp_path / "old/color/1", tmp_path / "old/color/2-2-1")  # noqa: PTH104 - the tree

    assert "no mag 1" in parked(tmp_path / "old")["message"]


# ---------------------------------------------------------------- KNOSSOS


CONF = (
    'experiment name "exp";\nscale x 9.2;\nscale y 9.2;\nscale z 21.0;\n'
    "boundary x 150;\nboundary y 140;\nboundary z 133;\nmagnification 1;\n"
)


@pytest.mark.parametrize("place", ["", "mag1"])
def test_knossos(place, tmp_path):
    """Cubes are put together up to the boundary; one that is missing is black, and is told."""
    data = coordinate_stack((133, 140, 150), "uint8") + 1
    write_knossos(tmp_path / "run" / place, data, (1, 0, 1), CONF)

    answer = stackwatch.convert(tmp_path / "run", tmp_path / "new", layer_name="em")

    data[128:, :128, 128:] = 0
    np.testing.assert_array_equal(data, mag_1(tmp_path / "new", "em"))
    assert (9.2, 9.2, 21.0) == tuple(answer.datasets[0].voxel_size_nm)
    assert any("1 cubes are not there" in warning for warning in answer.warnings)


def test_truncated_cube_of_knossos(tmp_path):
    """A cube of another size is damage, not a shorter cube."""
    write_knossos(tmp_path / "run", np.ones((20, 20, 20), np.uint8), (9, 9, 9), CONF)
    cube = next((tmp_path / "run").rglob("*.raw"))
    cube.write_bytes(cube.read_bytes()[:-1])

    answer = parked(tmp_path / "run")

    assert "corrupt_slice" == answer["error_code"]
    assert "2,097,152" in answer["message"]


def test_compressed_cubes_are_refused(tmp_path):
    """Cubes of JPEG or JPEG 2000 are named, not passed over as black."""
    write_knossos(tmp_path / "run", np.ones((20, 20, 20), np.uint8), (9, 9, 9), CONF)
    cube = next((tmp_path / "run").rglob("*.raw"))
    cube.rename(cube.with_suffix(".j2k"))

    assert "j2k" in parked(tmp_path / "run")["message"]


@pytest.mark.parametrize("edges", [0x5F, 0xF5, 0x66])
def test_wkw_headers_that_cannot_be(edges: int, tmp_path: Path):
    """Blocks or cubes beyond belief, or other ones than the cubes have: refused when opened."""
    write_old_dataset(tmp_path / "old")
    header = tmp_path / "old/color/1/header.wkw"
    header.write_bytes(header.read_bytes()[:4] + bytes([edges]) + header.read_bytes()[5:])

    with pytest.raises(CorruptSliceError, match=r"\.wkw"):
        stackwatch.convert(tmp_path / "old", tmp_path / "new")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dataLayers", [["no layer"]]),
        ("boundingBox", {"topLeft": [0, 0, 0], "width": 1e400, "height": 1, "depth": 1}),
        ("boundingBox", {"topLeft": [0, 0, 0], "width": 2**70, "height": 1, "depth": 1}),
    ],
)
def test_properties_that_cannot_be(key: str, value: Any, tmp_path: Path):
    """Values of another kind, or beyond belief, are damage of the properties, by their path."""
    write_old_dataset(tmp_path / "old")
    path = tmp_path / "old/datasource-properties.json"
    properties = json.loads(path.read_text())
    place = properties if key in properties else properties["dataLayers"][0]
    place[key] = value
    path.write_text(json.dumps(properties))

    with pytest.raises(CorruptSliceError, match="datasource-properties"):
        stackwatch.convert(tmp_path / "old", tmp_path / "new")


@pytest.mark.parametrize(
    ("inside", "key", "value", "expected"),
    [
        ("zarr.json", "attributes", "none", AmbiguousLayoutError),
        ("zarr.json", "scale", [[1], 1, 1, 1, 1], UnsupportedFormatError),
        ("0/zarr.json", "fill_value", -1, UnsupportedFormatError),
    ],
)
def test_metadata_of_zarr_that_cannot_be(
    inside: str, key: str, value: Any, expected: type[StackwatchError], tmp_path: Path
):
    """Values of another kind are refused by the path of their folder."""
    root = tmp_path / "run.zarr"
    write_ome_zarr(root, coordinate_stack((2, 8, 9))[None, None])
    path = root / inside
    found = json.loads(path.read_text())
    place = found
    if key == "scale":
        (scales,) = found["attributes"]["ome"]["multiscales"]
        place = scales["datasets"][0]["coordinateTransformations"][0]
    place[key] = value
    path.write_text(json.dumps(found))

    with pytest.raises(expected) as caught:
        stackwatch.convert(root, tmp_path / "new")

    assert caught.value.hint
