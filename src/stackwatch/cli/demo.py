"""`stackwatch demo`: the whole service, shown on made-up acquisitions."""

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from stackwatch.cli.answers import answer_json, answer_text, answering, say
from stackwatch.cli.options import JsonFlag
from stackwatch.errors import ExitCode, UsageError
from stackwatch.model.acquisition import show_path


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo", epilog="Example: stackwatch demo --keep /tmp/stackwatch-demo")(
        answering(demo)
    )


def demo(
    keep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Work in this new folder, and leave everything there."),
    ] = None,
    timeout_s: Annotated[float, typer.Option(min=1, help="Give up after so many seconds.")] = 180.0,
    as_json: JsonFlag = False,
) -> int:
    """Show the service at work, without a microscope.

    Starts a daemon on temporary drop folders and drops six acquisitions into them: a sequence of
    slices, one with a color and a segmentation layer, an OME-TIFF, one whose sidecar says its name
    and voxel size, one that waits for its marker, and one that lacks a slice and must be parked.
    Ends with 0 only if all came out as they should.
    """
    from stackwatch.cli.demo_play import run_demo

    root = _make_root(keep)
    is_kept = keep is not None
    try:
        outcome = run_demo(root, timeout_s)
        is_kept = is_kept or not outcome.is_as_expected  # the log is wanted then
    finally:
        if not is_kept:
            shutil.rmtree(root, ignore_errors=True)
    if as_json:
        answer_json(outcome.as_record(path=show_path(root) if is_kept else None))
    else:
        answer_text(outcome.describe())
        _say_where(root, is_kept=is_kept)
    return ExitCode.DONE if outcome.is_as_expected else ExitCode.FAILED


def _make_root(keep: Path | None) -> Path:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="stackwatch-demo-"))
    root = keep.absolute()
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UsageError(
            f"“{show_path(root)}” is there and not empty. The demo wants a folder of its own.",
            hint="Name a new folder with --keep.",
            path=show_path(root),
        )
    root.mkdir(parents=True, exist_ok=True)
    return root


def _say_where(root: Path, *, is_kept: bool) -> None:
    if not is_kept:
        say("Everything was removed again; `stackwatch demo --keep DIR` leaves it in place.")
        return
    say(f"The service's log: {show_path(root / 'stackwatch.log')}")
    say(
        f"To look at a dataset, move it into WEBKNOSSOS's data folder, or open it with any Zarr v3 "
        f"or OME-Zarr 0.5 reader. To look at the jobs:\n"
        f"  stackwatch jobs list --config {show_path(root / 'config.toml')}\n"
        f"To clean up: rm -r {show_path(root)}"
    )
