"""The settings: read once at the top of the house, handed down as small records."""

from stackwatch.settings.load import LoadedSettings, find_warnings, load_settings
from stackwatch.settings.model import (
    LOCAL_QUIET_GAP_S,
    NETWORK_QUIET_GAP_S,
    DaemonSettings,
    FolderSettings,
    LayerSettings,
    LogsSettings,
    Settings,
)

__all__ = [
    "LOCAL_QUIET_GAP_S",
    "NETWORK_QUIET_GAP_S",
    "DaemonSettings",
    "FolderSettings",
    "LayerSettings",
    "LoadedSettings",
    "LogsSettings",
    "Settings",
    "find_warnings",
    "load_settings",
]
