"""Which names do not belong to an acquisition: the usual junk, temporary files, and patterns.

Standard library only: the scan process imports this module and nothing else of this floor.
"""

import fnmatch
import re
from collections.abc import Callable
from typing import Final

JUNK: Final[tuple[tuple[str, str], ...]] = (
    (".*", "hidden: .DS_Store, ._* of macOS, .Trash*, .nfs*, and .stackwatch of our own"),
    ("__MACOSX", "resource forks, put into archives by macOS"),
    ("Thumbs.db", "thumbnails of Windows"),
    ("ehthumbs*.db", "thumbnails of Windows"),
    ("desktop.ini", "folder settings of Windows"),
    ("$RECYCLE.BIN", "deleted files of Windows"),
    ("System Volume Information", "bookkeeping of Windows"),
    ("@eaDir", "thumbnails of Synology"),
    ("@Recycle", "deleted files of QNAP"),
    ("@Recently-Snapshot", "snapshots of QNAP"),
    ("#recycle", "deleted files of Synology"),
    ("#snapshot", "snapshots of Synology"),
    ("lost+found", "pieces found by fsck"),
    ("~$*", "lock files of office programs"),
    ("*~", "copies kept by editors"),
)
"""Names left out wherever they occur, as file or folder, in any case of letters."""

TEMPORARY: Final[tuple[tuple[str, str], ...]] = (
    ("*.part", "unfinished download of Firefox, wget, KDE and others"),
    ("*.partial", "unfinished download"),
    ("*.crdownload", "unfinished download of Chrome"),
    ("*.download", "unfinished download of Safari"),
    ("*.filepart", "unfinished transfer of WinSCP"),
    ("*.aria2", "unfinished download of aria2"),
    ("*.tmp", "written by a program that has not finished"),
    ("*.temp", "written by a program that has not finished"),
    ("*.sb-????????-??????", "safe save of macOS"),
)
"""Names of files that somebody is still writing, or has given up."""

_ZARR_METADATA: Final = frozenset({".zarray", ".zgroup", ".zattrs"})
"""Hidden by their names, and part of what they lie beside."""

_RSYNC: Final = re.compile(r"\.(?P<name>.+)\.[A-Za-z0-9]{6}\Z", re.DOTALL)
"""rsync writes `name` as `.name.XXXXXX` and renames it when it is whole."""

_PARTIAL_FOLDER: Final = re.compile(r"\.~tmp~\Z|\..*partial", re.IGNORECASE | re.DOTALL)
"""Where rsync keeps what is not in its place yet: `--delay-updates`, and `--partial-dir` as the
manual names it (`.rsync-partial`)."""

Matcher = Callable[[str], str]
"""From a relative path to the pattern that leaves it out, or an empty string."""


def _translate(patterns: tuple[str, ...]) -> list[tuple[str, re.Pattern[str]]]:
    return [
        (pattern, re.compile(fnmatch.translate(pattern), re.IGNORECASE)) for pattern in patterns
    ]


_USUAL: Final = _translate(tuple(pattern for pattern, _ in TEMPORARY + JUNK))

# a scan asks for every name of a folder: three comparisons with all plain patterns at once, and
# an expression for the few others
_LOWER: Final = tuple(pattern.lower() for pattern, _ in TEMPORARY + JUNK)
_EXACT: Final = frozenset(pattern for pattern in _LOWER if not re.search(r"[*?\[]", pattern))
_HEADS: Final = tuple(found[1] for p in _LOWER if (found := re.fullmatch(r"([^*?\[]+)\*", p)))
_TAILS: Final = tuple(found[1] for p in _LOWER if (found := re.fullmatch(r"\*([^*?\[]+)", p)))
_OTHERS: Final = re.compile(
    "|".join(
        fnmatch.translate(pattern)
        for pattern in _LOWER
        if pattern not in _EXACT and not re.fullmatch(r"[^*?\[]+\*|\*[^*?\[]+", pattern)
    )
)


def is_junk(name: str) -> bool:
    """Tell whether the name of a file or folder is usual junk, or temporary.

    Parameters
    ----------
    name : str
        One part of a path.

    Examples
    --------
    >>> [name for name in ("._a.tif", "thumbs.db", "a.tif.part", "a.tif") if is_junk(name)]
    ['._a.tif', 'thumbs.db', 'a.tif.part']
    """
    lower = name.lower()
    if lower in _ZARR_METADATA:
        return False
    return (
        lower.startswith(_HEADS)
        or lower.endswith(_TAILS)
        or lower in _EXACT
        or _OTHERS.match(lower) is not None
    )


def finished_name(name: str) -> str:
    """Return the name a temporary file will have when it is whole; empty if it is not temporary.

    Parameters
    ----------
    name : str
        One part of a path.

    Examples
    --------
    >>> finished_name("img_3.tif.part"), finished_name(".img_3.tif.x7Hs2q"), finished_name("a.tif")
    ('img_3.tif', 'img_3.tif', '')
    """
    lower = name.lower()
    for pattern, _ in TEMPORARY:
        if fnmatch.fnmatchcase(lower, pattern.lower()):
            return name[: name.rindex(".")]
    rsync = _RSYNC.match(name)
    return rsync["name"] if rsync else ""


def is_unfinished(name: str, *, is_folder: bool) -> bool:
    """Tell whether a file or folder has the name of a transfer that has not finished.

    Parameters
    ----------
    name : str
        One part of a path.
    is_folder : bool

    Examples
    --------
    >>> is_unfinished("a.tif.part", is_folder=False), is_unfinished(".~tmp~", is_folder=True)
    (True, True)
    >>> is_unfinished("._a.backup", is_folder=False)  # a companion written by macOS
    False
    """
    if is_folder and _PARTIAL_FOLDER.match(name):
        return True
    return not name.startswith("._") and finished_name(name) != ""


def compile_ignore(
    patterns: tuple[str, ...] = (), *, with_usual: bool = True, marker: str = ""
) -> Matcher:
    """Return a matcher for the usual junk, temporary names, and the `ignore` setting.

    A pattern is a shell glob (`*`, `?`, `[…]`), matched with the case of letters as written:

    - without a slash it is compared with every part of the path (`preview*`, `*.jpg`);
    - with a slash in it, with the whole relative path and every folder above (`raw/old/*`);
    - with a slash at its end, with folders only (`previews/`).

    Parameters
    ----------
    patterns : tuple of str
    with_usual : bool
        Whether junk and temporary names match too.
    marker : str
        Pattern for names of files alone, as the setting `marker` has it; empty for none.

    Returns
    -------
    Matcher
        Takes a path relative to the acquisition (a folder's path ends in `/`) and returns the
        pattern that leaves it out, or an empty string.

    Examples
    --------
    >>> matcher = compile_ignore(("previews/", "*.jpg"))
    >>> matcher("previews/a.tif"), matcher("a.jpg"), matcher("a.tif"), matcher("Thumbs.db")
    ('previews/', '*.jpg', '', 'Thumbs.db')
    """
    own = [(pattern, *_compile_own(pattern)) for pattern in patterns if pattern.strip("/")]
    is_marker = re.compile(fnmatch.translate(marker)).match if marker else None

    def matched_by(path: str) -> str:
        parts = path.rstrip("/").split("/")
        junk = next((part for part in parts if is_junk(part)), "") if with_usual else ""
        if junk:
            return next((pattern for pattern, compiled in _USUAL if compiled.match(junk)), junk)
        folders = parts if path.endswith("/") else parts[:-1]
        if is_marker is not None and len(folders) < len(parts) and is_marker(parts[-1]):
            return marker
        for pattern, compiled, is_anchored, is_for_folders in own:
            candidates = folders if is_for_folders else parts
            if is_anchored:
                candidates = ["/".join(parts[: i + 1]) for i in range(len(candidates))]
            if any(compiled.match(candidate) for candidate in candidates):
                return pattern
        return ""

    return matched_by


def _compile_own(pattern: str) -> tuple[re.Pattern[str], bool, bool]:
    """Return the compiled pattern, whether it is anchored, and whether it is for folders only."""
    is_for_folders = pattern.endswith("/")
    bare = pattern.rstrip("/")
    is_anchored = "/" in bare
    return re.compile(fnmatch.translate(bare.lstrip("/"))), is_anchored, is_for_folders
