"""`stackwatch upload`: bring a published dataset to WEBKNOSSOS, or go on doing so."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stackwatch.cli.answers import answer_json, answer_text, answering
from stackwatch.cli.options import ConfigOption, JsonFlag
from stackwatch.errors import UsageError

if TYPE_CHECKING:
    from stackwatch.model.delivery import Delivered, DeliveryRequest
    from stackwatch.settings import Settings

_EPILOG = """\b
Examples:
  export STACKWATCH_WEBKNOSSOS_TOKEN=…   (or --token-file, or the settings)
  stackwatch upload data/run_041 --url https://webknossos.org --folder Datasets/em
  stackwatch upload data/run_041 --tag raw --team EM
"""

UrlOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Of WEBKNOSSOS, e.g. https://webknossos.org. [default: `url` of the settings]",
    ),
]
FolderOption = Annotated[
    str,
    typer.Option(
        metavar="PATH",
        help="Folder in WEBKNOSSOS, e.g. `Datasets/em`; created if it is missing. "
        "[default: the root folder]",
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="File that holds the token; others must not be able to read it. "
        "[default: `token_file` of the settings, else $STACKWATCH_WEBKNOSSOS_TOKEN]",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("upload", epilog=_EPILOG)(answering(upload))


def upload(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset's directory.")],
    url: UrlOption = None,
    folder: FolderOption = "",
    token_file: TokenFileOption = None,
    name: Annotated[
        str, typer.Option(help="Name in WEBKNOSSOS. [default: the dataset's own]")
    ] = "",
    team: Annotated[
        list[str] | None, typer.Option(help="Team that may see it. May be repeated.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="Tag to find it by. May be repeated.")
    ] = None,
    description: Annotated[str, typer.Option(help="Text shown with it.")] = "",
    datastore: Annotated[
        str | None, typer.Option(help="Name or URL. [default: the first that takes uploads]")
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Certificates to trust beside the system's."),
    ] = None,
    chunk_mib: Annotated[
        int | None, typer.Option(metavar="N", help="Size of the pieces sent. [default: 16]")
    ] = None,
    parallel: Annotated[
        int | None, typer.Option(metavar="N", help="Pieces under way at a time. [default: 4]")
    ] = None,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where it is kept how far uploads came. "
            "[default: $XDG_STATE_HOME/stackwatch/uploads]",
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Upload a published dataset to WEBKNOSSOS.

    Sends it in pieces, compares what arrived, and writes where it comes from into its metadata.
    Stopped, or cut off, the same command goes on where it was. What is there already is not sent
    again.
    """
    flags = {
        "folder": folder, "name": name, "teams": team, "tags": tag, "description": description,
        "token_file": token_file, "datastore": datastore, "ca_file": ca_file,
        "chunk_mib": chunk_mib, "parallel": parallel,
    }  # fmt: skip
    request = plan_upload(dataset, url, flags, config)
    delivered = run_upload(request, state_dir, is_quiet=as_json)
    if as_json:
        answer_json({"status": "delivered", "dataset": str(dataset), **delivered_record(delivered)})
    else:
        answer_text(describe_delivered(delivered))


def plan_upload(
    dataset: Path, url: str | None, flags: dict[str, Any], config: Path | None
) -> "DeliveryRequest":
    """Return the request: what was given wins over the settings.

    What the settings say of their server, its token above all, is never used for another one.

    Raises
    ------
    UsageError
        No server is named.
    ConfigError
        The settings have mistakes.
    """
    from stackwatch.model.upload_flags import UploadFlags
    from stackwatch.settings import load_settings

    given = {key: value for key, value in flags.items() if value is not None}
    if url is not None and config is None:
        return UploadFlags(**given).request(dataset.absolute(), url)
    settings = load_settings(config, is_file_needed=False).settings
    known = settings.webknossos.url
    target = url or known
    if target is None:
        hint = "Give --url, or set `url` under `[webknossos]` of the settings."
        raise UsageError(f"No WEBKNOSSOS is named to upload to. {hint}", hint=hint)
    if known is None or target.rstrip("/") != known.rstrip("/"):
        return UploadFlags(**given).request(dataset.absolute(), target)
    return _with_settings(dataset, settings, given)


def _with_settings(dataset: Path, settings: "Settings", given: dict[str, Any]) -> "DeliveryRequest":
    from stackwatch.model.upload_flags import UploadFlags

    server = settings.webknossos.server_options()
    flags: UploadFlags = UploadFlags(**{
        "token_file": server.token_file, "datastore": server.datastore, "ca_file": server.ca_file,
        "chunk_mib": server.chunk_mib, "parallel": server.parallel, **given,
    })  # fmt: skip
    request = flags.request(dataset.absolute(), server.url)
    patient = replace(request.server, finish_timeout_s=server.finish_timeout_s)
    return replace(request, server=patient)


def check_token(request: "DeliveryRequest") -> None:
    """Look whether there is a token, before hours of work.

    Raises
    ------
    DeliveryUnauthorizedError
    """
    from stackwatch.webknossos.token import find_token

    find_token(request.server.token_file)


def run_upload(
    request: "DeliveryRequest", state_dir: Path | None = None, *, is_quiet: bool
) -> "Delivered":
    """Upload with a progress bar, stoppable by a signal."""
    from stackwatch.cli.signals import StopOnSignal
    from stackwatch.cli.upload_progress import upload_reporter
    from stackwatch.pipeline.delivery_state import upload_by_hand

    with StopOnSignal() as stop, upload_reporter(is_quiet=is_quiet) as reporter:
        return upload_by_hand(
            request,
            state_dir=state_dir,
            show=reporter.show,
            cancelled=stop.cancelled,
            on_wait=reporter.waits,
        )


def delivered_record(delivered: "Delivered") -> dict[str, Any]:
    """Return what was delivered as the keys of docs/json.md."""
    return {
        "remote_id": delivered.remote_id,
        "link": delivered.link,
        "name": delivered.name,
        "sent_bytes": delivered.sent_bytes,
        "seconds": round(delivered.seconds, 3),
        "warnings": list(delivered.warnings),
    }


def describe_delivered(delivered: "Delivered") -> str:
    """Return what was delivered, for people: the link alone on its line."""
    rate = delivered.sent_bytes / (1 << 20) / delivered.seconds if delivered.seconds else 0.0
    told = (
        f"  sent {delivered.sent_bytes / 1e6:,.1f} MB in {delivered.seconds:.1f} s "
        f"({rate:,.0f} MiB/s), compared with what lies here"
        if delivered.sent_bytes
        else "  was there already; nothing was sent"
    )
    return "\n".join([
        delivered.link, told, *(f"  warning     {warning}" for warning in delivered.warnings)
    ])  # fmt: skip
