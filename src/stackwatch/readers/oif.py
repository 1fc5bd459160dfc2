"""Olympus OIF: the settings of an acquisition, and beside them `NAME.oif.files` with its TIFFs.

What an OIB holds in one document, an OIF spreads over a folder; the parser is the same.

Source: as for OIB, `readers.oib`.
"""

from collections.abc import Mapping
from io import BytesIO
from typing import Any, BinaryIO, Final

import oiffile

from stackwatch.errors import StackwatchError, VanishedError
from stackwatch.model.acquisition import show_path
from stackwatch.readers.damage import damaged_header
from stackwatch.readers.folder import FolderView
from stackwatch.readers.oib import DOCUMENT_ERRORS, DocumentReader, parse_document
from stackwatch.readers.protocol import RawPlane

FILES_SUFFIX: Final = ".files"
"""What the folder is called after the name of the settings."""


def open_oif(view: FolderView, anchor: str) -> "OifReader":
    """Read the settings of an OIF and return its reader.

    Parameters
    ----------
    view : FolderView
    anchor : str
        The `.oif` file.

    Raises
    ------
    CorruptSliceError, UnsupportedFormatError, LimitExceededError
        The caller passes them on.
    """

    def opened() -> _OifFolder:
        return _OifFolder(view, anchor)

    try:
        planes, info = parse_document(opened(), anchor, "oif")
    except StackwatchError:
        raise
    except DOCUMENT_ERRORS as error:
        raise damaged_header(anchor, f"{type(error).__name__}: {error}") from error
    return OifReader(opened, anchor, planes, info)


class OifReader(DocumentReader):
    """An opened OIF; `readers.probe.open_image` is the way in."""

    def reopened(self, file: BinaryIO) -> "OifReader":
        """Return a reader of the same content for another thread."""
        del file  # the settings were read, and the planes are files of their own
        return OifReader(self._open_document, self._name, self._planes, self.info)

    def raw_plane(self, t: int, c: int, z: int) -> RawPlane | None:
        """Return None: each plane is a file of its own."""
        del t, c, z
        return None

    def byte_span(self, t: int, c: int, z: int) -> tuple[int, int]:
        """Return two equal numbers: no plane lies in the file with the settings."""
        del t, c, z
        return 0, 0


class _OifFolder:
    """The files of an OIF."""

    def __init__(self, view: FolderView, anchor: str) -> None:
        self._view = view
        self._folder = anchor + FILES_SUFFIX
        settings = BytesIO(view.read(anchor) or b"")
        self.mainfile: Mapping[str, Any] = dict(oiffile.SettingsFile(settings, anchor))

    def files(self) -> tuple[str, ...]:
        """Return the paths of all files in the folder."""
        return tuple(f"{self._folder}/{name}" for name in self._view.names_in(self._folder))

    def open_file(self, name: str) -> BytesIO:
        """Return one file."""
        data = self._view.read(name)
        if data is None:
            raise VanishedError(f"“{show_path(name)}” is not there any more.", path=show_path(name))
        return BytesIO(data)

    def close(self) -> None:
        """Do nothing: no file stays open."""
