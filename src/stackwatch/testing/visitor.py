"""A reader who looks into a target all the time: whatever can be seen there has to be whole."""

import json
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from stackwatch.pipeline.verify import verify_dataset

LOOK_INTERVAL_S: Final = 0.01


def open_dataset(dataset: Path) -> None:
    """Open a dataset as a reader would: its properties, its manifest, and every shard."""
    json.loads((dataset / "datasource-properties.json").read_bytes())
    verify_dataset(dataset)


def open_stand_in(dataset: Path) -> None:
    """Open what the stand-in for the conversion writes."""
    manifest: dict[str, Any] = json.loads((dataset / "stackwatch.json").read_bytes())
    size = (dataset / "data").stat().st_size
    if size != manifest["bytes"]:
        raise ValueError(f"{size} bytes, not {manifest['bytes']}")


class Visitor:
    """Opens every dataset of some targets as soon as it can be seen, in a thread of its own.

    Attributes
    ----------
    visits : int
        Datasets that were opened whole.
    halves : list of str
        What was visible and not whole: must stay empty.
    """

    def __init__(
        self, targets: Iterable[Path], open_one: Callable[[Path], None] = open_dataset
    ) -> None:
        self.visits = 0
        self.halves: list[str] = []
        self._targets = tuple(targets)
        self._open = open_one
        self._seen: set[tuple[Path, int]] = set()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="visitor")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(LOOK_INTERVAL_S):
            self.look()

    def look(self) -> None:
        """Open every dataset that was not seen before."""
        for target in self._targets:
            for dataset in target.iterdir():
                if not dataset.name.startswith("."):
                    self._visit(dataset)

    def _visit(self, dataset: Path) -> None:
        inode = _inode_of(dataset)
        if inode is None or (dataset, inode) in self._seen:
            return
        try:
            self._open(dataset)
        except Exception as error:  # noqa: BLE001 - whatever a reader stumbles over is the finding
            if _inode_of(dataset) == inode:  # else it was exchanged while it was read
                self.halves.append(f"{dataset}: {error}")
                self._seen.add((dataset, inode))
            return
        self._seen.add((dataset, inode))
        self.visits += 1


def _inode_of(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
