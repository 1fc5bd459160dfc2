"""The three-dimensional viewer: which of our data it shows, in a frame of a page of ours."""

import json
import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from stackwatch.ledger.records import DatasetRecord
from stackwatch.web.files import open_inside
from stackwatch.web.markup import tag
from stackwatch.web.parts import Page, Section
from stackwatch.web.viewer_state import build_viewer_state

VIEWER: Final = "/viewer/"
"""Where the static files of the viewer are served."""

PROPERTIES_BYTES_MAX: Final = 4 << 20
_PROPERTIES: Final = ("datasource-properties.json",)
_KEPT: Final = "!$&'()*+,/:;=?@-._~"


def view_path(dataset_id: int) -> str:
    """Return the address of the page that shows a dataset in the viewer."""
    return f"/datasets/{dataset_id}/view"


def read_properties(dataset: Path) -> dict[str, Any]:
    """Return what a dataset says of its layers; nothing if that cannot be read. May hang."""
    opened = open_inside(dataset, _PROPERTIES)
    if opened is None:
        return {}
    with os.fdopen(opened.descriptor, "rb") as file:
        content = file.read(PROPERTIES_BYTES_MAX)
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def viewer_address(origin: str, dataset_id: int, properties: dict[str, Any]) -> str | None:
    """Return the address of the viewer with its state: what it shows, and how.

    Parameters
    ----------
    origin : str
        As the browser knows us: `http://localhost:8087`. The viewer wants whole addresses.
    dataset_id : int
    properties : dict
        As `read_properties` returns them.

    Returns
    -------
    str or None
        None: there is nothing the viewer can show.
    """
    try:
        state = build_viewer_state(f"{origin}/data/{dataset_id}", properties)
    except (KeyError, TypeError, ValueError):
        return None
    if state is None:
        return None
    text = json.dumps(state, separators=(",", ":"))
    return f"{VIEWER}#!{quote(text, safe=_KEPT)}"


def build_viewer_page(origin: str, dataset: DatasetRecord, properties: dict[str, Any]) -> Page:
    """Return the page that shows a dataset in the viewer, or says that it cannot."""
    address = viewer_address(origin, dataset.dataset_id, properties)
    shown = (
        tag(
            "iframe",
            src=address,
            title=f"{dataset.name} in three dimensions",
            class_="viewer",
        )
        if address is not None
        else tag(
            "p",
            "The viewer shows Zarr3 and nothing else: of this dataset there is the picture alone. ",
            tag("a", "Back to its job", href=f"/jobs/{dataset.job_id}"),
        )
    )
    trail = (("History", "/history"), (f"job {dataset.job_id}", f"/jobs/{dataset.job_id}"))
    return Page(dataset.name, (Section("viewer", "", shown),), is_live=False, trail=trail)
