"""Where the preview picture of a dataset lies: known to who writes it and to who shows it."""

import re
from pathlib import Path
from typing import Final

PREVIEWS_FOLDER: Final = "previews"
"""Below the service's `state_dir`."""

_RUN_ID: Final = re.compile(r"[0-9a-f]{32}")


def preview_path(state_dir: Path, run_id: str) -> Path | None:
    """Return where the picture of the dataset of a run lies, whether or not it is there.

    Parameters
    ----------
    state_dir : Path
    run_id : str
        As in the dataset's `stackwatch.json` and in the ledger.

    Returns
    -------
    Path or None
        None: this is no run id, and not to be made part of a path.

    Examples
    --------
    >>> preview_path(Path("/state"), "0" * 32).name
    '00000000000000000000000000000000.png'
    >>> preview_path(Path("/state"), "../ledger")
    """
    if _RUN_ID.fullmatch(run_id) is None:
        return None
    return state_dir / PREVIEWS_FOLDER / f"{run_id}.png"
