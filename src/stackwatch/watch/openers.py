"""Find programs of this machine that have files of an acquisition open for writing.

Advisory only: the descriptors and mappings of other users' programs are hidden from us unless we
are root, those of other machines always, and those of another mount namespace bear other names.
Nothing found therefore means "nothing seen", never "closed".

A lease (`fcntl` F_SETLEASE) would know more, and is not used: while we held it, a program's
`open` for writing would block until we let go, up to the kernel's `lease-break-time` of 45 s. A
watcher may not disturb the instrument it watches; and only the owner of a file may ask.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
_WAYS: Final = os.O_RDONLY | os.O_WRONLY | os.O_RDWR
_WRITING: Final = (os.O_WRONLY, os.O_RDWR)


@dataclass(frozen=True, slots=True, order=True)
class Opener:
    """A program that may still write.

    Attributes
    ----------
    path : str
        Relative to the folder that was asked for.
    pid : int
    program : str
        Its name as the kernel keeps it, at most 15 letters.
    """

    path: str
    pid: int
    program: str


def find_openers(
    folder: str, is_wanted: Callable[[str], bool] | None = None, proc: Path = PROC
) -> list[Opener]:
    """Return who has files below a folder open for writing, or mapped writable and shared.

    Parameters
    ----------
    folder : str
        Absolute.
    is_wanted : callable or None
        Takes a path relative to the folder; None wants all.
    proc : Path

    Returns
    -------
    list of Opener
        Sorted. This process and the one that started it are never among them.

    Cost
    ----
    A readlink for each descriptor of each process we may see, some milliseconds in all, however
    many files the acquisition has. No file of the folder is touched.
    """
    prefix = os.path.realpath(folder).rstrip("/") + "/"
    own = {os.getpid(), os.getppid()}
    found = set()
    for process in _processes(proc):
        if int(process.name) in own:
            continue
        for path in _paths_open(process, prefix):
            inside = path[len(prefix) :]
            if is_wanted is None or is_wanted(inside):
                found.add(Opener(inside, int(process.name), _program(process)))
    return sorted(found)


def _processes(proc: Path) -> Iterator[Path]:
    try:
        with os.scandir(proc) as entries:
            yield from (proc / entry.name for entry in entries if entry.name.isdecimal())
    except OSError:
        return  # no /proc: nothing is seen, as for programs of other users


def _paths_open(process: Path, prefix: str) -> Iterator[str]:
    try:
        with os.scandir(process / "fd") as entries:
            names = [entry.name for entry in entries]
    except OSError:
        return  # another user's, or it has ended
    for name in names:
        try:
            path = str((process / "fd" / name).readlink())
        except OSError:
            continue
        if path.startswith(prefix) and _is_writing(process / "fdinfo" / name):
            yield path
    yield from _paths_mapped(process, prefix)


def _is_writing(fdinfo: Path) -> bool:
    try:
        lines = fdinfo.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line.split()[1] for line in lines if line.startswith("flags:")), "0")
    return int(flags, 8) & _WAYS in _WRITING


def _paths_mapped(process: Path, prefix: str) -> Iterator[str]:
    """Yield files mapped writable and shared: their descriptor may have been closed long ago."""
    try:
        text = (process / "maps").read_bytes()
    except OSError:
        return
    wanted = os.fsencode(prefix)
    if wanted not in text.replace(b"\\012", b"\n"):
        return
    for line in text.splitlines():
        # address perms offset device inode path; a newline in a path is written as \012
        parts = line.split(None, 5)
        if len(parts) == 6 and parts[1][1:2] == b"w" and parts[1][3:4] == b"s":
            path = os.fsdecode(parts[5].replace(b"\\012", b"\n"))
            if path.startswith(prefix):
                yield path


def _program(process: Path) -> str:
    try:
        return (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "a program"
