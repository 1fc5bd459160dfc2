"""The catalogue of settings: which names stand where."""

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from pydantic import BaseModel

from stackwatch.settings.model import (
    AxesSettings,
    DaemonSettings,
    FolderSettings,
    LayerSettings,
    LogsSettings,
    RawSettings,
    Settings,
)

SECTIONS: Final[dict[str, type[BaseModel]]] = {
    "": Settings,
    "daemon": DaemonSettings,
    "logs": LogsSettings,
    "folder": FolderSettings,
    "folder.layer": LayerSettings,
    "folder.raw": RawSettings,
    "folder.voxel_size_nm": AxesSettings,
}
"""Section name to its record; list indices left out."""

HEADINGS: Final = {
    "daemon": "[daemon]",
    "logs": "[logs]",
    "folder": "[[folder]]",
    "folder.layer": "[[folder.layer]]",
    "folder.raw": "[folder.raw]",
}


@cache
def field_names(section: str) -> tuple[str, ...]:
    """Return the names that may stand in a section; empty for a section that does not exist."""
    kind = SECTIONS.get(section)
    return tuple(kind.model_fields) if kind is not None else ()


def iter_values(settings: Settings) -> Iterator[tuple[str, Any]]:
    """Yield each setting's key path and its value as JSON, in the order of the example file."""
    dumped = settings.model_dump(mode="json")
    for section in ("daemon", "logs"):
        for name, value in dumped[section].items():
            yield f"{section}.{name}", value
    for at, folder in enumerate(dumped["folder"]):
        for name, value in folder.items():
            yield f"folder[{at}].{name}", value
