"""`stackwatch verify`: tell whether a dataset still is what was written."""

from pathlib import Path
from typing import Annotated

import typer

from stackwatch.cli.answers import answer_json, answer_text, answering
from stackwatch.cli.options import JsonFlag
from stackwatch.errors import UsageError
from stackwatch.model.acquisition import show_path


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify", epilog="Example: stackwatch verify data/run_041")(answering(verify))


def verify(
    dataset: Annotated[
        str,
        typer.Argument(metavar="DATASET", help="A dataset's directory, or s3://BUCKET/NAME."),
    ],
    as_json: JsonFlag = False,
) -> None:
    """Compare a dataset with its own manifest, every shard.

    Sizes and checksums are compared with `stackwatch.json` in the dataset; the source is not
    needed.
    """
    from stackwatch.pipeline.verify import verify_dataset

    is_url = dataset.startswith("s3://")
    place = Path(dataset).absolute()
    if not is_url and not place.is_dir():
        hint = "Give the directory of a published dataset."
        raise UsageError(f"“{show_path(place)}” is no directory. {hint}", hint=hint)
    record = verify_dataset(dataset if is_url else place)
    if as_json:
        answer_json(record)
    else:
        answer_text(
            f"{show_path(str(record['path']))}: as it was written "
            f"({record['shards']:,} shards, {record['chunks']:,} chunks, "
            f"{record['bytes'] / 1e6:,.1f} MB)"
        )
