"""List a zip archive as the folder it contains, after making sure that it is harmless."""

import calendar
import stat
import zipfile
from pathlib import Path
from typing import Final

from stackwatch.errors import (
    AcquisitionError,
    CorruptSliceError,
    LimitExceededError,
    UnsupportedFormatError,
    VanishedError,
)
from stackwatch.layout.ignore import compile_ignore
from stackwatch.layout.kinds import FileKind, kind_of
from stackwatch.model.acquisition import FileEntry, Listing, show_path
from stackwatch.model.options import LayoutOptions

_GIB: Final = 2**30
_HARMLESS_BYTES: Final = 64 * 2**20
"""Black slices compress a thousandfold: below this size the ratio proves nothing."""

_READABLE_METHODS: Final = frozenset(
    {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
)


def list_zip(path: Path, options: LayoutOptions, ignore: tuple[str, ...] | None = None) -> Listing:
    """List the members of a zip archive.

    Parameters
    ----------
    path : Path
    options : LayoutOptions
        `zip_max_ratio`, `zip_max_gib`, and `ignore` where no other patterns are given.
    ignore : tuple of str or None

    Returns
    -------
    Listing
        Its root is the archive; paths are those inside of it. The modification time of a member
        is what the archive says, read as UTC.

    Raises
    ------
    UnsupportedFormatError
        Encrypted, nested, absolute, `..`, linked or repeated members: the caller parks.
    LimitExceededError
        More data than `zip_max_gib`, or a ratio above `zip_max_ratio`: the caller parks.
    CorruptSliceError
        No zip archive, or not written completely.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except FileNotFoundError as error:
        raise VanishedError(
            f"“{show_path(path)}” is not there. It was moved or removed.",
            hint="Put it back, or check the path.",
            path=show_path(path),
        ) from error
    except (zipfile.BadZipFile, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise CorruptSliceError(
            f"“{show_path(path)}” is no readable zip archive ({error}). It is damaged, or was not "
            "written completely.",
            hint="Copy the archive again.",
            path=show_path(path),
        ) from error
    except OSError as error:
        raise AcquisitionError(
            f"“{show_path(path)}” cannot be read: {error.strerror}.",
            hint="Check the permissions of the archive.",
            path=show_path(path),
        ) from error
    matcher = compile_ignore(options.ignore if ignore is None else ignore)
    for member in members:
        _ensure_stays_inside(path, member)
    ignored = [m.filename for m in members if matcher(m.filename)]
    files = [m for m in members if not m.is_dir() and not matcher(m.filename)]
    _ensure_readable(path, files)
    _ensure_within_limits(path, files, options)
    entries = sorted(FileEntry(m.filename, m.file_size, _mtime_ns(m)) for m in files)
    return Listing(root=path, entries=tuple(entries), ignored=tuple(sorted(ignored)))


def _ensure_stays_inside(path: Path, member: zipfile.ZipInfo) -> None:
    # the name before zipfile cut it at a NUL is the one other programs would write to
    name = member.orig_filename
    parts = name.replace("\\", "/").split("/")
    if ".." in parts:
        reason = "has “..” in its path and would be written outside of the folder"
    elif name.startswith(("/", "\\")) or name[1:2] == ":":
        reason = "has an absolute path"
    elif "\\" in name:
        reason = "has backslashes in its path"
    elif "\0" in name:
        reason = "has a NUL character in its name"
    elif stat.S_ISLNK(member.external_attr >> 16):
        reason = "is a symbolic link"
    else:
        return
    raise _refused(path, name, reason, "Pack the archive anew, from plain files and folders.")


def _ensure_readable(path: Path, files: list[zipfile.ZipInfo]) -> None:
    seen: set[str] = set()
    for member in files:
        name = member.filename
        if name in seen:
            raise _refused(path, name, "occurs twice", "Pack the archive anew, each file once.")
        seen.add(name)
        if member.flag_bits & 0x1:
            raise _refused(path, name, "is encrypted", "Pack the archive without a password.")
        if member.compress_type not in _READABLE_METHODS:
            method = f"is compressed by method {member.compress_type}, which is not known"
            raise _refused(path, name, method, "Pack the archive with deflate.")
        if kind_of(name) is FileKind.ARCHIVE:
            raise _refused(path, name, "is an archive in an archive", "Pack the images themselves.")


def _refused(path: Path, member: str, reason: str, hint: str) -> UnsupportedFormatError:
    return UnsupportedFormatError(
        f"The member “{show_path(member)}” of “{show_path(path)}” {reason}. The archive is not "
        f"opened. {hint}",
        hint=hint,
        path=show_path(path),
        member=show_path(member),
    )


def _ensure_within_limits(path: Path, files: list[zipfile.ZipInfo], options: LayoutOptions) -> None:
    total = sum(member.file_size for member in files)
    if total > options.zip_max_gib * _GIB:
        raise LimitExceededError(
            f"“{show_path(path)}” unpacks to {total / _GIB:.1f} GiB; `zip_max_gib` is "
            f"{options.zip_max_gib:g}. If that is right, raise `zip_max_gib`.",
            hint="Raise `zip_max_gib`, or unpack the archive yourself.",
            path=show_path(path),
            total_bytes=total,
        )
    # measured against the file itself: members that overlap share their compressed bytes
    packed = min(path.stat().st_size, sum(member.compress_size for member in files))
    ratio = total / max(packed, 1)
    if total > _HARMLESS_BYTES and ratio > options.zip_max_ratio:
        raise LimitExceededError(
            f"“{show_path(path)}” unpacks to {ratio:.0f} times its size ({total / 2**20:.0f} MiB); "
            f"`zip_max_ratio` is {options.zip_max_ratio:g}. Archives made to fill a disk look like "
            "this. If it is right, raise `zip_max_ratio`.",
            hint="Raise `zip_max_ratio`, or unpack the archive yourself.",
            path=show_path(path),
            ratio=round(ratio, 1),
            total_bytes=total,
        )


def _mtime_ns(member: zipfile.ZipInfo) -> int:
    return calendar.timegm((*member.date_time, 0, 0, 0)) * 1_000_000_000
