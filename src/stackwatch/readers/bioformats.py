"""Formats that nobody else here reads, through Bio-Formats in a child process.

Bio-Formats is Java and comes as one jar, which the person who runs stackwatch gets and names in
the settings (docs/formats.md). It runs in a process of its own (`readers.bioformats_child`), one
for each acquisition that needs it, and hands back planes through a pipe.

Source: the interface IFormatReader of Bio-Formats 7; pixel types as in its FormatTools.
"""

import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from stackwatch.errors import CorruptSliceError, ReadError, UnsupportedFormatError
from stackwatch.model.acquisition import show_path
from stackwatch.model.image import ImageInfo, PixelFormat
from stackwatch.readers.damage import no_such_image, unsupported
from stackwatch.readers.limits import check_declared_size
from stackwatch.readers.ome import describe_images
from stackwatch.readers.probe import open_image
from stackwatch.readers.protocol import SliceReader

BIOFORMATS_SUFFIXES: Final = frozenset(
    """.dv .r3d .ics .oir .vsi .oif .xlef .stk .svs .ndpi .scn .zvi .lei .sld .spe .fli .flex .gwy
    .dcm .dicom .nrrd .jp2 .j2k .jpx .gif .pgm .dm2 .ser .emi .emd""".split()  # noqa: SIM905 - a table of words
)
"""What is handed to Bio-Formats where its jar is set, and no reader here takes it."""

_DTYPES: Final = (
    "int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64",
)  # fmt: skip
"""Pixel types in the order of FormatTools; behind them follow single bits and complex numbers."""

_PATIENCE_S: Final = 300.0
"""How long Bio-Formats may take to open a file or to read a plane."""

_START_HINT: Final = (
    "Check that Java is installed and that `bioformats_jar` names bioformats_package.jar."
)


class BioformatsOpener:
    """The `ImageOpener` of an acquisition for which a jar is set; `close` ends the child.

    Parameters
    ----------
    jar : str
        Path of bioformats_package.jar; empty: there is none, and nothing is handed over.
    """

    def __init__(self, jar: str) -> None:
        self._jar = jar
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._described: dict[str, dict[str, Any]] = {}

    def __call__(self, file: BinaryIO, name: str, scene: int = 0) -> SliceReader:
        """Open an image, as `readers.probe.open_image` says; foreign ones with Bio-Formats."""
        if not self._jar or not is_for_bioformats(name):
            return open_image(file, name, scene)
        path = _path_of(file, name)
        with self._lock:
            child = self._child = self._child or _Child(self._jar, name)
            described = self._described.get(path)
            if described is None:
                described = child.ask(name, do="describe", path=path)
                _ensure_alone(path, described["files"], name)
                described["images"] = describe_images(described.pop("xml"), name)
                self._described[path] = described
        size = os.fstat(file.fileno()).st_size
        return BioformatsReader(child, path, described, name, scene, size)

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.close()
            self._child = None


def is_for_bioformats(name: str) -> bool:
    """Tell whether a file is handed to Bio-Formats, where its jar is set."""
    return PurePosixPath(name.lower()).suffix in BIOFORMATS_SUFFIXES


class BioformatsReader:
    """One series of a file; the child is shared, and its owner's to close."""

    def __init__(
        self,
        child: "_Child",
        path: str,
        described: Mapping[str, Any],
        name: str,
        scene: int,
        file_bytes: int,
    ) -> None:
        self._child, self._path, self._name = child, path, name
        wanted = [at for at, one in enumerate(described["series"]) if not one["is_thumbnail"]]
        if scene >= len(wanted):
            raise no_such_image(name, scene, len(wanted))
        self._at = wanted[scene]
        self._series = series = described["series"][self._at]
        pixels = _pixels_of(series, name)
        itemsize = np.dtype(pixels.dtype_name).itemsize * pixels.samples
        check_declared_size(name, series["size_x"], series["size_y"], itemsize, file_bytes)
        images = described["images"]
        _, voxel_size, channels = images[self._at]
        notes = [f"read with Bio-Formats {child.version} as {described['format']}"]
        if series["levels"] > 1:
            notes.append(f"{series['levels'] - 1} coarser levels left out")
        if len(wanted) < len(described["series"]):
            notes.append(f"{len(described['series']) - len(wanted)} thumbnails left out")
        self.info = ImageInfo(
            reader="bioformats",
            size_t=series["size_t"],
            size_c=series["size_c"],
            size_z=series["size_z"],
            size_y=series["size_y"],
            size_x=series["size_x"],
            pixels=pixels,
            voxel_size_nm=voxel_size,
            voxel_size_source="Bio-Formats PhysicalSize" if any(voxel_size) else "",
            channels=channels if len(channels) == series["size_c"] and pixels.samples == 1 else (),
            is_z_declared=True,
            is_time_declared=True,
            notes=tuple(notes),
            scenes=tuple(images[at][0] for at in wanted) if len(wanted) > 1 else (),
            scene=scene,
        )

    def read_plane(self, t: int, c: int, z: int, rows: tuple[int, int]) -> NDArray[Any]:
        """Return all rows of one plane, as `SliceReader.read_plane` says."""
        answer, data = self._child.ask_for_bytes(
            self._name, do="plane", path=self._path, series=self._at, t=t, c=c, z=z
        )
        info = self.info
        samples = info.pixels.samples
        dtype = np.dtype(info.pixels.dtype_name).newbyteorder("<" if answer["is_little"] else ">")
        values = np.frombuffer(data, dtype)
        shape = (info.size_y, info.size_x) if samples == 1 else (info.size_y, info.size_x, samples)
        if samples > 1 and not answer["is_interleaved"]:
            values = _interleaved(values, shape, answer["rows"])
        plane = values.reshape(shape)
        if not dtype.isnative:
            plane = plane.astype(dtype.newbyteorder("="))
        return plane[rows[0] : rows[1]]

    def palette_rgb(self) -> NDArray[Any] | None:
        """Return None: images with a palette are refused."""
        return None

    def close(self) -> None:
        """Do nothing: the child keeps its file for the next plane."""


class _Child:
    """The child process, and who may speak to it: one thread at a time."""

    def __init__(self, jar: str, name: str) -> None:
        if find_spec("jpype") is None:
            line = 'pip install "stackwatch[bioformats]"'
            raise UnsupportedFormatError(
                f"“{show_path(name)}” is left to Bio-Formats, which needs the Python package "
                f"jpype1, and that is not installed. Run `{line}` and start the service again.",
                hint=f"Run `{line}` and start the service again.",
                path=show_path(name),
                package="jpype1",
                extra="bioformats",
            )
        if not os.path.isfile(jar):  # noqa: PTH113 - a setting may hold any text
            raise _no_start(name, f"there is no file “{show_path(jar)}”")
        self._lock = threading.Lock()
        command = (sys.executable, "-m", "stackwatch.readers.bioformats_child", jar)
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            with self._lock:
                self.version = str(self._listen(name)["version"])
        except BaseException:
            self.close()
            raise

    def ask(self, name: str, **request: Any) -> dict[str, Any]:
        """Return the answer to a request.

        Raises
        ------
        CorruptSliceError
            Bio-Formats could not read the file, or broke down over it.
        """
        with self._lock:
            return self._exchange(name, request)

    def ask_for_bytes(self, name: str, **request: Any) -> tuple[dict[str, Any], bytes]:
        """Return the answer to a request, and the bytes that follow it."""
        with self._lock:
            answer = self._exchange(name, request)
            assert self._process.stdout is not None
            data = self._process.stdout.read(answer["bytes"])
        if len(data) != answer["bytes"]:
            raise self._broken(name)
        return answer, data

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # what was not sent to a dead child
                    continue
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _exchange(self, name: str, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._broken(name) from error
        return self._listen(name)

    def _listen(self, name: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], _PATIENCE_S)[0]:
            self._process.kill()  # some damaged headers are read for ever
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._broken(name)
        answer: dict[str, Any] = json.loads(line)
        if answer.get("kind") == "start":
            raise _no_start(name, answer["error"])
        if "error" in answer:
            hint = "Copy the file again, or export it as OME-TIFF."
            raise CorruptSliceError(
                f"Bio-Formats cannot read “{show_path(name)}” ({answer['error']}): it is damaged "
                f"or of a kind that Bio-Formats does not know. {hint}",
                hint=hint,
                path=show_path(name),
            )
        return answer

    def _broken(self, name: str) -> CorruptSliceError:
        hint = "Copy the file again, or export it as OME-TIFF."
        return CorruptSliceError(
            f"Bio-Formats ended while it read “{show_path(name)}”, or took more than "
            f"{_PATIENCE_S:g} s: the file is damaged, or needs more memory than the 1 GiB that "
            f"Bio-Formats has. {hint}",
            hint=hint,
            path=show_path(name),
        )


def _no_start(name: str, why: str) -> UnsupportedFormatError:
    return UnsupportedFormatError(
        f"“{show_path(name)}” is left to Bio-Formats, which does not start: {why}. {_START_HINT}",
        hint=_START_HINT,
        path=show_path(name),
    )


def _path_of(file: BinaryIO, name: str) -> str:
    """Return the path of an opened file: Bio-Formats goes by names, and opens files itself."""
    try:
        number = file.fileno()
        path = os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115 - no file is looked for
        there, opened = os.lstat(path), os.fstat(number)
    except OSError as error:
        hint = "Unpack the archive."
        raise ReadError(
            f"“{show_path(name)}” is left to Bio-Formats, which reads files where they lie. {hint}",
            hint=hint,
            path=show_path(name),
        ) from error
    is_named = PurePosixPath(path).suffix.lower() == PurePosixPath(name).suffix.lower()
    if (there.st_dev, there.st_ino) != (opened.st_dev, opened.st_ino) or not is_named:
        hint = "Unpack the archive, or wait until nothing writes to it."
        raise ReadError(
            f"“{show_path(name)}” is left to Bio-Formats, but does not lie at a place of its own. "
            f"{hint}",
            hint=hint,
            path=show_path(name),
        )
    return path


def _ensure_alone(path: str, files: list[str], name: str) -> None:
    """Refuse what is spread over files that nobody compared with the listing."""
    others = [file for file in files if os.path.realpath(file) != os.path.realpath(path)]
    if others:
        shown = show_path(PurePosixPath(others[0]).name)
        raise unsupported(
            name,
            f"images that are spread over {len(others) + 1} files (“{shown}” …)",
            "Export it as one OME-TIFF, as with bfconvert of Bio-Formats.",
        )


def _pixels_of(series: Mapping[str, Any], name: str) -> PixelFormat:
    kind, samples = series["type"], series["samples"]
    hint = "Export it as OME-TIFF."
    if not 0 <= kind < len(_DTYPES):
        raise unsupported(name, "single bits or complex numbers, by Bio-Formats", hint)
    if series["has_palette"]:
        raise unsupported(name, "an image with a table of colours, by Bio-Formats", hint)
    if samples not in {1, 3, 4}:
        raise unsupported(name, f"{samples} values in each pixel", hint)
    return PixelFormat(
        _DTYPES[kind], "rgb" if samples > 1 else "grey", samples, has_alpha=samples == 4
    )


def _interleaved(values: NDArray[Any], shape: tuple[int, ...], rows_at_once: int) -> NDArray[Any]:
    """Return the samples of each pixel side by side; they came plane by plane, rows at a time."""
    plane = np.empty(shape, values.dtype)
    row = values.size // shape[0]
    for first in range(0, shape[0], rows_at_once):
        last = min(first + rows_at_once, shape[0])
        part = values[first * row : last * row].reshape(shape[2], last - first, shape[1])
        plane[first:last] = np.moveaxis(part, 0, -1)
    return plane
