"""One range of slices, carried out in a process of its own, here or on another machine.

All that a range needs lies in a file on the shared file system, the *order*; what it writes goes
straight to the staging directory, and what came of it into a *receipt* beside the order. A range
may be carried out twice, even at the same time: both write the same bytes, each into a folder of
its own, and renames put them into place.
"""

import base64
import json
import os
import pickle
import socket
import threading
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stackwatch import __version__
from stackwatch.engine.memory import keep_freed_memory
from stackwatch.engine.ranges import SliceRange
from stackwatch.engine.statistics import LayerStatistics
from stackwatch.engine.stream import StreamControl
from stackwatch.errors import CancelledError, ClusterError
from stackwatch.failpoints import reach
from stackwatch.model.options import ConvertOptions
from stackwatch.model.plan import BLACK
from stackwatch.pipeline.opening import open_acquisition
from stackwatch.pipeline.storing import make_store
from stackwatch.pipeline.streams import StackJob, Streamer, WrittenMags
from stackwatch.readers.book import SourceBook
from stackwatch.readers.protocol import SliceSource
from stackwatch.readers.stack import StackSource
from stackwatch.stores.kept import read_receipt_file
from stackwatch.stores.objects import objects_of
from stackwatch.stores.protocol import ShardRecord
from stackwatch.stores.publish import write_errors

ORDER_FILE = "order"
BEAT_S = 0.5
"""How often a range tells how far it is, and looks whether it is still wanted."""


@dataclass(frozen=True, slots=True)
class RangeOrder:
    """What the ranges of one stack have in common.

    Attributes
    ----------
    source, members, options
        As in `ConvertRequest`.
    root : Path
        The dataset's staging directory.
    job : StackJob
        With its ranges.
    version : str
        Of the stackwatch that cut them.
    """

    source: Path
    members: tuple[str, ...]
    options: ConvertOptions
    root: Path
    job: StackJob
    version: str = __version__

    def write(self, folder: Path) -> Path:
        """Write the order into a folder of its own and return where it lies."""
        path = folder / ORDER_FILE
        with write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pickle.dumps(self))
        return path


@dataclass(frozen=True, slots=True)
class _PartOfSource:
    """Some slices of a source, in order."""

    source: SliceSource
    span: SliceRange

    @property
    def can_read_rows(self) -> bool:
        return self.source.can_read_rows

    @property
    def decode_bytes(self) -> int:
        return self.source.decode_bytes

    def iter_keys(self) -> Iterator[int]:
        keys = self.source.iter_keys()
        yield from (key for key in keys if self.span.first <= key < self.span.end)

    def read_slice_into(
        self, key: int, outs: Sequence[NDArray[Any]], rows: tuple[int, int]
    ) -> None:
        self.source.read_slice_into(key, outs, rows)


def receipt_path(order: Path, number: int) -> Path:
    """Return where the receipt of a range lies."""
    return order.with_name(f"{number}.json")


def progress_path(order: Path, number: int) -> Path:
    """Return where a range says how many slices it has read: by the size of the file.

    To look at it reads nothing, so a conversion whose ranges hang is seen to do nothing.
    """
    return order.with_name(f"{number}.slices")


def run_range(order: str, number: int) -> dict[str, Any]:
    """Convert one range and return its receipt, which lies on the disk by then.

    Parameters
    ----------
    order : str
        Path of the order, on a file system that all workers share.
    number : int

    Raises
    ------
    CancelledError
        The conversion has ended meanwhile.
    StackwatchError
        As `convert_acquisition` raises them.
    """
    path = Path(order)
    done = read_receipt(path, number)
    if done is not None:
        return done
    try:
        wanted: RangeOrder = pickle.loads(path.read_bytes())  # noqa: S301 - we wrote it ourselves
    except FileNotFoundError:
        raise _called_off() from None
    if wanted.version != __version__:
        hint = f"Install stackwatch {wanted.version} on all workers."
        raise ClusterError(
            f"The worker on {socket.gethostname()} has stackwatch {__version__}, the conversion "
            f"{wanted.version}. {hint}",
            hint=hint,
        )
    keep_freed_memory()
    started_s = time.perf_counter()
    own = path.with_name(f"{number}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    own.mkdir()
    try:
        with _beating(path, number) as control:
            receipt = _carry_out(wanted, wanted.job.ranges[number], own, control)
        receipt |= {
            "number": number,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "seconds": round(time.perf_counter() - started_s, 3),
        }
        _write_receipt(path, number, receipt)
    finally:
        rmtree(own, ignore_errors=True)
    return receipt


def _carry_out(
    order: RangeOrder, span: SliceRange, own: Path, control: StreamControl
) -> dict[str, Any]:
    stack = order.job.stack
    opened = open_acquisition(order.source, order.members, order.options, own / "scratch")
    with opened as acquisition:
        options = acquisition.options
        book = SourceBook(acquisition.files, acquisition.entries, acquisition.opener)
        uses = Counter(ref.file for ref in stack.planes_tz[span.t][span.first : span.end])
        shared = [file for file, count in uses.items() if book.uses_of(stack)[file] > count]
        book.leave_digests(stack.files[file] for file in shared if file != BLACK)
        store = make_store(
            options.store, order.root, own, stack.layers, own, objects_of(order.root)
        )
        with closing(book), write_errors(order.root):
            streamer = Streamer(store, order.root, own, options, control, lambda *_: source)
            source = _PartOfSource(StackSource(book, stack, span.t), span)
            try:
                written = streamer.run_range(order.job, span)
                store.wait()
            except BaseException:
                store.abort()
                raise
            store.close()
        return {
            "shards": [asdict(record) for record in store.manifest()],
            "layers": [_dump_statistics(mags.statistics) for mags in written],
            "digests": book.known_digests(),
            "bytes_read": book.bytes_read,
            "clipped": book.clipped_of(stack),
        }


@contextmanager
def _beating(order: Path, number: int) -> Iterator[StreamControl]:
    """Tell how far the range is, and stop it when its order is gone."""
    done = 0
    ended = threading.Event()

    def count() -> None:
        nonlocal done
        reach("convert.slice_read")
        done += 1  # a lost count is one picture of progress the less

    control = StreamControl(count)

    def beat() -> None:
        while not ended.wait(BEAT_S):
            with suppress(OSError):  # a share that fails for a moment: it is looked at again
                if not order.exists():
                    control.cancelled.set()
                with progress_path(order, number).open("ab") as file:
                    file.truncate(done)

    thread = threading.Thread(target=beat, name=f"range-{number}", daemon=True)
    thread.start()
    try:
        yield control
    finally:
        ended.set()
        thread.join()


def read_receipt(order: Path, number: int) -> dict[str, Any] | None:
    """Return the receipt of a range that is complete on the disk, else None."""
    return read_receipt_file(receipt_path(order, number))


def shards_of(receipt: dict[str, Any]) -> list[ShardRecord]:
    """Return the shards that a range has written."""
    return [ShardRecord(**record) for record in receipt["shards"]]


def add_statistics(mags: Sequence[WrittenMags], receipt: dict[str, Any]) -> None:
    """Add what a range has seen of its voxels to those of the whole layers."""
    for layer, seen in zip(mags, receipt["layers"], strict=True):
        packed = seen["histogram"]
        histogram = None
        if packed is not None:
            histogram = np.frombuffer(zlib.decompress(base64.b64decode(packed)), np.int64)
        layer.statistics.merge(seen["minimum"], seen["maximum"], histogram)


def _dump_statistics(statistics: LayerStatistics) -> dict[str, Any]:
    histogram = statistics.histogram
    packed = None if histogram is None else base64.b64encode(zlib.compress(histogram.tobytes(), 1))
    return {
        "minimum": statistics.minimum,
        "maximum": statistics.maximum,
        "histogram": packed.decode("ascii") if packed is not None else None,
    }


def _write_receipt(order: Path, number: int, receipt: dict[str, Any]) -> None:
    place = receipt_path(order, number)
    growing = place.with_name(f"{place.name}.{uuid.uuid4().hex[:8]}")
    try:
        with growing.open("x", encoding="utf-8") as file:
            json.dump(receipt, file)
            file.flush()
            os.fsync(file.fileno())
        growing.rename(place)
    except FileNotFoundError:
        raise _called_off() from None


def _called_off() -> CancelledError:
    return CancelledError(
        "The conversion that this range belongs to has ended. Nothing was published.",
        hint="Nothing to do.",
    )
