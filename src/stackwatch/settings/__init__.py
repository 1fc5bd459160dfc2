"""The settings: read once at the top of the house, handed down as small records."""

from stackwatch.settings.load import LoadedSettings, load_settings, peek_state_dir
from stackwatch.settings.model import (
    LOCAL_QUIET_GAP_S,
    NETWORK_QUIET_GAP_S,
    DaemonSettings,
    FolderSettings,
    LayerSettings,
    LogsSettings,
    Settings,
)
from stackwatch.settings.survey import FolderSurvey, find_warnings, survey_folder

__all__ = [
    "LOCAL_QUIET_GAP_S",
    "NETWORK_QUIET_GAP_S",
    "DaemonSettings",
    "FolderSettings",
    "FolderSurvey",
    "LayerSettings",
    "LoadedSettings",
    "LogsSettings",
    "Settings",
    "find_warnings",
    "load_settings",
    "peek_state_dir",
    "survey_folder",
]
