"""Archive or delete an acquisition that was published and verified, so that no half of it is left.

The files are taken first: the acquisition's folder is renamed, in one step, to a hidden sibling
(`taking.py`); loose files are gathered in one. Only what was taken whole, and is still what was
published, is removed. Until then everything can be put back, and a crash never leaves an
acquisition that looks like a smaller one. No cookie and no claim is written to the drop folder:
what is renamed there is what the settings ask to be removed.

On the archive's own file system the acquisition is renamed there in one step. On another one it
is copied under a hidden name, flushed, compared, renamed to its place, and only then removed.

Runs in a process of its own, which a share may hang and anybody may kill.
"""

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from stackwatch.errors import (
    DisposalError,
    SourceUnreadableError,
    StackwatchError,
    StillArrivingError,
)
from stackwatch.failpoints import reach
from stackwatch.layout.ignore import finished_name
from stackwatch.model.acquisition import show_path
from stackwatch.model.disposal import DisposalAction
from stackwatch.model.facts import AcquisitionKind, VetoKind
from stackwatch.pipeline.archiving import (
    copy_pieces,
    is_copy,
    make_folders,
    move_to_free_name,
    remove_copy,
)
from stackwatch.pipeline.pieces import (
    Piece,
    PieceKind,
    are_same,
    list_pieces,
    read_book,
    write_book,
)
from stackwatch.pipeline.taking import Taking
from stackwatch.stores.publish import ensure_room, move_new, sync_folder, write_errors
from stackwatch.watch.scan import FolderUnavailable, ScanOptions, scan_folder

_BLOCKING = frozenset({VetoKind.OPEN, VetoKind.UNREADABLE, VetoKind.TEMPORARY})


@dataclass(frozen=True, slots=True)
class DisposeRequest:
    """One acquisition to be archived or deleted.

    Attributes
    ----------
    folder : Path
        The drop folder.
    key, name, source, members, kind, beside
        As in `Sighting`. To go on after a crash no `members` are needed, and `beside` is None: they
        stand in the book.
    stat_mark : str
        Of what was published: it must still be that.
    action : DisposalAction
    token : str
        Unique among all disposals of all ledgers; part of our hidden names.
    book : Path
        In the state directory: keeps the list of what was taken, until the daemon has recorded
        that it is put away and removes it.
    scan : ScanOptions
        As the folder is scanned with.
    archive_to : Path or None
    archive_path : Path or None
        Where an earlier attempt was about to put it.
    """

    folder: Path
    key: str
    name: str
    source: str
    members: tuple[str, ...]
    kind: AcquisitionKind
    stat_mark: str
    action: DisposalAction
    token: str
    book: Path
    scan: ScanOptions = field(default_factory=ScanOptions)
    archive_to: Path | None = None
    archive_path: Path | None = None
    beside: tuple[str, ...] | None = None

    @property
    def archive(self) -> Path:
        """Where archived acquisitions go.

        Raises
        ------
        DisposalError
            The settings do not say so any more.
        """
        if self.archive_to is None:
            raise DisposalError(
                f"“{show_path(self.name)}” was to be archived, but `archive_to` is not set any "
                "more. What was taken stays hidden in the drop folder. Set it again.",
                hint="Set `archive_to` again.",
            )
        return self.archive_to

    def loose_names(self) -> tuple[str, ...] | None:
        """Return the names of its loose files; None for a folder.

        What lies beside a file comes first: when it is taken, no scan sees it without its file.
        """
        if self.kind is AcquisitionKind.FOLDER:
            return None
        if self.members:
            return self.members
        own = () if self.kind is AcquisitionKind.GROUP else (self.source.rpartition("/")[2],)
        if self.beside is not None:
            return (*self.beside, *own)
        return tuple(piece.path for piece in read_book(self.book) or ()) or own


@dataclass(frozen=True, slots=True)
class Disposed:
    """What was archived or deleted.

    Attributes
    ----------
    path : Path or None
        Where it is now; None if it was deleted.
    files, total_bytes : int
        0 where the list of them is lost.
    """

    path: Path | None
    files: int = 0
    total_bytes: int = 0


class SourceDisposal:
    """One disposal under way.

    Parameters
    ----------
    request : DisposeRequest
    announce : callable
        Told where the files will be archived, before they are renamed there; returns when that is
        recorded.
    """

    def __init__(self, request: DisposeRequest, announce: Callable[[Path], None]) -> None:
        self._request = request
        self._announce = announce
        self._is_remote = request.stat_mark.startswith("r")
        root = request.folder / request.source
        names = request.loose_names()
        is_file = request.kind is AcquisitionKind.FILE
        self._is_single = is_file and names is not None and len(names) == 1
        self._is_gathered = names is not None and not self._is_single
        self._taking = Taking(
            root.parent if is_file else root, names, request.token, is_remote=self._is_remote
        )

    @property
    def _wanted(self) -> Path:
        """Its place in the archive: as in the drop folder; of several files a folder."""
        request = self._request
        return request.archive / (request.name if self._is_gathered else request.source)

    @property
    def is_begun(self) -> bool:
        """Whether the acquisition is hidden in the drop folder: to be finished, not to be kept."""
        return self._taking.is_taken

    def run(self) -> Disposed:
        """Do it.

        Raises
        ------
        DisposalError
            It cannot be done; the source is kept, and a person may look why.
        StackwatchError
            Its disposition says what to do. The source is whole and in its place, unless
            `is_begun`.
        """
        with self._taking.errors():
            pieces = self._taking.list_pieces()
            self._ensure_unchanged(pieces)
            self._taking.ensure_writable(pieces)
            write_book(self._request.book, pieces)
        place = None
        if self._request.action is DisposalAction.ARCHIVE:
            place = self._archive(pieces)
        else:
            self._take_and_remove(pieces)
        return _disposed(place, pieces)

    def resume(self) -> Disposed | None:
        """Go on where an earlier process ended; None if everything is in its place, untouched.

        Raises
        ------
        DisposalError, StackwatchError
            As `run`.
        """
        request = self._request
        with self._taking.errors():
            self._taking.put_back()
            pieces = read_book(request.book)
            if self._taking.is_taken:
                return self._finish(pieces)
            if any(os.path.lexists(path) for path in self._taking.own_paths):
                return None
        if request.action is DisposalAction.ARCHIVE:
            with write_errors(request.archive):
                place = request.archive_path
                if place is None or not os.path.lexists(place):
                    raise _vanished(request)
        return _disposed(request.archive_path, pieces or ())

    def _ensure_unchanged(self, pieces: tuple[Piece, ...]) -> None:
        """Refuse an acquisition that is not what was published, or that somebody still writes to.

        Looked at after `pieces` were listed: what changed before is seen here, and what changes
        later differs from them.
        """
        request = self._request
        found = scan_folder(request.folder, request.scan, keys=frozenset({request.key}))
        if isinstance(found, FolderUnavailable):
            raise SourceUnreadableError(found.reason, hint="Look at the mount.")
        seen = next((one for one in found.sightings if one.key == request.key), None)
        is_same = (
            seen is not None
            and (seen.stat_mark, seen.members) == (request.stat_mark, request.members)
            and seen.beside == (request.beside or ())
            and not seen.unreadable
        )
        why = [veto.reason for veto in seen.vetoes if veto.kind in _BLOCKING] if seen else []
        why += [show_path(piece.path) for piece in pieces if _is_unfinished(piece)]
        if is_same and not why:
            return
        raise StillArrivingError(
            f"“{show_path(request.name)}” is not as it was published, or still in use: "
            f"{why[0] if why else 'it changed'}. It is kept, and looked at again later.",
            hint="Nothing to do: it goes on by itself.",
        )

    def _take_and_remove(self, pieces: tuple[Piece, ...]) -> None:
        with self._taking.errors():
            self._taking.take(pieces)
            self._taking.remove(pieces)

    def _finish(self, pieces: tuple[Piece, ...] | None) -> Disposed:
        """Put away what an earlier process took."""
        request, taken = self._request, self._taking.taken
        if pieces is None:
            hint = "Move it back or away."
            raise DisposalError(
                f"“{show_path(taken)}” was taken from the drop folder, but the list of what it "
                f"held is lost. Nothing more of it is removed. {hint}",
                hint=hint,
                path=show_path(taken),
            )
        place = None
        if request.action is DisposalAction.ARCHIVE:
            place = request.archive_path
            if place is None or not is_copy(place, taken, pieces):
                place = self._copy(taken, pieces)
        self._taking.remove(pieces)
        return _disposed(place, pieces)

    # ------------------------------------------------------------ archive

    def _archive(self, pieces: tuple[Piece, ...]) -> Path:
        request = self._request
        with write_errors(request.archive):
            make_folders(request.archive, self._wanted.parent)
            is_one_file_system = self._taking.can_rename_to(self._wanted.parent)
        if is_one_file_system:
            return self._rename(pieces)
        known = request.archive_path
        with write_errors(request.archive):
            is_there = known is not None and is_copy(known, self._taking.root, pieces)
        place = known if is_there else None
        if place is None:
            place = self._copy(self._taking.root, pieces)
        with self._taking.errors():
            self._ensure_unchanged(pieces)
        self._take_and_remove(pieces)
        return place

    def _rename(self, pieces: tuple[Piece, ...]) -> Path:
        """Archive on the same file system: one rename, and a last look at what was renamed."""
        reach("dispose.before_copy")
        source = self._taking.own_paths[0]
        if self._is_gathered:
            with self._taking.errors():
                self._taking.take(pieces)
            source = self._taking.taken
        with write_errors(self._request.archive):
            place = self._move(source)
            if not self._is_gathered and not self._is_as_listed(place, pieces):
                self._put_back(place, source)
            sync_folder(self._taking.beside)
        reach("dispose.after_copy")
        return place

    def _move(self, source: Path) -> Path:
        place = move_to_free_name(source, self._wanted, self._announce)
        sync_folder(place.parent)
        return place

    def _is_as_listed(self, place: Path, pieces: tuple[Piece, ...]) -> bool:
        is_single = self._is_single
        found = list_pieces(place.parent, (place.name,)) if is_single else list_pieces(place)
        if is_single:
            found = (replace(found[0], path=pieces[0].path),)
        return are_same(pieces, found, is_remote=self._is_remote, is_moved=is_single)

    def _put_back(self, place: Path, source: Path) -> None:
        with contextlib.suppress(OSError, StackwatchError):
            move_new(place, source)
            place = source
        raise StillArrivingError(
            f"“{show_path(self._request.name)}” changed at the last moment. It is now "
            f"“{show_path(place)}”, whole.",
            hint="Nothing to do: it goes on by itself.",
            path=show_path(place),
        )

    def _copy(self, root: Path, pieces: tuple[Piece, ...]) -> Path:
        """Copy to another file system, and return the place of the copy."""
        request = self._request
        new = self._wanted.with_name(f".stackwatch-archiving-{request.token}")
        reach("dispose.before_copy")
        with write_errors(request.archive):
            remove_copy(new)  # of an attempt that was cut off
            make_folders(request.archive, new.parent)
            ensure_room(request.archive, sum(piece.size for piece in pieces))
            try:
                copy_pieces(root, pieces, new, is_remote=self._is_remote)
                place = self._move(new / pieces[0].path if self._is_single else new)
            finally:
                remove_copy(new)
        reach("dispose.after_copy")
        return place


def _disposed(place: Path | None, pieces: tuple[Piece, ...]) -> Disposed:
    files = [piece for piece in pieces if piece.kind is PieceKind.FILE]
    return Disposed(place, len(files), sum(piece.size for piece in files))


def _is_unfinished(piece: Piece) -> bool:
    """Tell whether a piece has the name of an unfinished transfer."""
    return piece.kind is PieceKind.FILE and bool(finished_name(piece.path.rpartition("/")[2]))


def _vanished(request: DisposeRequest) -> DisposalError:
    return DisposalError(
        f"“{show_path(request.name)}” is neither in its drop folder nor in the archive: somebody "
        "moved it while it was being archived. Nothing more is done with it.",
        hint="Look for it.",
    )
