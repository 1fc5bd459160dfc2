"""`stackwatch ledger`: check, copy, restore and rebuild the service's memory."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from stackwatch.cli.answers import answer_json, answer_text, answering
from stackwatch.cli.options import ConfigOption, JsonFlag, SetOption
from stackwatch.cli.status import find_state_dir
from stackwatch.model.acquisition import show_path

if TYPE_CHECKING:
    from stackwatch.ledger.lock import StateLock

_COPY_S = 3600.0


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        help="Check, copy, restore and rebuild the ledger.",
    )
    group.command("check", epilog="Example: stackwatch ledger check")(answering(check))
    group.command("backup", epilog="Example: stackwatch ledger backup")(answering(backup))
    group.command("restore", epilog="Example: stackwatch ledger restore")(answering(restore))
    group.command("rebuild", epilog="Example: stackwatch ledger rebuild")(answering(rebuild))
    app.add_typer(group, name="ledger")


def check(
    config: ConfigOption = None, assignments: SetOption = None, as_json: JsonFlag = False
) -> None:
    """Look through the whole ledger, and say what to do if it is damaged.

    Changes nothing; a daemon may be running.
    """
    from stackwatch.ledger.backup import backup_path, ensure_readable

    ledger = _ledger(find_state_dir(config, assignments))
    ensure_readable(ledger)
    copy = backup_path(ledger)
    record = {
        "status": "ok",
        "path": show_path(ledger),
        "backup": show_path(copy) if copy.exists() else None,
    }
    has_copy = f", its copy is “{record['backup']}”" if record["backup"] else ", there is no copy"
    _answer(record, f"“{record['path']}” is whole{has_copy}", as_json=as_json)


def backup(
    config: ConfigOption = None, assignments: SetOption = None, as_json: JsonFlag = False
) -> None:
    """Copy the ledger now; the service does it once a day and when it is stopped.

    A daemon may be running.
    """
    from stackwatch.ledger.backup import backup_path, ensure_readable, write_backup

    ledger = _ledger(find_state_dir(config, assignments))
    ensure_readable(ledger)
    write_backup(ledger, _COPY_S)
    record = {"status": "ok", "path": show_path(ledger), "backup": show_path(backup_path(ledger))}
    _answer(record, f"copied to “{record['backup']}”", as_json=as_json)


def restore(
    config: ConfigOption = None, assignments: SetOption = None, as_json: JsonFlag = False
) -> None:
    """Put the copy of the ledger into its place; the present one is kept beside it.

    The daemon must not be running. What was published since the copy was made is not converted
    again where its dataset is in place: it is parked, or found equal.
    """
    from stackwatch.ledger.backup import restore_backup

    state_dir = find_state_dir(config, assignments)
    lock = _take_lock(state_dir)
    try:
        aside = restore_backup(_ledger(state_dir))
    finally:
        lock.release()
    record = {"status": "ok", "path": show_path(_ledger(state_dir)), "aside": show_path(aside)}
    _answer(record, f"restored; the old file is “{record['aside']}”", as_json=as_json)


def rebuild(
    config: ConfigOption = None, assignments: SetOption = None, as_json: JsonFlag = False
) -> None:
    """Make a new ledger from the datasets in the targets; the present one is kept beside it.

    The daemon must not be running. Acquisitions whose datasets are found are read once when the
    service starts, and not converted again if their content is the same. History, errors and what
    was parked are lost.
    """
    from stackwatch.daemon.rebuild import rebuild_ledger
    from stackwatch.ledger.backup import move_backup_aside, set_aside
    from stackwatch.ledger.ledger import Ledger
    from stackwatch.settings import load_settings

    settings = load_settings(config, assignments=assignments or ()).settings
    state_dir = settings.daemon.state_dir
    lock = _take_lock(state_dir)
    try:
        aside = set_aside(_ledger(state_dir))
        move_backup_aside(_ledger(state_dir), aside)
    finally:
        lock.release()
    with Ledger.open(state_dir) as ledger:
        found = rebuild_ledger(settings.folder, ledger)
    record = {
        "status": "ok",
        "path": show_path(_ledger(state_dir)),
        "aside": show_path(aside),
        "acquisitions": found.acquisitions,
        "datasets": found.datasets,
        "unknown": [show_path(path) for path in found.unknown],
    }
    lines = [
        f"{found.acquisitions} acquisitions with {found.datasets} datasets are recorded; the old "
        f"file is “{record['aside']}”"
    ]
    lines += [f"of no acquisition in its drop folder: {show_path(path)}" for path in found.unknown]
    _answer(record, "\n".join(lines), as_json=as_json)


def _ledger(state_dir: Path) -> Path:
    from stackwatch.ledger.ledger import LEDGER_NAME

    return state_dir / LEDGER_NAME


def _take_lock(state_dir: Path) -> "StateLock":
    """Take the place of the daemon; its state directory must be there."""
    from stackwatch.errors import LedgerError
    from stackwatch.ledger.lock import StateLock

    if not state_dir.is_dir():
        hint = "Check `state_dir`."
        raise LedgerError(
            f"There is no “{show_path(state_dir)}”, so there is no ledger to mend. {hint}",
            hint=hint,
            path=show_path(state_dir),
        )
    return StateLock.take(state_dir)


def _answer(record: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        answer_json(record)
    else:
        answer_text(text)
