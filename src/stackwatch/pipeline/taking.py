"""Take an acquisition out of its drop folder in one step, and put it back if that was too early."""

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stackwatch.errors import (
    DisposalError,
    SourceUnreadableError,
    StackwatchError,
    StillArrivingError,
    TargetExistsError,
)
from stackwatch.failpoints import reach
from stackwatch.model.acquisition import show_path
from stackwatch.pipeline.pieces import Piece, PieceKind, are_same, list_pieces, remove_pieces
from stackwatch.stores.publish import move_new, sync_folder


class Taking:
    """An acquisition in its drop folder, under its own name or hidden under ours.

    `.stackwatch-taking-<token>` is not checked yet and is put back after a crash;
    `.stackwatch-taken-<token>` is whole, is what was published, and may be removed.

    Parameters
    ----------
    root : Path
        The acquisition's folder, or the folder that holds its loose files.
    names : tuple of str or None
        Of the loose files, as far as they are known; None for a folder.
    token : str
    is_remote : bool
        Inodes and change times tell nothing there.
    """

    def __init__(
        self, root: Path, names: tuple[str, ...] | None, token: str, *, is_remote: bool
    ) -> None:
        self.root = root
        self.beside = root.parent if names is None else root
        self.taken = self.beside / f".stackwatch-taken-{token}"
        self._names = names
        self._taking = self.beside / f".stackwatch-taking-{token}"
        self._probe = f".stackwatch-probe-{token}"
        self._is_remote = is_remote

    @property
    def own_paths(self) -> list[Path]:
        """What it is under its own name."""
        return [self.root] if self._names is None else [self.root / name for name in self._names]

    @property
    def is_taken(self) -> bool:
        """Whether it is hidden, whole or partly removed."""
        return os.path.lexists(self.taken)

    def list_pieces(self) -> tuple[Piece, ...]:
        """Return all it consists of, in its place."""
        return list_pieces(self.root, self._names or ())

    def ensure_writable(self, pieces: tuple[Piece, ...]) -> None:
        """Refuse, before anything is touched, where removing would fail half-way."""
        inside = [self.root / p.path for p in pieces if p.kind is PieceKind.FOLDER]
        for folder in [self.beside, self.root, *inside]:
            if not os.access(folder, os.W_OK | os.X_OK):
                raise _read_only(folder)

    def take(self, pieces: tuple[Piece, ...]) -> None:
        """Hide it; put it back if it is not what was listed.

        Raises
        ------
        StillArrivingError
            It changed; it is in its place again.
        """
        if self._names is None:
            move_new(self.root, self._taking)
        else:
            self._taking.mkdir()
            for name in self._names:
                move_new(self.root / name, self._taking / name)
        found = list_pieces(self._taking)
        is_moved = self._names is not None
        if not are_same(pieces, found, is_remote=self._is_remote, is_moved=is_moved):
            self.put_back()
            raise StillArrivingError(
                f"“{show_path(self.root)}” changed at the last moment. It was put back.",
                hint="Nothing to do: it goes on by itself.",
            )
        move_new(self._taking, self.taken)
        sync_folder(self.beside)

    def put_back(self) -> None:
        """Undo a taking that was not finished.

        Raises
        ------
        DisposalError
            Something has its name now; what was taken stays hidden.
        """
        with contextlib.suppress(OSError):
            (self.beside / self._probe).rmdir()
        if not os.path.lexists(self._taking):
            return
        try:
            if self._names is None:
                move_new(self._taking, self.root)
            else:
                for path in sorted(self._taking.iterdir()):
                    move_new(path, self.root / path.name)
                self._taking.rmdir()
        except TargetExistsError as error:
            hint = "Move it back under another name, or away."
            raise DisposalError(
                f"“{show_path(self._taking)}” cannot be put back: its name is taken. {hint}",
                hint=hint,
                path=show_path(self._taking),
            ) from error
        sync_folder(self.beside)

    def remove(self, pieces: tuple[Piece, ...]) -> None:
        """Remove what was taken."""
        reach("dispose.before_remove")
        remove_pieces(self.taken, pieces, is_remote=self._is_remote)
        reach("dispose.after_remove")

    def can_rename_to(self, folder: Path) -> bool:
        """Tell whether one rename leads to a folder: tried with an empty one of ours.

        Raises
        ------
        DisposalError
            The drop folder cannot be changed.
        OSError
            The other folder cannot.
        """
        ours, theirs = self.beside / self._probe, folder / self._probe
        with self.errors():
            ours.mkdir(exist_ok=True)
        try:
            move_new(ours, theirs)
        except OSError as error:
            ours.rmdir()
            if error.errno == errno.EXDEV:
                return False
            raise
        theirs.rmdir()
        return True

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the system's errors of the drop folder into ours, once."""
        try:
            yield
        except StackwatchError:
            raise
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise _read_only(Path(error.filename or self.beside)) from error
            raise SourceUnreadableError(
                f"“{show_path(self.root)}” could not be put away: {error.strerror or error}. "
                "It is tried again later. Look at the disk or the share.",
                hint="Look at the disk or the share of the drop folder.",
                path=show_path(self.root),
            ) from error


def _read_only(folder: Path) -> DisposalError:
    hint = 'Give stackwatch the right to write there, or set `on_success = "keep"`.'
    return DisposalError(
        f"“{show_path(folder)}” may not be changed, so nothing in it is archived or deleted. The "
        f"source is kept. {hint}",
        hint=hint,
        path=show_path(folder),
    )
