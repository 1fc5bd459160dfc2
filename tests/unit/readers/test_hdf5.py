"""Imaris IMS and HDF5: files written by h5py as the programs of the field write them."""

import json
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
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
from stackwatch.readers.chunked import BoxKey, ChunkedReader
from stackwatch.readers.hdf5_file import H5Boxes
from stackwatch.readers.probe import open_image
from stackwatch.readers.protocol import Reopens
from stackwatch.testing.hdf5_files import characters, write_ims
from stackwatch.testing.patterns import coordinate_stack

SIZES = {"t": 2, "c": 2, "z": 13, "y": 37, "x": 45}


def many_volumes(dtype: str = "uint16") -> np.ndarray:
    """Return volumes t, c, z, y, x whose voxels tell their place."""
    z, y, x = (SIZES[axis] for axis in "zyx")
    base = coordinate_stack((z, y, x), dtype)
    return np.stack(
        [np.stack([base + 1 + t * SIZES["c"] + c for c in range(SIZES["c"])]) for t in range(2)]
    )


def mag_1(dataset: Path, layer: str) -> np.ndarray:
    """Return the voxels of a layer of one channel, axes (t,) z, y, x."""
    stored = np.asarray(zarr.open_array(dataset / layer / "1", mode="r"))
    return np.moveaxis(stored[..., 0, :, :, :], (-3, -1), (-1, -3))


def parked(path: Path, **flags: Any) -> dict[str, Any]:
    """Return what `inspect` says of a file that is parked."""
    answer = stackwatch.inspect(path, **flags).record
    assert answer["status"] != "ready", answer
    return answer


def test_imaris_becomes_a_dataset(tmp_path):
    """Channels with names and colours, timepoints, extents; the padding of chunks is cut off."""
    volumes = many_volumes()
    path = write_ims(tmp_path / "a.ims", volumes)

    stackwatch.convert(path, tmp_path / "dataset", threads=3)

    for c in range(2):
        np.testing.assert_array_equal(volumes[:, c], mag_1(tmp_path / "dataset", f"stain_{c}"))
    properties = json.loads((tmp_path / "dataset/datasource-properties.json").read_text())
    assert [250.0, 500.0, 750.0] == properties["scale"]["factor"]
    view = properties["dataLayers"][0]["defaultViewConfiguration"]
    assert [255, 128, 0] == view["color"]


def test_imaris_in_a_zip(tmp_path):
    """A file in memory is read as one on the disk."""
    volumes = many_volumes("uint8")[:1, :1]
    write_ims(tmp_path / "a.ims", volumes)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.ims", "a.ims")

    stackwatch.convert(tmp_path / "a.zip", tmp_path / "dataset", layer_name="em")

    np.testing.assert_array_equal(volumes[0, 0], mag_1(tmp_path / "dataset", "em"))


@pytest.mark.samples
def test_imaris_of_the_vendor(samples, tmp_path):
    """The vendor's own minimal file, which other readers refuse, has all its voxels."""
    path = samples / "ims/apache-imariswriter/Minimal_IMS_File.ims"
    with h5py.File(path, locking=False) as judge:
        expected = judge["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"][:]

    answer = stackwatch.convert(path, tmp_path / "dataset", layer_name="em")

    np.testing.assert_array_equal(expected, mag_1(tmp_path / "dataset", "em"))
    assert any("no unit" in warning for warning in answer.warnings)


def test_imaris_without_a_channel_is_damaged(tmp_path, open_path):
    """A dataset that is missing is an error that names it, not a black volume."""
    path = write_ims(tmp_path / "a.ims", many_volumes())
    with h5py.File(path, "r+") as file:
        del file["DataSet/ResolutionLevel 0/TimePoint 1/Channel 1"]

    with pytest.raises(CorruptSliceError, match="Channel 1"):
        open_path(path)


def test_imaris_sizes_beyond_its_data_are_damage(tmp_path, open_path):
    """A size larger than the dataset is no reason to read what is not there."""
    path = write_ims(tmp_path / "a.ims", many_volumes())
    with h5py.File(path, "r+") as file:
        channel = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0"]
        channel.attrs["ImageSizeZ"] = characters("17")

    with pytest.raises(CorruptSliceError, match="17 voxels along Z"):
        open_path(path)


# ---------------------------------------------------------------- the one dataset


@pytest.mark.parametrize("axes", ["zyx", "xyz", "yxz", "tzyxc", "cxyz"])
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "contiguous"])
def test_axes_by_their_tags(axes, chunked, tmp_path, open_path):
    """Whatever the order of the named axes, planes come as y, x, in chunks and without."""
    full = many_volumes(">u2" if not chunked else "uint16")
    index = tuple(slice(None) if axis in axes else 0 for axis in "tczyx")
    kept = [axis for axis in "tczyx" if axis in axes]
    stored = full[index].transpose([kept.index(axis) for axis in axes])
    chunks = tuple({"t": 1, "c": 1}.get(axis, 8) for axis in axes) if chunked else None
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("deep/data", data=stored, chunks=chunks)
        dataset.attrs["axistags"] = json.dumps({"axes": [{"key": axis} for axis in axes]})
        dataset.attrs["element_size_um"] = [3.0, 2.0, 0.5]

    reader = open_path(tmp_path / "a.h5")

    info = reader.info
    planes = [
        [[reader.read_plane(t, c, z, (3, 20)) for z in range(info.size_z)]
         for c in range(info.size_c)] for t in range(info.size_t)
    ]  # fmt: skip
    expected = full[: info.size_t, : info.size_c, :, 3:20]
    assert [1 if axis not in axes else SIZES[axis] for axis in "tczyx"] == [
        info.size_t, info.size_c, info.size_z, info.size_y, info.size_x
    ]  # fmt: skip
    assert (500.0, 2000.0, 3000.0) == tuple(info.voxel_size_nm)
    np.testing.assert_array_equal(expected, np.array(planes))
    assert chunked == isinstance(reader, ChunkedReader)


def test_nameless_axes(tmp_path):
    """Three axes are taken for z, y, x with a warning; four are never guessed."""
    stack = coordinate_stack((5, 20, 30), "uint8")
    with h5py.File(tmp_path / "three.h5", "w") as file:
        file["data"] = stack
    with h5py.File(tmp_path / "four.h5", "w") as file:
        file["data"] = stack[None]

    ready = stackwatch.inspect(tmp_path / "three.h5", voxel_size_nm=(4, 4, 30)).record
    answer = parked(tmp_path / "four.h5", voxel_size_nm=(4, 4, 30))

    assert any("taken for z, y, x" in warning for warning in ready["warnings"])
    assert AmbiguousLayoutError.code == answer["error_code"]
    assert "axistags" in answer["hint"]


def test_several_datasets_are_named(tmp_path):
    """Where several may be the image, the job is parked with their names until one is given."""
    raw, labels = coordinate_stack((5, 20, 30), "uint8"), np.ones((5, 20, 30), np.uint32)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["volumes/raw"], file["volumes/labels"], file["scores"] = raw, labels, np.ones(9)

    answer = parked(tmp_path / "a.h5", voxel_size_nm=(4, 4, 30))
    stackwatch.convert(
        tmp_path / "a.h5", tmp_path / "dataset",
        voxel_size_nm=(4, 4, 30), scene="/volumes/raw", layer_name="em",
    )  # fmt: skip

    assert ["volumes/labels", "volumes/raw"] == answer["values"]["scenes"]
    np.testing.assert_array_equal(raw, mag_1(tmp_path / "dataset", "em"))


def test_no_voxel_size_is_invented(tmp_path):
    """A dataset that says nothing of its voxels is parked."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = coordinate_stack((5, 20, 30), "uint8")

    assert "missing_metadata" == parked(tmp_path / "a.h5")["error_code"]


def test_views_of_bigdataviewer(tmp_path):
    """Each view is a dataset with all timepoints; its signed type means unsigned values."""
    views = np.arange(2 * 2 * 5 * 20 * 30, dtype=np.uint16).reshape(2, 2, 5, 20, 30) + 40_000
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for t, s in np.ndindex(2, 2):
            place = f"t{t:05}/s{s:02}/0/cells"
            file.create_dataset(place, data=views[t, s].view(np.int16), chunks=(4, 16, 16))

    stackwatch.convert(
        tmp_path / "a.h5", tmp_path / "run", voxel_size_nm=(4, 4, 30), layer_name="em"
    )

    np.testing.assert_array_equal(views[:, 0], mag_1(tmp_path / "run_s00", "em"))
    np.testing.assert_array_equal(views[:, 1], mag_1(tmp_path / "run_s01", "em"))


# ---------------------------------------------------------------- chunks, threads, memory


def test_each_chunk_is_decoded_once(tmp_path, monkeypatch):
    """Threads that ask for the planes of one row of chunks share what the first one decoded."""
    stack = coordinate_stack((24, 64, 64), "uint16")
    path = write_ims(tmp_path / "a.ims", stack[None, None])
    boxes: list[BoxKey] = []
    lock, original = threading.Lock(), H5Boxes.read_box

    def counted(self: H5Boxes, box: BoxKey) -> np.ndarray:
        with lock:
            boxes.append(box)
        return original(self, box)

    monkeypatch.setattr(H5Boxes, "read_box", counted)
    with path.open("rb") as file:
        first = open_image(file, path.name)
        assert isinstance(first, Reopens)

        def read(z: int) -> np.ndarray:
            with path.open("rb") as own:
                reader = first.reopened(own)
                plane = reader.read_plane(0, 0, z, (0, 64)).copy()
                reader.close()
                return plane

        with ThreadPoolExecutor(4) as pool:
            # row by row, as slabs are read: a thread that lags behind asks for a row that is gone
            planes = [
                plane for row in range(0, 24, 8) for plane in pool.map(read, range(row, row + 8))
            ]
        first.close()

    np.testing.assert_array_equal(stack, np.stack(planes))
    assert [0, 8, 16] == sorted(box.first_z for box in boxes)


# ---------------------------------------------------------------- damage and refusals


@pytest.mark.parametrize("share", [0.999, 0.6, 0.1])
def test_truncated_file(share, tmp_path):
    """A file that ends early is an error, wherever it ends."""
    path = write_ims(tmp_path / "a.ims", many_volumes())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    with pytest.raises(CorruptSliceError, match="HDF5"):
        stackwatch.convert(path, tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()


def test_damaged_chunk(tmp_path):
    """Bytes that gzip does not take are an error of the conversion."""
    path = write_ims(tmp_path / "a.ims", many_volumes())
    with h5py.File(path) as file:
        data = file["DataSet/ResolutionLevel 0/TimePoint 1/Channel 1/Data"]
        place = data.id.get_chunk_info(3)
    damaged = bytearray(path.read_bytes())
    damaged[place.byte_offset : place.byte_offset + place.size] = b"\xff" * place.size
    path.write_bytes(damaged)

    with pytest.raises(CorruptSliceError, match="HDF5"):
        stackwatch.convert(path, tmp_path / "dataset")


def test_missing_filter_names_the_extra(tmp_path):
    """A filter that is not installed is refused with the line that installs it."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        created.set_chunk((4, 16, 16))
        created.set_filter(32008, h5py.h5z.FLAG_OPTIONAL, (0, 0))  # bitshuffle
        space = h5py.h5s.create_simple((8, 16, 16))
        h5py.h5d.create(file.id, b"data", h5py.h5t.NATIVE_UINT8, space, created)

    answer = parked(tmp_path / "a.h5", voxel_size_nm=(4, 4, 30))

    assert UnsupportedFormatError.code == answer["error_code"]
    assert 'pip install "stackwatch[hdf5-filters]"' in answer["hint"]


@pytest.mark.parametrize("kind", ["external", "virtual"])
def test_references_to_other_files_are_refused(kind, tmp_path):
    """A dataset whose values lie in another file is never followed."""
    (tmp_path / "secret.raw").write_bytes(bytes(2400))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        if kind == "external":
            outside = [(str(tmp_path / "secret.raw"), 0, 2400)]
            file.create_dataset("data", (4, 20, 30), "u1", external=outside)
        else:
            layout = h5py.VirtualLayout((4, 20, 30), "u1")
            layout[:] = h5py.VirtualSource(str(tmp_path / "b.h5"), "data", (4, 20, 30))
            file.create_virtual_dataset("data", layout)

    answer = parked(tmp_path / "a.h5", voxel_size_nm=(4, 4, 30))

    assert "reference to another file" in answer["message"]


def test_no_image_inside(tmp_path, open_path):
    """Tables and complex numbers are no image; the message lists what is there."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["spectrum"] = np.ones(100)

    with pytest.raises(UnsupportedFormatError, match="spectrum"):
        open_path(tmp_path / "a.h5")


def test_any_bytes_behind_the_magic(tmp_path, open_path):
    """Whatever follows the first bytes, the error is one of ours."""
    path = tmp_path / "a.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 40)

    with pytest.raises(StackwatchError):
        open_path(path)
