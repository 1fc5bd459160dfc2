"""The directory of a CZI: where each tile lies, in the file and in the picture.

It is read here and not by the library: what is missing has to be known before anything is read,
and a tile that is neither compressed nor part of a mosaic needs no library at all.

Source: the ZISRAW (CZI) file format description of Carl Zeiss: segments, `DirectoryEntryDV`,
`DimensionEntryDV`. That stored sizes of 0 stand for the sizes themselves is said there too.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stackwatch.errors import IncompleteAcquisitionError
from stackwatch.model.acquisition import show_path
from stackwatch.readers.damage import damaged_header, unsupported
from stackwatch.readers.positional import PositionalFile

CZI_MAGIC: Final = b"ZISRAWFILE"
UNCOMPRESSED, JPEG_XR, ZSTD0, ZSTD1 = 0, 4, 5, 6
"""How tiles are compressed, as the format numbers it."""

SEGMENT_BYTES: Final = 32
"""Of the header before each segment: its name, the bytes it has room for, the bytes in use."""

_FILE_FIELDS: Final = struct.Struct("<iqqi")
_FILE_FIELDS_AT: Final = 80
_ENTRIES_AT: Final = 128
"""From the data of the directory to its first entry; the same for the text of the metadata: 256."""

_ENTRY: Final = np.dtype(
    {
        "names": ["schema", "pixel_type", "position", "part", "compression", "dimensions"],
        "formats": ["S2", "<i4", "<i8", "<i4", "<i4", "<i4"],
        "offsets": [0, 2, 6, 14, 18, 28],
        "itemsize": 32,
    }
)
_DIMENSION: Final = np.dtype(
    [("name", "S4"), ("start", "<i4"), ("size", "<i4"), ("at", "<f4"), ("stored", "<i4")]
)
_MOST_DIMENSIONS: Final = 40
_METADATA_AT: Final = 256
_LARGEST_XML: Final = 2**28


@dataclass(frozen=True, slots=True)
class CziDirectory:
    """The tiles of a CZI in full resolution; all arrays are indexed by tile.

    Attributes
    ----------
    pixel_type, compression : arrays of int
        As the format numbers them.
    position : array of int64
        Byte of the file where the tile's segment begins.
    header_bytes : array of int
        From there to the tile's own metadata, which stands before its pixels.
    x, y, width, height : arrays of int
        Its place in the picture.
    starts : mapping of str to array of int
        By dimension (`Z`, `C`, `T`, `S`, `H` ...), those that occur: the tile's index in it.
    segment_starts : array of int64
        Where segments begin, in order, and the end of the file: what lies between two of them
        belongs to the first.
    coarser : int
        Tiles of coarser copies (the pyramid), which are left out.
    """

    pixel_type: NDArray[Any]
    compression: NDArray[Any]
    position: NDArray[Any]
    header_bytes: NDArray[Any]
    x: NDArray[Any]
    y: NDArray[Any]
    width: NDArray[Any]
    height: NDArray[Any]
    starts: Mapping[str, NDArray[Any]]
    segment_starts: NDArray[Any]
    coarser: int

    def index(self, dimension: str) -> NDArray[Any]:
        """Return each tile's index along a dimension; 0 for all where none has one."""
        found = self.starts.get(dimension)
        return np.zeros(len(self.position), np.int64) if found is None else found

    def end_of(self, tiles: NDArray[Any]) -> int:
        """Return the byte after the last of some tiles."""
        found = np.searchsorted(self.segment_starts, self.position[tiles], side="right")
        return int(self.segment_starts[np.minimum(found, len(self.segment_starts) - 1)].max())


def read_directory(source: PositionalFile) -> tuple[CziDirectory, bytes]:
    """Read the directory of a CZI and the text of its metadata (empty where there is none).

    Raises
    ------
    IncompleteAcquisitionError
        It was not finished; the caller passes it on.
    CorruptSliceError, UnsupportedFormatError
        It is damaged, or a part of a set of files.
    """
    part, directory_at, metadata_at, is_pending = _FILE_FIELDS.unpack(
        source.read(_FILE_FIELDS_AT, _FILE_FIELDS.size)
    )
    if part:
        raise _several_files(source.name)
    if not directory_at or is_pending:
        raise _unfinished(source.name)
    data = _segment(source, directory_at, b"ZISRAWDIRECTORY")
    count = int.from_bytes(data[:4], "little", signed=True)
    if len(data) < _ENTRIES_AT or count < 0:
        raise damaged_header(source.name, f"a directory of {count:,} tiles in {len(data):,} bytes")
    directory = _parse_entries(data, count, source)
    return directory, _read_xml(source, metadata_at) if metadata_at else b""


def _segment(source: PositionalFile, offset: int, name: bytes) -> bytes:
    """Return the data of a segment."""
    head = source.read(offset, SEGMENT_BYTES)
    allocated, used = struct.unpack_from("<qq", head, 16)
    length = used or allocated
    if head[:16].rstrip(b"\0") != name or not 0 < length <= source.size:
        raise damaged_header(source.name, f"no {name.decode()} stands at byte {offset:,}")
    return source.read(offset + SEGMENT_BYTES, length)


def _read_xml(source: PositionalFile, offset: int) -> bytes:
    head = source.read(offset, SEGMENT_BYTES + 4)
    (length,) = struct.unpack_from("<i", head, SEGMENT_BYTES)
    if not head.startswith(b"ZISRAWMETADATA") or not 0 <= length <= _LARGEST_XML:
        raise damaged_header(source.name, f"no metadata stands at byte {offset:,}")
    return source.read(offset + SEGMENT_BYTES + _METADATA_AT, length)


def _parse_entries(data: bytes, count: int, source: PositionalFile) -> CziDirectory:
    """Sort the entries into columns: as many at a time as have the same number of dimensions."""
    offsets = _entry_offsets(data, count, source.name)
    raw = np.frombuffer(data, np.uint8)
    entries = np.empty(count, _ENTRY)
    table = {name: np.zeros(count, np.int64) for name in "XY"}
    sizes = {name: np.zeros(count, np.int64) for name in "XY"}
    stored = {name: np.zeros(count, np.int64) for name in "XY"}
    by_dimensions: dict[int, list[int]] = {}
    for number, (_, dimensions) in enumerate(offsets):
        by_dimensions.setdefault(dimensions, []).append(number)
    for dimensions, numbers in by_dimensions.items():
        length = _ENTRY.itemsize + dimensions * _DIMENSION.itemsize
        first = np.array([offsets[number][0] for number in numbers], np.int64)
        rows = np.ascontiguousarray(raw[first[:, None] + np.arange(length)])
        entries[numbers] = np.ascontiguousarray(rows[:, : _ENTRY.itemsize]).view(_ENTRY)[:, 0]
        values = np.ascontiguousarray(rows[:, _ENTRY.itemsize :]).view(_DIMENSION)
        for encoded in np.unique(values["name"]):
            name = encoded.decode("ascii", "replace")
            row, column = np.nonzero(values["name"] == encoded)
            where = np.array(numbers)[row]
            table.setdefault(name, np.zeros(count, np.int64))[where] = values["start"][row, column]
            sizes.setdefault(name, np.ones(count, np.int64))[where] = values["size"][row, column]
            if name in stored:
                stored[name][where] = values["stored"][row, column]
    return _columns(entries, table, sizes, stored, source)


def _entry_offsets(data: bytes, count: int, name: str) -> list[tuple[int, int]]:
    """Return where each entry begins and how many dimensions it has."""
    found = []
    at = _ENTRIES_AT
    for _ in range(count):
        end = at + _ENTRY.itemsize
        if end > len(data) or data[at : at + 2] != b"DV":
            raise damaged_header(name, f"its directory of {count:,} tiles breaks off")
        (dimensions,) = struct.unpack_from("<i", data, at + 28)
        if not 0 < dimensions <= _MOST_DIMENSIONS:
            raise damaged_header(name, f"a tile has {dimensions} dimensions")
        found.append((at, dimensions))
        at = end + dimensions * _DIMENSION.itemsize
    if at > len(data):
        raise damaged_header(name, f"its directory of {count:,} tiles breaks off")
    return found


def _columns(
    entries: NDArray[Any],
    starts: dict[str, NDArray[Any]],
    sizes: dict[str, NDArray[Any]],
    stored: dict[str, NDArray[Any]],
    source: PositionalFile,
) -> CziDirectory:
    """Leave the pyramid out, and check what is left."""
    is_full = np.ones(len(entries), np.bool_)
    for name in "XY":
        is_full &= (stored[name] == 0) | (stored[name] == sizes[name])
    position = entries["position"].astype(np.int64)
    width, height = sizes["X"][is_full], sizes["Y"][is_full]
    _check_tiles(entries[is_full], {k: v[is_full] for k, v in sizes.items()}, source)
    ends = np.unique(np.append(position, source.size))
    return CziDirectory(
        pixel_type=entries["pixel_type"][is_full].astype(np.int64),
        compression=entries["compression"][is_full].astype(np.int64),
        position=position[is_full],
        header_bytes=np.maximum(
            256, 16 + _ENTRY.itemsize + entries["dimensions"][is_full] * _DIMENSION.itemsize
        ).astype(np.int64)
        + SEGMENT_BYTES,
        x=starts.pop("X")[is_full],
        y=starts.pop("Y")[is_full],
        width=width,
        height=height,
        starts={name: values[is_full] for name, values in starts.items()},
        segment_starts=ends,
        coarser=int(len(entries) - is_full.sum()),
    )


def _check_tiles(
    entries: NDArray[Any], sizes: Mapping[str, NDArray[Any]], source: PositionalFile
) -> None:
    if len(entries) == 0:
        raise unsupported(source.name, "no image but previews", "Exclude it with `ignore`.")
    if (entries["part"] > 0).any():
        raise _several_files(source.name)
    if min(sizes["X"].min(), sizes["Y"].min()) < 1:
        raise damaged_header(source.name, "a tile has no pixels")
    # a tile is one plane; the format would allow several, no program writes them
    deep = [name for name, values in sizes.items() if name not in "XYM" and values.max() > 1]
    if deep:
        raise unsupported(
            source.name, f"tiles of several planes along {', '.join(deep)}", "Save it as OME-TIFF."
        )
    last = int(entries["position"].max())
    if last + SEGMENT_BYTES > source.size or entries["position"].min() <= 0:
        raise damaged_header(
            source.name,
            f"a tile begins at byte {last:,}, and the file ends at {source.size:,}",
        )


def _unfinished(name: str) -> IncompleteAcquisitionError:
    hint = "Wait until ZEN has saved it, or open it in ZEN and save it again."
    return IncompleteAcquisitionError(
        f"“{show_path(name)}” is a CZI that was not finished: its directory is not written, or "
        f"an update of it is still pending. {hint}",
        hint=hint,
        path=show_path(name),
    )


def _several_files(name: str) -> Exception:
    return unsupported(
        name,
        "a part of a CZI that is spread over several files",
        "Save it from ZEN as one file, or export it as OME-TIFF.",
    )
