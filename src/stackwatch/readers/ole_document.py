"""The OLE document of an OIB: its files, by the names that `OibInfo.txt` gives them.

oiffile reads the document; how much of it, is bounded here.

Source: MS-CFB, Microsoft's description of compound files; the document's own `OibInfo.txt`.
"""

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any, Final

import oiffile

_CONTENTS: Final = "OibInfo.txt"


class _Compound(oiffile.CompoundFile):  # type: ignore[misc]  # the library has no types
    """An OLE document that is never read further than it is long.

    Its tables say of each sector which one follows. Where they are damaged a chain may lead back
    into itself, and oiffile would follow it until no memory is left.
    """

    def _fromfile(self) -> None:
        self._bytes = os.fstat(self._fh.fileno()).st_size
        self._left = self._bytes
        super()._fromfile()

    def open_file(self, filename: str, /) -> BytesIO:
        self._left = self._bytes
        found: BytesIO = super().open_file(filename)
        return found

    def _sec_read(self, secid: int, /) -> bytes:
        self._take(self.sec_size)
        found: bytes = super()._sec_read(secid)
        return found

    def _mini_sec_read(self, secid: int, /) -> bytes:
        self._take(self.short_sec_size)
        found: bytes = super()._mini_sec_read(secid)
        return found

    def _take(self, count: int) -> None:
        if self._left <= 0:
            raise ValueError(f"its tables name more than the {self._bytes:,} bytes of the file")
        self._left -= count


class OleDocument:
    """The files in an OLE document by the names that `OibInfo.txt` gives them.

    oiffile's own class for this leaves the file open where it fails.
    """

    def __init__(self, path: str) -> None:
        self._compound = _Compound(path)
        try:
            stored = {PurePosixPath(found).name: found for found in self._compound.files()}
            if _CONTENTS not in stored:
                self._names, self.mainfile = {}, {}
                return
            info = self._settings(stored[_CONTENTS])["OibSaveInfo"]
            self._names = {
                str(name): stored[stream]
                for stream, name in info.items()
                if stream.startswith("Stream")
            }
            self.mainfile = self._settings(self._names[info[info["MainFileName"]]])
        except BaseException:
            self._compound.close()
            raise

    def files(self) -> Sequence[str]:
        """Return the names of all files; none where this is no OIB."""
        return tuple(self._names)

    def open_file(self, name: str) -> BytesIO:
        """Return one file."""
        return self._compound.open_file(self._names[name])

    def close(self) -> None:
        """Close the document."""
        self._compound.close()

    def _settings(self, stored: str) -> dict[str, Any]:
        return dict(oiffile.SettingsFile(self._compound.open_file(stored), stored))
