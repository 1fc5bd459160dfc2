"""Put the directory of a mag where a server wants it: copied, linked, or moved and linked back.

Each is done at once or not at all, and doing it again changes nothing: a kill in between leaves
something that the next attempt goes on from. The mag can be read at its old name all the time.
"""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from stackwatch.errors import DeliveryRefusedError
from stackwatch.model.acquisition import show_path
from stackwatch.model.delivery import Transfer
from stackwatch.stores.publish import exchange_names, move_new, sync_folder, write_errors

_PIECE_BYTES: Final = 4 << 20
_PART_PREFIX: Final = ".stackwatch-"


def place_mag(
    source: Path, target: Path, transfer: Transfer, seen_as: str, on_bytes: Callable[[int], None]
) -> None:
    """Put a mag's directory at a place; nothing happens where it is there already.

    Parameters
    ----------
    source : Path
        The directory; after `move` a link to `target`.
    target : Path
        Does not exist; the folders above it are created.
    transfer : str
        `copy`, `symlink` or `move`.
    seen_as : str
        The source's path as the server sees it: what a link holds.
    on_bytes : callable
        Called with the size of every piece that is copied; may raise to stop.

    Raises
    ------
    DeliveryRefusedError
        Something else stands there, or it is another file system.
    OutOfSpaceError, TargetNotWritableError, WriteError
    """
    with write_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        if transfer == "copy":
            _copy(source, target, on_bytes)
        elif transfer == "symlink":
            _link(target, seen_as)
        else:
            _move(source, target)


def mend_moved(source: Path, target: Path) -> None:
    """Put the link of a moved mag into its place, where a kill came before it.

    That can be only where the file system cannot exchange two names.
    """
    if not os.path.lexists(source) and target.is_dir():
        with write_errors(source.parent):
            source.symlink_to(target)
            sync_folder(source.parent)


def remove_placed(target: Path) -> None:
    """Remove a mag that was copied or linked to a place."""
    with write_errors(target.parent):
        if target.is_symlink():
            target.unlink()
        elif target.is_dir():
            shutil.rmtree(target)


def is_same_tree(one: Path, other: Path) -> bool:
    """Tell whether two directories hold files of the same names and sizes."""
    return _sizes(one) == _sizes(other)


def _copy(source: Path, target: Path, on_bytes: Callable[[int], None]) -> None:
    if target.is_dir() and not target.is_symlink():
        if is_same_tree(source, target):
            return
        raise _taken(target)
    part = target.with_name(f"{_PART_PREFIX}{target.name}")
    shutil.rmtree(part, ignore_errors=True)
    for place, folders, names in os.walk(source):
        here = part / Path(place).relative_to(source)
        here.mkdir()
        for name in names:
            _copy_file(Path(place, name), here / name, on_bytes)
        folders.sort()
    for place, _, _ in os.walk(part, topdown=False):
        sync_folder(Path(place))
    move_new(part, target)
    sync_folder(target.parent)


def _copy_file(source: Path, target: Path, on_bytes: Callable[[int], None]) -> None:
    with source.open("rb", buffering=0) as original, target.open("xb", buffering=0) as copy:
        while piece := original.read(_PIECE_BYTES):
            copy.write(piece)
            on_bytes(len(piece))
        os.fsync(copy.fileno())


def _link(target: Path, seen_as: str) -> None:
    if target.is_symlink() and os.readlink(target) == seen_as:  # noqa: PTH115 - as it is written
        return
    if os.path.lexists(target):
        raise _taken(target)
    target.symlink_to(seen_as)
    sync_folder(target.parent)


def _move(source: Path, target: Path) -> None:
    """Exchange the directory with a link to the target, so that its old name always leads to it."""
    if source.is_symlink():
        if source.resolve() == target.resolve() and target.is_dir():
            return
        raise _taken(target)
    if not target.is_symlink():
        if os.path.lexists(target):
            raise _taken(target)
        target.symlink_to(target)  # leads nowhere, until it is exchanged
    elif os.readlink(target) != str(target):  # noqa: PTH115 - as it is written
        raise _taken(target)
    try:
        if not exchange_names(source, target):
            target.unlink()
            move_new(source, target)
            source.symlink_to(target)
    except OSError as error:
        if target.is_symlink():
            target.unlink()
        if error.errno == errno.EXDEV:
            hint = 'Set `transfer = "copy"`, or write the datasets to the server\'s file system.'
            raise DeliveryRefusedError(
                f"“{show_path(source)}” and “{show_path(target)}” lie on two file systems: it "
                f"cannot be moved by renaming. Nothing was moved. {hint}",
                hint=hint,
                path=show_path(source),
            ) from error
        raise
    sync_folder(source.parent)
    sync_folder(target.parent)


def _sizes(folder: Path) -> dict[str, int]:
    return {
        Path(place, name).relative_to(folder).as_posix(): Path(place, name).stat().st_size
        for place, _, names in os.walk(folder)
        for name in names
    }


def _taken(target: Path) -> DeliveryRefusedError:
    hint = f"Look at “{show_path(target)}”, move it away, and try again."
    return DeliveryRefusedError(
        f"“{show_path(target)}” is where the server wants the data, and something else stands "
        f"there. Nothing was touched. {hint}",
        hint=hint,
        path=show_path(target),
    )
