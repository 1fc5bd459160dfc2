"""Files in pieces: which there are, how one is worded, how many go at the same time."""

import contextlib
import os
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stackwatch.errors import (
    CancelledError,
    DeliveryRefusedError,
    SourceUnreadableError,
    StackwatchError,
)
from stackwatch.model.acquisition import show_path
from stackwatch.webknossos.local import SentFile

PIECE_BYTES: Final = 1 << 20
"""So much of a chunk is in memory at a time."""
LARGEST_CHUNK: Final = 1 << 30
"""The protocol could take twice that; servers do not."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a file.

    Attributes
    ----------
    file : SentFile
    number : int
        From 1.
    count : int
        Of the file's chunks.
    start, size : int
        Bytes.
    """

    file: SentFile
    number: int
    count: int
    start: int
    size: int


def iter_chunks(files: Iterable[SentFile], chunk_bytes: int) -> Iterator[Chunk]:
    """Yield the chunks of all files, in order.

    Examples
    --------
    >>> [chunk.size for chunk in iter_chunks([SentFile("a", 10, 0)], 4)]
    [4, 4, 2]
    """
    for file in files:
        count = -(-file.size // chunk_bytes)
        for number in range(1, count + 1):
            start = (number - 1) * chunk_bytes
            yield Chunk(file, number, count, start, min(chunk_bytes, file.size - start))


class ChunkForm:
    """The multipart form of one chunk, piece by piece; may be sent again.

    Parameters
    ----------
    root : Path
        The dataset.
    chunk : Chunk
    fields : dict
        Form fields.
    on_sent : callable
        Told the bytes of the file as they go out; may raise to stop.
    """

    def __init__(
        self, root: Path, chunk: Chunk, fields: dict[str, str], on_sent: Callable[[int], None]
    ) -> None:
        self._root = root
        self._chunk = chunk
        self._on_sent = on_sent
        boundary = uuid.uuid4().hex
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        ]
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="blob"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        self._head = "".join(parts).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(self._head) + chunk.size + len(self._tail)),
        }

    def __iter__(self) -> Iterator[bytes]:
        """Yield the body.

        Raises
        ------
        DeliveryRefusedError
            The file is not what it was when the delivery began.
        SourceUnreadableError
            The disk or the share gives an error; it may be tried again.
        """
        path = self._root / self._chunk.file.path
        with _reading(path):
            file = path.open("rb", buffering=0)
        with file:
            with _reading(path):
                self._check(path, os.fstat(file.fileno()))
            yield self._head
            at, end = self._chunk.start, self._chunk.start + self._chunk.size
            while at < end:
                with _reading(path):
                    piece = os.pread(file.fileno(), min(PIECE_BYTES, end - at), at)
                if not piece:
                    raise _changed(path)
                at += len(piece)
                yield piece
                self._on_sent(len(piece))
        yield self._tail

    def _check(self, path: Path, found: os.stat_result) -> None:
        file = self._chunk.file
        if (found.st_size, found.st_mtime_ns) != (file.size, file.mtime_ns):
            raise _changed(path)


def run_threads(
    work: Callable[[], None],
    count: int,
    stop: threading.Event,
    watch: Callable[[], None],
    hurry: Callable[[], None] = lambda: None,
) -> None:
    """Run `work` in several threads until all return; the first error stops and outlives them.

    Parameters
    ----------
    work : callable
        Returns when there is nothing more to do, or soon after `stop` is set.
    count : int
    stop : threading.Event
    watch : callable
        Called a few times per second meanwhile; what it raises stops them too.
    hurry : callable
        Called now and then while they are to end and have not.
    """
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - it is raised again, in the caller's thread
            errors.append(error)
            stop.set()

    threads = [threading.Thread(target=guarded, name=f"sender-{at}") for at in range(count)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)
                watch()
                if stop.is_set():
                    hurry()
    finally:
        stop.set()
        for thread in threads:
            while thread.is_alive():
                hurry()
                thread.join(0.2)
    # those that were stopped because another failed say nothing of their own
    for error in sorted(errors, key=lambda error: isinstance(error, CancelledError)):
        raise error


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Tell what a file that cannot be read means for its delivery."""
    try:
        yield
    except StackwatchError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _changed(path) from error
    except OSError as error:
        raise SourceUnreadableError(
            f"“{show_path(path)}” cannot be read ({error.strerror}), so that it cannot be sent. "
            "What was sent is kept; look at the disk.",
            hint="Look at the disk or share that holds the dataset.",
            path=show_path(path),
        ) from error


def _changed(path: Path) -> DeliveryRefusedError:
    return DeliveryRefusedError(
        f"“{show_path(path)}” changed while it was sent. Nothing of this upload is shown to "
        "anybody. Let the dataset be, then deliver it again.",
        hint="Let nobody write into a published dataset; then deliver it again.",
        path=show_path(path),
    )
