"""Read a marker: an instrument's or a transfer's own word that an acquisition is complete.

It may be empty or hold any text; then being there is all it says. If it begins with `{` it is JSON
and must be true: ``{"status": "success", "files": 120, "bytes": 99000000}``, each part of it
optional, others ignored.
"""

import json
import os
from typing import Any, Final

from stackwatch.model.acquisition import show_path
from stackwatch.model.facts import Veto, VetoKind
from stackwatch.watch.regular import OUR_SHORTAGE, open_regular

LONGEST_MARKER: Final = 1 << 16
"""A marker that is larger is no JSON of ours, and is not read further."""

_STATES: Final = ("success", "aborted")


def judge_marker(path: str, files: int, total_bytes: int) -> Veto | None:
    """Return what a marker says against the acquisition, None if it vouches for it.

    Parameters
    ----------
    path : str
        Absolute.
    files, total_bytes : int
        What is there, neither markers nor the sidecar counted.

    Raises
    ------
    OSError
        This process is short of descriptors or memory.
    """
    shown = f"the marker “{show_path(os.path.basename(path))}”"  # noqa: PTH119 - keeps surrogates
    try:
        text = _read(path)
    except (FileNotFoundError, NotADirectoryError):
        return Veto(VetoKind.MARKER, f"{shown} was taken away again")
    except OSError as error:
        if error.errno in OUR_SHORTAGE:
            raise
        return Veto(VetoKind.MARKER, f"{shown} cannot be read: {error.strerror or error}")
    if text is None:
        return Veto(VetoKind.MARKER, f"{shown} is no regular file")
    return _judge_json(shown, text, files, total_bytes) if text.startswith(b"{") else None


def _judge_json(shown: str, text: bytes, files: int, total_bytes: int) -> Veto | None:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Veto(VetoKind.MARKER, f"{shown} holds broken JSON: {error}")
    mistake = _mistake(told)
    if mistake:
        return Veto(VetoKind.MARKER, f"{shown}: {mistake}")
    if told.get("status") == "aborted":
        return Veto(VetoKind.ABORTED, f"{shown} says that the acquisition was aborted")
    for key, there in (("files", files), ("bytes", total_bytes)):
        if told.get(key, there) != there:
            return Veto(VetoKind.MARKER, f"{shown} tells of {told[key]} {key}, {there} are there")
    return None


def _read(path: str) -> bytes | None:
    """Return the beginning of a file without space around it, None if it is no regular file."""
    descriptor = open_regular(path)
    if descriptor is None:
        return None
    try:
        return os.read(descriptor, LONGEST_MARKER).removeprefix(b"\xef\xbb\xbf").strip()
    finally:
        os.close(descriptor)


def _mistake(told: dict[str, Any]) -> str:
    if told.get("status", "success") not in _STATES:
        return f"`status` is {told['status']!r:.40}, not one of {', '.join(_STATES)}"
    for key in ("files", "bytes"):
        value = told.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            return f"`{key}` is {value!r:.40}, not a number of {key}"
    return ""
