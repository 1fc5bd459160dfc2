"""Texts that an instrument's program writes beside images: read whole, and part of the content."""

import threading
from collections.abc import Mapping
from typing import Final

import xxhash

from stackwatch.errors import CorruptSliceError, LimitExceededError
from stackwatch.model.acquisition import FileEntry, show_path
from stackwatch.readers.source import AcquisitionFiles

LARGEST_TEXT_BYTES: Final = 2**28
"""Metadata of every plane of a long acquisition comes to tens of megabytes."""


class TextFiles:
    """The texts of an acquisition by their path. Safe in many threads.

    Parameters
    ----------
    files : AcquisitionFiles
    entries : mapping of str to FileEntry
        What is listed; nothing else is opened.
    """

    def __init__(self, files: AcquisitionFiles, entries: Mapping[str, FileEntry]) -> None:
        self._files = files
        self._entries = entries
        self._digests: dict[str, str] = {}
        self._lock = threading.Lock()

    def __call__(self, path: str, *, head: int = 0, tail: int = 0, is_content: bool = True) -> str:
        """Return a text, in whatever encoding it says or is.

        Parameters
        ----------
        path : str
            Of a listed file.
        head, tail : int
            Bytes of its beginning, or of its end, that are enough; 0 for all of it.
        is_content : bool
            Whether what it says decides on the dataset, and so on the content digest.

        Raises
        ------
        LimitExceededError
            It is too large to be such a text.
        ChangedDuringConversionError, VanishedError, ReadError
            The caller passes them on.
        """
        entry = self._entries[path]
        start = max(0, entry.size - tail) if tail else 0
        count = min(entry.size - start, head or entry.size)
        if count > LARGEST_TEXT_BYTES:
            raise _too_large(entry)
        with self._files.open(path) as file:
            self._files.check(entry, file)
            file.seek(start)
            data = file.read(count)
        if len(data) != count:
            raise CorruptSliceError(
                f"“{show_path(path)}” gave {len(data):,} bytes and should have {count:,}. Check "
                "the disk or the network mount.",
                hint="Check the disk or the network mount.",
                path=show_path(path),
            )
        if is_content:
            with self._lock:
                self._digests[show_path(path)] = xxhash.xxh3_128_hexdigest(data)
        return decode_text(data)

    def meaning(self) -> dict[str, str]:
        """Return the digest of each text that was read as content, by its path."""
        with self._lock:
            return dict(sorted(self._digests.items()))


def decode_text(data: bytes) -> str:
    """Return a text: UTF-16 where it begins with its mark, UTF-8, else Latin-1.

    Examples
    --------
    >>> decode_text("µm".encode("utf-16")), decode_text("µm".encode("latin-1"))
    ('µm', 'µm')
    """
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _too_large(entry: FileEntry) -> LimitExceededError:
    hint = f'If it does not belong to the acquisition, set `ignore = ["{show_path(entry.path)}"]`.'
    return LimitExceededError(
        f"“{show_path(entry.path)}” has {entry.size:,} bytes; texts beside images are read up to "
        f"{LARGEST_TEXT_BYTES:,}. {hint}",
        hint=hint,
        path=show_path(entry.path),
    )
