"""Instruments as they really write: slowly, in odd orders, under other names, with odd dates.

Each behaviour brings the same files into a drop folder in a way of its own; afterwards they lie
there whole. `BEHAVIOURS` names them by what they do. Used where the daemon has to cope with all of
them, and run as a process of its own by the soak.
"""

import mmap
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Files = Mapping[str, bytes]

_OLD_S: Final = 10**9  # 2001
_DAY_S: Final = 86_400.0
_YEARS_S: Final = 10 * 365 * _DAY_S


@dataclass(frozen=True, slots=True)
class Desk:
    """Where an instrument writes, and how patient it is.

    Attributes
    ----------
    place : Path
        The acquisition's folder; not there yet.
    outside : Path
        A folder beside the drop folder, on the same file system.
    rng : random.Random
        Decides all that is left to chance.
    gap_s : float
        The drop folder's quiet gap: pauses are told in parts of it.
    """

    place: Path
    outside: Path
    rng: random.Random
    gap_s: float

    def pause(self, *gaps: float) -> None:
        """Wait for one of these parts of the quiet gap."""
        threading.Event().wait(self.rng.choice(gaps) * self.gap_s)


Behaviour = Callable[[Desk, Files], None]


def at_once(desk: Desk, files: Files) -> None:
    """Write one file after the other, as quickly as it goes."""
    for name, data in files.items():
        _write(desk.place / name, data)


def with_pauses(desk: Desk, files: Files) -> None:
    """Pause between the files, now and then for longer than the quiet gap."""
    for name, data in files.items():
        _write(desk.place / name, data)
        desk.pause(0.2, 0.4, 0.6, 1.6)


def in_pieces(desk: Desk, files: Files) -> None:
    """Write each file in pieces, and keep it open between them."""
    desk.place.mkdir()
    for name, data in files.items():
        with (desk.place / name).open("wb", buffering=0) as stream:
            for piece in _pieces(data, 3):
                stream.write(piece)
                desk.pause(0.1, 0.1, 1.3)


def closed_between_pieces(desk: Desk, files: Files) -> None:
    """Open and close each file five times, as scanners do that append page by page."""
    desk.place.mkdir()
    for name, data in files.items():
        for piece in _pieces(data, 5):
            with (desk.place / name).open("ab") as stream:
                stream.write(piece)
            desk.pause(0.05, 0.1)


def made_at_full_size(desk: Desk, files: Files) -> None:
    """Make every file at its full size first: truncated, allocated, or by a byte at the end."""
    desk.place.mkdir()
    for name, data in files.items():
        with (desk.place / name).open("wb", buffering=0) as stream:
            desk.rng.choice((_truncate, _allocate, _seek_to_the_end))(stream.fileno(), len(data))
    desk.pause(0.5, 1.2)
    for name, data in files.items():
        with (desk.place / name).open("r+b") as stream:
            stream.write(data)
        desk.pause(0.1, 0.2)


def under_temporary_names(desk: Desk, files: Files) -> None:
    """Write as rsync does: under a hidden name or in a hidden folder, then rename."""
    hidden = desk.place / ".~tmp~"
    hidden.mkdir(parents=True)
    for name, data in files.items():
        temporary = desk.rng.choice((desk.place / f".{name}.Ab12Cd", hidden / name))
        _write(temporary, data[: len(data) // 2])
        desk.pause(0.1, 0.2, 1.2)
        _write(temporary, data)
        temporary.rename(desk.place / name)
    hidden.rmdir()


def with_old_dates(desk: Desk, files: Files) -> None:
    """Copy slowly, and give each file its old date at the end, as `cp -p` does."""
    for name, data in files.items():
        _write(desk.place / name, data[: len(data) // 2])
        desk.pause(0.1, 0.3)
        _write(desk.place / name, data)
        os.utime(desk.place / name, (_OLD_S, _OLD_S))


def with_a_fast_clock(desk: Desk, files: Files) -> None:
    """Write from a machine whose clock runs ahead, and jumps back in between."""
    ahead_s = time.time() + desk.rng.choice((_DAY_S, _YEARS_S))
    for number, (name, data) in enumerate(files.items()):
        _write(desk.place / name, data)
        date_s = ahead_s - _DAY_S * number * 2
        os.utime(desk.place / name, (date_s, date_s))
        desk.pause(0.1, 0.4)


def moved_in(desk: Desk, files: Files) -> None:
    """Build the folder elsewhere, move it in by one rename, and add the last file later."""
    *first, last = files
    built = desk.outside / desk.place.name
    for name in first:
        _write(built / name, files[name])
    built.rename(desk.place)
    desk.pause(0.2, 0.6, 1.5)
    _write(desk.place / last, files[last])


def in_new_folders(desk: Desk, files: Files) -> None:
    """Make folders inside each other while writing: nobody can have watched them before."""
    for name, data in files.items():
        _write(desk.place / "series" / "stack" / name, data)
        desk.pause(0.0, 0.1, 0.3)


def through_a_mapping(desk: Desk, files: Files) -> None:
    """Fill a mapped file bit by bit: its dates hardly move."""
    desk.place.mkdir()
    for name, data in files.items():
        with (desk.place / name).open("w+b") as stream:
            stream.truncate(len(data))
            with mmap.mmap(stream.fileno(), len(data)) as mapped:
                for start in range(0, len(data), len(data) // 4 or 1):
                    mapped[start : start + len(data) // 4 + 1] = data[
                        start : start + len(data) // 4 + 1
                    ]
                    desk.pause(0.1, 0.3)


def metadata_first(desk: Desk, files: Files) -> None:
    """Write what describes the run long before its pictures."""
    _write(desk.place / "run.json", b'{"frames": %d}' % len(files))
    desk.pause(0.5, 1.6)
    at_once(desk, files)


def empty_first(desk: Desk, files: Files) -> None:
    """Make every file with nothing in it, then fill one after the other."""
    for name in files:
        _write(desk.place / name, b"")
    desk.pause(0.5, 1.4)
    for name, data in files.items():
        _write(desk.place / name, data)
        desk.pause(0.1, 0.2)


def with_companions(desk: Desk, files: Files) -> None:
    """Write `._name` beside each file, and the other junk of desktops."""
    for junk in (".DS_Store", "Thumbs.db", "desktop.ini"):
        _write(desk.place / junk, b"junk")
    for name, data in files.items():
        _write(desk.place / f"._{name}", b"\0\5\x16\7")
        _write(desk.place / name, data)
        desk.pause(0.1, 0.3)


def shuffled(desk: Desk, files: Files) -> None:
    """Copy in any order."""
    names = list(files)
    desk.rng.shuffle(names)
    for name in names:
        _write(desk.place / name, files[name])
        desk.pause(0.1, 0.3, 0.5)


def renamed_while_written(desk: Desk, files: Files) -> None:
    """Begin under another name, and rename the folder in the middle."""
    names = list(files)
    working = desk.place.with_name(f"{desk.place.name}_running")
    for name in names[:-1]:
        _write(working / name, files[name])
        desk.pause(0.1, 0.3)
    working.rename(desk.place)
    _write(desk.place / names[-1], files[names[-1]])


BEHAVIOURS: Final[Mapping[str, Behaviour]] = {
    behaviour.__name__: behaviour
    for behaviour in (
        at_once,
        with_pauses,
        in_pieces,
        closed_between_pieces,
        made_at_full_size,
        under_temporary_names,
        with_old_dates,
        with_a_fast_clock,
        moved_in,
        in_new_folders,
        through_a_mapping,
        metadata_first,
        empty_first,
        with_companions,
        shuffled,
        renamed_while_written,
    )
}


# ---------------------------------------------------------------- afterwards


def touched(place: Path, rng: random.Random) -> None:
    """Give every file a new date, and leave the bytes as they are."""
    for path in sorted(place.rglob("*.tif")):
        date_s = rng.uniform(0, 2 * time.time())
        os.utime(path, (date_s, date_s))


def copied_over(place: Path, rng: random.Random) -> None:
    """Replace one file by a copy of itself: another inode, the same size and date."""
    path = rng.choice(sorted(path for path in place.rglob("*.tif") if path.name[0] != "."))
    copy = path.with_name(f".{path.name}.Zz99Zz")
    shutil.copy2(path, copy)
    copy.rename(path)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _pieces(data: bytes, count: int) -> list[bytes]:
    size = -(-len(data) // count)
    return [data[start : start + size] for start in range(0, len(data), size)]


def _truncate(descriptor: int, size: int) -> None:
    os.ftruncate(descriptor, size)


def _allocate(descriptor: int, size: int) -> None:
    os.posix_fallocate(descriptor, 0, size)


def _seek_to_the_end(descriptor: int, size: int) -> None:
    os.pwrite(descriptor, b"\0", size - 1)
