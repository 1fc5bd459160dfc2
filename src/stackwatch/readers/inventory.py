"""Which formats this installation reads: the table of formats, and what of it is installed."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from stackwatch.readers.bioformats import BIOFORMATS_SUFFIXES
from stackwatch.readers.formats import FOLDER_FORMATS, FORMATS, Format


@dataclass(frozen=True, slots=True)
class FormatState:
    """One format, as this installation has it.

    Attributes
    ----------
    name : str
    suffixes : tuple of str
    folder_files : tuple of str
        Of an image that is a folder: the names of the files that stand for it.
    libraries : dict of str to (str or None)
        What decodes it beside stackwatch itself, and the installed version of each.
    extra : str
        The extra that brings them; empty where they come with stackwatch.
    """

    name: str
    suffixes: tuple[str, ...]
    folder_files: tuple[str, ...]
    libraries: dict[str, str | None]
    extra: str

    @property
    def is_installed(self) -> bool:
        """Whether nothing is missing."""
        return None not in self.libraries.values()

    @property
    def install(self) -> str:
        """The line that adds what is missing; empty where nothing is."""
        if self.is_installed:
            return ""
        return f'pip install "stackwatch[{self.extra}]"' if self.extra else "pip install stackwatch"

    def as_record(self) -> dict[str, Any]:
        """Return the JSON values of docs/json.md."""
        return {
            "name": self.name,
            "suffixes": list(self.suffixes),
            "folder_files": list(self.folder_files),
            "libraries": dict(self.libraries),
            "installed": self.is_installed,
            "extra": self.extra or None,
            "install": self.install or None,
        }


def list_formats() -> tuple[FormatState, ...]:
    """Return every format that is read, sorted by name."""
    anchors: dict[Format, list[str]] = {}
    for file, form in FOLDER_FORMATS.items():
        anchors.setdefault(form, []).append(file)
    found = [
        FormatState(
            form.name,
            form.suffixes,
            tuple(sorted(anchors.get(form, ()))),
            {name: _installed_version(name) for name in _names(form.library)},
            form.extra,
        )
        for form in (*FORMATS, *anchors)
    ]
    rest = tuple(sorted(BIOFORMATS_SUFFIXES - {suffix for one in found for suffix in one.suffixes}))
    library = {"jpype1": _installed_version("jpype1")}
    found.append(FormatState("Bio-Formats (`bioformats_jar`)", rest, (), library, "bioformats"))
    return tuple(sorted(found, key=lambda state: state.name.lower()))


def _names(library: str) -> list[str]:
    return [name.strip() for name in library.split(",") if name.strip()]


def _installed_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
