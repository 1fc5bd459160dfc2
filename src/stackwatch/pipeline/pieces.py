"""Everything an acquisition consists of on the disk, and its removal, piece by piece.

A listing knows the files that are read; to archive or delete an acquisition every entry counts:
junk, links, empty folders. What was listed is what may be removed, and nothing that came later.
"""

import json
import os
import stat
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from enum import StrEnum
from pathlib import Path

from stackwatch.errors import DisposalError
from stackwatch.failpoints import reach
from stackwatch.model.acquisition import show_path
from stackwatch.stores.publish import sync_folder


class PieceKind(StrEnum):
    """What a piece is."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"


@dataclass(frozen=True, slots=True, order=True)
class Piece:
    """One entry of an acquisition.

    Attributes
    ----------
    path : str
        Relative, undecodable bytes as surrogates.
    kind : PieceKind
    size, mtime_ns, ctime_ns, inode : int
        0 for folders: removing what is in them changes them.
    """

    path: str
    kind: PieceKind
    size: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    inode: int = 0

    def facts(self, *, is_remote: bool, is_moved: bool = False) -> tuple[object, ...]:
        """Return what must be equal for it to be the same piece with the same content.

        Parameters
        ----------
        is_remote : bool
            Inodes and change times of network mounts tell nothing.
        is_moved : bool
            It was renamed itself, which changes its change time.
        """
        known = (self.path, self.kind, self.size, self.mtime_ns)
        if is_remote:
            return known
        return (*known, self.inode) if is_moved else (*known, self.inode, self.ctime_ns)


def list_pieces(root: Path, names: tuple[str, ...] = ()) -> tuple[Piece, ...]:
    """Return every entry below a folder, or the named files of it, sorted by path.

    Parameters
    ----------
    root : Path
    names : tuple of str
        Names of loose files in `root`; empty for everything in it.

    Raises
    ------
    DisposalError
        Another file system is mounted inside.
    OSError
        Something cannot be looked at.
    """
    if names:
        return tuple(sorted(_piece(name, (root / name).lstat()) for name in names))
    device = root.stat().st_dev
    found: list[Piece] = []
    pending = [""]
    while pending:
        inside = pending.pop()
        with os.scandir(root / inside) as entries:
            for entry in entries:
                path = f"{inside}/{entry.name}" if inside else entry.name
                facts = entry.stat(follow_symlinks=False)
                if facts.st_dev != device:
                    raise DisposalError(
                        f"“{show_path(root / path)}” is another file system, mounted inside the "
                        "acquisition. It is kept as it is. Unmount it.",
                        hint="Unmount it.",
                        path=show_path(root / path),
                    )
                piece = _piece(path, facts)
                found.append(piece)
                if piece.kind is PieceKind.FOLDER:
                    pending.append(path)
    return tuple(sorted(found))


def are_same(
    before: Iterable[Piece], now: Iterable[Piece], *, is_remote: bool, is_moved: bool = False
) -> bool:
    """Tell whether two listings are of the same pieces with the same content."""
    return [piece.facts(is_remote=is_remote, is_moved=is_moved) for piece in before] == [
        piece.facts(is_remote=is_remote, is_moved=is_moved) for piece in now
    ]


def remove_pieces(root: Path, pieces: tuple[Piece, ...], *, is_remote: bool) -> None:
    """Remove what was listed, and `root` with it; each file is looked at right before.

    To repeat it after an interruption goes on where it was.

    Raises
    ------
    DisposalError
        Something changed or came since; it, and what was not removed before, is kept.
    OSError
        Something cannot be removed.
    """
    for piece in pieces:
        if piece.kind is PieceKind.FOLDER:
            continue
        path = root / piece.path
        try:
            now = _piece(piece.path, path.lstat())
        except FileNotFoundError:
            continue
        moved = (piece, now)
        if len({p.facts(is_remote=is_remote, is_moved=True) for p in moved}) > 1:
            raise _came_later(path, "was changed")
        path.unlink()
        reach("dispose.mid_remove")
    folders = [piece.path for piece in pieces if piece.kind is PieceKind.FOLDER]
    for name in [*sorted(folders, reverse=True), ""]:
        folder = root / name
        try:
            folder.rmdir()
        except FileNotFoundError:
            continue
        except OSError as error:
            if os.listdir(folder):  # noqa: PTH208 - one look, whatever is in it
                raise _came_later(folder, "holds something that was not there") from error
            raise
    sync_folder(root.parent)


def write_book(path: Path, pieces: tuple[Piece, ...]) -> None:
    """Keep the list of what is about to be taken, durably, for whoever goes on after a crash."""
    path.parent.mkdir(exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    with new.open("w", encoding="ascii") as file:
        json.dump([astuple(piece) for piece in pieces], file, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_folder(path.parent)


def read_book(path: Path) -> tuple[Piece, ...] | None:
    """Return the list that was kept; None if there is none that can be read."""
    try:
        rows = json.loads(path.read_bytes())
        return tuple(Piece(row[0], PieceKind(row[1]), *row[2:]) for row in rows)
    except (OSError, ValueError, TypeError, IndexError):
        return None


def _piece(path: str, facts: os.stat_result) -> Piece:
    if stat.S_ISDIR(facts.st_mode):
        return Piece(path, PieceKind.FOLDER)
    kind = PieceKind.OTHER
    if stat.S_ISREG(facts.st_mode):
        kind = PieceKind.FILE
    elif stat.S_ISLNK(facts.st_mode):
        kind = PieceKind.LINK
    times = facts.st_mtime_ns, facts.st_ctime_ns
    return Piece(path, kind, facts.st_size, *times, facts.st_ino)


def _came_later(path: Path, what: str) -> DisposalError:
    hint = "Look at it, and move it back into the drop folder or away."
    return DisposalError(
        f"“{show_path(path)}” {what} while its acquisition was being removed. It is kept, and so "
        f"is what was not removed before. {hint}",
        hint=hint,
        path=show_path(path),
    )
