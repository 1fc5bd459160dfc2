"""The sidecar of an acquisition, `stackwatch.toml`: what a person says about this very one.

It lies inside the acquisition's folder, at its top, or beside a loose file or group of files as
`<name>.stackwatch.toml`. Standard library and `model` only: the scan process imports this module.
"""

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from stackwatch.errors import SidecarError
from stackwatch.layout.sidecar_keys import LayerValues, check_values
from stackwatch.model.acquisition import show_path
from stackwatch.model.facts import Directives
from stackwatch.model.raw import RawFacts

SIDECAR_NAME: Final = "stackwatch.toml"
SIDECAR_SUFFIX: Final = ".stackwatch.toml"
MAX_SIDECAR_BYTES: Final = 2**20

_OPEN_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What a sidecar says.

    Attributes
    ----------
    file : str
        Name of the file, for people.
    name : str
        Of the dataset; empty: it says none.
    voxel_size_nm : tuple of (float or None)
        x, y, z, as far as it says them.
    category : str or None
        "color" or "segmentation".
    layer_name : str or None
    layers : tuple of LayerValues
        `[[layer]]`: first match wins.
    rescale : tuple of (float, float) or None
    raw : RawFacts
        `[raw]`: what raw files are.
    metadata : mapping
        Of plain values; kept with the dataset.
    directives : Directives
        What it tells the daemon.
    """

    file: str = SIDECAR_NAME
    name: str = ""
    voxel_size_nm: tuple[float | None, float | None, float | None] = (None, None, None)
    category: str | None = None
    layer_name: str | None = None
    layers: tuple[LayerValues, ...] = ()
    rescale: tuple[float, float] | None = None
    raw: RawFacts = field(default_factory=RawFacts)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    directives: Directives = field(default_factory=Directives)

    def meaning(self) -> dict[str, Any]:
        """Return what changes a dataset, as JSON values: empty if nothing in it does.

        Two sidecars of one meaning are one content. What only the daemon asks for (`skip`,
        `priority`, `expected_files`, `upload`) and comments are not in it.
        """
        said = {
            "name": self.name,
            "voxel_size_nm": list(self.voxel_size_nm) if any(self.voxel_size_nm) else None,
            "category": self.category,
            "layer_name": self.layer_name,
            "layer": [[rule.match, rule.name, rule.category] for rule in self.layers],
            "rescale": list(self.rescale) if self.rescale is not None else None,
            "raw": {key: value for key, value in asdict(self.raw).items() if value},
            "metadata": dict(self.metadata),
        }
        return {key: value for key, value in said.items() if value}


def is_sidecar(name: str) -> bool:
    """Tell whether a file of this name is a sidecar: never an image, never an acquisition.

    Parameters
    ----------
    name : str
        One part of a path.

    Examples
    --------
    >>> [name for name in ("stackwatch.toml", "a.stackwatch.toml", "a.toml") if is_sidecar(name)]
    ['stackwatch.toml', 'a.stackwatch.toml']
    """
    lower = name.lower()
    return lower == SIDECAR_NAME or (
        lower.endswith(SIDECAR_SUFFIX) and len(name) > len(SIDECAR_SUFFIX)
    )


def find_sidecars(paths: Iterable[str]) -> tuple[str, ...]:
    """Return those files of an acquisition that are its sidecars: one at most, if all is well.

    Parameters
    ----------
    paths : iterable of str
        Relative to the acquisition's root. A sidecar in a folder further below is none.
    """
    return tuple(sorted(path for path in paths if "/" not in path and is_sidecar(path)))


def sidecars_beside(found: Iterable[str], *names: str) -> tuple[str, ...]:
    """Return which of the sidecars in a folder belong to a loose file, or to a group of them.

    Parameters
    ----------
    found : iterable of str
        Names of all sidecars in the folder.
    *names : str
        The file's name and its stem (`plain_name`); of a group the stem alone.

    Examples
    --------
    >>> found = ["a.stackwatch.toml", "a.tif.stackwatch.toml", "stackwatch.toml"]
    >>> sidecars_beside(found, "a.tif", "a"), sidecars_beside(found, "b")
    (('a.stackwatch.toml', 'a.tif.stackwatch.toml'), ())
    """
    wanted = {f"{name}{SIDECAR_SUFFIX}" for name in names if name}
    return tuple(sorted(wanted.intersection(found)))


def plain_name(name: str) -> str:
    """Return a file's name without its suffix, and without both parts of `.ome.tif`.

    Examples
    --------
    >>> plain_name("a.ome.tif"), plain_name("b.tif"), plain_name("c")
    ('a', 'b', 'c')
    """
    stem = name.rpartition(".")[0] or name
    return stem[:-4] if stem.lower().endswith(".ome") and stem[:-4] else stem


def read_directives(folder: str, names: Iterable[str]) -> Directives:
    """Return what an acquisition's sidecar tells the daemon, for the scan process.

    A sidecar with mistakes tells nothing here: the conversion parks the acquisition and names the
    line.

    Parameters
    ----------
    folder : str
        Absolute path of the folder that holds the files.
    names : iterable of str
        The acquisition's files, relative to it.

    Raises
    ------
    OSError
        The disk or share failed, as for any look at it.
    """
    found = find_sidecars(names)
    if len(found) != 1:
        return Directives()
    try:
        return load_sidecar(Path(folder, found[0])).directives
    except (SidecarError, FileNotFoundError, PermissionError):
        return Directives()


def load_sidecar(path: Path) -> Sidecar:
    """Read a sidecar.

    Raises
    ------
    SidecarError
        It has mistakes, is too large, or is no regular file; the caller parks.
    OSError
        It is gone, may not be read, or the disk failed.
    """
    try:
        descriptor = os.open(path, _OPEN_FLAGS)
    except OSError as error:
        if path.is_symlink():
            raise _no_file(path) from error
        raise
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _no_file(path)
        data = b""
        while len(data) <= MAX_SIDECAR_BYTES:
            block = file.read(MAX_SIDECAR_BYTES + 1 - len(data))
            if not block:
                break
            data += block
    return parse_sidecar(data, path)


def parse_sidecar(data: bytes, path: Path) -> Sidecar:
    """Return what the bytes of a sidecar say.

    Parameters
    ----------
    data : bytes
    path : Path
        Where they come from, for messages.

    Raises
    ------
    SidecarError
        Names the file and, all at once, every mistake with its line and key; the caller parks.
    """
    if len(data) > MAX_SIDECAR_BYTES:
        problems = [f"the file is larger than {MAX_SIDECAR_BYTES >> 20} MiB"]
        raise sidecar_error(path, problems)
    values, problems = check_values(data)
    if problems:
        raise sidecar_error(path, problems)
    return Sidecar(
        file=show_path(path.name),
        name=values.get("name", ""),
        voxel_size_nm=values.get("voxel_size_nm", (None, None, None)),
        category=values.get("category"),
        layer_name=values.get("layer_name"),
        layers=values.get("layer", ()),
        rescale=values.get("rescale"),
        raw=values.get("raw", RawFacts()),
        metadata=values.get("metadata", {}),
        directives=Directives(
            name=values.get("name", ""),
            skip=values.get("skip", False),
            priority=values.get("priority", 0),
            expected_files=values.get("expected_files"),
            upload=values.get("upload"),
        ),
    )


def sidecar_error(path: Path, problems: list[str]) -> SidecarError:
    """Return the one error that names all mistakes of a sidecar."""
    hint = "Mend the file: the acquisition then settles anew by itself."
    count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
    rest = f"; and {len(problems) - 10} more" * (len(problems) > 10)
    shown = ("; ".join(problems[:10]) + rest).removesuffix("?")  # a sentence goes on
    return SidecarError(
        f"{count} in “{show_path(path)}”: {shown}. What a person wants of this acquisition cannot "
        f"be told, so it is not converted. {hint}",
        hint=hint,
        path=show_path(path),
        problems=problems[:100],
    )


def _no_file(path: Path) -> SidecarError:
    return sidecar_error(path, ["a sidecar must be a regular file; links and pipes are not opened"])
