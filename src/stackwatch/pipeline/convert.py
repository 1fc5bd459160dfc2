"""Convert one acquisition: list, plan, stream, verify, publish."""

import threading
from dataclasses import dataclass
from pathlib import Path

from stackwatch.model.options import ConvertOptions
from stackwatch.model.result import ConvertResult
from stackwatch.pipeline.journal import Journal


@dataclass(frozen=True, slots=True)
class ConvertRequest:
    """One conversion to be made.

    Attributes
    ----------
    source : Path
        Absolute: a folder, a single file, or a zip archive. With `members`: the folder they are in.
    target : Path
        Absolute: the dataset's own directory.
    options : ConvertOptions
    members : tuple of str
        Names of loose files directly in `source` that form the acquisition; empty for all of it.
    staging_name : str
        Name of the staging directory under `<target's parent>/.stackwatch/`; for a job
        `<job>-<attempt>`. Empty: made up from the dataset's name and the process id.
    """

    source: Path
    target: Path
    options: ConvertOptions = ConvertOptions()
    members: tuple[str, ...] = ()
    staging_name: str = ""


def convert_acquisition(
    request: ConvertRequest, journal: Journal, cancelled: threading.Event | None = None
) -> ConvertResult:
    """Convert, verify and publish one acquisition.

    Parameters
    ----------
    request : ConvertRequest
    journal : Journal
        Hears of progress; acknowledges the facts that must last.
    cancelled : threading.Event or None
        Set by somebody else to stop at the next slab; the staging directory is removed.

    Returns
    -------
    ConvertResult

    Raises
    ------
    StackwatchError
        Any of them; nothing is left in the target but datasets published before.
    """
    raise NotImplementedError
