"""Volume readers against numpy: any order of axes, any type, any rows; damage is always noticed."""

import gzip
import io
import itertools
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackwatch.errors import CorruptSliceError, StackwatchError
from stackwatch.model.image import ImageInfo, PixelFormat
from stackwatch.readers import volume
from stackwatch.readers.gunzip import GzipBytes
from stackwatch.readers.probe import open_image
from stackwatch.readers.volume import ArrayLayout, PlainBytes, VolumeReader
from stackwatch.testing.volumes import write_dm, write_mrc, write_nifti

DTYPES = ("uint8", "int16", "uint16", "float32", "float64", "int64")
ORDERS = ["".join(axes) for axes in itertools.permutations("tczyx")]


@st.composite
def arrays_in_files(draw):
    """Draw an array as it lies in a file, and where."""
    axes = draw(st.sampled_from(ORDERS))
    absent = draw(st.sets(st.sampled_from("tcz")))
    axes = "".join(axis for axis in axes if axis not in absent)
    shape = tuple(draw(st.integers(1, 6)) for _ in axes)
    if draw(st.booleans()):
        axes, shape = axes + "s", (*shape, draw(st.integers(1, 4)))
    dtype = np.dtype(draw(st.sampled_from(DTYPES))).newbyteorder(draw(st.sampled_from("<>")))
    offset = draw(st.integers(0, 50))
    return ArrayLayout(offset, dtype, axes, shape)


@given(
    layout=arrays_in_files(),
    data=st.data(),
    is_gzipped=st.booleans(),
    block_bytes=st.sampled_from([1, 100, 2**25]),
)
def test_any_order_of_axes(layout, data, is_gzipped, block_bytes):
    """Any rows of any plane are those of the transposed array, whatever lies fastest."""
    array = np.arange(np.prod(layout.shape)).reshape(layout.shape).astype(layout.dtype)
    packed = bytes(layout.offset) + array.tobytes()
    file = io.BytesIO(gzip.compress(packed) if is_gzipped else packed)
    source = GzipBytes(file, "a") if is_gzipped else PlainBytes(file, "a")
    full = array.reshape(*layout.shape, *[1] * (6 - array.ndim))
    missing = [axis for axis in "tczyxs" if axis not in layout.axes]
    order = layout.axes + "".join(missing)
    expected = full.transpose([order.index(axis) for axis in "tczyxs"])
    size = dict(zip("tczyx", expected.shape, strict=False))
    t, c, z = (data.draw(st.integers(0, size[axis] - 1)) for axis in "tcz")
    first = data.draw(st.integers(0, size["y"] - 1))
    last = data.draw(st.integers(first + 1, size["y"]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(volume, "BLOCK_BYTES", block_bytes)
        info = ImageInfo("test", 1, 1, PixelFormat(layout.dtype.name))
        reader = VolumeReader(source, layout, info)
        found = reader.read_plane(t, c, z, (first, last))

    plane = expected[t, c, z, first:last]
    np.testing.assert_array_equal(plane if "s" in layout.axes else plane[..., 0], found)
    assert found.dtype.isnative


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
    dtype=st.sampled_from(["uint8", "int16", "uint16", "float32"]),
    order=st.sampled_from("<>"),
    kind=st.sampled_from(["mrc", "dm3", "dm4", "nii", "nii2"]),
    cut=st.floats(0, 1, exclude_max=True),
)
def test_whole_or_refused(shape, dtype, order, kind, cut):
    """A whole file holds what was written; cut anywhere, it is damaged and never an image."""
    stack = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    name = "a." + kind.rstrip("2")
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        if kind == "mrc":
            write_mrc(path, stack, order=order)
        elif kind.startswith("dm"):
            write_dm(path, stack, version=3 if kind == "dm3" else 4, order=order)
        else:
            write_nifti(path, stack, version=2 if kind == "nii2" else 1, order=order)
        data = path.read_bytes()
    reader = open_image(io.BytesIO(data), name)
    planes = [reader.read_plane(0, 0, z, (0, shape[1])) for z in range(shape[0])]
    reader.close()

    np.testing.assert_array_equal(stack, np.stack(planes))
    end = int(cut * len(data))
    with pytest.raises(StackwatchError) as caught:
        open_image(io.BytesIO(data[:end]), name)
    assert end < 512 or isinstance(caught.value, CorruptSliceError)
