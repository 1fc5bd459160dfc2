"""`stackwatch preview`: make the picture of a dataset."""

from pathlib import Path
from typing import Annotated

import typer

from stackwatch.cli.answers import answer_json, answer_text, answering
from stackwatch.cli.options import JsonFlag
from stackwatch.errors import TargetNotWritableError
from stackwatch.model.acquisition import show_path


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("preview", epilog="Example: stackwatch preview data/run_041 run_041.png")(
        answering(preview)
    )


def preview(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET", help="The directory of a Zarr3 or WKW dataset, or s3://BUCKET/NAME."
        ),
    ],
    picture: Annotated[Path, typer.Argument(metavar="OUT.png", help="The PNG to write.")],
    as_json: JsonFlag = False,
) -> None:
    """Make the preview picture of a dataset, as the service does after publishing.

    The middle slices xy, yz (beside it) and xz (below it), from a coarse mag, with the contrast and
    the colours that the dataset is shown with, and a scale bar.
    """
    from stackwatch.pipeline.preview import write_preview

    try:
        is_url = dataset.startswith("s3://")
        size = write_preview(dataset if is_url else Path(dataset).absolute(), picture.absolute())
    except PermissionError as error:
        raise _unwritable(picture, error) from error
    if as_json:
        answer_json({"status": "ok", "path": show_path(picture.absolute()), "bytes": size})
    else:
        answer_text(f"{show_path(picture)}: {size / 1000:.1f} kB")


def _unwritable(picture: Path, error: OSError) -> TargetNotWritableError:
    hint = "Choose another place, or change the permissions."
    return TargetNotWritableError(
        f"“{show_path(picture)}” cannot be written: {error.strerror}. {hint}",
        hint=hint,
        path=show_path(picture),
    )
