"""The port through which a conversion reports: progress that may be lost, facts that may not."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stackwatch.model.result import Progress


@dataclass(frozen=True, slots=True)
class PublishFact:
    """What is about to be renamed, or has been.

    Attributes
    ----------
    stage : str
        `publishing` is recorded before the rename and may be refused; `published` after it is
        durable.
    dataset_path : Path
        The dataset's final place.
    staging_path : Path
        Where it lies before.
    run_id : str
        Stands in the dataset's `stackwatch.json` too: it proves whose dataset it is.
    content_digest : str
        Of the acquisition's files.
    remaining : int
        How many more datasets of the same conversion follow this one.
    """

    stage: str
    dataset_path: Path
    staging_path: Path
    run_id: str
    content_digest: str
    remaining: int = 0


class Journal(Protocol):
    """Where a conversion reports to."""

    def progress(self, progress: Progress) -> None:
        """Take note of progress. Cheap, lossy, never blocks; called from any thread."""
        ...

    def record(self, fact: PublishFact) -> None:
        """Make a fact durable; return only when it is.

        Raises
        ------
        StackwatchError
            The fact is refused (the job was given to somebody else, the acquisition changed): the
            caller gives up without publishing.
        """
        ...


class SilentJournal:
    """Reports to nobody: for Python callers and tests."""

    def progress(self, progress: Progress) -> None:
        """Drop the progress."""

    def record(self, fact: PublishFact) -> None:
        """Agree to everything."""
