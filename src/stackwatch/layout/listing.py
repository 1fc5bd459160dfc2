"""List an acquisition: one pass over its folder, its loose files, or its archive.

Only regular files are listed. Links, pipes, sockets, devices and folders that cannot be read
become refusals: they are named, and never followed or opened.
"""

import os
import stat
from pathlib import Path
from typing import Final

from stackwatch.errors import AcquisitionError, VanishedError
from stackwatch.layout.archive import list_zip
from stackwatch.layout.ignore import Matcher, compile_ignore
from stackwatch.layout.sidecar import SIDECAR_SUFFIX, plain_name
from stackwatch.model.acquisition import FileEntry, Listing, Refusal, show_path
from stackwatch.model.options import LayoutOptions
from stackwatch.model.raw import names_of_descriptions

__all__ = ["list_acquisition", "list_beside", "list_file", "list_zip"]

_SPECIAL: Final = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
}


def list_acquisition(
    source: Path,
    ignore: tuple[str, ...] = (),
    members: tuple[str, ...] = (),
    options: LayoutOptions | None = None,
) -> Listing:
    """List an acquisition's files.

    Parameters
    ----------
    source : Path
        A folder, a zip archive, or a single file. With `members`: the folder they are in.
    ignore : tuple of str
        Patterns of what does not belong to the acquisition (`compile_ignore`), beside the usual
        junk and temporary names.
    members : tuple of str
        Names of loose files directly in `source`; empty for all of it.
    options : LayoutOptions or None
        The limits for archives; None takes the defaults.

    Returns
    -------
    Listing
        For a single file its root is the folder it lies in, for an archive the archive. The
        sidecar of a single file is listed with it, and so are the texts that describe a raw one.

    Raises
    ------
    VanishedError
        The source, or a member, is not there; the caller parks.
    AcquisitionError
        The source is neither a folder nor a file, or cannot be read.
    UnsupportedFormatError, LimitExceededError, CorruptSliceError
        The archive is refused (`list_zip`).
    """
    ignored_by = compile_ignore(ignore, marker=options.marker if options is not None else "")
    if members:
        return _list_members(source, members, ignored_by)
    try:
        mode = source.stat().st_mode
    except OSError as error:
        raise _unreadable(source, error) from error
    if stat.S_ISDIR(mode):
        return _list_folder(source, ignored_by)
    if not stat.S_ISREG(mode):
        raise AcquisitionError(
            f"“{show_path(source)}” is {_SPECIAL.get(stat.S_IFMT(mode), 'not a file')}. Only "
            "folders and regular files are read.",
            hint="Give a folder or a file.",
            path=show_path(source),
        )
    if source.suffix.lower() == ".zip":
        return list_zip(source, options or LayoutOptions(), ignore)
    # the file was named outright: no ignore pattern applies to it, and a link to it is meant
    file = source.resolve() if source.is_symlink() else source
    return _list_members(file.parent, (file.name, *_beside(file)), None)


def list_file(file: Path) -> Listing:
    """List one file as it is, an archive too."""
    return _list_members(file.parent, (file.name,), None)


def list_beside(file: Path) -> Listing:
    """List the sidecars beside a file: one at most, if all is well."""
    return _list_members(file.parent, _beside(file), None)


def _beside(file: Path) -> tuple[str, ...]:
    sidecars = (f"{name}{SIDECAR_SUFFIX}" for name in (file.name, plain_name(file.name)))
    names = dict.fromkeys((*sidecars, *names_of_descriptions(file.name)))
    return tuple(name for name in names if os.path.lexists(file.with_name(name)))


def _list_members(folder: Path, members: tuple[str, ...], ignored_by: Matcher | None) -> Listing:
    entries: list[FileEntry] = []
    refusals: list[Refusal] = []
    ignored: list[str] = []
    for name in members:
        if ignored_by is not None and ignored_by(name):
            ignored.append(name)
            continue
        path = folder / name
        try:
            found = path.lstat()
        except OSError as error:
            raise _unreadable(path, error) from error
        if stat.S_ISREG(found.st_mode):
            entries.append(_entry(name, found))
        else:
            refusals.append(Refusal(name, _reason(str(folder), name, found.st_mode)))
    return _sorted_listing(folder, entries, refusals, ignored, is_whole_folder=False)


def _list_folder(root: Path, ignored_by: Matcher) -> Listing:
    entries: list[FileEntry] = []
    refusals: list[Refusal] = []
    ignored: list[str] = []
    pending = [""]
    while pending:
        prefix = pending.pop()
        try:
            found = list(os.scandir(root / prefix))
        except FileNotFoundError as error:
            if not prefix:
                raise _unreadable(root, error) from error
            continue  # removed since its parent was listed: the next listing tells the same
        except OSError as error:
            if not prefix:
                raise _unreadable(root, error) from error
            refusals.append(Refusal(prefix, f"a folder that cannot be read: {error.strerror}"))
            continue
        for entry in found:
            path = prefix + entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            if ignored_by(path + "/" * is_folder):
                ignored.append(path + "/" * is_folder)
            elif is_folder:
                pending.append(path + "/")
            else:
                _list_entry(entry, path, str(root), entries, refusals)
    return _sorted_listing(root, entries, refusals, ignored, is_whole_folder=True)


def _list_entry(
    entry: os.DirEntry[str],
    path: str,
    root: str,
    entries: list[FileEntry],
    refusals: list[Refusal],
) -> None:
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return  # removed since its folder was listed
    except OSError as error:
        refusals.append(Refusal(path, f"cannot be looked at: {error.strerror}"))
        return
    if stat.S_ISREG(found.st_mode):
        entries.append(_entry(path, found))
    else:
        refusals.append(Refusal(path, _reason(root, path, found.st_mode)))


def _entry(path: str, found: os.stat_result) -> FileEntry:
    return FileEntry(path, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def _reason(root: str, path: str, mode: int) -> str:
    if not stat.S_ISLNK(mode):
        return _SPECIAL.get(stat.S_IFMT(mode), "not a regular file")
    try:
        target = os.readlink(os.path.join(root, path))  # noqa: PTH115, PTH118 - keeps surrogates and `..`
    except OSError:
        return "a symbolic link"
    # compared as text: following the link to find out is what must not happen
    inner = os.path.normpath(os.path.join(os.path.dirname(path), target))  # noqa: PTH118, PTH120
    leaves = os.path.isabs(target) or inner == ".." or inner.startswith("../")  # noqa: PTH117
    if os.path.isabs(target):  # noqa: PTH117
        base = os.path.abspath(root)  # noqa: PTH100
        leaves = os.path.commonpath([base, os.path.normpath(target)]) != base
    where = ", which leaves the acquisition" if leaves else ""
    return f"a symbolic link to “{show_path(target)}”{where}"


def _sorted_listing(
    root: Path,
    entries: list[FileEntry],
    refusals: list[Refusal],
    ignored: list[str],
    *,
    is_whole_folder: bool,
) -> Listing:
    return Listing(
        root=root,
        entries=tuple(sorted(entries)),
        refusals=tuple(sorted(refusals, key=lambda refusal: refusal.path)),
        ignored=tuple(sorted(ignored)),
        is_whole_folder=is_whole_folder,
    )


def _unreadable(path: Path, error: OSError) -> AcquisitionError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return VanishedError(
            f"“{show_path(path)}” is not there. It was moved or removed, or its mount is gone.",
            hint="Put it back, or check the path and the mount.",
            path=show_path(path),
        )
    return AcquisitionError(
        f"“{show_path(path)}” cannot be read: {error.strerror}.",
        hint="Check the permissions of the folder and of the folders above it.",
        path=show_path(path),
    )
