"""stackwatch turns microscope acquisitions into WEBKNOSSOS datasets.

`convert`, `inspect` and `upload` are the way in from Python; `errors` holds what they raise.
Everything is imported when it is first used: `import stackwatch` costs next to nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stackwatch import errors
    from stackwatch.api import convert, inspect, upload
    from stackwatch.model.delivery import Delivered, DeliveryProgress
    from stackwatch.model.flags import ConvertFlags
    from stackwatch.model.result import ConvertResult, DatasetResult, LayerResult, Progress
    from stackwatch.model.upload_flags import UploadFlags
    from stackwatch.pipeline.inspect import InspectResult

__version__ = "0.1.0"

__all__ = [
    "ConvertFlags",
    "ConvertResult",
    "DatasetResult",
    "Delivered",
    "DeliveryProgress",
    "InspectResult",
    "LayerResult",
    "Progress",
    "UploadFlags",
    "__version__",
    "convert",
    "errors",
    "inspect",
    "upload",
]

_HOMES = {
    "convert": "stackwatch.api",
    "inspect": "stackwatch.api",
    "upload": "stackwatch.api",
    "ConvertFlags": "stackwatch.model.flags",
    "ConvertResult": "stackwatch.model.result",
    "DatasetResult": "stackwatch.model.result",
    "LayerResult": "stackwatch.model.result",
    "Progress": "stackwatch.model.result",
    "Delivered": "stackwatch.model.delivery",
    "DeliveryProgress": "stackwatch.model.delivery",
    "UploadFlags": "stackwatch.model.upload_flags",
    "InspectResult": "stackwatch.pipeline.inspect",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    import importlib

    if name == "errors":
        return importlib.import_module("stackwatch.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'stackwatch' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
