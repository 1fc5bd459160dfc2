"""An instrument for the soak: a process that writes acquisition after acquisition.

Its order is one line of JSON as the argument; it ends, with all files whole, when the stop file is
there. What it did stands in its journal, one line of JSON for each act.
"""

import io
import json
import random
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from stackwatch.testing.instruments import BEHAVIOURS, Desk, Files, copied_over, touched

MARKER = "run.done"
_MARKER_FIRST = ("at_once", "with_pauses", "shuffled", "with_old_dates", "in_new_folders")


def main(order: dict[str, Any]) -> None:
    """Write until the stop file is there."""
    writer = Writer(order)
    while not Path(order["stop"]).exists():
        writer.act()


class Writer:
    """One instrument and what it has written so far."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._drops = {name: Path(path) for name, path in order["drops"].items()}
        self._outside = Path(order["outside"])
        self._journal = Path(order["journal"])
        self._gap_s = float(order["gap_s"])
        self._name = order["name"]
        self._rng = random.Random(order["seed"])
        self._written: list[Path] = []
        self._count = 0

    def act(self) -> None:
        """Write a new acquisition, or come back to an older one."""
        if len(self._written) < 2 or self._rng.random() < 0.4:
            self._write_new()
        else:
            self._come_back()
        # so many as can be converted meanwhile: a queue that only grows meets no kills
        threading.Event().wait(self._rng.uniform(0.0, 6.0) * self._gap_s)

    def _write_new(self) -> None:
        folder = self._rng.choice(sorted(self._drops))
        place = self._drops[folder] / f"{self._name}_{self._letters()}"
        files = make_files(self._rng)
        desk = Desk(place, self._outside, self._rng, self._gap_s)
        if folder == "marked":
            behaviour = self._write_marked(desk, files)
        else:
            behaviour = self._rng.choice(sorted(BEHAVIOURS))
            BEHAVIOURS[behaviour](desk, files)
            self._written.append(place)
        self._note(place, behaviour)

    def _write_marked(self, desk: Desk, files: Files) -> str:
        """Write with a marker that counts, before or after the files."""
        is_first = self._rng.random() < 0.5
        behaviour = self._rng.choice(_MARKER_FIRST if is_first else sorted(BEHAVIOURS))
        marker = {"status": "success", "bytes": sum(map(len, files.values())), "files": len(files)}
        if behaviour == "metadata_first":
            del marker["bytes"]
            marker["files"] = len(files) + 1
        if is_first:
            desk.place.mkdir()
            (desk.place / MARKER).write_text(json.dumps(marker))
        BEHAVIOURS[behaviour](desk, files)
        if not is_first:
            (desk.place / MARKER).write_text(json.dumps(marker))
        return f"{behaviour}, marker {'first' if is_first else 'last'}"

    def _come_back(self) -> None:
        place = self._rng.choice(self._written)
        acts: tuple[Callable[[Path], None], ...] = (
            self._append,
            self._change,
            self._touch,
            self._copy_over,
            self._drop_again,
        )
        act = self._rng.choice(acts)
        act(place)
        self._note(place, act.__name__.lstrip("_"))

    def _append(self, place: Path) -> None:
        """The run is resumed: one more slice."""
        slices = list(place.rglob("slice_*.tif"))
        (slices[0].parent / f"slice_{len(slices)}.tif").write_bytes(make_slice(self._rng))

    def _change(self, place: Path) -> None:
        """A slice is written anew, of the same size."""
        self._rng.choice(sorted(place.rglob("slice_*.tif"))).write_bytes(make_slice(self._rng))

    def _touch(self, place: Path) -> None:
        touched(place, self._rng)

    def _copy_over(self, place: Path) -> None:
        copied_over(place, self._rng)

    def _drop_again(self, place: Path) -> None:
        """The folder is deleted, and another content comes under the same name."""
        shutil.rmtree(place)
        Desk(place, self._outside, self._rng, self._gap_s).pause(0.2, 1.0, 2.5)
        BEHAVIOURS["shuffled"](
            Desk(place, self._outside, self._rng, self._gap_s), make_files(self._rng)
        )

    def _letters(self) -> str:
        """Return letters instead of a number: names that differ in a number mean something."""
        self._count += 1
        return "".join(chr(ord("a") + int(digit)) for digit in str(self._count))

    def _note(self, place: Path, act: str) -> None:
        with self._journal.open("a", encoding="utf-8") as journal:
            journal.write(json.dumps({"place": str(place), "act": act}) + "\n")


def make_files(rng: random.Random) -> dict[str, bytes]:
    """Return a small stack, one file per slice."""
    return {f"slice_{z}.tif": make_slice(rng) for z in range(rng.randint(2, 5))}


def make_slice(rng: random.Random) -> bytes:
    """Return a TIFF of noise, always of the same size."""
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.frombuffer(rng.randbytes(9 * 12), np.uint8).reshape(9, 12))
    return stream.getvalue()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
