"""`stackwatch webknossos`: look whether deliveries can work."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stackwatch.cli.answers import answer_error, answer_json, answer_text, answering, say
from stackwatch.cli.options import ConfigOption, JsonFlag
from stackwatch.cli.upload import TokenFileOption, UrlOption, plan_upload

if TYPE_CHECKING:
    from stackwatch.pipeline.server_check import ServerCheck


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, help="Look whether deliveries can work."
    )
    group.command(
        "check",
        epilog="Example: stackwatch webknossos check --url https://webknossos.org --folder em",
    )(answering(check))
    app.add_typer(group, name="webknossos")


def check(
    url: UrlOption = None,
    folder: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Folder in WEBKNOSSOS to look for. May be repeated. [default: those of the "
            "settings]",
        ),
    ] = None,
    token_file: TokenFileOption = None,
    datastore: Annotated[
        str | None, typer.Option(help="Name or URL. [default: the first that takes uploads]")
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Certificates to trust beside the system's."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonFlag = False,
) -> int:
    """Ask WEBKNOSSOS for versions, the token's account and rights, datastore and folders.

    Changes nothing there. Ends with 75 where a human has to mend something.
    """
    from stackwatch.pipeline.server_check import check_server
    from stackwatch.webknossos.patience import Patience, Waiting

    flags = {"token_file": token_file, "datastore": datastore, "ca_file": ca_file}
    request = plan_upload(Path(), url, flags, config)
    folders = folder if folder is not None else _configured_folders(url, config)
    found = check_server(request.server, folders, Waiting(patience=Patience(give_up_s=0.0)))
    return _answer(found, as_json=as_json)


def _answer(found: "ServerCheck", *, as_json: bool) -> int:
    if as_json:
        if found.error is not None:
            found.error.values |= {"found": found.record}
            return answer_error(found.error, as_json=True)
        answer_json({"status": "ok", **found.record, "warnings": found.warnings})
        return 0
    if found.lines:
        answer_text("\n".join(f"{name:<10}  {told}" for name, told in found.lines))
    for warning in found.warnings:
        say(f"Warning: {warning}")
    return 0 if found.error is None else answer_error(found.error, as_json=False)


def _configured_folders(url: str | None, config: Path | None) -> list[str]:
    """Return the folders that the settings deliver to, where their server is the one asked."""
    from stackwatch.settings import load_settings

    if url is not None and config is None:
        return []
    settings = load_settings(config, is_file_needed=False).settings
    named = [f.remote_folder or "" for f in settings.folder if f.delivery != "none"]
    return list(dict.fromkeys(named))
