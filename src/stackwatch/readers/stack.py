"""The slices of one stack, for the engine: files opened, read, digested and turned into voxels."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from stackwatch.model.acquisition import FileEntry
from stackwatch.model.plan import BLACK, StackPlan
from stackwatch.readers.pixels import apply_treatment
from stackwatch.readers.probe import open_image
from stackwatch.readers.source import AcquisitionFiles


class SourceBook:
    """What one conversion knows of its source files: open readers, digests, stat marks.

    Parameters
    ----------
    files : AcquisitionFiles
        Stays the caller's to close.
    entries : mapping of str to FileEntry
        Every file that may be read, by its relative path.
    """

    def __init__(self, files: AcquisitionFiles, entries: Mapping[str, FileEntry]) -> None:
        self.files = files
        self.entries = entries

    @property
    def bytes_read(self) -> int:
        """Bytes read from the source so far."""
        return 0

    def finish(self) -> None:
        """Complete the digest of every file that was read, and check all stat marks again.

        Raises
        ------
        ChangedDuringConversionError, VanishedError
        """

    def file_digests(self) -> dict[str, str]:
        """Return the xxh3_128 hex digest of every file read, by relative path; after `finish`."""
        return {}

    def close(self) -> None:
        """Close all open readers."""


class StackSource:
    """The `SliceSource` of one timepoint of a stack; keys are 0 to z - 1.

    Parameters
    ----------
    book : SourceBook
        Shared by all StackSources of a conversion.
    plan : StackPlan
    t : int
        Timepoint.
    """

    def __init__(self, book: SourceBook, plan: StackPlan, t: int) -> None:
        self._book = book
        self._plan = plan
        self._planes = plan.planes_tz[t]

    @property
    def can_read_rows(self) -> bool:
        """Whether reading some rows costs about their share of the whole slice."""
        return self._plan.can_read_rows and self._plan.treatment.orientation == 1

    @property
    def decode_bytes(self) -> int:
        """Memory that one call of `read_slice_into` needs beside `outs`, in bytes."""
        return 64 * 2**20

    def iter_keys(self) -> Iterator[int]:
        """Yield the index of each slice."""
        yield from range(len(self._planes))

    def read_slice_into(
        self, key: int, outs: Sequence[NDArray[Any]], rows: tuple[int, int]
    ) -> None:
        """Decode rows of one slice into the caller's arrays."""
        ref = self._planes[key]
        if ref.file == BLACK:
            for out in outs:
                out[...] = 0
            return
        rel = self._plan.files[ref.file]
        with self._book.files.open(rel) as file:
            reader = open_image(file, rel)
            plane = reader.read_plane(ref.t, ref.c, ref.z, rows)
            apply_treatment(plane, self._plan.treatment, reader.palette_rgb(), outs, rel)
            reader.close()
