"""What one conversion knows of its source files: open readers, digests, stat marks.

Digests cost no second reading where the converter reads anyway: a plane without a decoder is
hashed in the slab it was read into; before other planes are decoded, the digest runs over their
bytes and so pulls them into the page cache.
"""

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from typing import BinaryIO

import xxhash

from stackwatch.errors import VanishedError
from stackwatch.model.acquisition import FileEntry, show_path
from stackwatch.model.plan import StackPlan
from stackwatch.readers.folder import FolderView, is_anchor
from stackwatch.readers.positional import PositionalFile
from stackwatch.readers.probe import open_image
from stackwatch.readers.protocol import ByteRanges, ImageOpener, Reopens, SliceReader
from stackwatch.readers.source import AcquisitionFiles

_OPEN_READERS = 32
"""Idle readers kept open, each with a file descriptor; one for each thread at work on top."""

_PARSED_FILES = 4
"""Files with many planes whose headers are remembered: each thread opens them for itself."""

_BLOCK_BYTES = 2**20
_LARGEST_LEAP_BYTES = 2**26
"""How far the digest runs ahead of a plane that lies further on in the file. A file whose planes
are read in another order than they lie in is digested at the end instead."""


class FileDigest:
    """The running digest of one file: always of its first `position` bytes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.position = 0
        self.lock = threading.Lock()
        self._hash = xxhash.xxh3_128()

    @property
    def is_done(self) -> bool:
        """Whether the whole file is in it."""
        return self.position >= self.size

    def reaches(self, offset: int) -> bool:
        """Tell whether running up to `offset` is a step forward of reasonable length."""
        return self.position <= offset <= self.position + _LARGEST_LEAP_BYTES

    def update(self, view: memoryview | bytes) -> None:
        """Take the bytes that follow."""
        self._hash.update(view)
        self.position += len(view)

    def run_to(self, file: PositionalFile, end: int, block: memoryview) -> int:
        """Read and take everything up to `end`; return how many bytes that were."""
        start = self.position
        while self.position < end:
            part = block[: min(len(block), end - self.position)]
            file.read_into(self.position, part)
            self.update(part)
        return self.position - start

    def hexdigest(self) -> str:
        """Return the digest so far."""
        return str(self._hash.hexdigest())


class OpenedFile:
    """One image of a file in use by one thread: its bytes, its reader, its digest."""

    def __init__(
        self,
        entry: FileEntry,
        file: BinaryIO,
        digest: FileDigest,
        scene: int = 0,
        parsed: SliceReader | None = None,
        opener: ImageOpener = open_image,
    ) -> None:
        self.entry = entry
        self.scene = scene
        self.digest = digest
        self.file = file
        self.bytes = PositionalFile(file, entry.path)
        self.is_checked = False
        """Whether its pixels were compared with the plan."""
        self._parsed = parsed
        self._opener = opener
        self._reader: SliceReader | None = None

    @property
    def reader(self) -> SliceReader:
        """The reader, opened when it is first asked for."""
        if self._reader is None:
            parsed: object = self._parsed  # a reader may or may not be able to reopen
            if isinstance(parsed, Reopens):
                self._reader = parsed.reopened(self.file)
            else:
                self._reader = self._opener(self.file, self.entry.path, self.scene)
        return self._reader

    @cached_property
    def ranges(self) -> ByteRanges | None:
        """The reader, if it knows where its planes lie."""
        return self.reader if isinstance(self.reader, ByteRanges) else None

    def close(self) -> None:
        """Close reader and file."""
        if self._reader is not None:
            self._reader.close()
        self.file.close()


class SourceBook:
    """The source files of one conversion, shared by all its `StackSource`s. Safe in many threads.

    Parameters
    ----------
    files : AcquisitionFiles
        Stays the caller's to close.
    entries : mapping of str to FileEntry
        Every file that may be read, by its relative path.
    opener : ImageOpener
        Opens the images of this acquisition.
    """

    def __init__(
        self,
        files: AcquisitionFiles,
        entries: Mapping[str, FileEntry],
        opener: ImageOpener = open_image,
    ) -> None:
        self.files = files
        self._opener = opener
        self._entries = entries
        self._view = FolderView(files, entries, self._take_whole)
        self._lock = threading.Lock()
        self._digests: dict[str, FileDigest] = {}
        self._adopted: dict[str, str] = {}
        self._left: set[str] = set()
        self._idle: OrderedDict[int, OpenedFile] = OrderedDict()
        self._parsed: OrderedDict[tuple[str, int], SliceReader] = OrderedDict()
        self._local = threading.local()
        self._bytes_read = 0
        self._is_finished = False
        self._uses: dict[int, tuple[StackPlan, Counter[int]]] = {}
        self._clipped: Counter[int] = Counter()

    def uses_of(self, plan: StackPlan) -> Counter[int]:
        """Return how many planes of each file a stack reads, all timepoints; counted once."""
        with self._lock:
            found = self._uses.get(id(plan))
            if found is None:
                uses = Counter(ref.file for planes in plan.planes_tz for ref in planes)
                found = self._uses[id(plan)] = (plan, uses)
        return found[1]

    @property
    def bytes_read(self) -> int:
        """Bytes of source files read so far; what is read again after its digest does not count."""
        return self._bytes_read

    def count_bytes(self, count: int) -> None:
        """Add to `bytes_read`."""
        with self._lock:
            self._bytes_read += count

    def count_clipped(self, plan: StackPlan, count: int) -> None:
        """Add to `clipped_of`."""
        with self._lock:
            self._clipped[id(plan)] += count

    def clipped_of(self, plan: StackPlan) -> int:
        """Return how many values of a stack were clipped so far, each time they were read."""
        return self._clipped[id(plan)]

    @property
    def block(self) -> memoryview:
        """Buffer of the calling thread for bytes that are only hashed."""
        found: memoryview | None = getattr(self._local, "block", None)
        if found is None:
            found = self._local.block = memoryview(bytearray(_BLOCK_BYTES))
        return found

    @contextmanager
    def borrowed(self, rel: str, *, keep: bool, scene: int = 0) -> Iterator[OpenedFile]:
        """Lend one image of a file, opened, to one thread.

        Parameters
        ----------
        rel : str
        keep : bool
            Whether it stays open for the next borrower. What is not kept is compared with its
            stat mark once more when it is closed.
        scene : int
            Which image, where the file holds several.

        Raises
        ------
        ChangedDuringConversionError, VanishedError, ReadError
            The caller passes them on.
        """
        opened = self._take_idle(rel, scene) or self._open(rel, scene)
        try:
            yield opened
            if not keep:
                self.files.check(opened.entry, opened.file)
        except BaseException:
            opened.close()
            raise
        if keep:
            self._give_back(opened)
        else:
            opened.close()

    def finish(self) -> None:
        """Complete the digest of every file that was read, and check all stat marks again.

        Raises
        ------
        ChangedDuringConversionError
            Something wrote to the acquisition meanwhile; the caller starts anew.
        VanishedError
        """
        for rel, digest in sorted(self._digests.items()):
            if not (digest.is_done or rel in self._adopted):
                with self.borrowed(rel, keep=False) as opened, digest.lock:
                    self.count_bytes(digest.run_to(opened.bytes, digest.size, self.block))
            self.files.check(self._entries[rel])
        self._is_finished = True

    def leave_digests(self, files: Iterable[str]) -> None:
        """Neither digest nor count these files: somebody else does, who reads all of them."""
        with self._lock:
            for rel in files:
                self._expect(rel).position = self._entries[rel].size
                self._left.add(rel)

    def known_digests(self) -> dict[str, str]:
        """Return the digests that are complete by now, by relative path."""
        with self._lock:
            done = [(rel, digest) for rel, digest in self._digests.items() if digest.is_done]
        return {rel: digest.hexdigest() for rel, digest in done if rel not in self._left}

    def adopt_digests(self, files: Iterable[str], digests: Mapping[str, str]) -> None:
        """Count files as read that other processes have read.

        Parameters
        ----------
        files : iterable of str
            All of them; `finish` reads through those of which no digest is known.
        digests : mapping of str to str
            Of those that one process has read from end to end.
        """
        with self._lock:
            for rel in files:
                self._expect(rel)
            for rel, digest in digests.items():
                self._adopted[rel] = digest
                self._expect(rel).position = self._entries[rel].size  # it is not read again

    def _expect(self, rel: str) -> FileDigest:
        """Return the running digest of a file, begun if there is none. Under the lock."""
        if is_anchor(rel):  # all files are parts of this image
            for path, other in self._entries.items():
                self._digests.setdefault(path, FileDigest(other.size))
        return self._digests.setdefault(rel, FileDigest(self._entries[rel].size))

    def file_digests(self) -> dict[str, str]:
        """Return the xxh3_128 hex digest of every file read, by relative path; after `finish`."""
        assert self._is_finished, "digests are complete only after finish()"
        own = {rel: digest.hexdigest() for rel, digest in self._digests.items()}
        return dict(sorted((own | self._adopted).items()))

    def close(self) -> None:
        """Close all idle readers."""
        with self._lock:
            idle, self._idle = self._idle, OrderedDict()
        for opened in idle.values():
            opened.close()

    def _open(self, rel: str, scene: int) -> OpenedFile:
        entry = self._entries.get(rel)
        if entry is None:
            raise VanishedError(f"“{show_path(rel)}” is not in the listing.", path=show_path(rel))
        file = self.files.open(rel)
        try:
            self.files.check(entry, file)
            with self._lock:
                digest = self._expect(rel)
                parsed = self._parsed.get((rel, scene))
                opener = self._opener
                if is_anchor(rel):
                    opener = partial(open_image, view=self._view)
            return OpenedFile(entry, file, digest, scene, parsed, opener)
        except BaseException:
            with suppress(OSError):
                file.close()
            raise

    def _take_whole(self, rel: str, data: bytes) -> None:
        """Digest a file that a reader has read by itself: it is not read again."""
        digest = self._digests.get(rel)
        if digest is None:
            return
        with digest.lock:
            if digest.position:
                return
            digest.update(data)
        self.count_bytes(len(data))

    def _take_idle(self, rel: str, scene: int) -> OpenedFile | None:
        with self._lock:
            for key, opened in self._idle.items():
                if (opened.entry.path, opened.scene) == (rel, scene):
                    return self._idle.pop(key)
        return None

    def _give_back(self, opened: OpenedFile) -> None:
        with self._lock:
            if opened.is_checked:  # its headers were read, and fit the plan
                self._parsed.setdefault((opened.entry.path, opened.scene), opened.reader)
            if len(self._parsed) > _PARSED_FILES:
                self._parsed.popitem(last=False)
            self._idle[id(opened)] = opened
            oldest = self._idle.popitem(last=False)[1] if len(self._idle) > _OPEN_READERS else None
        if oldest is not None:
            oldest.close()
