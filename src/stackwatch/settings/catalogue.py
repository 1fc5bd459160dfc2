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
from stackwatch.settings.outside import (
    ClusterSettings,
    NoticesSettings,
    WebknossosSettings,
    WebSettings,
)

SECTIONS: Final[dict[str, type[BaseModel]]] = {
    "": Settings,
    "daemon": DaemonSettings,
    "cluster": ClusterSettings,
    "logs": LogsSettings,
    "webknossos": WebknossosSettings,
    "web": WebSettings,
    "notices": NoticesSettings,
    "folder": FolderSettings,
    "folder.layer": LayerSettings,
    "folder.raw": RawSettings,
    "folder.voxel_size_nm": AxesSettings,
}
"""Section name to its record; list indices left out."""

SERVICE_SECTIONS: Final = ("daemon", "cluster", "logs", "webknossos", "web", "notices")
"""Those of which there is one each."""

HEADINGS: Final = {
    "daemon": "[daemon]",
    "cluster": "[cluster]",
    "logs": "[logs]",
    "webknossos": "[webknossos]",
    "web": "[web]",
    "notices": "[notices]",
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
    for section in SERVICE_SECTIONS:
        for name, value in dumped[section].items():
            yield f"{section}.{name}", value
    for at, folder in enumerate(dumped["folder"]):
        for name, value in folder.items():
            yield f"folder[{at}].{name}", value
