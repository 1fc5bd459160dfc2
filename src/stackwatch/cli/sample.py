"""`config check --sample`: which files of a path count, and which pattern leaves out the others."""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stackwatch.errors import UsageError
from stackwatch.model.acquisition import show_path

if TYPE_CHECKING:
    from stackwatch.settings import FolderSettings, Settings

MAX_ENTRIES: Final = 100_000
_EXAMPLES: Final = 5


def sample_path(settings: "Settings", path: Path) -> dict[str, Any]:
    """Return what the folder's `ignore` patterns, and the usual ones, make of a path.

    Parameters
    ----------
    settings : Settings
    path : Path
        A drop folder, something in it, or any folder where only one drop folder is configured.

    Raises
    ------
    UsageError
        It is not there, or it is not clear which drop folder's settings are meant.
    """
    from stackwatch.layout.ignore import compile_ignore

    place = path.absolute()
    folder, inside = _folder_of(settings, place)
    if not place.is_dir():
        hint = "Name a drop folder, or an acquisition in it."
        raise UsageError(
            f"“{show_path(place)}” is no folder. {hint}", hint=hint, path=show_path(place)
        )
    ignored_by = compile_ignore(folder.ignore)
    counted: list[str] = []
    ignored: dict[str, list[str]] = {}
    refused: list[str] = []
    left_out: set[str] = set()
    for name, kind in _iter_entries(place, left_out):
        is_folder = kind == "folder"
        pattern = ignored_by(_as_patterns_see(inside, name, folder) + "/" * is_folder)
        if pattern:
            left_out.add(name)
            ignored.setdefault(pattern, []).append(name + "/" * is_folder)
        elif kind == "file":
            counted.append(name)
        elif not is_folder:
            refused.append(name)
    return {
        "path": show_path(place),
        "folder": folder.name,
        "counted": _group(counted),
        "ignored": [{"pattern": pattern, **_group(names)} for pattern, names in ignored.items()],
        "refused": _group(refused),
    }


def describe_sample(sample: Mapping[str, Any]) -> str:
    """Return the sample for people."""
    lines = ["", f"{sample['path']} by the settings of {sample['folder']}:"]
    lines.append(f"  {sample['counted']['number']} files count{_examples(sample['counted'])}")
    lines += [
        f"  {entry['number']} left out by `{entry['pattern']}`{_examples(entry)}"
        for entry in sample["ignored"]
    ]
    if sample["refused"]["number"]:
        lines.append(
            f"  {sample['refused']['number']} refused, no regular files"
            f"{_examples(sample['refused'])}"
        )
    return "\n".join(lines)


def _folder_of(settings: "Settings", place: Path) -> tuple["FolderSettings", str]:
    """Return the drop folder whose settings count, and the path within it."""
    for folder in settings.folder:
        if place.is_relative_to(folder.path):
            inside = str(place.relative_to(folder.path))
            return folder, "" if inside == "." else inside
    if len(settings.folder) == 1:
        # somewhere else: taken for an acquisition of the only folder
        return settings.folder[0], "/".join(["sample"] * settings.folder[0].acquisition_depth)
    hint = "Name a path in one of the drop folders."
    raise UsageError(
        f"“{show_path(place)}” lies in no drop folder, and there are {len(settings.folder)}. "
        f"{hint}",
        hint=hint,
        path=show_path(place),
    )


def _as_patterns_see(inside: str, name: str, folder: "FolderSettings") -> str:
    """Return the path that patterns are compared with: relative to the acquisition."""
    parts = [*(inside.split("/") if inside else []), *name.split("/")]
    is_within = len(parts) > folder.acquisition_depth
    return "/".join(parts[folder.acquisition_depth :] if is_within else parts)


def _iter_entries(root: Path, left_out: set[str]) -> Iterator[tuple[str, str]]:
    """Yield relative paths and whether each is a file, a folder or something else.

    Folders whose paths are put into `left_out` are not entered.
    """
    pending, count = [""], 0
    while pending:
        inside = pending.pop()
        if inside in left_out:
            continue
        try:
            entries = sorted(os.scandir(root / inside), key=lambda entry: entry.name)
        except OSError:
            continue  # the daemon reports folders it cannot list
        for entry in entries:
            count += 1
            if count > MAX_ENTRIES:
                return
            name = f"{inside}/{entry.name}" if inside else entry.name
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                pending.append(name)
            kind = "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"
            yield name, kind


def _group(names: list[str]) -> dict[str, Any]:
    return {"number": len(names), "examples": [show_path(name) for name in names[:_EXAMPLES]]}


def _examples(group: Mapping[str, Any]) -> str:
    examples = ", ".join(group["examples"])
    more = " …" if group["number"] > len(group["examples"]) else ""
    return f": {examples}{more}" if examples else ""
