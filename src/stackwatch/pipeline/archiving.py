"""Copy an acquisition to another file system, so that nobody ever sees a part of it there."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stackwatch.errors import (
    DisposalError,
    StillArrivingError,
    TargetExistsError,
    VerificationError,
)
from stackwatch.model.acquisition import show_path
from stackwatch.pipeline.pieces import Piece, PieceKind, list_pieces
from stackwatch.stores.publish import move_new, sync_folder

BLOCK_BYTES = 8 << 20
MAX_NAMES = 1000


def copy_pieces(root: Path, pieces: tuple[Piece, ...], place: Path, *, is_remote: bool) -> None:
    """Copy what was listed below `root` to the new folder `place`; flush it, and compare it.

    Sizes, times and permissions are kept; a link is copied as a link.

    Raises
    ------
    StillArrivingError
        A file changed while it was copied.
    DisposalError
        A pipe, socket or device is among the pieces.
    VerificationError
        What lies on the disk is not what was read.
    OSError
        Of either side.
    """
    place.mkdir()
    digests: dict[str, str] = {}
    for piece in pieces:
        source, target = root / piece.path, place / piece.path
        if piece.kind is PieceKind.FOLDER:
            target.mkdir()
        elif piece.kind is PieceKind.LINK:
            target.symlink_to(source.readlink())
        elif piece.kind is PieceKind.FILE:
            digests[piece.path] = _copy_file(source, target, piece, is_remote=is_remote)
        else:
            raise DisposalError(
                f"“{show_path(source)}” is a pipe, a socket or a device: it cannot be copied to "
                "another file system. Nothing was archived. Remove it.",
                hint="Remove it.",
                path=show_path(source),
            )
    for path, digest in digests.items():
        if _digest(place / path) != digest:
            raise VerificationError(
                f"“{show_path(place / path)}” is not what was copied there. The source is kept, "
                "and the copy is made again later. Look at the disk of `archive_to`.",
                hint="Look at the disk of `archive_to`.",
                path=show_path(place / path),
            )
    folders = [piece.path for piece in pieces if piece.kind is PieceKind.FOLDER]
    for path in [*sorted(folders, reverse=True), ""]:
        if (root / path).is_dir():
            _keep_times(root / path, place / path)
        sync_folder(place / path)


def is_copy(place: Path, root: Path, pieces: tuple[Piece, ...]) -> bool:
    """Tell whether `place` holds all the pieces, with the content of those still below `root`.

    Parameters
    ----------
    place : Path
        A folder, or the one file itself where `pieces` is that file alone.
    root : Path
        Where the pieces are, or those that were not removed yet.
    """
    is_file = place.is_file() and not place.is_symlink()
    if is_file and [piece.kind for piece in pieces] == [PieceKind.FILE]:
        (piece,) = pieces
        return place.stat().st_size == piece.size and _is_equal(place, root / piece.path)
    if not place.is_dir() or place.is_symlink():
        return False
    found = {(piece.path, piece.kind, piece.size) for piece in list_pieces(place)}
    if found != {(piece.path, piece.kind, piece.size) for piece in pieces}:
        return False
    files = [piece.path for piece in pieces if piece.kind is PieceKind.FILE]
    return all(_is_equal(place / path, root / path) for path in files)


def move_to_free_name(source: Path, wanted: Path, announce: Callable[[Path], None]) -> Path:
    """Rename `source` to `wanted`, or to `-2`, `-3` … where something stands; return its place.

    Parameters
    ----------
    announce : callable
        Told each place before it is tried.

    Raises
    ------
    DisposalError
        No name is free.
    """
    for number in range(1, MAX_NAMES):
        name = wanted.name if number == 1 else f"{wanted.stem}-{number}{wanted.suffix}"
        place = wanted.with_name(name)
        if os.path.lexists(place):
            continue
        announce(place)
        try:
            move_new(source, place)
        except TargetExistsError:
            continue  # taken in this very moment
        return place
    raise DisposalError(
        f"“{show_path(wanted)}” and {MAX_NAMES} names like it are taken. Nothing was archived. "
        "Move away what was archived before.",
        hint="Move away what was archived before.",
        path=show_path(wanted),
    )


def make_folders(root: Path, folder: Path) -> None:
    """Make the folders from `root`, which must be there, down to `folder`, and flush them."""
    if folder == root:
        return
    make_folders(root, folder.parent)
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def remove_copy(place: Path) -> None:
    """Remove an unfinished copy of ours."""
    shutil.rmtree(place, ignore_errors=True)


def _copy_file(source: Path, target: Path, piece: Piece, *, is_remote: bool) -> str:
    """Copy one file, make sure that it did not change meanwhile, and return its digest."""
    import xxhash

    digest = xxhash.xxh3_128()
    with _opened(source, os.O_RDONLY) as reading:
        _ensure_same(reading, piece, source, is_remote=is_remote)
        with _opened(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as writing:
            while block := os.read(reading, BLOCK_BYTES):
                digest.update(block)
                _write(writing, block)
            _ensure_same(reading, piece, source, is_remote=is_remote)
            facts = os.fstat(reading)
            os.fchmod(writing, facts.st_mode & 0o777)
            os.utime(writing, ns=(facts.st_atime_ns, facts.st_mtime_ns))
            os.fsync(writing)
            os.posix_fadvise(writing, 0, 0, os.POSIX_FADV_DONTNEED)  # compared from the disk
    return digest.hexdigest()


def _ensure_same(descriptor: int, piece: Piece, source: Path, *, is_remote: bool) -> None:
    facts = os.fstat(descriptor)
    times = facts.st_mtime_ns, facts.st_ctime_ns
    now = Piece(piece.path, piece.kind, facts.st_size, *times, facts.st_ino)
    # a file that was gathered into our own folder has another change time
    if now.facts(is_remote=is_remote, is_moved=True) != piece.facts(
        is_remote=is_remote, is_moved=True
    ):
        raise StillArrivingError(
            f"“{show_path(source)}” changed while it was archived. The source is kept; it is "
            "looked at again later.",
            hint="Nothing to do: it goes on by itself.",
            path=show_path(source),
        )


def _write(descriptor: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]


def _is_equal(copy: Path, source: Path) -> bool:
    """Tell whether a copy has the content of its source; one that is removed cannot differ."""
    return not os.path.lexists(source) or _digest(copy) == _digest(source)


def _digest(path: Path) -> str:
    import xxhash

    digest = xxhash.xxh3_128()
    with _opened(path, os.O_RDONLY) as reading:
        while block := os.read(reading, BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _keep_times(source: Path, copy: Path) -> None:
    facts = source.stat()
    os.utime(copy, ns=(facts.st_atime_ns, facts.st_mtime_ns))


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    """Yield a descriptor; a link is never followed."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
