"""`stackwatch config`: check the settings, reload them, and show where each comes from."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stackwatch.cli.answers import answer_json, answer_text, answering, say
from stackwatch.cli.options import ConfigOption, JsonFlag, SetOption
from stackwatch.model.acquisition import show_path

if TYPE_CHECKING:
    from stackwatch.settings import LoadedSettings

_MASK = "********"
_SECRET_WORDS = ("token", "secret", "password", "webhook")


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, help="Check, reload and show the settings."
    )
    group.command("check", epilog="Example: stackwatch config check --sample /drop/em2/run_041")(
        answering(check)
    )
    group.command("reload", epilog="Example: stackwatch config reload")(answering(reload))
    group.command("show", epilog="Example: stackwatch config show --json")(answering(show))
    app.add_typer(group, name="config")


def check(
    sample: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Show which files of this acquisition or drop folder count, and which pattern "
            "leaves out the others.",
        ),
    ] = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Check the configuration without changing anything, and tell what it means here.

    Reports every mistake at once, each with its key path, and ends with 78 if there is one.
    A drop folder that is not there is only a warning: it may be a share that is mounted later.
    """
    from stackwatch.cli.sample import describe_sample, sample_path
    from stackwatch.settings import find_warnings, load_settings, survey_folder
    from stackwatch.settings.survey_server import describe_delivery_of

    loaded = load_settings(config, assignments=assignments or ())
    surveys = [survey_folder(folder) for folder in loaded.settings.folder]
    warnings = find_warnings(loaded.settings, surveys)
    url = loaded.settings.webknossos.url
    checks = [
        {**survey.as_record(), "delivery": describe_delivery_of(folder, url)}
        for survey, folder in zip(surveys, loaded.settings.folder, strict=True)
    ]
    shown = show_path(loaded.path) if loaded.path is not None else None
    sampled = sample_path(loaded.settings, sample) if sample is not None else None
    if as_json:
        folders = [folder.name for folder in loaded.settings.folder]
        answer_json({
            "status": "ok", "path": shown, "folders": folders, "checks": checks,
            "warnings": warnings, "sample": sampled,
        })  # fmt: skip
        return
    for warning in warnings:
        say(f"Warning: {warning}")
    count = len(checks)
    lines = [f"{shown}: no mistakes, {count} drop folder{'' if count == 1 else 's'}"]
    lines += map(_describe_check, checks)
    if sampled is not None:
        lines.append(describe_sample(sampled))
    answer_text("\n".join(lines))


def reload(
    config: ConfigOption = None, assignments: SetOption = None, as_json: JsonFlag = False
) -> None:
    """Have the running service read its settings anew, and tell what changes.

    The service reads the file it was started with. All of it is valid, or nothing changes: with a
    mistake in it the old settings stay in force, and the command ends with 78.
    """
    from stackwatch.daemon.control import request

    answer = request(_reach_daemon(config, assignments), {"command": "reload"})
    if as_json:
        answer_json(answer)
        return
    changes = [
        f"{kind}: {', '.join(answer[kind])}"
        for kind in ("added", "removed", "changed")
        if answer.get(kind)
    ]
    answer_text(f"the settings were read anew; {'; '.join(changes) or 'no folder changed'}")
    if answer.get("needs_restart"):
        say(f"Restart the service for: {', '.join(answer['needs_restart'])}")


def _reach_daemon(config: Path | None, assignments: Sequence[str] | None) -> Path:
    """Return the state directory; a mistake in the settings must not keep us from the daemon."""
    from stackwatch.errors import ConfigError
    from stackwatch.settings import load_settings, peek_state_dir

    try:
        loaded = load_settings(config, assignments=assignments or (), is_file_needed=False)
    except ConfigError:
        state_dir = peek_state_dir(config, assignments=assignments or ())
        if state_dir is None:
            raise
        return state_dir
    return loaded.settings.daemon.state_dir


def _describe_check(check: Mapping[str, Any]) -> str:
    """Return what a folder's settings mean, for people."""
    gap = f"{check['quiet_gap_s']:g} s without a change"
    told = {"settings": "as set", "local": "local disk", "network": "network share"}
    presence = {"there": "", "absent": "not there (yet); ", "silent": "does not answer; "}
    mount = check["fstype"] or "unknown file system"
    return "\n".join(
        [
            "",
            f"{check['name']}: {check['path']}",
            f"  mount    {presence[check['presence']]}{mount}, {check['watch_reason']}",
            f"  settles  after {gap} ({told[check['gap_from']]}), and with",
            *(f"           {policy}" for policy in check["readiness"]),
            f"  reserve  {check['reserve_gib']:g} GiB are left free at the target",
            f"  after    {check['on_success']}",
            *([f"  delivery {check['delivery']}"] if check["delivery"] is not None else []),
        ]
    )


def show(
    config: ConfigOption = None, assignments: SetOption = None, as_json: JsonFlag = False
) -> None:
    """Show every setting's value and where it comes from; secrets are masked."""
    from stackwatch.settings import load_settings

    loaded = load_settings(config, assignments=assignments or ())
    values = _list_values(loaded)
    if as_json:
        shown = show_path(loaded.path) if loaded.path is not None else None
        answer_json({"status": "ok", "path": shown, "settings": values})
        return
    widest = max(len(entry["key"]) + len(_as_toml(entry["value"])) for entry in values)
    for entry in values:
        text = f"{entry['key']} = {_as_toml(entry['value'])}"
        answer_text(f"{text:<{min(widest + 3, 60)}}  # {entry['origin']}")


def _list_values(loaded: "LoadedSettings") -> list[dict[str, Any]]:
    from stackwatch.settings.catalogue import iter_values

    entries = [
        {"key": key, "value": _masked(key, value), "origin": loaded.origins.get(key, "default")}
        for key, value in iter_values(loaded.settings)
    ]
    token = "STACKWATCH_WEBKNOSSOS_TOKEN"  # noqa: S105 - the variable's name
    if token in os.environ:
        entries.append({"key": token, "value": _MASK, "origin": "environment"})
    return entries


def _masked(key: str, value: Any) -> Any:
    is_secret = any(word in key.lower() for word in _SECRET_WORDS)
    return _MASK if is_secret and value not in (None, (), []) else value


def _as_toml(value: Any) -> str:
    """Return a value as it would stand in the file; `unset` where nothing stands."""
    match value:
        case None | bool():
            return "unset" if value is None else str(value).lower()
        case str():
            return '"' + show_path(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
        case dict():
            pairs = [
                f"{key} = {_as_toml(entry)}" for key, entry in value.items() if entry is not None
            ]
            return "{ " + ", ".join(pairs) + " }"
        case list() | tuple():
            return "[" + ", ".join(_as_toml(entry) for entry in value) + "]"
        case _:
            return str(value)
