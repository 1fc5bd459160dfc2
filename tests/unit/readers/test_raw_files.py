"""Raw files of an acquisition: who says what they are, from the option down to the settings."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import stackwatch
from stackwatch.errors import (
    ConflictingMetadataError,
    CorruptSliceError,
    MissingMetadataError,
    UsageError,
)
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.options import ConvertOptions, LayoutOptions, VoxelSizeOptions
from stackwatch.model.raw import RawFacts, find_descriptions
from stackwatch.pipeline.compare import digest_acquisition
from stackwatch.pipeline.inspect import inspect_acquisition
from stackwatch.pipeline.request import ConvertRequest
from stackwatch.readers.raw import RawWord, complete_raw
from stackwatch.testing.patterns import coordinate_stack

STACK = coordinate_stack((4, 6, 10), "uint16")
WHOLE = RawFacts((4, 6, 10), "zyx", "uint16", "little")
SIDECAR = '[raw]\nshape = [4, 6, 10]\ndtype = "uint16"\nbyte_order = "little"\n'
TEXT = {"shape": [4, 6, 10], "axes": "zyx", "dtype": "uint16", "byte_order": "little"}
FLAGS: dict[str, Any] = {
    "voxel_size_nm": (4, 4, 40), "raw_shape": (4, 6, 10), "raw_dtype": "uint16",
    "raw_byte_order": "little",
}  # fmt: skip


def mag_1(dataset: Path) -> np.ndarray:
    """Return the voxels of the only layer, axes z, y, x."""
    layer: np.ndarray = np.asarray(zarr.open_array(dataset / "color/1", mode="r"))[0].T
    return layer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an acquisition that is one raw file."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "v.raw").write_bytes(STACK.astype("<u2").tobytes())
    return tmp_path / "run"


def read_as(run: Path, settings: RawFacts) -> str:
    """Return what the settings of a folder, and what stands beside the file, take it for."""
    options = ConvertOptions(
        layout=LayoutOptions(raw=settings),
        voxel_size=VoxelSizeOptions(PartialVoxelSize(4, 4, 40)),
    )
    found = inspect_acquisition(run, options)
    words = found.error.message if found.error else found.record["evidence"]
    return next(one for one in words if one.startswith("“v.raw” is"))


def test_options(folder):
    """What a raw file is may be said by options, and every voxel is in its place."""
    stackwatch.convert(folder, folder.parent / "out", **FLAGS)

    np.testing.assert_array_equal(STACK, mag_1(folder.parent / "out"))


@pytest.mark.parametrize("place", ["in the folder", "beside the file", "in an archive"])
def test_text_beside(folder, place):
    """A text of the same stem says it, wherever the raw file lies, and its voxel size counts."""
    (folder / "v.json").write_text(json.dumps(TEXT | {"voxel_size_nm": [4, 4, 40]}))
    source = {"in the folder": folder, "beside the file": folder / "v.raw"}.get(place)
    if source is None:
        source = folder.parent / "run.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for name in ("v.raw", "v.json"):
                archive.write(folder / name, f"run/{name}")
    result = stackwatch.convert(source, folder.parent / "out")

    assert (4, 4, 40) == tuple(result.datasets[0].voxel_size_nm)
    np.testing.assert_array_equal(STACK, mag_1(folder.parent / "out"))


def test_a_description_is_not_left_out(folder):
    """The text that says what a raw file is counts as read; notes beside it do not."""
    (folder / "v.json").write_text(json.dumps(TEXT))
    (folder / "notes.txt").write_text("taken on a Tuesday")

    evidence = stackwatch.inspect(folder, voxel_size_nm=(4, 4, 40)).record["evidence"]

    assert any("1 file is no image" in one for one in evidence), evidence


def test_sequence_of_raw_slices(folder):
    """Numbered raw slices are a stack, as their sidecar describes each of them."""
    (folder / "v.raw").unlink()
    for z, plane in enumerate(STACK):
        (folder / f"s_{z:03}.raw").write_bytes(plane.astype(">u2").tobytes())
    text = SIDECAR.replace("4, 6, 10", "6, 10").replace("little", "big")
    (folder / "stackwatch.toml").write_text(text)
    result = stackwatch.convert(folder, folder.parent / "out", voxel_size_nm=(4, 4, 40))

    assert "sequence" == result.layout
    np.testing.assert_array_equal(STACK, mag_1(folder.parent / "out"))


def test_who_wins(folder):
    """The text wins over the folder's settings, the sidecar over the text, options over it."""
    words = "“v.raw” is 4 x 6 x 10 (zyx) uint16, little-endian from byte 0, by "
    wrong = RawFacts((9, 9, 9), "zyx", "uint8")

    assert words + "the settings" == read_as(folder, WHOLE)
    (folder / "v.json").write_text(json.dumps(TEXT))
    assert words + "“v.json”" == read_as(folder, wrong)
    (folder / "v.json").write_text(json.dumps(TEXT | {"shape": [1, 2, 3], "type": "SEM"}))
    (folder / "stackwatch.toml").write_text(SIDECAR)
    assert words + "“stackwatch.toml”" == read_as(folder, wrong)
    (folder / "stackwatch.toml").write_text(SIDECAR.replace("4, 6, 10", "5, 6, 10"))
    found = stackwatch.inspect(folder, **FLAGS)
    assert words + "the command line" in found.record["evidence"]


def test_values_complete_each_other():
    """A folder may set the type of all its files, and each file's text its extents."""
    said = [
        RawWord(RawFacts(offset=7), "A"),
        RawWord(RawFacts((4, 6, 10), "xyz"), "B", is_text=True),
        RawWord(RawFacts((1, 2, 3), "zyx", "uint16", "big"), "C"),
    ]
    shape = complete_raw(said, "v.raw")

    assert ("xyz", (4, 6, 10), ">", 7) == (shape.axes, shape.shape, shape.byte_order, shape.offset)
    assert "A and B and C" == shape.source


def test_axes_stay_with_their_shape():
    """An extent is never read along axes that were said of another shape."""
    of_another = RawWord(RawFacts((9, 9, 9), "xyz", "uint8"), "text", is_text=True)
    own = complete_raw([RawWord(RawFacts((4, 6, 10)), "options"), of_another], "v.raw")
    alone = RawWord(RawFacts(axes="xyz", dtype="uint8"), "settings")
    text = RawWord(RawFacts((4, 6, 10)), "text", is_text=True)

    assert "zyx" == own.axes
    assert "xyz" == complete_raw([text, alone], "v.raw").axes
    with pytest.raises(MissingMetadataError, match="axis"):
        complete_raw([text, of_another], "v.raw")
    with pytest.raises(ConflictingMetadataError, match="3 extents"):
        complete_raw([text, RawWord(RawFacts(axes="yx"), "settings")], "v.raw")


@pytest.mark.parametrize(
    ("facts", "missing"),
    [
        (RawFacts(), "shape"),
        (RawFacts((4, 6, 10)), "dtype"),
        (RawFacts((4, 6, 10), dtype="int16"), "byte_order"),
    ],
)
def test_nothing_is_guessed(facts, missing):
    """What nobody says is asked for by its name, with the option that says it."""
    with pytest.raises(MissingMetadataError) as caught:
        complete_raw([RawWord(facts, "the settings")], "a/v.raw")

    assert missing == caught.value.values["missing"]
    assert f"--raw-{missing.replace('_', '-')}" in caught.value.hint
    assert "v.json" in caught.value.hint


@pytest.mark.parametrize(
    ("depth", "error"), [(5, CorruptSliceError), (3, ConflictingMetadataError)]
)
def test_size_has_to_match(folder, depth, error):
    """A file of another size is refused with both numbers."""
    found = stackwatch.inspect(folder, **(FLAGS | {"raw_shape": (depth, 6, 10)}))

    assert isinstance(found.error, error)
    values = found.error.values
    assert (480, depth * 120) == (values["bytes_present"], values["bytes_described"])


def test_one_raw_slice_of_another_size(folder):
    """A slice that is cut off deep in a sequence is refused, whatever was sampled before."""
    (folder / "v.raw").unlink()
    for z in range(130):
        (folder / f"s_{z:03}.raw").write_bytes(bytes(60 - (z == 1)))
    flags: dict[str, Any] = {"raw_shape": (6, 10), "raw_dtype": "uint8", "voxel_size_nm": (1, 1, 1)}

    with pytest.raises(CorruptSliceError, match="s_001"):
        stackwatch.convert(folder, folder.parent / "out", **flags)


@pytest.mark.parametrize(
    "flags",
    [
        {"raw_shape": (4, 0, 1)},
        {"raw_shape": (1, 2, 3, 4)},
        {"raw_shape": (1, 2, 3), "raw_axes": "zy"},
        {"raw_axes": "abc"},
        {"raw_dtype": "complex64"},
        {"raw_byte_order": "middle"},
        {"raw_offset": -1},
    ],
)
def test_mistaken_options(folder, flags):
    """What cannot be meant is told at once."""
    with pytest.raises(UsageError, match="raw_"):
        stackwatch.inspect(folder, **flags)


def test_a_text_is_part_of_the_content(folder):
    """Another meaning of the text beside a raw file is another content."""
    request = ConvertRequest(
        folder, folder.parent / "made", staging_name="0-1",
        options=ConvertOptions(
            layout=LayoutOptions(raw=WHOLE),
            voxel_size=VoxelSizeOptions(PartialVoxelSize(1, 1, 1)),
        ),
    )  # fmt: skip
    texts = [
        "{}",
        json.dumps({"note": 1}),
        json.dumps({"axes": "zyx", "voxel_size_nm": [1, 1, 2]}),
        json.dumps({"voxel_size_nm": [1, 1, 2], "axes": "zyx"}),
    ]
    digests = [digest_acquisition(request)]
    for text in texts:
        (folder / "v.json").write_text(text)
        digests.append(digest_acquisition(request))

    assert digests[0] == digests[1] == digests[2] != digests[3] == digests[4]


def test_texts_are_found_by_their_stem():
    """The stem and the folder are equal; suffixes in any case."""
    found = find_descriptions(["a/v.RAW", "a/v.JSON", "a/v.xml", "v.json", "a/w.info"])

    assert {"a/v.RAW": ("a/v.xml", "a/v.JSON")} == found
