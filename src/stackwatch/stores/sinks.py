"""Where the bytes of shards go: into files that the disk keeps, or into a bucket."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from stackwatch.stores.objects import Objects


class Flusher:
    """Asks the disk to keep finished shards, beside the work: write-back overlaps with encoding."""

    def __init__(self, threads: int = 2) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="flush")
        self._waiting: list[Future[None]] = []
        self._lock = threading.Lock()

    def submit(self, work: Callable[[], None]) -> "Future[None]":
        """Do something in the background; `wait` raises what went wrong."""
        with self._lock:
            self._waiting.append(self._pool.submit(work))
            return self._waiting[-1]

    def close_durably(self, descriptor: int) -> None:
        """Flush and close a file in the background."""
        self.submit(lambda: _sync_and_close(descriptor))

    def wait(self) -> None:
        """Return when everything handed in so far is on the disk."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for future in waiting:
            future.result()

    def stop(self) -> None:
        """End the threads; closes what was handed in."""
        self._pool.shutdown(wait=True)


class ShardSink(Protocol):
    """Where the bytes of one shard go, in order."""

    def write(self, buffers: list[Any]) -> int:
        """Append buffers; return how many bytes that were."""
        ...

    def finish(self, flusher: Flusher) -> "Future[None] | None":
        """Let the shard appear in its place for good, in the background.

        Returns
        -------
        Future or None
            What to wait for before too many are on their way, if it holds memory until then.
        """
        ...

    def abort(self) -> None:
        """Let go of what was written."""
        ...


OpenSink = Callable[[str], ShardSink]
"""Begins the shard of a path below the dataset's root."""


class FileSink:
    """A shard in a file.

    Parameters
    ----------
    root : Path
        The dataset's directory.
    path : str
        The shard's path below it.
    workshop : Path or None
        A folder on the same file system where the file grows until it is whole, if somebody else
        may be writing the same shard. None: it grows in its place.
    """

    def __init__(self, root: Path, path: str, workshop: Path | None = None) -> None:
        self._root = root
        self._place = root / path
        self._file = self._place if workshop is None else workshop / path.replace("/", "~")
        if workshop is None:
            _make_folders(root, self._place.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._descriptor: int | None = os.open(self._file, flags, 0o666)

    def write(self, buffers: list[Any]) -> int:
        """Append buffers; return how many bytes that were."""
        assert self._descriptor is not None
        return write_fully(self._descriptor, [memoryview(buffer) for buffer in buffers])

    def finish(self, flusher: Flusher) -> None:
        """Flush the file, and put it into its place, in the background."""
        assert self._descriptor is not None
        descriptor, self._descriptor = self._descriptor, None
        flusher.submit(lambda: self._keep(descriptor))

    def abort(self) -> None:
        """Close the file without finishing it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _keep(self, descriptor: int) -> None:
        _sync_and_close(descriptor)
        if self._file != self._place:  # another process may have put the same one there
            _make_folders(self._root, self._place.parent)
            self._file.rename(self._place)


class ObjectSink:
    """A shard in a bucket: nobody sees it before all of it was sent."""

    def __init__(self, objects: Objects, key: str) -> None:
        self._objects = objects
        self._writer = objects.open_writer(key)

    def write(self, buffers: list[Any]) -> int:
        """Append buffers; return how many bytes that were."""
        data = b"".join(buffers)
        with self._objects.errors():
            self._writer.write(data)
        return len(data)

    def finish(self, flusher: Flusher) -> "Future[None]":
        """Complete the object in the background; until then its last parts are in memory."""
        writer, self._writer = self._writer, None

        def complete() -> None:
            with self._objects.errors():
                writer.close()

        return flusher.submit(complete)

    def abort(self) -> None:
        """Have the bucket forget the parts that were sent: they are no object, but are paid for.

        Not where the store has just been waited for in vain.
        """
        writer, self._writer = self._writer, None
        if writer is not None and not self._objects.is_given_up:
            error = RuntimeError("given up")
            with suppress(Exception):  # then the bucket's own rule removes them
                writer.__exit__(RuntimeError, error, None)  # closing would make an object of it


def _sync_and_close(descriptor: int) -> None:
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _make_folders(root: Path, folder: Path) -> None:
    """Create a folder below `root`, but not `root`: where it is gone, nobody wants the file."""
    try:
        folder.mkdir(exist_ok=True)
    except FileNotFoundError:
        if folder == root:
            raise
        _make_folders(root, folder.parent)
        folder.mkdir(exist_ok=True)


def write_fully(descriptor: int, views: list[memoryview]) -> int:
    """Write all views, however often the kernel takes only a part."""
    total = sum(view.nbytes for view in views)
    left = total
    while left:
        written = os.writev(descriptor, views)
        left -= written
        if left:
            views = _after(views, written)
    return total


def _after(views: list[memoryview], written: int) -> list[memoryview]:
    for number, view in enumerate(views):
        if written < view.nbytes:
            return [view[written:], *views[number + 1 :]]
        written -= view.nbytes
    return []
