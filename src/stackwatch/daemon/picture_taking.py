"""Pictures of published datasets, taken by the worker after its last word to the daemon.

The job has its result by then: a picture that fails, hangs or kills the process costs nothing but
the picture, and the daemon ends a worker that does not exit soon after its last word.
"""

from collections.abc import Sequence
from pathlib import Path

from stackwatch.logs import Event, logger
from stackwatch.model.acquisition import show_path
from stackwatch.model.preview import preview_path
from stackwatch.pipeline.journal import PublishFact


def take_pictures(state_dir: Path, published: Sequence[PublishFact]) -> None:
    """Leave a picture of every dataset that was published; a failure is a warning in the log."""
    from stackwatch.pipeline.preview import write_preview

    for fact in published:
        picture = preview_path(state_dir, fact.run_id)
        if picture is None:
            continue
        try:
            write_preview(fact.dataset_path, picture)
        except Exception as error:  # noqa: BLE001 - whatever it is, the dataset is published
            logger().warning(
                Event.PREVIEW_FAILED,
                path=show_path(fact.dataset_path),
                message=f"{type(error).__name__}: {error}",
                hint="The dataset is whole; only its picture is missing.",
            )
