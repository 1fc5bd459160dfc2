"""The preview picture: what it shows, how large it is, and that it is whole or not there."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from PIL import Image

from stackwatch.errors import CorruptSliceError, UnsupportedFormatError, UsageError
from stackwatch.model.flags import ConvertFlags
from stackwatch.model.geometry import Mag, Vec3, VoxelSize
from stackwatch.model.preview import preview_path
from stackwatch.pipeline.convert import ConvertRequest, convert_acquisition
from stackwatch.pipeline.journal import SilentJournal
from stackwatch.pipeline.preview import (
    GAP,
    PICTURE_EDGE,
    READ_EDGE,
    ShownLayer,
    choose_mag,
    plan_frame,
    render_preview,
    write_preview,
)
from stackwatch.pipeline.preview_picture import (
    FOOTER,
    PICTURE_BYTES_MAX,
    Panel,
    Part,
    Shading,
    color_segments,
    compose,
    encode_png,
    plan_scale_bar,
)
from stackwatch.testing.writers import write_multipage

STACK_ZYX = (np.arange(24)[:, None, None] * 8 + np.zeros((24, 40, 64))).astype(np.uint8)
"""Each slice of one grey: z is seen in xz and yz, and nothing else is."""


def convert(root: Path, layers: dict[str, np.ndarray[Any, Any]], **flags: Any) -> Path:
    """Return a dataset of layers, written by the real conversion."""
    for name, stack in layers.items():
        (root / "run" / name).mkdir(parents=True)
        write_multipage(root / "run" / name / f"{name}.tif", stack)
    options = ConvertFlags(**{"voxel_size_nm": (10, 10, 20), "threads": 1, **flags}).options()
    convert_acquisition(ConvertRequest(root / "run", root / "data", options), SilentJournal())
    return root / "data"


def change_properties(dataset: Path, change: Any) -> None:
    """Change the first layer in `datasource-properties.json`."""
    path = dataset / "datasource-properties.json"
    found = json.loads(path.read_text())
    change(found["dataLayers"][0])
    path.write_text(json.dumps(found))


def pixels(png: bytes) -> np.ndarray[Any, Any]:
    """Return the picture as (rows, columns, 3)."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def layer(size: Vec3, *mags: int, start: Vec3 = Vec3(0, 0, 0)) -> ShownLayer:
    """Return a layer that nobody reads."""
    found = tuple((Mag(mag, mag, mag), Path(str(mag))) for mag in mags)
    return ShownLayer("color", start, size, found, is_segmentation=False, shading=Shading())


@pytest.mark.parametrize("store", ["zarr3", "wkw"])
def test_three_middle_slices(tmp_path, store):
    """Xy shows the middle slice; z runs to the right in yz and downwards in xz; voxels are true."""
    dataset = convert(tmp_path, {"color": STACK_ZYX}, format=store)
    change_properties(dataset, lambda one: one["defaultViewConfiguration"].update(
        intensityRange=[0, 255]))  # fmt: skip

    shown = pixels(render_preview(dataset))[..., 0]

    # 64 x 40 x 24 voxels of 10, 10 and 20 nm are 640 x 400 x 480 nm
    scale = (PICTURE_EDGE - GAP) / (640 + 480)
    x, y, z = (round(edge * scale) for edge in (640, 400, 480))
    assert (y + GAP + z + FOOTER, x + GAP + z) == shown.shape
    xy, yz, xz = shown[:y, :x], shown[:y, x + GAP :], shown[y + GAP : y + GAP + z, :x]
    assert abs(int(np.median(xy)) - 12 * 8) <= 8
    assert np.ptp(xy) == 0
    for along_z in (yz[y // 2], xz[:, x // 2]):
        assert along_z[0] < 16 < 160 < along_z[-1]
        assert (np.diff(along_z) >= 0).all()
    assert np.ptp(yz, axis=0).max() == 0
    assert np.ptp(xz, axis=1).max() == 0


def test_contrast_is_the_configured_one(tmp_path):
    """What lies below the range is black, above it white."""
    ramp = np.broadcast_to(np.arange(0, 256, 4, dtype=np.uint8), (1, 40, 64)).copy()
    dataset = convert(tmp_path, {"color": ramp})
    change_properties(dataset, lambda one: one["defaultViewConfiguration"].update(
        intensityRange=[100, 200]))  # fmt: skip

    row = pixels(render_preview(dataset))[20, :, 0]

    assert 0 == row[: len(row) * 100 // 256 - 6].max()
    assert 255 == row[len(row) * 200 // 256 + 6 :].min()
    assert 90 < row[len(row) * 150 // 256] < 165


def test_colours_of_layers_are_added_up():
    """Red and green light make yellow; what is too bright stays white."""
    bright = np.full((4, 4), 255, np.uint8)
    parts = tuple(
        Part(bright, (0, 0, 20, 20), Shading(color=color)) for color in ((1, 0, 0), (0, 1, 0))
    )

    shown = pixels(encode_png(compose((Panel(0, 0, 20, 20, parts),), 1.0)))

    assert [255, 255, 0] == shown[10, 10].tolist()


@pytest.mark.parametrize("most", [np.nan, np.inf, np.finfo(np.float64).max])
def test_values_without_bounds_are_drawn(most):
    """What is no number, infinite, or almost that makes a picture, and no warning."""
    values = np.array([[most, -most], [0.0, 1.0]])
    shading = Shading(low=-abs(float(most)), high=abs(float(most)))
    for how in (shading, Shading(low=0.0, high=1.0)):
        part = Part(values, (0, 0, 8, 8), how)
        assert pixels(encode_png(compose((Panel(0, 0, 8, 8, (part,)),), 1.0))).size


def test_segments_lie_over_the_image_half_transparent():
    """Id 0 hides nothing; another id is half its colour and half the image."""
    ids = np.array([[0, 7]], np.uint32)
    parts = (
        Part(ids, (0, 0, 20, 10), Shading(is_segmentation=True)),
        Part(np.full((1, 2), 200, np.uint8), (0, 0, 20, 10), Shading()),
    )

    shown = pixels(encode_png(compose((Panel(0, 0, 20, 10, parts),), 1.0)))

    assert [200] * 3 == shown[5, 2].tolist()
    expected = (color_segments(ids)[0, 1].astype(float) + 200) / 2
    assert np.abs(shown[5, 15] - expected).max() <= 1


def test_colours_of_segments_are_stable_and_differ():
    """The same id has the same colour in every type; a hundred neighbours have as many colours."""
    ids = np.arange(1, 101)
    colors = {tuple(color) for color in color_segments(ids).tolist()}

    assert len(colors) >= 95
    for dtype in (np.uint8, np.int16, np.uint64):
        np.testing.assert_array_equal(color_segments(ids), color_segments(ids.astype(dtype)))


def test_rgb_and_labels_of_a_real_dataset(tmp_path):
    """Colours of an RGB layer arrive, and a segment tints them."""
    rgb = np.zeros((3, 40, 64, 3), np.uint8)
    rgb[..., 0] = 180
    labels = np.zeros((3, 40, 64), np.uint16)
    labels[:, :, 32:] = 5
    dataset = convert(tmp_path, {"image": rgb, "labels": labels})

    shown = pixels(render_preview(dataset))

    assert [180, 0, 0] == shown[10, 10].tolist()
    assert shown[10, 200].tolist() != [180, 0, 0]


def test_a_single_slice_is_one_panel(tmp_path):
    """No empty panels stand beside a dataset without depth."""
    dataset = convert(tmp_path, {"color": STACK_ZYX[3:4]})

    shown = pixels(render_preview(dataset))

    assert (round(PICTURE_EDGE * 40 / 64) + FOOTER, PICTURE_EDGE) == shown.shape[:2]


def test_of_timepoints_the_first(tmp_path):
    """With a t axis the first timepoint is shown."""
    dataset = tmp_path / "data"
    array = zarr.create_array(
        store=dataset / "color" / "1", shape=(2, 1, 32, 32, 4), chunks=(1, 1, 32, 32, 4),
        dtype="uint8", dimension_names=list("tcxyz"),
    )  # fmt: skip
    array[0], array[1] = 50, 250
    (dataset / "datasource-properties.json").write_text(json.dumps({
        "scale": {"factor": [1, 1, 1], "unit": "micrometer"},
        "dataLayers": [{
            "name": "color", "category": "color", "elementClass": "uint8", "dataFormat": "zarr3",
            "boundingBox": {"topLeft": [0, 0, 0], "width": 32, "height": 32, "depth": 4},
            "mags": [{"mag": [1, 1, 1], "path": "./color/1",
                      "axisOrder": {"c": 1, "x": 2, "y": 3, "z": 4}}],
        }],
    }))  # fmt: skip

    assert [50, 50, 50] == pixels(render_preview(dataset))[10, 10].tolist()


def test_noise_stays_below_sixty_kilobytes():
    """What cannot be compressed loses colours, and then pixels."""
    noise = np.random.default_rng(1).integers(0, 255, (384, 384, 3), np.uint8)
    parts = (Part(noise, (0, 0, 384, 384), Shading()),)

    data = encode_png(compose((Panel(0, 0, 384, 384, parts),), 1.0))

    assert len(data) <= PICTURE_BYTES_MAX
    assert np.ptp(pixels(data)) > 150


@pytest.mark.parametrize(
    ("nm_per_pixel", "width", "label"),
    [(11.0, 384, "1 µm"), (0.5, 100, "20 nm"), (500.0, 384, "50 µm"), (1e4, 384, "1 mm"),
     (1e7, 384, "1000 mm"), (0.001, 96, "0.02 nm")],
)  # fmt: skip
def test_the_scale_bar_has_a_round_length(nm_per_pixel, width, label):
    """1, 2 or 5 with its unit, less than half the width, and as long as it says."""
    length, said = plan_scale_bar(nm_per_pixel, width)

    number, unit = said.split()
    nm = float(number) * {"nm": 1, "µm": 1e3, "mm": 1e6}[unit]
    assert label == said
    assert 0.15 * width <= length <= 0.5 * width
    assert abs(length - nm / nm_per_pixel) <= 0.5


def test_the_scale_bar_is_drawn_that_long(tmp_path):
    """Counted in the picture: its bright pixels are as many as the plan says."""
    dataset = convert(tmp_path, {"color": STACK_ZYX[:1]})

    shown = pixels(render_preview(dataset))

    bar = shown[-FOOTER // 2, :, 0] > 200
    expected, _ = plan_scale_bar(640 / PICTURE_EDGE, PICTURE_EDGE)
    assert expected == int(np.argmin(bar[2:]))


def test_a_coarse_mag_is_read_and_never_too_coarse():
    """The coarsest mag that still fills the pixels; the finest where all are too coarse."""
    large = layer(Vec3(4096, 4096, 4096), 1, 2, 4, 8, 16, 32, 64)
    frame = plan_frame([large], VoxelSize(4, 4, 4))

    assert Mag(32, 32, 32) == choose_mag(large, frame)[0]
    small = layer(Vec3(100, 100, 100), 1, 2, 4)
    assert Mag(1, 1, 1) == choose_mag(small, plan_frame([small], VoxelSize(4, 4, 4)))[0]


def test_without_coarse_mags_only_the_middle_is_read():
    """A dataset of one huge mag shows its middle: what is read does not grow with it."""
    huge = layer(Vec3(30_000, 20_000, 300), 1)
    frame = plan_frame([huge], VoxelSize(4, 4, 40))

    size = [b - a for a, b in zip(frame.start, frame.end, strict=True)]
    assert [READ_EDGE, READ_EDGE, 300] == size
    assert Vec3(15_000, 10_000, 150) == frame.middle


def test_a_layer_that_does_not_reach_the_middle_is_left_out(tmp_path):
    """Boxes differ: a layer is drawn where it lies, and only there."""
    dataset = convert(tmp_path, {"a": STACK_ZYX, "b": STACK_ZYX})
    change_properties(dataset, lambda one: one["boundingBox"].update(width=8, depth=4))

    shown = pixels(render_preview(dataset))

    assert shown.max() > 0


def test_it_is_written_whole_or_not_at_all(tmp_path):
    """A kill before the last step leaves no picture, and an older one as it was."""
    dataset = convert(tmp_path, {"color": STACK_ZYX[:2]})
    picture = tmp_path / "previews" / "run.png"
    write_preview(dataset, picture)
    before = picture.read_bytes()
    program = (
        "import sys, pathlib; from stackwatch.pipeline.preview import write_preview; "
        "write_preview(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program, str(dataset), str(picture)],
        env={**os.environ, "STACKWATCH_FAILPOINT": "preview.part_written"}, check=False,
    )  # fmt: skip

    assert -signal.SIGKILL == killed.returncode
    assert before == picture.read_bytes()
    write_preview(dataset, picture)
    assert before == picture.read_bytes()


def test_what_is_no_dataset_is_refused(tmp_path):
    """The errors say what it is: no dataset, a damaged one, one of another kind."""
    with pytest.raises(UsageError, match="no dataset"):
        render_preview(tmp_path)
    dataset = convert(tmp_path, {"color": STACK_ZYX[:2]})
    change_properties(dataset, lambda one: one["mags"][0].update(path="../../secret"))
    with pytest.raises(CorruptSliceError, match="outside"):
        render_preview(dataset)
    change_properties(dataset, lambda one: one.update(dataFormat="n5"))
    with pytest.raises(UnsupportedFormatError, match="n5"):
        render_preview(dataset)
    (dataset / "datasource-properties.json").write_text("{")
    with pytest.raises(CorruptSliceError, match="No picture"):
        render_preview(dataset)


def test_a_damaged_shard_is_told(tmp_path):
    """Half a shard is an error of ours with the place, and no picture."""
    dataset = convert(tmp_path, {"color": STACK_ZYX[:2]})
    for path in dataset.glob("color/*/c/**/*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:30])

    with pytest.raises(CorruptSliceError, match="No picture"):
        write_preview(dataset, tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("run_id", ["", "..", "../" * 10 + "x", "A" * 32, "0" * 33, "0" * 31 + "/"])
def test_only_a_run_id_becomes_a_path(tmp_path, run_id):
    """Nothing else is made part of a path."""
    assert preview_path(tmp_path, run_id) is None
