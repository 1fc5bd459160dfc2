"""Olympus OIB: a folder of TIFF files in an OLE document, one for each channel, slice and time.

oiffile finds the files in the document; each is read like any TIFF. A thread has a handle of its
own.

Source: the document's own `OibInfo.txt` and main file; oiffile's description of them.
"""

import math
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Final, Protocol

import numpy as np
import oiffile
from numpy.typing import NDArray

from stackwatch.errors import CorruptSliceError, MixedSlicesError, StackwatchError
from stackwatch.model.acquisition import show_path
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.image import Channel, ImageInfo
from stackwatch.readers.damage import damaged_header, unsupported
from stackwatch.readers.limits import check_declared_planes
from stackwatch.readers.ole_document import OleDocument
from stackwatch.readers.protocol import RawPlane, SliceReader
from stackwatch.readers.scale import length_nm
from stackwatch.readers.stream import path_of
from stackwatch.readers.tiff import open_tiff

DOCUMENT_ERRORS: Final = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, ArithmeticError,
    OSError, struct.error,
)  # fmt: skip
"""What oiffile raises on damaged bytes."""

_PLANE_NAME: Final = re.compile(r"s_((?:[A-Z]\d+)*)\.tif", re.IGNORECASE)
_AXES: Final = "TCZ"

Place = tuple[int, int, int]


@dataclass(frozen=True)
class Planes:
    """The name of the TIFF of each plane, by t, c, z, in the document's order."""

    names: Mapping[Place, str]
    numbers: Mapping[Place, int]


def open_oib(file: BinaryIO, name: str) -> "OibReader":
    """Read the directory and the main file of an OIB and return its reader.

    Raises
    ------
    CorruptSliceError, UnsupportedFormatError, LimitExceededError
        The caller passes them on.
    """
    document = _opened(file, name)
    try:
        planes, info = parse_document(document, name, "oib")
    except StackwatchError:
        raise
    except DOCUMENT_ERRORS as error:
        raise damaged_header(name, f"{type(error).__name__}: {error}") from error
    finally:
        document.close()
    return OibReader(file, name, planes, info)


class Document(Protocol):
    """The files of an acquisition by the names its program gives them."""

    @property
    def mainfile(self) -> Mapping[str, Any]:
        """The settings, section by section."""
        ...

    def files(self) -> Iterable[str]:
        """Return the names of all files."""
        ...

    def open_file(self, name: str) -> BytesIO:
        """Return one file."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class DocumentReader:
    """A reader of planes that are each a TIFF of a document.

    Parameters
    ----------
    open_document : callable
        Called when the first plane is read.
    name : str
    planes : Planes
    info : ImageInfo
    """

    def __init__(
        self, open_document: Callable[[], Document], name: str, planes: Planes, info: ImageInfo
    ) -> None:
        self.info = info
        self._open_document = open_document
        self._name = name
        self._planes = planes
        self._document: Document | None = None

    @property
    def decode_bytes(self) -> int:
        """Memory that reading one plane takes at most, the plane included."""
        info = self.info
        return 4 * info.size_x * info.size_y * np.dtype(info.pixels.dtype_name).itemsize

    def read_plane(self, t: int, c: int, z: int, rows: tuple[int, int]) -> NDArray[Any]:
        """Return rows of one plane, as `SliceReader.read_plane` says."""
        member = self._planes.names.get((t, c, z))
        if member is None:
            raise self._damaged((t, c, z), "it is not in the document")
        try:
            if self._document is None:
                self._document = self._open_document()
            page = _open_member(self._document, member, self._name)
        except StackwatchError:
            raise
        except DOCUMENT_ERRORS as error:
            raise self._damaged((t, c, z), f"{error}") from error
        try:
            _check_alike(page.info, self.info, member, self._name)
            return page.read_plane(0, 0, 0, rows)
        finally:
            page.close()

    def palette_rgb(self) -> NDArray[Any] | None:
        """Return None: the lookup tables are colours of channels."""
        return None

    def close(self) -> None:
        """Release the document; the file itself is the opener's."""
        if self._document is not None:
            self._document.close()
            self._document = None

    def _damaged(self, place: Place, why: str) -> CorruptSliceError:
        t, c, z = place
        return CorruptSliceError(
            f"Plane z={z} c={c} t={t} of “{show_path(self._name)}” cannot be read ({why}): the "
            "file is damaged, or was not written completely. Copy the file again.",
            hint="Copy the file again.",
            path=show_path(self._name),
            z=z,
            c=c,
            t=t,
        )


class OibReader(DocumentReader):
    """An opened OIB; `readers.probe.open_image` is the way in.

    The digest follows the planes through the file, as far as they lie there in their order.
    """

    def __init__(self, file: BinaryIO, name: str, planes: Planes, info: ImageInfo) -> None:
        super().__init__(lambda: _opened(self._file, name), name, planes, info)
        self._file = file
        self._bytes = file.seek(0, 2)

    @property
    def decode_bytes(self) -> int:
        """Memory that reading one plane takes at most, the plane included."""
        return super().decode_bytes + (self._bytes if isinstance(self._file, BytesIO) else 0)

    def reopened(self, file: BinaryIO) -> "OibReader":
        """Return a reader of the same content for another thread."""
        return OibReader(file, self._name, self._planes, self.info)

    def raw_plane(self, t: int, c: int, z: int) -> RawPlane | None:
        """Return None: a file in the document may lie in pieces."""
        del t, c, z
        return None

    def byte_span(self, t: int, c: int, z: int) -> tuple[int, int]:
        """Return about where a plane lies: planes follow each other in the document."""
        number, count = self._planes.numbers.get((t, c, z), 0), len(self._planes.numbers)
        return self._bytes * number // count, self._bytes * (number + 1) // count


def _opened(file: BinaryIO, name: str) -> OleDocument:
    try:
        with path_of(file) as path:
            document = OleDocument(path)
    except DOCUMENT_ERRORS as error:
        raise damaged_header(name, f"{type(error).__name__}: {error}") from error
    if not document.files():
        document.close()
        what = "an OLE document that is no OIB (a ZVI, perhaps)"
        raise unsupported(name, what, "Export it as OME-TIFF.")
    return document


def _open_member(document: Document, member: str, name: str) -> SliceReader:
    return open_tiff(document.open_file(member), f"{name}/{PurePosixPath(member).name}")


def parse_document(document: Document, name: str, form: str) -> tuple[Planes, ImageInfo]:
    """Return where the planes lie, and what the settings say.

    Parameters
    ----------
    document : Document
    name : str
        For messages.
    form : str
        `oib` or `oif`.

    Raises
    ------
    CorruptSliceError, UnsupportedFormatError, IncompleteAcquisitionError
        The caller passes them on.
    """
    settings = document.mainfile
    axes = {
        str(part["AxisCode"]): part
        for title, part in settings.items()
        if re.fullmatch(r"Axis \d+ Parameters Common", title)
    }
    declared = {code: max(1, int(part["MaxSize"])) for code, part in axes.items()}
    others = {code: n for code, n in declared.items() if n > 1 and code not in "XYTCZ"}
    if others:
        shown = ", ".join(f"{axes[code]['AxisName']} {size}" for code, size in others.items())
        raise unsupported(name, f"axes that are neither space nor time ({shown})", "Export it.")
    size_t, size_c, size_z = (declared.get(axis, 1) for axis in _AXES)
    names = _plane_names(document, name)
    if not names:
        raise damaged_header(name, "it holds no plane")
    check_declared_planes(name, size_t * size_c * size_z, len(names))
    beyond = [at for at in names if not (at[0] < size_t and at[1] < size_c and at[2] < size_z)]
    if beyond:
        t, c, z = beyond[0]
        what = f"a plane t={t} c={c} z={z} where its header declares {size_t}, {size_c}, {size_z}"
        raise unsupported(name, what, "Export it as OME-TIFF.")
    first = _open_member(document, next(iter(names.values())), name)
    try:
        page = first.info
    finally:
        first.close()
    if (page.size_x, page.size_y) != (declared.get("X", 1), declared.get("Y", 1)):
        what = f"planes of {page.size_x} x {page.size_y} that are no x-y pictures"
        raise unsupported(name, what, "Export it as OME-TIFF.")
    info = ImageInfo(
        reader=form,
        size_y=page.size_y,
        size_x=page.size_x,
        pixels=page.pixels,
        size_z=size_z,
        size_c=size_c,
        size_t=size_t,
        voxel_size_nm=_voxel_size(settings, axes.get("Z") if size_z > 1 else None),
        voxel_size_source=f"{form.upper()} calibration",
        channels=tuple(_channel(document, number) for number in range(1, size_c + 1)),
        can_read_rows=False,
        is_time_declared=True,
        is_z_declared=True,
        absent_tcz=tuple(at for at in np.ndindex(size_t, size_c, size_z) if at not in names),
    )
    return Planes(names, {at: number for number, at in enumerate(names)}), info


def _plane_names(document: Document, name: str) -> dict[Place, str]:
    """Return the name of each plane's TIFF, in the document's order."""
    found: dict[Place, str] = {}
    for member in sorted(document.files()):
        match = _PLANE_NAME.fullmatch(PurePosixPath(member).name)
        if match is None:
            continue
        indices = {
            letter.upper(): int(digits) - 1
            for letter, digits in re.findall(r"([A-Za-z])(\d+)", match[1])
        }
        unknown = {letter for letter, index in indices.items() if index and letter not in _AXES}
        if unknown or min(indices.values(), default=0) < 0:
            raise unsupported(name, f"a plane of unknown place ({member})", "Export it.")
        t, c, z = (indices.get(axis, 0) for axis in _AXES)
        if (t, c, z) in found:
            raise damaged_header(name, f"plane t={t} c={c} z={z} is there twice")
        found[t, c, z] = member
    return found


def _voxel_size(settings: Mapping[str, Any], axis_z: Mapping[str, Any] | None) -> PartialVoxelSize:
    """Return what is calibrated; one slice has no distance to another, whatever is stated."""
    stated = settings.get("Reference Image Parameter", {})
    edges = [
        length_nm(_number(stated.get(f"{side}ConvertValue")), str(stated.get(f"{side}Unit", "")))
        for side in ("Width", "Height")
    ]
    z = None
    if axis_z is not None:
        step = _number(axis_z.get("Interval"))
        z = length_nm(abs(step) if step else None, str(axis_z.get("UnitName", "")))
    return PartialVoxelSize(edges[0], edges[1], z)


def _channel(document: Document, number: int) -> Channel:
    stated = document.mainfile.get(f"Channel {number} Parameters", {})
    dye = str(stated.get("DyeName", "")).strip()
    name = str(stated.get("CH Name", "")).strip() if dye in {"", "None"} else dye
    table = next(
        (
            member
            for member in document.files()
            if PurePosixPath(member).name == f"s_LUT{number}.lut"
        ),
        None,
    )
    if table is None:
        return Channel(name)
    lut = oiffile.SettingsFile(document.open_file(table), table)
    shares = [_number(lut.get(colour, {}).get("Contrast")) for colour in ("Red", "Green", "Blue")]
    red, green, blue = (round(255 * min(100.0, max(0.0, share or 0.0)) / 100) for share in shares)
    return Channel(name, (red, green, blue) if red or green or blue else None)


def _check_alike(page: ImageInfo, whole: ImageInfo, member: str, name: str) -> None:
    if (page.size_x, page.size_y, page.pixels) != (whole.size_x, whole.size_y, whole.pixels):
        raise MixedSlicesError(
            f"“{show_path(member)}” in “{show_path(name)}” is {page.size_x} x {page.size_y} "
            f"{page.pixels.dtype_name}, the first plane is {whole.size_x} x {whole.size_y} "
            f"{whole.pixels.dtype_name}. Export it as OME-TIFF.",
            hint="Export it as OME-TIFF.",
            path=show_path(name),
        )


def _number(value: object) -> float | None:
    try:
        found = float(str(value))
    except ValueError:
        return None
    return found if math.isfinite(found) else None
