"""The three-dimensional viewer: which of our data it shows, in a frame of a page of ours."""

import json
from typing import Any, Final
from urllib.parse import quote

from stackwatch.ledger.browsing import LedgerBrowser
from stackwatch.ledger.records import DatasetRecord
from stackwatch.model.job import JobId
from stackwatch.web.markup import tag
from stackwatch.web.parts import Page, Section

VIEWER: Final = "/viewer/"
"""Where the static files of the viewer are served."""

_KEPT: Final = "!$&'()*+,/:;=?@-._~"


def view_path(dataset_id: int) -> str:
    """Return the address of the page that shows a dataset in the viewer."""
    return f"/datasets/{dataset_id}/view"


def list_layers(browser: LedgerBrowser, dataset: DatasetRecord) -> list[dict[str, Any]]:
    """Return the layers of a dataset, as its job's result tells of them."""
    details = browser.show_job(JobId(dataset.job_id))
    told = (details.job.result or {}).get("datasets", ()) if details is not None else ()
    for one in told:
        if one.get("name") == dataset.name or len(told) == 1:
            return list(one.get("layers", ()))
    return []


def viewer_address(origin: str, dataset_id: int, layers: list[dict[str, Any]]) -> str:
    """Return the address of the viewer with its state: what it shows, and how.

    Parameters
    ----------
    origin : str
        As the browser knows us: `http://localhost:8087`. The viewer wants whole addresses.
    dataset_id : int
    layers : list of dict
        As `ConvertResult.as_record` tells of them.

    Source: the viewer's state after `#!` is JSON; `|zarr3:` names the format of what lies at an
    address (the documentation of neuroglancer, *data sources*).
    """
    shown = [
        {
            "type": "segmentation" if layer["category"] == "segmentation" else "image",
            "name": layer["name"],
            "source": f"{origin}/data/{dataset_id}/{quote(layer['name'])}/|zarr3:",
        }
        for layer in layers
    ]
    state = {"layers": shown, "layout": "4panel", "showSlices": False}
    text = json.dumps(state, separators=(",", ":"))
    return f"{VIEWER}#!{quote(text, safe=_KEPT)}"


def build_viewer_page(origin: str, dataset: DatasetRecord, layers: list[dict[str, Any]]) -> Page:
    """Return the page that shows a dataset in the viewer."""
    frame = tag(
        "iframe",
        src=viewer_address(origin, dataset.dataset_id, layers),
        title=f"{dataset.name} in three dimensions",
        class_="viewer",
    )
    trail = (("History", "/history"), (f"job {dataset.job_id}", f"/jobs/{dataset.job_id}"))
    return Page(dataset.name, (Section("viewer", "", frame),), is_live=False, trail=trail)
