"""HDF5 through h5py: open what is open already, parts of a dataset, filters, damage.

h5py works under one lock for the whole process: parts do not come side by side, and each is as
large as its chunks allow. Datasets that lead out of the file (external, virtual, linked) are
refused: what lies there is neither listed nor digested.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from typing import Any, BinaryIO, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from stackwatch.errors import CorruptSliceError, UnsupportedFormatError
from stackwatch.model.acquisition import show_path
from stackwatch.readers.chunked import BoxKey, select_axes
from stackwatch.readers.damage import unsupported

_MOST_CHUNKS: Final = 4096
"""Of a block whose chunks are looked up to let the digest run over them."""

_LONGEST_SPAN: Final = 2**28
"""Bytes over which a digest runs ahead of decoding: the page cache has to hold them."""

_LIBRARY_ERRORS: Final = (OSError, RuntimeError, KeyError, ValueError, TypeError)


def open_h5(file: BinaryIO, name: str) -> h5py.File:
    """Open the very file that is open already; one in memory is read as such.

    Raises
    ------
    CorruptSliceError
        It is truncated, damaged, or not closed by the program that writes it.
    """
    with damage_told(name):
        if isinstance(file, BytesIO):
            return h5py.File(file, "r")
        return h5py.File(f"/proc/self/fd/{file.fileno()}", "r", locking=False, rdcc_nbytes=0)


@contextmanager
def damage_told(name: str) -> Iterator[None]:
    """Turn the library's errors into ours."""
    try:
        yield
    except _LIBRARY_ERRORS as error:
        why = " ".join(str(error).split())[:200]
        raise CorruptSliceError(
            f"“{show_path(name)}” cannot be read as HDF5 ({why}): it is truncated, damaged, or "
            "still open in the program that writes it. Close it there, or copy it again.",
            hint="Close the file in the program that writes it, or copy it again.",
            path=show_path(name),
        ) from error


def dataset_at(opened: h5py.File, path: str, name: str) -> h5py.Dataset:
    """Return a dataset that can be read: inside of the file, its filters there.

    Raises
    ------
    CorruptSliceError
        It is not there.
    UnsupportedFormatError
        It lies outside of the file, or a filter is not installed.
    """
    with damage_told(name):
        if path not in opened:
            raise KeyError(f"there is no “{path}”")
        dataset = opened[path]
        if not isinstance(dataset, h5py.Dataset):
            raise KeyError(f"“{path}” is no dataset")
        is_outside = dataset.is_virtual or bool(dataset.external)
        is_linked = dataset.file.filename != opened.filename
        codes = _filters_of(dataset)
    if is_outside or is_linked:
        hint = "Save the data itself into one file."
        raise unsupported(name, f"“{path}” as a reference to another file", hint)
    for code, label in codes:
        if not h5py.h5z.filter_avail(code):
            _import_filters(code, label, name)
    return dataset


def _filters_of(dataset: h5py.Dataset) -> list[tuple[int, str]]:
    created = dataset.id.get_create_plist()
    found = [created.get_filter(i) for i in range(created.get_nfilters())]
    return [(code, label.decode("utf-8", "replace")) for code, _, _, label in found]


def _import_filters(code: int, label: str, name: str) -> None:
    """Load the package with the filters that HDF5 itself does not bring, or tell how to add it."""
    try:
        import hdf5plugin  # noqa: F401 - its import makes the filters known
    except ModuleNotFoundError:
        pass
    else:
        if h5py.h5z.filter_avail(code):
            return
    line = 'pip install "stackwatch[hdf5-filters]"'
    shown = f"{code} ({label.split(';')[0]})" if label else f"{code}"
    raise UnsupportedFormatError(
        f"“{show_path(name)}” is compressed with the HDF5 filter {shown}, which is not installed. "
        f"Run `{line}` and start the service again, or save the file with gzip.",
        hint=f"Run `{line}` and start the service again, or save the file with gzip.",
        path=show_path(name),
        filter=code,
        package="hdf5plugin",
        extra="hdf5-filters",
    )


@dataclass(frozen=True)
class H5Layout:
    """Where the voxels of one image lie in an HDF5 file.

    Attributes
    ----------
    axes : str
        Of each dataset: letters of t, c, z, y, x, s in its order.
    dtype_name : str
        Native byte order; HDF5 converts.
    width : int
        Pixels of a row: datasets may be padded to whole chunks.
    chunk : tuple of int
        Along `axes`; the whole shape where there are no chunks.
    path_of : callable
        From timepoint and channel to the path of a dataset.
    meaning : str
        Type that the bits of a value have to be taken for; empty for `dtype_name`.
    """

    axes: str
    dtype_name: str
    width: int
    chunk: tuple[int, ...]
    path_of: Callable[[int, int], str]
    meaning: str = ""

    def along(self, axis: str) -> int:
        """Return the edge of a chunk along an axis; 1 for one that is not there."""
        place = self.axes.find(axis)
        return 1 if place < 0 else self.chunk[place]


class H5Boxes:
    """Parts of the datasets of one HDF5 file, for one thread."""

    def __init__(self, opened: h5py.File, name: str, layout: H5Layout) -> None:
        self._opened = opened
        self._name = name
        self._layout = layout
        self._at: tuple[str, h5py.Dataset] | None = None
        self._span: tuple[BoxKey, tuple[int, int]] | None = None

    @property
    def chunk_depth(self) -> int:
        """Slices that are decoded together."""
        return self._layout.along("z")

    @property
    def chunk_rows(self) -> int:
        """Rows of pixels that are decoded together."""
        return self._layout.along("y")

    def read_box(self, box: BoxKey) -> NDArray[Any]:
        """Return voxels, as `BoxSource.read_box` says."""
        layout = self._layout
        index, order = select_axes(layout.axes, box, layout.width)
        dataset = self._dataset(box)
        with damage_told(self._name):
            shape = [len(range(*part.indices(size)))
                     for part, size in zip(index, dataset.shape, strict=True)
                     if isinstance(part, slice)]  # fmt: skip
            found = np.empty(shape, layout.dtype_name)
            dataset.read_direct(found, index)
        turned = found.view(layout.meaning or layout.dtype_name).transpose(order)
        return turned if "z" in layout.axes else turned[None]

    def byte_span(self, box: BoxKey) -> tuple[int, int]:
        """Return where the chunks of a box lie, as `BoxSource.byte_span` says."""
        if self._span is None or self._span[0] != box:
            with damage_told(self._name):
                self._span = box, self._find_span(box)
        return self._span[1]

    def reopened(self, file: BinaryIO) -> "H5Boxes":
        """Return parts of the same file for another thread."""
        return H5Boxes(open_h5(file, self._name), self._name, self._layout)

    def close(self) -> None:
        """Close the library's handle."""
        self._at = None
        self._opened.close()

    def _dataset(self, box: BoxKey) -> h5py.Dataset:
        path = self._layout.path_of(box.t, box.c)
        if self._at is None or self._at[0] != path:
            self._at = path, dataset_at(self._opened, path, self._name)
        return self._at[1]

    def _find_span(self, box: BoxKey) -> tuple[int, int]:
        dataset = self._dataset(box)
        if dataset.chunks is None:
            return 0, 0
        index, _ = select_axes(self._layout.axes, box, self._layout.width)
        starts = []
        for part, size, edge in zip(index, dataset.shape, dataset.chunks, strict=True):
            span = range(part, part + 1) if isinstance(part, int) else range(*part.indices(size))
            starts.append(range(span.start - span.start % edge, span.stop, edge))
        if math.prod(map(len, starts)) > _MOST_CHUNKS:
            return 0, 0
        chunks = [dataset.id.get_chunk_info_by_coord(corner) for corner in product(*starts)]
        there = [(one.byte_offset, one.byte_offset + one.size) for one in chunks if one.size]
        if not there:
            return 0, 0
        first, last = min(start for start, _ in there), max(end for _, end in there)
        return (first, last) if last - first <= _LONGEST_SPAN else (first, first)
